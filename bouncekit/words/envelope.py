"""What is sent, to whom, and as what kind of mail (RFC 5321 2.3.1)."""

from dataclasses import dataclass
from datetime import datetime
from typing import TypedDict

from bouncekit.words.address import Address, suppression_key
from bouncekit.words.errors import ConfigurationError
from bouncekit.words.ondemand import OnDemand
from bouncekit.words.quick import quick

__all__ = ["Counted", "Envelope", "LabelOptions", "Labels", "Recipient", "check_names"]

_MAX_NAME = 255  # characters of a tenant or a stream: keys of a store's tables are bounded


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """What the owner says about a message: which rules and suppressions bind it, and whose it is.

    `message_class` is a class of the policy, None for its default one. `tenant` and `stream` keep suppressions
    apart. `test` traffic moves no counter and no list.
    """

    message_class: str | None = None
    tenant: str = ""
    stream: str = ""
    test: bool = False


class LabelOptions(TypedDict, total=False):
    """Labels as keyword arguments, as they are passed on."""

    message_class: str | None
    tenant: str
    stream: str
    test: bool


def check_names(labels: Labels) -> Labels:
    """The labels, if every store can tell their tenant and stream from others.

    Raises:
        ConfigurationError: a name is too long.
    """
    for what, name in (("tenant", labels.tenant), ("stream", labels.stream)):
        if len(name) > _MAX_NAME:
            raise ConfigurationError(f"{what}={name[:20]!a}...: {len(name)} characters; {_MAX_NAME} are the most")
    return labels


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """One message on its way: return path, recipients and content, checked before the first byte is sent.

    `content` has canonical CRLF line ends and no dot-stuffing. `size_bytes` is what SIZE= announces (RFC 1870).
    """

    sender: Address
    recipients: tuple[Address, ...]
    content: bytes
    message_id: str | None = None
    mail_options: tuple[str, ...] = ()
    rcpt_options: tuple[str, ...] = ()

    @property
    def size_bytes(self) -> int:
        return len(self.content)


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Recipient:
    """One recipient's way so far.

    `attempts` counts the transactions that ended with an answer about this recipient, the present one included;
    a split, a lone repeat and a reconnect are no attempts. `first_attempt_at` starts the deadline: the first attempt,
    or when it was put into the queue. `give_up_at` is that deadline, for who waits in the queue; None: nobody looks.
    `greylisted_at` is since when nothing but a greylist has kept it waiting; None: it is not that.
    """

    address: Address
    key: str
    attempts: int = 0
    first_attempt_at: datetime | None = None
    give_up_at: datetime | None = None
    greylisted_at: datetime | None = None
    reconnects: int = 0
    repeats: int = 0
    possible_duplicate: bool = False

    @classmethod
    def of(cls, address: Address) -> "Recipient":
        return cls(address=address, key=suppression_key(address.wire))

    def started(self, at: datetime) -> "Recipient":
        """The same, with its first attempt at this time unless it had one; no clock that is right had it later."""
        first = self.first_attempt_at
        return self if first is not None and first <= at else self._with(self.attempts, at)

    def counted(self) -> "Recipient":
        """The same, one attempt later."""
        return self._with(self.attempts + 1, self.first_attempt_at)

    def _with(self, attempts: int, first_attempt_at: datetime | None) -> "Recipient":
        """What `dataclasses.replace` makes, in a fifth of the time: it happens twice to everybody."""
        return Recipient(
            address=self.address,
            key=self.key,
            attempts=attempts,
            first_attempt_at=first_attempt_at,
            give_up_at=self.give_up_at,
            greylisted_at=self.greylisted_at,
            reconnects=self.reconnects,
            repeats=self.repeats,
            possible_duplicate=self.possible_duplicate,
        )


class Counted(OnDemand[Recipient]):
    """Recipients one attempt later; those who had none before had their first one at this time."""

    __slots__ = ("at", "recipients")

    def __init__(self, recipients: tuple[Recipient, ...], at: datetime) -> None:
        self.recipients = recipients
        self.at = at

    def __len__(self) -> int:
        return len(self.recipients)

    def make(self) -> tuple[Recipient, ...]:
        """The recipients after the attempt."""
        return tuple([one.started(self.at).counted() for one in self.recipients])
