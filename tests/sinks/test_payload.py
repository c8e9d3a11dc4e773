"""An event as JSON that another system takes: ASCII, bounded, and still the same event."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bouncekit.sinks.payload import MAX_BYTES, body, line

from .conftest import told

TEXTS = st.text(max_size=3000) | st.integers() | st.none() | st.lists(st.text(max_size=100), max_size=500)


def test_what_fits_is_the_whole_event() -> None:
    assert json.loads(body(told())) == told()
    assert json.loads(line(told())) == told()
    assert line(told()).count("\n") == 1


@given(st.dictionaries(st.text(max_size=20), TEXTS, max_size=20))
def test_no_event_is_too_large_and_its_envelope_stays(details: dict[str, Any]) -> None:
    event = told()
    event["data"] = {**details, "schema": 1}
    written = body(event)
    assert len(written) <= MAX_BYTES
    assert written.isascii()
    shown = json.loads(written)
    assert {name: shown[name] for name in shown if name != "data"} == {n: v for n, v in event.items() if n != "data"}
    if shown["data"].get("cut") is not True:
        assert shown == event


@pytest.mark.parametrize("length", [100, 2048, 100_000])
def test_not_even_a_hostile_subject_makes_it_larger(length: int) -> None:
    written = body({**told(), "subject": "\U0001f4a3" * length})
    assert len(written) <= MAX_BYTES
    assert json.loads(written)["id"] == told()["id"]
