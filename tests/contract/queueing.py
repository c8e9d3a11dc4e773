"""Mail in the queue of a store, and a worker that sends it, for the tests of queues."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from bouncekit.delivery.events import Event, EventType, Occasion, events_of
from bouncekit.delivery.queue import Begun, Lease
from bouncekit.delivery.report import Report
from bouncekit.delivery.settlement import Settlement
from bouncekit.delivery.steps import Delivery, Outcome, Record, Transact
from bouncekit.policy.rule import Fate
from bouncekit.words.reply import Stage
from bouncekit.words.status import Action
from tests.building import NOW, Answers, delivery_to

from .stores import Sender, new_id

MINUTE = timedelta(minutes=1)
LATER = NOW + 30 * MINUTE  # the first wait of the policy that these tests send by


class Killed(BaseException):
    """The process ends here."""


def lease(token: str = "", *, now: datetime = NOW, minutes: float = 5) -> Lease:
    return Lease(token or new_id(), now + minutes * MINUTE)


def mail_to(*addresses: str, relay: str | None = "main", content: bytes = b"Hi\r\n", **settings: Any) -> Delivery:
    """A message as the application hands it over."""
    delivery = delivery_to(*addresses, **{"id": new_id(), **settings})
    return replace(delivery, relay=relay, envelope=replace(delivery.envelope, content=content))


def enqueue(store: Any, *addresses: str, due_at: datetime = NOW, at: datetime = NOW, **settings: Any) -> Delivery:
    delivery = mail_to(*addresses, **settings)
    store.enqueue(delivery, due_at=due_at, at=at)
    return delivery


def claim(store: Any, token: str = "", *, now: datetime = NOW, limit: int = 100, **more: Any) -> list[Delivery]:
    return list(store.claim(now=now, lease=lease(token, now=now), limit=limit, **more))


def wires(*deliveries: Delivery) -> list[str]:
    return [recipient.address.wire for delivery in deliveries for recipient in delivery.recipients]


def begin(
    store: Any, delivery: Delivery, *addresses: str, until: Lease | None = None, attempt: str = "", at: datetime = NOW
) -> str:
    """Begin an attempt with these recipients of a delivery, or all; its id."""
    attempt = attempt or new_id()
    recipients = tuple(one for one in delivery.recipients if not addresses or one.address.wire in addresses)
    held = until or lease(delivery.lease or "", now=at)
    store.begin(Begun(attempt_id=attempt, at=at, delivery=delivery, recipients=recipients, lease=held))
    return attempt


def outcome(
    delivery: Delivery,
    attempt: str,
    *,
    done: Iterable[str] = (),
    delayed: Iterable[str] = (),
    held: Iterable[str] = (),
    unknown: bool = False,
    at: datetime = NOW,
) -> Record:
    """The record of an attempt that delivered to some, let some wait for half an hour, and held some."""
    every = {one.address.wire: replace(one, attempts=one.attempts + 1) for one in delivery.recipients}
    settlements = [_settled(every[wire], Action.DELIVERED) for wire in done]
    waits = Action.UNKNOWN if unknown else Action.DELAYED
    if unknown:
        every = {wire: replace(one, possible_duplicate=True) for wire, one in every.items()}
    settlements += [_settled(every[wire], waits, fate=Fate.RETRY, retry_at=at + 30 * MINUTE) for wire in delayed]
    settlements += [_settled(every[wire], waits, fate=Fate.HOLD) for wire in held]
    occasion = Occasion(attempt_id=attempt, at=at, labels=delivery.labels)
    return Record(
        delivery=delivery,
        occasion=occasion,
        settlements=tuple(settlements),
        recipients=tuple(every[one.recipient] for one in settlements),
        events=tuple(event for one in settlements for event in events_of(one, occasion)),
    )


def _settled(recipient: Any, action: Action, **more: Any) -> Settlement:
    return Settlement(
        recipient=recipient.address.wire,
        action=action,
        attempts=recipient.attempts,
        possible_duplicate=recipient.possible_duplicate,
        key=recipient.key,
        **more,
    )


def told(type_: EventType, recipient: str | None = None) -> Event:
    return Event(id=new_id(), type=type_, occasion=Occasion(attempt_id=new_id(), at=NOW), recipient=recipient)


@dataclass
class Worker(Sender):
    """Sends as a worker does: begins an attempt before each dot. With `dies`, it is killed behind the first one."""

    dies: bool = False
    lease: Lease = field(default_factory=lease)

    def outcome(self, step: Transact, answers: Answers) -> Outcome:
        result = super().outcome(step, answers)
        accepted = {one.recipient for one in result.statuses if one.stage is Stage.END_OF_DATA}
        recipients = tuple(one for one in step.delivery.recipients if one.address.wire in accepted)
        held = replace(self.lease, token=step.delivery.lease or self.lease.token)
        self.store.begin(
            Begun(attempt_id=result.attempt_id, at=self.now, delivery=step.delivery, recipients=recipients, lease=held)
        )
        if self.dies:
            raise Killed
        return result


def work(store: Any, delivery: Delivery, *answers: Answers, now: datetime = NOW, dies: bool = False) -> Report:
    """Send a delivery, by the policy of `building`."""
    return Worker(answers=answers, now=now, store=store, dies=dies, lease=lease(now=now)).drive(delivery)
