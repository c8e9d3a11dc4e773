"""Whichever address answers first is spoken to, and no socket is left open, whenever whoever asked has gone."""

import asyncio
import gc
import socket
import ssl
import warnings
from collections.abc import Coroutine, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import pytest

from bouncekit.transports.reaching import Address, first_of, reach
from bouncekit.transports.streams import connect

_TURNS = range(16)  # of the loop: in fewer a line is there


def run(asked: Coroutine[Any, Any, Any]) -> Any:
    """What it answers; a socket or a transport that is left open is an error."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always", ResourceWarning)
        answer = asyncio.run(asked)
        gc.collect()
    assert [str(one.message) for one in found] == []
    return answer


def at(sock: socket.socket) -> Address:
    return socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", sock.getsockname()


@contextmanager
def listening(*, backlog: int = 5) -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=backlog) as sock:
        yield sock


@contextmanager
def refusing() -> Iterator[socket.socket]:
    """Bound, and nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock


@contextmanager
def silent() -> Iterator[socket.socket]:
    """Neither takes nor refuses: as many wait there as there is room for."""
    with ExitStack() as stack:
        sock = stack.enter_context(listening(backlog=0))
        for _ in range(8):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            with suppress(BlockingIOError):
                waiting.connect(sock.getsockname())
        yield sock


@pytest.mark.parametrize("other", [refusing, silent])
def test_an_address_that_does_not_answer_holds_up_no_other(other: Any) -> None:
    with other() as first, listening() as second:

        async def main() -> None:
            with await first_of([at(first), at(second)]) as sock:
                assert sock.getpeername() == second.getsockname()

        run(main())


def test_of_two_that_answer_the_first_is_taken() -> None:
    with listening() as first, listening() as second:

        async def main() -> None:
            with await first_of([at(first), at(second)]) as sock:
                assert sock.getpeername() == first.getsockname()

        run(main())


def test_where_nobody_answers_the_first_address_says_why() -> None:
    with refusing() as first, refusing() as second:
        asking, port = first_of([at(first), at(second)]), first.getsockname()[1]
        with pytest.raises(ConnectionRefusedError, match=f"{port}"):
            run(asking)


def test_a_name_that_is_none_is_an_error_of_the_network() -> None:
    with pytest.raises(socket.gaierror):
        run(reach("nobody.invalid", 25))


@pytest.mark.parametrize("is_tls", [False, True])
def test_whoever_is_cancelled_on_the_way_leaves_no_line_open(*, is_tls: bool) -> None:
    """At whatever turn of the loop: where asyncio's own race was over, it left the winner's socket to nobody."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if is_tls else None

    async def main() -> None:
        open_lines = 0

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal open_lines
            open_lines += 1
            while await reader.read(1000):
                pass
            open_lines -= 1
            writer.close()

        async def cancelled_after(turns: int, port: int) -> None:
            connecting = asyncio.create_task(connect("127.0.0.1", port, tls=tls, seconds=5))
            for _ in range(turns):
                await asyncio.sleep(0)
            if connecting.done():
                connecting.result().abort()
            else:
                connecting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await connecting

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            for turns in _TURNS:
                await cancelled_after(turns, server.sockets[0].getsockname()[1])
            await asyncio.sleep(0.05)
            async with asyncio.timeout(5):
                while open_lines:
                    await asyncio.sleep(0.01)

    run(main())


def test_whoever_is_cancelled_while_several_are_tried_leaves_none_open() -> None:
    async def main(*addresses: Address) -> None:
        asking = asyncio.create_task(first_of(addresses))
        await asyncio.sleep(0.3)  # the second one's head start is over
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking

    with silent() as first, silent() as second:
        run(main(at(first), at(second)))
