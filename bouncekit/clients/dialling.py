"""An smtplib connection that knows how it was opened, and opens itself again in that way (RFC 5321 3.8).

Dialled again is only what was dialled here, and by repeating the same calls of starttls, login and auth. An adopted
connection, or one that somebody logged in by hand, stays closed.
"""

import smtplib
import socket
import ssl
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from bouncekit.clients.session import CONNECT_SECONDS, Session, redialling
from bouncekit.clients.smtperrors import UnreadableReply
from bouncekit.delivery.events import EventType
from bouncekit.outside.relay import Outlet
from bouncekit.protocol.conversation import DEADLINES
from bouncekit.transports.blocking import without_delay
from bouncekit.words.reply import Cause, NoReply, ReplyReader, Stage
from bouncekit.words.showing import redacted

__all__ = ["DEFAULT_TIMEOUT", "Dialling"]

DEFAULT_TIMEOUT: Any = socket._GLOBAL_DEFAULT_TIMEOUT  # type: ignore[attr-defined]  # smtplib's own default


class Dialling(Session, smtplib.SMTP):
    """The part of `bouncekit.SMTP` that opens sessions; it sends nothing."""

    # Set for an adopted connection as for one of our own, so that both start from here.
    given_outlet: Outlet | None = None  # where its maker knows by what name the mail goes, and what takes its place
    relay: str | None = None  # the name of the relay through which a worker sends what is left; None: nobody keeps it
    _reader: ReplyReader
    _stage = Stage.CONNECT
    _dialled: tuple[str, int, Any] | None = None
    _replays: tuple[Callable[[], object], ...] = ()
    _is_redialling = False
    _is_logging_in = False
    _was_connected = False
    on_opened: Callable[[], object] | None = None  # told of every line that is opened

    def connect(self, host: str = "localhost", port: int = 0, source_address: Any = None) -> tuple[int, bytes]:
        """Connect; see `smtplib.SMTP.connect`."""
        self._stage = Stage.CONNECT
        self._reader = ReplyReader()
        self.ehlo_resp = self.helo_resp = None  # a new session: what the last one offered is no news of it
        self.esmtp_features, self.does_esmtp = {}, False
        if not self._is_redialling:
            self._dialled = (host, port, source_address)
            self._replays = ()
            self._was_dropped = False
            if self.office is not None and host.startswith("/"):  # the Unix socket of an LMTP server
                self.relay = self.office.relay_at(host, port)
        try:
            answer = super().connect(host, port, source_address)
        except (ConnectionError, TimeoutError, socket.gaierror) as error:
            error.add_note(f"while connecting to {host}" + (f" port {port}" if port else ""))
            raise
        self._was_connected = True
        self._begin_afresh()
        return answer

    def _get_socket(self, host: str, port: int, timeout: Any) -> Any:
        if self.office is not None and not self._is_redialling:
            self.relay = self.office.relay_at(host, port)
        bounded = timeout if timeout is not None and timeout is not DEFAULT_TIMEOUT else socket.getdefaulttimeout()
        if bounded is not None or timeout == 0:
            sock = super()._get_socket(host, port, timeout)  # type: ignore[misc]  # typeshed has no private names
        else:
            sock = super()._get_socket(host, port, CONNECT_SECONDS)  # type: ignore[misc]  # likewise
            sock.settimeout(None)
        without_delay(sock)
        return sock

    def dial_when_needed(
        self, host: str, port: int, replays: tuple[Callable[[], object], ...] = (), *, relay: str | None = None
    ) -> None:
        """Dial only when there is something to send; `replays` are done behind the greeting, each time."""
        self.relay = relay
        self._host = host
        self._dialled = (host, port, self.source_address)
        self._replays = replays
        self._was_dropped = True

    @property
    def outlet(self) -> Outlet:
        """Where the mail of this connection goes."""
        if self.given_outlet is not None:
            return self.given_outlet
        host, port = self._dialled[:2] if self._dialled else (self._host, 0)
        return _outlet(self.relay, host, port)

    @property
    def _is_open(self) -> bool:
        return self.sock is not None

    @property
    def _may_dial(self) -> bool:
        return self._dialled is not None

    @property
    def _is_to_be_dialled(self) -> bool:
        """Whether the next transaction opens the session, again or for the first time."""
        return self.sock is None and self._was_dropped and self._dialled is not None and self.office is not None

    def _redial(self) -> None:
        """Open the session as it was opened first."""
        import tenacity

        assert self._dialled is not None
        is_first = not self._was_connected
        host, port, source_address = self._dialled

        def dial() -> None:
            self.close()  # also a line on which the attempt before this one came to nothing
            code, message = self.connect(host, port, source_address)
            if code != 220:
                self.close()
                raise smtplib.SMTPConnectError(code, message)
            for replay in self._replays:
                replay()

        self._is_redialling = self._is_unreachable = True
        try:
            sleep = self.office.clock.sleep if self.office else tenacity.nap.sleep
            tenacity.Retrying(**redialling(self._redials), sleep=sleep)(dial)
            self._is_unreachable = False
        except BaseException:
            self._drop()
            raise
        finally:
            self._is_redialling = False
        if self.on_opened is not None:
            self.on_opened()
        if self.office is not None and not is_first:
            self.office.tell_session(EventType.RECONNECTED, remote_mta=host, port=port)

    def starttls(self, *args: Any, **kwargs: Any) -> tuple[int, bytes]:
        """Put the connection under TLS; see `smtplib.SMTP.starttls`. Certificates are verified if `context` says so."""
        own = self.sock.gettimeout() if self.sock else None
        if self.sock is not None and own is None:
            self.sock.settimeout(DEADLINES[Stage.STARTTLS])
        try:
            answer = super().starttls(*args, **kwargs)
        finally:
            if self.sock is not None and self.sock.fileno() < 0:
                self.close()  # the handshake failed, and took the socket along
            elif self.sock is not None:
                self.sock.settimeout(own)
        self._reader = ReplyReader()
        self._replay_from(self._replays, lambda: Dialling.starttls(self, *args, **kwargs))
        self._tell_insecure()
        return answer

    def docmd(self, cmd: str, args: str = "") -> tuple[int, bytes]:
        """Send a command and read its reply."""
        answer = super().docmd(cmd, args)
        if cmd.upper() == "STARTTLS" and answer[0] == 220:
            # Bytes that came in clear must not be taken for what is said under TLS (CVE-2011-0411 and its family).
            if not self._reader.is_clean:
                self.close()
                raise UnreadableReply(NoReply(Cause.PROTOCOL, "the server spoke in clear behind its reply to STARTTLS"))
        elif cmd[:4].upper() == "AUTH":
            self._dialled = None  # whoever logs in by hand cannot be imitated; `auth` can, and takes this back
        return answer

    def login(self, user: str, password: str, *, initial_response_ok: bool = True) -> tuple[int, bytes]:
        """Log in; see `smtplib.SMTP.login`."""
        before = self._replays
        answer = super().login(user, password, initial_response_ok=initial_response_ok)
        self._replay_from(before, lambda: Dialling.login(self, user, password, initial_response_ok=initial_response_ok))
        return answer

    def auth(self, mechanism: str, authobject: Any, *, initial_response_ok: bool = True) -> tuple[int, bytes]:
        """Log in by one mechanism; see `smtplib.SMTP.auth`."""
        before, dialled = self._replays, self._dialled
        self._is_logging_in = True
        try:
            answer = super().auth(mechanism, authobject, initial_response_ok=initial_response_ok)
        finally:
            self._dialled = dialled
            self._is_logging_in = False

        def again() -> None:
            self.ehlo_or_helo_if_needed()
            Dialling.auth(self, mechanism, authobject, initial_response_ok=initial_response_ok)

        self._replay_from(before, again)
        return answer

    def _print_debug(self, *args: object) -> None:
        """Show what `set_debuglevel` asks for, but no password: smtplib prints it, in base64."""
        shown = [redacted(str(one)) for one in args]
        if self._is_logging_in and args[0] == "send:" and "AUTH" not in shown[1]:
            shown[1] = "***"  # the answer to a challenge
        super()._print_debug(*shown)  # type: ignore[misc]  # likewise

    def _replay_from(self, before: tuple[Callable[[], object], ...], call: Callable[[], object]) -> None:
        """Do a call again when the session is dialled again: ours, since an override may take other arguments."""
        if not self._is_redialling:
            self._replays = (*before, call)

    def _tell_insecure(self) -> None:
        if self.office is None or not isinstance(self.sock, ssl.SSLSocket):
            return
        if self.sock.context.verify_mode is ssl.CERT_NONE:
            self.office.tell_session(EventType.INSECURE_TLS, remote_mta=self._host)

    def close(self) -> None:
        """Close the connection; the next one starts with a clean reader."""
        self._was_dropped = False
        super().close()
        self._reader = ReplyReader()

    def _drop(self) -> None:
        """Close a connection that is lost or not in step any more; it may be dialled again."""
        self.close()
        self._was_dropped = True


@lru_cache(maxsize=256)
def _outlet(relay: str | None, host: str, port: int) -> Outlet:
    return Outlet(relay or (f"{host}:{port}" if port else host))
