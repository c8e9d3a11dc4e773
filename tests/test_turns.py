"""Threads that write to one SQLite file: they share a commit, and each comes out as if it had been alone."""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from bouncekit.stores.sqlite import SqliteStore, file, turns
from bouncekit.stores.sqlite.file import Database
from bouncekit.stores.sqlite.turns import Shared
from bouncekit.words.errors import StoreError, StoreRefused

WRITERS = 8
INSERT = "INSERT INTO flows (kind, name, token, state) VALUES ('relay', ?, 't', '{}')"
NAMES = "SELECT name FROM flows ORDER BY name"


class Refused(Exception):
    pass


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with SqliteStore(tmp_path / "bounces.db", busy_seconds=5) as store:
        yield store._database


def write(database: Database, name: str) -> None:
    with database.writing() as transaction:
        transaction.execute(INSERT, (name,))


def names(database: Database) -> list[str]:
    return [name for (name,) in database.read(NAMES)]


def all_at_once(
    database: Database, acts: list[Callable[[], None]], raised: list[BaseException | None] | None = None
) -> list[BaseException | None]:
    """What each act raised: all of them have waited for one turn, in which "first" was written."""
    raised = [] if raised is None else raised
    raised += [None] * len(acts)

    def act(number: int) -> None:
        try:
            acts[number]()
        except BaseException as error:
            raised[number] = error

    threads = [threading.Thread(target=act, args=(number,)) for number in range(len(acts))]
    try:
        with database.writing() as transaction:
            transaction.execute(INSERT, ("first",))
            for thread in threads:
                thread.start()
            until = time.monotonic() + 30
            while database._turns._waiting < len(acts) and time.monotonic() < until:
                time.sleep(0.001)
    finally:
        for thread in threads:
            thread.join(30)
            assert not thread.is_alive(), "somebody still waits for a commit"
    return raised


def commits_of(database: Database, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many parts each commit from now on has, where nobody who waits for it grows impatient."""
    monkeypatch.setattr(turns, "_LOOK_SECONDS", 60.0)
    parts: list[int] = []
    commit = Shared.commit

    def counted(shared: Shared) -> None:
        parts.append(shared._parts)
        commit(shared)

    monkeypatch.setattr(Shared, "commit", counted)
    return parts


def test_who_waits_for_a_turn_shares_the_commit_of_whoever_has_it(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = commits_of(database, monkeypatch)
    raised = all_at_once(database, [lambda name=str(one): write(database, name) for one in range(WRITERS)])  # type: ignore[misc]
    assert raised == [None] * WRITERS
    assert parts == [WRITERS + 1]
    assert names(database) == [*map(str, range(WRITERS)), "first"]


def test_who_is_alone_commits_at_once(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = commits_of(database, monkeypatch)
    write(database, "a")
    write(database, "b")
    assert parts == [1, 1]


def test_no_commit_is_shared_by_more_than_thirty_two(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = commits_of(database, monkeypatch)
    raised = all_at_once(database, [lambda name=str(one): write(database, name) for one in range(40)])  # type: ignore[misc]
    assert raised == [None] * 40
    assert sum(parts) == 41
    assert max(parts) == 32


def test_what_raises_undoes_its_own_part_alone(database: Database) -> None:
    def refuse() -> None:
        with database.writing() as transaction:
            transaction.execute(INSERT, ("refused",))
            raise Refused

    raised = all_at_once(database, [lambda: write(database, "a"), refuse, lambda: write(database, "b")])
    assert [type(one) for one in raised] == [type(None), Refused, type(None)]
    assert names(database) == ["a", "b", "first"]


def test_a_row_that_contradicts_the_tables_costs_the_others_nothing(database: Database) -> None:
    raised = all_at_once(database, [lambda: write(database, "a"), lambda: write(database, "first")])
    assert [type(one) for one in raised] == [type(None), StoreRefused]
    assert names(database) == ["a", "first"]


def test_a_value_that_is_none_costs_the_others_nothing(database: Database) -> None:
    raised = all_at_once(database, [lambda: write(database, "a"), lambda: write(database, object())])  # type: ignore[arg-type]
    assert [type(one) for one in raised] == [type(None), StoreRefused]
    assert names(database) == ["a", "first"]


def test_where_the_commit_fails_nobody_is_told_that_it_was_done(database: Database) -> None:
    def dangle() -> None:
        """Write what only the commit refuses."""
        with database.writing() as transaction:
            transaction.execute("PRAGMA defer_foreign_keys = ON")
            transaction.execute(
                "INSERT INTO recipients (message, address, position, tenant, key, domain, relay, state)"
                " VALUES ('none', 'ann@example.com', 0, '', '', '', 'main', 'held')"
            )

    with pytest.raises(StoreRefused, match="FOREIGN KEY"):
        dangle()
    told: list[BaseException | None] = []
    with pytest.raises(StoreError) as first:
        all_at_once(database, [lambda: write(database, "a"), dangle, lambda: write(database, "b")], told)
    assert names(database) == []
    for one in (first.value, *told):
        assert isinstance(one, StoreError)
        assert not isinstance(one, StoreRefused), "who is refused is given up, whoever's fault it was"
    write(database, "a")
    assert names(database) == ["a"]


def test_where_the_disk_is_full_for_one_of_them_nobody_is_told_what_is_not_so(database: Database) -> None:
    def fill() -> None:
        with database.writing() as transaction:
            (pages,) = transaction.execute("PRAGMA page_count").fetchone()
            transaction.execute(f"PRAGMA max_page_count = {pages}")
            try:
                for one in range(10_000):
                    transaction.execute(INSERT, (f"much-{one}" * 100,))
            finally:
                transaction.execute("PRAGMA max_page_count = 1000000")

    told: list[str] = []

    def write_and_tell(name: str) -> None:
        write(database, name)
        told.append(name)

    acts = [lambda: write_and_tell("a"), fill, lambda: write_and_tell("b")]
    try:
        raised = all_at_once(database, acts)
    except StoreError:
        assert names(database) == sorted(told)
    else:
        assert isinstance(raised[1], StoreError)
        assert names(database) == sorted([*told, "first"])


def test_who_waits_in_vain_for_a_turn_keeps_nobody_from_the_commit(tmp_path: Path) -> None:
    with SqliteStore(tmp_path / "bounces.db", busy_seconds=0.02) as store:
        database = store._database
        began = threading.Event()

        def wait_in_vain() -> None:
            began.set()
            with pytest.raises(StoreError, match="locked"):
                write(database, "late")

        thread = threading.Thread(target=wait_in_vain)
        with database.writing() as transaction:
            transaction.execute(INSERT, ("first",))
            thread.start()
            thread.join()
            database._turns._waiting += 1  # as if it gave up only behind the look at who waits
        database._turns._waiting -= 1
        assert names(database) == ["first"]


def test_whatever_threads_do_what_came_out_is_there_and_nothing_else_is(database: Database) -> None:
    done: list[list[str]] = [[] for _ in range(WRITERS)]

    def work(own: int) -> None:
        for turn in range(40):
            name = f"{own}-{turn:02}"
            try:
                with database.writing() as transaction:
                    transaction.execute(INSERT, (name,))
                    if (own + turn) % 7 == 0:
                        raise Refused
            except Refused:
                continue
            with closing(sqlite3.connect(database.path)) as other:
                assert (name,) in other.execute(NAMES).fetchall()
            done[own].append(name)

    threads = [threading.Thread(target=work, args=(own,)) for own in range(WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert names(database) == sorted(name for some in done for name in some)
    assert len(names(database)) == sum((own + turn) % 7 != 0 for own in range(WRITERS) for turn in range(40))


def test_a_turn_that_was_interrupted_between_two_steps_is_given_back_and_nothing_of_it_stays(
    database: Database,
) -> None:
    turns = database._turns
    assert turns.take(5)
    shared = turns.enter(database._begin)
    shared.connection.execute(INSERT, ("half",))
    turns.give_back()  # Ctrl-C came before the part had an end
    other = threading.Thread(target=write, args=(database, "other"))
    other.start()
    other.join(30)
    assert (other.is_alive(), names(database)) == (False, ["other"])
    turns.give_back()  # whose turn it is not gives nothing back
    write(database, "mine")
    assert names(database) == ["mine", "other"]


def test_whom_an_interruption_meets_even_while_he_gives_his_turn_back_keeps_nobody_from_closing(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second Ctrl-C, or one at that very place."""
    monkeypatch.setattr(file, "_BEYOND_SECONDS", 60.0)
    interrupted_while_giving_back(database)
    began = time.monotonic()
    database.close()
    assert time.monotonic() - began < 30
    with closing(sqlite3.connect(database.path)) as other:
        assert other.execute(NAMES).fetchall() == []


def test_nothing_of_what_it_has_left_is_committed_with_what_comes_next(database: Database) -> None:
    interrupted_while_giving_back(database)
    write(database, "next")
    assert names(database) == ["next"]
    other = threading.Thread(target=write, args=(database, "other"))
    other.start()
    other.join(30)
    assert (other.is_alive(), names(database)) == (False, ["next", "other"])


def interrupted_while_giving_back(database: Database) -> None:
    turns = database._turns
    give_back = turns.give_back

    def interrupted() -> None:
        if turns._open is not None:
            raise KeyboardInterrupt
        give_back()

    turns.give_back = interrupted  # type: ignore[method-assign]
    leave = turns.leave
    turns.leave = lambda shared: interrupted()  # type: ignore[method-assign,assignment]
    try:
        with pytest.raises(KeyboardInterrupt):
            write(database, "half")
    finally:
        turns.give_back, turns.leave = give_back, leave  # type: ignore[method-assign]
    assert turns._open is not None, "the interruption was to leave it open"


def test_who_handles_a_signal_may_write_too_and_what_it_met_is_undone_as_a_whole(database: Database) -> None:
    def handle(transaction: sqlite3.Connection) -> None:
        transaction.execute(INSERT, ("first half",))
        write(database, "handler")
        transaction.execute(INSERT, ("second half",))

    with pytest.raises(StoreError), database.writing() as transaction:
        handle(transaction)
    assert names(database) == ["handler"]
    write(database, "later")
    assert names(database) == ["handler", "later"]


def test_a_thread_that_holds_its_connection_for_ever_keeps_nobody_from_closing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file, "_BEYOND_SECONDS", 0.1)
    with SqliteStore(tmp_path / "bounces.db", busy_seconds=0.1) as store:
        handle = store._database._mine()
        handle.lock.acquire()
        began = time.monotonic()
        store.close()
        assert time.monotonic() - began < 30
        handle.lock.release()


def test_who_left_a_commit_to_one_that_was_interrupted_is_told_that_it_failed(database: Database) -> None:
    """The other had the turn, and lost the transaction out of his hands."""

    def interrupted() -> None:
        turns = database._turns
        assert turns.take(5)
        turns._open = None
        turns._turn.release()

    with pytest.raises(StoreError, match="interrupted"):
        all_at_once(database, [interrupted])
    write(database, "later")
    assert names(database) == ["later"]
