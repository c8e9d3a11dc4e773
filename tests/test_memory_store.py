"""The store in memory: its bounds and its cheapness; what every store does stands in `contract`."""

import os
import signal
import sys
import warnings
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bouncekit.delivery.steps import LookUp, Outcome, Record
from bouncekit.delivery.wholesale import wholesale
from bouncekit.meaning.classification import Category
from bouncekit.policy.lane import NO_ROAD
from bouncekit.policy.rule import Window
from bouncekit.stores.memory import MemoryStore
from bouncekit.words.envelope import Counted, Labels
from bouncekit.words.reply import NoReply, Reply
from bouncekit.words.status import Taken

from .building import ANN, BOB, CY, DI, LOST, NOW, POLICY, delivery_to, suppression
from .contract.stores import put, send, told_of

FULL_NOW = "452 4.2.2 Over quota"


def test_only_the_newest_events_are_kept_and_their_numbers_go_on() -> None:
    store = MemoryStore(most_events=3)
    for address in (ANN, BOB, CY, DI, ANN):
        send(store, address)
    kept = store.events()
    assert [(number, event["subject"]) for number, event in kept] == [(3, CY), (4, DI), (5, ANN)]
    assert store.events(after=1) == kept
    assert store.events(after=4) == kept[2:]
    assert store.history(BOB) == []


def test_an_event_that_was_let_go_is_no_longer_known() -> None:
    store = MemoryStore(most_events=1)
    first, second = told_of(suppression(ANN)), told_of(suppression(BOB))
    for event in (first, second, second, first):
        store.tell((event,))
    assert [(number, event["id"]) for number, event in store.events()] == [(3, first.id)]


def test_only_the_strikes_of_the_mailboxes_struck_last_are_kept() -> None:
    store = MemoryStore(most_struck=2)
    for hours, address in enumerate((ANN, BOB, ANN, CY)):
        send(store, address, answers={address: FULL_NOW}, now=NOW + timedelta(hours=hours))
    window = Window(Category.MAILBOX_FULL, timedelta(days=7))
    question = LookUp(labels=Labels(), windows=tuple((key, window) for key in (ANN, BOB, CY)))
    assert list(store.look_up(question, NOW + timedelta(days=1)).counters.values()) == [1, 0, 1]


def test_the_strikes_of_one_mailbox_do_not_grow_for_ever() -> None:
    store, window = MemoryStore(), Window(Category.MAILBOX_FULL, timedelta(days=2000))
    for day in range(400):
        send(store, ANN, answers={ANN: FULL_NOW}, now=NOW + timedelta(days=day))
    question = LookUp(labels=Labels(), windows=((ANN, window),))
    assert store.look_up(question, NOW + timedelta(days=400)).counters == {(ANN, window): 366}


@settings(max_examples=40)
@given(
    groups=st.lists(st.lists(st.sampled_from((ANN, BOB, CY, DI)), min_size=1, max_size=4, unique=True), max_size=8),
    most=st.sampled_from((3, 100)),
    looks=st.integers(0, 8),
    prunes=st.booleans(),
)
def test_deliveries_that_are_kept_folded_are_told_as_all_others_are(
    groups: list[list[str]],
    most: int,
    looks: int,
    prunes: bool,
) -> None:
    folded, plain = MemoryStore(most_events=most), MemoryStore(most_events=most)
    for number, group in enumerate(groups):
        record = taken_by_all(f"a{number}", *group, at=NOW + timedelta(minutes=number))
        other = told_of(suppression(ANN, since=NOW + timedelta(minutes=number)))
        for store, one in ((folded, record), (plain, replace(record, events=tuple(record.events)))):
            store.record(one)
            if most > len(group):
                store.record(one)  # which is known
            if number % 3 == 0:
                store.tell((other,))
            if number == looks:
                assert store.events(after=1, limit=2) is not None
                if prunes:
                    store.prune(before=NOW + timedelta(minutes=2))
                if most > len(group):
                    store.record(one)
    assert folded.events() == plain.events()
    assert folded.history(ANN) == plain.history(ANN)
    assert (folded.newest_at(), folded._outbox.unread(1)) == (plain.newest_at(), plain._outbox.unread(1))
    assert folded.addressed("d1") == plain.addressed("d1")
    assert (folded._outbox._known, folded._outbox._last) == (plain._outbox._known, plain._outbox._last)


def test_of_folded_deliveries_nothing_is_made_before_somebody_reads() -> None:
    store, record = MemoryStore(), taken_by_all("a1", ANN, BOB)
    store.record(record)
    assert not hasattr(record.events, "_made")
    assert [event["subject"] for _, event in store.events()] == [ANN, BOB]


def taken_by_all(attempt_id: str, *addresses: str, at: datetime = NOW) -> Record:
    """What is recorded of a message that the server took for all."""
    delivery = delivery_to(*addresses)
    outcome = Outcome(attempt_id=attempt_id, now=at, statuses=())
    statuses = Taken(delivery.envelope.recipients, Reply(250, b"Ok"), "mx.example.com")
    people = Counted(delivery.recipients, at)
    return wholesale(people, statuses, outcome, delivery=delivery, policy=POLICY, road=NO_ROAD)


@pytest.mark.parametrize(
    "said",
    [
        Reply(550, b"5.1.1 " + b"x" * 200_000),
        replace(LOST, detail="x" * 200_000),
        replace(LOST, reply=Reply(421, b"x" * 200_000)),
    ],
    ids=["reply", "detail", "unasked reply"],
)
def test_a_server_that_says_much_does_not_fill_the_memory(said: Reply | NoReply) -> None:
    store = MemoryStore()
    send(store, ANN, answers={ANN: said})
    assert all(_bytes_held(event) < 20_000 for event in store._outbox._told)
    assert len(store.events()[0][1]["data"]["reply"]) <= 2048


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_fork_leaves_the_child_a_store_that_answers() -> None:
    """Whoever held the lock is not there in the child to let go of it."""
    store = MemoryStore()
    put(store, suppression(ANN))
    with store._lock, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 warns where another test has left a thread
        child = os.fork()
        if not child:
            signal.alarm(10)
            os._exit(0 if store.suppression(ANN) is not None else 1)
    assert os.waitpid(child, 0)[1] == 0


def _bytes_held(thing: object) -> int:
    """What a value and all that hangs on it takes."""
    seen: dict[int, int] = {}
    waiting = [thing]
    while waiting:
        one = waiting.pop()
        if id(one) in seen or isinstance(one, type):
            continue
        seen[id(one)] = sys.getsizeof(one)
        slots = [name for kind in type(one).__mro__ for name in getattr(kind, "__slots__", ())]
        waiting += [getattr(one, name) for name in slots if hasattr(one, name) and not isinstance(one, str | int)]
        waiting += list(one) if isinstance(one, tuple | frozenset) else []
    return sum(seen.values())
