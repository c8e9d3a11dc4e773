"""One message on its way through the policy, without I/O: a generator of typed steps that a driver carries out.

    deliver() --LookUp-->   which recipients are suppressed, what do their histories say    <--LookedUp--
              --Transact--> speak SMTP with a server                                         <--Outcome---
              --Record-->   remember these settlements, all or none, then tell the world     <--Amended---
              --Wait-->     nothing to do before this time: go on then, or leave it?          <--bool------

The synchronous, the asynchronous and the durable driver differ in how they carry the steps out and in nothing else.
A split, a lone repeat and a reconnect happen at once and are no outcome: only what is settled is recorded.
"""

from collections import deque
from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from bouncekit.bounces.verp import ReturnPaths
from bouncekit.delivery.bench import Bench
from bouncekit.delivery.closing import goes_on, session_of
from bouncekit.delivery.handing import refusals
from bouncekit.delivery.lanes import Hearing, parted, together, why_held
from bouncekit.delivery.queue import Abandoned
from bouncekit.delivery.returned import Returned, complaint
from bouncekit.delivery.settlement import Settlement, delivered, held_up, skipped, unjudged
from bouncekit.delivery.sorting import Sorted
from bouncekit.delivery.steps import (
    Amended,
    Answer,
    Delivery,
    LookedUp,
    LookUp,
    Outcome,
    Record,
    Step,
    Steps,
    Transact,
    Wait,
)
from bouncekit.delivery.tallied import greylisted_at, waited
from bouncekit.delivery.watch import NOTHING, answers_to, patterns, watch
from bouncekit.delivery.wholesale import wholesale
from bouncekit.meaning.classification import Classification, Classify
from bouncekit.policy.lane import NO_ROAD, Road
from bouncekit.policy.policy import Policy
from bouncekit.policy.rule import Fate, SessionFate, Window
from bouncekit.words.envelope import Counted, Recipient
from bouncekit.words.reply import Cause, NoReply
from bouncekit.words.status import Action, Taken

__all__ = ["absorb", "deliver", "give_up", "recover"]

_ALWAYS_TAKEN = 100  # recipients that every server has to take in one transaction (RFC 5321 4.5.3.1.8)


def deliver(
    delivery: Delivery,
    *,
    classify: Classify,
    policy: Policy,
    return_paths: ReturnPaths | None = None,
    road: Road = NO_ROAD,
) -> Steps:
    """Bring a message to its recipients by a policy. Returns the report when all is settled or left to wait.

    With `return_paths` each transaction has a signed one, so that its bounces prove what they are about. `road` are the
    lanes that it takes, as far as they are known before anybody is asked.
    """
    return _Way(delivery, classify, policy, return_paths, road).go()


def recover(attempt: Abandoned, *, classify: Classify, policy: Policy) -> Steps:
    """Settle an attempt of which nobody knows how it ended: the server may have taken the message, or may not.

    Its recipients are *unknown*, and the policy says whether they go once more. Nothing is sent here.
    """
    return (yield from _Way(attempt.delivery, classify, policy).recover(attempt))


def absorb(news: Returned, *, classify: Classify, policy: Policy) -> Steps:
    """Let what a mail that came back reports of one recipient go the way of a server's reply. Nothing is sent here.

    Whoever reports has given up, so that no fate but a final one is left; a notice of a delay is only told.
    """
    return (yield from _Way(news.delivery, classify, policy).absorb(news))


def give_up(delivery: Delivery, why: str, *, classify: Classify, policy: Policy) -> Steps:
    """Settle those of a queued message whose deadline has passed while nobody could be asked. Nothing is sent here.

    Who has more time by this policy than by the one that he was queued under waits on.
    """
    return (yield from _Way(delivery, classify, policy).give_up(why))


class _Way(Bench):
    """One delivery under way: who waits, who is next, and what is asked for them."""

    def __init__(
        self,
        delivery: Delivery,
        classify: Classify,
        policy: Policy,
        return_paths: ReturnPaths | None = None,
        road: Road = NO_ROAD,
    ) -> None:
        super().__init__(delivery, classify, policy, return_paths, road)
        self.waiting: list[tuple[datetime, Recipient]] = []
        self.groups: deque[tuple[Recipient, ...]] = deque()
        self.reconnecting = False
        self.is_shut = False  # a lane of the road, by an answer to this delivery

    def go(self) -> Steps:
        refused = refusals(self.delivery, self.classify) if self.delivery.refused else ()
        yield from self._admit(self.delivery.recipients, refused)
        while True:
            while self.groups:
                group = self.groups.popleft()
                if self.is_shut:
                    group = yield from self._ask_again(group)
                if group:
                    yield from self._transact(group)
            if not self.waiting:
                break
            until = min(at for at, _ in self.waiting)
            left = replace(self.delivery, recipients=tuple(recipient for _, recipient in self.waiting), refused=())
            if not (yield Wait(until=until, delivery=left)):
                break
            due = tuple(recipient for at, recipient in self.waiting if at <= until)
            self.waiting = [(at, recipient) for at, recipient in self.waiting if at > until]
            yield from self._admit(due)
        return self.report()

    def recover(self, attempt: Abandoned) -> Steps:
        now = yield from self._previous()
        group = tuple(map(self.timed, self.delivery.recipients))
        yield from self._judge(group, Outcome(attempt_id=attempt.attempt_id, now=now, statuses=attempt.statuses))
        return self.report()

    def give_up(self, why: str) -> Steps:
        now = yield from self._previous()
        outcome = self.too_late(now)
        timed = tuple(map(self.timed, self.delivery.recipients))
        settlements = [
            self.given_up(one, why, outcome)
            if now >= self.deadline(one, now)
            else replace(held_up(one, why, now), kept=True)
            for one in timed
        ]
        yield from self._remember(self.record(settlements, timed, outcome))
        return self.report()

    def absorb(self, news: Returned) -> Steps:
        (recipient,), now = self.delivery.recipients, (yield from self._previous())
        self.news = news
        outcome = Outcome(attempt_id=news.attempt_id, now=now, statuses=(news.status,))
        if news.is_final:
            yield from self._judge((recipient,), outcome)
            return self.report()
        if news.is_complaint:
            verdict = complaint(news.status)
            disposition = replace(self.decide(verdict, recipient, outcome, {}), action=Action.DELIVERED)
            told = self.settled_as(verdict, disposition, recipient, outcome)
        else:
            told = replace(unjudged(news.status, self.classify(news.status)), key=recipient.key)
        yield from self._remember(self.record([told], (), outcome))
        return self.report()

    def _previous(self) -> Generator[Step, Answer, datetime]:
        """Look up what stands on the list, for news of what was sent before; the time of that."""
        labels, keys = self.delivery.labels, tuple(one.key for one in self.delivery.recipients)
        found = yield LookUp(labels=labels, keys=keys, begun=True)
        assert isinstance(found, LookedUp)
        self.previous = {} if labels.test else found.suppressions
        return found.now

    # -- before anything is sent

    def _admit(self, asked: tuple[Recipient, ...], refused: Sequence[Settlement] = ()) -> Generator[Step, Answer, None]:
        """Settle who must not be tried; the rest is the next group. Asked again behind a wait: lists change."""
        self.is_shut, labels = False, self.delivery.labels
        keys = tuple(dict.fromkeys([recipient.key for recipient in asked]))
        claim = "" if labels.test else self.delivery.id
        found = yield LookUp(labels=labels, recipients=asked, keys=keys, claim=claim, begun=bool(self.settled))
        assert isinstance(found, LookedUp)
        self.previous = {} if labels.test else found.suppressions
        self.providers, self.now = found.providers, found.now
        settlements = list(refused)
        free: list[Recipient] = []
        probes = set(found.probes)
        for recipient in asked if found.suppressions else ():
            by = self.held_back(recipient, found, probes)
            if by is None:
                free.append(recipient)
            else:
                settlements.append(skipped(recipient, by))
        if not found.suppressions:
            free += asked
        if settlements:
            outcome = Outcome(attempt_id=self.delivery.id, now=found.now, statuses=())
            yield from self._remember(self.record(settlements, (), outcome))
        if found.undeliverable and (doomed := tuple(one for one in free if one.address.wire in found.undeliverable)):
            free = [one for one in free if one not in doomed]
            statuses = tuple(found.undeliverable[one.address.wire] for one in doomed)
            outcome = Outcome(attempt_id=found.attempt_id, now=found.now, statuses=statuses)
            yield from self._judge(self.started(doomed), outcome)
        if self.delivery.relay is not None:
            free = list(map(self.timed, self.started(free)))
        may_go = yield from self._let_through(tuple(free), found)
        self.groups.extend(together(may_go, self.road))

    def _ask_again(self, group: tuple[Recipient, ...]) -> Generator[Step, Answer, tuple[Recipient, ...]]:
        """Those of a group who may go still, after an answer that has shut a lane."""
        found = yield LookUp(labels=self.delivery.labels, recipients=group, begun=True)
        assert isinstance(found, LookedUp)
        return (yield from self._let_through(group, found))

    def _let_through(
        self, recipients: tuple[Recipient, ...], found: LookedUp
    ) -> Generator[Step, Answer, tuple[Recipient, ...]]:
        """Those whose lanes are open; the others wait until they are. Nobody has tried, so no attempt counts."""
        self.road = found.road or self.road
        may_go, waiting = parted(recipients, self.road, found.held)
        if waiting:
            is_kept = self.delivery.relay is not None
            outcome = Outcome(attempt_id=found.attempt_id, now=found.now, statuses=())
            settlements = []
            waiting = tuple(zip(self.started([one for one, _ in waiting]), [by for _, by in waiting], strict=True))
            for one, by in waiting:
                deadline = self.deadline(one, found.now)
                if found.now >= deadline or (by.until >= deadline and not self.kind.tries_late):
                    settlements.append(self.given_up(one, why_held(by), outcome))
                else:
                    until = min(by.until, deadline)
                    settlements.append(replace(held_up(one, why_held(by), until), kept=is_kept))
                    self.waiting.append((until, one))
            yield from self._remember(self.record(settlements, [one for one, _ in waiting], outcome))
        return may_go

    # -- whose time is over

    # -- one transaction and what follows from it

    def _transact(self, group: tuple[Recipient, ...]) -> Generator[Step, Answer, None]:
        envelope = self.delivery.envelope
        addresses = tuple([recipient.address for recipient in group])
        if addresses != envelope.recipients:
            envelope = replace(envelope, recipients=addresses)
        if self.return_paths is not None and envelope.sender.wire:  # the null one must stay what it is
            envelope = replace(envelope, sender=self.signed(group, self.return_paths))
        outcome = yield Transact(
            delivery=self.delivery,
            envelope=envelope,
            recipients=group,
            reconnect=self.reconnecting,
            through=self.road.through,
        )
        assert isinstance(outcome, Outcome)
        self.reconnecting = False
        if beyond := group[len(outcome.statuses) :]:
            self.groups.appendleft(beyond)
            group = group[: len(outcome.statuses)]
        if isinstance(outcome.statuses, Taken):
            self.alive.update([recipient.key for recipient in group])
            is_plain = not any(one.greylisted_at for one in group)
            if is_plain and (not self.previous or self.previous.keys().isdisjoint(self.alive)):
                return (yield from self._settle_all(group, outcome.statuses, outcome))
        else:
            pairs = zip(group, outcome.statuses, strict=True)
            self.alive.update([recipient.key for recipient, status in pairs if status.action is Action.DELIVERED])
        return (yield from self._judge(self.started(group), outcome))

    def _settle_all(
        self, group: tuple[Recipient, ...], statuses: Taken, outcome: Outcome
    ) -> Generator[Step, Answer, None]:
        """What `_judge` comes to where the message was taken for all, and nobody stood on the list: nearly always."""
        if outcome.through != self.road.through:
            self.road = replace(self.road, through=outcome.through)
        record = wholesale(
            Counted(group, self.now), statuses, outcome, delivery=self.delivery, policy=self.policy, road=self.road
        )
        if not self.settled and len(group) == len(self.delivery.recipients):
            self.whole = record.settlements
        else:
            self.settled.update([(one.recipient, one) for one in record.settlements])
        yield from self._remember(record)

    def _judge(self, group: tuple[Recipient, ...], outcome: Outcome) -> Generator[Step, Answer, None]:
        """Classify every status, let the policy decide, and put each recipient where it belongs."""
        verdicts = {
            status.recipient: self.meaning(status)
            for status in outcome.statuses
            if status.action is not Action.DELIVERED
        }
        reconnects = max(recipient.reconnects for recipient in group)
        session = session_of(outcome, verdicts.values(), self.policy, self.classify, reconnects=reconnects)
        self.watch = NOTHING
        if outcome.through != self.road.through:
            self.road = replace(self.road, through=outcome.through)
        counters = (yield from self._ask(group, outcome, verdicts)) if verdicts else {}
        into = Sorted(Hearing(self.road, self.jitter, self.policy.hints))
        for recipient, status in zip(group, outcome.statuses, strict=True):
            verdict = verdicts.get(status.recipient)
            if verdict is None:
                counted = recipient.counted()
                into.settlements.append(delivered(status, counted, self.previous.get(recipient.key), at=outcome.now))
                into.recipients.append(counted)
                into.numbers += waited(counted, status, outcome.now)
                into.hearing.add(recipient.address.domain, status)
            elif isinstance(status.reply, NoReply) and status.reply.cause is Cause.TAKEN:
                # Whoever has the recipient settles it, and is the only one who does.
                self.settled[status.recipient] = replace(unjudged(status, verdict), kept=True, key=recipient.key)
            elif session is not None and goes_on(status, outcome, session):
                again = replace(recipient, reconnects=recipient.reconnects + 1)
                (into.apart if status.individual else into.together).append(again)
            else:
                self._place(recipient, verdict, outcome, counters.get(recipient.key, {}), into)
        self.reconnecting = session is not None and session.fate is SessionFate.RECONNECT
        if verdicts:
            into.numbers += self.scene.counted(verdicts.values())
            self.groups.extendleft((one,) for one in reversed(into.apart + into.alone))
            self.groups.extendleft(reversed(into.batches()))
            self.is_shut |= into.hearing.shuts
        news = into.hearing.news.values()
        record = self.record(into.settlements, into.recipients, outcome, session, news, into.numbers)
        yield from self._remember(record)

    def _place(
        self,
        recipient: Recipient,
        verdict: Classification,
        outcome: Outcome,
        counters: Mapping[Window, int],
        into: Sorted,
    ) -> None:
        """Let the policy decide about one recipient that was not delivered."""
        status = verdict.status
        counted = recipient.counted()
        disposition = self.decide(verdict, counted, outcome, counters)
        into.hearing.add(recipient.address.domain, status, verdict, disposition)
        if disposition.fate is Fate.SPLIT:
            into.together.append(recipient)
            into.at_most = max(into.at_most, status.accepted, _ALWAYS_TAKEN)
        elif disposition.fate is Fate.ALONE:
            into.alone.append(replace(recipient, repeats=recipient.repeats + 1))
        else:
            unknown = recipient.possible_duplicate or status.action is Action.UNKNOWN
            counted = replace(
                counted,
                reconnects=0,
                repeats=0,
                possible_duplicate=unknown,
                greylisted_at=greylisted_at(recipient, verdict, outcome.now),
            )
            into.settlements.append(self.settled_as(verdict, disposition, counted, outcome))
            into.recipients.append(counted)
            if disposition.retry_at is not None:
                self.waiting.append((disposition.retry_at, counted))

    def _ask(
        self, group: tuple[Recipient, ...], outcome: Outcome, verdicts: Mapping[str, Classification]
    ) -> Generator[Step, Answer, Mapping[str, Mapping[Window, int]]]:
        """The counters that the policy asks for, by key, and what the guard sees; nearly always nobody is asked."""
        self.learned, scene, asked = {}, self.scene, {}
        for recipient in group:
            if recipient.address.wire in verdicts:
                asked[recipient.key] = scene.asked(verdicts[recipient.address.wire])
        windows = [(key, one) for key, of_it in asked.items() for one in of_it.windows]
        sums = dict.fromkeys(one for of_it in asked.values() for one in of_it.all_sums)
        suspects = {} if self.delivery.labels.test else patterns(self.policy, verdicts)
        if not windows and not suspects and not sums:
            return {}
        found = yield LookUp(
            labels=self.delivery.labels,
            windows=tuple(windows),
            sums=tuple(sums),
            fingerprints=tuple(dict.fromkeys(suspects.values())),
            within=self.policy.guard.within,
            begun=True,
        )
        assert isinstance(found, LookedUp)
        if suspects:
            own = self.counted(answers_to(group, outcome.statuses, verdicts, suspects), outcome)
            self.watch = watch(self.policy.guard, suspects, found.masses, own)
        self.learned = {key: of_it.learned(found.sums) for key, of_it in asked.items()}
        counters = {key: of_it.counted(found.sums) for key, of_it in asked.items()}
        for (key, window), number in found.counters.items():
            counters[key][window] = number
        return counters

    def _remember(self, record: Record) -> Generator[Step, Answer, None]:
        """Have an outcome remembered. What turned out otherwise, as where the store failed, the report says."""
        amended = yield record
        if isinstance(amended, Amended):
            self.whole = None
            self.settled.update([(one.recipient, amended.settlement(one)) for one in record.settlements])
