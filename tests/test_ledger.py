"""What waits in memory while the store fails: nothing blocks it, nobody forgets it, what is lost is named."""

import logging
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bouncekit.delivery.events import Event
from bouncekit.delivery.queue import LONGEST_LEASE
from bouncekit.delivery.steps import Delivery, LookUp, Record
from bouncekit.desk import backlog as backlogs
from bouncekit.desk.ledger import LEASE, Ledger
from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.stores.memory import MemoryStore
from bouncekit.testing import ManualClock, ScriptedServer
from bouncekit.words.errors import StoreBusy, StoreError, StoreFull, StoreRefused

from .building import ANN, BOB, CY
from .conftest import message
from .contract.queueing import mail_to, outcome
from .contract.stores import new_id

Serve = Callable[..., ScriptedServer]

ROOT = Path(__file__).parents[1]


class Failing(MemoryStore):
    """A store that says what is wrong with it, or with some messages."""

    def __init__(self) -> None:
        super().__init__()
        self.fault: Exception | None = None
        self.refused: dict[str, Exception] = {}  # by the id of the delivery
        self.tried: list[str] = []

    def record(self, record: Record) -> frozenset[str]:
        self.tried.append(record.delivery.id)
        if error := self.fault or self.refused.get(record.delivery.id):
            raise error
        return super().record(record)


def test_no_lease_lasts_nearly_as_long_as_one_that_is_taken_for_a_clock_set_back() -> None:
    assert 2 * LEASE <= LONGEST_LEASE


@pytest.fixture
def store() -> Failing:
    return Failing()


@pytest.fixture
def ledger(store: Failing, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    """One whose thread tries only when a test says how often."""
    monkeypatch.setattr(backlogs, "_AGAIN_SECONDS", 3600.0)
    opened = Ledger(store, ManualClock())
    yield opened
    store.fault, store.refused = None, {}
    opened.close()


def sent(address: str, *, relay: str | None = None) -> Record:
    """A record of a message that one recipient has."""
    delivery = mail_to(address, relay=relay)
    return outcome(delivery, new_id(), done=[address])


def told_by(store: MemoryStore) -> list[str]:
    return [event["subject"] for _, event in store.events()]


@pytest.mark.parametrize(
    "error", [StoreRefused("no"), ValueError("a NUL"), TypeError("no bytes"), OverflowError("too long an integer")]
)
def test_a_record_that_the_store_refuses_holds_up_no_other_and_is_not_given_up(
    ledger: Ledger, store: Failing, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    poison, others = sent(ANN), [sent(BOB), sent(CY)]
    store.refused = {poison.delivery.id: error}
    for record in (poison, *others):
        ledger.record(record)
    assert told_by(store) == [BOB, CY]
    assert store.tried.count(poison.delivery.id) == 2, "at once, and once more"
    assert (ledger.waiting, ledger.is_remembered(poison.delivery)) == ({"waiting": 0, "refused": 1}, False)
    for _ in range(2):
        ledger._backlog._try_all()  # as its thread does
    assert store.tried.count(poison.delivery.id) == 4
    (said,) = [line.getMessage() for line in caplog.records if line.levelno == logging.ERROR]
    assert poison.occasion.attempt_id in said
    store.refused = {}
    ledger._backlog._try_all()
    assert told_by(store) == [BOB, CY, ANN]
    assert (ledger.waiting, ledger.is_remembered(poison.delivery)) == ({"waiting": 0, "refused": 0}, True)


def test_what_the_store_refuses_keeps_nobody_from_a_send_and_is_tried_by_itself(
    store: Failing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlogs, "_AGAIN_SECONDS", 0.01)
    monkeypatch.setattr(backlogs, "_SELDOM", 2)
    ledger, poison = Ledger(store, ManualClock()), sent(ANN)
    store.refused = {poison.delivery.id: StoreRefused("no")}
    ledger.record(poison)
    _until(lambda: ledger.waiting["refused"] == 1)
    ledger.look_up(LookUp(labels=mail_to(BOB).labels, keys=(BOB,)))
    _until(lambda: store.tried.count(poison.delivery.id) > 4)
    store.refused = {}
    _until(lambda: told_by(store) == [ANN])
    ledger.close()


def test_what_the_store_refuses_to_the_end_is_named(store: Failing, caplog: pytest.LogCaptureFixture) -> None:
    ledger, poison = Ledger(store, ManualClock()), sent(ANN)
    store.refused = {poison.delivery.id: StoreRefused("no")}
    ledger.record(poison)
    ledger.close()
    said = [line.getMessage() for line in caplog.records if line.levelno == logging.ERROR]
    assert "is lost with this process" in said[-1]
    assert poison.occasion.attempt_id in said[-1]


@pytest.mark.parametrize(
    "error", [StoreFull("no room"), StoreBusy("held"), StoreError("away"), ConnectionError("gone")]
)
def test_while_the_store_is_away_all_wait_in_their_order(ledger: Ledger, store: Failing, error: Exception) -> None:
    store.fault = error
    records = [sent(ANN), sent(BOB), sent(CY)]
    for record in records:
        ledger.record(record)
    assert not any(ledger.is_remembered(record.delivery) for record in records)
    with pytest.raises(type(error)):
        ledger.catch_up()
    store.fault = None
    ledger.record(sent("dee@example.com"))
    assert told_by(store) == [ANN, BOB, CY, "dee@example.com"]


def test_nobody_is_sent_to_while_a_result_waits(ledger: Ledger, store: Failing) -> None:
    """It may be the very suppression that is asked about."""
    store.fault = StoreFull("no room")
    ledger.record(sent(ANN))
    with pytest.raises(StoreFull):
        ledger.look_up(LookUp(labels=mail_to(ANN).labels, keys=(ANN,)))


def test_an_application_that_sends_nothing_more_is_caught_up_with_by_itself(
    store: Failing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlogs, "_AGAIN_SECONDS", 0.01)
    ledger, heard = Ledger(store, ManualClock()), list[Event]()
    ledger.bus.on(heard.append)
    store.fault = StoreBusy("held")
    ledger.record(sent(ANN))
    _until(lambda: len(store.tried) > 3)
    assert told_by(store) == []
    store.fault = None
    _until(lambda: told_by(store) == [ANN])
    _until(lambda: [event.recipient for event in heard] == [ANN])
    store.fault = StoreBusy("held again")
    ledger.record(sent(BOB))
    store.fault = None
    _until(lambda: told_by(store) == [ANN, BOB])
    ledger.close()


def test_the_end_of_the_interpreter_tries_once_more(tmp_path: Path) -> None:
    code = """
import sys
from bouncekit.words.errors import StoreFull
from bouncekit.desk.ledger import LEASE, Ledger
from bouncekit.stores.sqlite import SqliteStore
from bouncekit.testing import ManualClock
from tests.test_ledger import sent

store = SqliteStore(sys.argv[1])
record = store.record
def full(one):
    store.record = record
    raise StoreFull("no room")
store.record = full
Ledger(store, ManualClock()).record(sent("ann@example.com"))
assert not store.events()
"""
    path = tmp_path / "bounces.db"
    subprocess.run([sys.executable, "-c", code, path], cwd=ROOT, check=True, timeout=60)
    from bouncekit.stores.sqlite import SqliteStore

    with SqliteStore(path) as again:
        assert len(again.events()) == 1


def test_results_beyond_what_memory_holds_are_named_and_never_said_to_wait(
    ledger: Ledger, store: Failing, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(backlogs, "_MOST", 2)
    store.fault = StoreFull("no room")
    records = [sent(ANN), sent(BOB), sent(CY)]
    for record in records:
        ledger.record(record)
    said = [line.getMessage() for line in caplog.records]
    assert "has yet to take 1 result: no room" in said[0]
    assert "has yet to take 2 results: no room" in said[1]
    assert "has yet to take" not in said[2]
    assert f"message {records[2].delivery.id} is lost" in said[2]
    assert records[2].occasion.attempt_id in said[2]
    store.fault = None
    ledger.catch_up()
    assert told_by(store) == [ANN, BOB]


def test_what_waits_keeps_the_content_only_of_mail_that_is_to_be_sent_again(ledger: Ledger, store: Failing) -> None:
    store.fault = StoreFull("no room")
    done, delivery = sent(ANN), _claimed(store)
    later = outcome(delivery, new_id(), delayed=[BOB])
    ledger.record(done)
    ledger.record(later)
    assert [waiting.record.delivery.envelope.content for waiting in ledger._backlog._line] == [
        b"",
        delivery.envelope.content,
    ]


def _claimed(store: MemoryStore) -> Delivery:
    from .contract.queueing import claim, enqueue

    enqueue(store, BOB)
    (delivery,) = claim(store)
    return delivery


def _until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.005)


def test_whom_a_waiting_result_suppressed_is_never_said_to_be_free(store: Failing, serve: Serve) -> None:
    with Postmaster(store=store, on_store_failure="send") as postmaster:
        store.fault = StoreFull("no room")
        with postmaster.client(serve({"RCPT": {ANN: "550 5.1.1 No such user here"}}).url) as client:
            client.send(message(ANN, BOB))
        for ask in (lambda: ANN in postmaster.suppressions, lambda: postmaster.suppressions.get(ANN)):
            with pytest.raises(StoreFull):
                ask()
        store.fault = None
        assert ANN in postmaster.suppressions
