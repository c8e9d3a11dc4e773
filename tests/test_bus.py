"""The bus: who hears what, in which order and thread, and what a bad subscriber can do."""

import asyncio
import functools
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest

from bouncekit.delivery.events import Event, EventType, Occasion
from bouncekit.outside.bus import Bus
from bouncekit.words.errors import ConfigurationError

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
SOON = 20.0  # seconds that nothing here needs


def event(type_: EventType = EventType.FAILED, id_: str = "1") -> Event:
    return Event(id=id_, type=type_, occasion=Occasion(attempt_id="a", at=NOW), recipient="ada@example.com")


def numbered(count: int) -> list[Event]:
    return [event(id_=str(number)) for number in range(count)]


@pytest.fixture
def bus() -> Iterator[Bus]:
    made = Bus()
    yield made
    made.close(SOON)


class Hearer:
    """An object that can be called; keeps ids and threads."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.threads: set[int] = set()

    def __call__(self, heard: Event) -> None:
        self.ids.append(heard.id)
        self.threads.add(threading.get_ident())


class AsyncHearer(Hearer):
    async def __call__(self, heard: Event) -> None:  # type: ignore[override]
        await asyncio.sleep(0)
        Hearer.__call__(self, heard)


# -- subscribing


def test_without_types_a_subscriber_hears_all_of_them_in_order(bus: Bus) -> None:
    heard: list[EventType] = []
    bus.on(lambda one: heard.append(one.type))
    bus.publish([event(type_) for type_ in EventType])
    assert heard == list(EventType)


def test_with_types_it_hears_those(bus: Bus) -> None:
    heard: list[EventType] = []
    bus.on(lambda one: heard.append(one.type), "failed", EventType.CLOSED)
    bus.publish([event(type_) for type_ in EventType])
    assert heard == [EventType.FAILED, EventType.CLOSED]


def test_subscribers_of_one_type_hear_in_the_order_in_which_they_came(bus: Bus) -> None:
    heard: list[int] = []
    for number in range(5):
        bus.on(lambda _, number=number: heard.append(number), *(("failed",) if number % 2 else ()))
    bus.publish([event()])
    assert heard == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("types", "hint"),
    [(("deliverd",), "did you mean 'delivered'"), (("zzz",), "one of delivered, delayed"), ((print,), "brackets")],
)
def test_a_type_that_does_not_exist_is_refused_with_what_would_be_right(
    bus: Bus, types: tuple[str, ...], hint: str
) -> None:
    heard = Hearer()
    with pytest.raises(ConfigurationError, match=hint):
        bus.on(heard, "failed", *types)
    bus.publish([event()])
    assert heard.ids == []


def test_what_cannot_be_called_is_refused(bus: Bus) -> None:
    with pytest.raises(ConfigurationError, match="function that takes an event"):
        bus.on("print")  # type: ignore[arg-type]


# -- plain subscribers


def test_a_plain_subscriber_has_heard_when_publish_returns_in_the_same_thread(bus: Bus) -> None:
    hearer = Hearer()
    bus.on(hearer)
    bus.publish(numbered(3))
    assert hearer.ids == ["0", "1", "2"]
    assert hearer.threads == {threading.get_ident()}


def test_one_that_fails_harms_nobody_and_its_traceback_is_logged(bus: Bus, caplog: pytest.LogCaptureFixture) -> None:
    def broken(_: Event) -> None:
        raise LookupError("the database is gone")

    first, last = Hearer(), Hearer()
    for handler in (first, broken, last):
        bus.on(handler)
    bus.publish(numbered(2))
    assert first.ids == last.ids == ["0", "1"]
    assert [record.name for record in caplog.records] == ["bouncekit", "bouncekit"]
    assert "broken failed at event 0 (failed)" in caplog.messages[0]
    assert caplog.records[0].exc_info is not None
    assert caplog.records[0].exc_info[0] is LookupError
    assert "ada@" not in "".join(caplog.messages)


def test_an_interrupt_is_no_failure_and_goes_on_to_the_publisher(bus: Bus) -> None:
    def interrupt(_: Event) -> None:
        raise KeyboardInterrupt

    bus.on(interrupt)
    with pytest.raises(KeyboardInterrupt):
        bus.publish([event()])


def test_no_thread_is_started_for_plain_subscribers(bus: Bus) -> None:
    before = threading.active_count()
    bus.on(Hearer())
    bus.publish(numbered(3))
    assert threading.active_count() == before
    assert bus.drain(0)


def test_the_event_loop_s_module_is_not_loaded_before_there_is_an_asynchronous_subscriber() -> None:
    code = (
        "import sys; from bouncekit.outside.bus import Bus\n"
        "from bouncekit.delivery.events import *; from datetime import *\n"
        "bus = Bus(); bus.on(lambda event: None)\n"
        "bus.publish([Event(id='1', type=EventType.FAILED, occasion=Occasion(attempt_id='1', at=datetime.now(UTC)))])\n"
        "bus.close(); print('asyncio' in sys.modules)"
    )
    assert run(code) == "False\n"


# -- asynchronous subscribers


def test_every_kind_of_asynchronous_callable_is_awaited_on_one_other_thread_in_order(bus: Bus) -> None:
    hearer, told = AsyncHearer(), AsyncHearer()

    async def function(prefix: str, heard: Event) -> None:
        await told(heard)

    bus.on(hearer)
    bus.on(functools.partial(function, "x"))
    bus.on(lambda heard: function("y", heard))
    bus.publish(numbered(50))
    assert bus.drain(SOON)
    assert hearer.ids == [str(number) for number in range(50)]
    assert sorted(told.ids) == sorted([str(number) for number in range(50)] * 2)
    assert hearer.threads == told.threads
    assert hearer.threads != {threading.get_ident()}


def test_a_slow_subscriber_does_not_hold_up_the_others(bus: Bus) -> None:
    gate = threading.Event()

    async def slow(_: Event) -> None:
        await asyncio.to_thread(gate.wait, SOON)

    done = threading.Event()

    async def fast(heard: Event) -> None:
        if heard.id == "2":
            done.set()

    bus.on(slow)
    bus.on(fast)
    bus.publish(numbered(3))
    assert done.wait(SOON)
    assert not bus.drain(0)
    gate.set()
    assert bus.drain(SOON)


def test_an_asynchronous_one_that_fails_is_logged_and_hears_the_next_event(
    bus: Bus, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[str] = []

    async def broken(one: Event) -> None:
        heard.append(one.id)
        raise {"0": OSError, "1": asyncio.CancelledError, "2": SystemExit, "3": KeyboardInterrupt}[one.id]

    bus.on(broken)
    bus.publish(numbered(4))
    assert bus.drain(SOON)
    assert heard == ["0", "1", "2", "3"]
    kinds = [record.exc_info[0] for record in caplog.records if record.exc_info]
    assert kinds == [OSError, asyncio.CancelledError, SystemExit, KeyboardInterrupt]


def test_a_full_queue_makes_the_publisher_wait_and_loses_nothing() -> None:
    bus, gate, heard = Bus(capacity=2), threading.Event(), []
    is_hearing = threading.Event()

    async def slow(one: Event) -> None:
        is_hearing.set()
        await asyncio.to_thread(gate.wait, SOON)
        heard.append(one.id)

    bus.on(slow)
    publisher = threading.Thread(target=bus.publish, args=(numbered(10),))
    publisher.start()
    assert is_hearing.wait(SOON)
    assert publisher.is_alive()
    gate.set()
    publisher.join(SOON)
    bus.close(SOON)
    assert heard == [str(number) for number in range(10)]


def test_a_stuck_subscriber_costs_its_own_events_and_never_the_send(caplog: pytest.LogCaptureFixture) -> None:
    bus, gate = Bus(capacity=1, stuck_after=0.01), asyncio.Event()

    async def stuck(_: Event) -> None:
        await gate.wait()

    other = Hearer()
    bus.on(stuck)
    bus.on(other)
    bus.publish(numbered(5))
    assert other.ids == ["0", "1", "2", "3", "4"]
    assert any("is stuck and misses event 4 (failed)" in message for message in caplog.messages)
    bus.close(0)


def test_publishing_on_the_bus_s_own_thread_never_waits(bus: Bus) -> None:
    narrow, heard = Bus(capacity=1, stuck_after=SOON), []

    async def chain(one: Event) -> None:
        heard.append(one.id)
        if one.id == "0":
            narrow.publish(numbered(20)[1:])
            assert not narrow.drain()  # would wait for itself

    narrow.on(chain)
    narrow.publish(numbered(1))
    assert narrow.drain(SOON)
    narrow.close(SOON)
    assert heard == [str(number) for number in range(20)]


def test_events_of_many_publishers_are_all_heard(bus: Bus) -> None:
    hearer = AsyncHearer()
    bus.on(hearer)
    publishers = [threading.Thread(target=bus.publish, args=(numbered(200),)) for _ in range(8)]
    for one in publishers:
        one.start()
    for one in publishers:
        one.join(SOON)
    assert bus.drain(SOON)
    assert len(hearer.ids) == 1600


def test_close_waits_and_ends_the_thread_and_a_later_event_starts_another() -> None:
    bus, hearer = Bus(), AsyncHearer()
    bus.on(hearer)
    for round_ in (1, 2):
        bus.publish(numbered(3))
        bus.close(SOON)
        assert len(hearer.ids) == 3 * round_
        assert "bouncekit-bus" not in [thread.name for thread in threading.enumerate()]
    bus.close()


def test_close_gives_up_on_what_does_not_end_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    bus = Bus()
    is_cancelled = threading.Event()

    async def endless(_: Event) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            is_cancelled.set()

    bus.on(endless)
    bus.publish(numbered(3))
    bus.close(0.01)
    assert is_cancelled.is_set()
    assert bus.drain(0)
    assert [message.split("event ")[1] for message in caplog.messages if "did not hear" in message] == [
        "1 (failed)",
        "2 (failed)",
    ]


def test_an_asynchronous_subscriber_may_close_the_bus_itself() -> None:
    bus, closed = Bus(), threading.Event()

    async def closes(_: Event) -> None:
        bus.close()
        closed.set()

    bus.on(closes)
    bus.publish([event()])
    assert closed.wait(SOON)


# -- processes


def run(code: str) -> str:
    result = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return result.stdout


def test_a_program_that_ends_without_close_has_still_told_everything() -> None:
    code = (
        "import asyncio; from bouncekit.outside.bus import Bus\n"
        "from bouncekit.delivery.events import *; from datetime import *\n"
        "async def tell(event):\n    await asyncio.sleep(0.01); print(event.id, flush=True)\n"
        "bus = Bus(); bus.on(tell); occasion = Occasion(attempt_id='1', at=datetime.now(UTC))\n"
        "bus.publish([Event(id=str(n), type=EventType.FAILED, occasion=occasion) for n in range(3)])\n"
    )
    assert run(code) == "0\n1\n2\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_the_child_of_a_fork_has_a_thread_of_its_own_and_hears_nothing_of_the_parent_s(bus: Bus) -> None:
    gate, hearer = threading.Event(), AsyncHearer()

    async def slow(heard: Event) -> None:
        if heard.id == "0":
            await asyncio.to_thread(gate.wait, SOON)
        await hearer(heard)

    bus.on(slow)
    bus.publish(numbered(3))  # one is being heard, two wait
    bus._changed.acquire()  # as another thread may hold it at that moment
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # 3.12: forking with threads is what this is about
            child = os.fork()
        if child == 0:
            signal.alarm(int(SOON))
            bus.publish([event(id_="of the child")])
            os._exit(0 if bus.drain(SOON) and hearer.ids == ["of the child"] else 1)
    finally:
        bus._changed.release()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    gate.set()
    assert bus.drain(SOON)
    assert hearer.ids == ["0", "1", "2"]


def test_publishing_to_nobody_costs_next_to_nothing(bus: Bus) -> None:
    """Measured 0.2 us an event; the limit only catches work that does not belong there."""
    events = numbered(1000)
    best = min(_seconds(lambda: bus.publish(events)) for _ in range(5))
    assert best / 1000 < 10e-6


def _seconds(work: Callable[[], None]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start
