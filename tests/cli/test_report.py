"""`report`: what became of the mail, and what waits."""

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bouncekit.policy.suppression import Evidence, Standing
from bouncekit.stores.sqlite import SqliteStore
from tests.building import ANN, BOB, CY, DI, suppression
from tests.contract import queueing
from tests.contract.stores import put
from tests.test_drafts import no_file_larger_than

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


def test_who_has_most_and_what_is_new_is_in_text_and_in_json(run: Run, happen: Send) -> None:
    happen(ANN, BOB, ago=30 * HOUR, answers={BOB: FULL})
    happen(ANN, BOB, CY, answers={BOB: FULL, CY: "554 5.7.1 Your moon is in the seventh house"})
    found = report(run)
    assert found["top"]["recipient"]["failures"] == [{"name": CY, "count": 1}]
    assert found["top"]["domain"]["mail"] == [{"name": "example.com", "count": 3}]
    assert found["top"]["sender"] == {"mail": [], "failures": [{"name": "shop@example.org", "count": 1}]}
    ((new,), number) = found["new"]["kinds"], found["new"]["number"]
    assert (number, new["count"], new["example"]) == (1, 1, "554 5.7.1 Your moon is in the seventh house")
    assert new["providers"] == {"example.com": 1}
    lines = [line.split() for line in run("report", *STORE).output.splitlines()]
    assert ["recipient", CY, "1"] in lines
    assert ["stream", "mail", "without", "a", "stream", "3"] in lines
    assert [line[-9:] for line in lines if "moon" in line] == [new["example"].split()]
    assert report(run, "--since", "2d")["new"]["number"] == 2


def test_what_the_guard_holds_is_said(run: Run, store: SqliteStore) -> None:
    held = {"standing": Standing.HELD, "expires_at": None, "evidence": Evidence(reply="550 5.1.1 A bad hour")}
    put(store, suppression(ANN, **held), suppression(BOB, **held))
    assert "held by the guard: 2, which bind nobody: 2 for 550 5.1.1 A bad hour" in run("report", *STORE).output
    (kind,) = report(run)["held"]["kinds"]
    assert (report(run)["held"]["suppressions"], kind["count"], kind["reply"]) == (2, 2, "550 5.1.1 A bad hour")


def test_a_week_as_a_file_has_the_same_numbers(run: Run, folder: Path, happen: Send) -> None:
    happen(ANN, BOB, ago=3 * 24 * HOUR, answers={BOB: FULL})
    happen(*(f"{number}@example.com" for number in range(1234)))
    result = run("report", "--html", "week.html", *STORE)
    assert (result.exit_code, result.output.partition(":")[0]) == (0, "week.html")
    written = (folder / "week.html").read_text("utf-8")
    numbers = report(run, "--since", "7d")
    assert numbers["actions"] == {"delivered": 1235, "failed": 1}
    for number in ("1,236 outcomes", "<dd>1,235 <small>", "<dd>1 <small>"):
        assert number in written
    assert f"<title>Mail, {numbers['since'][:16].replace('T', ' ')}Z to" in written


def test_a_file_is_readable_for_its_owner_only(run: Run, folder: Path, happen: Send) -> None:
    happen(ANN)
    assert run("report", "--html", "week.html", *STORE).exit_code == 0
    assert (folder / "week.html").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("limit", [10, 55, 100])
def test_of_new_replies_there_are_as_many_as_asked_for_and_the_rest_is_said(
    run: Run, folder: Path, happen: Send, limit: int
) -> None:
    words = [f"{one}{other}" for one in "abcdefgh" for other in "abcdefgh"]
    answers = {f"{word}@example.com": f"554 5.7.1 Our moon is {word * 3}" for word in words}
    happen(*answers, answers=answers)
    shown, rest = min(limit, 64), max(64 - limit, 0)
    new = report(run, "--limit", limit)["new"]
    assert (new["number"], len(new["kinds"])) == (64, shown)
    text = run("report", "--limit", limit, *STORE).output
    assert (f"and {rest} more: --limit" in text) == (rest > 0)
    assert run("report", "--html", "day.html", "--limit", limit, *STORE).exit_code == 0
    html = (folder / "day.html").read_text("utf-8")
    assert html.count('<td class="remote">554 ') == shown
    assert (f"And {rest} more kinds." in html) == (rest > 0) == ("more kinds" in html)


def test_no_time_is_not_a_day(run: Run, happen: Send) -> None:
    happen(ANN, ago=3 * HOUR)
    assert report(run, "--since", "0s")["actions"] == {}


def test_a_file_may_go_to_standard_output_and_json_beside_it(run: Run, folder: Path, happen: Send) -> None:
    happen(ANN, ago=3 * 24 * HOUR)
    result = run("report", "--html", "-", "--since", "1h", *STORE)
    assert result.stdout.startswith("<!doctype html>")
    assert "0 outcomes" in result.stdout
    both = run("report", "--html", "week.html", "--json", *STORE)
    assert json.loads(both.stdout)["actions"] == {"delivered": 1}
    assert (folder / "week.html").exists()


def test_a_pdf_is_written(run: Run, folder: Path, happen: Send) -> None:
    pytest.importorskip("weasyprint", reason="no WeasyPrint, or no Pango: see docs", exc_type=(ImportError, OSError))
    happen(ANN)
    assert run("report", "--pdf", "week.pdf", *STORE).exit_code == 0
    assert (folder / "week.pdf").read_bytes().startswith(b"%PDF-")


@pytest.mark.parametrize(
    "options", [("--html", "-", "--pdf", "-"), ("--html", "-", "--json"), ("--pdf", "no/such.pdf")]
)
def test_what_cannot_be_written_is_exit_code_2(run: Run, store: SqliteStore, options: tuple[str, ...]) -> None:
    assert run("report", *options, *STORE).exit_code == 2


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


def test_two_reports_do_not_go_into_one_file_and_none_into_the_store(run: Run, folder: Path, happen: Send) -> None:
    happen(ANN)
    before = (folder / "b.db").read_bytes()
    os.link("b.db", "linked")
    os.mkdir("other")
    same = run("report", "--html", "week", "--pdf", "other/../week", *STORE)
    over = [run("report", "--html", place, *STORE) for place in ("b.db", "./b.db-wal", "linked")]
    assert (same.exit_code, *(one.exit_code for one in over)) == (2, 2, 2, 2)
    assert "name two files" in same.output
    assert all("that is the store itself" in one.output for one in over)
    assert (folder / "b.db").read_bytes() == before
    assert not (folder / "week").exists()


def test_a_disk_that_is_full_leaves_the_last_report(run: Run, folder: Path, happen: Send) -> None:
    happen(ANN)
    (folder / "week.html").write_text("of last week")
    with no_file_larger_than(1000):
        result = run("report", "--html", "week.html", *STORE)
    assert result.exit_code == 2
    assert "week.html: " in result.output
    assert (folder / "week.html").read_text() == "of last week"
    assert not list(folder.glob("*.new"))
