"""A client for one relay: it dials when there is something to send, keeps the line, dials again.

A login never travels over a line that is not encrypted, unless a parameter with `insecure` in its name says so.
"""

import os
import ssl
import threading
from collections.abc import Iterable, Iterator, Sequence
from email.message import Message
from types import TracebackType
from typing import Any

from bouncekit.errors import ConfigurationError
from bouncekit.forking import begin_afresh_in_children
from bouncekit.office import Office, Retry, open_office
from bouncekit.relay import Relay
from bouncekit.report import Report
from bouncekit.smtp import LMTP, SMTP, SMTP_SSL, HasOffice
from bouncekit.smtperrors import TlsNotOffered
from bouncekit.steps import Delivery

__all__ = ["Client"]

_OF_THE_SESSION = ("local_hostname", "timeout", "dsn", "lock_step", "chunking")


class Client:
    """A connection to one relay that comes back: after 421, an unasked 221, an idle line that was dropped.

    Nothing is dialled before there is a recipient to try. Safe to share between threads, which take turns. After a
    fork the child dials for itself.

    Args:
        url: see `bouncekit.relay`; or the name of one of the postmaster's relays, whose options hold then too.
        postmaster: whose policy, store and events; None: the default policy, in memory.
        insecure_login_in_clear: log in even where the relay offers no TLS.
        insecure_tls: take any certificate.
        tls_context: your own `ssl.SSLContext`, for a private CA.
        timeout: seconds; bounds each reply as a whole. Without one, the stages have deadlines.
        dsn, lock_step, chunking: see `SMTP`.

    Raises:
        ConfigurationError: the URL is none, or the postmaster queues and does not know this relay.
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
        dsn: str = "",
        lock_step: bool = False,
        chunking: bool = False,
    ) -> None:
        self._postmaster = postmaster or _Default()
        self.relay, self._name = _known(url, self._postmaster.office)
        given = {
            "local_hostname": local_hostname,
            "timeout": timeout,
            "tls_context": tls_context,
            "insecure_tls": insecure_tls,
            "insecure_login_in_clear": insecure_login_in_clear,
            "dsn": dsn,
            "lock_step": lock_step,
            "chunking": chunking,
        }
        options = {**self.relay.options, **{option: value for option, value in given.items() if value}}
        self._context = options.get("tls_context") or _context(insecure=options.get("insecure_tls", False))
        self._login_in_clear = options.get("insecure_login_in_clear", False)
        self._settings: dict[str, Any] = {
            "postmaster": self._postmaster,
            "message_class": message_class,
            "tenant": tenant,
            "stream": stream,
            "test": test,
            **{option: options[option] for option in _OF_THE_SESSION if option in options},
        }
        self._pid = os.getpid()
        self.start_afresh()
        self._session = self._new_session()
        self._desk: SMTP | None = None  # where messages are handed in, whatever the line is doing
        begin_afresh_in_children(self)

    def __repr__(self) -> str:
        return f"<Client {self.relay}>"

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

    def send_all(self, messages: Iterable[Message], *, sender: str | None = None) -> Iterator[Report]:
        """Send one message behind the other, a report for each; see `SMTP.send_all`. Others wait for the last one."""
        with self._lock:
            yield from self._own().send_all(messages, sender)

    def submit(
        self, message: Message, *, sender: str | None = None, recipients: str | Sequence[str] | None = None
    ) -> Report:
        """Store a message now and let a worker send it: `report.delayed` are those whom it waits for.

        Needs `retry="queue"`. It does not wait for a send that this client is at.

        Raises:
            StoreUnavailable: the store does not answer, the message is not in the queue.
            ConfigurationError: nothing is queued here.
        """
        with self._desk_lock:
            self._desk = self._desk or self._new_session()
            return self._desk.submit_message(message, sender, recipients)

    def deliver(self, delivery: Delivery) -> Report:
        """Send what a worker took from the queue; see `SMTP.deliver`."""
        with self._lock:
            return self._own().deliver(delivery)

    def send_notice(self, sender: str, recipient: str, message: bytes) -> None:
        """Send a notice of ours, outside the policy; see `bouncekit.notify.Via`."""
        with self._lock:
            self._own().send_notice(sender, recipient, message)

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
        """Forget, in the child of a fork, the locks that a thread of the parent may have held."""
        self._lock = threading.RLock()
        self._desk_lock = threading.RLock()  # a subscriber may submit within a submit

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
        session: SMTP = kind(**self._settings, **extra)
        session.dial_when_needed(self.relay.host, self.relay.port, (lambda: self._greet(session),), relay=self._name)
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


def _known(url: str, office: Office) -> tuple[Relay, str | None]:
    """The relay, and the name under which what is left is queued for it; None where nothing is."""
    if url not in office.relays:
        if "://" not in url and office.relays:
            raise ConfigurationError(f"relay {url!a}: this postmaster has {', '.join(office.relays)}; or write a URL")
        relay = Relay.parse(url)
        return relay, office.relay_of(relay)
    return office.relays[url], url if office.retry is Retry.QUEUE else None


def _context(*, insecure: bool) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
