"""Fixtures for the tests of an application: a mail server, a clock, a postmaster in memory, and what it told.

Put `pytest_plugins = ["bouncekit.testing.pytest_plugin"]` into the conftest.py at the top of your tests. Only this
module needs pytest.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from bouncekit.delivery.events import Event
from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.testing.clock import ManualClock
from bouncekit.testing.replies import provider_replies
from bouncekit.testing.script import Script
from bouncekit.testing.server import ScriptedServer

__all__ = ["MailTold", "mail_clock", "mail_events", "mail_postmaster", "smtp_server", "start_smtp_server"]


class MailTold(list[Event]):
    """The events that a postmaster told, in order."""

    def of(self, type_: str, recipient: str | None = None) -> list[Event]:
        """Those of one type, such as "failed", perhaps about one recipient."""
        return [event for event in self if event.type == type_ and recipient in (None, event.recipient)]

    def assert_nothing_told(self, recipient: str) -> None:
        """Fails where anything was told about this recipient."""
        self.assert_told(recipient=recipient)

    def assert_told(self, *types: str, recipient: str | None = None) -> None:
        """Fails unless exactly these types were told, in this order; of one recipient, or of everything."""
        __tracebackhide__ = True
        told = [str(event.type) for event in self if recipient in (None, event.recipient)]
        assert told == list(types), f"told was {told}, not {list(types)}"


@pytest.fixture
def start_smtp_server() -> Iterator[Callable[..., ScriptedServer]]:
    """Start a `ScriptedServer`: `start_smtp_server({"RCPT": {...}}, lmtp=True)`. All are stopped behind the test."""
    with ExitStack() as stack:

        def start(script: Script | None = None, **settings: Any) -> ScriptedServer:
            return stack.enter_context(ScriptedServer(script, **settings))

        yield start


@pytest.fixture
def smtp_server(
    request: pytest.FixtureRequest, start_smtp_server: Callable[..., ScriptedServer]
) -> Iterator[ScriptedServer]:
    """A server that does what `@pytest.mark.smtp_script({...}, **settings)` says, and without one is correct.

    The test fails where a list of the script still had an answer to give: what it was written for did not happen.
    """
    mark = request.node.get_closest_marker("smtp_script")
    server = start_smtp_server(*mark.args, **mark.kwargs) if mark else start_smtp_server()
    yield server
    assert server.errors == ()
    assert server.unplayed == (), f"the script was not played to its end: {', '.join(server.unplayed)}"


@pytest.fixture
def mail_clock() -> ManualClock:
    """A clock that stands still until somebody sleeps or moves it."""
    return ManualClock()


@pytest.fixture
def mail_postmaster(request: pytest.FixtureRequest, mail_clock: ManualClock) -> Iterator[Postmaster]:
    """A postmaster in memory whose waits take no time, with the settings of `@pytest.mark.postmaster(...)`."""
    mark = request.node.get_closest_marker("postmaster")
    with Postmaster(**{"clock": mail_clock, **(mark.kwargs if mark else {})}) as postmaster:
        yield postmaster


@pytest.fixture
def mail_events(mail_postmaster: Postmaster) -> MailTold:
    """What `mail_postmaster` told since the test began."""
    told = MailTold()
    mail_postmaster.on()(told.append)
    return told


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test with an argument `provider_reply` runs for each reply that its mark `provider_replies(...)` names."""
    if "provider_reply" not in metafunc.fixturenames:
        return
    mark = metafunc.definition.get_closest_marker("provider_replies")
    cases = provider_replies(**(mark.kwargs if mark else {}))
    if not cases:
        named = mark.kwargs if mark else {}
        raise pytest.UsageError(f"{metafunc.definition.nodeid}: no shipped rule has such a reply: {named}")
    metafunc.parametrize("provider_reply", cases, ids=[case.id for case in cases])


def pytest_configure(config: pytest.Config) -> None:
    """Name the marks, so that --strict-markers knows them."""
    config.addinivalue_line("markers", "smtp_script(script, **settings): what the server of `smtp_server` does")
    config.addinivalue_line("markers", "provider_replies(**which): which cases `provider_reply` has")
    config.addinivalue_line("markers", "postmaster(**settings): how `mail_postmaster` is made")
