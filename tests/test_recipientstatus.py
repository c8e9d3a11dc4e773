"""What an address's owner may be told: how mail fares, why, since when, and what helps; and no more than that."""

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from smtplib import SMTPException

import pytest

from bouncekit import AddressError
from bouncekit.codes import Language
from bouncekit.meaning.classification import Category, Scope, scope_of
from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.postmaster.recipientstatus import _CODES, _OWN_WORDS, _REMEDIES, MailState, RecipientNews, _words
from bouncekit.testing import ManualClock, ScriptedServer

Serve = Callable[..., ScriptedServer]
JO = "jo@example.com"


def send(postmaster: Postmaster, server: ScriptedServer, to: str = JO, **labels: object) -> None:
    with suppress(SMTPException), postmaster.smtp(server.host, server.port, **labels) as smtp:
        smtp.sendmail("shop@example.org", [to], "Subject: Hi\r\n\r\nHello")


def after(postmaster: Postmaster, serve: Serve, *replies: str, **labels: object) -> RecipientNews:
    """The news behind so many sends, one reply each."""
    server = serve({"RCPT": list(replies)})
    for _ in replies:
        send(postmaster, server, **labels)
    return postmaster.status(JO)


def test_of_an_address_that_nobody_wrote_to_all_is_well(postmaster: Postmaster) -> None:
    news = postmaster.status(JO)
    assert (news.state, news.because, news.remedy, news.since, news.meant) == (MailState.WELL, "", "", None, None)
    assert news.headline == "Mail to jo@example.com goes out."


def test_a_full_mailbox_is_held_back_and_its_owner_learns_what_to_do_and_when_we_try_again(
    serve: Serve, postmaster: Postmaster, clock: ManualClock
) -> None:
    began = clock.now()
    news = after(postmaster, serve, "552 5.2.2 Mailbox full")
    assert (news.state, news.category) == (MailState.HELD_BACK, Category.MAILBOX_FULL)
    assert news.because == "The mailbox has used up its quota."
    assert news.remedy.startswith("Delete some mail")
    assert news.since == began
    assert news.until == news.next_try_at == began + timedelta(days=7)


def test_and_in_hindi(serve: Serve, postmaster: Postmaster) -> None:
    after(postmaster, serve, "552 5.2.2 Mailbox full")
    news = postmaster.status(JO, lang="hi")
    assert news.headline == "jo@example.com पर मेल भेजना हमने रोक रखा है।"
    assert news.because == "मेलबॉक्स का कोटा पूरा हो गया है।"
    assert "जगह बढ़वाएँ" in news.remedy


def test_behind_its_term_the_last_outcome_counts_again(
    serve: Serve, postmaster: Postmaster, clock: ManualClock
) -> None:
    after(postmaster, serve, "552 5.2.2 Mailbox full")
    clock.move(timedelta(days=8))
    assert postmaster.status(JO).state is MailState.FAILED
    send(postmaster, serve())
    assert postmaster.status(JO).state is MailState.WELL


def test_a_delay_says_when_we_try_again_and_since_when_it_lasts(
    serve: Serve, postmaster: Postmaster, clock: ManualClock
) -> None:
    began = clock.now()
    server = serve({"RCPT": "452 4.2.2 Over quota"})
    for _ in range(3):
        send(postmaster, server)
        clock.move(timedelta(hours=2))
    news = postmaster.status(JO)
    assert (news.state, news.since, news.until) == (MailState.DELAYED, began, None)
    assert news.next_try_at is not None
    assert news.next_try_at > began + timedelta(hours=4)
    assert news.remedy.startswith("Delete some mail")


@pytest.mark.parametrize("reply", ["550 5.7.1 Blocked, listed at zen.spamhaus.org", "451 4.3.0 Internal error"])
def test_what_is_our_fault_or_a_servers_is_none_of_theirs_and_stays_ours(
    serve: Serve, postmaster: Postmaster, reply: str
) -> None:
    news = after(postmaster, serve, reply)
    assert news.state in (MailState.FAILED, MailState.DELAYED)
    assert (news.because, news.remedy) == ("The reason is not your mailbox.", "There is nothing that you have to do.")
    assert news.category is None
    assert "spamhaus" not in str(news.to_dict())


def test_who_was_put_on_the_list_by_hand_is_told_whom_to_ask_and_no_more(postmaster: Postmaster) -> None:
    postmaster.suppressions.add(JO, reason="rude on the telephone", by="kim")
    news = postmaster.status(JO)
    assert (news.state, news.category, news.next_try_at) == (MailState.HELD_BACK, None, None)
    assert "by hand" in news.because
    assert not {"rude", "kim"} & set(str(news.to_dict()).split())


def test_tenants_streams_and_tests_are_kept_apart(serve: Serve, postmaster: Postmaster) -> None:
    assert after(postmaster, serve, "552 5.2.2 Full", tenant="acme", stream="news").state is MailState.WELL
    assert postmaster.status(JO, tenant="acme", stream="news").state is MailState.HELD_BACK
    assert postmaster.status(JO, tenant="acme").state is MailState.WELL
    assert after(postmaster, serve, "451 4.3.0 Later", test=True).state is MailState.WELL


def test_a_slip_in_the_domain_is_hinted_at_where_mail_does_not_arrive(serve: Serve, postmaster: Postmaster) -> None:
    assert postmaster.status("jo@gmial.com").meant is None
    send(postmaster, serve({"RCPT": "550 5.1.2 No such domain"}), "jo@gmial.com")
    assert postmaster.status("jo@gmial.com").meant == "jo@gmail.com"


def test_somebody_who_was_forgotten_is_still_told_that_mail_is_held_back(
    serve: Serve, make_postmaster: Callable[..., Postmaster]
) -> None:
    postmaster = make_postmaster(hash_keys=["a secret of 16 bytes"])
    after(postmaster, serve, "550 5.1.1 No such user")
    postmaster.forget(JO)
    assert postmaster.status(JO).state is MailState.HELD_BACK


def test_what_is_no_address_and_no_language_is_said(postmaster: Postmaster) -> None:
    with pytest.raises(AddressError):
        postmaster.status("no address")
    with pytest.raises(ValueError, match="'fr'"):
        postmaster.status(JO, lang="fr")


@pytest.mark.parametrize("language", list(Language), ids=str)
@pytest.mark.parametrize("category", list(Category), ids=str)
def test_every_category_has_words_in_every_language(category: Category, language: Language) -> None:
    because, remedy = _words(category, language)
    assert because
    assert remedy
    is_theirs = category in _CODES or category in _OWN_WORDS[language]
    assert is_theirs == (scope_of(category) is Scope.RECIPIENT and category is not Category.AUTO_REPLY)
    assert set(_REMEDIES[language]) == set(_CODES)


def test_as_json_it_has_these_keys(serve: Serve, postmaster: Postmaster) -> None:
    shown = after(postmaster, serve, "552 5.2.2 Mailbox full").to_dict()
    assert shown == {
        "state": "held_back",
        "language": "en",
        "headline": "We are holding back mail to jo@example.com.",
        "because": "The mailbox has used up its quota.",
        "remedy": "Delete some mail or get more space, or give us another address.",
        "category": "mailbox_full",
        "meant": None,
        "since": "2026-01-01T12:00:00.000Z",
        "until": "2026-01-08T12:00:00.000Z",
        "next_try_at": "2026-01-08T12:00:00.000Z",
    }
