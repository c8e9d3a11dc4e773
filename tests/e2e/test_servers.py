"""What Postfix and Dovecot answer by themselves, as plain smtplib sees it: the ground the other e2e tests stand on."""

import smtplib
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from pathlib import Path
from shutil import rmtree

import pytest

from .servers import (
    ERROR_LIMIT,
    IDLE_SECONDS,
    OK_USERS,
    PASSWORD,
    RECIPIENT_LIMIT,
    REJECTED_HEADER,
    SIZE_LIMIT_BYTES,
    Address,
    Dovecot,
    Mailboxes,
    Postfix,
    greets,
    running_dovecot,
    running_postfix,
    wait_until,
)

MESSAGE = b"From: sender@lab.test\r\nSubject: hello\r\n\r\nHello.\r\n"
TOO_BIG = MESSAGE + b"0123456789abcdef\r\n" * (SIZE_LIMIT_BYTES // 18 + 1)


@contextmanager
def session(address: Address, kind: type[smtplib.SMTP] = smtplib.SMTP, timeout: float = 15.0) -> Iterator[smtplib.SMTP]:
    """A greeted session; closed without QUIT, so that nothing a server said is hidden by it."""
    smtp = kind(*address, local_hostname="client.lab.test", timeout=timeout)
    try:
        smtp.ehlo()
        yield smtp
    finally:
        smtp.close()


def said(reply: tuple[int, bytes]) -> str:
    """A reply without its text: "552 5.2.2"."""
    code, text = reply
    return f"{code} {text.split()[0].decode()}"


def begin(smtp: smtplib.SMTP, *users: str, sender: str = "sender") -> list[str]:
    """MAIL and a RCPT for each user; what RCPT was answered."""
    assert said(smtp.mail(f"{sender}@lab.test")) == "250 2.1.0"
    return [said(smtp.rcpt(f"{user}@lab.test")) for user in users]


def data_lmtp(smtp: smtplib.SMTP, replies: int) -> list[str]:
    """DATA in LMTP: as many replies to the dot as there are accepted recipients, of which smtplib reads one."""
    return [said(smtp.data(MESSAGE)), *(said(smtp.getreply()) for _ in range(replies - 1))]


# --- Postfix at RCPT


def test_each_recipient_of_one_transaction_has_its_own_reply(postfix: Postfix, mailboxes: Mailboxes) -> None:
    with session(postfix.main) as smtp:
        replies = begin(smtp, "ok", "tempfull", "full", "unknown", "ok2")
        assert said(smtp.data(MESSAGE)) == "250 2.0.0"
    assert replies == ["250 2.1.5", "452 4.2.2", "552 5.2.2", "550 5.1.1", "250 2.1.5"]
    postfix.drain()
    assert mailboxes.counts() == {"ok": 1, "ok2": 1}
    assert mailboxes.messages("ok")[0]["Subject"] == "hello"


@pytest.mark.parametrize(
    ("recipient", "reply"),
    [
        ("nostorage@lab.test", "452 4.3.1"),
        ("blocked@lab.test", "554 5.7.1"),
        ("somebody@elsewhere.test", "554 5.7.1"),
    ],
)
def test_a_refused_recipient_leaves_the_session_usable(
    postfix: Postfix, mailboxes: Mailboxes, recipient: str, reply: str
) -> None:
    with session(postfix.main) as smtp:
        begin(smtp)
        assert said(smtp.rcpt(recipient)) == reply
        smtp.rset()
        assert begin(smtp, "ok") == ["250 2.1.5"]
        assert said(smtp.data(MESSAGE)) == "250 2.0.0"
    postfix.drain()
    assert mailboxes.counts() == {"ok": 1}


@pytest.mark.parametrize(("user", "reply"), [("hangup", "421 4.7.0"), ("dropped", "521 5.7.1")])
def test_a_hang_up_at_rcpt_takes_the_accepted_recipients_with_it(
    postfix: Postfix, mailboxes: Mailboxes, user: str, reply: str
) -> None:
    with session(postfix.main) as smtp:
        assert begin(smtp, "ok", user) == ["250 2.1.5", reply]
        with pytest.raises(smtplib.SMTPServerDisconnected):
            smtp.rcpt("ok2@lab.test")
    postfix.drain()
    assert mailboxes.counts() == {}


def test_recipients_over_the_limit_are_put_off_and_the_others_get_one_copy_each(
    postfix: Postfix, mailboxes: Mailboxes
) -> None:
    users = OK_USERS[: RECIPIENT_LIMIT + 2]
    with session(postfix.main) as smtp:
        replies = begin(smtp, *users)
        assert said(smtp.data(MESSAGE)) == "250 2.0.0"
    assert replies == ["250 2.1.5"] * RECIPIENT_LIMIT + ["452 4.5.3"] * 2
    postfix.drain()
    assert mailboxes.counts() == dict.fromkeys(users[:RECIPIENT_LIMIT], 1)


# --- Postfix at MAIL and at the dot


def test_a_declared_size_over_the_limit_is_refused_at_mail(postfix: Postfix, mailboxes: Mailboxes) -> None:
    with session(postfix.main) as smtp:
        assert smtp.esmtp_features["size"] == str(SIZE_LIMIT_BYTES)
        assert said(smtp.mail("sender@lab.test", [f"SIZE={len(TOO_BIG)}"])) == "552 5.3.4"
    postfix.drain()
    assert mailboxes.counts() == {}


def test_an_undeclared_size_over_the_limit_is_refused_at_the_dot(postfix: Postfix, mailboxes: Mailboxes) -> None:
    with session(postfix.main) as smtp:
        assert begin(smtp, "ok", "ok2") == ["250 2.1.5"] * 2
        assert said(smtp.data(TOO_BIG)) == "552 5.3.4"
        assert begin(smtp, "ok3") == ["250 2.1.5"]
        assert said(smtp.data(MESSAGE)) == "250 2.0.0"
    postfix.drain()
    assert mailboxes.counts() == {"ok3": 1}


def test_a_server_without_space_refuses_at_mail(postfix: Postfix, mailboxes: Mailboxes) -> None:
    with session(postfix.no_space) as smtp:
        assert said(smtp.mail("sender@lab.test")) == "452 4.3.1"
    postfix.drain()
    assert mailboxes.counts() == {}


@pytest.mark.parametrize(
    ("sender", "reply"),
    [("dotfull", "552 5.2.2"), ("dottemp", "451 4.7.1"), ("dotblocked", "554 5.7.1")],
)
def test_a_refusal_at_the_dot_is_for_every_recipient(
    postfix: Postfix, mailboxes: Mailboxes, sender: str, reply: str
) -> None:
    with session(postfix.main) as smtp:
        assert begin(smtp, "ok", "ok2", sender=sender) == ["250 2.1.5"] * 2
        assert said(smtp.data(MESSAGE)) == reply
        assert said(smtp.noop()) == "250 2.0.0"
    postfix.drain()
    assert mailboxes.counts() == {}


def test_a_header_can_be_refused_at_the_dot(postfix: Postfix, mailboxes: Mailboxes) -> None:
    with session(postfix.main) as smtp:
        assert begin(smtp, "ok") == ["250 2.1.5"]
        assert said(smtp.data(f"{REJECTED_HEADER}: yes\r\n".encode() + MESSAGE)) == "550 5.7.1"
    postfix.drain()
    assert mailboxes.counts() == {}


def test_a_hang_up_at_the_dot_delivers_nothing(postfix: Postfix, mailboxes: Mailboxes) -> None:
    with session(postfix.main) as smtp:
        assert begin(smtp, "ok", sender="dothangup") == ["250 2.1.5"]
        assert said(smtp.data(MESSAGE)) == "421 4.7.0"
        with pytest.raises(smtplib.SMTPServerDisconnected):
            smtp.noop()
    postfix.drain()
    assert mailboxes.counts() == {}


def test_a_late_reply_to_the_dot_is_a_timeout_for_the_client_and_one_copy_for_the_user(
    postfix: Postfix, mailboxes: Mailboxes
) -> None:
    with session(postfix.late, timeout=postfix.late_reply_seconds / 3) as smtp:
        assert begin(smtp, "ok", "ok2") == ["250 2.1.5"] * 2
        with pytest.raises(smtplib.SMTPServerDisconnected, match="timed out"):
            smtp.data(MESSAGE)
    assert mailboxes.counts() == {}
    mailboxes.wait_for("ok", 1, timeout=postfix.late_reply_seconds + 5)
    postfix.drain()
    assert mailboxes.counts() == {"ok": 1, "ok2": 1}


# --- Postfix speaking unasked


def test_silence_ends_in_an_unasked_421_that_answers_the_next_command(postfix: Postfix, mailboxes: Mailboxes) -> None:
    with session(postfix.impatient, timeout=IDLE_SECONDS + 10) as smtp:
        assert begin(smtp, "ok") == ["250 2.1.5"]
        assert said(smtp.getreply()) == "421 4.4.2"
        with pytest.raises(smtplib.SMTPServerDisconnected):
            smtp.rcpt("ok2@lab.test")
    postfix.drain()
    assert mailboxes.counts() == {}


def test_refused_recipients_are_errors_and_too_many_of_them_end_the_session(
    postfix: Postfix, mailboxes: Mailboxes
) -> None:
    with session(postfix.impatient) as smtp:
        replies = begin(smtp, "ok", *["unknown"] * (ERROR_LIMIT + 1))
        with pytest.raises(smtplib.SMTPServerDisconnected):
            smtp.noop()
    assert replies == ["250 2.1.5", *["550 5.1.1"] * ERROR_LIMIT, "421 4.7.0"]
    postfix.drain()
    assert mailboxes.counts() == {}


@pytest.mark.parametrize("line", ["XPING", "Subject: hello"])
def test_a_221_can_come_in_the_middle_of_a_transaction(postfix: Postfix, mailboxes: Mailboxes, line: str) -> None:
    with session(postfix.forbidden) as smtp:
        assert begin(smtp, "ok") == ["250 2.1.5"]
        assert said(smtp.docmd(line)) == "221 2.7.0"
        with pytest.raises(smtplib.SMTPServerDisconnected):
            smtp.noop()
    postfix.drain()
    assert mailboxes.counts() == {}


# --- Postfix later on


def test_an_accepted_recipient_can_come_back_as_a_bounce(postfix: Postfix, mailboxes: Mailboxes) -> None:
    with session(postfix.trusting) as smtp:
        assert begin(smtp, "ok", "full", "tempfull") == ["250 2.1.5"] * 3
        assert said(smtp.data(MESSAGE)) == "250 2.0.0"
    [bounce] = mailboxes.wait_for("sender", 1)
    postfix.drain()
    assert mailboxes.counts() == {"ok": 1, "sender": 1}
    assert bounce.get_content_type() == "multipart/report"
    [_, recipient] = [part for part in bounce.walk() if "Reporting-MTA" in part or "Action" in part]
    assert isinstance(recipient, EmailMessage)
    assert (recipient["Final-Recipient"], recipient["Status"]) == ("rfc822; full@lab.test", "5.2.2")
    assert recipient["Diagnostic-Code"].startswith("smtp; 552 5.2.2 ")


# --- Postfix behind TLS and a password


def test_submission_wants_tls_then_a_password_then_delivers(postfix: Postfix, mailboxes: Mailboxes) -> None:
    with session(postfix.submission) as smtp:
        assert said(smtp.mail("sender@lab.test")) == "530 5.7.0"
        smtp.starttls(context=ssl.create_default_context(cafile=postfix.ca_file))
        smtp.ehlo()
        assert begin(smtp, "ok") == ["554 5.7.1"]
        smtp.rset()
        with pytest.raises(smtplib.SMTPAuthenticationError) as refused:
            smtp.login("sender", "wrong")
        assert refused.value.smtp_code == 535
        smtp.login("sender", PASSWORD)
        assert begin(smtp, "ok") == ["250 2.1.5"]
        assert said(smtp.data(MESSAGE)) == "250 2.0.0"
    postfix.drain()
    assert mailboxes.counts() == {"ok": 1}


def test_the_certificate_of_submission_is_not_trusted_by_default(postfix: Postfix) -> None:
    with session(postfix.submission) as smtp, pytest.raises(ssl.SSLCertVerificationError):
        smtp.starttls(context=ssl.create_default_context())


# --- Dovecot's LMTP


def test_lmtp_answers_for_each_recipient_after_the_dot(dovecot: Dovecot, mailboxes: Mailboxes) -> None:
    with session(dovecot.lmtp, smtplib.LMTP) as smtp:
        at_rcpt = begin(smtp, "ok", "full", "unknown", "tempfull", "ok2")
        at_dot = data_lmtp(smtp, replies=4)
        assert said(smtp.noop()) == "250 2.0.0"
    assert at_rcpt == ["250 2.1.5", "250 2.1.5", "550 5.1.1", "250 2.1.5", "250 2.1.5"]
    assert at_dot == ["250 2.0.0", "552 5.2.2", "452 4.2.2", "250 2.0.0"]
    assert mailboxes.counts() == {"ok": 1, "ok2": 1}


def test_lmtp_can_ask_for_the_quota_at_rcpt(dovecot: Dovecot, mailboxes: Mailboxes) -> None:
    with session(dovecot.lmtp_quota_at_rcpt, smtplib.LMTP) as smtp:
        at_rcpt = begin(smtp, "ok", "full", "tempfull", "ok2")
        at_dot = data_lmtp(smtp, replies=2)
    assert at_rcpt == ["250 2.1.5", "552 5.2.2", "452 4.2.2", "250 2.1.5"]
    assert at_dot == ["250 2.0.0", "250 2.0.0"]
    assert mailboxes.counts() == {"ok": 1, "ok2": 1}


# --- The servers as fixtures


def test_servers_run_beside_each_other_and_stop_by_themselves(postfix: Postfix) -> None:
    with running_dovecot() as other_dovecot, running_postfix(other_dovecot) as other_postfix:
        with (
            session(other_dovecot.lmtp, smtplib.LMTP) as lmtp,
            session(other_postfix.main) as smtp,
            session(postfix.main) as unharmed,
        ):
            assert begin(lmtp, "ok") == begin(smtp, "ok") == ["250 2.1.5"]
            other_dovecot.stop()
            other_postfix.stop()
            assert said(lmtp.getreply()) == "421 4.3.2"
            with pytest.raises(smtplib.SMTPServerDisconnected):
                smtp.getreply()
            assert said(unharmed.noop()) == "250 2.0.0"
        assert other_dovecot.mailboxes.counts() == {}
    assert not other_dovecot.directory.exists()
    assert not other_postfix.directory.exists()


def test_servers_end_when_the_tests_are_killed(dovecot: Dovecot) -> None:
    killed = (
        "import os; from e2e.servers import running_dovecot\n"
        "with running_dovecot() as dovecot:\n"
        "    print(dovecot.directory, dovecot.lmtp.port, flush=True)\n"
        "    os._exit(1)\n"
    )
    tests = Path(__file__).parents[1]
    ended = subprocess.run([sys.executable, "-c", killed], cwd=tests, capture_output=True, text=True, check=False)
    directory, port = ended.stdout.split()
    wait_until(lambda: not greets(Address("127.0.0.1", int(port))), timeout=10)
    wait_until(lambda: not Path(directory, "run", "master.pid").exists(), timeout=10)
    rmtree(directory)


def test_waiting_for_mail_that_does_not_come_says_what_did(mailboxes: Mailboxes) -> None:
    with pytest.raises(TimeoutError, match=r"ok: 1 messages wanted, 0 came in 0\.1 s"):
        mailboxes.wait_for("ok", 1, timeout=0.1)
    with pytest.raises(ValueError, match="'unknown' has no mailbox"):
        mailboxes.messages("unknown")
