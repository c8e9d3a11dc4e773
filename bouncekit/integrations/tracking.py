"""Events in the words of Anymail, for code that was written for its tracking signal (django-anymail 13, `signals.py`).

Anymail has no word for who is to blame and none for what is unknown: its events say less than ours. `esp_event` has
the whole of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType

from bouncekit.delivery.events import Event, EventType
from bouncekit.meaning.classification import Category
from bouncekit.words.reply import NoReply

__all__ = ["ESP_NAME", "TrackingEvent", "tracking_event"]

ESP_NAME = "bouncekit"

_TYPES: Mapping[EventType, str] = MappingProxyType(
    {
        EventType.QUEUED: "queued",
        EventType.DELIVERED: "sent",  # a server took it over, most often our relay: no word of the mailbox yet
        EventType.DELAYED: "deferred",
        EventType.FAILED: "bounced",  # "failed" where no server said so
        EventType.SUPPRESSED: "rejected",
        EventType.COMPLAINED: "complained",
        EventType.UNKNOWN: "unknown",
    }
)
_REFUSALS = ("bounced", "rejected", "failed", "complained")  # which have a reason
_REASONS: Mapping[Category, str] = MappingProxyType(
    {
        Category.INVALID_ADDRESS: "invalid",
        Category.BAD_DOMAIN: "invalid",
        Category.USER_UNKNOWN: "bounced",
        Category.MAILBOX_DISABLED: "bounced",
        Category.MAILBOX_FULL: "bounced",
        Category.MOVED: "bounced",
        Category.SUPPRESSED: "bounced",
        Category.RECIPIENT_FILTERED: "blocked",
        Category.SENDER_REJECTED: "blocked",
        Category.SENDER_AUTH: "blocked",
        Category.BLOCKLISTED: "blocked",
        Category.POLICY: "blocked",
        Category.SPAM_CONTENT: "spam",
        Category.COMPLAINT: "spam",
        Category.EXPIRED: "timed_out",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackingEvent:
    """An event with the attributes of an `AnymailTrackingEvent`.

    `reject_reason` is None where nothing was refused. `metadata` has tenant and stream, `tags` the message's class.
    """

    event_type: str
    timestamp: datetime
    event_id: str
    recipient: str
    message_id: str | None = None
    reject_reason: str | None = None
    description: str | None = None
    mta_response: str | None = None
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    esp_event: Event
    click_url: str | None = None  # nobody clicks here
    user_agent: str | None = None


def tracking_event(event: Event) -> TrackingEvent | None:
    """The event as Anymail would tell it; None where it has no word for it, as for all that is about no recipient."""
    type_ = _TYPES.get(event.type)
    if type_ is None or event.recipient is None:
        return None
    if event.type is EventType.FAILED and isinstance(event.reply, NoReply):
        type_ = "failed"
    labels = event.occasion.labels
    return TrackingEvent(
        event_type=type_,
        timestamp=event.at,
        event_id=event.id,
        recipient=event.recipient,
        message_id=event.message_id,
        reject_reason=_reason(event) if type_ in _REFUSALS else None,
        description=event.category.value if event.category else None,
        mta_response=str(event.reply) if event.reply is not None else None,
        tags=(labels.message_class,) if labels.message_class else (),
        metadata={name: text for name, text in (("tenant", labels.tenant), ("stream", labels.stream)) if text},
        esp_event=event,
    )


def _reason(event: Event) -> str:
    if event.settlement is not None and event.settlement.expired:
        return "timed_out"
    return _REASONS.get(event.category, "other") if event.category else "other"
