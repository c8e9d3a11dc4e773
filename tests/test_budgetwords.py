"""What people are told of a stream's budget: the numbers, whose it is, and what to do; harmless to a terminal."""

from typing import Any

import pytest

from bouncekit.delivery.events import Event, EventType, Occasion
from bouncekit.notify import compose
from bouncekit.policy.budget import Level
from bouncekit.policy.rule import Notice
from bouncekit.words.envelope import Labels

from .building import NOW


def told(level: Level, *, stream: str = "news", **changed: Any) -> Event:
    details = {
        "level": level.value,
        "sent": 12_000,
        "bounced": 600,
        "complained": 12,
        "bounce_rate": 0.05,
        "complaint_rate": 0.001,
        "within": "7d",
        "by": None,
    }
    occasion = Occasion(attempt_id="a", at=NOW, labels=Labels(tenant="acme", stream=stream))
    return Event(id="e", type=EventType.BUDGET_STOPPED, occasion=occasion, details={**details, **changed})


@pytest.mark.parametrize("level", list(Level))
def test_each_level_has_a_subject_of_its_own_and_the_numbers(level: Level) -> None:
    notice = compose(told(level), Notice("operations"))
    assert notice.subject.startswith("Stream news of acme is ") or level is Level.WARNED
    assert "In 7d: 12,000 sent to, 600 bounced for a bad address (5.0%), 12 complained (0.10%)." in notice.text
    others = [compose(told(other), Notice("operations")).subject for other in Level if other is not level]
    assert notice.subject not in others
    assert (notice.recipient, notice.channel, notice.to_dict()["event"]["data"]["stream"]) == ("", "operations", "news")


def test_whoever_let_it_go_on_is_named() -> None:
    assert "It was let go on by jo." in compose(told(Level.WITHIN, by="jo"), Notice("operations")).text


def test_what_a_stream_is_called_does_nothing_to_a_terminal() -> None:
    notice = compose(told(Level.STOPPED, stream="x\x1b[2J\r\ny"), Notice("operations"))
    assert not set(notice.subject + notice.text) & set("\x1b\r")
    assert "\n" not in notice.subject
