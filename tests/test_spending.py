"""What counts as a bounce: an address that is bad, by a word about it, once; and nothing else."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from bouncekit.delivery.delivery import absorb
from bouncekit.delivery.returned import Returned
from bouncekit.delivery.steps import LookUp, Record
from bouncekit.meaning.classification import Category
from bouncekit.outside.builtin import classify, open_policy
from bouncekit.policy.budget import Bound, Budget, Spent
from bouncekit.policy.guard import Guard
from bouncekit.policy.suppression import Standing
from bouncekit.words.errors import AddressError
from bouncekit.words.reply import NoReply, Reply, Stage
from bouncekit.words.status import Action, RecipientStatus

from .building import ANN, BOB, CY, DOT, LOST, NOW, Driver, delivery_to, expired, suppression

POLICY = replace(open_policy("default"), budget=Budget(warn=Bound(bounces=0.02)), guard=Guard(at_least=1_000_000))
GONE = "550 5.1.1 No such user"


def spent(*addresses: str, says: Mapping[str, Any], policy: Any = POLICY, driver: Any = None, **settings: Any) -> Spent:
    """What a send to these takes, over all of its records."""
    driver = driver or Driver(answers=(says,))
    driver.drive(delivery_to(*addresses, **settings), policy, classify=classify)
    given = [record.spent for record in driver.records]
    assert None not in given
    return Spent(*map(sum, zip(*given, strict=True))) if given else Spent()


def test_who_got_the_message_was_sent_to() -> None:
    assert spent(ANN, BOB, CY, says={}) == Spent(3, 0, 0)


def test_an_address_that_does_not_exist_bounces() -> None:
    assert spent(ANN, BOB, says={ANN: GONE}) == Spent(2, 1, 0)


@pytest.mark.parametrize(
    "reply",
    [
        "550 5.1.1 No such user",
        "550 5.2.1 This mailbox is disabled",
        "550 5.1.2 Domain does not exist",
        "551 5.1.6 User has moved to jo@example.net",
    ],
)
def test_each_kind_of_bad_address_counts(reply: str) -> None:
    assert spent(ANN, says={ANN: reply}) == Spent(1, 1, 0)


@pytest.mark.parametrize(
    "reply",
    [
        "552 5.2.2 Mailbox is full",
        "550 5.7.1 Blocked: your host is listed at zen.spamhaus.org",
        "550 5.7.26 This mail is unauthenticated",
        "554 5.7.1 Relay access denied",
        "554 5.6.0 Message rejected as spam",
        "450 4.1.1 No such user for now",
        "550 Allowance used up, rate limit exceeded",
    ],
)
def test_what_is_not_the_address_does_not(reply: str) -> None:
    assert spent(ANN, says={ANN: reply}) == Spent()


def test_no_reply_is_no_bounce_whoever_was_asked() -> None:
    assert spent(ANN, says={DOT: LOST}) == Spent()


def test_what_is_tried_again_counts_when_it_is_settled() -> None:
    driver = Driver(answers=({ANN: "451 4.3.0 Later"}, {ANN: "451 4.3.0 Later"}, {}), waits=(True, True))
    assert spent(ANN, says={}, driver=driver) == Spent(1, 0, 0)
    assert [record.spent for record in driver.records] == [Spent(), Spent(), Spent(1, 0, 0)]


def test_who_is_on_the_list_was_not_sent_to() -> None:
    assert spent(ANN, BOB, says={}, driver=Driver(suppressions=[suppression(ANN)])) == Spent(1, 0, 0)


def test_the_probe_behind_a_suppression_is_nobodys_mistake() -> None:
    driver = Driver(answers=({ANN: GONE},), suppressions=[expired(ANN)], probes=frozenset({ANN}))
    assert spent(ANN, says={}, driver=driver) == Spent()


def test_who_was_held_in_a_mass_and_is_refused_again_counts() -> None:
    held = suppression(ANN, standing=Standing.HELD, category=Category.USER_UNKNOWN)
    assert spent(ANN, says={}, driver=Driver(answers=({ANN: GONE},), suppressions=[held])) == Spent(1, 1, 0)


def test_an_address_under_which_somebody_is_reached_all_the_same_is_not_dead() -> None:
    upper = "Ann@example.com"
    assert spent(upper, ANN, says={ANN: GONE}) == Spent(1, 0, 0)


def test_what_must_not_reach_the_wire_was_not_sent() -> None:
    assert spent(ANN, says={}, refused=(AddressError("jo@", "no domain"),)) == Spent(1, 0, 0)


def test_test_traffic_and_policies_without_a_budget_count_nothing() -> None:
    for policy, settings in ((POLICY, {"test": True}), (replace(POLICY, budget=None), {})):
        driver = Driver(answers=({ANN: GONE},))
        driver.drive(delivery_to(ANN, **settings), policy, classify=classify)
        assert [record.spent for record in driver.records] == [None]


def came_back(status: RecipientStatus, **more: bool) -> list[Spent | None]:
    news = Returned(
        delivery=delivery_to(ANN),
        status=status,
        attempt_id="r1",
        sent_at=NOW,
        details={"reported_by": "mx.example.com"},
        **more,
    )
    driver = Driver()
    steps, answer, recorded = absorb(news, classify=classify, policy=POLICY), None, []
    while True:
        try:
            step = steps.send(answer)
        except StopIteration:
            return recorded
        if isinstance(step, Record):
            recorded.append(step.spent)
        answer = driver.answer(step) if isinstance(step, LookUp) else None


def reported(action: Action, reply: Reply | NoReply | None = None) -> RecipientStatus:
    return RecipientStatus(recipient=ANN, action=action, stage=Stage.END_OF_DATA, reply=reply)


def test_a_bounce_that_comes_as_mail_was_counted_as_sent_before() -> None:
    assert came_back(reported(Action.FAILED, Reply.parse(GONE))) == [Spent(0, 1, 0)]


def test_a_report_of_success_or_delay_takes_nothing() -> None:
    assert came_back(reported(Action.DELIVERED)) == [Spent()]
    assert came_back(reported(Action.DELAYED, Reply.parse("451 4.3.0 Later"))) == [Spent()]


def test_a_complaint_is_counted_as_one() -> None:
    assert came_back(reported(Action.DELIVERED), is_complaint=True) == [Spent(0, 0, 1)]


def test_news_of_what_is_forgiven_takes_nothing() -> None:
    assert came_back(reported(Action.FAILED, Reply.parse(GONE)), is_forgiven=True) == [None]
    assert came_back(reported(Action.DELIVERED), is_complaint=True, is_forgiven=True) == [None]


def test_a_suppression_by_complaint_that_is_obeyed_is_no_other_complaint() -> None:
    given = suppression(ANN, category=Category.COMPLAINT, expires_at=None)
    assert spent(ANN, says={}, driver=Driver(suppressions=[given])) == Spent()


def test_a_bounce_of_a_mass_is_doubted_and_not_counted() -> None:
    policy = replace(POLICY, guard=Guard(at_least=1, within=timedelta(minutes=10), times_usual=1.1))
    addresses = [f"u{number}@example.com" for number in range(3)]
    assert spent(*addresses, says=dict.fromkeys(addresses, GONE), policy=policy) == Spent()
