"""The asynchronous driver of a delivery: what `Course.finish` is, awaited.

Sends and waits are the loop's. What may take its time besides (a store, DNS, a channel) is done on threads, unless it
is all in memory, and a cancellation waits for its end.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar
from weakref import WeakKeyDictionary

from bouncekit.clients.smtperrors import unavailable, with_report
from bouncekit.delivery.report import Report
from bouncekit.delivery.steps import Answer, Delivery, Outcome, Transact, Wait
from bouncekit.desk.course import Course
from bouncekit.desk.office import Office
from bouncekit.notify import Via
from bouncekit.outside.clock import Clock, SystemClock
from bouncekit.policy.schedule import Retry
from bouncekit.words.errors import StoreError

__all__ = ["AsyncOffice", "Errand"]

_THREADS = 8  # of one postmaster; none is started before there is something to do

_Answer = TypeVar("_Answer")
_Result = TypeVar("_Result")


class Errand:
    """One send under way: what may block goes to threads, and a cancellation waits until the send has its end.

    `cancelled` is the cancellation that came meanwhile, to be raised then.
    """

    def __init__(self, threads: Executor) -> None:
        self.cancelled: asyncio.CancelledError | None = None
        self._threads = threads

    async def call(self, function: Callable[..., _Answer], *arguments: object) -> _Answer:
        """Call a function on a thread, and wait for its end even if somebody cancels."""
        run = copy_context().run  # a subscriber may look for the span or the request that it is in
        called = asyncio.get_running_loop().run_in_executor(self._threads, run, function, *arguments)
        while True:
            try:
                return await asyncio.shield(called)
            except asyncio.CancelledError as error:
                if called.cancelled():
                    raise
                self.cancelled = error

    async def sleep(self, seconds: float, clock: Clock) -> bool:
        """Wait; False where somebody cancels."""
        try:
            if isinstance(clock, SystemClock):
                await asyncio.sleep(seconds)
            else:
                await self.call(clock.sleep, seconds)
        except asyncio.CancelledError as error:
            self.cancelled = error
        return self.cancelled is None

    def over(self, result: _Result) -> _Result:
        """What came of it, or the cancellation that has waited for it, with the report if it is one."""
        if self.cancelled is None:
            return result
        raise with_report(self.cancelled, result) if isinstance(result, Report) else self.cancelled


class AsyncOffice:
    """An office on event loops. All that its clients have to do on threads, the same few do."""

    def __init__(self, office: Office) -> None:
        self._office = office

    def errand(self) -> Errand:
        """For a send on the running loop, where asynchronous subscribers are awaited from now on."""
        self._office.ledger.bus.attach(asyncio.get_running_loop())
        return Errand(_threads_of(self._office))

    async def do(self, errand: Errand, function: Callable[..., _Answer], *arguments: object) -> _Answer:
        """Call what may block on a thread; what does not, here."""
        return await errand.call(function, *arguments) if self._office.may_block else function(*arguments)

    async def carry_out(
        self,
        delivery: Delivery,
        course: Course,
        transact: Callable[[Transact], Awaitable[Outcome]],
        errand: Errand,
        via: Via | None = None,
    ) -> Report:
        """The report of a delivery, with all done that it asks for. Notices that go by mail go `via` that.

        Raises:
            StoreUnavailable: the store does not answer, nothing was sent.
            CancelledError: with the report, when all is done.
        """
        is_patient = self._office.retry is Retry.WAIT and delivery.relay is None
        try:
            report = await self._drive(course, transact, errand, is_patient=is_patient)
        except StoreError as error:
            raise unavailable(error, delivery) from error
        finally:
            self._office.ledger.forget(delivery)
            await self.do(errand, course.leave, via)
            if self._office.ledger.bus.is_crowded:
                await errand.call(self._office.ledger.bus.wait_for_room)
        return errand.over(report)

    async def _drive(
        self,
        course: Course,
        transact: Callable[[Transact], Awaitable[Outcome]],
        errand: Errand,
        *,
        is_patient: bool,
    ) -> Report:
        clock = self._office.clock
        until = clock.now() + self._office.patience
        reached = await self.do(errand, course.advance, None)
        while not isinstance(reached, Report):
            answer: Answer
            if isinstance(reached, Wait):
                may_wait = is_patient and reached.until <= until and errand.cancelled is None
                seconds = max((reached.until - clock.now()).total_seconds(), 0.0)
                answer = may_wait and await errand.sleep(seconds, clock)
            else:
                answer = await transact(reached)
            reached = await self.do(errand, course.advance, answer)
        return reached


_pools: "WeakKeyDictionary[Office, tuple[int, Executor]]" = WeakKeyDictionary()


def _threads_of(office: Office) -> Executor:
    """The threads of an office in this process: those that a parent had before a fork are not here."""
    pid, threads = _pools.get(office, (None, None))
    if threads is None or pid != os.getpid():
        threads = ThreadPoolExecutor(_THREADS, "bouncekit-async")
        _pools[office] = os.getpid(), threads
    return threads
