"""`bouncekit events`: what happened, in the order in which the store remembered it, and on as it happens."""

import errno
import json
import select
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING

import click

from bouncekit.cli.eventquery import event_line, query
from bouncekit.cli.output import progress
from bouncekit.cli.settings import (
    configured,
    json_option,
    moment,
    open_postmaster,
    refuse_before,
    store_option,
    time_of,
)
from bouncekit.delivery.events import EventType, Told
from bouncekit.desk.eventpages import backwards, first_since, forwards, newest_number
from bouncekit.words.address import parse_address, suppression_key

if TYPE_CHECKING:
    from bouncekit.stores import Store

__all__ = ["verb"]

_PAGE = 1000  # events printed at once
_FOLLOWED = 20  # that --follow shows first
_POLL_SECONDS = 0.5
_MOST_HISTORY = 100_000  # events about one mailbox


@click.group(invoke_without_command=True)
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
@click.option(
    "--since", callback=moment, metavar="TIME", help="From then on: 2026-01-31, 2026-01-31T12:00Z, or 2h for ago."
)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the newest so many.")
@store_option
@json_option("JSON lines: the events as CloudEvents")
@click.pass_context
def verb(
    ctx: click.Context,
    follow: bool,
    types: tuple[str, ...],
    recipient: str | None,
    tenant: str | None,
    since: datetime | timedelta | None,
    limit: int | None,
    store: str | None,
    as_json: bool,
) -> None:
    """Show what happened, a line each, oldest first. Needs a store.

    \b
    bouncekit events --since 2h --type failed --type suppression_added
    bouncekit events --follow --json | jq .subject
    bouncekit events query --provider gmail --code 5xx --by rule
    """
    if ctx.invoked_subcommand is not None:
        refuse_before(ctx)
        return
    if follow and limit is None and since is None:
        limit = _FOLLOWED
    show = json.dumps if as_json else event_line
    key = None if recipient is None else suppression_key(parse_address(recipient).wire)
    with open_postmaster(configured(store=store), needs_store=True, makes_store=False, judges=False) as postmaster:
        kept, now = postmaster.office.store, postmaster.office.clock.now()
        tenant = "" if key and tenant is None else tenant  # a history is a tenant's
        asked = _Asked(frozenset(types), key, tenant, time_of(since, now))
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
        return 0 if self.since is None else first_since(store, self.since, last)


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


def _wait() -> None:
    """Let some time pass, less where whoever reads the output has gone: then there is nothing to go on for."""
    if not hasattr(select, "poll"):  # Windows
        time.sleep(_POLL_SECONDS)
        return
    output = select.poll()
    output.register(sys.stdout.fileno(), 0)  # errors and the other end's leaving are always reported
    if output.poll(_POLL_SECONDS * 1000):
        raise BrokenPipeError(errno.EPIPE, "nobody reads the output any more")


verb.add_command(query)
