"""What became of one recipient in one transaction, in the terms of RFC 3464 2.3."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from bouncekit.words.address import Address
from bouncekit.words.ondemand import OnDemand
from bouncekit.words.quick import quick
from bouncekit.words.reply import EnhancedStatusCode, NoReply, Reply, Stage

__all__ = ["Action", "RecipientStatus", "Taken"]


class Action(StrEnum):
    """What happened to the message for one recipient (RFC 3464 2.3.3, and two of ours)."""

    DELIVERED = "delivered"  # the server took responsibility (RFC 5321 4.2.5)
    DELAYED = "delayed"  # definitely not taken, may be tried again
    FAILED = "failed"  # definitely not taken, will not be tried again
    RELAYED = "relayed"  # taken by a server that sends no more news
    EXPANDED = "expanded"  # taken and handed on to the members of a list
    SUPPRESSED = "suppressed"  # ours: not tried, the address is on the suppression list
    UNKNOWN = "unknown"  # ours: the reply to the final dot never came, the message may have been taken


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class RecipientStatus:
    """One recipient's result of one transaction, before any policy.

    `accepted` counts the recipients that the server had accepted in this transaction before this reply: a 452 or
    552 means another thing behind a hundred of them than in front. `individual` says that the reply concerns this
    recipient alone: its own RCPT, its own LMTP reply, or the dot of a transaction with one accepted recipient.
    """

    recipient: str
    action: Action
    stage: Stage
    reply: Reply | NoReply | None = None
    accepted: int = 0
    individual: bool = True
    remote_mta: str | None = None
    status: EnhancedStatusCode | None = None  # as a DSN states it; for a reply see `enhanced`
    diagnostic: str = ""  # what a DSN says in words, where it quotes no reply

    @property
    def code(self) -> int | None:
        """The reply code, None where there was no reply."""
        return self.reply.code if isinstance(self.reply, Reply) else None

    @property
    def enhanced(self) -> EnhancedStatusCode | None:
        """The enhanced code of the reply, else the one that a DSN states."""
        return (self.reply.enhanced if isinstance(self.reply, Reply) else None) or self.status

    @property
    def text(self) -> str:
        """What was said, for people; hostile, escape it where you show it."""
        if isinstance(self.reply, NoReply) and self.reply.reply is not None:
            return str(self.reply.reply)
        return self.reply.text if self.reply is not None else self.diagnostic


class Taken(OnDemand[RecipientStatus]):
    """The statuses of a transaction whose message the server took for all of its recipients, by one reply."""

    __slots__ = ("recipients", "remote_mta", "reply")

    def __init__(self, recipients: Sequence[Address], reply: Reply, remote_mta: str | None) -> None:
        self.recipients = recipients
        self.reply = reply
        self.remote_mta = remote_mta

    def __len__(self) -> int:
        return len(self.recipients)

    def make(self) -> tuple[RecipientStatus, ...]:
        """A status for each recipient."""
        number = len(self.recipients)
        return tuple(
            [
                RecipientStatus(
                    recipient=address.wire,
                    action=Action.DELIVERED,
                    stage=Stage.END_OF_DATA,
                    reply=self.reply,
                    accepted=number,
                    individual=number == 1,
                    remote_mta=self.remote_mta,
                )
                for address in self.recipients
            ]
        )
