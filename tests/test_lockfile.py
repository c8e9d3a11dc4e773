"""uv.lock pins what pyproject.toml asks for; `uv lock` mends it where they differ."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent


def read(name: str) -> dict[str, Any]:
    return tomllib.loads((ROOT / name).read_text("utf-8"))


PROJECT = read("pyproject.toml")
LOCKED = {package["name"]: package for package in read("uv.lock")["package"]} if (ROOT / "uv.lock").exists() else {}

pytestmark = pytest.mark.skipif(not LOCKED, reason="not in a tree of the source: no uv.lock")


def as_locked(line: str, extra: str = "") -> tuple[str, str, frozenset[str], str, str]:
    """A requirement: name, versions, extras, for whom, and the extra of ours that it belongs to."""
    wanted = Requirement(line)
    versions = ",".join(sorted(str(wanted.specifier).split(",")))
    return canonicalize_name(wanted.name), versions, frozenset(wanted.extras), str(wanted.marker or ""), extra


def test_it_was_made_from_what_the_project_asks_for_now() -> None:
    asked = {as_locked(line) for line in PROJECT["project"]["dependencies"]}
    for extra, lines in PROJECT["project"]["optional-dependencies"].items():
        asked |= {as_locked(line, extra) for line in lines}
    locked = set()
    for one in LOCKED["bouncekit"]["metadata"]["requires-dist"]:
        *marker, extra = one.get("marker", "").replace("'", '"').split('extra == "')
        wanted = as_locked(f"{one['name']}[{','.join(one.get('extras', ()))}]{one.get('specifier', '')}")
        belongs = (marker[0].removesuffix(" and ") if marker else extra, extra.rstrip('"') if marker else "")
        locked.add((*wanted[:3], *belongs))
    assert locked == asked


def test_all_of_it_comes_from_the_public_index() -> None:
    sources = {name: package["source"] for name, package in LOCKED.items() if name != "bouncekit"}
    assert {str(source) for source in sources.values()} == {"{'registry': 'https://pypi.org/simple'}"}
