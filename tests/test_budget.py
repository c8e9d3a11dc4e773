"""The arithmetic of budgets: a level is reached at its bound, left well below it, and never for what may be chance."""

from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bouncekit.policy.budget import NOTHING, Bound, Budget, Level, Spent, Stream, level_of

BUDGET = Budget(
    at_least=1000,
    warn=Bound(bounces=0.02, complaints=0.001),
    slow=Bound(bounces=0.05),
    stop=Bound(bounces=0.08, complaints=0.003),
)
ORDER = tuple(Level)
COUNTS = st.builds(
    lambda sent, bad, complained: Spent(sent, min(bad, sent), complained),
    st.integers(0, 20_000),
    st.integers(0, 4_000),
    st.integers(0, 200),
)
LEVELS = st.sampled_from(Level)


@pytest.mark.parametrize(
    ("spent", "level"),
    [
        (NOTHING, Level.WITHIN),
        (Spent(999, 999, 999), Level.WITHIN),  # too few to tell
        (Spent(1000, 19), Level.WITHIN),
        (Spent(1000, 20), Level.WARNED),
        (Spent(1000, 50), Level.SLOWED),
        (Spent(1000, 80), Level.STOPPED),
        (Spent(1000, 0, 2), Level.WITHIN),  # twice the bound, and perhaps chance
        (Spent(1000, 0, 3), Level.STOPPED),
        (Spent(3000, 0, 3), Level.WARNED),
        (Spent(0, 5, 5), Level.WITHIN),
    ],
)
def test_a_level_begins_at_its_bound(spent: Spent, level: Level) -> None:
    assert level_of(BUDGET, spent, Level.WITHIN) is level


@pytest.mark.parametrize(
    ("spent", "level"),
    [
        (Spent(10_000, 160), Level.WARNED),  # four fifths of the bound
        (Spent(10_000, 159), Level.WITHIN),
        (Spent(500, 12), Level.WARNED),  # half of the sample
        (Spent(499, 12), Level.WITHIN),
    ],
)
def test_it_is_left_well_below(spent: Spent, level: Level) -> None:
    assert level_of(BUDGET, spent, Level.WARNED) is level


def test_a_budget_without_levels_has_no_level() -> None:
    assert level_of(Budget(), Spent(10_000, 10_000, 10_000), Level.STOPPED) is Level.WITHIN


@given(spent=COUNTS, before=LEVELS)
def test_the_same_counts_do_not_move_a_level_twice(spent: Spent, before: Level) -> None:
    level = level_of(BUDGET, spent, before)
    assert level_of(BUDGET, spent, level) is level


@given(spent=COUNTS, more=st.integers(0, 500), before=LEVELS)
def test_more_bounces_or_complaints_are_never_a_better_level(spent: Spent, more: int, before: Level) -> None:
    level = ORDER.index(level_of(BUDGET, spent, before))
    assert ORDER.index(level_of(BUDGET, spent._replace(bounced=spent.bounced + more), before)) >= level
    assert ORDER.index(level_of(BUDGET, spent._replace(complained=spent.complained + more), before)) >= level


@given(spent=COUNTS, before=LEVELS, after=LEVELS)
def test_who_was_worse_before_is_not_better_now(spent: Spent, before: Level, after: Level) -> None:
    worse, better = sorted((before, after), key=ORDER.index, reverse=True)
    assert ORDER.index(level_of(BUDGET, spent, worse)) >= ORDER.index(level_of(BUDGET, spent, better))


@given(st.lists(st.sampled_from([98, 99, 100, 101, 102]), max_size=30))
def test_a_rate_that_swings_around_its_bound_is_told_once(numbers: list[int]) -> None:
    budget, levels = Budget(at_least=1000, stop=Bound(bounces=0.1)), [Level.WITHIN]
    for number in numbers:
        levels.append(level_of(budget, Spent(1000, number), levels[-1]))
    assert sum(one is not other for one, other in pairwise(levels)) <= 1


def test_a_stream_says_whose_it_is() -> None:
    assert str(Stream("acme", "news")) == "stream news of acme"
    assert str(Stream()) == "mail without a stream"


def test_the_usual_window_is_a_week() -> None:
    assert BUDGET.within == timedelta(days=7)
