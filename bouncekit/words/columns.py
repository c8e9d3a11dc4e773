"""Text laid out for a terminal: how wide it is as shown, wrapped to a width, side by side.

A letter of a script such as Devanagari is made of several characters. Marks that sit above or below one take no column
(Unicode categories Mn, Me, Cf). Of spacing marks (Mc), like the sign for i, terminals think differently: some give
them a column, some do not. Here they count as none, and every line is left room for them, so that it fits in either.
"""

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

__all__ = ["NARROW", "beside", "display_width", "labelled", "wrapped"]

NARROW = 70  # in fewer columns things stand one below another

_GAP = 2
_INDENT = "  "
_NO_WIDTH = frozenset({"Mn", "Me", "Cf", "Mc"})
_JOINERS = frozenset("\u200d\u094d")  # the zero-width joiner, and Devanagari's virama: the next letter belongs to it

Row: TypeAlias = tuple[str, str]  # a label, and the text behind it


def display_width(text: str) -> int:
    """The columns that a text takes.

    >>> display_width("fix"), display_width("विवरण"), display_width("日本")
    (3, 4, 4)
    """
    return len(text) if text.isascii() else sum(map(_width, text))


def wrapped(text: str, room: int) -> list[str]:
    """The text in lines of at most `room` columns, cut at spaces; a word that is too long is cut between letters."""
    lines: list[str] = []
    line = ""
    for word in _words(text, max(room, 1)):
        longer = f"{line} {word}" if line else word
        if line and _most(longer) > room:
            lines.append(line)
            longer = word
        line = longer
    return [*lines, line]


def labelled(sections: Iterable[Sequence[Row]], width: int, *, by_cursor: bool = False) -> list[list[str]]:
    """Sections of texts behind their labels, all in one column, or in a narrow terminal below them.

    A row with an empty label goes on with what stands above it. `by_cursor` says that a terminal reads it: its cursor
    is sent to the column, however wide it has drawn the label.
    """
    sections = list(sections)
    if width < NARROW:
        return [[line for row in rows for line in _below(*row, width)] for rows in sections]
    labels = [label for rows in sections for label, _ in rows]
    column = max(map(display_width, labels), default=0) + _GAP
    room = width - column - max(map(_spacing, labels), default=0)
    return [[line for row in rows for line in _behind(*row, column, room, by_cursor)] for rows in sections]


def beside(left: Sequence[str], right: Sequence[str], width: int, *, by_cursor: bool = False) -> list[str]:
    """Two columns of as many paragraphs, each pair of which begins on one line; an empty one is an empty line.

    In a narrow terminal one column stands below the other.
    """
    if width < NARROW:
        return [line for text in (*left, "", *right) for line in wrapped(text, width)]
    room = (width - _GAP) // 2
    first = [wrapped(text, room) for text in left]
    slack = max((_spacing(line) for text in first for line in text), default=0)
    second = [wrapped(text, width - room - _GAP - slack) for text in right]
    lines = []
    for one, other in zip(first, second, strict=True):
        for place in range(max(len(one), len(other))):
            begin, end = (text[place] if place < len(text) else "" for text in (one, other))
            lines.append((_padded(begin, room + _GAP, by_cursor=by_cursor) + end) if end else begin)
    return lines


def _below(label: str, text: str, width: int) -> Iterator[str]:
    if label:
        yield from wrapped(label, width)
    yield from (_INDENT + line for line in wrapped(text, width - len(_INDENT)))


def _behind(label: str, text: str, column: int, room: int, by_cursor: bool) -> Iterator[str]:
    first, *more = wrapped(text, room)
    yield _padded(label, column, by_cursor=by_cursor) + first
    yield from (" " * column + line for line in more)


def _padded(text: str, column: int, *, by_cursor: bool) -> str:
    if by_cursor and not text.isascii():
        return f"{text}\x1b[{column + 1}G"
    return text + " " * (column - display_width(text))


def _width(character: str) -> int:
    if unicodedata.category(character) in _NO_WIDTH:
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _spacing(text: str) -> int:
    """The spacing marks of a text: by so many columns some terminals show it wider."""
    return 0 if text.isascii() else sum(unicodedata.category(character) == "Mc" for character in text)


def _most(text: str) -> int:
    return display_width(text) + _spacing(text)


def _words(text: str, room: int) -> Iterator[str]:
    """The words of a text, those that are too long in pieces."""
    for word in text.split():
        if _most(word) <= room:
            yield word
            continue
        piece = ""
        for letter in _letters(word):
            if piece and _most(piece + letter) > room:
                yield piece
                piece = ""
            piece += letter
        yield piece


def _letters(word: str) -> Iterator[str]:
    """The word in pieces that must not be cut: a character with its marks."""
    letter = ""
    for character in word:
        if letter and unicodedata.category(character) not in _NO_WIDTH and letter[-1] not in _JOINERS:
            yield letter
            letter = ""
        letter += character
    yield letter
