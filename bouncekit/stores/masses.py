"""What the guard's counts are in a store: numbers by minute, for what is new, and by day, for what is usual."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from bouncekit.guard import REACH, USUAL_TIME
from bouncekit.steps import Record
from bouncekit.stores.codec import milliseconds

__all__ = ["Counted", "CountedBy", "Spans", "counts_of"]

_MINUTE = 60_000
_DAY = 86_400_000


class CountedBy(StrEnum):
    """What a number counts, of which subject, in which time."""

    ANSWERS = "answers"  # a provider's, by the minute
    ANSWERS_DAILY = "answers_daily"
    REFUSALS = "refusals"  # those of a fingerprint, by the minute
    REFUSALS_DAILY = "refusals_daily"  # all of a provider that may suppress
    TRIPS = "trips"  # how often a fingerprint was found to be a mass, by the minute


class Counted(NamedTuple):
    """A number to be added, at the time at which its minute or day began."""

    by: CountedBy
    subject: str
    began_at: int
    number: int


class Spans(NamedTuple):
    """From when on counts are asked for, in milliseconds: the guard's window, its reach, what is usual, and until when.

    Yesterday is not yet usual: an evening's outage would be, as soon as it is midnight.
    """

    window: int
    reach: int
    usual: int
    until: int

    @classmethod
    def at(cls, now: datetime, within: timedelta) -> "Spans":
        """The spans of a question; whole minutes and days, so that a window is up to a minute longer."""
        at, window = milliseconds(now), within // timedelta(milliseconds=1)
        until = at - at % _DAY - _DAY
        usual = until - USUAL_TIME // timedelta(milliseconds=1)
        return cls(_minute(at - window), _minute(at - window * REACH), usual, until)


def counts_of(record: Record) -> Iterator[Counted]:
    """What a record adds to the guard's counts."""
    at = milliseconds(record.occasion.at)
    minute, day = _minute(at), at - at % _DAY
    for answers in record.answers:
        yield Counted(CountedBy.ANSWERS, answers.provider, minute, answers.number)
        yield Counted(CountedBy.ANSWERS_DAILY, answers.provider, day, answers.number)
        for fingerprint, number in answers.refusals:
            yield Counted(CountedBy.REFUSALS, fingerprint, minute, number)
            yield Counted(CountedBy.REFUSALS_DAILY, answers.provider, day, number)
    for held in record.held:
        yield Counted(CountedBy.TRIPS, held.pattern.fingerprint, minute, 1)


def _minute(at: int) -> int:
    return at - at % _MINUTE
