"""The client of one relay: how its URL is read, when it dials, what it never says in clear."""

import itertools
import os
import signal
import smtplib
import ssl
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import get_type_hints

import pytest
import trustme

from bouncekit import Client, ConfigurationError
from bouncekit.clients.client import ClientOptions
from bouncekit.outside.relay import Relay
from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.protocol.conversation import DEADLINES
from bouncekit.testing import Closing, Delay, ScriptedServer, refusing_port
from bouncekit.words.reply import Stage

from .conftest import Heard, message
from .wires import AwaitedClient

Serve = Callable[..., ScriptedServer]
INTERNATIONAL = "j\N{LATIN SMALL LETTER O WITH DIAERESIS}@example.com"


@pytest.mark.parametrize(
    ("url", "port", "user", "password"),
    [
        ("smtp://relay.example.com", 25, None, None),
        ("smtp://relay.example.com:2525", 2525, None, None),
        ("smtp+tls://relay.example.com", 25, None, None),
        ("smtp://jo:secret@relay.example.com", 587, "jo", "secret"),
        ("smtps://jo:secret@relay.example.com", 465, "jo", "secret"),
        ("smtp://jo%40example.com:p%3Aw%2F%40@relay.example.com", 587, "jo@example.com", "p:w/@"),
        ("lmtp://127.0.0.1", 24, None, None),
        ("smtp://[::1]:25", 25, None, None),
    ],
)
def test_a_relays_url_is_taken_apart(url: str, port: int, user: str | None, password: str | None) -> None:
    relay = Relay.parse(url)
    assert (relay.port, relay.user, relay.password) == (port, user, password)


@pytest.mark.parametrize(
    "url",
    [
        "relay.example.com",
        "localhost:2525",
        "http://relay.example.com",
        "smtp://",
        "smtp://jo@relay.example.com",
        "smtp://relay.example.com:99999",
        "smtp://relay.example.com/path",
        "smtp://jo:secret@relay.example.com?tls=no",
        "smtp://[::1",
    ],
)
def test_an_url_that_is_no_relay_says_what_would_be_right_and_shows_no_password(url: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        Relay.parse(url)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("url", [None, 25])
def test_what_is_no_text_is_refused_as_a_relay(postmaster: Postmaster, url: object) -> None:
    with pytest.raises(ConfigurationError, match="is no relay; write its URL"):
        postmaster.client(url)  # type: ignore[arg-type]


def test_a_password_is_in_no_repr(postmaster: Postmaster) -> None:
    client = Client("smtp://jo:secret@relay.example.com", postmaster=postmaster)
    assert "secret" not in repr(client) + repr(client.relay) + repr(client.__dict__)


def test_a_text_is_no_message_and_the_error_says_where_it_goes(serve: Serve, postmaster: Postmaster) -> None:
    server = serve()
    with postmaster.client(server.url) as client, pytest.raises(AttributeError, match=r"'str' .* to sendmail\(\)"):
        client.send("Subject: Hi\r\n\r\nHello")  # type: ignore[arg-type]
    assert not server.messages


@pytest.mark.parametrize("client_of", [Client, AwaitedClient])
def test_recipients_may_be_given_by_a_generator(serve: Serve, postmaster: Postmaster, client_of: type[Client]) -> None:
    server = serve()
    with client_of(server.url, postmaster=postmaster) as client:
        report = client.send(message("list@example.com"), recipients=(f"{name}@example.com" for name in ("ada", "bob")))
    assert [one.action.value for one in report.recipients] == ["delivered", "delivered"]
    assert [server.copies(f"{name}@example.com") for name in ("list", "ada", "bob")] == [0, 1, 1]


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), 1e12, "5"])
def test_a_time_out_that_is_no_time_is_said_before_anything_is_sent(postmaster: Postmaster, seconds: object) -> None:
    with pytest.raises(ConfigurationError, match="timeout="):
        postmaster.client("smtp://127.0.0.1:25", timeout=seconds)
    with pytest.raises(ConfigurationError, match="relay 'main': timeout="):
        Postmaster(relays={"main": {"url": "smtp://127.0.0.1:25", "timeout": seconds}})


def test_who_passes_options_on_knows_all_of_them_by_their_types() -> None:
    own = {name: type_ for name, type_ in get_type_hints(Client.__init__).items() if name != "return"}
    assert get_type_hints(ClientOptions) == {name: own[name] for name in own.keys() - {"url", "postmaster"}}


def test_nothing_is_dialled_before_there_is_something_to_send(serve: Serve, postmaster: Postmaster) -> None:
    server = serve()
    with postmaster.client(server.url):
        pass
    assert server.sessions == ()


def test_one_connection_carries_many_messages(serve: Serve, postmaster: Postmaster) -> None:
    server = serve()
    with postmaster.client(server.url) as client:
        for _ in range(3):
            assert client.send(message("ada@example.com")) == {}
    server.wait_closed()
    assert len(server.sessions) == 1
    assert server.sessions[0].commands[-1] == "QUIT" or server.sessions[0].commands[-1] == "quit"
    assert server.copies("ada@example.com") == 3


def test_it_sends_without_a_postmaster_by_the_default_policy(serve: Serve) -> None:
    server = serve({"RCPT": {"full@example.com": "552 5.2.2 Mailbox full"}})
    with Client(server.url) as client:
        report = client.send(message("ada@example.com", "full@example.com"))
    assert report.failed[0].rule == "mailbox-full"


@pytest.mark.parametrize("how", ["fin", "rst"])
def test_a_stale_connection_is_dialled_again_before_anything_is_lost(
    serve: Serve, postmaster: Postmaster, how: str
) -> None:
    server = serve()
    with postmaster.client(server.url) as client:
        client.send(message("ada@example.com"))
        server.drop_all(how)
        assert client.send(message("bob@example.com")) == {}
    assert (server.copies("ada@example.com"), server.copies("bob@example.com")) == (1, 1)


def test_a_421_at_the_greeting_is_tried_again(serve: Serve, postmaster: Postmaster) -> None:
    server = serve({"CONNECT": [Closing("421 4.3.2 Busy")]})
    with postmaster.client(server.url) as client:
        assert client.send(message("ada@example.com")) == {}
    assert len(server.sessions) == 2


def test_a_relay_that_nobody_listens_at_delays_everybody(postmaster: Postmaster, heard: Heard) -> None:
    refusals = (ConnectionRefusedError, smtplib.SMTPException)
    with (
        refusing_port() as port,
        postmaster.client(f"smtp://127.0.0.1:{port}") as client,
        pytest.raises(refusals) as raised,
    ):
        client.send(message("ada@example.com"))
    (only,) = raised.value.report.recipients  # type: ignore[union-attr]
    assert (only.action, only.stage, only.category) == ("delayed", "CONNECT", "network_error")
    assert only.retry_at is not None
    assert heard.types.count("delayed") == 1
    assert list(postmaster.suppressions) == []


def test_a_login_never_travels_in_clear(serve: Serve, postmaster: Postmaster) -> None:
    server = serve(users={"shop": "secret"})
    url = f"smtp://shop:secret@{server.host}:{server.port}"
    with postmaster.client(url) as client, pytest.raises(smtplib.SMTPNotSupportedError):
        client.send(message("ada@example.com"))
    assert not any(b"AUTH" in session.raw.upper() for session in server.sessions)


def test_a_login_travels_in_clear_where_the_owner_says_insecure(serve: Serve, postmaster: Postmaster) -> None:
    server = serve(users={"shop": "secret"})
    url = f"smtp://shop:secret@{server.host}:{server.port}"
    with postmaster.client(url, insecure_login_in_clear=True) as client:
        assert client.send(message("ada@example.com")) == {}


def _tls() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    authority = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(client)
    return server, client


@pytest.mark.parametrize("scheme", ["smtp", "smtp+tls", "smtps"])
def test_a_certificate_of_nobody_we_know_stops_the_send(serve: Serve, postmaster: Postmaster, scheme: str) -> None:
    server_tls, _ = _tls()
    server = serve(tls=server_tls, implicit_tls=scheme == "smtps")
    url = f"{scheme}://{server.host}:{server.port}"
    with postmaster.client(url) as client, pytest.raises((ssl.SSLError, smtplib.SMTPException)) as raised:
        client.send(message("ada@example.com"))
    assert server.messages == ()
    (only,) = raised.value.report.recipients  # type: ignore[union-attr]
    assert (only.action, only.category) == ("delayed", "tls_failure")


@pytest.mark.parametrize("scheme", ["smtp", "smtp+tls", "smtps"])
def test_a_verified_certificate_lets_the_mail_and_the_login_through(
    serve: Serve, postmaster: Postmaster, heard: Heard, scheme: str
) -> None:
    server_tls, client_tls = _tls()
    server = serve(tls=server_tls, implicit_tls=scheme == "smtps", users={"shop": "secret"}, auth_needs_tls=True)
    url = f"{scheme}://shop:secret@{server.host}:{server.port}"
    with postmaster.client(url, tls_context=client_tls) as client:
        assert client.send(message("ada@example.com")) == {}
    assert server.sessions[0].tls
    assert heard.of("insecure_tls") == []


def test_no_certificates_are_read_for_a_line_without_tls(
    serve: Serve, postmaster: Postmaster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They cost more than ten messages, and most relays are on the same machine."""
    read = list[object]()
    monkeypatch.setattr(ssl, "create_default_context", lambda: read.append(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)))
    with postmaster.client(serve().url) as client:
        client.send(message("ada@example.com"))
        assert read == []


def test_tls_that_is_required_and_not_offered_stops_the_send(serve: Serve, postmaster: Postmaster) -> None:
    server = serve()
    url = f"smtp+tls://{server.host}:{server.port}"
    with postmaster.client(url) as client, pytest.raises(smtplib.SMTPNotSupportedError) as raised:
        client.send(message("ada@example.com"))
    assert [one.category for one in raised.value.report.delayed] == ["tls_failure"]  # type: ignore[attr-defined]
    assert "login" not in str(raised.value)
    assert server.messages == ()


def test_a_refused_login_delays_the_mail_and_blames_no_recipient(serve: Serve, postmaster: Postmaster) -> None:
    server = serve(users={"shop": "secret"})
    url = f"smtp://shop:wrong@{server.host}:{server.port}"
    client = postmaster.client(url, insecure_login_in_clear=True)
    with client, pytest.raises(smtplib.SMTPAuthenticationError) as raised:
        client.send(message("ada@example.com"))
    (only,) = raised.value.report.recipients  # type: ignore[attr-defined]
    assert (only.action, only.category, only.scope) == ("delayed", "credentials", "sender")


def test_lmtp(serve: Serve, postmaster: Postmaster) -> None:
    server = serve({"END_OF_DATA": {"full@example.com": "552 5.2.2 Full"}}, lmtp=True)
    with postmaster.client(f"lmtp://{server.host}:{server.port}") as client:
        report = client.send(message("full@example.com", "ada@example.com"))
    assert [one.action for one in report.recipients] == ["failed", "delivered"]


def test_threads_take_turns(serve: Serve, postmaster: Postmaster) -> None:
    server = serve()
    people = [f"user{number}@example.com" for number in range(20)]
    with postmaster.client(server.url) as client, ThreadPoolExecutor(8) as pool:
        reports = list(pool.map(lambda person: client.send(message(person)), people))
    assert reports == [{}] * 20
    assert [server.copies(person) for person in people] == [1] * 20
    assert len(server.sessions) == 1


def test_who_closes_amid_a_stream_says_nothing_into_the_message_that_was_begun(
    serve: Serve, postmaster: Postmaster, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(DEADLINES, Stage.QUIT, 60.0)
    server = serve()
    people = [f"user{number}@example.com" for number in range(3)]
    with postmaster.client(server.url) as client, postmaster.smtp(server.host, server.port) as smtp:
        streams = [one.send_all(map(message, people)) for one in (client, smtp)]
        assert [next(stream) for stream in streams] == [{}, {}]
        begin = time.monotonic()
        client.close()
        assert smtp.quit() == (-1, b"the next message was begun")
        assert time.monotonic() - begin < 30, "no answer to QUIT was waited for"
        assert "closed" not in heard.types
        assert client.send(message("ada@example.com")) == {}
        assert [*streams[0]] == [{}, {}]
    assert [server.copies(person) for person in (*people, "ada@example.com")] == [2, 1, 1, 1]


def test_a_stream_may_be_taken_up_in_another_thread_and_others_send_between(
    serve: Serve, postmaster: Postmaster
) -> None:
    server = serve()
    people = [f"user{number}@example.com" for number in range(4)]
    with postmaster.client(server.url) as client, ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as other:
        stream = client.send_all(map(message, people))
        threads = itertools.cycle([one, other])
        assert [next(threads).submit(next, stream).result() for _ in people[:2]] == [{}, {}]
        assert other.submit(client.send, message("ada@example.com")).result(10) == {}
        client.close()  # the stream dials for itself
        assert [
            report for _ in people if (report := next(threads).submit(next, stream, None).result()) is not None
        ] == [
            {},
            {},
        ]
        assert one.submit(client.send, message("bob@example.com")).result(10) == {}
    assert [server.copies(person) for person in (*people, "ada@example.com", "bob@example.com")] == [1] * 6


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_child_dials_for_itself_and_leaves_the_parents_line_alone(serve: Serve, postmaster: Postmaster) -> None:
    server = serve()
    with postmaster.client(server.url) as client:
        client.send(message("ada@example.com"))
        child = os.fork()
        if child == 0:
            status = 1
            try:
                client.send(message("bob@example.com"))
                status = 0
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
        assert client.send(message("cyd@example.com")) == {}
    assert [server.copies(f"{name}@example.com") for name in ("ada", "bob", "cyd")] == [1, 1, 1]
    assert len(server.sessions) == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_child_sends_though_a_thread_of_its_parent_was_sending(serve: Serve, postmaster: Postmaster) -> None:
    server = serve({"RCPT": {"slow@example.com": [Delay(1.0)]}})
    with Client(server.url, postmaster=postmaster) as client, ThreadPoolExecutor(1) as pool:
        sending = pool.submit(client.send, message("slow@example.com"))
        while not server.sessions or len(server.sessions[0].commands) < 3:
            time.sleep(0.01)
        child = os.fork()
        if child == 0:
            signal.alarm(10)
            status = 1
            try:
                status = len(client.send(message("ada@example.com")))
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
        assert sending.result() == {}


def test_a_relay_that_nobody_listens_at_is_reported_for_an_international_address_too(
    postmaster: Postmaster, heard: Heard
) -> None:
    with refusing_port() as port, pytest.raises(ConnectionRefusedError) as raised:
        Client(f"smtp://127.0.0.1:{port}", postmaster=postmaster).send(message(INTERNATIONAL))
    assert [one.action for one in raised.value.report.recipients] == ["delayed"]  # type: ignore[attr-defined]
    assert len(heard.of("delayed")) == 1


def test_smtputf8_is_asked_for_and_a_relay_without_it_gets_nothing(serve: Serve, postmaster: Postmaster) -> None:
    able, unable = serve(), serve(extensions=("SIZE",))
    with Client(able.url, postmaster=postmaster) as client:
        assert client.send(message(INTERNATIONAL)) == {}
    assert able.copies(INTERNATIONAL) == 1
    with Client(unable.url, postmaster=postmaster) as client, pytest.raises(smtplib.SMTPNotSupportedError) as raised:
        client.send(message(INTERNATIONAL))
    assert [one.action for one in raised.value.report.recipients] == ["delayed"]  # type: ignore[attr-defined]
    assert unable.messages == ()


def test_a_password_that_no_login_can_say_delays_the_mail(serve: Serve, postmaster: Postmaster) -> None:
    server = serve(users={"jo": "secret"})
    url = f"smtp://jo:gr%C3%BCn@{server.host}:{server.port}"
    client = Client(url, postmaster=postmaster, insecure_login_in_clear=True)
    with client, pytest.raises(UnicodeEncodeError) as raised:
        client.send(message("ada@example.com"))
    assert [one.action for one in raised.value.report.recipients] == ["delayed"]  # type: ignore[attr-defined]


def test_a_refused_starttls_is_judged_by_its_reply(serve: Serve, postmaster: Postmaster) -> None:
    server = serve({"STARTTLS": "454 4.7.0 TLS not available"}, extensions=("STARTTLS",))
    with Client(server.url, postmaster=postmaster) as client, pytest.raises(smtplib.SMTPResponseException) as raised:
        client.send(message("ada@example.com"))
    (one,) = raised.value.report.delayed  # type: ignore[attr-defined]
    assert (one.stage, str(one.reply)) == ("STARTTLS", "454 4.7.0 TLS not available")
