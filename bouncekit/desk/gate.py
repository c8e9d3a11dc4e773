"""Lets mail through to relays and providers, or says until when it waits, by states that all who share a store share.

What is decided is `policy.throttle`'s; here it is asked and answered: the store's states, read once a second at the
most and changed by comparing and setting; the pace of this process, as it goes; and the short waits, which are slept.
"""

import contextlib
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial

from bouncekit.delivery.events import EventType, bounded, show_time
from bouncekit.desk.ledger import LEASE, Tell
from bouncekit.desk.treasurer import Treasurer
from bouncekit.outside.clock import Clock
from bouncekit.outside.relay import Outlet
from bouncekit.policy.lane import NO_THROTTLE, Lane, LaneKind, Pause, Throttle
from bouncekit.policy.policy import Policy
from bouncekit.policy.throttle import Change, Flow, Held, News, ask, heard, left, set_back
from bouncekit.stores import Store
from bouncekit.stores.throttling import KeptFlow
from bouncekit.words.envelope import Labels

__all__ = ["Gate"]

_FRESH = timedelta(seconds=1)  # how old a state of the store may be; no pause is so short
_SLEPT = timedelta(seconds=5)  # a wait that is slept; who has longer to wait is held
_MOMENT = timedelta(seconds=0.1)  # that a worker sleeps where no pace says what is short
_MOST_TRIES = 50  # to change a state that others change at the same time
_MOST_LANES = 10_000  # whose pace is measured
_MEASURED = timedelta(minutes=1)
_JITTER = timedelta(minutes=1)  # of one clock; what it goes back by more, it was set back
_SKEW = timedelta(hours=1)  # by which the clocks of two machines may differ
_FURTHEST = timedelta(hours=1)  # behind the lane's opening that anybody is told to wait
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
_UNREACHABLE = Pause(length=timedelta(seconds=30), at_most=timedelta(minutes=10), then=1.0)


class Gate:
    """What a postmaster's deliveries pass.

    Args:
        treasurer: knows whose mail has used up its budget; None: nobody's has.
        has_fallback: whether a relay that cannot be reached is paused, since another takes its place.
    """

    def __init__(
        self,
        policy: Policy,
        store: Store,
        clock: Clock,
        tell: Tell,
        treasurer: Treasurer | None = None,
        *,
        has_fallback: bool = False,
    ) -> None:
        self._store = store
        self._clock = clock
        self._tell = tell
        self._treasurer = treasurer
        self._has_fallback = has_fallback
        self.follow(policy)
        self._flows: Mapping[Lane, KeptFlow] = {}
        self._read_at = _LONG_AGO
        self._passed: OrderedDict[Lane, deque[datetime]] = OrderedDict()
        self._lines: dict[Lane, datetime] = {}  # when the last of those who were told to wait comes back

    def follow(self, policy: Policy) -> None:
        """Go by this policy from now on."""
        measures = [measure for rule in policy.rules for measure in (rule.slow, rule.pause) if measure is not None]
        self._policy = policy
        has_budget = self._treasurer is not None and self._treasurer.is_needed
        self._is_needed = bool(policy.throttles or measures or self._has_fallback or has_budget)
        self._knows_providers = bool(policy.throttles.providers) or any(
            measure.of is LaneKind.PROVIDER for measure in measures
        )

    @property
    def is_needed(self) -> bool:
        """Whether anything can be slow, paused or limited at all."""
        return self._is_needed

    def stream(self, labels: Labels) -> Lane | None:
        """The lane of a stream whose budget has something to say to such mail."""
        return self._treasurer.lane(labels) if self._treasurer else None

    def lets_all_pass(self, relay: Lane, *, is_test: bool = False) -> bool:
        """Whether nothing is slow, paused or limited anywhere: then a message to this relay has passed."""
        now = self._clock.now()
        if self._policy.throttles or self._read(now):
            return False
        if not is_test:
            self._count(relay, now)
        return True

    def is_open(self, outlet: Outlet) -> bool:
        """Whether something may go there now, or after a wait that is slept, or to what takes its place."""
        names = (outlet.name,) if outlet.fallback is None else (outlet.name, outlet.fallback)
        return not self._is_needed or any(self._is_open(Lane(LaneKind.RELAY, name)) for name in names)

    def opens_at(self, lane: Lane) -> datetime | None:
        """When a lane may be passed, if that is for a moment only; None where it may now, or not for longer."""
        now = self._clock.now()
        _, held = self._asked(self._kept(lane, now).flow, lane, now, "", 1)
        if held is None or held.is_paused or not now + self._patience(lane) < held.until <= now + _SLEPT:
            return None
        return held.until

    def unreachable(self, relay: str, why: str, token: str) -> None:
        """A relay whose place another takes could not be reached: it is left alone for a while, then tried."""
        lane = Lane(LaneKind.RELAY, relay)
        self.heard((News(lane=lane, measure=_UNREACHABLE, why=why),), token)

    @property
    def is_free(self) -> bool:
        """Whether nothing is slow, paused or limited anywhere."""
        if self._treasurer and not self._treasurer.holds_nobody:
            return False
        return not self._is_needed or not (self._policy.throttles or self._read(self._clock.now()))

    @property
    def knows_providers(self) -> bool:
        """Whether the policy is about providers also where a relay is asked."""
        return self._knows_providers

    def states(self) -> Mapping[Lane, Flow]:
        """What is slow or paused now."""
        now = self._clock.now()
        return {lane: kept.flow for lane, kept in self._read(now).items() if not kept.flow.is_free(now)}

    # -- one lane

    def _is_open(self, lane: Lane) -> bool:
        now = self._clock.now()
        _, held = self._asked(self._kept(lane, now).flow, lane, now, "", 1)
        return held is None or held.until - now <= _SLEPT

    def ask(
        self, wanted: Mapping[Lane, int], token: str, *, is_test: bool = False, is_queued: bool = False
    ) -> dict[Lane, Held]:
        """Who may not pass, of the lanes in their order, each with its recipients. Short waits are slept.

        Where a stream or a relay is shut, nobody asks for what lies behind it. What is queued does not sleep for its
        stream, but for the moment by which it is before its turn: other mail waits behind it. For the other lanes, see
        `Passage.opens_at`.
        """
        end = self._clock.now() + _SLEPT
        held: dict[Lane, Held] = {}
        for lane, recipients in wanted.items():
            while (by := self._ask_one(lane, recipients, token, is_test=is_test)) is not None:
                now = self._clock.now()
                patience = self._patience(lane) if is_queued and lane.kind is LaneKind.STREAM else _SLEPT
                if by.is_paused or by.until > min(end, now + patience) or now >= end:
                    held[lane] = by if is_test else self._in_line(by, now)
                    break
                self._clock.sleep(max((by.until - now).total_seconds(), 0.001))
            if lane in held and lane.kind is not LaneKind.PROVIDER:
                break
        return held

    def heard(self, news: Iterable[News], token: str) -> None:
        """What was answered on lanes, of which the world hears if it changes anything."""
        for one in news:
            if one.measure is None and one.lane not in self._flows:
                continue
            change = self._change(one.lane, partial(self._judged, news=one, token=token))
            if change is not None:
                self._say(change, one)

    def leave(self, lanes: Iterable[Lane], token: str) -> None:
        """Be at these lanes no more."""
        for lane in lanes:
            if any(hold.token == token for hold in self._kept(lane, self._clock.now()).flow.holds):
                self._change(lane, lambda flow: (left(flow, self._clock.now(), token=token), None))

    def _ask_one(self, lane: Lane, recipients: int, token: str, *, is_test: bool) -> Held | None:
        now = self._clock.now()
        for _ in range(_MOST_TRIES):
            kept = self._kept(lane, now)
            flow, held = self._asked(kept.flow, lane, now, token, recipients, is_test=is_test)
            if held is not None:
                return held
            if flow == kept.flow or self._swap(lane, kept, flow, now):
                if not is_test:
                    self._count(lane, now)
                return None
        return Held(lane, now + _FRESH, f"too many ask for {lane} at the same time")

    def _asked(
        self, flow: Flow, lane: Lane, now: datetime, token: str, recipients: int, *, is_test: bool = False
    ) -> tuple[Flow, Held | None]:
        if lane.kind is LaneKind.STREAM and self._treasurer and (held := self._treasurer.held(lane, now)) is not None:
            return flow, held
        return ask(
            flow,
            self._throttle(lane),
            now,
            lane=lane,
            token=token,
            recipients=recipients,
            lease=LEASE,
            is_test=is_test,
        )

    def _patience(self, lane: Lane) -> timedelta:
        """How long a worker sleeps for one message while others wait behind it: a tenth of its time at the most."""
        rate = self._throttle(lane).rate
        if lane.kind is LaneKind.STREAM:
            return _SLEPT if rate is None else min(_SLEPT, timedelta(seconds=0.1 / rate.per_second))
        paces = self._paces(lane, self._clock.now())
        return timedelta(seconds=0.1 / max(min(paces), 1.0)) if paces else _MOMENT

    def _paces(self, lane: Lane, now: datetime) -> list[float]:
        """What limits a lane now, in messages a second: what its servers have said, and the policy."""
        rate = self._throttle(lane).rate
        return [pace for pace in (self._kept(lane, now).flow.pace, rate and rate.per_second) if pace]

    def _throttle(self, lane: Lane) -> Throttle:
        if lane.kind is LaneKind.STREAM:
            return self._treasurer.throttle(lane) if self._treasurer else NO_THROTTLE
        return self._policy.throttles.of(lane)

    def _judged(self, flow: Flow, news: News, token: str) -> tuple[Flow, Change | None]:
        now = self._clock.now()
        return heard(flow, news, now, token=token, measured=self._measured(news.lane, now))

    def _change(self, lane: Lane, make: Callable[[Flow], tuple[Flow, Change | None]]) -> Change | None:
        """Change a lane's state, as often as others are quicker; what became of it."""
        now = self._clock.now()
        for _ in range(_MOST_TRIES):
            kept = self._kept(lane, now)
            flow, change = make(kept.flow)
            if flow == kept.flow or self._swap(lane, kept, flow, now):
                return change
        return None

    def _say(self, change: Change, news: News) -> None:
        now = self._clock.now()
        flow = self._kept(news.lane, now).flow
        details = {
            "lane": str(news.lane),
            "until": show_time(flow.paused_until) if flow.paused_until else None,
            "per_minute": None if flow.pace is None or flow.paused_until else round(flow.pace * 60, 2),
            "why": bounded(news.why) or None,
        }
        self._tell(EventType(change.value), **details)

    # -- states

    def _kept(self, lane: Lane, now: datetime) -> KeptFlow:
        return self._read(now).get(lane, _NOTHING)

    def _read(self, now: datetime) -> Mapping[Lane, KeptFlow]:
        if not self._read_at <= now < self._read_at + _FRESH:
            self._read_anew(now)
        return self._flows

    def _read_anew(self, now: datetime) -> None:
        """The store's states. Where it does not answer, what was read last is what is known: nobody fails for that."""
        # What seems to be said in time to come may be said by another machine, whose clock is ahead. If that were moved
        # each time, a pause would end too early, and nobody would keep to a pace. Who was set back himself knows it.
        skew = _JITTER if now < self._read_at else _SKEW
        with contextlib.suppress(Exception):  # whatever a store raises: the mail has perhaps gone
            self._flows = self._store.flows()
            for lane, kept in self._flows.items():
                if (moved := set_back(kept.flow, now, skew)) is not kept.flow:
                    self._swap(lane, kept, moved, now)
        self._read_at = now  # at last: until it is read, nobody goes by what was known before

    def _swap(self, lane: Lane, kept: KeptFlow, flow: Flow, now: datetime) -> bool:
        """Replace a state, if nobody else has; else it is read anew."""
        token = self._clock.new_id()
        after = None if flow.is_free(now) else flow
        try:
            is_mine = self._store.swap_flow(lane, kept.token, after, token=token)
        except Exception:  # noqa: BLE001 - the same; it counts in this process, until the store answers again
            is_mine = True
        if not is_mine:
            self._read_anew(now)
            return False
        flows = dict(self._flows)
        flows.pop(lane, None)
        if after is not None:
            flows[lane] = KeptFlow(flow, token)
        self._flows = flows
        return True

    # -- the pace

    def _count(self, lane: Lane, now: datetime) -> None:
        passed = self._passed.get(lane)
        if passed is None:
            passed = self._passed[lane] = deque(maxlen=200)
            while len(self._passed) > _MOST_LANES:
                self._passed.popitem(last=False)
        passed.append(now)

    def _measured(self, lane: Lane, now: datetime) -> float | None:
        """How many messages a second this process has sent there in the last minute."""
        recent = [at for at in tuple(self._passed.get(lane, ())) if now - _MEASURED < at <= now]
        return len(recent) / max((now - recent[0]).total_seconds(), 1.0) if recent else None

    def _in_line(self, held: Held, now: datetime) -> Held:
        """Who has to wait comes back in his turn, and not with all others: each at the pace that will be there then."""
        flow, paces = self._kept(held.lane, now).flow, self._paces(held.lane, now)
        if flow.pause is not None and flow.before:
            paces.append(flow.before * flow.pause.then)
        last = self._lines.get(held.lane, _LONG_AGO)
        turn = max(held.until, last + timedelta(seconds=1 / min(paces) if paces else 0.1))
        if turn > held.until + _FURTHEST:
            turn = held.until
        if len(self._lines) > _MOST_LANES:
            self._lines.clear()
        self._lines[held.lane] = turn
        return Held(held.lane, turn, held.why, held.is_paused)


_NOTHING = KeptFlow()
