"""How long to wait after which attempt, and how durations are written."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bouncekit.policy.schedule import Phase, Schedule, parse_duration, show_duration, waits_of

HOURS = Schedule("hours", (timedelta(minutes=30), timedelta(hours=1), timedelta(hours=4)))
POSTFIX = Schedule("postfix", (timedelta(minutes=5),), grow=2.0, at_most=timedelta(seconds=4000))


@pytest.mark.parametrize(("attempt", "minutes"), [(1, 30), (2, 60), (3, 240), (4, 240), (1000, 240)])
def test_the_last_wait_repeats(attempt: int, minutes: int) -> None:
    assert HOURS.wait(attempt) == timedelta(minutes=minutes)


@pytest.mark.parametrize(("attempt", "seconds"), [(1, 300), (2, 600), (3, 1200), (4, 2400), (5, 4000), (6, 4000)])
def test_a_growing_wait_doubles_up_to_its_bound(attempt: int, seconds: int) -> None:
    assert POSTFIX.wait(attempt) == timedelta(seconds=seconds)


@pytest.mark.parametrize("attempt", [39, 64, 65, 10**6])
def test_no_number_of_attempts_overflows(attempt: int) -> None:
    assert POSTFIX.wait(attempt) == timedelta(seconds=4000)
    assert Schedule("steep", (timedelta(days=300),), grow=100.0, at_most=timedelta(days=3650)).wait(
        attempt
    ) == timedelta(days=3650)


def test_growth_begins_behind_the_last_wait_of_a_list() -> None:
    mixed = Schedule("mixed", (timedelta(minutes=1), timedelta(minutes=10)), grow=3.0, at_most=timedelta(hours=1))
    assert [mixed.wait(attempt) / timedelta(minutes=1) for attempt in range(1, 6)] == [1, 10, 30, 60, 60]


def test_a_bound_holds_for_the_listed_waits_too() -> None:
    assert Schedule("bound", (timedelta(hours=5),), at_most=timedelta(hours=1)).wait(1) == timedelta(hours=1)


@given(attempt=st.integers(1, 200), jitter=st.floats(0, 1, exclude_max=True))
def test_jitter_lengthens_by_a_tenth_at_most_and_never_shortens(attempt: int, jitter: float) -> None:
    for schedule in (HOURS, POSTFIX):
        plain = schedule.wait(attempt)
        assert plain <= schedule.wait(attempt, jitter) <= plain * 1.1


MINUTE = timedelta(minutes=1)


def test_a_phase_lasts_until_so_long_after_the_first_attempt() -> None:
    steps = (MINUTE, Phase(2 * MINUTE, 6 * MINUTE), Phase(10 * MINUTE, 60 * MINUTE, 2.0), 240 * MINUTE)
    assert waits_of(steps) == tuple(MINUTE * minutes for minutes in (1, 2, 2, 2, 10, 20, 40, 240))


def test_a_phase_that_is_over_before_it_begins_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="until 30m is over before"):
        waits_of((60 * MINUTE, Phase(MINUTE, 30 * MINUTE)))


@given(
    st.lists(
        st.timedeltas(timedelta(seconds=1), timedelta(days=3650))
        | st.builds(
            Phase,
            st.timedeltas(timedelta(seconds=1), timedelta(days=3650)),
            st.timedeltas(timedelta(seconds=1), timedelta(days=3650)),
            st.floats(1, 100),
        ),
        max_size=9,
    )
)
def test_no_list_makes_more_waits_than_two_hundred(steps: list[timedelta | Phase]) -> None:
    try:
        waits = waits_of(steps)
    except ValueError:
        return
    assert len(steps) <= len(waits) <= 200


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("30m", 1800), ("4h", 14400), ("7d", 604800), ("2w", 1209600), ("1.5h", 5400), ("250ms", 0.25)],
)
def test_a_duration_is_a_number_and_a_unit(text: str, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "5", "m", "5 m", "-5m", "1:30", "5min", "1h30m", "5M", "1e3s", "99999999999s"])
def test_anything_else_is_none_and_says_what_would_be_right(text: str) -> None:
    with pytest.raises(ValueError, match="write a number and a unit: 90s, 30m, 4h, 7d, 2w"):
        parse_duration(text)


def test_a_duration_longer_than_time_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="longer than a duration can be"):
        parse_duration("999999999w")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(604800, "7d"), (5400, "90m"), (7200, "2h"), (4000, "4000s"), (0.5, "0.5s"), (1234567, "1234567s"), (0, "0s")],
)
def test_a_duration_is_shown_in_the_largest_whole_unit(seconds: float, text: str) -> None:
    assert show_duration(timedelta(seconds=seconds)) == text


@given(st.timedeltas(timedelta(0), timedelta(days=10_000)))
def test_what_is_shown_reads_back(duration: timedelta) -> None:
    assert parse_duration(show_duration(duration)) == duration
