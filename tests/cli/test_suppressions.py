"""`suppressions`: look, add, remove."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bouncekit.testing import ScriptedServer

from .conftest import Run

STORE = ("--store", "sqlite:///b.db")


@pytest.fixture
def listed(run: Run, folder: Path) -> None:
    """Three suppressions, one of which has ended."""
    run("suppressions", "add", "ada@example.com", "--reason", "asked for it\x1b[2J", *STORE)
    run("suppressions", "add", "Bob@Example.org", "--for", "30d", "--category", "mailbox_full", *STORE)
    run("suppressions", "add", "old@example.com", "--for", "0s", *STORE)


def documents(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


def test_added_by_hand_lasts_for_good_or_for_a_time(run: Run, folder: Path) -> None:
    result = run("suppressions", "add", "ada@example.com", *STORE)
    assert (result.exit_code, result.output) == (0, "ada@example.com is suppressed for good\n")
    added = json.loads(run("suppressions", "add", "bob@example.com", "--for", "30d", "--json", *STORE).output)
    assert added["expires_at"][:4] >= "2025"
    assert (added["standing"], added["category"]) == ("manual", "recipient_filtered")
    assert "recipient_filtered: the recipient asked for it" in " ".join(run("suppressions", "add", "-h").output.split())
    assert added["by"].endswith("command line)")


def test_who_did_it_is_on_record(run: Run, folder: Path) -> None:
    assert (
        json.loads(run("suppressions", "add", "ada@example.com", "--by", "support", "--json", *STORE).output)["by"]
        == "support"
    )
    run("suppressions", "remove", "ada@example.com", "--by", "the boss", *STORE)
    (lifted,) = documents(run("events", "--type", "suppression_lifted", "--json", *STORE).output)
    assert lifted["data"]["by"] == "the boss"
    assert run("events", "--type", "suppression_lifted", *STORE).output.endswith("  the boss\n")


@pytest.mark.usefixtures("listed")
def test_whose_an_entry_is_is_shown_where_one_has_a_tenant_or_stream(run: Run) -> None:
    run("suppressions", "add", "cy@example.com", "--stream", "news", *STORE)
    head, *rows = run("suppressions", "list", *STORE).output.splitlines()
    assert head.split()[:3] == ["ADDRESS", "STREAM", "STANDING"]
    assert [row.split()[1] for row in rows] == ["manual", "manual", "news", "manual"]
    run("suppressions", "add", "di@example.com", "--tenant", "acme", *STORE)
    head, *rows = run("suppressions", "list", "--all", *STORE).output.splitlines()
    assert head.split()[:4] == ["ADDRESS", "TENANT", "STREAM", "STANDING"]
    assert rows[-1].split()[:3] == ["di@example.com", "acme", "manual"]


@pytest.mark.usefixtures("listed")
def test_the_list_is_a_table_in_the_order_of_keys(run: Run) -> None:
    result = run("suppressions", "list", *STORE)
    head, *rows = result.output.splitlines()
    assert result.exit_code == 0
    assert head.split()[:3] == ["ADDRESS", "STANDING", "CATEGORY"]
    assert [row.split()[0] for row in rows] == ["ada@example.com", "Bob@Example.org", "old@example.com"]
    assert "asked for it" in rows[0]
    assert "for good" in rows[0]
    assert "\x1b" not in result.output


@pytest.mark.usefixtures("listed")
def test_the_list_as_json_is_a_line_each(run: Run) -> None:
    found = documents(run("suppressions", "list", "--json", *STORE).output)
    assert [one["key"] for one in found] == ["ada@example.com", "bob@example.org", "old@example.com"]
    assert found[0]["evidence"]["reply"] == "asked for it\x1b[2J"


@pytest.mark.usefixtures("listed")
def test_the_list_can_be_narrowed(run: Run) -> None:
    def keys(*options: str) -> list[str]:
        return [one["key"] for one in documents(run("suppressions", "list", "--json", *STORE, *options).output)]

    assert keys("--containing", "example.org") == ["bob@example.org"]
    assert keys("--binding") == ["ada@example.com", "bob@example.org"]


@pytest.mark.usefixtures("listed")
def test_removed_is_removed_and_nothing_to_remove_is_exit_code_1(run: Run) -> None:
    assert run("suppressions", "remove", "BOB@example.org", *STORE).exit_code == 0
    again = run("suppressions", "remove", "bob@example.org", *STORE)
    assert (again.exit_code, again.output) == (1, "bob@example.org is not suppressed\n")
    assert json.loads(run("suppressions", "remove", "bob@example.org", "--json", *STORE).output) is None
    assert (
        json.loads(run("suppressions", "remove", "ada@example.com", "--json", *STORE).output)["key"]
        == "ada@example.com"
    )


def test_one_stream_of_one_tenant_can_be_added_listed_and_removed(run: Run, folder: Path) -> None:
    where = ("--tenant", "acme", "--stream", "news", *STORE)
    added = run("suppressions", "add", "ada@example.com", *where)
    assert (added.exit_code, added.output) == (0, "ada@example.com is suppressed in stream news for good\n")
    assert run("suppressions", "list", *STORE).output == "nobody is suppressed\n"
    assert (
        run("suppressions", "list", "--tenant", "acme", "--stream", "other", *STORE).output == "no such suppression\n"
    )
    (listed,) = documents(run("suppressions", "list", "--tenant", "acme", "--json", *STORE).output)
    assert (listed["tenant"], listed["stream"]) == ("acme", "news")
    assert run("suppressions", "check", "-", *where, input="ada@example.com\n").exit_code == 1
    assert run("suppressions", "check", "-", *where[:2], *STORE, input="ada@example.com\n").exit_code == 0
    elsewhere = run("suppressions", "remove", "ada@example.com", "--tenant", "acme", *STORE)
    assert (elsewhere.exit_code, elsewhere.output) == (
        1,
        "ada@example.com is not suppressed there; in others: --stream news\n",
    )
    assert run("suppressions", "remove", "ada@example.com", *where).exit_code == 0
    assert run("suppressions", "list", "--tenant", "acme", *STORE).output == "nobody is suppressed\n"


def test_the_environment_may_name_the_store(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOUNCEKIT_STORE", "sqlite:///env.db")
    assert run("suppressions", "add", "ada@example.com").exit_code == 0
    assert (folder / "env.db").exists()
    assert len(documents(run("suppressions", "list", "--json").output)) == 1


@pytest.mark.parametrize("verb", [("list",), ("remove", "ada@example.com")])
def test_a_misspelt_store_is_an_error_and_no_new_empty_one(run: Run, folder: Path, verb: tuple[str, ...]) -> None:
    result = run("suppressions", *verb, "--store", "sqlite:///typo.db")
    assert result.exit_code == 2
    assert "typo.db: there is no such store" in result.stderr
    assert not (folder / "typo.db").exists()


def test_a_store_in_memory_would_remember_nothing(run: Run) -> None:
    assert run("suppressions", "add", "ada@example.com", "--store", "sqlite:///:memory:").exit_code == 2


def test_a_file_that_is_no_store_is_an_error(run: Run, folder: Path) -> None:
    (folder / "b.db").write_text("hello")
    result = run("suppressions", "list", *STORE)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "b.db: no SQLite database" in result.stderr


@pytest.mark.parametrize("address", ["a@b>", "jo\n@example.com"])
def test_what_is_no_address_is_exit_code_2(run: Run, folder: Path, address: str) -> None:
    assert run("suppressions", "add", address, *STORE).exit_code == 2


def test_a_list_with_nobody_on_it_says_so(run: Run, folder: Path) -> None:
    run("suppressions", "add", "ada@example.com", *STORE)
    assert run("suppressions", "list", "--containing", "nobody", *STORE).output == "no such suppression\n"
    assert run("suppressions", "list", "--containing", "nobody", "--json", *STORE).output == ""
    run("suppressions", "remove", "ada@example.com", *STORE)
    assert run("suppressions", "list", *STORE).output == "nobody is suppressed\n"


def test_in_80_columns_no_address_is_cut(
    run: Run, folder: Path, serve: Callable[..., ScriptedServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "mail.eml").write_text("From: shop@example.org\nTo: full@example.com\n\nHello\n")
    server = serve({"RCPT": {"full@example.com": "552 5.2.2 Mailbox full"}})
    run("send", "mail.eml", "--relay", server.url, *STORE)
    monkeypatch.setattr("bouncekit.cli.output.terminal_width", lambda: 80)
    lines = run("suppressions", "list", *STORE).output.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[1].startswith("full@example.com  provisional  mailbox_full  ")


def test_a_name_without_a_domain_is_refused(run: Run, folder: Path) -> None:
    result = run("suppressions", "add", "foo", *STORE)
    assert result.exit_code == 2
    assert "'foo'" in result.stderr
    assert "an address has an @: write the whole of it" in result.stderr
    assert run("suppressions", "list", *STORE).output == "nobody is suppressed\n"


def test_the_list_is_shown_and_exported_also_where_the_policy_is_wrong(run: Run, folder: Path) -> None:
    run("suppressions", "add", "ada@example.com", *STORE)
    (folder / "bouncekit.toml").write_text('policy = "mine.yaml"\nstore = "sqlite:///b.db"\n')
    (folder / "mine.yaml").write_text("policy: 1\nextends: nothing\n")
    assert run("suppressions", "add", "bob@example.com").exit_code == 2
    for verb in (("list",), ("export", "-")):
        result = run("suppressions", *verb)
        assert result.exit_code == 0
        assert "ada@example.com" in result.output
