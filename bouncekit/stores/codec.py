"""How bouncekit's values lie in a database: times as milliseconds, keys as hashes, the rest as columns and JSON."""

import json
from collections.abc import Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from operator import attrgetter
from typing import Any, overload

from bouncekit.delivery.events import Event, Occasion
from bouncekit.delivery.settlement import Settlement
from bouncekit.meaning.classification import Category
from bouncekit.policy.suppression import Evidence, Standing, Suppression
from bouncekit.stores.jsontext import json_text, writer_of
from bouncekit.words.errors import StoreCorrupt
from bouncekit.words.reply import Reply

__all__ = [
    "SUPPRESSION_COLUMNS",
    "event_dict",
    "event_json",
    "evidence_of",
    "from_milliseconds",
    "in_milliseconds",
    "key_hash",
    "milliseconds",
    "outcome_row",
    "storable",
    "subject_of",
    "suppression_json",
    "suppression_of",
    "suppression_row",
    "told_rows",
]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
# The fingerprint has a column of its own, by which a mass is found.
_EVIDENCE = tuple((field.name, field.default) for field in fields(Evidence) if field.name != "fingerprint")
_BESIDE_REPLY = {name: default for name, default in _EVIDENCE if name != "reply"}
_beside_reply, _NOTHING = attrgetter(*_BESIDE_REPLY), tuple(_BESIDE_REPLY.values())
_write_reply = writer_of(("reply",))

# In the order of `suppression_row` and `suppression_of`.
SUPPRESSION_COLUMNS = (
    "tenant, stream, key_hash, key, address, standing, category, since, changed_at, expires_at, ladder, rung, set_by, "
    "evidence, fingerprint"
)


def milliseconds(at: datetime) -> int:
    """Whole milliseconds since 1970 of an aware time, rounded down."""
    return (at - _EPOCH) // _MILLISECOND


def from_milliseconds(number: int) -> datetime:
    """The time of `milliseconds`, in UTC."""
    return _EPOCH + number * _MILLISECOND


def key_hash(key: str) -> bytes:
    """The 16 bytes under which a suppression key is found."""
    return blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).digest()


@overload
def storable(text: str) -> str: ...
@overload
def storable(text: None) -> None: ...
@overload
def storable(text: str | None) -> str | None: ...
def storable(text: str | None) -> str | None:
    """Text that every database takes: NUL, and a lone surrogate as `surrogateescape` leaves one, are spelled out."""
    if not text or (text.isascii() and "\0" not in text):
        return text
    return text.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode("utf-8")


def in_milliseconds(suppression: Suppression) -> Suppression:
    """The suppression with its times as precise as a store keeps them."""
    ends = suppression.expires_at
    return replace(
        suppression,
        since=_rounded(suppression.since),
        changed_at=_rounded(suppression.changed_at),
        expires_at=None if ends is None else _rounded(ends),
    )


def suppression_row(suppression: Suppression) -> tuple[object, ...]:
    """A suppression as SUPPRESSION_COLUMNS."""
    key, address, evidence = suppression.key, suppression.address, suppression.evidence
    since, changed, ends = suppression.since, suppression.changed_at, suppression.expires_at
    stored, since_at = storable(key), milliseconds(since)
    return (
        storable(suppression.tenant),
        storable(suppression.stream),
        key_hash(key),
        stored,
        stored if address == key else storable(address),
        suppression.standing.value,
        suppression.category.value,
        since_at,
        since_at if changed is since else milliseconds(changed),
        None if ends is None else milliseconds(ends),
        storable(suppression.ladder),
        suppression.rung,
        storable(suppression.by),
        _evidence_json(evidence),
        evidence.fingerprint,
    )


def suppression_of(row: tuple[Any, ...]) -> Suppression:
    """The suppression that lies in SUPPRESSION_COLUMNS.

    Raises:
        StoreCorrupt: no version of bouncekit up to this one wrote that row.
    """
    tenant, stream, _, key, address, standing, category, since, changed_at, ends, ladder, rung, by, *rests_on = row
    evidence, fingerprint = rests_on
    try:
        return Suppression(
            key=key,
            address=address,
            standing=Standing(standing),
            category=Category(category),
            since=from_milliseconds(since),
            changed_at=from_milliseconds(changed_at),
            expires_at=None if ends is None else from_milliseconds(ends),
            ladder=ladder,
            rung=rung,
            by=by,
            evidence=evidence_of(evidence, fingerprint),
            tenant=tenant,
            stream=stream,
        )
    except (TypeError, ValueError, OverflowError) as error:
        raise StoreCorrupt(f"a row of suppressions cannot be read: {error}") from error


def evidence_of(text: str, fingerprint: str | None) -> Evidence:
    """What a suppression rests on, from its two columns.

    Raises:
        StoreCorrupt: no version of bouncekit up to this one wrote that.
    """
    try:
        return Evidence(**json.loads(text), fingerprint=fingerprint)
    except (TypeError, ValueError) as error:
        raise StoreCorrupt(f"a row of suppressions cannot be read: {error}") from error


def suppression_json(suppression: Suppression) -> str:
    """A suppression as the audit keeps it: column names and values, so that it can be put back."""
    names = SUPPRESSION_COLUMNS.split(", ")
    row = dict(zip(names, suppression_row(suppression), strict=True))
    del row["key_hash"]
    return json_text(row)


def outcome_row(settlement: Settlement, occasion: Occasion, delivery_id: str) -> tuple[object, ...]:
    """A settlement in the order of the columns of `outcomes`."""
    labels, reply = occasion.labels, settlement.reply
    replied = reply if isinstance(reply, Reply) else None
    return (
        occasion.attempt_id,
        storable(settlement.recipient),
        delivery_id,
        milliseconds(occasion.at),
        storable(labels.tenant),
        storable(labels.stream),
        labels.test,
        key_hash(settlement.key) if settlement.key else None,
        storable(occasion.message_id),
        settlement.action.value,
        settlement.category and settlement.category.value,
        settlement.scope and settlement.scope.value,
        settlement.stage and settlement.stage.value,
        replied.code if replied else None,
        str(enhanced) if replied and (enhanced := replied.enhanced) else None,
        storable(settlement.remote_mta),
        storable(settlement.rule),
        storable(settlement.classified_by),
        occasion.policy_hash,
        None if settlement.retry_at is None else milliseconds(settlement.retry_at),
        settlement.attempts,
        settlement.possible_duplicate,
    )


def subject_of(event: Event) -> tuple[str, str]:
    """Whose history an event belongs to: tenant and suppression key, "" where it is about no mailbox."""
    settlement, suppression = event.settlement, event.suppression
    if settlement is not None:
        return event.occasion.labels.tenant, settlement.key
    if suppression is not None:
        return suppression.tenant, suppression.key
    return event.occasion.labels.tenant, ""


def event_json(event: Event) -> str:
    """An event's JSON on one line, ASCII only. What JSON does not know is written as text."""
    return json_text(event.to_dict())


def told_rows(events: Sequence[Event]) -> list[tuple[object, ...]]:
    """Events as rows of the outbox."""
    rows: list[tuple[object, ...]] = []
    for event in events:
        tenant, key = subject_of(event)
        hashed = key_hash(key) if key else None
        at = milliseconds(event.at)
        rows.append((event.id, event.type.value, at, storable(tenant), hashed, event_json(event)))
    return rows


def event_dict(text: str) -> dict[str, Any]:
    """An event as `Event.to_dict` gives it, from its JSON."""
    found: dict[str, Any] = json.loads(text)
    return found


def _rounded(at: datetime) -> datetime:
    return from_milliseconds(milliseconds(at))


def _evidence_json(evidence: Evidence) -> str:
    """Only what is there: an imported suppression has no evidence, and there may be millions of them."""
    if evidence.reply and _beside_reply(evidence) == _NOTHING:  # as of nearly all of them
        return _write_reply((evidence.reply,))
    return json_text({name: value for name, default in _EVIDENCE if (value := getattr(evidence, name)) != default})
