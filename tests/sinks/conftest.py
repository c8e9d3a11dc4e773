"""Events as a sink gets them, receivers of webhooks, and a Valkey of the tests' own."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from bouncekit.delivery.events import Event, EventType, Occasion
from bouncekit.delivery.settlement import Settlement
from bouncekit.words.reply import Reply, Stage
from bouncekit.words.status import Action
from tests.building import NOW
from tests.valkey import Valkey

from .receiver import Receiver


def told(
    number: int = 1, *, recipient: str = "ada@example.com", type_: str = "failed", **details: Any
) -> dict[str, Any]:
    """An event as the store holds it, with its number."""
    reply = details.pop("reply", Reply(552, b"5.2.2 Mailbox full"))
    settlement = Settlement(
        recipient=recipient, action=Action(type_), stage=Stage.RCPT, reply=reply, rule="mailbox-full"
    )
    event = Event(
        id=f"{number:032x}",
        type=EventType(type_),
        occasion=Occasion(attempt_id=f"a{number}", at=NOW, message_id="<1@shop.example>"),
        recipient=recipient,
        settlement=settlement,
        details=details,
    )
    return {**event.to_dict(), "sequence": f"{number:020d}"}


def many(count: int, **settings: Any) -> list[dict[str, Any]]:
    return [told(number, **settings) for number in range(1, count + 1)]


@pytest.fixture
def receive() -> Iterator[Callable[..., Receiver]]:
    """Start receivers; all are stopped behind the test."""
    with ExitStack() as stack:

        def start(*script: Any, **settings: Any) -> Receiver:
            return stack.enter_context(Receiver(*script, **settings))

        yield start


@pytest.fixture(scope="session")
def valkey() -> Iterator[str]:
    """The URL of a Valkey that runs while the tests do."""
    server = Valkey()
    yield server.url
    server.close()
