"""Hostile text on its way to a person."""

import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bouncekit.words.showing import masked, printable, redacted


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("552 5.2.2 Mailbox full", "552 5.2.2 Mailbox full"),
        ("पोस्ट बॉक्स भरा है", "पोस्ट बॉक्स भरा है"),
        ("C:\\mail", "C:\\mail"),
        ("one\r\ntwo\tthree", r"one\r\ntwo\tthree"),
        ("\x1b[31mred\x1b]0;title\x07", r"\x1b[31mred\x1b]0;title\x07"),
        ("\x9b2J", r"\x9b2J"),
        ("gnp.\u202etxt", r"gnp.\u202etxt"),
        ("\u2066isolated\u2069", r"\u2066isolated\u2069"),
        ("zero\u200bwidth\ufeff", r"zero\u200bwidth\ufeff"),
        ("two\u2028lines\u2029\x85", r"two\u2028lines\u2029\x85"),
        ("lone \udcff surrogate", r"lone \udcff surrogate"),
        ("tag \U000e0041", r"tag \U000e0041"),
        ("nul \x00", r"nul \x00"),
        ("", ""),
    ],
)
def test_what_is_invisible_shows_as_its_escape(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_a_long_text_is_cut_with_an_ellipsis_at_the_limit() -> None:
    assert printable("x" * 500) == "x" * 500
    assert printable("x" * 501) == "x" * 499 + "…"
    assert printable("\u202e" * 9, limit=10) == r"\u202e\u2" + "…"


@given(st.text(st.characters()), st.integers(1, 60))
def test_the_result_is_one_visible_line_within_the_limit(text: str, limit: int) -> None:
    shown = printable(text, limit=limit)
    assert len(shown) <= limit
    assert shown.splitlines() in ([], [shown])
    assert not [one for one in shown if unicodedata.category(one)[0] == "C"]
    shown.encode("utf-8")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("smtp://jo:secret@relay:587", "smtp://jo:***@relay:587"),
        ("cannot open postgresql://bk:p%40ss@db/x now", "cannot open postgresql://bk:***@db/x now"),
        ("smtp://jo:p@ss:w/ord@relay", "smtp://jo:***@relay"),
        ("AUTH PLAIN AGpvAHNlY3JldA==", "AUTH PLAIN ***"),
        ("send: 'auth LOGIN am8=\\r\\n'", "send: 'auth LOGIN ***\\r\\n'"),
        ("AUTH SCRAM-SHA-256 biwsbj1qbw==", "AUTH SCRAM-SHA-256 ***"),
        ("host=db password=hunter2 port=1", "host=db password=*** port=1"),
        ("https://x/?api_key=k&b=1", "https://x/?api_key=***&b=1"),
    ],
)
def test_secrets_are_starred(text: str, shown: str) -> None:
    assert redacted(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "250-AUTH PLAIN LOGIN CRAM-MD5",
        "535 5.7.8 AUTH failed for jo",
        "smtp://relay:25",
        "http://host/a:b",
        "no secret",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redacted(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("jo.doe@example.com", "j…@example.com"),
        ('"jo d@e"@example.com', '"…@example.com'),
        ("550 <jo@example.com>,<al@b.c>: no", "550 <j…@example.com>,<a…@b.c>: no"),
        ("nobody here", "nobody here"),
        ("@", "…@"),
    ],
)
def test_addresses_are_cut_to_their_first_character(text: str, shown: str) -> None:
    assert masked(text) == shown


@pytest.mark.parametrize(
    "piece", ["://", "a", "a:", "AUTH ", "AUTH PLAIN ", "password=", "@", "\u202e", "a://b:c@ ", "SCRAM-"]
)
@pytest.mark.parametrize("show", [printable, redacted, masked])
def test_a_megabyte_takes_a_moment(show: object, piece: str) -> None:
    """Quadratic work on this would take hours; linear work takes far less than the limit even on a busy machine."""
    text = piece * (1_000_000 // len(piece))
    start = time.process_time()
    show(text)  # type: ignore[operator]
    assert time.process_time() - start < 10
