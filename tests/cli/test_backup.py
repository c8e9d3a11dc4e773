"""`backup`: a copy of the store, with what to know about it."""

import json
from pathlib import Path

import pytest

from bouncekit.stores.sqlite import SqliteStore
from tests.contract.queueing import enqueue

from .conftest import Run

STORE = ("--store", "sqlite:///b.db")


def test_a_copy_says_what_it_holds_and_what_of_it_is_held(run: Run, folder: Path) -> None:
    run("suppressions", "add", "ada@example.com", *STORE)
    assert run("backup", "copy.db", *STORE).output == f"{folder / 'copy.db'}: sound, 1 suppression, 1 event\n"
    with SqliteStore("b.db") as store:
        enqueue(store, "ann@example.com", "bob@example.com")
    shown = json.loads(run("backup", "more.db", "--json", *STORE).output)
    assert shown == {
        "path": str(folder / "more.db"),
        "size_bytes": (folder / "more.db").stat().st_size,
        "suppressions": 1,
        "events": 1,
        "held": 2,
    }
    copied = ("--store", "sqlite:///more.db")
    assert "ada@example.com" in run("suppressions", "list", *copied).output
    assert run("queue", "list", "--state", "held", *copied).output.count("@example.com") >= 2


def test_a_file_that_is_there_is_replaced_only_with_force(run: Run, folder: Path) -> None:
    run("suppressions", "add", "ada@example.com", *STORE)
    (folder / "copy.db").write_text("precious")
    refused = run("backup", "copy.db", *STORE)
    assert (refused.exit_code, "--force" in refused.stderr) == (2, True)
    assert (folder / "copy.db").read_text() == "precious"
    assert run("backup", "copy.db", "--force", *STORE).exit_code == 0


@pytest.mark.parametrize(
    ("store", "why"),
    [
        ((), "no store"),
        (("--store", "sqlite:///missing.db"), "missing.db: there is no such store"),
        (("--store", "sqlite:///:memory:"), "only a store in a file"),
        (("--store", "postgresql://user:secret@host/db"), "only a store in a file"),
    ],
)
def test_without_a_file_there_is_nothing_to_copy(run: Run, folder: Path, store: tuple[str, ...], why: str) -> None:
    refused = run("backup", "copy.db", *store)
    assert (refused.exit_code, why in refused.stderr) == (2, True)
    assert "secret" not in refused.stderr
    assert list(folder.iterdir()) == []
