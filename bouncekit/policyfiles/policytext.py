"""A policy's text as a tree that knows its places: YAML, TOML and JSON read alike, strictly and within bounds."""

import json
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath

from bouncekit.policyfiles.policytree import MAX_DEPTH, MAX_FINDINGS, MAX_NODES, Tree, fault, quoted, too_deep
from bouncekit.policyfiles.tomlplaces import toml_places
from bouncekit.policyfiles.yamltext import places_in, read_yaml
from bouncekit.words.errors import Finding

__all__ = ["read_tree"]

MAX_TEXT_BYTES = 1024 * 1024

# tomllib keeps every prefix of a dotted key: half a million dots in one line take all memory there is.
MAX_TOML_LINES = 20_000
MAX_TOML_DOTS = 64

# YAML 1.2 5.1, less the line ends that only YAML knows: an editor would count its lines differently.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]").search
_TOML_PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")

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


def read_tree(file: str, text: str) -> Tree:
    """The tree of a text, by the suffix of its file: .toml, .json, else YAML.

    Raises:
        PolicyError: the text cannot be read at all; where, and what would be right.
    """
    text = text.removeprefix("\ufeff")
    if len(text) > MAX_TEXT_BYTES or len(text.encode("utf-8", "surrogatepass")) > MAX_TEXT_BYTES:
        raise fault(file, None, None, f"larger than {MAX_TEXT_BYTES} bytes; a policy is a page or two")
    if found := _UNPRINTABLE(text):
        line, column = _place_of(text, found.start())
        raise fault(file, line, column, f"the character U+{ord(found[0]):04X} does not belong into a policy; remove it")
    read = _READERS.get(PurePath(file).suffix.lower(), read_yaml)
    tree = read(file, text)
    if not tree.data:
        raise fault(file, 1, 1, "nothing in it; a policy begins with policy: 1")
    return tree


def _written_wrongly(hints: Sequence[tuple[str, str]], text: str, line: int | None) -> str:
    """What is mostly meant by such a mistake, from the line that it is in; "" where nothing can be seen."""
    written = text.split("\n")[line - 1] if line else ""
    return next((f"; {hint}" for pattern, hint in hints if re.search(pattern, written)), "")


def _read_toml(file: str, text: str) -> Tree:
    for number, written in enumerate(text.split("\n"), start=1):
        if written.count(".") > MAX_TOML_DOTS:
            raise fault(file, number, None, f"more than {MAX_TOML_DOTS} dots in one line; break it up")
        if number > MAX_TOML_LINES:
            raise fault(file, number, None, f"more than {MAX_TOML_LINES} lines; a policy is a page or two")
    try:
        data = tomllib.loads(text, parse_float=str)
    except RecursionError:
        raise too_deep(file) from None
    except ValueError as error:
        found = _TOML_PLACE.search(str(error))
        line, column = (int(found[1]), int(found[2])) if found and found[1] else (None, None)
        said, hint = _TOML_PLACE.sub("", str(error)), _written_wrongly(_TOML_HINTS, text, line)
        raise fault(file, line, column, f"no TOML: {said}{hint}") from None
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
        raise too_deep(file) from None
    except json.JSONDecodeError as error:
        hint = _written_wrongly(_JSON_HINTS, text, error.lineno)
        raise fault(file, error.lineno, error.colno, f"no JSON: {error.msg}{hint}") from None
    texts = _texts(file, data)
    tree = places_in(file, text)
    findings = tree.findings or tuple(
        Finding(file, None, None, f"duplicate key {quoted(key)}; keep one of them") for key in twice[:MAX_FINDINGS]
    )
    return Tree(file, texts, tree.places, tree.keys, findings, is_yaml=False)


_READERS: Mapping[str, Callable[[str, str], Tree]] = {".toml": _read_toml, ".json": _read_json}


def _texts(file: str, value: object, depth: int = 0) -> object:
    """The same tree with every scalar as text: true and 5 become what a YAML file would have said."""
    if depth > MAX_DEPTH:
        raise too_deep(file)
    if isinstance(value, dict):
        return {key: _texts(file, inner, depth + 1) for key, inner in value.items()}
    if isinstance(value, list):
        return [_texts(file, inner, depth + 1) for inner in value]
    if isinstance(value, bool):
        return str(value).lower()
    return "null" if value is None else str(value)


def _place_of(text: str, offset: int) -> tuple[int, int]:
    return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)
