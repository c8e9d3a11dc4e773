"""`report`: what became of the mail, and what waits."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bouncekit.stores.sqlite import SqliteStore
from tests.building import ANN, BOB, CY, DI
from tests.contract import queueing

from .conftest import Run, Send

STORE = ("--store", "sqlite:///b.db")
FULL, BUSY = "552 5.2.2 Mailbox is full", "451 4.3.0 Try again later"
HOUR = timedelta(hours=1)


def report(run: Run, *options: object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run("report", "--json", *options, *STORE).output)
    return found


def test_the_report_has_totals_breakdowns_suppressions_and_the_queue(
    run: Run, store: SqliteStore, happen: Send
) -> None:
    happen(ANN, BOB, CY, DI, answers={BOB: FULL, CY: BUSY})
    queueing.enqueue(store, ANN, due_at=datetime.now(UTC) - HOUR, at=datetime.now(UTC))
    result = run("report", *STORE)
    assert result.exit_code == 0
    lines = [line.split() for line in result.output.splitlines()]
    assert ["delivered", "2", "50.0%", "#" * 30] in lines
    assert ["failed", "1", "25.0%", "#" * 15] in lines
    assert ["BY", "CATEGORY", "OUTCOMES", "DELAYED", "FAILED"] in lines
    assert ["mailbox_full", "1", "0", "1", "#" * 30] in lines
    assert ["BY", "PROVIDER", "OUTCOMES", "DELIVERED", "DELAYED", "FAILED"] in lines
    assert ["mx.example.com", "4", "2", "1", "1", "#" * 30] in lines
    assert "suppressions: 1 added, 0 lifted" in result.output
    assert result.output.endswith("queue: 1 due (the oldest for 1h), 0 waiting for their time, 0 held, 0 being sent\n")


def test_nothing_happened_says_so(run: Run, store: SqliteStore) -> None:
    head, _, *rest = run("report", *STORE).output.splitlines()
    assert head.startswith("0 outcomes since 2")
    assert rest == ["suppressions: 0 added, 0 lifted", "queue: empty"]


def test_only_what_happened_since_counts(run: Run, happen: Send) -> None:
    happen(ANN, ago=3 * HOUR)
    happen(BOB, ago=30 * HOUR)
    assert report(run)["actions"] == {"delivered": 1}
    assert report(run, "--since", "1h")["actions"] == {}
    assert report(run, "--since", "7d")["actions"] == {"delivered": 2}


def test_it_can_be_broken_down_by_each_side(run: Run, happen: Send) -> None:
    happen(ANN, BOB, "cy@Example.ORG", answers={BOB: FULL})
    found = report(run, "--by", "domain", "--by", "rule")["by"]
    assert found == {
        "domain": [
            {"name": "example.com", "total": 2, "actions": {"delivered": 1, "failed": 1}},
            {"name": "example.org", "total": 1, "actions": {"delivered": 1}},
        ],
        "rule": [{"name": "full", "total": 1, "actions": {"failed": 1}}],
    }
    assert list(report(run)["by"]) == ["category", "provider"]


def test_hosts_of_one_provider_are_one_row(run: Run, store: SqliteStore, happen: Send) -> None:
    happen(ANN)
    happen(BOB)
    happen(CY)
    with store._database.writing() as connection:
        connection.execute("UPDATE outcomes SET remote_mta = 'alt1.aspmx.l.google.com' WHERE recipient = ?", (ANN,))
        connection.execute("UPDATE outcomes SET remote_mta = 'aspmx.l.google.com' WHERE recipient = ?", (BOB,))
        connection.execute("UPDATE outcomes SET remote_mta = NULL WHERE recipient = ?", (CY,))
    found = report(run, "--by", "provider")["by"]["provider"]
    assert [(one["name"], one["total"]) for one in found] == [("gmail", 2), ("(none)", 1)]


def test_the_largest_come_first_and_the_rest_is_counted(run: Run, happen: Send) -> None:
    happen(*(f"{name}@{domain}.example" for domain in "abc" for name in "xyz"), "w@a.example")
    result = run("report", "--by", "domain", "--limit", 1, *STORE)
    assert "a.example  4 " in result.output
    assert "and 2 more, with 6: --limit" in result.output


def test_what_a_hand_dropped_counts_as_failed(run: Run, store: SqliteStore) -> None:
    queueing.enqueue(store, ANN, due_at=datetime.now(UTC), at=datetime.now(UTC))
    run("queue", "drop", "--all", "--yes", *STORE)
    found = report(run, "--by", "rule")
    assert (found["actions"], found["by"]["rule"][0]["name"]) == ({"failed": 1}, "dropped-by-hand")


def test_what_a_host_calls_itself_is_escaped(run: Run, store: SqliteStore, happen: Send) -> None:
    happen(ANN)
    with store._database.writing() as connection:
        connection.execute("UPDATE outcomes SET remote_mta = 'mx\x1b[2J.example'")
    result = run("report", *STORE)
    assert r"mx\x1b[2J.example" in result.output
    assert "\x1b" not in result.output


def test_json_has_the_queue(run: Run, store: SqliteStore) -> None:
    queueing.enqueue(store, ANN, due_at=datetime.now(UTC) + HOUR, at=datetime.now(UTC))
    assert report(run)["queue"] == {"due": 0, "waiting": 1, "held": 0, "sending": 0, "oldest_due_at": None}


@pytest.mark.parametrize("options", [("--since", "yesterday"), ("--by", "weather"), ("--limit", "0")])
def test_wrong_use_is_exit_code_2(run: Run, store: SqliteStore, options: tuple[str, ...]) -> None:
    assert run("report", *options, *STORE).exit_code == 2


def test_without_a_store_is_exit_code_2(run: Run, folder: Path) -> None:
    assert run("report").stderr.startswith("bouncekit: error: no store, so nothing is remembered")
    assert run("report", *STORE).exit_code == 2
    assert not (folder / "b.db").exists()


@pytest.mark.parametrize(("width", "bar"), [(None, 30), (100, 30), (60, 19), (45, 0)])
def test_bars_take_the_columns_that_a_terminal_has_left(
    run: Run, happen: Send, monkeypatch: pytest.MonkeyPatch, width: int | None, bar: int
) -> None:
    happen(ANN, BOB, CY, answers={BOB: FULL, CY: BUSY})
    for module in ("report", "output"):
        monkeypatch.setattr(f"bouncekit.cli.{module}.terminal_width", lambda: width)
    lines = run("report", "--by", "category", *STORE).output.splitlines()
    (row,) = (line for line in lines if line.startswith("mailbox_full"))
    assert row.count("#") == bar
    assert max(map(len, lines[1:])) <= (width or 100)
