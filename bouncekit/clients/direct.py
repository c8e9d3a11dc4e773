"""Mail without a relay: to the recipients' own hosts, in the order of their MX records (RFC 5321 5.1).

The hosts of one preference are tried in any order, each at its addresses, and at least two of them where there are two.
The next one is asked where none could be reached, or where a server of the route refused everybody for now; never after
a refusal for good, one of the sender's or of a recipient's making, or from the dot on. A domain that takes no mail
(RFC 7505), and one whose mail would come back to us, fail here. All that is decided by `clients.routing`; this is its
blocking driver, `clients.aiodirect` the asynchronous one.

STARTTLS is used where it is offered. Nobody verifies the certificate, since the name of the host came by a DNS that
nobody signed either, and where the handshake fails the mail goes in clear (RFC 7435), unless TLS is required. MTA-STS
(RFC 8461) and DANE (RFC 7672) are not looked up: who needs either sends through a relay that does it.
"""

import ssl
from typing import Any, assert_never

from bouncekit.clients.routing import FindAddresses, FindRoute, Lines, Place, Routed, Routing, Tried, Try
from bouncekit.clients.session import Elsewhere
from bouncekit.clients.smtp import SMTP
from bouncekit.clients.smtperrors import TlsNotOffered
from bouncekit.delivery.steps import Outcome, Transact
from bouncekit.protocol.opening import Tls
from bouncekit.transports.blocking import run

__all__ = ["Direct"]


class _HostSession(SMTP):
    """A session with one mail host, at an address of it."""

    _redials = 1  # another address is likelier to help than another try
    place: Place
    context: ssl.SSLContext
    tls = Tls.OFFERED
    is_at_tls = False  # whether what ended was the handshake

    def _get_socket(self, host: str, port: int, timeout: Any) -> Any:
        return super()._get_socket(self.place.address, port, timeout)

    def _tell_insecure(self) -> None:
        """Nobody is promised more: see the module."""

    def greet(self) -> None:
        """What comes before the first message: EHLO, and TLS where it can be had."""
        self.is_at_tls = False
        self.ehlo_or_helo_if_needed()
        if self.tls is not Tls.NEVER and self.has_extn("starttls"):
            self.is_at_tls = True
            self.starttls(context=self.context)
            self.ehlo_or_helo_if_needed()
            self.is_at_tls = False
        if self.tls is Tls.REQUIRED and not isinstance(self.sock, ssl.SSLSocket):
            raise TlsNotOffered(f"{self.place.host} offers no STARTTLS")


class Direct(SMTP):
    """Sends like a session with a relay, and asks the recipients' own hosts. `aim` is to be called first."""

    routing: Routing
    port: int
    _context: ssl.SSLContext | None
    _lines: Lines[_HostSession]

    def aim(
        self,
        *,
        port: int,
        context: ssl.SSLContext | None,
        settings: dict[str, Any],
        requires_tls: bool = False,
        private_addresses: bool = False,
    ) -> None:
        """Where to send to.

        Args:
            port: of every host.
            context: None for one that verifies no certificate.
            settings: keyword arguments of each host's session.
            requires_tls, private_addresses: see `Routing`.
        """
        assert self.office is not None
        self.port, self._settings = port, settings
        self._context = context
        self.routing = Routing(
            self.office, self.local_hostname, requires_tls=requires_tls, private_addresses=private_addresses
        )
        self._lines = Lines()

    @property
    def context(self) -> ssl.SSLContext:
        """For TLS with every host; made for the first of them."""
        self._context = self._context or _unverifying()
        return self._context

    def transact(self, step: Transact, follow: object = None) -> Outcome:
        """One transaction; nobody runs ahead of it, since the next one may go to another host."""
        with self._turn:
            falls_back = self.elsewhere is not None
            outcome: Outcome = run(self.routing.transacting(step, falls_back=falls_back), self._ask)
            return outcome

    def has_extn(self, opt: str) -> bool:
        """Whether a host will offer an extension is not known before it is asked; the send finds out."""
        return self._composing.is_on

    def hang_up(self) -> tuple[int, bytes]:
        """Say QUIT to every host."""
        for session in self._lines.leave():
            _end(session)
        return 221, b""

    def close_idle(self) -> float | None:
        """Close the lines that were idle for too long; see `Carrying.close_idle`."""
        return min((left for one in self._lines.all() if (left := one.close_idle()) is not None), default=None)

    def close(self) -> None:
        """Close every session, without a word."""
        for session in self._lines.leave() if hasattr(self, "_lines") else ():
            session.close()
        super().close()

    # -- what a transaction asks

    def _ask(self, asked: Routed) -> Any:
        assert self.office is not None
        if self._is_interrupted and isinstance(asked, FindAddresses | Elsewhere):
            return () if isinstance(asked, FindAddresses) else None
        match asked:
            case FindRoute():
                return self.office.router.mail_route(asked.domain)
            case FindAddresses():
                return self.office.router.addresses_of(asked.host)
            case Try():
                return self._try(asked)
            case Elsewhere():
                return self._instead(asked)
            case _:
                assert_never(asked)

    def _instead(self, asked: Elsewhere) -> Outcome | None:
        assert self.elsewhere is not None
        outcome = self.elsewhere(asked)
        if outcome:
            self._trouble = None
        return outcome

    def _try(self, asked: Try) -> Tried:
        session = self._lines.take(asked.place) or self._new_session(asked.place)
        session.tls, session.is_at_tls = asked.tls, False
        session._interruption = self._interruption
        outcome = session.transact(asked.step)
        self._trouble = session.trouble
        self._interruption, session._interruption = session._interruption, None
        if session.sock is not None or outcome.can_redial:
            _end(self._lines.keep(asked.place, session))
        return Tried(outcome, failed_at_tls=session.is_at_tls and not self._is_interrupted)

    def _new_session(self, place: Place) -> _HostSession:
        session = _HostSession(**self._settings)
        session.place, session.context = place, self.context
        session.on_opened = self.on_opened
        session.dial_when_needed(place.host, self.port, (session.greet,), relay=self.relay)
        return session


def _end(session: _HostSession | None) -> None:
    if session is not None and session.sock is not None:
        session.hang_up()


def _unverifying() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
