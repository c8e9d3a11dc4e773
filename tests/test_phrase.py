"""Phrases: whole words in any case, `*`, `#`, and a cost that grows with the text and no faster."""

import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bouncekit.words.phrase import Phrase, Words, phrase


def matches(wanted: str, text: str) -> bool:
    return Phrase(wanted).matches(Words(text))


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        ("mailbox full", "Mailbox full"),
        ("mailbox full", "552 5.2.2 <jo@example.com>: MAILBOX,FULL!"),
        ("mailbox full", "mailbox\n\tfull"),
        ("mailbox full", "mail_box: mailbox_full"),
        ("over quota", "user is over-quota"),
        ("full", "full"),
        ("full", "(full)"),
        ("MAILBOX Full", "mailbox full"),
        ("STRASSE", "straße"),
        ("straße", "STRASSE"),
        ("5.2.2", "552 5.2.2 full"),
        ("5 2 2", "552 5.2.2 full"),
        ("mailbox_full", "mailbox full"),
        ("don't try", "don't try"),
        # * is any run of words
        ("mailbox * full", "mailbox full"),
        ("mailbox * full", "the mailbox of somebody is full now"),
        ("* full", "full"),
        ("full *", "full"),
        ("a ** b", "a b"),
        ("a*b", "a x b"),
        ("a * b * c", "a 1 b 2 c"),
        ("a * b", "a a b"),
        # # is one number
        ("again in # seconds", "Try again in 300 seconds"),
        ("again in # seconds", "again in ٣٠٠ seconds"),
        ("line # of #", "line 1 of 20"),
        ("limit of # * per hour", "a limit of 100 messages to one mailbox per hour"),
        ("error # * wait", "error 7: please wait"),
        ("wait * # * more", "wait for 5 minutes or more"),
        ("error # code 7", "error 1 code 7"),
        ("error # code 7", "error 1 code 8, error 1 code 7"),
        # scripts without spaces
        ("邮箱已满", "用户邮箱已满了"),
        ("邮箱 * 满", "邮箱空间已满"),
        ("メールボックス", "このメールボックスは"),
        ("频率 # 次", "频率12次"),
        ("mailbox 满", "mailbox满"),
    ],
)
def test_a_phrase_is_found(wanted: str, text: str) -> None:
    assert matches(wanted, text)


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        ("full", "fully"),
        ("full", "unfull"),
        ("full", ""),
        ("mailbox full", "mailbox is full"),
        ("mailbox full", "full mailbox"),
        ("mailbox * full", "full of a mailbox"),
        ("a * b * c", "a c b"),
        # a word of the text serves once
        ("full * full", "full"),
        ("a b * b c", "a b c"),
        ("# * # x", "1 x"),
        ("over quota", "overquota"),
        ("5 2 2", "552"),
        # # is a number, a whole one, and one
        ("# seconds", "some seconds"),
        ("# seconds", "3s seconds"),
        ("# seconds", "seconds"),
        ("in # seconds", "in 1 2 seconds"),
        ("error # code 7", "error 1 code 8"),
        ("7 # x", "8 1 x"),
        ("邮箱已满", "邮箱未满"),
    ],
)
def test_a_phrase_is_not_found(wanted: str, text: str) -> None:
    assert not matches(wanted, text)


def test_endings_that_korean_joins_to_a_word_do_not_hide_it() -> None:
    assert matches("메일함", "받는 사람의 메일함이 가득 찼습니다")
    assert matches("가득", "메일함이 가득찼습니다")


@pytest.mark.parametrize(
    ("text", "steps"),
    [("mailbox is full", [0, 3, 6, 9]), ("邮箱 full", [0, 1, 2, 5]), ("größe x", [0, 3, 6]), ("", [0])],
)
def test_a_word_is_three_steps_and_a_sign_is_one(text: str, steps: list[int]) -> None:
    assert list(Words(text).steps) == steps


@pytest.mark.parametrize("wanted", ["", " ", "*", "#", "* # *", "...", "_", "\n"])
def test_a_phrase_without_a_word_is_refused(wanted: str) -> None:
    with pytest.raises(ValueError, match="no word to look for"):
        Phrase(wanted)


@pytest.mark.parametrize(
    ("wanted", "parts", "literal"),
    [
        ("Mailbox of # is FULL", (("mailbox", "of"), ("is", "full")), False),
        ("mailbox*full", (("mailbox",), ("full",)), False),
        ("# too many *", (("too", "many"),), False),
        ("user_unknown", (("user", "unknown"),), True),
    ],
)
def test_a_phrase_tells_its_words(wanted: str, parts: tuple[tuple[str, ...], ...], literal: bool) -> None:
    assert (Phrase(wanted).parts, Phrase(wanted).is_literal) == (parts, literal)


def test_phrases_of_one_text_are_equal_and_made_once() -> None:
    assert Phrase("a * b") == Phrase("a * b")
    assert Phrase("a * b") != Phrase("a b")
    assert Phrase("a") != "a"
    assert len({Phrase("a"), Phrase("a"), Phrase("b")}) == 2
    assert phrase("a * b") is phrase("a * b")
    assert repr(Phrase("a * b")) == "Phrase('a * b')"


def test_text_beyond_4096_characters_is_not_looked_at() -> None:
    assert matches("full", "x " * 2045 + "full")
    assert not matches("full", "x " * 2048 + "full")


words = st.lists(st.sampled_from(["a", "b", "c", "1", "2", "满"]), min_size=1, max_size=12)
elements = st.lists(st.sampled_from(["a", "b", "1", "满", "*", "#"]), min_size=1, max_size=6)


def slowly(wanted: list[str], text: list[str]) -> bool:
    """The meaning of a phrase, tried out in every way: somewhere in the text, what the elements say."""

    def here(at: int, rest: list[str]) -> bool:
        if not rest:
            return True
        if rest[0] == "*":
            return any(here(later, rest[1:]) for later in range(at, len(text) + 1))
        if at == len(text):
            return False
        fits = text[at].isdecimal() if rest[0] == "#" else text[at] == rest[0]
        return fits and here(at + 1, rest[1:])

    return any(here(start, wanted) for start in range(len(text) + 1))


@given(elements.filter(lambda found: set(found) - {"*", "#"}), words)
def test_a_match_is_what_trying_every_way_finds(wanted: list[str], text: list[str]) -> None:
    assert matches(" ".join(wanted), " ".join(text)) == slowly(wanted, text)


@given(st.text(max_size=200), st.text(max_size=30))
def test_any_text_and_any_phrase_give_an_answer(text: str, wanted: str) -> None:
    try:
        made = Phrase(wanted)
    except ValueError:
        return
    assert made.matches(Words(text)) in (True, False)
    assert made.matches(Words(f"{text} {wanted} {text}")) or "#" in wanted or "*" in wanted


HOSTILE = {
    "nearly": ("a a a a a a a a b", "a "),
    "numbers": ("# # # # # # # # b", "1 "),
    "one number": ("# b", "1"),
    "runs": ("a * a * a * a * a * b", "a "),
    "number runs": ("# * # * # * # * # * b", "1 "),
    "no word": ("a", "."),
    "one word": ("a", "x"),
    "cjk": ("满 * 满 * 没", "满"),
}


@pytest.mark.parametrize(("wanted", "part"), HOSTILE.values(), ids=HOSTILE)
def test_the_cost_does_not_explode_with_the_length_of_a_hostile_text(wanted: str, part: str) -> None:
    """Eight times the text may cost eight times as much, and as a generous bound thirty-two times: never 64 or 512."""
    made = Phrase(wanted)

    def cost(size: int) -> float:
        text = (part * size)[:size]
        best = float("inf")
        for _ in range(7):
            start = time.process_time()
            for _ in range(20):
                made.matches(Words(text))
            best = min(best, time.process_time() - start)
        return best

    assert cost(4096) < 32 * cost(512)


def test_a_text_of_any_length_costs_no_more_than_its_first_4096_characters() -> None:
    text = "".join(random.Random(1).choice("ab1 *#满_") for _ in range(4096))
    assert Words(text * 100).spaced == Words(text).spaced
