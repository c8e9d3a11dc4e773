"""What many tests share: a scripted server, a postmaster whose clock stands still, and what it told."""

import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from email.message import EmailMessage
from typing import Any

import pytest
from hypothesis import settings

from bouncekit.delivery.events import Event
from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.testing import ManualClock, Script, ScriptedServer

pytest_plugins = ["bouncekit.testing.pytest_plugin"]

# Tests start processes by the hundred. Where no bytecode is written each would compile all of the package again, so it
# is written elsewhere: for the workers of pytest too, which are started behind this.
if os.environ.pop("PYTHONDONTWRITEBYTECODE", None):
    _bytecode = tempfile.TemporaryDirectory(prefix="bytecode-", ignore_cleanup_errors=True)
    os.environ["PYTHONPYCACHEPREFIX"] = _bytecode.name

# A shell has what it starts in the background ignore Ctrl-C, and so do all who are started by that. Tests press it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A run that decides whether something is handed in must not depend on luck; all others look for what is new.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")


def pytest_xdist_auto_num_workers() -> int:
    """Tests wait for disks and servers for longer than they compute."""
    return 2 * (os.cpu_count() or 1)


class Heard(list[Event]):
    """The events that a postmaster told, in order."""

    @property
    def types(self) -> list[str]:
        return [event.type.value for event in self]

    def of(self, type_: str) -> list[Event]:
        return [event for event in self if event.type.value == type_]


@pytest.fixture
def serve() -> Iterator[Callable[..., ScriptedServer]]:
    """Start scripted servers; all are stopped behind the test."""
    with ExitStack() as stack:

        def start(script: Script | None = None, **settings: Any) -> ScriptedServer:
            return stack.enter_context(ScriptedServer(script, **settings))

        yield start


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def make_postmaster(clock: ManualClock) -> Iterator[Callable[..., Postmaster]]:
    """Make postmasters with the manual clock; `postmaster.heard` has their events."""
    with ExitStack() as stack:

        def make(**settings: Any) -> Postmaster:
            postmaster = stack.enter_context(Postmaster(clock=clock, **settings))
            postmaster.heard = Heard()  # type: ignore[attr-defined]
            postmaster.on()(postmaster.heard.append)  # type: ignore[attr-defined]
            return postmaster

        yield make


@pytest.fixture
def postmaster(make_postmaster: Callable[..., Postmaster]) -> Postmaster:
    return make_postmaster()


@pytest.fixture
def heard(postmaster: Postmaster) -> Heard:
    found: Heard = postmaster.heard  # type: ignore[attr-defined]
    return found


def message(*recipients: str, subject: str = "Hello", sender: str = "shop@example.org") -> EmailMessage:
    """A small message."""
    made = EmailMessage()
    made["From"], made["To"], made["Subject"] = sender, ", ".join(recipients), subject
    made.set_content("Good day.\n")
    return made
