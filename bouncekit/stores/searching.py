"""How a store finds events: by what it keeps beside each of them, so that none is read that is not wanted."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

__all__ = ["Search", "Searching"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """Which events somebody wants. All that is given must hold; an empty collection, and None, ask for nothing.

    `keys` are suppression keys of mailboxes, `since` is inclusive, `until` is not.
    """

    types: Collection[str] = ()
    keys: Collection[str] = ()
    tenant: str | None = None
    since: datetime | None = None
    until: datetime | None = None


class Searching(Protocol):
    """The part of a store that finds events."""

    def search(
        self,
        wanted: Search,
        *,
        after: int = 0,
        before: int | None = None,
        newest_first: bool = False,
        limit: int = 1000,
    ) -> Sequence[tuple[int, dict[str, Any]]]:
        """Up to `limit` of the events that are wanted, each with its sequence number, in the order of these.

        Only those between two sequence numbers, both excluded: the last one that came is where the next page goes on.
        """
