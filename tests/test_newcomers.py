"""Replies that are new: those that came in a time and not before, alike by their words."""

from collections.abc import Iterator
from typing import Any

import pytest

from bouncekit.history.newcomers import Newcomers
from bouncekit.history.suggesting import Gathering
from bouncekit.outside.builtin import classifier
from bouncekit.stores.veil.veil import Veil
from bouncekit.words.pseudonym import Pseudonyms
from bouncekit.words.reply import Reply, Stage
from bouncekit.words.status import Action, RecipientStatus

NOON = "2026-01-15T12:00:00.000Z"


def told(reply: str | None, recipient: str = "ann@example.com", at: str = NOON, **data: Any) -> dict[str, Any]:
    code = int(reply[:3]) if reply else None
    own = {"reply": reply, "code": code, "recipient": recipient, "category": "policy", "remote_mta": "mx.example.net"}
    return {"type": "failed", "time": at, "data": {**own, **data}}


@pytest.fixture
def newcomers() -> Newcomers:
    return Newcomers()


def left(newcomers: Newcomers) -> Iterator[tuple[int, str]]:
    yield from ((one.count, one.example) for one in newcomers.largest(10))


def test_replies_that_differ_in_addresses_numbers_and_ids_are_one(newcomers: Newcomers) -> None:
    newcomers.add(told("550 5.7.1 <ann@example.com> Bad karma 17 (id 4F81xYz)"))
    newcomers.add(told("550 5.7.1 <bob@example.org> Bad karma 4711 (id 9XfG2aa)", "bob@example.org"))
    newcomers.add(told("550 5.7.1 Worse karma"))
    assert [count for count, _ in left(newcomers)] == [2, 1]


def test_what_was_there_before_is_not_new(newcomers: Newcomers) -> None:
    newcomers.add(told("550 5.7.1 Bad karma, ask cy", "cy@example.org"))
    newcomers.add(told("554 5.7.1 Your moon is in the seventh house"))
    newcomers.known(told("550 5.7.1 Bad karma, ask ann"))
    assert list(left(newcomers)) == [(1, "554 5.7.1 Your moon is in the seventh house")]
    newcomers.known(told("554 5.7.1 Your moon is in the seventh house", "bob@example.org"))
    assert not newcomers


def test_it_has_first_and_last_time_and_whose_servers(newcomers: Newcomers) -> None:
    for at, host in (("2026-01-15T13:00:00Z", "a.example.net"), ("2026-01-15T11:00:00Z", "mx.example.org")):
        newcomers.add(told("550 Bad karma", at=at, remote_mta=host))
    (one,) = newcomers.largest(1)
    assert (str(one.first_at), str(one.last_at)) == ("2026-01-15 11:00:00+00:00", "2026-01-15 13:00:00+00:00")
    assert one.providers == {"example.net": 1, "example.org": 1}
    assert (one.code, one.category) == (550, "policy")


@pytest.mark.parametrize(
    "event",
    [
        told(None),
        told("250 Ok"),
        told("550 Bad karma", Veil(Pseudonyms(["a secret of thirty-two characters"])).name("ann@example.com")),
        told("550 Bad karma", category=None),
        {"type": "reconnected", "time": NOON, "data": {}},
    ],
)
def test_what_refuses_nobody_is_nothing(newcomers: Newcomers, event: dict[str, Any]) -> None:
    newcomers.add(event)
    newcomers.known(event)
    assert not newcomers


@pytest.mark.parametrize(
    ("reply", "recipient"),
    [
        ("550 5.1.1 <full@example.com>: Mailbox full at example.com", "full@example.com"),
        ('550 5.1.1 "a b"@example.com is nobody', '"a b"@example.com'),
        ("550 5.1.1 nobody called ann here", "ann@example.com"),
        ("452 4.2.2 Übervoll 17", "jörg@example.com"),
    ],
)
def test_they_are_put_together_as_rules_suggest_does(newcomers: Newcomers, reply: str, recipient: str) -> None:
    gathering = Gathering((), classifier().classify)
    status = RecipientStatus(recipient="", action=Action.FAILED, stage=Stage.RCPT, reply=Reply.parse(reply))
    gathering.add(status, recipient)
    newcomers.add(told(reply, recipient))
    assert [one.fingerprint for one in newcomers.largest(1)] == list(gathering.kinds)
