"""Policy, ledger, notices and clock in one place: the synchronous driver of a delivery."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, TypeAlias, assert_never

from bouncekit.bounces.verp import ReturnPaths
from bouncekit.delivery.closing import closed
from bouncekit.delivery.delivery import absorb, deliver, give_up, recover
from bouncekit.delivery.events import Deliveries, Event, EventType, Occasion, event_id
from bouncekit.delivery.handing import begun, submitted
from bouncekit.delivery.queue import Abandoned
from bouncekit.delivery.report import Report
from bouncekit.delivery.returned import Returned
from bouncekit.delivery.settlement import Settlement
from bouncekit.delivery.steps import (
    Answer,
    Delivery,
    LookedUp,
    LookUp,
    Outcome,
    Record,
    SessionEnd,
    Steps,
    Transact,
    Wait,
)
from bouncekit.desk.gate import Gate, Passage
from bouncekit.desk.law import Law
from bouncekit.desk.ledger import Ledger
from bouncekit.desk.lookout import Lookout
from bouncekit.desk.notices import Notices
from bouncekit.desk.treasurer import Treasurer
from bouncekit.meaning.classification import Classification
from bouncekit.notify import Channel, Via
from bouncekit.outside.clock import Clock
from bouncekit.outside.relay import Outlet, Relay, name_at, name_of
from bouncekit.policy.policy import Policy
from bouncekit.policy.schedule import Retry
from bouncekit.policy.throttle import NO_ROAD, Road
from bouncekit.stores import Store
from bouncekit.stores.memory import MemoryStore
from bouncekit.transports.lockstep import LockStep
from bouncekit.words.envelope import Labels, check_names
from bouncekit.words.errors import ConfigurationError
from bouncekit.words.pseudonym import Pseudonyms
from bouncekit.words.status import Action, RecipientStatus

if TYPE_CHECKING:
    from bouncekit.outside.mx import Resolver

__all__ = ["Course", "Office", "Retry", "Upcoming", "in_its_turn", "shares_mailbox"]


class Office:
    """What every client of one postmaster shares."""

    def __init__(
        self,
        *,
        law: Law,
        store: Store,
        clock: Clock,
        channels: Mapping[str, Channel] | None = None,
        relays: Mapping[str, Relay] | None = None,
        resolver: "Resolver | None" = None,
        return_paths: ReturnPaths | None = None,
        pseudonyms: Pseudonyms | None = None,
        keeps_addresses: bool = True,
        retry: Retry = Retry.NEVER,
        patience: timedelta = timedelta(minutes=5),
        send_without_store: bool = False,
    ) -> None:
        self.law = law
        self.store = store
        self.clock = clock
        self.relays = dict(relays or {})
        self.return_paths = return_paths  # signed, and asked for in mail that comes back; None: the sender's own
        self.resolver = resolver  # asked about domains before a send; None: nobody is
        self._router: Resolver | None = None
        self.retry = retry
        self.patience = patience
        self.pseudonyms = pseudonyms  # of those whose addresses are not kept; None: everybody's are
        self.keeps_addresses = keeps_addresses  # else the store is one that gives everybody's pseudonym itself
        hidden = pseudonyms if keeps_addresses else None
        self.ledger = Ledger(store, clock, sends_without_store=send_without_store, pseudonyms=hidden)
        has_fallback = any("fallback" in relay.options for relay in self.relays.values())
        self.notices = Notices(channels or {}, self.ledger.tell)
        self.on_wait: Callable[[datetime], None] = lambda until: None  # told before a patient send sleeps until then
        self.treasurer = Treasurer(self.policy, self.ledger, self.notices, clock)
        self.gate = Gate(self.policy, store, clock, self.tell_session, self.treasurer, has_fallback=has_fallback)
        law.serve(self.tell_session, clock.now, self.treasurer.follow, self.gate.follow)
        self.lock_step = LockStep()
        self._lookout = Lookout(store, clock, self.gate, self.tell_session)

    @property
    def policy(self) -> Policy:
        """The policy in force."""
        return self.law.in_force.policy

    def classify(self, status: RecipientStatus) -> Classification:
        """What a status means by the rules in force."""
        return self.law.in_force.classify(status)

    # -- one delivery

    def drive(
        self,
        delivery: Delivery,
        transact: Callable[[Transact], Outcome],
        via: Via | None = None,
        outlet: Outlet | None = None,
    ) -> Report:
        """Carry a delivery out with a way to speak SMTP; notices that go by mail go `via` it.

        `outlet` says where the way leads, so that mail goes no faster there than it may; None: nobody looks.

        Raises:
            StoreError: the store does not answer, nothing was sent.
        """
        is_patient = self.retry is Retry.WAIT and delivery.relay is None
        try:
            return self.course(delivery, outlet).finish(transact, via, is_patient=is_patient)
        finally:
            self.ledger.forget(delivery)

    def drive_all(
        self,
        deliveries: Iterable[Delivery],
        transact: Callable[..., Outcome],
        via: Via | None = None,
        outlet: Outlet | None = None,
        is_ready: Callable[[], bool] | None = None,
    ) -> Iterator[Report]:
        """Carry deliveries out one behind the other; `transact` may ask for the transaction to `follow`.

        `is_ready` says whether the next delivery is there by now; without it, it is waited for.

        That one is looked up early, so it is none to the same mailboxes: what becomes of them is not yet recorded.
        Where anything is slow or paused there is none: what is looked up then may have to wait.

        Raises:
            StoreError: the store does not answer; that delivery was not sent.
        """
        if self.retry is Retry.WAIT:
            yield from (self.drive(delivery, transact, via, outlet) for delivery in deliveries)
            return
        courses = ((delivery, self.course(delivery, outlet)) for delivery in deliveries)
        under_way = next(courses, None)
        while under_way is not None:
            delivery, course = under_way
            ahead: list[Upcoming] = []
            try:
                follow = partial(self.look_ahead, delivery, courses, ahead, is_ready)
                report = course.finish(partial(transact, follow=follow), via)
            finally:
                self.ledger.forget(delivery)
            yield report
            under_way = in_its_turn(ahead[0]) if ahead else next(courses, None)

    def recover(self, attempt: Abandoned) -> Report:
        """Settle an attempt that was begun, and that nobody can settle any more who knows how it ended."""
        held = self.law.look()
        steps = recover(attempt, classify=held.classify, policy=held.judging)
        return Course(self, steps).finish(_send_nothing, None)

    def give_up(self, delivery: Delivery, why: str) -> Report:
        """Settle those of a queued message whose deadline has passed; nothing is sent. `why` nobody could be asked."""
        held = self.law.look()
        try:
            steps = give_up(delivery, why, classify=held.classify, policy=held.judging)
            return Course(self, steps).finish(_send_nothing, None)
        finally:
            self.ledger.forget(delivery)

    def absorb(self, news: Returned) -> Sequence[Settlement]:
        """Let news of a mail that came back go the way of a server's reply.

        Raises:
            StoreError: the store could not remember it.
        """
        held = self.law.look()
        steps = absorb(news, classify=held.classify, policy=held.judging)
        settled = Course(self, steps).finish(_send_nothing, None).recipients
        self.ledger.catch_up()
        return settled

    def submit(self, delivery: Delivery) -> Report:
        """Put a delivery into the queue, due at once. The same one again, by its id, changes nothing.

        Raises:
            StoreError: the store does not answer, nothing was queued; or nobody knows, where it says so.
        """
        occasion = replace(self.occasion(), attempt_id=delivery.id)  # the same events each time
        delivery = begun(delivery, self.policy, occasion.at)
        report, events = submitted(delivery, occasion, classify=self.classify)
        self.ledger.enqueue(delivery, events)
        if self.resolver is not None:
            self.resolver.prefetch(recipient.address.domain for recipient in delivery.recipients)
        return report

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
        return check_names(labels)

    def _steps(self, delivery: Delivery, road: Road) -> Steps:
        """By what holds now; to its end, whatever holds then."""
        held = self.law.look()
        return deliver(delivery, classify=held.classify, policy=held.judging, return_paths=self.return_paths, road=road)

    def course(self, delivery: Delivery, outlet: Outlet | None) -> "Course":
        """A delivery, ready to be carried out."""
        passage = self._passage(delivery, outlet)
        return Course(self, self._steps(delivery, NO_ROAD if passage is None else passage.road), passage)

    def _passage(self, delivery: Delivery, outlet: Outlet | None) -> Passage | None:
        resolver = self.router if outlet is not None and outlet.is_direct else self.resolver
        is_queued = delivery.relay is not None
        return self.gate.passage(outlet, delivery.id, resolver, delivery.labels, is_queued=is_queued)

    def look_ahead(
        self,
        delivery: Delivery,
        courses: "Iterator[tuple[Delivery, Course]]",
        ahead: "list[Upcoming]",
        is_ready: Callable[[], bool] | None = None,
    ) -> Transact | None:
        """The transaction that may begin behind the one of `delivery`; whose it is comes to stand in `ahead`."""
        if ahead or not self.gate.is_free or not (is_ready is None or is_ready()):
            return None
        try:
            upcoming = next(courses, None)
        except Exception as error:  # noqa: BLE001 - whatever it is, it concerns another message than the one under way
            ahead.append(error)
            return None
        if upcoming is None:
            return None
        ahead.append(upcoming)
        return None if shares_mailbox(delivery, upcoming[0]) else upcoming[1].first()

    @property
    def may_block(self) -> bool:
        """Whether anything but a send may take its time: a store on a disk or a network, DNS, a channel, a pace."""
        asks_dns = self.resolver is not None or self._router is not None
        is_quick = isinstance(self.store, MemoryStore) and not asks_dns and not self.notices.channels
        return not (is_quick and self.gate.is_free)

    @property
    def router(self) -> "Resolver":
        """Who is asked where a domain's mail goes, whether or not domains are checked before a send."""
        if self._router is None:
            from bouncekit.outside.mx import Resolver

            self._router = self.resolver or Resolver(clock=self.clock)
        return self._router

    def advance(
        self, steps: Steps, answer: Answer, due: list[Event], passage: Passage | None = None
    ) -> Transact | Wait | Report:
        """Carry out steps until the next transaction, the next Wait, or the end."""
        while True:
            try:
                step = steps.send(answer)
            except StopIteration as done:
                report: Report = done.value
                return report
            match step:
                case LookUp():
                    answer, told = self._look_up(step, passage)
                    due += told
                case Record():
                    answer, told = self.ledger.record(step)
                    if not isinstance(told, Deliveries):  # of whom there is no notice to give
                        due += told
                    if passage is not None and step.news:
                        passage.heard(step.news)
                case Wait():
                    if passage is not None:
                        passage.leave()
                    return step
                case Transact():
                    return step
                case _:
                    assert_never(step)

    def patiently(self, advance: Callable[[Answer], Wait | Report]) -> Report:
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
            before_sleep=lambda state: self.on_wait(_waits(state).until),
            retry_error_callback=lambda state: _waits(state),
        )(lambda: advance(next(answers, True)))
        return reached if isinstance(reached, Report) else _end(advance(False))

    def _look_up(self, question: LookUp, passage: Passage | None) -> tuple[LookedUp, Sequence[Event]]:
        found, told = self.ledger.look_up(question)
        if passage is not None and question.recipients:
            road, held = passage.ask(question.recipients)
            if road is not None:
                attempt_id = self.clock.new_id() if held else found.attempt_id
                found = replace(found, now=self.clock.now(), attempt_id=attempt_id, road=road, held=held)
        if self.resolver is not None and question.recipients:
            addresses = [recipient.address.wire for recipient in question.recipients]
            found = replace(
                found,
                attempt_id=self.clock.new_id(),
                undeliverable=self.resolver.undeliverable_of(addresses),
                providers=self.resolver.providers_of(recipient.address.domain for recipient in question.recipients),
            )
        return found, told

    # -- sessions

    def session_ended(self, ended: SessionEnd, *, remote_mta: str | None) -> None:
        """Tell that a session is over, and what the policy says about it."""
        now = self.clock.now()
        status = RecipientStatus(recipient="", action=Action.DELAYED, stage=ended.stage, reply=ended.reply)
        held = self.law.in_force
        verdict = held.judging.decide_session(held.classify(status))
        self.ledger.tell((closed(self.occasion(now), ended, verdict, remote_mta=remote_mta),))

    def tell_session(self, type_: EventType, **details: object) -> None:
        """Tell something else about a session."""
        occasion = self.occasion()
        self.ledger.tell(
            (Event(id=event_id(occasion.attempt_id, None, type_), type=type_, occasion=occasion, details=details),)
        )

    def occasion(self, now: datetime | None = None) -> Occasion:
        """What the events of something that happens now share."""
        at = now or self.clock.now()
        return Occasion(attempt_id=self.clock.new_id(), at=at, policy=self.policy.name, policy_hash=self.policy.hash)

    # -- the queue

    def relay_at(self, host: str, port: int) -> str | None:
        """The name under which what a connection to this place leaves is queued; None where nothing is.

        Raises:
            ConfigurationError: it has none, so nobody could send what is queued.
        """
        return name_at(self.relays, host, port) if self.retry is Retry.QUEUE else None

    def relay_of(self, relay: Relay) -> str | None:
        """The same, of a relay that is known by its URL."""
        return name_of(self.relays, relay) if self.retry is Retry.QUEUE else None

    def outlet_of(self, name: str) -> Outlet:
        """Where the mail for one of the relays goes."""
        relay = self.relays[name]
        return Outlet(name, fallback=relay.options.get("fallback"), is_direct=relay.is_direct)

    def opens_at(self, delivery: Delivery, outlet: Outlet) -> datetime | None:
        """When anybody of a queued message may go, if all have to wait for a moment; None: it may be tried now."""
        passage = self._passage(delivery, outlet)
        return None if passage is None else passage.opens_at(delivery.recipients)

    def watch_queue(self) -> None:
        """Tell that mail has been due for a while and nobody sends it; asks the store once a minute at the most."""
        self._lookout.look()


class Course:
    """Steps of one delivery, which may come as far as the first transaction before they are carried out."""

    def __init__(self, office: Office, steps: Steps, passage: Passage | None = None) -> None:
        self._office = office
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
        return self._office.advance(self._steps, answer, self._due, self._passage)

    def leave(self, via: Via | None) -> None:
        """It is over: give the notices that came of it, and tell what a shadow found."""
        if self._passage is not None:
            self._passage.leave()
        for event in self._due:
            self._office.notices.give(event, via)
        self._office.notices.give_due(self._office.clock.now(), via)
        self._office.law.tell_due()

    def finish(self, transact: Callable[[Transact], Outcome], via: Via | None, *, is_patient: bool = False) -> Report:
        """Carry it out, then leave it."""

        def advance(answer: Answer) -> Wait | Report:
            reached = self.advance(answer)
            while isinstance(reached, Transact):
                reached = self.advance(transact(reached))
            return reached

        try:
            if is_patient:
                return self._office.patiently(advance)
            reached = advance(None)
            return reached if isinstance(reached, Report) else _end(advance(False))
        finally:
            self.leave(via)


Upcoming: TypeAlias = tuple[Delivery, Course] | Exception  # or what was raised instead of one


def in_its_turn(upcoming: Upcoming) -> tuple[Delivery, Course]:
    """The delivery that was looked at early; what was raised then is raised now."""
    if isinstance(upcoming, Exception):
        raise upcoming
    return upcoming


def shares_mailbox(one: Delivery, other: Delivery) -> bool:
    """Whether two deliveries go to the same mailbox."""
    keys = {recipient.key for recipient in one.recipients}
    return any(recipient.key in keys for recipient in other.recipients)


def _send_nothing(step: Transact) -> Outcome:
    raise AssertionError(f"an attempt is settled without sending anything, not even {step.envelope.message_id}")


def _end(reached: Wait | Report) -> Report:
    assert isinstance(reached, Report), "a delivery that may not wait ends"
    return reached


def _waits(state: object) -> Wait:
    outcome = getattr(state, "outcome", None)
    assert outcome is not None
    result = outcome.result()
    assert isinstance(result, Wait)
    return result
