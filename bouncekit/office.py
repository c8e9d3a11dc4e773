"""Policy, store, bus and clock in one place: the synchronous driver of a delivery.

Only what the store has remembered is told. When the store fails before the first byte, nothing is sent; when it fails
after the server's answer, the result is kept here and remembered before the next send.
"""

import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import assert_never

from bouncekit.builtin import classify, open_policy
from bouncekit.bus import Bus
from bouncekit.classification import Classification
from bouncekit.clock import Clock, SystemClock
from bouncekit.delivery import closed, deliver, refusals
from bouncekit.envelope import Labels
from bouncekit.errors import ConfigurationError, StoreError
from bouncekit.events import Event, EventType, Occasion, event_id
from bouncekit.notify import Channel, Moderation, Via, channel, compose
from bouncekit.policy import Notice, Policy
from bouncekit.reply import Cause, NoReply
from bouncekit.report import Report
from bouncekit.schedule import parse_duration
from bouncekit.settlement import Settlement
from bouncekit.showing import printable, redacted
from bouncekit.status import Action, RecipientStatus
from bouncekit.steps import Answer, Delivery, LookedUp, LookUp, Outcome, Record, SessionEnd, Steps, Transact, Wait
from bouncekit.stores import Store, open_store

__all__ = ["Office", "Retry", "open_office", "undelivered"]

_BACKLOG = 10_000  # records kept in memory while the store is down; later ones are only told in the log


class Retry(StrEnum):
    """Who tries again what was delayed."""

    NEVER = "never"  # the application: the report says when
    WAIT = "wait"  # the send itself, blocking for up to `patience`
    QUEUE = "queue"  # a worker, from the store


class Office:
    """What every client of one postmaster shares."""

    def __init__(
        self,
        *,
        policy: Policy,
        store: Store,
        bus: Bus,
        clock: Clock,
        channels: Mapping[str, Channel] | None = None,
        retry: Retry = Retry.NEVER,
        patience: timedelta = timedelta(minutes=5),
        send_without_store: bool = False,
    ) -> None:
        self.policy = policy
        self.store = store
        self.bus = bus
        self.clock = clock
        self.channels = dict(channels or {})
        self.retry = retry
        self.patience = patience
        self.send_without_store = send_without_store
        self._moderation = Moderation()
        self._backlog: deque[Record] = deque()
        self._catching_up = threading.Lock()
        _offices.add(self)

    # -- one delivery

    def drive(self, delivery: Delivery, transact: Callable[[Transact], Outcome], via: Via | None = None) -> Report:
        """Carry a delivery out with a way to speak SMTP; notices that go by mail go `via` it.

        Raises:
            StoreError: the store does not answer, nothing was sent.
        """
        steps = deliver(delivery, classify=self.classify, policy=self.policy)
        due: list[Event] = []

        def advance(answer: Answer) -> Wait | Report:
            return self._advance(steps, answer, transact, due)

        try:
            if self.retry is Retry.WAIT:
                return self._patiently(advance)
            reached = advance(None)
            return reached if isinstance(reached, Report) else _end(advance(False))
        finally:
            for event in due:
                self._notify(event, via)

    def check(self, labels: Labels) -> Labels:
        """The labels, if the policy knows their class.

        Raises:
            ConfigurationError: it does not; a mail of it would be treated as one of the default class.
        """
        known = self.policy.classes
        if labels.message_class is not None and labels.message_class not in known:
            raise ConfigurationError(
                f"message_class={labels.message_class!r}: policy {self.policy.name} has {', '.join(known)}"
            )
        return labels

    def classify(self, status: RecipientStatus) -> Classification:
        """What a status means."""
        return classify(status)

    def _advance(
        self, steps: Steps, answer: Answer, transact: Callable[[Transact], Outcome], due: list[Event]
    ) -> Wait | Report:
        """Carry out steps until the next Wait, or the end."""
        while True:
            try:
                step = steps.send(answer)
            except StopIteration as done:
                report: Report = done.value
                return report
            match step:
                case LookUp():
                    answer = self._look_up(step, due)
                case Transact():
                    answer = transact(step)
                case Record():
                    self._record(step, due)
                    answer = None
                case Wait():
                    return step
                case _:
                    assert_never(step)

    def _patiently(self, advance: Callable[[Answer], Wait | Report]) -> Report:
        """Sleep through the waits, as long as patience lasts."""
        import tenacity

        until = self.clock.now() + self.patience
        answers = iter([None])

        def due_in(state: tenacity.RetryCallState) -> float:
            return max(0.0, (_waits(state).until - self.clock.now()).total_seconds())

        reached = tenacity.Retrying(
            retry=tenacity.retry_if_result(lambda reached: isinstance(reached, Wait)),
            stop=lambda state: _waits(state).until > until,
            wait=due_in,
            sleep=self.clock.sleep,
            retry_error_callback=lambda state: _waits(state),
        )(lambda: advance(next(answers, True)))
        return reached if isinstance(reached, Report) else _end(advance(False))

    def _look_up(self, question: LookUp, due: list[Event]) -> LookedUp:
        now = self.clock.now()
        try:
            self._catch_up(due)
            return self.store.look_up(question, now)
        except Exception as error:
            if not (self.send_without_store or question.begun):
                raise _as_store_error(error) from error  # nothing was sent; later a raise would have it sent again
            return LookedUp(now=now, probes=frozenset(question.keys))

    def _record(self, record: Record, due: list[Event]) -> None:
        """Remember, then tell. A failing store cannot undo what a server has answered: the record waits here."""
        try:
            self._catch_up(due)
            self._remember(record, due)
        except Exception as error:  # noqa: BLE001 - whatever a store raises now, the mail has gone
            if len(self._backlog) < _BACKLOG:
                self._backlog.append(record)
            _complain("the store failed; %d results wait in memory: %s", len(self._backlog), error)

    def _catch_up(self, due: list[Event]) -> None:
        """Remember what the store could not take before."""
        if not self._backlog:
            return
        remembered: list[Record] = []
        try:
            with self._catching_up:
                while self._backlog:
                    self.store.record(self._backlog[0])
                    remembered.append(self._backlog.popleft())
        finally:
            for record in remembered:  # behind the lock: a subscriber may send
                self._tell_of(record, due)

    def _remember(self, record: Record, due: list[Event]) -> None:
        self.store.record(record)
        self._tell_of(record, due)

    def _tell_of(self, record: Record, due: list[Event]) -> None:
        self.bus.publish(record.events)
        due += (event for event in record.events if _is_notice(event))

    def start_afresh(self) -> None:
        """Forget, in the child of a fork, the lock that a thread of the parent may have held."""
        self._catching_up = threading.Lock()

    # -- sessions

    def session_ended(self, ended: SessionEnd, *, remote_mta: str | None) -> None:
        """Tell that a session is over, and what the policy says about it."""
        now = self.clock.now()
        status = RecipientStatus(recipient="", action=Action.DELAYED, stage=ended.stage, reply=ended.reply)
        verdict = self.policy.decide_session(self.classify(status))
        self._tell((closed(self._occasion(now), ended, verdict, remote_mta=remote_mta),))

    def tell_session(self, type_: EventType, **details: object) -> None:
        """Tell something else about a session."""
        occasion = self._occasion(self.clock.now())
        self._tell(
            (Event(id=event_id(occasion.attempt_id, None, type_), type=type_, occasion=occasion, details=details),)
        )

    def _occasion(self, now: datetime) -> Occasion:
        return Occasion(attempt_id=self.clock.new_id(), at=now, policy=self.policy.name, policy_hash=self.policy.hash)

    def _tell(self, events: Sequence[Event]) -> None:
        try:
            self.store.tell(events)
        except Exception as error:  # noqa: BLE001 - whatever a store raises, the send must not suffer
            _complain("an event was not stored: %s", error)
        self.bus.publish(events)

    # -- notices

    def _notify(self, event: Event, via: Via | None) -> None:
        assert event.settlement is not None
        for notice in event.settlement.notices:
            more = self._moderation.admit(notice, _subject_of(event.settlement), event.at)
            if more is not None:
                self._send_notice(event, notice, more, via)

    def _send_notice(self, event: Event, notice: Notice, more: int, via: Via | None) -> None:
        way = self.channels.get(notice.channel)
        details: dict[str, object] = {"channel": notice.channel, "more": more}
        type_ = EventType.NOTIFIED
        if way is None:
            type_, details["why"] = EventType.NOT_NOTIFIED, f"no channel {notice.channel!r} is set up"
        else:
            try:
                way.send(compose(event, notice, more), via)
            except Exception as error:  # noqa: BLE001 - whatever a channel raises, the send must not suffer
                type_, details["why"] = EventType.NOT_NOTIFIED, printable(redacted(f"{type(error).__name__}: {error}"))
                _complain("channel %r failed: %s", notice.channel, type(error).__name__)
        told = Event(
            id=event_id(event.occasion.attempt_id, event.recipient, f"{type_}:{notice.channel}"),
            type=type_,
            occasion=event.occasion,
            recipient=event.recipient,
            settlement=event.settlement,
            details=details,
        )
        self._tell((told,))


def open_office(
    *,
    policy: str | Path | Policy = "default",
    store: str | Store | None = None,
    retry: str | Retry = Retry.NEVER,
    patience: timedelta | float | str = timedelta(minutes=5),
    channels: Mapping[str, object] | None = None,
    on_store_failure: str = "raise",
    clock: Clock | None = None,
) -> Office:
    """An office from what an owner writes; see `bouncekit.Postmaster` for the parameters.

    Raises:
        ConfigurationError: something is wrong; it says what would be right. PolicyError for the policy's file.
        StoreError: the store cannot be opened.
    """
    if on_store_failure not in ("raise", "send"):
        raise ConfigurationError(f"on_store_failure={on_store_failure!r}: write 'raise' or 'send'")
    opened = open_policy(policy)
    roles = {role: channel(spec) for role, spec in (channels or {}).items()}
    if unknown := sorted(roles.keys() - set(opened.channels)):
        known = ", ".join(opened.channels) or "none"
        raise ConfigurationError(f"channel {unknown[0]!r} is not one of the policy's channels: {known}")
    bus = Bus()
    return Office(
        policy=opened,
        store=open_store(store) if store is None or isinstance(store, str) else store,
        bus=bus,
        clock=clock or SystemClock(),
        channels=roles,
        retry=_retry(retry),
        patience=_patience(patience),
        send_without_store=on_store_failure == "send",
    )


def _retry(name: str | Retry) -> Retry:
    try:
        retry = Retry(name)
    except ValueError:
        raise ConfigurationError(f"retry={name!r}: write 'never', 'wait' or 'queue'") from None
    if retry is Retry.QUEUE:
        raise ConfigurationError("retry='queue': the durable queue is not built yet; write 'wait' or 'never'")
    return retry


def _patience(given: timedelta | float | str) -> timedelta:
    if isinstance(given, timedelta):
        return given
    try:
        return parse_duration(given) if isinstance(given, str) else timedelta(seconds=given)
    except (ValueError, OverflowError, TypeError):
        raise ConfigurationError(f"patience={given!r}: write a timedelta, seconds, or a text such as '5m'") from None


def undelivered(delivery: Delivery, why: str) -> Report:
    """The report of a delivery that was not even begun: everybody is delayed, for a reason on our side."""
    delayed = [
        Settlement(recipient=one.address.wire, action=Action.DELAYED, reply=NoReply(Cause.LOCAL, why), key=one.key)
        for one in delivery.recipients
    ]
    return Report.of(
        delayed + refusals(delivery, classify),
        message_id=delivery.envelope.message_id,
        given=delivery.given,
    )


def _as_store_error(error: Exception) -> StoreError:
    """What a store raised, as what it should have raised."""
    return error if isinstance(error, StoreError) else StoreError(f"{type(error).__name__}: {error}")


def _is_notice(event: Event) -> bool:
    """Whether this event carries the notices of its settlement: the one of its action does, not its side effects."""
    settlement = event.settlement
    return settlement is not None and bool(settlement.notices) and event.type.value == settlement.action.value


def _subject_of(settlement: Settlement) -> str:
    return f"{settlement.category}:{settlement.rule}"


def _end(reached: Wait | Report) -> Report:
    assert isinstance(reached, Report), "a delivery that may not wait ends"
    return reached


def _waits(state: object) -> Wait:
    outcome = getattr(state, "outcome", None)
    assert outcome is not None
    result = outcome.result()
    assert isinstance(result, Wait)
    return result


def _complain(message: str, *arguments: object) -> None:
    import logging

    logging.getLogger("bouncekit").warning(message, *arguments)


_offices: "weakref.WeakSet[Office]" = weakref.WeakSet()


def _after_fork() -> None:
    for office in tuple(_offices):
        office.start_afresh()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
