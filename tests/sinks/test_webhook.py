"""Webhooks: signed, the same id on every try, bounded in time and size whatever a receiver does, and never inside."""

import json
import logging
import ssl
import time
import traceback
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bouncekit.sinks.protocol import NotTaken
from bouncekit.sinks.webhook import Webhook, new_secret
from bouncekit.words.errors import ConfigurationError

from . import receiver as behaviours
from .conftest import many, told
from .receiver import Receiver, status, waited

pytest.importorskip("urllib3", reason="python -m pip install 'bouncekit[webhook]'")
standardwebhooks = pytest.importorskip("standardwebhooks", reason="python -m pip install 'bouncekit[webhook]'")

SECRET = new_secret()
Receive = Callable[..., Receiver]


_made: list[Webhook] = []


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """Hang up behind each test."""
    yield
    while _made:
        _made.pop().close()


def made(url: str, **settings: Any) -> Webhook:
    _made.append(Webhook(url, **{"secret": SECRET, **settings}))
    return _made[-1]


def webhook(receiver: Receiver, **settings: Any) -> Webhook:
    local = {"allow_http": True, "allow_private": True, "seconds": 5.0}
    return made(receiver.url, **{**local, **settings})


def refused(sink: Webhook, *events: dict[str, Any]) -> NotTaken:
    with pytest.raises(NotTaken) as raised:
        sink.send(events or [told()])
    return raised.value


# -- what is sent


def test_an_event_arrives_signed_and_the_official_library_verifies_it(receive: Receive) -> None:
    receiver = receive()
    assert webhook(receiver).send([told()]) == 1
    (request,) = receiver.requests
    assert request.line == "POST /hook/t0ken HTTP/1.1"
    assert request.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert standardwebhooks.Webhook(SECRET).verify(request.body, request.headers) == told()


def test_the_official_reader_of_cloudevents_reads_it(receive: Receive) -> None:
    http = pytest.importorskip("cloudevents.core.bindings.http", reason="python -m pip install cloudevents")
    receiver, session = receive(), {**told(2), "subject": None}
    webhook(receiver).send([told(), session])
    for request, sent in zip(receiver.requests, (told(), session), strict=True):
        event = http.from_http_event(http.HTTPMessage(headers=request.headers, body=request.body))
        assert (event.get_id(), event.get_type(), event.get_source()) == (sent["id"], "failed", "bouncekit")
        assert event.get_subject() == sent["subject"]
        assert event.get_time() == datetime.fromisoformat(sent["time"])
        assert event.get_data() == sent["data"]
        assert event.get_extension("sequence") == sent["sequence"]


def test_every_secret_signs_while_one_replaces_another(receive: Receive) -> None:
    receiver, new = receive(), new_secret()
    webhook(receiver, secret=[new, SECRET]).send([told()])
    (request,) = receiver.requests
    for secret in (new, SECRET):
        assert standardwebhooks.Webhook(secret).verify(request.body, request.headers)


def test_a_second_try_has_the_same_id_and_its_own_time(receive: Receive) -> None:
    receiver, times = receive(status(500)), iter([datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)])
    sink = webhook(receiver, now=lambda: next(times))
    refused(sink)
    sink.send([told()])
    first, second = receiver.requests
    assert first.headers["webhook-id"] == second.headers["webhook-id"] == told()["id"]
    stamps = [int(one.headers["webhook-timestamp"]) for one in (first, second)]
    assert stamps[1] - stamps[0] == 86_400
    assert first.headers["webhook-signature"] != second.headers["webhook-signature"]


def test_a_hostile_reply_makes_no_body_larger_than_20_kilobytes(receive: Receive) -> None:
    receiver = receive()
    big = told(why="\U0001f4a3" * 2048, channel="\U0001f4a3" * 2048)
    webhook(receiver).send([big])
    (request,) = receiver.requests
    assert len(request.body) <= 20_000
    data = json.loads(request.body)["data"]
    assert data["cut"] is True
    assert (data["code"], data["action"]) == (552, "failed")


def test_events_go_over_one_connection(receive: Receive) -> None:
    receiver = receive()
    assert webhook(receiver).send(many(20)) == 20
    assert receiver.ids == [event["id"] for event in many(20)]
    assert receiver.connections == 1


def test_a_connection_that_the_receiver_has_closed_meanwhile_costs_nothing(receive: Receive) -> None:
    receiver = receive(status(200), behaviours.hang_up)
    assert webhook(receiver).send(many(2)) == 2
    assert receiver.ids == [told(1)["id"], told(2)["id"], told(2)["id"]]


# -- what a receiver may answer


@pytest.mark.parametrize("code", [200, 201, 202, 204, 299])
def test_2xx_is_taken(receive: Receive, code: int) -> None:
    assert webhook(receive(status(code))).send([told()]) == 1


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_redirect_is_a_failure_and_is_not_followed(receive: Receive, code: int) -> None:
    other = receive()
    receiver = receive(status(code, "Moved", b"", f"Location: {other.url}"))
    assert "redirects are not followed" in refused(webhook(receiver)).why
    assert other.connections == 0


@pytest.mark.parametrize("code", [400, 401, 404, 422, 429, 500, 502, 503, 600])
def test_all_else_comes_again(receive: Receive, code: int) -> None:
    error = refused(webhook(receive(status(code, "No"))), *many(3))
    assert (error.taken, error.is_gone) == (0, False)
    assert f"{code} No" in error.why


def test_410_says_that_there_is_nobody_any_more(receive: Receive) -> None:
    assert refused(webhook(receive(status(410, "Gone")))).is_gone


def test_what_was_taken_before_a_failure_is_counted(receive: Receive) -> None:
    assert refused(webhook(receive(status(200), status(200), status(503))), *many(5)).taken == 2


@pytest.mark.parametrize(("header", "seconds"), [("120", 120), ("999999999999", 86_400), ("soon", None), ("-3", None)])
def test_retry_after_is_a_wish(receive: Receive, header: str, seconds: int | None) -> None:
    error = refused(webhook(receive(status(429, "Slow", b"", f"Retry-After: {header}"))))
    assert error.wait == (None if seconds is None else timedelta(seconds=seconds))


def test_retry_after_may_be_a_date(receive: Receive) -> None:
    error = refused(webhook(receive(status(503, "", b"", "Retry-After: Fri, 01 Jan 2100 00:00:00 GMT"))))
    assert error.wait is not None
    assert error.wait > timedelta(days=365)


def test_it_says_200_and_dies_that_is_taken(receive: Receive) -> None:
    receiver = receive(behaviours.answer_and_die)
    assert webhook(receiver).send(many(2)) == 2
    assert len(receiver.requests) == 2


@pytest.mark.parametrize("behaviour", ["reset", "hang_up"])
def test_no_answer_is_none(receive: Receive, behaviour: str) -> None:
    error = refused(webhook(receive(getattr(behaviours, behaviour))))
    assert error.taken == 0


@pytest.mark.parametrize("behaviour", ["silence", "drip_head", "endless_head", "endless_continue"])
def test_an_answer_that_never_ends_is_given_up_in_time(receive: Receive, behaviour: str) -> None:
    sink = webhook(receive(getattr(behaviours, behaviour)), seconds=2)
    began = time.monotonic()
    refused(sink)
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("behaviour", ["drip_body", "flood"])
def test_a_body_without_end_is_not_read_to_its_end(receive: Receive, behaviour: str) -> None:
    receiver = receive(getattr(behaviours, behaviour))
    sink = webhook(receiver, seconds=2)
    began = time.monotonic()
    assert sink.send([told()]) == 1, "it has said 200"
    assert time.monotonic() - began < 10
    assert receiver.sent < 50_000_000, "what fits into the buffers of the system"
    assert sink.send([told()]) == 1


def test_a_compressed_bomb_stays_compressed(receive: Receive) -> None:
    from bouncekit.sinks.post import MAX_ANSWER

    bomb = zlib.compress(b"\0" * 10_000_000)
    receiver = receive(status(200, "OK", bomb, "Content-Encoding: deflate"))
    assert len(bomb) < MAX_ANSWER
    assert webhook(receiver).send(many(2)) == 2
    assert receiver.connections == 1
    assert receiver.requests[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("answer", [b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 abc\r\n\r\n", b"\xff\xfe\r\n\r\n"])
def test_what_is_no_http_is_no_answer(receive: Receive, answer: bytes) -> None:
    receiver = receive(lambda connection, receiver: (connection.sendall(answer), connection.close()))
    assert refused(webhook(receiver)).taken == 0


def test_a_reason_of_the_receiver_s_is_shown_on_one_line_without_addresses(receive: Receive) -> None:
    error = refused(webhook(receive(status(400, "no \x1b[2J ada@example.com " + "x" * 5000))))
    assert error.why.isprintable()
    assert len(error.why) < 500


# -- TLS


@pytest.fixture(scope="module")
def authority() -> Any:
    return pytest.importorskip("trustme", reason="python -m pip install trustme").CA()


def context_for(authority: Any, *names: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context


def at_home(host: str, port: int) -> list[str]:
    return ["127.0.0.1"]


def test_the_certificate_is_the_name_s_and_the_connection_the_address_s(
    receive: Receive, authority: Any, tmp_path: Any
) -> None:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context, asked = context_for(authority, "crm.example.com"), []
    context.sni_callback = lambda _, name, __: asked.append(name)
    receiver = receive(context=context)
    sink = made(
        f"https://crm.example.com:{receiver.port}/hook",
        ca=tmp_path / "ca.pem",
        allow_private=True,
        resolve=at_home,
    )
    assert sink.send(many(2)) == 2
    assert asked == ["crm.example.com"]
    assert receiver.requests[0].headers["host"] == f"crm.example.com:{receiver.port}"


@pytest.mark.parametrize("trusts", [True, False])
def test_a_certificate_of_another_name_or_of_nobody_gets_no_event(
    receive: Receive, authority: Any, tmp_path: Any, trusts: bool
) -> None:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    receiver = receive(context=context_for(authority, "other.example.com" if trusts else "crm.example.com"))
    sink = made(
        f"https://crm.example.com:{receiver.port}/hook",
        ca=tmp_path / "ca.pem" if trusts else None,
        allow_private=True,
        resolve=at_home,
    )
    assert "certificate" in refused(sink).why.lower()
    assert receiver.requests == []


def test_a_handshake_that_drips_is_given_up_in_time(receive: Receive, authority: Any) -> None:
    receiver = receive(context=context_for(authority, "127.0.0.1"), talks_tls=False)
    began = time.monotonic()
    refused(webhook(receiver, seconds=0.5))
    assert time.monotonic() - began < 10


# -- where it may go


def test_a_name_that_changes_its_answer_is_connected_to_where_it_was_looked_at(receive: Receive) -> None:
    """DNS rebinding: a public address when it is looked at, a private one when it is connected to."""
    receiver, answers = receive(), iter([["127.0.0.1"], ["169.254.169.254"], ["127.0.0.1"]])
    sink = made(
        f"http://crm.example.com:{receiver.port}/",
        allow_http=True,
        allow_private=True,
        resolve=lambda host, port: next(answers),
    )
    assert sink.send(many(3)) == 3
    sink.close()
    assert "169.254.169.254 is not public" in refused(sink).why
    assert receiver.connections == 1


def test_one_bad_address_among_good_ones_is_enough(receive: Receive) -> None:
    receiver = receive()
    sink = made(
        f"http://crm.example.com:{receiver.port}/",
        allow_http=True,
        resolve=lambda host, port: ["8.8.8.8", "127.0.0.1"],
    )
    assert "127.0.0.1 is private" in refused(sink).why
    assert receiver.connections == 0


def test_the_next_address_is_tried_where_one_does_not_answer(receive: Receive) -> None:
    receiver = receive()
    sink = made(
        f"http://crm.example.com:{receiver.port}/",
        allow_http=True,
        allow_private=True,
        resolve=lambda host, port: ["127.0.0.2", "127.0.0.1"],
    )
    assert sink.send([told()]) == 1


def test_no_proxy_of_the_environment_is_asked(receive: Receive, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy, receiver = receive(), receive()
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
    webhook(receiver).send([told()])
    assert (proxy.connections, receiver.connections) == (0, 1)


# -- what may go wrong before


@pytest.mark.parametrize(
    "secret", ["", "hunter2", "whsec_", "whsec_c2hvcnQ=", "whsec_%%%", "whsec_" + "QUFB" * 30, 7, []]
)
def test_a_secret_that_is_none_is_said_without_showing_it(secret: Any) -> None:
    with pytest.raises(ConfigurationError) as raised:
        Webhook("https://crm.example.com/", secret=secret)
    assert not isinstance(secret, str) or len(secret) < 7 or secret not in str(raised.value)


def test_a_file_of_certificates_that_is_not_there_is_said_at_once() -> None:
    with pytest.raises(ConfigurationError, match=r"ca='nowhere\.pem'"):
        Webhook("https://crm.example.com/", secret=SECRET, ca="nowhere.pem")


def test_neither_secret_nor_path_nor_address_is_ever_shown(receive: Receive, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    receiver = receive(status(500), behaviours.reset, status(200, "OK", b"", "Bad header"))
    sink = webhook(receiver)
    shown, events = [repr(sink), str(sink), repr(vars(sink))], [told(recipient="canary@example.com")]
    for _ in range(3):
        try:
            sink.send(events)
        except NotTaken as error:
            shown += [repr(error), "".join(traceback.format_exception(error))]
    shown += [record.getMessage() for record in caplog.records]
    assert waited(lambda: len(receiver.requests) >= 3)
    for canary in (SECRET, SECRET.removeprefix("whsec_"), "t0ken", "canary@"):
        assert [text for text in shown if canary in text] == []
