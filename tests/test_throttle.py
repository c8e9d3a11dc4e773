"""The throttle: whatever is asked and answered, nothing goes where it must not, and all goes at last."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bouncekit.policy.lane import (
    LONGEST_PAUSE,
    NO_THROTTLE,
    Lane,
    LaneKind,
    Pace,
    Pause,
    Road,
    Slow,
    Throttle,
    Throttles,
)
from bouncekit.policy.throttle import FREE, Change, Flow, Held, Hold, News, ask, heard, left, set_back

from .building import NOW

MAIN, GMAIL = Lane(LaneKind.RELAY, "main"), Lane(LaneKind.PROVIDER, "gmail")
SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
LEASE = timedelta(minutes=15)
PAUSE = Pause(length=5 * MINUTE, at_most=HOUR)


def may(flow: Flow, now=NOW, throttle: Throttle = NO_THROTTLE, token: str = "a", recipients: int = 1):
    return ask(flow, throttle, now, lane=MAIN, token=token, recipients=recipients, lease=LEASE)


def news(measure: Slow | Pause | None = None, **more) -> News:
    return News(lane=MAIN, measure=measure, **more)


def hear(flow: Flow, measure: Slow | Pause | None = None, now=NOW, *, token: str = "a", measured=None, **more):
    return heard(flow, news(measure, **more), now, token=token, measured=measured)


# -- slower


def test_what_nobody_slowed_passes_and_leaves_no_trace() -> None:
    assert may(FREE) == (FREE, None)
    assert hear(FREE, well=True) == (FREE, None)


def test_a_refusal_halves_the_pace_that_was_measured() -> None:
    flow, change = hear(FREE, Slow(), measured=10.0)
    assert (flow.pace, flow.before, change) == (5.0, 10.0, Change.SLOWED)
    slower, _ = hear(flow, Slow(by=5), NOW + MINUTE / 2)
    assert (slower.pace, slower.before) == (1.0, 5.0)


def test_refusals_of_mail_that_was_under_way_are_one() -> None:
    flow, _ = hear(FREE, Slow(), measured=10.0)
    assert hear(flow, Slow(), NOW + 14 * SECOND) == (flow, None)
    assert hear(flow, Slow(), NOW + 15 * SECOND)[1] is Change.SLOWED


def test_a_slowed_lane_takes_one_message_after_the_other() -> None:
    flow, _ = hear(FREE, Slow(), measured=1.0)
    flow, held = may(flow, NOW + 2 * SECOND)
    assert held is None
    assert may(flow, NOW + 3 * SECOND)[1] == Held(MAIN, NOW + 4 * SECOND, "the pace to relay main is limited")
    assert may(flow, NOW + 4 * SECOND)[1] is None


def test_the_pace_comes_back_by_tenths_and_then_the_lane_is_free() -> None:
    flow, _ = hear(FREE, Slow(recover=MINUTE), measured=10.0)
    assert may(flow, NOW + MINUTE)[0].pace == 6.0
    assert may(flow, NOW + 14 * MINUTE)[0].pace == 19.0
    assert may(flow, NOW + 15 * MINUTE)[0].is_free(NOW + 15 * MINUTE)


def test_no_pace_is_slower_than_one_message_a_minute() -> None:
    flow = FREE
    for minute in range(20):
        flow, _ = hear(flow, Slow(by=100), NOW + minute * MINUTE / 2)
    assert flow.pace is not None
    assert flow.pace >= 1 / 60


# -- not now


def test_a_pause_lets_nothing_pass_and_ends() -> None:
    flow, change = hear(FREE, PAUSE, why="421 4.7.0 later")
    assert change is Change.PAUSED
    assert may(flow, NOW + 299 * SECOND)[1] == Held(MAIN, NOW + 5 * MINUTE, "421 4.7.0 later", is_paused=True)
    assert may(flow, NOW + 5 * MINUTE)[1] is None


def test_a_wait_that_the_server_asks_for_is_kept_within_bounds() -> None:
    def until(hint: timedelta, jitter: float = 0.0) -> timedelta | None:
        at = hear(FREE, PAUSE, hint=hint, jitter=jitter)[0].paused_until
        return at and at - NOW

    assert until(timedelta(seconds=300)) == 5 * MINUTE
    assert until(SECOND) == 5 * MINUTE
    assert until(20 * MINUTE) == 20 * MINUTE
    assert until(timedelta(days=1000)) == HOUR
    assert until(20 * MINUTE, jitter=0.5) == 21 * MINUTE


def test_refusals_in_the_midst_of_a_pause_do_not_lengthen_it_unless_they_ask_for_that() -> None:
    flow, _ = hear(FREE, PAUSE)
    assert hear(flow, PAUSE, NOW + SECOND) == (flow, None)
    assert hear(flow, Slow(), NOW + SECOND) == (flow, None)
    longer, _ = hear(flow, PAUSE, NOW + SECOND, hint=30 * MINUTE)
    assert longer.paused_until == NOW + SECOND + 30 * MINUTE


def test_behind_a_pause_one_message_is_the_trial_and_its_success_opens_the_lane_slowly() -> None:
    flow, _ = hear(FREE, PAUSE, measured=20.0)
    later = NOW + 5 * MINUTE
    flow, held = may(flow, later, token="trial")
    assert held is None
    assert may(flow, later, token="other")[1] == Held(MAIN, later + 30 * SECOND, "", is_paused=True)
    assert hear(flow, well=True, now=later, token="other") == (flow, None), "who is no trial opens nothing"
    flow, change = hear(flow, well=True, now=later, token="trial")
    assert (change, flow.pace, flow.before) == (Change.RESUMED, 2.0, 20.0)


def test_a_trial_that_is_refused_makes_the_next_pause_twice_as_long_up_to_a_bound() -> None:
    flow, now = hear(FREE, PAUSE)[0], NOW
    lengths = []
    for measure in (PAUSE, Slow(), PAUSE, PAUSE, PAUSE, PAUSE):
        now = flow.paused_until or now
        flow, _ = may(flow, now, token="trial")
        flow, change = hear(flow, measure, now, token="trial")
        assert change is Change.PAUSED
        lengths.append((flow.paused_until or now) - now)
    assert lengths == [10 * MINUTE, 20 * MINUTE, 40 * MINUTE, HOUR, HOUR, HOUR]


def test_a_trial_that_dies_or_brings_nothing_gives_its_turn_to_another() -> None:
    later = NOW + 5 * MINUTE
    flow, _ = may(hear(FREE, PAUSE)[0], later, token="trial")
    assert may(flow, later + LEASE, token="other")[1] is None
    assert may(left(flow, later, token="trial"), later, token="other")[1] is None


def test_several_trials_must_all_go_well() -> None:
    flow, later = hear(FREE, replace(PAUSE, trickle=2))[0], NOW + 5 * MINUTE
    for token in "ab":
        flow, held = may(flow, later, token=token)
        assert held is None
    assert may(flow, later, token="c")[1] is not None
    flow, change = hear(flow, well=True, now=later, token="a")
    assert change is None
    assert hear(flow, well=True, now=later, token="b")[1] is Change.RESUMED


def test_a_pause_that_says_so_ends_as_if_nothing_had_been() -> None:
    flow, _ = may(hear(FREE, replace(PAUSE, then=1.0))[0], NOW + 5 * MINUTE, token="trial")
    flow, _ = left(flow, NOW, token="x"), None
    flow, change = hear(flow, well=True, now=NOW + 5 * MINUTE, token="trial")
    assert (flow, change) == (FREE, Change.RESUMED)


# -- limits


def test_a_limit_bounds_messages_recipients_and_how_many_are_at_it() -> None:
    limit = Throttle(rate=Pace(10, SECOND), recipients=Pace(100, SECOND), at_once=2)
    flow, _ = may(FREE, throttle=limit, recipients=50)
    assert may(flow, NOW, limit, "b")[1] == Held(MAIN, NOW + SECOND / 2, "the pace to relay main is limited")
    flow, held = may(flow, NOW + SECOND / 2, limit, "b")
    assert held is None
    assert may(flow, NOW + SECOND, limit, "c")[1] is not None
    assert may(left(flow, NOW, token="a"), NOW + SECOND, limit, "c")[1] is None


def test_no_limit_waits_for_a_clock_that_was_set_back() -> None:
    limits = Throttle(rate=Pace(1, HOUR), recipients=Pace(1, MINUTE))
    flow, _ = may(FREE, throttle=limits)
    for span in (timedelta(minutes=5), timedelta(hours=20), timedelta(days=365)):
        then = NOW - span
        moved = set_back(flow, then, MINUTE)
        assert may(moved, then, limits)[1] == Held(MAIN, then + HOUR, "the pace to relay main is limited")
        assert may(moved, then + HOUR, limits)[1] is None


@pytest.mark.parametrize("span", [timedelta(minutes=5), timedelta(hours=20), timedelta(days=365)])
def test_a_pause_and_a_slow_lane_last_as_long_by_a_clock_that_was_set_back(span: timedelta) -> None:
    then = NOW - span
    paused = set_back(hear(FREE, PAUSE)[0], then, MINUTE)
    assert may(paused, then)[1] == Held(MAIN, then + 5 * MINUTE, "", is_paused=True)
    trial, held = may(paused, then + 5 * MINUTE)
    assert held is None
    assert len(set_back(trial, then, MINUTE).holds) == 1
    slowed = set_back(hear(FREE, Slow(by=4))[0], then, MINUTE)
    assert may(slowed, then)[1] == Held(MAIN, then + 4 * SECOND, "the pace to relay main is limited")
    assert may(slowed, then + HOUR)[0].pace is None


def test_what_another_clock_says_is_left_to_it() -> None:
    flow, _ = may(FREE, throttle=Throttle(rate=Pace(1, MINUTE)))
    assert set_back(flow, NOW - HOUR, HOUR) is flow


def test_no_message_shuts_a_lane_for_longer_than_a_day_by_its_recipients() -> None:
    flow, _ = may(FREE, throttle=Throttle(recipients=Pace(1, MINUTE)), recipients=50_000)
    assert flow.recipients_at == NOW + LONGEST_PAUSE


def test_the_limit_of_a_name_goes_before_the_one_of_all() -> None:
    any_, own = Throttle(at_once=1), Throttle(at_once=9)
    throttles = Throttles(relays={"main": own}, providers={"any": any_})
    assert throttles.of(MAIN) is own
    assert throttles.of(Lane(LaneKind.RELAY, "other")) is NO_THROTTLE
    assert throttles.of(GMAIL) is any_


def test_a_measure_is_about_whoever_replied_unless_it_says_otherwise() -> None:
    relayed, direct = (Road(relay=MAIN, providers={"gmail.com": GMAIL}, is_direct=one) for one in (False, True))
    assert relayed.meant(Slow(), "gmail.com") == MAIN
    assert direct.meant(PAUSE, "gmail.com") == GMAIL
    assert relayed.meant(Slow(of=LaneKind.PROVIDER), "gmail.com") == GMAIL
    assert relayed.meant(Slow(of=LaneKind.PROVIDER), "elsewhere.example") is None
    assert replace(relayed, through="spare").meant(Slow(), "gmail.com") == Lane(LaneKind.RELAY, "spare")


# -- whatever happens

spans = st.integers(0, 7200).map(lambda seconds: timedelta(seconds=seconds))
measures = st.one_of(
    st.builds(Slow, by=st.floats(1.1, 100), recover=st.sampled_from([SECOND, MINUTE, HOUR])),
    st.builds(
        Pause,
        length=st.sampled_from([5 * SECOND, 5 * MINUTE, HOUR, 5 * timedelta(days=1)]),
        at_most=st.sampled_from([MINUTE, HOUR, timedelta(days=30)]),
        trickle=st.integers(1, 3),
        then=st.floats(0.01, 1.0),
    ),
)
acts = st.one_of(
    st.tuples(st.just("ask"), st.sampled_from("abcdef")),
    st.tuples(st.just("leave"), st.sampled_from("abcdef")),
    st.tuples(
        st.just("hear"),
        st.builds(
            News,
            lane=st.just(MAIN),
            measure=st.none() | measures,
            well=st.booleans(),
            hint=st.none() | st.just(timedelta(days=900)) | spans,
            jitter=st.floats(0, 0.99),
        ),
        st.sampled_from("abcdef"),
    ),
    st.tuples(st.just("wait"), spans),
    st.tuples(st.just("wait"), st.just(-HOUR)),  # the clock is set back
)
limits = st.builds(
    Throttle,
    rate=st.none() | st.builds(Pace, st.integers(1, 1000), st.sampled_from([SECOND, MINUTE, HOUR])),
    at_once=st.none() | st.integers(1, 3),
)


def play(steps: Iterable[tuple], throttle: Throttle):
    """The states that come of acts, each with its time, what was done and whether it passed."""
    flow, now = FREE, NOW
    for act, *more in steps:
        before, held = (flow := set_back(flow, now, MINUTE)), None  # as whoever reads it does
        match act:
            case "ask":
                flow, held = may(flow, now, throttle, *more)
            case "leave":
                flow = left(flow, now, token=more[0])
            case "hear":
                flow, _ = heard(flow, more[0], now, token=more[1], measured=3.0)
            case "wait":
                now += more[0]
        yield before, flow, now, act == "ask" and held is None


@settings(deadline=None)
@given(st.lists(acts, max_size=60), limits)
def test_nothing_passes_in_a_pause_and_no_more_than_the_trial_behind_it(steps: list[tuple], throttle: Throttle) -> None:
    for before, flow, now, passed in play(steps, throttle):
        assert not (passed and before.is_paused(now))
        if flow.is_half_open(now) and flow.pause is not None:
            assert sum(hold.is_trial and hold.until > now for hold in flow.holds) <= flow.pause.trickle


@settings(deadline=None)
@given(st.lists(acts, max_size=60), limits)
def test_no_pause_is_longer_than_a_day_and_no_pace_below_one_a_minute(steps: list[tuple], throttle: Throttle) -> None:
    for before, flow, now, _ in play(steps, throttle):
        if flow.paused_until is not None and flow.paused_until != before.paused_until:
            assert flow.paused_until - now <= LONGEST_PAUSE * 1.1
        assert flow.pace is None or flow.pace >= 1 / 60


@settings(deadline=None)
@given(st.lists(acts, max_size=60), limits)
def test_whatever_was_said_there_is_a_way_out(steps: list[tuple], throttle: Throttle) -> None:
    *_, (_, flow, now, _) = play([("wait", SECOND), *steps], throttle)
    end = now + 3 * LONGEST_PAUSE
    while now < end:
        flow, held = may(flow, now, throttle, "z")
        if held is None:
            return
        assert held.until > now
        now = max(held.until, now + MINUTE)
    pytest.fail(f"nobody ever passes {flow}")


@settings(deadline=None)
@given(st.lists(acts, max_size=40))
def test_a_lane_that_is_answered_well_for_two_days_is_free_again(steps: list[tuple]) -> None:
    *_, (_, flow, now, _) = play([("wait", SECOND), *steps], NO_THROTTLE)
    end = now + timedelta(days=4)
    while now < end:
        flow, held = may(flow, now, NO_THROTTLE, "z")
        if held is None:
            flow, _ = heard(flow, news(well=True), now, token="z")
            flow = left(flow, now, token="z")
        now += 15 * MINUTE
    assert flow.pace is None or flow.recover == HOUR
    assert flow.paused_until is None


@settings(deadline=None)
@given(st.integers(1, 50), st.lists(st.integers(0, 400), min_size=1, max_size=100))
def test_no_more_passes_in_any_time_than_the_limit_says(number: int, gaps: list[int]) -> None:
    throttle, flow, now = Throttle(rate=Pace(number, SECOND)), FREE, NOW
    passed = []
    for gap in gaps:
        now += timedelta(milliseconds=gap)
        flow, held = may(flow, now, throttle)
        if held is None:
            passed.append(now)
    for first in passed:
        assert sum(first <= at < first + SECOND for at in passed) <= number + 1


def test_a_hold_is_remembered_until_its_lease_ends() -> None:
    flow, _ = may(FREE, throttle=Throttle(at_once=1))
    assert flow.holds == (Hold("a", NOW + LEASE),)
