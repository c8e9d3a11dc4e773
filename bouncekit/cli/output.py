"""What a verb shows: JSON for programs; tables for people, in colour only where a terminal and `rich` are."""

import json
import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import click

from bouncekit.showing import printable

__all__ = ["show_json", "show_line", "show_table", "terminal_width"]

Row = Sequence[object]

_MAX_CELL = 300  # characters of remote text in a table; JSON has more
_MAX_LINE = 2000
_NARROWEST = 8
_GAP = "  "
_STYLES = {
    "delivered": "green",
    "ok": "green",
    "delayed": "yellow",
    "unknown": "yellow",
    "warn": "yellow",
    "provisional": "yellow",
    "failed": "red",
    "fail": "red",
    "confirmed": "red",
    "manual": "red",
    "suppressed": "magenta",
}


def show_json(value: Any) -> None:
    """One JSON document, in ASCII, on one line."""
    click.echo(json.dumps(value, default=str))


def show_line(text: str = "") -> None:
    """A line for people; what came from outside is escaped."""
    click.echo(printable(text, limit=_MAX_LINE))


def show_table(heads: Sequence[str], rows: Iterable[Row], *, width: int | None = None) -> None:
    """Rows under their heads, where those are not empty; None is an empty cell. Long cells are wrapped to the width."""
    cells = [["" if cell is None else printable(str(cell), limit=_MAX_CELL) for cell in row] for row in rows]
    if _in_colour() and _show_rich(heads, cells):
        return
    table = [[head.upper() for head in heads], *cells] if any(heads) else cells
    for line in _lines(table, width or terminal_width()):
        click.echo(line)


def terminal_width() -> int | None:
    """Columns of the terminal; None where standard output is none."""
    return shutil.get_terminal_size((100, 24)).columns if sys.stdout.isatty() else None


def _in_colour() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _show_rich(heads: Sequence[str], cells: Iterable[Sequence[str]]) -> bool:
    try:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text
    except ImportError:
        return False
    table = Table(box=None, pad_edge=False, header_style="bold", show_header=any(heads))
    for head in heads:
        table.add_column(head.upper(), overflow="fold")
    for row in cells:
        # Text and not str: in a str, what a server writes in brackets would be markup.
        table.add_row(*(Text(cell, style=_STYLES.get(cell.split(" ")[0], "")) for cell in row))
    Console().print(table)
    return True


def _lines(rows: Sequence[Sequence[str]], width: int | None) -> Iterator[str]:
    """Aligned lines, cells wrapped so that none is wider than `width`."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    if width is not None:
        widths = _fitting(widths, width - len(_GAP) * (len(widths) - 1))
    for row in rows:
        wrapped = [_wrapped(cell, room) for cell, room in zip(row, widths, strict=True)]
        for part in range(max(map(len, wrapped))):
            columns = (cell[part] if part < len(cell) else "" for cell in wrapped)
            yield _GAP.join(text.ljust(room) for text, room in zip(columns, widths, strict=True)).rstrip()


def _fitting(widths: Sequence[int], width: int) -> list[int]:
    """The widths, the widest ones cut until all fit."""
    fitting = list(widths)
    while sum(fitting) > width and max(fitting) > _NARROWEST:
        fitting[fitting.index(max(fitting))] -= 1
    return fitting


def _wrapped(cell: str, room: int) -> list[str]:
    return textwrap.wrap(cell, max(room, 1), break_on_hyphens=False) or [""]
