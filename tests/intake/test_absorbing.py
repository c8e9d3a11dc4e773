"""A mail is acknowledged when it was remembered, kept through a fault that passes, set aside when the error is ours."""

import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bouncekit.intake.absorbing import Outcome, counts, follow
from bouncekit.intake.aside import Aside
from bouncekit.words.errors import ConfigurationError, StoreError

from .conftest import Absorber, mail, raising


def test_what_was_remembered_may_be_acknowledged(absorb: Absorber) -> None:
    assert counts(absorb, mail("1"), "bounce@example.org")
    assert absorb.taken == [(mail("1"), "bounce@example.org")]


@pytest.mark.parametrize("error", [StoreError("the disk is full"), OSError(28, "No space left on device")])
def test_a_fault_that_passes_is_raised(absorb: Absorber, error: Exception) -> None:
    absorb.trouble = raising(error, at="1")
    with pytest.raises(type(error)):
        counts(absorb, mail("1"))


@pytest.mark.parametrize("error", [ZeroDivisionError("ours"), RecursionError(), MemoryError(), ConfigurationError("x")])
def test_an_error_of_ours_is_logged_and_the_mail_is_to_be_set_aside(
    absorb: Absorber, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    absorb.trouble = raising(error, at="1")
    assert not counts(absorb, mail("1"))
    assert caplog.records[0].levelno == logging.ERROR
    assert caplog.records[0].exc_info


def test_who_is_told_to_end_is_not_held_up(absorb: Absorber) -> None:
    absorb.trouble = raising(KeyboardInterrupt(), at="1")
    with pytest.raises(KeyboardInterrupt):
        counts(absorb, mail("1"))


class Stop(threading.Event):
    """A stop that nobody really waits for; it comes with the last of so many waits."""

    def __init__(self, waits: int) -> None:
        super().__init__()
        self.waited: list[float] = []
        self._most = waits

    def wait(self, timeout: float | None = None) -> bool:
        self.waited.append(timeout or 0.0)
        if len(self.waited) == self._most:
            self.set()
        return self.is_set()


def test_passes_follow_each_other_and_the_pause_behind_a_fault_grows(caplog: pytest.LogCaptureFixture) -> None:
    faults: Iterator[Exception | None] = iter(
        [None, StoreError("locked"), OSError(5, "I/O error"), None, *[OSError()] * 9]
    )
    stop = Stop(13)

    def one_pass() -> Iterator[Outcome]:
        yield Outcome.DONE
        if fault := next(faults):
            raise fault

    assert list(follow(one_pass, stop=stop, every=10.0)) == [Outcome.DONE] * 13
    assert stop.waited == [10, 20, 40, 10, 20, 40, 80, 160, 320, 600, 600, 600, 600]
    assert [record.getMessage() for record in caplog.records][:2] == [
        "locked; tried again in 20 s",
        "I/O error; tried again in 40 s",
    ]


def test_what_is_set_aside_is_a_file_for_its_owner_alone_and_once(tmp_path: Path) -> None:
    aside = Aside(tmp_path / "b.db.aside")
    path = aside.put(mail("1"))
    assert aside.put(mail("1")) == path
    assert [one.read_bytes() for one in aside.folder.iterdir()] == [mail("1")]
    assert (path.stat().st_mode & 0o777, aside.folder.stat().st_mode & 0o777) == (0o600, 0o700)


def test_what_cannot_be_set_aside_is_an_error_and_leaves_nothing_half_done(tmp_path: Path) -> None:
    (tmp_path / "aside").write_text("a file")
    with pytest.raises(OSError, match="aside"):
        Aside(tmp_path / "aside").put(mail("1"))
    assert [path.name for path in tmp_path.iterdir()] == ["aside"]
