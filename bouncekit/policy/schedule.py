"""When to try again: waits between attempts, as pure arithmetic (RFC 5321 4.5.4.1)."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from hashlib import blake2b

__all__ = [
    "LONGEST_DURATION",
    "USUAL_HINTS",
    "Hints",
    "KnownSchedule",
    "Obey",
    "Phase",
    "Retry",
    "Schedule",
    "jitter_of",
    "jittered",
    "parse_duration",
    "show_duration",
    "waits_of",
]

LONGEST_DURATION = timedelta(days=36_525)  # that anybody means who writes one: a hundred years

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)(ms|[smhdw])").fullmatch

_SPREAD = 0.1  # jitter only ever lengthens a wait, by up to this share, so that no minimum is undercut
_MAX_WAITS = 200  # of one schedule: years of tries, and no file makes a million of two words


class Retry(StrEnum):
    """Who tries again what was delayed."""

    NEVER = "never"  # the application: the report says when
    WAIT = "wait"  # the send itself, blocking for up to `patience`
    QUEUE = "queue"  # a worker, from the store


@dataclass(frozen=True, slots=True)
class Schedule:
    """Waits between attempts. The last one of `waits` repeats; `grow` multiplies it, up to `at_most`.

    >>> hours = Schedule("hours", (timedelta(minutes=30), timedelta(hours=1)))
    >>> [str(hours.wait(attempt)) for attempt in (1, 2, 3)]
    ['0:30:00', '1:00:00', '1:00:00']
    >>> Schedule("postfix", (timedelta(minutes=5),), grow=2.0, at_most=timedelta(seconds=4000)).wait(9)
    datetime.timedelta(seconds=4000)
    """

    name: str
    waits: tuple[timedelta, ...]
    grow: float = 1.0
    at_most: timedelta | None = None

    def wait(self, attempt: int, jitter: float = 0.0) -> timedelta:
        """The wait after the `attempt`-th attempt, counted from 1. `jitter` in [0, 1) lengthens it by up to 10 %."""
        beyond = attempt - len(self.waits)
        wait = self.waits[min(attempt, len(self.waits)) - 1]
        if self.at_most is not None:
            # In seconds, which as floats outlast 64 growths; a timedelta overflows at 38 doublings of five minutes.
            grown = wait.total_seconds() * self.grow ** min(max(beyond, 0), 64)
            wait = timedelta(seconds=min(grown, self.at_most.total_seconds()))
        return jittered(wait, jitter)


class Obey(StrEnum):
    """Which of the waits that replies ask for are obeyed."""

    LONGER = "longer"  # those longer than ours: no server can have itself hammered by us
    ALWAYS = "always"  # shorter ones too, down to a bound of the owner's
    NEVER = "never"  # none, the schedule alone counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Hints:
    """What becomes of a wait that a reply asks for ("try again in 5 minutes").

    None makes a wait shorter than `at_least`, and none counts for more than `at_most`.

    >>> hour, soon = timedelta(hours=1), timedelta(seconds=5)
    >>> [show_duration(Hints(obey=obey).wait(hour, soon)) for obey in Obey]
    ['1h', '1m', '1h']
    """

    obey: Obey = Obey.LONGER
    at_least: timedelta = timedelta(minutes=1)
    at_most: timedelta = timedelta(days=1)

    def asked(self, hint: timedelta | None) -> timedelta | None:
        """The wait that a reply asks for, as far as that counts."""
        return None if hint is None or self.obey is Obey.NEVER else min(hint, self.at_most)

    def wait(self, planned: timedelta, hint: timedelta | None, jitter: float = 0.0) -> timedelta:
        """The wait that comes of ours and of the one that a reply asks for."""
        if (asked := self.asked(hint)) is None:
            return planned
        if self.obey is Obey.LONGER or asked >= planned:
            return max(planned, jittered(asked, jitter))
        return min(planned, jittered(max(asked, self.at_least), jitter))


USUAL_HINTS = Hints()


@dataclass(frozen=True, slots=True)
class Phase:
    """The wait `first` again and again, `grow` times as long each time, until so long after the first attempt."""

    first: timedelta
    until: timedelta
    grow: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownSchedule:
    """The schedule of a mail system that many people run, to be named in a policy.

    `gives_up` is how long after the first attempt that system tries no more; None where it says nothing of it.
    """

    schedule: Schedule
    doc: str
    source: str
    gives_up: timedelta | None = None


def waits_of(steps: Iterable[timedelta | Phase]) -> tuple[timedelta, ...]:
    """Every single wait of a list with phases in it; a phase ends with the first try at or behind its `until`.

    >>> exim = Phase(timedelta(minutes=15), timedelta(hours=2)), Phase(timedelta(hours=1), timedelta(hours=5), 1.5)
    >>> [show_duration(wait) for wait in waits_of((*exim, timedelta(hours=6)))]
    ['15m', '15m', '15m', '15m', '15m', '15m', '15m', '15m', '1h', '90m', '135m', '6h']

    Raises:
        ValueError: a phase is over before it begins, or there are more waits than anybody needs.
    """
    waits: list[timedelta] = []
    at = timedelta(0)
    for step in steps:
        if isinstance(step, Phase) and at >= step.until:
            raise ValueError(f"until {show_duration(step.until)} is over before: the waits so far take as long")
        wait = step.first if isinstance(step, Phase) else step
        waits.append(wait)
        at += wait
        while isinstance(step, Phase) and at < step.until and len(waits) <= _MAX_WAITS:
            wait *= step.grow
            waits.append(wait)
            at += wait
        if len(waits) > _MAX_WAITS:
            raise ValueError(f"more than {_MAX_WAITS} waits; let the last ones be longer, or grow")
    return tuple(waits)


def jittered(wait: timedelta, jitter: float) -> timedelta:
    """A wait made longer by up to 10 %; `jitter` is in [0, 1)."""
    return wait * (1 + _SPREAD * jitter)


def jitter_of(name: str) -> float:
    """A number in [0, 1) that is the same for the same name."""
    return int.from_bytes(blake2b(name.encode(), digest_size=6).digest()) / (1 << 48)


def parse_duration(text: str) -> timedelta:
    """A duration written as a number and a unit.

    >>> parse_duration("30m"), parse_duration("4000s")
    (datetime.timedelta(seconds=1800), datetime.timedelta(seconds=4000))

    Raises:
        ValueError: it says what would be right.
    """
    found = _DURATION(text.strip())
    if not found:
        raise ValueError(f"{text!r} is no duration; write a number and a unit: 90s, 30m, 4h, 7d, 2w")
    try:
        return timedelta(seconds=float(found[1]) * _UNITS[found[2]])
    except OverflowError:
        raise ValueError(f"{text!r} is longer than a duration can be") from None


def show_duration(duration: timedelta) -> str:
    """The shortest way to write a duration, for people.

    >>> show_duration(timedelta(days=7)), show_duration(timedelta(seconds=90))
    ('7d', '90s')
    """
    seconds = duration.total_seconds()
    for unit in ("d", "h", "m"):
        if seconds and seconds % _UNITS[unit] == 0:
            return f"{seconds / _UNITS[unit]:.0f}{unit}"
    return f"{seconds:.6f}".rstrip("0").rstrip(".") + "s"
