"""The suppression list of a store in memory in bulk, and the newest 100,000 changes of it."""

import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from itertools import islice

from bouncekit.delivery.suppressionchange import Change, Place, Swap
from bouncekit.meaning.classification import Category
from bouncekit.policy.suppression import Standing, Suppression
from bouncekit.stores.codec import from_milliseconds, in_milliseconds, milliseconds
from bouncekit.stores.listing import Holding, Holdings
from bouncekit.stores.memory.outbox import MemoryOutbox
from bouncekit.words.envelope import Labels
from bouncekit.words.pseudonym import is_pseudonym, secret_of

__all__ = ["MemoryListing", "is_held_back"]

_MOST_CHANGES = 100_000


class MemoryListing(ABC):
    """See `bouncekit.stores.listing.Listing`."""

    _lock: threading.Lock
    _outbox: MemoryOutbox

    def __init__(self) -> None:
        self._changes: deque[Change] = deque(maxlen=_MOST_CHANGES)
        self._last_change = 0

    @abstractmethod
    def _check_open(self) -> None:
        """Raises StoreError once the store is closed."""

    @abstractmethod
    def _standing(self, tenant: str, stream: str, key: str) -> Suppression | None:
        """What stands there."""

    @abstractmethod
    def _every(self) -> Iterable[Suppression]:
        """The whole list."""

    @abstractmethod
    def _put(self, suppression: Suppression) -> None:
        """Put an entry on the list."""

    @abstractmethod
    def _remove(self, tenant: str, stream: str, key: str) -> None:
        """Take what stands there off the list."""

    def suppressed(
        self, keys: Collection[str], labels: Labels, at: datetime, *, ignored: Collection[Category] = ()
    ) -> frozenset[str]:
        """See `Listing.suppressed`."""
        with self._lock:
            self._check_open()
            streams = {labels.stream, ""}
            return frozenset(
                key
                for key in keys
                if any(
                    is_held_back(one, at, ignored)
                    for stream in streams
                    if (one := self._standing(labels.tenant, stream, key)) is not None
                )
            )

    def standing(self, places: Collection[Place]) -> Mapping[Place, Suppression]:
        """See `Listing.standing`."""
        with self._lock:
            self._check_open()
            return {place: one for place in places if (one := self._standing(*place)) is not None}

    def exchange(self, swaps: Sequence[Swap], *, by: str, at: datetime) -> Sequence[Swap]:
        """See `Listing.exchange`."""
        left = []
        with self._lock:
            self._check_open()
            for swap in swaps:
                before = None if swap.before is None else in_milliseconds(swap.before)
                if self._standing(*swap.place) != before:
                    left.append(swap)
                    continue
                event_id = None if swap.event is None else swap.event.id
                self._change(swap.place, swap.after, by=by, at=at, event_id=event_id)
                self._outbox.keep((swap.event,) if swap.event else ())
        return left

    def changes(self, *, after: int = 0, limit: int = 1000) -> Sequence[Change]:
        """See `Listing.changes`."""
        with self._lock:
            self._check_open()
            return list(islice((one for one in self._changes if one.sequence > after), max(limit, 0)))

    def changes_at(self, places: Collection[Place]) -> Mapping[Place, Sequence[Change]]:
        """See `Listing.changes_at`."""
        found: dict[Place, list[Change]] = {place: [] for place in places}
        with self._lock:
            self._check_open()
            for change in self._changes:
                if change.place in found:
                    found[change.place].append(change)
        return found

    def changes_of(self, key: str, *, tenant: str = "", limit: int = 100) -> Sequence[Change]:
        """See `Listing.changes_of`."""
        with self._lock:
            self._check_open()
            mine = (one for one in reversed(self._changes) if (one.place.tenant, one.place.key) == (tenant, key))
            return list(islice(mine, max(limit, 0)))

    def holdings(self, at: datetime, *, limit: int = 100) -> Holdings:
        """See `Listing.holdings`."""
        now, alike = from_milliseconds(milliseconds(at)), dict[str | None, list[Suppression]]()
        with self._lock:
            self._check_open()
            for one in self._every():
                if one.standing is Standing.HELD and (one.expires_at is None or one.expires_at > now):
                    alike.setdefault(one.evidence.fingerprint, []).append(one)
        found = sorted(map(_holding, alike.values()), key=lambda one: (-one.number, one.since, one.fingerprint or ""))
        return Holdings(sum(one.number for one in found), tuple(found[: max(limit, 0)]))

    def tenants(self) -> Sequence[str]:
        """See `Listing.tenants`."""
        with self._lock:
            self._check_open()
            return sorted({"", *(one.tenant for one in self._every())})

    def pseudonymous(self) -> frozenset[str]:
        """See `Listing.pseudonymous`."""
        with self._lock:
            self._check_open()
            return frozenset(secret_of(one.key) for one in self._every() if is_pseudonym(one.key))

    def _change(self, place: Place, after: Suppression | None, *, by: str, at: datetime, event_id: str | None) -> None:
        """Put an entry at its place, or take away what stands there, and note it; with the lock held."""
        before = self._standing(*place)
        if after is None:
            self._remove(*place)
        else:
            self._put(after)
        if before is None and after is None:
            return
        self._last_change += 1
        self._changes.append(
            Change(
                sequence=self._last_change,
                at=from_milliseconds(milliseconds(at)),
                by=by,
                event_id=event_id,
                before=before,
                after=self._standing(*place),
            )
        )


def is_held_back(one: Suppression, at: datetime, ignored: Collection[Category]) -> bool:
    """Whether an entry holds mail back at a time that ignores these categories."""
    return one.binds(at) and (one.standing is Standing.MANUAL or one.category not in ignored)


def _holding(held: Sequence[Suppression]) -> Holding:
    return Holding(
        fingerprint=held[0].evidence.fingerprint,
        number=len(held),
        since=min(one.since for one in held),
        last_at=max(one.changed_at for one in held),
        evidence=held[0].evidence,
    )
