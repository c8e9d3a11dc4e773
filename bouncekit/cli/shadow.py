"""`bouncekit policy shadow`: what a policy on trial would have done otherwise, summed up from its events."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from bouncekit.cli.output import progress, show_json, show_line, show_table
from bouncekit.cli.settings import configured, duration, json_option, open_postmaster, store_option
from bouncekit.delivery.events import EventType, show_time
from bouncekit.words.measures import show_minute

if TYPE_CHECKING:
    from bouncekit.stores import Store

__all__ = ["shadow"]


@dataclass(frozen=True, slots=True)
class _Pair:
    """One kind of difference."""

    live: str
    would: str
    live_rule: str
    shadow_rule: str


@dataclass(slots=True)
class _Summed:
    """What the events of one trial say together."""

    name: str
    hash: str
    first_at: datetime
    last_at: datetime
    decided: int = 0
    faults: int = 0
    pairs: Counter[_Pair] = field(default_factory=Counter)
    categories: dict[_Pair, Counter[str]] = field(default_factory=dict)


@click.command()
@click.option(
    "--since", callback=duration, default="7d", show_default=True, metavar="DURATION", help="How far back: 90m, 7d."
)
@store_option
@json_option("JSON lines, one for each policy on trial: shadow, hash, decided, times, faults, differences")
def shadow(since: timedelta, store: str | None, as_json: bool) -> None:
    """Sum up what a policy on trial would have done otherwise.

    \b
    bouncekit policy shadow --since 7d

    The trial is set up by shadow = "new.yaml" in the configuration, or Postmaster(shadow="new.yaml"). A kind of
    difference is told at once, and then every ten minutes with how often it was there.
    """
    with open_postmaster(configured(store=store), needs_store=True, makes_store=False) as postmaster:
        office = postmaster.office
        found = _summed(_events(office.store, office.clock.now() - since))
    if as_json:
        for one in found:
            show_json(_data(one))
        return
    for one in found:
        _show(one)
    if not found:
        show_line("no policy on trial has differed in that time, or none is set up: shadow = 'new.yaml'")


def _events(store: "Store", since: datetime) -> Iterable[Mapping[str, Any]]:
    from bouncekit.desk.eventpages import first_since, forwards, newest_number

    newest = newest_number(store)
    first = first_since(store, since, newest)
    for _, told in progress(forwards(store, first, newest), "events", length=newest - first):
        if told["type"] == EventType.SHADOW_DIFFERED and datetime.fromisoformat(told["time"]) >= since:
            yield told


def _summed(events: Iterable[Mapping[str, Any]]) -> list[_Summed]:
    """One for each text of a policy that was on trial, in the order in which they were."""
    found: dict[str, _Summed] = {}
    for told in events:
        data, at = told["data"], datetime.fromisoformat(told["time"])
        one = found.setdefault(data["shadow_hash"], _Summed(data["shadow"], data["shadow_hash"], at, at))
        pair = _Pair(data["live"], data["would"], data["live_rule"], data["shadow_rule"])
        one.last_at = at
        one.decided += data["decided"]
        one.faults += data["faults"]
        one.pairs[pair] += data["times"]
        one.categories.setdefault(pair, Counter())[data["category"]] += 1
    return list(found.values())


def _show(one: _Summed) -> None:
    times = one.pairs.total()
    span = f"{show_minute(one.first_at)} to {show_minute(one.last_at)}"
    show_line(f"{one.name} ({one.hash[:8]}), {span}: {times:,} of {one.decided:,} verdicts would be otherwise")
    rows = [
        (f"{n:,}", pair.live, pair.would, f"{pair.live_rule} -> {pair.shadow_rule}", ", ".join(one.categories[pair]))
        for pair, n in one.pairs.most_common()
    ]
    show_table(("times", "live", "would", "rules", "about"), rows)
    if one.faults:
        show_line(f"{one.faults:,} verdicts of it failed; the log says why")
    show_line()


def _data(one: _Summed) -> dict[str, Any]:
    return {
        "shadow": one.name,
        "hash": one.hash,
        "first_at": show_time(one.first_at),
        "last_at": show_time(one.last_at),
        "decided": one.decided,
        "times": one.pairs.total(),
        "faults": one.faults,
        "differences": [
            {
                "live": pair.live,
                "would": pair.would,
                "live_rule": pair.live_rule,
                "shadow_rule": pair.shadow_rule,
                "times": number,
                "categories": sorted(one.categories[pair]),
            }
            for pair, number in one.pairs.most_common()
        ],
    }
