"""How far the durable readers of the events have come, and what may be forgotten."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

__all__ = ["Cursor", "Cursors", "Reading", "Trouble", "is_stuck", "kept_longer", "reading"]

_COUNTED = timedelta(days=35)  # the guard compares with the 30 days before yesterday
_STRUCK = timedelta(days=366)
_SLOW = timedelta(minutes=10)  # of failures, or of an event that nobody takes


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Why a reader does not get on, and since when: `failures` in a row with no event taken between.

    `next_try_at` None: it is parked, and nobody tries before somebody has placed it by hand.
    """

    failures: int
    since: datetime
    error: str
    next_try_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """A durable reader, for people.

    `moved_at` is when it was last done with an event, None if it never was. `unread` counts the events before it,
    wanted or not, and `unread_since` is when the first of them happened. Until `leased_until` somebody is this reader.
    """

    name: str
    sequence: int
    moved_at: datetime | None
    unread: int
    unread_since: datetime | None
    leased_until: datetime | None
    trouble: Trouble | None = None


class Reading(StrEnum):
    """How a reader gets on."""

    OK = "ok"  # nothing waits for long
    BEHIND = "behind"  # an event has waited for long, and nobody has failed: nobody sends
    FAILING = "failing"  # it is tried again by itself
    PARKED = "parked"  # it is not tried again before somebody enables it
    NEW = "new"  # it has never read


class Cursors(Protocol):
    """The part of a store that its durable readers use. A cursor is at 0 until it is moved."""

    def read_cursor(self, name: str) -> int:
        """The sequence number of the last event that this reader is done with."""

    def claim_cursor(self, name: str, *, owner: str, now: datetime, until: datetime) -> int | None:
        """Be this reader until a time: its sequence number, None while another owner's lease runs."""

    def move_cursor(self, name: str, *, owner: str, sequence: int, now: datetime, until: datetime) -> bool:
        """Move a cursor, never back, and the end of the lease: its trouble is over.

        False, and nothing happens, if another one has it.
        """

    def trouble_of(self, name: str) -> Trouble | None:
        """Why a reader does not get on; None where it does."""

    def note_trouble(self, name: str, trouble: Trouble, *, owner: str) -> bool:
        """Remember why a reader does not get on. False, and nothing happens, if another one has its lease."""

    def place_cursor(self, name: str, sequence: int | None) -> bool:
        """Put a reader by hand behind any event, None where it is, and forget its trouble. False: there is none.

        Whoever is this reader loses the lease: what is under way may be heard twice, and is not counted.
        """

    def release_cursor(self, name: str, owner: str) -> None:
        """Let others be this reader at once. Nothing happens if another one is."""

    def cursors(self) -> Sequence[Cursor]:
        """All readers there ever were, by name."""

    def drop_cursor(self, name: str, *, now: datetime) -> bool:
        """Forget a reader that is gone for good, so that events it has not read may be forgotten too.

        False, and nothing happens, where there is none of that name or its lease runs still. One that comes back
        begins with the oldest event that there is.
        """

    def newest_at(self) -> datetime | None:
        """The latest time at which anything happened by the store's word: an event, or an attempt that is open."""

    def prune(self, *, before: datetime, now: datetime | None = None, limit: int = 10_000) -> int:
        """Forget what is from before a time, up to `limit` rows; how many that were.

        Events, outcomes, settled attempts, what the guard has counted, strikes. With `now`, also the messages that
        were kept until then; but no counts of the guard of the last 35 days, and no strikes of the last 366.

        No event is forgotten that a cursor has not passed: one that nobody moves any more keeps all behind it. In
        small transactions: others may write between. Suppressions and the audit of their changes stay.
        """


def kept_longer(before: datetime, now: datetime | None) -> tuple[datetime, datetime]:
    """Up to when the counts of the guard, and strikes, are forgotten: verdicts to come need the latest of them."""
    return (before, before) if now is None else (min(before, now - _COUNTED), min(before, now - _STRUCK))


def reading(cursor: Cursor | None, now: datetime) -> Reading:
    """How a reader gets on by its cursor; None where it has none yet."""
    if cursor is None:
        return Reading.NEW
    if cursor.trouble is not None:
        return Reading.PARKED if cursor.trouble.next_try_at is None else Reading.FAILING
    is_late = cursor.unread_since is not None and now - cursor.unread_since > _SLOW
    is_sending = cursor.moved_at is not None and now - cursor.moved_at < _SLOW
    return Reading.BEHIND if is_late and not is_sending else Reading.OK


def is_stuck(cursor: Cursor | None, now: datetime) -> bool:
    """Whether somebody has to do something about it, or soon will have to."""
    stands = reading(cursor, now)
    if stands is Reading.FAILING:
        assert cursor is not None
        assert cursor.trouble is not None
        return now - cursor.trouble.since > _SLOW
    return stands in (Reading.PARKED, Reading.BEHIND)
