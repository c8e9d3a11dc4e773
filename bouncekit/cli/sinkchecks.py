"""What `bouncekit doctor` finds of sinks: whether they can be what the owner wrote, and whether they get on."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from bouncekit.cli.checks import Check, Level, failed
from bouncekit.desk.forwarding import sink_of
from bouncekit.stores.cursors import Cursor, Reading, is_stuck, reading
from bouncekit.words.errors import BouncekitError
from bouncekit.words.measures import counted, show_minute, show_span

if TYPE_CHECKING:
    from bouncekit.sinks import Sink

__all__ = ["configured", "forwarded"]

_WORDS = {Reading.BEHIND: "nobody sends", Reading.PARKED: "parked"}
_ADVICE = {
    Reading.BEHIND: "start bouncekit worker; gone for good: bouncekit store forget {cursor}",
    Reading.FAILING: "mend it, it is tried again by itself; at once: bouncekit sinks enable {name}",
    Reading.PARKED: "mend it, then: bouncekit sinks enable {name}",
}


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
        stands = reading(one, now)
        found = "; ".join(filter(None, (_WORDS.get(stands), _failing(one, now), _waiting(one, now))))
        level = Level.FAIL if stands is Reading.PARKED else Level.WARN if is_stuck(one, now) else Level.OK
        advice = "" if level is Level.OK else _ADVICE[stands].format(name=name, cursor=one.name)
        yield Check(f"events to {name}", level, found, advice)


def _failing(one: Cursor, now: datetime) -> str:
    if one.trouble is None:
        return ""
    again = one.trouble.next_try_at
    then = f", next try {show_minute(again)}" if again is not None else ""
    times = counted(one.trouble.failures, "time")
    return f"failed {times} in {show_span(now - one.trouble.since)}: {one.trouble.error}{then}"


def _waiting(one: Cursor, now: datetime) -> str:
    since = f", the oldest for {show_span(now - one.unread_since)}" if one.unread_since else ""
    return f"{one.unread:,} events wait{since}"
