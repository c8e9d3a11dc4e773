"""Replies as cases for tests: all that the shipped rules have as examples, found by what they mean, and playable."""

import smtplib
from collections.abc import Callable

import pytest

from bouncekit.meaning.classification import Category
from bouncekit.outside.builtin import classifier
from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.testing import ScriptedServer
from bouncekit.testing.replies import ReplyCase, provider_replies
from bouncekit.testing.script import Cues

Serve = Callable[..., ScriptedServer]


def test_every_example_of_every_rule_is_a_case_of_its_own() -> None:
    cases = provider_replies()
    assert len(cases) == sum(len(rule.examples) for rule in classifier().rules)
    assert len({case.id for case in cases}) == len(cases)
    assert {case.category for case in cases} >= {Category.MAILBOX_FULL, Category.GREYLISTED, Category.USER_UNKNOWN}


def test_cases_are_found_by_all_that_is_given() -> None:
    full = provider_replies(category="mailbox_full", scope="recipient", stage="RCPT")
    assert full
    assert {(case.category.value, str(case.stage)) for case in full} == {("mailbox_full", "RCPT")}
    assert {case.provider for case in provider_replies(provider="gmail")} == {"gmail"}
    assert provider_replies(category="mailbox_full", provider="mimecast") == ()


def test_a_word_that_means_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="mailbox_fool"):
        provider_replies(category="mailbox_fool")


def test_each_is_a_script_that_a_server_takes() -> None:
    for case in provider_replies():
        Cues(case.script)


def test_a_server_says_it_line_for_line(serve: Serve, postmaster: Postmaster) -> None:
    (case,) = (case for case in provider_replies() if case.id == "text-sender-callout")
    server = serve(case.script)
    with postmaster.smtp(server.host, server.port) as smtp, pytest.raises(smtplib.SMTPRecipientsRefused) as caught:
        smtp.sendmail("shop@example.org", ["jo@example.com"], "Hi")
    (one,) = caught.value.report.recipients  # type: ignore[attr-defined]
    assert (one.category, one.scope) == (case.category, case.scope)
    (said,) = (exchange.reply for exchange in server.sessions[0].transcript if exchange.command.startswith("rcpt"))
    assert said.replace("\r\n", "\n") == case.reply


@pytest.mark.provider_replies(category="mailbox_full", stage="RCPT")
def test_whoever_is_full_is_never_told_as_somebody_who_does_not_exist(
    provider_reply: ReplyCase, serve: Serve, postmaster: Postmaster
) -> None:
    """Over the wire, without a provider's host: what is sure by the words alone stays so."""
    if provider_reply.provider is not None:
        assert provider_reply.category is Category.MAILBOX_FULL
        return
    server = serve(provider_reply.script)
    with postmaster.smtp(server.host, server.port) as smtp, pytest.raises(smtplib.SMTPException):
        smtp.sendmail("shop@example.org", ["jo@example.com"], "Hi")
    assert postmaster.heard.of("failed") or postmaster.heard.of("delayed")  # type: ignore[attr-defined]
    told = [event for event in postmaster.heard if event.category is not None]  # type: ignore[attr-defined]
    assert {event.category for event in told} == {Category.MAILBOX_FULL}
