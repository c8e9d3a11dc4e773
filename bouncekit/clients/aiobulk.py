"""Many messages over several connections on an event loop: what `bulk` does on threads.

Between bursts of messages others may have the connection.
"""

import asyncio
from collections import Counter, deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
    Sequence,
)
from contextlib import aclosing
from typing import Any, TypeAlias, TypeVar

from bouncekit.clients.bulk import Letter, deliveries_of
from bouncekit.clients.smtp import SMTP
from bouncekit.delivery.report import Report
from bouncekit.delivery.steps import Delivery
from bouncekit.words.status import Action

__all__ = ["each", "send_many"]

_BURST = 50  # messages that a bulk send has a connection for, until others get their turn

_T = TypeVar("_T")
_Todo: TypeAlias = "asyncio.Queue[tuple[Letter, Delivery] | None]"
_DeliverAll: TypeAlias = Callable[[AsyncIterable[Delivery], Callable[[], bool]], AsyncGenerator[Report, None]]


async def send_many(
    letters: Iterable[Letter] | AsyncIterable[Letter],
    *,
    desk: SMTP,
    deliver_all: _DeliverAll,
    concurrency: int,
    on_result: Callable[[Letter, Report], object] | None = None,
    sender: str | None = None,
) -> Counter[Action]:
    """Send over so many connections, each in a task; how many recipients came to which action.

    `deliver_all` carries deliveries out on one connection. Where `on_result` is asynchronous, it is awaited.

    Raises:
        StoreUnavailable: the store does not answer. Whatever is raised, what is under way is brought to its end.
    """
    todo: _Todo = asyncio.Queue(concurrency)
    tally: Counter[Action] = Counter()

    async def feed() -> None:
        async for letter in each(letters):
            for delivery in deliveries_of(letter, desk, sender):
                await todo.put((letter, delivery))
        for _ in range(concurrency):
            await todo.put(None)

    async def hear(letter: Letter, report: Report) -> None:
        tally.update(report.actions)
        heard = on_result(letter, report) if on_result is not None else None
        if isinstance(heard, Awaitable):
            await heard

    async def run(lane: _Lane) -> None:
        while await lane.waits():
            async with aclosing(_to_the_last(deliver_all(lane.burst(), lane.is_ready))) as reports:
                async for report in reports:
                    await hear(lane.letters.popleft(), report)

    await _together(todo, feed(), [run(_Lane(todo)) for _ in range(concurrency)])
    return tally


async def each(things: Iterable[_T] | AsyncIterable[_T]) -> AsyncIterator[_T]:
    """Things that come by themselves, or are waited for."""
    if isinstance(things, AsyncIterable):
        async for thing in things:
            yield thing
    else:
        for thing in things:
            yield thing


class _Lane:
    """What one connection is to send: deliveries from a queue that all lanes share, None at its end."""

    def __init__(self, todo: "_Todo") -> None:
        self._todo = todo
        self._next: list[tuple[Letter, Delivery] | None] = []
        self.letters: deque[Letter] = deque()  # of the deliveries that were taken, as long as they have no report

    async def waits(self) -> bool:
        """Wait for the next one; whether there is one."""
        if not self._next:
            self._next.append(await self._todo.get())
        return self._next[0] is not None

    async def burst(self) -> AsyncIterator[Delivery]:
        """The next few that are here by now; behind them others may have the connection."""
        for _ in range(_BURST):
            if not self.is_ready() or (upcoming := self._next.pop()) is None:
                return
            letter, delivery = upcoming
            self.letters.append(letter)
            yield delivery

    def is_ready(self) -> bool:
        """Whether the next one is here by now: nobody waits for it with a message under way."""
        if not self._next and not self._todo.empty():
            self._next.append(self._todo.get_nowait())
        return bool(self._next) and self._next[0] is not None


async def _to_the_last(reports: AsyncGenerator[Report, None]) -> AsyncGenerator[Report, None]:
    """The reports, and that which a cancellation carries; then it goes on."""
    async with aclosing(reports):
        try:
            async for report in reports:
                yield report
        except asyncio.CancelledError as error:
            if isinstance(last := getattr(error, "report", None), Report):
                yield last
            raise


async def _together(
    todo: "_Todo", feeding: Coroutine[Any, Any, None], lanes: Sequence[Coroutine[Any, Any, None]]
) -> None:
    """Do all of it. Where something fails nothing more is begun, what is under way has its end, then that is raised."""
    feeder, *_ = tasks = [asyncio.ensure_future(one) for one in (feeding, *lanes)]
    try:
        await asyncio.gather(*tasks)
    except BaseException:
        feeder.cancel()
        while not todo.empty():
            todo.get_nowait()
        for _ in lanes:
            todo.put_nowait(None)
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
