"""Lines that nobody uses are closed by us, and one that the server has closed costs no message."""

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bouncekit.clients import idling
from bouncekit.clients.aio import AsyncClient
from bouncekit.clients.client import Client
from bouncekit.clients.session import Session
from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.testing import Closing, Cut, ScriptedServer

from .conftest import Heard, message
from .wires import AwaitedClient

Serve = Callable[..., ScriptedServer]


@pytest.fixture(params=[Client, AwaitedClient])
def client(request: pytest.FixtureRequest, postmaster: Postmaster) -> Iterator[Callable[[str], Any]]:
    """Makes clients of a relay, which block or are awaited."""
    return lambda url: request.param(url, postmaster=postmaster)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line is closed behind a moment without a message."""
    monkeypatch.setattr(Session, "_most_idle", 0.1)


@pytest.fixture
def watchful(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line is looked at behind however short a pause."""
    monkeypatch.setattr("bouncekit.clients.session._BRIEF", 0.0)


def wait_until(condition: Callable[[], object]) -> None:
    until = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def last_words(server: ScriptedServer) -> list[str]:
    return [session.commands[-1].lower() for session in server.sessions]


@pytest.mark.usefixtures("impatient")
def test_a_line_that_nobody_uses_is_closed_with_a_quit(serve: Serve, postmaster: Postmaster) -> None:
    server = serve()
    with Client(server.url, postmaster=postmaster) as client:
        client.send(message("ada@example.com"))
        wait_until(lambda: last_words(server) == ["quit"])
        assert server.wait_closed()
        client.send(message("bob@example.com"))
    assert [server.copies(one) for one in ("ada@example.com", "bob@example.com")] == [1, 1]
    assert last_words(server) == ["quit", "quit"]


@pytest.mark.usefixtures("impatient")
def test_on_a_loop_too(serve: Serve, postmaster: Postmaster) -> None:
    server = serve()

    async def main() -> None:
        async with AsyncClient(server.url, postmaster=postmaster, connections=3) as client:
            await asyncio.gather(*(client.send(message(f"user{number}@example.com")) for number in range(3)))
            async with asyncio.timeout(10):
                while last_words(server) != ["quit"] * 3:
                    await asyncio.sleep(0.01)
            await client.send(message("ada@example.com"))

    asyncio.run(main())
    assert len(server.messages) == 4
    assert last_words(server) == ["quit"] * 4


@pytest.mark.usefixtures("impatient")
def test_a_line_in_use_is_not_closed(serve: Serve, postmaster: Postmaster) -> None:
    server = serve()
    with Client(server.url, postmaster=postmaster) as client:
        until = time.monotonic() + 0.4
        while time.monotonic() < until:
            client.send(message("ada@example.com"))
    assert len(server.sessions) == 1


@pytest.mark.usefixtures("impatient")
def test_the_thread_is_gone_when_there_is_no_line_any_more(serve: Serve, postmaster: Postmaster) -> None:
    def is_watching() -> bool:
        return any(thread.name == "bouncekit-idle" for thread in threading.enumerate())

    with Client(serve().url, postmaster=postmaster) as client:
        client.send(message("ada@example.com"))
        assert is_watching()
        wait_until(lambda: not is_watching())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.usefixtures("impatient")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_the_child_of_a_fork_looks_after_its_own_lines(serve: Serve, postmaster: Postmaster) -> None:
    server = serve()
    with Client(server.url, postmaster=postmaster) as client:
        client.send(message("ada@example.com"))
        if (child := os.fork()) == 0:
            signal.alarm(20)
            try:
                client.send(message("bob@example.com"))
                wait_until(lambda: client._session.sock is None)
                os._exit(0)
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert server.copies("bob@example.com") == 1


def test_what_goes_wrong_with_one_client_is_no_trouble_for_the_others(caplog: pytest.LogCaptureFixture) -> None:
    class Lines:
        def __init__(self, looks: int, *, breaks: bool = False) -> None:
            self.left, self.breaks = looks, breaks

        def close_idle(self) -> float | None:
            self.left -= 1
            if self.breaks:
                raise OSError("it is broken")
            return 0.01 if self.left else None

    broken, well = Lines(1, breaks=True), Lines(3)
    keeper = idling._Keeper()
    for one in (broken, well):
        keeper.watch(one)
    wait_until(lambda: keeper._thread is None)
    assert (broken.left, well.left) == (0, 0)
    assert "it is broken" in caplog.text


def test_a_line_that_is_opened_while_another_look_finds_none_is_looked_after_still() -> None:
    class Lines:
        looks = 0

        def close_idle(self) -> float | None:
            self.looks += 1
            if self.looks == 1:
                keeper.watch(self)  # the line is opened behind the look that has found none
            return 0.01 if self.looks == 2 else None

    lines, keeper = Lines(), idling._Keeper()
    keeper.watch(lines)
    wait_until(lambda: keeper._thread is None)
    assert lines.looks == 3


def test_a_subscriber_who_ends_the_thread_does_not_keep_others_from_being_looked_after() -> None:
    class Lines:
        looks = 0

        def close_idle(self) -> float | None:
            self.looks += 1
            raise SystemExit

    lines, keeper = Lines(), idling._Keeper()
    for looks in (1, 2):
        keeper.watch(lines)
        wait_until(lambda: keeper._thread is None)
        assert lines.looks == looks


# -- a server that is quicker


@pytest.mark.usefixtures("watchful")
@pytest.mark.parametrize(
    "end", [Closing("421 4.4.2 Idle for too long"), Closing("221 2.0.0 Bye"), Cut()], ids=["421", "221", "cut"]
)
def test_a_line_that_the_server_has_closed_is_a_normal_close_and_costs_no_message(
    serve: Serve, postmaster: Postmaster, client: Any, end: Any
) -> None:
    server = serve({"IDLE": end}, idle_timeout=0.05)
    heard: Heard = postmaster.heard  # type: ignore[attr-defined]
    with client(server.url) as sending:
        for name in ("ada", "bob"):
            report = sending.send(message(f"{name}@example.com"))
            (settled,) = report.recipients
            assert (settled.action, settled.attempts) == ("delivered", 1)
            assert server.wait_closed()  # it has had enough of waiting
    assert [server.copies(f"{name}@example.com") for name in ("ada", "bob")] == [1, 1]
    assert heard.types.count("delivered") == 2
    assert not {"delayed", "paused", "slowed"} & set(heard.types)
    assert len(heard.of("reconnected")) == 1
    if isinstance(end, Closing):
        (closed,) = [event for event in heard.of("closed") if event.to_dict()["data"].get("stage") == "IDLE"]
        assert closed.to_dict()["data"]["rule"] == "closed-unasked"
