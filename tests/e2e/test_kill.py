"""kill -9, again and again: no recipient is lost, and none gets a second copy that is not marked as possible.

What a process was told is noted outside of the store: all of that is in the store, and nobody was told anything else.
BOUNCEKIT_KILLS is how often processes are killed in all (200), BOUNCEKIT_SEED repeats the fates and moments of a run.
"""

import os
import random
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import closing
from dataclasses import dataclass, replace
from email.message import EmailMessage
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.stores import Store
from bouncekit.stores.sqlite import SqliteStore
from bouncekit.testing import Answer, Closing, Cut, Delay, Kept, ScriptedServer, Usual
from tests.conftest import message

from .servers import wait_until
from .workers import (
    EXIT_SECONDS,
    FastClock,
    Work,
    impatient_policy,
    note,
    noted,
    running_workers,
    start_application,
    start_worker,
    stop_worker,
)

Serve = Callable[..., ScriptedServer]

KILLS = int(os.environ.get("BOUNCEKIT_KILLS", "200"))
SEED = int(os.environ.get("BOUNCEKIT_SEED") or random.randrange(1_000_000))
pytestmark = pytest.mark.timeout(300 + 2 * KILLS)

MESSAGES_PER_LIFE = 4
LIFE_SECONDS = 0.25  # at the most
DOT_SECONDS = 2.0  # at the most until a process comes to a dot, where it is to be met behind one
DRAIN_SECONDS = 60.0 + KILLS / 4
MOST_RECIPIENTS = 3  # that the server takes at once; the rest of a message goes in a second transaction

# What RCPT is answered, by the first part of an address: a list once, else every time.
FATES: Mapping[str, Answer | list[Answer]] = {
    "accepted": [],
    "slow": Delay(0.03),
    "greylisted": ["451 4.7.1 Greylisted, try again later"],
    "overquota": ["452 4.2.2 Over quota"],
    "hangup": [Closing("421 4.3.2 Service shutting down")],
    "cut": [Cut("rst")],
    "nobody": "550 5.1.1 No such user",
    "full": "552 5.2.2 Mailbox full",
}
REFUSED = ("nobody", "full")
OUTCOMES = ("delivered", "delayed", "failed", "suppressed", "unknown")

# What the dot is answered, whatever was before it, and how often. Half of those that say nothing have the message.
DOTS: Mapping[Answer, int] = {
    Usual(): 50,
    Delay(0.05): 20,
    "451 4.3.0 Try again later": 8,
    Kept(Cut()): 6,
    Kept(Delay(0.05, Cut("rst"))): 4,
    Cut(): 6,
    Closing("421 4.3.2 Service shutting down"): 6,
}


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """What became of every recipient: the copies that the server took, the outcomes that the store has told.

    The second part of an address is the class of its message. One of class `bulk` is not sent again where nobody knows
    whether it arrived; every other one is, and is marked. Who was refused may have been asked twice, and be told twice.
    """

    asked: Sequence[str]
    copies: Counter[str]
    told: Mapping[str, list[dict[str, Any]]]
    events: Sequence[str]  # the ids of all, in their order

    @classmethod
    def of(cls, asked: Sequence[str], server: ScriptedServer, store: Store) -> "Ledger":
        copies = Counter(recipient for received in server.messages for recipient in received.recipients)
        told: dict[str, list[dict[str, Any]]] = {recipient: [] for recipient in asked}
        events = list(_events(store))
        for event in events:
            if event["subject"] in told and event["type"] in OUTCOMES:
                told[event["subject"]].append(event)
        return cls(asked=asked, copies=copies, told=told, events=[event["id"] for event in events])

    @property
    def lost(self) -> list[str]:
        """Those who should have the message and have it not, or of whom nobody was told how it ended."""
        return [one for one in self.asked if not self._is_right(one)]

    @property
    def left_open(self) -> int:
        """How many recipients a kill left in an attempt of which nobody knew the end."""
        unknown = [event for events in self.told.values() for event in events if event["type"] == "unknown"]
        return sum("whoever was sending" in event["data"]["reply"] for event in unknown)

    @property
    def duplicates(self) -> list[str]:
        return [one for one in self.asked if self.copies[one] > 1]

    @property
    def marked(self) -> list[str]:
        """Those whose `delivered` says that there may be more than one copy."""
        return [one for one in self.asked if any(map(_is_marked, self.told[one]))]

    def of_each(self, recipients: Sequence[str]) -> str:
        """What is known of the first few of them, for whoever has to find out."""
        return "\n".join(
            f"{one}: {self.copies[one]} copies, {[(event['type'], event['time']) for event in self.told[one]]}"
            for one in recipients[:5]
        )

    def _is_right(self, recipient: str) -> bool:
        fate, message_class, *_ = recipient.split(".")
        ends = {event["type"] for event in self.told[recipient] if event["data"]["retry_at"] is None}
        copies = self.copies[recipient]
        if fate in REFUSED:
            return "failed" in ends and copies == 0
        if message_class == "bulk":
            return copies <= 1 and (copies == 1 if "delivered" in ends else "unknown" in ends)
        return "delivered" in ends and copies >= 1


@pytest.fixture
def rng() -> random.Random:
    print(f"BOUNCEKIT_SEED={SEED}")
    return random.Random(SEED)


@pytest.fixture
def work(tmp_path: Path) -> Work:
    """On a clock by which a lease lasts three seconds, and nobody waits longer than that for the next attempt."""
    store = f"sqlite:///{tmp_path / 'bounces.db'}"
    (tmp_path / "notes").mkdir()
    policy = impatient_policy(tmp_path, "2m")
    return Work(store=store, relays={}, policy=policy, clock=FastClock(factor=300), notes=tmp_path / "notes")


@pytest.mark.parametrize(
    ("kills", "workers", "protocol"),
    [(KILLS // 2, 1, "smtp"), (KILLS // 8, 1, "lmtp"), (KILLS // 4, 3, "smtp")],
    ids=["one worker", "one worker by LMTP", "one of three workers"],
)
def test_a_worker_that_is_killed_loses_nobody_and_marks_every_second_copy(
    kills: int, workers: int, protocol: str, rng: random.Random, work: Work, serve: Serve
) -> None:
    began = time.monotonic()
    people = [_people(rng, number) for number in range(kills * MESSAGES_PER_LIFE)]
    server = serve(_script(rng, people, protocol), lmtp=protocol == "lmtp", max_recipients=MOST_RECIPIENTS)
    work = replace(work, relays={"main": server.url})
    alive: list[BaseProcess] = []
    met = False
    with work.postmaster() as postmaster:
        store = postmaster.office.store
        for life in range(kills):
            _submit(postmaster, people[life * MESSAGES_PER_LIFE : (life + 1) * MESSAGES_PER_LIFE])
            while len(alive) < workers:
                alive.append(start_worker(replace(work, concurrency=rng.choice((1, 1, 2, 3)))))
            doomed, before = alive.pop(rng.randrange(workers)), _open_attempts(store)
            _let_live(doomed, work, rng)
            if not met or rng.random() < 0.25:
                _let_come_to(partial(_is_opened, store, before))
            _kill(doomed)
            met = met or _is_opened(store, before)
        for process in alive:
            _kill(process)
        _drain(work, postmaster)
        ledger = _checked([one for group in people for one in group], server, postmaster, work)
    _report(kills, ledger, began)
    assert ledger.left_open or kills < 100, "no kill met an open attempt: this run shows nothing"


def test_an_application_that_is_killed_loses_nobody_whom_it_was_told_about(
    rng: random.Random, work: Work, serve: Serve, tmp_path: Path
) -> None:
    began, kills = time.monotonic(), max(KILLS // 8, 1)
    people = [_people(rng, number) for number in range(kills * MESSAGES_PER_LIFE)]
    server = serve(_script(rng, people, "smtp"), max_recipients=MOST_RECIPIENTS)
    work = replace(work, relays={"main": server.url})
    reports = tmp_path / "reports"
    for life in range(kills):
        groups, taken = people[life * MESSAGES_PER_LIFE : (life + 1) * MESSAGES_PER_LIFE], len(server.messages)
        process = start_application(work, list(map(_message, groups)), reports)
        _let_live(process, work, rng)
        if not taken or rng.random() < 0.25:
            _let_come_to(partial(_is_taken, server, taken))
        process.kill()
        process.join(EXIT_SECONDS)
    with work.postmaster() as postmaster:
        _drain(work, postmaster)
        known = {event["subject"] for event in _events(postmaster.office.store)}
        ledger = _checked([one for group in people for one in group if one in known], server, postmaster, work)
    _report(kills, ledger, began)
    reported = [line.split(" ") for line in reports.read_text().splitlines()]
    assert {recipient for recipient, _, _ in reported} <= known
    left = {(action, kept) for one, action, kept in reported if action == "delayed" or ".transactional." in one}
    assert left <= {("delivered", "False"), ("failed", "False"), ("delayed", "True"), ("unknown", "True")}


def test_workers_whose_leases_run_out_while_they_work_lose_nobody_and_mark_every_second_copy(
    rng: random.Random, work: Work, serve: Serve
) -> None:
    began = time.monotonic()
    people = [_people(rng, number) for number in range(150)]
    server = serve(_script(rng, people, "smtp"), max_recipients=MOST_RECIPIENTS)
    hasty = replace(work, relays={"main": server.url}, clock=FastClock(factor=10_000), concurrency=2)  # 90 ms
    with hasty.postmaster() as postmaster:
        _submit(postmaster, people)
        with running_workers(hasty, 2):
            _drain(hasty, postmaster)
        ledger = _checked([one for group in people for one in group], server, postmaster, hasty)
    _report(0, ledger, began)
    assert _kept_back(server), "no lease ran out: this run shows nothing"


@pytest.mark.parametrize(
    ("stage", "copies"), [("RCPT", 1), ("END_OF_DATA", 2)], ids=["before the dot", "behind the dot"]
)
def test_a_worker_that_sleeps_past_its_lease_overwrites_nothing_and_a_second_copy_is_marked(
    stage: str, copies: int, work: Work, serve: Serve
) -> None:
    """SIGSTOP, as a virtual machine that is paused; another worker takes the message, then SIGCONT."""
    server = serve({stage: [Delay(1.0)]})
    work = replace(work, relays={"main": server.url})
    ada = "accepted.transactional.0.0@example.com"
    with work.postmaster() as postmaster:
        _submit(postmaster, [[ada]])
        store = postmaster.office.store
        sleeper = start_worker(work)
        assert sleeper.pid is not None
        wait_until(lambda: _has_begun(store, stage), EXIT_SECONDS, lambda: f"nobody came to {stage}")
        _put_to_sleep(sleeper.pid, store)
        try:
            _drain(work, postmaster)
            settled = Ledger.of([ada], server, store)
            assert not settled.lost, settled.of_each([ada])
        finally:
            os.kill(sleeper.pid, signal.SIGCONT)
        wait_until(lambda: server.copies(ada) == copies, EXIT_SECONDS, lambda: f"{server.copies(ada)} copies")
        assert stop_worker(sleeper) == 0
        ledger = _checked([ada], server, postmaster, work)
        assert not list(store.queued()), "what was settled is not in the queue again"
    assert (ledger.copies[ada], bool(ledger.marked)) == (copies, copies > 1)
    assert ledger.told[ada][: len(settled.told[ada])] == settled.told[ada]


def _put_to_sleep(pid: int, store: Store) -> None:
    """Stop a process where it is not writing: past a lock of the file that a sleeper holds nobody comes."""
    assert isinstance(store, SqliteStore)
    with closing(sqlite3.connect(store.path, timeout=0, isolation_level=None)) as connection:
        while True:
            os.kill(pid, signal.SIGSTOP)
            time.sleep(0.01)
            try:
                connection.execute("BEGIN IMMEDIATE").connection.rollback()
            except sqlite3.OperationalError:
                os.kill(pid, signal.SIGCONT)
                time.sleep(0.001)
            else:
                return


def _has_begun(store: Store, stage: str) -> bool:
    """Whether somebody has taken the message and, where it is about the dot, has begun an attempt."""
    if stage == "END_OF_DATA":
        return bool(_open_attempts(store))
    assert isinstance(store, SqliteStore)
    with closing(sqlite3.connect(store.path)) as connection:
        ((number,),) = connection.execute("SELECT count(*) FROM recipients WHERE lease_owner NOTNULL").fetchall()
    return bool(number)


def _people(rng: random.Random, number: int) -> list[str]:
    """The recipients of one message; an address says what happens to it."""
    message_class = "bulk" if number % 4 == 0 else "transactional"
    places = range(rng.choice((1, 1, 2, MOST_RECIPIENTS + 1)))
    return [f"{rng.choice(list(FATES))}.{message_class}.{number}.{place}@example.com" for place in places]


def _script(rng: random.Random, people: list[list[str]], protocol: str) -> dict[str, Any]:
    everybody = [one for group in people for one in group]
    at_rcpt = {one: answer for one in everybody if (answer := FATES[one.partition(".")[0]])}
    dots = rng.choices(list(DOTS), list(DOTS.values()), k=2 * len(everybody))
    by_recipient = {one: dots[2 * place : 2 * place + 2] for place, one in enumerate(everybody)}
    return {"RCPT": at_rcpt, "END_OF_DATA": by_recipient if protocol == "lmtp" else dots}


def _message(group: Sequence[str]) -> EmailMessage:
    made = message(*group)
    made["X-Bouncekit-Class"] = group[0].split(".")[1]
    return made


def _submit(postmaster: Postmaster, people: list[list[str]]) -> None:
    with postmaster.client("main") as client:
        for group in people:
            assert len(client.submit(_message(group)).delayed) == len(group)


def _let_live(process: BaseProcess, work: Work, rng: random.Random) -> None:
    """Let a process work for a while; one in four may still be starting, or be at the beginning."""
    if rng.random() < 0.75:
        wait_until(lambda: work.is_up(process), EXIT_SECONDS, lambda: "it never came up")
    time.sleep(rng.uniform(0.0, LIFE_SECONDS))


def _let_come_to(is_there: Callable[[], bool]) -> None:
    """Let a process come to a dot, or nearly: on a busy machine hardly a kill would meet one by chance."""
    until = time.monotonic() + DOT_SECONDS
    while not is_there() and time.monotonic() < until:
        time.sleep(0.001)


def _is_opened(store: Store, before: Set[str]) -> bool:
    return not _open_attempts(store) <= before


def _is_taken(server: ScriptedServer, before: int) -> bool:
    return len(server.messages) > before


def _open_attempts(store: Store) -> Set[str]:
    assert isinstance(store, SqliteStore)
    with closing(sqlite3.connect(store.path)) as connection:
        return {attempt for (attempt,) in connection.execute("SELECT attempt_id FROM recipients WHERE attempt_id > ''")}


def _kill(process: BaseProcess) -> None:
    process.kill()
    process.join(EXIT_SECONDS)
    assert process.exitcode == -9, "it ended before it was killed"


def _drain(work: Work, postmaster: Postmaster) -> None:
    """Have a worker that nobody kills empty the queue."""
    store = postmaster.office.store
    with running_workers(replace(work, concurrency=2), 1):
        wait_until(lambda: not list(store.queued(limit=1)), DRAIN_SECONDS, lambda: f"left: {list(store.queued())}")


def _checked(asked: Sequence[str], server: ScriptedServer, postmaster: Postmaster, work: Work) -> Ledger:
    """What became of them all: nobody is lost, no second copy is unmarked, nobody was told what is not so."""
    assert not server.errors
    ledger = Ledger.of(asked, server, postmaster.office.store)
    assert ledger.copies.keys() <= set(asked), "a copy of which nobody knows"
    _compare_notes(ledger, postmaster, work)
    assert not ledger.lost, ledger.of_each(ledger.lost)
    unmarked = sorted(set(ledger.duplicates) - set(ledger.marked))
    assert not unmarked, ledger.of_each(unmarked)
    assert _variants(server) == {1}, "every copy has the same Message-ID and the same content"
    return ledger


def _compare_notes(ledger: Ledger, postmaster: Postmaster, work: Work) -> None:
    """What was told is in the store, and what is in the store is heard, in its order, by who reads durably."""
    assert work.notes is not None
    note(postmaster, work.notes)
    postmaster.office.ledger.outbox.wake()
    wait_until(lambda: not _unread(postmaster), EXIT_SECONDS, lambda: f"{_unread(postmaster)} events are not heard")
    told, heard = (noted(work.notes / name) for name in ("told", "heard"))
    assert set(told) <= set(ledger.events), "an event was told that the store does not have"
    assert list(dict.fromkeys(heard)) == ledger.events, "an event was heard out of its order, or was not"


def _unread(postmaster: Postmaster) -> int:
    return sum(cursor.unread for cursor in postmaster.office.store.cursors())


def _report(kills: int, ledger: Ledger, began: float) -> None:
    print(
        f"{kills} kills, {len(ledger.asked)} recipients, {ledger.left_open} left in an open attempt, "
        f"{len(ledger.duplicates)} with a second copy, {len(ledger.marked)} marked, {len(ledger.lost)} lost, "
        f"{time.monotonic() - began:.1f} s"
    )


def _kept_back(server: ScriptedServer) -> int:
    """How many dots did not go out behind a body, since a lease had run out and somebody else had the recipient."""
    last = (session.transcript[-1] for session in server.sessions if session.transcript)
    return sum(exchange.command.lower() == "data" and exchange.reply.startswith("354") for exchange in last)


def _events(store: Store) -> Iterator[dict[str, Any]]:
    after = 0
    while page := store.events(after=after):
        yield from (event for _, event in page)
        after = page[-1][0]


def _is_marked(event: dict[str, Any]) -> bool:
    return event["type"] == "delivered" and bool(event["data"]["possible_duplicate"])


def _variants(server: ScriptedServer) -> set[int]:
    """How many different contents there are to a Message-ID."""
    contents: dict[bytes, set[bytes]] = {}
    for received in server.messages:
        (message_id,) = [line for line in received.data.split(b"\r\n") if line.lower().startswith(b"message-id:")]
        contents.setdefault(message_id, set()).add(received.data)
    return set(map(len, contents.values()))
