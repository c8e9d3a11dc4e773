"""`bouncekit suppressions show` and `undo`: what changed on the list, and taking it back."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from bouncekit.cli.blamed import blame_options
from bouncekit.cli.output import show_json, show_line, show_table
from bouncekit.cli.settings import (
    by_option,
    configured,
    confirmed,
    json_option,
    open_postmaster,
    store_option,
    tenant_option,
    time_of,
)
from bouncekit.delivery.events import show_time, suppression_data
from bouncekit.history.telling import second
from bouncekit.words.measures import show_minute

if TYPE_CHECKING:
    from bouncekit.delivery.suppressionchange import Change
    from bouncekit.desk.undoing import Undone
    from bouncekit.policy.suppression import Suppression

__all__ = ["show", "undo"]


@click.command()
@click.argument("address")
@tenant_option
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="At most so many.")
@store_option
@json_option("JSON lines, one for each change, newest first")
def show(address: str, tenant: str, limit: int, store: str | None, as_json: bool) -> int:
    """Show who put ADDRESS on the list or lifted it.

    Newest first: the person or the rule, when, and on what evidence.

    Exit code 1 when nothing ever did.
    """
    with open_postmaster(configured(store=store), needs_store=True, makes_store=False, judges=False) as postmaster:
        changes = list(postmaster.suppressions.changes(address, tenant=tenant, limit=limit))
    if as_json:
        for change in changes:
            show_json(_change_data(change))
    elif changes:
        show_table(("time", "act", "by", "before", "since", "evidence"), map(_row, changes))
    else:
        show_line(f"{address} was never on the list")
    return 0 if changes else 1


@click.command()
@click.option("--made-by", metavar="NAME", help="By whom, as `show` says it: `guard`, `import ses list.csv`, a person.")
@blame_options
@click.option("--dry-run", is_flag=True, help="Change nothing; count.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@by_option
@store_option
@json_option("one JSON document: lifted, restored, left, by")
def undo(
    since: datetime | timedelta | None,
    until: datetime | timedelta | None,
    dry_run: bool,
    yes: bool,
    by: str,
    store: str | None,
    as_json: bool,
    **meant: Any,
) -> int:
    """Take back what a rule, an import or a bad hour did.

    \b
    bouncekit suppressions undo --rule no-such-mailbox --since 2h --dry-run
    bouncekit suppressions undo --made-by "import ses ses.json"

    What stood there before stands there again.

    All that is given must hold. Whom something else has changed since is left alone, and so is what a hand did, unless
    --made-by names it. What is undone can be undone. Exit code 1 when there was nothing to undo.
    """
    with open_postmaster(configured(store=store), needs_store=True, makes_store=False) as postmaster:
        now = postmaster.office.clock.now()
        meant |= {"since": time_of(since, now), "until": time_of(until, now)}
        suppressions = postmaster.suppressions
        done = suppressions.undo(**meant, by=by, dry_run=True)
        number = done.lifted + done.restored
        if not dry_run and number and (yes or confirmed(f"{_counted(done)}. Do it?")):
            done = suppressions.undo(**meant, by=by)
    show_json(_data(done)) if as_json else _show(done, asked=number)
    return 0 if number and (dry_run or not done.dry_run) else 1


def _counted(done: "Undone") -> str:
    return f"{done.lifted:,} lifted, {done.restored:,} as they were before, {done.left:,} changed since and left alone"


def _show(done: "Undone", *, asked: int) -> None:
    show_line(f"would be: {_counted(done)}" if done.dry_run else _counted(done))
    if not done.dry_run and asked:
        show_line(f"to take it back: bouncekit suppressions undo --made-by {done.by!r}")


def _data(done: "Undone") -> dict[str, Any]:
    return {
        "by": done.by,
        "dry_run": done.dry_run,
        "lifted": done.lifted,
        "restored": done.restored,
        "left": done.left,
    }


def _row(change: "Change") -> tuple[object, ...]:
    evidence = change.entry.evidence.reply
    return second(show_time(change.at)), change.act, change.by, _state(change.before), _state(change.after), evidence


def _state(one: "Suppression | None") -> str | None:
    if one is None:
        return None
    return f"{one.category}, {one.standing}, {show_minute(one.expires_at)}" + (f", {one.stream}" if one.stream else "")


def _change_data(change: "Change") -> dict[str, Any]:
    return {
        "sequence": change.sequence,
        "at": show_time(change.at),
        "act": change.act,
        "by": change.by,
        "event_id": change.event_id,
        "before": change.before and suppression_data(change.before),
        "after": change.after and suppression_data(change.after),
    }
