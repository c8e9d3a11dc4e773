"""Forgetting a person: nothing readable is left, in whatever file of the store, and mail to him stays held back."""

import json
import secrets
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bouncekit.clients.smtperrors import StoreUnavailable
from bouncekit.delivery.submission import _plain
from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.stores import open_store
from bouncekit.stores.erased import Secrets
from bouncekit.stores.memory import MemoryStore
from bouncekit.testing import ManualClock, ScriptedServer
from bouncekit.words.errors import ConfigurationError, StoreError

from .conftest import message

SECRET = "a secret of thirty-two characters"
JO = "Jo.Planted-Doe@example.com"
STORES = ("memory", "sqlite")
SCRIPT = {
    "RCPT": {
        "jo.planted-doe@example.com": "550 5.1.1 <jo.planted-doe@example.com>: user jo.planted-doe unknown",
        "later@example.com": "451 4.3.0 Later",
    }
}

Opened = Callable[..., Postmaster]


@pytest.fixture(params=STORES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str | None:
    return None if request.param == "memory" else f"sqlite:///{tmp_path}/b.db"


@pytest.fixture
def opened(make_postmaster: Callable[..., Postmaster], url: str | None) -> Opened:
    store = open_store(url)

    def make(**settings: Any) -> Postmaster:
        return make_postmaster(store=store, hash_keys=[SECRET], **settings)

    return make


def every_text(postmaster: Postmaster) -> str:
    """All that a store tells to whoever asks."""
    store = postmaster.office.store
    told = [event for _, event in store.events()]
    return json.dumps(told) + repr(list(store.suppressions())) + repr(store.changes()) + repr(list(store.queued()))


def bounced(postmaster: Postmaster, serve: Callable[..., ScriptedServer]) -> None:
    """A refusal, an entry by it, a change by hand, and another person's events beside it."""
    server = serve(SCRIPT)
    with postmaster.smtp(server.host, server.port) as smtp:
        smtp.send_message(message("jo.planted-doe@example.com", "ann@example.com"))
    postmaster.suppressions.add(JO, reason=f"{JO} asked us", by="support")


def test_nothing_that_a_store_tells_names_him_any_more(opened: Opened, serve: Callable[..., ScriptedServer]) -> None:
    postmaster = opened()
    bounced(postmaster, serve)
    assert "planted" in every_text(postmaster).lower()
    done = postmaster.forget(JO)
    assert done.is_complete
    assert (done.erased.suppressions, done.erased.changes, done.erased.events) == (1, 2, 3)
    assert "planted" not in every_text(postmaster).lower()
    assert list(postmaster.why(JO)) == []
    assert [event["type"] for event in postmaster.why("ann@example.com")] == ["delivered"]


def test_no_address_that_was_sent_to_stays_in_memory(opened: Opened, serve: Callable[..., ScriptedServer]) -> None:
    postmaster = opened()
    bounced(postmaster, serve)
    assert _plain.cache_info().currsize
    postmaster.forget(JO)
    assert not _plain.cache_info().currsize


def test_he_stays_suppressed_for_every_kind_of_mail(opened: Opened, serve: Callable[..., ScriptedServer]) -> None:
    postmaster = opened()
    bounced(postmaster, serve)
    postmaster.forget(JO)
    assert JO in postmaster.suppressions
    assert postmaster.suppressions.check([JO, "x@example.com"], stream="news") == {JO}
    server = serve()
    with postmaster.smtp(server.host, server.port) as smtp:
        report = smtp.send_message(message(JO, "ann@example.com"))
    assert [one.recipient for one in report.suppressed] == [JO]
    (sent,) = server.messages
    assert list(sent.recipients) == ["ann@example.com"]


def test_somebody_who_was_never_known_is_suppressed_too_and_again_changes_nothing(opened: Opened) -> None:
    postmaster = opened()
    first = postmaster.forget(JO)
    listed = list(postmaster.suppressions)
    assert postmaster.forget(JO.lower()).pseudonym == first.pseudonym
    assert list(postmaster.suppressions) == listed
    assert [one.address for one in listed] == [None]


def test_a_hand_lifts_it(opened: Opened) -> None:
    postmaster = opened()
    postmaster.forget(JO)
    assert postmaster.suppressions.lift(JO, by="support") is not None
    assert JO not in postmaster.suppressions


def test_no_import_brings_him_back(opened: Opened) -> None:
    import io

    postmaster = opened()
    postmaster.forget(JO)
    done = postmaster.suppressions.import_(io.BytesIO(f"email\n{JO}\nann@example.com\n".encode()))
    assert (done.added.total(), done.kept.total()) == (1, 1)
    assert "planted" not in every_text(postmaster).lower()


def test_what_waits_for_him_is_dropped_and_what_others_wait_for_is_said(
    opened: Opened, serve: Callable[..., ScriptedServer]
) -> None:
    server = serve()
    postmaster = opened(retry="queue", worker="external", relays={"main": server.url})
    with postmaster.client("main") as client:
        client.submit(message(JO))
        client.submit(message(JO, "ann@example.com"))
    done = postmaster.forget(JO)
    assert (done.dropped, done.sending, done.erased.shared, done.is_complete) == (2, 0, 1, False)
    assert [row.recipient for row in postmaster.office.store.queued()] == ["ann@example.com"]
    told = [event for _, event in postmaster.office.store.events() if event["type"] == "failed"]
    assert {event["subject"] for event in told} == {done.pseudonym}
    assert not postmaster.forget(JO).is_complete, "it still names him"
    postmaster.worker().run_due()
    assert postmaster.forget(JO).is_complete


def test_a_new_secret_takes_over_and_the_old_one_still_finds_him(
    opened: Opened, make_postmaster: Callable[..., Postmaster]
) -> None:
    postmaster = opened()
    postmaster.forget(JO)
    store = postmaster.office.store
    later = make_postmaster(store=store, hash_keys=["another secret of enough length", SECRET])
    assert JO in later.suppressions
    later.forget("ann@example.com")
    assert len(store.pseudonymous()) == 2


def test_without_its_secrets_a_store_is_not_opened(opened: Opened, make_postmaster: Callable[..., Postmaster]) -> None:
    postmaster = opened()
    postmaster.forget(JO)
    for keys in ((), ["a wrong secret of enough length"]):
        with pytest.raises(ConfigurationError, match="hash_keys: the store has erased people"):
            make_postmaster(store=postmaster.office.store, hash_keys=keys)


def test_who_was_at_work_before_without_the_secret_sends_to_nobody_half_a_minute_behind_it(
    opened: Opened, make_postmaster: Callable[..., Postmaster], serve: Callable[..., ScriptedServer], clock: ManualClock
) -> None:
    server, postmaster = serve(), opened()
    settings: dict[str, Any] = {"retry": "queue", "worker": "external", "relays": {"main": server.url}}
    old = make_postmaster(store=postmaster.office.store, **settings)
    with old.client("main") as client:
        client.submit(message("ann@example.com"))
    postmaster.forget(JO)
    clock.move(timedelta(seconds=30))
    with pytest.raises(StoreError, match=r"has erased people under the secret .*, and start again"):
        old.worker().run_due()
    with old.client("main") as client, pytest.raises(StoreUnavailable):
        client.send(message(JO))
    assert not server.messages
    new = opened(**settings)
    new.worker().run_due()
    assert len(server.messages) == 1, "which the old one keeps from nobody"


class Away(MemoryStore):
    """A store whose secrets cannot be asked for while it is away."""

    is_away = False
    asked = 0

    def pseudonymous(self) -> frozenset[str]:
        self.asked += 1
        if self.is_away:
            raise StoreError("away")
        return super().pseudonymous()


def test_a_store_that_is_away_is_not_waited_for_once_more_by_each_send(clock: ManualClock) -> None:
    store = Away()
    secrets_of = Secrets(store, None, clock.now())
    store.is_away = True
    clock.move(timedelta(seconds=30))
    for _ in range(3):
        secrets_of.check(clock.now())
    assert store.asked == 1


def test_who_lacks_a_secret_lacks_it_until_he_is_started_again(
    make_postmaster: Callable[..., Postmaster], clock: ManualClock
) -> None:
    store = Away()
    here = Secrets(store, None, clock.now())
    make_postmaster(store=store, hash_keys=[SECRET]).forget(JO)
    for is_away in (False, True, False):
        store.is_away = is_away
        clock.move(timedelta(seconds=30))
        with pytest.raises(StoreError, match="start again"):
            here.check(clock.now())


def test_without_a_secret_nobody_is_forgotten(make_postmaster: Callable[..., Postmaster]) -> None:
    with pytest.raises(ConfigurationError, match=r"hash_keys: a secret is needed.*token_urlsafe"):
        make_postmaster().forget(JO)
    with pytest.raises(ConfigurationError, match="16 to 64 bytes"):
        make_postmaster(hash_keys=["short"])


# -- the files


def files_of(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()).lower()


def test_no_file_of_the_store_holds_him_whatever_happened_before(
    tmp_path: Path, make_postmaster: Callable[..., Postmaster], serve: Callable[..., ScriptedServer], clock: ManualClock
) -> None:
    folder = tmp_path / "store"
    folder.mkdir()
    canary = f"canary{secrets.token_hex(6)}"
    address = f"{canary}@example.com"
    refusing = serve({"RCPT": {address: f"550 5.1.1 <{address}>: no {canary} here"}})
    taking = serve()
    postmaster = make_postmaster(
        store=f"sqlite:///{folder}/b.db",
        hash_keys=[SECRET],
        retry="queue",
        worker="external",
        relays={"main": taking.url, "refusing": refusing.url},
    )
    with postmaster.client("main") as client:
        for _ in range(3):
            client.submit(message(address, subject=f"For {canary}"))
        client.submit(message("ann@example.com"))
    postmaster.worker().run_due()  # the messages go, and lie in free pages
    with postmaster.client("refusing") as client:
        client.submit(message(address))
    postmaster.worker().run_due()
    postmaster.suppressions.add(address, reason=f"{canary} asked", by="support")
    with postmaster.client("main") as client:
        clock.move(timedelta(days=1))
        client.submit(message("ann@example.com"))
    assert canary.encode() in files_of(folder)
    done = postmaster.forget(address)
    assert done.is_complete
    assert canary.encode() not in files_of(folder)
    assert b"ann@example.com" in files_of(folder)
    assert address in postmaster.suppressions
