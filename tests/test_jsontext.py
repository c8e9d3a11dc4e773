"""JSON as the stores keep it: what `json` writes, only sooner."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bouncekit.stores import jsontext
from bouncekit.stores.jsontext import json_text, writer_of

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@given(VALUES)
def test_it_is_what_json_writes_without_spaces(value: Any) -> None:
    assert json_text(value) == json.dumps(value, separators=(",", ":"))
    assert json.loads(json_text(value)) == value


@given(st.dictionaries(st.text(alphabet="abc", min_size=1), VALUES, max_size=5))
def test_what_is_written_under_fixed_names_is_the_same(values: dict[str, Any]) -> None:
    assert writer_of(values)(values.values()) == json_text(values)


def test_what_json_does_not_know_is_written_as_text() -> None:
    assert json_text({"at": datetime(2026, 1, 1, tzinfo=UTC)}) == '{"at":"2026-01-01 00:00:00+00:00"}'


def test_it_does_without_an_encoder_in_c(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json.encoder, "c_make_encoder", None)
    assert jsontext._encoder()({"a": [1, None, "\u00e9"]}) == '{"a":[1,null,"\\u00e9"]}'
