"""Replays: a provider's bad hour must cost next to nobody, and a list's dead addresses must still be found.

The outage is Gmail's of 14 and 15 December 2020, which for hours answered `550 5.1.1` for mailboxes that existed.
"""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest

from bouncekit.history.retelling import retold
from bouncekit.policy.suppression import Standing
from bouncekit.stores.memory import MemoryStore
from bouncekit.stores.sqlite import SqliteStore

from .building import NOW
from .outages import DAY, HOUR, Sender, mailing

USUAL = 0.015  # of an ordinary list, dead
MOST_LOST = 24  # good addresses of 40,000

Share = Callable[[timedelta], float]  # of good addresses that are refused, by the time since the outage began


class Replay:
    """Days of ordinary mail, then an hour of outage. `bound` is how many good addresses are not written to then."""

    def __init__(self, store: Any, *, each: int, before: int, at_once: int = 32, days: int = 4) -> None:
        self.gone: set[str] = set()
        self.share: Share | None = None
        self.began = NOW
        self.random = Random(2020)
        self.each = each
        self.sender = Sender(store, self.refuses, now=NOW - days * DAY, at_once=at_once)
        for day in range(days if before else 0):
            self.send(f"day{day}-", before, USUAL)
            self.sender.now += 23 * HOUR
        self.sender.noticed.clear()

    def refuses(self, address: str, now: Any) -> bool:
        share = self.share(now - self.began) if self.share else 0.0
        return address in self.gone or self.random.random() < share

    def send(self, name: str, number: int, dead: float) -> tuple[list[str], list[str]]:
        addresses, gone = mailing(name, number, dead=dead)
        self.gone |= gone
        self.sender.send(addresses, over=HOUR, each=self.each)
        return [one for one in addresses if one not in gone], sorted(gone)

    def outage(self, share: Share, number: int = 40_000) -> list[str]:
        self.share, self.began, self.sender.refused = share, self.sender.now, 0
        good, _ = self.send("now", number, USUAL)
        self.share = None
        return good


def at(share: float) -> Share:
    return lambda since: share


def slowly(since: timedelta) -> float:
    return 0.02 + 0.28 * (since / HOUR)


STORES: dict[str, Callable[[Path], Any]] = {
    "memory": lambda folder: MemoryStore(),
    "sqlite": lambda folder: SqliteStore(folder / "bounces.db"),
}


@pytest.mark.parametrize(
    ("kind", "share", "each"),
    [
        pytest.param("memory", at(0.25), 20, id="memory-25%"),
        pytest.param("memory", slowly, 20, id="memory-slowly to 30%"),
        pytest.param("sqlite", at(0.25), 200, id="sqlite-25%"),
    ],
)
def test_an_outage_costs_at_most_24_of_40000_good_addresses(kind: str, share: Share, each: int, tmp_path: Path) -> None:
    with STORES[kind](tmp_path) as store:
        replay = Replay(store, each=each, before=1000)
        good = replay.outage(share)
        assert replay.sender.refused > 5000
        assert replay.sender.bound(good) <= MOST_LOST
        assert len(replay.sender.alarms()) == 1


@pytest.mark.parametrize("share", [0.02, 0.03, 0.05])
def test_an_outage_that_refuses_few_is_seen_by_who_writes_every_day(share: float) -> None:
    replay = Replay(MemoryStore(), each=20, before=1000)
    good = replay.outage(at(share), 10_000)
    assert replay.sender.refused > 300
    assert replay.sender.bound(good) <= MOST_LOST
    assert len(replay.sender.alarms()) == 1


@pytest.mark.parametrize(("kind", "share"), [("memory", at(0.6)), ("memory", at(1.0)), ("sqlite", at(0.6))])
def test_the_worse_an_outage_is_the_sooner_it_is_seen(kind: str, share: Share, tmp_path: Path) -> None:
    with STORES[kind](tmp_path) as store:
        replay = Replay(store, each=20, before=1000)
        good = replay.outage(share, 3000)
        assert replay.sender.bound(good) == 0


@pytest.mark.parametrize(
    ("number", "share"), [(300, 0.08), (300, 0.25), (300, 0.6), (300, 1.0), (1500, 0.08), (1500, 0.25)]
)
def test_a_sender_of_little_loses_no_more(share: float, number: int) -> None:
    replay = Replay(MemoryStore(), each=1, before=number)
    good = replay.outage(at(share), number)
    assert replay.sender.refused >= 20
    assert replay.sender.bound(good) <= MOST_LOST


def test_one_message_to_thousands_is_a_mass_by_itself() -> None:
    replay = Replay(MemoryStore(), each=2000, before=2000, at_once=1)
    good = replay.outage(at(1.0), 2000)
    assert replay.sender.bound(good) == 0


def test_the_second_evening_of_an_outage_is_seen_like_the_first() -> None:
    replay = Replay(MemoryStore(), each=10, before=2000)
    for _ in range(2):
        good = replay.outage(at(0.6), 2000)
        assert replay.sender.bound(good) == 0
        replay.sender.now += 23 * HOUR
    assert len(replay.sender.alarms()) == 2


@pytest.mark.parametrize("before", [0, 1000])
def test_an_outage_of_hours_is_seen_to_its_end_also_over_midnight(before: int) -> None:
    replay = Replay(MemoryStore(), each=1, before=before)
    replay.sender.now = replay.sender.now.replace(hour=21)
    good: list[str] = []
    replay.share = at(0.25)
    for hour in range(7):
        good += replay.send(f"hour{hour}-", 400, USUAL)[0]
    assert replay.sender.bound(good) == 0
    assert len(replay.sender.alarms()) == 1


def test_who_was_held_gets_the_next_message_which_clears_it() -> None:
    replay = Replay(MemoryStore(), each=1, before=1000)
    good = replay.outage(at(1.0), 1000)
    replay.sender.now += DAY
    replay.sender.tried = 0
    replay.sender.send(good, over=HOUR)
    assert replay.sender.tried == len(good)
    assert replay.sender.store.suppression(good[0]) is None


@pytest.mark.parametrize(("share", "lost"), [(0.02, 184), (0.05, 459)])
def test_whom_a_small_outage_cost_a_week_the_next_mailing_clears_and_confirms_the_dead(share: float, lost: int) -> None:
    replay = Replay(MemoryStore(), each=20, before=0)
    good = replay.outage(at(share), 10_000)
    gone = sorted(replay.gone)
    assert (replay.sender.bound(good), replay.sender.bound(gone), replay.sender.alarms()) == (lost, 150, [])
    replay.sender.now += 7 * DAY
    replay.sender.tried = 0
    replay.sender.send(sorted([*good, *gone]), over=HOUR, each=20)
    assert replay.sender.tried == 10_000  # each of them got the one message that is its probe
    assert [one for one in good if replay.sender.store.suppression(one)] == []
    found = [replay.sender.store.suppression(one) for one in gone]
    assert {(one.standing, one.rung, one.binds(replay.sender.now)) for one in found} == {(Standing.CONFIRMED, 1, True)}


def test_who_mails_at_the_same_hour_each_week_may_miss_one_of_those_and_no_more() -> None:
    replay = Replay(MemoryStore(), each=1, before=0)
    good = replay.outage(at(0.05), 1000)
    lost = replay.sender.bound(good)
    assert lost > 30
    for passed_by in (range(1, lost + 1), range(1)):
        replay.sender.now += 7 * DAY - HOUR
        replay.sender.tried = 0
        replay.sender.send(good, over=HOUR)
        assert len(good) - replay.sender.tried in passed_by
    assert [one for one in good if replay.sender.store.suppression(one)] == []


def test_nobody_is_told_that_their_mailbox_does_not_exist() -> None:
    replay = Replay(MemoryStore(), each=1, before=1000)
    replay.outage(at(0.6), 1000)
    assert len(replay.sender.noticed) < MOST_LOST


# -- the other side: a bad list is no outage


def bound_by_mailing(*, before: int, usual: float, dead: float, number: int = 1000) -> list[tuple[int, int]]:
    """How many of the dead addresses are not written to after each of three weekly mailings; of how many."""
    replay = Replay(MemoryStore(), each=1, before=0)
    for day in range(4 if before else 0):
        replay.send(f"old{day}-", before, usual)
        replay.sender.now += 23 * HOUR
    addresses, gone = mailing("list", number, dead=dead)
    replay.gone |= gone
    bound = []
    for _ in range(3):
        replay.sender.send(addresses, over=HOUR)
        bound.append((replay.sender.bound(sorted(gone)), len(gone)))
        replay.sender.now += 7 * DAY
    return bound


def test_a_list_that_always_has_a_tenth_dead_addresses_still_suppresses_them() -> None:
    assert bound_by_mailing(before=1000, usual=0.1, dead=0.1) == [(100, 100)] * 3


def test_the_first_mailing_to_an_ordinary_list_suppresses_its_dead_addresses() -> None:
    assert bound_by_mailing(before=0, usual=0, dead=0.05) == [(50, 50)] * 3


@pytest.mark.parametrize("dead", [0.04, 0.1, 0.2, 0.3])
def test_of_a_bad_list_among_daily_mail_the_second_mailing_suppresses_every_dead_address(dead: float) -> None:
    gone = round(2000 * dead)
    first, *later = bound_by_mailing(before=1000, usual=0.01, dead=dead, number=2000)
    assert first == (0, gone)
    assert later == [(gone, gone)] * 2


@pytest.mark.parametrize("before", [0, 1000])
def test_a_first_mailing_with_a_third_dead_is_held_and_the_second_one_suppresses(before: int) -> None:
    assert bound_by_mailing(before=before, usual=0.01, dead=0.3) == [(0, 300), (300, 300), (300, 300)]


# -- what it tells


def test_the_alarm_says_what_is_held_and_why() -> None:
    replay = Replay(MemoryStore(), each=1, before=1000)
    replay.outage(at(0.6), 1000)
    (alarm,) = replay.sender.alarms()
    assert alarm.recipient is None
    details = dict(alarm.details)
    assert (details["provider"], details["category"], details["code"]) == ("google.com", "user_unknown", 550)
    assert 20 <= details["refusals"] <= details["answers"] < 60
    assert details["usual_share"] == pytest.approx(USUAL, abs=0.006)
    assert details["reply"].startswith("550 5.1.1 The email account")
    assert details["held_since"].endswith("Z")
    told = [event for _, event in replay.sender.store.events(limit=10**6) if event["type"] == "guard_tripped"]
    assert [retold(event).details for event in told] == [details]


def test_test_traffic_is_neither_counted_nor_held() -> None:
    replay = Replay(MemoryStore(), each=1, before=1000)
    replay.sender.labels = {"test": True}
    replay.outage(at(1.0), 200)
    assert replay.sender.alarms() == []
    replay.sender.labels = {}
    addresses, gone = mailing("few", 19, dead=1.0)
    replay.gone |= gone
    replay.sender.send(addresses, over=HOUR / 60)
    assert replay.sender.bound(addresses) == 19
