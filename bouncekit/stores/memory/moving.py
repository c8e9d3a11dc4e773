"""What waits in memory, given away and taken in."""

from abc import ABC
from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from datetime import datetime, timedelta

from bouncekit.delivery.parcel import Arrival, Moves, Parcel, Waits
from bouncekit.delivery.queue import Lease
from bouncekit.stores.codec import from_milliseconds, milliseconds
from bouncekit.stores.memory.queue import MemoryQueue
from bouncekit.stores.memory.waitingline import Message, Row
from bouncekit.stores.moving import FIRST, TakenAlong

__all__ = ["MemoryMoving"]


class MemoryMoving(MemoryQueue, ABC):
    """See `bouncekit.stores.moving.Moving`."""

    def __init__(self) -> None:
        super().__init__()
        self._arrivals: dict[tuple[str, str], Arrival] = {}  # by token and message

    def take_along(self, *, now: datetime, lease: Lease, limit: int, after: tuple[str, str] = FIRST) -> TakenAlong:
        """See `Moving.take_along`."""
        at = milliseconds(now)
        with self._lock:
            self._check_open()
            until = self._end_of(lease)
            free = sorted(
                (name, address)
                for name, message in self._messages.items()
                for address, row in message.rows.items()
                if row.attempt is None and (row.owner is None or (row.fence > 0 and not row.is_leased(at)))
            )
            places = [place for place in free if place > after][: max(limit, 0)]
            names = dict.fromkeys(name for name, _ in places)
            taken = {name: [self._messages[name].rows[one] for of, one in places if of == name] for name in names}
            parcels = [self._take_along(self._messages[name], rows, lease.token, until) for name, rows in taken.items()]
        return TakenAlong(parcels, places[-1] if places else None)

    def _take_along(self, message: Message, rows: Sequence[Row], token: str, until: int) -> Parcel:
        delivery = replace(self._take(message, rows, token, until), lease=None)
        waits = {row.recipient.address: _waits(row) for row in rows}
        return Parcel(
            delivery=delivery,
            queued_at=from_milliseconds(message.queued_at),
            waits=tuple(waits[one.address] for one in delivery.recipients),
        )

    def receive(self, arrivals: Sequence[Arrival]) -> None:
        """See `Moving.receive`."""
        with self._lock:
            self._check_open()
            for one in arrivals:
                self._arrivals.setdefault((one.token, one.parcel.delivery.id), one)

    def arriving(self, *, after: tuple[str, str] = FIRST, limit: int) -> Sequence[Arrival]:
        """See `Moving.arriving`."""
        with self._lock:
            self._check_open()
            return [self._arrivals[place] for place in sorted(self._arrivals) if place > after][: max(limit, 0)]

    def hand_over(
        self, token: str, moves: Moves, *, at: datetime, keep: timedelta = timedelta()
    ) -> Mapping[str, Set[str]]:
        """See `Moving.hand_over`."""
        gone: dict[str, Set[str]] = {}
        with self._lock:
            self._check_open()
            for message, told in moves.items():
                now = {address for address in told if self._is_under(token, message, address)}
                gone[message] = now | {address for address, event in told.items() if event.id in self._outbox}
                for address in now:
                    self._delete(message, address)
                if now:
                    self._sweep(message, at, keep)
                    self._outbox.keep(told[address] for address in told if address in now)
        return gone

    def _is_under(self, token: str, message: str, address: str) -> bool:
        row = self._row(message, address)
        return row is not None and row.owner == token and row.attempt is None

    def let_in(self, token: str, moves: Moves) -> None:
        """See `Moving.let_in`."""
        with self._lock:
            self._check_open()
            for message, told in moves.items():
                arrival = self._arrivals.pop((token, message), None)
                if arrival is not None:
                    self._let_in(arrival.parcel, told)
                    self._outbox.keep(told.values())

    def _let_in(self, parcel: Parcel, addresses: Mapping[str, object]) -> None:
        delivery = parcel.delivery
        for recipient, waits in zip(delivery.recipients, parcel.waits, strict=True):
            wire = recipient.address.wire
            if wire in addresses and self._row(delivery.id, wire) is None:
                row = self._row_of(delivery, recipient, parcel.queued_at, {wire: waits.place})
                due_at = None if waits.due_at is None else milliseconds(waits.due_at)
                self._say(row, due_at, milliseconds(waits.said_at))
                self._name(delivery.id, delivery.given)
        self._line_up(delivery.id)

    def _name(self, message: str, given: Mapping[str, str]) -> None:
        """Remember how these were given: a message may come in several parcels."""
        found = self._messages[message]
        found.delivery = replace(found.delivery, given={**found.delivery.given, **given})


def _waits(row: Row) -> Waits:
    due_at = None if row.due_at is None else from_milliseconds(row.due_at)
    return Waits(due_at, from_milliseconds(row.timed_at), row.position)
