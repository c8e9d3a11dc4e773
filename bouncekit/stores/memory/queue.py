"""The queue of a store in memory: it holds whatever the application queues, and is gone with its process."""

import threading
from abc import ABC, abstractmethod
from collections import Counter, OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import islice

from bouncekit.delivery.events import Event, Occasion
from bouncekit.delivery.queue import Abandoned, Begun, Depth, Kept, Lease, Queued, QueueState
from bouncekit.delivery.settlement import Settlement
from bouncekit.delivery.steps import Delivery, Record
from bouncekit.policy.rule import Fate
from bouncekit.stores.clockset import is_ahead, say_so
from bouncekit.stores.codec import from_milliseconds, milliseconds
from bouncekit.stores.leases import LONGEST, lost
from bouncekit.stores.memory.outbox import MemoryOutbox
from bouncekit.stores.memory.waitingline import Line, Message, Row, as_stored
from bouncekit.stores.queuecodec import positions, unmarked, waiting
from bouncekit.stores.queueing import ENOUGH, MOST_OF_ONE, check_relay
from bouncekit.words.envelope import Recipient
from bouncekit.words.errors import StoreError

__all__ = ["MemoryQueue"]

_MOST_SETTLED = 10_000  # recipients that a worker had an outcome for, and attempts: who was at them too is told


@dataclass(slots=True)
class _Attempt:
    """An attempt that is open: under which lease it was begun, and about whom it still is."""

    message: str
    owner: str
    addresses: set[str]
    begun_at: int


class MemoryQueue(ABC):
    """See `bouncekit.stores.queueing.Queue`."""

    _lock: threading.Lock
    _outbox: MemoryOutbox

    def __init__(self) -> None:
        self._messages: dict[str, Message] = {}
        self._line = Line()
        self._attempts: dict[str, _Attempt] = {}
        self._settled: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._ended_attempts: OrderedDict[str, None] = OrderedDict()  # the latest attempts that are open no more
        self._last_end = 0  # behind which no lease ends
        self._last_timed = 0  # behind which nobody has said when anything is due

    @abstractmethod
    def _check_open(self) -> None:
        """Raises StoreError once the store is closed."""

    @abstractmethod
    def _leave_probe(self, settlement: Settlement, occasion: Occasion, delivery_id: str) -> None:
        """Have an outcome of a delivery say when another message may be the probe, with the lock held."""

    # -- what comes in, and what is begun

    def enqueue(self, delivery: Delivery, *, due_at: datetime, at: datetime, events: Sequence[Event] = ()) -> None:
        """See `Queue.enqueue`."""
        check_relay(delivery)
        with self._lock:
            self._check_open()
            if delivery.id in self._messages or (events and events[0].id in self._outbox):
                return
            places = positions(delivery)
            for recipient in delivery.recipients:
                self._say(self._row_of(delivery, recipient, at, places), milliseconds(due_at), milliseconds(at))
            self._line_up(delivery.id)
            self._outbox.keep(events)

    def begin(self, begun: Begun) -> None:
        """See `Queue.begin`."""
        delivery = begun.delivery
        owner = delivery.lease or begun.lease.token
        check_relay(delivery)
        if not begun.recipients:
            return
        with self._lock:
            self._check_open()
            if begun.attempt_id in self._attempts:
                raise StoreError(f"the attempt {begun.attempt_id} has been begun before")
            addresses = [recipient.address.wire for recipient in begun.recipients]
            for address in addresses:
                if not self._may_begin(delivery, address, owner):
                    raise lost(address, delivery.id)
            self._attempts[begun.attempt_id] = _Attempt(delivery.id, owner, set(addresses), milliseconds(begun.at))
            places = positions(delivery)
            for recipient in begun.recipients:
                row = self._row_of(delivery, replace(recipient, give_up_at=None), begun.at, places)
                first = row.recipient.first_attempt_at or recipient.first_attempt_at or begun.at
                row.recipient = as_stored(replace(row.recipient, first_attempt_at=first))
                row.attempt, row.owner, row.until = begun.attempt_id, owner, self._end_of(begun.lease)

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
        at = milliseconds(now)
        claimed: list[Delivery] = []
        with self._lock:
            self._check_open()
            self._give_up_beyond(at + LONGEST)
            self._turn_back(at)
            until = self._end_of(lease)
            room = ENOUGH
            while (
                room > 0
                and len(claimed) < limit
                and (found := self._line.next(self._messages, at, relays, oldest_first=oldest_first))
            ):
                message, first = found
                if any(one.id == message.delivery.id for one in claimed):
                    self._line.add(message, first)  # the rest of a long one is for the next claim
                    break
                claimed.append(self._take(*self._wanted(message, first, at), lease.token, until))
                room -= len(claimed[-1].recipients)
        return claimed

    def overdue(self, *, now: datetime, lease: Lease, limit: int, relay: str) -> Sequence[Delivery]:
        """See `Queue.overdue`."""
        at = milliseconds(now)
        taken: list[Delivery] = []
        with self._lock:
            self._check_open()
            until = self._end_of(lease)
            for message in self._line.late(self._messages, at, relay, limit):
                free = (row for row in message.rows.values() if row.is_free(at))
                taken.append(self._take(message, list(islice(free, MOST_OF_ONE)), lease.token, until))
        return taken

    def _wanted(self, message: Message, first: Row, at: int) -> tuple[Message, list[Row]]:
        """Those of a message who can be had; of a long one, as many as a claim takes of those with the one in front."""
        if len(message.rows) > MOST_OF_ONE:
            return message, list(islice(self._line.group(message, first), MOST_OF_ONE))
        return message, [row for row in message.rows.values() if row.is_free(at)]

    def _take(self, message: Message, rows: Sequence[Row], token: str, until: int) -> Delivery:
        """Have these taken, who come into the line again behind the lease."""
        for row in rows:
            row.take(token, until)
            self._line.add(message, row)
        return message.to(rows, token)

    def abandoned(self, *, now: datetime, lease: Lease, limit: int) -> Sequence[Abandoned]:
        """See `Queue.abandoned`."""
        at = milliseconds(now)
        found: list[Abandoned] = []
        with self._lock:
            self._check_open()
            ended = {name: rows for name in self._attempts if (rows := self._ended(name, at))}
            until = self._end_of(lease)
            for name in sorted(ended)[: max(limit, 0)]:  # by the time when they were begun
                for row in ended[name]:
                    row.take(lease.token, until)
                message = self._messages[self._attempts[name].message]
                found.append(Abandoned(attempt_id=name, delivery=message.to(ended[name], lease.token)))
        return found

    def extend(self, lease: Lease) -> int:
        """See `Queue.extend`."""
        with self._lock:
            self._check_open()
            mine = self._under(lease.token)
            for message, row in mine:
                row.until = self._end_of(lease)
                self._line.add(message, row)
        return len(mine)

    def release(self, token: str) -> int:
        """See `Queue.release`."""
        with self._lock:
            self._check_open()
            mine = [(message, row) for message, row in self._under(token) if row.attempt is None]
            for message, row in mine:
                row.give_back()
                self._line.add(message, row)
        return len(mine)

    # -- what people see and do

    def depth(self, now: datetime) -> Depth:
        """See `Queue.depth`."""
        at = milliseconds(now)
        with self._lock:
            self._check_open()
            rows = [row for message in self._messages.values() for row in message.rows.values()]
            due = [row.due_at for row in rows if row.is_free(at) and row.due_at is not None]
            held = sum(row.due_at is None for row in rows)
            leased = sum(row.attempt is not None or row.is_leased(at) for row in rows)
            abandoned = sum(row.attempt is not None and not row.is_leased(at) for row in rows)
        return Depth(
            due=len(due),
            waiting=len(rows) - len(due) - held - leased,
            held=held,
            leased=leased,
            oldest_due_at=from_milliseconds(min(due)) if due else None,
            abandoned=abandoned,
        )

    def queued_relays(self) -> Mapping[str, int]:
        """See `Queue.queued_relays`."""
        with self._lock:
            self._check_open()
            found = Counter(message.delivery.relay or "" for message in self._messages.values() for _ in message.rows)
        return dict(sorted(found.items()))

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
        with self._lock:
            self._check_open()
            found = [message.shown(row) for message in self._messages.values() for row in message.rows.values()]
        needle = None if containing is None else containing.lower()
        wanted = (
            one
            for one in sorted(found, key=lambda one: (one.message, one.recipient))
            if (tenant is None or one.labels.tenant == tenant)
            and (relay is None or one.relay == relay)
            and (state is None or one.state is state)
            and (after is None or (one.message, one.recipient) > after)
            and (needle is None or any(needle in text for text in _texts(one)))
        )
        yield from islice(wanted, limit if limit is None else max(limit, 0))

    def queued_message(self, message: str) -> Delivery | None:
        """See `Queue.queued_message`."""
        with self._lock:
            self._check_open()
            found = self._messages.get(message)
            return None if found is None else found.to(found.rows.values(), None)

    def kept(self, *, beginning: str = "", limit: int | None = None) -> Iterator[Kept]:
        """See `Queue.kept`."""
        with self._lock:
            self._check_open()
            found = [message.kept() for name, message in sorted(self._messages.items()) if name.startswith(beginning)]
        yield from islice((one for one in found if one is not None), limit if limit is None else max(limit, 0))

    def requeue(self, message: str, recipient: str | None, *, at: datetime) -> int:
        """See `Queue.requeue`."""
        now = milliseconds(at)
        with self._lock:
            self._check_open()
            chosen = [row for row in self._chosen(message, recipient, now) if row.attempt is None]
            for row in chosen:
                self._say(row, now if row.due_at is None else min(row.due_at, now), now)
                row.fence += row.owner is not None
                row.give_back()
            if chosen:
                self._line_up(message)
        return len(chosen)

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
        with self._lock:
            self._check_open()
            gone = {row.recipient.address.wire for row in self._chosen(message, recipient, milliseconds(at))}
            for address in gone:
                self._delete(message, address)
            self._sweep(message, at, keep)
            if gone:
                names = {None, *((called or {}).get(address, address) for address in gone)}
                about = [event for event in events if event.recipient in names]
                self._outbox.keep(about)
                for event in about:
                    if event.settlement is not None:
                        self._leave_probe(event.settlement, event.occasion, message)
        return len(gone)

    # -- with the lock held

    def _come_late(self, record: Record) -> frozenset[str]:
        """Those who have the message by an attempt that somebody else has ended meanwhile."""
        delivery, attempt = record.delivery, record.occasion.attempt_id
        if delivery.relay is None or not (attempt in self._attempts or attempt in self._ended_attempts):
            return frozenset()
        in_time = self._attempts[attempt].addresses if attempt in self._attempts else ()
        return frozenset(name for address, name in unmarked(record).items() if address not in in_time)

    def _is_open(self, record: Record) -> bool:
        """Whether anybody is in our hands still by the attempt that a record settles."""
        delivery, attempt = record.delivery, self._attempts.get(record.occasion.attempt_id)
        return attempt is not None and any(self._is_of(delivery, address) for address in attempt.addresses)

    def _settle_queued(self, record: Record) -> None:
        """What a record does to the queue."""
        delivery, attempt = record.delivery, self._attempts.get(record.occasion.attempt_id)
        if delivery.relay is None:
            return
        counted = {one.address.wire: one for one in (*delivery.recipients, *record.recipients)}
        settlements, places = waiting(record), positions(delivery)
        for settlement in settlements:
            if settlement.is_final:
                if not settlement.was_kept_back or self._is_of(delivery, settlement.recipient):
                    self._delete(delivery.id, settlement.recipient)
            else:
                self._delay(record, settlement, counted[settlement.recipient], places)
        for address in tuple(attempt.addresses) if attempt else ():
            self._ask_again(delivery, address)
        if attempt is not None or delivery.lease is not None:
            self._settled.update(((delivery.id, settlement.recipient), None) for settlement in settlements)
            while len(self._settled) > _MOST_SETTLED:
                self._settled.popitem(last=False)
        self._line_up(delivery.id)
        self._sweep(delivery.id, record.occasion.at, record.keep)

    def _delay(self, record: Record, settlement: Settlement, recipient: Recipient, places: Mapping[str, int]) -> None:
        """Let a recipient wait, unless somebody else has it or had it: then his word counts."""
        delivery, address = record.delivery, settlement.recipient
        row = self._row(delivery.id, address)
        if row is None:
            if delivery.lease is not None or (delivery.id, address) in self._settled:
                return
            row = self._row_of(delivery, recipient, record.occasion.at, places)
        elif not row.is_of(delivery.lease):
            return
        before = row.recipient
        row.recipient = replace(
            as_stored(recipient),
            first_attempt_at=as_stored(recipient).first_attempt_at or before.first_attempt_at,
            possible_duplicate=recipient.possible_duplicate or before.possible_duplicate,
        )
        held = settlement.fate is Fate.HOLD or settlement.retry_at is None
        due_at = None if held or settlement.retry_at is None else milliseconds(settlement.retry_at)
        self._say(row, due_at, milliseconds(record.occasion.at))
        self._end_attempt(row)
        row.give_back()

    def _ask_again(self, delivery: Delivery, address: str) -> None:
        """Take a recipient out of an attempt that brought no outcome for it.

        Whoever took over an abandoned attempt and asks again at once does not know whether the first one arrived.
        """
        row = self._row(delivery.id, address)
        if row is None or row.attempt is None or not row.is_of(delivery.lease):
            return
        if self._attempts[row.attempt].owner != row.owner:
            row.recipient = replace(row.recipient, possible_duplicate=True)
        self._end_attempt(row)

    def _begun_at(self) -> Iterator[int]:
        """When the attempts that are open were begun."""
        return (attempt.begun_at for attempt in self._attempts.values())

    def _may_begin(self, delivery: Delivery, address: str, owner: str) -> bool:
        row = self._row(delivery.id, address)
        if row is None:
            return delivery.lease is None and (delivery.id, address) not in self._settled
        return row.is_of(delivery.lease) and row.owner == owner and row.attempt is None

    def _ended(self, attempt: str, at: int) -> list[Row]:
        """Those of an attempt who are in nobody's hands any more."""
        about = self._attempts[attempt]
        rows = self._messages[about.message].rows
        return [rows[address] for address in about.addresses if not rows[address].is_leased(at)]

    def _end_of(self, lease: Lease) -> int:
        """Until when a lease is given."""
        until = milliseconds(lease.until)
        self._last_end = max(self._last_end, until)
        return until

    def _give_up_beyond(self, beyond: int) -> None:
        """Give back what is under a lease that was given before the clock was set back."""
        if self._last_end <= beyond:
            return
        every = [(message, row) for message in self._messages.values() for row in message.rows.values()]
        for message, row in every:
            if row.attempt is None and row.owner is not None and row.until > beyond:
                row.give_up()
                self._line.add(message, row)
        self._last_end = max((row.until for _, row in every), default=0)

    def _say(self, row: Row, due_at: int | None, at: int) -> None:
        """Say when a recipient is due; None: when somebody releases it."""
        row.due_at, row.timed_at = due_at, at
        self._last_timed = max(self._last_timed, at)

    def _turn_back(self, at: int) -> None:
        """Move the times of what waits by a clock that was set back since."""
        if not is_ahead(self._last_timed, at):
            return
        spans = list[int]()
        for message in self._messages.values():
            ahead = [
                (row, times) for row in message.rows.values() if (times := row.times) and times.waits_for_another(at)
            ]
            if not ahead:
                continue
            spans.append(max(times.timed_at for _, times in ahead) - at)
            if is_ahead(message.queued_at, at):
                message.queued_at -= spans[-1]
            for row, times in ahead:
                row.move(times, at)
                self._line.add(message, row)
        every = (row for message in self._messages.values() for row in message.rows.values())
        self._last_timed = max((row.timed_at for row in every if row.due_at is not None), default=0)
        if spans:
            say_so(max(spans))

    def _under(self, token: str) -> list[tuple[Message, Row]]:
        return [
            (message, row) for message in self._messages.values() for row in message.rows.values() if row.owner == token
        ]

    def _chosen(self, message: str, recipient: str | None, at: int) -> list[Row]:
        """The recipients that somebody means, and that are in nobody's hands."""
        rows = self._messages[message].rows if message in self._messages else {}
        return [row for address, row in rows.items() if recipient in (None, address) and not row.is_leased(at)]

    def _is_of(self, delivery: Delivery, address: str) -> bool:
        row = self._row(delivery.id, address)
        return row is not None and row.is_of(delivery.lease)

    def _row(self, message: str, address: str) -> Row | None:
        found = self._messages.get(message)
        return None if found is None else found.rows.get(address)

    def _row_of(self, delivery: Delivery, recipient: Recipient, at: datetime, places: Mapping[str, int]) -> Row:
        """The row of a recipient, made where there is none, at his place in the delivery."""
        message, due = self._messages.get(delivery.id), milliseconds(at)
        if message is None:
            message = self._messages[delivery.id] = Message(replace(delivery, lease=None), due)
        address = recipient.address.wire
        row = message.rows.get(address)
        if row is None:
            row = message.rows[address] = Row(as_stored(recipient), places.get(address, len(message.rows)))
            self._say(row, due, due)
        return row

    def _line_up(self, message: str) -> None:
        if (found := self._messages.get(message)) is not None:
            for row in found.rows.values():
                self._line.add(found, row)

    def _end_attempt(self, row: Row) -> None:
        """Take a recipient out of its attempt, which ends with its last one."""
        if row.attempt is None:
            return
        attempt = self._attempts[row.attempt]
        attempt.addresses.discard(row.recipient.address.wire)
        if not attempt.addresses:
            del self._attempts[row.attempt]
            self._ended_attempts[row.attempt] = None
            while len(self._ended_attempts) > _MOST_SETTLED:
                self._ended_attempts.popitem(last=False)
        row.attempt = None

    def _delete(self, message: str, address: str) -> None:
        """Take a recipient out, if it is there."""
        row = self._row(message, address)
        if row is None:
            return
        self._end_attempt(row)
        del self._messages[message].rows[address]

    def _sweep(self, message: str, at: datetime, keep: timedelta) -> None:
        """Let a message go whose last recipient has gone."""
        if message not in self._messages or self._messages[message].rows:
            return
        if keep > timedelta():
            self._messages[message].keep_until = milliseconds(at + keep)
        else:
            del self._messages[message]

    def _kept_until(self, at: int) -> list[str]:
        """The messages for which nobody waits, and whose time is over; the earliest first."""
        over = [
            (message.keep_until, name)
            for name, message in self._messages.items()
            if not message.rows and message.keep_until is not None and message.keep_until <= at
        ]
        return [name for _, name in sorted(over)]


def _texts(one: Queued) -> tuple[str, ...]:
    """Where `containing` looks."""
    return one.recipient.lower(), one.sender.lower(), (one.message_id or "").lower()
