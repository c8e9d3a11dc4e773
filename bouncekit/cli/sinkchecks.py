"""How a sink stands, in a word: what `bouncekit sinks status` and `bouncekit doctor` go by."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from bouncekit.cli.checks import Check, Level, failed
from bouncekit.cli.output import show_minute, show_span
from bouncekit.errors import BouncekitError
from bouncekit.forwarding import sink_of
from bouncekit.stores.cursors import Cursor

if TYPE_CHECKING:
    from bouncekit.sinks import Sink

__all__ = ["Standing", "configured", "forwarded", "is_stuck", "standing"]

_SLOW = timedelta(minutes=10)  # of failures, or of an event that nobody takes


class Standing(StrEnum):
    """How a sink gets on."""

    OK = "ok"  # nothing waits for long
    BEHIND = "behind"  # an event has waited for long, and nobody has failed: nobody sends
    FAILING = "failing"  # it is tried again by itself
    PARKED = "parked"  # it is not tried again before somebody enables it
    NEW = "new"  # it has never read


_WORDS = {Standing.BEHIND: "nobody sends", Standing.PARKED: "parked"}
_ADVICE = {
    Standing.BEHIND: "start bouncekit worker; gone for good: bouncekit store forget {cursor}",
    Standing.FAILING: "mend it, it is tried again by itself; at once: bouncekit sinks enable {name}",
    Standing.PARKED: "mend it, then: bouncekit sinks enable {name}",
}


def standing(cursor: Cursor | None, now: datetime) -> Standing:
    """How a sink stands by its cursor; None where it has none yet."""
    if cursor is None:
        return Standing.NEW
    if cursor.trouble is not None:
        return Standing.PARKED if cursor.trouble.next_try_at is None else Standing.FAILING
    is_late = cursor.unread_since is not None and now - cursor.unread_since > _SLOW
    is_sending = cursor.moved_at is not None and now - cursor.moved_at < _SLOW
    return Standing.BEHIND if is_late and not is_sending else Standing.OK


def is_stuck(cursor: Cursor | None, now: datetime) -> bool:
    """Whether somebody has to do something about it, or soon will have to."""
    stands = standing(cursor, now)
    if stands is Standing.FAILING:
        assert cursor is not None
        assert cursor.trouble is not None
        return now - cursor.trouble.since > _SLOW
    return stands in (Standing.PARKED, Standing.BEHIND)


def configured(given: "Mapping[str, object] | Sequence[Sink]") -> Iterator[Check]:
    """Whether sinks can be what the owner has written: their options, and the libraries that they need."""
    from bouncekit.sinks.opening import open_sink

    for name, one in given.items() if isinstance(given, Mapping) else ((sink.name, sink) for sink in given):
        try:
            yield Check(f"sink {name}", Level.OK, repr(open_sink(name, one)))
        except (BouncekitError, OSError) as error:
            yield failed(f"sink {name}", error)


def forwarded(cursors: Collection[Cursor], now: datetime) -> Iterator[Check]:
    """Whether the sinks of a store get their events."""
    for one in cursors:
        if (name := sink_of(one.name)) is None:
            continue
        stands = standing(one, now)
        found = "; ".join(filter(None, (_WORDS.get(stands), _failing(one, now), _waiting(one, now))))
        level = Level.FAIL if stands is Standing.PARKED else Level.WARN if is_stuck(one, now) else Level.OK
        advice = "" if level is Level.OK else _ADVICE[stands].format(name=name, cursor=one.name)
        yield Check(f"events to {name}", level, found, advice)


def _failing(one: Cursor, now: datetime) -> str:
    if one.trouble is None:
        return ""
    again = one.trouble.next_try_at
    then = f", next try {show_minute(again)}" if again is not None else ""
    return f"failed {one.trouble.failures} times in {show_span(now - one.trouble.since)}: {one.trouble.error}{then}"


def _waiting(one: Cursor, now: datetime) -> str:
    since = f", the oldest for {show_span(now - one.unread_since)}" if one.unread_since else ""
    return f"{one.unread:,} events wait{since}"
