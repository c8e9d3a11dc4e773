"""The scripted server, seen by smtplib and by bare sockets."""

import doctest
import importlib
import pkgutil
import smtplib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from types import SimpleNamespace

import pytest
import trustme

import bouncekit.testing
from bouncekit.testing import (
    After,
    Answer,
    Closing,
    Cut,
    Delay,
    Drip,
    Dropped,
    Extra,
    Flood,
    Kept,
    Raw,
    Script,
    ScriptedServer,
    Silence,
    SlowRead,
    Usual,
    deaf_port,
    refusing_port,
)

ME, ADA, BOB, FULL = "me@example.com", "ada@example.com", "bob@example.com", "full@example.com"
HELLO = "Subject: Hi\r\n\r\nHello\r\n"
PREAMBLE = b"EHLO test\r\nMAIL FROM:<me@example.com>\r\nRCPT TO:<ada@example.com>\r\n"


class Peer:
    """A bare socket that reads whole replies."""

    def __init__(self, server: ScriptedServer) -> None:
        self.sock = socket.create_connection((server.host, server.port), timeout=5)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.sock.makefile("rb")

    def ask(self, command: bytes = b"") -> bytes:
        """Sends the line, if any; the reply, whole and with its CRLFs."""
        if command:
            self.sock.sendall(command + b"\r\n")
        reply = b""
        while line := self.file.readline():
            reply += line
            if line[3:4] != b"-":
                break
        return reply

    def rest(self) -> bytes:
        return self.file.read()

    def start(self, recipients: int = 1) -> None:
        """Up to 354."""
        self.ask()
        self.sock.sendall(PREAMBLE + b"DATA\r\n")
        for code in (b"250", b"250", b"250", b"354"):
            assert self.ask().startswith(code)

    def close(self) -> None:
        self.file.close()
        self.sock.close()


@contextmanager
def peer(server: ScriptedServer) -> Iterator[Peer]:
    with closing(Peer(server)) as opened:
        yield opened


@contextmanager
def serving(script: Script | None = None, **settings: object) -> Iterator[SimpleNamespace]:
    """A server and a bare socket to it; no session may end by a bug."""
    with ScriptedServer(script, **settings) as server, peer(server) as opened:
        yield SimpleNamespace(server=server, peer=opened)
    assert server.errors == ()


def send(server: ScriptedServer, *recipients: str, body: str = HELLO) -> dict[str, tuple[int, bytes]]:
    with smtplib.SMTP(server.host, server.port, timeout=5) as client:
        return client.sendmail(ME, recipients or [ADA], body)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    return context


@pytest.fixture(scope="module")
def client_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


# -- without a script


def test_a_message_arrives_as_it_was_sent() -> None:
    with ScriptedServer() as server:
        assert send(server, ADA, BOB) == {}
    (message,) = server.messages
    assert (message.sender, message.recipients) == (ME, (ADA, BOB))
    assert message.data == HELLO.encode()
    assert message.mail_options == (f"size={len(HELLO)}",)
    assert server.copies(ADA.upper()) == 1
    assert server.copies(FULL) == 0


def test_the_transcript_tells_the_whole_session() -> None:
    with serving() as t:
        t.peer.start()
        t.peer.ask(b"Hello\r\n.")
        t.peer.ask(b"QUIT")
        t.peer.rest()
        assert t.server.wait_closed()
        (session,) = t.server.sessions
    assert session.transcript == (
        ("", "220 mx.test ESMTP ready"),
        ("EHLO test", "250-mx.test\n250-PIPELINING\n250-8BITMIME\n250-SIZE\n250-ENHANCEDSTATUSCODES\n250 SMTPUTF8"),
        ("MAIL FROM:<me@example.com>", "250 2.1.0 Ok"),
        ("RCPT TO:<ada@example.com>", "250 2.1.5 Ok"),
        ("DATA", "354 End data with <CR><LF>.<CR><LF>"),
        (".", "250 2.0.0 Ok: taken"),
        ("QUIT", "221 2.0.0 Bye"),
    )
    assert session.raw == PREAMBLE + b"DATA\r\nHello\r\n.\r\nQUIT\r\n"
    assert session.commands[0] == "EHLO test"
    assert session.ended == "closed"


def test_a_session_that_lasts_has_not_ended() -> None:
    with serving() as t:
        t.peer.ask()
        assert t.server.sessions[0].ended is None
        assert not t.server.wait_closed(0.01)


def test_a_whole_pipelined_session_in_one_packet_is_answered_in_order() -> None:
    with serving() as t:
        t.peer.sock.sendall(PREAMBLE + b"DATA\r\nHello\r\n.\r\nNOOP\r\nQUIT\r\n")
        replies = [t.peer.ask()[:3] for _ in range(8)]
        assert replies == [b"220", b"250", b"250", b"250", b"354", b"250", b"250", b"221"]
        assert t.peer.rest() == b""
    assert t.server.copies(ADA) == 1


@pytest.mark.parametrize(
    ("commands", "code"),
    [
        ([b"MAIL FROM:<a@b>"], b"503"),
        ([b"EHLO t", b"RCPT TO:<a@b>"], b"503"),
        ([b"EHLO t", b"DATA"], b"503"),
        ([b"EHLO t", b"MAIL FROM:<a@b>", b"MAIL FROM:<a@b>"], b"503"),
        ([b"EHLO t", b"MAIL FROM:<a@b>", b"DATA"], b"554"),
        ([b"EHLO t", b"MAIL FROM:<a@b>", b"RSET", b"MAIL FROM:<a@b>"], b"250"),
        ([b"EHLO t", b"MAIL FROM:<a@b>", b"EHLO t", b"MAIL FROM:<a@b>"], b"250"),
        ([b"EHLO"], b"501"),
        ([b"LHLO t"], b"500"),
        ([b"HELO t", b"MAIL FROM:<>"], b"250"),
        ([b"EHLO t", b"MAIL a@b"], b"501"),
        ([b"EHLO t", b"MAIL TO:<a@b>"], b"501"),
        ([b"EHLO t", b"mail from: <a@b> BODY=8BITMIME"], b"250"),
        ([b"EHLO t", b"MAIL FROM:<a@b> RET=HDRS"], b"555"),
        ([b"EHLO t", b"MAIL FROM:<a@b> WISH=1"], b"555"),
        ([b"EHLO t", b'MAIL FROM:<"a>b"@c>', b'RCPT TO:<"x\\"> y"@c>'], b"250"),
        ([b"EHLO t", b"MAIL FROM:<a@b>", b"RCPT TO:<>"], b"501"),
        ([b"EHLO t", b"MAIL FROM:<a@b>", "RCPT TO:<ü@b>".encode()], b"553"),
        ([b"EHLO t", b"MAIL FROM:<a@b> SMTPUTF8", "RCPT TO:<ü@b>".encode()], b"250"),
        ([b"EHLO t", b"MAIL FROM:<a@b>", b"RCPT TO:<a@b>", b"RCPT TO:<a@b>"], b"250"),
        ([b"EHLO t", b"MAIL FROM:<a@b>", b"RCPT TO:<a@b>", b"DATA now"], b"501"),
        ([b"VRFY a"], b"252"),
        ([b"NOOP whatever"], b"250"),
        ([b"BDAT 10 LAST"], b"500"),
        ([b"NOOP\nNOOP"], b"500"),
        ([b"\xff\xfe"], b"500"),
        ([b""], b""),
        ([b"STARTTLS"], b"502"),
        ([b"EHLO t", b"AUTH PLAIN AGEAYg=="], b"503"),
        ([b"N" * 20000], b"500"),
    ],
)
def test_what_is_out_of_place_gets_the_reply_of_a_correct_server(commands: list[bytes], code: bytes) -> None:
    with serving() as t:
        t.peer.ask()
        replies = [t.peer.ask(command) for command in commands if command]
    assert b"".join(replies[-1:]).startswith(code)


@pytest.mark.parametrize(
    ("wire", "data"),
    [
        (b".\r\n", b""),
        (b"..\r\n.\r\n", b".\r\n"),
        (b"a\r\n..b\r\n...\r\n.\r\n", b"a\r\n.b\r\n..\r\n"),
        (b"a.\r\n.\r\n", b"a.\r\n"),
        (b"caf\xe9 \x00\xff\r\n.\r\n", b"caf\xe9 \x00\xff\r\n"),
        (b"a\n.\nb\r\n.\r.\r\n.\r\n", b"a\n.\nb\r\n\r.\r\n"),
    ],
)
def test_only_crlf_dot_crlf_ends_a_message_and_only_stuffing_is_taken_away(wire: bytes, data: bytes) -> None:
    with serving() as t:
        t.peer.start()
        assert t.peer.ask(wire[:-2]).startswith(b"250")
    assert t.server.messages[0].data == data


def test_the_end_of_a_message_is_found_across_packets() -> None:
    with serving() as t:
        t.peer.start()
        for byte in b"a\r\n..b\r\n.\r\n":
            t.peer.sock.sendall(bytes([byte]))
            time.sleep(0.001)
        assert t.peer.ask().startswith(b"250")
    assert t.server.messages[0].data == b"a\r\n.b\r\n"


def test_bare_line_ends_are_counted_and_left_alone() -> None:
    with serving() as t:
        t.peer.start()
        t.peer.ask(b"a\nb\rc\r\n\n.\r\n\r\n.")
    assert t.server.messages[0].bare_line_ends == 3


def test_a_large_message_arrives_whole() -> None:
    body = ("x" * 70 + "\r\n") * 60_000
    with ScriptedServer() as server:
        send(server, body=body)
    assert server.messages[0].data == body.encode()


def test_a_failed_transaction_stays_open_until_rset() -> None:
    with serving({"DATA": ["451 4.3.0 Later"]}) as t:
        t.peer.ask()
        t.peer.sock.sendall(PREAMBLE)
        [t.peer.ask() for _ in range(3)]
        assert t.peer.ask(b"DATA").startswith(b"451")
        assert t.peer.ask(b"MAIL FROM:<a@b>").startswith(b"503 5.5.1 Nested")
        assert t.peer.ask(b"RSET").startswith(b"250")
        assert t.peer.ask(b"MAIL FROM:<a@b>").startswith(b"250")


def test_a_refused_dot_ends_the_transaction() -> None:
    with serving({"END_OF_DATA": "554 5.6.0 No"}) as t:
        t.peer.start()
        assert t.peer.ask(b"x\r\n.") == b"554 5.6.0 No\r\n"
        assert t.peer.ask(b"MAIL FROM:<a@b>").startswith(b"250")
    assert t.server.messages == ()


def test_recipients_above_the_limit_wait_for_the_next_transaction() -> None:
    with ScriptedServer(max_recipients=1) as server:
        assert send(server, ADA, BOB) == {BOB: (452, b"4.5.3 Too many recipients")}
    assert (server.copies(ADA), server.copies(BOB)) == (1, 0)


def test_the_size_limit_is_kept_at_mail_and_at_the_dot() -> None:
    with ScriptedServer(size_limit=100) as server, smtplib.SMTP(server.host, server.port) as client:
        with pytest.raises(smtplib.SMTPSenderRefused, match=r"5\.3\.4"):
            client.sendmail(ME, [ADA], "x" * 200)
        assert client.esmtp_features["size"] == "100"
        del client.esmtp_features["size"]
        with pytest.raises(smtplib.SMTPDataError, match=r"5\.3\.4"):
            client.sendmail(ME, [ADA], "x" * 200)
        client.sendmail(ME, [ADA], "small")
    assert server.copies(ADA) == 1


def test_without_the_extension_the_usual_replies_have_no_enhanced_codes() -> None:
    with serving({"RSET": "250 2.0.0 As written"}, extensions=()) as t:
        t.peer.ask()
        assert t.peer.ask(b"EHLO t") == b"250 mx.test\r\n"
        assert t.peer.ask(b"MAIL FROM:<a@b>") == b"250 Ok\r\n"
        assert t.peer.ask(b"MAIL FROM:<a@b>") == b"503 Nested MAIL command\r\n"
        assert t.peer.ask(b"RSET") == b"250 2.0.0 As written\r\n"


# -- the script: whose turn it is


def test_a_list_is_used_up_in_time_across_sessions() -> None:
    with ScriptedServer({"RCPT": {ADA: ["452 4.2.2 Over quota", Usual(), "550 5.1.1 Gone"]}}) as server:
        results = [send(server, ADA, BOB).get(ADA, (250,))[0] for _ in range(4)]
    assert results == [452, 250, 550, 250]


def test_one_answer_is_given_every_time() -> None:
    with ScriptedServer({"RCPT": {FULL: "552 5.2.2 Mailbox full"}}) as server:
        assert [send(server, FULL, BOB)[FULL][0] for _ in range(3)] == [552] * 3


def test_a_list_for_any_recipient_runs_for_each_on_its_own() -> None:
    with ScriptedServer({"RCPT": {"*": ["450 4.2.0 Greylisted"], BOB: "250 2.1.5 Known"}}) as server:
        assert set(send(server, ADA, BOB, FULL)) == {ADA, FULL}
        assert send(server, ADA, BOB, FULL) == {}


def test_a_list_for_a_stage_runs_over_all_its_commands() -> None:
    with ScriptedServer({"RCPT": [Usual(), "452 4.5.3 Enough"]}) as server:
        assert set(send(server, ADA, BOB, FULL)) == {BOB}


def test_mail_is_answered_by_sender_and_addresses_ignore_case() -> None:
    with serving({"MAIL": {"Me@Example.com": "550 5.7.1 Not you"}}) as t:
        t.peer.ask()
        t.peer.ask(b"EHLO t")
        assert t.peer.ask(b"MAIL FROM:<ME@example.COM>") == b"550 5.7.1 Not you\r\n"
        assert t.peer.ask(b"MAIL FROM:<>").startswith(b"250")


def test_what_was_not_played_is_listed() -> None:
    with ScriptedServer(
        {"RCPT": {ADA: "452 4.2.2 Full", FULL: "552 5.2.2 Full"}, "RSET": ["250 a", "250 b"]}
    ) as server:
        send(server, ADA, BOB)
        assert server.unplayed == (f"RCPT {FULL}", "RSET")


def test_a_command_out_of_sequence_takes_no_turn() -> None:
    with serving({"RCPT": ["550 5.1.1 No"]}) as t:
        t.peer.ask()
        assert t.peer.ask(b"RCPT TO:<a@b>").startswith(b"503")
        assert t.server.unplayed == ("RCPT",)


def test_newlines_in_a_reply_make_further_lines() -> None:
    with serving({"NOOP": ["250 a\nb\nc", "250-a\n250-b\n250 c", "250", "250 ü"]}) as t:
        t.peer.ask()
        assert t.peer.ask(b"NOOP") == t.peer.ask(b"NOOP") == b"250-a\r\n250-b\r\n250 c\r\n"
        assert t.peer.ask(b"NOOP") == b"250\r\n"
        assert t.peer.ask(b"NOOP") == "250 ü\r\n".encode()


@pytest.mark.parametrize(
    ("script", "hint"),
    [
        ({"RPCT": "250 Ok"}, "END_OF_DATA"),
        ({"rcpt": "250 Ok"}, "RCPT"),
        ({"RCPT": "25 no"}, "three digits"),
        ({"RCPT": "650 no"}, "three digits"),
        ({"RCPT": "250 Ok\r\n"}, "without CR"),
        ({"RCPT": "250-a\n251 b"}, "every line"),
        ({"RCPT": "250-a"}, "every line"),
        ({"RCPT": {ADA: ["250 Ok", None]}}, "no answer"),
        ({"RCPT": 250}, "no answer"),
        ({"RCPT": {ADA: Kept("250 Ok")}}, "only at END_OF_DATA"),
        ({"DATA": Delay(1, SlowRead())}, "only at BODY"),
        ({"DATA": {ADA: "354 go"}}, "by address"),
        ({"END_OF_DATA": {ADA: "250 Ok"}}, "lmtp=True"),
        ({"IDLE": Cut()}, "idle_timeout"),
        ({"AUTH": "535 5.7.8 No"}, "users"),
    ],
)
def test_a_faulty_script_is_refused_with_what_would_be_right(script: Script, hint: str) -> None:
    with pytest.raises(ValueError, match=hint):
        ScriptedServer(script)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Cut("bang"),
        lambda: Raw("250 Ok"),
        lambda: Delay(-1),
        lambda: Delay(1, "oops"),
        lambda: Drip(size=0),
        lambda: Flood(b""),
        lambda: After(0, Cut()),
        lambda: ScriptedServer(implicit_tls=True),
    ],
)
def test_a_faulty_answer_is_refused_when_it_is_made(make: object) -> None:
    with pytest.raises(ValueError):
        make()


# -- the ways to answer badly: all that the throw-away fault server could do at a reply

OK = b"250 2.1.5 Ok\r\n"
FAULTS: dict[str, tuple[Answer, bytes, bool]] = {  # the answer, what the client reads, is the session over
    "rst": (Cut("rst"), b"", True),
    "fin": (Cut(), b"", True),
    "partial_fin": (Cut(after=b"25"), b"25", True),
    "partial_multi_fin": (Cut(after=b"250-first\r\n"), b"250-first\r\n", True),
    "late": (Delay(0.05), OK, False),
    "421_close": (Closing("421 4.3.2 closing"), b"421 4.3.2 closing\r\n", True),
    "421_open": ("421 4.3.2 closing", b"421 4.3.2 closing\r\n", False),
    "221_close": (Closing("221 2.0.0 bye"), b"221 2.0.0 bye\r\n", True),
    "r554_fin": (Closing("554 5.7.1 no"), b"554 5.7.1 no\r\n", True),
    "http": (Cut(after=b"HTTP/1.1 400 Bad Request\r\n\r\n"), b"HTTP/1.1 400 Bad Request\r\n\r\n", True),
    "garbage_line": (Raw(b"\xff\xfe\x80\r\n"), b"\xff\xfe\x80\r\n", False),
    "line_9k": ("250 " + "x" * 9000, b"250 " + b"x" * 9000 + b"\r\n", False),
    "drip_ok": (Drip(every=0.001), OK, False),
    "stutter": (Drip(size=3, every=0.001), OK, False),
    "bad_utf8": (Raw(b"250 caf\xe9 \xff\r\n"), b"250 caf\xe9 \xff\r\n", False),
    "ansi": ("250 \x1b[2J\x00\x7f", b"250 \x1b[2J\x00\x7f\r\n", False),
    "code_only": ("250", b"250\r\n", False),
    "code_334": ("334 VXNlcm5hbWU6", b"334 VXNlcm5hbWU6\r\n", False),
    "code_999": (Raw(b"999 what\r\n"), b"999 what\r\n", False),
    "code_glued": (Raw(b"550no\r\n"), b"550no\r\n", False),
    "multi_ok_5xx": (Raw(b"250-fine\r\n554 no\r\n"), b"250-fine\r\n554 no\r\n", False),
    "bare_lf": (Raw(b"250 ok\n"), b"250 ok\n", False),
    "blank_line": (Raw(b"\r\n250 ok\r\n"), b"\r\n250 ok\r\n", False),
    "extra_ok": (Extra("250 2.0.0 extra"), OK + b"250 2.0.0 extra\r\n", False),
    "extra_5xx": (Extra("550 no", after="250 yes"), b"250 yes\r\n550 no\r\n", False),
    "flood_then_silence": (Flood(b"250-y\r\n", limit=70, first=b"250-x\r\n"), b"250-x\r\n" + b"250-y\r\n" * 9, False),
}


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_puts_exactly_its_bytes_on_the_wire(name: str) -> None:
    answer, wire, over = FAULTS[name]
    with serving({"RCPT": answer}) as t:
        t.peer.ask()
        t.peer.sock.sendall(PREAMBLE)
        t.peer.ask()
        t.peer.ask()
        assert t.peer.file.read(len(wire)) == wire
        if name == "rst":
            with pytest.raises(ConnectionResetError):
                t.peer.rest()
        elif over:
            assert t.peer.rest() == b""
        else:
            t.peer.sock.settimeout(0.02)
            with pytest.raises(TimeoutError):
                t.peer.sock.recv(1)
            assert t.server.sessions[0].ended is None


def test_bytes_of_one_answer_come_in_one_packet() -> None:
    with serving({"NOOP": Extra("550 no")}) as t:
        t.peer.ask()
        t.peer.sock.sendall(b"NOOP\r\n")
        assert t.peer.sock.recv(4096) == b"250 2.0.0 Ok\r\n550 no\r\n"


@pytest.mark.parametrize("answer", [Silence(), Silence(reading=False), Raw(b"\xff\xff"), Raw(b"250 ok\r")])
def test_a_client_that_gets_no_whole_reply_times_out(answer: Answer) -> None:
    with (
        ScriptedServer({"NOOP": answer}) as server,
        closing(smtplib.SMTP(server.host, server.port, timeout=30.0)) as client,
    ):
        assert client.sock is not None
        client.sock.settimeout(0.3)
        with pytest.raises(smtplib.SMTPServerDisconnected):
            client.noop()


def test_silence_ends_when_the_client_goes() -> None:
    with serving({"CONNECT": Silence()}) as t:
        t.peer.sock.sendall(b"anything")
        t.peer.close()
        assert t.server.wait_closed()
        assert t.server.sessions[0].ended == "the client closed"


@pytest.mark.parametrize(
    "flood", [Flood(b"x" * 65536, first=b"250 "), Flood(b"250-y\r\n" * 1000), Flood(b"250-y\r\n", every=0.001)]
)
def test_a_flood_goes_on_until_the_client_has_enough(flood: Flood) -> None:
    with serving({"NOOP": flood}) as t:
        t.peer.ask()
        t.peer.sock.sendall(b"NOOP\r\n")
        wanted = 2_000_000 if not flood.every else 100
        assert len(t.peer.file.read(wanted)) == wanted
        assert len(t.server.sessions[0].transcript[-1].reply) <= 4096
        t.peer.close()
        assert t.server.wait_closed()


def test_after_a_refusing_greeting_only_quit_is_served() -> None:
    with serving({"CONNECT": "554 5.3.2 No service"}) as t:
        assert t.peer.ask().startswith(b"554")
        assert t.peer.ask(b"EHLO t").startswith(b"503")
        assert t.peer.ask(b"QUIT").startswith(b"221")


def test_helo_may_succeed_where_ehlo_fails() -> None:
    with ScriptedServer({"EHLO": "502 5.5.1 What"}) as server:
        assert send(server) == {}
        assert server.sessions[0].commands[1].startswith("helo")


@pytest.mark.parametrize(
    ("answer", "copies"),
    [
        ("250 2.0.0 Ok", 1),
        (Raw(b"250 caf\xe9\r\n"), 1),
        (Delay(0.01), 1),
        (Closing("250 2.0.0 Ok"), 1),
        (Extra("550 5.1.1 stray"), 1),
        (Kept(Cut()), 1),
        (Kept(Cut("rst")), 1),
        (Delay(0.01, Kept(Silence())), 1),
        (Kept("554 5.6.0 Only words"), 1),
        (Kept(Raw(b"999 what\r\n")), 1),
        (Cut(), 0),
        (Cut(after=b"250 2.0.0 Ok"), 0),
        (Silence(), 0),
        ("451 4.3.0 Later", 0),
        (Raw(b"999 what\r\n"), 0),
        (Raw(b"250-fine\r\n554 no\r\n"), 0),
        (Dropped(), 0),
        (Dropped(Delay(0.01, "250 2.0.0 Only words")), 0),
    ],
)
def test_the_script_decides_whether_the_message_was_taken(answer: Answer, copies: int) -> None:
    with serving({"END_OF_DATA": answer}) as t:
        t.peer.start()
        t.peer.sock.sendall(b"x\r\n.\r\n")
        while t.server.sessions[0].transcript[-1].command != ".":
            time.sleep(0.001)
        assert t.server.copies(ADA) == copies


def test_only_accepted_recipients_get_the_message() -> None:
    with serving({"RCPT": {BOB: Raw(b"550no\r\n"), FULL: "552 5.2.2 Full"}}) as t:
        t.peer.ask()
        t.peer.sock.sendall(PREAMBLE + b"RCPT TO:<bob@example.com>\r\nRCPT TO:<full@example.com>\r\nDATA\r\nx\r\n.\r\n")
        assert [t.peer.ask()[:3] for _ in range(7)] == [b"250", b"250", b"250", b"550", b"552", b"354", b"250"]
    assert t.server.messages[0].recipients == (ADA,)


# -- while the message is being sent

BODY = b"x" * 998 + b"\r\n"


def pour(sock: socket.socket, lines: int = 8000) -> None:
    """A body of 8 MB, without its dot."""
    for _ in range(lines // 100):
        sock.sendall(BODY * 100)


@pytest.mark.parametrize("how", ["fin", "rst"])
def test_a_cut_in_the_body_breaks_the_client_off(how: str) -> None:
    with serving({"BODY": After(100_000, Cut(how))}) as t:
        t.peer.start()
        with pytest.raises(ConnectionError):
            pour(t.peer.sock)
        assert t.server.wait_closed()
    assert len(t.server.sessions[0].raw) < 1_000_000
    assert t.server.messages == ()


def test_a_half_close_in_the_body_reads_all_and_answers_nothing() -> None:
    with serving({"BODY": After(100_000, Cut("half"))}) as t:
        t.peer.start()
        pour(t.peer.sock)
        t.peer.sock.sendall(b".\r\n")
        assert t.peer.rest() == b""
        t.peer.close()
        assert t.server.wait_closed()
    assert t.server.sessions[0].raw.endswith(b"\r\n.\r\n")
    assert t.server.messages == ()


def test_a_server_that_stops_reading_blocks_the_client() -> None:
    with serving({"BODY": After(1000, Silence(reading=False))}) as t:
        t.peer.start()
        t.peer.sock.settimeout(0.1)
        with pytest.raises(TimeoutError):
            pour(t.peer.sock)


def test_a_pause_in_the_body_ends() -> None:
    with serving({"BODY": Delay(0.05)}) as t:
        begun = time.monotonic()
        t.peer.start()
        assert t.peer.ask(b"x\r\n.").startswith(b"250")
        assert time.monotonic() - begun >= 0.05


def test_slow_reading_lasts_to_the_end_of_the_message() -> None:
    with serving({"BODY": SlowRead(size=2, every=0.01)}) as t:
        t.peer.start()
        begun = time.monotonic()
        assert t.peer.ask(b"cdefgh\r\n.").startswith(b"250")
        assert time.monotonic() - begun >= 0.04
        assert t.peer.ask(b"NOOP").startswith(b"250")


@pytest.mark.parametrize("early", ["250 2.0.0 early", Raw(b"\xfe\xff what\r\n"), "552 5.3.4 Too big"])
def test_an_early_reply_comes_before_the_dot(early: str | Raw) -> None:
    with serving({"BODY": After(1000, early), "END_OF_DATA": "554 5.6.0 No"}) as t:
        t.peer.start()
        t.peer.sock.sendall(BODY * 2)
        assert t.peer.ask() == (early.data if isinstance(early, Raw) else f"{early}\r\n".encode())
        assert t.peer.ask(b".").startswith(b"554")


def test_421_in_the_body_closes() -> None:
    with serving({"BODY": After(1000, Closing("421 4.3.2 Out of memory"))}) as t:
        t.peer.start()
        t.peer.sock.sendall(BODY)
        assert t.peer.rest() == b"421 4.3.2 Out of memory\r\n"


def test_body_faults_wait_for_their_size() -> None:
    with ScriptedServer({"BODY": After(1000, Cut())}) as server:
        assert send(server, body="short") == {}


def test_a_body_fault_comes_at_its_very_byte() -> None:
    with serving({"BODY": After(1000, Cut("rst"))}) as t:
        t.peer.start()
        t.peer.sock.sendall(BODY * 10)
        assert t.server.wait_closed()
    assert len(t.server.sessions[0].raw) == len(PREAMBLE + b"DATA\r\n") + 1000


# -- LMTP


def test_lmtp_answers_the_dot_for_each_accepted_recipient() -> None:
    script: Script = {
        "RCPT": {"no@b": "550 5.1.1 No"},
        "END_OF_DATA": {FULL: "552 5.2.2 Full", BOB: ["451 4.2.0 Later"]},
    }
    with serving(script, lmtp=True) as t:
        assert t.server.url == f"lmtp://127.0.0.1:{t.server.port}"
        t.peer.ask()
        assert t.peer.ask(b"EHLO t").startswith(b"500")
        names = (b"ada@example.com", b"no@b", b"full@example.com", b"bob@example.com", b"ada@example.com")
        t.peer.sock.sendall(b"LHLO t\r\nMAIL FROM:<>\r\n" + b"".join(b"RCPT TO:<%s>\r\n" % name for name in names))
        [t.peer.ask() for _ in range(7)]
        t.peer.ask(b"DATA")
        t.peer.sock.sendall(b"x\r\n.\r\n")
        assert [t.peer.ask()[:3] for _ in range(4)] == [b"250", b"552", b"451", b"250"]
    assert t.server.messages[0].recipients == (ADA, ADA)
    assert t.server.copies(ADA) == 1
    assert [reply[:3] for command, reply in t.server.sessions[0].transcript if command == "."] == [
        "250",
        "552",
        "451",
        "250",
    ]


def test_lmtp_may_break_off_among_the_replies() -> None:
    with serving({"END_OF_DATA": {BOB: Kept(Cut())}}, lmtp=True) as t:
        t.peer.ask()
        t.peer.sock.sendall(PREAMBLE.replace(b"EHLO", b"LHLO") + b"RCPT TO:<bob@example.com>\r\nDATA\r\nx\r\n.\r\n")
        assert [t.peer.ask()[:3] for _ in range(6)] == [b"250"] * 4 + [b"354", b"250"]
        assert t.peer.rest() == b""
    assert t.server.messages[0].recipients == (ADA, BOB)


# -- TLS and AUTH


def test_starttls_then_auth_then_mail(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    with ScriptedServer(tls=server_tls, users={"user": "secret"}, auth_needs_tls=True) as server:
        with smtplib.SMTP(server.host, server.port) as client:
            client.ehlo()
            assert not client.has_extn("auth")
            client.starttls(context=client_tls)
            client.ehlo()
            assert client.has_extn("auth")
            assert not client.has_extn("starttls")
            client.login("user", "secret")
            assert client.sendmail(ME, [ADA], HELLO) == {}
        assert server.wait_closed()
    assert server.sessions[0].tls
    assert server.errors == ()
    assert server.copies(ADA) == 1


def test_implicit_tls_shakes_hands_before_the_greeting(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    with ScriptedServer(tls=server_tls, implicit_tls=True) as server:
        assert server.url.startswith("smtps://")
        with smtplib.SMTP_SSL(server.host, server.port, context=client_tls) as client:
            client.sendmail(ME, [ADA], HELLO * 10_000)
    assert server.copies(ADA) == 1


def test_bytes_sent_before_the_handshake_are_forgotten(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    with serving(tls=server_tls) as t:
        t.peer.ask()
        t.peer.ask(b"EHLO t")
        assert t.peer.ask(b"STARTTLS\r\nNOOP injected").startswith(b"220")
        with client_tls.wrap_socket(t.peer.sock, server_hostname="localhost") as secure:
            secure.sendall(b"MAIL FROM:<a@b>\r\n")
            assert secure.recv(4096).startswith(b"503 5.5.1 Say hello")
    assert "NOOP injected" not in t.server.sessions[0].commands


def test_what_the_server_says_too_much_at_starttls_comes_in_one_packet(server_tls: ssl.SSLContext) -> None:
    with serving({"STARTTLS": Extra("250 mx.evil\nAUTH PLAIN")}, tls=server_tls) as t:
        t.peer.ask()
        t.peer.sock.sendall(b"STARTTLS\r\n")
        assert t.peer.sock.recv(4096) == b"220 2.0.0 Ready to start TLS\r\n250-mx.evil\r\n250 AUTH PLAIN\r\n"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # smtplib forgets a socket
@pytest.mark.parametrize(
    "answer", [Cut(), Cut("rst"), Raw(b"\0" * 100), "421 4.3.0 No TLS", Flood(b"\x16", every=0.01)]
)
def test_the_handshake_can_fail(answer: Answer, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    with (
        ScriptedServer({"TLS": answer}, tls=server_tls) as server,
        closing(smtplib.SMTP(server.host, server.port)) as client,
    ):
        client.ehlo()
        client.sock.settimeout(0.2)
        with pytest.raises(OSError):
            client.starttls(context=client_tls)
    assert server.errors == ()


def test_a_late_handshake_succeeds(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    with (
        ScriptedServer({"TLS": Delay(0.05)}, tls=server_tls) as server,
        smtplib.SMTP(server.host, server.port) as client,
    ):
        assert client.starttls(context=client_tls)[0] == 220


def test_a_client_that_does_not_trust_the_certificate_is_no_error_of_the_server(server_tls: ssl.SSLContext) -> None:
    with ScriptedServer(tls=server_tls) as server, closing(smtplib.SMTP(server.host, server.port)) as client:
        client.ehlo()
        with pytest.raises(ssl.SSLCertVerificationError):
            client.starttls(context=ssl.create_default_context())
        client.close()
        assert server.wait_closed()
    assert (server.sessions[0].ended or "").startswith("lost: ")
    assert server.errors == ()


@pytest.mark.parametrize("answer", [Cut(), Cut("rst"), Silence(), Kept(Cut("half"))])
def test_faults_work_in_tls_too(answer: Answer, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    script: Script = {"END_OF_DATA": answer}
    with ScriptedServer(script, tls=server_tls) as server, closing(smtplib.SMTP(server.host, server.port)) as client:
        client.starttls(context=client_tls)
        client.sock.settimeout(0.1)
        with pytest.raises(smtplib.SMTPServerDisconnected):
            client.sendmail(ME, [ADA], HELLO)
    assert server.copies(ADA) == isinstance(answer, Kept)


def test_starttls_can_be_scripted_to_fail_without_a_certificate() -> None:
    with serving(
        {"STARTTLS": ["454 4.7.0 Not now", "220 2.0.0 Go"], "TLS": Cut(after=b"\x15")}, extensions=["STARTTLS"]
    ) as t:
        t.peer.ask()
        assert b"STARTTLS" in t.peer.ask(b"EHLO t")
        assert t.peer.ask(b"STARTTLS").startswith(b"454")
        assert t.peer.ask(b"STARTTLS").startswith(b"220")
        assert t.peer.rest() == b"\x15"


def test_refused_starttls_starts_no_handshake(server_tls: ssl.SSLContext) -> None:
    with serving({"STARTTLS": ["454 4.7.0 Not now", "250 What"]}, tls=server_tls) as t:
        t.peer.ask()
        assert t.peer.ask(b"STARTTLS").startswith(b"454")
        assert t.peer.ask(b"STARTTLS").startswith(b"250")
        assert t.peer.ask(b"NOOP").startswith(b"250")


@pytest.mark.parametrize(
    ("dialogue", "code"),
    [
        ([b"AUTH PLAIN AHVzZXIAc2VjcmV0"], b"235"),
        ([b"AUTH PLAIN", b"AHVzZXIAc2VjcmV0"], b"235"),
        ([b"AUTH LOGIN", b"dXNlcg==", b"c2VjcmV0"], b"235"),
        ([b"auth login dXNlcg==", b"c2VjcmV0"], b"235"),
        ([b"AUTH PLAIN AHVzZXIAd3Jvbmc="], b"535"),
        ([b"AUTH LOGIN", b"*"], b"501"),
        ([b"AUTH PLAIN !"], b"501"),
        ([b"AUTH PLAIN ="], b"535"),
        ([b"AUTH CRAM-MD5"], b"504"),
        ([b"AUTH PLAIN AHVzZXIAc2VjcmV0", b"AUTH PLAIN AHVzZXIAc2VjcmV0"], b"503"),
        ([b"MAIL FROM:<a@b>"], b"530"),
        ([b"AUTH PLAIN AHVzZXIAc2VjcmV0", b"MAIL FROM:<a@b>"], b"250"),
    ],
)
def test_auth_asks_for_the_right_name_and_password(dialogue: list[bytes], code: bytes) -> None:
    with serving(users={"user": "secret"}) as t:
        t.peer.ask()
        t.peer.ask(b"EHLO t")
        assert [t.peer.ask(line) for line in dialogue][-1].startswith(code)


def test_auth_in_clear_is_refused_where_it_needs_tls(server_tls: ssl.SSLContext) -> None:
    with serving(users={"user": "secret"}, tls=server_tls, auth_needs_tls=True) as t:
        t.peer.ask()
        assert b"AUTH" not in t.peer.ask(b"EHLO t")
        assert t.peer.ask(b"AUTH PLAIN AHVzZXIAc2VjcmV0").startswith(b"538")


def test_a_scripted_verdict_overrides_the_password() -> None:
    with serving({"AUTH": ["454 4.7.0 Later"]}, users={"user": "secret"}) as t:
        t.peer.ask()
        t.peer.ask(b"EHLO t")
        assert t.peer.ask(b"AUTH PLAIN AHVzZXIAc2VjcmV0").startswith(b"454")
        assert t.peer.ask(b"AUTH PLAIN AHVzZXIAc2VjcmV0").startswith(b"235")


# -- idle, unasked, dropped


def test_an_idle_session_gets_421_and_is_closed() -> None:
    with serving(idle_timeout=0.05) as t:
        t.peer.ask()
        assert t.peer.rest() == b"421 4.4.2 mx.test Error: timeout exceeded\r\n"
    assert t.server.sessions[0].transcript[-1] == ("", "421 4.4.2 mx.test Error: timeout exceeded")


def test_an_idle_session_may_be_closed_without_a_word() -> None:
    with serving({"IDLE": Cut()}, idle_timeout=0.05) as t:
        t.peer.ask()
        assert t.peer.rest() == b""


def test_an_unasked_line_reaches_every_open_session() -> None:
    with serving() as t, peer(t.server) as other:
        t.peer.ask()
        other.ask()
        assert t.server.say_unasked("421 4.3.2 Shutting down", close=True) == 2
        assert t.peer.rest() == other.rest() == b"421 4.3.2 Shutting down\r\n"
        assert t.server.wait_closed()
        assert t.server.say_unasked("421 4.3.2 Shutting down") == 0


def test_an_unasked_line_without_closing_stands_before_the_next_reply() -> None:
    with serving() as t:
        t.peer.ask()
        t.server.say_unasked("250 2.0.0 stray")
        assert t.peer.ask(b"RSET NOW") == b"250 2.0.0 stray\r\n"
        assert t.peer.ask() == b"250 2.0.0 Ok\r\n"


def test_an_unasked_line_works_in_tls(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    with ScriptedServer(tls=server_tls) as server, closing(smtplib.SMTP(server.host, server.port)) as client:
        client.starttls(context=client_tls)
        client.noop()
        assert server.say_unasked("421 4.3.2 Shutting down", close=True) == 1
        assert client.noop()[0] == 421


def test_drop_all_closes_without_a_word() -> None:
    with serving() as t:
        t.peer.ask()
        t.server.drop_all()
        assert t.peer.rest() == b""
        assert t.server.sessions[0].ended == "dropped"


def test_drop_all_may_reset() -> None:
    with serving() as t:
        t.peer.ask()
        t.server.drop_all("rst")
        with pytest.raises(ConnectionResetError):
            t.peer.rest()


# -- its life


@pytest.mark.parametrize(
    "script",
    [
        {},
        {"CONNECT": Silence()},
        {"CONNECT": Silence(reading=False)},
        {"CONNECT": Delay(60)},
        {"CONNECT": Flood(b"x" * 65536)},
        {"CONNECT": Flood(b"x", every=60)},
        {"CONNECT": Cut("half")},
        {"CONNECT": "220 " + "x" * 4_000_000},
        {"TLS": Silence()},
    ],
)
def test_stop_is_prompt_and_leaves_no_thread(script: Script, server_tls: ssl.SSLContext) -> None:
    before = set(threading.enumerate())
    with ScriptedServer(script, tls=server_tls, implicit_tls="TLS" in script) as server, peer(server):
        while not server.sessions:
            time.sleep(0.001)
        time.sleep(0.02)
        begun = time.monotonic()
        server.stop()
        assert time.monotonic() - begun < 30  # 0.01 on a quiet machine
        assert set(threading.enumerate()) == before
        assert server.sessions[0].ended
        server.stop()
    assert server.errors == ()


def test_a_server_can_come_back_on_the_same_port() -> None:
    with ScriptedServer() as first:
        send(first)
    with pytest.raises(ConnectionRefusedError):
        send(first)
    with ScriptedServer(port=first.port) as second:
        send(second)
    assert (first.copies(ADA), second.copies(ADA)) == (1, 1)


def test_many_clients_at_once_are_all_served() -> None:
    with ScriptedServer() as server:
        clients = [threading.Thread(target=send, args=(server, f"{n}@example.com")) for n in range(50)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
    assert len(server.messages) == len(server.sessions) == 50
    assert server.errors == ()


def test_a_bug_in_a_session_is_kept_and_harms_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    with ScriptedServer() as server:
        monkeypatch.setattr(server, "_took", lambda message: 1 / 0)
        with pytest.raises(smtplib.SMTPServerDisconnected):
            send(server)
        monkeypatch.undo()
        send(server)
    assert [type(error) for error in server.errors] == [ZeroDivisionError]


def test_a_refusing_port_refuses() -> None:
    with refusing_port() as port, pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=1)


def test_a_deaf_port_neither_connects_nor_refuses() -> None:
    with deaf_port() as port, pytest.raises(TimeoutError):
        socket.create_connection(("127.0.0.1", port), timeout=0.2)


@pytest.mark.parametrize(
    "module", ["", *(f".{name}" for _, name, _ in pkgutil.iter_modules(bouncekit.testing.__path__))]
)
def test_the_examples_in_the_docstrings_are_true(module: str) -> None:
    assert doctest.testmod(importlib.import_module(f"bouncekit.testing{module}")).failed == 0


def test_all_public_names_are_there() -> None:
    assert all(hasattr(bouncekit.testing, name) for name in bouncekit.testing.__all__)
