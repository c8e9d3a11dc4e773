"""Sinks: each reads the store's events behind a cursor of its own, in batches, in order, at least once.

Each has a thread, so one that is dead or slow holds up nobody else. How often it failed, and when it is tried again,
stands in the store: a restart does not begin anew. What it cannot take for three days parks it, with all that waits for
it, until somebody says go on. Of several processes with the same sink one sends at a time.
"""

import logging
import os
import random
import traceback
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from bouncekit.delivery.events import Told, show_time
from bouncekit.desk.outbox import Outbox
from bouncekit.outside.clock import Clock
from bouncekit.sinks.protocol import NotTaken, Sink, discreet
from bouncekit.stores import Store
from bouncekit.stores.cursors import Trouble

__all__ = ["PATIENCE", "Forwarder", "Forwarding", "cursor_of", "sink_of"]

PATIENCE = timedelta(days=3)  # of failures without a single event taken; then a sink is parked
_FEWEST = 10  # failures, too: a process that was away for days has not tried for days
_FIRST_PAUSE = timedelta(seconds=5)
_LONGEST_PAUSE = timedelta(minutes=30)
_LONGEST_WISH = timedelta(hours=2)  # that a receiver may have, by Retry-After
_LEASE = timedelta(minutes=1)  # twice as long as a sink may take for a batch
_PREFIX = "sink:"  # before its name: durable subscribers have cursors too

_log = logging.getLogger("bouncekit")


def cursor_of(sink: str) -> str:
    """The name of a sink's cursor."""
    return _PREFIX + sink


def sink_of(cursor: str) -> str | None:
    """The sink whose cursor it is; None where it is a durable subscriber's."""
    return cursor.removeprefix(_PREFIX) if cursor.startswith(_PREFIX) else None


class Forwarder:
    """What reads for one sink.

    Args:
        tell_parked: told with the sink's name and its trouble, when it is not tried any more.
        jitter: a number from 0 to 1, by which a pause is made shorter or longer.
    """

    def __init__(
        self,
        sink: Sink,
        *,
        store: Store,
        clock: Clock,
        tell_parked: Callable[[str, Trouble], None],
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.sink = sink
        self.name = cursor_of(sink.name)
        self._store = store
        self._clock = clock
        self._tell_parked = tell_parked
        self._jitter = jitter
        self._owner = clock.new_id()
        self._is_begun = False
        self._is_troubled = False  # by the last look into the store

    def read(self, *, is_stopping: Callable[[], bool] = lambda: False) -> int:
        """Forward one batch at the most; how many events the sink is done with, wanted or not.

        Raises:
            StoreError: the store does not answer. What was taken and not remembered is sent again.
        """
        now, owner = self._clock.now(), f"{self._owner}-{os.getpid()}"
        after = self._store.claim_cursor(self.name, owner=owner, now=now, until=now + _LEASE)
        if after is None or is_stopping():
            return 0
        before = after = self._begin(after, owner, now)
        events = self._store.events(after=after, limit=self.sink.batch)
        wanted = [(number, told) for number, told in events if not self.sink.types or told["type"] in self.sink.types]
        taken, error = self._send([{**told, "sequence": f"{number:020d}"} for number, told in wanted])
        if taken < len(wanted):
            after = wanted[taken][0] - 1  # done with what it does not want before that one, too
        elif events:
            after = events[-1][0]
        now = self._clock.now()
        is_over = error is None and self._is_troubled  # also where there was nothing to send
        is_ours = (after == before and not is_over) or self._store.move_cursor(
            self.name, owner=owner, sequence=after, now=now, until=now + _LEASE
        )
        if error is not None and is_ours:
            self._note(error, owner, now, has_moved=taken > 0)
        return sum(number <= after for number, _ in events)

    def rests(self) -> bool:
        """Whether it failed just now, or is parked; another process may have seen that, or a hand have ended it.

        A clock that was set back makes it no longer.
        """
        trouble = self._store.trouble_of(self.name)
        self._is_troubled = trouble is not None
        if trouble is None:
            return False
        now = self._clock.now()
        return trouble.next_try_at is None or (now < trouble.next_try_at and trouble.next_try_at - now <= _LONGEST_WISH)

    def release(self) -> None:
        """Let another process send, and hang up."""
        self.sink.close()
        self._store.release_cursor(self.name, f"{self._owner}-{os.getpid()}")

    def _begin(self, after: int, owner: str, now: datetime) -> int:
        """Where to go on. A sink that is new may not want what was before it."""
        if self._is_begun:
            return after
        self._is_begun = True
        if self.sink.begin == "oldest" or after > 0:
            return after
        mine = next(one for one in self._store.cursors() if one.name == self.name)
        if mine.moved_at is not None:
            return after
        newest = mine.sequence + mine.unread
        self._store.move_cursor(self.name, owner=owner, sequence=newest, now=now, until=now + _LEASE)
        return newest

    def _send(self, events: Sequence[Told]) -> tuple[int, NotTaken | None]:
        """How many the sink has taken, from the front, and why no more where that is a failure."""
        try:
            self.sink.open()
            taken = self.sink.send(events) if events else 0
        except NotTaken as error:
            return min(error.taken, len(events)), error
        except Exception as error:  # noqa: BLE001 - a sink may raise anything; it is asked again
            frames = traceback.extract_tb(error.__traceback__)
            place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
            return 0, NotTaken(f"{discreet(error)}{place}")
        return len(events) if taken is None else min(taken, len(events)), None

    def _note(self, error: NotTaken, owner: str, now: datetime, *, has_moved: bool) -> None:
        earlier = None if has_moved else self._store.trouble_of(self.name)
        failures = earlier.failures + 1 if earlier else 1
        since = min(earlier.since, now) if earlier else now
        is_over = error.is_gone or (now - since >= PATIENCE and failures >= _FEWEST)
        next_try_at = None if is_over else now + self._pause(failures, error.wait)
        name, why = self.sink.name, discreet(error.why)
        trouble = Trouble(failures=failures, since=since, error=why, next_try_at=next_try_at)
        if not self._store.note_trouble(self.name, trouble, owner=owner):
            return
        if next_try_at is not None:
            _log.warning("sink %s failed: %s; it is tried again at %s", name, why, show_time(next_try_at))
        else:
            _log.warning("sink %s is parked: %s; to go on: bouncekit sinks enable %s", name, why, name)
            self._tell_parked(name, trouble)

    def _pause(self, failures: int, wish: timedelta | None) -> timedelta:
        """Twice as long each time, up to half an hour, a quarter more or less; at least what the receiver asked for."""
        pause = min(_FIRST_PAUSE * 2.0 ** min(failures - 1, 20), _LONGEST_PAUSE) * (0.75 + self._jitter() / 2)
        return max(pause, min(wish or timedelta(), _LONGEST_WISH))


class Forwarding:
    """The sinks of one postmaster, each with a thread of its own. Nothing runs before `start`."""

    def __init__(
        self, sinks: Sequence[Sink], *, store: Store, clock: Clock, tell_parked: Callable[[str, Trouble], None]
    ) -> None:
        self.sinks = tuple(sinks)
        self._store = store
        self._clock = clock
        self._tell_parked = tell_parked
        self._outboxes: tuple[Outbox, ...] = ()

    def start(self) -> None:
        """Begin to forward; a second call does nothing."""
        self._outboxes = self._outboxes or tuple(self._made())
        self.wake()

    def wake(self) -> None:
        """There is news."""
        for outbox in self._outboxes:
            outbox.wake()

    def run(self) -> int:
        """Forward what there is, in this thread; how many events that were, counted for each sink."""
        return sum(outbox.read_all() for outbox in (self._outboxes or self._made()))

    def close(self) -> None:
        """Let the batches under way be taken, then stop. What is left is sent next time."""
        for outbox in self._outboxes:
            outbox.stop()
        for outbox in self._outboxes:
            outbox.close()

    def _made(self) -> Iterator[Outbox]:
        for sink in self.sinks:
            outbox = Outbox(self._store, self._clock)
            outbox.add(Forwarder(sink, store=self._store, clock=self._clock, tell_parked=self._tell_parked))
            yield outbox
