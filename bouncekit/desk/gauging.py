"""How everything stands now, as numbers: read from the store when somebody asks, every ten seconds at the most.

A read is six questions, of which none walks along events or the list. Of readers, lanes and streams the hundred worst
are named; how many there are of each kind is counted over all.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType

from bouncekit.delivery.queue import Depth
from bouncekit.desk.forwarding import cursor_of, sink_of
from bouncekit.desk.ledger import complain
from bouncekit.desk.treasurer import balances
from bouncekit.outside.clock import Clock
from bouncekit.policy.budget import Balance, Budget, Level
from bouncekit.policy.lane import Lane, LaneKind
from bouncekit.policy.throttle import Flow, left
from bouncekit.sinks.gauge import GAUGES, STORE_UP, Readings
from bouncekit.stores import Store
from bouncekit.stores.cursors import Cursor, Reading, reading
from bouncekit.stores.throttling import KeptFlow
from bouncekit.words.showing import printable

__all__ = ["Gauging"]

_FRESH = timedelta(seconds=10)  # how old a reading may be
_MOST = 100  # readers, lanes and streams that are named
_LONGEST = 64  # characters of a name
_OTHER = "other"  # whose name might be an address
_LANE_STATES = ("paused", "trial", "slowed")
_NO_RESULTS: Mapping[str, int] = MappingProxyType({"waiting": 0, "refused": 0})
_KINDS = (LaneKind.RELAY, LaneKind.PROVIDER)  # a stream's lane is its budget's

_One = tuple[str, tuple[str, ...], float]


class Gauging:
    """Reads the gauges of one postmaster.

    Args:
        budget: the budget of the policy in force; where it is None, no stream is held, whatever the store says.
        results: how many results wait in memory, and what for.
        sinks: the names of its sinks: one that has never read is there too.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        budget: Callable[[], Budget | None],
        results: Callable[[], Mapping[str, int]] = lambda: _NO_RESULTS,
        sinks: Iterable[str] = (),
    ) -> None:
        self._store = store
        self._clock = clock
        self._budget = budget
        self._results = results
        self._sinks = tuple(sinks)
        self._known: tuple[datetime, Readings] | None = None

    def __call__(self) -> Readings:
        """All gauges; where the store does not answer, that it does not, and nothing else."""
        now, known = self._clock.now(), self._known
        if known is not None and known[0] <= now < known[0] + _FRESH:
            return known[1]
        try:
            found = _folded(self._read(now))
        except Exception as error:  # noqa: BLE001 - whatever a store raises, a page of metrics says that it is down
            complain("the gauges cannot be read: %s", error)
            found = {STORE_UP: {(): 0.0}}
        self._known = now, found
        return found

    def _read(self, now: datetime) -> Iterator[_One]:
        store, budget = self._store, self._budget()
        yield from _queue(store.depth(now), now)
        yield from (("bouncekit_results", (state,), number) for state, number in self._results().items())
        yield from _readers(store.cursors(), self._sinks, now)
        yield from _lanes(store.flows(), now)
        yield "bouncekit_guard_held_suppressions", (), store.holdings(now, limit=0).number
        yield from _streams(() if budget is None else tuple(balances(store, budget, now).values()))
        yield STORE_UP, (), 1.0


def _folded(found: Iterable[_One]) -> Readings:
    """By gauge and labels; of names that are shown alike, the largest number."""
    folded: dict[str, dict[tuple[str, ...], float]] = {name: {} for name in GAUGES}
    for name, labels, number in found:
        folded[name][labels] = max(number, folded[name].get(labels, number))
    return folded


def _queue(depth: Depth, now: datetime) -> Iterator[_One]:
    states = {
        "due": depth.due,
        "waiting": depth.waiting,
        "held": depth.held,
        "leased": depth.leased - depth.abandoned,
        "abandoned": depth.abandoned,
    }
    for state, number in states.items():
        yield "bouncekit_queue_recipients", (state,), number
    yield "bouncekit_queue_oldest_due_age_seconds", (), _age(depth.oldest_due_at, now)


def _readers(cursors: Sequence[Cursor], sinks: Sequence[str], now: datetime) -> Iterator[_One]:
    found: dict[str, Cursor | None] = dict.fromkeys(map(cursor_of, sinks))
    found |= {one.name: one for one in cursors}
    for name, cursor in sorted(found.items(), key=lambda item: -item[1].unread if item[1] else 0)[:_MOST]:
        sink, stands = sink_of(name), reading(cursor, now)
        labels = ("subscriber", _label(name)) if sink is None else ("sink", _label(sink))
        for state in Reading:
            yield "bouncekit_reader_state", (*labels, state.value), float(state is stands)
        if cursor is not None:
            yield "bouncekit_reader_lag_events", labels, cursor.unread
            yield "bouncekit_reader_lag_seconds", labels, _age(cursor.unread_since, now)


def _lanes(flows: Mapping[Lane, KeptFlow], now: datetime) -> Iterator[_One]:
    rested = {lane: left(kept.flow, now, token="") for lane, kept in flows.items() if lane.kind in _KINDS}
    states = {lane: state for lane, flow in rested.items() if (state := _state(flow, now)) is not None}
    counts = Counter((lane.kind, state) for lane, state in states.items())
    for kind in _KINDS:
        for state in _LANE_STATES:
            yield "bouncekit_lanes", (kind.value, state), counts[kind, state]
    for lane, state in sorted(states.items(), key=lambda item: (_LANE_STATES.index(item[1]), item[0]))[:_MOST]:
        labels, pace = (lane.kind.value, _label(lane.name)), rested[lane].pace
        yield "bouncekit_lane_state", (*labels, state), 1.0
        if pace is not None and state == "slowed":
            yield "bouncekit_lane_pace_messages_per_second", labels, pace


def _state(flow: Flow, now: datetime) -> str | None:
    """What keeps mail back; None: nothing, or only the policy's own limits."""
    if flow.is_paused(now):
        return "paused"
    if flow.is_half_open(now):
        return "trial"
    return None if flow.pace is None else "slowed"


def _streams(found: Sequence[Balance]) -> Iterator[_One]:
    counts, order = Counter(one.level for one in found), tuple(Level)
    for level in Level:
        yield "bouncekit_budget_streams", (level.value,), counts[level]
    worst = sorted(found, key=lambda one: (order.index(one.level), one.spent.sent), reverse=True)
    for one in worst[:_MOST]:
        labels = (_label(one.stream.tenant), _label(one.stream.name))
        for level in Level:
            yield "bouncekit_budget_level", (*labels, level.value), float(level is one.level)
        yield "bouncekit_budget_sent_recipients", labels, one.spent.sent
        yield "bouncekit_budget_bounce_ratio", labels, one.bounce_rate
        yield "bouncekit_budget_complaint_ratio", labels, one.complaint_rate


def _age(at: datetime | None, now: datetime) -> float:
    return 0.0 if at is None else max((now - at).total_seconds(), 0.0)


def _label(name: str) -> str:
    """A name as a label; one with an @ could be an address."""
    return _OTHER if "@" in name else printable(name, limit=_LONGEST)
