"""Values and a driver for the tests of the delivery floor: no file, no socket, no clock.

The server speaks through the real `transaction()`, so that every status is one that SMTP can bring.
"""

import gc
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from bouncekit.delivery.delivery import deliver
from bouncekit.delivery.events import Event, EventType
from bouncekit.delivery.report import Report
from bouncekit.delivery.settlement import Settlement
from bouncekit.delivery.steps import Delivery, LookedUp, LookUp, Outcome, Record, SessionEnd, Transact, Wait
from bouncekit.meaning.classification import Category, Classification, Step, scope_of
from bouncekit.policy.guard import Guard
from bouncekit.policy.policy import MessageClass, Policy
from bouncekit.policy.rule import Condition, Fate, Notice, Range, Rule, Seen, SessionFate, SessionRule, Window
from bouncekit.policy.schedule import Schedule
from bouncekit.policy.suppression import Ladder, Standing, Suppression
from bouncekit.protocol.transaction import Body, Commands, Dot, transaction
from bouncekit.words.address import parse_address, suppression_key
from bouncekit.words.envelope import Envelope, Labels, Recipient
from bouncekit.words.reply import Cause, NoReply, Reply, Stage
from bouncekit.words.status import Action, RecipientStatus

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
ANN, BOB, CY, DI = (f"{name}@example.com" for name in ("ann", "bob", "cy", "di"))
LOST = NoReply(Cause.LOST)
DATA, DOT = "DATA", "DOT"

HOURS = Schedule("hours", (timedelta(minutes=30), timedelta(hours=1)))
LADDER = Ladder(name="mailbox", provisional=timedelta(days=7), confirmed=(timedelta(days=30),))

# Code, or code and enhanced code -> category, permanent, certain.
_MEANINGS = {
    "221": (Category.NETWORK_ERROR, False, True),
    "421": (Category.NETWORK_ERROR, False, True),
    "451": (Category.SYSTEM_ERROR, False, True),
    "452 4.2.2": (Category.MAILBOX_FULL, False, True),
    "452 4.5.3": (Category.TOO_MANY_RECIPIENTS, False, True),
    "550 5.1.1": (Category.USER_UNKNOWN, True, True),
    "550 5.7.1": (Category.BLOCKLISTED, True, True),
    "552": (Category.MAILBOX_FULL, True, False),
    "552 5.2.2": (Category.MAILBOX_FULL, True, True),
    "554 5.7.1": (Category.SPAM_CONTENT, True, True),
}


def classify(status: RecipientStatus) -> Classification:
    """What a status means, by the table above."""
    named = f"{status.code} {status.enhanced}" if status.enhanced else str(status.code)
    nothing = (Category.UNKNOWN, status.action is Action.FAILED, False)
    category, permanent, certain = _MEANINGS.get(named) or _MEANINGS.get(str(status.code), nothing)
    if isinstance(status.reply, NoReply):
        local = status.reply.cause is Cause.LOCAL
        category, permanent = (Category.INVALID_ADDRESS, True) if local else (Category.NETWORK_ERROR, False)
    return Classification(
        status=status,
        category=category,
        scope=scope_of(category),
        permanent=permanent,
        certain=certain,
        step=Step.TABLE,
        rule=f"meaning-{named}",
        where="building.py:1",
    )


def rule(id_: str, do: Fate, *categories: Category, **more: Any) -> Rule:
    """A rule; keys that are none of a rule's belong to its condition."""
    own = {key: more.pop(key) for key in ("wait", "suppress", "notify") if key in more}
    return Rule(id=id_, do=do, when=Condition(category=frozenset(categories), **more), where=f"test.yaml:{id_}", **own)


_FULL = Category.MAILBOX_FULL
_WEEKS = Seen(3, timedelta(days=30))
RULES = (
    rule("too-many", Fate.SPLIT, Category.TOO_MANY_RECIPIENTS),
    rule("maybe-full", Fate.ALONE, _FULL, permanent=True, certain=False, attempts=Range(1, 1)),
    rule("full", Fate.FAIL, _FULL, permanent=True, suppress=LADDER, notify=(Notice("recipient"),)),
    rule("full-for-weeks", Fate.FAIL, _FULL, expired=True, seen=_WEEKS, suppress=LADDER),
    rule("nobody", Fate.FAIL, Category.USER_UNKNOWN, permanent=True, suppress=LADDER),
    rule("temporary", Fate.RETRY, permanent=False, wait=HOURS),
    rule("permanent", Fate.FAIL),
)
POLICY = Policy(
    name="test",
    hash="0123",
    classes={
        "normal": MessageClass(name="normal", deadline=timedelta(days=2)),
        "resend": MessageClass(name="resend", deadline=timedelta(days=2), resend_unknown=True),
        "urgent": MessageClass(name="urgent", deadline=timedelta(minutes=10), ignores=frozenset({_FULL})),
    },
    default_class="normal",
    rules=RULES,
    sessions=(SessionRule(id="closed", when=Condition(code=("221", "421")), do=SessionFate.RECONNECT, at_most=3),),
    schedules={"hours": HOURS},
    guard=Guard(at_least=1_000_000),  # it has tests of its own
)


def with_rules(*rules: Rule, **changes: Any) -> Policy:
    """The policy above with rules in front of its own."""
    return replace(POLICY, rules=(*rules, *RULES), **changes)


def delivery_to(*addresses: str, **settings: Any) -> Delivery:
    """A message to these addresses; `settings` are fields of Delivery, or of Labels."""
    own = {key: settings.pop(key) for key in ("refused", "given", "id", "recipients") if key in settings}
    parsed = tuple(map(parse_address, addresses))
    envelope = Envelope(
        sender=parse_address("shop@example.org"), recipients=parsed, content=b"Hi\r\n", message_id="<1@x>"
    )
    start = {"id": "d1", "recipients": tuple(map(Recipient.of, parsed))}
    return Delivery(**{**start, "envelope": envelope, "labels": Labels(**settings), **own})


def suppression(address: str, **changes: Any) -> Suppression:
    """A provisional suppression that ends tomorrow."""
    since = NOW - timedelta(days=6)
    start: dict[str, Any] = {"key": suppression_key(address), "address": address, "standing": Standing.PROVISIONAL}
    start |= {"category": _FULL, "since": since, "changed_at": since, "expires_at": NOW + timedelta(days=1)}
    return Suppression(**{**start, "ladder": "mailbox", "by": "rule full", **changes})


def expired(address: str, **changes: Any) -> Suppression:
    """A suppression whose time is over, so that one message may probe."""
    return suppression(address, since=NOW - timedelta(days=10), expires_at=NOW - timedelta(days=1), **changes)


Answers = Mapping[str, "str | Reply | NoReply"]


@dataclass
class Driver:
    """Carries out a delivery's steps and keeps them.

    `answers` has a script for each transaction: an address, "MAIL", DATA or DOT -> what the server says; all else is
    well. `waits` are the answers to Wait; behind the last one it is False. `meanwhile` happens during each Wait.
    """

    answers: Sequence[Answers] = ()
    suppressions: Iterable[Suppression] = ()
    probes: frozenset[str] = frozenset()
    counters: Mapping[tuple[str, Window], int] = field(default_factory=dict)
    can_redial: bool = True
    waits: Sequence[bool] = ()
    meanwhile: Callable[["Driver"], None] = lambda driver: None
    now: datetime = NOW
    steps: list[Any] = field(default_factory=list)
    transacted: list[tuple[str, ...]] = field(default_factory=list)

    def drive(self, delivery: Delivery, policy: Policy = POLICY, *, classify: Callable[..., Any] = classify) -> Report:
        steps, answer = deliver(delivery, classify=classify, policy=policy), None
        while True:
            try:
                step = steps.send(answer)
            except StopIteration as done:
                return done.value
            self.steps.append(step)
            answer = self.answer(step)

    def answer(self, step: object) -> Any:
        match step:
            case LookUp():
                found = {one.key: one for one in self.suppressions if one.key in step.keys}
                granted = self.probes & set(step.keys) if step.claim else frozenset()
                counted = {asked: self.counters.get(asked, 0) for asked in step.windows}
                return LookedUp(now=self.now, suppressions=found, probes=granted, counters=counted)
            case Transact():
                self.transacted.append(tuple(address.wire for address in step.envelope.recipients))
                turn = len(self.transacted) - 1
                return self.outcome(step, self.answers[turn] if turn < len(self.answers) else {})
            case Wait():
                self.now = max(self.now, step.until)
                self.meanwhile(self)
                return len(self.of(Wait)) <= len(self.waits) and self.waits[len(self.of(Wait)) - 1]
        return None

    def outcome(self, step: Transact, answers: Answers) -> Outcome:
        result = run(transaction(step.envelope, {}, remote_mta="mx.example.com"), lambda key: answers.get(key))
        ended = SessionEnd(stage=result.ended[0], reply=result.ended[1]) if result.ended else None
        return Outcome(
            attempt_id=f"a{len(self.transacted)}",
            now=self.now,
            statuses=result.statuses,
            ended=ended,
            can_redial=self.can_redial,
            remote_mta="mx.example.com",
        )

    def of(self, kind: type) -> list[Any]:
        return [step for step in self.steps if isinstance(step, kind)]

    @property
    def records(self) -> list[Record]:
        return self.of(Record)

    @property
    def settlements(self) -> list[Settlement]:
        return [settlement for record in self.records for settlement in record.settlements]

    @property
    def events(self) -> list[Event]:
        return [event for record in self.records for event in record.events]

    def types(self, recipient: str | None) -> list[EventType]:
        return [event.type for event in self.events if event.recipient == recipient]


def run(steps: Generator[Any, Any, Any], said: Callable[[str], str | Reply | NoReply | None]) -> Any:
    """Carry out a transaction with a server that answers `said(key)`, else as it should."""
    answer: Any = None
    while True:
        try:
            step = steps.send(answer)
        except StopIteration as done:
            return done.value
        match step:
            case Commands():
                answer = [_heard(said(_key(one.stage, one.line)), one.stage) for one in step.commands]
            case Body():
                answer = None
            case Dot():
                answer = [_heard(said(DOT), Stage.END_OF_DATA)] * step.replies


def _key(stage: Stage, line: bytes) -> str:
    return line.decode().partition("<")[2].partition(">")[0] if stage is Stage.RCPT else str(stage)


def _heard(said: str | Reply | NoReply | None, stage: Stage) -> Reply | NoReply:
    if said is None:
        return Reply(354 if stage is Stage.DATA else 250, b"2.0.0 Ok" if stage is not Stage.DATA else b"Go")
    return Reply.parse(said) if isinstance(said, str) else said


def grows_in_line(seconds: Callable[[int], float]) -> bool:
    """Whether the work for 10,000 is about twenty times that for 500; were it quadratic, it would be 400 times."""
    gc.disable()  # it looks at all that the other tests have left
    try:
        seconds(50)
        short = max(min(seconds(500) for _ in range(2)), 0.001)
        return any(seconds(10_000) < 200 * short for _ in range(2))
    finally:
        gc.enable()
