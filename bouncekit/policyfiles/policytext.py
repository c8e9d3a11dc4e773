"""A policy's text as a tree that knows its places: YAML, TOML and JSON read alike, strictly and within bounds.

Every scalar stays text, whatever the format makes of it; the schema decides what it means. So `no`, `1:30` and `5.10`
are what somebody wrote. YAML is read event by event and nothing is ever expanded: there are no aliases, tags, merge
keys or second documents in a policy. No path through a file is deeper than 16 steps.
"""

import json
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import PurePath
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

from bouncekit.policyfiles.tomlplaces import toml_places
from bouncekit.words.errors import Finding, PolicyError

__all__ = ["Path", "Tree", "listed", "quoted", "read_tree"]

MAX_TEXT_BYTES = 1024 * 1024
MAX_DEPTH = 16
MAX_NODES = 100_000
MAX_FINDINGS = 100  # more than anybody mends before the next try

# tomllib keeps every prefix of a dotted key: half a million dots in one line take all memory there is.
MAX_TOML_LINES = 20_000
MAX_TOML_DOTS = 64

# YAML 1.2 5.1, less the line ends that only YAML knows: an editor would count its lines differently.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]").search
_NO_SPACE = re.compile(r"[ -]*([A-Za-z_]+):([\w'\"\[{][^:]*)$").match
_ENTRY = re.compile(r"(?:[ -]*?)([A-Za-z_]+):(?: +(\S.*))?$").match
_TOML_PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")

_HINTS = (
    ("mapping values are not allowed", "a value that has ': ' in it stands in quotes"),
    ("cannot start any token", "tabs do not indent in YAML, and a value that begins with @, ` or % stands in quotes"),
    ("while parsing a flow", "a { or [ is not closed, or a comma is missing"),
    ("escape", "in double quotes a \\ begins an escape; write single ones"),
    ("while scanning a quoted scalar", "a quote is not closed"),
    ("while scanning an a", "a value that begins with * or & stands in quotes"),
    ("", "look at the indentation of this line and the one before"),
)

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


def read_tree(file: str, text: str) -> Tree:
    """The tree of a text, by the suffix of its file: .toml, .json, else YAML.

    Raises:
        PolicyError: the text cannot be read at all; where, and what would be right.
    """
    text = text.removeprefix("\ufeff")
    if len(text) > MAX_TEXT_BYTES or len(text.encode("utf-8", "surrogatepass")) > MAX_TEXT_BYTES:
        raise _error(file, None, None, f"larger than {MAX_TEXT_BYTES} bytes; a policy is a page or two")
    if found := _UNPRINTABLE(text):
        line, column = _place_of(text, found.start())
        raise _error(
            file, line, column, f"the character U+{ord(found[0]):04X} does not belong into a policy; remove it"
        )
    read = _READERS.get(PurePath(file).suffix.lower(), _read_yaml)
    tree = read(file, text)
    if not tree.data:
        raise _error(file, 1, 1, "nothing in it; a policy begins with policy: 1")
    return tree


def quoted(text: object) -> str:
    """Some of a text from a file, made harmless for a message."""
    shown = str(text)
    return repr(shown if len(shown) <= 60 else f"{shown[:57]}...")


def listed(value: object) -> list[Any]:
    """What stands at a key that may have one value or several: the values, or the names of a mapping."""
    if isinstance(value, dict):
        return list(value)
    return value if isinstance(value, list) else [] if value is None else [value]


# -- YAML

# The loader of libyaml is eight times faster; every PyYAML wheel has it, a build from source may not.
_LOADER = getattr(yaml, "CBaseLoader", yaml.BaseLoader)


def _read_yaml(file: str, text: str) -> Tree:
    builder = _Builder(file)
    try:
        _build(builder, text)
    except yaml.MarkedYAMLError as error:
        raise PolicyError([*builder.findings, _syntax(file, text, error)]) from None
    except yaml.YAMLError as error:
        raise _error(file, None, None, f"no YAML: {str(error).splitlines()[0]}") from None
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


# -- TOML and JSON

_TOML_HINTS = (
    (r"[=\[,]\s*0\d", "a number does not begin with 0"),
    (r"[=\[,]\s*(?:True|False|yes|no|on|off)\b", "write true or false"),
    (r"=\s*[A-Za-z]", "a text stands in quotes"),
    (r"[\w\"']\s*:\s", "a key and its value have = between them"),
)
_JSON_HINTS = (
    (r"[:\[,]\s*0\d", "a number does not begin with 0"),
    (r",\s*[}\]]", "no comma behind the last entry"),
    (r"//|/\*|#", "JSON has no comments"),
    (r"[:\[,{]\s*'", "a text stands in double quotes"),
    (r"[:\[,]\s*(?:True|False|yes|no)\b", "write true or false"),
)


def _written_wrongly(hints: Sequence[tuple[str, str]], text: str, line: int | None) -> str:
    """What is mostly meant by such a mistake, from the line that it is in; "" where nothing can be seen."""
    written = text.split("\n")[line - 1] if line else ""
    return next((f"; {hint}" for pattern, hint in hints if re.search(pattern, written)), "")


def _read_toml(file: str, text: str) -> Tree:
    for number, written in enumerate(text.split("\n"), start=1):
        if written.count(".") > MAX_TOML_DOTS:
            raise _error(file, number, None, f"more than {MAX_TOML_DOTS} dots in one line; break it up")
        if number > MAX_TOML_LINES:
            raise _error(file, number, None, f"more than {MAX_TOML_LINES} lines; a policy is a page or two")
    try:
        data = tomllib.loads(text, parse_float=str)
    except RecursionError:
        raise _too_deep(file) from None
    except ValueError as error:
        found = _TOML_PLACE.search(str(error))
        line, column = (int(found[1]), int(found[2])) if found and found[1] else (None, None)
        said, hint = _TOML_PLACE.sub("", str(error)), _written_wrongly(_TOML_HINTS, text, line)
        raise _error(file, line, column, f"no TOML: {said}{hint}") from None
    texts = _texts(file, data)
    places, keys = toml_places(text, MAX_NODES)
    return Tree(file, texts, places, keys, is_yaml=False)


def _read_json(file: str, text: str) -> Tree:
    twice: list[str] = []

    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        seen = dict(pairs)
        if len(seen) < len(pairs):
            twice.extend(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)
        return seen

    try:
        data = json.loads(text, object_pairs_hook=unique, parse_int=str, parse_float=str, parse_constant=str)
    except RecursionError:
        raise _too_deep(file) from None
    except json.JSONDecodeError as error:
        hint = _written_wrongly(_JSON_HINTS, text, error.lineno)
        raise _error(file, error.lineno, error.colno, f"no JSON: {error.msg}{hint}") from None
    texts = _texts(file, data)
    # JSON is YAML but for a few escapes and tabs: the same builder knows the places of what it reads.
    builder = _Builder(file)
    with suppress(yaml.YAMLError, PolicyError):
        _build(builder, text)
    tree = builder.tree()
    findings = tree.findings or tuple(
        Finding(file, None, None, f"duplicate key {quoted(key)}; keep one of them") for key in twice[:MAX_FINDINGS]
    )
    return Tree(file, texts, tree.places, tree.keys, findings, is_yaml=False)


_READERS: Mapping[str, Callable[[str, str], Tree]] = {".toml": _read_toml, ".json": _read_json}


def _texts(file: str, value: object, depth: int = 0) -> object:
    """The same tree with every scalar as text: true and 5 become what a YAML file would have said."""
    if depth > MAX_DEPTH:
        raise _too_deep(file)
    if isinstance(value, dict):
        return {key: _texts(file, inner, depth + 1) for key, inner in value.items()}
    if isinstance(value, list):
        return [_texts(file, inner, depth + 1) for inner in value]
    if isinstance(value, bool):
        return str(value).lower()
    return "null" if value is None else str(value)


# -- helpers


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


def _place_of(text: str, offset: int) -> tuple[int, int]:
    return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)


def _too_deep(file: str) -> PolicyError:
    return _error(file, None, None, f"nested deeper than {MAX_DEPTH} levels; no part of a policy is")


def _error(file: str, line: int | None, column: int | None, message: str) -> PolicyError:
    return PolicyError([Finding(file, line, column, message)])
