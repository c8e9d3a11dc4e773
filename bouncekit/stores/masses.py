"""What is counted in a store: for the guard by minute, what is new, and by day, what is usual; by hour for budgets."""

from collections.abc import Collection, Iterator
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from bouncekit.delivery.spending import BAD_ADDRESS
from bouncekit.delivery.steps import Record
from bouncekit.delivery.tallied import subject_of_stream
from bouncekit.policy.budget import Spent, Stream
from bouncekit.policy.guard import REACH, USUAL_TIME
from bouncekit.policy.suppression import Suppression
from bouncekit.stores.codec import milliseconds

__all__ = [
    "OF_A_STREAM",
    "SPENT_BY",
    "Counted",
    "CountedBy",
    "Spans",
    "beginning",
    "counts_of",
    "dated_back",
    "given_back",
    "hour",
    "latest",
    "resumed",
]

_MINUTE = 60_000
_HOUR = 3_600_000
_DAY = 86_400_000


class CountedBy(StrEnum):
    """What a number counts, of which subject, in which time."""

    ANSWERS = "answers"  # a provider's, by the minute
    ANSWERS_DAILY = "answers_daily"
    REFUSALS = "refusals"  # those of a fingerprint, by the minute
    REFUSALS_DAILY = "refusals_daily"  # all of a provider that may suppress
    TRIPS = "trips"  # how often a fingerprint was found to be a mass, by the minute
    SENT = "sent"  # recipients of a stream, by the hour
    BOUNCED = "bounced"  # those of them whose address was bad
    COMPLAINED = "complained"
    VERDICTS = "verdicts"  # about a domain, a provider, a sender or a relay, by the minute
    GREYLISTED = "greylisted"  # recipients whom a provider's greylist let in, by the minute
    GREYLIST_SECONDS = "greylist_seconds"  # how long that took
    RESUMED = "resumed"  # how often somebody let a stream go on, by the minute


SPENT_BY = (CountedBy.SENT, CountedBy.BOUNCED, CountedBy.COMPLAINED)  # in the order of `Spent`
OF_A_STREAM = (*SPENT_BY, CountedBy.RESUMED)


class Counted(NamedTuple):
    """A number to be added, at the time at which its minute or day began."""

    by: CountedBy
    subject: str
    began_at: int
    number: int


class Spans(NamedTuple):
    """From when on counts are asked for, in milliseconds: the guard's window, its reach, what is usual, and until when.

    Yesterday is not yet usual: an evening's outage would be, as soon as it is midnight. What lies behind `latest` was
    counted by a clock that was set back since.
    """

    window: int
    reach: int
    usual: int
    until: int
    latest: int

    @classmethod
    def at(cls, now: datetime, within: timedelta) -> "Spans":
        """The spans of a question; whole minutes and days, so that a window is up to a minute longer."""
        at, window = milliseconds(now), within // timedelta(milliseconds=1)
        until = at - at % _DAY - _DAY
        usual = until - USUAL_TIME // timedelta(milliseconds=1)
        return cls(_minute(at - window), _minute(at - window * REACH), usual, until, latest(now))


def counts_of(record: Record) -> Iterator[Counted]:
    """What a record adds to the counts."""
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
    for (of, subject), more in record.numbers:
        yield Counted(CountedBy(of.value), subject, minute, more)
    if record.spent is not None and any(record.spent):
        labels = record.occasion.labels
        yield from _spent(Stream(labels.tenant, labels.stream), at, record.spent)


def given_back(held: Suppression) -> Iterator[Counted]:
    """The bounce that a stream gets back for whom the guard holds: it was the server, and no bad address."""
    if held.since == held.changed_at and held.category in BAD_ADDRESS:
        yield from _spent(Stream(held.tenant, held.stream), milliseconds(held.since), Spent(bounced=-1))


def resumed(stream: Stream, at: datetime) -> Counted:
    """That a stream's counts began anew at a time."""
    return Counted(CountedBy.RESUMED, subject_of_stream(stream), _minute(milliseconds(at)), 1)


def _spent(stream: Stream, at: int, spent: Spent) -> Iterator[Counted]:
    subject = subject_of_stream(stream)
    for by, number in zip(SPENT_BY, spent, strict=True):
        if number:
            yield Counted(by, subject, hour(at), number)


def dated_back(counted: Collection[Counted], to: datetime) -> Iterator[Counted]:
    """Counts that lie ahead, as far from the latest of them as they were, which comes into the hour of this time."""
    span = hour(max(one.began_at for one in counted)) - hour(milliseconds(to))
    return (one._replace(began_at=one.began_at - span) for one in counted)


def beginning(now: datetime, within: timedelta) -> int:
    """From which minute on a sum is asked for."""
    return _minute(milliseconds(now - within))


def latest(now: datetime) -> int:
    """Until which minute; the clocks of those who share a store are not the same to the second."""
    return milliseconds(now) + _HOUR


def hour(at: int) -> int:
    """When the hour of a time began."""
    return at - at % _HOUR


def _minute(at: int) -> int:
    return at - at % _MINUTE
