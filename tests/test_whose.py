"""Names in a reply: whose domain was not found, whose address could not be verified."""

import pytest

from bouncekit.meaning.classification import Category, Scope
from bouncekit.meaning.whose import of_whom
from bouncekit.outside.builtin import classify
from bouncekit.words.reply import Reply, Stage
from bouncekit.words.status import Action, RecipientStatus

NOT_FOUND = "550 5.4.4 Host or domain name not found. Name service error for name=%s type=A: Host not found"
NO_DATA = NOT_FOUND.replace("Host not found", "Host found but no data record of requested type")
SENDMAIL = "550 5.1.2 <jo@example.com>... Host unknown (Name server: %s: host not found)"


def judged(reply: str, recipient: str = "jo@example.com") -> tuple[Category, Scope | None]:
    status = RecipientStatus(
        recipient=recipient, action=Action.FAILED, stage=Stage.RCPT, reply=Reply.parse(reply), accepted=1
    )
    verdict = classify(status)
    return verdict.category, verdict.scope


@pytest.mark.parametrize("reply", [NOT_FOUND, SENDMAIL])
@pytest.mark.parametrize("name", ["example.com", "EXAMPLE.com."])
def test_the_recipients_own_domain_that_is_not_found_is_his_end(reply: str, name: str) -> None:
    assert judged(reply % name) == (Category.BAD_DOMAIN, Scope.RECIPIENT)


@pytest.mark.parametrize(
    "reply", [NOT_FOUND, NO_DATA, SENDMAIL, NOT_FOUND.replace("5.4.4", "5.1.1 undeliverable address:")]
)
@pytest.mark.parametrize("name", ["mail.internal", "mx.example.com", "com"])
def test_another_host_that_is_not_found_is_nobodys_fault_but_the_routes(reply: str, name: str) -> None:
    assert judged(reply % name) == (Category.NETWORK_ERROR, Scope.ROUTE)


def test_the_address_that_a_text_begins_with_may_be_where_a_forward_leads() -> None:
    reply = "550 5.4.4 <jo@example.net>: " + NOT_FOUND[10:]
    assert judged(reply % "example.net")[0] is Category.BAD_DOMAIN
    assert judged(reply % "example.org")[0] is Category.NETWORK_ERROR


def test_a_verification_is_about_the_recipient_only_where_it_has_his_address() -> None:
    failed = "550-Verification failed for <%s>\n550 unknown user"
    assert judged(failed % "Jo@example.com") == (Category.USER_UNKNOWN, Scope.RECIPIENT)
    assert judged(failed % "shop@example.org") == (Category.SENDER_REJECTED, Scope.SENDER)
    to_himself = failed % "jo@example.com" + "\n550 Sender verify failed"
    assert judged(to_himself) == (Category.SENDER_REJECTED, Scope.SENDER)


@pytest.mark.parametrize("text", ["550 No such user", NOT_FOUND % "example.com", "550 Name server: busy, name=x"])
def test_a_reply_without_anothers_name_stays_the_same(text: str) -> None:
    reply = Reply.parse(text)
    assert of_whom(reply, "jo@example.com") is reply


def test_where_nobody_is_known_nothing_is_told_apart() -> None:
    reply = Reply.parse(NOT_FOUND % "mail.internal")
    assert of_whom(reply, "") is reply
