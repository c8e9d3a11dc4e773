"""The queue in a SQLite file: its statements, its processes, what is damaged in it.

What every queue does stands in `contract`.
"""

import logging
import random
import re
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from bouncekit.delivery.queue import QueueState
from bouncekit.stores.queuecodec import MESSAGE_COLUMNS
from bouncekit.stores.sql import queuestatements as statements
from bouncekit.stores.sqlite import SqliteStore
from bouncekit.words.errors import StoreBusy, StoreCorrupt, StoreError

from .building import ANN, BOB, CY, NOW
from .contract.queueing import LATER, begin, claim, enqueue, lease, mail_to, outcome, wires
from .contract.stores import new_id
from .test_sqlite_store import finish, python, rows


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "bounces.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    with SqliteStore(path) as opened:
        yield opened


def counts(store: SqliteStore) -> dict[str, int]:
    tables = ("messages", "recipients", "attempts", "outcomes", "outbox")
    return {table: rows(store, f"SELECT count(*) FROM {table}")[0][0] for table in tables}


# -- the statements

# Counting looks at all that it counts, which has a test of its own.
PLANNED = [name for name in statements.__all__ if name not in ("CURSORS", "DEPTH", "PRUNE", "RELAYS")]
_NAMES = re.compile(r":(\w+)").findall


@pytest.fixture(scope="module")
def long_queue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqliteStore]:
    """100,000 recipients of 2,000 messages, a tenth of them due."""
    with SqliteStore(tmp_path_factory.mktemp("queue") / "bounces.db") as store:
        now = int(NOW.timestamp() * 1000)
        with store._database.writing() as connection:
            connection.executemany(
                f"INSERT INTO messages ({MESSAGE_COLUMNS}) VALUES (?, {now}, 'main', '', '', NULL, 0, NULL,"
                " 's@example.org', '[]', '[]', 'plain', 2, x'4869')",
                [(f"m{number:04}",) for number in range(2000)],
            )
            connection.executemany(
                "INSERT INTO recipients (message, address, position, tenant, key, domain, relay, state,"
                " due_at, free_at) VALUES (:m, :a, :p, '', :a, 'example.com', 'main', 'due', :t, :t)",
                [
                    {"m": f"m{n % 2000:04}", "a": f"r{n}@example.com", "p": n // 2000, "t": now + n}
                    for n in range(-10_000, 90_000)
                ],
            )
        rows(store, "ANALYZE")
        yield store


def plan(store: SqliteStore, statement: str) -> list[str]:
    statement = statement.replace("%s", ":message" if _NAMES(statement) else "?")
    names = _NAMES(statement)
    values: Any = dict.fromkeys(names) if names else [None] * statement.count("?")
    return [step for *_, step in store._database.read(f"EXPLAIN QUERY PLAN {statement}", values)]


@pytest.mark.parametrize("statement", [*(getattr(statements, name) for name in PLANNED), *statements.PRUNE])
def test_no_statement_of_the_queue_reads_a_whole_table_or_sorts_it(long_queue: SqliteStore, statement: str) -> None:
    steps = plan(long_queue, statement)
    assert not [step for step in steps if step.startswith("SCAN") or "TEMP B-TREE" in step]


def test_how_many_wait_is_counted_in_indexes_alone_but_for_what_is_under_way(long_queue: SqliteStore) -> None:
    for statement in (statements.RELAYS, statements.DEPTH):
        steps = [step for step in plan(long_queue, statement) if " recipients " in step]
        assert {step.split(" INDEX ")[1].split(" ")[0] for step in steps if "COVERING" not in step} <= {
            "recipients_by_attempt",
            "recipients_by_lease",
        }


@pytest.mark.parametrize("name", ["FREE", "FIRST_RELAY", "NEXT_RELAY", "ABANDONED"])
def test_whose_turn_it_is_is_read_from_an_index_alone(long_queue: SqliteStore, name: str) -> None:
    steps = plan(long_queue, getattr(statements, name))
    assert [step for step in steps if "COVERING INDEX" in step] == [step for step in steps if "recipients" in step]


def test_a_long_queue_is_counted_from_its_indexes(long_queue: SqliteStore) -> None:
    tables = [step for step in plan(long_queue, statements.DEPTH) if "recipients" in step]
    assert len(tables) == 7
    # What is under a lease is read from its rows: there are never more than workers are at.
    assert [step for step in tables if "COVERING INDEX" not in step] == [
        "SEARCH recipients USING INDEX recipients_by_lease (lease_owner>?)"
    ] * 2
    depth = long_queue.depth(NOW)
    assert (depth.due, depth.waiting) == (10_001, 89_999)


def test_who_opens_a_store_behind_a_clock_that_was_set_back_sees_it(path: Path) -> None:
    """Also where newer mail says nothing about it, and what waits by the old time comes behind a lot that does not."""
    before = NOW - timedelta(days=3)
    with SqliteStore(path) as store:
        for number in range(120):
            enqueue(store, f"r{number}@example.com", due_at=before + timedelta(hours=1), at=before)
        enqueue(store, ANN)
        enqueue(store, BOB, due_at=before + timedelta(hours=1), at=before)
    with SqliteStore(path) as store:
        assert claim(store, now=before) == []
        assert wires(*claim(store, now=before)) == [ANN]


def test_threads_that_read_the_clock_one_before_the_other_do_not_begin_the_search_anew(store: SqliteStore) -> None:
    moment, hour, ahead = timedelta(milliseconds=1), timedelta(hours=1), NOW + timedelta(days=3)
    for number in range(120):
        enqueue(store, f"r{number}@example.com", due_at=NOW + hour, at=NOW)
    enqueue(store, ANN, due_at=ahead, at=ahead)
    for number in range(6):  # one of these steps looks at fifty
        enqueue(store, BOB, due_at=NOW - hour)
        assert wires(*claim(store, now=NOW - number % 2 * moment, limit=1)) == [BOB]
    (waiting,) = store.queued(containing=ANN)
    assert waiting.due_at is not None
    assert waiting.due_at <= NOW


def test_what_a_machine_whose_clock_was_ahead_left_is_found_by_one_whose_clock_is_right(
    store: SqliteStore, path: Path
) -> None:
    """Within half an hour, though its own clock was never set, and newer mail says nothing about it."""
    hour = timedelta(hours=1)
    for address in (ANN, BOB, CY):
        enqueue(store, address)
    assert claim(store, limit=0) == []
    with SqliteStore(path) as other:
        put_off, _ = claim(other, "dead", now=NOW + 9 * hour, limit=2)
        attempt = begin(other, put_off, at=NOW + 9 * hour, until=lease("dead", now=NOW + 9 * hour))
        other.record(outcome(put_off, attempt, delayed=[ANN], at=NOW + 9 * hour))
    assert wires(*claim(store, "done", now=NOW + timedelta(minutes=1))) == [CY]
    later = NOW + timedelta(minutes=32)
    assert BOB in wires(*claim(store, now=later))
    assert ANN in wires(*claim(store, now=later + hour))


def test_a_claim_looks_at_what_it_takes_and_not_at_what_waits(long_queue: SqliteStore) -> None:
    """Counted in steps of SQLite's machine, which no busy computer changes."""
    taken = []
    connection = long_queue._database._ready(long_queue._database._mine())
    for moment in (NOW - timedelta(seconds=9), NOW + timedelta(days=1)):
        ticks = [0]

        def tick(ticks: list[int] = ticks) -> int:
            ticks[0] += 1
            return 0

        connection.set_progress_handler(tick, 100)
        claimed = claim(long_queue, now=moment, limit=1)
        connection.set_progress_handler(None, 100)
        assert len(claimed) == 1
        taken.append((ticks[0], len(wires(*claimed))))
    assert all(ticks * 100 < 3000 + 500 * recipients for ticks, recipients in taken), taken


@pytest.mark.parametrize("rest", [lambda store: store.release("nobody"), lambda store: claim(store, relays=("none",))])
def test_what_is_in_the_log_is_written_back_when_nobody_waits_for_it(
    store: SqliteStore, path: Path, rest: Callable[[SqliteStore], object]
) -> None:
    """By a worker that is done with its batch, or has nothing to do; once there is enough of it."""
    sizes = []
    for number in (100, 100):
        for _ in range(number):
            enqueue(store, ANN)
        sizes.append(path.stat().st_size)
        rest(store)
        sizes.append(path.stat().st_size)
    assert sizes[0] == sizes[1] == sizes[2] < sizes[3]


def test_whoever_has_nothing_left_to_give_back_asks_for_no_lock(store: SqliteStore, path: Path) -> None:
    enqueue(store, ANN)
    (delivery,) = claim(store)
    assert delivery.lease is not None
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert store.release("theirs") == 0
        with pytest.raises(StoreBusy):
            store.release(delivery.lease)
    assert store.release(delivery.lease) == 1


def test_the_table_refuses_what_contradicts_itself(store: SqliteStore) -> None:
    enqueue(store, ANN)
    for change in (
        "due_at = NULL",
        "state = 'held'",
        "lease_owner = 'x'",
        "attempts = 1",
        "free_at = free_at + 1",
        "attempt_id = 'x', free_at = NULL",
    ):
        with pytest.raises(StoreError), store._database.writing() as connection:
            connection.execute(f"UPDATE recipients SET {change}")


# -- what lies in the file


def test_long_content_is_compressed_and_lies_there_once(store: SqliteStore) -> None:
    long, short, noise = b"All work and no play\r\n" * 500, b"x" * 1024, random.Random(1).randbytes(3000)
    for content in (long, short, noise):
        enqueue(store, ANN, BOB, CY, content=content)
    found = rows(store, "SELECT encoding, size_bytes, length(content) FROM messages ORDER BY id")
    assert [encoding for encoding, _, _ in found] == ["zlib", "plain", "plain"]
    assert [size for _, size, _ in found] == [len(long), len(short), len(noise)]
    assert found[0][2] < len(long) / 10


def test_who_is_settled_leaves_no_row_but_the_outcome(store: SqliteStore) -> None:
    sent = mail_to(ANN, BOB)
    attempt = begin(store, sent)
    store.record(outcome(sent, attempt, done=[ANN, BOB]))
    assert counts(store) == {"messages": 0, "recipients": 0, "attempts": 1, "outcomes": 2, "outbox": 2}
    assert rows(store, "SELECT settled_at IS NOT NULL FROM attempts") == [(1,)]
    assert store.prune(before=NOW) == 0
    assert store.prune(before=LATER) == 5
    assert not any(counts(store).values())


def test_no_attempt_is_forgotten_while_a_recipient_hangs_on_it(store: SqliteStore) -> None:
    """It was settled by who had lost it, and whoever took it over has not yet spoken."""
    sent = mail_to(ANN)
    attempt = begin(store, sent)
    (found,) = store.abandoned(now=LATER, lease=lease(now=LATER), limit=1)
    store.record(outcome(sent, attempt, delayed=[ANN]))
    store.prune(before=LATER)
    store.record(outcome(found.delivery, attempt, delayed=[ANN], unknown=True, at=LATER))
    assert rows(store, "SELECT possible_duplicate, attempt_id FROM recipients") == [(1, None)]


def test_forgetting_goes_on_in_small_steps_up_to_its_limit(store: SqliteStore) -> None:
    for _ in range(60):
        sent = mail_to(*(f"r{number}@example.com" for number in range(20)))
        store.record(outcome(sent, new_id(), done=wires(sent)))
    assert store.prune(before=LATER, limit=1300) == 1300
    assert counts(store)["outbox"] == 0
    assert counts(store)["outcomes"] == 1100
    assert store.prune(before=LATER) == 1100


def test_what_verdicts_to_come_need_is_kept_longer_than_events(store: SqliteStore) -> None:
    """The guard compares with the last month, whatever a policy keeps of events; strikes count for a year."""
    day = timedelta(days=1)
    with store._database.writing() as connection:
        for age in (20, 40, 300, 400):
            at = int((NOW - age * day).timestamp() * 1000)
            connection.execute("INSERT INTO counters VALUES ('answers_daily', 'example.com', ?, 0, 1)", (at,))
            connection.execute("INSERT INTO strikes VALUES ('', '', zeroblob(16), 'mailbox_full', ?, ?)", (age, at))
    assert store.prune(before=NOW - day, now=NOW) == 4
    assert rows(store, "SELECT count(*) FROM counters") == [(1,)]
    assert rows(store, "SELECT day FROM strikes ORDER BY day") == [(20,), (40,), (300,)]
    assert store.prune(before=NOW - 350 * day) == 0
    assert store.prune(before=NOW - day) == 4


@pytest.mark.parametrize(
    "damage",
    [
        "content = x'78013334'",
        "content = x'00'",
        "content = substr(content, 1, 30)",
        "size_bytes = size_bytes + 1",
        "size_bytes = 10",
        "mail_options = 'x'",
        "rcpt_options = '{}'",
        "rcpt_options = '[1]'",
        "sender = 'a' || char(13, 10) || 'DATA'",
        "mail_options = replace(hex(zeroblob(50000)), '0', '[')",
    ],
)
def test_a_message_that_cannot_be_read_is_held_and_blocks_nobody(
    store: SqliteStore, path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    broken = enqueue(store, ANN, BOB, content=b"Hello\r\n" * 999)
    enqueue(store, CY)
    with closing(sqlite3.connect(path)) as other, other:
        other.execute(f"UPDATE messages SET {damage} WHERE id = ?", (broken.id,))
    with caplog.at_level(logging.ERROR, "bouncekit"):
        assert wires(*claim(store)) == [CY]
    assert f"queued message {broken.id} cannot be read" in caplog.text
    assert [one.recipient for one in store.queued(state=QueueState.HELD)] == [ANN, BOB]
    with pytest.raises(StoreCorrupt, match=broken.id):
        store.queued_message(broken.id)
    assert store.drop(broken.id, None, at=NOW) == 2


@pytest.mark.parametrize("place", ["messages SET sender", "recipients SET given", "recipients SET address"])
def test_a_text_that_is_damaged_in_the_file_keeps_its_message_and_no_other(
    store: SqliteStore, path: Path, place: str
) -> None:
    broken = enqueue(store, ANN)
    enqueue(store, CY)
    with closing(sqlite3.connect(path)) as other, other:
        key = "id" if "messages" in place else "message"
        other.execute(f"UPDATE {place} = CAST(x'616eff406578616d706c652e636f6d' AS TEXT) WHERE {key} = ?", (broken.id,))
    with pytest.raises(StoreError, match="decode"):
        claim(store)
    taken = wires(*claim(store))
    assert taken == ([ANN, CY] if "given" in place else [CY]), "an address is read strictly, what was given is shown"
    assert store.depth(NOW).held == 2 - len(taken)


def test_what_cannot_even_be_held_blocks_nobody(store: SqliteStore, path: Path) -> None:
    broken = enqueue(store, ANN, content=b"Hello\r\n" * 999)
    enqueue(store, CY)
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("UPDATE messages SET content = x'00' WHERE id = ?", (broken.id,))
        other.execute(
            "CREATE TRIGGER never BEFORE UPDATE OF state ON recipients BEGIN SELECT RAISE(ABORT, 'damaged'); END"
        )
    assert wires(*claim(store)) == [CY]


def test_times_that_are_damaged_keep_no_claim_from_moving_others(store: SqliteStore, path: Path) -> None:
    enqueue(store, ANN)
    enqueue(store, CY)
    with closing(sqlite3.connect(path)) as other, other:
        last = 2**63 - 1
        other.execute(
            "UPDATE recipients SET timed_at = :at, due_at = :at, free_at = :at, first_attempt_at = :at,"
            " give_up_at = -:at WHERE address = :address",
            {"at": last, "address": ANN},
        )
    before = NOW - timedelta(days=3)
    got = [*wires(*claim(store, now=before)), *wires(*claim(store, now=before))]
    assert sorted(got) == [ANN, CY]


def test_a_recipient_that_could_not_have_come_from_us_never_reaches_the_wire(store: SqliteStore, path: Path) -> None:
    enqueue(store, ANN, BOB)
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("UPDATE recipients SET address = 'bob@example.com> NOTIFY=NEVER' WHERE address = ?", (BOB,))
    assert claim(store) == []
    assert store.depth(NOW).held == 2


def test_an_abandoned_attempt_that_cannot_be_read_is_held_and_marked(store: SqliteStore, path: Path) -> None:
    begin(store, mail_to(ANN, content=b"Hello\r\n" * 999))
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("UPDATE messages SET content = x'00'")
    assert store.abandoned(now=LATER, lease=lease(now=LATER), limit=1) == []
    (left,) = store.queued()
    assert (left.state, left.possible_duplicate) == (QueueState.HELD, True)
    assert rows(store, "SELECT count(*) FROM attempts WHERE settled_at IS NULL") == [(0,)]


# -- processes and kills

HEAD = """
from datetime import timedelta
from itertools import count
import tests.contract.queueing as queueing
from tests.building import NOW
from tests.contract.queueing import LATER, begin, claim, enqueue, mail_to, outcome, wires
queueing.new_id = lambda: os.urandom(16).hex()
store = SqliteStore(sys.argv[1])
"""


def test_four_processes_are_handed_each_of_2000_recipients_once(store: SqliteStore, path: Path) -> None:
    people = [f"r{number:04}@example.com" for number in range(2000)]
    for start in range(0, 2000, 4):
        enqueue(store, *people[start : start + 4])
    code = """
print("ready", flush=True)
while not os.path.exists(sys.argv[2]):
    threading.Event().wait(0.001)
while claimed := claim(store, limit=10):
    for delivery in claimed:
        attempt = begin(store, delivery)
        store.record(outcome(delivery, attempt, done=wires(delivery)))
        print(*wires(delivery), flush=True)
"""
    go = path.with_name("go")
    workers = [python(HEAD + code, path, go) for _ in range(4)]
    assert [worker.stdout and worker.stdout.readline() for worker in workers] == ["ready\n"] * 4
    go.touch()
    got = [worker.communicate(timeout=60)[0].split() for worker in workers]
    finish(*workers)
    assert sorted(one for each in got for one in each) == people
    assert sum(map(bool, got)) > 1, "one had it all to himself"
    assert list(store.queued()) == []
    assert rows(store, "SELECT count(DISTINCT recipient), count(*) FROM outcomes") == [(2000, 2000)]


def _killed(worker: "subprocess.Popen[str]", lines: int) -> list[str]:
    """What a process had said when it was killed with -9, after that many lines."""
    assert worker.stdout is not None
    said = [worker.stdout.readline().strip() for _ in range(lines)]
    worker.kill()
    said += worker.stdout.read().split("\n")[:-1]
    worker.wait()
    worker.stdout.close()
    return said


def test_a_process_killed_before_its_record_leaves_an_abandoned_attempt(store: SqliteStore, path: Path) -> None:
    code = """
delivery = mail_to("ann@example.com", "bob@example.com")
print(begin(store, delivery, "ann@example.com"), flush=True)
threading.Event().wait()
"""
    (attempt,) = _killed(python(HEAD + code, path), 1)
    (found,) = store.abandoned(now=LATER, lease=lease(now=LATER), limit=9)
    assert (found.attempt_id, wires(found.delivery)) == (attempt, [ANN])


def test_a_process_killed_at_any_moment_loses_nobody_and_sends_nobody_twice_unmarked(
    store: SqliteStore, path: Path
) -> None:
    """A line stands for the dot: it is printed between begin and record, as the server would see it."""
    people = [f"r{number:04}@example.com" for number in range(600)]
    for start in range(0, 600, 3):
        enqueue(store, *people[start : start + 3])
    code = """
while claimed := claim(store, limit=5, now=NOW + timedelta(hours=int(sys.argv[2]))):
    for delivery in claimed:
        attempt = begin(store, delivery, at=NOW + timedelta(hours=int(sys.argv[2])))
        print(*wires(delivery), flush=True)
        store.record(outcome(delivery, attempt, done=wires(delivery)))
"""
    sent: list[str] = []
    doubtful: set[str] = set()
    chance = random.Random(5)
    for turn in range(8):
        said = _killed(python(HEAD + code, path, turn), chance.randrange(1, 25))
        sent += [address for line in said for address in line.split()]
        now = NOW + timedelta(hours=turn, minutes=30)
        for one in store.abandoned(now=now, lease=lease(now=now), limit=9):
            doubtful.update(wires(one.delivery))
            store.record(outcome(one.delivery, one.attempt_id, delayed=wires(one.delivery), unknown=True, at=now))
    finish(python(HEAD + code, path, 99))
    store.check()
    assert {address for address in sent if sent.count(address) > 1} <= doubtful
    assert list(store.queued()) == []
    done = rows(store, "SELECT DISTINCT recipient FROM outcomes WHERE action = 'delivered' ORDER BY 1")
    assert [address for (address,) in done] == people
    marked = rows(store, "SELECT DISTINCT recipient FROM outcomes WHERE possible_duplicate AND action = 'delivered'")
    assert {address for (address,) in marked} == doubtful


def test_a_killed_writer_leaves_each_record_of_the_queue_whole_or_not_at_all(path: Path) -> None:
    code = """
for number in count():
    delivery = mail_to(*(f"{name}{number}@example.com" for name in ("ann", "bob", "cy")), id=os.urandom(16).hex())
    ann, bob, cy = wires(delivery)
    attempt = begin(store, delivery, ann, bob)
    store.record(outcome(delivery, attempt, done=[ann], delayed=[bob], held=[cy]))
    print(delivery.id, flush=True)
"""
    acknowledged: list[str] = []
    chance = random.Random(11)
    for _ in range(6):
        acknowledged += _killed(python(HEAD + code, path), chance.randrange(1, 40))
    with SqliteStore(path) as store:
        store.check()
        by_message: dict[str, set[tuple[str, str]]] = {}
        for one in store.queued():
            by_message.setdefault(one.message, set()).add((one.recipient[:2], str(one.state)))
        begun = store.abandoned(now=LATER, lease=lease(now=LATER), limit=99)
        assert all({who for who, _ in by_message.pop(one.delivery.id)} == {"an", "bo"} for one in begun)
        assert len(begun) <= 6
        assert set(acknowledged) <= by_message.keys()
        assert all(left == {("bo", "due"), ("cy", "held")} for left in by_message.values())
        assert counts(store)["outcomes"] == counts(store)["outbox"] == 3 * len(by_message)
        assert counts(store)["messages"] == len(by_message) + len(begun)
        assert rows(store, "PRAGMA foreign_key_check") == []
