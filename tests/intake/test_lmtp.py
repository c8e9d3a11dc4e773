"""The LMTP server on real sockets: 250 behind the commit, 451 where it cannot be, and nobody can hold it up."""

import logging
import os
import smtplib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from bouncekit.clients.smtp import LMTP
from bouncekit.intake import lmtp
from bouncekit.intake.aside import Aside
from bouncekit.intake.listening import read_place
from bouncekit.intake.lmtp import LmtpServer
from bouncekit.words.errors import ConfigurationError, StoreError

from .conftest import Absorber, mail, raising

Serve = Callable[..., LmtpServer]
PATH = "bounce+01ab@example.org"


@pytest.fixture
def serve(absorb: Absorber, tmp_path: Path) -> Iterator[Serve]:
    with ExitStack() as stack:

        def start(place: str = "127.0.0.1:0", **options: int) -> LmtpServer:
            return stack.enter_context(LmtpServer(read_place(place), absorb, Aside(tmp_path / "aside"), **options))

        yield start


def connected(server: LmtpServer) -> socket.socket:
    place = server.place
    if place.path is None:
        return socket.create_connection((place.host, place.port), timeout=10)
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(10)
    sock.connect(os.fspath(place.path))
    return sock


class Talk:
    """A client that says what it likes and reads one reply for each line."""

    def __init__(self, server: LmtpServer) -> None:
        self.sock = connected(server)
        self._file = self.sock.makefile("rb")
        self.greeting = self.read()

    def __enter__(self) -> "Talk":
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()
        self.sock.close()

    def read(self) -> str:
        """The last line of the next reply; "" where the server has closed."""
        while (line := self._file.readline()) and line[3:4] == b"-":
            pass
        return line.decode().rstrip("\r\n")

    def say(self, *lines: str) -> str:
        """The reply to the last of some lines."""
        for line in lines:
            self.sock.sendall(line.encode() + b"\r\n")
            reply = self.read()
        return reply

    def begin(self, *recipients: str) -> None:
        assert self.say("LHLO x", "MAIL FROM:<>", *(f"RCPT TO:<{one}>" for one in recipients), "DATA")[:3] == "354"


@pytest.mark.parametrize("kind", ["inet", "unix"])
def test_each_recipient_is_an_address_that_the_mail_was_sent_to(
    serve: Serve, absorb: Absorber, kind: str, tmp_path: Path
) -> None:
    server = serve("127.0.0.1:0" if kind == "inet" else f"unix:{tmp_path / 'sock'}")
    host, port = (server.place.host, server.place.port) if kind == "inet" else (str(server.place.path), 0)
    with LMTP(host, port) as client:
        client.sendmail("", [PATH, "other@example.org"], mail("1") + b".dot\r\n")
        client.sendmail("", [PATH], b".\r\n" + mail("2"))
    assert absorb.taken[:2] == [(mail("1") + b".dot\r\n", PATH), (mail("1") + b".dot\r\n", "other@example.org")]
    assert absorb.taken[2] == (b".\r\n" + mail("2"), PATH)


def test_there_is_no_reply_before_the_mail_was_remembered(serve: Serve, absorb: Absorber) -> None:
    may_go, asked = threading.Event(), threading.Event()
    absorb.trouble = lambda content: asked.set() or (may_go.wait(10) and None)
    with Talk(serve()) as talk:
        talk.begin(PATH)
        talk.sock.sendall(mail("1") + b".\r\n")
        assert asked.wait(10)
        talk.sock.settimeout(0.2)
        with pytest.raises(TimeoutError):
            talk.sock.recv(1)
        may_go.set()
        talk.sock.settimeout(10)
        assert talk.sock.recv(100) == b"250 2.0.0 Remembered\r\n"


@pytest.mark.parametrize("error", [StoreError("locked"), OSError(28, "No space left on device")])
def test_what_cannot_be_remembered_is_451_and_counts_when_it_comes_again(
    serve: Serve, absorb: Absorber, error: Exception
) -> None:
    absorb.trouble = raising(error, at="1")
    with Talk(serve()) as talk:
        talk.begin(PATH, PATH)
        assert talk.say(mail("1").decode() + ".")[:9] == "451 4.3.0"
        assert talk.read()[:9] == "451 4.3.0"
        absorb.trouble = lambda content: None
        talk.begin(PATH)
        assert talk.say(mail("1").decode() + ".")[:9] == "250 2.0.0"
    assert absorb.subjects == ["1"]


def test_an_error_of_ours_sets_the_mail_aside_and_takes_it(serve: Serve, absorb: Absorber, tmp_path: Path) -> None:
    absorb.trouble = raising(ZeroDivisionError("ours"), at="1")
    server = serve()
    with Talk(server) as talk:
        talk.begin(PATH)
        assert talk.say(mail("1").decode() + ".")[:9] == "250 2.0.0"
    assert [path.read_bytes() for path in (tmp_path / "aside").iterdir()] == [mail("1")]
    assert server.set_aside == 1


def test_what_cannot_even_be_set_aside_stays_with_the_client(serve: Serve, absorb: Absorber, tmp_path: Path) -> None:
    absorb.trouble = raising(ZeroDivisionError("ours"), at="1")
    (tmp_path / "aside").touch()
    with Talk(serve()) as talk:
        talk.begin(PATH)
        assert talk.say(mail("1").decode() + ".")[:9] == "451 4.3.0"


def test_commands_may_come_all_at_once(serve: Serve, absorb: Absorber) -> None:
    with Talk(serve()) as talk:
        one = f"MAIL FROM:<>\r\nRCPT TO:<{PATH}>\r\nDATA\r\n".encode() + mail("1") + b".\r\n"
        talk.sock.sendall(b"LHLO x\r\n" + one + one + b"QUIT\r\n")
        replies = []
        while reply := talk.read():
            replies.append(reply[:3])
    assert replies == ["250", *["250", "250", "354", "250"] * 2, "221"]
    assert absorb.subjects == ["1", "1"]


def test_only_crlf_dot_crlf_ends_a_mail(serve: Serve, absorb: Absorber) -> None:
    smuggled = b"Subject: 1\r\n\r\nx\n.\nMAIL FROM:<>\r\n\n.\r\n\r.\r\r\n..\r\n"
    with Talk(serve()) as talk:
        talk.begin(PATH)
        talk.sock.sendall(smuggled + b".\r\n")
        assert talk.read()[:3] == "250"
    assert absorb.taken[0][0] == smuggled.replace(b"\r\n..", b"\r\n.")


def test_a_mail_that_is_too_long_is_refused_and_the_session_goes_on(
    serve: Serve, absorb: Absorber, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lmtp, "MAX_MAIL_BYTES", 1000)
    with Talk(serve()) as talk:
        talk.begin(PATH)
        talk.sock.sendall(b"x" * 300_000 + b"\r\n" + b"y" * 300_000 + b"\r\n.\r\n")
        assert talk.read()[:9] == "552 5.3.4"
        talk.begin(PATH)
        assert talk.say(mail("2").decode() + ".")[:9] == "250 2.0.0"
    assert absorb.subjects == ["2"]


def test_big_mails_wait_for_each_other(serve: Serve, absorb: Absorber, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lmtp, "_BIG_BYTES", 1000)
    monkeypatch.setattr(lmtp, "_MAX_BIG", 1)
    server = serve()
    with Talk(server) as first, Talk(server) as second, Talk(server) as small:
        for one in (first, second, small):
            one.begin(PATH)
        first.sock.sendall(b"x" * 100_000)
        while server._big.acquire(blocking=False):  # until it has been read
            server._big.release()
            time.sleep(0.01)
        second.sock.sendall(mail("2") + b"x" * 2000 + b"\r\n.\r\n")
        assert small.say(mail("small").decode() + ".")[:3] == "250"
        first.sock.sendall(b"\r\n.\r\n")
        assert (first.read()[:3], second.read()[:3]) == ("250", "250")
        first.begin(PATH)
        first.sock.sendall(b"x" * 100_000)
    with Talk(server) as third:
        third.begin(PATH)
        assert third.say("y" * 2000 + "\r\n.")[:3] == "250", "who has gone holds nothing"


def test_a_line_without_an_end_ends_the_session(serve: Serve) -> None:
    with Talk(serve()) as talk:
        talk.sock.sendall(b"x" * 10_000)
        assert talk.read() == "500 5.5.2 Line too long"
        assert talk.read() == ""


@pytest.mark.parametrize("in_a_mail", [False, True])
def test_who_says_nothing_or_drips_is_sent_away_in_time(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, in_a_mail: bool
) -> None:
    with Talk(serve()) as talk:
        monkeypatch.setattr(lmtp, "DATA_SECONDS", 0.3)
        if in_a_mail:
            talk.begin(PATH)
            talk.sock.sendall(b"x")
        else:
            monkeypatch.setattr(lmtp, "COMMAND_SECONDS", 0.3)
            assert talk.say("NOOP")[:3] == "250"
        assert talk.read()[:9] == "421 4.4.2"
        assert talk.read() == ""


def test_connections_are_bounded(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lmtp, "MAX_SESSIONS", 2)
    server = serve()
    with Talk(server), Talk(server) as second:
        with Talk(server) as third:
            assert third.greeting[:9] == "421 4.3.2"
        assert second.say("QUIT")[:3] == "221"
        assert second.read() == ""
        with Talk(server) as fourth:
            assert fourth.greeting[:3] == "220"


def test_a_stop_lets_the_mail_under_way_be_answered_and_tells_the_others(serve: Serve, absorb: Absorber) -> None:
    may_go, asked = threading.Event(), threading.Event()
    absorb.trouble = lambda content: asked.set() or (may_go.wait(10) and None)
    server = serve()
    with Talk(server) as busy, Talk(server) as idle, Talk(server) as half:
        busy.begin(PATH)
        busy.sock.sendall(mail("1") + b".\r\n")
        half.begin(PATH)
        half.sock.sendall(b"Subject: half")
        assert asked.wait(10)
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        assert idle.read()[:9] == "421 4.3.2"
        assert half.read()[:9] == "421 4.3.2"
        may_go.set()
        assert busy.read() == "250 2.0.0 Remembered"
        assert busy.read()[:9] == "421 4.3.2"
        stopping.join(10)
        assert not stopping.is_alive()
    assert absorb.subjects == ["1"]
    with pytest.raises(ConnectionRefusedError):
        connected(server)


def test_a_client_that_goes_away_harms_nobody(serve: Serve, absorb: Absorber, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    server = serve()
    with Talk(server) as talk:
        talk.begin(PATH)
        talk.sock.sendall(mail("1"))
    with Talk(server) as talk:
        assert talk.say("QUIT")[:3] == "221"
    assert absorb.taken == []
    assert not caplog.records


def test_a_unix_socket_has_its_rights_and_is_gone_behind_the_stop(serve: Serve, tmp_path: Path) -> None:
    server = serve(f"unix:{tmp_path / 'sock'}", mode=0o600)
    assert (tmp_path / "sock").stat().st_mode & 0o777 == 0o600
    with pytest.raises(ConfigurationError, match="somebody listens there already"):
        serve(f"unix:{tmp_path / 'sock'}")
    server.stop()
    assert not (tmp_path / "sock").exists()


def test_a_socket_that_a_killed_server_left_is_taken_over_and_a_file_is_not(serve: Serve, tmp_path: Path) -> None:
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(tmp_path / "sock"))
    left.close()
    with Talk(serve(f"unix:{tmp_path / 'sock'}")) as talk:
        assert talk.greeting[:3] == "220"
    (tmp_path / "file").write_text("precious")
    with pytest.raises(ConfigurationError, match="something else than a socket"):
        serve(f"unix:{tmp_path / 'file'}")
    assert (tmp_path / "file").read_text() == "precious"


def test_smtplib_s_own_client_is_served_too(serve: Serve, absorb: Absorber) -> None:
    place = serve().place
    with smtplib.LMTP(place.host, place.port, local_hostname="client") as client:
        assert client.sendmail("", [PATH], mail("1")) == {}
    assert absorb.taken == [(mail("1"), PATH)]
