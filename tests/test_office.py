"""The office: what happens when its store fails, what it refuses to be made of, whom it notifies."""

import smtplib
import threading
from collections.abc import Callable
from datetime import datetime

import pytest

from bouncekit import ConfigurationError, StoreError, StoreUnavailable
from bouncekit.delivery.events import Event
from bouncekit.delivery.steps import LookedUp, LookUp, Record
from bouncekit.desk.furnishing import open_office
from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.stores.memory import MemoryStore
from bouncekit.testing import ScriptedServer

from .conftest import message

Serve = Callable[..., ScriptedServer]


class Shaky(MemoryStore):
    """A real store whose disk can be pulled."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = self.writes = True

    def look_up(self, question: LookUp, now: datetime) -> LookedUp:
        if not self.reads:
            raise StoreError("the disk is gone")
        return super().look_up(question, now)

    def record(self, record: Record) -> frozenset[str]:
        if not self.writes:
            raise StoreError("the disk is full")
        return super().record(record)


def test_a_store_that_does_not_answer_stops_the_send_before_the_first_byte(
    serve: Serve, make_postmaster: Callable[..., Postmaster]
) -> None:
    store, server = Shaky(), serve()
    postmaster = make_postmaster(store=store)
    store.reads = False
    with postmaster.client(server.url) as client, pytest.raises(StoreUnavailable) as raised:
        client.send(message("ada@example.com"))
    assert isinstance(raised.value, smtplib.SMTPException)
    assert [one.action for one in raised.value.report.recipients] == ["delayed"]
    assert server.sessions == ()


def test_an_owner_may_send_without_a_store(serve: Serve, make_postmaster: Callable[..., Postmaster]) -> None:
    store, server = Shaky(), serve()
    postmaster = make_postmaster(store=store, on_store_failure="send")
    store.reads = store.writes = False
    with postmaster.client(server.url) as client:
        assert client.send(message("ada@example.com")) == {}


def test_a_result_that_the_store_could_not_take_is_remembered_before_the_next_send(
    serve: Serve, make_postmaster: Callable[..., Postmaster]
) -> None:
    store = Shaky()
    server = serve({"RCPT": {"full@example.com": "552 5.2.2 Mailbox full"}})
    postmaster = make_postmaster(store=store)
    with postmaster.client(server.url) as client:
        store.writes = False
        report = client.send(message("ada@example.com", "full@example.com"))
        assert [one.action for one in report.recipients] == ["delivered", "failed"]
        assert postmaster.heard.types == []  # type: ignore[attr-defined]  # nothing is told that is not remembered
        store.writes = True
        second = client.send(message("bob@example.com", "full@example.com"))
    assert [one.action for one in second.recipients] == ["delivered", "suppressed"]
    assert postmaster.heard.types[:3] == ["delivered", "failed", "suppression_added"]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("settings", "hint"),
    [
        ({"retry": "sometimes"}, "'never', 'wait' or 'queue'"),
        ({"retry": "queue"}, "add store="),
        ({"store": 5}, "write a URL"),
        ({"relays": "smtp://a"}, "a mapping of name and URL"),
        ({"relays": {"main": "localhost:25"}}, "relay 'main'"),
        ({"relays": {"main": {"url": "smtp://a", "timeot": 3}}}, "no option 'timeot'"),
        ({"relays": {"smtp://a": "smtp://a"}}, "no name"),
        ({"on_store_failure": "ignore"}, "'raise' or 'send'"),
        ({"policy": "defualt"}, "no shipped policy 'defualt'"),
        ({"policy": "nowhere.yaml"}, "nowhere.yaml"),
        ({"channels": {"recipent": print}}, "'recipent'"),
        ({"channels": {"recipient": 42}}, "recipient|channel|42"),
        ({"patience": "soon"}, "'5m'"),
        ({"store": "mysql://host/db"}, "mysql"),
        ({"policy": 5}, "policy=5: write a shipped name or a file"),
        ({"channels": "mailto:ops@example.org"}, "channels: a mapping is needed"),
        ({"check_domains": "yes"}, "check_domains='yes': write True or False"),
        ({"watch_policy": "no"}, "watch_policy='no': write True or False"),
        ({"keep_addresses": "no", "hash_keys": ["a long random secret"]}, "keep_addresses='no': write True or False"),
        ({"relays": {"main": "localhost"}}, "'localhost' is no relay's URL"),
    ],
)
def test_a_wrong_setting_says_what_would_be_right(settings: dict[str, object], hint: str) -> None:
    with pytest.raises(ConfigurationError, match=hint):
        open_office(**settings)  # type: ignore[arg-type]


def test_a_channel_that_fails_is_an_event_and_harms_no_send(
    serve: Serve, make_postmaster: Callable[..., Postmaster]
) -> None:
    def broken(notification: object) -> None:
        raise OSError("the pager is off")

    postmaster = make_postmaster(channels={"recipient": broken})
    server = serve({"RCPT": {"full@example.com": "552 5.2.2 Mailbox full"}})
    with postmaster.client(server.url) as client:
        client.send(message("ada@example.com", "full@example.com"))
    (told,) = postmaster.heard.of("not_notified")  # type: ignore[attr-defined]
    assert told.details["why"] == "OSError: the pager is off"


def test_a_channel_that_is_not_set_up_is_an_event(serve: Serve, postmaster: Postmaster) -> None:
    server = serve({"RCPT": {"full@example.com": "552 5.2.2 Mailbox full"}})
    with postmaster.client(server.url) as client:
        client.send(message("ada@example.com", "full@example.com"))
    (told,) = postmaster.heard.of("not_notified")  # type: ignore[attr-defined]
    assert "recipient" in told.details["why"]


def test_a_notice_by_mail_goes_to_somebody_else_over_the_same_relay(
    serve: Serve, make_postmaster: Callable[..., Postmaster]
) -> None:
    postmaster = make_postmaster(channels={"operations": "mailto:ops@example.org"})
    server = serve({"RCPT": {"eve@example.com": "550 5.7.1 Relaying denied"}})
    with postmaster.client(server.url) as client:
        client.send(message("ada@example.com", "eve@example.com"))
    assert server.copies("ops@example.org") == 1
    notice = server.messages[-1]
    assert notice.sender == ""
    assert b"Auto-Submitted: auto-generated" in notice.data
    assert [event.recipient for event in postmaster.heard.of("notified")] == ["eve@example.com"]  # type: ignore[attr-defined]
    assert len([event for event in postmaster.heard if event.type == "delivered"]) == 1  # type: ignore[attr-defined]


def test_a_day_of_refusals_is_one_digest(serve: Serve, make_postmaster: Callable[..., Postmaster]) -> None:
    told: list[object] = []
    postmaster = make_postmaster(channels={"operations": told.append})
    server = serve({"RCPT": {"*": "550 5.7.1 Relaying denied"}})
    with postmaster.client(server.url) as client:
        for number in range(20):
            with pytest.raises(smtplib.SMTPRecipientsRefused):
                client.send(message(f"user{number}@example.com"))
    assert len(told) == 1


def test_a_subscriber_may_send_while_old_results_are_remembered(
    serve: Serve, make_postmaster: Callable[..., Postmaster]
) -> None:
    store, server = Shaky(), serve()
    postmaster = make_postmaster(store=store)

    @postmaster.on("delivered")
    def thank(event: Event) -> None:
        if event.recipient == "ada@example.com":
            with postmaster.client(server.url) as another:
                another.send(message("support@example.org"))

    with postmaster.client(server.url) as client:
        store.writes = False
        client.send(message("ada@example.com"))
        store.writes = True
        sending = threading.Thread(target=client.send, args=(message("bob@example.com"),), daemon=True)
        sending.start()
        sending.join(10.0)
        assert not sending.is_alive()
    told = [event.recipient for event in postmaster.heard.of("delivered")]  # type: ignore[attr-defined]
    assert sorted(told) == ["ada@example.com", "bob@example.com", "support@example.org"]


class Buggy(Shaky):
    """A store that does not keep to the errors it may raise."""

    def look_up(self, question: LookUp, now: datetime) -> LookedUp:
        try:
            return super().look_up(question, now)
        except StoreError as error:
            raise RuntimeError("a bug of the driver") from error

    def record(self, record: Record) -> frozenset[str]:
        try:
            return super().record(record)
        except StoreError as error:
            raise RuntimeError("a bug of the driver") from error


def test_whatever_a_store_raises_the_servers_answer_stands(
    serve: Serve, make_postmaster: Callable[..., Postmaster]
) -> None:
    store, server = Buggy(), serve()
    postmaster = make_postmaster(store=store)
    with postmaster.client(server.url) as client:
        store.writes = False
        assert client.send(message("ada@example.com")) == {}
        store.writes, store.reads = True, False
        with pytest.raises(StoreUnavailable, match="RuntimeError: a bug of the driver"):
            client.send(message("bob@example.com"))
    assert (server.copies("ada@example.com"), server.copies("bob@example.com")) == (1, 0)


def test_a_send_that_the_store_stopped_reports_every_recipient(make_postmaster: Callable[..., Postmaster]) -> None:
    store = Shaky()
    store.reads = False
    client = make_postmaster(store=store).client("smtp://127.0.0.1:25")
    with pytest.raises(StoreUnavailable) as raised:
        client.sendmail("shop@example.org", ["ada@example.com", "no\nline"], "Hi")
    assert [one.action for one in raised.value.report.recipients] == ["delayed", "failed"]
