"""What a whole worker does in a second: it claims, speaks SMTP with a server in another process, and records.

    python -m tests.benchmarks.worker [--messages 2000] [--dot 0.02] [--store postgresql://...] [--processes 2]
    python -m tests.benchmarks.worker --end-to-end [--messages 2000] [--threads 1]

Once with a server that answers at once, where the disk decides, and once with one that takes `--dot` seconds for each
message, where threads help. Each message has one recipient and 4 KB. With `--store`, which must be empty, one thread in
each of several processes is compared with one in one.
"""

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier, Event

from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.testing import Delay, ScriptedServer

_LINE = "The quick brown fox jumps over the lazy dog, and again.\n"


def _serve(dot_seconds: float, parent: Connection) -> None:
    with ScriptedServer({"END_OF_DATA": Delay(dot_seconds)} if dot_seconds else None) as server:
        parent.send(server.url)
        parent.recv()  # until it is enough
        parent.send(len({recipient for message in server.messages for recipient in message.recipients}))


@contextmanager
def _running_server(dot_seconds: float) -> Iterator[tuple[str, Connection]]:
    processes = multiprocessing.get_context("spawn")
    ours, its = processes.Pipe()
    process = processes.Process(target=_serve, args=(dot_seconds, its), daemon=True)
    process.start()
    try:
        yield ours.recv(), ours
    finally:
        process.terminate()
        process.join()


def _message(number: int) -> EmailMessage:
    made = EmailMessage()
    made["From"], made["To"], made["Subject"] = "shop@example.org", f"r{number}@example{number % 500}.com", "Hello"
    made.set_content(_LINE * 70)
    return made


def _measure(messages: int, concurrency: int, dot_seconds: float) -> None:
    with tempfile.TemporaryDirectory() as folder, _running_server(dot_seconds) as (url, server):
        settings = {"store": f"sqlite:///{folder}/bounces.db", "relays": {"main": url}}
        with Postmaster(retry="queue", worker="external", **settings) as postmaster:  # type: ignore[arg-type]
            submitted = _submit(postmaster, messages)
            worker = postmaster.worker(concurrency=concurrency)
            start = time.perf_counter()
            worker.start()
            taken = _until_empty(postmaster, start)
            worker.stop()
        server.send("enough")
        assert server.recv() == messages
    print(
        f"  {concurrency} at the same time, {1000 * dot_seconds:3.0f} ms for the dot:"
        f" {messages / taken:8,.0f} messages/s   (submitted: {messages / submitted:,.0f}/s)"
    )


def _measure_processes(store: str, messages: int, processes: int, dot_seconds: float) -> float:
    """How many messages a second several processes send from one store."""
    made = multiprocessing.get_context("spawn")
    ready, stop = made.Barrier(processes + 1), made.Event()
    with _running_server(dot_seconds) as (url, server):
        with Postmaster(store=store, retry="queue", worker="external", relays={"main": url}) as postmaster:
            _submit(postmaster, messages)
            running = [made.Process(target=_work, args=(store, url, ready, stop)) for _ in range(processes)]
            for process in running:
                process.start()
            ready.wait()
            taken = _until_empty(postmaster, time.perf_counter())
            stop.set()
            for process in running:
                process.join()
        server.send("enough")
        assert server.recv() == messages
    print(f"  {processes} processes, {1000 * dot_seconds:3.0f} ms for the dot: {messages / taken:8,.0f} messages/s")
    return messages / taken


def _work(store: str, relay: str, ready: Barrier, stop: Event, threads: int = 1) -> None:
    with Postmaster(store=store, retry="queue", worker="external", relays={"main": relay}) as postmaster:
        worker = postmaster.worker(concurrency=threads)
        postmaster.office.store.depth(postmaster.office.clock.now())
        ready.wait()
        worker.start()
        stop.wait()
        worker.stop()


def _end_to_end(messages: int, threads: int) -> None:
    for how, working in _WAYS.items():
        with tempfile.TemporaryDirectory() as folder, _running_server(0.0) as (url, server):
            store = f"sqlite:///{folder}/bounces.db"
            with (
                Postmaster(store=store, retry="queue", worker="external", relays={"main": url}) as postmaster,
                working(postmaster, store, url, threads),
            ):
                spent, start = time.process_time(), time.perf_counter()
                submitted = _submit(postmaster, messages)
                if working is _working_behind:
                    postmaster.worker(concurrency=1).run_due()
                taken = _until_empty(postmaster, start)
                spent = time.process_time() - spent
            server.send("enough")
            assert server.recv() == messages
        print(
            f"  {how:<46} {messages / taken:8,.0f} messages/s   (submitted: {messages / submitted:,.0f}/s;"
            f" {1000 * spent / messages:.2f} ms of a processor each in this process)"
        )


@contextmanager
def _working_beside(postmaster: Postmaster, store: str, relay: str, threads: int) -> Iterator[None]:
    """Inside, a process of its own sends what is queued."""
    made = multiprocessing.get_context("spawn")
    ready, stop = made.Barrier(2), made.Event()
    running = made.Process(target=_work, args=(store, relay, ready, stop, threads))
    running.start()
    ready.wait()
    yield
    stop.set()
    running.join()


@contextmanager
def _working_within(postmaster: Postmaster, store: str, relay: str, threads: int) -> Iterator[None]:
    """Inside, threads of this process send what is queued."""
    worker = postmaster.worker(concurrency=threads)
    postmaster.office.ledger.on_queued = worker.wake
    worker.start()
    yield
    worker.stop()


@contextmanager
def _working_behind(postmaster: Postmaster, store: str, relay: str, threads: int) -> Iterator[None]:
    """Inside, nobody sends yet."""
    yield


_WAYS = {
    "submitted beside a process that sends": _working_beside,
    "submitted beside threads that send": _working_within,
    "submitted, and then sent by the same thread": _working_behind,
}


def _submit(postmaster: Postmaster, messages: int) -> float:
    with postmaster.client("main") as client:
        start = time.perf_counter()
        for number in range(messages):
            client.submit(_message(number))
        return time.perf_counter() - start


def _until_empty(postmaster: Postmaster, start: float) -> float:
    while next(postmaster.office.store.queued(limit=1), None) is not None:
        time.sleep(0.01)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=2000)
    parser.add_argument("--dot", type=float, default=0.02, help="seconds that the slow server takes for a message")
    parser.add_argument("--store", help="the URL of an empty one that processes share")
    parser.add_argument("--processes", type=int, default=2, help="how many, with --store")
    parser.add_argument("--end-to-end", action="store_true", help="submit and settle at the same time")
    parser.add_argument("--threads", type=int, default=1, help="of the worker, with --end-to-end")
    asked = parser.parse_args()
    if asked.end_to_end:
        _end_to_end(asked.messages, asked.threads)
        return
    if asked.store:
        for dot_seconds in (0.0, asked.dot):
            one, several = (
                _measure_processes(asked.store, asked.messages, number, dot_seconds) for number in (1, asked.processes)
            )
            print(f"  {several / one:.2f} times as many")
        return
    for dot_seconds in (0.0, asked.dot):
        for concurrency in (1, 4):
            _measure(asked.messages, concurrency, dot_seconds)


if __name__ == "__main__":
    main()
