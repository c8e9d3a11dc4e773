"""The parameters of MAIL and RCPT: exactly those that the server offers and that this message needs."""

import pytest

from bouncekit.protocol.commandlines import DsnRequest, limit_of, mail_line, rcpt_lines, size_limit
from bouncekit.words.address import parse_address
from bouncekit.words.envelope import Envelope
from bouncekit.words.errors import ConfigurationError

ALL = {"size": "", "8bitmime": "", "dsn": "", "smtputf8": ""}
ASKED = DsnRequest(envelope_id="0194f")


def envelope(
    *recipients: str, sender: str = "me@example.com", content: bytes = b"Hi\r\n", **options: object
) -> Envelope:
    return Envelope(
        sender=parse_address(sender),
        recipients=tuple(map(parse_address, recipients)),
        content=content,
        **options,  # type: ignore[arg-type]
    )


def test_a_server_that_offers_nothing_is_asked_nothing() -> None:
    for extensions in ({}, None):
        sent = envelope("ada@example.com", content="Grüße".encode())
        assert mail_line(sent, extensions, ASKED) == b"mail from:<me@example.com>\r\n"
        assert rcpt_lines(sent, extensions, ASKED) == [b"rcpt to:<ada@example.com>\r\n"]


@pytest.mark.parametrize(
    ("content", "options", "body"),
    [
        (b"Hi\r\n", (), b""),
        ("Grüße\r\n".encode(), (), b" BODY=8BITMIME"),
        ("Grüße\r\n".encode(), ("body=7BIT",), b""),
    ],
)
def test_8bitmime_is_asked_for_content_beyond_ascii_and_no_other(
    content: bytes, options: tuple[str, ...], body: bytes
) -> None:
    line = mail_line(envelope(content=content, mail_options=options), {"8bitmime": ""})
    assert line.endswith(b"com>" + b"".join(b" " + option.encode() for option in options) + body + b"\r\n")


def test_a_bounce_brings_back_the_delivery_the_headers_and_the_recipient() -> None:
    sent = envelope("ada@example.com")
    assert mail_line(sent, ALL, ASKED) == b"mail from:<me@example.com> size=4 RET=HDRS ENVID=0194f\r\n"
    assert rcpt_lines(sent, ALL, ASKED) == [b"rcpt to:<ada@example.com> ORCPT=rfc822;ada@example.com\r\n"]


def test_what_the_envelope_asks_itself_goes_before() -> None:
    own = envelope(
        "ada@example.com", mail_options=("RET=FULL", "envid=mine"), rcpt_options=("NOTIFY=NEVER", "orcpt=rfc822;x@y")
    )
    asked = DsnRequest(envelope_id="1", notify=("FAILURE",))
    assert mail_line(own, {"dsn": ""}, asked) == b"mail from:<me@example.com> RET=FULL envid=mine\r\n"
    assert rcpt_lines(own, {"dsn": ""}, asked) == [b"rcpt to:<ada@example.com> NOTIFY=NEVER orcpt=rfc822;x@y\r\n"]


def test_a_mail_with_the_null_return_path_asks_for_no_report() -> None:
    own = envelope("ada@example.com", sender="")
    assert mail_line(own, {"dsn": ""}, ASKED) == b"mail from:<>\r\n"
    (line,) = rcpt_lines(own, {"dsn": ""}, DsnRequest(notify=("FAILURE",)))
    assert line == b"rcpt to:<ada@example.com> NOTIFY=NEVER ORCPT=rfc822;ada@example.com\r\n"


@pytest.mark.parametrize(
    ("address", "origin"),
    [
        ("a+b=c@example.com", b"rfc822;a+2Bb+3Dc@example.com"),
        ('"a b"@example.com', b'rfc822;"a+20b"@example.com'),
        ("jürgen+x@example.com", rb"utf-8;j\x{FC}rgen\x{2B}x@example.com"),
    ],
)
def test_the_recipient_travels_as_xtext(address: str, origin: bytes) -> None:
    (line,) = rcpt_lines(envelope(address), ALL, ASKED)
    assert line.endswith(b" ORCPT=" + origin + b"\r\n")


def test_an_envelope_id_that_is_too_long_is_left_out() -> None:
    assert b"ENVID" not in mail_line(envelope(), ALL, DsnRequest(envelope_id="x" * 101))


@pytest.mark.parametrize(
    ("words", "notify"),
    [
        ("", ()),
        ("never", ("NEVER",)),
        ("Failure, Delay", ("FAILURE", "DELAY")),
        ("success,failure,delay", ("SUCCESS", "FAILURE", "DELAY")),
    ],
)
def test_what_to_report_is_written_in_the_words_of_the_rfc(words: str, notify: tuple[str, ...]) -> None:
    assert DsnRequest.notifying(words).notify == notify


@pytest.mark.parametrize("words", ["never,failure", "always", "failure,failure", ","])
def test_words_that_ask_for_nothing_are_refused(words: str) -> None:
    with pytest.raises(ConfigurationError, match="write 'never'"):
        DsnRequest.notifying(words)


@pytest.mark.parametrize("stated", ["1" * 30, "-1", "²", "1 2", "0"])
def test_a_size_that_is_no_number_is_no_limit(stated: str) -> None:
    assert size_limit({"size": stated}) is None


@pytest.mark.parametrize(
    ("limits", "most"), [("rcptmax=3", 3), ("MAILMAX=1 RCPTMAX=30", 30), ("RCPTMAX=0", None), ("RCPTMAX=x", None)]
)
def test_a_limit_is_read_by_its_name(limits: str, most: int | None) -> None:
    assert limit_of({"limits": limits}, "RCPTMAX") == most
