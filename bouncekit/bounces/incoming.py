"""What a mail that came back is, and what it reports of each recipient (RFC 3464, 3834, 5965, 8098)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from bouncekit.bounces.feedback import FeedbackReport
from bouncekit.words.quick import quick
from bouncekit.words.reply import EnhancedStatusCode, NoReply, Reply, Stage
from bouncekit.words.status import Action, RecipientStatus

__all__ = ["Incoming", "Kind", "Reported", "statuses"]


class Kind(StrEnum):
    """What a mail is."""

    BOUNCE = "bounce"  # somebody did not get it
    DELAY = "delay"  # somebody has not got it yet
    SUCCESS = "success"  # it was delivered, relayed or expanded, as somebody had asked to be told
    COMPLAINT = "complaint"  # a recipient says that it is spam, or wants no more
    AUTO_REPLY = "auto_reply"  # out of office and the like
    DISPOSITION = "disposition"  # it was shown, or deleted unread (RFC 8098); says nothing about delivery
    CHALLENGE = "challenge"  # a filter asks the sender to prove that he is a person
    OTHER = "other"  # none of these, or nobody could tell


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Reported:
    """What is reported of one recipient; None or "" where nothing is.

    `recipient` is the address that we sent to, as well as it is known: the one that `sent_to` has, else the original
    one, else the final one. `diagnostic` is what was said, on one line, also where there is no reply code in it.
    `named` is False where the mail names nobody as failed, and this is only whom the returned message was for.
    """

    recipient: str
    final_recipient: str | None = None
    original_recipient: str | None = None
    action: Action | None = None
    status: EnhancedStatusCode | None = None
    reply: Reply | NoReply | None = None
    diagnostic: str = ""
    stage: Stage | None = None  # the command that was answered, where that was said
    remote_mta: str | None = None
    will_retry_until: datetime | None = None
    named: bool = True


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """One mail, read. Everything in it was written by strangers: it can be forged (RFC 3464 4.1).

    `message_id`, `return_path` and `x_headers` are those of the returned message, `delivered_to` are the addresses
    that this mail itself was sent to: a signed return path (VERP) stands there. `reader` names what read it:
    `delivery-status`, `feedback-report`, or whose text it is (`qmail`, `exim` ...).
    """

    kind: Kind
    recipients: tuple[Reported, ...] = ()
    reader: str = ""
    reporting_mta: str | None = None
    envelope_id: str | None = None
    arrival_at: datetime | None = None
    message_id: str | None = None
    return_path: str | None = None
    x_headers: Mapping[str, str] = field(default_factory=dict)  # names in lower case
    delivered_to: tuple[str, ...] = ()
    subject: str = ""
    feedback: FeedbackReport | None = None


def statuses(incoming: Incoming) -> tuple[RecipientStatus, ...]:
    """What is reported of each recipient in the terms of a transaction, for the classifier; none of a complaint.

    A report does not say how many recipients the server had accepted before: one is assumed, as for any reply that
    nobody has counted. One that names nobody is not about its recipient alone: so it suppresses nobody.
    """
    if incoming.kind not in (Kind.BOUNCE, Kind.DELAY, Kind.SUCCESS):
        return ()
    together = len(incoming.recipients) > 1
    return tuple(_status(one, together=together) for one in incoming.recipients)


def _status(one: Reported, *, together: bool) -> RecipientStatus:
    behind_data = one.stage in (Stage.DATA, Stage.END_OF_DATA)
    return RecipientStatus(
        recipient=one.recipient,
        action=one.action or Action.FAILED,
        stage=one.stage or Stage.RCPT,
        reply=one.reply,
        accepted=1,
        individual=one.named and not (together and behind_data),
        remote_mta=one.remote_mta,
        status=one.status,
        diagnostic="" if one.reply is not None else one.diagnostic,
    )
