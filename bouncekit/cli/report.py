"""`bouncekit report`: what became of the mail of a span of time, and what waits now."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

import click

from bouncekit.cli.balances import HEADS, balance_data, rows
from bouncekit.cli.output import GAP, progress, show_json, show_line, show_table, terminal_width
from bouncekit.cli.settings import (
    configured,
    duration,
    json_option,
    open_postmaster,
    refuse_store,
    store_option,
)
from bouncekit.cli.waiting import depth_data, in_words
from bouncekit.delivery.events import EventType, bounded, show_time
from bouncekit.outside.drafts import drafted
from bouncekit.reports.counts import largest
from bouncekit.reports.digest import MOST_READ, By, Digest, Ranked, digest
from bouncekit.words.measures import counted as so_many
from bouncekit.words.measures import show_minute, show_size, show_span
from bouncekit.words.status import Action

__all__ = ["verb"]

_DAY, _WEEK = timedelta(days=1), timedelta(days=7)
_BAR, _SHORTEST_BAR = 30, 8  # columns
_ROWS = 10
_TOP = 3  # of each kind, in text
_ACTIONS = tuple(action.value for action in Action)


@click.command()
@click.option(
    "--since",
    callback=duration,
    show_default="24h; 7d with --html or --pdf",
    metavar="DURATION",
    help="How far back: 90m, 7d.",
)
@click.option(
    "--by",
    "facets",
    type=click.Choice([by.value for by in By]),
    multiple=True,
    help="What to break it down by; may be given again. Without it by category and provider.",
)
@click.option(
    "--limit", type=click.IntRange(1, 10_000), default=_ROWS, show_default=True, help="Rows of each breakdown."
)
@click.option("--html", metavar="FILE|-", help="Write it, with drawings, as one HTML file: extra web.")
@click.option("--pdf", metavar="FILE|-", help="Write the same as a PDF: extra pdf.")
@store_option
@json_option("one JSON document: since, until, actions, events, by, replies, top, new, held, unsent, queue, budgets")
def verb(
    since: timedelta | None,
    facets: tuple[str, ...],
    limit: int,
    html: str | None,
    pdf: str | None,
    store: str | None,
    as_json: bool,
) -> None:
    """Count what happened, and say what waits. Needs a store.

    \b
    bouncekit report --since 7d --store sqlite:///bounces.db
    bouncekit report --by category --by domain
    bouncekit report --html week.html --pdf week.pdf

    Outcomes are one for each recipient of each attempt; those of test traffic do not count. The time begins at a whole
    hour, within the last two hours at five whole minutes, as on the web page.
    """
    files = {kind: file for kind, file in (("html", html), ("pdf", pdf)) if file is not None}
    if [*files.values(), *["-"] * as_json].count("-") > 1:
        raise click.UsageError("standard output takes one of --html -, --pdf - and --json")
    if html and pdf and os.path.realpath(html) == os.path.realpath(pdf):
        raise click.UsageError(f"--html and --pdf are both to be written to {pdf}: name two files")
    config = configured(store=store)
    refuse_store(config, *files.values())
    makers = {kind: _maker(kind) for kind in files}  # before the counting, which takes its time
    with open_postmaster(config, needs_store=True, makes_store=False) as postmaster:
        told = digest(
            postmaster.office,
            (_WEEK if files else _DAY) if since is None else since,
            by=tuple(map(By, dict.fromkeys(facets))) or (By.CATEGORY, By.PROVIDER),
            most=limit,
            watch=progress,
        )
    for kind, file in files.items():
        _write(file, makers[kind](told, limit))
    if as_json:
        show_json(_data(told, limit))
    elif not files:
        _show(told, limit)


def _maker(kind: str) -> Callable[[Digest, int], bytes]:
    """What makes a file of a digest.

    Raises:
        MissingExtra: what it needs is not installed.
        ConfigurationError: what that needs of the system is not.
    """
    if kind == "pdf":
        from bouncekit.reports.paper import printed

        return printed
    from bouncekit.reports.page import encoded

    return encoded


def _write(file: str, content: bytes) -> None:
    if file == "-":
        click.echo(content, nl=False)
        return
    with drafted(file) as written:
        written.write(content)
    click.echo(f"{file}: {show_size(len(content))}", err=True)


# -- for programs


def _data(told: Digest, limit: int) -> dict[str, Any]:
    numbers = told.numbers
    return {
        "since": show_time(told.since),
        "until": show_time(told.until),
        "actions": _in_order(numbers.actions),
        "events": dict(sorted(numbers.events.items())),
        "by": {
            by.value: [
                {"name": name, "total": actions.total(), "actions": _in_order(actions)}
                for name, actions in largest(names, limit)
            ]
            for by, names in numbers.by.items()
        },
        "replies": {"refused": numbers.understood.total(), "unmatched": numbers.unmatched},
        "top": {
            of.value: {"mail": _ranked_data(one.mail), "failures": _ranked_data(one.failures)}
            for of, one in told.rankings.items()
        },
        "new": {
            "number": told.new.number,
            "cut": told.new.is_cut,
            "kinds": [one.to_dict() | {"category": one.category} for one in told.new.kinds[:limit]],
        },
        "held": {"suppressions": told.held.number, "kinds": [*_held_data(told)]},
        "unsent": [{"channel": one.channel, "why": one.why, "count": one.number} for one in told.unsent],
        "queue": depth_data(told.depth),
        "budgets": list(map(balance_data, told.budgets)),
    }


def _ranked_data(ranked: Sequence[Ranked]) -> list[dict[str, Any]]:
    return [{"name": bounded(one.name), "count": one.number} for one in ranked]


def _held_data(told: Digest) -> Iterator[dict[str, Any]]:
    for one in told.held.largest:
        yield {
            "fingerprint": one.fingerprint,
            "count": one.number,
            "since": show_time(one.since),
            "last_at": show_time(one.last_at),
            "reply": one.evidence.reply,
            "remote_mta": one.evidence.remote_mta,
        }


# -- for people


def _show(told: Digest, limit: int) -> None:
    numbers = told.numbers
    total = numbers.actions.total()
    show_line(f"{so_many(total, 'outcome')} since {show_minute(told.since)}, {show_span(told.until - told.since)} ago")
    if total:
        show_line()
        actions = _in_order(numbers.actions)
        _show_with_bars(
            ("", "", ""),
            [(name, f"{number:>12,}", f"{number / total:>6.1%}") for name, number in actions.items()],
            list(actions.values()),
        )
    for by, names in numbers.by.items():
        if names:
            show_line()
            _show_breakdown(by, names, limit)
    _show_top(told)
    _show_new(told, limit)
    show_line()
    _show_lines(told)
    if told.budgets:
        show_line()
        show_table(HEADS, list(rows(told.budgets)))


def _show_lines(told: Digest) -> None:
    """What is said in a line each."""
    numbers = told.numbers
    show_line(f"suppressions: {numbers.added:,} added, {numbers.lifted:,} lifted")
    if told.held.number:
        kinds = "; ".join(f"{one.number:,} for {one.evidence.reply or 'no reply'}" for one in told.held.largest[:_TOP])
        show_line(f"held by the guard: {told.held.number:,}, which bind nobody: {kinds}")
    if refused := numbers.understood.total():
        show_line(f"not understood: {numbers.unmatched:,} of {refused:,} refusals, {numbers.unmatched / refused:.1%}")
        if numbers.unmatched:
            show_line("rules for them: bouncekit rules suggest")
    if numbers.events[EventType.SHADOW_DIFFERED]:
        show_line("policy on trial: it would have done otherwise; bouncekit policy shadow says how often")
    if told.unsent:
        newest = "; ".join(
            f"{number:,} through channel {channel}: {why}" for channel, why, number in told.unsent[:_TOP]
        )
        show_line(f"not notified: {numbers.events[EventType.NOT_NOTIFIED]:,}; the newest: {newest}")
    show_line(f"queue: {in_words(told.depth, told.until).removeprefix('the queue is ')}")


def _show_top(told: Digest) -> None:
    """Whose mail failed most, and who has most mail: the first few of each kind."""
    failed = [(of.value, *one) for of, ranking in told.rankings.items() for one in ranking.failures[:_TOP]]
    mail = [(of.value, *one) for of, ranking in told.rankings.items() for one in ranking.mail[:_TOP]]
    for head, found in (("failed", failed), ("outcomes", mail)):
        if found:
            show_line()
            show_table((f"most {head}", "", head), [(kind, name, f"{number:,}") for kind, name, number in found])


def _show_new(told: Digest, limit: int) -> None:
    if not told.new.kinds:
        return
    show_line()
    show_table(
        ("new replies", "since", "by server", ""),
        [
            (f"{one.count:,}", show_minute(one.first_at), ", ".join(dict(one.providers.most_common(_TOP))), one.example)
            for one in told.new.kinds[:limit]
        ],
    )
    if more := told.new.number - len(told.new.kinds[:limit]):
        show_line(f"and {more:,} more: --limit")
    if told.new.is_cut:
        show_line(f"New replies, and senders, are of the newest {MOST_READ:,} refusals.")


def _show_breakdown(by: By, names: Mapping[str, Counter[str]], limit: int) -> None:
    """A table of the largest, with a column for each action that occurs."""
    rows = largest(names, len(names))
    shown, rest = rows[:limit], rows[limit:]
    present = [action for action in _ACTIONS if any(actions[action] for actions in names.values())]
    _show_with_bars(
        (f"by {by}", "outcomes", *present),
        [(name, f"{actions.total():,}", *(f"{actions[one]:,}" for one in present)) for name, actions in shown],
        [actions.total() for _, actions in shown],
    )
    if rest:
        show_line(f"and {len(rest):,} more, with {sum(actions.total() for _, actions in rest):,}: --limit")


def _in_order(actions: Mapping[str, int]) -> dict[str, int]:
    """The actions that occur, in the order of their list."""
    return {action: actions[action] for action in _ACTIONS if actions.get(action)}


def _show_with_bars(heads: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[int]) -> None:
    """A table with a bar behind each row, of the columns that are left in the terminal; where that are few, without."""
    room = _BAR
    if (width := terminal_width()) is not None:
        taken = sum(max(map(len, column)) + len(GAP) for column in zip(heads, *rows, strict=True))
        room = min(width - taken, _BAR)
    if room < _SHORTEST_BAR:
        show_table(heads, rows)
        return
    most = max(numbers)
    bars = (_bar(number, most, room) for number in numbers)
    show_table((*heads, ""), [(*row, bar) for row, bar in zip(rows, bars, strict=True)])


def _bar(number: int, most: int, room: int) -> str:
    """At least one column for what there is at all."""
    return "#" * max(round(room * number / most), 1) if number else ""
