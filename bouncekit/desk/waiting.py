"""The mail that waits in the queue, in the owner's hands: found, made due, taken out."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from itertools import groupby

from bouncekit.delivery.events import Event, EventType, Occasion, bounded, event_of
from bouncekit.delivery.queue import Queued, QueueState
from bouncekit.delivery.settlement import Settlement
from bouncekit.desk.office import Office
from bouncekit.history.recorded import DROPPED
from bouncekit.words.address import suppression_key
from bouncekit.words.status import Action

__all__ = ["Choice", "Chosen", "Shown", "make_due", "messages_like", "shown_state", "take_out"]

_BEHIND_ALL = "\U0010ffff"  # sorts behind every address


class Shown(StrEnum):
    """What a queued recipient waits for at this moment."""

    DUE = "due"  # a worker
    WAITING = "waiting"  # its time
    HELD = "held"  # somebody who releases it
    SENDING = "sending"  # somebody is at it
    ABANDONED = "abandoned"  # somebody was at it and is gone; a worker settles it


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which recipients somebody means. Everything is None where it does not matter."""

    message: str | None = None  # the whole id
    recipient: str | None = None
    relay: str | None = None
    tenant: str | None = None
    state: Shown | None = None
    containing: str | None = None

    @property
    def is_of_whole_messages(self) -> bool:
        """Whether with one recipient of a message all are meant."""
        return self.recipient is None and self.state is None and self.containing is None

    def find(self, office: Office) -> Iterator[Queued]:
        """The recipients, in the order of message and address."""
        now = office.clock.now()
        for one in self._asked(office):
            if self.message is not None and one.message != self.message:
                return
            same = self.recipient is None or one.recipient.lower() == self.recipient.lower()
            if same and (self.state is None or shown_state(one, now) is self.state):
                yield one

    def by_message(self, office: Office) -> Iterator["Chosen"]:
        """The same, message by message."""
        for message, rows in groupby(self.find(office), key=lambda one: one.message):
            yield Chosen(message, tuple(rows), whole=self.is_of_whole_messages)

    def _asked(self, office: Office) -> Iterator[Queued]:
        state = None if self.state is None else QueueState.HELD if self.state is Shown.HELD else QueueState.DUE
        after = None if self.message is None else (self.message, "")
        return office.store.queued(
            tenant=self.tenant, relay=self.relay, state=state, containing=self.containing, after=after
        )


@dataclass(frozen=True, slots=True)
class Chosen:
    """Recipients of one message; `whole` where all that it has in the queue are meant."""

    message: str
    rows: tuple[Queued, ...]
    whole: bool


def messages_like(office: Office, prefix: str) -> list[str]:
    """The ids of up to two messages that begin so; one alone where it is the id itself."""
    found: list[str] = []
    after = (prefix, "")
    while len(found) < 2:
        one = next(office.store.queued(after=after, limit=1), None)
        if one is None or not one.message.startswith(prefix):
            break
        found.append(one.message)
        if one.message == prefix:
            break
        after = (one.message, _BEHIND_ALL)
    return found


def make_due(office: Office, chosen: Chosen) -> int:
    """Make recipients due now; how many. Whom somebody is at is left alone."""
    at = office.clock.now()
    return sum(office.store.requeue(chosen.message, recipient, at=at) for recipient in _named(chosen))


def take_out(office: Office, chosen: Chosen, by: str) -> int:
    """Take recipients out of the queue, and tell that they failed; how many. Whom somebody is at is left alone."""
    at = office.clock.now()
    occasion = office.occasion(at)
    events = {row.recipient: _dropped(row, occasion, by) for row in chosen.rows}
    keep = office.policy.keep.messages
    number = 0
    for recipient in _named(chosen):
        told = tuple(events.values()) if recipient is None else (events[recipient],)
        number += office.store.drop(chosen.message, recipient, at=at, events=told, keep=keep)
    left = _left(office, chosen) if number < len(chosen.rows) else ()
    office.ledger.publish([event for recipient, event in events.items() if recipient not in left])
    return number


def shown_state(one: Queued, now: datetime) -> Shown:
    """What a recipient waits for now."""
    if one.leased_until is not None:
        return Shown.SENDING if one.leased_until > now else Shown.ABANDONED
    if one.state is QueueState.HELD or one.due_at is None:
        return Shown.HELD
    return Shown.DUE if one.due_at <= now else Shown.WAITING


def _left(office: Office, chosen: Chosen) -> frozenset[str]:
    """Who of a message is in the queue still."""
    return frozenset(one.recipient for one in Choice(message=chosen.message).find(office))


def _named(chosen: Chosen) -> tuple[str | None, ...]:
    """Whom to name to the store: nobody, where the whole message is meant, which is one transaction."""
    return (None,) if chosen.whole else tuple(row.recipient for row in chosen.rows)


def _dropped(row: Queued, occasion: Occasion, by: str) -> Event:
    """What is told of a recipient that a hand takes out: it failed, by no server's word."""
    settlement = Settlement(
        recipient=row.recipient,
        action=Action.FAILED,
        rule=DROPPED,
        attempts=row.attempts,
        possible_duplicate=row.possible_duplicate,
        key=suppression_key(row.recipient),
    )
    of_message = replace(
        occasion, message_id=row.message_id, sender=row.sender, labels=row.labels, delivery_id=row.message
    )
    return event_of(EventType.FAILED, of_message, settlement=settlement, details={"by": bounded(by)})
