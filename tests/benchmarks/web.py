"""How long the web page takes to answer, in front of a store with much in it.

    python -m tests.benchmarks.web [--events 1000000]

A real server on SQLite: so many events and outcomes over a month, a tenth as many suppressions, a hundredth as many
recipients in the queue. Each page is asked for again and again, over one connection; the first answer of all comes
before anything has been counted. Beside the median stands the slowest.
"""

import argparse
import http.client
import sqlite3
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import uvicorn

from bouncekit.cli.serve import _listening
from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.testing import ScriptedServer
from bouncekit.web import application
from tests.conftest import message
from tests.web.conftest import SCRIPT

_TARGET_MS = 50
_MONTH_MS = 30 * 24 * 3600 * 1000
_TIMES = 30
_PAGES = (
    "/",
    "/?span=week",
    "/?span=month",
    "/events",
    "/events?type=failed",
    "/events?type=guard_tripped",
    "/suppressions",
    "/suppressions?standing=held",
    "/queue",
    "/policy",
    "/health",
    "/codes/552",
)
# What differs between the rows of a table; %d is what tells them apart.
_VARIED = {
    "outcomes": {"attempt_id": "printf('%032x', i)", "recipient": "'u' || i || recipient", "at": ":now - i * :step"},
    "outbox": {
        "sequence": "NULL",
        "id": "printf('%032x', i * 100 + sequence)",
        "at": ":now - (:times - i) * :step",
        "key_hash": "randomblob(16)",
    },
    "suppressions": {"key_hash": "randomblob(16)", "key": "'u' || i || key", "address": "'u' || i || address"},
    "messages": {"id": "printf('%032x', i)"},
    "recipients": {"message": "printf('%032x', i)"},
}
_PARTS = {"outcomes": 1, "outbox": 1, "suppressions": 10, "messages": 100, "recipients": 100}


def _fill(path: str, events: int) -> None:
    """What a real send has left in the store, so many times."""
    with (
        ScriptedServer(SCRIPT) as server,
        Postmaster(store=f"sqlite:///{path}", retry="queue", worker="external", relays={"main": server.url}) as made,
        made.client("main") as client,
    ):
        client.send(message("ann@example.com", "full@example.com", "gone@example.com", "later@example.com"))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("BEGIN")
        for table, part in _PARTS.items():
            _multiply(connection, table, events // part)
        connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _multiply(connection: sqlite3.Connection, table: str, rows: int) -> None:
    columns = [name for _, name, *_ in connection.execute(f"PRAGMA table_info({table})")]
    connection.execute(f"CREATE TEMP TABLE few AS SELECT * FROM {table}")
    ((found,),) = connection.execute("SELECT count(*) FROM few").fetchall()
    times = max(rows // found, 1)
    chosen = ", ".join(_VARIED[table].get(name, name) for name in columns)
    order = "ORDER BY i" if table == "outbox" else ""
    connection.execute(
        f"WITH RECURSIVE many(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM many WHERE i < :times) "
        f"INSERT INTO {table} SELECT {chosen} FROM many, few {order}",
        {"times": times, "now": int(time.time() * 1000), "step": _MONTH_MS // times},
    )
    connection.execute("DROP TABLE few")


@contextmanager
def _served(postmaster: Postmaster) -> Iterator[http.client.HTTPConnection]:
    with _listening("127.0.0.1", 0) as listening:
        server = uvicorn.Server(uvicorn.Config(application(postmaster), lifespan="off", log_level="error", ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        with closing(http.client.HTTPConnection(*listening.getsockname(), timeout=600)) as connection:
            yield connection
        server.should_exit = True
        thread.join()


def _asked(connection: http.client.HTTPConnection, path: str) -> tuple[float, bytes]:
    """Milliseconds, and the page."""
    start = time.perf_counter()
    connection.request("GET", path)
    answer = connection.getresponse()
    page = answer.read()
    assert answer.status == 200, (path, answer.status)
    return (time.perf_counter() - start) * 1000, page


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000)
    events = parser.parse_args().events
    with tempfile.TemporaryDirectory() as folder:
        _fill(f"{folder}/b.db", events)
        with Postmaster(store=f"sqlite:///{folder}/b.db") as postmaster, _served(postmaster) as connection:
            print(f"{events:,} events over a month; at most {_TARGET_MS} ms are wanted")
            start = time.perf_counter()
            print(f"  the very first answer {_asked(connection, '/?span=month')[0]:17.1f} ms")
            while b"still being counted" in _asked(connection, "/?span=month")[1]:
                time.sleep(0.05)
            print(f"  until all is counted {time.perf_counter() - start:18.1f} s")
            for path in _PAGES:
                taken = sorted(_asked(connection, path)[0] for _ in range(_TIMES))
                print(f"  {path:<30} {statistics.median(taken):8.1f} ms, slowest {taken[-1]:8.1f} ms")


if __name__ == "__main__":
    main()
