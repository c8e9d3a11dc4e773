"""Mails that came back: what they are, whom they are about, what they say; and that nothing in them does any harm.

`data/dsn` are status reports that mail servers wrote; `data/bounces` are texts in the shapes of servers, written for
these tests. A manifest beside them says what each one means: `categories` are all that would be right.
"""

import json
import string
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bouncekit.bounces.bouncemail import read_mail
from bouncekit.bounces.incoming import Incoming, Kind, statuses
from bouncekit.meaning.classification import Category, Scope
from bouncekit.outside.builtin import classify
from bouncekit.words.reply import Reply
from bouncekit.words.status import Action

DATA = Path(__file__).parent / "data"
Row = dict[str, Any]


def rows(folder: str) -> list[Any]:
    lines = (DATA / folder / "manifest.jsonl").read_text("utf-8").splitlines()
    return [pytest.param(row, id=row["file"]) for row in map(json.loads, lines)]


def mail_of(folder: str, row: Row) -> Incoming:
    return read_mail((DATA / folder / row["file"]).read_bytes())


def code_of(reply: object) -> int | None:
    return reply.code if isinstance(reply, Reply) else None


@pytest.mark.parametrize("row", rows("dsn"))
def test_a_status_report_is_taken_at_its_word(row: Row) -> None:
    mail = mail_of("dsn", row)
    assert (mail.kind, mail.message_id, mail.envelope_id) == (row["kind"], row["message_id"], row["envelope_id"])
    told = [
        {
            "recipient": one.recipient,
            "final": one.final_recipient,
            "original": one.original_recipient,
            "action": one.action,
            "status": str(one.status) if one.status else None,
            "code": code_of(one.reply),
        }
        for one in mail.recipients
    ]
    assert told == [{name: one[name] for name in told[0]} for one in row["recipients"]]
    assert_means(mail, row)


@pytest.mark.parametrize("row", rows("bounces"))
def test_a_text_is_read_as_its_server_writes_it(row: Row) -> None:
    mail = mail_of("bounces", row)
    assert mail.kind == row["kind"]
    told = [(one.recipient, code_of(one.reply)) for one in mail.recipients]
    assert told == [(one["recipient"], one["code"]) for one in row["recipients"]]
    assert_means(mail, row)


def assert_means(mail: Incoming, row: Row) -> None:
    judged = statuses(mail)
    assert len(judged) == (0 if mail.kind is Kind.COMPLAINT else len(row["recipients"]))
    for status, one in zip(judged, row["recipients"], strict=False):
        assert (status.recipient, status.action) == (one["recipient"], one["action"])
        assert (str(status.enhanced) if status.enhanced else None) == one["enhanced"]
        assert classify(status).category in one["categories"]


def test_every_file_beside_a_manifest_stands_in_it() -> None:
    for folder in ("dsn", "bounces"):
        listed = {row.values[0]["file"] for row in rows(folder)}
        assert listed == {path.name for path in (DATA / folder).glob("*.eml")}
        assert len(listed) >= 60


def report(*recipients: str, text: str = "", returned: str = "", subtype: str = "delivery-status") -> bytes:
    """A status report about these recipients' fields."""
    blocks = "\n\n".join(recipients)
    inside = f"--b\nContent-Type: message/rfc822\n\n{returned}\n" if returned else ""
    return (
        "From: MAILER-DAEMON@mx.example.org\nTo: shop+b7@example.org\nSubject: Undelivered\n"
        'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\n\n'
        f"--b\nContent-Type: text/plain; charset=utf-8\n\n{text}\n"
        f"--b\nContent-Type: message/{subtype}\n\nReporting-MTA: dns; mx.example.org\n\n{blocks}\n{inside}--b--\n"
    ).encode()


FAILED = "Final-Recipient: rfc822; {}\nAction: failed\nStatus: 5.0.0"


def test_the_original_recipient_is_the_one_that_we_sent_to() -> None:
    fields = "Original-Recipient: rfc822; jo@example.com\n" + FAILED.format("jo@example.net")
    (one,) = read_mail(report(fields)).recipients
    assert (one.recipient, one.final_recipient) == ("jo@example.com", "jo@example.net")


def test_whom_we_sent_to_settles_who_is_meant() -> None:
    fields = "Original-Recipient: rfc822; all@example.com\n" + FAILED.format("Jo@example.com")
    (one,) = read_mail(report(fields), sent_to=["jo@example.com"]).recipients
    assert one.recipient == "Jo@example.com"


def test_a_report_in_utf_8_is_read() -> None:
    fields = (
        "Final-Recipient: utf-8; müller@exämple.com\nAction: failed\nStatus: 5.1.1\nDiagnostic-Code: smtp; 550 Nein"
    )
    (one,) = read_mail(report(fields, subtype="global-delivery-status")).recipients
    assert (one.recipient, str(one.reply)) == ("müller@exämple.com", "550 Nein")


def test_a_report_that_names_a_file_is_about_the_address_in_the_header() -> None:
    raw = report(FAILED.format("/var/spool/mail/jo"))
    raw = b"X-Failed-Recipients: jo@example.com\n" + raw
    assert [one.recipient for one in read_mail(raw).recipients] == ["jo@example.com"]


def test_the_text_says_what_the_report_leaves_out() -> None:
    text = "jo@example.com: 552 5.2.2 Mailbox full\nann@example.com: 550 5.1.1 Unknown\n"
    mail = read_mail(report(FAILED.format("ann@example.com"), FAILED.format("jo@example.com"), text=text))
    assert [str(one.reply) for one in mail.recipients] == ["550 5.1.1 Unknown", "552 5.2.2 Mailbox full"]


def test_sendmail_quotes_the_first_line_only_and_the_rest_stands_in_its_transcript() -> None:
    fields = FAILED.format("jo@example.com") + "\nDiagnostic-Code: SMTP; 552-5.7.0 This message was blocked because"
    text = ">>> DATA\n<<< 552-5.7.0 This message was blocked because\n<<< 552 5.7.0 of its attachment\n"
    (one,) = read_mail(report(fields, text=text)).recipients
    assert str(one.reply) == "552 5.7.0 This message was blocked because\nof its attachment"


def test_opensmtpd_gives_up_and_calls_it_delayed() -> None:
    fields = "Final-Recipient: rfc822; jo@example.com\nAction: delayed\nStatus: 4.4.7"
    mail = read_mail(report(fields, text="jo@example.com: Envelope expired\n"))
    assert (mail.kind, mail.recipients[0].action) == (Kind.BOUNCE, Action.FAILED)


def test_an_expired_mail_reports_its_last_cause() -> None:
    fields = (
        "Final-Recipient: rfc822; jo@example.com\nAction: failed\nStatus: 4.4.7\n"
        "Diagnostic-Code: smtp; 452 4.2.2 Over quota"
    )
    (status,) = statuses(read_mail(report(fields)))
    assert (status.action, classify(status).category.value) == (Action.FAILED, "mailbox_full")


def test_a_report_of_success_is_no_bounce() -> None:
    fields = "Final-Recipient: rfc822; jo@example.com\nAction: relayed (to non-DSN-aware mailer)\nStatus: 2.1.9"
    mail = read_mail(report(fields))
    assert (mail.kind, mail.recipients[0].action) == (Kind.SUCCESS, Action.RELAYED)


def test_the_returned_message_is_known_again() -> None:
    returned = (
        "Return-Path: <shop+b7@example.org>\nFrom: shop@example.org\nTo: jo@example.com\n"
        "Message-ID: <order-7@example.org>\nX-Order: 7\n\nHello\n"
    )
    mail = read_mail(report(FAILED.format("jo@example.com"), returned=returned))
    assert (mail.message_id, mail.return_path) == ("<order-7@example.org>", "shop+b7@example.org")
    assert (mail.x_headers, mail.delivered_to) == ({"x-order": "7"}, ("shop+b7@example.org",))


def test_a_reply_to_the_data_of_several_is_about_nobody_in_particular() -> None:
    said = "\nDiagnostic-Code: smtp; host mx said: 552 No (in reply to end of DATA command)"
    fields = [FAILED.format(f"{name}@example.com") + said for name in ("jo", "ann")]
    assert [status.individual for status in statuses(read_mail(report(*fields)))] == [False, False]
    assert [status.individual for status in statuses(read_mail(report(fields[0])))] == [True]


def test_a_text_without_a_reply_code_is_judged_by_its_words() -> None:
    (status,) = statuses(
        read_mail(report(FAILED.format("jo@example.com") + "\nDiagnostic-Code: x-local; Mailbox full"))
    )
    assert (status.reply, status.text) == (None, "Mailbox full")
    assert classify(status).category.value == "mailbox_full"


def text_mail(body: str, *, subject: str = "Undeliverable message", headers: str = "") -> bytes:
    head = f"Return-Path: <>\nFrom: MAILER-DAEMON@mx.example.org\nTo: shop@example.org\nSubject: {subject}\n{headers}"
    return f"{head}\n{body}".encode()


def test_whom_we_sent_to_is_accepted_where_he_only_stands_in_the_text() -> None:
    raw = text_mail("Could not be delivered. The mailbox that belongs to jo@example.com and others is full.\n")
    assert read_mail(raw).recipients == ()
    assert [one.recipient for one in read_mail(raw, sent_to=["jo@example.com"]).recipients] == ["jo@example.com"]


def test_whom_no_text_names_is_reported_but_nobody_is_blamed() -> None:
    body = (
        "Delivery failed: no such user.\n\n----- Original message -----\n\n"
        "Received: by mx.example.org\nTo: jo@example.com\nMessage-ID: <1@example.org>\n\nHi\n"
    )
    mail = read_mail(text_mail(body))
    assert [(one.recipient, one.named) for one in mail.recipients] == [("jo@example.com", False)]
    (verdict,) = map(classify, statuses(mail))
    assert (verdict.category, verdict.scope, verdict.certain) == (Category.USER_UNKNOWN, None, False)
    named = read_mail(text_mail("The following address failed:\n\n  jo@example.com\n    no such user\n" + body))
    assert [one.named for one in named.recipients] == [True]
    assert classify(*statuses(named)).scope is Scope.RECIPIENT


def test_a_mailing_list_that_a_message_was_for_has_not_failed() -> None:
    body = (
        "Your message could not be delivered.\n\n----- Original message -----\n\n"
        "Received: by mx.example.org\nTo: all@lists.example.org\nList-Post: <mailto:all@lists.example.org>\n\nHi\n"
    )
    assert read_mail(text_mail(body)).recipients == ()


@pytest.mark.parametrize(
    "body",
    [
        "Could not be delivered. For help, contact:\npostmaster@example.com\n",
        "A message sent by\n\n  ann@example.org\n\ncould not be delivered.\n",
        "Your message could not be delivered. Reply to shop@example.org\n",
        "Your message could not be delivered to user@.\n",
        "Your message could not be delivered to <jo@example.com\n",
    ],
)
def test_rather_nobody_than_somebody_wrong(body: str) -> None:
    assert {one.recipient for one in read_mail(text_mail(body)).recipients} <= {"jo@example.com"}


def test_a_second_reader_only_adds_whom_the_mail_does_not_rule_out() -> None:
    raw = text_mail("Your message could not be delivered.\n")

    def found(*addresses: str) -> list[str]:
        return [one.recipient for one in read_mail(raw, second_reader=lambda content: addresses).recipients]

    assert found("jo@example.com") == ["jo@example.com"]
    assert found("shop@example.org", "postmaster@example.com", "no address") == []


H = b"From: MAILER-DAEMON@x\r\nTo: b@y\r\nMIME-Version: 1.0\r\n"
MIXED = H + b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n'
STATUS = H + (
    b'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\r\n\r\n'
    b"--b\r\nContent-Type: message/delivery-status\r\n\r\n"
)
NESTED = (b'Content-Type: multipart/mixed; boundary="b%d"\r\n\r\n--b%d\r\n' % (n, n) for n in range(2000))
HOSTILE: dict[str, Callable[[], bytes]] = {
    "nested multiparts": lambda: H + b"".join(NESTED) + b"\r\nend\r\n",
    "nested messages": lambda: H + b"Content-Type: message/rfc822\r\n\r\n" * 2000 + b"\r\nend\r\n",
    "100,000 parts": lambda: MIXED + b"--b\r\n\r\nx\r\n" * 100_000 + b"--b--\r\n",
    "100,000 recipients": lambda: STATUS + b"Final-Recipient: rfc822; a@b.c\r\nAction: failed\r\n\r\n" * 100_000,
    "1,000 recipients, each in the text": lambda: (
        text_mail("".join(f"u{n}@example.com:\n" for n in range(4000)) + "\n" + "x@" * 10_000)
    ),
    "1,000 recipients without a diagnostic": lambda: (
        report(*(FAILED.format(f"u{n}@example.com") for n in range(2000)), text="u7@example.com\n" * 2000)
    ),
    "a header of 10 MB": lambda: H + b"Subject: " + b"a" * 10_000_000 + b"\r\n\r\nx\r\n",
    "100,000 fields": lambda: H + b"".join(b"X-%d: y\r\n" % n for n in range(100_000)) + b"\r\nx\r\n",
    "100,000 folds": lambda: H + b"Subject: a\r\n" + b" b\r\n" * 100_000 + b"\r\nx\r\n",
    "20,000 encoded words": lambda: H + b"Subject: " + b"=?utf-8?q?a?= " * 20_000 + b"\r\n\r\nx\r\n",
    "nested comments": lambda: H + b"Cc: " + b"(" * 20_000 + b"\r\n\r\nx\r\n",
    "50,000 addresses": lambda: H + b"Cc: " + b"a@b, " * 50_000 + b"\r\n\r\nx\r\n",
    "quotes": lambda: H + b"Cc: " + b'"' * 20_001 + b"@x\r\n\r\nx\r\n",
    "20,000 parameters": lambda: (
        H + b"Content-Type: text/plain" + b"".join(b"; a%d=b" % n for n in range(20_000)) + b"\r\n\r\nx\r\n"
    ),
    "20,000 continued parameters": lambda: (
        H + b"Content-Type: text/plain" + b"".join(b"; n*%d=b" % n for n in range(20_000)) + b"\r\n\r\nx\r\n"
    ),
    "an unknown charset": lambda: H + b"Content-Type: text/plain; charset=x-nonsense\r\n\r\nx\r\n",
    "a charset with a NUL": lambda: H + b'Content-Type: text/plain; charset="a\0b"\r\n\r\nx\r\n',
    "a codec that is no charset": lambda: H + b"Content-Type: text/plain; charset=rot13\r\n\r\nx\r\n",
    "idna as a charset": lambda: (
        H
        + b"Content-Type: text/plain; charset=idna\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        + b"LmEu" * 20_000
        + b"\r\n"
    ),
    "no boundary": lambda: H + b"Content-Type: multipart/report\r\n\r\n--b\r\nx\r\n",
    "almost boundaries": lambda: (
        H
        + b'Content-Type: multipart/mixed; boundary="'
        + b"b" * 299
        + b'"\r\n\r\n'
        + (b"--" + b"b" * 298 + b"\r\n") * 20_000
    ),
    "base64 that is none": lambda: H + b"Content-Transfer-Encoding: base64\r\n\r\n" + b"A" * 2_000_001 + b"\r\n",
    "uuencode": lambda: H + b"Content-Transfer-Encoding: x-uuencode\r\n\r\nbegin 644 ../../etc/x\r\n" + b"\xff" * 100,
    "NUL bytes": lambda: H + b"Subject: a\0b\r\n\r\nx\0\r\n",
    "a date of 50,000 words": lambda: STATUS + b"Arrival-Date: " + b"1 " * 50_000 + b"\r\n\r\n",
    "a date that is too late": lambda: STATUS + b"Arrival-Date: Mon, 1 Jan 99999999999999999999 0:0:0 +9999\r\n\r\n",
    "a Message-ID of brackets": lambda: H + b"Message-ID: <" + b"[" * 20_000 + b">\r\n\r\nx\r\n",
    "a line of 20 MB": lambda: H + b"\r\n" + b"x" * 20_000_000,
    "20 million empty lines": lambda: H + b"\r\n" + b"\n" * 20_000_000,
    "5 million CR": lambda: H + b"\r\n" + b"\r" * 5_000_000,
    "tags that never end": lambda: H + b"Content-Type: text/html\r\n\r\n" + b"<style><" * 30_000,
    "JSON that is deep": lambda: H + b"\r\n" + b'{"notificationType":' * 10_000 + b"[" * 50_000,
    "one long word": lambda: text_mail("recipient " + "a" * 60_000),
    "one long almost address": lambda: text_mail("could not be delivered to " + "a.a@" * 15_000),
    "codes without end": lambda: report(FAILED.format("jo@x.example") + "\nDiagnostic-Code: x; " + "550-5.1 " * 9999),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_mail_costs_little_and_raises_nothing(name: str) -> None:
    raw = HOSTILE[name]()
    start = time.process_time()
    mail = read_mail(raw)
    assert time.process_time() - start < 2
    assert isinstance(mail, Incoming)
    assert len(mail.recipients) <= 1000
    tracemalloc.start()
    read_mail(raw)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 64 * 1024 * 1024


SNIPPETS = [
    line
    for path in sorted((DATA / "bounces").glob("*.eml"))[::3] + sorted((DATA / "dsn").glob("*.eml"))[::6]
    for line in path.read_bytes().splitlines()
]
LINES = st.one_of(
    st.sampled_from(SNIPPETS), st.binary(max_size=40), st.text(string.printable, max_size=40).map(str.encode)
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(LINES, max_size=40), st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_any_mail_is_read(lines: list[bytes], ending: bytes) -> None:
    mail = read_mail(ending.join(lines))
    assert mail.kind in set(Kind)
    for status in statuses(mail):
        assert "@" in status.recipient
        assert status.recipient.isprintable()
        classify(status)


@settings(deadline=None, max_examples=50)
@given(st.sampled_from(sorted((DATA / "dsn").glob("*.eml"))), st.data())
def test_a_mail_that_was_cut_or_damaged_is_read(path: Path, data: st.DataObject) -> None:
    raw = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(0, 20))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    read_mail(bytes(raw[: data.draw(st.integers(0, len(raw)))]))


def test_a_mail_is_bytes_and_a_text_is_refused() -> None:
    with pytest.raises(TypeError, match="a mail's bytes are needed"):
        read_mail("Subject: failure notice\n\n")  # type: ignore[arg-type]


CORPUS = Path(__file__).parents[2] / "shared" / "corpus"


@pytest.mark.skipif(not (CORPUS / "mails.jsonl").exists(), reason="the corpus of public mails is not here")
def test_public_mails_are_read() -> None:
    """Floors well below what was measured, so that a lesser reader is noticed; the benchmark has the figures."""
    from .benchmarks.bouncemail import is_tuned, measure
    from .benchmarks.bouncemail import rows as corpus_rows

    mails = list(corpus_rows(CORPUS))
    floors = {"decoded": 0.98, "recipients": 0.95, "harmless": 0.99}
    for half in (True, False):
        shares = measure([row for row in mails if is_tuned(row) is half], misses=False)
        assert {name: shares[name] for name in floors if shares[name] < floors[name]} == {}
