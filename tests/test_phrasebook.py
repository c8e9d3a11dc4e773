"""Many phrases at once: the same ones that each would find alone, and none tried twice."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bouncekit.meaning.phrasebook import PhraseBook
from bouncekit.meaning.vocabulary import Vocabulary
from bouncekit.words.phrase import Phrase, Words

WORDS = ["a", "b", "c", "12", "邮", "ß"]
SETS = Vocabulary({"one": ["a", "b c"], "two": ["c", "邮"]})


def found(phrases: list[str], text: str) -> set[str]:
    bits = {Phrase(phrase): 1 << place for place, phrase in enumerate(dict.fromkeys(phrases))}
    said = PhraseBook(bits).found(Words(text))
    return {phrase.text for phrase, bit in bits.items() if said & bit}


@given(
    phrases=st.lists(
        st.lists(st.sampled_from([*WORDS, "*", "#"]), min_size=1, max_size=5)
        .map(" ".join)
        .filter(lambda text: text.strip("*# ")),
        max_size=8,
    ),
    text=st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join),
)
def test_a_book_finds_what_each_of_its_phrases_finds(phrases: list[str], text: str) -> None:
    assert found(phrases, text) == {phrase for phrase in phrases if Phrase(phrase).matches(Words(text))}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("user unknown", {"user unknown", "unknown"}),
        ("unknown user", {"unknown", "unknown user"}),
        ("the user is not unknown", {"unknown"}),
        ("user", set()),
        ("", set()),
    ],
)
def test_phrases_that_share_words_are_told_apart(text: str, wanted: set[str]) -> None:
    assert found(["user unknown", "unknown user", "unknown", "user unknown here"], text) == wanted


def test_a_phrase_may_stand_for_several_bits_and_several_phrases_for_one() -> None:
    book = PhraseBook({Phrase("a b"): 0b101, Phrase("c"): 0b100, Phrase("a * c"): 0b1000})
    assert [book.found(Words(text)) for text in ("a b", "c", "b a", "a b c")] == [0b101, 0b100, 0, 0b1101]


def test_words_and_sets_stand_in_one_book() -> None:
    book = PhraseBook({Phrase("a"): 1, SETS.near("{one}"): 2, SETS.near("{one} {two}"): 4, SETS.near("{two}"): 8})
    assert book.found(Words("a")) == 1 | 2
    assert book.found(Words("b c x 邮")) == 2 | 4 | 8
    assert book.found(Words("c")) == 8


class Counted(Phrase):
    """A phrase that counts how often it is tried."""

    tried = 0

    def matches(self, words: Words) -> bool:
        type(self).tried += 1
        return super().matches(words)


def test_a_phrase_is_tried_once_however_often_its_beginning_stands_there() -> None:
    book = PhraseBook({Counted("mailbox * full"): 1})
    assert not book.found(Words("mailbox " * 500))
    assert not book.found(Words("somebody has another word"))
    assert Counted.tried == 1
