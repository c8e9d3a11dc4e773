"""`bouncekit sinks`: how far the events have come to other systems, and what to do where they have not."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from bouncekit.cli.application import app_option, opened
from bouncekit.cli.output import show_json, show_line, show_table
from bouncekit.cli.settings import configured, duration, json_option, open_postmaster, show_help, store_option
from bouncekit.delivery.events import show_time
from bouncekit.desk.eventpages import first_behind, newest_number
from bouncekit.desk.forwarding import cursor_of, sink_of
from bouncekit.stores.cursors import Reading, is_stuck, reading
from bouncekit.words.errors import ConfigurationError
from bouncekit.words.measures import counted, show_minute, show_span

if TYPE_CHECKING:
    from bouncekit.postmaster.postmaster import Postmaster
    from bouncekit.stores import Store
    from bouncekit.stores.cursors import Cursor

__all__ = ["verb"]

_HEADS = ("sink", "", "unread", "since", "last sent", "failures", "next try", "error")


@click.group(invoke_without_command=True)
@click.pass_context
def verb(ctx: click.Context) -> None:
    """Look after the sinks: other systems that get every event of a store, at least once and in order.

    \b
    bouncekit sinks status
    bouncekit sinks replay crm --since 2h
    bouncekit sinks enable crm
    """
    show_help(ctx)


@verb.command()
@app_option
@store_option
@json_option("JSON lines, one for each sink")
def status(app: str | None, store: str | None, as_json: bool) -> int:
    """Show how far each sink has come, and what it failed at.

    Where it failed, also when it is tried again. Exit code 1 when one is stuck: parked, failing for ten minutes, or
    nobody sends what has waited for so long.
    """
    with _opened(app, store) as (postmaster, names):
        now = postmaster.office.clock.now()
        found: dict[str, Cursor | None] = dict.fromkeys(names)
        found |= {name: one for one in postmaster.office.store.cursors() if (name := sink_of(one.name)) is not None}
    if as_json:
        for name, one in found.items():
            show_json(_data(name, one, now))
    elif found:
        show_table(_HEADS, [_row(name, one, now) for name, one in found.items()])
    else:
        show_line("no sinks: write a table [sinks.NAME] into bouncekit.toml, or Postmaster(sinks=[...])")
    return 1 if any(is_stuck(one, now) for one in found.values()) else 0


@verb.command()
@click.argument("sink")
@click.option("--since", callback=duration, metavar="DURATION", help="What happened so long ago at most: 2h, 7d.")
@click.option("--from", "first", type=click.IntRange(min=1), metavar="SEQ", help="From the event of this number on.")
@app_option
@store_option
@json_option("one JSON document: sink, from, events")
def replay(
    sink: str, since: timedelta | None, first: int | None, app: str | None, store: str | None, as_json: bool
) -> int:
    """Have a sink get events again, with the same ids.

    \b
    bouncekit sinks replay crm --since 2h

    As far back as the store has them. Its process may run: it goes on from there. Exit code 1 when there is no such
    sink.
    """
    if (since is None) == (first is None):
        raise ConfigurationError("say from where: either --since 2h, or --from with the sequence of an event")
    with _opened(app, store) as (postmaster, _):
        kept, now = postmaster.office.store, postmaster.office.clock.now()
        one = _cursor(kept, sink)
        if one is None:
            return _say_none(kept, sink, as_json=as_json)
        if first is not None:
            place = first - 1
        else:
            assert since is not None
            place = min(first_behind(kept, now - since, newest_number(kept)), one.sequence)
        if place > one.sequence:
            raise ConfigurationError(
                f"sink {sink} is only at event {one.sequence}; bouncekit sinks enable {sink} --skip passes one over"
            )
        kept.place_cursor(one.name, place)
        after = _cursor(kept, sink)
        assert after is not None
    again = after.unread - one.unread
    if as_json:
        show_json({"sink": sink, "from": place + 1, "events": again})
    else:
        show_line(f"sink {sink} reads {counted(again, 'event')} again, from {place + 1} on")
    return 0


@verb.command()
@click.argument("sink")
@click.option("--skip", is_flag=True, help="Pass over the event at which it stands: it never gets that one.")
@app_option
@store_option
@json_option("one JSON document: sink, enabled, skipped")
def enable(sink: str, skip: bool, app: str | None, store: str | None, as_json: bool) -> int:
    """Try a sink again that is parked, or has failed, at once.

    \b
    bouncekit sinks enable crm

    All that waits for it is sent. Exit code 1 when there is no such sink.
    """
    with _opened(app, store) as (postmaster, _):
        kept = postmaster.office.store
        one = _cursor(kept, sink)
        if one is None:
            return _say_none(kept, sink, as_json=as_json)
        stands_at = kept.events(after=one.sequence, limit=1) if skip else ()
        skipped = stands_at[0][1]["id"] if stands_at else None
        kept.place_cursor(one.name, stands_at[0][0] if stands_at else None)
    if as_json:
        show_json({"sink": sink, "enabled": True, "skipped": skipped})
    else:
        show_line(f"sink {sink} is tried again" + (f"; event {skipped} is passed over" if skipped else ""))
    return 0


@verb.command()
@json_option("one JSON document: secret")
def secret(as_json: bool) -> None:
    """Print a fresh secret for a webhook.

    Put it where both sides find it, such as a variable of the environment.
    """
    from bouncekit.sinks.webhook import new_secret

    made = new_secret()
    if as_json:
        show_json({"secret": made})
    else:
        click.echo(made)


@contextmanager
def _opened(app: str | None, store: str | None) -> "Iterator[tuple[Postmaster, list[str]]]":
    """The postmaster, with the names of the sinks that it is to have."""
    if app is not None:
        with opened(app, policy=None, store=store) as postmaster:
            yield postmaster, [sink.name for sink in postmaster.forwarding.sinks]
        return
    config = configured(store=store)
    with open_postmaster(config, needs_store=True, makes_store=False, judges=False) as postmaster:
        yield postmaster, list(config.sinks)


def _cursor(store: "Store", sink: str) -> "Cursor | None":
    return next((one for one in store.cursors() if one.name == cursor_of(sink)), None)


def _say_none(store: "Store", sink: str, *, as_json: bool) -> int:
    known = ", ".join(name for one in store.cursors() if (name := sink_of(one.name))) or "none"
    if as_json:
        show_json({"sink": sink, "enabled": False})
    else:
        show_line(f"no sink {sink} has ever read here; there is {known}")
    return 1


def _row(name: str, one: "Cursor | None", now: datetime) -> tuple[object, ...]:
    stands = reading(one, now)
    if one is None:
        return name, stands.value, "", "", "never", "", "", "start bouncekit worker"
    trouble = one.trouble
    return (
        name,
        stands.value,
        f"{one.unread:,}",
        show_span(now - one.unread_since) if one.unread_since else "",
        f"{show_span(now - one.moved_at)} ago" if one.moved_at else "never",
        trouble.failures if trouble else "",
        show_minute(trouble.next_try_at) if trouble and trouble.next_try_at else "",
        trouble.error if trouble else "nobody sends: start bouncekit worker" if stands is Reading.BEHIND else "",
    )


def _data(name: str, one: "Cursor | None", now: datetime) -> dict[str, Any]:
    shown: dict[str, Any] = {"sink": name, "standing": reading(one, now).value, "stuck": is_stuck(one, now)}
    if one is None:
        return shown
    times = {"moved_at": one.moved_at, "unread_since": one.unread_since, "leased_until": one.leased_until}
    trouble = one.trouble
    if trouble is not None:
        times |= {"failing_since": trouble.since, "next_try_at": trouble.next_try_at}
        shown |= {"failures": trouble.failures, "error": trouble.error}
    shown |= {key: None if at is None else show_time(at) for key, at in times.items()}
    return {**shown, "sequence": one.sequence, "unread": one.unread}
