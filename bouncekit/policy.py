"""What to do about a recipient: rules, the first of which that matches decides, and the disposition they give.

Everything here is pure. Time, jitter, history and the provider come in as `Circumstances`; the same arguments give the
same verdict for ever, so a policy can be tried on last year's replies. Files are read by `bouncekit.policyfile`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from types import MappingProxyType

from bouncekit.address import Address
from bouncekit.budget import Budget
from bouncekit.classification import Category, Classification, Scope
from bouncekit.classmark import NO_CLASS_MARKS, ClassMarks
from bouncekit.envelope import Labels, Recipient
from bouncekit.meaning import Meaning
from bouncekit.phrase import Phrase, Words
from bouncekit.quick import quick
from bouncekit.reply import Cause, NoReply, Stage
from bouncekit.schedule import Schedule, jittered
from bouncekit.status import Action, RecipientStatus
from bouncekit.suppression import Ladder
from bouncekit.template import Template
from bouncekit.throttle import NO_THROTTLES, Pause, Slow, Throttles

__all__ = [
    "Circumstances",
    "Condition",
    "Disposition",
    "Example",
    "Fate",
    "Guard",
    "Keep",
    "Learn",
    "Limit",
    "MessageClass",
    "Notice",
    "Policy",
    "Range",
    "Rule",
    "Seen",
    "SeenBy",
    "SessionDisposition",
    "SessionFate",
    "SessionRule",
    "Window",
]


class Fate(StrEnum):
    """What becomes of a recipient; a rule has exactly one."""

    RETRY = "retry"  # later, by a schedule, until the deadline
    SPLIT = "split"  # at once, in a new transaction
    ALONE = "alone"  # at once, once, in a transaction of its own
    FAIL = "fail"  # no more tries
    HOLD = "hold"  # kept, untouched until somebody releases it


class SessionFate(StrEnum):
    """What becomes of a connection."""

    CLOSE = "close"  # done with it; the recipients go by their own rules
    RECONNECT = "reconnect"  # dial again and go on with what is not settled


@dataclass(frozen=True, slots=True)
class Range:
    """A whole number between two bounds, both included; None is open."""

    at_least: int | None = None
    at_most: int | None = None

    def __contains__(self, number: object) -> bool:
        if not isinstance(number, int):
            return False
        return (self.at_least is None or number >= self.at_least) and (self.at_most is None or number <= self.at_most)


class SeenBy(StrEnum):
    """Whose verdicts are counted."""

    RECIPIENT = "recipient"
    DOMAIN = "domain"  # the recipient's
    PROVIDER = "provider"  # whose server replied
    SENDER = "sender"  # the return path
    RELAY = "relay"  # that took the mail, or did not


@dataclass(frozen=True, slots=True)
class Seen:
    """At least this many verdicts of the same category within a window, the present one included.

    Of the recipient one a day counts: a strike is a settled message, never an attempt. Of others each verdict does.
    """

    times: int
    within: timedelta
    by: SeenBy = SeenBy.RECIPIENT


@dataclass(frozen=True, slots=True)
class Window:
    """A question to the history: how many days before today, within this time, had a strike of this category?

    Of others than the recipient: how many such verdicts there were.
    """

    category: Category
    within: timedelta
    by: SeenBy = SeenBy.RECIPIENT


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """When a rule applies: every key that is given must match, one of its values is enough.

    In `code` and `enhanced`, x stands for any number: `5xx`, `x.2.2`. In names of hosts and domains, and in `sender`,
    which is the return path, * stands for anything.
    """

    code: tuple[str, ...] = ()
    enhanced: tuple[str, ...] = ()
    stage: frozenset[Stage] = frozenset()
    category: frozenset[Category] = frozenset()
    scope: frozenset[Scope] = frozenset()
    cause: frozenset[Cause] = frozenset()
    provider: frozenset[str] = frozenset()
    remote_mta: tuple[str, ...] = ()
    domain: tuple[str, ...] = ()
    message_class: frozenset[str] = frozenset()
    sender: tuple[str, ...] = ()
    tenant: frozenset[str] = frozenset()
    stream: frozenset[str] = frozenset()
    text: tuple[Phrase, ...] = ()
    permanent: bool | None = None
    certain: bool | None = None
    expired: bool | None = None
    attempts: Range | None = None
    accepted: Range | None = None
    seen: Seen | None = None

    def matches(self, case: "Case") -> bool:
        """Whether all that is asked for holds; the cheap questions first."""
        verdict, status = case.classification, case.classification.status
        return (
            (not self.category or verdict.category in self.category)
            and (self.permanent is None or verdict.permanent is self.permanent)
            and (self.certain is None or verdict.certain is self.certain)
            and (self.expired is None or case.expired is self.expired)
            and (not self.scope or verdict.scope in self.scope)
            and (not self.stage or status.stage in self.stage)
            and (not self.cause or (isinstance(status.reply, NoReply) and status.reply.cause in self.cause))
            and (not self.code or any(_same_code(code, status.code) for code in self.code))
            and (not self.enhanced or any(_same_enhanced(code, status) for code in self.enhanced))
            and (not self.message_class or case.message_class in self.message_class)
            and (not self.provider or case.circumstances.provider in self.provider)
            and (not self.domain or any(_glob(domain, case.recipient.address.domain) for domain in self.domain))
            and (not self.tenant or case.circumstances.labels.tenant in self.tenant)
            and (not self.stream or case.circumstances.labels.stream in self.stream)
            and (not self.sender or any(_glob(name, case.circumstances.sender) for name in self.sender))
            and (not self.remote_mta or any(_glob(name, status.remote_mta or "") for name in self.remote_mta))
            and (self.attempts is None or case.recipient.attempts in self.attempts)
            and (self.accepted is None or status.accepted in self.accepted)
            and (self.seen is None or case.seen(self.seen) >= self.seen.times)
            and (not self.text or any(phrase.matches(case.words) for phrase in self.text))
        )


@dataclass(frozen=True, slots=True)
class Example:
    """A reply that a rule must decide; `policy test` runs it."""

    reply: str
    stage: Stage = Stage.RCPT
    accepted: int = 0
    individual: bool = True
    attempts: int = 1
    seen: int = 1
    expired: bool = False
    message_class: str | None = None
    tenant: str = ""
    stream: str = ""
    sender: str = ""
    domain: str = "example.com"
    remote_mta: str | None = None
    provider: str | None = None


@dataclass(frozen=True, slots=True)
class Limit:
    """At most so many notices within a time: to a channel, or about each recipient and category to it."""

    times: int
    within: timedelta
    per_recipient: bool = False


@dataclass(frozen=True, slots=True)
class Notice:
    """Tell a channel; with `digest`, at most one notice in that time, which sums up the rest.

    `limit` is the channel's, over all its notices; None: as `bouncekit.notify.moderation` bounds every channel.
    `template` words it; None: in sentences of ours.
    """

    channel: str
    digest: timedelta | None = None
    template: Template | None = None
    limit: Limit | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Learn:
    """The first wait is what greylisting of that provider has taken of late, within these bounds."""

    at_least: timedelta = timedelta(minutes=1)
    at_most: timedelta = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule about recipients. `where` is file:line; `slow` or `pause` is about all mail that goes the same way."""

    id: str
    when: Condition = Condition()
    do: Fate
    wait: Schedule | None = None
    learn: Learn | None = None
    suppress: Ladder | None = None
    notify: tuple[Notice, ...] = ()
    slow: Slow | None = None
    pause: Pause | None = None
    examples: tuple[Example, ...] = ()
    where: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRule:
    """One rule about connections. `at_most` bounds the reconnects of one message."""

    id: str
    when: Condition = Condition()
    do: SessionFate
    at_most: int = 1
    examples: tuple[Example, ...] = ()
    where: str = ""


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
class Guard:
    """When a mass of equal refusals holds new suppressions back; `bouncekit.guard` has the arithmetic.

    At least so many with one fingerprint within this time, or six times it, and so many times more for each other
    answer than is usual at that provider. `at_least` is also what a bad hour can cost that is too small to be seen.
    """

    at_least: int = 20
    within: timedelta = timedelta(minutes=10)
    times_usual: float = 5.0


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
class Circumstances:
    """What a verdict depends on besides the reply. `jitter` is in [0, 1); `counters` answers `Policy.counters`.

    `sender` is the return path as the application gave it; "" for the null one. `learned` is how long greylisting has
    taken of late where it comes from; None: nobody knows.
    """

    now: datetime
    jitter: float = 0.0
    labels: Labels = Labels()
    sender: str = ""
    provider: str | None = None
    learned: timedelta | None = None
    counters: Mapping[Window, int] = field(default_factory=lambda: MappingProxyType({}))


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Disposition:
    """The policy's verdict on one recipient.

    `action` is what the application is told. `retry_at` is set where another try is due. `ladder` and `notices` are
    the measures that the rule asks for, and `measure` the one about the way: slower, or not now.
    """

    action: Action
    fate: Fate | None
    rule: str
    where: str
    retry_at: datetime | None = None
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


class Case:
    """One question to the rules; what several conditions ask is worked out once."""

    __slots__ = ("_words", "circumstances", "classification", "expired", "message_class", "recipient")

    def __init__(
        self,
        classification: Classification,
        recipient: Recipient,
        circumstances: Circumstances,
        *,
        message_class: str,
        expired: bool = False,
    ) -> None:
        self.classification = classification
        self.recipient = recipient
        self.circumstances = circumstances
        self.message_class = message_class
        self.expired = expired
        self._words: Words | None = None

    @property
    def words(self) -> Words:
        if self._words is None:
            self._words = Words(self.classification.status.text)
        return self._words

    def seen(self, asked: Seen) -> int:
        """Days with such a verdict, today included; or verdicts, this one included."""
        window = Window(self.classification.category, asked.within, asked.by)
        return self.circumstances.counters.get(window, 0) + 1


_FALLBACK = Schedule("fallback", (timedelta(minutes=30), timedelta(hours=2)))
_LONGEST_HINT = timedelta(days=1)  # that a reply may ask for
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
    guard: Guard = Guard()
    keep: Keep = Keep()
    throttles: Throttles = NO_THROTTLES
    budget: Budget | None = None
    meaning: Meaning = field(default_factory=Meaning)

    def message_class(self, name: str | None) -> MessageClass:
        """The class of that name, else the default one."""
        return self.classes.get(name or self.default_class) or self.classes[self.default_class]

    def counters(self, classification: Classification) -> tuple[Window, ...]:
        """What `decide` wants to know from the recipient's history; empty for nearly every reply."""
        asked = {
            (rule.when.seen.within, rule.when.seen.by)
            for rule in self.rules
            if rule.when.seen and (not rule.when.category or classification.category in rule.when.category)
        }
        return tuple(Window(classification.category, within, by) for within, by in sorted(asked))

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
        retry_at = self._next_try(rule, kind, classification, recipient, circumstances, deadline)
        if rule is _NO_RULE and classification.permanent:
            return _disposition(rule, fate=Fate.FAIL)
        if retry_at < deadline:
            return _disposition(rule, retry_at=retry_at)
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
        self,
        rule: Rule,
        kind: MessageClass,
        classification: Classification,
        recipient: Recipient,
        circumstances: Circumstances,
        deadline: datetime,
    ) -> datetime:
        """By the schedule, no later than the class's own says, or later where the reply asks for that.

        Never earlier: the schedule is how little the owner bothers a server, and no server can have us hammer it. Nor
        so late that there is no other try: "try again in 10000 days" is a delay of a day, and a hint behind the
        deadline one of most of the time that is left. So is what was learnt of a greylist, where it takes longer.
        """
        now = circumstances.now
        attempt = max(recipient.attempts, 1)
        waits = [
            schedule.wait(attempt, circumstances.jitter) for schedule in (rule.wait or _FALLBACK, kind.wait) if schedule
        ]
        if rule.learn is not None and circumstances.learned is not None and attempt == 1:
            learned = jittered(
                min(max(circumstances.learned, rule.learn.at_least), rule.learn.at_most), circumstances.jitter
            )
            waits[0] = min(learned, max(waits[0], (deadline - now) * _LAST_TRY))
        retry_at = now + min(waits)
        if classification.wait_hint is None:
            return retry_at
        asked = jittered(min(classification.wait_hint, _LONGEST_HINT), circumstances.jitter)
        return max(retry_at, now + min(asked, (deadline - now) * _LAST_TRY))

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


def _disposition(
    rule: Rule, *, fate: Fate | None = None, retry_at: datetime | None = None, expired: bool = False
) -> Disposition:
    fate = fate or rule.do
    final = fate is Fate.FAIL
    return Disposition(
        action=Action.FAILED if final else Action.DELAYED,
        fate=fate,
        rule=rule.id,
        where=rule.where,
        retry_at=retry_at,
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


def _same_code(pattern: str, code: int | None) -> bool:
    return code is not None and all(want in ("x", have) for want, have in zip(pattern, str(code), strict=False))


def _same_enhanced(pattern: str, status: RecipientStatus) -> bool:
    if status.enhanced is None:
        return False
    return all(want in ("x", str(have)) for want, have in zip(pattern.split("."), status.enhanced, strict=False))


def _glob(pattern: str, text: str) -> bool:
    """`*` for any run of characters; linear, both in lower case."""
    head, *rest = pattern.lower().split("*")
    text = text.lower()
    if not rest:
        return text == head
    if not text.startswith(head):
        return False
    at = len(head)
    for run in rest[:-1]:
        found = text.find(run, at)
        if found < 0:
            return False
        at = found + len(run)
    return len(text) - at >= len(rest[-1]) and text.endswith(rest[-1])
