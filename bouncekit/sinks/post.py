"""One POST after the other to a target: at a pinned address, within a deadline, with a bounded answer.

urllib3 makes the connection, its TLS and the request; the name goes into SNI, certificate check and Host. Nothing is
followed, no proxy of the environment is asked, and of an answer only the first bytes are read, as they are.
"""

import contextlib
import email.utils
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError

from bouncekit.sinks.protocol import NotTaken, PerProcess, discreet
from bouncekit.sinks.target import Resolve, Target, resolve
from bouncekit.words.showing import printable

__all__ = ["Answer", "Poster"]

MAX_ANSWER = 64 * 1024  # bytes of a body that are read; what is longer ends the connection
_KEPT_SECONDS = 60.0  # of a connection: then the name is looked up again
_MAX_REASON = 60


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said: its status, with its words for it, and for how long it wants to be left alone."""

    status: int
    reason: str
    wait: timedelta | None

    def __str__(self) -> str:
        return f"{self.status} {self.reason}".rstrip()


class Poster:
    """Posts to one target. Not for several threads at once."""

    def __init__(
        self,
        target: Target,
        *,
        context: ssl.SSLContext | None = None,
        seconds: float = 15.0,
        resolve: Resolve = resolve,
    ) -> None:
        self._target = target
        self._context = context
        self._seconds = seconds
        self._resolve = resolve
        self._line: PerProcess[_Line] = PerProcess(self._dial)

    def post(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        """What the server answers.

        Raises:
            NotTaken: there is no answer within the time, or none that can be read.
        """
        until = time.monotonic() + self._seconds
        try:
            line = self._line.get()
            if line.opened_at is not None and time.monotonic() - line.opened_at > _KEPT_SECONDS:
                self.close()
                line = self._line.get()
            try:
                return self._ask(line, body, headers, until)
            except _Left:  # the server closed a connection that it had kept: nothing was answered, so nothing is lost
                self.close()
                return self._ask(self._line.get(), body, headers, until)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Hang up."""
        line = self._line.drop()
        if line is not None:
            line.hang_up()

    def _dial(self) -> "_Line":
        return _Line(self._target, self._context, self._resolve)

    def _ask(self, line: "_Line", body: bytes, headers: Mapping[str, str], until: float) -> Answer:
        was_used = line.opened_at is not None
        with line.cut_at(until):
            try:
                said = line.ask(body, headers, until)
            except (OSError, http.client.HTTPException, HTTPError) as error:
                if line.is_cut or time.monotonic() >= until:
                    raise NotTaken(f"{self._target}: no answer within {self._seconds:g} s") from None
                if was_used and isinstance(error, (ConnectionError, http.client.BadStatusLine)):
                    raise _Left from None
                raise NotTaken(f"{self._target}: {discreet(error)}") from None
            is_reusable = False
            with said:
                if line.is_cut:  # an end of the connection passes for the end of the head
                    raise NotTaken(f"{self._target}: no answer within {self._seconds:g} s")
                answer = _read(said)
                # From here on it has answered: whatever comes of the rest of the body, that stands.
                with contextlib.suppress(OSError, http.client.HTTPException):
                    is_reusable = len(said.read(MAX_ANSWER + 1)) <= MAX_ANSWER and not said.will_close
        if line.is_cut or not is_reusable:
            self.close()
        return answer


class _Left(Exception):
    """The server had hung up meanwhile."""


class _Line:
    """A connection to one of the addresses that were looked at; none before the first request."""

    def __init__(self, target: Target, context: ssl.SSLContext | None, resolve: Resolve) -> None:
        self._target = target
        self._resolve = resolve
        self._connection: _Pinned = (
            _Https(target.host, target.port, ssl_context=context)
            if target.scheme == "https"
            else _Pinned(target.host, target.port)
        )
        self.opened_at: float | None = None
        self.is_cut = False

    @contextlib.contextmanager
    def cut_at(self, until: float) -> Iterator[None]:
        """End the connection at a time, whatever it is in the middle of: a drip resets every other timeout."""
        timer = threading.Timer(max(until - time.monotonic(), 0.0), self._cut)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def ask(self, body: bytes, headers: Mapping[str, str], until: float) -> http.client.HTTPResponse:
        """Send a request, and read the head of its answer."""
        connection = self._connection
        if self.opened_at is None:
            connection.pinned, connection.until = self._target.addresses(self._resolve), until
            self.opened_at = time.monotonic()
        connection.timeout = max(until - time.monotonic(), 0.001)
        connection.request("POST", self._target.path, body=body, headers=headers)
        # Not urllib3's own, which logs the whole URL when it does not like a header.
        return http.client.HTTPConnection.getresponse(connection)

    def hang_up(self) -> None:
        self._connection.close()
        if self._connection.watched is not None:
            self._connection.watched.close()

    def _cut(self) -> None:
        self.is_cut = True
        if self._connection.watched is not None:
            with contextlib.suppress(OSError):
                self._connection.watched.shutdown(socket.SHUT_RDWR)


class _Pinned(HTTPConnection):
    """Connects to one of the addresses that it was given, in their order, before a time."""

    pinned: Sequence[str] = ()
    until: float = 0.0
    watched: socket.socket | None = None  # the same connection by another handle

    def _new_conn(self) -> socket.socket:
        error: OSError = TimeoutError("timed out")
        for address in self.pinned:
            left = self.until - time.monotonic()
            if left <= 0:
                break
            try:
                made = socket.create_connection((address, self.port), timeout=left)
            except OSError as failed:
                error = failed
                continue
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.watched = made.dup()  # TLS takes the socket itself over, and may hang in its handshake
            return made
        raise error


class _Https(_Pinned, HTTPSConnection):
    """The same, with TLS."""


def _read(said: http.client.HTTPResponse) -> Answer:
    reason = printable(said.reason or "", limit=_MAX_REASON)
    return Answer(said.status, reason, _wait(said.getheader("Retry-After")))


def _wait(text: str | None) -> timedelta | None:
    """What Retry-After says: seconds, or a date (RFC 9110 10.2.3)."""
    if text is None:
        return None
    if text.strip().isascii() and text.strip().isdecimal():
        return timedelta(seconds=min(int(text.strip()[:9]), 86_400))
    try:
        return max(email.utils.parsedate_to_datetime(text) - datetime.now(UTC), timedelta())
    except (ValueError, TypeError):
        return None
