"""What no rule understood, put together, and the rules that are suggested for it."""

import tomllib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bouncekit.history.suggesting import Gathering, Suggestion, Understood, rule_file, understood_by
from bouncekit.meaning.classification import Category, Scope
from bouncekit.meaning.meaning import Meaning, RuleFile
from bouncekit.meaning.rulefile import load_rules
from bouncekit.meaning.ruletrial import try_rules
from bouncekit.outside.builtin import classifier, classifier_with
from bouncekit.postmaster.asking import status_of
from bouncekit.words.phrase import Phrase, Words

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def gathered(*replies: str, **said: Any) -> Gathering:
    gathering = Gathering(classifier().rules, classifier().classify)
    for number, reply in enumerate(replies):
        gathering.add(status_of(reply, **said), "jo@example.com", NOW + number * timedelta(days=1))
    return gathering


def suggested(*replies: str, **said: Any) -> Suggestion:
    (one,) = gathered(*replies, **said).suggestions(10)
    return one


@pytest.mark.parametrize(
    ("reply", "by"),
    [
        ("550 5.1.1 No such user", Understood.WORDS),
        ("552 5.2.2 Mailbox full", Understood.WORDS),
        ("450 4.7.1 Greylisted, try again later", Understood.WORDS),
        ("550 5.1.1 zorp blip blap", Understood.ENHANCED),
        ("552 5.2.2 zorp blip blap", Understood.ENHANCED),
        ("554 5.7.1 zorp blip blap", Understood.CODE),
        ("552 zorp blip blap", Understood.CODE),
        ("550 zorp blip blap", Understood.DIGIT),
        ("450 zorp blip blap", Understood.DIGIT),
    ],
)
def test_by_what_a_reply_is_understood(reply: str, by: Understood) -> None:
    assert gathered(reply).understood == {by: 1}


def test_replies_that_differ_in_what_varies_are_one_kind_with_its_count_and_time() -> None:
    gathering = gathered(
        "550 Zorp gate 4711 refused ann@example.com from mx1.example.org",
        "550 Zorp gate 12 refused bob@example.net from mx7.example.org",
        "550 other words here",
        "550 5.1.1 No such user",
    )
    first, second = gathering.largest(10)
    assert (first.count, second.count) == (2, 1)
    assert (first.first_at, first.last_at) == (NOW, NOW + timedelta(days=1))
    assert (gathering.total, gathering.unmatched) == (4, 3)
    assert [one.phrase for one in gathering.suggestions(1)] == ["zorp gate * refused * from"]


def test_a_suggested_rule_says_no_more_than_the_code() -> None:
    assert suggested("554 5.7.1 zorp blip blap").category is Category.POLICY
    assert suggested("550 zorp blip blap").category is Category.UNKNOWN


def test_words_that_nobody_has_judged_never_blame_the_recipient() -> None:
    full = suggested("552 zorp blip blap")
    assert full.kind.verdict.category is Category.MAILBOX_FULL
    assert full.category is Category.UNKNOWN
    of_others = suggested("550 5.1.1 subject glorp is missing today")
    assert of_others.kind.verdict.scope is None
    assert of_others.category is Category.UNKNOWN
    by_the_code = suggested("550 5.1.1 zorp blip")
    assert (by_the_code.kind.verdict.scope, by_the_code.category) == (Scope.RECIPIENT, Category.USER_UNKNOWN)


def test_an_example_names_nobody_and_is_matched_still() -> None:
    one = suggested("550 <ann.smith@example.net> zorp refused blap")
    assert one.example == "550 <jo@example.com> zorp refused blap"
    assert Phrase(one.phrase).matches(Words(one.example))


@pytest.mark.parametrize("reply", ["550", "550 5.1.1", "450 4711", "550 <jo@example.com>"])
def test_what_has_no_words_is_counted_and_no_kind(reply: str) -> None:
    gathering = gathered(reply)
    assert (gathering.wordless, gathering.kinds, gathering.unmatched) == (1, {}, 1)


def test_one_word_is_too_little_for_a_rule() -> None:
    gathering = gathered("550 Zorp")
    assert (len(gathering.kinds), list(gathering.suggestions(10))) == (1, [])


def test_what_refuses_nothing_and_what_is_no_reply_count_nothing() -> None:
    assert gathered("250 2.1.5 Ok", "354 zorp blip").total == 0


def test_another_stage_stands_in_the_example() -> None:
    one = suggested("554 5.7.1 zorp blip blap", stage="END_OF_DATA")
    (table,) = tomllib.loads(rule_file([one]))["rule"]
    assert table["examples"] == [{"reply": "554 5.7.1 zorp blip blap", "stage": "END_OF_DATA"}]


def test_the_file_of_any_replies_is_read_and_decides_its_examples() -> None:
    replies = [
        '550 zorp "quoted\\path" blap',
        "550 zorp \x1b[2J blip \u202e blap",
        "550-zorp first\n550 blap second",
        "421 zorp blip blap",
        f"550 zorp blip {'long ' * 60}",
        f"550 zorp blip {'a.b ' * 60}",
        "550 5.7.1 邮箱 佐普 拒绝",
        "550 zorp \udc80 blip",
    ]
    found = list(gathered(*replies).suggestions(100))
    assert len(found) >= 6
    text = rule_file(found, ["heading with \x07 and\nmore"])
    assert {one["id"] for one in tomllib.loads(text)["rule"]} == {one.id for one in found}
    for one in found:
        alone = classifier_with(Meaning(own=(RuleFile("suggested.toml", rule_file([one])),)))
        assert [result.rule.id for result in try_rules(alone, classifier()) if not result.ok] == []


@given(st.text(max_size=80))
def test_whatever_a_server_says_the_file_can_be_read(text: str) -> None:
    gathering = gathered(f"550 {' '.join(text.split())}")
    found = list(gathering.suggestions(10))
    load_rules([], Meaning(own=(RuleFile("suggested.toml", rule_file(found, [text])),)))
    assert all(len(one.phrase.split()) >= 2 for one in found)


def test_what_an_outcome_was_classified_by_tells_nearly_the_same() -> None:
    verdicts = {
        reply: classifier().classify(status_of(reply))
        for reply in ("550 zorp blip", "552 zorp blip", "554 5.7.9 zorp blip", "550 5.1.1 No such user")
    }
    by = {reply: understood_by(f"{one.rule} ({one.where})") for reply, one in verdicts.items()}
    assert list(by.values())[:2] == [Understood.DIGIT, Understood.CODE]
    assert by["550 5.1.1 No such user"] is Understood.WORDS
    assert understood_by(None) is Understood.WORDS
