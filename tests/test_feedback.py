"""Feedback reports: who complains, about what, also where that was made unreadable."""

import pytest

from bouncekit.bounces.bouncemail import read_mail
from bouncekit.bounces.feedback import is_redacted, read_feedback
from bouncekit.bounces.incoming import Kind

REPORT = """\
Feedback-Type: abuse
User-Agent: SomeGenerator/1.0
Version: 1
Original-Mail-From: <shop+b7@example.org>
Original-Rcpt-To: <jo@example.com>
Original-Rcpt-To: <ann@example.com>
Arrival-Date: Thu, 1 Jan 2026 10:00:00 +0000
Source-IP: 192.0.2.1
Incidents: 3
"""


def arf(report: str, to: str = "jo@example.com") -> bytes:
    return f"""\
From: <abusedesk@example.com>
To: <abuse@example.org>
Subject: FW: Your order
MIME-Version: 1.0
Content-Type: multipart/report; report-type=feedback-report; boundary="b"

--b
Content-Type: text/plain

This is an email abuse report.
--b
Content-Type: message/feedback-report

{report}
--b
Content-Type: message/rfc822

Return-Path: <shop+b7@example.org>
From: <shop@example.org>
To: {to}
Subject: Your order
Message-ID: <order-7@example.org>
X-Order: 7

Hello
--b--
""".encode()


def test_every_field_is_read() -> None:
    report = read_feedback(REPORT)
    assert (report.feedback_type, report.user_agent, report.source_ip) == ("abuse", "SomeGenerator/1.0", "192.0.2.1")
    assert report.recipients == ("jo@example.com", "ann@example.com")
    assert report.original_mail_from == "shop+b7@example.org"
    assert report.incidents == 3
    assert report.arrival_at is not None
    assert report.is_complaint


@pytest.mark.parametrize("kind", ["not-spam", "auth-failure"])
def test_what_is_no_complaint_is_none(kind: str) -> None:
    mail = read_mail(arf(REPORT.replace("abuse", kind)))
    assert mail.feedback is not None
    assert (mail.kind, mail.feedback.feedback_type) == (Kind.OTHER, kind)


def test_a_complaint_knows_the_message_that_it_is_about() -> None:
    mail = read_mail(arf(REPORT))
    assert mail.kind is Kind.COMPLAINT
    assert [one.recipient for one in mail.recipients] == ["jo@example.com", "ann@example.com"]
    assert [one.action for one in mail.recipients] == [None, None]
    assert (mail.message_id, mail.return_path) == ("<order-7@example.org>", "shop+b7@example.org")
    assert mail.x_headers == {"x-order": "7"}


def test_who_complains_may_stand_in_the_returned_message_only() -> None:
    assert [one.recipient for one in read_mail(arf("Feedback-Type: abuse\n")).recipients] == ["jo@example.com"]


@pytest.mark.parametrize("address", ["redacted@example.com", "xxxx@example.com", "x@example.com", "****@example.com"])
def test_a_redacted_address_is_nobody(address: str) -> None:
    assert is_redacted(address)
    mail = read_mail(arf(f"Feedback-Type: abuse\nOriginal-Rcpt-To: <{address}>\n", to=address))
    assert (mail.kind, mail.recipients) == (Kind.COMPLAINT, ())


def test_outlook_writes_no_report_but_a_header() -> None:
    mail = read_mail(
        b"From: staff@hotmail.com\nSubject: complaint about message from 192.0.2.222\n"
        b"Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: message/rfc822\n\n"
        b"X-HmXmrOriginalRecipient: jo@example.com\nTo: jo@example.com\n\nHi\n--b--\n"
    )
    assert mail.kind is Kind.COMPLAINT
    assert [one.recipient for one in mail.recipients] == ["jo@example.com"]


def test_apple_mail_unsubscribes_by_mail() -> None:
    mail = read_mail(b"From: jo@example.com\nSubject: unsubscribe\nX-Apple-Unsubscribe: true\n\nBye\n")
    assert mail.feedback is not None
    assert (mail.kind, mail.feedback.feedback_type) == (Kind.COMPLAINT, "opt-out")
    assert [one.recipient for one in mail.recipients] == ["jo@example.com"]
