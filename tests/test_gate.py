"""The gate with real servers and stores: who is slowed or paused waits, nobody is lost, and nobody pays for it."""

import smtplib
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import pytest

from bouncekit.clients.client import Client
from bouncekit.delivery.queue import Begun, Lease
from bouncekit.desk.gate import Gate
from bouncekit.desk.ledger import LEASE
from bouncekit.outside.builtin import open_policy
from bouncekit.outside.relay import Outlet
from bouncekit.policy.lane import Lane, LaneKind, Pause, Slow
from bouncekit.policy.policy import Policy
from bouncekit.policy.throttle import News
from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.stores.memory import MemoryStore
from bouncekit.stores.sqlite import SqliteStore
from bouncekit.testing import ManualClock, ScriptedServer, refusing_port
from bouncekit.testing.answers import Answer
from bouncekit.testing.script import Cues
from bouncekit.words.errors import StoreError
from bouncekit.words.status import Action

from .conftest import message
from .wires import AwaitedClient

Serve = Callable[..., ScriptedServer]
Make = Callable[..., Postmaster]

MAIN = Lane(LaneKind.RELAY, "main")
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
LATER = "421 4.7.0 Try again later, closing connection"
HEAD = "policy: 1\nextends: default\n"


def policy(tmp_path: Path, text: str) -> Policy:
    file = tmp_path / "own.yaml"
    file.write_text(HEAD + text, "utf-8")
    return open_policy(file)


@pytest.fixture
def desk(make_postmaster: Make, tmp_path: Path) -> Callable[..., Postmaster]:
    """A postmaster whose queue is worked on by hand."""

    def make(text: str = "", /, *, lasts: bool = True, **relays: object) -> Postmaster:
        store = f"sqlite:///{tmp_path / 'bounces.db'}" if lasts else "sqlite:///:memory:"
        own = {"policy": policy(tmp_path, text)} if text else {}
        return make_postmaster(store=store, retry="queue", worker="external", relays=relays, **own)

    return make


def submit(postmaster: Postmaster, relay: str, recipients: Iterable[str]) -> None:
    with postmaster.client(relay) as client:
        for recipient in recipients:
            client.submit(message(recipient))


def heard(postmaster: Postmaster, *types: str) -> list[Any]:
    return [event for event in postmaster.heard if event.type in types]  # type: ignore[attr-defined]


class PerSecond(Cues):
    """Takes so many messages in each second of the clock, and says 450 to the others."""

    def __init__(self, clock: ManualClock, most: int) -> None:
        super().__init__({})
        self.clock, self.most = clock, most
        self.taken: Counter[int] = Counter()
        self.refused: list[datetime] = []

    def next(self, stage: str, address: str = "") -> Answer:
        if stage == "MAIL":
            now = self.clock.now()
            self.taken[int(now.timestamp())] += 1
            if self.taken[int(now.timestamp())] > self.most:
                self.refused.append(now)
                return "450 4.7.1 Too much mail from 192.0.2.1"
        return super().next(stage, address)


@pytest.fixture
def limited(serve: Serve, clock: ManualClock) -> Callable[[int], tuple[ScriptedServer, PerSecond]]:
    def start(most: int) -> tuple[ScriptedServer, PerSecond]:
        server = serve()
        server._cues = cues = PerSecond(clock, most)
        return server, cues

    return start


def work_until_empty(postmaster: Postmaster, clock: ManualClock) -> int:
    """Work as a worker does that looks every two seconds; how many seconds that took by the clock."""
    worker, start = postmaster.worker(), clock.now()
    while postmaster.office.store.depth(clock.now()) != EMPTY:
        if not worker.run_due():
            clock.move(2 * SECOND)
        assert clock.now() - start < timedelta(days=2)
    return int((clock.now() - start).total_seconds())


EMPTY = Postmaster().office.store.depth(datetime.fromisoformat("2026-01-01T00:00:00+00:00"))
PEOPLE = [f"jo{number}@example.com" for number in range(60)]
STEADY = "rules:\n- {id: too-fast, when: {category: rate_limited}, do: retry, wait: 10s}\n"


# -- while a lane takes no more for a moment, a worker sees to other mail

SLOWED = "throttles:\n  providers:\n    example.org: {rate: 30/m}\n"


def test_who_has_to_wait_for_his_provider_holds_up_nobody_else(desk: Make, serve: Serve, clock: ManualClock) -> None:
    server, start = serve(), clock.now()
    postmaster = desk(SLOWED, main=server.url)
    submit(postmaster, "main", [f"jo{number}@example.org" for number in range(20)])
    submit(postmaster, "main", [f"jo{number}@example.com" for number in range(20)])
    assert postmaster.worker().run_due() == 40
    others = [event.at for event in heard(postmaster, "delivered") if event.recipient.endswith("example.com")]
    assert len(others) == 20
    assert max(others) - start < SECOND
    slowed = [event.at - start for event in heard(postmaster, "delivered") if event.recipient.endswith("example.org")]
    assert [round(at.total_seconds()) for at in slowed] == list(range(0, 40, 2)), "at the pace, and none slower"
    assert heard(postmaster, "delayed") == [], "nobody was put off, no attempt counts"


def test_who_has_to_wait_for_his_relay_holds_up_no_other_relay(desk: Make, serve: Serve, clock: ManualClock) -> None:
    slow, quick, start = serve(), serve(), clock.now()
    postmaster = desk("throttles:\n  relays:\n    slow: {rate: 30/m}\n", slow=slow.url, quick=quick.url)
    submit(postmaster, "slow", PEOPLE[:5])
    submit(postmaster, "quick", PEOPLE[20:40])
    assert postmaster.worker().run_due() == 25
    sent = {event.recipient: (event.at - start).total_seconds() for event in heard(postmaster, "delivered")}
    assert max(sent[one] for one in PEOPLE[20:40]) < 1
    assert [round(sent[one]) for one in PEOPLE[:5]] == [0, 2, 4, 6, 8]
    assert (len(slow.messages), len(quick.messages)) == (5, 20)


def test_of_many_who_wait_a_worker_has_a_few_in_hand_and_the_others_come_again(
    desk: Make, serve: Serve, clock: ManualClock
) -> None:
    """None of them is put off: for what is under a lease nothing is written, and its deadline stays."""
    server, start = serve(), clock.now()
    postmaster = desk(SLOWED.replace("30/m", "2/s"), main=server.url)
    submit(postmaster, "main", [f"jo{number}@example.org" for number in range(260)])
    submit(postmaster, "main", ["jo@example.com"])
    work_until_empty(postmaster, clock)
    delivered = heard(postmaster, "delivered")
    assert len({event.recipient for event in delivered}) == len(delivered) == 261
    (other,) = (event.at for event in delivered if event.recipient == "jo@example.com")
    assert other - start < 5 * SECOND
    assert clock.now() - start < timedelta(seconds=150), "130 at its pace"
    assert heard(postmaster, "delayed", "failed") == []


def test_a_worker_that_is_stopped_gives_back_what_it_had_in_hand(desk: Make, serve: Serve, clock: ManualClock) -> None:
    postmaster = desk(SLOWED, main=serve().url)
    submit(postmaster, "main", [f"jo{number}@example.org" for number in range(3)])
    assert postmaster.worker().run_due(seconds=0) == 1
    depth = postmaster.office.store.depth(clock.now())
    assert (depth.due, depth.leased) == (2, 0)


@pytest.mark.parametrize("span", [timedelta(minutes=20), timedelta(hours=20), timedelta(days=365)])
def test_what_is_in_hand_does_not_wait_for_a_clock_that_was_set_back(
    desk: Make, serve: Serve, clock: ManualClock, span: timedelta
) -> None:
    """Its lease is made longer meanwhile, so nobody else has it."""
    server = serve()
    postmaster = desk(SLOWED, main=server.url)
    submit(postmaster, "main", [f"jo{number}@example.org" for number in range(3)])
    worker, clients = postmaster.worker(), dict[str, Client]()
    assert worker.work(clients) == 1
    close(clients)
    clock.move(-span)
    start = clock.now()
    for token in worker._live:  # as the heartbeat does
        postmaster.office.store.extend(Lease(token, start + LEASE))
    worker.run_due()
    assert clock.now() - start < MINUTE
    assert len(server.messages) == 3


def test_what_is_in_hand_for_a_slow_relay_takes_no_thread_from_the_others(
    desk: Make, serve: Serve, clock: ManualClock
) -> None:
    slow, quick = serve(), serve()
    limits = "throttles:\n  relays:\n    slow: {rate: 30/m}\n"
    postmaster = desk(limits, slow=slow.url, quick=quick.url)
    submit(postmaster, "slow", PEOPLE[:3])
    worker, got = postmaster.worker(concurrency=2), list[tuple[int, int]]()
    clients, others = dict[str, Client](), dict[str, Client]()
    assert worker.work(clients) == 1
    store = postmaster.office.store
    begin = store.begin

    def begun(attempt: Begun) -> None:
        begin(attempt)
        if attempt.delivery.relay == "slow" and not got:
            got.append((0, 0))
            submit(postmaster, "quick", PEOPLE[5:6])
            clock.move(3 * SECOND)
            other = Thread(target=worker.work, args=(others,))
            other.start()
            other.join()
            got.append((len(slow.messages), len(quick.messages)))

    store.begin = begun  # type: ignore[method-assign]
    clock.move(3 * SECOND)
    worker.work(clients)
    assert got[1:] == [(1, 1)]
    clock.move(3 * SECOND)
    worker.work(clients)
    close(clients)
    close(others)
    assert (len(slow.messages), len(quick.messages)) == (3, 1)


def close(clients: dict[str, Client]) -> None:
    for client in clients.values():
        client.close()


def test_a_lease_is_kept_for_who_is_at_the_last_message_that_was_in_hand_under_it(
    desk: Make, serve: Serve, clock: ManualClock
) -> None:
    """Another thread may be done with another one by then."""
    server = serve()
    postmaster = desk(SLOWED, main=server.url)
    submit(postmaster, "main", [f"jo{number}@example.org" for number in range(3)])
    worker, kept = postmaster.worker(concurrency=2), list[bool]()
    clients, others = dict[str, Client](), dict[str, Client]()
    assert worker.work(clients) == 1
    store = postmaster.office.store
    begin = store.begin

    def begun(attempt: Begun) -> None:
        begin(attempt)
        if not kept:
            kept.append(True)
            clock.move(3 * SECOND)
            other = Thread(target=worker.work, args=(others,))
            other.start()
            other.join()
            kept.append(attempt.delivery.lease in worker._live)

    store.begin = begun  # type: ignore[method-assign]
    clock.move(3 * SECOND)
    worker.work(clients)
    close(clients)
    close(others)
    assert kept == [True, True]
    assert len(server.messages) == 3
    assert worker._live == {}


SLOWING = STEADY.replace("wait: 10s", "wait: 10s, slow: {by: 2, recover: 5s}")


def test_where_a_server_counts_per_second_all_mail_arrives_once_and_refusals_fall(
    limited: Any, desk: Make, clock: ManualClock
) -> None:
    """The same mail to the same server, by two policies that differ in `slow` alone."""
    refusals = {}
    for name, text in (("as before", STEADY), ("slower", SLOWING)):
        server, cues = limited(5)
        postmaster = desk(text, lasts=False, **{name.split()[0]: server.url})
        submit(postmaster, name.split()[0], PEOPLE)
        work_until_empty(postmaster, clock)
        assert Counter(one.recipients[0] for one in server.messages) == Counter(PEOPLE)
        refusals[name] = len(cues.refused)
        assert not heard(postmaster, "failed", "suppression_added")
    assert refusals["as before"] > 100
    assert refusals["slower"] * 5 < refusals["as before"]


def test_a_relay_that_wants_nothing_gets_nothing_until_the_pause_is_over(
    serve: Serve, desk: Make, clock: ManualClock
) -> None:
    server, other = serve({"MAIL": [LATER]}), serve()
    postmaster = desk(main=server.url, other=other.url)
    submit(postmaster, "main", ["ann@example.com", "bob@example.com", "cy@example.com"])
    submit(postmaster, "other", ["di@example.com"])
    worker = postmaster.worker()
    worker.run_due()
    assert other.copies("di@example.com") == 1, "another relay's mail goes on"
    assert (len(server.sessions), len(server.messages)) == (1, 0)
    (paused,) = heard(postmaster, "paused")
    assert paused.details["lane"] == "relay main"
    assert LATER in paused.details["why"]
    lying = {one.recipient: one.attempts for one in postmaster.office.store.queued(relay="main")}
    assert lying == {"ann@example.com": 1, "bob@example.com": 0, "cy@example.com": 0}
    clock.move(4 * MINUTE)
    assert worker.run_due() == 0
    assert len(server.sessions) == 1
    clock.move(2 * MINUTE)
    worker.run_due()
    assert [one.recipients[0] for one in server.messages] == ["bob@example.com"], "the trial; behind it, slowly"
    work_until_empty(postmaster, clock)
    assert Counter(one.recipients[0] for one in server.messages) == Counter(list(lying))
    assert [event.type for event in heard(postmaster, "paused", "resumed")] == ["paused", "resumed"]


def test_a_pause_outlives_a_restart(serve: Serve, desk: Make, clock: ManualClock) -> None:
    server = serve({"MAIL": [LATER]})
    first = desk(main=server.url)
    submit(first, "main", ["ann@example.com", "bob@example.com"])
    first.worker().run_due()
    first.close()
    second = desk(main=server.url)
    clock.move(MINUTE)
    assert second.worker().run_due() == 0
    assert list(second.office.gate.states()) == [MAIN]
    assert len(server.sessions) == 1


def test_a_pause_suppresses_nobody_and_moves_no_deadline(serve: Serve, desk: Make, clock: ManualClock) -> None:
    text = """\
classes: {transactional: {deadline: 30m, default: true}}
rules:
- {id: later, when: {code: 421}, do: retry, wait: 1m, pause: {for: 20m, at_most: 20m}}
"""
    server = serve({"MAIL": LATER})
    postmaster = desk(text, main=server.url)
    start = clock.now()
    submit(postmaster, "main", ["ann@example.com"])
    worker = postmaster.worker()
    worker.run_due()
    while (clock.now() - start) < timedelta(hours=2) and not heard(postmaster, "failed"):
        clock.move(MINUTE)
        worker.run_due()
    (failed,) = heard(postmaster, "failed")
    assert failed.settlement.expired
    assert 29 * MINUTE <= clock.now() - start <= 31 * MINUTE
    assert not list(postmaster.suppressions)


def test_never_reports_who_waits_and_sends_no_byte(serve: Serve, make_postmaster: Make, clock: ManualClock) -> None:
    server = serve({"MAIL": [LATER]})
    postmaster = make_postmaster(relays={"main": server.url})
    with postmaster.client("main") as client:
        with pytest.raises(smtplib.SMTPException):
            client.send(message("ann@example.com"))
        with pytest.raises(smtplib.SMTPRecipientsRefused) as caught:
            client.send(message("bob@example.com", "cy@example.com"))
    (bob, cy) = caught.value.report.recipients  # type: ignore[attr-defined]
    commands = [one.command[:4].upper() for session in server.sessions for one in session.transcript]
    assert (len(server.sessions), commands.count("MAIL")) == (1, 1)
    assert (bob.action, bob.rule, bob.attempts) == (Action.DELAYED, "held-up", 0)
    assert 5 * MINUTE <= bob.retry_at - clock.now() < 6 * MINUTE
    assert "relay main is paused until" in str(bob.reply)
    assert bob.retry_at == cy.retry_at


def test_wait_sleeps_through_a_pause_that_patience_allows(
    serve: Serve, make_postmaster: Make, clock: ManualClock
) -> None:
    server = serve({"MAIL": [LATER]})
    postmaster = make_postmaster(relays={"main": server.url}, retry="wait", patience="3h")
    with postmaster.client("main") as client:
        report = client.send(message("ann@example.com"))
    assert report.delivered
    assert sum(clock.slept) >= 300


def test_a_smtplib_connection_is_paced_by_its_host_and_port(
    limited: Any, make_postmaster: Make, tmp_path: Path, clock: ManualClock
) -> None:
    server, cues = limited(1000)
    limit = f"throttles: {{relays: {{'127.0.0.1:{server.port}': {{rate: 2/s}}}}}}"
    postmaster = make_postmaster(policy=policy(tmp_path, limit))
    start = clock.now()
    with postmaster.smtp("127.0.0.1", server.port) as smtp:
        for number in range(11):
            smtp.send_message(message(f"jo{number}@example.com"))
    assert clock.now() - start == 5 * SECOND
    assert max(cues.taken.values()) == 2


def test_a_provider_is_held_up_and_the_other_recipients_of_the_message_are_not(
    serve: Serve, desk: Make, clock: ManualClock
) -> None:
    text = """\
rules:
- {id: too-fast, when: {domain: slow.example, code: 450}, do: retry, wait: 1m, pause: {for: 10m, of: provider}}
"""
    server = serve({"RCPT": {"ann@slow.example": ["450 4.7.1 Too much mail from 192.0.2.1"]}})
    postmaster = desk(text, main=server.url)
    with postmaster.client("main") as client:
        client.send(message("ann@slow.example"))
        report = client.send(message("bob@slow.example", "cy@other.example"))
        assert [(one.recipient, one.action) for one in report.recipients] == [
            ("bob@slow.example", "delayed"),
            ("cy@other.example", "delivered"),
        ]
    assert heard(postmaster, "paused")[0].details["lane"] == "provider slow.example"
    clock.move(5 * MINUTE)
    assert postmaster.worker().run_due() == 1, "ann is due, and put off to the end of the pause: that is once"
    assert postmaster.worker().run_due() == 0
    clock.move(8 * MINUTE)
    work_until_empty(postmaster, clock)
    assert (server.copies("ann@slow.example"), server.copies("bob@slow.example")) == (1, 1)


def test_many_who_are_held_up_come_back_one_behind_the_other_and_are_put_off_once(
    serve: Serve, desk: Make, clock: ManualClock
) -> None:
    text = "rules:\n- {id: later, when: {code: 450}, do: retry, wait: 1m, pause: {for: 10m, of: provider}}\n"
    server = serve({"RCPT": {"jo0@slow.example": ["450 4.7.1 Too much mail from 192.0.2.1"]}})
    postmaster = desk(text, main=server.url)
    people = [f"jo{number}@slow.example" for number in range(30)]
    submit(postmaster, "main", people)
    work_until_empty(postmaster, clock)
    assert Counter(one.recipients[0] for one in server.messages) == Counter(people)
    held = [event for event in heard(postmaster, "delayed") if event.rule == "held-up"]
    assert len(held) <= 2 * len(people)


def test_a_reply_about_one_mailbox_slows_nobody(serve: Serve, desk: Make) -> None:
    server = serve({"RCPT": {"ann@example.com": "452 4.2.2 Over quota"}})
    text = "rules:\n- {id: full, when: {text: quota}, do: retry, wait: 1m, pause: 10m}\n"
    postmaster = desk(text, main=server.url)
    submit(postmaster, "main", ["ann@example.com", "bob@example.com"])
    postmaster.worker().run_due()
    assert server.copies("bob@example.com") == 1
    assert not heard(postmaster, "paused")


def test_test_traffic_pauses_nothing(serve: Serve, make_postmaster: Make) -> None:
    server = serve({"MAIL": [LATER]})
    postmaster = make_postmaster()
    with postmaster.client(server.url, test=True) as client, pytest.raises(smtplib.SMTPException):
        client.send(message("ann@example.com"))
    assert postmaster.office.gate.states() == {}


def test_what_is_left_of_a_split_message_does_not_go_to_a_relay_that_was_paused_meanwhile(
    serve: Serve, make_postmaster: Make
) -> None:
    server = serve({"MAIL": ["250 Ok", LATER]}, extensions=("ENHANCEDSTATUSCODES", "LIMITS RCPTMAX=2"))
    postmaster = make_postmaster()
    with postmaster.client(server.url) as client:
        report = client.send(message(*(f"jo{number}@example.com" for number in range(8))))
    assert Counter(one.rule for one in report.recipients) == {None: 2, "come-back-later": 2, "held-up": 4}
    assert (len(server.messages), len(server.sessions)) == (1, 1)


def test_none_of_the_batches_of_a_split_message_goes_to_a_relay_that_was_paused_meanwhile(
    serve: Serve, make_postmaster: Make
) -> None:
    server = serve({"MAIL": ["250 Ok", LATER]}, max_recipients=100)
    postmaster = make_postmaster()
    with postmaster.client(server.url) as client:
        report = client.send(message(*(f"jo{number}@example.com" for number in range(350))))
    assert Counter(one.rule for one in report.recipients) == {None: 100, "come-back-later": 100, "held-up": 150}
    assert (len(server.messages), len(server.sessions)) == (1, 1)


def test_who_was_to_be_the_probe_of_a_suppression_is_so_still_behind_the_pause(
    serve: Serve, make_postmaster: Make, clock: ManualClock
) -> None:
    server = serve({"RCPT": {"full@example.com": ["552 5.2.2 Mailbox full"]}, "MAIL": ["250 Ok", LATER]})
    postmaster = make_postmaster(relays={"main": server.url})

    def send(recipient: str) -> Any:
        try:
            return client.send(message(recipient)).recipients[0]
        except smtplib.SMTPException as error:
            return error.report.recipients[0]  # type: ignore[attr-defined]

    with postmaster.client("main") as client:
        assert send("full@example.com").action == "failed"
        clock.move(timedelta(days=8))
        assert send("ann@example.com").rule == "come-back-later"
        assert send("full@example.com").rule == "held-up"
        clock.move(timedelta(hours=1))
        assert send("full@example.com").action == "delivered"
    assert "full@example.com" not in postmaster.suppressions


def test_what_the_server_said_is_kept_without_anybodys_address(serve: Serve, make_postmaster: Make) -> None:
    server = serve({"RCPT": "421 4.7.0 <ann@example.com> Try again later"})
    postmaster = make_postmaster()
    with postmaster.client(server.url) as client, pytest.raises(smtplib.SMTPException):
        client.send(message("ann@example.com"))
    ((_, flow),) = postmaster.office.gate.states().items()
    assert "ann@" not in flow.why
    assert "Try again later" in flow.why


# -- those who share a store


def gates(store: Any, clock: ManualClock, number: int) -> list[Gate]:
    return [Gate(open_policy("default"), store, clock, lambda type_, **details: None) for _ in range(number)]


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_of_many_workers_exactly_one_has_the_trial(kind: str, tmp_path: Path, clock: ManualClock) -> None:
    with MemoryStore() if kind == "memory" else SqliteStore(tmp_path / "bounces.db") as store:
        several = gates(store, clock, 8)
        pause = News(lane=MAIN, measure=Pause(length=5 * MINUTE))
        several[0].heard([pause], "first")
        clock.move(10 * MINUTE)
        begin, granted = Barrier(8), []

        def ask(gate: Gate, token: str) -> None:
            begin.wait()
            if not gate.ask({MAIN: 1}, token):
                granted.append((gate, token))

        threads = [Thread(target=ask, args=(gate, f"t{number}")) for number, gate in enumerate(several)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        ((gate, token),) = granted
        gate.heard([News(lane=MAIN, well=True)], token)
        assert store.flows()[MAIN].flow.paused_until is None


def test_a_pause_that_one_process_hears_of_holds_in_all_within_a_second(clock: ManualClock) -> None:
    with MemoryStore() as store:
        one, other = gates(store, clock, 2)
        assert other.is_open(Outlet("main"))
        one.heard([News(lane=MAIN, measure=Pause(length=5 * MINUTE))], "t")
        clock.move(SECOND)
        assert not one.is_open(Outlet("main"))
        assert not other.is_open(Outlet("main"))


@pytest.mark.parametrize("apart", [5 * MINUTE, 50 * MINUTE])
def test_two_machines_whose_clocks_differ_end_no_pause_early_and_keep_to_the_pace(
    clock: ManualClock, apart: timedelta
) -> None:
    ahead = ManualClock(clock.now() + apart)
    with MemoryStore() as store:
        (one,), (other,) = gates(store, ahead, 1), gates(store, clock, 1)

        def passed(seconds: int) -> int:
            passed = 0
            for number in range(seconds):
                passed += sum(gate._ask_one(MAIN, 1, f"t{number}", is_test=False) is None for gate in (one, other))
                clock.move(SECOND)
                ahead.move(SECOND)
            return passed

        one.heard([News(lane=MAIN, measure=Slow(by=10, recover=10 * MINUTE))], "t")
        flow = store.flows()[MAIN].flow
        assert flow.pace is not None
        assert passed(100) <= 100 * flow.pace + 1
        one.heard([News(lane=MAIN, measure=Pause(length=5 * MINUTE))], "t")
        assert passed(299) == 0


def test_while_one_thread_reads_what_is_paused_no_other_passes_unasked(clock: ManualClock) -> None:
    class Looking(MemoryStore):
        is_new = False

        def flows(self) -> Any:
            found, is_first, self.is_new = super().flows(), self.is_new, False
            if is_first:
                assert not gate.is_open(Outlet("main")), "as another thread asks meanwhile"
                passed.append(False)
            return found

    passed: list[bool] = []
    with Looking() as store:
        gate, other = gates(store, clock, 2)
        other.heard([News(lane=MAIN, measure=Pause(length=5 * MINUTE))], "t")
        store.is_new = True
        passed.append(gate.is_open(Outlet("main")))
    assert passed == [False, False]


@pytest.mark.parametrize("error", [StoreError("away"), RuntimeError("no error that a store should raise")])
def test_a_store_that_fails_holds_nobody_up_and_a_pause_goes_on_here(clock: ManualClock, error: Exception) -> None:
    class Failing(MemoryStore):
        def flows(self) -> Any:
            raise error

        def swap_flow(self, *args: object, **more: object) -> bool:
            raise error

    (gate,) = gates(Failing(), clock, 1)
    assert gate.ask({MAIN: 1}, "t") == {}
    gate.heard([News(lane=MAIN, measure=Pause(length=5 * MINUTE))], "t")
    clock.move(MINUTE)
    assert not gate.is_open(Outlet("main"))
    clock.move(5 * MINUTE)
    assert gate.is_open(Outlet("main"))


def test_a_lane_that_is_free_again_leaves_the_store(clock: ManualClock) -> None:
    with MemoryStore() as store:
        (gate,) = gates(store, clock, 1)
        gate.heard([News(lane=MAIN, measure=Slow())], "t")
        assert MAIN in store.flows()
        clock.move(timedelta(hours=1))
        assert gate.ask({MAIN: 1}, "t") == {}
        assert store.flows() == {}
        assert gate.states() == {}


def test_a_policy_without_measures_asks_the_store_nothing(clock: ManualClock, tmp_path: Path) -> None:
    plain = tmp_path / "plain.yaml"
    plain.write_text(
        "policy: 1\nschedules: {hours: 1h}\nclasses: {all: {deadline: 1d, default: true}}\n"
        "rules: [{id: no, do: fail}]\n"
    )

    class Watched(MemoryStore):
        def flows(self) -> Any:
            raise AssertionError("asked")

    gate = Gate(open_policy(plain), Watched(), clock, lambda type_, **details: None)
    assert not gate.is_needed
    assert gate.is_open(Outlet("main"))


@pytest.mark.parametrize(("hints", "minutes"), [("longer", 40), ("{at_most: 20m}", 20), ("never", 10)])
def test_a_hint_lengthens_a_pause_as_far_as_the_owner_obeys_it(
    serve: Serve, desk: Make, clock: ManualClock, hints: str, minutes: int
) -> None:
    server = serve({"MAIL": "421 4.7.0 Too many messages, try again in 40 minutes"})
    rule = "- {id: not-now, when: {code: 421}, do: retry, pause: {for: 10m, at_most: 2h}}\n"
    postmaster = desk(f"hints: {hints}\nrules:\n{rule}", main=server.url)
    submit(postmaster, "main", ["ann@example.com"])
    postmaster.worker().run_due()
    flow = postmaster.office.store.flows()[MAIN].flow
    assert flow.paused_until is not None
    asked = minutes * MINUTE
    assert asked <= flow.paused_until - clock.now() <= asked * 1.1


# -- the relay that takes another's place


@pytest.fixture(params=[Client, AwaitedClient])
def client_of(request: pytest.FixtureRequest) -> Callable[[Postmaster], Any]:
    """A client of the relay `main`, which blocks or is awaited."""
    return lambda postmaster: request.param("main", postmaster=postmaster)


def test_a_relay_that_cannot_be_reached_is_replaced_and_that_is_told(
    serve: Serve, desk: Make, clock: ManualClock, client_of: Any
) -> None:
    spare = serve()
    with refusing_port() as port:
        main = {"url": f"smtp://127.0.0.1:{port}", "fallback": "spare"}
        postmaster = desk(main=main, spare=spare.url)
        with client_of(postmaster) as client:
            for recipient in ("ann@example.com", "bob@example.com"):
                (settled,) = client.send(message(recipient)).recipients
                assert (settled.action, settled.relay) == ("delivered", "spare")
    assert [spare.copies(one) for one in ("ann@example.com", "bob@example.com")] == [1, 1]
    (paused,) = heard(postmaster, "paused")
    assert paused.details["lane"] == "relay main"
    assert "it cannot be reached: [Errno" in paused.details["why"]
    delivered = heard(postmaster, "delivered")[0].to_dict()
    assert delivered["data"]["relay"] == "spare"


def test_a_paused_relay_gets_no_byte_where_another_takes_its_place_and_has_its_trial_afterwards(
    serve: Serve, desk: Make, clock: ManualClock
) -> None:
    server, spare = serve({"MAIL": [LATER]}), serve()
    postmaster = desk(main={"url": server.url, "fallback": "spare"}, spare=spare.url)
    submit(postmaster, "main", ["ann@example.com", "bob@example.com"])
    worker = postmaster.worker()
    worker.run_due()
    assert (len(server.sessions), spare.copies("bob@example.com")) == (1, 1)
    clock.move(6 * MINUTE)
    submit(postmaster, "main", ["cy@example.com"])
    worker.run_due()
    assert server.copies("cy@example.com") == 1
    assert [event.type for event in heard(postmaster, "paused", "resumed")] == ["paused", "resumed"]


@pytest.mark.parametrize("script", [{"RCPT": "550 5.1.1 No such user"}, {"END_OF_DATA": "451 4.3.0 Later"}])
def test_what_a_relay_has_answered_goes_to_no_other(
    serve: Serve, make_postmaster: Make, script: Any, client_of: Any
) -> None:
    server, spare = serve(script), serve()
    postmaster = make_postmaster(relays={"main": {"url": server.url, "fallback": "spare"}, "spare": spare.url})
    with client_of(postmaster) as client, pytest.raises(smtplib.SMTPException):
        client.send(message("ann@example.com"))
    assert spare.sessions == ()


def test_where_neither_can_be_reached_everybody_waits(
    make_postmaster: Make, clock: ManualClock, client_of: Any
) -> None:
    with refusing_port() as port:
        relays = {"main": {"url": f"smtp://127.0.0.1:{port}", "fallback": "spare"}, "spare": f"smtp://127.0.0.1:{port}"}
        postmaster = make_postmaster(relays=relays)
        with client_of(postmaster) as client:
            for recipient in ("ann@example.com", "bob@example.com"):
                with pytest.raises((smtplib.SMTPException, OSError)) as caught:
                    client.send(message(recipient))
                (settled,) = caught.value.report.recipients  # type: ignore[union-attr]
                assert (settled.action, settled.retry_at is not None) == ("delayed", True)


def test_a_lease_is_given_back_when_a_relay_is_paused_in_the_midst_of_a_batch(
    serve: Serve, desk: Make, clock: ManualClock
) -> None:
    server = serve({"MAIL": [LATER]})
    postmaster = desk(main=server.url)
    submit(postmaster, "main", PEOPLE[:5])
    postmaster.worker().run_due()
    claimed = postmaster.office.store.claim(now=clock.now(), lease=Lease("t", clock.now() + MINUTE), limit=9)
    assert len(claimed) == 4
