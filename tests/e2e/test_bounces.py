"""The whole way of a bounce: a message that Postfix takes, a server behind it that refuses, and the DSN coming back.

application --> Postfix --> a server that says 550 or 552
     ^             |
     |             | the DSN, to the signed return path
     +-- intake <--+ by LMTP, or piped into a command
"""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.testing import ScriptedServer
from tests.conftest import message
from tests.test_returns import dsn

from .servers import Address, Dovecot, Postfix, free_addresses, running_postfix, server_directory, wait_until

ROOT = Path(__file__).parents[2]
SETTINGS = 'store = "sqlite:///b.db"\nbounces = "bounce@back.test"\nbounce_keys = ["a secret of some length"]\n'
KILLED = """
import os, signal
import bouncekit

postmaster = bouncekit.Postmaster.from_config()

@postmaster.on("failed")
def killed_behind_the_commit(event):
    os.kill(os.getpid(), signal.SIGKILL)
"""


@dataclass(frozen=True)
class Shop:
    """An application's folder: its configuration and its store."""

    folder: Path

    def send(self, postfix: Postfix, *to: str) -> None:
        host, port = postfix.trusting
        relay = self.postmaster()
        with relay, relay.client(f"smtp://{host}:{port}", insecure_tls=True) as client:
            assert [one.action for one in client.send(message(*to)).recipients] == ["delivered"] * len(to)

    def postmaster(self) -> Postmaster:
        return Postmaster.from_config(self.folder, {})

    @property
    def suppressed(self) -> dict[str | None, str]:
        with self.postmaster() as postmaster:
            return {one.address: one.category or "" for one in postmaster.suppressions}

    @property
    def events(self) -> list[dict[str, Any]]:
        with self.postmaster() as postmaster:
            return [event for _, event in postmaster.office.store.events()]

    def command(self, *arguments: object) -> list[str]:
        return [sys.executable, "-m", "bouncekit", "intake", *map(str, arguments)]

    @property
    def environ(self) -> dict[str, str]:
        own = {name: value for name, value in os.environ.items() if not name.startswith("BOUNCEKIT_")}
        return {**own, "PYTHONPATH": str(ROOT)}

    @contextmanager
    def lmtp(self, place: Address, *options: str) -> Iterator["subprocess.Popen[str]"]:
        """The intake, listening."""
        process = subprocess.Popen(
            self.command("lmtp", f"{place.host}:{place.port}", "--json", *options),
            cwd=self.folder,
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with process:
            try:
                assert process.stderr is not None
                assert "listens on" in process.stderr.readline()
                yield process
            finally:
                process.kill()


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    (tmp_path / "bouncekit.toml").write_text(SETTINGS)
    (tmp_path / "killed_shop.py").write_text(KILLED)
    return Shop(tmp_path)


@pytest.fixture
def remote(serve: Callable[..., ScriptedServer]) -> ScriptedServer:
    """The server behind Postfix, which does not want all that it gets."""
    refused = {"gone@remote.test": "550 5.1.1 No such user here", "full@remote.test": "552 5.2.2 Mailbox full"}
    return serve({"RCPT": refused})


Relayed = Callable[..., Postfix]


@pytest.fixture
def relayed(request: pytest.FixtureRequest, dovecot: Dovecot, remote: ScriptedServer) -> Iterator[Relayed]:
    """Start a Postfix that sends to `remote`, and its bounces by a transport of the test's choice."""
    request.getfixturevalue("postfix")  # which skips where there is none
    with_all: list[Any] = []

    def start(back: str, **pipes: str) -> Postfix:
        routes = {"remote.test": f"smtp:[{remote.host}]:{remote.port}", "back.test": back}
        with_all.append(running_postfix(dovecot, routes=routes, pipes=pipes))
        started: Postfix = with_all[-1].__enter__()
        return started

    yield start
    for one in with_all:
        one.__exit__(None, None, None)


def test_what_a_server_behind_the_relay_refuses_comes_back_by_lmtp_and_suppresses(
    shop: Shop, remote: ScriptedServer, relayed: Relayed
) -> None:
    (place,) = free_addresses(1)
    postfix = relayed(f"lmtp:inet:{place.host}:{place.port}")
    with shop.lmtp(place) as process:
        shop.send(postfix, "gone@remote.test", "ok@remote.test", "full@remote.test")
        wait_until(lambda: len(shop.suppressed) == 2, 30.0, lambda: postfix.process.log())
        assert shop.suppressed == {"gone@remote.test": "user_unknown", "full@remote.test": "mailbox_full"}
        postfix.drain()
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=30)
    assert remote.copies("ok@remote.test") == 1
    summary = json.loads(out)
    assert (process.returncode, summary["kinds"], summary["unverified"]) == (0, {"bounce": 1}, {})
    assert {(one["category"], one["reported_by"]) for one in summary["recipients"]} == {
        ("user_unknown", "mta.lab.test"),
        ("mailbox_full", "mta.lab.test"),
    }
    failed = {event["subject"]: event["data"] for event in shop.events if event["type"] == "failed"}
    assert failed["gone@remote.test"]["reply"] == "550 5.1.1 No such user here"
    assert {one["trust"] for one in failed.values()} == {"signed"}


def test_an_intake_that_is_killed_behind_the_commit_gets_the_bounce_again_and_it_counts_once(
    shop: Shop, relayed: Relayed
) -> None:
    (place,) = free_addresses(1)
    postfix = relayed(f"lmtp:inet:{place.host}:{place.port}")
    with shop.lmtp(place, "--app", "killed_shop:postmaster") as process:
        shop.send(postfix, "gone@remote.test")
        assert process.wait(30) == -signal.SIGKILL
    wait_until(lambda: postfix.put_off() == 1, 30.0, lambda: postfix.process.log())
    assert list(shop.suppressed) == ["gone@remote.test"]
    with shop.lmtp(place) as process:
        postfix.flush()
        wait_until(lambda: postfix.put_off() == 0, 30.0, lambda: postfix.process.log())
        postfix.drain()
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=30)
    assert json.loads(out)["mails"] == 1, "it came again"
    assert [event["type"] for event in shop.events].count("failed") == 1


def test_a_maildir_s_intake_that_is_killed_again_and_again_loses_nothing_and_counts_all_once(
    shop: Shop, serve: Callable[..., ScriptedServer]
) -> None:
    seed = random.randrange(1_000_000)
    print(f"seed {seed}")
    rng, server = random.Random(seed), serve()
    with shop.postmaster() as postmaster, postmaster.client(server.url) as client:
        for number in range(400):
            client.send(message(f"gone{number}@remote.test"))
    new = shop.folder / "Maildir" / "new"
    for part in ("tmp", "new", "cur"):
        (shop.folder / "Maildir" / part).mkdir(parents=True)
    left = []
    for life in range(8):
        for number, received in enumerate(server.messages[life * 50 : life * 50 + 50], life * 50):
            (new / f"{number:04}").write_bytes(dsn(received, received.recipients[0]))
        most = len(os.listdir(new)) - rng.randrange(1, 20)
        process = subprocess.Popen(shop.command("maildir", "Maildir"), cwd=shop.folder, env=shop.environ)
        _wait_until_left(new, most)
        time.sleep(rng.uniform(0.0, 0.01))
        process.kill()
        process.wait()
        left.append(len(os.listdir(new)))
    assert sum(map(bool, left)) > 4, "hardly a kill came before all was done: this run shows nothing"
    done = subprocess.run(shop.command("maildir", "Maildir"), cwd=shop.folder, env=shop.environ, check=False)
    assert done.returncode == 0
    failed = [event["subject"] for event in shop.events if event["type"] == "failed"]
    assert len(failed) == len(set(failed)) == 400
    assert len(shop.suppressed) == 400
    assert len(list((shop.folder / "Maildir" / ".Processed" / "cur").iterdir())) == 400


def _wait_until_left(folder: Path, most: int) -> None:
    wait_until(lambda: len(os.listdir(folder)) <= most, 30.0)


@pytest.mark.parametrize("source", ["mbox", "pipe", "maildir"])
def test_killed_between_commit_and_acknowledgement_a_mail_stays_where_it_was_and_counts_once(
    source: str, shop: Shop, serve: Callable[..., ScriptedServer]
) -> None:
    server = serve()
    with shop.postmaster() as postmaster, postmaster.client(server.url) as client:
        client.send(message("gone@remote.test"))
    mail = dsn(server.messages[0], "gone@remote.test")
    place = shop.folder / source
    if source == "mbox":
        place.write_bytes(b"From MAILER-DAEMON Thu Jan  1 00:00:00 2026\n" + mail.replace(b"\r\n", b"\n") + b"\n")
    elif source == "maildir":
        for part in ("tmp", "new", "cur"):
            (place / part).mkdir(parents=True)
        (place / "new" / "1").write_bytes(mail)

    def intake(*options: str) -> int:
        what = ("--to", server.messages[0].sender) if source == "pipe" else (source,)
        command = shop.command(source, *what, *options)
        given = mail if source == "pipe" else b""
        return subprocess.run(
            command, cwd=shop.folder, env=shop.environ, input=given, check=False, timeout=60
        ).returncode

    def waiting() -> int:
        if source == "mbox":
            return place.read_bytes().count(b"From MAILER-DAEMON")
        return len(list((place / "new").iterdir())) if source == "maildir" else 0

    before = waiting()
    assert intake("--app", "killed_shop:postmaster") == -signal.SIGKILL, "a server keeps what such a program had"
    assert (list(shop.suppressed), waiting()) == (["gone@remote.test"], before)
    if source == "mbox":  # the lock that it has left beside the file counts until it is old
        os.utime(shop.folder / "mbox.lock", (0, 0))
    assert (intake(), waiting()) == (0, 0)
    assert [event["type"] for event in shop.events].count("failed") == 1


class Runner:
    """Runs a command for a user who may not run it: what Postfix pipes in, and the exit code, go through two FIFOs."""

    SCRIPT = """#!/bin/sh
{ echo "$1"; cat; } > "$(dirname "$0")/in"
read -r code < "$(dirname "$0")/out"
exit "$code"
"""

    def __init__(self, folder: Path, shop: Shop, *options: list[str]) -> None:
        self.codes: list[int] = []
        self.path = folder / "run"
        self.path.write_text(self.SCRIPT)
        self.path.chmod(0o755)
        for name in ("in", "out"):
            os.mkfifo(folder / name)
            (folder / name).chmod(0o666)
        self._thread = threading.Thread(target=self._run, args=(folder, shop, options), daemon=True)
        self._thread.start()

    def _run(self, folder: Path, shop: Shop, options: tuple[list[str], ...]) -> None:
        for more in options:
            address, _, content = (folder / "in").read_bytes().partition(b"\n")
            command = shop.command("pipe", "--to", address.decode(), *more)
            done = subprocess.run(command, cwd=shop.folder, env=shop.environ, input=content, check=False, timeout=60)
            self.codes.append(done.returncode)
            (folder / "out").write_text(f"{done.returncode}\n")


def test_a_bounce_that_postfix_pipes_in_is_kept_there_until_the_store_has_it(shop: Shop, relayed: Relayed) -> None:
    with server_directory("pipe") as folder:
        runner = Runner(folder, shop, ["--store", "sqlite:////nowhere/b.db"], [])
        postfix = relayed("intake:", intake=f"{runner.path} ${{original_recipient}}")
        shop.send(postfix, "gone@remote.test")
        wait_until(lambda: postfix.put_off() == 1, 30.0, lambda: postfix.process.log())
        assert (runner.codes, shop.suppressed) == ([75], {})
        postfix.flush()
        wait_until(lambda: postfix.put_off() == 0, 30.0, lambda: postfix.process.log())
        postfix.drain()
        assert runner.codes == [75, 0]
    assert list(shop.suppressed) == ["gone@remote.test"]
