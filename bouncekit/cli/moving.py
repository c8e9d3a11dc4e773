"""`bouncekit queue move`: what waits, taken to another store."""

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import click

from bouncekit.cli.output import progress, show_json, show_line
from bouncekit.cli.settings import (
    by_option,
    configured,
    confirmed,
    json_option,
    open_postmaster,
    policy_option,
    store_option,
)
from bouncekit.words.measures import counted

if TYPE_CHECKING:
    from bouncekit.desk.moving import Moved
    from bouncekit.desk.office import Office

__all__ = ["move"]

# What is said of those who were left, by why.
_LEFT = MappingProxyType(
    {
        "sending": "in the hands of a worker, if killed for up to a quarter of an hour: move again behind it",
        "abandoned": "begun by a worker that died: `bouncekit worker` or `queue run` with the old store settles them",
        "waiting": "came in meanwhile, cannot be read back, or wait for a worker since their application died",
        "elsewhere": "have half come from a third store: move from that one again",
        "undecided": "have half come, and this store does not know them: is it the one that they were in?",
    }
)


@click.command()
@click.option("--to", required=True, metavar="URL", help="The store in which they wait from then on.")
@click.option("--without-list", is_flag=True, help="Also where nobody stands on the suppression list there.")
@click.option("--dry-run", is_flag=True, help="Move nothing; count.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@by_option
@policy_option
@store_option
@json_option("one JSON document: moved, finished, left")
def move(
    to: str, without_list: bool, dry_run: bool, yes: bool, by: str, policy: str | None, store: str | None, as_json: bool
) -> int:
    """Move what waits to another store, as it waits.

    \b
    bouncekit queue move --to postgresql://shop@db/shop --dry-run
    bouncekit queue move --to postgresql://shop@db/shop --store sqlite:///bounces.db

    Times, attempts and deadlines come along. Nothing is lost, and nobody is sent to from both. Who is being sent to
    just now is left, and counted. Where it is interrupted or killed, do the same again: it goes on.

    Exit code 1 when somebody was left.
    """
    from bouncekit.desk.moving import movable

    config = configured(store=store, policy=policy)
    with open_postmaster(config, needs_store=True, makes_store=False) as here:
        done = movable(here.office)
        if not dry_run:
            if done.moved and not yes and not confirmed(f"Move {_people(done.moved)}?"):
                show_json(_data(done)) if as_json else show_line("nothing was moved")
                return 1
            with open_postmaster(config.with_options(store=to), needs_store=True) as there:
                done = _moved(here.office, there.office, by, total=done.moved, with_list=not without_list)
    show_json(_data(done)) if as_json else _show(done)
    return 0 if dry_run or not done.left else 1


def _moved(here: "Office", there: "Office", by: str, *, total: int, with_list: bool) -> "Moved":
    from bouncekit.desk.moving import Moved, move_all

    done = Moved()
    steps = move_all(here, there, done, by=by, with_list=with_list)
    for _ in progress(steps, "move", length=total, size=int):
        pass
    return done


def _people(number: int) -> str:
    return counted(number, "recipient")


def _show(done: "Moved") -> None:
    if done.dry_run:
        show_line(f"would be moved: {_people(done.moved)}")
    else:
        begun = f", {done.finished:,} of them begun by a run before" if done.finished else ""
        show_line(f"moved: {_people(done.moved)}{begun}")
    for why, number in sorted(done.left.items()):
        show_line(f"{number:,} left: {_LEFT[why]}")


def _data(done: "Moved") -> dict[str, Any]:
    return {"moved": done.moved, "finished": done.finished, "dry_run": done.dry_run, "left": dict(done.left)}
