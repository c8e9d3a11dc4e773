"""A report as one file: all numbers in it, nothing fetched, nothing run, remote text escaped."""

import re
from base64 import b64encode
from collections import Counter
from dataclasses import replace
from hashlib import sha256
from html.parser import HTMLParser

import pytest

from bouncekit.delivery.events import EventType
from bouncekit.history.newcomers import Newcomer
from bouncekit.policy.budget import Balance, Stream
from bouncekit.reports.digest import Digest, Numbers, Of, Ranked, Ranking, Unsent
from bouncekit.reports.page import page

from .conftest import ARABIC, EVIL, HINDI, RUSSIAN

LOADS = frozenset({"src", "href", "action", "data", "poster", "srcset", "background", "xlink:href", "style"})


class Reader(HTMLParser):
    """Tags, attributes and rows of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.rows: list[list[str]] = []
        self._cell = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self._cell = True
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self._cell = self._cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self._cell:
            self.rows[-1][-1] += data.strip()


@pytest.fixture(scope="module")
def html(week: Digest) -> str:
    return page(week)


@pytest.fixture(scope="module")
def read(html: str) -> Reader:
    return Reader(html)


def test_nothing_is_loaded_and_nothing_runs(html: str, read: Reader) -> None:
    assert {"script", "link", "iframe", "img", "object", "form", "base"} & {*read.tags} == set()
    names = [name for name, _ in read.attributes]
    assert [name for name in names if name in LOADS or name.startswith("on")] == []
    assert "url(" not in html
    assert "@import" not in html
    assert "http://" not in html
    assert "https://" not in html


def test_the_browser_is_told_to_take_this_sheet_and_nothing_else(html: str, read: Reader) -> None:
    (sheet,) = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
    mark = b64encode(sha256(sheet.encode()).digest()).decode()
    told = f"default-src 'none'; style-src 'sha256-{mark}'; base-uri 'none'; form-action 'none'"
    assert ("content", told) in read.attributes
    assert read.tags.count("style") == 1


def test_what_a_server_or_a_sender_wrote_is_shown_and_does_nothing(week: Digest) -> None:
    text = f"550 {EVIL}\x1b[2J\u202e" + "x" * 5000
    long = Newcomer(fingerprint="f", code=550, category="policy", example=text, count=1, first_at=week.since)
    ranking = Ranking((Ranked(f'{EVIL}"@example.com', 1),), ())
    told = replace(week, new=replace(week.new, kinds=(long,)), rankings={Of.RECIPIENT: ranking}, relays={EVIL: 1})
    read = page(told)
    assert EVIL not in read
    assert "&lt;script&gt;alert(1)&lt;/script&gt;\\x1b[2J\\u202e" in read
    assert "x" * 600 not in read


def test_each_number_stands_in_a_table(week: Digest, read: Reader) -> None:
    actions = ("delivered", "delayed", "unknown", "failed", "suppressed")
    for at, counted, _ in week.columns:
        if counted:
            assert [f"{at:%Y-%m-%d %H:%MZ}", *(str(counted.get(one, 0)) for one in actions)] in read.rows
    of_trouble = sum(week.numbers.by["category"].values(), Counter())
    for name, counted in week.numbers.by["category"].items():
        row = [name.replace("_", " "), *(str(counted[one] or "–") for one in actions[1:] if one in of_trouble), ""]
        assert row in read.rows
    for ranking in week.rankings.values():
        for one in (*ranking.mail, *ranking.failures):
            assert [one.name, str(one.number)] in read.rows
    assert {row[-1] for row in read.rows} >= {f"552 5.2.2 {HINDI}", f"550 5.1.1 {RUSSIAN}", f"552 5.2.2 {ARABIC}"}
    assert ["2", "2025-12-26 12:00Z", "2025-12-26 12:00Z", "550 5.1.1 A bad hour"] in read.rows


def test_the_drawing_has_a_bar_for_each_number(week: Digest, html: str) -> None:
    bars = [
        name
        for figure in re.findall("<figure.+?</figure>", html, re.DOTALL)
        for name in re.findall(r'<rect class="fill-(\w+)"', figure)
    ]
    for name in ("delivered", "failed", "delayed"):
        columns = sum(1 for one in week.columns if one.actions.get(name))
        assert bars.count(name) == columns * (1 if name == "delivered" else 2)
    assert bars.count("added") == sum(1 for one in week.columns if one.events.get("suppression_added"))


def test_no_name_is_given_twice(read: Reader) -> None:
    ids = [value for name, value in read.attributes if name == "id"]
    assert len(ids) == len({*ids}) == 3


def test_what_a_table_has_no_room_for_is_said(week: Digest) -> None:
    number = week.numbers.events[EventType.NOT_NOTIFIED]
    balances = tuple(Balance(stream=Stream("", f"news{one}")) for one in range(5))
    told = replace(week, budgets=balances, unsent=tuple(Unsent(f"channel{one}", "no", 1) for one in range(number)))
    short, long = page(told, limit=2), page(told, limit=9)
    assert "And 3 more, of no higher level." in short
    assert f"<p>{number}, of which the newest are these.</p>" in short
    assert "of no higher level" not in long
    assert f"<p>{number}.</p>" in long


def test_a_time_in_which_nothing_happened_says_so(week: Digest) -> None:
    empty = replace(week, numbers=Numbers(), columns=(), rankings={}, new=replace(week.new, kinds=()), unsent=())
    told = page(empty)
    assert "0 outcomes" in told
    assert "None was added, and none lifted." in told
    assert "<svg" not in told
