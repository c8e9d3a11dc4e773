"""smtplib's three classes, dressed: the same signatures, results and exceptions, with every reply read and kept.

Without a postmaster they are drop-in replacements: strict reading, a deadline for each whole reply, all LMTP replies
read, addresses and content that smuggle nothing. With a postmaster every send goes through its policy.
"""

import smtplib
import socket
import ssl
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from email.message import Message
from functools import partial
from types import TracebackType
from typing import Any, ClassVar, Protocol

from bouncekit.builtin import classify
from bouncekit.delivery import refusals
from bouncekit.dialling import DEFAULT_TIMEOUT, Dialling
from bouncekit.envelope import Labels
from bouncekit.errors import ConfigurationError, StoreError
from bouncekit.office import Office, undelivered
from bouncekit.rendering import canonical, dot_stuffed
from bouncekit.reply import Cause, NoReply, Reply, ReplyReader, Stage
from bouncekit.report import Report
from bouncekit.settlement import unjudged
from bouncekit.smtperrors import (
    OutcomeUnknown,
    StoreUnavailable,
    TlsNotOffered,
    UnreadableReply,
    Utf8NotOffered,
    error_of,
    with_report,
)
from bouncekit.status import Action, RecipientStatus
from bouncekit.steps import Delivery, Outcome, SessionEnd, Transact
from bouncekit.submission import submission
from bouncekit.transaction import Body, Command, Commands, Dot, Transacted, transaction
from bouncekit.transports.blocking import DEADLINES, Wire, carry

__all__ = ["LMTP", "SMTP", "SMTP_SSL", "HasOffice"]

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


class SMTP(Dialling):
    """A `smtplib.SMTP` that reads every reply, and with a postmaster obeys its policy.

    `sendmail` and `send_message` return a `Report`: the dict of refused recipients that smtplib returns, with
    `.recipients` and more. They raise what smtplib raises, with `.report` on it.

    Args:
        postmaster: whose policy, store and events; None for smtplib's behaviour with strict reading.
        message_class, tenant, stream, test: labels of what is sent here; X-Bouncekit-* headers say it per message.
        timeout: seconds; bounds each reply as a whole. Without one, the stages have deadlines.
    """

    default_postmaster: ClassVar[HasOffice | None] = None
    _is_lmtp: ClassVar[bool] = False

    # Set for an adopted connection as for one of our own, so that both start from here; see `Dialling` for more.
    labels = Labels()
    _has_sent = False
    _accepted = 0
    _trouble: Exception | None = None
    _is_composing = False
    _is_submitting = False

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
    ) -> None:
        postmaster = postmaster or self.default_postmaster
        self.office = postmaster.office if postmaster is not None else None
        labels = Labels(message_class=message_class, tenant=tenant, stream=stream, test=test)
        self.labels = self.office.check(labels) if self.office is not None else labels
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
        is_submitting, self._is_submitting = self._is_submitting, False  # not what a subscriber sends within it
        delivery = submission(
            from_addr,
            to_addrs,
            msg,
            mail_options=mail_options,
            rcpt_options=rcpt_options,
            labels=self.labels,
            new_id=self.office.clock.new_id if self.office else None,
            relay=self.relay,
        )
        if is_submitting:
            return self._submit(delivery)
        report, trouble = self._deliver(delivery)
        self._has_sent = True
        refusal = error_of(report, from_addr, delivery.given, durable=delivery.relay is not None)
        if refusal is None:
            return report
        if trouble is None or isinstance(refusal, OutcomeUnknown):
            trouble = _as_smtplib_says(refusal, delivery)
        raise with_report(trouble, report)

    def send_message(
        self,
        msg: Message,
        from_addr: str | None = None,
        to_addrs: str | Sequence[str] | None = None,
        mail_options: Sequence[str] = (),
        rcpt_options: Sequence[str] = (),
    ) -> Report:
        """Send a message to the recipients in its headers, or to those given; see `smtplib.SMTP.send_message`."""
        self._is_composing = True
        try:
            report: Report = super().send_message(msg, from_addr, to_addrs, mail_options, rcpt_options)  # type: ignore[assignment]
            return report
        finally:
            self._is_composing = False

    def submit_message(
        self, msg: Message, sender: str | None = None, recipients: str | Sequence[str] | None = None
    ) -> Report:
        """Put a message into the queue, from which a worker sends it; nothing goes over this connection.

        Raises:
            ConfigurationError: nothing is queued here.
            StoreUnavailable: the store does not answer, the message is not in the queue.
            SMTPRecipientsRefused: there is no recipient that mail could be sent to.
        """
        if self.relay is None:
            raise ConfigurationError("submit() puts mail into a queue: make the postmaster with retry='queue'")
        self._is_submitting = True
        try:
            return self.send_message(msg, sender, recipients)
        finally:
            self._is_submitting = False

    def deliver(self, delivery: Delivery) -> Report:
        """Send what was taken from the queue. No outcome raises, it is in the report.

        Raises:
            StoreUnavailable: the store does not answer, nothing was sent.
        """
        report, _ = self._deliver(delivery)
        self._has_sent = True
        return report

    def _submit(self, delivery: Delivery) -> Report:
        assert self.office is not None
        try:
            report = self.office.submit(delivery)
        except StoreError as error:
            raise StoreUnavailable(str(error), undelivered(delivery, str(error))) from error
        if not delivery.recipients:
            raise with_report(smtplib.SMTPRecipientsRefused(dict(report)), report)
        return report

    def _deliver(self, delivery: Delivery) -> tuple[Report, Exception | None]:
        """The report, and what kept the last transaction from beginning. A subscriber may send within a send."""
        outer, self._trouble = self._trouble, None
        try:
            if self.office is None:
                return self._send_unjudged(delivery), self._trouble
            return self.office.drive(delivery, self._transact, self.send_notice), self._trouble
        except StoreError as error:
            raise StoreUnavailable(str(error), undelivered(delivery, str(error))) from error
        finally:
            self._trouble = outer

    def _send_unjudged(self, delivery: Delivery) -> Report:
        """One transaction without a policy: what smtplib does."""
        settlements = []
        if delivery.recipients:
            outcome = self._transact(Transact(delivery=delivery, envelope=delivery.envelope))
            for status in outcome.statuses:
                settlements.append(unjudged(status, None if status.action is Action.DELIVERED else classify(status)))
        settlements += refusals(delivery, classify)
        return Report.of(settlements, message_id=delivery.envelope.message_id, given=delivery.given)

    def _transact(self, step: Transact) -> Outcome:
        """One transaction on this connection. Threads that share it take turns: else one's mail is the other's."""
        with self._turn:
            return self._transact_alone(step)

    def _transact_alone(self, step: Transact) -> Outcome:
        """A transaction on this connection, which is opened again first where that is ours to do."""
        attempt_id = self.office.clock.new_id() if self.office else ""
        try:
            self._make_ready(step)
        except (smtplib.SMTPException, OSError, ValueError) as error:  # ValueError: what no command line can hold
            self._trouble = error
            self._was_dropped = self.sock is None
            result = _not_begun(step, error, self._host)
        except BaseException:
            self._drop()
            raise
        else:
            self._trouble = None
            result = self._carry(step, attempt_id)
        return Outcome(
            attempt_id=attempt_id,
            now=self.office.clock.now() if self.office else datetime.now(UTC),
            statuses=result.statuses,
            ended=SessionEnd(stage=result.ended[0], reply=result.ended[1]) if result.ended else None,
            can_redial=self._dialled is not None and not self._is_unreachable,
            remote_mta=self._host,
        )

    def _carry(self, step: Transact, attempt_id: str) -> Transacted:
        office = self.office
        steps = transaction(
            step.envelope,
            self.esmtp_features if self.does_esmtp else None,
            lmtp=self._is_lmtp,
            remote_mta=self._host or None,
        )
        try:
            result = carry(
                steps, self._wire(), None if office is None else partial(office.ledger.begin, step, attempt_id)
            )
        except BaseException:
            self._drop()
            raise
        if result.must_close:
            self._drop()
        return result

    def _make_ready(self, step: Transact) -> None:
        """Connected, greeted, and able to carry what this envelope needs."""
        if self._is_to_be_dialled:
            self._redial()
        if self.sock is None:
            raise smtplib.SMTPServerDisconnected("please run connect() first")
        self.ehlo_or_helo_if_needed()
        wants_utf8 = any(option.lower() == "smtputf8" for option in step.envelope.mail_options)
        if wants_utf8 and not self.has_extn("smtputf8"):
            raise Utf8NotOffered("SMTPUTF8 not supported by server")

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
        """Send a command."""
        self._stage = _STAGES.get(cmd[:8].split(" ")[0].upper(), Stage.IDLE)
        super().putcmd(cmd, args)

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
        self._tell_closed(answer)
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

    def hang_up(self) -> tuple[int, bytes]:
        """Say QUIT and close, whatever the answer; (-1, why) where none came."""
        try:
            answer = self.docmd("QUIT")
        except smtplib.SMTPServerDisconnected as lost:
            answer = (-1, str(lost).encode())
        finally:
            self.close()
        self._tell_closed(answer)
        return answer

    def _tell_closed(self, answer: tuple[int, bytes]) -> None:
        if self.office is None:
            return
        code, text = answer
        reply = Reply(code, text) if code > 0 else NoReply(Cause.LOST, text.decode("utf-8", "backslashreplace"))
        self.office.session_ended(SessionEnd(stage=Stage.QUIT, reply=reply), remote_mta=self._host)

    def _wire(self) -> Wire:
        if self.sock is None:
            raise smtplib.SMTPServerDisconnected("please run connect() first")
        return Wire(self.sock, self._reader, _Echo(self) if self.debuglevel > 0 else None)


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


class _Echo:
    """What `set_debuglevel` shows of a send."""

    def __init__(self, client: smtplib.SMTP) -> None:
        self._print = client._print_debug  # type: ignore[attr-defined]

    def sent(self, data: bytes) -> None:
        self._print("send:", repr(data))

    def heard(self, answer: Reply | NoReply) -> None:
        if isinstance(answer, Reply):
            self._print(f"reply: retcode ({answer.code}); Msg: {answer.raw!a}")
        else:
            self._print("reply:", repr(str(answer)))


def _not_begun(step: Transact, error: Exception, host: str) -> Transacted:
    """What a transaction that could not begin means: everybody is delayed, and nearly always the session is over."""
    stage, answer = what_went_wrong(error)
    statuses = tuple(
        RecipientStatus(
            recipient=address.wire,
            action=Action.DELAYED,
            stage=stage,
            reply=answer,
            individual=False,
            remote_mta=host or None,
        )
        for address in step.envelope.recipients
    )
    if stage is Stage.MAIL:
        return Transacted(statuses=statuses)
    return Transacted(statuses=statuses, ended=(stage, answer), must_close=True)


def what_went_wrong(error: Exception) -> tuple[Stage, Reply | NoReply]:
    """The stage and the answer that an exception of smtplib, the network or TLS stands for."""
    for kind, stage in (
        (smtplib.SMTPConnectError, Stage.CONNECT),
        (smtplib.SMTPHeloError, Stage.EHLO),
        (smtplib.SMTPAuthenticationError, Stage.AUTH),
        (smtplib.SMTPResponseException, Stage.STARTTLS),  # what is left, smtplib raises there only
    ):
        if isinstance(error, kind) and error.smtp_code > 0:
            text = error.smtp_error
            return stage, Reply(error.smtp_code, text if isinstance(text, bytes) else text.encode())
    if isinstance(error, Utf8NotOffered):
        return Stage.MAIL, NoReply(Cause.PROTOCOL, str(error))  # the session is fine, another message may use it
    for kinds, cause in _CAUSES:
        if isinstance(error, kinds):
            return Stage.CONNECT, NoReply(cause, str(error))
    return Stage.CONNECT, NoReply(Cause.LOST, str(error))


_CAUSES: tuple[tuple[type[Exception] | tuple[type[Exception], ...], Cause], ...] = (
    (UnreadableReply, Cause.PROTOCOL),
    (TlsNotOffered, Cause.TLS),
    (smtplib.SMTPNotSupportedError, Cause.PROTOCOL),
    (ssl.SSLError, Cause.TLS),
    (ValueError, Cause.PROTOCOL),
    (socket.gaierror, Cause.DNS),
    (TimeoutError, Cause.TIMED_OUT),
    (ConnectionRefusedError, Cause.REFUSED),
)


def _as_smtplib_says(error: Exception, delivery: Delivery) -> Exception:
    """smtplib raises UnicodeEncodeError where nobody can be asked without SMTPUTF8; so do we."""
    if not delivery.recipients and delivery.refused and all("SMTPUTF8" in one.why for one in delivery.refused):
        try:
            delivery.refused[0].address.encode("ascii")
        except UnicodeEncodeError as beyond_ascii:
            return beyond_ascii
    return error
