"""A policy on trial is asked, counted and told now and then; it changes nothing, and nothing in it can hurt a send."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bouncekit.delivery.events import Event
from bouncekit.desk.shadow import INTERVAL, Shadow
from bouncekit.meaning.classification import Category, Classification
from bouncekit.outside.builtin import classifier, classify, open_policy, policy_text, schedules
from bouncekit.policy.policy import Disposition, Policy
from bouncekit.policy.rule import Circumstances, Condition, Fate, Learn, Rule, Seen, Window
from bouncekit.policy.schedule import Schedule
from bouncekit.policyfiles.policyfile import read_policy
from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.stores.memory import MemoryStore
from bouncekit.testing import ManualClock, ScriptedServer
from bouncekit.words.address import parse_address
from bouncekit.words.envelope import Recipient
from bouncekit.words.errors import PolicyError
from bouncekit.words.reply import Reply, Stage
from bouncekit.words.status import Action, RecipientStatus
from tests.building import ANN, BOB, NOW, delivery_to
from tests.contract.stores import Sender, new_id

FULL, GONE, BLOCKED = "552 5.2.2 Mailbox full", "550 5.1.1 No such user", "550 5.7.1 Your host is listed at a blocklist"
MAIL = "Subject: Hi\r\n\r\nHello\r\n"
LIVE = open_policy("default")


def trial(rules: str) -> Policy:
    return read_policy(
        "trial.yaml", f"policy: 1\nextends: default\nrules:\n{rules}", resolve=policy_text, known=schedules
    ).policy


HOLDS = trial("  - {id: new, when: {category: mailbox_full}, do: hold}\n")


def drive(policy: Policy, *said: str) -> Any:
    """What the store holds, and the reports, of sends of which the server says this, each to somebody else."""
    store, reports = MemoryStore(), []
    for number, reply in enumerate(said):
        to = f"p{number}@example.com"
        sender = Sender(answers=({to: reply},), store=store)
        reports.append(sender.drive(delivery_to(to, BOB, id=f"{number}"), policy, classify=classify))
    return reports, list(store.suppressions()), [told["type"] for _, told in store.events()]


def test_a_shadow_changes_no_outcome_whatever_servers_say() -> None:
    chance = random.Random(5)
    replies = [rule.examples[0].reply for rule in classifier().rules if rule.examples]
    said = [chance.choice(replies) for _ in range(200)]
    shadow = Shadow(open_policy("strict"))
    assert drive(shadow.beside(LIVE), *said) == drive(LIVE, *said)
    assert shadow.decided > 100
    assert shadow.has_news


class Broken(Policy):
    """A policy that fails whenever it is asked."""

    def decide(self, *given: object, **more: object) -> Any:
        raise RuntimeError("no verdict")

    def counters(self, *given: object) -> Any:
        raise ZeroDivisionError

    def decide_session(self, *given: object, **more: object) -> Any:
        raise KeyError("session")


def broken() -> Policy:
    return Broken(name="broken", classes=LIVE.classes, default_class="bulk", rules=())


def test_a_fault_of_the_shadow_is_counted_and_logged_once_and_hurts_no_send(caplog: pytest.LogCaptureFixture) -> None:
    shadow = Shadow(broken())
    assert drive(shadow.beside(LIVE), FULL, GONE, BLOCKED) == drive(LIVE, FULL, GONE, BLOCKED)
    assert shadow.faults >= 3
    assert len([record for record in caplog.records if "shadow policy broken failed" in record.message]) == 1
    told = shadow.due(NOW)
    assert {one["would"] for one in told} == {
        "no verdict"
    }  # who hears nothing would take it for as good as the live one
    assert sum(one["times"] for one in told) == told[0]["decided"] >= 3
    assert told[0]["faults"] >= 3


def test_a_fault_of_its_classifier_hurts_no_send_either() -> None:
    def fails(status: RecipientStatus) -> Classification:
        raise ValueError(status)

    shadow = Shadow(HOLDS, fails)
    assert drive(shadow.beside(LIVE), FULL) == drive(LIVE, FULL)
    assert (shadow.faults, shadow.decided, shadow.has_news) == (1, 1, True)


def test_a_shadow_that_learns_of_greylisting_knows_what_was_learnt_though_the_live_policy_does_not_ask() -> None:
    grey, five = meaning("451 4.7.1 Greylisted, come back later"), Schedule("five", (timedelta(minutes=5),))
    asks = Rule(id="learns", do=Fate.RETRY, wait=five, learn=Learn())
    shadow = Shadow(replace(LIVE, rules=(asks,)))
    beside = shadow.beside(replace(LIVE, rules=(replace(asks, id="waits", learn=None),)))
    assert beside.learns(grey)
    assert not beside.learns(meaning(FULL))
    now = ManualClock().now()
    known = Circumstances(now=now, learned=timedelta(minutes=15))
    done = beside.decide(grey, Recipient.of(parse_address(ANN)), known)
    assert done.retry_at == now + timedelta(minutes=5)
    (told,) = shadow.due(now)
    assert (told["live"], told["would"]) == ("retry in 5m", "retry in 15m")


def meaning(said: str, stage: Stage = Stage.RCPT) -> Classification:
    action = Action.FAILED if said[0] == "5" else Action.DELAYED
    return classify(RecipientStatus(recipient=ANN, action=action, stage=stage, reply=Reply.parse(said)))


def details(shadow: Shadow, clock: ManualClock, **options: Any) -> list[dict[str, Any]]:
    return [dict(one) for one in shadow.due(clock.now(), **options)]


def test_a_difference_is_told_at_once_and_then_once_in_a_while_with_how_often_it_was_there() -> None:
    shadow, clock = Shadow(HOLDS), ManualClock()
    drive(shadow.beside(LIVE), FULL, GONE)
    (first,) = details(shadow, clock)
    assert (first["live"], first["would"]) == ("fail, suppress by mailbox, notify recipient", "hold")
    assert (first["live_rule"], first["shadow_rule"], first["times"], first["decided"]) == ("mailbox-full", "new", 1, 2)
    assert (first["category"], first["code"], first["enhanced"], first["stage"]) == (
        "mailbox_full",
        552,
        "5.2.2",
        "RCPT",
    )
    for _ in range(5):
        drive(shadow.beside(LIVE), FULL)
        assert details(shadow, clock) == []
        clock.move(timedelta(seconds=1))
    clock.move(INTERVAL)
    (again,) = details(shadow, clock)
    assert (again["times"], again["decided"]) == (5, 5)
    assert not shadow.has_news


def test_what_was_not_told_yet_is_told_at_the_end() -> None:
    shadow, clock = Shadow(HOLDS), ManualClock()
    drive(shadow.beside(LIVE), FULL)
    assert len(details(shadow, clock)) == 1
    drive(shadow.beside(LIVE), FULL)
    assert details(shadow, clock) == []
    assert [one["times"] for one in details(shadow, clock, closing=True)] == [1]


def test_however_many_kinds_there_are_they_are_bounded() -> None:
    verdict = meaning(FULL)
    shadow, clock = Shadow(HOLDS), ManualClock()
    recipient = delivery_to(ANN).recipients[0]
    for number in range(1_000):
        live = Disposition(action=Action.FAILED, fate=Fate.FAIL, rule=f"r{number}", where="")
        shadow.observe(verdict, recipient, Circumstances(now=clock.now()), live)
    told = details(shadow, clock)
    assert len(told) == 101
    assert sum(one["times"] for one in told) == 1_000
    assert told[-1]["live"] == "(others)"


def test_no_text_of_a_server_and_no_address_is_told() -> None:
    shadow, clock = Shadow(HOLDS), ManualClock()
    drive(shadow.beside(LIVE), "552 5.2.2 <ann@example.com> is full, says secret.example")
    (told,) = details(shadow, clock)
    assert "ann" not in str(told)
    assert "secret" not in str(told)


def test_the_same_wait_is_no_difference_whatever_the_jitter() -> None:
    shadow = Shadow(LIVE)
    store = MemoryStore()
    for _ in range(30):
        sender = Sender(answers=({ANN: "452 4.2.2 Over quota"},), store=store)
        sender.drive(delivery_to(ANN, id=new_id()), shadow.beside(LIVE), classify=classify)
    slower = Shadow(trial("  - {id: mailbox-full-now, when: {category: mailbox_full}, do: retry, wait: 45m}\n"))
    for _ in range(30):
        sender = Sender(answers=({ANN: "452 4.2.2 Over quota"},), store=MemoryStore())
        sender.drive(delivery_to(ANN, id=new_id()), slower.beside(LIVE), classify=classify)
    assert not shadow.has_news
    (told,) = details(slower, ManualClock())
    assert (told["live"], told["would"], told["times"]) == ("retry in 30m", "retry in 45m", 30)


def test_a_shadow_that_looks_back_has_the_history_looked_up_for_it() -> None:
    seen = Seen(2, timedelta(days=9))
    rule = Rule(id="twice", when=Condition(category=frozenset({Category.USER_UNKNOWN}), seen=seen), do=Fate.HOLD)
    shadow = Shadow(replace(LIVE, rules=(rule, *LIVE.rules)))
    verdict = meaning(GONE)
    assert LIVE.counters(verdict) == ()
    assert shadow.beside(LIVE).counters(verdict) == (Window(Category.USER_UNKNOWN, timedelta(days=9)),)


def test_sessions_are_compared_too() -> None:
    closes = read_policy(
        "trial.yaml",
        "policy: 1\nextends: default\nsessions: [{id: bye, when: {code: 421}, do: close}]\n",
        resolve=policy_text,
        known=schedules,
    ).policy
    shadow = Shadow(closes)
    verdict = meaning("421 Bye", Stage.MAIL)
    assert shadow.beside(LIVE).decide_session(verdict) == LIVE.decide_session(verdict)
    (told,) = details(shadow, ManualClock())
    assert (told["live"], told["would"], told["shadow_rule"]) == ("reconnect", "close", "bye")


# -- beside a postmaster


@contextmanager
def trying(tmp_path: Path, text: str, **options: Any) -> Iterator[tuple[Postmaster, list[Event], ScriptedServer]]:
    (tmp_path / "new.yaml").write_text(text)
    told: list[Event] = []
    script = {"RCPT": {"full@example.com": FULL, "gone@example.com": GONE, "karma@example.com": "550 Bad karma"}}
    with (
        ScriptedServer(script) as server,
        Postmaster(shadow=tmp_path / "new.yaml", clock=ManualClock(), **options) as postmaster,
    ):
        postmaster.on("shadow_differed")(told.append)
        yield postmaster, told, server


NEW = "policy: 1\nextends: default\nrules:\n  - {id: new, when: {category: mailbox_full}, do: hold}\n"


def test_a_postmaster_tells_what_its_shadow_would_have_done(tmp_path: Path) -> None:
    with trying(tmp_path, NEW) as (postmaster, told, server), postmaster.client(server.url) as client:
        report = client.sendmail("shop@example.org", [BOB, "full@example.com", "gone@example.com"], MAIL)
        assert report.failed[0].rule == "mailbox-full"
        assert len(told) == 1
        (event,) = told
        assert (event.details["shadow"], event.details["would"], event.details["decided"]) == ("new", "hold", 2)
        assert (event.recipient, event.occasion.policy) == (None, "default")
        assert postmaster.policy == LIVE
    assert len(told) == 1


def test_what_is_left_to_tell_is_told_when_the_postmaster_is_closed(tmp_path: Path) -> None:
    with trying(tmp_path, NEW) as (postmaster, told, server):
        for number in range(3):
            if number:
                postmaster.suppressions.lift("full@example.com")
            with postmaster.client(server.url) as client:
                client.sendmail("shop@example.org", [BOB, "full@example.com"], MAIL)
        assert len(told) == 1
    assert [event.details["times"] for event in told] == [1, 2]


KARMA = """
[[rule]]
id = "karma"
source = "x"
text = "bad karma"
category = "blocklisted"
examples = ["550 Bad karma"]
"""


def test_rules_about_replies_that_only_the_shadow_names_are_asked_for_it_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(KARMA)
    text = "policy: 1\nextends: default\nmeaning: mine.toml\n"
    with trying(tmp_path, text) as (postmaster, told, server), postmaster.client(server.url) as client:
        report = client.sendmail("shop@example.org", [BOB, "karma@example.com"], MAIL)
        assert report.failed[0].category == "unknown"
    (event,) = told
    assert (event.details["category"], event.details["shadow_category"]) == ("unknown", "blocklisted")


def test_a_faulty_shadow_is_an_error_where_it_is_set_up_and_refused_where_it_is_read_again(tmp_path: Path) -> None:
    (tmp_path / "new.yaml").write_text(NEW.replace("hold", "hodl"))
    with pytest.raises(PolicyError):
        Postmaster(shadow=tmp_path / "new.yaml")
    with trying(tmp_path, NEW) as (postmaster, _, _server):
        (tmp_path / "new.yaml").write_text(NEW.replace("hold", "hodl"))
        with pytest.raises(PolicyError):
            postmaster.reload()
        (tmp_path / "new.yaml").write_text(NEW.replace("hold", "fail"))
        assert postmaster.reload()
        assert not postmaster.reload()


def test_two_postmasters_may_try_different_policies_beside_the_same_one(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(NEW)
    with Postmaster(shadow=tmp_path / "a.yaml") as one, Postmaster(shadow="bulk") as other, Postmaster() as alone:
        assert one.policy is other.policy is alone.policy
        assert alone.office.law.in_force.shadow is None
