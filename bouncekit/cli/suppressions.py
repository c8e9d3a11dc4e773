"""`bouncekit suppressions`: the suppression list in the owner's hands."""

from datetime import timedelta
from typing import TYPE_CHECKING

import click

from bouncekit.cli.listchanges import show, undo
from bouncekit.cli.listfiles import check, export, import_
from bouncekit.cli.output import show_json, show_line, show_minute, show_table
from bouncekit.cli.settings import (
    by_option,
    configured,
    duration,
    json_option,
    open_postmaster,
    show_help,
    store_option,
)
from bouncekit.delivery.events import suppression_data
from bouncekit.meaning.classification import Category

if TYPE_CHECKING:
    from bouncekit.policy.suppression import Suppression
    from bouncekit.postmaster.postmaster import Postmaster

__all__ = ["verb"]

_HEADS = ("address", "standing", "category", "until", "by", "why")  # what 80 columns have room for; JSON has more


@click.group(invoke_without_command=True)
@click.pass_context
def verb(ctx: click.Context) -> None:
    """Look at the suppression list, change it, bring one along, take changes back. Needs a store.

    \b
    bouncekit suppressions list --store sqlite:///bounces.db
    bouncekit suppressions add bob@example.com --reason "asked us to" --for 90d
    bouncekit suppressions show bob@example.com
    """
    show_help(ctx)


@verb.command("list")
@click.option("--containing", metavar="TEXT", help="Only addresses with this text in them.")
@click.option("--binding", is_flag=True, help="Only those that hold mail back now.")
@store_option
@json_option("JSON lines, one for each suppression")
def list_(containing: str | None, binding: bool, store: str | None, as_json: bool) -> None:
    """Show the suppressions, in the order of their keys."""
    with _opened(store, makes_store=False) as postmaster:
        found = list(postmaster.suppressions.find(containing=containing, binding=binding))
        if as_json:
            for one in found:
                show_json(suppression_data(one))
        elif found:
            show_table(_HEADS, map(_row, found))
        else:
            show_line("no such suppression" if containing or binding else "nobody is suppressed")


@verb.command()
@click.argument("address")
@click.option("--reason", default="", help="Kept with it, for whoever asks why.")
@click.option("--for", "lasts", callback=duration, metavar="DURATION", help="How long, such as 30d; else for good.")
@click.option(
    "--category",
    type=click.Choice([category.value for category in Category]),
    default=Category.RECIPIENT_FILTERED.value,
    show_default=True,
    metavar="NAME",
)
@by_option
@store_option
@json_option("one JSON document")
def add(
    address: str, reason: str, lasts: timedelta | None, category: str, by: str, store: str | None, as_json: bool
) -> None:
    """Suppress ADDRESS by hand. No success lifts it, only its end or `remove`."""
    with _opened(store) as postmaster:
        added = postmaster.suppressions.add(address, reason=reason, lasts=lasts, category=Category(category), by=by)
    if as_json:
        show_json(suppression_data(added))
    else:
        show_line(f"{added.address} is suppressed {_until(added)}")


@verb.command()
@click.argument("address")
@by_option
@store_option
@json_option("one JSON document: the suppression that was removed, or null")
def remove(address: str, by: str, store: str | None, as_json: bool) -> int:
    """Lift the suppression of ADDRESS. Exit code 1 when there was none."""
    with _opened(store, makes_store=False) as postmaster:
        lifted = postmaster.suppressions.lift(address, by=by)
    if as_json:
        show_json(suppression_data(lifted) if lifted else None)
    elif lifted is None:
        show_line(f"{address} is not suppressed")
    else:
        show_line(f"{lifted.address or address} is no longer suppressed")
    return 0 if lifted else 1


for _one in (show, import_, export, check, undo):
    verb.add_command(_one)


def _opened(store: str | None, *, makes_store: bool = True) -> "Postmaster":
    return open_postmaster(configured(store=store), needs_store=True, makes_store=makes_store)


def _row(one: "Suppression") -> tuple[object, ...]:
    until = show_minute(one.expires_at)
    address = one.address or f"({one.key})"
    return address, one.standing.value, one.category.value, until, one.by, one.evidence.reply


def _until(one: "Suppression") -> str:
    return f"until {show_minute(one.expires_at)}" if one.expires_at else "for good"
