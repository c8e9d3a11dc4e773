"""`policy backtest` and `policy diff`: what a change changes, told before it does."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bouncekit.outside.builtin import classify, open_policy
from bouncekit.stores.sqlite import SqliteStore
from tests.building import delivery_to
from tests.contract.stores import Sender, new_id

from .conftest import Run

BLOCKED, GONE = "550 5.7.1 Your host is listed at a blocklist", "550 5.1.1 No such user \x1b[2J"
NEW = """policy: 1
extends: default
rules:
  - id: blocked
    when: {category: blocklisted, permanent: true}
    do: retry
    wait: 1h
"""


@pytest.fixture
def recorded(store: SqliteStore, now: Any, folder: Path) -> Path:
    """A store in which the default policy wrote what became of mail, and a policy that does otherwise."""
    (folder / "new.yaml").write_text(NEW)
    for ago, to, said in ((9, "old@example.com", BLOCKED), (2, "a@example.com", BLOCKED), (1, "b@example.com", GONE)):
        sender = Sender(answers=({to: said},), now=now - timedelta(days=ago), store=store)
        sender.drive(delivery_to(to, id=new_id()), open_policy("default"), classify=classify)
    sender = Sender(now=now, store=store)
    sender.drive(delivery_to("c@example.com", id=new_id()), open_policy("default"), classify=classify)
    return folder


STORE = ("--store", "sqlite:///b.db")


def test_the_difference_is_told_in_totals_changes_examples_and_what_is_not_known(run: Run, recorded: Path) -> None:
    result = run("policy", "backtest", "new.yaml", *STORE)
    lines = result.output.splitlines()
    assert result.exit_code == 0
    assert lines[0].startswith("4 recorded outcomes, ")
    assert lines[0].endswith(": 2 end otherwise")
    rows = [line.split() for line in lines]
    assert ["retried", "0", "2", "+2"] in rows
    assert ["failed", "3", "1", "-2"] in rows
    assert ["notices", "to", "operations", "2", "0", "-2"] in rows
    assert any("failed, operations notified" in line and line.endswith("retried in 1h") for line in lines)
    assert f"  a@example.com: {BLOCKED} [RCPT]  our-fault (default.yaml:" in result.output
    assert "-> blocked (new.yaml:4)" in result.output
    assert (
        "Not known: what 2 further tries of the new policy would have been answered (0 of the old one)" in result.output
    )
    assert "\x1b" not in result.output


def test_as_json_it_is_one_document_with_the_same(run: Run, recorded: Path) -> None:
    answer = json.loads(run("policy", "backtest", "new.yaml", "--examples", "1", *STORE, "--json").output)
    assert (answer["outcomes"], answer["changed"]) == (4, 2)
    assert (answer["old"]["policy"], answer["new"]["policy"]) == ("default", "new")
    assert answer["new"]["outcomes"] == {"retried": 2, "failed": 1, "delivered": 1}
    (change,) = answer["changes"]
    assert (change["from"], change["to"], change["count"]) == ("failed, operations notified", "retried in 1h", 2)
    assert [one["recipient"] for one in change["examples"]] == ["old@example.com"]
    assert answer["by_rule"] == [{"old": "our-fault", "new": "blocked", "count": 2}]
    assert answer["not_known"]["tries_without_an_answer"] == 2


def test_only_the_time_asked_for_counts(run: Run, recorded: Path) -> None:
    answer = json.loads(run("policy", "backtest", "new.yaml", "--since", "3d", *STORE, "--json").output)
    assert (answer["outcomes"], answer["changed"]) == (3, 1)


def test_events_may_come_from_json_lines(run: Run, recorded: Path) -> None:
    lines = run("events", "--json", *STORE).output
    (recorded / "events.jsonl").write_text(lines + "no JSON\n\n[1]\n")
    stored = json.loads(run("policy", "backtest", "new.yaml", *STORE, "--json").output)
    for arguments, given in ((("--events", "events.jsonl"), None), (("--events", "-"), lines + "no JSON\n[1]\n")):
        answer = json.loads(run("policy", "backtest", "new.yaml", *arguments, "--json", input=given).output)
        assert answer["not_known"].pop("unreadable") == 2
        assert answer == {**stored, "not_known": {k: v for k, v in stored["not_known"].items() if k != "unreadable"}}


def test_the_old_policy_is_the_configured_one_or_the_one_given(run: Run, recorded: Path) -> None:
    (recorded / "bouncekit.toml").write_text('policy = "new.yaml"\nstore = "sqlite:///b.db"\n')
    assert json.loads(run("policy", "backtest", "new.yaml", "--json").output)["changed"] == 0
    against = run("policy", "backtest", "new.yaml", "--against", "default", "--json")
    assert json.loads(against.output)["changed"] == 2


def test_without_events_it_says_so(run: Run, store: SqliteStore) -> None:
    assert run("policy", "backtest", "bulk", *STORE).output == "no outcomes of mail to replay\n"
    assert run("policy", "backtest", "bulk", "--since", "1d", *STORE).output.endswith(" in that time\n")


def test_without_a_store_or_with_a_faulty_policy_it_is_an_error(run: Run, recorded: Path) -> None:
    assert run("policy", "backtest", "new.yaml").exit_code == 2
    (recorded / "new.yaml").write_text(NEW.replace("do: retry", "do: rerty"))
    result = run("policy", "backtest", "new.yaml", *STORE)
    assert result.exit_code == 2
    assert "new.yaml:6:" in result.stderr


def test_a_backtest_changes_nothing_in_the_store(run: Run, recorded: Path, store: SqliteStore) -> None:
    before = store.events(limit=1000), list(store.suppressions())
    run("policy", "backtest", "new.yaml", *STORE)
    assert (store.events(limit=1000), list(store.suppressions())) == before


# -- diff


def test_diff_tells_rules_settings_and_typical_replies(run: Run, folder: Path) -> None:
    (folder / "new.yaml").write_text(NEW + "schedules: {hours: [1h]}\n")
    result = run("policy", "diff", "default", "new.yaml", "--limit", "3")
    lines = result.output.splitlines()
    assert result.exit_code == 1
    assert lines[0] == "added rule blocked (new.yaml:4)"
    assert "    + do: retry" in lines
    assert "schedules.hours: [30m, 1h, 2h, 4h] -> 1h" in lines
    assert any(line.startswith("and ") and line.endswith(" more: --limit") for line in lines)
    answer = json.loads(run("policy", "diff", "default", "new.yaml", "--json").output)
    assert [(one["how"], one["rule"]) for one in answer["rules"]] == [("added", "blocked")]
    assert lines[-1] == f"1 rule, 1 setting and {len(answer['replies'])} typical replies differ"
    blocked = [one for one in answer["replies"] if one["new_rule"] == "blocked"]
    assert blocked
    assert {one["new"] for one in blocked if one["when"] == "at the first try"} == {"retry in 1h"}


def test_a_policy_does_not_differ_from_itself(run: Run) -> None:
    result = run("policy", "diff", "strict", "strict")
    assert (result.exit_code, result.output.strip()) == (0, "0 rules, 0 settings and 0 typical replies differ")
