"""What waits in a SQL store, given away and taken in: each method is one transaction."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from datetime import datetime, timedelta
from itertools import groupby
from operator import itemgetter
from typing import Any

from bouncekit.delivery.parcel import Arrival, Moves, Parcel, Waits
from bouncekit.delivery.queue import Lease
from bouncekit.stores.codec import from_milliseconds, milliseconds, storable, told_rows
from bouncekit.stores.jsontext import json_text
from bouncekit.stores.leases import times
from bouncekit.stores.moving import FIRST, TakenAlong
from bouncekit.stores.queuecodec import RECIPIENT_COLUMNS, delivery_of, message_row, recipient_row
from bouncekit.stores.sql import movingstatements as statements
from bouncekit.stores.sql.database import Database, Rows, Transaction, repeated
from bouncekit.stores.sql.many import marks
from bouncekit.stores.sql.queue import complain, sweep
from bouncekit.stores.sql.queuestatements import ENQUEUE, KEEP, MESSAGES
from bouncekit.stores.sql.statements import IS_TOLD, TELL
from bouncekit.words.errors import StoreCorrupt

__all__ = ["SqlMoving"]

_COLUMNS = RECIPIENT_COLUMNS.split(", ")
_BY_MESSAGE = itemgetter(0)
_PLACE = itemgetter(0, 2)  # message and address, before which the position stands


class SqlMoving:
    """See `bouncekit.stores.moving.Moving`."""

    _database: Database

    @repeated
    def take_along(self, *, now: datetime, lease: Lease, limit: int, after: tuple[str, str] = FIRST) -> TakenAlong:
        """See `Moving.take_along`."""
        message, address = after
        taking = {"token": lease.token, "until": milliseconds(lease.until), **times(now)}
        asked = {"message": storable(message), "address": storable(address), "most": max(limit, 0)}
        with self._database.writing() as transaction:
            rows: Rows = sorted(transaction.execute(statements.TAKE_ALONG, {**taking, **asked}).fetchall(), key=_PLACE)
            names = list(dict.fromkeys(map(_BY_MESSAGE, rows)))
            found = transaction.execute(MESSAGES % marks(names), names).fetchall() if names else []
        messages = {row[0]: row for row in found}
        return TakenAlong(list(_readable(messages, rows)), _PLACE(rows[-1]) if rows else None)

    @repeated
    def receive(self, arrivals: Sequence[Arrival]) -> None:
        """See `Moving.receive`."""
        rows = [_arrival_row(one) for one in arrivals]
        with self._database.writing(*(one.parcel.delivery.id for one in arrivals)) as transaction:
            transaction.executemany(statements.RECEIVE, rows)

    def arriving(self, *, after: tuple[str, str] = FIRST, limit: int) -> Sequence[Arrival]:
        """See `Moving.arriving`."""
        return [_arrival_of(*row) for row in self._database.read(statements.ARRIVING, (*after, max(limit, 0)))]

    @repeated
    def hand_over(
        self, token: str, moves: Moves, *, at: datetime, keep: timedelta = timedelta()
    ) -> Mapping[str, Set[str]]:
        """See `Moving.hand_over`."""
        gone: dict[str, Set[str]] = {}
        with self._database.writing(*moves) as transaction:
            for message, told in moves.items():
                went = {
                    address: event
                    for address, event in told.items()
                    if transaction.execute(statements.DEPART, (message, address, token)).rowcount
                    or transaction.execute(IS_TOLD, (event.id,)).fetchone()
                }
                gone[message] = went.keys()
                if went:
                    sweep(transaction, message, at, keep)
                    transaction.executemany(TELL, told_rows(list(went.values())))
        return gone

    @repeated
    def let_in(self, token: str, moves: Moves) -> None:
        """See `Moving.let_in`."""
        with self._database.writing(*moves) as transaction:
            for message, told in moves.items():
                found = transaction.execute(statements.ARRIVED, (token, message)).fetchone()
                if found is not None:
                    recipients, *kept = found
                    rows = [row for row in json.loads(recipients) if row["address"] in told]
                    _let_in(transaction, kept, rows)
                    transaction.executemany(TELL, told_rows(list(told.values())))
                    transaction.execute(statements.FORGET, (token, message))


def _let_in(transaction: Transaction, message: Sequence[object], rows: Sequence[Mapping[str, object]]) -> None:
    if rows:
        transaction.execute(KEEP, tuple(message))
        transaction.executemany(ENQUEUE, rows)


def _readable(messages: Mapping[str, Sequence[Any]], rows: Iterable[Sequence[Any]]) -> Iterator[Parcel]:
    """The parcels of rows in their order, message by message, without what cannot be read."""
    for message, of_it in groupby(rows, _BY_MESSAGE):
        try:
            yield _parcel_of(messages[message], [row[1:] for row in of_it])
        except StoreCorrupt as error:
            complain("%s; it stays where it is", error)


def _parcel_of(message: Sequence[Any], rows: Sequence[Sequence[Any]]) -> Parcel:
    """A parcel from MESSAGE_COLUMNS, and RECIPIENT_COLUMNS with when it is due, and when that was said, for each."""
    delivery = delivery_of(message, [row[:-2] for row in rows], None)
    waits = {address: _waits(due_at, said_at, place) for place, address, *_, due_at, said_at in rows}
    return Parcel(
        delivery=delivery,
        queued_at=from_milliseconds(message[1]),
        waits=tuple(waits[one.address.wire] for one in delivery.recipients),
    )


def _waits(due_at: int | None, said_at: int, place: int) -> Waits:
    return Waits(None if due_at is None else from_milliseconds(due_at), from_milliseconds(said_at), place)


def _arrival_row(arrival: Arrival) -> tuple[object, ...]:
    parcel = arrival.parcel
    delivery = parcel.delivery
    recipients = [
        {
            **recipient_row(delivery, recipient, waits.place),
            "state": "held" if waits.due_at is None else "due",
            "due_at": None if waits.due_at is None else milliseconds(waits.due_at),
            "timed_at": milliseconds(waits.said_at),
        }
        for recipient, waits in zip(delivery.recipients, parcel.waits, strict=True)
    ]
    lies = (arrival.token, storable(arrival.origin), milliseconds(arrival.at), json_text(recipients))
    return (*lies, *message_row(delivery, parcel.queued_at))


def _arrival_of(token: str, origin: str, at: int, recipients: str, *message: Any) -> Arrival:
    try:
        rows = [[*(row[name] for name in _COLUMNS), row["due_at"], row["timed_at"]] for row in json.loads(recipients)]
    except (KeyError, TypeError, ValueError) as error:
        raise StoreCorrupt(f"the message {message[0]}, which comes from {origin}, cannot be read: {error}") from error
    return Arrival(token=token, origin=origin, at=from_milliseconds(at), parcel=_parcel_of(message, rows))
