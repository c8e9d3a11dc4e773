"""Whose message is the one probe behind a suppression that is over, and until when: the same answer in every store.

Times of a probe are milliseconds, as the stores keep them.
"""

from datetime import datetime, timedelta
from typing import NamedTuple

from bouncekit.delivery.settlement import Settlement
from bouncekit.policy.suppression import Standing, Suppression
from bouncekit.stores.codec import milliseconds
from bouncekit.words.envelope import Labels
from bouncekit.words.reply import Reply, Stage
from bouncekit.words.status import Action

__all__ = ["AHEAD", "Probe", "granted", "left_until", "may_be_probed", "tells_of_probe"]

_LASTS = timedelta(days=1)  # of a probe whose outcome nobody has recorded
_NO_END = (Action.SUPPRESSED, Action.DELIVERED)
_ASKED = (Stage.RCPT, Stage.DATA, Stage.END_OF_DATA)  # an answer there is one for the recipient
AHEAD = 2 * _LASTS // timedelta(milliseconds=1)  # no clock that is right has said an end so far away


class Probe(NamedTuple):
    """The delivery whose message tries again, and from when on another one may."""

    delivery_id: str
    until: int

    def keeps_out(self, delivery_id: str, at: int) -> bool:
        """Whether this delivery, at this time, must leave it to that other one."""
        return delivery_id != self.delivery_id and 0 < self.until - at < AHEAD


def may_be_probed(suppression: Suppression, now: datetime) -> bool:
    """Whether it has expired, so that one real message may try."""
    return suppression.standing is not Standing.HELD and not suppression.binds(now)


def granted(delivery_id: str, now: datetime) -> Probe:
    """The probe of a delivery that is about to be sent."""
    return Probe(delivery_id, milliseconds(now + _LASTS))


def tells_of_probe(settlement: Settlement, labels: Labels) -> bool:
    """Whether an outcome may say when the next message may be the probe. Test traffic is none."""
    return bool(settlement.key) and not labels.test and settlement.action not in _NO_END


def left_until(settlement: Settlement, at: datetime) -> int:
    """From when on another message may be the probe, by an outcome of the one that was it.

    At once where it has failed, or nobody was asked for the recipient. Who was put off by an answer is asked again
    when he is due and not before; mail that waits in the queue does so itself, for as long as it is heard of.
    """
    if settlement.stage not in _ASKED or not isinstance(settlement.reply, Reply):
        return milliseconds(at)
    longest = at + _LASTS
    return milliseconds(longest if settlement.kept else min(settlement.retry_at or at, longest))
