"""An LMTP server (RFC 2033) for mail that comes back: 250 for a recipient when the mail has been remembered for him."""

import logging
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

from bouncekit.intake.absorbing import MAX_MAIL_BYTES, PASSING, Absorb, counts
from bouncekit.intake.aside import Aside
from bouncekit.intake.listening import Place, listen
from bouncekit.intake.lmtpsession import CLOSING, TIMED_OUT, LmtpSession

__all__ = ["LmtpServer"]

_log = logging.getLogger("bouncekit.intake")

COMMAND_SECONDS = 300.0  # for a whole line (RFC 5321 4.5.3.2.7)
DATA_SECONDS = 600.0  # for a whole mail
MAX_SESSIONS = 100
_MAX_LINE = 4096  # RFC 5321 4.5.3.1.4 asks for 512, and more for each extension
_READ = 64 * 1024
_BIG_BYTES = 1024 * 1024  # of a mail: bounces are smaller
_MAX_BIG = 4  # such mails that are read at the same time; the others wait, so that they cannot fill the memory
_END = b"\r\n.\r\n"

_TAKEN = "250 2.0.0 Remembered"
_NOT_NOW = "451 4.3.0 It cannot be remembered now, try again later"
_FULL = "421 4.3.2 Too many connections, try again later"


class _Over(Exception):  # no error: the way out of a session
    """The client has gone, or took too long; `reply` is the last word to it."""

    def __init__(self, reply: str = "") -> None:
        self.reply = reply


class LmtpServer:
    """Listens until it is stopped, a thread for each session; `absorb` is called by one of them at a time.

    A fault that passes is 451 4.3.0, so that the client keeps the mail. One that makes an error of ours is put `aside`
    and taken. `mode` are the rights to a Unix socket.
    """

    def __init__(self, place: Place, absorb: Absorb, aside: Aside, *, mode: int = 0o660) -> None:
        self.place = place  # with the port that it has got, once it listens
        self._absorb, self._aside, self._mode = absorb, aside, mode
        self._lock, self._turn = threading.Lock(), threading.Lock()
        self._big = threading.Semaphore(_MAX_BIG)
        self._sessions: dict[threading.Thread, socket.socket] = {}
        self._stopping = threading.Event()
        self._listener: socket.socket | None = None
        self._accepting: threading.Thread | None = None
        self.set_aside = 0  # how many mails were

    def start(self) -> None:
        """Listen.

        Raises:
            OSError: nobody can listen there.
            ConfigurationError: somebody does already, or something else lies there.
        """
        self._listener, self.place = listen(self.place, mode=self._mode, backlog=MAX_SESSIONS)
        self._accepting = threading.Thread(
            target=self._accept, args=(self._listener,), name="bouncekit-lmtp", daemon=True
        )
        self._accepting.start()

    def stop(self, timeout: float = 30.0) -> bool:
        """Take no more; who is in a mail gets its replies, who is not is told 421. False where one took too long."""
        self._stopping.set()
        end = time.monotonic() + timeout
        if self._listener is not None:
            self._stop_listening(self._listener)
            self._listener = None
        with self._lock:
            sessions = dict(self._sessions)
            for sock in sessions.values():
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RD)  # which wakes who waits for a command; replies still go out
        for thread in sessions:
            thread.join(max(0.0, end - time.monotonic()))
        return not any(thread.is_alive() for thread in sessions)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _stop_listening(self, listener: socket.socket) -> None:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RD)  # which wakes accept
        if self._accepting is not None:
            self._accepting.join()
        listener.close()
        if self.place.path is not None:
            self.place.path.unlink(missing_ok=True)

    def _accept(self, listener: socket.socket) -> None:
        while not self._stopping.is_set():
            try:
                sock, _ = listener.accept()
            except OSError as error:  # the stop, or no more file descriptors
                if not self._stopping.wait(0.1):
                    _log.warning("accept: %s", error.strerror)
                continue
            self._begin(sock)

    def _begin(self, sock: socket.socket) -> None:
        thread = threading.Thread(target=self._serve, args=(sock,), name="bouncekit-lmtp-session", daemon=True)
        with self._lock:
            is_full = len(self._sessions) >= MAX_SESSIONS
            if not is_full:
                self._sessions[thread] = sock
        if is_full:
            with sock, suppress(OSError):
                sock.settimeout(1.0)
                sock.sendall(_wire(_FULL))
            return
        thread.start()

    def _serve(self, sock: socket.socket) -> None:
        line = _Line(sock, self._big)
        try:
            self._converse(LmtpSession(socket.gethostname(), self._take), line)
        except _Over as over:
            with suppress(OSError):
                line.send(CLOSING if self._stopping.is_set() else over.reply)
        except OSError:  # the client has gone
            pass
        finally:
            line.let_go()
            with self._lock:
                del self._sessions[threading.current_thread()]
            sock.close()

    def _converse(self, session: LmtpSession, line: "_Line") -> None:
        line.send(session.greeting())
        while not session.is_over:
            line.send(session.obey(line.command()))
            if session.wants_data:
                replies = session.take_data(line.data())
                line.let_go()
                for reply in replies:
                    line.send(reply)
            if self._stopping.is_set():
                raise _Over

    def _take(self, content: bytes, recipients: Sequence[str]) -> list[str]:
        """The replies for all; behind a fault that passes nobody else has to wait for it."""
        replies: list[str] = []
        for recipient in recipients:
            passing = _NOT_NOW in replies
            replies.append(_NOT_NOW if passing else self._take_for(content, recipient))
        return replies

    def _take_for(self, content: bytes, recipient: str) -> str:
        try:
            with self._turn:
                if not counts(self._absorb, content, recipient):
                    self._aside.put(content)
                    self.set_aside += 1
        except PASSING as error:
            _log.warning("a mail is left with whoever brought it: %s", error)
            return _NOT_NOW
        return _TAKEN


class _Line:
    """A session's socket, read by whole lines and mails, each within its time; `big` is asked before a big mail."""

    def __init__(self, sock: socket.socket, big: threading.Semaphore) -> None:
        self._sock, self._buffer = sock, bytearray()
        self._big, self._has_big = big, False
        with suppress(OSError):  # a Unix socket has no such thing
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, reply: str) -> None:
        if reply:
            self._sock.settimeout(COMMAND_SECONDS)
            self._sock.sendall(_wire(reply))

    def command(self) -> bytes:
        """The next line, without its CRLF; nothing else ends a line (RFC 5321 2.3.8)."""
        end = time.monotonic() + COMMAND_SECONDS
        while (found := self._buffer.find(b"\r\n")) < 0:
            if len(self._buffer) > _MAX_LINE:
                raise _Over("500 5.5.2 Line too long")
            self._fill(end)
        line = bytes(self._buffer[:found])
        del self._buffer[: found + 2]
        return line

    def data(self) -> bytes | None:
        """A mail, up to CRLF.CRLF and nothing else, its stuffed dots away (RFC 5321 4.5.2); None if it is too long."""
        end = time.monotonic() + DATA_SECONDS
        self._buffer[:0] = b"\r\n"  # the end of the line before: a dot may come first
        looked, is_too_long = 0, False
        while (found := self._buffer.find(_END, looked)) < 0:
            if len(self._buffer) > MAX_MAIL_BYTES:
                is_too_long = True
                del self._buffer[: -len(_END)]
            if len(self._buffer) > _BIG_BYTES and not self._has_big:
                self._has_big = self._big.acquire(timeout=max(0.0, end - time.monotonic()))
            looked = max(0, len(self._buffer) - len(_END) + 1)
            self._fill(end)
        content = bytes(self._buffer[: found + 2])
        del self._buffer[: found + len(_END)]
        return None if is_too_long else content.replace(b"\r\n.", b"\r\n")[2:]

    def let_go(self) -> None:
        """The mail that was read is needed no more."""
        if self._has_big:
            self._has_big = False
            self._big.release()

    def _fill(self, end: float) -> None:
        left = end - time.monotonic()
        if left <= 0:
            raise _Over(TIMED_OUT)
        self._sock.settimeout(left)
        try:
            data = self._sock.recv(_READ)
        except TimeoutError:
            raise _Over(TIMED_OUT) from None
        if not data:
            raise _Over
        self._buffer += data


def _wire(reply: str) -> bytes:
    """A reply of one line or several; each begins with the code, and all but the last have a hyphen behind it."""
    *first, last = reply.split("\n")
    return "".join(f"{line[:3]}-{line[4:]}\r\n" for line in first).encode() + f"{last}\r\n".encode()
