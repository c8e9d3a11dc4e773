"""The drop-in classes: what a send returns, raises and leaves behind, with a postmaster and without."""

import pickle
import smtplib
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from email.message import EmailMessage
from pathlib import Path

import pytest
import trustme

from bouncekit import (
    LMTP,
    SMTP,
    SMTP_SSL,
    ConfigurationError,
    OutcomeUnknown,
    RecipientsSuppressed,
    Report,
    StoreUnavailable,
    UnreadableReply,
)
from bouncekit.clients.smtperrors import with_report
from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.testing import (
    Closing,
    Cut,
    Delay,
    Drip,
    Dropped,
    Extra,
    Flood,
    Kept,
    Raw,
    ScriptedServer,
    Silence,
    Usual,
    refusing_port,
)
from bouncekit.transports.blocking import Wire
from bouncekit.words.reply import Cause, NoReply, Stage

from .conftest import Heard, message

Serve = Callable[..., ScriptedServer]
SENDER = "shop@example.org"
BODY = "Subject: Hello\r\n\r\nGood day.\r\n"
FULL = "552 5.2.2 Mailbox full"


def send(server: ScriptedServer, *recipients: str, kind: type[SMTP] = SMTP, **options: object) -> Report:
    """One message through a connection of its own."""
    with kind(server.host, server.port, "client.example.org", **options) as smtp:  # type: ignore[arg-type]
        return smtp.sendmail(SENDER, recipients, BODY)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    return context


@pytest.fixture
def client_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


# -- without a postmaster: smtplib's results


def test_a_full_success_is_an_empty_dict(serve: Serve) -> None:
    report = send(serve(), "ada@example.com")
    assert report == {}
    assert [one.action for one in report.recipients] == ["delivered"]


def test_a_refused_recipient_among_others_is_in_the_dict_and_judged(serve: Serve) -> None:
    server = serve({"RCPT": {"full@example.com": FULL}})
    report = send(server, "ada@example.com", "full@example.com")
    assert report == {"full@example.com": (552, b"5.2.2 Mailbox full")}
    (failed,) = report.failed
    assert (failed.category, failed.scope, failed.permanent) == ("mailbox_full", "recipient", True)
    assert server.copies("ada@example.com") == 1


def test_all_refused_raises_what_smtplib_raises_with_the_report(serve: Serve) -> None:
    server = serve({"RCPT": {"a@example.com": FULL, "b@example.com": "452 4.2.2 Over quota"}})
    with pytest.raises(smtplib.SMTPRecipientsRefused) as raised:
        send(server, "a@example.com", "b@example.com")
    assert raised.value.recipients == {
        "a@example.com": (552, b"5.2.2 Mailbox full"),
        "b@example.com": (452, b"4.2.2 Over quota"),
    }
    assert [one.action for one in raised.value.report.recipients] == ["failed", "delayed"]


@pytest.mark.parametrize(
    ("script", "error", "action"),
    [
        ({"MAIL": "552 5.3.4 Too big"}, smtplib.SMTPSenderRefused, "failed"),
        ({"MAIL": "452 4.3.1 No space"}, smtplib.SMTPSenderRefused, "delayed"),
        ({"DATA": "451 4.3.0 Later"}, smtplib.SMTPDataError, "delayed"),
        ({"END_OF_DATA": "554 5.7.1 Spam"}, smtplib.SMTPDataError, "failed"),
        ({"END_OF_DATA": Closing("421 4.3.2 Bye")}, smtplib.SMTPDataError, "delayed"),
        ({"MAIL": Cut()}, smtplib.SMTPServerDisconnected, "delayed"),
        ({"DATA": Cut("rst")}, smtplib.SMTPServerDisconnected, "delayed"),
        ({"END_OF_DATA": Kept(Cut())}, OutcomeUnknown, "unknown"),
        ({"END_OF_DATA": Dropped(Cut("rst"))}, OutcomeUnknown, "unknown"),
        ({"RCPT": {"*": Raw(b"oops\r\n")}}, smtplib.SMTPServerDisconnected, "delayed"),
    ],
)
def test_each_end_of_a_transaction_raises_smtplibs_class_and_reports(
    serve: Serve, script: dict[str, object], error: type[Exception], action: str
) -> None:
    with pytest.raises(error) as raised:
        send(serve(script), "ada@example.com")
    assert isinstance(raised.value, smtplib.SMTPException)
    assert [one.action for one in raised.value.report.recipients] == [action]  # type: ignore[attr-defined]


def test_a_421_in_the_midst_keeps_the_refusal_read_before_it(serve: Serve) -> None:
    server = serve({"RCPT": {"full@example.com": FULL, "bye@example.com": Closing("421 4.7.0 Bye")}})
    with pytest.raises(smtplib.SMTPRecipientsRefused) as raised:
        send(server, "ada@example.com", "full@example.com", "bye@example.com", "never@example.com")
    assert set(raised.value.recipients) == {"full@example.com", "bye@example.com"}  # exactly smtplib's dict
    assert [one.action for one in raised.value.report.recipients] == ["delayed", "failed", "delayed", "delayed"]
    assert server.messages == ()


def test_the_same_address_twice_is_asked_for_once(serve: Serve) -> None:
    server = serve({"RCPT": {"full@example.com": FULL}})
    with pytest.raises(smtplib.SMTPRecipientsRefused):
        send(server, "full@example.com", "full@example.com")
    assert server.sessions[0].commands.count("rcpt to:<full@example.com>") == 1


@pytest.mark.parametrize(
    "bad",
    ["a@example.com\r\nRCPT TO:<eve@example.com>", "a@example.com> SIZE=1", "a\0@example.com", "a b@example.com", ""],
)
def test_an_address_that_would_smuggle_is_refused_alone_before_the_first_byte(serve: Serve, bad: str) -> None:
    server = serve()
    report = send(server, bad, "ada@example.com")
    assert [one.action for one in report.recipients] == ["delivered", "failed"]
    assert report[bad][0] == -1
    assert b"eve" not in server.sessions[0].raw
    assert server.copies("ada@example.com") == 1


def test_only_unusable_addresses_open_no_transaction(serve: Serve) -> None:
    server = serve()
    with pytest.raises(RecipientsSuppressed):
        send(server, "no spaces@example.com")
    assert not any(command.startswith("mail") for command in server.sessions[0].commands)


@pytest.mark.parametrize("body", ["a\n.\nb", b"a\n.\nb", b"a\r.\rb", b"a\r\n.\nRSET\r\n"])
def test_content_goes_out_with_canonical_line_ends_and_stuffed_dots(serve: Serve, body: str | bytes) -> None:
    server = serve()
    with SMTP(server.host, server.port, "client.example.org") as smtp:
        smtp.sendmail(SENDER, "ada@example.com", body)
        smtp.mail(SENDER)
        smtp.rcpt("ada@example.com")
        smtp.data(body)
    first, second = server.messages
    assert first.data == second.data
    assert first.bare_line_ends == 0
    assert b"\r\n.\r\n" in first.data or first.data.startswith(b"a\r\n.\r\n")


def test_lmtp_reads_one_reply_a_recipient(serve: Serve) -> None:
    script = {"END_OF_DATA": {"full@example.com": FULL, "later@example.com": "452 4.2.2 Over quota"}}
    server = serve(script, lmtp=True)
    with LMTP(server.host, server.port, "client.example.org") as lmtp:
        report = lmtp.sendmail(SENDER, ["full@example.com", "ada@example.com", "later@example.com"], BODY)
        again = lmtp.sendmail(SENDER, ["ada@example.com"], BODY)
    assert [one.action for one in report.recipients] == ["failed", "delivered", "delayed"]
    assert set(report) == {"full@example.com", "later@example.com"}
    assert again == {}
    assert server.copies("ada@example.com") == 2


def test_lmtp_over_a_unix_socket_needs_no_port(tmp_path: object) -> None:
    with pytest.raises(FileNotFoundError):
        LMTP(f"{tmp_path}/nobody.sock")


def test_a_failed_transaction_leaves_a_usable_session(serve: Serve) -> None:
    server = serve(
        {"DATA": ["554 5.5.1 No"], "END_OF_DATA": ["452 4.3.1 Full"], "RCPT": {"*": [Usual(), Usual(), FULL]}}
    )
    with SMTP(server.host, server.port, "client.example.org") as smtp:
        for error in (smtplib.SMTPDataError, smtplib.SMTPDataError, smtplib.SMTPRecipientsRefused):
            with pytest.raises(error):
                smtp.sendmail(SENDER, "ada@example.com", BODY)
        assert smtp.sendmail(SENDER, "ada@example.com", BODY) == {}
    assert len(server.sessions) == 1


def test_an_odd_answer_to_quit_changes_nothing_after_a_send(serve: Serve) -> None:
    assert send(serve({"QUIT": Closing("421 4.4.2 Too late")}), "ada@example.com") == {}
    assert send(serve({"QUIT": Cut()}), "ada@example.com") == {}


def test_an_odd_answer_to_quit_raises_where_nothing_was_sent(serve: Serve) -> None:
    server = serve({"QUIT": Closing("421 4.4.2 Too late")})
    with pytest.raises(smtplib.SMTPResponseException), SMTP(server.host, server.port):
        pass


def test_a_timeout_bounds_a_whole_reply_and_not_each_byte_of_it(serve: Serve) -> None:
    server = serve({"MAIL": Drip("250 2.1.0 " + "x" * 400, size=1, every=0.05)})
    with pytest.raises(smtplib.SMTPServerDisconnected) as raised:
        send(server, "ada@example.com", timeout=1.5)
    (only,) = raised.value.report.recipients  # type: ignore[attr-defined]
    assert only.reply.cause == "timed_out"


def test_a_flood_of_lines_is_no_reply(serve: Serve) -> None:
    server = serve({"EHLO": Flood(b"250-x\r\n")})
    with pytest.raises(UnreadableReply), SMTP(server.host, server.port) as smtp:
        smtp.ehlo()


def test_a_reply_behind_a_reply_is_never_taken_for_the_next_answer(serve: Serve) -> None:
    server = serve({"MAIL": Extra("250 2.1.5 Ok", after="250 2.1.0 Ok")})
    with pytest.raises(smtplib.SMTPServerDisconnected):
        send(server, "ada@example.com")
    assert server.messages == ()


def test_bytes_in_clear_behind_starttls_are_not_taken_as_said_under_tls(
    serve: Serve, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    server = serve({"STARTTLS": Raw(b"220 Go\r\n250 injected\r\n")}, tls=server_tls)
    with SMTP(server.host, server.port) as smtp, pytest.raises(smtplib.SMTPServerDisconnected):
        smtp.starttls(context=client_tls)


def test_a_send_under_starttls(serve: Serve, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    server = serve(tls=server_tls, users={"shop": "secret"}, auth_needs_tls=True)
    with SMTP(server.host, server.port, "client.example.org") as smtp:
        smtp.starttls(context=client_tls)
        smtp.login("shop", "secret")
        assert smtp.sendmail(SENDER, "ada@example.com", BODY) == {}
    assert server.sessions[0].tls


def test_a_send_under_implicit_tls(serve: Serve, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    server = serve(tls=server_tls, implicit_tls=True)
    with SMTP_SSL(server.host, server.port, "client.example.org", context=client_tls) as smtp:
        assert smtp.sendmail(SENDER, "ada@example.com", BODY) == {}
    assert server.copies("ada@example.com") == 1


def test_a_report_survives_pickling(serve: Serve) -> None:
    report = send(serve({"RCPT": {"full@example.com": FULL}}), "ada@example.com", "full@example.com")
    copy = pickle.loads(pickle.dumps(report))
    assert copy == report
    assert copy.recipients == report.recipients


def test_without_a_postmaster_no_byte_of_a_message_changes(serve: Serve) -> None:
    server = serve()
    send(server, "ada@example.com")
    assert server.messages[0].data == BODY.encode()


# -- with a postmaster


def test_a_552_is_suppressed_notified_and_skipped_the_next_time(
    serve: Serve, make_postmaster: Callable[..., Postmaster]
) -> None:
    told: list[object] = []
    postmaster = make_postmaster(channels={"recipient": told.append})
    server = serve({"RCPT": {"full@example.com": FULL}})
    with postmaster.smtp(server.host, server.port) as smtp:
        first = smtp.send_message(message("ada@example.com", "full@example.com"))
        second = smtp.send_message(message("ada@example.com", "full@example.com"))
    assert [one.action for one in first.recipients] == ["delivered", "failed"]
    assert [one.action for one in second.recipients] == ["delivered", "suppressed"]
    assert second["full@example.com"][0] == -1
    assert server.sessions[0].commands.count("rcpt to:<full@example.com>") == 1
    assert "full@example.com" in postmaster.suppressions
    assert [note.recipient for note in told] == ["full@example.com"]  # type: ignore[attr-defined]
    assert postmaster.heard.types == [  # type: ignore[attr-defined]
        "delivered",
        "failed",
        "suppression_added",
        "notified",
        "suppressed",
        "delivered",
        "closed",
    ]


def test_when_everybody_is_suppressed_no_connection_is_needed(serve: Serve, postmaster: Postmaster) -> None:
    postmaster.suppressions.add("full@example.com", reason="asked us to")
    server = serve()
    client = postmaster.client(server.url)
    with pytest.raises(RecipientsSuppressed) as raised:
        client.send(message("full@example.com"))
    assert [one.action for one in raised.value.report.suppressed] == ["suppressed"]  # type: ignore[attr-defined]
    assert server.sessions == ()


def test_a_452_of_a_full_mailbox_is_delayed_by_the_schedule(serve: Serve, postmaster: Postmaster, heard: Heard) -> None:
    server = serve({"RCPT": {"later@example.com": "452 4.2.2 Over quota"}})
    with postmaster.smtp(server.host, server.port) as smtp:
        report = smtp.send_message(message("ada@example.com", "later@example.com"))
    (delayed,) = report.delayed
    assert delayed.retry_at is not None
    assert delayed.retry_at > postmaster.office.clock.now()
    assert "later@example.com" not in postmaster.suppressions
    (event,) = heard.of("delayed")
    assert event.to_dict()["data"]["code"] == 452


def test_too_many_recipients_are_split_and_all_delivered_at_once(serve: Serve, postmaster: Postmaster) -> None:
    server = serve(max_recipients=2)
    people = [f"user{number}@example.com" for number in range(5)]
    with postmaster.smtp(server.host, server.port) as smtp:
        assert smtp.sendmail(SENDER, people, BODY) == {}
    assert [server.copies(person) for person in people] == [1] * 5
    assert [len(kept.recipients) for kept in server.messages] == [2, 2, 1]


@pytest.mark.parametrize("said", ["421 4.3.2 Shutting down", "221 2.0.0 Bye"])
def test_a_close_in_the_midst_is_reconnected_and_nobody_gets_two(
    serve: Serve, postmaster: Postmaster, heard: Heard, said: str
) -> None:
    server = serve({"RCPT": {"full@example.com": FULL, "bob@example.com": [Closing(said)]}})
    with postmaster.smtp(server.host, server.port) as smtp:
        report = smtp.sendmail(SENDER, ["ada@example.com", "full@example.com", "bob@example.com"], BODY)
    assert [one.action for one in report.recipients] == ["delivered", "failed", "delivered"]
    assert (server.copies("ada@example.com"), server.copies("bob@example.com")) == (1, 1)
    assert sum(session.commands.count("rcpt to:<full@example.com>") for session in server.sessions) == 1
    unexpected, normal = heard.of("closed")
    assert (unexpected.details["expected"], unexpected.details["then"]) == (False, "reconnect")
    assert (normal.details["expected"], normal.details["code"]) == (True, 221)
    assert len(heard.of("reconnected")) == 1


def test_a_recipient_who_ends_every_session_takes_nobody_along(serve: Serve, postmaster: Postmaster) -> None:
    server = serve({"RCPT": {"cursed@example.com": Closing("421 4.3.0 Internal error")}})
    people = ["ada@example.com", "cursed@example.com", "bob@example.com"]
    with postmaster.smtp(server.host, server.port) as smtp:
        report = smtp.sendmail(SENDER, people, BODY)
    assert [one.action for one in report.recipients] == ["delivered", "delayed", "delivered"]
    assert [server.copies(person) for person in people] == [1, 0, 1]


@pytest.mark.parametrize("said", ["221 2.7.0 Goodbye", "421 4.4.2 Timeout exceeded"])
def test_a_close_that_nobody_asked_for_is_noticed_before_the_next_message(
    serve: Serve, postmaster: Postmaster, said: str
) -> None:
    server = serve()
    with postmaster.smtp(server.host, server.port) as smtp:
        smtp.sendmail(SENDER, ["ada@example.com"], BODY)
        server.say_unasked(said, close=True)
        assert smtp.sendmail(SENDER, ["bob@example.com"], BODY) == {}
    assert len(server.sessions) == 2
    assert (server.copies("ada@example.com"), server.copies("bob@example.com")) == (1, 1)


def test_a_server_that_always_hangs_up_is_left_after_a_few_reconnects(serve: Serve, postmaster: Postmaster) -> None:
    server = serve({"MAIL": Closing("421 4.3.2 Shutting down")})
    with postmaster.smtp(server.host, server.port) as smtp, pytest.raises(smtplib.SMTPSenderRefused) as raised:
        smtp.sendmail(SENDER, ["ada@example.com"], BODY)
    (only,) = raised.value.report.delayed  # type: ignore[attr-defined]
    assert only.retry_at is not None
    assert len(server.sessions) == 4


def test_a_lost_reply_to_the_dot_is_unknown_and_never_sent_again(
    serve: Serve, postmaster: Postmaster, heard: Heard
) -> None:
    server = serve({"END_OF_DATA": Kept(Cut())})
    with (
        postmaster.smtp(server.host, server.port, message_class="bulk") as smtp,
        pytest.raises(OutcomeUnknown) as raised,
    ):
        smtp.sendmail(SENDER, ["ada@example.com"], BODY)
    (only,) = raised.value.report.unknown  # type: ignore[attr-defined]
    assert only.possible_duplicate
    assert server.copies("ada@example.com") == 1
    assert [event.settlement.possible_duplicate for event in heard.of("unknown")] == [True]  # type: ignore[union-attr]


def test_retry_wait_sends_again_only_to_those_not_settled_with_the_same_message_id(
    serve: Serve, make_postmaster: Callable[..., Postmaster]
) -> None:
    postmaster = make_postmaster(retry="wait", patience=timedelta(hours=2))
    server = serve({"RCPT": {"later@example.com": ["452 4.2.2 Over quota"]}})
    with postmaster.smtp(server.host, server.port) as smtp:
        report = smtp.sendmail(SENDER, ["ada@example.com", "later@example.com"], BODY)
    assert report == {}
    first, second = server.messages
    assert (first.recipients, second.recipients) == (("ada@example.com",), ("later@example.com",))
    assert first.data == second.data
    assert b"Message-ID: <" in first.data
    assert len(postmaster.office.clock.slept) == 1  # type: ignore[attr-defined]


def test_retry_wait_gives_up_when_its_patience_does_not_reach(
    serve: Serve, make_postmaster: Callable[..., Postmaster]
) -> None:
    postmaster = make_postmaster(retry="wait", patience=60)
    server = serve({"RCPT": {"later@example.com": "452 4.2.2 Over quota"}})
    with postmaster.smtp(server.host, server.port) as smtp, pytest.raises(smtplib.SMTPRecipientsRefused) as raised:
        smtp.sendmail(SENDER, ["later@example.com"], BODY)
    assert [one.action for one in raised.value.report.delayed] == ["delayed"]  # type: ignore[attr-defined]
    assert postmaster.office.clock.slept == []  # type: ignore[attr-defined]


def test_labels_in_headers_leave_the_message_and_reach_the_event(
    serve: Serve, postmaster: Postmaster, heard: Heard
) -> None:
    server = serve()
    labelled = message("ada@example.com")
    labelled["X-Bouncekit-Class"], labelled["X-Bouncekit-Tenant"] = "bulk", "acme"
    with postmaster.smtp(server.host, server.port) as smtp:
        smtp.send_message(labelled)
    assert b"bouncekit" not in server.messages[0].data.lower().replace(b"message-id", b"")
    data = heard.of("delivered")[0].to_dict()["data"]
    assert (data["message_class"], data["tenant"]) == ("bulk", "acme")


def test_a_message_is_of_the_class_that_its_sender_names_then_of_its_own_then_of_its_connections(
    serve: Serve, make_postmaster: Callable[..., Postmaster], caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    own = "policy: 1\nextends: default\nclass_header: X-Kind\nclasses: {bulk: {deadline: 2d, headers: List-Id}}\n"
    (tmp_path / "own.yaml").write_text(own, "utf-8")
    server, postmaster = serve(), make_postmaster(policy=tmp_path / "own.yaml")

    def mail(**headers: str) -> EmailMessage:
        made = message("ada@example.com")
        for name, value in headers.items():
            made[name.replace("_", "-")] = value
        return made

    with postmaster.smtp(server.host, server.port) as smtp:
        smtp.send_message(mail(List_Id="<news.example.org>"))
        smtp.send_message(mail(List_Id="<news.example.org>", X_Kind="security"))
        smtp.send_message(mail(X_Kind="security"), message_class="bulk", test=True)
        smtp.send_message(mail())
        smtp.send_message(mail(X_Kind="no such class"))
        with pytest.raises(ConfigurationError, match="transactional"):
            smtp.send_message(mail(), message_class="secure")
    data = [event.to_dict()["data"] for event in postmaster.heard.of("delivered")]  # type: ignore[attr-defined]
    assert [one["message_class"] for one in data] == ["bulk", "security", "bulk", None, "no such class"]
    assert [one["test"] for one in data] == [False, False, True, False, False]
    assert all(b"X-Kind" not in one.data for one in server.messages)
    assert caplog.text.count("its class is 'no such class'") == 1


def test_test_traffic_moves_no_list(serve: Serve, postmaster: Postmaster) -> None:
    server = serve({"RCPT": {"full@example.com": FULL}})
    with postmaster.smtp(server.host, server.port, test=True) as smtp, pytest.raises(smtplib.SMTPRecipientsRefused):
        smtp.sendmail(SENDER, ["full@example.com"], BODY)
    assert "full@example.com" not in postmaster.suppressions


@pytest.mark.parametrize(
    "script",
    [
        {"CONNECT": "554 5.7.1 You are blocked"},
        {"MAIL": "550 5.1.1 User unknown"},
        {"MAIL": "552 5.2.2 Mailbox full"},
        {"DATA": "554 5.5.1 No valid recipients"},
        {"END_OF_DATA": "554 5.7.1 Spam"},
        {"END_OF_DATA": "552 5.3.4 Too big"},
        {"RCPT": {"*": "554 5.7.1 Client host blocked using example.test"}},
        {"RCPT": {"*": "550 5.7.1 Relaying denied"}},
        {"RCPT": {"*": "452 4.2.2 Over quota"}},
        {"RCPT": {"*": Closing("421 4.7.0 Too many errors")}},
        {"EHLO": "550 5.7.1 Bad HELO", "HELO": "550 5.7.1 Bad HELO"},
        {"END_OF_DATA": Dropped(Silence())},
    ],
)
def test_nobody_is_suppressed_for_somebody_elses_fault(
    serve: Serve, postmaster: Postmaster, script: dict[str, object]
) -> None:
    server = serve(script)
    people = ["ada@example.com", "bob@example.com"]
    with pytest.raises(smtplib.SMTPException), postmaster.smtp(server.host, server.port, timeout=2) as smtp:
        smtp.sendmail(SENDER, people, BODY)
    assert list(postmaster.suppressions) == []


def test_a_subscriber_that_raises_harms_neither_the_send_nor_the_next_subscriber(
    serve: Serve, postmaster: Postmaster, heard: Heard
) -> None:
    @postmaster.on("delivered")
    def broken(event: object) -> None:
        raise RuntimeError("broken")

    later: list[object] = []
    postmaster.on("delivered")(later.append)
    server = serve()
    with postmaster.smtp(server.host, server.port) as smtp:
        assert smtp.sendmail(SENDER, ["ada@example.com"], BODY) == {}
    assert len(heard.of("delivered")) == len(later) == 1


def test_a_connection_without_a_verified_certificate_is_an_event(
    serve: Serve, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext, postmaster: Postmaster, heard: Heard
) -> None:
    server = serve(tls=server_tls)
    with postmaster.smtp(server.host, server.port) as smtp:
        smtp.starttls()
        smtp.sendmail(SENDER, ["ada@example.com"], BODY)
    assert len(heard.of("insecure_tls")) == 1
    with postmaster.smtp(server.host, server.port) as smtp:
        smtp.starttls(context=client_tls)
    assert len(heard.of("insecure_tls")) == 1


def test_a_redialled_session_is_under_tls_and_logged_in_again(
    serve: Serve, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext, postmaster: Postmaster
) -> None:
    server = serve(
        {"RCPT": {"*": [Closing("421 4.3.2 Shutting down")]}},
        tls=server_tls,
        users={"shop": "secret"},
        auth_needs_tls=True,
    )
    with postmaster.smtp(server.host, server.port) as smtp:
        smtp.starttls(context=client_tls)
        smtp.login("shop", "secret")
        assert smtp.sendmail(SENDER, ["ada@example.com"], BODY) == {}
    first, second = server.sessions
    assert first.tls
    assert second.tls
    assert any(command.startswith("AUTH") for command in second.commands)


@pytest.fixture
def deaf() -> Iterator[tuple[str, int]]:
    """A port where nobody takes the connection up."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        yield listener.getsockname()


def test_a_constructor_that_cannot_connect_raises_what_smtplib_raises(
    postmaster: Postmaster, deaf: tuple[str, int]
) -> None:
    with pytest.raises(ConnectionRefusedError) as raised:
        postmaster.smtp(*deaf)
    assert raised.value.__notes__ == [f"while connecting to {deaf[0]} port {deaf[1]}"]


def test_debug_output_shows_the_dialogue(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    server = serve()
    with SMTP(server.host, server.port, "client.example.org") as smtp:
        smtp.set_debuglevel(1)
        smtp.sendmail(SENDER, "ada@example.com", BODY)
    shown = capsys.readouterr().err
    assert "mail from:<shop@example.org>" in shown
    assert "250" in shown


def test_a_slow_server_within_its_deadline_is_waited_for(serve: Serve) -> None:
    assert send(serve({"RCPT": {"*": Delay(0.3)}}), "ada@example.com", timeout=5) == {}


# -- what no send may do, whatever happens to it


def test_a_send_to_nobody_raises_what_smtplib_raises(serve: Serve, postmaster: Postmaster) -> None:
    for options in ({}, {"postmaster": postmaster}):
        with pytest.raises(smtplib.SMTPRecipientsRefused) as raised:
            send(serve(), **options)
        assert raised.value.report.recipients == ()  # type: ignore[attr-defined]


@pytest.mark.parametrize("has_postmaster", [False, True])
def test_a_session_that_never_begins_is_reported_by_send_message_too(
    serve: Serve, postmaster: Postmaster, *, has_postmaster: bool
) -> None:
    server = serve({"EHLO": Cut()})
    smtp = SMTP(server.host, server.port, postmaster=postmaster if has_postmaster else None)
    with pytest.raises(smtplib.SMTPServerDisconnected) as raised:
        smtp.send_message(message("ada@example.com"))
    assert [one.action for one in raised.value.report.recipients] == ["delayed"]  # type: ignore[attr-defined]


def test_a_connection_that_is_gone_is_reported(serve: Serve) -> None:
    server = serve({"RCPT": "421 4.3.2 Shutting down"})
    smtp = SMTP(server.host, server.port)
    for kind in (smtplib.SMTPRecipientsRefused, smtplib.SMTPServerDisconnected):
        with pytest.raises(kind) as raised:
            smtp.sendmail(SENDER, ["ada@example.com"], BODY)
        assert [one.action for one in raised.value.report.recipients] == ["delayed"]  # type: ignore[attr-defined]


def test_an_unknown_outcome_is_told_before_any_later_trouble(serve: Serve, postmaster: Postmaster) -> None:
    script = {
        "CONNECT": [Usual(), "554 5.3.2 Closed for today"],
        "RCPT": {"bob@example.com": "452 4.5.3 Too many recipients"},
        "END_OF_DATA": [Kept(Cut())],
    }
    with pytest.raises(OutcomeUnknown) as raised:
        send(serve(script), "ada@example.com", "bob@example.com", postmaster=postmaster, message_class="bulk")
    assert [one.action for one in raised.value.report.recipients] == ["unknown", "delayed"]  # type: ignore[attr-defined]


def test_a_refusal_behind_an_unknown_outcome_does_not_hide_the_possible_duplicate(
    serve: Serve, make_postmaster: Callable[..., Postmaster]
) -> None:
    server = serve({"END_OF_DATA": [Kept(Cut()), "554 5.6.0 Not like this"]})
    with pytest.raises(OutcomeUnknown) as raised:
        send(server, "ada@example.com", postmaster=make_postmaster(retry="wait", patience=timedelta(days=1)))
    (one,) = raised.value.report.recipients  # type: ignore[attr-defined]
    assert (one.action, one.possible_duplicate) == ("failed", True)


class Interrupted(SMTP):
    """Somebody presses Ctrl-C in the midst of the first transaction."""

    presses = 1

    def _wire(self) -> Wire:
        if self.presses and self._stage is Stage.EHLO and self.ehlo_resp:
            self.presses -= 1
            raise KeyboardInterrupt
        return super()._wire()


def test_a_session_that_was_interrupted_is_dialled_again(serve: Serve, postmaster: Postmaster) -> None:
    server = serve()
    with Interrupted(server.host, server.port, postmaster=postmaster) as smtp:
        with pytest.raises(KeyboardInterrupt):
            smtp.sendmail(SENDER, ["ada@example.com"], BODY)
        assert smtp.sendmail(SENDER, ["ada@example.com"], BODY) == {}
    assert server.copies("ada@example.com") == 1


class Interrupting(ssl.SSLContext):
    """Somebody presses Ctrl-C in the handshake, which has the socket by then."""

    def wrap_socket(self, sock: socket.socket, *unused: object, **unused_too: object) -> ssl.SSLSocket:  # type: ignore[override]
        socket.socket(fileno=sock.detach()).close()
        raise KeyboardInterrupt


def test_an_interrupted_handshake_is_no_error_of_the_network(serve: Serve, server_tls: ssl.SSLContext) -> None:
    server = serve(tls=server_tls)
    smtp = SMTP(server.host, server.port)
    with pytest.raises(KeyboardInterrupt):
        smtp.starttls(context=Interrupting(ssl.PROTOCOL_TLS_CLIENT))
    assert smtp.sock is None


class Ours(SMTP):
    """A company's own class, whose login takes no arguments."""

    def login(self) -> tuple[int, bytes]:  # type: ignore[override]
        return super().login("jo", "secret")


LOGINS: dict[str, Callable[[Ours], object]] = {
    "login": lambda smtp: smtp.login(),
    "auth": lambda smtp: (smtp.ehlo(), smtp.auth("PLAIN", lambda challenge=None: "\0jo\0secret")),
}
HANGS_UP = {"MAIL": [Usual(), Closing("421 4.3.2 Shutting down")]}


@pytest.mark.parametrize("login", LOGINS.values(), ids=LOGINS)
def test_a_redialled_session_is_logged_in_as_it_was_at_first(
    serve: Serve, postmaster: Postmaster, login: Callable[[Ours], object]
) -> None:
    server = serve(HANGS_UP, users={"jo": "secret"})
    with Ours(server.host, server.port, postmaster=postmaster) as smtp:
        login(smtp)
        for _ in range(2):
            assert smtp.sendmail(SENDER, ["ada@example.com"], BODY) == {}
    assert [sum(command.startswith("AUTH") for command in one.commands) for one in server.sessions] == [1, 1]


def test_a_session_logged_in_by_hand_is_never_redialled(serve: Serve, postmaster: Postmaster) -> None:
    server = serve(HANGS_UP, users={"jo": "secret"})
    smtp = SMTP(server.host, server.port, postmaster=postmaster)
    smtp.ehlo()
    assert smtp.docmd("AUTH", "PLAIN AGpvAHNlY3JldA==")[0] == 235
    assert smtp.sendmail(SENDER, ["ada@example.com"], BODY) == {}
    with pytest.raises(smtplib.SMTPSenderRefused):
        smtp.sendmail(SENDER, ["ada@example.com"], BODY)
    assert len(server.sessions) == 1


def test_text_beyond_ascii_is_refused_before_data_is_said(serve: Serve) -> None:
    server = serve()
    with SMTP(server.host, server.port) as smtp:
        smtp.ehlo()
        smtp.mail(SENDER)
        smtp.rcpt("ada@example.com")
        with pytest.raises(UnicodeEncodeError):
            smtp.data("Grüße")
        assert smtp.rset()[0] == 250


@pytest.mark.parametrize(
    "error",
    [
        OutcomeUnknown("gone"),
        RecipientsSuppressed({"ada@example.com": (-1, b"suppressed")}),
        StoreUnavailable("the disk is gone", Report({})),
        UnreadableReply(NoReply(Cause.PROTOCOL, "not a reply: 'hm'")),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_a_send_raises_survives_pickling(error: Exception) -> None:
    report = Report({"ada@example.com": (-1, b"suppressed")})
    again = pickle.loads(pickle.dumps(with_report(error, report)))
    assert (type(again), again.args, str(again)) == (type(error), error.args, str(error))
    assert again.report == report


def test_a_send_within_a_send_does_not_change_what_the_outer_one_raises(postmaster: Postmaster) -> None:
    with refusing_port() as port:
        client = postmaster.client(f"smtp://127.0.0.1:{port}")

        @postmaster.on("delayed")
        def send_to_nobody(event: object) -> None:
            client.sendmail(SENDER, [], BODY)

        with pytest.raises(ConnectionRefusedError):
            client.sendmail(SENDER, ["ada@example.com"], BODY)


def test_threads_that_share_a_connection_do_not_mix_their_mail(serve: Serve, postmaster: Postmaster) -> None:
    server = serve()
    to = [f"r{number}@example.com" for number in range(40)]
    with postmaster.smtp(server.host, server.port) as smtp, ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda one: smtp.sendmail("shop@example.org", [one], f"Subject: {one}\r\n\r\nHello"), to))
    assert {received.recipients: received.data.split(b"\r\n")[1] for received in server.messages} == {
        (one,): f"Subject: {one}".encode() for one in to
    }


class Slow(EmailMessage):
    """Takes its time while it is written out, and other threads go on."""

    def raw_items(self) -> Iterator[tuple[str, str]]:
        time.sleep(0.05)
        return super().raw_items()  # type: ignore[misc,no-any-return]


def test_threads_that_share_a_connection_mix_neither_what_is_to_be_done_nor_labels(
    serve: Serve, postmaster: Postmaster, heard: Heard
) -> None:
    server, slow = serve(), Slow()
    slow["From"], slow["To"] = SENDER, "slow@example.com"
    with postmaster.smtp(server.host, server.port) as smtp, ThreadPoolExecutor(2) as pool:
        composing = pool.submit(smtp.compose, slow, message_class="bulk")
        assert smtp.send_message(message("ada@example.com")).delivered
        assert composing.result().envelope.recipients[0].wire == "slow@example.com"
    assert [server.copies(f"{name}@example.com") for name in ("slow", "ada")] == [0, 1]
    assert [event.occasion.labels.message_class for event in heard.of("delivered")] == [None]


def test_a_connection_that_is_opened_anew_says_hello_anew(serve: Serve, postmaster: Postmaster) -> None:
    server = serve()
    smtp = postmaster.smtp(server.host, server.port)
    for _ in range(2):
        with smtp:
            assert smtp.send_message(message("ada@example.com")) == {}
        smtp.connect(server.host, server.port)
    smtp.close()
