"""Whose message is the probe, and from when on another may be it, without a store."""

from datetime import timedelta
from typing import Any

import pytest

from bouncekit.delivery.settlement import Settlement
from bouncekit.policy.rule import Fate
from bouncekit.stores.codec import milliseconds
from bouncekit.stores.probing import Probe, granted, left_until
from bouncekit.words.reply import Cause, NoReply, Reply, Stage
from bouncekit.words.status import Action
from tests.building import ANN, NOW

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
BUSY = Reply.parse("452 4.2.2 Over quota")


def put_off(**changes: Any) -> Settlement:
    """A probe that the server has put off for an hour."""
    start: dict[str, Any] = {"recipient": ANN, "key": ANN, "action": Action.DELAYED, "fate": Fate.RETRY}
    return Settlement(**{**start, "stage": Stage.RCPT, "reply": BUSY, "retry_at": NOW + HOUR, **changes})


@pytest.mark.parametrize(
    ("changes", "wait"),
    [
        ({}, HOUR),
        ({"stage": Stage.DATA}, HOUR),
        ({"stage": Stage.END_OF_DATA}, HOUR),
        ({"retry_at": NOW + 3 * DAY}, DAY),  # nobody else waits for longer
        ({"kept": True}, DAY),  # the message itself comes again
        ({"kept": True, "retry_at": NOW + 3 * DAY}, DAY),
        ({"kept": True, "fate": Fate.HOLD, "retry_at": None}, DAY),
        # Nobody waits where the server was not asked for the recipient, or this message does not come again.
        ({"stage": Stage.MAIL}, timedelta()),
        ({"stage": Stage.CONNECT, "kept": True}, timedelta()),
        ({"reply": NoReply(Cause.LOST)}, timedelta()),
        ({"reply": NoReply(Cause.LOST), "kept": True}, timedelta()),
        ({"fate": Fate.HOLD, "retry_at": None}, timedelta()),
        ({"action": Action.FAILED, "fate": Fate.FAIL, "retry_at": None}, timedelta()),
    ],
)
def test_how_long_others_wait_for_a_probe(changes: dict[str, Any], wait: timedelta) -> None:
    assert left_until(put_off(**changes), NOW) == milliseconds(NOW + wait)


@pytest.mark.parametrize(
    ("hours", "keeps_out"), [(0, True), (23, True), (24, False), (48, False), (-1, True), (-23, True), (-24, False)]
)
def test_a_probe_lasts_for_a_day_also_where_the_clock_was_set_back(hours: int, *, keeps_out: bool) -> None:
    probe, at = granted("d1", NOW), milliseconds(NOW + hours * HOUR)
    assert probe.keeps_out("d2", at) is keeps_out
    assert not probe.keeps_out("d1", at), "it is its own"


def test_an_end_that_no_right_clock_can_have_said_keeps_nobody_out() -> None:
    """By a clock that stood a month ahead when the probe was granted."""
    assert not Probe("d1", milliseconds(NOW + 30 * DAY)).keeps_out("d2", milliseconds(NOW))
