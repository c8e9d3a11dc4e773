"""Every value of a TOML text has its place: the same paths as `tomllib` reads, at the text that it was made of."""

import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from bouncekit.policyfiles.tomlplaces import toml_places

HOUSE = Path(__file__).parents[1] / "bouncekit"
ODD = '''# a comment = [1]
top = 1
"quoted key" = 'a # text' # [[no]] header
a.b . "c" = """
several "quoted" lines
with [[headers]] and = in them, and a quote at the end""""

[table]  # with a comment
list = [ 1, "two", { three = 3, four.five = [4, 5,] }, # not the end ]
  ["nested", 'one'],
]
empty = []
none = {}
when = 2020-12-14T22:05:00Z

[table . "inner"]
path = 'C:\\new'
long = \'\'\'
it's''\'\'\'

[[rules]]
id = "first"
[rules.when]
code = 552
[[rules.examples]]
reply = "552 a \\" b"
[[rules.examples]]
reply = "552 c"

[[rules]]
id = "second"
when.text = ["a", "b"]
'''


def paths(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, one in inner:
        yield (*path, step)
        yield from paths(one, (*path, step))


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_every_value_has_a_place_and_nothing_else_has(newline: str) -> None:
    text = ODD.replace("\n", newline)
    places, keys = toml_places(text, 1000)
    found = set(paths(tomllib.loads(text)))
    assert places.keys() == found
    assert keys.keys() == {path for path in found if isinstance(path[-1], str)}


def test_a_place_is_where_the_value_begins() -> None:
    places, keys = toml_places(ODD, 1000)
    lines = ODD.split("\n")
    begins = {
        ("top",): "1",
        ("quoted key",): "'a #",
        ("a", "b", "c"): '"""',
        ("table", "list", 2, "four", "five", 1): "5,]",
        ("table", "list", 3, 1): "'one'",
        ("table", "inner", "path"): "'C:",
        ("rules", 0): "[[rules]]",
        ("rules", 0, "when", "code"): "552",
        ("rules", 0, "examples", 1, "reply"): '"552 c"',
        ("rules", 1, "when", "text", 1): '"b"]',
    }
    for path, said in begins.items():
        line, column = places[path]
        assert lines[line - 1][column - 1 :].startswith(said), path
    assert keys["rules", 1, "when", "text"] == (32, 6)


@pytest.mark.parametrize(
    "file", [file for folder in ("rules", "codes", "policy") for file in sorted((HOUSE / folder).glob("*.toml"))]
)
def test_the_files_of_this_house_have_all_their_places(file: Path) -> None:
    text = file.read_text("utf-8")
    assert toml_places(text, 10**6)[0].keys() == set(paths(tomllib.loads(text)))


def test_what_goes_wrong_or_is_too_much_ends_it() -> None:
    assert toml_places('a = 1\nb = "open\nc = 3\n', 100)[0].keys() == {("a",), ("b",)}
    assert len(toml_places("a = [" + "1," * 1000 + "]", 100)[0]) == 100
