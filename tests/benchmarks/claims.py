"""What a claim takes beside a long queue, and what a row of it weighs.

    python -m tests.benchmarks.claims [--recipients 1000000] [--each 10] [--claims 2000]

A queue in SQLite is filled, and workers' batches of 20 messages are taken out of it, each for
good, as fast as one process can; every fourth of them asks who has waited longest, as a worker does.
"""

import argparse
import os
import tempfile
import time
from datetime import timedelta

from bouncekit.delivery.queue import Lease
from bouncekit.stores.codec import milliseconds
from bouncekit.stores.queuecodec import message_row, recipient_row
from bouncekit.stores.sql.queuestatements import ENQUEUE, KEEP
from bouncekit.stores.sqlite import SqliteStore
from tests.building import NOW
from tests.contract.queueing import mail_to

_BATCH, _AT_ONCE = 20, 10_000
_SETTLED = "0" * 32  # a lease under which nobody is left: as a worker gives one back behind each batch
_CONTENT = b"The quick brown fox jumps over the lazy dog, and again.\r\n" * 70  # 4 KB


def _fill(store: SqliteStore, recipients: int, each: int) -> None:
    """As `enqueue` does, but 10,000 messages in one transaction."""
    due = {"state": "due", "due_at": milliseconds(NOW), "timed_at": milliseconds(NOW)}
    for start in range(0, recipients, each * _AT_ONCE):
        with store._database.writing() as transaction:
            for first in range(start, min(start + each * _AT_ONCE, recipients), each):
                people = (f"r{number}@example{number % 500}.com" for number in range(first, first + each))
                delivery = mail_to(*people, content=_CONTENT)
                rows = [recipient_row(delivery, one, place) | due for place, one in enumerate(delivery.recipients)]
                transaction.execute(KEEP, message_row(delivery, NOW))
                transaction.executemany(ENQUEUE, rows)
    store._database.read("PRAGMA wal_checkpoint(TRUNCATE)")
    size = os.path.getsize(store.path)
    print(f"  {recipients:,} recipients; {size / recipients:.0f} bytes each of the file")


def _claim(store: SqliteStore, claims: int) -> list[float]:
    """How long each claim took, in milliseconds, the shortest first."""
    taken = []
    for number in range(claims):
        lease = Lease(os.urandom(16).hex(), NOW + timedelta(minutes=15))
        start = time.perf_counter()
        claimed = store.claim(now=NOW, lease=lease, limit=_BATCH, relays=("main",), oldest_first=number % 4 == 3)
        taken.append(1000 * (time.perf_counter() - start))
        assert len(claimed) == _BATCH, "the queue is too short for so many claims"
        assert store.release(_SETTLED) == 0
    return sorted(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipients", type=int, default=1_000_000)
    parser.add_argument("--claims", type=int, default=2000)
    parser.add_argument("--each", type=int, default=10, help="recipients of a message")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, SqliteStore(f"{folder}/bounces.db") as store:
        _fill(store, asked.recipients, asked.each)
        taken = _claim(store, asked.claims)
        at = {share: taken[min(int(len(taken) * share / 100), len(taken) - 1)] for share in (50, 99)}
        print(
            f"  a claim of {_BATCH} messages: {at[50]:.1f} ms (median), {at[99]:.1f} ms (99 of 100), {taken[-1]:.1f} ms"
        )
        start = time.perf_counter()
        depth = store.depth(NOW)
        print(f"  counted in {1000 * (time.perf_counter() - start):.0f} ms: {depth.due:,} due, {depth.leased:,} leased")


if __name__ == "__main__":
    main()
