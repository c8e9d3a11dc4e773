"""A line on an event loop: carries out what a conversation asks for (`bouncekit.protocol.conversation`).

asyncio reads ahead of whoever asks, so a look asks the kernel, too; and it takes more than the kernel has room for, so
what is sent counts as sent only when the kernel has it.
"""

import asyncio
import ssl
from collections.abc import Callable
from typing import Any, cast

from bouncekit.protocol.conversation import DEADLINES, Conversation, Look, Receive, Send, Turn
from bouncekit.transports.blocking import readiness
from bouncekit.transports.reaching import reach
from bouncekit.words.reply import ReplyReader, Stage

__all__ = ["StreamWire", "connect"]

_MOST_BYTES = 256 * 1024  # that wait for whoever asks; then the server has to
_PASSES = 3  # of the loop, until what the kernel has is here


class StreamWire(asyncio.Protocol):
    """One side of an SMTP connection on the running loop. `connect` makes one."""

    def __init__(self) -> None:
        self.line = Conversation(ReplyReader())
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._is_ready: Callable[[float], object]
        self._came = bytearray()
        self._is_held = False
        self._is_full = False  # the kernel does not have all yet
        self._is_over = False
        self._is_lost = False  # and the transport has forgotten its loop
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None

    @property
    def is_over(self) -> bool:
        """Whether the line is closed, on either side."""
        return self._is_over

    @property
    def has_sent_all(self) -> bool:
        """Whether the kernel has all that was written."""
        return not self._is_full

    # -- called by the loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self._take(cast(asyncio.Transport, transport))
        self._is_ready = readiness(transport.get_extra_info("socket"))
        self.line.is_tls = transport.get_extra_info("ssl_object") is not None

    def data_received(self, data: bytes) -> None:
        """Keep what came."""
        self._came += data
        if len(self._came) > _MOST_BYTES and not self._is_held:
            self._is_held = True
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> bool:
        """The other side is done; so are we."""
        self._is_over = True
        self._wake()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing more will come."""
        self._is_over = self._is_lost = True
        self._error = self._error or exc
        self._wake()

    def pause_writing(self) -> None:
        """The kernel has no room."""
        self._is_full = True

    def resume_writing(self) -> None:
        """It has all."""
        self._is_full = False
        self._wake()

    def _take(self, transport: asyncio.Transport) -> None:
        # A plain transport pauses us above its mark, one under TLS at it: at 0 it would when all has gone out.
        is_tls = transport.get_extra_info("ssl_object") is not None
        transport.set_write_buffer_limits(high=1 if is_tls else 0)
        self._transport = transport

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # -- the steps of a conversation

    async def do(self, step: Send | Receive | Look | Turn) -> Any:
        """Carry out one step.

        Raises:
            TimeoutError: there was not time enough; OSError: the line is cut.
        """
        match step:
            case Turn():
                return await self._turn(step)
            case Receive():
                return await self._receive(step.seconds)
            case Look():
                return await self._look()
            case Send(listens=True):
                self._write(step.data)  # what is answered meanwhile, the loop takes in
                return b"", None, 0.0
            case Send():
                self._write(step.data)
                await self._all_sent(step.seconds)
                return None

    async def start_tls(self, context: ssl.SSLContext, host: str) -> None:
        """Shake hands with a host of this name.

        Raises:
            OSError: it came to nothing.
        """
        if self._is_over:
            raise self._why()
        seconds = self.line.timeout or DEADLINES[Stage.STARTTLS]
        secured = await self._loop.start_tls(
            self._transport, self, context, server_hostname=host, ssl_handshake_timeout=seconds
        )
        if secured is None:
            raise ConnectionResetError("the connection was closed at the handshake")
        self._take(secured)
        self.line.go_under_tls()

    def close(self) -> None:
        """Close it in good order."""
        self._is_over = True
        self._transport.close()

    def abort(self, error: Exception | None = None) -> None:
        """Close it at once; what has not gone out yet never does. Whoever waits gets the error."""
        self._is_over = True
        self._error = error or self._error
        if not self._is_lost:
            self._transport.abort()
        self._wake()

    async def _turn(self, step: Turn) -> tuple[bytes | memoryview, bytes | OSError | None, float]:
        if self._came or self._is_over or self._is_ready(0):
            return step.data, None, 0.0
        self._write(step.data)  # without having waited before: who is cancelled from here on has sent
        if self._is_full:
            await self._all_sent(step.seconds)
        if not step.wait:
            return b"", None, 0.0
        start = self._loop.time()
        try:
            came, took = await self._receive(step.wait)
        except OSError as error:
            return b"", error, self._loop.time() - start
        return b"", came, took

    async def _receive(self, seconds: float) -> tuple[bytes, float]:
        start = self._loop.time()
        while not self._came and not self._is_over:
            await self._wait(start + seconds)
        if not self._came and isinstance(self._error, OSError):
            raise self._error
        return self._taken(), self._loop.time() - start

    async def _look(self) -> bytes | None:
        passes = 0
        while not self._came and not self._is_over:
            if passes == _PASSES or not self._is_ready(0):
                return None  # at the most TLS 1.3 session tickets
            passes += 1
            await asyncio.sleep(0)
        return self._taken()

    def _taken(self) -> bytes:
        data = bytes(self._came)
        self._came.clear()
        if self._is_held and not self._is_over:
            self._is_held = False
            self._transport.resume_reading()
        return data

    def _write(self, data: bytes | memoryview) -> None:
        if self._is_over:
            raise self._why()
        self._transport.write(data)

    async def _all_sent(self, seconds: float) -> None:
        """Wait until the kernel has it. A line that is cut meanwhile shows when somebody reads: much may have gone."""
        end = self._loop.time() + seconds
        while self._is_full and not self._is_over:
            await self._wait(end)

    async def _wait(self, until: float) -> None:
        waiter = self._waiter = self._loop.create_future()
        timer = self._loop.call_at(until, _expire, waiter)
        try:
            await waiter
        finally:
            timer.cancel()
            self._waiter = None

    def _why(self) -> OSError:
        return (
            self._error if isinstance(self._error, OSError) else ConnectionResetError("the connection had been closed")
        )


async def connect(host: str, port: int, *, tls: ssl.SSLContext | None = None, seconds: float) -> StreamWire:
    """A line to a server, with `tls` under TLS from the first byte.

    Raises:
        OSError: there is none; TimeoutError: not within so many seconds.
    """
    async with asyncio.timeout(seconds):
        sock = await reach(host, port)
        _, wire = await asyncio.get_running_loop().create_connection(
            StreamWire, sock=sock, ssl=tls, server_hostname=host if tls is not None else None
        )
    return wire


def _expire(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_exception(TimeoutError())
