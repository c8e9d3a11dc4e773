"""Files of suppression lists, read a row at a time: CSV, JSON lines, JSON documents, a column of addresses.

They are hostile, or were made by hand: a row that cannot be read is a fault with its line, and the rows around it are
read all the same. An unclosed quote swallows nothing, a document of any size needs no more memory than a row.
"""

import codecs
import csv
import json
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from bouncekit.words.quick import quick

__all__ = ["ByteLines", "Fault", "Row", "read_rows"]

_MOST_BYTES = 256 * 1024  # of a row
_MOST_LINES = 64  # that a quoted cell may run over
_CHUNK = 1 << 16
_SHORT = 1 << 16  # a row of fewer characters has no cell that is too long
_UTF_16 = "\x00 UTF-16"  # stands for a file that is none of ours
_DELIMITERS = (",", ";", "\t")
_LIST = re.compile(r'(?:(?:\n|\])\s*|"[^"\\]{1,100}"\s*:\s*)\[')
_FIRST_LIST = re.compile(r'(?:\A\s*|\n\s*|"[^"\\]{1,100}"\s*:\s*)\[')
_LONGEST_NAME = 200  # of a list in a document, with what is between it and its list
_BETWEEN = re.compile(r"[\s,]*").match
_VERDICTS = frozenset({"bounce", "complaint"})  # what the second column of a list for SES has, which has no head


class ByteLines(Protocol):
    """All that is asked of a file, open for bytes."""

    def readline(self, size: int, /) -> bytes:
        """The next line with its end, or so many bytes of it; none at the end."""


@quick
@dataclass(frozen=True, slots=True)
class Row:
    """One entry: its line (of a JSON document: its number) and its fields, texts but for what JSON knows better.

    Of a table it has the `head` too: where the row ends early, there are fewer fields.
    """

    line: int
    fields: Mapping[str, Any]
    head: tuple[str, ...] = ()

    @property
    def columns(self) -> Iterable[str]:
        """The names of the fields that it has, or might have."""
        return self.head or self.fields


@dataclass(frozen=True, slots=True)
class Fault:
    """What could not be read, and why."""

    line: int
    why: str


def read_rows(file: ByteLines) -> Iterator[Row | Fault]:
    """The rows of a file, whatever it is, with the names of its own columns."""
    lines = _Lines(file)
    start = lines.peek().lstrip()
    if start.startswith(("{", "[")):
        yield from _lines_of_json(lines) if _is_whole(start) else _document(lines)
    elif start:
        yield from _table(lines)


class _Lines:
    """The lines of a file with their numbers; one may be looked at before it is read, or put back."""

    def __init__(self, file: ByteLines) -> None:
        self._file = file
        self._waiting: deque[tuple[int, str]] = deque()
        self._number = 0
        self._decode = _decoder()
        self.cut = 0  # the last line that was longer than a row may be; what is left of it is skipped

    def peek(self) -> str:
        """The first line that is not blank; "" at the end."""
        while (found := self.next()) is not None:
            if found[1].strip():
                self.put_back([found])
                return found[1]
        return ""

    def next(self) -> tuple[int, str] | None:
        """The next line, with its end; None behind the last."""
        if self._waiting:
            return self._waiting.popleft()
        if self.cut and self.cut == self._number:
            self._skip()
        line = self._file.readline(_MOST_BYTES)
        if not line:
            return None
        self._number = number = self._number + 1
        is_whole = line.endswith(b"\n") or len(line) < _MOST_BYTES  # the last one may have no end
        if is_whole and number > 1:
            return number, line.decode("utf-8", "surrogateescape")
        if number == 1 and line[:2] in (b"\xff\xfe", b"\xfe\xff"):
            return 1, _UTF_16
        if not is_whole:
            self.cut = number
        return number, self._decode(line, is_whole)

    def put_back(self, lines: list[tuple[int, str]]) -> None:
        self._waiting.extendleft(reversed(lines))

    def chunks(self) -> Iterator[str]:
        """All that is left, as text."""
        yield from (text for _, text in self._waiting)
        self._waiting.clear()
        while chunk := self._file.readline(_CHUNK):
            yield self._decode(chunk)

    def _skip(self) -> None:
        """Leave what is behind a line that was cut."""
        while (more := self._file.readline(_CHUNK)) and not more.endswith(b"\n"):
            pass
        self._decode = _decoder()


def _decoder() -> Callable[..., str]:
    """Decodes UTF-8 piece by piece; a byte that is none stays one, for whoever reads the cell to refuse."""
    return codecs.getincrementaldecoder("utf-8-sig")("surrogateescape").decode


# -- JSON


def _is_whole(line: str) -> bool:
    """Whether a line is an object of its own, as in JSON lines, and no document with a list in it."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and not any(isinstance(value, list) and _has_rows(value) for value in found.values())


def _has_rows(value: list[Any]) -> bool:
    return not value or isinstance(value[0], dict)


def _lines_of_json(lines: _Lines) -> Iterator[Row | Fault]:
    while (found := lines.next()) is not None:
        number, line = found
        if not line.strip():
            continue
        try:
            fields = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield Fault(number, f"no JSON: {str(error)[:100]}")
            continue
        yield Row(number, fields) if isinstance(fields, dict) else Fault(number, "an object is needed: {...}")


def _document(lines: _Lines) -> Iterator[Row | Fault]:
    """The objects of every list in a document: an array, or an object that has one; several behind each other too."""
    decode, text, number, in_list = json.JSONDecoder().raw_decode, "", 0, False
    for chunk in lines.chunks():
        text, at = text + chunk, 0
        while True:
            if not in_list:
                found = _LIST.search(text, at) if at else _FIRST_LIST.search(text)
                if found is None:
                    at = max(at, len(text) - _LONGEST_NAME)
                    break
                at, in_list = found.end(), True
            between = _BETWEEN(text, at)
            at = between.end() if between else at
            if text.startswith("]", at):
                at, in_list = at + 1, False
                continue
            try:
                fields, at = decode(text, at)
            except (ValueError, RecursionError):
                if len(text) - at > _MOST_BYTES:
                    yield Fault(number + 1, "no JSON, or an entry larger than 256 kB; nothing behind it was read")
                    return
                break  # more of it is to come
            number += 1
            yield Row(number, fields) if isinstance(fields, dict) else Fault(number, "an object is needed: {...}")
        text = text[at:]
    if in_list:
        yield Fault(number + 1, "the document ends in the middle of a list")


# -- CSV


def _table(lines: _Lines) -> Iterator[Row | Fault]:
    """The rows of a table with a head, or of a list of addresses without one."""
    cells_of = _Cells(max(_DELIMITERS, key=lines.peek().count)).of
    head: tuple[str, ...] = ()
    while (record := _record(lines, cells_of)) is not None:
        if isinstance(record, Fault):
            yield record
            continue
        number, cells = record
        if not any(cells) or (len(cells) == 1 and cells[0].startswith("#") and "@" not in cells[0]):
            continue
        if not head:
            head = _head(cells)
            if head == _stripped(cells):
                continue
        if len(cells) > len(head) and any(cells[len(head) :]):
            yield Fault(number, f"{len(cells)} cells under {len(head)} heads: is a cell with a comma not in quotes?")
        else:
            yield Row(number, dict(zip(head, cells, strict=False)), head)


def _head(cells: list[str]) -> tuple[str, ...]:
    """The names of the columns: the first row, unless that has an address in it already."""
    if not any("@" in cell for cell in cells):
        return _stripped(cells)
    if len(cells) > 1 and cells[1].strip().lower() in _VERDICTS:
        return "EmailAddress", "Reason"
    return ("address",)


def _stripped(cells: list[str]) -> tuple[str, ...]:
    return tuple([cell.strip() for cell in cells])


class _Cells:
    """Takes rows apart, by one reader for all of them: to make one takes longer than to read a row."""

    def __init__(self, delimiter: str) -> None:
        self._delimiter = delimiter
        self._waiting: deque[str] = deque()
        self._reader = csv.reader(iter(self._waiting.popleft, None), delimiter=delimiter)

    def of(self, text: str) -> list[str]:
        """The cells of one row.

        Raises:
            csv.Error: it is none.
        """
        if '"' not in text and len(text) < _SHORT and "\r" not in (bare := text.rstrip("\r\n")):
            return bare.split(self._delimiter)
        self._waiting.append(text)
        try:
            return next(self._reader)
        except IndexError:  # it asks for a line more, since a quote is open in spite of their number
            return next(csv.reader([text], delimiter=self._delimiter), [])


def _record(lines: _Lines, cells_of: Callable[[str], list[str]]) -> tuple[int, list[str]] | Fault | None:
    """The next row; None behind the last. Where a quote is not closed, the lines behind it are rows of their own."""
    found = lines.next()
    if found is None:
        return None
    number, text = found
    if number == lines.cut:
        return Fault(number, "longer than 256 kB")
    if text is _UTF_16:
        return Fault(number, "UTF-16: save it as UTF-8")
    taken: list[tuple[int, str]] = []
    while text.count('"') % 2:
        more = lines.next() if len(taken) < _MOST_LINES and len(text) < _MOST_BYTES else None
        if more is None:
            lines.put_back(taken)
            return Fault(number, "a quote is not closed")
        taken.append(more)
        text += more[1]
    try:
        return number, cells_of(text)
    except csv.Error as error:
        return Fault(number, f"no CSV: {error}")
