"""The words of a notice: which names a text has, and what is no name."""

import re
from pathlib import Path

import pytest

from bouncekit.policy.template import PLACEHOLDERS, Template, placeholders

PAGE = Path(__file__).parents[1] / "docs" / "howto" / "notify.md"


@pytest.mark.skipif(not PAGE.exists(), reason="the docs are not here")
def test_the_page_lists_every_placeholder_with_what_it_is() -> None:
    rows = re.findall(r"^\| `\$(\w+)` \| (.+) \|$", PAGE.read_text("utf-8"), re.MULTILINE)
    assert dict(rows) == PLACEHOLDERS


def test_names_are_found_with_and_without_braces() -> None:
    assert placeholders("$recipient and ${reply}s for $$5, $recipient.") == ["recipient", "reply", "recipient"]


@pytest.mark.parametrize(
    ("text", "around"), [("costs 5$", "'$'"), ("$ 5", "'$ 5'"), ("${reply", "'${reply'"), ("a\n$1\nb", "'$1'")]
)
def test_a_dollar_that_begins_no_name_is_a_mistake(text: str, around: str) -> None:
    with pytest.raises(ValueError, match="a dollar is written") as caught:
        placeholders(text)
    assert str(caught.value).startswith(around)


def test_values_are_filled_in_once() -> None:
    filled = Template("t", "$reply", "$$ ${reply} $rule").fill({"reply": "$rule", "rule": "a"})
    assert filled == ("$rule", "$ $rule a")


def test_a_template_that_nobody_checked_does_not_raise_when_it_is_needed() -> None:
    assert Template("t", "$nobody", "5$").fill(dict.fromkeys(PLACEHOLDERS, "")) == ("$nobody", "5$")
