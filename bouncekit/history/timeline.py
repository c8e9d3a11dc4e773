"""The history of one mailbox: what happened in its order, what holds now, what comes next and when.

It is put together from what a store keeps: events, the changes of the suppression list, the queue. Nothing here asks
anybody; `bouncekit.postmaster.recalling` does, and hands over what it found.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any

from bouncekit.codes import Card
from bouncekit.delivery.events import Event, bounded, show_time, suppression_data
from bouncekit.delivery.queue import Queued, QueueState
from bouncekit.delivery.settlement import Settlement
from bouncekit.delivery.suppressionchange import Act, Change, Place
from bouncekit.meaning.classification import Category, Scope
from bouncekit.policy.policy import Policy
from bouncekit.policy.rule import Rule, SeenBy
from bouncekit.policy.schedule import show_duration
from bouncekit.policy.suppression import Standing, Suppression, climb
from bouncekit.words.reply import Reply, Stage
from bouncekit.words.status import Action

__all__ = [
    "Coming",
    "History",
    "Moment",
    "Prospect",
    "Struck",
    "Untold",
    "advised_by",
    "moments",
    "moments_data",
    "prospects",
]


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Struck:
    """Days with a verdict of a category, today's left out, within the time that a rule looks back.

    `rule` decides otherwise from the day on that makes it `times`. `weight` is what the days come to by then, where
    they weigh less with time: half as much when they are so old.
    """

    category: Category
    days: int
    weight: float
    within: timedelta
    times: int
    rule: str
    where: str = ""
    half_after: timedelta | None = None


class Coming(StrEnum):
    """What may happen next."""

    RETRY = "retry"  # a worker tries again
    GIVE_UP = "give_up"  # the time of the message is over
    RELEASE = "release"  # it waits for somebody who releases it
    RESEND = "resend"  # nobody keeps the message: the application has to send it again
    PROBE = "probe"  # the suppression ends, and one message is its probe
    END = "end"  # the suppression ends
    LIFT = "lift"  # only a hand ends the suppression
    NEXT_VERDICT = "next_verdict"  # what stands on the list holds nobody back


@dataclass(frozen=True, slots=True, kw_only=True)
class Prospect:
    """What comes next, in words. `at` None: it has no time of its own, or waits for somebody."""

    what: Coming
    at: datetime | None
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """All that is known of a mailbox at a time `at`.

    `moments` come newest first; `has_more` says that older ones are left out. `known_as` is the pseudonym under which
    it is known, where its address is not kept. `standing` is what stands on the list in whatever stream, that of the
    question first; `is_held_back` says that no mail of the tenant, stream and class in question goes out now. `waiting`
    is who is in the queue, `advice` the cards of the reply that it hangs on. `unreadable` counts events that a newer
    version has written.
    """

    address: str
    at: datetime
    tenant: str = ""
    stream: str = ""
    known_as: str | None = None
    is_held_back: bool = False
    standing: tuple[Suppression, ...] = ()
    moments: tuple[Moment, ...] = ()
    has_more: bool = False
    waiting: tuple[Queued, ...] = ()
    strikes: tuple[Struck, ...] = ()
    prospects: tuple[Prospect, ...] = ()
    advice: tuple[Card, ...] = ()
    unreadable: int = 0

    @property
    def is_known(self) -> bool:
        """Whether anything is known of it."""
        return bool(self.moments or self.standing or self.waiting or self.has_more or self.unreadable)

    @property
    def suppression(self) -> Suppression | None:
        """The entry of the list that counts: one that holds mail back before any other."""
        binding = (one for one in self.standing if self.is_held_back and one.binds(self.at))
        return next(binding, self.standing[0] if self.standing else None)

    def to_dict(self) -> dict[str, Any]:
        """The history as JSON-ready values, addresses and texts of servers bounded and not escaped."""
        listed = self.suppression
        return {
            "address": bounded(self.address),
            "at": show_time(self.at),
            "tenant": self.tenant,
            "stream": self.stream,
            "known_as": self.known_as,
            "suppressed": self.is_held_back,
            "suppression": suppression_data(listed) if listed else None,
            "standing": [suppression_data(one) for one in self.standing],
            "waiting": [_queued_data(one) for one in self.waiting],
            "strikes": [_struck_data(one) for one in self.strikes],
            "next": [{"what": one.what.value, "at": _time(one.at), "text": one.text} for one in self.prospects],
            "advice": [{"code": card.code, "name": card.name, "fix": card.fix} for card in self.advice],
            "moments": moments_data(self.moments),
            "has_more": self.has_more,
            "unreadable": self.unreadable,
        }


# -- what happened


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
        "retry_at": _time(one.retry_at),
        "learned_seconds": one.learned and one.learned.total_seconds(),
        "expired": one.expired or None,
        "possible_duplicate": one.possible_duplicate or None,
        "doubted": one.doubted or None,
        "fingerprint": one.fingerprint,
    }


def _queued_data(one: Queued) -> dict[str, Any]:
    return {
        "message": one.message,
        "message_id": bounded(one.message_id),
        "relay": one.relay,
        "state": one.state.value,
        "due_at": _time(one.due_at),
        "queued_at": show_time(one.queued_at),
        "attempts": one.attempts,
        "possible_duplicate": one.possible_duplicate,
        "leased_until": _time(one.leased_until),
        "message_class": one.labels.message_class,
        "stream": one.labels.stream,
    }


def _struck_data(one: Struck) -> dict[str, Any]:
    return {
        "category": one.category.value,
        "days": one.days,
        "weight": one.weight,
        "within_seconds": one.within.total_seconds(),
        "half_after_seconds": one.half_after and one.half_after.total_seconds(),
        "times": one.times,
        "rule": one.rule,
        "where": one.where,
    }


# -- what comes next


def prospects(
    policy: Policy,
    now: datetime,
    *,
    standing: Iterable[Suppression] = (),
    waiting: Iterable[Queued] = (),
    told: Sequence[Event] = (),
) -> tuple[Prospect, ...]:
    """What comes next by this policy, what has a time first and in its order.

    `told` are the events about the mailbox, newest first.
    """
    queued = tuple(waiting)
    found = [
        *(one for row in queued for one in _of_queued(row, policy, now, told)),
        *_of_nobodys(told, queued),
        *(one for entry in standing for one in _of_entry(entry, policy, now)),
    ]
    return tuple(sorted(found, key=lambda one: (one.at is None, one.at or now)))


def advised_by(told: Iterable[Event], standing: Iterable[Suppression]) -> Reply | None:
    """The reply that it hangs on: what the newest outcome was, if that was trouble; else what the list rests on."""
    for event in told:
        settlement = event.settlement
        if settlement is None or (settlement.suppression is not None and event.type == "suppressed"):
            continue
        if isinstance(settlement.reply, Reply):
            return settlement.reply if settlement.category is not None else _evidence_of(standing)
    return _evidence_of(standing)


def _evidence_of(standing: Iterable[Suppression]) -> Reply | None:
    for one in standing:
        try:
            return Reply.parse(one.evidence.reply)
        except ValueError:
            continue  # by hand: the reason that somebody gave
    return None


def _of_queued(row: Queued, policy: Policy, now: datetime, told: Sequence[Event]) -> Iterator[Prospect]:
    """Mail in the queue: its next try, and when it is given up."""
    kind = policy.message_class(row.labels.message_class)
    message = f"message {row.message_id or row.message}"
    if row.state is QueueState.HELD or row.due_at is None:
        text = f"{message} is held; bouncekit queue retry {row.message} sends it"
        yield Prospect(what=Coming.RELEASE, at=None, text=text)
        return
    number = f"attempt {row.attempts + 1}" if row.attempts else "the first attempt"
    if row.leased_until is not None and row.leased_until > now:
        text = f"{number} of {message} through relay {row.relay} is under way"
    else:
        text = f"{number} of {message} is due, through relay {row.relay}"
    yield Prospect(what=Coming.RETRY, at=row.due_at, text=text)
    first = _first_try(row.message, told)
    if first is not None and (end := first + kind.deadline) > now:
        text = f"{message} is given up: {show_duration(kind.deadline)} after its first try (class {kind.name})"
        yield Prospect(what=Coming.GIVE_UP, at=end, text=text)


def _first_try(message: str, told: Sequence[Event]) -> datetime | None:
    """When a message was first tried for the mailbox, as far as events tell."""
    mine = (one for one in reversed(told) if one.occasion.delivery_id == message and one.settlement is not None)
    return next((one.at for one in mine if one.settlement is not None and one.settlement.attempts == 1), None)


def _of_nobodys(told: Sequence[Event], queued: Sequence[Queued]) -> Iterator[Prospect]:
    """A delay that nobody follows up: the newest outcome of its message, which is not in the queue."""
    kept, seen = {row.message for row in queued}, set[str]()
    for event in told:
        one, chain = event.settlement, event.occasion.delivery_id or event.occasion.attempt_id
        if one is None or event.type != one.action.value or chain in seen:
            continue
        seen.add(chain)
        if one.retry_at is not None and not one.kept and chain not in kept:
            message = event.message_id or chain
            text = f"nobody keeps message {message}: the application has to send it again, not before this time"
            yield Prospect(what=Coming.RESEND, at=one.retry_at, text=text)
        return  # of older ones, the application has most likely made something


def _of_entry(one: Suppression, policy: Policy, now: datetime) -> Iterator[Prospect]:
    """What an entry of the list leads to."""
    where = f" in stream {one.stream}" if one.stream else ""
    classes = [kind.name for kind in policy.classes.values() if one.category in kind.ignores]
    through = f"; mail of class {', '.join(classes)} goes out all the same" if classes else ""
    if one.standing is Standing.HELD:
        text = f"the entry{where} is held by the guard and binds nobody: the next refusal outside of a mass counts anew"
        yield Prospect(what=Coming.NEXT_VERDICT, at=None, text=text)
    elif one.standing is Standing.MANUAL:
        yield from _of_manual(one, where, now)
    elif one.expires_at is None:
        text = f"the suppression{where} is for good: only a hand lifts it, with bouncekit suppressions remove{through}"
        yield Prospect(what=Coming.LIFT, at=None, text=text)
    else:
        again = f"taken, it ends the suppression{where}; refused alike, {_after_probe(one, policy, now)}"
        if one.binds(now):
            text = f"the suppression{where} ends, and the next message goes out as its probe: {again}{through}"
            yield Prospect(what=Coming.PROBE, at=one.expires_at, text=text)
        else:
            yield Prospect(what=Coming.PROBE, at=None, text=f"the next message goes out as the probe: {again}")


def _of_manual(one: Suppression, where: str, now: datetime) -> Iterator[Prospect]:
    if one.expires_at is None:
        text = f"the suppression{where} was set by {one.by}: only a hand lifts it, with bouncekit suppressions remove"
        yield Prospect(what=Coming.LIFT, at=None, text=text)
    elif one.binds(now):
        text = f"the suppression{where} that {one.by} set ends, and mail goes out as ever; no success ends it sooner"
        yield Prospect(what=Coming.END, at=one.expires_at, text=text)


def _after_probe(one: Suppression, policy: Policy, now: datetime) -> str:
    """What the ladder makes of a probe that is refused for the same reason, at the end of the term or now."""
    ladder = policy.ladders.get(one.ladder or "")
    if ladder is None:
        return "it begins anew"
    assert one.expires_at is not None
    at = max(one.expires_at, now)
    new = climb(ladder, replace(one, changed_at=at), one)
    lasts = "good" if new.expires_at is None else show_duration(new.expires_at - at)
    return f"it is {new.standing} for {lasts}"


def _time(at: datetime | None) -> str | None:
    return None if at is None else show_time(at)
