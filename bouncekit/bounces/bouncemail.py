"""What a mail that came back says: bytes in, an `Incoming` out (RFC 3464, 3834, 5965, 6522, 6533, 8098).

Structure comes first: a part with a status report or a feedback report is taken at its word. Without one, the text is
read as MTAs write it for people; there an address counts only where the mail names it as failed, or where we have
sent to it, and rather none than a wrong one. No mail raises, whatever is in it; `mimepart`
has the limits.
"""

import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace

from bouncekit.bounces.autoreply import is_auto_reply, is_challenge
from bouncekit.bounces.bouncetext import Named, is_delay, is_failure
from bouncekit.bounces.diagnostic import Diagnostic, read_diagnostic
from bouncekit.bounces.dsn import DeliveryStatus, RecipientFields, mailbox, read_delivery_status
from bouncekit.bounces.feedback import FeedbackReport, is_redacted, read_feedback
from bouncekit.bounces.incoming import Incoming, Kind, Reported
from bouncekit.bounces.mimepart import Part
from bouncekit.bounces.openedmail import OpenedMail
from bouncekit.bounces.sesnotice import read_ses_notice
from bouncekit.words.reply import EnhancedStatusCode, NoReply, Reply
from bouncekit.words.status import Action

__all__ = ["SecondReader", "read_mail"]

# Another reader of bounces: the mail's bytes in, addresses that failed out. Asked only where we found nobody.
SecondReader = Callable[[bytes], Collection[str]]

_FEEDBACK_TYPES = frozenset({"message/feedback-report"})
_STATUS_TYPES = frozenset({"message/delivery-status", "message/global-delivery-status"})
_DISPOSITION_TYPES = frozenset({"message/disposition-notification", "message/global-disposition-notification"})
_STATUS_IN_TEXT = re.compile(r"^[ >]{0,4}Final-Recipient[ \t]*:", re.IGNORECASE | re.MULTILINE).search
_STATUS_START = re.compile(
    r"^[ >]{0,4}(?:Reporting-MTA|Original-Envelope-Id|Original-Recipient|Final-Recipient|Action)[ \t]*:",
    re.IGNORECASE | re.MULTILINE,
).search
_CONTINUED = re.compile(r"[^;]{0,40};\s*([45][0-9][0-9])-").match
_GIVEN_UP = "envelope expired"  # OpenSMTPD gives up with these words, and calls it delayed


def read_mail(
    content: bytes, *, sent_to: Collection[str] | None = None, second_reader: SecondReader | None = None
) -> Incoming:
    r"""The mail, read.

    `sent_to` are the addresses that the message in question went to, where that is known: it settles who is meant
    where a mail was forwarded, and lets a text count that names nobody else. `second_reader` is asked for addresses
    where a bounce names nobody that we could find.

    >>> mail = read_mail(
    ...     b"From: MAILER-DAEMON@mx.example.org\nSubject: failure notice\n\n"
    ...     b"Hi. This is the qmail-send program at mx.example.org.\n\n"
    ...     b"<jo@example.com>:\nRemote host said: 552 5.2.2 Mailbox full\n"
    ... )
    >>> mail.kind.value, mail.recipients[0].recipient, str(mail.recipients[0].reply)
    ('bounce', 'jo@example.com', '552 5.2.2 Mailbox full')

    Raises:
        TypeError: the content is no bytes.
    """
    if not isinstance(content, bytes):
        raise TypeError(f"a mail's bytes are needed, as it arrived; {type(content).__name__} is something else")
    mail = OpenedMail(content, sent_to or ())
    if report := mail.first(_FEEDBACK_TYPES):
        return _complaint(mail, read_feedback(_plain(report)))
    if mail.first(_DISPOSITION_TYPES):
        return _other(mail, Kind.DISPOSITION)
    if (status := _status_report(mail)) and (found := _bounce_of(mail, status)):
        return found
    if notice := read_ses_notice(mail.text):
        return notice
    if feedback := _provider_feedback(mail):
        return _complaint(mail, feedback)
    if found := _bounce_in_text(mail, second_reader):
        return found
    if is_challenge(mail.headers, mail.text):
        return _other(mail, Kind.CHALLENGE)
    return _other(mail, Kind.AUTO_REPLY if is_auto_reply(mail.headers) else Kind.OTHER)


def _plain(part: Part) -> str:
    return part.content.decode("utf-8", "replace")


def _status_report(mail: OpenedMail) -> DeliveryStatus | None:
    """The report in its part, or in the text of those who write its fields there."""
    if parts := [part for part in mail.parts if part.content_type in _STATUS_TYPES]:
        return read_delivery_status("\n\n".join(map(_plain, parts[:5])))
    if _STATUS_IN_TEXT(mail.text) and (start := _STATUS_START(mail.text)):
        return read_delivery_status(mail.text[start.start() :])
    return None


def _bounce_of(mail: OpenedMail, status: DeliveryStatus) -> Incoming | None:
    """What a status report says, or None where it names nobody that we could tell."""
    named = [fields for fields in status.recipients if fields.final_recipient or fields.original_recipient]
    if not named and status.recipients:
        named = _named_elsewhere(mail, status.recipients)
    if not named:
        return None
    own = _each_once(named)
    reported = tuple(_reported(mail, fields, alone=len(own) == 1) for fields in own)
    return _incoming(mail, _kind_of(reported), reported, reader="delivery-status", status=status)


def _each_once(named: list[RecipientFields]) -> list[RecipientFields]:
    """Each address once; the first report of it holds."""
    own: dict[str, RecipientFields] = {}
    for fields in named:
        own.setdefault((fields.final_recipient or fields.original_recipient or "").lower(), fields)
    return list(own.values())


def _named_elsewhere(mail: OpenedMail, recipients: tuple[RecipientFields, ...]) -> list[RecipientFields]:
    """A report whose recipient is a file or a pipe, for the address that X-Failed-Recipients or the text names."""
    addresses = mail.failed or [named.address for named in _named(mail)]
    if len(addresses) != len(recipients):
        return []
    return [replace(fields, final_recipient=address) for fields, address in zip(recipients, addresses, strict=True)]


def _reported(mail: OpenedMail, fields: RecipientFields, *, alone: bool) -> Reported:
    recipient = _recipient(mail, fields)
    said = _said(mail, fields, recipient, alone=alone)
    action = fields.action or _action_of(fields, mail)
    if action is Action.DELAYED and _GIVEN_UP in mail.text.lower():
        action = Action.FAILED
    return Reported(
        recipient=recipient,
        final_recipient=fields.final_recipient,
        original_recipient=fields.original_recipient,
        action=action,
        status=_surer(fields.status, said.status),
        reply=said.reply,
        diagnostic=said.text or _comment(fields.fields.get("status", "")),
        stage=said.stage,
        remote_mta=fields.remote_mta,
        will_retry_until=fields.will_retry_until,
    )


def _recipient(mail: OpenedMail, fields: RecipientFields) -> str:
    """The address that we sent to."""
    candidates = [address for address in (fields.original_recipient, fields.final_recipient) if address]
    return next((address for address in candidates if address.lower() in mail.sent_to), candidates[0])


def _said(mail: OpenedMail, fields: RecipientFields, recipient: str, *, alone: bool) -> Diagnostic:
    """What was said of a recipient: in the report, else in the text, where that says more."""
    domain = (fields.final_recipient or recipient).rpartition("@")[2]
    said = read_diagnostic(fields.diagnostic, domain=domain)
    if said.text and not _is_cut(fields.diagnostic):
        return said
    known = dict.fromkeys(filter(None, (fields.final_recipient, fields.original_recipient)))
    notes = [note for address in known for note in mail.notice.about(address, alone=alone)]
    told = _best(notes, domain)
    if told is None or (told.reply is None and told.text == " ".join(mail.text.split())):
        return said  # a text that is about nobody in particular says less than the report
    if said.reply is None:
        return told
    return told if _same(said.reply, told.reply) else said


def _best(notes: Iterable[str], domain: str) -> Diagnostic | None:
    """Of several notes the first that quotes a reply, else the first that is more than a heading: "Reason:"."""
    first = None
    for note in notes:
        said = read_diagnostic(note, domain=domain)
        if isinstance(said.reply, Reply):
            return said
        if first is None or first.text.endswith(":"):
            first = said
    return first


def _is_cut(diagnostic: str) -> bool:
    """Whether a diagnostic is only the first line of a longer reply: sendmail quotes no more."""
    found = _CONTINUED(diagnostic)
    return found is not None and diagnostic.count(found[1]) == 1


def _same(said: Reply | NoReply, told: Reply | NoReply | None) -> bool:
    return isinstance(said, Reply) and isinstance(told, Reply) and said.code == told.code


def _surer(stated: EnhancedStatusCode | None, said: EnhancedStatusCode | None) -> EnhancedStatusCode | None:
    """The stated status; X.0.0 yields to any better one (RFC 3463 3.1)."""
    if stated is None or (stated[1:] == (0, 0) and said is not None and said.class_ == stated.class_):
        return said or stated
    return stated


def _comment(status: str) -> str:
    """What stands in brackets behind a status: `5.0.0 (Remote SMTP server has rejected address)`."""
    start, end = status.find("("), status.rfind(")")
    return " ".join(status[start + 1 : end].split()) if 0 <= start < end else ""


def _action_of(fields: RecipientFields, mail: OpenedMail) -> Action:
    """The action of a report that states none."""
    if fields.status is not None and fields.status.class_ == 2:
        return Action.DELIVERED
    return Action.DELAYED if is_delay(f"{mail.subject}\n{mail.text}") else Action.FAILED


def _kind_of(reported: Iterable[Reported]) -> Kind:
    actions = {one.action for one in reported}
    if Action.FAILED in actions:
        return Kind.BOUNCE
    return Kind.DELAY if Action.DELAYED in actions else Kind.SUCCESS


def _bounce_in_text(mail: OpenedMail, second_reader: SecondReader | None) -> Incoming | None:
    """What a mail without a report says, where it is a bounce at all."""
    shape = mail.notice.shape
    if mail.is_an_answer or not (mail.failed or shape or mail.first(_STATUS_TYPES) or _is_bounce(mail)):
        return None
    named = tuple(map(Named, mail.failed)) or _meant(mail, second_reader)
    if not named and not shape and is_auto_reply(mail.headers):
        return None
    delayed = is_delay(f"{mail.subject}\n{mail.text}")
    reported = tuple(_told(mail, one, delayed=delayed, alone=len(named) == 1) for one in named)
    return _incoming(mail, Kind.DELAY if delayed else Kind.BOUNCE, reported, reader=shape or "text")


def _is_bounce(mail: OpenedMail) -> bool:
    """Whether it speaks of failure; an automatic answer does so only in its subject."""
    return mail.speaks_of_failure and (is_failure(mail.subject) or not is_auto_reply(mail.headers))


def _named(mail: OpenedMail) -> tuple[Named, ...]:
    """Whom the text names, without those whose mail it is, and without who is only offered as a contact."""
    if named := mail.notice.named(but=mail.is_somebody_else):
        return named
    if mail.notice.shape is None:
        return ()
    return tuple(one for one in mail.notice.named() if one.is_sure)  # who wrote to himself


def _meant(mail: OpenedMail, second_reader: SecondReader | None) -> tuple[Named, ...]:
    """Whom the text names; else who was sent to and stands in it; else the only one whom the message was for."""
    if named := _named(mail):
        return named
    folded = mail.text.lower()
    if known := [address for key, address in mail.sent_to.items() if key in folded]:
        return tuple(map(Named, known))
    if second_reader is not None:
        found = sorted(filter(None, map(mailbox, second_reader(mail.content))))
        if more := [address for address in found if not mail.is_somebody_else(address)]:
            return tuple(map(Named, more))
    only = mail.only_recipient
    return (Named(only, is_sure=False, is_named=False),) if only else ()


def _told(mail: OpenedMail, named: Named, *, delayed: bool, alone: bool) -> Reported:
    notes = mail.notice.about(named.address, alone=alone)
    said = _best(notes, named.address.rpartition("@")[2]) or Diagnostic()
    return Reported(
        recipient=named.address,
        final_recipient=named.address,
        action=Action.DELAYED if delayed else Action.FAILED,
        status=said.status,
        reply=said.reply,
        diagnostic=said.text,
        stage=said.stage,
        named=named.is_named,
    )


def _provider_feedback(mail: OpenedMail) -> FeedbackReport | None:
    """Complaints of providers that write no ARF: Outlook.com's programme, and Apple Mail's unsubscribing."""
    subject = mail.subject.strip().lower()
    if subject.startswith("complaint about message from"):
        recipient = mailbox(mail.returned.get("x-hmxmroriginalrecipient")) or mail.only_recipient
        return FeedbackReport(recipients=(recipient,) if recipient else ())
    if "x-apple-unsubscribe" in mail.headers or (subject == "unsubscribe" and "auto-submitted" in mail.headers):
        sender = mailbox(mail.headers.get("from"))
        return FeedbackReport(feedback_type="opt-out", recipients=(sender,) if sender else ())
    return None


def _complaint(mail: OpenedMail, feedback: FeedbackReport) -> Incoming:
    recipients = feedback.recipients or tuple(filter(None, (mail.only_recipient if "to" in mail.returned else None,)))
    reported = tuple(Reported(recipient=one, original_recipient=one) for one in recipients if not is_redacted(one))
    kind = Kind.COMPLAINT if feedback.is_complaint else Kind.OTHER
    return _incoming(mail, kind, reported, reader="feedback-report", feedback=feedback)


def _other(mail: OpenedMail, kind: Kind) -> Incoming:
    return _incoming(mail, kind, (), reader="header")


def _incoming(
    mail: OpenedMail,
    kind: Kind,
    recipients: tuple[Reported, ...],
    *,
    reader: str,
    status: DeliveryStatus | None = None,
    feedback: FeedbackReport | None = None,
) -> Incoming:
    status = status or DeliveryStatus()
    return Incoming(
        kind=kind,
        recipients=recipients,
        reader=reader,
        reporting_mta=status.reporting_mta,
        envelope_id=status.envelope_id or (feedback.envelope_id if feedback else None),
        arrival_at=status.arrival_at or (feedback.arrival_at if feedback else None),
        message_id=mail.returned.get("message-id").strip() or None,
        return_path=mailbox(mail.returned.get("return-path")) or (feedback.original_mail_from if feedback else None),
        x_headers=mail.x_headers,
        delivered_to=mail.delivered_to,
        subject=mail.subject,
        feedback=feedback,
    )
