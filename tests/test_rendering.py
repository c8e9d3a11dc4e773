"""Messages as bytes: canonical line ends, dots that end nothing, headers read within bounds (RFC 5321 4.5.2)."""

import re
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8, Policy, compat32

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bouncekit.protocol.rendering import Rendered, canonical, dot_stuffed, read_headers, with_message_id

BARE = re.compile(rb"(?<!\r)\n|\r(?!\n)").search
SMUGGLING = [
    b"\n.\n",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\r.\r",
    b"\r.\r\n",
    b"\r\n.\r",
    b"\r.\n",
    b"\r\n.\r\n",
    b"\r\n\x00.\r\n",
    b"\n\r.\r\n",
    b"\r\r\n.\r\r\n",
    b"\r\n..\r\n",
]

messages = st.lists(
    st.sampled_from([b"\r", b"\n", b"\r\n", b".", b"..", b"\x00", b"a", b"bc", b"\xff", b" "]), max_size=30
).map(b"".join)


def received(stream: bytes) -> tuple[bytes, bytes]:
    """What a correct server reads behind its 354: the content, and what is left as the next command."""
    stuffed, end, rest = (b"\r\n" + stream).partition(b"\r\n.\r\n")
    assert end
    return (stuffed + b"\r\n").replace(b"\r\n.", b"\r\n")[2:], rest


# -- line ends


@pytest.mark.parametrize(
    ("message", "content"),
    [
        (b"", b""),
        (b"a", b"a"),
        (b"a\nb\n", b"a\r\nb\r\n"),
        (b"a\r\nb\r\n", b"a\r\nb\r\n"),
        (b"a\rb", b"a\r\nb"),
        (b"a\r\n\nb\r\r\nc\n\rd", b"a\r\n\r\nb\r\n\r\nc\r\n\r\nd"),
        (b"\r\n.\r", b"\r\n.\r\n"),
        (b"a\n\r", b"a\r\n\r\n"),
        (b"\xff\x00\n", b"\xff\x00\r\n"),
        ("a\nb", b"a\r\nb"),
        (bytearray(b"a\nb"), b"a\r\nb"),
    ],
)
def test_every_line_ends_in_crlf(message: str | bytes, content: bytes) -> None:
    assert canonical(message) == content


@given(messages)
@example(b"\r\n\r\n")
@example(b"\n\r")  # as many CRs as LFs, and no pair
def test_canonical_content_has_no_bare_line_end_and_stays_as_it_is(message: bytes) -> None:
    content = canonical(message)
    assert not BARE(content)
    assert canonical(content) == content
    assert content.replace(b"\r\n", b"") == message.replace(b"\r", b"").replace(b"\n", b"")


def test_canonical_content_is_not_copied() -> None:
    content = b"a\r\nb\r\n" * 1000
    assert canonical(content) is content


def test_text_beyond_ascii_is_refused_as_smtplib_refuses_it() -> None:
    with pytest.raises(UnicodeEncodeError):
        canonical("Grüße")


# -- dots


@pytest.mark.parametrize(
    ("content", "stuffed"),
    [
        (b"", b"\r\n"),
        (b"a", b"a\r\n"),
        (b"a\r\n", b"a\r\n"),
        (b".", b"..\r\n"),
        (b".a\r\n.b\r\n..\r\n", b"..a\r\n..b\r\n...\r\n"),
        (b"a.\r\nb .\r\n", b"a.\r\nb .\r\n"),
        (b"\r\n.\r\n", b"\r\n..\r\n"),
    ],
)
def test_a_dot_that_begins_a_line_is_doubled(content: bytes, stuffed: bytes) -> None:
    assert dot_stuffed(content) == stuffed


@given(messages)
def test_what_a_server_reads_is_the_content(message: bytes) -> None:
    content = canonical(message)
    got, rest = received(dot_stuffed(content) + b".\r\nQUIT\r\n")
    assert got == (content if content.endswith(b"\r\n") else content + b"\r\n")
    assert rest == b"QUIT\r\n"


@pytest.mark.parametrize("sequence", SMUGGLING)
def test_no_sequence_ends_the_message_early_for_any_server(sequence: bytes) -> None:
    """A server may take CR, LF, CRLF or several of them for a line end, and may drop NULs: none sees a lone dot."""
    mail = b"Subject: a\r\n\r\nHello" + sequence + b"MAIL FROM:<eve@example.com>\r\n"
    sent = dot_stuffed(canonical(mail))
    assert not BARE(sent)
    assert b"." not in re.split(rb"\r\n|\r|\n", sent)
    assert received(sent + b".\r\n")[1] == b""


@given(messages)
def test_no_line_of_what_is_sent_is_a_lone_dot(message: bytes) -> None:
    sent = dot_stuffed(canonical(message))
    assert b"." not in re.split(rb"[\r\n]+", sent)
    assert not BARE(sent)
    assert sent.endswith(b"\r\n")


# -- headers


@pytest.mark.parametrize(
    "head",
    [
        b"Message-ID: <1@example.com>",
        b"message-id:<1@example.com>",
        b"MESSAGE-ID:   <1@example.com>   ",
        b"Subject: Hi\r\nMessage-Id: <1@example.com>\r\nTo: jo",
        b"Message-ID:\r\n <1@example.com>",
        b"Message-ID:\r\n\t \r\n <1@example.com>\r\nTo: jo",
        b"X-Message-ID: <2@example.com>\r\nMessage-ID: <1@example.com>",
        b"References: <2@example.com>\r\n message-id: <3@example.com>\r\nMessage-ID: <1@example.com>",
        b"Message-ID: <1@example.com>\r\nMessage-ID: <2@example.com>",
    ],
)
@pytest.mark.parametrize("body", [b"", b"\r\n", b"\r\n\r\n", b"\r\n\r\nMessage-ID: <9@example.com>\r\n\r\n"])
def test_the_message_id_is_found_in_any_case_and_folded(head: bytes, body: bytes) -> None:
    assert read_headers(head + body) == Rendered(head + body, "<1@example.com>")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\r\n",
        b"hello",
        b"Subject: Hi\r\n\r\nMessage-ID: <1@example.com>\r\n",
        b"\r\nMessage-ID: <1@example.com>\r\n\r\nhello",
        b"Message-ID:\r\nSubject: Hi\r\n\r\n",
        b"Message-ID: \r\n\r\n",
        b"X-Message-ID: <1@example.com>\r\n\r\n",
        b"A: b\r\n Message-ID: <1@example.com>\r\n\r\n",
        b"A: b Message-ID: <1@example.com>\r\n\r\n",
    ],
)
def test_where_there_is_no_message_id_none_is_found(content: bytes) -> None:
    assert read_headers(content) == Rendered(content)


def test_a_message_id_of_any_length_is_kept_to_998_characters() -> None:
    rendered = read_headers(b"Message-ID: <" + b"x" * 5000 + b">\r\n\r\n")
    assert rendered.message_id is not None
    assert len(rendered.message_id) == 998


def test_a_message_id_is_put_in_front() -> None:
    content = with_message_id(b"Subject: Hi\r\n\r\nhello", "<1@example.com>")
    assert content == b"Message-ID: <1@example.com>\r\nSubject: Hi\r\n\r\nhello"
    assert read_headers(content).message_id == "<1@example.com>"
    assert read_headers(with_message_id(b"\r\nhello", "<1@example.com>")).message_id == "<1@example.com>"


# -- our own headers


@pytest.mark.parametrize(
    ("head", "rest", "marks"),
    [
        (b"X-Bouncekit-Class: bulk\r\nTo: jo\r\n", b"To: jo\r\n", {"class": "bulk"}),
        (b"To: jo\r\nX-Bouncekit-Class: bulk\r\n", b"To: jo\r\n", {"class": "bulk"}),
        (b"x-bouncekit-TENANT:a b \r\nTo: jo\r\n", b"To: jo\r\n", {"tenant": "a b"}),
        (b"A: 1\r\nX-BOUNCEKIT-Class : bulk\r\nB: 2\r\n", b"A: 1\r\nB: 2\r\n", {"class": "bulk"}),
        (b"X-Bouncekit-Class: a\r\nX-Bouncekit-Stream: b\r\n", b"", {"class": "a", "stream": "b"}),
        (b"X-Bouncekit-Test: yes\r\nTo: jo\r\n b\r\n", b"To: jo\r\n b\r\n", {"test": "yes"}),
        (b"A: 1\r\nX-Bouncekit-Tenant:\r\n acme\r\nB: 2\r\n", b"A: 1\r\nB: 2\r\n", {"tenant": "acme"}),
        (b"X-Bouncekit-Tenant: a\r\n\tb\r\n c\r\nB: 2\r\n", b"B: 2\r\n", {"tenant": "a b c"}),
        (b"X-Bouncekit-Class: a\r\nX-Bouncekit-Class: b\r\n", b"", {"class": "b"}),
        (b"X-Bouncekit-Class\r\nTo: jo\r\n", b"To: jo\r\n", {"class": ""}),
        (b"X-Bouncekit: 1\r\nX-Bouncer: 2\r\n", b"X-Bouncekit: 1\r\nX-Bouncer: 2\r\n", {}),
        (
            b"A: X-Bouncekit-Class: b\r\n X-Bouncekit-Class: c\r\n",
            b"A: X-Bouncekit-Class: b\r\n X-Bouncekit-Class: c\r\n",
            {},
        ),
        (b"X-Bouncekit-Tenant: " + b"x" * 300 + b"\r\n", b"", {"tenant": "x" * 255}),
    ],
)
@pytest.mark.parametrize("body", [b"", b"\r\n", b"\r\nX-Bouncekit-Class: body\r\n\r\nX-Bouncekit-Class: body\r\n"])
def test_our_headers_leave_the_header_block_and_nothing_else_changes(
    head: bytes, rest: bytes, marks: dict[str, str], body: bytes
) -> None:
    assert read_headers(head + body) == Rendered(rest + body, None, marks)


def test_a_message_that_begins_with_its_body_keeps_all_of_it() -> None:
    content = b"\r\nX-Bouncekit-Class: bulk\r\n\r\nhello"
    assert read_headers(content) == Rendered(content)


def test_a_message_of_one_line_may_be_one_of_our_headers() -> None:
    assert read_headers(b"X-Bouncekit-Class: bulk") == Rendered(b"", None, {"class": "bulk"})


@pytest.mark.parametrize("policy", [SMTP, SMTPUTF8, compat32], ids=["SMTP", "SMTPUTF8", "compat32"])
@pytest.mark.parametrize("tenant", ["acme", "t" * 90, "t " * 60 + "t", "Käserei", "顧客" * 40, "=?", "a =?utf-8?q?b"])
def test_a_mark_survives_what_the_email_package_makes_of_it(tenant: str, policy: Policy) -> None:
    message = EmailMessage()
    message["X-Bouncekit-Tenant"] = tenant
    message["Subject"] = "Hi"
    message.set_content("hello")
    rendered = read_headers(canonical(message.as_bytes(policy=policy)))
    assert rendered.marks == {"tenant": tenant}
    assert rendered.content.startswith(b"Subject: Hi\r\n")


@pytest.mark.parametrize(
    "value", ["=?utf-8?b?a?=", "=?no-such-charset?q?a?=", "=?ascii?q?=FF?=", "=?utf-8?q?=0D=0A=00?="]
)
def test_an_encoded_word_that_is_none_breaks_nothing(value: str) -> None:
    rendered = read_headers(b"X-Bouncekit-Tenant: " + value.encode() + b"\r\nTo: jo\r\n\r\n")
    assert rendered.content == b"To: jo\r\n\r\n"
    assert not set(rendered.marks["tenant"]) & {"\r", "\n"}


@pytest.mark.parametrize("before", range(65_450, 65_540))
@pytest.mark.parametrize("fold", [b"", b"\r\n "])
def test_a_header_block_beyond_64_kib_is_never_cut_inside_a_header(before: int, fold: bytes) -> None:
    filler = b"A: " + b"x" * (before - 5) + b"\r\n"
    ours = b"X-Bouncekit-Class: " + fold + b"bulk" + fold + b"mail\r\n"
    behind = b"Message-ID: <1@example.com>\r\n\r\nhello"
    rendered = read_headers(filler + ours + behind)
    assert rendered.content in (filler + behind, filler + ours + behind)
    assert (rendered.marks != {}) is (ours not in rendered.content)
    assert rendered.message_id in (None, "<1@example.com>")


def test_only_the_first_64_kib_of_headers_are_searched() -> None:
    content = b"A: b\r\n" * 20_000 + b"Message-ID: <1@example.com>\r\nX-Bouncekit-Class: bulk\r\n\r\n"
    assert read_headers(content) == Rendered(content)
    assert read_headers(b"x" * 200_000) == Rendered(b"x" * 200_000)
    assert read_headers(b"A: b\r\n" + b" folded\r\n" * 20_000).marks == {}


@given(messages, st.lists(st.sampled_from([b"X-Bouncekit-A: 1\r\n", b"B: 2\r\n", b" c\r\n", b"Message-ID: <1>\r\n"])))
def test_whatever_the_headers_are_the_rest_of_the_content_is_kept(message: bytes, head: list[bytes]) -> None:
    content = b"".join(head) + b"\r\n" + canonical(message)
    rendered = read_headers(content)
    assert rendered.content.endswith(b"\r\n" + canonical(message))
    assert read_headers(rendered.content) == Rendered(rendered.content, rendered.message_id)
