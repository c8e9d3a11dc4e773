"""One SQLite file and the connections to it: a connection a thread, none that outlives a fork, every error by name.

A file that is moved, deleted or replaced beneath us is noticed before each use, since SQLite would go on with the old
one. A lost -wal is noticed the same way: the commits in it are gone, and more would follow them.
"""

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from weakref import WeakSet

from bouncekit.stores.sql.database import Interrupted, Rows
from bouncekit.stores.sqlite.breath import Breath
from bouncekit.stores.sqlite.faults import DAMAGE, LOCKED, MOVED, READ_ONLY, breaks, code_of, fault
from bouncekit.stores.sqlite.schema import check_owner, create, migrate, recognise
from bouncekit.stores.sqlite.turns import Shared, Turns
from bouncekit.words.errors import StoreBusy, StoreCorrupt, StoreError, StoreMoved, StoreReadOnly, StoreRefused

__all__ = ["Database"]

_BEYOND_SECONDS = 5.0  # and who waits for a thread longer than any statement waits, waits so much longer
_SHORTEST_SECONDS, _LONGEST_SECONDS = 0.0005, 0.004  # between two looks whether another process is done
_WORTH_IT = 150  # commits behind which what lies in the log is written back when nobody waits
_CHECKED_BYTES = 16 * 1024 * 1024  # a file up to this size is read through when it is opened first: 0.1 s
_PRAGMAS = (
    "synchronous = FULL",
    "foreign_keys = ON",
    "trusted_schema = OFF",
    "cell_size_check = ON",
    # Of the log, 32 MB: what many commits change is written back once, and one commit of many waits for it.
    "wal_autocheckpoint = 8000",
)

_NO_TEXT = "Could not decode to UTF-8"  # by which Python says that a text was damaged, and by no code
# SQLite would write the old file's log into the new one.
_REPLACED = f"{MOVED}, or stop all who use it, remove the -wal and -shm beside it, and start again with the new one"
_LOG_LOST = (
    "its -wal was moved, deleted or replaced while it was open, with what is not in the file yet; put it back, or"
    " stop all who use the store and start again without it"
)
_LOG_LEFT = "gone, but its -wal is still there; put the file back, or remove the -wal and -shm too, and start anew"


class _Handle:
    """One thread's connection, where it is open. Whoever holds `lock` may use or close it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.connection: sqlite3.Connection | None = None
        self.place: tuple[int, int, int] | None = None
        self.pid = 0

    def shut(self, getpid: Callable[[], int] = os.getpid) -> None:
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
        self._lost: tuple[int, int, int] | None = None  # where its log was, if it was missed while it was open
        self._closed = False
        self._turns = Turns()  # to write
        self._breath = Breath(longest_look=_LONGEST_SECONDS)
        self._in_log = 0  # commits of ours since it was written back in a quiet moment
        self._pragmas: tuple[str, ...] = _PRAGMAS
        self._reads_any_text = False  # once a text was damaged: whoever reads it sees that, and others go on
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
                return self._when_free(lambda: connection.execute(statement, parameters)).fetchall()
            except sqlite3.Error as error:
                raise self._failed(handle, error) from error

    @contextmanager
    def writing(self, *about: object) -> Iterator[sqlite3.Connection]:
        """A transaction that holds the lock for writers from its start; what raises inside undoes all of it.

        It may share its commit with those of other threads, see `turns`.
        """
        try:
            if not self._turns.take(self._busy_seconds):
                raise StoreBusy(f"{self.path}: {LOCKED}")
            shared = self._turns.enter(self._begin)
            try:
                with shared.part(breaks) as connection:
                    yield connection
            except sqlite3.Error as error:
                raise self._fault(error) from error
            finally:
                self._turns.leave(shared)
                if shared.failed is not None:
                    raise self._failed_together(shared.failed, shared) from shared.failed
        finally:
            self._turns.give_back()

    def _failed_together(self, error: sqlite3.Error, shared: Shared) -> StoreError:
        """What is told to each who shared a commit: nobody knows whose fault it was, and so nobody is refused.

        What a disk failed at in COMMIT lies in the log perhaps, where whoever opens the file behind a crash finds it.
        """
        failed = self._fault(error)
        if shared.has_several and isinstance(failed, StoreRefused):
            return StoreError(f"{self.path}: undone with what another thread wrote; ask again ({error})")
        failed.unknown = shared.was_asked and code_of(error) & 0xFF == sqlite3.SQLITE_IOERR
        return failed

    def _begin(self) -> Shared:
        """A transaction on this thread's connection, which nobody else has until it is over."""
        if pause := self._breath.needed(time.monotonic()):
            time.sleep(pause)
        handle = self._mine()
        handle.lock.acquire()
        try:
            connection = self._ready(handle)
            try:
                self._when_free(lambda: connection.execute("BEGIN IMMEDIATE"))
                self._in_log += 1
            except sqlite3.Error as error:
                raise self._failed(handle, error) from error
        except BaseException:
            handle.lock.release()
            raise
        return Shared(connection, partial(self._let_go, handle))

    def _let_go(self, handle: _Handle, failed: sqlite3.Error | None) -> None:
        self._breath.ended(time.monotonic())
        if failed is not None and breaks(failed):
            handle.shut()
        with suppress(RuntimeError):  # released already, and interrupted then
            handle.lock.release()

    def _when_free(self, execute: Callable[[], sqlite3.Cursor]) -> sqlite3.Cursor:
        """What a statement finds, once no other process holds a lock that it needs.

        SQLite itself would sleep ever longer between two looks, up to a tenth of a second: beside a process that writes
        all the time it hardly ever comes to it.
        """
        pause, until = _SHORTEST_SECONDS, time.monotonic() + self._busy_seconds
        while True:
            try:
                return execute()
            except sqlite3.OperationalError as error:
                if code_of(error) & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= until:
                    raise
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_SECONDS)

    def empty_log(self) -> bool:
        """Write back all that lies in the log, and leave nothing in it; False where others were at it all the time."""
        until = time.monotonic() + self._busy_seconds
        while True:
            ((is_busy, *_),) = self.read("PRAGMA wal_checkpoint(TRUNCATE)")
            if not is_busy or time.monotonic() >= until:
                return not is_busy
            time.sleep(_LONGEST_SECONDS)

    def say(self, pragma: str) -> None:
        """Have every connection begin with one more pragma, those that are open too."""
        if pragma in self._pragmas:
            return
        self._pragmas += (pragma,)
        with self._lock:
            handles = tuple(self._handles)
        for handle in handles:
            with handle.lock:
                if handle.connection is not None and handle.pid == os.getpid():
                    try:
                        handle.connection.execute(f"PRAGMA {pragma}")
                    except sqlite3.Error as error:
                        raise self._failed(handle, error) from error

    def settled_until(self, table: str) -> int:
        """Writers come one behind the other: whatever can be read, nothing turns up before it."""
        return 2**63 - 1

    def rest(self) -> None:
        """Write back what lies in the log: else one commit of many does, and whoever waits for that waits long.

        Others write meanwhile, and who comes behind it begins the log anew.
        """
        if self._in_log < _WORTH_IT:
            return
        self._in_log = 0
        with suppress(StoreError):  # the next commit meets it, too
            self.read("PRAGMA wal_checkpoint(PASSIVE)")

    @property
    def is_in_doubt(self) -> bool:
        """Never: nobody asks twice here."""
        return False

    def wait(self, interruption: Interrupted, tries: int) -> bool:
        """Whoever waits for the lock has waited already."""
        return False

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
            raise StoreCorrupt(f"{self.path}: {DAMAGE.format(error=finding)}")

    def close(self) -> None:
        """Close the connections of all threads, each behind what it is doing now.

        Who does something for longer than any statement waits keeps his: an interruption may have left it with nobody.
        """
        self._closed = True
        self._turns.give_back()
        with self._lock:
            handles = tuple(self._handles)
        for handle in handles:
            if handle.lock.acquire(timeout=self._busy_seconds + _BEYOND_SECONDS):
                handle.shut()
                handle.lock.release()

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
            raise self._missed(handle)
        if self._lost is not None and self._lost != self._place():
            raise StoreMoved(f"{self.path}: {_LOG_LOST}")
        self._lost = None
        try:
            handle.connection = self._open()
        except (sqlite3.Error, OSError) as error:
            raise self._failed(handle, error) from error
        handle.pid, handle.place = os.getpid(), self._place()
        if handle.place is None:
            handle.shut()
            raise StoreMoved(f"{self.path}: {MOVED}")
        self._identity = handle.place[:2]
        return handle.connection

    def _place(self) -> tuple[int, int, int] | None:
        """What tells this file, and its -wal, from others of the same name; None where one is not there."""
        try:
            file, log = os.stat(self.path), os.stat(f"{self.path}-wal")
        except OSError:
            return None
        return file.st_dev, file.st_ino, log.st_ino

    def _missed(self, handle: _Handle) -> StoreMoved:
        """What is wrong with the place of the file; all connections are closed that nobody uses just now.

        A log that was deleted is still open in them, and the last to close writes back what is in it.
        """
        assert handle.place is not None
        lost, file = handle.place, self._file()
        handle.shut()
        with self._lock:
            others = tuple(one for one in self._handles if one is not handle)
        for other in others:
            if other.lock.acquire(blocking=False):
                other.shut()
                other.lock.release()
        if file != lost[:2]:
            return StoreMoved(f"{self.path}: {_REPLACED}")
        self._lost = lost
        return StoreMoved(f"{self.path}: {_LOG_LOST}")

    def _file(self) -> tuple[int, int] | None:
        """What tells the file that lies at our path now from others; None where none does."""
        try:
            file = os.stat(self.path)
        except OSError:
            return None
        return file.st_dev, file.st_ino

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
            for pragma in self._pragmas:
                connection.execute(f"PRAGMA {pragma}")
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
            if mode != "wal":
                raise StoreError(f"{self.path}: this file system cannot share memory (WAL); use a local disk")
            migrate(connection, self.path)
            self._read_through(connection)
            connection.create_function("holds", 3, _holds, deterministic=True)
            connection.execute("PRAGMA busy_timeout = 0")  # from here on `_when_free` waits
            if self._reads_any_text:
                connection.text_factory = _any_text
        except BaseException:
            connection.close()
            raise
        return connection

    def _look_at_the_file(self) -> None:
        """Make the store where there never was one; refuse what is none, or what we must not write."""
        if self._identity is not None:
            if (file := self._file()) != self._identity:
                raise StoreMoved(f"{self.path}: {_REPLACED if file else MOVED}")
        elif not os.path.lexists(self.path):
            if os.path.lexists(f"{self.path}-wal"):
                raise StoreMoved(f"{self.path}: {_LOG_LEFT}")
            create(self.path)
        if os.path.isdir(self.path):
            raise StoreError(f"{self.path}: a directory; name a file in it")
        recognise(self.path)
        if not os.access(self.path, os.W_OK):
            raise StoreReadOnly(f"{self.path}: {READ_ONLY}")

    def _read_through(self, connection: sqlite3.Connection) -> None:
        if self._identity is not None or os.stat(self.path).st_size > _CHECKED_BYTES:
            return
        (finding,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if finding != "ok":
            raise StoreCorrupt(f"{self.path}: {DAMAGE.format(error=finding)}")

    def _failed(self, handle: _Handle, error: sqlite3.Error | OSError) -> StoreError:
        """The error by its name; a connection that may not be good any more is closed, and opened anew when needed."""
        if isinstance(error, sqlite3.Error) and breaks(error):
            handle.shut()
        return self._fault(error)

    def _fault(self, error: sqlite3.Error | OSError) -> StoreError:
        self._reads_any_text |= _NO_TEXT in str(error)  # the connection is opened anew behind it
        return fault(error, self.path, busy_seconds=self._busy_seconds)

    # -- around a fork

    def pause(self) -> None:
        """Close all connections and let none be opened, so that none crosses the fork; see `_before_fork`."""
        self._lock.acquire()
        for handle in tuple(self._handles):
            # A thread that still is not done keeps its connection, which the child finds to be another process's.
            if handle.lock.acquire(timeout=self._busy_seconds + _BEYOND_SECONDS):
                handle.shut()
                self._paused.append(handle)

    def resume(self, *, in_child: bool) -> None:
        """Go on, in parent and child."""
        while self._paused:
            self._paused.pop().lock.release()
        for handle in tuple(self._handles) if in_child else ():
            if handle.lock.locked():  # by a thread that was not done and does not exist here
                handle.lock = threading.Lock()
        if in_child:
            self._turns.start_afresh()
        self._lock.release()


def _any_text(stored: bytes) -> str:
    """Also what is no UTF-8: no address is, and no JSON, with what stands for such a byte."""
    return stored.decode("utf-8", "surrogateescape")


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
