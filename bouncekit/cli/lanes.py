"""What people are told of relays and providers to which mail goes slowly, or not at all, for now."""

from collections.abc import Iterator, Mapping
from datetime import datetime

from bouncekit.policy.lane import Lane
from bouncekit.policy.throttle import Flow
from bouncekit.words.measures import show_span

__all__ = ["in_short", "lines"]


def lines(flows: Mapping[Lane, Flow], now: datetime) -> Iterator[str]:
    """A line for each lane, in the order of their names."""
    for lane in sorted(flows):
        if (short := in_short(flows[lane], now)) is not None:
            yield f"{lane} {short}" + (f": {flows[lane].why}" if flows[lane].why else "")


def in_short(flow: Flow, now: datetime) -> str | None:
    """How a lane is: paused, on trial or slow; None where nothing is to be said."""
    if flow.is_paused(now) and flow.paused_until is not None:
        return f"is paused for {show_span(flow.paused_until - now)} more"
    if flow.is_half_open(now):
        return "was paused, and is on trial"
    if flow.pace is not None:
        return f"takes {flow.pace * 60:.3g} messages a minute for now"
    return None
