"""Links in README and docs lead to a file and a heading that are there; pictures say what they show.

Ids of headings are those that GitHub makes.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md")),
    *sorted(DOCS.rglob("*.md")),
    ROOT / "policies" / "README.md",
]
IDS = [page.relative_to(ROOT).as_posix() for page in PAGES]
_ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)
_MARKDOWN = MarkdownIt("commonmark").enable("table")


def tokens(text: str) -> Iterator[Token]:
    """All tokens of a page, those inside of paragraphs too, and nothing of what stands in code."""
    for token in _MARKDOWN.parse(text):
        yield token
        yield from token.children or ()


def links(text: str) -> list[str]:
    """Where links and pictures of a page lead, without those to other places of the web."""
    found = [str(token.attrs.get("href") or token.attrs.get("src") or "") for token in tokens(text)]
    return [link for link in found if link and not _ELSEWHERE.match(link)]


def anchors(text: str) -> set[str]:
    """The ids that GitHub gives to the headings of a page; one that comes again is numbered."""
    blocks, seen, found = _MARKDOWN.parse(text), Counter[str](), set[str]()
    for opening, content in pairwise(blocks):
        if opening.type == "heading_open":
            shown = "".join(one.content for one in content.children or () if one.type in ("text", "code_inline"))
            slug = _slug(shown)
            found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
            seen[slug] += 1
    return found


def _slug(heading: str) -> str:
    kept = (one for one in heading.lower() if one in "-_ " or unicodedata.category(one)[0] in "LMN")
    return "".join(kept).replace(" ", "-")


def broken(page: Path, text: str) -> list[str]:
    """The links of a page that lead nowhere."""
    return [link for link in links(text) if not _leads_somewhere(page, text, link)]


def _leads_somewhere(page: Path, text: str, link: str) -> bool:
    path, _, anchor = unquote(link).partition("#")
    target = (page.parent / path).resolve() if path else page
    if not (target.is_relative_to(ROOT) and target.exists()):
        return False
    return not anchor or anchor in anchors(text if target == page else target.read_text("utf-8"))


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    assert broken(page, page.read_text("utf-8")) == []


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_picture_says_what_it_shows(page: Path) -> None:
    pictures = [token for token in tokens(page.read_text("utf-8")) if token.type == "image"]
    assert [token.attrs["src"] for token in pictures if len(token.content.split()) < 3] == []


def test_every_picture_is_on_a_page() -> None:
    shown = {(page.parent / unquote(link)).resolve() for page in PAGES for link in links(page.read_text("utf-8"))}
    assert {picture.name for picture in (DOCS / "pictures").iterdir() if picture.resolve() not in shown} == set()


def test_every_page_can_be_reached_from_the_index() -> None:
    index = DOCS / "index.md"
    named = {link.partition("#")[0] for link in links(index.read_text("utf-8"))}
    pages = {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md") if page != index}
    assert pages - named == set()


@pytest.mark.parametrize(
    "link",
    ["nowhere.md", "#no-such-heading", "index.md#no-such-heading", "../../outside.md", "pictures/none.png"],
)
def test_a_link_that_leads_nowhere_is_found(link: str) -> None:
    assert broken(DOCS / "page.md", f"# A page\n\n[somewhere]({link})") == [link]


def test_what_looks_like_a_link_in_code_is_none() -> None:
    text = "`[a](nowhere.md)`\n\n```text\n[b](nowhere.md)\n```\n\n[c](https://example.com/nowhere)"
    assert broken(DOCS / "page.md", text) == []


@pytest.mark.parametrize(
    ("heading", "anchor"),
    [
        ("What 221, 452 and 552 mean", "what-221-452-and-552-mean"),
        ("The `data` of an event", "the-data-of-an-event"),
        ("1. Find what [nobody](x.md) understood", "1-find-what-nobody-understood"),
        ("एक कोड", "एक-कोड"),
        ("snake_case - and a dash", "snake_case---and-a-dash"),
    ],
)
def test_anchors_are_those_of_github(heading: str, anchor: str) -> None:
    assert anchors(f"# {heading}") == {anchor}


def test_a_heading_that_comes_again_is_numbered() -> None:
    assert anchors("# A\n\n## B\n\n## B\n\n## B\n") == {"a", "b", "b-1", "b-2"}
