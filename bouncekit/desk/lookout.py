"""Whether mail in the queue is left lying: it has been due for a while, and nobody sends it."""

from datetime import UTC, datetime, timedelta

from bouncekit.delivery.events import EventType, show_time
from bouncekit.desk.gate import Gate
from bouncekit.desk.ledger import Tell, complain
from bouncekit.outside.clock import Clock
from bouncekit.stores import Store
from bouncekit.words.errors import StoreError

__all__ = ["Lookout"]

_LOOKS = timedelta(minutes=1)
_STALLED = timedelta(minutes=15)  # that something is due and nobody takes it
_PAUSED_LONG = timedelta(hours=4)  # the same, where something is paused: that is why, but somebody should know


class Lookout:
    """Looks at the queue of a store, and tells once in a while what is wrong there."""

    def __init__(self, store: Store, clock: Clock, gate: Gate, tell: Tell) -> None:
        self._store = store
        self._clock = clock
        self._gate = gate
        self._tell = tell
        self._looked_at = self._told_at = datetime.min.replace(tzinfo=UTC)

    def look(self) -> None:
        """Ask the store, once a minute at the most."""
        now = self._clock.now()
        if abs(now - self._looked_at) < _LOOKS:  # a clock may be set back
            return
        self._looked_at = now
        try:
            depth = self._store.depth(now)
        except StoreError:
            return  # whoever sends says so
        since = depth.oldest_due_at
        if since is None or now - since < _STALLED or abs(now - self._told_at) < _STALLED:
            return
        paused = [str(lane) for lane, flow in self._gate.states().items() if flow.paused_until is not None]
        if paused and now - since < _PAUSED_LONG:
            return
        self._told_at = now
        self._tell(EventType.QUEUE_STALLED, due=depth.due, oldest_due_at=show_time(since), paused=paused)
        complain("%d queued recipients are due, the oldest since %s, and nobody sends them", depth.due, since)
