"""Flask-Mail with a real application and server: the same calls, by the policy."""

import smtplib
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("flask_mail", reason="python -m pip install 'bouncekit[flask]'")

import flask_mail
from flask import Flask

from bouncekit.integrations.flask_mail import Mail
from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.testing import Closing, ScriptedServer
from tests.conftest import Heard

Serve = Callable[..., ScriptedServer]
ADA, LATER, FULL = "ada@example.com", "later@example.com", "full@example.com"
REFUSALS = {"RCPT": {LATER: "452 4.2.2 Over quota", FULL: "552 5.2.2 Mailbox full"}}


def application(server: ScriptedServer, **config: Any) -> Flask:
    app = Flask(__name__)
    app.config.update(MAIL_SERVER=server.host, MAIL_PORT=server.port, MAIL_DEFAULT_SENDER="shop@example.org", **config)
    return app


def letter(*to: str) -> flask_mail.Message:
    return flask_mail.Message("Your order", recipients=list(to), body="It is on its way.")


def outcomes(heard: Heard) -> list[tuple[str, str | None]]:
    return [(str(one.type), one.recipient) for one in heard if one.type in ("delivered", "delayed", "failed")]


def test_stock_flask_mail_says_nothing_of_two_who_were_refused_and_this_one_tells_of_each(
    serve: Serve, postmaster: Postmaster, heard: Heard
) -> None:
    server = serve(REFUSALS)
    app = application(server)
    with app.app_context():
        flask_mail.Mail(app).send(letter(ADA, LATER, FULL))
        assert outcomes(heard) == []
        message = letter(ADA, LATER, FULL)
        Mail(app, postmaster=postmaster).send(message)
    assert sorted(outcomes(heard)) == [("delayed", LATER), ("delivered", ADA), ("failed", FULL)]  # sent as a set
    assert [one.recipient for one in message.bouncekit_report.failed] == [FULL]
    assert FULL in postmaster.suppressions


def test_an_application_that_is_made_later_and_the_extension_it_has_send_in_the_same_way(
    serve: Serve, postmaster: Postmaster, heard: Heard
) -> None:
    server = serve()
    mail = Mail(postmaster=postmaster, stream="orders")
    app = application(server)
    mail.init_app(app)
    with app.app_context():
        mail.send_message("Hi", recipients=[ADA], body="Hello")
        app.extensions["mail"].send(letter(LATER))
    assert outcomes(heard) == [("delivered", ADA), ("delivered", LATER)]
    assert {one.occasion.labels.stream for one in heard if one.recipient} == {"orders"}


def test_it_raises_what_flask_mail_raises_with_the_report(serve: Serve, postmaster: Postmaster) -> None:
    app = application(serve({"RCPT": "550 5.1.1 No such user"}))
    mail = Mail(app, postmaster=postmaster)
    with app.app_context():
        message = letter(ADA)
        with pytest.raises(smtplib.SMTPRecipientsRefused) as caught:
            mail.send(message)
    assert caught.value.report is message.bouncekit_report  # type: ignore[attr-defined]


def test_a_connection_that_the_server_closes_is_opened_again(serve: Serve, postmaster: Postmaster) -> None:
    server = serve({"MAIL": [Closing("421 4.3.2 Shutting down")]})
    app = application(server)
    with app.app_context(), Mail(app, postmaster=postmaster).connect() as connection:
        connection.send(letter(ADA))
        connection.send(letter(LATER))
    assert [server.copies(one) for one in (ADA, LATER)] == [1, 1]


def test_its_login_and_its_limit_of_messages_hold(serve: Serve, postmaster: Postmaster) -> None:
    server = serve(users={"shop": "secret"})
    app = application(server, MAIL_USERNAME="shop", MAIL_PASSWORD="secret", MAIL_MAX_EMAILS=1)
    with app.app_context(), Mail(app, postmaster=postmaster).connect() as connection:
        connection.send(letter(ADA))
        connection.send(letter(LATER))
    assert len(server.sessions) == 3  # each message ends one, and the last one stays empty
    assert len(server.messages) == 2


def test_an_application_under_test_sends_nothing(serve: Serve, postmaster: Postmaster) -> None:
    server = serve()
    app = application(server, TESTING=True)
    mail = Mail(app, postmaster=postmaster)
    with app.app_context(), mail.record_messages() as outbox:
        message = letter(ADA)
        mail.send(message)
    assert outbox == [message]
    assert message.bouncekit_report is None
    assert server.sessions == ()
