"""What only a store in PostgreSQL has to show: the order of its events, lost answers, restarts, processes, strangers.

What every store does stands in `contract`. BOUNCEKIT_RESTARTS is how often the server is restarted under load.
"""

import logging
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from bouncekit.delivery.events import EventType
from bouncekit.delivery.suppressionchange import Swap
from bouncekit.policy.suppression import Suppression
from bouncekit.stores import Store, open_store
from bouncekit.stores.codec import told_rows
from bouncekit.stores.sql import statements
from bouncekit.stores.sql.database import Interrupted
from bouncekit.words.errors import (
    BouncekitError,
    ConfigurationError,
    StoreCorrupt,
    StoreError,
    StoreReadOnly,
    StoreRefused,
)

from .building import ANN, BOB, NOW
from .contract.queueing import begin, claim, enqueue, mail_to, outcome, told, wires
from .contract.stores import put, take
from .contract.test_store_contract import suppression
from .postgresql import Line, new_schema, own_server_url, restart, server_url

ROOT = Path(__file__).parents[1]
RESTARTS = int(os.environ.get("BOUNCEKIT_RESTARTS", "3"))


@pytest.fixture
def url() -> Iterator[str]:
    with new_schema() as made:
        yield made


@pytest.fixture
def store(url: str) -> Iterator[Any]:
    with open_store(url) as opened:
        yield opened


@pytest.fixture
def line(url: str) -> Iterator[Line]:
    open_store(url).close()  # so that the first COMMIT on the line is the test's
    with closing(Line(url)) as made:
        yield made


def psql(url: str, statement: str) -> list[Any]:
    import psycopg

    base, _, query = url.partition("?")
    options = query.split("&")
    (schema,) = (option[7:] for option in options if option.startswith("schema="))
    server = f"{base}?{'&'.join(option for option in options if not option.startswith('schema='))}"
    with psycopg.connect(server, autocommit=True, options=f"-c search_path={schema}") as connection:
        found = connection.execute(statement.encode())
        return found.fetchall() if found.description else []


# -- the order of the events


def test_no_reader_passes_an_event_that_is_committed_behind_later_ones(store: Any) -> None:
    first, second, third = (told(EventType.DELIVERED, ANN) for _ in range(3))
    with store._database.writing() as slow:
        slow.executemany(statements.TELL, told_rows((first,)))
        assert slow.execute("SELECT 1").fetchall()  # it has its number by now
        store.tell((second,))
        assert store.events() == []
        with store._database.writing() as other:
            other.executemany(statements.TELL, told_rows((third,)))
        assert store.events() == []
    assert [event["id"] for _, event in store.events()] == [first.id, second.id, third.id]


def test_what_is_undone_holds_nobody_up(store: Any) -> None:
    def undone() -> None:
        with store._database.writing() as transaction:
            transaction.executemany(statements.TELL, told_rows((told(EventType.DELIVERED, ANN),)))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        undone()
    later = told(EventType.DELIVERED, BOB)
    store.tell((later,))
    assert [event["id"] for _, event in store.events()] == [later.id]


def test_a_reader_that_never_stops_sees_every_event_of_many_writers_once(store: Store) -> None:
    expected, seen, done = set[str](), list[str](), threading.Event()

    def write() -> None:
        for _ in range(40):
            events = tuple(told(EventType.DELIVERED, ANN) for _ in range(3))
            store.tell(events)
            expected.update(event.id for event in events)

    def read() -> None:
        after = 0
        while True:
            last = done.is_set()
            while page := store.events(after=after, limit=7):
                seen.extend(event["id"] for _, event in page)
                after = page[-1][0]
            if last:
                return

    reader, writers = threading.Thread(target=read), [threading.Thread(target=write) for _ in range(4)]
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    reader.join()
    assert len(expected) == 480
    assert sorted(seen) == sorted(expected)


def test_the_audit_is_read_in_the_order_of_its_commits_too(store: Any) -> None:
    with store._database.writing() as slow:
        slow.execute(statements.AUDIT, (1, "lifted", "x", "", "", b"k" * 16, None, "{}", None))
        assert slow.execute("SELECT 1").fetchall()
        put(store, suppression(ANN))
        assert store.changes() == []
    assert store._database.read("SELECT count(*) FROM audit WHERE sequence <= settled_until('audit')") == [(2,)]


# -- a COMMIT without an answer

ENDS = ("before", "behind")


@pytest.mark.parametrize("end", ENDS)
def test_what_is_enqueued_is_there_once_however_the_line_broke(line: Line, end: str) -> None:
    with open_store(line.url) as store:
        line.cut = end
        event = told(EventType.DELAYED, ANN)
        store.enqueue(mail_to(ANN, BOB), due_at=NOW, at=NOW, events=(event,))
        assert line.cuts == 1
        assert sorted(wires(*claim(store))) == [ANN, BOB]
        assert [found["id"] for _, found in store.events()] == [event.id]


@pytest.mark.parametrize("end", ENDS)
def test_an_attempt_is_begun_and_settled_once_however_the_line_broke(line: Line, url: str, end: str) -> None:
    with open_store(url) as other:
        enqueue(other, ANN, BOB)
        (delivery,) = claim(other)
    for number in range(2):
        with open_store(line.url) as store:
            line.cut = end
            if number == 0:
                attempt = begin(store, delivery)
            else:
                store.record(outcome(delivery, attempt, done=[ANN], delayed=[BOB]))
            assert line.cuts == number + 1
    assert psql(url, "SELECT count(*), count(settled_at) FROM attempts") == [(1, 1)]
    assert psql(url, "SELECT recipient, action FROM outcomes ORDER BY 1") == [(ANN, "delivered"), (BOB, "delayed")]
    assert psql(url, "SELECT address, attempts, attempt_id FROM recipients") == [(BOB, 1, None)]
    assert psql(url, "SELECT count(*), count(DISTINCT id) FROM outbox") == [(2, 2)]


def test_an_attempt_that_somebody_else_has_begun_is_not_taken_for_our_own(line: Line, url: str) -> None:
    with open_store(url) as other:
        attempt = begin(other, mail_to(BOB))
    with open_store(line.url) as store:
        line.cut = "behind"
        with pytest.raises(StoreError, match="begun before"):
            begin(store, mail_to(ANN), attempt=attempt)


@pytest.mark.parametrize("end", ENDS)
def test_what_cannot_be_looked_up_says_that_nobody_knows(line: Line, url: str, end: str) -> None:
    with open_store(url) as other:
        put(other, suppression(ANN))
    with open_store(line.url) as store:
        line.cut = end
        with pytest.raises(Interrupted, match="nobody knows") as caught:
            take(store, suppression(ANN).key)
        assert caught.value.unknown
        assert (store.suppression(suppression(ANN).key) is None) == (end == "behind")


def test_a_broken_line_is_made_anew_for_whatever_is_asked(line: Line) -> None:
    with open_store(line.url) as store:
        put(store, suppression(ANN))
        psql(line.url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
                       " AND application_name = 'bouncekit' AND state = 'idle'")  # fmt: skip
        assert take(store, suppression(ANN).key) is not None
        assert store.suppression(suppression(ANN).key) is None


# -- a server that goes away


class Load:
    """Threads that enqueue, and note what the store has acknowledged."""

    def __init__(self, store: Store, threads: int = 4) -> None:
        self.store, self.acknowledged, self.failed = store, list[str](), list[str]()
        self._done = threading.Event()
        self._threads = [threading.Thread(target=self._write) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def _write(self) -> None:
        while not self._done.is_set():
            delivery = mail_to(ANN, BOB)
            try:
                self.store.enqueue(delivery, due_at=NOW, at=NOW, events=(told(EventType.DELAYED, ANN),))
            except StoreError as error:
                self.failed.append(str(error))
            else:
                self.acknowledged.append(delivery.id)

    def stop(self) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join()


def lost(url: str, load: Load) -> set[str]:
    assert len(load.acknowledged) > 20
    whole = psql(url, "SELECT message FROM recipients GROUP BY message HAVING count(*) = 2")
    assert psql(url, "SELECT count(*) - count(DISTINCT message) * 2 FROM recipients") == [(0,)]
    assert psql(url, "SELECT (SELECT count(*) FROM messages) - (SELECT count(*) FROM outbox)") == [(0,)]
    return set(load.acknowledged) - {message for (message,) in whole}


def test_nothing_that_was_acknowledged_is_lost_when_the_server_is_restarted() -> None:
    with new_schema(own_server_url()) as url, open_store(url) as store:
        load = Load(store)
        try:
            for number in range(RESTARTS):
                time.sleep(0.3)
                restart(("fast", "immediate")[number % 2])
                until = time.monotonic() + 20
                acknowledged = len(load.acknowledged)
                while len(load.acknowledged) < acknowledged + 10 and time.monotonic() < until:
                    time.sleep(0.02)
                assert len(load.acknowledged) > acknowledged, load.failed[-1:]
        finally:
            load.stop()
        assert lost(url, load) == set()


def test_nothing_that_was_acknowledged_is_lost_when_connections_are_ended(url: str) -> None:
    with open_store(f"{url}&application_name=ended_{os.getpid()}") as store:
        load = Load(store)
        for _ in range(20):
            time.sleep(0.05)
            psql(url, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                      f" WHERE application_name = 'ended_{os.getpid()}'")  # fmt: skip
        load.stop()
        assert load.failed == []
        assert lost(url, load) == set()


def test_a_server_that_is_away_is_told_after_bounded_patience_and_shows_no_password() -> None:
    from bouncekit.stores.postgres import PostgresStore

    start = time.monotonic()
    with pytest.raises(StoreError, match=re.escape("127.0.0.1:1/shop")) as caught:
        PostgresStore("postgresql://jo:hush-canary@127.0.0.1:1/shop", patience_seconds=0.2)
    assert time.monotonic() - start < 60
    assert "canary" not in f"{caught.value!r} {caught.value} {caught.value.__cause__}"


def test_a_server_that_comes_back_within_patience_is_found_at_once_and_nobody_hears_of_it(
    line: Line, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from bouncekit.stores.postgres import PostgresStore

    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # as in an application that has set up no logging
    with PostgresStore(line.url, patience_seconds=5) as store:
        line.cut = "before"
        line.close()
        back = threading.Timer(3.2, line.open)  # by then the pool itself would look again when patience is over
        back.start()
        store.tell((told(EventType.QUEUED, ANN),))
        assert line.cuts == 1
        assert not back.is_alive()
    assert capsys.readouterr().err == ""


# -- many at once


def test_each_of_two_in_each_others_way_gets_through(store: Any) -> None:
    """A deadlock, which our own statements do not make: the server ends one of the two, and it is done again."""
    store._database.read("SELECT 1")
    put(store, suppression(ANN), suppression(BOB))
    both = threading.Barrier(2, timeout=20)
    tries = list[str]()

    def change(first: str, second: str) -> None:
        from bouncekit.stores.sql.database import repeated

        class Asking:
            _database = store._database

            @repeated
            def ask(self) -> None:
                tries.append(first)
                with store._database.writing() as transaction:
                    for address in (first, second):
                        row = "UPDATE suppressions SET rung = rung + 1 WHERE address = ?"
                        assert transaction.execute(row, (address,)).rowcount == 1
                        if address == first and tries.count(first) == 1:
                            both.wait()

        Asking().ask()

    threads = [threading.Thread(target=change, args=pair) for pair in ((ANN, BOB), (BOB, ANN))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {one.rung - suppression(ANN).rung for one in store.suppressions()} == {2}
    assert len(tries) == 3


WORKER = """
import os, sys
from bouncekit.delivery.queue import Lease
from bouncekit.stores import open_store
from datetime import timedelta
from tests.building import NOW
from tests.contract.queueing import begin, outcome, wires
with open_store(sys.argv[1]) as store:
    print("ready", flush=True)
    sys.stdin.readline()
    while claimed := store.claim(now=NOW, lease=Lease(os.urandom(16).hex(), NOW + timedelta(minutes=5)), limit=7):
        for delivery in claimed:
            attempt = os.urandom(16).hex()
            begin(store, delivery, attempt=attempt, until=Lease(delivery.lease, NOW + timedelta(minutes=5)))
            store.record(outcome(delivery, attempt, done=wires(delivery)))
            print(*wires(delivery), flush=True)
"""


OPENER = """
import sys
from bouncekit.stores import open_store
with open_store(sys.argv[1]) as store:
    print(len(list(store.suppressions())))
"""


def python(code: str, *arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize("number", [2, 4])
def test_worker_processes_on_one_database_send_to_every_recipient_once(url: str, number: int) -> None:
    with open_store(url) as store:
        people = [f"r{place}@example.com" for place in range(240)]
        for first in range(0, 240, 3):
            enqueue(store, *people[first : first + 3])
        workers = [python(WORKER, url) for _ in range(number)]
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "ready\n"
        answers = [worker.communicate("go\n", timeout=60) for worker in _started_together(workers)]
        assert [worker.returncode for worker in workers] == [0] * number, answers
        sent = [address for out, _ in answers for address in out.split()]
        assert sorted(sent) == sorted(people)
        assert list(store.queued()) == []
        assert store._database.read("SELECT count(*) FROM messages") == [(0,)]  # type: ignore[attr-defined]


def _started_together(workers: "list[subprocess.Popen[str]]") -> "list[subprocess.Popen[str]]":
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    return workers


def test_a_claim_waits_for_nobody(store: Any) -> None:
    first, second = enqueue(store, ANN), enqueue(store, BOB)
    with store._database.writing() as other:
        other.execute("SELECT 1 FROM recipients WHERE message = ? FOR UPDATE", (first.id,)).fetchall()
        start = time.monotonic()
        assert [delivery.id for delivery in claim(store)] == [second.id]
        assert time.monotonic() - start < 30
    assert [delivery.id for delivery in claim(store)] == [first.id]


def test_processes_that_open_an_empty_database_at_once_make_it_once(url: str) -> None:
    running = [python(OPENER, url) for _ in range(4)]
    answers = [process.communicate(timeout=60) for process in running]
    assert [out for out, _ in answers] == ["0\n"] * 4, answers
    assert psql(url, "SELECT version FROM bouncekit") == [(1,)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # of threads, from 3.12 on
def test_a_child_opens_its_own_connections_and_leaves_its_parents_alone(store: Store) -> None:
    put(store, suppression(ANN))
    child = os.fork()
    if child == 0:
        found = False
        with suppress(BouncekitError):
            put(store, suppression(BOB))
            found = len(list(store.suppressions())) == 2
        os._exit(0 if found else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert len(list(store.suppressions())) == 2


# -- what is somebody else's


def test_a_store_of_a_newer_bouncekit_is_refused_and_left_as_it_is(url: str) -> None:
    open_store(url).close()
    psql(url, "UPDATE bouncekit SET version = 99")
    with pytest.raises(StoreCorrupt, match="newer bouncekit"):
        open_store(url)
    assert psql(url, "SELECT version FROM bouncekit") == [(99,)]


@pytest.mark.parametrize(
    "change", ["ALTER TABLE bouncekit DROP COLUMN made_from", "UPDATE bouncekit SET made_from = ''"]
)
def test_a_store_from_before_the_release_is_refused_and_left_as_it_is(url: str, change: str) -> None:
    open_store(url).close()
    psql(url, change)
    with pytest.raises(StoreCorrupt, match=r"before its release, with other tables.*suppressions export"):
        open_store(url)
    assert psql(url, "SELECT version FROM bouncekit") == [(1,)]


def test_a_schema_of_somebody_else_is_refused_and_left_as_it_is(url: str) -> None:
    schema = url.rpartition("=")[2]
    psql(url, f"CREATE SCHEMA {schema} CREATE TABLE messages (theirs integer)")
    with pytest.raises(StoreCorrupt, match="no bouncekit store; it was left as it is"):
        open_store(url)
    assert psql(url, f"SELECT relname::text FROM pg_class WHERE relnamespace = '{schema}'::regnamespace") == [
        ("messages",)
    ]


def test_an_empty_schema_that_somebody_made_for_us_is_used(url: str) -> None:
    psql(url, f"CREATE SCHEMA {url.rpartition('=')[2]}")
    with open_store(url) as store:
        assert list(store.suppressions()) == []


def test_a_role_that_may_not_write_is_told(url: str) -> None:
    schema = url.rpartition("=")[2]
    open_store(url).close()
    psql(url, f"CREATE ROLE reader_{schema} LOGIN")
    try:
        psql(url, f"GRANT USAGE ON SCHEMA {schema} TO reader_{schema}")
        psql(url, f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO reader_{schema}")
        with open_store(f"{url}&user=reader_{schema}") as store:
            assert list(store.suppressions()) == []
            with pytest.raises(StoreReadOnly, match="this role may not"):
                put(store, suppression(ANN))
    finally:
        psql(url, f"DROP OWNED BY reader_{schema}")
        psql(url, f"DROP ROLE reader_{schema}")


# -- the place


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://jo:hush%zzcanary@db/shop",
        "postgresql://jo:canary@db:port:5/shop?nonsense=1",
        "postgresql://jo:canary@db/shop?schema=Bad-Name",
    ],
)
def test_a_url_that_cannot_be_read_is_told_without_its_password(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        open_store(url)
    assert "canary" not in f"{caught.value!r} {caught.value.__cause__!r}"


def test_no_password_is_in_a_message_a_repr_or_the_log(caplog: pytest.LogCaptureFixture) -> None:
    from bouncekit.stores.postgres.place import PostgresPlace

    caplog.set_level(logging.DEBUG)
    place = PostgresPlace.parse("postgresql://jo:canary@127.0.0.1:1/shop?sslmode=disable")
    assert place.settings()["password"] == "canary"
    assert "canary" not in f"{place!r} {place}"
    separator = "&" if "?" in server_url() else "?"
    with pytest.raises(StoreError, match=r"the server refuses .*nowhere.*; .*createdb"):
        open_store(f"{server_url()}{separator}dbname=nowhere&password=canary")
    assert "canary" not in caplog.text


FLOW = "INSERT INTO flows (kind, name, token, state) VALUES (?, ?, 't', '{}')"
HELD = """
    INSERT INTO recipients (message, address, position, tenant, key, domain, relay, state)
    VALUES (?, ?, ?, '', '', '', 'main', 'held')"""
REFUSED = {
    "what the table's rules forbid": (FLOW, ("neither", "main")),
    "a row that is there": (FLOW, ("relay", "taken")),
    "no value where one must be": (FLOW, ("relay", None)),
    "what belongs to a row that is not there": (HELD, ("none", "ann@example.com", 0)),
    "a number that is too large for the server": (HELD, ("none", "ann@example.com", 2**70)),
    "a text with a NUL": (FLOW, ("relay", "a\0b")),
    "what is no value at all": (FLOW, ("relay", object())),
}


@pytest.mark.parametrize("told_by", ["the next answer", "the commit"])
@pytest.mark.parametrize("what", REFUSED)
def test_what_the_server_cannot_take_is_refused_by_name_and_the_store_goes_on(
    store: Any, what: str, told_by: str
) -> None:
    statement, values = REFUSED[what]
    with store._database.writing() as transaction:
        transaction.execute(FLOW, ("relay", "taken"))

    def write() -> None:
        with store._database.writing() as transaction:
            transaction.execute(FLOW, ("relay", "beside"))
            transaction.executemany(statement, [values])
            if told_by == "the next answer":
                transaction.execute("SELECT 1").fetchall()

    with pytest.raises(StoreRefused):
        write()
    assert store._database.read("SELECT name FROM flows") == [("taken",)]


def test_text_that_the_server_would_refuse_is_spelled_out(store: Store) -> None:
    one = Suppression(**{**_fields(suppression(ANN)), "by": "a\0b\udcff"})
    put(store, one)
    (found,) = store.suppressions()
    assert found.by == "a\\x00b\\udcff"


def _fields(one: Suppression) -> dict[str, Any]:
    return {name: getattr(one, name) for name in one.__slots__}


# -- the tables


def _tables(dialect: str, same: Callable[[str], str]) -> dict[str, list[str]]:
    """Tables with their lines, in the words of SQLite."""
    text = (files(f"bouncekit.stores.{dialect}") / "migrations" / "0001_first.sql").read_text("utf-8")
    text = same(re.sub(r"--.*", "", text))
    found = {name: body.split(",\n") for name, body in re.findall(r"CREATE TABLE (\w+) \(\n(.*?)\n\)", text, re.DOTALL)}
    found |= {name: [body] for name, body in re.findall(r"CREATE (?:UNIQUE )?INDEX (\w+) (.*?);", text, re.DOTALL)}
    return {name: [" ".join(line.split()) for line in lines] for name, lines in found.items()}


def test_the_server_knows_how_long_a_list_is_that_came_in_bulk(store: Any) -> None:
    entries = [suppression(f"user{number}@example.com") for number in range(10_000)]
    for start in range(0, 10_000, 2_500):
        swaps = [Swap(before=None, after=one) for one in entries[start : start + 2_500]]
        assert store.exchange(swaps, by="import list", at=NOW) == []
    ((known,),) = store._database.read("SELECT reltuples FROM pg_class WHERE oid = 'suppressions'::regclass")
    assert known == 10_000


def test_both_databases_have_the_same_tables() -> None:
    def in_words_of_sqlite(text: str) -> str:
        for theirs, ours in (
            ('TEXT COLLATE "C"', "TEXT"),
            ("BIGINT", "INTEGER"),
            ("BYTEA", "BLOB"),
            ("GENERATED ALWAYS AS IDENTITY PRIMARY KEY", "PRIMARY KEY AUTOINCREMENT"),
            ("IS NOT DISTINCT FROM", "IS"),
            ("(attempts > 0)::INTEGER", "(attempts > 0)"),
            ("DEFAULT (pg_backend_pid() % 16)", "DEFAULT 0"),
        ):
            text = text.replace(theirs, ours)
        return text

    ours, theirs = _tables("sqlite", str), _tables("postgres", in_words_of_sqlite)
    assert {*ours} == {*theirs}
    assert {name for name in ours if ours[name] != theirs[name]} == {"recipients_by_attempt"}


def test_every_text_sorts_by_its_bytes(store: Any) -> None:
    others = store._database.read(
        "SELECT table_name, column_name, collation_name FROM information_schema.columns"
        " WHERE table_schema = current_schema() AND data_type = 'text' AND collation_name IS DISTINCT FROM 'C'"
    )
    assert others == []
