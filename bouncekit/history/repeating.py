"""Whether a message may be sent to somebody again, by all that is told of it: never to who is known to have it."""

from collections.abc import Sequence
from enum import StrEnum
from hashlib import blake2b

from bouncekit.delivery.events import Told
from bouncekit.history.recorded import DROPPED
from bouncekit.policy.rule import Fate
from bouncekit.words.status import Action

__all__ = ["REPEATS", "Again", "again", "repeat_id"]


REPEATS = "repeats"  # the detail of a `queued` event that names the message which it sends again

_ENDED = frozenset({Action.FAILED, Action.SUPPRESSED, Action.UNKNOWN})
_HANDED_ON = frozenset({Action.RELAYED, Action.EXPANDED})
_MAYBE = frozenset({Action.UNKNOWN, Action.DELIVERED})
_COMPLAINED = "complained"
_TIME_DIGITS, _RANDOM_BYTES = 12, 10  # of an id


class Again(StrEnum):
    """What stands in the way of sending a message again to a recipient, if anything does."""

    FREE = "free"  # it failed, and nothing says that it may have arrived
    DOUBTFUL = "doubtful"  # it may have arrived: an outcome is unknown, or a server took it and it came back
    ARRIVED = "arrived"
    UNSETTLED = "unsettled"  # it waits, or a hand took it out of the queue
    REPEATED = "repeated"  # it was sent again already, as a message of its own


def again(told: Sequence[Told], message: str, recipient: str, repeat: str) -> Again:
    """What stands in the way, by the events of a mailbox, newest first; `repeat` is what the new message would be.

    Who is written to under two spellings of one mailbox counts as one: what one of them may have, both may have.
    """
    if any(one["data"].get("delivery_id") == repeat for one in told):
        return Again.REPEATED
    outcomes = [one for one in told if one["data"].get("action") and one["data"].get("delivery_id") == message]
    last = next((one["data"] for one in outcomes if one["data"].get("recipient") == recipient), None)
    if last is None or last.get("retry_at") or last.get("fate") == Fate.HOLD or any(map(_was_dropped, outcomes)):
        return Again.UNSETTLED
    if last["action"] == Action.DELIVERED or any(_shows_arrival(one) for one in outcomes):
        return Again.ARRIVED
    if last["action"] not in _ENDED:
        return Again.UNSETTLED
    return Again.DOUBTFUL if any(_leaves_doubt(one["data"]) for one in outcomes) else Again.FREE


def repeat_id(message: str, recipient: str) -> str:
    """The id of the delivery that sends a message to a recipient again: the same whoever asks, and however often.

    It sorts beside the message's own, which begins with its time.
    """
    seed = f"{message}\0{recipient}".encode("utf-8", "surrogatepass")
    return message[:_TIME_DIGITS] + blake2b(seed, digest_size=_RANDOM_BYTES).hexdigest()


def _was_dropped(outcome: Told) -> bool:
    return bool(outcome["data"].get("rule") == DROPPED)


def _shows_arrival(outcome: Told) -> bool:
    """Whether it is the word of somebody who has the message, or of a host that passed it on."""
    return outcome["type"] == _COMPLAINED or outcome["data"]["action"] in _HANDED_ON


def _leaves_doubt(data: Told) -> bool:
    """Whether the message may have arrived by this, though it failed in the end."""
    return bool(data["action"] in _MAYBE or data.get("possible_duplicate"))
