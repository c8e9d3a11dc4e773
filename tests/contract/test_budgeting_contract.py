"""What every store keeps of budgets: counts by the hour, with their record or not at all, and one level for all."""

from dataclasses import replace
from datetime import datetime, timedelta
from threading import Barrier, Thread
from typing import Any

import pytest

from bouncekit.delivery.events import Event, EventType, Occasion, event_of
from bouncekit.delivery.steps import LookUp, Record
from bouncekit.delivery.tallied import Count, Number, Sum, subject_of_stream
from bouncekit.meaning.classification import Category
from bouncekit.policy.budget import Level, Spent, Stream
from bouncekit.policy.guard import Held, Pattern
from bouncekit.policy.suppression import Evidence
from bouncekit.stores.budgeting import KeptLevel
from bouncekit.words.envelope import Labels
from tests.building import ANN, NOW, delivery_to, suppression

from .stores import new_id, put

NEWS, OTHER = Stream("acme", "news"), Stream("acme/news", "")
HOUR = timedelta(hours=1)
STOPPED = KeptLevel(Level.STOPPED, NOW, "t1")


def told(at: datetime = NOW, stream: Stream = NEWS, type_: EventType = EventType.BUDGET_STOPPED) -> Event:
    occasion = Occasion(attempt_id=new_id(), at=at, labels=Labels(tenant=stream.tenant, stream=stream.name))
    return event_of(type_, occasion)


def spending(stream: Stream, spent: Spent, at: datetime = NOW) -> Record:
    event = told(at, stream, EventType.CLOSED)
    return Record(delivery=delivery_to(ANN), occasion=event.occasion, events=(event,), spent=spent)


def spend(store: Any, stream: Stream, spent: Spent, *, at: datetime = NOW) -> None:
    store.record(spending(stream, spent, at))


def test_nothing_is_spent_and_nobody_is_held_at_first(store: Any) -> None:
    assert store.spent(since=NOW) == {}
    assert store.levels() == {}


def test_what_a_stream_spends_is_added_up_and_belongs_to_no_other(store: Any) -> None:
    spend(store, NEWS, Spent(100, 3, 0))
    spend(store, NEWS, Spent(50, 0, 1))
    spend(store, OTHER, Spent(7, 7, 7))
    spend(store, Stream(), Spent(0, 0, 0))
    assert store.spent(since=NOW - HOUR) == {NEWS: Spent(150, 3, 1), OTHER: Spent(7, 7, 7)}
    assert store.spent(since=NOW - HOUR, stream=NEWS) == {NEWS: Spent(150, 3, 1)}
    assert store.spent(since=NOW - HOUR, stream=Stream("nobody")) == {}


def test_what_is_older_counts_no_more(store: Any) -> None:
    for hours in range(5):
        spend(store, NEWS, Spent(10, 1, 0), at=NOW + hours * HOUR)
    assert store.spent(since=NOW + 3 * HOUR, stream=NEWS) == {NEWS: Spent(20, 2, 0)}
    assert store.spent(since=NOW + 3 * HOUR + timedelta(minutes=59), stream=NEWS) == {NEWS: Spent(20, 2, 0)}
    assert store.spent(since=NOW + 9 * HOUR, stream=NEWS) == {}


def test_a_record_that_comes_twice_spends_once(store: Any) -> None:
    one = spending(NEWS, Spent(1, 1, 0))
    store.record(one)
    store.record(one)
    assert store.spent(since=NOW) == {NEWS: Spent(1, 1, 0)}


def test_a_level_is_kept_with_its_event_and_by_who_knows_the_one_before(store: Any) -> None:
    event = told()
    assert store.swap_level(NEWS, None, STOPPED, events=(event,))
    assert not store.swap_level(NEWS, None, replace(STOPPED, token="t2"), events=(told(),))
    assert not store.swap_level(NEWS, "t0", replace(STOPPED, token="t2"), events=(told(),))
    assert store.levels() == store.levels(stream=NEWS) == {NEWS: STOPPED}
    assert store.levels(stream=OTHER) == {}
    assert [one["id"] for _, one in store.events()] == [event.id]
    assert store.swap_level(NEWS, "t1", KeptLevel(Level.WARNED, NOW + HOUR, "t3"))
    assert store.levels() == {NEWS: KeptLevel(Level.WARNED, NOW + HOUR, "t3")}


def test_who_is_within_his_budget_leaves_nothing_behind(store: Any) -> None:
    store.swap_level(NEWS, None, STOPPED)
    assert not store.swap_level(NEWS, "t0", KeptLevel())
    assert store.swap_level(NEWS, "t1", KeptLevel())
    assert store.levels() == {}
    assert store.swap_level(NEWS, None, KeptLevel())


def test_what_is_forgiven_begins_anew_and_nobody_elses(store: Any) -> None:
    spend(store, NEWS, Spent(100, 50, 5))
    spend(store, OTHER, Spent(1, 1, 1))
    store.swap_level(NEWS, None, STOPPED)
    assert not store.swap_level(NEWS, "t0", KeptLevel(), forgives=NOW)
    assert store.spent(since=NOW, stream=NEWS) == {NEWS: Spent(100, 50, 5)}
    assert store.swap_level(NEWS, "t1", KeptLevel(), forgives=NOW)
    assert store.spent(since=NOW) == {OTHER: Spent(1, 1, 1)}
    spend(store, NEWS, Spent(2, 1, 0))
    assert store.spent(since=NOW, stream=NEWS) == {NEWS: Spent(2, 1, 0)}


def test_when_a_stream_was_forgiven_is_counted_by_the_minute(store: Any) -> None:
    at = NOW.replace(second=30)
    store.swap_level(NEWS, None, STOPPED)
    store.swap_level(NEWS, "t1", KeptLevel(), forgives=at)

    def resumed(stream: Stream, since: timedelta) -> int:
        asked = Sum(Number(Count.RESUMED, subject_of_stream(stream)), since)
        number: int = store.look_up(LookUp(labels=Labels(), sums=(asked,)), at + HOUR).sums[asked]
        return number

    minute = timedelta(minutes=1)
    assert [resumed(NEWS, HOUR + after) for after in (30 * HOUR, minute, timedelta(), -minute)] == [1, 1, 1, 0]
    assert resumed(OTHER, 30 * HOUR) == 0


def test_what_was_counted_by_a_clock_that_was_set_back_is_dated_as_it_was_counted(store: Any) -> None:
    ahead = NOW + 30 * 24 * HOUR
    for hours, bounced in ((0, 1), (1, 2), (5, 4)):
        spend(store, NEWS, Spent(10, bounced, 0), at=ahead - hours * HOUR)
    spend(store, NEWS, Spent(10, 8, 1))  # another machine's clock is right
    spend(store, OTHER, Spent(1, 1, 1), at=ahead)
    assert store.date_back(NEWS, ahead_of=NOW + 2 * HOUR, to=NOW)
    assert store.spent(since=NOW, stream=NEWS) == {NEWS: Spent(20, 9, 1)}
    assert store.spent(since=NOW - HOUR, stream=NEWS) == {NEWS: Spent(30, 11, 1)}
    assert store.spent(since=NOW - 5 * HOUR, stream=NEWS) == {NEWS: Spent(40, 15, 1)}
    assert store.spent(since=ahead) == {OTHER: Spent(1, 1, 1)}
    assert not store.date_back(NEWS, ahead_of=NOW + 2 * HOUR, to=NOW)


def test_what_does_not_lie_ahead_stays(store: Any) -> None:
    spend(store, NEWS, Spent(10, 1, 0), at=NOW + timedelta(minutes=59))
    assert not store.date_back(NEWS, ahead_of=NOW + 2 * HOUR, to=NOW)
    assert store.spent(since=NOW + timedelta(minutes=59)) == {NEWS: Spent(10, 1, 0)}


def test_what_was_forgiven_by_a_clock_that_was_set_back_is_dated_back_as_well(store: Any) -> None:
    ahead = NOW + 24 * HOUR
    store.swap_level(NEWS, None, STOPPED)
    store.swap_level(NEWS, "t1", KeptLevel(), forgives=ahead)
    asked = Sum(Number(Count.RESUMED, subject_of_stream(NEWS)), HOUR)
    question = LookUp(labels=Labels(), sums=(asked,))
    assert store.look_up(question, NOW).sums[asked] == 0
    assert store.date_back(NEWS, ahead_of=NOW + 2 * HOUR, to=NOW)
    assert [store.look_up(question, at).sums[asked] for at in (NOW, ahead)] == [1, 0]


def test_many_that_date_back_at_once_double_nothing(store: Any) -> None:
    begin = Barrier(6)
    spend(store, NEWS, Spent(10, 2, 1), at=NOW + 24 * HOUR)

    def date_back() -> None:
        begin.wait()
        store.date_back(NEWS, ahead_of=NOW + 2 * HOUR, to=NOW)

    threads = [Thread(target=date_back) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.spent(since=NOW) == {NEWS: Spent(10, 2, 1)}


@pytest.mark.parametrize("name", ["", "a/b", 'quo"te', "nul\0", "\udcff", "stra\u00dfe"])
def test_whatever_a_stream_is_called(store: Any, name: str) -> None:
    stream = Stream(name, name)
    spend(store, stream, Spent(3, 2, 1))
    assert store.spent(since=NOW, stream=stream) == {stream: Spent(3, 2, 1)}
    assert store.swap_level(stream, None, STOPPED)
    assert store.levels(stream=stream) == {stream: STOPPED}


def test_of_many_that_see_a_level_reached_one_tells_it(store: Any) -> None:
    begin, won = Barrier(6), []

    def swap() -> None:
        token = new_id()
        begin.wait()
        if store.swap_level(NEWS, None, replace(STOPPED, token=token), events=(told(),)):
            won.append(token)

    threads = [Thread(target=swap) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [store.levels()[NEWS].token] == won
    assert len(store.events()) == 1


@pytest.mark.parametrize(
    ("changes", "spent", "bounced"),
    [
        ({}, Spent(), 4),
        ({"category": Category.MAILBOX_FULL}, Spent(), 5),  # which had not been counted
        ({"since": NOW - timedelta(minutes=20)}, Spent(), 5),  # a second verdict, which a probe may have brought
        ({}, None, 5),  # the policy has no budget: nothing had been counted
    ],
)
def test_what_the_guard_holds_is_given_back(
    store: Any, changes: dict[str, Any], spent: Spent | None, bounced: int
) -> None:
    pattern = Pattern("example.com", "f")
    start = {"category": Category.USER_UNKNOWN, "since": NOW, "changed_at": NOW, "evidence": Evidence(fingerprint="f")}
    one = suppression(ANN, tenant=NEWS.tenant, stream=NEWS.name, **{**start, **changes})
    spend(store, NEWS, Spent(100, 5, 0))
    put(store, one)
    store.record(replace(spending(OTHER, Spent()), spent=spent, held=(Held(pattern, NOW - HOUR, "guard-event"),)))
    assert store.spent(since=NOW - HOUR, stream=NEWS) == {NEWS: Spent(100, bounced, 0)}


def test_more_given_back_than_was_counted_is_nothing(store: Any) -> None:
    spend(store, NEWS, Spent(3, 1, 0))
    spend(store, NEWS, Spent(0, -2, 0))
    assert store.spent(since=NOW, stream=NEWS) == {NEWS: Spent(3, 0, 0)}
