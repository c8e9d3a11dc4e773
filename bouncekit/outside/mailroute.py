"""Where the mail of a domain goes, and whether it can go anywhere (RFC 5321 5.1, RFC 7505, RFC 2308).

Three answers are verdicts about a domain: it does not exist, it takes no mail (null MX), it has no address. A server
that is silent, refuses, fails or answers nonsense has said nothing: that is `not_known`, and nobody fails for it.
"""

import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from itertools import chain, islice, zip_longest
from typing import TYPE_CHECKING, Any, NamedTuple

from bouncekit.words.showing import printable

if TYPE_CHECKING:
    from dns import resolver as dns_resolver
    from dns.message import Message

__all__ = ["MailHost", "MailRoute", "RouteVerdict", "can_be_asked", "find_addresses", "find_route", "not_known"]

_MOST_HOSTS = 50  # MX hosts that are kept
_MOST_ASKED = 10  # MX hosts whose addresses are asked for
_MOST_ADDRESSES = 8  # of one host
_MOST_ALIASES = 8  # answers that only say "look there instead", one behind the other

_LEAST = timedelta(minutes=1)  # a TTL below it would have every send ask again
_MOST_FOUND = timedelta(hours=1)
_MOST_NEGATIVE = timedelta(minutes=5)  # a mistake that somebody mends must not cost mail for long (RFC 2308 5)
_NOT_KNOWN_FOR = timedelta(seconds=30)

_LABEL = "[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"(?:{_LABEL}\.)+[a-z](?:[a-z0-9-]{{0,61}}[a-z0-9])?").fullmatch
_MOST_OCTETS = 253
# Names that public DNS does not know and that may exist all the same (RFC 6761 6.3, RFC 6762 3, RFC 7686 2).
_LOCAL = (".localhost", ".local", ".onion")

_A, _NS, _SOA, _AAAA = 1, 2, 6, 28  # types of records (RFC 1035 3.2.2, RFC 3596 2.1)


class RouteVerdict(StrEnum):
    """What DNS says about a domain's mail."""

    FOUND = "found"  # there are hosts that take it
    NO_SUCH_DOMAIN = "no_such_domain"  # NXDOMAIN, for MX and for addresses too
    NULL_MX = "null_mx"  # the domain says that it takes no mail (RFC 7505)
    NO_ADDRESS = "no_address"  # the domain, or each of its MX hosts, has neither A nor AAAA
    NOT_KNOWN = "not_known"  # nobody could say now, or it is no name to ask for


class MailHost(NamedTuple):
    """A host that takes mail; a lower preference is tried first."""

    preference: int
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MailRoute:
    """The way to one domain.

    `domain` is in A-labels, `hosts` are sorted by preference and name. `implicit` says that the domain has no MX and
    is its own host (RFC 5321 5.1). `ttl` is how long this is remembered; `detail` says for people why there is none.

    >>> route = MailRoute(
    ...     domain="example.com", verdict=RouteVerdict.FOUND, hosts=(MailHost(10, "a"), MailHost(10, "b"))
    ... )
    >>> route.names(shuffle=lambda names: names.reverse())
    ('b', 'a')
    """

    domain: str
    verdict: RouteVerdict
    hosts: tuple[MailHost, ...] = ()
    implicit: bool = False
    ttl: timedelta = timedelta(0)
    detail: str = ""

    def names(self, shuffle: Callable[[list[str]], object] = lambda names: None) -> tuple[str, ...]:
        """The hosts in the order to try them; give `random.shuffle` to spread the load (RFC 5321 5.1)."""
        ordered: list[str] = []
        for preference in sorted({host.preference for host in self.hosts}):
            equal = [host.name for host in self.hosts if host.preference == preference]
            shuffle(equal)
            ordered += equal
        return tuple(ordered)


def find_route(stub: "dns_resolver.Resolver", domain: str, *, lifetime: float) -> MailRoute:
    """Ask DNS about one domain; all questions together take `lifetime` seconds at most. Never raises for an answer."""
    try:
        return _Questions(stub, lifetime).route(domain)
    except _NotKnown as why:
        return not_known(domain, str(why))


def find_addresses(stub: "dns_resolver.Resolver", host: str, *, lifetime: float) -> tuple[str, ...]:
    """The addresses of a mail host, IPv6 and IPv4 in turn, a few of each; none where nobody could say."""
    questions = _Questions(stub, lifetime)
    return tuple(islice(_in_turn(questions.addresses(host, "AAAA"), questions.addresses(host, "A")), _MOST_ADDRESSES))


def can_be_asked(domain: str) -> bool:
    """Whether public DNS could know a domain: no address literal, no single label, no name of the local network."""
    return _is_name(domain) and not domain.endswith(_LOCAL)


def not_known(domain: str, why: str, ttl: timedelta = _NOT_KNOWN_FOR) -> MailRoute:
    """The route about which nobody said anything."""
    shown = printable(why, limit=200)
    return MailRoute(domain=domain[:_MOST_OCTETS], verdict=RouteVerdict.NOT_KNOWN, ttl=ttl, detail=shown)


class _NotKnown(Exception):
    """Nobody could say; why."""


class _Questions:
    """The questions about one domain: together they have `lifetime` seconds, and the shortest TTL holds for all."""

    def __init__(self, stub: "dns_resolver.Resolver", lifetime: float) -> None:
        self._stub = stub
        self._until = time.monotonic() + lifetime
        self._ttl = _MOST_FOUND
        self._with_address: set[str] = set()  # hosts whose addresses came along with the MX records

    def route(self, domain: str) -> MailRoute:
        """Raises _NotKnown."""
        records = self._records(domain, "MX")
        if records:
            return self._by_mx(domain, records)
        # Some servers deny the whole name because it has no MX, so NXDOMAIN counts if the addresses have it too.
        exists = self._has_address(domain)
        if exists:
            return self._found(domain, (MailHost(0, domain),), implicit=True)
        if exists is None and records is None:
            return self._none(domain, RouteVerdict.NO_SUCH_DOMAIN, f"there is no domain {domain} (NXDOMAIN)")
        return self._none(domain, RouteVerdict.NO_ADDRESS, f"{domain} has neither MX nor address")

    def addresses(self, name: str, kind: str) -> Sequence[str]:
        """The addresses of one kind; none where nobody could say."""
        try:
            return [record.address for record in self._records(name, kind) or ()]
        except _NotKnown:
            return ()

    def _by_mx(self, domain: str, records: Sequence[Any]) -> MailRoute:
        listed = sorted({MailHost(one.preference, one.exchange.to_text(True).lower()) for one in records})
        if all(host.name == "." for host in listed):
            return self._none(domain, RouteVerdict.NULL_MX, f"{domain} takes no mail (null MX, RFC 7505)")
        hosts = tuple(host for host in listed if _is_name(host.name))[:_MOST_HOSTS]
        if not hosts:
            raise _NotKnown(f"none of the MX records of {domain} names a host")
        if self._may_have_address(hosts) or len(hosts) < len(listed):
            return self._found(domain, hosts)
        return self._none(domain, RouteVerdict.NO_ADDRESS, f"no MX host of {domain} has an address", hosts)

    def _may_have_address(self, hosts: tuple[MailHost, ...]) -> bool:
        """False only where every host was asked for and has none."""
        if len(hosts) > _MOST_ASKED or any(host.name in self._with_address for host in hosts):
            return True
        try:
            return any(self._has_address(host.name) for host in hosts)
        except _NotKnown:
            return True

    def _has_address(self, name: str) -> bool | None:
        """Whether a name has an address; None where there is no such name."""
        for kind in ("A", "AAAA"):
            records = self._records(name, kind)
            if records is None or records:
                return None if records is None else True
        return False

    def _records(self, name: str, kind: str) -> Sequence[Any] | None:
        """The records of one kind, over aliases; empty where the name has none, None where it does not exist."""
        for _ in range(_MOST_ALIASES):
            answer = self._answer(name, kind)
            if answer is None:
                return None
            target = answer.canonical_name.to_text(omit_final_dot=True).lower()
            if answer.rrset is not None:
                return list(answer.rrset)
            if target == name:
                return ()
            if not _is_name(target):
                raise _NotKnown(f"{name} is an alias of something that is no name")
            name = target
        raise _NotKnown(f"the aliases of {name} have no end")

    def _answer(self, name: str, kind: str) -> "dns_resolver.Answer | None":
        """What a server says; None for NXDOMAIN.

        Raises:
            _NotKnown: none does, or none says anything of use.
        """
        from dns import exception
        from dns import resolver as dns_resolver

        left = self._until - time.monotonic()
        if left <= 0:
            raise _NotKnown(f"no time was left to ask for the {kind} of {name}")
        try:
            answer = self._stub.resolve(f"{name}.", kind, raise_on_no_answer=False, lifetime=left, search=False)
        except dns_resolver.NXDOMAIN as error:
            for response in error.responses().values():  # type: ignore[no-untyped-call]  # dnspython has none
                self._heed(response.resolve_chaining().minimum_ttl)
            return None
        except (exception.DNSException, OSError) as error:
            raise _NotKnown(str(error) or type(error).__name__) from error
        if answer.rrset is None and _is_referral(answer.response):
            raise _NotKnown(f"the name server only refers to others about {name}")
        self._heed(answer.chaining_result.minimum_ttl)
        self._with_address |= {
            one.name.to_text(True).lower() for one in answer.response.additional if one.rdtype in (_A, _AAAA)
        }
        return answer

    def _heed(self, ttl: int) -> None:
        self._ttl = min(self._ttl, timedelta(seconds=max(0, ttl)))

    def _found(self, domain: str, hosts: tuple[MailHost, ...], *, implicit: bool = False) -> MailRoute:
        ttl = max(self._ttl, _LEAST)
        return MailRoute(domain=domain, verdict=RouteVerdict.FOUND, hosts=hosts, implicit=implicit, ttl=ttl)

    def _none(self, domain: str, verdict: RouteVerdict, detail: str, hosts: tuple[MailHost, ...] = ()) -> MailRoute:
        ttl = min(max(self._ttl, _LEAST), _MOST_NEGATIVE)
        return MailRoute(domain=domain, verdict=verdict, hosts=hosts, ttl=ttl, detail=detail)


def _in_turn(*several: Sequence[str]) -> Iterator[str]:
    """The first of each, then the second of each: who is not reached over one protocol may be over the other."""
    return filter(None, chain.from_iterable(zip_longest(*several)))


def _is_name(name: str) -> bool:
    """Whether this is a host name of at least two labels, the last no number."""
    return len(name) <= _MOST_OCTETS and _NAME(name) is not None


def _is_referral(response: "Message") -> bool:
    """Whether an answer without records only names other servers, which is no answer (RFC 2308 2.2)."""
    kinds = {one.rdtype for one in response.authority}
    return _NS in kinds and _SOA not in kinds
