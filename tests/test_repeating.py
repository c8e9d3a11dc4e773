"""Who may be sent a message again, by what is told of it."""

from typing import Any

import pytest

from bouncekit.history.repeating import Again, again, repeat_id

OLD, NEW, OTHER = "0" * 32, repeat_id("0" * 32, "ann@example.com"), "1" * 32


def told(action: str | None, *, type_: str = "", message: str = OLD, to: str = "ann@example.com", **said: Any) -> Any:
    data = {"delivery_id": message, "recipient": to, **said} | ({"action": action} if action else {})
    return {"type": type_ or action or "closed", "data": data}


FAILED, DELIVERED, UNKNOWN = told("failed"), told("delivered"), told("unknown")
DROPPED = told("failed", rule="dropped-by-hand")
RETRIED = told("unknown", retry_at="2026-01-01T00:00:00.000Z")

CASES = {  # events, oldest first
    "it failed": ([told("delayed"), FAILED], Again.FREE),
    "it was skipped": ([told("suppressed")], Again.FREE),
    "what else is told of it": ([FAILED, told(None), told("failed", type_="not_notified")], Again.FREE),
    "another message arrived": ([FAILED, told("delivered", message=OTHER)], Again.FREE),
    "it arrived": ([told("delayed"), DELIVERED], Again.ARRIVED),
    "a bounce came first, and was wrong": ([FAILED, DELIVERED], Again.ARRIVED),
    "it was passed on, and then failed": ([told("relayed"), FAILED], Again.ARRIVED),
    "it went to a list, and failed at one of it": ([told("expanded"), FAILED], Again.ARRIVED),
    "somebody complained of it": ([told("delivered", type_="complained"), FAILED], Again.ARRIVED),
    "nobody knows": ([UNKNOWN], Again.DOUBTFUL),
    "it was taken and came back": ([DELIVERED, FAILED], Again.DOUBTFUL),
    "nobody knew, then it failed": ([RETRIED, FAILED], Again.DOUBTFUL),
    "it failed at a second try that may be a second copy": ([told("failed", possible_duplicate=True)], Again.DOUBTFUL),
    "the mailbox has it by another spelling": ([told("delivered", to="Ann@example.com"), FAILED], Again.DOUBTFUL),
    "it waits": ([FAILED, told("delayed")], Again.UNSETTLED),
    "it is tried again": ([RETRIED], Again.UNSETTLED),
    "it is held": ([told("failed", fate="hold")], Again.UNSETTLED),
    "a hand took it out": ([told("delayed"), DROPPED], Again.UNSETTLED),
    "a hand took it out, and a late bounce came": ([DROPPED, FAILED], Again.UNSETTLED),
    "it failed for another spelling": ([told("failed", to="Ann@example.com")], Again.UNSETTLED),
    "nothing is told": ([], Again.UNSETTLED),
    "it was sent again": ([FAILED, told("delayed", message=NEW, type_="queued")], Again.REPEATED),
    "it was sent again, and failed": ([FAILED, told("failed", message=NEW)], Again.REPEATED),
}


@pytest.mark.parametrize("case", CASES)
def test_what_stands_in_the_way(case: str) -> None:
    events, expected = CASES[case]
    assert again(events[::-1], OLD, "ann@example.com", NEW) is expected


def test_the_id_is_the_same_whoever_asks_and_sorts_beside_the_first_one() -> None:
    old = "019b796dd600" + "f" * 20
    one = repeat_id(old, "ann@example.com")
    assert one == repeat_id(old, "ann@example.com")
    assert (len(one), one[:12]) == (32, old[:12])
    assert len({one, old, repeat_id(old, "bob@example.com"), repeat_id(OTHER, "ann@example.com")}) == 4
