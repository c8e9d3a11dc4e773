"""Where two policies differ, and that the same one differs from itself nowhere."""

import pytest

from bouncekit.outside.builtin import classify, open_policy, policy_names, policy_text, schedules
from bouncekit.policy.policy import Policy
from bouncekit.policy.rule import Example
from bouncekit.policyfiles.policydiff import (
    FaceChange,
    How,
    RuleChange,
    SettingChange,
    faces,
    rule_changes,
    setting_changes,
)
from bouncekit.policyfiles.policyfile import read_policy
from bouncekit.words.reply import Stage

BASE = """policy: 1
schedules: {hours: [1h], slow: [4h]}
classes: {mail: {deadline: 4d, default: true}}
ladders: {address: {provisional: 7d, confirmed: forever}}
channels: [operations]
sessions: [{id: bye, do: close}]
rules:
  - {id: gone, when: {category: user_unknown}, do: fail, suppress: address}
  - {id: full, when: {category: mailbox_full}, do: retry, wait: slow}
  - {id: rest, when: {permanent: false}, do: retry}
  - {id: final, do: fail}
"""


def read(*changes: tuple[str, str]) -> Policy:
    text = BASE
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return read_policy("p.yaml", text, resolve=policy_text, known=schedules).policy


def rules(*changes: tuple[str, str]) -> list[RuleChange]:
    return list(rule_changes(read(), read(*changes)))


@pytest.mark.parametrize("name", policy_names())
def test_a_policy_differs_from_itself_nowhere(name: str) -> None:
    one = open_policy(name)
    examples = [example for rule in one.rules for example in rule.examples]
    assert list(rule_changes(one, one)) == list(setting_changes(one, one)) == []
    assert list(faces((one, classify), (one, classify), examples)) == []


def test_a_changed_rule_has_the_keys_that_changed() -> None:
    (change,) = rules(("do: retry, wait: slow", "do: fail, notify: operations"))
    assert (change.how, change.section, change.rule, change.where) == (How.CHANGED, "rules", "full", "p.yaml:9")
    assert change.keys == {
        "do": ("retry", "fail"),
        "wait": ("slow", None),
        "notify": (None, "operations"),
    }


def test_a_rule_may_be_added_and_removed() -> None:
    added, removed = rules(("id: full, when: {category: mailbox_full}", "id: moved, when: {category: moved}"))
    assert (added.how, added.rule, removed.how, removed.rule) == (How.ADDED, "moved", How.REMOVED, "full")
    assert added.keys["when"] == (None, {"category": "moved"})
    assert removed.keys["when"] == ({"category": "mailbox_full"}, None)


def test_only_what_was_moved_is_said_to_be_moved() -> None:
    gone = "  - {id: gone, when: {category: user_unknown}, do: fail, suppress: address}\n"
    final = "  - {id: final, do: fail}\n"
    assert [(one.how, one.rule) for one in rules((gone, ""), (final, gone + final))] == [(How.MOVED, "gone")]


def test_a_measure_about_the_way_is_part_of_what_comes_of_a_reply() -> None:
    full = ("{id: full, when: {category: mailbox_full}", "{id: full, when: {category: rate_limited}")
    new = read(full, ("do: retry, wait: slow", "do: retry, wait: slow, slow: {by: 2}"))
    at_first, *_ = faces((read(full), classify), (new, classify), [Example("421 4.7.28 Unusual rate of mail")])
    assert (at_first.old, at_first.new) == ("retry in 4h", "retry in 4h, slow by 2")


def test_rules_about_sessions_are_told_as_that() -> None:
    (change,) = rules(("{id: bye, do: close}", "{id: bye, do: reconnect, at_most: 2}"))
    assert (change.section, change.keys["do"]) == ("sessions", ("close", "reconnect"))


def test_settings_are_told_by_their_name() -> None:
    new = read(("hours: [1h]", "hours: [2h]"), ("channels: [operations]", "channels: [operations, owner]"))
    assert list(setting_changes(read(), new)) == [
        SettingChange("channels", ["operations"], ["operations", "owner"]),
        SettingChange("schedules.hours", "1h", "2h"),
    ]


def test_a_setting_that_nobody_wrote_is_what_it_is_by_default() -> None:
    new = read(("policy: 1\n", "policy: 1\nhints: always\nguard: {at_least: 30}\nkeep: {events: forever}\n"))
    assert list(setting_changes(read(), new)) == [
        SettingChange("guard.at_least", 20, 30),
        SettingChange("hints.obey", "longer", "always"),
        SettingChange("hints.at_least", None, "1m"),  # by `longer` no hint makes a wait shorter
        SettingChange("keep.events", "180d", "forever"),
    ]


def test_a_typical_reply_that_ends_otherwise_is_told_with_both_rules() -> None:
    new = read(
        ("category: mailbox_full}, do: retry, wait: slow", "category: mailbox_full}, do: fail, suppress: address")
    )
    full, other = Example("552 5.2.2 Mailbox full"), Example("550 5.1.1 No such user", stage=Stage.RCPT)
    at_first, at_last = faces((read(), classify), (new, classify), [full, other, full])
    assert at_first == FaceChange(full, "", "retry in 4h", "fail, suppress for 7d", "full", "full")
    assert (at_last.when, at_last.old) == ("at the deadline", "fail")
