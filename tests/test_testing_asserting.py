"""Assertions about a send: silent where they hold, and telling where they do not."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from bouncekit.delivery.report import Report
from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.testing import ManualClock, ScriptedServer
from bouncekit.testing.asserting import assert_not_suppressed, assert_outcomes, assert_suppressed

ADA, FULL = "ada@example.com", "full@example.com"


@pytest.fixture
def report(serve: Callable[..., ScriptedServer], postmaster: Postmaster) -> Report:
    server = serve({"RCPT": {FULL: "552 5.2.2 Mailbox full"}})
    with postmaster.smtp(server.host, server.port) as smtp:
        return smtp.sendmail("shop@example.org", [ADA, FULL], "Hi")


def test_outcomes_hold_or_say_what_was_said(report: Report) -> None:
    assert_outcomes(report, {ADA: "delivered", FULL: "failed"})
    with pytest.raises(AssertionError) as caught:
        assert_outcomes(report, {FULL: "delivered", "x@example.com": "failed"})
    assert str(caught.value).splitlines() == [
        f"{FULL}: failed, not delivered (552 5.2.2 Mailbox full)",
        "x@example.com: no recipient, not failed ()",
        f"{ADA}: delivered, not expected at all (250 2.0.0 Ok: taken)",
    ]


def test_suppressions_hold_or_say_why_not(report: Report, postmaster: Postmaster, clock: ManualClock) -> None:
    assert_suppressed(postmaster, FULL, category="mailbox_full")
    assert_not_suppressed(postmaster, ADA)
    with pytest.raises(AssertionError, match=r"ada@example\.com is not suppressed$"):
        assert_suppressed(postmaster, ADA)
    with pytest.raises(AssertionError, match="for mailbox_full, not user_unknown: 552 "):
        assert_suppressed(postmaster, FULL, category="user_unknown")
    with pytest.raises(AssertionError, match="for mailbox_full, by rule mailbox-full: 552 "):
        assert_not_suppressed(postmaster, FULL)
    clock.move(timedelta(days=8))
    assert_not_suppressed(postmaster, FULL)
    with pytest.raises(AssertionError, match="not suppressed any more, since 2026-01-08"):
        assert_suppressed(postmaster, FULL)


def test_tenants_are_kept_apart(postmaster: Postmaster) -> None:
    postmaster.suppressions.add(ADA, tenant="acme", stream="news")
    assert_suppressed(postmaster, ADA, tenant="acme", stream="news")
    assert_not_suppressed(postmaster, ADA)
