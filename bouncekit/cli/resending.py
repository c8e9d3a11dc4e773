"""`bouncekit queue resend`: what was refused for good, once more, as far as the store still has it."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from types import MappingProxyType
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
    policy_option,
    store_option,
    time_of,
)
from bouncekit.delivery.events import settlement_data
from bouncekit.desk.waiting import messages_like
from bouncekit.history.telling import said
from bouncekit.words.errors import ConfigurationError
from bouncekit.words.measures import counted

if TYPE_CHECKING:
    from bouncekit.delivery.events import Event
    from bouncekit.desk.office import Office
    from bouncekit.desk.resending import Resent

__all__ = ["resend"]

# What is said of those who were left alone, by what is in the way.
_LEFT = MappingProxyType(
    {
        "doubtful": "may have it: --unknown sends it to them too, marked as a possible duplicate",
        "arrived": "have it",
        "unsettled": "wait for it, or a hand took them out of the queue",
        "repeated": "were sent it again before",
        "not_kept": "cannot be: the message is not kept, as `keep: {messages: 7d}` in the policy keeps what is queued",
        "nameless": "are known by a pseudonym: name the address with --recipient",
        "unreadable": "cannot be: the message cannot be read back",
    }
)


@click.command()
@click.argument("message", required=False)
@click.option("--recipient", metavar="ADDRESS", help="Only to this mailbox, however it is written.")
@blame_options
@click.option("--unknown", is_flag=True, help="Also to whom it may have arrived; marked as a possible duplicate.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="To at most so many recipients.")
@click.option("--dry-run", is_flag=True, help="Send nothing; count, and show some.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@by_option
@policy_option
@store_option
@json_option("one JSON document: queued, possible_duplicates, suppressed, left, has_more, examples")
def resend(
    message: str | None,
    since: datetime | timedelta | None,
    until: datetime | timedelta | None,
    dry_run: bool,
    yes: bool,
    by: str,
    policy: str | None,
    store: str | None,
    as_json: bool,
    **wanted: Any,
) -> int:
    """Queue what was refused for good again, where it is kept.

    \b
    bouncekit queue resend --fingerprint 2c07a0e1ddb24568 --dry-run
    bouncekit queue resend --provider gmail --since 3h
    bouncekit queue resend 01a2 --recipient bob@example.com

    It goes to those to whom it failed, or who were suppressed; never to anybody who has it, and to each of them once,
    however often this is done. All that is given must hold. Each is a message of his own with the same Message-ID, and
    has until its deadline from now on; who is suppressed when it is his turn is skipped.

    Exit code 1 when there was nobody to send to.
    """
    with open_postmaster(configured(store=store, policy=policy), needs_store=True, makes_store=False) as postmaster:
        office = postmaster.office
        now = office.clock.now()
        wanted |= {"since": time_of(since, now), "until": time_of(until, now), "by": by}
        whole = None if message is None else _whole(office, message)
        try:
            done = postmaster.resend(whole, **wanted, dry_run=True)
        except ConfigurationError as error:
            raise click.UsageError(str(error)) from None
        number = done.queued
        if not as_json:
            _show_examples(done)
        if not dry_run and number and (yes or confirmed(f"Send it again to {_people(done)}?")):
            done = postmaster.resend(whole, **wanted)
    if as_json:
        show_json(_data(done))
    else:
        _show(done)
    return 0 if number and (dry_run or not done.dry_run) else 1


def _whole(office: "Office", beginning: str) -> str:
    """The id that begins so, of a message that is kept or waited for; as it was given where there is none."""
    if not beginning:
        raise click.UsageError("an empty message id; `bouncekit queue list --kept` has them")
    kept = (one.message for one in office.store.kept(beginning=beginning, limit=2))
    found = {*messages_like(office, beginning), *kept}
    if beginning not in found and len(found) > 1:
        raise click.UsageError(
            f"{beginning!r} is the beginning of several messages: {', '.join(sorted(found)[:2])} ..."
        )
    return beginning if beginning in found or not found else found.pop()


def _people(done: "Resent") -> str:
    of_them = {"as a possible duplicate": done.doubtful, "suppressed still": done.suppressed}
    told = (f"{number:,} of them {how}" for how, number in of_them.items() if number)
    return ", ".join((counted(done.queued, "recipient"), *told))


def _show_examples(done: "Resent") -> None:
    if done.examples:
        show_table(("recipient", "message", "what was said"), _rows(done))
        show_line()


def _rows(done: "Resent") -> Iterator[tuple[object, ...]]:
    for one in done.examples:
        yield one.recipient, one.occasion.delivery_id, _words(one)


def _words(event: "Event") -> str:
    """What was said to a recipient, or of one who was skipped."""
    rests_on = event.suppression.evidence.reply if event.suppression else ""
    return (said(settlement_data(event.settlement)) if event.settlement else "") or rests_on


def _show(done: "Resent") -> None:
    if not done.queued:
        show_line("nobody to send to again")
    elif done.dry_run:
        show_line(f"would be queued again: {_people(done)}")
    else:
        show_line(f"queued again: {_people(done)}; a worker sends it to those whom no suppression holds back")
    if done.has_more:
        show_line("and there are more: --limit")
    for way, number in sorted(done.left.items()):
        show_line(f"{number:,} {_LEFT[way]}")


def _data(done: "Resent") -> dict[str, Any]:
    return {
        "queued": done.queued,
        "possible_duplicates": done.doubtful,
        "suppressed": done.suppressed,
        "dry_run": done.dry_run,
        "left": dict(done.left),
        "has_more": done.has_more,
        "examples": [
            {"recipient": one.recipient, "message": one.occasion.delivery_id, "reply": _words(one)}
            for one in done.examples
        ],
    }
