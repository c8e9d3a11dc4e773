"""A claim of a message to very many costs what it takes of it, however many more of it wait for something else."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from bouncekit.stores.memory import MemoryStore
from bouncekit.stores.queueing import MOST_OF_ONE
from bouncekit.stores.sqlite import SqliteStore

from .building import NOW
from .contract.queueing import LATER, MINUTE, claim, enqueue, wires

_STEPS = 100  # of SQLite's machine, between two looks at it


def calls(work: Callable[[], object]) -> int:
    """How many functions of Python's it calls."""
    seen = 0

    def count(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal seen
        seen += event == "call"

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return seen


def steps(store: SqliteStore, work: Callable[[], object]) -> int:
    """How many steps SQLite takes for it."""
    seen = 0

    def count() -> None:
        nonlocal seen
        seen += _STEPS

    with store._database.writing() as connection:  # the one of this thread
        connection.set_progress_handler(count, _STEPS)
    work()
    connection.set_progress_handler(None, 0)
    return seen


def last_claim(store: Any, thousands: int, measure: Callable[[Callable[[], object]], int]) -> int:
    """What it takes to claim the last thousand of so many, after all the others."""
    enqueue(store, *(f"r{number}@example.com" for number in range(thousands * MOST_OF_ONE)))
    for _ in range(thousands - 1):
        claim(store)
    taken: list[str] = []
    cost = measure(lambda: taken.extend(wires(*claim(store))))
    assert len(taken) == MOST_OF_ONE
    assert claim(store) == []
    return cost


def test_the_last_claim_of_a_long_message_takes_sqlite_no_longer_than_that_of_a_short_one(tmp_path: Path) -> None:
    costs = []
    for thousands in (2, 12):
        with SqliteStore(tmp_path / f"{thousands}.db") as store:
            costs.append(last_claim(store, thousands, lambda work, store=store: steps(store, work)))
    assert costs[1] < 1.2 * costs[0]


def test_the_last_claim_of_a_long_message_calls_as_little_in_memory_as_that_of_a_short_one() -> None:
    costs = []
    for thousands in (2, 12):
        with MemoryStore() as store:
            costs.append(last_claim(store, thousands, calls))
    assert costs[1] < 1.2 * costs[0]


def test_a_long_message_comes_once_in_a_claim_with_those_who_could_be_had_first(tmp_path: Path) -> None:
    for store in (MemoryStore(), SqliteStore(tmp_path / "bounces.db")):
        with store:
            message = enqueue(store, *(f"r{one}@example.com" for one in range(MOST_OF_ONE + 1)), due_at=LATER)
            for one in range(5):
                store.requeue(message.id, f"r{one}@example.com", at=NOW - one % 2 * MINUTE)
            claims = [[sorted(wires(each)) for each in claim(store)] for _ in range(3)]
            assert claims == [
                [["r1@example.com", "r3@example.com"]],
                [[f"r{one}@example.com" for one in (0, 2, 4)]],
                [],
            ]


@pytest.mark.parametrize("number", [MOST_OF_ONE, 2 * MOST_OF_ONE])
def test_whoever_is_due_of_a_message_is_taken_where_many_wait_for_later(tmp_path: Path, number: int) -> None:
    for store in (MemoryStore(), SqliteStore(tmp_path / "bounces.db")):
        with store:
            message = enqueue(store, *(f"r{one}@example.com" for one in range(number)), due_at=LATER)
            assert claim(store) == []
            assert store.requeue(message.id, "r7@example.com", at=NOW) == 1
            assert wires(*claim(store)) == ["r7@example.com"]
            later = [one for _ in range(3) for one in wires(*claim(store, now=LATER + MINUTE))]
            assert sorted(later) == sorted(f"r{one}@example.com" for one in range(number))
