"""Mail that waits in the queue, as the command line shows it."""

from datetime import datetime
from typing import Any

from bouncekit.delivery.events import bounded, show_time
from bouncekit.delivery.queue import Depth, Queued
from bouncekit.desk.waiting import shown_state
from bouncekit.words.measures import show_span

__all__ = ["depth_data", "in_words", "queued_data"]


def queued_data(one: Queued, now: datetime) -> dict[str, Any]:
    """A queued recipient as JSON-ready values."""
    return {
        "message": one.message,
        "message_id": bounded(one.message_id),
        "sender": bounded(one.sender),
        "recipient": bounded(one.recipient),
        "relay": one.relay,
        "state": shown_state(one, now).value,
        "due_at": _time(one.due_at),
        "queued_at": show_time(one.queued_at),
        "attempts": one.attempts,
        "possible_duplicate": one.possible_duplicate,
        "leased_until": _time(one.leased_until),
        "size_bytes": one.size_bytes,
        "message_class": one.labels.message_class,
        "tenant": one.labels.tenant,
        "stream": one.labels.stream,
        "test": one.labels.test,
    }


def depth_data(depth: Depth) -> dict[str, Any]:
    """How much waits, as JSON-ready values."""
    return {
        "due": depth.due,
        "waiting": depth.waiting,
        "held": depth.held,
        "sending": depth.leased,
        "oldest_due_at": _time(depth.oldest_due_at),
    }


def in_words(depth: Depth, now: datetime) -> str:
    """How much waits, on one line."""
    if not (depth.due or depth.waiting or depth.held or depth.leased):
        return "the queue is empty"
    oldest = f" (the oldest for {show_span(now - depth.oldest_due_at)})" if depth.oldest_due_at else ""
    return (
        f"{depth.due:,} due{oldest}, {depth.waiting:,} waiting for their time, {depth.held:,} held, "
        f"{depth.leased:,} being sent"
    )


def _time(at: datetime | None) -> str | None:
    return None if at is None else show_time(at)
