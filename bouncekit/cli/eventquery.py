"""`bouncekit events query`: the events that say what somebody looks for, or how many there are of each kind."""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from bouncekit.cli.output import progress, show_json, show_line, show_table
from bouncekit.cli.settings import configured, json_option, moment, open_postmaster, store_option, time_of
from bouncekit.delivery.events import EventType, Told
from bouncekit.desk.eventpages import found
from bouncekit.history.sifting import By, Sieve, looks_like_a_code, named
from bouncekit.history.telling import rule, said, second
from bouncekit.meaning.classification import Category
from bouncekit.stores.searching import Search
from bouncekit.words.address import parse_address, suppression_key
from bouncekit.words.pseudonym import is_pseudonym
from bouncekit.words.showing import printable
from bouncekit.words.status import Action

if TYPE_CHECKING:
    from bouncekit.desk.office import Office

__all__ = ["event_line", "query"]

_PAGE = 1000  # events printed at once
_ROWS = 20  # of a table, where nobody says how many
_MOST_NAMES = 100_000  # that are counted apart
_WIDTH = max(map(len, EventType))
_MAX_CELL = 300
_NONE = "(none)"
_OTHERS = "(others)"


def _codes(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    if wrong := next((one for one in values if not looks_like_a_code(one.lower())), None):
        raise click.BadParameter(f"{wrong!a}: write 552, 5xx, 5.2.2 or x.2.x", ctx, param)
    return tuple(map(str.lower, values))


def _several(name: str, *names: str, help: str, **more: Any) -> Callable[..., Any]:  # noqa: A002 - click's word
    return click.option(name, *names, multiple=True, help=help, **{"metavar": "NAME", **more})


@click.command()
@_several(
    "--type",
    "types",
    type=click.Choice([one.value for one in EventType]),
    metavar="TYPE",
    help="Of this type, such as failed.",
)
@_several("--recipient", "recipients", metavar="ADDRESS", help="About this mailbox, however it is written.")
@_several("--domain", "domains", help="To this domain; .example.com also to all below it.")
@_several("--provider", "providers", help="Whose server replied: gmail, or the end of a host's name.")
@_several("--category", "categories", type=click.Choice([one.value for one in Category]), help="Of this category.")
@_several("--action", "actions", type=click.Choice([one.value for one in Action]), help="With this outcome.")
@_several("--code", "codes", callback=_codes, metavar="CODE", help="With this reply code or enhanced code: 5xx, x.2.2.")
@_several("--rule", "rules", help="Decided by this rule, of the policy or about replies.")
@_several("--stream", "streams", help="Of this stream.")
@_several("--class", "classes", help="Of this message class.")
@click.option("--tenant", metavar="NAME", help="Of this tenant; a mailbox has a history with each.")
@click.option("--message-id", metavar="ID", help="About the message with this Message-ID.")
@click.option("--delivery", "delivery_id", metavar="ID", help="About the delivery whose id begins so.")
@click.option("--attempt-id", metavar="ID", help="Of the attempt whose id begins so.")
@click.option("--attempt", type=click.IntRange(min=0), metavar="N", help="Of the n-th attempt.")
@click.option("--test/--no-test", default=None, help="Only test traffic, or none of it.")
@click.option(
    "--since", callback=moment, metavar="TIME", help="From then on: 2026-01-31, 2026-01-31T12:00Z, or 2h for ago."
)
@click.option("--until", callback=moment, metavar="TIME", help="Before then.")
@click.option("--order", type=click.Choice(["oldest", "newest"]), default="oldest", show_default=True, help="First.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="The first so many; of --by, the largest.")
@click.option(
    "--by",
    type=click.Choice([one.value for one in By]),
    metavar="FIELD",
    help="Count, instead: by category, provider, rule ...",
)
@store_option
@json_option("JSON lines: the events as CloudEvents; of --by, name and count")
def query(
    types: tuple[str, ...],
    recipients: tuple[str, ...],
    codes: tuple[str, ...],
    tenant: str | None,
    since: datetime | timedelta | None,
    until: datetime | timedelta | None,
    order: str,
    limit: int | None,
    by: str | None,
    store: str | None,
    as_json: bool,
    **said_of: Any,
) -> int:
    """Find events by what they say, a line each; or count them.

    \b
    bouncekit events query --provider gmail --code 5xx --since 2d
    bouncekit events query --recipient bob@example.com --order newest --limit 5
    bouncekit events query --type failed --since 7d --by rule

    All that is given must hold; of what may be given again, one is enough. Exit code 1 when there is none.
    """
    from bouncekit.outside.provider import provider_of_host

    sieve = Sieve(
        codes=[one for one in codes if "." not in one],
        enhanced=[one for one in codes if "." in one],
        provider_of=provider_of_host,
        **said_of,
    )
    with open_postmaster(configured(store=store), needs_store=True, makes_store=False, judges=False) as postmaster:
        office = postmaster.office
        now = office.clock.now()
        search = Search(
            types=types,
            keys=_keys(office, recipients),
            tenant="" if recipients and tenant is None else tenant,
            since=time_of(since, now),
            until=time_of(until, now),
        )
        events = found(office.store, search, sieve, newest_first=order == "newest")
        if by is not None:
            return _show_counts(_counted(progress(events, "events"), By(by), sieve), By(by), limit, as_json=as_json)
        show = json.dumps if as_json else event_line
        return _show_events(progress(islice(events, limit), "events", prints=True), show)


def event_line(told: Told) -> str:
    """2026-11-25 03:56:38Z  failed  full@example.com  552 5.2.2 Mailbox full  mailbox-full (default.yaml:41)."""
    data: Told = told.get("data") or {}
    cells = (told.get("subject"), said(data), rule(data))
    shown = (printable(str(cell), limit=_MAX_CELL) for cell in cells if cell)
    type_ = printable(str(told.get("type")), limit=_MAX_CELL)
    return "  ".join((printable(second(told.get("time"))), type_.ljust(_WIDTH), *shown))


def _keys(office: "Office", recipients: Sequence[str]) -> frozenset[str]:
    """Under what mailboxes may be known; a store that keeps no addresses sees to that itself."""
    plain = {
        one.partition(".")[0] if is_pseudonym(one) else suppression_key(parse_address(one).wire) for one in recipients
    }
    pseudonyms = office.pseudonyms if office.keeps_addresses else None
    more = (name for key in plain if pseudonyms and not is_pseudonym(key) for name in pseudonyms.all_of(key))
    return frozenset((*plain, *more))


def _show_events(events: Iterator[Told], show: Callable[[Told], str]) -> int:
    code = 1
    while lines := [show(told) for told in islice(events, _PAGE)]:
        click.echo("\n".join(lines))
        code = 0
    return code


def _counted(events: Iterator[Told], by: By, sieve: Sieve) -> Counter[str]:
    """How many there are under each name; beyond 100,000 names the rest are counted together."""
    counts: Counter[str] = Counter()
    for told in events:
        name = named(told, by, sieve.provider_of) or _NONE
        counts[name if name in counts or len(counts) < _MOST_NAMES else _OTHERS] += 1
    return counts


def _show_counts(counts: Counter[str], by: By, limit: int | None, *, as_json: bool) -> int:
    rows = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    if as_json:
        for name, number in rows[:limit]:
            show_json({"by": by.value, "name": None if name == _NONE else name, "count": number})
        return 0 if rows else 1
    if not rows:
        show_line("no such event")
        return 1
    shown = rows[: limit or _ROWS]
    total = counts.total()
    show_table((f"by {by}", "events", ""), [(name, f"{number:,}", f"{number / total:.1%}") for name, number in shown])
    if rest := rows[len(shown) :]:
        show_line(f"and {len(rest):,} more, with {sum(number for _, number in rest):,}: --limit")
    return 0
