"""What waits in one store, moved to another, and killed on the way: nobody is lost, and nobody is sent to from both."""

import os
import sqlite3
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from bouncekit.delivery.events import Occasion
from bouncekit.delivery.parcel import Arrival, moves
from bouncekit.delivery.queue import Lease, QueueState
from bouncekit.desk.moving import Moved, movable, move_all
from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.stores import Store, open_store
from bouncekit.stores.sqlite import SqliteStore
from bouncekit.stores.sqlite.backup import back_up
from bouncekit.testing import ManualClock
from bouncekit.words.errors import ConfigurationError
from tests.building import ANN, BOB, CY, DI, suppression
from tests.postgresql import Line, new_schema

from .contract.queueing import begin, claim, enqueue, outcome, wires
from .contract.stores import put

MINUTE = timedelta(minutes=1)
MANY = [f"r{number:02}@example.com" for number in range(60)]  # more than go at once
PAIRS = ("sqlite-sqlite", "sqlite-postgresql", "postgresql-sqlite")
STEPS = ("take_along", "receive", "hand_over", "let_in")
TAKEN_ONLY = {("take_along", "behind"), ("receive", "before")}  # behind these only the old store has anything
KILLED = 137

Urls = tuple[str, str]


def fork(test: Any) -> Any:
    """A test that kills a child of this process."""
    for mark in (
        pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here"),
        pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
    ):
        test = mark(test)
    return test


def at_any_step(test: Any) -> Any:
    """A test for each step, killed before it and behind it."""
    for mark in (pytest.mark.parametrize("when", ["before", "behind"]), pytest.mark.parametrize("at", STEPS)):
        test = mark(test)
    return test


@pytest.fixture
def sqlite(tmp_path: Path) -> Urls:
    return f"sqlite:///{tmp_path}/b.db", f"sqlite:///{tmp_path}/new.db"


@pytest.fixture(params=PAIRS)
def urls(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Urls]:
    """Where two stores are, the old one and the new one."""
    kinds = request.param.split("-")
    with new_schema() if "postgresql" in kinds else _nothing() as schema:
        found = {"postgresql": schema, "sqlite": f"sqlite:///{tmp_path}/b.db"}
        other = f"sqlite:///{tmp_path}/new.db"
        yield (found[kinds[0]], other if kinds[1] == "sqlite" else found["postgresql"])


@contextmanager
def _nothing() -> Iterator[str]:
    yield ""


class Mortal:
    """A store whose process is killed before or behind a call of a method, the n-th one."""

    def __init__(self, store: Store, at: str, when: str, number: int) -> None:
        self._store, self._at, self._when, self._left = store, at, when, number

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if name != self._at:
            return found

        def dying(*given: Any, **named: Any) -> Any:
            self._left -= 1
            if not self._left and self._when == "before":
                os._exit(KILLED)
            answer = found(*given, **named)
            if not self._left:
                os._exit(KILLED)
            return answer

        return dying


def fill(url: str, now: datetime) -> list[str]:
    """Have somebody wait for each thing that anybody waits for; who they are."""
    with open_store(url) as store:
        enqueue(store, ANN, at=now, due_at=now)
        (claimed,) = claim(store, now=now)
        store.record(outcome(claimed, begin(store, claimed, at=now), held=[ANN], at=now))
        enqueue(store, BOB, at=now, due_at=now)
        (claimed,) = claim(store, now=now)
        store.record(outcome(claimed, begin(store, claimed, at=now), delayed=[BOB], at=now, unknown=True))
        enqueue(store, *MANY, at=now, due_at=now)
        enqueue(store, CY, at=now, due_at=now + 10 * MINUTE)
    return [ANN, BOB, *MANY, CY]


def move(urls: Urls, now: datetime, change: Callable[[Store, Store], tuple[Any, Any]] | None = None) -> Moved:
    """Move all, by this time, with stores that may be changed before."""
    done = Moved()
    with open_store(urls[0]) as old, open_store(urls[1]) as new:
        changed = change(old, new) if change else (old, new)
        with _office(changed[0], now) as here, _office(changed[1], now) as there:
            for _ in move_all(here.office, there.office, done, by="ops"):
                pass
    return done


def _office(store: Any, now: datetime) -> Postmaster:
    return Postmaster(store=store, clock=ManualClock(now), worker="external")


def killed(urls: Urls, now: datetime, at: str, when: str, number: int) -> int:
    """The same in a process that is killed at a step; its exit code."""

    def mortal(old: Store, new: Store) -> tuple[Any, Any]:
        if at in ("take_along", "hand_over"):
            return Mortal(old, at, when, number), new
        return old, Mortal(new, at, when, number)

    if not (child := os.fork()):
        try:
            move(urls, now, mortal)
        except BaseException as error:  # what the parent would never see
            print(error, file=sys.stderr)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def send(url: str, now: datetime) -> list[str]:
    """Send what a store would by now; to whom."""
    sent = []
    with open_store(url) as store:
        while claimed := claim(store, now=now):
            for delivery in claimed:
                sent += wires(delivery)
                store.record(outcome(delivery, begin(store, delivery, at=now), done=wires(delivery), at=now))
    return sent


def waiting(url: str) -> list[str]:
    with open_store(url) as store:
        return [one.recipient for one in store.queued()]


def held(url: str) -> list[str]:
    with open_store(url) as store:
        return [one.recipient for one in store.queued(state=QueueState.HELD)]


# -- killed


@fork
@at_any_step
def test_killed_at_any_step_one_store_sends_and_the_next_run_goes_on(urls: Urls, at: str, when: str) -> None:
    _check_that_each_is_sent_to_once(urls, at, when, 1)


@fork
@at_any_step
def test_and_so_it_is_with_the_batches_behind_the_first(sqlite: Urls, at: str, when: str) -> None:
    _check_that_each_is_sent_to_once(sqlite, at, when, 2)


def _check_that_each_is_sent_to_once(urls: Urls, at: str, when: str, number: int) -> None:
    now = datetime.now(UTC)
    everybody = fill(urls[0], now)
    assert killed(urls, now, at, when, number) == KILLED
    later = now + 20 * MINUTE  # every lease is over
    sent = Counter([*send(urls[0], later), *send(urls[1], later)])
    done = move(urls, later + MINUTE)
    sent += Counter(send(urls[1], later + 60 * MINUTE))
    assert (sent, held(urls[0]), held(urls[1])) == (Counter(one for one in everybody if one != ANN), [], [ANN])
    assert (waiting(urls[0]), waiting(urls[1]), done.left) == ([], [ANN], Counter())


@fork
@at_any_step
def test_killed_at_any_step_and_run_again_at_once_everybody_waits_in_one_of_them(
    sqlite: Urls, at: str, when: str
) -> None:
    now = datetime.now(UTC)
    everybody = sorted(fill(sqlite[0], now))
    assert killed(sqlite, now, at, when, 1) == KILLED
    first = move(sqlite, now + MINUTE)
    assert sorted([*waiting(sqlite[0]), *waiting(sqlite[1])]) == everybody
    second = move(sqlite, now + 20 * MINUTE)
    assert (waiting(sqlite[0]), sorted(waiting(sqlite[1]))) == ([], everybody)
    assert (first.left["sending"], second.left) == (50 if (at, when) in TAKEN_ONLY else 0, Counter())
    with open_store(sqlite[1]) as new:
        assert list(new.arriving(limit=1)) == []


# -- not killed


def test_everybody_waits_there_as_here_and_the_old_store_says_where_they_went(urls: Urls) -> None:
    now = datetime.now(UTC)
    everybody = fill(urls[0], now)
    with open_store(urls[0]) as old:
        before = list(old.queued())
        messages = [old.queued_message(one) for one in dict.fromkeys(row.message for row in before)]
    done = move(urls, now)
    assert (done.moved, done.finished, done.left) == (len(everybody), 0, Counter())
    with open_store(urls[0]) as old, open_store(urls[1]) as new:
        assert (list(old.queued()), list(new.queued())) == ([], before)
        assert [new.queued_message(one.id) for one in messages if one] == messages
        last, place = old.history(BOB)[0], cast(Any, new).place
        assert (last["type"], last["data"]["rule"], last["data"]["moved_to"]) == ("queued", "moved-by-hand", place)
        assert [event["data"]["by"] for event in new.history(BOB)] == ["ops"]


def test_who_is_being_sent_to_is_left_and_said(sqlite: Urls) -> None:
    now = datetime.now(UTC)
    with open_store(sqlite[0]) as old:
        enqueue(old, ANN, at=now, due_at=now)
        claim(old, now=now)
        enqueue(old, BOB, at=now, due_at=now)
        (claimed,) = claim(old, now=now)
        begin(old, claimed, at=now)
        enqueue(old, CY, at=now, due_at=now)
    done = move(sqlite, now + MINUTE)
    assert (done.moved, done.left) == (1, Counter(sending=2))
    assert (waiting(sqlite[0]), waiting(sqlite[1])) == ([ANN, BOB], [CY])
    done = move(sqlite, now + 6 * MINUTE)
    assert (done.moved, done.left) == (1, Counter(abandoned=1)), "an attempt is a worker's to settle"
    assert (waiting(sqlite[0]), waiting(sqlite[1])) == ([BOB], [ANN, CY])


def test_what_cannot_be_read_back_is_left(sqlite: Urls, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    with open_store(sqlite[0]) as old:
        broken = enqueue(old, ANN, at=now, due_at=now).id
        enqueue(old, BOB, at=now, due_at=now)
    with closing(sqlite3.connect(tmp_path / "b.db")) as file, file:
        file.execute("UPDATE messages SET size_bytes = 1 WHERE id = ?", (broken,))
    done = move(sqlite, now)
    assert (done.moved, done.left, waiting(sqlite[0])) == (1, Counter(waiting=1), [ANN])


@fork
def test_what_half_came_from_a_third_store_waits_for_that_one(sqlite: Urls, tmp_path: Path) -> None:
    now, third = datetime.now(UTC), f"sqlite:///{tmp_path}/third.db"
    fill(third, now)
    assert killed((third, sqlite[1]), now, "let_in", "before", 1) == KILLED
    with open_store(sqlite[0]) as old:
        enqueue(old, DI, at=now, due_at=now)
    done = move(sqlite, now)
    assert (done.moved, done.finished, done.left) == (1, 0, Counter(elsewhere=50))
    done = move((third, sqlite[1]), now)
    assert (done.moved, done.finished, done.left) == (63, 50, Counter())


@fork
def test_what_half_came_is_not_forgotten_on_the_word_of_a_store_that_knows_nothing_of_it(
    sqlite: Urls, tmp_path: Path
) -> None:
    now, old = datetime.now(UTC), tmp_path / "b.db"
    everybody = fill(sqlite[0], now)
    assert killed(sqlite, now, "let_in", "before", 1) == KILLED
    for store in (old, tmp_path / "other.db"):
        SqliteStore(store).close()  # with its log in it
    old.rename(tmp_path / "kept.db")
    (tmp_path / "other.db").rename(old)
    done = move(sqlite, now)
    assert (done.moved, done.left, waiting(sqlite[1])) == (0, Counter(undecided=50), [])
    (tmp_path / "kept.db").rename(old)
    assert move(sqlite, now + MINUTE).finished == 50
    assert sorted(waiting(sqlite[1])) == sorted(everybody)


def test_without_the_list_nobody_is_moved_unless_somebody_says_so(sqlite: Urls) -> None:
    now = datetime.now(UTC)
    fill(sqlite[0], now)
    with open_store(sqlite[0]) as old, open_store(sqlite[1]) as new:
        put(old, suppression(DI, tenant="acme"))
        with _office(old, now) as here, _office(new, now) as there:
            with pytest.raises(ConfigurationError, match="suppression list"):
                next(move_all(here.office, there.office, Moved(), by="ops"))
            assert movable(here.office).moved == 63
            put(new, suppression(ANN))
            assert next(move_all(here.office, there.office, Moved(), by="ops")) == 0


def test_a_store_is_not_moved_to_itself(urls: Urls) -> None:
    with pytest.raises(ConfigurationError, match="name another"):
        move((urls[0], urls[0]), datetime.now(UTC))


def test_an_answer_that_got_lost_on_the_way_is_looked_up() -> None:
    now = datetime.now(UTC)
    with new_schema() as url:
        everybody, line = fill(url, now), Line(url)
        with open_store(line.url) as store:
            parcels = store.take_along(now=now, lease=Lease("a", now + MINUTE), limit=100).parcels
            store.receive([Arrival(token="a", origin="here", at=now, parcel=one) for one in parcels])
            told = {one.delivery.id: moves(one, "a", Occasion(attempt_id="x", at=now), {}) for one in parcels}
            line.cut = "behind"
            gone = store.hand_over("a", told, at=now)
            assert (line.cuts, sum(map(len, gone.values()))) == (1, len(everybody))
            line.cut = "behind"
            store.let_in("a", told)
            assert line.cuts == 2
            assert sorted(one.recipient for one in store.queued()) == sorted(everybody)


@fork
def test_of_whom_has_half_come_is_not_said_that_he_is_forgotten(sqlite: Urls) -> None:
    now = datetime.now(UTC)
    fill(sqlite[0], now)
    assert killed(sqlite, now, "let_in", "before", 1) == KILLED
    with Postmaster(store=sqlite[1], hash_keys=["a secret of sixteen bytes"]) as there:
        assert there.forget(BOB, by="ops").sending == 1
        assert there.forget(DI, by="ops").sending == 0


@fork
def test_in_a_copy_of_the_new_store_who_has_half_come_is_held_and_marked(sqlite: Urls, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    everybody = fill(sqlite[0], now)
    assert killed(sqlite, now, "let_in", "before", 1) == KILLED
    back_up(tmp_path / "new.db", tmp_path / "copy.db")
    copy = f"sqlite:///{tmp_path}/copy.db"
    assert move((sqlite[0], copy), now).finished == 50
    assert (sorted(waiting(copy)), len(held(copy))) == (sorted(everybody), 50)
    with open_store(copy) as store:
        assert all(one.possible_duplicate for one in store.queued(state=QueueState.HELD))
