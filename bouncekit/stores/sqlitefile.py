"""One SQLite file and the connections to it: a connection a thread, none that outlives a fork, every error by name.

A file that is moved, deleted or replaced beneath us is noticed before each use, since SQLite would go on with the old
one. A lost -wal is noticed the same way: the commits in it are gone, and more would follow them.
"""

import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any
from weakref import WeakSet

from bouncekit.errors import StoreCorrupt, StoreError
from bouncekit.stores.schema import check_owner, create, migrate, recognise

__all__ = ["Database", "Rows"]

Rows = list[tuple[Any, ...]]

_CHECKED_BYTES = 16 * 1024 * 1024  # a file up to this size is read through when it is opened first: 0.1 s
_PRAGMAS = ("synchronous = FULL", "foreign_keys = ON", "trusted_schema = OFF", "cell_size_check = ON")

# What would be right, by SQLite's primary result code; "{seconds}" is how long we waited.
_ADVICE = {
    sqlite3.SQLITE_BUSY: "locked by another process for more than {seconds:g} s; see who holds it",
    sqlite3.SQLITE_LOCKED: "locked by another connection of this process; let it finish",
    sqlite3.SQLITE_FULL: "its disk is full; make room, then nothing else is to be done",
    sqlite3.SQLITE_READONLY: "read-only; let this user write to the file and to its directory",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened; its directory must exist and be writable for this user",
    sqlite3.SQLITE_PERM: "not allowed; let this user read and write the file",
    sqlite3.SQLITE_IOERR: "its disk failed; look at the system's log",
}
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_DAMAGE = "damaged ({error}); it was left as it is: restore a backup, or rescue it with `sqlite3 FILE .recover`"
_MOVED = "moved, deleted or replaced while it was open; put it back"
# SQLite would write the old file's log into the new one.
_REPLACED = f"{_MOVED}, or stop all who use it, remove the -wal and -shm beside it, and start again with the new one"
_LOG_LEFT = "gone, but its -wal is still there; put the file back, or remove the -wal and -shm too, and start anew"


class _Handle:
    """One thread's connection, where it is open. Whoever holds `lock` may use or close it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.connection: sqlite3.Connection | None = None
        self.place: tuple[int, int, int] | None = None
        self.pid = 0

    def shut(self, getpid: Any = os.getpid) -> None:
        """Close the connection; one that came over a fork is dropped as it is, since closing touches its parent's."""
        connection, self.connection = self.connection, None
        if connection is None:
            return
        if self.pid == getpid():
            connection.close()
        else:
            _dropped.append(connection)

    def __del__(self) -> None:
        self.shut()


class Database:
    """A SQLite file that is a store. Opening makes it where nothing is."""

    def __init__(self, path: str | os.PathLike[str], *, busy_seconds: float) -> None:
        self.path = os.path.realpath(path)
        self._busy_seconds = busy_seconds
        self._local = threading.local()
        self._handles: WeakSet[_Handle] = WeakSet()
        self._lock = threading.Lock()  # guards `_handles`
        self._paused: list[_Handle] = []
        self._identity: tuple[int, int] | None = None  # of the file, once we have had it: then no other is taken
        self._closed = False
        _databases.add(self)
        handle = self._mine()
        with handle.lock:
            self._ready(handle)

    def read(self, statement: str, parameters: Sequence[object] | Mapping[str, object] = ()) -> Rows:
        """All rows of one SELECT; nothing stays open or locked behind it."""
        handle = self._mine()
        with handle.lock:
            connection = self._ready(handle)
            try:
                return connection.execute(statement, parameters).fetchall()
            except sqlite3.Error as error:
                raise self._failed(handle, error) from error

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that holds the lock for writers from its start; what raises inside undoes all of it."""
        handle = self._mine()
        with handle.lock:
            connection = self._ready(handle)
            try:
                try:
                    connection.execute("BEGIN IMMEDIATE")
                    yield connection
                    connection.execute("COMMIT")
                except BaseException:
                    if connection.in_transaction:
                        with suppress(sqlite3.Error):
                            connection.execute("ROLLBACK")
                    raise
            except sqlite3.Error as error:
                raise self._failed(handle, error) from error

    def try_writing(self) -> None:
        """Write a page as it is, so that whatever keeps others from writing is met here.

        Raises:
            StoreError: nothing can be written; the message says why.
        """
        with self.writing() as connection:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            connection.execute(f"PRAGMA user_version = {version}")

    def check(self) -> None:
        """Read the whole file through.

        Raises:
            StoreCorrupt: it is damaged; the message has the first finding.
        """
        ((finding,),) = self.read("PRAGMA quick_check(1)")
        if finding != "ok":
            raise StoreCorrupt(f"{self.path}: {_DAMAGE.format(error=finding)}")

    def close(self) -> None:
        """Close the connections of all threads, each behind what it is doing now."""
        self._closed = True
        with self._lock:
            handles = tuple(self._handles)
        for handle in handles:
            with handle.lock:
                handle.shut()

    # -- this thread's connection

    def _mine(self) -> _Handle:
        handle: _Handle | None = getattr(self._local, "handle", None)
        if handle is None:
            handle = self._local.handle = _Handle()
            with self._lock:
                self._handles.add(handle)
        return handle

    def _ready(self, handle: _Handle) -> sqlite3.Connection:
        """The open connection of a handle whose lock is held, to the file that lies at our path now."""
        if self._closed:
            raise StoreError(f"{self.path}: the store is closed; open another one")
        if handle.pid != os.getpid():
            handle.shut()
        if handle.connection is not None:
            if handle.place == self._place():
                return handle.connection
            handle.shut()
            raise StoreError(f"{self.path}: {_REPLACED}")
        try:
            handle.connection = self._open()
        except (sqlite3.Error, OSError) as error:
            raise self._failed(handle, error) from error
        handle.pid, handle.place = os.getpid(), self._place()
        if handle.place is None:
            handle.shut()
            raise StoreError(f"{self.path}: {_MOVED}")
        self._identity = handle.place[:2]
        return handle.connection

    def _place(self) -> tuple[int, int, int] | None:
        """What tells this file, and its -wal, from others of the same name; None where one is not there."""
        try:
            file, log = os.stat(self.path), os.stat(f"{self.path}-wal")
        except OSError:
            return None
        return file.st_dev, file.st_ino, log.st_ino

    def _open(self) -> sqlite3.Connection:
        self._look_at_the_file()
        connection = sqlite3.connect(
            f"{Path(self.path).as_uri()}?mode=rw",
            uri=True,
            timeout=self._busy_seconds,
            isolation_level=None,
            check_same_thread=False,  # `close` and a fork close what other threads opened
        )
        try:
            check_owner(connection, self.path)
            for pragma in _PRAGMAS:
                connection.execute(f"PRAGMA {pragma}")
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
            if mode != "wal":
                raise StoreError(f"{self.path}: this file system cannot share memory (WAL); use a local disk")
            migrate(connection, self.path)
            self._read_through(connection)
            connection.create_function("holds", 3, _holds, deterministic=True)
        except BaseException:
            connection.close()
            raise
        return connection

    def _look_at_the_file(self) -> None:
        """Make the store where there never was one; refuse what is none, or what we must not write."""
        if self._identity is not None:
            file = os.stat(self.path) if os.path.lexists(self.path) else None
            if file is None or (file.st_dev, file.st_ino) != self._identity:
                raise StoreError(f"{self.path}: {_REPLACED if file else _MOVED}")
        elif not os.path.lexists(self.path):
            if os.path.lexists(f"{self.path}-wal"):
                raise StoreError(f"{self.path}: {_LOG_LEFT}")
            create(self.path)
        if os.path.isdir(self.path):
            raise StoreError(f"{self.path}: a directory; name a file in it")
        recognise(self.path)
        if not os.access(self.path, os.W_OK):
            raise StoreError(f"{self.path}: {_ADVICE[sqlite3.SQLITE_READONLY]}")

    def _read_through(self, connection: sqlite3.Connection) -> None:
        if self._identity is not None or os.stat(self.path).st_size > _CHECKED_BYTES:
            return
        (finding,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if finding != "ok":
            raise StoreCorrupt(f"{self.path}: {_DAMAGE.format(error=finding)}")

    def _failed(self, handle: _Handle, error: sqlite3.Error | OSError) -> StoreError:
        """The error by its name; a connection that may not be good any more is closed, and opened anew when needed."""
        if isinstance(error, OSError):
            return StoreError(f"{self.path}: {error.strerror}; its directory must exist and be writable for this user")
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CONSTRAINT):
            handle.shut()
        if code in _DAMAGED:
            return StoreCorrupt(f"{self.path}: {_DAMAGE.format(error=error)}")
        advice = _ADVICE.get(code, "").format(seconds=self._busy_seconds)
        return StoreError(f"{self.path}: {advice} ({error})" if advice else f"{self.path}: {error}")

    # -- around a fork

    def pause(self) -> None:
        """Close all connections and let none be opened, so that none crosses the fork; see `_before_fork`."""
        self._lock.acquire()
        for handle in tuple(self._handles):
            # Longer than any statement waits. A thread that still is not done keeps its connection, which the child
            # finds to be another process's.
            if handle.lock.acquire(timeout=self._busy_seconds + 5):
                handle.shut()
                self._paused.append(handle)

    def resume(self, *, in_child: bool) -> None:
        """Go on, in parent and child."""
        while self._paused:
            self._paused.pop().lock.release()
        for handle in tuple(self._handles) if in_child else ():
            if handle.lock.locked():  # by a thread that was not done and does not exist here
                handle.lock = threading.Lock()
        self._lock.release()


def _holds(needle: str, key: str, address: str | None) -> bool:
    return needle in key or needle in (address or "").lower()


# SQLite forbids to carry a connection over a fork, even to close it on the other side: locks belong to a process, and
# what it knows of them to both. So none is open while Python forks; for forks that Python does not see, `_Handle.pid`.

_databases: WeakSet[Database] = WeakSet()
_dropped: list[sqlite3.Connection] = []
_forking = threading.Lock()
_paused: list[Database] = []


def _before_fork() -> None:
    _forking.acquire()
    for database in tuple(_databases):
        database.pause()
        _paused.append(database)


def _after_fork(*, in_child: bool = False) -> None:
    while _paused:
        _paused.pop().resume(in_child=in_child)
    _forking.release()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork, after_in_child=partial(_after_fork, in_child=True)
    )
