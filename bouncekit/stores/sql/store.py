"""A store in a SQL database: what it says is the same for all of them. A commit is durable when a method returns."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, NamedTuple, Self

from bouncekit.delivery.events import Event, EventType, event_id
from bouncekit.delivery.settlement import Settlement
from bouncekit.delivery.steps import LookedUp, LookUp, Record
from bouncekit.delivery.tallied import Sum
from bouncekit.policy.guard import Count, Mass, Pattern
from bouncekit.policy.rule import Window
from bouncekit.policy.suppression import Standing, Suppression
from bouncekit.stores.codec import (
    event_dict,
    key_hash,
    milliseconds,
    outcome_row,
    storable,
    suppression_json,
    suppression_of,
    suppression_row,
    told_rows,
)
from bouncekit.stores.masses import Counted, Spans, beginning, counts_of, given_back, latest
from bouncekit.stores.precedence import (
    caused_by,
    foremost,
    is_repeated,
    told_by,
    withstands,
)
from bouncekit.stores.probing import Probe, granted, may_be_probed, tells_of_probe
from bouncekit.stores.sql import statements
from bouncekit.stores.sql.budgeting import SqlBudgeting
from bouncekit.stores.sql.cursors import SqlCursors
from bouncekit.stores.sql.database import Database, Query, Transaction, reading, repeated, retried
from bouncekit.stores.sql.erasing import SqlErasing
from bouncekit.stores.sql.listing import SqlListing
from bouncekit.stores.sql.many import marks, split
from bouncekit.stores.sql.moving import SqlMoving
from bouncekit.stores.sql.paging import BEHIND_ALL, walk
from bouncekit.stores.sql.probing import leave_probe
from bouncekit.stores.sql.queue import SqlQueue, come_late, is_open, settle_queued
from bouncekit.stores.sql.searching import SqlSearching
from bouncekit.stores.sql.tallies import SqlTallies
from bouncekit.stores.sql.throttling import SqlThrottling
from bouncekit.stores.sql.trail import SqlTrail
from bouncekit.words.envelope import Labels

__all__ = ["SqlStore"]

_DAY_MILLISECONDS = 86_400_000

_Place = tuple[str, str, bytes]  # the primary key of `suppressions`
_Found = dict[str, tuple[Suppression, Probe | None]]  # by key


class _Mark(NamedTuple):
    """What the audit notes beside a change."""

    at: datetime
    by: str
    event_id: str


class SqlStore(
    SqlQueue,
    SqlMoving,
    SqlCursors,
    SqlTallies,
    SqlListing,
    SqlErasing,
    SqlThrottling,
    SqlBudgeting,
    SqlSearching,
    SqlTrail,
    ABC,
):
    """All of `bouncekit.stores.Store`, over the database that a subclass opens."""

    _database: Database

    @property
    @abstractmethod
    def place(self) -> str:
        """Where it is, for people: a path, or a URL without its password."""

    @property
    @abstractmethod
    def kind(self) -> str:
        """What it is, with the version of its tables, for people."""

    @abstractmethod
    def check(self) -> None:
        """Look whether it can be relied on.

        Raises:
            StoreError: it cannot; the message says what would be right.
        """

    @abstractmethod
    def try_writing(self) -> None:
        """Write something as it is.

        Raises:
            StoreError: nothing can be written; the message says why.
        """

    # -- what deliveries ask and leave

    def look_up(self, question: LookUp, now: datetime) -> LookedUp:
        """See `Store.look_up`."""
        found = _find(self._database.read, question, now)
        probes: frozenset[str] = frozenset()
        if question.claim and (free := _free(found, question.claim, now)):
            found, probes = self._claim(question, free, now)
        return LookedUp(
            now=now,
            suppressions={key: suppression for key, (suppression, _) in found.items()},
            probes=probes,
            counters={asked: self._count(question.labels, *asked, now) for asked in question.windows},
            sums={asked: self._sum(asked, now) for asked in question.sums},
            masses={pattern: self._mass(pattern, question.within, now) for pattern in question.fingerprints},
        )

    @repeated
    def record(self, record: Record) -> frozenset[str]:
        """See `Store.record`."""
        if not (record.events or record.settlements or record.strikes or record.cleared or record.delivery.relay):
            return frozenset()
        told, outcomes = _news_rows(record)
        strikes, cleared, counts = (
            _strike_rows(record),
            [(*_owner(record.occasion.labels), key_hash(key)) for key in record.cleared],
            _count_rows(counts_of(record)),
        )
        with self._database.writing(*_about(record)) as transaction:
            if is_repeated(record, lambda event: _is_told(transaction, event)):
                if is_open(transaction, record):  # who came too late has told the same, and has settled nobody by it
                    settle_queued(transaction, record)
                return _told_late(transaction, record)
            if late := come_late(transaction, record):
                record = record.come_late(late)
                told, outcomes = _news_rows(record)
            for settlement in record.settlements:
                _settle(transaction, settlement, record)
            settle_queued(transaction, record)
            _hold(transaction, record)
            for statement, rows in (
                (statements.OUTCOME, outcomes),
                (statements.STRIKE, strikes),
                (statements.CLEAR, cleared),
                (statements.ADD, counts),
                (statements.TELL, told),
            ):
                if rows:
                    transaction.executemany(statement, rows)
        return late

    @repeated
    def tell(self, events: Sequence[Event]) -> None:
        """See `Store.tell`."""
        if not events:
            return
        told = told_rows(events)
        with self._database.writing() as transaction:
            transaction.executemany(statements.TELL, told)

    # -- the suppression list

    def suppressions(
        self,
        *,
        tenant: str = "",
        stream: str | None = None,
        at: datetime | None = None,
        containing: str | None = None,
        after: str | None = None,
        limit: int | None = None,
    ) -> Iterator[Suppression]:
        """See `Store.suppressions`."""
        begin = {"key": storable(after or ""), "after_stream": BEHIND_ALL if after else ""}
        asked = {
            "tenant": storable(tenant),
            "stream": storable(stream),
            "at": None if at is None else milliseconds(at),
            "needle": None if containing is None else storable(containing.lower()),
        }
        rows = walk(self._database.read, statements.LIST, asked, limit, begin=begin, behind=_behind)
        return map(suppression_of, rows)

    def suppression(self, key: str, *, tenant: str = "", stream: str = "") -> Suppression | None:
        """See `Store.suppression`."""
        return _standing(self._database.read, (storable(tenant), storable(stream), key_hash(key)))

    @repeated
    def add(self, suppression: Suppression, *, by: str, event: Event) -> None:
        """See `Store.add`."""
        told = told_rows((event,))
        with self._database.writing(key_hash(suppression.key)) as transaction:
            if _is_told(transaction, event.id):
                return
            _put(transaction, suppression, _place(suppression), _Mark(event.at, by, event.id))
            transaction.executemany(statements.TELL, told)

    @retried
    def lift(self, key: str, *, tenant: str, stream: str, by: str, at: datetime, event: Event) -> Suppression | None:
        """See `Store.lift`."""
        place, told = (storable(tenant), storable(stream), key_hash(key)), told_rows((event,))
        with self._database.writing(place[2]) as transaction:
            lifted = _standing(reading(transaction), place)
            if lifted is not None:
                _remove(transaction, lifted, place, _Mark(at, by, event.id))
                transaction.executemany(statements.TELL, told)
        return lifted

    # -- what happened

    def history(self, key: str, *, tenant: str = "", limit: int = 100) -> Sequence[dict[str, Any]]:
        """See `Store.history`."""
        asked = (storable(tenant), key_hash(key), max(limit, 0))
        return [event_dict(text) for (text,) in self._database.read(statements.HISTORY, asked)]

    def addressed(self, delivery_id: str, *, tenant: str = "") -> Sequence[str]:
        """See `Store.addressed`."""
        asked = (delivery_id, storable(tenant))
        return [recipient for (recipient,) in self._database.read(statements.ADDRESSED, asked)]

    def events(self, *, after: int = 0, limit: int = 1000) -> Sequence[tuple[int, dict[str, Any]]]:
        """See `Store.events`."""
        until = self._database.settled_until("outbox")
        return [
            (number, event_dict(text))
            for number, text in self._database.read(statements.EVENTS, (after, until, max(limit, 0)))
        ]

    # -- open and closed

    def close(self) -> None:
        """See `Store.close`."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @repeated
    def _claim(self, question: LookUp, free: Sequence[str], now: datetime) -> tuple[_Found, frozenset[str]]:
        """Look again under the lock, and grant the probes that are free still."""
        with self._database.writing(*map(key_hash, free)) as transaction:
            found = _find(reading(transaction), question, now)
            locked = frozenset(free)
            ours = [key for key in _free(found, question.claim, now) if key in locked]
            probe = granted(question.claim, now)
            transaction.executemany(statements.CLAIM, [(*probe, *_place(found[key][0])) for key in ours])
        return found, frozenset(ours)

    def _count(self, labels: Labels, key: str, window: Window, now: datetime) -> int:
        today, earliest = milliseconds(now) // _DAY_MILLISECONDS, milliseconds(now - window.within)
        asked = (*_owner(labels), key_hash(key), window.category.value, today, earliest)
        ((number,),) = self._database.read(statements.COUNT, asked)
        return int(number)

    def _sum(self, asked: Sum, now: datetime) -> int:
        about = (asked.number.of.value, storable(asked.number.subject), beginning(now, asked.within), latest(now))
        ((number,),) = self._database.read(statements.SUM, about)
        return int(number)

    def _mass(self, pattern: Pattern, within: timedelta, now: datetime) -> Mass:
        asked: dict[str, object] = Spans.at(now, within)._asdict()
        asked |= {"provider": storable(pattern.provider), "fingerprint": pattern.fingerprint}
        ((refused, answered, refused_long, answered_long, trips),) = self._database.read(statements.MASS, asked)
        return Mass(
            recent=(Count(refused, answered), Count(refused_long, answered_long)),
            days=tuple(Count(*row) for row in self._database.read(statements.DAYS, asked)),
            goes_on=trips > 0,
        )


def _behind(row: Sequence[Any]) -> Mapping[str, object]:
    """Where the list goes on behind an entry."""
    return {"key": row[3], "after_stream": row[1]}


def _about(record: Record) -> Iterator[object]:
    """What must stand still while a record is written: its message, its attempt, and whose suppressions it touches."""
    yield record.delivery.id
    yield record.occasion.attempt_id
    for one in record.settlements:
        touches = tells_of_probe(one, record.occasion.labels) or one.lifted is not None or caused_by(one) is not None
        if one.key and touches:
            yield key_hash(one.key)
    if record.held:
        yield None  # whoever it is


def _is_told(transaction: Transaction, event: str) -> bool:
    return transaction.execute(statements.IS_TOLD, (event,)).fetchone() is not None


def _told_late(transaction: Transaction, record: Record) -> frozenset[str]:
    """What was answered when a record of the queue was remembered first."""
    told = (
        (name, transaction.execute(statements.TOLD, (event,)).fetchone()) for event, name in told_by(record).items()
    )
    return frozenset(name for name, row in told if row and event_dict(row[0])["data"]["possible_duplicate"])


def _owner(labels: Labels) -> tuple[str, str]:
    return storable(labels.tenant), storable(labels.stream)


def _place(suppression: Suppression) -> _Place:
    return storable(suppression.tenant), storable(suppression.stream), key_hash(suppression.key)


def _find(query: Query, question: LookUp, now: datetime) -> _Found:
    """The suppression that counts for each key that has one."""
    hashes = {key_hash(key): key for key in question.keys}
    rows: dict[bytes, list[tuple[Suppression, Probe | None]]] = {}
    for some in split(hashes):
        for *row, probe_by, until in query(statements.FIND % marks(some), (*_owner(question.labels), *some)):
            probe = None if probe_by is None else Probe(probe_by, until)
            rows.setdefault(row[2], []).append((suppression_of(tuple(row)), probe))
    found = {}
    for hashed, several in rows.items():
        first = foremost((one for one, _ in several), now)
        if first is not None:
            found[hashes[hashed]] = next(one for one in several if one[0] is first)
    return found


def _free(found: _Found, delivery_id: str, now: datetime) -> list[str]:
    """Whose probe a delivery can have."""
    at = milliseconds(now)
    return [
        key
        for key, (one, probe) in found.items()
        if may_be_probed(one, now) and not (probe and probe.keeps_out(delivery_id, at))
    ]


def _settle(transaction: Transaction, settlement: Settlement, record: Record) -> None:
    """What one outcome does to the suppression list."""
    occasion, lifted, caused = record.occasion, settlement.lifted, caused_by(settlement)

    def mark(by: str, type_: EventType) -> _Mark:
        return _Mark(occasion.at, by, event_id(occasion.attempt_id, settlement.recipient, type_))

    leave_probe(transaction, settlement, occasion, record.delivery.id)
    if lifted is not None:
        standing = _standing(reading(transaction), place := _place(lifted))
        if standing is not None and not withstands(standing, None, occasion.at):
            _remove(transaction, standing, place, mark("delivery", EventType.SUPPRESSION_LIFTED))
    if caused is not None:
        standing = _standing(reading(transaction), place := _place(caused))
        if not withstands(standing, caused, occasion.at):
            # What is held is told by the outcome alone.
            told = EventType(settlement.action.value) if settlement.doubted else EventType.SUPPRESSION_ADDED
            _put(transaction, caused, place, mark(caused.by, told))


def _hold(transaction: Transaction, record: Record) -> None:
    """Hold what verdicts have put on the list while a mass grew."""
    for held in record.held:
        mark = _Mark(record.occasion.at, "guard", held.event_id)
        alike = (held.pattern.fingerprint, milliseconds(held.since))
        for row in transaction.execute(statements.ALIKE, alike).fetchall():
            one = suppression_of(row)
            _put(transaction, replace(one, standing=Standing.HELD), _place(one), mark)
            if record.spent is not None:
                transaction.executemany(statements.ADD, _count_rows(given_back(one)))


def _standing(query: Query, place: _Place) -> Suppression | None:
    rows = query(statements.STANDING, place)
    return suppression_of(rows[0]) if rows else None


def _put(transaction: Transaction, suppression: Suppression, place: _Place, mark: _Mark) -> None:
    before = _standing(reading(transaction), place)
    transaction.execute(statements.PUT, suppression_row(suppression))
    _note(transaction, "changed" if before else "added", place, mark, before, suppression)


def _remove(transaction: Transaction, standing: Suppression, place: _Place, mark: _Mark) -> None:
    transaction.execute(statements.REMOVE, place)
    _note(transaction, "lifted", place, mark, standing, None)


def _note(
    transaction: Transaction,
    act: str,
    place: _Place,
    mark: _Mark,
    before: Suppression | None,
    after: Suppression | None,
) -> None:
    """Write a change of the list into the audit."""
    states = (before and suppression_json(before), after and suppression_json(after))
    transaction.execute(
        statements.AUDIT, (milliseconds(mark.at), act, storable(mark.by), *place, mark.event_id, *states)
    )


def _news_rows(record: Record) -> tuple[list[tuple[object, ...]], list[tuple[object, ...]]]:
    """What is told of it, and its outcomes."""
    outcomes = [outcome_row(one, record.occasion, record.delivery.id) for one in record.settlements]
    return told_rows(record.events), outcomes


def _count_rows(counts: Iterable[Counted]) -> list[tuple[object, ...]]:
    return [(by.value, storable(subject), began_at, number) for by, subject, began_at, number in counts]


def _strike_rows(record: Record) -> list[tuple[object, ...]]:
    owner, at = _owner(record.occasion.labels), milliseconds(record.occasion.at)
    day = at // _DAY_MILLISECONDS
    return [(*owner, key_hash(strike.key), strike.category.value, day, at) for strike in record.strikes]
