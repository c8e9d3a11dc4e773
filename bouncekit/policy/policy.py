"""What a policy decides about a recipient: the first rule that takes the case, and the disposition that comes of it.

Everything here is pure. Time, jitter, history and the provider come in as `Circumstances`; the same arguments give the
same verdict for ever, so a policy can be tried on last year's replies. Files are read by `policyfiles`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

from bouncekit.meaning.classification import Category, Classification
from bouncekit.meaning.meaning import Meaning
from bouncekit.policy.budget import Budget
from bouncekit.policy.guard import USUAL_GUARD, Guard
from bouncekit.policy.lane import NO_THROTTLES, Pause, Slow, Throttles
from bouncekit.policy.rule import (
    Case,
    Circumstances,
    Fate,
    Limit,
    Notice,
    Rule,
    SessionFate,
    SessionRule,
    Window,
)
from bouncekit.policy.schedule import USUAL_HINTS, Hints, Schedule, jittered
from bouncekit.policy.suppression import Ladder
from bouncekit.policy.template import Template
from bouncekit.protocol.classmark import NO_CLASS_MARKS, ClassMarks
from bouncekit.words.address import Address
from bouncekit.words.envelope import Labels, Recipient
from bouncekit.words.quick import quick
from bouncekit.words.reply import Stage
from bouncekit.words.status import Action

__all__ = [
    "Disposition",
    "Keep",
    "MessageClass",
    "Policy",
    "SessionDisposition",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageClass:
    """A kind of mail: how long it is tried, what becomes of an unknown outcome, which suppressions do not bind it.

    `wait` bounds the waits between its attempts, whatever a rule says. `tries_late` says that what could not be tried
    within the deadline is tried once more when it can go; else it is worthless by then, and given up.
    """

    name: str
    deadline: timedelta
    wait: Schedule | None = None
    resend_unknown: bool = False
    tries_late: bool = True
    ignores: frozenset[Category] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """How long a store keeps what is over: queued messages behind their last recipient, and the events, None for good.

    >>> Keep(events=timedelta(days=30)).events_since(datetime(2026, 3, 31, tzinfo=UTC)).isoformat()
    '2026-03-01T00:00:00+00:00'
    """

    messages: timedelta = timedelta()
    events: timedelta | None = timedelta(days=180)

    def events_since(self, now: datetime) -> datetime:
        """What happened before this time may be forgotten."""
        return _LONG_AGO if self.events is None else max(now - self.events, _LONG_AGO)


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Disposition:
    """The policy's verdict on one recipient.

    `action` is what the application is told. `retry_at` is set where another try is due, `learned` where that rests on
    how long greylisting there has taken. `ladder` and `notices` are the measures that the rule asks for, and `measure`
    the one about the way: slower, or not now.
    """

    action: Action
    fate: Fate | None
    rule: str
    where: str
    retry_at: datetime | None = None
    learned: timedelta | None = None
    ladder: Ladder | None = None
    notices: tuple[Notice, ...] = ()
    measure: Slow | Pause | None = None
    expired: bool = False


@dataclass(frozen=True, slots=True)
class SessionDisposition:
    """The policy's verdict on a connection that ended."""

    fate: SessionFate
    rule: str
    where: str


_FALLBACK = Schedule("fallback", (timedelta(minutes=30), timedelta(hours=2)))
_LAST_TRY = 0.9  # of the time that is left, where a reply asks for more than all of it, or a greylist takes more
_NO_RULE = Rule(id="no-rule-matched", do=Fate.RETRY)
_NOBODY = Recipient(address=Address("", "", False), key="")
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
_ANY_TIME = Circumstances(now=_LONG_AGO)
_NO_SESSION_RULE = SessionDisposition(SessionFate.CLOSE, "no-session-rule-matched", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A postmaster's rules. `hash` names this very text, includes and all, in every event.

    `meaning` are the files of rules about replies that it names: whoever asks the policy has the classifier use them.
    """

    name: str
    hash: str = ""
    classes: Mapping[str, MessageClass]
    default_class: str
    class_marks: ClassMarks = NO_CLASS_MARKS
    rules: tuple[Rule, ...]
    sessions: tuple[SessionRule, ...] = ()
    schedules: Mapping[str, Schedule] = field(default_factory=lambda: MappingProxyType({}))
    ladders: Mapping[str, Ladder] = field(default_factory=lambda: MappingProxyType({}))
    channels: tuple[str, ...] = ()
    limits: Mapping[str, Limit] = field(default_factory=lambda: MappingProxyType({}))
    templates: Mapping[str, Template] = field(default_factory=lambda: MappingProxyType({}))
    guard: Guard = USUAL_GUARD
    keep: Keep = Keep()
    hints: Hints = USUAL_HINTS
    throttles: Throttles = NO_THROTTLES
    budget: Budget | None = None
    meaning: Meaning = field(default_factory=Meaning)

    def message_class(self, name: str | None) -> MessageClass:
        """The class of that name, else the default one."""
        return self.classes.get(name or self.default_class) or self.classes[self.default_class]

    def counters(self, classification: Classification) -> tuple[Window, ...]:
        """What `decide` wants to know from the recipient's history; empty for nearly every reply."""
        asked = {
            window
            for rule in self.rules
            if rule.when.seen and (not rule.when.category or classification.category in rule.when.category)
            for window in rule.when.seen.windows(classification.category)
        }
        return tuple(sorted(asked, key=lambda window: (window.within, window.by)))

    def learns(self, classification: Classification) -> bool:
        """Whether a rule may come back when such a verdict is usually over."""
        return classification.category is Category.GREYLISTED and any(rule.learn for rule in self.rules)

    def may_suppress(self, classification: Classification) -> bool:
        """Whether a rule could suppress for such a verdict; only then is the guard asked."""
        return any(
            rule.suppress is not None
            and (not rule.when.category or classification.category in rule.when.category)
            and (rule.when.permanent is None or rule.when.permanent is classification.permanent)
            for rule in self.rules
        )

    def decide(self, classification: Classification, recipient: Recipient, circumstances: Circumstances) -> Disposition:
        """The disposition of one recipient that was not delivered."""
        kind = self.message_class(circumstances.labels.message_class)
        if classification.status.action is Action.UNKNOWN:
            return self._unknown(kind, recipient, circumstances)
        deadline = _deadline(kind, recipient, circumstances.now)
        case = Case(classification, recipient, circumstances, message_class=kind.name)
        case.expired = circumstances.now >= deadline
        rule = self._first(case)
        if rule.do is not Fate.RETRY:
            return _disposition(rule, expired=case.expired)
        retry_at, learned = self._next_try(rule, kind, case, deadline)
        if rule is _NO_RULE and classification.permanent:
            return _disposition(rule, fate=Fate.FAIL)
        if retry_at < deadline:
            return _disposition(rule, retry_at=retry_at, learned=learned)
        return self._at_the_end(case, rule)

    def deadline(self, recipient: Recipient, labels: Labels, now: datetime) -> datetime:
        """When a recipient is tried no more: counted from its first attempt, or from when it was put into the queue."""
        return _deadline(self.message_class(labels.message_class), recipient, now)

    def tries_late(self, labels: Labels) -> bool:
        """Whether what could not be tried within its deadline is tried once more."""
        return self.message_class(labels.message_class).tries_late

    def give_up(
        self, classification: Classification, recipient: Recipient, circumstances: Circumstances
    ) -> Disposition:
        """The disposition of one recipient whom nobody could be asked about in time: nothing is tried again."""
        kind = self.message_class(circumstances.labels.message_class)
        return self._at_the_end(Case(classification, recipient, circumstances, message_class=kind.name))

    def decide_session(self, classification: Classification, *, reconnects: int = 0) -> SessionDisposition:
        """The disposition of a connection that a server ended, or whose end we asked for."""
        case = Case(classification, _NOBODY, _ANY_TIME, message_class=self.default_class)
        for rule in self.sessions:
            if rule.when.matches(case):
                if rule.do is SessionFate.RECONNECT and reconnects >= rule.at_most:
                    return SessionDisposition(SessionFate.CLOSE, rule.id, rule.where)
                return SessionDisposition(rule.do, rule.id, rule.where)
        return _NO_SESSION_RULE

    def _at_the_end(self, case: Case, rule: Rule | None = None) -> Disposition:
        """What the rules say where no other try comes in time; the `rule` that wanted one, if theirs is one more."""
        case.expired = True
        last = self._first(case)
        if last.do is Fate.HOLD:
            return _disposition(last, expired=True)
        decided = rule if rule is not None and last.do is Fate.RETRY else last
        return _disposition(decided, fate=Fate.FAIL, expired=True)

    def _first(self, case: Case) -> Rule:
        for rule in self.rules:
            if _possible(rule, case) and rule.when.matches(case):
                return rule
        return _NO_RULE

    def _next_try(
        self, rule: Rule, kind: MessageClass, case: Case, deadline: datetime
    ) -> tuple[datetime, timedelta | None]:
        """When to try again, and how long a greylist has taken of late, where it rests on that.

        By the schedule, no later than the class's own says, or as the reply asks, within the bounds of `hints`. Never
        so late that there is no other try: "try again in 10000 days" is a delay of a day, and a hint behind the
        deadline one of most of the time that is left. So is what was learnt of a greylist, where it takes longer.
        """
        circumstances = case.circumstances
        attempt, jitter = max(case.recipient.attempts, 1), circumstances.jitter
        left = deadline - circumstances.now
        latest = left * _LAST_TRY
        own = _spread(rule.wait or _FALLBACK, attempt, jitter, left)
        learned = _learned(rule, circumstances) if attempt == 1 else None
        if learned is not None:
            own = min(learned, max(own, latest))
        planned = own if kind.wait is None else min(own, _spread(kind.wait, attempt, jitter, left))
        wait = self.hints.wait(planned, case.classification.wait_hint, jitter)
        if wait > planned:
            wait = max(planned, min(wait, latest))
        elif learned is not None:
            wait = planned  # which is known better than a reply says
        return circumstances.now + wait, circumstances.learned if learned is not None and wait == own else None

    def _unknown(self, kind: MessageClass, recipient: Recipient, circumstances: Circumstances) -> Disposition:
        """No reply to the dot: the class says which is worse, a possible duplicate or a possible loss."""
        where = f"class {kind.name}"
        if kind.resend_unknown:
            schedule = kind.wait or next(iter(self.schedules.values()), _FALLBACK)
            wait = schedule.wait(max(recipient.attempts, 1), circumstances.jitter)
            if circumstances.now + wait < _deadline(kind, recipient, circumstances.now):
                return Disposition(
                    action=Action.UNKNOWN,
                    fate=Fate.RETRY,
                    rule="resend-unknown",
                    where=where,
                    retry_at=circumstances.now + wait,
                )
        return Disposition(action=Action.UNKNOWN, fate=Fate.FAIL, rule="leave-unknown", where=where)


def _deadline(kind: MessageClass, recipient: Recipient, now: datetime) -> datetime:
    return (recipient.first_attempt_at or now) + kind.deadline


def _spread(schedule: Schedule, attempt: int, jitter: float, left: timedelta) -> timedelta:
    """The wait of a schedule with its jitter, which costs nobody a try that comes in time without it."""
    wait, alone = schedule.wait(attempt, jitter), schedule.wait(attempt)
    return wait if wait < left or alone >= left else max(alone, left * _LAST_TRY)


def _learned(rule: Rule, circumstances: Circumstances) -> timedelta | None:
    """The first wait that is learnt of a greylist, within the bounds of the rule; None: nothing is known."""
    if rule.learn is None or circumstances.learned is None:
        return None
    return jittered(rule.learn.wait(circumstances.learned), circumstances.jitter)


def _disposition(
    rule: Rule,
    *,
    fate: Fate | None = None,
    retry_at: datetime | None = None,
    learned: timedelta | None = None,
    expired: bool = False,
) -> Disposition:
    fate = fate or rule.do
    final = fate is Fate.FAIL
    return Disposition(
        action=Action.FAILED if final else Action.DELAYED,
        fate=fate,
        rule=rule.id,
        where=rule.where,
        retry_at=retry_at,
        learned=learned,
        ladder=rule.suppress if final else None,
        notices=rule.notify,
        measure=rule.pause or rule.slow,
        expired=expired,
    )


def _possible(rule: Rule, case: Case) -> bool:
    """Whether a fate can help at all: a split behind nobody, or a second lone repeat, would go on for ever."""
    if rule.do is Fate.SPLIT:
        status = case.classification.status
        return status.stage is Stage.RCPT and status.accepted > 0  # later, `accepted` counts this recipient itself
    if rule.do is Fate.ALONE:
        return case.recipient.repeats == 0
    return True
