"""Replies as providers and servers in the field write them: what they mean, and that nobody pays for what others did.

The list is written from knowledge, each verdict before the rules were asked; `contradiction` lines say one thing by
their code and another in words. `category` is what is wanted, `also` what would be as right; scope null: nobody can
know, so nobody is suppressed; permanent null: either will do.

`UNSEEN` was not looked at while the rules were tuned, but for four lines that suppressed somebody wrongly: so its
categories are an honest measure, its zero is not. The rules were tuned on every `contradiction`.

`wild.jsonl` is a second such list, in many languages; its unseen third was not looked at either, but for two lines that
suppressed somebody wrongly. `rounds.jsonl` are lists that were written after each mending, measured once and then
learnt from. When they were new: compatible 0.81, 0.87, 0.81, 0.90, 0.92; right action 0.96, 0.98, 0.97, 0.98, 0.96;
suppressed for somebody else's fault 0 of 100, 2 of 92, 1 of 79, 2 of 81, 1 of 56 (the last two lists end in traps).
Rounds 7 to 9 have traps for a fifth of their lines; when they were new, without the lines that stood here already:
compatible 0.81 (of 154), 0.84 (of 167), 0.86 (of 90), right action 0.90, 0.92, 0.88, suppressed wrongly 8, 6 and 4.
Round 10 was measured twice before anything was mended: the list that stands here (what servers are known to say; of
220 lines) compatible 0.94, right action 0.94, suppressed wrongly 2 of 123; one that nobody learns from 0.90, 0.95, 0 of
120. What else it has are neighbours of its misses, written when these were mended: no measure of anything.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias
from zlib import crc32

import pytest

from bouncekit.delivery.settlement import Settlement, settle
from bouncekit.meaning.classification import Category, Classification, Scope
from bouncekit.outside.builtin import classify, open_policy, policy_names
from bouncekit.policy.policy import Policy
from bouncekit.policy.rule import Circumstances
from bouncekit.postmaster.asking import status_of
from bouncekit.words.address import parse_address
from bouncekit.words.envelope import Recipient
from bouncekit.words.reply import Stage
from bouncekit.words.status import RecipientStatus

Line = dict[str, Any]


def lines(name: str) -> list[Line]:
    path = Path(__file__).parent / "data" / "replies" / name
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def unseen(lines: list[Line]) -> list[Line]:
    return [line for line in lines if crc32(line["reply"].encode()) % 3 == 0]


FIELD, WILD, ROUNDS = lines("field.jsonl"), lines("wild.jsonl"), lines("rounds.jsonl")
LINES = FIELD + WILD + ROUNDS
PROVIDERS = [line for line in FIELD if line["source"] != "contradiction"]
UNSEEN = unseen(PROVIDERS)
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
JO = Recipient.of(parse_address("jo@example.com"))

# Where the same text may be said, too: stage, recipients accepted before it, whether it is about this one alone.
ELSEWHERE = (
    ("CONNECT", 0, True),
    ("EHLO", 0, True),
    ("MAIL", 0, True),
    ("RCPT", 0, True),
    ("RCPT", 3, True),
    ("RCPT", 120, True),
    ("DATA", 1, True),
    ("DATA", 3, False),
    ("END_OF_DATA", 1, True),
    ("END_OF_DATA", 3, False),
    ("END_OF_DATA", 3, True),  # LMTP
)
# The first try, the second one alone, and the last one of a mailbox with a past.
FIRST = replace(JO, attempts=1, first_attempt_at=NOW), 0
TRIES = (
    FIRST,
    (replace(JO, attempts=2, first_attempt_at=NOW, repeats=1), 0),
    (replace(JO, attempts=6, first_attempt_at=NOW - timedelta(days=9)), 3),
)


def said(line: Line, stage: str, accepted: int, individual: bool, *, host: bool) -> RecipientStatus:
    status = status_of(
        line["reply"],
        stage=stage,
        accepted=accepted,
        individual=individual,
        remote_mta=line.get("remote_mta") if host else None,
    )
    return replace(status, recipient="jo@example.com")


def own_place(line: Line) -> tuple[str, int, bool]:
    behind_data = line["stage"] == Stage.END_OF_DATA
    return line["stage"], line.get("accepted", int(behind_data)), True


def places(line: Line) -> Iterator[RecipientStatus]:
    for place in {own_place(line), *ELSEWHERE}:
        for host in {False, "remote_mta" in line}:
            yield said(line, *place, host=host)


Everywhere: TypeAlias = Sequence[tuple[Line, RecipientStatus, Classification]]


@pytest.fixture(scope="module")
def everywhere() -> Everywhere:
    """Every line at all of its places, and what it means there."""
    return [(line, status, classify(status)) for line in LINES for status in places(line)]


def settled(verdict: Classification, opened: Policy, to: Recipient, strikes: int) -> Settlement:
    counters = dict.fromkeys(opened.counters(verdict), strikes)
    circumstances = Circumstances(now=NOW, provider=verdict.provider, counters=counters)
    return settle(verdict, opened.decide(verdict, to, circumstances), to, policy=opened, at=NOW)


def share(lines: list[Line], key: str, *, host: bool = True) -> float:
    """How many of the lines are judged as wanted, in one respect."""
    return sum(_agrees(line, key, host=host) for line in lines) / len(lines)


def _agrees(line: Line, key: str, *, host: bool) -> bool:
    verdict = classify(said(line, *own_place(line), host=host))
    wanted = {line["category"], *line.get("also", ())}
    if key == "category":
        return verdict.category in wanted
    if key == "permanent":
        return line["permanent"] is None or verdict.permanent is line["permanent"]
    return (verdict.scope is Scope.RECIPIENT) is (line["scope"] == "recipient")


def test_every_line_names_what_exists_and_stands_once() -> None:
    assert len({(line["reply"], line["stage"]) for line in LINES}) == len(LINES) >= 2000
    for line in LINES:
        assert {line["category"], *line.get("also", ())} <= set(Category)
        assert line["scope"] in {None, *Scope}
        assert line["stage"] in set(Stage)


@pytest.mark.parametrize("policy", policy_names())
def test_nobody_is_suppressed_for_somebody_elses_fault_wherever_it_is_said(everywhere: Everywhere, policy: str) -> None:
    opened = open_policy(policy)
    wrong = [
        (status.stage, status.accepted, status.remote_mta, line["reply"])
        for line, status, verdict in everywhere
        if line["scope"] != "recipient"
        for to, strikes in TRIES
        if settled(verdict, opened, to, strikes).suppression is not None
    ]
    assert not wrong


@pytest.mark.parametrize("policy", policy_names())
def test_nobody_is_suppressed_at_the_first_temporary_reply(everywhere: Everywhere, policy: str) -> None:
    opened = open_policy(policy)
    wrong = [
        (status.stage, status.accepted, line["reply"])
        for line, status, verdict in everywhere
        if line["permanent"] is False and settled(verdict, opened, *FIRST).suppression is not None
    ]
    assert not wrong


@pytest.mark.parametrize(
    ("key", "least", "least_unseen", "least_nameless"),
    [("category", 0.97, 0.94, 0.94), ("scope", 0.98, 0.97, 0.97), ("permanent", 0.99, 0.99, 0.98)],
)
def test_what_providers_write_is_understood(key: str, least: float, least_unseen: float, least_nameless: float) -> None:
    assert share(PROVIDERS, key) >= least
    assert share(UNSEEN, key) >= least_unseen
    assert share(PROVIDERS, key, host=False) >= least_nameless  # a relay stands between: whose server it was is lost


@pytest.mark.parametrize(
    ("key", "least", "least_unseen"), [("category", 0.94, 0.86), ("scope", 0.98, 0.95), ("permanent", 0.98, 0.97)]
)
def test_what_servers_write_in_many_languages_is_understood(key: str, least: float, least_unseen: float) -> None:
    assert share(WILD, key) >= least
    assert share(unseen(WILD), key) >= least_unseen
    assert share(ROUNDS, key) >= 0.97
