"""One delivery's way through the gate: the lanes that it takes, and those on which it has to wait."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING

from bouncekit.desk.gate import Gate
from bouncekit.outside.mailroute import MailRoute
from bouncekit.outside.provider import provider_of_host
from bouncekit.outside.relay import Outlet
from bouncekit.policy.guard import provider_at
from bouncekit.policy.lane import Lane, LaneKind, Road
from bouncekit.policy.throttle import Held, News
from bouncekit.words.envelope import Labels, Recipient

if TYPE_CHECKING:
    from bouncekit.outside.mx import Resolver

__all__ = ["Passage"]

_NOBODY: Mapping[Lane, Held] = MappingProxyType({})


class Passage:
    """One delivery's way through the gate.

    Args:
        outlet: where the mail goes.
        token: by which the states of lanes name the delivery.
        resolver: knows whose servers take a domain's mail; None: its name alone says it.
    """

    def __init__(
        self,
        gate: Gate,
        outlet: Outlet,
        token: str,
        resolver: "Resolver | None",
        labels: Labels,
        *,
        is_queued: bool = False,
    ) -> None:
        self._gate = gate
        self._is_queued = is_queued
        self._outlet = outlet
        self._token = token
        self._labels = labels
        self._resolver = resolver
        self._lanes: set[Lane] = set()
        self.road = _road(outlet.name)  # as far as it is known before anybody is asked
        assert self.road.relay is not None
        self._relay = self.road.relay

    def ask(self, recipients: Sequence[Recipient]) -> tuple[Road | None, Mapping[Lane, Held]]:
        """The lanes that a message to these takes, None: as before; and those which it may not take now."""
        relay, stream = self._relay, self._gate.stream(self._labels)
        if stream is None and not self._asks_providers and self._gate.lets_all_pass(relay, is_test=self._labels.test):
            return None, _NOBODY
        domains = [recipient.address.domain for recipient in recipients]
        providers = self._providers(dict.fromkeys(domains)) if self._asks_providers else {}
        wanted = {lane: len(domains) for lane in (stream, relay) if lane is not None}
        for domain in domains:
            if lane := providers.get(domain):
                wanted[lane] = wanted.get(lane, 0) + 1
        road = Road(stream=stream, relay=relay, providers=providers, is_direct=self._outlet.is_direct)
        held = self._ask(wanted)
        self._lanes |= wanted.keys()
        if relay in held and (other := self._outlet.fallback):
            instead = Lane(LaneKind.RELAY, other)
            behind = {lane: number for lane, number in wanted.items() if lane.kind is LaneKind.PROVIDER}
            wanted = {instead: len(domains), **behind}
            second = self._ask(wanted)
            if instead not in second:
                self._lanes.add(instead)
                return Road(stream=stream, relay=relay, providers=providers, through=other), second
        return road, held

    def opens_at(self, recipients: Iterable[Recipient]) -> datetime | None:
        """When anybody of a queued message may go, if all have to wait for moments that would be slept.

        None: go, and see. Where another relay takes the place of a slow one, that is seen there.
        """
        if self._outlet.fallback is None and (at := self._gate.opens_at(self._relay)) is not None:
            return at
        if not self._asks_providers:
            return None
        lanes = set(self._providers({one.address.domain for one in recipients}).values())
        opening = [self._gate.opens_at(lane) for lane in lanes]
        return min((at for at in opening if at is not None), default=None) if None not in opening else None

    def _ask(self, wanted: Mapping[Lane, int]) -> dict[Lane, Held]:
        return self._gate.ask(wanted, self._token, is_test=self._labels.test, is_queued=self._is_queued)

    def heard(self, news: Sequence[News]) -> None:
        """What was answered."""
        self._gate.heard(news, self._token)

    def leave(self) -> None:
        """The delivery is over, or sleeps."""
        if self._lanes:
            self._gate.leave(self._lanes, self._token)
            self._lanes = set()

    @property
    def _asks_providers(self) -> bool:
        return self._outlet.is_direct or self._gate.knows_providers

    def _providers(self, domains: Iterable[str]) -> dict[str, Lane]:
        return {domain: Lane(LaneKind.PROVIDER, self._provider(domain)) for domain in domains}

    def _provider(self, domain: str) -> str:
        """Whose servers take a domain's mail: a provider's name, else the end of its host's, else of the domain's."""
        if own := provider_of_host(domain):
            return own
        if self._resolver is not None:
            route: MailRoute = self._resolver.mail_route(domain)
            if known := self._resolver.provider_of(domain):
                return known
            if route.hosts:
                return provider_at(route.hosts[0].name, domain)
        return provider_at(None, domain)


@lru_cache(maxsize=256)
def _road(relay: str) -> Road:
    return Road(relay=Lane(LaneKind.RELAY, relay))
