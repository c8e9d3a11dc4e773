"""What is known of a delivery under way, and what the policy makes of each recipient by it; no I/O and no steps."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from bouncekit.bounces.verp import ReturnPaths
from bouncekit.delivery.closing import closed
from bouncekit.delivery.events import event_id, events_of
from bouncekit.delivery.report import Report
from bouncekit.delivery.returned import Returned
from bouncekit.delivery.settlement import Settlement, settle
from bouncekit.delivery.spending import spent_of
from bouncekit.delivery.steps import (
    Delivery,
    LookedUp,
    Outcome,
    Record,
    Strike,
    strikes_of,
)
from bouncekit.delivery.tallied import Number, Scene
from bouncekit.delivery.watch import NOTHING, Heard, answered, answers_of
from bouncekit.delivery.wholesale import occasion_of
from bouncekit.meaning.classification import Classification, Classify
from bouncekit.policy.guard import Answers
from bouncekit.policy.lane import Road
from bouncekit.policy.policy import Disposition, Policy, SessionDisposition
from bouncekit.policy.rule import Circumstances, Window
from bouncekit.policy.schedule import jitter_of
from bouncekit.policy.suppression import Standing, Suppression
from bouncekit.policy.throttle import News
from bouncekit.words.address import Address, parse_address
from bouncekit.words.envelope import Recipient
from bouncekit.words.reply import Cause, NoReply, Stage
from bouncekit.words.status import Action, RecipientStatus

__all__ = ["Bench"]

_NEVER = datetime.min.replace(tzinfo=UTC)


class Bench:
    """Where a delivery is judged. `delivery` leads its way, and asks here what follows from what it hears."""

    def __init__(
        self,
        delivery: Delivery,
        classify: Classify,
        policy: Policy,
        return_paths: ReturnPaths | None,
        road: Road,
    ) -> None:
        self.delivery = delivery
        self.classify = classify
        self.policy = policy
        self.return_paths = return_paths
        self.kind = policy.message_class(delivery.labels.message_class)
        self.settled: dict[str, Settlement] = {}
        self.whole: Sequence[Settlement] | None = None  # everybody's, where there was one outcome for all
        self.now = _NEVER  # by the last look-up
        self.previous: Mapping[str, Suppression] = {}
        self.providers: Mapping[str, str] = {}  # whose servers take the mail of a domain, where that is known
        self.alive: set[str] = set()  # keys of those who got the message
        self.struck: set[Strike] = set()  # a message strikes a mailbox once, however often it is tried
        self.road = road
        self.news: Returned | None = None  # that a mail brought, and no server
        self.learned: Mapping[str, timedelta | None] = {}  # how long greylisting takes where a recipient is, by key
        self.watch = NOTHING  # what the guard sees of the transaction that is being judged

    def report(self) -> Report:
        """What became of everybody, in the order in which they were named."""
        settlements = self.whole
        if settlements is None:
            asked = [recipient.address.wire for recipient in self.delivery.recipients]
            asked += [refusal.address for refusal in self.delivery.refused]
            settlements = [self.settled[address] for address in asked]
        return Report.of(
            settlements,
            message_id=self.delivery.envelope.message_id,
            given=self.delivery.given,
            durable=self.delivery.relay is not None,
        )

    @property
    def jitter(self) -> float:
        """The recipients share it: who waits together goes on together."""
        return jitter_of(self.delivery.id)

    def started(self, recipients: Iterable[Recipient]) -> tuple[Recipient, ...]:
        """The same, whose first attempt began when they were admitted, unless they had one."""
        return tuple([one.started(self.now) for one in recipients])

    def deadline(self, recipient: Recipient, now: datetime) -> datetime:
        return (recipient.first_attempt_at or now) + self.kind.deadline

    def timed(self, recipient: Recipient) -> Recipient:
        """The same, with the time at which somebody looks after it, whatever it waits for by then."""
        first = recipient.first_attempt_at
        at = None if first is None else first + self.kind.deadline
        return recipient if recipient.give_up_at == at else replace(recipient, give_up_at=at)

    def too_late(self, now: datetime) -> Outcome:
        """What brings the end of who was not tried in time: no attempt, and yet of a name of its own."""
        return Outcome(attempt_id=event_id(self.delivery.id, None, f"overdue {now.isoformat()}"), now=now, statuses=())

    def given_up(self, recipient: Recipient, why: str, outcome: Outcome) -> Settlement:
        """The settlement of one whose deadline passes while nobody can be asked. The rules say who hears of it."""
        status = RecipientStatus(
            recipient=recipient.address.wire,
            action=Action.FAILED,
            stage=Stage.CONNECT,
            reply=NoReply(Cause.OVERDUE, why),
        )
        verdict = self.classify(status)
        disposition = self.policy.give_up(verdict, recipient, self._circumstances(verdict, recipient, outcome, {}))
        settlement = self.settled_as(verdict, replace(disposition, ladder=None, measure=None), recipient, outcome)
        return replace(settlement, stage=None)

    def held_back(self, recipient: Recipient, found: LookedUp, probes: set[str]) -> Suppression | None:
        """The suppression that binds this recipient now. An expired one lets one of `probes` through, and uses it up.

        A probe that was delayed has to be granted again: by when it is due, another message may have it.
        """
        suppression = found.suppressions.get(recipient.key)
        if suppression is None or suppression.standing is Standing.HELD:
            return None
        if suppression.category in self.kind.ignores and suppression.standing is not Standing.MANUAL:
            return None
        if suppression.binds(found.now):
            return suppression
        if suppression.standing is Standing.MANUAL or self.delivery.labels.test:
            return None  # what a hand put there ends by itself
        if recipient.key not in probes:
            return suppression
        probes.remove(recipient.key)
        return None

    def signed(self, group: tuple[Recipient, ...], paths: ReturnPaths) -> Address:
        """The return path of one transaction."""
        to = [recipient.address.wire for recipient in group]
        return parse_address(paths.sign(self.delivery.id, to, at=self.now, tenant=self.delivery.labels.tenant))

    @property
    def scene(self) -> Scene:
        relay = self.road.through or (self.road.relay.name if self.road.relay else self.delivery.relay or "")
        return Scene(self.policy, self.delivery.envelope.sender.wire, relay)

    def meaning(self, status: RecipientStatus) -> Classification:
        """What a status means. A reply that nobody asked for is no verdict: whatever it says, it is not for good."""
        verdict = self.classify(status)
        is_unasked = isinstance(status.reply, NoReply) and status.reply.cause is Cause.UNSOLICITED
        return replace(verdict, permanent=False) if is_unasked and verdict.permanent else verdict

    def counted(self, answers: Iterable[Heard], outcome: Outcome) -> tuple[Answers, ...]:
        return answered(answers, self.previous, at=outcome.now, within=self.policy.guard.within)

    def decide(
        self,
        verdict: Classification,
        recipient: Recipient,
        outcome: Outcome,
        counters: Mapping[Window, int],
    ) -> Disposition:
        return self.policy.decide(verdict, recipient, self._circumstances(verdict, recipient, outcome, counters))

    def _circumstances(
        self,
        verdict: Classification,
        recipient: Recipient,
        outcome: Outcome,
        counters: Mapping[Window, int],
    ) -> Circumstances:
        return Circumstances(
            now=outcome.now,
            jitter=self.jitter,
            labels=self.delivery.labels,
            sender=self.delivery.envelope.sender.wire,
            provider=verdict.provider or self.providers.get(recipient.address.domain),
            learned=self.learned.get(recipient.key),
            counters=counters,
        )

    def settled_as(
        self, verdict: Classification, disposition: Disposition, recipient: Recipient, outcome: Outcome
    ) -> Settlement:
        labels = self.delivery.labels
        if labels.test or recipient.key in self.alive:  # another spelling of this mailbox got the message
            disposition = replace(disposition, ladder=None)
        settlement = settle(
            verdict,
            disposition,
            recipient,
            policy=self.policy,
            at=outcome.now,
            previous=self.previous.get(recipient.key),
            message_id=self.delivery.envelope.message_id,
            tenant=labels.tenant,
            stream=labels.stream,
            fingerprint=self.watch.fingerprint(verdict.status.recipient),
            doubted=self.watch.doubts(verdict.status.recipient),
        )
        is_kept = self.delivery.relay is not None and not settlement.is_final
        return replace(settlement, kept=True) if is_kept else settlement

    def record(
        self,
        settlements: list[Settlement],
        recipients: Iterable[Recipient],
        outcome: Outcome,
        session: SessionDisposition | None = None,
        news: Iterable[News] = (),
        numbers: Iterable[tuple[Number, int]] = (),
    ) -> Record:
        """One Record of all that this outcome settled; also remembered here for the report."""
        delivery = self.delivery
        if outcome.through:
            settlements = [replace(settlement, relay=outcome.through) for settlement in settlements]
        for settlement in settlements:
            self.settled[settlement.recipient] = settlement
        occasion = occasion_of(delivery, outcome, self.policy, self.road)
        events = [event for settlement in settlements for event in events_of(settlement, occasion)]
        judged = [one for one in settlements if one.category is not None]
        if self.news is not None:
            events = [replace(event, details=self.news.details) for event in events]
        if outcome.ended is not None and session is not None:
            events.append(closed(occasion, outcome.ended, session, remote_mta=outcome.remote_mta))
        counts = not delivery.labels.test
        budget = self.policy.budget if counts and not (self.news and self.news.is_forgiven) else None
        strikes = [strike for strike in strikes_of(judged, self.alive) if strike not in self.struck]
        self.struck.update(strikes)
        cleared = dict.fromkeys([one.key for one in settlements if one.action is Action.DELIVERED and not one.category])
        doubted = [one for one in judged if one.doubted]
        return Record(
            delivery=delivery,
            occasion=occasion,
            settlements=tuple(settlements),
            recipients=tuple(recipients),
            strikes=tuple(strikes) if counts else (),
            cleared=tuple(cleared) if counts else (),
            answers=self.counted(answers_of(settlements), outcome) if counts else (),
            spent=spent_of(
                budget, settlements, self.previous, self.alive, outcome.now, is_reported=self.news is not None
            ),
            numbers=tuple(numbers) if counts else (),
            news=tuple(news) if counts else (),
            held=self.watch.held(doubted, occasion) if doubted else (),
            events=(*events, *self.watch.alarms(doubted, occasion)) if doubted else tuple(events),
            keep=self.policy.keep.messages,
        )
