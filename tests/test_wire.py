"""A transaction over real sockets: deadlines, cuts, and that server and client never disagree on what was taken."""

import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Protocol

import pytest
import trustme

from bouncekit.protocol import conversation
from bouncekit.protocol.conversation import DEADLINES, carry
from bouncekit.protocol.transaction import GROUP_SIZE, Body, Command, Commands, Dot, NotSent, Transacted, transaction
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
)
from bouncekit.transports.blocking import Wire
from bouncekit.words.address import parse_address
from bouncekit.words.envelope import Envelope
from bouncekit.words.reply import Cause, NoReply, Reply, ReplyReader, Stage
from bouncekit.words.status import Action, RecipientStatus

from .wires import AwaitedWire

ME, BAD, ADA, BOB, CY = (f"{name}@example.com" for name in ("me", "bad", "ada", "bob", "cy"))
SMALL = b"Subject: Hi\r\n\r\nHello\r\n"
LARGE = b"Subject: Hi\r\n\r\n" + (b"x" * 70 + b"\r\n.dot\r\n") * 13_000  # above what the buffers between us hold
SHORT = 0.25  # seconds of patience where nothing comes at all
BRIEF = 1.0  # where something should have come before the silence, and a busy machine needs its time for that
LONG = 30.0  # where an answer comes
DELIVERED, DELAYED, FAILED, UNKNOWN = Action.DELIVERED, Action.DELAYED, Action.FAILED, Action.UNKNOWN


def envelope(*recipients: str, content: bytes = SMALL) -> Envelope:
    return Envelope(sender=parse_address(ME), recipients=tuple(map(parse_address, recipients)), content=content)


def line(stage: Stage, text: str) -> Commands:
    return Commands((Command(stage, text.encode() + b"\r\n"),))


@contextmanager
def pair(timeout: float | None = LONG) -> Iterator[tuple[Wire, socket.socket]]:
    """A wire and its other end."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(timeout)
        yield Wire(ours, ReplyReader()), theirs


class Dial(Protocol):
    """Opens a line to a server, in a block."""

    def __call__(
        self,
        server: ScriptedServer,
        *,
        tls: ssl.SSLContext | None = None,
        timeout: float | None = LONG,
        lmtp: bool = False,
    ) -> AbstractContextManager[Wire]: ...


def _blocking(server: ScriptedServer, tls: ssl.SSLContext | None) -> tuple[Wire, AbstractContextManager[object]]:
    sock = socket.create_connection((server.host, server.port), timeout=LONG)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if tls is not None:
        sock = tls.wrap_socket(sock, server_hostname="localhost")
    return Wire(sock, ReplyReader()), sock


def _on_a_loop(server: ScriptedServer, tls: ssl.SSLContext | None) -> tuple[Wire, AbstractContextManager[object]]:
    wire = AwaitedWire("localhost" if tls else server.host, server.port, tls)
    wire.shrink()
    return wire, wire  # type: ignore[return-value]


@pytest.fixture(params=[_blocking, _on_a_loop])
def dialled(request: pytest.FixtureRequest) -> Dial:
    """Opens lines, greeted. Our buffer is small, so that a server that does not read is soon felt."""

    @contextmanager
    def dial(
        server: ScriptedServer, *, tls: ssl.SSLContext | None = None, timeout: float | None = LONG, lmtp: bool = False
    ) -> Iterator[Wire]:
        wire, closing = request.param(server, tls)
        with closing:
            assert isinstance(wire.read_reply(Stage.CONNECT), Reply)
            assert isinstance(wire.exchange(line(Stage.EHLO, f"{'LHLO' if lmtp else 'EHLO'} test"))[0], Reply)
            wire.sock.settimeout(timeout)
            yield wire

    return dial


def send(wire: Wire, *recipients: str, content: bytes = SMALL, lmtp: bool = False, group_size: int = 1) -> Transacted:
    steps = transaction(envelope(*recipients, content=content), {"size": ""}, lmtp=lmtp, group_size=group_size)
    return wire.run(carry(steps, wire.line))


def until_it_speaks(wire: Wire) -> None:
    """Wait until what the server said, or its FIN, is here."""
    assert select.select([wire.sock], [], [], LONG)[0]


def up_to_the_body(wire: Wire) -> None:
    for stage, text in (
        (Stage.MAIL, f"MAIL FROM:<{ME}>"),
        (Stage.RCPT, f"RCPT TO:<{ADA}>"),
        (Stage.DATA, "DATA"),
    ):
        (answer,) = wire.exchange(line(stage, text))
        assert isinstance(answer, Reply)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    return context


@pytest.fixture(scope="module")
def client_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


# -- one reply


def test_a_reply_is_read_whole_and_what_lies_behind_it_is_kept() -> None:
    with pair() as (wire, server):
        server.sendall(b"250-a\r\n250 b\r\n550 c\r\n")
        assert wire.read_reply(Stage.EHLO) == Reply(250, b"a\nb")
        assert not wire.reader.is_clean
        assert wire.read_reply(Stage.RCPT) == Reply(550, b"c")
        assert wire.reader.is_clean


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        (b"", Cause.LOST),
        (b"25", Cause.LOST),
        (b"250-a\r\n", Cause.LOST),
        (b"250 a\r", Cause.LOST),
        (b"garbage\r\n", Cause.PROTOCOL),
        (b"garbage", Cause.LOST),
        (b"x" * 70_000, Cause.PROTOCOL),
    ],
)
def test_what_ends_without_a_reply_is_no_reply_with_its_cause(said: bytes, cause: Cause) -> None:
    with pair() as (wire, server):
        server.sendall(said)
        server.shutdown(socket.SHUT_WR)
        answer = wire.read_reply(Stage.RCPT)
        assert isinstance(answer, NoReply)
        assert answer.cause is cause


def test_a_reset_is_a_lost_reply(dialled: Dial) -> None:
    with ScriptedServer({"NOOP": Cut("rst")}) as server, dialled(server) as wire:
        (answer,) = wire.exchange(line(Stage.IDLE, "NOOP"))
    assert isinstance(answer, NoReply)
    assert answer.cause is Cause.LOST


def test_a_socket_that_was_closed_on_our_side_is_a_lost_connection() -> None:
    with pair() as (wire, _):
        wire.sock.close()
        assert not wire.is_silent()
        (answer,) = wire.exchange(line(Stage.MAIL, "MAIL FROM:<>"))
        assert isinstance(answer, NotSent)
        assert answer.cause is Cause.LOST
        late = wire.read_reply(Stage.MAIL)
        assert isinstance(late, NoReply)
        assert late.cause is Cause.LOST


DRIP = Flood(b"x", first=b"250 ", every=0.02)


@pytest.mark.parametrize("drip", [DRIP, Flood(b"250-x\r\n", every=0.02), Drip("250 " + "x" * 4_000, every=0.02)])
@pytest.mark.parametrize("bound", ["argument", "socket", "stage"])
def test_the_deadline_is_for_the_whole_reply_however_it_drips(
    dialled: Dial, drip: Answer, bound: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(DEADLINES, Stage.RCPT, SHORT if bound == "stage" else 60.0)
    with (
        ScriptedServer({"NOOP": drip}) as server,
        dialled(server, timeout=SHORT if bound == "socket" else None) as wire,
    ):
        wire.sock.sendall(b"NOOP\r\n")
        start = time.monotonic()
        answer = wire.read_reply(Stage.RCPT, deadline=SHORT if bound == "argument" else None)
        took = time.monotonic() - start
    assert answer == NoReply(Cause.TIMED_OUT, "no whole reply to RCPT within 0.25 s")
    assert SHORT <= took < LONG


def test_a_flood_ends_at_the_bound_and_not_at_the_deadline(dialled: Dial) -> None:
    for chunk in (b"x" * 8192, b"250-x\r\n" * 100):
        with ScriptedServer({"NOOP": Flood(chunk, first=b"250-")}) as server, dialled(server) as wire:
            wire.sock.sendall(b"NOOP\r\n")
            answer = wire.read_reply(Stage.RCPT, deadline=60.0)
            assert isinstance(answer, NoReply)
            assert answer.cause is Cause.PROTOCOL


def nothing(wire: Wire, server: socket.socket) -> None:
    wire.read_reply(Stage.RCPT, deadline=0.05)


def reply(wire: Wire, server: socket.socket) -> None:
    server.sendall(b"250 Ok\r\n")
    wire.read_reply(Stage.RCPT, deadline=3.0)


def closed(wire: Wire, server: socket.socket) -> None:
    server.close()
    wire.read_reply(Stage.RCPT, deadline=3.0)


def spoken(wire: Wire, server: socket.socket) -> None:
    server.sendall(b"421 Bye\r\n")
    assert not wire.is_silent()
    wire.unasked()


def half_spoken(wire: Wire, server: socket.socket) -> None:
    server.sendall(b"42")
    assert not wire.is_silent()
    wire.unasked()


def silent(wire: Wire, server: socket.socket) -> None:
    assert wire.is_silent()


def written(wire: Wire, server: socket.socket) -> None:
    assert wire.write(Body(SMALL)) == ()


def not_written(wire: Wire, server: socket.socket) -> None:
    server.close()
    wire.write(Body(LARGE))


@pytest.mark.parametrize("timeout", [None, 4.0])
@pytest.mark.parametrize("use", [nothing, reply, closed, spoken, half_spoken, silent, written, not_written])
def test_the_socket_gets_its_own_time_out_back(
    use: Callable[[Wire, socket.socket], None], timeout: float | None
) -> None:
    with pair(timeout) as (wire, server):
        use(wire, server)
        assert wire.sock.gettimeout() == timeout


# -- silence


def test_a_server_that_says_nothing_is_silent_and_one_that_speaks_or_hangs_up_is_not() -> None:
    with pair() as (wire, server):
        assert wire.is_silent()
        assert wire.is_silent()
        server.sendall(b"2")
        assert not wire.is_silent()
        assert not wire.is_silent()
    with pair() as (wire, server):
        server.shutdown(socket.SHUT_WR)
        assert not wire.is_silent()
        assert wire.unasked() == NotSent(Cause.LOST, "the connection had been closed")
    with pair() as (wire, server):
        server.sendall(b"250 a\r\n250 b\r\n")
        wire.read_reply(Stage.RCPT)
        assert not wire.is_silent()


def test_an_unasked_reply_is_told_with_its_words() -> None:
    with pair() as (wire, server):
        server.sendall(b"421-4.3.2 a\r\n421 4.3.2 b\r\n")
        assert not wire.is_silent()
        said = Reply(421, b"4.3.2 a\n4.3.2 b")
        assert wire.unasked() == NotSent(
            Cause.UNSOLICITED, "the server spoke before it was asked: 421 4.3.2 a\n4.3.2 b", said
        )


def test_an_unasked_line_that_drips_is_not_waited_for() -> None:
    stop = threading.Event()

    def drip(server: socket.socket) -> None:
        while not stop.wait(0.05):
            server.sendall(b"4")

    with pair() as (wire, server):
        server.sendall(b"4")
        thread = threading.Thread(target=drip, args=(server,))
        thread.start()
        try:
            assert not wire.is_silent()
            start = time.monotonic()
            answer = wire.unasked()
            took = time.monotonic() - start
        finally:
            stop.set()
            thread.join()
    assert answer.cause is Cause.TIMED_OUT
    assert took < LONG


def test_an_unasked_line_that_is_no_reply_is_a_protocol_error() -> None:
    with pair() as (wire, server):
        server.sendall(b"\x00\xff\r\n")
        assert not wire.is_silent()
        assert wire.unasked().cause is Cause.PROTOCOL


@contextmanager
def tls_pair(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> Iterator[tuple[Wire, ssl.SSLSocket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        far: list[ssl.SSLSocket] = []
        shaking = threading.Thread(target=lambda: far.append(server_tls.wrap_socket(theirs, server_side=True)))
        shaking.start()
        with client_tls.wrap_socket(ours, server_hostname="localhost") as near:
            shaking.join()
            near.settimeout(LONG)
            with far[0]:
                yield Wire(near, ReplyReader()), far[0]


def test_tls_session_tickets_are_not_taken_for_talk(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    with tls_pair(server_tls, client_tls) as (wire, server):
        assert wire.sock.version() == "TLSv1.3"  # type: ignore[attr-defined]
        assert select.select([wire.sock], [], [], LONG)[0]  # the tickets are here
        assert wire.is_silent()
        assert wire.reader.is_clean
        assert wire.sock.gettimeout() == LONG
        server.sendall(b"421 4.3.2 Bye\r\n")
        until_it_speaks(wire)
        assert not wire.is_silent()
        assert wire.unasked().reply == Reply(421, b"4.3.2 Bye")


def test_bytes_that_tls_has_decrypted_already_are_seen(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    with tls_pair(server_tls, client_tls) as (wire, server):
        server.sendall(b"250 a\r\n")
        assert wire.sock.recv(1) == b"2"
        assert wire.sock.pending() > 0  # type: ignore[attr-defined]
        assert not wire.is_silent()


# -- spoken before it was asked


@pytest.mark.parametrize("said", ["421 4.4.2 Timeout", "221 2.0.0 Bye"])
def test_an_unasked_close_before_mail_is_noticed_before_a_byte_goes_out(dialled: Dial, said: str) -> None:
    with ScriptedServer() as server, dialled(server) as wire:
        server.say_unasked(said, close=True)
        until_it_speaks(wire)
        transacted = send(wire, ADA)
        assert server.wait_closed()
        assert server.sessions[0].commands == ("EHLO test",)
    (status,) = transacted.statuses
    assert (status.action, status.stage, status.code) == (DELAYED, Stage.IDLE, int(said[:3]))
    assert transacted.must_close


def test_a_silent_close_before_mail_is_noticed_before_a_byte_goes_out(dialled: Dial) -> None:
    with ScriptedServer() as server, dialled(server) as wire:
        server.drop_all("fin")
        until_it_speaks(wire)
        transacted = send(wire, ADA)
    assert transacted.statuses[0].stage is Stage.IDLE
    assert transacted.ended == (Stage.IDLE, NotSent(Cause.LOST, "the connection had been closed"))


def test_a_stray_reply_before_rcpt_is_never_taken_for_its_answer(dialled: Dial) -> None:
    with ScriptedServer({"RCPT": {BAD: "550 5.1.1 No"}}) as server, dialled(server) as wire:
        wire.exchange(line(Stage.MAIL, f"MAIL FROM:<{ME}>"))
        server.say_unasked("250 2.0.0 stray")
        until_it_speaks(wire)
        (answer,) = wire.exchange(line(Stage.RCPT, f"RCPT TO:<{BAD}>"))
        assert server.sessions[0].commands == ("EHLO test", f"MAIL FROM:<{ME}>")
    assert isinstance(answer, NotSent)
    assert answer.reply == Reply(250, b"2.0.0 stray")


@pytest.mark.parametrize("said", ["421 4.3.2 Bye", "221 2.0.0 Bye", "250 2.0.0 early", "554 5.7.1 No"])
def test_what_is_said_before_the_dot_keeps_the_dot_back(dialled: Dial, said: str) -> None:
    with ScriptedServer() as server, dialled(server) as wire:
        up_to_the_body(wire)
        assert wire.write(Body(SMALL)) == ()
        server.say_unasked(said, close=said[0] != "5")
        until_it_speaks(wire)
        (answer,) = wire.finish(Dot())
        wire.sock.close()
        assert server.wait_closed()
        assert server.messages == ()
        assert b"\r\n.\r\n" not in server.sessions[0].raw
    assert isinstance(answer, NotSent)
    assert answer.reply is not None
    assert answer.reply.code == int(said[:3])


@pytest.mark.parametrize("how", ["fin", "rst"])
def test_a_cut_before_the_dot_keeps_the_dot_back_for_every_recipient(dialled: Dial, how: str) -> None:
    with ScriptedServer({"BODY": After(len(SMALL), Cut(how))}) as server, dialled(server) as wire:  # type: ignore[arg-type]
        up_to_the_body(wire)
        assert wire.write(Body(SMALL)) == ()
        until_it_speaks(wire)
        answers = wire.finish(Dot(3))
        assert server.messages == ()
    assert len(answers) == 3
    assert all(isinstance(answer, NotSent) and answer.cause is Cause.LOST for answer in answers)


# -- the body


def test_a_large_body_reaches_a_slow_reader_whole(
    dialled: Dial, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    script: Script = {"BODY": SlowRead(size=50_000, every=0.002)}
    for tls in (None, client_tls):
        with (
            ScriptedServer(script, tls=tls and server_tls, implicit_tls=tls is not None) as server,
            dialled(server, tls=tls) as wire,
        ):
            transacted = send(wire, ADA, content=LARGE)
            assert transacted.statuses[0].action is DELIVERED
            assert server.messages[0].data == LARGE


@pytest.mark.parametrize("own", [SHORT, None])
def test_a_server_that_stops_reading_is_given_up_before_the_dot(
    dialled: Dial, own: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversation, "BLOCK_SECONDS", SHORT)
    with ScriptedServer({"BODY": Silence(reading=False)}) as server, dialled(server, timeout=own) as wire:
        transacted = send(wire, ADA, content=LARGE)
        assert wire.sock.gettimeout() == own
        assert server.messages == ()
    assert transacted.ended == (Stage.DATA, NotSent(Cause.TIMED_OUT, "the server took no more bytes"))
    assert transacted.statuses[0].action is DELAYED


def test_when_a_write_fails_the_servers_last_words_are_read() -> None:
    with pair() as (wire, server):
        wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)

        def turn_away() -> None:
            select.select([server], [], [], LONG)  # in the midst of the first block, for which there is no room
            server.sendall(b"421 4.3.2 Bye\r\n")
            server.shutdown(socket.SHUT_RDWR)

        thread = threading.Thread(target=turn_away)
        thread.start()
        (broke,) = wire.write(Body(LARGE))
        thread.join()
    assert broke.reply == Reply(421, b"4.3.2 Bye")


def fill(sock: socket.socket) -> None:
    """Write until there is no room for one byte more."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    sock.settimeout(0.05)
    with suppress(TimeoutError):
        while sock.send(b"x" * 16_384):
            pass


def test_a_dot_that_could_not_be_written_was_not_sent_and_under_tls_nobody_knows(
    server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    with pair() as (wire, _):
        fill(wire.sock)
        (answer,) = wire.finish(Dot())
        assert isinstance(answer, NotSent)
        assert answer.cause is Cause.TIMED_OUT
    with tls_pair(server_tls, client_tls) as (wire, _):
        fill(wire.sock)
        (answer,) = wire.finish(Dot())
        assert type(answer) is NoReply
        assert answer.cause is Cause.LOST


@pytest.mark.parametrize("said", ["421 4.3.2 Bye", "552 5.3.4 Too big", "250 2.0.0 early"])
@pytest.mark.parametrize("closes", [False, True])
def test_what_is_said_in_the_body_stops_it_and_decides_nothing_final(dialled: Dial, said: str, *, closes: bool) -> None:
    answer: Answer = Closing(said) if closes else said
    with ScriptedServer({"BODY": After(100_000, answer)}) as server, dialled(server) as wire:
        transacted = send(wire, ADA, BOB, content=LARGE)
        wire.sock.close()
        assert server.wait_closed()
        assert server.messages == ()
        assert len(server.sessions[0].raw) < len(LARGE)
    assert {(status.action, status.stage) for status in transacted.statuses} == {(DELAYED, Stage.DATA)}
    assert transacted.must_close


def test_blocks_cut_nothing_and_double_no_dot(dialled: Dial) -> None:
    content = b".\r\n" + b"".join(b".%d\r\n" % number for number in range(40_000))
    with ScriptedServer() as server, dialled(server) as wire:
        send(wire, ADA, content=content)
        assert server.messages[0].data == content


# -- what was taken and what is told agree, wherever it is cut


FAULTS: dict[str, Answer] = {
    "fin": Cut("fin"),
    "rst": Cut("rst"),
    "half of a reply": Cut("fin", after=b"25"),
    "half of many lines": Cut("fin", after=b"250-a\r\n"),
    "silence": Silence(),
    "421": Closing("421 4.3.2 Bye"),
    "421 and open": "421 4.3.2 Bye",
    "221": Closing("221 2.0.0 Bye"),
    "451": "451 4.3.0 Not now",
    "554": "554 5.7.1 No",
    "554 and close": Closing("554 5.7.1 No"),
    "garbage": Raw(b"\x00\xff\r\n"),
    "http": Raw(b"HTTP/1.1 400 Bad Request\r\n"),
    "999": Raw(b"999 Ok\r\n"),
    "four digits": Raw(b"5500 No\r\n"),
    "two codes": Raw(b"250-a\r\n550 b\r\n"),
    "350": "350 Hm",
    "endless line": Flood(b"x" * 4096, first=b"250 "),
    "endless reply": Flood(b"250-x\r\n" * 50),
    "dripping": DRIP,
}
GOOD: dict[str, Answer] = {
    "bad UTF-8": Raw(b"250 2.0.0 \xff\xfe\x1b[2J\x00\r\n"),
    "code only": Raw(b"250\r\n"),
    "bare LF": Raw(b"250 Ok\n"),
    "long line": "250 " + "x" * 9000,
    "in packets": Drip("250-2.0.0 a\n250-b\n250 c", size=3, every=0.001),
    "slow": Delay(0.05, "250 2.0.0 Ok"),
    "251": "251 2.1.5 Forwarded",
    "252": "252 2.1.5 Maybe",
}
SILENT = {"silence", "dripping"}
NO_REPLY = set(FAULTS) - {"421", "421 and open", "221", "451", "554", "554 and close"}

STAGES = {"MAIL": Stage.MAIL, "RCPT": Stage.RCPT, "DATA": Stage.DATA, "END_OF_DATA": Stage.END_OF_DATA}


@dataclass(frozen=True)
class Cell:
    """One fault at one stage, and what becomes of ada (accepted before it), of bob (where it strikes) and of cy."""

    stage: str
    fault: str
    answer: Answer
    ada: Action
    bob: Action
    cy: Action
    closes: bool

    def __str__(self) -> str:
        return f"{self.stage} {self.fault}"


def cells() -> Iterator[Cell]:
    for stage in STAGES:
        for fault, answer in FAULTS.items():
            action = DELAYED
            if fault in NO_REPLY | {"221"} and stage == "END_OF_DATA":
                action = UNKNOWN
            elif fault in {"554", "554 and close"}:
                action = FAILED
            closes = fault in NO_REPLY | {"421", "421 and open", "221"}
            if stage == "RCPT" and not closes:
                others = DELAYED if fault == "554 and close" else DELIVERED
                yield Cell(stage, fault, answer, others, action, others, fault == "554 and close")
            else:
                yield Cell(stage, fault, answer, action, action, action, closes or fault == "554 and close")
        for fault, answer in GOOD.items():
            if stage != "DATA":
                yield Cell(stage, fault, answer, DELIVERED, DELIVERED, DELIVERED, False)


def agree(server: ScriptedServer, statuses: tuple[RecipientStatus, ...]) -> None:
    """Delivered: kept exactly once. Delayed and failed: not kept. Unknown: either."""
    for status in statuses:
        copies = server.copies(status.recipient)
        match status.action:
            case Action.DELIVERED:
                assert copies == 1
            case Action.UNKNOWN:
                assert copies in (0, 1)
            case _:
                assert copies == 0


def scripted(cell: Cell) -> Script:
    refusal: dict[str, Answer] = {BAD: "550 5.1.1 No such user"}
    if cell.stage == "RCPT":
        return {"RCPT": {**refusal, BOB: cell.answer}}
    return {"RCPT": refusal, cell.stage: cell.answer}


@pytest.mark.parametrize("cell", tuple(cells()), ids=str)
@pytest.mark.parametrize("group_size", [1, GROUP_SIZE])
def test_client_and_server_agree_wherever_a_fault_strikes(
    dialled: Dial, cell: Cell, group_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if cell.fault in SILENT:
        monkeypatch.setitem(DEADLINES, STAGES[cell.stage], BRIEF)
    with ScriptedServer(scripted(cell)) as server, dialled(server, timeout=None) as wire:
        transacted = send(wire, ADA, BAD, BOB, CY, group_size=group_size)
        wire.sock.close()
        assert server.wait_closed()
        statuses = {status.recipient: status for status in transacted.statuses}
        agree(server, transacted.statuses)
        assert server.errors == ()
    assert [statuses[recipient].action for recipient in (ADA, BOB, CY)] == [cell.ada, cell.bob, cell.cy]
    is_void = cell.fault == "350" and cell.stage != "END_OF_DATA" and group_size > 1  # whose refusal it is, is open
    if (cell.stage == "MAIL" and cell.fault in FAULTS) or is_void:
        assert statuses[BAD].stage is Stage.MAIL
    else:  # a refusal once read is that recipient's result, whatever follows
        assert (statuses[BAD].action, statuses[BAD].code, statuses[BAD].individual) == (FAILED, 550, True)
    assert transacted.must_close is cell.closes
    if cell.fault in NO_REPLY:
        assert statuses[BOB].code is None


@pytest.mark.parametrize("kept", [Kept, Dropped])
@pytest.mark.parametrize("fault", sorted(NO_REPLY | {"221"}))
@pytest.mark.parametrize("over_tls", [False, True])
def test_behind_the_dot_a_missing_reply_is_unknown_whether_the_message_was_kept_or_not(
    dialled: Dial,
    fault: str,
    kept: Callable[[Answer], Answer],
    *,
    over_tls: bool,
    server_tls: ssl.SSLContext,
    client_tls: ssl.SSLContext,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if fault in SILENT:
        monkeypatch.setitem(DEADLINES, Stage.END_OF_DATA, BRIEF)  # by then the server has kept it or not
    script: Script = {"END_OF_DATA": kept(FAULTS[fault])}
    with (
        ScriptedServer(script, tls=server_tls if over_tls else None, implicit_tls=over_tls) as server,
        dialled(server, tls=client_tls if over_tls else None, timeout=None) as wire,
    ):
        transacted = send(wire, ADA)
        assert transacted.statuses[0].action is UNKNOWN
        assert transacted.must_close
        assert server.copies(ADA) == (kept is Kept)


@pytest.mark.parametrize("fault", ["fin", "rst", "half of a reply", "421", "554 and close", "221"])
@pytest.mark.parametrize("size", [1, 1_000, 300_000])
@pytest.mark.parametrize("over_tls", [False, True])
def test_a_cut_inside_the_body_leaves_nothing_at_the_server_and_everybody_delayed(
    dialled: Dial, fault: str, size: int, *, over_tls: bool, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    with (
        ScriptedServer(
            {"BODY": After(size, FAULTS[fault])}, tls=server_tls if over_tls else None, implicit_tls=over_tls
        ) as server,
        dialled(server, tls=client_tls if over_tls else None) as wire,
    ):
        transacted = send(wire, ADA, BOB, content=LARGE)
        wire.sock.close()
        assert server.wait_closed()
        assert server.messages == ()
    assert [status.action for status in transacted.statuses] == [DELAYED, DELAYED]
    assert {status.stage for status in transacted.statuses} == {Stage.DATA}
    assert transacted.must_close


@pytest.mark.parametrize("stage", ["MAIL", "RCPT", "DATA"])
@pytest.mark.parametrize("group_size", [1, GROUP_SIZE])
def test_an_extra_reply_in_the_same_packet_stops_the_transaction_before_the_dot(
    dialled: Dial, stage: str, group_size: int
) -> None:
    script: Script = {stage: Extra("250 2.0.0 extra"), "END_OF_DATA": "554 5.7.1 No"}
    with ScriptedServer(script) as server, dialled(server) as wire:
        transacted = send(wire, ADA, group_size=group_size)
        wire.sock.close()
        assert server.wait_closed()
        assert server.messages == ()
        assert b"\r\n.\r\n" not in server.sessions[0].raw
    assert transacted.statuses[0].action is DELAYED
    assert transacted.must_close


def test_an_extra_reply_behind_the_dot_changes_nothing_and_answers_no_next_message(dialled: Dial) -> None:
    with ScriptedServer({"END_OF_DATA": Extra("550 5.7.1 extra")}) as server, dialled(server) as wire:
        assert send(wire, ADA).statuses[0].action is DELIVERED
        second = send(wire, BOB)
        wire.sock.close()
        assert server.wait_closed()
        assert (server.copies(ADA), server.copies(BOB)) == (1, 0)
    (status,) = second.statuses
    assert (status.action, status.stage, status.code) == (DELAYED, Stage.IDLE, None)
    assert second.must_close


def test_a_refusal_that_an_extra_reply_has_moved_to_another_recipient_is_nobodys(dialled: Dial) -> None:
    script: Script = {"MAIL": Extra("250 2.0.0 extra"), "RCPT": {BAD: "550 5.1.1 No such user"}}
    for people in ([BAD, ADA], [ADA, BAD]):
        with ScriptedServer(script) as server, dialled(server) as wire:
            transacted = send(wire, *people, group_size=GROUP_SIZE)
            assert server.messages == ()
        assert {(status.action, status.individual) for status in transacted.statuses} == {(DELAYED, False)}
        assert transacted.lost_replies


@pytest.mark.parametrize(
    "script",
    [
        {"MAIL": ["452 4.3.1 Disk"]},
        {"RCPT": ["550 5.1.1 No"]},
        {"DATA": ["451 4.3.0 No"]},
        {"END_OF_DATA": ["554 5.7.1 No"]},
        {},
    ],
)
def test_after_a_refusal_the_connection_carries_the_next_message(dialled: Dial, script: Script) -> None:
    with ScriptedServer(script) as server, dialled(server) as wire:
        first = send(wire, ADA)
        second = send(wire, BOB)
        assert not first.must_close
        assert second.statuses[0].action is DELIVERED
        agree(server, first.statuses + second.statuses)


# -- LMTP, groups, listening in


def test_lmtp_reads_one_reply_for_each_accepted_recipient(dialled: Dial) -> None:
    script: Script = {"RCPT": {BAD: "550 5.1.1 No"}, "END_OF_DATA": {BOB: "552 5.2.2 Full"}}
    with ScriptedServer(script, lmtp=True) as server, dialled(server, lmtp=True) as wire:
        transacted = send(wire, ADA, BAD, BOB, CY, lmtp=True)
        assert [status.action for status in transacted.statuses] == [DELIVERED, FAILED, FAILED, DELIVERED]
        agree(server, transacted.statuses)
        again = send(wire, CY, lmtp=True)
        assert again.statuses[0].action is DELIVERED


@pytest.mark.parametrize("fault", ["fin", "rst", "silence", "garbage", "350"])
def test_in_lmtp_a_line_lost_between_the_replies_leaves_the_rest_unknown(
    dialled: Dial, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if fault in SILENT:
        monkeypatch.setitem(DEADLINES, Stage.END_OF_DATA, BRIEF)
    script: Script = {"END_OF_DATA": {BOB: Kept(FAULTS[fault])}}
    with ScriptedServer(script, lmtp=True) as server, dialled(server, lmtp=True, timeout=None) as wire:
        transacted = send(wire, ADA, BOB, CY, lmtp=True)
        assert [status.action for status in transacted.statuses] in (
            [DELIVERED, UNKNOWN, UNKNOWN],
            [UNKNOWN, UNKNOWN, UNKNOWN] if fault == "rst" else None,  # a reset may destroy what was said before it
        )
        agree(server, transacted.statuses)
        assert transacted.must_close


@dataclass
class Listener:
    said: list[bytes] = field(default_factory=list)
    answers: list[Reply | NoReply] = field(default_factory=list)

    def sent(self, data: bytes) -> None:
        self.said.append(data)

    def heard(self, answer: Reply | NoReply) -> None:
        self.answers.append(answer)


@pytest.mark.parametrize("lmtp", [False, True])
def test_after_a_reply_that_never_came_no_other_is_waited_for(dialled: Dial, *, lmtp: bool) -> None:
    script: Script = {"END_OF_DATA": Silence()} if lmtp else {"RCPT": {ADA: Silence()}}
    with ScriptedServer(script, lmtp=lmtp) as server, dialled(server, lmtp=lmtp, timeout=BRIEF) as wire:
        wire.line.tap = tap = Listener()
        transacted = send(wire, ADA, BOB, CY, lmtp=lmtp, group_size=99)
    assert len(transacted.statuses) == 3
    assert sum(isinstance(answer, NoReply) for answer in tap.answers) == 1


SCRIPTS: list[Script] = [
    {},
    {"RCPT": {BAD: "550 5.1.1 No", BOB: "452 4.2.2 Full"}},
    {"MAIL": "550 5.7.1 No"},
    {"RCPT": "550 5.1.1 No"},
    {"RCPT": {BOB: Closing("421 4.7.0 Bye")}},
    {"RCPT": {BOB: Raw(b"garbage\r\n")}},
    {"RCPT": {BAD: Closing("550 5.1.1 No")}},
    {"DATA": "451 4.3.0 No"},
    {"END_OF_DATA": "554 5.7.1 No"},
]


@pytest.mark.parametrize(
    ("script", "size", "chunks"),
    [
        *((script, size, False) for script in SCRIPTS for size in (2, GROUP_SIZE)),
        *((script, GROUP_SIZE, True) for script in SCRIPTS if "DATA" not in script),
    ],
)
def test_a_pipelined_group_gives_the_results_of_lock_step(
    dialled: Dial, script: Script, size: int, *, chunks: bool
) -> None:
    results = []
    for group_size in (1, size):
        with ScriptedServer(script, extensions=["CHUNKING"] if chunks else []) as server, dialled(server) as wire:
            steps = transaction(envelope(ADA, BAD, BOB, CY), {}, group_size=group_size, chunks=chunks)
            transacted = wire.run(carry(steps, wire.line))
            agree(server, transacted.statuses)
            assert not server.messages or server.messages[0].data == SMALL
            results.append([(s.action, s.stage, s.code, s.individual, s.accepted) for s in transacted.statuses])
    assert results[0] == results[1]


def answer_at_length(server: socket.socket, count: int) -> None:
    """Say 4 KB to each line, and read the next one only when that is out."""
    with server.makefile("rb") as lines:
        for _ in range(count):
            assert lines.readline()
            server.sendall(b"250 2.1.5 " + b"x" * 4000 + b"\r\n")


@pytest.mark.parametrize("over_tls", [False, True])
def test_a_group_above_what_the_buffers_hold_is_read_while_it_is_written(
    *, over_tls: bool, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    with tls_pair(server_tls, client_tls) if over_tls else pair() as (wire, server):
        for sock in (wire.sock, server):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        thread = threading.Thread(target=answer_at_length, args=(server, GROUP_SIZE), daemon=True)
        thread.start()
        answers = wire.exchange(Commands((Command(Stage.RCPT, b"rcpt to:<%s>\r\n" % (b"x" * 200)),) * GROUP_SIZE))
        thread.join(LONG)
        assert wire.sock.gettimeout() == LONG
    assert [answer.code for answer in answers if isinstance(answer, Reply)] == [250] * GROUP_SIZE


def test_a_server_that_answers_before_it_is_asked_is_not_believed() -> None:
    with pair() as (wire, server):
        fill(wire.sock)
        server.sendall(b"250 Ok\r\n" * 5)
        answers = wire.exchange(Commands((Command(Stage.MAIL, b"x" * 9000), Command(Stage.RCPT, b"y\r\n"))))
    assert all(isinstance(answer, NoReply) for answer in answers)


def test_replies_to_a_group_that_was_cut_in_the_midst_are_kept() -> None:
    with pair() as (wire, server):
        wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)

        def turn_away() -> None:
            select.select([server], [], [], LONG)
            server.sendall(b"250 Ok\r\n550 5.1.1 No\r\n")
            server.shutdown(socket.SHUT_RDWR)

        thread = threading.Thread(target=turn_away)
        thread.start()
        line = Command(Stage.RCPT, b"x" * 200_000)
        answers = wire.exchange(Commands((line,) * 4))
        thread.join()
    assert answers[:2] == [Reply(250, b"Ok"), Reply(550, b"5.1.1 No")]
    assert all(isinstance(answer, NoReply) and answer.cause is Cause.LOST for answer in answers[2:])


def test_a_tap_hears_both_sides_in_order(dialled: Dial) -> None:
    with ScriptedServer() as server, dialled(server) as wire:
        wire.line.tap = tap = Listener()
        send(wire, ADA)
    assert b"".join(tap.said) == (
        b"mail from:<me@example.com> size=%d\r\nrcpt to:<ada@example.com>\r\ndata\r\n" % len(SMALL) + SMALL + b".\r\n"
    )
    assert [answer.code for answer in tap.answers if isinstance(answer, Reply)] == [250, 250, 354, 250]
