"""The readers of the events of a store in memory."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from bouncekit.stores.codec import from_milliseconds, milliseconds
from bouncekit.stores.cursors import Cursor, Trouble
from bouncekit.stores.leases import runs
from bouncekit.stores.memory.outbox import MemoryOutbox

__all__ = ["MemoryCursors"]


@dataclass(slots=True)
class _Cursor:
    sequence: int = 0
    owner: str | None = None
    until: int = 0
    moved_at: int | None = None
    trouble: Trouble | None = None


class MemoryCursors(ABC):
    """See `bouncekit.stores.cursors.Cursors`; `prune` is the store's own."""

    _lock: threading.Lock
    _outbox: MemoryOutbox

    def __init__(self) -> None:
        self._cursors: dict[str, _Cursor] = {}

    @abstractmethod
    def _check_open(self) -> None:
        """Raises StoreError once the store is closed."""

    def read_cursor(self, name: str) -> int:
        """See `Cursors.read_cursor`."""
        with self._lock:
            self._check_open()
            return self._cursors[name].sequence if name in self._cursors else 0

    def claim_cursor(self, name: str, *, owner: str, now: datetime, until: datetime) -> int | None:
        """See `Cursors.claim_cursor`."""
        with self._lock:
            self._check_open()
            cursor = self._cursors.setdefault(name, _Cursor())
            if cursor.owner not in (None, owner) and runs(cursor.until, milliseconds(now)):
                return None
            cursor.owner, cursor.until = owner, milliseconds(until)
            return cursor.sequence

    def move_cursor(self, name: str, *, owner: str, sequence: int, now: datetime, until: datetime) -> bool:
        """See `Cursors.move_cursor`."""
        with self._lock:
            self._check_open()
            cursor = self._cursors.get(name)
            if cursor is None or cursor.owner != owner:
                return False
            cursor.sequence, cursor.until = max(cursor.sequence, sequence), milliseconds(until)
            cursor.moved_at, cursor.trouble = milliseconds(now), None
            return True

    def trouble_of(self, name: str) -> Trouble | None:
        """See `Cursors.trouble_of`."""
        with self._lock:
            self._check_open()
            return self._cursors[name].trouble if name in self._cursors else None

    def note_trouble(self, name: str, trouble: Trouble, *, owner: str) -> bool:
        """See `Cursors.note_trouble`."""
        with self._lock:
            self._check_open()
            cursor = self._cursors.get(name)
            if cursor is None or cursor.owner != owner:
                return False
            cursor.trouble = replace(
                trouble,
                since=from_milliseconds(milliseconds(trouble.since)),
                next_try_at=trouble.next_try_at and from_milliseconds(milliseconds(trouble.next_try_at)),
            )
            return True

    def place_cursor(self, name: str, sequence: int | None) -> bool:
        """See `Cursors.place_cursor`."""
        with self._lock:
            self._check_open()
            cursor = self._cursors.get(name)
            if cursor is None:
                return False
            cursor.owner, cursor.trouble = None, None
            cursor.sequence = cursor.sequence if sequence is None else sequence
            return True

    def release_cursor(self, name: str, owner: str) -> None:
        """See `Cursors.release_cursor`."""
        with self._lock:
            self._check_open()
            cursor = self._cursors.get(name)
            if cursor is not None and cursor.owner == owner:
                cursor.owner = None

    def cursors(self) -> Sequence[Cursor]:
        """See `Cursors.cursors`."""
        with self._lock:
            self._check_open()
            return [self._shown(name, cursor) for name, cursor in sorted(self._cursors.items())]

    def drop_cursor(self, name: str, *, now: datetime) -> bool:
        """See `Cursors.drop_cursor`."""
        with self._lock:
            self._check_open()
            cursor = self._cursors.get(name)
            if cursor is None or (cursor.owner is not None and runs(cursor.until, milliseconds(now))):
                return False
            del self._cursors[name]
            return True

    def _shown(self, name: str, cursor: _Cursor) -> Cursor:
        unread, since = self._outbox.unread(cursor.sequence)
        return Cursor(
            name=name,
            sequence=cursor.sequence,
            moved_at=None if cursor.moved_at is None else from_milliseconds(cursor.moved_at),
            unread=unread,
            unread_since=None if since is None else from_milliseconds(since),
            leased_until=None if cursor.owner is None else from_milliseconds(cursor.until),
            trouble=cursor.trouble,
        )

    def _passed(self) -> int | None:
        """The sequence number that every reader has passed; None where there is no reader."""
        return min((cursor.sequence for cursor in self._cursors.values()), default=None)
