"""Mail that came back, taken from the IMAP mailboxes of a real Dovecot."""

import imaplib
import json
import os
import signal
import smtplib
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bouncekit.intake.absorbing import Outcome, follow
from bouncekit.intake.imap import FLAG, ImapMailboxes
from bouncekit.intake.imapaccount import ImapAccount
from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.testing import ScriptedServer
from bouncekit.words.errors import ConfigurationError, StoreError
from tests.conftest import message
from tests.intake.conftest import Absorber, mail, raising
from tests.test_returns import dsn

from .servers import DOMAIN, PASSWORD, Imap, wait_until

ROOT = Path(__file__).parents[2]
USER = "ok"

Source = Callable[..., ImapMailboxes]


@pytest.fixture
def absorb() -> Absorber:
    return Absorber()


@contextmanager
def looking(imap: Imap) -> Iterator[imaplib.IMAP4_SSL]:
    """Somebody else's view of the mailbox."""
    context = ssl.create_default_context(cafile=imap.ca_file)
    with imaplib.IMAP4_SSL(*imap.imaps, ssl_context=context) as client:
        client.login(USER, PASSWORD)
        yield client


@pytest.fixture
def server(imap: Imap) -> Imap:
    """The same with the inbox alone, and nothing in it."""
    with looking(imap) as client:
        for name in folders(client):
            if name != "INBOX":
                client.select("INBOX")
                assert client.delete(name)[0] == "OK"
        client.select("INBOX")
        client.uid("STORE", "1:*", "+FLAGS", r"(\Deleted)")
        client.expunge()
    return imap


def folders(client: imaplib.IMAP4) -> list[str]:
    return [line.decode().split(" ")[-1].strip('"') for line in client.list()[1] if isinstance(line, bytes)]


def put(server: Imap, *subjects: str, folder: str = "INBOX") -> None:
    with looking(server) as client:
        if folder not in folders(client):
            assert client.create(folder)[0] == "OK"
        for subject in subjects:
            assert client.append(folder, "", "", mail(subject))[0] == "OK"


def found(server: Imap, folder: str, criteria: str = "ALL") -> int:
    """How many mails lie in a mailbox."""
    with looking(server) as client:
        if folder not in folders(client):
            return 0
        client.select(folder, readonly=True)
        return len(client.uid("SEARCH", criteria)[1][0].split())


@pytest.fixture
def source(server: Imap) -> Iterator[Source]:
    opened: list[ImapMailboxes] = []

    def open_(url: str | None = None, password: str = PASSWORD, **settings: Any) -> ImapMailboxes:
        url = url or f"imaps://{USER}@{server.imaps.host}:{server.imaps.port}"
        account = ImapAccount.parse(url, password, ca_file=settings.pop("ca_file", server.ca_file))
        opened.append(ImapMailboxes(account, **settings))
        return opened[-1]

    yield open_
    for one in opened:
        one.close()


def test_mails_are_taken_in_and_moved_to_a_mailbox_that_is_made(server: Imap, source: Source, absorb: Absorber) -> None:
    put(server, "1", "2", "3")
    mailboxes = source()
    assert list(mailboxes.mails(absorb)) == [Outcome.DONE] * 3
    assert [content for content, _ in absorb.taken] == [mail("1"), mail("2"), mail("3")]
    assert (found(server, "INBOX"), found(server, "Processed"), found(server, "Processed", "UNSEEN")) == (0, 3, 3)
    assert list(mailboxes.mails(absorb)) == []
    put(server, "4")
    assert list(mailboxes.mails(absorb)) == [Outcome.DONE]


def test_flagged_they_stay_and_no_other_session_takes_them_again(
    server: Imap, source: Source, absorb: Absorber
) -> None:
    put(server, "1", "2")
    assert len(list(source(done=None).mails(absorb))) == 2
    assert (found(server, "INBOX", f"KEYWORD {FLAG} UNSEEN"), found(server, "INBOX")) == (2, 2)
    put(server, "3")
    assert len(list(source(done=None).mails(absorb))) == 1
    assert absorb.subjects == ["1", "2", "3"]


def test_deleted_they_are_gone_and_what_others_have_deleted_stays(
    server: Imap, source: Source, absorb: Absorber
) -> None:
    put(server, "1", "2")
    with looking(server) as client:
        client.select("INBOX")
        client.store("1", "+FLAGS", r"(\Deleted)")
    assert list(source(done=None, delete=True).mails(absorb)) == [Outcome.DONE]
    assert absorb.subjects == ["2"]
    assert found(server, "INBOX") == 1


@pytest.mark.parametrize("error", [StoreError("locked"), OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_what_could_not_be_remembered_stays_and_counts_the_next_time(
    server: Imap, source: Source, absorb: Absorber, error: BaseException
) -> None:
    put(server, "1", "2", "3")
    absorb.trouble = raising(error, at="2")
    mailboxes = source()
    with pytest.raises(type(error)):
        list(mailboxes.mails(absorb))
    assert (found(server, "INBOX"), found(server, "Processed")) == (2, 1)
    absorb.trouble = lambda content: None
    assert list(mailboxes.mails(absorb)) == [Outcome.DONE] * 2
    assert absorb.subjects == ["1", "2", "3"]


@pytest.mark.parametrize("settings", [{}, {"done": None}, {"done": None, "delete": True}])
def test_an_error_of_ours_sets_the_mail_aside(
    server: Imap, source: Source, absorb: Absorber, settings: dict[str, Any]
) -> None:
    put(server, "1", "2")
    absorb.trouble = raising(ZeroDivisionError("ours"), at="1")
    mailboxes = source(**settings)
    assert list(mailboxes.mails(absorb)) == [Outcome.ASIDE, Outcome.DONE]
    assert found(server, "Aside") == 1
    assert list(mailboxes.mails(absorb)) == []


def test_several_mailboxes_are_looked_into_and_one_with_a_new_uidvalidity_is_no_other(
    server: Imap, source: Source, absorb: Absorber
) -> None:
    put(server, "1")
    put(server, "2", folder="Junk")
    mailboxes = source(folders=("INBOX", "Junk"), done=None)
    assert len(list(mailboxes.mails(absorb))) == 2
    with looking(server) as client:
        client.delete("Junk")
    put(server, "3", folder="Junk")
    assert len(list(mailboxes.mails(absorb))) == 1
    assert absorb.subjects == ["1", "2", "3"]


def test_a_mailbox_may_have_a_name_in_any_script(server: Imap, source: Source, absorb: Absorber) -> None:
    put(server, "1")
    assert list(source(done="Zurück").mails(absorb)) == [Outcome.DONE]
    assert found(server, "Zur&APw-ck") == 1, "as RFC 3501 5.1.3 writes it"


def test_starttls_comes_before_the_login(server: Imap, source: Source, absorb: Absorber) -> None:
    put(server, "1")
    mailboxes = source(f"imap://{USER}@localhost:{server.imap.port}")
    assert list(mailboxes.mails(absorb)) == [Outcome.DONE]


def test_a_server_that_nobody_vouches_for_gets_no_password(server: Imap, source: Source, absorb: Absorber) -> None:
    for url in (None, f"imap://{USER}@{server.imap.host}:{server.imap.port}"):
        with pytest.raises(ConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
            list(source(url, ca_file=None).mails(absorb))


def test_a_refused_login_or_mailbox_is_for_the_owner_to_set_right(source: Source, absorb: Absorber) -> None:
    with pytest.raises(ConfigurationError, match="AUTHENTICATIONFAILED") as caught:
        list(source(password="hunter2").mails(absorb))
    assert "hunter2" not in str(caught.value)
    with pytest.raises(ConfigurationError, match="AUTHENTICATIONFAILED"):
        list(source(password="hünter2").mails(absorb))
    with pytest.raises(ConfigurationError, match="Nowhere"):
        list(source(folders=("Nowhere",)).mails(absorb))


def test_a_line_that_drops_is_a_fault_that_passes(server: Imap, source: Source, absorb: Absorber) -> None:
    put(server, "1", "2")
    mailboxes = source()

    def drop(content: bytes) -> None:
        assert mailboxes._box is not None
        mailboxes._box.client.sock.shutdown(socket.SHUT_RDWR)

    absorb.trouble = drop
    with pytest.raises(ConnectionError):
        list(mailboxes.mails(absorb))
    absorb.trouble = lambda content: None
    assert list(mailboxes.mails(absorb)) == [Outcome.DONE] * 2, "the first one once more: nobody had acknowledged it"


def test_news_is_heard_at_once_and_a_stop_too(server: Imap, source: Source, absorb: Absorber) -> None:
    mailboxes, stop, seen = source(), threading.Event(), []

    def work() -> None:
        seen.extend(
            follow(
                lambda: mailboxes.mails(absorb), stop=stop, every=600.0, wait=lambda long: mailboxes.wait(long, stop)
            )
        )

    thread = threading.Thread(target=work)
    thread.start()
    try:
        for number in (1, 2):
            with smtplib.LMTP(*server.lmtp, local_hostname="mta") as client:
                client.sendmail("", [f"{USER}@{DOMAIN}"], mail(str(number)))
            wait_until(lambda: len(absorb.taken) == number, 20.0)  # noqa: B023 - called before the next round
    finally:
        stop.set()
        thread.join(20)
    assert not thread.is_alive()
    assert seen == [Outcome.DONE] * 2


def test_what_arrives_while_another_is_taken_in_is_taken_in_the_same_pass(
    server: Imap, source: Source, absorb: Absorber
) -> None:
    """The server tells of it in its answer to MOVE, and does not tell again under IDLE."""

    def deliver(number: int) -> None:
        with smtplib.LMTP(*server.lmtp, local_hostname="mta") as client:
            client.sendmail("", [f"{USER}@{DOMAIN}"], mail(str(number)))

    def taken(content: bytes, arrived_at: str | None = None) -> None:
        absorb(content, arrived_at)
        if len(absorb.taken) < 3:
            deliver(len(absorb.taken) + 1)

    deliver(1)
    assert list(source().mails(taken)) == [Outcome.DONE] * 3


KILLED = """
import os, signal
import bouncekit

postmaster = bouncekit.Postmaster.from_config()

@postmaster.on("failed")
def killed_behind_the_commit(event):
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_killed_between_commit_and_move_the_mail_comes_again_and_counts_once(
    server: Imap, serve: Callable[..., ScriptedServer], tmp_path: Path
) -> None:
    settings = 'store = "sqlite:///b.db"\nbounces = "bounce@example.org"\nbounce_keys = ["a secret of some length"]\n'
    url = f"imaps://{USER}@{server.imaps.host}:{server.imaps.port}"
    (tmp_path / "bouncekit.toml").write_text(f'{settings}mailbox = "{url}"\n')
    (tmp_path / "killed_shop.py").write_text(KILLED)
    relay = serve()
    with Postmaster.from_config(tmp_path) as postmaster, postmaster.client(relay.url) as client:
        client.send(message("ada@example.com"))
    with looking(server) as client:
        client.append("INBOX", "", "", dsn(relay.messages[0], "ada@example.com"))

    def intake(*options: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "bouncekit", "intake", "imap", "--ca-file", str(server.ca_file), *options]
        environ = {**os.environ, "PYTHONPATH": str(ROOT), "BOUNCEKIT_MAILBOX_PASSWORD": PASSWORD}
        return subprocess.run(
            command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60, check=False
        )

    assert intake("--app", "killed_shop:postmaster").returncode == -signal.SIGKILL
    assert found(server, "INBOX") == 1
    again = intake("--json")
    assert (again.returncode, json.loads(again.stdout)["mails"]) == (0, 1), again.stderr
    assert (found(server, "INBOX"), found(server, "Processed")) == (0, 1)
    with Postmaster.from_config(tmp_path) as postmaster:
        assert "ada@example.com" in postmaster.suppressions
        assert sum(event["type"] == "failed" for _, event in postmaster.office.store.events()) == 1
