"""Durable subscribers: each reads the store's events behind a cursor of its own, in order, at least once.

A subscriber that raises is asked again with the same event, after a pause that grows; the events behind it wait, and
the other subscribers do not. So a process that dies, a database that is away, a bug that is mended tomorrow lose
nothing. Of several processes with a subscriber of the same name one reads at a time.
"""

import atexit
import logging
import os
import threading
from collections.abc import Callable, Coroutine, Iterable
from datetime import UTC, datetime, timedelta
from typing import Protocol

from bouncekit.delivery.events import Event, EventType
from bouncekit.history.retelling import retold
from bouncekit.outside.clock import Clock
from bouncekit.outside.forking import begin_afresh_in_children
from bouncekit.stores import Store
from bouncekit.words.errors import ConfigurationError, StoreError

__all__ = ["Outbox", "Reader", "Reads"]

_BATCH = 200
_LEASE = timedelta(minutes=1)  # a process that is killed keeps the others waiting for so long
_SAVED = timedelta(seconds=5)  # how far a cursor may lag behind what was heard
_POLL_SECONDS = 2.0  # for what other processes tell
_LONGEST_PAUSE_SECONDS = 60.0
_STOP_SECONDS = 30.0
_EXIT_SECONDS = 5.0  # at the end of the interpreter, for a postmaster that nobody closed

_log = logging.getLogger("bouncekit")


class Reads(Protocol):
    """What reads events behind a cursor."""

    name: str

    def read(self, *, is_stopping: Callable[[], bool]) -> int:
        """Be done with what is new, one batch at the most; how many events that were."""

    def rests(self) -> bool:
        """Whether it has failed just now."""

    def release(self) -> None:
        """Let another process read."""


class Reader:
    """One durable subscriber."""

    def __init__(
        self, name: str, handler: Callable[[Event], object], types: Iterable[str], *, store: Store, clock: Clock
    ) -> None:
        self.name = name
        self._handler = handler
        self._types = frozenset(types) or frozenset(EventType)
        self._store = store
        self._clock = clock
        self._owner = clock.new_id()
        self._failures = 0
        self._rests_since = datetime.min.replace(tzinfo=UTC)
        self.pause = timedelta()  # after a failure: longer after each one

    def read(self, *, is_stopping: Callable[[], bool] = lambda: False) -> int:
        """Hear what is new, one batch at the most; how many events that were, wanted or not.

        Raises:
            StoreError: the store does not answer. What was heard and not remembered is heard again.
        """
        now = self._clock.now()
        owner = f"{self._owner}-{os.getpid()}"  # not the parent's, behind a fork
        after = self._store.claim_cursor(self.name, owner=owner, now=now, until=now + _LEASE)
        if after is None:
            return 0

        def save(sequence: int, now: datetime) -> bool:
            return self._store.move_cursor(self.name, owner=owner, sequence=sequence, now=now, until=now + _LEASE)

        heard, done, saved_at = 0, after, now
        for sequence, told in self._store.events(after=after, limit=_BATCH):
            if is_stopping() or not self._hear(told):
                break
            heard, done = heard + 1, sequence
            if (now := self._clock.now()) - saved_at >= _SAVED:
                saved_at = now
                if not save(done, now):
                    return heard  # this took so long that another process reads on
        if heard:
            save(done, self._clock.now())
        return heard

    def rests(self) -> bool:
        """Whether it has failed just now; a clock that was set back does not make that longer."""
        return self._rests_since <= self._clock.now() < self._rests_since + self.pause

    def release(self) -> None:
        """Let another process read."""
        self._store.release_cursor(self.name, f"{self._owner}-{os.getpid()}")

    def _hear(self, told: dict[str, object]) -> bool:
        """Whether the subscriber has heard one event, or does not want it."""
        try:
            event = retold(told)
        except ValueError as error:
            _log.warning("durable subscriber %s: an event is passed over: %s", self.name, error)
            return True
        if event.type not in self._types:
            return True
        try:
            answer = self._handler(event)
            if isinstance(answer, Coroutine):
                import asyncio

                asyncio.run(answer)
        except Exception:  # noqa: BLE001 - a subscriber may raise anything; it is asked again
            self._failures += 1
            seconds = min(2.0 ** min(self._failures - 1, 10), _LONGEST_PAUSE_SECONDS)
            self._rests_since, self.pause = self._clock.now(), timedelta(seconds=seconds)
            _log.exception(
                "durable subscriber %s failed at event %s; it is asked again in %g s", self.name, event.id, seconds
            )
            return False
        self._failures, self.pause = 0, timedelta()
        return True


class Outbox:
    """The durable subscribers of one postmaster, or one of its sinks, and the thread that reads for them."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._readers: tuple[Reads, ...] = ()
        self._is_closed = False
        self._thread: threading.Thread | None = None
        self.start_afresh()
        begin_afresh_in_children(self)

    def on(self, name: str, handler: Callable[[Event], object], types: Iterable[str]) -> None:
        """Subscribe durably, and begin to read.

        Raises:
            ConfigurationError: the name is empty, or taken in this process.
        """
        if not isinstance(name, str) or not name or any(reader.name == name for reader in self._readers):
            raise ConfigurationError(f"durable={name!a}: give every durable subscriber a name of its own")
        self.add(Reader(name, handler, types, store=self._store, clock=self._clock))
        self.wake()

    def add(self, reader: Reads) -> None:
        """Have this thread read for one more; it begins with `wake`."""
        self._readers += (reader,)

    def wake(self) -> None:
        """There is news."""
        if not self._readers or self._is_closed:
            return
        self._news.set()
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    self._start()

    def read_all(self) -> int:
        """Let every subscriber hear what there is, in this thread; how many events that were."""
        total = 0
        for reader in self._readers:
            while not self._is_closed and not reader.rests():
                heard = reader.read(is_stopping=lambda: self._is_closed)
                total += heard
                if not heard:
                    break
        return total

    def stop(self) -> None:
        """Let the event under way be heard, then stop; `close` waits for that."""
        self._is_closed = True
        self._news.set()

    def close(self, timeout: float = _STOP_SECONDS) -> None:
        """Let the event under way be heard, then stop. What is left is heard next time."""
        self.stop()
        atexit.unregister(self._close_at_exit)
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout)
        for reader in self._readers:
            try:
                reader.release()
            except StoreError:
                return

    def start_afresh(self) -> None:
        """Forget the thread: in the child of a fork it is the parent's."""
        self._news = threading.Event()
        self._lock = threading.Lock()
        self._thread = None

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name="bouncekit-outbox", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # there are too many, or the interpreter ends: whoever sends must not suffer
            _log.warning("durable subscribers hear nothing until the next event: %s", error)
        else:
            self._thread = thread
            atexit.register(self._close_at_exit)

    def _close_at_exit(self) -> None:
        self.close(_EXIT_SECONDS)

    def _run(self) -> None:
        is_read = True
        while not self._is_closed:
            self._news.clear()
            try:
                heard = self.read_all()
                if not is_read:
                    _log.warning("the outbox is read again")
                is_read = True
            except Exception as error:  # noqa: BLE001 - whatever a store raises, tomorrow it may answer
                if is_read:  # once, and not every few seconds of an evening
                    _log.warning("the outbox cannot be read, and is tried again until it can: %s", error)
                heard, is_read = 0, False
            if not heard and not self._is_closed:
                self._news.wait(_POLL_SECONDS)
