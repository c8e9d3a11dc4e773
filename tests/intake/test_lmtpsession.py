"""What an LMTP session answers (RFC 2033), without a socket."""

from collections.abc import Sequence

import pytest

from bouncekit.intake.absorbing import MAX_MAIL_BYTES
from bouncekit.intake.lmtpsession import MAX_FAULTS, MAX_IDLE_COMMANDS, MAX_RECIPIENTS, LmtpSession

TO = "RCPT TO:<bounce+01ab@example.org>"


def answered(content: bytes, recipients: Sequence[str]) -> list[str]:
    return [f"250 2.0.0 {len(content)} for {one}" for one in recipients]


@pytest.fixture
def session() -> LmtpSession:
    return LmtpSession("mx.test", answered)


def obey(session: LmtpSession, *lines: str) -> list[str]:
    return [session.obey(line.encode()) for line in lines]


def test_the_greeting_offers_what_rfc_2033_wants(session: LmtpSession) -> None:
    assert session.greeting() == "220 mx.test LMTP bouncekit"
    (reply,) = obey(session, "LHLO client")
    assert {"250 PIPELINING", "250 ENHANCEDSTATUSCODES", "250 8BITMIME", "250 SMTPUTF8"} < set(reply.split("\n"))


def test_there_is_a_reply_for_each_recipient_that_was_taken_in_their_order(session: LmtpSession) -> None:
    lines = ["LHLO x", "MAIL FROM:<> BODY=8BITMIME SMTPUTF8 SIZE=99", TO, "RCPT TO:<>", "RCPT TO:<b@example.org>", TO]
    codes = [reply[:9] for reply in obey(session, *lines, "DATA")]
    assert codes[1:] == ["250 2.1.0", "250 2.1.5", "501 5.1.3", "250 2.1.5", "250 2.1.5", "354 End w"]
    assert session.wants_data
    assert [reply.split()[-1] for reply in session.take_data(b"hello")] == [TO[9:-1], "b@example.org", TO[9:-1]]
    assert not session.wants_data
    assert obey(session, TO) == ["503 5.5.1 MAIL comes first"]


@pytest.mark.parametrize(
    ("lines", "reply"),
    [
        (["HELO x"], "500 5.5.1"),
        (["EHLO x"], "500 5.5.1"),
        (["LHLO"], "501 5.5.4"),
        (["MAIL FROM:<>"], "503 5.5.1"),
        (["LHLO x", TO], "503 5.5.1"),
        (["LHLO x", "DATA"], "503 5.5.1"),
        (["LHLO x", "MAIL FROM:<>", "DATA"], "503 5.5.1"),
        (["LHLO x", "MAIL FROM:<>", "RCPT TO:<>", "DATA"], "503 5.5.1"),
        (["LHLO x", "MAIL FROM:<>", TO, "DATA now"], "501 5.5.4"),
        (["LHLO x", "MAIL FROM:<>", "MAIL FROM:<>"], "503 5.5.1"),
        (["LHLO x", "MAIL FROM:<>", "LHLO x", TO], "503 5.5.1"),
        (["LHLO x", "MAIL FROM:<>", "RSET", TO], "503 5.5.1"),
        (["LHLO x", "MAIL FROM: <a@example.org>"], "250 2.1.0"),
        (["LHLO x", 'mail from:<"a b> <c"@example.org>'], "250 2.1.0"),
        (["LHLO x", "MAIL TO:<>"], "501 5.5.4"),
        (["LHLO x", "MAIL FROM:a@example.org"], "501 5.5.4"),
        (["LHLO x", "MAIL FROM:<a b@example.org>"], "501 5.5.4"),
        (["LHLO x", "MAIL FROM:<" + "a" * 400 + ">"], "501 5.5.4"),
        (["LHLO x", "MAIL FROM:<> RET=HDRS"], "555 5.5.4"),
        (["LHLO x", "MAIL FROM:<> SIZE=many"], "501 5.5.4"),
        (["LHLO x", f"MAIL FROM:<> SIZE={MAX_MAIL_BYTES + 1}"], "552 5.3.4"),
        (["LHLO x", "MAIL FROM:<> SIZE=" + "9" * 5000], "501 5.5.4"),
        (["LHLO x", "MAIL FROM:<>", TO + " NOTIFY=NEVER"], "555 5.5.4"),
        (["NOOP"], "250 2.0.0"),
        (["VRFY jo"], "252 2.5.2"),
        (["QUIT"], "221 2.0.0"),
        (["NOOP\rMAIL FROM:<>"], "500 5.5.2"),
        (["NOOP\nMAIL FROM:<>"], "500 5.5.2"),
        (["NO\0OP"], "500 5.5.2"),
        ([""], "500 5.5.1"),
    ],
)
def test_commands_are_answered_as_rfc_5321_and_2033_say(session: LmtpSession, lines: list[str], reply: str) -> None:
    assert obey(session, *lines)[-1][:9] == reply


def test_what_is_no_utf_8_is_refused(session: LmtpSession) -> None:
    assert session.obey(b"MAIL FROM:<\xff>") == "500 5.5.2 Not UTF-8"


def test_recipients_are_bounded_and_those_before_are_kept(session: LmtpSession) -> None:
    obey(session, "LHLO x", "MAIL FROM:<>", *[TO] * MAX_RECIPIENTS)
    assert obey(session, TO) == ["452 4.5.3 Too many recipients"]
    obey(session, "DATA")
    assert len(session.take_data(b"")) == MAX_RECIPIENTS


def test_a_mail_that_is_too_long_is_refused_for_each_recipient(session: LmtpSession) -> None:
    obey(session, "LHLO x", "MAIL FROM:<>", TO, TO, "DATA")
    assert [reply[:9] for reply in session.take_data(None)] == ["552 5.3.4"] * 2


def test_whoever_only_makes_faults_or_noise_is_sent_away(session: LmtpSession) -> None:
    replies = obey(session, *["NONSENSE"] * (MAX_FAULTS + 1))
    assert (replies[-2][:3], replies[-1][:9], session.is_over) == ("500", "421 4.7.0", True)
    noisy = LmtpSession("mx.test", answered)
    replies = obey(noisy, *["NOOP"] * (MAX_IDLE_COMMANDS + 1))
    assert (replies[-2][:3], replies[-1][:9], noisy.is_over) == ("250", "421 4.7.0", True)
