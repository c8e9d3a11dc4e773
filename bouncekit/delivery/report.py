"""What a send gives back: smtplib's dict of refused recipients, and every recipient's settlement."""

from collections import Counter
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from bouncekit.delivery.settlement import Delivered, Settlement
from bouncekit.words.errors import BouncekitError
from bouncekit.words.reply import Reply
from bouncekit.words.showing import masked, printable
from bouncekit.words.status import Action

__all__ = ["DeliveryFailed", "Report"]


class Report(dict[str, tuple[int, bytes]]):
    """The result of one send; the truth is `recipients`.

    As a dict it is what smtplib returns: each recipient that was refused, with code and text. Recipients that no
    server was asked about (suppressed, or refused here) have the code -1. A full success is an empty dict and
    therefore false: ask `.failed`, `.delayed` ... or call `.raise_for_failed()`, never `if report`.

    >>> report = Report.of([Settlement(recipient="jo@example.com", action=Action.DELIVERED)])
    >>> report, report.delivered[0].recipient, report.failed
    ({}, 'jo@example.com', ())
    """

    message_id: str | None

    def __init__(
        self,
        refused: Mapping[str, tuple[int, bytes]] = MappingProxyType({}),
        *,
        recipients: Iterable[Settlement] = (),
        message_id: str | None = None,
    ) -> None:
        super().__init__(refused)
        self._settlements = recipients if isinstance(recipients, Delivered) else tuple(recipients)
        self.message_id = message_id

    @classmethod
    def of(
        cls,
        settlements: Iterable[Settlement],
        *,
        message_id: str | None = None,
        given: Mapping[str, str] | None = None,
        durable: bool = False,
    ) -> "Report":
        """A report of settlements in the order of the recipients.

        `given` maps a wire address to what the caller had written, which is the key of the dict. Who is kept in the
        queue is not refused, nor is with `durable` who may have got the message and is let be: a caller who sends to
        the dict again would send twice.
        """
        if isinstance(settlements, Delivered):
            return cls(recipients=settlements, message_id=message_id)
        settlements = tuple(settlements)
        refused = {}
        for settlement in settlements:
            if settlement.action is Action.DELIVERED:
                continue
            is_open = settlement.kept or (durable and settlement.action is Action.UNKNOWN and settlement.is_final)
            if not is_open:
                address = settlement.recipient
                refused[given.get(address, address) if given else address] = _code_and_text(settlement)
        return cls(refused, recipients=settlements, message_id=message_id)

    @property
    def recipients(self) -> tuple[Settlement, ...]:
        """Every recipient's settlement, in their order."""
        return self._settlements.items if isinstance(self._settlements, Delivered) else self._settlements

    @property
    def is_whole(self) -> bool:
        """Whether the server took the message for everybody at once, and that is all that there is to say."""
        return isinstance(self._settlements, Delivered)

    @property
    def actions(self) -> Counter[Action]:
        """How many recipients came to which action."""
        if isinstance(self._settlements, Delivered):
            return Counter({Action.DELIVERED: len(self._settlements)})
        return Counter(one.action for one in self._settlements)

    def _with(self, action: Action) -> tuple[Settlement, ...]:
        if self.is_whole and action is not Action.DELIVERED:
            return ()
        return tuple(settlement for settlement in self.recipients if settlement.action is action)

    @property
    def delivered(self) -> tuple[Settlement, ...]:
        """Recipients for whom a server took responsibility."""
        return self._with(Action.DELIVERED)

    @property
    def delayed(self) -> tuple[Settlement, ...]:
        """Recipients that this attempt did not reach and another may; after an unknown one see `possible_duplicate`."""
        return self._with(Action.DELAYED)

    @property
    def failed(self) -> tuple[Settlement, ...]:
        """Recipients that are not tried again; after an unknown attempt see `possible_duplicate`."""
        return self._with(Action.FAILED)

    @property
    def suppressed(self) -> tuple[Settlement, ...]:
        """Recipients that were skipped because of the suppression list."""
        return self._with(Action.SUPPRESSED)

    @property
    def unknown(self) -> tuple[Settlement, ...]:
        """Recipients that may have been taken: the reply to the final dot never came."""
        return self._with(Action.UNKNOWN)

    def raise_for_failed(self) -> None:
        """Raises DeliveryFailed if any recipient failed or was suppressed."""
        if bad := self.failed + self.suppressed:
            raise DeliveryFailed(self, bad)

    def copy(self) -> "Report":
        return type(self)(self, recipients=self.recipients, message_id=self.message_id)

    def __reduce__(self) -> tuple[type["Report"], tuple[dict[str, tuple[int, bytes]]], dict[str, object]]:
        return type(self), (dict(self),), {"_settlements": self.recipients, "message_id": self.message_id}

    def __repr__(self) -> str:
        return dict.__repr__(self)


class DeliveryFailed(BouncekitError):
    """Some recipients will not get the message: `bad`; `.report` has every recipient's outcome.

    The text, which comes to stand in logs, has `j…@example.com` for whom it is about.
    """

    def __init__(self, report: Report, bad: tuple[Settlement, ...]) -> None:
        self.report = report
        self.bad = bad
        why = "; ".join(printable(masked(f"{one.recipient}: {one.action}, {one.reply or one.rule}")) for one in bad[:5])
        more = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
        super().__init__(f"{len(bad)} of {len(report.recipients)} recipients: {why}{more}")

    def __reduce__(self) -> tuple[type["DeliveryFailed"], tuple[Report, tuple[Settlement, ...]]]:
        return type(self), (self.report, self.bad)


def _code_and_text(settlement: Settlement) -> tuple[int, bytes]:
    """What smtplib's dict holds: the reply, or -1 and the reason where nobody replied."""
    reply = settlement.reply
    if isinstance(reply, Reply):
        return reply.code, reply.raw
    if reply is not None:
        return -1, str(reply.text or reply).encode("utf-8", "backslashreplace")
    return -1, f"{settlement.action}: {settlement.category} ({settlement.rule})".encode("utf-8", "backslashreplace")
