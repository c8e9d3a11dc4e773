"""Fifteen faults planted into files that look like anybody's: `policy check` finds each at its place, and nothing else.

In `data/policies` the line of a fault ends with `#! code: text`, the text being where on the line it is found. The
mended file has no fault left: what the findings advise is right.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from click.testing import CliRunner

from bouncekit.cli import main
from bouncekit.outside.builtin import policy_names

FOLDER = Path(__file__).parent / "data" / "policies"
MISTAKES, FAULTY, MENDED = (FOLDER / f"{name}.yaml" for name in ("mistakes", "faults", "mended"))
_PLANTED = re.compile(r"^(?P<line>.*?) +#! (?P<code>[\w-]+): (?P<text>.+)$")


class Place(NamedTuple):
    line: int
    column: int
    code: str


def planted(*files: Path) -> list[tuple[str, Place]]:
    """The faults that files say they have."""
    found = []
    for file in files:
        for number, line in enumerate(file.read_text("utf-8").splitlines(), 1):
            if marked := _PLANTED.match(line):
                column = marked["line"].index(marked["text"]) + 1
                found.append((file.name, Place(number, column, marked["code"])))
    return found


def check(*names: str | Path) -> tuple[int, list[dict[str, Any]]]:
    done = CliRunner().invoke(main, ["policy", "check", "--format", "json", *map(str, names)], standalone_mode=False)
    return done.exit_code, [json.loads(line) for line in done.stdout.splitlines()]


def places(checked: Sequence[dict[str, Any]]) -> list[tuple[str, Place]]:
    return [
        (Path(one["file"]).name, Place(finding["line"], finding["column"], finding["code"]))
        for one in checked
        for finding in one["findings"]
    ]


def test_there_are_fifteen_faults_of_fifteen_kinds() -> None:
    codes = [place.code for _, place in planted(MISTAKES, FAULTY)]
    assert len(codes) == len(set(codes)) == 15


def test_each_is_found_at_its_place_and_nothing_else_is() -> None:
    code, checked = check(MISTAKES, FAULTY)
    assert code == 1
    assert sorted(places(checked)) == sorted(planted(MISTAKES, FAULTY))


def test_each_says_what_would_be_right() -> None:
    _, checked = check(MISTAKES, FAULTY)
    for finding in (finding for one in checked for finding in one["findings"]):
        assert finding["fix"] or re.search("did you mean|one of", finding["message"]), finding


def test_the_mended_file_has_none_left() -> None:
    assert check(MENDED) == (0, [{"file": str(MENDED), "ok": True, "findings": []}])


@pytest.mark.parametrize("name", sorted(policy_names()))
def test_the_shipped_policies_have_none(name: str) -> None:
    code, (checked,) = check(name)
    assert (code, checked["findings"]) == (0, [])
