"""Lists that are written and read back: the same, whatever is in them, and nothing that a spreadsheet would run."""

import csv
import io
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bouncekit.lists.foreignlist import OWN
from bouncekit.lists.listentry import Reader
from bouncekit.lists.listexport import ListFormat, export_list
from bouncekit.lists.listfile import Row, read_rows
from bouncekit.meaning.classification import Category
from bouncekit.outside.builtin import classify
from bouncekit.policy.suppression import Evidence, Standing, Suppression

from .building import ANN, NOW, suppression

texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=30) | st.sampled_from(
    ["=1+1", "'=1+1", "''=x", "'", "@SUM(A1)", "-1", "+1", "\tx", "\rx", 'a "b",\nc\r\n', "#x", "\x00"]
)
words = texts.filter(bool)
moments = st.integers(0, 4_000_000_000_000).map(
    lambda number: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=number)
)
entries = st.builds(
    lambda **fields: replace(suppression(ANN), **fields),
    standing=st.sampled_from(Standing),
    category=st.sampled_from(Category),
    since=moments,
    changed_at=moments,
    expires_at=st.none() | moments,
    ladder=st.none() | words,
    rung=st.integers(0, 9),
    by=texts,
    tenant=texts,
    stream=texts,
    evidence=st.builds(
        Evidence,
        reply=texts,
        stage=st.none() | words,
        accepted=st.none() | st.integers(0, 999),
        remote_mta=st.none() | words,
        rule=st.none() | words,
        message_id=st.none() | words,
        fingerprint=st.none() | words,
    ),
)


def written(*several: Suppression, format_: ListFormat, raw: bool = False) -> bytes:
    file = io.BytesIO()
    assert export_list(several, file, format_=format_, raw=raw) == len(several)
    return file.getvalue()


def read_back(text: bytes) -> list[Suppression]:
    reader = Reader(format=OWN, by="x", now=NOW, classify=classify)
    found = []
    for row in read_rows(io.BytesIO(text)):
        assert isinstance(row, Row), row
        entry = reader.read(row.fields)
        assert isinstance(entry, Suppression)
        found.append(entry)
    return found


@given(st.lists(entries, min_size=1, max_size=5))
def test_what_is_written_is_read_back_in_every_format(several: list[Suppression]) -> None:
    for format_, raw in ((ListFormat.CSV, False), (ListFormat.CSV, True), (ListFormat.JSONL, False)):
        assert read_back(written(*several, format_=format_, raw=raw)) == several


@given(entries)
def test_no_cell_begins_as_a_formula(entry: Suppression) -> None:
    text = written(entry, format_=ListFormat.CSV).decode()
    _, *rows = csv.reader(io.StringIO(text, newline=""))
    assert not [cell for row in rows for cell in row if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]


def test_raw_leaves_a_formula_as_it_is() -> None:
    entry = replace(suppression(ANN), by="=1+1")
    assert b",=1+1," in written(entry, format_=ListFormat.CSV, raw=True)
    assert b",'=1+1," in written(entry, format_=ListFormat.CSV)


def test_a_pseudonym_is_read_back_and_no_other_entry_without_an_address() -> None:
    hidden = replace(suppression(ANN), key="#0011-22", address=None)
    assert read_back(written(hidden, format_=ListFormat.CSV)) == [hidden]
    with pytest.raises(ValueError, match="no address"):
        read_back(written(replace(hidden, key=ANN), format_=ListFormat.CSV))


def test_the_key_is_that_of_the_address_whatever_a_file_says() -> None:
    forged = replace(suppression(ANN), key="bob@example.com")
    assert read_back(written(forged, format_=ListFormat.JSONL))[0].key == ANN
