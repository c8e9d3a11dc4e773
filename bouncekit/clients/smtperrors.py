"""What a send raises: smtplib's own exceptions, with `.report`, so that an existing `except` keeps working.

    smtplib.SMTPException
    ├── SMTPServerDisconnected
    │   ├── OutcomeUnknown             the reply to the final dot never came: the message may have been taken
    │   └── UnreadableReply            what came was no reply (also a SMTPResponseException, code -1)
    ├── SMTPNotSupportedError
    │   ├── TlsNotOffered              the server offers no STARTTLS
    │   └── Utf8NotOffered             the server offers no SMTPUTF8, and this message needs it
    ├── SMTPRecipientsRefused
    │   └── RecipientsSuppressed       nobody was tried: suppressed, or refused before the first byte
    └── StoreUnavailable               the store does not answer; nothing was sent (also a BouncekitError)

Which exception a report becomes is what smtplib does for the same replies.
"""

import smtplib
from collections.abc import Mapping
from typing import TypeVar

from bouncekit.delivery.handing import refusals
from bouncekit.delivery.report import Report
from bouncekit.delivery.settlement import Settlement
from bouncekit.delivery.steps import Delivery
from bouncekit.outside.builtin import classify
from bouncekit.words.errors import BouncekitError, StoreError
from bouncekit.words.reply import Cause, NoReply, Reply, Stage
from bouncekit.words.status import Action

__all__ = [
    "OutcomeUnknown",
    "RecipientsSuppressed",
    "StoreUnavailable",
    "TlsNotOffered",
    "UnreadableReply",
    "Utf8NotOffered",
    "error_of",
    "session_error",
    "told",
    "unavailable",
    "with_report",
]

_ASKED_NOBODY = frozenset({Cause.LOCAL, Cause.NO_SUCH_DOMAIN, Cause.NULL_MX, Cause.NO_ADDRESS, Cause.OVERDUE})

_Raised = TypeVar("_Raised", bound=BaseException)


class OutcomeUnknown(smtplib.SMTPServerDisconnected):
    """The reply to the final dot never came, or the store's to COMMIT. Sending again may deliver the message twice."""


class UnreadableReply(smtplib.SMTPServerDisconnected, smtplib.SMTPResponseException):
    """What came was no SMTP reply; the connection is closed. `smtp_code` is -1: no code was invented."""

    def __init__(self, answer: NoReply) -> None:
        self.answer = answer
        smtplib.SMTPResponseException.__init__(self, -1, answer.detail.encode("utf-8", "backslashreplace"))

    def __reduce__(self) -> tuple[type["UnreadableReply"], tuple[NoReply], dict[str, object]]:
        return type(self), (self.answer,), self.__dict__


class RecipientsSuppressed(smtplib.SMTPRecipientsRefused):
    """No recipient was tried: each is suppressed, has an address that cannot be, or a domain that takes no mail."""


class TlsNotOffered(smtplib.SMTPNotSupportedError):
    """The server offers no STARTTLS, and we send nothing without."""


class Utf8NotOffered(smtplib.SMTPNotSupportedError):
    """The server offers no SMTPUTF8, without which this message cannot travel (RFC 6531 3.2); others can."""


class StoreUnavailable(BouncekitError, smtplib.SMTPException):
    """The store does not answer, so nobody knows who is suppressed. Nothing was sent.

    Of whom it may have queued, since only its answer was lost, `.report` says `possible_duplicate`.
    """

    report: Report

    def __init__(self, message: str, report: Report) -> None:
        self.report = report
        super().__init__(message)

    def __reduce__(self) -> tuple[type["StoreUnavailable"], tuple[str, Report]]:
        return type(self), (str(self), self.report)


def unavailable(error: StoreError, delivery: Delivery | None) -> StoreUnavailable:
    """What a send raises of a delivery that was not even begun: everybody is delayed, for a reason on our side."""
    why = str(error)
    if delivery is None:
        return StoreUnavailable(why, Report())
    delayed = [
        Settlement(
            recipient=one.address.wire,
            action=Action.DELAYED,
            reply=NoReply(Cause.LOCAL, why),
            possible_duplicate=error.unknown,
            key=one.key,
        )
        for one in delivery.recipients
    ]
    settlements = delayed + refusals(delivery, classify)
    report = Report.of(settlements, message_id=delivery.envelope.message_id, given=delivery.given)
    return StoreUnavailable(why, report)


def with_report(error: _Raised, report: Report) -> _Raised:
    """The error, carrying the report."""
    error.report = report  # type: ignore[attr-defined]  # which every error of a send has
    return error


def error_of(
    report: Report, sender: str, given: Mapping[str, str], *, durable: bool = False
) -> smtplib.SMTPException | None:
    """The exception that smtplib would raise for this result.

    None where somebody was delivered, or waits in the queue; with `durable` also where somebody may have been, and is
    let be. Of whom the store was to keep and could not, the application has to hear.
    """
    if report.is_whole:
        return None
    settlements = report.recipients
    if any(one.action is Action.DELIVERED or one.kept for one in settlements):
        return None
    if durable and any(one.action is Action.UNKNOWN and one.is_final for one in settlements):
        return None
    if not settlements:
        return smtplib.SMTPRecipientsRefused({})
    if any(one.action is Action.UNKNOWN for one in settlements):
        return OutcomeUnknown("the reply to the end of the data never came: the message may have been delivered")
    if any(one.possible_duplicate for one in settlements):
        return OutcomeUnknown("the message may have been delivered, or may be in the queue: nobody had the answer")
    asked = [one for one in settlements if not _local(one)]
    if not asked:
        held_up = any(one.action is Action.DELAYED or one.expired for one in settlements)  # nobody is refused for good
        return (smtplib.SMTPRecipientsRefused if held_up else RecipientsSuppressed)(dict(report))
    for stage in (Stage.END_OF_DATA, Stage.DATA):
        for one in asked:
            if one.stage is stage and isinstance(one.reply, Reply):
                return smtplib.SMTPDataError(one.reply.code, one.reply.raw)
    if lost := next((one.reply for one in asked if isinstance(one.reply, NoReply)), None):
        if lost.cause is Cause.UNSTORED:
            return StoreUnavailable(lost.detail, report)
        return smtplib.SMTPServerDisconnected(str(lost.detail or lost))
    if all(one.stage in (Stage.MAIL, Stage.IDLE) for one in asked):
        reply = asked[0].reply
        if reply is None:  # the server has said beforehand how large a message may be
            return smtplib.SMTPSenderRefused(552, b"5.3.4 larger than the SIZE that the server announced", sender)
        assert isinstance(reply, Reply)
        return smtplib.SMTPSenderRefused(reply.code, reply.raw, sender)
    if all(one.stage is Stage.RCPT for one in asked):
        own = {given.get(one.recipient, one.recipient) for one in settlements if one.individual}
        return smtplib.SMTPRecipientsRefused({address: why for address, why in report.items() if address in own})
    reply = next(one.reply for one in asked if one.stage is not Stage.RCPT)
    assert isinstance(reply, Reply)
    return smtplib.SMTPResponseException(reply.code, reply.raw)


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


def session_error(stage: Stage, answer: Reply | NoReply) -> smtplib.SMTPException:
    """The exception that smtplib would raise for a session that could not be opened."""
    if isinstance(answer, Reply):
        return _OF_STAGE.get(stage, smtplib.SMTPResponseException)(answer.code, answer.raw)
    if answer.cause is Cause.TLS:
        return TlsNotOffered(answer.detail)
    if answer.cause is Cause.LOCAL:
        return smtplib.SMTPNotSupportedError(answer.detail)
    said_goodbye = answer.reply is not None and answer.reply.code in (221, 421)
    if answer.cause in (Cause.PROTOCOL, Cause.UNSOLICITED) and not said_goodbye:
        return UnreadableReply(answer)
    return smtplib.SMTPServerDisconnected(f"Connection unexpectedly closed: {answer.detail}")


_OF_STAGE: Mapping[Stage, type[smtplib.SMTPResponseException]] = {
    Stage.CONNECT: smtplib.SMTPConnectError,
    Stage.EHLO: smtplib.SMTPHeloError,
    Stage.AUTH: smtplib.SMTPAuthenticationError,
}


def _local(settlement: Settlement) -> bool:
    """Whether no server was asked about this recipient."""
    reply = settlement.reply
    asked_nobody = isinstance(reply, NoReply) and reply.cause in _ASKED_NOBODY
    return settlement.action is Action.SUPPRESSED or asked_nobody
