"""A line over a blocking socket: carries out what a conversation asks for (`bouncekit.protocol.conversation`).

The socket may be anybody's: the drop-in classes lend theirs, an adopted connection too. Its own time-out, where it
has one, bounds every reply as a whole; else the stage deadlines do.
"""

import errno
import select
import selectors
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from bouncekit.protocol.conversation import DEADLINES, Conversation, Look, Receive, Send, Talk, Turn
from bouncekit.protocol.transaction import Body, Commands, Dot, NotSent
from bouncekit.words.reply import NoReply, Reply, ReplyReader, Stage

__all__ = ["Wire", "readiness", "run", "without_delay"]

_CHUNK = 64 * 1024
_AT_ONCE: int | None = getattr(socket, "MSG_DONTWAIT", None)  # nearly every write fits into the kernel's buffer
_NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


def run(talk: Talk, do: Callable[[Any], Any]) -> Any:
    """Carry out a talk's steps with what can do each of them; what it ends with."""
    try:
        step = next(talk)
        while True:
            try:
                answer = do(step)
            except BaseException as error:  # noqa: BLE001 - it is the talk's, which knows what it means
                step = talk.throw(error)
            else:
                step = talk.send(answer)
    except StopIteration as done:
        return done.value


class Wire:
    """One side of an SMTP connection: a socket, and the conversation over it."""

    __slots__ = ("_is_plain", "_ready", "line", "sock")

    def __init__(self, sock: socket.socket, reader: ReplyReader) -> None:
        self.sock = sock
        self._is_plain = not isinstance(sock, ssl.SSLSocket)
        self._ready: Callable[[float], object] | None = None
        self.line = Conversation(reader, is_tls=not self._is_plain)

    @property
    def reader(self) -> ReplyReader:
        """What came and was not asked for yet."""
        return self.line.reader

    # -- whole parts of a conversation

    def read_reply(self, stage: Stage, *, deadline: float | None = None) -> Reply | NoReply:
        """The next reply. `deadline` is seconds for the whole of it; without one the socket's time-out is."""
        answer: Reply | NoReply = self.run(self.line.read_reply(stage, deadline=deadline))
        return answer

    def is_silent(self) -> bool:
        """Whether the server has said nothing that nobody asked for, and has not hung up."""
        return bool(self.run(self.line.is_silent()))

    def unasked(self) -> NotSent:
        """What the server said out of turn, or that it hung up."""
        answer: NotSent = self.run(self.line.unasked())
        return answer

    def exchange(self, group: Commands) -> Sequence[Reply | NoReply]:
        """Send the lines of a group and read a reply to each."""
        answers: Sequence[Reply | NoReply] = self.run(self.line.exchange(group))
        return answers

    def write(self, body: Body) -> Sequence[NoReply]:
        """Send the content; nothing where all went out."""
        answers: Sequence[NoReply] = self.run(self.line.write(body))
        return answers

    def finish(self, dot: Dot) -> Sequence[Reply | NoReply]:
        """Send the dot, if the server is silent, and read the replies to it."""
        answers: Sequence[Reply | NoReply] = self.run(self.line.finish(dot))
        return answers

    def run(self, talk: Talk) -> Any:
        """Carry out a talk that asks for nothing but the line."""
        self.obey_socket()
        return run(talk, self.do)

    def obey_socket(self) -> None:
        """Let the socket's own time-out bound what follows."""
        self.line.timeout = self.sock.gettimeout() or None

    def start_tls(self, context: ssl.SSLContext, host: str) -> None:
        """Shake hands with a host of this name.

        Raises:
            OSError: it came to nothing, and the socket is closed.
        """
        own = self.sock.gettimeout()
        self.sock.settimeout(own or DEADLINES[Stage.STARTTLS])
        self.sock = context.wrap_socket(self.sock, server_hostname=host)
        self.sock.settimeout(own)
        self._is_plain, self._ready = False, None
        self.line.go_under_tls()

    # -- its steps

    def do(self, step: Send | Receive | Look | Turn) -> Any:
        """Carry out one step.

        Raises:
            TimeoutError: there was not time enough; OSError: the line is cut.
        """
        if isinstance(step, Turn):
            return self.turn(step)
        if isinstance(step, Receive):
            start = time.monotonic()
            data = self._receive(step.seconds)
            return data, time.monotonic() - start
        if isinstance(step, Look):
            return self._look()
        if step.listens:
            return self._send_and_listen(step.data, step.seconds)
        return self._send(step.data, step.seconds)

    def turn(self, step: Turn) -> tuple[bytes | memoryview, bytes | OSError | None, float]:
        """Carry out a turn; see there for what is raised and what answered."""
        data, _, wait = step
        if not self._is_plain or _AT_ONCE is None:
            return data, None, 0.0
        is_ready = self._ready or self._readiness()
        if is_ready(0):
            return data, None, 0.0
        try:
            sent = self.sock.send(data, _AT_ONCE)
        except BlockingIOError:
            return data, None, 0.0
        if sent < len(data) or not wait:
            return memoryview(data)[sent:], None, 0.0
        start = time.monotonic()
        came: bytes | OSError
        try:
            came = self.sock.recv(_CHUNK) if is_ready(wait * 1000) else TimeoutError()
        except OSError as error:
            came = error
        return b"", came, time.monotonic() - start

    def _receive(self, seconds: float) -> bytes:
        if self._is_plain:
            if not self._is_ready(seconds):
                raise TimeoutError
            return self.sock.recv(_CHUNK)  # does not wait; so no time-out has to be set and given back for each reply
        with _time_out(self.sock, seconds):
            return self.sock.recv(_CHUNK)

    def _is_ready(self, seconds: float) -> bool:
        """Whether there is something to read, or the end, within so many seconds."""
        return bool((self._ready or self._readiness())(seconds * 1000))

    def _readiness(self) -> Callable[[float], object]:
        self._ready = is_ready = readiness(self.sock)
        return is_ready

    def _look(self) -> bytes | None:
        if self._ready is None and self.sock.fileno() < 0:
            return b""
        if not self._is_ready(0):
            return None
        try:
            with _time_out(self.sock, 0):
                return self.sock.recv(_CHUNK)
        except _NOT_NOW:
            return None  # TLS 1.3 session tickets
        except OSError:
            return b""

    def _send(self, data: bytes | memoryview, seconds: float) -> None:
        sent = self._send_at_once(data)
        if sent == len(data):
            return
        with _time_out(self.sock, seconds):
            self.sock.sendall(memoryview(data)[sent:])

    def _send_at_once(self, data: bytes | memoryview) -> int:
        """Send as much as there is room for now; how many bytes."""
        if not self._is_plain or _AT_ONCE is None:
            return 0
        try:
            return self.sock.send(data, _AT_ONCE)
        except BlockingIOError:
            return 0

    def _send_and_listen(
        self, data: bytes | memoryview, seconds: float
    ) -> tuple[bytes | memoryview, bytes | None, float]:
        # For a rest there was no room a moment ago: a socket with a time-out of its own would wait, and not listen.
        is_rest = isinstance(data, memoryview)
        left = memoryview(data)[0 if is_rest else self._send_at_once(data) :]
        if not left:
            return b"", None, 0.0
        start = time.monotonic()
        end = start + seconds
        came: bytes | None = None
        with _time_out(self.sock, 0), selectors.DefaultSelector() as selector:
            selector.register(self.sock, selectors.EVENT_READ | selectors.EVENT_WRITE)
            while left and came is None:
                with suppress(*_NOT_NOW):
                    left = left[self.sock.send(left) :]
                if left and not selector.select(end - time.monotonic()):
                    raise TimeoutError
                with suppress(*_NOT_NOW):
                    came = self.sock.recv(_CHUNK)
        return left, came, time.monotonic() - start


def without_delay(sock: socket.socket) -> None:
    """One write a command group: TCP must not wait for an acknowledgement before the dot (44 ms a message with it)."""
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except (OSError, AttributeError):
        return  # a Unix socket has no such delay


def readiness(sock: socket.socket) -> Callable[[float], object]:
    """A function that says whether there is something to read within so many milliseconds: it answers what is true."""
    if sock.fileno() < 0:
        raise OSError(errno.EBADF, "the connection had been closed")
    pending = sock.pending if isinstance(sock, ssl.SSLSocket) else None
    if not hasattr(select, "poll"):
        return lambda wait: bool(pending and pending()) or bool(select.select([sock], [], [], wait / 1000)[0])
    poll = select.poll()
    poll.register(sock, select.POLLIN | getattr(select, "POLLRDHUP", 0))
    ask = poll.poll
    return ask if pending is None else lambda wait: pending() or ask(wait)


@contextmanager
def _time_out(sock: socket.socket, seconds: float) -> Iterator[None]:
    """A time-out for one call; the socket gets its own one back, unless it was closed meanwhile."""
    own = sock.gettimeout()
    if own == seconds:
        yield
        return
    sock.settimeout(seconds)
    try:
        yield
    finally:
        if sock.fileno() >= 0:
            sock.settimeout(own)
