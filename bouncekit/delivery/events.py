"""What is told to those who listen: one event for each thing that happened, in the shape of CloudEvents 1.0.

The JSON form is versioned by `SCHEMA`; keys are only ever added within a version. Times are aware and in UTC. An
event's id depends on the attempt, the recipient and the type alone, so the same event told twice has the same id.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import blake2b
from types import MappingProxyType
from typing import Any, TypeAlias

from bouncekit.delivery.settlement import Delivered, Settlement
from bouncekit.meaning.classification import Category, Scope
from bouncekit.policy.suppression import Suppression
from bouncekit.words.envelope import Labels
from bouncekit.words.ondemand import OnDemand
from bouncekit.words.quick import quick
from bouncekit.words.reply import NoReply, Reply, Stage
from bouncekit.words.status import Action

__all__ = [
    "SCHEMA",
    "Deliveries",
    "Event",
    "EventType",
    "Occasion",
    "Told",
    "bounded",
    "event_id",
    "event_of",
    "events_of",
    "show_time",
]

Told: TypeAlias = Mapping[str, Any]  # an event as `Event.to_dict` gives it

SCHEMA = 1
_SOURCE = "bouncekit"
_NO_DETAILS: Mapping[str, Any] = MappingProxyType({})
_MAX_TEXT = 2048  # characters of remote text that an event carries


class EventType(StrEnum):
    """What happened."""

    DELIVERED = "delivered"  # a server took responsibility for one recipient
    DELAYED = "delayed"  # not taken now; `retry_at` says when another try is due
    FAILED = "failed"  # not taken, will not be tried again
    SUPPRESSED = "suppressed"  # skipped: the recipient is on the suppression list
    COMPLAINED = "complained"  # a recipient reported the mail as spam
    UNVERIFIED = "unverified"  # a mail came back that proves nothing
    UNKNOWN = "unknown"  # the reply to the final dot never came
    QUEUED = "queued"  # stored, to be sent by a worker
    SUPPRESSION_ADDED = "suppression_added"
    SUPPRESSION_LIFTED = "suppression_lifted"
    SUPPRESSIONS_IMPORTED = "suppressions_imported"  # a list went in, however many that were: one event for all
    NOTIFIED = "notified"  # a channel was told
    NOT_NOTIFIED = "not_notified"  # a channel was to be told, and it is not set up or failed
    CLOSED = "closed"  # a session ended: after our QUIT, or unasked
    RECONNECTED = "reconnected"  # a session was opened again to go on with what was not settled
    QUEUE_STALLED = "queue_stalled"  # mail has been due for a while, and no worker takes it
    SINK_PARKED = "sink_parked"  # a sink takes no events, for days or for good, and is not tried any more
    GUARD_TRIPPED = "guard_tripped"  # a provider refuses so many alike that its word is not taken: they are held
    SLOWED = "slowed"  # mail to a relay or a provider goes more slowly from now on
    PAUSED = "paused"  # no mail goes to a relay or a provider for a time
    RESUMED = "resumed"  # a trial behind a pause went well: mail goes there again
    BUDGET_WARNED = "budget_warned"  # a stream has used up some of what it may bounce and be complained of
    BUDGET_SLOWED = "budget_slowed"  # its mail goes more slowly
    BUDGET_STOPPED = "budget_stopped"  # its mail waits
    BUDGET_RECOVERED = "budget_recovered"  # it is within its budget again, or somebody let it go on
    POLICY_LOADED = "policy_loaded"  # another policy holds from now on
    POLICY_REFUSED = "policy_refused"  # a policy is faulty, and the one before holds on
    SHADOW_DIFFERED = "shadow_differed"  # a policy on trial would have done otherwise, so many times
    INSECURE_TLS = "insecure_tls"  # a connection whose certificate nobody verified


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Occasion:
    """What the events of one attempt share."""

    attempt_id: str
    at: datetime
    message_id: str | None = None
    sender: str | None = None
    labels: Labels = Labels()
    policy: str = ""
    policy_hash: str = ""
    delivery_id: str | None = None  # ours, of the message; its signed return path has it
    outlet: str | None = None  # the relay that the message goes by: its name, else its host and port


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened.

    `recipient` is None for events about a session. `settlement` has the whole outcome where the event tells one;
    `category`, `reply`, `stage` and the like read from it. `details` holds what only this type has: the channel of a
    notice, what ended a session.
    """

    id: str
    type: EventType
    occasion: Occasion
    recipient: str | None = None
    settlement: Settlement | None = None
    suppression: Suppression | None = None
    details: Mapping[str, Any] = field(default_factory=lambda: _NO_DETAILS)

    @property
    def at(self) -> datetime:
        return self.occasion.at

    @property
    def message_id(self) -> str | None:
        return self.occasion.message_id

    @property
    def action(self) -> Action | None:
        return self.settlement.action if self.settlement else None

    @property
    def category(self) -> Category | None:
        if self.settlement:
            return self.settlement.category
        return self.suppression.category if self.suppression else None

    @property
    def scope(self) -> Scope | None:
        return self.settlement.scope if self.settlement else None

    @property
    def reply(self) -> Reply | NoReply | None:
        return self.settlement.reply if self.settlement else None

    @property
    def stage(self) -> Stage | None:
        return self.settlement.stage if self.settlement else None

    @property
    def rule(self) -> str | None:
        return self.settlement.rule if self.settlement else None

    @property
    def retry_at(self) -> datetime | None:
        return self.settlement.retry_at if self.settlement else None

    def to_dict(self) -> dict[str, Any]:
        """The event as JSON-ready values: a CloudEvents 1.0 envelope around `data`."""
        return {
            "specversion": "1.0",
            "id": self.id,
            "source": _SOURCE,
            "type": str(self.type),
            "subject": bounded(self.recipient) or None,  # CloudEvents knows no empty one
            "time": show_time(self.occasion.at),
            "datacontenttype": "application/json",
            "data": {"schema": SCHEMA, **self._data()},
        }

    def _data(self) -> dict[str, Any]:
        occasion, labels = self.occasion, self.occasion.labels
        data: dict[str, Any] = {
            "attempt_id": occasion.attempt_id,
            "delivery_id": occasion.delivery_id,
            "message_id": bounded(occasion.message_id),
            "sender": bounded(occasion.sender),
            "message_class": bounded(labels.message_class),
            "tenant": bounded(labels.tenant),
            "stream": bounded(labels.stream),
            "test": labels.test,
            "policy": occasion.policy,
            "policy_hash": occasion.policy_hash,
            "outlet": occasion.outlet,
        }
        if self.settlement is not None:
            data |= settlement_data(self.settlement)
        if self.suppression is not None:
            data["suppression"] = suppression_data(self.suppression)
        return data | dict(self.details)


def event_id(attempt_id: str, recipient: str | None, type_: str) -> str:
    """The id of an event: the same for the same attempt, recipient and type, for ever."""
    seed = "\0".join((attempt_id, recipient or "", type_))
    return blake2b(seed.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def event_of(
    type_: EventType,
    occasion: Occasion,
    recipient: str | None = None,
    *,
    settlement: Settlement | None = None,
    suppression: Suppression | None = None,
    details: Mapping[str, Any] = _NO_DETAILS,
) -> Event:
    """What happened on an occasion, under the id that this always has. A settlement says itself whose it is."""
    whose = recipient if settlement is None else settlement.recipient
    return Event(
        id=event_id(occasion.attempt_id, whose, type_),
        type=type_,
        occasion=occasion,
        recipient=whose,
        settlement=settlement,
        suppression=suppression,
        details=details,
    )


def events_of(settlement: Settlement, occasion: Occasion) -> tuple[Event, ...]:
    """The events of one settlement: its action, then what it did to the suppression list.

    A held suppression is none that a subscriber should copy: only the `failed` that it belongs to shows it.
    """
    added, lifted = settlement.suppression, settlement.lifted
    if settlement.category is Category.COMPLAINT:
        told = event_of(EventType.COMPLAINED, occasion, settlement=settlement, suppression=added)
        if added is None:
            return (told,)
        return told, event_of(EventType.SUPPRESSION_ADDED, occasion, settlement=settlement, suppression=added)
    if settlement.action is Action.DELIVERED and lifted is None:
        return (event_of(EventType.DELIVERED, occasion, settlement=settlement),)
    told = event_of(EventType(settlement.action.value), occasion, settlement=settlement, suppression=added)
    if lifted is not None:
        return told, event_of(EventType.SUPPRESSION_LIFTED, occasion, settlement=settlement, suppression=lifted)
    if added is not None and settlement.action is not Action.SUPPRESSED and not settlement.doubted:
        return told, event_of(EventType.SUPPRESSION_ADDED, occasion, settlement=settlement, suppression=added)
    return (told,)


class Deliveries(OnDemand[Event]):
    """The events of recipients of whom there is nothing to tell but that they got the message: one for each."""

    __slots__ = ("occasion", "settlements")

    def __init__(self, settlements: Delivered, occasion: Occasion) -> None:
        self.settlements = settlements
        self.occasion = occasion

    def __len__(self) -> int:
        return len(self.settlements)

    def make(self) -> tuple[Event, ...]:
        """An event for each recipient, as `events_of` makes it."""
        return tuple([event for one in self.settlements for event in events_of(one, self.occasion)])


def bounded(text: str | None) -> str | None:
    """Text from outside, cut, and such as every JSON writer can encode: a lone surrogate shows as its escape."""
    if text is None:
        return None
    return str(text)[:_MAX_TEXT].encode("utf-8", "backslashreplace").decode()[:_MAX_TEXT]


def settlement_data(settlement: Settlement) -> dict[str, Any]:
    """A settlement as JSON-ready values."""
    reply = settlement.reply
    code = reply.code if isinstance(reply, Reply) else None
    enhanced = reply.enhanced if isinstance(reply, Reply) else None
    return {
        "recipient": bounded(settlement.recipient),
        "action": str(settlement.action),
        "category": bounded(settlement.category),
        "scope": bounded(settlement.scope),
        "permanent": settlement.permanent,
        "certain": settlement.certain,
        "code": code,
        "enhanced": str(enhanced) if enhanced else None,
        "reply": None if reply is None else bounded(str(reply)),
        "cause": str(reply.cause) if isinstance(reply, NoReply) else None,
        "stage": bounded(settlement.stage),
        "accepted": settlement.accepted,
        "remote_mta": bounded(settlement.remote_mta),
        "relay": settlement.relay,
        "rule": settlement.rule,
        "where": settlement.where,
        "classified_by": settlement.classified_by,
        "blocklist": settlement.blocklist,
        "fate": bounded(settlement.fate),
        "retry_at": show_time(settlement.retry_at) if settlement.retry_at else None,
        "learned_seconds": settlement.learned.total_seconds() if settlement.learned else None,
        "expired": settlement.expired,
        "attempts": settlement.attempts,
        "possible_duplicate": settlement.possible_duplicate,
        "kept": settlement.kept,
        "fingerprint": settlement.fingerprint,
        "doubted": settlement.doubted,
    }


def suppression_data(suppression: Suppression) -> dict[str, Any]:
    """A suppression as JSON-ready values."""
    evidence = suppression.evidence
    return {
        "key": bounded(suppression.key),
        "address": bounded(suppression.address),
        "standing": str(suppression.standing),
        "category": str(suppression.category),
        "since": show_time(suppression.since),
        "changed_at": show_time(suppression.changed_at),
        "expires_at": show_time(suppression.expires_at) if suppression.expires_at else None,
        "ladder": suppression.ladder,
        "rung": suppression.rung,
        "by": bounded(suppression.by),
        "tenant": bounded(suppression.tenant),
        "stream": bounded(suppression.stream),
        "evidence": {
            "reply": bounded(evidence.reply),
            "stage": evidence.stage,
            "accepted": evidence.accepted,
            "remote_mta": bounded(evidence.remote_mta),
            "rule": evidence.rule,
            "classified_by": evidence.classified_by,
            "policy_hash": evidence.policy_hash,
            "message_id": bounded(evidence.message_id),
            "fingerprint": evidence.fingerprint,
        },
    }


def show_time(at: datetime) -> str:
    """RFC 3339 in UTC with milliseconds."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
