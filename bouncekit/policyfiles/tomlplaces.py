"""Where each value of a TOML text stands, which `tomllib` does not tell: one walk over a text that it has read."""

import re
from bisect import bisect_right
from collections.abc import Callable
from contextlib import suppress

__all__ = ["Place", "toml_places"]

Place = tuple[int, int]
Path = tuple[str | int, ...]
Match = Callable[[str, int], re.Match[str] | None]

_SPACE = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*").match
_KEY = re.compile(r"""[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'""").match
_DOT = re.compile(r"[ \t]*\.[ \t]*").match
_EQUALS = re.compile(r"[ \t]*=[ \t]*").match
_CLOSED = re.compile(r"[ \t]*\]{1,2}").match
# Of three quotes, those that are not closed at once; one or two before the closing ones belong to the text.
_SCALAR = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'|[^\s,\]}#"\'][^,\]}\n#]*', re.DOTALL
).match


def toml_places(text: str, most: int) -> tuple[dict[Path, Place], dict[Path, Place]]:
    """The places of values and of keys, as line and column from 1, of so many values at most.

    `text` is one that `tomllib` has read; of any other the places are those up to where it goes wrong.
    """
    walk = _Walk(text, most)
    with suppress(ValueError):
        walk.document()
    return walk.places, walk.keys


class _Walk:
    """A text, and how far it is read."""

    def __init__(self, text: str, most: int) -> None:
        self.places: dict[Path, Place] = {}
        self.keys: dict[Path, Place] = {}
        self._text, self._at, self._most = text, 0, most
        self._lines = [0, *(found.end() for found in re.finditer("\n", text))]
        self._lengths: dict[Path, int] = {}  # of arrays of tables, so far

    def document(self) -> None:
        """All of it."""
        table: Path = ()
        while self._next():
            table = self._header() if self._next() == "[" else self._pair(table)

    def _header(self) -> Path:
        """[a.b] or [[a.b]]: the table that begins."""
        start, is_one_of_many = self._place(), self._text.startswith("[[", self._at)
        self._at += 1 + is_one_of_many
        *outer, (name, place) = self._keys()
        self._take(_CLOSED)
        path: Path = ()
        for step, at in (*outer, (name, place)):
            path = (*self._last(path), step)
            self.keys.setdefault(path, at)
            self.places.setdefault(path, start)
        if is_one_of_many:
            self._lengths[path] = self._lengths.get(path, 0) + 1
            self.places[self._last(path)] = start
        return self._last(path)

    def _pair(self, table: Path) -> Path:
        """One key with its value; answers the table that it stands in."""
        path = table
        for name, place in self._keys():
            path = (*path, name)
            self.keys.setdefault(path, place)
            self.places.setdefault(path, place)
        self._take(_EQUALS)
        self._value(path)
        return table

    def _value(self, path: Path) -> None:
        if len(self.places) >= self._most:
            raise ValueError
        self.places[path] = self._place()
        if self._next() == "[":
            self._inside("]", lambda number: self._value((*path, number)))
        elif self._next() == "{":
            self._inside("}", lambda _: self._pair(path))
        else:
            self._take(_SCALAR)

    def _inside(self, end: str, each: Callable[[int], object]) -> None:
        """The values of an array, or the pairs of an inline table."""
        self._at += 1
        number = 0
        while self._next() != end:
            each(number)
            number += 1
            if self._next() == ",":
                self._at += 1
        self._at += 1

    def _keys(self) -> list[tuple[str, Place]]:
        """A key, or several with dots between them."""
        self._take(_SPACE)
        found = []
        while True:
            place = self._place()
            found.append((self._take(_KEY).strip("\"'"), place))
            if not _DOT(self._text, self._at):
                return found
            self._take(_DOT)

    def _last(self, path: Path) -> Path:
        """The table that a path means now: of an array of tables the last one."""
        return (*path, self._lengths[path] - 1) if path in self._lengths else path

    def _next(self) -> str:
        """The sign that comes next behind space and comments; "" at the end."""
        self._take(_SPACE)
        return self._text[self._at : self._at + 1]

    def _take(self, match: Match) -> str:
        found = match(self._text, self._at)
        if found is None:
            raise ValueError
        self._at = found.end()
        return found[0]

    def _place(self) -> Place:
        line = bisect_right(self._lines, self._at)
        return line, self._at - self._lines[line - 1] + 1
