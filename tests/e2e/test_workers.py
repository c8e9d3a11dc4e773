"""Worker processes that nobody kills: one copy for each recipient, and a stop that finishes what is under way."""

import os
import signal
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.testing import Closing, Delay, ScriptedServer
from tests.conftest import message

from .servers import wait_until
from .workers import EXIT_SECONDS, Work, impatient_policy, running_workers, start_worker

Serve = Callable[..., ScriptedServer]

MESSAGES = 60
DRAIN_SECONDS = 40.0
DOT_SECONDS = 2.0


@pytest.fixture
def work(tmp_path: Path) -> Callable[[ScriptedServer], Work]:
    def make(server: ScriptedServer) -> Work:
        policy = impatient_policy(tmp_path, "1s")
        return Work(store=f"sqlite:///{tmp_path / 'bounces.db'}", relays={"main": server.url}, policy=policy)

    return make


@pytest.mark.parametrize("workers", [2, 3])
def test_several_processes_on_one_file_send_to_each_recipient_once(
    workers: int, serve: Serve, work: Callable[[ScriptedServer], Work]
) -> None:
    people = [_people("queued", number) for number in range(MESSAGES)]
    server = serve(_moods(people))
    with work(server).postmaster() as postmaster, running_workers(work(server), workers):
        _submit(postmaster, people)
        wait_until(lambda: not list(postmaster.office.store.queued()), DRAIN_SECONDS)
    _served_once(server, people)
    assert len(server.sessions) >= workers


def test_an_application_that_sends_beside_the_workers_serves_nobody_twice(
    serve: Serve, work: Callable[[ScriptedServer], Work]
) -> None:
    queued = [_people("queued", number) for number in range(MESSAGES)]
    direct = [_people("direct", number) for number in range(MESSAGES)]
    server = serve(_moods(queued + direct))
    with work(server).postmaster() as postmaster, running_workers(work(server), 2):
        submitting = threading.Thread(target=_submit, args=(postmaster, queued))
        submitting.start()
        with postmaster.client("main") as client:
            for group in direct:
                assert client.send(message(*group)) == {}, "whom it cannot reach now, a worker will"
        submitting.join()
        wait_until(lambda: not list(postmaster.office.store.queued()), DRAIN_SECONDS)
    _served_once(server, queued + direct)


def test_a_worker_that_is_stopped_finishes_its_message_and_gives_the_others_back(
    serve: Serve, work: Callable[[ScriptedServer], Work]
) -> None:
    server = serve({"END_OF_DATA": Delay(DOT_SECONDS)})
    people = [f"r{number}@example.com" for number in range(5)]
    with work(server).postmaster() as postmaster:
        _submit(postmaster, [[one] for one in people])
        process = start_worker(work(server))
        assert process.pid is not None
        wait_until(lambda: postmaster.office.store.depth(postmaster.office.clock.now()).due < len(people), EXIT_SECONDS)
        wait_until(
            lambda: bool(server.sessions) and "DATA" in map(str.upper, server.sessions[0].commands), EXIT_SECONDS
        )
        os.kill(process.pid, signal.SIGTERM)
        process.join(EXIT_SECONDS)
        assert process.exitcode == 0
        depth = postmaster.office.store.depth(postmaster.office.clock.now())
        left = {one.recipient for one in postmaster.office.store.queued()}
    served = {one for one in people if server.copies(one) == 1}
    assert len(served) == len(server.messages) == 1, "one message was under way, not five"
    assert left == set(people) - served
    assert (depth.due, depth.leased) == (4, 0), "free at once, not when a lease ends"


def _people(kind: str, number: int) -> list[str]:
    """The one to three recipients of a message."""
    return [f"{kind}.{number}.{place}@example.com" for place in range(1 + number % 3)]


def _moods(people: list[list[str]]) -> dict[str, object]:
    """Every third recipient is put off at first, every seventh ends a session."""
    everybody = [one for group in people for one in group]
    put_off = {one: ["451 4.7.1 Greylisted, try again later"] for one in everybody[::3]}
    hung_up = {one: [Closing("421 4.3.2 Service shutting down")] for one in everybody[::7]}
    return {"RCPT": {**put_off, **hung_up}, "END_OF_DATA": Delay(0.01)}


def _submit(postmaster: Postmaster, people: list[list[str]]) -> None:
    with postmaster.client("main") as client:
        for group in people:
            client.submit(message(*group))


def _served_once(server: ScriptedServer, people: list[list[str]]) -> None:
    assert not server.errors
    copies = Counter(recipient for received in server.messages for recipient in received.recipients)
    assert copies == Counter(one for group in people for one in group)
