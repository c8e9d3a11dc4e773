"""Words that say the same, near each other in any order, bounded on any text."""

import pytest

from bouncekit.meaning.phrasebook import PhraseBook
from bouncekit.meaning.vocabulary import Near, Vocabulary
from bouncekit.words.phrase import Words

WORDS = Vocabulary(
    {
        "box": ["mailbox", "postfach", "邮箱", "mail box"],
        "full": ["full", "over quota", "voll", "已满"],
        "us": ["your ip"],
    }
)


def matches(near: Near, text: str) -> bool:
    return bool(PhraseBook({near: 1}).found(Words(text)))


@pytest.mark.parametrize(
    "text",
    [
        "Mailbox full",
        "over quota: the mailbox of jo",
        "Das Postfach von Jo Doe ist VOLL",
        "收件人邮箱已满",
        "mail box is over quota",
    ],
)
def test_words_of_each_set_stand_near_each_other_in_any_order(text: str) -> None:
    assert matches(WORDS.near("{box} {full}"), text)


@pytest.mark.parametrize(
    "text",
    [
        "mailbox",
        "full",
        "mailboxes full",
        "over mailbox quota",
        "mailbox a b c d e full",
        "",
    ],
)
def test_what_lacks_a_word_or_stands_far_apart_does_not_match(text: str) -> None:
    assert not matches(WORDS.near("{box} {full}"), text)


def test_a_dozen_signs_are_as_near_as_four_words() -> None:
    assert matches(WORDS.near("{box} {full}"), "邮箱" + "的" * 12 + "已满")
    assert not matches(WORDS.near("{box} {full}"), "邮箱" + "的" * 13 + "已满")


def test_one_set_alone_asks_for_any_of_its_words() -> None:
    assert matches(WORDS.near("{us}"), "550 your IP is bad")
    assert not matches(WORDS.near("{us}"), "550 your other IP is bad")


def test_one_place_is_not_near_itself() -> None:
    both = Vocabulary({"one": ["overquota"], "other": ["overquota"]})
    assert not matches(both.near("{one} {other}"), "overquota")
    assert matches(both.near("{one} {other}"), "overquota overquota")


@pytest.mark.parametrize("text", ["{box} full", "mailbox {full}", "{box}{full}", "{Box}", "{}", "{box} "])
def test_a_phrase_mixes_no_sets_and_words(text: str) -> None:
    with pytest.raises(ValueError, match="sets look like"):
        WORDS.near(text)


def test_a_set_that_nobody_named_is_told_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="no set 'boxes' in \\[words\\]; one of box, full, us"):
        WORDS.near("{boxes}")


def test_of_one_set_only_the_first_places_are_looked_at() -> None:
    assert not matches(WORDS.near("{box} {full}"), "full " * 800 + "mailbox " * 800)
    assert matches(WORDS.near("{box} {full}"), "full " * 7 + "mailbox " * 800)


def test_two_vocabularies_do_not_take_each_others_places() -> None:
    other = Vocabulary({"box": ["full"], "full": ["over"]})
    book = PhraseBook({WORDS.near("{box} {full}"): 1, other.near("{box} {full}"): 2})
    assert book.found(Words("mailbox full")) == 1
    assert book.found(Words("full over")) == 2
    assert book.found(Words("mailbox full over")) == 1 | 2
