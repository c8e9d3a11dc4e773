"""The tables of a SQLite store: how a new file gets them, an old one the newer ones, and a foreign one is told apart.

Migrations are the numbered files of `migrations/`. `user_version` says how many a file has had; all that are missing
are applied in one transaction, under the lock for writers, so that any number of processes may start at once, and a
kill in between leaves the old version as it was. Foreign keys are off meanwhile, so that a table can be made anew under
its name without taking along what hangs on it; they must hold again before the commit.

A migration that was released is never edited. Before that it is: a file that an earlier text of it has made is told by
its tables, before any statement meets a column that is not there.
"""

import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from functools import cache
from importlib.resources import files
from pathlib import Path

from bouncekit.outside.drafts import draft_of, publish
from bouncekit.words.errors import StoreCorrupt, StoreError

__all__ = [
    "APPLICATION_ID",
    "check_owner",
    "create",
    "discard",
    "migrate",
    "newest_version",
    "recognise",
]

APPLICATION_ID = 0x424E434B  # "BNCK"
_OLDEST_SQLITE = (3, 37, 0)  # the first with STRICT tables
_LEFT = "it was left as it is: name another file, or move this one away"


@cache
def newest_version() -> int:
    """The version that this bouncekit writes."""
    return len(_migrations())


def create(path: str) -> None:
    """Make an empty store, readable for its owner only: whole, or not at all. Somebody else's, made meanwhile, stays.

    It is written beside its place under another name, so that no kill leaves a half-made one behind.

    Raises:
        OSError, sqlite3.Error: it cannot be written there.
    """
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        raise StoreError(f"this Python has SQLite {sqlite3.sqlite_version}; a store needs 3.37 or newer")
    draft = draft_of(path)
    try:
        with closing(sqlite3.connect(draft, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            migrate(connection, path)
        publish(draft, path)
    finally:
        discard(draft)


def discard(draft: str) -> None:
    """Remove what is left of a draft."""
    for left in (draft, f"{draft}-wal", f"{draft}-shm", f"{draft}-journal"):
        with suppress(FileNotFoundError):
            os.unlink(left)


def recognise(path: str) -> None:
    """Look whether a file can be a store that this bouncekit knows, without a trace on it and without its lock.

    Only through SQLite: who opens and closes the file himself drops the locks that this process holds on it.

    Raises:
        StoreCorrupt: it is none.
        sqlite3.Error: it cannot be read.
    """
    with closing(sqlite3.connect(f"{Path(path).as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
        try:
            check_owner(connection, path)
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_NOTADB:
                raise StoreCorrupt(f"{path}: no SQLite database ({error}); {_LEFT}") from error
            # Without the lock, a file into which somebody is just writing back the log looks damaged. Whether it is,
            # who opens it with the lock will see.
            if error.sqlite_errorcode != sqlite3.SQLITE_CORRUPT:
                raise


def check_owner(connection: sqlite3.Connection, path: str) -> None:
    """Look whether an open database is a store that this bouncekit knows.

    Raises:
        StoreCorrupt: it is none.
    """
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    if application != APPLICATION_ID:
        what = "an empty file" if os.stat(path).st_size == 0 else "a database, but no bouncekit store"
        raise StoreCorrupt(f"{path}: {what}; {_LEFT}")
    _version(connection, path, newest_version())


def migrate(connection: sqlite3.Connection, path: str, migrations: Sequence[str] | None = None) -> None:
    """Apply the migrations that a file has not had, of `migrations` or the shipped ones; nothing where it has had all.

    Raises:
        StoreCorrupt: a newer bouncekit has been here, or an unreleased one, or what is there cannot become the new
            version.
    """
    steps = _migrations() if migrations is None else migrations
    if _looked_at(connection, path, steps) == len(steps):
        return
    ((enforced,),) = connection.execute("PRAGMA foreign_keys").fetchall()
    connection.execute("PRAGMA foreign_keys = OFF")
    try:
        _apply(connection, path, steps)
    finally:
        connection.execute(f"PRAGMA foreign_keys = {enforced}")


def _apply(connection: sqlite3.Connection, path: str, steps: Sequence[str]) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        done = _version(connection, path, len(steps))  # perhaps another one than before the lock
        for number, text in enumerate(steps[done:], done + 1):
            for statement in _statements(text):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")
        if dangling := connection.execute("PRAGMA foreign_key_check").fetchone():
            raise StoreCorrupt(f"{path}: row {dangling[1]} of {dangling[0]} hangs on nothing; it was left as it is")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _looked_at(connection: sqlite3.Connection, path: str, steps: Sequence[str]) -> int:
    """The version of a file, which has what so many migrations make; more may be there, such as statistics."""
    connection.execute("BEGIN")
    try:
        done, found = _version(connection, path, len(steps)), _made(connection)
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    for name, text in _making(tuple(steps[:done])).items():
        if found.get(name) != text:
            raise StoreCorrupt(
                f"{path}: made by a bouncekit from before its release, whose {name} was another; it was left as it is:"
                " export its list with that one (`bouncekit suppressions export`), and import it into a new file"
            )
    return done


@cache
def _making(steps: tuple[str, ...]) -> Mapping[str, str]:
    """What migrations make of an empty file: tables and indexes, each with the text that made it."""
    with closing(sqlite3.connect(":memory:")) as connection:
        for text in steps:
            connection.executescript(text)
        return _made(connection)


def _made(connection: sqlite3.Connection) -> Mapping[str, str]:
    written = connection.execute("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL").fetchall()
    return {name: " ".join(text.split()) for name, text in written}


def _version(connection: sqlite3.Connection, path: str, newest: int) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > newest:
        known = f"schema {version}, this one knows up to {newest}"
        raise StoreCorrupt(f"{path}: written by a newer bouncekit ({known}); upgrade bouncekit")
    return int(version)


@cache
def _migrations() -> tuple[str, ...]:
    """The migrations in order; the n-th file's name begins with n."""
    folder = files("bouncekit.stores.sqlite") / "migrations"
    found = sorted((entry for entry in folder.iterdir() if entry.name.endswith(".sql")), key=lambda entry: entry.name)
    assert [int(entry.name[:4]) for entry in found] == list(range(1, len(found) + 1)), "a migration is missing"
    return tuple(entry.read_text("utf-8") for entry in found)


def _statements(text: str) -> Iterator[str]:
    """The statements of a file one by one: `executescript` would commit before the first."""
    statement = ""
    for line in text.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    assert not statement.strip(), f"a migration ends within a statement: {statement.strip()[:60]!r}"
