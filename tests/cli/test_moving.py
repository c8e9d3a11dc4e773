"""`queue move`: what waits, taken to another store."""

import json
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from bouncekit.delivery.parcel import Arrival
from bouncekit.delivery.queue import Lease
from bouncekit.stores.sqlite import SqliteStore
from tests.building import ANN, BOB, CY, suppression
from tests.contract.queueing import claim, enqueue
from tests.contract.stores import put

from .conftest import Run

STORE, TO = ("--store", "sqlite:///b.db"), ("--to", "sqlite:///new.db")
MINUTE = timedelta(minutes=1)


@pytest.fixture
def queue(folder: Path, now: datetime) -> None:
    """Somebody who waits, and somebody who is being sent to."""
    with SqliteStore(folder / "b.db") as store:
        enqueue(store, CY, at=now, due_at=now)
        claim(store, now=now)
        enqueue(store, ANN, BOB, at=now, due_at=now + 30 * MINUTE)


def waiting(run: Run, *store: str) -> list[str]:
    return [json.loads(line)["recipient"] for line in run("queue", "list", "--json", *store).output.splitlines()]


def test_a_dry_run_counts_and_makes_no_store(run: Run, queue: None, folder: Path) -> None:
    shown = run("queue", "move", "--dry-run", *TO, *STORE)
    assert shown.exit_code == 0
    assert shown.output.splitlines()[0] == "would be moved: 2 recipients"
    assert shown.output.splitlines()[1].startswith("1 left: in the hands of a worker")
    assert not (folder / "new.db").exists()
    assert len(waiting(run, *STORE)) == 3


def test_it_asks_and_takes_no_for_an_answer(run: Run, queue: None) -> None:
    assert run("queue", "move", *TO, *STORE, input="n\n").exit_code == 1
    assert run("queue", "move", *TO, *STORE).exit_code == 2, "nobody is there"
    assert len(waiting(run, *STORE)) == 3


def test_what_waits_goes_and_what_is_left_is_said(run: Run, queue: None) -> None:
    done = run("queue", "move", "--yes", "--json", "--by", "ops", *TO, *STORE)
    assert (done.exit_code, json.loads(done.output)) == (
        1,
        {"moved": 2, "finished": 0, "dry_run": False, "left": {"sending": 1}},
    )
    assert (waiting(run, *STORE), waiting(run, "--store", "sqlite:///new.db")) == ([CY], [ANN, BOB])
    assert "new.db" in run("why", ANN, *STORE).output.partition("moved to")[2]
    told = [json.loads(line)["data"] for line in run("events", "query", "--json", *STORE).output.splitlines()]
    assert {(one["rule"], one["by"], Path(one["moved_to"]).name) for one in told} == {
        ("moved-by-hand", "ops", "new.db")
    }


def test_the_list_says_that_some_have_half_come(run: Run, queue: None, folder: Path, now: datetime) -> None:
    with SqliteStore(folder / "b.db") as old, SqliteStore(folder / "new.db") as new:
        parcels = old.take_along(now=now, lease=Lease("a", now + MINUTE), limit=9).parcels
        new.receive([Arrival(token="a", origin=old.place, at=now, parcel=one) for one in parcels])
    assert "half come" in run("queue", "list", "--store", "sqlite:///new.db").output
    done = json.loads(run("queue", "move", "--yes", "--json", *TO, *STORE).output)
    assert (done["moved"], done["finished"]) == (2, 2)
    assert "half come" not in run("queue", "list", "--store", "sqlite:///new.db").output


def test_nobody_there_is_no_failure(run: Run, folder: Path) -> None:
    SqliteStore(folder / "b.db").close()
    done = run("queue", "move", *TO, *STORE)
    assert (done.exit_code, done.output) == (0, "moved: 0 recipients\n")


def test_without_the_list_nothing_goes_unless_somebody_says_so(run: Run, queue: None, folder: Path) -> None:
    with SqliteStore(folder / "b.db") as store:
        put(store, suppression(BOB))
    refused = run("queue", "move", "--yes", *TO, *STORE)
    assert (refused.exit_code, "--without-list" in refused.output) == (2, True)
    assert len(waiting(run, *STORE)) == 3
    assert "moved: 2 recipients" in run("queue", "move", "--yes", "--without-list", *TO, *STORE).output


def test_the_same_store_and_no_store_are_refused(run: Run, queue: None) -> None:
    assert run("queue", "move", "--yes", "--to", "sqlite:///./b.db", *STORE).exit_code == 2
    assert run("queue", "move", "--yes", "--to", "b.db", *STORE).exit_code == 2
    assert run("queue", "move", "--yes", *TO, "--store", "sqlite:///none.db").exit_code == 2
