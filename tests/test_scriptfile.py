"""A script for the test server as a file: answers in words."""

import pytest

from bouncekit import ConfigurationError
from bouncekit.testing import Answer, Closing, Cut, Delay, Dropped, Kept, Raw, Silence, Usual
from bouncekit.testing.scriptfile import answer_in_words, read_script, words_of


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ("552 5.2.2 Mailbox full", "552 5.2.2 Mailbox full"),
        ("usual", Usual()),
        ("cut", Cut("fin")),
        ("reset", Cut("rst")),
        ("silence", Silence()),
        ("closing", Closing(Usual())),
        ("closing 421 4.3.2 Bye", Closing("421 4.3.2 Bye")),
        ("delay 2", Delay(2.0, Usual())),
        ("delay 0.5 552 5.2.2 Full", Delay(0.5, "552 5.2.2 Full")),
        ("kept reset", Kept(Cut("rst"))),
        ("dropped 250 2.0.0 Ok", Dropped("250 2.0.0 Ok")),
    ],
)
def test_words_are_an_answer_and_an_answer_has_these_words(words: str, answer: Answer) -> None:
    assert answer_in_words(words) == answer
    assert words_of(answer) == words


def test_an_answer_without_words_is_shown_as_python_writes_it() -> None:
    assert words_of(Raw(b"x")).startswith("Raw(")


@pytest.mark.parametrize("words", ["", "full", "delay", "delay soon", "delay -1", "kept", "99 no", "kept delay x cut"])
def test_what_is_no_answer_says_what_would_be_right(words: str) -> None:
    if words == "kept":
        assert answer_in_words(words) == Kept(Usual())
        return
    with pytest.raises(ValueError, match="write"):
        answer_in_words(words)


def test_a_file_is_a_script() -> None:
    text = """
RCPT:
  full@example.com: 552 5.2.2 Mailbox full
  "*": [451 4.7.1 Greylisted]
END_OF_DATA: [usual, kept reset]
"""
    assert read_script("answers.yaml", text) == {
        "RCPT": {"full@example.com": "552 5.2.2 Mailbox full", "*": ["451 4.7.1 Greylisted"]},
        "END_OF_DATA": [Usual(), Kept(Cut("rst"))],
    }
    assert read_script("answers.yaml", "") == {}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("RCPT: {full@example.com: 55 Full}", "'55 Full' is no answer"),
        ("RCTP: 550 No", "no such stage; there are CONNECT, TLS"),
        ("QUIT: {ada@example.com: 221 Bye}", "only MAIL, RCPT"),
        ("RCPT: kept 250 Ok", "Kept means nothing here"),
        ("- 550 No", "a script maps stages to answers"),
        ("RCPT: [", "no YAML"),
        ("RCPT: &a [*a]", "answers.yaml"),
        ("x" * (1024 * 1024 + 1), "a script is a page"),
    ],
)
def test_a_file_that_is_none_says_where_and_why(text: str, why: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_script("answers.yaml", text)
    assert str(caught.value).startswith("answers.yaml: ")
    assert why in str(caught.value)


def test_in_lmtp_the_dot_is_answered_by_recipient() -> None:
    text = "END_OF_DATA: {ada@example.com: 452 4.2.2 Full}"
    assert read_script("answers.yaml", text, lmtp=True)
    with pytest.raises(ConfigurationError, match="lmtp"):
        read_script("answers.yaml", text)
