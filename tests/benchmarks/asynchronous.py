"""AsyncClient against aiosmtplib, each on kept connections on one loop.

    python -m tests.benchmarks.asynchronous [--slices 30] [--recipients 1 10 100] [--connections 1 10] [--delay-ms 0]

Slices of the ways are interleaved in random order; aiosmtplib runs twice (the A/A control), and a ratio is worth what
that control is near to 1.00. Above 1.00 is faster than aiosmtplib. bouncekit does all its policy's work, in memory.
"""

import argparse
import asyncio
import random
import statistics
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import aiosmtplib

import bouncekit

from .overhead import message_of
from .sink import running_sink

_SENDER = "shop@example.org"
_MESSAGES = 200  # a slice, at one recipient
Slice = Callable[[list[str], bytes, int], Awaitable[None]]


async def _lanes(count: int, messages: int, send: Callable[[int], Awaitable[object]]) -> None:
    """Send so many messages, so many of them at the same time."""
    numbers = iter(range(messages))

    async def lane(index: int) -> None:
        for _ in numbers:
            await send(index)

    async with asyncio.TaskGroup() as group:
        for index in range(count):
            group.create_task(lane(index))


async def _ways(address: tuple[str, int], connections: int, stack: AsyncExitStack) -> dict[str, Slice]:
    async def aiosmtplib_way() -> Slice:
        clients = [
            await stack.enter_async_context(aiosmtplib.SMTP(hostname=address[0], port=address[1], start_tls=False))
            for _ in range(connections)
        ]

        async def run(people: list[str], message: bytes, messages: int) -> None:
            await _lanes(connections, messages, lambda index: clients[index].sendmail(_SENDER, people, message))

        return run

    async def client_way() -> Slice:
        postmaster = stack.enter_context(bouncekit.Postmaster())
        client = await stack.enter_async_context(
            bouncekit.AsyncClient(f"smtp://{address[0]}:{address[1]}", postmaster=postmaster, connections=connections)
        )

        async def run(people: list[str], message: bytes, messages: int) -> None:
            await _lanes(connections, messages, lambda _: client.sendmail(_SENDER, people, message))

        return run

    async def stream_way() -> Slice:
        postmaster = stack.enter_context(bouncekit.Postmaster())
        client = await stack.enter_async_context(
            bouncekit.AsyncClient(f"smtp://{address[0]}:{address[1]}", postmaster=postmaster, connections=connections)
        )

        async def run(people: list[str], message: bytes, messages: int) -> None:
            # To others each: a stream never runs ahead to the same mailbox.
            letters = ((_SENDER, [f"{number}.{one}" for one in people], message) for number in range(messages))
            await client.send_many(letters)

        return run

    return {
        "aiosmtplib": await aiosmtplib_way(),
        "aiosmtplib again (A/A)": await aiosmtplib_way(),
        "AsyncClient.sendmail": await client_way(),
        "AsyncClient.send_many": await stream_way(),
    }


async def measure(
    address: tuple[str, int], *, slices: int, recipients: int, connections: int
) -> dict[str, list[float]]:
    """Each way's messages a second, slice by slice."""
    people = [f"user{number}@example.com" for number in range(recipients)]
    message, messages = message_of(2_000), max(20, _MESSAGES // recipients)
    rates: dict[str, list[float]] = {}
    async with AsyncExitStack() as stack:
        ways = await _ways(address, connections, stack)
        for way in ways.values():
            await way(people, message, connections * 2)
        for _ in range(slices):
            for name in random.sample(list(ways), len(ways)):
                start = time.perf_counter()
                await ways[name](people, message, messages)
                rates.setdefault(name, []).append(messages / (time.perf_counter() - start))
    return rates


def show(rates: dict[str, list[float]]) -> None:
    """The median of each way's ratio to aiosmtplib in the same round."""
    base = rates["aiosmtplib"]
    for name, own in rates.items():
        ratio = statistics.median(mine / theirs for mine, theirs in zip(own, base, strict=True))
        print(f"  {name:24} {statistics.median(own):8.0f} messages/s   {ratio:5.2f} times aiosmtplib")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slices", type=int, default=30, help="rounds of each case")
    parser.add_argument("--recipients", type=int, nargs="+", default=[1, 10, 100])
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 10])
    parser.add_argument("--delay-ms", type=float, default=0.0, help="before the server answers, as a network would")
    settings = parser.parse_args()
    with running_sink(pipelining=True, delay=settings.delay_ms / 1000) as address:
        for connections in settings.connections:
            for recipients in settings.recipients:
                print(f"{recipients} recipients, 2 KB, {connections} connections, {settings.slices} slices")
                work = measure(address, slices=settings.slices, recipients=recipients, connections=connections)
                show(asyncio.run(work))


if __name__ == "__main__":
    main()
