"""Processes for tests that share a store: workers, which send what is due, and applications, which send at once.

They are forked by a process that has imported everything before: a kill meets work, not imports.
"""

import multiprocessing
import os
import signal
import smtplib
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.message import EmailMessage
from multiprocessing import synchronize
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import tenacity  # noqa: F401 - to be there for every process that is forked

from bouncekit.clients.client import Client  # noqa: F401 - the same
from bouncekit.delivery.events import Event
from bouncekit.outside.builtin import classifier, open_policy
from bouncekit.outside.clock import Clock, SystemClock
from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.stores.sqlite import SqliteStore  # noqa: F401 - the same

__all__ = [
    "EXIT_SECONDS",
    "FORKED",
    "FastClock",
    "Work",
    "impatient_policy",
    "note",
    "noted",
    "running_workers",
    "start_application",
    "start_worker",
    "stop_worker",
]

EXIT_SECONDS = 20.0
_WAKE_SECONDS = 0.05  # an idle worker looks every two seconds: too rarely for a clock that runs fast

FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload([__name__, f"{__package__}.points"])
open_policy("default")  # what it imports, and all rules as read, is there for every process that is forked
classifier()


@dataclass(frozen=True)
class FastClock(SystemClock):
    """The machine's clock, but from `start` on, in seconds since 1970, so many times as fast: leases end soon."""

    start: float = field(default_factory=time.time)
    factor: float = 1000.0

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.start + (time.time() - self.start) * self.factor, UTC)

    def sleep(self, seconds: float) -> None:
        time.sleep(max(0.0, seconds) / self.factor)


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a worker process works on, and how; it can be pickled."""

    store: str
    relays: Mapping[str, object]
    policy: str | Path = "default"
    clock: Clock = field(default_factory=SystemClock)
    concurrency: int = 1
    notes: Path | None = None  # a folder for what processes were told, see `note`

    def postmaster(self, **settings: Any) -> Postmaster:
        """A postmaster that leaves the queue to worker processes."""
        given = {"store": self.store, "relays": self.relays, "policy": self.policy, "clock": self.clock}
        return Postmaster(**{**given, "retry": "queue", "worker": "external", **settings})

    def is_up(self, process: BaseProcess) -> bool:
        """Whether a process with notes has opened all that it needs, or has ended."""
        assert self.notes is not None
        return (self.notes / str(process.pid)).exists() or not process.is_alive()


def start_worker(work: Work) -> BaseProcess:
    """A process that works until SIGTERM, then finishes what is under way and ends with 0. It heeds that already."""
    heeds = FORKED.Event()
    process = FORKED.Process(target=_work, args=(work, heeds), daemon=True)
    process.start()
    assert heeds.wait(EXIT_SECONDS), "it never came up"
    return process


def start_application(work: Work, messages: Sequence[EmailMessage], reports: Path) -> BaseProcess:
    """A process that sends these, and adds what each send returns to a file: a line for each recipient."""
    process = FORKED.Process(target=_send, args=(work, messages, reports), daemon=True)
    process.start()
    return process


def stop_worker(process: BaseProcess) -> int | None:
    """Ask a process to end; its exit code, None where it did not end in time."""
    process.terminate()
    process.join(EXIT_SECONDS)
    return process.exitcode


@contextmanager
def running_workers(work: Work, number: int) -> Iterator[Sequence[BaseProcess]]:
    """So many worker processes; behind the block each must end with 0."""
    processes = [start_worker(work) for _ in range(number)]
    try:
        yield processes
        ended = [stop_worker(process) for process in processes]
        assert ended == [0] * number, f"workers ended with {ended}"
    finally:
        for process in processes:
            process.kill()
            process.join(EXIT_SECONDS)


def impatient_policy(folder: Path, wait: str) -> Path:
    """The default policy, but between two attempts there is always the same short wait, such as '1s'.

    Deadlines are a year away: on a clock that runs fast a test would reach those of the default policy.
    """
    path = folder / "impatient.yaml"
    waits = ", ".join(f"{name}: [{wait}]" for name in ("hours", "minutes", "greylist", "slow", "quick"))
    classes = """
  transactional: {deadline: 365d, unknown: resend, default: true}
  bulk: {deadline: 365d, unknown: fail}"""
    path.write_text(f"policy: 1\nextends: default\nschedules: {{{waits}}}\nclasses:{classes}\n")
    return path


def note(postmaster: Postmaster, folder: Path) -> None:
    """Have the ids of its events noted outside of the store, by who is told at once and by who hears it durably."""
    (folder / str(os.getpid())).touch()
    postmaster.on()(_Notes(folder / "told"))
    postmaster.on(durable="heard")(_Notes(folder / "heard"))


def noted(path: Path) -> list[str]:
    """The ids in a file of notes, in their order; the last line may have been cut off by a kill."""
    return [line for line in path.read_text().split("\n")[:-1] if line]


class _Notes:
    """A line for each event, whole for every other process as soon as the call returns."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def __call__(self, event: Event) -> None:
        os.write(self._file, f"{event.id}\n".encode())


def _send(work: Work, messages: Sequence[EmailMessage], reports: Path) -> None:
    with work.postmaster() as postmaster, postmaster.client("main") as client, reports.open("a") as file:
        if work.notes is not None:
            note(postmaster, work.notes)
        for message in messages:
            try:
                report = client.send(message)
            except smtplib.SMTPException as error:
                report = error.report  # type: ignore[attr-defined]
            file.write("".join(f"{one.recipient} {one.action} {one.kept}\n" for one in report.recipients))
            file.flush()


def _work(work: Work, heeds: synchronize.Event) -> None:
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: stopping.set())
    heeds.set()
    parent = multiprocessing.parent_process()
    with work.postmaster() as postmaster:
        if work.notes is not None:
            note(postmaster, work.notes)
        worker = postmaster.worker(concurrency=work.concurrency)
        worker.start()
        while not stopping.wait(_WAKE_SECONDS) and parent is not None and parent.is_alive():
            worker.wake()
        assert worker.stop(EXIT_SECONDS), "a message took too long"
