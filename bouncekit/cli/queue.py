"""`bouncekit queue`: the mail that waits in the store, in the owner's hands."""

from collections.abc import Callable, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

import click

from bouncekit.cli.application import app_option, opened
from bouncekit.cli.lanes import lines
from bouncekit.cli.moving import move
from bouncekit.cli.output import progress, show_json, show_line, show_table
from bouncekit.cli.queued import (
    KEPT_HEADS,
    LIST_HEADS,
    SHOW_HEADS,
    facts,
    first_headers,
    kept_data,
    kept_rows,
    last_words,
    list_rows,
    show_row,
)
from bouncekit.cli.resending import resend
from bouncekit.cli.settings import (
    by_option,
    configured,
    confirmed,
    json_option,
    open_postmaster,
    policy_option,
    show_help,
    store_option,
)
from bouncekit.cli.waiting import depth_data, in_words, queued_data
from bouncekit.desk.waiting import Choice, Shown, make_due, messages_like, take_out
from bouncekit.words.measures import counted, show_minute

if TYPE_CHECKING:
    from bouncekit.delivery.queue import Kept
    from bouncekit.desk.office import Office
    from bouncekit.desk.waiting import Chosen
    from bouncekit.postmaster.postmaster import Postmaster

__all__ = ["verb"]

_ROWS = 100  # of a table, where nobody says how many

Function = TypeVar("Function", bound=Callable[..., Any])


def _filters(function: Function) -> Function:
    """The options that say which recipients are meant."""
    states = click.Choice([state.value for state in Shown])
    for option in (
        click.option("--containing", metavar="TEXT", help="Only with this in recipient, sender or Message-ID."),
        click.option("--state", type=states, help="Only those that wait for this."),
        click.option("--tenant", metavar="NAME", help="Only of this tenant."),
        click.option("--relay", metavar="NAME", help="Only what goes through this relay."),
    ):
        function = option(function)
    return function


@click.group(invoke_without_command=True)
@click.pass_context
def verb(ctx: click.Context) -> None:
    """Look at the mail that waits, try it now, drop it, send it again, move it. Needs a store.

    \b
    bouncekit queue list --state due
    bouncekit queue show 01a2
    bouncekit queue retry --all --relay main
    """
    show_help(ctx)


@verb.command("list")
@_filters
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help=f"At most so many; a table shows {_ROWS}.")
@click.option("--kept", is_flag=True, help="The messages for which nobody waits any more, and that a policy keeps.")
@store_option
@json_option("JSON lines, one for each recipient; with --kept for each message")
def list_(limit: int | None, kept: bool, store: str | None, as_json: bool, **filters: str | None) -> None:
    """Show who waits, in the order in which the messages came."""
    if kept and any(filters.values()):
        raise click.UsageError("--kept shows messages for which nobody waits: the filters are about recipients who do")
    with _opened(store, judges=False) as postmaster:
        if kept:
            _list_kept(postmaster.office, limit, as_json=as_json)
            return
        office, choice = postmaster.office, _choice(**filters)
        now = office.clock.now()
        if as_json:
            for one in islice(choice.find(office), limit):
                show_json(queued_data(one, now))
            return
        show_line(in_words(depth := office.store.depth(now), now))
        if office.store.arriving(limit=1):
            show_line("and some have half come from another store: `bouncekit queue move` there, again, lets them in")
        for line in lines(office.gate.states(), now):
            show_line(line)
        rows = list(islice(choice.find(office), (limit or _ROWS) + 1))
    shown, has_more = rows[: limit or _ROWS], len(rows) > (limit or _ROWS)
    if shown:
        show_line()
        show_table(LIST_HEADS, list_rows(shown, now))
    elif depth.due or depth.waiting or depth.held or depth.leased:
        show_line("nobody is waiting there")
    if has_more:
        show_line("and more: --limit N shows so many, --json all")


@verb.command()
@click.argument("message")
@store_option
@json_option("one JSON document, or null")
def show(message: str, store: str | None, as_json: bool) -> int:
    """Show a message and what was last said to each of its recipients.

    The beginning of its id is enough; also of one that is kept. Exit code 1 when there is no such message.
    """
    with _opened(store, judges=False) as postmaster:
        office = postmaster.office
        id_ = _message(office, message)
        if id_ is None and (kept := _kept_like(office, message)):
            return _show_kept(office, kept, as_json=as_json)
        delivery = None if id_ is None else office.store.queued_message(id_)
        rows = [] if id_ is None else list(Choice(message=id_).find(office))
        if delivery is None or not rows:
            return _unknown(message, as_json=as_json, shown=None)
        last = last_words(office, delivery)
        now = office.clock.now()
    headers = first_headers(delivery.envelope.content)
    if as_json:
        recipients = [queued_data(row, now) | {"last": last.get(row.recipient)} for row in rows]
        show_json({"message": id_, "headers": headers, "recipients": recipients})
        return 0
    show_table(("", ""), facts(rows[0]))
    show_line()
    for line in headers:
        show_line(f"  {line}")
    show_line()
    show_table(SHOW_HEADS, (show_row(row, last.get(row.recipient), now) for row in rows))
    return 0


@verb.command()
@click.argument("message", required=False)
@click.argument("recipient", required=False)
@click.option("--all", "every", is_flag=True, help="Every message; the filters below narrow it.")
@_filters
@store_option
@json_option("one JSON document: requeued, left")
def retry(
    message: str | None, recipient: str | None, every: bool, store: str | None, as_json: bool, **filters: str | None
) -> int:
    """Make a message, or one recipient of it, due now; also what is held.

    Whom somebody is sending to right now is left alone. Exit code 1 when there is nobody to try.
    """
    _check(message, every=every, filters=filters)
    with _opened(store) as postmaster:
        office = postmaster.office
        choice = _chosen(office, message, recipient, filters)
        if choice is None:
            return _unknown(message or "", as_json=as_json, shown={"requeued": 0, "left": 0})
        asked = done = 0
        for chosen in progress(choice.by_message(office), "retry"):
            asked += len(chosen.rows)
            done += make_due(office, chosen)
    if as_json:
        show_json({"requeued": done, "left": asked - done})
    else:
        _tell(f"{_are(done)} due now: a worker tries {'it' if done == 1 else 'them'}", done, asked - done)
    return 0 if done else 1


@verb.command()
@click.argument("message", required=False)
@click.argument("recipient", required=False)
@click.option("--all", "every", is_flag=True, help="Every message; the filters below narrow it.")
@_filters
@click.option("--yes", is_flag=True, help="Do not ask.")
@by_option
@store_option
@json_option("one JSON document: dropped, left")
def drop(
    message: str | None,
    recipient: str | None,
    every: bool,
    yes: bool,
    by: str,
    store: str | None,
    as_json: bool,
    **filters: str | None,
) -> int:
    """Take a message, or one recipient of it, out of the queue for good.

    They count as failed; `bouncekit why` tells by whom. Exit code 1 when nobody was dropped.
    """
    _check(message, every=every, filters=filters)
    with _opened(store) as postmaster:
        office = postmaster.office
        choice = _chosen(office, message, recipient, filters)
        if choice is None:
            return _unknown(message or "", as_json=as_json, shown={"dropped": 0, "left": 0})
        asked = sum(1 for _ in choice.find(office))
        if asked and not yes and not _confirmed(asked, choice):
            show_json({"dropped": 0, "left": asked}) if as_json else show_line("nothing was dropped")
            return 1
        done = 0
        for chosen in progress(choice.by_message(office), "drop", length=asked, size=_number):
            done += take_out(office, chosen, by)
    if as_json:
        show_json({"dropped": done, "left": max(asked - done, 0)})
    else:
        _tell(f"{_are(done)} dropped", done, asked - done)
    return 0 if done else 1


@verb.command("run")
@app_option
@policy_option
@store_option
@json_option("one JSON document: tried, waits")
def run_(app: str | None, policy: str | None, store: str | None, as_json: bool) -> int:
    """Send what is due now, then end: for cron or a systemd timer.

    The relays are those of the application's postmaster (--app package.module:postmaster), else of the configuration.
    """
    with opened(app, policy=policy, store=store) as postmaster:
        tried = postmaster.worker().run_due()
        now = postmaster.office.clock.now()
        depth = postmaster.office.store.depth(now)
    if as_json:
        show_json({"tried": tried, "waits": depth_data(depth)})
    else:
        show_line(f"{tried} message{'' if tried == 1 else 's'} tried; {in_words(depth, now)}")
    return 0


verb.add_command(move)
verb.add_command(resend)


def _opened(store: str | None, *, judges: bool = True) -> "Postmaster":
    return open_postmaster(configured(store=store), needs_store=True, makes_store=False, judges=judges)


def _choice(state: str | None = None, **filters: str | None) -> Choice:
    return Choice(state=None if state is None else Shown(state), **filters)


def _check(message: str | None, *, every: bool, filters: Mapping[str, str | None]) -> None:
    """Either a message is named or --all; filters narrow --all only."""
    if every is (message is not None):
        raise click.UsageError("name a message (`bouncekit queue list` has them), or give --all")
    if not every and (given := [name for name, value in filters.items() if value is not None]):
        raise click.UsageError(f"--{given[0]} narrows --all; a message is named by the beginning of its id")


def _chosen(
    office: "Office", message: str | None, recipient: str | None, filters: Mapping[str, str | None]
) -> Choice | None:
    """Whom somebody means; None where no such message waits."""
    if message is None:
        return _choice(**filters)
    id_ = _message(office, message)
    return None if id_ is None else Choice(message=id_, recipient=recipient)


def _message(office: "Office", prefix: str) -> str | None:
    """The id that begins so; None where no message's does."""
    if not prefix:
        raise click.UsageError("an empty message id; `bouncekit queue list` has them")
    found = messages_like(office, prefix)
    if len(found) > 1:
        raise click.UsageError(f"{prefix!r} is the beginning of several messages: {found[0]}, {found[1]} ...")
    return found[0] if found else None


def _kept_like(office: "Office", prefix: str) -> "Kept | None":
    """The message that is kept and whose id begins so."""
    found = list(office.store.kept(beginning=prefix, limit=2))
    if len(found) > 1:
        raise click.UsageError(f"{prefix!r} is the beginning of several messages: {found[0].message} ...")
    return found[0] if found else None


def _list_kept(office: "Office", limit: int | None, *, as_json: bool) -> None:
    if as_json:
        for one in office.store.kept(limit=limit):
            show_json(kept_data(one))
        return
    shown = list(office.store.kept(limit=limit or _ROWS))
    show_table(KEPT_HEADS, kept_rows(shown)) if shown else show_line("no message is kept")


def _show_kept(office: "Office", kept: "Kept", *, as_json: bool) -> int:
    delivery = office.store.queued_message(kept.message)
    headers = first_headers(delivery.envelope.content) if delivery else []
    if as_json:
        show_json(kept_data(kept) | {"headers": headers, "recipients": []})
        return 0
    show_table(("", ""), [*facts(kept), ("kept until", show_minute(kept.kept_until))])
    show_line()
    for line in headers:
        show_line(f"  {line}")
    show_line()
    show_line("nobody waits for it any more; `bouncekit why ADDRESS` tells what became of its recipients")
    show_line(f"to whom it failed it goes once more with: bouncekit queue resend {kept.message}")
    return 0


def _unknown(message: str, *, as_json: bool, shown: Mapping[str, int] | None) -> int:
    if as_json:
        show_json(shown)
    else:
        show_line(f"no message {message} waits; `bouncekit why ADDRESS` tells what became of its recipients")
    return 1


def _confirmed(number: int, choice: Choice) -> bool:
    """Whether somebody says yes, on standard error."""
    of = f" of the message {choice.message}" if choice.message else ""
    return confirmed(f"Drop {counted(number, 'recipient')}{of}?")


def _number(chosen: "Chosen") -> int:
    return len(chosen.rows)


def _are(number: int) -> str:
    return f"{counted(number, 'recipient')} {'is' if number == 1 else 'are'}"


def _tell(what: str, done: int, left: int) -> None:
    """What was done, and who was left alone."""
    if done or left <= 0:
        show_line(what if done else "nobody is waiting there")
    if left > 0:
        show_line(f"{left:,} left alone: settled meanwhile, or with a worker, if killed for up to a quarter of an hour")
