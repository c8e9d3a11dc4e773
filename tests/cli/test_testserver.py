"""`bouncekit testserver` as a developer runs it: a process that takes mail, shows it, and ends when asked."""

import json
import os
import re
import signal
import smtplib
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from .conftest import ROOT, Run


@contextmanager
def running(folder: Path, *arguments: str) -> Iterator[tuple[int, "subprocess.Popen[str]"]]:
    """The port, and the process."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bouncekit", "testserver", "--port", "0", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    stream = process.stderr if "--json" in arguments else process.stdout
    assert stream is not None
    try:
        found = re.search(r"://127\.0\.0\.1:(\d+)", stream.readline())
        assert found, process.stderr and process.stderr.read()
        yield int(found[1]), process
    finally:
        process.kill()
        process.communicate()


def ended(process: "subprocess.Popen[str]", number: int = signal.SIGTERM) -> tuple[int, str]:
    process.send_signal(number)
    said, _ = process.communicate(timeout=30)
    return process.returncode, said


def send(port: int, *recipients: str) -> dict[str, int]:
    with smtplib.SMTP("127.0.0.1", port, timeout=20) as client:
        message = "Subject: Your \x1b[31morder\r\n\r\nHi"
        return {to: code for to, (code, _) in client.sendmail("me@example.org", recipients, message).items()}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_it_shows_what_comes_misbehaves_as_the_names_say_and_ends_with_a_count(folder: Path, number: int) -> None:
    with running(folder, "--save", "mails") as (port, process):
        assert send(port, "ada@example.com", "full@example.com") == {"full@example.com": 552}
        with suppress(smtplib.SMTPException):
            send(port, "spam@example.com")
        code, said = ended(process, number)
    assert code == 0
    assert "rcpt  full@example.com  552 5.2.2 Mailbox full\n" in said
    assert "1  me@example.org -> ada@example.com  Your" in said
    assert "\x1b" not in said
    assert said.endswith("1 message taken; odd answers: 1 x 552, 1 x 554\n")
    (saved,) = (folder / "mails").iterdir()
    assert saved.name == "000001.eml"
    assert [path.stat().st_mode & 0o777 for path in (saved, saved.parent)] == [0o600, 0o700]
    assert saved.read_bytes().endswith(b"\r\n\r\nHi\r\n")


def test_a_script_goes_before_the_names_and_json_is_a_line_each(folder: Path) -> None:
    (folder / "answers.yaml").write_text("RCPT: {jo@example.com: [451 4.7.1 Greylisted]}\n", "utf-8")
    with running(folder, "--script", "answers.yaml", "--json") as (port, process):
        assert send(port, "ada@example.com", "jo@example.com") == {"jo@example.com": 451}
        assert send(port, "jo@example.com") == {}
        code, said = ended(process)
    lines: list[dict[str, Any]] = [json.loads(line) for line in said.splitlines()]
    assert code == 0
    assert [(one["what"], one.get("recipient") or one.get("recipients")) for one in lines] == [
        ("answer", "jo@example.com"),
        ("message", ["ada@example.com"]),
        ("message", ["jo@example.com"]),
    ]
    assert lines[1]["sender"] == "me@example.org"


def test_without_chaos_names_mean_nothing(folder: Path) -> None:
    with running(folder, "--no-chaos", "--max-recipients", "1") as (port, process):
        assert send(port, "full@example.com", "ada@example.com") == {"ada@example.com": 452}
        assert ended(process)[0] == 0


def test_a_script_that_is_none_is_said_before_anything_listens(run: Run, folder: Path) -> None:
    (folder / "answers.yaml").write_text("RCTP: 550 No\n", "utf-8")
    done = run("testserver", "--script", "answers.yaml")
    assert done.exit_code == 2
    assert "answers.yaml: script, 'RCTP': no such stage" in done.output
    assert run("testserver", "--script", "nowhere.yaml").exit_code == 2


def test_a_port_that_is_taken_is_said_with_the_way_out(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = run("testserver", "--port", port)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"bouncekit: error: cannot listen at 127.0.0.1 port {port}: ")
    assert result.stderr.endswith("; --port 0 takes a free one\n")
