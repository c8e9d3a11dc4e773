"""A command line in an empty folder, without any configuration."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from click.testing import CliRunner, Result

from bouncekit.cli import main
from bouncekit.delivery.events import Event, EventType, Occasion
from bouncekit.stores.sqlite import SqliteStore
from tests.contract.stores import new_id, send

Run: TypeAlias = Callable[..., Result]
Send: TypeAlias = Callable[..., None]
ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the command runs."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("BOUNCEKIT_")]:
        monkeypatch.delenv(name)
    return tmp_path


@pytest.fixture
def run(folder: Path) -> Run:
    """Call a verb in this process; what is no error of bouncekit's is raised."""

    def call(*arguments: object, input: str | bytes | None = None) -> Result:  # noqa: A002 - click's own word
        return CliRunner().invoke(main, [str(one) for one in arguments], input=input, catch_exceptions=False)

    return call


@pytest.fixture
def process(folder: Path) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Call a verb in a process of its own."""

    def call(*arguments: str, **options: Any) -> "subprocess.CompletedProcess[str]":
        environ = {**os.environ, "PYTHONPATH": str(ROOT), **options.pop("environ", {})}
        return subprocess.run(
            [sys.executable, "-m", "bouncekit", *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            env=environ,
            cwd=folder,
            check=False,
            **options,
        )

    return call


@pytest.fixture
def now() -> datetime:
    """The machine's time, by which the command line goes too."""
    return datetime.now(UTC)


def checks(output: str) -> dict[str, dict[str, Any]]:
    """What `doctor --json` found, by its name."""
    return {one["name"]: one for one in json.loads(output)["checks"]}


def level(run: Run, name: str, *options: str) -> str:
    """How much a check of `doctor` matters."""
    return str(checks(run("doctor", "--json", *options).output)[name]["level"])


def happened(at: datetime) -> Event:
    """Any event, of this time."""
    return Event(id=new_id(), type=EventType.RECONNECTED, occasion=Occasion(attempt_id=new_id(), at=at))


HOLDS = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute(f"PRAGMA locking_mode = {sys.argv[2]}")
connection.execute("BEGIN IMMEDIATE")
connection.execute("CREATE TABLE half_done (x)")
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def hold() -> Iterator[Callable[..., None]]:
    """Let another process hold a store's lock until the test is over."""
    with ExitStack() as stack:

        def start(path: Path, mode: str = "NORMAL") -> None:
            command = [sys.executable, "-c", HOLDS, str(path), mode]
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            stack.enter_context(process)
            stack.callback(process.kill)
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"

        yield start


@pytest.fixture
def store(folder: Path) -> Iterator[SqliteStore]:
    with SqliteStore(folder / "b.db") as opened:
        yield opened


@pytest.fixture
def happen(store: SqliteStore) -> Send:
    """Send to somebody, so long ago."""

    def happen(*addresses: str, ago: timedelta = timedelta(0), **settings: Any) -> None:
        send(store, *addresses, now=datetime.now(UTC) - ago, **settings)

    return happen
