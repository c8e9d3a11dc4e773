"""The main job on real servers: each accepted recipient has exactly one copy, each other one its own fate."""

import select
import smtplib
import ssl
from collections.abc import Callable, Iterator
from email.message import EmailMessage

import pytest

import bouncekit
from bouncekit import OutcomeUnknown, Postmaster

from .servers import (
    IDLE_SECONDS,
    OK_USERS,
    PASSWORD,
    RECIPIENT_LIMIT,
    SIZE_LIMIT_BYTES,
    Address,
    Dovecot,
    Mailboxes,
    Postfix,
)

TOO_BIG = "0123456789abcdef\n" * (SIZE_LIMIT_BYTES // 17 + 1)


@pytest.fixture
def told() -> list[object]:
    """What the recipient's other channel was told."""
    return []


@pytest.fixture
def postmaster(told: list[object]) -> Iterator[Postmaster]:
    with Postmaster(channels={"recipient": told.append}) as postmaster:
        yield postmaster


@pytest.fixture
def events(postmaster: Postmaster) -> list[bouncekit.Event]:
    heard: list[bouncekit.Event] = []
    postmaster.on()(heard.append)
    return heard


def message(*users: str, content: str = "Hello.\n", sender: str = "sender") -> EmailMessage:
    made = EmailMessage()
    made["From"], made["Subject"] = f"{sender}@lab.test", "hello"
    made["To"] = ", ".join(f"{user}@lab.test" for user in users)
    made.set_content(content)
    return made


def outcomes(report: bouncekit.Report) -> dict[str, str]:
    return {one.recipient.partition("@")[0]: f"{one.action} {one.category or ''}".strip() for one in report.recipients}


def connect(postmaster: Postmaster, address: Address, **options: object) -> bouncekit.SMTP:
    return postmaster.smtp(*address, local_hostname="client.lab.test", timeout=15, **options)


def wait_for_bytes(smtp: smtplib.SMTP, seconds: float) -> None:
    assert select.select([smtp.sock], [], [], seconds)[0], f"the server said nothing within {seconds} s"


def test_one_transaction_with_four_fates(
    postfix: Postfix, mailboxes: Mailboxes, postmaster: Postmaster, events: list[bouncekit.Event], told: list[object]
) -> None:
    with connect(postmaster, postfix.main) as smtp:
        report = smtp.send_message(message("ok", "tempfull", "full", "unknown", "ok2"))
        again = smtp.send_message(message("ok", "full"))
    assert outcomes(report) == {
        "ok": "delivered",
        "tempfull": "delayed mailbox_full",
        "full": "failed mailbox_full",
        "unknown": "failed user_unknown",
        "ok2": "delivered",
    }
    assert outcomes(again) == {"ok": "delivered", "full": "suppressed mailbox_full"}
    assert sorted(one.address or "" for one in postmaster.suppressions) == ["full@lab.test", "unknown@lab.test"]
    assert [note.recipient for note in told] == ["full@lab.test"]  # type: ignore[attr-defined]
    assert [event.reply.code for event in events if event.type == "delayed"] == [452]  # type: ignore[union-attr]
    assert events[-1].type == "closed"
    assert events[-1].details["expected"]
    postfix.drain()
    assert mailboxes.counts() == {"ok": 2, "ok2": 1}


def test_a_message_too_big_at_mail_blames_the_message(
    postfix: Postfix, mailboxes: Mailboxes, postmaster: Postmaster
) -> None:
    with connect(postmaster, postfix.main) as smtp, pytest.raises(smtplib.SMTPSenderRefused) as raised:
        smtp.send_message(message("ok", "ok2", content=TOO_BIG))
    failed = raised.value.report.failed  # type: ignore[attr-defined]
    assert [(one.category, one.scope, one.stage) for one in failed] == [("message_too_big", "message", "MAIL")] * 2
    assert list(postmaster.suppressions) == []
    postfix.drain()
    assert mailboxes.counts() == {}


def test_a_message_too_big_after_the_data_blames_the_message(
    postfix: Postfix, mailboxes: Mailboxes, postmaster: Postmaster
) -> None:
    with connect(postmaster, postfix.main) as smtp:
        smtp.ehlo()
        del smtp.esmtp_features["size"]
        with pytest.raises(smtplib.SMTPDataError) as raised:
            smtp.send_message(message("ok", content=TOO_BIG))
        assert smtp.send_message(message("ok2")) == {}
    (failed,) = raised.value.report.failed  # type: ignore[attr-defined]
    assert (failed.category, failed.stage, failed.reply.code) == ("message_too_big", "END_OF_DATA", 552)
    assert list(postmaster.suppressions) == []
    postfix.drain()
    assert mailboxes.counts() == {"ok2": 1}


def test_too_many_recipients_are_split_and_each_gets_one_copy(
    postfix: Postfix, mailboxes: Mailboxes, postmaster: Postmaster
) -> None:
    users = OK_USERS[: RECIPIENT_LIMIT + 3]
    with connect(postmaster, postfix.main) as smtp:
        report = smtp.send_message(message(*users))
    assert report == {}
    assert len(report.delivered) == len(users)
    postfix.drain()
    assert mailboxes.counts() == dict.fromkeys(users, 1)


def test_a_421_after_an_idle_time_out_is_reconnected(
    postfix: Postfix, mailboxes: Mailboxes, postmaster: Postmaster, events: list[bouncekit.Event]
) -> None:
    with connect(postmaster, postfix.impatient) as smtp:
        smtp.send_message(message("ok"))
        wait_for_bytes(smtp, IDLE_SECONDS + 10)
        assert smtp.send_message(message("ok2")) == {}
    (unexpected,) = [event for event in events if event.type == "closed" and not event.details["expected"]]
    assert (unexpected.details["code"], unexpected.details["then"]) == (421, "reconnect")
    assert [event.type for event in events].count("reconnected") == 1  # type: ignore[arg-type]
    postfix.drain()
    assert mailboxes.counts() == {"ok": 1, "ok2": 1}


def test_an_unasked_221_is_reconnected(
    postfix: Postfix, mailboxes: Mailboxes, postmaster: Postmaster, events: list[bouncekit.Event]
) -> None:
    with connect(postmaster, postfix.forbidden) as smtp:
        smtp.send_message(message("ok"))
        smtp.send("XPING\r\n")  # a command that this server answers with 221 and a close
        wait_for_bytes(smtp, 10)
        assert smtp.send_message(message("ok2")) == {}
    (unexpected,) = [event for event in events if event.type == "closed" and not event.details["expected"]]
    assert (unexpected.details["code"], unexpected.details["stage"]) == (221, "IDLE")
    postfix.drain()
    assert mailboxes.counts() == {"ok": 1, "ok2": 1}


def test_a_hang_up_in_the_midst_leaves_nobody_with_two_copies(
    postfix: Postfix, mailboxes: Mailboxes, postmaster: Postmaster
) -> None:
    with connect(postmaster, postfix.main) as smtp, pytest.raises(smtplib.SMTPException) as raised:
        smtp.send_message(message("ok", "full", "hangup", "ok2"))
    report = raised.value.report  # type: ignore[attr-defined]
    assert outcomes(report)["full"] == "failed mailbox_full"
    assert {one.action for one in report.recipients} == {"failed", "delayed"}
    assert [one.address for one in postmaster.suppressions] == ["full@lab.test"]
    postfix.drain()
    assert mailboxes.counts() == {}


def test_lmtp_fails_in_part(dovecot: Dovecot, mailboxes: Mailboxes, postmaster: Postmaster) -> None:
    with postmaster.lmtp(*dovecot.lmtp, timeout=15) as lmtp:
        report = lmtp.send_message(message("full", "ok", "unknown", "tempfull", "ok2"))
        assert lmtp.send_message(message("ok2")) == {}
    assert outcomes(report) == {
        "full": "failed mailbox_full",
        "ok": "delivered",
        "unknown": "failed user_unknown",
        "tempfull": "delayed mailbox_full",
        "ok2": "delivered",
    }
    assert mailboxes.counts() == {"ok": 1, "ok2": 2}


def test_a_lost_reply_to_the_dot_is_unknown_and_one_copy(
    postfix: Postfix, mailboxes: Mailboxes, postmaster: Postmaster
) -> None:
    smtp = postmaster.smtp(*postfix.late, timeout=postfix.late_reply_seconds / 3, message_class="bulk")
    with smtp, pytest.raises(OutcomeUnknown) as raised:
        smtp.send_message(message("ok", "ok2"))
    assert [one.possible_duplicate for one in raised.value.report.unknown] == [True, True]  # type: ignore[attr-defined]
    mailboxes.wait_for("ok", 1, timeout=postfix.late_reply_seconds + 5)
    postfix.drain()
    assert mailboxes.counts() == {"ok": 1, "ok2": 1}


def test_a_server_without_space_is_no_full_mailbox(
    postfix: Postfix, mailboxes: Mailboxes, postmaster: Postmaster
) -> None:
    with connect(postmaster, postfix.no_space) as smtp, pytest.raises(smtplib.SMTPSenderRefused) as raised:
        smtp.send_message(message("ok"))
    (delayed,) = raised.value.report.delayed  # type: ignore[attr-defined]
    assert (delayed.category, delayed.scope) == ("system_full", "route")
    assert list(postmaster.suppressions) == []
    assert mailboxes.counts() == {}


def test_a_client_sends_behind_verified_tls_and_a_password(
    postfix: Postfix, mailboxes: Mailboxes, postmaster: Postmaster
) -> None:
    host, port = postfix.submission
    trust = ssl.create_default_context(cafile=postfix.ca_file)
    with postmaster.client(f"smtp://sender:{PASSWORD}@{host}:{port}", tls_context=trust) as client:
        assert client.send(message("ok")) == {}
    postfix.drain()
    assert mailboxes.counts() == {"ok": 1}


@pytest.mark.parametrize("dress", [bouncekit.wrap, None])
def test_an_applications_own_smtplib_sends_by_the_policy(
    postfix: Postfix, mailboxes: Mailboxes, postmaster: Postmaster, dress: Callable[..., bouncekit.SMTP] | None
) -> None:
    if dress is None:
        with bouncekit.install(postmaster), smtplib.SMTP(*postfix.main, timeout=15) as smtp:
            report = smtp.send_message(message("ok", "full"))
    else:
        with smtplib.SMTP(*postfix.main, timeout=15) as smtp:
            report = dress(smtp, postmaster).send_message(message("ok", "full"))
    assert set(report) == {"full@lab.test"}
    assert "full@lab.test" in postmaster.suppressions
    postfix.drain()
    assert mailboxes.counts() == {"ok": 1}
