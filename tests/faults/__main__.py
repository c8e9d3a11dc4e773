"""How many cells each client passes, point by point: `python -m tests.faults [CLIENT ...]`, some minutes.

smtplib and aiosmtplib have a time-out of a second, and count as hanging when they are not back after twelve.
"""

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from .modes import MODES, OTHERS, Mode
from .table import POINTS, SECOND, Cell, cells, reuse_cells
from .trials import Trial, run_cells

OTHERS_WAIT_SECONDS, OTHERS_HANG_SECONDS = 1.0, 12.0
NAMES = {mode.name: mode for mode in (*MODES, *OTHERS)}


def main(names: Sequence[str]) -> None:
    modes = [NAMES[name] for name in names] or [NAMES[name] for name in ("SMTP", "pipelined", "LMTP")] + list(OTHERS)
    tried = {mode.name: [trial for point in POINTS for trial in _of_point(mode, point)] for mode in modes}
    width = max(len(mode.name) for mode in modes) + 2
    print(f"{'point':12}{'cells':>7}" + "".join(f"{mode.name:>{width}}" for mode in modes))
    rows = [(point, [cell for cell in cells() if cell.point.name == point]) for point in POINTS]
    rows.append(("all", list(cells())))
    for point, those in rows:
        passed = [sum(not one.faults for one in tried[mode.name] if one.cell in those) for mode in modes]
        print(f"{point:12}{len(those):>7}" + "".join(f"{number:>{width}}" for number in passed))
    print(f"{'reuse':12}{25:>7}" + "".join(f"{_reused(mode):>{width}}" for mode in modes))
    for mode in modes:
        faults = Counter(fault for one in tried[mode.name] for fault in one.faults)
        print(f"{mode.name}: {', '.join(f'{count} {fault}' for fault, count in faults.most_common()) or 'no fault'}")


def _of_point(mode: Mode, point: str) -> list[Trial]:
    of_point = [cell for cell in cells() if cell.point.name == point and mode.has(cell)]
    return [
        trial for waits in (False, True) for trial in _run(mode, [one for one in of_point if one.fault.waits == waits])
    ]


def _run(mode: Mode, those: Sequence[Cell], *, again: bool = False) -> list[Trial]:
    pairs = [(cell, mode) for cell in those]
    if mode.reports:
        return list(run_cells(pairs, again=again).values())
    limits = {"timeout": OTHERS_WAIT_SECONDS, "hangs_after": OTHERS_HANG_SECONDS}
    return list(run_cells(pairs, again=again, **limits).values())


def _reused(mode: Mode) -> int:
    """After how many faults the second message on the connection comes to no harm."""
    mode = replace(mode, once=True)
    those = [cell for cell in reuse_cells() if mode.has(cell)]
    groups = [[cell for cell in those if not cell.fault.waits], *([cell] for cell in those if cell.fault.waits)]
    trials = [trial for group in groups for trial in _run(mode, group, again=True)]
    return sum(not trial.hangs and not _is_harmed(trial) for trial in trials)


def _is_harmed(trial: Trial) -> bool:
    refused, welcome = ((one, trial.second.get(one, "U")) for one in SECOND)
    was_taken = trial.accepted[welcome[0]] > 0
    return refused[1] == "D" or welcome[1] == "F" or welcome[1] == ("T" if was_taken else "D")


if __name__ == "__main__":
    main(sys.argv[1:])
