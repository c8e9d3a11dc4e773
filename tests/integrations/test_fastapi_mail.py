"""FastAPI-Mail in a FastAPI application, with a real server: the same calls, by the policy."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("fastapi_mail", reason="python -m pip install 'bouncekit[fastapi]'")

import aiosmtplib
import fastapi_mail
from fastapi import FastAPI
from fastapi.testclient import TestClient
from fastapi_mail.errors import ConnectionErrors
from fastapi_mail.fastmail import email_dispatched

from bouncekit.integrations.fastapi_mail import FastMail
from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.testing import Closing, Cut, ScriptedServer, refusing_port
from tests.conftest import Heard

Serve = Callable[..., ScriptedServer]
ADA, LATER, FULL = "ada@example.com", "later@example.com", "full@example.com"
REFUSALS = {"RCPT": {LATER: "452 4.2.2 Over quota", FULL: "552 5.2.2 Mailbox full"}}


def config(port: int, **others: Any) -> fastapi_mail.ConnectionConfig:
    settings = {
        "MAIL_USERNAME": "",
        "MAIL_PASSWORD": "",
        "MAIL_SERVER": "127.0.0.1",
        "MAIL_PORT": port,
        "MAIL_STARTTLS": False,
        "MAIL_SSL_TLS": False,
        "MAIL_FROM": "shop@example.org",
        "USE_CREDENTIALS": False,
    }
    return fastapi_mail.ConnectionConfig(**{**settings, **others})


def letter(*to: str) -> fastapi_mail.MessageSchema:
    return fastapi_mail.MessageSchema(subject="Your order", recipients=list(to), body="On its way.", subtype="plain")


def outcomes(heard: Heard) -> list[tuple[str, str | None]]:
    return [(str(one.type), one.recipient) for one in heard if one.type in ("delivered", "delayed", "failed")]


def test_a_view_hears_of_two_who_were_refused_where_stock_fastapi_mail_says_nothing(
    serve: Serve, postmaster: Postmaster, heard: Heard
) -> None:
    server = serve(REFUSALS)
    app = FastAPI()
    stock = fastapi_mail.FastMail(config(server.port))
    mail = FastMail(config(server.port), postmaster=postmaster)

    @app.post("/stock")
    async def stock_view() -> dict[str, Any]:
        return {"said": await stock.send_message(letter(ADA, LATER, FULL))}

    @app.post("/order")
    async def order() -> dict[str, Any]:
        (report,) = await mail.send_message(letter(ADA, LATER, FULL))
        return {"failed": [one.recipient for one in report.failed]}

    with TestClient(app) as client:
        assert client.post("/stock").json() == {"said": None}
        assert outcomes(heard) == []
        assert client.post("/order").json() == {"failed": [FULL]}
    assert outcomes(heard) == [("delivered", ADA), ("delayed", LATER), ("failed", FULL)]


def test_several_messages_take_one_connection_and_have_a_report_each(serve: Serve, postmaster: Postmaster) -> None:
    server = serve()
    mail = FastMail(config(server.port), postmaster=postmaster, stream="orders")
    reports = asyncio.run(mail.send_message([letter(ADA), letter(LATER)]))
    assert [report.delivered[0].recipient for report in reports] == [ADA, LATER]
    assert len(server.sessions) == 1


def test_it_raises_what_fastapi_mail_raises_with_the_report(serve: Serve, postmaster: Postmaster) -> None:
    mail = FastMail(config(serve({"RCPT": "550 5.1.1 No such user"}).port), postmaster=postmaster)
    with pytest.raises(aiosmtplib.SMTPRecipientsRefused) as caught:
        asyncio.run(mail.send_message(letter(ADA)))
    assert [one.recipient for one in caught.value.report.failed] == [ADA]  # type: ignore[attr-defined]


def test_a_line_that_is_lost_at_quit_does_not_have_the_application_send_twice(
    serve: Serve, postmaster: Postmaster
) -> None:
    server = serve({"QUIT": [Cut("fin")]})
    (report,) = asyncio.run(FastMail(config(server.port), postmaster=postmaster).send_message(letter(ADA)))
    assert [one.action.value for one in report.recipients] == ["delivered"]


def test_a_server_that_closes_at_a_recipient_is_told_with_the_report(serve: Serve, postmaster: Postmaster) -> None:
    server = serve({"RCPT": [Closing("421 4.3.2 Going down")]})
    with pytest.raises(aiosmtplib.SMTPRecipientsRefused) as raised:
        asyncio.run(FastMail(config(server.port), postmaster=postmaster).send_message(letter(ADA)))
    assert [one.action.value for one in raised.value.report.recipients] == ["delayed"]  # type: ignore[attr-defined]


def test_a_connection_that_does_not_come_about_is_fastapi_mails_error(postmaster: Postmaster) -> None:
    with refusing_port() as port, pytest.raises(ConnectionErrors):
        asyncio.run(FastMail(config(port), postmaster=postmaster).send_message(letter(ADA)))


def test_its_login_holds(serve: Serve, postmaster: Postmaster) -> None:
    server = serve(users={"shop": "secret"})
    with_login = {"USE_CREDENTIALS": True, "MAIL_USERNAME": "shop"}
    mail = FastMail(config(server.port, **with_login, MAIL_PASSWORD="secret"), postmaster=postmaster)
    asyncio.run(mail.send_message(letter(ADA)))
    assert server.copies(ADA) == 1
    mail = FastMail(config(server.port, **with_login, MAIL_PASSWORD="wrong"), postmaster=postmaster)
    with pytest.raises(ConnectionErrors):
        asyncio.run(mail.send_message(letter(ADA)))


def test_a_message_that_is_only_recorded_is_not_sent(serve: Serve, postmaster: Postmaster) -> None:
    server = serve()
    mail = FastMail(config(server.port, SUPPRESS_SEND=1), postmaster=postmaster)
    with mail.record_messages() as outbox:
        assert asyncio.run(mail.send_message(letter(ADA))) == ()
    assert [one["Subject"] for one in outbox] == ["Your order"]
    assert server.sessions == ()
    assert not email_dispatched.receivers
