"""Policies and rules as files: what a policy file names beside it, and how the files are read."""

import os
from pathlib import Path

import pytest

from bouncekit.meaning.classification import Category, Step
from bouncekit.outside.builtin import classifier, classifier_with, open_policy, open_rules, read_meaning
from bouncekit.policyfiles.policytrial import run_examples
from bouncekit.postmaster.asking import status_of
from bouncekit.words.errors import ConfigurationError, PolicyError, RuleError

RULE = """
[[rule]]
id = "%s"
source = "a test"
text = "closed gate"
category = "%s"
examples = ["550 Closed gate"]
"""
POLICY = "policy: 1\nextends: default\nmeaning: %s\n"
REPLY = status_of("550 5.1.1 Closed gate")


def files(folder: Path, **texts: str) -> Path:
    """Files of these names, `_` for the dot; the folder."""
    for name, text in texts.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")
    return folder


def test_a_policy_finds_its_files_of_rules_beside_it_wherever_the_process_runs(tmp_path: Path) -> None:
    files(tmp_path, own_yaml=POLICY % "[mine.toml, more/theirs.toml]", mine_toml=RULE % ("mine", "policy"))
    files(tmp_path, more__theirs_toml=RULE % ("theirs", "virus"))
    policy = open_policy(tmp_path / "own.yaml")
    verdict = classifier_with(policy.meaning).classify(REPLY)
    assert (verdict.category, verdict.step, verdict.where) == (Category.POLICY, Step.OWN, f"{tmp_path}/mine.toml:2")
    assert [file.name for file in policy.meaning.own] == ["mine.toml", "more/theirs.toml"]


def test_what_a_base_beside_a_policy_names_counts_too(tmp_path: Path) -> None:
    files(tmp_path, base_yaml=POLICY % "mine.toml", mine_toml=RULE % ("mine", "policy"))
    files(tmp_path, own_yaml="policy: 1\nextends: base.yaml\n")
    assert classifier_with(open_policy(tmp_path / "own.yaml").meaning).classify(REPLY).rule == "mine"


def test_an_example_of_a_base_is_right_where_an_added_rule_says_what_it_means(tmp_path: Path) -> None:
    full = (RULE % ("mine", "policy")).replace("closed gate", "mailbox").replace("Closed gate", "Mailbox")
    files(tmp_path, own_yaml=POLICY % "mine.toml", mine_toml=full)
    policy = open_policy(tmp_path / "own.yaml")
    results = run_examples(policy, classifier_with(policy.meaning).classify)
    assert all(one.ok for one in results)
    assert [one for one in results if one.verdict.rule == "mine" and one.decided_by != one.rule]


def test_all_mistakes_of_a_policy_its_base_and_their_rules_come_in_one_go(tmp_path: Path) -> None:
    files(tmp_path, own_yaml=POLICY.replace("default", "base.yaml") % "[mine.toml, nowhere.toml]\nwrong: 1")
    files(tmp_path, base_yaml=POLICY % "theirs.toml\nwrong: 1")
    files(tmp_path, mine_toml=RULE % ("mine", "polcy"), theirs_toml=RULE % ("theirs", "polcy"))
    with pytest.raises(PolicyError) as caught:
        open_policy(tmp_path / "own.yaml")
    assert [(Path(one.file).name, one.line) for one in caught.value.findings] == [
        ("own.yaml", 3),
        ("own.yaml", 4),
        ("base.yaml", 4),
        ("mine.toml", 2),
        ("theirs.toml", 2),
    ]


def test_a_classifier_is_made_once_for_the_same_texts(tmp_path: Path) -> None:
    path = files(tmp_path, mine_toml=RULE % ("mine", "policy")) / "mine.toml"
    assert classifier_with(read_meaning((path,))) is classifier_with(read_meaning((path,)))
    assert classifier_with(read_meaning()) is classifier()
    path.write_text(RULE % ("mine", "virus"))
    assert open_rules(path).classify(REPLY).category is Category.VIRUS


def test_lines_count_as_an_editor_counts_them(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes((RULE % ("mine", "policy")).replace("\n", "\r\n").encode() * 2)
    with pytest.raises(RuleError) as caught:
        open_rules(path)
    assert str(caught.value).endswith("mine.toml:9: a second rule 'mine'; the first is at " + f"{path}:2")


def test_a_file_that_never_ends_is_not_read_to_its_end(tmp_path: Path) -> None:
    endless = tmp_path / "mine.toml"
    os.symlink("/dev/zero", endless)
    with pytest.raises(ConfigurationError, match=r"mine\.toml: larger than 1048576 bytes"):
        open_rules(endless)
    files(tmp_path, own_yaml=POLICY % "mine.toml")
    with pytest.raises(PolicyError, match=r"own\.yaml:3:10: .*mine\.toml: larger than 1048576 bytes"):
        open_policy(tmp_path / "own.yaml")


def test_rules_of_others_go_behind_the_owners(tmp_path: Path) -> None:
    files(tmp_path, mine_toml=RULE % ("mine", "policy"), theirs_toml=RULE % ("theirs", "virus"))
    mine, theirs = tmp_path / "mine.toml", tmp_path / "theirs.toml"
    assert open_rules(mine, community=[theirs]).classify(REPLY).rule == "mine"
    assert open_rules(community=[theirs]).classify(REPLY).step is Step.COMMUNITY


def test_a_name_that_no_file_can_have_is_a_mistake_in_the_policy(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text('policy: 1\nextends: "a\\0b.yaml"\n')
    with pytest.raises(PolicyError, match=r"own\.yaml:2:"):
        open_policy(tmp_path / "own.yaml")
