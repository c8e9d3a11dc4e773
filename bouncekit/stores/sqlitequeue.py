"""The queue of a SQLite store: each method is one transaction, under the lock for writers."""

import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from heapq import merge
from operator import itemgetter
from typing import Any

from bouncekit.errors import StoreCorrupt, StoreError
from bouncekit.events import Event
from bouncekit.policy import Fate
from bouncekit.queue import Abandoned, Begun, Depth, Kept, Lease, LeaseLost, Queued, QueueState
from bouncekit.settlement import Settlement
from bouncekit.steps import Delivery, Record
from bouncekit.stores import queuestatements as statements
from bouncekit.stores.codec import from_milliseconds, milliseconds, outcome_row, storable, told_rows
from bouncekit.stores.queuecodec import delivery_of, kept_of, message_row, positions, queued_of, recipient_row
from bouncekit.stores.sqlitefile import Database
from bouncekit.stores.statements import IS_TOLD, OUTCOME, TELL

__all__ = ["SqliteQueue", "settle_queued"]

_BEHIND_ALL = "\U0010ffff"  # sorts behind every id
_PAGE = 500  # rows read at once while a caller iterates


class SqliteQueue:
    """See `bouncekit.stores.queueing.Queue`."""

    _database: Database

    # -- what comes in, and what is begun

    def enqueue(self, delivery: Delivery, *, due_at: datetime, at: datetime, events: Sequence[Event] = ()) -> None:
        """See `Queue.enqueue`."""
        _check_relay(delivery)
        message, told = message_row(delivery, at), told_rows(events)
        rows = [
            {**recipient_row(delivery, recipient, place), "state": "due", "due_at": milliseconds(due_at)}
            for place, recipient in enumerate(delivery.recipients)
        ]
        with self._database.writing() as connection:
            if events and connection.execute(IS_TOLD, (events[0].id,)).fetchone():
                return
            if rows and connection.execute(statements.KEEP, message).rowcount == 0:
                return
            connection.executemany(statements.ENQUEUE, rows)
            connection.executemany(TELL, told)

    def begin(self, begun: Begun) -> None:
        """See `Queue.begin`."""
        delivery = begun.delivery
        _check_relay(delivery)
        if not begun.recipients:
            return
        is_new = delivery.lease is None
        message, rows = message_row(delivery, begun.at) if is_new else (), _begun_rows(begun)
        owner = delivery.lease or begun.lease.token
        attempt = (begun.attempt_id, delivery.id, delivery.relay, owner, milliseconds(begun.at))
        with self._database.writing() as connection:
            if connection.execute(statements.BEGIN_ATTEMPT, attempt).rowcount == 0:
                raise StoreError(f"the attempt {begun.attempt_id} has been begun before")
            if is_new:
                connection.execute(statements.KEEP, message)
            for row in rows:
                if is_new and _is_settled(connection, delivery.id, row["address"]):
                    raise _lost(row)
                if connection.execute(statements.BEGIN if is_new else statements.BEGIN_CLAIMED, row).rowcount == 0:
                    raise _lost(row)

    # -- leases

    def claim(
        self,
        *,
        now: datetime,
        lease: Lease,
        limit: int,
        relays: Collection[str] | None = None,
        oldest_first: bool = False,
    ) -> Sequence[Delivery]:
        """See `Queue.claim`."""
        if not self._database.read(statements.FIRST_RELAY)[0][0]:
            return []  # an idle worker asks for no lock
        at, claimed = milliseconds(now), []
        taking = {"token": lease.token, "until": milliseconds(lease.until), "now": at}
        with self._database.writing() as connection:
            for message in _free(
                connection, _relays(connection) if relays is None else relays, at, limit, oldest_first=oldest_first
            ):
                rows = connection.execute(statements.TAKE, {**taking, "message": message}).fetchall()
                delivery = _read(connection, message, rows, lease.token, at)
                claimed += [delivery] if delivery is not None else []
        return claimed

    def abandoned(self, *, now: datetime, lease: Lease, limit: int) -> Sequence[Abandoned]:
        """See `Queue.abandoned`."""
        at = milliseconds(now)
        if not self._database.read(f"{statements.ABANDONED} LIMIT 1", (at,)):
            return []
        found = []
        taking = {"token": lease.token, "until": milliseconds(lease.until), "now": at}
        with self._database.writing() as connection:
            for attempt in _distinct(connection, statements.ABANDONED, at, limit):
                taken = connection.execute(statements.TAKE_ABANDONED, {**taking, "attempt": attempt}).fetchall()
                delivery = _read(connection, taken[0][-1], [row[:-1] for row in taken], lease.token, at)
                found += [Abandoned(attempt_id=attempt, delivery=delivery)] if delivery is not None else []
        return found

    def extend(self, lease: Lease) -> int:
        """See `Queue.extend`."""
        with self._database.writing() as connection:
            until = milliseconds(lease.until)
            return connection.execute(statements.EXTEND, {"token": lease.token, "until": until}).rowcount

    def release(self, token: str) -> int:
        """See `Queue.release`."""
        with self._database.writing() as connection:
            return connection.execute(statements.GIVE_BACK, (token,)).rowcount

    # -- what people see and do

    def depth(self, now: datetime) -> Depth:
        """See `Queue.depth`."""
        ((due, later, held, leased, begun, oldest, abandoned),) = self._database.read(
            statements.DEPTH, {"now": milliseconds(now)}
        )
        return Depth(
            due=due,
            waiting=later - leased,
            held=held,
            leased=leased + begun,
            oldest_due_at=None if oldest is None else from_milliseconds(oldest),
            abandoned=abandoned,
        )

    def queued_relays(self) -> Mapping[str, int]:
        """See `Queue.queued_relays`."""
        return dict(self._database.read(statements.RELAYS))

    def queued(
        self,
        *,
        tenant: str | None = None,
        relay: str | None = None,
        state: QueueState | None = None,
        containing: str | None = None,
        after: tuple[str, str] | None = None,
        limit: int | None = None,
    ) -> Iterator[Queued]:
        """See `Queue.queued`."""
        left = limit
        message, address = after or ("", "")
        asked = {
            "tenant": storable(tenant),
            "relay": storable(relay),
            "state": state and state.value,
            "needle": None if containing is None else storable(containing.lower()),
        }
        while left is None or left > 0:
            page = _PAGE if left is None else min(_PAGE, left)
            place = {"message": storable(message), "address": storable(address), "page": page}
            rows = self._database.read(statements.QUEUED, {**asked, **place})
            for row in rows:
                yield queued_of(row)
            if len(rows) < page:
                return
            left = None if left is None else left - page
            message, address = rows[-1][:2]

    def queued_message(self, message: str) -> Delivery | None:
        """See `Queue.queued_message`."""
        rows = self._database.read(statements.ROWS, (storable(message),))
        found = self._database.read(statements.MESSAGE, (storable(message),))
        return delivery_of(found[0], rows, None) if found else None

    def kept(self, *, beginning: str = "", limit: int | None = None) -> Iterator[Kept]:
        """See `Queue.kept`."""
        left, after = limit, ""
        between = {"beginning": storable(beginning), "behind": f"{storable(beginning)}{_BEHIND_ALL}"}
        while left is None or left > 0:
            page = _PAGE if left is None else min(_PAGE, left)
            rows = self._database.read(statements.KEPT, {**between, "after": after, "page": page})
            yield from map(kept_of, rows)
            if len(rows) < page:
                return
            left, after = None if left is None else left - page, rows[-1][0]

    def requeue(self, message: str, recipient: str | None, *, at: datetime) -> int:
        """See `Queue.requeue`."""
        asked = {"message": storable(message), "recipient": storable(recipient), "at": milliseconds(at)}
        with self._database.writing() as connection:
            return connection.execute(statements.REQUEUE, asked).rowcount

    def drop(
        self,
        message: str,
        recipient: str | None,
        *,
        at: datetime,
        events: Sequence[Event] = (),
        keep: timedelta = timedelta(),
    ) -> int:
        """See `Queue.drop`."""
        asked = {"message": storable(message), "recipient": storable(recipient), "at": milliseconds(at)}
        with self._database.writing() as connection:
            gone = {address for (address,) in connection.execute(statements.DROP, asked).fetchall()}
            if gone:
                _sweep(connection, message, at, keep)
                about = [event for event in events if event.recipient is None or event.recipient in gone]
                connection.executemany(TELL, told_rows(about))
                connection.executemany(OUTCOME, list(_outcomes(about, message)))
        return len(gone)


def settle_queued(connection: sqlite3.Connection, record: Record) -> None:
    """What a record does to the queue, inside its transaction and before its outcomes are written."""
    delivery, occasion = record.delivery, record.occasion
    if delivery.relay is None:
        return
    places = positions(delivery)
    counted = {one.address.wire: one for one in (*delivery.recipients, *record.recipients)}
    known = [settlement for settlement in record.settlements if settlement.key]  # the others were refused here
    connection.executemany(statements.SETTLE, [_final_row(delivery, one) for one in known if one.is_final])
    for settlement in known:
        if not settlement.is_final:
            recipient = counted[settlement.recipient]
            _delay(
                connection,
                record,
                settlement,
                recipient_row(delivery, recipient, places.get(settlement.recipient, len(places))),
            )
    connection.execute(statements.AGAIN, {"attempt": occasion.attempt_id, "lease": delivery.lease})
    connection.execute(statements.END_ATTEMPT, (milliseconds(occasion.at), occasion.attempt_id))
    _sweep(connection, delivery.id, occasion.at, record.keep)


def _final_row(delivery: Delivery, settlement: Settlement) -> dict[str, object]:
    answered = not settlement.was_kept_back
    return {
        "message": delivery.id,
        "address": settlement.recipient,
        "is_answered": answered,
        "lease": delivery.lease,
    }


def _delay(connection: sqlite3.Connection, record: Record, settlement: Settlement, row: dict[str, object]) -> None:
    """Let a recipient wait, unless somebody else has it or had it: then his word counts."""
    delivery = record.delivery
    held = settlement.fate is Fate.HOLD or settlement.retry_at is None
    row |= {
        "state": "held" if held else "due",
        "due_at": None if held or settlement.retry_at is None else milliseconds(settlement.retry_at),
        "lease": delivery.lease,
    }
    if connection.execute(statements.DELAY, row).rowcount or delivery.lease is not None:
        return
    if _is_settled(connection, delivery.id, settlement.recipient):
        return
    if not connection.execute(statements.WAITS, (delivery.id,)).fetchone():
        connection.execute(statements.KEEP, message_row(delivery, record.occasion.at))
    connection.execute(statements.ENQUEUE, row)


def _outcomes(events: Iterable[Event], message: str) -> Iterator[tuple[object, ...]]:
    """What became of those whom a hand took out: to count, like what a server said of them."""
    for event in events:
        if event.settlement is not None and event.type.value == event.settlement.action.value:
            yield outcome_row(event.settlement, event.occasion, message)


def _sweep(connection: sqlite3.Connection, message: str, at: datetime, keep: timedelta) -> None:
    """Let a message go whose last recipient has gone, and end the attempts that are about nobody any more."""
    connection.execute(statements.END_ATTEMPTS, (milliseconds(at), message))
    if keep > timedelta():
        connection.execute(statements.LEAVE, (milliseconds(at + keep), message))
    else:
        connection.execute(statements.SWEEP, (message,))


def _is_settled(connection: sqlite3.Connection, message: str, address: object) -> bool:
    """Whether somebody else has settled a recipient of ours, for good, since we began."""
    asked = (address, message, message, address)
    return connection.execute(statements.IS_SETTLED, asked).fetchone() is not None


def _begun_rows(begun: Begun) -> list[dict[str, object]]:
    delivery, at = begun.delivery, milliseconds(begun.at)
    places = positions(delivery)
    rows = []
    for recipient in begun.recipients:
        row = recipient_row(delivery, recipient, places.get(recipient.address.wire, len(places)))
        if recipient.first_attempt_at is None:
            row["first_attempt_at"] = at
        row |= {"attempt": begun.attempt_id, "token": begun.lease.token, "until": milliseconds(begun.lease.until)}
        rows.append({**row, "at": at, "lease": delivery.lease})
    return rows


def _relays(connection: sqlite3.Connection) -> Iterator[str]:
    """The relays that anything waits for, however many rows there are for each."""
    ((relay,),) = connection.execute(statements.FIRST_RELAY)
    while relay is not None:
        yield relay
        ((relay,),) = connection.execute(statements.NEXT_RELAY, (relay,))


def _free(
    connection: sqlite3.Connection,
    relays: Collection[str] | Iterator[str],
    now: int,
    limit: int,
    *,
    oldest_first: bool,
) -> list[str]:
    """The first messages that have somebody to be sent to: what was never tried, then what waited longest."""
    cursors = [
        connection.execute(statements.FREE, (storable(relay), retried, now))
        for relay in dict.fromkeys(relays)
        for retried in (0, 1)
    ]
    messages: dict[str, None] = {}
    if limit > 0:
        for _, _, message in merge(*cursors, key=itemgetter(1, 2) if oldest_first else None):
            messages[message] = None
            if len(messages) == limit:
                break
    for cursor in cursors:
        cursor.close()
    return list(messages)


def _distinct(connection: sqlite3.Connection, statement: str, at: int, limit: int) -> list[str]:
    """The first different values of a statement's one column."""
    found: dict[str, None] = {}
    with closing(connection.execute(statement, (at,))) as cursor:
        while len(found) < limit and (row := cursor.fetchone()):
            found[row[0]] = None
    return list(found)


def _read(
    connection: sqlite3.Connection, message: str, rows: Sequence[Sequence[Any]], token: str, at: int
) -> Delivery | None:
    """The message that was just taken; None, and held, where it cannot be read."""
    try:
        return delivery_of(connection.execute(statements.MESSAGE, (message,)).fetchone(), rows, token)
    except StoreCorrupt as error:
        import logging

        connection.execute(statements.HOLD, (message, token))
        connection.execute(statements.END_ATTEMPTS, (at, message))
        logging.getLogger("bouncekit").error("%s; it is held, see `bouncekit queue list`", error)
        return None


def _check_relay(delivery: Delivery) -> None:
    if delivery.relay is None:
        raise ValueError(f"the delivery {delivery.id} names no relay through which it is to be sent")


def _lost(row: dict[str, Any]) -> LeaseLost:
    return LeaseLost(f"{row['address']} of the message {row['message']} is in somebody else's hands by now")
