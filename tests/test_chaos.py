"""Recipients whose name says what becomes of their mail."""

import smtplib
from collections.abc import Callable

import pytest

from bouncekit.testing import Answer, Closing, Cut, Delay, Kept, ScriptedServer, Silence, Usual
from bouncekit.testing.chaos import Chaos

Serve = Callable[..., ScriptedServer]


@pytest.mark.parametrize(
    ("recipient", "answer"),
    [
        ("full@example.com", "552 5.2.2 Mailbox full"),
        ("FULL+order-7@Example.com", "552 5.2.2 Mailbox full"),
        ("busy@example.com", "452 4.2.2 Over quota, try later"),
        ("gone@example.com", "550 5.1.1 No such user"),
        ("slow@example.com", Delay(10.0)),
        ("silent@example.com", Silence()),
        ("drop@example.com", Cut("rst")),
        ("421@example.com", "421 4.0.0 As the address says"),
        ("552-5.2.2@example.com", "552 5.2.2 As the address says"),
        ("fuller@example.com", Usual()),
        ("250@example.com", Usual()),
        ("552-4@example.com", Usual()),
        ("spam@example.com", Usual()),
        ("ada@full.example", Usual()),
    ],
)
def test_the_name_says_the_answer_at_rcpt(recipient: str, answer: Answer) -> None:
    cues = Chaos()
    assert [cues.next("RCPT", recipient) for _ in range(2)] == [answer, answer]


@pytest.mark.parametrize(
    ("recipient", "answer"),
    [
        ("spam@example.com", "554 5.7.1 Message refused as spam"),
        ("lost@example.com", Kept(Cut("rst"))),
        ("data-451@example.com", "451 4.0.0 As the address says"),
        ("data-554-5.7.1@example.com", "554 5.7.1 As the address says"),
        ("full@example.com", Usual()),
    ],
)
def test_or_at_the_final_dot_of_that_transaction_and_of_no_other(recipient: str, answer: Answer) -> None:
    cues = Chaos()
    for message in (["ada@example.com", recipient], ["ada@example.com"]):
        cues.next("MAIL", "me@example.org")
        for one in message:
            cues.next("RCPT", one)
        assert cues.next("END_OF_DATA") == (answer if recipient in message else Usual())


def test_a_transaction_that_was_given_up_leaves_nothing_to_the_next() -> None:
    cues = Chaos()
    cues.next("RCPT", "spam@example.com")
    cues.next("MAIL", "me@example.org")
    assert cues.next("END_OF_DATA") == Usual()


def test_greylisting_and_a_shutdown_happen_once_for_each_address() -> None:
    cues = Chaos()
    turns = [cues.next("RCPT", f"{name}@example.com") for name in ("greylist", "greylist", "greylist+b", "shutdown")]
    assert turns == [
        "451 4.7.1 Greylisted, try again later",
        Usual(),
        "451 4.7.1 Greylisted, try again later",
        Closing("421 4.3.2 Shutting down"),
    ]


def test_in_lmtp_each_recipient_has_its_own_reply_behind_the_dot() -> None:
    cues = Chaos(lmtp=True)
    assert cues.next("END_OF_DATA", "spam@example.com") == "554 5.7.1 Message refused as spam"
    assert cues.next("END_OF_DATA", "ada@example.com") == Usual()


def test_a_script_goes_before_the_names() -> None:
    cues = Chaos({"RCPT": {"full@example.com": ["250 2.1.5 Room enough"]}})
    assert [cues.next("RCPT", "full@example.com") for _ in range(2)] == [
        "250 2.1.5 Room enough",
        "552 5.2.2 Mailbox full",
    ]


def test_what_is_not_usual_is_told() -> None:
    told: list[tuple[str, str, Answer]] = []
    cues = Chaos(on_answer=lambda *said: told.append(said))
    for address in ("ada@example.com", "spam@example.com", "gone@example.com"):
        cues.next("RCPT", address)
    cues.next("END_OF_DATA")
    assert told == [
        ("RCPT", "gone@example.com", "550 5.1.1 No such user"),
        ("END_OF_DATA", "spam@example.com", "554 5.7.1 Message refused as spam"),
    ]


def test_a_server_plays_it_for_real(serve: Serve) -> None:
    server = serve(Chaos())
    with smtplib.SMTP(server.host, server.port) as client:
        refused = client.sendmail(
            "me@example.org", ["ada@example.com", "full@example.com", "greylist@example.com"], "Hi"
        )
        assert {address: code for address, (code, _) in refused.items()} == {
            "full@example.com": 552,
            "greylist@example.com": 451,
        }
        with pytest.raises(smtplib.SMTPDataError, match="554"):
            client.sendmail("me@example.org", ["ada@example.com", "spam@example.com"], "Hi")
        with pytest.raises(smtplib.SMTPServerDisconnected):
            client.sendmail("me@example.org", ["lost@example.com"], "Hi")
    assert [server.copies(f"{name}@example.com") for name in ("ada", "spam", "lost")] == [1, 0, 1]


def test_sessions_at_the_same_time_do_not_take_each_others_answers(serve: Serve) -> None:
    server = serve(Chaos())
    with smtplib.SMTP(server.host, server.port) as one, smtplib.SMTP(server.host, server.port) as other:
        for client, recipient in ((one, "spam@example.com"), (other, "ada@example.com")):
            client.ehlo()
            client.mail("me@example.org")
            client.rcpt(recipient)
        assert other.data("Hi")[0] == 250
        assert one.data("Hi")[0] == 554


def test_a_server_that_runs_for_long_remembers_no_more_than_it_is_told_to(serve: Serve) -> None:
    heard: list[bytes] = []
    server = serve(Chaos(), keep=3, on_message=lambda message: heard.append(message.data))
    for number in range(8):
        with smtplib.SMTP(server.host, server.port) as client:
            client.sendmail("me@example.org", ["ada@example.com"], f"Subject: {number}\r\n\r\nHi")
        assert server.wait_closed()
    assert [message.data.split()[1] for message in server.messages] == [b"5", b"6", b"7"]
    assert len(heard) == 8
    assert len(server.sessions) <= 4
