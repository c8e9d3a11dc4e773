"""`suppressions show` and `undo`: what changed on the list, and taking it back."""

import json
from pathlib import Path
from typing import Any

import pytest

from .conftest import Run, Send

STORE = ("--store", "sqlite:///b.db")


@pytest.fixture
def imported(run: Run, folder: Path) -> None:
    (folder / "ses.csv").write_text("ada@example.com,BOUNCE\nbob@example.org,COMPLAINT\n")
    run("suppressions", "import", "ses.csv", *STORE)


def keys(run: Run) -> list[str]:
    return [json.loads(line)["key"] for line in run("suppressions", "list", "--json", *STORE).output.splitlines()]


@pytest.mark.usefixtures("imported")
def test_show_has_every_change_with_who_made_it(run: Run) -> None:
    run("suppressions", "remove", "ada@example.com", "--by", "support", *STORE)
    result = run("suppressions", "show", "ADA@example.com", *STORE)
    assert [line.split()[2] for line in result.output.splitlines()[1:]] == ["lifted", "added"]
    assert "support" in result.output
    last, first = (
        json.loads(line)
        for line in run("suppressions", "show", "ada@example.com", "--json", *STORE).output.splitlines()
    )
    assert (last["after"], first["before"], first["by"]) == (None, None, "import ses ses.csv")
    nobody = run("suppressions", "show", "x@example.com", *STORE)
    assert (nobody.exit_code, nobody.output) == (1, "x@example.com was never on the list\n")


@pytest.mark.usefixtures("imported")
def test_undo_by_category_and_back_again(run: Run) -> None:
    tried = run("suppressions", "undo", "--category", "complaint", "--dry-run", *STORE)
    assert tried.output == "would be: 1 lifted, 0 as they were before, 0 changed since and left alone\n"
    done: dict[str, Any] = json.loads(
        run("suppressions", "undo", "--category", "complaint", "--yes", "--json", *STORE).output
    )
    assert (done["lifted"], keys(run)) == (1, ["ada@example.com"])
    run("suppressions", "undo", "--made-by", done["by"], "--yes", *STORE)
    assert keys(run) == ["ada@example.com", "bob@example.org"]


@pytest.mark.usefixtures("imported")
def test_undo_asks_first(run: Run) -> None:
    assert run("suppressions", "undo", "--since", "1h", *STORE).exit_code == 2
    refused = run("suppressions", "undo", "--since", "1h", *STORE, input="n\n")
    assert (refused.exit_code, len(keys(run))) == (1, 2)
    assert run("suppressions", "undo", "--since", "1h", *STORE, input="y\n").exit_code == 0
    assert keys(run) == []


@pytest.mark.usefixtures("imported")
@pytest.mark.parametrize("options", [("--since", "2026-01-01T00:00"), ("--since", "soon"), ()])
def test_what_is_not_said_well_is_exit_code_2(run: Run, options: tuple[str, ...]) -> None:
    assert run("suppressions", "undo", *options, "--yes", *STORE).exit_code == 2


def test_undo_by_rule_and_provider(run: Run, happen: Send) -> None:
    happen("ada@example.com", answers={"ada@example.com": "550 5.1.1 No such user"})
    for option in (("--rule", "x"), ("--provider", "gmail")):
        assert run("suppressions", "undo", *option, "--yes", *STORE).exit_code == 1
    assert run("suppressions", "undo", "--provider", "example.com", "--dry-run", *STORE).exit_code == 0
    assert run("suppressions", "undo", "--rule", "nobody", "--yes", *STORE).exit_code == 0
    assert keys(run) == []
