"""Servers without SMTPUTF8: who can be reached there gets the message, in ASCII; who cannot is refused alone."""

import smtplib
from collections.abc import Callable, Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bouncekit.clients.client import Client
from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.protocol.downgrading import downgraded
from bouncekit.testing import ScriptedServer
from bouncekit.words.address import parse_address
from bouncekit.words.envelope import Envelope

from .wires import AwaitedClient

Serve = Callable[..., ScriptedServer]
ADA, GREET, IDN = "ada@example.com", "grüße@example.com", "jo@bücher.example"
IDN_IN_ASCII = "jo@xn--bcher-kva.example"


@pytest.fixture(params=[Client, AwaitedClient])
def client(request: pytest.FixtureRequest, postmaster: Postmaster) -> Iterator[Callable[..., Any]]:
    """Makes clients, which block or are awaited."""
    return lambda url, **options: request.param(url, postmaster=postmaster, **options)


def letter(*to: str, sender: str = "Shop <shop@example.org>") -> EmailMessage:
    made = EmailMessage()
    made["From"], made["To"], made["Subject"] = sender, ", ".join(to), "Grüße"
    made.set_content("Schöne Grüße\n")
    return made


def outcomes(client: Any, message: EmailMessage) -> dict[str, tuple[str, str | None]]:
    report = client.send(message)
    return {one.recipient: (one.action.value, one.category and one.category.value) for one in report.recipients}


def headers(data: bytes) -> EmailMessage:
    head, _, _ = data.partition(b"\r\n\r\n")
    assert head.isascii()
    found = message_from_bytes(data, policy=policy.default)
    assert isinstance(found, EmailMessage)
    return found


@pytest.mark.parametrize("extensions", [("PIPELINING", "8BITMIME", "SIZE"), ("SIZE",)], ids=["pipelined", "lock-step"])
def test_who_needs_no_smtputf8_gets_the_message_and_who_does_is_refused_alone(
    serve: Serve, client: Any, postmaster: Postmaster, extensions: Any
) -> None:
    server = serve(extensions=extensions)
    with client(server.url) as sending:
        found = outcomes(sending, letter(ADA, GREET, IDN))
        assert outcomes(sending, letter("bob@example.com"))["bob@example.com"][0] == "delivered"  # on the same line
    assert {who: action for who, (action, _) in found.items()} == {ADA: "delivered", GREET: "failed", IDN: "delivered"}
    (first, _) = server.messages
    assert first.recipients == (ADA, IDN_IN_ASCII)
    assert not {"SMTPUTF8"} & set(first.mail_options)
    message = headers(first.data)
    assert (message["Subject"], message.get_content().strip()) == ("Grüße", "Schöne Grüße")
    assert [one.addr_spec for one in message["To"].addresses] == [ADA, IDN_IN_ASCII]
    assert GREET in [group.display_name for group in message["To"].groups]
    assert list(postmaster.suppressions) == []
    assert len(server.sessions) == 1


def test_the_refusal_says_why(serve: Serve, client: Any) -> None:
    with client(serve(extensions=("SIZE",)).url) as sending:
        report = sending.send(letter(ADA, GREET))
    (refused,) = report.failed
    assert refused.recipient == GREET
    assert str(refused.reply.detail) == "the server offers no SMTPUTF8, which this address needs (RFC 6531)"
    assert list(report) == [GREET]


def test_a_server_that_has_it_gets_everything_as_it_is(serve: Serve, client: Any) -> None:
    server = serve()
    with client(server.url) as sending:
        assert {action for action, _ in outcomes(sending, letter(ADA, GREET, IDN)).values()} == {"delivered"}
    (got,) = server.messages
    assert got.recipients == (ADA, GREET, IDN)
    assert GREET.encode() in got.data


@pytest.mark.parametrize("to", [[GREET], [ADA]], ids=["nobody-else", "the-sender"])
def test_where_nobody_can_be_reached_it_is_an_error_as_before(serve: Serve, client: Any, to: list[str]) -> None:
    server = serve(extensions=("SIZE",))
    sender = "shop@example.org" if to == [GREET] else "größe@example.org"
    with client(server.url) as sending, pytest.raises(smtplib.SMTPNotSupportedError):
        sending.send(letter(*to, sender=sender))
    assert server.messages == ()


def test_in_a_stream_one_message_is_no_trouble_for_the_next(serve: Serve, client: Any) -> None:
    server = serve(extensions=("PIPELINING", "SIZE"))
    messages = [letter(f"a{number}@example.com", f"ü{number}@example.com") for number in range(4)]
    with client(server.url) as sending:
        reports = list(sending.send_all(messages))
    assert [[one.action.value for one in report.recipients] for report in reports] == [["delivered", "failed"]] * 4
    assert len(server.messages) == 4


NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=60)


@given(names=st.lists(NAMES, min_size=1, max_size=4), subject=NAMES, raw=st.binary(max_size=60))
@example(names=["."], subject="", raw=b"")  # which Python 3.11 cannot read
def test_whatever_the_headers_hold_they_are_ascii_then_and_the_body_is_as_it_was(
    names: list[str], subject: str, raw: bytes
) -> None:
    lines = [f"To: {', '.join(names)} <grüße@example.com>", f"Subject: {subject}", "X-Ünreadable: ü"]
    junk = raw.replace(b"\r", b"").replace(b"\n", b"")
    content = "\r\n".join(lines).encode() + b"\r\nX-Raw: \xff" + junk + b"\r\n\r\nB\xc3\xb6dy\r\n\r\n\xff"
    envelope = Envelope(
        sender=parse_address("shop@example.org"), recipients=(parse_address(ADA), parse_address(GREET)), content=content
    )
    made = downgraded(envelope)
    assert made is not None
    head, _, body = made.content.partition(b"\r\n\r\n")
    assert head.isascii()
    assert body == b"B\xc3\xb6dy\r\n\r\n\xff"
    assert head.count(b"\n") == head.count(b"\r\n")
