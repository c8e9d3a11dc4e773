"""The first page: what needs somebody, what became of the mail, what waits."""

from datetime import timedelta
from enum import StrEnum
from types import MappingProxyType

from bouncekit.delivery.events import EventType
from bouncekit.reports.chart import over_time
from bouncekit.reports.counts import ACTIONS, Counted, breakdown
from bouncekit.web.calls import needs_somebody, streams
from bouncekit.web.visiting import Page, Visit

__all__ = ["overview"]

_ROWS = 10


class Span(StrEnum):
    """How far back a page looks."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"


# How long, and how long a column.
_SPANS = MappingProxyType(
    {
        Span.DAY: (timedelta(hours=24), timedelta(hours=1)),
        Span.WEEK: (timedelta(days=7), timedelta(hours=6)),
        Span.MONTH: (timedelta(days=30), timedelta(days=1)),
    }
)


def overview(visit: Visit) -> Page:
    """What happened in a day, a week or a month."""
    span = visit.one_of("span", Span) or Span.DAY
    length, every = _SPANS[span]
    house, now = visit.house, visit.now
    columns, is_whole = house.counts.since(now - length, now, every)
    total = Counted()
    for _, counted in columns:
        total.add(counted)
    series = [(at, counted.actions) for at, counted in columns]
    depth = house.office.store.depth(now)
    balances = streams(house.office, now)
    return Page(
        template="overview.html",
        values={
            "span": span,
            "spans": tuple(Span),
            "total": total,
            "number": total.actions.total(),
            "actions": ACTIONS,
            "chart": over_time(series, ACTIONS, every),
            "series": series,
            "is_whole": is_whole,
            "categories": breakdown(total.categories, _ROWS),
            "providers": breakdown(total.providers, _ROWS),
            "added": total.events[EventType.SUPPRESSION_ADDED],
            "lifted": total.events[EventType.SUPPRESSION_LIFTED],
            "depth": depth,
            "calls": needs_somebody(house, depth, balances, now),
            "streams": balances,
        },
    )
