"""How a session begins: each conversation with a server in the test, word for word."""

import base64
import hmac
from collections.abc import Sequence

import pytest

from bouncekit.protocol.conversation import Conversation, Look, Receive, Send, Turn
from bouncekit.protocol.opening import Manner, NotOpened, Opened, StartTls, Tls, opening
from bouncekit.words.reply import Cause, NoReply, Reply, ReplyReader, Stage

EHLO = "250-mx.example.com\r\n250-SIZE 1000\r\n250 {}\r\n"


def begin(*replies: str, **manner: object) -> tuple[Opened | NotOpened, Sequence[str]]:
    """Open a session with a server that answers so; what came of it, and what was said to it."""
    line, said, left = Conversation(ReplyReader()), [], list(replies)
    talk, answer = opening(line, Manner(own_name="me.example.com", **manner)), None  # type: ignore[arg-type]
    while True:
        try:
            step = talk.send(answer)
        except StopIteration as done:
            assert not left
            return done.value, said
        match step:
            case Turn():
                said.append(bytes(step.data).decode().strip())
                answer = b"", left.pop(0).encode() if left else b"", 0.1
            case Send():
                said.append(bytes(step.data).decode().strip())
                answer = None
            case Receive():
                answer = (left.pop(0).encode() if left else b"", 0.1)
            case Look():
                answer = None
            case StartTls():
                said.append("(TLS)")
                line.go_under_tls()
                answer = None


def plain(user: str, password: str) -> str:
    return base64.b64encode(f"\0{user}\0{password}".encode()).decode()


def test_what_the_server_offers_is_known_behind_ehlo() -> None:
    opened, said = begin("250-mx.example.com\r\n250-SIZE 1000\r\n250-AUTH=LOGIN\r\n250 PIPELINING\r\n")
    assert opened == Opened({"size": "1000", "auth": "LOGIN", "pipelining": ""})
    assert said == ["ehlo me.example.com"]


def test_behind_a_refused_ehlo_comes_helo_and_nothing_is_offered() -> None:
    opened, said = begin("502 5.5.1 What?\r\n", "250 mx.example.com\r\n")
    assert opened == Opened(None)
    assert said == ["ehlo me.example.com", "helo me.example.com"]


@pytest.mark.parametrize("goodbye", ["421 4.3.2 Busy", "221 2.0.0 Bye"])
def test_behind_a_goodbye_nothing_more_is_said(goodbye: str) -> None:
    opened, said = begin(f"{goodbye}\r\n")
    assert opened == NotOpened(Stage.EHLO, Reply.parse(goodbye))
    assert said == ["ehlo me.example.com"]


def test_lmtp_has_nothing_to_fall_back_to() -> None:
    opened, said = begin("500 5.5.1 What?\r\n", lmtp=True, tls=Tls.NEVER)
    assert isinstance(opened, NotOpened)
    assert said == ["lhlo me.example.com"]


@pytest.mark.parametrize("tls", [Tls.OFFERED, Tls.REQUIRED])
def test_under_tls_all_that_was_offered_in_clear_is_asked_for_again(tls: Tls) -> None:
    opened, said = begin(EHLO.format("STARTTLS"), "220 Go ahead\r\n", EHLO.format("8BITMIME"), tls=tls)
    assert opened == Opened({"size": "1000", "8bitmime": ""})
    assert said == ["ehlo me.example.com", "STARTTLS", "(TLS)", "ehlo me.example.com"]


def test_tls_that_is_required_and_not_offered_ends_it() -> None:
    opened, said = begin(EHLO.format("8BITMIME"), tls=Tls.REQUIRED, user="jo", password="secret", hint=" (a hint)")
    assert opened == NotOpened(Stage.STARTTLS, NoReply(Cause.TLS, "the relay offers no STARTTLS (a hint)"))
    assert said == ["ehlo me.example.com"]


def test_what_comes_in_clear_behind_the_reply_to_starttls_ends_it() -> None:
    opened, said = begin(EHLO.format("STARTTLS"), "220 Go ahead\r\n250 injected\r\n")
    assert isinstance(opened, NotOpened)
    assert opened.answer == NoReply(Cause.PROTOCOL, "the server spoke in clear behind its reply to STARTTLS")
    assert "(TLS)" not in said


def test_a_login_is_tried_by_each_mechanism_that_both_know() -> None:
    challenge = base64.b64encode(b"<1@mx>").decode()
    digest = hmac.new(b"secret", b"<1@mx>", "md5").hexdigest()
    opened, said = begin(
        EHLO.format("AUTH LOGIN XOAUTH2 PLAIN CRAM-MD5"),
        f"334 {challenge}\r\n",
        "535 5.7.8 No\r\n",
        "504 5.5.4 Not this\r\n",
        "334 VXNlcm5hbWU6\r\n",
        "334 UGFzc3dvcmQ6\r\n",
        "235 2.7.0 Welcome\r\n",
        user="jo",
        password="secret",
    )
    assert isinstance(opened, Opened)
    encoded = [base64.b64encode(text).decode() for text in (f"jo {digest}".encode(), b"jo", b"secret")]
    assert said[1:] == [
        "AUTH CRAM-MD5",
        encoded[0],
        f"AUTH PLAIN {plain('jo', 'secret')}",
        "AUTH LOGIN",
        encoded[1],
        encoded[2],
    ]


def test_a_refused_login_is_the_last_refusal() -> None:
    opened, _ = begin(EHLO.format("AUTH PLAIN"), "535 5.7.8 Wrong\r\n", user="jo", password="secret")
    assert opened == NotOpened(Stage.AUTH, Reply(535, b"5.7.8 Wrong"))


def test_no_other_mechanism_is_tried_on_a_line_that_is_lost() -> None:
    opened, said = begin(EHLO.format("AUTH PLAIN LOGIN"), user="jo", password="secret")
    assert isinstance(opened, NotOpened)
    assert isinstance(opened.answer, NoReply)
    assert said[-1].startswith("AUTH PLAIN")


def test_a_login_that_nobody_offers_is_not_tried() -> None:
    opened, said = begin(EHLO.format("8BITMIME"), user="jo", password="secret")
    assert isinstance(opened, NotOpened)
    assert opened.stage is Stage.AUTH
    assert said == ["ehlo me.example.com"]


@pytest.mark.parametrize("name", ["a\r\nMAIL FROM:<x@example.com>", "a b", "\N{LATIN SMALL LETTER O WITH DIAERESIS}"])
def test_a_name_that_would_smuggle_something_is_refused(name: str) -> None:
    talk = opening(Conversation(ReplyReader()), Manner(own_name=name))
    with pytest.raises(ValueError, match="is no name for EHLO"):
        next(talk)


def test_a_password_is_in_no_repr() -> None:
    assert "secret" not in repr(Manner(own_name="me", user="jo", password="secret"))
