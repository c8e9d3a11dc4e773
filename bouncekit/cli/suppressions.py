"""`bouncekit suppressions`: the suppression list in the owner's hands."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from bouncekit.cli.listchanges import show, undo
from bouncekit.cli.listfiles import check, export, import_
from bouncekit.cli.output import show_json, show_line, show_table
from bouncekit.cli.settings import (
    all_tenants_option,
    by_option,
    configured,
    duration,
    json_option,
    open_postmaster,
    show_help,
    store_option,
    stream_option,
    tenant_option,
    tenant_or_all,
)
from bouncekit.delivery.events import suppression_data
from bouncekit.meaning.classification import Category
from bouncekit.words.measures import show_minute

if TYPE_CHECKING:
    from bouncekit.policy.suppression import Suppression
    from bouncekit.postmaster.postmaster import Postmaster

__all__ = ["verb"]

_HEADS = ("address", "standing", "category", "until", "by", "why")  # what 80 columns have room for; JSON has more
_OWNERS = ("tenant", "stream")  # shown where an entry has one


@click.group(invoke_without_command=True)
@click.pass_context
def verb(ctx: click.Context) -> None:
    """Look at the suppression list, change it, bring one along, take changes back. Needs a store.

    \b
    bouncekit suppressions list --store sqlite:///bounces.db
    bouncekit suppressions add bob@example.com --reason "asked us to" --for 90d
    bouncekit suppressions add bob@example.com --reason "unsubscribed" --stream news
    bouncekit suppressions show bob@example.com
    """
    show_help(ctx)


@verb.command("list")
@click.option("--containing", metavar="TEXT", help="Only addresses with this text in them.")
@click.option("--binding", is_flag=True, help="Only those that hold mail back now.")
@tenant_option
@all_tenants_option
@click.option("--stream", metavar="NAME", help="Only of this stream; else of all.")
@store_option
@json_option("JSON lines, one for each suppression")
def list_(
    containing: str | None,
    binding: bool,
    tenant: str,
    every: bool,
    stream: str | None,
    store: str | None,
    as_json: bool,
) -> None:
    """Show the suppressions, in the order of their keys."""
    whose = tenant_or_all(tenant, every=every)
    with _opened(store, makes_store=False, judges=False) as postmaster:
        meant = postmaster.suppressions.find(tenant=whose, stream=stream, containing=containing, binding=binding)
        found = list(meant)
        if as_json:
            for one in found:
                show_json(suppression_data(one))
        elif found:
            owners = [name for name in _OWNERS if any(getattr(one, name) for one in found)]
            show_table((_HEADS[0], *owners, *_HEADS[1:]), (_row(one, owners) for one in found))
        else:
            show_line("no such suppression" if containing or binding or stream else "nobody is suppressed")


@verb.command()
@click.argument("address")
@click.option("--reason", default="", help="Kept with it, for whoever asks why.")
@click.option("--for", "lasts", callback=duration, metavar="DURATION", help="How long, such as 30d; else for good.")
@click.option(
    "--category",
    type=click.Choice([category.value for category in Category]),
    default=Category.RECIPIENT_FILTERED.value,
    show_default="recipient_filtered: the recipient asked for it",
    metavar="NAME",
    help="Why, by the name of a category.",
)
@tenant_option
@stream_option
@by_option
@store_option
@json_option("one JSON document")
def add(address: str, category: str, store: str | None, as_json: bool, **said: Any) -> None:
    """Suppress ADDRESS by hand. No success lifts it, only its end or `remove`.

    With --stream mail of this stream is held back, and all other mail goes out.
    """
    with _opened(store) as postmaster:
        added = postmaster.suppressions.add(address, category=Category(category), **said)
    if as_json:
        show_json(suppression_data(added))
    else:
        where = f" in stream {added.stream}" if added.stream else ""
        show_line(f"{added.address} is suppressed{where} {_until(added)}")


@verb.command()
@click.argument("address")
@tenant_option
@stream_option
@by_option
@store_option
@json_option("one JSON document: the suppression that was removed, or null")
def remove(address: str, tenant: str, stream: str, by: str, store: str | None, as_json: bool) -> int:
    """Lift the suppression of ADDRESS. Exit code 1 when there was none."""
    with _opened(store, makes_store=False) as postmaster:
        lifted = postmaster.suppressions.lift(address, by=by, tenant=tenant, stream=stream)
        others = () if lifted else _streams(postmaster, address, tenant)
    if as_json:
        show_json(suppression_data(lifted) if lifted else None)
    elif lifted is None:
        where = f" there; in others: --stream {', '.join(others)}" if others else ""
        show_line(f"{address} is not suppressed{where}")
    else:
        show_line(f"{lifted.address or address} is no longer suppressed")
    return 0 if lifted else 1


for _one in (show, import_, export, check, undo):
    verb.add_command(_one)


def _opened(store: str | None, *, makes_store: bool = True, judges: bool = True) -> "Postmaster":
    return open_postmaster(configured(store=store), needs_store=True, makes_store=makes_store, judges=judges)


def _streams(postmaster: "Postmaster", address: str, tenant: str) -> tuple[str, ...]:
    """The streams of which alone mail to an address is held back."""
    found = postmaster.suppressions.find(tenant=tenant, containing=address)
    return tuple(one.stream for one in found if one.stream and one.address == address)


def _row(one: "Suppression", owners: Sequence[str]) -> tuple[object, ...]:
    until = show_minute(one.expires_at)
    address, whose = one.address or f"({one.key})", (getattr(one, name) for name in owners)
    return address, *whose, one.standing.value, one.category.value, until, one.by, one.evidence.reply


def _until(one: "Suppression") -> str:
    return f"until {show_minute(one.expires_at)}" if one.expires_at else "for good"
