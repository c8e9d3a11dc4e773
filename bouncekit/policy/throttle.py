"""How fast mail may go to a relay or a provider, and when not at all: a frozen state, and what each answer makes of it.

    free --slow--> slowed --slow--> slower ...      with time a tenth of the old pace is added, again and again: free
    any  --pause--> paused --time--> half open      so few messages at a time are the trial
                      ^                |  `-------  answered: slowed, to a share of the old pace
                      `--- twice as long ---' refused again

A lane that is slowed or paused suppresses nobody and moves no deadline: who is held comes later, if in time. Time,
jitter and the measured pace come in as values.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from bouncekit.policy.lane import LONGEST_PAUSE, Lane, Pause, Slow, Throttle
from bouncekit.policy.schedule import jittered

__all__ = ["FREE", "Change", "Flow", "Held", "Hold", "News", "ask", "heard", "left", "set_back"]

_DAY_SECONDS = LONGEST_PAUSE.total_seconds()
_LEAST_PACE = 1 / 60  # messages a second: slower than that is a pause
_USUAL_PACE = 1.0  # where nobody has measured any
_STEPS = 10  # that lead back to the pace before
_BEYOND = 2.0  # times the old pace, and a lane is free again
_SAME_TIME = 4  # refusals within this part of the time to recover are one: mail under way knows nothing of the first
_TRIAL = timedelta(seconds=30)  # before somebody asks again whether the trial is over
_ROOM = timedelta(seconds=1)  # the same, where too many are at it
_MOST_HOLDS = 1_000
_MOST_WHY = 300
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Hold:
    """Somebody who is at it; `until` is when he counts no more. A trial's outcome decides whether a lane opens."""

    token: str
    until: datetime
    is_trial: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """The state of one lane.

    `pace` is in messages a second, None: as fast as can be; `before` the pace at the last refusal, which recovery aims
    at. `paused_until` is set until a trial has gone well: later than it, the lane is half open. `free_at` and
    `recipients_at` are when the next message may go by its pace. `said_at` is when its times were said; see `set_back`.
    """

    pace: float | None = None
    before: float | None = None
    recover: timedelta = timedelta(minutes=1)
    changed_at: datetime = _LONG_AGO
    slowed_at: datetime = _LONG_AGO
    pause: Pause | None = None
    paused_until: datetime | None = None
    length: timedelta = timedelta()
    passed: int = 0
    holds: tuple[Hold, ...] = ()
    free_at: datetime = _LONG_AGO
    recipients_at: datetime = _LONG_AGO
    said_at: datetime = _LONG_AGO
    why: str = ""

    def is_paused(self, now: datetime) -> bool:
        """Whether nothing may go."""
        return self.paused_until is not None and now < self.paused_until

    def is_half_open(self, now: datetime) -> bool:
        """Whether only a trial may go."""
        return self.paused_until is not None and not self.is_paused(now)

    def is_free(self, now: datetime) -> bool:
        """Whether nothing is to be remembered of it."""
        is_open = self.pace is None and self.paused_until is None and not self.holds
        return is_open and max(self.free_at, self.recipients_at) <= now


FREE = Flow()


@dataclass(frozen=True, slots=True)
class Held:
    """Not now: `until` is when to ask again. `is_paused` says that the lane is shut, and no matter of its pace."""

    lane: Lane
    until: datetime
    why: str
    is_paused: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """What a transaction says about a lane: a measure of the policy, or that it was answered `well`, or nothing.

    `hint` is the wait that the reply asks for; `jitter` in [0, 1) lengthens a pause by up to a tenth; `why` is the
    reply and the rule, for people.
    """

    lane: Lane
    measure: Slow | Pause | None = None
    well: bool = False
    hint: timedelta | None = None
    jitter: float = 0.0
    why: str = ""


class Change(StrEnum):
    """What became of a lane."""

    SLOWED = "slowed"
    PAUSED = "paused"
    RESUMED = "resumed"


def ask(
    flow: Flow,
    throttle: Throttle,
    now: datetime,
    *,
    lane: Lane,
    token: str,
    recipients: int,
    lease: timedelta,
    is_test: bool = False,
) -> tuple[Flow, Held | None]:
    """Whether a message to so many recipients may go now: the state behind it, or until when it is held.

    Test traffic keeps to the pace, since a server counts it too, but is no trial.
    """
    flow = rested = _rested(flow, now)
    if flow.is_paused(now):
        assert flow.paused_until is not None
        return flow, Held(lane, flow.paused_until, flow.why, is_paused=True)
    is_trial = flow.is_half_open(now)
    others = tuple(hold for hold in flow.holds if hold.token != token)
    if is_trial and (is_test or sum(hold.is_trial for hold in others) >= _trickle(flow)):
        return flow, Held(lane, now + _TRIAL, flow.why, is_paused=True)
    if throttle.at_once is not None and len(others) >= throttle.at_once:
        return flow, Held(lane, now + _ROOM, f"{throttle.at_once} deliveries to {lane} at once are the limit")
    pace, most = _pace(flow, throttle), throttle.recipients
    free_at = flow.free_at if pace is not None else now
    recipients_at = flow.recipients_at if most is not None else now
    if not is_trial and (at := max(free_at, recipients_at)) > now:
        return flow, Held(lane, at, flow.why or f"the pace to {lane} is limited")
    if pace is not None:
        flow = replace(flow, free_at=_taken_until(free_at, now, 1 / pace))
    if most is not None:
        flow = replace(flow, recipients_at=_taken_until(recipients_at, now, recipients / most.per_second))
    if is_trial or throttle.at_once is not None:
        flow = replace(flow, holds=(*others[-_MOST_HOLDS:], Hold(token, now + lease, is_trial)))
    return _said(flow, rested, now), None


def heard(
    flow: Flow, news: News, now: datetime, *, token: str, measured: float | None = None
) -> tuple[Flow, Change | None]:
    """What an answer makes of a lane. `measured` is how many messages a second went there of late."""
    rested = _rested(flow, now)
    flow, change = _heard(rested, news, now, token, measured)
    return _said(flow, rested, now), change


def _heard(flow: Flow, news: News, now: datetime, token: str, measured: float | None) -> tuple[Flow, Change | None]:
    measure = news.measure
    is_half_open = flow.is_half_open(now)
    if isinstance(measure, Pause):
        return _paused(flow, measure, news, now, measured)
    if measure is not None and is_half_open and flow.pause is not None:
        return _paused(flow, flow.pause, news, now, measured)
    if measure is not None and not flow.is_paused(now):
        return _slowed(flow, measure, news, now, measured)
    if news.well and is_half_open and any(hold.token == token and hold.is_trial for hold in flow.holds):
        return _passed(_without(flow, token), now)
    return flow, None


def left(flow: Flow, now: datetime, *, token: str) -> Flow:
    """The lane when somebody is at it no more, whatever came of it."""
    return _without(_rested(flow, now), token)


def set_back(flow: Flow, now: datetime, skew: timedelta) -> Flow:
    """The lane, where the clock was set back since its times were said: what was to come is as far off as it was.

    Said by `skew` or less ahead of `now` they may be another machine's, and stay: they are waited for so much longer.
    """
    span = flow.said_at - now
    if span <= skew:
        return flow
    return replace(
        flow,
        changed_at=flow.changed_at - span,
        slowed_at=flow.slowed_at - span,
        paused_until=None if flow.paused_until is None else flow.paused_until - span,
        holds=tuple(replace(hold, until=hold.until - span) for hold in flow.holds),
        free_at=flow.free_at - span,
        recipients_at=flow.recipients_at - span,
        said_at=flow.said_at - span,
    )


def _paused(flow: Flow, pause: Pause, news: News, now: datetime, measured: float | None) -> tuple[Flow, Change | None]:
    longest = min(pause.at_most, LONGEST_PAUSE)
    asked = jittered(min(news.hint or timedelta(), longest), news.jitter)
    if flow.is_paused(now):
        assert flow.paused_until is not None
        return replace(flow, paused_until=max(flow.paused_until, now + asked)), None
    length = min(flow.length * 2, longest) if flow.is_half_open(now) else min(pause.length, longest)
    return replace(
        flow,
        pause=pause,
        paused_until=now + max(jittered(length, news.jitter), asked),
        length=length,
        passed=0,
        before=flow.before or flow.pace or measured or _USUAL_PACE,
        holds=tuple(replace(hold, is_trial=False) for hold in flow.holds),
        why=news.why[:_MOST_WHY],
    ), Change.PAUSED


def _slowed(flow: Flow, slow: Slow, news: News, now: datetime, measured: float | None) -> tuple[Flow, Change | None]:
    if timedelta() <= now - flow.slowed_at < flow.recover / _SAME_TIME:
        return flow, None
    pace = flow.pace or measured or _USUAL_PACE
    slower = max(pace / slow.by, _LEAST_PACE)
    return replace(
        flow,
        pace=slower,
        before=pace,
        recover=slow.recover,
        changed_at=now,
        slowed_at=now,
        free_at=now + timedelta(seconds=1 / slower),
        why=news.why[:_MOST_WHY],
    ), Change.SLOWED


def _passed(flow: Flow, now: datetime) -> tuple[Flow, Change | None]:
    """The lane behind one more trial that went well."""
    if flow.passed + 1 < _trickle(flow):
        return replace(flow, passed=flow.passed + 1), None
    assert flow.pause is not None
    before = flow.before or _USUAL_PACE
    if flow.pause.then >= 1:
        return replace(FREE, holds=tuple(replace(hold, is_trial=False) for hold in flow.holds)), Change.RESUMED
    pace = max(before * flow.pause.then, _LEAST_PACE)
    opened = replace(
        flow,
        pace=pace,
        before=before,
        recover=flow.pause.recover,
        changed_at=now,
        pause=None,
        paused_until=None,
        length=timedelta(),
        passed=0,
        holds=tuple(replace(hold, is_trial=False) for hold in flow.holds),
        free_at=now + timedelta(seconds=1 / pace),
    )
    return opened, Change.RESUMED


def _rested(flow: Flow, now: datetime) -> Flow:
    """The lane as time has made it: who is too long at it counts no more, and the pace recovers."""
    if any(not _lasts(hold, now) for hold in flow.holds):
        flow = replace(flow, holds=tuple(hold for hold in flow.holds if _lasts(hold, now)))
    if flow.pace is None or flow.paused_until is not None:
        return flow
    steps = min((now - flow.changed_at) // flow.recover, _STEPS * 100)
    if steps <= 0:
        return flow
    before = flow.before or flow.pace
    pace = flow.pace + steps * before / _STEPS
    if pace >= before * _BEYOND:
        free = replace(FREE, holds=flow.holds, said_at=flow.said_at)
        return replace(free, free_at=min(flow.free_at, now), recipients_at=flow.recipients_at)
    return replace(flow, pace=pace, changed_at=flow.changed_at + steps * flow.recover)


def _said(flow: Flow, before: Flow, now: datetime) -> Flow:
    """The lane with the time of a change, where there is one that has times."""
    return flow if flow == before or flow.is_free(now) else replace(flow, said_at=now)


def _pace(flow: Flow, throttle: Throttle) -> float | None:
    paces = [pace for pace in (flow.pace, throttle.rate and throttle.rate.per_second) if pace]
    return min(paces) if paces else None


def _taken_until(free_at: datetime, now: datetime, seconds: float) -> datetime:
    """When the next may go behind one that takes so long; no further off than a day."""
    return min(max(free_at, now) + timedelta(seconds=min(seconds, _DAY_SECONDS)), now + LONGEST_PAUSE)


def _lasts(hold: Hold, now: datetime) -> bool:
    return now < hold.until


def _trickle(flow: Flow) -> int:
    return flow.pause.trickle if flow.pause is not None else 1


def _without(flow: Flow, token: str) -> Flow:
    if not any(hold.token == token for hold in flow.holds):
        return flow
    return replace(flow, holds=tuple(hold for hold in flow.holds if hold.token != token))
