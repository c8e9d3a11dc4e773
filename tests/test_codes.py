"""The code cards: whole in every language, agreed with the registry, and never silent about a code."""

import string
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from importlib.resources import files
from itertools import combinations, product

import pytest

from bouncekit.codes import Card, Language
from bouncekit.codes.cardfile import CardText, FiledCard, read_cards, read_pairs
from bouncekit.meaning.classification import Category, Scope
from bouncekit.outside.builtin import classifier, code_cards
from bouncekit.policy.rule import Fate, SessionFate
from bouncekit.postmaster.explaining import Comparison, Explanation, compare, explain
from bouncekit.words.reply import EnhancedStatusCode, Reply, Stage

REPLIES, ENHANCED = code_cards().filed
PAIRS = code_cards().pairs
OTHER_COMMANDS = {"HELP", "NOOP", "VRFY", "EXPN", "ETRN", "ATRN"}
# RFC 5321 4.2.3, and RFC 4954, 3207, 7504, 1985 beside it.
STANDARD = """
211 214 220 221 235 250 251 252 253 334 354 421 432 450 451 452 454 455 458 459 500 501 502 503 504 521 530 534 535 538
550 551 552 553 554 555 556
""".split()
# The registry of RFC 5248, last changed 2024-12-06: subject, then its details and the classes they are registered for.
REGISTRY = {0: range(1), 1: range(11), 2: range(5), 3: range(7), 4: range(8), 5: range(7), 6: range(11), 7: range(31)}

# No text shorter says anything, none longer is read.
BOUNDS = {"name": (3, 64), "description": (11, 180), "when": (6, 200), "fix": (8, 220), "origin": (6, 60)}


def texts() -> Iterator[tuple[str, str, str]]:
    """Every text with where it stands and the field that it is."""
    for card in (*REPLIES, *ENHANCED):
        for language, text in card.texts.items():
            for one in fields(CardText):
                if value := getattr(text, one.name):
                    yield f"{card.code} {language}", one.name.partition("_")[0], value


def in_hindi(text: str) -> bool:
    return any("\u0900" <= character <= "\u097f" for character in text)


@pytest.mark.parametrize("card", [*REPLIES, *ENHANCED], ids=lambda card: f"{card.code}-{card.provider or ''}")
def test_every_card_has_every_text_in_every_language(card: FiledCard) -> None:
    assert set(card.texts) == set(Language)
    english, hindi = card.texts[Language.ENGLISH], card.texts[Language.HINDI]
    for one in fields(CardText):
        assert bool(getattr(english, one.name)) is bool(getattr(hindi, one.name)), one.name
    assert english.name
    assert english.description
    assert english.when
    assert all(english.advice(class_) for class_ in card.classes or (int(card.code[0]),) if class_ != 2)


def test_texts_are_of_a_length_that_is_read() -> None:
    wrong = [
        (where, name, len(text)) for where, name, text in texts() if not BOUNDS[name][0] <= len(text) <= BOUNDS[name][1]
    ]
    assert wrong == []


def test_texts_are_sentences_of_their_language() -> None:
    for where, name, text in texts():
        assert text == " ".join(text.split()), where
        if name in {"description", "when", "fix"}:
            assert text[-1] in (".।" if where.endswith("hi") else "."), (where, text)
        if name != "origin":  # a product's name is its own
            assert in_hindi(text) is where.endswith("hi"), (where, text)
    for pair in PAIRS:
        for language, said in pair.texts.items():
            for text in (said.difference, said.which):
                assert 20 <= len(text) <= 220, (pair.codes, text)
                assert in_hindi(text) is (language is Language.HINDI)


def test_the_words_around_the_cards_are_the_same_in_every_language() -> None:
    def names(language: Language) -> dict[tuple[str, str], list[str]]:
        return {
            (kind, name): sorted(field for _, field, _, _ in string.Formatter().parse(text) if field)
            for kind, words in code_cards().words(language).items()
            for name, text in words.items()
        }

    assert names(Language.ENGLISH) == names(Language.HINDI)


@pytest.mark.parametrize(
    ("language", "headings"),
    [
        ("en", "Description, When you see it, How to fix, Key difference, When which"),
        ("hi", "विवरण, जब आप इसे देखें, कैसे ठीक करें, मुख्य अंतर, कब किसका उपयोग करें"),
    ],
)
def test_the_headings_are_these(language: str, headings: str) -> None:
    heading = code_cards().words(Language(language))["heading"]
    shown = ", ".join(heading[name] for name in ("description", "when", "fix", "difference", "which"))
    assert shown == headings


def test_there_are_words_for_whatever_a_verdict_says() -> None:
    for language in Language:
        words = code_cards().words(language)
        assert set(words["category"]) == set(Category)
        assert set(words["scope"]) == set(Scope)
        assert set(words["does"]) >= {*Fate, *SessionFate}


def test_every_code_is_filed_once() -> None:
    codes = [card.code for card in REPLIES]
    assert len(set(codes)) == len(codes)
    filed = [(card.code, card.provider) for card in ENHANCED]
    assert len(set(filed)) == len(filed)


def test_every_code_of_the_standards_has_a_card_that_cites_them() -> None:
    cards = {card.code: card for card in REPLIES}
    assert [code for code in STANDARD if not cards[code].source.startswith("RFC ")] == []
    filed = {card.code: card for card in ENHANCED if card.provider is None}
    missing = [
        f"x.{subject}.{detail}"
        for subject, details in REGISTRY.items()
        for detail in details
        if f"x.{subject}.{detail}" not in filed
    ]
    assert missing == []


def test_a_code_that_no_standard_assigns_says_who_uses_it() -> None:
    for card in REPLIES:
        assert bool(card.source) is not bool(card.texts[Language.ENGLISH].origin), card.code
    assert all(card.source for card in ENHANCED)


def test_stages_are_commands() -> None:
    named = {stage for card in REPLIES for stage in card.stages or ()}
    assert named <= {*Stage, *OTHER_COMMANDS}


def test_no_card_refers_to_a_missing_code() -> None:
    codes = {card.code for card in REPLIES}
    for card in ENHANCED:
        for basic in card.basic:
            assert basic in codes | {"xxx", "5xx"}, card.code
            assert basic == "xxx" or basic[0] in {str(class_) for class_ in card.classes} | {"4", "5"}, card.code
    for where, _, text in texts():
        for word in text.replace("(", " ").replace(",", " ").split():
            number = word.strip(".:;)।\"'")
            if len(number) == 3 and number.isdigit():
                assert number in codes | {"365", "465"}, (where, number)  # a product and a port are no codes
    assert {code for pair in PAIRS for code in pair.codes} <= codes


def test_registered_codes_go_with_the_basic_codes_of_the_registry() -> None:
    """RFC 5248's registry, the column "Associated Basic Status Code", where it is narrow."""
    basic = {card.code: card.basic for card in ENHANCED if card.provider is None}
    assert basic["x.2.2"] == ("552",)
    assert basic["x.1.1"] == ("451", "550")
    assert basic["x.5.3"] == ("451",)
    assert basic["x.1.10"] == ("556",)
    assert basic["x.7.8"] == ("535", "554")
    assert basic["x.0.0"] == ("xxx",)
    assert basic["x.4.6"] == ()


def test_a_provider_s_card_names_a_provider_of_the_classifier() -> None:
    known = {rule.provider for rule in classifier().rules if rule.provider}
    assert {card.provider for card in ENHANCED if card.provider} <= known


@pytest.mark.parametrize("language", Language)
def test_no_reply_code_is_without_a_card(language: Language) -> None:
    for code in range(100, 600):
        card = code_cards().reply(code, language)
        assert card.code == str(code)
        assert card.is_exact or card.pattern == f"{code // 100}xx"
        assert card.fix
        assert card.subject


@pytest.mark.parametrize("language", Language)
def test_no_enhanced_code_is_without_a_card(language: Language) -> None:
    for class_, subject, detail in product((2, 4, 5), (*range(9), 999), (*range(32), 606, 999)):
        cards = code_cards().enhanced(EnhancedStatusCode(class_, subject, detail), language)
        assert cards
        assert all(card.fix and card.class_name for card in cards)
        if subject in REGISTRY and detail in REGISTRY[subject]:
            assert cards[0].is_exact


def test_an_unknown_detail_is_explained_by_its_subject_and_an_unknown_subject_by_its_class() -> None:
    def card(code: str) -> Card:
        return code_cards().enhanced(EnhancedStatusCode.parse(code), Language.ENGLISH)[0]

    assert (card("5.2.99").pattern, card("5.2.99").name) == ("x.2.x", "Mailbox")
    assert (card("4.99.1").pattern, card("4.99.1").class_name) == ("x.x.x", "persistent transient failure")


def test_the_class_chooses_the_advice() -> None:
    def fix(code: str) -> str:
        return code_cards().enhanced(EnhancedStatusCode.parse(code), Language.ENGLISH)[0].fix

    assert fix("4.2.2") == "Try again after hours."
    assert fix("5.2.2").startswith("Hold mail to this mailbox back")
    assert fix("2.1.0") == "Nothing."
    assert fix("5.7.0") == "Read the text. Mend login or content; the address stays good."


def test_a_class_that_the_registry_does_not_give_a_code_is_said() -> None:
    [card] = code_cards().enhanced(EnhancedStatusCode(4, 1, 1), Language.ENGLISH)
    assert card.class_name == "persistent transient failure (registered for class 5 only)"


def test_a_span_of_a_provider_s_codes_has_its_card() -> None:
    [card] = code_cards().enhanced(EnhancedStatusCode(5, 7, 610), Language.HINDI)
    assert (card.code, card.pattern, card.provider) == ("5.7.610", "5.7.606-649", "microsoft")


def test_the_registered_card_comes_before_a_provider_s() -> None:
    assert [card.provider for card in explain("5.7.9").cards] == [None, "yahoo"]


def test_a_broken_file_of_cards_names_the_card() -> None:
    with pytest.raises(ValueError, match="299: 'hi'"):
        read_cards('[[card]]\ncode = "299"\n[card.en]\nname = "a"\ndescription = "b"\nwhen = "c"\n')
    with pytest.raises(ValueError, match=r"\['1', '2'\]: .*diference"):
        read_pairs('[[pair]]\ncodes = ["1", "2"]\n[pair.en]\ndiference = "a"\n[pair.hi]\nwhich = "b"\n')


def test_the_files_are_part_of_the_package() -> None:
    names = {entry.name for entry in (files("bouncekit") / "codes").iterdir() if entry.name.endswith(".toml")}
    assert names == {"replies.toml", "enhanced.toml", "pairs.toml", "words.toml"}
    for name in names:
        tomllib.loads((files("bouncekit") / "codes" / name).read_text("utf-8"))


# -- explain


def test_a_code_alone_is_its_card_without_a_verdict() -> None:
    explained = explain("552")
    assert [card.name for card in explained.cards] == ["Exceeded Storage"]
    assert (explained.reply, explained.classification, explained.disposition) == (None, None, None)
    assert [card.name for card in explain("5.2.2").cards] == ["Mailbox full"]
    assert explain(552) == explained


def test_a_whole_reply_says_what_the_policy_does_and_by_which_rule() -> None:
    explained = explain("452 4.5.3 Too many recipients", stage="RCPT", accepted=3, lang="hi")
    assert [card.code for card in explained.cards] == ["452", "4.5.3"]
    assert explained.classification
    assert explained.classification.category is Category.TOO_MANY_RECIPIENTS
    assert explained.disposition
    assert (explained.disposition.fate, explained.disposition.rule) == (Fate.SPLIT, "too-many-recipients")
    said = str(explained)
    assert "rules/decision_table.toml:" in said
    assert "default.yaml:" in said
    assert "रास्ता: " in said


def test_the_policy_that_is_asked_decides() -> None:
    assert explain("452 4.2.2 full").retry_in == explain("452 4.2.2 full", policy="default").retry_in
    assert explain("552 5.2.2 full", policy="bulk").policy != explain("552 5.2.2 full").policy


def test_a_full_mailbox_is_held_back_and_told_another_way() -> None:
    said = " ".join(str(explain("552 5.2.2 Mailbox full")).split())
    assert "no more tries; hold mail to this address back for 7d; then one message is the probe; tell recipient" in said
    assert "the recipient's: this mailbox or its domain" in said


def test_who_is_not_to_blame_is_not_held_back() -> None:
    explained = explain("552 5.3.4 Message size exceeds fixed limit", stage="MAIL")
    assert explained.classification
    assert explained.classification.scope is Scope.MESSAGE
    assert "hold mail to this address back" not in str(explained)


def test_a_stage_or_a_count_makes_a_reply_of_a_code() -> None:
    assert explain("552", stage="MAIL").classification
    explained = explain("552", accepted=120)
    assert explained.classification
    assert explained.classification.category is Category.TOO_MANY_RECIPIENTS


def test_without_a_stage_a_code_answers_what_it_is_for() -> None:
    stages = {"221 Bye": "QUIT", "354 Go on": "DATA", "535 5.7.8 Wrong": "AUTH", "552 full": "RCPT", "577 x": "RCPT"}
    assert {reply: str(explain(reply).stage) for reply in stages} == stages


def test_what_ends_a_session_says_what_becomes_of_the_connection() -> None:
    asked_for, unasked = explain("221 2.0.0 Bye"), explain("421 4.3.2 Shutting down")
    assert asked_for.session
    assert (asked_for.session.fate, asked_for.disposition) == (SessionFate.CLOSE, None)
    assert "the session ends, as you asked for" in str(asked_for)
    assert unasked.session
    assert unasked.session.fate is SessionFate.RECONNECT
    assert "up to 3 times" in str(unasked)


def test_a_221_in_place_of_the_last_reply_leaves_the_outcome_unknown() -> None:
    explained = explain("221 Closing", stage="END_OF_DATA")
    assert explained.disposition
    assert explained.disposition.action == "unknown"
    assert "nobody knows whether the message was taken" in str(explained)


def test_where_the_server_agrees_nothing_is_decided() -> None:
    explained = explain("250 2.1.5 Ok")
    assert (explained.classification, explained.disposition, explained.session) == (None, None, None)
    assert "there is nothing to decide" in str(explained)


def test_what_a_server_wrote_is_shown_harmless() -> None:
    assert "\x1b" not in str(explain("552 \x1b[2Jfull\u202e"))
    assert "\x1b" not in str(explain(Reply(552, b"\x1b[2Jfull")))
    assert len(str(explain("552 " + "full " * 100_000))) < 8000


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("full",), "'full' is no code; one looks like 552 or 5.2.2"),
        (("x.2.2",), "'x.2.2' has no class; give 4.2.2 or 5.2.2"),
        (("999",), "'999' is no code"),
        (("",), "'' is no code"),
        (("\x1b[2J",), r"'\\x1b\[2J' is no code"),
    ],
)
def test_what_is_no_code_is_a_value_error_that_says_what_is_one(arguments: tuple[str, ...], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        explain(*arguments)


def test_a_line_of_a_log_is_the_reply_that_it_quotes_at_the_stage_that_it_names() -> None:
    line = "status=bounced (host mx said: 550 5.7.1 Refused (in reply to MAIL FROM command))"
    explained = explain(line)
    assert (str(explained.reply), explained.stage) == ("550 5.7.1 Refused", "MAIL")
    assert [card.code for card in explained.cards] == ["550", "5.7.1"]
    assert explain(line, stage="RCPT").stage == "RCPT"


def test_an_unknown_language_or_stage_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="'fr' is no language of the cards; one of en, hi"):
        explain("552", lang="fr")
    with pytest.raises(ValueError, match="'LUNCH' is no stage"):
        explain("552 full", stage="LUNCH")


# -- compare


def test_a_written_pair_is_the_same_in_both_orders() -> None:
    one, other = compare("221", "552"), compare("552", "221")
    assert (one.difference, one.which, one.is_written) == (other.difference, other.which, True)
    assert [card.code for card in other.cards] == ["552", "221"]


@pytest.mark.parametrize("language", Language)
def test_every_two_codes_can_be_compared(language: Language) -> None:
    codes = [card.code for card in REPLIES if "x" not in card.code]
    for first, second in combinations(codes, 2):
        compared = compare(first, second, lang=language)
        assert first in compared.difference or compared.cards[0].class_name == compared.cards[1].class_name
        assert "{" not in compared.difference + compared.which


def test_a_pair_that_nobody_wrote_about_is_made_of_what_the_digits_say() -> None:
    compared = compare("421", "555")
    assert not compared.is_written
    assert compared.difference == (
        "421 means transient negative completion, 555 permanent negative completion. "
        "The subject of 421 is connections, that of 555 mail system."
    )
    assert compared.which == "421: try again later, as it is. 555: change something before you try again."


def test_digits_that_say_nothing_are_not_compared() -> None:
    assert "subject" not in compare("421", "535").difference  # x3z: unspecified in RFC 5321 4.2.1
    assert "subject" not in compare("421", "577").difference


def test_an_enhanced_code_is_compared_with_the_code_that_it_goes_with() -> None:
    assert compare("5.2.2", "552").difference == "5.2.2 is an enhanced code that goes with 552, and says more than it."
    assert "goes with" not in compare("5.2.2", "452").difference


@pytest.mark.parametrize(
    ("first", "second", "why"), [("552", "552", "552 twice"), ("552", "full", "'full' is no code")]
)
def test_what_cannot_be_compared_is_a_value_error(first: str, second: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        compare(first, second)


def test_what_comes_back_is_frozen_and_can_be_compared() -> None:
    assert compare("221", "552") == compare("221", "552")
    for value in (explain("552"), compare("221", "552")):
        assert isinstance(value, Explanation | Comparison)
        with pytest.raises(AttributeError):
            value.cards = ()  # type: ignore[misc]
