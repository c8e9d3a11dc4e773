"""Signals of blinker: one for each type of event, and no receiver harms another."""

from collections.abc import Callable

import pytest

pytest.importorskip("blinker", reason="python -m pip install 'bouncekit[blinker]'")

from blinker import Namespace

from bouncekit.delivery.events import Event, EventType
from bouncekit.integrations.blinker import tell
from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.testing import ScriptedServer

Serve = Callable[..., ScriptedServer]


def send(postmaster: Postmaster, server: ScriptedServer) -> None:
    with postmaster.client(server.url) as client:
        client.sendmail("shop@example.org", ["ada@example.com", "full@example.com"], "Subject: Hi\r\n\r\nHello")


def test_a_receiver_hears_of_the_type_that_it_connected_to(serve: Serve, postmaster: Postmaster) -> None:
    found: list[tuple[Postmaster, str | None]] = []
    signals = tell(postmaster)

    @signals["failed"].connect
    def hear(sender: Postmaster, event: Event) -> None:
        found.append((sender, event.recipient))

    send(postmaster, serve({"RCPT": {"full@example.com": "552 5.2.2 Mailbox full"}}))
    assert found == [(postmaster, "full@example.com")]


def test_there_is_a_signal_for_every_type_under_its_name(postmaster: Postmaster) -> None:
    names = Namespace()
    assert set(tell(postmaster, names)) == {type_.value for type_ in EventType}
    assert names.signal("bouncekit.failed") is names["bouncekit.failed"]


def test_a_receiver_that_raises_harms_neither_the_next_one_nor_the_send(
    serve: Serve, postmaster: Postmaster, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[Event] = []
    signals = tell(postmaster)

    def broken(sender: Postmaster, event: Event) -> None:
        raise RuntimeError("of the receiver")

    def well(sender: Postmaster, event: Event) -> None:
        heard.append(event)

    for receiver in (broken, well):
        signals["delivered"].connect(receiver)
    send(postmaster, serve())
    assert [event.recipient for event in heard] == ["ada@example.com", "full@example.com"]
    assert caplog.text.count("RuntimeError: of the receiver") == 2


def test_who_connects_to_one_postmaster_hears_nothing_of_another(
    serve: Serve, make_postmaster: Callable[..., Postmaster]
) -> None:
    one, other, names, heard = make_postmaster(), make_postmaster(), Namespace(), list[Event]()
    tell(other, names)

    def hear(sender: Postmaster, event: Event) -> None:
        heard.append(event)

    tell(one, names)["delivered"].connect(hear, sender=one)
    send(other, serve())
    assert heard == []
    send(one, serve())
    assert len(heard) == 2
