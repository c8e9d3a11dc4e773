"""`policy`: files of rules, checked, shown and tried."""

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

from bouncekit.outside.builtin import policy_names

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
    # What good.yaml does not leave to its base is a fault in one file.
    ignored = ("--ignore", "unreachable-rule", "--ignore", "contradictory-rules")
    assert run("policy", "check", "again.yaml", *ignored).output == "again.yaml: ok\n"


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
    (folder / "mine.toml").write_text(
        'policy = 1\nextends = "default"\n[[rules]]\nid = "a"\ndo = "hold"\nwhen.code = "450"\n'
    )
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
    assert run("policy", "check", "again.yaml", "--ignore", "unreachable-rule").output == "again.yaml: ok\n"


# -- the linter

SLIPS = """policy: 1
extends: default
rules:
  - {id: everything, do: fail}
  - {id: full-is-full, when: {category: mailbox_full}, do: hold}
"""


def test_what_can_hardly_be_meant_is_a_line_with_its_place_its_code_and_what_would_be_right(
    run: Run, folder: Path
) -> None:
    (folder / "slips.yaml").write_text(SLIPS)
    result = run("policy", "check", "slips.yaml")
    hidden, unreached = result.output.splitlines()
    assert result.exit_code == 1
    assert hidden.startswith("slips.yaml:4:10: behind everything no reply is left for the ")
    assert hidden.endswith("; give it a when, or leave extends out [hides-base]")
    assert unreached == (
        "slips.yaml:5:10: full-is-full is never reached: everything takes all of it (slips.yaml:4);"
        " put it before everything, or remove it [unreachable-rule]"
    )


def test_findings_can_be_ignored_by_their_code_and_no_other_word(run: Run, folder: Path) -> None:
    (folder / "slips.yaml").write_text(SLIPS)
    assert len(run("policy", "check", "slips.yaml", "--ignore", "hides-base").output.splitlines()) == 1
    both = run("policy", "check", "slips.yaml", "--ignore", "hides-base", "--ignore", "unreachable-rule")
    assert (both.exit_code, both.output) == (0, "slips.yaml: ok\n")
    wrong = run("policy", "check", "slips.yaml", "--ignore", "hides")
    assert wrong.exit_code == 2
    assert "no finding has the code 'hides'" in wrong.stderr


def test_a_finding_as_json_has_code_level_and_fix(run: Run, files: Path) -> None:
    (files / "slips.yaml").write_text(SLIPS)
    for arguments in (("--json",), ("--format", "json")):
        slips, bad = map(json.loads, run("policy", "check", "slips.yaml", "bad.yaml", *arguments).output.splitlines())
        (first, second), grammar = slips["findings"], bad["findings"][0]
        assert (first["code"], first["level"], first["line"], first["column"]) == ("hides-base", "error", 4, 10)
        assert second["fix"] == "put it before everything, or remove it"
        assert (grammar["code"], grammar["level"], grammar["fix"]) == ("grammar", "error", None)


def test_sarif_is_one_document_whose_results_name_kinds_that_it_describes(run: Run, files: Path) -> None:
    (files / "slips.yaml").write_text(SLIPS)
    result = run("policy", "check", "slips.yaml", "bad.yaml", "good.yaml", "nowhere.yaml", "--format", "sarif")
    assert result.exit_code == 1
    log = json.loads(result.output)
    (sarif,) = log["runs"]
    assert (log["version"], log["$schema"]) == ("2.1.0", "https://json.schemastore.org/sarif-2.1.0.json")
    kinds = sarif["tool"]["driver"]["rules"]
    assert sarif["tool"]["driver"]["name"] == "bouncekit policy check"
    assert len({kind["id"] for kind in kinds}) == len(kinds)
    for one in sarif["results"]:
        assert kinds[one["ruleIndex"]]["id"] == one["ruleId"]
        assert one["level"] in ("error", "warning")
        assert one["message"]["text"]
    hidden = sarif["results"][0]
    assert hidden["ruleId"] == "hides-base"
    assert hidden["locations"] == [
        {
            "physicalLocation": {
                "artifactLocation": {"uri": "slips.yaml"},
                "region": {"startLine": 4, "startColumn": 10},
            }
        }
    ]
    assert sarif["results"][-1]["locations"] == [{"physicalLocation": {"artifactLocation": {"uri": "nowhere.yaml"}}}]


def test_sarif_of_what_is_good_has_no_results(run: Run, files: Path) -> None:
    result = run("policy", "check", "good.yaml", "--format", "sarif")
    assert result.exit_code == 0
    assert json.loads(result.output)["runs"][0]["results"] == []


HOOKS = Path(__file__).parents[2] / ".pre-commit-hooks.yaml"


@pytest.mark.skipif(not HOOKS.exists(), reason="a wheel has no hooks; they lie beside the package in its repository")
def test_the_hooks_for_pre_commit_are_verbs_and_take_policies(run: Run, files: Path) -> None:
    hooks = yaml.safe_load(HOOKS.read_text("utf-8"))
    assert {hook["id"] for hook in hooks} == {"bouncekit-policy-check", "bouncekit-policy-test"}
    (files / "bounces.yaml").write_text(GOOD)
    for hook in hooks:
        assert re.search(hook["files"], "config/bounces.yaml")
        assert not re.search(hook["files"], "config/unbounced.yaml")
        program, *arguments = hook["entry"].split()
        assert (program, hook["language"]) == ("bouncekit", "python")
        assert run(*arguments, "bounces.yaml").exit_code == 0


# -- cases, coverage and JUnit's XML

CASES = """cases:
  - name: a full mailbox is suppressed
    reply: 552 5.2.2 Mailbox full
    expect: {do: fail, suppress: mailbox}
  - {reply: "452 4.2.2 Over quota \\e[2J", expect: {do: hold, wait: 5m}}
"""


@pytest.fixture
def cases(folder: Path) -> Path:
    (folder / "cases" / "more").mkdir(parents=True)
    (folder / "cases" / "full.yaml").write_text(CASES.split("  - {")[0])
    (folder / "cases" / "more" / "slow.yaml").write_text("cases:\n  - {" + CASES.split("  - {")[1])
    (folder / "cases" / "README.md").write_text("No cases are in here.")
    return folder


def test_a_folder_of_cases_is_tried_with_the_examples(run: Run, cases: Path) -> None:
    examples = json.loads(run("policy", "test", "default", "--json").output)["examples"]
    result = run("policy", "test", "default", "--cases", "cases")
    assert result.exit_code == 1
    title, *pairs, said, summary = result.output.splitlines()
    assert title == "cases/more/slow.yaml:2: '452 4.2.2 Over quota \\x1b[2J' at RCPT"
    assert pairs == ["    - do: hold", "    + do: retry", "    - wait: 5m", "    + wait: 30m"]
    assert said.startswith("    it means mailbox_full, says 452-")
    assert "; mailbox-full-now (default.yaml:" in said
    assert summary == f"default: {examples + 1} of {examples + 2} examples and cases are decided as they say"
    assert run("policy", "test", "default", "--cases", "cases/full.yaml").exit_code == 0


def test_a_folder_without_cases_and_a_case_with_a_slip_are_errors_of_usage(run: Run, cases: Path) -> None:
    (cases / "empty").mkdir()
    assert "no file of cases is in it" in run("policy", "test", "default", "--cases", "empty").stderr
    (cases / "cases" / "full.yaml").write_text("cases: [{reply: 552 Full, expect: {do: fial}}]")
    result = run("policy", "test", "default", "--cases", "cases")
    assert result.exit_code == 2
    assert "cases/full.yaml:1:40: unknown fate 'fial'" in result.stderr
    (cases / "cases" / "full.yaml").write_text("cases:\n  - reply: 552 Full\n    expct: {do: fail}\n")
    told = run("policy", "test", "default", "--cases", "cases").stderr  # `policy check` reads no cases
    assert "cases/full.yaml:3:5: unknown key 'expct': did you mean 'expect'?" in told
    assert "policy check" not in told


def test_coverage_names_the_rules_that_nothing_came_to(run: Run, folder: Path) -> None:
    (folder / "mine.yaml").write_text(
        "policy: 1\nextends: default\nrules:\n  - {id: untried, when: {code: 499}, do: hold}\n"
    )
    result = run("policy", "test", "mine.yaml", "--coverage")
    assert result.exit_code == 0
    assert "mine.yaml:4: nothing that was tried is decided by untried" in result.output.splitlines()
    answer = json.loads(run("policy", "test", "mine.yaml", "--json").output)
    names = [one["rule"] for one in answer["untried"]]
    assert "untried" in names
    assert result.output.splitlines()[-1] == (
        f"mine.yaml: {answer['rules'] - len(names)} of {answer['rules']} rules are tried,"
        f" {100 * (1 - len(names) / answer['rules']):.0f}%"
    )
    (folder / "case.yaml").write_text("cases: [{reply: 499 What, expect: {do: hold}}]")
    answer = json.loads(run("policy", "test", "mine.yaml", "--cases", "case.yaml", "--json").output)
    assert "untried" not in [one["rule"] for one in answer["untried"]]


def test_too_little_coverage_is_a_no_where_that_is_asked_for(run: Run, folder: Path) -> None:
    assert run("policy", "test", "default", "--fail-under", "10").exit_code == 0
    assert run("policy", "test", "default", "--fail-under", "100").exit_code == 1


def test_junit_has_a_suite_for_each_policy_and_a_test_for_each_trial(run: Run, cases: Path) -> None:
    result = run("policy", "test", "default", "bulk", "--cases", "cases", "--junit", "trials.xml", "--json")
    answers = [json.loads(line) for line in result.output.splitlines()]
    suites = ElementTree.parse(cases / "trials.xml").getroot()
    assert [suite.attrib["name"] for suite in suites] == ["default", "bulk"]
    assert [len(suite) for suite in suites] == [answer["examples"] for answer in answers]
    assert suites.attrib["failures"] == str(sum(len(answer["failures"]) for answer in answers))
    (failed,) = [case for case in suites[0] if case.find("failure") is not None]
    assert (failed.attrib["file"], failed.attrib["line"]) == ("cases/more/slow.yaml", "2")
    failure = failed.find("failure")
    assert failure is not None
    assert "+ do: retry" in (failure.text or "")
    assert failed.attrib["name"] == "'452 4.2.2 Over quota \\x1b[2J' at RCPT"
    named = [case.attrib["name"] for case in suites[0]]
    assert "a full mailbox is suppressed" in named


def test_files_of_rules_are_looked_into_alone_and_where_a_policy_names_them(run: Run, folder: Path) -> None:
    (folder / "karma.toml").write_text(
        '[[rule]]\nid = "karma"\nsource = "x"\ncategory = "policy"\ntext = "550 bad karma"\n'
        'examples = ["550 Bad karma"]\n'
    )
    (folder / "own.yaml").write_text("policy: 1\nextends: default\nmeaning: karma.toml\n")
    for file in ("karma.toml", "own.yaml"):
        result = run("policy", "check", file)
        assert result.exit_code == 1
        (line,) = result.output.splitlines()
        assert line.startswith("karma.toml:1: ")
        assert line.endswith("[code-in-phrase]")
        assert run("policy", "check", file, "--ignore", "code-in-phrase").output == f"{file}: ok\n"
