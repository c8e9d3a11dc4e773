"""A message on its way from one store to another, with those who wait for it: frozen values, no I/O."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import blake2b
from types import MappingProxyType
from typing import Any, TypeAlias

from bouncekit.delivery.events import Event, EventType, Occasion, event_of
from bouncekit.delivery.settlement import Settlement
from bouncekit.delivery.steps import Delivery
from bouncekit.policy.rule import Fate
from bouncekit.words.envelope import Recipient
from bouncekit.words.status import Action

__all__ = ["Arrival", "Moves", "Parcel", "Waits", "moves"]

_MOVED = "moved-by-hand"  # the rule that events name

Moves: TypeAlias = Mapping[str, Mapping[str, Event]]  # what is told of recipients, by message and address


@dataclass(frozen=True, slots=True)
class Waits:
    """How a recipient waits: until when, None: until somebody releases it; `said_at` is when that was said.

    `place` is where it stood among all recipients of the message.
    """

    due_at: datetime | None
    said_at: datetime
    place: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """A message with some of those who wait for it; `waits` has the order of the delivery's recipients."""

    delivery: Delivery
    queued_at: datetime
    waits: tuple[Waits, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A parcel that lies in a store while another one, the `origin`, has it still, or has just let it go.

    `token` is the lease under which it was taken there.
    """

    token: str
    origin: str
    at: datetime
    parcel: Parcel


def moves(parcel: Parcel, token: str, occasion: Occasion, details: Mapping[str, Any]) -> Mapping[str, Event]:
    """What is told of each recipient of a parcel, by address: under the same ids each time, whoever asks."""
    delivery = parcel.delivery
    of_message = replace(
        occasion,
        message_id=delivery.envelope.message_id,
        sender=delivery.envelope.sender.wire,
        labels=delivery.labels,
        delivery_id=delivery.id,
    )
    told = {}
    for place, (recipient, waits) in enumerate(zip(delivery.recipients, parcel.waits, strict=True)):
        own = replace(of_message, attempt_id=_move_id(token, delivery.id, place))
        told[recipient.address.wire] = event_of(
            EventType.QUEUED, own, settlement=_waiting(recipient, waits), details=details
        )
    return MappingProxyType(told)


def _waiting(recipient: Recipient, waits: Waits) -> Settlement:
    return Settlement(
        recipient=recipient.address.wire,
        action=Action.DELAYED,
        rule=_MOVED,
        fate=Fate.HOLD if waits.due_at is None else Fate.RETRY,
        retry_at=waits.due_at,
        attempts=recipient.attempts,
        possible_duplicate=recipient.possible_duplicate,
        kept=True,
        key=recipient.key,
    )


def _move_id(token: str, message: str, place: int) -> str:
    """Without the address: nobody can find out by it whose it was."""
    return blake2b(f"{token}\0{message}\0{place}".encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
