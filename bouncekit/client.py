"""A client for one relay, given as a URL: it dials when there is something to send, keeps the line, dials again.

    smtp://relay:25                 STARTTLS where it is offered, and then verified
    smtp://user:secret@relay:587    STARTTLS required, then the login
    smtp+tls://relay:25             STARTTLS required
    smtps://user:secret@relay:465   TLS from the first byte
    lmtp://host:24                  LMTP (RFC 2033)

A login never travels over a line that is not encrypted, unless a parameter with `insecure` in its name says so.
"""

import os
import ssl
import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from email.message import Message
from types import TracebackType
from typing import Any
from urllib.parse import unquote, urlsplit

from bouncekit.errors import ConfigurationError
from bouncekit.office import open_office
from bouncekit.report import Report
from bouncekit.smtp import LMTP, SMTP, SMTP_SSL, HasOffice
from bouncekit.smtperrors import TlsNotOffered

__all__ = ["Client", "Relay"]

_PORTS = {"smtp": 25, "smtp+tls": 25, "smtps": 465, "lmtp": 24}
_SUBMISSION_PORT = 587  # RFC 6409: where one logs in


@dataclass(frozen=True, slots=True)
class Relay:
    """A relay's URL, taken apart. The password is in no repr.

    >>> Relay.parse("smtp://jo:secret@relay.example.com")
    Relay(scheme='smtp', host='relay.example.com', port=587, user='jo')
    """

    scheme: str
    host: str
    port: int
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, url: str) -> "Relay":
        """Raises ConfigurationError; its message never holds the password."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise ConfigurationError(f"a relay's URL that cannot be read: {error}") from None
        if "://" not in url:
            raise ConfigurationError("no relay's URL; write smtp://localhost:25")
        if parts.scheme not in _PORTS or not parts.hostname:
            raise ConfigurationError(
                f"{parts.scheme}://{parts.hostname or ''}: no relay; write one of "
                + ", ".join(f"{scheme}://host:port" for scheme in _PORTS)
            )
        if parts.path.strip("/") or parts.query or parts.fragment:
            raise ConfigurationError(f"{parts.scheme}://{parts.hostname}: a relay's URL ends behind the port")
        user = unquote(parts.username) if parts.username else None
        password = unquote(parts.password) if parts.password else None
        if user is not None and password is None:
            raise ConfigurationError(f"{parts.scheme}://{user}@{parts.hostname}: the password is missing")
        default = _SUBMISSION_PORT if user and parts.scheme.startswith("smtp") else _PORTS[parts.scheme]
        if parts.scheme == "smtps":
            default = _PORTS["smtps"]
        return cls(parts.scheme, parts.hostname, port or default, user, password)


class Client:
    """A connection to one relay that comes back: after 421, an unasked 221, an idle line that was dropped.

    Nothing is dialled before there is a recipient to try. Safe to share between threads, which take turns. After a
    fork the child dials for itself.

    Args:
        url: see the module. postmaster: whose policy, store and events; None: the default policy, in memory.
        insecure_login_in_clear: log in even where the relay offers no TLS.
        insecure_tls: take any certificate.
        tls_context: your own `ssl.SSLContext`, for a private CA.
        timeout: seconds; bounds each reply as a whole. Without one, the stages have deadlines.
    """

    def __init__(
        self,
        url: str,
        *,
        postmaster: HasOffice | None = None,
        message_class: str | None = None,
        tenant: str = "",
        stream: str = "",
        test: bool = False,
        local_hostname: str | None = None,
        timeout: float | None = None,
        tls_context: ssl.SSLContext | None = None,
        insecure_tls: bool = False,
        insecure_login_in_clear: bool = False,
    ) -> None:
        self.relay = Relay.parse(url)
        self._postmaster = postmaster or _Default()
        self._context = tls_context or _context(insecure=insecure_tls)
        self._login_in_clear = insecure_login_in_clear
        self._lock = threading.RLock()
        self._pid = os.getpid()
        self._settings: dict[str, Any] = {"local_hostname": local_hostname, "postmaster": self._postmaster}
        self._settings |= {"message_class": message_class, "tenant": tenant, "stream": stream, "test": test}
        self._timeout = timeout
        self._session = self._new_session()
        _clients.add(self)

    def __repr__(self) -> str:
        return f"<Client {self.relay.scheme}://{self.relay.host}:{self.relay.port}>"

    def send(
        self, message: Message, *, sender: str | None = None, recipients: str | Sequence[str] | None = None
    ) -> Report:
        """Send a message to its recipients, or to those given. Returns and raises what `SMTP.send_message` does."""
        with self._lock:
            return self._own().send_message(message, sender, recipients)

    def sendmail(
        self,
        sender: str,
        recipients: str | Sequence[str],
        message: bytes | str,
        mail_options: Sequence[str] = (),
        rcpt_options: Sequence[str] = (),
    ) -> Report:
        """Send bytes or ASCII text; see `SMTP.sendmail`."""
        with self._lock:
            return self._own().sendmail(sender, recipients, message, mail_options, rcpt_options)

    def close(self) -> None:
        """Say QUIT and hang up. Nothing that was settled changes; the next send dials again."""
        with self._lock:
            session = self._own()
            if session.sock is not None:
                session.hang_up()
            self._session = self._new_session()

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def start_afresh(self) -> None:
        """Forget, in the child of a fork, the lock that a thread of the parent may have held."""
        self._lock = threading.RLock()

    def _own(self) -> SMTP:
        """The session of this process."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._session.close()  # the copy of the descriptor; the parent's line stays as it is
            self._session = self._new_session()
        return self._session

    def _new_session(self) -> SMTP:
        kind = {"smtps": SMTP_SSL, "lmtp": LMTP}.get(self.relay.scheme, SMTP)
        extra = {"context": self._context} if kind is SMTP_SSL else {}
        session: SMTP = kind(**self._settings, **extra, **_timeout(self._timeout))
        session.dial_when_needed(self.relay.host, self.relay.port, (lambda: self._greet(session),))
        return session

    def _greet(self, session: SMTP) -> None:
        """What comes before the first message: EHLO, TLS, login."""
        relay = self.relay
        session.ehlo_or_helo_if_needed()
        wants_tls = relay.scheme == "smtp+tls" or (relay.user is not None and not self._login_in_clear)
        is_tls = isinstance(session.sock, ssl.SSLSocket)
        if not is_tls and relay.scheme != "lmtp" and (wants_tls or session.has_extn("starttls")):
            if not session.has_extn("starttls"):
                hint = "; a login in clear takes insecure_login_in_clear=True" if relay.user is not None else ""
                raise TlsNotOffered(f"the relay offers no STARTTLS{hint}")
            session.starttls(context=self._context)
            session.ehlo_or_helo_if_needed()
        if relay.user is not None:
            session.login(relay.user, relay.password or "")


class _Default:
    """A postmaster for a client that was given none."""

    def __init__(self) -> None:
        self.office = open_office()


def _timeout(seconds: float | None) -> dict[str, float]:
    return {} if seconds is None else {"timeout": seconds}


def _context(*, insecure: bool) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


_clients: "weakref.WeakSet[Client]" = weakref.WeakSet()


def _after_fork() -> None:
    for client in tuple(_clients):
        client.start_afresh()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
