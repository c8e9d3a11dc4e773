"""The first page: what became of the mail, what waits, what needs somebody."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType

from bouncekit.delivery.events import EventType
from bouncekit.delivery.queue import Depth
from bouncekit.desk.forwarding import sink_of
from bouncekit.desk.treasurer import balances
from bouncekit.policy.budget import Balance, Level
from bouncekit.reports.chart import chart
from bouncekit.reports.counts import ACTIONS, Counted, largest
from bouncekit.stores.cursors import is_stuck
from bouncekit.web.visiting import House, Page, Visit
from bouncekit.words.measures import show_span

__all__ = ["needs_somebody", "overview"]

_ROWS = 10


class Span(StrEnum):
    """How far back a page looks."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"


# How long, how long a column, how it is labelled.
_SPANS = MappingProxyType(
    {
        Span.DAY: (timedelta(hours=24), timedelta(hours=1), "%H:%M"),
        Span.WEEK: (timedelta(days=7), timedelta(hours=6), "%a %H:%M"),
        Span.MONTH: (timedelta(days=30), timedelta(days=1), "%d %b"),
    }
)


@dataclass(frozen=True, slots=True)
class Call:
    """Something that somebody should see to, and the page for it."""

    text: str
    path: str
    level: str = "warn"


def overview(visit: Visit) -> Page:
    """What happened in a day, a week or a month."""
    span = visit.one_of("span", Span) or Span.DAY
    length, every, label = _SPANS[span]
    house, now = visit.house, visit.now
    columns, is_whole = house.counts.since(now - length, now, every)
    total = Counted()
    for _, counted in columns:
        total.add(counted)
    depth = house.office.store.depth(now)
    return Page(
        template="overview.html",
        values={
            "span": span,
            "spans": tuple(Span),
            "total": total,
            "number": total.actions.total(),
            "actions": ACTIONS,
            "chart": chart(
                [(_title(at, every, one.actions), f"{at:{label}}", one.actions) for at, one in columns], ACTIONS
            ),
            "drawn": [(at, one.actions) for at, one in columns],
            "is_whole": is_whole,
            "categories": largest(total.categories, _ROWS),
            "providers": largest(total.providers, _ROWS),
            "added": total.events[EventType.SUPPRESSION_ADDED],
            "lifted": total.events[EventType.SUPPRESSION_LIFTED],
            "depth": depth,
            "calls": list(needs_somebody(house, depth, now)),
            "budgets": list(_budgets(house, now)),
        },
    )


def needs_somebody(house: House, depth: Depth, now: datetime) -> Iterator[Call]:
    """What does not mend itself, the worst first."""
    office = house.office
    if (left_for := depth.left_for(now)) is not None:
        yield Call(
            f"{_recipients(depth.due)} due for up to {show_span(left_for)}, and no worker takes them", "/health", "fail"
        )
    if depth.abandoned:
        yield Call(f"{_recipients(depth.abandoned)} of attempts whose process died: a worker settles them", "/health")
    if depth.held:
        yield Call(f"{_recipients(depth.held)} held until somebody releases them", "/queue?state=held")
    for cursor in office.store.cursors():
        if (name := sink_of(cursor.name)) is not None and is_stuck(cursor, now):
            yield Call(f"events do not get to sink {name}: {cursor.unread:,} wait", "/health", "fail")
    for lane, flow in office.gate.states().items():
        if flow.is_paused(now):
            yield Call(f"mail to {lane} is paused", "/health")
    for one in _budgets(house, now):
        if one.level is not Level.WITHIN:
            bounced, complained = f"{one.bounce_rate:.1%} bounced", f"{one.complaint_rate:.2%} complained"
            yield Call(f"{one.stream} is {one.level} by its budget: {bounced}, {complained}", "/?span=week")
    recent, _ = house.counts.since(now - timedelta(hours=24), now, timedelta(days=1))
    events = sum((one.events for _, one in recent), Counter[str]())
    if events[EventType.GUARD_TRIPPED]:
        text = "a mass of equal refusals in the last 24 hours: new suppressions were held back"
        yield Call(text, "/events?type=guard_tripped")
    if events[EventType.POLICY_REFUSED]:
        yield Call("a policy that was to be read again in the last 24 hours was faulty", "/events?type=policy_refused")


def _budgets(house: House, now: datetime) -> Iterator[Balance]:
    """How streams stand, the worst first, where the policy gives them a budget."""
    budget = house.office.policy.budget
    if budget is not None:
        found = balances(house.office.store, budget, now).values()
        yield from sorted(found, key=lambda one: tuple(Level).index(one.level), reverse=True)[:_ROWS]


def _title(at: datetime, every: timedelta, actions: Counter[str]) -> str:
    """A column in words, for a pointer and for who does not see it."""
    until = f"{at + every:%H:%M}" if every < timedelta(days=1) else ""
    said = ", ".join(f"{actions[one]:,} {one}" for one in ACTIONS if actions[one]) or "nothing"
    return f"{at:%a %d %b %H:%M}{f'–{until}' if until else ''} UTC: {said}"


def _recipients(number: int) -> str:
    return f"{number:,} recipient{' is' if number == 1 else 's are'}"
