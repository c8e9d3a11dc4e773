"""`policy`: files of rules, checked, shown and tried."""

import json
from pathlib import Path

import pytest

from bouncekit.builtin import policy_names

from .conftest import Run

GOOD = """policy: 1
extends: default
rules:
  - id: full-is-full
    when: {category: mailbox_full}
    do: fail
    examples: ['552 5.2.2 Mailbox full']
"""
BAD = """policy: 1
extends: default
rules:
  - id: full-is-full
    when: {categroy: mailbox_full}
    do: fial
"""
# The example is decided by the rule before it.
OTHERWISE = """policy: 1
extends: default
rules:
  - id: everything
    do: fail
  - id: full-is-full
    when: {category: mailbox_full}
    do: fail
    examples: ["552 5.2.2 Mailbox full \\e[2J"]
"""


@pytest.fixture
def files(folder: Path) -> Path:
    for name, text in (("good", GOOD), ("bad", BAD), ("otherwise", OTHERWISE)):
        (folder / f"{name}.yaml").write_text(text)
    return folder


@pytest.mark.parametrize("name", [*policy_names(), "good.yaml"])
def test_a_good_policy_is_ok(run: Run, files: Path, name: str) -> None:
    result = run("policy", "check", name)
    assert (result.exit_code, result.output) == (0, f"{name}: ok\n")


def test_every_mistake_is_a_line_with_its_place(run: Run, files: Path) -> None:
    result = run("policy", "check", "good.yaml", "bad.yaml")
    ok, *findings = result.output.splitlines()
    assert result.exit_code == 1
    assert ok == "good.yaml: ok"
    assert len(findings) == 2
    assert findings[0].startswith("bad.yaml:5:")
    assert "category" in findings[0]
    assert findings[1].startswith("bad.yaml:6:")
    assert "fail" in findings[1]


def test_mistakes_as_json_are_a_line_a_file(run: Run, files: Path) -> None:
    result = run("policy", "check", "bad.yaml", "good.yaml", "--json")
    bad, good = map(json.loads, result.output.splitlines())
    assert result.exit_code == 1
    assert (bad["file"], bad["ok"], good["file"], good["ok"]) == ("bad.yaml", False, "good.yaml", True)
    assert [(one["file"], one["line"]) for one in bad["findings"]] == [("bad.yaml", 5), ("bad.yaml", 6)]
    assert good["findings"] == []


@pytest.mark.parametrize(
    ("file", "why"), [("nowhere.yaml", "No such file or directory"), ("nowhere", "no shipped policy 'nowhere'")]
)
def test_a_file_that_is_not_there_is_a_finding(run: Run, files: Path, file: str, why: str) -> None:
    result = run("policy", "check", file, "good.yaml")
    assert result.exit_code == 1
    assert result.output.splitlines()[0].startswith(f"{file}: {why}")
    assert result.output.splitlines()[1] == "good.yaml: ok"


def test_show_prints_the_policy_as_it_holds(run: Run, files: Path) -> None:
    shown = run("policy", "show", "good.yaml")
    assert shown.exit_code == 0
    assert "full-is-full" in shown.output
    assert "no-such-mailbox" in shown.output  # of the base
    assert json.loads(run("policy", "show", "good.yaml", "--json").output)["policy"] == shown.output


def test_what_is_shown_is_a_policy_again(run: Run, files: Path) -> None:
    (files / "again.yaml").write_text(run("policy", "show", "good.yaml").output)
    assert run("policy", "check", "again.yaml").exit_code == 0


@pytest.mark.parametrize("name", [*policy_names(), "good.yaml"])
def test_the_examples_of_a_good_policy_are_decided_as_they_say(run: Run, files: Path, name: str) -> None:
    answer = json.loads(run("policy", "test", name, "--json").output)
    assert answer["ok"], answer["failures"]
    assert answer["examples"] > 1


def test_an_example_that_is_decided_otherwise_is_told_with_who_decided(run: Run, files: Path) -> None:
    result = run("policy", "test", "otherwise.yaml")
    mine = next(line for line in result.output.splitlines() if "by rule full-is-full," in line)
    assert result.exit_code == 1
    assert "552 5.2.2 Mailbox full" in mine
    assert mine.startswith("otherwise.yaml:6: ")
    assert "expected fail by rule full-is-full, got fail by rule everything (otherwise.yaml:4); it means " in mine
    assert "it means mailbox_full, says " in mine
    assert "\x1b" not in result.output
    failures = json.loads(run("policy", "test", "otherwise.yaml", "--json").output)["failures"]
    assert ("full-is-full", "everything") in [(one["rule"], one["decided_by"]) for one in failures]


def test_several_policies_are_tried_in_one_go(run: Run, files: Path) -> None:
    assert len(run("policy", "test", "default", "good.yaml").output.splitlines()) == 2


def test_a_policy_with_mistakes_cannot_be_tried(run: Run, files: Path) -> None:
    result = run("policy", "test", "bad.yaml")
    assert result.exit_code == 2
    assert result.stderr.startswith("bouncekit: error: bad.yaml:5:")
    assert result.stderr.endswith("(and 1 more: bouncekit policy check bad.yaml)\n")


def test_the_schema_is_json_in_both_forms(run: Run) -> None:
    schema = json.loads(run("policy", "schema").output)
    assert "rules" in schema["properties"]
    assert json.loads(run("policy", "schema", "--json").output) == schema
    assert run("policy", "schema", "--json").output.count("\n") == 1


def test_a_reply_that_never_came_is_told_without_an_empty_place(run: Run, folder: Path) -> None:
    (folder / "lost.yaml").write_text(
        "policy: 1\nextends: default\nrules:\n"
        "  - {id: mine, when: {category: mailbox_full}, do: hold, examples: lost}\n"
    )
    result = run("policy", "test", "lost.yaml")
    assert result.exit_code == 1
    assert "lost.yaml:4: 'lost' at RCPT: expected hold by rule mine, got retry by rule temporary (" in result.output
    assert result.output.splitlines()[0].endswith("says no-reply-lost")


# -- files of rules about replies

RULES = """
[[rule]]
id = "gate-closed"
source = "our gateway"
text = "closed gate"
category = "relay_denied"
examples = ["550 5.1.1 Closed gate"]
"""
NAMING = """policy: 1
extends: default
meaning: mine.toml
rules:
  - {id: gate, when: {category: relay_denied}, do: hold, examples: [550 The closed gate]}
"""


@pytest.fixture
def naming(folder: Path) -> Path:
    (folder / "mine.yaml").write_text(NAMING)
    (folder / "mine.toml").write_text(RULES)
    return folder


@pytest.mark.parametrize("file", ["mine.yaml", "mine.toml"])
def test_files_of_rules_are_checked_with_their_policy_and_alone(run: Run, naming: Path, file: str) -> None:
    assert run("policy", "check", file).output == f"{file}: ok\n"
    (naming / "mine.toml").write_text(RULES.replace("relay_denied", "relay_refused").replace("source", "sauce"))
    result = run("policy", "check", file)
    assert result.exit_code == 1
    assert [line.partition(";")[0] for line in result.output.splitlines()] == [
        "mine.toml:2: no category 'relay_refused'",
        "mine.toml:2: no source",
        "mine.toml:2: unknown key sauce",
    ]


def test_mistakes_of_a_policy_and_of_its_files_of_rules_come_in_one_go(run: Run, naming: Path) -> None:
    (naming / "mine.yaml").write_text(NAMING.replace("do: hold", "do: hodl"))
    (naming / "mine.toml").write_text(RULES.replace("relay_denied", "relay_refused"))
    answer = json.loads(run("policy", "check", "mine.yaml", "--json").output)
    assert [(one["file"], one["line"]) for one in answer["findings"]] == [("mine.yaml", 5), ("mine.toml", 2)]


def test_a_policy_in_toml_is_no_file_of_rules_about_replies(run: Run, folder: Path) -> None:
    (folder / "mine.toml").write_text('policy = 1\nextends = "default"\n[[rules]]\nid = "a"\ndo = "hold"\n')
    assert run("policy", "check", "mine.toml").output == "mine.toml: ok\n"
    assert json.loads(run("policy", "test", "mine.toml", "--json").output)["examples"] > 1  # the default's


@pytest.mark.parametrize(("file", "examples"), [("mine.yaml", 2), ("mine.toml", 1)])
def test_the_examples_of_a_policy_and_of_its_rules_are_tried_with_these(
    run: Run, naming: Path, file: str, examples: int
) -> None:
    answer = json.loads(run("policy", "test", file, "--json").output)
    assert (answer["ok"], answer["failures"]) == (True, [])
    default = json.loads(run("policy", "test", "default", "--json").output)["examples"]
    assert answer["examples"] == examples + (default if file == "mine.yaml" else 0)


@pytest.mark.parametrize("file", ["mine.yaml", "mine.toml"])
def test_an_example_of_a_rule_about_replies_is_told_with_what_was_expected_and_what_came(
    run: Run, naming: Path, file: str
) -> None:
    (naming / "mine.toml").write_text(RULES.replace("550 5.1.1 Closed gate", "552 5.2.2 Mailbox full"))
    result = run("policy", "test", file)
    assert result.exit_code == 1
    line, *_ = result.output.splitlines()
    assert line.startswith("mine.toml:2: '552 5.2.2 Mailbox full' at RCPT: ")
    assert "expected relay_denied by rule gate-closed, got mailbox_full by rule " in line
    assert line.rpartition("(")[2].startswith("rules/")
    (failure,) = json.loads(run("policy", "test", file, "--json").output)["failures"]
    assert (failure["where"], failure["expected"], failure["got"]) == ("mine.toml:2", "relay_denied", "mailbox_full")
    assert failure["decided_at"].startswith("rules/")


def test_a_shipped_example_that_added_words_turn_is_told(run: Run, folder: Path) -> None:
    (folder / "mine.toml").write_text('[words]\nfull = ["user"]\nbox = ["unknown"]\n' + RULES)
    result = run("policy", "test", "mine.toml")
    assert result.exit_code == 1
    assert any(line.startswith("rules/") and "got mailbox_full by rule" in line for line in result.output.splitlines())


def test_a_policy_that_names_rules_is_shown_with_their_names(run: Run, naming: Path) -> None:
    shown = run("policy", "show", "mine.yaml").output
    assert "meaning: [mine.toml]\n" in shown
    (naming / "again.yaml").write_text(shown)
    assert run("policy", "check", "again.yaml").output == "again.yaml: ok\n"
