"""What is wrong in files of rules about replies though it can be read."""

import pytest

from bouncekit.meaning.meaning import Meaning, RuleFile
from bouncekit.outside.builtin import classifier, classifier_with
from bouncekit.policyfiles.rulelint import lint_rules

ONE = """
[[rule]]
id = "{id}"
source = "here"
category = "policy"
examples = ["550 Bad karma"]
"""


def rule(id_: str, **keys: str) -> str:
    return ONE.format(id=id_) + "".join(f"{key} = {value}\n" for key, value in keys.items())


def found(*rules: str, community: str = "") -> list[tuple[str, int | None, str]]:
    theirs = (RuleFile("theirs.toml", community),) if community else ()
    meaning = Meaning(own=(RuleFile("mine.toml", "".join(rules)),), community=theirs)
    return [(one.code, one.line, one.message) for one in lint_rules(classifier_with(meaning).rules)]


def codes(*rules: str) -> list[str]:
    return [code for code, _, _ in found(*rules)]


def test_nothing_is_found_in_the_shipped_rules() -> None:
    assert lint_rules(classifier().rules) == ()


def test_nothing_is_found_in_rules_that_differ() -> None:
    first = rule("one", text='["bad karma", "karma too low"]', code='["550", "45x"]')
    second = rule("two", text='"karma"', enhanced='"x.7.1"', code='"55x"')
    assert found(first, second, rule("three", text='"gate * closed"', unless='"bad karma"')) == []


@pytest.mark.parametrize(
    ("keys", "code"),
    [
        ({"text": '"550 bad karma"'}, "code-in-phrase"),
        ({"text": '"bad karma"', "unless": '"550 gate"'}, "code-in-phrase"),
        ({"text": '"bad.*karma"'}, "regex-in-phrase"),
        ({"code": '"550"', "enhanced": '"4.7.1"'}, "never-matches"),
        ({"code": '["550", "551"]', "enhanced": '["4.7.1", "4.x.x"]'}, "never-matches"),
    ],
    ids=str,
)
def test_what_can_hardly_be_meant_is_found_at_its_rule(keys: dict[str, str], code: str) -> None:
    ((name, line, _),) = found(rule("one", **keys))
    assert (name, line) == (code, 2)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"text": '"bad karma"'}, {"text": '"very bad karma"'}),
        ({"text": '"bad karma"'}, {"text": '"bad karma * today"', "code": '"550"'}),
        ({"text": '["karma", "luck"]', "code": '"5xx"'}, {"text": '"bad luck"', "code": '["550", "554"]'}),
        ({"code": '"55x"'}, {"text": '"bad karma"', "code": '"550"', "stage": '"RCPT"'}),
        ({"enhanced": '"x.7.x"'}, {"enhanced": '"5.7.1"'}),
    ],
    ids=str,
)
def test_a_rule_that_another_leaves_nothing_to_is_found(first: dict[str, str], second: dict[str, str]) -> None:
    ((code, line, message),) = found(rule("one", **first), rule("two", **second))
    assert (code, line) == ("unreachable-rule", ONE.count("\n") + len(first) + 2)
    assert message == "two is never reached: one takes all of it (mine.toml:2)"
    assert codes(rule("two", **second), rule("one", **first)) == []


@pytest.mark.parametrize(
    "more", [{"unless": '"gate"'}, {"stage": '"DATA"'}, {"accepted": "0"}, {"individual": "true"}], ids=str
)
def test_a_rule_that_asks_for_more_leaves_something(more: dict[str, str]) -> None:
    assert codes(rule("one", text='"bad karma"', **more), rule("two", text='"bad karma"', code='"550"')) == []


def test_the_owner_s_rules_take_those_of_others() -> None:
    ((code, _, message),) = found(rule("one", text='"karma"'), community=rule("two", text='"bad karma"'))
    assert code == "unreachable-rule"
    assert message.startswith("two is never reached: one takes")
