"""The store in memory: its bounds and its cheapness; what every store does stands in `contract`."""

import os
import signal
import sys
import warnings
from dataclasses import replace
from datetime import timedelta

import pytest

from bouncekit.classification import Category
from bouncekit.envelope import Labels
from bouncekit.policy import Window
from bouncekit.reply import NoReply, Reply
from bouncekit.steps import LookUp
from bouncekit.stores.memory import MemoryStore

from .building import ANN, BOB, CY, DI, LOST, NOW, suppression
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
    assert all(_bytes_held(event) < 20_000 for event in store._told)
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
