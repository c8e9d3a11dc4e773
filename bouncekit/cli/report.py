"""`bouncekit report`: what became of the mail of a span of time, and what waits now."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import click

from bouncekit.cli.balances import HEADS, balance_data, rows
from bouncekit.cli.output import (
    GAP,
    progress,
    show_json,
    show_line,
    show_minute,
    show_span,
    show_table,
    terminal_width,
)
from bouncekit.cli.settings import configured, duration, json_option, open_postmaster, store_option
from bouncekit.cli.waiting import depth_data, in_words
from bouncekit.delivery.events import EventType, show_time
from bouncekit.history.suggesting import Understood, understood_by
from bouncekit.outside.provider import provider_of_host
from bouncekit.stores.tallies import Facet
from bouncekit.words.measures import counted as so_many
from bouncekit.words.status import Action

if TYPE_CHECKING:
    from bouncekit.delivery.queue import Depth
    from bouncekit.stores import Store

__all__ = ["verb"]

_SLICES = 10  # of the span, each counted on its own: no long look keeps the store from tidying up
_BAR, _SHORTEST_BAR = 30, 8  # columns
_ROWS = 10
_NONE = "(none)"
_ACTIONS = tuple(action.value for action in Action)


class By(StrEnum):
    """What outcomes are put together by."""

    CATEGORY = "category"  # what the reply means
    PROVIDER = "provider"  # whose host replied; the host itself where nobody knows
    RULE = "rule"  # of the policy
    DOMAIN = "domain"  # the recipient's


_FACETS = MappingProxyType(
    {By.CATEGORY: Facet.CATEGORY, By.PROVIDER: Facet.HOST, By.RULE: Facet.RULE, By.DOMAIN: Facet.DOMAIN}
)
# Where a server refused something.
_OF_REPLIES = frozenset(map(str, (Action.FAILED, Action.DELAYED)))
# Who was delivered to has no category and no rule.
_OF_TROUBLE = frozenset({By.CATEGORY, By.RULE})


@dataclass(frozen=True, slots=True)
class _Counted:
    """What there was: outcomes by action, events by type, and for each `By` and name the outcomes by action.

    `understood` counts the replies that refused something by what they were understood by.
    """

    actions: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)
    by: Mapping[By, defaultdict[str, Counter[str]]] = field(default_factory=dict)
    understood: Counter[Understood] = field(default_factory=Counter)

    @property
    def unmatched(self) -> int:
        """How many replies no rule understood: their code alone decided."""
        return self.understood.total() - self.understood[Understood.WORDS]


@click.command()
@click.option(
    "--since", callback=duration, default="24h", show_default=True, metavar="DURATION", help="How far back: 90m, 7d."
)
@click.option(
    "--by",
    "facets",
    type=click.Choice([by.value for by in By]),
    multiple=True,
    help="What to break it down by; may be given again. Without it by category and provider.",
)
@click.option(
    "--limit", type=click.IntRange(1, 10_000), default=_ROWS, show_default=True, help="Rows of each breakdown."
)
@store_option
@json_option("one JSON document: since, until, actions, events, by, replies, queue, budgets")
def verb(since: timedelta, facets: tuple[str, ...], limit: int, store: str | None, as_json: bool) -> None:
    """Count what happened, and say what waits. Needs a store.

    \b
    bouncekit report --since 7d --store sqlite:///bounces.db
    bouncekit report --by category --by domain

    Outcomes are one for each recipient of each attempt; those of test traffic do not count.
    """
    chosen = tuple(map(By, dict.fromkeys(facets))) or (By.CATEGORY, By.PROVIDER)
    from bouncekit.desk.treasurer import balances

    with open_postmaster(configured(store=store), needs_store=True, makes_store=False) as postmaster:
        office = postmaster.office
        now = office.clock.now()
        counted = _count(office.store, now - since, now + timedelta(milliseconds=1), chosen)
        depth = office.store.depth(now)
        spent = [*balances(office.store, office.policy.budget, now).values()]
    if as_json:
        show_json({**_data(counted, depth, now - since, now, limit), "budgets": list(map(balance_data, spent))})
    else:
        _show(counted, depth, now - since, now, limit)
        if spent:
            show_line()
            show_table(HEADS, list(rows(spent)))


def _count(store: "Store", since: datetime, until: datetime, chosen: tuple[By, ...]) -> _Counted:
    counted = _Counted(by={by: defaultdict(Counter) for by in chosen})
    facets = tuple(_FACETS[by] for by in chosen)
    step = (until - since) / _SLICES
    starts = [since + step * number for number in range(_SLICES)]
    spans = list(zip(starts, [*starts[1:], until], strict=True))
    for start, end in progress(spans, "counting"):
        counted.events.update(store.tally_events(since=start, until=end))
        for (action, *values, judge), number in store.tally(*facets, Facet.JUDGE, since=start, until=end).items():
            assert action is not None
            counted.actions[action] += number
            if judge and judge.endswith(")") and action in _OF_REPLIES:  # where nobody replied, no file has the rule
                counted.understood[understood_by(judge)] += number
            for by, value in zip(chosen, values, strict=True):
                if by not in _OF_TROUBLE or action != Action.DELIVERED.value:
                    counted.by[by][_name(by, value)][action] += number
    return counted


def _name(by: By, value: str | None) -> str:
    if not value:
        return _NONE
    return provider_of_host(value) or value if by is By.PROVIDER else value


def _data(counted: _Counted, depth: "Depth", since: datetime, now: datetime, limit: int) -> dict[str, Any]:
    return {
        "since": show_time(since),
        "until": show_time(now),
        "actions": _in_order(counted.actions),
        "events": dict(sorted(counted.events.items())),
        "by": {
            by.value: [
                {"name": name, "total": actions.total(), "actions": _in_order(actions)}
                for name, actions in _largest(names)[:limit]
            ]
            for by, names in counted.by.items()
        },
        "replies": {"refused": counted.understood.total(), "unmatched": counted.unmatched},
        "queue": depth_data(depth),
    }


def _show(counted: _Counted, depth: "Depth", since: datetime, now: datetime, limit: int) -> None:
    actions = counted.actions
    total = actions.total()
    show_line(f"{so_many(total, 'outcome')} since {show_minute(since)}, {show_span(now - since)} ago")
    if total:
        show_line()
        rows = [(name, f"{number:>12,}", f"{number / total:>6.1%}") for name, number in _in_order(actions).items()]
        _show_with_bars(("", "", ""), rows, list(_in_order(actions).values()))
    for by, names in counted.by.items():
        if names:
            show_line()
            _show_breakdown(by, names, limit)
    show_line()
    events = counted.events
    added, lifted = events[EventType.SUPPRESSION_ADDED.value], events[EventType.SUPPRESSION_LIFTED.value]
    show_line(f"suppressions: {added:,} added, {lifted:,} lifted")
    if refused := counted.understood.total():
        show_line(f"not understood: {counted.unmatched:,} of {refused:,} refusals, {counted.unmatched / refused:.1%}")
        if counted.unmatched:
            show_line("rules for them: bouncekit rules suggest")
    if events[EventType.SHADOW_DIFFERED.value]:
        show_line("policy on trial: it would have done otherwise; bouncekit policy shadow says how often")
    show_line(f"queue: {in_words(depth, now).removeprefix('the queue is ')}")


def _show_breakdown(by: By, names: Mapping[str, Counter[str]], limit: int) -> None:
    """A table of the largest, with a column for each action that occurs."""
    rows = _largest(names)
    shown, rest = rows[:limit], rows[limit:]
    present = [action for action in _ACTIONS if any(actions[action] for actions in names.values())]
    _show_with_bars(
        (f"by {by}", "outcomes", *present),
        [(name, f"{actions.total():,}", *(f"{actions[one]:,}" for one in present)) for name, actions in shown],
        [actions.total() for _, actions in shown],
    )
    if rest:
        show_line(f"and {len(rest):,} more, with {sum(actions.total() for _, actions in rest):,}: --limit")


def _largest(names: Mapping[str, Counter[str]]) -> list[tuple[str, Counter[str]]]:
    return sorted(names.items(), key=lambda one: (-one[1].total(), one[0]))


def _in_order(actions: Mapping[str, int]) -> dict[str, int]:
    """The actions that occur, in the order of their list."""
    return {action: actions[action] for action in _ACTIONS if actions.get(action)}


def _show_with_bars(heads: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[int]) -> None:
    """A table with a bar behind each row, of the columns that are left in the terminal; where that are few, without."""
    room = _BAR
    if (width := terminal_width()) is not None:
        taken = sum(max(map(len, column)) + len(GAP) for column in zip(heads, *rows, strict=True))
        room = min(width - taken, _BAR)
    if room < _SHORTEST_BAR:
        show_table(heads, rows)
        return
    most = max(numbers)
    bars = (_bar(number, most, room) for number in numbers)
    show_table((*heads, ""), [(*row, bar) for row, bar in zip(rows, bars, strict=True)])


def _bar(number: int, most: int, room: int) -> str:
    """At least one column for what there is at all."""
    return "#" * max(round(room * number / most), 1) if number else ""
