"""A store in memory: as quick as can be, bounded, and gone with its process.

Suppressions are all kept. Of events the newest 100,000 are, and so a record is known again while its first event is
among them; of strikes those of the last 366 days of the 100,000 mailboxes that got one last. The queue has no bound
but what the application puts into it, and is not durable: what waits in it is lost with the process.
"""

import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice
from types import TracebackType
from typing import Any, Self

from bouncekit.delivery.events import Event, EventType, Occasion, event_id
from bouncekit.delivery.settlement import Delivered, Settlement
from bouncekit.delivery.steps import LookedUp, LookUp, Record
from bouncekit.delivery.suppressionchange import Place, place_of
from bouncekit.outside.forking import begin_afresh_in_children
from bouncekit.policy.suppression import Standing, Suppression
from bouncekit.stores.codec import from_milliseconds, in_milliseconds, milliseconds
from bouncekit.stores.masses import counts_of, given_back
from bouncekit.stores.memory.budgeting import MemoryBudgeting
from bouncekit.stores.memory.cursors import MemoryCursors
from bouncekit.stores.memory.erasing import MemoryErasing
from bouncekit.stores.memory.listing import MemoryListing
from bouncekit.stores.memory.masses import MemoryMasses
from bouncekit.stores.memory.moving import MemoryMoving
from bouncekit.stores.memory.outbox import MemoryOutbox
from bouncekit.stores.memory.searching import MemorySearching
from bouncekit.stores.memory.strikes import MemoryStrikes
from bouncekit.stores.memory.tallies import MemoryTallies
from bouncekit.stores.memory.throttling import MemoryThrottling
from bouncekit.stores.precedence import caused_by, foremost, withstands
from bouncekit.stores.probing import Probe, granted, left_until, may_be_probed, tells_of_probe
from bouncekit.words.envelope import Labels
from bouncekit.words.errors import StoreError
from bouncekit.words.status import Action

__all__ = ["MemoryStore"]


@dataclass(slots=True)
class _Listed:
    """A suppression on the list, and its probe."""

    suppression: Suppression
    probe: Probe | None = None


class MemoryStore(
    MemoryMoving,
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
        MemoryMoving.__init__(self)
        MemoryCursors.__init__(self)
        MemoryListing.__init__(self)
        MemoryThrottling.__init__(self)
        MemoryBudgeting.__init__(self)
        self._listed: dict[tuple[str, str], dict[str, _Listed]] = {}  # (tenant, key) -> stream -> suppression
        self._alike: dict[str, dict[Place, None]] = {}  # fingerprint -> what a verdict put there, the latest last
        self._outbox = MemoryOutbox(most_events)
        self._strikes = MemoryStrikes(most_struck)
        self._masses = MemoryMasses()
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
                probes=self._claim(found, question.claim, now) if question.claim else frozenset(),
                counters={asked: self._strikes.count(question.labels, *asked, now) for asked in question.windows},
                sums={asked: self._masses.sum(asked, now) for asked in question.sums},
                masses={asked: self._masses.mass(asked, question.within, now) for asked in question.fingerprints},
            )

    def record(self, record: Record) -> frozenset[str]:
        """See `Store.record`."""
        with self._lock:
            self._check_open()
            if self._outbox.has_news(record):
                if self._is_open(record):  # who came too late has told the same, and has settled nobody by it
                    self._settle_queued(record)
                return self._outbox.told_late(record)
            late = self._come_late(record)
            record = record.come_late(late)
            if not isinstance(record.settlements, Delivered):
                for settlement in record.settlements:
                    if settlement.action is not Action.DELIVERED or settlement.lifted is not None:
                        self._settle(settlement, record)
            if record.delivery.relay is not None:
                self._settle_queued(record)
            self._strikes.add(record.strikes, record.occasion.labels, record.occasion.at)
            self._strikes.clear(record.cleared, record.occasion.labels)
            if record.held:
                self._hold(record)
            self._masses.add(counts_of(record))
            self._outbox.keep_news(record)
        return late

    def tell(self, events: Sequence[Event]) -> None:
        """See `Store.tell`."""
        with self._lock:
            self._check_open()
            self._outbox.keep(events)

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
            if event.id not in self._outbox:
                self._change(place_of(suppression), suppression, by=by, at=event.at, event_id=event.id)
                self._outbox.keep((event,))

    def lift(self, key: str, *, tenant: str, stream: str, by: str, at: datetime, event: Event) -> Suppression | None:
        """See `Store.lift`."""
        with self._lock:
            self._check_open()
            lifted = self._standing(tenant, stream, key)
            if lifted is not None:
                self._change(Place(tenant, stream, key), None, by=by, at=at, event_id=event.id)
                self._outbox.keep((event,))
            return lifted

    # -- what happened

    def history(self, key: str, *, tenant: str = "", limit: int = 100) -> Sequence[dict[str, Any]]:
        """See `Store.history`."""
        with self._lock:
            self._check_open()
            mine = self._outbox.about(tenant, key)
        return list(islice(mine, max(limit, 0)))

    def addressed(self, delivery_id: str, *, tenant: str = "") -> Sequence[str]:
        """See `Store.addressed`."""
        with self._lock:
            self._check_open()
            told = self._outbox.every()
        news = (event["data"] for event in told)
        mine = (data for data in news if (data["delivery_id"], data["tenant"]) == (delivery_id, tenant))
        return sorted({data["recipient"] for data in mine if data.get("action", "suppressed") != "suppressed"})

    def events(self, *, after: int = 0, limit: int = 1000) -> Sequence[tuple[int, dict[str, Any]]]:
        """See `Store.events`."""
        with self._lock:
            self._check_open()
            told = self._outbox.behind(after, max(limit, 0))
        return list(told)

    def newest_at(self) -> datetime | None:
        """See `Cursors.newest_at`."""
        with self._lock:
            self._check_open()
            told = self._outbox.newest_at()
            newest = max((*self._begun_at(), *(() if told is None else (told,))), default=None)
        return None if newest is None else from_milliseconds(newest)

    def prune(self, *, before: datetime, now: datetime | None = None, limit: int = 10_000) -> int:
        """See `Cursors.prune`. There are no outcomes and no settled attempts here; strikes have bounds of their own."""
        with self._lock:
            self._check_open()
            old = self._outbox.prune(before=milliseconds(before), passed=self._passed(), limit=max(limit, 0))
            over = [] if now is None else self._kept_until(milliseconds(now))[: max(limit - old, 0)]
            for message in over:
                del self._messages[message]
        return old + len(over)

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

    def _claim(self, found: dict[str, _Listed], delivery_id: str, now: datetime) -> frozenset[str]:
        at = milliseconds(now)
        free = [
            key
            for key, one in found.items()
            if may_be_probed(one.suppression, now) and not (one.probe and one.probe.keeps_out(delivery_id, at))
        ]
        for key in free:
            found[key].probe = granted(delivery_id, now)
        return frozenset(free)

    def _settle(self, settlement: Settlement, record: Record) -> None:
        """What one outcome does to the suppression list."""
        at = record.occasion.at
        self._leave_probe(settlement, record.occasion, record.delivery.id)
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

    def _leave_probe(self, settlement: Settlement, occasion: Occasion, delivery_id: str) -> None:
        labels = occasion.labels
        if tells_of_probe(settlement, labels):
            for stream, one in self._listed.get((labels.tenant, settlement.key), {}).items():
                if stream in (labels.stream, "") and one.probe and one.probe.delivery_id == delivery_id:
                    one.probe = one.probe._replace(until=left_until(settlement, occasion.at))

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
        self._alike[fingerprint].pop(place_of(listed.suppression), None)
        if not self._alike[fingerprint]:
            del self._alike[fingerprint]

    def _standing(self, tenant: str, stream: str, key: str) -> Suppression | None:
        one = self._listed.get((tenant, key), {}).get(stream)
        return None if one is None else one.suppression

    def _every(self) -> Iterable[Suppression]:
        return (one.suppression for streams in self._listed.values() for one in streams.values())

    def _put(self, suppression: Suppression) -> None:
        streams = self._listed.setdefault((suppression.tenant, suppression.key), {})
        self._forget_alike(streams.get(suppression.stream))
        streams[suppression.stream] = _Listed(in_milliseconds(suppression))
        if suppression.evidence.fingerprint and suppression.standing in (Standing.PROVISIONAL, Standing.CONFIRMED):
            self._alike.setdefault(suppression.evidence.fingerprint, {})[place_of(suppression)] = None

    def _remove(self, tenant: str, stream: str, key: str) -> None:
        streams = self._listed.get((tenant, key), {})
        self._forget_alike(streams.pop(stream, None))
        if not streams:
            self._listed.pop((tenant, key), None)
