"""Real servers that say "not now", and the worker that comes back: Postgrey before Postfix, a full mailbox in Dovecot.

Once with a worker thread of the application, once with a restart: the process that retries is not the one that sent.
"""

from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path

import pytest

from bouncekit.postmaster.postmaster import Postmaster
from tests.conftest import message as message_to

from .servers import GREYLIST_SECONDS, Address, Dovecot, Mailboxes, Postfix, wait_until
from .workers import Work, impatient_policy, running_workers

SECONDS = 20.0  # for what is due in two or three


@pytest.fixture
def work(tmp_path: Path) -> Callable[[str, Address], Work]:
    """What to work on, by a relay's scheme and place: waits are a second longer than Postgrey's."""

    def make(scheme: str, address: Address) -> Work:
        policy = impatient_policy(tmp_path, f"{GREYLIST_SECONDS + 1}s")
        relay = {"url": f"{scheme}://{address.host}:{address.port}", "insecure_tls": True}
        return Work(store=f"sqlite:///{tmp_path / 'bounces.db'}", relays={"main": relay}, policy=policy)

    return make


def mail(*users: str) -> EmailMessage:
    return message_to(*(f"{user}@lab.test" for user in users), sender="sender@lab.test")


def test_who_is_greylisted_gets_one_copy_from_the_worker_thread(
    greylisting: Postfix, mailboxes: Mailboxes, work: Callable[[str, Address], Work]
) -> None:
    with work("smtp", greylisting.greylisting).postmaster(worker="thread") as postmaster:
        send_and_be_greylisted(postmaster, "ok", "ok2")
        wait_until(lambda: not list(postmaster.office.store.queued()), SECONDS)
        delivered_on_the_second_attempt(postmaster, "ok", "ok2")
    greylisting.drain()
    assert mailboxes.counts() == {"ok": 1, "ok2": 1}


def test_who_is_greylisted_gets_one_copy_from_another_process_after_a_restart(
    greylisting: Postfix, mailboxes: Mailboxes, work: Callable[[str, Address], Work]
) -> None:
    asked = work("smtp", greylisting.greylisting)
    with asked.postmaster() as first:
        send_and_be_greylisted(first, "ok", "ok2")
    with running_workers(asked, 1), asked.postmaster() as second:
        wait_until(lambda: not list(second.office.store.queued()), SECONDS)
        delivered_on_the_second_attempt(second, "ok", "ok2")
    greylisting.drain()
    assert mailboxes.counts() == {"ok": 1, "ok2": 1}


def test_who_comes_back_too_early_is_greylisted_again_and_still_gets_one_copy(
    greylisting: Postfix, mailboxes: Mailboxes, work: Callable[[str, Address], Work]
) -> None:
    asked = work("smtp", greylisting.greylisting)
    with asked.postmaster() as postmaster:
        send_and_be_greylisted(postmaster, "ok")
        ((message, recipient),) = ((one.message, one.recipient) for one in postmaster.office.store.queued())
        postmaster.office.store.requeue(message, recipient, at=postmaster.office.clock.now())
        assert postmaster.worker().run_due() == 1
        assert [event["type"] for event in postmaster.why("ok@lab.test")] == ["delayed", "delayed"]
        with running_workers(asked, 1):
            wait_until(lambda: not list(postmaster.office.store.queued()), SECONDS)
    greylisting.drain()
    assert mailboxes.counts() == {"ok": 1}


@pytest.mark.parametrize("is_restarted", [False, True])
def test_a_mailbox_that_was_full_and_is_emptied_gets_one_copy(
    is_restarted: bool, dovecot: Dovecot, mailboxes: Mailboxes, work: Callable[[str, Address], Work]
) -> None:
    asked = work("lmtp", dovecot.lmtp)
    with asked.postmaster(worker="external" if is_restarted else "thread") as first:
        with first.client("main") as client:
            report = client.send(mail("ok", "tempfull", "ok2"))
        (delayed,) = report.delayed
        assert (str(delayed.reply)[:9], delayed.category, delayed.kept) == ("452 4.2.2", "mailbox_full", True)
        assert report == {}
        mailboxes.make_room("tempfull")
        if not is_restarted:
            wait_until(lambda: not list(first.office.store.queued()), SECONDS)
    if is_restarted:
        with running_workers(asked, 1), asked.postmaster() as second:
            wait_until(lambda: not list(second.office.store.queued()), SECONDS)
    assert mailboxes.counts() == {"ok": 1, "tempfull": 1, "ok2": 1}


def send_and_be_greylisted(postmaster: Postmaster, *users: str) -> None:
    with postmaster.client("main") as client:
        report = client.send(mail(*users))
    assert report == {}
    assert [(one.category, one.kept, str(one.reply)[:9]) for one in report.recipients] == [
        ("greylisted", True, "450 4.2.0")
    ] * len(users)


def delivered_on_the_second_attempt(postmaster: Postmaster, *users: str) -> None:
    for user in users:
        delivered, delayed = postmaster.why(f"{user}@lab.test")
        assert (delivered["type"], delayed["type"]) == ("delivered", "delayed")
        assert (delivered["data"]["attempts"], delivered["data"]["possible_duplicate"]) == (2, False)
