"""The documentation builds as a site, without a warning, and has its pages as docs/index.md has them."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("zensical", reason="python -m pip install zensical")

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / ".zensical.toml"
PARTS = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "docs", "policies")
_SECTION = re.compile(r"^\*\*(.+?)\*\*(.*?)(?=^\*\*|\Z)", re.MULTILINE | re.DOTALL)


def project() -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads(CONFIG.read_text("utf-8"))["project"]
    return found


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built of a copy: what a build leaves stays out of the tree."""
    folder = tmp_path_factory.mktemp("site")
    for part in (CONFIG.name, *PARTS):
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, folder / part)
    done = subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--strict", "-f", CONFIG.name],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout
    return folder / ".site"


def test_every_page_of_the_docs_is_there(site: Path) -> None:
    pages = {page.relative_to(ROOT).with_suffix("") for page in (ROOT / "docs").rglob("*.md")}
    assert {page for page in pages if page.name != "index" and not (site / page / "index.html").is_file()} == set()


def test_search_finds_english_and_hindi(site: Path) -> None:
    items = json.loads((site / "search.json").read_text("utf-8"))["items"]
    titles = {item["location"]: item["title"] for item in items}
    assert titles["docs/reference/codes.hi/"] == "कोड, हिंदी में"
    assert titles["docs/tutorial/"]


def test_there_is_a_light_and_a_dark_one(site: Path) -> None:
    page = (site / "index.html").read_text("utf-8")
    assert {"default", "slate"} <= {*re.findall(r'data-md-color-scheme="(\w+)"', page)}


def test_a_reader_loads_nothing_from_elsewhere(site: Path) -> None:
    loaded = re.compile(r'<(?:script|img|iframe)[^>]* src="(?:https?:)?//|<link[^>]* href="(?:https?:)?//')
    assert [page for page in site.rglob("*.html") if loaded.search(page.read_text("utf-8"))] == []


def test_the_navigation_is_that_of_the_index() -> None:
    index = (ROOT / "docs" / "index.md").read_text("utf-8")
    wanted = [
        (section, [f"docs/{page}" for page in re.findall(r"\]\(([^)#:]+\.md)\)", text)])
        for section, text in _SECTION.findall(index)
    ]
    given = [entry for part in project()["nav"] for entry in part.items() if isinstance(entry[1], list)]
    sections = [(section, [page for one in pages for page in one.values()]) for section, pages in given]
    assert [one for one in sections if one[0] != "Contribute"] == wanted
