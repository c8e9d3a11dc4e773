"""`forget`: somebody asks to be erased."""

import json
from pathlib import Path

import pytest

from .conftest import Run

STORE = ("--store", "sqlite:///b.db")


@pytest.fixture
def secret(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("BOUNCEKIT_HASH_KEYS", "a long random secret")


@pytest.mark.usefixtures("secret")
def test_forgotten_is_gone_from_the_file_and_stays_suppressed(run: Run, folder: Path) -> None:
    run("suppressions", "add", "ada@example.com", "--reason", "asked us", *STORE)
    assert b"ada@example.com" in b"".join(path.read_bytes() for path in folder.glob("b.db*"))
    result = run("forget", "ADA@example.com", *STORE)
    assert result.exit_code == 0
    assert "stays suppressed as #" in result.output
    assert b"ada@example.com" not in b"".join(path.read_bytes() for path in folder.glob("b.db*")).lower()
    checked = run("suppressions", "check", "-", *STORE, input="ada@example.com\n")
    assert (checked.exit_code, checked.stdout) == (1, "ada@example.com\n")


@pytest.mark.usefixtures("secret")
def test_as_json_it_counts(run: Run, folder: Path) -> None:
    run("suppressions", "add", "ada@example.com", *STORE)
    found = json.loads(run("forget", "ada@example.com", "--json", *STORE).output)
    assert (found["complete"], found["suppressions"], found["changes"], found["dropped"]) == (True, 1, 1, 0)


def test_without_a_secret_it_says_how_to_make_one(run: Run, folder: Path) -> None:
    run("suppressions", "add", "ada@example.com", *STORE)
    result = run("forget", "ada@example.com", *STORE)
    assert result.exit_code == 2
    assert "token_urlsafe" in result.stderr


@pytest.mark.usefixtures("secret")
def test_without_its_secret_nobody_else_opens_the_store(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run("suppressions", "add", "ada@example.com", *STORE)
    run("forget", "ada@example.com", *STORE)
    monkeypatch.delenv("BOUNCEKIT_HASH_KEYS")
    result = run("suppressions", "list", *STORE)
    assert result.exit_code == 2
    assert "BOUNCEKIT_HASH_KEYS" in result.stderr
