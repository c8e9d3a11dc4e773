"""`intake`: mail that came back counts, and goes only when it has been remembered."""

import json
import os
import signal
import smtplib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.testing import Received, ScriptedServer
from tests.conftest import message
from tests.test_returns import dsn

from .conftest import ROOT, Run

Serve = Callable[..., ScriptedServer]
Process = Callable[..., "subprocess.CompletedProcess[str]"]

STORE, KEY = "sqlite:///b.db", "a secret that is long enough"
SETTINGS = f'store = "{STORE}"\nbounces = "bounce@example.org"\nbounce_keys = ["{KEY}"]\n'
HOSTILE = b"From: a\r\nSubject: Boom\r\n\r\nHello\r\n"

BROKEN = """
import bouncekit

class Broken(bouncekit.Postmaster):
    def absorb(self, content, **options):
        if b"Subject: Boom" in content:
            raise ZeroDivisionError("ours")
        return super().absorb(content, **options)

postmaster = Broken.from_config()
"""


@pytest.fixture
def sent(folder: Path, serve: Serve) -> Callable[..., Received]:
    """Send a message, of which the store then knows; what the server got."""
    server = serve()
    (folder / "bouncekit.toml").write_text(SETTINGS)

    def send(*to: str) -> Received:
        with Postmaster.from_config() as postmaster, postmaster.client(server.url) as client:
            client.send(message(*to))
        return server.messages[-1]

    return send


@pytest.fixture
def broken(folder: Path, sent: object) -> str:
    """An application whose postmaster has a bug that one mail brings out."""
    (folder / "broken_shop.py").write_text(BROKEN)
    return "broken_shop:postmaster"


def maildir(folder: Path, *mails: bytes) -> Path:
    for part in ("tmp", "new", "cur"):
        (folder / "Maildir" / part).mkdir(parents=True, exist_ok=True)
    for number, content in enumerate(mails):
        (folder / "Maildir" / "new" / f"{number}.host").write_bytes(content)
    return folder / "Maildir"


def suppressed() -> set[str | None]:
    with Postmaster(store=STORE) as postmaster:
        return {one.address for one in postmaster.suppressions}


def failures() -> int:
    with Postmaster(store=STORE) as postmaster:
        return sum(event["type"] == "failed" for _, event in postmaster.office.store.events())


@contextmanager
def running(folder: Path, *arguments: object, **environ: str) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "bouncekit", "intake", *map(str, arguments)]
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def wait_for(condition: Callable[[], Any]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.05)


def test_a_maildir_is_taken_in_and_summed_up(run: Run, folder: Path, sent: Callable[..., Received]) -> None:
    bounce, forged = dsn(sent("ada@example.com"), "ada@example.com"), dsn(sent("bob@example.com"), "bob@example.com")
    forged = forged.replace(b"To: bounce+", b"To: bounce+x")
    path = maildir(folder, bounce, forged, HOSTILE)
    result = run("intake", "maildir", path)
    assert result.exit_code == 0, result.output
    assert result.output.splitlines() == [
        "3 mails taken in: 2 bounce, 1 other",
        "KIND    CATEGORY      REPORTED BY        RECIPIENTS",
        "bounce  user_unknown  relay.example.net  1",
        "1 unverified, which counts for nothing: the return path it was sent to is forged",
    ]
    assert suppressed() == {"ada@example.com"}
    assert len(list((path / ".Processed" / "cur").iterdir())) == 3
    assert run("intake", "maildir", path).output == "0 mails taken in\n"


def test_the_summary_is_json_for_programs(run: Run, folder: Path, sent: Callable[..., Received]) -> None:
    bounce = dsn(sent("ada@example.com"), "ada@example.com")
    result = run("intake", "maildir", maildir(folder, bounce, HOSTILE), "--delete", "--json")
    assert json.loads(result.output) == {
        "mails": 2,
        "kinds": {"bounce": 1, "other": 1},
        "recipients": [{"kind": "bounce", "category": "user_unknown", "reported_by": "relay.example.net", "count": 1}],
        "unverified": {},
        "set_aside": 0,
        "kept": 0,
    }
    assert not any((folder / "Maildir" / "new").iterdir())


def test_an_mbox_is_taken_in_and_emptied(run: Run, folder: Path, sent: Callable[..., Received]) -> None:
    bounce = dsn(sent("ada@example.com"), "ada@example.com").replace(b"\r\n", b"\n")
    (folder / "bounces").write_bytes(b"From MAILER-DAEMON Thu Jan  1 00:00:00 2026\n" + bounce + b"\n")
    result = run("intake", "mbox", "bounces", "--done", "done")
    assert (result.exit_code, result.output.splitlines()[0]) == (0, "1 mail taken in: 1 bounce")
    assert suppressed() == {"ada@example.com"}
    assert (folder / "bounces").read_bytes() == b""
    assert bounce in (folder / "done").read_bytes()


def test_an_mbox_that_is_not_there_is_told_of(run: Run, sent: object) -> None:
    result = run("intake", "mbox", "bounces")
    assert result.exit_code == 0
    assert "bounces: there is no such file, so no mail" in result.output


def test_one_mail_of_a_pipe_counts_at_the_address_that_the_server_names(
    process: Process, sent: Callable[..., Received]
) -> None:
    received = sent("ada@example.com")
    bounce = dsn(received, "ada@example.com", to="shop@example.org").decode()
    result = process("intake", "pipe", input=bounce, environ={"RECIPIENT": "shop@example.org"})
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert suppressed() == set(), "its headers name no return path of ours"
    result = process("intake", "pipe", input=bounce, environ={"ORIGINAL_RECIPIENT": received.sender})
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert suppressed() == {"ada@example.com"}
    result = process("intake", "pipe", "--to", received.sender, "--json", input=bounce)
    assert json.loads(result.stdout)["mails"] == 1
    assert failures() == 1


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--store", "sqlite:////nowhere/b.db"], 75, "try again later"),
        (["--policy", "no-such-policy"], 75, "no shipped policy 'no-such-policy'"),
        (["--app", "no_such_shop:postmaster"], 75, "No module named"),
        (["--no-such-option"], 64, "No such option"),
        (["surplus"], 64, "surplus"),
    ],
)
def test_the_server_keeps_the_mail_unless_the_usage_is_wrong(
    run: Run, sent: object, arguments: list[str], code: int, said: str
) -> None:
    result = run("intake", "pipe", *arguments, input=HOSTILE)
    assert (result.exit_code, said in result.output) == (code, True), result.output
    assert result.output.startswith("bouncekit: error: ")


def test_a_mail_of_a_pipe_that_makes_an_error_of_ours_lies_beside_the_store(
    process: Process, folder: Path, broken: str
) -> None:
    result = process("intake", "pipe", "--app", broken, input=HOSTILE.decode())
    assert result.returncode == 0, "else the server would bring it for ever"
    assert "could not be taken in, and is set aside" in result.stderr
    assert [path.read_bytes() for path in (folder / "b.db.aside").iterdir()] == [HOSTILE]


def test_one_of_a_maildir_lies_in_its_folder_and_the_exit_code_says_so(
    process: Process, folder: Path, broken: str, sent: Callable[..., Received]
) -> None:
    path = maildir(folder, HOSTILE, dsn(sent("ada@example.com"), "ada@example.com"))
    result = process("intake", "maildir", str(path), "--app", broken)
    assert result.returncode == 1
    assert f"1 mail could not be taken in, and set aside: {path}/.Aside" in result.stderr
    assert suppressed() == {"ada@example.com"}
    assert process("intake", "maildir", str(path), "--app", broken).returncode == 0


def test_a_store_that_fails_leaves_every_mail_where_it_is(
    process: Process, folder: Path, sent: Callable[..., Received]
) -> None:
    path = maildir(folder, dsn(sent("ada@example.com"), "ada@example.com"))
    (folder / "full_shop.py").write_text(
        "import bouncekit\nfrom bouncekit.words.errors import StoreError\n"
        "class Full(bouncekit.Postmaster):\n"
        "    def absorb(self, content, **options):\n        raise StoreError('the disk is full')\n"
        "postmaster = Full.from_config()\n"
    )
    result = process("intake", "maildir", str(path), "--app", "full_shop:postmaster")
    assert (result.returncode, "the disk is full" in result.stderr) == (2, True)
    assert result.stdout == "0 mails taken in\n"
    assert [one.name for one in (path / "new").iterdir()] == ["0.host"]


KILLED = """
import os, signal
import bouncekit

postmaster = bouncekit.Postmaster.from_config()

@postmaster.on("failed")
def killed_behind_the_commit(event):
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("source", ["maildir", "mbox", "pipe"])
def test_killed_between_commit_and_acknowledgement_it_comes_again_and_counts_once(
    process: Process, folder: Path, sent: Callable[..., Received], source: str
) -> None:
    bounce = dsn(sent("ada@example.com"), "ada@example.com")
    (folder / "killed_shop.py").write_text(KILLED)
    box = folder / "bounces"
    box.write_bytes(b"From MAILER-DAEMON Thu Jan  1 00:00:00 2026\n" + bounce + b"\n")
    place = {"maildir": [str(maildir(folder, bounce))], "mbox": [str(box)], "pipe": []}[source]
    options = {"input": bounce.decode()} if source == "pipe" else {}
    killed = process("intake", source, *place, "--app", "killed_shop:postmaster", **options)
    assert killed.returncode == -signal.SIGKILL
    assert (failures(), suppressed()) == (1, {"ada@example.com"})
    if source == "mbox":
        os.utime(folder / "bounces.lock", (0, 0))  # as old as it is when a day has gone by
    again = process("intake", source, *place, "--json", **options)
    assert (again.returncode, json.loads(again.stdout)["mails"]) == (0, 1), again.stderr
    assert failures() == 1
    assert not any((folder / "Maildir" / "new").iterdir()) or source != "maildir"
    assert box.read_bytes() == b"" or source != "mbox"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_maildir_is_followed_until_a_signal(folder: Path, sent: Callable[..., Received], number: int) -> None:
    received = sent("ada@example.com")
    path = maildir(folder)
    with running(folder, "maildir", path, "--follow", "--every", "1s") as process:
        (path / "tmp" / "1.a").write_bytes(dsn(received, "ada@example.com"))
        (path / "tmp" / "1.a").rename(path / "new" / "1.a")
        wait_for((path / ".Processed" / "cur" / "1.a:2,S").exists)
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, err, out.splitlines()[0]) == (0, "", "1 mail taken in: 1 bounce")
    assert suppressed() == {"ada@example.com"}


def test_lmtp_is_served_until_a_signal(folder: Path, sent: Callable[..., Received]) -> None:
    received = sent("ada@example.com")
    with running(folder, "lmtp", "unix:./sock", "--mode", "600") as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "bouncekit intake: listens on unix:sock\n"
        with smtplib.LMTP(str(folder / "sock"), local_hostname="mta") as client:
            client.sendmail("", [received.sender], dsn(received, "ada@example.com", to="shop@example.org"))
        assert suppressed() == {"ada@example.com"}, "250 came behind the commit"
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=30)
    assert (process.returncode, out.splitlines()[0]) == (0, "1 mail taken in: 1 bounce")
    assert not (folder / "sock").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["maildir", "nowhere"], "not a maildir"),
        (["maildir", "Maildir", "--done", ".D", "--delete"], "give one of them"),
        (["maildir", "Maildir", "--every", "soon"], "soon"),
        (["mbox", "nowhere/bounces"], "there is no such folder"),
        (["lmtp", "0.0.0.0:2400"], "say --public"),
        (["lmtp", "unix:sock", "--mode", "rw"], "write rights in octal"),
        (["lmtp", "unix:sock", "--mode", "999"], "write rights in octal"),
        (["lmtp", "unix:nowhere/sock"], "nowhere/sock: No such file or directory"),
        (["imap"], "write imaps://user@host"),
        (["imap", "imaps://jo@imap.example.org"], "set BOUNCEKIT_MAILBOX_PASSWORD"),
        (["imap", "imaps://jo:hunter2@imap.example.org"], "a password in a URL is seen by everybody"),
        (["imap", "--flag", "--delete"], "give one of them"),
        (["pop3"], "No such command 'pop3'"),
    ],
)
def test_wrong_usage_is_one_line_that_says_what_is_right(
    run: Run, folder: Path, sent: object, arguments: list[str], said: str
) -> None:
    maildir(folder)
    result = run("intake", *arguments)
    assert result.exit_code == 2
    assert said in result.output
    assert "hunter2" not in result.output


def test_without_a_store_nothing_is_taken_in(run: Run, folder: Path) -> None:
    path = maildir(folder, HOSTILE)
    result = run("intake", "maildir", path)
    assert (result.exit_code, "BOUNCEKIT_STORE" in result.output) == (2, True)
    assert any((path / "new").iterdir())
