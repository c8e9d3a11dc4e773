"""`bouncekit serve`: where it listens, whom it answers, what it says."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.web.access import hash_password, is_password
from tests.cli.conftest import ROOT, Run

STORE = ("--store", "sqlite:///b.db")
PASSWORD = "correct horse battery"


@contextmanager
def served(folder: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """The verb in a process of its own, and what it printed when it was ready."""
    command = [sys.executable, "-m", "bouncekit", "serve", "--port", "0", "--json", *options]
    with subprocess.Popen(
        command, cwd=folder, env={"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, process.stderr and process.stderr.read()
            yield process, json.loads(line)
        finally:
            process.kill()


def test_the_page_is_there_until_somebody_ends_it(folder: Path) -> None:
    with Postmaster(store=f"sqlite:///{folder / 'b.db'}") as postmaster:
        postmaster.suppressions.add("bob@example.com")
    with served(folder, *STORE) as (process, said):
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", said["url"])
        assert (said["users"], said["changes"]) == ([], False)
        with urllib.request.urlopen(f"{said['url']}suppressions", timeout=30) as answer:
            assert b"bob@example.com" in answer.read()
            assert "server" not in answer.headers
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_without_users_it_listens_to_this_machine_alone(run: Run) -> None:
    result = run("serve", "--host", "0.0.0.0", *STORE)
    assert result.exit_code == 2
    assert "without users the page is for its own machine; set up [web.users.NAME]" in result.stderr


def test_with_users_it_listens_anywhere_and_asks_who_is_there(folder: Path) -> None:
    (folder / "bouncekit.toml").write_text(
        f'[web]\nhosts = ["bounces.example.org"]\n[web.users.asha]\npassword = "{hash_password(PASSWORD)}"\n'
    )
    with served(folder, "--host", "0.0.0.0", *STORE) as (_, said):
        assert said["users"] == ["asha"]
        url = said["url"].replace("0.0.0.0", "127.0.0.1")
        with urllib.request.urlopen(url, timeout=30) as answer:
            assert b"Log in" in answer.read()
        with urllib.request.urlopen(
            urllib.request.Request(url, headers={"Host": "bounces.example.org"}), timeout=30
        ) as answer:
            assert b"Log in" in answer.read()


def test_what_is_wrong_in_the_configuration_is_one_line(run: Run, folder: Path) -> None:
    (folder / "bouncekit.toml").write_text('[web.users.asha]\npassword = "secret"\n')
    result = run("serve", *STORE)
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert "users.asha.password: a hash is needed; `bouncekit serve --hash-password` makes one" in result.stderr
    assert "secret" not in result.stderr


def test_without_a_store_there_is_nothing_to_show(run: Run) -> None:
    result = run("serve")
    assert result.exit_code == 2
    assert "no store" in result.stderr


def test_a_port_that_is_taken_is_told(run: Run, serve: Callable[..., Any]) -> None:
    result = run("serve", "--port", serve().port, *STORE)
    assert result.exit_code == 2
    assert "--port 0 takes a free one" in result.stderr


def test_a_password_is_read_and_its_hash_printed(run: Run) -> None:
    result = run("serve", "--hash-password", input=f"{PASSWORD}\n")
    assert result.exit_code == 0
    assert is_password(PASSWORD, result.stdout.strip())
    assert run("serve", "--hash-password", "--json", input=f"{PASSWORD}\n").stdout.startswith('{"password"')


def test_at_a_terminal_a_password_is_asked_for_twice(folder: Path) -> None:
    typing, terminal = os.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "bouncekit", "serve", "--hash-password"],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT)},
        stdin=terminal,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # so that no other terminal is asked
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        said = b""
        first, again = b"Password: ", b"confirmation: "
        for asks, typed in ((first, PASSWORD), (again, "another password"), (first, PASSWORD), (again, PASSWORD)):
            while not said.endswith(asks) and (more := process.stderr.read(1)):
                said += more
            os.write(typing, f"{typed}\n".encode())
        assert is_password(PASSWORD, process.stdout.read().decode().strip())
    os.close(terminal)
    os.close(typing)
    assert b"do not match" in said


def test_without_anybody_who_types_a_password_it_says_how_to_give_one(run: Run) -> None:
    result = run("serve", "--hash-password", input="")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "no password: type it at a terminal, or give it as the first line of standard input" in result.stderr


@pytest.mark.parametrize("typed", ["short\nshort\n", "x\n"])
def test_a_password_that_will_not_do_has_no_hash(run: Run, typed: str) -> None:
    result = run("serve", "--hash-password", input=typed)
    assert result.exit_code != 0
    assert "scrypt" not in result.stdout


def test_where_its_libraries_are_missing_the_extra_is_named(folder: Path) -> None:
    code = (
        "import sys; sys.modules['starlette'] = None\n"
        "from bouncekit.cli import main\nmain(['serve', '--store', 'sqlite:///b.db'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert done.stderr == ("bouncekit: error: web pages need starlette: python -m pip install 'bouncekit[web]'\n")
