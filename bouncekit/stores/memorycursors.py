"""The readers of the events of a store in memory."""

import threading
from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import datetime

from bouncekit.stores.codec import milliseconds

__all__ = ["MemoryCursors"]


@dataclass(slots=True)
class _Cursor:
    sequence: int = 0
    owner: str | None = None
    until: int = 0


class MemoryCursors(ABC):
    """See `bouncekit.stores.cursors.Cursors`; `prune` is the store's own."""

    _lock: threading.Lock

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
            if cursor.owner not in (None, owner) and cursor.until > milliseconds(now):
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
            return True

    def release_cursor(self, name: str, owner: str) -> None:
        """See `Cursors.release_cursor`."""
        with self._lock:
            self._check_open()
            cursor = self._cursors.get(name)
            if cursor is not None and cursor.owner == owner:
                cursor.owner = None

    def _passed(self) -> int | None:
        """The sequence number that every reader has passed; None where there is no reader."""
        return min((cursor.sequence for cursor in self._cursors.values()), default=None)
