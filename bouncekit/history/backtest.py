"""What a policy would have made of what happened: recorded events replayed through two policies, and the difference.

Each recorded reply is classified again, so that rules about replies count too, and decided again with what is known of
its message and its recipient: attempts, deadline, days with the same verdict, verdicts about others of its domain and
the like, suppressions. What cannot be known is counted as that: what a server would have answered to a try that nobody
made.
"""

from array import array
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import Any

from bouncekit.delivery.tallied import Number, Scene, Sum
from bouncekit.history.recorded import LIFTED, REMEMBERED, SKIPPED, Recorded, recorded
from bouncekit.meaning.classification import Category, Classification, Scope
from bouncekit.policy.policy import Disposition, Policy
from bouncekit.policy.rule import Circumstances, Fate, SeenBy, Window
from bouncekit.policy.schedule import show_duration
from bouncekit.policy.suppression import Evidence, Standing, Suppression, climb
from bouncekit.policy.throttle import in_words
from bouncekit.words.status import Action, RecipientStatus

__all__ = ["Backtest", "Change", "Difference", "Outcome", "Tally", "Verb", "warm_up"]

Classify = Callable[[RecipientStatus], Classification]
Told = Mapping[str, Any]

_AT_ONCE = frozenset({Fate.SPLIT, Fate.ALONE})
_EXAMPLES = 3  # of each change
_NOBODY = "(none)"


class Verb(StrEnum):
    """What becomes of a recipient at one outcome."""

    DELIVERED = "delivered"  # as the record says
    RETRIED = "retried"  # later
    AT_ONCE = "asked again"  # at once, alone or in a new transaction
    FAILED = "failed"
    HELD = "held"
    SUPPRESSED = "suppressed"  # not sent: on this policy's own list
    GIVEN_UP = "given up before"  # not tried: this policy had ended it at an earlier outcome
    SENT = "sent"  # where the record has a suppression that this policy would not have made; the answer is not known


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one policy makes of one recorded outcome. `ladder` names the suppression that it adds."""

    verb: Verb
    rule: str = ""
    where: str = ""
    category: Category | None = None
    wait: timedelta | None = None
    ladder: str | None = None
    channels: tuple[str, ...] = ()
    measure: str = ""  # about the way: slow by 2, pause 15m

    @property
    def face(self) -> str:
        """All that somebody would notice of it, in words.

        >>> Outcome(Verb.FAILED, ladder="mailbox", channels=("recipient",)).face
        'failed, suppressed by mailbox, recipient notified'
        """
        parts = [f"retried in {show_duration(self.wait)}" if self.wait is not None else str(self.verb)]
        parts += [f"suppressed by {self.ladder}"] if self.ladder else []
        parts += [f"{channel} notified" for channel in self.channels]
        return ", ".join([*parts, self.measure] if self.measure else parts)


@dataclass(frozen=True, slots=True)
class Change:
    """From what to what, in words."""

    old: str
    new: str


@dataclass(slots=True)
class Tally:
    """What one policy makes of the whole record.

    `lost` are deliveries of the record that it would not have made, because it had given up before or suppressed.
    `open` are outcomes behind which it tries again and the record has no other try: what came of that is not known.
    """

    verbs: Counter[str] = field(default_factory=Counter)
    suppressions: int = 0
    notices: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    open: int = 0


@dataclass(slots=True)
class Difference:
    """What two policies make of the same record, and where they differ.

    `outcomes` were compared, `changed` of them end otherwise. `by_provider` and `by_rule` count the changed ones; a
    rule is the pair of those that decided. `examples` has some of each change. `not_classified` had no reply that could
    be classified again: the recorded meaning was taken. `begun_before` began before the record, so that their deadline
    is a guess; `unknown_class` are of classes that one policy does not have; `no_provider` came from hosts that nobody
    knows, where a rule asks for a provider.
    """

    outcomes: int = 0
    changed: int = 0
    first_at: datetime | None = None
    last_at: datetime | None = None
    old: Tally = field(default_factory=Tally)
    new: Tally = field(default_factory=Tally)
    changes: Counter[Change] = field(default_factory=Counter)
    by_provider: Counter[str] = field(default_factory=Counter)
    by_rule: Counter[tuple[str, str]] = field(default_factory=Counter)
    examples: dict[Change, list[dict[str, Any]]] = field(default_factory=dict)
    reworded: int = 0  # that mean another thing under the new policy
    not_classified: int = 0
    begun_before: int = 0
    unknown_class: Counter[str] = field(default_factory=Counter)
    no_provider: int = 0
    unreadable: int = 0


def warm_up(*policies: Policy) -> timedelta:
    """How far before the time asked for a replay begins, so that rules that look back find something."""
    looks = [rule.when.seen.within for policy in policies for rule in policy.rules if rule.when.seen]
    return max(looks, default=timedelta())


class Backtest:
    """A replay: `feed` it events in their order, and read `difference`.

    Args:
        old: the policy to compare with, and the classifier that it comes with.
        new: the policy to try, likewise.
        since: outcomes before this time are replayed and not counted.
        provider_of: whose host replied, for the breakdown.
        examples: how many of each change are kept.
    """

    def __init__(
        self,
        old: tuple[Policy, Classify],
        new: tuple[Policy, Classify],
        *,
        since: datetime | None = None,
        provider_of: Callable[[str], str | None] = lambda host: None,
        examples: int = _EXAMPLES,
    ) -> None:
        self.difference = Difference()
        self._old, self._new = _Side(*old), _Side(*new)
        self._since = since
        self._provider_of = provider_of
        self._examples = examples
        self._asks_provider = any(rule.when.provider for policy, _ in (old, new) for rule in policy.rules)
        self._begun: dict[tuple[str, str], datetime] = {}  # messages under way, each to a recipient: their first try
        self._from: datetime | None = None

    def feed(self, told: Told) -> None:
        """One event, as `Event.to_dict` wrote it; what is no outcome of mail counts nothing."""
        try:
            past = recorded(told)
        except (KeyError, TypeError, ValueError, AttributeError):
            self.difference.unreadable += 1
            return
        if past is None:
            return
        self._from = self._from or past.at
        if past.type == LIFTED:
            self._old.lift(past)
            self._new.lift(past)
        elif not past.labels.test:
            self._compare(past)

    def _compare(self, past: Recorded) -> None:
        difference = self.difference
        assert self._from is not None
        if past.is_delivery and not (self._old.knows(past) or self._new.knows(past)):
            self._count_delivery(past)
            return
        first = self._begun.setdefault(past.chain, past.at)
        began_before = past.attempts > 1 and first == past.at and past.type != SKIPPED
        sides, start = (self._old, self._new), self._from
        old, new = (side.outcome(past, first, start) for side in sides)
        if old.verb is new.verb is Verb.AT_ONCE:  # what they would have asked at once, the record has the answer to
            old, new = (side.outcome(past, first, start, asked=True) for side in sides)
        if past.is_final:
            del self._begun[past.chain]
        for side, outcome in ((self._old, old), (self._new, new)):
            side.remember(past, outcome)
        if self._since is not None and past.at < self._since:
            return
        difference.outcomes += 1
        difference.first_at = difference.first_at or past.at
        difference.last_at = past.at
        difference.begun_before += began_before
        difference.not_classified += past.is_trouble and not past.has_reply
        difference.reworded += old.category is not new.category
        self._note_gaps(past)
        for tally, outcome in ((difference.old, old), (difference.new, new)):
            _count(tally, outcome, past)
        if old.face != new.face:
            self._note_change(past, old, new)

    def _count_delivery(self, past: Recorded) -> None:
        """A delivery that no policy has anything to do with, as most of them are."""
        self._begun.pop(past.chain, None)
        if self._since is None or past.at >= self._since:
            difference = self.difference
            difference.outcomes += 1
            difference.first_at = difference.first_at or past.at
            difference.last_at = past.at
            difference.old.verbs[Verb.DELIVERED.value] += 1
            difference.new.verbs[Verb.DELIVERED.value] += 1

    def _note_gaps(self, past: Recorded) -> None:
        name = past.labels.message_class
        if name and not (name in self._old.policy.classes and name in self._new.policy.classes):
            self.difference.unknown_class[name[:64]] += 1
        if self._asks_provider and past.is_trouble and self._new.provider(past) is None:
            self.difference.no_provider += 1

    def _note_change(self, past: Recorded, old: Outcome, new: Outcome) -> None:
        difference, change = self.difference, Change(old.face, new.face)
        difference.changed += 1
        difference.changes[change] += 1
        difference.by_rule[old.rule or str(old.verb), new.rule or str(new.verb)] += 1
        host = past.remote_mta or ""
        named = host if host[-1:].isalpha() else past.domain  # an address says less than whom the mail was for
        provider = self._provider_of(host) or named or _NOBODY
        difference.by_provider[provider] += 1
        kept = difference.examples.setdefault(change, [])
        if len(kept) < self._examples:
            kept.append(
                {
                    "at": past.at.isoformat(),
                    "recipient": past.recipient,
                    "reply": past.said,
                    "stage": str(past.stage),
                    "provider": provider,
                    "recorded": past.action,
                    "old_rule": _placed(old),
                    "new_rule": _placed(new),
                    "old_category": old.category and str(old.category),
                    "new_category": new.category and str(new.category),
                }
            )


def _count(tally: Tally, outcome: Outcome, past: Recorded) -> None:
    tally.verbs[str(outcome.verb)] += 1
    tally.suppressions += outcome.ladder is not None
    for channel in outcome.channels:
        tally.notices[channel] += 1
    tally.lost += past.is_delivery and outcome.verb in (Verb.SUPPRESSED, Verb.GIVEN_UP)
    tally.open += past.is_final and outcome.verb in (Verb.RETRIED, Verb.AT_ONCE, Verb.SENT)


def _placed(outcome: Outcome) -> str:
    return f"{outcome.rule} ({outcome.where})" if outcome.where else outcome.rule or str(outcome.verb)


# -- one policy on its way through the record


class _Side:
    """A policy with what it would have remembered: its list, the days of its verdicts, what it had ended."""

    def __init__(self, policy: Policy, classify: Classify) -> None:
        self.policy = policy
        self._classify = lru_cache(maxsize=REMEMBERED)(classify)
        self._counts = any(rule.when.seen for rule in policy.rules)
        self._verdicts = _Verdicts()
        self._asked: tuple[Recorded | None, Mapping[SeenBy, Number]] = None, {}
        self._ladders = {rule.suppress.name: rule.suppress for rule in policy.rules if rule.suppress}
        self._list: dict[tuple[str, str, str], Suppression] = {}
        self._strikes: dict[tuple[str, str, str], dict[Category, dict[date, datetime]]] = {}
        self._ended: set[tuple[str, str]] = set()

    def knows(self, past: Recorded) -> bool:
        """Whether anything is remembered that a delivery could concern."""
        return past.key in self._list or past.key in self._strikes or past.chain in self._ended

    def provider(self, past: Recorded) -> str | None:
        verdict = self._verdict(past)
        return verdict.provider if verdict else None

    def outcome(self, past: Recorded, first: datetime, start: datetime, *, asked: bool = False) -> Outcome:
        """What it makes of an outcome of the record, in which `start` is the first time; changes nothing.

        `asked`: what it would ask again at once, it has asked, and this is the answer.
        """
        if past.chain in self._ended and not past.is_reported:
            return Outcome(Verb.GIVEN_UP)
        if not past.is_reported and (held := self._binding(past)) is not None:
            return Outcome(Verb.SUPPRESSED, held.by)
        if past.type == SKIPPED:
            stood_before = past.suppressed_since is None or past.suppressed_since < start
            return Outcome(Verb.SUPPRESSED if stood_before else Verb.SENT)
        verdict = self._verdict(past) if past.is_trouble else None
        return Outcome(Verb.DELIVERED) if verdict is None else self._decided(past, verdict, first, asked=asked)

    def remember(self, past: Recorded, outcome: Outcome) -> None:
        """Let an outcome count for those that come."""
        if outcome.verb is Verb.DELIVERED and not past.is_trouble:
            standing = self._list.get(past.key)
            if standing is not None and standing.category is not Category.COMPLAINT:
                del self._list[past.key]
            self._strikes.pop(past.key, None)
        if outcome.verb in (Verb.SUPPRESSED, Verb.GIVEN_UP, Verb.SENT) or not past.is_trouble:
            if past.is_final:
                self._ended.discard(past.chain)
            return
        if outcome.verb in (Verb.FAILED, Verb.HELD) and not past.is_final:
            self._ended.add(past.chain)
        verdict = self._verdict(past)
        if verdict is None:
            return
        if self._counts:
            self._verdicts.add(past, self._about_others(past, verdict).values())
        if past.doubted:
            return
        if self._counts and verdict.scope is Scope.RECIPIENT and past.individual and past.stage is not None:
            days = self._strikes.setdefault(past.key, {}).setdefault(verdict.category, {})
            days[past.at.date()] = past.at
        if outcome.ladder is not None:
            self._suppress(past, verdict, outcome)

    def lift(self, past: Recorded) -> None:
        """Somebody took it off the list by hand."""
        self._list.pop(past.key, None)

    def _binding(self, past: Recorded) -> Suppression | None:
        standing = self._list.get(past.key)
        if standing is None or not standing.binds(past.at):
            return None
        return None if standing.category in self.policy.message_class(past.labels.message_class).ignores else standing

    def _suppress(self, past: Recorded, verdict: Classification, outcome: Outcome) -> None:
        ladder = self._ladders[outcome.ladder or ""]
        proposed = Suppression(
            key=past.key[2],
            address=None,
            standing=Standing.PROVISIONAL,
            category=verdict.category,
            since=past.at,
            changed_at=past.at,
            expires_at=past.at,
            by=outcome.rule,
            evidence=_NO_EVIDENCE,
        )
        self._list[past.key] = climb(ladder, proposed, self._list.get(past.key))

    def _verdict(self, past: Recorded) -> Classification | None:
        """What it means by this policy's rules; as it was recorded where there is no reply to read again."""
        return self._classify(past.status) if past.has_reply else past.recorded

    def _decided(self, past: Recorded, verdict: Classification, first: datetime, *, asked: bool) -> Outcome:
        kind = self.policy.message_class(past.labels.message_class)
        if past.expired and first == past.at and past.attempts > 1:
            first = past.at - kind.deadline  # it began before the record, and was over by now
        recipient = replace(past.to, attempts=max(past.attempts, 1), first_attempt_at=first, repeats=int(asked))
        if asked and verdict.status.accepted:
            verdict = replace(verdict, status=replace(verdict.status, accepted=0))
        circumstances = Circumstances(
            now=past.at,
            labels=past.labels,
            sender=past.sender,
            provider=verdict.provider,
            counters=self._counters(past, verdict),
        )
        done = self.policy.decide(verdict, recipient, circumstances)
        verb = _verb(done, is_final=past.is_reported)
        suppresses = done.ladder is not None and verdict.scope is Scope.RECIPIENT and past.individual
        return Outcome(
            verb=verb,
            rule=done.rule,
            where=done.where,
            category=verdict.category,
            wait=done.retry_at - past.at if done.retry_at is not None and verb is Verb.RETRIED else None,
            ladder=done.ladder.name if done.ladder and suppresses and not past.doubted else None,
            channels=tuple(sorted(notice.channel for notice in done.notices)),
            measure=in_words(done.measure) if done.measure is not None else "",
        )

    def _counters(self, past: Recorded, verdict: Classification) -> Mapping[Window, int]:
        if not self._counts or not (windows := self.policy.counters(verdict)):
            return {}
        days = self._strikes.get(past.key, {}).get(verdict.category, {})
        today = past.at.date()
        counted = {
            window: sum(day < today and last >= past.at - window.within for day, last in days.items())
            for window in windows
            if window.by is SeenBy.RECIPIENT
        }
        others = self._about_others(past, verdict)
        return counted | {
            window: self._verdicts.before(past, Sum(others[window.by], window.within))
            for window in windows
            if window.by in others
        }

    def _about_others(self, past: Recorded, verdict: Classification) -> Mapping[SeenBy, Number]:
        """What the policy counts of others than the recipient, where it asks for that."""
        if past is not self._asked[0]:  # it is asked twice: before the verdict, and to count it
            self._asked = past, self._numbers(past, verdict)
        return self._asked[1]

    def _numbers(self, past: Recorded, verdict: Classification) -> Mapping[SeenBy, Number]:
        asked = {window.by for window in self.policy.counters(verdict)} - {SeenBy.RECIPIENT}
        if not asked or verdict.status.action is Action.UNKNOWN:
            return {}
        named = replace(verdict, status=replace(verdict.status, recipient=past.recipient))
        scene = Scene(self.policy, past.sender, past.outlet)
        return {by: scene.number(named, by) for by in asked}


class _Verdicts:
    """How many verdicts there were about domains, providers, senders and relays, by whole minutes as in a store."""

    def __init__(self) -> None:
        self._minutes: dict[Number, array[int]] = {}  # of each verdict, in their order: there may be millions
        self._attempt = ""
        self._own: Counter[Number] = Counter()  # of the latest attempt, which were asked for before any was counted

    def add(self, past: Recorded, numbers: Iterable[Number]) -> None:
        if past.attempt != self._attempt:
            self._attempt, self._own = past.attempt, Counter()
        for number in numbers:
            insort(self._minutes.setdefault(number, array("q")), _minute(past.at))
            self._own[number] += 1

    def before(self, past: Recorded, asked: Sum) -> int:
        """How many there were within a time before an attempt."""
        minutes = self._minutes.get(asked.number)
        if minutes is None:
            return 0
        own = self._own[asked.number] if past.attempt == self._attempt else 0
        return len(minutes) - bisect_left(minutes, _minute(past.at - asked.within)) - own


def _minute(at: datetime) -> int:
    return int(at.timestamp() // 60)


_NO_EVIDENCE = Evidence()


def _verb(done: Disposition, *, is_final: bool) -> Verb:
    """`is_final`: whoever reports has given up, so that nothing is tried again."""
    if done.fate in _AT_ONCE:
        return Verb.FAILED if is_final else Verb.AT_ONCE
    if done.fate is Fate.RETRY and done.retry_at is not None:
        return Verb.FAILED if is_final else Verb.RETRIED
    return Verb.HELD if done.fate is Fate.HOLD else Verb.FAILED
