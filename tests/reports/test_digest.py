"""A digest: the numbers of a span of time, the same as the web page has, and few names of many."""

from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bouncekit.delivery.events import EventType
from bouncekit.policy.budget import Level
from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.reports import digest as module
from bouncekit.reports.counts import Counted, Counts
from bouncekit.reports.digest import By, Digest, Of, digest, worker_state
from bouncekit.stores.memory import MemoryStore
from bouncekit.testing import ManualClock, ScriptedServer
from tests.building import ANN, BOB, CY
from tests.conftest import message
from tests.contract.stores import send

from .conftest import ARABIC, HINDI, HOUR, RUSSIAN, WEEK

DAY = timedelta(days=1)


def as_the_page_counts(
    store: Any, now: datetime, length: timedelta, every: timedelta
) -> list[tuple[datetime, Counted]]:
    columns, is_whole = Counts(store, budget_seconds=60).since(now - length, now, every)
    assert is_whole
    return columns


@pytest.mark.parametrize(("length", "every"), [(DAY, HOUR), (WEEK, 6 * HOUR), (30 * DAY, DAY)])
def test_its_numbers_are_those_of_the_web_page(sent: Postmaster, length: timedelta, every: timedelta) -> None:
    store, now = sent.office.store, sent.office.clock.now()
    columns = as_the_page_counts(store, now, length, every)
    page = Counted()
    for _, one in columns:
        page.add(one)
    told = digest(sent.office, length)
    assert told.every == every
    assert told.numbers.actions == page.actions
    assert told.numbers.actions["delivered"] > 5
    assert told.numbers.events == page.events
    assert dict(told.numbers.by[By.CATEGORY]) == page.categories
    named = {name: actions for name, actions in told.numbers.by[By.PROVIDER].items() if name != module.NONE}
    assert named == page.providers
    assert [(one.at, one.actions) for one in told.columns] == [(at, one.actions) for at, one in columns]


@pytest.mark.parametrize("length", [timedelta(minutes=1), HOUR, 3 * HOUR, DAY, 40 * DAY, 3000 * DAY])
def test_the_columns_are_all_of_it(sent: Postmaster, length: timedelta) -> None:
    told = digest(sent.office, length)
    assert sum((Counter(one.actions) for one in told.columns), Counter()) == told.numbers.actions
    assert sum((Counter(one.events) for one in told.columns), Counter()) == told.numbers.events
    assert 1 <= len(told.columns) <= 62
    assert told.until - length - HOUR < told.since <= told.until - length


def test_it_begins_at_a_whole_hour_and_of_late_at_five_whole_minutes(
    postmaster: Postmaster, clock: ManualClock
) -> None:
    clock.move(timedelta(minutes=33, seconds=10) - timedelta(minutes=clock.now().minute, seconds=clock.now().second))
    assert digest(postmaster.office, DAY).since == clock.now() - DAY - timedelta(minutes=33, seconds=10)
    assert digest(postmaster.office, timedelta(minutes=20)).since == clock.now() - timedelta(minutes=23, seconds=10)


def test_who_has_most_mail_and_who_has_most_failures(week: Digest) -> None:
    names = {of: ([one.name for one in it.mail[:2]], it.failures[:1]) for of, it in week.rankings.items()}
    assert names[Of.RECIPIENT][0] == ["ann@example.com", "full@example.com"]
    assert names[Of.DOMAIN][0] == ["example.com", "example.org"]
    assert names[Of.PROVIDER][0] == ["localhost"]
    assert names[Of.STREAM][0] == ["stream news", "mail without a stream"]
    failed = week.numbers.actions["failed"]
    assert names[Of.DOMAIN][1] == (("example.com", failed),)
    assert names[Of.SENDER] == ([], (("shop@example.org", failed),))
    assert {one.name for one in week.rankings[Of.RECIPIENT].failures} >= {"hindi@example.com", "gone@example.com"}


def test_rankings_are_short_however_many_there_are(make_postmaster: Callable[..., Postmaster]) -> None:
    office = make_postmaster(store=MemoryStore()).office
    send(office.store, *(f"user{number}@d{number}.example" for number in range(200)), now=office.clock.now())
    told = digest(office, DAY, most=3)
    assert {of: len(one.mail) for of, one in told.rankings.items()} == {
        Of.RECIPIENT: 3, Of.DOMAIN: 3, Of.PROVIDER: 1, Of.SENDER: 0, Of.STREAM: 1
    }  # fmt: skip


def test_however_many_names_there_are_few_are_counted_apart_and_none_is_lost(
    make_postmaster: Callable[..., Postmaster], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_NAMES", 3)
    office = make_postmaster(store=MemoryStore()).office
    for number in range(7):
        send(office.store, ANN, f"jo@d{number}.example", stream=f"s{number}", now=office.clock.now())
    told = digest(office, DAY, by=(By.DOMAIN,))
    domains = told.numbers.by[By.DOMAIN]
    assert (len(domains), "(others)" in domains) == (4, True)
    assert sum(domains.values(), Counter()) == told.numbers.actions == {"delivered": 14}
    assert {one.name for one in told.rankings[Of.STREAM].mail} == {"stream s0", "stream s1", "stream s2"}


def test_what_was_said_for_the_first_time(week: Digest) -> None:
    assert {one.example for one in week.new.kinds} == {
        f"552 5.2.2 {HINDI}",
        f"550 5.1.1 {RUSSIAN}",
        f"552 5.2.2 {ARABIC}",
    }
    assert (week.new.number, week.new.is_cut) == (3, False)


def test_more_refusals_than_are_read_are_said_to_be(sent: Postmaster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_READ", 5)
    told = digest(sent.office, WEEK)
    assert told.new.is_cut
    assert sum(one.number for one in told.rankings[Of.SENDER].failures) <= 5


def test_what_the_guard_holds_what_waits_and_whom_nobody_told(week: Digest) -> None:
    (held,) = week.held.largest
    assert (week.held.number, held.number, held.evidence.reply) == (2, 2, "550 5.1.1 A bad hour")
    assert week.depth.due > 0
    assert list(week.relays) == ["main"]
    assert worker_state(week.depth, week.until)[0] == "fail"
    assert sum(one.number for one in week.unsent) == week.numbers.events[EventType.NOT_NOTIFIED] > 0
    assert ("recipient", "no channel 'recipient' is set up") in {one[:2] for one in week.unsent}


def test_the_budgets_are_those_that_the_postmaster_tells(make_postmaster: Callable[..., Postmaster]) -> None:
    with ScriptedServer({"RCPT": {BOB: "550 5.1.1 No such user"}}) as server:
        postmaster = make_postmaster(policy="bulk", store=MemoryStore())
        with postmaster.client(server.url, stream="news") as client:
            client.send(message(ANN, BOB))
    (told,) = digest(postmaster.office, DAY).budgets
    assert told == postmaster.budget("news")
    assert (told.spent.sent, told.spent.bounced) == (2, 1)


def test_the_stream_that_is_worst_off_stands_first(
    make_postmaster: Callable[..., Postmaster], clock: ManualClock, tmp_path: Path
) -> None:
    bad = [f"bad{number}@example.com" for number in range(3)]  # two may be chance
    (tmp_path / "mine.yaml").write_text(
        "policy: 1\nextends: default\nbudget: {at_least: 1, warn: {bounces: 1%}, within: 7d}\n"
    )
    with ScriptedServer({"RCPT": dict.fromkeys(bad, "550 5.1.1 No such user")}) as server:
        postmaster = make_postmaster(policy=tmp_path / "mine.yaml", store=MemoryStore())
        for stream, others in (("a", ()), ("m", bad), ("z", ())):
            with postmaster.client(server.url, stream=stream) as client:
                client.send(message(ANN, *others))
                clock.move(HOUR)
                client.send(message(ANN))  # which asks how the stream stands
    told = digest(postmaster.office, DAY).budgets
    assert [(one.stream.name, one.level) for one in told] == [
        ("m", Level.WARNED),
        ("a", Level.WITHIN),
        ("z", Level.WITHIN),
    ]


def test_of_test_traffic_there_is_nothing(make_postmaster: Callable[..., Postmaster]) -> None:
    office = make_postmaster(store=MemoryStore()).office
    send(office.store, ANN, BOB, answers={BOB: "550 5.7.1 New words here"}, test=True, now=office.clock.now())
    told = digest(office, DAY)
    assert (told.numbers.actions, told.new.kinds, told.rankings[Of.RECIPIENT].mail) == ({}, (), ())
    send(office.store, CY, now=office.clock.now())
    assert digest(office, DAY).numbers.actions == {"delivered": 1}
