"""Connections that keep the report of the last send."""

import smtplib
from collections.abc import Callable
from pathlib import Path

import pytest

from bouncekit.integrations.reporting import ReportingSMTP
from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.testing import ScriptedServer
from tests.conftest import message

Serve = Callable[..., ScriptedServer]


def test_the_report_is_there_whether_the_send_returns_or_raises(serve: Serve, postmaster: Postmaster) -> None:
    server = serve({"RCPT": {"full@example.com": "552 5.2.2 Mailbox full"}})
    with ReportingSMTP(server.host, server.port, postmaster=postmaster) as smtp:
        assert smtp.report is None
        smtp.send_message(message("ada@example.com"))
        assert [str(one.action) for one in smtp.report.recipients] == ["delivered"]
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            smtp.send_message(message("full@example.com"))
        assert [str(one.action) for one in smtp.report.recipients] == ["failed"]


def test_what_was_never_tried_leaves_no_report_of_another(serve: Serve, postmaster: Postmaster) -> None:
    server = serve()
    with ReportingSMTP(server.host, server.port, postmaster=postmaster) as smtp:
        smtp.send_message(message("ada@example.com"))
        with pytest.raises(UnicodeEncodeError):
            smtp.sendmail("shop@example.org", ["ada@example.com"], "Subject: é\r\n\r\n")
        assert smtp.report is None


def test_one_that_submits_stores_and_sends_nothing(
    serve: Serve, make_postmaster: Callable[..., Postmaster], tmp_path: Path
) -> None:
    server = serve()
    settings = {"store": f"sqlite:///{tmp_path}/bounces.db", "retry": "queue", "worker": "external"}
    postmaster = make_postmaster(**settings, relays={"main": server.url})
    smtp = ReportingSMTP(postmaster=postmaster)
    smtp.submits = True
    smtp.dial_when_needed(server.host, server.port, relay="main")
    smtp.send_message(message("ada@example.com"))
    assert [one.kept for one in smtp.report.delayed] == [True]
    assert server.sessions == ()
    assert postmaster.worker().run_due() == 1
    assert server.copies("ada@example.com") == 1
