"""Mail without a relay: to the recipients' own hosts, in the order of their MX records (RFC 5321 5.1).

The hosts of one preference are tried in any order, each at its addresses, and at least two of them where there are two.
The next one is asked where none could be reached, or where a server of the route refused everybody for now; never after
a refusal for good, one of the sender's or of a recipient's making, or from the dot on. A domain that takes no mail
(RFC 7505), and one whose mail would come back to us, fail here.

STARTTLS is used where it is offered. Nobody verifies the certificate, since the name of the host came by a DNS that
nobody signed either, and where the handshake fails the mail goes in clear (RFC 7435), unless TLS is required. MTA-STS
(RFC 8461) and DANE (RFC 7672) are not looked up: who needs either sends through a relay that does it.
"""

import random
import ssl
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv6Address, ip_address
from itertools import islice, takewhile
from typing import Any, NamedTuple

from bouncekit.address import a_label
from bouncekit.classification import Category, Scope
from bouncekit.mailroute import MailRoute, RouteVerdict
from bouncekit.reply import Cause, EnhancedStatusCode, NoReply, Stage
from bouncekit.smtp import SMTP
from bouncekit.smtperrors import TlsNotOffered
from bouncekit.status import Action, RecipientStatus
from bouncekit.steps import Outcome, Transact

__all__ = ["Direct"]

_MOST_ADDRESSES = 6  # that are tried for one message: each may take half a minute
_MOST_HOSTS = 20  # of one domain whose addresses are asked for
_MOST_SESSIONS = 8  # that stay open
_MOST_IN_CLEAR = 1_000  # hosts whose TLS is known to fail

# Why there is no host to try: what no server has said, and what is known before anybody is asked.
_FAILURES = {
    RouteVerdict.NO_SUCH_DOMAIN: (Cause.NO_SUCH_DOMAIN, EnhancedStatusCode(5, 1, 2)),
    RouteVerdict.NULL_MX: (Cause.NULL_MX, EnhancedStatusCode(5, 1, 10)),
    RouteVerdict.NO_ADDRESS: (Cause.NO_ADDRESS, EnhancedStatusCode(5, 4, 4)),
}
_OURS = frozenset({Cause.UNSTORED, Cause.TAKEN, Cause.LOCAL})  # why we ourselves kept a dot back


class _Place(NamedTuple):
    """A mail host, at one of its addresses."""

    host: str
    address: str


@dataclass(frozen=True, slots=True)
class _NoPlace:
    """Why a domain has no host that could be tried."""

    action: Action
    reply: NoReply
    status: EnhancedStatusCode | None = None


class _HostSession(SMTP):
    """A session with one mail host, at an address of it."""

    _redials = 1  # another address is likelier to help than another try
    place: _Place
    context: ssl.SSLContext
    uses_tls = True
    requires_tls = False
    is_at_tls = False  # whether what ended was the handshake

    def _get_socket(self, host: str, port: int, timeout: Any) -> Any:
        return super()._get_socket(self.place.address, port, timeout)

    def _tell_insecure(self) -> None:
        """Nobody is promised more: see the module."""

    def greet(self) -> None:
        """What comes before the first message: EHLO, and TLS where it can be had."""
        self.is_at_tls = False
        self.ehlo_or_helo_if_needed()
        if self.uses_tls and self.has_extn("starttls"):
            self.is_at_tls = True
            self.starttls(context=self.context)
            self.ehlo_or_helo_if_needed()
            self.is_at_tls = False
        if self.requires_tls and not isinstance(self.sock, ssl.SSLSocket):
            raise TlsNotOffered(f"{self.place.host} offers no STARTTLS")


class Direct(SMTP):
    """Sends like a session with a relay, and asks the recipients' own hosts. `aim` is to be called first."""

    def aim(
        self,
        *,
        port: int,
        context: ssl.SSLContext | None,
        settings: dict[str, Any],
        requires_tls: bool = False,
        private_addresses: bool = False,
        shuffle: Callable[[list[str]], object] = random.shuffle,
    ) -> None:
        """Where to send to.

        Args:
            port: of every host.
            context: None for one that verifies no certificate.
            settings: keyword arguments of each host's session.
            requires_tls: send nothing in clear; without it TLS is used where it is offered.
            private_addresses: also hosts at addresses that are no public ones, such as our own.
            shuffle: puts hosts of the same preference into any order.
        """
        self._port, self._settings = port, settings
        self._context = context or _unverifying()
        self._requires_tls, self._private = requires_tls, private_addresses
        self._shuffle = shuffle
        self._sessions: OrderedDict[_Place, _HostSession] = OrderedDict()
        self._in_clear: OrderedDict[_Place, None] = OrderedDict()

    def _transact(self, step: Transact, follow: object = None) -> Outcome:
        """One transaction, to the recipients of the first one's domain; those behind them come next."""
        with self._turn:
            if step.through and self._elsewhere is not None and (instead := self._elsewhere(step)):
                self._trouble = None
                return instead
            step = _of_one_domain(step)
            found = self._places(a_label(step.envelope.recipients[0].domain))
            if isinstance(found, _NoPlace):
                return self._without_place(step, found)
            tried: Outcome | None = None
            for place in islice(found, _MOST_ADDRESSES):
                tried = self._try(place, step)
                if not self._may_go_on(tried):
                    return tried
            if tried is None:
                return self._without_place(step, _not_known("none of its mail hosts has an address that can be used"))
            if self._elsewhere is not None and tried.never_began and (instead := self._elsewhere(step)):
                self._trouble = None
                return instead
            return tried

    def has_extn(self, opt: str) -> bool:
        """Whether a host will offer an extension is not known before it is asked; the send finds out."""
        return self._is_composing

    def hang_up(self) -> tuple[int, bytes]:
        """Say QUIT to every host."""
        while self._sessions:
            self._end(*self._sessions.popitem())
        return 221, b""

    def close(self) -> None:
        """Close every session, without a word."""
        for session in getattr(self, "_sessions", {}).values():
            session.close()
        super().close()

    # -- one place

    def _try(self, place: _Place, step: Transact) -> Outcome:
        session = self._session(place)
        outcome = session._transact(step)
        if outcome.never_began and session.is_at_tls and not self._requires_tls:
            self._in_clear[place] = None
            while len(self._in_clear) > _MOST_IN_CLEAR:
                self._in_clear.popitem(last=False)
            session.uses_tls = session.is_at_tls = False
            outcome = session._transact(step)
        self._trouble = session._trouble
        if session.sock is None and not outcome.can_redial:
            self._sessions.pop(place, None)
        return outcome

    def _session(self, place: _Place) -> _HostSession:
        """The open session with a place, or a new one."""
        session = self._sessions.pop(place, None)
        if session is None:
            session = _HostSession(**self._settings)
            session.place, session.context = place, self._context
            session.requires_tls = self._requires_tls
            session.uses_tls = place not in self._in_clear
            session.dial_when_needed(place.host, self._port, (session.greet,), relay=self.relay)
        self._sessions[place] = session
        while len(self._sessions) > _MOST_SESSIONS:
            self._end(*self._sessions.popitem(last=False))
        return session

    def _end(self, place: _Place, session: _HostSession) -> None:
        if session.sock is not None:
            session.hang_up()

    def _may_go_on(self, outcome: Outcome) -> bool:
        """Whether another host may be asked: nobody has been accepted or judged, and no dot has gone out."""
        if outcome.never_began and all(isinstance(one.reply, NoReply) for one in outcome.statuses):
            return True
        assert self.office is not None
        return all(
            status.action is Action.DELAYED
            and status.stage is not Stage.END_OF_DATA
            and not status.accepted
            and not (isinstance(status.reply, NoReply) and status.reply.cause in _OURS)
            and self._is_of_the_host(status)
            for status in outcome.statuses
        )

    def _is_of_the_host(self, status: RecipientStatus) -> bool:
        """Whether another host of the same domain may answer otherwise: it is no verdict about us or anybody's mail."""
        assert self.office is not None
        verdict = self.office.classify(status)
        return verdict.scope is Scope.ROUTE and verdict.category is not Category.GREYLISTED

    # -- where to

    def _places(self, domain: str) -> Iterator[_Place] | _NoPlace:
        """The hosts of a domain and their addresses, in the order to try them; or why there are none."""
        if literal := _literal(domain):
            if not self._is_allowed(literal):
                return _failed(Cause.LOCAL, f"{literal} is no public address", EnhancedStatusCode(5, 4, 4))
            return iter((_Place(literal, literal),))
        assert self.office is not None
        route = self.office.router.mail_route(domain)
        if failure := _FAILURES.get(route.verdict):
            return _failed(failure[0], route.detail, failure[1])
        if route.verdict is RouteVerdict.NOT_KNOWN:
            return _not_known(route.detail)
        kept = self._before_us(route)
        if not kept.hosts:
            why = f"the mail of {domain} would come back to {self.local_hostname}, which is its own best mail host"
            return _failed(Cause.LOCAL, why, EnhancedStatusCode(5, 4, 6))
        return self._addresses(kept.names(self._shuffle))

    def _before_us(self, route: MailRoute) -> MailRoute:
        """The route without us, and all that is not preferred to us (RFC 5321 5.1)."""
        ours = [host.preference for host in route.hosts if host.name == a_label(self.local_hostname)]
        if not ours:
            return route
        return replace(route, hosts=tuple(host for host in route.hosts if host.preference < min(ours)))

    def _addresses(self, hosts: tuple[str, ...]) -> Iterator[_Place]:
        """Each host's first address, then what else they have: a host that is down must not use up all tries."""
        assert self.office is not None
        more: list[_Place] = []
        for host in hosts[:_MOST_HOSTS]:
            usable = [one for one in self.office.router.addresses_of(host) if self._is_allowed(one)]
            more += [_Place(host, address) for address in usable[1:]]
            if usable:
                yield _Place(host, usable[0])
        yield from more

    def _is_allowed(self, address: str) -> bool:
        """Whether mail may go there. A stranger's MX must not lead it to a server of our own network."""
        return self._private or ip_address(address).is_global

    def _without_place(self, step: Transact, why: _NoPlace) -> Outcome:
        assert self.office is not None
        is_the_domains = why.action is Action.FAILED and why.reply.cause is not Cause.LOCAL  # else it is our doing
        statuses = tuple(
            RecipientStatus(
                recipient=address.wire,
                action=why.action,
                stage=Stage.RCPT if why.action is Action.FAILED else Stage.CONNECT,
                reply=why.reply,
                status=why.status,
                individual=is_the_domains,
            )
            for address in step.envelope.recipients
        )
        return Outcome(attempt_id=self.office.clock.new_id(), now=self.office.clock.now(), statuses=statuses)


def _of_one_domain(step: Transact) -> Transact:
    """The step with the first recipients only, as many as have one domain."""
    domain = step.envelope.recipients[0].domain
    same = tuple(takewhile(lambda address: address.domain == domain, step.envelope.recipients))
    if len(same) == len(step.envelope.recipients):
        return step
    return replace(step, envelope=replace(step.envelope, recipients=same), recipients=step.recipients[: len(same)])


def _literal(domain: str) -> str | None:
    """The address in an address literal (RFC 5321 4.1.3); None where this is none, or one of another kind."""
    if not (domain.startswith("[") and domain.endswith("]")):
        return None
    try:
        address = ip_address(domain[1:-1].removeprefix("ipv6:"))
    except ValueError:
        return None
    return None if isinstance(address, IPv6Address) and address.scope_id else str(address)


def _failed(cause: Cause, why: str, status: EnhancedStatusCode) -> _NoPlace:
    return _NoPlace(Action.FAILED, NoReply(cause, why), status)


def _not_known(why: str) -> _NoPlace:
    return _NoPlace(Action.DELAYED, NoReply(Cause.DNS, why))


def _unverifying() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
