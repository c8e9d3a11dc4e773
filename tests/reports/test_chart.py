"""Columns as shapes."""

from hypothesis import given
from hypothesis import strategies as st

from bouncekit.reports.chart import HEIGHT, WIDTH, chart

NAMES = ("delivered", "failed")
NUMBERS = st.dictionaries(st.sampled_from(NAMES), st.integers(0, 10**9))


@given(st.lists(NUMBERS, max_size=200))
def test_everything_that_was_is_drawn_within_the_drawing_and_nothing_else(columns: list[dict[str, int]]) -> None:
    drawn = chart([("", "", numbers) for numbers in columns], NAMES)
    assert len(drawn.columns) == len(columns)
    for numbers, column in zip(columns, drawn.columns, strict=True):
        assert [bar.name for bar in column.bars] == [name for name in NAMES if numbers.get(name)]
        assert all(0 <= bar.x <= bar.x + bar.width <= WIDTH + 0.2 for bar in column.bars)
        assert all(0 <= bar.y <= HEIGHT and bar.height >= 1 for bar in column.bars)
    assert max((sum(numbers.values()) for numbers in columns), default=0) <= drawn.lines[-1][1]


def test_few_labels_stand_below_many_columns() -> None:
    drawn = chart([("", str(number), {}) for number in range(168)], NAMES)
    assert 1 < sum(bool(column.label) for column in drawn.columns) <= 8


def test_the_axis_ends_at_a_round_number() -> None:
    ends = {most: chart([("", "", {"failed": most})], NAMES).lines[-1][1] for most in (0, 1, 2, 3, 7, 11, 500, 601)}
    assert ends == {0: 2, 1: 2, 2: 2, 3: 4, 7: 8, 11: 20, 500: 600, 601: 800}
