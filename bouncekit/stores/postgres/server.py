"""One PostgreSQL database as a store, and the connections to it: every error by name, no password in any of them.

Nobody waits for the whole store here, as writers of a SQLite file do. A transaction says what it is about; who is about
the same waits, everybody else goes on. It is READ COMMITTED, and what has been read about that stands still. Rows of
the queue are locked in the order of message and address, by claims only where nobody else is: so two never wait for
each other in a circle. Where they do after all, the server ends one of them, and it is done again.

What the server does not answer is done again too, for as long as patience lasts. An unanswered COMMIT may have been
done: its locks are ours until the server knows, so who asks again waits for the end of it and then looks.

Connections belong to a process, after a fork the child opens its own. All of them have limits of time: for a statement,
for a lock, and for a transaction in which nothing happens, so that a process that hangs does not stop the others.
"""

import logging
import os
import random
import re
import threading
import time
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from functools import lru_cache
from hashlib import blake2b
from typing import Any

import psycopg
from psycopg import pq
from psycopg.adapt import AdaptersMap
from psycopg.types.numeric import Int8Dumper
from psycopg.types.string import StrDumper
from psycopg_pool import ConnectionPool, PoolTimeout

from bouncekit.outside.forking import begin_afresh_in_children
from bouncekit.stores.postgres.faults import fault, first_line
from bouncekit.stores.postgres.place import PostgresPlace
from bouncekit.stores.postgres.schema import migrate
from bouncekit.stores.sql.database import Interrupted, Rows, Values
from bouncekit.words.errors import StoreBusy, StoreError

__all__ = ["PostgresServer"]

_Connection = psycopg.Connection[tuple[Any, ...]]

_OLDEST_SERVER = 130000
_MOST_CONNECTIONS = 10  # of one process
_STATEMENT_SECONDS = 60
_IDLE_SECONDS = 30  # in a transaction
_MANY = 64  # locks of one transaction; beyond that it takes the one that stands for all
_SHORTEST_WAIT, _LONGEST_WAIT = 0.01, 1.0
_OPENING_SECONDS = 3.0  # no more patience than this before there ever was a connection: nothing is under way
_LOOK_AGAIN_SECONDS = 1.0  # the pool alone looks for a server that is away in ever longer pauses, up to our patience

# A queue is empty now and long a minute later, and the server plans by what it knew a while ago: so it is told to go by
# the indexes, row by row, which is right for all that is asked here.
_READY = """
    SELECT set_config('search_path', %s, FALSE), set_config('statement_timeout', %s, FALSE),
    set_config('lock_timeout', %s, FALSE), set_config('idle_in_transaction_session_timeout', %s, FALSE),
    set_config('synchronous_commit', CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on'
        ELSE current_setting('synchronous_commit') END, FALSE),
    set_config('client_min_messages', 'error', FALSE), set_config('enable_seqscan', 'off', FALSE),
    set_config('enable_mergejoin', 'off', FALSE), set_config('enable_hashjoin', 'off', FALSE),
    set_config('jit', 'off', FALSE)"""
_LOCK_SOME = """
    SELECT pg_advisory_xact_lock_shared('messages'::regclass::oid::integer, 0), (
        SELECT count(pg_advisory_xact_lock('messages'::regclass::oid::integer, subject))
        FROM unnest(%s::integer[]) AS subject)"""
_LOCK_ALL = "SELECT pg_advisory_xact_lock('messages'::regclass::oid::integer, 0)"
_LOCK_ROWS = "SELECT 1 FROM recipients WHERE message = ANY(%s::text[]) ORDER BY message, address FOR UPDATE"

_IN_DOUBT = "the connection was lost in COMMIT, and nobody knows whether it was done; look, before asking again"


class PostgresServer:
    """A database on a server that is a store. Opening makes its schema and tables where they are not.

    Args:
        place: where it is.
        patience_seconds: how long to wait for a server that is away, and for others who hold what we need.
    """

    def __init__(self, place: PostgresPlace, *, patience_seconds: float) -> None:
        self.place = place
        self._patience_seconds = patience_seconds
        self._local = threading.local()
        self._lock = threading.Lock()  # guards the pool
        self._pool: ConnectionPool[_Connection] | None = None
        self._pid = 0
        self._closed = False
        begin_afresh_in_children(self)
        logging.getLogger("psycopg").addHandler(_SILENT)  # else each try to connect is told on standard error
        self.server = self._open()

    def read(self, statement: str, parameters: Values = ()) -> Rows:
        """All rows of one SELECT; nothing stays open or locked behind it."""
        tries = 0
        while True:
            try:
                with self._connection() as connection:
                    return connection.execute(_said(statement), parameters).fetchall()
            except Interrupted as interruption:
                tries += 1
                if not self.wait(interruption, tries):
                    raise

    @contextmanager
    def writing(self, *about: object) -> Iterator["_Transaction"]:
        """A transaction that has what it is about to itself; what raises inside undoes all of it."""
        commits = False
        with self._connection() as connection:
            try:
                with connection.pipeline() if psycopg.Pipeline.is_supported() else nullcontext() as pipeline:
                    connection.execute("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE")
                    _lock(connection, about)
                    yield _Transaction(connection, pipeline)
                    commits = True
                    connection.execute("COMMIT")
            except BaseException as error:
                if connection.pgconn.status == pq.ConnStatus.OK:  # the server says that it was not done
                    with suppress(psycopg.Error):
                        connection.execute("ROLLBACK")
                elif commits:
                    self._local.is_in_doubt = True
                    raise Interrupted(f"{self.place}: {_IN_DOUBT}", unknown=True) from error
                raise
        self._local.is_in_doubt = False

    def settled_until(self, table: str) -> int:
        """The number up to which all transactions that were given one have ended; see the schema."""
        return int(self.read("SELECT settled_until(?)", (table,))[0][0])

    def rest(self) -> None:
        """The server sees to that itself."""

    @property
    def is_in_doubt(self) -> bool:
        """Whether this thread's last COMMIT had no answer."""
        return bool(getattr(self._local, "is_in_doubt", False))

    def wait(self, interruption: Interrupted, tries: int) -> bool:
        """Wait, ever longer, before the next try; False where patience is at its end."""
        now = time.monotonic()
        if tries == 1:
            self._local.until = now + self._patience_seconds
        # After a restart every connection that was idle is broken, and found to be so at once.
        longest = min(_SHORTEST_WAIT * 2.0 ** max(0, tries - _MOST_CONNECTIONS), _LONGEST_WAIT)
        pause = random.uniform(0, longest)  # noqa: S311 - no secret: only not all at the same time
        if self._closed or now + pause > self._local.until:
            return False
        time.sleep(pause)
        return True

    def try_writing(self) -> None:
        """Write a row as it is, and commit it.

        Raises:
            StoreError: nothing can be written; the message says why.
        """
        with self.writing() as transaction:
            transaction.execute("UPDATE bouncekit SET version = version")

    def close(self) -> None:
        """Close the connections, each behind what it is doing now."""
        self._closed = True
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None and self._pid == os.getpid():
            pool.close()

    def start_afresh(self) -> None:
        """The child of a fork opens its own connections, and leaves its parent's alone."""
        self._lock = threading.Lock()
        self._forsake()

    # -- connections

    def _open(self) -> str:
        """Make or check the tables, by a connection of its own; the server's version."""
        tries, until = 0, time.monotonic() + _OPENING_SECONDS
        while True:
            try:
                with psycopg.connect(**self._settings()) as connection:
                    self._make_ready(connection)
                    migrate(connection, self.place)
                    version = connection.info.server_version
                return f"PostgreSQL {version // 10000}.{version % 10000}"
            except psycopg.Error as error:
                failed = fault(error, self.place)
                tries += 1
                is_early = time.monotonic() < until
                if not (isinstance(failed, Interrupted) and is_early and self.wait(failed, tries)):
                    raise failed from error

    def _settings(self) -> dict[str, Any]:
        return {**self.place.settings(), "autocommit": True, "context": _ADAPTERS, "prepare_threshold": 2}

    def _make_ready(self, connection: _Connection) -> None:
        if connection.info.server_version < _OLDEST_SERVER:
            raise StoreError(f"{self.place}: the server is older than PostgreSQL 13; a store needs that or newer")
        encoding = connection.info.parameter_status("server_encoding")
        if encoding != "UTF8":
            raise StoreError(f"{self.place}: its encoding is {encoding}; CREATE DATABASE another one, ENCODING 'UTF8'")
        limits = (_STATEMENT_SECONDS, self._patience_seconds, _IDLE_SECONDS)
        connection.execute(_READY, (f'"{self.place.schema}"', *(f"{1000 * limit:.0f}" for limit in limits)))

    @contextmanager
    def _connection(self) -> Iterator[_Connection]:
        """A connection; one that broke is not given back to be used again."""
        pool = self._ready()
        connection = self._take(pool)
        try:
            yield connection
        except psycopg.Error as error:
            raise fault(error, self.place) from error
        finally:
            pool.putconn(connection)

    def _take(self, pool: "ConnectionPool[_Connection]") -> _Connection:
        """A connection of the pool, within patience; each time that it is asked it also looks for the server anew."""
        until = time.monotonic() + self._patience_seconds
        while (left := until - time.monotonic()) > 0:
            with suppress(PoolTimeout):
                return pool.getconn(min(left, _LOOK_AGAIN_SECONDS))
        self._look_for_server()
        try:
            return pool.getconn(_LOOK_AGAIN_SECONDS)  # it may have come back just now
        except PoolTimeout as error:
            said = f"all {_MOST_CONNECTIONS} connections of this process are in use; let them finish"
            raise StoreBusy(f"{self.place}: {said}") from error

    def _ready(self) -> "ConnectionPool[_Connection]":
        if self._closed:
            raise StoreError(f"{self.place}: the store is closed; open another one")
        with self._lock:
            if self._pid != os.getpid():
                self._forsake()
            if self._pool is None:
                self._pid = os.getpid()
                self._pool = ConnectionPool(
                    kwargs=self._settings(),
                    configure=self._make_ready,
                    min_size=0,
                    max_size=_MOST_CONNECTIONS,
                    timeout=self._patience_seconds,
                    reconnect_timeout=min(self._patience_seconds, _LOOK_AGAIN_SECONDS),
                    open=True,
                    name="bouncekit",
                )
                weakref.finalize(self, _close_at_exit, self._pool, self._pid)
            return self._pool

    def _forsake(self) -> None:
        """Leave a pool to the process that it belongs to: nothing of it may be closed here."""
        pool, self._pool = self._pool, None
        if pool is not None:
            _forsaken.append(pool)

    def _look_for_server(self) -> None:
        """Connect once beside the pool, which does not say why it had no connection for as long as patience lasts.

        Raises:
            StoreError: the server is away.
        """
        try:
            psycopg.connect(**self._settings()).close()
        except psycopg.Error as error:
            seconds = f"{self._patience_seconds:g}"
            raise StoreError(f"{self.place}: away for {seconds} s and more ({first_line(error)})") from error


class _Transaction:
    """See `bouncekit.stores.sql.database.Transaction`. What nobody waits for is sent on together with what follows."""

    def __init__(self, connection: _Connection, pipeline: psycopg.Pipeline | None) -> None:
        self._connection = connection
        self._pipeline = pipeline

    def execute(self, statement: str, values: Values = (), /) -> "_Found":
        return _Found(self._connection.execute(_said(statement), values), self._pipeline)

    def executemany(self, statement: str, values: Iterable[Any], /) -> "_Found":
        cursor = self._connection.cursor()
        if rows := list(values):
            cursor.executemany(_said(statement), rows)
        return _Found(cursor, self._pipeline if rows else None)


class _Found:
    """What a statement did, once somebody looks."""

    def __init__(self, cursor: "psycopg.Cursor[tuple[Any, ...]]", pipeline: psycopg.Pipeline | None) -> None:
        self._cursor = cursor
        self._pipeline = pipeline
        self.fetchone, self.fetchall = cursor.fetchone, cursor.fetchall

    @property
    def rowcount(self) -> int:
        if self._pipeline is not None:
            self._pipeline.sync()
        return max(self._cursor.rowcount, 0)


class _FlagDumper(Int8Dumper):
    """A truth value, which the tables keep as 0 or 1."""

    def dump(self, obj: Any) -> bytes:
        return b"1" if obj else b"0"


def _adapted() -> AdaptersMap:
    """Values as the tables have them: every number a BIGINT, every text a TEXT, whatever it is compared with."""
    adapters = AdaptersMap(psycopg.adapters)
    adapters.register_dumper(int, Int8Dumper)
    adapters.register_dumper(bool, _FlagDumper)
    adapters.register_dumper(str, StrDumper)
    return adapters


_ADAPTERS = _adapted()
_forsaken: list[ConnectionPool[_Connection]] = []
_SILENT = logging.NullHandler()  # one, since the same one is not added twice

_SPOKEN = re.compile(r"/\*!|\*/|%|\?|(?<!:):(\w+)")


@lru_cache(maxsize=1024)
def _said(statement: str) -> bytes:
    """A statement as psycopg takes it; see `bouncekit.stores.sql.database`."""
    return _SPOKEN.sub(_in_place_of, statement).encode()


def _in_place_of(found: re.Match[str]) -> str:
    if name := found[1]:
        return f"%({name})s"
    return {"?": "%s", "%": "%%"}.get(found[0], "")


def _lock(connection: _Connection, about: Sequence[object]) -> None:
    """Wait until nobody else is at these, and take their rows of the queue, in an order that is the same for all."""
    if not about:
        return
    if None in about or len(about) > _MANY:
        connection.execute(_LOCK_ALL)
    else:
        connection.execute(_LOCK_SOME, (sorted(map(_number, set(about))),))
    if messages := [one for one in about if isinstance(one, str)]:
        connection.execute(_LOCK_ROWS, (messages,))


def _number(subject: object) -> int:
    """The lock of a subject: from 1 up, since 0 stands for all."""
    of = subject if isinstance(subject, bytes) else str(subject).encode("utf-8", "backslashreplace")
    return int.from_bytes(blake2b(of, digest_size=4).digest()) % (2**31 - 1) + 1


def _close_at_exit(pool: ConnectionPool[_Connection], pid: int) -> None:
    """Close a pool that nobody closed, while its threads still run: the interpreter's end waits for each of them."""
    if pid == os.getpid():
        pool.close()
