"""What does not mend itself, and where to see to it: how a page greets whoever is responsible."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from bouncekit.delivery.events import EventType
from bouncekit.delivery.queue import Depth
from bouncekit.desk.forwarding import sink_of
from bouncekit.desk.office import Office
from bouncekit.policy.budget import Balance, Level
from bouncekit.reports.digest import budgets
from bouncekit.stores.cursors import is_stuck
from bouncekit.web.visiting import House
from bouncekit.words.measures import show_span

__all__ = ["Call", "needs_somebody", "streams"]

_MOST_STREAMS = 10
_RECENT = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Call:
    """Something that somebody should see to, and the page for it."""

    text: str
    path: str
    level: str = "warn"


def streams(office: Office, now: datetime) -> tuple[Balance, ...]:
    """How streams stand, the worst ten first, where the policy gives them a budget."""
    return budgets(office, now)[:_MOST_STREAMS] if office.policy.budget is not None else ()


def needs_somebody(house: House, depth: Depth, balances: Sequence[Balance], now: datetime) -> tuple[Call, ...]:
    """All of it, the worst first."""
    office = house.office
    found = (*_queue(depth, now), *_sinks(office, now), *_ways(office, now), *_budgets(balances), *_recent(house, now))
    return tuple(sorted(found, key=lambda call: call.level != "fail"))


def _queue(depth: Depth, now: datetime) -> Iterator[Call]:
    if (left_for := depth.left_for(now)) is not None:
        yield Call(
            f"{_recipients(depth.due)} due for up to {show_span(left_for)}, and no worker takes them", "/health", "fail"
        )
    if depth.abandoned:
        yield Call(f"{_recipients(depth.abandoned)} of attempts whose process died: a worker settles them", "/health")
    if depth.held:
        yield Call(f"{_recipients(depth.held)} held until somebody releases them", "/queue?state=held")


def _sinks(office: Office, now: datetime) -> Iterator[Call]:
    for cursor in office.store.cursors():
        if (name := sink_of(cursor.name)) is not None and is_stuck(cursor, now):
            yield Call(f"events do not get to sink {name}: {cursor.unread:,} wait", "/health", "fail")


def _ways(office: Office, now: datetime) -> Iterator[Call]:
    for lane, flow in office.gate.states().items():
        if flow.is_paused(now):
            assert flow.paused_until is not None
            yield Call(f"mail to {lane} is paused for {show_span(flow.paused_until - now)} more", "/health")


def _budgets(balances: Sequence[Balance]) -> Iterator[Call]:
    for one in balances:
        if one.level is not Level.WITHIN:
            bounced, complained = f"{one.bounce_rate:.1%} bounced", f"{one.complaint_rate:.2%} complained"
            yield Call(f"{one.stream} is {one.level} by its budget: {bounced}, {complained}", "/?span=week")


def _recent(house: House, now: datetime) -> Iterator[Call]:
    """What happened lately and may have gone by unseen."""
    columns, _ = house.counts.since(now - _RECENT, now, timedelta(days=1))
    events = sum((one.events for _, one in columns), Counter[str]())
    if events[EventType.GUARD_TRIPPED]:
        held = house.office.store.holdings(now, limit=0).number
        whom = f"{held:,} suppression{' is' if held == 1 else 's are'} held"
        yield Call(f"a mass of equal refusals in the last 24 hours: {whom}", "/health")
    if events[EventType.POLICY_REFUSED]:
        yield Call("a policy that was to be read again in the last 24 hours was faulty", "/events?type=policy_refused")


def _recipients(number: int) -> str:
    return f"{number:,} recipient{' is' if number == 1 else 's are'}"
