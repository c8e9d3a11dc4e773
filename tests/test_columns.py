"""Text in columns: never wider than the terminal, whichever way it counts, and never cut inside a letter."""

import unicodedata

import pytest

from bouncekit.words.columns import NARROW, beside, display_width, labelled, wrapped

HINDI = "किसी प्राप्तकर्ता का दोष नहीं है, और मेलबॉक्स भरा हुआ है"
WIDTHS = [1, 7, 20, 60, NARROW, 80, 100]


def widest(line: str) -> int:
    """As a terminal shows it that gives spacing marks a column."""
    return display_width(line) + sum(unicodedata.category(character) == "Mc" for character in line)


@pytest.mark.parametrize(
    ("text", "columns"),
    [("", 0), ("fix", 3), ("विवरण", 4), ("कैसे", 2), ("日本", 4), ("e\u0301", 1), ("a\u200bb", 2), ("क्ष", 2)],
)
def test_marks_take_no_column_and_wide_letters_two(text: str, columns: int) -> None:
    assert display_width(text) == columns


@pytest.mark.parametrize("room", WIDTHS)
@pytest.mark.parametrize("text", [HINDI, "a few short words", "x" * 50, "मेलबॉक्स" * 9])
def test_lines_fit_and_nothing_is_lost(text: str, room: int) -> None:
    lines = wrapped(text, room)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert max(map(widest, lines)) <= max(room, 4)  # no narrower than one letter with its marks


def test_a_word_is_never_cut_before_a_mark_or_inside_a_conjunct() -> None:
    for line in wrapped("प्राप्तकर्ता" * 5, 5):
        assert not unicodedata.category(line[0]).startswith("M")
        assert not line.endswith("\u094d")


@pytest.mark.parametrize("width", [NARROW, 80, 100])
def test_labels_stand_in_one_column_of_all_sections(width: int) -> None:
    [first], [second] = labelled([[("fix", "one")], [("जब आप इसे देखें", "two")]], width)
    assert display_width(first.removesuffix("one")) == display_width(second.removesuffix("two"))


@pytest.mark.parametrize("width", [20, 60, NARROW - 1])
def test_in_a_narrow_terminal_a_label_stands_above_its_text(width: int) -> None:
    assert labelled([[("fix", "one"), ("", "two")]], width) == [["fix", "  one", "  two"]]


@pytest.mark.parametrize("width", [NARROW, 80, 100])
def test_two_columns_are_aligned_and_fit(width: int) -> None:
    lines = beside([HINDI * 3, "", "a"], ["right " * 30, "", HINDI * 2], width)
    starts = {display_width(line[: line.index("right")]) for line in lines if "right" in line}
    assert len(starts) == 1
    assert max(map(widest, lines)) <= width
    assert "" in lines


def test_in_a_narrow_terminal_one_column_stands_below_the_other() -> None:
    assert beside(["a", "", "b"], ["c", "", "d"], 60) == ["a", "", "b", "", "c", "", "d"]


def test_a_terminal_s_cursor_is_sent_to_the_column_behind_what_it_may_count_its_own_way() -> None:
    assert beside(["विवरण"], ["x"], 80, by_cursor=True) == ["विवरण\x1b[42Gx"]
    assert "\x1b" not in beside(["a"], ["x"], 80, by_cursor=True)[0]
