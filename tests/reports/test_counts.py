"""Counts by slices: the same as counting everything, and never the whole anew."""

import threading
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bouncekit.reports.counts import Counted, Counts, breakdown
from bouncekit.stores.memory import MemoryStore
from bouncekit.stores.tallies import Facet, Tally

NOW = datetime(2026, 1, 15, 12, 33, 10, tzinfo=UTC)
HOUR = timedelta(hours=1)


class Told(MemoryStore):
    """A store in which something happened at these times; it counts how often it is asked, and for how long a time."""

    def __init__(self, times: list[datetime]) -> None:
        super().__init__()
        self.times = times
        self.asked: list[tuple[datetime, datetime]] = []

    def tally(self, *facets: Facet, since: datetime, until: datetime) -> Tally:
        self.asked.append((since, until))
        assert facets == (Facet.CATEGORY, Facet.HOST, Facet.RULE)
        number = sum(since <= at < until for at in self.times)
        made = {("failed", "user_unknown", "aspmx.l.google.com", "no-such-mailbox"): number}
        made |= {("delivered", None, "mx.example.com", None): 2 * number, ("suppressed", None, None, None): number}
        return {key: count for key, count in made.items() if count}

    def tally_events(self, *, since: datetime, until: datetime) -> Mapping[str, int]:
        return {"failed": sum(since <= at < until for at in self.times)}


def total(columns: list[tuple[datetime, Counted]]) -> Counted:
    found = Counted()
    for _, one in columns:
        found.add(one)
    return found


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 29 * 24 * 3600), max_size=30), st.sampled_from([HOUR, 6 * HOUR, 24 * HOUR]))
def test_all_slices_together_are_all_that_happened(ages: list[int], every: timedelta) -> None:
    store = Told([NOW - timedelta(seconds=age) for age in ages])
    columns, is_whole = Counts(store, budget_seconds=60).since(NOW - timedelta(days=30), NOW, every)
    assert is_whole
    found = total(columns)
    assert found.actions == +Counter(failed=len(ages), delivered=2 * len(ages), suppressed=len(ages))
    for start, one in columns:
        assert one.actions["failed"] == sum(start <= at < start + every for at in store.times)


def test_who_was_delivered_to_has_no_category_and_a_host_is_its_providers() -> None:
    found = total(Counts(Told([NOW]), budget_seconds=60).since(NOW - HOUR, NOW, HOUR)[0])
    assert found.categories == {"user_unknown": Counter(failed=1), "none": Counter(suppressed=1)}
    assert found.providers == {"gmail": Counter(failed=1), "mx.example.com": Counter(delivered=2)}
    assert found.rules == Counter({"no-such-mailbox": 1})
    assert found.events == Counter(failed=1)


def test_the_second_look_counts_only_what_is_young() -> None:
    store = Told([NOW - timedelta(days=1)])
    counts = Counts(store, budget_seconds=60)
    counts.since(NOW - timedelta(days=30), NOW, HOUR)
    store.asked.clear()
    counts.since(NOW - timedelta(days=30), NOW + timedelta(seconds=4), HOUR)
    assert store.asked == []
    counts.since(NOW - timedelta(days=30), NOW + timedelta(seconds=6), HOUR)
    assert [until - since for since, until in store.asked] == [timedelta(minutes=5)]
    store.asked.clear()
    counts.since(NOW - timedelta(days=30), NOW + timedelta(minutes=10), HOUR)
    assert all(NOW - since < 2 * HOUR for since, _ in store.asked)


def test_what_comes_late_is_counted_within_the_hour_and_what_just_came_within_seconds() -> None:
    store = Told([])
    counts = Counts(store, budget_seconds=60)
    counts.since(NOW - HOUR, NOW, HOUR)
    store.times += [NOW, NOW - timedelta(minutes=30)]
    at = NOW + timedelta(seconds=6)
    assert total(counts.since(NOW - HOUR, at, HOUR)[0]).actions["failed"] == 1
    at = NOW + timedelta(minutes=40)
    assert total(counts.since(NOW - HOUR, at, HOUR)[0]).actions["failed"] == 2


def test_what_a_request_has_no_time_for_is_counted_behind_it() -> None:
    go_on = threading.Event()

    class Slow(Told):
        def tally(self, *facets: Facet, since: datetime, until: datetime) -> Tally:
            assert go_on.wait(60)
            return super().tally(*facets, since=since, until=until)

    counts = Counts(Slow([NOW - timedelta(days=20)]), budget_seconds=0)
    columns, is_whole = counts.since(NOW - timedelta(days=30), NOW, HOUR)
    assert (is_whole, total(columns).actions.total()) == (False, 0)
    columns, is_whole = counts.since(NOW - timedelta(days=30), NOW, HOUR)
    assert not is_whole, "and nobody waits for it"
    go_on.set()
    for thread in threading.enumerate():
        if thread.name == "bouncekit-counts":
            thread.join(60)
    columns, is_whole = counts.since(NOW - timedelta(days=30), NOW, HOUR)
    assert (is_whole, total(columns).actions["failed"]) == (True, 1)


def test_a_sender_to_the_whole_world_is_told_a_hundred_hosts_and_others() -> None:
    class World(Told):
        def tally(self, *facets: Facet, since: datetime, until: datetime) -> Tally:
            if not since <= NOW < until:
                return {}
            return {("delivered", None, f"mx{number}.example.com", None): number + 1 for number in range(1000)}

    found = total(Counts(World([]), budget_seconds=60).since(NOW - HOUR, NOW, HOUR)[0])
    assert len(found.providers) == 101
    assert found.providers["others"]["delivered"] == sum(range(1, 901))
    assert breakdown(found.providers, 2).rows[1][0] == "mx999.example.com"


def test_short_slices_are_let_go_when_they_are_old() -> None:
    counts = Counts(Told([]), budget_seconds=60)
    for hours in range(0, 48, 1):
        counts.since(NOW - 3 * HOUR, NOW + hours * HOUR, HOUR)
    assert len(counts._slices) < 200


@pytest.mark.parametrize("every", [HOUR, 24 * HOUR])
def test_a_store_that_does_not_answer_says_so(every: timedelta) -> None:
    from bouncekit.words.errors import StoreError

    class Down(Told):
        def tally(self, *facets: Facet, since: datetime, until: datetime) -> Tally:
            raise StoreError("the store is away")

    with pytest.raises(StoreError, match="away"):
        Counts(Down([])).since(NOW - HOUR, NOW, every)
