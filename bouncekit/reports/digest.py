"""What became of the mail of a span of time, as one value: a page, a sheet of paper and the command line show the same.

It begins at a whole hour, within the last two hours at five whole minutes, as the web page does. Counted are outcomes,
one for each recipient of each attempt, without those of test traffic. However much happened, few names come out.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import islice
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

from bouncekit.delivery.events import EventType
from bouncekit.delivery.queue import Depth
from bouncekit.desk.eventpages import found
from bouncekit.desk.office import Office
from bouncekit.desk.treasurer import balances
from bouncekit.history.newcomers import Newcomer, Newcomers
from bouncekit.history.sifting import Sieve
from bouncekit.history.suggesting import Understood, understood_by
from bouncekit.outside.provider import called, provider_of_host
from bouncekit.policy.budget import Balance, Level, Stream
from bouncekit.policy.guard import USUAL_TIME
from bouncekit.reports.counts import beginning, floor
from bouncekit.stores import Store
from bouncekit.stores.listing import Holdings
from bouncekit.stores.searching import Search
from bouncekit.stores.tallies import Facet
from bouncekit.words.status import Action

__all__ = [
    "MOST_READ",
    "By",
    "Column",
    "Digest",
    "New",
    "Numbers",
    "Of",
    "Ranked",
    "Ranking",
    "Unsent",
    "budgets",
    "digest",
    "worker_state",
]

NONE = "(none)"  # what has no such thing
_OTHERS = "(others)"
_MOST_NAMES = 100_000  # that are counted apart
MOST_READ = 50_000  # refusals that are read, of the time and of what was before
_MOST_SENDERS = 20_000  # counted apart
_MOST_UNSENT = 1_000  # notices that are read
_MOST_REASONS = 20
_COLUMNS = 60  # at most, as long as years will do
_LENGTHS = tuple(timedelta(minutes=one) for one in (5, 15, 60, 360, 1440, 10_080, 43_200, 525_600))
_REFUSED = (EventType.FAILED.value, EventType.DELAYED.value, EventType.UNKNOWN.value)
# Where a server refused something.
_OF_REPLIES = frozenset(map(str, (Action.FAILED, Action.DELAYED)))


class By(StrEnum):
    """What outcomes are put together by."""

    CATEGORY = "category"  # what the reply means
    PROVIDER = "provider"  # whose host replied; the host itself where nobody knows
    RULE = "rule"  # of the policy
    DOMAIN = "domain"  # the recipient's


class Of(StrEnum):
    """Who may have much mail, or many failures."""

    RECIPIENT = "recipient"
    DOMAIN = "domain"
    PROVIDER = "provider"
    SENDER = "sender"  # only whose mail failed: deliveries are not counted by it
    STREAM = "stream"


_FACETS = MappingProxyType(
    {By.CATEGORY: Facet.CATEGORY, By.PROVIDER: Facet.HOST, By.RULE: Facet.RULE, By.DOMAIN: Facet.DOMAIN}
)
# Who was delivered to has no category and no rule.
_OF_TROUBLE = frozenset({By.CATEGORY, By.RULE})
_ByName: TypeAlias = Mapping[str, Counter[str]]
_Watch: TypeAlias = Callable[[Sequence[tuple[datetime, datetime]], str], Iterable[tuple[datetime, datetime]]]


@dataclass(frozen=True, slots=True)
class Numbers:
    """What there was: outcomes by action, events by type, and for each `By` and name the outcomes by action.

    `understood` counts the replies that refused something by what they were understood by.
    """

    actions: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)
    by: Mapping[By, defaultdict[str, Counter[str]]] = field(default_factory=dict)
    streams: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    understood: Counter[Understood] = field(default_factory=Counter)

    @property
    def unmatched(self) -> int:
        """How many replies no rule understood: their code alone decided."""
        return self.understood.total() - self.understood[Understood.WORDS]

    @property
    def added(self) -> int:
        """How many suppressions were added."""
        return self.events[EventType.SUPPRESSION_ADDED]

    @property
    def lifted(self) -> int:
        """How many were lifted."""
        return self.events[EventType.SUPPRESSION_LIFTED]


class Column(NamedTuple):
    """A part of the time, from its beginning on: outcomes by action, events by type."""

    at: datetime
    actions: Mapping[str, int]
    events: Mapping[str, int]


class Ranked(NamedTuple):
    """Somebody, and how many."""

    name: str
    number: int


@dataclass(frozen=True, slots=True)
class Ranking:
    """Who has the most outcomes, and who the most that failed."""

    mail: tuple[Ranked, ...] = ()
    failures: tuple[Ranked, ...] = ()


@dataclass(frozen=True, slots=True)
class New:
    """Replies that came in this time and not in the 30 days before, as far as the store remembers.

    `is_cut`: there were more refusals than are read, and only the newest of them were compared.
    """

    kinds: tuple[Newcomer, ...] = ()
    number: int = 0
    is_cut: bool = False


class Unsent(NamedTuple):
    """Notices that could not be sent through a channel for one reason."""

    channel: str
    why: str
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Digest:
    """All that a report tells. `every` is how long a column is; the first may have begun before `since`."""

    since: datetime
    until: datetime
    every: timedelta
    numbers: Numbers
    columns: tuple[Column, ...]
    rankings: Mapping[Of, Ranking]
    new: New
    held: Holdings
    depth: Depth
    relays: Mapping[str, int]
    budgets: tuple[Balance, ...]
    unsent: tuple[Unsent, ...]


def digest(
    office: Office,
    since: timedelta,
    *,
    by: Sequence[By] = (By.CATEGORY, By.PROVIDER),
    most: int = 10,
    watch: _Watch = lambda spans, label: spans,
) -> Digest:
    """The digest of the time from so long ago until now.

    Args:
        by: what outcomes are put together by.
        most: names in each ranking, kinds of new replies, kinds of refusals that are held.
        watch: what shows how far the counting is.
    """
    store, now = office.store, office.clock.now()
    start, until = beginning(now - since, now), now + timedelta(milliseconds=1)
    every = next((one for one in _LENGTHS if since / one <= _COLUMNS), _LENGTHS[-1])
    numbers = Numbers(by={one: defaultdict(Counter) for one in dict.fromkeys((*by, By.PROVIDER))})
    columns = tuple(_columns(store, numbers, start, until, every, watch))
    new, senders = _new(store, start, until, most) if _refusals(numbers) else (New(), Counter[str]())
    return Digest(
        since=start,
        until=now,
        every=every,
        numbers=replace(numbers, by={one: numbers.by[one] for one in by}),
        columns=columns,
        rankings=_rankings(store, numbers, senders, start, until, most),
        new=new,
        held=store.holdings(now, limit=most),
        depth=store.depth(now),
        relays=store.queued_relays(),
        budgets=budgets(office, now),
        unsent=tuple(_unsent(store, start, until)) if numbers.events[EventType.NOT_NOTIFIED] else (),
    )


def budgets(office: Office, now: datetime) -> tuple[Balance, ...]:
    """How the streams stand, the worst first, and else in the order of their names."""
    found = balances(office.store, office.policy.budget, now).values()
    return tuple(sorted(found, key=lambda one: tuple(Level).index(one.level), reverse=True))


def worker_state(depth: Depth, now: datetime) -> tuple[str, str]:
    """Whether somebody sends what is due, in a word and in a sentence."""
    if depth.left_for(now) is None:
        return "ok", "nothing is due for long"
    if depth.leased > depth.abandoned:
        return "warn", "a worker is at it, and does not keep up: bouncekit worker --concurrency 4"
    return "fail", "nobody sends what is due: start bouncekit worker"


# -- outcomes


def _columns(
    store: Store, numbers: Numbers, start: datetime, until: datetime, every: timedelta, watch: _Watch
) -> Iterator[Column]:
    """The columns, each counted on its own: no long look keeps the store from tidying up."""
    starts = list(_steps(floor(start, every), until, every))
    spans = [(max(at, start), min(at + every, until)) for at in starts]
    for at, (begin, end) in zip(starts, watch(spans, "counting"), strict=True):
        events = store.tally_events(since=begin, until=end)
        before = numbers.actions.copy()
        _count(store, numbers, begin, end)
        numbers.events.update(events)
        yield Column(at, numbers.actions - before, events)


def _steps(at: datetime, until: datetime, every: timedelta) -> Iterator[datetime]:
    while at < until:
        yield at
        at += every


def _count(store: Store, numbers: Numbers, start: datetime, end: datetime) -> None:
    facets = (*(_FACETS[by] for by in numbers.by), Facet.TENANT, Facet.STREAM, Facet.JUDGE)
    for (action, *values, tenant, stream, judge), number in store.tally(*facets, since=start, until=end).items():
        assert action is not None
        numbers.actions[action] += number
        _named(numbers.streams, str(Stream(tenant or "", stream or "")))[action] += number
        if judge and judge.endswith(")") and action in _OF_REPLIES:  # where nobody replied, no file has the rule
            numbers.understood[understood_by(judge)] += number
        for by, value in zip(numbers.by, values, strict=True):
            if by not in _OF_TROUBLE or action != Action.DELIVERED.value:
                _named(numbers.by[by], _name(by, value))[action] += number


def _named(names: defaultdict[str, Counter[str]], name: str) -> Counter[str]:
    """What is counted under a name, or under that of all who came when there were too many."""
    return names[name if name in names or len(names) < _MOST_NAMES else _OTHERS]


def _name(by: By, value: str | None) -> str:
    if not value:
        return NONE
    return called(value) if by is By.PROVIDER else value


def _refusals(numbers: Numbers) -> int:
    return sum(numbers.events[one] for one in _REFUSED)


# -- who has much


def _rankings(
    store: Store, numbers: Numbers, senders: Counter[str], start: datetime, until: datetime, most: int
) -> Mapping[Of, Ranking]:
    def asked(facet: Facet) -> Ranking:
        """What the database counts: there may be as many names as outcomes."""
        found = store.talkers(facet, since=start, until=until, limit=most) if numbers.actions else ()
        return _ranking({one.name: one.outcomes for one in found}, {one.name: one.failed for one in found}, most)

    return {
        Of.RECIPIENT: asked(Facet.RECIPIENT),
        Of.DOMAIN: asked(Facet.DOMAIN),
        Of.PROVIDER: _of(numbers.by[By.PROVIDER], most),
        Of.SENDER: _ranking({}, senders, most),
        Of.STREAM: _of(numbers.streams, most),
    }


def _of(names: _ByName, most: int) -> Ranking:
    told = {name: actions for name, actions in names.items() if name not in (NONE, _OTHERS)}
    failed = {name: actions[Action.FAILED] for name, actions in told.items()}
    return _ranking({name: actions.total() for name, actions in told.items()}, failed, most)


def _ranking(mail: Mapping[str, int], failures: Mapping[str, int], most: int) -> Ranking:
    return Ranking(tuple(_most(mail, most)), tuple(_most(failures, most)))


def _most(numbers: Mapping[str, int], most: int) -> Iterator[Ranked]:
    for name, number in sorted(numbers.items(), key=lambda one: (-one[1], one[0]))[:most]:
        if number:
            yield Ranked(name, number)


# -- what is new, and what nobody was told


def _new(store: Store, start: datetime, until: datetime, most: int) -> tuple[New, Counter[str]]:
    """The replies that are new, and whose mail failed, by sender."""
    newcomers, senders, read = Newcomers(provider_of_host), Counter[str](), 0
    untested = Sieve(test=False)
    here = Search(types=_REFUSED, since=start, until=until)
    for told in islice(found(store, here, untested, newest_first=True), MOST_READ):
        read += 1
        newcomers.add(told)
        sender = told["data"].get("sender")
        if sender and told["type"] == Action.FAILED and (sender in senders or len(senders) < _MOST_SENDERS):
            senders[sender] += 1
    is_cut = read == MOST_READ
    before = Search(types=_REFUSED, since=start - USUAL_TIME, until=start)
    for number, told in enumerate(found(store, before, untested, newest_first=True), 1):
        newcomers.known(told)
        if not newcomers:
            break
        if number == MOST_READ:
            is_cut = True
            break
    return New(tuple(newcomers.largest(most)), len(newcomers), is_cut), senders


def _unsent(store: Store, start: datetime, until: datetime) -> Iterator[Unsent]:
    asked = Search(types=(EventType.NOT_NOTIFIED.value,), since=start, until=until)
    newest = islice(found(store, asked, Sieve(), newest_first=True), _MOST_UNSENT)
    why = Counter((str(told["data"].get("channel") or NONE), str(told["data"].get("why") or "")) for told in newest)
    yield from (Unsent(channel, text, number) for (channel, text), number in why.most_common(_MOST_REASONS))
