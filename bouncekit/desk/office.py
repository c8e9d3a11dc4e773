"""Policy, ledger, notices and clock in one place: what the clients of one postmaster share."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from bouncekit.bounces.verp import ReturnPaths
from bouncekit.delivery.closing import closed
from bouncekit.delivery.delivery import absorb, deliver, give_up, recover
from bouncekit.delivery.events import Event, EventType, Occasion, event_of
from bouncekit.delivery.handing import begun, submitted
from bouncekit.delivery.queue import Abandoned
from bouncekit.delivery.report import Report
from bouncekit.delivery.returned import Returned
from bouncekit.delivery.settlement import Settlement
from bouncekit.delivery.steps import Delivery, LookedUp, LookUp, Outcome, SessionEnd, Steps, Transact
from bouncekit.desk.course import Course, Upcoming, in_its_turn, looking_ahead
from bouncekit.desk.gate import Gate
from bouncekit.desk.law import Law
from bouncekit.desk.ledger import Ledger
from bouncekit.desk.lookout import Lookout
from bouncekit.desk.notices import Notices
from bouncekit.desk.passage import Passage
from bouncekit.desk.treasurer import Treasurer
from bouncekit.meaning.classification import Classification
from bouncekit.notify import Channel, Via
from bouncekit.outside.clock import Clock
from bouncekit.outside.relay import Outlet, Relay, name_at, name_of
from bouncekit.policy.lane import NO_ROAD, Road
from bouncekit.policy.policy import Policy
from bouncekit.policy.schedule import Retry
from bouncekit.stores import Store
from bouncekit.stores.erased import Secrets
from bouncekit.stores.memory import MemoryStore
from bouncekit.transports.blocking import run
from bouncekit.transports.lockstep import LockStep
from bouncekit.words.envelope import Labels, check_names
from bouncekit.words.errors import ConfigurationError
from bouncekit.words.pseudonym import Pseudonyms
from bouncekit.words.status import Action, RecipientStatus

if TYPE_CHECKING:
    from bouncekit.outside.mx import Resolver

__all__ = ["Office"]


class Office:
    """What every client of one postmaster shares; the staff of each `Course`."""

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
        self.secrets = Secrets(store, pseudonyms, clock.now())
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
                follow = partial(self._look_ahead, delivery, courses, ahead, is_ready)
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

    def course(self, delivery: Delivery, outlet: Outlet | None) -> Course:
        """A delivery, ready to be carried out."""
        passage = self._passage(delivery, outlet)
        return Course(self, self._steps(delivery, NO_ROAD if passage is None else passage.road), passage)

    def _passage(self, delivery: Delivery, outlet: Outlet | None) -> Passage | None:
        """What the delivery passes by; None where nothing can be slow or paused."""
        resolver = self.router if outlet is not None and outlet.is_direct else self.resolver
        if outlet is None or not self.gate.is_needed:
            return None
        is_queued = delivery.relay is not None
        return Passage(self.gate, outlet, delivery.id, resolver, delivery.labels, is_queued=is_queued)

    def _look_ahead(
        self,
        delivery: Delivery,
        courses: Iterator[tuple[Delivery, Course]],
        ahead: list[Upcoming],
        is_ready: Callable[[], bool] | None,
    ) -> Transact | None:
        def do(asked: Course | None) -> object:
            return next(courses, None) if asked is None else asked.first()

        first: Transact | None = run(looking_ahead(delivery, ahead, self.gate, is_ready), do)
        return first

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

    def look_up(self, question: LookUp, passage: Passage | None) -> tuple[LookedUp, Sequence[Event]]:
        """What is known about recipients, and the events that come of looking."""
        if not question.begun:
            self.secrets.check(self.clock.now())
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
        self.ledger.tell((event_of(type_, self.occasion(), details=details),))

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


def _send_nothing(step: Transact) -> Outcome:
    raise AssertionError(f"an attempt is settled without sending anything, not even {step.envelope.message_id}")
