"""Which suppression of a mailbox counts, and what is known already: the same answer in every store."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime

from bouncekit.delivery.events import EventType
from bouncekit.delivery.settlement import Settlement
from bouncekit.delivery.steps import Record
from bouncekit.policy.suppression import Standing, Suppression
from bouncekit.words.status import Action

__all__ = [
    "caused_by",
    "foremost",
    "is_repeated",
    "told_by",
    "withstands",
]


def foremost(found: Iterable[Suppression], now: datetime) -> Suppression | None:
    """The suppression that counts among those of one mailbox: of its stream, and of the stream "" that binds all.

    One made by hand comes first, then any that binds, then one that waits for its probe, then a held one; among
    equals the stream's own. What was made by hand and has ended is over: it asks for no probe and counts no more.
    """
    lasting = [one for one in found if one.standing is not Standing.MANUAL or one.binds(now)]
    return min(lasting, key=lambda one: _rank(one, now), default=None)


def caused_by(settlement: Settlement) -> Suppression | None:
    """The suppression that an outcome put on the list; the one that kept it from being tried is there already."""
    return None if settlement.action is Action.SUPPRESSED else settlement.suppression


def withstands(standing: Suppression | None, verdict: Suppression | None, at: datetime) -> bool:
    """Whether what is on the list stays there in spite of a verdict, or of a success: made by hand, not yet ended."""
    return (
        standing is not None
        and standing.standing is Standing.MANUAL
        and (verdict is None or verdict.standing is not Standing.MANUAL)
        and standing.binds(at)
    )


def is_repeated(record: Record, is_told: Callable[[str], bool]) -> bool:
    """Whether a record was remembered before, which its first event shows.

    All of them have to, where a queue is behind it: who took over an attempt that seemed abandoned has told the same
    about some of its recipients, and the others must not get lost.
    """
    events = record.events if record.delivery.relay is not None else record.events[:1]
    return bool(events) and all(is_told(event.id) for event in events)


def told_by(record: Record) -> Mapping[str, str]:
    """Who has a queued message by it, as far as it knows once: by the ids of the events that tell it."""
    if record.delivery.relay is None:
        return {}
    return {
        event.id: settlement.recipient
        for event in record.events
        if event.type is EventType.DELIVERED and (settlement := event.settlement) and not settlement.possible_duplicate
    }


def _rank(one: Suppression, now: datetime) -> tuple[bool, bool, bool, bool]:
    binds = one.binds(now)
    return not (binds and one.standing is Standing.MANUAL), not binds, one.standing is Standing.HELD, one.stream == ""
