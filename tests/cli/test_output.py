"""What verbs show: aligned without a terminal, in colour in one, never an escape sequence of somebody else's."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone

import pytest

from bouncekit.cli.output import progress, show_json, show_line, show_table
from bouncekit.words.measures import show_minute

from .conftest import ROOT

ROWS = [("ada@example.com", "delivered", None), ("bob@example.com", "failed", "552 5.2.2 Mailbox is full")]


def shown(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


def test_columns_are_aligned_and_empty_cells_are_empty(capsys: pytest.CaptureFixture[str]) -> None:
    show_table(("recipient", "action", "reply"), ROWS)
    assert shown(capsys) == [
        "RECIPIENT        ACTION     REPLY",
        "ada@example.com  delivered",
        "bob@example.com  failed     552 5.2.2 Mailbox is full",
    ]


def test_without_heads_there_is_no_line_of_heads(capsys: pytest.CaptureFixture[str]) -> None:
    show_table(("", "", ""), ROWS)
    assert len(shown(capsys)) == 2


def test_no_rows_are_heads_alone_and_without_heads_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    show_table(("a", "b"), [])
    assert shown(capsys) == ["A  B"]
    show_table(("", ""), [])
    assert shown(capsys) == []


def test_outside_of_a_terminal_a_row_is_a_line_however_long(capsys: pytest.CaptureFixture[str]) -> None:
    show_table(("", ""), [("a", "word " * 50)])
    assert len(shown(capsys)) == 1


@pytest.mark.parametrize("width", [10, 20, 40, 60])
def test_with_a_width_cells_are_wrapped_to_it_and_nothing_is_lost(
    capsys: pytest.CaptureFixture[str], width: int
) -> None:
    show_table(("", "", ""), ROWS, width=width)
    lines = shown(capsys)
    assert max(map(len, lines)) <= max(width, 3 * 8 + 4)
    assert sorted("".join(lines).replace(" ", "")) == sorted(
        "".join(cell for row in ROWS for cell in row if cell).replace(" ", "")
    )


def test_in_a_narrow_terminal_columns_without_a_word_give_way(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [(*row[:2], None) for row in ROWS]
    show_table(("recipient", "action", "duplicate"), rows, width=30)
    assert shown(capsys)[0] == "RECIPIENT        ACTION"
    show_table(("recipient", "action", "duplicate"), rows, width=60)
    assert shown(capsys)[0] == "RECIPIENT        ACTION     DUPLICATE"
    show_table(("recipient", "action"), [], width=10)
    assert "".join(shown(capsys)).startswith("RECIPI")


def test_in_a_narrow_terminal_cells_stand_below_each_other_before_a_word_is_cut(
    capsys: pytest.CaptureFixture[str],
) -> None:
    refused = (None, "bob@example.com", "failed", "552 5.2.2 Mailbox full", "with no head above it, at all, ever")
    rows = [("ok", "ada@example.com", "delivered", None, None), refused]
    show_table(("", "recipient", "action", "reply", ""), rows, width=30)
    assert shown(capsys) == [
        "RECIPIENT",
        "ok  ada@example.com",
        "  ACTION  delivered",
        "bob@example.com",
        "  ACTION  failed",
        "  REPLY",
        "    552 5.2.2 Mailbox full",
        "    with no head above it, at",
        "    all, ever",
    ]


def test_a_table_whose_named_columns_are_empty_fits_a_narrow_terminal_too(capsys: pytest.CaptureFixture[str]) -> None:
    show_table(("recipient", ""), [(None, "mailboxes-of-example")], width=10)
    assert shown(capsys) == ["", "mailboxes-", "of-example"]


def test_words_are_cut_last(capsys: pytest.CaptureFixture[str]) -> None:
    show_table(("", ""), [("too_many_recipients", "a few short words here")], width=30)
    assert shown(capsys)[0].startswith("too_many_recipients  ")


def test_what_comes_from_outside_cannot_act_on_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    show_table(("", ""), [("\x1b[2J\nforged", "\u202ednoces")])
    show_line("\x9b2J")
    show_json({"reply": "\x1b[2J\u202e"})
    out = capsys.readouterr().out
    assert not set("\x1b\x9b\u202e") & set(out)
    assert len(out.splitlines()) == 3


def test_a_minute_is_in_utc() -> None:
    at = datetime(2026, 11, 25, 3, 56, 38, tzinfo=timezone(timedelta(hours=1)))
    assert show_minute(at) == "2026-11-25 02:56Z"
    assert show_minute(at.astimezone(UTC)) == show_minute(at)
    assert show_minute(None) == "for good"


@pytest.mark.skipif(os.name == "nt", reason="needs a pseudo-terminal")
@pytest.mark.parametrize(
    ("environ", "is_coloured"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False), ({"WITHOUT": "rich"}, False)],
)
def test_colour_is_for_terminals_that_want_it(environ: dict[str, str], is_coloured: bool) -> None:
    pytest.importorskip("rich")
    out = in_a_terminal(
        "from bouncekit.cli.output import show_table\n"
        "import os, sys\n"
        "if 'WITHOUT' in os.environ: sys.modules['rich.console'] = None\n"
        "show_table(('recipient', 'action'), [('ada@example.com', 'delivered'), ('bob', '[red]not markup[/red]')])\n",
        {**environ, "TERM": environ.get("TERM", "xterm")},
    )
    assert ("\x1b[" in out) is is_coloured
    assert "[red]not markup[/red]" in out
    assert "ada@example.com" in out


_LOOP = (
    "import sys\n"
    "from bouncekit.cli.output import progress\n"
    "assert [sum(progress(iter([1, 2, 3]), 'work', {options}))] == [6]\n"
)


@pytest.mark.skipif(os.name == "nt", reason="needs a pseudo-terminal")
@pytest.mark.parametrize(
    ("options", "is_shown"),
    [("", True), ("length=6, size=int", True), ("prints=True", False)],
)
def test_a_bar_is_for_terminals_and_never_among_what_is_printed(options: str, is_shown: bool) -> None:
    out = in_a_terminal(_LOOP.format(options=options), {"TERM": "xterm"})
    assert ("work" in out) is is_shown
    assert "Traceback" not in out
    assert ("100%" in out) is (options == "length=6, size=int")


def test_without_a_terminal_there_is_no_bar(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress("abc", "work")) == ["a", "b", "c"]
    assert capsys.readouterr() == ("", "")


def in_a_terminal(code: str, environ: dict[str, str]) -> str:
    """What a process writes to a terminal of its own."""
    outside, inside = os.openpty()
    inherited = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.DEVNULL,
        stdout=inside,
        stderr=inside,
        env={**inherited, "PYTHONPATH": str(ROOT), **environ},
    ):
        os.close(inside)
        written = b""
        try:
            while data := os.read(outside, 65536):
                written += data
        except OSError:  # Linux says so when the last writer has gone
            pass
    os.close(outside)
    return written.decode()
