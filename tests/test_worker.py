"""The worker: who goes first, who must not wait for whom, and what becomes of what it could not do."""

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bouncekit.clients.client import Client
from bouncekit.delivery.queue import Begun, Lease
from bouncekit.delivery.steps import Delivery
from bouncekit.desk.ledger import LEASE
from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.postmaster.worker import Worker
from bouncekit.stores.sqlite import SqliteStore
from bouncekit.testing import Delay, ManualClock, ScriptedServer, refusing_port
from bouncekit.words.errors import StoreError

from .conftest import message

Serve = Callable[..., ScriptedServer]
Make = Callable[..., Postmaster]


@pytest.fixture
def desk(make_postmaster: Make, tmp_path: Path) -> Callable[..., Postmaster]:
    """A postmaster whose queue is worked on by hand."""

    def make(**relays: object) -> Postmaster:
        store = f"sqlite:///{tmp_path / 'bounces.db'}"
        return make_postmaster(store=store, retry="queue", worker="external", relays=relays)

    return make


def submit(postmaster: Postmaster, relay: str, *recipients: str) -> None:
    with postmaster.client(relay) as client:
        for recipient in recipients:
            client.submit(message(recipient))


def test_fresh_mail_goes_before_what_was_tried(serve: Serve, desk: Make, clock: ManualClock) -> None:
    server = serve({"RCPT": {"old@example.com": ["451 4.7.1 Greylisted"]}})
    postmaster = desk(main=server.url)
    with postmaster.client("main") as client:
        client.send(message("old@example.com"))
    clock.move(timedelta(hours=2))
    submit(postmaster, "main", "new@example.com")
    postmaster.worker().run_due()
    assert [received.recipients[0] for received in server.messages] == ["new@example.com", "old@example.com"]


def test_a_relay_that_is_down_rests_and_costs_its_mail_no_attempts(
    serve: Serve, desk: Make, clock: ManualClock
) -> None:
    server = serve()
    with refusing_port() as port:
        _rest(desk(down=f"smtp://127.0.0.1:{port}", up=server.url), server, clock)


def _rest(postmaster: Postmaster, server: ScriptedServer, clock: ManualClock) -> None:
    submit(postmaster, "down", *(f"r{number}@example.com" for number in range(5)))
    submit(postmaster, "up", "ada@example.com")
    worker = postmaster.worker()
    worker.run_due()
    assert server.copies("ada@example.com") == 1
    tried = [one for one in postmaster.office.store.queued() if one.attempts]
    assert len(tried) == 1, "the others wait until it answers"
    assert postmaster.office.store.depth(clock.now()).due == 4, "and are given back"
    clock.move(timedelta(seconds=31))
    worker.run_due()
    assert len([one for one in postmaster.office.store.queued() if one.attempts]) == 2


def test_a_slow_relay_starves_nobody(serve: Serve, tmp_path: Path) -> None:
    """Of two threads one is always left to the other relay."""
    slow, quick = serve({"END_OF_DATA": Delay(90.0)}), serve()
    settings: dict[str, Any] = {"store": f"sqlite:///{tmp_path / 'b.db'}", "retry": "queue", "worker": "external"}
    with Postmaster(**settings, relays={"slow": slow.url, "quick": quick.url}) as postmaster:
        submit(postmaster, "slow", *(f"r{number}@example.com" for number in range(4)))
        worker = postmaster.worker(concurrency=2)
        worker.start()
        while not slow.sessions:
            threading.Event().wait(0.01)
        submit(postmaster, "quick", *(f"r{number}@example.com" for number in range(30)))
        worker.wake()
        end = postmaster.office.clock.now() + timedelta(seconds=60)
        while len(quick.messages) < 30 and postmaster.office.clock.now() < end:
            threading.Event().wait(0.01)
        slow.stop()
        worker.stop()
    assert len(quick.messages) == 30, "the quick ones did not wait for the slow ones"


def test_a_worker_that_is_stopped_finishes_its_message_and_gives_the_others_back(serve: Serve, tmp_path: Path) -> None:
    server = serve({"END_OF_DATA": [Delay(1.0)]})
    settings: dict[str, Any] = {"store": f"sqlite:///{tmp_path / 'b.db'}", "retry": "queue", "worker": "external"}
    with Postmaster(**settings, relays={"main": server.url}) as postmaster:
        submit(postmaster, "main", "a@example.com", "b@example.com", "c@example.com")
        worker = postmaster.worker()
        worker.start()
        while not server.sessions:
            threading.Event().wait(0.01)
        assert worker.stop(20)
        left = postmaster.office.store.depth(postmaster.office.clock.now())
        assert (len(server.messages), left.due, left.leased) == (1, 2, 0)
        assert worker.run_due() == 0, "stopped is stopped"
        worker.start()
        end = postmaster.office.clock.now() + timedelta(seconds=20)
        while len(server.messages) < 3 and postmaster.office.clock.now() < end:
            threading.Event().wait(0.01)
        worker.stop()
    assert [server.copies(f"{name}@example.com") for name in "abc"] == [1, 1, 1]


def test_two_workers_share_the_queue_and_nobody_gets_two(serve: Serve, desk: Make) -> None:
    server = serve()
    postmaster = desk(main=server.url)
    to = [f"r{number}@example.com" for number in range(60)]
    submit(postmaster, "main", *to)
    threads = [threading.Thread(target=postmaster.worker().run_due) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {recipient: server.copies(recipient) for recipient in to} == dict.fromkeys(to, 1)


def test_a_lease_that_was_lost_keeps_the_dot_back(serve: Serve, desk: Make, clock: ManualClock) -> None:
    """As when a worker was stopped for longer than its lease lasts, and goes on."""
    server = serve()
    postmaster = desk(main=server.url)
    submit(postmaster, "main", "ada@example.com")
    store = postmaster.office.store
    (mine,) = store.claim(now=clock.now(), lease=Lease("mine", clock.now() + LEASE), limit=1)
    clock.move(LEASE + timedelta(seconds=1))
    (theirs,) = store.claim(now=clock.now(), lease=Lease("theirs", clock.now() + LEASE), limit=1)
    with postmaster.client("main") as client:
        report = client.deliver(mine)
        assert not server.messages
        assert report.delayed[0].reply.cause == "taken"  # type: ignore[union-attr]
        assert client.deliver(theirs).delivered
    assert server.copies("ada@example.com") == 1
    assert not list(store.queued())


def test_who_lost_the_lease_takes_nothing_from_whoever_has_it(serve: Serve, desk: Make, clock: ManualClock) -> None:
    """Its deadline is over by then, so it gives up: not a word of that is the server's."""
    server = serve()
    postmaster = desk(main=server.url)
    with postmaster.client("main", message_class="security") as client:
        client.submit(message("ada@example.com"))
        store = postmaster.office.store
        (mine,) = store.claim(now=clock.now(), lease=Lease("mine", clock.now() + LEASE), limit=1)
        (waits,) = mine.recipients
        mine = replace(mine, recipients=(replace(waits, first_attempt_at=clock.now()),))
        clock.move(LEASE + timedelta(seconds=1))
        (theirs,) = store.claim(now=clock.now(), lease=Lease("theirs", clock.now() + LEASE), limit=1)
        assert client.deliver(mine).delayed[0].kept
        assert postmaster.heard.types == ["queued"], "whoever has it tells"  # type: ignore[attr-defined]
        assert client.deliver(theirs).delivered
    assert server.copies("ada@example.com") == 1


def test_a_relay_that_refuses_our_login_rests_too(serve: Serve, desk: Make, clock: ManualClock) -> None:
    server = serve({"AUTH": "535 5.7.8 Authentication credentials invalid"}, users={"jo": "secret"})
    url = {"url": server.url.replace("://", "://jo:secret@"), "insecure_login_in_clear": True}
    postmaster = desk(main=url)
    submit(postmaster, "main", *(f"r{number}@example.com" for number in range(5)))
    postmaster.worker().run_due()
    assert len([one for one in postmaster.office.store.queued() if one.attempts]) == 1, "no hail of wrong passwords"


def test_a_message_that_the_relay_cannot_carry_holds_up_no_other(serve: Serve, desk: Make, clock: ManualClock) -> None:
    server = serve(extensions=("8BITMIME",))
    postmaster = desk(main=server.url)
    submit(postmaster, "main", "jörg@example.com", "ada@example.com")
    postmaster.worker().run_due()
    assert server.copies("ada@example.com") == 1
    (delayed,) = postmaster.heard.of("delayed")  # type: ignore[attr-defined]
    assert delayed.stage == "MAIL"


def test_a_clock_that_was_set_back_makes_no_rest_longer(desk: Make, clock: ManualClock) -> None:
    with refusing_port() as port:
        postmaster = desk(main=f"smtp://127.0.0.1:{port}")
        submit(postmaster, "main", "ada@example.com", "bob@example.com")
        worker = postmaster.worker()
        worker.run_due()
        assert worker._rests("main")
        clock.move(-timedelta(days=365))
        assert not worker._rests("main")


STEPS = {
    "a second back": -timedelta(seconds=1),
    "an hour back": -timedelta(hours=1),
    "a year back": -timedelta(days=365),
    "a year ahead": timedelta(days=365),
    "past 2038": datetime(2038, 1, 19, 3, 14, 8, tzinfo=UTC) - datetime(2026, 1, 1, 12, tzinfo=UTC),
}


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_a_clock_that_is_set_makes_no_storm_and_no_second_copy(
    step: timedelta, serve: Serve, desk: Make, clock: ManualClock
) -> None:
    """Before the dot of the second message, while its lease runs, and with one message that waits for its time."""
    server = serve({"RCPT": {"grey@example.com": ["451 4.7.1 Greylisted"] * 3}})
    postmaster = desk(main=server.url)
    worker = postmaster.worker()
    with postmaster.client("main") as client:
        client.submit(message("grey@example.com"))
        worker.run_due()
        client.submit(message("ada@example.com"))
        client.submit(message("bob@example.com"))
    store, begun = postmaster.office.store, list[Begun]()
    begin = store.begin

    def set_once(attempt: Begun) -> None:
        if not begun:
            clock.move(step)
        begun.append(attempt)
        begin(attempt)

    store.begin = set_once  # type: ignore[method-assign]
    for _ in range(4):
        worker.run_due()
    assert {who: server.copies(f"{who}@example.com") for who in ("ada", "bob")} == {"ada": 1, "bob": 1}
    asked = sum("grey@" in exchange.command for session in server.sessions for exchange in session.transcript)
    assert asked <= 2, "a retry storm"
    for _ in range(12):
        clock.move(timedelta(hours=6))
        worker.run_due()
    if step > -timedelta(days=1):  # else it waits until the clock is right again, which `doctor` tells
        assert not list(store.queued())
        told = {event.type.value for event in postmaster.heard if event.recipient == "grey@example.com"}  # type: ignore[attr-defined]
        assert ("delivered" in told) == (server.copies("grey@example.com") == 1)
        assert "delivered" in told or "failed" in told, "by a clock beyond its deadline it fails, and that is told"
    order = [sequence for sequence, _ in store.events()]
    assert order == sorted(order)


def test_what_was_under_way_when_the_clock_was_set_back_has_no_later_deadline_than_other_mail(
    serve: Serve, desk: Make, clock: ManualClock
) -> None:
    postmaster = desk(main=serve({"END_OF_DATA": "451 4.3.0 Try again later"}).url)
    submit(postmaster, "main", "ada@example.com")
    worker = postmaster.worker()
    worker.run_due()
    clock.move(timedelta(hours=1))
    begin = postmaster.office.store.begin

    def set_back(attempt: Begun) -> None:
        clock.move(-timedelta(days=300))
        postmaster.office.store.begin = begin  # type: ignore[method-assign]
        begin(attempt)

    postmaster.office.store.begin = set_back  # type: ignore[method-assign]
    worker.run_due()
    start = clock.now()
    while list(postmaster.office.store.queued()) and clock.now() - start < timedelta(days=20):
        clock.move(timedelta(hours=6))
        worker.run_due()
    assert [event.type for event in postmaster.heard.of("failed")] == ["failed"]  # type: ignore[attr-defined]
    assert clock.now() - start < timedelta(days=6)


def test_two_threads_that_start_together_do_not_both_take_up_the_slow_relay(serve: Serve, tmp_path: Path) -> None:
    slow, quick = serve({"END_OF_DATA": Delay(0.5)}), serve()
    settings: dict[str, Any] = {"store": f"sqlite:///{tmp_path / 'b.db'}", "retry": "queue", "worker": "external"}
    with Postmaster(**settings, relays={"slow": slow.url, "quick": quick.url}) as postmaster:
        submit(postmaster, "slow", *(f"r{number}@example.com" for number in range(50)))
        worker = postmaster.worker(concurrency=2)
        worker.start()
        while not slow.messages:
            threading.Event().wait(0.01)
        worker.stop()
    assert len(slow.sessions) == 1


def test_a_full_queue_for_one_relay_starves_no_other(serve: Serve, desk: Make, clock: ManualClock) -> None:
    full, other = serve(), serve()
    postmaster = desk(full=full.url, other=other.url)
    submit(postmaster, "full", *(f"r{number}@example.com" for number in range(60)))
    submit(postmaster, "other", "ada@example.com")
    worker = postmaster.worker(concurrency=1)
    clients: dict[str, Client] = {}
    worker.work(clients)
    worker.work(clients)
    for client in clients.values():
        client.close()
    assert (len(full.messages), len(other.messages)) == (20, 1)


def test_behind_a_lease_that_is_over_nobody_is_even_asked(serve: Serve, desk: Make, clock: ManualClock) -> None:
    """Else a recipient that another worker has by now could be refused twice."""

    class Slow(Client):
        def deliver(self, delivery: Delivery) -> Any:
            report = super().deliver(delivery)
            clock.move(LEASE)
            store = postmaster.office.store
            assert store.claim(now=clock.now(), lease=Lease("theirs", clock.now() + LEASE), limit=9)
            return report

    server = serve()
    postmaster = desk(main=server.url)
    submit(postmaster, "main", "ada@example.com", "bob@example.com")
    worker = Worker(postmaster.office, ["main"], client=lambda name: Slow(name, postmaster=postmaster))
    clients: dict[str, Client] = {}
    assert worker.work(clients) == 1
    clients["main"].close()
    assert not any("rcpt TO:<bob@example.com>" in session.commands for session in server.sessions)


def test_under_a_flood_of_fresh_mail_who_was_tried_has_a_turn(serve: Serve, desk: Make, clock: ManualClock) -> None:
    server = serve({"RCPT": {"old@example.com": ["451 4.7.1 Greylisted"]}})
    postmaster = desk(main=server.url)
    with postmaster.client("main") as client:
        client.send(message("old@example.com"))
    clock.move(timedelta(hours=2))
    worker, clients = postmaster.worker(), dict[str, Client]()
    for batch in range(4):
        submit(postmaster, "main", *(f"r{batch}-{number}@example.com" for number in range(25)))
        worker.work(clients)
    clients["main"].close()
    assert server.copies("old@example.com") == 1


class Poisoned(Client):
    """A client with an error of ours in it, for one recipient."""

    def deliver(self, delivery: Delivery) -> Any:
        if delivery.recipients[0].address.wire.startswith("poison"):
            raise RuntimeError("an error of ours")
        return super().deliver(delivery)


def test_an_error_of_ours_delays_its_message_and_no_other(serve: Serve, desk: Make, clock: ManualClock) -> None:
    server = serve()
    postmaster = desk(main=server.url)
    submit(postmaster, "main", "poison@example.com", "ada@example.com")
    worker = Worker(
        postmaster.office, ["main"], client=lambda name: Poisoned(name, postmaster=postmaster), concurrency=1
    )
    assert worker.run_due() == 2
    assert server.copies("ada@example.com") == 1
    assert worker.run_due() == 0, "it is not tried again and again"
    clock.move(LEASE + timedelta(seconds=1))
    assert worker.run_due() == 1


def test_a_store_that_fails_for_a_while_stops_no_worker_and_is_told_once(
    serve: Serve, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Flaky(SqliteStore):
        failures = 3

        def claim(self, **asked: Any) -> Any:
            if self.failures:
                self.failures -= 1
                raise StoreError("the disk is full")
            return super().claim(**asked)

    server, store = serve(), Flaky(tmp_path / "bounces.db")
    with Postmaster(store=store, retry="queue", worker="external", relays={"main": server.url}) as postmaster:
        submit(postmaster, "main", "ada@example.com")
        worker = postmaster.worker()
        worker.start()
        end = postmaster.office.clock.now() + timedelta(seconds=20)
        while not server.messages and postmaster.office.clock.now() < end:
            worker.wake()
            threading.Event().wait(0.02)
        worker.stop()
    assert server.copies("ada@example.com") == 1
    said = [line.getMessage() for line in caplog.records if line.levelname == "WARNING"]
    assert said == ["the worker waits, and will say when it goes on: the disk is full", "the worker goes on"]


def _until(happens: Callable[[], bool]) -> None:
    for _ in range(3000):
        if happens():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it does not happen")


def test_who_has_nothing_to_do_for_a_moment_keeps_his_line_and_closes_it_later(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bouncekit.postmaster.worker._POLL_SECONDS", 1.0)
    server, made = serve(), list[Client]()
    settings: dict[str, Any] = {"store": f"sqlite:///{tmp_path / 'b.db'}", "retry": "queue", "worker": "external"}
    with Postmaster(**settings, relays={"main": server.url}) as postmaster:

        def make(name: str) -> Client:
            made.append(postmaster.client(name))
            return made[-1]

        worker = Worker(postmaster.office, ["main"], client=make, concurrency=1)
        worker.start()
        for name in ("ada", "bob", "cy"):
            submit(postmaster, "main", f"{name}@example.com")
            worker.wake()
            _until(lambda: not list(postmaster.office.store.queued()))
        kept = len(server.sessions)
        _until(lambda: "quit" in map(str.lower, server.sessions[-1].commands))
        worker.stop()
    assert kept < 3, "one line, or another where this machine took a second for a message"
    assert len(made) == 1


class Counting(SqliteStore):
    """A store that counts how often a thread looks for work."""

    looks = 0

    def abandoned(self, **asked: Any) -> Any:
        self.looks += 1
        return super().abandoned(**asked)


def test_a_message_wakes_one_thread_and_more_than_one_takes_wake_another(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bouncekit.postmaster.worker._POLL_SECONDS", 60.0)
    server, store = serve({"END_OF_DATA": Delay(0.05)}), Counting(tmp_path / "bounces.db")
    with Postmaster(store=store, retry="queue", worker="external", relays={"main": server.url}) as postmaster:
        worker = postmaster.worker(concurrency=4)
        worker.start()
        _until(lambda: store.looks == 4)
        submit(postmaster, "main", "ada@example.com")
        worker.wake()
        _until(lambda: store.looks >= 6)
        assert (store.looks, server.copies("ada@example.com")) == (6, 1), "one has looked, sent, and looked again"
        submit(postmaster, "main", *(f"r{number}@example.com" for number in range(25)))
        worker.wake()
        _until(lambda: len(server.messages) == 26)
        worker.stop()
    assert len(server.sessions) <= 3, "twenty by one thread, and five by another"
    assert store.looks <= 12, "both have looked again; whoever has not, was not woken"


def test_who_is_woken_for_one_relay_and_finds_mail_for_another_wakes_the_next(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bouncekit.postmaster.worker._POLL_SECONDS", 60.0)
    slow, quick, store = serve({"END_OF_DATA": Delay(90.0)}), serve(), Counting(tmp_path / "bounces.db")
    relays = {"slow": slow.url, "quick": quick.url}
    with Postmaster(store=store, retry="queue", worker="external", relays=relays) as postmaster:
        worker = postmaster.worker(concurrency=2)
        worker.start()
        _until(lambda: store.looks == 2)
        submit(postmaster, "slow", "ada@example.com")  # due since a while, so to speak: nobody was woken for it
        submit(postmaster, "quick", "bob@example.com")
        worker.wake()
        _until(lambda: bool(quick.messages))
        slow.stop()
        worker.stop()


class Dawdling(Counting):
    """A store whose first answer about a relay's mail is old when it comes."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.answers, self.others = threading.Event(), 0

    def claim(self, **asked: Any) -> Any:
        found = super().claim(**asked)
        if asked["relays"] == ("other",):
            self.others += 1
        elif not found:
            self.answers.wait(30)
        return found


def test_mail_that_comes_behind_the_look_of_the_one_thread_at_its_relay_waits_for_no_poll(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bouncekit.postmaster.worker._POLL_SECONDS", 60.0)
    server, store = serve(), Dawdling(tmp_path / "bounces.db")
    relays = {"main": server.url, "other": "smtp://127.0.0.1:9"}
    with Postmaster(store=store, retry="queue", worker="external", relays=relays) as postmaster:
        worker = postmaster.worker(concurrency=2)
        worker.start()
        _until(lambda: store.others == 1)
        submit(postmaster, "main", "ada@example.com")
        worker.wake()
        _until(lambda: store.others == 2)  # one is at the relay still, so the other, who was woken, passes by
        threading.Event().wait(0.1)
        store.answers.set()
        _until(lambda: bool(server.messages))
        worker.stop()
