"""Whatever happens to a queue, in whatever order: nobody is handed to two at once, nobody is lost, who is done goes."""

from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from bouncekit.delivery.events import EventType
from bouncekit.delivery.queue import LONGEST_LEASE, Lease, LeaseLost
from bouncekit.delivery.steps import Delivery, LookUp, Record
from bouncekit.policy.suppression import Standing
from bouncekit.stores.erasing import Erasure
from bouncekit.words.envelope import Labels
from tests.building import ANN, BOB, CY, NOW, suppression

from .queueing import MINUTE, begin, mail_to, outcome, told, wires
from .stores import NAMES, new_id, put, take, together

PEOPLE, RELAYS = (ANN, BOB, CY), ("a", "b")

Place = tuple[str, str]  # message, recipient


@dataclass
class Waiting:
    """What the model knows of a recipient. `due_at` None: held. Until somebody took it, it is the application's own."""

    relay: str
    due_at: datetime | None
    timed_at: datetime  # when that was said
    attempts: int = 0
    possible_duplicate: bool = False
    attempt: str | None = None
    owner: str | None = None
    until: datetime = NOW
    was_taken: bool = False

    def is_free(self, now: datetime) -> bool:
        return self.due_at is not None and self.attempt is None and self.due_at <= now and not self.is_leased(now)

    def is_leased(self, now: datetime) -> bool:
        return self.owner is not None and now < self.until <= now + LONGEST_LEASE

    def waits_for_another(self, now: datetime) -> bool:
        """Whether it waits by a clock that was set back since."""
        return self.due_at is not None and min(self.due_at, self.timed_at) > now + LONGEST_LEASE

    def is_of(self, lease: str | None) -> bool:
        return self.owner == lease if lease else not self.was_taken

    def take(self, lease: Lease) -> None:
        self.owner, self.until, self.was_taken = lease.token, lease.until, True

    def give_back(self) -> None:
        self.owner, self.until = None, NOW


@dataclass
class Sending:
    """Somebody who is at a delivery: under which token, with what attempt, and who is not settled by him yet."""

    delivery: Delivery
    token: str
    left: list[str]
    attempt: str | None = None
    begun: tuple[str, ...] = ()


class Queues(RuleBasedStateMachine):
    """Stores that must answer alike, dictionaries that say how, and any number of workers that come and go."""

    kinds: tuple[str, ...] = ("memory", "sqlite")

    def __init__(self) -> None:
        super().__init__()
        self.opened = ExitStack()
        self.stores = self.opened.enter_context(together(*self.kinds))
        self.now = NOW
        self.listed: dict[str, datetime | None] = {}  # who is suppressed by hand, until when
        self.model: dict[Place, Waiting] = {}
        self.owners: dict[str, str] = {}  # attempt -> under which lease it was begun
        self.spoken_for: set[Place] = set()  # a worker had an outcome for it
        self.told: set[str] = set()
        self.sending: list[Sending] = []
        self.records: list[Record] = []

    def teardown(self) -> None:
        self.opened.close()

    def lease(self, minutes: int) -> Lease:
        return Lease(new_id(), self.now + minutes * MINUTE)

    # -- what comes in

    @rule(
        people=st.lists(st.sampled_from(PEOPLE), min_size=1, unique=True),
        relay=st.sampled_from(RELAYS),
        minutes=st.integers(-5, 40),
    )
    def enqueue(self, people: list[str], relay: str, minutes: int) -> None:
        delivery, due_at = mail_to(*people, relay=relay), self.now + minutes * MINUTE
        self.stores.enqueue(delivery, due_at=due_at, at=self.now)
        for address in people:
            self.model[delivery.id, address] = Waiting(relay, due_at, self.now)

    @rule(people=st.lists(st.sampled_from(PEOPLE), min_size=1, unique=True), relay=st.sampled_from(RELAYS))
    def send(self, people: list[str], relay: str) -> None:
        self.sending.append(Sending(mail_to(*people, relay=relay), new_id(), people))

    # -- who is at it

    @rule(limit=st.integers(0, 4), relays=st.sampled_from((None, ("a",), RELAYS, ())), minutes=st.integers(1, 20))
    def claim(self, limit: int, relays: tuple[str, ...] | None, minutes: int) -> None:
        lease = self.lease(minutes)
        self._clock_was_set_back()
        free = {
            place: row
            for place, row in self.model.items()
            if row.is_free(self.now) and (relays is None or row.relay in relays)
        }
        claimed = self.stores.claim(now=self.now, lease=lease, limit=limit, relays=relays)
        assert len({one.id for one in claimed}) == len(claimed) == min(limit, len({message for message, _ in free}))
        for delivery in claimed:
            assert sorted(wires(delivery)) == sorted(who for message, who in free if message == delivery.id)
            for recipient in delivery.recipients:
                row = self.model[delivery.id, recipient.address.wire]
                assert (recipient.attempts, recipient.possible_duplicate) == (row.attempts, row.possible_duplicate)
                row.take(lease)
            self.sending.append(Sending(delivery, lease.token, wires(delivery)))

    def _clock_was_set_back(self) -> None:
        """Who claims gives back what is under a lease that nobody can have been given by now.

        What was said by then to be due at a time is due as long after now as it was after that.
        """
        for row in self.model.values():
            if row.attempt is None and row.owner is not None and row.until > self.now + LONGEST_LEASE:
                row.give_back()
                row.was_taken = True
            if row.due_at is not None and row.waits_for_another(self.now):
                row.due_at, row.timed_at = row.due_at - (row.timed_at - self.now), self.now

    @rule(limit=st.integers(0, 3), minutes=st.integers(1, 20))
    def take_over(self, limit: int, minutes: int) -> None:
        lease = self.lease(minutes)
        ended: dict[str, list[Place]] = {}
        for place, row in self.model.items():
            if row.attempt is not None and not row.is_leased(self.now):
                ended.setdefault(row.attempt, []).append(place)
        found = self.stores.abandoned(now=self.now, lease=lease, limit=limit)
        assert len({one.attempt_id for one in found}) == len(found) == min(limit, len(ended))
        for one in found:
            places = ended[one.attempt_id]
            assert sorted((one.delivery.id, address) for address in wires(one.delivery)) == sorted(places)
            for place in places:
                self.model[place].take(lease)
            people = wires(one.delivery)
            self.sending.append(Sending(one.delivery, lease.token, people, one.attempt_id, tuple(people)))

    @rule(who=st.integers(0, 99), some=st.integers(1, 7), minutes=st.integers(0, 20))
    def begin(self, who: int, some: int, minutes: int) -> None:
        ready = [one for one in self.sending if one.attempt is None and one.left]
        if not ready:
            return
        one = ready[who % len(ready)]
        people = [address for place, address in enumerate(one.left) if some & 1 << place] or one.left
        may = all(self._may_begin(one, address) for address in people)
        until, attempt = Lease(one.token, self.now + minutes * MINUTE), new_id()
        try:
            begin(self.stores, one.delivery, *people, until=until, attempt=attempt, at=self.now)
        except LeaseLost:
            assert not may
            return
        assert may
        one.attempt, one.begun = attempt, tuple(people)
        self.owners[attempt] = one.token
        for address in people:
            row = self.model.setdefault(
                (one.delivery.id, address), Waiting(one.delivery.relay or "", self.now, self.now)
            )
            row.attempt, row.owner, row.until = attempt, one.token, until.until

    def _may_begin(self, one: Sending, address: str) -> bool:
        row = self.model.get((one.delivery.id, address))
        if row is None:
            return one.delivery.lease is None and (one.delivery.id, address) not in self.spoken_for
        return row.attempt is None and row.owner == one.token and row.is_of(one.delivery.lease)

    @rule(who=st.integers(0, 99), ends=st.lists(st.sampled_from(("done", "delayed", "held", "again")), min_size=3))
    def record(self, who: int, ends: list[str]) -> None:
        begun = [one for one in self.sending if one.attempt is not None]
        if not begun:
            return
        one = begun[who % len(begun)]
        assert one.attempt is not None
        by_end: dict[str, list[str]] = {"done": [], "delayed": [], "held": [], "again": []}
        for address, end in zip(one.left, ends, strict=False):
            # Who was not accepted was refused for now, or is asked again; what was not begun brings no success.
            by_end["delayed" if end == "done" and address not in one.begun else end].append(address)
        unknown = one.token != self.owners[one.attempt]
        again = set(by_end.pop("again"))
        record = outcome(one.delivery, one.attempt, unknown=unknown, at=self.now, **by_end)
        self.stores.record(record)
        self.records.append(record)
        self._recorded(record)
        one.left, one.attempt = [address for address in one.left if address in again], None

    def _recorded(self, record: Record) -> None:
        """What a record does, in few words."""
        lease, message = record.delivery.lease, record.delivery.id
        events = {event.id for event in record.events}
        open_still = (row.attempt == record.occasion.attempt_id and row.is_of(lease) for row in self.model.values())
        if events and events <= self.told and not any(open_still):  # else who came too late has told the same
            return
        self.told |= events
        for settlement, counted in zip(record.settlements, record.recipients, strict=True):
            place = (message, settlement.recipient)
            if settlement.is_final:
                self.model.pop(place, None)
                continue
            row = self.model.get(place)
            if row is None and lease is None and place not in self.spoken_for:
                row = self.model[place] = Waiting(record.delivery.relay or "", None, self.now)
            if row is not None and row.is_of(lease):
                row.due_at, row.attempts, row.attempt = settlement.retry_at, counted.attempts, None
                row.timed_at = record.occasion.at
                row.possible_duplicate |= counted.possible_duplicate
                row.give_back()
        if lease is not None or record.occasion.attempt_id in self.owners:
            self.spoken_for |= {(message, settlement.recipient) for settlement in record.settlements}
        for row in self.model.values():
            if row.attempt == record.occasion.attempt_id and row.is_of(lease):
                row.attempt = None
                row.possible_duplicate |= row.owner != self.owners[record.occasion.attempt_id]

    @rule(number=st.integers(0, 99))
    def record_again(self, number: int) -> None:
        """Known, unless somebody of whom it tells was erased: then it counts as far as nobody has spoken since."""
        told_before = [record for record in self.records if record.events]
        if told_before:
            record = told_before[number % len(told_before)]
            self.stores.record(record)
            self._recorded(record)

    @rule(who=st.integers(0, 99))
    def die(self, who: int) -> None:
        if self.sending:
            del self.sending[who % len(self.sending)]

    @rule(who=st.integers(0, 99), minutes=st.integers(-5, 20))
    def extend(self, who: int, minutes: int) -> None:
        if self.sending:
            token, until = self.sending[who % len(self.sending)].token, self.now + minutes * MINUTE
            mine = [row for row in self.model.values() if row.owner == token]
            assert self.stores.extend(Lease(token, until)) == len(mine)
            for row in mine:
                row.until = until

    @rule(who=st.integers(0, 99))
    def release(self, who: int) -> None:
        if self.sending:
            token = self.sending[who % len(self.sending)].token
            mine = [row for row in self.model.values() if row.owner == token and row.attempt is None]
            assert self.stores.release(token) == len(mine)
            for row in mine:
                row.give_back()

    # -- by hand, and by time

    def _chosen(self, number: int, *, whole: bool) -> tuple[str, str | None, list[Place]]:
        """A message or one recipient of it, and those of them in nobody's hands."""
        message, address = sorted(self.model)[number % len(self.model)]
        recipient = None if whole else address
        places = [place for place in self.model if place[0] == message and recipient in (None, place[1])]
        free = [place for place in places if not self.model[place].is_leased(self.now)]
        return message, recipient, free

    @rule(number=st.integers(0, 99), whole=st.booleans())
    def requeue(self, number: int, whole: bool) -> None:
        if self.model:
            message, recipient, free = self._chosen(number, whole=whole)
            rows = [self.model[place] for place in free if self.model[place].attempt is None]
            assert self.stores.requeue(message, recipient, at=self.now) == len(rows)
            for row in rows:
                row.due_at, row.timed_at = min(row.due_at or self.now, self.now), self.now
                row.was_taken |= row.owner is not None
                row.give_back()

    @rule(number=st.integers(0, 99), whole=st.booleans())
    def drop(self, number: int, whole: bool) -> None:
        if self.model:
            message, recipient, free = self._chosen(number, whole=whole)
            events = tuple(told(EventType.FAILED, address) for address in (*PEOPLE, None))
            assert self.stores.drop(message, recipient, at=self.now, events=events) == len(free)
            for place in free:
                del self.model[place]
            # The application hears of no drop: it is not at these any more.
            for one in self.sending:
                if one.delivery.id == message:
                    one.left = [address for address in one.left if (message, address) not in free]

    @rule(who=st.sampled_from(PEOPLE), minutes=st.sampled_from((None, -1, 0, 5, 60)))
    def suppress(self, who: str, minutes: int | None) -> None:
        until = None if minutes is None else self.now + minutes * MINUTE
        put(self.stores, suppression(who, standing=Standing.MANUAL, changed_at=self.now, expires_at=until))
        self.listed[who] = until

    @rule(who=st.sampled_from(PEOPLE))
    def lift(self, who: str) -> None:
        lifted = take(self.stores, who, at=self.now)
        assert (lifted is None) == (who not in self.listed)
        self.listed.pop(who, None)

    @rule(who=st.sampled_from(PEOPLE))
    def erase(self, who: str) -> None:
        """Whom it was about is unknown from now on: what was told of him does not make a record one that is known."""
        about = frozenset(message for message, _ in self.model)
        erasure = Erasure(who, NAMES, frozenset((who,)), about)
        found = [replace(store.erase(erasure), outcomes=0) for store in self.stores.all]
        assert found[1:] == found[:-1]
        assert (found[0].suppressions, found[0].messages, found[0].shared) == (who in self.listed, 0, len(about))
        told = [event for store in self.stores.all for _, event in store.events(limit=100_000)]
        assert not any(who in str(event) for event in told)
        self.listed.pop(who, None)
        self.told -= {event.id for record in self.records for event in record.events if event.recipient == who}
        self.spoken_for = {place for place in self.spoken_for if place[1] != who}

    @rule(minutes=st.sampled_from((-50, -11, -3, 1, 4, 10, 31)))
    def let_time_pass(self, minutes: int) -> None:
        self._set_clock(timedelta(minutes=minutes))

    @rule(days=st.sampled_from((-8, -2, 2, 9)))
    def set_the_clock(self, days: int) -> None:
        self._set_clock(timedelta(days=days))

    def _set_clock(self, by: timedelta) -> None:
        if by < timedelta():
            self.claim(limit=0, relays=None, minutes=1)  # as a worker does every two seconds: so it is seen
        self.now += by

    # -- what always holds

    @invariant()
    def the_queue_is_what_the_model_says(self) -> None:
        shown = self.stores.queued()
        assert [(one.message, one.recipient) for one in shown] == sorted(self.model)
        for one in shown:
            row = self.model[one.message, one.recipient]
            assert (one.due_at, one.attempts) == (row.due_at, row.attempts)
            assert one.possible_duplicate == row.possible_duplicate
            assert one.leased_until == (None if row.owner is None else row.until)

    @invariant()
    def who_is_suppressed_stays_so_until_it_ends_or_is_lifted(self) -> None:
        binding = [who for who, until in sorted(self.listed.items()) if until is None or until > self.now]
        assert [one.key for one in self.stores.suppressions(at=self.now)] == binding
        found = self.stores.look_up(LookUp(labels=Labels(), keys=PEOPLE), self.now).suppressions
        assert sorted(found) == binding

    @invariant()
    def it_is_counted_right(self) -> None:
        depth, rows = self.stores.depth(self.now), self.model.values()
        assert depth.due == sum(row.is_free(self.now) for row in rows)
        assert depth.due + depth.waiting + depth.held + depth.leased == len(rows)
        assert depth.held == sum(row.due_at is None for row in rows)
        assert depth.abandoned == sum(row.attempt is not None and not row.is_leased(self.now) for row in rows)

    @invariant()
    def whole_messages_can_be_read(self) -> None:
        for message in {message for message, _ in self.model}:
            whole = self.stores.queued_message(message)
            assert {(message, address) for address in wires(whole)} <= self.model.keys()
            assert whole == replace(whole, lease=None)

    @invariant()
    def the_same_is_told(self) -> None:
        first, *others = ([event for _, event in store.events()] for store in self.stores.all)
        assert all(events == first for events in others)


TestQueues = Queues.TestCase
TestQueues.settings = settings(max_examples=120, stateful_step_count=40, deadline=None, database=None)


class QueuesOfNobody(Queues):
    """One that keeps no addresses but for mail that waits: whoever stands on its list has no address to be erased."""

    kinds = ("veiled",)

    def erase(self, who: str) -> None: ...

    @invariant()
    def who_is_suppressed_stays_so_until_it_ends_or_is_lifted(self) -> None:
        binding = {who for who, until in self.listed.items() if until is None or until > self.now}
        listed = {one.key for one in self.stores.suppressions(at=self.now)}
        assert listed == {NAMES.of(who) for who in binding}
        assert set(self.stores.look_up(LookUp(labels=Labels(), keys=PEOPLE), self.now).suppressions) == binding

    @invariant()
    def nobody_is_told_of_by_address(self) -> None:
        assert "@example.com" not in str(self.stores.events(limit=100_000))


TestQueuesOfNobody = QueuesOfNobody.TestCase
TestQueuesOfNobody.settings = settings(TestQueues.settings, max_examples=30)


class QueuesWithPostgresql(Queues):
    kinds = ("memory", "postgresql")


TestQueuesWithPostgresql = QueuesWithPostgresql.TestCase
TestQueuesWithPostgresql.settings = settings(TestQueues.settings, max_examples=10)
