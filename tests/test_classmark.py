"""Which headers speak for a class of mail."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bouncekit.protocol.classmark import NO_CLASS_MARKS, ClassMarks, HeaderMark
from bouncekit.protocol.rendering import read_headers

KNOWN = ClassMarks(
    naming="X-Mail-Kind",
    classes=(
        ("bulk", (HeaderMark.parse("List-Unsubscribe"), HeaderMark.parse("Precedence: bulk"))),
        ("security", (HeaderMark.parse("X-Purpose: login code"),)),
    ),
)


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("List-Unsubscribe", "List-Unsubscribe", None),
        ("Precedence: Bulk", "Precedence", "bulk"),
        ("X-Purpose:  login \t code ", "X-Purpose", "login code"),
        ("Feedback-ID: 1:2:3", "Feedback-ID", "1:2:3"),
    ],
)
def test_a_mark_is_a_name_and_perhaps_a_value(text: str, name: str, value: str | None) -> None:
    assert HeaderMark.parse(text) == HeaderMark(name, value)
    assert HeaderMark.parse(str(HeaderMark.parse(text))) == HeaderMark(name, value)


@pytest.mark.parametrize(
    "text", ["", ":", ": bulk", "Precedence:", "Precedence : bulk", "List Id", "X-\u00e4", "x" * 65]
)
def test_what_names_no_header_is_no_mark(text: str) -> None:
    with pytest.raises(ValueError, match=r"Precedence: bulk"):
        HeaderMark.parse(text)


@pytest.mark.parametrize(
    ("headers", "implied"),
    [
        (b"To: jo\r\n", None),
        (b"list-UNSUBSCRIBE: <https://example.org/u>\r\nTo: jo\r\n", "bulk"),
        (b"To: jo\r\nPrecedence:\r\n  BULK \r\n", "bulk"),
        (b"To: jo\r\nPrecedence: list\r\n", None),
        (b"Precedence: list\r\nPrecedence: bulk\r\n", "bulk"),
        (b"X-Purpose: Login\r\n code\r\n", "security"),
        (b"X-Purpose: login code\r\nList-Unsubscribe: <x>\r\n", "bulk"),
        (b"X-List-Unsubscribe: <x>\r\nSubject: List-Unsubscribe: y\r\n List-Unsubscribe: z\r\n", None),
    ],
)
def test_the_first_class_that_a_header_speaks_for_counts(headers: bytes, implied: str | None) -> None:
    content = headers + b"\r\nPrecedence: bulk\r\n"
    rendered = read_headers(content, KNOWN)
    assert (rendered.implied_class, rendered.content) == (implied, content), "and not a byte of it changes"
    assert read_headers(content).implied_class is None


@pytest.mark.parametrize(
    ("headers", "kept", "named"),
    [
        (b"X-Mail-Kind: bulk\r\nTo: jo\r\n", b"To: jo\r\n", "bulk"),
        (b"To: jo\r\nx-mail-kind:\r\n bulk\r\n", b"To: jo\r\n", "bulk"),
        (b"X-Mail-Kind: a\r\nX-Mail-Kind: b\r\n", b"", "b"),
        (b"X-Mail-Kind: a\r\nX-Bouncekit-Class: b\r\nTo: jo\r\n", b"To: jo\r\n", "b"),
        (b"X-Mail-Kindness: a\r\n", b"X-Mail-Kindness: a\r\n", None),
        (b"Subject: X-Mail-Kind: a\r\n", b"Subject: X-Mail-Kind: a\r\n", None),
    ],
)
def test_a_header_of_the_owners_names_the_class_and_leaves_the_message(
    headers: bytes, kept: bytes, named: str | None
) -> None:
    rendered = read_headers(headers + b"\r\nX-Mail-Kind: body\r\n", KNOWN)
    assert rendered.content == kept + b"\r\nX-Mail-Kind: body\r\n"
    assert rendered.marks.get("class") == named


@given(st.binary(max_size=300))
def test_no_message_is_misread(content: bytes) -> None:
    from bouncekit.protocol.rendering import canonical

    plain, known = read_headers(canonical(content)), read_headers(canonical(content), KNOWN)
    if b"x-mail-kind" not in content.lower():
        assert (known.content, known.marks, known.message_id) == (plain.content, plain.marks, plain.message_id)
    assert known.implied_class in (None, "bulk", "security")


def test_without_marks_there_is_nothing_to_look_for() -> None:
    assert not NO_CLASS_MARKS
    assert KNOWN
