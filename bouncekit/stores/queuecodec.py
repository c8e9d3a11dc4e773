"""How a message that waits lies in a database: envelope and labels once, a row for each recipient."""

import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from operator import itemgetter
from typing import Any

from bouncekit.delivery.queue import Kept, Queued, QueueState
from bouncekit.delivery.settlement import Settlement
from bouncekit.delivery.steps import Delivery, Record
from bouncekit.stores.codec import from_milliseconds, milliseconds, storable
from bouncekit.words.address import a_label, parse_address
from bouncekit.words.envelope import Envelope, Labels, Recipient
from bouncekit.words.errors import StoreCorrupt
from bouncekit.words.status import Action

__all__ = [
    "KEPT_COLUMNS",
    "MESSAGE_COLUMNS",
    "QUEUED_COLUMNS",
    "RECIPIENT_COLUMNS",
    "delivery_of",
    "kept_of",
    "message_row",
    "positions",
    "queued_of",
    "recipient_row",
    "unmarked",
    "waiting",
]

_SMALL_BYTES = 1024  # content up to this size is not compressed
_NO_OPTIONS = "[]"  # those of nearly every message
_QUICKLY = 1  # the level: half the size of a text at a quarter of the time

# In the order of `message_row`.
MESSAGE_COLUMNS = (
    "id, created_at, relay, tenant, stream, message_class, test, message_id, sender, mail_options, rcpt_options, "
    "encoding, size_bytes, content"
)
# Of `delivery_of`, which puts them into the order of `position`.
RECIPIENT_COLUMNS = (
    "position, address, given, key, attempts, first_attempt_at, give_up_at, greylisted_at, possible_duplicate"
)
_POSITION = itemgetter(0)
# Of `kept_of`.
KEPT_COLUMNS = "id, message_id, sender, relay, message_class, tenant, stream, test, created_at, keep_until, size_bytes"
# Of `queued_of`; `r` is recipients, `m` messages.
QUEUED_COLUMNS = (
    "r.message, r.address, m.message_id, m.sender, r.relay, m.message_class, m.tenant, m.stream, m.test, r.state, "
    "r.due_at, m.created_at, r.attempts, r.possible_duplicate, r.lease_until, m.size_bytes"
)


def message_row(delivery: Delivery, at: datetime) -> tuple[object, ...]:
    """The message of a delivery as MESSAGE_COLUMNS."""
    envelope, labels = delivery.envelope, delivery.labels
    encoding, content = _packed(envelope.content)
    return (
        delivery.id,
        milliseconds(at),
        delivery.relay,
        storable(labels.tenant),
        storable(labels.stream),
        storable(labels.message_class),
        labels.test,
        storable(envelope.message_id),
        envelope.sender.wire,
        _options(envelope.mail_options),
        _options(envelope.rcpt_options),
        encoding,
        len(envelope.content),
        content,
    )


def recipient_row(delivery: Delivery, recipient: Recipient, position: int) -> dict[str, object]:
    """What a row of recipients says about the recipient; when it is due and who is at it comes on top."""
    address, first, last, grey = (
        recipient.address,
        recipient.first_attempt_at,
        recipient.give_up_at,
        recipient.greylisted_at,
    )
    return {
        "message": delivery.id,
        "address": address.wire,
        "position": position,
        "given": storable(delivery.given.get(address.wire)),
        "tenant": storable(delivery.labels.tenant),
        "key": storable(recipient.key),
        "domain": a_label(address.domain),
        "relay": delivery.relay,
        "attempts": recipient.attempts,
        "retried": recipient.attempts > 0,
        "first_attempt_at": None if first is None else milliseconds(first),
        "give_up_at": None if last is None else milliseconds(last),
        "greylisted_at": None if grey is None else milliseconds(grey),
        "possible_duplicate": recipient.possible_duplicate,
    }


def waiting(record: Record) -> Sequence[Settlement]:
    """The settlements of those who can be in the queue, by their addresses. The others were refused here."""
    address_of = {name: address for address, name in record.delivery.called.items()}
    if not address_of:
        return [one for one in record.settlements if one.key]
    return [
        replace(one, recipient=address_of.get(one.recipient, one.recipient)) for one in record.settlements if one.key
    ]


def unmarked(record: Record) -> Mapping[str, str]:
    """Those of the queue who have the message by a record, as far as it knows once: their names by their addresses."""
    called = record.delivery.called
    return {
        one.recipient: called.get(one.recipient, one.recipient)
        for one in waiting(record)
        if one.action is Action.DELIVERED and not one.possible_duplicate
    }


def positions(delivery: Delivery) -> Mapping[str, int]:
    """The place of each recipient in its delivery."""
    return {recipient.address.wire: place for place, recipient in enumerate(delivery.recipients)}


def delivery_of(message: Sequence[Any], rows: Iterable[Sequence[Any]], lease: str | None) -> Delivery:
    """The delivery of these recipients, as it was, from MESSAGE_COLUMNS and RECIPIENT_COLUMNS.

    Addresses are read as strictly as when they came: nothing reaches the wire because it lay in a file.

    Raises:
        StoreCorrupt: it cannot be read; the message is named.
    """
    id_, _, relay, tenant, stream, class_, test, message_id, sender, mail, rcpt, encoding, size, content = message
    rows = sorted(rows, key=_POSITION)
    try:
        recipients = tuple([_recipient(*row) for row in rows])
        return Delivery(
            id=id_,
            envelope=Envelope(
                sender=parse_address(sender),
                recipients=tuple([recipient.address for recipient in recipients]),
                content=_unpacked(encoding, content, size),
                message_id=message_id,
                mail_options=_texts(mail),
                rcpt_options=_texts(rcpt),
            ),
            recipients=recipients,
            labels=Labels(message_class=class_, tenant=tenant, stream=stream, test=bool(test)),
            given={row[1]: row[2] for row in rows if row[2] is not None},
            relay=relay,
            lease=lease,
        )
    except (TypeError, ValueError, OverflowError, RecursionError, zlib.error) as error:
        raise StoreCorrupt(f"the queued message {id_} cannot be read: {error}") from error


def queued_of(row: Sequence[Any]) -> Queued:
    """What people are shown of a recipient, from QUEUED_COLUMNS."""
    message, address, message_id, sender, relay, class_, tenant, stream, test, state, due, created, *rest = row
    attempts, possible_duplicate, leased_until, size = rest
    return Queued(
        message=message,
        message_id=message_id,
        sender=sender,
        recipient=address,
        relay=relay,
        labels=Labels(message_class=class_, tenant=tenant, stream=stream, test=bool(test)),
        state=QueueState(state),
        due_at=None if due is None else from_milliseconds(due),
        queued_at=from_milliseconds(created),
        attempts=attempts,
        possible_duplicate=bool(possible_duplicate),
        leased_until=None if leased_until is None else from_milliseconds(leased_until),
        size_bytes=size,
    )


def kept_of(row: Sequence[Any]) -> Kept:
    """What people are shown of a message for which nobody waits, from KEPT_COLUMNS."""
    message, message_id, sender, relay, class_, tenant, stream, test, created, until, size = row
    return Kept(
        message=message,
        message_id=message_id,
        sender=sender,
        relay=relay,
        labels=Labels(message_class=class_, tenant=tenant, stream=stream, test=bool(test)),
        queued_at=from_milliseconds(created),
        kept_until=from_milliseconds(until),
        size_bytes=size,
    )


def _recipient(
    position: int,
    wire: str,
    given: str | None,
    key: str,
    attempts: int,
    first: int | None,
    last: int | None,
    grey: int | None,
    possible_duplicate: int,
) -> Recipient:
    address = parse_address(wire)
    if address.wire != wire or not wire:
        raise ValueError(f"{wire[:80]!r} is no recipient")
    return Recipient(
        address=address,
        key=key,
        attempts=attempts,
        first_attempt_at=None if first is None else from_milliseconds(first),
        give_up_at=None if last is None else from_milliseconds(last),
        greylisted_at=None if grey is None else from_milliseconds(grey),
        possible_duplicate=bool(possible_duplicate),
    )


def _packed(content: bytes) -> tuple[str, bytes]:
    """Encoding and bytes as they are stored."""
    if len(content) > _SMALL_BYTES:
        small = zlib.compress(content, _QUICKLY)
        if len(small) < len(content):
            return "zlib", small
    return "plain", content


def _unpacked(encoding: str, stored: bytes, size_bytes: int) -> bytes:
    """The content; never more than it was, however the stored bytes were damaged."""
    content = stored
    if encoding == "zlib":
        inflating = zlib.decompressobj()
        content = inflating.decompress(stored, size_bytes + 1)
        if not inflating.eof:
            raise ValueError("its content is cut off")
    if len(content) != size_bytes:
        raise ValueError(f"its content has {len(content)} bytes and not {size_bytes}")
    return content


def _options(options: Sequence[str]) -> str:
    return json.dumps(options) if options else _NO_OPTIONS


def _texts(text: str) -> tuple[str, ...]:
    if text == _NO_OPTIONS:
        return ()
    found = json.loads(text)
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise ValueError("its options are no list of texts")
    return tuple(found)
