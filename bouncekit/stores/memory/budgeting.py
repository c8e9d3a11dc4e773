"""The levels of streams in a store in memory, of the 10,000 that changed last, and what they have spent."""

import threading
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from datetime import datetime

from bouncekit.delivery.events import Event
from bouncekit.policy.budget import Level, Spent, Stream
from bouncekit.stores.budgeting import KeptLevel
from bouncekit.stores.codec import milliseconds
from bouncekit.stores.masses import resumed
from bouncekit.stores.memory.masses import MemoryMasses
from bouncekit.stores.memory.outbox import MemoryOutbox

__all__ = ["MemoryBudgeting"]

_MOST_STREAMS = 10_000


class MemoryBudgeting(ABC):
    """See `bouncekit.stores.budgeting.Budgeting`."""

    _lock: threading.Lock
    _masses: MemoryMasses
    _outbox: MemoryOutbox

    def __init__(self) -> None:
        self._levels: OrderedDict[Stream, KeptLevel] = OrderedDict()

    @abstractmethod
    def _check_open(self) -> None:
        """Raises StoreError once the store is closed."""

    def spent(self, *, since: datetime, stream: Stream | None = None) -> Mapping[Stream, Spent]:
        """See `Budgeting.spent`."""
        with self._lock:
            self._check_open()
            return self._masses.spent(milliseconds(since), stream)

    def date_back(self, stream: Stream, *, ahead_of: datetime, to: datetime) -> bool:
        """See `Budgeting.date_back`."""
        with self._lock:
            self._check_open()
            return self._masses.date_back(stream, milliseconds(ahead_of), to)

    def levels(self, *, stream: Stream | None = None) -> Mapping[Stream, KeptLevel]:
        """See `Budgeting.levels`."""
        with self._lock:
            self._check_open()
            return {one: kept for one, kept in self._levels.items() if stream in (None, one)}

    def swap_level(
        self,
        stream: Stream,
        before: str | None,
        after: KeptLevel,
        *,
        events: Sequence[Event] = (),
        forgives: datetime | None = None,
    ) -> bool:
        """See `Budgeting.swap_level`."""
        with self._lock:
            self._check_open()
            kept = self._levels.get(stream)
            if (kept.token if kept else None) != before:
                return False
            self._levels.pop(stream, None)
            if after.level is not Level.WITHIN:
                self._levels[stream] = after
                while len(self._levels) > _MOST_STREAMS:
                    self._levels.popitem(last=False)
            if forgives is not None:
                self._masses.forgive(stream)
                self._masses.add((resumed(stream, forgives),))
            self._outbox.keep(events)
            return True
