"""A report on paper: its text can be read and found in whatever script, and its drawings are there in their colours."""

import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bouncekit.reports.digest import Digest
from bouncekit.words.errors import ConfigurationError, MissingExtra

from .conftest import ARABIC, RUSSIAN

pypdfium2 = pytest.importorskip("pypdfium2", reason="python -m pip install 'bouncekit[test]'")
try:
    from bouncekit.reports.paper import printed
except (ConfigurationError, MissingExtra) as error:
    pytest.skip(str(error), allow_module_level=True)

ROOT = Path(__file__).parents[2]


def test_text_and_drawings_are_on_paper(week: Digest) -> None:
    pages = list(pypdfium2.PdfDocument(printed(week)))
    text = " ".join(" ".join(page.get_textpage().get_text_range() for page in pages).split())
    assert f"{week.numbers.actions.total()} outcomes: one for each" in text
    for told in ("What became of the mail", "gone@example.com", "A bad hour", RUSSIAN, *ARABIC.split()):
        assert told in text
    colours = Counter(colour for page in pages for colour in _colours(page))
    for name in ("3f8f6d", "d9a032", "c4473a"):  # delivered, delayed, failed
        assert colours[name] > 20


def _colours(page: Any) -> Iterator[str]:
    """Of each point of a page, where it is not white."""
    drawn = page.render(rev_byteorder=True)
    points, size = bytes(drawn.buffer), drawn.n_channels
    for line in range(drawn.height):
        row = points[line * drawn.stride :][: drawn.width * size]
        yield from (row[at : at + 3].hex() for at in range(0, len(row), size) if row[at : at + 3] != b"\xff\xff\xff")


def test_nothing_is_fetched_for_it(week: Digest, monkeypatch: pytest.MonkeyPatch) -> None:
    from bouncekit.reports import paper

    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0)
        address = f"http://127.0.0.1:{listening.getsockname()[1]}/x.png"
        monkeypatch.setattr(
            paper, "page", lambda told, limit: f"<p>Hi <img src='{address}'><img src='file:///dev/null'>"
        )
        assert printed(week).startswith(b"%PDF")
        with pytest.raises(BlockingIOError):
            listening.accept()


MISSING = """
import importlib, sys, cffi

def tried(name, **without):
    sys.modules.update(without)
    try:
        importlib.import_module(f"bouncekit.reports.{name}")
    except Exception as error:
        print(type(error).__name__, str(error), sep=": ")
    for gone in without:
        del sys.modules[gone]

def gone(*names, **more):
    raise OSError("no such library")

opened, cffi.FFI.dlopen = cffi.FFI.dlopen, gone
tried("paper")
cffi.FFI.dlopen = opened
tried("page", jinja2=None)
tried("paper", jinja2=None)
tried("paper", weasyprint=None)
"""


def test_what_is_missing_is_named() -> None:
    """In a process in which none of it can be imported."""
    done = subprocess.run(
        [sys.executable, "-c", MISSING], capture_output=True, text=True, cwd=ROOT, timeout=60, check=True
    )
    pango, page, paper, library = done.stdout.splitlines()
    assert page == "MissingExtra: reports in HTML need jinja2: python -m pip install 'bouncekit[web]'"
    assert paper == "MissingExtra: reports in PDF need jinja2: python -m pip install 'bouncekit[pdf]'"
    assert library == "MissingExtra: reports in PDF need weasyprint: python -m pip install 'bouncekit[pdf]'"
    assert pango.startswith("ConfigurationError: a PDF needs the library Pango: apt-get install libpango-1.0-0 ")
