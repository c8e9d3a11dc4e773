"""What a store in memory counts, from the events that it still has."""

import threading
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any

from bouncekit.stores.codec import milliseconds
from bouncekit.stores.memory.outbox import MemoryOutbox
from bouncekit.stores.tallies import Facet, Talker, Tally
from bouncekit.words.status import Action

__all__ = ["MemoryTallies"]

_Data = Mapping[str, Any]  # `data` of an event's JSON form

_FACETS: Mapping[Facet, Callable[[_Data], str | None]] = MappingProxyType(
    {
        Facet.CATEGORY: lambda data: data["category"],
        Facet.RULE: lambda data: data["rule"],
        Facet.HOST: lambda data: data["remote_mta"],
        Facet.JUDGE: lambda data: data["classified_by"],
        Facet.DOMAIN: lambda data: _domain(data["recipient"]),
        Facet.TENANT: lambda data: data["tenant"],
        Facet.STREAM: lambda data: data["stream"],
        Facet.RECIPIENT: lambda data: data["recipient"],
    }
)


def _domain(recipient: str) -> str:
    """What stands behind the last @; "" in a pseudonym."""
    return recipient.rpartition("@")[2].lower() if "@" in recipient else ""


class MemoryTallies(ABC):
    """See `bouncekit.stores.tallies.Tallies`."""

    _lock: threading.Lock
    _outbox: MemoryOutbox

    @abstractmethod
    def _check_open(self) -> None:
        """Raises StoreError once the store is closed."""

    def tally(self, *facets: Facet, since: datetime, until: datetime) -> Tally:
        """See `Tallies.tally`."""
        told = self._told(since, until)
        return Counter(
            (event["type"], *(_FACETS[facet](data) for facet in facets))
            for event in told
            if (data := event["data"]).get("action") == event["type"] and not data["test"]
        )

    def talkers(self, facet: Facet, *, since: datetime, until: datetime, limit: int) -> Sequence[Talker]:
        """See `Tallies.talkers`."""
        outcomes, failed = Counter[str](), Counter[str]()
        for (action, name), number in self.tally(facet, since=since, until=until).items():
            if name:
                outcomes[name] += number
                failed[name] += number if action == Action.FAILED else 0
        most = [_largest_first(outcomes)[:limit], [name for name in _largest_first(failed)[:limit] if failed[name]]]
        found = (Talker(name, outcomes[name], failed[name]) for name in {*most[0], *most[1]})
        return sorted(found, key=lambda one: (-one.outcomes, -one.failed, one.name))

    def tally_events(self, *, since: datetime, until: datetime) -> Mapping[str, int]:
        """See `Tallies.tally_events`."""
        return Counter(event["type"] for event in self._told(since, until))

    def _told(self, since: datetime, until: datetime) -> Iterator[dict[str, Any]]:
        with self._lock:
            self._check_open()
            return self._outbox.told_between(milliseconds(since), milliseconds(until))


def _largest_first(numbers: Counter[str]) -> list[str]:
    return sorted(numbers, key=lambda name: (-numbers[name], name))
