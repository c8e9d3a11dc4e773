"""What wrapping a send costs: each way of sending against plain smtplib on a connection that is kept.

    python -m tests.benchmarks.overhead [--slices 60] [--recipients 1 10 100] [--quick]

Slices of the ways are interleaved in random order, so that a busy machine disturbs all alike; smtplib runs twice (the
A/A control), and a ratio is worth what that control is near to 1.00. CPU time of this process, user's and kernel's,
and wall time; the server has its own. On a machine that does other work CPU time is what can be compared.

`--quick` takes a minute: 2 KB, and without the ways that end on a disk.
"""

import argparse
import random
import smtplib
import statistics
import tempfile
import time

import bouncekit
from bouncekit.delivery.submission import submission
from bouncekit.outside.clock import SystemClock

from .sink import running_sink

STREAM = "a stream, policy, memory"  # without the time to make a delivery of a message

_SENDER = "shop@example.org"
_new_id = SystemClock().new_id


def message_of(size_bytes: int) -> bytes:
    """A message of about this size."""
    head = b"From: shop@example.org\r\nTo: you@example.com\r\nMessage-ID: <1@example.org>\r\nSubject: Hello\r\n\r\n"
    line = b"The quick brown fox jumps over the lazy dog, and again.\r\n"
    return (head + line * (size_bytes // len(line) + 1))[:size_bytes] + b"\r\n"


def _ways(address: tuple[str, int], pipelining: tuple[str, int], folder: str) -> dict[str, smtplib.SMTP]:
    memory = bouncekit.Postmaster()
    durable = bouncekit.Postmaster(store=f"sqlite:///{folder}/bounces.db")
    return {
        "smtplib": smtplib.SMTP(*address),
        "smtplib again (A/A)": smtplib.SMTP(*address),
        "bouncekit.SMTP, no postmaster": bouncekit.SMTP(*address),
        "bouncekit.SMTP, policy, memory": memory.smtp(*address),
        "bouncekit.wrap, policy, memory": bouncekit.wrap(smtplib.SMTP(*address), memory),
        "bouncekit.SMTP, policy, SQLite": durable.smtp(*address),
        "pipelined, policy, memory": memory.smtp(*pipelining),
        "pipelined, policy, SQLite": durable.smtp(*pipelining),
        STREAM: memory.smtp(*pipelining),
    }


def measure(
    slices: int, recipients: int, size_bytes: int, *, quick: bool = False
) -> dict[str, list[tuple[float, float]]]:
    """Each way's time, wall and CPU, in microseconds a message, slice by slice."""
    people = [f"user{number}@example.com" for number in range(recipients)]
    message = message_of(size_bytes)
    turns = max(3, 40 // recipients)
    taken: dict[str, list[tuple[float, float]]] = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        running_sink() as address,
        running_sink(pipelining=True) as other,
    ):
        ways = {name: way for name, way in _ways(address, other, folder).items() if not (quick and "SQLite" in name)}
        for _ in range(slices):
            for name in random.sample(list(ways), len(ways)):
                slice_ = _stream if name is STREAM else _slice
                taken.setdefault(name, []).append(slice_(ways[name], people, message, turns))
        for smtp in ways.values():
            smtp.quit()
    return taken


def _slice(smtp: smtplib.SMTP, people: list[str], message: bytes, turns: int) -> tuple[float, float]:
    smtp.sendmail(_SENDER, people, message)
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(turns):
        smtp.sendmail(_SENDER, people, message)
    return (time.perf_counter() - wall) / turns * 1e6, (time.process_time() - cpu) / turns * 1e6


def _stream(smtp: smtplib.SMTP, people: list[str], message: bytes, turns: int) -> tuple[float, float]:
    """The same messages one behind the other; each to others, since a stream never runs ahead to the same mailbox."""
    assert isinstance(smtp, bouncekit.SMTP)
    deliveries = [
        submission(_SENDER, [f"{number}.{person}" for person in people], message, labels=smtp.labels, new_id=_new_id)
        for number in range(turns + 1)
    ]
    reports = smtp.deliver_all(deliveries)
    next(reports)
    wall, cpu = time.perf_counter(), time.process_time()
    assert all(report == {} for report in reports)
    return (time.perf_counter() - wall) / turns * 1e6, (time.process_time() - cpu) / turns * 1e6


def show(taken: dict[str, list[tuple[float, float]]]) -> None:
    """The median of each way's ratio to smtplib in the same round."""
    base = taken["smtplib"]
    for name, times in taken.items():
        wall, cpu = (
            statistics.median(time[kind] / own[kind] for time, own in zip(times, base, strict=True)) for kind in (0, 1)
        )
        own, lasts = (statistics.median(time[kind] for time in times) for kind in (1, 0))
        print(f"  {name:32} cpu {cpu:5.2f} ({own:6.0f} us)   wall {wall:5.2f} ({lasts:6.0f} us)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slices", type=int, default=60, help="rounds of each case")
    parser.add_argument("--recipients", type=int, nargs="+", default=[1, 10, 100])
    parser.add_argument("--quick", action="store_true", help="2 KB only, and nothing on a disk")
    settings = parser.parse_args()
    slices = 20 if settings.quick else settings.slices
    for recipients in settings.recipients:
        for size_bytes in (2_000,) if settings.quick else (2_000, 100_000):
            print(f"{recipients} recipients, {size_bytes // 1000} KB, {slices} slices")
            show(measure(slices, recipients, size_bytes, quick=settings.quick))


if __name__ == "__main__":
    main()
