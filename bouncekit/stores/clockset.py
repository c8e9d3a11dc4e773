"""What becomes of mail that waits where the clock was set back: its times go back with the clock.

What was said by a clock that stood further ahead than any lease lasts would wait, and nobody would know for what, until
the clock stands there again. All times of it stay as far from the one at which they were said, and that is now. So
nothing is due or given up before its time, and what came first is first. Times are milliseconds, as the stores keep
them.
"""

from typing import NamedTuple

from bouncekit.stores.leases import LONGEST

__all__ = ["Times", "is_ahead", "moved", "say_so"]


class Times(NamedTuple):
    """The times of a recipient that waits; `timed_at` is when somebody said when it is due."""

    timed_at: int
    due_at: int
    first_attempt_at: int | None
    give_up_at: int | None
    greylisted_at: int | None

    def waits_for_another(self, at: int) -> bool:
        """Whether it waits by a clock that was set back since."""
        return is_ahead(self.timed_at, at) and is_ahead(self.due_at, at)


def is_ahead(time: int, at: int) -> bool:
    """Whether no clock that is right can have said this time by now."""
    return time > at + LONGEST


def moved(times: Times, at: int) -> Times:
    """The same, as if they were said now. What was counted from an attempt before the clock was wrong stays."""
    span = times.timed_at - at
    first, last, grey = times.first_attempt_at, times.give_up_at, times.greylisted_at
    if first is not None and is_ahead(first, at):
        first, last = first - span, None if last is None else max(last - span, 0)  # no number that a table lacks
    if grey is not None and is_ahead(grey, at):
        grey -= span
    return Times(at, times.due_at - span, first, last, grey)


def say_so(milliseconds: int) -> None:
    """Tell the log by how much the clock was set back."""
    import logging

    log = logging.getLogger("bouncekit")
    log.warning(
        "the clock was set back by %.1f hours: what was queued since waits by the new time", milliseconds / 3.6e6
    )
