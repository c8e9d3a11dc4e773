"""What is known of a message when it is handed over: from when on its time runs, who may not reach the wire at all."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from bouncekit.delivery.events import Event, EventType, Occasion, event_of, events_of
from bouncekit.delivery.report import Report
from bouncekit.delivery.settlement import Settlement, refused_here
from bouncekit.delivery.steps import Delivery
from bouncekit.meaning.classification import Classify
from bouncekit.policy.policy import Policy
from bouncekit.policy.rule import Fate
from bouncekit.words.envelope import Recipient
from bouncekit.words.errors import AddressError
from bouncekit.words.reply import Cause, NoReply, Stage
from bouncekit.words.status import Action, RecipientStatus

__all__ = ["begun", "refusals", "repeated", "submitted"]


def begun(delivery: Delivery, policy: Policy, at: datetime) -> Delivery:
    """The same, with the time running from now on by which its recipients are given up."""
    deadline = policy.message_class(delivery.labels.message_class).deadline
    recipients = tuple(replace(one.started(at), give_up_at=at + deadline) for one in delivery.recipients)
    return replace(delivery, recipients=recipients)


def submitted(delivery: Delivery, occasion: Occasion, *, classify: Classify) -> tuple[Report, tuple[Event, ...]]:
    """What is reported and told of a delivery that goes into the queue before anybody tries it."""
    occasion = _of_message(occasion, delivery)
    queued = [_queued(one, "submitted", occasion.at) for one in delivery.recipients]
    refused = refusals(delivery, classify)
    events = [event for settlement in refused for event in events_of(settlement, occasion)]
    events += [event_of(EventType.QUEUED, occasion, settlement=one) for one in queued]
    message_id = delivery.envelope.message_id
    report = Report.of(queued + refused, message_id=message_id, given=delivery.given, durable=True)
    return report, tuple(events)


def repeated(delivery: Delivery, occasion: Occasion, details: Mapping[str, Any]) -> tuple[Event, ...]:
    """What is told of a delivery that goes into the queue at somebody's word, since the message was sent before."""
    occasion = _of_message(occasion, delivery)
    queued = (_queued(one, "sent-again-by-hand", occasion.at) for one in delivery.recipients)
    return tuple(event_of(EventType.QUEUED, occasion, settlement=one, details=details) for one in queued)


def _of_message(occasion: Occasion, delivery: Delivery) -> Occasion:
    return replace(
        occasion,
        message_id=delivery.envelope.message_id,
        sender=delivery.envelope.sender.wire,
        labels=delivery.labels,
        delivery_id=delivery.id,
    )


def _queued(recipient: Recipient, rule: str, at: datetime) -> Settlement:
    return Settlement(
        recipient=recipient.address.wire,
        action=Action.DELAYED,
        rule=rule,
        fate=Fate.RETRY,
        retry_at=at,
        possible_duplicate=recipient.possible_duplicate,
        kept=True,
        key=recipient.key,
    )


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
