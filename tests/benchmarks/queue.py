"""What the queue costs: a long one is filled, opened, claimed and settled.

    python -m tests.benchmarks.queue [--recipients 100000] [--each 10] [--batch 100] [--store postgresql://...]

Each step of a send is the commits that a worker makes: one for a claim of `batch` messages, then two for each message,
before its dot and after it. Commits reach the disk, so the figures are as much the disk's as ours; a plain insert and
commit of 4 KB is measured in the same run, to compare with. The same is done in memory.

With `--store`, only that one is measured, in a schema or a file that must be empty: first with one process that claims,
begins and settles, then filled again with as many as `--workers` says.
"""

import argparse
import multiprocessing
import os
import resource
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from multiprocessing.synchronize import Barrier

from bouncekit.delivery.queue import Lease
from bouncekit.stores import Store, open_store
from bouncekit.stores.memory import MemoryStore
from bouncekit.stores.sqlite import SqliteStore
from tests.building import NOW
from tests.contract.queueing import begin, mail_to, outcome, wires

_CONTENT = b"The quick brown fox jumps over the lazy dog, and again.\r\n" * 70  # 4 KB


@contextmanager
def _timed(what: str, number: int, unit: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    taken = time.perf_counter() - start
    print(f"  {what:<46} {taken:8.2f} s {number / taken:10,.0f} {unit}/s")


def _bare_commits(path: str, number: int) -> None:
    """The yardstick: one row of 4 KB a commit, with the same durability."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("CREATE TABLE bare (content)")
        with _timed("(a bare commit of 4 KB)", number, "commits"):
            for _ in range(number):
                connection.execute("INSERT INTO bare VALUES (?)", (_CONTENT,))


def _fill(store: Store, recipients: int, each: int) -> None:
    with _timed(f"enqueued, {each} recipients a message", recipients, "recipients"):
        for first in range(0, recipients, each):
            people = (f"r{number}@example{number % 500}.com" for number in range(first, first + each))
            store.enqueue(mail_to(*people, content=_CONTENT), due_at=NOW, at=NOW)


def _send(store: Store, recipients: int, batch: int) -> None:
    """What a worker does, without SMTP: the time of each call apart."""
    spent = {"claim": 0.0, "begin": 0.0, "record": 0.0}
    claims: list[float] = []

    def measured(name: str, do: Callable[[], object]) -> object:
        start = time.perf_counter()
        answer = do()
        spent[name] += time.perf_counter() - start
        if name == "claim":
            claims.append(time.perf_counter() - start)
        return answer

    messages = 0
    with _timed(f"claimed by {batch} messages, begun and settled", recipients, "recipients"):
        while True:
            lease = Lease(os.urandom(16).hex(), NOW + timedelta(minutes=5))
            claimed = measured("claim", lambda lease=lease: store.claim(now=NOW, lease=lease, limit=batch))  # type: ignore[misc]
            assert isinstance(claimed, list)
            if not claimed:
                break
            for delivery in claimed:
                attempt = os.urandom(16).hex()
                measured("begin", lambda: begin(store, delivery, attempt=attempt, until=lease))  # noqa: B023
                record = outcome(delivery, attempt, done=wires(delivery))
                measured("record", lambda: store.record(record))  # noqa: B023
                messages += 1
    for name, seconds in spent.items():
        rates = f"{1e6 * seconds / messages:10,.0f} us a message, {recipients / seconds:,.0f} recipients/s"
        print(f"    {name:<44} {seconds:8.2f} s {rates}")
    claims.sort()
    print(f"    a claim takes {1000 * claims[len(claims) // 2]:.1f} ms, the longest {1000 * claims[-1]:.1f} ms")
    assert not list(store.queued())


def _in_memory(recipients: int, each: int, batch: int) -> None:
    print("in memory")
    with MemoryStore() as store:
        _fill(store, recipients, each)
        _send(store, recipients, batch)


def _on_disk(folder: str, recipients: int, each: int, batch: int) -> None:
    print("in SQLite")
    path = f"{folder}/bounces.db"
    _bare_commits(f"{folder}/bare.db", recipients // each)
    with SqliteStore(path) as store:
        _fill(store, recipients, each)
    print(f"    the file: {os.path.getsize(path) / 1e6:.0f} MB")
    opening = multiprocessing.get_context("spawn").Process(target=_open, args=(path, recipients, batch))
    opening.start()
    opening.join()
    with SqliteStore(path) as store:
        _send(store, recipients, batch)


def _open(path: str, recipients: int, batch: int) -> None:
    """What a process that starts beside a long queue waits for, and what it needs for it."""
    before, start = _resident_megabytes(), time.perf_counter()
    with SqliteStore(path) as store:
        opened = time.perf_counter()
        assert store.depth(NOW).due == recipients
        counted = time.perf_counter()
        lease = Lease(os.urandom(16).hex(), NOW + timedelta(minutes=5))
        assert store.claim(now=NOW, lease=lease, limit=batch)
        claimed = time.perf_counter()
        store.release(lease.token)
        needed = _resident_megabytes() - before
    print(
        f"    opened in {1000 * (opened - start):.1f} ms, counted in {1000 * (counted - opened):.1f} ms, the first"
        f" {batch} messages claimed in {1000 * (claimed - counted):.1f} ms; {needed:.0f} MB for all of it"
    )


def _in_store(url: str, recipients: int, each: int, batch: int, workers: int) -> None:
    print(f"in {url.partition('://')[0]}")
    with open_store(url) as store:
        _fill(store, recipients, each)
        _send(store, recipients, batch)
    one, several = (_beside_each_other(url, recipients, each, batch, number) for number in (1, workers))
    print(f"  {workers} processes take {one / several:.2f} times as much as one")


def _beside_each_other(url: str, recipients: int, each: int, batch: int, workers: int) -> float:
    """How many seconds several processes need for a queue together."""
    with open_store(url) as store:
        for first in range(0, recipients, each):
            people = (f"r{number}@example{number % 500}.com" for number in range(first, first + each))
            store.enqueue(mail_to(*people, content=_CONTENT), due_at=NOW, at=NOW)
        processes = multiprocessing.get_context("spawn")
        ready, go = processes.Barrier(workers + 1), processes.Barrier(workers + 1)
        running = [processes.Process(target=_work, args=(url, batch, ready, go)) for _ in range(workers)]
        for process in running:
            process.start()
        ready.wait()
        start = time.perf_counter()
        go.wait()
        for process in running:
            process.join()
        taken = time.perf_counter() - start
        assert not list(store.queued(limit=1))
        assert all(process.exitcode == 0 for process in running)
    what = f"claimed, begun and settled by {workers}"
    print(f"  {what:<46} {taken:8.2f} s {recipients / taken:10,.0f} recipients/s")
    return taken


def _work(url: str, batch: int, ready: Barrier, go: Barrier) -> None:
    until = NOW + timedelta(minutes=5)
    with open_store(url) as store:
        store.depth(NOW)
        ready.wait()
        go.wait()
        while claimed := store.claim(now=NOW, lease=Lease(os.urandom(16).hex(), until), limit=batch):
            for delivery in claimed:
                attempt = os.urandom(16).hex()
                begin(store, delivery, attempt=attempt, until=Lease(delivery.lease or "", until))
                store.record(outcome(delivery, attempt, done=wires(delivery)))


def _resident_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipients", type=int, default=100_000)
    parser.add_argument("--each", type=int, default=10, help="recipients of a message")
    parser.add_argument("--batch", type=int, default=100, help="messages taken at once")
    parser.add_argument("--store", help="the URL of an empty one")
    parser.add_argument("--workers", type=int, default=2, help="processes at the same time, with --store")
    asked = parser.parse_args()
    if asked.store:
        _in_store(asked.store, asked.recipients, asked.each, asked.batch, asked.workers)
        return
    before = _resident_megabytes()
    with tempfile.TemporaryDirectory() as folder:
        _on_disk(folder, asked.recipients, asked.each, asked.batch)
    between = _resident_megabytes()
    print(f"  memory at its highest: {between:.0f} MB, {between - before:.0f} MB of them for this")
    _in_memory(asked.recipients, asked.each, asked.batch)
    after = _resident_megabytes()
    print(f"  memory at its highest: {after:.0f} MB, {after - between:.0f} MB of them for this")


if __name__ == "__main__":
    main()
