"""Queued mail for people: rows of the list, what a message's recipients share, what was last said to each."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from bouncekit.cli.output import show_minute, show_size, show_span
from bouncekit.cli.telling import rule, said
from bouncekit.cli.waiting import shown_state

if TYPE_CHECKING:
    from bouncekit.office import Office
    from bouncekit.queue import Queued
    from bouncekit.steps import Delivery

__all__ = ["LIST_HEADS", "SHOW_HEADS", "facts", "first_headers", "last_words", "list_rows", "show_row"]

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


def facts(one: "Queued") -> list[tuple[str, object]]:
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
