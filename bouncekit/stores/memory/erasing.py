"""Forgetting a person in a store in memory."""

import threading
from abc import ABC, abstractmethod
from collections import OrderedDict, deque
from dataclasses import replace
from typing import Any

from bouncekit.delivery.suppressionchange import Change
from bouncekit.stores.erasing import Erased, Erasure
from bouncekit.stores.memory.outbox import MemoryOutbox
from bouncekit.stores.memory.strikes import MemoryStrikes
from bouncekit.stores.memory.waitingline import Message

__all__ = ["MemoryErasing"]


class MemoryErasing(ABC):
    """See `bouncekit.stores.erasing.Erasing`."""

    _lock: threading.Lock
    _changes: deque[Change]
    _outbox: MemoryOutbox
    _strikes: MemoryStrikes
    _messages: dict[str, Message]
    _settled: OrderedDict[tuple[str, str], None]
    _listed: dict[tuple[str, str], dict[str, Any]]

    @abstractmethod
    def _check_open(self) -> None:
        """Raises StoreError once the store is closed."""

    @abstractmethod
    def _remove(self, tenant: str, stream: str, key: str) -> None:
        """Take what stands there off the list."""

    def tenants_of(self, key: str) -> frozenset[str]:
        """See `Erasing.tenants_of`."""
        with self._lock:
            self._check_open()
            listed = {tenant for tenant, one in self._listed if one == key}
            changed = {change.place.tenant for change in self._changes if change.place.key == key}
            waiting = {
                message.delivery.labels.tenant
                for message in self._messages.values()
                if any(one.key == key for one in message.delivery.recipients)
            }
            return frozenset(listed | changed | waiting | self._outbox.tenants_of(key))

    def overwrite_deleted(self) -> None:
        """See `Erasing.overwrite_deleted`. What memory has given free is the system's."""
        self._check_open()

    def erase(self, erasure: Erasure) -> Erased:
        """See `Erasing.erase`."""
        with self._lock:
            self._check_open()
            listed = [place for place in self._listed if place[1] == erasure.key]
            places = [(tenant, stream, key) for tenant, key in listed for stream in self._listed[tenant, key]]
            for place in places:
                self._remove(*place)
            for settled in [one for one in self._settled if one[1].lower() in _lower(erasure)]:
                del self._settled[settled]
            messages, shared = self._forget_messages(erasure)
            return Erased(
                suppressions=len(places),
                strikes=self._strikes.erase(erasure.key),
                changes=self._rename_changes(erasure),
                events=self._outbox.retell(erasure),
                messages=messages,
                shared=shared,
            )

    def _rename_changes(self, erasure: Erasure) -> int:
        number = 0
        for place, change in enumerate(self._changes):
            if change.entry.key != erasure.key:
                continue
            number += 1
            self._changes[place] = replace(
                change,
                event_id=change.event_id and erasure.renamed(change.event_id),
                before=change.before and erasure.suppression(change.before),
                after=change.after and erasure.suppression(change.after),
            )
        return number

    def _forget_messages(self, erasure: Erasure) -> tuple[int, int]:
        """How many of the messages that name him went; and how many stay, for which others wait."""
        about = erasure.messages & self._messages.keys()
        gone = [name for name in about if not self._messages[name].rows]
        for name in gone:
            del self._messages[name]
        return len(gone), len(about) - len(gone)


def _lower(erasure: Erasure) -> frozenset[str]:
    return frozenset(one.lower() for one in erasure.spellings)
