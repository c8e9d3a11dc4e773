"""What is known of a message when it is handed over: from when on its time runs, who may not reach the wire at all."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from bouncekit.delivery.events import Event, EventType, Occasion, event_id, events_of
from bouncekit.delivery.report import Report
from bouncekit.delivery.settlement import Settlement, refused_here
from bouncekit.delivery.steps import Delivery
from bouncekit.meaning.classification import Classification
from bouncekit.policy.policy import Policy
from bouncekit.policy.rule import Fate
from bouncekit.words.errors import AddressError
from bouncekit.words.reply import Cause, NoReply, Stage
from bouncekit.words.status import Action, RecipientStatus

__all__ = ["Classify", "begun", "refusals", "submitted"]

Classify = Callable[[RecipientStatus], Classification]


def begun(delivery: Delivery, policy: Policy, at: datetime) -> Delivery:
    """The same, with the time running from now on by which its recipients are given up."""
    deadline = policy.message_class(delivery.labels.message_class).deadline
    recipients = tuple(replace(one.started(at), give_up_at=at + deadline) for one in delivery.recipients)
    return replace(delivery, recipients=recipients)


def submitted(delivery: Delivery, occasion: Occasion, *, classify: Classify) -> tuple[Report, tuple[Event, ...]]:
    """What is reported and told of a delivery that goes into the queue before anybody tries it."""
    envelope = delivery.envelope
    occasion = replace(
        occasion,
        message_id=envelope.message_id,
        sender=envelope.sender.wire,
        labels=delivery.labels,
        delivery_id=delivery.id,
    )
    queued = [
        Settlement(
            recipient=one.address.wire,
            action=Action.DELAYED,
            rule="submitted",
            fate=Fate.RETRY,
            retry_at=occasion.at,
            kept=True,
            key=one.key,
        )
        for one in delivery.recipients
    ]
    refused = refusals(delivery, classify)
    events = [event for settlement in refused for event in events_of(settlement, occasion)]
    events += [
        Event(
            id=event_id(occasion.attempt_id, one.recipient, EventType.QUEUED),
            type=EventType.QUEUED,
            occasion=occasion,
            recipient=one.recipient,
            settlement=one,
        )
        for one in queued
    ]
    report = Report.of(queued + refused, message_id=envelope.message_id, given=delivery.given, durable=True)
    return report, tuple(events)


def refusals(delivery: Delivery, classify: Classify) -> list[Settlement]:
    """The settlements of a delivery's addresses that must not reach the wire."""
    return [_refused(refusal, classify) for refusal in delivery.refused]


def _refused(refusal: AddressError, classify: Classify) -> Settlement:
    status = RecipientStatus(
        recipient=refusal.address,
        action=Action.FAILED,
        stage=Stage.RCPT,
        reply=NoReply(Cause.LOCAL, refusal.why),
    )
    return refused_here(refusal.address, classify(status))
