"""The queue of a SQL store: each method is one transaction."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from heapq import merge
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple

from bouncekit.delivery.events import Event
from bouncekit.delivery.queue import Abandoned, Begun, Depth, Kept, Lease, Queued, QueueState
from bouncekit.delivery.settlement import Settlement
from bouncekit.delivery.steps import Delivery, Record
from bouncekit.policy.rule import Fate
from bouncekit.stores.codec import from_milliseconds, milliseconds, outcome_row, storable, told_rows
from bouncekit.stores.leases import lost, times
from bouncekit.stores.queuecodec import (
    delivery_of,
    kept_of,
    message_row,
    positions,
    queued_of,
    recipient_row,
    unmarked,
    waiting,
)
from bouncekit.stores.queueing import ENOUGH, MOST_OF_ONE, check_relay
from bouncekit.stores.sql import queuestatements as statements
from bouncekit.stores.sql.clockset import ClockWatch
from bouncekit.stores.sql.database import Database, Transaction, reading, repeated, retried
from bouncekit.stores.sql.many import marks
from bouncekit.stores.sql.paging import BEHIND_ALL, pages, walk
from bouncekit.stores.sql.probing import leave_probe
from bouncekit.stores.sql.statements import IS_TOLD, OUTCOME, TELL
from bouncekit.words.errors import StoreCorrupt, StoreError

__all__ = ["SqlQueue", "come_late", "complain", "is_open", "settle_queued", "sweep"]

_FEW = 20  # rows read at once, at least, of one relay
_ROWS_OF_ONE = 10  # rows read at once for each message that is wanted: each recipient has one
_IDLE = 20  # pages of what waits that are looked at where there is nothing to send, when the clock may have been set


class _Found(NamedTuple):
    """A message that was taken, and those of its recipients, as they lie there."""

    message: Sequence[Any]
    rows: Sequence[Sequence[Any]]
    attempt: str = ""


class _Group(NamedTuple):
    """Recipients of a message who could be had at the same time: where they lie, and how many were seen."""

    message: str
    relay: str
    retried: int
    free_at: int
    seen: int = 0


class SqlQueue:
    """See `bouncekit.stores.queueing.Queue`."""

    _database: Database
    _clock_watch: ClockWatch | None = None  # from the first claim on

    # -- what comes in, and what is begun

    @repeated
    def enqueue(self, delivery: Delivery, *, due_at: datetime, at: datetime, events: Sequence[Event] = ()) -> None:
        """See `Queue.enqueue`."""
        check_relay(delivery)
        message, told = message_row(delivery, at), told_rows(events)
        due = {"state": "due", "due_at": milliseconds(due_at), "timed_at": milliseconds(at)}
        rows = [
            {**recipient_row(delivery, recipient, place), **due} for place, recipient in enumerate(delivery.recipients)
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
        check_relay(delivery)
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
                        raise lost(str(row["address"]), delivery.id)
            statement = statements.BEGIN if is_new else statements.BEGIN_CLAIMED
            if transaction.executemany(statement, rows).rowcount < len(rows):
                begun_with = transaction.execute(statements.WITH, (begun.attempt_id,)).fetchall()
                taken = next(str(row["address"]) for row in rows if (row["address"],) not in begun_with)
                raise lost(taken, delivery.id)

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
        at, over = milliseconds(now), times(now)
        ((first, *newest),) = self._database.read(statements.WAITING)
        if not self._turn_back(at, over, *newest) and not first:
            self._database.rest()
            return []  # an idle worker asks for no lock
        found: list[_Found] = []
        taking = {"token": lease.token, "until": milliseconds(lease.until), **over}
        with self._database.writing() as transaction:
            wanted, room, seen = _relays(transaction) if relays is None else relays, ENOUGH, set[str]()
            free = _free(transaction, list(dict.fromkeys(wanted)), at, limit, oldest_first=oldest_first)
            while room > 0 and (some := _as_many(free, limit - len(found), room, seen)):
                found += (taken := _taken(transaction, some, taking, room))
                room -= sum(len(one.rows) for one in taken)
        if not found:
            self._database.rest()
            if self._clock_watch is not None:
                self._clock_watch.step(at, _IDLE)
        return [delivery for _, delivery in self._read(found, taking)]

    @repeated
    def overdue(self, *, now: datetime, lease: Lease, limit: int, relay: str) -> Sequence[Delivery]:
        """See `Queue.overdue`."""
        at, over = milliseconds(now), times(now)
        asked = (storable(relay), at, at)
        if limit < 1 or not self._database.read(statements.LATE, (*asked, 1)):
            return []
        taking = {"token": lease.token, "until": milliseconds(lease.until), **over}
        with self._database.writing() as transaction:
            rows = transaction.execute(statements.LATE, (*asked, _ROWS_OF_ONE * limit)).fetchall()
            late: dict[str, _Group] = {}
            for _, message, *lies in rows:
                if len(late) < limit:
                    late.setdefault(message, _Group(message, asked[0], *lies))
            found = _taken(transaction, tuple(late.values()), taking, ENOUGH) if late else []
        return [delivery for _, delivery in self._read(found, taking)]

    @repeated
    def abandoned(self, *, now: datetime, lease: Lease, limit: int) -> Sequence[Abandoned]:
        """See `Queue.abandoned`."""
        over = times(now)
        ended = tuple(over.values())
        if not self._database.read(statements.ABANDONED, (*ended, 1)):
            return []
        found: list[_Found] = []
        taking = {"token": lease.token, "until": milliseconds(lease.until), **over}
        with self._database.writing() as transaction:
            for (attempt,) in transaction.execute(statements.ABANDONED, (*ended, limit)).fetchall():
                rows = transaction.execute(statements.TAKE_ABANDONED, {**taking, "attempt": attempt}).fetchall()
                found += _found(transaction, rows, attempt=attempt)
        return [Abandoned(attempt_id=attempt, delivery=delivery) for attempt, delivery in self._read(found, taking)]

    def _turn_back(self, at: int, over: Mapping[str, int], newest: str | None, timed_at: int | None) -> bool:
        """See to what a clock that was set back has left behind; False where there can be nothing."""
        watch = self._clock_watch = self._clock_watch or ClockWatch(self._database)
        if not watch.look(at, newest, timed_at):
            return False
        if self._database.read(statements.BEYOND, over):
            with self._database.writing() as transaction:
                transaction.execute(statements.GIVE_UP, over)
        watch.step(at)
        return True

    def _read(self, found: Iterable["_Found"], taking: Mapping[str, Any]) -> Iterator[tuple[str, Delivery]]:
        """What was just taken, with its attempts, without what cannot be read: that is held.

        Behind the commit: nobody else waits for it.
        """
        for one in found:
            try:
                delivery = delivery_of(one.message, one.rows, taking["token"])
            except StoreCorrupt as error:
                self._hold(one.message[0], taking, error)
            else:
                yield one.attempt, delivery

    def _hold(self, message: str, taking: Mapping[str, Any], error: StoreCorrupt) -> None:
        """Hold a message; where that fails it waits until its lease ends, and what was taken with it goes."""
        try:
            with self._database.writing(message) as transaction:
                transaction.execute(statements.HOLD, (message, taking["token"]))
                transaction.execute(statements.END_ATTEMPTS, (taking["now"], message, ""))
        except StoreError as failed:
            complain("%s; it cannot be held: %s", error, failed)
        else:
            complain("%s; it is held, see `bouncekit queue list`", error)

    @repeated
    def extend(self, lease: Lease) -> int:
        """See `Queue.extend`."""
        with self._database.writing() as transaction:
            until = milliseconds(lease.until)
            return transaction.execute(statements.EXTEND, {"token": lease.token, "until": until}).rowcount

    @repeated
    def release(self, token: str) -> int:
        """See `Queue.release`."""
        number = 0
        if self._database.read(statements.LEFT, (token,)):  # a batch of which nothing is left asks for no lock
            with self._database.writing() as transaction:
                number = transaction.execute(statements.GIVE_BACK, {"token": token}).rowcount
        self._database.rest()
        return number

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
        message, address = after or ("", "")
        begin = {"message": storable(message), "address": storable(address)}
        asked = {
            "tenant": storable(tenant),
            "relay": storable(relay),
            "state": state and state.value,
            "needle": None if containing is None else storable(containing.lower()),
        }
        rows = walk(self._database.read, statements.QUEUED, asked, limit, begin=begin, behind=_behind)
        return map(queued_of, rows)

    def queued_message(self, message: str) -> Delivery | None:
        """See `Queue.queued_message`."""
        rows = self._database.read(statements.ROWS, (storable(message),))
        found = self._database.read(statements.MESSAGE, (storable(message),))
        return delivery_of(found[0], rows, None) if found else None

    def kept(self, *, beginning: str = "", limit: int | None = None) -> Iterator[Kept]:
        """See `Queue.kept`."""
        between = {"beginning": storable(beginning), "behind": f"{storable(beginning)}{BEHIND_ALL}"}
        begin = {"after": ""}
        rows = walk(self._database.read, statements.KEPT, between, limit, begin=begin, behind=_behind_kept)
        return map(kept_of, rows)

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
                sweep(transaction, message, at, keep)
                names = {None, *((called or {}).get(address, address) for address in gone)}
                about = [event for event in events if event.recipient in names]
                transaction.executemany(TELL, told_rows(about))
                transaction.executemany(OUTCOME, list(_outcomes(about, message)))
                for event in about:
                    if event.settlement is not None:
                        leave_probe(transaction, event.settlement, event.occasion, message)
        return len(gone)


def come_late(transaction: Transaction, record: Record) -> frozenset[str]:
    """Those who have the message by an attempt that somebody else has ended meanwhile."""
    attempt, done = (record.occasion.attempt_id,), unmarked(record) if record.delivery.relay is not None else {}
    if not done:
        return frozenset()
    in_time = {address for (address,) in transaction.execute(statements.WITH, attempt).fetchall()}
    late = frozenset(name for address, name in done.items() if address not in in_time)
    return late if late and transaction.execute(statements.WAS_BEGUN, attempt).fetchone() else frozenset()


def is_open(transaction: Transaction, record: Record) -> bool:
    """Whether anybody is in our hands still by the attempt that a record settles."""
    asked = {"attempt": record.occasion.attempt_id, "lease": record.delivery.lease}
    return record.delivery.relay is not None and bool(transaction.execute(statements.OPEN, asked).fetchone())


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
    sweep(transaction, delivery.id, occasion.at, record.keep, occasion.attempt_id)


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
        "timed_at": milliseconds(record.occasion.at),
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


def sweep(transaction: Transaction, message: str, at: datetime, keep: timedelta, attempt: str = "") -> None:
    """Let a message go whose last recipient has gone, and end an attempt, with those about nobody any more."""
    transaction.execute(statements.END_ATTEMPTS, (milliseconds(at), message, attempt))
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
) -> Iterator[_Group]:
    """Those who can be sent to: who was never tried, then who waited longest.

    Of a group never more are seen than a page has, since the next one begins behind its message.
    """
    sources = [(storable(relay), retried) for relay in relays for retried in (0, 1)]
    page = max(_ROWS_OF_ONE * limit // max(len(sources), 1), _FEW) + 1  # by the last one the one before is complete
    lines = [
        _groups(pages(reading(transaction), statements.FREE, (relay, retried, now), page), relay)
        for relay, retried in sources
    ]
    order = attrgetter("free_at", "message") if oldest_first else attrgetter("retried", "free_at", "message")
    return merge(*lines, key=order)


def _groups(rows: Iterable[tuple[int, int, str]], relay: str) -> Iterator[_Group]:
    """Rows that are alike once, each with how many there were."""
    for (was_tried, free_at, message), several in groupby(rows):
        yield _Group(message, relay, was_tried, free_at, sum(1 for _ in several))


def _as_many(free: Iterator[_Group], limit: int, room: int, seen: set[str]) -> Sequence[_Group]:
    """The next groups, of messages that were not `seen`: up to a number of them, and until they have so many."""
    some: list[_Group] = []
    if limit > 0:
        for group in free:
            if group.message in seen:
                continue
            seen.add(group.message)
            some.append(group)
            room -= group.seen
            if room <= 0 or len(some) == limit:
                break
    return some


def _taken(
    transaction: Transaction, groups: Sequence[_Group], taking: Mapping[str, object], room: int
) -> Sequence[_Found]:
    """Those of the groups' messages that could be taken, in their order; on PostgreSQL, another one may be at them.

    No more recipients than a claim takes of one message: who is left is free still. Where they have more together, it
    is one message after the other, as long as there is room: else a long one would take the place of those before it.
    Of a long one the group is taken: whoever else of it could be had may lie anywhere among all who wait.
    """
    messages = [group.message for group in groups]
    names = [f"message{number}" for number in range(len(messages))]
    named = ", ".join(f":{name}" for name in names)
    asked = {**taking, "most": MOST_OF_ONE, **dict(zip(names, messages, strict=True))}
    is_long = transaction.execute(statements.HAVE_MORE % named, asked).fetchone()
    if is_long and len(groups) > 1:
        found: list[_Found] = []
        for group in groups:
            if sum(len(one.rows) for one in found) < room:
                found += _taken(transaction, [group], taking, room)
        return found
    if is_long:
        taken = transaction.execute(statements.TAKE_GROUP, {**taking, **groups[0]._asdict(), "most": MOST_OF_ONE})
    else:
        taken = transaction.execute(statements.TAKE % (named, named), asked)
    return _found(transaction, taken.fetchall(), messages)


def _found(
    transaction: Transaction, rows: Iterable[Sequence[Any]], messages: Iterable[str] = (), attempt: str = ""
) -> list[_Found]:
    """The messages of rows that were just taken, each with its rows, in the order of `messages`."""
    taken = {message: list[Sequence[Any]]() for message in messages}
    for row in rows:
        taken.setdefault(row[0], []).append(row[1:])
    names = [message for message, of_it in taken.items() if of_it]
    if not names:
        return []
    statement = statements.MESSAGES % marks(names)
    found = {row[0]: row for row in transaction.execute(statement, names).fetchall()}
    return [_Found(found[message], taken[message], attempt) for message in names]


def _behind(row: Sequence[Any]) -> Mapping[str, object]:
    """Where the queue goes on behind a recipient."""
    return {"message": row[0], "address": row[1]}


def _behind_kept(row: Sequence[Any]) -> Mapping[str, object]:
    return {"after": row[0]}


def complain(message: str, *arguments: object) -> None:
    """Say it in the log, whose module a send that meets no fault does without."""
    import logging

    logging.getLogger("bouncekit").error(message, *arguments)
