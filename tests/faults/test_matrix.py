"""Whatever a server does at any point of a send, every recipient has one outcome, and it is true."""

import logging
import os
from collections.abc import Iterator
from dataclasses import replace

import pytest

from .modes import MODES, PASSWORD, Mode
from .table import BAD, HARMLESS, RECIPIENTS, SECOND, Cell, cells, reuse_cells
from .trials import MESSAGE_ID, Trial, run_cells

CELLS = tuple(cells())
IS_WHOLE = os.environ.get("BOUNCEKIT_FAULTS") == "all"
PAIRS = [
    (cell, mode) for mode in MODES for cell in CELLS if mode.has(cell) and (IS_WHOLE or cell.point.name in mode.always)
]
AGAIN = [(cell, mode) for mode in MODES for cell in reuse_cells() if mode.has(cell)]


class Matrix:
    """The trials, run in batches when the first of a batch is asked for."""

    def __init__(self) -> None:
        self._trials: dict[tuple[str, str], Trial] = {}

    def trial(self, cell: Cell, mode: Mode) -> Trial:
        key = (mode.name, str(cell))
        if key not in self._trials:
            self._trials |= run_cells(list(_batch(cell, mode)))
        return self._trials[key]


def _batch(cell: Cell, mode: Mode) -> Iterator[tuple[Cell, Mode]]:
    """Of one point: all that wait for a deadline, or those of one mode that do not."""
    for one, its_mode in PAIRS:
        is_alike = one.point is cell.point and one.fault.waits == cell.fault.waits
        if is_alike and (cell.fault.waits or its_mode is mode):
            yield one, its_mode


class Lines(logging.Handler):
    """What a log of level INFO would hold."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@pytest.fixture(scope="module")
def log() -> Iterator[list[str]]:
    logger, handler = logging.getLogger("bouncekit"), Lines()
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler.lines
    logger.removeHandler(handler)
    logger.setLevel(before)


@pytest.fixture(scope="module")
def matrix(log: list[str]) -> Matrix:
    return Matrix()


def test_the_table_is_whole() -> None:
    assert len(CELLS) == 431
    assert len({str(cell) for cell in CELLS}) == 431
    assert len([cell for cell in CELLS if cell.point.name != "EHLO2"]) == 391


@pytest.mark.parametrize(("cell", "mode"), [pytest.param(*pair, id=f"{pair[1]}-{pair[0]}") for pair in PAIRS])
def test_a_cell(matrix: Matrix, log: list[str], cell: Cell, mode: Mode) -> None:
    trial = matrix.trial(cell, mode)
    seen = (trial.outcomes, trial.errors, trial.sessions)
    assert trial.faults == (), seen
    expected = cell.expected(once=mode.once, lmtp=mode.lmtp, redials=mode.redials)
    assert {one: trial.outcomes[one] for one in RECIPIENTS if trial.outcomes[one] not in expected[one]} == {}, seen
    assert set(trial.outcomes) == set(RECIPIENTS)
    assert trial.suppressed <= {BAD}, "only a verdict about a recipient suppresses, and only that recipient"
    assert trial.message_ids <= {MESSAGE_ID}
    assert max((len(text) for event in trial.events for text in _texts(event.to_dict())), default=0) <= 2048
    shown = [*trial.shown.split("\n"), *log]
    assert [line for line in shown if not line.isprintable()] == []
    assert [line for line in shown if PASSWORD in line] == []
    log.clear()


@pytest.mark.parametrize(("cell", "mode"), [pytest.param(*pair, id=f"{pair[1]}-{pair[0]}") for pair in AGAIN])
def test_the_next_message_on_a_connection_is_not_harmed_by_what_happened_to_the_last_one(
    reuse: dict[tuple[str, str], Trial], cell: Cell, mode: Mode
) -> None:
    trial = reuse[mode.name, str(cell)]
    refused, welcome = SECOND
    seen = (trial.second, trial.errors, trial.sessions)
    assert not trial.hangs
    assert trial.second == ({refused: "F", welcome: "D"} if _goes_on(cell, mode) else dict.fromkeys(SECOND, "T")), seen
    assert trial.accepted[welcome] == (trial.second[welcome] == "D")
    assert trial.accepted[refused] == 0
    assert all(copies <= 1 for copies in trial.accepted.values())
    first = " ".join(trial.sessions[0].commands).lower()
    assert (welcome in first) == (cell.fault.row is HARMLESS), "a session that has lost its step is used again"


def _goes_on(cell: Cell, mode: Mode) -> bool:
    return mode.redials or cell.fault.row is HARMLESS


@pytest.fixture(scope="module")
def reuse() -> dict[tuple[str, str], Trial]:
    """A second message behind the fault, by a server that is well again by then."""
    pairs = [(cell, replace(mode, once=True)) for cell, mode in AGAIN]
    trials = dict(run_cells([(cell, mode) for cell, mode in pairs if not cell.fault.waits], again=True))
    for point in ("MAIL", "RCPT", "DATA", "dot"):
        trials |= run_cells([pair for pair in pairs if pair[0].fault.waits and pair[0].point.name == point], again=True)
    return trials


def _texts(value: object) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            for one in value.values():
                yield from _texts(one)
