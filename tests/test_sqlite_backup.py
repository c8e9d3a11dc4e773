"""A copy of a store, made while others write: one moment of it, whole, and one that sends nothing by itself."""

import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from bouncekit.delivery.queue import QueueState
from bouncekit.stores.sqlite import SqliteStore
from bouncekit.stores.sqlite.backup import back_up
from bouncekit.words.errors import StoreCorrupt, StoreError

from .building import ANN, BOB, CY, NOW, suppression
from .contract.queueing import begin, claim, enqueue, lease, outcome, wires
from .contract.stores import put

ROOT = Path(__file__).parents[1]
DAY = timedelta(days=1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bounces.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    with SqliteStore(path) as opened:
        yield opened


def test_a_copy_is_one_file_for_its_owner_with_all_that_was_committed(store: SqliteStore, path: Path) -> None:
    put(store, suppression(ANN), suppression(BOB))
    made = back_up(path, path.with_name("copy.db"))
    assert (made.suppressions, made.events, made.held) == (2, 2, 0)
    copy = Path(made.path)
    assert (copy.stat().st_size, stat.S_IMODE(copy.stat().st_mode)) == (made.size_bytes, 0o600)
    assert sorted(file.name for file in path.parent.iterdir()) == [
        "bounces.db",
        "bounces.db-shm",
        "bounces.db-wal",
        "copy.db",
    ]
    with SqliteStore(copy) as again:
        again.check()
        assert [one.key for one in again.suppressions()] == [ANN, BOB]
        assert list(again.events()) == list(store.events())


def test_what_waits_in_a_copy_is_held_and_marked_and_nobody_is_at_it(store: SqliteStore, path: Path) -> None:
    """Due, leased, begun: of none of them can anybody know, later, whether it was delivered meanwhile."""
    for address in (ANN, BOB, CY):
        enqueue(store, address, due_at=NOW - timedelta(minutes=1))
    claimed = claim(store, limit=2)
    attempt = begin(store, claimed[0])
    made = back_up(path, path.with_name("copy.db"))
    assert made.held == 3
    with SqliteStore(made.path) as copy:
        waiting = list(copy.queued())
        assert {one.recipient for one in waiting} == {ANN, BOB, CY}
        assert all((one.state, one.possible_duplicate) == (QueueState.HELD, True) for one in waiting)
        assert claim(copy, now=NOW + DAY) == []
        assert copy.abandoned(now=NOW + DAY, lease=lease(now=NOW + DAY), limit=9) == []
        for one in waiting:
            assert copy.requeue(one.message, None, at=NOW + DAY) == 1
        again = claim(copy, now=NOW + DAY)
        assert sorted(wires(*again)) == sorted([ANN, BOB, CY])
        assert all(recipient.possible_duplicate for one in again for recipient in one.recipients)
    store.record(outcome(claimed[0], attempt, done=wires(claimed[0])))
    assert len(list(store.queued())) == 2, "the store itself goes on"


def test_a_copy_is_made_while_others_write_and_has_no_record_by_halves(path: Path) -> None:
    SqliteStore(path).close()
    code = """
import sys
from bouncekit.stores.sqlite import SqliteStore
from tests.contract.stores import send

store = SqliteStore(sys.argv[1])
number = 0
while True:
    address = f"r{number}@example.com"
    send(store, address, answers={address: "552 5.2.2 full"})
    print(address, flush=True)
    number += 1
"""
    with subprocess.Popen([sys.executable, "-c", code, path], cwd=ROOT, stdout=subprocess.PIPE, text=True) as writer:
        try:
            assert writer.stdout is not None
            for number in range(8):
                written = int(writer.stdout.readline().strip()[1:].partition("@")[0]) + 1
                made = back_up(path, path.with_name(f"copy{number}.db"))
                assert made.suppressions >= written
                assert made.events == 2 * made.suppressions
        finally:
            writer.kill()


def test_a_file_that_is_there_is_replaced_only_if_that_was_said(store: SqliteStore, path: Path) -> None:
    copy = path.with_name("copy.db")
    copy.write_text("precious")
    with pytest.raises(StoreError, match=r"copy.db: there is such a file already; .*--force"):
        back_up(path, copy)
    assert copy.read_text() == "precious"
    back_up(path, copy, over=True)
    SqliteStore(copy).close()


def test_a_copy_never_goes_over_a_store_in_use(store: SqliteStore, path: Path) -> None:
    put(store, suppression(ANN))
    with SqliteStore(path.with_name("other.db")) as other:
        with pytest.raises(StoreError, match="in use"):
            back_up(path, other.path, over=True)
        put(other, suppression(BOB))
    link = path.with_name("link.db")
    link.symlink_to(path)
    for own in (path, link):
        with pytest.raises(StoreError, match="the store itself"):
            back_up(path, own, over=True)
    assert [one.key for one in store.suppressions()] == [ANN]


@pytest.mark.parametrize(
    ("target", "why"),
    [("no/such/copy.db", "its directory must exist"), (".", "a directory; name a file in it")],
)
def test_a_place_that_can_hold_no_copy_is_named(store: SqliteStore, path: Path, target: str, why: str) -> None:
    with pytest.raises(StoreError, match=why):
        back_up(path, path.parent / target)


def test_what_is_no_store_is_not_copied(path: Path) -> None:
    with closing(sqlite3.connect(path)) as foreign:
        foreign.execute("CREATE TABLE t (a)")
    with pytest.raises(StoreCorrupt, match="no bouncekit store"):
        back_up(path, path.with_name("copy.db"))
    with pytest.raises(StoreError, match=r"missing\.db"):
        back_up(path.with_name("missing.db"), path.with_name("copy.db"))
    assert [file.name for file in path.parent.iterdir()] == ["bounces.db"]


def test_damage_is_found_in_the_copy_which_is_not_kept(path: Path) -> None:
    with SqliteStore(path) as store:
        put(store, *(suppression(f"r{number}@example.com") for number in range(300)))
    with path.open("r+b") as file:
        file.seek(4096 * 20)
        file.write(b"\xa5" * 4096)
    with pytest.raises(StoreCorrupt):
        back_up(path, path.with_name("copy.db"))
    assert not path.with_name("copy.db").exists()
