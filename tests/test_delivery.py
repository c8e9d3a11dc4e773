"""One message through the policy: who is tried, how often, what is recorded and told."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from time import process_time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bouncekit.delivery.events import EventType
from bouncekit.delivery.report import Report
from bouncekit.delivery.settlement import Settlement
from bouncekit.delivery.steps import LookUp, Outcome, Record, Transact, Wait
from bouncekit.meaning.classification import Category, Scope
from bouncekit.policy.policy import Policy
from bouncekit.policy.rule import Condition, Fate, Seen, SessionFate, SessionRule, Window
from bouncekit.policy.suppression import Standing
from bouncekit.words.address import suppression_key
from bouncekit.words.envelope import Recipient
from bouncekit.words.errors import AddressError
from bouncekit.words.reply import Cause, NoReply, Reply
from bouncekit.words.status import Action

from .building import (
    ANN,
    BOB,
    CY,
    DATA,
    DI,
    DOT,
    LADDER,
    LOST,
    NOW,
    POLICY,
    Driver,
    delivery_to,
    expired,
    grows_in_line,
    rule,
    suppression,
    with_rules,
)

FULL, NOBODY, LATER = "552 5.2.2 mailbox full", "550 5.1.1 no such user", "451 4.3.0 later"
TOO_MANY, CLOSING = "452 4.5.3 too many recipients", "421 4.3.2 closing"


def actions(report: Report) -> dict[str, str]:
    return {one.recipient: str(one.action) for one in report.recipients}


def settlement_of(report: Report, address: str) -> Settlement:
    (found,) = (one for one in report.recipients if one.recipient == address)
    return found


# -- before anything is sent


def test_a_suppressed_recipient_is_skipped_and_the_others_are_sent_to() -> None:
    driver = Driver(suppressions=[suppression(ANN)])
    report = driver.drive(delivery_to(ANN, BOB))
    assert driver.transacted == [(BOB,)]
    assert actions(report) == {ANN: "suppressed", BOB: "delivered"}
    assert driver.types(ANN) == [EventType.SUPPRESSED]
    skipped = driver.records[0]
    assert driver.steps.index(skipped) < driver.steps.index(driver.of(Transact)[0])
    assert (skipped.strikes, skipped.recipients, skipped.cleared) == ((), (), ())


def test_where_all_are_suppressed_no_server_is_asked() -> None:
    driver = Driver(suppressions=[suppression(ANN), suppression(BOB, standing=Standing.MANUAL, expires_at=None)])
    report = driver.drive(delivery_to(ANN, BOB))
    assert driver.transacted == []
    assert [type(step) for step in driver.steps] == [LookUp, Record]
    assert actions(report) == {ANN: "suppressed", BOB: "suppressed"}


def test_a_held_suppression_binds_nobody_and_a_success_lifts_it() -> None:
    driver = Driver(suppressions=[suppression(ANN, standing=Standing.HELD)])
    report = driver.drive(delivery_to(ANN))
    assert actions(report) == {ANN: "delivered"}
    assert driver.types(ANN) == [EventType.DELIVERED, EventType.SUPPRESSION_LIFTED]


def test_an_expired_suppression_lets_the_message_through_that_was_granted_the_probe() -> None:
    driver = Driver(suppressions=[expired(ANN)], probes=frozenset({ANN}))
    report = driver.drive(delivery_to(ANN))
    assert driver.of(LookUp)[0].claim == "d1"
    assert actions(report) == {ANN: "delivered"}


def test_an_expired_suppression_holds_back_a_message_that_got_no_probe() -> None:
    driver = Driver(suppressions=[expired(ANN)])
    assert actions(driver.drive(delivery_to(ANN))) == {ANN: "suppressed"}
    assert driver.transacted == []


def test_one_probe_lets_one_spelling_of_a_mailbox_through() -> None:
    first, second, key = "jo+a@gmail.com", "j.o@gmail.com", "jo@gmail.com"
    driver = Driver(suppressions=[expired(first, key=key)], probes=frozenset({key}))
    report = driver.drive(delivery_to(first, second))
    assert driver.of(LookUp)[0].keys == (key,)
    assert driver.transacted == [(first,)]
    assert actions(report) == {first: "delivered", second: "suppressed"}


def test_a_manual_suppression_that_ended_needs_no_probe_and_is_not_lifted() -> None:
    driver = Driver(suppressions=[expired(ANN, standing=Standing.MANUAL)])
    assert actions(driver.drive(delivery_to(ANN))) == {ANN: "delivered"}
    assert driver.types(ANN) == [EventType.DELIVERED]


def test_a_class_that_ignores_a_category_is_not_bound_by_it() -> None:
    report = Driver(suppressions=[suppression(ANN)]).drive(delivery_to(ANN, message_class="urgent"))
    assert actions(report) == {ANN: "delivered"}


@pytest.mark.parametrize("changes", [{"category": Category.USER_UNKNOWN}, {"standing": Standing.MANUAL}])
def test_a_class_is_bound_by_other_categories_and_by_what_a_hand_put_there(changes: dict[str, Any]) -> None:
    report = Driver(suppressions=[suppression(ANN, **changes)]).drive(delivery_to(ANN, message_class="urgent"))
    assert actions(report) == {ANN: "suppressed"}


def test_a_refused_address_fails_alone_before_the_send_and_suppresses_nobody() -> None:
    driver = Driver()
    refused = (AddressError("bad address", "a space is not allowed"),)
    report = driver.drive(delivery_to(ANN, refused=refused))
    assert actions(report) == {ANN: "delivered", "bad address": "failed"}
    first = driver.records[0]
    assert [one.recipient for one in first.settlements] == ["bad address"]
    assert (first.strikes, first.recipients) == ((), ())
    assert first.settlements[0].suppression is None
    assert first.settlements[0].reply == NoReply(Cause.LOCAL, "a space is not allowed")
    assert driver.types("bad address") == [EventType.FAILED]
    assert driver.transacted == [(ANN,)]


def test_a_message_of_refused_addresses_only_asks_no_server() -> None:
    driver = Driver()
    report = driver.drive(delivery_to(refused=(AddressError("bad", "no"),)))
    assert driver.transacted == []
    assert actions(report) == {"bad": "failed"}


def test_test_traffic_moves_no_strike_no_suppression_and_no_success() -> None:
    driver = Driver([{ANN: FULL}], suppressions=[expired(BOB), suppression(CY)])
    report = driver.drive(delivery_to(ANN, BOB, CY, test=True))
    assert not driver.of(LookUp)[0].claim
    assert actions(report) == {ANN: "failed", BOB: "delivered", CY: "suppressed"}
    assert all(record.strikes == record.cleared == () for record in driver.records)
    assert settlement_of(report, ANN).suppression is None
    assert settlement_of(report, BOB).lifted is None
    assert {event.type for event in driver.events} == {
        EventType.FAILED,
        EventType.DELIVERED,
        EventType.SUPPRESSED,
    }


# -- one transaction


def test_everybody_delivered_is_one_transaction_and_one_record() -> None:
    driver = Driver()
    report = driver.drive(delivery_to(ANN, BOB))
    assert [type(step) for step in driver.steps] == [LookUp, Transact, Record]
    assert dict(report) == {}
    assert report.message_id == "<1@x>"
    record = driver.records[0]
    assert [one.attempts for one in record.recipients] == [1, 1]
    assert record.cleared == (ANN, BOB)
    assert record.strikes == ()
    assert record.recipients[0].first_attempt_at == NOW
    assert record.occasion.attempt_id == "a1"


def test_a_first_552_fails_adds_a_suppression_and_counts_one_strike() -> None:
    driver = Driver([{ANN: FULL}])
    report = driver.drive(delivery_to(ANN, BOB))
    assert driver.types(ANN) == [EventType.FAILED, EventType.SUPPRESSION_ADDED]
    record = driver.records[0]
    assert [(strike.key, strike.category) for strike in record.strikes] == [(ANN, Category.MAILBOX_FULL)]
    assert record.cleared == (BOB,)
    made = settlement_of(report, ANN).suppression
    assert made is not None
    assert (made.standing, made.expires_at) == (Standing.PROVISIONAL, NOW + timedelta(days=7))
    assert settlement_of(report, ANN).notices
    # Only a later send skips the recipient, and only then it is told as suppressed.
    later = Driver(suppressions=[made])
    later.drive(delivery_to(ANN))
    assert later.types(ANN) == [EventType.SUPPRESSED]


@pytest.mark.parametrize(
    ("answers", "scope"),
    [
        ({ANN: "550 5.7.1 blocked"}, Scope.SENDER),
        ({DOT: "554 5.7.1 spam"}, Scope.MESSAGE),
        ({"MAIL": "451 later"}, Scope.ROUTE),
    ],
)
def test_a_policy_that_suppresses_everything_suppresses_nobody_outside_scope_recipient(
    answers: dict[str, str], scope: Scope
) -> None:
    eager = with_rules(rule("eager", Fate.FAIL, suppress=LADDER))
    driver = Driver([answers])
    (settled,) = driver.drive(delivery_to(ANN), eager).recipients
    assert settled.scope is scope
    assert settled.suppression is None
    assert driver.records[-1].strikes == ()
    assert driver.types(ANN) == [EventType.FAILED]


def test_one_verdict_on_several_recipients_suppresses_and_strikes_none_of_them() -> None:
    driver = Driver([{DOT: NOBODY}])
    report = driver.drive(delivery_to(ANN, BOB))
    assert actions(report) == {ANN: "failed", BOB: "failed"}
    assert all(one.suppression is None for one in report.recipients)
    assert driver.records[0].strikes == ()


def test_the_same_verdict_at_the_dot_of_a_lone_recipient_suppresses_it() -> None:
    driver = Driver([{DOT: NOBODY}])
    (settled,) = driver.drive(delivery_to(ANN)).recipients
    assert settled.suppression is not None
    assert len(driver.records[0].strikes) == 1


def test_two_spellings_of_a_mailbox_count_one_strike() -> None:
    first, second = "jo+a@gmail.com", "j.o@gmail.com"
    driver = Driver([{first: FULL, second: FULL}])
    driver.drive(delivery_to(first, second))
    assert [strike.key for strike in driver.records[0].strikes] == ["jo@gmail.com"]


@pytest.mark.parametrize("refused", ["jo+a@gmail.com", "j.o@gmail.com"])
def test_a_mailbox_that_took_the_message_under_one_spelling_is_not_suppressed_for_the_other(refused: str) -> None:
    driver = Driver([{refused: NOBODY}])
    report = driver.drive(delivery_to("jo+a@gmail.com", "j.o@gmail.com"))
    assert settlement_of(report, refused).action is Action.FAILED
    assert settlement_of(report, refused).suppression is None
    assert driver.records[0].strikes == ()
    assert driver.records[0].cleared == ("jo@gmail.com",)


def test_a_probe_that_is_delivered_lifts_the_suppression() -> None:
    stood = expired(ANN)
    driver = Driver(suppressions=[stood], probes=frozenset({ANN}))
    report = driver.drive(delivery_to(ANN))
    assert driver.types(ANN) == [EventType.DELIVERED, EventType.SUPPRESSION_LIFTED]
    assert settlement_of(report, ANN).lifted == stood


def test_a_probe_that_fails_again_confirms_the_suppression() -> None:
    driver = Driver([{ANN: FULL}], suppressions=[expired(ANN)], probes=frozenset({ANN}))
    made = settlement_of(driver.drive(delivery_to(ANN)), ANN).suppression
    assert made is not None
    assert (made.standing, made.rung, made.expires_at) == (Standing.CONFIRMED, 1, NOW + timedelta(days=30))


def test_a_verdict_by_hand_is_not_replaced_by_a_verdict_of_a_server() -> None:
    by_hand = suppression(ANN, standing=Standing.MANUAL, category=Category.RECIPIENT_FILTERED)
    driver = Driver([{ANN: FULL}], suppressions=[replace(by_hand, expires_at=NOW - timedelta(days=1))])
    made = settlement_of(driver.drive(delivery_to(ANN)), ANN).suppression
    assert made is not None, "one that has ended does not stand in the way"
    assert made.standing is Standing.PROVISIONAL


def test_a_held_recipient_is_neither_settled_for_good_nor_tried_again() -> None:
    hold = with_rules(rule("hold", Fate.HOLD, Category.SPAM_CONTENT))
    driver = Driver([{DOT: "554 5.7.1 spam"}], waits=[True])
    (settled,) = driver.drive(delivery_to(ANN), hold).recipients
    assert (settled.action, settled.is_final) == (Action.DELAYED, False)
    assert len(driver.transacted) == 1


# -- at once: split and alone


def test_recipients_behind_a_limit_are_sent_at_once_and_it_counts_as_no_attempt() -> None:
    driver = Driver([{BOB: TOO_MANY, CY: TOO_MANY}, {CY: TOO_MANY}])
    report = driver.drive(delivery_to(ANN, BOB, CY))
    assert driver.transacted == [(ANN, BOB, CY), (BOB, CY), (CY,)]
    assert driver.of(Wait) == []
    assert [one.attempts for one in report.recipients] == [1, 1, 1]
    assert [one.recipient for one in report.recipients] == [ANN, BOB, CY]
    assert len(report.delivered) == 3
    assert driver.types(CY) == [EventType.DELIVERED]


@pytest.mark.parametrize("answers", [{ANN: TOO_MANY}, {DATA: TOO_MANY}, {DOT: TOO_MANY}])
def test_a_split_behind_nobody_is_impossible_and_becomes_a_retry(answers: dict[str, str]) -> None:
    driver = Driver([answers] * 3)
    (settled,) = driver.drive(delivery_to(ANN)).recipients
    assert len(driver.transacted) == 1
    assert (settled.action, settled.rule) == (Action.DELAYED, "temporary")


def test_a_limit_said_after_the_envelope_does_not_split_a_group_that_would_stay_the_same() -> None:
    driver = Driver([{DATA: TOO_MANY}] * 5)
    report = driver.drive(delivery_to(ANN, BOB))
    assert len(driver.transacted) == 1
    assert len(report.delayed) == 2


def test_ten_thousand_recipients_behind_a_limit_of_a_hundred_are_each_offered_twice_at_most() -> None:
    addresses = [f"u{number}@example.com" for number in range(10_000)]
    limited = [dict.fromkeys(addresses[100:], TOO_MANY)]
    driver = Driver(limited)
    report = driver.drive(delivery_to(*addresses))
    assert len(report.delivered) == 10_000
    assert [one.recipient for one in report.recipients] == addresses
    assert sum(map(len, driver.transacted)) == 10_000 + 9_900
    assert max(map(len, driver.transacted[1:])) == 100


def test_a_doubtful_552_is_asked_once_more_alone_and_then_believed() -> None:
    driver = Driver([{BOB: "552 aborted"}, {BOB: "552 aborted"}])
    report = driver.drive(delivery_to(ANN, BOB))
    assert driver.transacted == [(ANN, BOB), (BOB,)]
    settled = settlement_of(report, BOB)
    assert (settled.action, settled.rule, settled.attempts) == (Action.FAILED, "full", 1)
    assert settled.suppression is not None


def test_lone_repeats_go_each_in_a_transaction_of_its_own_behind_the_split() -> None:
    driver = Driver([{BOB: "552 aborted", CY: "552 aborted", DI: TOO_MANY}])
    report = driver.drive(delivery_to(ANN, BOB, CY, DI))
    assert driver.transacted == [(ANN, BOB, CY, DI), (DI,), (BOB,), (CY,)]
    assert len(report.delivered) == 4


def test_what_is_repeated_at_once_is_neither_recorded_nor_told() -> None:
    driver = Driver([{BOB: TOO_MANY, CY: "552 aborted"}])
    driver.drive(delivery_to(ANN, BOB, CY))
    assert [[one.recipient for one in record.settlements] for record in driver.records] == [[ANN], [BOB], [CY]]
    assert Counter(event.recipient for event in driver.events) == {ANN: 1, BOB: 1, CY: 1}


def test_each_status_is_given_to_its_own_recipient_whatever_order_a_group_has() -> None:
    """A split and a reconnect in one transaction once changed the order, and one got the other's refusal."""
    driver = Driver([{BOB: TOO_MANY, CY: CLOSING}, {}, {CY: NOBODY}])
    report = driver.drive(delivery_to(ANN, BOB, CY))
    assert actions(report) == {ANN: "delivered", BOB: "delivered", CY: "failed"}
    made = settlement_of(report, CY).suppression
    assert made is not None
    assert (made.key, made.address) == (CY, CY)
    assert all(one.key == one.recipient for one in report.recipients)


def test_a_group_in_another_order_than_the_message_is_sent_in_its_own_order() -> None:
    lone = with_rules(rule("alone", Fate.ALONE, Category.UNKNOWN))
    driver = Driver([{ANN: "450 odd", BOB: LATER}, {ANN: LATER}, {ANN: NOBODY}], waits=[True])
    report = driver.drive(delivery_to(ANN, BOB), lone)
    assert driver.transacted[-1] == (BOB, ANN)
    assert actions(report) == {ANN: "failed", BOB: "delivered"}
    assert all(one.key == one.recipient for one in report.recipients)


# -- the session ends


def test_a_421_in_the_middle_voids_the_accepted_who_go_on_without_the_one_who_ended_it() -> None:
    driver = Driver([{ANN: NOBODY, CY: CLOSING}])
    report = driver.drive(delivery_to(ANN, BOB, CY, DI))
    assert driver.transacted == [(ANN, BOB, CY, DI), (BOB, DI), (CY,)]
    assert [step.reconnect for step in driver.of(Transact)] == [False, True, False]
    assert actions(report) == {ANN: "failed", BOB: "delivered", CY: "delivered", DI: "delivered"}
    assert {one.attempts for one in report.recipients} == {1}


def test_the_end_of_a_session_is_told_with_the_rule_that_decided() -> None:
    driver = Driver([{CY: CLOSING}])
    driver.drive(delivery_to(ANN, BOB, CY))
    (closed,) = (event for event in driver.events if event.type is EventType.CLOSED)
    assert closed.recipient is None
    assert closed.details == {
        "expected": False,
        "code": 421,
        "reply": "421 4.3.2 closing",
        "stage": "RCPT",
        "rule": "closed",
        "where": "",
        "then": "reconnect",
        "remote_mta": "mx.example.com",
    }


def test_a_session_is_opened_again_no_oftener_than_the_rule_says() -> None:
    driver = Driver([{ANN: CLOSING}] * 9)
    (settled,) = driver.drive(delivery_to(ANN)).recipients
    assert len(driver.transacted) == 1 + 3
    assert (settled.action, settled.rule, settled.attempts) == (Action.DELAYED, "temporary", 1)
    assert [event.details["then"] for event in driver.events if event.type is EventType.CLOSED] == [
        "reconnect",
        "reconnect",
        "reconnect",
        "close",
    ]


def test_a_new_attempt_has_a_new_count_of_reconnects_in_memory_and_in_the_record() -> None:
    driver = Driver([{ANN: CLOSING}] * 9, waits=[True])
    driver.drive(delivery_to(ANN))
    assert len(driver.transacted) == 2 * (1 + 3)
    (waiting,) = driver.of(Wait)[0].delivery.recipients
    recorded = driver.records[3].recipients
    assert recorded == (waiting,)
    assert (waiting.reconnects, waiting.repeats, waiting.attempts) == (0, 0, 1)


def test_where_nobody_can_dial_again_they_wait_and_no_reconnect_is_promised() -> None:
    driver = Driver([{BOB: CLOSING}], can_redial=False)
    report = driver.drive(delivery_to(ANN, BOB))
    assert len(driver.transacted) == 1
    assert actions(report) == {ANN: "delayed", BOB: "delayed"}
    (closed,) = (event for event in driver.events if event.type is EventType.CLOSED)
    assert closed.details["then"] == "close"


def test_a_session_that_no_rule_knows_is_closed() -> None:
    driver = Driver([{"MAIL": LOST}])
    report = driver.drive(delivery_to(ANN))
    assert actions(report) == {ANN: "delayed"}
    (closed,) = (event for event in driver.events if event.type is EventType.CLOSED)
    assert (closed.details["rule"], closed.details["code"]) == ("no-session-rule-matched", None)


def test_what_was_split_off_a_session_that_ended_is_sent_in_a_new_one() -> None:
    driver = Driver([{BOB: TOO_MANY, DOT: Reply(221, b"bye")}])
    report = driver.drive(delivery_to(ANN, BOB))
    assert actions(report) == {ANN: "unknown", BOB: "delivered"}
    assert [step.reconnect for step in driver.of(Transact)] == [False, True]


def test_a_421_at_the_dot_is_definite_and_everybody_goes_on() -> None:
    driver = Driver([{DOT: CLOSING}])
    report = driver.drive(delivery_to(ANN, BOB))
    assert driver.transacted == [(ANN, BOB), (ANN, BOB)]
    assert len(report.delivered) == 2
    assert not any(one.possible_duplicate for one in report.recipients)


# -- the outcome is unknown


@pytest.mark.parametrize("answer", [LOST, NoReply(Cause.TIMED_OUT), Reply(221, b"bye")])
def test_an_unknown_outcome_is_never_tried_again_unless_the_class_says_so(answer: Reply | NoReply) -> None:
    driver = Driver([{DOT: answer}], waits=[True] * 9)
    (settled,) = driver.drive(delivery_to(ANN)).recipients
    assert len(driver.transacted) == 1
    assert (settled.action, settled.rule, settled.retry_at) == (Action.UNKNOWN, "leave-unknown", None)
    assert settled.possible_duplicate
    assert driver.types(ANN) == [EventType.UNKNOWN]
    assert driver.records[0].strikes == ()


def test_a_class_that_resends_marks_the_possible_duplicate_everywhere_and_keeps_the_message_id() -> None:
    driver = Driver([{DOT: LOST}], waits=[True])
    report = driver.drive(delivery_to(ANN, message_class="resend"))
    first, second = driver.of(Transact)
    assert first.envelope.message_id == second.envelope.message_id == report.message_id == "<1@x>"
    assert first.envelope.content == second.envelope.content
    assert actions(report) == {ANN: "delivered"}
    assert settlement_of(report, ANN).possible_duplicate
    assert driver.records[0].recipients[0].possible_duplicate
    told = [(event.type, event.to_dict()["data"]["possible_duplicate"]) for event in driver.events if event.settlement]
    assert told == [(EventType.UNKNOWN, True), (EventType.DELIVERED, True)]


def test_a_possible_duplicate_stays_marked_through_split_reconnect_and_refusal() -> None:
    driver = Driver([{DOT: LOST}, {BOB: TOO_MANY}, {BOB: CLOSING}, {BOB: NOBODY}], waits=[True])
    report = driver.drive(delivery_to(ANN, BOB, message_class="resend"))
    assert actions(report) == {ANN: "delivered", BOB: "failed"}
    assert all(one.possible_duplicate for one in report.recipients)


# -- waiting


def test_wait_answered_false_leaves_who_is_not_settled_as_delayed_with_the_time() -> None:
    driver = Driver([{BOB: LATER}])
    report = driver.drive(delivery_to(ANN, BOB))
    (wait,) = driver.of(Wait)
    assert [one.address.wire for one in wait.delivery.recipients] == [BOB]
    assert wait.delivery.refused == ()
    assert settlement_of(report, BOB).retry_at == wait.until
    assert NOW + timedelta(minutes=30) <= wait.until < NOW + timedelta(minutes=33)


def test_wait_answered_true_goes_on_only_with_those_who_are_due() -> None:
    slow = with_rules(rule("slow", Fate.RETRY, Category.MAILBOX_FULL, permanent=False))  # the fallback: 30m, 2h
    driver = Driver([{ANN: LATER, BOB: "452 4.2.2 full"}, {ANN: LATER, BOB: "452 4.2.2 full"}], waits=[True] * 2)
    driver.drive(delivery_to(ANN, BOB), slow)
    assert driver.transacted == [(ANN, BOB), (ANN, BOB), (ANN,)]
    assert len(driver.of(Wait)) == 3
    assert [one.address.wire for one in driver.of(Wait)[-1].delivery.recipients] == [BOB]


def test_recipients_that_were_delayed_together_wait_for_the_same_time_and_go_on_together() -> None:
    driver = Driver([{"MAIL": LATER}], waits=[True] * 9)
    report = driver.drive(delivery_to(ANN, BOB, CY))
    assert driver.transacted == [(ANN, BOB, CY)] * 2
    assert len({one.retry_at for one in driver.records[0].settlements}) == 1
    assert {one.attempts for one in report.recipients} == {2}


def test_two_messages_that_were_delayed_together_wait_for_different_times() -> None:
    waits = set()
    for id_ in ("d1", "d2"):
        driver = Driver([{"MAIL": LATER}])
        driver.drive(delivery_to(ANN, id=id_))
        waits.add(driver.of(Wait)[0].until)
    assert len(waits) == 2


def test_a_message_is_tried_until_its_deadline_and_then_fails_with_its_last_cause() -> None:
    driver = Driver([{ANN: LATER}] * 999, waits=[True] * 999)
    (settled,) = driver.drive(delivery_to(ANN)).recipients
    assert (settled.action, settled.expired, settled.category) == (Action.FAILED, True, Category.SYSTEM_ERROR)
    assert driver.now < NOW + timedelta(days=2)
    assert settled.attempts == len(driver.transacted) > 40


def test_a_delivery_taken_up_again_keeps_its_attempts_and_its_deadline() -> None:
    driver = Driver([{ANN: LATER}])
    driver.drive(delivery_to(ANN))
    left = driver.of(Wait)[0].delivery
    again = Driver([{ANN: LATER}], now=NOW + timedelta(days=1, hours=23, minutes=50))
    (settled,) = again.drive(left).recipients
    assert (settled.action, settled.expired, settled.attempts) == (Action.FAILED, True, 2)


def test_who_was_suppressed_while_waiting_is_skipped_when_due() -> None:
    def suppress(driver: Driver) -> None:
        driver.suppressions = [suppression(ANN, standing=Standing.MANUAL, expires_at=None)]

    driver = Driver([{"MAIL": LATER}], waits=[True], meanwhile=suppress)
    report = driver.drive(delivery_to(ANN, BOB))
    assert driver.transacted == [(ANN, BOB), (BOB,)]
    assert actions(report) == {ANN: "suppressed", BOB: "delivered"}


@pytest.mark.parametrize(("again", "action"), [({ANN}, "delivered"), (set(), "suppressed")])
def test_a_probe_that_was_delayed_goes_on_if_it_is_granted_again(again: set[str], action: str) -> None:
    """By the time it is due, another message may have it."""

    def grant(driver: Driver) -> None:
        driver.probes = frozenset(again)

    probe = frozenset({ANN})
    driver = Driver([{ANN: LATER}], suppressions=[expired(ANN)], probes=probe, waits=[True], meanwhile=grant)
    assert actions(driver.drive(delivery_to(ANN))) == {ANN: action}


# -- history


def test_counters_are_asked_for_exactly_where_a_rule_counts() -> None:
    window = Window(Category.MAILBOX_FULL, timedelta(days=30))
    driver = Driver([{ANN: "452 4.2.2 full", BOB: LATER}])
    driver.drive(delivery_to(ANN, BOB, CY))
    first, second = driver.of(LookUp)
    assert (first.windows, second.windows, second.claim) == ((), ((ANN, window),), "")


def test_every_question_behind_the_first_transaction_says_that_the_delivery_has_begun() -> None:
    driver = Driver([{ANN: "452 4.2.2 full"}], waits=[True])
    driver.drive(delivery_to(ANN))
    assert [step.begun for step in driver.of(LookUp)] == [False, True, True]


def test_a_mailbox_that_is_full_for_weeks_is_suppressed_by_temporary_verdicts_at_the_deadline() -> None:
    window = Window(Category.MAILBOX_FULL, timedelta(days=30))
    for seen, rule_id in ((1, "temporary"), (2, "full-for-weeks")):
        driver = Driver([{ANN: "452 4.2.2 full"}], counters={(ANN, window): seen})
        late = Recipient.of(delivery_to(ANN).envelope.recipients[0])
        late = replace(late, first_attempt_at=NOW - timedelta(days=3), attempts=40)
        (settled,) = driver.drive(delivery_to(ANN, recipients=(late,))).recipients
        assert (settled.action, settled.rule, settled.expired) == (Action.FAILED, rule_id, True)
        assert (settled.suppression is not None) == (rule_id == "full-for-weeks")


def test_a_message_that_is_tried_for_days_strikes_a_mailbox_once_for_each_category() -> None:
    full = {ANN: "452 4.2.2 full"}
    driver = Driver([full, full, full, {ANN: "550 5.1.1 gone"}], waits=[True] * 9)
    driver.drive(delivery_to(ANN))
    struck = [strike.category for record in driver.records for strike in record.strikes]
    assert len(driver.transacted) == 4
    assert struck == [Category.MAILBOX_FULL, Category.USER_UNKNOWN]


def test_each_recipient_is_judged_by_its_own_counters() -> None:
    often = Seen(3, timedelta(days=30))
    policy = with_rules(rule("often", Fate.FAIL, Category.MAILBOX_FULL, seen=often))
    window = Window(Category.MAILBOX_FULL, often.within)
    driver = Driver([{ANN: "452 4.2.2 full", BOB: "452 4.2.2 full"}], counters={(BOB, window): 2})
    report = driver.drive(delivery_to(ANN, BOB), policy)
    assert actions(report) == {ANN: "delayed", BOB: "failed"}


@pytest.mark.parametrize("said", [FULL, "452 4.2.2 full", LATER, TOO_MANY, CLOSING])
def test_the_work_for_many_recipients_grows_in_line_with_their_number(said: str) -> None:
    """Twenty times as many take twenty times as long; what is quadratic takes four hundred."""

    def seconds(count: int) -> float:
        addresses = [f"u{number}@example.com" for number in range(count)]
        heard = {CLOSING: {addresses[-1]: said}, TOO_MANY: dict.fromkeys(addresses[1:], said)}
        delivery = delivery_to(*addresses)
        driver = Driver([heard.get(said, dict.fromkeys(addresses, said))], waits=[True])
        started = process_time()
        report = driver.drive(delivery)
        assert len(report.recipients) == count
        return process_time() - started

    assert grows_in_line(seconds)


# -- any server at all

_REPLIES = st.sampled_from(
    [
        *(None, None, TOO_MANY, TOO_MANY, CLOSING, CLOSING, LOST, NoReply(Cause.TIMED_OUT), "221 bye"),
        *(FULL, NOBODY, LATER, "552 aborted", "452 4.2.2 full", "554 5.7.1 spam", "354 go", "299 odd"),
    ]
)
_MOSTLY_WELL = st.one_of(st.none(), st.none(), st.none(), _REPLIES)  # else hardly any way goes beyond MAIL
_ADDRESSES = st.lists(st.sampled_from([ANN, BOB, CY, "jo+a@gmail.com", "j.o@gmail.com"]), min_size=1, unique=True)
_EAGER = with_rules(
    rule("alone", Fate.ALONE, Category.UNKNOWN),
    rule("split", Fate.SPLIT, Category.MAILBOX_FULL, permanent=False),
    sessions=(SessionRule(id="any", when=Condition(), do=SessionFate.RECONNECT, at_most=2),),
)


@dataclass(kw_only=True)
class AnyServer(Driver):
    """A server that answers anything; it counts what it took and sees who comes back behind their end."""

    draw: Callable[[st.SearchStrategy[Any]], Any]
    stubborn: bool  # says the same to the same, for ever
    said: dict[str, Any] = field(default_factory=dict)
    taken: Counter[str] = field(default_factory=Counter)
    over: set[str] = field(default_factory=set)

    def answer(self, step: object) -> Any:
        if isinstance(step, Record):
            self.over.update(one.recipient for one in step.settlements if one.is_final)
        return super().answer(step)

    def outcome(self, step: Transact, answers: Any) -> Outcome:
        asked = [address.wire for address in step.envelope.recipients]
        assert len(self.transacted) < 200, "the way does not end"
        assert not self.over & set(asked), "tried again behind its end"
        self.said |= {
            key: self.draw(_MOSTLY_WELL if key in ("MAIL", DATA) else _REPLIES)
            for key in ("MAIL", DATA, DOT, *asked)
            if not (self.stubborn and key in self.said)
        }
        outcome = super().outcome(step, self.said)
        self.taken.update(one.recipient for one in outcome.statuses if one.action is Action.DELIVERED)
        return outcome


@settings(max_examples=300, deadline=None)
@given(
    data=st.data(),
    addresses=_ADDRESSES,
    stubborn=st.booleans(),
    policy=st.sampled_from([POLICY, _EAGER]),
    kind=st.sampled_from(["normal", "resend", "urgent"]),
    patience=st.integers(0, 6),
    can_redial=st.booleans(),
)
def test_any_server_is_survived_with_one_outcome_for_each_recipient(
    data: st.DataObject,
    addresses: list[str],
    stubborn: bool,
    policy: Policy,
    kind: str,
    patience: int,
    can_redial: bool,
) -> None:
    driver = AnyServer(draw=data.draw, stubborn=stubborn, waits=[True] * patience, can_redial=can_redial)
    report = driver.drive(delivery_to(*addresses, message_class=kind), policy)

    assert [one.recipient for one in report.recipients] == addresses
    for one in report.recipients:
        assert driver.taken[one.recipient] == (one.action is Action.DELIVERED)
        assert one.is_final or one.retry_at is not None
    for one in driver.settlements:
        assert one.key == suppression_key(one.recipient)
        if one.suppression is not None:
            assert (one.scope, one.individual, one.suppression.key) == (Scope.RECIPIENT, True, one.key)
    ends = Counter(one.recipient for one in driver.settlements if one.is_final)
    assert max(ends.values(), default=1) == 1
    assert len({event.id for event in driver.events}) == len(driver.events)
