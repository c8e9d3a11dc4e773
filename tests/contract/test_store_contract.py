"""What every store does, in memory or on disk."""

import threading
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from bouncekit.delivery import tallied
from bouncekit.delivery.events import Event, EventType, Occasion, event_of
from bouncekit.delivery.settlement import Settlement
from bouncekit.delivery.steps import LookedUp, LookUp, Record
from bouncekit.delivery.tallied import Number, Sum
from bouncekit.meaning.classification import Category
from bouncekit.policy.guard import Answers, Count, Held, Mass, Pattern
from bouncekit.policy.rule import Seen, Window
from bouncekit.policy.suppression import Evidence, Standing, Suppression
from bouncekit.stores import Store
from bouncekit.stores.memory import MemoryStore
from bouncekit.words.envelope import Labels
from bouncekit.words.errors import StoreError
from bouncekit.words.reply import Cause, NoReply, Reply
from bouncekit.words.status import Action
from tests.building import ANN, BOB, CY, DOT, NOW, expired, suppression

from .queueing import enqueue, mail_to, work
from .stores import new_id, put, put_many, send, take, together, told_of

DAY = timedelta(days=1)
FULL, NOBODY, BUSY = "552 5.2.2 Mailbox is full", "550 5.1.1 No such user", "451 4.3.0 Try again later"
FULL_NOW = "452 4.2.2 Over quota"
WEEK_OF_FULL = Window(Category.MAILBOX_FULL, timedelta(days=7))


def look(store: Any, *keys: str, now: datetime = NOW, claim: bool = False, **labels: Any) -> LookedUp:
    """What a store answers; with `claim`, a delivery that nobody has asked for before."""
    question = LookUp(labels=Labels(**labels), keys=keys, claim=new_id() if claim else "")
    found: LookedUp = store.look_up(question, now)
    return found


def days_full(store: Any, key: str, *, now: datetime = NOW, window: Window = WEEK_OF_FULL, **labels: Any) -> int:
    question = LookUp(labels=Labels(**labels), windows=((key, window),))
    number: int = store.look_up(question, now).counters[key, window]
    return number


def told(store: Any) -> list[dict[str, Any]]:
    return [event for _, event in store.events()]


def everything(store: Any, *tenants: str) -> tuple[object, ...]:
    """All that can be asked of a store without changing it."""
    listed = [one for tenant in tenants or ("",) for one in store.suppressions(tenant=tenant)]
    return listed, told(store), [days_full(store, key, now=NOW + DAY) for key in (ANN, BOB, CY)]


# -- what a send leaves and the next one finds


def test_an_empty_store_knows_nobody(store: Store) -> None:
    assert look(store, ANN, BOB, claim=True) == LookedUp(now=NOW)
    assert list(store.suppressions()) == []
    assert store.suppression(ANN) is None
    assert store.history(ANN) == store.events() == []
    assert days_full(store, ANN) == 0


def test_a_verdict_keeps_the_next_message_back(store: Store) -> None:
    send(store, ANN, BOB, answers={ANN: FULL})
    report, _ = send(store, ANN, BOB, now=NOW + DAY)
    assert [one.action for one in report.recipients] == [Action.SUPPRESSED, Action.DELIVERED]


def test_a_verdict_is_kept_with_all_its_evidence(store: Store) -> None:
    _, (record,) = send(store, ANN, answers={ANN: FULL})
    kept = record.settlements[0].suppression
    assert kept is not None
    assert kept.evidence.reply == FULL
    assert store.suppression(ANN) == kept
    assert look(store, ANN).suppressions == {ANN: kept}


@pytest.mark.parametrize(
    "odd",
    [
        {"address": None, "expires_at": None, "standing": Standing.CONFIRMED, "rung": 3},
        {"evidence": Evidence(reply="\x00\x1b[31m\u202e <script>", accepted=0, stage="RCPT", message_id="<\udcff@x>")},
        {"by": "ÄÖ " * 100, "ladder": None, "category": Category.COMPLAINT, "standing": Standing.HELD},
        {"since": datetime(1969, 7, 20, 20, 17, tzinfo=UTC), "expires_at": datetime(9999, 12, 31, tzinfo=UTC)},
    ],
)
def test_whatever_a_suppression_holds_comes_back(store: Store, odd: dict[str, Any]) -> None:
    put(store, given := replace(suppression(ANN), **odd))
    assert store.suppression(ANN) == given
    assert list(store.suppressions()) == [given]


def test_times_come_back_in_whole_milliseconds_of_utc(store: Store) -> None:
    exact = datetime(2026, 1, 1, 12, 0, 0, 123_999, tzinfo=UTC)
    put(store, suppression(ANN, since=exact.astimezone(), changed_at=exact, expires_at=exact))
    kept = store.suppression(ANN)
    assert kept is not None
    assert {kept.since, kept.changed_at, kept.expires_at} == {exact.replace(microsecond=123_000)}
    assert kept.since.tzinfo is UTC


def test_the_same_record_again_changes_nothing(store: Store) -> None:
    _, records = send(store, ANN, BOB, CY, answers={ANN: FULL, BOB: FULL_NOW})
    take(store, ANN)
    before = everything(store)
    for record in records:
        store.record(record)
    assert everything(store) == before


def test_a_success_lifts_what_a_verdict_put_there(store: Store) -> None:
    put(store, expired(ANN))
    send(store, ANN)
    assert store.suppression(ANN) is None
    assert [event["type"] for event in store.history(ANN)] == ["suppression_lifted", "delivered", "suppression_added"]


def test_a_skipped_send_leaves_the_suppression_as_it_was(store: Store) -> None:
    put(store, given := suppression(ANN))
    send(store, ANN)
    assert store.suppression(ANN) == given


def test_the_ladder_is_climbed_from_verdict_to_verdict(store: Store) -> None:
    send(store, ANN, answers={ANN: NOBODY})
    report, _ = send(store, ANN, answers={ANN: NOBODY}, now=NOW + 8 * DAY)
    assert report.recipients[0].action is Action.FAILED  # it was the probe
    second = store.suppression(ANN)
    assert second is not None
    assert (second.standing, second.rung, second.since) == (Standing.CONFIRMED, 1, NOW)
    assert second.expires_at == NOW + 38 * DAY


# -- whom a suppression binds


def test_tenants_do_not_see_each_other(store: Store) -> None:
    send(store, ANN, answers={ANN: FULL}, tenant="a")
    assert look(store, ANN, tenant="b").suppressions == look(store, ANN).suppressions == {}
    assert store.suppression(ANN, tenant="a") is not None
    assert store.history(ANN) == []
    assert len(store.history(ANN, tenant="a")) == 2
    assert list(store.suppressions()) == []


def test_a_stream_has_suppressions_of_its_own(store: Store) -> None:
    send(store, ANN, answers={ANN: FULL}, stream="news")
    assert look(store, ANN, stream="shop").suppressions == look(store, ANN).suppressions == {}
    assert look(store, ANN, stream="news").suppressions[ANN].stream == "news"


def test_a_suppression_without_a_stream_binds_every_stream(store: Store) -> None:
    put(store, given := suppression(ANN))
    assert look(store, ANN, stream="news").suppressions == {ANN: given}


_MANUAL, _HELD = {"standing": Standing.MANUAL, "expires_at": None}, {"standing": Standing.HELD}
_OVER = {"expires_at": NOW - DAY}


@pytest.mark.parametrize(
    ("of_all", "own", "counts"),
    [
        ({}, {}, "news"),
        (_OVER, _OVER, "news"),
        ({}, _OVER, ""),
        (_OVER, {}, "news"),
        (_OVER, _HELD, ""),
        (_MANUAL, {}, ""),
        ({}, _MANUAL, "news"),
        (_MANUAL | _OVER, _HELD, "news"),
    ],
)
def test_of_two_suppressions_the_one_that_binds_most_counts(
    store: Store, of_all: dict[str, Any], own: dict[str, Any], counts: str
) -> None:
    put(store, suppression(ANN, **of_all), suppression(ANN, stream="news", **own))
    assert look(store, ANN, stream="news").suppressions[ANN].stream == counts


def test_what_was_made_by_hand_and_has_ended_is_over(store: Store) -> None:
    put(store, suppression(ANN, standing=Standing.MANUAL, expires_at=NOW))
    assert look(store, ANN, now=NOW - timedelta(microseconds=1)).suppressions
    assert look(store, ANN, claim=True) == LookedUp(now=NOW)
    for minutes in range(3):
        report, _ = send(store, ANN, now=NOW + timedelta(minutes=minutes))
        assert report.delivered
    assert len(list(store.suppressions())) == 1  # the list still shows it


def test_a_verdict_does_not_replace_and_a_success_does_not_lift_what_a_hand_put_there_meanwhile(store: Store) -> None:
    by_hand = suppression(ANN, standing=Standing.MANUAL, expires_at=None, by="owner")
    _, (failed,) = send(MemoryStore(), ANN, answers={ANN: NOBODY})
    other = MemoryStore()
    put(other, expired(ANN))
    _, (succeeded,) = send(other, ANN)
    put(store, by_hand)
    store.record(failed)
    store.record(succeeded)
    assert store.suppression(ANN) == by_hand


def test_a_verdict_replaces_what_a_hand_put_there_once_that_has_ended(store: Store) -> None:
    put(store, suppression(ANN, standing=Standing.MANUAL, expires_at=NOW - DAY))
    send(store, ANN, answers={ANN: NOBODY})
    kept = store.suppression(ANN)
    assert kept is not None
    assert kept.standing is Standing.PROVISIONAL


# -- the guard's counts, and what it holds

NOBODYS = Pattern("example.com", "0123456789abcdef")
TEN_MINUTES = timedelta(minutes=10)


def mass(store: Any, pattern: Pattern = NOBODYS, now: datetime = NOW, within: timedelta = TEN_MINUTES) -> Mass:
    question = LookUp(labels=Labels(), fingerprints=(pattern,), within=within, begun=True)
    found: Mass = store.look_up(question, now).masses[pattern]
    return found


def count(store: Any, *answers: Answers, at: datetime = NOW, held: tuple[Held, ...] = (), **changes: Any) -> Record:
    """Have a record remembered that counts these; it is about nobody."""
    _, (record,) = send(MemoryStore(), CY, now=at)
    counting = replace(record, answers=answers, held=held, **changes)
    store.record(counting)
    return counting


def refusals(number: int, of: int, provider: str = NOBODYS.provider) -> Answers:
    return Answers(provider, of, ((NOBODYS.fingerprint, number),) if number else ())


def test_a_store_that_has_counted_nothing_knows_no_mass(store: Store) -> None:
    assert mass(store) == Mass(recent=(Count(), Count()))


def test_answers_and_refusals_are_counted_in_the_guards_window_and_in_six(store: Store) -> None:
    count(store, refusals(3, 5))
    count(store, refusals(0, 7), at=NOW - timedelta(minutes=9))
    count(store, refusals(2, 2), at=NOW - timedelta(minutes=59))
    count(store, refusals(9, 9), at=NOW - timedelta(minutes=62))
    count(store, Answers("example.net", 100, (("fedcba9876543210", 50),)))
    assert mass(store).recent == (Count(3, 12), Count(5, 14))
    assert mass(store, within=timedelta(minutes=1)).recent == (Count(3, 5), Count(3, 5))
    assert mass(store, now=NOW + DAY).recent == (Count(), Count())


def test_what_is_usual_is_known_by_days_before_yesterday_and_of_all_refusals(store: Store) -> None:
    count(store, refusals(1, 10), at=NOW - 2 * DAY)
    count(store, Answers(NOBODYS.provider, 10, (("other", 2), (NOBODYS.fingerprint, 1))), at=NOW - 2 * DAY)
    count(store, refusals(0, 30), at=NOW - 31 * DAY)
    count(store, refusals(9, 9), at=NOW - 32 * DAY)
    count(store, refusals(9, 9), at=NOW - DAY)
    count(store, refusals(9, 9))
    assert sorted(mass(store).days) == [Count(0, 30), Count(4, 20)]


def test_tenants_and_streams_are_counted_together_since_a_bad_hour_is_the_providers(store: Store) -> None:
    for tenant, stream in (("one", ""), ("two", "news")):
        _, (record,) = send(MemoryStore(), CY, tenant=tenant, stream=stream)
        store.record(replace(record, answers=(refusals(2, 3),)))
    assert mass(store).recent[0] == Count(4, 6)


def test_a_record_that_is_repeated_counts_once(store: Store) -> None:
    record = count(store, refusals(3, 5))
    store.record(record)
    assert mass(store).recent[0] == Count(3, 5)


def test_a_delivery_leaves_what_the_guard_will_ask_for(store: Store) -> None:
    _, (record,) = send(store, ANN, BOB, answers={ANN: NOBODY})
    fingerprint = record.settlements[0].fingerprint
    assert fingerprint is not None
    assert mass(store, Pattern("example.com", fingerprint)).recent[0] == Count(1, 2)
    kept = store.suppression(ANN)
    assert kept is not None
    assert kept.evidence.fingerprint == fingerprint


def test_a_mass_goes_on_for_six_windows_behind_its_last_sign(store: Store) -> None:
    count(store, held=(Held(NOBODYS, NOW, "e"),))
    assert mass(store, now=NOW + timedelta(minutes=59)).goes_on
    assert not mass(store, now=NOW + timedelta(minutes=62)).goes_on
    assert not mass(store, Pattern("example.com", "other")).goes_on


def test_what_a_clock_counted_that_was_set_back_since_is_of_no_time_that_was(store: Store) -> None:
    number = Number(tallied.Count.VERDICTS, "domain:example.com")
    count(store, refusals(1, 1), numbers=((number, 1),))
    count(store, refusals(2, 2), numbers=((number, 2),), at=NOW + timedelta(minutes=59))  # another machine's
    count(store, refusals(40, 40), numbers=((number, 40),), at=NOW + 300 * DAY, held=(Held(NOBODYS, NOW, "e"),))
    found = mass(store)
    assert (found.recent, found.goes_on) == ((Count(3, 3), Count(3, 3)), False)
    asked = Sum(number, timedelta(hours=1))
    assert store.look_up(LookUp(labels=Labels(), sums=(asked,)), NOW).sums == {asked: 3}


def alike(address: str, fingerprint: str | None = NOBODYS.fingerprint, **changes: Any) -> Suppression:
    start: dict[str, Any] = {"since": NOW, "changed_at": NOW, "evidence": Evidence(fingerprint=fingerprint)}
    return suppression(address, **{**start, **changes})


HOLD = Held(NOBODYS, NOW - timedelta(hours=1), "guard-event")


@pytest.mark.parametrize(
    ("changes", "standing"),
    [
        ({}, Standing.HELD),
        ({"since": NOW - timedelta(minutes=60)}, Standing.HELD),
        ({"standing": Standing.CONFIRMED, "rung": 1, "expires_at": None}, Standing.HELD),  # at the first verdict
        ({"tenant": "other", "stream": "news"}, Standing.HELD),
        ({"since": NOW - timedelta(minutes=61)}, Standing.PROVISIONAL),
        ({"since": NOW - 9 * DAY, "standing": Standing.CONFIRMED}, Standing.CONFIRMED),
        ({"fingerprint": "other"}, Standing.PROVISIONAL),
        ({"fingerprint": None}, Standing.PROVISIONAL),
        ({"standing": Standing.MANUAL}, Standing.MANUAL),
    ],
)
def test_a_mass_holds_what_its_refusals_began_and_nothing_else(
    store: Store, changes: dict[str, Any], standing: Standing
) -> None:
    put(store, given := alike(ANN, **changes))
    count(store, held=(HOLD,))
    found = store.suppression(ANN, tenant=given.tenant, stream=given.stream)
    assert found == replace(given, standing=standing)


def test_what_is_held_is_held_once_and_for_all_of_the_mass(store: Store) -> None:
    put(store, *(alike(f"u{number}@example.com") for number in range(5)), alike(ANN, "other"))
    count(store, held=(HOLD,))
    put(store, alike(BOB))
    count(store, held=(HOLD,), at=NOW + timedelta(minutes=1))
    standings = [one.standing for one in store.suppressions()]
    assert standings.count(Standing.HELD) == 6
    assert [one.key for one in store.suppressions(at=NOW)] == [ANN]


def test_what_was_lifted_or_replaced_is_not_held(store: Store) -> None:
    put(store, alike(ANN), alike(BOB))
    take(store, ANN)
    put(store, suppression(BOB))
    count(store, held=(HOLD,))
    assert [one.standing for one in store.suppressions()] == [Standing.PROVISIONAL]


# -- the one probe


def test_an_expired_suppression_grants_one_probe(store: Store) -> None:
    put(store, expired(ANN), expired(BOB))
    assert look(store, ANN, claim=True).probes == {ANN}
    assert look(store, ANN, BOB, claim=True).probes == {BOB}
    assert look(store, ANN, BOB, claim=True).probes == frozenset()
    assert look(store, ANN, claim=True).suppressions == {ANN: expired(ANN)}


def test_asking_without_a_claim_takes_no_probe(store: Store) -> None:
    put(store, expired(ANN))
    assert look(store, ANN).probes == frozenset()
    assert look(store, ANN, claim=True).probes == {ANN}


@pytest.mark.parametrize("changes", [{"expires_at": None}, {"standing": Standing.HELD}, {"expires_at": NOW + DAY}])
def test_what_binds_or_is_held_grants_no_probe(store: Store, changes: dict[str, Any]) -> None:
    put(store, expired(ANN) if not changes else suppression(ANN, **changes))
    assert look(store, ANN, claim=True).probes == frozenset()


@pytest.mark.parametrize("direction", [1, -1])
def test_a_probe_whose_outcome_was_never_recorded_is_granted_again_after_a_day(store: Store, direction: int) -> None:
    """Also when the clock was a day ahead at the first claim, and was set back."""
    put(store, suppression(ANN, since=NOW - 90 * DAY, expires_at=NOW - 60 * DAY))
    assert look(store, ANN, claim=True).probes
    almost = NOW + direction * (DAY - timedelta(milliseconds=1))
    assert not look(store, ANN, claim=True, now=almost).probes
    assert look(store, ANN, claim=True, now=NOW + direction * DAY).probes


@pytest.mark.parametrize("asked", [ANN, "DATA", DOT])
def test_a_probe_that_the_server_put_off_lets_the_next_message_probe_when_its_retry_is_due(
    store: Store, asked: str
) -> None:
    put(store, expired(ANN))
    (put_off,) = send(store, ANN, answers={asked: BUSY})[0].recipients
    due = put_off.retry_at
    assert due is not None
    for early in (NOW, due - timedelta(milliseconds=1)):
        assert send(store, ANN, now=early)[0].suppressed
    assert send(store, ANN, now=due)[0].delivered
    assert store.suppression(ANN) is None


@pytest.mark.parametrize("asked", ["MAIL", "RCPT"])
def test_a_probe_for_which_nobody_was_asked_is_had_by_the_next_message(store: Store, asked: str) -> None:
    """The route's trouble says nothing of the mailbox: a line that was lost, a relay that takes no mail now."""
    put(store, expired(ANN))
    said = {"MAIL": BUSY} if asked == "MAIL" else {ANN: NoReply(Cause.LOST)}
    assert send(store, ANN, answers=said)[0].delayed
    assert send(store, ANN)[0].delivered


def test_a_probe_that_waits_in_the_queue_is_tried_again_by_its_own_message_and_by_no_other(store: Store) -> None:
    """Also before its time, where somebody wants it so; another has its turn where it is not heard of for a day."""
    put(store, expired(ANN))
    first = mail_to(ANN)
    assert work(store, first, {ANN: BUSY}).delayed
    assert send(store, ANN, now=NOW + DAY - timedelta(milliseconds=1))[0].suppressed
    assert work(store, first, {ANN: BUSY}, now=NOW + timedelta(minutes=1)).delayed
    assert send(store, ANN, now=NOW + DAY)[0].suppressed
    assert send(store, ANN, now=NOW + DAY + timedelta(minutes=1))[0].delivered


@pytest.mark.parametrize(("number", "skipped"), [(1, 0), (0, 1)])
def test_a_probe_that_is_dropped_from_the_queue_is_had_by_the_next_message(
    store: Store, number: int, skipped: int
) -> None:
    """Of another message than this one nothing is said."""
    put(store, expired(ANN))
    first, other = mail_to(ANN), enqueue(store, ANN)
    assert work(store, first, {ANN: BUSY}).delayed
    failed = Settlement(recipient=ANN, action=Action.FAILED, key=ANN)
    dropped = event_of(EventType.FAILED, Occasion(attempt_id=new_id(), at=NOW), settlement=failed)
    assert store.drop(first.id if number else other.id, None, at=NOW, events=(dropped,)) == 1
    report, _ = send(store, ANN)
    assert (len(report.delivered), len(report.suppressed)) == (number, skipped)


def test_a_complaint_whose_time_is_over_keeps_nobody_back_once_mail_has_arrived(store: Store) -> None:
    put(store, expired(ANN, category=Category.COMPLAINT))
    assert [send(store, ANN)[0].actions["delivered"] for _ in range(2)] == [1, 1]


def test_a_message_that_was_skipped_does_not_free_the_probe_of_another(store: Store) -> None:
    put(store, expired(ANN))
    assert look(store, ANN, claim=True).probes
    report, _ = send(store, ANN)
    assert report.suppressed
    assert not look(store, ANN, claim=True).probes


def test_a_probe_of_one_stream_that_was_refused_for_another_reason_frees_that_of_all(store: Store) -> None:
    put(store, expired(ANN))
    assert send(store, ANN, answers={"DOT": "554 5.7.1 Message rejected as spam"}, stream="news")[0].failed
    assert look(store, ANN, claim=True, stream="shop").probes == {ANN}


@pytest.mark.parametrize(
    "labels", [{"stream": "shop"}, {"tenant": "a", "stream": "news"}, {"stream": "news", "message_class": "urgent"}]
)
def test_the_outcome_of_another_message_frees_no_probe(store: Store, labels: dict[str, str]) -> None:
    put(store, expired(ANN, stream="news"))
    assert look(store, ANN, claim=True, stream="news").probes
    assert not send(store, ANN, answers={"MAIL": BUSY}, **labels)[0].suppressed
    assert not look(store, ANN, claim=True, stream="news").probes


def test_what_is_put_on_the_list_anew_grants_a_probe_of_its_own(store: Store) -> None:
    put(store, expired(ANN))
    assert look(store, ANN, claim=True).probes
    put(store, expired(ANN))
    assert look(store, ANN, claim=True).probes == {ANN}


def test_many_threads_that_ask_at_once_get_one_probe(store: Store) -> None:
    put(store, expired(ANN))
    granted: list[frozenset[str]] = []
    together = threading.Barrier(8)

    def ask() -> None:
        together.wait()
        granted.append(look(store, ANN, claim=True).probes)

    _in_threads(ask, 8)
    assert sorted(map(len, granted)) == [0] * 7 + [1]


def test_a_long_list_of_recipients_is_looked_up_as_a_short_one(store: Store) -> None:
    listed = [suppression(f"r{number:04}@example.com") for number in range(0, 1000, 9)]
    put_many(store, listed)
    found = look(store, *(f"r{number:04}@example.com" for number in range(1000)))
    assert found.suppressions == {one.key: one for one in listed}


# -- strikes


def test_a_strike_counts_once_a_day_and_not_on_its_own_day(store: Store) -> None:
    for hours in (0, 1, 24, 49):
        send(store, ANN, answers={ANN: FULL_NOW}, now=NOW + timedelta(hours=hours))
    assert [days_full(store, ANN, now=NOW + days * DAY) for days in range(5)] == [0, 1, 2, 3, 3]


def test_a_strike_counts_while_the_days_last_one_lies_in_the_window(store: Store) -> None:
    late = NOW + timedelta(hours=2)
    for at in (NOW, late):
        send(store, ANN, answers={ANN: FULL_NOW}, now=at)
    assert days_full(store, ANN, now=late + 7 * DAY) == 1
    assert days_full(store, ANN, now=late + 7 * DAY + timedelta(milliseconds=1)) == 0
    send(store, ANN, answers={ANN: FULL_NOW}, now=NOW + timedelta(hours=1))  # recorded late: no earlier than the last
    assert days_full(store, ANN, now=late + 7 * DAY) == 1
    longer = Window(Category.MAILBOX_FULL, 30 * DAY)
    assert days_full(store, ANN, now=late + 8 * DAY, window=longer) == 1


def test_what_fades_weighs_the_same_in_every_store(store: Store) -> None:
    fading = Seen(3, 30 * DAY, half_after=10 * DAY)
    for days in (0, 12, 23, 24):
        send(store, ANN, answers={ANN: FULL_NOW}, now=NOW + days * DAY)
    weights = []
    for days in (24, 25, 33, 34, 43, 55):
        now = NOW + days * DAY
        windows = fading.windows(Category.MAILBOX_FULL)
        weights.append(fading.weigh(days_full(store, ANN, now=now, window=window) for window in windows))
    assert weights == [2.75, 3.75, 3.25, 2.75, 2, 1]


def test_strikes_of_other_categories_mailboxes_tenants_and_streams_do_not_count(store: Store) -> None:
    send(store, ANN, answers={ANN: FULL_NOW}, tenant="a", stream="news")
    tomorrow = NOW + DAY
    assert days_full(store, ANN, now=tomorrow, tenant="a", stream="news") == 1
    for key, labels in ((BOB, ("a", "news")), (ANN, ("a", "")), (ANN, ("", "news")), (ANN, ("", ""))):
        assert days_full(store, key, now=tomorrow, tenant=labels[0], stream=labels[1]) == 0
    other = Window(Category.USER_UNKNOWN, 7 * DAY)
    assert days_full(store, ANN, now=tomorrow, tenant="a", stream="news", window=other) == 0


def test_a_success_ends_the_strikes_of_its_mailbox(store: Store) -> None:
    send(store, ANN, BOB, answers={ANN: FULL_NOW, BOB: FULL_NOW})
    send(store, ANN, now=NOW + timedelta(hours=1))
    assert [days_full(store, key, now=NOW + DAY) for key in (ANN, BOB)] == [0, 1]


def test_test_traffic_leaves_no_strike(store: Store) -> None:
    send(store, ANN, answers={ANN: FULL_NOW}, test=True)
    assert days_full(store, ANN, now=NOW + DAY) == 0
    assert len(told(store)) == 1


# -- the list in the owner's hands


def test_adding_replaces_and_is_told_and_lifting_takes_away_and_is_told(store: Store) -> None:
    put(store, suppression(ANN), second := suppression(ANN, category=Category.COMPLAINT))
    assert store.suppression(ANN) == second
    assert take(store, ANN) == second
    assert store.suppression(ANN) is None
    assert [event["type"] for event in told(store)] == ["suppression_added"] * 2 + ["suppression_lifted"]


def test_adding_again_with_the_same_event_does_nothing(store: Store) -> None:
    event = told_of(suppression(ANN))
    store.add(suppression(ANN), by="owner", event=event)
    take(store, ANN)
    store.add(suppression(ANN), by="owner", event=event)
    assert store.suppression(ANN) is None


def test_lifting_what_is_not_there_is_not_told(store: Store) -> None:
    put(store, suppression(ANN, stream="news"))
    assert take(store, ANN) is None
    assert take(store, BOB, stream="news") is None
    assert len(told(store)) == 1


def test_the_list_comes_in_the_order_of_its_keys_however_long_it_is(store: Store) -> None:
    keys = [f"{'aßé中🎉'[number % 5]}{number % 7}{number}@example.com" for number in range(1203)]
    put_many(store, map(suppression, keys))
    assert [one.key for one in store.suppressions()] == sorted(keys)


def test_the_list_can_be_narrowed(store: Store) -> None:
    gmail = replace(suppression("J.O@gmail.com"), key="jo@gmail.com")
    over, held = expired(BOB), suppression(CY, standing=Standing.HELD)
    news = suppression(ANN, stream="news")
    put(store, suppression(ANN), news, over, held, gmail)

    def keys(**narrowed: Any) -> list[str]:
        return [one.key for one in store.suppressions(**narrowed)]

    assert keys() == [ANN, ANN, BOB, CY, "jo@gmail.com"]
    assert keys(stream="news") == [ANN]
    assert keys(stream="") == [ANN, BOB, CY, "jo@gmail.com"]
    assert keys(at=NOW) == [ANN, ANN, "jo@gmail.com"]
    assert keys(at=NOW - DAY, stream="") == [ANN, "jo@gmail.com"]
    assert keys(at=NOW - DAY - timedelta(microseconds=1), stream="") == [ANN, BOB, "jo@gmail.com"]
    assert keys(containing="j.o@") == keys(containing="JO@G") == ["jo@gmail.com"]
    assert keys(containing="%") == keys(containing="_") == keys(containing="\udcff") == []
    assert keys(after=ANN) == [BOB, CY, "jo@gmail.com"]
    assert keys(after=BOB, limit=1) == [CY]
    assert keys(limit=0) == []
    assert keys(tenant="other") == []


def test_the_list_may_be_changed_while_somebody_reads_it(store: Store) -> None:
    put_many(store, (suppression(f"r{number:04}@example.com") for number in range(600)))
    seen = []
    for number, one in enumerate(store.suppressions(), start=1):
        seen.append(one.key)
        if number % 20 == 0:  # the last one of a page is among them
            take(store, one.key)
    assert len(set(seen)) == len(seen) == 600
    assert len(list(store.suppressions())) == 570


# -- events


def test_events_come_in_the_order_in_which_they_were_told_and_go_on_from_any_of_them(store: Store) -> None:
    for address in (ANN, BOB, CY):
        send(store, address)
    all_ = store.events()
    numbers = [number for number, _ in all_]
    assert numbers == sorted(set(numbers))
    assert min(numbers) > 0
    assert [event["subject"] for _, event in all_] == [ANN, BOB, CY]
    assert store.events(after=numbers[0], limit=1) == all_[1:2]
    assert store.events(after=numbers[-1]) == store.events(limit=0) == []


def test_an_event_comes_back_as_it_gives_itself(store: Store) -> None:
    _, (record,) = send(store, ANN, answers={ANN: FULL})
    assert told(store) == [event.to_dict() for event in record.events]


def test_a_delivery_knows_whom_it_was_tried_for(store: Store) -> None:
    put(store, suppression(CY))
    _, records = send(store, ANN, BOB, CY, answers={BOB: FULL_NOW})
    send(store, ANN)
    delivery = records[-1].delivery.id
    assert store.addressed(delivery) == [ANN, BOB]
    assert store.addressed(delivery, tenant="other") == store.addressed(new_id()) == []


def test_history_is_newest_first_and_of_one_mailbox(store: Store) -> None:
    for minute in range(3):
        send(store, ANN, BOB, now=NOW + timedelta(minutes=minute))
    times = [event["time"] for event in store.history(ANN)]
    assert times == sorted(times, reverse=True)
    assert len(times) == 3
    assert store.history(ANN, limit=2) == store.history(ANN)[:2]
    assert store.history("") == store.history(ANN, tenant="x") == store.history(ANN, limit=0) == []


def test_a_change_by_hand_is_in_the_history_of_its_tenant(store: Store) -> None:
    put(store, suppression(ANN, tenant="a"))
    assert len(store.history(ANN, tenant="a")) == 1


def test_an_event_that_is_told_twice_is_remembered_once(store: Store) -> None:
    first, second = told_of(suppression(ANN)), told_of(suppression(BOB))
    store.tell((first,))
    store.tell((first, second, second))
    store.tell(())
    assert [event["id"] for event in told(store)] == [first.id, second.id]


def test_an_event_with_odd_details_does_not_harm(store: Store) -> None:
    details = {"count": (1, 2), "lasts": DAY, "text": "\udcff\x00 ü"}
    occasion = Occasion(attempt_id=new_id(), at=NOW, message_id="<\udcff@x>", labels=Labels(tenant="\udcff"))
    store.tell((Event(id=new_id(), type=EventType.CLOSED, occasion=occasion, details=details),))
    ((_, event),) = store.events()
    assert event["data"]["count"] == [1, 2]
    assert event["data"]["lasts"] == "1 day, 0:00:00"
    assert event["data"]["text"] == details["text"]


def test_a_reply_of_any_length_is_kept_as_far_as_an_event_shows_it(store: Store) -> None:
    _, (record,) = send(store, ANN, answers={ANN: Reply(550, b"5.1.1 " + b"x" * 200_000)})
    ((_, event), *_) = store.events()
    assert event == record.events[0].to_dict()
    assert len(event["data"]["reply"]) == 2048
    assert store.history(ANN)[-1] == event


def test_all_that_many_threads_record_is_there(store: Store) -> None:
    def work() -> None:
        for _ in range(20):
            send(store, ANN, BOB, answers={BOB: BUSY})

    _in_threads(work, 4)
    assert len(told(store)) == 4 * 20 * 2
    assert len(store.history(ANN)) == 80


# -- the end


def test_a_closed_store_says_so(store: Store) -> None:
    _, (record,) = send(store, ANN)
    store.close()
    store.close()
    for use in (
        lambda: look(store, ANN),
        lambda: store.record(replace(record, events=(told_of(suppression(ANN)),))),
        lambda: store.tell((told_of(suppression(ANN)),)),
        lambda: list(store.suppressions()),
        lambda: store.suppression(ANN),
        lambda: put(store, suppression(ANN)),
        lambda: take(store, ANN),
        lambda: store.history(ANN),
        lambda: store.events(),
    ):
        with pytest.raises(StoreError, match="closed"):
            use()


# -- all stores answer alike


_ADDRESSES = (ANN, BOB, "jo@gmail.com", "J.o+shop@gmail.com")
_KEYS = (ANN, BOB, "jo@gmail.com")
_TENANTS, _STREAMS = ("", "a"), ("", "news")
_OWNERS = {"tenant": st.sampled_from(_TENANTS), "stream": st.sampled_from(_STREAMS)}
_SAID = st.dictionaries(
    st.sampled_from((*_ADDRESSES, "DOT")), st.sampled_from((FULL, NOBODY, BUSY, FULL_NOW)), max_size=4
)


class StoresAgree(RuleBasedStateMachine):
    """The same history in every kind of store, whatever it is, gives the same answers."""

    kinds: tuple[str, ...] = ("memory", "sqlite")

    def __init__(self) -> None:
        super().__init__()
        self.opened = ExitStack()
        self.stores = self.opened.enter_context(together(*self.kinds))
        self.now = NOW
        self.records: list[Any] = []

    def teardown(self) -> None:
        self.opened.close()

    @rule(
        addresses=st.lists(st.sampled_from(_ADDRESSES), min_size=1, max_size=4, unique=True),
        answers=_SAID,
        message_class=st.sampled_from((None, "urgent")),
        test=st.booleans(),
        **_OWNERS,
    )
    def send(self, addresses: list[str], answers: dict[str, str], **labels: Any) -> None:
        self.records += send(self.stores, *addresses, answers=answers, now=self.now, **labels)[1]

    @rule(number=st.integers(0, 50))
    def record_again(self, number: int) -> None:
        if self.records:
            self.stores.record(self.records[number % len(self.records)])

    @rule(
        key=st.sampled_from(_KEYS),
        standing=st.sampled_from(Standing),
        lasts=st.sampled_from((None, -1, 0, 1, 40)),
        **_OWNERS,
    )
    def add(self, key: str, standing: Standing, lasts: int | None, **owner: str) -> None:
        expires_at = None if lasts is None else self.now + lasts * DAY
        one: Suppression = suppression(key, standing=standing, changed_at=self.now, expires_at=expires_at, **owner)
        self.stores.add(one, by="owner", event=told_of(one, at=self.now))

    @rule(key=st.sampled_from(_KEYS), **_OWNERS)
    def lift(self, key: str, **owner: str) -> None:
        take(self.stores, key, at=self.now, **owner)

    @rule(keys=st.lists(st.sampled_from(_KEYS), unique=True), claim=st.booleans(), **_OWNERS)
    def look_up(self, keys: list[str], claim: bool, **owner: str) -> None:
        windows = tuple((key, Window(Category.MAILBOX_FULL, days * DAY)) for key in keys for days in (1, 7, 30))
        question = LookUp(labels=Labels(**owner), keys=tuple(keys), claim=new_id() if claim else "", windows=windows)
        self.stores.look_up(question, self.now)

    @rule(hours=st.sampled_from((-30, -1, 1, 11, 24, 25, 170, 720)), microseconds=st.integers(0, 2000))
    def let_time_pass(self, hours: int, microseconds: int) -> None:
        self.now += timedelta(hours=hours, microseconds=microseconds)

    @rule(
        at=st.booleans(),
        stream=st.sampled_from((None, *_STREAMS)),
        containing=st.sampled_from((None, "o", "J.O", "@gmail")),
        after=st.sampled_from((None, *_KEYS)),
        limit=st.sampled_from((None, 1, 3)),
    )
    def read_the_list(self, at: bool, **narrowed: Any) -> None:
        for tenant in _TENANTS:
            self.stores.suppressions(tenant=tenant, at=self.now if at else None, **narrowed)

    @invariant()
    def the_same_is_known(self) -> None:
        events = [told(store) for store in self.stores.all]
        assert all(others == events[0] for others in events)
        for tenant in _TENANTS:
            self.stores.suppressions(tenant=tenant)
            for key in _KEYS:
                self.stores.history(key, tenant=tenant, limit=5)


TestStoresAgree = StoresAgree.TestCase
TestStoresAgree.settings = settings(max_examples=60, stateful_step_count=30, deadline=None, database=None)


class StoresAgreeWithPostgresql(StoresAgree):
    kinds = ("memory", "postgresql")


TestStoresAgreeWithPostgresql = StoresAgreeWithPostgresql.TestCase
TestStoresAgreeWithPostgresql.settings = settings(TestStoresAgree.settings, max_examples=8)


def _in_threads(work: Any, number: int) -> None:
    failures: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as error:  # whatever a thread raises is the test's failure
            failures.append(error)

    threads = [threading.Thread(target=guarded) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
