"""Delivery status notifications: fields as RFC 3464 has them, and as mail systems write them."""

from datetime import UTC, datetime

import pytest

from bouncekit.bounces.dsn import MAX_RECIPIENTS, mailbox, read_date, read_delivery_status, read_status
from bouncekit.words.status import Action

WHOLE = """\
Original-Envelope-Id: order-7
Reporting-MTA: dns; mx.example.org
Arrival-Date: Thu, 1 Jan 2026 11:00:00 +0100

Original-Recipient: rfc822; jo@example.com
Final-Recipient: rfc822; jo.doe@example.net
Action: delayed
Status: 4.2.2
Remote-MTA: dns; mail.example.net
Diagnostic-Code: smtp; 452 4.2.2 Over
  quota
Will-Retry-Until: Mon, 5 Jan 2026 10:00:00 +0000
"""


def test_every_field_is_read() -> None:
    report = read_delivery_status(WHOLE)
    assert (report.envelope_id, report.reporting_mta) == ("order-7", "mx.example.org")
    assert report.arrival_at == datetime(2026, 1, 1, 10, tzinfo=UTC)
    (jo,) = report.recipients
    assert (jo.original_recipient, jo.final_recipient) == ("jo@example.com", "jo.doe@example.net")
    assert (jo.action, str(jo.status), jo.remote_mta) == (Action.DELAYED, "4.2.2", "mail.example.net")
    assert jo.diagnostic == "smtp; 452 4.2.2 Over quota"
    assert jo.will_retry_until == datetime(2026, 1, 5, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "Final-Recipient: rfc822;a@example.com\nAction: failed\n\n"
        "Final-Recipient: rfc822;b@example.com\nAction: failed",
        "Final-Recipient: rfc822;a@example.com\nAction: failed\nFinal-Recipient: rfc822;b@example.com\nAction: failed",
        "Action: failed\nFinal-Recipient: rfc822;a@example.com\nAction: failed\nFinal-Recipient: rfc822;b@example.com",
        "Final-recipient: RFC822; <a@example.com>\n\nAction: failed\nStatus: 5.1.1\n\n"
        "Final-recipient: RFC822; <b@example.com>\n\nAction: failed",
    ],
    ids=["by an empty line", "without one", "action first", "with one too many"],
)  # fmt: skip
def test_recipients_are_told_apart(text: str) -> None:
    recipients = read_delivery_status(text).recipients
    assert [one.final_recipient for one in recipients] == ["a@example.com", "b@example.com"]
    assert [one.action for one in recipients] == [Action.FAILED] * 2


def test_a_field_goes_on_where_nobody_indented_it() -> None:
    text = "Final-Recipient: rfc822; a@example.com\nDiagnostic-Code: smtp; 550-No\n550 user: unknown\nStatus: 5.1.1\n"
    (one,) = read_delivery_status(text).recipients
    assert (one.diagnostic, str(one.status)) == ("smtp; 550-No 550 user: unknown", "5.1.1")


def test_a_report_in_utf_8_names_utf_8_addresses() -> None:
    text = "Final-Recipient: utf-8; müller@exämple.com\n\nOriginal-Recipient: utf-8; m\\x{FC}ller@example.com\n"
    first, second = read_delivery_status(text).recipients
    assert (first.final_recipient, second.original_recipient) == ("müller@exämple.com", "müller@example.com")


@pytest.mark.parametrize(
    ("value", "address"),
    [
        ("rfc822; jo@example.com", "jo@example.com"),
        ("RFC822;<jo@example.com>", "jo@example.com"),
        ("jo@example.com", "jo@example.com"),
        ('rfc822; "jo doe"@example.com', '"jo doe"@example.com'),
        ("rfc822; @mx.example.com:jo@example.com", "jo@example.com"),
        ("rfc822; jo+2Bshop@example.com", "jo+shop@example.com"),
        ("rfc822; jo+shop@example.com", "jo+shop@example.com"),
        ("rfc822; /var/spool/mail/jo@example.com", None),
        ("rfc822; |/usr/bin/procmail@example.com", None),
        ("x400; /c=de/s=jo/", None),
        ("local; jo", None),
        ("rfc822; <>", None),
        ("rfc822; <jo> <jo@example.com>", None),
        ("rfc822; jo@example.com> SIZE=1", None),
        ("utf-8; \\x{D800}@example.com", None),
        ("", None),
    ],
)
def test_an_address_is_one_that_mail_can_be_sent_to(value: str, address: str | None) -> None:
    assert mailbox(value) == address


@pytest.mark.parametrize(
    ("value", "status"),
    [
        ("5.1.1", "5.1.1"),
        ("5.1.2 (550 Nowhere to deliver)", "5.1.2"),
        (" 5.0.", "5.0.0"),
        ("4.4", "4.4.0"),
        ("6.1.1", "None"),
        ("", "None"),
    ],
)
def test_a_status_may_have_a_comment_or_be_cut_short(value: str, status: str) -> None:
    assert str(read_status(value)) == status


@pytest.mark.parametrize(
    ("value", "action"),
    [
        ("Delayed", Action.DELAYED),
        ("relayed (to non-DSN-aware mailer)", Action.RELAYED),
        ("expanded", Action.EXPANDED),
        ("deliverable", Action.DELIVERED),
        ("failure", Action.FAILED),
        ("lunch", None),
    ],
)
def test_an_action_may_be_written_otherwise(value: str, action: Action | None) -> None:
    (one,) = read_delivery_status(f"Final-Recipient: rfc822; jo@example.com\nAction: {value}\n").recipients
    assert one.action is action


@pytest.mark.parametrize(
    "value", ["", "yesterday", "Mon, 1 Jan 99999999999999999999 00:00:00 +9999", "1 " * 1000, "Thu, 32 Jan 2026 0:0:0"]
)
def test_a_date_that_is_none_is_none(value: str) -> None:
    assert read_date(value) is None


def test_a_report_about_too_many_is_read_so_far() -> None:
    text = "".join(f"Final-Recipient: rfc822; a{n}@example.com\nAction: failed\n\n" for n in range(3000))
    assert len(read_delivery_status(text).recipients) == MAX_RECIPIENTS
