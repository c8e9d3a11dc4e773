"""A policy in YAML, read event by event, and nothing is ever expanded.

There are no aliases, tags, merge keys or second documents in a policy.
"""

import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NoReturn

import yaml
from yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    DocumentStartEvent,
    Event,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceStartEvent,
)

from bouncekit.policyfiles.policytree import MAX_DEPTH, MAX_FINDINGS, MAX_NODES, Path, Tree, fault, quoted
from bouncekit.words.errors import Finding, PolicyError

__all__ = ["places_in", "read_yaml"]

# The loader of libyaml is eight times faster; every PyYAML wheel has it, a build from source may not.
_LOADER = getattr(yaml, "CBaseLoader", yaml.BaseLoader)

_NO_SPACE = re.compile(r"[ -]*([A-Za-z_]+):([\w'\"\[{][^:]*)$").match
_ENTRY = re.compile(r"(?:[ -]*?)([A-Za-z_]+):(?: +(\S.*))?$").match

_HINTS = (
    ("mapping values are not allowed", "a value that has ': ' in it stands in quotes"),
    ("cannot start any token", "tabs do not indent in YAML, and a value that begins with @, ` or % stands in quotes"),
    ("while parsing a flow", "a { or [ is not closed, or a comma is missing"),
    ("escape", "in double quotes a \\ begins an escape; write single ones"),
    ("while scanning a quoted scalar", "a quote is not closed"),
    ("while scanning an a", "a value that begins with * or & stands in quotes"),
    ("", "look at the indentation of this line and the one before"),
)


def read_yaml(file: str, text: str) -> Tree:
    """The tree of a text.

    Raises:
        PolicyError: it is no YAML; where, and what would be right.
    """
    builder = _Builder(file)
    try:
        _build(builder, text)
    except yaml.MarkedYAMLError as error:
        raise PolicyError([*builder.findings, _syntax(file, text, error)]) from None
    except yaml.YAMLError as error:
        raise fault(file, None, None, f"no YAML: {str(error).splitlines()[0]}") from None
    return builder.tree()


def places_in(file: str, text: str) -> Tree:
    """The tree of a text in JSON, which is YAML but for a few escapes and tabs: as far as it can be read so."""
    builder = _Builder(file)
    with suppress(yaml.YAMLError, PolicyError):
        _build(builder, text)
    return builder.tree()


def _build(builder: "_Builder", text: str) -> None:
    for event in yaml.parse(text, Loader=_LOADER):
        builder.take(event)


def _syntax(file: str, text: str, error: Any) -> Finding:
    """What PyYAML complains about, and what it mostly means."""
    mark = error.problem_mark or error.context_mark
    said = f"{error.context or ''} {error.problem or ''}".strip()
    hint = (mark and _layout(text.split("\n"), mark.line)) or next(hint for symptom, hint in _HINTS if symptom in said)
    line, column = (mark.line + 1, mark.column + 1) if mark else (None, None)
    return Finding(file, line, column, f"no YAML: {said}; {hint}")


def _layout(lines: Sequence[str], at: int) -> str | None:
    """What is wrong with the form of a line, or of the one before, where that can be seen; None where it cannot."""
    here, before = lines[at] if at < len(lines) else "", lines[at - 1] if at else ""
    for number, line in ((at, before), (at + 1, here)):
        if found := _NO_SPACE(line):
            return f"line {number} has no space behind the colon: {found[1]}: {found[2]}"
    if (key := _ENTRY(before)) and (other := _ENTRY(here)) and other.start(1) > key.start(1) and key[2]:
        return f"this line begins {other.start(1) - key.start(1)} further right than the one before; begin both alike"
    return None


class _Builder:
    """A tree under construction, without recursion: a file cannot choose how deep our stack is."""

    def __init__(self, file: str) -> None:
        self.findings: list[Finding] = []
        self._file = file
        self._root: object = None
        self._places: dict[Path, tuple[int, int | None]] = {}
        self._keys: dict[Path, tuple[int, int | None]] = {}
        self._open: list[tuple[dict[str, object] | list[object], Path]] = []
        self._key: str | None = None
        self._refused: list[tuple[dict[str, object], str]] = []
        self._documents = 0

    def tree(self) -> Tree:
        """What was built, without what was refused."""
        for mapping, key in self._refused:
            del mapping[key]
        return Tree(self._file, self._root, self._places, self._keys, tuple(self.findings))

    def take(self, event: Event) -> None:
        """One event of the parser."""
        match event:
            case DocumentStartEvent():
                self._documents += 1
                if self._documents > 1:
                    self._stop(event, "a second document; a policy is one, without --- in the middle")
            case AliasEvent():
                self._find(event, "an alias; write the value out, and a text that begins with * in quotes")
                self._add(event, "")
            case ScalarEvent() if self._expects_key:
                self._take_key(event, event.value)
            case ScalarEvent():
                self._refuse_marks(event)
                self._add(event, event.value)
            case MappingStartEvent():
                self._enter(event, {})
            case SequenceStartEvent():
                self._enter(event, [])
            case CollectionEndEvent():
                self._open.pop()

    @property
    def _expects_key(self) -> bool:
        return bool(self._open) and isinstance(self._open[-1][0], dict) and self._key is None

    def _take_key(self, event: ScalarEvent, key: str) -> None:
        self._refuse_marks(event)
        mapping, path = self._open[-1]
        assert isinstance(mapping, dict)
        line, column = _place(event)
        if key == "<<":
            self._find(event, "a merge key; write the values out, or let the file extend another policy")
        elif key in mapping:
            first = ":".join(map(str, self._keys[*path, key]))
            self._find(event, f"duplicate key {quoted(key)}: it stands at {first} already; keep one of them")
        if key == "<<" or key in mapping:
            key = f"{key} {line}:{column}"
            self._refused.append((mapping, key))
        self._keys[*path, key] = (line, column)
        self._key = key

    def _enter(self, event: NodeEvent, container: dict[str, object] | list[object]) -> None:
        if self._expects_key:
            self._stop(event, "a key is one word")
        if len(self._open) >= MAX_DEPTH:
            self._stop(event, f"nested deeper than {MAX_DEPTH} levels; no part of a policy is")
        self._refuse_marks(event)
        self._open.append((container, self._add(event, container)))

    def _add(self, event: NodeEvent, value: object) -> Path:
        """Put a value where it belongs, and remember where it stands."""
        if len(self._places) >= MAX_NODES:
            self._stop(event, f"more than {MAX_NODES} values; a policy is a page or two")
        container, path = self._open[-1] if self._open else (None, ())
        if isinstance(container, list):
            path = (*path, len(container))
            container.append(value)
        elif isinstance(container, dict):
            if self._key is None:
                self._stop(event, "a key is one word")
            path = (*path, self._key)
            container[self._key], self._key = value, None
        else:
            self._root = value
        self._places[path] = _place(event)
        return path

    def _refuse_marks(self, event: Any) -> None:
        if event.tag is not None:
            self._find(event, f"a tag, {quoted(event.tag)}; write the plain value, the grammar knows what it is")
        if event.anchor is not None:
            self._find(event, "an anchor; a text that begins with & stands in quotes, anything else is written out")

    def _find(self, event: Event, message: str) -> None:
        self.findings.append(Finding(self._file, *_place(event), message))
        if len(self.findings) >= MAX_FINDINGS:
            raise PolicyError(self.findings)

    def _stop(self, event: Event, message: str) -> NoReturn:
        raise PolicyError([*self.findings, Finding(self._file, *_place(event), message)])


def _place(event: Event) -> tuple[int, int]:
    mark: Any = event.start_mark
    return mark.line + 1, mark.column + 1
