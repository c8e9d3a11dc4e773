"""Asking what a text means: a reply, a line that quotes one, words alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bouncekit.postmaster.asking import classify, status_of
from bouncekit.words.reply import Reply, Stage
from bouncekit.words.status import Action

LOGGED = "dsn=5.1.1, status=bounced (host mx.example.com[192.0.2.1] said: 550 5.1.1 No (in reply to MAIL FROM command))"

# What somebody pastes; the reply in it, its stage, the status code beside it, what became of the message.
READ = [
    ("552 5.2.2 full", "552 5.2.2 full", Stage.RCPT, None, Action.FAILED),
    (LOGGED, "550 5.1.1 No", Stage.MAIL, "5.1.1", Action.FAILED),
    ("smtp; 452 4.2.2 full", "452 4.2.2 full", Stage.RCPT, None, Action.DELAYED),
    ("5.1.1 user unknown", None, Stage.RCPT, "5.1.1", Action.FAILED),
    ("(#4.2.2) over quota", None, Stage.RCPT, "4.2.2", Action.DELAYED),
    ("mailbox is full", None, Stage.RCPT, None, Action.UNKNOWN),
    ("605 Not delivering to previously bounced address", None, Stage.RCPT, None, Action.UNKNOWN),
]


@pytest.mark.parametrize(("text", "reply", "stage", "status", "action"), READ)
def test_a_text_is_read_as_the_one_in_a_bounce(
    text: str, reply: str | None, stage: Stage, status: str | None, action: Action
) -> None:
    read = status_of(text)
    assert (str(read.reply) if read.reply else None) == reply
    assert (read.stage, read.action) == (stage, action)
    assert (str(read.status) if read.status else None) == status
    assert read.diagnostic == ("" if reply else text)


def test_a_stage_or_a_status_code_that_is_given_goes_before_the_one_that_is_read() -> None:
    assert status_of(LOGGED, stage="RCPT").stage is Stage.RCPT
    assert str(status_of(LOGGED, enhanced="5.7.1").status) == "5.7.1"


@pytest.mark.parametrize(
    ("text", "category", "permanent"),
    [
        ("mailbox is full", "mailbox_full", False),
        ("Das Postfach ist voll", "mailbox_full", False),
        ("user unknown", "user_unknown", False),
        ("5.1.1 user unknown", "user_unknown", True),
        ("4.2.2 over quota", "mailbox_full", False),
        ("605 Not delivering to previously bounced address", "suppressed", True),
        ("Connection timed out", "network_error", False),
        ("5.1.1", "user_unknown", True),
        ("hello", "unknown", False),
    ],
)
def test_words_alone_are_judged_but_never_certain(text: str, category: str, permanent: bool) -> None:
    verdict = classify(text)
    assert (verdict.category, verdict.permanent, verdict.certain) == (category, permanent, False)


@given(st.text())
def test_any_text_is_judged_or_a_value_error(text: str) -> None:
    try:
        verdict = classify(text)
    except ValueError:
        assert not any(map(str.isalpha, text.strip()))
        return
    assert verdict.certain is False or isinstance(verdict.status.reply, Reply)


@pytest.mark.parametrize("text", ["", " \n", "???", "999", "605 1"])
def test_what_has_neither_word_nor_code_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match="does not start with a reply code; one looks like"):
        classify(text)


@pytest.mark.parametrize("thing", [None, 552, b"552 full"])
def test_what_is_no_text_is_a_type_error(thing: object) -> None:
    with pytest.raises(TypeError, match="is no reply; write a text such as"):
        classify(thing)  # type: ignore[arg-type]
