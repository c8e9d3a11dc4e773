"""How long a report takes, and how much memory, of a store in SQLite with much in it.

    python -m tests.benchmarks.report [--events 1000000] [FILE]

All that happened lies in the month before, as `tests.benchmarks.web` fills a store. A file that is there is read.
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.reports.digest import Digest, digest
from bouncekit.reports.page import encoded
from bouncekit.reports.paper import printed
from tests.benchmarks.web import _fill

_T = TypeVar("_T")
_DAYS = (1, 7, 31)
_TIMES = 3


def _best(what: Callable[[], _T]) -> tuple[float, float, _T]:
    """Seconds of the processor and of the wall, of the best of a few."""
    found = []
    for _ in range(_TIMES):
        begin = time.process_time(), time.perf_counter()
        told = what()
        found.append((time.process_time() - begin[0], time.perf_counter() - begin[1]))
    return min(cpu for cpu, _ in found), min(wall for _, wall in found), told


def _show(what: str, cpu: float, wall: float, more: str = "") -> None:
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"  {what:<24} {cpu:6.2f} s of the processor, {wall:6.2f} s; {memory:5} MB so far{more}")


def _of(postmaster: Postmaster, days: int) -> Digest:
    cpu, wall, told = _best(lambda: digest(postmaster.office, timedelta(days=days)))
    _show(f"counted, {days} days", cpu, wall, f"; {told.numbers.actions.total():,} outcomes")
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("file", nargs="?")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = asked.file or f"{folder}/b.db"
        if not Path(path).exists():
            _fill(path, asked.events)
        with Postmaster(store=f"sqlite:///{path}", worker="external") as postmaster:
            for days in _DAYS:
                told = _of(postmaster, days)
            for name, made in (("as HTML", encoded), ("as PDF", printed)):
                cpu, wall, content = _best(lambda made=made, told=told: made(told))  # type: ignore[misc]
                _show(name, cpu, wall, f"; {len(content):,} bytes")


if __name__ == "__main__":
    main()
