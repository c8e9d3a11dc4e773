"""`bouncekit why ADDRESS`: the whole history of a mailbox, whether mail to it is held back, and what comes next."""

from datetime import timedelta
from typing import TYPE_CHECKING

import click

from bouncekit.cli.cards import lang_option, page_width
from bouncekit.cli.output import show_json, show_line
from bouncekit.cli.settings import configured, duration, json_option, open_postmaster, policy_option, store_option

if TYPE_CHECKING:
    from bouncekit.history.timeline import History

__all__ = ["verb"]


@click.command()
@click.argument("address")
@click.option(
    "--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="At most so many moments."
)
@click.option("--since", callback=duration, metavar="DURATION", help="Only what happened so long ago at most: 30d.")
@click.option("--tenant", default="", metavar="NAME", help="Whose mail; a mailbox has a history with each tenant.")
@click.option("--stream", default="", metavar="NAME", help="Of which stream the mail in question is.")
@click.option("--class", "message_class", metavar="NAME", help="Of which class it is: some are held back by less.")
@lang_option
@policy_option
@store_option
@json_option("one JSON document: address, suppressed, suppression, waiting, next, advice, moments, events ...")
def verb(
    address: str,
    limit: int,
    since: timedelta | None,
    tenant: str,
    stream: str,
    message_class: str | None,
    lang: str,
    policy: str | None,
    store: str | None,
    as_json: bool,
) -> int:
    """Tell all that is known of ADDRESS: whether mail to it is held back, what comes next, what happened.

    \b
    bouncekit why bob@example.com --store sqlite:///bounces.db
    bouncekit why bob@example.com --since 7d --stream newsletter --lang hi

    Newest first. ADDRESS may be a pseudonym of the list, too. Needs a store. Exit code 1 when nothing is known of it.
    """
    from bouncekit.postmaster.recalling import tenants_that_know

    if not address.strip():
        raise click.UsageError("no address")
    with open_postmaster(configured(store=store, policy=policy), needs_store=True, makes_store=False) as postmaster:
        found = postmaster.history(
            address,
            tenant=tenant,
            stream=stream,
            message_class=message_class,
            since=None if since is None else postmaster.office.clock.now() - since,
            limit=limit,
            lang=lang,
        )
        tenants = () if as_json or found.is_known else tenants_that_know(postmaster.office, address)
    if as_json:
        told = [one.event.to_dict() for one in found.moments if one.event is not None]
        show_json({**found.to_dict(), "events": told})
    else:
        _show(found)
        if others := ", ".join(name or '""' for name in tenants if name != tenant):
            show_line(f"there is something of other tenants, to be seen with --tenant: {others}")
    return 0 if found.is_known else 1


def _show(found: "History") -> None:
    from bouncekit.cli.timelines import page

    width, by_cursor = page_width()
    for line in page(found, width, by_cursor=by_cursor):
        click.echo(line)
