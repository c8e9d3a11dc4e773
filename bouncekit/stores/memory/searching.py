"""Finding events in a store in memory: among those that it still has."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from itertools import islice
from typing import Any

from bouncekit.stores.codec import milliseconds
from bouncekit.stores.memory.outbox import MemoryOutbox
from bouncekit.stores.searching import Search

__all__ = ["MemorySearching"]


class MemorySearching(ABC):
    """See `bouncekit.stores.searching.Searching`."""

    _lock: threading.Lock
    _outbox: MemoryOutbox

    @abstractmethod
    def _check_open(self) -> None:
        """Raises StoreError once the store is closed."""

    def search(
        self,
        wanted: Search,
        *,
        after: int = 0,
        before: int | None = None,
        newest_first: bool = False,
        limit: int = 1000,
    ) -> Sequence[tuple[int, dict[str, Any]]]:
        """See `Searching.search`."""
        since = None if wanted.since is None else milliseconds(wanted.since)
        until = None if wanted.until is None else milliseconds(wanted.until)
        with self._lock:
            self._check_open()
            kept = self._outbox.between(after, before, newest_first=newest_first)
        found = (
            one
            for one in kept
            if (since is None or one.at >= since)
            and (until is None or one.at < until)
            and _is_one(one.type, wanted.types)
            and _is_one(one.key, wanted.keys)
            and wanted.tenant in (None, one.tenant)
        )
        return [(one.sequence, one.told()) for one in islice(found, max(limit, 0))]


def _is_one(value: str, wanted: Collection[str]) -> bool:
    return not wanted or value in wanted
