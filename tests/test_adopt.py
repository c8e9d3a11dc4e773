"""Sends that other code makes, through the policy: wrapped connections and a whole process."""

import smtplib
from collections.abc import Callable
from datetime import timedelta

import pytest

import bouncekit
from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.testing import Closing, Raw, ScriptedServer

from .conftest import Heard, message

Serve = Callable[..., ScriptedServer]
ORIGINAL = smtplib.SMTP


def test_a_wrapped_connection_sends_by_the_policy(serve: Serve, postmaster: Postmaster, heard: Heard) -> None:
    server = serve({"RCPT": {"full@example.com": "552 5.2.2 Mailbox full"}})
    with smtplib.SMTP(server.host, server.port) as plain:
        dressed = bouncekit.wrap(plain, postmaster)
        report = dressed.send_message(message("ada@example.com", "full@example.com"))
    assert isinstance(dressed, bouncekit.SMTP)
    assert [one.action for one in report.recipients] == ["delivered", "failed"]  # type: ignore[attr-defined]
    assert "full@example.com" in postmaster.suppressions
    assert heard.types == ["delivered", "failed", "suppression_added", "not_notified"]


def test_a_wrapped_connection_is_never_dialled_again(serve: Serve, postmaster: Postmaster) -> None:
    server = serve({"MAIL": Closing("421 4.3.2 Shutting down")})
    plain = smtplib.SMTP(server.host, server.port)
    dressed = bouncekit.wrap(plain, postmaster)
    with pytest.raises(smtplib.SMTPSenderRefused) as raised:
        dressed.sendmail("shop@example.org", ["ada@example.com"], "Hi")
    assert len(server.sessions) == 1
    assert plain.sock is None
    assert raised.value.report.delayed[0].retry_at is not None  # type: ignore[attr-defined]


def test_a_wrapped_connection_that_is_lost_while_waiting_reports_who_was_delivered(
    serve: Serve, make_postmaster: Callable[..., Postmaster]
) -> None:
    server = serve({"RCPT": {"full@example.com": "452 4.2.2 Over quota"}, "RSET": Closing("421 4.3.2 Shutting down")})
    postmaster = make_postmaster(retry="wait", patience=timedelta(days=5))
    dressed = bouncekit.wrap(smtplib.SMTP(server.host, server.port), postmaster)
    postmaster.on("delayed")(lambda event: dressed.close())
    report = dressed.sendmail("shop@example.org", ["ada@example.com", "full@example.com"], "Hi")
    assert [one.action for one in report.recipients] == ["delivered", "failed"]
    assert server.copies("ada@example.com") == 1


def test_both_objects_share_one_connection(serve: Serve, postmaster: Postmaster) -> None:
    server = serve()
    plain = smtplib.SMTP(server.host, server.port)
    plain.ehlo()
    dressed = bouncekit.wrap(plain, postmaster)
    dressed.sendmail("shop@example.org", ["ada@example.com"], "Hi")
    plain.sendmail("shop@example.org", ["bob@example.com"], "Hi")
    dressed.sendmail("shop@example.org", ["cyd@example.com"], "Hi")
    plain.quit()
    assert len(server.sessions) == 1
    assert [server.copies(f"{name}@example.com") for name in ("ada", "bob", "cyd")] == [1, 1, 1]


def test_what_smtplib_had_read_ahead_is_not_lost(serve: Serve, postmaster: Postmaster) -> None:
    """A 421 that came in one packet with an earlier reply lies in smtplib's buffer when the connection is wrapped."""
    server = serve({"EHLO": Raw(b"250 mx.test\r\n421 4.3.2 Shutting down\r\n")})
    plain = smtplib.SMTP(server.host, server.port)
    plain.ehlo()
    dressed = bouncekit.wrap(plain, postmaster)
    with pytest.raises(smtplib.SMTPException) as raised:
        dressed.sendmail("shop@example.org", ["ada@example.com"], "Hi")
    (only,) = raised.value.report.recipients  # type: ignore[attr-defined]
    assert (only.stage, only.reply.code) == ("IDLE", 421)
    assert not any(command.startswith("mail") for command in server.sessions[0].commands)


def test_each_kind_is_dressed_as_its_own(serve: Serve, postmaster: Postmaster) -> None:
    server = serve(lmtp=True)
    with smtplib.LMTP(server.host, server.port) as plain:
        assert isinstance(bouncekit.wrap(plain, postmaster), bouncekit.LMTP)


def test_what_is_no_connection_is_refused(postmaster: Postmaster) -> None:
    with pytest.raises(TypeError, match=r"str is no smtplib\.SMTP"):
        bouncekit.wrap("localhost", postmaster)  # type: ignore[arg-type]


def test_an_installed_postmaster_hears_of_every_send_of_the_process(
    serve: Serve, postmaster: Postmaster, heard: Heard
) -> None:
    server = serve()
    with bouncekit.install(postmaster), smtplib.SMTP(server.host, server.port) as smtp:
        smtp.send_message(message("ada@example.com"))
    assert heard.types == ["delivered", "closed"]
    assert smtplib.SMTP is ORIGINAL


def test_what_is_no_postmaster_is_not_installed() -> None:
    with pytest.raises(TypeError, match="str is no"):
        bouncekit.install("postmaster")  # type: ignore[arg-type]
    assert smtplib.SMTP is ORIGINAL


def test_an_installation_is_undone_once(postmaster: Postmaster) -> None:
    installed = bouncekit.install(postmaster)
    assert smtplib.SMTP is not ORIGINAL
    assert issubclass(smtplib.SMTP, ORIGINAL)
    installed.undo()
    installed.undo()
    assert smtplib.SMTP is ORIGINAL


def test_installations_nest(postmaster: Postmaster) -> None:
    with bouncekit.install(postmaster):
        outer = smtplib.SMTP
        with bouncekit.install(postmaster):
            assert smtplib.SMTP is not outer
        assert smtplib.SMTP is outer
    assert smtplib.SMTP is ORIGINAL
