"""An event read back from its JSON form, as the outbox and JSON lines keep it: what `Event.to_dict` wrote.

What the JSON does not hold is not known any more: measures that a rule asked for, the raw bytes of a reply that was no
UTF-8, text beyond its bound.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, TypeVar

from bouncekit.delivery.events import Event, EventType, Occasion
from bouncekit.delivery.settlement import Settlement
from bouncekit.meaning.classification import Category, Scope
from bouncekit.policy.rule import Fate
from bouncekit.policy.suppression import Evidence, Standing, Suppression
from bouncekit.words.envelope import Labels
from bouncekit.words.reply import Cause, NoReply, Reply, Stage
from bouncekit.words.status import Action

__all__ = ["reply_told", "retold"]

_E = TypeVar("_E", bound=StrEnum)

# What an event of any type says in `data`; the rest are its details, where it tells no settlement.
_COMMON = frozenset(
    """
    schema attempt_id delivery_id message_id sender message_class tenant stream test policy policy_hash outlet
    suppression
    """.split()
)
_SETTLED = frozenset(
    """
    recipient action category scope permanent certain code enhanced reply cause stage accepted remote_mta relay rule
    where classified_by blocklist fate retry_at learned_seconds expired attempts possible_duplicate kept fingerprint
    doubted
    """.split()
)


def retold(told: Mapping[str, Any]) -> Event:
    """The event whose `to_dict` this is.

    Raises:
        ValueError: it is none, or comes from a newer schema with a type that this version does not know.
    """
    try:
        data = told["data"]
        is_settlement = "action" in data
        return Event(
            id=told["id"],
            type=EventType(told["type"]),
            occasion=_occasion(data, datetime.fromisoformat(told["time"])),
            recipient=data["recipient"] if is_settlement else told.get("subject"),
            settlement=_settlement(data) if is_settlement else None,
            suppression=_suppression(data["suppression"]) if data.get("suppression") else None,
            details={
                name: value
                for name, value in data.items()
                if name not in _COMMON and not (is_settlement and name in _SETTLED)
            },
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no event of bouncekit: {type(error).__name__} {error}") from error


def _occasion(data: Mapping[str, Any], at: datetime) -> Occasion:
    return Occasion(
        attempt_id=data["attempt_id"],
        at=at,
        message_id=data["message_id"],
        sender=data["sender"],
        labels=Labels(
            message_class=data["message_class"], tenant=data["tenant"], stream=data["stream"], test=data["test"]
        ),
        policy=data["policy"],
        policy_hash=data["policy_hash"],
        delivery_id=data.get("delivery_id"),
        outlet=data.get("outlet"),
    )


def _settlement(data: Mapping[str, Any]) -> Settlement:
    return Settlement(
        recipient=data["recipient"],
        action=Action(data["action"]),
        stage=_member(Stage, data["stage"]),
        reply=reply_told(data),
        category=_member(Category, data["category"]),
        scope=_member(Scope, data["scope"]),
        permanent=data["permanent"],
        certain=data["certain"],
        rule=data["rule"],
        where=data["where"],
        classified_by=data["classified_by"],
        blocklist=data.get("blocklist"),
        fate=_member(Fate, data["fate"]),
        retry_at=_time(data["retry_at"]),
        learned=timedelta(seconds=data["learned_seconds"]) if data.get("learned_seconds") else None,
        expired=data["expired"],
        accepted=data["accepted"],
        remote_mta=data["remote_mta"],
        relay=data.get("relay"),
        attempts=data["attempts"],
        possible_duplicate=data["possible_duplicate"],
        kept=data.get("kept", False),
        fingerprint=data.get("fingerprint"),
        doubted=data.get("doubted", False),
    )


def reply_told(data: Mapping[str, Any]) -> Reply | NoReply | None:
    """The reply that an event tells by its keys `reply`, `code` and `cause`."""
    text = data["reply"]
    if text is None:
        return None
    if data["code"] is not None:
        code = int(data["code"])
        return Reply(code, text.removeprefix(str(code)).lstrip(" ").encode("utf-8", "surrogatepass"))
    cause = Cause(data["cause"])
    return NoReply(cause, text.removeprefix(f"no reply ({cause}").removeprefix(": ").removesuffix(")"))


def _suppression(data: Mapping[str, Any]) -> Suppression:
    since, changed_at = _time(data["since"]), _time(data["changed_at"])
    assert since is not None
    assert changed_at is not None
    return Suppression(
        key=data["key"],
        address=data["address"],
        standing=Standing(data["standing"]),
        category=Category(data["category"]),
        since=since,
        changed_at=changed_at,
        expires_at=_time(data["expires_at"]),
        ladder=data["ladder"],
        rung=data["rung"],
        by=data["by"],
        evidence=Evidence(**data["evidence"]),
        tenant=data["tenant"],
        stream=data["stream"],
    )


def _member(kind: type[_E], value: str | None) -> _E | None:
    return None if value is None else kind(value)


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
