"""The mail hosts of a domain, asked one behind the other, without I/O (RFC 5321 5.1); see `bouncekit.clients.direct`.

A transaction is a generator, as in a session. It asks whoever holds the lines:

    FindRoute      where a domain's mail goes, by DNS                  -> its MailRoute
    FindAddresses  where a host is                                     -> its addresses, as many as are worth trying
    Try            the transaction with a host, at one of its addresses -> Tried
    Elsewhere      the same by the relay that takes this way's place   -> its Outcome; None: it may not
"""

import random
from collections import OrderedDict
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from ipaddress import IPv6Address, ip_address
from itertools import takewhile
from typing import Any, Generic, NamedTuple, TypeVar

from bouncekit.clients.session import Elsewhere
from bouncekit.delivery.steps import Outcome, Transact
from bouncekit.desk.office import Office
from bouncekit.meaning.classification import Category, Scope
from bouncekit.outside.mailroute import MailRoute, RouteVerdict
from bouncekit.protocol.opening import Tls
from bouncekit.words.address import a_label
from bouncekit.words.reply import Cause, EnhancedStatusCode, NoReply, Stage
from bouncekit.words.status import Action, RecipientStatus

__all__ = ["FindAddresses", "FindRoute", "Lines", "Place", "Routed", "Routing", "Tried", "Try"]

_MOST_ADDRESSES = 6  # that are tried for one message: each may take half a minute
_MOST_HOSTS = 20  # of one domain whose addresses are asked for
_MOST_LINES = 8  # that stay open
_MOST_IN_CLEAR = 1_000  # hosts whose TLS is known to fail

# Why there is no host to try: what no server has said, and what is known before anybody is asked.
_FAILURES = {
    RouteVerdict.NO_SUCH_DOMAIN: (Cause.NO_SUCH_DOMAIN, EnhancedStatusCode(5, 1, 2)),
    RouteVerdict.NULL_MX: (Cause.NULL_MX, EnhancedStatusCode(5, 1, 10)),
    RouteVerdict.NO_ADDRESS: (Cause.NO_ADDRESS, EnhancedStatusCode(5, 4, 4)),
}
_OURS = frozenset({Cause.UNSTORED, Cause.TAKEN, Cause.LOCAL})  # why we ourselves kept a dot back


class Place(NamedTuple):
    """A mail host, at one of its addresses."""

    host: str
    address: str


class FindRoute(NamedTuple):
    """Say where the mail of a domain goes."""

    domain: str


class FindAddresses(NamedTuple):
    """Say at which addresses a host is, in the order to try them."""

    host: str


class Try(NamedTuple):
    """Carry a transaction to a host, over the line that is open, or over one that begins in this manner."""

    place: Place
    step: Transact
    tls: Tls


class Tried(NamedTuple):
    """What a host has answered, and whether it was the handshake that a session came to nothing at."""

    outcome: Outcome
    failed_at_tls: bool = False


Routed = FindRoute | FindAddresses | Try | Elsewhere

_Line = TypeVar("_Line")


class Lines(Generic[_Line]):
    """The sessions that are open, each with its place; only so many that no host is kept waiting for nothing."""

    def __init__(self) -> None:
        self._open: OrderedDict[Place, _Line] = OrderedDict()

    def take(self, place: Place) -> _Line | None:
        """The one with a place, which is nobody else's then."""
        return self._open.pop(place, None)

    def keep(self, place: Place, line: _Line) -> _Line | None:
        """Let one stay open, as the last one used; that which has to be ended for it."""
        self._open[place] = line
        return self._open.popitem(last=False)[1] if len(self._open) > _MOST_LINES else None

    def all(self) -> list[_Line]:
        """All of them, the last one used at the end."""
        return list(self._open.values())

    def leave(self) -> list[_Line]:
        """All of them, which are nobody's then."""
        left = list(self._open.values())
        self._open.clear()
        return left


@dataclass(frozen=True, slots=True)
class _NoPlace:
    """Why a domain has no host that could be tried."""

    action: Action
    reply: NoReply
    status: EnhancedStatusCode | None = None


class Routing:
    """Which hosts a client asks, and in which manner. Safe to share between its lines.

    Args:
        office: whose rules say what an answer means.
        own_name: of this machine: mail for it is not sent to it.
        requires_tls: nothing is sent in clear; without it TLS is used where it is offered.
        private_addresses: also hosts at addresses that are no public ones, such as our own.
        shuffle: puts hosts of the same preference into any order.
    """

    def __init__(
        self,
        office: Office,
        own_name: str,
        *,
        requires_tls: bool = False,
        private_addresses: bool = False,
        shuffle: Callable[[list[str]], object] = random.shuffle,
    ) -> None:
        self._office = office
        self._own_name = own_name
        self._requires_tls, self._private = requires_tls, private_addresses
        self.shuffle = shuffle
        self._in_clear: OrderedDict[Place, None] = OrderedDict()

    def transacting(self, step: Transact, *, falls_back: bool) -> Generator[Any, Any, Outcome]:
        """One transaction, to the recipients of the first one's domain; those behind them come next.

        With `falls_back` there is a relay that may take this way's place.
        """
        if step.through and falls_back:
            instead: Outcome | None = yield Elsewhere(step)
            if instead is not None:
                return instead
        step = _of_one_domain(step)
        tried = yield from self._asking(step)
        if isinstance(tried, _NoPlace):
            return self._without_place(step, tried)
        instead = (yield Elsewhere(step)) if falls_back and tried.never_began else None
        return instead or tried

    # -- who is asked

    def _asking(self, step: Transact) -> Generator[Any, Any, Outcome | _NoPlace]:
        """What the last host has answered that was asked; or why none was."""
        domain = a_label(step.envelope.recipients[0].domain)
        if literal := _literal(domain):
            if not self._is_allowed(literal):
                return _failed(Cause.LOCAL, f"{literal} is no public address", EnhancedStatusCode(5, 4, 4))
            return (yield from self._trying(Place(literal, literal), step))
        route = yield FindRoute(domain)
        if (why := self._why_not(route)) is not None:
            return why
        return (yield from self._each(self._before_us(route).names(self.shuffle), step))

    def _each(self, hosts: tuple[str, ...], step: Transact) -> Generator[Any, Any, Outcome | _NoPlace]:
        """Each host's first address, then what else they have: a host that is down must not use up all tries."""
        tried: Outcome | None = None
        left, more = _MOST_ADDRESSES, list[Place]()
        for host in hosts[:_MOST_HOSTS]:
            found = yield FindAddresses(host)
            places = [Place(host, one) for one in found if self._is_allowed(one)]
            more += places[1:]
            if not places:
                continue
            tried, left = (yield from self._trying(places[0], step)), left - 1
            if left == 0 or not self._may_go_on(tried):
                return tried
        for place in more[:left]:
            tried = yield from self._trying(place, step)
            if not self._may_go_on(tried):
                return tried
        return tried or _not_known("none of its mail hosts has an address that can be used")

    def _trying(self, place: Place, step: Transact) -> Generator[Any, Any, Outcome]:
        """What a host answers; where its TLS fails, without."""
        tls = Tls.REQUIRED if self._requires_tls else Tls.NEVER if place in self._in_clear else Tls.OFFERED
        tried: Tried = yield Try(place, step, tls)
        if tried.outcome.never_began and tried.failed_at_tls and tls is Tls.OFFERED:
            self._in_clear[place] = None
            while len(self._in_clear) > _MOST_IN_CLEAR:
                self._in_clear.popitem(last=False)
            tried = yield Try(place, step, Tls.NEVER)
        return tried.outcome

    def _may_go_on(self, outcome: Outcome) -> bool:
        """Whether another host may be asked: nobody has been accepted or judged, and no dot has gone out."""
        if outcome.never_began and all(isinstance(one.reply, NoReply) for one in outcome.statuses):
            return True
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
        verdict = self._office.classify(status)
        return verdict.scope is Scope.ROUTE and verdict.category is not Category.GREYLISTED

    # -- where to

    def _why_not(self, route: MailRoute) -> _NoPlace | None:
        """Why nobody can be asked about a domain."""
        if failure := _FAILURES.get(route.verdict):
            return _failed(failure[0], route.detail, failure[1])
        if route.verdict is RouteVerdict.NOT_KNOWN:
            return _not_known(route.detail)
        if self._before_us(route).hosts:
            return None
        why = f"the mail of {route.domain} would come back to {self._own_name}, which is its own best mail host"
        return _failed(Cause.LOCAL, why, EnhancedStatusCode(5, 4, 6))

    def _before_us(self, route: MailRoute) -> MailRoute:
        """The route without us, and all that is not preferred to us (RFC 5321 5.1)."""
        ours = [host.preference for host in route.hosts if host.name == a_label(self._own_name)]
        if not ours:
            return route
        return replace(route, hosts=tuple(host for host in route.hosts if host.preference < min(ours)))

    def _is_allowed(self, address: str) -> bool:
        """Whether mail may go there. A stranger's MX must not lead it to a server of our own network."""
        return self._private or ip_address(address).is_global

    def _without_place(self, step: Transact, why: _NoPlace) -> Outcome:
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
        return Outcome(attempt_id=self._office.clock.new_id(), now=self._office.clock.now(), statuses=statuses)


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
