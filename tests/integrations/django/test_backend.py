"""Django's sends by the policy: the same counts and exceptions, and the application hears of every recipient."""

import smtplib
import ssl
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from django.core import mail
from django.core.mail import EmailMessage

from bouncekit import ConfigurationError
from bouncekit.delivery.events import Event
from bouncekit.integrations.django import EmailBackend, postmaster
from bouncekit.integrations.django.project import close, relays
from bouncekit.integrations.django.signals import mail_event
from bouncekit.testing import Closing, Kept, ManualClock, ScriptedServer, Silence, refusing_port

from .conftest import Change
from .project import HAS_MAILERS, OURS, STOCK

Serve = Callable[..., ScriptedServer]

QUEUE = "bouncekit.integrations.django.QueueBackend"
ADA, LATER, FULL = "ada@example.com", "later@example.com", "full@example.com"
REFUSALS = {"RCPT": {LATER: "452 4.2.2 Over quota", FULL: "552 5.2.2 Mailbox full"}}


@pytest.fixture
def told() -> Iterator[list[Event]]:
    """What `mail_event` told."""
    found: list[Event] = []

    def hear(sender: object, event: Event, **unused: Any) -> None:
        found.append(event)

    mail_event.connect(hear)
    yield found
    mail_event.disconnect(hear)


def letter(*to: str, **headers: str) -> EmailMessage:
    return EmailMessage("Your order", "It is on its way.", "shop@example.org", list(to), headers=headers)


def test_stock_django_says_one_message_was_sent_where_two_of_three_were_refused(
    serve: Serve, change: Change, told: list[Event]
) -> None:
    """The headline, first half: nobody hears of the two."""
    server = serve(REFUSALS)
    change(server, backend=STOCK)
    assert letter(ADA, LATER, FULL).send() == 1
    assert [server.copies(one) for one in (ADA, LATER, FULL)] == [1, 0, 0]
    assert told == []


def test_with_bouncekit_the_application_hears_of_each_of_the_three(
    serve: Serve, change: Change, told: list[Event]
) -> None:
    """The headline, second half: nothing at the call site has changed."""
    server = serve(REFUSALS)
    change(server)
    message = letter(ADA, LATER, FULL)
    assert message.send() == 1
    assert [(event.type, event.recipient) for event in told if event.type in ("delivered", "delayed", "failed")] == [
        ("delivered", ADA),
        ("delayed", LATER),
        ("failed", FULL),
    ]
    assert [str(one.action) for one in message.bouncekit_report.recipients] == ["delivered", "delayed", "failed"]
    assert FULL in postmaster().suppressions
    assert LATER not in postmaster().suppressions


def test_whom_the_policy_suppresses_gets_no_second_message(serve: Serve, change: Change, told: list[Event]) -> None:
    server = serve(REFUSALS)
    change(server)
    letter(ADA, FULL).send()
    letter(ADA, FULL).send()
    assert server.copies(ADA) == 2
    assert sum(FULL in command for session in server.sessions for command in session.commands) == 1
    assert [event.recipient for event in told if event.type == "suppressed"] == [FULL]


@pytest.mark.parametrize(
    ("script", "raised", "action"),
    [
        ({"RCPT": "550 5.1.1 No such user"}, smtplib.SMTPRecipientsRefused, "failed"),
        ({"MAIL": "451 4.3.0 Later"}, smtplib.SMTPSenderRefused, "delayed"),
        ({"END_OF_DATA": "554 5.6.0 No"}, smtplib.SMTPDataError, "failed"),
        ({"RCPT": Closing("421 4.3.2 Bye")}, smtplib.SMTPRecipientsRefused, "delayed"),
        ({"END_OF_DATA": Kept(Silence())}, smtplib.SMTPServerDisconnected, "unknown"),
    ],
)
def test_it_raises_what_stock_django_raises_and_the_message_has_the_report(
    serve: Serve, change: Change, script: dict[str, object], raised: type[Exception], action: str
) -> None:
    change(serve(script), options={"timeout": 0.3})
    message = letter(ADA)
    with pytest.raises(raised) as caught:
        message.send()
    assert caught.value.report is message.bouncekit_report  # type: ignore[attr-defined]
    assert [str(one.action) for one in message.bouncekit_report.recipients] == [action]


def test_silently_fails_what_is_to_fail_silently_and_the_event_tells_it(
    serve: Serve, change: Change, told: list[Event]
) -> None:
    server = serve({"RCPT": "550 5.1.1 No such user"})
    change(server)
    assert backend(fail_silently=True).send_messages([letter(ADA)]) == 0
    assert [event.type for event in told if event.recipient] == ["failed", "suppression_added"]


def backend(**options: Any) -> Any:
    """The default mailer, with more options."""
    if not HAS_MAILERS:
        return mail.get_connection(**options)
    default = mail.mailers.default
    return type(default)(alias="default", host=default.host, port=default.port, **options)


def test_several_messages_take_one_connection(serve: Serve, change: Change) -> None:
    server = serve()
    change(server)
    assert backend().send_messages([letter(ADA), letter(LATER)]) == 2
    assert len(server.sessions) == 1
    assert server.sessions[0].commands[-1].upper() == "QUIT"


def test_a_message_that_was_never_tried_has_the_report_of_no_other(serve: Serve, change: Change) -> None:
    change(serve())
    mailer = backend()
    good, bad = letter(ADA), letter(LATER)
    bad.from_email = "two@example.org, senders@example.org"
    with mailer, pytest.raises(ValueError, match="Invalid address"):
        mailer.send_messages([good, bad])
    assert [one.recipient for one in good.bouncekit_report.recipients] == [ADA]
    assert bad.bouncekit_report is None


def test_the_message_itself_may_name_its_class(serve: Serve, change: Change, told: list[Event]) -> None:
    server = serve()
    change(server)
    letter(ADA, **{"X-Bouncekit-Class": "security"}).send()
    assert told[0].occasion.labels.message_class == "security"
    assert b"X-Bouncekit" not in server.messages[0].data


def test_a_mailer_has_labels_of_its_own(serve: Serve, change: Change, told: list[Event]) -> None:
    change(serve())
    backend(tenant="acme", stream="orders", test=True).send_messages([letter(ADA)])
    labels = told[0].occasion.labels
    assert (labels.tenant, labels.stream, labels.test) == ("acme", "orders", True)


@pytest.mark.parametrize("kind", ["use_tls", "use_ssl"])
def test_a_mailer_under_tls_is_verified_as_djangos_is(
    serve: Serve, change: Change, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str
) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    server = serve(tls=context, implicit_tls=kind == "use_ssl", users={"shop": "secret"})
    change(server, options={kind: True, "username": "shop", "password": "secret"})
    with pytest.raises(ssl.SSLCertVerificationError):
        letter(ADA).send()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    assert letter(ADA).send() == 1
    assert server.sessions[-1].tls


def queue(tmp_path: Path, **others: object) -> dict[str, object]:
    return {"store": f"sqlite:///{tmp_path}/bounces.db", "retry": "queue", "worker": "external", **others}


def test_under_a_queue_what_is_delayed_waits_for_a_worker_that_finds_the_mailer(
    serve: Serve, change: Change, tmp_path: Path, clock: ManualClock
) -> None:
    server = serve({"RCPT": {LATER: ["452 4.2.2 Over quota"]}})
    change(server, BOUNCEKIT=queue(tmp_path, clock=clock))
    message = letter(ADA, LATER)
    assert message.send() == 1
    assert [(one.recipient, one.kept) for one in message.bouncekit_report.delayed] == [(LATER, True)]
    clock.move(timedelta(hours=1))
    assert postmaster().worker().run_due() == 1
    assert server.copies(LATER) == 1


def test_under_a_queue_a_server_that_is_away_costs_no_message_and_raises_nothing(
    serve: Serve, change: Change, tmp_path: Path
) -> None:
    with refusing_port() as port:
        change(BOUNCEKIT=queue(tmp_path), options={"host": "127.0.0.1", "port": port})
        message = letter(ADA)
        assert message.send() == 1
    assert [one.kept for one in message.bouncekit_report.delayed] == [True]


def test_the_queue_backend_stores_now_and_a_worker_sends_later(serve: Serve, change: Change, tmp_path: Path) -> None:
    server = serve()
    change(server, backend=QUEUE, BOUNCEKIT=queue(tmp_path))
    message = letter(ADA)
    assert message.send() == 1
    assert server.sessions == ()
    assert [one.kept for one in message.bouncekit_report.delayed] == [True]
    assert postmaster().worker().run_due() == 1
    assert server.copies(ADA) == 1


def test_the_queue_outlives_the_process(serve: Serve, change: Change, tmp_path: Path) -> None:
    server = serve()
    change(server, backend=QUEUE, BOUNCEKIT=queue(tmp_path))
    letter(ADA).send()
    close()  # as at the end of the process; the next one makes its own from the settings
    assert postmaster().worker().run_due() == 1
    assert server.copies(ADA) == 1


def test_a_queue_backend_without_a_queue_says_so(serve: Serve, change: Change) -> None:
    change(serve(), backend=QUEUE)
    with pytest.raises(ConfigurationError, match="retry='queue'"):
        letter(ADA).send()


def test_the_mailers_are_the_relays_with_their_secrets(change: Change) -> None:
    change(options={"host": "relay.example.com", "port": 587, "username": "jo", "password": "a/b:c@", "use_tls": True})
    assert relays() == {"default": {"url": "smtp+tls://jo:a%2Fb%3Ac%40@relay.example.com:587"}}
    change(options={"host": "::1", "port": 25, "username": "", "password": "", "use_tls": False, "timeout": 7})
    assert relays() == {"default": {"url": "smtp://[::1]:25", "timeout": 7, "insecure_tls": True}}


def test_the_application_may_make_the_postmaster_itself(serve: Serve, change: Change) -> None:
    change(serve(), BOUNCEKIT=f"{__name__}.made")
    assert postmaster() is made()
    letter(ADA).send()
    close()
    assert ADA not in made().suppressions, "what is not ours to close stays open"


_MADE: list[Any] = []


def made() -> Any:
    from bouncekit.postmaster.postmaster import Postmaster

    if not _MADE:
        _MADE.append(Postmaster())
    return _MADE[0]


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        (5, "a int is no postmaster; write BOUNCEKIT = "),
        ("shop.nowhere.postmaster", "No module named 'shop'"),
        ("bouncekit.testing.ManualClock", "that makes a ManualClock"),
        ({"stor": "x"}, "unexpected keyword argument 'stor'"),
    ],
)
def test_a_wrong_setting_says_what_would_be_right(serve: Serve, change: Change, setting: object, why: str) -> None:
    change(serve(), BOUNCEKIT=setting)
    with pytest.raises(ConfigurationError, match=why):
        letter(ADA).send()


def test_the_place_of_the_backend_is_the_documented_one(change: Change) -> None:
    change(options={"host": "localhost"})
    assert f"{EmailBackend.__module__}.{EmailBackend.__name__}".replace(".backend.", ".") == OURS
    assert type(backend()) is EmailBackend
