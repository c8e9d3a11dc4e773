"""What one recipient's settlement says, and when it may suppress."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from bouncekit.delivery.settlement import Settlement, delivered, refused_here, settle, skipped, unjudged
from bouncekit.meaning.classification import Category, Scope, scope_of
from bouncekit.policy.policy import Disposition
from bouncekit.policy.rule import Fate
from bouncekit.policy.suppression import Standing, Suppression
from bouncekit.words.address import parse_address
from bouncekit.words.envelope import Recipient
from bouncekit.words.reply import Cause, NoReply, Reply, Stage
from bouncekit.words.status import Action, RecipientStatus

from .building import ANN, LADDER, NOW, POLICY, classify, expired, suppression

RECIPIENT = replace(Recipient.of(parse_address(ANN)), attempts=2)
FAIL = Disposition(action=Action.FAILED, fate=Fate.FAIL, rule="full", where="test.yaml:7", ladder=LADDER)


def status(said: str | None = "552 5.2.2 full", **changes: Any) -> RecipientStatus:
    reply = None if said is None else Reply.parse(said)
    start: dict[str, Any] = {"recipient": ANN, "action": Action.FAILED, "stage": Stage.RCPT, "reply": reply}
    return RecipientStatus(**{**start, "accepted": 3, "remote_mta": "mx.example.com", **changes})


def settled(
    one: RecipientStatus, previous: Suppression | None = None, disposition: Disposition = FAIL, **verdict: Any
) -> Settlement:
    return settle(
        replace(classify(one), **verdict),
        disposition,
        RECIPIENT,
        policy=POLICY,
        at=NOW,
        previous=previous,
        message_id="<1@x>",
        tenant="shop",
        stream="news",
    )


def test_a_settlement_joins_the_status_its_meaning_and_the_policys_verdict() -> None:
    one = settled(status())
    assert (one.recipient, one.action, one.stage, str(one.reply)) == (ANN, "failed", "RCPT", "552 5.2.2 full")
    assert (one.category, one.scope, one.permanent, one.certain) == ("mailbox_full", "recipient", True, True)
    assert (one.rule, one.where, one.fate) == ("full", "test.yaml:7", Fate.FAIL)
    assert one.classified_by == "meaning-552 5.2.2 (building.py:1)"
    assert (one.accepted, one.individual, one.remote_mta, one.attempts) == (3, True, "mx.example.com", 2)
    assert one.is_final


def test_a_suppression_carries_its_evidence_and_whose_it_is() -> None:
    made = settled(status()).suppression
    assert made is not None
    assert (made.key, made.address, made.standing, made.by) == (ANN, ANN, Standing.PROVISIONAL, "rule full")
    assert (made.since, made.changed_at, made.expires_at) == (NOW, NOW, NOW + timedelta(days=7))
    assert (made.tenant, made.stream) == ("shop", "news")
    evidence = made.evidence
    assert (evidence.reply, evidence.stage, evidence.accepted) == ("552 5.2.2 full", "RCPT", 3)
    assert (evidence.rule, evidence.classified_by) == ("full (test.yaml:7)", "meaning-552 5.2.2 (building.py:1)")
    assert (evidence.remote_mta, evidence.policy_hash, evidence.message_id) == ("mx.example.com", "0123", "<1@x>")


@pytest.mark.parametrize("category", list(Category))
def test_only_a_category_that_blames_the_recipient_can_suppress(category: Category) -> None:
    one = settled(status(), category=category, scope=scope_of(category))
    assert (one.suppression is not None) == (scope_of(category) is Scope.RECIPIENT)
    assert one.action is Action.FAILED


def test_a_reply_that_others_share_suppresses_nobody() -> None:
    assert settled(status(individual=False)).suppression is None


def test_whether_a_verdict_must_be_permanent_is_the_policys_to_say() -> None:
    """A mailbox that is full for weeks is known by its temporary replies."""
    weeks = replace(FAIL, rule="full-for-weeks", expired=True)
    one = settled(status("452 4.2.2 full", action=Action.DELAYED), disposition=weeks)
    assert (one.permanent, one.expired) == (False, True)
    assert one.suppression is not None


def test_a_disposition_without_a_ladder_suppresses_nobody() -> None:
    assert settled(status(), disposition=replace(FAIL, ladder=None)).suppression is None


def test_the_same_verdict_long_after_the_first_confirms() -> None:
    made = settled(status(), expired(ANN)).suppression
    assert made is not None
    assert (made.standing, made.rung) == (Standing.CONFIRMED, 1)


@pytest.mark.parametrize(
    "stands",
    [
        suppression(ANN, standing=Standing.MANUAL),
        suppression(ANN, standing=Standing.CONFIRMED, rung=2, category=Category.USER_UNKNOWN),
    ],
)
def test_a_suppression_that_stays_as_it_is_was_not_caused_by_the_verdict(stands: Suppression) -> None:
    assert settled(status(), stands).suppression is None


def test_a_manual_suppression_that_ended_is_no_verdict_that_another_could_confirm() -> None:
    made = settled(status(), expired(ANN, standing=Standing.MANUAL)).suppression
    assert made is not None
    assert (made.standing, made.rung, made.since) == (Standing.PROVISIONAL, 0, NOW)


def test_evidence_is_bounded_and_empty_where_nothing_was_said() -> None:
    long = settled(status(f"552 5.2.2 {'x' * 9000}")).suppression
    none = settled(status(None), category=Category.MAILBOX_FULL, scope=Scope.RECIPIENT).suppression
    assert long is not None
    assert none is not None
    assert len(long.evidence.reply) == 2048
    assert none.evidence.reply == ""


def test_rules_without_a_place_are_named_alone() -> None:
    one = settled(status(), disposition=replace(FAIL, where=""), where="")
    assert one.classified_by == "meaning-552 5.2.2"
    assert one.suppression is not None
    assert one.suppression.evidence.rule == "full"


def test_an_unknown_outcome_is_a_possible_duplicate_at_once_and_ever_after() -> None:
    lost = status(action=Action.UNKNOWN, stage=Stage.END_OF_DATA, reply=NoReply(Cause.LOST))
    leave = Disposition(action=Action.UNKNOWN, fate=Fate.FAIL, rule="leave-unknown", where="")
    assert settled(lost, disposition=leave).possible_duplicate
    marked = replace(RECIPIENT, possible_duplicate=True)
    assert delivered(status("250 ok", action=Action.DELIVERED), marked).possible_duplicate
    assert not delivered(status("250 ok", action=Action.DELIVERED), RECIPIENT).possible_duplicate


@pytest.mark.parametrize(
    ("disposition", "is_final"),
    [
        (FAIL, True),
        (replace(FAIL, action=Action.DELAYED, fate=Fate.RETRY, retry_at=NOW), False),
        (replace(FAIL, action=Action.DELAYED, fate=Fate.HOLD), False),
    ],
)
def test_a_settlement_is_final_where_nothing_is_due_and_nothing_held(disposition: Disposition, is_final: bool) -> None:
    assert settled(status(), disposition=disposition).is_final is is_final


@pytest.mark.parametrize("standing", list(Standing))
def test_a_delivery_lifts_what_verdicts_put_there_and_nothing_else(standing: Standing) -> None:
    stood = suppression(ANN, standing=standing)
    one = delivered(status("250 ok", action=Action.DELIVERED), RECIPIENT, stood)
    assert (one.lifted == stood) == (standing is not Standing.MANUAL)
    assert (one.action, one.category, one.suppression) == (Action.DELIVERED, None, None)


@pytest.mark.parametrize(("ends", "is_lifted"), [(None, False), (timedelta(days=1), False), (timedelta(), True)])
def test_mail_that_arrives_ends_no_complaint_but_one_whose_time_is_over(
    ends: timedelta | None, *, is_lifted: bool
) -> None:
    """Else each message would be its probe for a day, and all others were kept back."""
    stood = suppression(ANN, category=Category.COMPLAINT, expires_at=ends if ends is None else NOW + ends)
    one = delivered(status("250 ok", action=Action.DELIVERED), RECIPIENT, stood, at=NOW)
    assert (one.lifted == stood) is is_lifted


def test_a_skipped_recipient_names_the_suppression_that_kept_it_back() -> None:
    stood = suppression(ANN)
    one = skipped(RECIPIENT, stood)
    assert (one.action, one.suppression, one.rule, one.reply) == (Action.SUPPRESSED, stood, "full", None)
    assert (one.category, one.attempts, one.is_final) == (Category.MAILBOX_FULL, 2, True)


def test_an_address_refused_here_has_no_key_and_so_touches_no_list() -> None:
    why = NoReply(Cause.LOCAL, "a space")
    one = refused_here("a b", classify(status(reply=why, recipient="a b")))
    assert (one.recipient, one.action, one.reply, one.key) == ("a b", Action.FAILED, why, "")
    assert (one.suppression, one.fate, one.attempts, one.is_final) == (None, None, 0, True)


def test_without_a_policy_a_settlement_has_the_meaning_and_no_rule() -> None:
    one = unjudged(status(), classify(status()))
    assert (one.category, one.rule, one.fate, one.retry_at) == (Category.MAILBOX_FULL, None, None, None)
    assert unjudged(status("250 ok", action=Action.DELIVERED), None).category is None
    assert unjudged(status(action=Action.UNKNOWN, reply=NoReply(Cause.LOST)), None).possible_duplicate
