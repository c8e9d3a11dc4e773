"""A link with a round trip of its own, before a server: what is written comes later, and as it was written.

    python -m tests.benchmarks.delayed

Both directions are delayed by half of it. What is read is passed on at its own time in a write of its own, so that two
writes with a pause between arrive with that pause. Round trips are counted where they happen: each time that the client
speaks behind something the server has said. The command shows what such a link measures.
"""

import multiprocessing
import queue
import socket
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

__all__ = ["Link", "delayed", "measured_round_trip", "measured_spread"]

_CHUNK = 64 * 1024
_PINGS = 20


@dataclass(frozen=True, slots=True)
class Link:
    """Where the link begins. `turns` is how often all clients together have spoken behind an answer."""

    address: tuple[str, int]
    _turns: Any

    @property
    def turns(self) -> int:
        with self._turns.get_lock():
            return int(self._turns.value)


@contextmanager
def delayed(target: tuple[str, int], seconds: float) -> Iterator[Link]:
    """A link to a server, of so many seconds a round trip, in a process of its own, as long as the block lasts."""
    context = multiprocessing.get_context("fork")
    turns = context.Value("q", 0)
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        process = context.Process(target=_serve, args=(listener, target, seconds / 2, turns), daemon=True)
        process.start()
        try:
            yield Link(listener.getsockname(), turns)
        finally:
            process.terminate()
            process.join()


def _serve(listener: socket.socket, target: tuple[str, int], delay: float, turns: Any) -> None:
    while True:
        client, _ = listener.accept()
        server = socket.create_connection(target)
        for one in (client, server):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        speaking = _Speaking(turns)
        for source, goal, speaks in ((client, server, speaking.client), (server, client, speaking.server)):
            line: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()
            threading.Thread(target=_take, args=(source, line, delay, speaks), daemon=True).start()
            threading.Thread(target=_give, args=(goal, line), daemon=True).start()


class _Speaking:
    """Whose turn it is: a round trip ends where the client speaks behind the server."""

    def __init__(self, turns: Any) -> None:
        self._turns = turns
        self._has_server_spoken = False

    def client(self) -> None:
        if self._has_server_spoken:
            self._has_server_spoken = False
            with self._turns.get_lock():
                self._turns.value += 1

    def server(self) -> None:
        self._has_server_spoken = True


def _take(source: socket.socket, line: "queue.SimpleQueue[tuple[float, bytes]]", delay: float, speaks: Any) -> None:
    data = b"-"
    while data:
        try:
            data = source.recv(_CHUNK)
        except OSError:
            data = b""
        if data:
            speaks()
        line.put((time.monotonic() + delay, data))


def _give(goal: socket.socket, line: "queue.SimpleQueue[tuple[float, bytes]]") -> None:
    while True:
        at, data = line.get()
        time.sleep(max(at - time.monotonic(), 0.0))
        with suppress(OSError):
            if not data:
                goal.shutdown(socket.SHUT_WR)
                return
            goal.sendall(data)


# -- what a link measures


def measured_round_trip(seconds: float) -> float:
    """The median of what a byte takes over such a link and back."""
    with _echo() as target, delayed(target, seconds) as link, socket.create_connection(link.address) as line:
        taken = []
        for _ in range(_PINGS):
            start = time.monotonic()
            line.sendall(b"?")
            line.recv(1)
            taken.append(time.monotonic() - start)
        assert link.turns == _PINGS - 1, f"{_PINGS} pings made {link.turns} round trips behind the first"
    return statistics.median(taken)


def measured_spread(seconds: float, pause: float) -> float:
    """How long behind the first of two bytes the second one comes that was written so much later."""
    with _echo() as target, delayed(target, seconds) as link, socket.create_connection(link.address) as line:
        line.sendall(b"1")
        threading.Timer(pause, line.sendall, (b"2",)).start()
        assert line.recv(1) == b"1"
        first = time.monotonic()
        assert line.recv(1) == b"2"
        return time.monotonic() - first


@contextmanager
def _echo() -> Iterator[tuple[str, int]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                line, _ = listener.accept()
                line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with line:
                    while data := line.recv(_CHUNK):
                        line.sendall(data)

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()


def main() -> None:
    for seconds in (0.001, 0.02, 0.1):
        taken = measured_round_trip(seconds)
        spread = statistics.median(measured_spread(seconds, 0.01) for _ in range(9))
        print(
            f"{seconds * 1000:4.0f} ms: a byte and its echo take {taken * 1000:6.2f} ms; "
            f"two that were written 10 ms apart come {spread * 1000:.2f} ms apart"
        )


if __name__ == "__main__":
    main()
