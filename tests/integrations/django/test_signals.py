"""Signals of Django for what happened: behind the commit, in our words and in Anymail's, and nobody harms another."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper

from bouncekit.delivery.events import Event
from bouncekit.integrations.django import postmaster
from bouncekit.integrations.django.signals import mail_event, tell, tracking
from bouncekit.testing import ScriptedServer

from .conftest import Change
from .test_backend import FULL, letter

Serve = Callable[..., ScriptedServer]


def test_a_receiver_written_for_anymail_hears_of_a_bounce(serve: Serve, change: Change) -> None:
    """The receiver is the one of Anymail's documentation."""
    found: list[tuple[str, ...]] = []

    def handle_bounce(sender: object, event: Any, esp_name: str, **kwargs: Any) -> None:
        if event.event_type == "bounced":
            found.append((esp_name, event.recipient, event.reject_reason, event.mta_response))

    tracking.connect(handle_bounce)
    try:
        change(serve({"RCPT": {FULL: "552 5.2.2 Mailbox full"}}))
        letter("ada@example.com", FULL).send()
    finally:
        tracking.disconnect(handle_bounce)
    assert found == [("bouncekit", FULL, "bounced", "552 5.2.2 Mailbox full")]


def test_a_receiver_that_raises_harms_neither_the_send_nor_the_next_one(
    serve: Serve, change: Change, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[Event] = []

    def broken(**unused: object) -> None:
        raise RuntimeError("of the receiver")

    def well(event: Event, **unused: object) -> None:
        heard.append(event)

    mail_event.connect(broken)
    mail_event.connect(well)
    try:
        change(serve())
        assert letter("ada@example.com").send() == 1
    finally:
        mail_event.disconnect(broken)
        mail_event.disconnect(well)
    assert [event.type for event in heard if event.recipient] == ["delivered"]
    assert "of the receiver" in caplog.text


def test_the_sender_of_a_signal_is_the_postmaster(serve: Serve, change: Change) -> None:
    senders: list[object] = []

    def hear(sender: object, **unused: object) -> None:
        senders.append(sender)

    mail_event.connect(hear)
    try:
        change(serve())
        letter("ada@example.com").send()
    finally:
        mail_event.disconnect(hear)
    assert set(senders) == {postmaster()}


def test_the_same_postmaster_is_told_of_once(serve: Serve, change: Change) -> None:
    heard: list[Event] = []

    def hear(event: Event, **unused: object) -> None:
        heard.append(event)

    mail_event.connect(hear)
    try:
        change(serve())
        tell(postmaster())
        tell(postmaster())
        letter("ada@example.com").send()
    finally:
        mail_event.disconnect(hear)
    assert [event.type for event in heard if event.recipient] == ["delivered"]


@pytest.mark.parametrize(("thread", "is_closed"), [("bouncekit-worker-1", True), ("of a request", False)])
def test_a_stale_connection_to_the_database_is_closed_on_our_threads_alone(
    change: Change, thread: str, is_closed: bool
) -> None:
    """In a request it may be in use; a thread of ours has nobody else who closes it."""
    change(BOUNCEKIT={})
    found: list[bool] = []

    def run() -> None:
        connection.ensure_connection()
        wrapper: BaseDatabaseWrapper = connection
        wrapper.close_at = 0.0  # its time is over (CONN_MAX_AGE)
        wrapper.inc_thread_sharing()  # a database in memory is closed for none
        closed: list[int] = []
        wrapper.close_if_unusable_or_obsolete = lambda: closed.append(1)  # type: ignore[method-assign]
        try:
            postmaster().suppressions.add("jo@example.com")
        finally:
            del wrapper.close_if_unusable_or_obsolete
            wrapper.connection.close()
        found.append(bool(closed))

    one = threading.Thread(target=run, name=thread)
    one.start()
    one.join()
    assert found == [is_closed]
