"""What a store in memory counts, from the events that it still has."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any

from bouncekit.stores.codec import milliseconds
from bouncekit.stores.tallies import Facet, Tally

__all__ = ["MemoryTallies"]

_Data = Mapping[str, Any]  # `data` of an event's JSON form

_FACETS: Mapping[Facet, Callable[[_Data], str | None]] = MappingProxyType(
    {
        Facet.CATEGORY: lambda data: data["category"],
        Facet.RULE: lambda data: data["rule"],
        Facet.HOST: lambda data: data["remote_mta"],
        Facet.JUDGE: lambda data: data["classified_by"],
        Facet.DOMAIN: lambda data: _domain(data["recipient"]),
    }
)


def _domain(recipient: str) -> str:
    """What stands behind the last @; "" in a pseudonym."""
    return recipient.rpartition("@")[2].lower() if "@" in recipient else ""


class MemoryTallies(ABC):
    """See `bouncekit.stores.tallies.Tallies`."""

    @abstractmethod
    def _told_between(self, since: int, until: int) -> Iterator[dict[str, Any]]:
        """The events of a span of time, in milliseconds, as `Event.to_dict` gives them."""

    def tally(self, *facets: Facet, since: datetime, until: datetime) -> Tally:
        """See `Tallies.tally`."""
        told = self._told_between(milliseconds(since), milliseconds(until))
        return Counter(
            (event["type"], *(_FACETS[facet](data) for facet in facets))
            for event in told
            if (data := event["data"]).get("action") == event["type"] and not data["test"]
        )

    def tally_events(self, *, since: datetime, until: datetime) -> Mapping[str, int]:
        """See `Tallies.tally_events`."""
        return Counter(event["type"] for event in self._told_between(milliseconds(since), milliseconds(until)))
