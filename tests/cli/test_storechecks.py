"""`doctor`: the store, the clock by it, the mail that waits in it, and who reads it."""

import re
import resource
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bouncekit._version import __released__
from bouncekit.cli.storechecks import clock
from bouncekit.policy.budget import Level, Stream
from bouncekit.stores.budgeting import KeptLevel
from bouncekit.stores.sqlite import SqliteStore
from bouncekit.testing import ScriptedServer
from tests.contract.queueing import begin, claim, enqueue, lease, mail_to, outcome
from tests.postgresql import new_schema

from .conftest import Run, checks, happened, level

Serve = Callable[..., ScriptedServer]

MINUTE = timedelta(minutes=1)
STORE = ("--store", "sqlite:///b.db")


def test_a_store_is_looked_at_and_left_as_it_is(run: Run, folder: Path) -> None:
    assert checks(run("doctor", "--json", *STORE).output)["store"]["found"].endswith(
        "not there yet, the first use makes it"
    )
    assert not (folder / "b.db").exists()
    run("suppressions", "add", "ada@example.com", *STORE)
    with closing(sqlite3.connect("b.db")) as before:
        tables = before.execute("SELECT name FROM sqlite_master ORDER BY name").fetchall()
    found = checks(run("doctor", "--json", *STORE).output)["store"]
    assert found["level"] == "ok"
    assert "sound, writable, schema " in found["found"]
    assert found["found"].endswith(", 1 suppression")
    with closing(sqlite3.connect("b.db")) as after:
        assert after.execute("SELECT name FROM sqlite_master ORDER BY name").fetchall() == tables


def test_a_store_in_postgresql_is_looked_at_written_to_and_worked_with(run: Run, folder: Path) -> None:
    with new_schema() as url:
        run("suppressions", "add", "ada@example.com", "--store", url)
        found = checks(run("doctor", "--json", "--store", url).output)["store"]
        assert found["level"] == "ok", found
        assert "sound, writable, PostgreSQL " in found["found"]
        assert found["found"].endswith(", 1 suppression")
        for words, answer in (
            (("why", "ada@example.com"), "suppression_added"),
            (("report", "--since", "7d"), "suppressions: 1 added"),
            (("queue", "list"), "the queue is empty"),
            (("store", "subscribers"), "no durable subscriber"),
            (("store", "prune"), "0 rows forgotten"),
            (("events", "--since", "1h"), "ada@example.com"),
            (("suppressions", "remove", "ada@example.com"), "ada@example.com"),
        ):
            assert answer in run(*words, "--store", url).output


@pytest.mark.parametrize(
    ("url", "found", "advice"),
    [
        ("sqlite:///b.db", "b.db: no SQLite database", "name another file, or move this one away"),
        ("sqlite:///no/such/folder/b.db", "cannot be made: No such file", "a folder no/such/folder that this user"),
        ("sqlite:///b.db/c.db", "cannot be made: Not a directory", "a folder b.db that this user may write in"),
        ("sqlite:////proc/b.db", "/proc/b.db: not there, and cannot be made", "a folder /proc that this user"),
        ("sqlite:///.", "a directory", "name a file in it"),
        ("postgresql://jo:canary@db/x?nonsense=1", "cannot be read", "'postgresql://user:password@host/database'"),
    ],
)
def test_a_store_that_cannot_be_used_is_a_failed_check_with_its_remedy(
    run: Run, folder: Path, url: str, found: str, advice: str
) -> None:
    (folder / "b.db").write_text("hello")
    check = checks(run("doctor", "--json", "--store", url).output)["store"]
    assert check["level"] == "fail"
    assert found in check["found"]
    assert advice in check["advice"]
    assert "canary" not in str(check)


def test_a_store_of_a_newer_bouncekit_and_a_damaged_one_are_told_apart(run: Run, folder: Path) -> None:
    run("suppressions", "add", "ada@example.com", *STORE)
    with closing(sqlite3.connect("b.db")) as connection:
        connection.execute("PRAGMA user_version = 99")
    newer = checks(run("doctor", "--json", *STORE).output)["store"]
    assert newer["found"].endswith("written by a newer bouncekit (schema 99, this one knows up to 1)")
    assert (newer["level"], newer["advice"]) == ("fail", "upgrade bouncekit")
    with closing(sqlite3.connect("b.db")) as connection:
        connection.execute("PRAGMA user_version = 1")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = bytearray((folder / "b.db").read_bytes())
    content[5000:9000] = b"\xff" * 4000
    (folder / "b.db").write_bytes(content)
    damaged = checks(run("doctor", "--json", *STORE).output)["store"]
    assert (damaged["level"], "damaged" in damaged["found"]) == ("fail", True)
    assert "restore a backup" in damaged["advice"]


@pytest.mark.parametrize("mode", ["NORMAL", "EXCLUSIVE"])
def test_a_store_that_somebody_has_locked_is_a_failed_check(
    run: Run, folder: Path, hold: Callable[..., None], mode: str
) -> None:
    SqliteStore("b.db").close()
    hold(folder / "b.db", mode)
    found = checks(run("doctor", "--json", *STORE).output)
    assert found["store"]["level"] == "fail"
    assert "locked by another process for more than 3 s" in found["store"]["found"]
    assert "fuser" in found["store"]["advice"]
    assert found["clock"]["level"] == "ok"


def test_a_clock_that_was_set_back_is_seen_by_the_newest_event(run: Run, folder: Path, now: datetime) -> None:
    with SqliteStore("b.db") as store:
        store.tell([happened(now + timedelta(days=30)), happened(now)])
    check = checks(run("doctor", "--json", *STORE).output)["clock"]
    assert check["level"] == "fail"
    assert check["found"].endswith(": it was set back")
    assert "timedatectl set-ntp true" in check["advice"]


def test_an_attempt_that_is_open_shows_a_clock_that_was_set_back_too(run: Run, folder: Path, now: datetime) -> None:
    with SqliteStore("b.db") as store:
        begin(store, mail_to("ada@example.com"), at=now + timedelta(days=30))
    assert level(run, "clock", *STORE) == "fail"


def test_a_clock_is_right_by_two_minutes_and_never_before_the_release(now: datetime) -> None:
    released = datetime.fromisoformat(__released__).replace(tzinfo=UTC)
    assert released <= now
    assert clock(released - timedelta(seconds=1), None).level == "fail"
    assert "the machine has no time" in clock(datetime(1970, 1, 1, tzinfo=UTC), None).found
    assert clock(now, now + timedelta(seconds=119)).level == "ok"
    assert clock(now, now + timedelta(seconds=121)).level == "fail"


def test_a_store_that_cannot_be_written_is_a_failed_check(run: Run, folder: Path) -> None:
    """A limit on the size of files stands for a disk that takes no more; root is bound by it, too."""
    run("suppressions", "add", "ada@example.com", *STORE)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        assert level(run, "store", *STORE) == "fail"
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def queue_checks(run: Run, *options: str) -> dict[str, dict[str, Any]]:
    return checks(run("doctor", "--json", *STORE, *options).output)


def test_an_empty_queue_is_no_line(run: Run, folder: Path) -> None:
    SqliteStore("b.db").close()
    assert not {"queue", "worker"} & queue_checks(run).keys()


def test_mail_that_is_due_and_that_nobody_takes_is_a_failed_check(run: Run, folder: Path, now: datetime) -> None:
    with SqliteStore("b.db") as store:
        enqueue(store, "a@example.com", "b@example.com", due_at=now - 20 * MINUTE)
        enqueue(store, "c@example.com", due_at=now + 20 * MINUTE)
    found = queue_checks(run)
    assert (found["queue"]["level"], found["worker"]["level"]) == ("ok", "fail")
    assert re.fullmatch(
        r"none: 2 recipients due, the oldest for 20m( \d+s)?, and nobody sends", found["worker"]["found"]
    )
    assert "start bouncekit worker" in found["worker"]["advice"]


def test_mail_that_became_due_just_now_is_no_trouble(run: Run, folder: Path, now: datetime) -> None:
    with SqliteStore("b.db") as store:
        enqueue(store, "a@example.com", due_at=now - 2 * MINUTE)
    assert queue_checks(run)["worker"]["level"] == "ok"


def test_a_worker_that_is_behind_is_there(run: Run, folder: Path, now: datetime) -> None:
    with SqliteStore("b.db") as store:
        enqueue(store, "a@example.com", due_at=now - 20 * MINUTE)
        claim(store, now=now)
        enqueue(store, "b@example.com", due_at=now - 19 * MINUTE)
    found = queue_checks(run)["worker"]
    assert (found["level"], found["found"][:5]) == ("warn", "slow:")
    assert "--concurrency" in found["advice"]


def test_held_mail_and_abandoned_attempts_are_to_be_looked_at(run: Run, folder: Path, now: datetime) -> None:
    with SqliteStore("b.db") as store:
        held, died = (enqueue(store, f"{name}@example.com", due_at=now - MINUTE) for name in ("held", "died"))
        (taken, also) = claim(store, now=now - MINUTE)
        assert (taken.id, also.id) == (held.id, died.id)
        store.record(outcome(taken, begin(store, taken, at=now), held=["held@example.com"]))
        begin(store, also, until=lease(also.lease or "", now=now - 30 * MINUTE), at=now - 30 * MINUTE)
    found = queue_checks(run)
    assert found["held mail"]["level"] == found["abandoned mail"]["level"] == "warn"
    assert found["held mail"]["found"] == "1 recipient wait until somebody releases them"
    assert "queue retry" in found["held mail"]["advice"]
    assert found["abandoned mail"]["found"].startswith("1 recipient of attempts whose process died")
    assert "start bouncekit worker" in found["abandoned mail"]["advice"]


def test_mail_for_a_relay_that_is_not_configured_is_a_failed_check(
    run: Run, folder: Path, serve: Serve, now: datetime
) -> None:
    with SqliteStore("b.db") as store:
        enqueue(store, "a@example.com", "b@example.com", relay="bulk", due_at=now - 20 * MINUTE)
    unknown = queue_checks(run)
    assert (unknown["relay bulk"]["level"], unknown["worker"]["level"]) == ("warn", "fail")
    assert "--app package.module:postmaster" in unknown["relay bulk"]["advice"]
    (folder / "bouncekit.toml").write_text(f'[relays]\nmain = "{serve().url}"\n')
    known = queue_checks(run)
    assert known["relay bulk"]["level"] == "fail"
    assert known["relay bulk"]["found"] == "not configured, and 2 recipients wait for it"
    assert "worker" not in known, "none would help"


def test_a_durable_subscriber_that_is_gone_is_to_be_looked_at(run: Run, folder: Path, now: datetime) -> None:
    with SqliteStore("b.db") as store:
        store.tell([happened(now - timedelta(days=9)) for _ in range(3)])
        for name, done in (("crm", 0), ("sales", 3)):
            at = now - timedelta(days=8)
            store.claim_cursor(name, owner="a", now=at, until=at)
            store.move_cursor(name, owner="a", sequence=done, now=at, until=at)
    found = queue_checks(run)
    assert found["subscriber crm"]["level"] == "warn"
    assert re.fullmatch(r"has not read for 8d( \d+h)?; 3 events wait", found["subscriber crm"]["found"])
    assert found["subscriber crm"]["advice"].endswith("bouncekit store forget crm")
    assert "subscriber sales" not in found


def test_subscribers_that_read_are_named(run: Run, folder: Path, now: datetime) -> None:
    with SqliteStore("b.db") as store:
        store.tell([happened(now - timedelta(days=9))])
        store.claim_cursor("crm", owner="a", now=now, until=now + MINUTE)
        store.move_cursor("crm", owner="a", sequence=1, now=now, until=now + MINUTE)
    assert queue_checks(run)["subscribers"]["found"] == "crm; at most 0 events wait"


def test_a_stream_whose_budget_is_used_up_is_to_be_looked_at(run: Run, folder: Path, now: datetime) -> None:
    with SqliteStore("b.db") as store:
        store.swap_level(Stream("", "news"), None, KeptLevel(Level.STOPPED, now, "t1"))
    found = queue_checks(run)["stream news"]
    assert found["level"] == "warn"
    assert found["found"].startswith("is stopped since 20")
    assert "bouncekit budget resume" in found["advice"]
