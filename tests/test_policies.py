"""The shipped policies: what each decides, by the shipped classifier, and that nobody pays for what others did."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bouncekit.delivery.settlement import settle
from bouncekit.meaning.classification import Category, Scope
from bouncekit.outside.builtin import classify, open_policy, policy_folder, policy_names, policy_text, schedules
from bouncekit.policy.policy import Disposition, SessionDisposition
from bouncekit.policy.rule import Circumstances, Fate, SessionFate
from bouncekit.policyfiles.policyfile import read_policy
from bouncekit.policyfiles.policyprint import show_policy
from bouncekit.policyfiles.policyschema import policy_schema
from bouncekit.policyfiles.policytrial import run_examples
from bouncekit.postmaster.asking import status_of
from bouncekit.words.address import parse_address
from bouncekit.words.envelope import Labels, Recipient
from bouncekit.words.errors import PolicyError
from bouncekit.words.reply import Cause, NoReply
from bouncekit.words.status import Action, RecipientStatus

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
FOLDER = policy_folder()
NAMES = ("bulk", "default", "strict", "transactional")
ANN = replace(Recipient.of(parse_address("ann@example.com")), attempts=1, first_attempt_at=NOW)

FULL, FULL_NOW = "552 5.2.2 <ann@example.com>: Mailbox is full", "452 4.2.2 Over quota"


def status(said: str | Cause, stage: str = "RCPT", accepted: int = 0, individual: bool = True) -> RecipientStatus:
    one = status_of("421 -" if isinstance(said, Cause) else said, stage=stage, accepted=accepted, individual=individual)
    return replace(one, recipient="ann@example.com", reply=NoReply(said) if isinstance(said, Cause) else one.reply)


def decided(
    said: str | Cause,
    stage: str = "RCPT",
    accepted: int = 0,
    individual: bool = True,
    *,
    policy: str = "default",
    to: Recipient = ANN,
    seen: int = 1,
    now: datetime = NOW,
    message_class: str | None = None,
) -> Disposition:
    opened, verdict = open_policy(policy), classify(status(said, stage, accepted, individual))
    counters = dict.fromkeys(opened.counters(verdict), seen - 1)
    labels = Labels(message_class=message_class)
    return opened.decide(verdict, to, Circumstances(now=now, labels=labels, counters=counters))


def ended(said: str | Cause, stage: str = "RCPT", *, reconnects: int = 0) -> SessionDisposition:
    return open_policy("default").decide_session(classify(status(said, stage)), reconnects=reconnects)


def channels(disposition: Disposition) -> list[str]:
    return [notice.channel for notice in disposition.notices]


# -- the files


def test_four_policies_are_shipped() -> None:
    assert policy_names() == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_example_is_decided_as_its_policy_says(name: str) -> None:
    results = run_examples(open_policy(name), classify)
    assert len(results) >= 40
    wrong = [(one.rule, one.example.reply, one.decided_by, one.verdict.rule) for one in results if not one.ok]
    assert not wrong


@pytest.mark.parametrize("name", NAMES)
def test_each_file_names_its_schema_and_is_named_in_the_readme(name: str) -> None:
    assert policy_text(name)[1].startswith("# yaml-language-server: $schema=policy.schema.json\n")
    assert f"[{name}]({name}.yaml)" in (FOLDER / "README.md").read_text("utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_what_is_shown_loads_to_an_equal_policy(name: str) -> None:
    policy = open_policy(name)
    again = read_policy("again.yaml", show_policy(policy), resolve=policy_text).policy
    for one, other in zip(policy.rules + policy.sessions, again.rules + again.sessions, strict=True):
        assert replace(one, where="") == replace(other, where="")
    assert replace(again, name="", hash="", rules=(), sessions=()) == replace(
        policy, name="", hash="", rules=(), sessions=()
    )


def test_the_schema_file_is_the_grammar() -> None:
    shipped = json.loads((FOLDER / "policy.schema.json").read_text("utf-8"))
    assert shipped == policy_schema(), "write it anew: bouncekit policy schema > policies/policy.schema.json"


def test_every_policy_in_the_readme_loads() -> None:
    blocks = (FOLDER / "README.md").read_text("utf-8").split("```yaml\n")[1:]
    for block in blocks:
        policy = read_policy("readme.yaml", block.partition("```")[0], resolve=policy_text, known=schedules).policy
        assert all(one.ok for one in run_examples(policy, classify))
    assert blocks


@pytest.mark.parametrize("name", NAMES)
def test_every_rule_of_a_refusal_has_an_example(name: str) -> None:
    # Complaints come as reports and never as replies; the others want a wording of one provider.
    rare = {"complaint", "settled-elsewhere", "not-wanted"}
    assert {rule.id for rule in open_policy(name).rules if not rule.examples} <= rare


# -- 552, 452


def test_a_452_full_mailbox_is_tried_again_in_half_an_hour_and_then_in_hours() -> None:
    verdict = decided(FULL_NOW)
    assert (verdict.rule, verdict.action, verdict.ladder) == ("mailbox-full-now", Action.DELAYED, None)
    assert verdict.retry_at == NOW + 30 * MINUTE
    assert decided(FULL_NOW, to=replace(ANN, attempts=9)).retry_at == NOW + 240 * MINUTE


def test_a_452_full_mailbox_at_the_deadline_fails_and_another_channel_is_told() -> None:
    late = decided(FULL_NOW, now=NOW + 4 * DAY)
    assert (late.rule, late.action, late.ladder, channels(late)) == (
        "full-to-the-end",
        Action.FAILED,
        None,
        ["recipient"],
    )


def test_a_mailbox_full_for_weeks_is_suppressed() -> None:
    late = decided(FULL_NOW, now=NOW + 4 * DAY, seen=3)
    assert (late.rule, late.ladder and late.ladder.name) == ("full-for-weeks", "mailbox")


@pytest.mark.parametrize("name", ["default", "transactional"])
def test_a_mailbox_full_on_ten_days_is_suppressed_without_a_deadline(name: str) -> None:
    assert decided(FULL_NOW, policy=name, seen=9).fate is Fate.RETRY
    tenth = decided(FULL_NOW, policy=name, seen=10)
    assert (tenth.rule, tenth.ladder and tenth.ladder.name) == ("full-day-after-day", "mailbox")
    assert channels(tenth) == ["recipient"]


@pytest.mark.parametrize("name", ["bulk", "strict"])
def test_a_recipient_that_refuses_us_is_taken_at_its_word_and_a_bare_refusal_is_not(name: str) -> None:
    in_words = decided("550 5.7.1 The recipient does not accept mail from you", policy=name)
    assert (in_words.rule, in_words.ladder and in_words.ladder.name) == ("not-wanted", "address")
    assert decided("550 <ann@example.com>: Recipient address rejected.", policy=name).ladder is None


def test_a_552_full_mailbox_is_suppressed_and_another_channel_is_told() -> None:
    for stage, accepted in (("RCPT", 0), ("RCPT", 5), ("END_OF_DATA", 1)):
        verdict = decided(FULL, stage, accepted)
        assert (verdict.rule, verdict.action, channels(verdict)) == ("mailbox-full", Action.FAILED, ["recipient"])
        assert verdict.ladder is not None
        assert (verdict.ladder.name, verdict.ladder.provisional) == ("mailbox", 7 * DAY)


def test_too_many_recipients_are_split_whatever_the_code() -> None:
    for said in ("452 4.5.3 Error: too many recipients", "552 5.5.3 Too many recipients", "452 Too many recipients"):
        assert decided(said, accepted=2).fate is Fate.SPLIT


def test_too_many_recipients_in_front_of_the_first_is_a_rate_and_waits() -> None:
    verdict = decided("452 4.5.3 Too many recipients", accepted=0)
    assert (verdict.rule, verdict.retry_at) == ("too-fast", NOW + 60 * MINUTE)


def test_a_bare_552_behind_accepted_recipients_is_asked_once_more_alone() -> None:
    bare = "552 Requested mail action aborted: exceeded storage allocation"
    assert decided(bare, accepted=2).fate is Fate.ALONE
    again = decided(bare, to=replace(ANN, repeats=1))
    assert (again.rule, again.fate) == ("mailbox-full", Fate.FAIL)


def test_one_552_after_the_data_for_several_recipients_is_asked_one_by_one() -> None:
    yahoo = "552 1 Requested mail action aborted, mailbox not found"
    assert decided(yahoo, "END_OF_DATA", 3, individual=False).fate is Fate.ALONE
    alone = decided(yahoo, "END_OF_DATA", 1, to=replace(ANN, repeats=1))
    assert (alone.action, alone.ladder and alone.ladder.name) == (Action.FAILED, "address")


def test_lmtp_says_it_of_each_recipient_and_nobody_is_asked_twice() -> None:
    assert decided(FULL, "END_OF_DATA", 3, individual=True).rule == "mailbox-full"


def test_a_full_server_waits_minutes_and_blames_nobody() -> None:
    verdict = decided("452 4.3.1 Insufficient system storage")
    assert (verdict.rule, verdict.retry_at) == ("server-full", NOW + 5 * MINUTE)


@pytest.mark.parametrize("stage", ["MAIL", "RCPT", "END_OF_DATA"])
def test_a_552_for_a_message_that_is_too_big_suppresses_nobody(stage: str) -> None:
    verdict = decided("552 5.3.4 Message size exceeds fixed limit", stage, accepted=1)
    assert (verdict.action, verdict.ladder) == (Action.FAILED, None)


# -- 550 and the rest


@pytest.mark.parametrize("name", ["default", "transactional", "strict"])
@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("552 5.3.4 Message size exceeds fixed limit", ["owner"]),
        ("554 5.7.1 Message rejected as spam", ["owner"]),
        ("550 5.7.26 Unauthenticated mail is not accepted", ["operations"]),
        ("554 5.7.1 Relay access denied", ["operations"]),
        ("451 4.7.1 Your host is listed at a blocklist", ["operations"]),
        ("421 4.7.28 Unusual rate of mail", []),  # a matter of minutes
        ("450 4.2.0 Mailbox unavailable", []),
        ("550 5.1.1 No such user", []),
        ("552 5.2.2 Over quota", ["recipient"]),
    ],
)
def test_whoever_can_mend_it_is_told(said: str, told: list[str], name: str) -> None:
    assert channels(decided(said, policy=name)) == told


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("421 4.7.28 Unusual rate of mail", ["operations"]),
        ("451 4.7.1 Your host is listed at a blocklist", ["operations"]),
        ("451 4.7.1 Message looks like spam", ["owner"]),
        ("452 4.2.2 Over quota", ["recipient"]),
        ("451 4.3.0 Local error in processing", []),
    ],
)
def test_what_was_our_fault_until_the_deadline_is_told(said: str, told: list[str]) -> None:
    late = decided(said, now=NOW + 4 * DAY)
    assert (late.action, late.expired, channels(late)) == (Action.FAILED, True, told)


def test_no_such_mailbox_is_suppressed_by_the_ladder_of_addresses() -> None:
    verdict = decided("550 5.1.1 No such user")
    assert (verdict.rule, verdict.ladder and verdict.ladder.name) == ("no-such-mailbox", "address")
    assert verdict.notices == ()


def test_greylisting_is_tried_again_after_minutes() -> None:
    verdict = decided("451 4.7.1 Greylisting in action, please come back later")
    assert (verdict.rule, verdict.retry_at) == ("greylisted", NOW + 5 * MINUTE)


@pytest.mark.parametrize(
    ("said", "stage"),
    [
        ("554 5.7.1 Your host is not allowed here", "CONNECT"),
        ("554 No SMTP service here", "CONNECT"),
        ("521 mx.example.com does not accept mail", "CONNECT"),
        ("550 5.7.1 Access denied", "EHLO"),
        ("530 5.7.0 Authentication required", "AUTH"),
        ("535 5.7.8 Authentication credentials invalid", "AUTH"),
        ("530 5.7.0 Must issue a STARTTLS command first", "MAIL"),
        (Cause.REFUSED, "CONNECT"),
        (Cause.DNS, "CONNECT"),
        (Cause.TLS, "STARTTLS"),
    ],
)
def test_a_server_that_does_not_let_us_in_loses_no_mail_and_operations_is_told(said: str | Cause, stage: str) -> None:
    for name in NAMES:
        verdict = decided(said, stage, policy=name)
        assert (verdict.action, verdict.fate, verdict.ladder) == (Action.DELAYED, Fate.RETRY, None)
        assert channels(verdict) == ["operations"]
        assert all(notice.digest for notice in verdict.notices)


def test_our_own_fault_fails_and_tells_operations() -> None:
    verdict = decided("550 5.7.26 Unauthenticated mail from example.org is not accepted", "END_OF_DATA", 1)
    assert (verdict.rule, verdict.action, channels(verdict)) == ("our-fault", Action.FAILED, ["operations"])
    assert verdict.ladder is None


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("stage", ["CONNECT", "EHLO", "MAIL", "RCPT", "DATA", "END_OF_DATA", "IDLE"])
@pytest.mark.parametrize("said", ["421 4.3.2 Shutting down", "421 4.7.28 Unusual rate of mail", "221 2.0.0 Bye"])
def test_221_and_421_never_suppress_and_never_fail(name: str, stage: str, said: str) -> None:
    verdict = decided(said, stage, 1, policy=name)
    assert (verdict.action, verdict.ladder) == (Action.DELAYED, None)


@pytest.mark.parametrize("name", NAMES)
def test_no_policy_suppresses_for_what_is_not_the_recipients_doing(name: str) -> None:
    policy = open_policy(name)
    for category in Category:
        for said, permanent in (("550 no", True), ("450 no", False)):
            for scope in (Scope.MESSAGE, Scope.SENDER, Scope.ROUTE, None):
                verdict = replace(classify(status(said)), category=category, scope=scope, permanent=permanent)
                disposition = policy.decide(verdict, ANN, Circumstances(now=NOW))
                assert settle(verdict, disposition, ANN, policy=policy, at=NOW).suppression is None


@pytest.mark.parametrize("name", NAMES)
def test_every_category_at_every_age_has_a_rule_of_the_file(name: str) -> None:
    policy = open_policy(name)
    for category in Category:
        for permanent in (True, False):
            for now in (NOW, NOW + 9 * DAY):
                verdict = replace(classify(status("550 no")), category=category, permanent=permanent)
                assert policy.decide(verdict, ANN, Circumstances(now=now)).where.endswith(tuple("0123456789"))


# -- sessions


def test_221_behind_our_quit_closes() -> None:
    assert ended("221 2.0.0 Bye", "QUIT") == SessionDisposition(
        SessionFate.CLOSE, "closed-after-quit", ended("221 2.0.0 Bye", "QUIT").where
    )


@pytest.mark.parametrize("stage", ["EHLO", "MAIL", "RCPT", "DATA", "RSET", "IDLE"])
@pytest.mark.parametrize(
    "said", ["221 2.0.0 Closing", "421 4.3.2 Service shutting down", "421 4.4.2 Idle for too long"]
)
def test_an_unasked_221_or_421_reconnects_three_times(said: str, stage: str) -> None:
    fates = [ended(said, stage, reconnects=number).fate for number in range(4)]
    assert fates == [SessionFate.RECONNECT] * 3 + [SessionFate.CLOSE]


def test_a_421_that_turns_us_away_closes() -> None:
    for said in ("421 4.7.28 Unusual rate of mail from your host", "421 4.7.0 Too many connections, slow down"):
        assert ended(said).fate is SessionFate.CLOSE


def test_a_connection_that_is_used_up_reconnects() -> None:
    assert ended("421 too many messages in this connection", "MAIL").rule == "connection-used-up"
    assert ended("421 too many messages in this connection", "MAIL").fate is SessionFate.RECONNECT


def test_a_line_lost_reconnects_once_and_one_that_hangs_does_not() -> None:
    assert [ended(Cause.LOST, reconnects=number).fate for number in (0, 1)] == [
        SessionFate.RECONNECT,
        SessionFate.CLOSE,
    ]
    for cause in (Cause.TIMED_OUT, Cause.PROTOCOL, Cause.TLS):
        assert ended(cause).fate is SessionFate.CLOSE


@pytest.mark.parametrize("said", [Cause.LOST, "221 Bye", "421 4.3.2 Shutting down"])
def test_a_session_that_ends_at_the_dot_is_closed(said: str | Cause) -> None:
    assert ended(said, "END_OF_DATA").fate is SessionFate.CLOSE


def test_a_greeting_that_says_not_now_closes_because_dialling_again_was_tried() -> None:
    assert ended("421 4.3.2 All server ports are busy", "CONNECT").fate is SessionFate.CLOSE


# -- the others


def test_a_code_that_is_good_for_ten_minutes_is_tried_within_them() -> None:
    first = decided(FULL_NOW, message_class="security")
    assert first.retry_at == NOW + MINUTE
    late = decided(FULL_NOW, message_class="security", now=NOW + 10 * MINUTE)
    assert (late.action, late.expired) == (Action.FAILED, True)


def test_transactional_tries_sooner_and_sends_again_what_is_unknown() -> None:
    assert decided(FULL_NOW, policy="transactional").retry_at == NOW + 5 * MINUTE
    lost = replace(status(Cause.LOST, "END_OF_DATA", 1), action=Action.UNKNOWN)
    for name, rule in (("transactional", "resend-unknown"), ("bulk", "leave-unknown"), ("strict", "leave-unknown")):
        assert open_policy(name).decide(classify(lost), ANN, Circumstances(now=NOW)).rule == rule


def test_bulk_counts_three_days_before_a_full_mailbox_is_suppressed() -> None:
    once, thrice = decided(FULL, policy="bulk"), decided(FULL, policy="bulk", seen=3)
    assert (once.action, once.ladder, once.notices) == (Action.FAILED, None, ())
    assert (thrice.rule, thrice.ladder and thrice.ladder.name) == ("full-for-weeks", "mailbox")


def test_strict_confirms_a_disabled_mailbox_after_a_day() -> None:
    verdict = decided("550 5.2.1 Mailbox disabled", policy="strict")
    assert verdict.ladder is not None
    assert (verdict.ladder.confirm_after, verdict.ladder.confirmed) == (DAY, (None,))


def test_strict_gives_a_full_mailbox_three_tries() -> None:
    tries = [decided(FULL_NOW, policy="strict", to=replace(ANN, attempts=number)).action for number in (1, 2, 3)]
    assert tries == [Action.DELAYED, Action.DELAYED, Action.FAILED]


def test_an_own_file_may_extend_a_shipped_one(tmp_path: Path) -> None:
    own = tmp_path / "bounces.yaml"
    own.write_text("policy: 1\nextends: bulk\nrules: [{id: mine, when: {code: 450}, do: hold}]\n")
    policy = open_policy(own)
    assert (policy.rules[0].id, policy.default_class, policy.name) == ("mine", "bulk", "bounces")
    own.write_text("policy: 1\nextends: bluk\n")
    with pytest.raises(PolicyError, match=r"bounces\.yaml:2:10: no shipped policy 'bluk'; there are bulk, default"):
        open_policy(own)
