"""Sending again what was refused for good, with every store: whom it goes to, whom it never does, and how often."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import pytest

from bouncekit.delivery.events import Event
from bouncekit.desk.waiting import Choice, take_out
from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.stores import Store
from bouncekit.testing import Cut, ManualClock, ScriptedServer
from bouncekit.words.errors import AddressError, ConfigurationError
from tests.building import ANN, BOB, CY
from tests.conftest import message

from .stores import STORES

Serve = Callable[..., ScriptedServer]
Make = Callable[..., Postmaster]

NOBODY = "550 5.1.1 The email account that you tried to reach does not exist"
DAY = timedelta(days=1)
_OUTCOMES = frozenset(("queued", "delivered", "delayed", "failed", "suppressed", "unknown"))

# What is decided above the stores is tried with one of them.
with_one = pytest.mark.parametrize("store", ["sqlite"], indirect=True)


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    with STORES[request.param](tmp_path) as opened:
        yield opened


@pytest.fixture
def keeping(tmp_path: Path) -> Path:
    path = tmp_path / "keeping.yaml"
    path.write_text("policy: 1\nextends: default\nkeep: {messages: 3d}\n")
    return path


@pytest.fixture
def desk(make_postmaster: Make, serve: Serve, store: Store, keeping: Path) -> Callable[..., "Desk"]:
    """A postmaster whose queue is worked on by hand, with a server that does as the script says."""

    def make(script: Any) -> Desk:
        server = serve(script)
        settings: dict[str, Any] = {"retry": "queue", "worker": "external", "relays": {"main": server.url}}
        return Desk(make_postmaster(policy=keeping, store=store, **settings), server)

    return make


class Desk:
    """Submits, and sends what is due."""

    def __init__(self, postmaster: Postmaster, server: ScriptedServer) -> None:
        self.postmaster, self.server = postmaster, server
        self.worker = postmaster.worker()
        self.heard: list[Event] = postmaster.heard  # type: ignore[attr-defined]

    def send(self, *recipients: str, **labels: Any) -> str:
        """Send a message through the queue; the id that it had there."""
        with self.postmaster.client("main", **labels) as client:
            client.submit(message(*recipients))
        self.worker.run_due()
        return next(event.occasion.delivery_id or "" for event in reversed(self.heard) if event.settlement)

    def outcomes(self, recipient: str) -> list[str]:
        return [
            event.type.value for event in self.heard if event.recipient == recipient and event.type.value in _OUTCOMES
        ]


def test_who_was_refused_gets_it_with_the_same_message_id_and_who_has_it_does_not(desk: Any) -> None:
    here: Desk = desk({"RCPT": {BOB: [NOBODY], CY: ["550 5.7.1 Spam"]}})
    old = here.send(ANN, BOB, CY)
    done = here.postmaster.resend(old, by="ops")
    assert (done.queued, done.doubtful, done.suppressed, dict(done.left)) == (2, 0, 1, {}), "BOB is not there"
    assert [one.recipient for one in done.examples] == [BOB, CY]
    queued = [event for event in here.heard if event.type == "queued"][-1]
    assert queued.details == {"repeats": old, "by": "ops"}
    assert queued.occasion.delivery_id not in (None, old)
    here.postmaster.suppressions.lift(BOB)
    here.worker.run_due()
    first, *again = here.server.messages
    assert sorted(one.recipients for one in again) == [(BOB,), (CY,)]
    assert {one.data for one in again} == {first.data}
    assert here.outcomes(ANN) == ["queued", "delivered"]
    assert here.outcomes(CY) == ["queued", "failed", "queued", "delivered"]
    assert not any(event.settlement.possible_duplicate for event in here.heard if event.settlement)


@with_one
def test_a_suppression_that_binds_when_it_is_claimed_still_holds(desk: Any) -> None:
    here: Desk = desk({"RCPT": {BOB: [NOBODY]}})
    here.send(BOB)
    assert here.postmaster.resend(recipient="BOB@example.com").queued == 1
    here.worker.run_due()
    assert here.outcomes(BOB)[-1] == "suppressed"
    assert here.server.copies(BOB) == 0


@with_one
def test_the_deadline_counts_from_now(desk: Any, clock: ManualClock) -> None:
    here: Desk = desk({"RCPT": {BOB: ["550 5.7.1 Spam", *["451 4.3.0 Later"] * 99]}})
    old = here.send(BOB)
    clock.move(2 * DAY)
    here.postmaster.resend(old)
    here.worker.run_due()
    clock.move(3 * DAY)  # four days are the deadline of its class
    here.worker.run_due()
    assert here.outcomes(BOB)[-1] == "delayed"
    clock.move(2 * DAY)
    here.worker.run_due()
    assert here.outcomes(BOB)[-1] == "failed"


@with_one
def test_it_is_sent_again_once_however_often_it_is_asked_for(desk: Any) -> None:
    here: Desk = desk({"RCPT": {BOB: ["550 5.7.1 Spam"]}})
    old = here.send(BOB)
    assert here.postmaster.resend(old).queued == 1
    assert here.postmaster.resend(old).left == {"repeated": 1}
    here.worker.run_due()
    assert here.postmaster.resend(recipient=BOB).left == {"repeated": 1}
    assert here.server.copies(BOB) == 1


@with_one
def test_what_fails_again_is_a_message_of_its_own(desk: Any) -> None:
    here: Desk = desk({"RCPT": {BOB: ["550 5.7.1 Spam", "550 5.7.1 Spam"]}})
    here.send(BOB)
    for _ in range(2):
        assert here.postmaster.resend(recipient=BOB).queued == 1
        here.worker.run_due()
    assert here.postmaster.resend(recipient=BOB).left == {"repeated": 2}
    assert here.server.copies(BOB) == 1


def test_two_who_ask_at_once_queue_it_once(desk: Any) -> None:
    people = [f"r{number}@example.com" for number in range(10)]
    here: Desk = desk({"RCPT": {one: ["550 5.7.1 Spam"] for one in people}})
    old = here.send(*people)
    ready = Barrier(2)

    def ask() -> None:
        ready.wait()
        here.postmaster.resend(old)

    threads = [Thread(target=ask) for _ in range(2)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(list(here.postmaster.office.store.queued())) == len(people)
    here.worker.run_due()
    assert [here.server.copies(one) for one in people] == [1] * len(people)


@with_one
def test_to_whom_it_may_have_arrived_only_if_that_is_said_and_then_marked(desk: Any) -> None:
    here: Desk = desk({"END_OF_DATA": [Cut()]})
    old = here.send(ANN, message_class="bulk")  # of which an unknown outcome is a failure
    assert here.outcomes(ANN)[-1] == "unknown"
    assert here.postmaster.resend(old).left == {"doubtful": 1}
    done = here.postmaster.resend(old, unknown=True)
    assert (done.queued, done.doubtful) == (1, 1)
    here.worker.run_due()
    queued, delivered = [event for event in here.heard if event.settlement][-2:]
    assert (queued.type, delivered.type) == ("queued", "delivered")
    assert queued.settlement is not None
    assert delivered.settlement is not None
    assert queued.settlement.possible_duplicate
    assert delivered.settlement.possible_duplicate


@with_one
def test_a_bounce_behind_a_delivery_leaves_a_doubt(desk: Any) -> None:
    here: Desk = desk({})
    old = here.send(ANN)
    assert here.postmaster.resend(old).queued == 0
    here.postmaster.absorb(_bounce(here.server.messages[0].data))
    assert "failed" in here.outcomes(ANN)
    assert here.postmaster.resend(old).left == {"doubtful": 1}
    assert here.postmaster.resend(old, unknown=True, dry_run=True).doubtful == 1


@with_one
def test_who_still_waits_is_left_alone_and_so_is_whom_a_hand_took_out(desk: Any) -> None:
    here: Desk = desk({"RCPT": {ANN: "451 4.3.0 Later", BOB: "451 4.3.0 Later", CY: ["550 5.7.1 Spam"]}})
    old = here.send(ANN, BOB, CY)
    for chosen in Choice(message=old, recipient=BOB).by_message(here.postmaster.office):
        take_out(here.postmaster.office, chosen, "ops")
    done = here.postmaster.resend(old)
    assert (done.queued, done.left) == (1, {"unsettled": 1}), "though somebody waits for the message"
    assert here.postmaster.resend(recipient=BOB, dry_run=True).left == {"unsettled": 1}
    assert sorted(one.recipient for one in here.postmaster.office.store.queued()) == [ANN, CY]


def test_they_are_chosen_as_what_is_undone_is(desk: Any, clock: ManualClock) -> None:
    here: Desk = desk({"RCPT": {ANN: NOBODY, BOB: "550 5.7.1 Spam"}})
    here.send(ANN, tenant="acme")
    clock.move(DAY)
    here.send(BOB, stream="news")
    (failed, *_) = [event for event in here.heard if event.type == "failed"]
    assert failed.settlement is not None

    def meant(**wanted: Any) -> list[str | None]:
        return [one.recipient for one in here.postmaster.resend(**wanted, dry_run=True).examples]

    assert meant(fingerprint=failed.settlement.fingerprint) == [ANN]
    assert meant(category="user_unknown") == [ANN]
    assert meant(since=clock.now() - DAY / 2) == [BOB]
    assert meant(until=clock.now() - DAY / 2) == [ANN]
    assert meant(provider="127.0.0.1") == [ANN, BOB]
    assert meant(provider="127.0.0.1", tenant="acme") == [ANN]
    assert meant(rule="no-such-mailbox") == [ANN]
    assert meant(provider="gmail") == meant(stream="news", tenant="acme", provider="127.0.0.1") == []
    assert list(here.postmaster.office.store.queued()) == [], "nothing but counted"


@with_one
def test_whom_the_list_held_back_in_the_bad_hour_is_meant_by_what_it_rests_on(desk: Any) -> None:
    here: Desk = desk({"RCPT": {ANN: [NOBODY]}})
    here.send(ANN)
    (failed,) = [event for event in here.heard if event.type == "failed"]
    assert failed.settlement is not None
    fingerprint = failed.settlement.fingerprint
    here.send(ANN)
    assert here.outcomes(ANN)[-1] == "suppressed"
    assert here.postmaster.resend(fingerprint=fingerprint).queued == 2
    here.postmaster.suppressions.undo(fingerprint=fingerprint)
    here.worker.run_due()
    assert here.server.copies(ANN) == 2, "two messages"


@with_one
def test_no_more_than_the_limit_and_the_next_time_the_others(desk: Any) -> None:
    here: Desk = desk({"RCPT": {one: ["550 5.7.1 Spam"] for one in (ANN, BOB, CY)}})
    old = here.send(ANN, BOB, CY)
    first = here.postmaster.resend(old, limit=2)
    assert (first.queued, first.has_more) == (2, True)
    second = here.postmaster.resend(old, limit=2)
    assert (second.queued, second.has_more, dict(second.left)) == (1, False, {"repeated": 2})


@with_one
def test_what_is_not_kept_is_counted_and_is_not_sent(desk: Any, clock: ManualClock) -> None:
    here: Desk = desk({"RCPT": {ANN: "550 5.7.1 Spam"}})
    old = here.send(ANN)
    clock.move(4 * DAY)
    here.postmaster.office.store.prune(before=clock.now() - 99 * DAY, now=clock.now())
    assert here.postmaster.resend(recipient=ANN).left == {"not_kept": 1}
    assert here.postmaster.resend(old).left == {"not_kept": 1}


@with_one
def test_somebody_has_to_say_what(desk: Any) -> None:
    here: Desk = desk({})
    with pytest.raises(ConfigurationError, match="send what again"):
        here.postmaster.resend(tenant="acme")
    with pytest.raises(AddressError):
        here.postmaster.resend(recipient="no address\r\n")


def test_without_addresses_whoever_asks_has_to_name_it(
    make_postmaster: Make, serve: Serve, keeping: Path, tmp_path: Path
) -> None:
    server = serve({"RCPT": {ANN: ["550 5.7.1 Spam"]}})
    settings: dict[str, Any] = {"retry": "queue", "worker": "external", "relays": {"main": server.url}}
    names: dict[str, Any] = {"hash_keys": ["a secret of sixteen bytes"], "keep_addresses": False}
    here = Desk(make_postmaster(policy=keeping, store=f"sqlite:///{tmp_path}/b.db", **settings, **names), server)
    old = here.send(ANN)
    assert here.postmaster.resend(old).left == {"nameless": 1}
    assert here.postmaster.resend(recipient=BOB).queued == 0
    here.postmaster.suppressions.add(ANN)
    assert here.postmaster.resend(recipient=ANN, dry_run=True).suppressed == 1
    here.postmaster.suppressions.lift(ANN)
    done = here.postmaster.resend(recipient=ANN)
    assert (done.queued, done.suppressed) == (1, 0)
    assert here.postmaster.resend(recipient=ANN).left == {"repeated": 1}
    here.worker.run_due()
    assert here.server.copies(ANN) == 1


def _bounce(content: bytes) -> bytes:
    """A bounce of this message to ANN, which quotes it."""
    return (
        b"From: MAILER-DAEMON@mx.example.com\r\nTo: shop@example.org\r\nSubject: failed\r\n"
        b'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\r\nMIME-Version: 1.0\r\n\r\n'
        b"--b\r\nContent-Type: text/plain\r\n\r\nIt failed.\r\n"
        b"--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example.com\r\n\r\n"
        b"Final-Recipient: rfc822; " + ANN.encode() + b"\r\nAction: failed\r\nStatus: 5.7.1\r\n"
        b"Diagnostic-Code: smtp; 550 5.7.1 Spam\r\n\r\n"
        b"--b\r\nContent-Type: message/rfc822\r\n\r\n" + content + b"\r\n--b--\r\n"
    )
