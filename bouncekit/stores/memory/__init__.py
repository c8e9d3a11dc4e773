"""A store in memory: as quick as can be, bounded, and gone with its process.

Suppressions are all kept. Of events the newest 100,000 are, and so a record is known again while its first event is
among them; of strikes those of the last 366 days of the 100,000 mailboxes that got one last. The queue has no bound
but what the application puts into it, and is not durable: what waits in it is lost with the process.
"""

import threading
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from itertools import islice, repeat
from types import TracebackType
from typing import Any, Self

from bouncekit.delivery.events import Deliveries, Event, EventType, event_id
from bouncekit.delivery.settlement import Delivered, Settlement
from bouncekit.delivery.steps import LookedUp, LookUp, Record, Strike
from bouncekit.delivery.suppressionchange import Place, place_of
from bouncekit.meaning.classification import Category
from bouncekit.outside.forking import begin_afresh_in_children
from bouncekit.policy.rule import Window
from bouncekit.policy.suppression import Standing, Suppression
from bouncekit.stores.codec import event_dict, event_json, from_milliseconds, in_milliseconds, milliseconds, subject_of
from bouncekit.stores.erasing import Erasure
from bouncekit.stores.masses import counts_of, given_back
from bouncekit.stores.memory.budgeting import MemoryBudgeting
from bouncekit.stores.memory.cursors import MemoryCursors
from bouncekit.stores.memory.erasing import MemoryErasing
from bouncekit.stores.memory.listing import MemoryListing
from bouncekit.stores.memory.masses import MemoryMasses
from bouncekit.stores.memory.queue import MemoryQueue
from bouncekit.stores.memory.searching import Kept, MemorySearching
from bouncekit.stores.memory.tallies import MemoryTallies
from bouncekit.stores.memory.throttling import MemoryThrottling
from bouncekit.stores.precedence import (
    CLAIM_LASTS,
    caused_by,
    ends_probe,
    foremost,
    is_repeated,
    may_be_probed,
    told_by,
    withstands,
)
from bouncekit.words.envelope import Labels
from bouncekit.words.errors import StoreError
from bouncekit.words.reply import NoReply, Reply
from bouncekit.words.status import Action

__all__ = ["MemoryStore"]

_MOST_DAYS = 366
_LONG_REPLY_BYTES = 2048  # an event shows no more of a reply; one that has more is kept as its JSON

_DAY_MILLISECONDS = 86_400_000
_CLAIM_MILLISECONDS = CLAIM_LASTS.total_seconds() * 1000


@dataclass(slots=True)
class _Listed:
    """A suppression on the list, and when its probe was granted."""

    suppression: Suppression
    probe_at: int | None = None


@dataclass(frozen=True, slots=True)
class _Told:
    """An event that is kept as JSON, with what is asked of it."""

    id: str
    at: datetime
    tenant: str
    key: str
    json: str


@dataclass(slots=True)
class _Folded:
    """Deliveries that nobody has read yet: what makes their events, and how many of them are not forgotten."""

    deliveries: Deliveries
    left: int


_Place = tuple[str, str, str]  # tenant, stream and key
_Days = dict[int, int]  # day -> the time of its last strike
_Strikes = dict[Category, _Days]


class MemoryStore(
    MemoryQueue,
    MemoryCursors,
    MemoryTallies,
    MemoryListing,
    MemoryErasing,
    MemoryThrottling,
    MemoryBudgeting,
    MemorySearching,
):
    """A store for one process.

    >>> with MemoryStore() as store:
    ...     store.suppression("jo@example.com") is None
    True
    """

    def __init__(self, *, most_events: int = 100_000, most_struck: int = 100_000) -> None:
        MemoryQueue.__init__(self)
        MemoryCursors.__init__(self)
        MemoryListing.__init__(self)
        MemoryThrottling.__init__(self)
        MemoryBudgeting.__init__(self)
        self._listed: dict[tuple[str, str], dict[str, _Listed]] = {}  # (tenant, key) -> stream -> suppression
        self._strikes: OrderedDict[tuple[str, str, str], _Strikes] = OrderedDict()  # the latest struck stand last
        self._events: deque[Event | _Told | _Folded | None] = deque()  # None: forgotten, between others that are not
        self._alike: dict[str, dict[_Place, None]] = {}  # fingerprint -> what a verdict put there, the latest last
        self._masses = MemoryMasses()
        self._known: set[str] = set()
        self._folded: dict[str, _Folded] = {}  # by their attempts
        self._unfolded: dict[str, None] = {}  # attempts of the latest that were read, since each event is known then
        self._last = 0  # the sequence number of the newest event
        self._most_events = most_events
        self._most_struck = most_struck
        self._closed = False
        self._lock = threading.Lock()
        begin_afresh_in_children(self)

    # -- what deliveries ask and leave

    def look_up(self, question: LookUp, now: datetime) -> LookedUp:
        """See `Store.look_up`."""
        self._check_open()
        tenant, listed = question.labels.tenant, self._listed
        # Without the lock: one look in a dict is whole, and nearly nobody is on the list.
        maybe = [key for key in question.keys if (tenant, key) in listed] if listed else ()
        if not maybe and not (question.windows or question.sums or question.fingerprints):
            return LookedUp(now=now)
        with self._lock:
            found = self._find(maybe, question.labels, now)
            return LookedUp(
                now=now,
                suppressions={key: one.suppression for key, one in found.items()},
                probes=self._claim(found, now) if question.claim else frozenset(),
                counters={asked: self._count(question.labels, *asked, now) for asked in question.windows},
                sums={asked: self._masses.sum(asked, now) for asked in question.sums},
                masses={asked: self._masses.mass(asked, question.within, now) for asked in question.fingerprints},
            )

    def record(self, record: Record) -> frozenset[str]:
        """See `Store.record`."""
        with self._lock:
            self._check_open()
            if self._is_repeated(record):
                if self._is_open(record):  # who came too late has told the same, and has settled nobody by it
                    self._settle_queued(record)
                return self._told_late(record)
            late = self._come_late(record)
            record = record.come_late(late)
            if not isinstance(record.settlements, Delivered):
                for settlement in record.settlements:
                    if settlement.action is not Action.DELIVERED or settlement.lifted is not None:
                        self._settle(settlement, record)
            if record.delivery.relay is not None:
                self._settle_queued(record)
            if record.strikes:
                self._strike(record.strikes, record)
            if record.cleared and self._strikes:
                self._clear(record.cleared, record.occasion.labels)
            if record.held:
                self._hold(record)
            self._masses.add(counts_of(record))
            if (deliveries := self._foldable(record)) is not None:
                self._fold(deliveries)
            else:
                self._keep(record.events)
        return late

    def tell(self, events: Sequence[Event]) -> None:
        """See `Store.tell`."""
        with self._lock:
            self._check_open()
            self._keep(events)

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
        with self._lock:
            self._check_open()
            found = [
                one.suppression
                for (owner, key), streams in self._listed.items()
                if owner == tenant and (after is None or key > after)
                for one in streams.values()
            ]
        needle = None if containing is None else containing.lower()
        wanted = (
            one
            for one in sorted(found, key=lambda one: (one.key, one.stream))
            if (stream is None or one.stream == stream)
            and (at is None or one.binds(at))
            and (needle is None or needle in one.key or needle in (one.address or "").lower())
        )
        yield from islice(wanted, limit if limit is None else max(limit, 0))

    def suppression(self, key: str, *, tenant: str = "", stream: str = "") -> Suppression | None:
        """See `Store.suppression`."""
        with self._lock:
            self._check_open()
            return self._standing(tenant, stream, key)

    def add(self, suppression: Suppression, *, by: str, event: Event) -> None:
        """See `Store.add`."""
        with self._lock:
            self._check_open()
            if event.id not in self._known:
                self._change(place_of(suppression), suppression, by=by, at=event.at, event_id=event.id)
                self._keep((event,))

    def lift(self, key: str, *, tenant: str, stream: str, by: str, at: datetime, event: Event) -> Suppression | None:
        """See `Store.lift`."""
        with self._lock:
            self._check_open()
            lifted = self._standing(tenant, stream, key)
            if lifted is not None:
                self._change(Place(tenant, stream, key), None, by=by, at=at, event_id=event.id)
                self._keep((event,))
            return lifted

    # -- what happened

    def history(self, key: str, *, tenant: str = "", limit: int = 100) -> Sequence[dict[str, Any]]:
        """See `Store.history`."""
        with self._lock:
            self._check_open()
            told = tuple(self._told)
        mine = (event for event in reversed(told) if event and key and _subject(event) == (tenant, key))
        return [_dict(event) for event in islice(mine, max(limit, 0))]

    def addressed(self, delivery_id: str, *, tenant: str = "") -> Sequence[str]:
        """See `Store.addressed`."""
        with self._lock:
            self._check_open()
            told = tuple(self._told)
        news = (_dict(event)["data"] for event in told if event)
        mine = (data for data in news if (data["delivery_id"], data["tenant"]) == (delivery_id, tenant))
        return sorted({data["recipient"] for data in mine if data.get("action", "suppressed") != "suppressed"})

    def events(self, *, after: int = 0, limit: int = 1000) -> Sequence[tuple[int, dict[str, Any]]]:
        """See `Store.events`."""
        with self._lock:
            self._check_open()
            first = self._last - len(self._told) + 1
            start = max(after + 1 - first, 0)
            left = enumerate(islice(self._told, start, None), first + start)
            told = tuple(islice(((number, event) for number, event in left if event), max(limit, 0)))
        return [(number, _dict(event)) for number, event in told]

    def newest_at(self) -> datetime | None:
        """See `Cursors.newest_at`."""
        with self._lock:
            self._check_open()
            times = [milliseconds(event.at) for event in self._told if event is not None]
            newest = max((*times, *self._begun_at()), default=None)
        return None if newest is None else from_milliseconds(newest)

    def prune(self, *, before: datetime, now: datetime | None = None, limit: int = 10_000) -> int:
        """See `Cursors.prune`. There are no outcomes and no settled attempts here; strikes have bounds of their own."""
        with self._lock:
            self._check_open()
            old = self._old(milliseconds(before))[: max(limit, 0)]
            for place in old:
                event = self._told[place]
                assert event is not None
                self._known.discard(event.id)
                self._told[place] = None
            while self._told and self._told[0] is None:
                self._told.popleft()
            over = [] if now is None else self._kept_until(milliseconds(now))[: max(limit - len(old), 0)]
            for message in over:
                del self._messages[message]
        return len(old) + len(over)

    # -- open and closed

    def close(self) -> None:
        """See `Store.close`."""
        self._closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError("the store in memory is closed; open another one")

    def start_afresh(self) -> None:
        """In the child the thread that held the lock may not exist."""
        self._lock = threading.Lock()

    def _kept(self, after: int, before: int | None, *, newest_first: bool) -> Iterator[Kept]:
        """See `MemorySearching._kept`."""
        with self._lock:
            self._check_open()
            told, first = tuple(self._told), self._last - len(self._told) + 1
        start = max(after + 1 - first, 0)
        stop = len(told) if before is None else min(max(before - first, 0), len(told))
        for place in reversed(range(start, stop)) if newest_first else range(start, stop):
            if (event := told[place]) is not None:
                tenant, key = _subject(event)
                type_ = _dict(event)["type"] if isinstance(event, _Told) else event.type.value
                yield Kept(first + place, type_, milliseconds(event.at), tenant, key, partial(_dict, event))

    def _told_between(self, since: int, until: int) -> Iterator[dict[str, Any]]:
        with self._lock:
            self._check_open()
            told = tuple(self._told)
        return (_dict(event) for event in told if event and since <= milliseconds(event.at) < until)

    # -- with the lock held

    def _find(self, keys: Iterable[str], labels: Labels, now: datetime) -> dict[str, _Listed]:
        found = {}
        for key in keys:
            streams = self._listed.get((labels.tenant, key), {})
            mine = {id(one.suppression): one for name, one in streams.items() if name in (labels.stream, "")}
            first = foremost((one.suppression for one in mine.values()), now)
            if first is not None:
                found[key] = mine[id(first)]
        return found

    def _claim(self, found: dict[str, _Listed], now: datetime) -> frozenset[str]:
        at = milliseconds(now)
        granted = []
        for key, one in found.items():
            is_free = one.probe_at is None or abs(at - one.probe_at) >= _CLAIM_MILLISECONDS
            if is_free and may_be_probed(one.suppression, now):
                one.probe_at = at
                granted.append(key)
        return frozenset(granted)

    def _count(self, labels: Labels, key: str, window: Window, now: datetime) -> int:
        days = self._strikes.get((labels.tenant, labels.stream, key), {}).get(window.category, {})
        today, earliest = milliseconds(now) // _DAY_MILLISECONDS, milliseconds(now - window.within)
        return sum(day < today and last >= earliest for day, last in days.items())

    def _settle(self, settlement: Settlement, record: Record) -> None:
        """What one outcome does to the suppression list."""
        labels, at = record.occasion.labels, record.occasion.at
        if ends_probe(settlement, labels):
            for stream, one in self._listed.get((labels.tenant, settlement.key), {}).items():
                if stream in (labels.stream, ""):
                    one.probe_at = None
        lifted, caused = settlement.lifted, caused_by(settlement)
        if lifted is not None:
            place = place_of(lifted)
            if not withstands(self._standing(*place), None, at):
                told = event_id(record.occasion.attempt_id, settlement.recipient, EventType.SUPPRESSION_LIFTED)
                self._change(place, None, by="delivery", at=at, event_id=told)
        if caused is not None:
            standing = self._standing(caused.tenant, caused.stream, caused.key)
            if not withstands(standing, caused, at):
                type_ = EventType(settlement.action.value) if settlement.doubted else EventType.SUPPRESSION_ADDED
                told = event_id(record.occasion.attempt_id, settlement.recipient, type_)
                self._change(place_of(caused), caused, by=caused.by, at=at, event_id=told)

    def _hold(self, record: Record) -> None:
        """Hold what verdicts have put on the list while a mass grew: the latest of that kind, back to its beginning."""
        for held in record.held:
            for place in tuple(reversed(self._alike.get(held.pattern.fingerprint, {}))):
                one = self._standing(*place)
                if one is None or one.changed_at < held.since:
                    break
                if one.since >= held.since:
                    doubted = replace(one, standing=Standing.HELD)
                    self._change(place_of(one), doubted, by="guard", at=record.occasion.at, event_id=held.event_id)
                    if record.spent is not None:
                        self._masses.add(given_back(one))

    def _forget_alike(self, listed: _Listed | None) -> None:
        fingerprint = listed and listed.suppression.evidence.fingerprint
        if listed is None or not fingerprint or fingerprint not in self._alike:
            return
        self._alike[fingerprint].pop(_place(listed.suppression), None)
        if not self._alike[fingerprint]:
            del self._alike[fingerprint]

    def _strike(self, strikes: Iterable[Strike], record: Record) -> None:
        labels, at = record.occasion.labels, milliseconds(record.occasion.at)
        day = at // _DAY_MILLISECONDS
        for strike in strikes:
            place = (labels.tenant, labels.stream, strike.key)
            days = self._strikes.setdefault(place, {}).setdefault(strike.category, {})
            days[day] = max(at, days.get(day, at))
            if len(days) > _MOST_DAYS:
                del days[min(days)]
            self._strikes.move_to_end(place)
        while len(self._strikes) > self._most_struck:
            self._strikes.popitem(last=False)

    def _clear(self, keys: Iterable[str], labels: Labels) -> None:
        for key in keys:
            self._strikes.pop((labels.tenant, labels.stream, key), None)

    def _is_repeated(self, record: Record) -> bool:
        """See `precedence.is_repeated`; of deliveries that are folded no event is made for that."""
        if record.occasion.attempt_id in self._folded:
            if self._foldable(record) is not None:
                return True
            self._unfold()
        return self._foldable(record) is None and is_repeated(record, self._known.__contains__)

    def _told_late(self, record: Record) -> frozenset[str]:
        """What was answered when a record of the queue was remembered first."""
        ids = told_by(record)
        told = (_dict(event) for event in self._told if event and event.id in ids) if ids else ()
        return frozenset(ids[event["id"]] for event in told if event["data"]["possible_duplicate"])

    def _foldable(self, record: Record) -> Deliveries | None:
        """The deliveries whose events need not be made before somebody reads them, unless somebody has."""
        events = record.events
        if not isinstance(events, Deliveries) or record.delivery.relay is not None:
            return None  # a queue asks of each whether it is known
        if record.occasion.attempt_id in self._unfolded:
            return None
        return events if len(events.settlements.statuses.reply.raw) <= _LONG_REPLY_BYTES else None

    def _keep(self, events: Iterable[Event]) -> None:
        for event in events:
            if event.id not in self._known:
                self._known.add(event.id)
                self._events.append(_slim(event))
                self._last += 1
                self._forget_oldest()

    def _fold(self, deliveries: Deliveries) -> None:
        """Keep the events of deliveries as the one value that makes them, in as many places as they are."""
        number = len(deliveries)
        folded = self._folded[deliveries.occasion.attempt_id] = _Folded(deliveries, number)
        self._events.extend(repeat(folded, number))
        self._last += number
        self._forget_oldest()

    def _unfold(self) -> None:
        """Make the events that are still folded; they are the latest, nearly always."""
        behind: list[Event | _Told | _Folded | None] = []
        while self._folded:
            entry = self._events.pop()
            if not isinstance(entry, _Folded):
                behind.append(entry)
                continue
            for _ in range(entry.left - 1):
                self._events.pop()
            made = entry.deliveries[len(entry.deliveries) - entry.left :]
            self._known.update([event.id for event in made])
            behind += map(_slim, reversed(made))
            del self._folded[entry.deliveries.occasion.attempt_id]
            self._unfolded[entry.deliveries.occasion.attempt_id] = None
        self._events.extend(reversed(behind))
        while len(self._unfolded) > self._most_events:
            del self._unfolded[next(iter(self._unfolded))]

    def _forget_oldest(self) -> None:
        while len(self._events) > self._most_events:
            gone = self._events.popleft()
            if isinstance(gone, _Folded):
                gone.left -= 1
                if not gone.left:
                    del self._folded[gone.deliveries.occasion.attempt_id]
            elif gone is not None:
                self._known.discard(gone.id)

    @property
    def _told(self) -> "deque[Event | _Told | None]":
        """All that was told, for who wants to read it."""
        self._unfold()
        return self._events  # type: ignore[return-value]

    def _unread(self, sequence: int) -> tuple[int, datetime | None]:
        """See `MemoryCursors._unread`."""
        first = self._last - len(self._told) + 1
        left = (event for event in islice(self._told, max(sequence + 1 - first, 0), None) if event is not None)
        oldest = next(left, None)
        since = None if oldest is None else from_milliseconds(milliseconds(oldest.at))
        return max(self._last - sequence, 0), since

    def _old(self, before: int) -> list[int]:
        """Where the events from before a time stand, oldest first, as far as every reader has passed them."""
        first, passed = self._last - len(self._told) + 1, self._passed()
        stop = len(self._told) if passed is None else max(passed - first + 1, 0)
        times = [
            (milliseconds(event.at), place) for place, event in enumerate(islice(self._told, stop)) if event is not None
        ]
        return [place for at, place in sorted(times) if at < before]

    def _standing(self, tenant: str, stream: str, key: str) -> Suppression | None:
        one = self._listed.get((tenant, key), {}).get(stream)
        return None if one is None else one.suppression

    def _told_of(self, key: str) -> Iterator[str]:
        return (_subject(event)[0] for event in self._told if event and _subject(event)[1] == key)

    def _retell(self, erasure: Erasure) -> int:
        number = 0
        for place, event in enumerate(self._told):
            if event is None:
                continue
            tenant, key = _subject(event)
            json = event.json if isinstance(event, _Told) else event_json(event)
            if (erased := erasure.event(json, is_about=key == erasure.key)) is None:
                continue
            number += 1
            new, self._told[place] = event_dict(erased)["id"], None
            self._known.discard(event.id)
            if new not in self._known:  # else it was told again after an erasure, and stands there already
                self._known.add(new)
                subject = erasure.pseudonym if key == erasure.key else key
                self._told[place] = _Told(new, event.at, tenant, subject, erased)
        return number

    def _every(self) -> Iterable[Suppression]:
        return (one.suppression for streams in self._listed.values() for one in streams.values())

    def _put(self, suppression: Suppression) -> None:
        streams = self._listed.setdefault((suppression.tenant, suppression.key), {})
        self._forget_alike(streams.get(suppression.stream))
        streams[suppression.stream] = _Listed(in_milliseconds(suppression))
        if suppression.evidence.fingerprint and suppression.standing in (Standing.PROVISIONAL, Standing.CONFIRMED):
            self._alike.setdefault(suppression.evidence.fingerprint, {})[_place(suppression)] = None

    def _remove(self, tenant: str, stream: str, key: str) -> None:
        streams = self._listed.get((tenant, key), {})
        self._forget_alike(streams.pop(stream, None))
        if not streams:
            self._listed.pop((tenant, key), None)


def _place(suppression: Suppression) -> _Place:
    return suppression.tenant, suppression.stream, suppression.key


def _slim(event: Event) -> Event | _Told:
    """The event itself, which costs nothing; its JSON where a server said so much that it would fill the memory."""
    reply = event.settlement.reply if event.settlement is not None else None
    if reply is None or (type(reply) is Reply and len(reply.raw) <= _LONG_REPLY_BYTES):
        return event
    if isinstance(reply, NoReply) and reply.reply is None and len(reply.detail) <= _LONG_REPLY_BYTES:
        return event
    return _Told(event.id, event.at, *subject_of(event), event_json(event))


def _subject(event: Event | _Told) -> tuple[str, str]:
    return (event.tenant, event.key) if isinstance(event, _Told) else subject_of(event)


def _dict(event: Event | _Told) -> dict[str, Any]:
    return event_dict(event.json if isinstance(event, _Told) else event_json(event))
