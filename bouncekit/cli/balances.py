"""How people and machines are told what streams have spent of their budgets."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from bouncekit.delivery.events import bounded, show_time
from bouncekit.policy.budget import Balance
from bouncekit.words.measures import show_minute

__all__ = ["HEADS", "balance_data", "rows"]

HEADS = ("stream", "sent", "bounced", "complained", "budget", "since")


def rows(balances: Iterable[Balance]) -> Iterator[tuple[str, ...]]:
    """A row of a table for each."""
    for one in balances:
        yield (
            str(one.stream),
            f"{one.spent.sent:,}",
            f"{one.spent.bounced:,} ({one.bounce_rate:.1%})",
            f"{one.spent.complained:,} ({one.complaint_rate:.2%})",
            one.level.value,
            _since(one.since),
        )


def balance_data(one: Balance) -> dict[str, Any]:
    """The same as JSON-ready values."""
    return {
        "tenant": bounded(one.stream.tenant),
        "stream": bounded(one.stream.name),
        "level": one.level.value,
        "since": show_time(one.since) if one.since else None,
        "sent": one.spent.sent,
        "bounced": one.spent.bounced,
        "complained": one.spent.complained,
        "bounce_rate": round(one.bounce_rate, 5),
        "complaint_rate": round(one.complaint_rate, 5),
    }


def _since(at: datetime | None) -> str:
    return "" if at is None else show_minute(at)
