"""retry="queue": what a send could not settle is in the store, and a worker sends it when it is due."""

import smtplib
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import bouncekit
from bouncekit import ConfigurationError
from bouncekit.clients.smtperrors import OutcomeUnknown, StoreUnavailable
from bouncekit.delivery.events import Event
from bouncekit.delivery.queue import Begun
from bouncekit.delivery.steps import Record
from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.stores.sqlite import SqliteStore
from bouncekit.testing import Cut, Kept, ManualClock, ScriptedServer
from bouncekit.words.errors import StoreError

from .conftest import message

Serve = Callable[..., ScriptedServer]
Make = Callable[..., Postmaster]

GREYLISTED = "451 4.7.1 Greylisted, try again later"


class Fragile(SqliteStore):
    """A store whose methods can be told to fail."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.fails: set[str] = set()

    def _check(self, method: str) -> None:
        if method in self.fails:
            raise StoreError("the disk is full")

    def begin(self, begun: Begun) -> None:
        self._check("begin")
        super().begin(begun)

    def record(self, record: Record) -> frozenset[str]:
        self._check("record")
        return super().record(record)

    def enqueue(self, *args: Any, **kwargs: Any) -> None:
        self._check("enqueue")
        super().enqueue(*args, **kwargs)


@pytest.fixture
def store(tmp_path: Path) -> Fragile:
    return Fragile(tmp_path / "bounces.db")


@pytest.fixture
def queueing(make_postmaster: Make, store: Fragile) -> Callable[..., Postmaster]:
    """A postmaster that queues for the relay at a server, and whose queue is worked on by hand."""

    def make(server: ScriptedServer, **settings: Any) -> Postmaster:
        given = {"relays": {"main": server.url}, "worker": "external", "store": store, "retry": "queue"}
        return make_postmaster(**{**given, **settings})

    return make


def test_who_is_delayed_is_sent_to_by_a_worker_when_it_is_due_and_once(
    serve: Serve, queueing: Make, clock: ManualClock
) -> None:
    server = serve({"RCPT": {"grey@example.com": [GREYLISTED]}})
    postmaster = queueing(server)
    with postmaster.client("main") as client:
        report = client.send(message("ada@example.com", "grey@example.com"))
    assert report == {}  # nobody for the application to send to again
    (delayed,) = report.delayed
    assert delayed.kept
    worker = postmaster.worker()
    assert worker.run_due() == 0, "before its time"
    clock.move(timedelta(hours=1))
    assert worker.run_due() == 1
    assert worker.run_due() == 0
    assert (server.copies("ada@example.com"), server.copies("grey@example.com")) == (1, 1)
    assert [event.recipient for event in postmaster.heard.of("delivered")] == ["ada@example.com", "grey@example.com"]  # type: ignore[attr-defined]
    (first, second) = server.messages
    assert first.data == second.data, "the same Message-ID"
    assert postmaster.office.store.depth(clock.now()).oldest_due_at is None


def test_a_restart_in_between_loses_nothing(serve: Serve, tmp_path: Path, clock: ManualClock) -> None:
    server = serve({"RCPT": {"*": [GREYLISTED]}})
    url = f"sqlite:///{tmp_path / 'bounces.db'}"
    settings: dict[str, Any] = {"store": url, "retry": "queue", "worker": "external", "clock": clock}
    with Postmaster(**settings, relays={"main": server.url}) as first, first.client("main") as client:
        assert client.send(message("ada@example.com", "bob@example.com")).delayed
    clock.move(timedelta(hours=1))
    with Postmaster(**settings, relays={"main": server.url}) as second:
        assert second.worker().run_due() == 1
    assert (server.copies("ada@example.com"), server.copies("bob@example.com")) == (1, 1)


def test_a_relay_that_cannot_be_reached_leaves_all_in_the_queue(queueing: Make, clock: ManualClock) -> None:
    server = ScriptedServer()
    with server:
        pass  # nobody listens there any more
    postmaster = queueing(server)
    with postmaster.client("main") as client:
        report = client.send(message("ada@example.com"))
    assert report == {}
    assert report.delayed[0].kept
    assert postmaster.office.store.depth(clock.now()).waiting == 1


def test_a_message_that_is_submitted_is_sent_later(serve: Serve, queueing: Make, clock: ManualClock) -> None:
    server = serve()
    postmaster = queueing(server)
    with postmaster.client("main") as client:
        report = client.submit(message("ada@example.com", "no address"))
    assert not server.sessions
    assert [(one.recipient, one.action.value) for one in report.recipients] == [
        ("ada@example.com", "delayed"),
        ("no address", "failed"),
    ]
    assert list(report) == ["no address"]
    assert postmaster.heard.types == ["failed", "queued"]  # type: ignore[attr-defined]
    assert postmaster.worker().run_due() == 1
    assert server.copies("ada@example.com") == 1


def test_to_submit_to_nobody_is_an_error_as_to_send_is(serve: Serve, queueing: Make) -> None:
    with queueing(serve()).client("main") as client:
        for made in (message(), message("no address")):
            with pytest.raises(smtplib.SMTPRecipientsRefused):
                client.submit(made)


def test_submit_needs_a_queue(serve: Serve, make_postmaster: Make) -> None:
    with make_postmaster().client(serve().url) as client, pytest.raises(ConfigurationError, match="retry='queue'"):
        client.submit(message("ada@example.com"))


def test_blind_copies_and_marks_stay_out_of_what_is_queued(serve: Serve, queueing: Make) -> None:
    server = serve()
    made = message("ada@example.com")
    made["Bcc"] = "secret@example.com"
    made["X-Bouncekit-Stream"] = "news"
    postmaster = queueing(server)
    with postmaster.client("main") as client:
        client.submit(made)
    postmaster.worker().run_due()
    (received,) = server.messages
    assert set(received.recipients) == {"ada@example.com", "secret@example.com"}
    assert b"secret" not in received.data
    assert b"X-Bouncekit" not in received.data


def test_somebody_suppressed_meanwhile_is_not_written_to(serve: Serve, queueing: Make) -> None:
    server = serve()
    postmaster = queueing(server)
    with postmaster.client("main") as client:
        client.submit(message("ada@example.com", "bob@example.com"))
    postmaster.suppressions.add("ada@example.com", by="jo")
    postmaster.worker().run_due()
    assert (server.copies("ada@example.com"), server.copies("bob@example.com")) == (0, 1)
    assert [event.recipient for event in postmaster.heard.of("suppressed")] == ["ada@example.com"]  # type: ignore[attr-defined]
    assert not list(postmaster.office.store.queued())


def test_a_subscriber_may_submit_and_send_within_a_submit(serve: Serve, queueing: Make) -> None:
    server = serve()
    postmaster = queueing(server)
    client, smtp = postmaster.client("main"), postmaster.smtp(server.host, server.port)

    @postmaster.on("queued")
    def answer(event: Event) -> None:
        if event.recipient == "ada@example.com":
            client.submit(message("bob@example.com"))
            assert smtp.send_message(message("cy@example.com")).delivered

    thread = threading.Thread(target=client.submit, args=(message("ada@example.com"),), daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()
    assert [one.recipient for one in postmaster.office.store.queued()] == ["ada@example.com", "bob@example.com"]
    smtp.submit_message(message("ada@example.com"))
    assert server.copies("cy@example.com") == 2
    client.close()
    smtp.close()


# -- which relay


def test_a_connection_that_goes_elsewhere_queues_for_where_it_goes(serve: Serve, queueing: Make) -> None:
    first, second = serve(), serve({"RCPT": {"*": [GREYLISTED]}})
    postmaster = queueing(first, relays={"first": first.url, "second": second.url})
    with postmaster.smtp(first.host, first.port) as smtp:
        smtp.quit()
        smtp.connect(second.host, second.port)
        smtp.send_message(message("ada@example.com"))
    assert dict(postmaster.office.store.queued_relays()) == {"second": 1}


def test_a_unix_socket_is_refused_since_no_worker_could_find_it_again(queueing: Make, tmp_path: Path) -> None:
    with ScriptedServer() as server, pytest.raises(ConfigurationError, match="Unix socket"):
        queueing(server).lmtp(str(tmp_path / "lmtp"))


def test_a_connection_to_no_relay_of_the_postmaster_is_refused_when_it_is_made(serve: Serve, queueing: Make) -> None:
    known, other = serve(), serve()
    postmaster = queueing(known)
    with pytest.raises(ConfigurationError, match=f"relays=.*127.0.0.1:{other.port}.*it has main"):
        postmaster.smtp(other.host, other.port)
    with pytest.raises(ConfigurationError, match="is no relay of this postmaster"):
        postmaster.client(other.url)
    with smtplib.SMTP(other.host, other.port) as plain, pytest.raises(ConfigurationError, match="no relay"):
        bouncekit.wrap(plain, postmaster)
    with pytest.raises(ConfigurationError, match="this postmaster has main"):
        postmaster.client("mian")
    assert not other.messages


@pytest.mark.parametrize("how", ["smtp", "wrap", "url"])
def test_every_way_to_send_queues_for_the_relay_it_goes_to(
    how: str, serve: Serve, queueing: Make, clock: ManualClock
) -> None:
    server = serve({"RCPT": {"*": [GREYLISTED]}})
    postmaster = queueing(server)
    made = message("ada@example.com")
    if how == "smtp":
        with postmaster.smtp(server.host, server.port) as smtp:
            assert smtp.send_message(made) == {}
    elif how == "wrap":
        with smtplib.SMTP(server.host, server.port) as plain:
            assert bouncekit.wrap(plain, postmaster).send_message(made) == {}
    else:
        with postmaster.client(server.url) as client:
            assert client.send(made) == {}
    clock.move(timedelta(hours=1))
    postmaster.worker().run_due()
    assert server.copies("ada@example.com") == 1


def test_two_names_for_one_place_must_be_told_apart(serve: Serve, queueing: Make) -> None:
    server = serve()
    twice = {"a": server.url, "b": server.url.replace("://", "://jo:secret@")}
    postmaster = queueing(server, relays=twice)
    with pytest.raises(ConfigurationError, match=r"relay a and b.*postmaster\.client\(name\)") as refused:
        postmaster.smtp(server.host, server.port)
    assert "secret" not in str(refused.value)
    with postmaster.client("a") as client:
        assert client.send(message("ada@example.com")).delivered


# -- the journal: begun before the dot


def test_an_attempt_is_in_the_store_before_its_dot(serve: Serve, queueing: Make, store: Fragile) -> None:
    server = serve({"END_OF_DATA": "250 2.0.0 Ok"})
    seen: list[str] = []
    begin = store.begin

    def spy(begun: Begun) -> None:
        begin(begun)
        seen.extend(one.recipient for one in store.queued())
        assert not server.messages, "the dot has gone out before"

    store.begin = spy  # type: ignore[method-assign]
    with queueing(server).client("main") as client:
        client.send(message("ada@example.com"))
    assert seen == ["ada@example.com"]
    assert not list(store.queued())


def test_without_a_journal_no_dot_goes_out(serve: Serve, queueing: Make, store: Fragile) -> None:
    server = serve()
    store.fails = {"begin"}
    with queueing(server).client("main") as client:
        report = client.send(message("ada@example.com"))
    assert not server.messages
    (delayed,) = report.delayed
    assert delayed.kept, "the store remembers outcomes again"
    assert delayed.scope == "route"


def test_what_the_store_cannot_keep_is_the_application_s_again_and_nobody_sends_it_twice(
    serve: Serve, queueing: Make, store: Fragile, clock: ManualClock
) -> None:
    server = serve({"RCPT": {"grey@example.com": [GREYLISTED]}})
    postmaster = queueing(server)
    store.fails = {"record"}
    with postmaster.client("main") as client:
        report = client.send(message("ada@example.com", "grey@example.com"))
        assert list(report) == ["grey@example.com"]
        assert not report.delayed[0].kept
        store.fails = set()
        client.send(message("ada@example.com"))  # what waited in memory is remembered now
    clock.move(timedelta(hours=2))
    assert postmaster.worker().run_due() == 0
    assert (server.copies("ada@example.com"), server.copies("grey@example.com")) == (2, 0)


def test_a_store_that_is_down_for_good_is_an_error_and_nothing_is_sent(
    serve: Serve, queueing: Make, store: Fragile
) -> None:
    server = serve()
    store.fails = {"begin", "record", "enqueue"}
    with queueing(server).client("main") as client:
        with pytest.raises(StoreUnavailable) as refused:
            client.send(message("ada@example.com"))
        assert list(refused.value.report) == ["ada@example.com"]
        with pytest.raises(StoreUnavailable):
            client.submit(message("ada@example.com"))
    assert not server.messages


def test_with_on_store_failure_send_mail_goes_out_without_a_journal(
    serve: Serve, queueing: Make, store: Fragile
) -> None:
    server = serve({"RCPT": {"grey@example.com": [GREYLISTED]}})
    store.fails = {"begin", "record"}
    with queueing(server, on_store_failure="send").client("main") as client:
        report = client.send(message("ada@example.com", "grey@example.com"))
    assert server.copies("ada@example.com") == 1
    assert list(report) == ["grey@example.com"], "nobody keeps it"


def test_a_fresh_message_is_asked_again_alone_behind_a_dot_that_was_begun(serve: Serve, queueing: Make) -> None:
    server = serve({"END_OF_DATA": ["552 5.2.2 Mailbox full"]})  # one reply for two: whose mailbox?
    with queueing(server).client("main") as client:
        report = client.send(message("ada@example.com", "bob@example.com"))
    assert len(report.delivered) == 2
    assert (server.copies("ada@example.com"), server.copies("bob@example.com")) == (1, 1)


def test_whom_the_store_has_is_sent_to_by_no_journal_less_attempt(
    serve: Serve, queueing: Make, store: Fragile, clock: ManualClock
) -> None:
    server = serve({"END_OF_DATA": ["552 5.2.2 Mailbox full"]})
    postmaster = queueing(server, on_store_failure="send")
    begin = store.begin

    def once(begun: Begun) -> None:
        begin(begun)
        store.fails = {"begin", "record"}

    store.begin = once  # type: ignore[method-assign]
    with postmaster.client("main") as client:
        report = client.send(message("ada@example.com", "bob@example.com"))
    assert [one.kept for one in report.delayed] == [True, True], "it is in the queue since its first attempt"
    assert report == {}
    del store.begin  # type: ignore[method-assign]
    postmaster.office.ledger._backlog._line.clear()  # as if the process had died
    store.fails = set()
    worker = postmaster.worker()
    for _ in range(3):
        clock.move(timedelta(hours=1))
        worker.run_due()
    assert (server.copies("ada@example.com"), server.copies("bob@example.com")) == (1, 1)


def test_a_lost_reply_that_nobody_could_journal_is_the_application_s(
    serve: Serve, queueing: Make, store: Fragile
) -> None:
    store.fails = {"begin", "record"}
    server = serve({"END_OF_DATA": [Cut()]})
    with (
        queueing(server, on_store_failure="send").client("main") as client,
        pytest.raises(OutcomeUnknown) as raised,
    ):
        client.send(message("ada@example.com"))
    report = raised.value.report  # type: ignore[attr-defined]
    assert list(report) == ["ada@example.com"]
    assert (report.unknown[0].kept, report.unknown[0].possible_duplicate) == (False, True)


def test_what_waits_in_memory_is_remembered_when_the_postmaster_closes(
    serve: Serve, queueing: Make, store: Fragile, tmp_path: Path, clock: ManualClock
) -> None:
    server = serve()
    postmaster = queueing(server)
    store.fails = {"record"}
    with postmaster.client("main") as client:
        client.send(message("ada@example.com"))
    store.fails = set()
    postmaster.close()
    with SqliteStore(tmp_path / "bounces.db") as again:
        assert not list(again.queued()), "else it would be found open, and sent again"


def test_a_worker_takes_no_attempt_of_this_process_for_abandoned(
    serve: Serve, queueing: Make, store: Fragile, clock: ManualClock
) -> None:
    server = serve()
    postmaster = queueing(server)
    store.fails = {"record"}
    with postmaster.client("main") as client:
        client.send(message("ada@example.com"))
    store.fails = set()
    clock.move(timedelta(minutes=16))
    assert postmaster.worker().run_due() == 0
    assert not postmaster.heard.of("unknown")  # type: ignore[attr-defined]
    assert len(postmaster.heard.of("delivered")) == 1  # type: ignore[attr-defined]


# -- nobody knows


def test_a_lost_reply_to_the_dot_raises_nothing_and_is_resent_marked(
    serve: Serve, queueing: Make, clock: ManualClock
) -> None:
    server = serve({"END_OF_DATA": [Kept(Cut())]})
    postmaster = queueing(server)
    with postmaster.client("main") as client:
        report = client.send(message("ada@example.com"))
    assert report == {}
    (unknown,) = report.unknown
    assert (unknown.kept, unknown.possible_duplicate) == (True, True)
    clock.move(timedelta(hours=1))
    assert postmaster.worker().run_due() == 1
    (delivered,) = postmaster.heard.of("delivered")  # type: ignore[attr-defined]
    assert delivered.settlement.possible_duplicate
    (first, second) = server.messages
    assert first.data == second.data, "the same Message-ID"


def test_an_attempt_whose_process_died_is_unknown_and_goes_by_its_class(
    serve: Serve, queueing: Make, store: Fragile, clock: ManualClock
) -> None:
    server = serve()
    postmaster = queueing(server)
    store.fails = {"record"}  # as if the process had been killed behind the dot
    with postmaster.client("main") as client:
        client.send(message("ada@example.com"))
    postmaster.office.ledger._backlog._line.clear()
    store.fails = set()
    worker = postmaster.worker()
    assert worker.run_due() == 0, "its lease has not ended"
    clock.move(timedelta(minutes=16))
    assert worker.run_due() == 1
    (unknown,) = postmaster.heard.of("unknown")  # type: ignore[attr-defined]
    assert unknown.settlement.possible_duplicate
    clock.move(timedelta(hours=1))
    worker.run_due()
    (delivered,) = postmaster.heard.of("delivered")  # type: ignore[attr-defined]
    assert delivered.settlement.possible_duplicate, "the second copy is marked"
    assert server.copies("ada@example.com") == 2


@pytest.mark.parametrize("step", [timedelta(minutes=16), -timedelta(days=1)], ids=["past it", "by a clock set back"])
@pytest.mark.parametrize("fails_first", [False, True], ids=["recorded late", "caught up with late"])
def test_who_hears_the_answer_past_its_lease_is_told_of_the_copy_that_went_out_meanwhile(
    serve: Serve, queueing: Make, store: Fragile, clock: ManualClock, fails_first: bool, step: timedelta
) -> None:
    server = serve()
    postmaster, other = queueing(server), queueing(server)
    record = store.record

    def late(one: Record) -> frozenset[str]:
        """Past the lease, and past whoever took the attempt over and has sent again."""
        store.record = record  # type: ignore[method-assign]
        clock.move(step)
        other.worker().run_due()
        clock.move(timedelta(hours=1))
        assert other.worker().run_due() == 1
        if fails_first:
            raise StoreError("the disk is full")
        return record(one)

    store.record = late  # type: ignore[method-assign]
    with postmaster.client("main") as client:
        report = client.send(message("ada@example.com", "bob@example.com"))
    assert (len(report.delivered), report) == (2, {})
    assert [one.possible_duplicate for one in report.delivered] == [True, True]
    postmaster.office.ledger.catch_up()
    told = postmaster.heard.of("delivered")  # type: ignore[attr-defined]
    assert [event.settlement.possible_duplicate for event in told] == [True, True]
    assert {event["data"]["possible_duplicate"] for _, event in store.events() if event["type"] == "delivered"} == {
        True
    }
    assert (server.copies("ada@example.com"), server.copies("bob@example.com")) == (2, 2)


# -- the worker in this process


def test_a_thread_of_the_postmaster_sends_what_is_submitted(serve: Serve, tmp_path: Path) -> None:
    server = serve()
    url = f"sqlite:///{tmp_path / 'bounces.db'}"
    with (
        Postmaster(store=url, retry="queue", relays={"main": server.url}) as postmaster,
        postmaster.client("main") as client,
    ):
        for number in range(5):
            client.submit(message(f"r{number}@example.com"))
        deadline = postmaster.office.clock.now() + timedelta(seconds=20)
        while list(postmaster.office.store.queued()) and postmaster.office.clock.now() < deadline:
            postmaster.office.clock.sleep(0.02)
    assert [server.copies(f"r{number}@example.com") for number in range(5)] == [1] * 5


def test_queued_mail_that_lies_there_starts_the_thread(serve: Serve, tmp_path: Path) -> None:
    server = serve()
    settings: dict[str, Any] = {"store": f"sqlite:///{tmp_path / 'bounces.db'}", "retry": "queue"}
    relays = {"main": server.url}
    with Postmaster(**settings, relays=relays, worker="external") as first, first.client("main") as client:
        client.submit(message("ada@example.com"))
    with Postmaster(**settings, relays=relays) as second:
        deadline = second.office.clock.now() + timedelta(seconds=20)
        while not server.messages and second.office.clock.now() < deadline:
            second.office.clock.sleep(0.02)
    assert server.copies("ada@example.com") == 1


def test_what_is_queued_while_a_postmaster_closes_starts_no_thread_again(serve: Serve, tmp_path: Path) -> None:
    server = serve()
    postmaster = Postmaster(store=f"sqlite:///{tmp_path / 'b.db'}", retry="queue", relays={"main": server.url})
    with postmaster, postmaster.client("main") as client:
        client.submit(message("ada@example.com"))
    postmaster.office.ledger.on_queued()  # what a subscriber does that sends while the others are waited for
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("bouncekit-worker")]


@pytest.mark.parametrize("by", ["worker", "durable"])
def test_a_subscriber_may_close_the_postmaster(by: str, serve: Serve, tmp_path: Path) -> None:
    server = serve(max_recipients=1)  # so that the message is not done with its first event
    postmaster = Postmaster(store=f"sqlite:///{tmp_path / 'b.db'}", retry="queue", relays={"main": server.url})
    heard: list[Event] = []

    @postmaster.on("delivered", durable="closer" if by == "durable" else None)
    def close(event: Event) -> None:
        postmaster.close()
        heard.append(event)

    with postmaster.client("main") as client:
        client.submit(message("ada@example.com", "bob@example.com"))
    end = time.monotonic() + 20
    while (not heard or _is_open(postmaster)) and time.monotonic() < end:
        time.sleep(0.02)
    assert heard
    assert not _is_open(postmaster), "the store is closed behind the message"
    assert (server.copies("ada@example.com"), server.copies("bob@example.com")) == (1, 1)
    with SqliteStore(tmp_path / "b.db") as again:
        assert not list(again.queued())
    postmaster.close()


def _is_open(postmaster: Postmaster) -> bool:
    try:
        postmaster.office.store.queued_relays()
    except StoreError:
        return False
    return True


def test_a_thread_that_cannot_be_started_keeps_no_result_from_the_sender(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As at the end of the interpreter: what was delivered would be sent again."""
    server = serve({"RCPT": {"grey@example.com": [GREYLISTED]}})
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name.startswith(("bouncekit-worker", "bouncekit-heartbeat", "bouncekit-outbox")):
            raise RuntimeError("can't start new thread")
        start(thread)

    url = f"sqlite:///{tmp_path / 'b.db'}"
    monkeypatch.setattr(threading.Thread, "start", refuse)
    with Postmaster(store=url, retry="queue", relays={"main": server.url}) as postmaster:
        postmaster.on(durable="crm")(lambda event: None)
        with postmaster.client("main") as client:
            report = client.send(message("ada@example.com", "grey@example.com"))
    assert [one.action.value for one in report.recipients] == ["delivered", "delayed"]


def test_a_queue_that_nobody_works_on_is_told(serve: Serve, queueing: Make, clock: ManualClock) -> None:
    server = serve({"RCPT": {"grey@example.com": GREYLISTED}})
    postmaster = queueing(server)
    with postmaster.client("main") as client:
        client.submit(message("ada@example.com"))
        clock.move(timedelta(hours=1))
        client.send(message("grey@example.com"))
    (stalled,) = postmaster.heard.of("queue_stalled")  # type: ignore[attr-defined]
    assert stalled.details["due"] == 1


def test_a_worker_needs_a_relay(make_postmaster: Make, store: Fragile) -> None:
    with pytest.raises(ConfigurationError, match="relays="):
        make_postmaster(store=store, retry="queue")
    with pytest.raises(ConfigurationError, match="'thread' or 'external'"):
        make_postmaster(store=store, retry="queue", relays={"main": "smtp://localhost"}, worker="none")
