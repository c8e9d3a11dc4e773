"""`sinks`: how far each has come, what is sent again, what goes on; and what `doctor` says about them."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bouncekit.desk.forwarding import cursor_of
from bouncekit.stores.cursors import Trouble
from bouncekit.stores.sqlite import SqliteStore
from tests.sinks.receiver import waited

from .conftest import ROOT, Run, checks, happened

STORE = ("--store", "sqlite:///b.db")
DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)


def tell(store: SqliteStore, now: datetime, *ago: timedelta) -> list[str]:
    told = [happened(now - one) for one in ago]
    store.tell(told)
    return [event.id for event in told]


def place(
    store: SqliteStore, name: str, sequence: int, at: datetime, error: str = "", parked: bool = False, since: Any = None
) -> None:
    cursor = cursor_of(name)
    store.claim_cursor(cursor, owner="a", now=at, until=at + MINUTE)
    if sequence:
        store.move_cursor(cursor, owner="a", sequence=sequence, now=at, until=at + MINUTE)
    if error:
        trouble = Trouble(failures=7, since=since or at, error=error, next_try_at=None if parked else at + HOUR)
        store.note_trouble(cursor, trouble, owner="a")


def statuses(run: Run, *options: str) -> tuple[int, dict[str, dict[str, Any]]]:
    done = run("sinks", "status", "--json", *STORE, *options)
    return done.exit_code, {one["sink"]: one for one in map(json.loads, done.output.splitlines())}


def test_each_sink_is_shown_with_what_waits_for_it_and_why(run: Run, store: SqliteStore, now: datetime) -> None:
    tell(store, now, 2 * DAY, DAY, MINUTE)
    place(store, "crm", 3, now)
    place(store, "old", 1, now - DAY, "410 Gone", parked=True)
    place(store, "slow", 2, now, "503 Service Unavailable")
    code, found = statuses(run)
    assert code == 1
    assert {name: (one["standing"], one["unread"]) for name, one in found.items()} == {
        "crm": ("ok", 0),
        "old": ("parked", 2),
        "slow": ("failing", 1),
    }
    assert (found["old"]["error"], found["old"]["failures"], found["old"]["next_try_at"]) == ("410 Gone", 7, None)
    table = run("sinks", "status", *STORE).output
    assert "410 Gone" in table
    assert "parked" in table


@pytest.mark.parametrize(
    ("since", "unread_for", "code"), [(MINUTE, MINUTE, 0), (HOUR, MINUTE, 1), (None, HOUR, 1), (None, MINUTE, 0)]
)
def test_the_exit_code_says_whether_one_is_stuck(
    run: Run, store: SqliteStore, now: datetime, since: timedelta | None, unread_for: timedelta, code: int
) -> None:
    tell(store, now, DAY, unread_for)
    place(store, "crm", 1, now - DAY)
    if since is not None:
        place(store, "crm", 0, now, "503", since=now - since)
    assert statuses(run)[0] == code


def test_a_backlog_that_is_being_sent_is_not_stuck(run: Run, store: SqliteStore, now: datetime) -> None:
    tell(store, now, DAY, DAY, DAY)
    place(store, "crm", 1, now)
    code, found = statuses(run)
    assert (code, found["crm"]["standing"], found["crm"]["unread"]) == (0, "ok", 2)


def test_a_sink_of_the_configuration_that_never_ran_is_new(run: Run, store: SqliteStore, folder: Path) -> None:
    (folder / "bouncekit.toml").write_text('[sinks.crm]\nurl = "https://crm.example.com/"\nsecret_env = "NOWHERE"\n')
    code, found = statuses(run)
    assert (code, found["crm"]["standing"]) == (0, "new")


def test_without_any_that_is_said(run: Run, store: SqliteStore) -> None:
    assert run("sinks", "status", *STORE).output.startswith("no sinks")


def test_events_are_sent_again_from_a_number_or_a_time_on(run: Run, store: SqliteStore, now: datetime) -> None:
    tell(store, now, 3 * DAY, 2 * DAY, HOUR)
    place(store, "crm", 3, now)
    assert json.loads(run("sinks", "replay", "crm", "--from", 3, "--json", *STORE).output)["events"] == 1
    assert store.read_cursor(cursor_of("crm")) == 2
    assert "reads 1 event again, from 2 on" in run("sinks", "replay", "crm", "--since", "50h", *STORE).output
    assert store.read_cursor(cursor_of("crm")) == 1
    run("sinks", "replay", "crm", "--since", "1h", *STORE)
    assert store.read_cursor(cursor_of("crm")) == 1, "never forward"


def test_a_replay_never_skips_and_says_from_where(run: Run, store: SqliteStore, now: datetime) -> None:
    tell(store, now, DAY, DAY)
    place(store, "crm", 1, now)
    assert run("sinks", "replay", "crm", "--from", 9, *STORE).exit_code == 2
    assert run("sinks", "replay", "crm", *STORE).exit_code == 2
    assert run("sinks", "replay", "crm", "--from", 1, "--since", "1h", *STORE).exit_code == 2
    assert run("sinks", "replay", "other", "--from", 1, *STORE).exit_code == 1
    assert store.read_cursor(cursor_of("crm")) == 1


def test_a_parked_sink_goes_on_where_it_stood(run: Run, store: SqliteStore, now: datetime) -> None:
    tell(store, now, DAY, DAY)
    place(store, "crm", 1, now, "410 Gone", parked=True)
    assert run("sinks", "enable", "crm", *STORE).output == "sink crm is tried again\n"
    assert store.trouble_of(cursor_of("crm")) is None
    assert store.read_cursor(cursor_of("crm")) == 1
    assert run("sinks", "enable", "other", *STORE).exit_code == 1


def test_the_event_at_which_it_stands_can_be_passed_over(run: Run, store: SqliteStore, now: datetime) -> None:
    told = tell(store, now, DAY, DAY, DAY)
    place(store, "crm", 1, now, "400 Bad Request")
    assert json.loads(run("sinks", "enable", "crm", "--skip", "--json", *STORE).output)["skipped"] == told[1]
    assert store.read_cursor(cursor_of("crm")) == 2


def test_a_secret_is_one_that_a_webhook_takes(run: Run) -> None:
    pytest.importorskip("standardwebhooks", reason="python -m pip install 'bouncekit[webhook]'")
    from bouncekit.sinks.webhook import Webhook

    first, second = (run("sinks", "secret").output.strip() for _ in range(2))
    assert first != second
    Webhook("https://crm.example.com/", secret=[first, second])


# -- doctor


def test_doctor_says_what_to_do_about_a_sink_that_is_stuck(run: Run, store: SqliteStore, now: datetime) -> None:
    tell(store, now, DAY, DAY)
    place(store, "fine", 2, now)
    place(store, "gone", 1, now, "410 Gone", parked=True)
    place(store, "slow", 1, now, "503", since=now - HOUR)
    place(store, "idle", 1, now - DAY)
    done = run("doctor", "--json", *STORE)
    found = checks(done.output)
    levels = {name: found[f"events to {name}"]["level"] for name in ("fine", "gone", "slow", "idle")}
    assert levels == {"fine": "ok", "gone": "fail", "slow": "warn", "idle": "warn"}
    assert found["events to gone"]["advice"] == "mend it, then: bouncekit sinks enable gone"
    assert "410 Gone" in found["events to gone"]["found"]
    assert "bouncekit worker" in found["events to idle"]["advice"]
    assert done.exit_code == 1
    assert "subscriber sink:gone" not in found


SECRET = "whsec_" + "QUFB" * 8


def test_doctor_says_what_is_wrong_with_a_sink_s_configuration_and_shows_no_secret(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("standardwebhooks", reason="python -m pip install 'bouncekit[webhook]'")
    (folder / "bouncekit.toml").write_text(
        '[sinks.good]\nurl = "https://crm.example.com/t0ken"\nsecret_env = "CRM_SECRET"\n'
        '[sinks.inside]\nurl = "https://169.254.169.254/t0ken"\nsecret_env = "CRM_SECRET"\n'
        '[sinks.unset]\nurl = "https://crm.example.com/t0ken"\nsecret_env = "NOWHERE"\n'
        '[sinks.typo]\nkind = "webhok"\nurl = "https://crm.example.com/t0ken"\n'
        '[sinks.option]\nkind = "jsonlines"\ntarget = "e.jsonl"\nmax_byte = 5\n'
    )
    monkeypatch.setenv("CRM_SECRET", SECRET)
    done = run("doctor", "--json")
    found = checks(done.output)
    levels = {name: found[f"sink {name}"]["level"] for name in ("good", "inside", "unset", "typo", "option")}
    assert levels == {"good": "ok", "inside": "fail", "unset": "fail", "typo": "fail", "option": "fail"}
    assert "NOWHERE" in found["sink unset"]["found"] + found["sink unset"]["advice"]
    assert "max_byte" in found["sink option"]["found"]
    for canary in (SECRET, SECRET[6:], "t0ken"):
        assert canary not in done.output


# -- worker


def test_a_worker_forwards_to_the_sinks_of_the_configuration(
    store: SqliteStore, folder: Path, now: datetime, process: Callable[..., Any]
) -> None:
    (folder / "bouncekit.toml").write_text(
        'store = "sqlite:///b.db"\n[sinks.file]\nkind = "jsonlines"\ntarget = "out/events.jsonl"\n'
    )
    (folder / "out").mkdir()
    told = tell(store, now, DAY, HOUR)
    command = [sys.executable, "-m", "bouncekit", "worker"]
    with subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    ) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "bouncekit worker: events to file\n"
        lines = folder / "out" / "events.jsonl"
        assert waited(lambda: lines.exists() and len(lines.read_text().splitlines()) == 2)
        worker.terminate()
        assert worker.wait(30) == 0
    assert [json.loads(line)["id"] for line in lines.read_text().splitlines()] == told
    assert store.read_cursor(cursor_of("file")) == 2
