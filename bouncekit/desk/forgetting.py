"""Forgetting a person who asks for it: out of the store, and yet never written to again.

Whoever erases everything forgets too that this person must not be written to. So a pseudonym stays on the list, which
only the owner's secret makes of the address (the ICO: suppress rather than delete).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from bouncekit.delivery.events import Event, EventType, event_id, event_of
from bouncekit.delivery.queue import Queued
from bouncekit.delivery.settlement import Settlement
from bouncekit.delivery.submission import forget_addresses
from bouncekit.delivery.suppressionchange import Place, Swap, place_of
from bouncekit.desk.office import Office
from bouncekit.meaning.classification import Category
from bouncekit.policy.suppression import Evidence, Standing, Suppression
from bouncekit.stores.erasing import Erased, Erasure
from bouncekit.stores.moving import FIRST
from bouncekit.words.address import parse_address, suppression_key
from bouncekit.words.errors import AddressError, ConfigurationError
from bouncekit.words.status import Action

__all__ = ["Forgotten", "forget"]

_FORGOTTEN = "forgotten"  # the rule by which a queued recipient failed, and the evidence of an entry
_ARRIVALS = 50  # read at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgotten:
    """What was forgotten, under which pseudonym the person stays suppressed, and what could not be done yet.

    `dropped` counts the messages to him that waited in the queue, `sending` those that somebody was sending, or that
    have half come from another store: do it again when they are done. `erased.shared` are queued messages that others
    wait for, in whose text he may stand.
    """

    pseudonym: str
    dropped: int
    sending: int
    erased: Erased

    @property
    def is_complete(self) -> bool:
        """Whether nothing is left to be done again."""
        return not self.sending and not self.erased.shared and self.erased.is_clean


def forget(office: Office, address: str, *, by: str) -> Forgotten:
    """Forget a person; see `Postmaster.forget`."""
    if office.pseudonyms is None:
        raise ConfigurationError(
            "hash_keys: a secret is needed to forget somebody and still not write to him; make one with "
            "`python -c 'import secrets; print(secrets.token_urlsafe(32))'`, keep it, and set hash_keys or "
            "BOUNCEKIT_HASH_KEYS for all who send"
        )
    wire = parse_address(address).wire
    if "@" not in wire:
        raise AddressError(address, "a domain is missing")
    key, now = suppression_key(wire), office.clock.now()
    queued = [row for row in office.store.queued() if suppression_key(row.recipient) == key]
    spelled = {wire, key, *(row.recipient for row in queued)}
    named = frozenset(_named(office, key, spelled))
    erasure = Erasure(key, office.pseudonyms, frozenset(spelled), named)
    _suppress(office, erasure, now, by)
    dropped = sum(_drop(office, row, erasure, now, by) for row in queued)
    sending = len(queued) - dropped + _arriving(office, key)
    erased = office.store.erase(erasure)
    forget_addresses()
    return Forgotten(pseudonym=erasure.pseudonym, dropped=dropped, sending=sending, erased=erased)


def _named(office: Office, key: str, spelled: set[str]) -> Iterator[str]:
    """The messages in the store that are to him, by him, or name him as they are written; each is read."""
    needles = [one.lower().encode() for one in spelled]
    waiting = (message for message, _ in groupby(row.message for row in office.store.queued()))
    for message in (*waiting, *(one.message for one in office.store.kept())):
        found = office.store.queued_message(message)
        if found is None:
            continue
        text = found.envelope.content.lower()
        people = (found.envelope.sender, *(one.address for one in found.recipients))
        if any(needle in text for needle in needles) or any(suppression_key(one.wire) == key for one in people):
            yield message


def _arriving(office: Office, key: str) -> int:
    """How many messages to him have half come from another store, where they may still be."""
    number, after = 0, FIRST
    while some := office.store.arriving(after=after, limit=_ARRIVALS):
        number += sum(one.key == key for each in some for one in each.parcel.delivery.recipients)
        after = (some[-1].token, some[-1].parcel.delivery.id)
    return number


def _suppress(office: Office, erasure: Erasure, now: datetime, by: str) -> None:
    """Put the pseudonym on the list for good, for every tenant at which the person is known; before all else."""
    store = office.store
    places = [Place(tenant, "", erasure.pseudonym) for tenant in sorted({"", *store.tenants_of(erasure.key)})]
    known = store.standing(places)
    swaps = [_swap(office, place, known.get(place), now, by) for place in places]
    new = [swap for swap in swaps if swap.before is None]
    left = store.exchange(new, by=by, at=now)
    office.ledger.publish([swap.event for swap in new if swap.event and swap not in left])


def _swap(office: Office, place: Place, before: Suppression | None, now: datetime, by: str) -> Swap:
    entry = Suppression(
        key=place.key,
        address=None,
        standing=Standing.MANUAL,
        category=Category.RECIPIENT_FILTERED,
        since=now,
        changed_at=now,
        expires_at=None,
        by=by,
        evidence=Evidence(reply=_FORGOTTEN),
        tenant=place.tenant,
        stream=place.stream,
    )
    occasion = office.occasion(now)
    event = Event(
        id=event_id(occasion.attempt_id, place.key, EventType.SUPPRESSION_ADDED),
        type=EventType.SUPPRESSION_ADDED,
        occasion=occasion,
        suppression=entry,
    )
    assert place_of(entry) == place
    return Swap(before=before, after=entry, event=event)


def _drop(office: Office, row: Queued, erasure: Erasure, now: datetime, by: str) -> int:
    """Take him out of the queue, and tell, by his pseudonym, that this message failed."""
    if not office.store.drop(row.message, row.recipient, at=now):
        return 0
    occasion = office.occasion(now)
    settlement = Settlement(
        recipient=erasure.pseudonym,
        action=Action.FAILED,
        rule=_FORGOTTEN,
        attempts=row.attempts,
        possible_duplicate=row.possible_duplicate,
        key=erasure.pseudonym,
    )
    details = {"by": by, "delivery_id": row.message}
    office.ledger.tell((event_of(EventType.FAILED, occasion, settlement=settlement, details=details),))
    return 1
