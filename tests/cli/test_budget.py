"""`budget`: what streams have spent, in a table and as JSON, and who lets one go on."""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from bouncekit.policy.budget import Level, Spent, Stream
from bouncekit.stores.budgeting import KeptLevel
from bouncekit.stores.sqlite import SqliteStore
from tests.contract.test_budgeting_contract import spend

from .conftest import Run

OWN = ("--policy", "own.yaml", "--store", "sqlite:///b.db")
NEWS, ACME = Stream("", "news"), Stream("acme", "n\x1bews")


@pytest.fixture
def store(folder: Path) -> Iterator[SqliteStore]:
    budget = "{at_least: 100, warn: {bounces: 2%}, stop: {bounces: 10%}, holds: bulk}"
    (folder / "own.yaml").write_text(f"policy: 1\nextends: default\nbudget: {budget}\n", "utf-8")
    with SqliteStore(folder / "b.db") as opened:
        yield opened


def test_nothing_was_sent_yet_or_nothing_is_counted(run: Run, store: SqliteStore) -> None:
    assert run("budget", "list", *OWN).output == "nothing was sent in 7d\n"
    done = run("budget", "list", "--store", "sqlite:///b.db")
    assert (done.output, done.exit_code) == ("policy default has no budget, so nothing is counted\n", 0)


def test_each_stream_has_a_row_with_its_rates_and_its_level(run: Run, store: SqliteStore, now: datetime) -> None:
    spend(store, NEWS, Spent(1200, 30, 1), at=now)
    spend(store, ACME, Spent(500, 60, 0), at=now - timedelta(hours=1))
    spend(store, ACME, Spent(500, 500, 0), at=now - timedelta(days=9))
    store.swap_level(ACME, None, KeptLevel(Level.STOPPED, now, "t1"))
    done = run("budget", "list", *OWN)
    head, first, second = (" ".join(line.split()) for line in done.output.splitlines())
    assert head == "STREAM SENT BOUNCED COMPLAINED BUDGET SINCE"
    assert first == "stream news 1,200 30 (2.5%) 1 (0.08%) within"
    assert second.startswith("stream n\\x1bews of acme 500 60 (12.0%) 0 (0.00%) stopped 20")
    assert done.exit_code == 1
    found = [json.loads(line) for line in run("budget", "list", "--json", *OWN).output.splitlines()]
    assert [(one["tenant"], one["stream"], one["level"], one["bounce_rate"]) for one in found] == [
        ("", "news", "within", 0.025),
        ("acme", "n\x1bews", "stopped", 0.12),
    ]


def test_the_report_ends_with_the_same(run: Run, store: SqliteStore, now: datetime) -> None:
    spend(store, NEWS, Spent(1200, 30, 1), at=now)
    assert "stream news  1,200  30 (2.5%)" in run("report", "--store", "sqlite:///b.db").output
    (one,) = json.loads(run("report", "--json", "--store", "sqlite:///b.db").output)["budgets"]
    assert (one["stream"], one["sent"], one["since"]) == ("news", 1200, None)


def test_a_hand_lets_a_stream_go_on_once(run: Run, store: SqliteStore, now: datetime) -> None:
    spend(store, ACME, Spent(500, 60, 0), at=now)
    store.swap_level(ACME, None, KeptLevel(Level.STOPPED, now, "t1"))
    whose = ("--tenant", ACME.tenant, "--stream", ACME.name)
    assert run("budget", "resume", "--stream", "news", *OWN).exit_code == 1
    done = run("budget", "resume", *whose, "--by", "ops", *OWN)
    assert (done.output, done.exit_code) == ("it goes on, and its counts begin anew\n", 0)
    assert (store.levels(), store.spent(since=now - timedelta(days=1))) == ({}, {})
    ((_, event),) = [one for one in store.events() if one[1]["type"] == "budget_recovered"]
    assert (event["data"]["by"], event["data"]["bounced"]) == ("ops", 60)
    again = run("budget", "resume", *whose, "--json", *OWN)
    assert (json.loads(again.output), again.exit_code) == ({"resumed": False}, 1)
