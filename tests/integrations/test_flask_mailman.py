"""flask-mailman with a real application and server: the same calls, by the policy."""

import smtplib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("flask_mailman", reason="python -m pip install 'bouncekit[flask]'")

import flask_mailman
from flask import Flask

from bouncekit import ConfigurationError
from bouncekit.integrations.flask_mailman import backend
from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.testing import ScriptedServer, refusing_port
from tests.conftest import Heard

Serve = Callable[..., ScriptedServer]
ADA, LATER, FULL = "ada@example.com", "later@example.com", "full@example.com"
REFUSALS = {"RCPT": {LATER: "452 4.2.2 Over quota", FULL: "552 5.2.2 Mailbox full"}}


def application(port: int, **config: Any) -> Flask:
    app = Flask(__name__)
    app.config.update(MAIL_SERVER="127.0.0.1", MAIL_PORT=port, MAIL_DEFAULT_SENDER="shop@example.org", **config)
    flask_mailman.Mail(app)
    return app


def letter(*to: str) -> flask_mailman.EmailMessage:
    return flask_mailman.EmailMessage("Your order", "It is on its way.", to=list(to))


def test_stock_flask_mailman_says_one_was_sent_and_this_one_tells_of_each(
    serve: Serve, postmaster: Postmaster, heard: Heard
) -> None:
    server = serve(REFUSALS)
    with application(server.port).app_context():
        assert letter(ADA, LATER, FULL).send() == 1
        assert heard == []
    with application(server.port, MAIL_BACKEND=backend(postmaster)).app_context():
        message = letter(ADA, LATER, FULL)
        assert message.send() == 1
    told = [(str(one.type), one.recipient) for one in heard if one.type in ("delivered", "delayed", "failed")]
    assert told == [("delivered", ADA), ("delayed", LATER), ("failed", FULL)]
    assert [one.recipient for one in message.bouncekit_report.failed] == [FULL]


def test_it_raises_or_keeps_silent_as_flask_mailman_does(serve: Serve, postmaster: Postmaster) -> None:
    server = serve({"RCPT": "550 5.1.1 No such user"})
    with application(server.port, MAIL_BACKEND=backend(postmaster)).app_context():
        with pytest.raises(smtplib.SMTPRecipientsRefused) as caught:
            letter(ADA).send()
        assert letter(LATER).send(fail_silently=True) == 0
    assert [one.recipient for one in caught.value.report.failed] == [ADA]  # type: ignore[attr-defined]
    assert server.wait_closed(), "stock flask-mailman leaves the connection open"


def test_labels_are_the_backends(serve: Serve, postmaster: Postmaster, heard: Heard) -> None:
    server = serve()
    dressed = backend(postmaster, tenant="acme", message_class="bulk")
    with application(server.port, MAIL_BACKEND=dressed).app_context():
        letter(ADA).send()
    labels = heard[0].occasion.labels
    assert (labels.tenant, labels.message_class) == ("acme", "bulk")


def test_a_class_that_the_policy_does_not_know_is_said_when_the_backend_is_made(postmaster: Postmaster) -> None:
    with pytest.raises(ConfigurationError, match="message_class='newsletter'"):
        backend(postmaster, message_class="newsletter")


def queueing(make_postmaster: Callable[..., Postmaster], tmp_path: Path, port: int) -> Postmaster:
    return make_postmaster(
        store=f"sqlite:///{tmp_path}/bounces.db",
        retry="queue",
        worker="external",
        relays={"main": f"smtp://127.0.0.1:{port}"},
    )


def test_under_a_queue_a_server_that_is_away_costs_no_message(
    make_postmaster: Callable[..., Postmaster], tmp_path: Path
) -> None:
    with refusing_port() as port:
        postmaster = queueing(make_postmaster, tmp_path, port)
        with application(port, MAIL_BACKEND=backend(postmaster)).app_context():
            message = letter(ADA)
            assert message.send() == 1
    assert [one.kept for one in message.bouncekit_report.delayed] == [True]


def test_one_that_submits_stores_now_and_a_worker_sends(
    serve: Serve, make_postmaster: Callable[..., Postmaster], tmp_path: Path
) -> None:
    server = serve()
    postmaster = queueing(make_postmaster, tmp_path, server.port)
    with application(server.port, MAIL_BACKEND=backend(postmaster, submits=True)).app_context():
        assert letter(ADA).send() == 1
    assert server.sessions == ()
    assert postmaster.worker().run_due() == 1
    assert server.copies(ADA) == 1
