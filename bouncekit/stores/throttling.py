"""What a store keeps of how fast mail may go: a small state for each relay or provider that is slow or paused.

It is read by many and changed by comparing and setting, so that of all workers one has the trial behind a pause.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

from bouncekit.policy.lane import Lane, LaneKind, Pause
from bouncekit.policy.throttle import FREE, Flow, Hold
from bouncekit.stores.codec import from_milliseconds, milliseconds

__all__ = ["KeptFlow", "Throttling", "flow_of", "flow_text"]

_MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class KeptFlow:
    """A lane's state, and the token of the change that made it; None where nothing is kept of the lane."""

    flow: Flow = FREE
    token: str | None = None


class Throttling(Protocol):
    """The part of a store that keeps the states of lanes."""

    def flows(self) -> Mapping[Lane, KeptFlow]:
        """Every lane of which something is kept. What cannot be read back is free, and can be replaced."""

    def swap_flow(self, lane: Lane, before: str | None, after: Flow | None, *, token: str) -> bool:
        """Keep a state, or with None nothing, under a new token: if the one that is kept is still `before`."""


def flow_text(flow: Flow) -> str:
    """A state as JSON."""
    pause = flow.pause
    return json.dumps(
        {
            "pace": flow.pace,
            "before": flow.before,
            "recover": _span(flow.recover),
            "changed_at": milliseconds(flow.changed_at),
            "slowed_at": milliseconds(flow.slowed_at),
            "pause": None
            if pause is None
            else {
                "length": _span(pause.length),
                "at_most": _span(pause.at_most),
                "trickle": pause.trickle,
                "then": pause.then,
                "recover": _span(pause.recover),
                "of": pause.of,
            },
            "paused_until": None if flow.paused_until is None else milliseconds(flow.paused_until),
            "length": _span(flow.length),
            "passed": flow.passed,
            "holds": [[hold.token, milliseconds(hold.until), hold.is_trial] for hold in flow.holds],
            "free_at": milliseconds(flow.free_at),
            "recipients_at": milliseconds(flow.recipients_at),
            "said_at": milliseconds(flow.said_at),
            "why": flow.why.encode("utf-8", "backslashreplace").decode(),
        },
        separators=(",", ":"),
    )


def flow_of(text: str) -> Flow:
    """The state that `flow_text` wrote; a free one where this is none."""
    try:
        return _flow(json.loads(text))
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return FREE


def _flow(data: Mapping[str, Any]) -> Flow:
    pause, until = data["pause"], data["paused_until"]
    return Flow(
        pace=_maybe(_positive, data["pace"]),
        before=_maybe(_positive, data["before"]),
        recover=_long(data["recover"]),
        changed_at=from_milliseconds(int(data["changed_at"])),
        slowed_at=from_milliseconds(int(data["slowed_at"])),
        pause=None
        if pause is None
        else Pause(
            length=_long(pause["length"]),
            at_most=_long(pause["at_most"]),
            trickle=max(int(pause["trickle"]), 1),
            then=_positive(pause["then"]),
            recover=_long(pause["recover"]),
            of=_maybe(LaneKind, pause["of"]),
        ),
        paused_until=None if until is None else from_milliseconds(int(until)),
        length=_MILLISECOND * int(data["length"]),
        passed=int(data["passed"]),
        holds=tuple(Hold(str(token), from_milliseconds(int(at)), bool(trial)) for token, at, trial in data["holds"]),
        free_at=from_milliseconds(int(data["free_at"])),
        recipients_at=from_milliseconds(int(data["recipients_at"])),
        said_at=from_milliseconds(int(data["said_at"])),
        why=str(data["why"]),
    )


def _span(span: timedelta) -> int:
    return span // _MILLISECOND


def _long(number: object) -> timedelta:
    """A span of a second or more: nothing is divided by less."""
    return max(_MILLISECOND * int(str(number)), timedelta(seconds=1))


def _positive(number: object) -> float:
    if not 0 < (value := float(str(number))) < float("inf"):
        raise ValueError(f"{value} is no pace")
    return value


def _maybe(read: Callable[[Any], Any], value: object) -> Any:
    return None if value is None else read(value)
