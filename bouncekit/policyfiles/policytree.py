"""What a policy's file says and where: dicts, lists and texts, each with its place.

Every scalar is text, whatever the format makes of it; the schema decides what it means. So `no`, `1:30` and `5.10` are
what somebody wrote. No path through a file is deeper than 16 steps.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bouncekit.words.errors import Finding, PolicyError

__all__ = ["MAX_DEPTH", "MAX_FINDINGS", "MAX_NODES", "Path", "Tree", "fault", "listed", "quoted", "too_deep"]

MAX_DEPTH = 16
MAX_NODES = 100_000
MAX_FINDINGS = 100  # more than anybody mends before the next try

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Tree:
    """What a file says: dicts, lists and texts in `data`; where it says so in `places` and, for keys, in `keys`.

    A place is line and column from 1. `findings` are mistakes of form behind which reading went on.
    """

    file: str
    data: object
    places: Mapping[Path, tuple[int, int | None]] = field(default_factory=dict)
    keys: Mapping[Path, tuple[int, int | None]] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    is_yaml: bool = True

    def finding(self, location: Path, message: str, *, at_key: bool = False) -> Finding:
        """A finding at a value, or at its key; steps of `location` that are not in the file are passed over."""
        path = self._real(location)
        place = self.keys.get(path) if at_key else None
        end = len(path)
        while place is None and end:
            place = self.places.get(path[:end])
            end -= 1
        place = place or self.places.get(())
        line, column = place or (None, None)
        shown = "" if self.is_yaml or not path else f"{_dotted(path)}: "
        return Finding(self.file, line, column, shown + message)

    def where(self, path: Path) -> str:
        """The place for evidence: file:line, or the file and the path where no line is known."""
        place = self.places.get(path)
        return f"{self.file}:{place[0] if place else _dotted(path)}"

    def value(self, location: Path) -> object:
        """What stands there, None where nothing does."""
        value = self.data
        for step in location:
            value = _step(value, step)
        return value

    def _real(self, location: Path) -> Path:
        path: Path = ()
        value = self.data
        for step in location:
            inner = _step(value, step)
            if inner is not None:
                path, value = (*path, step), inner
        return path


def quoted(text: object) -> str:
    """Some of a text from a file, made harmless for a message."""
    shown = str(text)
    return repr(shown if len(shown) <= 60 else f"{shown[:57]}...")


def listed(value: object) -> list[Any]:
    """What stands at a key that may have one value or several: the values, or the names of a mapping."""
    if isinstance(value, dict):
        return list(value)
    return value if isinstance(value, list) else [] if value is None else [value]


def too_deep(file: str) -> PolicyError:
    """The error of a file whose lists and mappings lie too deep in each other."""
    return fault(file, None, None, f"nested deeper than {MAX_DEPTH} levels; no part of a policy is")


def fault(file: str, line: int | None, column: int | None, message: str) -> PolicyError:
    """The error of a file that cannot be read at all."""
    return PolicyError([Finding(file, line, column, message)])


def _step(value: object, step: str | int) -> object:
    if isinstance(value, dict):
        return value.get(step)
    if isinstance(value, list) and isinstance(step, int) and 0 <= step < len(value):
        return value[step]
    return None


def _dotted(path: Path) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{_word(step)}" for step in path).lstrip(".")


def _word(key: str) -> str:
    return key if len(key) <= 60 and key.isprintable() and " " not in key else quoted(key)
