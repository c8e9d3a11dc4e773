"""Durable subscribers: at least once, in order, over restarts and failures, one process at a time."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bouncekit import ConfigurationError
from bouncekit.delivery.events import Event, EventType, Occasion, event_of
from bouncekit.desk import outbox as outboxes
from bouncekit.desk.outbox import Outbox, Reader
from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.stores import Store
from bouncekit.stores.sqlite import SqliteStore
from bouncekit.testing import ManualClock, ScriptedServer
from bouncekit.words.errors import StoreError

from .conftest import message


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    with SqliteStore(tmp_path / "bounces.db") as store:
        yield store


def tell(store: Store, clock: ManualClock, *types: EventType) -> list[str]:
    """Have the store hold some events; their ids."""
    made = []
    for type_ in types:
        occasion = Occasion(attempt_id=clock.new_id(), at=clock.now())
        made.append(event_of(type_, occasion))
    store.tell(made)
    return [event.id for event in made]


def reader(
    store: Store, clock: ManualClock, handler: Callable[[Event], object], *types: str, name: str = "a"
) -> Reader:
    return Reader(name, handler, types, store=store, clock=clock)


CLOSED, RECONNECTED = EventType.CLOSED, EventType.RECONNECTED


def test_every_event_is_heard_once_in_order_also_those_from_before(store: SqliteStore, clock: ManualClock) -> None:
    heard: list[str] = []
    first = tell(store, clock, CLOSED, RECONNECTED, CLOSED)
    one = reader(store, clock, lambda event: heard.append(event.id))
    assert one.read() == 3
    then = tell(store, clock, CLOSED)
    assert (one.read(), one.read()) == (1, 0)
    assert heard == first + then


def test_another_process_reads_on_where_the_last_one_was(store: SqliteStore, clock: ManualClock) -> None:
    heard: list[str] = []
    told = tell(store, clock, CLOSED, CLOSED)
    one = reader(store, clock, lambda event: heard.append(event.id))
    one.read()
    one.release()
    told += tell(store, clock, CLOSED)
    assert reader(store, clock, lambda event: heard.append(event.id)).read() == 1
    assert heard == told


def test_one_process_reads_at_a_time_until_its_lease_ends(store: SqliteStore, clock: ManualClock) -> None:
    heard: list[str] = []
    tell(store, clock, CLOSED)
    one = reader(store, clock, lambda event: heard.append(event.id))
    other = reader(store, clock, lambda event: heard.append(event.id))
    assert one.read() == 1
    tell(store, clock, CLOSED)
    assert other.read() == 0
    clock.move(timedelta(minutes=6))
    assert other.read() == 1


def test_a_failing_subscriber_hears_the_same_event_again_later_and_then_the_next(
    store: SqliteStore, clock: ManualClock
) -> None:
    heard: list[str] = []
    fails = True

    def handler(event: Event) -> None:
        heard.append(event.id)
        if fails and len(heard) > 1:
            raise OSError("the database is away")

    one, two, three = tell(store, clock, CLOSED, CLOSED, CLOSED)
    subscriber = reader(store, clock, handler)
    assert subscriber.read() == 1
    assert subscriber.rests()
    before = subscriber.pause
    assert subscriber.read() == 0
    assert subscriber.pause > before, "longer each time"
    clock.move(-timedelta(days=365))
    assert not subscriber.rests(), "a clock that was set back makes it no longer"
    fails = False
    assert subscriber.read() == 2
    assert heard == [one, two, two, two, three]


def test_only_the_wanted_types_are_heard(store: SqliteStore, clock: ManualClock) -> None:
    heard: list[EventType] = []
    tell(store, clock, CLOSED, RECONNECTED, CLOSED)
    reader(store, clock, lambda event: heard.append(event.type), "reconnected").read()
    assert heard == [RECONNECTED]


def test_an_event_that_cannot_be_read_back_blocks_nobody(store: SqliteStore, clock: ManualClock) -> None:
    heard: list[str] = []
    bad, good = tell(store, clock, CLOSED, CLOSED)
    with store._database.writing() as connection:
        connection.execute(
            'UPDATE outbox SET event = replace(event, \'"type":"closed"\', \'"type":"of 2031"\') WHERE id = ?', (bad,)
        )
    assert reader(store, clock, lambda event: heard.append(event.id)).read() == 2
    assert heard == [good]


def test_a_slow_subscriber_saves_its_place_on_the_way_and_stops_when_another_has_taken_over(
    store: SqliteStore, clock: ManualClock
) -> None:
    heard: list[str] = []

    def slow(event: Event) -> None:
        heard.append(event.id)
        clock.move(timedelta(seconds=6))
        if len(heard) == 2:  # so long that somebody else has the cursor by now
            clock.move(timedelta(minutes=10))
            assert store.claim_cursor("a", owner="other", now=clock.now(), until=clock.now() + timedelta(hours=1)) == 1

    told = tell(store, clock, CLOSED, CLOSED, CLOSED)
    reader(store, clock, slow).read()
    assert heard == told[:2]
    assert store.read_cursor("a") == 1


def test_one_that_fails_does_not_hold_the_others_up(store: SqliteStore, clock: ManualClock) -> None:
    heard: list[str] = []
    outbox = Outbox(store, clock)
    done = threading.Event()

    def good(event: Event) -> None:
        heard.append(event.id)
        if len(heard) == 2:
            done.set()

    def bad(event: Event) -> None:
        raise RuntimeError("never")

    outbox.on("bad", bad, ())
    outbox.on("good", good, ())
    told = tell(store, clock, CLOSED, CLOSED)
    outbox.wake()
    assert done.wait(10)
    outbox.close()
    assert heard == told
    assert store.read_cursor("bad") == 0


def test_a_name_is_taken_once(store: SqliteStore, clock: ManualClock) -> None:
    outbox = Outbox(store, clock)
    outbox.on("a", print, ())
    with pytest.raises(ConfigurationError, match="a name of its own"):
        outbox.on("a", print, ())
    with pytest.raises(ConfigurationError, match="a name of its own"):
        outbox.on("", print, ())
    outbox.close()


def test_a_store_that_does_not_answer_is_told_once_and_so_is_its_return(
    store: SqliteStore, clock: ManualClock, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    away, heard = iter([True] * 4), threading.Event()
    one, read = reader(store, clock, lambda event: heard.set()), Reader.read

    def fails_at_first(self: Reader, **settings: Callable[[], bool]) -> int:
        if next(away, False):
            raise StoreError("away")
        return read(self, **settings)

    monkeypatch.setattr(Reader, "read", fails_at_first)
    monkeypatch.setattr(outboxes, "_POLL_SECONDS", 0.01)
    tell(store, clock, CLOSED)
    with closing(Outbox(store, clock)) as outbox:
        outbox.add(one)
        outbox.wake()
        assert heard.wait(10)
    said = [line.getMessage() for line in caplog.records]
    assert said == ["the outbox cannot be read, and is tried again until it can: away", "the outbox is read again"]


def test_a_postmaster_tells_durable_subscribers_sync_and_async_of_what_was_sent(
    serve: Callable[..., ScriptedServer], tmp_path: Path
) -> None:
    server = serve({"RCPT": {"gone@example.com": "550 5.1.1 No such user"}})
    heard: list[str] = []
    done = threading.Event()
    with Postmaster(store=f"sqlite:///{tmp_path / 'bounces.db'}") as postmaster:

        @postmaster.on("failed", durable="crm")
        async def tell_crm(event: Event) -> None:
            heard.append(f"{event.type} {event.recipient} {event.rule}")
            done.set()

        with postmaster.client(server.url) as client:
            client.send(message("ada@example.com", "gone@example.com"))
        assert done.wait(10)
    assert heard == ["failed gone@example.com no-such-mailbox"]


def test_what_was_told_while_nobody_listened_is_heard_behind_a_restart(
    serve: Callable[..., ScriptedServer], tmp_path: Path
) -> None:
    server, url, heard = serve(), f"sqlite:///{tmp_path / 'bounces.db'}", []
    with Postmaster(store=url) as postmaster, postmaster.client(server.url) as client:
        client.send(message("ada@example.com"))
    done = threading.Event()
    with Postmaster(store=url) as postmaster:

        @postmaster.on("delivered", durable="crm")
        def tell_crm(event: Event) -> None:
            heard.append(event.recipient)
            done.set()

        assert done.wait(10)
    assert heard == ["ada@example.com"]


_LEFT_OPEN = """
import sys, threading
from bouncekit.postmaster.postmaster import Postmaster

postmaster = Postmaster(store=sys.argv[1])
done = threading.Event()
postmaster.on(durable="crm")(lambda event: done.set())
postmaster.suppressions.add("ada@example.com", by="jo")
assert done.wait(10)
"""


def test_a_process_that_ends_without_closing_leaves_its_place_to_the_next(tmp_path: Path, clock: ManualClock) -> None:
    path = tmp_path / "bounces.db"
    subprocess.run(
        [sys.executable, "-c", _LEFT_OPEN, f"sqlite:///{path}"], cwd=Path(__file__).parents[1], check=True, timeout=60
    )
    with SqliteStore(path) as store:
        now = datetime.now(UTC)
        assert store.claim_cursor("crm", owner="next", now=now, until=now) == 1
