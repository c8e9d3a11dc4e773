"""PIPELINING through a client: round trips, and what servers do to those who pipeline (RFC 2920)."""

import smtplib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from email.message import EmailMessage
from pathlib import Path
from typing import Protocol

import pytest
import trustme

from bouncekit import LMTP, SMTP, wrap
from bouncekit.clients.client import Client
from bouncekit.delivery.events import Event
from bouncekit.delivery.report import Report
from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.testing import Answer, Closing, Cut, Dropped, Forgetting, Kept, ScriptedServer, Silence, Usual
from bouncekit.words.reply import Cause, NoReply

from .conftest import message
from .wires import AwaitedClient

Serve = Callable[..., ScriptedServer]
SENDER = "shop@example.org"
BODY = "Subject: Hello\r\n\r\nGood day.\r\n"
PEOPLE = [f"user{number}@example.com" for number in range(100)]
BAD, ADA, BOB = "bad@example.com", "ada@example.com", "bob@example.com"
NO_SUCH_USER = "550 5.1.1 No such user"


class ClientOf(Protocol):
    """A client of a server, in a block."""

    def __call__(
        self, server: ScriptedServer, postmaster: Postmaster, **options: object
    ) -> AbstractContextManager[Client]: ...


@pytest.fixture(params=[Client, AwaitedClient])
def client_of(request: pytest.FixtureRequest) -> ClientOf:
    """Makes clients: what is said here of one holds for the other."""
    return lambda server, postmaster, **options: request.param(server.url, postmaster=postmaster, **options)


def actions(report: Report) -> list[str]:
    return [one.action.value for one in report.recipients]


def turns_of_a_message(server: ScriptedServer, send: Callable[[], object]) -> int:
    """The round trips of the second message, when the connection is there."""
    send()
    before = server.sessions[-1].turns
    send()
    return server.sessions[-1].turns - before


# -- round trips


@pytest.mark.parametrize("count", [1, 10, 100])
def test_a_message_takes_two_round_trips_however_many_it_is_for(
    client_of: ClientOf, serve: Serve, postmaster: Postmaster, count: int
) -> None:
    server = serve()
    with client_of(server, postmaster) as client:
        assert turns_of_a_message(server, lambda: client.sendmail(SENDER, PEOPLE[:count], BODY)) == 2
    assert server.copies(PEOPLE[count - 1]) == 2


@pytest.mark.parametrize(("settings", "options"), [({"extensions": ["SIZE"]}, {}), ({}, {"lock_step": True})])
def test_in_lock_step_it_takes_one_for_each_command(
    client_of: ClientOf, serve: Serve, postmaster: Postmaster, settings: dict[str, object], options: dict[str, object]
) -> None:
    server = serve(**settings)
    with client_of(server, postmaster, **options) as client:
        assert turns_of_a_message(server, lambda: client.sendmail(SENDER, PEOPLE[:10], BODY)) == 13


def test_a_line_that_could_not_be_opened_again_is_in_lock_step(serve: Serve, postmaster: Postmaster) -> None:
    server = serve()
    with SMTP(server.host, server.port) as plain:
        assert turns_of_a_message(server, lambda: plain.sendmail(SENDER, ADA, BODY)) == 4
        dressed = wrap(plain, postmaster)
        dressed._dialled = None
        assert turns_of_a_message(server, lambda: dressed.sendmail(SENDER, ADA, BODY)) == 4


def test_with_chunking_the_content_goes_by_bdat(client_of: ClientOf, serve: Serve, postmaster: Postmaster) -> None:
    server = serve(extensions=["PIPELINING", "CHUNKING"])
    with client_of(server, postmaster, chunking=True) as client:
        assert turns_of_a_message(server, lambda: client.sendmail(SENDER, [ADA, BOB], BODY)) == 2
    assert b"bdat " in server.sessions[0].raw
    assert b"data\r\n" not in server.sessions[0].raw
    assert server.copies(BOB) == 2


def test_in_lmtp_each_recipient_has_its_reply_behind_a_group_too(serve: Serve, postmaster: Postmaster) -> None:
    full = "552 5.2.2 Mailbox full"
    for chunking in (False, True):
        server = serve(
            {"RCPT": {BAD: NO_SUCH_USER}, "END_OF_DATA": {BOB: full}}, lmtp=True, extensions=["PIPELINING", "CHUNKING"]
        )
        with LMTP(server.host, server.port, postmaster=Postmaster(), chunking=chunking) as lmtp:
            assert actions(lmtp.sendmail(SENDER, [ADA, BAD, BOB], BODY)) == ["delivered", "failed", "failed"]


def test_nothing_is_pipelined_across_ehlo_starttls_and_auth(serve: Serve, postmaster: Postmaster) -> None:
    authority, server_tls = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    client_tls = ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(server_tls)
    authority.configure_trust(client_tls)
    server = serve(tls=server_tls, users={"jo": "secret"}, auth_needs_tls=True)
    url = f"smtp://jo:secret@{server.host}:{server.port}"
    with Client(url, postmaster=postmaster, tls_context=client_tls) as client:
        client.sendmail(SENDER, PEOPLE[:10], BODY)
    # EHLO, STARTTLS, the handshake, EHLO, AUTH, MAIL to DATA, the content, QUIT: behind each the client has waited.
    assert server.sessions[0].turns >= 7
    assert server.copies(PEOPLE[0]) == 1
    commands = [command.split(" ")[0].split(":")[0].upper() for command in server.sessions[0].commands]
    assert commands[: commands.index("MAIL")] == ["EHLO", "STARTTLS", "EHLO", "AUTH"]


# -- 1: a reset destroys replies that were under way


class Resetting:
    """A server that says 421 in the midst of its first group and closes with unread input, which resets the line."""

    def __init__(self, *, fails: int = 1) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.host, self.port = self._listener.getsockname()
        self._fails = fails
        self.groups: list[int] = []  # lines that came at once behind each EHLO
        self.taken: list[bytes] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Wake who waits for a line; left behind, he might take one of the next socket that has the number of this."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _run(self) -> None:
        while True:
            try:
                line, _ = self._listener.accept()
            except OSError:
                return
            with line:
                self._talk(line)

    def _talk(self, line: socket.socket) -> None:
        line.sendall(b"220 mx.test\r\n")
        line.recv(1000)
        line.sendall(b"250-mx.test\r\n250 PIPELINING\r\n")
        lines = 0
        while data := line.recv(65_536):
            lines = lines or data.count(b"\r\n")
            if len(self.groups) < self._fails:
                self.groups.append(lines)
                line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return
            for command in data.splitlines():
                if command.upper().startswith(b"DATA"):
                    line.sendall(b"354 Go\r\n")
                elif command == b".":
                    self.taken.append(command)
                    line.sendall(b"250 2.0.0 Taken\r\n")
                elif command[:4].upper() in (b"MAIL", b"RCPT", b"QUIT", b"RSET"):
                    line.sendall(b"250 2.0.0 Ok\r\n")
        self.groups.append(lines)


def test_behind_a_reset_in_a_group_all_are_asked_again_in_lock_step_and_the_host_is_remembered(
    postmaster: Postmaster,
) -> None:
    server = Resetting()
    with Client(f"smtp://{server.host}:{server.port}", postmaster=postmaster) as client:
        assert actions(client.sendmail(SENDER, [ADA, BOB], BODY)) == ["delivered", "delivered"]
        assert actions(client.sendmail(SENDER, [ADA, BOB], BODY)) == ["delivered", "delivered"]
    server.close()
    assert server.groups[0] == 4
    assert server.groups[1:] == [1] or server.groups[1:] == []
    assert len(server.taken) == 2
    assert postmaster.heard.types.count("closed") == 2  # type: ignore[attr-defined]
    assert postmaster.heard.types.count("reconnected") == 1  # type: ignore[attr-defined]


def test_what_a_reset_leaves_open_is_delayed_and_never_refused(
    client_of: ClientOf, serve: Serve, postmaster: Postmaster
) -> None:
    server = serve({"RCPT": {BOB: Cut("rst")}})
    with client_of(server, postmaster) as client, pytest.raises(OSError) as raised:
        client.sendmail(SENDER, [ADA, BOB], BODY)
    report = raised.value.report  # type: ignore[attr-defined]
    assert actions(report) == ["delayed", "delayed"]
    assert not any(one.possible_duplicate for one in report.recipients)
    assert all(isinstance(one.reply, NoReply) and one.reply.cause is Cause.LOST for one in report.recipients)
    assert server.messages == ()


# -- 2: errors cost time, and then the session


def test_a_session_is_given_up_before_its_tenth_error(
    client_of: ClientOf, serve: Serve, postmaster: Postmaster
) -> None:
    server = serve({"RCPT": NO_SUCH_USER})
    with client_of(server, postmaster) as client:
        for person in PEOPLE[:20]:
            with pytest.raises(OSError):
                client.sendmail(SENDER, person, BODY)
    refused = [sum(one.reply == NO_SUCH_USER for one in session.transcript) for session in server.sessions]
    assert refused == [9, 9, 2]


def test_a_delivery_makes_the_errors_before_it_forgotten(
    client_of: ClientOf, serve: Serve, postmaster: Postmaster
) -> None:
    server = serve({"RCPT": {ADA: "250 2.1.5 Ok", "*": NO_SUCH_USER}})
    with client_of(server, postmaster) as client:
        for number in range(4):
            assert (
                actions(client.sendmail(SENDER, [*PEOPLE[number * 8 : number * 8 + 8], ADA], BODY))[-1] == "delivered"
            )
    assert len(server.sessions) == 1


# -- 3: input that is thrown away behind an error


def test_a_server_that_forgets_what_stood_behind_an_error_is_asked_again_in_lock_step(
    client_of: ClientOf, serve: Serve, postmaster: Postmaster
) -> None:
    server = serve({"RCPT": {BAD: Forgetting(NO_SUCH_USER)}})
    with client_of(server, postmaster, timeout=2) as client:
        first = client.sendmail(SENDER, [ADA, BAD, BOB], BODY)
        again = client.sendmail(SENDER, [ADA, BOB], BODY)
    assert actions(first) == ["delivered", "failed", "delivered"]
    assert actions(again) == ["delivered", "delivered"]
    assert (server.copies(ADA), server.copies(BOB)) == (2, 2)
    assert len(server.sessions) == 2
    assert all(session.turns > 5 for session in server.sessions[1:])


def test_a_server_that_is_silent_to_a_group_and_to_single_commands_delays(
    client_of: ClientOf, serve: Serve, postmaster: Postmaster
) -> None:
    server = serve({"RCPT": {BOB: Silence()}})
    with client_of(server, postmaster, timeout=1.5) as client, pytest.raises(OSError) as raised:
        client.sendmail(SENDER, [ADA, BOB], BODY)
    assert actions(raised.value.report) == ["delayed", "delayed"]  # type: ignore[attr-defined]
    assert len(server.sessions) == 2


# -- 5: DATA is accepted though nobody is; MAIL is refused


def test_a_lone_dot_ends_data_that_nobody_gets(client_of: ClientOf, serve: Serve, postmaster: Postmaster) -> None:
    server = serve({"RCPT": {BAD: NO_SUCH_USER}})
    with client_of(server, postmaster) as client:
        with pytest.raises(OSError):
            client.sendmail(SENDER, [BAD], BODY)
        assert actions(client.sendmail(SENDER, [ADA], BODY)) == ["delivered"]
    assert len(server.sessions) == 1


def test_behind_a_refused_mail_its_reply_is_told(client_of: ClientOf, serve: Serve, postmaster: Postmaster) -> None:
    server = serve({"MAIL": ["452 4.3.1 Insufficient storage"]})
    with client_of(server, postmaster) as client:
        with pytest.raises(OSError) as raised:
            client.sendmail(SENDER, [ADA, BOB], BODY)
        assert raised.value.smtp_code == 452  # type: ignore[attr-defined]
        assert actions(client.sendmail(SENDER, [ADA, BOB], BODY)) == ["delivered", "delivered"]
    assert len(server.sessions) == 1


def test_a_refusal_behind_which_the_server_closes_is_that_recipients_for_good(
    client_of: ClientOf, serve: Serve, postmaster: Postmaster
) -> None:
    server = serve({"RCPT": {BAD: Closing(NO_SUCH_USER)}})
    with client_of(server, postmaster) as client:
        report = client.sendmail(SENDER, [ADA, BAD, BOB], BODY)
    assert actions(report) == ["delivered", "failed", "delivered"]
    assert (server.copies(ADA), server.copies(BOB)) == (1, 1)


# -- limits


@pytest.mark.parametrize(("limits", "batches"), [("RCPTMAX=2", [2, 2, 1]), ("RCPTMAX=10", [5]), ("MAILMAX=9", [5])])
def test_no_more_recipients_are_asked_than_the_server_takes_at_once(
    client_of: ClientOf, serve: Serve, postmaster: Postmaster, limits: str, batches: list[int]
) -> None:
    server = serve(extensions=["PIPELINING", f"LIMITS {limits}"])
    with client_of(server, postmaster) as client:
        report = client.sendmail(SENDER, PEOPLE[:5], BODY)
    assert actions(report) == ["delivered"] * 5
    assert [len(one.recipients) for one in server.messages] == batches
    assert len(server.sessions) == 1


def test_a_session_takes_no_more_messages_than_the_server_says(
    client_of: ClientOf, serve: Serve, postmaster: Postmaster
) -> None:
    server = serve(extensions=["LIMITS MAILMAX=2"])
    with client_of(server, postmaster) as client:
        for _ in range(5):
            client.sendmail(SENDER, ADA, BODY)
    assert len(server.sessions) == 3
    assert server.copies(ADA) == 5


def test_a_message_above_the_announced_size_fails_before_a_byte_of_it_is_sent(
    client_of: ClientOf, serve: Serve, postmaster: Postmaster
) -> None:
    server = serve(size_limit=1000)
    with client_of(server, postmaster) as client:
        with pytest.raises(smtplib.SMTPSenderRefused) as raised:
            client.sendmail(SENDER, [ADA, BOB], BODY + "x" * 2000)
        assert actions(client.sendmail(SENDER, ADA, BODY)) == ["delivered"]
    (ada, _) = raised.value.report.recipients  # type: ignore[attr-defined]
    assert (ada.action, ada.scope, ada.category) == ("failed", "message", "message_too_big")
    assert raised.value.smtp_code == 552  # type: ignore[attr-defined]
    assert server.sessions[0].raw.lower().count(b"mail from") == 1


def test_a_report_is_asked_to_name_the_delivery_and_the_recipient(
    client_of: ClientOf, serve: Serve, postmaster: Postmaster
) -> None:
    server = serve(extensions=["PIPELINING", "DSN"])
    with client_of(server, postmaster, dsn="failure,delay") as client:
        client.sendmail(SENDER, ADA, BODY)
    (event,) = postmaster.heard.of("delivered")  # type: ignore[attr-defined]
    commands = server.sessions[0].commands
    assert f"mail from:<{SENDER}> RET=HDRS ENVID={event.occasion.delivery_id}" in commands
    assert f"rcpt to:<{ADA}> NOTIFY=FAILURE,DELAY ORCPT=rfc822;{ADA}" in commands


# -- a stream of messages


def letters(count: int, *, to: Callable[[int], str] = lambda number: PEOPLE[number]) -> list[EmailMessage]:
    return [message(to(number), subject=str(number)) for number in range(count)]


def subjects(server: ScriptedServer) -> list[bytes]:
    return [line for one in server.messages for line in one.data.splitlines() if line.startswith(b"Subject:")]


@pytest.mark.parametrize("chunking", [False, True])
def test_a_stream_takes_one_round_trip_a_message(
    client_of: ClientOf, serve: Serve, postmaster: Postmaster, *, chunking: bool
) -> None:
    server = serve(extensions=["PIPELINING", "CHUNKING"])
    with client_of(server, postmaster, chunking=chunking) as client:
        reports = list(client.send_all(letters(50)))
        turns = server.sessions[0].turns
    assert [actions(report) for report in reports] == [["delivered"]] * 50
    assert subjects(server) == [b"Subject: %d" % number for number in range(50)]
    assert len(server.sessions) == 1
    assert turns <= 50 * 1.1


def test_without_pipelining_a_stream_is_one_message_behind_the_other(
    client_of: ClientOf, serve: Serve, postmaster: Postmaster
) -> None:
    server = serve(extensions=[])
    with client_of(server, postmaster) as client:
        assert [actions(report) for report in client.send_all(letters(3))] == [["delivered"]] * 3
    assert server.sessions[0].commands.count("rset") == 0


@pytest.mark.parametrize(
    ("answer", "action", "sessions"),
    [
        ("554 5.7.1 Spam", "failed", 1),
        ("452 4.3.1 Disk full", "delayed", 1),
        (Closing("421 4.3.2 Bye"), "delayed", 2),
        (Kept(Cut()), "unknown", 2),
        (Dropped(Cut("rst")), "unknown", 2),
    ],
)
def test_what_is_said_to_the_dot_is_the_message_before_and_the_next_one_goes(
    client_of: ClientOf, serve: Serve, postmaster: Postmaster, answer: Answer, action: str, sessions: int
) -> None:
    server = serve({"END_OF_DATA": [Usual(), answer]})
    with client_of(server, postmaster) as client:
        reports = list(client.send_all(letters(4)))
    got = [actions(report)[0] for report in reports]
    assert got[0] == got[2] == got[3] == "delivered"
    assert got[1] == action or (action == "unknown" and reports[1].recipients[0].possible_duplicate)
    assert [server.copies(person) for person in (PEOPLE[0], PEOPLE[2], PEOPLE[3])] == [1, 1, 1]
    assert len(server.sessions) == sessions


def test_behind_a_refused_dot_a_server_that_does_not_reset_is_reset(
    client_of: ClientOf, serve: Serve, postmaster: Postmaster
) -> None:
    server = serve({"END_OF_DATA": ["554 5.7.1 Spam"]})
    with client_of(server, postmaster) as client:
        list(client.send_all(letters(2)))
    commands = server.sessions[0].commands
    assert commands[commands.index(".") + 1] == "rset"
    assert commands.count("rset") == 1


def test_a_refused_recipient_is_his_messages_and_the_stream_goes_on(
    client_of: ClientOf, serve: Serve, postmaster: Postmaster
) -> None:
    server = serve({"RCPT": {PEOPLE[1]: NO_SUCH_USER}})
    with client_of(server, postmaster) as client:
        got = [actions(report) for report in client.send_all(letters(4))]
    assert got == [["delivered"], ["failed"], ["delivered"], ["delivered"]]
    assert len(server.sessions) == 1


def test_a_recipient_who_is_suppressed_by_one_message_does_not_get_the_next(
    client_of: ClientOf, serve: Serve, postmaster: Postmaster
) -> None:
    server = serve({"END_OF_DATA": "552 5.2.2 Mailbox full"})
    with client_of(server, postmaster) as client:
        got = [actions(report) for report in client.send_all(letters(3, to=lambda _: ADA))]
    assert got == [["failed"], ["suppressed"], ["suppressed"]]


def test_a_stream_that_nobody_takes_to_its_end_harms_no_other_message(
    client_of: ClientOf, serve: Serve, postmaster: Postmaster
) -> None:
    server = serve()
    with client_of(server, postmaster) as client:
        stream = client.send_all(letters(5))
        assert actions(next(stream)) == ["delivered"]
        stream.close()  # type: ignore[attr-defined]
        assert actions(client.sendmail(SENDER, ADA, BODY)) == ["delivered"]
    assert subjects(server) == [b"Subject: 0", b"Subject: Hello"]


def test_a_subscriber_who_sends_within_a_stream_does_not_get_into_it(serve: Serve, postmaster: Postmaster) -> None:
    server = serve()
    with Client(server.url, postmaster=postmaster) as client:

        @postmaster.on("delivered")
        def send(event: Event) -> None:
            if event.recipient != ADA:
                client.sendmail(SENDER, ADA, BODY)

        assert [actions(report) for report in client.send_all(letters(3))] == [["delivered"]] * 3
    assert server.copies(ADA) == 3
    assert sorted(subjects(server)) == sorted(
        [b"Subject: %d" % number for number in range(3)] + [b"Subject: Hello"] * 3
    )


def test_who_is_asked_for_the_next_message_may_send_by_the_same_client(serve: Serve, postmaster: Postmaster) -> None:
    server = serve({"RCPT": {BAD: NO_SUCH_USER}})
    with Client(server.url, postmaster=postmaster, timeout=5) as client:
        client.deliver(client.desk.take(SENDER, BAD, BODY))

        @postmaster.on("suppressed")
        def send(event: Event) -> None:
            client.sendmail(SENDER, ADA, BODY)

        def each() -> Iterator[EmailMessage]:
            yield message(PEOPLE[0])
            yield message(BAD)
            yield message(PEOPLE[1])
            client.sendmail(SENDER, BOB, BODY)
            client.sendmail(SENDER, BOB, BODY)

        got = [actions(report) for report in client.send_all(each())]
    assert got == [["delivered"], ["suppressed"], ["delivered"]]
    assert [server.copies(one) for one in (*PEOPLE[:2], ADA, BOB, BAD)] == [1, 1, 1, 2, 0]


@pytest.mark.parametrize("retry", ["never", "queue"])
def test_what_the_list_raises_comes_behind_the_report_of_the_message_before(
    serve: Serve, make_postmaster: Callable[..., Postmaster], client_of: ClientOf, tmp_path: Path, retry: str
) -> None:
    server = serve()
    postmaster = make_postmaster(
        store=f"sqlite:///{tmp_path}/b.db", retry=retry, relays={"main": server.url}, worker="external"
    )

    def each() -> Iterator[EmailMessage]:
        yield message(ADA)
        raise LookupError("the list is broken")

    got: list[list[str]] = []
    with client_of(server, postmaster) as client, pytest.raises(LookupError, match="the list is broken"):
        got.extend(actions(report) for report in client.send_all(each()))
    assert (got, server.copies(ADA)) == ([["delivered"]], 1)
    assert postmaster.office.store.depth(postmaster.office.clock.now()).leased == 0


def test_each_attempt_of_a_durable_stream_is_begun_before_its_own_dot(
    serve: Serve, make_postmaster: Callable[..., Postmaster], tmp_path: Path
) -> None:
    server = serve({"END_OF_DATA": [Usual(), "452 4.3.1 Disk full"]})
    postmaster = make_postmaster(
        store=f"sqlite:///{tmp_path}/b.db", retry="queue", relays={"main": server.url}, worker="external"
    )
    begun: list[str] = []
    remember = postmaster.office.store.begin
    postmaster.office.store.begin = lambda one: (  # type: ignore[method-assign]
        begun.append(f"{one.recipients[0].address.wire} {len(server.messages)}"),
        remember(one),
    )[1]
    with postmaster.client("main") as client:
        got = [actions(report)[0] for report in client.send_all(letters(4))]
    assert got == ["delivered", "delayed", "delivered", "delivered"]
    assert begun == [f"{PEOPLE[0]} 0", f"{PEOPLE[1]} 1", f"{PEOPLE[2]} 1", f"{PEOPLE[3]} 2"]
