"""Rows of list files: one that cannot be read is a fault with its line, and costs no other."""

import csv
import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bouncekit.lists.listfile import Fault, Row, _Cells, read_rows


def rows(text: str | bytes) -> list[Row | Fault]:
    return list(read_rows(io.BytesIO(text.encode() if isinstance(text, str) else text)))


def lines(found: list[Row | Fault]) -> list[tuple[int, Any]]:
    return [(one.line, dict(one.fields) if isinstance(one, Row) else one.why.split(":")[0]) for one in found]


def test_a_file_that_ends_within_a_letter_ends_in_no_other_address() -> None:
    """As one that was cut: a byte that is none stays one, for whoever reads the address to refuse."""
    for text in (b"jo@example.com\xc3", b"email\njo@example.com\xc3"):
        assert [dict(one.fields).popitem()[1] for one in rows(text) if isinstance(one, Row)] == ["jo@example.com\udcc3"]


def test_an_unclosed_quote_costs_its_own_row_alone() -> None:
    text = 'email,reason\na@x,"never closed\n' + "".join(f"u{number}@x,ok\n" for number in range(200))
    found = rows(text)
    assert lines(found)[0] == (2, "a quote is not closed")
    assert [one.line for one in found] == list(range(2, 203))


def test_a_quoted_cell_may_run_over_lines_and_hold_delimiters() -> None:
    assert lines(rows('email,reason\na@x,"one,\ntwo ""three"""\nb@x,four\n')) == [
        (2, {"email": "a@x", "reason": 'one,\ntwo "three"'}),
        (4, {"email": "b@x", "reason": "four"}),
    ]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_the_delimiter_is_the_one_of_the_head(delimiter: str) -> None:
    assert lines(rows(f"name{delimiter}email\r\nAnn{delimiter}a@x\r\n")) == [(2, {"name": "Ann", "email": "a@x"})]


def test_a_row_with_more_cells_than_heads_is_a_fault() -> None:
    assert lines(rows("email,reason\na@x,no, thanks\nb@x,ok\n")) == [
        (2, "3 cells under 2 heads"),
        (3, {"email": "b@x", "reason": "ok"}),
    ]


def test_a_byte_order_mark_and_bytes_of_another_encoding_harm_nobody() -> None:
    found = rows(b"\xef\xbb\xbfemail\nj\xfcrgen@x\na@x\n")
    assert [one.fields["email"] for one in found if isinstance(one, Row)] == ["j\udcfcrgen@x", "a@x"]
    assert lines(rows("email\n".encode("utf-16"))) == [(1, "UTF-16")]


def test_an_endless_line_is_a_fault_in_little_memory() -> None:
    found = rows(b"email\n" + b"x" * 3_000_000 + b"\na@x\n")
    assert lines(found) == [(2, "longer than 256 kB"), (3, {"email": "a@x"})]


def test_json_lines_skip_what_is_none() -> None:
    text = '{"email": "a@x"}\n{"email": \n\n[1]\n{"email": "b@x"}\n'
    assert lines(rows(text)) == [
        (1, {"email": "a@x"}),
        (2, "no JSON"),
        (4, "an object is needed"),
        (5, {"email": "b@x"}),
    ]


@pytest.mark.parametrize("indent", [None, 1])
def test_a_document_of_any_size_is_read_entry_by_entry(indent: int | None) -> None:
    items = [{"email": f"u{number}@x", "reason": "x" * 500 + "]{ü"} for number in range(1000)]
    text = json.dumps({"token": "[", "items": items, "paging": {}}, indent=indent, ensure_ascii=False)
    for document in (text, json.dumps(items, indent=indent), text + "\n" + text):
        found = rows(document)
        assert [one.fields["email"] for one in found if isinstance(one, Row)][:1000] == [one["email"] for one in items]
        assert not [one for one in found if isinstance(one, Fault)]
    assert len(found) == 2000


def test_a_document_that_ends_too_soon_says_so() -> None:
    assert lines(rows('[{"email": "a@x"},\n{"email": "b'))[-1] == (2, "the document ends in the middle of a list")


@pytest.mark.parametrize(
    "text", ["", "\n\n", "[]", "{}\n", '"', "[" * 5000, "{" * 5000, ",,,\n,,,\n", "\x00", "\udc80"]
)
def test_whatever_a_file_holds_reading_ends(text: str) -> None:
    assert len(rows(text.encode("utf-8", "surrogateescape"))) <= 2


@given(st.lists(st.text(alphabet='a@,;"\r\n\t =\x00é', max_size=12), max_size=8), st.sampled_from(",;\t"))
def test_a_row_has_the_cells_that_csv_finds_whatever_came_before_it(texts: list[str], delimiter: str) -> None:
    cells = _Cells(delimiter)
    for written in texts:
        text = written if '"' in written else written.replace("\n", "") + "\n"  # one line, or what a quote joins
        try:
            expected = next(csv.reader([text], delimiter=delimiter), [])
        except csv.Error:
            with pytest.raises(csv.Error):
                cells.of(text)
        else:
            assert cells.of(text) == (expected or [""])


def test_a_cell_that_is_too_long_for_csv_is_a_fault_also_without_quotes() -> None:
    assert lines(rows("email,reason\na@x," + "x" * 140_000 + "\nb@x,ok\n")) == [
        (2, "no CSV"),
        (3, {"email": "b@x", "reason": "ok"}),
    ]
