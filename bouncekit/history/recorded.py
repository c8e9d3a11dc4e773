"""What the record says of one outcome of mail: an event read for what verdicts hang on, and for nothing else.

Many events are read here, and most replies are alike: what is made of one is remembered.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from types import MappingProxyType, UnionType
from typing import Any

from bouncekit.delivery.events import EventType, Told
from bouncekit.history.retelling import reply_told
from bouncekit.meaning.classification import Category, Classification, Scope, Step
from bouncekit.policy.suppression import Standing
from bouncekit.words.address import Address, parse_address
from bouncekit.words.envelope import Labels, Recipient
from bouncekit.words.errors import AddressError
from bouncekit.words.pseudonym import is_pseudonym
from bouncekit.words.reply import Cause, NoReply, Reply, Stage
from bouncekit.words.status import Action, RecipientStatus

__all__ = ["DROPPED", "LIFTED", "QUEUED", "REMEMBERED", "SKIPPED", "Recorded", "recorded"]


REMEMBERED = 16_384  # replies

_JUDGED = frozenset(
    map(str, (EventType.DELAYED, EventType.FAILED, EventType.UNKNOWN, EventType.COMPLAINED, EventType.DELIVERED))
)
SKIPPED, LIFTED, QUEUED = map(str, (EventType.SUPPRESSED, EventType.SUPPRESSION_LIFTED, EventType.QUEUED))
_DECIDED = frozenset(map(str, (EventType.DELAYED, EventType.FAILED, EventType.UNKNOWN)))
DROPPED = "dropped-by-hand"  # the rule of whom a hand took out of the queue
_BY_NO_POLICY = frozenset({None, "refused-here", DROPPED, "submitted", "sent-again-by-hand", "moved-by-hand"})
# What is read of an event later than here, where nobody asks any more what it is.
_KINDS: Mapping[str, type | UnionType] = MappingProxyType(
    {
        "message_class": str | None,
        "tenant": str,
        "stream": str,
        "sender": str | None,
        "remote_mta": str | None,
        "outlet": str | None,
        "relay": str | None,
        "attempts": int,
        "action": str,
    }
)
_LAST_YEAR = 9000  # a time behind which no wait can be counted
_NOT_ASKED = RecipientStatus(recipient="", action=Action.DELIVERED, stage=Stage.RCPT)
_FINAL = frozenset({Cause.NO_SUCH_DOMAIN, Cause.NULL_MX, Cause.NO_ADDRESS, Cause.LOCAL, Cause.OVERDUE})


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """One outcome of the record, as far as verdicts hang on it."""

    type: str
    at: datetime
    recipient: str
    to: Recipient
    key: tuple[str, str, str]  # tenant, stream, suppression key
    chain: tuple[str, str]  # message and recipient
    attempt: str
    outlet: str  # the relay that it went through, "" where that was not recorded
    labels: Labels
    sender: str
    status: RecipientStatus
    recorded: Classification | None
    action: str
    attempts: int
    expired: bool
    doubted: bool
    is_reported: bool
    is_final: bool
    suppressed_since: datetime | None

    @property
    def is_delivery(self) -> bool:
        return self.type == Action.DELIVERED and self.recorded is None

    @property
    def is_trouble(self) -> bool:
        return self.recorded is not None and self.type != SKIPPED

    @property
    def has_reply(self) -> bool:
        """Whether it can be classified again: of people without addresses, the store has no words of servers either."""
        return self.status.reply is not None and not is_pseudonym(self.recipient)

    @property
    def stage(self) -> Stage | None:
        return self.status.stage

    @property
    def individual(self) -> bool:
        return self.status.individual

    @property
    def remote_mta(self) -> str | None:
        return self.status.remote_mta

    @property
    def domain(self) -> str:
        return self.to.address.domain

    @property
    def said(self) -> str | None:
        return None if self.status.reply is None else str(self.status.reply)


def recorded(told: Told) -> Recorded | None:
    """The outcome that an event tells; None where it tells none, or none that a policy decided.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: it is no event of bouncekit.
    """
    type_ = told["type"]
    if type_ not in _JUDGED and type_ not in (SKIPPED, LIFTED, QUEUED):
        return None
    data = told["data"]
    if any(name in data and not isinstance(data[name], kind) for name, kind in _KINDS.items()):
        raise TypeError("a value that no event of ours has")
    recipient = _whom(type_, data)
    to = None if recipient is None else _somebody(recipient)
    if recipient is None or to is None:
        return None
    labels = _labels(data["message_class"], data["tenant"], data["stream"], data["test"])
    status, recorded = _judged(data) if type_ != LIFTED else (_NOT_ASKED, None)
    message = data.get("delivery_id") or data["message_id"] or data["attempt_id"]
    listed = data.get("suppression") or {}
    return Recorded(
        type=type_,
        at=_time(told["time"]),
        recipient=recipient,
        to=to,
        key=(labels.tenant, labels.stream, to.key),
        chain=(message, recipient),
        attempt=data["attempt_id"],
        outlet=data.get("relay") or data.get("outlet") or "",
        labels=labels,
        sender=data.get("sender") or "",
        status=status,
        recorded=recorded,
        action=data.get("action", ""),
        attempts=data.get("attempts", 0),
        expired=data.get("expired", False),
        doubted=data.get("doubted", False),
        is_reported="reported_by" in data or type_ == EventType.COMPLAINED,
        is_final=data.get("retry_at") is None,
        suppressed_since=_since(listed) if type_ == SKIPPED else None,
    )


def _whom(type_: str, data: Told) -> str | None:
    """Whom an event is about; None where no policy has decided about anybody."""
    if type_ == LIFTED:
        if "action" in data or not data.get("suppression"):
            return None  # by a success, which the delivery tells
        return data["suppression"]["address"] or ""
    if type_ in _DECIDED and data["rule"] in _BY_NO_POLICY:
        return None
    recipient: str = data["recipient"]
    return recipient


def _since(listed: Mapping[str, Any]) -> datetime | None:
    """When the suppression of the record was made by verdicts; None for one by hand, which no policy makes."""
    if not listed or listed["standing"] == Standing.MANUAL:
        return None
    return _time(listed["since"])


def _time(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    if at.tzinfo is None or at.year > _LAST_YEAR:
        raise ValueError(f"{text[:40]!r} is no time of an event")
    return at


def _judged(data: Mapping[str, Any]) -> tuple[RecipientStatus, Classification | None]:
    """The status of a recorded outcome and what it was taken for; no verdict for a plain delivery."""
    return _status_told(
        *(data[name] for name in ("action", "reply", "code", "cause", "stage", "accepted", "remote_mta")),
        *(data[name] for name in ("category", "scope", "permanent", "certain", "classified_by")),
    )


@lru_cache(maxsize=REMEMBERED)
def _status_told(
    action: str,
    text: str | None,
    code: int | None,
    cause: str | None,
    stage: str | None,
    accepted: int,
    remote_mta: str | None,
    category: str | None,
    scope: str | None,
    permanent: bool | None,
    certain: bool | None,
    by: str | None,
) -> tuple[RecipientStatus, Classification | None]:
    reply = reply_told({"reply": text, "code": code, "cause": cause})
    at = Stage(stage) if stage else Stage.RCPT
    status = RecipientStatus(
        recipient="",
        action=_action(action, reply),
        stage=at,
        reply=reply,
        accepted=accepted,
        # Not recorded: one reply to the data of several is about all of them.
        individual=accepted <= 1 or at is not Stage.END_OF_DATA,
        remote_mta=remote_mta,
    )
    if category is None:
        return status, None
    return status, Classification(
        status=status,
        category=Category(category),
        scope=Scope(scope) if scope else None,
        permanent=bool(permanent),
        certain=bool(certain),
        step=Step.NO_REPLY,
        rule=by or "",
        where="",
    )


def _action(recorded: str, reply: Reply | NoReply | None) -> Action:
    """What the transaction said, before any policy: only nobody knowing is the record's word."""
    if recorded == Action.UNKNOWN:
        return Action.UNKNOWN
    if isinstance(reply, Reply):
        return Action.FAILED if reply.is_permanent else Action.DELAYED
    return Action.FAILED if reply is not None and reply.cause in _FINAL else Action.DELAYED


@lru_cache(maxsize=REMEMBERED)
def _somebody(address: str) -> Recipient | None:
    """Whom an event is about, also by a pseudonym; None for what never was an address."""
    if is_pseudonym(address):
        return Recipient(address=Address(address, "", False), key=address.partition(".")[0])
    try:
        return Recipient.of(parse_address(address))
    except AddressError:
        return None


@lru_cache(maxsize=1024)
def _labels(message_class: str | None, tenant: str, stream: str, test: bool) -> Labels:
    return Labels(message_class=message_class, tenant=tenant, stream=stream, test=test)
