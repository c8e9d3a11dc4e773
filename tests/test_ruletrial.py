"""Examples of rules about replies: which are right, and what is told of one that is not."""

import pytest

from bouncekit.meaning.classification import Category
from bouncekit.meaning.meaning import Meaning, RuleFile
from bouncekit.meaning.ruletrial import RuleResult, try_rules
from bouncekit.outside.builtin import classifier, classifier_with


def rule(rule_id: str, text: str, *examples: str) -> str:
    shown = ", ".join(f'"{example}"' for example in examples)
    return f"""
[[rule]]
id = "{rule_id}"
source = "a test"
text = "{text}"
category = "policy"
examples = [{shown}]
"""


def tried(*own: str, community: str = "") -> list[RuleResult]:
    files = tuple(RuleFile(f"own{number}.toml", text) for number, text in enumerate(own))
    theirs = (RuleFile("theirs.toml", community),) if community else ()
    return list(try_rules(classifier_with(Meaning(own=files, community=theirs)), classifier()))


def test_without_added_files_there_is_nothing_to_tell() -> None:
    assert tried() == []


def test_an_example_is_right_where_its_rule_decides_it() -> None:
    (one,) = tried(rule("mine", "closed gate", "550 5.1.1 Closed gate, user unknown"))
    assert one.ok
    assert one.verdict.where == "own0.toml:2"


def test_an_example_that_a_shipped_rule_decides_is_not_right_and_that_rule_is_named() -> None:
    (one,) = tried(rule("mine", "closed gate", "550 No such user"))
    assert not one.ok
    assert one.rule.where == "own0.toml:2"
    assert one.verdict.category is Category.USER_UNKNOWN
    assert one.verdict.where.startswith("rules/")


def test_an_example_that_an_earlier_rule_of_the_same_file_decides_is_not_right() -> None:
    first, second = tried(rule("first", "gate", "550 gate") + rule("second", "closed gate", "550 closed gate"))
    assert first.ok
    assert (second.ok, second.verdict.rule) == (False, "first")


def test_an_example_that_a_file_decides_which_goes_before_is_right() -> None:
    wide, narrow = rule("wide", "gate", "550 gate"), rule("narrow", "closed gate", "550 closed gate")
    assert [one.ok for one in tried(wide, narrow)] == [True, True]
    assert [one.ok for one in tried(wide, community=narrow)] == [True, True]


def test_an_example_that_a_file_decides_which_goes_behind_is_not_right() -> None:
    wrong, narrow = rule("wrong", "open gate", "550 closed gate"), rule("narrow", "closed gate", "550 closed gate")
    assert [(one.rule.id, one.ok) for one in tried(wrong, narrow)] == [("wrong", False), ("narrow", True)]


@pytest.mark.parametrize("kind", ["own", "community"])
def test_a_shipped_example_that_an_added_rule_decides_is_right(kind: str) -> None:
    files = {kind: (RuleFile("added.toml", rule("mine", "user unknown", "550 user unknown")),)}
    assert [one.rule.id for one in try_rules(classifier_with(Meaning(**files)), classifier())] == ["mine"]


def test_a_shipped_example_that_added_words_turn_is_told() -> None:
    results = tried('[words]\nfull = ["user"]\nbox = ["unknown"]\n')
    assert results
    assert not any(one.ok for one in results)
    assert {one.verdict.category for one in results} >= {Category.MAILBOX_FULL}
