"""Sends that an application makes with aiosmtplib: the same calls, results and exceptions, by the policy."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

aiosmtplib = pytest.importorskip("aiosmtplib", reason="python -m pip install 'bouncekit[aiosmtplib]'")

from bouncekit import ConfigurationError  # noqa: E402
from bouncekit.integrations.aiosmtplib import SMTP, Sent, install  # noqa: E402
from bouncekit.postmaster.postmaster import Postmaster  # noqa: E402
from bouncekit.testing import Closing, Cut, Kept, Script, ScriptedServer, Silence  # noqa: E402
from tests.conftest import Heard, message  # noqa: E402

Serve = Callable[..., ScriptedServer]
ADA, BAD = "ada@example.com", "bad@example.com"


def send(server: ScriptedServer, postmaster: Postmaster, *recipients: str) -> Sent:
    async def main() -> Sent:
        async with SMTP(hostname=server.host, port=server.port, start_tls=False, postmaster=postmaster) as smtp:
            return await smtp.send_message(message(*recipients))

    return asyncio.run(main())


def test_a_send_returns_what_aiosmtplib_returns_and_a_report(serve: Serve, postmaster: Postmaster) -> None:
    server = serve({"RCPT": {BAD: "550 5.1.1 No such user"}})
    sent = send(server, postmaster, ADA, BAD)
    refused, text = sent
    assert refused == {BAD: (550, "5.1.1 No such user")}
    assert text == "2.0.0 Ok: taken"
    assert [one.action.value for one in sent.report.recipients] == ["delivered", "failed"]
    assert server.copies(ADA) == 1
    assert server.sessions[0].commands[-1] == "QUIT"


def test_whom_the_policy_suppresses_gets_no_second_message(serve: Serve, postmaster: Postmaster) -> None:
    server = serve({"RCPT": {BAD: "550 5.1.1 No such user"}})
    send(server, postmaster, ADA, BAD)
    refused, _ = send(server, postmaster, ADA, BAD)
    assert refused[BAD].code == -1
    assert sum(BAD in command for session in server.sessions for command in session.commands) == 1


def test_one_connection_carries_several_messages_and_aiosmtplibs_own_commands_between(
    serve: Serve, postmaster: Postmaster
) -> None:
    server = serve()

    async def main() -> None:
        async with SMTP(hostname=server.host, port=server.port, start_tls=False, postmaster=postmaster) as smtp:
            await smtp.send_message(message(ADA))
            assert (await smtp.noop()).code == 250
            await smtp.send_message(message(ADA))

    asyncio.run(main())
    assert len(server.sessions) == 1
    assert server.copies(ADA) == 2


@pytest.mark.parametrize(
    ("script", "raised", "action"),
    [
        ({"RCPT": "550 5.1.1 No such user"}, aiosmtplib.SMTPRecipientsRefused, "failed"),
        ({"MAIL": "451 4.3.0 Later"}, aiosmtplib.SMTPSenderRefused, "delayed"),
        ({"END_OF_DATA": "554 5.6.0 No"}, aiosmtplib.SMTPDataError, "failed"),
        ({"RCPT": Closing("421 4.3.2 Bye")}, aiosmtplib.SMTPRecipientsRefused, "delayed"),
        ({"DATA": Cut("fin")}, aiosmtplib.SMTPServerDisconnected, "delayed"),
        ({"END_OF_DATA": Kept(Cut("fin"))}, aiosmtplib.SMTPServerDisconnected, "unknown"),
    ],
)
def test_it_raises_what_aiosmtplib_raises_with_the_report(
    serve: Serve, postmaster: Postmaster, script: dict[str, object], raised: type[Exception], action: str
) -> None:
    with pytest.raises(raised) as caught:
        send(serve(script), postmaster, ADA)
    assert [one.action.value for one in caught.value.report.recipients] == [action]  # type: ignore[attr-defined]


def test_behind_a_lost_line_it_is_not_connected(serve: Serve, postmaster: Postmaster) -> None:
    server = serve({"MAIL": Cut("fin")})

    async def main() -> bool:
        smtp = SMTP(hostname=server.host, port=server.port, start_tls=False, postmaster=postmaster)
        await smtp.connect()
        with pytest.raises(aiosmtplib.SMTPServerDisconnected):
            await smtp.send_message(message(ADA))
        return smtp.is_connected

    assert asyncio.run(main()) is False


@pytest.mark.parametrize("script", [{"EHLO": ["421 4.3.2 Going down"]}, {"EHLO": ["550 No"], "HELO": ["550 No"]}])
def test_who_is_not_greeted_is_delayed_and_has_a_report(serve: Serve, postmaster: Postmaster, script: Script) -> None:
    with pytest.raises(aiosmtplib.SMTPHeloError) as raised:
        send(serve(script), postmaster, ADA)
    assert [one.action.value for one in raised.value.report.recipients] == ["delayed"]  # type: ignore[attr-defined]


def test_whom_a_server_without_smtputf8_cannot_reach_costs_the_others_nothing(
    serve: Serve, postmaster: Postmaster
) -> None:
    server = serve(extensions=("8BITMIME",))
    people = (one for one in ("b\N{LATIN SMALL LETTER O WITH STROKE}b@example.com", ADA))

    async def main() -> Sent:
        async with SMTP(hostname=server.host, port=server.port, start_tls=False, postmaster=postmaster) as smtp:
            return await smtp.send_message(message(BAD), recipients=people)

    assert [one.action.value for one in asyncio.run(main()).report.recipients] == ["failed", "delivered"]
    assert server.messages[0].recipients == (ADA,)


@pytest.mark.parametrize("answer", [Cut("fin"), "500 What?"])
def test_no_answer_to_quit_is_an_error_behind_a_send(serve: Serve, postmaster: Postmaster, answer: Cut | str) -> None:
    server = serve({"QUIT": [answer, answer]})

    async def main(recipients: Sequence[str]) -> int:
        smtp = SMTP(hostname=server.host, port=server.port, start_tls=False, postmaster=postmaster)
        await smtp.connect()
        for recipient in recipients:
            await smtp.send_message(message(recipient))
        code = (await smtp.quit()).code
        assert not smtp.is_connected
        return code

    assert asyncio.run(main([ADA])) == -1
    with pytest.raises(aiosmtplib.SMTPException):
        asyncio.run(main([]))


def test_its_time_out_bounds_a_reply_and_delays_everybody(serve: Serve, postmaster: Postmaster, heard: Heard) -> None:
    server = serve({"RCPT": Silence()})

    async def main() -> None:
        async with SMTP(
            hostname=server.host, port=server.port, start_tls=False, timeout=1.5, postmaster=postmaster
        ) as smtp:
            await smtp.send_message(message(ADA))

    with pytest.raises(aiosmtplib.SMTPServerDisconnected):
        asyncio.run(main())
    assert heard.types.count("delayed") == 1


def test_a_queue_needs_to_know_the_relay(
    serve: Serve, make_postmaster: Callable[..., Postmaster], tmp_path: Path
) -> None:
    server = serve({"RCPT": ["451 4.3.0 Later"]})
    settings = {"store": f"sqlite:///{tmp_path}/bounces.db", "retry": "queue", "worker": "external"}
    with pytest.raises(ConfigurationError, match="no relay of this postmaster"):
        send(server, make_postmaster(**settings), ADA)
    sent = send(server, make_postmaster(**settings, relays={"main": server.url}), ADA)
    assert [one.kept for one in sent.report.delayed] == [True]
    assert sent[0] == {}


def test_install_dresses_every_send_of_the_process_and_can_be_undone(serve: Serve, postmaster: Postmaster) -> None:
    server = serve()
    original = aiosmtplib.SMTP
    with install(postmaster):
        sent = asyncio.run(aiosmtplib.send(message(ADA), hostname=server.host, port=server.port, start_tls=False))
    assert [one.action.value for one in sent.report.recipients] == ["delivered"]  # type: ignore[attr-defined]
    assert aiosmtplib.SMTP is original
    assert aiosmtplib.smtp.SMTP is original


def test_without_a_postmaster_it_says_so() -> None:
    with pytest.raises(TypeError, match="postmaster"):
        SMTP(hostname="localhost")
