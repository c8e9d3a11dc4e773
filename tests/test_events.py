"""What an event looks like outside: CloudEvents 1.0, ready for any JSON writer, with an id that never changes."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bouncekit.delivery.closing import closed
from bouncekit.delivery.events import SCHEMA, Event, EventType, Occasion, event_id, events_of, show_time
from bouncekit.delivery.settlement import Settlement
from bouncekit.delivery.steps import SessionEnd
from bouncekit.meaning.classification import Category, Scope
from bouncekit.policy.policy import SessionDisposition
from bouncekit.policy.rule import Fate, SessionFate
from bouncekit.policy.suppression import Evidence
from bouncekit.words.envelope import Labels
from bouncekit.words.reply import Cause, NoReply, Reply, Stage
from bouncekit.words.status import Action

from .building import ANN, BOB, NOW, suppression

OCCASION = Occasion(
    attempt_id="a1",
    at=NOW,
    message_id="<1@x>",
    sender="shop@example.org",
    labels=Labels(message_class="bulk", tenant="shop", stream="news"),
    policy="default",
    policy_hash="0123",
)
FAILED = Settlement(
    recipient=ANN,
    action=Action.FAILED,
    stage=Stage.RCPT,
    reply=Reply.parse("552 5.2.2 full"),
    category=Category.MAILBOX_FULL,
    scope=Scope.RECIPIENT,
    permanent=True,
    certain=True,
    rule="full",
    where="test.yaml:7",
    classified_by="table (rules/table.toml:3)",
    fate=Fate.FAIL,
    accepted=2,
    remote_mta="mx.example.com",
    attempts=1,
    suppression=suppression(ANN),
    key=ANN,
)


def only(settlement: Settlement, occasion: Occasion = OCCASION) -> Event:
    return events_of(settlement, occasion)[0]


def test_an_event_is_a_cloudevent_around_what_happened() -> None:
    told = only(FAILED).to_dict()
    data = told.pop("data")
    assert told == {
        "specversion": "1.0",
        "id": event_id("a1", ANN, "failed"),
        "source": "bouncekit",
        "type": "failed",
        "subject": ANN,
        "time": "2026-01-01T12:00:00.000Z",
        "datacontenttype": "application/json",
    }
    expected = {
        "schema": SCHEMA,
        "attempt_id": "a1",
        "message_id": "<1@x>",
        "sender": "shop@example.org",
        "message_class": "bulk",
        "tenant": "shop",
        "stream": "news",
        "test": False,
        "policy": "default",
        "policy_hash": "0123",
        "recipient": ANN,
        "action": "failed",
        "category": "mailbox_full",
        "scope": "recipient",
        "code": 552,
        "enhanced": "5.2.2",
        "reply": "552 5.2.2 full",
        "cause": None,
        "stage": "RCPT",
        "accepted": 2,
        "remote_mta": "mx.example.com",
        "rule": "full",
        "where": "test.yaml:7",
        "classified_by": "table (rules/table.toml:3)",
        "fate": "fail",
        "retry_at": None,
    }
    assert expected.items() <= data.items()
    assert data["suppression"]["standing"] == "provisional"


def test_an_event_reads_its_facts_from_the_settlement() -> None:
    event = only(FAILED)
    assert (event.at, event.message_id, event.action) == (NOW, "<1@x>", Action.FAILED)
    assert (event.category, event.scope, event.stage) == (FAILED.category, FAILED.scope, FAILED.stage)
    assert (event.reply, event.rule, event.retry_at) == (FAILED.reply, "full", None)


def test_an_event_about_a_session_has_no_recipient_and_no_settlement() -> None:
    ended = SessionEnd(stage=Stage.RCPT, reply=NoReply(Cause.LOST, "\udcff" * 3000))
    event = closed(OCCASION, ended, SessionDisposition(SessionFate.CLOSE, "some-rule", "test.yaml:3"))
    assert (event.recipient, event.action, event.category, event.reply) == (None, None, None, None)
    told = event.to_dict()
    assert told["subject"] is None
    assert told["data"]["rule"] == "some-rule"
    assert told["data"]["code"] is None
    assert len(told["data"]["reply"]) == 2048
    json.dumps(told, ensure_ascii=False).encode()


@pytest.mark.parametrize(
    ("stage", "code", "expected"), [("QUIT", 221, True), ("QUIT", 421, False), ("IDLE", 221, False)]
)
def test_only_a_221_behind_our_own_quit_is_an_expected_end(stage: str, code: int, expected: bool) -> None:
    ended = SessionEnd(stage=Stage(stage), reply=Reply(code, b"bye"))
    assert closed(OCCASION, ended, SessionDisposition(SessionFate.CLOSE, "r", "")).details["expected"] is expected


@pytest.mark.parametrize(
    ("changes", "types"),
    [
        ({}, ["failed", "suppression_added"]),
        ({"suppression": None}, ["failed"]),
        ({"action": Action.SUPPRESSED}, ["suppressed"]),
        ({"action": Action.DELAYED, "suppression": None}, ["delayed"]),
        ({"action": Action.UNKNOWN, "suppression": None}, ["unknown"]),
        ({"action": Action.DELIVERED, "suppression": None}, ["delivered"]),
        (
            {"action": Action.DELIVERED, "suppression": None, "lifted": suppression(ANN)},
            ["delivered", "suppression_lifted"],
        ),
    ],
)
def test_a_settlement_tells_its_action_and_then_what_it_did_to_the_list(
    changes: dict[str, Any], types: list[str]
) -> None:
    told = events_of(replace(FAILED, **changes), OCCASION)
    assert [event.type for event in told] == types
    assert all(event.settlement == replace(FAILED, **changes) for event in told)


def test_an_event_told_again_has_the_same_id_and_any_other_has_another() -> None:
    again = [event.id for event in events_of(FAILED, replace(OCCASION, at=NOW + timedelta(hours=1)))]
    assert again == [event.id for event in events_of(FAILED, OCCASION)]
    parts = [(attempt, who, type_) for attempt in ("a1", "a2") for who in (ANN, BOB, None) for type_ in EventType]
    assert len({event_id(*part) for part in parts}) == len(parts)


@given(st.tuples(st.text(), st.text()), st.tuples(st.text(), st.text()))
def test_no_recipient_can_borrow_the_id_of_anothers_event(one: tuple[str, str], other: tuple[str, str]) -> None:
    ids = {event_id("a1", who, "failed") for who in (*one, *other, f"{one[0]}\0failed", "\udcff")}
    assert len(ids) == len({*one, *other, f"{one[0]}\0failed", "\udcff"})


HOSTILE = "\x1b[2J\r\n\0\x85\u202e\udcff<script>"


def hostile_event() -> Event:
    long = HOSTILE * 1000
    stands = replace(
        suppression(ANN),
        address=long,
        key=long,
        by=long,
        tenant=long,
        stream=long,
        evidence=Evidence(reply=long, remote_mta=long, message_id=long),
    )
    reply = Reply(552, long.encode("utf-8", "surrogatepass"))
    settlement = replace(FAILED, recipient=long, reply=reply, remote_mta=long, suppression=stands)
    labels = Labels(message_class=long, tenant=long, stream=long)
    return only(settlement, replace(OCCASION, message_id=long, sender=long, labels=labels))


@pytest.mark.parametrize("ensure_ascii", [True, False])
def test_hostile_text_can_be_written_as_json_by_any_writer(ensure_ascii: bool) -> None:
    told = hostile_event().to_dict()
    written = json.dumps(told, ensure_ascii=ensure_ascii).encode()
    assert json.loads(written) == told
    assert b"\n" not in written


def test_no_text_of_an_event_is_longer_than_its_bound() -> None:
    def texts(value: object) -> list[str]:
        if isinstance(value, dict):
            return [text for part in value.values() for text in texts(part)]
        return [value] if isinstance(value, str) else []

    assert max(map(len, texts(hostile_event().to_dict()))) == 2048


def test_a_reason_of_our_own_has_no_code_but_its_cause() -> None:
    data = only(replace(FAILED, reply=NoReply(Cause.LOCAL, "a space \udcff"))).to_dict()["data"]
    assert (data["code"], data["enhanced"], data["cause"]) == (None, None, "local")
    assert data["reply"] == "no reply (local: a space \\udcff)"


def test_a_recipient_without_any_name_is_no_subject() -> None:
    """CloudEvents 1.0: a subject is a non-empty string."""
    told = only(replace(FAILED, recipient="")).to_dict()
    assert told["subject"] is None
    assert told["data"]["recipient"] == ""


def test_times_are_in_utc_with_milliseconds() -> None:
    there = datetime(2026, 1, 1, 13, 0, 0, 1999, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    assert show_time(there) == "2026-01-01T07:30:00.001Z"
    event = only(replace(FAILED, retry_at=there), replace(OCCASION, at=there))
    told = event.to_dict()
    assert told["time"] == told["data"]["retry_at"] == "2026-01-01T07:30:00.001Z"
    assert datetime.fromisoformat(told["time"]).tzinfo == UTC


def test_details_stand_beside_the_data() -> None:
    details = MappingProxyType({"channel": "owner", "more": 3})
    event = Event(id="1", type=EventType.NOTIFIED, occasion=OCCASION, settlement=FAILED, details=details)
    data = event.to_dict()["data"]
    assert (data["channel"], data["more"], data["category"]) == ("owner", 3, "mailbox_full")


def test_an_event_of_a_suppression_alone_has_its_category() -> None:
    event = Event(id="1", type=EventType.SUPPRESSION_ADDED, occasion=OCCASION, suppression=suppression(ANN))
    assert event.category is Category.MAILBOX_FULL
    assert event.to_dict()["data"]["suppression"]["expires_at"] == "2026-01-02T12:00:00.000Z"
