"""A store that commits and then raises: nobody knows, and so a second copy is marked as possible, or is not sent."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bouncekit import AsyncClient
from bouncekit.clients.smtperrors import OutcomeUnknown, StoreUnavailable
from bouncekit.delivery.events import EventType
from bouncekit.delivery.report import Report
from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.stores import Store, open_store
from bouncekit.stores.codec import told_rows
from bouncekit.stores.memory import MemoryStore
from bouncekit.stores.postgres import PostgresStore
from bouncekit.stores.sql import statements
from bouncekit.stores.sqlite import SqliteStore
from bouncekit.testing import ManualClock, ScriptedServer
from bouncekit.words.errors import StoreError

from .building import ANN, BOB, NOW
from .conftest import message
from .contract.queueing import mail_to, told
from .postgresql import Line, new_schema

Make = Callable[..., Postmaster]
Serve = Callable[..., ScriptedServer]

LATER = {"RCPT": {ANN: ["451 4.3.0 Try again later"]}}  # once


def unanswered() -> StoreError:
    """What a store raises behind a COMMIT that had no answer."""
    error = StoreError("the connection was lost in COMMIT")
    error.unknown = True
    return error


class Doubtful:
    """A store that does what it is asked for, and raises then; with `fails` it raises and does nothing."""

    doubts: dict[str, Exception]
    fails: frozenset[str] = frozenset()

    def _ask(self, method: str, *given: Any, **named: Any) -> Any:
        if method in self.fails:
            raise StoreError("the disk is full")
        answer = getattr(super(), method)(*given, **named)
        if method in self.doubts:
            raise self.doubts[method]
        return answer

    def begin(self, *given: Any, **named: Any) -> Any:
        return self._ask("begin", *given, **named)

    def record(self, *given: Any, **named: Any) -> Any:
        return self._ask("record", *given, **named)

    def enqueue(self, *given: Any, **named: Any) -> Any:
        return self._ask("enqueue", *given, **named)


class DoubtfulFile(Doubtful, SqliteStore):
    pass


class DoubtfulMemory(Doubtful, MemoryStore):
    pass


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    made: Any = DoubtfulMemory() if request.param == "memory" else DoubtfulFile(tmp_path / "bounces.db")
    made.doubts = {}
    return made


@pytest.fixture(params=[unanswered, lambda: ConnectionError("reset by peer")], ids=["unknown", "none of its errors"])
def doubt(request: pytest.FixtureRequest) -> Exception:
    error: Exception = request.param()
    return error


@pytest.fixture
def queueing(make_postmaster: Make, store: Any) -> Callable[..., Postmaster]:
    """A postmaster that queues for the relay at a server, and whose queue is worked on by hand."""

    def make(server: ScriptedServer, **settings: Any) -> Postmaster:
        given = {"relays": {"main": server.url}, "worker": "external", "store": store, "retry": "queue"}
        return make_postmaster(**{**given, **settings})

    return make


def send(postmaster: Postmaster, *recipients: str) -> Report:
    """The report of a send, which it carries if it raises."""
    with postmaster.client("main") as client:
        try:
            return client.send(message(*recipients))
        except Exception as error:
            report: Report = error.report  # type: ignore[attr-defined]
            return report


def stands(report: Report) -> list[tuple[str, str, bool, bool]]:
    return [(one.recipient, one.action.value, one.kept, one.possible_duplicate) for one in report.recipients]


def stored(store: Store, type_: str = "delayed") -> list[tuple[bool, bool]]:
    """Who is kept and marked by the events that the store has."""
    told = [event["data"] for _, event in store.events() if event["type"] == type_]
    return [(data["kept"], data["possible_duplicate"]) for data in told]


# -- what a server has answered


def test_who_may_be_queued_is_the_application_s_is_marked_and_is_taken_out_again(
    serve: Serve, queueing: Make, store: Any, doubt: Exception, clock: ManualClock
) -> None:
    server = serve(LATER)
    postmaster = queueing(server)
    store.doubts = {"record": doubt}
    report = send(postmaster, ANN, BOB)
    assert stands(report) == [(ANN, "delayed", False, True), (BOB, "delivered", False, False)]
    assert list(report) == [ANN], "whoever sends to the dict again sends to her"
    assert [one.recipient for one in store.queued()] == [ANN], "the store has committed"
    store.doubts = {}
    postmaster.office.ledger.catch_up()
    assert list(store.queued()) == []
    assert stored(store) == [(True, False), (False, True)], "who reads the store hears of it too"
    heard: Any = postmaster.heard  # type: ignore[attr-defined]
    assert [(one.settlement.kept, one.settlement.possible_duplicate) for one in heard.of("delayed")] == [(False, True)]
    clock.move(timedelta(hours=3))
    assert postmaster.worker().run_due() == 0
    assert (server.copies(ANN), server.copies(BOB)) == (0, 1)


def test_whom_nobody_got_at_all_raises_that_nobody_knows(
    serve: Serve, queueing: Make, store: Any, doubt: Exception
) -> None:
    postmaster = queueing(serve(LATER))
    store.doubts = {"record": doubt}
    with postmaster.client("main") as client, pytest.raises(OutcomeUnknown, match="may be in the queue") as raised:
        client.send(message(ANN))
    assert stands(raised.value.report) == [(ANN, "delayed", False, True)]  # type: ignore[attr-defined]


def test_where_the_store_surely_did_nothing_nobody_is_marked_and_nothing_is_taken_out(
    serve: Serve, queueing: Make, store: Any
) -> None:
    postmaster = queueing(serve(LATER))
    store.fails = frozenset({"record"})
    assert stands(send(postmaster, ANN)) == [(ANN, "delayed", False, False)]
    store.fails = frozenset()
    postmaster.office.ledger.catch_up()
    assert list(store.queued()) == []
    assert stored(store) == [(False, False)]


def test_a_record_that_an_earlier_one_kept_from_the_store_is_in_no_doubt(
    serve: Serve, queueing: Make, store: Any, doubt: Exception
) -> None:
    postmaster = queueing(serve({"RCPT": "451 4.3.0 Try again later"}), on_store_failure="send")
    store.doubts = {"record": doubt}
    assert stands(send(postmaster, ANN)) == [(ANN, "delayed", False, True)]
    assert stands(send(postmaster, BOB)) == [(BOB, "delayed", False, False)], "nobody asked the store about her"


def test_of_what_was_not_begun_since_an_earlier_result_is_in_doubt_nobody_is_marked(
    serve: Serve, queueing: Make, store: Any, doubt: Exception
) -> None:
    server = serve({"RCPT": {ANN: "451 4.3.0 Try again later"}})
    postmaster = queueing(server)
    store.doubts = {"record": doubt}
    assert stands(send(postmaster, ANN)) == [(ANN, "delayed", False, True)]
    assert stands(send(postmaster, BOB)) == [(BOB, "delayed", False, False)]
    assert server.copies(BOB) == 0
    assert [one.recipient for one in store.queued()] == [ANN]


def test_who_was_sent_to_meanwhile_stays_and_the_application_knows_that_he_may_be(
    serve: Serve, queueing: Make, store: Any, doubt: Exception, clock: ManualClock
) -> None:
    server = serve(LATER)
    postmaster, other = queueing(server), queueing(server)
    store.doubts = {"record": doubt}
    assert stands(send(postmaster, ANN)) == [(ANN, "delayed", False, True)]
    store.doubts = {}
    clock.move(timedelta(hours=1))
    assert other.worker().run_due() == 1
    postmaster.office.ledger.catch_up()
    assert stored(store) == [(True, False)], "nothing was taken out"
    assert [event.type for event in other.heard.of("delivered")] == [EventType.DELIVERED]  # type: ignore[attr-defined]
    assert server.copies(ANN) == 1


def test_who_is_in_the_queue_by_an_attempt_stays_in_it(
    serve: Serve, queueing: Make, store: Any, doubt: Exception, clock: ManualClock
) -> None:
    server = serve({"END_OF_DATA": ["451 4.3.0 Try again later"]})
    postmaster = queueing(server)
    store.doubts = {"record": doubt}
    assert stands(send(postmaster, ANN)) == [(ANN, "delayed", True, False)]
    store.doubts = {}
    clock.move(timedelta(hours=1))
    assert postmaster.worker().run_due() == 1
    assert server.copies(ANN) == 1


# -- before the dot


@pytest.mark.parametrize("mode", ["raise", "send"])
def test_an_attempt_that_may_have_begun_keeps_its_dot_back(
    serve: Serve, queueing: Make, store: Any, doubt: Exception, clock: ManualClock, mode: str
) -> None:
    server = serve()
    postmaster = queueing(server, on_store_failure=mode)
    store.doubts = {"begin": doubt}
    assert stands(send(postmaster, ANN, BOB)) == [(ANN, "delayed", True, False), (BOB, "delayed", True, False)]
    assert (server.copies(ANN), server.copies(BOB)) == (0, 0)
    store.doubts = {}
    clock.move(timedelta(hours=1))
    assert postmaster.worker().run_due() == 1
    assert (server.copies(ANN), server.copies(BOB)) == (1, 1)


def test_whom_an_attempt_may_have_put_into_the_store_is_marked_where_that_fails_then(
    serve: Serve, queueing: Make, store: Any, doubt: Exception, clock: ManualClock
) -> None:
    server = serve()
    postmaster = queueing(server)
    store.doubts, store.fails = {"begin": doubt}, frozenset({"record"})
    assert stands(send(postmaster, ANN)) == [(ANN, "delayed", False, True)]
    assert [one.recipient for one in store.queued()] == [ANN]
    store.doubts, store.fails = {}, frozenset()
    postmaster.office.ledger.catch_up()
    assert list(store.queued()) == []
    clock.move(timedelta(hours=1))
    assert postmaster.worker().run_due() == 0
    assert server.copies(ANN) == 0


def test_a_worker_s_attempt_that_may_have_begun_is_made_once_and_later(
    serve: Serve, queueing: Make, store: Any, doubt: Exception, clock: ManualClock
) -> None:
    server = serve()
    postmaster = queueing(server)
    with postmaster.client("main") as client:
        client.submit(message(ANN))
    store.doubts = {"begin": doubt}
    postmaster.worker().run_due()
    assert server.copies(ANN) == 0
    store.doubts = {}
    clock.move(timedelta(hours=1))
    assert postmaster.worker().run_due() == 1
    assert server.copies(ANN) == 1


# -- what is submitted


@pytest.mark.parametrize("is_sent_meanwhile", [False, True])
def test_a_delivery_that_may_be_queued_is_submitted_again_and_goes_out_once(
    serve: Serve, queueing: Make, store: Any, doubt: Exception, is_sent_meanwhile: bool
) -> None:
    server = serve()
    postmaster = queueing(server)
    with postmaster.client("main") as client:
        delivery = client.desk.compose(message(ANN))
        store.doubts = {"enqueue": doubt}
        with pytest.raises(StoreUnavailable, match=rf"may be in the queue .*queue show {delivery.id}") as raised:
            client.desk.submit(delivery)
        assert stands(raised.value.report) == [(ANN, "delayed", False, True)]
        store.doubts = {}
        assert is_sent_meanwhile is False or postmaster.worker().run_due() == 1
        assert stands(client.desk.submit(delivery)) == [(ANN, "delayed", True, False)]
    postmaster.worker().run_due()
    assert list(store.queued()) == []
    assert server.copies(ANN) == 1


def test_a_delivery_that_is_surely_not_queued_is_not_said_to_be(serve: Serve, queueing: Make, store: Any) -> None:
    store.fails = frozenset({"enqueue"})
    with queueing(serve()).client("main") as client, pytest.raises(StoreUnavailable) as raised:
        client.submit(message(ANN))
    assert "may be" not in str(raised.value)
    assert stands(raised.value.report) == [(ANN, "delayed", False, False)]


# -- awaited


def test_the_same_of_an_asynchronous_client(
    serve: Serve, queueing: Make, store: Any, doubt: Exception, clock: ManualClock
) -> None:
    server = serve(LATER)
    postmaster = queueing(server)

    async def work() -> tuple[Report, Report, Report]:
        async with AsyncClient(server.url, postmaster=postmaster) as client:
            store.doubts = {"record": doubt}
            recorded = await client.send(message(ANN, BOB))
            store.doubts = {"begin": doubt}
            begun = await client.send(message("cy@example.com"))
            store.doubts = {"enqueue": doubt}
            refused = await asyncio.gather(client.submit(message("di@example.com")), return_exceptions=True)
            assert isinstance(refused[0], StoreUnavailable)
            assert "may be in the queue" in str(refused[0])
            return recorded, begun, refused[0].report

    recorded, begun, queued = asyncio.run(work())
    assert stands(recorded) == [(ANN, "delayed", False, True), (BOB, "delivered", False, False)]
    assert stands(begun) == [("cy@example.com", "delayed", True, False)]
    assert stands(queued) == [("di@example.com", "delayed", False, True)]
    assert server.copies("cy@example.com") == 0
    assert [one.recipient for one in store.queued()] == ["cy@example.com", "di@example.com"], "and not Ann"


# -- how a database says so


@contextmanager
def _no_file_longer_than(size_bytes: int) -> Iterator[None]:
    resource = pytest.importorskip("resource", reason="no limit of a file's length here")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(("pages", "is_unknown"), [(10_000, True), (1, False)], ids=["in commit", "before it"])
def test_a_disk_that_fails_in_commit_leaves_it_in_doubt_and_before_it_does_not(
    tmp_path: Path, pages: int, is_unknown: bool
) -> None:
    """With one page in memory SQLite writes the others before the commit; with many it writes them in it."""
    with SqliteStore(tmp_path / "bounces.db") as store:
        store.tell((told(EventType.QUEUED, ANN),))
        rows = told_rows([told(EventType.QUEUED, BOB) for _ in range(500)])

        def write() -> None:
            with store._database.writing() as transaction:
                transaction.execute(f"PRAGMA cache_size = {pages}")
                transaction.executemany(statements.TELL, rows)

        with _no_file_longer_than(40_000), pytest.raises(StoreError, match="disk I/O error") as raised:
            write()
        assert raised.value.unknown is is_unknown
        assert [event["subject"] for _, event in store.events()] == [ANN]


@pytest.fixture
def line() -> Iterator[Line]:
    with new_schema() as url:
        open_store(url).close()  # so that the first COMMIT on the line is the test's
        with closing(Line(url)) as made:
            yield made


def test_a_line_to_postgresql_that_is_cut_behind_commit_is_in_doubt_whatever_the_next_try_says(
    line: Line, serve: Serve, make_postmaster: Make
) -> None:
    server = serve(LATER)
    with PostgresStore(line.url, patience_seconds=0.3) as store:
        postmaster = make_postmaster(relays={"main": server.url}, worker="external", store=store, retry="queue")
        line.cut = "behind"
        line.close()  # there is no other
        report = send(postmaster, ANN)
        assert line.cuts == 1
        assert stands(report) == [(ANN, "delayed", False, True)]
        with pytest.raises(StoreError) as raised:
            store.tell((told(EventType.QUEUED, BOB),))
        assert not raised.value.unknown, "that was not even asked for"
        line.open()
        postmaster.office.ledger.catch_up()
        assert list(store.queued()) == []
        assert stored(store) == [(True, False), (False, True)]


def test_a_delivery_whose_commit_was_not_answered_by_postgresql_is_queued_once(
    line: Line, serve: Serve, make_postmaster: Make
) -> None:
    server = serve()
    with PostgresStore(line.url, patience_seconds=0.3) as store:
        postmaster = make_postmaster(relays={"main": server.url}, worker="external", store=store, retry="queue")
        with postmaster.client("main") as client:
            delivery = client.desk.compose(message(ANN))
            line.cut = "behind"
            line.close()
            with pytest.raises(StoreUnavailable, match="may be in the queue"):
                client.desk.submit(delivery)
            line.open()
            assert postmaster.worker().run_due() == 1
            client.desk.submit(delivery)
        assert postmaster.worker().run_due() == 0
        assert (line.cuts, server.copies(ANN)) == (1, 1)


def test_a_duplicate_of_what_may_be_there_is_no_error(line: Line) -> None:
    """The first try was done and not answered; the second finds it."""
    with PostgresStore(line.url) as store:
        line.cut = "behind"
        delivery = mail_to(ANN)
        store.enqueue(delivery, due_at=NOW, at=NOW, events=(told(EventType.QUEUED, ANN),))
        assert (line.cuts, len(list(store.queued())), len(store.events())) == (1, 1, 1)
