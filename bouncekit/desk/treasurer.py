"""Watches what streams have spent of their budgets, and at which level each is, for all who share a store.

What is decided is `policy.budget`'s; here the store is asked, every ten seconds at the most for a stream, and a
level that changes is kept by comparing and setting, in one transaction with its event.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

from bouncekit.delivery.events import Event, EventType, Occasion, bounded, event_of
from bouncekit.delivery.steps import LookUp
from bouncekit.delivery.tallied import Count, Number, Sum, subject_of_stream
from bouncekit.desk.ledger import Ledger, complain
from bouncekit.desk.notices import Notices
from bouncekit.outside.clock import Clock
from bouncekit.policy.budget import NOTHING, Balance, Bound, Budget, Level, Spent, Stream, level_of, reached
from bouncekit.policy.lane import NO_THROTTLE, Lane, LaneKind, Throttle
from bouncekit.policy.policy import Policy
from bouncekit.policy.rule import Notice
from bouncekit.policy.schedule import show_duration
from bouncekit.policy.throttle import Held
from bouncekit.stores import Store
from bouncekit.stores.budgeting import KeptLevel
from bouncekit.words.envelope import Labels

__all__ = ["HELD", "Treasurer", "balances"]

HELD = frozenset({Level.SLOWED, Level.STOPPED})  # the levels at which mail goes otherwise than it would
_FRESH = timedelta(seconds=10)  # how old what is known of a stream may be
_AGAIN = timedelta(minutes=30)  # before mail that is stopped asks again
_MOST_STREAMS = 10_000  # that are known here at the same time
_HOUR = timedelta(hours=1)  # by which is counted
_SKEW = timedelta(hours=1)  # by which the clocks of two machines may differ
_MOST_TRIES = 5  # to change a level that others change at the same time

_TYPES: Mapping[Level, EventType] = {
    Level.WITHIN: EventType.BUDGET_RECOVERED,
    Level.WARNED: EventType.BUDGET_WARNED,
    Level.SLOWED: EventType.BUDGET_SLOWED,
    Level.STOPPED: EventType.BUDGET_STOPPED,
}


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of a stream, and since when."""

    balance: Balance
    at: datetime


class Treasurer:
    """The budgets of one postmaster's streams."""

    def __init__(self, policy: Policy, ledger: Ledger, notices: Notices, clock: Clock) -> None:
        self._ledger = ledger
        self._notices = notices
        self._clock = clock
        self._known: dict[Stream, _Known] = {}
        self._lanes: dict[Lane, Stream] = {}
        self.follow(policy)

    def follow(self, policy: Policy) -> None:
        """Go by this policy from now on."""
        self._policy, self._budget = policy, policy.budget
        self._known.clear()
        self._lanes.clear()

    @property
    def is_needed(self) -> bool:
        """Whether there is a budget."""
        return self._budget is not None

    @property
    def holds_nobody(self) -> bool:
        """Whether no stream is known to be slowed or stopped."""
        return not self._lanes

    def lane(self, labels: Labels) -> Lane | None:
        """The lane of a message that its stream's budget holds; None: nothing does."""
        budget = self._budget
        if budget is None or labels.test:
            return None
        stream = Stream(labels.tenant, labels.stream)
        level = self._look(stream, budget).level
        if level not in HELD or self._policy.message_class(labels.message_class).name not in budget.holds:
            return None
        return _lane_of(stream)

    def throttle(self, lane: Lane) -> Throttle:
        """How fast mail of a stream that is slowed may go."""
        budget = self._budget  # once: another policy may come into force meanwhile
        return Throttle(rate=budget.rate) if budget is not None and lane in self._lanes else NO_THROTTLE

    def held(self, lane: Lane, now: datetime) -> Held | None:
        """What keeps mail of a stream back; None: it may go, at its pace."""
        stream, budget = self._lanes.get(lane), self._budget
        if stream is None or budget is None or (balance := self._look(stream, budget)).level is not Level.STOPPED:
            return None
        return Held(lane, now + _AGAIN, f"{_rates(balance.spent)} in {show_duration(budget.within)}", is_paused=True)

    def look(self, labels: Labels) -> None:
        """See whether what came back has brought a stream to another level."""
        if (budget := self._budget) is not None and not labels.test:
            self._look(Stream(labels.tenant, labels.stream), budget)

    def balance(self, stream: Stream) -> Balance:
        """How a stream stands now, as the store knows it; nothing is changed by it.

        Raises:
            StoreError: the store does not answer.
        """
        found = balances(self._ledger.store, self._budget, self._clock.now(), stream)
        return found.get(stream, Balance(stream=stream))

    def resume(self, stream: Stream, *, by: str) -> bool:
        """Let a stream go on, and begin its counts anew; False where nothing held it.

        Raises:
            StoreError: the store does not answer.
        """
        store, now = self._ledger.store, self._clock.now()
        for _ in range(_MOST_TRIES):
            kept = store.levels(stream=stream).get(stream, _UNKEPT)
            if kept.level is Level.WITHIN:
                return False
            spent = self._spent(stream, self._budget, now)
            balance = Balance(stream=stream, level=kept.level, spent=spent, since=kept.since)
            event = self._event(balance, Level.WITHIN, now, by=by)
            if store.swap_level(stream, kept.token, _UNKEPT, events=(event,), forgives=now):
                self._adopt(Balance(stream=stream), now)
                self._tell(event)
                return True
        return False

    def has_resumed(self, labels: Labels, since: datetime) -> bool:
        """Whether somebody has let the stream of these go on since a time, so that what was sent by then is forgiven.

        Raises:
            StoreError: the store does not answer.
        """
        if self._budget is None or labels.test:
            return False
        now, subject = self._clock.now(), subject_of_stream(Stream(labels.tenant, labels.stream))
        asked = Sum(Number(Count.RESUMED, subject), max(now - since, timedelta()))
        return self._ledger.store.look_up(LookUp(labels=labels, sums=(asked,)), now).sums[asked] > 0

    # -- one stream

    def _look(self, stream: Stream, budget: Budget) -> Balance:
        now, known = self._clock.now(), self._known.get(stream)
        if known is not None and known.at <= now < known.at + _FRESH:
            return known.balance
        try:
            balance = self._judged(stream, budget, now)
        except Exception as error:  # noqa: BLE001 - whatever a store raises, no send suffers: what was known holds on
            complain("what stream %r has spent is not known: %s", stream.name, error)
            balance = known.balance if known is not None else Balance(stream=stream)
        return self._adopt(balance, now) if budget is self._budget else balance

    def _judged(self, stream: Stream, budget: Budget, now: datetime) -> Balance:
        """The level that a stream is at by now; who is first to see that it is another one tells it."""
        store, known = self._ledger.store, self._known.get(stream)
        # Another machine's clock may be ahead. Who was set back himself knows it.
        was_set_back = known is not None and now < known.at
        store.date_back(stream, ahead_of=now + (_HOUR if was_set_back else _HOUR + _SKEW), to=now)
        spent = self._spent(stream, budget, now)
        kept = store.levels(stream=stream).get(stream, _UNKEPT)
        balance = Balance(stream=stream, level=kept.level, spent=spent, since=kept.since)
        level = level_of(budget, spent, kept.level)
        if level is kept.level:
            return balance
        event = self._event(balance, level, now)
        after = KeptLevel(level, now, self._clock.new_id())
        if store.swap_level(stream, kept.token, after, events=(event,)):
            self._tell(event)
            return Balance(stream=stream, level=level, spent=spent, since=now)
        kept = store.levels(stream=stream).get(stream, _UNKEPT)
        return Balance(stream=stream, level=kept.level, spent=spent, since=kept.since)

    def _spent(self, stream: Stream, budget: Budget | None, now: datetime) -> Spent:
        since = (budget or _ANY).since(now)
        return self._ledger.store.spent(since=since, stream=stream).get(stream, NOTHING)

    def _adopt(self, balance: Balance, now: datetime) -> Balance:
        """Know this of a stream for a while."""
        if len(self._known) >= _MOST_STREAMS and balance.stream not in self._known:
            self._known.clear()
            self._lanes.clear()
        self._known[balance.stream] = _Known(balance, now)
        lane = _lane_of(balance.stream)
        if balance.level in HELD:
            self._lanes[lane] = balance.stream
        else:
            self._lanes.pop(lane, None)
        return balance

    # -- what is told

    def _tell(self, event: Event) -> None:
        self._ledger.publish((event,))
        budget = self._budget
        for channel in budget.notify if budget is not None else ():
            self._notices.keep(event, Notice(channel))

    def _event(self, before: Balance, level: Level, now: datetime, *, by: str | None = None) -> Event:
        stream, spent, type_ = before.stream, before.spent, _TYPES[level]
        occasion = Occasion(
            attempt_id=self._clock.new_id(),
            at=now,
            labels=Labels(tenant=stream.tenant, stream=stream.name),
            policy=self._policy.name,
            policy_hash=self._policy.hash,
        )
        details: dict[str, Any] = {
            "level": level.value,
            "before": before.level.value,
            "sent": spent.sent,
            "bounced": spent.bounced,
            "complained": spent.complained,
            "bounce_rate": round(spent.bounce_rate, 5),
            "complaint_rate": round(spent.complaint_rate, 5),
            "within": show_duration((self._budget or _ANY).within),
            "why": ", ".join(reached(self._bound(level), spent)) or None,
            "by": bounded(by),
        }
        return event_of(type_, occasion, details=details)

    def _bound(self, level: Level) -> Bound:
        return dict((self._budget or _ANY).bounds()).get(level, Bound())


_UNKEPT = KeptLevel()
_ANY = Budget()


def balances(store: Store, budget: Budget | None, now: datetime, stream: Stream | None = None) -> dict[Stream, Balance]:
    """How one stream stands, or all that have sent something or are held, in the order of their names.

    Raises:
        StoreError: the store does not answer.
    """
    spent = store.spent(since=(budget or _ANY).since(now), stream=stream)
    levels = store.levels(stream=stream)
    return {
        one: Balance(
            stream=one,
            level=levels.get(one, _UNKEPT).level,
            spent=spent.get(one, NOTHING),
            since=levels.get(one, _UNKEPT).since,
        )
        for one in sorted({*spent, *levels})
    }


def _lane_of(stream: Stream) -> Lane:
    """A name that no other stream has."""
    tenant, name = (quote(part, safe="", errors="surrogatepass") for part in stream)
    name = name or "(none)"
    return Lane(LaneKind.STREAM, f"{tenant}/{name}" if tenant else name)


def _rates(spent: Spent) -> str:
    """What a stream has spent, for people."""
    return f"{spent.bounce_rate:.1%} of {spent.sent:,} bounced, {spent.complaint_rate:.2%} complained"
