"""What a postmaster has the store remember, and the order in which the world hears of it.

Only what the store has remembered is told. When it fails after a server's answer, the result is kept here and
remembered before the next send; where nobody sends, a thread tries every few seconds, and the end of the interpreter
once more. What is to be sent later is in the store before anybody is told that it is, and an attempt is, before the
dot that it ends with.
"""

import atexit
import threading
from collections import deque
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

from bouncekit.delivery.events import Event
from bouncekit.delivery.queue import Begun, Lease, LeaseLost
from bouncekit.delivery.settlement import Settlement
from bouncekit.delivery.steps import Delivery, LookedUp, LookUp, Record, Transact
from bouncekit.desk.forwarding import Forwarding
from bouncekit.desk.outbox import Outbox
from bouncekit.outside.bus import Bus
from bouncekit.outside.clock import Clock
from bouncekit.outside.forking import begin_afresh_in_children
from bouncekit.protocol.transaction import Dot, NotSent
from bouncekit.stores import Store
from bouncekit.stores.erased import look_up
from bouncekit.words.errors import StoreError, StoreRefused
from bouncekit.words.pseudonym import Pseudonyms
from bouncekit.words.reply import Cause

__all__ = ["LEASE", "Ledger", "complain"]

LEASE = timedelta(minutes=15)  # longer than a server may take for the dot (RFC 5321 4.5.3.2.6)
_BACKLOG = 10_000  # records kept in memory while the store is down; the log names those that are lost beyond
# What a store raises of a record that it never takes. Anything else may be the store, which may come back.
_OF_THE_RECORD = (StoreRefused, ValueError, TypeError, ArithmeticError, LookupError, AttributeError, AssertionError)
_AGAIN_SECONDS = 5.0  # between two tries to remember what waits, where no send comes first


class Ledger:
    """The store of one postmaster, and those who hear what it has remembered.

    With `sends_without_store` a store that fails before the first byte keeps no mail back.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        sends_without_store: bool = False,
        pseudonyms: Pseudonyms | None = None,
    ) -> None:
        self.store = store
        self.bus = Bus()
        self.outbox = Outbox(store, clock)
        self.forwarding: Forwarding | None = None  # to sinks
        self.on_queued: Callable[[], None] = lambda: None  # told when there is something new in the queue
        self._clock = clock
        self._sends_without_store = sends_without_store
        self._pseudonyms = pseudonyms
        self._begun: dict[str, set[str]] = {}  # of deliveries under way: who is in the store by an attempt of theirs
        self._backlog: deque[Record] = deque()
        self.start_afresh()
        begin_afresh_in_children(self)

    def look_up(self, question: LookUp) -> tuple[LookedUp, Sequence[Event]]:
        """What the store knows, and the events that were only told now.

        Raises:
            StoreError: it does not answer, and nothing was sent.
        """
        now = self._clock.now()
        late: list[Event] = []
        try:
            if self._backlog:
                self.catch_up(late)
            if self._pseudonyms is None:
                return self.store.look_up(question, now), late
            return look_up(self.store, question, now, self._pseudonyms), late
        except Exception as error:
            if not (self._sends_without_store or question.begun):
                raise _as_store_error(error) from error  # nothing was sent; later a raise would have it sent again
            return LookedUp(now=now, probes=frozenset(question.keys)), late

    def begin(self, step: Transact, attempt_id: str, dot: Dot) -> NotSent | None:
        """Remember an attempt of a durable delivery just before its dot. What this answers keeps the dot back."""
        delivery, wires = step.delivery, {address.wire for address in dot.recipients}
        if delivery.relay is None:
            return None
        now = self._clock.now()
        begun = Begun(
            attempt_id=attempt_id,
            at=now,
            delivery=delivery,
            recipients=tuple(recipient for recipient in step.recipients if recipient.address.wire in wires),
            lease=Lease(delivery.lease or delivery.id, now + LEASE),  # one for all its attempts: some are repeated
        )
        try:
            self.store.begin(begun)
        except LeaseLost as error:
            return NotSent(Cause.TAKEN, str(error))
        except Exception as error:  # noqa: BLE001 - whatever a store raises now, the dot has not gone out
            is_queued = delivery.lease is not None or not wires.isdisjoint(self._begun.get(delivery.id, ()))
            if self._sends_without_store and not is_queued:
                return None  # whom the store has already, a worker would send to again
            return NotSent(Cause.UNSTORED, str(_as_store_error(error)))
        self._begun.setdefault(delivery.id, set()).update(wires)
        return None

    def record(self, record: Record) -> tuple[frozenset[str], Sequence[Event]]:
        """Remember, then tell. A failing store cannot undo what a server has answered: the record waits here.

        Answers who was to be kept in the queue and is not, and the events that were told. Whoever sends again to the
        former must be the application then, and we must not: not even when the record is remembered after all.
        """
        told: list[Event] = []
        try:
            if self._backlog:
                self.catch_up(told)
            self.store.record(record)
        except Exception as error:  # noqa: BLE001 - whatever a store raises now, the mail has gone
            unkept = _unkept(record, self._begun.get(record.delivery.id, ()))
            self._keep(_letting_go(record, unkept) if unkept else record, error)
            return unkept, told
        self.publish(record.events)
        if record.keeps_somebody:
            self._tell_queued()
        return frozenset(), (*told, *record.events) if told else record.events

    def enqueue(self, delivery: Delivery, events: Sequence[Event]) -> None:
        """Put a delivery into the queue, due at once, then tell the events.

        Raises:
            StoreError: the store does not answer, nothing was queued.
        """
        now = self._clock.now()
        try:
            self.store.enqueue(delivery, due_at=now, at=now, events=events)
        except Exception as error:
            raise _as_store_error(error) from error
        self.publish(events)
        if delivery.recipients:
            self._tell_queued()

    def forget(self, delivery: Delivery) -> None:
        """A delivery is over: nothing more is recorded of it."""
        self._begun.pop(delivery.id, None)

    def tell(self, events: Sequence[Event]) -> None:
        """Remember events that change nothing else, and tell them even if the store fails."""
        try:
            self.store.tell(events)
        except Exception as error:  # noqa: BLE001 - whatever a store raises, the send must not suffer
            complain("an event was not stored: %s", error)
        self.publish(events)

    def publish(self, events: Sequence[Event]) -> None:
        """Tell events that the store has remembered."""
        self.bus.publish(events)
        self.outbox.wake()
        if self.forwarding is not None:
            self.forwarding.wake()

    def close(self) -> None:
        """Remember what still waits in memory, let subscribers hear what they are at, then close the store."""
        self._stopping.set()
        atexit.unregister(self._catch_up_at_last)
        self._catch_up_at_last()
        self.outbox.close()
        if self.forwarding is not None:
            self.forwarding.close()
        self.bus.close()
        self.store.close()

    def start_afresh(self) -> None:
        """Forget, in the child of a fork, the locks and the thread of the parent.

        What waits is tried on both sides: a record that is known already changes nothing.
        """
        self._catching_up = threading.Lock()
        self._lock = threading.Lock()  # guards `_backlog` against a look at it, and `_thread`
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def is_remembered(self, delivery: Delivery) -> bool:
        """Whether no result of it waits in memory."""
        with self._lock:
            return all(record.delivery.id != delivery.id for record in self._backlog)

    def catch_up(self, told: list[Event] | None = None) -> None:
        """Remember what the store could not take before; `told` gets the events that are told by it.

        One that the store never takes, whatever else it does, is given up with a line in the log: it holds up no
        other. Where its attempt was begun, that is found open, and is *unknown*.

        Raises:
            StoreError: it still does not answer, or whatever else a store raises.
        """
        if not self._backlog:
            return
        remembered: list[Record] = []
        try:
            with self._catching_up:
                while self._backlog:
                    record = self._backlog[0]
                    try:
                        self.store.record(record)
                    except Exception as error:
                        if not _is_its_own(error):
                            raise
                        _give_up(record, error)
                    else:
                        remembered.append(record)
                    with self._lock:
                        self._backlog.popleft()
        finally:
            for record in remembered:  # behind the lock: a subscriber may send
                self.publish(record.events)
                if told is not None:
                    told += record.events

    def _keep(self, record: Record, error: Exception) -> None:
        """Have a record wait in memory, and somebody who tries again."""
        if all(settlement.is_final for settlement in record.settlements):
            record = _without_content(record)
        with self._lock:
            waiting = len(self._backlog)
            if waiting < _BACKLOG:
                self._backlog.append(record)
                self._start_trying()
        if waiting < _BACKLOG:
            complain("the store failed; %d results wait in memory: %s", waiting + 1, error)
        else:
            complain(
                "the store failed, and no more than %d results wait in memory: attempt %s of message %s is lost: %s",
                waiting,
                record.occasion.attempt_id,
                record.delivery.id,
                error,
            )

    def _start_trying(self) -> None:
        if self._thread is not None or self._stopping.is_set():
            return
        thread = threading.Thread(target=self._try_again, name="bouncekit-ledger", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # there are too many, or the interpreter ends: the next send tries
            return
        self._thread = thread
        atexit.unregister(self._catch_up_at_last)
        atexit.register(self._catch_up_at_last)

    def _try_again(self) -> None:
        while not self._stopping.wait(_AGAIN_SECONDS):
            with suppress(Exception):  # whoever had it wait has told why
                self.catch_up()
            with self._lock:
                if not self._backlog:
                    self._thread = None
                    return

    def _catch_up_at_last(self) -> None:
        try:
            self.catch_up()
        except Exception as error:  # noqa: BLE001 - whatever a store raises, there is no later
            complain("the store failed, %d results are lost with this process: %s", len(self._backlog), error)

    def _tell_queued(self) -> None:
        """There is something new in the queue. Whatever comes of that, what was sent is sent, and must be reported."""
        try:
            self.on_queued()
        except Exception as error:  # noqa: BLE001 - such as no thread at the end of the interpreter
            complain("mail is in the queue, and nobody could be told: %s", error)


def complain(message: str, *arguments: object) -> None:
    """A warning in the log."""
    import logging

    logging.getLogger("bouncekit").warning(message, *arguments)


def _unkept(record: Record, begun: Collection[str]) -> frozenset[str]:
    """Who was to be kept and is not: fresh mail of which the store has seen no attempt begin either."""
    if record.delivery.lease is not None:
        return frozenset()
    return frozenset(one.recipient for one in record.settlements if one.kept and one.recipient not in begun)


def _letting_go(record: Record, unkept: Collection[str]) -> Record:
    """The same record, by which these recipients stay out of the queue."""

    def let_go(settlement: Settlement) -> Settlement:
        if settlement.recipient not in unkept:
            return settlement
        return replace(settlement, kept=False, retry_at=None, fate=None)

    return replace(
        record,
        settlements=tuple(map(let_go, record.settlements)),
        events=tuple(
            replace(event, settlement=let_go(event.settlement)) if event.settlement else event
            for event in record.events
        ),
    )


def _without_content(record: Record) -> Record:
    """The same record, of a message that is in nobody's queue by it: only its results are to be remembered."""
    delivery = record.delivery
    return replace(record, delivery=replace(delivery, envelope=replace(delivery.envelope, content=b"")))


def _is_its_own(error: Exception) -> bool:
    """Whether it is this record that cannot be stored, and not the store that is away."""
    return isinstance(error, _OF_THE_RECORD)


def _give_up(record: Record, error: Exception) -> None:
    import logging

    logging.getLogger("bouncekit").error(
        "attempt %s of message %s: its result cannot be stored and is given up: %s",
        record.occasion.attempt_id,
        record.delivery.id,
        error,
    )


def _as_store_error(error: Exception) -> StoreError:
    """What a store raised, as what it should have raised."""
    return error if isinstance(error, StoreError) else StoreError(f"{type(error).__name__}: {error}")
