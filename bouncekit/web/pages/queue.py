"""The mail that waits: who, for what, since when; try it now, drop it."""

from collections.abc import Mapping, Sequence
from typing import Any

from bouncekit.delivery.events import EventType
from bouncekit.delivery.queue import Queued, QueueState
from bouncekit.desk.waiting import Choice, Chosen, Shown, make_due, shown_state, take_out
from bouncekit.stores import Store
from bouncekit.web.paging import part, query
from bouncekit.web.visiting import Go, NotAsked, Page, Visit
from bouncekit.words.address import suppression_key

__all__ = ["drop", "find", "retry", "waiting"]

_BETWEEN = "\n"  # message and recipient, in a box
_PUT_OFF = frozenset({EventType.DELAYED, EventType.UNKNOWN})
_MOST_EVENTS = 50  # of one mailbox, that are looked through for what was said to it


def waiting(visit: Visit) -> Page:
    """A page of who waits, in the order in which the messages came."""
    return Page(template="queue.html", values=_found(visit))


def find(visit: Visit) -> Go:
    """From what somebody looks for to a page whose own address does not tell it."""
    state, text = visit.one_of("state", Shown), visit.text("text")
    return Go("/queue?" + query(state=state, text=text and visit.house.seal.close(text)))


def retry(visit: Visit) -> Go:
    """Make those that are ticked due now."""
    office = visit.house.office
    chosen = _chosen(visit)
    done = sum(make_due(office, one) for one in chosen)
    return Go("/queue", _told(done, chosen, "due now: a worker tries them"))


def drop(visit: Visit) -> Page | Go:
    """Take those that are ticked out of the queue for good; it is asked once whether that is meant."""
    chosen = _chosen(visit)
    if not visit.is_ticked("sure"):
        rows = [row for one in chosen for row in one.rows]
        return Page(template="drop.html", values={"rows": rows, "ticked": _ticked(visit)})
    done = sum(take_out(visit.house.office, one, visit.user.by) for one in chosen)
    return Go("/queue", _told(done, chosen, "dropped; they count as failed"))


def _found(visit: Visit) -> Mapping[str, Any]:
    store, seal, now = visit.house.office.store, visit.house.seal, visit.now
    state, text, after = visit.one_of("state", Shown), visit.sealed("text") or "", visit.sealed("after")
    kept = None if state is None else QueueState.HELD if state is Shown.HELD else QueueState.DUE
    queued = store.queued(state=kept, containing=text or None, after=_place_of(after) if after else None)
    found = part(queued, _place, lambda one: state is None or shown_state(one, now) is state)
    return {
        "rows": [(one, shown_state(one, now), _place(one)) for one in found.found],
        "last": _answers(store, found.found),
        "after": found.after,
        "depth": store.depth(now),
        "state": state,
        "states": tuple(Shown),
        "text": text,
        "query": query(state=state, text=text and seal.close(text)),
        "is_first": after is None,
    }


def _answers(store: Store, rows: Sequence[Queued]) -> Mapping[str, str]:
    """What was said last to each, by his place: a reply, or what came instead of one."""
    said: dict[str, str] = {}
    for tenant, key in {(one.labels.tenant, suppression_key(one.recipient)) for one in rows}:
        for told in store.history(key, tenant=tenant, limit=_MOST_EVENTS):
            if told["type"] in _PUT_OFF:
                data = told["data"]
                place = f"{data.get('delivery_id')}{_BETWEEN}{data.get('recipient')}"
                said.setdefault(place, data.get("reply") or data.get("cause") or "")
    return said


def _place(one: Queued) -> str:
    """Where somebody stands in the queue, as one text, to be sealed."""
    return f"{one.message}{_BETWEEN}{one.recipient}"


def _place_of(text: str) -> tuple[str, str]:
    message, _, recipient = text.partition(_BETWEEN)
    return message, recipient


def _ticked(visit: Visit) -> list[str]:
    """The boxes, as they came."""
    return [value for name, value in visit.form.items() if name.startswith("row-")]


def _chosen(visit: Visit) -> list[Chosen]:
    """Those whose boxes are ticked and who are there still, by message."""
    places = []
    for sealed in _ticked(visit):
        opened = visit.house.seal.open(sealed)
        if opened is None or _BETWEEN not in opened:
            raise NotAsked("this list is from before a restart of the page: load it again")
        places.append(_place_of(opened))
    if not places:
        raise NotAsked("nobody is ticked")
    office = visit.house.office
    return [
        chosen
        for message, recipient in places
        for chosen in Choice(message=message, recipient=recipient).by_message(office)
    ]


def _told(done: int, chosen: list[Chosen], what: str) -> str:
    left = sum(len(one.rows) for one in chosen) - done
    said = f"{done:,} recipient{'' if done == 1 else 's'} {what}" if done else "nobody was there to be changed"
    return said + (f"; {left:,} left alone, since a worker is at them" if left > 0 else "")
