"""A client for one relay on an event loop: what `bouncekit.Client` is, awaited.

Sends and waits are the loop's; what may take its time besides (a store, DNS, a channel) is done on threads of its own.
"""

import asyncio
from collections import Counter
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
    Iterator,
    Sequence,
)
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from email.message import Message
from functools import partial
from types import TracebackType
from typing import Any, Unpack

from bouncekit.clients.aiobulk import each, send_many
from bouncekit.clients.aiodirect import AsyncDirect
from bouncekit.clients.aiooffice import AsyncOffice, Errand
from bouncekit.clients.aiosession import AsyncSession, run
from bouncekit.clients.bulk import Letter
from bouncekit.clients.client import Client, ClientOptions
from bouncekit.clients.direct import Direct
from bouncekit.clients.smtp import HasOffice
from bouncekit.clients.smtperrors import told
from bouncekit.delivery.report import Report
from bouncekit.delivery.steps import Delivery, Outcome, Transact
from bouncekit.desk.course import Course, Upcoming, in_its_turn, looking_ahead
from bouncekit.desk.office import Office
from bouncekit.policy.schedule import Retry
from bouncekit.words.errors import ConfigurationError
from bouncekit.words.status import Action

__all__ = ["AsyncClient"]

_CLOSE_SECONDS = 30.0  # for subscribers


class AsyncClient:
    """Connections to one relay that come back, for asyncio.

    Nothing is dialled before there is a recipient to try. Tasks share it: each transaction takes a connection, and who
    finds none free waits for its turn. Make one for the application, and close it on the loop that it was used on.

    A send that is cancelled, by a time-out or otherwise, has its end all the same: the line is closed, everybody is
    *delayed*, or from the dot on *unknown*, and CancelledError goes on with `.report`.

    Args:
        url, postmaster, options: see `bouncekit.Client`.
        connections: how many there are at the most; one more for who has one, and sends meanwhile with none free.

    Raises:
        ConfigurationError: see `bouncekit.Client`.
    """

    def __init__(
        self,
        url: str,
        *,
        postmaster: HasOffice | None = None,
        connections: int = 1,
        **options: Unpack[ClientOptions],
    ) -> None:
        if connections < 1:
            raise ConfigurationError(f"connections={connections}: one is needed at the least")
        self._blocking = Client(url, postmaster=postmaster, **options)  # for what is done on threads
        self._office: Office = self._blocking.office
        self._connections = connections
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None  # for lines that nobody uses
        self._driver = AsyncOffice(self._office)

    def __repr__(self) -> str:
        return f"<AsyncClient {self._blocking.relay}>"

    # -- sending

    async def send(
        self,
        message: Message,
        *,
        sender: str | None = None,
        recipients: str | Iterable[str] | None = None,
        message_class: str | None = None,
        test: bool | None = None,
    ) -> Report:
        """Send a message to its recipients, or to those given. Takes, returns and raises what `Client.send` does."""
        delivery = self._blocking.desk.compose(message, sender, recipients, message_class=message_class, test=test)
        return await self._send(delivery, sender or delivery.envelope.sender.wire)

    async def sendmail(
        self,
        sender: str,
        recipients: str | Iterable[str],
        message: bytes | str,
        mail_options: Sequence[str] = (),
        rcpt_options: Sequence[str] = (),
    ) -> Report:
        """Send bytes or ASCII text; see `SMTP.sendmail`."""
        delivery = self._blocking.desk.take(sender, recipients, message, mail_options, rcpt_options)
        return await self._send(delivery, sender)

    async def send_all(
        self, messages: Iterable[Message] | AsyncIterable[Message], *, sender: str | None = None
    ) -> AsyncGenerator[Report, None]:
        """Send one message behind the other on one connection, a report for each; see `SMTP.send_all`.

        Who makes the messages, or hears of them, may send by this client: where all connections are taken, by one more.

        Raises:
            StoreUnavailable: the store does not answer; that message was not sent, nor were those behind it.
        """
        compose = self._blocking.desk.compose
        deliveries = (compose(message, sender) async for message in each(messages))
        async for report in self.deliver_all(deliveries):
            yield report

    async def send_many(
        self,
        letters: Iterable[Letter] | AsyncIterable[Letter],
        *,
        concurrency: int | None = None,
        on_result: Callable[[Letter, Report], object] | None = None,
        sender: str | None = None,
    ) -> Counter[Action]:
        """Send many messages over several connections; how many recipients came to which action.

        Letters are those of `Client.send_many`. `concurrency` is how many connections it may use at the most; without
        it, all. `on_result` is called with the letter and the report of each transaction, as they come; where it is
        asynchronous, the connection waits for it.

        Raises:
            StoreUnavailable: the store does not answer. Whatever is raised, what is under way is brought to its end.
        """
        self._errand()
        return await send_many(
            letters,
            desk=self._blocking.desk,
            deliver_all=self.deliver_all,
            concurrency=min(concurrency or self._connections, self._connections),
            on_result=on_result,
            sender=sender,
        )

    async def submit(
        self,
        message: Message,
        *,
        sender: str | None = None,
        recipients: str | Iterable[str] | None = None,
        message_class: str | None = None,
        test: bool | None = None,
    ) -> Report:
        """Store a message now and let a worker send it; see `Client.submit`."""
        errand, desk = self._errand(), self._blocking.desk
        delivery = desk.compose(message, sender, recipients, message_class=message_class, test=test)
        return errand.over(await errand.call(desk.submit, delivery))

    async def deliver(self, delivery: Delivery) -> Report:
        """Send what was taken from the queue, or composed. No outcome raises, it is in the report."""
        report, _ = await self._deliver(delivery)
        return report

    async def deliver_all(
        self, deliveries: AsyncIterable[Delivery], is_ready: Callable[[], bool] | None = None
    ) -> AsyncGenerator[Report, None]:
        """Carry deliveries out one behind the other on one connection: a report for each.

        `is_ready` says whether the next one is there by now; without it, it is waited for.
        """
        if self._office.retry is Retry.WAIT:  # who waits keeps no connection
            async for delivery in deliveries:
                yield await self.deliver(delivery)
            return
        waiting = aiter(deliveries)
        ahead: list[Upcoming] = []
        async with self._session() as session:
            try:
                while True:
                    if not ahead and (upcoming := await anext(waiting, None)) is not None:
                        ahead.append((upcoming, self._course(upcoming)))
                    if not ahead:
                        return
                    delivery, course = in_its_turn(ahead.pop())
                    errand = self._errand()
                    follow = partial(self._look_ahead, delivery, waiting, ahead, errand, is_ready)
                    transact = partial(session.transact, errand=errand, follow=follow)
                    yield await self._carry_out(delivery, course, transact, errand)
            finally:
                session.leave_ahead()

    # -- the connections

    async def close(self) -> None:
        """Say QUIT on every free connection, and wait for asynchronous subscribers. The next send dials again."""
        errand = self._errand()
        while self._closing:
            await asyncio.wait(self._closing)
        while self._free:
            await self._free.pop().hang_up(errand)
        await errand.call(self._blocking.close)
        await errand.call(self._office.ledger.bus.drain, _CLOSE_SECONDS)
        errand.over(None)

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[AsyncSession | AsyncDirect]:
        """A connection of our own for a while; who has one, and finds no other free, gets one more."""
        errand, own = self._errand(), self._hold()
        if own is not None and self._turns.locked():  # he would wait for himself
            async with own.turn:
                session, own.beside = own.beside or self._new_session(), None
                try:
                    with _holding(self):
                        yield session
                finally:
                    own.beside = session
                    if own.is_over:
                        self._close_beside(session.hang_up(errand))
            return
        async with self._turns:
            session = self._free.pop() if self._free else self._new_session()
            try:
                with _holding(self) as hold:
                    yield session
            finally:
                self._free.append(session)
                self._look_later(session.idle_seconds)
                if hold.beside is not None:
                    self._close_beside(hold.beside.hang_up(errand))

    def _hold(self) -> "_Hold | None":
        """What whoever sends now has of this client already, or has who began him."""
        return next((one for one in reversed(_HOLDS.get()) if one.client is self and not one.is_over), None)

    def _look_later(self, seconds: float) -> None:
        """Look after idle connections when the first of them may be due."""
        if self._timer is None and self._loop is not None:
            self._timer = self._loop.call_later(seconds, self._close_idle)

    def _close_idle(self) -> None:
        self._timer = None
        self._close_beside(self._close_those_idle())

    def _close_beside(self, closing: Coroutine[Any, Any, None]) -> None:
        """Close connections while nobody waits for it but `close`."""
        assert self._loop is not None
        task = self._loop.create_task(closing)
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _close_those_idle(self) -> None:
        """Close the free connections that were idle for too long; nobody sends over them meanwhile."""
        errand, lefts = self._errand(), []
        for session in tuple(self._free):
            if session in self._free:
                self._free.remove(session)
                try:
                    lefts.append(await session.close_idle(errand))
                finally:
                    self._free.insert(0, session)
        if open_ := [left for left in lefts if left is not None]:
            self._look_later(min(open_))

    def _new_session(self) -> AsyncSession | AsyncDirect:
        client = self._blocking
        if isinstance(client.desk, Direct):
            return AsyncDirect(client.desk)
        return AsyncSession(client.desk, client.relay, client.manner, lambda: client.context)

    def _errand(self) -> Errand:
        """A send on the running loop. One that was used before on another loop starts anew."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop = loop
            self._turns = asyncio.Semaphore(self._connections)
            self._free: list[AsyncSession | AsyncDirect] = []
            self._timer = None
            self._closing: set[asyncio.Task[None]] = set()
        return self._driver.errand()

    # -- a delivery

    async def _send(self, delivery: Delivery, sender: str) -> Report:
        report, trouble = await self._deliver(delivery)
        return told(delivery, report, trouble, sender)

    async def _deliver(self, delivery: Delivery) -> tuple[Report, Exception | None]:
        """The report, and what kept the last transaction from beginning."""
        errand, trouble = self._errand(), None

        async def transact(step: Transact) -> Outcome:
            nonlocal trouble
            try:
                async with self._session() as session:
                    outcome = await session.transact(step, errand)
                    trouble = session.trouble
                    return outcome
            except asyncio.CancelledError as error:  # while it waited for its turn: it gets none, and has its end
                errand.cancelled = error
                return await self._new_session().transact(step, errand)

        return await self._carry_out(delivery, self._course(delivery), transact, errand), trouble

    def _course(self, delivery: Delivery) -> Course:
        return self._office.course(delivery, self._blocking.desk.outlet)

    async def _carry_out(
        self, delivery: Delivery, course: Course, transact: Callable[[Transact], Awaitable[Outcome]], errand: Errand
    ) -> Report:
        return await self._driver.carry_out(delivery, course, transact, errand, self._blocking.send_notice)

    async def _look_ahead(
        self,
        delivery: Delivery,
        waiting: AsyncIterator[Delivery],
        ahead: list[Upcoming],
        errand: Errand,
        is_ready: Callable[[], bool] | None,
    ) -> Transact | None:
        async def do(asked: Course | None) -> object:
            if asked is not None:
                return await self._driver.do(errand, asked.first)
            upcoming = await anext(waiting, None)
            return None if upcoming is None else (upcoming, self._course(upcoming))

        first: Transact | None = await run(looking_ahead(delivery, ahead, self._office.gate, is_ready), do)
        return first


class _Hold:
    """That a task has a connection; `beside` is one more, for what it sends meanwhile, or a task that it has begun."""

    def __init__(self, client: AsyncClient) -> None:
        self.client = client
        self.is_over = False
        self.turn = asyncio.Lock()
        self.beside: AsyncSession | AsyncDirect | None = None


# Of the task that looks; those that it begins have them, too, and may be what it waits for.
_HOLDS: ContextVar[tuple[_Hold, ...]] = ContextVar("bouncekit_holds", default=())


@contextmanager
def _holding(client: AsyncClient) -> Iterator[_Hold]:
    hold = _Hold(client)
    _HOLDS.set((*_lasting(), hold))
    try:
        yield hold
    finally:
        hold.is_over = True
        _HOLDS.set(_lasting())


def _lasting() -> tuple[_Hold, ...]:
    """Without those that are over: a stream that nobody reads to its end is closed in another task."""
    return tuple([one for one in _HOLDS.get() if not one.is_over])
