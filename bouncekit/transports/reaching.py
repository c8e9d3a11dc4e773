"""A socket to a host, on an event loop: to whichever of its addresses answers first (RFC 8305).

asyncio's `create_connection` tries them in the same way, and leaves the socket of the winner open where it is cancelled
before it has heard of it.
"""

import asyncio
import socket
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain, zip_longest
from typing import Any

__all__ = ["Address", "first_of", "reach"]

_HEAD_START = 0.25  # seconds before the next address is tried as well (RFC 8305 5)

Address = tuple[socket.AddressFamily, socket.SocketKind, int, str, Any]  # as `getaddrinfo` gives it


async def reach(host: str, port: int) -> socket.socket:
    """A socket that is connected to this host.

    Raises:
        OSError: its name is not known, or none of its addresses answers; it says why the first one did not.
    """
    return await first_of(_in_turn(await _addresses(host, port)))


async def first_of(addresses: Iterable[Address]) -> socket.socket:
    """A socket that is connected to one of these. All else that was opened is closed, also where this is cancelled.

    Raises:
        OSError: none answers; it says why the first one did not.
    """
    left = deque(addresses)
    tries: list[asyncio.Task[socket.socket]] = []
    won: asyncio.Task[socket.socket] | None = None
    try:
        while left or not all(one.done() for one in tries):
            if left:
                tries.append(asyncio.create_task(_connected(left.popleft())))
            under_way = [one for one in tries if not one.done()]
            seconds = _HEAD_START if left else None
            await asyncio.wait(under_way, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            won = next((one for one in tries if one.done() and one.exception() is None), None)
            if won is not None:
                return won.result()
        return tries[0].result()
    finally:
        for one in tries:
            if one is not won:
                _give_up(one)


async def _addresses(host: str, port: int) -> Sequence[Address]:
    # asyncio sets TCP_NODELAY only on a socket that says it is of TCP, which not every system says by itself.
    asked = {"type": socket.SOCK_STREAM, "proto": socket.IPPROTO_TCP}
    with suppress(socket.gaierror):  # no name: nobody has to be asked
        return socket.getaddrinfo(host, port, flags=socket.AI_NUMERICHOST, **asked)
    return await asyncio.get_running_loop().getaddrinfo(host, port, **asked)


def _in_turn(addresses: Sequence[Address]) -> Iterator[Address]:
    """One of each family after the other, so that none that is out of order holds up the other (RFC 8305 4)."""
    families = dict.fromkeys(family for family, *_ in addresses)
    ranks = zip_longest(*([one for one in addresses if one[0] is family] for family in families))
    return (one for one in chain.from_iterable(ranks) if one is not None)


async def _connected(address: Address) -> socket.socket:
    family, kind, protocol, _, where = address
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, where)
    except BaseException:
        sock.close()
        raise
    return sock


def _give_up(one: "asyncio.Task[socket.socket]") -> None:
    if not one.done():
        one.cancel()
    elif not one.cancelled() and one.exception() is None:
        one.result().close()
