"""One connection on an event loop: the asynchronous driver of a session (`bouncekit.clients.session`).

A send that is cancelled is not left where it stands: the line is closed, and everybody gets the outcome that this has.
Before the dot all are delayed, behind it *unknown*. Then the cancellation goes on.
"""

import asyncio
import errno
import ssl
from abc import abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any, assert_never

from bouncekit.clients.aiooffice import Errand
from bouncekit.clients.session import (
    CONNECT_SECONDS,
    Asked,
    Elsewhere,
    Follow,
    HangUp,
    Ready,
    Remember,
    Session,
    redialling,
)
from bouncekit.clients.smtp import SMTP
from bouncekit.clients.smtperrors import session_error
from bouncekit.delivery.events import EventType
from bouncekit.delivery.steps import Outcome, Transact
from bouncekit.desk.office import Office
from bouncekit.outside.relay import Relay
from bouncekit.protocol.conversation import Conversation, Look, Receive, Send, Talk, Turn
from bouncekit.protocol.opening import Manner, NotOpened, Opened, StartTls, opening
from bouncekit.protocol.transaction import NotSent
from bouncekit.transports.streams import StreamWire, connect
from bouncekit.words.reply import Cause, Reply, Stage

__all__ = ["AsyncCarrying", "AsyncSession", "FollowUp", "run"]

FollowUp = Callable[[], Awaitable[Transact | None]]


async def run(talk: Talk, do: Callable[[Any], Awaitable[Any]]) -> Any:
    """Carry out a talk's steps with what can do each of them; what it ends with."""
    try:
        step = next(talk)
        while True:
            try:
                answer = await do(step)
            except BaseException as error:  # noqa: BLE001 - it is the talk's, which knows what it means
                step = talk.throw(error)
            else:
                step = talk.send(answer)
    except StopIteration as done:
        return done.value


class AsyncCarrying(Session):
    """The part of a session on an event loop that carries transactions; who opens the line says how."""

    office: Office
    _wire: StreamWire | None = None

    @property
    def _is_open(self) -> bool:
        return self._wire is not None

    def _drop(self) -> None:
        self._was_dropped = True
        self._ahead = None
        if self._wire is not None:
            self._wire.abort()
            self._wire = None

    # -- a transaction

    def leave_ahead(self) -> None:
        """Give up what has been begun and will not be taken up."""
        if self._ahead is not None:
            self._drop()

    async def transact(self, step: Transact, errand: Errand, follow: FollowUp | None = None) -> Outcome:
        """One transaction; a cancellation ends it and is kept by the errand."""

        async def do(asked: Asked) -> Any:
            if errand.cancelled is not None:
                return self._give_up(asked)
            try:
                return await self._do(asked, errand, follow)
            except asyncio.CancelledError as error:
                errand.cancelled = error
                return self._cut_off(asked)

        outcome: Outcome = await run(self.transacting(step, follows=follow is not None), do)
        if errand.cancelled is not None:
            self._drop()
        return outcome

    def _give_up(self, asked: Asked) -> Any:
        """The answer to a step that is not begun any more: nobody wants another line either."""
        self._is_unreachable = True
        return _given_up(asked)

    def _cut_off(self, asked: Asked) -> Any:
        """The answer to a step that was under way. At the same moment all may have gone out: perhaps it was the dot."""
        if isinstance(asked, Turn | Send):
            if self._wire is not None and self._wire.has_sent_all:
                return None if isinstance(asked, Send) else (b"", _cancelled(), 0.0)
            self._is_unreachable = True
            raise _cancelled()
        return self._give_up(asked)

    async def _do(self, asked: Asked, errand: Errand, follow: FollowUp | None) -> Any:
        """Carry out one step of a transaction."""
        match asked:
            case Turn() | Send() | Receive() | Look():
                assert self._wire is not None
                return await self._wire.do(asked)
            case Ready():
                return await self._made_ready(errand)
            case Follow():
                return await follow() if follow is not None else None
            case Remember():
                refused = await errand.call(self.office.ledger.begin, *asked)
                return _given_up(asked) if refused is None and errand.cancelled is not None else refused
            case HangUp():
                return await self.hang_up(errand)
            case Elsewhere():
                return await errand.call(self.elsewhere, asked) if self.elsewhere is not None else None
            case _:
                assert_never(asked)

    @abstractmethod
    async def _made_ready(self, errand: Errand) -> Conversation:
        """The line, open and greeted; raises what smtplib and asyncio raise where there is none."""

    @abstractmethod
    async def hang_up(self, errand: Errand) -> None:
        """Say QUIT and close, whatever the answer."""


class AsyncSession(AsyncCarrying):
    """A session with a relay, dialled when there is something to send.

    Args:
        model: a blocking session with the same relay, of the same office; it lends its settings, and no line.
        manner: how its sessions begin.
        context: for TLS; asked for only where it comes to that.
    """

    def __init__(self, model: SMTP, relay: Relay, manner: Manner, context: Callable[[], ssl.SSLContext]) -> None:
        assert model.office is not None
        self.office = model.office
        self.esmtp_features, self.does_esmtp = {}, False
        self._host = self._address = relay.host
        self._port = relay.port
        self.conduct, self.elsewhere = model.conduct, model.elsewhere
        self._timeout: float | None = model.timeout if isinstance(model.timeout, int | float) else None
        self._manner = manner
        self._context = context
        self._tls_at_once = relay.scheme == "smtps"
        self._was_connected = False

    @property
    def _may_dial(self) -> bool:
        return True

    async def _made_ready(self, errand: Errand) -> Conversation:
        if self._wire is None:
            await self._dial(errand)
        assert self._wire is not None
        return self._wire.line

    async def _dial(self, errand: Errand) -> None:
        """Open the session, as often as it may help."""
        import tenacity

        async def sleep(seconds: float) -> None:
            if not await errand.sleep(seconds, self.office.clock):
                raise _cancelled()

        self._is_unreachable = True
        try:
            await tenacity.AsyncRetrying(**redialling(self._redials), sleep=sleep)(self._dial_once)
        except BaseException:
            self._drop()
            raise
        self._is_unreachable = False
        if self._was_connected:
            await errand.call(self._tell, EventType.RECONNECTED, self._port)
        self._was_connected = True

    async def _dial_once(self) -> None:
        self.esmtp_features, self.does_esmtp = {}, False
        seconds = self._timeout or CONNECT_SECONDS
        tls = self._context() if self._tls_at_once else None
        self._wire = wire = await connect(self._address, self._port, tls=tls, seconds=seconds)
        wire.line.timeout = self._timeout
        try:
            greeting = await run(wire.line.read_reply(Stage.CONNECT), wire.do)
            if not (isinstance(greeting, Reply) and greeting.code == 220):
                raise session_error(Stage.CONNECT, greeting)
            opened = await self._opened()
            if isinstance(opened, NotOpened):
                raise session_error(opened.stage, opened.answer)
        except BaseException:
            self._drop()
            raise
        self.does_esmtp, self.esmtp_features = opened.extensions is not None, dict(opened.extensions or {})
        self._begin_afresh()

    async def _opened(self) -> Opened | NotOpened:
        """What comes before the first message: EHLO, TLS, login."""
        assert self._wire is not None
        opened: Opened | NotOpened = await run(opening(self._wire.line, self._manner), self._do_opening)
        return opened

    async def _do_opening(self, asked: Turn | Send | Receive | Look | StartTls) -> Any:
        assert self._wire is not None
        if not isinstance(asked, StartTls):
            return await self._wire.do(asked)
        return await self._wire.start_tls(self._context(), self._host)

    async def close_idle(self, errand: Errand) -> float | None:
        """Close the line if it was idle for too long; in how many seconds it will have been, None: there is none."""
        if self._wire is None:
            return None
        if (left := self._idle_left()) > 0:
            return left
        await self.hang_up(errand)
        return None

    async def hang_up(self, errand: Errand) -> None:
        """Say QUIT and close, whatever the answer."""
        wire, self._wire, self._ahead = self._wire, None, None
        if wire is None:
            return
        try:
            answer = await run(wire.line.say_goodbye(), wire.do)
        finally:
            wire.close()
        await errand.call(self._tell_closed, answer)

    def _tell(self, type_: EventType, port: int) -> None:
        self.office.tell_session(type_, remote_mta=self._host, port=port)


def _given_up(asked: Asked) -> Any:
    """The answer to a step once the send is cancelled: as if the line were cut.

    Raises:
        ConnectionAbortedError: where that is how such a step fails.
    """
    match asked:
        case Look():
            return b""
        case Turn():
            return asked.data, None, 0.0  # a look finds the end
        case Remember():
            return NotSent(Cause.LOST, "the send was cancelled")
        case Follow() | Elsewhere() | HangUp():
            return None
        case _:
            raise _cancelled()


def _cancelled() -> OSError:
    return ConnectionAbortedError(errno.ECANCELED, "the send was cancelled")
