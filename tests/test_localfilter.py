"""The filter in this process: never wrong about who is on the list, fresh at once, and in doubt the store's."""

import logging
import multiprocessing
import os
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from bouncekit.stores.screen import localfilter
from bouncekit.stores.screen.localfilter import LocalFilter
from bouncekit.stores.sql.many import marks
from bouncekit.stores.sqlite import SqliteStore
from bouncekit.stores.trail import Trace
from bouncekit.words.errors import StoreError
from tests.building import ANN, BOB, CY, suppression
from tests.contract.stores import put, take

MANY = [f"{number}@example.com" for number in range(3000)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bounces.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    with SqliteStore(path) as opened:
        yield opened


def ready(store: Any, path: str | None = None) -> LocalFilter:
    screen = LocalFilter(store, path=path)
    screen.prepare()
    assert screen.is_ready
    return screen


class Unreachable:
    """A store that answers until it is told not to, and counts what is asked of its tables."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self.fails = False
        self.pages_read = 0

    def __getattr__(self, name: str) -> Any:
        if self.fails:
            raise StoreError("unreachable")
        self.pages_read += name == "entries"
        return getattr(self._store, name)


# -- who may be on the list


def test_who_is_on_the_list_is_possible_and_others_are_not(store: SqliteStore) -> None:
    put(store, suppression(ANN), suppression(BOB, tenant="shop"), suppression(CY, stream="news"))
    screen = ready(store)
    assert screen.possible("", (ANN, BOB, CY)) == [ANN, CY]
    assert screen.possible("shop", (ANN, BOB, CY)) == [BOB]
    assert screen.possible("other", (ANN, BOB, CY)) == []


def test_an_odd_key_is_found_like_any_other(store: SqliteStore) -> None:
    odd = ["\udcff@example.com", "ünï@bücher.example", "#0a1b-c2", " "]
    put(store, *(suppression(ANN, key=key, tenant="t\udcff") for key in odd))
    assert ready(store).possible("t\udcff", odd) == odd


def test_until_it_is_ready_everything_is_possible_and_somebody_makes_it_so(store: SqliteStore) -> None:
    put(store, suppression(ANN))
    screen = LocalFilter(store)
    assert screen.possible("", (ANN, BOB)) == (ANN, BOB)
    assert screen._thread is not None
    screen._thread.join(10)
    assert screen.possible("", (ANN, BOB)) == [ANN]
    screen.close()


def test_what_changes_while_it_is_built_is_not_missed(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry is put behind the page that is read last, one before it, and one is lifted and put again."""
    monkeypatch.setattr(localfilter, "_PAGE", 100)
    put(store, *map(suppression, MANY[:500]))
    pages = iter(range(10))

    class Meanwhile(Unreachable):
        def entries(self, **asked: Any) -> Sequence[Any]:
            put(self._store, *map(suppression, MANY[500 + 10 * (page := next(pages)) : 510 + 10 * page]))
            take(self._store, MANY[page])
            put(self._store, suppression(MANY[page]))
            return self._store.entries(**asked)

    screen = ready(Meanwhile(store))
    on_it = [one.key for one in store.suppressions()]
    assert len(on_it) > 540
    assert screen.possible("", on_it) == on_it


# -- fresh


def test_what_another_connection_puts_on_the_list_is_seen_at_once(store: SqliteStore, path: Path) -> None:
    screen = ready(store)
    with SqliteStore(path) as other:
        for address in MANY[:50]:
            put(other, suppression(address))
            assert screen.possible("", (address,)) == [address]


def _put_from_another_process(path: str, asked: Any) -> None:
    with SqliteStore(path) as other:
        while (address := asked.recv()) is not None:
            put(other, suppression(address))
            asked.send("done")


def test_what_another_process_puts_on_the_list_is_seen_at_once(store: SqliteStore, path: Path) -> None:
    screen = ready(store)
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_put_from_another_process, args=(str(path), there))
    process.start()
    try:
        for address in MANY[:20]:
            assert screen.possible("", (address,)) == []
            here.send(address)
            assert here.poll(30)
            assert here.recv() == "done"
            assert screen.possible("", (address,)) == [address]
    finally:
        here.send(None)
        process.join(30)
    assert process.exitcode == 0


def test_what_is_lifted_is_asked_of_the_store_until_the_filter_is_made_anew(store: SqliteStore) -> None:
    put(store, suppression(ANN))
    screen = ready(store)
    take(store, ANN)
    assert screen.possible("", (ANN,)) == [ANN]
    assert ready(store).possible("", (ANN,)) == []


def test_a_change_that_turns_up_behind_a_later_one_is_seen(store: SqliteStore) -> None:
    """As in a database with several writers: a number is drawn first, and committed last."""
    put(store, *map(suppression, (ANN, BOB, CY)))
    first, second, third = store.trail(since=0, limit=10)

    class Several(Unreachable):
        visible: tuple[Trace, ...] = (first,)
        settled = first.sequence

        def trail_settled(self) -> int:
            return self.settled

        def trail_end(self, until: int | None = None) -> Trace | None:
            return max((one for one in self.visible if until is None or one.sequence <= until), default=None)

        def trail(self, *, since: int, limit: int) -> Sequence[Trace]:
            return [one for one in self.visible if one.sequence >= since][:limit]

        def entries(self, **asked: Any) -> Sequence[Any]:
            return () if asked.get("after") else [(one.tenant, "", one.key_hash) for one in self.visible]

    several = Several(store)
    screen = ready(several)
    several.visible = (first, third)
    assert screen.possible("", (ANN, BOB, CY)) == [ANN, CY]
    several.visible = (first, second, third)
    assert screen.possible("", (ANN, BOB, CY)) == [ANN, BOB, CY]
    several.settled = third.sequence
    assert screen.possible("", (ANN, BOB, CY)) == [ANN, BOB, CY]


# -- in doubt


def test_a_store_that_does_not_answer_is_asked_itself(store: SqliteStore) -> None:
    source = Unreachable(store)
    screen = ready(source)
    assert screen.possible("", (ANN,)) == []
    source.fails = True
    assert screen.possible("", (ANN,)) == (ANN,)
    source.fails = False
    assert screen.possible("", (ANN,)) == []


def test_a_store_that_cannot_be_read_is_not_tried_again_at_once(store: SqliteStore) -> None:
    source = Unreachable(store)
    source.fails = True
    screen = LocalFilter(source)
    assert screen.possible("", (ANN,)) == (ANN,)
    first = screen._thread
    assert first is not None
    first.join(10)
    assert screen.possible("", (ANN,)) == (ANN,)
    assert screen._thread is first
    screen.close()


def test_more_changes_than_a_page_are_left_to_the_store_and_learnt_behind_it(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(localfilter, "_PAGE", 10)
    screen = ready(store)
    put(store, *map(suppression, MANY[:95]))
    assert screen.possible("", MANY[:100]) == MANY[:100]
    assert screen._thread is not None
    screen._thread.join(10)
    assert screen.possible("", MANY[:100]) == MANY[:95]
    screen.close()


def test_a_list_that_went_back_in_time_is_read_anew(store: SqliteStore, path: Path, tmp_path: Path) -> None:
    """A backup was put back, in place: what was put on the list since is another's now."""
    put(store, suppression(ANN))
    screen = ready(store)
    put(store, suppression(BOB))
    assert screen.possible("", (ANN, BOB)) == [ANN, BOB]
    with SqliteStore(tmp_path / "backup.db") as backup:
        put(backup, suppression(ANN), suppression(CY))
        with backup._database.writing() as old, store._database.writing() as connection:
            for table in ("audit", "suppressions"):
                connection.execute(f"DELETE FROM {table}", ())
                rows = old.execute(f"SELECT * FROM {table}", ()).fetchall()
                connection.executemany(f"INSERT INTO {table} VALUES ({marks(rows[0])})", rows)
    assert screen.possible("", (ANN, BOB, CY)) == (ANN, BOB, CY)
    assert screen._thread is not None
    screen._thread.join(10)
    assert screen.possible("", (ANN, BOB, CY)) == [ANN, CY]
    screen.close()


def test_one_that_is_too_full_is_made_anew(store: SqliteStore) -> None:
    screen = ready(store)
    assert screen._known is not None
    full = screen._known.bloom
    full.capacity = 100
    put(store, *map(suppression, MANY[:150]))
    assert screen.possible("", MANY[:150]) == MANY[:150]
    assert screen._thread is not None
    screen._thread.join(10)
    assert screen._known.bloom is not full
    assert screen.possible("", MANY[:150]) == MANY[:150]
    screen.close()


# -- threads and forks


def test_threads_that_learn_at_once_lose_nothing(store: SqliteStore, path: Path) -> None:
    screen = ready(store)
    wrong: list[str] = []

    def work(own: list[str]) -> None:
        with SqliteStore(path, busy_seconds=60) as other:
            for address in own:
                put(other, suppression(address))
                if screen.possible("", (address,)) != [address]:
                    wrong.append(address)

    threads = [threading.Thread(target=work, args=(MANY[start::4][:60],)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    put_there = [address for start in range(4) for address in MANY[start::4][:60]]
    assert screen.possible("", put_there) == put_there


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_child_goes_on_with_what_its_parent_knew(store: SqliteStore) -> None:
    put(store, suppression(ANN))
    source = Unreachable(store)
    screen = ready(source)
    source.pages_read = 0
    screen._lock.acquire()  # as a thread of the parent may hold it
    child = os.fork()
    if child == 0:
        put(store, suppression(BOB))
        os._exit(0 if screen.possible("", (ANN, BOB, CY)) == [ANN, BOB] and not source.pages_read else 1)
    screen._lock.release()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert screen.possible("", (ANN, BOB, CY)) == [ANN, BOB]


# -- the file


def test_the_next_process_reads_the_file_and_catches_up(store: SqliteStore, tmp_path: Path) -> None:
    file = str(tmp_path / "filter")
    put(store, suppression(ANN))
    ready(store, file)
    put(store, suppression(BOB))
    source = Unreachable(store)
    screen = ready(source, file)
    assert source.pages_read == 0
    assert screen.possible("", (ANN, BOB, CY)) == [ANN, BOB]
    assert os.stat(file).st_mode & 0o777 == 0o600
    assert [name for name in os.listdir(tmp_path) if name.endswith(".new")] == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:-1],
        lambda content: content[:-8] + b"\x00" * 8 if content[-8:] != bytes(8) else content[:-8] + b"\x01" * 8,
        lambda content: content + b"more",
        lambda content: b"{" * 100_000,
        lambda content: b"[]\n",
        lambda content: b"\xff\xfe\n" + content,
        lambda content: content.replace(b'"capacity": 1024', b'"capacity": 1e99', 1),
        lambda content: content.replace(b'"capacity": 1024', b'"capacity": 1030', 1),
        lambda content: content.replace(b'"upto": [', b'"upto": [[], ', 1),
        lambda content: content.replace(b'"byteorder": "', b'"byteorder": "x', 1),
        lambda content: content.replace(b"filter 1", b"filter 2", 1),
    ],
)
def test_a_damaged_file_is_made_anew(store: SqliteStore, tmp_path: Path, damage: Any) -> None:
    file = tmp_path / "filter"
    put(store, suppression(ANN))
    ready(store, str(file))
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    assert file.read_bytes() != whole
    source = Unreachable(store)
    assert ready(source, str(file)).possible("", (ANN, BOB)) == [ANN]
    assert source.pages_read > 0
    assert file.read_bytes() == whole


def test_the_file_of_another_store_is_not_believed(store: SqliteStore, tmp_path: Path) -> None:
    file = str(tmp_path / "filter")
    put(store, suppression(ANN))
    with SqliteStore(tmp_path / "other.db") as other:
        put(other, suppression(BOB))
        ready(other, file)
    assert ready(store, file).possible("", (ANN, BOB)) == [ANN]


def test_a_file_that_cannot_be_written_costs_nothing_but_a_line(
    store: SqliteStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(store, suppression(ANN))
    with caplog.at_level(logging.INFO, "bouncekit"):
        screen = ready(store, str(tmp_path / "none" / "filter"))
    assert screen.possible("", (ANN, BOB)) == [ANN]
    assert "the filter cannot be kept there" in caplog.text


def test_a_filter_that_has_to_forget_is_made_anew(store: SqliteStore, tmp_path: Path) -> None:
    file = tmp_path / "filter"
    put(store, suppression(ANN), suppression(BOB))
    screen = ready(store, str(file))
    before = file.read_bytes()
    take(store, BOB)
    screen.forget()
    assert screen._thread is not None
    screen._thread.join(10)
    assert screen.possible("", (ANN, BOB)) == [ANN]
    assert file.read_bytes() != before
    screen.close()


def test_a_filter_that_has_to_forget_while_it_is_made_begins_again(store: SqliteStore) -> None:
    put(store, suppression(ANN), suppression(BOB))

    class Meanwhile(Unreachable):
        def entries(self, **asked: Any) -> Sequence[Any]:
            found = self._store.entries(**asked)
            if self._store.listed("", (BOB,)) and found:
                take(self._store, BOB)
                screen.forget()
            return found

    screen = LocalFilter(Meanwhile(store))
    screen.prepare()
    end = time.monotonic() + 30
    while screen.possible("", (ANN, BOB)) != [ANN]:  # until it is made, whoever is asked about is possible
        assert time.monotonic() < end
        time.sleep(0.01)
    screen.close()


def test_a_closed_filter_stops_reading(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(localfilter, "_PAGE", 1)
    monkeypatch.setattr(localfilter, "_PAUSE_SECONDS", 0.2)
    put(store, *map(suppression, MANY[:60]))
    screen = LocalFilter(store)
    screen.possible("", (ANN,))
    screen.close()
    assert screen._thread is not None
    assert not screen._thread.is_alive()
    assert not screen.is_ready


def test_a_number_of_another_history_is_another_change(store: SqliteStore) -> None:
    put(store, suppression(ANN))
    (trace,) = store.trail(since=0, limit=10)
    assert trace == store.trail_end() == store.trail_end(trace.sequence)
    assert store.trail_end(trace.sequence - 1) is None
    take(store, ANN)
    assert [one.sequence > trace.sequence for one in store.trail(since=trace.sequence, limit=10)] == [False, True]
