"""`bouncekit why ADDRESS`: everything that happened to an address, and whether mail to it is held back."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from bouncekit.cli.output import show_json, show_line, show_minute, show_table
from bouncekit.cli.settings import configured, json_option, open_postmaster, store_option
from bouncekit.cli.telling import rule, said, second
from bouncekit.events import suppression_data
from bouncekit.suppression import Standing

if TYPE_CHECKING:
    from bouncekit.suppression import Suppression

__all__ = ["verb"]


@click.command()
@click.argument("address")
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="At most so many events.")
@store_option
@json_option("one JSON document: address, suppressed, suppression, events")
def verb(address: str, limit: int, store: str | None, as_json: bool) -> int:
    """Tell what happened to ADDRESS, newest first, and whether mail to it is held back, until when and why.

    \b
    bouncekit why bob@example.com --store sqlite:///bounces.db

    Needs a store. Exit code 1 when nothing is known about the address.
    """
    if not address.strip():
        raise click.UsageError("no address")
    with open_postmaster(configured(store=store), needs_store=True, makes_store=False) as postmaster:
        standing = postmaster.suppressions.get(address)
        is_held_back = address in postmaster.suppressions
        events = list(postmaster.why(address, limit=limit))
    if as_json:
        shown = suppression_data(standing) if standing else None
        show_json({"address": address, "suppressed": is_held_back, "suppression": shown, "events": events})
    else:
        show_line(_verdict(address, standing, is_held_back=is_held_back, has_events=bool(events)))
        if events:
            show_line()
            show_table(("time", "event", "what was said", "rule"), map(_row, events))
    return 0 if events or standing else 1


def _verdict(address: str, standing: "Suppression | None", *, is_held_back: bool, has_events: bool) -> str:
    """One sentence for somebody who asks whether mail goes out."""
    if standing is None:
        return f"{address}: mail goes out" if has_events else f"{address}: nothing is known about it"
    why = f"{standing.category}, {standing.standing}, by {standing.by}"
    until = f"until {show_minute(standing.expires_at)}" if standing.expires_at else "for good"
    if standing.standing is Standing.HELD:
        return f"{address}: mail goes out; a mass of equal refusals made the verdict on it doubtful ({why})"
    if is_held_back:
        return f"{address}: mail is held back {until} ({why})"
    return f"{address}: mail goes out again; it was held back {until} ({why})"


def _row(event: Mapping[str, Any]) -> tuple[object, ...]:
    data: Mapping[str, Any] = event.get("data") or {}
    return second(event.get("time")), event.get("type"), said(data), rule(data)
