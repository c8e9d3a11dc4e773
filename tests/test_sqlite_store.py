"""The store in a SQLite file: what happens to the file, to its processes and on its disk.

What every store does stands in `contract`.
"""

import gc
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bouncekit.delivery.suppressionchange import Swap
from bouncekit.policy.suppression import Standing
from bouncekit.stores.sql import listingstatements, statements
from bouncekit.stores.sqlite import SqliteStore
from bouncekit.words.errors import (
    StoreBusy,
    StoreCorrupt,
    StoreError,
    StoreFull,
    StoreMoved,
    StoreReadOnly,
    StoreRefused,
)

from . import outages
from .building import ANN, BOB, CY, NOW, suppression
from .contract.stores import put, send, take

ROOT = Path(__file__).parents[1]
FULL = "552 5.2.2 Mailbox is full"
TABLES = {
    *("arrivals", "attempts", "audit", "budgets", "counters", "cursors", "flows"),
    *("messages", "outbox", "outcomes", "recipients", "strikes"),
}

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux only")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bounces.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    with SqliteStore(path, busy_seconds=0.05) as opened:
        yield opened


def rows(store: SqliteStore, statement: str) -> list[tuple[Any, ...]]:
    return store._database.read(statement)


def keys(store: SqliteStore) -> list[str]:
    return [one.key for one in store.suppressions()]


def python(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Another process, with the names that its code is likely to need."""
    head = (
        "import os, sys, threading\n"
        "from bouncekit.stores.sqlite import SqliteStore\n"
        "from tests.building import suppression\n"
        "import tests.contract.stores as contract\n"
        "from tests.contract.stores import put, send\n"
        "contract.new_id = lambda: os.urandom(16).hex()\n"
    )
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", head + code, *map(str, arguments)]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)


def finish(*processes: subprocess.Popen[str]) -> None:
    """Wait for processes that must end well."""
    for process in processes:
        process.communicate(timeout=60)
    assert [process.returncode for process in processes] == [0] * len(processes)


# -- the file


def test_what_was_remembered_is_there_after_a_restart(path: Path) -> None:
    with SqliteStore(path) as store:
        send(store, ANN, answers={ANN: FULL})
        before = (list(store.suppressions()), store.events(), store.history(ANN))
    with SqliteStore(path) as store:
        assert (list(store.suppressions()), store.events(), store.history(ANN)) == before


def test_threads_of_a_process_take_turns_to_write(path: Path) -> None:
    """SQLite would have whoever waits sleep, ever longer."""
    with SqliteStore(path, busy_seconds=30) as store:
        others = [threading.Thread(target=put, args=(store, suppression(one))) for one in (ANN, BOB)]
        with store._database.writing():
            for thread in others:
                thread.start()
            assert all(thread.is_alive() for thread in others)
        for thread in others:
            thread.join()
        assert [one.key for one in store.suppressions()] == [ANN, BOB]


def test_a_thread_that_does_not_end_its_turn_is_told_to_the_others(store: SqliteStore) -> None:
    failed: list[Exception] = []

    def write() -> None:
        try:
            put(store, suppression(ANN))
        except StoreBusy as error:
            failed.append(error)

    with store._database.writing():
        thread = threading.Thread(target=write)
        thread.start()
        thread.join()
    assert "locked by another connection of this process" in str(failed[0])
    put(store, suppression(ANN))


def test_every_commit_is_synced_to_disk(store: SqliteStore) -> None:
    assert rows(store, "PRAGMA synchronous") == [(2,)]  # FULL
    assert rows(store, "PRAGMA journal_mode") == [("wal",)]
    assert rows(store, "PRAGMA foreign_keys") == [(1,)]


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_only_the_owner_may_read_the_addresses(store: SqliteStore, path: Path) -> None:
    put(store, suppression(ANN))
    modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    assert modes == {"bounces.db": 0o600, "bounces.db-wal": 0o600, "bounces.db-shm": 0o600}


def test_the_first_version_has_all_tables_and_they_are_strict(store: SqliteStore) -> None:
    found = rows(store, "SELECT name, strict FROM pragma_table_list WHERE schema = 'main' AND name NOT LIKE 'sqlite%'")
    assert set(found) == {(name, 1) for name in TABLES | {"suppressions"}}
    assert rows(store, "PRAGMA foreign_key_check") == []


def test_opening_again_migrates_nothing(path: Path) -> None:
    def schema() -> list[tuple[Any, ...]]:
        with SqliteStore(path) as store:
            return rows(store, "SELECT * FROM sqlite_schema") + rows(store, "PRAGMA user_version")

    first = schema()
    assert first[-1] == (1,)
    assert schema() == first


@pytest.mark.parametrize(
    "statement",
    [
        statements.FIND % "?, ?",
        statements.STANDING,
        statements.LIST,
        statements.LEAVE,
        statements.CLAIM,
        statements.COUNT,
        statements.ALIKE,
        statements.DAYS,
        statements.CLEAR,
        statements.IS_TOLD,
        statements.HISTORY,
        statements.EVENTS,
        "SELECT * FROM outcomes WHERE at BETWEEN ? AND ?",
    ],
)
def test_no_statement_reads_a_whole_table_or_sorts_it(store: SqliteStore, statement: str) -> None:
    names = {"tenant", "key", "after_stream", "stream", "at", "needle", "page", "provider", "usual", "until"}
    values = dict.fromkeys(names) if ":" in statement else [None] * statement.count("?")
    plan = [step for *_, step in store._database.read(f"EXPLAIN QUERY PLAN {statement}", values)]
    assert plan
    assert not [step for step in plan if step.startswith("SCAN")]
    assert not [step for step in plan if "TEMP B-TREE" in step]


@pytest.mark.parametrize("statement", [listingstatements.HELD, listingstatements.HOLDINGS])
def test_what_the_guard_holds_is_counted_in_an_index_alone(store: SqliteStore, statement: str) -> None:
    asked = [None] * statement.count("?")
    steps = [step for *_, step in store._database.read(f"EXPLAIN QUERY PLAN {statement}", asked)]
    (entries,) = (step for step in steps if " suppressions " in step)
    assert "USING COVERING INDEX suppressions_held" in entries


def test_the_audit_keeps_who_changed_the_list_and_what_stood_there(store: SqliteStore) -> None:
    send(store, ANN, answers={ANN: FULL})
    put(store, suppression(ANN, standing=Standing.MANUAL))
    take(store, ANN)
    take(store, ANN)
    found = rows(
        store,
        "SELECT act, made_by, state_before ->> 'standing', state_after ->> 'standing', outbox.type"
        " FROM audit LEFT JOIN outbox ON outbox.id = audit.event_id ORDER BY audit.sequence",
    )
    assert found == [
        ("added", "rule full", None, "provisional", "suppression_added"),
        ("changed", "owner", "provisional", "manual", "suppression_added"),
        ("lifted", "owner", "manual", None, "suppression_lifted"),
    ]


def test_the_audit_says_what_the_guard_held_and_by_which_event(store: SqliteStore) -> None:
    sender = outages.Sender(store, lambda address, now: True, at_once=1)
    addresses, _ = outages.mailing("u", 21)
    sender.send(addresses, over=timedelta(minutes=5))
    found = rows(
        store,
        "SELECT act, made_by, state_after ->> 'standing', outbox.type, count(*)"
        " FROM audit LEFT JOIN outbox ON outbox.id = audit.event_id GROUP BY 1, 2, 3, 4 ORDER BY audit.sequence",
    )
    assert found == [
        ("added", "rule no-such-mailbox", "provisional", "suppression_added", 19),
        ("added", "rule no-such-mailbox", "held", "failed", 2),
        ("changed", "guard", "held", "guard_tripped", 19),
    ]


def test_processes_that_see_one_mass_hold_all_of_it_and_tell_it_once(path: Path) -> None:
    SqliteStore(path).close()
    code = """
from datetime import timedelta
from itertools import count
from tests.outages import Sender, mailing
addresses, _ = mailing(f"p{sys.argv[2]}-", 40)
numbers = count((int(sys.argv[2]) + 1) * 1_000_000)
sender = Sender(SqliteStore(sys.argv[1]), lambda address, now: True, at_once=4, numbers=numbers)
sender.send(addresses, over=timedelta(minutes=5))
"""
    finish(*(python(code, path, number) for number in range(3)))
    with SqliteStore(path) as store:
        assert rows(store, "SELECT count(*) FROM outbox WHERE type = 'guard_tripped'") == [(1,)]
        assert rows(store, "SELECT standing, count(*) FROM suppressions GROUP BY 1") == [("held", 120)]


def test_every_outcome_is_a_row_that_can_be_counted(store: SqliteStore) -> None:
    send(store, ANN, BOB, CY, answers={ANN: FULL, BOB: "451 4.3.0 Later"}, tenant="a", stream="news")
    found = rows(store, "SELECT recipient, action, category, scope, stage, code, enhanced, tenant FROM outcomes")
    assert found == [
        (ANN, "failed", "mailbox_full", "recipient", "RCPT", 552, "5.2.2", "a"),
        (BOB, "delayed", "system_error", "route", "RCPT", 451, "4.3.0", "a"),
        (CY, "delivered", None, None, "END_OF_DATA", 250, "2.0.0", "a"),
    ]


# -- what is no store of ours is left as it is


def foreign(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("CREATE TABLE users (name); INSERT INTO users VALUES ('jo')")


def foreign_in_wal(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("PRAGMA journal_mode = WAL; CREATE TABLE users (name)")


def newer(path: Path) -> None:
    SqliteStore(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")


def damaged(path: Path) -> None:
    with SqliteStore(path) as store:
        put(store, *(suppression(f"r{number}@example.com") for number in range(300)))
    with path.open("r+b") as file:
        for page in (20, 21, 22):
            file.seek(4096 * page)
            file.write(b"\xa5" * 4096)


def cut_off(path: Path) -> None:
    with SqliteStore(path) as store:
        put(store, *(suppression(f"r{number}@example.com") for number in range(300)))
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 8192 * 4096)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (foreign, "no bouncekit store"),
        (foreign_in_wal, "no bouncekit store"),
        (newer, "schema 99"),
        (damaged, "damaged"),
        (cut_off, "damaged"),
        (lambda path: path.write_bytes(b""), "an empty file"),
        (lambda path: path.write_text("root:x:0:0:root:/root:/bin/bash\n" * 99), "no SQLite database"),
    ],
    ids=["foreign", "foreign in WAL", "newer", "damaged", "cut off", "empty", "text"],
)
def test_what_is_no_store_is_refused_and_left_as_it_is(path: Path, make: Callable[[Path], object], why: str) -> None:
    make(path)
    before = path.read_bytes()
    with pytest.raises(StoreCorrupt, match=why) as caught:
        SqliteStore(path)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_log_that_is_just_being_written_back_is_no_damage(store: SqliteStore, path: Path) -> None:
    """The first page is there and says how long the file will be; the others are still in the log only."""
    put(store, *(suppression(f"r{number}@example.com") for number in range(100)))
    whole = path.with_name("whole.db")
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(whole)) as target:
        source.backup(target)
    code = "open(sys.argv[1], 'r+b').write(open(sys.argv[2], 'rb').read(4096)); SqliteStore(sys.argv[1]).check()"
    finish(python(code, path, whole))
    assert len(keys(store)) == 100


def test_damage_under_an_open_store_is_found_by_a_check(path: Path) -> None:
    with SqliteStore(path) as store:
        put(store, *(suppression(f"r{number}@example.com") for number in range(300)))
    with SqliteStore(path) as store:
        store.check()
        # From outside: who opens and closes the file in this process drops the locks that SQLite holds on it.
        finish(python("f = open(sys.argv[1], 'r+b'); f.seek(4096 * 20); f.write(b'x' * 8192)", path))
        store._database._mine().shut()
        with pytest.raises(StoreCorrupt, match="damaged"):
            store.check()


# -- what happens to the place of the file


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"missing/bounces.db: .*directory must exist"):
        SqliteStore(tmp_path / "missing" / "bounces.db")


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="a directory; name a file in it"):
        SqliteStore(tmp_path)


@linux
def test_a_place_where_nobody_may_write_is_named() -> None:
    with pytest.raises(StoreError, match=r"/proc/bounces.db: .*writable for this user") as caught:
        SqliteStore("/proc/bounces.db")
    assert not isinstance(caught.value, StoreCorrupt)


@linux
def test_a_read_only_file_is_refused_when_it_is_opened(path: Path) -> None:
    SqliteStore(path).close()
    immutable = shutil.which("chattr") and subprocess.run(["chattr", "+i", path], check=False).returncode == 0
    if not immutable:
        path.chmod(0o400)
    try:
        if os.access(path, os.W_OK):
            pytest.skip("nothing is read-only for this user here")
        with pytest.raises(StoreReadOnly, match=r"bounces.db: read-only; let this user write"):
            SqliteStore(path)
    finally:
        if immutable:
            subprocess.run(["chattr", "-i", path], check=True)


@pytest.mark.parametrize("use", [lambda store: store.suppression(ANN), lambda store: put(store, suppression(BOB))])
def test_a_file_that_was_moved_away_is_missed_and_not_made_anew(
    store: SqliteStore, path: Path, use: Callable[[SqliteStore], object]
) -> None:
    put(store, suppression(ANN))
    path.rename(path.with_name("elsewhere.db"))
    for _ in range(2):
        with pytest.raises(StoreMoved, match="moved, deleted or replaced"):
            use(store)
    assert not path.exists()
    path.with_name("elsewhere.db").rename(path)
    use(store)
    assert ANN in keys(store)


def test_a_file_that_was_replaced_is_not_touched(store: SqliteStore, path: Path) -> None:
    """What is in the log of the old one would be written into the new one."""
    put(store, suppression(ANN))
    other, old = path.with_name("other.db"), path.with_name("old.db")
    with SqliteStore(other) as backup:
        put(backup, suppression(BOB))
    path.rename(old)
    other.rename(path)
    before = path.read_bytes()
    for _ in range(2):
        with pytest.raises(StoreMoved, match=r"replaced .* remove the -wal and -shm"):
            put(store, suppression(CY))
    assert path.read_bytes() == before
    old.rename(path)
    assert keys(store) == [ANN]


def test_a_log_whose_file_is_gone_is_not_taken_for_that_of_a_new_one(store: SqliteStore, path: Path) -> None:
    put(store, suppression(ANN))
    path.unlink()
    with pytest.raises(StoreMoved, match="its -wal is still there"):
        SqliteStore(path)
    assert not path.exists()


def test_a_lost_write_ahead_log_is_noticed_and_what_was_in_it_is_rescued(store: SqliteStore, path: Path) -> None:
    """It is still open here, also by a thread that is idle; nobody begins another one before a restart."""
    put(store, suppression(ANN))
    asked, may_end = threading.Event(), threading.Event()

    def be_idle() -> None:
        store.suppression(ANN)
        asked.set()
        may_end.wait(10)

    thread = threading.Thread(target=be_idle)
    thread.start()
    asked.wait(10)
    path.with_name("bounces.db-wal").unlink()
    for _ in range(2):
        with pytest.raises(StoreMoved, match="its -wal was moved, deleted or replaced"):
            put(store, suppression(BOB))
    may_end.set()
    thread.join()
    with SqliteStore(path) as again:
        assert keys(again) == [ANN]


@pytest.mark.parametrize("value", ["martian", object()], ids=["a value", "a type"])
def test_what_contradicts_the_tables_is_told_from_a_store_that_is_away(store: SqliteStore, value: object) -> None:
    put(store, suppression(ANN))
    with pytest.raises(StoreRefused, match="contradicts the store's rules"), store._database.writing() as writer:
        writer.execute("UPDATE suppressions SET standing = ?", (value,))
    assert keys(store) == [ANN]


def test_a_link_leads_to_the_file(store: SqliteStore, path: Path) -> None:
    put(store, suppression(ANN))
    link = path.with_name("link.db")
    link.symlink_to(path)
    with SqliteStore(link) as other:
        assert other.path == store.path
        assert keys(other) == [ANN]


# -- what happens to its disk and its lock


def test_a_lock_that_another_holds_too_long_is_an_error_and_reading_goes_on(store: SqliteStore, path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreBusy, match=r"bounces.db: locked by another process for more than 0.05 s"):
            put(store, suppression(ANN))
        assert keys(store) == []
        other.execute("ROLLBACK")
        put(store, suppression(ANN))
    assert keys(store) == [ANN]


def test_whoever_waits_for_a_lock_has_it_as_soon_as_it_is_free(path: Path) -> None:
    """SQLite itself would look a quarter of a second later, and then again a tenth of a second later."""

    def late(store: SqliteStore) -> float:
        freed_at = list[float]()

        def free() -> None:
            freed_at.append(time.monotonic())
            other.execute("ROLLBACK")

        with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
            other.execute("BEGIN IMMEDIATE")
            timer = threading.Timer(0.27, free)
            timer.start()
            put(store, suppression(ANN))
            took = time.monotonic() - freed_at[0]
            timer.join()
        return took

    with SqliteStore(path) as store:
        assert min(late(store) for _ in range(5)) < 0.04


@pytest.mark.parametrize(("busy_seconds", "is_empty"), [(30.0, True), (0.05, False)])
def test_to_empty_the_log_whoever_reads_is_waited_for(path: Path, busy_seconds: float, is_empty: bool) -> None:
    with SqliteStore(path, busy_seconds=busy_seconds) as store:
        put(store, suppression(ANN))
        with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM suppressions").fetchone()
            put(store, suppression(BOB))
            timer = threading.Timer(0.5, reader.execute, ("ROLLBACK",))
            timer.start()
            assert store._database.empty_log() is is_empty
            timer.join()


def test_a_full_disk_stores_nothing_by_halves_and_reading_goes_on(store: SqliteStore) -> None:
    send(store, ANN, answers={ANN: FULL})
    before = keys(store), store.events(), rows(store, "SELECT * FROM outcomes, strikes, audit")
    rows(store, "PRAGMA max_page_count = 1")  # of what there is: no page more
    many = [f"r{number:03}@example.com" for number in range(200)]
    with pytest.raises(StoreFull, match=r"bounces.db: its disk is full"):
        send(store, *many, answers=dict.fromkeys(many, FULL))
    assert (keys(store), store.events(), rows(store, "SELECT * FROM outcomes, strikes, audit")) == before
    rows(store, "PRAGMA max_page_count = 100000")
    send(store, *many, answers=dict.fromkeys(many, FULL))
    assert len(keys(store)) == 201


def test_what_raises_inside_a_transaction_undoes_all_of_it(store: SqliteStore) -> None:
    def interrupted() -> None:
        with store._database.writing() as connection:
            connection.execute("INSERT INTO counters VALUES ('a', 'b', 1, 0, 1)")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert rows(store, "SELECT * FROM counters") == []
    put(store, suppression(ANN))


def test_a_row_that_no_version_wrote_is_an_error_and_not_a_guess(store: SqliteStore, path: Path) -> None:
    put(store, suppression(ANN))
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("UPDATE suppressions SET category = 'martian'")
    with pytest.raises(StoreCorrupt, match="martian"):
        store.suppression(ANN)


# -- threads, processes, forks, kills


def test_the_connection_of_a_thread_ends_with_it(store: SqliteStore) -> None:
    thread = threading.Thread(target=lambda: put(store, suppression(ANN)))
    thread.start()
    thread.join()
    del thread
    gc.collect()
    assert len(store._database._handles) == 1
    assert keys(store) == [ANN]


def test_closing_closes_the_connections_of_all_threads(path: Path) -> None:
    store, opened, closed = SqliteStore(path), threading.Event(), threading.Event()
    failures: list[StoreError] = []

    def work() -> None:
        store.suppression(ANN)
        opened.set()
        closed.wait(10)
        try:
            store.suppression(ANN)
        except StoreError as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    opened.wait(10)
    store.close()
    assert [file.name for file in path.parent.iterdir()] == [path.name]  # the last connection took its -wal with it
    closed.set()
    thread.join()
    assert "closed" in str(failures[0])


def test_many_processes_may_open_a_new_store_at_once(path: Path) -> None:
    code = "put(SqliteStore(sys.argv[1]), suppression(sys.argv[2]))"
    finish(*(python(code, path, f"r{number}@example.com") for number in range(6)))
    with SqliteStore(path) as store:
        assert len(keys(store)) == 6
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_many_threads_may_open_a_new_store_at_once(path: Path) -> None:
    together, failures = threading.Barrier(8), []

    def work(number: int) -> None:
        together.wait()
        try:
            with SqliteStore(path) as store:
                put(store, suppression(f"r{number}@example.com"))
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with SqliteStore(path) as store:
        assert len(keys(store)) == 8


def test_many_processes_write_one_store(path: Path) -> None:
    code = """
store = SqliteStore(sys.argv[1])
for number in range(25):
    address = f"{sys.argv[2]}-{number}@example.com"
    send(store, address, answers={address: "552 5.2.2 full"}, stream=sys.argv[2])
"""
    finish(*(python(code, path, f"p{number}") for number in range(4)))
    with SqliteStore(path) as store:
        assert len(keys(store)) == 100
        assert len(store.events()) == 200
        assert rows(store, "SELECT count(*) FROM outcomes") == [(100,)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_store_is_used_on_both_sides_of_a_fork(path: Path) -> None:
    """While another thread of the parent writes all the time, and after the parent has closed its own."""
    code = """
store = SqliteStore(sys.argv[1])
done = threading.Event()
written = []

def write():
    while not done.is_set() or len(written) < 20:
        put(store, suppression(f"t{len(written)}@example.com"))
        written.append(1)

thread = threading.Thread(target=write)
thread.start()
children = []
for number in range(12):
    put(store, suppression(f"p{number}@example.com"))
    child = os.fork()
    if not child:
        code = 1
        try:
            for again in range(5):
                put(store, suppression(f"c{number}-{again}@example.com"))
            store.check()
            store.close()
            code = 0
        finally:
            os._exit(code)
    children.append(child)
done.set()
thread.join()
store.close()
codes = [os.waitpid(child, 0)[1] for child in children]
assert codes == [0] * 12, codes
with SqliteStore(sys.argv[1]) as store:
    store.check()
    keys = [one.key for one in store.suppressions()]
    assert len(keys) == len(written) + 12 + 60, (len(keys), len(written))
"""
    finish(python(code, path))


def test_a_connection_that_came_over_an_unseen_fork_is_dropped_and_not_closed(store: SqliteStore) -> None:
    """As in a child that C code forked: no hook of Python's ran, and the handle says another process's number."""
    put(store, suppression(ANN))
    handle = store._database._mine()
    inherited, handle.pid = handle.connection, -1
    assert keys(store) == [ANN]
    assert handle.connection is not inherited
    assert inherited is not None
    assert inherited.execute("SELECT 1").fetchone() == (1,)
    inherited.close()


def test_a_killed_writer_leaves_each_record_whole_or_not_at_all(path: Path) -> None:
    code = """
store = SqliteStore(sys.argv[1])
for number in range(100000):
    ann, bob = (f"{name}{sys.argv[2]}-{number}@example.com" for name in ("ann", "bob"))
    send(store, ann, bob, answers={ann: "552 5.2.2 full"})
    print(ann, flush=True)
"""
    acknowledged = []
    chance = random.Random(7)
    for turn in range(6):
        writer = python(code, path, turn)
        assert writer.stdout is not None
        acknowledged += [writer.stdout.readline().strip() for _ in range(chance.randrange(1, 40))]
        writer.kill()
        acknowledged += writer.stdout.read().split("\n")[:-1]
        writer.wait()
        writer.stdout.close()
    with SqliteStore(path) as store:
        store.check()
        listed = keys(store)
        assert set(acknowledged) <= set(listed)
        assert len(set(listed) - set(acknowledged)) <= 6  # the commit, and then the kill before the acknowledgement
        for table, each in (("outcomes", 2), ("outbox", 3), ("strikes", 1), ("audit", 1)):
            assert rows(store, f"SELECT count(*) FROM {table}") == [(each * len(listed),)]


def test_what_is_kept_does_not_depend_on_when_it_is_read(store: SqliteStore) -> None:
    """A reader that stops in the middle of the list holds nothing open: the log can be taken into the file."""
    put(store, *(suppression(f"r{number:04}@example.com") for number in range(600)))
    reader = store.suppressions()
    next(reader)
    put(store, suppression(ANN))
    ((busy, in_log, moved),) = rows(store, "PRAGMA wal_checkpoint(TRUNCATE)")
    assert (busy, in_log, moved) == (0, 0, 0)
    assert len(list(reader)) in (599, 600)
    assert store.suppression(ANN, tenant="") is not None
    assert not list(store.suppressions(at=NOW + timedelta(days=400)))


def test_from_the_first_change_of_many_on_more_of_the_file_is_kept_at_hand(tmp_path: Path) -> None:
    def swaps(first: int, number: int) -> list[Swap]:
        return [Swap(before=None, after=suppression(f"u{at}@example.com")) for at in range(first, first + number)]

    with SqliteStore(tmp_path / "b.db") as store:
        database = store._database
        assert store.exchange(swaps(0, 10), by="x", at=NOW) == []
        ((few,),) = database.read("PRAGMA cache_size")
        assert store.exchange(swaps(10, 1000), by="x", at=NOW) == []
        ((many,),) = database.read("PRAGMA cache_size")
    assert (few, many) == (-2000, -32768)
