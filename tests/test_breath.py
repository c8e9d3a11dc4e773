"""A process that writes all the time leaves the file to others in time, and loses nothing where it need not."""

import threading
from pathlib import Path

import pytest

from bouncekit.stores.sqlite import SqliteStore
from bouncekit.stores.sqlite.breath import Breath
from tests.building import ANN, suppression

from .contract.stores import put

LOOK = 0.004


def pauses(took: float, free: float, seconds: float = 10.0) -> list[float]:
    """The pauses of a process whose transactions take so long, with so much between them."""
    breath, now, found = Breath(longest_look=LOOK), 0.0, list[float]()
    while now < seconds:
        if pause := breath.needed(now):
            found.append(pause)
        breath.ended(now + pause + took)
        now += pause + took + free
    return found


@pytest.mark.parametrize(
    ("took", "free", "number"),
    [
        (0.1, 0.0001, 9),  # a slow disk, and several threads
        (0.03, 0.00001, 9),
        (3.0, 0.0001, 3),  # each of them is long
        (0.1, 0.005, 0),  # whoever waits has looked in between
        (0.001, 0.0003, 0),  # a quick disk: of so many looks some have met it
        (0.02, 0.0005, 0),
    ],
)
def test_there_is_a_pause_each_second_where_others_had_no_chance(took: float, free: float, number: int) -> None:
    assert pauses(took, free) == [2 * LOOK] * number


def test_whoever_writes_all_the_time_lets_others_come_to_it(tmp_path: Path) -> None:
    """Without a pause, one of 50 looks meets the moment in which the file is free, and few are made in five seconds."""
    path, is_over, has_it = tmp_path / "bounces.db", threading.Event(), threading.Event()
    with SqliteStore(path) as greedy, SqliteStore(path, busy_seconds=5.0) as other:

        def write() -> None:
            while not is_over.is_set():
                with greedy._database.writing():
                    has_it.set()
                    is_over.wait(0.2)

        thread = threading.Thread(target=write)
        thread.start()
        try:
            for _ in range(3):
                has_it.clear()
                assert has_it.wait(5.0)
                put(other, suppression(ANN))
        finally:
            is_over.set()
            thread.join()
