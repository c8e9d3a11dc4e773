"""One policy on its way through a record: what it makes of each outcome, and what it would have remembered by then."""

from array import array
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from enum import StrEnum
from functools import lru_cache

from bouncekit.delivery.tallied import Number, Scene, Sum
from bouncekit.history.recorded import REMEMBERED, SKIPPED, Recorded
from bouncekit.meaning.classification import Category, Classification, Classify, Scope
from bouncekit.policy.lane import in_words
from bouncekit.policy.policy import Disposition, Policy
from bouncekit.policy.rule import Circumstances, Fate, SeenBy, Window
from bouncekit.policy.schedule import show_duration
from bouncekit.policy.suppression import Evidence, Standing, Suppression, climb
from bouncekit.words.status import Action

__all__ = ["Outcome", "Replay", "Verb"]

_AT_ONCE = frozenset({Fate.SPLIT, Fate.ALONE})
_NO_EVIDENCE = Evidence()


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


class Replay:
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
        """Whose server replied, where its name tells."""
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
            if standing is not None and (standing.category is not Category.COMPLAINT or not standing.binds(past.at)):
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


def _verb(done: Disposition, *, is_final: bool) -> Verb:
    """`is_final`: whoever reports has given up, so that nothing is tried again."""
    if done.fate in _AT_ONCE:
        return Verb.FAILED if is_final else Verb.AT_ONCE
    if done.fate is Fate.RETRY and done.retry_at is not None:
        return Verb.FAILED if is_final else Verb.RETRIED
    return Verb.HELD if done.fate is Fate.HOLD else Verb.FAILED
