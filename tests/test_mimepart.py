"""Parts of a mail: read as mail systems write them, and within limits when they are hostile."""

import pytest

from bouncekit.bounces.mimepart import MAX_DEPTH, MAX_HEADERS, MAX_PARTS, Part, read_part, text_of_html


def mail(body: str, **headers: str) -> Part:
    head = "".join(f"{name.replace('_', '-')}: {value}\n" for name, value in headers.items())
    return read_part(f"{head}\n{body}".encode())


def test_a_mail_without_a_type_is_plain_text() -> None:
    part = mail("Hello\n", Subject="Hi")
    assert (part.content_type, part.text, part.headers.get("subject")) == ("text/plain", "Hello\n", "Hi")


def test_a_folded_field_is_one_line_and_its_words_are_decoded() -> None:
    part = read_part(b"Subject: =?utf-8?q?Zur=C3=BCck?=\r\n =?iso-8859-1?q?_m=FCde?=\r\n\r\n")
    assert part.headers.text("subject") == "Zurück müde"


def test_the_parts_are_what_stands_between_the_delimiters() -> None:
    part = mail(
        "preamble\n--b\n\none\n--b\nContent-Type: text/html\n\n<p>two</p>\n--bc\nno delimiter\n--b--\nepilogue",
        Content_Type='multipart/mixed; boundary="b"',
    )
    assert [inner.content_type for inner in part.parts] == ["text/plain", "text/html"]
    assert [inner.body for inner in part.parts] == [b"one", b"<p>two</p>\n--bc\nno delimiter"]


def test_the_last_part_may_lack_its_end() -> None:
    assert mail("--b\n\none", Content_Type="multipart/mixed; boundary=b").parts[0].body == b"one"


@pytest.mark.parametrize("ending", ["\r\n", "\n", "\r"])
def test_every_kind_of_line_end_is_read(ending: str) -> None:
    lines = ["Content-Type: multipart/mixed; boundary=b", "", "--b", "", "one", "--b--", ""]
    assert read_part(ending.join(lines).encode()).parts[0].text == "one"


@pytest.mark.parametrize(
    ("encoding", "body", "text"),
    [
        ("quoted-printable", "caf=C3=A9 =\nau lait", "café au lait"),
        ("base64", "Y2Fmw6kgYXUgbGFpdA==", "café au lait"),
        ("base64", "Y2Fm w6kg\nYXUg!bGFpdA", "café au lait"),
        ("x-unknown", "as it is", "as it is"),
    ],
)
def test_a_transfer_encoding_is_undone(encoding: str, body: str, text: str) -> None:
    assert mail(body, Content_Transfer_Encoding=encoding).text == text


@pytest.mark.parametrize(
    ("charset", "raw", "text"),
    [
        ("iso-8859-1", b"m\xfcde", "müde"),
        ("ISO-2022-JP", b"\x1b$B%(%i!<\x1b(B", "エラー"),
        ("rot13", b"abc", "abc"),
        ("idna", b"abc", "abc"),
        ("x\x00y", b"abc", "abc"),
        ("utf-8", b"\xff", "\ufffd"),
    ],
)
def test_a_charset_is_known_or_it_is_utf_8(charset: str, raw: bytes, text: str) -> None:
    assert read_part(f'Content-Type: text/plain; charset="{charset}"\n\n'.encode() + raw).text == text


def test_html_is_read_as_the_lines_that_it_shows() -> None:
    html = "<html><head><style>p { color: red }</style></head><p>Hello<br>&lt;jo@example.com&gt;</p></html>"
    assert text_of_html(html).split() == ["Hello", "<jo@example.com>"]


def test_the_line_that_mbox_puts_before_a_mail_is_no_field() -> None:
    assert read_part(b"From jo@example.com Thu Jan  1 10:00:00 2026\nSubject: Hi\n\n").headers.get("subject") == "Hi"


def test_what_goes_beyond_a_limit_is_not_read() -> None:
    deep = "".join(f"Content-Type: multipart/mixed; boundary=b{n}\n\n--b{n}\n" for n in range(100))
    assert sum(1 for _ in read_part(deep.encode()).walk()) == MAX_DEPTH + 1
    many = "Content-Type: multipart/mixed; boundary=b\n\n" + "--b\n\nx\n" * 1000
    assert sum(1 for _ in read_part(many.encode()).walk()) == MAX_PARTS
    fields = "".join(f"X-{n}: y\n" for n in range(1000)) + "\n"
    assert len(read_part(fields.encode()).headers) == MAX_HEADERS
