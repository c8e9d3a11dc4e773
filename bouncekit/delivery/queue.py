"""What waits in the store to be sent, who is at it, and what was begun and never settled: frozen values, no I/O."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from bouncekit.delivery.steps import Delivery
from bouncekit.words.envelope import Labels, Recipient
from bouncekit.words.errors import StoreError
from bouncekit.words.reply import Cause, NoReply, Stage
from bouncekit.words.status import Action, RecipientStatus

__all__ = ["LONGEST_LEASE", "Abandoned", "Begun", "Depth", "Kept", "Lease", "LeaseLost", "QueueState", "Queued"]

# Twice what any lease lasts, so that clocks of several machines may differ. One that seems to last longer was given
# before the clock was set back.
LONGEST_LEASE = timedelta(minutes=30)
_LYING = timedelta(minutes=5)  # so long nothing lies that is due, where a worker keeps up


class QueueState(StrEnum):
    """What a queued recipient waits for."""

    DUE = "due"  # its time, or a worker
    HELD = "held"  # somebody who releases it


@dataclass(frozen=True, slots=True)
class Lease:
    """A claim on recipients: `token` is unique to it, `until` is when others may take them.

    They may too while `until` is more than LONGEST_LEASE away: who dies before a clock is set back holds up nobody.
    """

    token: str
    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """An attempt just before the first byte of its dot; `recipients` are those that the server has accepted.

    Remembered before the dot goes out and settled by the `Record` with the same attempt id, so that a process that
    dies in between leaves an open attempt, which is *unknown*, and never a message that nobody remembers.
    """

    attempt_id: str
    at: datetime
    delivery: Delivery
    recipients: tuple[Recipient, ...]
    lease: Lease


@dataclass(frozen=True, slots=True, kw_only=True)
class Abandoned:
    """An attempt that was begun and never settled: its process is gone, nobody knows how it ended."""

    attempt_id: str
    delivery: Delivery

    @property
    def statuses(self) -> tuple[RecipientStatus, ...]:
        """What is known of its recipients."""
        group = self.delivery.recipients
        lost = NoReply(Cause.LOST, "whoever was sending ended before the reply to the end of the data was remembered")
        return tuple(
            RecipientStatus(
                recipient=one.address.wire,
                action=Action.UNKNOWN,
                stage=Stage.END_OF_DATA,
                reply=lost,
                accepted=len(group),
                individual=len(group) == 1,
            )
            for one in group
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued:
    """One recipient in the queue, for people. `leased_until` is set while somebody is at it, or was until he died."""

    message: str  # the delivery's id
    message_id: str | None
    sender: str
    recipient: str
    relay: str
    labels: Labels
    state: QueueState
    due_at: datetime | None
    queued_at: datetime
    attempts: int
    possible_duplicate: bool
    leased_until: datetime | None
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A message for which nobody waits any more, for people; until `kept_until` it can be read."""

    message: str  # the delivery's id
    message_id: str | None
    sender: str
    relay: str
    labels: Labels
    queued_at: datetime
    kept_until: datetime
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Depth:
    """How much waits: recipients that are due now, wait for their time, are held, are being sent.

    Being sent are also those of an attempt whose process has died, until somebody settles it: they are `abandoned`.
    """

    due: int
    waiting: int
    held: int
    leased: int
    oldest_due_at: datetime | None
    abandoned: int = 0  # of those that are leased

    def left_for(self, now: datetime) -> timedelta | None:
        """How long the oldest has been due, where that is longer than a worker lets it lie; else None."""
        long = now - self.oldest_due_at if self.oldest_due_at is not None else timedelta()
        return long if long > _LYING else None


class LeaseLost(StoreError):
    """Somebody else has taken these recipients meanwhile: the dot must not go out."""
