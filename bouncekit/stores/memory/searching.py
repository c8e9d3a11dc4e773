"""Finding events in a store in memory: among those that it still has."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

from bouncekit.stores.codec import milliseconds
from bouncekit.stores.searching import Search

__all__ = ["Kept", "MemorySearching"]


class Kept(NamedTuple):
    """An event that is kept, with what is asked of it; `told` gives it as `Event.to_dict` does."""

    sequence: int
    type: str
    at: int
    tenant: str
    key: str
    told: Any


class MemorySearching(ABC):
    """See `bouncekit.stores.searching.Searching`."""

    @abstractmethod
    def _kept(self, after: int, before: int | None, *, newest_first: bool) -> Iterator[Kept]:
        """The events between two sequence numbers, both excluded."""

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
        found = (
            one
            for one in self._kept(after, before, newest_first=newest_first)
            if (since is None or one.at >= since)
            and (until is None or one.at < until)
            and _is_one(one.type, wanted.types)
            and _is_one(one.key, wanted.keys)
            and wanted.tenant in (None, one.tenant)
        )
        return [(one.sequence, one.told()) for one in islice(found, max(limit, 0))]


def _is_one(value: str, wanted: Collection[str]) -> bool:
    return not wanted or value in wanted
