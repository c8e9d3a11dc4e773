"""`compare`: two codes side by side, and one below the other where the terminal is narrow."""

import json

import pytest

from .conftest import Run
from .test_explain import widest


@pytest.mark.parametrize(
    ("lang", "headings"),
    [
        ("en", ["Description", "When you see it", "How to fix", "Key difference", "When which"]),
        ("hi", ["विवरण", "जब आप इसे देखें", "कैसे ठीक करें", "मुख्य अंतर", "कब किसका उपयोग करें"]),
    ],
)
@pytest.mark.parametrize("columns", ["60", "80", "200"])
def test_both_cards_and_the_difference_are_shown(
    run: Run, monkeypatch: pytest.MonkeyPatch, lang: str, headings: list[str], columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    result = run("compare", "221", "552", "--lang", lang)
    assert result.exit_code == 0
    cards = 1 if int(columns) < 70 else 2
    heads = [line.split("  ")[0] for line in result.output.splitlines() if line.split("  ")[0] in headings]
    assert heads == (headings[:3] * 2 + headings[3:] if cards == 1 else headings)
    assert next(line for line in result.output.splitlines() if line.startswith(headings[0])).count(headings[0]) == cards
    assert widest(result.output) <= min(int(columns), 100)


def test_json_says_whether_somebody_wrote_the_difference(run: Run) -> None:
    answer = json.loads(run("compare", "221", "552", "--json").output)
    assert [card["code"] for card in answer["cards"]] == ["221", "552"]
    assert answer["written"] is True
    assert answer["difference"].startswith("221 ends a session")
    assert json.loads(run("compare", "354", "552", "--json").output)["written"] is False


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("552", "552"), "552 twice; give two different codes"),
        (("552", "full"), "'full' is no code; one looks like 552 or 5.2.2"),
        (("552",), "Missing argument 'CODE'."),
    ],
)
def test_what_cannot_be_compared_is_one_line_and_exit_code_2(run: Run, arguments: tuple[str, ...], error: str) -> None:
    result = run("compare", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"bouncekit: error: {error}")
