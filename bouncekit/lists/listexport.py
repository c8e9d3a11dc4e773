"""Writing a suppression list to a file that is read back without loss, an entry at a time."""

import csv
import io
import json
from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import IO, Any

from bouncekit.lists.listentry import COLUMNS, cells_of, safe, unsafe
from bouncekit.policy.suppression import Suppression

__all__ = ["ListFormat", "export_list"]


class ListFormat(StrEnum):
    """How a list is written."""

    CSV = "csv"
    JSONL = "jsonl"  # an object a line


def export_list(entries: Iterable[Suppression], file: IO[bytes], *, format_: ListFormat, raw: bool = False) -> int:
    """Write entries; how many that were. With `raw`, formulas stay formulas in CSV; JSON lines are exact anyhow."""
    number = 0
    line = _json_line if format_ is ListFormat.JSONL else _csv_line(raw=raw)
    if format_ is ListFormat.CSV:
        file.write((",".join(COLUMNS) + "\r\n").encode())
    for number, entry in enumerate(entries, 1):  # noqa: B007 - it is the answer
        file.write(line(cells_of(entry)))
    return number


def _json_line(cells: dict[str, Any]) -> bytes:
    return (json.dumps(cells) + "\n").encode("ascii")


def _csv_line(*, raw: bool) -> Callable[[dict[str, Any]], bytes]:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\r\n")

    def line(cells: dict[str, Any]) -> bytes:
        writer.writerow([_cell(cells[name], raw=raw) for name in COLUMNS])
        text = buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
        return text.encode("utf-8", "backslashreplace")

    return line


def _cell(value: object, *, raw: bool) -> str:
    text = "" if value is None else str(value)
    if raw:  # a quote of its own before what looks like a formula would be taken for ours
        return f"'{text}" if unsafe(text) != text else text
    return safe(text)
