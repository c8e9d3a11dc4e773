"""The usual end of a transaction: the server took the message for all, and of nobody is there more to say.

It is what `deliver` makes of such an outcome recipient by recipient, made at once. Of most nobody ever asks
more than their number, so settlements and events are made when somebody looks at them.
"""

from bouncekit.delivery.events import Deliveries, Occasion
from bouncekit.delivery.lanes import Hearing
from bouncekit.delivery.settlement import Delivered
from bouncekit.delivery.steps import Delivery, Outcome, Record
from bouncekit.delivery.watch import takings
from bouncekit.policy.budget import Spent
from bouncekit.policy.lane import Road
from bouncekit.policy.policy import Policy
from bouncekit.words.envelope import Counted
from bouncekit.words.status import Taken

__all__ = ["occasion_of", "wholesale"]


def wholesale(
    group: Counted,
    statuses: Taken,
    outcome: Outcome,
    *,
    delivery: Delivery,
    policy: Policy,
    road: Road,
) -> Record:
    """What is to be remembered of a group that got the message, of whom nobody stood on the list."""
    occasion = occasion_of(delivery, outcome, policy, road)
    settlements = Delivered(statuses, group, outcome.through or None)
    counts = not delivery.labels.test
    return Record(
        delivery=delivery,
        occasion=occasion,
        settlements=settlements,
        recipients=group,
        cleared=tuple(dict.fromkeys([one.key for one in group.recipients])) if counts else (),
        answers=takings(statuses) if counts else (),
        spent=Spent(len(group), 0, 0) if counts and policy.budget is not None else None,
        news=Hearing.of_all_well(group.recipients, road) if counts else (),
        events=Deliveries(settlements, occasion),
        keep=policy.keep.messages,
    )


def occasion_of(delivery: Delivery, outcome: Outcome, policy: Policy, road: Road) -> Occasion:
    """What the events of an outcome share."""
    envelope = delivery.envelope
    return Occasion(
        attempt_id=outcome.attempt_id,
        at=outcome.now,
        message_id=envelope.message_id,
        sender=envelope.sender.wire,
        labels=delivery.labels,
        policy=policy.name,
        policy_hash=policy.hash,
        delivery_id=delivery.id or None,
        outlet=road.relay.name if road.relay is not None else delivery.relay,
    )
