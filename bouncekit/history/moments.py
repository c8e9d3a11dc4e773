"""What happened to one mailbox, newest first: events, and the changes of the suppression list that they made."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any

from bouncekit.delivery.events import Event, bounded, show_time, suppression_data
from bouncekit.delivery.settlement import Settlement
from bouncekit.delivery.suppressionchange import Act, Change, Place
from bouncekit.meaning.classification import Category, Scope
from bouncekit.policy.rule import Rule, SeenBy
from bouncekit.policy.suppression import Standing, Suppression
from bouncekit.words.reply import Stage
from bouncekit.words.status import Action

__all__ = ["Moment", "Untold", "moments", "moments_data"]


class Untold(StrEnum):
    """What happened to an entry of the list without an event about the mailbox."""

    ADDED = "suppression_added"  # by an import
    CHANGED = "suppression_changed"  # by an import, or by undoing
    LIFTED = "suppression_lifted"  # by undoing
    HELD = "suppression_held"  # by the guard: it does not bind any more
    ENDED = "suppression_ended"  # by time


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One thing that happened: an event, a change of the list, or an event and the change that it made.

    `what` is the event's type, or an `Untold`. `counts_for` are rules that look back at its day: it is a strike.
    """

    at: datetime
    what: str
    event: Event | None = None
    change: Change | None = None
    counts_for: tuple[Rule, ...] = ()

    @property
    def by(self) -> str | None:
        """Who did it, where it was somebody: a person, an import, the guard, a rule."""
        if self.event is not None and self.event.details.get("by"):
            return str(self.event.details["by"])
        if self.change is not None and self.what != Untold.ENDED:
            return self.change.by
        return self.event.suppression.by if self.event is not None and self.event.suppression else None

    @property
    def suppression(self) -> Suppression | None:
        """The entry that it is about."""
        if self.change is not None:
            return self.change.entry
        return self.event.suppression if self.event is not None else None


def moments(
    events: Iterable[Event], changes: Iterable[Change], now: datetime, *, rules: Iterable[Rule] = ()
) -> tuple[Moment, ...]:
    """What happened, newest first; a change of the list stands with the event that made it.

    Both come newest first. What ended by itself before `now` is told at its end. `rules` are those of the policy, some
    of which may look back at what happened.
    """
    several, all_told = tuple(changes), tuple(events)
    made = {change.event_id: change for change in several if change.event_id}
    struck = _strikes(all_told, tuple(rules), now)
    told = [
        Moment(at=one.at, what=str(one.type), event=one, change=made.get(one.id), counts_for=struck.get(one.id, ()))
        for one in all_told
    ]
    joined = {moment.change.sequence for moment in told if moment.change is not None}
    alone = [Moment(at=one.at, what=_untold(one), change=one) for one in several if one.sequence not in joined]
    return tuple(sorted((*told, *alone, *_ends(several, now)), key=lambda moment: moment.at, reverse=True))


def _untold(change: Change) -> Untold:
    if change.after is not None and change.after.standing is Standing.HELD:
        return Untold.HELD
    return {Act.ADDED: Untold.ADDED, Act.CHANGED: Untold.CHANGED, Act.LIFTED: Untold.LIFTED}[change.act]


def _ends(changes: Sequence[Change], now: datetime) -> Iterator[Moment]:
    """The suppressions whose time was over before anybody changed them."""
    later: dict[Place, datetime] = {}
    for change in changes:
        after, until = change.after, later.get(change.place, now)
        if after is not None and after.standing is not Standing.HELD:
            end = after.expires_at
            if end is not None and change.at <= end <= until:
                yield Moment(at=end, what=Untold.ENDED, change=change)
        later[change.place] = change.at


def _strikes(events: Iterable[Event], rules: Sequence[Rule], now: datetime) -> dict[str, tuple[Rule, ...]]:
    """The events by which a day counts as yet, and the rules that look back at it: the latest of each day does.

    Newest first. A delivery in the same stream ends what was before it.
    """
    struck: dict[tuple[str, Category, date], tuple[str, tuple[Rule, ...]]] = {}
    cleared: set[str] = set()
    for event in events:
        one, labels = event.settlement, event.occasion.labels
        if one is None or labels.test or event.type != one.action.value:
            continue
        if one.category is None:
            cleared |= {labels.stream} if one.action is Action.DELIVERED else set()
        elif labels.stream not in cleared and _is_strike(one):
            asked = tuple(rule for rule in rules if _looks_back(rule, one.category, now - event.at))
            struck.setdefault((labels.stream, one.category, event.at.date()), (event.id, asked))
    return dict(struck.values())


def _is_strike(one: Settlement) -> bool:
    """Whether it was the mailbox itself, for all that is recorded: see `delivery.steps.strikes_of`."""
    is_of_all = one.stage is Stage.END_OF_DATA and one.accepted > 1
    return one.scope is Scope.RECIPIENT and one.stage is not None and not one.doubted and not is_of_all


def _looks_back(rule: Rule, category: Category, age: timedelta) -> bool:
    seen, named = rule.when.seen, rule.when.category
    return seen is not None and seen.by is SeenBy.RECIPIENT and age <= seen.within and (not named or category in named)


def moments_data(several: Iterable[Moment]) -> list[dict[str, Any]]:
    """Moments as JSON-ready values, flat: what an event has is there, what it has not is left out."""
    return [{name: value for name, value in _moment_data(one).items() if value not in (None, "")} for one in several]


def _moment_data(moment: Moment) -> dict[str, Any]:
    event, change = moment.event, moment.change
    data: dict[str, Any] = {"at": show_time(moment.at), "what": moment.what, "by": bounded(moment.by)}
    data["counts_for"] = [rule.id for rule in moment.counts_for] or None
    if event is not None:
        data |= _event_data(event)
    if change is not None:
        data["before"] = suppression_data(change.before) if change.before else None
        data["after"] = suppression_data(change.after) if change.after and moment.what != Untold.ENDED else None
    elif moment.suppression is not None:
        data["after"] = suppression_data(moment.suppression)
    return data


def _event_data(event: Event) -> dict[str, Any]:
    occasion, labels, details = event.occasion, event.occasion.labels, event.details
    data: dict[str, Any] = {
        "event": event.id,
        "message_id": bounded(occasion.message_id),
        "delivery_id": occasion.delivery_id,
        "attempt_id": occasion.attempt_id,
        "message_class": bounded(labels.message_class),
        "stream": bounded(labels.stream),
        "test": labels.test or None,
        "policy": occasion.policy,
        "policy_hash": occasion.policy_hash,
        "outlet": occasion.outlet,
        "channel": details.get("channel"),
        "more": details.get("more") or None,
        "why": bounded(details.get("why")),
        "reported_by": bounded(details.get("reported_by")),
    }
    one = event.settlement
    if one is None:
        return data
    return data | {
        "action": one.action.value,
        "attempt": one.attempts,
        "relay": one.relay,
        "stage": one.stage and one.stage.value,
        "reply": None if one.reply is None else bounded(str(one.reply)),
        "accepted": one.accepted or None,
        "remote_mta": bounded(one.remote_mta),
        "category": one.category and one.category.value,
        "scope": one.scope and one.scope.value,
        "permanent": one.permanent,
        "certain": one.certain,
        "classified_by": one.classified_by,
        "rule": one.rule,
        "where": one.where,
        "fate": one.fate and one.fate.value,
        "retry_at": one.retry_at and show_time(one.retry_at),
        "learned_seconds": one.learned and one.learned.total_seconds(),
        "expired": one.expired or None,
        "possible_duplicate": one.possible_duplicate or None,
        "doubted": one.doubted or None,
        "fingerprint": one.fingerprint,
    }
