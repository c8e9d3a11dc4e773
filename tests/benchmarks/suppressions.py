"""What a long suppression list costs: a file goes in, is asked about, and is undone.

    python -m tests.benchmarks.suppressions [--entries 1000000]

On SQLite, where commits reach the disk, with the list of a service whose replies are classified. The same file again
is what an import costs that was stopped and goes on. Beside each time stands the process's own, without what the disk
and others took.
"""

import argparse
import io
import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import BinaryIO, cast

from bouncekit.postmaster.postmaster import Postmaster

_HEAD = b"status,reason,email,created\n"
_STRIDE = 7_919  # the addresses come in no order


@contextmanager
def _timed(what: str, number: int) -> Iterator[None]:
    start, cpu = time.perf_counter(), time.process_time()
    yield
    taken, used = time.perf_counter() - start, time.process_time() - cpu
    print(f"  {what:<34} {taken:8.1f} s ({used:6.1f} s CPU) {number / taken * 60:12,.0f} a minute")


def _addresses(number: int) -> Iterator[str]:
    return (f"user{at * _STRIDE % 1_000_003}@example{at % 500}.com" for at in range(number))


class _File(io.RawIOBase):
    """A file of SendGrid's, made while it is read."""

    def __init__(self, number: int) -> None:
        self._lines = self._made(number)

    def _made(self, number: int) -> Iterator[bytes]:
        yield _HEAD
        for address in _addresses(number):
            yield f'5.1.1,"550 5.1.1 <{address}>: No such user here",{address},1600000000\n'.encode()

    def readline(self, size: int | None = -1) -> bytes:
        return next(self._lines, b"")


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=1_000_000)
    entries = parser.parse_args().entries
    with tempfile.TemporaryDirectory() as folder, Postmaster(store=f"sqlite:///{folder}/b.db") as postmaster:
        suppressions, peak = postmaster.suppressions, _peak_mb()
        print(f"{entries:,} entries")
        with _timed("import", entries):
            done = suppressions.import_(cast(BinaryIO, _File(entries)), name="bounces.csv")
        print(f"  {'':34} {done.added.total():,} new; {_peak_mb() - peak:.0f} MB of memory on top of {peak:.0f}")
        with _timed("the same again", entries):
            suppressions.import_(cast(BinaryIO, _File(entries)), name="bounces.csv")
        people = list(islice(_addresses(2 * entries), entries // 2, None, 2))[:entries]
        with _timed("check, some of them on the list", len(people)):
            found = suppressions.check(people)
        print(f"  {'':34} {len(found):,} of {len(people):,} held back")
        with _timed("export as CSV", entries), open(Path(folder) / "list.csv", "wb") as file:
            suppressions.export(file)
        with _timed("undo, dry run", entries):
            suppressions.undo(made_by=done.by, dry_run=True)
        with _timed("undo", entries):
            undone = suppressions.undo(made_by=done.by)
        size = sum(path.stat().st_size for path in Path(folder).glob("b.db*")) / 1e6
        print(f"  {'':34} {undone.lifted:,} lifted; the store has {size:,.0f} MB")
        with _timed("forget one of them", 1):
            Postmaster(store=postmaster.office.store, hash_keys=["a secret of enough length"]).forget(people[0])


if __name__ == "__main__":
    main()
