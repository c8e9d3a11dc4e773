"""A transaction over a blocking socket: strict reading, a deadline for each whole reply, a look before the dot.

The socket may be anybody's: the drop-in classes lend theirs, an adopted connection too. Its own time-out, where it
has one, bounds every reply as a whole; else the stage deadlines do (RFC 5321 4.5.3.2 asks for minutes; RFC 1047 says
why the one of the dot must be long).
"""

import errno
import select
import selectors
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Protocol

from bouncekit.reply import Cause, NoReply, Reply, ReplyReader, Stage
from bouncekit.transaction import CLOSES, Body, Command, Commands, Dot, NotSent, Transacted, Transaction

__all__ = ["DEADLINES", "Ahead", "Tap", "Wire", "carry", "without_delay"]

# Seconds for the whole reply to each stage.
DEADLINES = {
    Stage.CONNECT: 60.0,
    Stage.EHLO: 60.0,
    Stage.STARTTLS: 60.0,
    Stage.AUTH: 60.0,
    Stage.MAIL: 120.0,
    Stage.RCPT: 120.0,
    Stage.DATA: 120.0,
    Stage.END_OF_DATA: 600.0,
    Stage.RSET: 60.0,
    Stage.QUIT: 2.0,
    Stage.IDLE: 60.0,
}
BLOCK_SECONDS = 180.0  # for each block of the body
BLOCK_BYTES = 64 * 1024

_CHUNK = 64 * 1024
_AT_ONCE: int | None = getattr(socket, "MSG_DONTWAIT", None)  # nearly every write fits into the kernel's buffer
_AHEAD_BYTES = 16 * 1024  # any socket's buffers hold that, and the replies to it
_NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
_MOMENT = 0.2  # seconds for the rest of an unasked reply: it is there already


class Tap(Protocol):
    """Somebody who listens in, for debugging."""

    def sent(self, data: bytes) -> None: ...

    def heard(self, answer: Reply | NoReply) -> None: ...


class Wire:
    """One side of an SMTP connection: a socket, and the reader that holds what came and was not asked for yet."""

    __slots__ = ("_hung_up", "_is_plain", "_ready", "reader", "sock", "tap")

    def __init__(self, sock: socket.socket, reader: ReplyReader, tap: Tap | None = None) -> None:
        self.sock = sock
        self.reader = reader
        self.tap = tap
        self._ready: Callable[[float], bool] | None = None
        self._is_plain = not isinstance(sock, ssl.SSLSocket)
        self._hung_up = False

    # -- reading

    def read_reply(self, stage: Stage, *, deadline: float | None = None) -> Reply | NoReply:
        """The next reply. `deadline` is seconds for the whole of it; without one the socket's time-out is."""
        own = self.sock.gettimeout()
        seconds = deadline or own or DEADLINES[stage]
        end = time.monotonic() + seconds
        left = seconds
        try:
            while (answer := self.reader.next()) is None:
                if left <= 0:
                    return self._heard(NoReply(Cause.TIMED_OUT, f"no whole reply to {stage} within {seconds:g} s"))
                data = self._receive(left)
                if not data:
                    return self._heard(NoReply(Cause.LOST, f"the connection was closed while {stage} was unanswered"))
                self.reader.feed(data)
                left = end - time.monotonic()
        except TimeoutError:
            return self._heard(NoReply(Cause.TIMED_OUT, f"no whole reply to {stage} within {seconds:g} s"))
        except OSError as error:
            return self._heard(NoReply(Cause.LOST, f"{stage}: {_why(error)}"))
        return self._heard(answer)

    def _receive(self, seconds: float) -> bytes:
        """What came; b"" where the other side is done.

        Raises:
            TimeoutError: nothing came in time.
        """
        if self._is_plain:
            if not self._is_ready(seconds):
                raise TimeoutError
            return self.sock.recv(_CHUNK)  # does not wait; so no time-out has to be set and given back for each reply
        with _time_out(self.sock, seconds):
            return self.sock.recv(_CHUNK)

    def _is_ready(self, seconds: float) -> bool:
        """Whether there is something to read, or the end, within so many seconds."""
        if self._ready is None:
            self._ready = _readiness(self.sock)
        return self._ready(seconds)

    def is_silent(self) -> bool:
        """Whether the server has said nothing that nobody asked for, and has not hung up."""
        if not self.reader.is_clean:
            return False
        if self._ready is None and self.sock.fileno() < 0:
            self._hung_up = True
            return False
        return not self._is_ready(0) or self._only_tls_talk()

    def _only_tls_talk(self) -> bool:
        """Take in what is there to read; True if no byte of it was meant for us (TLS 1.3 session tickets)."""
        try:
            with _time_out(self.sock, 0):
                data = self.sock.recv(_CHUNK)
        except _NOT_NOW:
            return True
        except OSError:
            data = b""
        self.reader.feed(data)
        self._hung_up = not data
        return False

    def unasked(self) -> NotSent:
        """What the server said out of turn, or that it hung up; waits a moment for the rest of a line, no longer."""
        if self._hung_up:
            return NotSent(Cause.LOST, "the connection had been closed")
        answer = self.read_reply(Stage.IDLE, deadline=_MOMENT)
        if isinstance(answer, Reply):
            return NotSent(Cause.UNSOLICITED, f"the server spoke before it was asked: {answer}"[:500], answer)
        return NotSent(answer.cause, answer.detail)

    # -- the steps of a transaction

    def exchange(self, group: Commands) -> Sequence[Reply | NoReply]:
        """Send the lines of a group in one write and read a reply to each. Behind the end of a session none follows."""
        commands = group.commands
        if not self.is_silent():
            return (self.unasked(),) * len(commands)
        answers: list[Reply | NoReply] = []
        try:
            self._send_group(b"".join([one.line for one in commands]), commands, answers)
        except OSError as error:
            if len(commands) == 1:
                return (self._cut_off(error),)
            return self._read_group(commands, answers, _MOMENT)  # perhaps the server said why before it hung up
        return self._read_group(commands, answers)

    def _read_group(
        self, commands: Sequence[Command], answers: list[Reply | NoReply], deadline: float | None = None
    ) -> Sequence[Reply | NoReply]:
        """The answers to a group, some of which are here already."""
        while len(answers) < len(commands):
            stage = commands[len(answers)].stage
            is_over = answers and _is_over(answers[-1])
            answers.append(answers[-1] if is_over else self.read_reply(stage, deadline=deadline))
        if len(commands) > 1 and not self.reader.is_clean and not _is_over(answers[-1]):
            return (NoReply(Cause.PROTOCOL, "more replies than commands: nobody knows whose is whose"),) * len(commands)
        return answers

    def write(self, body: Body) -> Sequence[NoReply]:
        """Send the content block by block; stop as soon as the server speaks. Nothing where all went out."""
        data = memoryview(body.data)
        for start in range(0, len(data), BLOCK_BYTES):
            if not self.is_silent():
                return (self.unasked(),)
            try:
                self._send(data[start : start + BLOCK_BYTES], BLOCK_SECONDS)
            except OSError as error:
                return (self._cut_off(error),)
        return ()

    def finish(self, dot: Dot, ahead: "Ahead | None" = None) -> Sequence[Reply | NoReply]:
        """Look whether the server is silent, send the dot on its own, read the replies to it.

        With the dot go the commands of the transaction behind it, if there is one `ahead`; their answers are put there.
        """
        if not self.is_silent():
            return (self.unasked(),) * dot.replies
        try:
            self._send(dot.end if ahead is None else dot.end + ahead.lines, DEADLINES[Stage.DATA])
        except OSError as error:
            # The kernel took nothing of a small plain write that failed; of a larger one, or of TLS, nobody can tell.
            if ahead is not None or isinstance(self.sock, ssl.SSLSocket):
                return (NoReply(Cause.LOST, _why(error)),) * dot.replies
            return (self._cut_off(error),) * dot.replies
        answers: list[Reply | NoReply] = []
        for _ in range(dot.replies):
            lost = answers and isinstance(answers[-1], NoReply)
            answers.append(answers[-1] if lost else self.read_reply(Stage.END_OF_DATA))
        if ahead is not None and not _is_over(answers[-1]):
            ahead.heard(self._read_group(ahead.commands, []))
        if len(answers) > 1 and not self.reader.is_clean and not _is_over(answers[-1]):
            return (NoReply(Cause.PROTOCOL, "more replies than recipients: nobody knows whose is whose"),) * dot.replies
        return answers

    def _send(self, data: bytes | memoryview, seconds: float) -> None:
        sent = self._send_at_once(data)
        if sent == len(data):
            return
        own = self.sock.gettimeout()
        with _time_out(self.sock, seconds if own is None else own):
            self.sock.sendall(memoryview(data)[sent:])

    def _send_at_once(self, data: bytes | memoryview) -> int:
        """Send as much as there is room for now; how many bytes."""
        if self.tap is not None:
            self.tap.sent(bytes(data))
        if not self._is_plain or _AT_ONCE is None:
            return 0
        try:
            return self.sock.send(data, _AT_ONCE)
        except BlockingIOError:
            return 0

    def _send_group(self, data: bytes, commands: Sequence[Command], answers: list[Reply | NoReply]) -> None:
        """Send several lines, and take what is answered meanwhile: else both sides may wait to be read (RFC 2920 3.1).

        Raises:
            TimeoutError: the server takes no more bytes; OSError: the line is cut.
        """
        seconds = self.sock.gettimeout() or DEADLINES[commands[0].stage]
        if len(commands) == 1:
            self._send(data, seconds)
            return
        left = memoryview(data)[self._send_at_once(data) :]
        if not left:
            return
        end = time.monotonic() + seconds
        with _time_out(self.sock, 0), selectors.DefaultSelector() as selector:
            selector.register(self.sock, selectors.EVENT_READ | selectors.EVENT_WRITE)
            while left:
                with suppress(*_NOT_NOW):
                    left = left[self.sock.send(left) :]
                if left and not selector.select(end - time.monotonic()):
                    raise TimeoutError
                with suppress(*_NOT_NOW):
                    self._take_in(self.sock.recv(_CHUNK), len(commands), answers)

    def _take_in(self, data: bytes, most: int, answers: list[Reply | NoReply]) -> None:
        """Add the replies that are whole by these bytes.

        Raises:
            ConnectionError: there is no more to come, or more than was asked for.
        """
        self.reader.feed(data)
        while (answer := self.reader.next()) is not None:
            if len(answers) == most - 1:
                answer = NoReply(Cause.PROTOCOL, "the server has answered all before it was asked")
            answers.append(self._heard(answer))
            if isinstance(answer, NoReply):
                raise ConnectionAbortedError
        if not data:
            raise ConnectionResetError

    def _cut_off(self, error: OSError) -> NotSent:
        """A write failed: perhaps the server said why before it hung up."""
        if isinstance(error, TimeoutError):
            return NotSent(Cause.TIMED_OUT, "the server took no more bytes")
        said = self.unasked()
        return said if said.reply is not None else NotSent(Cause.LOST, _why(error))

    def _heard(self, answer: Reply | NoReply) -> Reply | NoReply:
        if self.tap is not None:
            self.tap.heard(answer)
        return answer


class Ahead:
    """A transaction whose first commands go out behind the dot of the one before it (RFC 2920 3.1).

    In front of them goes a RSET: a server may be left inside its transaction after a refused dot, and would take the
    new recipients for those of the old message.
    """

    __slots__ = ("answers", "commands", "reset", "steps")

    def __init__(self, steps: Transaction, group: Commands) -> None:
        self.steps = steps
        self.commands = (Command(Stage.RSET, b"rset\r\n"), *group.commands)
        self.reset: Reply | NoReply = NoReply(Cause.LOST, "the session was over before it came to RSET")
        self.answers: Sequence[Reply | NoReply] | None = None  # to its own commands

    @classmethod
    def of(cls, steps: Transaction) -> "Ahead | None":
        """None for a transaction that asks nothing, or more at once than surely finds room where nobody reads yet."""
        group = next(steps, None)
        if not isinstance(group, Commands) or sum(len(one.line) for one in group.commands) > _AHEAD_BYTES:
            return None
        return cls(steps, group)

    @property
    def lines(self) -> bytes:
        return b"".join([one.line for one in self.commands])

    @property
    def is_well(self) -> bool:
        """Whether the server has come to it with a clean slate, so that it can be taken up."""
        return self.answers is not None and isinstance(self.reset, Reply) and self.reset.code == 250

    def heard(self, answers: Sequence[Reply | NoReply]) -> None:
        """Take the answers to what went out."""
        self.reset, *self.answers = answers


def carry(
    steps: Transaction,
    wire: Wire,
    begin: Callable[[Dot], NotSent | None] | None = None,
    *,
    answers: Sequence[Reply | NoReply] | None = None,
    behind: Callable[[Dot], Ahead | None] | None = None,
) -> Transacted:
    """Drive a transaction over a wire to its end. `begin` is asked before each dot; what it answers keeps it back.

    `answers` are those to its first step, where that went out already; `behind` says what goes out with its dot.
    """
    ahead: Ahead | None = None
    try:
        step = next(steps) if answers is None else steps.send(answers)
        while True:
            match step:
                case Commands() if ahead is not None:  # RSET, which went out behind the dot
                    step = steps.send((ahead.reset,))
                case Commands():
                    step = steps.send(wire.exchange(step))
                case Body():
                    step = steps.send(wire.write(step))
                case Dot():
                    refused = begin(step) if begin is not None else None
                    if refused is None:
                        ahead = behind(step) if behind is not None else None
                        step = steps.send(wire.finish(step, ahead))
                    else:
                        step = steps.send((refused,) * step.replies)
    except StopIteration as done:
        result: Transacted = done.value
        return result


def without_delay(sock: socket.socket) -> None:
    """One write a command group: TCP must not wait for an acknowledgement before the dot (44 ms a message with it)."""
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except (OSError, AttributeError):
        return  # a Unix socket has no such delay


def _readiness(sock: socket.socket) -> Callable[[float], bool]:
    """A function that says whether there is something to read within so many seconds."""
    if sock.fileno() < 0:
        raise OSError(errno.EBADF, "the connection had been closed")
    pending = sock.pending if isinstance(sock, ssl.SSLSocket) else None
    if not hasattr(select, "poll"):
        return lambda seconds: bool(pending and pending()) or bool(select.select([sock], [], [], seconds)[0])
    poll = select.poll()
    poll.register(sock, select.POLLIN | getattr(select, "POLLRDHUP", 0))
    return lambda seconds: bool(pending and pending()) or bool(poll.poll(seconds * 1000))


def _is_over(answer: Reply | NoReply) -> bool:
    """Whether nothing more is to be expected behind this answer."""
    return isinstance(answer, NoReply) or answer.code in CLOSES


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


def _why(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__
