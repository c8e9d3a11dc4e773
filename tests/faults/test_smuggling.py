"""Nothing that stands in an address, an option, a name or a message becomes a command, by whichever way it is sent."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import bouncekit
from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.testing import ScriptedServer

from .apis import APIS, Api

Started = Callable[..., ScriptedServer]
SENDER, ADA, VICTIM = "shop@example.org", "ada@example.com", "victim@example.net"
CONTENT = b"Subject: Hi\r\n\r\nGood day.\r\n"
EXTENSIONS = ("8BITMIME", "SMTPUTF8", "SIZE", "ENHANCEDSTATUSCODES", "PIPELINING", "CHUNKING", "DSN")

# What somebody's server takes for the end of the data, or for the end of a line (CVE-2023-51764 and its family).
SEQUENCES = {
    "LF . LF": b"\n.\n",
    "LF . CRLF": b"\n.\r\n",
    "CRLF . LF": b"\r\n.\n",
    "CR . CR": b"\r.\r",
    "CR . CRLF": b"\r.\r\n",
    "CRLF . CR": b"\r\n.\r",
    "CR . LF": b"\r.\n",
    "CRLF . CRLF": b"\r\n.\r\n",
    "CRLF . NUL CRLF": b"\r\n.\0\r\n",
}
BAD_ADDRESSES = {
    "CRLF": f"a@example.com\r\nRCPT TO:<{VICTIM}>",
    "LF": f"a@example.com\nRCPT TO:<{VICTIM}>",
    "CR": f"a@example.com\rRCPT TO:<{VICTIM}>",
    "NUL": "a\0@example.com",
    "ESC": "a\x1b[2J@example.com",
    "bracket": "a@example.com> SIZE=1",
    "parameter": "a@example.com> NOTIFY=NEVER",
    "space": "a b@example.com",
    "comma": f"a@example.com, {VICTIM}",
    "line separator": "a\u2028b@example.com",
    "local part of 65": f"{'a' * 65}@example.com",
    "path of 257": f"a@{'b' * 60}.{'c' * 60}.{'d' * 60}.{'e' * 60}.example.com",
}
LEGAL_ADDRESSES = ('"a b"@example.com', "a@[127.0.0.1]")


@pytest.fixture(params=APIS, ids=str)
def api(request: pytest.FixtureRequest) -> Api:
    return request.param


@pytest.fixture
def server(api: Api) -> Iterator[ScriptedServer]:
    with ScriptedServer(lmtp=api.lmtp, extensions=EXTENSIONS) as server:
        yield server


@pytest.fixture
def postmaster(api: Api, server: ScriptedServer, tmp_path: Path) -> Iterator[Postmaster]:
    with api.postmaster(server, tmp_path) as postmaster:
        yield postmaster


def commands(server: ScriptedServer) -> list[str]:
    return [command.lower() for session in server.sessions for command in session.commands]


@pytest.mark.parametrize("sequence", SEQUENCES.values(), ids=SEQUENCES)
def test_no_sequence_in_a_message_ends_it(
    api: Api, server: ScriptedServer, postmaster: Postmaster, sequence: bytes
) -> None:
    hidden = f"mail from:<{SENDER}>\r\nrcpt to:<{VICTIM}>\r\ndata\r\nSubject: smuggled\r\n".encode()
    api.send(server, postmaster, SENDER, [ADA], CONTENT + b"before" + sequence + hidden)
    (taken,) = server.messages
    assert (taken.recipients, taken.bare_line_ends) == ((ADA,), 0)
    assert VICTIM.encode() in taken.data, "what was hidden arrives as text"
    assert not any(VICTIM in command for command in commands(server))
    raw = b"".join(session.raw for session in server.sessions)
    assert re.findall(rb"(?<!\r)\n|\r(?!\n)", raw) == []
    if "BDAT" not in api.name:  # whose content is counted, not searched
        assert raw.count(b"\r\n.\r\n") == 1


@pytest.mark.parametrize("bad", BAD_ADDRESSES.values(), ids=BAD_ADDRESSES)
def test_a_recipient_that_would_smuggle_is_refused_alone_before_the_first_byte(
    api: Api, server: ScriptedServer, postmaster: Postmaster, bad: str
) -> None:
    report = api.send(server, postmaster, SENDER, [bad, ADA], CONTENT)
    assert (server.copies(ADA), len(server.messages[0].recipients)) == (1, 1)
    assert {one.recipient: str(one.action) for one in report.failed} == {bad: "failed"}  # type: ignore[attr-defined]
    assert [command for command in commands(server) if command.startswith("rcpt")] == [
        next(command for command in commands(server) if ADA in command)
    ]
    assert VICTIM.encode() not in b"".join(session.raw for session in server.sessions)
    assert list(postmaster.suppressions) == []


@pytest.mark.parametrize("bad", BAD_ADDRESSES.values(), ids=BAD_ADDRESSES)
def test_a_sender_that_would_smuggle_is_a_value_error_before_the_first_byte(
    api: Api, server: ScriptedServer, postmaster: Postmaster, bad: str
) -> None:
    with pytest.raises(ValueError) as raised:
        api.send(server, postmaster, bad, [ADA], CONTENT)
    assert str(raised.value).isprintable()
    assert server.messages == ()
    assert [command for command in commands(server) if command.startswith(("mail", "rcpt"))] == []


@pytest.mark.parametrize("address", LEGAL_ADDRESSES)
def test_what_only_looks_odd_is_sent(api: Api, server: ScriptedServer, postmaster: Postmaster, address: str) -> None:
    api.send(server, postmaster, SENDER, [address], CONTENT)
    assert server.copies(address) == 1


@pytest.mark.parametrize("name", [f"me\r\nMAIL FROM:<{VICTIM}>", "me\nx", "me\rx", "me\0x", "me x", "me\x1b[2J"])
def test_a_name_for_ehlo_that_would_smuggle_is_a_value_error_before_the_first_byte(name: str) -> None:
    with ScriptedServer() as server:
        for connect in (bouncekit.SMTP, Postmaster().smtp):
            with pytest.raises(ValueError), connect(server.host, server.port, local_hostname=name) as smtp:
                smtp.sendmail(SENDER, [ADA], CONTENT)
        assert not any(command.startswith(("ehlo", "helo", "mail")) for command in commands(server))


@pytest.mark.parametrize(
    "option", [f"SIZE=1\r\nRCPT TO:<{VICTIM}>", "SIZE=1\nx", "SIZE=1\r", "X\0", "X\x1b[2J", "X\u2028"]
)
@pytest.mark.parametrize("kind", ["mail_options", "rcpt_options"])
def test_an_option_that_would_smuggle_is_a_value_error_before_the_first_byte(kind: str, option: str) -> None:
    with ScriptedServer(extensions=EXTENSIONS) as server:
        for connect in (bouncekit.SMTP, Postmaster().smtp):
            with connect(server.host, server.port) as smtp, pytest.raises(ValueError):
                smtp.sendmail(SENDER, [ADA], CONTENT, **{kind: [option]})
        assert not any(command.startswith(("mail", "rcpt")) for command in commands(server))
