"""Mail of a class has its deadline, whatever it waits for: a retry, a pause, a worker that was not there."""

import smtplib
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from bouncekit.delivery.events import Event
from bouncekit.delivery.queue import Lease
from bouncekit.delivery.settlement import Settlement
from bouncekit.desk.ledger import LEASE
from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.testing import ManualClock, ScriptedServer, refusing_port
from bouncekit.testing.answers import Answer
from bouncekit.testing.script import Cues
from bouncekit.words.reply import Cause

from .conftest import message

Serve = Callable[..., ScriptedServer]
Make = Callable[..., Postmaster]

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
LATER = "421 4.7.0 Try again later, closing connection"
PAUSING = """\
policy: 1
extends: default
rules:
- {id: not-today, when: {category: rate_limited}, do: retry, wait: 2h, pause: {for: 1d, at_most: 1d}}
"""


@pytest.fixture(params=["memory", "sqlite"])
def desk(request: pytest.FixtureRequest, make_postmaster: Make, tmp_path: Path) -> Callable[..., Postmaster]:
    """A postmaster whose queue is worked on by hand, in each of two stores."""

    def make(text: str = PAUSING, **relays: object) -> Postmaster:
        (tmp_path / "own.yaml").write_text(text, "utf-8")
        store = "sqlite:///:memory:" if request.param == "memory" else f"sqlite:///{tmp_path / 'bounces.db'}"
        own = {"policy": tmp_path / "own.yaml", "store": store, "retry": "queue", "worker": "external"}
        return make_postmaster(relays=relays, **own)

    return make


def submit(postmaster: Postmaster, recipient: str, message_class: str | None = None) -> None:
    with postmaster.client("main") as client:
        client.submit(message(recipient), message_class=message_class)


def waiting(postmaster: Postmaster) -> list[str]:
    return sorted(one.recipient for one in postmaster.office.store.queued())


def failed(postmaster: Postmaster) -> dict[str, Settlement]:
    events = postmaster.heard.of("failed")  # type: ignore[attr-defined]
    return {event.recipient: event.settlement for event in events}


def paused(desk: Any, serve: Serve, clock: ManualClock) -> tuple[Postmaster, ScriptedServer]:
    """A postmaster whose only relay is paused for a day."""
    server = serve({"MAIL": [LATER]})
    postmaster = desk(main=server.url)
    submit(postmaster, "first@example.com")
    postmaster.worker().run_due()
    assert postmaster.office.gate.states()
    return postmaster, server


def test_a_code_that_a_pause_holds_up_is_given_up_at_its_deadline_and_no_other_mail_is(
    serve: Serve, desk: Make, clock: ManualClock
) -> None:
    postmaster, server = paused(desk, serve, clock)
    clock.move(MINUTE)
    submit(postmaster, "code@example.com", "security")
    submit(postmaster, "receipt@example.com")
    worker = postmaster.worker()
    clock.move(10 * MINUTE - timedelta(seconds=1))
    assert worker.run_due() == 0
    clock.move(timedelta(seconds=1))
    assert worker.run_due() == 1
    (given_up,) = failed(postmaster).items()
    assert given_up[0] == "code@example.com"
    assert (given_up[1].rule, given_up[1].expired, given_up[1].attempts) == ("too-late", True, 0)
    assert given_up[1].reply.cause is Cause.OVERDUE  # type: ignore[union-attr]
    assert "relay main" in str(given_up[1].reply)
    assert waiting(postmaster) == ["first@example.com", "receipt@example.com"]
    assert len(server.sessions) == 1, "nobody asked the relay for that"
    assert not list(postmaster.suppressions)


def test_a_code_that_cannot_go_within_its_time_is_given_up_at_once(
    serve: Serve, desk: Make, clock: ManualClock
) -> None:
    postmaster, _ = paused(desk, serve, clock)
    with postmaster.client("main", message_class="security") as client, pytest.raises(smtplib.SMTPRecipientsRefused):
        client.send(message("code@example.com"))
    assert failed(postmaster)["code@example.com"].expired, "the pause lasts a day, and a code ten minutes"
    with postmaster.client("main") as client:
        assert client.send(message("receipt@example.com")).delayed[0].kept


def test_whatever_a_relay_that_stays_paused_holds_up_has_an_end(serve: Serve, desk: Make, clock: ManualClock) -> None:
    server = serve({"MAIL": LATER})
    postmaster = desk(main=server.url)
    submit(postmaster, "ann@example.com", "bulk")
    submit(postmaster, "bob@example.com")
    worker, start = postmaster.worker(), clock.now()
    ends: dict[str, timedelta] = {}
    while waiting(postmaster) and clock.now() - start < 6 * DAY:
        worker.run_due()
        ends |= {who: clock.now() - start for who in failed(postmaster).keys() - ends.keys()}
        clock.move(15 * MINUTE)
    assert 2 * DAY <= ends["ann@example.com"] <= 2 * DAY + 15 * MINUTE
    assert 4 * DAY - 2 * HOUR <= ends["bob@example.com"] <= 4 * DAY + 15 * MINUTE
    assert all(one.expired for one in failed(postmaster).values())
    assert not list(postmaster.suppressions)


def test_behind_a_relay_that_is_away_each_is_given_up_in_its_time(serve: Serve, desk: Make, clock: ManualClock) -> None:
    with refusing_port() as port:
        postmaster = desk(main=f"smtp://127.0.0.1:{port}")
        for number in range(30):
            submit(postmaster, f"code{number}@example.com", "security")
        submit(postmaster, "receipt@example.com")
        worker, start = postmaster.worker(), clock.now()
        while clock.now() - start < 10 * MINUTE:
            worker.run_due()
            clock.move(timedelta(seconds=15))
        worker.run_due()
    assert len(failed(postmaster)) == 30
    assert waiting(postmaster) == ["receipt@example.com"]


def test_a_worker_that_was_away_tries_late_mail_once_and_a_code_not_at_all(
    serve: Serve, desk: Make, clock: ManualClock
) -> None:
    server = serve({"RCPT": {"bob@example.com": "451 4.3.0 Busy"}})
    postmaster = desk(main=server.url)
    submit(postmaster, "code@example.com", "security")
    submit(postmaster, "ann@example.com")
    submit(postmaster, "bob@example.com")
    clock.move(6 * DAY)
    submit(postmaster, "new@example.com")
    postmaster.worker().run_due()
    assert {one.recipients[0] for one in server.messages} == {"ann@example.com", "new@example.com"}
    assert failed(postmaster).keys() == {"bob@example.com", "code@example.com"}
    assert failed(postmaster)["bob@example.com"].rule == "temporary", "with what the server says"
    assert (failed(postmaster)["code@example.com"].attempts, failed(postmaster)["bob@example.com"].attempts) == (0, 1)
    assert not waiting(postmaster)


def test_a_policy_that_gives_more_time_meanwhile_is_obeyed(
    serve: Serve, desk: Make, clock: ManualClock, tmp_path: Path
) -> None:
    postmaster, _ = paused(desk, serve, clock)
    submit(postmaster, "code@example.com", "security")
    longer = PAUSING + "classes: {security: {deadline: 30m, wait: quick, late: fail}}\n"
    (tmp_path / "own.yaml").write_text(longer, "utf-8")
    assert postmaster.reload()
    worker = postmaster.worker()
    clock.move(11 * MINUTE)
    worker.run_due()
    assert not failed(postmaster)
    assert worker.run_due() == 0, "it is looked at once"
    clock.move(20 * MINUTE)
    worker.run_due()
    assert failed(postmaster).keys() == {"code@example.com"}


def test_the_next_try_of_a_code_never_lies_behind_its_deadline(serve: Serve, desk: Make, clock: ManualClock) -> None:
    server = serve({"RCPT": "451 4.3.0 Busy"})
    postmaster = desk(main=server.url)
    submit(postmaster, "code@example.com", "security")
    worker, start = postmaster.worker(), clock.now()
    while not failed(postmaster):
        worker.run_due()
        clock.move(timedelta(seconds=10))
        assert clock.now() - start < 10 * MINUTE
    assert failed(postmaster)["code@example.com"].expired
    assert failed(postmaster)["code@example.com"].attempts >= 4
    assert clock.now() - start > 6 * MINUTE


def test_who_gives_up_too_late_takes_nothing_from_whoever_is_at_it(
    serve: Serve, desk: Make, clock: ManualClock
) -> None:
    """As when a worker was stopped for longer than its lease lasts, and goes on."""
    server = serve()
    postmaster = desk(main=server.url)
    submit(postmaster, "receipt@example.com")
    store = postmaster.office.store
    clock.move(5 * DAY)
    (mine,) = store.overdue(now=clock.now(), lease=Lease("mine", clock.now() + LEASE), limit=1, relay="main")
    clock.move(LEASE + timedelta(seconds=1))
    (theirs,) = store.overdue(now=clock.now(), lease=Lease("theirs", clock.now() + LEASE), limit=1, relay="main")
    postmaster.office.give_up(mine, "too late")
    assert waiting(postmaster) == ["receipt@example.com"]
    with postmaster.client("main") as client:
        assert client.deliver(theirs).delivered
    assert not waiting(postmaster)


def test_a_pause_that_lasts_is_told_as_a_queue_that_stands_still(serve: Serve, desk: Make, clock: ManualClock) -> None:
    postmaster, _ = paused(desk, serve, clock)
    submit(postmaster, "receipt@example.com")
    told = postmaster.heard.of  # type: ignore[attr-defined]
    clock.move(2 * HOUR)
    postmaster.office.watch_queue()
    assert not told("queue_stalled"), "the pause is why"
    clock.move(3 * HOUR)
    postmaster.office.watch_queue()
    (stalled,) = told("queue_stalled")
    assert stalled.details["paused"] == ["relay main"]


# -- whatever happens, in whatever order

CLASSES = {"security": 10 * MINUTE, "bulk": 2 * DAY, "transactional": 4 * DAY}
MOODS = {"well": "250 2.1.0 Ok", "busy": "451 4.3.0 Busy", "shut": LATER}


class Moody(Cues):
    """Says to every MAIL what its mood says."""

    mood = "well"

    def next(self, stage: str, address: str = "") -> Answer:
        return MOODS[self.mood] if stage == "MAIL" and self.mood != "well" else super().next(stage, address)


class Deadlines(RuleBasedStateMachine):
    """Mail of each class, a server of changing moods, workers that come and go: who has got what, and when?"""

    store: ClassVar[str] = "sqlite:///:memory:"

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        folder = Path(self.stack.enter_context(TemporaryDirectory()))
        (folder / "own.yaml").write_text(PAUSING, "utf-8")
        self.server = self.stack.enter_context(ScriptedServer())
        self.server._cues = self.moody = Moody({})
        self.clock = ManualClock()
        self.postmaster = self.stack.enter_context(
            Postmaster(
                policy=folder / "own.yaml",
                store=self.store.format(folder),
                retry="queue",
                worker="external",
                relays={"main": self.server.url},
                clock=self.clock,
            )
        )
        self.ended: dict[str, tuple[str, datetime]] = {}
        self.postmaster.on("delivered", "failed")(self.hear)
        self.sent: dict[str, tuple[str, datetime]] = {}
        self.workers = [self.postmaster.worker(), self.postmaster.worker()]

    def hear(self, event: Event) -> None:
        assert event.recipient not in self.ended, "an end comes once"
        self.ended[event.recipient or ""] = (event.type.value, event.at)

    @rule(message_class=st.sampled_from(sorted(CLASSES)), many=st.integers(1, 3))
    def submit(self, message_class: str, many: int) -> None:
        for _ in range(many):
            recipient = f"jo{len(self.sent)}@example.com"
            with self.postmaster.client("main") as client:
                client.submit(message(recipient), message_class=message_class)
            self.sent[recipient] = (message_class, self.clock.now())

    @rule(mood=st.sampled_from(sorted(MOODS)))
    def turn(self, mood: str) -> None:
        self.moody.mood = mood

    @rule(minutes=st.sampled_from([1, 3, 10, 45, 6 * 60, 25 * 60]), number=st.sampled_from([0, 1, None]))
    def wait(self, minutes: int, number: int | None) -> None:
        self.clock.move(minutes * MINUTE)
        if number is not None:
            self.work(number)

    @rule(number=st.sampled_from([0, 1]))
    def work(self, number: int) -> None:
        now = self.clock.now()
        self.workers[number].run_due()
        waits = waiting(self.postmaster)
        late = [one for one in waits if self.deadline(one) <= now]
        assert not [one for one in late if self.sent[one][0] == "security"], "a code is given up"
        if self.postmaster.office.gate.states():
            assert not late, "and whatever a pause holds up"

    def deadline(self, recipient: str) -> datetime:
        name, at = self.sent[recipient]
        return at + CLASSES[name]

    @invariant()
    def everybody_waits_or_has_had_one_end(self) -> None:
        waits = waiting(self.postmaster)
        assert sorted([*waits, *self.ended]) == sorted(self.sent)
        for recipient in self.sent:
            is_delivered = self.ended.get(recipient, ("",))[0] == "delivered"
            assert self.server.copies(recipient) == is_delivered

    @invariant()
    def no_code_arrives_when_it_is_worthless_and_no_other_mail_ends_before_its_time(self) -> None:
        for recipient, (how, at) in self.ended.items():
            name, sent_at = self.sent[recipient]
            if name == "security":
                assert how == "failed" or at < self.deadline(recipient)
            elif how == "failed":
                assert at >= sent_at + CLASSES[name] - timedelta(hours=4.5), "no try fits in between"

    @invariant()
    def nobody_is_suppressed_for_what_is_not_his_doing(self) -> None:
        assert not list(self.postmaster.suppressions)

    def teardown(self) -> None:
        self.stack.close()


class DeadlinesInSqlite(Deadlines):
    store = "sqlite:///{}/bounces.db"


_SOME = settings(max_examples=20, stateful_step_count=25, deadline=None)
TestDeadlinesInMemory = Deadlines.TestCase
TestDeadlinesInMemory.settings = _SOME
TestDeadlinesInSqlite = DeadlinesInSqlite.TestCase
TestDeadlinesInSqlite.settings = _SOME
