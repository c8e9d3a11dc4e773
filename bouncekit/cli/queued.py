"""Queued mail for people: rows of the list, what a message's recipients share, what was last said to each."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from bouncekit.delivery.events import bounded, show_time
from bouncekit.desk.waiting import shown_state
from bouncekit.history.telling import rule, said
from bouncekit.words.measures import show_minute, show_size, show_span

if TYPE_CHECKING:
    from bouncekit.delivery.queue import Kept, Queued
    from bouncekit.delivery.steps import Delivery
    from bouncekit.desk.office import Office

__all__ = [
    "KEPT_HEADS",
    "LIST_HEADS",
    "SHOW_HEADS",
    "facts",
    "first_headers",
    "kept_data",
    "kept_rows",
    "last_words",
    "list_rows",
    "show_row",
]

KEPT_HEADS = ("message", "message-id", "sender", "relay", "kept until", "size")
LIST_HEADS = ("message", "recipient", "relay", "state", "due", "attempts", "size", "duplicate")
SHOW_HEADS = ("recipient", "state", "due", "attempts", "duplicate", "what was said last", "rule")

_SHORTEST_ID = 16  # the time in milliseconds, and 16 random bits
_MAX_HEADER_BYTES, _MAX_HEADER_LINES, _MAX_HEADER_LINE = 65_536, 20, 200
_MAX_EVENTS = 100  # of a recipient's history, in which its last reply is looked for


def list_rows(queued: "Sequence[Queued]", now: datetime) -> list[tuple[object, ...]]:
    """Rows under LIST_HEADS; ids are as long as they must be to tell these messages apart."""
    length = _id_length([one.message for one in queued])
    return [
        (
            one.message[:length],
            one.recipient,
            one.relay,
            shown_state(one, now).value,
            _due(one, now),
            one.attempts,
            show_size(one.size_bytes),
            "possible" if one.possible_duplicate else "",
        )
        for one in queued
    ]


def kept_rows(kept: "Sequence[Kept]") -> list[tuple[object, ...]]:
    """Rows under KEPT_HEADS."""
    length = _id_length([one.message for one in kept])
    return [
        (
            one.message[:length],
            one.message_id,
            one.sender or "<>",
            one.relay,
            show_minute(one.kept_until),
            show_size(one.size_bytes),
        )
        for one in kept
    ]


def kept_data(one: "Kept") -> dict[str, Any]:
    """A message for which nobody waits, as JSON-ready values."""
    return {
        "message": one.message,
        "message_id": bounded(one.message_id),
        "sender": bounded(one.sender),
        "relay": one.relay,
        "queued_at": show_time(one.queued_at),
        "kept_until": show_time(one.kept_until),
        "size_bytes": one.size_bytes,
        "message_class": one.labels.message_class,
        "tenant": one.labels.tenant,
        "stream": one.labels.stream,
        "test": one.labels.test,
    }


def facts(one: "Queued | Kept") -> list[tuple[str, object]]:
    """What all recipients of a message share, where it is known."""
    labels = one.labels
    known = {
        "message": one.message,
        "message-id": one.message_id,
        "sender": one.sender or "<>",
        "relay": one.relay,
        "class": labels.message_class,
        "tenant": labels.tenant,
        "stream": labels.stream,
        "test": "yes" if labels.test else None,
        "queued": show_minute(one.queued_at),
        "size": show_size(one.size_bytes),
    }
    return [(name, value) for name, value in known.items() if value]


def first_headers(content: bytes) -> list[str]:
    """The first lines of the header section, cut, as they came."""
    section = content[:_MAX_HEADER_BYTES].partition(b"\r\n\r\n")[0]
    lines = section.split(b"\r\n", _MAX_HEADER_LINES)[:_MAX_HEADER_LINES]
    return [line[:_MAX_HEADER_LINE].decode("utf-8", "backslashreplace") for line in lines]


def last_words(office: "Office", delivery: "Delivery") -> dict[str, dict[str, Any]]:
    """For each recipient the newest event of this message that tells an outcome, as its `data`."""
    found: dict[str, dict[str, Any]] = {}
    for recipient in delivery.recipients:
        history = office.store.history(recipient.key, tenant=delivery.labels.tenant, limit=_MAX_EVENTS)
        for event in history:
            data = event["data"]
            if data.get("action") and data.get("message_id") == delivery.envelope.message_id:
                found[recipient.address.wire] = data
                break
    return found


def show_row(one: "Queued", last: Mapping[str, Any] | None, now: datetime) -> tuple[object, ...]:
    """A row under SHOW_HEADS; `last` is what `last_words` has of the recipient."""
    duplicate = "possible" if one.possible_duplicate else ""
    return (
        one.recipient,
        shown_state(one, now).value,
        _due(one, now),
        one.attempts,
        duplicate,
        said({**last, "retry_at": None}) if last else None,  # it may have been made due since
        rule(last) if last else None,
    )


def _id_length(ids: Sequence[str]) -> int:
    """How much of these sorted ids tells each from its neighbours."""
    length = _SHORTEST_ID
    for one, other in pairwise(ids):
        while one != other and one[:length] == other[:length]:
            length += 1
    return length


def _due(one: "Queued", now: datetime) -> str:
    """When a recipient is due, from now."""
    if one.due_at is None:
        return ""
    return f"in {show_span(one.due_at - now)}" if one.due_at > now else f"{show_span(now - one.due_at)} ago"
