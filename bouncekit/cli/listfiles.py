"""`bouncekit suppressions import`, `export` and `check`: lists in files."""

import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from bouncekit.cli.measuring import Measured, size_of
from bouncekit.cli.output import progress, show_json, show_line, show_table
from bouncekit.cli.settings import (
    all_tenants_option,
    configured,
    duration,
    json_option,
    open_postmaster,
    policy_option,
    refuse_store,
    sqlite_path,
    store_option,
    stream_option,
    tenant_option,
    tenant_or_all,
)
from bouncekit.desk.listimport import Prefer
from bouncekit.lists.foreignlist import FORMATS
from bouncekit.lists.listexport import ListFormat
from bouncekit.lists.listfile import Fault, Row, read_rows
from bouncekit.outside.drafts import drafted
from bouncekit.words.address import parse_address
from bouncekit.words.errors import AddressError
from bouncekit.words.measures import counted
from bouncekit.words.showing import printable

if TYPE_CHECKING:
    from bouncekit.desk.listimport import Conflict, Imported
    from bouncekit.postmaster.config import Config
    from bouncekit.postmaster.postmaster import Postmaster

__all__ = ["check", "export", "import_"]

_SHOWN = 20  # faults and conflicts in a table; JSON has more
_CONFLICT = ("address", "stands", "arriving", "outcome")
_TOLD = 20_000  # addresses between two looks at the bar


@click.command("import")
@click.argument("file", metavar="FILE|-", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option("--dry-run", is_flag=True, help="Change nothing; say what would be new, changed and kept.")
@click.option(
    "--format",
    "format_",
    type=click.Choice(sorted({one.name for one in FORMATS})),
    metavar="NAME",
    help="Its kind, where the columns do not tell it.",
)
@click.option("--for", "lasts", callback=duration, metavar="DURATION", help="How long a service's entries stay.")
@click.option(
    "--prefer",
    type=click.Choice([one.value for one in Prefer]),
    default=Prefer.STRONGER.value,
    show_default=True,
    help="Which of two entries stays; one by hand always does.",
)
@tenant_option
@stream_option
@policy_option
@store_option
@json_option("one JSON document: what was read, added, changed, kept, had ended, and what binds nobody")
def import_(
    file: str,
    dry_run: bool,
    format_: str | None,
    lasts: timedelta | None,
    prefer: str,
    tenant: str,
    stream: str,
    policy: str | None,
    store: str | None,
    as_json: bool,
) -> int:
    """Bring a suppression list along, of ours or of a provider.

    \b
    bouncekit suppressions import ses.json --dry-run
    bouncekit suppressions import bounces.csv --stream news

    Known are Amazon SES, SendGrid, Mailgun, Postmark, SparkPost, Postal, and plain lists.

    Try --dry-run first. The same file again changes nothing, so an import that was stopped goes on by doing it again.
    Exit code 1 when a row could not be read; all others are.
    """
    name = "" if file == "-" else Path(file).name
    config = configured(store=store, policy=policy)
    with _for_import(config, dry_run=dry_run) as postmaster, _opened(file) as opened:
        source = Measured(opened)
        with _bar("import", size_of(file)) as moved:
            done = postmaster.suppressions.import_(
                source,
                name=name,
                format=format_,
                tenant=tenant,
                stream=stream,
                lasts=lasts,
                prefer=prefer,
                dry_run=dry_run,
                on_batch=lambda _: moved(source.read_bytes),
            )
    show_json(_data(done)) if as_json else _show(done)
    return 1 if done.number_of_faults else 0


def _for_import(config: "Config", *, dry_run: bool) -> "Postmaster":
    """The postmaster whose list is meant; a dry run into a store that is not there yet looks at an empty one."""
    path = sqlite_path(config.store) if config.store else None
    if not dry_run or path is None or path.exists():
        return open_postmaster(config, needs_store=True)
    click.echo(f"bouncekit: warning: {printable(str(path))}: not there yet, so as if empty", err=True)
    return open_postmaster(replace(config, store=None, cache=None, retry="never"))


@click.command()
@click.argument("file", metavar="FILE|-", type=click.Path(dir_okay=False, allow_dash=True), default="-")
@click.option("--format", "format_", type=click.Choice([one.value for one in ListFormat]), help="Else by FILE's name.")
@click.option("--raw", is_flag=True, help="Let a cell of CSV begin as it does, also if a spreadsheet would run it.")
@click.option("--binding", is_flag=True, help="Only those that hold mail back now.")
@tenant_option
@all_tenants_option
@click.option("--stream", metavar="NAME", help="Only of this stream; else of all.")
@store_option
@json_option("JSON lines of the list; with FILE one JSON document: entries, file")
def export(
    file: str,
    format_: str | None,
    raw: bool,
    binding: bool,
    tenant: str,
    every: bool,
    stream: str | None,
    store: str | None,
    as_json: bool,
) -> None:
    """Write the list as CSV or JSON lines.

    \b
    bouncekit suppressions export list.csv
    bouncekit suppressions export all.csv --all
    bouncekit suppressions export - --format jsonl > list.jsonl

    `import` reads it back without loss: each entry has its tenant and stream in it.
    """
    is_lines = file.endswith((".jsonl", ".ndjson")) or (file == "-" and as_json)
    kind = format_ or (ListFormat.JSONL if is_lines else ListFormat.CSV)
    whose = tenant_or_all(tenant, every=every)
    config = configured(store=store)
    refuse_store(config, file)
    with open_postmaster(config, needs_store=True, makes_store=False, judges=False) as postmaster:
        write = partial(
            postmaster.suppressions.export, format=kind, raw=raw, binding=binding, tenant=whose, stream=stream
        )
        if file == "-":
            write(sys.stdout.buffer)
            return
        with drafted(file) as written:
            number = write(written)
    if as_json:
        show_json({"entries": number, "file": file})
    else:
        show_line(f"{counted(number, 'entry', 'entries')} written to {file}")


@click.command()
@click.argument("file", metavar="FILE|-", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option("--class", "message_class", metavar="NAME", help="Of the mail: what it ignores does not count.")
@tenant_option
@stream_option
@policy_option
@store_option
@json_option("JSON lines: address, suppressed")
def check(
    file: str,
    message_class: str | None,
    tenant: str,
    stream: str,
    policy: str | None,
    store: str | None,
    as_json: bool,
) -> int:
    """Say which of the addresses in FILE are held back.

    \b
    bouncekit suppressions check people.csv --class bulk

    One a line: of a plain list, or the first known column of CSV.

    Exit code 1 when any is.
    """
    asked = suppressed = faults = 0
    config = configured(store=store, policy=policy)
    with open_postmaster(config, needs_store=True, makes_store=False) as postmaster, _opened(file) as opened:
        for some in _batches(_addresses(read_rows(opened)), _TOLD):
            readable = [one for one in some if isinstance(one, str)]
            found = postmaster.suppressions.check(readable, tenant=tenant, stream=stream, message_class=message_class)
            asked, suppressed = asked + len(readable), suppressed + sum(one in found for one in readable)
            for fault in (one for one in some if isinstance(one, Fault)):
                faults += 1
                click.echo(f"bouncekit: warning: line {fault.line}: {ascii(fault.why)[1:-1]}", err=True)
            for one in readable:
                if as_json:
                    show_json({"address": one, "suppressed": one in found})
                elif one in found:
                    show_line(one)
    if not as_json:
        told = f"; {counted(faults, 'line')} without an address" if faults else ""
        click.echo(f"{suppressed:,} of {asked:,} are held back{told}", err=True)
    return 1 if suppressed else 0


def _addresses(rows: Iterable[Row | Fault]) -> Iterator[str | Fault]:
    for row in rows:
        if isinstance(row, Fault):
            yield row
            continue
        cell = next((value for value in row.fields.values() if isinstance(value, str) and "@" in value), "")
        try:
            parse_address(cell.strip())
        except AddressError as error:
            yield Fault(row.line, error.why)
            continue
        yield cell.strip() if cell else Fault(row.line, "no address")


def _batches(things: Iterator[Any], size: int) -> Iterator[list[Any]]:
    from itertools import islice

    while some := list(islice(things, size)):
        yield some


@contextmanager
def _opened(file: str) -> Iterator[BinaryIO]:
    if file == "-":
        yield sys.stdin.buffer
        return
    with open(file, "rb") as opened:
        yield opened


@contextmanager
def _bar(label: str, length: int | None) -> Iterator[Any]:
    """A bar on standard error that is moved to a place; none where that is no terminal."""
    steps: list[int] = []
    bar = progress(iter(lambda: steps.pop() if steps else 0, None), label, length=length, size=lambda step: step)
    next(bar, None)
    at = 0

    def move(place: int) -> None:
        nonlocal at
        steps.append(place - at)
        at = place
        next(bar, None)

    try:
        yield move
    finally:
        bar.close()  # type: ignore[attr-defined]  # it is a generator


def _show(done: "Imported") -> None:
    would = "would be " if done.dry_run else ""
    show_line(f"{counted(done.read, 'row')} read as {done.format}")
    rows = [
        (category, done.added[category] or None, done.changed[category] or None, done.kept[category] or None)
        for category in sorted(done.added.keys() | done.changed.keys() | done.kept.keys())
    ]
    if rows:
        show_line()
        show_table(("category", f"{would}new", f"{would}changed", "kept as it is"), rows)
    if done.ended:
        show_line()
        show_line(f"ended already, so that nobody is held back: {counted(done.ended, 'entry', 'entries')}")
    _show_counted("binds nobody", done.unbound)
    if done.conflicts:
        show_line()
        show_table(
            ("differs from what stands", "stands", "arriving", ""),
            map(_conflict_row, done.conflicts[:_SHOWN]),
        )
        _show_more(done.number_of_conflicts)
    if done.faults:
        show_line()
        show_table(("line", "could not be read"), [(fault.line, fault.why) for fault in done.faults[:_SHOWN]])
        _show_more(done.number_of_faults)
    if not done.dry_run and (done.added or done.changed):
        show_line()
        show_line(f"to take it back: bouncekit suppressions undo --made-by {done.by!r}")


def _show_counted(head: str, counted: Counter[str]) -> None:
    if counted:
        show_line()
        show_table((head, "rows"), counted.most_common())


def _show_more(number: int) -> None:
    if number > _SHOWN:
        show_line(f"and {number - _SHOWN:,} more: --json has the first 1,000")


def _conflict_row(one: "Conflict") -> tuple[object, ...]:
    stands, arriving = (f"{entry.category}, {entry.standing}, by {entry.by}" for entry in (one.standing, one.arriving))
    return one.arriving.address or one.arriving.key, stands, arriving, "replaced" if one.replaced else "kept"


def _data(done: "Imported") -> dict[str, Any]:
    return {
        "format": done.format,
        "by": done.by,
        "dry_run": done.dry_run,
        "read": done.read,
        "added": dict(done.added),
        "changed": dict(done.changed),
        "kept": dict(done.kept),
        "binds_nobody": dict(done.unbound),
        "ended": done.ended,
        "number_of_faults": done.number_of_faults,
        "faults": [{"line": fault.line, "why": fault.why} for fault in done.faults],
        "number_of_conflicts": done.number_of_conflicts,
        "conflicts": [dict(zip(_CONFLICT, _conflict_row(one), strict=True)) for one in done.conflicts],
    }
