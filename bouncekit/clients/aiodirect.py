"""Mail without a relay on an event loop: the asynchronous driver of `routing`; `direct` is the blocking one."""

from typing import Any, assert_never

from bouncekit.clients.aiooffice import Errand
from bouncekit.clients.aiosession import AsyncSession, FollowUp, run
from bouncekit.clients.direct import Direct
from bouncekit.clients.routing import FindAddresses, FindRoute, Lines, Place, Routed, Tried, Try
from bouncekit.clients.session import Elsewhere
from bouncekit.delivery.steps import Outcome, Transact
from bouncekit.outside.mailroute import not_known
from bouncekit.outside.relay import Relay
from bouncekit.protocol.opening import Manner, NotOpened, Opened, StartTls, Tls
from bouncekit.words.reply import Stage

__all__ = ["AsyncDirect"]


class _HostSession(AsyncSession):
    """A session with one mail host, at an address of it."""

    _redials = 1  # another address is likelier to help than another try

    def __init__(self, model: Direct, place: Place, tls: Tls) -> None:
        manner = Manner(own_name=model.local_hostname, tls=tls)
        super().__init__(model, Relay("smtp", place.host, model.port), manner, lambda: model.context)
        self._address = place.address
        self.elsewhere = None  # that is for whoever chose the host
        self.is_at_tls = False  # whether what ended was the handshake

    def begin_by(self, tls: Tls) -> None:
        """Have the session begin in this manner, if it is to be opened."""
        self._manner = Manner(own_name=self._manner.own_name, tls=tls)
        self.is_at_tls = False

    @property
    def is_open(self) -> bool:
        """Whether there is a line."""
        return self._is_open

    async def _opened(self) -> Opened | NotOpened:
        self.is_at_tls = False
        opened = await super()._opened()
        self.is_at_tls = isinstance(opened, NotOpened) and (self.is_at_tls or opened.stage is Stage.STARTTLS)
        return opened

    async def _do_opening(self, asked: Any) -> Any:
        self.is_at_tls = self.is_at_tls or isinstance(asked, StartTls)
        return await super()._do_opening(asked)


class AsyncDirect:
    """Carries transactions as an `AsyncSession` does, to the recipients' own hosts.

    Args:
        model: a blocking one of the same office; it lends its settings, and no line.
    """

    def __init__(self, model: Direct) -> None:
        assert model.office is not None
        self._model = model
        self._router = model.office.router
        self._lines: Lines[_HostSession] = Lines()
        self._trouble: Exception | None = None

    @property
    def trouble(self) -> Exception | None:
        """What kept the last transaction from beginning."""
        return self._trouble

    def leave_ahead(self) -> None:
        """Nothing was begun: nobody runs ahead, since the next message may go to another host."""

    async def transact(self, step: Transact, errand: Errand, follow: FollowUp | None = None) -> Outcome:
        """One transaction; a cancellation ends it and is kept by the errand."""

        async def ask(asked: Routed) -> Any:
            return await self._ask(asked, errand)

        falls_back = self._model.elsewhere is not None
        outcome: Outcome = await run(self._model.routing.transacting(step, falls_back=falls_back), ask)
        return outcome

    async def hang_up(self, errand: Errand) -> None:
        """Say QUIT to every host."""
        for session in self._lines.leave():
            await session.hang_up(errand)

    @property
    def idle_seconds(self) -> float:
        """How long a line is kept without a message."""
        return self._model.idle_seconds

    async def close_idle(self, errand: Errand) -> float | None:
        """Close the lines that were idle for too long; see `AsyncSession.close_idle`."""
        lefts = [await session.close_idle(errand) for session in self._lines.all()]
        return min((left for left in lefts if left is not None), default=None)

    # -- what a transaction asks

    async def _ask(self, asked: Routed, errand: Errand) -> Any:
        is_over = errand.cancelled is not None
        match asked:
            case FindRoute():
                if is_over:
                    return not_known(asked.domain, "the send was cancelled")
                return await errand.call(self._router.mail_route, asked.domain)
            case FindAddresses():
                return () if is_over else await errand.call(self._router.addresses_of, asked.host)
            case Try():
                return await self._try(asked, errand)
            case Elsewhere():
                return None if is_over else await self._instead(asked, errand)
            case _:
                assert_never(asked)

    async def _instead(self, asked: Elsewhere, errand: Errand) -> Outcome | None:
        assert self._model.elsewhere is not None
        outcome = await errand.call(self._model.elsewhere, asked)
        if outcome:
            self._trouble = None
        return outcome

    async def _try(self, asked: Try, errand: Errand) -> Tried:
        session = self._lines.take(asked.place) or _HostSession(self._model, asked.place, asked.tls)
        session.begin_by(asked.tls)
        outcome = await session.transact(asked.step, errand)
        self._trouble = session.trouble
        if session.is_open or outcome.can_redial:
            too_many = self._lines.keep(asked.place, session)
            if too_many is not None:
                await too_many.hang_up(errand)
        return Tried(outcome, failed_at_tls=session.is_at_tls and errand.cancelled is None)
