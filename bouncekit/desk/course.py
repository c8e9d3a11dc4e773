"""One delivery under way: its steps, carried out as far as the next transaction, the next wait or the end."""

from collections.abc import Callable, Generator, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol, TypeAlias, assert_never

from bouncekit.delivery.events import Deliveries, Event
from bouncekit.delivery.report import Report
from bouncekit.delivery.steps import Answer, Delivery, LookedUp, LookUp, Outcome, Record, Steps, Transact, Wait
from bouncekit.desk.gate import Gate
from bouncekit.desk.law import Law
from bouncekit.desk.ledger import Ledger
from bouncekit.desk.notices import Notices
from bouncekit.desk.passage import Passage
from bouncekit.notify import Via
from bouncekit.outside.clock import Clock

__all__ = ["Course", "Staff", "Upcoming", "in_its_turn", "looking_ahead"]


class Staff(Protocol):
    """Who does what a delivery asks for: those of the office that it was begun at."""

    law: Law
    ledger: Ledger
    notices: Notices
    clock: Clock
    patience: timedelta
    on_wait: Callable[[datetime], None]

    def look_up(self, question: LookUp, passage: Passage | None) -> tuple[LookedUp, Sequence[Event]]:
        """What is known about recipients, and the events that come of looking."""


class Course:
    """Steps of one delivery, which may come as far as the first transaction before they are carried out."""

    def __init__(self, staff: Staff, steps: Steps, passage: Passage | None = None) -> None:
        self._staff = staff
        self._steps = steps
        self._passage = passage
        self._due: list[Event] = []
        self._reached: Transact | Wait | Report | None = None
        self._failed: Exception | None = None

    def first(self) -> Transact | None:
        """The first transaction, None where nobody is to be tried. What fails is raised by `advance`."""
        try:
            self._reached = self.advance(None)
        except Exception as error:  # noqa: BLE001 - whatever it is, it concerns another message than the one under way
            self._failed = error
        return self._reached if isinstance(self._reached, Transact) else None

    def advance(self, answer: Answer) -> Transact | Wait | Report:
        """Carry out what no server is asked for, as far as the next transaction, the next wait or the end."""
        if self._failed is not None:
            raise self._failed
        reached, self._reached = self._reached, None
        if reached is not None:
            return reached
        return self._carry_on(answer)

    def leave(self, via: Via | None) -> None:
        """It is over: give the notices that came of it, and tell what a shadow found."""
        if self._passage is not None:
            self._passage.leave()
        for event in self._due:
            self._staff.notices.give(event, via)
        self._staff.notices.give_due(self._staff.clock.now(), via)
        self._staff.law.tell_due()

    def finish(self, transact: Callable[[Transact], Outcome], via: Via | None, *, is_patient: bool = False) -> Report:
        """Carry it out, then leave it."""

        def advance(answer: Answer) -> Wait | Report:
            reached = self.advance(answer)
            while isinstance(reached, Transact):
                reached = self.advance(transact(reached))
            return reached

        try:
            if is_patient:
                return self._patiently(advance)
            reached = advance(None)
            return reached if isinstance(reached, Report) else _end(advance(False))
        finally:
            self.leave(via)

    def _carry_on(self, answer: Answer) -> Transact | Wait | Report:
        while True:
            try:
                step = self._steps.send(answer)
            except StopIteration as done:
                report: Report = done.value
                return report
            match step:
                case LookUp():
                    answer, told = self._staff.look_up(step, self._passage)
                    self._due += told
                case Record():
                    answer, told = self._staff.ledger.record(step)
                    if not isinstance(told, Deliveries):  # of whom there is no notice to give
                        self._due += told
                    if self._passage is not None and step.news:
                        self._passage.heard(step.news)
                case Wait():
                    if self._passage is not None:
                        self._passage.leave()
                    return step
                case Transact():
                    return step
                case _:
                    assert_never(step)

    def _patiently(self, advance: Callable[[Answer], Wait | Report]) -> Report:
        """Sleep through the waits, as long as patience lasts."""
        import tenacity

        until = self._staff.clock.now() + self._staff.patience
        answers = iter([None])

        def due_in(state: tenacity.RetryCallState) -> float:
            return max(0.0, (_waits(state).until - self._staff.clock.now()).total_seconds())

        reached = tenacity.Retrying(
            retry=tenacity.retry_if_result(lambda reached: isinstance(reached, Wait)),
            stop=lambda state: _waits(state).until > until,
            wait=due_in,
            sleep=self._staff.clock.sleep,
            before_sleep=lambda state: self._staff.on_wait(_waits(state).until),
            retry_error_callback=lambda state: _waits(state),
        )(lambda: advance(next(answers, True)))
        return reached if isinstance(reached, Report) else _end(advance(False))


Upcoming: TypeAlias = tuple[Delivery, Course] | Exception  # or what was raised instead of one


def looking_ahead(
    delivery: Delivery, ahead: list[Upcoming], gate: Gate, is_ready: Callable[[], bool] | None
) -> Generator[Course | None, Any, Transact | None]:
    """The transaction that may begin behind the one of `delivery`; whose it is comes to stand in `ahead`.

    It asks with None for the next delivery and its course, or None; with a course for its first transaction.
    """
    if ahead or not gate.is_free or not (is_ready is None or is_ready()):
        return None
    try:
        upcoming: tuple[Delivery, Course] | None = yield None
    except Exception as error:  # noqa: BLE001 - whatever it is, it concerns another message than the one under way
        ahead.append(error)
        return None
    if upcoming is None:
        return None
    ahead.append(upcoming)
    if _share_mailbox(delivery, upcoming[0]):
        return None
    first: Transact | None = yield upcoming[1]
    return first


def in_its_turn(upcoming: Upcoming) -> tuple[Delivery, Course]:
    """The delivery that was looked at early; what was raised then is raised now."""
    if isinstance(upcoming, Exception):
        raise upcoming
    return upcoming


def _share_mailbox(one: Delivery, other: Delivery) -> bool:
    """Whether two deliveries go to the same mailbox."""
    keys = {recipient.key for recipient in one.recipients}
    return any(recipient.key in keys for recipient in other.recipients)


def _end(reached: Wait | Report) -> Report:
    assert isinstance(reached, Report), "a delivery that may not wait ends"
    return reached


def _waits(state: object) -> Wait:
    outcome = getattr(state, "outcome", None)
    assert outcome is not None
    result = outcome.result()
    assert isinstance(result, Wait)
    return result
