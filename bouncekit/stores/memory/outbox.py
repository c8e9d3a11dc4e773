"""The events of a store in memory: the newest of them, in their order, each known by its id.

Those of deliveries are kept as the one value that makes them, and made when somebody reads: most are forgotten before.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import islice, repeat
from typing import Any, NamedTuple, cast

from bouncekit.delivery.events import Deliveries, Event
from bouncekit.delivery.steps import Record
from bouncekit.stores.codec import event_dict, event_json, milliseconds, subject_of
from bouncekit.stores.erasing import Erasure
from bouncekit.stores.precedence import is_repeated, told_by
from bouncekit.words.reply import NoReply, Reply

__all__ = ["Kept", "MemoryOutbox"]

_LONG_REPLY_BYTES = 2048  # an event shows no more of a reply; one that has more is kept as its JSON


class Kept(NamedTuple):
    """An event that is kept, with what is asked of it; `told` gives it as `Event.to_dict` does."""

    sequence: int
    type: str
    at: int
    tenant: str
    key: str
    told: Callable[[], dict[str, Any]]


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


_Made = Event | _Told | None  # None: forgotten, between others that are not


class MemoryOutbox:
    """Events, each with its number; in the hands of a store that locks.

    What gives events one by one gives those that were there when it was called: no lock is needed while they are read.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._events: deque[_Made | _Folded] = deque()
        self._known: set[str] = set()
        self._folded: dict[str, _Folded] = {}  # by their attempts
        self._unfolded: dict[str, None] = {}  # attempts of the latest that were read, since each event is known then
        self._last = 0  # the number of the newest event

    def __contains__(self, event_id: object) -> bool:
        return event_id in self._known

    # -- what comes in

    def keep(self, events: Iterable[Event]) -> None:
        """Keep those that are not known by their ids."""
        for event in events:
            if event.id not in self._known:
                self._known.add(event.id)
                self._events.append(_slim(event))
                self._last += 1
                self._forget_oldest()

    def keep_news(self, record: Record) -> None:
        """Keep what a record tells."""
        if (deliveries := self._foldable(record)) is not None:
            self._fold(deliveries)
        else:
            self.keep(record.events)

    def has_news(self, record: Record) -> bool:
        """Whether a record was remembered before (`precedence.is_repeated`); no event is made for that."""
        if record.occasion.attempt_id in self._folded:
            if self._foldable(record) is not None:
                return True
            self._unfold()
        return self._foldable(record) is None and is_repeated(record, self._known.__contains__)

    def told_late(self, record: Record) -> frozenset[str]:
        """What was answered when a record of the queue was remembered first."""
        ids = told_by(record)
        told = (_dict(event) for event in self._told if event and event.id in ids) if ids else ()
        return frozenset(ids[event["id"]] for event in told if event["data"]["possible_duplicate"])

    # -- what is read

    def behind(self, sequence: int, limit: int) -> Iterator[tuple[int, dict[str, Any]]]:
        """The events behind a number, so many at the most, each with its own."""
        start = max(sequence + 1 - self._first, 0)
        left = enumerate(islice(self._told, start, None), self._first + start)
        found = tuple(islice(((number, event) for number, event in left if event), limit))
        return ((number, _dict(event)) for number, event in found)

    def between(self, after: int, before: int | None, *, newest_first: bool) -> Iterator[Kept]:
        """The events between two numbers, both excluded."""
        told, first = tuple(self._told), self._first
        start = max(after + 1 - first, 0)
        places = range(start, len(told) if before is None else min(max(before - first, 0), len(told)))
        order = reversed(places) if newest_first else places
        return (_kept(first + place, event) for place in order if (event := told[place]) is not None)

    def told_between(self, since: int, until: int) -> Iterator[dict[str, Any]]:
        """The events of a span of time, in milliseconds."""
        told = tuple(self._told)
        return (_dict(event) for event in told if event and since <= milliseconds(event.at) < until)

    def about(self, tenant: str, key: str) -> Iterator[dict[str, Any]]:
        """The events of one mailbox, newest first."""
        told = tuple(self._told)
        return (_dict(event) for event in reversed(told) if event and key and _subject(event) == (tenant, key))

    def every(self) -> Iterator[dict[str, Any]]:
        """All events."""
        told = tuple(self._told)
        return (_dict(event) for event in told if event)

    def tenants_of(self, key: str) -> frozenset[str]:
        """The tenants in whose events a mailbox is."""
        subjects = (_subject(event) for event in self._told if event)
        return frozenset(tenant for tenant, whose in subjects if whose == key)

    def newest_at(self) -> int | None:
        """When the newest of them happened, in milliseconds."""
        return max((milliseconds(event.at) for event in self._told if event), default=None)

    def unread(self, sequence: int) -> tuple[int, int | None]:
        """How many events there are behind a number, and when the first of them happened, in milliseconds."""
        left = islice(self._told, max(sequence + 1 - self._first, 0), None)
        oldest = next((event for event in left if event), None)
        return max(self._last - sequence, 0), None if oldest is None else milliseconds(oldest.at)

    # -- what goes, and what is written anew

    def prune(self, *, before: int, passed: int | None, limit: int) -> int:
        """Forget events from before a time, oldest first, as far as every reader has passed them; how many."""
        old = self._old(before, passed)[:limit]
        for place in old:
            event = self._told[place]
            assert event is not None
            self._known.discard(event.id)
            self._told[place] = None
        while self._told and self._told[0] is None:
            self._told.popleft()
        return len(old)

    def retell(self, erasure: Erasure) -> int:
        """Write the events anew that have a person in them; how many."""
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

    # -- folded and unfolded

    @property
    def _told(self) -> deque[_Made]:
        """All that was told, for who wants to read it."""
        self._unfold()
        return cast("deque[_Made]", self._events)

    @property
    def _first(self) -> int:
        """The number of the oldest event."""
        return self._last - len(self._events) + 1

    def _foldable(self, record: Record) -> Deliveries | None:
        """The deliveries whose events need not be made before somebody reads them, unless somebody has."""
        events = record.events
        if not isinstance(events, Deliveries) or record.delivery.relay is not None:
            return None  # a queue asks of each whether it is known
        if record.occasion.attempt_id in self._unfolded:
            return None
        return events if len(events.settlements.statuses.reply.raw) <= _LONG_REPLY_BYTES else None

    def _fold(self, deliveries: Deliveries) -> None:
        """Keep the events of deliveries as the one value that makes them, in as many places as they are."""
        number = len(deliveries)
        folded = self._folded[deliveries.occasion.attempt_id] = _Folded(deliveries, number)
        self._events.extend(repeat(folded, number))
        self._last += number
        self._forget_oldest()

    def _unfold(self) -> None:
        """Make the events that are still folded; they are the latest, nearly always."""
        behind: list[_Made] = []
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
        while len(self._unfolded) > self._most:
            del self._unfolded[next(iter(self._unfolded))]

    def _forget_oldest(self) -> None:
        while len(self._events) > self._most:
            gone = self._events.popleft()
            if isinstance(gone, _Folded):
                gone.left -= 1
                if not gone.left:
                    del self._folded[gone.deliveries.occasion.attempt_id]
            elif gone is not None:
                self._known.discard(gone.id)

    def _old(self, before: int, passed: int | None) -> list[int]:
        """Where the events from before a time stand, oldest first, as far as every reader has passed them."""
        told = self._told
        stop = len(told) if passed is None else max(passed - self._first + 1, 0)
        times = [(milliseconds(event.at), place) for place, event in enumerate(islice(told, stop)) if event is not None]
        return [place for at, place in sorted(times) if at < before]


def _slim(event: Event) -> Event | _Told:
    """The event itself, which costs nothing; its JSON where a server said so much that it would fill the memory."""
    reply = event.settlement.reply if event.settlement is not None else None
    if reply is None or (type(reply) is Reply and len(reply.raw) <= _LONG_REPLY_BYTES):
        return event
    if isinstance(reply, NoReply) and reply.reply is None and len(reply.detail) <= _LONG_REPLY_BYTES:
        return event
    return _Told(event.id, event.at, *subject_of(event), event_json(event))


def _kept(number: int, event: Event | _Told) -> Kept:
    tenant, key = _subject(event)
    type_ = _dict(event)["type"] if isinstance(event, _Told) else event.type.value
    return Kept(number, type_, milliseconds(event.at), tenant, key, partial(_dict, event))


def _subject(event: Event | _Told) -> tuple[str, str]:
    return (event.tenant, event.key) if isinstance(event, _Told) else subject_of(event)


def _dict(event: Event | _Told) -> dict[str, Any]:
    return event_dict(event.json if isinstance(event, _Told) else event_json(event))
