"""A client for one relay: it dials when there is something to send, keeps the line, dials again.

A login never travels over a line that is not encrypted, unless a parameter with `insecure` in its name says so.
"""

import os
import ssl
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from email.message import Message
from types import TracebackType
from typing import Any

from bouncekit.clients.bulk import Letter, OnResult, send_many
from bouncekit.clients.direct import Direct
from bouncekit.clients.idling import close_when_idle
from bouncekit.clients.session import Elsewhere
from bouncekit.clients.smtp import LMTP, SMTP, SMTP_SSL, HasOffice
from bouncekit.delivery.report import Report
from bouncekit.delivery.steps import Delivery, Outcome, Transact
from bouncekit.desk.furnishing import open_office
from bouncekit.desk.office import Office
from bouncekit.outside.forking import begin_afresh_in_children
from bouncekit.outside.relay import Outlet, Relay, check_timeout
from bouncekit.policy.schedule import Retry
from bouncekit.protocol.opening import Manner
from bouncekit.words.envelope import LabelOptions
from bouncekit.words.errors import ConfigurationError
from bouncekit.words.status import Action

__all__ = ["Client", "ClientOptions"]

_OF_THE_SESSION = ("local_hostname", "timeout", "dsn", "lock_step", "chunking")


class ClientOptions(LabelOptions, total=False):
    """Options of `Client`, as they are passed on."""

    local_hostname: str | None
    timeout: float | None
    tls_context: ssl.SSLContext | None
    insecure_tls: bool
    insecure_login_in_clear: bool
    dsn: str
    lock_step: bool
    chunking: bool
    fallback: str | None
    require_tls: bool
    private_addresses: bool


class Client:
    """A connection to one relay that comes back: after 421, an unasked 221, an idle line that was dropped.

    Nothing is dialled before there is a recipient to try. Safe to share between threads, which take turns. After a
    fork the child dials for itself.

    Args:
        url: see `bouncekit.outside.relay`; or the name of one of the postmaster's relays, whose options hold then too.
            `mx:` asks the recipients' own hosts, see `bouncekit.clients.direct`.
        postmaster: whose policy, store and events; None: the default policy, in memory.
        insecure_login_in_clear: log in even where the relay offers no TLS.
        insecure_tls: take any certificate.
        tls_context: your own `ssl.SSLContext`, for a private CA.
        timeout: seconds; bounds each reply as a whole. Without one, the stages have deadlines.
        dsn, lock_step, chunking: see `SMTP`.
        fallback: the name of a relay of the postmaster that takes the mail where this one cannot be reached, or is
            paused. Nothing that a server may have got is sent there.
        require_tls: with `mx:`, send nothing in clear, though no certificate is verified.
        private_addresses: with `mx:`, also to hosts at addresses that are no public ones.

    Raises:
        ConfigurationError: the URL is none, the time-out is no time, or the postmaster queues and does not know this
            relay.
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
        fallback: str | None = None,
        require_tls: bool = False,
        private_addresses: bool = False,
    ) -> None:
        self._postmaster = postmaster or _Default()
        self.relay, self._name = _known(url, self._postmaster.office)
        check_timeout(timeout)
        given = {
            "local_hostname": local_hostname,
            "timeout": timeout,
            "tls_context": tls_context,
            "insecure_tls": insecure_tls,
            "insecure_login_in_clear": insecure_login_in_clear,
            "dsn": dsn,
            "lock_step": lock_step,
            "chunking": chunking,
            "fallback": fallback,
            "require_tls": require_tls,
            "private_addresses": private_addresses,
        }
        options = {**self.relay.options, **{option: value for option, value in given.items() if value}}
        self._outlet = self._place(url, options.get("fallback"))
        self._other: Client | None = None  # that takes this one's place
        self._options = options
        self._context: ssl.SSLContext | None = options.get("tls_context")
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
        self._desk: SMTP | None = None
        begin_afresh_in_children(self)

    def __repr__(self) -> str:
        return f"<Client {self.relay}>"

    def send(
        self,
        message: Message,
        *,
        sender: str | None = None,
        recipients: str | Iterable[str] | None = None,
        message_class: str | None = None,
        test: bool | None = None,
    ) -> Report:
        """Send a message to its recipients, or to those given. See `SMTP.send_message` for arguments and results."""
        with self._lock:
            return self._own().send_message(message, sender, recipients, message_class=message_class, test=test)

    def sendmail(
        self,
        sender: str,
        recipients: str | Iterable[str],
        message: bytes | str,
        mail_options: Sequence[str] = (),
        rcpt_options: Sequence[str] = (),
    ) -> Report:
        """Send bytes or ASCII text; see `SMTP.sendmail`."""
        with self._lock:
            return self._own().sendmail(sender, recipients, message, mail_options, rcpt_options)

    def send_all(self, messages: Iterable[Message], *, sender: str | None = None) -> Iterator[Report]:
        """Send one message behind the other, a report for each; see `SMTP.send_all`. Others come between two."""
        with self._lock:
            reports = self._own().send_all(messages, sender)
        try:
            while (report := self._next_of(reports)) is not None:
                yield report
        finally:
            with self._lock:
                reports.close()

    def _next_of(self, reports: Iterator[Report]) -> Report | None:
        """In its turn, which ends with it: the next one may be asked for in another thread."""
        with self._lock:
            return next(reports, None)

    def send_many(
        self,
        letters: Iterable[Letter],
        *,
        concurrency: int = 4,
        on_result: OnResult | None = None,
        sender: str | None = None,
    ) -> Counter[Action]:
        """Send many messages over so many connections; how many recipients came to which action.

        A letter is a message, to whom its headers name; `(message, recipients)`; or `(sender, recipients, content)`.
        The recipients may be any number: each hundred is a transaction of its own. `on_result` is called with the
        letter and the report of each transaction, as they come: in the calling thread, where letters are taken, too.

        Raises:
            StoreUnavailable: the store does not answer. Whatever is raised, what is under way is brought to its end.
        """
        if concurrency < 1:
            raise ConfigurationError(f"concurrency={concurrency}: one connection is needed at the least")
        return send_many(
            letters,
            desk=self._new_session(),
            new_session=self._new_session,
            hang_up=_hang_up,
            concurrency=concurrency,
            on_result=on_result,
            sender=sender,
        )

    def submit(
        self,
        message: Message,
        *,
        sender: str | None = None,
        recipients: str | Iterable[str] | None = None,
        message_class: str | None = None,
        test: bool | None = None,
    ) -> Report:
        """Store a message now and let a worker send it: `report.delayed` are those whom it waits for.

        Needs `retry="queue"`. It does not wait for a send that this client is at.

        Raises:
            StoreUnavailable: the store does not answer, the message is not in the queue; or may be, where it says so.
            ConfigurationError: nothing is queued here.
        """
        with self._desk_lock:
            return self.desk.submit_message(message, sender, recipients, message_class=message_class, test=test)

    @property
    def office(self) -> Office:
        """The postmaster's."""
        return self._postmaster.office

    @property
    def context(self) -> ssl.SSLContext:
        """For TLS with the relay; made where it comes to that, since to read all the certificates takes 20 ms."""
        self._context = self._context or _context(insecure=self._options.get("insecure_tls", False))
        return self._context

    @property
    def manner(self) -> Manner:
        """How its sessions begin."""
        return self.relay.manner(self.desk.local_hostname, login_in_clear=self._login_in_clear)

    @property
    def desk(self) -> SMTP:
        """A session where messages are handed in, whatever the line is doing."""
        with self._desk_lock:
            self._desk = self._desk or self._new_session()
            return self._desk

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
            _hang_up(self._own())
            if self._other is not None:
                self._other.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close_idle(self) -> float | None:
        """Close the line if it was idle for too long; see `clients.idling`. A send that is under way goes on."""
        if not self._lock.acquire(blocking=False):
            return self._session.idle_seconds  # it is sending: so long it will not have been idle
        try:
            return self._session.close_idle()
        finally:
            self._lock.release()

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

    def _place(self, url: str, fallback: str | None) -> Outlet:
        """Where the mail goes: by the relay's name, if it has one, since limits and pauses go by it."""
        relays = self._postmaster.office.relays
        if fallback is not None and (fallback == url or fallback not in relays):
            raise ConfigurationError(f"fallback {fallback!a}: no other relay of this postmaster")
        relay = self.relay
        name = url if url in relays else self._name or ("mx" if relay.is_direct else f"{relay.host}:{relay.port}")
        return Outlet(name, fallback, is_direct=relay.is_direct)

    def _carry_elsewhere(self, asked: Elsewhere) -> Outcome | None:
        """The transaction by the relay that takes this one's place; None where that cannot be reached either."""
        step, gate, fallback = asked.step, self._postmaster.office.gate, self._outlet.fallback
        assert fallback is not None
        if not step.through and not self.relay.is_direct:
            why = f"it cannot be reached: {asked.trouble}" if asked.trouble is not None else "it cannot be reached"
            if not step.delivery.labels.test:
                gate.unreachable(self._outlet.name, why, step.delivery.id)
        is_only_way = bool(step.through)  # the one that is paused is not asked, whatever becomes of this
        if not is_only_way and not gate.is_open(Outlet(fallback)):
            return None
        if self._other is None:
            labels = {name: self._settings[name] for name in ("message_class", "tenant", "stream", "test")}
            self._other = Client(fallback, postmaster=self._postmaster, **labels)
        outcome = self._other.carry(step)
        return None if outcome.never_began and not is_only_way else replace(outcome, through=fallback)

    def carry(self, step: Transact) -> Outcome:
        """A transaction of another client, whose place this one takes."""
        with self._lock:
            session = self._own()
            session.elsewhere = None
            return session.transact(replace(step, through=""))

    def _new_session(self) -> SMTP:
        if self.relay.is_direct:
            return self._new_direct()
        kind = {"smtps": SMTP_SSL, "lmtp": LMTP}.get(self.relay.scheme, SMTP)
        extra = {"context": self.context} if kind is SMTP_SSL else {}
        session: SMTP = kind(**self._settings, **extra)
        session.dial_when_needed(self.relay.host, self.relay.port, (lambda: self._greet(session),), relay=self._name)
        return self._placed(session)

    def _new_direct(self) -> SMTP:
        session = Direct(**self._settings)
        session.relay = self._name
        session.aim(
            port=self.relay.port,
            context=self._options.get("tls_context"),
            settings=self._settings,
            requires_tls=bool(self._options.get("require_tls")),
            private_addresses=bool(self._options.get("private_addresses")),
        )
        return self._placed(session)

    def _placed(self, session: SMTP) -> SMTP:
        session.given_outlet = self._outlet
        session.on_opened = self._watch
        session.elsewhere = self._carry_elsewhere if self._outlet.fallback else None
        return session

    def _watch(self) -> None:
        """A line was opened: somebody is to close it, if nobody uses it."""
        close_when_idle(self)

    def _greet(self, session: SMTP) -> None:
        """What comes before the first message: EHLO, TLS, login."""
        manner = self.relay.manner(session.local_hostname, login_in_clear=self._login_in_clear)
        session.open_by(manner, lambda: self.context)


def _hang_up(session: SMTP) -> None:
    """Say QUIT; who sends by the session all the same dials again."""
    if session.sock is not None or isinstance(session, Direct):
        session.rest()


class _Default:
    """A postmaster for a client that was given none."""

    def __init__(self) -> None:
        self.office = open_office()


def _known(url: str, office: Office) -> tuple[Relay, str | None]:
    """The relay, and the name under which what is left is queued for it; None where nothing is."""
    if not isinstance(url, str):
        raise ConfigurationError(f"{url!a} is no relay; write its URL, such as 'smtp://localhost:25', or its name")
    if url not in office.relays:
        if "://" not in url and not url.startswith("mx:") and office.relays:
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
