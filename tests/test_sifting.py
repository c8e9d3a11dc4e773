"""Which events a sieve lets through, and what they are counted under."""

from typing import Any

import pytest

from bouncekit.history.sifting import By, Sieve, looks_like_a_code, named

PROVIDERS = {"mx1.big.example": "big"}


def event(**data: Any) -> dict[str, Any]:
    start = {
        "action": "failed",
        "category": "mailbox_full",
        "code": 552,
        "enhanced": "5.2.2",
        "remote_mta": "mx1.big.example",
        "rule": "mailbox-full",
        "classified_by": "552-mailbox-full (rules/decision_table.toml:533)",
        "stream": "news",
        "message_class": "bulk",
        "tenant": "",
        "test": False,
        "attempts": 2,
        "message_id": "<1@example.org>",
        "delivery_id": "0123abcd",
        "attempt_id": "4567",
    }
    return {
        "type": "failed",
        "subject": "jo@Mail.Example.COM",
        "time": "2026-01-31T12:34:56.789Z",
        "data": {**start, **data},
    }


@pytest.mark.parametrize(
    ("asked", "data"),
    [
        ({"domains": ["mail.example.com"]}, None),
        ({"domains": [".example.com"]}, None),
        ({"domains": [".mail.example.com"]}, None),
        ({"providers": ["big"]}, {"remote_mta": "mx.small.example"}),
        ({"providers": ["big.example"]}, {"remote_mta": "mx.notbig.example"}),
        ({"providers": ["mx1.big.example"]}, {"remote_mta": None}),
        ({"categories": ["mailbox_full", "moved"]}, {"category": "user_unknown"}),
        ({"actions": ["failed"]}, {"action": "delayed"}),
        ({"codes": ["552"]}, {"code": 452}),
        ({"codes": ["5xx"]}, {"code": 452}),
        ({"codes": ["x52"]}, {"code": None}),
        ({"enhanced": ["x.2.2"]}, {"enhanced": "5.2.20"}),
        ({"enhanced": ["5.2.2"]}, {"enhanced": None}),
        ({"rules": ["mailbox-full"]}, {"rule": "other"}),
        ({"rules": ["552-mailbox-full"]}, {"classified_by": "other (x.toml:1)"}),
        ({"streams": ["news"]}, {"stream": ""}),
        ({"classes": ["bulk"]}, {"message_class": None}),
        ({"message_id": "<1@example.org>"}, {"message_id": "<2@example.org>"}),
        ({"message_id": "1@example.org"}, {"message_id": None}),
        ({"delivery_id": "0123"}, {"delivery_id": "1230123"}),
        ({"attempt_id": "4567"}, {"attempt_id": None}),
        ({"attempt": 2}, {"attempts": 1}),
        ({"test": False}, {"test": True}),
    ],
    ids=str,
)
def test_it_lets_through_what_says_so_and_nothing_else(asked: dict[str, Any], data: dict[str, Any] | None) -> None:
    sieve = Sieve(**asked, provider_of=PROVIDERS.get)
    assert event() in sieve
    other = {**event(), "subject": "jo@example.org"} if data is None else event(**data)
    assert other not in sieve


def test_all_that_is_given_must_hold() -> None:
    assert event() in Sieve()
    assert event() in Sieve(codes=["552"], streams=["news"])
    assert event() not in Sieve(codes=["552"], streams=["bills"])


def test_an_event_about_no_mailbox_has_none_of_it() -> None:
    told = {"type": "reconnected", "subject": None, "time": "2026-01-31T12:34:56.789Z", "data": {"tenant": ""}}
    assert told in Sieve()
    for asked in ({"domains": ["x"]}, {"codes": ["5xx"]}, {"providers": ["x"]}, {"categories": ["moved"]}):
        assert told not in Sieve(**asked)  # type: ignore[arg-type]
    assert {named(told, by, PROVIDERS.get) for by in By} == {"", "reconnected", "2026-01-31", "2026-01-31 12h"}


def test_what_it_is_counted_under() -> None:
    assert {by.value: named(event(), by, PROVIDERS.get) for by in By} == {
        "type": "failed",
        "action": "failed",
        "category": "mailbox_full",
        "scope": "",
        "stage": "",
        "code": "552",
        "enhanced": "5.2.2",
        "rule": "mailbox-full",
        "classified-by": "552-mailbox-full (rules/decision_table.toml:533)",
        "provider": "big",
        "host": "mx1.big.example",
        "domain": "mail.example.com",
        "class": "bulk",
        "stream": "news",
        "tenant": "",
        "day": "2026-01-31",
        "hour": "2026-01-31 12h",
    }
    assert named(event(remote_mta="mx.small.example"), By.PROVIDER, PROVIDERS.get) == "mx.small.example"


@pytest.mark.parametrize("text", ["", "5", "5522", "5.2", "5.2.2.2", "full", "5.y.1", "٥٥٢", "5..2"])
def test_what_looks_like_no_code(text: str) -> None:
    assert not looks_like_a_code(text)
