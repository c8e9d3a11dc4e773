"""`worker` and `queue run`: what is queued is sent, through the application's relays or the configuration's."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.testing import Delay, ScriptedServer
from tests.conftest import message

from .conftest import ROOT, Run

Serve = Callable[..., ScriptedServer]
STORE = "sqlite:///b.db"


def submit(folder: Path, server: ScriptedServer, *recipients: str) -> None:
    store = f"sqlite:///{folder / 'b.db'}"
    with (
        Postmaster(store=store, retry="queue", worker="external", relays={"main": server.url}) as postmaster,
        postmaster.client("main") as client,
    ):
        for recipient in recipients:
            client.submit(message(recipient))


def test_queue_run_sends_what_is_due_and_says_how_many(run: Run, folder: Path, serve: Serve) -> None:
    server = serve({"RCPT": {"grey@example.com": ["451 4.7.1 Greylisted"]}})
    submit(folder, server, "ada@example.com", "grey@example.com")
    (folder / "bouncekit.toml").write_text(f'store = "{STORE}"\n[relays]\nmain = "{server.url}"\n')
    result = run("queue", "run")
    assert result.exit_code == 0
    assert result.output.startswith("2 messages tried; ")
    assert server.copies("ada@example.com") == 1
    assert "0 messages tried" in run("queue", "run").output


def test_the_application_brings_its_relays(run: Run, folder: Path, serve: Serve) -> None:
    server = serve()
    submit(folder, server, "ada@example.com")
    (folder / "shop_mail.py").write_text(
        "import bouncekit\n"
        f"postmaster = bouncekit.Postmaster(store={STORE!r}, retry='queue', worker='external', "
        f"relays={{'main': {server.url!r}}})\n"
    )
    result = run("queue", "run", "--app", "shop_mail:postmaster")
    assert result.exit_code == 0, result.output
    assert server.copies("ada@example.com") == 1


@pytest.mark.parametrize(
    ("app", "hint"),
    [
        ("shop", "write package.module:postmaster"),
        ("no_such_module:postmaster", "No module named 'no_such_module'"),
        ("json:postmaster", "json has no Postmaster postmaster"),
        ("json:loads", "cannot be called without arguments"),
    ],
)
def test_an_application_that_cannot_be_had_is_a_clear_error(run: Run, app: str, hint: str) -> None:
    result = run("worker", "--app", app)
    assert result.exit_code == 2
    assert hint in result.output


def test_a_worker_without_relay_or_store_ends_with_what_would_be_right(run: Run) -> None:
    result = run("worker")
    assert (result.exit_code, "BOUNCEKIT_STORE" in result.output) == (2, True)
    result = run("worker", "--store", STORE)
    assert (result.exit_code, "relays=" in result.output) == (2, True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_the_message_under_way_be_finished(folder: Path, serve: Serve, number: int) -> None:
    server = serve({"END_OF_DATA": [Delay(1.0)]})
    submit(folder, server, "a@example.com", "b@example.com", "c@example.com")
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "BOUNCEKIT_STORE": STORE, "BOUNCEKIT_RELAY": server.url}
    worker = subprocess.Popen([sys.executable, "-m", "bouncekit", "worker"], cwd=folder, env=environ, text=True)
    try:
        end = time.monotonic() + 30
        while not any("data" in session.commands for session in server.sessions) and time.monotonic() < end:
            time.sleep(0.02)
        worker.send_signal(number)
        assert worker.wait(30) == 0
    finally:
        worker.kill()
        worker.wait()
    assert [server.copies(f"{name}@example.com") for name in "abc"] == [1, 0, 0]
    store = f"sqlite:///{folder / 'b.db'}"
    with Postmaster(store=store) as postmaster:
        left = postmaster.office.store.depth(postmaster.office.clock.now())
    assert (left.due, left.leased) == (2, 0)


BAD = """
import bouncekit
{logging}
postmaster = bouncekit.Postmaster(
    store="sqlite:///b.db", retry="queue", worker="external", relays={{"main": "{url}"}}
)

@postmaster.on("queued", durable="crm")
def tell(event):
    raise RuntimeError("no customer {{}}".format(event.recipient))
"""


@pytest.mark.parametrize(
    ("logging", "shown"), [("", True), ("import logging; logging.basicConfig(filename='a.log')", False)]
)
def test_what_a_subscriber_of_the_application_raises_is_shown_where_nobody_logs_it(
    folder: Path, serve: Serve, logging: str, shown: bool
) -> None:
    server = serve()
    submit(folder, server, "ada@example.com")
    (folder / "bad_shop.py").write_text(BAD.format(url=server.url, logging=logging))
    command = [sys.executable, "-m", "bouncekit", "worker", "--app", "bad_shop:postmaster"]
    worker = subprocess.Popen(
        command, cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, text=True, stderr=subprocess.PIPE
    )
    with worker:
        try:
            end = time.monotonic() + 30
            while not server.messages and time.monotonic() < end:
                time.sleep(0.02)
            worker.send_signal(signal.SIGTERM)
            _, errors = worker.communicate(timeout=30)
        finally:
            worker.kill()
    assert errors.startswith("bouncekit: warning: durable subscriber crm failed at event ") is shown
    assert ("RuntimeError: no customer ada@example.com (bad_shop.py:10)" in errors) is shown
