"""A scripted SMTP or LMTP server on 127.0.0.1, in threads of this process: correct, except where the script says."""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Literal, Self

from bouncekit.testing.answers import Raw, wire
from bouncekit.testing.connection import Connection, Ended
from bouncekit.testing.dialogue import Dialogue, Settings
from bouncekit.testing.records import Received, Session
from bouncekit.testing.script import Cues, Script

__all__ = ["ScriptedServer"]

_RECEIVE_BUFFER_BYTES = 64 * 1024  # small, so that a client that is not read soon notices
_STOP_SECONDS = 2.0


class ScriptedServer:
    """An SMTP server that says what the script tells it to, and otherwise what a correct server says.

    >>> import smtplib
    >>> script = {"RCPT": {"full@example.com": "552 5.2.2 Mailbox full"}}
    >>> with ScriptedServer(script) as server, smtplib.SMTP(server.host, server.port) as client:
    ...     client.sendmail("me@example.com", ["ada@example.com", "full@example.com"], "Subject: Hi\\r\\n\\r\\nHello")
    {'full@example.com': (552, b'5.2.2 Mailbox full')}
    >>> server.copies("ada@example.com"), server.copies("full@example.com")
    (1, 0)
    >>> server.messages[0].data
    b'Subject: Hi\\r\\n\\r\\nHello\\r\\n'
    >>> server.sessions[0].transcript[0]
    Exchange(command='', reply='220 mx.test ESMTP ready')

    Args:
        script: Stage to answer, list of answers, or, at MAIL and RCPT (in LMTP also END_OF_DATA), address to those. Or
            cues of another kind, such as `bouncekit.testing.chaos.Chaos`.
        lmtp: Speaks LMTP (RFC 2033).
        extensions: EHLO keywords. SIZE, STARTTLS and AUTH are added as the next arguments say; without
            ENHANCEDSTATUSCODES the usual replies have none.
        tls: Offers STARTTLS with this context. Without one, STARTTLS and TLS can still be scripted to fail.
        implicit_tls: Shakes hands before the greeting instead.
        users: Name to password, for AUTH PLAIN and LOGIN; when given, MAIL needs a login.
        auth_needs_tls: AUTH is offered only in TLS.
        max_recipients: Each recipient of a transaction above it gets 452 4.5.3.
        size_limit: In bytes. A larger message gets 552 5.3.4, at MAIL if it says its SIZE, at the final dot if not.
        idle_timeout: After so many seconds without a byte from the client between commands the server says 421 and
            closes, or does what the script has at IDLE.
        port: A fixed port, to come back on the one of an earlier server.
        keep: Remembers so many messages, and so many sessions that are over; None: all.
        on_message: Told each message that was taken, on the thread of its session.

    Raises:
        ValueError: The script has an unknown stage, a malformed reply, or an answer that means nothing at its stage.
    """

    host = "127.0.0.1"

    def __init__(
        self,
        script: Script | Cues | None = None,
        *,
        lmtp: bool = False,
        extensions: Sequence[str] = ("PIPELINING", "8BITMIME", "SIZE", "ENHANCEDSTATUSCODES", "SMTPUTF8"),
        tls: ssl.SSLContext | None = None,
        implicit_tls: bool = False,
        users: Mapping[str, str] | None = None,
        auth_needs_tls: bool = False,
        max_recipients: int | None = None,
        size_limit: int | None = None,
        idle_timeout: float | None = None,
        port: int = 0,
        keep: int | None = None,
        on_message: Callable[[Received], object] = lambda message: None,
    ) -> None:
        if implicit_tls and tls is None:
            raise ValueError("implicit_tls needs a context: tls=ssl.SSLContext(...)")
        for stage, setting, value in (("IDLE", "idle_timeout", idle_timeout), ("AUTH", "users", users)):
            if isinstance(script, Mapping) and stage in script and value is None:
                raise ValueError(f"script, {stage!r}: never comes without {setting}=...")
        self._settings = Settings(
            lmtp=lmtp,
            extensions=tuple(extensions),
            tls=tls,
            implicit_tls=implicit_tls,
            users=users,
            auth_needs_tls=auth_needs_tls,
            max_recipients=max_recipients,
            size_limit=size_limit,
            idle_timeout=idle_timeout,
        )
        self._cues = script if isinstance(script, Cues) else Cues(script or {}, lmtp=lmtp)
        self._keep = keep
        self._on_message = on_message
        self._address = (self.host, port)
        self._listener: socket.socket | None = None
        self._lock = threading.Lock()  # everything below
        self._doorman: threading.Thread | None = None
        self._connections: list[Connection] = []
        self._threads: list[threading.Thread] = []
        self._messages: list[Received] = []
        self._errors: list[Exception] = []

    # -- its life

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *unused: object) -> None:
        self.stop()

    def start(self) -> Self:
        """Listens; the `with` statement does it too."""
        self._listener = listener = socket.create_server(self._address)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
        self._address = listener.getsockname()
        self._doorman = threading.Thread(target=self._accept, args=(listener,), name=f"{self.url} accept", daemon=True)
        self._doorman.start()
        return self

    def stop(self) -> None:
        """Ends every session and thread. What was recorded stays readable; a second time does nothing."""
        listener, self._listener = self._listener, None
        if listener is None or self._doorman is None:
            return
        with suppress(OSError), socket.create_connection(self._address, timeout=_STOP_SECONDS):
            pass  # wakes the thread that waits in accept(), on every platform
        self._doorman.join(_STOP_SECONDS)
        listener.close()
        self._drop("fin", why="the server stopped")
        for thread in self._threads:
            thread.join(_STOP_SECONDS)

    # -- where it is

    @property
    def port(self) -> int:
        """The port, from `start` on."""
        return self._address[1]

    @property
    def url(self) -> str:
        """smtp://, smtps:// or lmtp://, host and port."""
        scheme = "lmtp" if self._settings.lmtp else "smtps" if self._settings.implicit_tls else "smtp"
        return f"{scheme}://{self.host}:{self.port}"

    # -- what it saw

    @property
    def messages(self) -> tuple[Received, ...]:
        """Each message for which the server took responsibility, in order, before the client could know."""
        with self._lock:
            return tuple(self._messages)

    def copies(self, address: str) -> int:
        """How many messages were taken for this recipient; letter case does not matter."""
        address = address.lower()
        return sum(address in map(str.lower, message.recipients) for message in self.messages)

    @property
    def sessions(self) -> tuple[Session, ...]:
        """Each connection so far, in order, as it stands now."""
        return tuple(connection.snapshot() for connection in self._so_far())

    @property
    def errors(self) -> tuple[Exception, ...]:
        """What went wrong inside the server itself; always empty, or it has a bug."""
        with self._lock:
            return tuple(self._errors)

    @property
    def unplayed(self) -> tuple[str, ...]:
        """The entries of the script that still had an answer to give, such as "RCPT full@example.com"."""
        return self._cues.unplayed

    def wait_closed(self, timeout: float = 5.0) -> bool:
        """Waits until there was a session and all are over; False after so many seconds."""
        deadline = time.monotonic() + timeout
        while not self._so_far() and time.monotonic() < deadline:
            time.sleep(0.002)  # a client is connected a moment before its session begins
        left = (connection.closed.wait(max(0.0, deadline - time.monotonic())) for connection in self._so_far())
        return bool(self._so_far()) and all(left)

    # -- what the test does to it

    def say_unasked(self, reply: str | Raw, *, close: bool = False) -> int:
        """Says something on every open session, asked or not, and perhaps closes it; returns on how many.

        Raises ValueError when a str is no reply.
        """
        data = reply.data if isinstance(reply, Raw) else wire(reply)
        return sum(connection.say_unasked(data, close=close) for connection in self._so_far())

    def drop_all(self, how: Literal["fin", "rst"] = "fin") -> None:
        """Ends every open session without a word. "rst" cannot wake a session that is stuck in sending; "fin" can."""
        self._drop(how, why="dropped")
        self.wait_closed(_STOP_SECONDS)

    # -- its threads

    def _so_far(self) -> tuple[Connection, ...]:
        with self._lock:
            return tuple(self._connections)

    def _drop(self, how: Literal["fin", "rst"], *, why: str) -> None:
        for connection in self._so_far():
            connection.drop(how, why=why)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            sock, _ = listener.accept()
            if self._listener is not listener:
                sock.close()
                return
            connection = Connection(sock)
            thread = threading.Thread(target=self._serve, args=(connection,), name=f"{self.url} session", daemon=True)
            with self._lock:
                self._forget_old()
                self._connections.append(connection)
                self._threads.append(thread)
            thread.start()

    def _serve(self, connection: Connection) -> None:
        why = "a bug"
        try:
            Dialogue(connection, self._cues, self._settings, self._took).run()
        except Ended as ended:
            why = str(ended)
        except OSError as error:  # the client has gone, or does not like our certificate
            why = f"lost: {error}"
        except Exception as error:  # noqa: BLE001 - nothing may leave a thread; the test finds it in `errors`
            with self._lock:
                self._errors.append(error)
        finally:
            connection.close(why)

    def _took(self, message: Received) -> None:
        with self._lock:
            self._messages.append(message)
            if self._keep is not None:
                del self._messages[: -self._keep]
        self._on_message(message)

    def _forget_old(self) -> None:
        """Forget the oldest sessions that are over, where not all are to be remembered."""
        if self._keep is None:
            return
        over = [one for one in zip(self._connections, self._threads, strict=True) if one[0].closed.is_set()]
        for connection, thread in over[: max(0, len(over) - self._keep)]:
            self._connections.remove(connection)
            self._threads.remove(thread)
