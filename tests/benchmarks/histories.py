"""How long a history takes in a SQLite store with a million events: `python -m tests.benchmarks.histories [FILE]`."""

import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from bouncekit.delivery.events import Event, EventType, Occasion
from bouncekit.delivery.settlement import Settlement
from bouncekit.history.sifting import Sieve
from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.stores.searching import Search
from bouncekit.stores.sqlite import SqliteStore
from bouncekit.words.reply import Reply, Stage
from bouncekit.words.status import Action

EVENTS, PEOPLE, BATCH = 1_000_000, 200_000, 10_000
BUSY = "busy@example.com"  # has a hundred events among the million
START = datetime(2026, 1, 1, tzinfo=UTC)


def events() -> Iterator[Event]:
    for number in range(EVENTS):
        who = BUSY if number % (EVENTS // 100) == 0 else f"user{number % PEOPLE}@example.com"
        is_full = number % 50 == 0
        settlement = Settlement(
            recipient=who,
            action=Action.FAILED if is_full else Action.DELIVERED,
            stage=Stage.RCPT if is_full else Stage.END_OF_DATA,
            reply=Reply.parse("552 5.2.2 Mailbox full" if is_full else "250 2.0.0 Ok: queued"),
            remote_mta="mx.example.com",
            attempts=1,
            key=who,
        )
        occasion = Occasion(
            attempt_id=f"{number:032x}",
            at=START + timedelta(seconds=number),
            message_id=f"<{number}@example.org>",
            delivery_id=f"{number:032x}",
        )
        type_ = EventType(settlement.action.value)
        yield Event(id=f"{number:032x}", type=type_, occasion=occasion, recipient=who, settlement=settlement)


def fill(path: Path) -> None:
    with SqliteStore(path) as store:
        batch: list[Event] = []
        for event in events():
            batch.append(event)
            if len(batch) == BATCH:
                store.tell(batch)
                batch = []


def timed(times: int, what: object) -> float:
    took = []
    for _ in range(times):
        begin = time.perf_counter()
        what()  # type: ignore[operator]
        took.append(time.perf_counter() - begin)
    return 1000 * median(took)


def main() -> None:
    """Print what each question takes, in milliseconds."""
    with TemporaryDirectory() as folder:
        path = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(folder) / "b.db"
        if not path.exists():
            fill(path)
        with Postmaster(store=f"sqlite:///{path}") as postmaster:
            store = postmaster.office.store
            print(f"history of 100 events       {timed(20, lambda: postmaster.history(BUSY)):8.1f} ms")
            print(f"history of 5 events         {timed(20, lambda: postmaster.history('user7@example.com')):8.1f} ms")
            print(f"history of nobody           {timed(3, lambda: postmaster.history('x@example.com')):8.1f} ms")
            failed = Search(types=("failed",))
            newest = timed(20, lambda: store.search(failed, newest_first=True, limit=1000))
            print(f"newest 1,000 of a type      {newest:8.1f} ms")
            oldest = timed(3, lambda: store.search(Search(types=("complained",)), limit=1000))
            print(f"a type of which is none     {oldest:8.1f} ms")
            sieve = Sieve(codes=("552",))
            page = timed(3, lambda: [one for _, one in store.search(Search(), limit=10_000) if one in sieve])
            print(f"10,000 events read, sifted  {page:8.1f} ms")


if __name__ == "__main__":
    main()
