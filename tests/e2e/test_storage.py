"""A store whose disk is full or read-only, whose lock is held, whose file is taken away: nothing is stored by halves,
nothing is sent that could not be remembered, nobody passes for not suppressed, and it goes on without a restart.

The disks are tmpfs of a megabyte or two, which only root may mount.
"""

import os
import sqlite3
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import pytest

from bouncekit.clients.smtperrors import StoreUnavailable
from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.stores.sqlite import SqliteStore
from bouncekit.stores.sqlite.backup import back_up
from bouncekit.testing import Delay, ManualClock, ScriptedServer
from bouncekit.words.errors import StoreCorrupt, StoreError, StoreFull, StoreMoved, StoreReadOnly
from tests.conftest import message
from tests.contract.queueing import begin, claim, enqueue, outcome

from .servers import wait_until

Serve = Callable[..., ScriptedServer]
Make = Callable[..., Postmaster]

PAGE_BYTES = 4096
MINUTE = timedelta(minutes=1)


class Disk:
    """A small disk of its own, and how much is free on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    @property
    def store(self) -> Path:
        return self.folder / "bounces.db"

    def leave(self, pages: int) -> None:
        """Fill it up to so many free pages."""
        self.clear()
        free = os.statvfs(self.folder).f_bavail * PAGE_BYTES
        with self._ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(free - pages * PAGE_BYTES, 1))

    def clear(self) -> None:
        self._ballast.unlink(missing_ok=True)

    def remount(self, how: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{how}", self.folder], check=True)


@contextmanager
def mounted(folder: Path, size: str) -> Iterator[Disk]:
    folder.mkdir()
    asked = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
    if not hasattr(os, "posix_fallocate") or subprocess.run(asked, check=False, capture_output=True).returncode:
        pytest.skip("a tmpfs can only be mounted by root, on Linux")
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with mounted(tmp_path / "disk", "2m") as one:
        yield one


@pytest.fixture
def queueing(make_postmaster: Make) -> Callable[..., Postmaster]:
    """A postmaster that queues in a file for a server, and whose queue is worked on by hand."""

    def make(path: Path, server: ScriptedServer, **settings: object) -> Postmaster:
        store = SqliteStore(path, busy_seconds=0.05)
        return make_postmaster(store=store, retry="queue", worker="external", relays={"main": server.url}, **settings)

    return make


# -- full


def test_wherever_the_disk_is_full_each_step_is_stored_whole_or_not_at_all(disk: Disk) -> None:
    """With no page free, then with one more, until a message has its whole life on what is left."""
    full = 0
    with SqliteStore(disk.store) as store:
        for pages in range(200):
            with closing(sqlite3.connect(disk.store)) as other:
                other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            disk.leave(pages)
            done = _live(store)
            disk.clear()
            store.check()
            waiting = [one.recipient for one in store.queued()]
            told = len(store.events())
            assert (waiting, told) == _EXPECTED[done], f"{pages} pages free, and it came to {done!r}"
            if done == "recorded":
                break
            full += 1
            _finish(store, done)
            store.prune(before=_FAR, now=_FAR, limit=1000)
    assert done == "recorded", "it never came through"
    assert full > 5, "hardly a step met a full disk: this shows nothing"


_NOW = ManualClock().now()
_FAR = _NOW + timedelta(days=3000)
_WHO = ["ann@example.com", "bob@example.com"]
_EXPECTED = {
    "": ([], 0),
    "enqueued": (_WHO, 0),
    "claimed": (_WHO, 0),
    "begun": (_WHO, 0),
    "recorded": ([], 2),
}


def _live(store: SqliteStore) -> str:
    """A message is queued, taken, begun and settled, as far as the disk lets it; the last step that was stored."""
    done, content = "", os.urandom(3 * PAGE_BYTES)
    with suppress(StoreFull):
        enqueue(store, *_WHO, content=content, at=_NOW, due_at=_NOW)
        done = "enqueued"
        (delivery,) = claim(store, now=_NOW)
        done = "claimed"
        attempt = begin(store, delivery, at=_NOW)
        done = "begun"
        store.record(outcome(delivery, attempt, done=_WHO, at=_NOW))
        done = "recorded"
    return done


def _finish(store: SqliteStore, done: str) -> None:
    """There is room again: what is left of the message goes."""
    if done:
        later = _NOW + 30 * MINUTE
        store.drop(next(store.queued()).message, None, at=later)


def test_while_the_disk_is_full_nothing_is_sent_and_then_it_goes_on(
    disk: Disk, serve: Serve, queueing: Make, clock: ManualClock
) -> None:
    server = serve()
    postmaster = queueing(disk.store, server)
    with postmaster.client("main") as client:
        client.submit(message("ann@example.com"))
        worker = postmaster.worker()
        _fold_log(disk.store)
        disk.leave(0)
        with pytest.raises(StoreFull):
            worker.run_due()
        with pytest.raises(StoreUnavailable, match="full"):
            client.submit(message("bob@example.com"))
        with pytest.raises(StoreUnavailable, match="full"):
            client.send(message("cy@example.com"))
        assert not server.messages
        disk.clear()
        clock.move(timedelta(minutes=30))
        worker.run_due()
        assert client.send(message("cy@example.com")).delivered
    assert {one: server.copies(f"{one}@example.com") for one in ("ann", "bob", "cy")} == {"ann": 1, "bob": 0, "cy": 1}


def test_a_result_that_finds_the_disk_full_waits_and_holds_back_the_next_send(
    disk: Disk, serve: Serve, queueing: Make
) -> None:
    server = serve({"RCPT": {"nobody@example.com": "550 5.1.1 No such user"}})
    postmaster = queueing(disk.store, server)
    record = postmaster.office.store.record
    _fold_log(disk.store)

    def when_full(*arguments: object) -> None:
        disk.leave(0)
        record(*arguments)  # type: ignore[arg-type]

    postmaster.office.store.record = when_full  # type: ignore[method-assign]
    with postmaster.client("main") as client:
        with suppress(Exception):
            client.send(message("nobody@example.com"))
        with pytest.raises(StoreUnavailable, match="full"):
            client.send(message("nobody@example.com"))
        postmaster.office.store.record = record  # type: ignore[method-assign]
        disk.clear()
        with suppress(Exception):
            client.send(message("nobody@example.com"))
    assert sum("nobody" in str(one) for session in server.sessions for one in session.transcript) == 1, "suppressed"
    assert "nobody@example.com" in postmaster.suppressions


def test_a_copy_that_finds_no_room_is_none_and_what_was_there_stays(disk: Disk, tmp_path: Path) -> None:
    path = tmp_path / "bounces.db"
    with SqliteStore(path) as store:
        enqueue(store, *_WHO, content=os.urandom(100 * PAGE_BYTES))
    back_up(path, disk.folder / "copy.db")
    before = (disk.folder / "copy.db").read_bytes()
    disk.leave(20)
    with pytest.raises(StoreFull, match=r"copy.db: its disk is full"):
        back_up(path, disk.folder / "copy.db", over=True)
    assert (disk.folder / "copy.db").read_bytes() == before
    assert sorted(file.name for file in disk.folder.iterdir()) == ["ballast", "copy.db"]


def test_a_store_that_finds_no_room_is_not_made_by_halves(disk: Disk) -> None:
    disk.leave(8)
    with pytest.raises(StoreFull):
        SqliteStore(disk.store)
    assert [file.name for file in disk.folder.iterdir()] == ["ballast"]
    disk.clear()
    SqliteStore(disk.store).close()


def _fold_log(path: Path) -> None:
    """Have the log begin anew, so that the next commit needs room."""
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")


# -- read-only


def test_on_a_read_only_disk_nobody_passes_for_not_suppressed(disk: Disk, serve: Serve, queueing: Make) -> None:
    SqliteStore(disk.store).close()
    disk.remount("ro")
    with pytest.raises(StoreReadOnly, match="read-only; let this user write"):
        queueing(disk.store, serve())
    disk.remount("rw")
    assert "ann@example.com" not in queueing(disk.store, serve()).suppressions


# -- locked


def test_a_result_that_finds_the_store_locked_is_remembered_once_it_is_free(
    tmp_path: Path, serve: Serve, queueing: Make
) -> None:
    path, has_lock, may_end = tmp_path / "bounces.db", threading.Event(), threading.Event()
    server = serve({"END_OF_DATA": Delay(0.3)})
    postmaster = queueing(path, server)

    def hold() -> None:
        with closing(sqlite3.connect(path, isolation_level=None, timeout=10)) as other:
            wait_until(lambda: bool(list(postmaster.office.store.queued())), 20.0, lambda: "no attempt was begun")
            other.execute("BEGIN IMMEDIATE")
            has_lock.set()
            may_end.wait(20)

    thread = threading.Thread(target=hold)
    thread.start()
    with postmaster.client("main") as client:
        assert client.send(message("ann@example.com")).delivered
        assert has_lock.is_set()
        assert list(postmaster.office.store.queued()), "the attempt is open in the store, and its end in memory"
        with pytest.raises(StoreUnavailable, match="locked"):
            client.send(message("bob@example.com"))
        may_end.set()
        thread.join()
        assert client.send(message("bob@example.com")).delivered
    assert not list(postmaster.office.store.queued())
    assert (server.copies("ann@example.com"), server.copies("bob@example.com")) == (1, 1)


# -- taken away beneath a process that runs


def moved(path: Path) -> Callable[[], object]:
    elsewhere = path.with_name("elsewhere.db")
    path.rename(elsewhere)
    return lambda: elsewhere.rename(path)


def replaced(path: Path) -> Callable[[], object]:
    back = moved(path)
    with SqliteStore(path.with_name("other.db")) as other:
        enqueue(other, "dee@example.com")
    path.with_name("other.db").rename(path)
    return back


def without_its_log(path: Path) -> Callable[[], object]:
    log = path.with_name(f"{path.name}-wal")
    log.rename(path.with_name("log"))
    return lambda: path.with_name("log").rename(log)


@pytest.mark.parametrize("take_away", [moved, replaced, without_its_log])
def test_a_store_that_is_taken_away_is_missed_before_the_dot_and_is_found_again(
    take_away: Callable[[Path], Callable[[], object]], tmp_path: Path, serve: Serve, queueing: Make
) -> None:
    path, server = tmp_path / "bounces.db", serve()
    postmaster = queueing(path, server)
    postmaster.suppressions.add("gone@example.com")
    worker = postmaster.worker()
    with postmaster.client("main") as client:
        client.submit(message("ann@example.com"))
        put_back = take_away(path)
        for _ in range(2):
            with pytest.raises(StoreMoved):
                worker.run_due()
            with pytest.raises(StoreUnavailable, match="moved, deleted or replaced"):
                client.send(message("bob@example.com"))
            with pytest.raises(StoreMoved):
                assert "gone@example.com" in postmaster.suppressions
        assert not server.messages
        put_back()
        worker.run_due()
    assert server.copies("ann@example.com") == 1
    assert "gone@example.com" in postmaster.suppressions


def test_between_the_look_up_and_the_dot_is_early_enough(tmp_path: Path, serve: Serve, queueing: Make) -> None:
    path = tmp_path / "bounces.db"
    server = serve({"RCPT": Delay(0.3)})
    postmaster = queueing(path, server)
    thread = threading.Timer(0.1, lambda: path.rename(path.with_name("elsewhere.db")))
    with postmaster.client("main") as client:
        thread.start()
        with pytest.raises(StoreUnavailable, match="moved, deleted or replaced"):
            client.send(message("ann@example.com"))
    thread.join()
    assert not server.messages
    path.with_name("elsewhere.db").rename(path)


@pytest.mark.parametrize(
    "harm",
    [
        lambda path: path.write_bytes(b"\xa5" * path.stat().st_size),
        lambda path: os.truncate(path, path.stat().st_size // 2),
        lambda path: path.write_bytes(b""),
    ],
    ids=["overwritten", "cut off", "emptied"],
)
def test_a_file_that_is_spoilt_beneath_a_process_sends_nothing_and_answers_no_question(
    harm: Callable[[Path], object], tmp_path: Path, serve: Serve, queueing: Make
) -> None:
    path, server = tmp_path / "bounces.db", serve()
    postmaster = queueing(path, server)
    for number in range(300):
        postmaster.suppressions.add(f"gone{number}@example.com")
    with postmaster.client("main") as client:
        client.submit(message("ann@example.com"))
    _fold_log(path)
    _in_another_process(harm, path)
    answers = [_answer(postmaster, f"gone{number}@example.com") for number in range(300)]
    assert "no" not in answers
    with pytest.raises(StoreError):
        postmaster.worker().run_due()
    assert not server.messages
    with pytest.raises(StoreCorrupt):
        SqliteStore(path)


def _in_another_process(harm: Callable[[Path], object], path: Path) -> None:
    """Whoever opens and closes the file in this process drops the locks that SQLite holds on it."""
    if not (child := os.fork()):
        try:
            harm(path)
        finally:
            os._exit(0)
    os.waitpid(child, 0)


def _answer(postmaster: Postmaster, address: str) -> str:
    try:
        return "yes" if address in postmaster.suppressions else "no"
    except StoreError as error:
        return type(error).__name__
