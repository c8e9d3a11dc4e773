"""What a policy would have made of what happened: recorded events replayed through two policies, and the difference.

Each recorded reply is classified again, so that rules about replies count too, and decided again with what is known of
its message and its recipient: attempts, deadline, days with the same verdict, verdicts about others of its domain and
the like, suppressions. What cannot be known is counted as that: what a server would have answered to a try that nobody
made.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from bouncekit.delivery.events import Told
from bouncekit.history.recorded import LIFTED, QUEUED, SKIPPED, Recorded, recorded
from bouncekit.history.replay import Outcome, Replay, Verb
from bouncekit.meaning.classification import Classify
from bouncekit.policy.policy import Policy

__all__ = ["Backtest", "Change", "Difference", "Tally", "warm_up"]

_EXAMPLES = 3  # of each change
_NOBODY = "(none)"


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
        self._old, self._new = Replay(*old), Replay(*new)
        self._since = since
        self._provider_of = provider_of
        self._examples = examples
        self._asks_provider = any(rule.when.provider for policy, _ in (old, new) for rule in policy.rules)
        self._begun: dict[tuple[str, str], datetime] = {}  # messages under way, each to a recipient: since when
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
        elif past.type == QUEUED:
            self._begun.setdefault(past.chain, past.at)
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
