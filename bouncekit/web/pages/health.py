"""Whether all that works behind is at work: workers, sinks, subscribers, the ways that mail takes."""

from bouncekit.desk.forwarding import cursor_of, sink_of
from bouncekit.reports.digest import worker_state
from bouncekit.stores.cursors import Cursor, Reading, is_stuck, reading
from bouncekit.web.calls import needs_somebody, streams
from bouncekit.web.visiting import Go, NotAsked, Page, Visit

__all__ = ["enable", "health"]

_ROWS = 10


def health(visit: Visit) -> Page:
    """How everything stands."""
    office, now = visit.house.office, visit.now
    store = office.store
    depth, cursors = store.depth(now), store.cursors()
    running = {sink.name for sink in visit.house.postmaster.forwarding.sinks}
    sinks: dict[str, Cursor | None] = dict.fromkeys(sorted(running))
    sinks |= {name: one for one in cursors if (name := sink_of(one.name)) is not None}
    return Page(
        template="health.html",
        values={
            "depth": depth,
            "worker": worker_state(depth, now),
            "waiting": store.queued_relays(),
            "relays": sorted(office.relays),
            "lanes": sorted(office.gate.states().items()),
            "sinks": [(name, one, reading(one, now), is_stuck(one, now)) for name, one in sinks.items()],
            "subscribers": [one for one in cursors if sink_of(one.name) is None],
            "newest": store.newest_at(),
            "law": office.law.in_force,
            "held": store.holdings(now, limit=_ROWS),
            "calls": needs_somebody(visit.house, depth, streams(office, now), now),
            "Reading": Reading,
        },
    )


def enable(visit: Visit) -> Go:
    """Try a sink again at once."""
    name = visit.text("sink")
    if not visit.house.office.store.place_cursor(cursor_of(name), None):
        raise NotAsked(f"no sink {name} has ever read here")
    return Go("/health", f"sink {name} is tried again")
