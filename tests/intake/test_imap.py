"""IMAP accounts, and servers that mean harm. What a real one does is in tests/e2e/test_imap.py."""

import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme

from bouncekit.intake import imapclient
from bouncekit.intake.imap import ImapMailboxes
from bouncekit.intake.imapaccount import ImapAccount
from bouncekit.words.errors import ConfigurationError, MissingExtra

from .conftest import Absorber

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("imaps://bounce@imap.example.org", "imaps://bounce@imap.example.org:993"),
        ("imap://bounce@imap.example.org", "imap://bounce@imap.example.org:143"),
        ("imaps://b@example.org@imap.example.org:1993/", "imaps://b@example.org@imap.example.org:1993"),
        ("imaps://b%40example.org@imap.example.org", "imaps://b@example.org@imap.example.org:993"),
    ],
)
def test_an_account_is_a_url_without_its_password(url: str, shown: str) -> None:
    account = ImapAccount.parse(url, SECRET)
    assert str(account) == shown
    assert SECRET not in repr(account)


@pytest.mark.parametrize(
    ("url", "password", "why"),
    [
        ("", SECRET, "write imaps://user@host"),
        ("imap.example.org", SECRET, "write imaps://user@host"),
        ("imaps://imap.example.org", SECRET, "write imaps://user@host"),
        ("pop3s://bounce@example.org", SECRET, "write imaps://user@host"),
        ("imaps://bounce@imap.example.org:port", SECRET, "cannot be read"),
        ("imaps://bounce:hunter2@imap.example.org", SECRET, "a password in a URL is seen by everybody"),
        ("imaps://bounce@imap.example.org/INBOX", SECRET, "see --folder"),
        ("imaps://bounce@imap.example.org", None, "set BOUNCEKIT_MAILBOX_PASSWORD"),
        ("imaps://bounce@imap.example.org", "hunter2\r\nA1 DELETE INBOX", "a control character"),
        ("imaps://bounce%0d%0a@imap.example.org", SECRET, "a control character"),
    ],
)
def test_an_account_that_cannot_be_one_is_an_error_without_the_password(
    url: str, password: str | None, why: str
) -> None:
    with pytest.raises(ConfigurationError, match=why) as caught:
        ImapAccount.parse(url, password)
    assert SECRET not in str(caught.value)


ACCOUNT = ImapAccount.parse("imaps://bounce@imap.example.org", SECRET)


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"folders": ("INBOX\r\nA1 DELETE INBOX",)}, "not the name of a mailbox"),
        ({"done": ""}, "not the name of a mailbox"),
        ({"done": "INBOX"}, "taken from and put into"),
        ({"folders": ("INBOX", "Aside")}, "taken from and put into"),
    ],
)
def test_mailboxes_that_cannot_be_such_are_an_error(settings: dict[str, object], why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        ImapMailboxes(ACCOUNT, **settings)  # type: ignore[arg-type]


def test_without_imap_tools_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imap_tools", None)
    with pytest.raises(MissingExtra, match=r"mailboxes by IMAP need imap-tools: .*bouncekit\[intake\]"):
        ImapMailboxes(ACCOUNT)


class Hostile:
    """A server over TLS that answers as a script says; a command that it has not is OK."""

    def __init__(self, folder: Path, answers: dict[str, bytes]) -> None:
        authority = trustme.CA()
        self.ca_file = folder / "ca.pem"
        authority.cert_pem.write_to_path(str(self.ca_file))
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(self._context)
        self._answers = answers
        self.said: list[str] = []  # what the client did, without its tags
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    @property
    def mailboxes(self) -> ImapMailboxes:
        host, port = self._listener.getsockname()
        return ImapMailboxes(ImapAccount.parse(f"imaps://jo@{host}:{port}", SECRET, ca_file=self.ca_file))

    def close(self) -> None:
        self._listener.close()
        self._thread.join(10)
        assert not self._thread.is_alive()

    def _serve(self) -> None:
        try:
            with (
                self._context.wrap_socket(self._listener.accept()[0], server_side=True) as sock,
                sock.makefile("rb") as file,
            ):
                sock.sendall(b"* OK hello\r\n")
                while line := file.readline():
                    tag, verb, *rest = line.decode().upper().split()
                    self.said.append(" ".join((verb, *rest)))
                    answer = self._answers.get(rest[0] if verb == "UID" else verb, b"")
                    while answer.endswith(b"for ever\r\n"):
                        sock.sendall(answer * 100)
                    untagged, _, status = answer.partition(b"tag ")
                    sock.sendall(untagged + tag.encode() + b" " + (status or b"OK done\r\n"))
        except OSError:  # the client has had enough
            pass


CAN = b"* CAPABILITY IMAP4rev1 MOVE\r\n"


Start = Callable[..., Hostile]


@pytest.fixture
def hostile(tmp_path: Path) -> Iterator[Start]:
    started: list[Hostile] = []

    def start(**answers: bytes) -> Hostile:
        started.append(Hostile(tmp_path, {"CAPABILITY": CAN, "SEARCH": b"* SEARCH 1\r\n", **answers}))
        return started[-1]

    yield start
    for one in started:
        one.close()


@pytest.mark.parametrize(
    ("answers", "why"),
    [
        ({"FETCH": b"* 1 FETCH (UID 1 BODY[]<0> {9999999999}\r\nSubject: x\r\n"}, "an answer that is too long"),
        ({"FETCH": b"* 1 FETCH for ever\r\n"}, "an answer that is too long"),
        ({"SELECT": b"* 1 EXISTS for ever\r\n"}, "an answer that is too long"),
        ({"CAPABILITY": b"* CAPABILITY for ever\r\n"}, "an answer that is too long"),
        ({"SEARCH": b"* SEARCH \xff\xfe\r\n"}, "utf-8"),
        ({"SEARCH": b"tag NO \x1b[2Jnever\r\n"}, "\\\\x1b"),
        ({"FETCH": b"tag NO no such thing\r\n"}, "FETCH"),
        ({"LOGIN": b"tag NO [UNAVAILABLE] come back with hunter2\r\n"}, r"come back with \*\*\*"),
    ],
)
def test_whatever_a_server_says_is_bounded_and_a_fault_that_may_pass(
    hostile: Start, absorb: Absorber, monkeypatch: pytest.MonkeyPatch, answers: dict[str, bytes], why: str
) -> None:
    monkeypatch.setattr(imapclient, "_MAX_ANSWER", 1_000_000)
    monkeypatch.setattr(imapclient._Bounded, "_left", 1_000_000)
    mailboxes = hostile(**answers).mailboxes
    with pytest.raises(ConnectionError, match=why):
        list(mailboxes.mails(absorb))
    assert absorb.taken == []
    mailboxes.close()


@pytest.mark.parametrize("fetched", [b"* 1 FETCH (UID 1 FLAGS ())\r\n", b""])
def test_a_mail_that_is_gone_is_none(hostile: Start, absorb: Absorber, fetched: bytes) -> None:
    mailboxes = hostile(FETCH=fetched).mailboxes
    assert list(mailboxes.mails(absorb)) == []
    mailboxes.close()


def test_an_empty_mail_is_one(hostile: Start, absorb: Absorber) -> None:
    mailboxes = hostile(FETCH=b'* 1 FETCH (UID 1 BODY[]<0> "")\r\n').mailboxes
    assert len(list(mailboxes.mails(absorb))) == 1
    assert absorb.taken == [(b"", None)]
    mailboxes.close()


def test_a_server_that_can_do_little_gets_a_copy_a_mark_and_no_expunge_and_is_asked_again(
    hostile: Start, absorb: Absorber
) -> None:
    server = hostile(CAPABILITY=b"* CAPABILITY IMAP4rev1\r\n", FETCH=b'* 1 FETCH (UID 1 BODY[]<0> "")\r\n')
    mailboxes = server.mailboxes
    assert len(list(mailboxes.mails(absorb))) == 1
    stop = threading.Event()
    stop.set()
    mailboxes.wait(600.0, stop)
    mailboxes.close()
    assert server.said[-6:] == [
        'CREATE "PROCESSED"',
        'UID COPY 1 "PROCESSED"',
        r"UID STORE 1 +FLAGS.SILENT (\DELETED)",
        'SELECT "INBOX"',
        "UID SEARCH UNDELETED",
        "LOGOUT",
    ]
