"""Recall all that the store knows of one mailbox, as a `bouncekit.history.timeline.History`."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice, takewhile
from typing import TYPE_CHECKING, Any

from bouncekit.codes import Card, Language
from bouncekit.delivery.events import Event
from bouncekit.delivery.steps import LookUp
from bouncekit.delivery.suppressionchange import Change, Place
from bouncekit.history.moments import Moment, moments
from bouncekit.history.prospects import prospects
from bouncekit.history.retelling import retold
from bouncekit.history.timeline import History, Struck, advised_by
from bouncekit.outside.builtin import code_cards
from bouncekit.policy.policy import Policy
from bouncekit.policy.rule import SeenBy, Window
from bouncekit.policy.suppression import Suppression
from bouncekit.words.address import parse_address, suppression_key
from bouncekit.words.envelope import Labels
from bouncekit.words.pseudonym import is_pseudonym

if TYPE_CHECKING:
    from bouncekit.delivery.queue import Queued
    from bouncekit.desk.office import Office
    from bouncekit.words.reply import Reply

__all__ = ["recall", "tenants_that_know"]

_LEAST = 200  # events that are looked through for mail that waits
_MOST_MESSAGES = 20  # that are looked for in the queue
_MOST_RECIPIENTS = 10_000  # of one message


def recall(
    office: "Office",
    address: str,
    *,
    tenant: str = "",
    stream: str = "",
    message_class: str | None = None,
    since: datetime | None = None,
    limit: int = 100,
    language: Language = Language.ENGLISH,
) -> History:
    """All that is known of an address of a tenant, or of a pseudonym. See `Postmaster.history`."""
    office.ledger.catch_up()
    names, now = _names(office, address), office.clock.now()
    asked = _Asked(office, names, tenant)
    events, unreadable, is_cut = asked.events(max(limit, _LEAST))
    changes = asked.changes(max(limit, _LEAST))
    if is_cut:  # else older changes would seem to have no event
        changes = [one for one in changes if one.at >= events[-1].at] if events else []
    told = [one for one in moments(events, changes, now, rules=office.policy.rules) if since is None or one.at >= since]
    standing = asked.standing(stream, changes)
    waiting = tuple(asked.waiting(events))
    labels = Labels(message_class=message_class, tenant=tenant, stream=stream)
    ignored = office.policy.message_class(message_class).ignores
    return History(
        address=address,
        at=now,
        tenant=tenant,
        stream=stream,
        known_as=_known_as(told, standing),
        is_held_back=bool(office.store.suppressed(names, office.check(labels), now, ignored=ignored)),
        standing=standing,
        moments=tuple(told[: max(limit, 0)]),
        has_more=is_cut or len(told) > limit,
        waiting=waiting,
        strikes=tuple(asked.strikes(labels, office.policy, events)),
        prospects=prospects(office.policy, now, standing=standing, waiting=waiting, told=events),
        advice=_cards(advised_by(events, standing), language),
        unreadable=unreadable,
    )


def tenants_that_know(office: "Office", address: str) -> tuple[str, ...]:
    """Of which tenants a mailbox has a history. In a large store it takes its time."""
    return tuple(sorted(frozenset[str]().union(*map(office.store.tenants_of, _names(office, address)))))


class _Asked:
    """One mailbox of one tenant, by all names under which the store may know it."""

    def __init__(self, office: "Office", names: Sequence[str], tenant: str) -> None:
        self._office, self._store = office, office.store
        self._names, self._tenant = names, tenant

    def events(self, limit: int) -> tuple[list[Event], int, bool]:
        """The newest events, newest first, how many could not be read, and whether there are older ones."""
        told: list[dict[str, Any]] = []
        for name in self._names:
            told += self._store.history(name, tenant=self._tenant, limit=limit + 1)
        if len(self._names) > 1:
            told.sort(key=lambda event: str(event["time"]), reverse=True)
        events, unreadable = [], 0
        for one in told[:limit]:
            try:
                events.append(retold(one))
            except ValueError:
                unreadable += 1
        return events, unreadable, len(told) > limit

    def changes(self, limit: int) -> list[Change]:
        """The newest changes of the list, newest first."""
        found = [one for name in self._names for one in self._store.changes_of(name, tenant=self._tenant, limit=limit)]
        return sorted(found, key=lambda change: change.sequence, reverse=True)

    def standing(self, stream: str, changes: Iterable[Change]) -> tuple[Suppression, ...]:
        """What stands on the list: in the stream of the question, then for every stream, then in the others."""
        streams = dict.fromkeys((stream, "", *sorted({one.place.stream for one in changes})))
        places = [Place(self._tenant, one, name) for one in streams for name in self._names]
        found = self._store.standing(places)
        return tuple({id(found[place]): found[place] for place in places if place in found}.values())

    def waiting(self, events: Iterable[Event]) -> Iterator["Queued"]:
        """Who of the messages that the events tell of is in the queue still."""
        messages = dict.fromkeys(one.occasion.delivery_id for one in events if _may_wait(one))
        for message in islice(filter(None, messages), _MOST_MESSAGES):
            first = next(iter(self._store.queued(after=(message, ""), limit=1)), None)
            if first is None or first.message != message:
                continue  # and no page of what stands behind it is read
            rows = _of_message(self._store.queued(after=(message, "")), message)
            yield from (one for one in islice(rows, _MOST_RECIPIENTS) if suppression_key(one.recipient) in self._names)

    def strikes(self, labels: Labels, policy: Policy, events: Iterable[Event]) -> Iterator[Struck]:
        """The days with verdicts that a rule looks back at, where there are any."""
        seen = {one.category for one in events if one.category is not None}
        for rule in policy.rules:
            if (looks := rule.when.seen) is None or looks.by is not SeenBy.RECIPIENT:
                continue
            for category in sorted(seen & (rule.when.category or seen)):
                days = [self._days(labels, window) for window in looks.windows(category)]
                if days[-1]:
                    yield Struck(
                        category=category,
                        days=days[-1],
                        weight=looks.weigh(days) - 1,
                        within=looks.within,
                        times=looks.times,
                        rule=rule.id,
                        where=rule.where,
                        half_after=looks.half_after,
                    )

    def _days(self, labels: Labels, window: Window) -> int:
        windows = tuple((name, window) for name in self._names)
        found = self._store.look_up(LookUp(labels=labels, windows=windows), self._office.clock.now())
        return max(found.counters.values(), default=0)


def _names(office: "Office", address: str) -> tuple[str, ...]:
    """Under what a mailbox may be known; a store that keeps no addresses sees to that itself."""
    if is_pseudonym(address):
        return (address.partition(".")[0],)
    key = suppression_key(parse_address(address).wire)
    pseudonyms = office.pseudonyms if office.keeps_addresses else None
    return (key,) if pseudonyms is None else (*pseudonyms.all_of(key), key)


def _known_as(told: Iterable[Moment], standing: Iterable[Suppression]) -> str | None:
    """The pseudonym that stands for the mailbox; None where its address does."""
    subjects = (one.event.recipient for one in told if one.event is not None)
    keys = (*subjects, *(one.key for one in standing))
    return next((key.partition(".")[0] for key in keys if key and is_pseudonym(key)), None)


def _of_message(rows: Iterable["Queued"], message: str) -> Iterator["Queued"]:
    return takewhile(lambda one: one.message == message, rows)


def _may_wait(event: Event) -> bool:
    return (event.settlement is not None and not event.settlement.is_final) or event.type == "queued"


def _cards(reply: "Reply | None", language: Language) -> tuple[Card, ...]:
    if reply is None:
        return ()
    deck = code_cards()
    own = deck.reply(reply.code, language)
    return (own, *deck.enhanced(reply.enhanced, language)) if reply.enhanced else (own,)
