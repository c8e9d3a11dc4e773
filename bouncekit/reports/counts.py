"""What became of the mail, counted by slices of time, so that a page need not look at a million outcomes.

A slice that is long over is counted once and for all; one that is young is counted again, the later the older it is:
what a process could not store when it happened may come up to an hour late. The youngest slices are of five minutes,
all others of an hour. What a request has no time for, a thread counts behind it.
"""

import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from bouncekit.outside.provider import called
from bouncekit.stores import Store
from bouncekit.stores.tallies import Facet
from bouncekit.words.errors import StoreError
from bouncekit.words.status import Action

__all__ = ["ACTIONS", "Breakdown", "Counted", "Counts", "beginning", "breakdown", "floor", "largest"]

# From the ground up: what went well is the ground that the trouble stands on.
ACTIONS = (Action.DELIVERED, Action.DELAYED, Action.UNKNOWN, Action.FAILED, Action.SUPPRESSED)
_LATE = timedelta(hours=1)
_SOONEST = timedelta(seconds=5)
_SHORT, _LONG = timedelta(minutes=5), timedelta(hours=1)
_YOUNG = timedelta(hours=2)  # in slices of five minutes
_MOST_NAMES = 100  # hosts that a slice tells apart; a sender to the whole world meets thousands
_OTHERS = "others"
_DELIVERED = "delivered"

_ByAction = dict[str, Counter[str]]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class Counted:
    """What there was in a time: outcomes by action, and those of each category, provider and rule; events by type.

    Who was delivered to has no category and no rule.
    """

    actions: Counter[str] = field(default_factory=Counter)
    categories: _ByAction = field(default_factory=dict)
    providers: _ByAction = field(default_factory=dict)
    rules: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)

    def add(self, other: "Counted") -> None:
        """Count what another time had, too."""
        self.actions.update(other.actions)
        self.rules.update(other.rules)
        self.events.update(other.events)
        for own, more in ((self.categories, other.categories), (self.providers, other.providers)):
            for name, actions in more.items():
                own.setdefault(name, Counter()).update(actions)


@dataclass(slots=True)
class _Slice:
    """A slice, and when it was counted."""

    counted: Counted
    at: datetime

    def is_stale(self, end: datetime, now: datetime) -> bool:
        """Whether something may have come since."""
        age = self.at - end
        return age < _LATE and now - self.at >= max(age, _SOONEST)


class Counts:
    """The counts of one store.

    Args:
        budget_seconds: how long a request counts; what is left then is counted behind it.
    """

    def __init__(self, store: Store, *, budget_seconds: float = 0.02) -> None:
        self._store = store
        self._budget_seconds = budget_seconds
        self._slices: dict[tuple[datetime, timedelta], _Slice] = {}
        self._counting = threading.Lock()

    def since(self, start: datetime, now: datetime, every: timedelta) -> "tuple[list[tuple[datetime, Counted]], bool]":
        """The counts from a time on, in columns as long as `every`, and whether all of it has been counted by now."""
        wanted = list(_slices(start, now))
        is_whole = self._bring_up(wanted, now)
        columns: dict[datetime, Counted] = {
            floor(start, every) + every * number: Counted()
            for number in range((floor(now, every) - floor(start, every)) // every + 1)
        }
        for key in wanted:
            if (found := self._slices.get(key)) is not None:
                columns[floor(key[0], every)].add(found.counted)
        return list(columns.items()), is_whole

    def _bring_up(self, wanted: list[tuple[datetime, timedelta]], now: datetime) -> bool:
        """Count what is not counted, the newest first, as long as the budget lasts."""
        if not self._counting.acquire(timeout=self._budget_seconds):
            return all(key in self._slices for key in wanted)
        missing: list[tuple[datetime, timedelta]] = []
        try:
            self._forget(now)
            missing = self._stale(wanted, now)
            until = time.monotonic() + self._budget_seconds
            while missing and time.monotonic() < until:
                self._count(missing.pop(0), now)
        finally:
            self._counting.release()
        if missing:
            threading.Thread(target=self._count_all, args=(missing, now), name="bouncekit-counts", daemon=True).start()
        return all(key in self._slices for key in missing)

    def _stale(self, wanted: Iterable[tuple[datetime, timedelta]], now: datetime) -> list[tuple[datetime, timedelta]]:
        return [
            key
            for key in sorted(wanted, reverse=True)
            if (found := self._slices.get(key)) is None or found.is_stale(key[0] + key[1], now)
        ]

    def _count_all(self, missing: Iterable[tuple[datetime, timedelta]], now: datetime) -> None:
        with self._counting, suppress(StoreError):  # the next request counts again, or says so
            for key in self._stale(missing, now):  # another thread may have been before us
                self._count(key, now)

    def _count(self, key: tuple[datetime, timedelta], now: datetime) -> None:
        start, length = key
        self._slices[key] = _Slice(_counted(self._store, start, start + length), now)

    def _forget(self, now: datetime) -> None:
        """Let go of short slices that are old by now, and of what is older than anybody asks for."""
        oldest = now - timedelta(days=32)
        for key in [key for key in self._slices if key[0] < (now - 2 * _YOUNG if key[1] == _SHORT else oldest)]:
            del self._slices[key]


def _counted(store: Store, start: datetime, end: datetime) -> Counted:
    found = Counted(events=Counter(store.tally_events(since=start, until=end)))
    hosts: _ByAction = {}
    for (action, category, host, rule), number in store.tally(
        Facet.CATEGORY, Facet.HOST, Facet.RULE, since=start, until=end
    ).items():
        assert action is not None
        found.actions[action] += number
        if action != _DELIVERED:
            found.categories.setdefault(category or "none", Counter())[action] += number
            if rule:
                found.rules[rule] += number
        if host:
            hosts.setdefault(called(host), Counter())[action] += number
    for place, (name, actions) in enumerate(sorted(hosts.items(), key=lambda one: (-one[1].total(), one[0]))):
        found.providers.setdefault(name if place < _MOST_NAMES else _OTHERS, Counter()).update(actions)
    return found


def _slices(start: datetime, now: datetime) -> Iterator[tuple[datetime, timedelta]]:
    """The slices from a time on: whole hours, and short ones for the time that is young."""
    at, young = floor(start, _LONG), _young(now)
    while at <= now:
        length = _SHORT if at >= young else _LONG
        yield at, length
        at += length


def beginning(start: datetime, now: datetime) -> datetime:
    """Where a slice begins in which a time lies: what is counted from there on is counted alike wherever it is."""
    return floor(start, _SHORT if start >= _young(now) else _LONG)


def _young(now: datetime) -> datetime:
    """From when on slices are short."""
    return floor(now - _YOUNG, _LONG)


def floor(at: datetime, length: timedelta) -> datetime:
    """The beginning of the slice that a time lies in, as all slices since 1970 lie."""
    since = at - _EPOCH
    return at - since % length


@dataclass(frozen=True, slots=True)
class Breakdown:
    """The names with the most outcomes, what became of these, and which of the actions there are among them."""

    rows: tuple[tuple[str, Counter[str]], ...]
    actions: tuple[Action, ...]
    names: int  # how many there are in all


def breakdown(counted: Mapping[str, Counter[str]], most: int) -> Breakdown:
    """Outcomes by name.

    >>> breakdown({"gmail": Counter(failed=1), "yahoo": Counter(failed=2, delayed=0)}, 1)
    Breakdown(rows=(('yahoo', Counter({'failed': 2, 'delayed': 0})),), actions=(<Action.FAILED: 'failed'>,), names=2)
    """
    rows = tuple(largest(counted, most))
    return Breakdown(rows, tuple(one for one in ACTIONS if any(found[one] for _, found in rows)), len(counted))


def largest(counted: Mapping[str, Counter[str]], most: int) -> list[tuple[str, Counter[str]]]:
    """The names with the most outcomes."""
    return sorted(counted.items(), key=lambda one: (-one[1].total(), one[0]))[:most]
