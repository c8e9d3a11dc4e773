"""The tables of a SQLite store: how a new file gets them, an old one the newer ones, and a foreign one is told apart.

Migrations are the numbered files of `migrations/`. `user_version` says how many a file has had; all that are missing
are applied in one transaction, under the lock for writers, so that any number of processes may start at once.
"""

import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from functools import cache
from importlib.resources import files
from pathlib import Path

from bouncekit.errors import StoreCorrupt, StoreError

__all__ = ["APPLICATION_ID", "check_owner", "create", "migrate", "newest_version", "recognise"]

APPLICATION_ID = 0x424E434B  # "BNCK"
_OLDEST_SQLITE = (3, 37, 0)  # the first with STRICT tables


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
    draft = f"{path}.{os.getpid()}-{secrets.token_hex(4)}.new"
    os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    try:
        with closing(sqlite3.connect(draft, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            migrate(connection, path)
        _publish(draft, path)
    finally:
        for left in (draft, f"{draft}-wal", f"{draft}-shm"):
            with suppress(FileNotFoundError):
                os.unlink(left)


def recognise(path: str) -> None:
    """Look whether a file can be a store that this bouncekit knows, without a trace on it and without its lock.

    Only through SQLite: who opens and closes the file himself drops the locks that this process holds on it.

    Raises:
        StoreCorrupt: it is none.
        sqlite3.Error: it cannot be read.
    """
    with closing(sqlite3.connect(f"{Path(path).as_uri()}?immutable=1", uri=True)) as connection:
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
    _version(connection, path)


def migrate(connection: sqlite3.Connection, path: str) -> None:
    """Apply the migrations that a file has not had; nothing where it has had all.

    Raises:
        StoreCorrupt: a newer bouncekit has been here.
    """
    if _version(connection, path) == newest_version():
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        done = _version(connection, path)  # perhaps another one than before the lock
        for number, text in enumerate(_migrations()[done:], done + 1):
            for statement in _statements(text):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


_LEFT = "it was left as it is: name another file, or move this one away"


def _publish(draft: str, path: str) -> None:
    """Give a finished file its name, unless another has it."""
    try:
        os.link(draft, path)
    except FileExistsError:
        return
    except OSError:  # a file system without hard links
        if not os.path.lexists(path):
            os.rename(draft, path)
    if hasattr(os, "O_DIRECTORY"):
        directory = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def _version(connection: sqlite3.Connection, path: str) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > newest_version():
        known = f"schema {version}, this one knows up to {newest_version()}"
        raise StoreCorrupt(f"{path}: written by a newer bouncekit ({known}); upgrade bouncekit")
    return int(version)


@cache
def _migrations() -> tuple[str, ...]:
    """The migrations in order; the n-th file's name begins with n."""
    folder = files("bouncekit.stores") / "migrations"
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
