"""Ctrl-C in the midst of a send: it has its outcome first, which the interruption carries."""

import os
import signal
import smtplib
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bouncekit import SMTP
from bouncekit.clients.client import Client
from bouncekit.clients.smtperrors import StoreUnavailable
from bouncekit.delivery.report import Report
from bouncekit.delivery.steps import LookedUp
from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.stores.memory import MemoryStore
from bouncekit.testing import Delay, Kept, ScriptedServer
from bouncekit.words.errors import StoreError

from .conftest import message

Serve = Callable[..., ScriptedServer]
SENDER, ADA, BOB = "shop@example.org", "ada@example.com", "bob@example.com"
BODY = "Subject: Hello\r\n\r\nGood day.\r\n"


class Pressed:
    """Presses Ctrl-C, once, as soon as something is so."""

    def __init__(self, condition: Callable[[], object]) -> None:
        self._condition = condition
        self._thread = threading.Thread(target=self._press, daemon=True)

    def _press(self) -> None:
        until = time.monotonic() + 10
        while not self._condition() and time.monotonic() < until:
            time.sleep(0.005)
        time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *unused: object) -> None:
        self._thread.join()


def said(server: ScriptedServer, verb: str) -> Callable[[], bool]:
    return lambda: any(verb in "".join(session.commands).lower() for session in server.sessions)


def actions(raised: Any) -> list[str]:
    report: Report = raised.value.report
    return [one.action.value for one in report.recipients]


@pytest.mark.parametrize("lock_step", [False, True], ids=["pipelined", "lock-step"])
def test_before_the_dot_everybody_is_delayed_and_the_next_send_is_not_touched(
    serve: Serve, postmaster: Postmaster, lock_step: bool
) -> None:
    server = serve({"RCPT": [Delay(30)]})
    with Client(server.url, postmaster=postmaster, lock_step=lock_step) as client:
        with pytest.raises(KeyboardInterrupt) as raised, Pressed(said(server, "rcpt")):
            client.sendmail(SENDER, [ADA, BOB], BODY)
        assert actions(raised) == ["delayed", "delayed"]
        assert client.sendmail(SENDER, [ADA], BODY) == {}
    assert server.copies(ADA) == 1
    heard: Any = postmaster.heard  # type: ignore[attr-defined]
    assert heard.types.count("delayed") == 2  # it is recorded and told like any other outcome


@pytest.mark.parametrize("lock_step", [False, True], ids=["pipelined", "lock-step"])
def test_from_the_dot_on_everybody_is_unknown(serve: Serve, postmaster: Postmaster, lock_step: bool) -> None:
    server = serve({"END_OF_DATA": [Kept(Delay(30))]})
    client = Client(server.url, postmaster=postmaster, lock_step=lock_step)
    with client, pytest.raises(KeyboardInterrupt) as raised, Pressed(lambda: server.messages):
        client.sendmail(SENDER, [ADA], BODY)
    assert actions(raised) == ["unknown"]
    assert server.copies(ADA) == 1


def test_a_queued_message_is_settled_and_its_attempt_is_not_left_open(
    serve: Serve, make_postmaster: Callable[..., Postmaster], tmp_path: Path
) -> None:
    server = serve({"END_OF_DATA": [Kept(Delay(30))]})
    postmaster = make_postmaster(
        store=f"sqlite:///{tmp_path / 'b.db'}", retry="queue", worker="external", relays={"main": server.url}
    )
    client = postmaster.client("main", message_class="bulk")
    with client, pytest.raises(KeyboardInterrupt) as raised, Pressed(lambda: server.messages):
        client.sendmail(SENDER, [ADA], BODY)
    assert actions(raised) == ["unknown"]
    assert postmaster.office.store.depth(postmaster.office.clock.now()).due == 0


def test_in_a_stream_the_message_under_way_has_its_report_and_those_before_too(
    serve: Serve, postmaster: Postmaster
) -> None:
    server = serve({"END_OF_DATA": ["250 2.0.0 Ok", Kept(Delay(30))]})
    reports: list[Report] = []
    client = Client(server.url, postmaster=postmaster)
    letters = (message(f"{name}@example.com") for name in ("ada", "bob", "cy"))
    with client, pytest.raises(KeyboardInterrupt) as raised, Pressed(lambda: len(server.messages) > 1):
        reports.extend(client.send_all(letters))
    assert [one.recipients[0].recipient for one in reports] == [ADA]
    assert [(one.recipient, one.action.value) for one in raised.value.report.recipients] == [  # type: ignore[attr-defined]
        (BOB, "unknown")
    ]
    assert server.copies("cy@example.com") == 0


def test_while_it_dials_everybody_is_delayed(serve: Serve, postmaster: Postmaster) -> None:
    server = serve({"CONNECT": [Delay(30)]})
    with Client(server.url, postmaster=postmaster) as client:
        with pytest.raises(KeyboardInterrupt) as raised, Pressed(lambda: server.sessions):
            client.sendmail(SENDER, [ADA], BODY)
        assert actions(raised) == ["delayed"]
        assert client.sendmail(SENDER, [ADA], BODY) == {}


def test_who_asks_for_the_next_message_may_be_interrupted_and_the_one_under_way_is_not(
    serve: Serve, postmaster: Postmaster
) -> None:
    server = serve()

    def letters() -> Any:
        yield message(ADA)
        raise KeyboardInterrupt

    with Client(server.url, postmaster=postmaster) as client, pytest.raises(KeyboardInterrupt) as raised:
        list(client.send_all(letters()))
    assert actions(raised) == ["delivered"]
    assert server.copies(ADA) == 1


def test_who_waits_for_the_next_try_waits_no_longer(serve: Serve, make_postmaster: Callable[..., Postmaster]) -> None:
    server = serve({"RCPT": [Delay(30)]})
    smtp = SMTP(server.host, server.port, postmaster=make_postmaster(retry="wait", patience=3600))
    with smtp, pytest.raises(KeyboardInterrupt), Pressed(said(server, "rcpt")):
        smtp.sendmail(SENDER, [ADA], BODY)
    assert len(server.sessions) == 1


def test_without_a_postmaster_it_is_smtplib_s(serve: Serve) -> None:
    server = serve({"RCPT": [Delay(30)]})
    smtp = SMTP(server.host, server.port)
    with smtp, pytest.raises(KeyboardInterrupt) as raised, Pressed(said(server, "rcpt")):
        smtp.sendmail(SENDER, [ADA], BODY)
    assert not hasattr(raised.value, "report")


# -- the store, in a stream


class Failing(MemoryStore):
    """Cannot be asked about one recipient."""

    def look_up(self, *arguments: Any, **options: Any) -> LookedUp:
        if any("bob" in str(one) for one in (*arguments, *options.values())):
            raise StoreError("it is gone")
        return super().look_up(*arguments, **options)


def test_a_stream_that_the_store_ends_says_which_message_was_not_sent(
    serve: Serve, make_postmaster: Callable[..., Postmaster]
) -> None:
    server = serve()
    reports: list[Report] = []
    letters = (message(f"{name}@example.com") for name in ("ada", "bob", "cy"))
    client = Client(server.url, postmaster=make_postmaster(store=Failing()))
    with client, pytest.raises(StoreUnavailable) as raised:
        reports.extend(client.send_all(letters))
    assert isinstance(raised.value, smtplib.SMTPException)
    assert [one.recipients[0].recipient for one in reports] == [ADA]
    assert [(one.recipient, one.action.value) for one in raised.value.report.recipients] == [(BOB, "delayed")]
    assert server.copies(BOB) == 0


class Pressing(MemoryStore):
    """Somebody presses Ctrl-C while it is at its commit, once: just before that is done, or just behind it."""

    def __init__(self, *, is_done: bool) -> None:
        super().__init__()
        self._is_done: bool | None = is_done

    def record(self, record: Any) -> Any:
        is_done, self._is_done = self._is_done, None
        late = super().record(record) if is_done is not False else None
        if is_done is not None:
            raise KeyboardInterrupt
        return late


@pytest.mark.parametrize("is_done", [False, True])
def test_what_the_store_is_at_is_remembered_all_the_same(
    serve: Serve, make_postmaster: Callable[..., Postmaster], is_done: bool
) -> None:
    server = serve({"RCPT": {BOB: "550 5.1.1 No such user"}})
    postmaster = make_postmaster(store=Pressing(is_done=is_done))
    with Client(server.url, postmaster=postmaster) as client:
        with pytest.raises(KeyboardInterrupt):
            client.sendmail(SENDER, [ADA, BOB], BODY)
        assert client.sendmail(SENDER, [ADA, BOB], BODY).suppressed[0].recipient == BOB
    heard: Any = postmaster.heard  # type: ignore[attr-defined]
    assert [heard.types.count(type_) for type_ in ("delivered", "failed", "suppression_added")] == [2, 1, 1]
