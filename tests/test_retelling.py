"""Events read back from their JSON form say the same again."""

import json
import smtplib
from collections.abc import Callable

import pytest

from bouncekit.history.retelling import retold
from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.testing import Closing, Cut, Kept, ScriptedServer

from .conftest import Heard, message

Serve = Callable[..., ScriptedServer]


@pytest.fixture
def told(serve: Serve, postmaster: Postmaster, heard: Heard) -> Heard:
    """One event of nearly every type, from real sends."""
    server = serve(
        {
            "RCPT": {
                "full@example.com": "552 5.2.2 Mailbox full",
                "later@example.com": "452-4.2.2 Over\n452 4.2.2 quota",
                "bye@example.com": [Closing("421 4.3.2 Shutting down")],
            },
            "END_OF_DATA": {"odd@example.com": Kept(Cut())},
        },
        lmtp=True,
    )
    with postmaster.client(f"lmtp://{server.host}:{server.port}", tenant="acme", message_class="bulk") as client:
        client.send(message("ada@example.com", "full@example.com", "later@example.com", "bye@example.com"))
        with pytest.raises(smtplib.SMTPException):
            client.send(message("full@example.com", "odd@example.com"))
    postmaster.suppressions.lift("full@example.com", tenant="acme")
    return heard


def test_what_is_read_back_writes_the_same_json(told: Heard) -> None:
    assert {"delivered", "delayed", "failed", "suppressed", "unknown", "closed", "reconnected"} <= set(told.types)
    for event in told:
        line = json.dumps(event.to_dict())
        assert json.dumps(retold(json.loads(line)).to_dict()) == line


def test_what_is_read_back_answers_as_the_event_did(told: Heard) -> None:
    for event in told:
        again = retold(event.to_dict())
        for name in ("id", "type", "at", "message_id", "recipient", "action", "category", "scope", "stage", "rule"):
            assert getattr(again, name) == getattr(event, name)
        assert str(again.reply) == str(event.reply)


@pytest.mark.parametrize("broken", [{}, {"type": "delivered"}, {"type": "delivered", "data": []}, {"data": None}])
def test_what_is_no_event_is_refused(broken: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="no event"):
        retold(broken)


def test_a_type_of_a_newer_version_is_refused(told: Heard) -> None:
    with pytest.raises(ValueError, match="teleported"):
        retold(told[0].to_dict() | {"type": "teleported"})
