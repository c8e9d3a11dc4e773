"""Gauges: how queue, readers, lanes, budgets stand by the store, with few labels, and never an address in one."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from smtplib import SMTPRecipientsRefused
from typing import Any

import pytest

from bouncekit.delivery.steps import Record
from bouncekit.desk.gauging import Gauging
from bouncekit.policy.budget import Budget, Level, Spent, Stream
from bouncekit.policy.lane import Lane, LaneKind, Pause
from bouncekit.policy.suppression import Standing
from bouncekit.policy.throttle import FREE
from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.sinks.gauge import GAUGES, STORE_UP, Readings
from bouncekit.stores import Store, open_store
from bouncekit.stores.budgeting import KeptLevel
from bouncekit.stores.cursors import Trouble
from bouncekit.stores.memory import MemoryStore
from bouncekit.testing import ManualClock, ScriptedServer
from bouncekit.words.errors import StoreError, StoreRefused

from .building import ANN, BOB, NOW, suppression
from .conftest import message
from .contract.queueing import enqueue
from .contract.stores import put
from .postgresql import new_schema
from .test_forwarding import Memo

Make = Callable[..., Postmaster]
MINUTE = timedelta(minutes=1)


def states(readings: Readings, name: str, *labels: str) -> set[str]:
    """The last labels of those that are 1."""
    found: Mapping[tuple[str, ...], float] = readings[name]
    return {key[-1] for key, number in found.items() if number == 1 and key[:-1] == labels}


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def read(store: MemoryStore, clock: ManualClock) -> Gauging:
    return Gauging(store, clock, budget=Budget)


def test_recipients_are_counted_by_what_they_wait_for(
    make_postmaster: Make, clock: ManualClock, tmp_path: Path
) -> None:
    store = f"sqlite:///{tmp_path / 'b.db'}"
    with ScriptedServer({"RCPT": {"b@example.com": "451 4.3.0 Later"}}) as server:
        postmaster = make_postmaster(store=store, retry="queue", worker="external", relays={"main": server.url})
        with postmaster.client("main") as client:
            client.submit(message("a@example.com"))
            client.send(message("b@example.com"))
    clock.move(MINUTE)
    found = postmaster.gauges()
    assert found["bouncekit_queue_recipients"] == {
        ("due",): 1, ("waiting",): 1, ("held",): 0, ("leased",): 0, ("abandoned",): 0
    }  # fmt: skip
    assert found["bouncekit_queue_oldest_due_age_seconds"] == {(): 60}
    assert found[STORE_UP] == {(): 1}


def test_results_that_the_store_has_not_taken_are_counted_by_process(make_postmaster: Make) -> None:
    class Refusing(MemoryStore):
        def record(self, record: Record) -> frozenset[str]:
            raise StoreRefused("no")

    postmaster = make_postmaster(store=Refusing(), on_store_failure="send")
    assert postmaster.gauges()["bouncekit_results"] == {("waiting",): 0, ("refused",): 0}
    with ScriptedServer() as server, postmaster.client(server.url) as client:
        client.send(message("a@example.com"))
        client.send(message("b@example.com"))
    postmaster.office.clock.move(MINUTE)  # type: ignore[attr-defined]
    assert postmaster.gauges()["bouncekit_results"] == {("waiting",): 1, ("refused",): 1}


def test_a_reading_is_kept_for_ten_seconds(read: Gauging, clock: ManualClock) -> None:
    first = read()
    clock.move(timedelta(seconds=9))
    assert read() is first
    clock.move(timedelta(seconds=1))
    assert read() is not first


def test_a_store_that_does_not_answer_is_all_that_is_said(read: Gauging, store: MemoryStore) -> None:
    store.close()
    with pytest.raises(StoreError):
        store.depth(NOW)
    assert read() == {STORE_UP: {(): 0}}


def test_a_sink_is_new_then_well_then_failing_and_its_lag_grows(make_postmaster: Make, clock: ManualClock) -> None:
    memo = Memo(name="crm")
    postmaster = make_postmaster(sinks=[memo], worker="external")

    def state() -> set[str]:
        clock.move(timedelta(seconds=10))
        return states(postmaster.gauges(), "bouncekit_reader_state", "sink", "crm")

    assert state() == {"new"}
    postmaster.suppressions.add("ada@example.com", by="jo")
    postmaster.forwarding.run()
    assert state() == {"ok"}
    assert postmaster.gauges()["bouncekit_reader_lag_events"] == {("sink", "crm"): 0}
    clock.move(2 * MINUTE)  # the lease is over
    memo.failures = [OSError("no")]
    postmaster.suppressions.add("bob@example.com", by="jo")
    postmaster.forwarding.run()
    clock.move(MINUTE)
    assert state() == {"failing"}
    assert postmaster.gauges()["bouncekit_reader_lag_events"] == {("sink", "crm"): 1}
    assert postmaster.gauges()["bouncekit_reader_lag_seconds"] == {("sink", "crm"): 70}


def test_a_reader_that_is_parked_shows_and_a_subscriber_is_no_sink(
    read: Gauging, store: MemoryStore, clock: ManualClock
) -> None:
    now = clock.now()
    store.claim_cursor("books", owner="me", now=now, until=now + MINUTE)
    store.note_trouble("books", Trouble(failures=9, since=now, error="no", next_try_at=None), owner="me")
    assert states(read(), "bouncekit_reader_state", "subscriber", "books") == {"parked"}


def test_lanes_are_paused_on_trial_or_slowed_and_a_free_one_is_not_there(
    read: Gauging, store: MemoryStore, clock: ManualClock
) -> None:
    now, pause = clock.now(), Pause(length=MINUTE)
    flows = {
        "shut": replace(FREE, pause=pause, paused_until=now + MINUTE),
        "tried": replace(FREE, pause=pause, paused_until=now - MINUTE),
        "slow": replace(FREE, pace=0.5, before=2.0, changed_at=now),
        "limited": replace(FREE, free_at=now + MINUTE),
        "long ago": replace(FREE, pace=0.5, before=2.0, changed_at=now - timedelta(days=1)),
    }
    for name, flow in flows.items():
        assert store.swap_flow(Lane(LaneKind.PROVIDER, name), None, flow, token=name)
    found = read()
    assert found["bouncekit_lane_state"] == {
        ("provider", "shut", "paused"): 1, ("provider", "tried", "trial"): 1, ("provider", "slow", "slowed"): 1
    }  # fmt: skip
    assert found["bouncekit_lane_pace_messages_per_second"] == {("provider", "slow"): 0.5}
    assert found["bouncekit_lanes"]["provider", "paused"] == 1
    assert found["bouncekit_lanes"]["relay", "paused"] == 0


def test_what_the_guard_holds_is_counted_until_it_ends(read: Gauging, store: MemoryStore, clock: ManualClock) -> None:
    assert read()["bouncekit_guard_held_suppressions"] == {(): 0}
    for address in (ANN, BOB):
        put(store, suppression(address, standing=Standing.HELD, expires_at=clock.now() + MINUTE))
    put(store, suppression("cy@example.com", expires_at=None))
    clock.move(timedelta(seconds=10))
    assert read()["bouncekit_guard_held_suppressions"] == {(): 2}
    clock.move(MINUTE)
    assert read()["bouncekit_guard_held_suppressions"] == {(): 0}


def keep_level(store: Store, stream: Stream, level: Level) -> None:
    assert store.swap_level(stream, None, KeptLevel(level, NOW, f"{stream}"))


def test_a_stream_shows_its_level_and_rates(read: Gauging, store: MemoryStore) -> None:
    keep_level(store, Stream("acme", "news"), Level.STOPPED)
    found = read()
    assert states(found, "bouncekit_budget_level", "acme", "news") == {"stopped"}
    assert found["bouncekit_budget_streams"] == {("within",): 0, ("warned",): 0, ("slowed",): 0, ("stopped",): 1}


def test_a_level_holds_nobody_where_the_policy_has_no_budget_any_more(store: MemoryStore, clock: ManualClock) -> None:
    keep_level(store, Stream("", "news"), Level.STOPPED)
    found = Gauging(store, clock, budget=lambda: None)()
    assert found["bouncekit_budget_streams"]["stopped",] == 0
    assert found["bouncekit_budget_level"] == {}


def test_rates_are_those_that_the_postmaster_tells(make_postmaster: Make, tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("policy: 1\nextends: default\nbudget: {warn: {bounces: 10%}}\n", "utf-8")
    with ScriptedServer({"RCPT": {"x@example.com": "550 5.1.1 No such user"}}) as server:
        postmaster = make_postmaster(policy=own)
        with postmaster.client(server.url, stream="news") as client:
            for recipient in ("a@example.com", "b@example.com", "c@example.com"):
                client.send(message(recipient))
            with pytest.raises(SMTPRecipientsRefused):
                client.send(message("x@example.com"))
    assert postmaster.budget("news").spent == Spent(4, 1, 0)
    found = postmaster.gauges()
    assert found["bouncekit_budget_sent_recipients"] == {("", "news"): 4}
    assert found["bouncekit_budget_bounce_ratio"] == {("", "news"): 0.25}
    assert found["bouncekit_budget_complaint_ratio"] == {("", "news"): 0}


def test_of_many_streams_the_worst_are_named_and_all_are_counted(read: Gauging, store: MemoryStore) -> None:
    for number in range(300):
        keep_level(store, Stream("", f"s{number:03}"), Level.STOPPED if number == 150 else Level.WARNED)
    found = read()
    assert found["bouncekit_budget_streams"] == {("within",): 0, ("warned",): 299, ("slowed",): 0, ("stopped",): 1}
    assert len(found["bouncekit_budget_bounce_ratio"]) == 100
    assert states(found, "bouncekit_budget_level", "", "s150") == {"stopped"}


def test_no_label_is_an_address_or_long_or_does_anything(read: Gauging, store: MemoryStore, clock: ManualClock) -> None:
    hostile = ("ada@example.com", '"ada b"@example.com', "a" * 1000, "\x1b[2J\n", "\ud800")
    now = clock.now()
    for number, name in enumerate(hostile):
        keep_level(store, Stream(name, name), Level.WARNED if number else Level.STOPPED)
        store.claim_cursor(name, owner="me", now=now, until=now + MINUTE)
        store.swap_flow(Lane(LaneKind.RELAY, name), None, replace(FREE, paused_until=now + MINUTE), token=name)
    found = read()
    labels = {label for values in found.values() for key in values for label in key}
    assert all("@" not in label and len(label) <= 64 and label.isprintable() for label in labels)
    assert states(found, "bouncekit_budget_level", "other", "other") == {"stopped", "warned"}
    assert states(found, "bouncekit_lane_state", "relay", "other") == {"paused"}


@pytest.mark.parametrize("name", GAUGES)
def test_a_gauge_has_the_labels_that_it_says(name: str, read: Gauging, store: MemoryStore, clock: ManualClock) -> None:
    now = clock.now()
    keep_level(store, Stream("", "news"), Level.WARNED)
    store.claim_cursor("books", owner="me", now=now, until=now + MINUTE)
    slow = replace(FREE, pace=0.5, before=2.0, changed_at=now)
    store.swap_flow(Lane(LaneKind.RELAY, "main"), None, slow, token="t")
    values: Any = read()[name]
    assert {len(key) for key in values} == {len(GAUGES[name].labels)}


def leave_traces(store: Store, now: datetime) -> None:
    """Something for each gauge."""
    enqueue(store, ANN, due_at=now - MINUTE, at=now - MINUTE)
    enqueue(store, BOB, due_at=now + MINUTE, at=now)
    put(store, suppression(ANN, standing=Standing.HELD), suppression(BOB))
    store.claim_cursor("books", owner="me", now=now, until=now + MINUTE)
    store.note_trouble("books", Trouble(failures=9, since=now, error="no", next_try_at=None), owner="me")
    slow, shut = replace(FREE, pace=0.5, before=2.0, changed_at=now), replace(FREE, paused_until=now + MINUTE)
    assert store.swap_flow(Lane(LaneKind.RELAY, "main"), None, slow, token="slow")
    assert store.swap_flow(Lane(LaneKind.PROVIDER, "gmail"), None, shut, token="shut")
    keep_level(store, Stream("acme", "news"), Level.STOPPED)


def test_the_gauges_of_a_store_in_postgresql_are_those_of_one_in_memory(store: MemoryStore, clock: ManualClock) -> None:
    now = clock.now()
    with new_schema() as url:
        with open_store(url) as server:
            leave_traces(store, now)
            leave_traces(server, now)
            found = Gauging(server, clock, budget=Budget, sinks=["crm"])()
            read = Gauging(server, clock, budget=Budget)
        assert read() == {STORE_UP: {(): 0}}, "the line to the server is closed"
    assert found == Gauging(store, clock, budget=Budget, sinks=["crm"])()
    assert [name for name in GAUGES if not found[name]] == []
    assert found["bouncekit_queue_recipients"]["due",] == 1
    assert found["bouncekit_guard_held_suppressions"] == {(): 1}
    assert states(found, "bouncekit_reader_state", "subscriber", "books") == {"parked"}
