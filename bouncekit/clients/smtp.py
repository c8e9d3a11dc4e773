"""smtplib's three classes, dressed: the same signatures, results and exceptions, with every reply read and kept.

Without a postmaster they are drop-in replacements: strict reading, a deadline for each whole reply, all LMTP replies
read, addresses and content that smuggle nothing. With a postmaster every send goes through its policy.
"""

import smtplib
import ssl
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from email.message import Message
from types import MappingProxyType, TracebackType
from typing import Any, ClassVar, Protocol

from bouncekit.clients.carrying import Carrying
from bouncekit.clients.dialling import DEFAULT_TIMEOUT
from bouncekit.clients.smtperrors import (
    OutcomeUnknown,
    UnreadableReply,
    error_of,
    unavailable,
    with_report,
)
from bouncekit.delivery.handing import refusals
from bouncekit.delivery.report import Report
from bouncekit.delivery.settlement import Delivered, unjudged
from bouncekit.delivery.steps import Delivery, Transact
from bouncekit.delivery.submission import submission
from bouncekit.desk.office import Office
from bouncekit.outside.builtin import classify
from bouncekit.protocol.classmark import NO_CLASS_MARKS
from bouncekit.protocol.commandlines import DsnRequest
from bouncekit.protocol.conversation import DEADLINES
from bouncekit.protocol.rendering import canonical, dot_stuffed
from bouncekit.protocol.transaction import CLOSES, Body, Command, Commands, Dot
from bouncekit.words.envelope import Counted, Labels
from bouncekit.words.errors import ConfigurationError, StoreError
from bouncekit.words.reply import Cause, NoReply, Reply, ReplyReader, Stage
from bouncekit.words.status import Action, Taken

__all__ = ["LMTP", "SMTP", "SMTP_SSL", "HasOffice", "told"]

_UNNAMED: Mapping[str, Any] = MappingProxyType({})

# smtplib's own, as they were before anybody replaced them (`bouncekit.install`).
_SMTP = smtplib.SMTP

_STAGES = {
    "EHLO": Stage.EHLO,
    "HELO": Stage.EHLO,
    "LHLO": Stage.EHLO,
    "STARTTLS": Stage.STARTTLS,
    "AUTH": Stage.AUTH,
    "MAIL": Stage.MAIL,
    "RCPT": Stage.RCPT,
    "DATA": Stage.DATA,
    "RSET": Stage.RSET,
    "QUIT": Stage.QUIT,
}


class HasOffice(Protocol):
    """A postmaster, as its clients see it."""

    @property
    def office(self) -> Office: ...


class SMTP(Carrying):
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
    _has_sent = False
    _accepted = 0
    _is_composing = False
    _hand_in: Callable[[Delivery], Report] | None = None  # who takes the next delivery, instead of a server
    _named = _UNNAMED  # the labels of the next message, as its sender named them

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
        self._dsn = None if dsn == "none" else DsnRequest.notifying(dsn)
        self._lock_step = lock_step
        self._chunking = chunking
        self._reader = ReplyReader()
        self._turn = threading.RLock()
        # Not super(): smtplib.SMTP_SSL.__init__ calls whatever stands under the name SMTP in its module.
        _SMTP.__init__(self, host, port, local_hostname, timeout, source_address)  # type: ignore[arg-type]

    # -- sending

    def sendmail(  # type: ignore[override]
        self,
        from_addr: str,
        to_addrs: str | Sequence[str],
        msg: bytes | str,
        mail_options: Sequence[str] = (),
        rcpt_options: Sequence[str] = (),
    ) -> Report:
        """Send a message; see `smtplib.SMTP.sendmail`. Text may hold ASCII only; its line ends become CRLF."""
        self._is_composing = False
        hand_in, self._hand_in = self._hand_in, None  # not what a subscriber sends within it
        delivery = self.take(from_addr, to_addrs, msg, mail_options, rcpt_options)
        if hand_in is not None:
            return hand_in(delivery)
        report, trouble = self._deliver(delivery)
        self._has_sent = True
        return told(delivery, report, trouble, from_addr)

    def take(
        self,
        sender: str,
        recipients: str | Sequence[str],
        message: bytes | str,
        mail_options: Sequence[str] = (),
        rcpt_options: Sequence[str] = (),
    ) -> Delivery:
        """The delivery that `sendmail` would carry out; nothing is sent."""
        named, self._named = self._named, _UNNAMED
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
        to_addrs: str | Sequence[str] | None = None,
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
        self._named = self._labels_named(message_class, test)
        self._is_composing = True
        try:
            report: Report = super().send_message(msg, from_addr, to_addrs, mail_options, rcpt_options)  # type: ignore[assignment]
            return report
        finally:
            self._is_composing = False
            self._named = _UNNAMED

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
        recipients: str | Sequence[str] | None = None,
        **labels: Any,
    ) -> Report:
        """Put a message into the queue, from which a worker sends it; nothing goes over this connection.

        Raises:
            ConfigurationError: nothing is queued here.
            StoreUnavailable: the store does not answer, the message is not in the queue; or may be, where it says so.
            SMTPRecipientsRefused: there is no recipient that mail could be sent to.
        """
        self._hand_in = self.submit
        try:
            return self.send_message(msg, sender, recipients, **labels)
        finally:
            self._hand_in = None

    def deliver(self, delivery: Delivery) -> Report:
        """Send what was taken from the queue. No outcome raises, it is in the report.

        Raises:
            StoreUnavailable: the store does not answer, nothing was sent.
        """
        report, _ = self._deliver(delivery)
        self._has_sent = True
        return report

    def send_all(self, messages: Iterable[Message], sender: str | None = None) -> Iterator[Report]:
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
    ) -> Iterator[Report]:
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
            for report in self.office.drive_all(given(), self._transact, self.send_notice, self.outlet, is_ready):
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
        recipients: str | Sequence[str] | None = None,
        **labels: Any,
    ) -> Delivery:
        """The delivery that `send_message` would carry out; nothing is sent. `labels` are those that it takes."""
        taken: list[Delivery] = []

        def take(delivery: Delivery) -> Report:
            taken.append(delivery)
            return Report()

        self._hand_in = take
        try:
            self.send_message(message, sender, recipients, **labels)
        finally:
            self._hand_in = None
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
            report = self.office.drive(delivery, self._transact, self.send_notice, self.outlet)
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
            outcome = self._transact(Transact(delivery=delivery, envelope=delivery.envelope))
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
        if not self._is_composing:
            super().ehlo_or_helo_if_needed()

    def has_extn(self, opt: str) -> bool:
        """Whether the server offers an extension; as long as `send_message` composes it may, and the send asks."""
        return self._is_composing or super().has_extn(opt)

    # -- commands and replies

    def putcmd(self, cmd: str, args: str = "") -> None:
        """Send a command.

        Raises:
            ValueError: no command line can hold it, such as a line end. Nothing was sent.
        """
        self._stage = _STAGES.get(cmd[:8].split(" ")[0].upper(), Stage.IDLE)
        if not _fits_a_line(cmd + args) or (self._stage is Stage.EHLO and not _is_word(args)):
            raise ValueError(f"command and arguments contain prohibited characters: {f'{cmd} {args}'!a}")
        if self._stage is not Stage.QUIT and not self._reader.is_clean:
            self._refuse_to_guess()
        super().putcmd(cmd, args)

    def _refuse_to_guess(self) -> None:
        """Give the session up: a reply lies here that nobody asked for, and would be taken for the next answer.

        Raises:
            SMTPServerDisconnected: with what the server said.
        """
        said = self._wire().unasked()
        self._drop()
        if said.reply is not None and said.reply.code in CLOSES:
            raise smtplib.SMTPServerDisconnected(f"Connection unexpectedly closed: {said.detail}")
        raise UnreadableReply(said)

    def getreply(self) -> tuple[int, bytes]:
        """Read one whole reply: code and text, lines joined by LF.

        Raises:
            SMTPServerDisconnected: no reply came; UnreadableReply where something came that is none.
        """
        if self.sock is None:
            raise smtplib.SMTPServerDisconnected("please run connect() first")
        own = self.sock.gettimeout()
        quit_deadline = min(own or DEADLINES[Stage.QUIT], DEADLINES[Stage.QUIT]) if self._stage is Stage.QUIT else None
        answer = self._wire().read_reply(self._stage, deadline=quit_deadline)
        if isinstance(answer, Reply):
            return answer.code, answer.raw
        self._drop()
        if answer.cause is Cause.PROTOCOL:
            raise UnreadableReply(answer)
        raise smtplib.SMTPServerDisconnected(f"Connection unexpectedly closed: {answer.detail}")

    def mail(self, sender: str, options: Sequence[str] = ()) -> tuple[int, bytes]:
        """Send MAIL; see `smtplib.SMTP.mail`."""
        self._accepted = 0
        return super().mail(sender, options)

    def rcpt(self, recip: str, options: Sequence[str] = ()) -> tuple[int, bytes]:
        """Send RCPT; see `smtplib.SMTP.rcpt`."""
        answer = super().rcpt(recip, options)
        self._accepted += 200 <= answer[0] < 300
        return answer

    def data(self, msg: Any) -> tuple[int, bytes]:
        """Send DATA and the content; see `smtplib.SMTP.data`. Of several LMTP replies the first refusal is returned."""
        content, wire = dot_stuffed(canonical(msg)), self._wire()
        (answer,) = wire.exchange(Commands((Command(Stage.DATA, b"data\r\n"),)))
        if isinstance(answer, Reply) and answer.code != 354:
            raise smtplib.SMTPDataError(answer.code, answer.raw)
        answers: Sequence[Reply | NoReply] = [answer]
        if isinstance(answer, Reply):
            answers = wire.write(Body(content)) or wire.finish(Dot(max(self._accepted, 1) if self._is_lmtp else 1))
        if lost := next((one for one in answers if isinstance(one, NoReply)), None):
            self.close()
            raise smtplib.SMTPServerDisconnected(str(lost.detail))
        replies = [one for one in answers if isinstance(one, Reply)]
        refusal = next((reply for reply in replies if not reply.is_success), replies[0])
        return refusal.code, refusal.raw

    def quit(self) -> tuple[int, bytes]:
        """Say QUIT and close. After a send no answer to it is an error: nothing that was settled can change."""
        try:
            answer = super().quit()
        except smtplib.SMTPServerDisconnected as error:
            if not self._has_sent:
                raise
            self._was_dropped = False
            answer = (-1, str(error).encode())
        self._tell_quit(answer)
        return answer

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.sock is None or not (self._has_sent or self.office):
            super().__exit__(kind, error, traceback)
            return
        answer = self.hang_up()
        if answer[0] != 221 and answer[0] != -1 and not self._has_sent:
            raise smtplib.SMTPResponseException(*answer)


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
            context = ssl._create_stdlib_context(certfile=certfile, keyfile=keyfile)  # type: ignore[attr-defined]
        self.context = context
        super().__init__(host, port, local_hostname, *args, **kwargs)

    def connect(self, host: str = "localhost", port: int = 0, source_address: Any = None) -> tuple[int, bytes]:
        """Connect under TLS."""
        answer = super().connect(host, port, source_address)
        self._tell_insecure()
        return answer


class LMTP(SMTP, smtplib.LMTP):
    """A `smtplib.LMTP`, dressed: reads one reply for each accepted recipient after the data (RFC 2033 4.2)."""

    _is_lmtp = True

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


def _fits_a_line(text: str) -> bool:
    """Whether a command may hold this, line ends aside: those smtplib refuses in words that people look for."""
    return text.replace("\r", "").replace("\n", "").isprintable()


def _is_word(name: str) -> bool:
    """Whether it can be the one argument of EHLO (RFC 5321 4.1.1.1)."""
    return name.isascii() and " " not in name


def told(delivery: Delivery, report: Report, trouble: Exception | None, sender: str) -> Report:
    """The report, or what smtplib raises for it; `trouble` is what kept the last transaction from beginning."""
    if report.is_whole:
        return report
    refusal = error_of(report, sender, delivery.given, durable=delivery.relay is not None)
    if refusal is None:
        return report
    if trouble is None or isinstance(refusal, OutcomeUnknown):
        trouble = _as_smtplib_says(refusal, delivery)
    raise with_report(trouble, report)


def _as_smtplib_says(error: Exception, delivery: Delivery) -> Exception:
    """smtplib raises UnicodeEncodeError where nobody can be asked without SMTPUTF8; so do we."""
    if not delivery.recipients and delivery.refused and all("SMTPUTF8" in one.why for one in delivery.refused):
        try:
            delivery.refused[0].address.encode("ascii")
        except UnicodeEncodeError as beyond_ascii:
            return beyond_ascii
    return error
