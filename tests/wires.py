"""Asynchronous lines and clients behind the calls of the blocking ones, so that one test speaks to both.

Each has a loop of its own, which runs as long as a call does.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Iterator, Sequence
from email.message import Message
from types import TracebackType
from typing import Any

import bouncekit
from bouncekit.clients.aiosession import run
from bouncekit.delivery.report import Report
from bouncekit.desk.office import Office
from bouncekit.protocol.conversation import Send, Talk
from bouncekit.protocol.transaction import Body, Commands, Dot, NotSent
from bouncekit.transports.streams import StreamWire, connect
from bouncekit.words.reply import NoReply, Reply, ReplyReader, Stage

__all__ = ["AwaitedClient", "AwaitedWire"]


class AwaitedWire:
    """A `StreamWire` with the calls of a `Wire`; it is also what stands for its socket."""

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None) -> None:
        self._runner = asyncio.Runner()
        self._wire: StreamWire = self._runner.run(connect(host, port, tls=tls, seconds=5.0))
        self.line = self._wire.line
        self._is_closed = False

    @property
    def reader(self) -> ReplyReader:
        return self.line.reader

    @property
    def sock(self) -> "AwaitedWire":
        return self

    def run(self, talk: Talk) -> Any:
        return self._runner.run(run(talk, self._wire.do))

    def read_reply(self, stage: Stage, *, deadline: float | None = None) -> Reply | NoReply:
        return self.run(self.line.read_reply(stage, deadline=deadline))

    def is_silent(self) -> bool:
        return self.run(self.line.is_silent())

    def unasked(self) -> NotSent:
        return self.run(self.line.unasked())

    def exchange(self, group: Commands) -> Sequence[Reply | NoReply]:
        return self.run(self.line.exchange(group))

    def write(self, body: Body) -> Sequence[NoReply]:
        return self.run(self.line.write(body))

    def finish(self, dot: Dot) -> Sequence[Reply | NoReply]:
        return self.run(self.line.finish(dot))

    # -- as a socket

    def gettimeout(self) -> float | None:
        return self.line.timeout

    def settimeout(self, seconds: float | None) -> None:
        self.line.timeout = seconds

    def sendall(self, data: bytes) -> None:
        self._runner.run(self._wire.do(Send(data, 5.0)))

    def fileno(self) -> int:
        return self._wire._transport.get_extra_info("socket").fileno()

    def shrink(self) -> None:
        """A small buffer, so that a server that does not read is soon felt."""
        self._wire._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)

    def close(self) -> None:
        async def abort() -> None:
            self._wire.abort()
            await asyncio.sleep(0.01)

        if not self._is_closed:
            self._is_closed = True
            self._runner.run(abort())
            self._runner.close()

    def __enter__(self) -> "AwaitedWire":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class AwaitedClient:
    """An `AsyncClient` with the calls of a `Client`."""

    def __init__(self, url: str, **options: Any) -> None:
        self._runner = asyncio.Runner()
        self.client = bouncekit.AsyncClient(url, **options)

    @property
    def office(self) -> Office:
        return self.client._office

    def send(self, message: Message, **options: Any) -> Report:
        return self._runner.run(self.client.send(message, **options))

    def sendmail(self, *arguments: Any, **options: Any) -> Report:
        return self._runner.run(self.client.sendmail(*arguments, **options))

    def submit(self, message: Message, **options: Any) -> Report:
        return self._runner.run(self.client.submit(message, **options))

    def send_many(self, letters: Any, **options: Any) -> Any:
        return self._runner.run(self.client.send_many(letters, **options))

    def send_all(self, messages: Any, **options: Any) -> Iterator[Report]:
        return self._each(self.client.send_all(messages, **options))

    def _each(self, reports: AsyncIterator[Report]) -> Iterator[Report]:
        try:
            while (report := self._runner.run(_next(reports))) is not None:
                yield report
        finally:
            self._runner.run(reports.aclose())  # type: ignore[attr-defined]

    def close(self) -> None:
        self._runner.run(self.client.close())

    def __enter__(self) -> "AwaitedClient":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
        self._runner.close()


async def _next(reports: AsyncIterator[Report]) -> Report | None:
    return await anext(reports, None)
