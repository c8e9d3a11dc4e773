"""The history of one mailbox: what happened in its order, what holds now, what comes next and when.

It is put together from what a store keeps: events, the changes of the suppression list, the queue. Nothing here asks
anybody; `bouncekit.postmaster.recalling` does, and hands over what it found.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from bouncekit.codes import Card
from bouncekit.delivery.events import Event, bounded, show_time, suppression_data
from bouncekit.delivery.queue import Queued
from bouncekit.history.moments import Moment, moments_data
from bouncekit.history.prospects import Prospect
from bouncekit.meaning.classification import Category
from bouncekit.policy.suppression import Suppression
from bouncekit.words.reply import Reply

__all__ = ["History", "Struck", "advised_by"]


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


def _time(at: datetime | None) -> str | None:
    return None if at is None else show_time(at)
