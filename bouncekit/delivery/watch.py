"""What the guard sees of one transaction: whose refusal is one of a mass, what that holds, what is told and counted."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from bouncekit.delivery.events import Event, EventType, Occasion, bounded, event_id, show_time
from bouncekit.delivery.settlement import Settlement
from bouncekit.meaning.classification import Category, Classification, Scope
from bouncekit.policy.guard import Answers, Guard, Held, Mass, Pattern, fingerprint, provider_at, reach, trips, usual
from bouncekit.policy.policy import Policy
from bouncekit.policy.suppression import Standing, Suppression
from bouncekit.words.envelope import Recipient
from bouncekit.words.reply import Reply
from bouncekit.words.status import Action, RecipientStatus, Taken

__all__ = ["NOTHING", "Heard", "Watch", "answered", "answers_of", "answers_to", "patterns", "takings", "watch"]

_SETTLED = (Action.DELIVERED, Action.FAILED)
_OLD = timedelta(hours=72)  # between two verdicts about a mailbox that are two, and not one bad time of its server


@dataclass(frozen=True, slots=True)
class Watch:
    """The refusals of one transaction that may suppress: by recipient, and the mass that each is one of."""

    guard: Guard
    patterns: Mapping[str, Pattern]
    masses: Mapping[Pattern, Mass]
    tripped: frozenset[Pattern]  # those that are a mass now; one may also go on

    def fingerprint(self, recipient: str) -> str | None:
        """The fingerprint of a recipient's refusal."""
        pattern = self.patterns.get(recipient)
        return pattern.fingerprint if pattern else None

    def doubts(self, recipient: str) -> bool:
        """Whether a recipient's refusal is one of a mass."""
        pattern = self.patterns.get(recipient)
        return pattern is not None and (pattern in self.tripped or self.masses[pattern].goes_on)

    def held(self, doubted: Iterable[Settlement], occasion: Occasion) -> tuple[Held, ...]:
        """What a mass that is there now holds, also of what was suppressed while it grew."""
        since = occasion.at - reach(self.guard)
        return tuple(Held(one, since, self._event_id(one, occasion.at)) for one in self._examples(doubted))

    def alarms(self, doubted: Iterable[Settlement], occasion: Occasion) -> list[Event]:
        """The event of each mass that has just begun, with one of its replies."""
        examples = self._examples(doubted).items()
        return [self._alarm(one, seen, occasion) for one, seen in examples if not self.masses[one].goes_on]

    def _examples(self, doubted: Iterable[Settlement]) -> dict[Pattern, Settlement]:
        """The masses that are there now, each with one recipient whom they really struck."""
        struck = {self.patterns[one.recipient]: one for one in doubted}
        return {pattern: one for pattern, one in struck.items() if pattern in self.tripped}

    def _event_id(self, pattern: Pattern, at: datetime) -> str:
        """One id for each pattern and stretch of time: of processes that see the same mass begin, one is heard."""
        stretch = at.timestamp() // reach(self.guard).total_seconds()
        return event_id(f"{pattern.fingerprint}:{stretch:.0f}", None, EventType.GUARD_TRIPPED)

    def _alarm(self, pattern: Pattern, seen: Settlement, occasion: Occasion) -> Event:
        mass, common = self.masses[pattern], usual(self.masses[pattern].days)
        count = max(mass.recent, key=lambda one: (trips(self.guard, Mass((one,), mass.days)), one.refusals))
        return Event(
            id=self._event_id(pattern, occasion.at),
            type=EventType.GUARD_TRIPPED,
            occasion=occasion,
            details={
                "fingerprint": pattern.fingerprint,
                "provider": bounded(pattern.provider),
                "refusals": count.refusals,
                "answers": max(count.answers, count.refusals),
                "usual_share": round(common.refusals / common.answers, 4),
                "held_since": show_time(occasion.at - reach(self.guard)),
                "category": bounded(seen.category),
                "code": seen.reply.code if isinstance(seen.reply, Reply) else None,
                "reply": bounded(str(seen.reply)),
                "rule": seen.rule,
                "where": seen.where,
            },
        )


class Heard(NamedTuple):
    """A reply that settles a mailbox; `fingerprint` is that of a refusal that would suppress it."""

    provider: str
    key: str
    fingerprint: str | None
    category: Category | None


NOTHING = Watch(Guard(), {}, {}, frozenset())


def patterns(policy: Policy, verdicts: Mapping[str, Classification]) -> dict[str, Pattern]:
    """What the guard has to ask about before anybody is suppressed: for nearly every transaction nothing."""
    found = {}
    for recipient, verdict in verdicts.items():
        status = verdict.status
        if verdict.scope is Scope.RECIPIENT and status.individual and policy.may_suppress(verdict):
            provider = provider_at(status.remote_mta, status.recipient)
            found[recipient] = Pattern(provider, fingerprint(status, provider))
    return found


def watch(
    guard: Guard,
    found: Mapping[str, Pattern],
    masses: Mapping[Pattern, Mass],
    own: Iterable[Answers],
) -> Watch:
    """The store's counts together with this transaction's own, which are not there yet."""
    answers = {one.provider: one for one in own}
    counted = {}
    for pattern in dict.fromkeys(found.values()):
        mine = answers.get(pattern.provider, Answers(pattern.provider, 0))
        refusals = dict(mine.refusals).get(pattern.fingerprint, 0)
        counted[pattern] = masses.get(pattern, Mass()).plus(refusals, mine.number)
    return Watch(guard, found, counted, frozenset(one for one, mass in counted.items() if trips(guard, mass)))


def answered(
    answers: Iterable[Heard], previous: Mapping[str, Suppression], *, at: datetime, within: timedelta
) -> tuple[Answers, ...]:
    """What answers add to the counts, a mailbox that is refused alike counted once.

    Neither the same refusal a few minutes later is news, nor one of a mailbox that was refused for the same reason
    days ago and was not heard of since: who mails a list of dead addresses again finds them dead, and no provider has a
    bad hour.
    """
    numbers: dict[str, int] = {}
    refusals: dict[str, Counter[str]] = {}
    seen: set[tuple[str, str]] = set()
    for one in answers:
        if one.fingerprint is not None:
            if (one.key, one.fingerprint) in seen or not _is_news(one, previous.get(one.key), at, within):
                continue
            seen.add((one.key, one.fingerprint))
            refusals.setdefault(one.provider, Counter())[one.fingerprint] += 1
        numbers[one.provider] = numbers.get(one.provider, 0) + 1
    return tuple([Answers(one, number, tuple(refusals.get(one, {}).items())) for one, number in numbers.items()])


def answers_of(settlements: Iterable[Settlement]) -> Iterator[Heard]:
    """The answers that settled somebody, for better or worse: a delay is asked again, and would count at each try."""
    for one in settlements:
        if one.action in _SETTLED and isinstance(one.reply, Reply):
            yield Heard(provider_at(one.remote_mta, one.recipient), one.key, one.fingerprint, one.category)


def takings(taken: Taken) -> tuple[Answers, ...]:
    """What a message that was taken for all adds to the counts: what `answered` makes of `answers_of` them."""
    remote_mta, numbers, providers = taken.remote_mta, dict[str, int](), dict[str, str]()
    for address in taken.recipients:
        domain = address.domain or address.wire
        provider = providers.get(domain)
        if provider is None:
            provider = providers[domain] = provider_at(remote_mta, address.wire)
        numbers[provider] = numbers.get(provider, 0) + 1
    return tuple([Answers(one, number, ()) for one, number in numbers.items()])


def answers_to(
    group: Iterable[Recipient],
    statuses: Iterable[RecipientStatus],
    verdicts: Mapping[str, Classification],
    found: Mapping[str, Pattern],
) -> Iterator[Heard]:
    """The answers of a transaction that is not judged yet, as `answers_of` is likely to give them then."""
    for recipient, status in zip(group, statuses, strict=True):
        verdict, pattern = verdicts.get(status.recipient), found.get(status.recipient)
        if verdict is None or verdict.permanent or pattern:
            provider = pattern.provider if pattern else provider_at(status.remote_mta, status.recipient)
            category = verdict.category if verdict else None
            yield Heard(provider, recipient.key, pattern.fingerprint if pattern else None, category)


def _is_news(answer: Heard, before: Suppression | None, at: datetime, within: timedelta) -> bool:
    if before is None or before.standing is Standing.MANUAL:
        return True
    if before.evidence.fingerprint == answer.fingerprint and before.changed_at > at - within:
        return False
    return before.category is not answer.category or at - before.since < _OLD
