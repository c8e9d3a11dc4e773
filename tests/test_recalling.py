"""The history of a mailbox, out of every store: what happened, what holds, what comes next."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from datetime import timedelta
from pathlib import Path
from smtplib import SMTPException
from typing import Any

import pytest

from bouncekit.history.prospects import Coming
from bouncekit.history.retold import struck, told
from bouncekit.history.timeline import History
from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.postmaster.recalling import tenants_that_know
from bouncekit.stores import Store
from bouncekit.stores.memory import MemoryStore
from bouncekit.testing import ManualClock, ScriptedServer, refusing_port
from bouncekit.words.errors import AddressError, ConfigurationError

from .conftest import message
from .postgresql import new_schema

FULL, LATER, WEEKS = "full@example.com", "later@example.com", "weeks@example.com"
SECRET = "a secret of thirty-two characters"
SCRIPT = {
    "RCPT": {
        FULL: ["250 2.1.5 Ok", *3 * ["552 5.2.2 Mailbox is full"]],
        LATER: "452 4.2.2 Over quota",
        WEEKS: "452 4.2.2 Over quota",
    }
}
DAY = timedelta(days=1)

Opened = Callable[..., Postmaster]


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str | Store]:
    with ExitStack() as stack:
        yield {
            "memory": MemoryStore,
            "sqlite": lambda: f"sqlite:///{tmp_path}/b.db",
            "postgresql": lambda: stack.enter_context(new_schema()),
        }[request.param]()


@pytest.fixture
def server(serve: Callable[..., ScriptedServer]) -> ScriptedServer:
    return serve(SCRIPT)


@pytest.fixture
def opened(make_postmaster: Opened, kept: str | Store, server: ScriptedServer) -> Opened:
    def make(**settings: Any) -> Postmaster:
        queue = {"retry": "queue", "worker": "external", "relays": {"main": server.url}}
        return make_postmaster(store=kept, **{**queue, **settings})

    return make


def send(postmaster: Postmaster, *addresses: str, **labels: Any) -> None:
    """Send, whatever comes of it."""
    with postmaster.client("main", **labels) as client, suppress(SMTPException):
        client.send(message(*addresses))


def whats(found: History) -> list[str]:
    return [moment.what for moment in found.moments]


def test_sends_verdicts_notices_and_the_list_make_one_timeline(opened: Opened, clock: ManualClock) -> None:
    told: list[Any] = []
    postmaster = opened(channels={"recipient": told.append})
    for _ in range(3):
        send(postmaster, FULL, message_class="bulk", stream="news")
        clock.move(timedelta(hours=1))
    found = postmaster.history("Full@Example.COM", stream="news", message_class="bulk")
    assert whats(found) == ["suppressed", "notified", "suppression_added", "failed", "delivered"]
    assert len(told) == 1
    skipped, notified, added, failed, delivered = found.moments
    assert added.change is not None
    assert (added.by, added.change.after) == ("rule mailbox-full", found.suppression)
    assert notified.event is not None
    assert notified.event.details["channel"] == "recipient"
    assert failed.event is not None
    assert (str(failed.event.reply), failed.event.rule) == ("552 5.2.2 Mailbox is full", "mailbox-full")
    assert (failed.event.occasion.labels.message_class, failed.event.occasion.labels.stream) == ("bulk", "news")
    assert (delivered.at, skipped.at) == (clock.now() - timedelta(hours=3), clock.now() - timedelta(hours=1))
    assert found.is_held_back
    assert [card.code for card in found.advice] == ["552", "5.2.2"]


def test_the_end_of_a_suppression_is_told_before_it_and_behind_it(opened: Opened, clock: ManualClock) -> None:
    postmaster = opened()
    send(postmaster, FULL)
    send(postmaster, FULL)
    end = clock.now() + 7 * DAY
    (probe,) = postmaster.history(FULL).prospects
    assert (probe.what, probe.at) == (Coming.PROBE, end)
    assert "refused alike, it is confirmed for 30d; mail of class security goes out all the same" in probe.text
    clock.move(8 * DAY)
    found = postmaster.history(FULL)
    assert (whats(found)[0], found.moments[0].at) == ("suppression_ended", end)
    assert (found.is_held_back, [one.at for one in found.prospects]) == (False, [None])
    send(postmaster, FULL)
    found = postmaster.history(FULL)
    assert whats(found)[:4] == ["not_notified", "suppression_added", "failed", "suppression_ended"]
    change = found.moments[1].change
    assert change is not None
    assert [one and one.standing.value for one in (change.before, change.after)] == ["provisional", "confirmed"]


def test_what_a_hand_did_is_told_with_whose_it_was(opened: Opened, clock: ManualClock) -> None:
    postmaster = opened()
    postmaster.suppressions.add(FULL, reason="asked us to", by="ann", lasts=DAY)
    (end,) = postmaster.history(FULL).prospects
    assert (end.what, end.at) == (Coming.END, clock.now() + DAY)
    clock.move(timedelta(hours=1))
    postmaster.suppressions.add(FULL, reason="for ever, please", by="bob")
    clock.move(timedelta(hours=1))
    postmaster.suppressions.lift(FULL, by="cy")
    found = postmaster.history(FULL)
    assert [(one.what, one.by) for one in found.moments] == [
        ("suppression_lifted", "cy"),
        ("suppression_added", "bob"),
        ("suppression_added", "ann"),
    ]
    assert (found.suppression, found.prospects, found.is_held_back) == (None, (), False)


def test_what_waits_is_told_with_its_next_try_and_its_end(opened: Opened, clock: ManualClock) -> None:
    postmaster = opened()
    begun = clock.now()
    send(postmaster, LATER, message_class="bulk")
    found = postmaster.history(LATER)
    (row,) = found.waiting
    assert (row.relay, row.attempts, row.recipient) == ("main", 1, LATER)
    retry, end = found.prospects
    assert (retry.what, retry.at) == (Coming.RETRY, row.due_at)
    assert "attempt 2 of message <" in retry.text
    assert (end.what, end.at) == (Coming.GIVE_UP, begun + 2 * DAY)


def test_a_delay_that_nobody_keeps_is_the_applications_to_send_again(opened: Opened, server: ScriptedServer) -> None:
    postmaster = opened(retry="never")
    with postmaster.client(server.url) as client, suppress(SMTPException):
        client.send(message(LATER))
    (resend,) = postmaster.history(LATER).prospects
    assert resend.what is Coming.RESEND
    assert "the application has to send it again" in resend.text


def test_verdicts_that_a_rule_counts_are_told_with_the_rule(opened: Opened, clock: ManualClock) -> None:
    postmaster = opened()
    send(postmaster, WEEKS)
    assert postmaster.history(WEEKS).strikes == ()
    clock.move(5 * DAY)
    postmaster.worker().run_due()
    clock.move(DAY)
    struck = {one.rule: one for one in postmaster.history(WEEKS).strikes}
    one = struck["full-for-weeks"]
    assert (one.category.value, one.days, one.times, one.within) == ("mailbox_full", 2, 3, 30 * DAY)
    assert one.weight == 2


def test_the_moments_that_count_for_a_rule_are_told_until_a_delivery_or_time_ends_that(
    opened: Opened, clock: ManualClock, tmp_path: Path
) -> None:
    policy = tmp_path / "own.yaml"
    seen = "seen: {times: 4, within: 20d, half_after: 3d}"
    policy.write_text(
        "policy: 1\nextends: default\nrules:\n"
        f"  - {{id: fading, when: {{category: mailbox_full, permanent: false, {seen}}}, do: hold}}\n"
        "  - {id: of-all, when: {category: mailbox_full, seen: {times: 99, within: 1d, by: domain}}, do: hold}\n"
    )
    postmaster = opened(policy=policy, retry="never")
    for wait in (6 * DAY, timedelta(hours=1), 2 * DAY, 2 * DAY):
        send(postmaster, LATER)
        clock.move(wait)
    found = postmaster.history(LATER)
    rules = [{rule.id for rule in one.counts_for} for one in found.moments]
    assert ["fading" in one for one in rules] == ["full-for-weeks" in one for one in rules] == [True, True, False, True]
    assert not any("of-all" in one for one in rules)
    weights = {one.rule: (one.days, one.weight) for one in found.strikes}
    assert (weights["fading"], weights["full-for-weeks"]) == ((3, 1 + 0.5 + 0.125), (3, 3))
    told_of = [text for label, text in told(found.moments[0]) if label == "counts"]
    assert told_of[0].startswith("a day with mailbox_full; fading (")
    assert "3 days before today within 20d, which weigh 1.625 with 3d to a half" in struck(found.strikes[0])[1]
    assert found.to_dict()["moments"][0]["counts_for"][0] == "fading"
    clock.move(17 * DAY)
    rules = [{rule.id for rule in one.counts_for} for one in postmaster.history(LATER).moments]
    assert ["fading" in one for one in rules] == [True, False, False, False]


def test_a_delivery_ends_what_counted_before_it(opened: Opened, clock: ManualClock, serve: Any) -> None:
    moody = serve({"RCPT": {"ann@example.com": ["452 4.2.2 Over quota", "250 2.1.5 Ok", "452 4.2.2 Over quota"]}})
    postmaster = opened(retry="never", relays={"main": moody.url})
    for _ in range(3):
        send(postmaster, "ann@example.com")
        clock.move(DAY)
    counted = [bool(one.counts_for) for one in postmaster.history("ann@example.com").moments]
    assert counted == [True, False, False]


def test_every_attempt_is_told_with_the_relay_that_it_went_by(opened: Opened, server: ScriptedServer) -> None:
    postmaster = opened(retry="never")
    send(postmaster, LATER)
    with postmaster.client(server.url) as client, suppress(SMTPException):
        client.send(message(LATER))
    named = [dict(told(one))["relay"] for one in postmaster.history(LATER).moments]
    assert named == [server.url.removeprefix("smtp://"), "main"]


def test_a_relay_in_place_of_another_is_told_with_both(opened: Opened, server: ScriptedServer) -> None:
    with refusing_port() as port:
        main = {"url": f"smtp://127.0.0.1:{port}", "fallback": "spare"}
        postmaster = opened(retry="never", relays={"main": main, "spare": server.url})
        send(postmaster, "ann@example.com")
    assert dict(told(postmaster.history("ann@example.com").moments[0]))["relay"] == "spare, in place of main"


def test_held_by_the_guard_is_told_though_no_event_names_the_mailbox(
    opened: Opened, clock: ManualClock, tmp_path: Path
) -> None:
    policy = tmp_path / "strict.yaml"
    policy.write_text("policy: 1\nextends: default\nguard: {at_least: 5, within: 10m, times_usual: 2}\n")
    postmaster = opened(policy=policy, retry="never")
    people = [f"full{number}@example.com" for number in range(8)]
    full = {"RCPT": dict.fromkeys(people, "552 5.2.2 Mailbox is full")}
    with ScriptedServer(full) as server, postmaster.client(server.url) as client:
        for one in people:
            clock.move(timedelta(seconds=1))
            with suppress(SMTPException):
                client.send(message(one))
    found = postmaster.history(people[0])
    assert whats(found)[0] == "suppression_held"
    assert (found.moments[0].by, found.is_held_back) == ("guard", False)
    assert [one.what for one in found.prospects] == [Coming.NEXT_VERDICT]


def test_the_newest_moments_come_first_and_no_more_than_asked_for(opened: Opened, clock: ManualClock) -> None:
    postmaster = opened()
    for _ in range(4):
        send(postmaster, "ann@example.com")
        clock.move(DAY)
    found = postmaster.history("ann@example.com", limit=2)
    assert (len(found.moments), found.has_more) == (2, True)
    assert found.moments[0].at > found.moments[1].at
    since = postmaster.history("ann@example.com", since=clock.now() - timedelta(days=1, hours=1))
    assert (len(since.moments), since.has_more) == (1, False)


def test_a_history_is_a_tenants(opened: Opened) -> None:
    postmaster = opened()
    send(postmaster, "ann@example.com", tenant="acme")
    assert not postmaster.history("ann@example.com").is_known
    assert tenants_that_know(postmaster.office, "Ann@example.com") == ("acme",)
    assert postmaster.history("ann@example.com", tenant="acme").is_known
    assert not postmaster.history("bob@example.com").is_known


def test_somebody_who_was_erased_is_found_by_his_address_and_by_his_pseudonym(opened: Opened) -> None:
    postmaster = opened(hash_keys=[SECRET])
    send(postmaster, FULL)
    send(postmaster, FULL)
    assert postmaster.history(FULL).known_as is None
    postmaster.forget(FULL)
    found = postmaster.history(FULL)
    assert found.known_as is not None
    assert found.known_as.startswith("#")
    assert {"failed", "delivered"} <= set(whats(found))
    assert found.is_held_back
    told = found.to_dict()
    assert FULL not in json.dumps({**told, "address": ""})
    again = postmaster.history(found.known_as)
    assert again.moments == found.moments
    assert again.standing == found.standing


def test_a_store_that_keeps_no_addresses_tells_what_it_knows_by_the_pseudonym(opened: Opened) -> None:
    postmaster = opened(hash_keys=[SECRET], keep_addresses=False)
    send(postmaster, FULL, LATER)
    send(postmaster, FULL)
    found = postmaster.history(FULL)
    assert (found.known_as or "").startswith("#")
    assert found.is_held_back
    failed = next(one.event for one in found.moments if one.what == "failed")
    assert failed is not None
    assert str(failed.reply) == "552 5.2.2"
    assert [row.recipient for row in postmaster.history(LATER).waiting] == [LATER]


def test_what_a_newer_version_wrote_is_counted_and_hides_nothing(opened: Opened, clock: ManualClock) -> None:
    postmaster = opened()
    send(postmaster, "ann@example.com")
    store = postmaster.office.store
    real = store.history

    def history(key: str, **asked: Any) -> list[dict[str, Any]]:
        told = list(real(key, **asked))
        return [{**told[0], "id": "n", "type": "beamed_up"}, *told]

    postmaster.office.store = _Telling(store, history)  # type: ignore[assignment]
    found = postmaster.history("ann@example.com")
    assert (whats(found), found.unreadable) == (["delivered"], 1)
    postmaster.office.store = store


class _Telling:
    """A store whose history a later version has written to."""

    def __init__(self, store: Any, history: Any) -> None:
        self._store, self.history = store, history

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def test_json_is_flat_and_whole(opened: Opened) -> None:
    postmaster = opened()
    send(postmaster, LATER, message_class="bulk")
    told = json.loads(json.dumps(postmaster.history(LATER).to_dict()))
    (moment,) = told["moments"]
    assert moment["reply"] == "452 4.2.2 Over quota"
    assert {"rule", "where", "policy_hash", "retry_at", "attempt", "message_id", "classified_by"} <= moment.keys()
    assert None not in moment.values()
    assert told["next"][0]["what"] == "retry"
    assert told["waiting"][0]["relay"] == "main"


def test_what_is_no_question_is_refused(opened: Opened) -> None:
    postmaster = opened()
    with pytest.raises(AddressError):
        postmaster.history("ann@exa mple.com")
    with pytest.raises(ConfigurationError, match="message_class='nonsense'"):
        postmaster.history(FULL, message_class="nonsense")
    with pytest.raises(ValueError, match="'xx' is not a valid Language"):
        postmaster.history(FULL, lang="xx")


def test_cards_come_in_the_language_that_was_asked_for(opened: Opened) -> None:
    postmaster = opened()
    send(postmaster, LATER)
    english, hindi = (postmaster.history(LATER, lang=lang).advice for lang in ("en", "hi"))
    assert [card.code for card in english] == [card.code for card in hindi]
    assert not hindi[0].fix.isascii()
