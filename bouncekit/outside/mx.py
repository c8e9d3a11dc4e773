"""What DNS says about the mail of domains, asked once and remembered (RFC 5321 5.1).

The answers and their meaning are `mailroute`'s; here they are shared: between threads, over time, ahead of
a send. Time comes from the clock; only how long an answer may take is measured on the machine's own.
"""

import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from itertools import islice
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, NamedTuple

from bouncekit.outside.clock import Clock, SystemClock
from bouncekit.outside.forking import begin_afresh_in_children
from bouncekit.outside.mailroute import MailRoute, RouteVerdict, can_be_asked, find_addresses, find_route, not_known
from bouncekit.outside.provider import provider_of_host
from bouncekit.words.address import a_label, domain_of
from bouncekit.words.errors import ConfigurationError
from bouncekit.words.reply import Cause, EnhancedStatusCode, NoReply, Stage
from bouncekit.words.status import Action, RecipientStatus

if TYPE_CHECKING:
    from dns import resolver as dns_resolver

__all__ = ["Resolver"]

_WORKERS = 4  # threads that ask ahead of a send
_MOST_WAITING = 1000  # domains that wait for them

# What a recipient there gets. No server has said anything, so no reply code: a cause, and the status of RFC 3463.
_CAUSES = MappingProxyType(
    {
        RouteVerdict.NO_SUCH_DOMAIN: (Cause.NO_SUCH_DOMAIN, EnhancedStatusCode(5, 1, 2)),
        RouteVerdict.NULL_MX: (Cause.NULL_MX, EnhancedStatusCode(5, 1, 10)),
        RouteVerdict.NO_ADDRESS: (Cause.NO_ADDRESS, EnhancedStatusCode(5, 4, 4)),
    }
)


class _Kept(NamedTuple):
    """A remembered route: good from the one time up to the other. A clock that is set back ends it too."""

    route: MailRoute
    since: datetime
    until: datetime


class _Flight:
    """A look-up under way, for those who want the same."""

    __slots__ = ("landed", "route")

    def __init__(self) -> None:
        self.landed = threading.Event()
        self.route: MailRoute | None = None


class Resolver:
    """Asks DNS, and remembers. Safe to share between threads, and to keep over a fork.

    `nameservers` are addresses; without them the machine's own configuration holds. `timeout` is what one server gets
    for one question, `lifetime` what all questions about one domain get, in seconds. `most` routes are remembered.

    Raises:
        ConfigurationError: a name server that is no address, or a time that is not above 0.
    """

    def __init__(
        self,
        *,
        nameservers: Sequence[str] | None = None,
        port: int = 53,
        timeout: float = 3.0,
        lifetime: float = 6.0,
        clock: Clock | None = None,
        most: int = 10_000,
    ) -> None:
        if not (timeout > 0 and lifetime > 0 and most > 0):
            raise ConfigurationError(f"timeout={timeout}, lifetime={lifetime}, most={most}: write numbers above 0")
        self._nameservers = None if nameservers is None else _addresses(nameservers)
        self._port = port
        self._timeout = timeout
        self._lifetime = lifetime
        self._clock = clock or SystemClock()
        self._most = most
        self._stub: dns_resolver.Resolver | None = None
        self._kept: dict[str, _Kept] = {}
        self.start_afresh()
        begin_afresh_in_children(self)

    def start_afresh(self) -> None:
        """Forget what other threads were doing; behind a fork they are not there."""
        self._lock = threading.Lock()
        self._flights: dict[str, _Flight] = {}
        self._waiting: dict[str, None] = {}
        self._workers: list[threading.Thread] = []

    def __enter__(self) -> "Resolver":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Drop what waits to be asked ahead, and wait for what is being asked."""
        with self._lock:
            self._waiting.clear()
            workers = tuple(self._workers)
        for worker in workers:
            worker.join()

    # -- questions

    def mail_route(self, domain: str) -> MailRoute:
        """Where the mail of a domain goes. Never raises for what DNS says or does; takes `lifetime` at most."""
        name = a_label(domain)
        if kept := self._fresh(name):
            return kept
        if not can_be_asked(name):
            return not_known(name, "no domain that public DNS could know", timedelta(0))
        return self._ask_once(name)

    def addresses_of(self, host: str) -> tuple[str, ...]:
        """The addresses of a mail host, in the order to try them, asked anew each time; takes `lifetime` at most."""
        from dns.resolver import NoResolverConfiguration

        name = a_label(host)
        if not can_be_asked(name):
            return ()
        try:
            return find_addresses(self._open_stub(), name, lifetime=self._lifetime)
        except NoResolverConfiguration:
            return ()

    def provider_of(self, domain: str) -> str | None:
        """Whose servers take a domain's mail, hosted domains included: of its most preferred hosts the first known.

        None where nobody's is known, and where DNS does not answer.
        """
        if own := provider_of_host(name := a_label(domain)):
            return own
        return _provider(self.mail_route(name))

    def providers_of(self, domains: Iterable[str]) -> dict[str, str]:
        """Whose servers take the mail of some domains, as far as that is known without asking."""
        found = {}
        for domain in dict.fromkeys(domains):
            name = a_label(domain)
            kept = self._fresh(name)
            if provider := provider_of_host(name) or (kept and _provider(kept)):
                found[domain] = provider
        return found

    def undeliverable(self, address: str) -> RecipientStatus | None:
        """The failure of an address whose domain does not exist, takes no mail or has no address; else None.

        None says nothing for the address: DNS may not have answered.
        """
        route = self.mail_route(domain_of(address))
        if route.verdict not in _CAUSES:
            return None
        cause, status = _CAUSES[route.verdict]
        return RecipientStatus(
            recipient=address,
            action=Action.FAILED,
            stage=Stage.RCPT,
            reply=NoReply(cause, route.detail),
            status=status,
        )

    def undeliverable_of(self, addresses: Sequence[str]) -> dict[str, RecipientStatus]:
        """The failures among some addresses. Their domains are asked for at the same time; takes `lifetime` at most.

        Of a domain that has not been answered by then nothing is said.
        """
        domains = tuple(dict.fromkeys(a_label(domain_of(address)) for address in addresses))
        end = time.monotonic() + self._lifetime
        if len(domains) > 1:
            self.prefetch(domain for domain in domains if self._fresh(domain) is None)
        found = {}
        for address in addresses:
            name = a_label(domain_of(address))
            if self._fresh(name) is None and time.monotonic() >= end:
                continue
            if status := self.undeliverable(address):
                found[address] = status
        return found

    def prefetch(self, domains: Iterable[str]) -> int:
        """Ask ahead, on other threads, so that a send finds the answers here. How many domains will be asked for.

        At most a thousand wait at a time; the rest is left to the send.
        """
        asked = 0
        for name in map(a_label, islice(domains, _MOST_WAITING)):
            with self._lock:
                full = len(self._waiting) >= _MOST_WAITING
                if full or name in self._waiting or name in self._flights or self._fresh(name):
                    continue
                if can_be_asked(name):
                    self._waiting[name] = None
                    self._call_a_worker()
                    asked += 1
        return asked

    # -- asking once

    def _ask_once(self, name: str) -> MailRoute:
        """Ask, unless another thread is asking the same already."""
        with self._lock:
            if route := self._fresh(name):
                return route
            other = self._flights.get(name)
            mine = self._flights.setdefault(name, _Flight())
        if other is None:
            return self._ask(name, mine)
        other.landed.wait(self._lifetime + 1)
        return other.route or not_known(name, "another thread's look-up did not end")

    def _ask(self, name: str, mine: "_Flight") -> MailRoute:
        """Ask, for all who wait for this."""
        route = not_known(name, "the look-up was cut short")
        try:
            route = self._look_up(name)
        finally:
            with self._lock:
                self._keep(name, route)
                self._flights.pop(name, None)
            mine.route = route
            mine.landed.set()
        return route

    def _look_up(self, name: str) -> MailRoute:
        from dns.resolver import NoResolverConfiguration

        try:
            route = find_route(self._open_stub(), name, lifetime=self._lifetime)
        except NoResolverConfiguration as error:
            route = not_known(name, str(error))
        if route.verdict is RouteVerdict.NOT_KNOWN:
            self._stub = None  # the machine may be in another network by now: read its configuration anew
        return route

    def _open_stub(self) -> "dns_resolver.Resolver":
        """Raises NoResolverConfiguration: the machine has none, and no name servers were given."""
        from dns import resolver as dns_resolver

        stub = self._stub
        if stub is None:
            stub = dns_resolver.Resolver(configure=self._nameservers is None)
            if self._nameservers is not None:
                stub.nameservers = [*self._nameservers]
                stub.port = self._port
            stub.timeout = self._timeout
            self._stub = stub
        return stub

    # -- remembering

    def _fresh(self, name: str) -> MailRoute | None:
        kept = self._kept.get(name)
        return kept.route if kept is not None and kept.since <= self._clock.now() < kept.until else None

    def _keep(self, name: str, route: MailRoute) -> None:
        """Under the lock."""
        self._kept.pop(name, None)
        while len(self._kept) >= self._most:
            del self._kept[next(iter(self._kept))]  # the oldest: a dict keeps the order of writing
        now = self._clock.now()
        self._kept[name] = _Kept(route, now, now + route.ttl)

    # -- asking ahead

    def _call_a_worker(self) -> None:
        self._workers = [worker for worker in self._workers if worker.is_alive()]
        if len(self._workers) < min(_WORKERS, len(self._waiting)):
            # A daemon: a process that ends must not wait for name servers.
            worker = threading.Thread(target=self._work, name="bouncekit-dns", daemon=True)
            with suppress(RuntimeError):  # no thread to be had: the send will ask
                worker.start()
                self._workers.append(worker)

    def _work(self) -> None:
        """Ask for what waits, until nothing does."""
        while True:
            with self._lock:
                name = next(iter(self._waiting), None)
                if name is None:
                    self._workers.remove(threading.current_thread())
                    return
                del self._waiting[name]
                if self._fresh(name) or name in self._flights:
                    continue
                mine = self._flights[name] = _Flight()  # nobody finds it neither waiting nor asked for
            self._ask(name, mine)


def _provider(route: MailRoute) -> str | None:
    """Whose the most preferred hosts are: of the first that is known."""
    hosts = route.hosts
    best = (host.name for host in hosts if host.preference == hosts[0].preference)
    return next(filter(None, map(provider_of_host, best)), None)


def _addresses(nameservers: Sequence[str]) -> tuple[str, ...]:
    from ipaddress import ip_address

    try:
        made = tuple(str(ip_address(one)) for one in nameservers)
    except ValueError:
        made = ()
    if not made or isinstance(nameservers, str):
        raise ConfigurationError(f"nameservers={nameservers!r}: write a list of addresses, like ['192.0.2.53']")
    return made
