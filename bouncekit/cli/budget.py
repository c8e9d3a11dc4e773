"""`bouncekit budget`: which streams bring how many bounces and complaints, and letting one go on."""

import click

from bouncekit.cli.balances import HEADS, balance_data, rows
from bouncekit.cli.output import show_json, show_line, show_table
from bouncekit.cli.settings import (
    by_option,
    configured,
    json_option,
    open_postmaster,
    policy_option,
    show_help,
    store_option,
)
from bouncekit.policy.schedule import show_duration

__all__ = ["verb"]


@click.group(invoke_without_command=True)
@click.pass_context
def verb(ctx: click.Context) -> None:
    """Look how many bounces and complaints each stream brings, and let one go on.

    \b
    bouncekit budget list --store sqlite:///bounces.db
    bouncekit budget resume --stream news
    """
    show_help(ctx)


@verb.command("list")
@policy_option
@store_option
@json_option("JSON lines, one for each stream")
def list_(policy: str | None, store: str | None, as_json: bool) -> int:
    """Show what each stream has spent of its budget, and its level.

    Exit code 1 when a stream is slowed or stopped.
    """
    from bouncekit.desk.treasurer import HELD, balances

    with open_postmaster(configured(policy=policy, store=store), needs_store=True, makes_store=False) as postmaster:
        office = postmaster.office
        budget = office.policy.budget
        found = balances(office.store, budget, office.clock.now()).values()
    if as_json:
        for one in found:
            show_json(balance_data(one))
    elif found:
        show_table(HEADS, list(rows(found)))
    elif budget is None:
        show_line(f"policy {office.policy.name} has no budget, so nothing is counted")
    else:
        show_line(f"nothing was sent in {show_duration(budget.within)}")
    return int(any(one.level in HELD for one in found))


@verb.command(short_help="Let a stream go on that is warned, slowed or stopped.")
@click.option("--stream", default="", metavar="NAME", help="Which one; without it, mail that has no stream.")
@click.option("--tenant", default="", metavar="NAME", help="Whose.")
@by_option
@policy_option
@store_option
@json_option("one JSON document: resumed")
def resume(stream: str, tenant: str, by: str, policy: str | None, store: str | None, as_json: bool) -> int:
    """Let a stream go on that is warned, slowed or stopped, and begin its counts anew.

    What waits of it in the queue comes at the times that it was given, within an hour and a half, or at once by
    `bouncekit queue retry --all`.

    Exit code 1 when nothing held it.
    """
    with open_postmaster(configured(policy=policy, store=store), needs_store=True, makes_store=False) as postmaster:
        done = postmaster.resume(stream, tenant=tenant, by=by)
    if as_json:
        show_json({"resumed": done})
    elif done:
        show_line("it goes on, and its counts begin anew")
    else:
        show_line("nothing held it: bouncekit budget list")
    return 0 if done else 1
