"""Diagnostics: the reply that they quote, in every form that mail systems give it."""

import pytest

from bouncekit.bounces.diagnostic import read_diagnostic
from bouncekit.words.reply import Cause, NoReply, Reply

# What stands there; the reply in it; the command that it answered.
QUOTED = [
    ("smtp; 550 5.1.1 <jo@example.com>... User Unknown", "550 5.1.1 <jo@example.com>... User Unknown", None),
    ("smtp;550 No", "550 No", None),
    ("552 5.2.2 full", "552 5.2.2 full", None),
    ("smtp; 550 550 5.1.1 unknown", "550 5.1.1 unknown", None),
    ("smtp; 550: 5.2.2 full", "550 5.2.2 full", None),
    ("#550 5.1.1 RESOLVER.ADR.RecipNotFound; not found ##", "550 5.1.1 RESOLVER.ADR.RecipNotFound; not found", None),
    ("smtp; 550 sorry, no mailbox here (#5.1.1)", "550 sorry, no mailbox here (#5.1.1)", None),
    (
        "X-Postfix; host mx.example.com[192.0.2.1] said: 550 5.1.1 No such user (in reply to RCPT TO command)",
        "550 5.1.1 No such user",
        "RCPT",
    ),
    (
        "host mx.example.com[192.0.2.1] said: 552 5.3.4 Too big (in reply to end of DATA command)",
        "552 5.3.4 Too big",
        "END_OF_DATA",
    ),
    ("host mx said: 421 4.7.0 Go away (in reply to EHLO command)", "421 4.7.0 Go away", "EHLO"),
    (
        "dsn=4.2.2, status=deferred (host mx said: 452 4.2.2 Full (in reply to RCPT TO command))",
        "452 4.2.2 Full",
        "RCPT",
    ),
    (
        "smtp; 550-5.7.1 Your mail was 550-5.7.1 blocked. See 550 5.7.1 https://example.com/why",
        "550 5.7.1 Your mail was blocked. See https://example.com/why",
        None,
    ),
    ("smtp; 554-5.7.1 Blocked by policy 554 5.7.1 see it", "554 5.7.1 Blocked by policy see it", None),
    (
        "192.0.2.1 does not like recipient.\nRemote host said: 552 Disk quota exceeded\n",
        "552 Disk quota exceeded",
        "RCPT",
    ),
    (
        "192.0.2.1 failed after I sent the message.\nRemote host said: 550-5.7.26 Unauthenticated\n550 5.7.26 mail",
        "550 5.7.26 Unauthenticated\nmail",
        "END_OF_DATA",
    ),
    (
        "SMTP error from remote mail server after RCPT TO:<jo@example.com>:\n550 5.1.1 <jo@example.com>:\nunknown",
        "550 5.1.1 <jo@example.com>:\nunknown",
        "RCPT",
    ),
    (
        "SMTP error from remote mail server after MAIL FROM:<a@example.org> SIZE=22:\nhost mx [192.0.2.2]: 550 blocked",
        "550 blocked",
        "MAIL",
    ),
    (">>> RCPT TO:<jo@example.com>\n<<< 552-5.2.2 Mailbox\n<<< 552 5.2.2 full", "552 5.2.2 Mailbox\nfull", "RCPT"),
    (">>> EHLO us\n<<< 500 What?\n>>> DATA\n<<< 550 Spam", "550 Spam", "DATA"),
    ("--> RCPT To:<jo@example.com>\n<-- 550 No such user", "550 No such user", "RCPT"),
    (
        "smtp; 5.1.0 - Unknown address error 550-'5.1.1 <jo@example.com>... unknown' (delivery attempts: 0)",
        "550 5.1.1 <jo@example.com>... unknown",
        None,
    ),
    ("PERM_FAILURE: SMTP Error (state 14): 550 5.2.1 Disabled", "550 5.2.1 Disabled", None),
    ("Invalid Address, ERROR_CODE :550, ERROR_CODE :5.1.1 unknown", "550 5.1.1 unknown", None),
    ("refused it (DATA), with the following error message: [554 5.4.6 Loop]", "554 5.4.6 Loop]", "END_OF_DATA"),
    ("smtp; 554 4.4.7 Message expired.<421 4.4.2 Connection timed out>", "421 4.4.2 Connection timed out", None),
    ("Deferred: 421", "421", None),
]  # fmt: skip


@pytest.mark.parametrize(("text", "reply", "stage"), QUOTED, ids=range(len(QUOTED)))
def test_the_reply_is_found_among_the_words_around_it(text: str, reply: str, stage: str | None) -> None:
    said = read_diagnostic(text)
    assert isinstance(said.reply, Reply)
    assert str(said.reply) == reply
    assert (said.stage.value if said.stage else None) == stage


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("X-Postfix; connect to mx.example.com[192.0.2.1]:25: Connection refused", Cause.REFUSED),
        ("connect to mx.example.com[192.0.2.1]:25: Connection\n    timed out", Cause.TIMED_OUT),
        ("lost connection with mx.example.com[192.0.2.1] while receiving the initial server greeting", Cause.LOST),
        ("Sorry, I couldn't find any host named example.com. (#5.1.2)", Cause.NO_SUCH_DOMAIN),
        ("Name service error for name=example.com type=A: Host not found", Cause.NO_SUCH_DOMAIN),
        ("Name service error for name=mx.example.net type=A: Host not found", Cause.NO_ADDRESS),
        ("Name service error for name=example.com type=MX: Host not found, try again", Cause.DNS),
        ("Domain example.com does not accept mail (nullMX)", Cause.NULL_MX),
        ("CNAME lookup failed temporarily. (#4.4.3)", Cause.DNS),
    ],
)  # fmt: skip
def test_where_nobody_replied_the_cause_is_read(text: str, cause: Cause) -> None:
    said = read_diagnostic(text, domain="example.com")
    assert isinstance(said.reply, NoReply)
    assert said.reply.cause is cause


@pytest.mark.parametrize(
    ("text", "words", "status"),
    [
        ("x-unix; 67", "User unknown", None),
        ("x-unix; User unknown", "User unknown", None),
        ("smtp; Mailbox full", "Mailbox full", None),
        ("Sorry, no mailbox here by that name. (#5.1.1)", "Sorry, no mailbox here by that name. (#5.1.1)", "5.1.1"),
        ("smtp; 5.4.7 - Delivery expired 'timeout'", "5.4.7 - Delivery expired 'timeout'", "5.4.7"),
        ("delivered in 550 ms to 192.0.2.550 at 12:550", "delivered in 550 ms to 192.0.2.550 at 12:550", None),
        ("", "", None),
    ],
)
def test_words_without_a_reply_code_stay_words(text: str, words: str, status: str | None) -> None:
    said = read_diagnostic(text)
    assert (said.reply, said.text, str(said.status) if said.status else None) == (None, words, status)
