"""`store`: who reads the events, who is gone for good, what is forgotten."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from bouncekit.delivery.events import Event, EventType, Occasion
from bouncekit.stores.sqlite import SqliteStore
from tests.contract.queueing import begin, claim, enqueue, outcome
from tests.contract.stores import new_id

from .conftest import Run

STORE = ("--store", "sqlite:///b.db")
DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)


@pytest.fixture
def store(folder: Path) -> Iterator[SqliteStore]:
    with SqliteStore(folder / "b.db") as opened:
        yield opened


def tell(store: SqliteStore, now: datetime, *days_ago: float) -> None:
    for days in days_ago:
        occasion = Occasion(attempt_id=new_id(), at=now - days * DAY)
        store.tell([Event(id=new_id(), type=EventType.RECONNECTED, occasion=occasion)])


def read(store: SqliteStore, name: str, sequence: int, at: datetime, until: datetime) -> None:
    store.claim_cursor(name, owner="a", now=at, until=until)
    store.move_cursor(name, owner="a", sequence=sequence, now=at, until=until)


def test_subscribers_are_shown_with_what_waits_for_them(run: Run, store: SqliteStore, now: datetime) -> None:
    assert run("store", "subscribers", *STORE).output == "no durable subscriber has ever read here\n"
    tell(store, now, 9, 5, 1)
    read(store, "crm", 1, now - 9 * DAY, now - 9 * DAY)
    read(store, "sales", 3, now, now + 5 * MINUTE)
    store.claim_cursor("new", owner="a", now=now, until=now)
    _, *rows = run("store", "subscribers", *STORE).output.splitlines()
    assert [row.split() for row in rows] == [
        ["crm", "2", "5d", "9d", "ago"],
        ["new", "3", "9d", "never"],
        ["sales", "0", rows[2].split()[2], "ago", "reads", "now"],
    ]
    found = [json.loads(line) for line in run("store", "subscribers", "--json", *STORE).output.splitlines()]
    assert [(one["subscriber"], one["sequence"], one["unread"]) for one in found] == [
        ("crm", 1, 2),
        ("new", 0, 3),
        ("sales", 3, 0),
    ]


def test_a_subscriber_that_is_gone_is_forgotten(run: Run, store: SqliteStore, now: datetime) -> None:
    read(store, "crm", 1, now - DAY, now - DAY)
    result = run("store", "forget", "crm", *STORE)
    assert (result.exit_code, result.output) == (0, "subscriber crm is forgotten\n")
    result = run("store", "forget", "crm", *STORE)
    assert (result.exit_code, result.output) == (1, "no subscriber crm; there is none\n")
    assert json.loads(run("store", "forget", "crm", "--json", *STORE).output) == {"forgotten": False}


def test_a_subscriber_that_reads_now_is_left_alone(run: Run, store: SqliteStore, now: datetime) -> None:
    read(store, "crm", 1, now, now + 5 * MINUTE)
    result = run("store", "forget", "crm", *STORE)
    assert (result.exit_code, "reads right now" in result.output) == (1, True)
    assert [one.name for one in store.cursors()] == ["crm"]
    assert run("store", "forget", "sales", *STORE).output == "no subscriber sales; there is crm\n"


def test_what_the_policy_keeps_no_longer_is_forgotten(
    run: Run, folder: Path, store: SqliteStore, now: datetime
) -> None:
    tell(store, now, 200, 179, 20, 1)
    sent = enqueue(store, "ada@example.com", due_at=now - 9 * DAY, at=now - 9 * DAY)
    (taken,) = claim(store, now=now - 9 * DAY)
    done = outcome(taken, begin(store, taken, at=now - 9 * DAY), at=now - 9 * DAY, done=["ada@example.com"])
    store.record(replace(done, keep=DAY))
    assert [one.message for one in store.kept()] == [sent.id]
    result = run("store", "prune", *STORE)
    assert result.output.startswith("2 rows forgotten; events of before ")
    assert list(store.kept()) == []
    (folder / "mine.yaml").write_text("policy: 1\nextends: default\nkeep: {events: 10d}\n")
    assert json.loads(run("store", "prune", "--policy", "mine.yaml", "--json", *STORE).output) == {"forgotten": 2}
    (folder / "mine.yaml").write_text("policy: 1\nextends: default\nkeep: {events: forever}\n")
    assert run("store", "prune", "--policy", "mine.yaml", *STORE).output == "0 rows forgotten\n"


def test_many_rows_are_forgotten_batch_by_batch(run: Run, store: SqliteStore, now: datetime) -> None:
    occasion = Occasion(attempt_id=new_id(), at=now - 300 * DAY)
    store.tell([Event(id=new_id(), type=EventType.RECONNECTED, occasion=occasion) for _ in range(11_000)])
    assert run("store", "prune", *STORE).output.startswith("11,000 rows forgotten")


@pytest.mark.parametrize("verb", [("subscribers",), ("forget", "crm"), ("prune",)])
def test_without_a_store_it_is_a_clear_error_and_none_is_made(run: Run, folder: Path, verb: tuple[str, ...]) -> None:
    assert run("store", *verb).exit_code == run("store", *verb, *STORE).exit_code == 2
    assert not (folder / "b.db").exists()
