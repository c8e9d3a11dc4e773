"""`queue`: look at what waits, try it now, drop it."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bouncekit.delivery.steps import Delivery
from bouncekit.stores.sqlite import SqliteStore
from tests.building import ANN, BOB, CY
from tests.contract import queueing

from .conftest import Run

STORE = ("--store", "sqlite:///b.db")
MINUTE = timedelta(minutes=1)
FULL = "552 5.2.2 Mailbox is full\x1b[2J"

Queue = Callable[..., Delivery]


@pytest.fixture
def now() -> datetime:
    """The machine's time, by which the command line goes too."""
    return datetime.now(UTC)


@pytest.fixture
def queue(store: SqliteStore, now: datetime) -> Queue:
    """Put a message into the queue."""

    def put(*addresses: str, due_in: timedelta = -5 * MINUTE, **settings: Any) -> Delivery:
        return queueing.enqueue(store, *addresses, due_at=now + due_in, at=now - 10 * MINUTE, **settings)

    return put


def documents(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


def listed(run: Run, *options: str) -> list[str]:
    return [one["recipient"] for one in documents(run("queue", "list", "--json", *options, *STORE).output)]


def send(store: SqliteStore, now: datetime, **outcomes: Any) -> None:
    """Claim what is due, and record what became of it."""
    (delivery,) = queueing.claim(store, now=now)
    attempt = queueing.begin(store, delivery, at=now)
    store.record(queueing.outcome(delivery, attempt, at=now, **outcomes))


# -- list


def test_an_empty_queue_says_so(run: Run, store: SqliteStore) -> None:
    result = run("queue", "list", *STORE)
    assert (result.exit_code, result.output) == (0, "the queue is empty\n")
    assert run("queue", "list", "--json", *STORE).output == ""


def test_the_list_begins_with_how_much_waits(run: Run, store: SqliteStore, queue: Queue, now: datetime) -> None:
    queue(ANN)
    queue(BOB, due_in=30 * MINUTE)
    queue(CY, due_in=-6 * MINUTE)
    queueing.claim(store, now=now, limit=1)
    (head, *_) = run("queue", "list", *STORE).output.splitlines()
    assert head.startswith("1 due (the oldest for 5m")
    assert head.endswith("), 1 waiting for their time, 0 held, 1 being sent")


def test_each_recipient_is_a_row(run: Run, queue: Queue) -> None:
    delivery = queue(ANN, BOB, content=b"x" * 2000)
    _, empty, head, *rows = run("queue", "list", *STORE).output.splitlines()
    assert (empty, head.split()[:4]) == ("", ["MESSAGE", "RECIPIENT", "RELAY", "STATE"])
    assert [row.split()[1:4] for row in rows] == [[ANN, "main", "due"], [BOB, "main", "due"]]
    assert rows[0].startswith(delivery.id[:16])
    assert "2.0 kB" in rows[0]


def test_ids_are_shown_as_long_as_they_must_be_to_tell_messages_apart(run: Run, queue: Queue) -> None:
    queue(ANN, id="0" * 20 + "a" * 12)
    queue(ANN, id="0" * 20 + "b" * 12)
    *_, one, other = run("queue", "list", *STORE).output.splitlines()
    assert (one.split()[0], other.split()[0]) == ("0" * 20 + "a", "0" * 20 + "b")


def test_json_has_a_line_for_each_recipient(run: Run, queue: Queue) -> None:
    delivery = queue(ANN, tenant="acme", message_class="bulk")
    (found,) = documents(run("queue", "list", "--json", *STORE).output)
    assert (found["message"], found["recipient"], found["state"]) == (delivery.id, ANN, "due")
    assert (found["tenant"], found["message_class"], found["possible_duplicate"]) == ("acme", "bulk", False)


def test_the_list_can_be_narrowed(run: Run, store: SqliteStore, queue: Queue, now: datetime) -> None:
    queue(ANN, relay="bulk")
    send(store, now, held=[ANN])
    queue(BOB, tenant="acme", due_in=30 * MINUTE)
    queue(CY)
    assert listed(run, "--relay", "bulk") == [ANN]
    assert listed(run, "--tenant", "acme") == [BOB]
    assert listed(run, "--containing", "CY@") == [CY]
    assert listed(run, "--limit", "2") == [ANN, BOB]
    assert [listed(run, "--state", state) for state in ("held", "waiting", "due")] == [[ANN], [BOB], [CY]]
    assert "nobody is waiting there" in run("queue", "list", "--relay", "other", *STORE).output


def test_a_table_says_that_there_is_more(run: Run, queue: Queue) -> None:
    queue(ANN, BOB, CY)
    *_, last = run("queue", "list", "--limit", 2, *STORE).output.splitlines()
    assert last.startswith("and more: ")
    assert "and more" not in run("queue", "list", "--limit", 3, *STORE).output


def test_who_is_in_the_hands_of_a_worker_is_being_sent_or_abandoned(
    run: Run, store: SqliteStore, queue: Queue, now: datetime
) -> None:
    queue(ANN)
    queueing.claim(store, now=now)
    assert documents(run("queue", "list", "--json", *STORE).output)[0]["state"] == "sending"
    queue(BOB, due_in=-60 * MINUTE)
    queueing.claim(store, now=now - 20 * MINUTE)
    assert [one["state"] for one in documents(run("queue", "list", "--json", *STORE).output)] == [
        "sending",
        "abandoned",
    ]


# -- show


def test_a_message_is_shown_with_what_was_said_to_each(
    run: Run, store: SqliteStore, queue: Queue, now: datetime
) -> None:
    delivery = queue(ANN, BOB, content=b"Subject: Hi \x1b[2J\r\nX: y\r\n\r\nSecret body\r\n")
    (claimed,) = queueing.claim(store, now=now)
    queueing.work(store, claimed, {BOB: "452 4.2.2 Over quota\x1b[2J", ANN: "452 4.2.2 Over quota"}, now=now)
    result = run("queue", "show", delivery.id[:14], *STORE)
    assert result.exit_code == 0
    assert f"message     {delivery.id}" in result.output
    assert r"  Subject: Hi \x1b[2J" in result.output.splitlines()
    assert "Secret body" not in result.output
    (row,) = (line for line in result.output.splitlines() if line.startswith(BOB))
    assert "  waiting  in " in row
    assert r"  452 4.2.2 Over quota\x1b[2J  " in row
    assert row.endswith("temporary (test.yaml:temporary)")
    assert "\x1b" not in result.output


def test_a_message_as_json_is_one_document(run: Run, queue: Queue) -> None:
    delivery = queue(ANN, BOB, content=b"Subject: Hi\r\n\r\nBody\r\n")
    found = json.loads(run("queue", "show", delivery.id, "--json", *STORE).output)
    assert (found["message"], found["headers"]) == (delivery.id, ["Subject: Hi"])
    assert [(one["recipient"], one["last"]) for one in found["recipients"]] == [(ANN, None), (BOB, None)]


@pytest.mark.parametrize(
    ("verb", "shown"),
    [("show", None), ("retry", {"requeued": 0, "left": 0}), ("drop", {"dropped": 0, "left": 0})],
)
def test_an_unknown_message_is_exit_code_1(run: Run, queue: Queue, verb: str, shown: object) -> None:
    queue(ANN)
    result = run("queue", verb, "ffff", *STORE)
    assert (result.exit_code, result.output[:26]) == (1, "no message ffff waits; `bo")
    result = run("queue", verb, "ffff", "--json", *STORE)
    assert (result.exit_code, json.loads(result.output)) == (1, shown)


@pytest.mark.parametrize("verb", ["show", "retry", "drop"])
def test_a_beginning_that_several_messages_share_is_exit_code_2(run: Run, queue: Queue, verb: str) -> None:
    one, other = queue(ANN), queue(BOB)
    result = run("queue", verb, "0000", *STORE)
    assert result.exit_code == 2
    assert f"'0000' is the beginning of several messages: {one.id}, {other.id}" in result.stderr
    assert run("queue", verb, "", *STORE).exit_code == 2
    assert len(listed(run)) == 2


# -- retry


def test_retry_makes_a_message_due(run: Run, queue: Queue) -> None:
    delivery = queue(ANN, BOB, due_in=30 * MINUTE)
    queue(CY, due_in=30 * MINUTE)
    result = run("queue", "retry", delivery.id, *STORE)
    assert (result.exit_code, result.output) == (0, "2 recipients are due now: a worker tries them\n")
    assert listed(run, "--state", "due") == [ANN, BOB]


def test_retry_makes_one_recipient_due_also_one_that_is_held(
    run: Run, store: SqliteStore, queue: Queue, now: datetime
) -> None:
    delivery = queue(ANN, BOB)
    send(store, now, held=[ANN, BOB])
    result = run("queue", "retry", delivery.id, BOB.upper(), *STORE)
    assert (result.exit_code, result.output) == (0, "1 recipient is due now: a worker tries it\n")
    assert (listed(run, "--state", "due"), listed(run, "--state", "held")) == ([BOB], [ANN])
    assert run("queue", "retry", delivery.id, CY, *STORE).exit_code == 1


def test_retry_of_all_can_be_narrowed(run: Run, queue: Queue) -> None:
    queue(ANN, relay="bulk", due_in=30 * MINUTE)
    queue(BOB, CY, due_in=30 * MINUTE)
    assert run("queue", "retry", "--all", "--relay", "bulk", *STORE).exit_code == 0
    assert listed(run, "--state", "due") == [ANN]
    run("queue", "retry", "--all", "--containing", "cy@", *STORE)
    assert listed(run, "--state", "due") == [ANN, CY]
    assert json.loads(run("queue", "retry", "--all", "--json", *STORE).output) == {"requeued": 3, "left": 0}


def test_whom_somebody_is_sending_to_is_left_alone(run: Run, store: SqliteStore, queue: Queue, now: datetime) -> None:
    delivery = queue(ANN)
    queueing.claim(store, now=now)
    result = run("queue", "retry", delivery.id, *STORE)
    assert (result.exit_code, result.output) == (
        1,
        "1 left alone: settled meanwhile, or with a worker, if killed for up to a quarter of an hour\n",
    )
    result = run("queue", "drop", delivery.id, "--yes", "--json", *STORE)
    assert (result.exit_code, json.loads(result.output)) == (1, {"dropped": 0, "left": 1})
    assert run("why", ANN, *STORE).exit_code == 1


@pytest.mark.parametrize("verb", ["retry", "drop"])
@pytest.mark.parametrize("arguments", [(), ("abc", "--all"), ("abc", "--relay", "main")])
def test_a_message_or_all_and_filters_with_all(run: Run, queue: Queue, verb: str, arguments: tuple[str, ...]) -> None:
    queue(ANN)
    assert run("queue", verb, *arguments, *STORE).exit_code == 2


# -- drop


def test_dropped_is_gone_and_why_tells_by_whom(run: Run, queue: Queue) -> None:
    delivery = queue(ANN, BOB)
    result = run("queue", "drop", delivery.id, ANN, "--yes", "--by", "ops \x1b[2J", *STORE)
    assert (result.exit_code, result.output) == (0, "1 recipient is dropped\n")
    assert listed(run) == [BOB]
    output = run("why", ANN, *STORE).output
    assert "Z  failed\n" in output
    assert "decided  dropped-by-hand" in output
    assert output.endswith("  by       ops \\x1b[2J\n")
    assert run("why", BOB, *STORE).exit_code == 1


def test_the_event_of_a_drop_names_the_message(run: Run, queue: Queue) -> None:
    delivery = queue(ANN, tenant="acme")
    run("queue", "drop", "--all", "--yes", *STORE)
    (event,) = documents(run("events", "--json", *STORE).output)
    data = event["data"]
    assert (event["type"], event["subject"], data["rule"]) == ("failed", ANN, "dropped-by-hand")
    assert (data["message_id"], data["tenant"]) == (delivery.envelope.message_id, "acme")
    assert data["by"].endswith("command line)")


def test_drop_asks_first(run: Run, queue: Queue) -> None:
    delivery = queue(ANN, BOB)
    result = run("queue", "drop", delivery.id, *STORE, input="n\n")
    assert (result.exit_code, result.stdout) == (1, "nothing was dropped\n")
    assert result.stderr.startswith(f"Drop 2 recipients of the message {delivery.id}? [y/N]")
    assert listed(run) == [ANN, BOB]
    assert run("queue", "drop", delivery.id, *STORE, input="y\n").exit_code == 0
    assert listed(run) == []


def test_drop_asks_nobody_where_nobody_is(run: Run, queue: Queue) -> None:
    queue(ANN)
    result = run("queue", "drop", "--all", *STORE, input="")
    assert result.exit_code == 2
    assert "give --yes" in result.stderr
    assert listed(run) == [ANN]


def test_drop_of_all_can_be_narrowed(run: Run, store: SqliteStore, queue: Queue, now: datetime) -> None:
    queue(ANN, BOB)
    send(store, now, held=[ANN], delayed=[BOB])
    queue(CY)
    assert json.loads(run("queue", "drop", "--all", "--state", "held", "--yes", "--json", *STORE).output) == {
        "dropped": 1,
        "left": 0,
    }
    assert sorted(listed(run)) == [BOB, CY]


def test_what_cannot_be_read_back_can_be_dropped(run: Run, store: SqliteStore, queue: Queue, now: datetime) -> None:
    delivery = queue(ANN)
    with store._database.writing() as connection:
        connection.execute("UPDATE messages SET size_bytes = 1")
    assert run("queue", "show", delivery.id, *STORE).exit_code == 2
    assert run("queue", "drop", delivery.id, "--yes", *STORE).exit_code == 0
    assert listed(run) == []


# -- without a store


@pytest.mark.parametrize("verb", ["list", "show x", "retry x", "drop x"])
def test_without_a_store_there_is_no_queue(run: Run, folder: Path, verb: str) -> None:
    assert run("queue", *verb.split()).stderr.startswith("bouncekit: error: no store, so nothing is remembered")
    result = run("queue", *verb.split(), *STORE)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "b.db: there is no such store" in result.stderr
    assert not (folder / "b.db").exists()


# -- what is kept


def keep(store: SqliteStore, now: datetime, queue: Queue, **settings: Any) -> Delivery:
    """A message that was delivered, and that a policy keeps for a day."""
    delivery = queue(ANN, **settings)
    (taken,) = queueing.claim(store, now=now)
    attempt = queueing.begin(store, taken, at=now)
    done = queueing.outcome(taken, attempt, at=now, done=[ANN])
    store.record(replace(done, keep=timedelta(days=1)))
    return delivery


def test_a_kept_message_is_shown_with_the_word_that_nobody_waits(
    run: Run, store: SqliteStore, queue: Queue, now: datetime
) -> None:
    delivery = keep(store, now, queue, content=b"Subject: Order 7\r\n\r\nThank you\r\n")
    result = run("queue", "show", delivery.id[:20], *STORE)
    assert result.exit_code == 0
    assert "  Subject: Order 7\n" in result.output
    assert f"kept until  {now + timedelta(days=1):%Y-%m-%d %H:%M}Z" in result.output
    *_, nobody, again = result.output.splitlines()
    assert nobody.startswith("nobody waits for it any more; ")
    assert again.endswith(f"bouncekit queue resend {delivery.id}")
    (shown,) = documents(run("queue", "show", delivery.id, "--json", *STORE).output)
    assert (shown["message"], shown["recipients"], shown["headers"]) == (delivery.id, [], ["Subject: Order 7"])


def test_kept_messages_are_listed_apart(run: Run, store: SqliteStore, queue: Queue, now: datetime) -> None:
    assert run("queue", "list", "--kept", *STORE).output == "no message is kept\n"
    delivery = keep(store, now, queue)
    assert run("queue", "list", *STORE).output == "the queue is empty\n"
    head, row = run("queue", "list", "--kept", *STORE).output.splitlines()
    assert (head.split()[0], row.split()[0]) == ("MESSAGE", delivery.id[:16])
    (shown,) = documents(run("queue", "list", "--kept", "--json", *STORE).output)
    assert (shown["message"], shown["relay"]) == (delivery.id, "main")
    assert run("queue", "list", "--kept", "--relay", "main", *STORE).exit_code == 2


def test_a_kept_message_can_be_neither_tried_nor_dropped(
    run: Run, store: SqliteStore, queue: Queue, now: datetime
) -> None:
    delivery = keep(store, now, queue)
    for verb in (("retry",), ("drop", "--yes")):
        assert run("queue", *verb, delivery.id, *STORE).exit_code == 1
    assert [one.message for one in store.kept()] == [delivery.id]


def test_the_beginning_of_several_kept_messages_is_not_enough(
    run: Run, store: SqliteStore, queue: Queue, now: datetime
) -> None:
    for letter in "ab":
        keep(store, now, queue, id=f"{'0' * 20}{letter * 12}")
    result = run("queue", "show", "0" * 20, *STORE)
    assert (result.exit_code, "several messages" in result.output) == (2, True)


def test_what_is_dropped_is_kept_as_the_policy_says(run: Run, folder: Path, store: SqliteStore, queue: Queue) -> None:
    (folder / "mine.yaml").write_text("policy: 1\nextends: default\nkeep: {messages: 7d}\n")
    (folder / "bouncekit.toml").write_text('policy = "mine.yaml"\n')
    delivery = queue(ANN)
    assert run("queue", "drop", delivery.id, "--yes", *STORE).exit_code == 0
    assert [one.message for one in store.kept()] == [delivery.id]
