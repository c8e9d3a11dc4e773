"""What happened, newest first, and on as it happens."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from starlette.responses import Response

from bouncekit.delivery.events import EventType
from bouncekit.history.telling import rule, said
from bouncekit.stores import Store
from bouncekit.stores.searching import Search
from bouncekit.web.visiting import NotAsked, Page, Visit

__all__ = ["events", "rows"]

_SHOWN = 100
# What somebody may look for, most often: all types that are about it.
_KINDS = MappingProxyType(
    {
        "outcomes": (
            EventType.DELIVERED,
            EventType.DELAYED,
            EventType.FAILED,
            EventType.SUPPRESSED,
            EventType.UNKNOWN,
            EventType.COMPLAINED,
        ),
        "refusals": (EventType.DELAYED, EventType.FAILED, EventType.COMPLAINED),
        "changes of the list": (
            EventType.SUPPRESSION_ADDED,
            EventType.SUPPRESSION_LIFTED,
            EventType.SUPPRESSIONS_IMPORTED,
        ),
        "alarms": (
            EventType.GUARD_TRIPPED,
            EventType.QUEUE_STALLED,
            EventType.SINK_PARKED,
            EventType.PAUSED,
            EventType.SLOWED,
            EventType.BUDGET_WARNED,
            EventType.BUDGET_SLOWED,
            EventType.BUDGET_STOPPED,
            EventType.POLICY_REFUSED,
            EventType.NOT_NOTIFIED,
        ),
    }
)
_MOST_LOOKED_AT = 10_000  # on one page, so that a type that nobody has heard of costs no more than another


@dataclass(frozen=True, slots=True)
class Row:
    """An event as a row."""

    number: int
    time: str
    type: str
    recipient: str
    tenant: str
    said: str
    rule: str


def events(visit: Visit) -> Page:
    """A page of events of some types, or of all; `before` a number; live, where that is asked for."""
    return Page(template="events.html", values=_found(visit))


def rows(visit: Visit) -> Page | Response:
    """The rows alone, for a page that is live; nothing where there is nothing new since `seen`."""
    seen = visit.number("seen", 0)
    if seen == _newest(visit.house.office.store):
        return Response(status_code=204)
    return Page(template="event_rows.html", values={**_found(visit), "seen": seen})


def _found(visit: Visit) -> Mapping[str, Any]:
    store, types = visit.house.office.store, _types(visit)
    newest = _newest(store)
    before = visit.number("before", newest + 1)
    least = max(min(before, newest + 1) - _MOST_LOOKED_AT, 0)
    found = store.search(Search(types=types), after=least, before=before, newest_first=True, limit=_SHOWN)
    older = found[-1][0] if len(found) == _SHOWN else least + 1
    return {
        "rows": [_row(number, told) for number, told in found],
        "types": types,
        "kinds": {name: (_query(kind), set(kind) == set(types)) for name, kind in _KINDS.items()},
        "every": tuple(EventType),
        "newest": newest,
        "seen": newest,
        "before": older if older > 1 else None,
        "is_first": before > newest,
        "is_live": visit.is_ticked("live") and before > newest,
        "query": _query(types),
    }


def _query(types: Iterable[EventType]) -> str:
    return "".join(f"&type={one}" for one in types)


def _newest(store: Store) -> int:
    """The number of the newest event, 0 where there is none."""
    found = store.search(Search(), newest_first=True, limit=1)
    return found[0][0] if found else 0


def _types(visit: Visit) -> tuple[EventType, ...]:
    try:
        return tuple(dict.fromkeys(map(EventType, visit.types)))
    except ValueError:
        raise NotAsked("type: there are no such events") from None


def _row(number: int, told: Mapping[str, Any]) -> Row:
    data: Mapping[str, Any] = told.get("data") or {}
    return Row(
        number=number,
        time=told["time"],
        type=told["type"],
        recipient=told.get("subject") or "",
        tenant=data.get("tenant") or "",
        said=said(data),
        rule=rule(data),
    )
