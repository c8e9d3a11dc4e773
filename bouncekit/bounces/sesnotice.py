"""What Amazon SES reports as JSON, in a mail of SNS or as the body of its request: bounce, complaint, delivery.

https://docs.aws.amazon.com/ses/latest/dg/notification-contents.html
"""

import json
from collections.abc import Mapping
from typing import Any

from bouncekit.bounces.diagnostic import read_diagnostic
from bouncekit.bounces.dsn import mailbox, read_status
from bouncekit.bounces.feedback import FeedbackReport
from bouncekit.bounces.incoming import Incoming, Kind, Reported
from bouncekit.words.status import Action

__all__ = ["read_ses_notice"]

MAX_BYTES = 256 * 1024  # SNS carries no more
MAX_RECIPIENTS = 1000

Object = Mapping[str, Any]


def read_ses_notice(text: str) -> Incoming | None:
    """The notice that stands at the start of a text; None where there is none.

    >>> notice = read_ses_notice(
    ...     '{"notificationType": "Bounce", "bounce": {"bouncedRecipients": [{"emailAddress": "jo@example.com",'
    ...     ' "action": "failed", "status": "5.1.1", "diagnosticCode": "smtp; 550 5.1.1 user unknown"}]}}'
    ... )
    >>> notice.kind.value, notice.recipients[0].recipient, str(notice.recipients[0].reply)
    ('bounce', 'jo@example.com', '550 5.1.1 user unknown')
    """
    notice = _object(text)
    if isinstance(notice.get("Message"), str):
        notice = _object(notice["Message"])
    kind = notice.get("notificationType") or notice.get("eventType")
    if kind == "Bounce":
        return _bounce(notice, _inner(notice, "bounce"))
    if kind == "Complaint":
        return _complaint(notice, _inner(notice, "complaint"))
    if kind in ("Delivery", "DeliveryDelay"):
        return _delivery(notice, _inner(notice, "delivery" if kind == "Delivery" else "deliveryDelay"), kind)
    return None


def _bounce(notice: Object, bounce: Object) -> Incoming:
    transient = bounce.get("bounceType") == "Transient"
    recipients = []
    for one in _list(bounce, "bouncedRecipients"):
        recipients += _reported(one, Action.FAILED, f"{bounce.get('bounceType')} {bounce.get('bounceSubType')}")
    delayed = transient and bool(recipients) and all(one.action is Action.DELAYED for one in recipients)
    return _incoming(notice, Kind.DELAY if delayed else Kind.BOUNCE, recipients, bounce)


def _complaint(notice: Object, complaint: Object) -> Incoming:
    recipients = [one for told in _list(complaint, "complainedRecipients") for one in _reported(told, None, "")]
    feedback = FeedbackReport(
        feedback_type=str(complaint.get("complaintFeedbackType") or "abuse")[:40],
        user_agent=str(complaint.get("userAgent") or "") or None,
        recipients=tuple(one.recipient for one in recipients),
    )
    kind = Kind.COMPLAINT if feedback.is_complaint else Kind.OTHER
    return _incoming(notice, kind, recipients, complaint, feedback)


def _delivery(notice: Object, delivery: Object, kind: str) -> Incoming:
    action = Action.DELIVERED if kind == "Delivery" else Action.DELAYED
    given = delivery.get("recipients")
    told = _list(delivery, "delayedRecipients") + [
        {"emailAddress": one} for one in (given[:MAX_RECIPIENTS] if isinstance(given, list) else ())
    ]
    recipients = [one for each in told for one in _reported(each, action, str(delivery.get("smtpResponse") or ""))]
    return _incoming(notice, Kind.SUCCESS if kind == "Delivery" else Kind.DELAY, recipients, delivery)


def _reported(told: Object, action: Action | None, otherwise: str) -> list[Reported]:
    address = mailbox(str(told.get("emailAddress") or "")[:1000])
    if address is None:
        return []
    said = read_diagnostic(str(told.get("diagnosticCode") or otherwise), domain=address.rpartition("@")[2])
    return [
        Reported(
            recipient=address,
            final_recipient=address,
            action=Action.DELAYED if told.get("action") == "delayed" else action,
            status=read_status(str(told.get("status") or "")) or said.status,
            reply=said.reply,
            diagnostic=said.text,
            stage=said.stage,
        )
    ]


def _incoming(
    notice: Object, kind: Kind, recipients: list[Reported], part: Object, feedback: FeedbackReport | None = None
) -> Incoming:
    mail = _inner(notice, "mail")
    headers = _inner(mail, "commonHeaders")
    return Incoming(
        kind=kind,
        recipients=tuple(recipients[:MAX_RECIPIENTS]),
        reader="ses-notice",
        reporting_mta=str(part["reportingMTA"]).partition(";")[2].strip() or None if "reportingMTA" in part else None,
        message_id=str(headers.get("messageId") or "") or None,
        return_path=mailbox(str(mail.get("source") or "")),
        feedback=feedback,
    )


def _object(text: str) -> Object:
    text = text.lstrip()
    if not text.startswith("{"):
        return {}
    try:
        found, _ = json.JSONDecoder().raw_decode(text[:MAX_BYTES])
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _inner(outer: Object, name: str) -> Object:
    found = outer.get(name)
    return found if isinstance(found, dict) else {}


def _list(outer: Object, name: str) -> list[Object]:
    found = outer.get(name)
    return [one for one in found[:MAX_RECIPIENTS] if isinstance(one, dict)] if isinstance(found, list) else []
