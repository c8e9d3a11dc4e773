"""What a channel is told about one recipient, or about a stream: plain sentences, and the event behind them."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from bouncekit.delivery.events import Event
from bouncekit.delivery.settlement import Settlement
from bouncekit.notify.budgetwords import told_of_stream
from bouncekit.notify.wording import wording_of
from bouncekit.policy.rule import Notice
from bouncekit.policy.suppression import Standing, Suppression
from bouncekit.words.reply import NoReply, Reply
from bouncekit.words.showing import printable
from bouncekit.words.status import Action

__all__ = ["Notification", "compose"]

_WHAT = {
    Action.DELIVERED: "was delivered",
    Action.DELAYED: "is delayed",
    Action.FAILED: "failed",
    Action.SUPPRESSED: "was held back",
    Action.UNKNOWN: "may or may not have arrived",
}
_MAX_SUBJECT = 300  # characters of one that a template makes
_MAX_REPLY = 500
_MAX_NAME = 254


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """One notice on its way to one channel.

    `subject` is one line, `text` a few; what servers wrote in them is escaped. `recipient` is the address that the
    mail was for: whom a callback has to reach in another way; "" where the notice is about a stream of mail. `more`
    counts others that the digest kept back since the notice before, or the channel's limit.
    """

    channel: str
    recipient: str
    subject: str
    text: str
    event: Event
    more: int = 0

    def to_dict(self) -> dict[str, Any]:
        """The notification as JSON-ready values."""
        return {
            "channel": self.channel,
            "recipient": self.recipient,
            "subject": self.subject,
            "text": self.text,
            "more": self.more,
            "event": self.event.to_dict(),
        }


def compose(event: Event, notice: Notice, more: int = 0) -> Notification:
    """The notification that a notice of the policy asks for, about the settlement or the stream of `event`."""
    settlement = event.settlement
    if settlement is None:
        subject, text = told_of_stream(event)
        return Notification(channel=notice.channel, recipient="", subject=subject, text=text, event=event)
    if notice.template is not None:
        subject, text = notice.template.fill(_values(event, settlement, more))
    else:
        subject, text = _headline(settlement), _sentences(event, settlement, more)
    return Notification(
        channel=notice.channel,
        recipient=settlement.recipient,
        subject=printable(subject, limit=_MAX_SUBJECT),
        text=text,
        event=event,
        more=more,
    )


def _values(event: Event, settlement: Settlement, more: int) -> dict[str, str]:
    """What a template's placeholders stand for. All that others wrote is on one line and harmless to a terminal."""
    wording, reply, suppression = wording_of(settlement.category), settlement.reply, settlement.suppression
    held_back = suppression is not None and suppression.standing is not Standing.HELD
    return {
        "recipient": printable(settlement.recipient, limit=_MAX_NAME),
        "category": str(settlement.category or ""),
        "because": wording.because,
        "remedy": wording.remedy,
        "reply": "" if reply is None else printable(str(reply), limit=_MAX_REPLY),
        "code": str(reply.code) if isinstance(reply, Reply) else "",
        "stage": str(settlement.stage or ""),
        "remote_mta": printable(settlement.remote_mta or "", limit=_MAX_NAME),
        "next_try": _time(settlement.retry_at) if settlement.retry_at else "",
        "suppressed_until": _end(suppression) if suppression and held_back else "",
        "more": str(more),
        "message_id": printable(event.message_id or "", limit=_MAX_NAME),
        "rule": settlement.rule or "",
    }


def _sentences(event: Event, settlement: Settlement, more: int) -> str:
    lines = (
        f"{_headline(settlement)}.",
        _reply(settlement),
        _suppression(settlement.suppression),
        _next_try(settlement),
        wording_of(settlement.category).remedy,
        _others(more),
        _source(event, settlement),
    )
    return "\n".join(line for line in lines if line)


def _headline(settlement: Settlement) -> str:
    recipient = printable(settlement.recipient, limit=_MAX_NAME)
    what = _WHAT.get(settlement.action, str(settlement.action))
    return f"Mail to {recipient} {what}: {wording_of(settlement.category).because}"


def _reply(settlement: Settlement) -> str:
    reply = settlement.reply
    if reply is None:
        return ""
    who = printable(settlement.remote_mta, limit=_MAX_NAME) if settlement.remote_mta else "The server"
    at = f" at {settlement.stage}" if settlement.stage else ""
    if isinstance(reply, NoReply):
        detail = f": {printable(reply.detail, limit=_MAX_REPLY)}" if reply.detail else ""
        return f"{who} gave no reply{at} ({reply.cause}{detail})."
    return f"{who} said{at}: {printable(str(reply), limit=_MAX_REPLY)}"


def _suppression(suppression: Suppression | None) -> str:
    if suppression is None or suppression.standing is Standing.HELD:
        return ""
    since = f"No mail goes to this address since {_time(suppression.since)}"
    probe = "" if suppression.expires_at is None else "; then one message tries it again"
    return f"{since}, until {_end(suppression)}{probe}."


def _end(suppression: Suppression) -> str:
    return "somebody lifts that" if suppression.expires_at is None else _time(suppression.expires_at)


def _next_try(settlement: Settlement) -> str:
    return f"The next try is due at {_time(settlement.retry_at)}." if settlement.retry_at else ""


def _others(more: int) -> str:
    if not more:
        return ""
    return f"{more} other{'s' if more > 1 else ''} {'were' if more > 1 else 'was'} not told one by one."


def _source(event: Event, settlement: Settlement) -> str:
    message = f"Message {printable(event.message_id, limit=_MAX_NAME)}. " if event.message_id else ""
    return f"{message}Decided by rule {settlement.rule}." if settlement.rule else message.rstrip()


def _time(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
