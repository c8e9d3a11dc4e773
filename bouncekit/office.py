"""Policy, ledger, notices and clock in one place: the synchronous driver of a delivery."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, assert_never

from bouncekit.builtin import classifier_with, classify, open_policy, read_meaning
from bouncekit.classification import Classification
from bouncekit.clock import Clock, SystemClock
from bouncekit.delivery import absorb, closed, deliver, recover, refusals, submitted
from bouncekit.envelope import Labels
from bouncekit.errors import ConfigurationError, StoreError
from bouncekit.events import Event, EventType, Occasion, event_id, show_time
from bouncekit.ledger import Ledger, complain
from bouncekit.notices import Notices
from bouncekit.notify import Channel, Via, channel
from bouncekit.policy import Policy
from bouncekit.pseudonym import Pseudonyms
from bouncekit.queue import Abandoned
from bouncekit.relay import Relay, name_at, name_of, open_relays
from bouncekit.reply import Cause, NoReply
from bouncekit.report import Report
from bouncekit.returned import Returned
from bouncekit.schedule import parse_duration
from bouncekit.settlement import Settlement
from bouncekit.status import Action, RecipientStatus
from bouncekit.steps import Answer, Delivery, LookedUp, LookUp, Outcome, Record, SessionEnd, Steps, Transact, Wait
from bouncekit.stores import Store, open_store
from bouncekit.stores.erased import check_secrets
from bouncekit.transports.lockstep import LockStep
from bouncekit.verp import ReturnPaths

if TYPE_CHECKING:
    from bouncekit.classifier import Classifier
    from bouncekit.mx import Resolver

__all__ = ["Office", "Retry", "open_office", "undelivered"]

_STALLED = timedelta(minutes=15)  # that something is due and nobody takes it


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
        clock: Clock,
        channels: Mapping[str, Channel] | None = None,
        relays: Mapping[str, Relay] | None = None,
        resolver: "Resolver | None" = None,
        return_paths: ReturnPaths | None = None,
        pseudonyms: Pseudonyms | None = None,
        classifier: "Classifier | None" = None,
        retry: Retry = Retry.NEVER,
        patience: timedelta = timedelta(minutes=5),
        send_without_store: bool = False,
    ) -> None:
        self.policy = policy
        self.store = store
        self.clock = clock
        self.relays = dict(relays or {})
        self._classifier = classifier  # with rules of the owner; None: the shipped one, read when it is needed
        self.return_paths = return_paths  # signed, and asked for in mail that comes back; None: the sender's own
        self.resolver = resolver  # asked about domains before a send; None: nobody is
        self.retry = retry
        self.patience = patience
        self.pseudonyms = pseudonyms  # of those whose addresses were erased; None: nobody's ever were
        self.ledger = Ledger(store, clock, sends_without_store=send_without_store, pseudonyms=pseudonyms)
        self.lock_step = LockStep()
        self.notices = Notices(channels or {}, self.ledger.tell)
        self._watched_at = self._stalled_at = datetime.min.replace(tzinfo=UTC)

    # -- one delivery

    def drive(self, delivery: Delivery, transact: Callable[[Transact], Outcome], via: Via | None = None) -> Report:
        """Carry a delivery out with a way to speak SMTP; notices that go by mail go `via` it.

        Raises:
            StoreError: the store does not answer, nothing was sent.
        """
        is_patient = self.retry is Retry.WAIT and delivery.relay is None
        try:
            return _Course(self, self._steps(delivery)).finish(transact, via, is_patient=is_patient)
        finally:
            self.ledger.forget(delivery)

    def drive_all(
        self,
        deliveries: Iterable[Delivery],
        transact: Callable[..., Outcome],
        via: Via | None = None,
    ) -> Iterator[Report]:
        """Carry deliveries out one behind the other; `transact` may ask for the transaction to `follow`.

        That one is looked up early, so it is none to the same mailboxes: what becomes of them is not yet recorded.

        Raises:
            StoreError: the store does not answer; that delivery was not sent.
        """
        if self.retry is Retry.WAIT:
            yield from (self.drive(delivery, transact, via) for delivery in deliveries)
            return
        courses = ((delivery, _Course(self, self._steps(delivery))) for delivery in deliveries)
        under_way = next(courses, None)
        while under_way is not None:
            delivery, course = under_way
            ahead: list[tuple[Delivery, _Course]] = []
            try:
                report = course.finish(partial(transact, follow=partial(_look_ahead, delivery, courses, ahead)), via)
            finally:
                self.ledger.forget(delivery)
            yield report
            under_way = ahead[0] if ahead else next(courses, None)

    def recover(self, attempt: Abandoned) -> Report:
        """Settle an attempt that was begun, and that nobody can settle any more who knows how it ended."""
        steps = recover(attempt, classify=self.classify, policy=self.policy)
        return _Course(self, steps).finish(_send_nothing, None)

    def absorb(self, news: Returned) -> Sequence[Settlement]:
        """Let news of a mail that came back go the way of a server's reply.

        Raises:
            StoreError: the store could not remember it.
        """
        steps = absorb(news, classify=self.classify, policy=self.policy)
        settled = _Course(self, steps).finish(_send_nothing, None).recipients
        self.ledger.catch_up()
        return settled

    def submit(self, delivery: Delivery) -> Report:
        """Put a delivery into the queue, due at once.

        Raises:
            StoreError: the store does not answer, nothing was queued.
        """
        occasion = self.occasion()
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
        return labels

    def classify(self, status: RecipientStatus) -> Classification:
        """What a status means."""
        return self._classifier.classify(status) if self._classifier is not None else classify(status)

    def _steps(self, delivery: Delivery) -> Steps:
        return deliver(delivery, classify=self.classify, policy=self.policy, return_paths=self.return_paths)

    def advance(self, steps: Steps, answer: Answer, due: list[Event]) -> Transact | Wait | Report:
        """Carry out steps until the next transaction, the next Wait, or the end."""
        while True:
            try:
                step = steps.send(answer)
            except StopIteration as done:
                report: Report = done.value
                return report
            match step:
                case LookUp():
                    answer, told = self._look_up(step)
                    due += told
                case Record():
                    answer, told = self.ledger.record(step)
                    due += told
                case Transact() | Wait():
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
            retry_error_callback=lambda state: _waits(state),
        )(lambda: advance(next(answers, True)))
        return reached if isinstance(reached, Report) else _end(advance(False))

    def _look_up(self, question: LookUp) -> tuple[LookedUp, Sequence[Event]]:
        found, told = self.ledger.look_up(question)
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
        verdict = self.policy.decide_session(self.classify(status))
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

    def watch_queue(self) -> None:
        """Tell that mail has been due for a while and nobody sends it; asks the store once a minute at the most."""
        now = self.clock.now()
        if abs(now - self._watched_at) < timedelta(minutes=1):  # a clock may be set back
            return
        self._watched_at = now
        try:
            depth = self.store.depth(now)
        except StoreError:
            return  # whoever sends says so
        since = depth.oldest_due_at
        if since is None or now - since < _STALLED or abs(now - self._stalled_at) < _STALLED:
            return
        self._stalled_at = now
        self.tell_session(EventType.QUEUE_STALLED, due=depth.due, oldest_due_at=show_time(since))
        complain("%d queued recipients are due, the oldest since %s, and nobody sends them", depth.due, since)


class _Course:
    """Steps of one delivery, which may come as far as the first transaction before they are carried out."""

    def __init__(self, office: Office, steps: Steps) -> None:
        self._office = office
        self._steps = steps
        self._due: list[Event] = []
        self._reached: Transact | Wait | Report | None = None
        self._failed: Exception | None = None

    def first(self) -> Transact | None:
        """The first transaction, None where nobody is to be tried. What fails is raised by `finish`."""
        try:
            self._reached = self._office.advance(self._steps, None, self._due)
        except Exception as error:  # noqa: BLE001 - whatever it is, it concerns another message than the one under way
            self._failed = error
        return self._reached if isinstance(self._reached, Transact) else None

    def finish(self, transact: Callable[[Transact], Outcome], via: Via | None, *, is_patient: bool = False) -> Report:
        """Carry them out, then give the notices that came of it."""

        def advance(answer: Answer) -> Wait | Report:
            reached, self._reached = self._reached, None
            if reached is None:
                reached = self._office.advance(self._steps, answer, self._due)
            while isinstance(reached, Transact):
                reached = self._office.advance(self._steps, transact(reached), self._due)
            return reached

        try:
            if self._failed is not None:
                raise self._failed
            if is_patient:
                return self._office.patiently(advance)
            reached = advance(None)
            return reached if isinstance(reached, Report) else _end(advance(False))
        finally:
            for event in self._due:
                self._office.notices.give(event, via)
            self._office.notices.give_due(self._office.clock.now(), via)


def _look_ahead(
    delivery: Delivery, courses: Iterator[tuple[Delivery, _Course]], ahead: list[tuple[Delivery, _Course]]
) -> Transact | None:
    """The transaction that may begin behind the one of `delivery`; whose it is comes to stand in `ahead`."""
    if ahead:
        return None
    ahead.extend(islice(courses, 1))
    keys = {recipient.key for recipient in delivery.recipients}
    if not ahead or any(recipient.key in keys for recipient in ahead[0][0].recipients):
        return None
    return ahead[0][1].first()


def open_office(
    *,
    policy: str | Path | Policy = "default",
    store: str | Store | None = None,
    retry: str | Retry = Retry.NEVER,
    patience: timedelta | float | str = timedelta(minutes=5),
    channels: Mapping[str, object] | None = None,
    relays: Mapping[str, object] | None = None,
    check_domains: "bool | Resolver" = False,
    rules: Sequence[str | Path] = (),
    community_rules: Sequence[str | Path] = (),
    bounces: str | None = None,
    bounce_keys: Sequence[str | bytes] = (),
    hash_keys: Sequence[str | bytes] = (),
    on_store_failure: str = "raise",
    cache: str | None = None,
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
    if store is not None and not isinstance(store, str) and not hasattr(store, "look_up"):
        raise ConfigurationError(f"store={store!r}: write a URL such as 'sqlite:///bounces.db', or give a Store")
    durable = _retry(retry)
    if durable is Retry.QUEUE and store is None:
        raise ConfigurationError("retry='queue' keeps mail in a store: add store='sqlite:///bounces.db'")
    pseudonyms = _pseudonyms(hash_keys)
    lasting = _store(store, cache)
    check_secrets(lasting, pseudonyms)
    return Office(
        policy=opened,
        store=lasting,
        clock=clock or SystemClock(),
        channels=roles,
        relays=open_relays(relays or {}),
        resolver=_resolver(check_domains, clock),
        return_paths=_return_paths(bounces, bounce_keys),
        pseudonyms=pseudonyms,
        classifier=_classifier(opened, rules=rules, community_rules=community_rules),
        retry=durable,
        patience=_patience(patience),
        send_without_store=on_store_failure == "send",
    )


def _store(given: str | Store | None, cache: str | None) -> Store:
    opened = open_store(given) if given is None or isinstance(given, str) else given
    if cache is None:
        return opened
    from bouncekit.stores.screened import with_cache

    return with_cache(opened, cache)


def _resolver(wanted: "bool | Resolver", clock: Clock | None) -> "Resolver | None":
    if isinstance(wanted, bool):
        if not wanted:
            return None
        from bouncekit.mx import Resolver

        return Resolver(clock=clock)
    return wanted


def _classifier(policy: Policy, **files: Sequence[str | Path]) -> "Classifier | None":
    """What is given goes before what the policy names; None where that is nothing: the shipped one will do."""
    for name, paths in files.items():
        if isinstance(paths, str | Path):
            raise ConfigurationError(f"{name}={paths!r}: a list of files is needed, such as ['replies.toml']")
    meaning = read_meaning(files["rules"], files["community_rules"]) + policy.meaning
    return classifier_with(meaning) if meaning else None


def _pseudonyms(keys: Sequence[str | bytes]) -> Pseudonyms | None:
    if isinstance(keys, str | bytes):
        raise ConfigurationError("hash_keys: a list of secrets is needed, not one")
    return Pseudonyms(keys) if keys else None


def _return_paths(bounces: str | None, keys: Sequence[str | bytes]) -> ReturnPaths | None:
    if bounces is None and not keys:
        return None
    if isinstance(keys, str | bytes):
        raise ConfigurationError("bounce_keys: a list of secrets is needed, not one")
    return ReturnPaths(bounces or "", tuple(key.encode() if isinstance(key, str) else key for key in keys))


def _retry(name: str | Retry) -> Retry:
    try:
        return Retry(name)
    except ValueError:
        raise ConfigurationError(f"retry={name!r}: write 'never', 'wait' or 'queue'") from None


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
