"""What a store holds after months of use: as much as the policy keeps, and no more."""

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from bouncekit.delivery.events import Event
from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.testing import ManualClock, ScriptedServer

from .conftest import message

Serve = Callable[..., ScriptedServer]
Make = Callable[..., Postmaster]

DAY = timedelta(days=1)
TABLES = ("messages", "recipients", "attempts", "outcomes", "outbox")


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "short.yaml"
    path.write_text("policy: 1\nextends: default\nkeep: {messages: 3d, events: 7d}\n")
    return path


@pytest.fixture
def postmaster(make_postmaster: Make, serve: Serve, tmp_path: Path, policy: Path) -> Postmaster:
    server = serve({"RCPT": {"gone@example.com": ["550 5.1.1 No such user"] * 500}})
    store = f"sqlite:///{tmp_path / 'b.db'}"
    return make_postmaster(policy=policy, store=store, retry="queue", worker="external", relays={"main": server.url})


def use(postmaster: Postmaster, clock: ManualClock, days: int) -> None:
    """Send three messages a day, each to two recipients, one of whom does not exist."""
    worker = postmaster.worker()
    with postmaster.client("main") as client:
        for _ in range(days):
            for number in range(3):
                client.submit(message(f"r{number}@example.com", "gone@example.com"))
            worker.run_due()
            clock.move(DAY)


def counted(path: Path) -> dict[str, int]:
    with closing(sqlite3.connect(path)) as connection:
        return {table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in TABLES}


def test_a_store_in_use_for_months_stays_as_it_was_after_weeks(
    postmaster: Postmaster, clock: ManualClock, tmp_path: Path
) -> None:
    use(postmaster, clock, 14)
    weeks = counted(tmp_path / "b.db")
    use(postmaster, clock, 90)
    months = counted(tmp_path / "b.db")
    assert all(months[table] <= weeks[table] for table in TABLES), (weeks, months)
    assert months["messages"] == 3 * 3, "of three days"
    assert months["recipients"] == 0
    assert months["outcomes"] >= 2 * 3 * 7, "of a week"


def test_a_subscriber_that_is_gone_keeps_events_until_it_is_forgotten(
    postmaster: Postmaster, clock: ManualClock, tmp_path: Path
) -> None:
    store, now = postmaster.office.store, clock.now()
    store.claim_cursor("crm", owner="a process that ended", now=now, until=now)
    use(postmaster, clock, 14)
    (crm,) = store.cursors()
    assert crm.unread == counted(tmp_path / "b.db")["outbox"], "all there ever were"
    assert crm.unread_since == now
    assert store.drop_cursor("crm", now=clock.now())
    use(postmaster, clock, 1)
    assert counted(tmp_path / "b.db")["outbox"] < crm.unread / 1.5


def test_a_subscriber_that_reads_keeps_nothing(postmaster: Postmaster, clock: ManualClock, tmp_path: Path) -> None:
    heard: list[Event] = []
    postmaster.on("failed", durable="crm")(heard.append)
    use(postmaster, clock, 7)
    first = _settled(postmaster, tmp_path)
    use(postmaster, clock, 14)
    assert _settled(postmaster, tmp_path) <= first


def _settled(postmaster: Postmaster, folder: Path) -> int:
    """How many events there are once the subscriber has heard all, and the worker has tidied up."""
    outbox = postmaster.office.ledger.outbox
    while any(one.unread for one in postmaster.office.store.cursors()):
        outbox.read_all()
    postmaster.worker().tidy()
    return counted(folder / "b.db")["outbox"]


def test_a_worker_forgets_once_an_hour(postmaster: Postmaster, clock: ManualClock) -> None:
    use(postmaster, clock, 1)
    clock.move(9 * DAY)
    worker = postmaster.worker()
    assert worker.tidy() > 0
    use(postmaster, clock, 0)
    assert worker.tidy() == 0


YEAR = 365 * DAY


def test_a_clock_that_leaps_ahead_and_is_set_right_again_forgets_nothing(
    postmaster: Postmaster, clock: ManualClock, tmp_path: Path
) -> None:
    use(postmaster, clock, 2)
    worker, before = postmaster.worker(), counted(tmp_path / "b.db")
    worker.tidy()
    clock.move(YEAR)
    with postmaster.client("main") as client:
        client.submit(message("ada@example.com"))  # so that there is news of that time
    assert worker.tidy() == 0
    clock.move(timedelta(hours=3))
    assert worker.tidy() == 0
    clock.move(-YEAR)
    assert worker.tidy() == 0
    assert all(counted(tmp_path / "b.db")[table] >= before[table] for table in TABLES)
    use(postmaster, clock, 14)
    assert sum(worker.tidy() for _ in range(2) if clock.move(DAY) is None) > 0, "it goes on by the right time"


def test_a_clock_that_stays_ahead_is_believed_after_a_day(postmaster: Postmaster, clock: ManualClock) -> None:
    use(postmaster, clock, 1)
    worker = postmaster.worker()
    worker.tidy()
    clock.move(9 * DAY)
    assert worker.tidy() == 0
    clock.move(timedelta(hours=25))
    assert worker.tidy() > 0


def test_who_asks_only_once_a_week_is_not_put_off_for_ever(postmaster: Postmaster, clock: ManualClock) -> None:
    worker, gone = postmaster.worker(), 0
    for _ in range(4):
        use(postmaster, clock, 1)
        clock.move(8 * DAY)
        gone += worker.tidy()
    assert gone > 0


def test_a_process_that_starts_with_a_clock_far_ahead_forgets_by_the_newest_news(
    make_postmaster: Make, tmp_path: Path, clock: ManualClock
) -> None:
    path = tmp_path / "long.yaml"
    path.write_text("policy: 1\nextends: default\nkeep: {events: 60d}\n")
    postmaster = make_postmaster(
        policy=path,
        store=f"sqlite:///{tmp_path / 'c.db'}",
        retry="queue",
        worker="external",
        relays={"main": "smtp://127.0.0.1:1"},
    )
    with postmaster.client("main") as client:
        client.submit(message("ada@example.com"))
    events = counted(tmp_path / "c.db")["outbox"]
    clock.move(YEAR)
    postmaster.worker().tidy()
    assert counted(tmp_path / "c.db")["outbox"] == events


def test_a_dropped_message_is_kept_as_the_policy_says(postmaster: Postmaster, clock: ManualClock) -> None:
    with postmaster.client("main") as client:
        report = client.submit(message("ada@example.com"))
    assert report.delayed
    store = postmaster.office.store
    (queued,) = store.queued()
    store.drop(queued.message, None, at=clock.now(), keep=postmaster.policy.keep.messages)
    (kept,) = store.kept()
    assert kept.kept_until == clock.now() + 3 * DAY


def test_a_worker_s_threads_tidy_up_by_themselves(postmaster: Postmaster, clock: ManualClock, tmp_path: Path) -> None:
    use(postmaster, clock, 1)
    assert counted(tmp_path / "b.db")["messages"] == 3
    clock.move(9 * DAY)
    worker = postmaster.worker()
    worker.start()
    try:
        end = time.monotonic() + 20
        while counted(tmp_path / "b.db")["messages"] and time.monotonic() < end:
            time.sleep(0.02)
    finally:
        worker.stop()
    assert counted(tmp_path / "b.db")["messages"] == 0
