"""How an old store becomes a new one: all of it or nothing, also for who is killed meanwhile.

There is a second migration here that a second version could have: a table made anew, one filled, an index.
"""

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from bouncekit.stores.sqlite import SqliteStore, schema
from bouncekit.stores.sqlite.schema import migrate, newest_version
from bouncekit.words.errors import StoreCorrupt

from .building import ANN, BOB, suppression
from .contract.queueing import enqueue
from .contract.stores import put

fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")

SECOND = """
-- The messages get a column in their midst, so the table is made anew under its name.
CREATE TABLE copied AS SELECT *, length(content) AS length FROM messages;
DROP TABLE messages;
CREATE TABLE messages (id TEXT NOT NULL PRIMARY KEY, sender TEXT NOT NULL, length INTEGER NOT NULL) STRICT;
INSERT INTO messages SELECT id, sender, length FROM copied;
DROP TABLE copied;
CREATE INDEX messages_by_length ON messages (length);
"""
STEPS = (*schema._migrations(), SECOND)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store of the shipped version, with mail in it."""
    path = tmp_path / "bounces.db"
    with SqliteStore(path) as store:
        put(store, suppression(ANN))
        enqueue(store, ANN, BOB)
    return path


def opened(path: Path, factory: type[sqlite3.Connection] = sqlite3.Connection) -> Any:
    connection = sqlite3.connect(path, isolation_level=None, factory=factory)
    connection.execute("PRAGMA foreign_keys = ON")
    return closing(connection)


def contents(path: Path) -> list[str]:
    with opened(path) as connection:
        return list(connection.iterdump())


def test_a_store_of_every_version_becomes_the_newest_with_all_that_is_in_it(path: Path) -> None:
    with opened(path) as connection:
        migrate(connection, str(path), STEPS)
        assert connection.execute("PRAGMA user_version").fetchone() == (newest_version() + 1,)
        assert connection.execute("SELECT count(*) FROM messages WHERE length > 0").fetchone() == (1,)
        assert connection.execute("SELECT count(*) FROM recipients").fetchone() == (2,), "nothing hung on what went"
        assert connection.execute("PRAGMA foreign_keys").fetchone() == (1,)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.parametrize("version", range(newest_version()))
def test_a_store_of_an_older_version_is_opened_by_this_one(version: int, tmp_path: Path) -> None:
    old = tmp_path / "old.db"
    with opened(old) as connection:
        connection.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
        if version:
            migrate(connection, str(old), schema._migrations()[:version])
    with SqliteStore(old) as store:
        store.check()
        put(store, suppression(ANN))


def test_what_is_the_newest_already_is_left_as_it_is(path: Path) -> None:
    before = contents(path)
    with opened(path) as connection:
        changes = connection.total_changes
        migrate(connection, str(path))
        assert connection.total_changes == changes
    assert contents(path) == before


def test_what_an_earlier_text_of_a_migration_has_made_is_told_before_it_is_used(tmp_path: Path) -> None:
    old, (first, *_) = tmp_path / "old.db", schema._migrations()
    with opened(old) as connection:
        connection.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
        migrate(connection, str(old), (first.replace("greylisted_at ", "grey_at "),))
    before = contents(old)
    with pytest.raises(StoreCorrupt, match=r"before its release, whose recipients was another.*suppressions export"):
        SqliteStore(old)
    assert contents(old) == before


def test_more_than_was_made_disturbs_nobody(path: Path) -> None:
    with opened(path) as connection:
        connection.execute("CREATE INDEX theirs ON messages (sender)")
        connection.execute("ANALYZE")
    SqliteStore(path).close()


def test_who_knows_less_leaves_it_as_it_is(path: Path) -> None:
    with opened(path) as connection:
        migrate(connection, str(path), STEPS)
    before = contents(path)
    with pytest.raises(StoreCorrupt, match="written by a newer bouncekit"):
        SqliteStore(path)
    assert contents(path) == before


@pytest.mark.parametrize(
    ("second", "error"),
    [
        (f"{SECOND} SELECT nothing FROM nowhere;", sqlite3.OperationalError),
        (f"{SECOND} DELETE FROM messages;", StoreCorrupt),
        (f"{SECOND} CREATE TABLE cut (off", AssertionError),
    ],
    ids=["an error", "rows that hang on nothing", "cut off"],
)
def test_a_migration_that_fails_leaves_the_old_version(path: Path, second: str, error: type[Exception]) -> None:
    before = contents(path)
    with opened(path) as connection:
        with pytest.raises(error):
            migrate(connection, str(path), (*schema._migrations(), second))
        assert connection.execute("PRAGMA foreign_keys").fetchone() == (1,)
    assert contents(path) == before
    with SqliteStore(path) as store:
        assert len(list(store.queued())) == 2


@fork
def test_a_migration_that_is_killed_before_any_statement_of_it_leaves_the_old_version_or_the_new(path: Path) -> None:
    before, ends = contents(path), []
    for number in range(100):
        ends.append(_killed_at(number, lambda factory: _migrate(path, factory)))
        with opened(path) as connection:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version == newest_version() + 1:
            break
        assert contents(path) == before, f"killed before statement {number}"
    assert len(ends) > 10
    assert set(ends) == {_KILLED, 0} if ends[-1] == 0 else {_KILLED}
    with opened(path) as connection:
        assert connection.execute("SELECT count(*) FROM recipients").fetchone() == (2,)


_KILLED = 9


def _migrate(path: Path, factory: type[sqlite3.Connection]) -> None:
    with opened(path, factory) as connection:
        migrate(connection, str(path), STEPS)


def _killed_at(number: int, work: Callable[[type[sqlite3.Connection]], None]) -> int:
    """The exit code of a child that ends before this statement, or with 0."""
    left = [number]

    class Mortal(sqlite3.Connection):
        def execute(self, *arguments: Any) -> sqlite3.Cursor:
            if not left[0]:
                os._exit(_KILLED)
            left[0] -= 1
            return super().execute(*arguments)

    if not (child := os.fork()):
        code = 1
        try:
            work(Mortal)
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
