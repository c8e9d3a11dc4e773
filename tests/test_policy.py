"""What a policy decides: pure, the first rule that matches, within deadlines."""

from dataclasses import replace
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bouncekit.meaning.classification import Category, Classification, Scope
from bouncekit.policy.policy import Disposition, Policy
from bouncekit.policy.rule import (
    Circumstances,
    Condition,
    Fate,
    Learn,
    Range,
    Rule,
    Seen,
    SessionFate,
    SessionRule,
    Window,
)
from bouncekit.policy.schedule import Hints, Obey, Schedule
from bouncekit.words.address import parse_address
from bouncekit.words.envelope import Labels, Recipient
from bouncekit.words.phrase import Phrase
from bouncekit.words.reply import Cause, NoReply, Reply, Stage
from bouncekit.words.status import Action, RecipientStatus

from .building import ANN, HOURS, LADDER, NOW, POLICY, classify, rule, with_rules

MINUTE = timedelta(minutes=1)
BUSY = "451 4.3.0 Busy"
FULL_NOW, FULL, NO_SUCH_USER = "452 4.2.2 Over quota", "552 5.2.2 Mailbox full", "550 5.1.1 No such user"


def status(said: str | Cause = FULL_NOW, **changes: Any) -> RecipientStatus:
    reply = NoReply(said) if isinstance(said, Cause) else Reply.parse(said)
    permanent = isinstance(reply, Reply) and reply.is_permanent
    start: dict[str, Any] = {"recipient": ANN, "action": Action.FAILED if permanent else Action.DELAYED}
    return RecipientStatus(**{**start, "stage": Stage.RCPT, "reply": reply, **changes})


def recipient(**changes: Any) -> Recipient:
    start: dict[str, Any] = {"attempts": 1, "first_attempt_at": NOW}
    return replace(Recipient.of(parse_address(ANN)), **{**start, **changes})


def at(now: datetime = NOW, message_class: str | None = None, **changes: Any) -> Circumstances:
    return Circumstances(now=now, labels=Labels(message_class=message_class), **changes)


def decided(
    said: str | RecipientStatus, policy: Policy = POLICY, when: Circumstances | None = None, **to: Any
) -> Disposition:
    verdict = classify(status(said) if isinstance(said, str) else said)
    return policy.decide(verdict, recipient(**to), when or at())


def holds(
    condition: Condition, verdict: Classification | None = None, when: Circumstances | None = None, **to: Any
) -> bool:
    """Whether a rule with this condition decides."""
    only = with_rules(Rule(id="asked", do=Fate.HOLD, when=condition))
    return only.decide(verdict or classify(status()), recipient(**to), when or at()).rule == "asked"


# -- which rule


def test_the_first_rule_that_matches_decides() -> None:
    first, second = rule("first", Fate.HOLD, Category.MAILBOX_FULL), rule("second", Fate.FAIL, Category.MAILBOX_FULL)
    assert decided(FULL_NOW, with_rules(first, second)).rule == "first"
    assert decided(FULL_NOW, with_rules(second, first)).rule == "second"


def test_a_verdict_names_its_rule_and_place() -> None:
    verdict = decided(FULL)
    assert (verdict.rule, verdict.where, verdict.action, verdict.fate) == (
        "full",
        "test.yaml:full",
        Action.FAILED,
        Fate.FAIL,
    )
    assert (verdict.ladder, [notice.channel for notice in verdict.notices]) == (LADDER, ["recipient"])


@given(jitter=st.floats(0, 1, exclude_max=True), attempts=st.integers(1, 50), accepted=st.integers(0, 200))
def test_the_same_question_has_the_same_answer(jitter: float, attempts: int, accepted: int) -> None:
    verdict, to, when = classify(status(accepted=accepted)), recipient(attempts=attempts), at(jitter=jitter)
    assert POLICY.decide(verdict, to, when) == POLICY.decide(verdict, to, when)


def test_a_policy_without_a_matching_rule_fails_what_is_permanent_and_retries_the_rest() -> None:
    empty = replace(POLICY, rules=())
    failed, delayed = decided(FULL, empty), decided(FULL_NOW, empty)
    assert (failed.action, failed.rule, failed.ladder) == (Action.FAILED, "no-rule-matched", None)
    assert (delayed.action, delayed.retry_at) == (Action.DELAYED, NOW + 30 * MINUTE)


def test_a_split_behind_nobody_would_go_on_for_ever_and_is_passed_by() -> None:
    too_many = "452 4.5.3 Too many recipients"
    assert decided(status(too_many, accepted=1)).fate is Fate.SPLIT
    assert decided(status(too_many, accepted=0)).fate is Fate.RETRY


def test_a_lone_repeat_happens_once() -> None:
    assert decided("552 Aborted").fate is Fate.ALONE
    again = decided("552 Aborted", repeats=1)
    assert (again.rule, again.fate, again.ladder) == ("full", Fate.FAIL, LADDER)


def test_only_a_failure_suppresses() -> None:
    careless = with_rules(rule("careless", Fate.RETRY, Category.MAILBOX_FULL, wait=HOURS, suppress=LADDER))
    assert decided(FULL_NOW, careless).ladder is None
    assert decided(FULL_NOW, careless, at(NOW + timedelta(days=3))).ladder is LADDER


# -- conditions

REPLY = classify(status("552 5.2.2 Mailbox of jo is full", remote_mta="mx1.mail.example", accepted=4))
CONDITIONS: list[tuple[dict[str, Any], bool]] = [
    ({}, True),
    ({"code": ("552",)}, True),
    ({"code": ("55x",)}, True),
    ({"code": ("4xx", "5xx")}, True),
    ({"code": ("452",)}, False),
    ({"enhanced": ("5.2.2",)}, True),
    ({"enhanced": ("x.2.2",)}, True),
    ({"enhanced": ("5.2.x",)}, True),
    ({"enhanced": ("5.2.20", "5.1.x")}, False),
    ({"stage": frozenset({Stage.RCPT, Stage.END_OF_DATA})}, True),
    ({"stage": frozenset({Stage.MAIL})}, False),
    ({"category": frozenset({Category.MAILBOX_FULL})}, True),
    ({"scope": frozenset({Scope.RECIPIENT})}, True),
    ({"scope": frozenset({Scope.SENDER})}, False),
    ({"permanent": True, "certain": True}, True),
    ({"permanent": True, "certain": False}, False),
    ({"cause": frozenset({Cause.LOST})}, False),
    ({"text": (Phrase("mailbox * full"),)}, True),
    ({"text": (Phrase("quota"), Phrase("is full"))}, True),
    ({"text": (Phrase("full mailbox"),)}, False),
    ({"remote_mta": ("*.MAIL.example",)}, True),
    ({"remote_mta": ("mx*.example",)}, True),
    ({"remote_mta": ("mail.example",)}, False),
    ({"domain": ("example.com",)}, True),
    ({"domain": ("*.com", "*.org")}, True),
    ({"domain": ("*.example.com",)}, False),
    ({"accepted": Range(4, 4)}, True),
    ({"accepted": Range(5, None)}, False),
    ({"attempts": Range(None, 2)}, True),
    ({"message_class": frozenset({"normal"})}, True),
    ({"message_class": frozenset({"urgent"})}, False),
    ({"provider": frozenset({"yahoo"})}, False),
    ({"code": ("552",), "stage": frozenset({Stage.MAIL})}, False),
]


def shown(value: object) -> str:
    """The same in every process: a set has no order of its own."""
    if not isinstance(value, dict):
        return str(value)
    pairs = {key: sorted(map(str, one)) if isinstance(one, frozenset) else one for key, one in value.items()}
    return str(pairs)[:60]


@pytest.mark.parametrize(("condition", "expected"), CONDITIONS, ids=shown)
def test_every_key_must_match_and_one_of_its_values_is_enough(condition: dict[str, Any], expected: bool) -> None:
    assert holds(Condition(**condition), REPLY) is expected


@pytest.mark.parametrize("domain", ["bücher.example", "xn--bcher-kva.example", "BÜCHER.example"])
@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("bücher.example", True),
        ("xn--bcher-kva.example", True),
        ("*.example", True),
        ("xn--bcher-kva.*", True),
        ("*.bücher.example", False),
        ("bucher.example", False),
    ],
)
def test_a_domain_is_the_same_in_each_of_its_spellings(domain: str, asked: str, expected: bool) -> None:
    to = parse_address(f"jo@{domain}")
    assert holds(Condition(domain=(asked,)), address=to) is expected
    assert holds(Condition(domain=(f"*.{asked}",)), address=parse_address(f"jo@mail.{domain}")) is expected


def test_a_cause_matches_where_there_was_no_reply() -> None:
    lost = classify(status(Cause.LOST))
    assert holds(Condition(cause=frozenset({Cause.LOST})), lost)
    assert not holds(Condition(cause=frozenset({Cause.DNS})), lost)
    assert not holds(Condition(code=("xxx",)), lost)


def test_a_provider_is_what_the_circumstances_say() -> None:
    assert holds(Condition(provider=frozenset({"yahoo"})), when=at(provider="yahoo"))


@pytest.mark.parametrize(
    ("range_", "number", "expected"),
    [(Range(1, 3), 1, True), (Range(1, 3), 3, True), (Range(1, 3), 4, False), (Range(2), 1, False), (Range(), 9, True)],
)
def test_the_bounds_of_a_range_belong_to_it(range_: Range, number: int, expected: bool) -> None:
    assert (number in range_) is expected


# -- time


def test_a_retry_waits_by_its_schedule() -> None:
    assert decided(FULL_NOW).retry_at == NOW + 30 * MINUTE
    assert decided(FULL_NOW, attempts=2).retry_at == NOW + 60 * MINUTE
    assert decided(FULL_NOW, attempts=9).retry_at == NOW + 60 * MINUTE


@given(st.floats(0, 1, exclude_max=True))
def test_jitter_only_ever_lengthens_a_wait(jitter: float) -> None:
    verdict = decided(FULL_NOW, when=at(jitter=jitter))
    assert verdict.retry_at is not None
    assert NOW + 30 * MINUTE <= verdict.retry_at <= NOW + 33 * MINUTE


def test_a_wait_that_the_reply_asks_for_is_kept_where_it_is_longer() -> None:
    verdict = classify(status())
    for hint, minutes in ((timedelta(hours=3), 180), (timedelta(minutes=1), 30)):
        decision = POLICY.decide(replace(verdict, wait_hint=hint), recipient(), at())
        assert decision.retry_at == NOW + minutes * MINUTE


def hinted(hint: timedelta, jitter: float = 0.0, **hints: Any) -> timedelta:
    """The first wait, half an hour by the schedule, where a reply asks for another."""
    own = replace(POLICY, hints=Hints(**hints))
    when = at(jitter=jitter)
    retry_at = own.decide(replace(classify(status()), wait_hint=hint), recipient(), when).retry_at
    assert retry_at is not None
    return retry_at - NOW


@pytest.mark.parametrize(
    ("obey", "waits"), [(Obey.LONGER, (30, 30, 180, 360)), (Obey.ALWAYS, (5, 10, 180, 360)), (Obey.NEVER, (30,) * 4)]
)
def test_the_owner_says_which_hints_are_obeyed_and_within_which_bounds(obey: Obey, waits: tuple[int, ...]) -> None:
    bounds: dict[str, Any] = {"obey": obey, "at_least": 5 * MINUTE, "at_most": timedelta(hours=6)}
    asked = (timedelta(seconds=1), 10 * MINUTE, timedelta(hours=3), timedelta(hours=9))
    assert [hinted(hint, **bounds) for hint in asked] == [wait * MINUTE for wait in waits]


def test_a_bound_for_short_hints_makes_no_wait_longer_than_the_schedules() -> None:
    assert hinted(timedelta(seconds=1), obey=Obey.ALWAYS, at_least=timedelta(hours=2)) == 30 * MINUTE


def test_those_whom_short_hints_call_back_are_spread_too() -> None:
    assert hinted(timedelta(seconds=1), 0.5, obey=Obey.ALWAYS, at_least=10 * MINUTE) == 10.5 * MINUTE


def test_a_wait_that_was_learnt_is_known_better_than_a_hint_and_says_what_it_rests_on() -> None:
    patient = Rule(id="grey", do=Fate.RETRY, wait=Schedule("grey", (5 * MINUTE,)), learn=Learn())
    own = with_rules(patient, hints=Hints(obey=Obey.ALWAYS))
    verdict = replace(classify(status()), category=Category.GREYLISTED)
    when = replace(at(), learned=20 * MINUTE)
    for hint, wait, learned in ((5, 20, 20 * MINUTE), (20, 20, 20 * MINUTE), (45, 45, None)):
        done = own.decide(replace(verdict, wait_hint=hint * MINUTE), recipient(), when)
        assert (done.retry_at, done.learned) == (NOW + wait * MINUTE, learned)
    again = own.decide(verdict, recipient(attempts=2), when)
    assert (again.retry_at, again.learned) == (NOW + 5 * MINUTE, None)


@pytest.mark.parametrize("days", [1, 3, 10_000, 999_999_999])
def test_a_reply_that_asks_for_years_delays_by_a_day_and_fails_nobody(days: int) -> None:
    verdict = replace(classify(status()), wait_hint=timedelta(days=days))
    decision = POLICY.decide(verdict, recipient(), at())
    assert (decision.action, decision.retry_at) == (Action.DELAYED, NOW + timedelta(days=1))


@given(hint=st.timedeltas(timedelta(0), timedelta.max), late=st.timedeltas(timedelta(0), timedelta(hours=47)))
def test_no_hint_fails_a_recipient_whom_the_schedule_would_try_again(hint: timedelta, late: timedelta) -> None:
    verdict, now = classify(status()), NOW + late
    by_schedule = POLICY.decide(verdict, recipient(), at(now))
    by_hint = POLICY.decide(replace(verdict, wait_hint=hint), recipient(), at(now))
    assert by_schedule.retry_at is not None
    assert by_hint.retry_at is not None
    assert by_schedule.retry_at <= by_hint.retry_at < NOW + timedelta(days=2)


def test_a_hint_behind_the_deadline_leaves_one_try_before_it() -> None:
    short = with_rules(rule("quick", Fate.RETRY, wait=Schedule("quick", (MINUTE,))))
    verdict = replace(classify(status()), wait_hint=timedelta(minutes=15))
    assert short.decide(verdict, recipient(), at(message_class="urgent")).retry_at == NOW + 9 * MINUTE


def test_jitter_spreads_those_whom_a_reply_asked_to_come_back_at_one_time() -> None:
    verdict = replace(classify(status()), wait_hint=timedelta(hours=1))
    assert POLICY.decide(verdict, recipient(), at(jitter=0.5)).retry_at == NOW + 63 * MINUTE


def test_a_retry_behind_the_deadline_fails_at_once() -> None:
    verdict = decided(FULL_NOW, when=at(message_class="urgent"))
    assert (verdict.action, verdict.fate, verdict.retry_at, verdict.expired) == (Action.FAILED, Fate.FAIL, None, True)
    assert verdict.rule == "temporary"


def test_a_retry_just_before_the_deadline_is_tried() -> None:
    two_days = timedelta(days=2)
    assert decided(FULL_NOW, when=at(NOW + two_days - 31 * MINUTE)).action is Action.DELAYED
    assert decided(FULL_NOW, when=at(NOW + two_days - 30 * MINUTE)).action is Action.FAILED


@pytest.mark.parametrize("jitter", [0.0, 0.3, 0.6, 0.99])
def test_jitter_costs_nobody_a_try_that_comes_in_time_without_it(jitter: float) -> None:
    kind = replace(POLICY.classes["normal"], deadline=10 * MINUTE)
    by_class, by_rule = (replace(kind, wait=Schedule("own", (9.5 * MINUTE,))), replace(kind, wait=None))
    rules = with_rules(Rule(id="own", do=Fate.RETRY, wait=Schedule("own", (9.5 * MINUTE,))))
    for policy in (replace(POLICY, classes={"normal": by_class}), replace(rules, classes={"normal": by_rule})):
        verdict = decided(BUSY, policy, at(jitter=jitter))
        assert verdict.retry_at is not None
        assert NOW + 9.5 * MINUTE <= verdict.retry_at < NOW + 10 * MINUTE


def test_the_deadline_counts_from_the_first_attempt() -> None:
    long_ago = NOW - timedelta(days=3)
    assert decided(FULL_NOW, first_attempt_at=long_ago).expired
    assert not decided(FULL_NOW, first_attempt_at=None).expired


def test_a_class_bounds_the_waits_of_every_rule_and_lengthens_none() -> None:
    kind = POLICY.classes["normal"]
    quick = replace(POLICY, classes={"normal": replace(kind, wait=Schedule("quick", (MINUTE, 2 * MINUTE)))})
    slow = replace(POLICY, classes={"normal": replace(kind, wait=Schedule("slow", (90 * MINUTE,)))})
    assert decided(BUSY, quick).retry_at == NOW + MINUTE
    assert decided(BUSY, quick, attempts=9).retry_at == NOW + 2 * MINUTE
    assert decided(BUSY, slow).retry_at == decided(BUSY).retry_at == NOW + 30 * MINUTE
    hinted = replace(classify(status(BUSY)), wait_hint=5 * MINUTE)
    assert quick.decide(hinted, recipient(), at()).retry_at == NOW + 5 * MINUTE, "what the server asks for is kept"


def test_an_unknown_outcome_goes_once_more_by_the_waits_of_its_class() -> None:
    kind = replace(POLICY.classes["resend"], deadline=10 * MINUTE, wait=Schedule("quick", (MINUTE,)))
    lost = status(Cause.LOST, action=Action.UNKNOWN, stage=Stage.END_OF_DATA)
    quick = replace(POLICY, classes={**POLICY.classes, "resend": kind})
    when = at(message_class="resend")
    assert decided(lost, quick, when).retry_at == NOW + MINUTE
    without = replace(quick, classes={**quick.classes, "resend": replace(kind, wait=None)})
    assert decided(lost, without, when).rule == "leave-unknown", "the first schedule begins with half an hour"


def test_who_was_not_asked_in_time_is_given_up_by_the_rules_for_what_expired() -> None:
    overdue = classify(status(Cause.OVERDUE, stage=Stage.CONNECT))
    done = POLICY.give_up(overdue, recipient(attempts=0), at())
    assert (done.action, done.fate, done.expired, done.retry_at) == (Action.FAILED, Fate.FAIL, True, None)
    kept = with_rules(rule("keep", Fate.HOLD, expired=True))
    assert kept.give_up(overdue, recipient(attempts=0), at()).fate is Fate.HOLD
    told = with_rules(rule("tell", Fate.FAIL, cause=frozenset({Cause.OVERDUE})))
    assert told.give_up(overdue, recipient(attempts=0), at()).rule == "tell"


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({"sender": ("news@example.org",)}, True),
        ({"sender": ("*@EXAMPLE.org", "x@y.example")}, True),
        ({"sender": ("example.org",)}, False),
        ({"tenant": frozenset({"acme", "other"})}, True),
        ({"tenant": frozenset({"other"})}, False),
        ({"stream": frozenset({"news"}), "tenant": frozenset({"acme"})}, True),
        ({"stream": frozenset({"login"})}, False),
    ],
)
def test_a_rule_may_be_about_whose_mail_it_is(condition: dict[str, Any], expected: bool) -> None:
    when = Circumstances(now=NOW, labels=Labels(tenant="acme", stream="news"), sender="News@example.org")
    assert (decided(FULL_NOW, with_rules(rule("own", Fate.HOLD, **condition)), when).rule == "own") is expected


def test_the_last_try_is_decided_by_the_rules_for_what_expired() -> None:
    last = rule("last", Fate.FAIL, Category.MAILBOX_FULL, expired=True, suppress=LADDER)
    before_the_deadline = decided(FULL_NOW, with_rules(last), at(message_class="urgent"))
    behind_it = decided(FULL_NOW, with_rules(last), at(NOW + timedelta(days=3)))
    assert before_the_deadline.rule == behind_it.rule == "last"
    assert before_the_deadline.ladder is behind_it.ladder is LADDER
    assert before_the_deadline.expired
    assert behind_it.expired


@pytest.mark.parametrize("when", [at(message_class="urgent"), at(NOW + timedelta(days=3))])
def test_what_expired_may_be_held(when: Circumstances) -> None:
    verdict = decided(FULL_NOW, with_rules(rule("keep", Fate.HOLD, expired=True)), when)
    assert (verdict.rule, verdict.fate, verdict.action, verdict.expired) == ("keep", Fate.HOLD, Action.DELAYED, True)


def test_an_unknown_class_is_the_default_one() -> None:
    assert POLICY.message_class("no-such-class") is POLICY.message_class(None) is POLICY.classes["normal"]


# -- history

WEEKS = Window(Category.MAILBOX_FULL, timedelta(days=30))


def test_a_policy_asks_for_the_counters_of_its_rules_only() -> None:
    assert POLICY.counters(classify(status())) == (WEEKS,)
    assert POLICY.counters(classify(status(NO_SUCH_USER))) == ()


def test_a_threshold_without_a_category_is_asked_for_every_one() -> None:
    often = with_rules(rule("often", Fate.FAIL, seen=Seen(5, timedelta(days=1))))
    assert often.counters(classify(status(NO_SUCH_USER))) == (Window(Category.USER_UNKNOWN, timedelta(days=1)),)


@pytest.mark.parametrize(
    ("before", "decides"), [(0, "temporary"), (1, "temporary"), (2, "full-for-weeks"), (9, "full-for-weeks")]
)
def test_the_present_verdict_counts_with_those_before(before: int, decides: str) -> None:
    late = at(NOW + timedelta(days=3), counters={WEEKS: before})
    assert decided(FULL_NOW, when=late).rule == decides


FADING = Seen(3, timedelta(days=30), half_after=timedelta(days=10))


def faded(*, days: list[int], seen: Seen = FADING) -> dict[Window, int]:
    """The counters of verdicts so many days ago."""
    windows = seen.windows(Category.MAILBOX_FULL)
    return {one: sum(timedelta(days=ago) <= one.within for ago in days) for one in windows}


@pytest.mark.parametrize(
    ("days", "weighs"),
    [([], 1), ([1, 2], 3), ([10, 10], 3), ([11, 12], 2), ([5, 15, 25], 2.75), ([9, 11, 20], 3), ([31, 300], 1)],
)
def test_a_verdict_weighs_half_after_a_time_and_a_quarter_after_twice_that(days: list[int], weighs: float) -> None:
    fading = with_rules(rule("fading", Fate.FAIL, permanent=False, seen=FADING))
    counters = faded(days=days)
    assert FADING.weigh(counters.values()) == weighs
    assert (decided(FULL_NOW, fading, when=at(counters=counters)).rule == "fading") is (weighs >= 3)


@given(
    st.lists(st.integers(1, 40), max_size=60),
    st.integers(2, 30).flatmap(lambda within: st.tuples(st.just(within), st.integers(1, within - 1))),
)
def test_weights_are_exact(days: list[int], spans: tuple[int, int]) -> None:
    within, half = spans
    seen = Seen(1, timedelta(days=within), half_after=timedelta(days=half))
    exact = 1 + sum(Fraction(1, 2 ** ((ago - 1) // half)) for ago in days if ago <= within)
    assert Fraction(seen.weigh(faded(days=days, seen=seen).values())) == exact


def test_a_threshold_that_fades_asks_for_each_of_its_times_and_any_other_for_one() -> None:
    both = with_rules(rule("fading", Fate.FAIL, seen=FADING))
    assert [one.within.days for one in both.counters(classify(status()))] == [10, 20, 30]
    assert Seen(3, timedelta(days=30)).spans == (timedelta(days=30),)


# -- unknown outcomes

UNKNOWN = status(Cause.LOST, action=Action.UNKNOWN, stage=Stage.END_OF_DATA)


def test_an_unknown_outcome_is_left_where_a_duplicate_is_worse() -> None:
    verdict = decided(UNKNOWN)
    assert (verdict.action, verdict.fate, verdict.rule, verdict.retry_at) == (
        Action.UNKNOWN,
        Fate.FAIL,
        "leave-unknown",
        None,
    )
    assert verdict.where == "class normal"


def test_an_unknown_outcome_is_tried_again_where_a_loss_is_worse() -> None:
    verdict = decided(UNKNOWN, when=at(message_class="resend"))
    assert (verdict.action, verdict.fate, verdict.rule) == (Action.UNKNOWN, Fate.RETRY, "resend-unknown")
    assert verdict.retry_at == NOW + 30 * MINUTE


def test_an_unknown_outcome_is_not_tried_again_behind_the_deadline() -> None:
    assert decided(UNKNOWN, when=at(NOW + timedelta(days=3), "resend")).rule == "leave-unknown"


def test_no_rule_is_asked_about_an_unknown_outcome() -> None:
    greedy = with_rules(rule("all", Fate.FAIL, suppress=LADDER))
    assert decided(UNKNOWN, greedy).ladder is None


# -- sessions


def test_a_reconnect_is_bounded_and_then_a_close() -> None:
    ended = classify(status("421 4.3.2 Shutting down"))
    fates = [POLICY.decide_session(ended, reconnects=number).fate for number in range(5)]
    assert fates == [SessionFate.RECONNECT] * 3 + [SessionFate.CLOSE] * 2


def test_a_session_without_a_rule_is_closed() -> None:
    verdict = POLICY.decide_session(classify(status(Cause.TIMED_OUT)))
    assert (verdict.fate, verdict.rule) == (SessionFate.CLOSE, "no-session-rule-matched")


def test_the_first_session_rule_decides() -> None:
    quit_ = SessionRule(
        id="quit", when=Condition(stage=frozenset({Stage.QUIT})), do=SessionFate.CLOSE, where="x.yaml:3"
    )
    policy = replace(POLICY, sessions=(quit_, *POLICY.sessions))
    bye = policy.decide_session(classify(status("221 Bye", stage=Stage.QUIT)))
    assert (bye.fate, bye.rule, bye.where) == (SessionFate.CLOSE, "quit", "x.yaml:3")
    assert policy.decide_session(classify(status("221 Bye"))).fate is SessionFate.RECONNECT


def test_a_schedule_beyond_any_number_of_attempts_still_answers() -> None:
    postfix = Schedule("postfix", (5 * MINUTE,), grow=2.0, at_most=timedelta(seconds=4000))
    policy = with_rules(rule("postfix", Fate.RETRY, wait=postfix))
    assert decided(FULL_NOW, policy, attempts=10_000).retry_at == NOW + timedelta(seconds=4000)
