"""smtplib's three classes, dressed: the same signatures, results and exceptions, with every reply read and kept.

Without a postmaster they are drop-in replacements: strict reading, a deadline for each whole reply, all LMTP replies
read, addresses and content that smuggle nothing. With a postmaster every send goes through its policy.
"""

import smtplib
import ssl
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from email.message import Message
from types import MappingProxyType
from typing import Any, ClassVar, Protocol

from bouncekit.clients.commanding import Commanding
from bouncekit.clients.conduct import Conduct
from bouncekit.clients.dialling import DEFAULT_TIMEOUT
from bouncekit.clients.smtperrors import error_of, told, unavailable, with_report
from bouncekit.delivery.handing import refusals
from bouncekit.delivery.report import Report
from bouncekit.delivery.settlement import Delivered, unjudged
from bouncekit.delivery.steps import Delivery, Transact
from bouncekit.delivery.submission import submission
from bouncekit.desk.office import Office
from bouncekit.outside.builtin import classify
from bouncekit.protocol.classmark import NO_CLASS_MARKS
from bouncekit.protocol.commandlines import DsnRequest
from bouncekit.words.envelope import Counted, Labels
from bouncekit.words.errors import ConfigurationError, StoreError
from bouncekit.words.reply import ReplyReader
from bouncekit.words.status import Action, Taken

__all__ = ["LMTP", "SMTP", "SMTP_SSL", "Composing", "HasOffice"]

_UNNAMED: Mapping[str, Any] = MappingProxyType({})

# smtplib's own, as they were before anybody replaced them (`bouncekit.install`).
_SMTP = smtplib.SMTP


class HasOffice(Protocol):
    """A postmaster, as its clients see it."""

    @property
    def office(self) -> Office: ...


class Composing(threading.local):
    """How a thread has `send_message` end, since smtplib's own calls `sendmail` with nothing but the message."""

    is_on = False  # until then: who composes says no EHLO
    hand_in: Callable[[Delivery], Report] | None = None  # who takes the delivery, instead of a server
    named = _UNNAMED  # the labels of the message, as its sender named them


class SMTP(Commanding):
    """A `smtplib.SMTP` that reads every reply, and with a postmaster obeys its policy.

    `sendmail` and `send_message` return a `Report`: the dict of refused recipients that smtplib returns, with
    `.recipients` and more. They raise what smtplib raises, with `.report` on it.

    Args:
        postmaster: whose policy, store and events; None for smtplib's behaviour with strict reading.
        message_class, tenant, stream, test: labels of what is sent here. A message's own X-Bouncekit-* headers, and
            the arguments of `send_message`, are nearer to it.
        timeout: seconds; bounds each reply as a whole. Without one, the stages have deadlines.
        dsn: which reports to ask for where the server offers DSN: `failure`, `failure,delay`, `never`; "" leaves that
            to the servers, and asks only that a report names the delivery and the recipient; `none` asks nothing.
        lock_step: one command at a time, also where the server offers PIPELINING. Without a postmaster, and on a line
            that could not be opened again, it is always so.
        chunking: the content by BDAT (RFC 3030), where the server offers it.
    """

    default_postmaster: ClassVar[HasOffice | None] = None

    # Set for an adopted connection as for one of our own, so that both start from here; see `Dialling` for more.
    labels = Labels()
    _composing: "Composing"

    def __init__(
        self,
        host: str = "",
        port: int = 0,
        local_hostname: str | None = None,
        timeout: float | None = DEFAULT_TIMEOUT,
        source_address: tuple[str, int] | None = None,
        *,
        postmaster: HasOffice | None = None,
        message_class: str | None = None,
        tenant: str = "",
        stream: str = "",
        test: bool = False,
        dsn: str = "",
        lock_step: bool = False,
        chunking: bool = False,
    ) -> None:
        postmaster = postmaster or self.default_postmaster
        self.office = postmaster.office if postmaster is not None else None
        labels = Labels(message_class=message_class, tenant=tenant, stream=stream, test=test)
        self.labels = self.office.check(labels) if self.office is not None else labels
        asked = None if dsn == "none" else DsnRequest.notifying(dsn)
        self.conduct = replace(self.conduct, dsn=asked, lock_step=lock_step, chunking=chunking)
        self._reader = ReplyReader()
        self._turn = threading.RLock()
        self._composing = Composing()
        # Not super(): smtplib.SMTP_SSL.__init__ calls whatever stands under the name SMTP in its module.
        _SMTP.__init__(self, host, port, local_hostname, timeout, source_address)  # type: ignore[arg-type]  # as theirs

    # -- sending

    def sendmail(  # type: ignore[override]  # a Report is a dict of the refused, and more
        self,
        from_addr: str,
        to_addrs: str | Iterable[str],
        msg: bytes | str,
        mail_options: Sequence[str] = (),
        rcpt_options: Sequence[str] = (),
    ) -> Report:
        """Send a message; see `smtplib.SMTP.sendmail`. Text may hold ASCII only; its line ends become CRLF."""
        composing = self._composing
        composing.is_on = False
        hand_in, composing.hand_in = composing.hand_in, None  # not what a subscriber sends within it
        delivery = self.take(from_addr, to_addrs, msg, mail_options, rcpt_options)
        if hand_in is not None:
            return hand_in(delivery)
        report, trouble = self._deliver(delivery)
        self._has_sent = True
        return told(delivery, report, trouble, from_addr)

    def take(
        self,
        sender: str,
        recipients: str | Iterable[str],
        message: bytes | str,
        mail_options: Sequence[str] = (),
        rcpt_options: Sequence[str] = (),
    ) -> Delivery:
        """The delivery that `sendmail` would carry out; nothing is sent."""
        named, self._composing.named = self._composing.named, _UNNAMED
        delivery = submission(
            sender,
            recipients,
            message,
            mail_options=mail_options,
            rcpt_options=rcpt_options,
            labels=self.labels,
            new_id=self.office.clock.new_id if self.office else None,
            relay=self.relay,
            known=self.office.policy.class_marks if self.office else NO_CLASS_MARKS,
        )
        if named:
            delivery = replace(delivery, labels=replace(delivery.labels, **named))
        elif self.office is not None and delivery.labels is not self.labels:
            self.office.law.doubt(delivery.labels)
        return delivery

    def send_message(
        self,
        msg: Message,
        from_addr: str | None = None,
        to_addrs: str | Iterable[str] | None = None,
        mail_options: Sequence[str] = (),
        rcpt_options: Sequence[str] = (),
        *,
        message_class: str | None = None,
        test: bool | None = None,
    ) -> Report:
        """Send a message to the recipients in its headers, or to those given; see `smtplib.SMTP.send_message`.

        Args:
            message_class: of this message, whatever its headers or this connection say.
            test: whether it is test traffic, which moves no counter and no list.

        Raises:
            ConfigurationError: the policy has no such class.
            AttributeError: it is no message, but a text, say; the class is smtplib's.
        """
        if not hasattr(msg, "get_all"):
            what = f"{type(msg).__name__!r} object is no message: give an email.message.EmailMessage"
            raise AttributeError(f"{what}, or text and addresses to sendmail()")
        if isinstance(to_addrs, Iterator):
            to_addrs = list(to_addrs)  # smtplib goes through them twice
        composing = self._composing
        composing.named, composing.is_on = self._labels_named(message_class, test), True
        try:
            # Our own `sendmail` gives it a Report.
            report: Report = super().send_message(msg, from_addr, to_addrs, mail_options, rcpt_options)  # type: ignore[assignment, arg-type]
            return report
        finally:
            composing.named, composing.is_on = _UNNAMED, False

    def _labels_named(self, message_class: str | None, test: bool | None) -> Mapping[str, Any]:
        """The labels of one message, as far as whoever sends it names them."""
        if message_class is None and test is None:
            return _UNNAMED
        if self.office is not None:
            self.office.check(Labels(message_class=message_class))
        given = {"message_class": message_class, "test": test}
        return {name: value for name, value in given.items() if value is not None}

    def submit_message(
        self,
        msg: Message,
        sender: str | None = None,
        recipients: str | Iterable[str] | None = None,
        **labels: Any,
    ) -> Report:
        """Put a message into the queue, from which a worker sends it; nothing goes over this connection.

        Raises:
            ConfigurationError: nothing is queued here.
            StoreUnavailable: the store does not answer, the message is not in the queue; or may be, where it says so.
            SMTPRecipientsRefused: there is no recipient that mail could be sent to.
        """
        self._composing.hand_in = self.submit
        try:
            return self.send_message(msg, sender, recipients, **labels)
        finally:
            self._composing.hand_in = None

    def deliver(self, delivery: Delivery) -> Report:
        """Send what was taken from the queue. No outcome raises, it is in the report.

        Raises:
            StoreUnavailable: the store does not answer, nothing was sent.
        """
        report, _ = self._deliver(delivery)
        self._has_sent = True
        return report

    def send_all(self, messages: Iterable[Message], sender: str | None = None) -> Generator[Report, None, None]:
        """Send one message behind the other, each to the recipients in its headers; a report for each, in order.

        No outcome raises, it is in the report. Where the server pipelines, a message takes one round trip: its commands
        go out with the end of the one before. So take the reports as they come: while nobody does, the server waits.
        What `messages` raises is raised behind the report of the one before.

        Raises:
            StoreUnavailable: the store does not answer; that message was not sent, nor were those behind it.
        """
        return self.deliver_all(self.compose(message, sender) for message in messages)

    def deliver_all(
        self, deliveries: Iterable[Delivery], is_ready: Callable[[], bool] | None = None
    ) -> Generator[Report, None, None]:
        """The same of deliveries. `is_ready` says whether the next one is there; without it, it is waited for."""
        if self.office is None:
            yield from map(self.deliver, deliveries)
            return
        taken: deque[Delivery] = deque()  # that have no report yet

        def given() -> Iterator[Delivery]:
            for delivery in deliveries:
                taken.append(delivery)
                yield delivery

        try:
            for report in self.office.drive_all(given(), self.transact, self.send_notice, self.outlet, is_ready):
                taken.popleft()
                self._has_sent = True
                self._hear_interruption(report)
                yield report
        except StoreError as error:
            raise unavailable(error, taken[0] if taken else None) from error
        finally:
            self._leave_ahead()

    def compose(
        self,
        message: Message,
        sender: str | None = None,
        recipients: str | Iterable[str] | None = None,
        **labels: Any,
    ) -> Delivery:
        """The delivery that `send_message` would carry out; nothing is sent. `labels` are those that it takes."""
        taken: list[Delivery] = []

        def take(delivery: Delivery) -> Report:
            taken.append(delivery)
            return Report()

        self._composing.hand_in = take
        try:
            self.send_message(message, sender, recipients, **labels)
        finally:
            self._composing.hand_in = None
        return taken[0]

    def submit(self, delivery: Delivery) -> Report:
        """The same of a delivery."""
        if self.office is None or self.relay is None:
            raise ConfigurationError("submit() puts mail into a queue: make the postmaster with retry='queue'")
        try:
            report = self.office.submit(delivery)
        except StoreError as error:
            raise unavailable(error, delivery) from error
        if not delivery.recipients:
            raise with_report(smtplib.SMTPRecipientsRefused(dict(report)), report)
        return report

    def _deliver(self, delivery: Delivery) -> tuple[Report, Exception | None]:
        """The report, and what kept the last transaction from beginning. A subscriber may send within a send."""
        outer, self._trouble = self._trouble, None
        try:
            if self.office is None:
                return self._send_unjudged(delivery), self._trouble
            report = self.office.drive(delivery, self.transact, self.send_notice, self.outlet)
            self._hear_interruption(report)
            return report, self._trouble
        except StoreError as error:
            raise unavailable(error, delivery) from error
        finally:
            self._trouble = outer

    def _hear_interruption(self, report: Report) -> None:
        """Raise what has interrupted the send of this thread, with the outcome that it has all the same."""
        if self._interruption is not None and self._is_interrupted:
            error, self._interruption = self._interruption.error, None
            raise with_report(error, report)

    def _send_unjudged(self, delivery: Delivery) -> Report:
        """One transaction without a policy: what smtplib does."""
        settlements = []
        if delivery.recipients:
            outcome = self.transact(Transact(delivery=delivery, envelope=delivery.envelope))
            if isinstance(outcome.statuses, Taken) and not delivery.refused:
                counted = Counted(delivery.recipients, outcome.now)
                return Report(recipients=Delivered(outcome.statuses, counted), message_id=delivery.envelope.message_id)
            for status in outcome.statuses:
                settlements.append(unjudged(status, None if status.action is Action.DELIVERED else classify(status)))
        settlements += refusals(delivery, classify)
        return Report.of(settlements, message_id=delivery.envelope.message_id, given=delivery.given)

    def send_notice(self, sender: str, recipient: str, message: bytes) -> None:
        """Send a notice of ours, outside the policy: a notice never makes another one."""
        delivery = submission(sender, [recipient], message)
        trouble, self._trouble = self._trouble, None  # of the send that the notice is about, which that send will raise
        try:
            if self.sock is None and self._dialled is not None:
                self._redial()
            report = self._send_unjudged(delivery)
            if not report.delivered:
                raise self._trouble or error_of(report, sender, {}) or smtplib.SMTPRecipientsRefused(dict(report))
        finally:
            self._trouble = trouble

    def ehlo_or_helo_if_needed(self) -> None:
        """Say EHLO, else HELO, where nobody has; not while `send_message` composes: the send does it, and reports."""
        if not self._composing.is_on:
            super().ehlo_or_helo_if_needed()

    def has_extn(self, opt: str) -> bool:
        """Whether the server offers an extension; as long as `send_message` composes it may, and the send asks."""
        return self._composing.is_on or super().has_extn(opt)


class SMTP_SSL(SMTP, smtplib.SMTP_SSL):
    """A `smtplib.SMTP_SSL`, dressed. As there, without a `context` no certificate is verified."""

    def __init__(
        self,
        host: str = "",
        port: int = 0,
        local_hostname: str | None = None,
        *args: Any,
        context: ssl.SSLContext | None = None,
        **kwargs: Any,
    ) -> None:
        # 3.11 has keyfile and certfile here, deprecated since 3.6 and gone in 3.12.
        keyfile, certfile = kwargs.pop("keyfile", None), kwargs.pop("certfile", None)
        if context is not None and (keyfile or certfile):
            raise ValueError("context and keyfile or certfile exclude each other")
        if context is None:
            context = ssl._create_stdlib_context(certfile=certfile, keyfile=keyfile)  # type: ignore[attr-defined]  # as in smtplib
        self.context = context
        super().__init__(host, port, local_hostname, *args, **kwargs)

    def connect(self, host: str = "localhost", port: int = 0, source_address: Any = None) -> tuple[int, bytes]:
        """Connect under TLS."""
        answer = super().connect(host, port, source_address)
        self._tell_insecure()
        return answer


class LMTP(SMTP, smtplib.LMTP):
    """A `smtplib.LMTP`, dressed: reads one reply for each accepted recipient after the data (RFC 2033 4.2)."""

    conduct = Conduct(is_lmtp=True)

    def __init__(
        self,
        host: str = "",
        port: int = smtplib.LMTP_PORT,
        local_hostname: str | None = None,
        source_address: tuple[str, int] | None = None,
        timeout: float | None = DEFAULT_TIMEOUT,
        **kwargs: Any,
    ) -> None:
        super().__init__(host, port, local_hostname, timeout, source_address, **kwargs)
