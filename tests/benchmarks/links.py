"""What a send takes over a link with a round trip of 1, 20 and 100 ms: each way of sending, against real servers.

    python -m tests.benchmarks.links [--servers scripted smtp-sink postfix] [--delays-ms 1 20 100]
        [--recipients 1 10 100] [--kilobytes 2 100] [--rounds 3]

Each way keeps its connection, but `send_many` of the blocking client, which opens its own. Rounds of the ways are
interleaved in random order, smtplib runs twice (the A/A control), and shown is the median of what a way took against
smtplib in the same round: above 1.00 is faster. Round trips a message are counted at the link. bouncekit does all its
policy's work, in memory. Last, without a link, smtp-source against the same smtp-sink: what C needs there.

smtp-sink and smtp-source are Debian's postfix; a Postfix of its own is started where that can be (as root).
"""

import argparse
import asyncio
import multiprocessing
import random
import shutil
import smtplib
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import aiosmtplib

import bouncekit
from bouncekit.testing import ScriptedServer, refusing_port
from tests.e2e.servers import (
    SEARCH_PATH,
    Address,
    accepts,
    running_dovecot,
    running_postfix,
    wait_until,
    why_no_dovecot,
    why_no_postfix,
)

from .delayed import Link, delayed, measured_round_trip
from .overhead import message_of

_SENDER = "shop@example.org"
_DOMAIN = "links.test"  # Postfix takes mail for everybody there, and throws it away
_SECONDS = 1.5  # of link that a way may use in a round, above its first message
_CONNECTIONS = 4  # of send_many
_SOURCE_MESSAGES = 600
_BASE = "smtplib"

Address_ = tuple[str, int]
Send = Callable[[int], None]  # so many messages


@dataclass(frozen=True, slots=True)
class Way:
    """A way to send: `trips` is what a message should take, for how many are sent in a round."""

    name: str
    trips: Callable[[int], float]
    open: Callable[["Bench"], Send]


@dataclass(slots=True)
class Bench:
    """What a way needs: where to send to, what, and where to put what is to be closed."""

    address: Address_
    people: Sequence[str]
    message: bytes
    stack: ExitStack
    numbers: Iterator[int] = field(default_factory=lambda: iter(range(10**9)))

    def letters(self, count: int) -> Iterator[tuple[str, list[str], bytes]]:
        """So many messages, each to others: a stream never runs ahead to the same mailbox."""
        for number in (next(self.numbers) for _ in range(count)):
            yield _SENDER, [f"{number}.{one}" for one in self.people], self.message

    def postmaster(self) -> bouncekit.Postmaster:
        return self.stack.enter_context(bouncekit.Postmaster())

    @property
    def url(self) -> str:
        return f"smtp://{self.address[0]}:{self.address[1]}"


def _blocking(make: Callable[[Bench], smtplib.SMTP]) -> Callable[[Bench], Send]:
    def open_(bench: Bench) -> Send:
        smtp = make(bench)
        bench.stack.callback(smtp.close)

        def send(count: int) -> None:
            for letter in bench.letters(count):
                assert smtp.sendmail(*letter) == {}

        return send

    return open_


def _stream(bench: Bench) -> Send:
    smtp = bench.postmaster().smtp(*bench.address)
    bench.stack.callback(smtp.close)

    def send(count: int) -> None:
        assert all(report == {} for report in smtp.deliver_all(smtp.take(*one) for one in bench.letters(count)))

    return send


def _many(connections: int) -> Callable[[Bench], Send]:
    def open_(bench: Bench) -> Send:
        client = bench.stack.enter_context(bouncekit.Client(bench.url, postmaster=bench.postmaster()))
        return lambda count: _all_delivered(client.send_many(bench.letters(count), concurrency=connections))

    return open_


def _on_a_loop(make: Callable[[Bench], tuple[Any, Callable[[Any, int], Any]]]) -> Callable[[Bench], Send]:
    def open_(bench: Bench) -> Send:
        runner = bench.stack.enter_context(asyncio.Runner())
        manager, work = make(bench)
        client = runner.run(manager.__aenter__())
        bench.stack.callback(lambda: runner.run(manager.__aexit__(None, None, None)))
        return lambda count: runner.run(work(client, count))

    return open_


def _aiosmtplib(bench: Bench) -> tuple[Any, Any]:
    async def work(smtp: aiosmtplib.SMTP, count: int) -> None:
        for letter in bench.letters(count):
            await smtp.sendmail(*letter)

    return aiosmtplib.SMTP(hostname=bench.address[0], port=bench.address[1], start_tls=False, use_tls=False), work


def _async_client(bench: Bench) -> tuple[Any, Any]:
    async def work(client: bouncekit.AsyncClient, count: int) -> None:
        for letter in bench.letters(count):
            assert await client.sendmail(*letter) == {}

    return bouncekit.AsyncClient(bench.url, postmaster=bench.postmaster()), work


def _async_stream(bench: Bench) -> tuple[Any, Any]:
    async def work(client: bouncekit.AsyncClient, count: int) -> None:
        _all_delivered(await client.send_many(bench.letters(count)))

    return bouncekit.AsyncClient(bench.url, postmaster=bench.postmaster()), work


def _all_delivered(tally: Any) -> None:
    assert set(tally) == {bouncekit.Action.DELIVERED}, tally


WAYS = (
    Way(_BASE, lambda people: people + 3, _blocking(lambda bench: smtplib.SMTP(*bench.address))),
    Way("smtplib again (A/A)", lambda people: people + 3, _blocking(lambda bench: smtplib.SMTP(*bench.address))),
    Way("aiosmtplib", lambda people: people + 3, _on_a_loop(_aiosmtplib)),
    Way(
        "lock-step",
        lambda people: people + 3,
        _blocking(lambda bench: bench.postmaster().smtp(*bench.address, lock_step=True)),
    ),
    Way("pipelined", lambda people: 2, _blocking(lambda bench: bench.postmaster().smtp(*bench.address))),
    Way("AsyncClient.sendmail", lambda people: 2, _on_a_loop(_async_client)),
    Way("a stream", lambda people: 1, _stream),
    Way("AsyncClient.send_many", lambda people: 1, _on_a_loop(_async_stream)),
    Way(f"send_many, {_CONNECTIONS} connections", lambda people: 1 / _CONNECTIONS, _many(_CONNECTIONS)),
)


@dataclass(frozen=True, slots=True)
class Taken:
    """What a message took in one round: seconds, and round trips."""

    seconds: float
    trips: float


def measure(link: Link, *, people: int, size_bytes: int, delay: float, rounds: int) -> dict[str, list[Taken]]:
    """What a message takes in each way, round by round."""
    taken: dict[str, list[Taken]] = {way.name: [] for way in WAYS}
    recipients, message = [f"user{number}@{_DOMAIN}" for number in range(people)], message_of(size_bytes)
    with ExitStack() as stack:
        opened = {way: way.open(Bench(link.address, recipients, message, stack)) for way in WAYS}
        for send in opened.values():
            send(1)
        for _ in range(rounds):
            for way in random.sample(WAYS, len(WAYS)):
                count = max(1, min(40, int(_SECONDS / (delay * way.trips(people)))))
                before, start = link.turns, time.monotonic()
                opened[way](count)
                seconds = time.monotonic() - start
                taken[way.name].append(Taken(seconds / count, (link.turns - before) / count))
    return taken


def show(taken: dict[str, list[Taken]]) -> None:
    """The median of each way's ratio to smtplib in the same round, and of its round trips."""
    for name, own in taken.items():
        ratio = statistics.median(base.seconds / one.seconds for base, one in zip(taken[_BASE], own, strict=True))
        trips = statistics.median(one.trips for one in own)
        shown = statistics.median(one.seconds for one in own) * 1000
        print(f"  {name:26} {shown:9.2f} ms a message {trips:7.2f} round trips {ratio:7.2f} times smtplib", flush=True)


# -- the servers


@contextmanager
def _scripted() -> Iterator[Address_]:
    """Our own server, in a process of its own."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()

    def serve() -> None:
        with ScriptedServer() as server:
            there.send((server.host, server.port))
            there.recv()

    process = context.Process(target=serve, daemon=True)
    process.start()
    try:
        yield here.recv()
    finally:
        process.terminate()
        process.join()


@contextmanager
def _smtp_sink() -> Iterator[Address_]:
    with refusing_port() as port:
        pass
    command = [_program("smtp-sink"), "-u", "nobody", f"127.0.0.1:{port}", "64"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: accepts(Address("127.0.0.1", port)), 10.0)
            yield "127.0.0.1", port
        finally:
            process.terminate()


@contextmanager
def _postfix() -> Iterator[Address_]:
    with running_dovecot() as dovecot, running_postfix(dovecot, routes={_DOMAIN: "discard:"}) as postfix:
        yield tuple(postfix.roomy)


_SERVERS: dict[str, Callable[[], AbstractContextManager[Address_]]] = {
    "scripted": _scripted,
    "smtp-sink": _smtp_sink,
    "postfix": _postfix,
}


def why_not(server: str) -> str | None:
    """Why a server cannot be had here, and what to do about it."""
    if server == "smtp-sink" and _program("smtp-sink") is None:
        return "smtp-sink is not installed: apt-get install postfix"
    return why_no_postfix() or why_no_dovecot() if server == "postfix" else None


def _program(name: str) -> Any:
    return shutil.which(name, path=SEARCH_PATH)


# -- without a link


def throughput(recipients: int, size_bytes: int) -> None:
    """Messages a second on loopback, on one connection to smtp-sink, of smtp-source too."""
    people, message = [f"user{number}@{_DOMAIN}" for number in range(recipients)], message_of(size_bytes)
    count = max(50, _SOURCE_MESSAGES // recipients)
    rates: dict[str, list[float]] = {}
    with _smtp_sink() as address, ExitStack() as stack:
        opened = {way.name: way.open(Bench(address, people, message, stack)) for way in WAYS}
        opened["smtp-source (C, lock-step)"] = _source(address, recipients, size_bytes)
        for send in opened.values():
            send(1)
        for _ in range(5):
            for name in random.sample(list(opened), len(opened)):
                start = time.monotonic()
                opened[name](count)
                rates.setdefault(name, []).append(count / (time.monotonic() - start))
    for name in opened:
        own = rates[name]
        ratio = statistics.median(mine / base for mine, base in zip(own, rates[_BASE], strict=True))
        print(f"  {name:26} {statistics.median(own):9.0f} messages/s {ratio:7.2f} times smtplib", flush=True)


def _source(address: Address_, recipients: int, size_bytes: int) -> Send:
    def send(count: int) -> None:
        command = [_program("smtp-source"), "-d", "-s", "1", "-m", str(count), "-l", str(size_bytes)]
        command += ["-r", str(recipients), "-f", _SENDER, "-t", f"user@{_DOMAIN}", f"{address[0]}:{address[1]}"]
        subprocess.run(command, check=True, timeout=300)

    return send


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", nargs="+", choices=_SERVERS, default=list(_SERVERS))
    parser.add_argument("--delays-ms", type=float, nargs="*", default=[1, 20, 100], help="none: without links")
    parser.add_argument("--recipients", type=int, nargs="+", default=[1, 10, 100])
    parser.add_argument("--kilobytes", type=int, nargs="+", default=[2, 100])
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    for delay in asked.delays_ms:
        print(f"a link of {delay:g} ms measures {measured_round_trip(delay / 1000) * 1000:.2f} ms")
    for server in asked.servers if asked.delays_ms else ():
        if reason := why_not(server):
            print(f"{server}: {reason}")
            continue
        with _SERVERS[server]() as target:
            for delay in asked.delays_ms:
                for recipients in asked.recipients:
                    for kilobytes in asked.kilobytes:
                        print(f"{server}, {delay:g} ms, {recipients} recipients, {kilobytes} KB", flush=True)
                        with delayed(target, delay / 1000) as link:
                            case = {"people": recipients, "size_bytes": kilobytes * 1000, "delay": delay / 1000}
                            show(measure(link, rounds=asked.rounds, **case))
    if (reason := why_not("smtp-sink")) or "smtp-sink" not in asked.servers:
        print(reason or "without smtp-sink, nothing for smtp-source")
        return
    for recipients in asked.recipients:
        for kilobytes in asked.kilobytes:
            print(f"smtp-sink on loopback, {recipients} recipients, {kilobytes} KB")
            throughput(recipients, kilobytes * 1000)


if __name__ == "__main__":
    main()
