"""Whether a mail that came back is about one that we sent, and what is reported of whom (RFC 3464 4.1).

Anybody can write a bounce. It counts where it was sent to a return path that we signed, or, where none are signed,
where it names a message that we did send to this recipient, not long ago. What proves nothing suppresses nobody.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Any

from bouncekit.bounces.incoming import Incoming, Kind, statuses
from bouncekit.bounces.verp import ReturnPath, Trust
from bouncekit.delivery.steps import Delivery
from bouncekit.meaning.classification import Category, Classification, Scope, Step
from bouncekit.words.address import parse_address, suppression_key
from bouncekit.words.envelope import Envelope, Labels, Recipient
from bouncekit.words.errors import AddressError
from bouncekit.words.reply import Stage
from bouncekit.words.status import Action, RecipientStatus

__all__ = ["Returned", "Sent", "Unverified", "complaint", "named", "returned", "sent_of"]

LASTS = timedelta(days=14)  # how long a bounce may take: five days of tries, and as long again for itself
_LONG_AGO = timedelta(days=365)
_MOST = 100  # recipients of one mail that are looked at


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """That we sent a message to a mailbox, and what became of it by the latest news."""

    message_id: str | None
    delivery_id: str | None
    recipient: str
    sender: str
    action: Action
    at: datetime
    sent_at: datetime | None  # by the latest news that no mail brought
    labels: Labels = Labels()
    is_reported: bool = False  # by a mail that came back, and not by the server that we spoke to
    is_complained_of: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Returned:
    """News about one recipient of a message that we sent; the same news has the same `attempt_id`.

    `is_forgiven` says that its stream's budget has begun anew since it was sent: it takes nothing from that.
    """

    delivery: Delivery
    status: RecipientStatus
    attempt_id: str
    sent_at: datetime
    is_forgiven: bool = False
    is_complaint: bool = False
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_final(self) -> bool:
        """Whether it ends the message's way to this recipient."""
        return self.status.action is not Action.DELAYED and not self.is_complaint


@dataclass(frozen=True, slots=True, kw_only=True)
class Unverified:
    """News that proves nothing, and why."""

    recipient: str | None
    why: str
    details: Mapping[str, Any] = field(default_factory=dict)


def named(incoming: Incoming) -> dict[str, str]:
    """The recipients that a mail is about, and the key of each one's mailbox."""
    found = {}
    for one in incoming.recipients[:_MOST]:
        try:
            found[one.recipient] = suppression_key(parse_address(one.recipient).wire)
        except AddressError:
            continue
    return found


def sent_of(history: Iterable[Mapping[str, Any]]) -> list[Sent]:
    """What the events of one mailbox, newest first, say of messages to it: the latest of each message."""
    found: dict[tuple[str | None, str | None], Sent] = {}
    for event in history:
        data = event["data"]
        if not data.get("action") or not (data.get("message_id") or data.get("delivery_id")):
            continue
        if data["action"] == Action.SUPPRESSED or not data.get("stage"):
            continue  # nobody sent it, or not yet
        labels = Labels(
            message_class=data["message_class"], tenant=data["tenant"], stream=data["stream"], test=data["test"]
        )
        one = Sent(
            message_id=data["message_id"],
            delivery_id=data.get("delivery_id"),
            recipient=data["recipient"],
            sender=data["sender"] or "",
            action=Action(data["action"]),
            at=datetime.fromisoformat(event["time"]),
            sent_at=None if "reported_by" in data else datetime.fromisoformat(event["time"]),
            labels=labels,
            is_reported="reported_by" in data,
            is_complained_of=data["category"] == Category.COMPLAINT,
        )
        later = found.setdefault((one.delivery_id, one.message_id), one)
        if later.sent_at is None:
            found[one.delivery_id, one.message_id] = replace(later, sent_at=one.sent_at)
    return list(found.values())


def returned(
    incoming: Incoming,
    keys: Mapping[str, str],
    sent: Mapping[str, Sequence[Sent]],
    path: ReturnPath | None,
    *,
    at: datetime,
) -> list[Returned | Unverified]:
    """The news in a mail, each with what it proves.

    `keys` are those of `named`, `sent` has by key what was sent there. `path` is what the address that the mail was
    sent to proves; None where return paths are not signed.
    """
    details = _details(incoming)
    found: list[Returned | Unverified] = []
    for status in _told(incoming)[:_MOST]:
        if status.recipient not in keys:
            found.append(Unverified(recipient=status.recipient, why="no address that mail can be sent to"))
            continue
        ours = _the_one(incoming, sent.get(keys[status.recipient], ()), path)
        why = _doubt(status, ours, path, at)
        if why or ours is None:
            found.append(Unverified(recipient=status.recipient, why=why, details=details))
        elif not (ours.is_complained_of if incoming.kind is Kind.COMPLAINT else _is_old_news(status, ours)):
            news = _news(status, ours, keys[status.recipient], details, path)
            found.append(replace(news, is_complaint=incoming.kind is Kind.COMPLAINT))
    return found


def complaint(status: RecipientStatus) -> Classification:
    """What a recipient's complaint means: that he wants no more (RFC 5965)."""
    return Classification(
        status=status,
        category=Category.COMPLAINT,
        scope=Scope.RECIPIENT,
        permanent=True,
        certain=True,
        step=Step.CODE,
        rule="feedback-report",
        where="RFC 5965",
    )


def _told(incoming: Incoming) -> tuple[RecipientStatus, ...]:
    if incoming.kind is not Kind.COMPLAINT:
        return statuses(incoming)
    return tuple(
        RecipientStatus(recipient=one.recipient, action=Action.DELIVERED, stage=Stage.END_OF_DATA)
        for one in incoming.recipients
    )


def _the_one(incoming: Incoming, sent: Sequence[Sent], path: ReturnPath | None) -> Sent | None:
    """The message that a mail is about, of those that were sent to a mailbox."""
    ids = {path.delivery_id if path else None, incoming.envelope_id} - {None}
    for one in sent:
        if one.delivery_id in ids:
            return one
    message_id = incoming.message_id
    return next((one for one in sent if message_id and one.message_id == message_id), None)


def _doubt(status: RecipientStatus, ours: Sent | None, path: ReturnPath | None, at: datetime) -> str:
    """Why a piece of news proves nothing; "" where it does."""
    if path is not None and path.trust is not Trust.SIGNED:
        return f"the return path it was sent to is {path.trust}"
    if path is not None and not path.is_for(status.recipient):
        return "the return path it was sent to was made for another recipient"
    if ours is None:
        return "no such message was sent to this recipient"
    if path is not None and ours.delivery_id != path.delivery_id:
        return "the return path it was sent to was made for another message"
    if at - ours.at > LASTS:
        return "the message was sent too long ago"
    return ""


def _is_old_news(status: RecipientStatus, ours: Sent) -> bool:
    """Whether more is known already: a soft report never overwrites a hard one, and nobody fails twice."""
    if ours.action is Action.FAILED:
        return True
    return status.action is Action.DELAYED and ours.is_reported


def _news(
    status: RecipientStatus, ours: Sent, key: str, details: Mapping[str, Any], path: ReturnPath | None
) -> Returned:
    if status.action in (Action.RELAYED, Action.EXPANDED):
        status = replace(status, action=Action.DELIVERED)
    address = parse_address(ours.recipient)
    sender = parse_address(ours.sender)
    message = ours.delivery_id or ours.message_id or ""
    return Returned(
        delivery=Delivery(
            id=ours.delivery_id or "",
            envelope=Envelope(sender=sender, recipients=(address,), content=b"", message_id=ours.message_id),
            recipients=(
                # Whoever reports has tried for as long as he does: a temporary cause is the last one.
                Recipient(address=address, key=key, attempts=1, first_attempt_at=ours.at - _LONG_AGO, repeats=1),
            ),
            labels=ours.labels,
        ),
        status=replace(status, recipient=address.wire),
        sent_at=ours.sent_at or ours.at,
        attempt_id=blake2b(f"{message}\0{key}\0returned".encode("utf-8", "surrogatepass"), digest_size=16).hexdigest(),
        details={**details, "trust": "signed" if path is not None else "known"},
    )


def _details(incoming: Incoming) -> dict[str, Any]:
    return {"reported_by": (incoming.reporting_mta or incoming.reader or "a mail")[:255]}
