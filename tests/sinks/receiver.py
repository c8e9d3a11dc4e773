"""A receiver of webhooks on a plain socket, so that it can misbehave in every way; with TLS where it has a context."""

import contextlib
import socket
import ssl
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import TypeAlias

Behaviour: TypeAlias = "bytes | Callable[[socket.socket, Receiver], None]"


@dataclass(frozen=True)
class Request:
    """One request, as it came."""

    line: str
    headers: dict[str, str]
    body: bytes


def status(code: int, reason: str = "", body: bytes = b"", *more: str) -> bytes:
    """An answer that leaves the connection open."""
    head = [f"HTTP/1.1 {code} {reason}", f"Content-Length: {len(body)}", *more]
    return "\r\n".join([*head, "", ""]).encode() + body


def reset(connection: socket.socket, receiver: "Receiver") -> None:
    """RST in place of an answer."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def hang_up(connection: socket.socket, receiver: "Receiver") -> None:
    """FIN in place of an answer."""
    connection.close()


def silence(connection: socket.socket, receiver: "Receiver") -> None:
    """No answer, and no end."""
    receiver.ended.wait(20)


def drip_head(connection: socket.socket, receiver: "Receiver") -> None:
    """A byte of the head, again and again, so that no timeout of a read comes."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while not receiver.ended.wait(0.05):
        connection.sendall(b"a")


def drip_body(connection: socket.socket, receiver: "Receiver") -> None:
    """It has answered; the body never ends."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    while not receiver.ended.wait(0.05):
        connection.sendall(b"a")


def flood(connection: socket.socket, receiver: "Receiver") -> None:
    """A body of ten gigabytes, as far as somebody reads it."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10737418240\r\n\r\n")
    block = b"x" * 65_536
    with contextlib.suppress(OSError):
        while not receiver.ended.is_set():
            connection.sendall(block)
            receiver.sent += len(block)


def endless_head(connection: socket.socket, receiver: "Receiver") -> None:
    """Header after header."""
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    with contextlib.suppress(OSError):
        while not receiver.ended.is_set():
            connection.sendall(b"X-More: and more\r\n" * 100)


def endless_continue(connection: socket.socket, receiver: "Receiver") -> None:
    """It asks to go on, for ever."""
    with contextlib.suppress(OSError):
        while not receiver.ended.wait(0.01):
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")


def answer_and_die(connection: socket.socket, receiver: "Receiver") -> None:
    """It has the event, says so, and is gone before the body is whole."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhal")
    reset(connection, receiver)


class Receiver:
    """Answers each request by the next line of its script, then with 204."""

    def __init__(self, *script: Behaviour, context: ssl.SSLContext | None = None, talks_tls: bool = True) -> None:
        self.script = deque(script)
        self.requests: list[Request] = []
        self.connections = 0
        self.sent = 0
        self.ended = threading.Event()
        self._context = context
        self._talks_tls = talks_tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    @property
    def url(self) -> str:
        return f"http{'s' if self._context else ''}://127.0.0.1:{self.port}/hook/t0ken"

    @property
    def ids(self) -> list[str]:
        """The webhook-ids, as they came."""
        return [request.headers["webhook-id"] for request in self.requests]

    def __enter__(self) -> "Receiver":
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.ended.set()
        for one in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        for thread in self._threads:
            thread.join(10)

    def _accept(self) -> None:
        while not self.ended.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(connection)
            thread = threading.Thread(target=self._talk, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _talk(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError, ssl.SSLError):
            if self._context is not None:
                if not self._talks_tls:  # it takes the ClientHello, and drips
                    while not self.ended.wait(0.05):
                        connection.sendall(b"\x16")
                connection = self._context.wrap_socket(connection, server_side=True)
                self._open.append(connection)
            with connection.makefile("rb") as reader:
                while request := _read(reader):
                    self.requests.append(request)
                    behaviour = self.script.popleft() if self.script else b"HTTP/1.1 204 \r\n\r\n"
                    if isinstance(behaviour, bytes):
                        connection.sendall(behaviour)
                    else:
                        behaviour(connection, self)
                        return


def _read(reader: object) -> Request | None:
    line = reader.readline().decode("latin-1").strip()  # type: ignore[attr-defined]
    if not line:
        return None
    headers = {}
    while header := reader.readline().decode("latin-1").strip():  # type: ignore[attr-defined]
        name, _, value = header.partition(":")
        headers[name.lower()] = value.strip()
    return Request(line, headers, reader.read(int(headers.get("content-length", 0))))  # type: ignore[attr-defined]


def waited(check: Callable[[], bool], seconds: float = 20.0) -> bool:
    """Whether something comes true within a time."""
    until = time.monotonic() + seconds
    while not check():
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True
