"""What a postmaster has the store remember, and the order in which the world hears of it.

Only what the store has remembered is told. When it fails after a server's answer, the result waits in the `backlog`.
What is to be sent later is in the store before anybody is told that it is, and an attempt is, before the dot that it
ends with.

A store may have done what it raises for: its answer is lost. Whom the application has then, and the queue perhaps, is
told as a possible duplicate, and taken out of the queue once the store answers.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from bouncekit.delivery.events import Event, event_id
from bouncekit.delivery.queue import Begun, Lease, LeaseLost
from bouncekit.delivery.settlement import Settlement
from bouncekit.delivery.steps import Amended, Delivery, LookedUp, LookUp, Record, Transact
from bouncekit.desk.backlog import Backlog, Waiting
from bouncekit.desk.forwarding import Forwarding
from bouncekit.desk.outbox import Outbox
from bouncekit.outside.bus import Bus
from bouncekit.outside.clock import Clock
from bouncekit.protocol.transaction import Dot, NotSent
from bouncekit.stores import Store
from bouncekit.stores.erased import look_up
from bouncekit.words.errors import StoreError
from bouncekit.words.pseudonym import Pseudonyms
from bouncekit.words.reply import Cause
from bouncekit.words.status import Action

__all__ = ["LEASE", "Ledger", "Tell", "complain"]

LEASE = timedelta(minutes=15)  # longer than a server may take for the dot (RFC 5321 4.5.3.2.6)
_SURE = 0.9 * LEASE  # as long nobody else takes it over, by whatever clock

# Tells an event about no recipient, by its type and details.
Tell = Callable[..., None]


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
        # Of deliveries under way: who is in the store by an attempt of theirs, and from when on others may have him.
        self._begun: dict[str, dict[str, datetime]] = {}
        self._doubted: dict[str, set[str]] = {}  # the same: who may be in the store
        self._backlog = Backlog(self._remember, lambda record: self.publish(record.events))

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
                failed = _as_store_error(error)
                failed.unknown = False  # whatever else it was at: of this delivery nothing is written
                raise failed from error  # nothing was sent; later a raise would have it sent again
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
            if _is_in_doubt(error):
                self._doubted.setdefault(delivery.id, set()).update(wires)
            known = self._doubted.get(delivery.id, set()).union(self._begun.get(delivery.id, ()))
            is_queued = delivery.lease is not None or not wires.isdisjoint(known)
            if self._sends_without_store and not is_queued:
                return None  # whom the store has already, a worker would send to again
            return NotSent(Cause.UNSTORED, str(_as_store_error(error)))
        self._begun.setdefault(delivery.id, {}).update(dict.fromkeys(wires, now + _SURE))
        return None

    def record(self, record: Record) -> tuple[Amended | None, Sequence[Event]]:
        """Remember, then tell. A failing store cannot undo what a server has answered: the record waits here.

        Answers what turned out otherwise, and the events that were told. Whoever sends again to those who are not kept
        must be the application, and we must not: not even when the record is remembered after all.
        """
        told: list[Event] = []
        is_asked = False
        try:
            if self._backlog:
                self.catch_up(told)
            is_asked = True
            late = self.store.record(record)
        except BaseException as error:  # whatever comes now, the mail has gone
            amended = self._put_off(record, error, is_in_doubt=is_asked and _is_in_doubt(error))
            if not isinstance(error, Exception):
                raise  # Ctrl-C, which a store that is at its commit does not keep back
            return amended, told
        record = record.come_late(late)
        self.publish(record.events)
        if record.keeps_somebody:
            self._tell_queued()
        amended = Amended(possible_duplicates=late) if late else None
        return amended, (*told, *record.events) if told else record.events

    def enqueue(self, delivery: Delivery, events: Sequence[Event]) -> None:
        """Put a delivery into the queue, due at once, then tell the events.

        Raises:
            StoreError: the store does not answer, nothing was queued; or nobody knows, where it says so.
        """
        now = self._clock.now()
        try:
            self.store.enqueue(delivery, due_at=now, at=now, events=events)
        except Exception as error:
            failed = _as_store_error(error)
            raise (_may_be_queued(failed, delivery) if failed.unknown else failed) from error
        self.publish(events)
        if delivery.recipients:
            self._tell_queued()

    def forget(self, delivery: Delivery) -> None:
        """A delivery is over: nothing more is recorded of it."""
        self._begun.pop(delivery.id, None)
        self._doubted.pop(delivery.id, None)

    def tell(self, events: Sequence[Event]) -> None:
        """Remember events that change nothing else, and tell them even if the store fails."""
        try:
            self.store.tell(events)
        except Exception as error:  # noqa: BLE001 - whatever a store raises, the send must not suffer
            complain("not stored, only told: %s: %s", ", ".join(dict.fromkeys(one.type for one in events)), error)
        self.publish(events)

    def publish(self, events: Sequence[Event]) -> None:
        """Tell events that the store has remembered."""
        self.bus.publish(events)
        self.outbox.wake()
        if self.forwarding is not None:
            self.forwarding.wake()

    def close(self) -> None:
        """Remember what still waits in memory, let subscribers hear what they are at, then close the store."""
        self._backlog.close()
        self.outbox.close()
        if self.forwarding is not None:
            self.forwarding.close()
        self.bus.close()
        self.store.close()

    def is_remembered(self, delivery: Delivery) -> bool:
        """Whether no result of it waits in memory."""
        return not self._backlog.has(delivery)

    @property
    def waiting(self) -> Mapping[str, int]:
        """How many results wait in memory, for the store to answer, and because it has refused them."""
        return self._backlog.numbers

    def catch_up(self, told: list[Event] | None = None) -> None:
        """Remember what the store could not take before; `told` gets the events that are told by it.

        One that the store refuses, whatever else it does, holds up no other: it is set aside with a line in the log,
        and tried again behind them. Where its attempt was begun, that is found open meanwhile, and is *unknown*.

        Raises:
            StoreError: it still does not answer, or whatever else a store raises.
        """
        self._backlog.catch_up(told)

    def _remember(self, waiting: Waiting) -> Record:
        """Have the store remember what it could not before, and keep nobody who was said not to be kept."""
        record = waiting.record.come_late(self.store.record(waiting.record))
        now = self._clock.now()
        for address in waiting.told_out:  # who is being sent to stays, and so does who has the message
            about = (event for event in record.events if event.recipient == address)
            told = [replace(event, id=event_id(event.id, address, "taken out")) for event in about]
            self.store.drop(record.delivery.id, address, at=now, events=told, keep=record.keep)
        return record

    def _put_off(self, record: Record, error: BaseException, *, is_in_doubt: bool) -> Amended | None:
        """Have a record wait, by which nobody is kept whom the store has not seen for sure."""
        begun, now = self._begun.get(record.delivery.id, {}), self._clock.now()
        unkept = _unkept(record, begun)
        told_out = unkept if is_in_doubt else unkept & self._doubted.get(record.delivery.id, set())
        done = (one.recipient for one in record.settlements if one.action is Action.DELIVERED)
        # The store would have known; nor does a lease last that was given before the clock was set back.
        late = frozenset(one for one in done if one in begun and not now < begun[one] <= now + LEASE)
        amended = Amended(unkept=unkept, possible_duplicates=told_out | late)
        if unkept or late:
            record = _letting_go(record, amended)
        self._backlog.keep(Waiting(record, told_out), error)
        return amended if unkept or late else None

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


def _letting_go(record: Record, amended: Amended) -> Record:
    """The same record, by which those who are not kept stay out of the queue."""

    def let_go(settlement: Settlement) -> Settlement:
        settlement = amended.settlement(settlement)
        return replace(settlement, retry_at=None, fate=None) if settlement.recipient in amended.unkept else settlement

    return record.changed(let_go)


def _is_in_doubt(error: BaseException) -> bool:
    """Whether what the store was asked for may have been done: it says so, or it is none of its own errors."""
    return not isinstance(error, StoreError) or error.unknown


def _as_store_error(error: Exception) -> StoreError:
    """What a store raised, as what it should have raised."""
    return error if isinstance(error, StoreError) else _doubtful(f"{type(error).__name__}: {error}")


def _may_be_queued(error: StoreError, delivery: Delivery) -> StoreError:
    """What whoever submits a delivery hears where its commit had no answer."""
    return _doubtful(
        f"{error}; the message may be in the queue all the same: before it is submitted anew, look with"
        f" `bouncekit queue show {delivery.id}` and `bouncekit why ADDRESS`; the same delivery is queued once"
    )


def _doubtful(message: str) -> StoreError:
    error = StoreError(message)
    error.unknown = True
    return error
