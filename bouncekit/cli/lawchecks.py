"""What `bouncekit doctor` finds of policies that running processes were to take over: one that they refused."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from bouncekit.cli.checks import Check, Level
from bouncekit.delivery.events import EventType
from bouncekit.desk.eventpages import backwards, newest_number
from bouncekit.words.errors import StoreError

if TYPE_CHECKING:
    from bouncekit.stores import Store

__all__ = ["refused_policy"]

_LOOKS_BACK = timedelta(days=7)
_MOST_EVENTS = 100_000


def refused_policy(store: "Store", now: datetime) -> Iterator[Check]:
    """A running process that was to read its policy again, found it faulty, and has not read a good one since."""
    try:
        counts = store.tally_events(since=now - _LOOKS_BACK, until=now + timedelta(milliseconds=1))
        if not counts.get(EventType.POLICY_REFUSED):
            return
        newest = newest_number(store)
        about = (EventType.POLICY_LOADED, EventType.POLICY_REFUSED)
        events = backwards(store, max(newest - _MOST_EVENTS, 0), newest)
        last = next((told for _, told in events if told["type"] in about), None)
    except StoreError:
        return  # which is told by now
    if last is not None and last["type"] == EventType.POLICY_REFUSED:
        data = last["data"]
        found = f"policy {data['policy']} of before holds on in a running process: {data['why']}"
        yield Check("policy in force", Level.WARN, found, "mend the file; then SIGHUP for the worker, or reload()")
