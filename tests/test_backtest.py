"""A replay makes of the record what was made of it, and of another policy the difference and what cannot be known."""

import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from smtplib import SMTPException
from typing import Any

import pytest

from bouncekit.history.backtest import Backtest, Change, Difference, warm_up
from bouncekit.meaning.classification import Classification
from bouncekit.outside.builtin import classifier, classify, open_policy, policy_text, schedules
from bouncekit.policy.policy import Policy
from bouncekit.policyfiles.policyfile import read_policy
from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.stores.memory import MemoryStore
from bouncekit.stores.veil.veil import Veil
from bouncekit.testing import ScriptedServer
from bouncekit.words.pseudonym import Pseudonyms
from bouncekit.words.reply import Reply
from bouncekit.words.status import RecipientStatus
from tests.building import ANN, BOB, NOW, delivery_to
from tests.conftest import message
from tests.contract.stores import Sender, new_id, take

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
FULL, FULL_NOW, GONE = "552 5.2.2 Mailbox full", "452 4.2.2 Over quota", "550 5.1.1 No such user"
BLOCKED = "550 5.7.1 Your host is listed at a blocklist"


def policy(rules: str = "", head: str = "") -> Policy:
    """The default policy, with a guard that never trips, and rules before its own."""
    text = f"policy: 1\nextends: default\nguard: {{at_least: 1000000}}\n{head}" + (f"rules:\n{rules}" if rules else "")
    return read_policy("mine.yaml", text, resolve=policy_text, known=schedules).policy


LIVE = policy()


@dataclass
class Record:
    """A store in which the live policy has written what came of sends."""

    store: MemoryStore = field(default_factory=MemoryStore)
    policy: Policy = LIVE

    def send(
        self, *to: str, said: str | None = None, after: timedelta = timedelta(), tries: int = 1, **more: Any
    ) -> None:
        """A message to somebody, of whom the server says this, so often; then it takes the mail."""
        answers = tuple(dict.fromkeys(to, said) for _ in range(tries)) if said else ({},)
        sender = Sender(
            answers=(*answers, {}),  # type: ignore[arg-type]  # texts all of them
            now=NOW + after,
            waits=(True,) * tries,
            store=self.store,
        )
        sender.drive(delivery_to(*to, id=new_id(), **more), self.policy, classify=classify)

    def events(self) -> Iterator[Mapping[str, Any]]:
        return (told for _, told in self.store.events(limit=100_000))

    def against(self, new: Policy, *, old: Policy | None = None, **options: Any) -> Difference:
        replay = Backtest((old or self.policy, classify), (new, classify), **options)
        for told in self.events():
            replay.feed(told)
        return replay.difference


def test_a_policy_makes_of_the_record_what_it_made_of_it() -> None:
    """Whatever servers say in many messages to few people: the verbs of the replay are those of the record."""
    chance, record = random.Random(7), Record()
    replies = [rule.examples[0].reply for rule in classifier().rules if rule.examples]
    for number in range(600):
        to = f"p{chance.randrange(60)}@d{chance.randrange(4)}.example.com"
        said = chance.choice(replies) if chance.random() < 0.6 else None
        tries = chance.randrange(1, 4)
        record.send(
            to, said=said, after=number * HOUR, tries=tries, message_class=chance.choice((None, "bulk", "security"))
        )
    found = record.against(LIVE)
    actions = Counter(
        told["type"] for told in record.events() if told["type"] in ("delivered", "delayed", "failed", "suppressed")
    )
    assert found.outcomes == actions.total() > 600
    assert found.changed == found.unreadable == found.new.lost == found.reworded == 0
    assert found.old == found.new
    verbs = found.old.verbs
    assert verbs["delivered"] == actions["delivered"]
    assert verbs["retried"] + verbs["held"] == actions["delayed"]
    assert verbs["failed"] == actions["failed"]
    assert verbs["suppressed"] == actions["suppressed"]
    added = [told for told in record.events() if told["type"] == "suppression_added"]
    assert found.old.suppressions >= len(added) > 10


OTHERS = """\
  - {id: domain, when: {category: blocklisted, seen: {times: 4, within: 6h, by: domain}}, do: hold}
  - {id: fading, when: {category: system_error, seen: {times: 3, within: 20h, by: domain, half_after: 2h}}, do: hold}
  - {id: provider, when: {category: rate_limited, seen: {times: 5, within: 12h, by: provider}}, do: hold}
  - {id: sender, when: {category: policy, seen: {times: 6, within: 1d, by: sender}}, do: hold}
"""


def test_verdicts_about_others_are_counted_anew_as_they_were() -> None:
    """Each outcome of a replay is decided as it was, whoever the rules look at; messages to several count at once."""
    chance, record = random.Random(3), Record(policy=policy(OTHERS))
    replies = [BLOCKED, "451 4.3.0 Busy", "451 4.7.0 Too many messages, slow down", "550 5.7.0 Not by our policy"]
    for number in range(300):
        to = {f"p{chance.randrange(400)}@d{chance.randrange(4)}.example.com" for _ in range(chance.choice((1, 1, 3)))}
        record.send(*to, said=chance.choice(replies), after=number * HOUR / 2, tries=chance.choice((1, 1, 2)))
    fates = Counter(told["data"].get("rule") for told in record.events() if told["type"] in ("delayed", "failed"))
    assert min(fates[rule] for rule in ("domain", "fading", "provider", "sender")) > 10
    found = record.against(LIVE, old=record.policy)
    assert found.old.verbs["held"] == sum(fates[rule] for rule in ("domain", "fading", "provider", "sender"))
    decided = Counter({rule: sum(n for (old, _), n in found.by_rule.items() if old == rule) for rule in fates})
    assert {rule: decided[rule] for rule in ("domain", "fading", "provider", "sender")} == {
        rule: fates[rule] for rule in ("domain", "fading", "provider", "sender")
    }


def test_verdicts_through_a_relay_are_counted_by_the_relay_that_the_record_names(
    make_postmaster: Callable[..., Postmaster], serve: Callable[..., ScriptedServer], tmp_path: Path
) -> None:
    rule = "  - {id: relay, when: {category: system_error, seen: {times: 3, within: 1h, by: relay}}, do: hold}\n"
    (tmp_path / "own.yaml").write_text(f"policy: 1\nextends: default\nrules:\n{rule}")
    server = serve({"MAIL": "451 4.3.0 Busy"})
    postmaster = make_postmaster(policy=tmp_path / "own.yaml", relays={"main": server.url, "spare": server.url})
    for relay, times in (("main", 4), ("spare", 2), ("main", 1)):
        for number in range(times):
            with postmaster.client(relay) as client, suppress(SMTPException):
                client.send(message(f"{relay}{number}@example.com"))
    told = [event for _, event in postmaster.office.store.events() if event["type"] == "delayed"]
    held = [event["data"]["outlet"] for event in told if event["data"]["rule"] == "relay"]
    assert held == ["main"] * 3
    replay = Backtest((LIVE, classify), (policy(rule), classify))
    for event in told:
        replay.feed(event)
    assert replay.difference.new.verbs["held"] == replay.difference.changed == 3


def test_what_would_be_retried_instead_is_counted_and_nobody_says_what_would_have_come_of_it() -> None:
    record = Record()
    record.send(ANN, said=BLOCKED)
    record.send(BOB)
    new = policy("  - {id: mine, when: {category: blocklisted, permanent: true}, do: retry, wait: 1h}\n")
    found = record.against(new)
    assert (found.outcomes, found.changed) == (2, 1)
    assert found.changes == {Change("failed, operations notified", "retried in 1h"): 1}
    assert found.by_rule == {("our-fault", "mine"): 1}
    assert (found.old.open, found.new.open) == (0, 1)
    assert (found.old.notices["operations"], found.new.notices["operations"]) == (1, 0)
    (example,) = found.examples[Change("failed, operations notified", "retried in 1h")]
    assert (example["recipient"], example["reply"], example["recorded"]) == (ANN, BLOCKED, "failed")
    assert example["new_rule"] == "mine (mine.yaml:5)"


def test_a_delivery_that_the_new_policy_had_given_up_before_is_lost() -> None:
    record = Record()
    record.send(ANN, said=FULL_NOW, tries=2)  # full twice, then taken
    found = record.against(policy("  - {id: mine, when: {category: mailbox_full}, do: fail}\n"))
    assert (found.old.lost, found.new.lost) == (0, 1)
    assert found.new.verbs == {"failed": 1, "given up before": 2}


def test_a_suppression_that_the_new_policy_makes_keeps_later_mail_from_being_sent() -> None:
    record = Record()
    record.send(ANN, said=FULL_NOW, after=timedelta())
    record.send(ANN, after=DAY)
    record.send(ANN, after=9 * DAY)  # behind the seven days of the ladder
    found = record.against(policy("  - {id: m, when: {category: mailbox_full}, do: fail, suppress: mailbox}\n"))
    assert found.new.suppressions == 1
    assert found.new.verbs["suppressed"] == 1
    assert found.new.lost == 2  # the second try of the first message, and the next day's message
    assert found.new.verbs["delivered"] == 1


def test_a_class_that_ignores_a_suppression_is_not_kept_back_by_it() -> None:
    record = Record()
    record.send(ANN, said=FULL)
    record.send(ANN, after=HOUR, message_class="security")
    assert record.against(LIVE).old.verbs == {"failed": 1, "delivered": 1}


def test_mail_that_the_record_kept_back_and_the_new_policy_would_not_is_sent_and_its_answer_not_known() -> None:
    record = Record()
    record.send(ANN, said=FULL)
    record.send(ANN, after=DAY)
    found = record.against(
        policy("  - {id: mailbox-full, when: {category: mailbox_full, permanent: true}, do: fail}\n")
    )
    assert found.old.verbs == {"failed": 1, "suppressed": 1}
    assert found.new.verbs == {"failed": 1, "sent": 1}
    assert found.new.open == 1


def test_a_suppression_from_before_the_record_holds_for_both() -> None:
    record = Record()
    record.send(ANN, said=GONE)
    record.send(ANN, after=DAY)
    replay = Backtest((LIVE, classify), (LIVE, classify))
    for told in record.events():
        if told["type"] == "suppressed":
            replay.feed(told)
    assert replay.difference.old.verbs == replay.difference.new.verbs == {"suppressed": 1}


def test_a_deadline_counts_from_when_a_message_was_queued(serve: Any, make_postmaster: Any, clock: Any) -> None:
    server, store = serve({"RCPT": FULL_NOW}), MemoryStore()
    postmaster = make_postmaster(
        store=store, policy=LIVE, retry="queue", worker="external", relays={"main": server.url}
    )
    with postmaster.client("main") as client:
        client.submit(message(ANN))
    clock.move(4 * DAY - timedelta(minutes=10))  # no worker ran until then, and the next wait is longer
    postmaster.worker().run_due()
    assert "failed" in [event.type for event in postmaster.heard]
    found = Record(store).against(LIVE)
    assert found.new.verbs == {"failed": 1}


def test_what_was_lifted_by_hand_is_lifted_in_the_replay() -> None:
    record = Record()
    record.send(ANN, said=GONE)
    take(record.store, ANN, at=NOW + HOUR)
    lifted = {
        "type": "suppression_lifted",
        "time": (NOW + HOUR).isoformat(),
        "data": {
            "message_class": None,
            "tenant": "",
            "stream": "",
            "test": False,
            "message_id": None,
            "attempt_id": "x",
            "suppression": {"address": ANN, "standing": "provisional", "since": NOW.isoformat()},
        },
    }
    replay = Backtest((LIVE, classify), (LIVE, classify))
    for told in record.events():
        if told["type"] == "failed":
            replay.feed(told)
    replay.feed(lifted)
    record.send(ANN, after=2 * HOUR)
    for told in record.events():
        if told["type"] == "delivered":
            replay.feed(told)
    assert replay.difference.old.verbs == {"failed": 1, "delivered": 1}


def test_days_with_the_same_verdict_are_counted_as_the_store_counts_them() -> None:
    record = Record()
    for day in range(4):
        record.send(ANN, said=FULL_NOW, after=day * DAY, tries=6)
    new = policy("  - {id: thrice, when: {category: mailbox_full, seen: {times: 3, within: 30d}}, do: hold}\n")
    found = record.against(new)
    assert found.new.verbs["held"] == 0  # what was taken in the end makes an end of the days too
    record = Record()
    for day in range(4):
        record.send(ANN, said=FULL_NOW, after=day * DAY, tries=40)
    assert record.against(new).new.verbs["held"] >= 2


def test_outcomes_before_the_time_asked_for_are_remembered_and_not_counted() -> None:
    record = Record()
    record.send(ANN, said=GONE)
    record.send(ANN, after=2 * DAY)
    found = record.against(LIVE, since=NOW + DAY)
    assert (found.outcomes, found.old.verbs) == (1, {"suppressed": 1})
    assert found.first_at == found.last_at == NOW + 2 * DAY
    assert warm_up(LIVE) == 30 * DAY


def test_rules_about_replies_count_since_replies_are_classified_again() -> None:
    record = Record()
    record.send(ANN, said="550 Bad karma")

    def taught(status: RecipientStatus) -> Classification:
        return classify(replace(status, reply=Reply.parse(BLOCKED)))

    replay = Backtest((LIVE, classify), (LIVE, taught))
    for told in record.events():
        replay.feed(told)
    assert replay.difference.reworded == 1
    assert replay.difference.changes == {Change("failed", "failed, operations notified"): 1}


def test_test_mail_counts_nothing_and_what_no_policy_decided_is_no_outcome_of_one() -> None:
    record = Record()
    record.send(ANN, said=GONE, test=True)
    assert record.against(LIVE).outcomes == 0


def test_what_cannot_be_read_is_counted_and_harms_nobody() -> None:
    record = Record()
    record.send(ANN, said=GONE)
    replay = Backtest((LIVE, classify), (LIVE, classify))
    for told in ({}, {"type": "failed"}, {"type": "failed", "data": 5, "time": "x"}, {"type": 7}, *record.events()):
        replay.feed(told)  # type: ignore[arg-type]  # that is what is tried
    assert (replay.difference.unreadable, replay.difference.outcomes) == (3, 1)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("time", "2026-01-01T12:00:00"),
        ("time", "9999-12-31T23:59:59.999Z"),
        ("attempts", "3"),
        ("attempts", None),
        ("message_class", 5),
        ("sender", 5),
        ("remote_mta", 5),
    ],
)
def test_a_line_that_no_event_of_ours_is_ends_no_replay(name: str, value: object) -> None:
    record = Record()
    record.send(ANN, said=FULL_NOW)
    first, *rest = record.events()
    odd = {**first, **({name: value} if name == "time" else {"data": {**first["data"], name: value}})}
    replay = Backtest((LIVE, classify), (LIVE, classify), since=NOW - DAY)
    for told in (first, odd, *rest):
        replay.feed(told)
    assert (replay.difference.unreadable, replay.difference.outcomes) == (1, 2)


def test_a_class_that_one_policy_does_not_have_and_a_message_begun_before_are_told() -> None:
    record = Record()
    record.send(ANN, said=FULL_NOW, message_class="bulk")
    events = [told for told in record.events() if told["type"] == "delayed"]
    late = {**events[0], "data": {**events[0]["data"], "attempts": 4}}
    classes = "classes: {mail: {deadline: 1d, default: true}}\n"
    new = read_policy("own.yaml", f"policy: 1\n{classes}rules: [{{id: all, do: fail}}]\n", resolve=policy_text).policy
    replay = Backtest((LIVE, classify), (new, classify))
    replay.feed(late)
    assert replay.difference.unknown_class == {"bulk": 1}
    assert replay.difference.begun_before == 1


def test_people_without_addresses_are_known_by_their_pseudonyms_and_replies_without_words_by_what_they_meant() -> None:
    veil, record = Veil(Pseudonyms([b"a secret of sixteen bytes"])), Record()
    record.send(ANN, said=GONE)
    record.send(ANN, after=DAY)
    replay = Backtest((LIVE, classify), (LIVE, classify))
    for told in record.events():
        name, data = veil.called(ANN), told["data"]
        listed = {**data["suppression"], "address": None} if data.get("suppression") else None
        veiled = {**data, "recipient": name, "reply": data["reply"] and data["reply"][:9], "suppression": listed}
        replay.feed({**told, "subject": name, "data": veiled})
    assert replay.difference.old.verbs == {"failed": 1, "suppressed": 1}
    assert (replay.difference.old.suppressions, replay.difference.not_classified) == (1, 1)


def test_changes_are_counted_by_the_provider_of_the_host_that_replied() -> None:
    record = Record()
    record.send(ANN, said=BLOCKED)
    found = record.against(
        policy("  - {id: m, when: {category: blocklisted}, do: hold}\n"), provider_of=lambda host: "us"
    )
    assert found.by_provider == {"us": 1}


def test_only_so_many_examples_are_kept() -> None:
    record = Record()
    for number in range(5):
        record.send(f"p{number}@example.com", said=BLOCKED)
    found = record.against(policy("  - {id: m, when: {category: blocklisted}, do: hold}\n"), examples=2)
    assert [len(kept) for kept in found.examples.values()] == [2]
    assert found.changed == 5


@pytest.mark.parametrize("name", ["bulk", "strict", "transactional"])
def test_between_shipped_policies_the_difference_is_what_their_tallies_say(name: str) -> None:
    record, chance = Record(), random.Random(3)
    for number in range(150):
        said = chance.choice((None, FULL, FULL_NOW, GONE, BLOCKED))
        record.send(f"p{chance.randrange(20)}@example.com", said=said, after=number * HOUR)
    found = record.against(open_policy(name))
    assert sum(found.changes.values()) == found.changed == sum(found.by_rule.values())
    assert found.old.verbs.total() == found.new.verbs.total() == found.outcomes
