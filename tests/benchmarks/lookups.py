"""What a look-up costs before a send, with a long suppression list.

    python -m tests.benchmarks.lookups [--suppressions 10000000] [--folder DIR] [--rounds 20000] [--postgresql 1000000]

The list is made in SQLite, with all that a real one has, which takes minutes; with `--folder` it is kept there for the
next run. Every figure of a look-up is of fresh processes, for sends to one, ten, a hundred and a thousand recipients of
whom none is on the list, asked with and without the filter; then of a bulk question about a million. Where Valkey and
PostgreSQL can be started, the same through the shared cache, with `--postgresql` suppressions.
"""

import argparse
import gc
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from statistics import quantiles
from typing import Any

from bouncekit.delivery.steps import LookUp
from bouncekit.policy.suppression import Standing
from bouncekit.stores import Store, open_store
from bouncekit.stores.codec import SUPPRESSION_COLUMNS, key_hash, suppression_row
from bouncekit.stores.screen.localfilter import LocalFilter
from bouncekit.stores.screen.screened import screened
from bouncekit.stores.screen.sharedcache import SharedCache
from bouncekit.stores.sqlite import SqliteStore
from bouncekit.words.envelope import Labels
from bouncekit.words.errors import BouncekitError
from tests.building import NOW, suppression
from tests.contract.stores import put, told_of

_SIZES = (1, 10, 100, 1000)
_BATCH = 500_000


@contextmanager
def _timed(what: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    print(f"  {what:<58} {time.perf_counter() - start:10.2f} s", flush=True)


def _memory_mib(which: str = "VmRSS") -> float:
    status = Path("/proc/self/status").read_text("ascii")
    return int(status.partition(f"{which}:")[2].split()[0]) / 1024


def _address(number: int) -> str:
    return f"someone.{number}@example{number % 5000}.com"


def _fill(store: Any, number: int) -> None:
    """Put so many on the list, as an import leaves them; the last one by the front door, so that there is a change."""
    columns = SUPPRESSION_COLUMNS.split(", ")
    entry = suppression("any@example.com", standing=Standing.MANUAL, expires_at=None, ladder=None, by="import list.csv")
    before, after = (suppression_row(entry)[part] for part in (slice(0, 2), slice(5, None)))
    assert columns[2:5] == ["key_hash", "key", "address"]
    statement = f"INSERT INTO suppressions ({SUPPRESSION_COLUMNS}) VALUES ({', '.join('?' * len(columns))})"
    for first in range(0, number, _BATCH):
        addresses = (_address(one) for one in range(first, min(first + _BATCH, number)))
        rows = sorted((key_hash(address), address) for address in addresses)
        with store._database.writing() as transaction:
            transaction.executemany(
                statement, [(*before, hashed, address, address, *after) for hashed, address in rows]
            )
    put(store, suppression("last@example.com"))
    with store._database.writing() as transaction:
        transaction.execute("ANALYZE suppressions", ())  # as a database does by itself, some time behind an import


def _questions(size: int, rounds: int, start: int) -> list[LookUp]:
    return [
        LookUp(
            labels=Labels(),
            keys=tuple(f"customer.{start + number * size + one}@shop{one % 977}.example" for one in range(size)),
            claim=f"{start + number:032x}",
        )
        for number in range(rounds)
    ]


def _measure(store: Store, rounds: int) -> None:
    for size in _SIZES:
        number = max(rounds // size, 200)
        questions = _questions(size, number, start=size * 10_000_000)
        gc.collect()
        spent = []
        for question in questions:
            start = time.perf_counter()
            store.look_up(question, NOW)
            spent.append((time.perf_counter() - start) * 1e6)
        cuts = quantiles(spent, n=100)
        each = sum(spent) / len(spent) / size
        shown = f"p50 {cuts[49]:9.1f} us, p99 {cuts[98]:9.1f} us, {each:7.2f} us a recipient"
        print(f"  {size:>5} recipients a send: {shown}", flush=True)


def _ask_in_bulk(store: Store, number: int) -> None:
    keys = [f"reader.{one}@list{one % 977}.example" for one in range(number - 1)] + [_address(7)]
    with _timed(f"`suppressed` about {number:,} in one call"):
        found = store.suppressed(keys, Labels(), NOW)
    assert found == {_address(7)}, found


def _in_its_own_process(work: Callable[..., None], *arguments: object) -> None:
    process = multiprocessing.get_context("spawn").Process(target=work, args=arguments)
    process.start()
    process.join()
    assert process.exitcode == 0


def _without(path: str, rounds: int, bulk: int) -> None:
    print("without a filter")
    with SqliteStore(path) as store:
        _measure(store, rounds)
        _ask_in_bulk(store, bulk)
        print(f"  memory of the process {_memory_mib():.0f} MiB")


def _build(path: str) -> None:
    print("the first process makes the filter, while it sends")
    with SqliteStore(path) as store:
        screen = LocalFilter(store, path=f"{path}-filter")
        asked = screened(store, screen)
        spent, start = [], time.perf_counter()
        for question in _endless():
            before = time.perf_counter()
            asked.look_up(question, NOW)
            spent.append((time.perf_counter() - before) * 1e6)
            if screen.is_ready:
                break
            time.sleep(0.002)
        cuts = quantiles(spent, n=100)
        print(f"  ready behind {time.perf_counter() - start:.1f} s")
        print(f"  look-ups meanwhile: p50 {cuts[49]:.1f} us, p99 {cuts[98]:.1f} us")
        screen.close()
        print(f"  most memory {_memory_mib('VmHWM'):.0f} MiB")


def _endless() -> Iterator[LookUp]:
    number = 0
    while True:
        number += 1
        yield LookUp(labels=Labels(), keys=(f"customer.{number}@shop.example",), claim=f"{number:032x}")


def _with(path: str, rounds: int, bulk: int) -> None:
    print("with the filter of the file")
    before = _memory_mib()
    start = time.perf_counter()
    store = SqliteStore(path)
    screen = LocalFilter(store, path=f"{path}-filter")
    screen.prepare()
    print(f"  opened and ready behind {(time.perf_counter() - start) * 1000:.0f} ms")
    print(f"  memory of the process {_memory_mib():.0f} MiB, {_memory_mib() - before:.0f} of it for store and filter")
    with screened(store, screen) as asked:
        _measure(asked, rounds)
        _ask_in_bulk(asked, bulk)
        strangers = [f"stranger.{number}@example.net" for number in range(100_000)]
        wrong = len(screen.possible("", strangers))
        print(f"  asked of the store for nothing: {wrong / len(strangers):.3%}")


def _writer(path: str, pipe: Any) -> None:
    with SqliteStore(path) as store:
        while (address := pipe.recv()) is not None:
            one = suppression(address)
            store.add(one, by="owner", event=replace(told_of(one), id=os.urandom(16).hex()))
            pipe.send(time.monotonic())  # one clock for all processes of a machine


def _freshness(path: str) -> None:
    print("freshness: another process puts somebody on the list")
    here, there = multiprocessing.Pipe()
    writer = multiprocessing.get_context("spawn").Process(target=_writer, args=(path, there))
    writer.start()
    with SqliteStore(path) as store:
        screen = LocalFilter(store, path=f"{path}-filter")
        screen.prepare()
        late = []
        for number in range(200):
            address = f"fresh.{os.getpid()}.{number}@example.com"
            here.send(address)
            while address not in screen.possible("", (address,)):
                pass
            seen = time.monotonic()
            late.append((seen - here.recv()) * 1000)
        here.send(None)
        writer.join()
        late.sort()
        print(
            f"  seen {late[100]:.2f} ms behind the writer's return (median; negative is before), at most {late[-1]:.2f}"
        )


def _shared(number: int, rounds: int, bulk: int) -> None:
    from tests.postgresql import new_schema
    from tests.valkey import Valkey

    print(f"\nPostgreSQL with {number:,} suppressions, over a socket of this machine")
    with ExitStack() as stack:
        url = stack.enter_context(new_schema())
        store = stack.enter_context(open_store(url))
        with _timed("list made"):
            _fill(store, number)
        print("without a cache")
        _measure(store, rounds)
        _ask_in_bulk(store, bulk)
        valkey = Valkey()
        stack.callback(valkey.close)
        cached = screened(store, SharedCache(store, valkey.url))  # type: ignore[arg-type]
        print("Valkey, nothing in it yet")
        _measure(cached, rounds)
        print("Valkey, the same recipients again")
        _measure(cached, rounds)
        print("with the filter")
        screen = LocalFilter(store)  # type: ignore[arg-type]
        with _timed("made"):
            screen.prepare()
        filtered = screened(store, screen)
        _measure(filtered, rounds)
        _ask_in_bulk(filtered, bulk)
        valkey.stall()
        print("Valkey that does not answer any more")
        _measure(cached, rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suppressions", type=int, default=10_000_000)
    parser.add_argument("--postgresql", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=20_000)
    parser.add_argument("--bulk", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        path = str(folder / f"{options.suppressions}.db")
        print(f"SQLite with {options.suppressions:,} suppressions")
        if not os.path.exists(path):
            with SqliteStore(path) as store, _timed("list made"):
                _fill(store, options.suppressions)
        print(f"  file of {os.stat(path).st_size / 2**20:,.0f} MiB")
        with suppress(FileNotFoundError):
            os.unlink(f"{path}-filter")
        _in_its_own_process(_without, path, options.rounds, options.bulk)
        _in_its_own_process(_build, path)
        print(f"  its file has {os.stat(f'{path}-filter').st_size / 2**20:.0f} MiB")
        _in_its_own_process(_with, path, options.rounds, options.bulk)
        _in_its_own_process(_freshness, path)
    if options.postgresql:
        try:
            _shared(options.postgresql, options.rounds, options.bulk)
        except (BouncekitError, ImportError) as error:
            print(f"no figures of Valkey and PostgreSQL: {error}")


if __name__ == "__main__":
    main()
