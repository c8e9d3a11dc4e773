"""Mail that waits in memory, and in which order: one row for each recipient, in a line for each relay."""

import heapq
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime

from bouncekit.delivery.queue import Kept, Queued, QueueState
from bouncekit.delivery.steps import Delivery
from bouncekit.stores.clockset import Times, moved
from bouncekit.stores.codec import from_milliseconds, milliseconds, storable
from bouncekit.stores.leases import runs
from bouncekit.words.envelope import Recipient

__all__ = ["Line", "Message", "Row", "as_stored"]

_Entry = tuple[bool, int, str, str]  # whether it was tried before, when it can be had, message, recipient


@dataclass(slots=True)
class Row:
    """One recipient that waits. Times are milliseconds; `fence` counts how often it was taken: 0, the application's."""

    recipient: Recipient
    position: int
    due_at: int | None = None  # None: held
    timed_at: int = 0  # when that was said
    attempt: str | None = None
    owner: str | None = None
    until: int = 0
    fence: int = 0
    entry: tuple[bool, int] | None = None  # its entry in the line; any other one is out of date
    looked_after_at: int | None = None  # its entry among those with a deadline; the same

    @property
    def free_at(self) -> int | None:
        """When it can be had; None where it cannot."""
        if self.due_at is None or self.attempt is not None:
            return None
        return self.due_at if self.owner is None else max(self.due_at, self.until)

    def is_free(self, at: int) -> bool:
        return self.due_at is not None and self.due_at <= at and self.attempt is None and not self.is_leased(at)

    def is_leased(self, at: int) -> bool:
        return self.owner is not None and runs(self.until, at)

    def is_of(self, lease: str | None) -> bool:
        """Whether who has this lease, or the application, which has none, is still the one who is at it."""
        return self.fence == 0 if lease is None else self.owner == lease

    def take(self, owner: str, until: int) -> None:
        self.owner, self.until = owner, until
        self.fence += 1

    def give_back(self) -> None:
        self.owner, self.until = None, 0

    @property
    def times(self) -> Times | None:
        """As `stores.clockset` moves them; None for who waits for no time."""
        one, due_at = self.recipient, self.due_at
        told = (one.first_attempt_at, one.give_up_at, one.greylisted_at)
        return None if due_at is None else Times(self.timed_at, due_at, *map(_milliseconds, told))

    def move(self, times: Times, at: int) -> None:
        """Have it wait by a clock that was set back."""
        self.timed_at, self.due_at, *told = moved(times, at)
        first, last, grey = map(_time, told)
        self.recipient = replace(self.recipient, first_attempt_at=first, give_up_at=last, greylisted_at=grey)

    def give_up(self) -> None:
        """Give it back for somebody who is too late from now on."""
        self.give_back()
        self.fence += 1


@dataclass(slots=True)
class Message:
    """A message that somebody still waits for, and who; without rows, one that is kept until a time."""

    delivery: Delivery
    queued_at: int
    rows: dict[str, Row] = field(default_factory=dict)
    keep_until: int | None = None

    def to(self, rows: Iterable[Row], lease: str | None) -> Delivery:
        """The delivery of these recipients."""
        recipients = tuple(row.recipient for row in sorted(rows, key=lambda row: row.position))
        addresses = tuple(recipient.address for recipient in recipients)
        given = self.delivery.given
        return replace(
            self.delivery,
            envelope=replace(
                self.delivery.envelope,
                recipients=addresses,
                message_id=storable(self.delivery.envelope.message_id),
            ),
            recipients=recipients,
            refused=(),
            given={address.wire: given[address.wire] for address in addresses if address.wire in given},
            lease=lease,
        )

    def shown(self, row: Row) -> Queued:
        """What people are shown of a recipient."""
        delivery, due_at = self.delivery, row.due_at
        return Queued(
            message=delivery.id,
            message_id=storable(delivery.envelope.message_id),
            sender=delivery.envelope.sender.wire,
            recipient=row.recipient.address.wire,
            relay=delivery.relay or "",
            labels=delivery.labels,
            state=QueueState.HELD if due_at is None else QueueState.DUE,
            due_at=None if due_at is None else from_milliseconds(due_at),
            queued_at=from_milliseconds(self.queued_at),
            attempts=row.recipient.attempts,
            possible_duplicate=row.recipient.possible_duplicate,
            leased_until=None if row.owner is None else from_milliseconds(row.until),
            size_bytes=delivery.envelope.size_bytes,
        )

    def kept(self) -> Kept | None:
        """What people are shown of it where nobody waits any more."""
        if self.rows or self.keep_until is None:
            return None
        delivery = self.delivery
        return Kept(
            message=delivery.id,
            message_id=storable(delivery.envelope.message_id),
            sender=delivery.envelope.sender.wire,
            relay=delivery.relay or "",
            labels=delivery.labels,
            queued_at=from_milliseconds(self.queued_at),
            kept_until=from_milliseconds(self.keep_until),
            size_bytes=delivery.envelope.size_bytes,
        )


class Line:
    """Who can be had next, by relay: those who were never tried, then the others, each by the time.

    Each row that can be had has one entry that counts, never later than the row is free. What happened to a row since
    is seen when its entry comes to the front.
    """

    def __init__(self) -> None:
        self._heaps: dict[str, tuple[list[_Entry], list[_Entry]]] = {}  # relay -> never tried, tried
        self._deadlines: dict[str, list[tuple[int, str, str]]] = {}  # relay -> when, message, recipient
        self._late: dict[str, dict[tuple[str, str], None]] = {}  # those whose time is over, in its order

    def add(self, message: Message, row: Row) -> None:
        """See that a row, new or changed, has its entry."""
        self._add_deadline(message, row)
        free_at, was_tried = row.free_at, row.recipient.attempts > 0
        if free_at is None or (row.entry is not None and row.entry[0] == was_tried and row.entry[1] <= free_at):
            return
        row.entry = (was_tried, free_at)
        heaps = self._heaps.setdefault(message.delivery.relay or "", ([], []))
        heapq.heappush(heaps[was_tried], (*row.entry, message.delivery.id, row.recipient.address.wire))

    def late(self, messages: dict[str, Message], at: int, relay: str, limit: int) -> list[Message]:
        """The messages of a relay with a recipient who can be had and whose time is over, the latest first."""
        heap, late = self._deadlines.get(relay, []), self._late.setdefault(relay, {})
        while heap and heap[0][0] <= at:
            when, name, address = heapq.heappop(heap)
            if (row := _row(messages, name, address)) is not None and row.looked_after_at == when:
                row.looked_after_at = None
                late[name, address] = None
        found: dict[str, Message] = {}
        for name, address in reversed(tuple(late)):
            row = _row(messages, name, address)
            if row is None or (last := row.recipient.give_up_at) is None or milliseconds(last) > at:
                del late[name, address]
                if row is not None:
                    self._add_deadline(messages[name], row)
            elif row.is_free(at) and len(found) < limit:
                found[name] = messages[name]
        return list(found.values())

    def _add_deadline(self, message: Message, row: Row) -> None:
        last = row.recipient.give_up_at
        when, name = None if last is None else milliseconds(last), message.delivery.id
        address, relay = row.recipient.address.wire, message.delivery.relay or ""
        if when is None or when == row.looked_after_at or (name, address) in self._late.get(relay, {}):
            return
        row.looked_after_at = when
        heapq.heappush(self._deadlines.setdefault(relay, []), (when, name, address))

    def next(
        self, messages: dict[str, Message], at: int, relays: Collection[str] | None, *, oldest_first: bool = False
    ) -> tuple[Message, Row] | None:
        """The recipient who can be had first, if one can be by now, with his message."""
        asked = self._heaps if relays is None else set(relays) & self._heaps.keys()
        heaps = [heap for relay in asked for heap in self._heaps[relay]]
        while ready := [heap for heap in heaps if heap and heap[0][1] <= at]:
            was_tried, free_at, name, address = heapq.heappop(
                min(ready, key=lambda heap: heap[0][1:]) if oldest_first else min(ready)
            )
            message = messages.get(name)
            row = message.rows.get(address) if message else None
            if message is None or row is None or row.entry != (was_tried, free_at):
                continue
            row.entry = None
            if row.free_at == free_at:
                return message, row
            self.add(message, row)
        return None

    def group(self, message: Message, first: Row) -> Iterator[Row]:
        """Who else of a message could be had at the same time as the one who was the next, and he; out of the line."""
        yield first
        was_tried, free_at, name = first.recipient.attempts > 0, first.free_at, message.delivery.id
        heap = self._heaps[message.delivery.relay or ""][was_tried]
        while heap and heap[0][:3] == (was_tried, free_at, name):
            row = message.rows.get(heapq.heappop(heap)[3])
            if row is None or row.entry != (was_tried, free_at):
                continue
            row.entry = None
            if row.free_at == free_at:
                yield row
            else:
                self.add(message, row)


def _row(messages: dict[str, Message], name: str, address: str) -> Row | None:
    message = messages.get(name)
    return message.rows.get(address) if message else None


def as_stored(recipient: Recipient) -> Recipient:
    """A recipient as a store keeps it: what it went through in one session is forgotten, times are milliseconds."""
    told = (recipient.first_attempt_at, recipient.give_up_at, recipient.greylisted_at)
    first, last, grey = (_time(_milliseconds(at)) for at in told)
    return replace(recipient, reconnects=0, repeats=0, first_attempt_at=first, give_up_at=last, greylisted_at=grey)


def _milliseconds(at: datetime | None) -> int | None:
    return None if at is None else milliseconds(at)


def _time(number: int | None) -> datetime | None:
    return None if number is None else from_milliseconds(number)
