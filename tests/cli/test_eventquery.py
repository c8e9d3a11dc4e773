"""`events query`: events by what they say, and counts of them."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from bouncekit.cli.eventquery import event_line
from bouncekit.words.pseudonym import Pseudonyms
from tests.building import ANN, BOB, CY

from .conftest import Run, Send

STORE = ("--store", "sqlite:///b.db")
FULL, LATER = "552 5.2.2 Mailbox is full \x1b[2J", "452 4.2.2 Over quota"
HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def a_day(happen: Send) -> None:
    """Three hours of mail: Bob's mailbox is full."""
    for hours in (3, 2, 1):
        happen(ANN, BOB, CY, answers={BOB: FULL, CY: LATER}, ago=hours * HOUR, stream="news")
    happen("di@example.org", ago=HOUR / 2)


def found(run: Run, *options: object) -> list[tuple[str, str]]:
    lines = run("events", "query", "--json", *options, *STORE).output.splitlines()
    return [(event["type"], event["subject"]) for event in map(json.loads, lines)]


def test_events_are_found_by_what_they_say(run: Run) -> None:
    assert found(run, "--code", "552", "--type", "failed") == [("failed", BOB)]
    assert found(run, "--code", "x.2.2", "--action", "delayed") == 3 * [("delayed", CY)]
    assert found(run, "--domain", "example.org") == [("delivered", "di@example.org")]
    assert found(run, "--category", "mailbox_full", "--since", "150m", "--until", "90m") == [
        ("suppressed", BOB),
        ("delayed", CY),
    ]
    assert found(run, "--rule", "full", "--stream", "news", "--limit", 1) == [("failed", BOB)]
    assert found(run, "--recipient", "Bob@Example.com", "--order", "newest")[0] == ("suppressed", BOB)
    assert found(run, "--message-id", "1@x", "--type", "delivered", "--no-test", "--attempt", 1) == [
        *3 * [("delivered", ANN)],
        ("delivered", "di@example.org"),
    ]


def test_a_line_each_in_the_order_asked_for_without_anything_that_a_terminal_obeys(run: Run) -> None:
    result = run("events", "query", "--recipient", BOB, *STORE)
    kinds = [line.split("  ")[1] for line in result.output.splitlines()]
    assert (result.exit_code, kinds[0].strip()) == (0, "failed")
    newest = run("events", "query", "--recipient", BOB, "--order", "newest", *STORE).output.splitlines()
    assert newest == result.output.splitlines()[::-1]
    assert "\x1b" not in result.output


def test_a_time_may_be_written_with_its_zone(run: Run) -> None:
    at = (datetime.now(UTC) - 90 * HOUR / 60).isoformat()
    assert len(found(run, "--since", at, "--type", "delivered")) == 2
    assert run("events", "query", "--since", "2026-01-31T12:00", *STORE).exit_code == 2
    tomorrow = datetime.now(UTC).date() + 24 * HOUR
    assert found(run, "--since", str(tomorrow)) == []
    assert len(found(run, "--since", "2026-01-31", "--type", "delivered")) > 2


def test_counts_by_a_field_largest_first(run: Run) -> None:
    result = run("events", "query", "--type", "delivered", "--type", "delayed", "--by", "domain", *STORE)
    head, first, second = result.output.splitlines()
    assert head.split() == ["BY", "DOMAIN", "EVENTS"]
    assert first.split() == ["example.com", "6", "85.7%"]
    assert second.split() == ["example.org", "1", "14.3%"]
    lines = run("events", "query", "--by", "code", "--limit", 1, "--json", *STORE).output.splitlines()
    assert [json.loads(line) for line in lines] == [{"by": "code", "name": "250", "count": 4}]
    cut = run("events", "query", "--by", "type", "--limit", 1, *STORE).output.splitlines()
    assert cut[-1].startswith("and ")


def test_what_has_no_such_field_is_counted_as_none(run: Run) -> None:
    lines = run("events", "query", "--by", "code", "--json", "--type", "suppressed", *STORE).output.splitlines()
    assert [json.loads(line) for line in lines] == [{"by": "code", "name": None, "count": 2}]


def test_nothing_found_is_exit_code_1(run: Run) -> None:
    result = run("events", "query", "--code", "421", *STORE)
    assert (result.exit_code, result.output) == (1, "")
    counted = run("events", "query", "--code", "421", "--by", "rule", *STORE)
    assert (counted.exit_code, counted.output) == (1, "no such event\n")


@pytest.mark.parametrize("wrong", [("--code", "full"), ("--type", "exploded"), ("--recipient", "a@b c")], ids=str)
def test_a_question_that_is_none_is_exit_code_2(run: Run, wrong: tuple[str, str]) -> None:
    assert run("events", "query", *wrong, *STORE).exit_code == 2


def test_who_was_erased_is_found_by_his_address_still(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "a secret of thirty-two characters"
    monkeypatch.setenv("BOUNCEKIT_HASH_KEYS", secret)
    before = found(run, "--recipient", BOB)
    assert run("forget", BOB, *STORE).exit_code == 0
    name = Pseudonyms([secret]).of(BOB)
    after = found(run, "--recipient", BOB)
    assert {subject for _, subject in after} == {name, None}  # whom it erased, an erasure does not tell
    assert [type_ for type_, _ in before] == [type_ for type_, _ in after][: len(before)]
    assert found(run, "--recipient", name) == after


def test_the_first_and_the_last_time_that_there_is_find_all(run: Run) -> None:
    everything = found(run)
    assert len(everything) > 5
    assert found(run, "--since", "0001-01-01T00:00Z", "--until", "9999-12-31T23:59Z") == everything
    assert found(run, "--since", "0001-01-01T00:00+14:00", "--until", "9999-12-31T23:59-14:00") == everything


def test_nothing_in_a_store_is_obeyed_by_a_terminal() -> None:
    assert event_line({"type": "\x1b[2J", "time": "\x1b[31m", "subject": "\x07"}).isprintable()
