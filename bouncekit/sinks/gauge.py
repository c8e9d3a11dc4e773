"""Which gauges there are: how queue, readers, lanes, guard and budgets stand, by few labels, and never an address."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

__all__ = ["GAUGES", "STORE_UP", "Kind", "Read", "Readings"]

# A gauge's name -> the values of its labels, in their order -> the number.
Readings: TypeAlias = Mapping[str, Mapping[tuple[str, ...], float]]
Read: TypeAlias = Callable[[], Readings]


class Kind(NamedTuple):
    """What a gauge says, its labels, and its unit in the words of UCUM, as OpenTelemetry has them."""

    what: str
    labels: tuple[str, ...] = ()
    unit: str = ""


STORE_UP = "bouncekit_store_up"  # the only one that is there when the store does not answer
_READER, _LANE, _STREAM = ("kind", "reader"), ("kind", "lane"), ("tenant", "stream")

GAUGES: Mapping[str, Kind] = MappingProxyType(
    {
        STORE_UP: Kind("Whether the store answers: 1 or 0. Without it no other gauge is there."),
        "bouncekit_queue_recipients": Kind("Recipients in the queue, each in one state.", ("state",), "{recipient}"),
        "bouncekit_queue_oldest_due_age_seconds": Kind("How long the oldest has been due; 0: nobody is.", (), "s"),
        "bouncekit_results": Kind(
            "Results of this process that the store has not taken yet, or refuses.", ("state",), "{result}"
        ),
        "bouncekit_reader_lag_events": Kind("Events that a sink or a subscriber has before it.", _READER, "{event}"),
        "bouncekit_reader_lag_seconds": Kind(
            "How long ago the first of these happened; 0: there is none.", _READER, "s"
        ),
        "bouncekit_reader_state": Kind("1 for the state that a sink or a subscriber is in.", (*_READER, "state")),
        "bouncekit_lanes": Kind(
            "Relays and providers that are paused, on trial or slowed.", ("kind", "state"), "{lane}"
        ),
        "bouncekit_lane_state": Kind("1 for the state of one that is not free.", (*_LANE, "state")),
        "bouncekit_lane_pace_messages_per_second": Kind("The pace of one that is slowed.", _LANE, "{message}/s"),
        "bouncekit_guard_held_suppressions": Kind(
            "Suppressions that the guard holds: they bind nobody until somebody looks.", (), "{suppression}"
        ),
        "bouncekit_budget_streams": Kind("Streams at each level of their budget.", ("level",), "{stream}"),
        "bouncekit_budget_level": Kind("1 for the level that a stream is at.", (*_STREAM, "level")),
        "bouncekit_budget_sent_recipients": Kind(
            "Whom a stream was sent to, in the budget's time.", _STREAM, "{recipient}"
        ),
        "bouncekit_budget_bounce_ratio": Kind("Bad addresses among them.", _STREAM, "1"),
        "bouncekit_budget_complaint_ratio": Kind("Complaints for each of them.", _STREAM, "1"),
    }
)
