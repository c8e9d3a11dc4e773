"""Who is not written to, and for how long: the ladder, verdict by verdict."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bouncekit.meaning.classification import Category
from bouncekit.policy.suppression import Evidence, Ladder, Standing, Suppression, climb, hold

from .building import ANN, NOW, suppression

DAY = timedelta(days=1)
ADDRESS = Ladder(name="address", provisional=7 * DAY, confirm_after=3 * DAY, confirmed=(30 * DAY, 180 * DAY, None))
MAILBOX = Ladder(name="mailbox", provisional=7 * DAY, confirm_after=3 * DAY, confirmed=(30 * DAY,))
AT_ONCE = Ladder(name="complaint", provisional=None)
IMPOSSIBLE = Ladder(name="impossible", provisional=None, confirmed=(30 * DAY, 180 * DAY, None))
HASTY = Ladder(name="hasty", provisional=1 * DAY, confirm_after=3 * DAY, confirmed=(30 * DAY, None))
UNKNOWN, FULL = Category.USER_UNKNOWN, Category.MAILBOX_FULL


def verdict(day: float, category: Category = UNKNOWN, **changes: object) -> Suppression:
    at = NOW + day * DAY
    start = {"category": category, "changed_at": at, "since": at, "expires_at": at, "ladder": None}
    return suppression(ANN, **{**start, **changes})


def climbed(*days: float, ladder: Ladder = ADDRESS, category: Category = UNKNOWN) -> Suppression:
    """What stands after verdicts on these days."""
    standing: Suppression | None = None
    for day in days:
        standing = climb(ladder, verdict(day, category), standing)
    assert standing is not None
    return standing


def lasts(standing: Suppression) -> timedelta | None:
    return None if standing.expires_at is None else standing.expires_at - standing.changed_at


def test_the_first_verdict_suppresses_provisionally() -> None:
    first = climbed(0)
    assert (first.standing, first.rung, lasts(first), first.since) == (Standing.PROVISIONAL, 0, 7 * DAY, NOW)
    assert first.ladder == "address"


@pytest.mark.parametrize("day", [0.01, 0.5, 1, 2.99])
def test_two_verdicts_of_one_afternoon_never_confirm_each_other(day: float) -> None:
    second = climbed(0, day)
    assert (second.standing, second.rung) == (Standing.PROVISIONAL, 0)
    assert second.since == NOW
    assert second.expires_at == NOW + 7 * DAY  # no verdict on the same evening prolongs the first one


def test_any_number_of_verdicts_within_the_time_confirms_nothing() -> None:
    assert climbed(*(day / 10 for day in range(30))).standing is Standing.PROVISIONAL


def test_the_latest_evidence_is_kept_all_the_same() -> None:
    later = verdict(1, evidence=Evidence(reply="550 again"))
    second = climb(ADDRESS, later, climbed(0))
    assert second.evidence.reply == "550 again"
    assert second.changed_at == NOW + DAY


def test_the_same_verdict_long_after_the_first_confirms() -> None:
    second = climbed(0, 7.5)
    assert (second.standing, second.rung, lasts(second)) == (Standing.CONFIRMED, 1, 30 * DAY)
    assert second.since == NOW


def test_each_confirmation_lasts_longer_and_the_last_one_for_good() -> None:
    days = [0.0, 8.0, 39.0, 220.0]
    stands = [climbed(*days[:count]) for count in range(1, 5)]
    assert [lasts(one) for one in stands] == [7 * DAY, 30 * DAY, 180 * DAY, None]
    assert [one.rung for one in stands] == [0, 1, 2, 3]
    assert stands[-1].binds(NOW + 100_000 * DAY)


def test_the_last_rung_repeats() -> None:
    days = [0.0, 8.0, 39.0, 70.0, 101.0]
    assert [lasts(climbed(*days[:count], ladder=MAILBOX)) for count in (2, 3, 4, 5)] == [30 * DAY] * 4


def test_a_ladder_without_a_provisional_rung_confirms_at_once() -> None:
    first = climbed(0, ladder=AT_ONCE, category=Category.COMPLAINT)
    assert (first.standing, first.rung, first.expires_at) == (Standing.CONFIRMED, 1, None)


def test_a_probe_that_fails_before_it_can_confirm_begins_its_rung_again() -> None:
    second = climbed(0, 1.5, ladder=HASTY)
    assert (second.standing, second.rung, second.since) == (Standing.PROVISIONAL, 0, NOW)
    assert second.expires_at == NOW + 2.5 * DAY
    third = climbed(0, 1.5, 3.1, ladder=HASTY)
    assert (third.standing, third.rung, lasts(third)) == (Standing.CONFIRMED, 1, 30 * DAY)


def test_a_ladder_without_a_provisional_rung_is_not_climbed_twice_in_an_afternoon() -> None:
    second = climbed(0, 0.2, ladder=IMPOSSIBLE)
    assert (second.rung, second.expires_at) == (1, NOW + 30 * DAY)
    assert climbed(0, 0.2, 31, ladder=IMPOSSIBLE).rung == 2


def test_what_is_confirmed_is_climbed_only_behind_its_term() -> None:
    while_it_binds = climbed(0, 8, 8.1, 20, 37)
    assert (while_it_binds.rung, while_it_binds.expires_at) == (1, NOW + 38 * DAY)
    assert climbed(0, 8, 8.1, 20, 38).rung == 2


def test_mail_that_a_suppression_does_not_bind_never_prolongs_it() -> None:
    weekly = climbed(0, 8, 15, 22, 29, 36, ladder=MAILBOX, category=FULL)
    assert weekly.expires_at == NOW + 38 * DAY


def test_a_ladder_that_has_lost_its_provisional_rung_confirms_what_was_provisional() -> None:
    assert climb(IMPOSSIBLE, verdict(0.1), climbed(0)).rung == 1


def test_a_complaint_does_not_wait_behind_a_confirmed_suppression() -> None:
    complaint = climb(AT_ONCE, verdict(9, Category.COMPLAINT), climbed(0, 8))
    assert (complaint.category, complaint.expires_at) == (Category.COMPLAINT, None)
    assert climb(AT_ONCE, verdict(1000, Category.COMPLAINT), climbed(0, 8, 39, 220)).category is Category.COMPLAINT
    assert climb(ADDRESS, verdict(10), complaint) is complaint


def test_a_suppression_by_hand_stays_as_it_is() -> None:
    manual = suppression(ANN, standing=Standing.MANUAL, expires_at=None)
    assert climb(ADDRESS, verdict(0), manual) is manual


def test_a_held_suppression_does_not_bind_and_is_no_verdict_that_another_could_confirm() -> None:
    held = suppression(ANN, standing=Standing.HELD, category=UNKNOWN, since=NOW, changed_at=NOW)
    assert not held.binds(NOW)
    for day in (0.1, 1, 4, 100):
        first = climb(ADDRESS, verdict(day), held)
        assert (first.standing, first.rung, first.since) == (Standing.PROVISIONAL, 0, NOW + day * DAY)
    for_good = suppression(ANN, standing=Standing.HELD, category=FULL, expires_at=None)
    assert climb(ADDRESS, verdict(1), for_good).category is UNKNOWN


def test_a_doubtful_verdict_is_held_with_the_term_that_it_would_have() -> None:
    held = hold(ADDRESS, verdict(0), None)
    assert held is not None
    assert (held.standing, held.expires_at) == (Standing.HELD, NOW + 7 * DAY)
    again = hold(ADDRESS, verdict(5), held)
    assert again is not None
    assert (again.standing, again.rung, again.since) == (Standing.HELD, 0, NOW)
    assert again.changed_at == NOW + 5 * DAY
    assert getattr(hold(ADDRESS, verdict(6, FULL), again), "since", None) == NOW + 6 * DAY


@pytest.mark.parametrize("previous", [climbed(0), climbed(0, 8), climbed(0, 8, 39, 220)])
def test_a_doubtful_verdict_neither_confirms_nor_prolongs_what_stands(previous: Suppression) -> None:
    assert hold(ADDRESS, verdict(1000), previous) is None
    assert hold(ADDRESS, verdict(1000, FULL), previous) is None


def test_another_reason_begins_a_ladder_of_its_own() -> None:
    other = climb(MAILBOX, verdict(8, FULL), climbed(0))
    assert (other.category, other.standing, other.rung, other.since) == (FULL, Standing.PROVISIONAL, 0, NOW + 8 * DAY)


def test_another_reason_never_shortens_a_confirmed_suppression() -> None:
    confirmed = climbed(0, 8)
    assert climb(MAILBOX, verdict(9, FULL), confirmed) is confirmed
    for_good = climbed(0, 8, 39, 220)
    assert climb(MAILBOX, verdict(1000, FULL), for_good) is for_good


def test_a_confirmed_suppression_that_is_over_gives_way_to_another_reason() -> None:
    assert climb(MAILBOX, verdict(50, FULL), climbed(0, 8)).category is FULL


def test_a_suppression_binds_until_it_expires() -> None:
    first = climbed(0)
    assert first.binds(NOW + 7 * DAY - timedelta(microseconds=1))
    assert not first.binds(NOW + 7 * DAY)


LADDERS = (ADDRESS, MAILBOX, AT_ONCE, IMPOSSIBLE, HASTY)


@given(st.sampled_from(LADDERS), st.lists(st.floats(0, 400), min_size=1, max_size=30))
def test_behind_every_verdict_about_a_recipient_the_suppression_binds(ladder: Ladder, gaps: list[float]) -> None:
    standing, day = climbed(0, ladder=ladder), 0.0
    for gap in gaps:
        day += gap
        standing = climb(ladder, verdict(day), standing)
        assert standing.binds(standing.changed_at)


@given(st.lists(st.floats(0, 400), min_size=1, max_size=30))
def test_a_ladder_is_only_ever_climbed_one_rung_at_a_time(gaps: list[float]) -> None:
    standing, day = climbed(0), 0.0
    for gap in gaps:
        day += gap
        after = climb(ADDRESS, verdict(day), standing)
        assert after.rung in (standing.rung, standing.rung + 1)
        assert after.since == NOW
        standing = after
