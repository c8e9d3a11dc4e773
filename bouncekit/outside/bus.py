"""Who hears of an event in this process, in which thread, and what happens when a subscriber fails or falls behind.

A plain subscriber is called in the thread that publishes, in the order of the events. One that answers with a
coroutine, as every `async def` does, is awaited on a thread of the bus, or on the application's own loop once an
`AsyncClient` has lent it: its events one after the other, beside the other subscribers.
"""

import atexit
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from bouncekit.delivery.events import Deliveries, Event, EventType
from bouncekit.outside.forking import begin_afresh_in_children
from bouncekit.outside.loops import LentLoop, LoopThread
from bouncekit.words.errors import ConfigurationError

if TYPE_CHECKING:
    import asyncio

__all__ = ["Bus", "Handler", "Selective"]

Handler: TypeAlias = Callable[[Event], object]


class Selective(Protocol):
    """A subscriber that says beforehand whether it would do anything with events of a type, as long as that is so."""

    def wants(self, type_: EventType) -> bool: ...


_CAPACITY = 1_000  # events that wait for one asynchronous subscriber; each holds a settlement of a few KiB at most
_STUCK_SECONDS = 60.0
_CLOSE_SECONDS = 30.0
_EXIT_SECONDS = 5.0  # at the end of the interpreter, for a bus that nobody closed
_MOMENT = 0.01  # between two looks whether another loop is done with a subscriber

_log = logging.getLogger("bouncekit")


class Bus:
    """The subscribers of one postmaster.

    A subscriber that raises harms nobody: its traceback is logged, the others still hear. KeyboardInterrupt and its
    like are no failures; they go on to whoever publishes.

    When `capacity` events wait for an asynchronous subscriber, `publish` blocks: a slow one loses nothing. One that
    finishes nothing for `stuck_after` seconds is stuck, and what it would have to hear is dropped, with a warning,
    until it moves again. Whoever publishes on the bus's own thread never waits.

    After a fork the child has the same subscribers and a thread of its own; what waits stays with the parent.

    >>> from bouncekit.delivery.events import Occasion
    >>> from datetime import UTC, datetime
    >>> bus = Bus()
    >>> bus.on(lambda event: print(event.type), "failed")
    >>> occasion = Occasion(attempt_id="1", at=datetime(2026, 1, 1, tzinfo=UTC))
    >>> bus.publish([Event(id="1", type=EventType.FAILED, occasion=occasion)])
    failed
    """

    def __init__(self, *, capacity: int = _CAPACITY, stuck_after: float = _STUCK_SECONDS) -> None:
        self._capacity = capacity
        self._stuck_after = stuck_after
        self._routes: dict[str, tuple[_Subscriber, ...]] = {}  # replaced, never changed
        self._subscribers: tuple[_Subscriber, ...] = ()
        self._changed = threading.Condition()  # guards all of these, and what waits for the subscribers
        self._unheard = 0
        self._loop: LoopThread | LentLoop | None = None
        begin_afresh_in_children(self)

    def on(self, handler: Handler, *types: str) -> None:
        """Subscribe to events of these types, without any to all. A handler that is given twice hears twice.

        Raises:
            ConfigurationError: there is no such type, or the handler cannot be called.
        """
        wanted = {_event_type(type_) for type_ in types} or set(EventType)
        if not callable(handler):
            raise ConfigurationError(f"{handler!r} cannot be called: a subscriber is a function that takes an event")
        subscriber = _Subscriber(handler)
        with self._changed:
            self._subscribers += (subscriber,)
            self._routes = {**self._routes, **{type_: (*self._routes.get(type_, ()), subscriber) for type_ in wanted}}

    def publish(self, events: Sequence[Event]) -> None:
        """Tell the events, in their order. Plain subscribers have heard them when this returns."""
        if isinstance(events, Deliveries) and not self._is_heard(EventType.DELIVERED):
            return  # nobody would look at what is made for him
        for event in events:
            for subscriber in self._routes.get(event.type, ()):
                try:
                    answer = subscriber.handler(event)
                    if answer is not None and isinstance(answer, Coroutine):
                        self._hear_later(subscriber, event, answer)
                except Exception:  # noqa: BLE001 - whatever a subscriber raises, the send must not suffer
                    subscriber.complain(event)

    def _is_heard(self, type_: EventType) -> bool:
        """Whether a subscriber wants events of a type now; who has no word in that (`Selective`) wants all."""
        return any(one.wants is None or one.wants(type_) for one in self._routes.get(type_, ()))

    def attach(self, loop: "asyncio.AbstractEventLoop") -> None:
        """Have asynchronous subscribers awaited on an application's loop, until that is closed."""
        with self._changed:
            if isinstance(self._loop, LentLoop) and not self._loop.is_closed:
                return
            before, self._loop = self._loop, LentLoop(loop)
            self._wake_all()
        if isinstance(before, LoopThread):
            before.call(before.end_when_idle)

    @property
    def is_crowded(self) -> bool:
        """Whether as much waits for a subscriber as may; whoever publishes on a lent loop cannot wait, and asks."""
        return any(len(subscriber.waiting) >= self._capacity for subscriber in self._subscribers)

    def wait_for_room(self) -> None:
        """Wait until there is room for another event of each subscriber, except of those that are stuck."""
        with self._changed:
            for subscriber in self._subscribers:
                self._wait_for_room(subscriber)

    def drain(self, timeout: float | None = None) -> bool:
        """Wait until every asynchronous subscriber has heard everything; False after `timeout` seconds without that.

        On the bus's own thread, where waiting could never end, it only says how things stand.
        """
        with self._changed:
            if self._is_own_thread():
                return not self._unheard
            if self._unheard:
                self._home()
            return self._changed.wait_for(lambda: not self._unheard, timeout)

    def close(self, timeout: float | None = _CLOSE_SECONDS) -> None:
        """Drain, then stop the thread. What is not heard after `timeout` seconds is cancelled, with a warning.

        A bus that is published to after that starts a new thread.
        """
        self.drain(timeout)
        with self._changed:
            loop, self._loop = self._loop, None
            dropped = [(one, event) for one in self._subscribers for event in one.forget()]
            self._unheard -= len(dropped)
        if loop is not None:
            atexit.unregister(self._close_at_exit)
            loop.stop()
        for subscriber, event in dropped:
            _log.warning("subscriber %s did not hear event %s (%s)", subscriber, event.id, event.type)

    # -- asynchronous subscribers

    def _hear_later(self, subscriber: "_Subscriber", event: Event, hearing: Coroutine[Any, Any, object]) -> None:
        try:
            has_room = self._queue(subscriber, event, hearing)
        except BaseException:
            hearing.close()
            raise
        if not has_room:
            hearing.close()
            _log.warning("subscriber %s is stuck and misses event %s (%s)", subscriber, event.id, event.type)

    def _queue(self, subscriber: "_Subscriber", event: Event, hearing: Coroutine[Any, Any, object]) -> bool:
        with self._changed:
            if not self._is_own_thread() and not self._wait_for_room(subscriber):
                return False
            loop = self._home()
            subscriber.add(event, hearing)
            self._unheard += 1
            loop.call(self._wake, subscriber)
            return True

    def _home(self) -> "LoopThread | LentLoop":
        """Where asynchronous subscribers are awaited. What a lent loop left when it was closed, our thread takes."""
        if isinstance(self._loop, LentLoop) and self._loop.is_closed:
            self._loop = None
        if self._loop is None:
            self._loop = LoopThread()
            atexit.register(self._close_at_exit)
            self._wake_all()
        return self._loop

    def _wake_all(self) -> None:
        assert self._loop is not None
        for subscriber in self._subscribers:
            if subscriber.waiting:
                self._loop.call(self._wake, subscriber)

    def _wait_for_room(self, subscriber: "_Subscriber") -> bool:
        """Wait while the subscriber moves; False once it is stuck."""
        while len(subscriber.waiting) >= self._capacity:
            patience = subscriber.moved_at + self._stuck_after - time.monotonic()
            if patience <= 0:
                return False
            self._changed.wait(patience)
        return True

    def _wake(self, subscriber: "_Subscriber") -> None:
        """See that a subscriber's waiting events are heard. Runs on the loop's thread."""
        import asyncio

        task, loop = subscriber.task, asyncio.get_running_loop()
        if task is None or task.get_loop().is_closed():
            subscriber.task = loop.create_task(self._hear(subscriber))
        elif task.get_loop() is not loop:  # it hears to the end where it began, and may be at its end
            loop.call_later(_MOMENT, self._wake, subscriber)

    async def _hear(self, subscriber: "_Subscriber") -> None:
        try:
            while subscriber.waiting:
                event, hearing = subscriber.waiting.popleft()
                try:
                    await hearing
                except BaseException:
                    # Also SystemExit: here is nobody whom it could end. Only our own stop is none of the subscriber's.
                    subscriber.complain(event)
                    if _is_cancelled():
                        raise
                finally:
                    self._heard(subscriber)
        finally:
            subscriber.task = None

    def _heard(self, subscriber: "_Subscriber") -> None:
        with self._changed:
            self._unheard -= 1
            subscriber.moved_at = time.monotonic()
            self._changed.notify_all()

    # -- its thread, its process

    def _is_own_thread(self) -> bool:
        return self._loop is not None and self._loop.is_current()

    def _close_at_exit(self) -> None:
        self.close(_EXIT_SECONDS)

    def start_afresh(self) -> None:
        """Forget the thread and what waits for it: in the child of a fork both are the parent's."""
        self._changed = threading.Condition()  # the old one may be held by a thread that is not here
        self._unheard = 0
        self._loop = None
        for subscriber in self._subscribers:
            subscriber.forget()
            subscriber.task = None


class _Subscriber:
    """A handler, and the events that wait for it where it is asynchronous."""

    __slots__ = ("handler", "moved_at", "task", "waiting", "wants")

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.wants: Callable[[EventType], bool] | None = getattr(handler, "wants", None)  # of a `Selective` one
        self.waiting: deque[tuple[Event, Coroutine[Any, Any, object]]] = deque()
        self.moved_at = 0.0  # on the monotonic clock, when it last finished an event or got the first of some
        self.task: asyncio.Task[None] | None = None

    def __str__(self) -> str:
        return getattr(self.handler, "__qualname__", None) or type(self.handler).__qualname__

    def add(self, event: Event, hearing: Coroutine[Any, Any, object]) -> None:
        if not self.waiting:
            self.moved_at = time.monotonic()
        self.waiting.append((event, hearing))

    def complain(self, event: Event) -> None:
        """Log the exception that is being handled. The line names no address; the traceback is the subscriber's."""
        _log.exception("subscriber %s failed at event %s (%s)", self, event.id, event.type)

    def forget(self) -> list[Event]:
        """Drop what waits, and say what that was."""
        dropped = []
        while self.waiting:
            event, hearing = self.waiting.popleft()
            hearing.close()
            dropped.append(event)
        return dropped


def _event_type(name: str) -> EventType:
    try:
        return EventType(name)
    except ValueError:
        pass
    if not isinstance(name, str):
        raise ConfigurationError("on() takes event types: write @postmaster.on() with its brackets")
    import difflib

    known = [type_.value for type_ in EventType]
    close = difflib.get_close_matches(name, known, n=1)
    meant = f"did you mean {close[0]!r}?" if close else f"one of {', '.join(known)}"
    raise ConfigurationError(f"there is no event type {name!r}: {meant}")


def _is_cancelled() -> bool:
    """Whether somebody asked the running task to end, other than by an error within it."""
    import asyncio

    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
