"""`bouncekit events`: what happened, in the order in which the store remembered it, and on as it happens."""

import errno
import json
import select
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeAlias

import click

from bouncekit.address import parse_address, suppression_key
from bouncekit.cli.output import progress
from bouncekit.cli.settings import configured, duration, json_option, open_postmaster, store_option
from bouncekit.cli.telling import rule, said, second
from bouncekit.events import EventType
from bouncekit.showing import printable

if TYPE_CHECKING:
    from bouncekit.stores import Store

__all__ = ["LATE", "backwards", "first_behind", "forwards", "newest_number", "verb"]

_PAGE = 1000  # events read at once
_FOLLOWED = 20  # that --follow shows first
_POLL_SECONDS = 0.5
LATE = timedelta(hours=1)  # how much later than it happened an event may have been remembered
_WIDTH = max(map(len, EventType))
_MAX_CELL = 300
_MOST_HISTORY = 100_000  # events about one mailbox

Told: TypeAlias = Mapping[str, Any]
Numbered: TypeAlias = tuple[int, Told]


@click.command()
@click.option("--follow", is_flag=True, help=f"Show the last {_FOLLOWED}, then go on until Ctrl-C.")
@click.option(
    "--type",
    "types",
    type=click.Choice([one.value for one in EventType]),
    multiple=True,
    metavar="TYPE",
    help="Only events of this type, such as failed; may be given again.",
)
@click.option("--recipient", metavar="ADDRESS", help="Only about this mailbox, however it is written.")
@click.option("--tenant", metavar="NAME", help="Only of this tenant; a mailbox has a history with each.")
@click.option("--since", callback=duration, metavar="DURATION", help="Only what happened so long ago at most: 2h.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the newest so many.")
@store_option
@json_option("JSON lines: the events as CloudEvents")
def verb(
    follow: bool,
    types: tuple[str, ...],
    recipient: str | None,
    tenant: str | None,
    since: timedelta | None,
    limit: int | None,
    store: str | None,
    as_json: bool,
) -> None:
    """Show what happened, a line each, oldest first. Needs a store.

    \b
    bouncekit events --since 2h --type failed --type suppression_added
    bouncekit events --follow --json | jq .subject
    """
    if follow and limit is None and since is None:
        limit = _FOLLOWED
    show = json.dumps if as_json else _line
    key = None if recipient is None else suppression_key(parse_address(recipient).wire)
    with open_postmaster(configured(store=store), needs_store=True, makes_store=False) as postmaster:
        kept, now = postmaster.office.store, postmaster.office.clock.now()
        tenant = "" if key and tenant is None else tenant  # a history is a tenant's
        asked = _Asked(frozenset(types), key, tenant, None if since is None else now - since)
        newest = newest_number(kept)
        past = asked.oldest(kept, newest) if limit is None else list(islice(asked.newest(kept, newest), limit))[::-1]
        past = list(past) if follow else past
        _print(progress(past, "events", prints=True), show)
        if follow:
            _follow(kept, newest, asked, frozenset(told["id"] for told in past), show)


@dataclass(frozen=True, slots=True)
class _Asked:
    """Which events somebody wants to see."""

    types: frozenset[str]
    key: str | None
    tenant: str | None
    since: datetime | None

    def __contains__(self, told: Told) -> bool:
        return (
            (not self.types or told["type"] in self.types)
            and (self.key is None or (bool(told["subject"]) and suppression_key(told["subject"]) == self.key))
            and (self.tenant is None or told["data"]["tenant"] == self.tenant)
            and (self.since is None or datetime.fromisoformat(told["time"]) >= self.since)
        )

    def oldest(self, store: "Store", last: int) -> Iterable[Told]:
        """Those up to a number, oldest first."""
        if self.key is not None:
            return list(self.newest(store, last))[::-1]
        return (told for _, told in forwards(store, self._first(store, last), last) if told in self)

    def newest(self, store: "Store", last: int) -> Iterator[Told]:
        """Those up to a number, newest first; a mailbox has an index of its own."""
        if self.key is None:
            events: Iterable[Told] = (told for _, told in backwards(store, self._first(store, last), last))
        else:
            events = store.history(self.key, tenant=self.tenant or "", limit=_MOST_HISTORY)
        return (told for told in events if told in self)

    def _first(self, store: "Store", last: int) -> int:
        return 0 if self.since is None else first_behind(store, self.since - LATE, last)


def _follow(store: "Store", newest: int, asked: _Asked, seen: frozenset[str], show: Callable[[Told], str]) -> None:
    """What comes behind a number, until somebody ends it or has gone."""
    while True:
        _wait()
        for number, told in forwards(store, newest, None):
            newest = number
            if told in asked and told["id"] not in seen:
                _print((told,), show)


def _print(events: Iterable[Told], show: Callable[[Told], str]) -> None:
    """A line each; many go out in one write."""
    waiting = iter(events)
    while lines := [show(told) for told in islice(waiting, _PAGE)]:
        click.echo("\n".join(lines))


def _line(told: Told) -> str:
    """2026-11-25 03:56:38Z  failed  full@example.com  552 5.2.2 Mailbox full  mailbox-full (default.yaml:41)."""
    data: Told = told.get("data") or {}
    cells = (told.get("subject"), said(data), rule(data))
    shown = (printable(str(cell), limit=_MAX_CELL) for cell in cells if cell)
    return "  ".join((second(told.get("time")), str(told.get("type")).ljust(_WIDTH), *shown))


# What a store has is a sequence of numbers with gaps, read from any of them on.


def forwards(store: "Store", after: int, last: int | None) -> Iterator[Numbered]:
    """The events behind a number, up to the last one."""
    while page := store.events(after=after, limit=_PAGE):
        for number, told in page:
            if last is not None and number > last:
                return
            yield number, told
        after = page[-1][0]


def backwards(store: "Store", first: int, last: int) -> Iterator[Numbered]:
    """The events up to a number, newest first, back to what lies behind the first one."""
    while last > first:
        after = max(last - _PAGE, first)
        page = store.events(after=after, limit=last - after)
        yield from reversed([one for one in page if one[0] <= last])
        last = after


def newest_number(store: "Store") -> int:
    """The number of the newest event, 0 where there is none: found by halves, since the store may hold millions."""
    low, high = 0, 1
    while found := store.events(after=high, limit=1):
        low = found[0][0]
        high = 2 * low
    while low < high:
        middle = (low + high) // 2
        if found := store.events(after=middle, limit=1):
            low = found[0][0]
        else:
            high = middle
    return low


def first_behind(store: "Store", at: datetime, newest: int) -> int:
    """A number up to which all happened before a time, as far as times grow with the numbers."""
    low, high = 0, newest
    while low < high:
        middle = (low + high) // 2
        found = store.events(after=middle, limit=1)
        if found and datetime.fromisoformat(found[0][1]["time"]) < at:
            low = found[0][0]
        else:
            high = middle
    return low


def _wait() -> None:
    """Let some time pass, less where whoever reads the output has gone: then there is nothing to go on for."""
    if not hasattr(select, "poll"):  # Windows
        time.sleep(_POLL_SECONDS)
        return
    output = select.poll()
    output.register(sys.stdout.fileno(), 0)  # errors and the other end's leaving are always reported
    if output.poll(_POLL_SECONDS * 1000):
        raise BrokenPipeError(errno.EPIPE, "nobody reads the output any more")
