"""`events`: what happened, in order, and on as it happens."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bouncekit.history.telling import said
from bouncekit.stores.sqlite import SqliteStore
from tests.building import ANN, BOB, CY

from .conftest import ROOT, Run, Send

STORE = ("--store", "sqlite:///b.db")
FULL = "552 5.2.2 Mailbox is full \x1b[2J"
HOUR = timedelta(hours=1)

Follow = Callable[..., Any]


def told(run: Run, *options: object) -> list[tuple[str, str]]:
    lines = run("events", "--json", *options, *STORE).output.splitlines()
    return [(event["type"], event["subject"]) for event in map(json.loads, lines)]


def test_events_are_a_line_each_in_the_order_in_which_they_happened(run: Run, happen: Send) -> None:
    happen(ANN)
    happen(BOB, answers={BOB: FULL})
    result = run("events", *STORE)
    assert result.exit_code == 0
    lines = [re.split(" {2,}", line) for line in result.output.splitlines()]
    assert [line[1:3] for line in lines] == [["delivered", ANN], ["failed", BOB], ["suppression_added", BOB]]
    assert lines[1][3:] == [r"552 5.2.2 Mailbox is full \x1b[2J", "full (test.yaml:full)"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ", lines[0][0])


def test_what_was_said_has_what_follows_from_it() -> None:
    mass = {"provider": "google.com", "refusals": 20, "answers": 65, "reply": "550 5.1.1 No such user"}
    assert said(mass) == "20 of 65 answers of google.com: 550 5.1.1 No such user"
    stalled = {"due": 3, "oldest_due_at": "2026-11-25T03:56:38.037Z"}
    assert said(stalled) == "3 due, the oldest since 2026-11-25 03:56:38Z"
    assert said({"reply": "452 4.2.2 Full", "retry_at": "2026-11-25T03:56:38.037Z"}) == (
        "452 4.2.2 Full; next try at 2026-11-25 03:56:38Z"
    )
    paused = {"lane": "provider yahoo", "until": "2026-11-25T03:56:38.037Z", "why": "421 4.7.0 [TSS04]"}
    assert said(paused) == "provider yahoo until 2026-11-25 03:56:38Z: 421 4.7.0 [TSS04]"
    assert said({"lane": "relay main", "per_minute": 7.5, "why": ""}) == "relay main, 7.5 a minute"
    assert said({"remote_mta": "mx.example.com", "port": 25}) == "mx.example.com, port 25"
    assert said({"reply": "250 Ok", "action": "delivered", "possible_duplicate": True}) == "250 Ok; maybe a second copy"


def test_json_is_the_events_themselves(run: Run, store: SqliteStore, happen: Send) -> None:
    happen(ANN, BOB, answers={BOB: FULL})
    lines = run("events", "--json", *STORE).output.splitlines()
    assert [json.loads(line) for line in lines] == [event for _, event in store.events()]


def test_a_store_without_events_prints_nothing(run: Run, store: SqliteStore) -> None:
    result = run("events", *STORE)
    assert (result.exit_code, result.output) == (0, "")
    assert run("events", "--limit", 5, *STORE).output == ""


def test_events_can_be_narrowed(run: Run, happen: Send) -> None:
    happen(ANN, ago=3 * HOUR)
    happen(BOB, ago=HOUR / 2, answers={BOB: FULL})
    happen(ANN, tenant="acme")
    assert told(run, "--type", "failed", "--type", "delivered") == [
        ("delivered", ANN),
        ("failed", BOB),
        ("delivered", ANN),
    ]
    assert told(run, "--since", "2h") == [("failed", BOB), ("suppression_added", BOB), ("delivered", ANN)]
    assert told(run, "--since", "2026-01-31") == told(run) == told(run, "--since", "0001-01-01T00:00Z")
    assert told(run, "--tenant", "acme") == [("delivered", ANN)]
    assert told(run, "--recipient", BOB.upper()) == [("failed", BOB), ("suppression_added", BOB)]
    assert told(run, "--recipient", ANN, "--tenant", "acme") == [("delivered", ANN)]
    assert told(run, "--recipient", BOB, "--type", "failed", "--since", "1m") == []


def test_limit_keeps_the_newest_in_their_order(run: Run, happen: Send) -> None:
    for address in (ANN, BOB, CY):
        happen(address)
    assert told(run, "--limit", 2) == [("delivered", BOB), ("delivered", CY)]
    assert told(run, "--limit", 9) == [("delivered", ANN), ("delivered", BOB), ("delivered", CY)]
    assert told(run, "--recipient", ANN, "--limit", 1) == [("delivered", ANN)]
    assert told(run, "--limit", 1, "--since", "1h", "--type", "delivered") == [("delivered", CY)]


@pytest.mark.parametrize("limit", [1, 20, 999, 1000, 1001, 2500])
def test_pages_and_gaps_lose_nothing(run: Run, store: SqliteStore, happen: Send, limit: int) -> None:
    happen(ANN)
    (first,) = store.events()
    with store._database.writing() as connection:
        connection.executemany(
            "INSERT INTO outbox (sequence, id, type, at, tenant, event) VALUES (?, ?, 'delivered', 0, '', ?)",
            [(3 * n, f"e{n}", json.dumps({**first[1], "subject": f"{n}@x.example"})) for n in range(1, 2001)],
        )
    every = [ANN, *(f"{n}@x.example" for n in range(1, 2001))]
    assert [subject for _, subject in told(run)] == every
    assert [subject for _, subject in told(run, "--limit", limit)] == every[-limit:]


@pytest.mark.parametrize("options", [("--type", "bounced"), ("--since", "soon"), ("--recipient", "jo@@x>")])
def test_wrong_use_is_exit_code_2(run: Run, store: SqliteStore, options: tuple[str, ...]) -> None:
    assert run("events", *options, *STORE).exit_code == 2


def test_without_a_store_is_exit_code_2(run: Run, folder: Path) -> None:
    assert run("events").stderr.startswith("bouncekit: error: no store, so nothing is remembered")
    assert run("events", *STORE).exit_code == 2
    assert not (folder / "b.db").exists()


# -- follow


@pytest.fixture
def follow(folder: Path, store: SqliteStore) -> Follow:
    """`events --follow` in a process of its own."""

    @contextmanager
    def start(*options: str) -> Iterator["subprocess.Popen[str]"]:
        command = [sys.executable, "-m", "bouncekit", "events", "--follow", "--json", *options, *STORE]
        with subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    return start


def read(process: "subprocess.Popen[str]", number: int) -> list[str]:
    assert process.stdout
    return [json.loads(process.stdout.readline())["subject"] for _ in range(number)]


def test_follow_shows_the_last_ones_and_goes_on_until_ctrl_c(follow: Follow, happen: Send) -> None:
    for number in range(25):
        happen(f"{number}@example.com")
    with follow() as process:
        assert read(process, 20) == [f"{number}@example.com" for number in range(5, 25)]
        happen(ANN)
        happen(BOB)
        assert read(process, 2) == [ANN, BOB]
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (out, err.strip(), process.returncode) == ("", "", 130)


def test_follow_keeps_to_what_was_asked_for(follow: Follow, happen: Send) -> None:
    happen(ANN)
    with follow("--recipient", BOB, "--type", "delivered") as process:
        happen(ANN)
        happen(BOB)
        happen(CY)
        happen(BOB)
        assert read(process, 2) == [BOB, BOB]


def test_follow_ends_quietly_when_its_reader_has_gone_also_while_nothing_happens(follow: Follow, happen: Send) -> None:
    happen(ANN)
    with follow() as process:
        assert read(process, 1) == [ANN]
        process.stdout.close()
        assert process.wait(timeout=30) == 1
        assert process.stderr.read() == ""


def test_follow_begins_where_since_says(follow: Follow, happen: Send) -> None:
    happen(ANN, ago=3 * HOUR)
    happen(BOB)
    with follow("--since", "1h") as process:
        assert read(process, 1) == [BOB]
