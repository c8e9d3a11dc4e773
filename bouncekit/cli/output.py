"""What a verb shows: JSON for programs; tables for people, in colour only where a terminal and `rich` are."""

import json
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from typing import Any, TypeVar

import click

from bouncekit.words.showing import printable

__all__ = ["GAP", "YES_OR_NO", "progress", "show_json", "show_line", "show_table", "terminal_width"]

Row = Sequence[object]
_T = TypeVar("_T")

_MAX_CELL = 300  # characters of remote text in a table; JSON has more
_MAX_LINE = 2000
_NARROWEST = 8
_NARROW = 60  # columns of a terminal in which a table is no longer worth its cut words
_LONG_WORD = 24  # a longer word may be cut
GAP = "  "
YES_OR_NO = {True: "yes", False: "no"}
_BAR_STEPS = 200  # how often a bar is drawn
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
    "due": "yellow",
    "abandoned": "red",
    "held": "red",
}


def show_json(value: Any) -> None:
    """One JSON document, in ASCII, on one line."""
    click.echo(json.dumps(value, default=str))


def show_line(text: str = "") -> None:
    """A line for people; what came from outside is escaped."""
    click.echo(printable(text, limit=_MAX_LINE))


def show_table(heads: Sequence[str], rows: Iterable[Row], *, width: int | None = None) -> None:
    """Rows under their heads, where those are not empty; None is an empty cell.

    Where they are wider than the width, columns without a word in them are left out, and long cells are wrapped. In a
    narrow terminal, where words would have to be cut, the cells of a row stand below each other.
    """
    cells = [["" if cell is None else printable(str(cell), limit=_MAX_CELL) for cell in row] for row in rows]
    if any(heads):
        cells.insert(0, [head.upper() for head in heads])
    width = width or terminal_width()
    if cells and width is not None and _together(_widths(cells, None)) > width:
        cells = _without_empty(cells, has_heads=any(heads))
    if width is not None and any(heads) and _is_to_be_stacked(cells, width):
        for line in _stacked(cells[0], cells[1:], width):
            click.echo(line)
        return
    widths = _widths(cells, width)
    if not (_in_colour() and _show_rich(cells, widths, has_heads=any(heads))):
        for line in _lines(cells, widths):
            click.echo(line)


def progress(
    things: Iterable[_T],
    label: str,
    *,
    length: int | None = None,
    size: Callable[[_T], int] = lambda thing: 1,
    prints: bool = False,
) -> Iterator[_T]:
    """The things, with a bar on standard error while they are worked through; none where that is no terminal.

    Args:
        length: the size of all; without it the bar only shows that something moves, and how far it is.
        size: of one.
        prints: each of them prints to standard output; where that is a terminal too, a bar would be in the way.
    """
    if not sys.stderr.isatty() or (prints and sys.stdout.isatty()):
        yield from things
        return
    if length is None and isinstance(things, Sized):
        length = len(things)
    steps = max((length or 0) // _BAR_STEPS, 1)
    unmeasured = () if length is not None else things
    with click.progressbar(
        unmeasured, length, label, file=sys.stderr, show_pos=length is None, update_min_steps=steps
    ) as bar:
        for thing in things:
            yield thing
            bar.update(size(thing))


def terminal_width() -> int | None:
    """Columns of the terminal; None where standard output is none."""
    return shutil.get_terminal_size((100, 24)).columns if sys.stdout.isatty() else None


def _in_colour() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _show_rich(cells: Sequence[Sequence[str]], widths: Sequence[int], *, has_heads: bool) -> bool:
    """The same in colour; False where rich is not installed."""
    try:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text
    except ImportError:
        return False
    table = Table(box=None, show_header=False, pad_edge=False)  # which leaves GAP between its columns
    for room in widths:
        table.add_column(width=room, overflow="fold")
    for number, row in enumerate(cells):
        is_head = has_heads and number == 0
        # Text and not str: in a str, what a server writes in brackets would be markup.
        table.add_row(*(Text(cell, style="bold" if is_head else _style(cell)) for cell in row))
    Console().print(table)
    return True


def _style(cell: str) -> str:
    return _STYLES.get(cell.split(" ")[0].rstrip(","), "")


def _widths(rows: Sequence[Sequence[str]], width: int | None) -> list[int]:
    """A width for each column; where all together are too wide, the widest give way, and words are cut last."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    if width is None:
        return widths
    room = width - len(GAP) * (len(widths) - 1)
    for least in (_words(rows), [_NARROWEST] * len(widths)):
        while sum(widths) > room and (wide := [at for at, one in enumerate(widths) if one > least[at]]):
            widths[max(wide, key=widths.__getitem__)] -= 1
    return widths


def _words(rows: Sequence[Sequence[str]]) -> list[int]:
    """The longest word of each column that is not to be cut."""
    words = (max(max(map(len, cell.split()), default=0) for cell in column) for column in zip(*rows, strict=True))
    return [min(word, _LONG_WORD) for word in words]


def _together(widths: Sequence[int]) -> int:
    """The columns that a row takes."""
    return sum(widths) + len(GAP) * (len(widths) - 1)


def _without_empty(cells: list[list[str]], *, has_heads: bool) -> list[list[str]]:
    """The same without the columns in which nothing stands below the head."""
    rows = cells[1:] if has_heads else cells
    kept = [at for at in range(len(cells[0])) if any(row[at] for row in rows)] if rows else range(len(cells[0]))
    return [[row[at] for at in kept] for row in cells]


def _lines(rows: Sequence[Sequence[str]], widths: Sequence[int]) -> Iterator[str]:
    """Aligned lines; a cell that is wider than its column goes on below."""
    for row in rows:
        wrapped = [_wrapped(cell, room) for cell, room in zip(row, widths, strict=True)]
        for part in range(max(map(len, wrapped))):
            columns = (cell[part] if part < len(cell) else "" for cell in wrapped)
            yield GAP.join(text.ljust(room) for text, room in zip(columns, widths, strict=True)).rstrip()


def _is_to_be_stacked(cells: Sequence[Sequence[str]], width: int) -> bool:
    """Whether a narrow terminal would cut words; where no named column is left, nothing has a name to stand below."""
    return width < _NARROW and len(cells) > 1 and any(cells[0]) and _together(_words(cells)) > width


def _stacked(heads: Sequence[str], rows: Iterable[Sequence[str]], width: int) -> Iterator[str]:
    """A row as a block: what it is about, and below it each further cell, behind its head or under it."""
    about = next(at for at, head in enumerate(heads) if head) + 1
    yield heads[about - 1]
    for row in rows:
        yield from _wrapped(GAP.join(filter(None, row[:about])), width)
        for head, cell in zip(heads[about:], row[about:], strict=True):
            line = GAP.join(filter(None, (head, cell)))
            if cell and len(GAP + line) <= width:
                yield GAP + line
            elif cell:
                if head:
                    yield GAP + head
                yield from (GAP * 2 + part for part in _wrapped(cell, width - len(GAP * 2)))


def _wrapped(cell: str, room: int) -> list[str]:
    return textwrap.wrap(cell, max(room, 1), break_on_hyphens=False) or [""]
