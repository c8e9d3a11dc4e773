"""`suppressions import`, `export` and `check`: lists in files."""

import json
from pathlib import Path

import pytest

from .conftest import Run

STORE = ("--store", "sqlite:///b.db")
LIST = "EmailAddress,Reason,LastUpdateTime\nada@example.com,BOUNCE,2020-01-01T00:00:00Z\nbob@example.org,COMPLAINT,\n"


@pytest.fixture
def file(folder: Path) -> str:
    (folder / "ses.csv").write_text(LIST)
    return "ses.csv"


def test_an_import_tells_what_went_in_and_how_to_take_it_back(run: Run, file: str) -> None:
    result = run("suppressions", "import", file, *STORE)
    assert result.exit_code == 0
    assert result.output.splitlines()[0] == "2 rows read as ses"
    assert "bouncekit suppressions undo --made-by 'import ses ses.csv'" in result.output
    assert json.loads(run("suppressions", "import", file, "--json", *STORE).output)["kept"] == {
        "complaint": 1,
        "user_unknown": 1,
    }


def test_a_dry_run_makes_not_even_a_store(run: Run, folder: Path, file: str) -> None:
    first = run("suppressions", "import", file, "--dry-run", *STORE)
    assert (first.exit_code, first.stderr) == (0, "bouncekit: warning: b.db: not there yet, so as if empty\n")
    assert "WOULD BE NEW" in first.stdout
    assert not (folder / "b.db").exists()
    run("suppressions", "add", "ada@example.com", *STORE)
    result = run("suppressions", "import", file, "--dry-run", *STORE)
    assert "WOULD BE NEW" in result.output
    assert "kept" in result.output
    assert len(run("suppressions", "list", "--json", *STORE).output.splitlines()) == 1


def test_faults_have_their_lines_and_all_else_goes_in(run: Run, folder: Path) -> None:
    (folder / "bad.csv").write_text(LIST + "jo\x1b@example.com,BOUNCE,\ncy@example.com,BOUNCE,\n")
    result = run("suppressions", "import", "bad.csv", *STORE)
    assert result.exit_code == 1
    assert "4     'jo\\x1b@example.com'" in result.output.replace("\\\\", "\\")
    assert len(run("suppressions", "list", "--json", *STORE).output.splitlines()) == 3


def test_from_standard_input_and_to_standard_output(run: Run, folder: Path) -> None:
    assert run("suppressions", "import", "-", *STORE, input=LIST).exit_code == 0
    exported = run("suppressions", "export", "--format", "jsonl", *STORE)
    assert [json.loads(line)["key"] for line in exported.output.splitlines()] == ["ada@example.com", "bob@example.org"]


@pytest.mark.parametrize("name", ["list.csv", "list.jsonl"])
def test_what_is_exported_is_imported_without_loss(run: Run, folder: Path, file: str, name: str) -> None:
    run("suppressions", "import", file, *STORE)
    run("suppressions", "add", "cy@example.com", "--reason", "=HYPERLINK(1)", *STORE)
    result = run("suppressions", "export", name, *STORE)
    assert result.output == f"3 entries written to {name}\n"
    assert (folder / name).stat().st_mode & 0o777 == 0o600
    other = ("--store", "sqlite:///other.db")
    run("suppressions", "import", name, *other)
    shown = [run("suppressions", "list", "--json", *store).output for store in (STORE, other)]
    assert shown[0] == shown[1]


def test_a_cell_of_csv_is_safe_unless_raw(run: Run, folder: Path) -> None:
    run("suppressions", "add", "cy@example.com", "--reason", "=HYPERLINK(1)", *STORE)
    assert ",'=HYPERLINK(1)," in run("suppressions", "export", *STORE).output
    assert ",=HYPERLINK(1)," in run("suppressions", "export", "--raw", *STORE).output


def test_check_names_those_who_are_held_back(run: Run, folder: Path, file: str) -> None:
    run("suppressions", "import", file, *STORE)
    (folder / "all.txt").write_text("new@example.com\nADA@example.com\nnobody\n")
    result = run("suppressions", "check", "all.txt", *STORE)
    assert (result.exit_code, result.stdout) == (1, "ADA@example.com\n")
    assert "line 3" in result.stderr
    assert "1 of 2 are held back" in result.stderr
    (folder / "some.txt").write_text("new@example.com\n")
    assert run("suppressions", "check", "some.txt", *STORE).exit_code == 0
    found = run("suppressions", "check", "all.txt", "--json", *STORE).stdout.splitlines()
    assert [json.loads(line)["suppressed"] for line in found] == [False, True]


def test_a_list_of_no_known_kind_is_exit_code_2(run: Run, folder: Path) -> None:
    (folder / "odd.csv").write_text("who,why\nada,x\n")
    result = run("suppressions", "import", "odd.csv", *STORE)
    assert result.exit_code == 2
    assert "no known kind" in result.stderr


def test_every_tenant_is_exported_and_each_entry_goes_back_to_its_own(run: Run, folder: Path) -> None:
    run("suppressions", "add", "ada@example.com", *STORE)
    run("suppressions", "add", "ada@example.com", "--tenant", "acme", "--stream", "news", *STORE)
    run("suppressions", "add", "old@example.com", "--tenant", "acme", "--for", "0s", *STORE)
    assert run("suppressions", "export", "all.csv", "--all", *STORE).output == "3 entries written to all.csv\n"
    other = ("--store", "sqlite:///other.db")
    done = json.loads(run("suppressions", "import", "all.csv", "--json", *other).output)
    assert (done["added"], done["ended"]) == ({"recipient_filtered": 3}, 1)
    again = run("suppressions", "import", "all.csv", *other).output
    assert "ended already, so that nobody is held back: 1 entry" in again
    assert run("suppressions", "list", "--all", "--json", *other).output == (
        run("suppressions", "list", "--all", "--json", *STORE).output
    )
    assert run("suppressions", "export", "all.csv", "--all", "--tenant", "acme", *STORE).exit_code == 2
