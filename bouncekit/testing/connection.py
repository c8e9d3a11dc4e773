"""One accepted socket of a scripted server: reads, sends, waits, ends, and writes down what both sides said.

The session's own thread uses all of it; `say_unasked`, `drop` and `snapshot` are for the test's thread.
"""

import selectors
import socket
import ssl
import struct
import sys
import threading
from collections.abc import Iterable
from contextlib import suppress
from typing import assert_never

from bouncekit.testing.answers import Act, Cut, Forgetting, How, Silence, SlowRead
from bouncekit.testing.records import Exchange, Session

__all__ = ["Connection", "Ended"]

_READ_BYTES = 64 * 1024
_KEPT_REPLY_BYTES = 4 * 1024
_LONGEST_LINE_BYTES = 12 * 1024  # RFC 4954 4 asks it for AUTH; all other commands are shorter
_RESET_ON_CLOSE = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)  # SO_LINGER on, for 0 seconds


class Ended(Exception):  # no error: the normal way out of a session
    """The session is over; the text says why."""


class Connection:
    """A socket with a buffer and a transcript."""

    def __init__(self, sock: socket.socket) -> None:
        with suppress(OSError):  # the client may have gone already
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = bytearray()  # read and not yet used
        self.pace: SlowRead | None = None  # how slowly to read
        self.tls = False
        self.closed = threading.Event()
        self._sock = sock
        self._raw = bytearray()
        self._sent_bytes = 0
        self._turns = 0
        self._has_spoken = True  # since it last read
        self._exchanges: list[tuple[str, bytearray]] = []
        self._ended: str | None = None
        self._over = threading.Event()  # the test wants it to end
        self._lock = threading.Lock()  # the records, and the life of the socket; held for moments
        self._talking = threading.Lock()  # a TLS socket bears one thread at a time; held while sending

    # -- for the session

    def begin(self, command: bytes) -> None:
        """Opens an exchange: what is sent from here answers this command."""
        with self._lock:
            self._exchanges.append((_readable(command), bytearray()))

    def play(self, acts: Iterable[Act]) -> None:
        """Does what an answer says. Raises Ended when that ends the session."""
        for act in acts:
            match act:
                case bytes():
                    self.send(act)
                case float():
                    self.wait(act)
                case Cut():
                    self.end(act.how)
                case Silence():
                    self._hold(reading=act.reading)
                case SlowRead():
                    self.pace = act
                case Forgetting():
                    while self._has_more(0):
                        self.fill()
                    self.buffer.clear()
                case _:
                    assert_never(act)

    def send(self, data: bytes) -> None:
        """One packet, if it fits. It is in the transcript before the client can see it."""
        if self._over.is_set():
            raise Ended(self._ended or "stopped")
        with self._lock:
            reply = self._exchanges[-1][1]
            reply += data[: _KEPT_REPLY_BYTES - len(reply)]
            self._has_spoken = self._has_spoken or bool(data)
            self._sent_bytes += len(data)
        with self._talking:
            self._sock.sendall(data)

    def fill(self, timeout: float | None = None, *, most: int | None = None) -> None:
        """Reads more into the buffer. Raises TimeoutError after so many seconds, Ended when the client has closed."""
        if not self._has_more(timeout):
            raise TimeoutError
        size = min(most or _READ_BYTES, self.pace.size if self.pace else _READ_BYTES)
        with self._talking:
            data = self._sock.recv(size)
        if not data:
            raise Ended(self._ended or "the client closed")
        with self._lock:
            self._raw += data
            self._turns += self._has_spoken
            self._has_spoken = False
        self.buffer += data
        if self.pace:
            self.wait(self.pace.every)

    def line(self, timeout: float | None = None) -> bytes:
        """The next line, without its CRLF, as the start of an exchange; nothing else ends a line (RFC 5321 2.3.8)."""
        while (end := self.buffer.find(b"\r\n")) < 0:
            if len(self.buffer) > _LONGEST_LINE_BYTES:
                self.begin(bytes(self.buffer))
                self.send(b"500 5.5.2 Line too long\r\n")
                self.end("fin")
            self.fill(timeout)
        line = bytes(self.buffer[:end])
        del self.buffer[: end + 2]
        self.begin(line)
        return line

    def wait(self, seconds: float | None) -> None:
        """Does nothing for so long; None is until the test ends it."""
        if self._over.wait(seconds):
            raise Ended(self._ended or "stopped")

    def end(self, how: How) -> None:
        """Ends the connection from this side; always raises Ended."""
        if how == "rst":
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            raise Ended("reset")
        # On the socket itself, also below TLS: to say goodbye in TLS first would need the client's help.
        socket.socket.shutdown(self._sock, socket.SHUT_WR)
        if how == "half":
            self._hold(reading=True)
        if self._has_more(0):  # a close with unread bytes would be a reset
            with suppress(Ended):
                self.fill()
        raise Ended("closed")

    def start_tls(self, context: ssl.SSLContext) -> None:
        """Shakes hands. What the client sent before is forgotten (RFC 3207 4.2)."""
        self.buffer.clear()
        with self._lock:
            self._sock = context.wrap_socket(self._sock, server_side=True, do_handshake_on_connect=False)
        self._sock.do_handshake()
        self.tls = True

    def close(self, why: str) -> None:
        """The last thing that the session's thread does."""
        with self._lock:
            self._ended = self._ended or why
            self._sock.close()
        self.closed.set()

    # -- for the test

    def say_unasked(self, data: bytes, *, close: bool) -> bool:
        """Sends bytes between the replies; False when the connection is over, or busy sending."""
        if self.closed.is_set() or not self._talking.acquire(timeout=1.0):
            return False
        try:
            with self._lock:
                self._exchanges.append(("", bytearray(data[:_KEPT_REPLY_BYTES])))
            self._sock.sendall(data)
        except OSError:
            return False
        finally:
            self._talking.release()
        if close:
            self.drop("fin", why="closed unasked")
        return True

    def drop(self, how: How, *, why: str) -> None:
        """Ends the session from outside: whatever its thread waits for, it wakes up."""
        with self._lock, suppress(OSError):  # it may be closed already
            self._ended = self._ended or why
            self._over.set()
            if how == "rst":
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            socket.socket.shutdown(self._sock, socket.SHUT_RD if how == "rst" else socket.SHUT_RDWR)

    def snapshot(self) -> Session:
        """What has been said so far."""
        with self._lock:
            return Session(
                transcript=tuple(
                    Exchange(said, _readable(reply.removesuffix(b"\r\n"))) for said, reply in self._exchanges
                ),
                raw=bytes(self._raw),
                sent_bytes=self._sent_bytes,
                turns=self._turns,
                tls=self.tls,
                ended=self._ended if self.closed.is_set() else None,
            )

    # -- helpers

    def _hold(self, *, reading: bool) -> None:
        """No answer any more; always raises Ended."""
        while reading:
            self.fill()
            self.buffer.clear()
        self.wait(None)

    def _has_more(self, timeout: float | None) -> bool:
        if isinstance(self._sock, ssl.SSLSocket) and self._sock.pending():
            return True
        with selectors.DefaultSelector() as selector:
            selector.register(self._sock, selectors.EVENT_READ)
            return bool(selector.select(timeout))


def _readable(data: bytes | bytearray) -> str:
    return data.decode("utf-8", "backslashreplace").replace("\r\n", "\n")
