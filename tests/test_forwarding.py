"""Sinks: each event at least once, in order, over failures, restarts and kills; a dead one holds up nobody."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bouncekit.delivery.events import Event, EventType, Occasion, Told, event_of
from bouncekit.desk.forwarding import PATIENCE, Forwarder, Forwarding, cursor_of, sink_of
from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.sinks import NotTaken, Sink
from bouncekit.stores import Store
from bouncekit.stores.cursors import Trouble
from bouncekit.stores.memory import MemoryStore
from bouncekit.stores.sqlite import SqliteStore
from bouncekit.testing import ManualClock, ScriptedServer
from bouncekit.words.errors import ConfigurationError

from .conftest import message
from .sinks.receiver import waited

ROOT = Path(__file__).parents[1]
CLOSED, RECONNECTED = EventType.CLOSED, EventType.RECONNECTED


class Memo(Sink):
    """Takes what it is told to take."""

    kind = "memo"
    batch = 4

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.got: list[Told] = []
        self.failures: list[Exception] = []
        self.most: int | None = None
        self.is_closed = False

    def send(self, events: Sequence[Told]) -> int | None:
        error = self.failures.pop(0) if self.failures else None
        taken = error.taken if isinstance(error, NotTaken) else 0 if error else self.most
        self.got += events[:taken]
        if error is not None:
            raise error
        return self.most

    def close(self) -> None:
        self.is_closed = True

    @property
    def ids(self) -> list[str]:
        return [event["id"] for event in self.got]


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    with MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "bounces.db") as store:
        yield store


def tell(store: Store, clock: ManualClock, *types: EventType) -> list[str]:
    """Have the store hold some events; their ids."""
    made = []
    for type_ in types:
        occasion = Occasion(attempt_id=clock.new_id(), at=clock.now())
        made.append(event_of(type_, occasion))
    store.tell(made)
    return [event.id for event in made]


def forwarder(
    sink: Sink, store: Store, clock: ManualClock, parked: Callable[[str, Trouble], None] = lambda name, trouble: None
) -> Forwarder:
    return Forwarder(sink, store=store, clock=clock, tell_parked=parked, jitter=lambda: 0.5)


def trouble(store: Store, sink: Sink) -> Trouble:
    found = store.trouble_of(cursor_of(sink.name))
    assert found is not None
    return found


# -- what it gets


def test_every_event_comes_once_in_order_and_with_its_number(store: Store, clock: ManualClock) -> None:
    sink, told = Memo(), tell(store, clock, *[CLOSED] * 6)
    reading = forwarder(sink, store, clock)
    assert (reading.read(), reading.read(), reading.read()) == (4, 2, 0)
    assert sink.ids == told
    assert [int(event["sequence"]) for event in sink.got] == [number for number, _ in store.events()]
    assert [event["sequence"] for event in sink.got] == sorted(event["sequence"] for event in sink.got)


def test_only_the_wanted_types_come_and_the_others_hold_nothing_up(store: Store, clock: ManualClock) -> None:
    sink = Memo(types=["reconnected"])
    told = tell(store, clock, CLOSED, RECONNECTED, CLOSED, CLOSED, CLOSED, CLOSED)
    reading = forwarder(sink, store, clock)
    assert reading.read() + reading.read() == 6
    assert sink.ids == [told[1]]


def test_a_new_sink_may_begin_behind_the_newest_event(store: Store, clock: ManualClock) -> None:
    tell(store, clock, CLOSED, CLOSED)
    sink = Memo(begin="newest")
    assert forwarder(sink, store, clock).read() == 0
    told = tell(store, clock, CLOSED)
    assert forwarder(sink, store, clock).read() == 0, "another process has it"
    clock.move(timedelta(minutes=2))
    assert forwarder(sink, store, clock).read() == 1, "and it is not new any more"
    assert sink.ids == told


def test_one_that_begins_at_the_newest_of_nothing_misses_nothing(store: Store, clock: ManualClock) -> None:
    sink = Memo(begin="newest")
    forwarder(sink, store, clock).read()
    told = tell(store, clock, CLOSED)
    clock.move(timedelta(minutes=2))
    forwarder(sink, store, clock).read()
    assert sink.ids == told


def test_one_process_sends_at_a_time_until_its_lease_ends(store: Store, clock: ManualClock) -> None:
    one, other = Memo(), Memo()
    tell(store, clock, CLOSED)
    forwarder(one, store, clock).read()
    tell(store, clock, CLOSED)
    reading = forwarder(other, store, clock)
    assert reading.read() == 0
    clock.move(timedelta(minutes=2))
    assert reading.read() == 1


def test_who_lost_its_lease_on_the_way_moves_nothing_and_notes_nothing(store: Store, clock: ManualClock) -> None:
    told = tell(store, clock, CLOSED, CLOSED)

    class Slow(Memo):
        def send(self, events: Sequence[Told]) -> int | None:
            clock.move(timedelta(minutes=10))
            now = clock.now()
            assert store.claim_cursor(cursor_of("memo"), owner="other", now=now, until=now + timedelta(hours=1)) == 0
            raise NotTaken("too late", taken=1)

    forwarder(Slow(), store, clock).read()
    assert store.read_cursor(cursor_of("memo")) == 0
    assert store.trouble_of(cursor_of("memo")) is None
    clock.move(timedelta(hours=2))
    sink = Memo()
    forwarder(sink, store, clock).read()
    assert sink.ids == told, "all of it once more"


# -- when it fails


def test_what_was_taken_of_a_batch_is_not_sent_again_and_the_rest_is(store: Store, clock: ManualClock) -> None:
    sink, told = Memo(types=["closed"]), tell(store, clock, CLOSED, RECONNECTED, CLOSED, CLOSED)
    sink.failures = [NotTaken("503", taken=1)]
    reading = forwarder(sink, store, clock)
    assert reading.read() == 2, "one taken, and one that it does not want"
    assert reading.rests()
    assert trouble(store, sink).failures == 1
    clock.move(timedelta(seconds=10))
    assert not reading.rests()
    assert reading.read() == 2
    assert sink.ids == [told[0], *told[2:]]
    assert store.trouble_of(cursor_of("memo")) is None


def test_one_that_has_no_time_for_all_gets_the_rest_at_once(store: Store, clock: ManualClock) -> None:
    sink, told = Memo(), tell(store, clock, CLOSED, CLOSED, CLOSED)
    sink.most = 2
    reading = forwarder(sink, store, clock)
    assert (reading.read(), reading.read(), reading.read()) == (2, 1, 0)
    assert sink.ids == told
    assert not reading.rests()


def test_pauses_grow_to_half_an_hour_and_the_third_day_parks_it(store: Store, clock: ManualClock) -> None:
    parked: list[tuple[str, Trouble]] = []
    sink, told = Memo(), tell(store, clock, CLOSED)
    reading = forwarder(sink, store, clock, lambda *args: parked.append(args))
    began, pauses = clock.now(), []
    while not parked:
        sink.failures = [NotTaken("503 Service Unavailable")]
        assert reading.read() == 0
        if (due := trouble(store, sink).next_try_at) is not None:
            pauses.append(due - clock.now())
            clock.move(due - clock.now() - timedelta(milliseconds=1))
            assert reading.rests()
            clock.move(timedelta(milliseconds=1))
            assert not reading.rests()
    assert [int(pause.total_seconds()) for pause in pauses[:4]] == [5, 10, 20, 40]
    assert pauses == sorted(pauses)
    assert pauses[-1] == timedelta(minutes=30)
    assert PATIENCE <= clock.now() - began < PATIENCE + timedelta(hours=1)
    ((name, last),) = parked
    assert (name, last.error, last.next_try_at) == ("memo", "503 Service Unavailable", None)
    clock.move(timedelta(days=900))
    assert reading.rests(), "nobody tries by himself"
    store.place_cursor(cursor_of("memo"), None)
    assert not reading.rests()
    reading.read()
    assert sink.ids == told, "and nothing is lost"


def test_failures_survive_a_restart(store: Store, clock: ManualClock) -> None:
    sink = Memo()
    tell(store, clock, CLOSED)
    sink.failures = [NotTaken("no"), NotTaken("no")]
    forwarder(sink, store, clock).read()
    clock.move(timedelta(minutes=2))
    reading = forwarder(sink, store, clock)
    reading.read()
    assert trouble(store, sink).failures == 2
    assert forwarder(Memo(), store, clock).rests()


def test_a_process_that_was_away_for_days_parks_nothing_by_its_first_failure(store: Store, clock: ManualClock) -> None:
    sink = Memo()
    tell(store, clock, CLOSED)
    sink.failures = [NotTaken("no"), NotTaken("no")]
    forwarder(sink, store, clock).read()
    clock.move(timedelta(days=9))
    forwarder(sink, store, clock).read()
    assert trouble(store, sink).next_try_at is not None


def test_one_that_can_be_opened_again_is_well_without_an_event(store: Store, clock: ManualClock) -> None:
    class Shut(Memo):
        is_shut = True

        def open(self) -> None:
            if self.is_shut:
                raise NotTaken("the port is taken")

    sink = Shut()
    reading = forwarder(sink, store, clock)
    reading.read()
    assert trouble(store, sink).error == "the port is taken"
    sink.is_shut = False
    clock.move(timedelta(minutes=1))
    assert not reading.rests()
    reading.read()
    assert store.trouble_of(cursor_of("memo")) is None


def test_a_receiver_that_is_gone_is_parked_at_once(store: Store, clock: ManualClock) -> None:
    parked: list[str] = []
    sink = Memo()
    tell(store, clock, CLOSED)
    sink.failures = [NotTaken("410 Gone", is_gone=True)]
    reading = forwarder(sink, store, clock, lambda name, _: parked.append(name))
    reading.read()
    assert parked == ["memo"]
    assert reading.rests()


@pytest.mark.parametrize(("wish", "seconds"), [(1, 5), (600, 600), (10**6, 7200)])
def test_a_receiver_s_wish_is_kept_within_reason(store: Store, clock: ManualClock, wish: int, seconds: int) -> None:
    sink = Memo()
    tell(store, clock, CLOSED)
    sink.failures = [NotTaken("429", wait=timedelta(seconds=wish))]
    forwarder(sink, store, clock).read()
    due = trouble(store, sink).next_try_at
    assert due is not None
    assert (due - clock.now()).total_seconds() == seconds


def test_a_clock_that_was_set_back_keeps_nobody_waiting(store: Store, clock: ManualClock) -> None:
    sink = Memo()
    tell(store, clock, CLOSED)
    sink.failures = [NotTaken("no")]
    reading = forwarder(sink, store, clock)
    reading.read()
    clock.move(-timedelta(days=365))
    assert not reading.rests()


def test_what_a_sink_raises_is_remembered_without_addresses_and_secrets(
    store: Store, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    sink = Memo()
    tell(store, clock, CLOSED)
    sink.failures = [RuntimeError("ada@example.com\nat redis://jo:hunter2@cache password=hunter2"), NotTaken("a@b.c")]
    reading = forwarder(sink, store, clock)
    reading.read()
    shown = trouble(store, sink).error
    assert shown.startswith("RuntimeError: ")
    assert "(test_forwarding.py:" in shown
    assert shown.isprintable()
    reading.read()
    for text in (shown, trouble(store, sink).error, caplog.text):
        assert "hunter2" not in text
        assert "ada@" not in text
        assert "a@b.c" not in text or "…" in text


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=30))
@settings(max_examples=40, deadline=None)
def test_whatever_fails_each_event_comes_at_least_once_and_in_order(plan: list[tuple[int, bool]]) -> None:
    """And twice only where the sink said that it was not taken."""
    clock, store, sink = ManualClock(), MemoryStore(), Memo()
    told = tell(store, clock, *[CLOSED] * 12)
    sink.failures = [NotTaken("no", taken=taken) if is_known else OSError("no") for taken, is_known in plan]
    for _ in range(len(plan) + 12):
        forwarder(sink, store, clock).read()
        clock.move(timedelta(hours=1))
        store.place_cursor(cursor_of("memo"), None)
    assert sink.ids == told


def test_the_cursor_of_a_sink_is_no_durable_subscriber_s() -> None:
    assert sink_of(cursor_of("crm")) == "crm"
    assert sink_of("crm") is None


# -- threads


def test_a_dead_one_holds_up_neither_the_others_nor_the_end(store: Store, clock: ManualClock) -> None:
    over = threading.Event()

    class Dead(Memo):
        kind = "dead"

        def send(self, events: Sequence[Told]) -> int | None:
            over.wait(60)
            raise NotTaken("dead")

    good, bad = Memo(), Memo(name="bad")
    bad.failures = [RuntimeError("never")] * 1000
    forwarding = Forwarding([Dead(), bad, good], store=store, clock=clock, tell_parked=lambda name, trouble: None)
    told = tell(store, clock, CLOSED, CLOSED)
    forwarding.start()
    assert waited(lambda: good.ids == told)
    told += tell(store, clock, CLOSED)
    forwarding.wake()
    assert waited(lambda: good.ids == told)
    over.set()
    forwarding.close()
    assert good.is_closed
    assert store.read_cursor(cursor_of("dead")) == store.read_cursor(cursor_of("bad")) == 0


def test_a_postmaster_forwards_what_was_sent(serve: Callable[..., ScriptedServer], tmp_path: Path) -> None:
    server = serve({"RCPT": {"gone@example.com": "550 5.1.1 No such user"}})
    sink = Memo(types=["failed"])
    with Postmaster(store=f"sqlite:///{tmp_path / 'b.db'}", sinks=[sink]) as postmaster:
        with postmaster.client(server.url) as client:
            client.send(message("ada@example.com", "gone@example.com"))
        assert waited(lambda: bool(sink.got))
    assert [event["subject"] for event in sink.got] == ["gone@example.com"]
    assert sink.is_closed


def test_an_external_worker_leaves_the_sinks_to_it(tmp_path: Path) -> None:
    sink = Memo()
    with Postmaster(store=f"sqlite:///{tmp_path / 'b.db'}", sinks=[sink], worker="external") as postmaster:
        postmaster.suppressions.add("ada@example.com", by="jo")
        assert not [thread for thread in threading.enumerate() if thread.name == "bouncekit-outbox"]
        assert postmaster.forwarding.run() == 1
    assert len(sink.got) == 1


def test_a_parked_sink_is_an_event(clock: ManualClock) -> None:
    sink = Memo()
    sink.failures = [NotTaken("410 Gone", is_gone=True)]
    heard: list[Event] = []
    with Postmaster(sinks=[sink], worker="external", clock=clock) as postmaster:
        postmaster.on("sink_parked")(heard.append)
        postmaster.suppressions.add("ada@example.com", by="jo")
        postmaster.forwarding.run()
    (told,) = heard
    assert (told.details["sink"], told.details["why"], told.details["failures"]) == ("memo", "410 Gone", 1)


def test_two_sinks_have_two_names() -> None:
    with pytest.raises(ConfigurationError, match="'memo' is the name of two"):
        Postmaster(sinks=[Memo(), Memo()])


# -- kills

_KILLED = """
import os, signal, sys
from bouncekit.sinks.webhook import Webhook
from bouncekit.postmaster.postmaster import Postmaster

store, url, secret = sys.argv[1:]
sink = Webhook(url, secret=secret, allow_http=True, allow_private=True)
with Postmaster(store=store, sinks=[sink], worker="external") as postmaster:
    move = postmaster.office.store.move_cursor
    if "--die" in os.environ.get("HOW", ""):
        postmaster.office.store.move_cursor = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
    postmaster.forwarding.run()
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no kill -9 here")
def test_a_kill_between_2xx_and_the_cursor_sends_again_with_the_same_id(tmp_path: Path, clock: ManualClock) -> None:
    pytest.importorskip("standardwebhooks", reason="python -m pip install 'bouncekit[webhook]'")
    from bouncekit.sinks.webhook import new_secret

    from .sinks.receiver import Receiver

    secret, path = new_secret(), tmp_path / "b.db"
    with SqliteStore(path) as store:
        told = tell(store, clock, CLOSED, RECONNECTED, CLOSED)

    def forward(how: str) -> int:
        command = [sys.executable, "-c", _KILLED, f"sqlite:///{path}", receiver.url, secret]
        return subprocess.run(command, cwd=ROOT, timeout=60, env={**os.environ, "HOW": how}).returncode

    with Receiver() as receiver:
        assert forward("--die") == -signal.SIGKILL
        assert receiver.ids == told, "all were taken"
        with SqliteStore(path) as store:
            assert store.read_cursor(cursor_of("webhook")) == 0
            store.place_cursor(cursor_of("webhook"), None)  # in place of the minute that the dead one's lease lasts
        assert forward("") == 0
        assert receiver.ids == told * 2
        assert forward("") == 0
        assert receiver.ids == told * 2
