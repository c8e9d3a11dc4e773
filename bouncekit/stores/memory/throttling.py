"""The states of lanes in a store in memory, of the 10,000 that changed last."""

import threading
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Mapping

from bouncekit.policy.lane import Lane
from bouncekit.policy.throttle import Flow
from bouncekit.stores.throttling import KeptFlow, flow_of, flow_text

__all__ = ["MemoryThrottling"]

_MOST_LANES = 10_000


class MemoryThrottling(ABC):
    """See `bouncekit.stores.throttling.Throttling`."""

    _lock: threading.Lock

    def __init__(self) -> None:
        self._flows: OrderedDict[Lane, KeptFlow] = OrderedDict()

    @abstractmethod
    def _check_open(self) -> None:
        """Raises StoreError once the store is closed."""

    def flows(self) -> Mapping[Lane, KeptFlow]:
        """See `Throttling.flows`."""
        if not self._flows:
            self._check_open()
            return {}
        with self._lock:
            self._check_open()
            return dict(self._flows)

    def swap_flow(self, lane: Lane, before: str | None, after: Flow | None, *, token: str) -> bool:
        """See `Throttling.swap_flow`."""
        with self._lock:
            self._check_open()
            kept = self._flows.get(lane)
            if (kept.token if kept else None) != before:
                return False
            if after is None:
                self._flows.pop(lane, None)
                return True
            self._flows[lane] = KeptFlow(flow_of(flow_text(after)), token)  # as exact as every other store
            self._flows.move_to_end(lane)
            while len(self._flows) > _MOST_LANES:
                self._flows.popitem(last=False)
        return True
