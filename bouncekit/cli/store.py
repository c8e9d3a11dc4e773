"""`bouncekit store`: who reads the events of a store, and what it may forget."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from bouncekit.cli.output import progress, show_json, show_line, show_table
from bouncekit.cli.settings import configured, json_option, open_postmaster, policy_option, show_help, store_option
from bouncekit.delivery.events import show_time
from bouncekit.words.measures import counted, show_minute, show_span

if TYPE_CHECKING:
    from datetime import datetime

    from bouncekit.postmaster.postmaster import Postmaster
    from bouncekit.stores.cursors import Cursor

__all__ = ["verb"]

_ROWS = 5_000  # forgotten before the bar moves
_HEADS = ("subscriber", "unread", "since", "last read", "")


@click.group(invoke_without_command=True)
@click.pass_context
def verb(ctx: click.Context) -> None:
    """Look after the store: who reads its events, and what it may forget.

    \b
    bouncekit store subscribers --store sqlite:///bounces.db
    bouncekit store forget crm
    bouncekit store prune
    """
    show_help(ctx)


@verb.command("subscribers")
@store_option
@json_option("JSON lines, one for each subscriber")
def subscribers_(store: str | None, as_json: bool) -> None:
    """Show the durable subscribers, and what waits for each."""
    with _opened(store) as postmaster:
        now, found = postmaster.office.clock.now(), postmaster.office.store.cursors()
    if as_json:
        for one in found:
            show_json(_data(one))
    elif found:
        show_table(_HEADS, [_row(one, now) for one in found])
    else:
        show_line("no durable subscriber has ever read here")


@verb.command()
@click.argument("subscriber")
@store_option
@json_option("one JSON document: forgotten")
def forget(subscriber: str, store: str | None, as_json: bool) -> int:
    """Forget a durable subscriber that is gone for good.

    Events stay until every subscriber has read them. If it comes back, it begins with the oldest event that there is.
    Exit code 1 when there is none of that name, or its process reads right now.
    """
    with _opened(store) as postmaster:
        office = postmaster.office
        done = office.store.drop_cursor(subscriber, now=office.clock.now())
        known = [one.name for one in office.store.cursors()]
    if as_json:
        show_json({"forgotten": done})
    elif done:
        show_line(f"subscriber {subscriber} is forgotten")
    elif subscriber in known:
        show_line(f"subscriber {subscriber} reads right now: stop its process first, or wait a minute if it died")
    else:
        show_line(f"no subscriber {subscriber}; there is {', '.join(known) or 'none'}")
    return 0 if done else 1


@verb.command()
@policy_option
@store_option
@json_option("one JSON document: forgotten")
def prune(policy: str | None, store: str | None, as_json: bool) -> None:
    """Forget what the policy keeps no longer (`keep`). A worker does it once an hour; where none runs, cron may."""
    with _opened(store, policy) as postmaster:
        gone = sum(progress(_forgotten(postmaster), "prune"))
        keep, now = postmaster.policy.keep, postmaster.office.clock.now()
    if as_json:
        show_json({"forgotten": gone})
    else:
        since = "" if keep.events is None else f"; events of before {show_minute(keep.events_since(now))} are gone"
        show_line(f"{counted(gone, 'row')} forgotten{since}")


def _forgotten(postmaster: "Postmaster") -> Iterator[int]:
    """Batch by batch, so that others may write in between."""
    office, keep = postmaster.office, postmaster.policy.keep
    now = office.clock.now()
    while gone := office.store.prune(before=keep.events_since(now), now=now, limit=_ROWS):
        yield gone


def _opened(store: str | None, policy: str | None = None) -> "Postmaster":
    config = configured(store=store, policy=policy)
    return open_postmaster(config, needs_store=True, makes_store=False)


def _row(one: "Cursor", now: "datetime") -> tuple[object, ...]:
    since = show_span(now - one.unread_since) if one.unread_since else ""
    read = f"{show_span(now - one.moved_at)} ago" if one.moved_at else "never"
    is_reading = one.leased_until is not None and one.leased_until > now
    return one.name, f"{one.unread:,}", since, read, "reads now" if is_reading else ""


def _data(one: "Cursor") -> dict[str, Any]:
    times = {"moved_at": one.moved_at, "unread_since": one.unread_since, "leased_until": one.leased_until}
    shown = {name: None if at is None else show_time(at) for name, at in times.items()}
    return {"subscriber": one.name, "sequence": one.sequence, "unread": one.unread, **shown}
