"""Where mail goes: a relay, a provider's servers, the mail of a stream; how much may go there, and what slows it.

These are the words of a policy. What becomes of a lane with each answer is `throttle`'s.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from bouncekit.policy.schedule import show_duration

__all__ = [
    "LONGEST_PAUSE",
    "NO_ROAD",
    "NO_THROTTLE",
    "NO_THROTTLES",
    "Lane",
    "LaneKind",
    "Pace",
    "Pause",
    "Road",
    "Slow",
    "Throttle",
    "Throttles",
    "in_words",
]

LONGEST_PAUSE = timedelta(days=1)
_ANY = "any"  # the name under which a limit holds for all that have none of their own


class LaneKind(StrEnum):
    """What mail goes to, or what it belongs to."""

    STREAM = "stream"  # whose bounces or complaints have used up its budget
    RELAY = "relay"  # the server that takes ours
    PROVIDER = "provider"  # whoever runs the recipient's servers


class Lane(NamedTuple):
    """One relay, or the servers of one provider; or the mail of one stream."""

    kind: LaneKind
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


@dataclass(frozen=True, slots=True)
class Pace:
    """So many within a time.

    >>> Pace(600, timedelta(minutes=1)).per_second
    10.0
    """

    number: int
    within: timedelta

    @property
    def per_second(self) -> float:
        return self.number / self.within.total_seconds()


@dataclass(frozen=True, slots=True, kw_only=True)
class Throttle:
    """The most that may go to a lane: messages, recipients, deliveries at the same time; None: no bound."""

    rate: Pace | None = None
    recipients: Pace | None = None
    at_once: int | None = None


NO_THROTTLE = Throttle()


@dataclass(frozen=True, slots=True, kw_only=True)
class Throttles:
    """The bounds of relays and of providers, by name; `any` is for each that has none of its own."""

    relays: Mapping[str, Throttle] = field(default_factory=lambda: MappingProxyType({}))
    providers: Mapping[str, Throttle] = field(default_factory=lambda: MappingProxyType({}))

    def of(self, lane: Lane) -> Throttle:
        """What holds for a relay or a provider."""
        named = self.relays if lane.kind is LaneKind.RELAY else self.providers
        return named.get(lane.name) or named.get(_ANY) or NO_THROTTLE

    def __bool__(self) -> bool:
        return bool(self.relays or self.providers)


NO_THROTTLES = Throttles()


@dataclass(frozen=True, slots=True, kw_only=True)
class Slow:
    """The measure "slower": the pace divided by `by`, and a tenth of the old one back in each `recover`.

    `of` is what is slowed; None: whoever replied, the relay, or the provider where its servers were asked directly.
    """

    by: float = 2.0
    recover: timedelta = timedelta(minutes=1)
    of: LaneKind | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """The measure "not now": nothing for `length`, twice as long each time that the trial fails, up to `at_most`.

    Behind it `trickle` messages at a time are the trial. When so many were answered, mail goes on at the share `then`
    of the pace before; 1: as if nothing had been.
    """

    length: timedelta
    at_most: timedelta = timedelta(hours=2)
    trickle: int = 1
    then: float = 0.1
    recover: timedelta = timedelta(minutes=1)
    of: LaneKind | None = None


def in_words(measure: Slow | Pause) -> str:
    """A measure for people.

    >>> in_words(Slow(by=4)), in_words(Pause(length=timedelta(minutes=15), of=LaneKind.PROVIDER))
    ('slow by 4', 'pause provider 15m')
    """
    of = f" {measure.of}" if measure.of is not None else ""
    if isinstance(measure, Slow):
        return f"slow{of} by {measure.by:g}"
    return f"pause{of} {show_duration(measure.length)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Road:
    """The lanes that a delivery takes: its relay's, and by recipients' domains their providers'.

    `is_direct` says that providers' own servers are asked, each domain's in transactions of their own. `through` is
    the relay that takes the place of the first; "" where none does. `stream` is the mail's own lane, where its budget
    has something to say.
    """

    stream: Lane | None = None
    relay: Lane | None = None
    providers: Mapping[str, Lane] = field(default_factory=lambda: MappingProxyType({}))
    is_direct: bool = False
    through: str = ""

    def lanes(self, domain: str) -> tuple[Lane, ...]:
        """The lanes of a recipient there."""
        relay, provider = self._relay, self.providers.get(domain)
        if self.stream is not None:
            return tuple(lane for lane in (self.stream, relay, provider) if lane is not None)
        if provider is None:
            return () if relay is None else (relay,)
        return (provider,) if relay is None else (relay, provider)

    def meant(self, measure: Slow | Pause, domain: str) -> Lane | None:
        """The lane that a measure is about, which a reply about a recipient there asked for."""
        kind = measure.of or (LaneKind.PROVIDER if self.is_direct else LaneKind.RELAY)
        return self._relay if kind is LaneKind.RELAY else self.providers.get(domain)

    @property
    def _relay(self) -> Lane | None:
        return Lane(LaneKind.RELAY, self.through) if self.through else self.relay


NO_ROAD = Road()
