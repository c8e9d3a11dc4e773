"""The queue of a SQL store: each method is one transaction."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from heapq import merge
from itertools import islice
from operator import itemgetter
from typing import Any

from bouncekit.delivery.events import Event
from bouncekit.delivery.queue import Abandoned, Begun, Depth, Kept, Lease, LeaseLost, Queued, QueueState
from bouncekit.delivery.settlement import Settlement
from bouncekit.delivery.steps import Delivery, Record
from bouncekit.policy.rule import Fate
from bouncekit.stores.codec import from_milliseconds, milliseconds, outcome_row, storable, told_rows
from bouncekit.stores.leases import times
from bouncekit.stores.queuecodec import (
    delivery_of,
    kept_of,
    message_row,
    positions,
    queued_of,
    recipient_row,
    waiting,
)
from bouncekit.stores.sql import queuestatements as statements
from bouncekit.stores.sql.database import Database, Transaction, repeated, retried
from bouncekit.stores.sql.statements import IS_TOLD, OUTCOME, TELL
from bouncekit.words.errors import StoreCorrupt, StoreError

__all__ = ["SqlQueue", "settle_queued"]

_BEHIND_ALL = "\U0010ffff"  # sorts behind every id
_BEFORE_ALL = (-(2**63), "")  # a time and an id
_PAGE = 500  # rows read at once while a caller iterates
_FEW = 20  # rows read at once, at least, of one relay


class SqlQueue:
    """See `bouncekit.stores.queueing.Queue`."""

    _database: Database
    _claimed_at: int | None = None  # when somebody last claimed here, to see that the clock was set back

    # -- what comes in, and what is begun

    @repeated
    def enqueue(self, delivery: Delivery, *, due_at: datetime, at: datetime, events: Sequence[Event] = ()) -> None:
        """See `Queue.enqueue`."""
        _check_relay(delivery)
        message, told = message_row(delivery, at), told_rows(events)
        rows = [
            {**recipient_row(delivery, recipient, place), "state": "due", "due_at": milliseconds(due_at)}
            for place, recipient in enumerate(delivery.recipients)
        ]
        with self._database.writing(delivery.id) as transaction:
            if events and transaction.execute(IS_TOLD, (events[0].id,)).fetchone():
                return
            if rows and transaction.execute(statements.KEEP, message).rowcount == 0:
                return
            transaction.executemany(statements.ENQUEUE, rows)
            transaction.executemany(TELL, told)

    @repeated
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
        with self._database.writing(delivery.id) as transaction:
            if transaction.execute(statements.BEGIN_ATTEMPT, attempt).rowcount == 0:
                if self._database.is_in_doubt and _is_begun(transaction, *attempt):
                    return
                raise StoreError(f"the attempt {begun.attempt_id} has been begun before")
            if is_new:
                transaction.execute(statements.KEEP, message)
                for row in rows:
                    if _is_settled(transaction, delivery, str(row["address"])):
                        raise _lost(row)
            statement = statements.BEGIN if is_new else statements.BEGIN_CLAIMED
            if transaction.executemany(statement, rows).rowcount < len(rows):
                begun_with = transaction.execute(statements.WITH, (begun.attempt_id,)).fetchall()
                raise _lost(next(row for row in rows if (row["address"],) not in begun_with))

    # -- leases

    @repeated
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
        at, over = milliseconds(now), times(now)
        claimed: list[Delivery] = []
        taking = {"token": lease.token, "until": milliseconds(lease.until), **over}
        was_set_back = self._may_be_set_back(at) and self._database.read(statements.BEYOND, over)
        with self._database.writing() as transaction:
            if was_set_back:
                transaction.execute(statements.GIVE_UP, over)
            wanted = _relays(transaction) if relays is None else relays
            free = _free(transaction, list(dict.fromkeys(wanted)), at, limit, oldest_first=oldest_first)
            while some := list(islice(free, limit - len(claimed))):
                claimed += _taken(transaction, some, taking)
        return claimed

    @repeated
    def overdue(self, *, now: datetime, lease: Lease, limit: int, relay: str) -> Sequence[Delivery]:
        """See `Queue.overdue`."""
        at, over = milliseconds(now), times(now)
        asked = (storable(relay), at, at, limit)
        if limit < 1 or not self._database.read(statements.LATE, asked):
            return []
        taking = {"token": lease.token, "until": milliseconds(lease.until), **over}
        with self._database.writing() as transaction:
            late = dict.fromkeys(message for _, message in transaction.execute(statements.LATE, asked).fetchall())
            return _taken(transaction, list(late), taking) if late else []

    def _may_be_set_back(self, at: int) -> bool:
        """Whether it is earlier than before, or nobody here knows: then all that is leased is looked through."""
        before, self._claimed_at = self._claimed_at, at
        return before is None or at < before

    @repeated
    def abandoned(self, *, now: datetime, lease: Lease, limit: int) -> Sequence[Abandoned]:
        """See `Queue.abandoned`."""
        over = times(now)
        ended = tuple(over.values())
        if not self._database.read(statements.ABANDONED, (*ended, *_BEFORE_ALL, 1)):
            return []
        found: list[Abandoned] = []
        taking = {"token": lease.token, "until": milliseconds(lease.until), **over}
        with self._database.writing() as transaction:
            attempts = dict.fromkeys(attempt for _, attempt in _pages(transaction, statements.ABANDONED, ended, limit))
            for attempt in islice(attempts, limit):
                rows = transaction.execute(statements.TAKE_ABANDONED, {**taking, "attempt": attempt}).fetchall()
                found += [
                    Abandoned(attempt_id=attempt, delivery=delivery)
                    for delivery in _deliveries(transaction, rows, taking)
                ]
        return found

    @repeated
    def extend(self, lease: Lease) -> int:
        """See `Queue.extend`."""
        with self._database.writing() as transaction:
            until = milliseconds(lease.until)
            return transaction.execute(statements.EXTEND, {"token": lease.token, "until": until}).rowcount

    @repeated
    def release(self, token: str) -> int:
        """See `Queue.release`."""
        with self._database.writing() as transaction:
            return transaction.execute(statements.GIVE_BACK, {"token": token}).rowcount

    # -- what people see and do

    def depth(self, now: datetime) -> Depth:
        """See `Queue.depth`."""
        ((due, later, held, leased, begun, *oldest, abandoned),) = self._database.read(statements.DEPTH, times(now))
        since = min((at for at in oldest if at is not None), default=None)
        return Depth(
            due=due,
            waiting=later - leased,
            held=held,
            leased=leased + begun,
            oldest_due_at=None if since is None else from_milliseconds(since),
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

    @repeated
    def requeue(self, message: str, recipient: str | None, *, at: datetime) -> int:
        """See `Queue.requeue`."""
        asked = {"message": storable(message), "recipient": storable(recipient), **times(at)}
        with self._database.writing(message) as transaction:
            return transaction.execute(statements.REQUEUE, asked).rowcount

    @retried
    def drop(
        self,
        message: str,
        recipient: str | None,
        *,
        at: datetime,
        events: Sequence[Event] = (),
        keep: timedelta = timedelta(),
        called: Mapping[str, str] | None = None,
    ) -> int:
        """See `Queue.drop`."""
        asked = {"message": storable(message), "recipient": storable(recipient), **times(at)}
        with self._database.writing(message) as transaction:
            gone = {address for (address,) in transaction.execute(statements.DROP, asked).fetchall()}
            if gone:
                _sweep(transaction, message, at, keep)
                names = {None, *((called or {}).get(address, address) for address in gone)}
                about = [event for event in events if event.recipient in names]
                transaction.executemany(TELL, told_rows(about))
                transaction.executemany(OUTCOME, list(_outcomes(about, message)))
        return len(gone)


def settle_queued(transaction: Transaction, record: Record) -> None:
    """What a record does to the queue, inside its transaction and before its outcomes are written."""
    delivery, occasion = record.delivery, record.occasion
    if delivery.relay is None:
        return
    places = positions(delivery)
    counted = {one.address.wire: one for one in (*delivery.recipients, *record.recipients)}
    known = waiting(record)
    transaction.executemany(statements.SETTLE, [_final_row(delivery, one) for one in known if one.is_final])
    for settlement in known:
        if not settlement.is_final:
            recipient = counted[settlement.recipient]
            _delay(
                transaction,
                record,
                settlement,
                recipient_row(delivery, recipient, places.get(settlement.recipient, len(places))),
            )
    transaction.execute(statements.AGAIN, {"attempt": occasion.attempt_id, "lease": delivery.lease})
    transaction.execute(statements.END_ATTEMPT, (milliseconds(occasion.at), occasion.attempt_id))
    _sweep(transaction, delivery.id, occasion.at, record.keep)


def _final_row(delivery: Delivery, settlement: Settlement) -> dict[str, object]:
    answered = not settlement.was_kept_back
    return {
        "message": delivery.id,
        "address": settlement.recipient,
        "is_answered": answered,
        "lease": delivery.lease,
    }


def _delay(transaction: Transaction, record: Record, settlement: Settlement, row: dict[str, object]) -> None:
    """Let a recipient wait, unless somebody else has it or had it: then his word counts."""
    delivery = record.delivery
    held = settlement.fate is Fate.HOLD or settlement.retry_at is None
    row |= {
        "state": "held" if held else "due",
        "due_at": None if held or settlement.retry_at is None else milliseconds(settlement.retry_at),
        "lease": delivery.lease,
    }
    if transaction.execute(statements.DELAY, row).rowcount or delivery.lease is not None:
        return
    if _is_settled(transaction, delivery, settlement.recipient):
        return
    if not transaction.execute(statements.WAITS, (delivery.id,)).fetchone():
        transaction.execute(statements.KEEP, message_row(delivery, record.occasion.at))
    transaction.execute(statements.ENQUEUE, row)


def _outcomes(events: Iterable[Event], message: str) -> Iterator[tuple[object, ...]]:
    """What became of those whom a hand took out: to count, like what a server said of them."""
    for event in events:
        if event.settlement is not None and event.type.value == event.settlement.action.value:
            yield outcome_row(event.settlement, event.occasion, message)


def _sweep(transaction: Transaction, message: str, at: datetime, keep: timedelta) -> None:
    """Let a message go whose last recipient has gone, and end the attempts that are about nobody any more."""
    transaction.execute(statements.END_ATTEMPTS, (milliseconds(at), message))
    if keep > timedelta():
        transaction.execute(statements.LEAVE, (milliseconds(at + keep), message))
    else:
        transaction.execute(statements.SWEEP, (message,))


def _is_settled(transaction: Transaction, delivery: Delivery, address: str) -> bool:
    """Whether somebody else has settled a recipient of ours, for good, since we began."""
    asked = (storable(delivery.called.get(address, address)), delivery.id, delivery.id, address)
    return transaction.execute(statements.IS_SETTLED, asked).fetchone() is not None


def _is_begun(transaction: Transaction, attempt: str, message: str, _: object, owner: str, at: int) -> bool:
    """Whether this very attempt has been begun: its commit was not answered."""
    return transaction.execute(statements.IS_BEGUN, (attempt, message, owner, at)).fetchone() is not None


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


def _relays(transaction: Transaction) -> Iterator[str]:
    """The relays that anything waits for, however many rows there are for each."""
    (relay,) = transaction.execute(statements.FIRST_RELAY).fetchone()
    while relay is not None:
        yield relay
        (relay,) = transaction.execute(statements.NEXT_RELAY, (relay,)).fetchone()


def _free(
    transaction: Transaction, relays: Sequence[str], now: int, limit: int, *, oldest_first: bool
) -> Iterator[str]:
    """The messages that have somebody to be sent to: what was never tried, then what waited longest."""
    sources = [(storable(relay), retried) for relay in relays for retried in (0, 1)]
    page = max(limit // max(len(sources), 1), _FEW)
    lines = [_pages(transaction, statements.FREE, (*source, now), page) for source in sources]
    seen = set[str]()
    for _, _, message in merge(*lines, key=itemgetter(1, 2) if oldest_first else None):
        if message not in seen:
            seen.add(message)
            yield message


def _pages(transaction: Transaction, statement: str, asked: tuple[object, ...], page: int) -> Iterator[Any]:
    """The rows of a statement whose last columns are a time and an id, in their order, a page at a time."""
    place: Sequence[object] = _BEFORE_ALL
    while rows := transaction.execute(statement, (*asked, *place, page)).fetchall():
        yield from rows
        if len(rows) < page:
            return
        place = rows[-1][-2:]


def _taken(transaction: Transaction, messages: Sequence[str], taking: Mapping[str, object]) -> list[Delivery]:
    """Those of the messages that could be taken; on PostgreSQL, another one may be at them."""
    names = [f"message{number}" for number in range(len(messages))]
    marks = ", ".join(f":{name}" for name in names)
    asked = {**taking, **dict(zip(names, messages, strict=True))}
    rows = transaction.execute(statements.TAKE % (marks, marks), asked).fetchall()
    place = {message: number for number, message in enumerate(messages)}
    return _deliveries(transaction, sorted(rows, key=lambda row: place[row[-1]]), taking)


def _deliveries(transaction: Transaction, rows: Iterable[Sequence[Any]], taking: Mapping[str, Any]) -> list[Delivery]:
    """The messages of rows that were just taken, without those that cannot be read: they are held."""
    taken: dict[str, list[Sequence[Any]]] = {}
    for *row, message in rows:
        taken.setdefault(message, []).append(row)
    if not taken:
        return []
    statement = statements.MESSAGES % ", ".join("?" * len(taken))
    found = {row[0]: row for row in transaction.execute(statement, tuple(taken)).fetchall()}
    read = (_read(transaction, found[message], taken[message], taking) for message in taken)
    return [delivery for delivery in read if delivery is not None]


def _read(
    transaction: Transaction, message: Sequence[Any], rows: Sequence[Sequence[Any]], taking: Mapping[str, Any]
) -> Delivery | None:
    """The message that was just taken; None, and held, where it cannot be read."""
    try:
        return delivery_of(message, rows, taking["token"])
    except StoreCorrupt as error:
        import logging

        transaction.execute(statements.HOLD, (message[0], taking["token"]))
        transaction.execute(statements.END_ATTEMPTS, (taking["now"], message[0]))
        logging.getLogger("bouncekit").error("%s; it is held, see `bouncekit queue list`", error)
        return None


def _check_relay(delivery: Delivery) -> None:
    if delivery.relay is None:
        raise ValueError(f"the delivery {delivery.id} names no relay through which it is to be sent")


def _lost(row: dict[str, Any]) -> LeaseLost:
    return LeaseLost(f"{row['address']} of the message {row['message']} is in somebody else's hands by now")
