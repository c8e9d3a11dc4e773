"""What many tests share: a scripted server, a postmaster whose clock stands still, and what it told."""

import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from bouncekit.delivery.events import Event
from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.testing import ManualClock, Script, ScriptedServer

from .quickening import MEMORY, compile_share, has_room, link_bytecode

pytest_plugins = ["bouncekit.testing.pytest_plugin"]

# A store syncs each commit, and that is what tests would wait for most. None of them needs a disk: what a power cut
# leaves is made of the calls that were seen (tests/e2e/test_powercut.py). So their files are in memory, given room.
if "TMPDIR" not in os.environ and has_room(MEMORY):
    _files = tempfile.TemporaryDirectory(prefix="bouncekit-", dir=MEMORY, ignore_cleanup_errors=True)
    Path(_files.name).chmod(0o711)  # servers have users of their own, who come through it to what is theirs
    os.environ["TMPDIR"] = tempfile.tempdir = _files.name

# Tests start processes by the hundred. Where no bytecode is written each would compile all of the package again, so it
# is written elsewhere: for the workers of pytest too, which are started behind this.
if os.environ.pop("PYTHONDONTWRITEBYTECODE", None):
    _bytecode = tempfile.TemporaryDirectory(prefix="bytecode-", ignore_cleanup_errors=True)
    link_bytecode(Path(_bytecode.name))
    os.environ["PYTHONPYCACHEPREFIX"] = _bytecode.name

# A shell has what it starts in the background ignore Ctrl-C, and so do all who are started by that. Tests press it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A run of the tests depends neither on luck nor on how busy the machine is. Who looks for what nobody has seen yet says
# `--hypothesis-profile explore`.
settings.register_profile("explore", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=False)
settings.register_profile("repeatable", settings.get_profile("explore"), derandomize=True, database=None)
settings.load_profile("repeatable")


def pytest_xdist_auto_num_workers() -> int:
    """Tests wait for disks and servers for longer than they compute."""
    return 2 * (os.cpu_count() or 1)


# Files that take the longest, or that mostly wait: begun last, one of them would keep a worker busy when all others are
# done.
_FIRST = {
    *("test_kill.py", "test_points.py", "test_bounces.py", "test_matrix.py", "test_browser.py", "test_outages.py"),
    *("test_docs.py", "test_wire.py", "test_postgres_store.py", "test_queue_contract.py", "test_store_contract.py"),
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name not in _FIRST)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Where all tests are collected by several workers, each compiles a share of them first, and finds the others."""
    worker = getattr(session.config, "workerinput", None)
    if worker is not None and session.config.args == session.config.getini("testpaths"):
        compile_share(int(worker["workerid"].removeprefix("gw")), worker["workercount"])


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
