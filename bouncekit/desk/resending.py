"""Sending a message again to whom a server, or the suppression list, refused it: what the store still keeps.

Each recipient of a message is sent it again once, as a message of his own with the same Message-ID. Its id is made from
the old one, so that two who ask at once, or one who asks again behind a crash, queue it once. What fails again is a
message like any other.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from bouncekit.delivery.events import Event, EventType, bounded
from bouncekit.delivery.handing import begun, repeated
from bouncekit.delivery.steps import Delivery
from bouncekit.delivery.suppressionchange import Cause
from bouncekit.desk.eventpages import found
from bouncekit.desk.office import Office
from bouncekit.history.repeating import REPEATS, Again, again, repeat_id
from bouncekit.history.retelling import retold
from bouncekit.history.sifting import Sieve
from bouncekit.stores.searching import Search
from bouncekit.words.address import parse_address, suppression_key
from bouncekit.words.envelope import Recipient
from bouncekit.words.errors import AddressError, ConfigurationError, StoreCorrupt
from bouncekit.words.pseudonym import is_pseudonym

__all__ = ["Resent", "Wanted", "resend"]

_ENDED = frozenset({EventType.FAILED, EventType.SUPPRESSED, EventType.UNKNOWN})
_NOT_SENDABLE = "refused-here"  # the rule of an address that no server was asked about
_PAGE = 1000  # events of a mailbox read at once
_EXAMPLES = 10
_SENDING = timedelta(days=1)  # so long before it was put into the queue a message may have failed somebody
_GOES = frozenset({Again.FREE, Again.DOUBTFUL})
# What else is in the way, besides what the events tell.
_NOT_KEPT, _NAMELESS, _UNREADABLE = "not_kept", "nameless", "unreadable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Whom somebody means: all that is given must hold. `message` is a whole id."""

    cause: Cause = field(default_factory=Cause)
    message: str | None = None
    recipient: str | None = None
    unknown: bool = False  # also to whom it may have arrived

    @property
    def says_nothing(self) -> bool:
        """Whether whose mail it is is all that it says."""
        return self.message is None and self.recipient is None and self.cause.says_nothing


@dataclass(slots=True)
class Resent:
    """To whom messages were sent again, or with `dry_run` would be; `examples` are the outcomes that they had.

    `doubtful` of the `queued` are marked as possible duplicates; `suppressed` of them would be skipped, were it their
    turn now. `left` counts the others by what is in the way: `doubtful` (only with `unknown`), `arrived`, `unsettled`
    (it waits, or a hand took it out), `repeated` (it was sent again), `not_kept` (it is gone), `nameless` (the store
    keeps no addresses), `unreadable`. With `has_more` the limit has left out others.
    """

    dry_run: bool
    queued: int = 0
    doubtful: int = 0
    suppressed: int = 0
    left: Counter[str] = field(default_factory=Counter)
    examples: list[Event] = field(default_factory=list)
    has_more: bool = False


def resend(office: Office, wanted: Wanted, *, by: str, limit: int | None = None, dry_run: bool = False) -> Resent:
    """Queue what is wanted, recipient by recipient; see `Postmaster.resend`."""
    if wanted.says_nothing:
        raise ConfigurationError(
            "send what again? Give a message, a recipient, a rule, a fingerprint, a provider, a category or a time"
        )
    done = Resent(dry_run=dry_run)
    for event in _once(_outcomes(office, wanted)):
        way, repeat = _repeat(office, event, wanted)
        if repeat is None:
            done.left[str(way)] += 1
            continue
        if done.queued == limit:
            done.has_more = True
            break
        if not dry_run:
            _enqueue(office, repeat, event, by)
        done.queued += 1
        done.doubtful += way == Again.DOUBTFUL
        done.suppressed += _is_held_back(office, repeat)
        done.examples += [event] if len(done.examples) < _EXAMPLES else []
    return done


def _outcomes(office: Office, wanted: Wanted) -> Iterator[Event]:
    """The outcomes that are meant, of whatever a delivery of the queue may have been."""
    cause, recipient = wanted.cause, wanted.recipient
    search = Search(
        types=_ENDED,
        keys=() if recipient is None else (suppression_key(parse_address(recipient).wire),),
        tenant=cause.tenant,
        since=cause.since or (wanted.message and _begun_at(office, wanted.message)) or None,
        until=cause.until,
    )
    for told in found(office.store, search, Sieve(delivery_id=wanted.message)):
        try:
            event = retold(told)
        except ValueError:
            continue
        is_its = wanted.message in (None, event.occasion.delivery_id)
        if is_its and _is_over(event) and cause.means_outcome(event):
            yield event


def _is_over(event: Event) -> bool:
    """Whether a message of ours will not be tried again by it, for an address that can be sent to."""
    one = event.settlement
    return one is not None and one.is_final and one.rule != _NOT_SENDABLE and event.occasion.delivery_id is not None


def _begun_at(office: Office, message: str) -> datetime | None:
    """Before which nobody can have failed to get a message, so that no older events are read; None: it is gone."""
    kept = next(office.store.kept(beginning=message, limit=1), None)
    if kept is not None and kept.message == message:
        return kept.queued_at - _SENDING
    queued = next(office.store.queued(after=(message, ""), limit=1), None)
    return queued.queued_at - _SENDING if queued is not None and queued.message == message else None


def _once(events: Iterator[Event]) -> Iterator[Event]:
    """The first of each recipient of each message: a later one may be what a mail that came back says."""
    seen = set[tuple[str | None, str | None]]()
    for event in events:
        place = (event.occasion.delivery_id, event.recipient)
        if place not in seen:
            seen.add(place)
            yield event


def _repeat(office: Office, event: Event, wanted: Wanted) -> tuple[str, Delivery | None]:
    """The delivery that sends it again, with what is doubtful about it; None with what is in the way."""
    message, name = event.occasion.delivery_id or "", event.recipient or ""
    tenant, repeat = event.occasion.labels.tenant, repeat_id(message, name)
    try:
        address = parse_address((wanted.recipient or name) if is_pseudonym(name) else name)
    except AddressError:
        return _NAMELESS, None
    if is_pseudonym(address.wire):
        return _NAMELESS, None
    way = again(_history(office, name, tenant), message, name, repeat)
    if way not in _GOES or (way is Again.DOUBTFUL and not wanted.unknown):
        return way, None
    try:
        kept = office.store.queued_message(message)
    except StoreCorrupt:
        return _UNREADABLE, None
    if kept is None:
        return _NOT_KEPT, None
    if any(one.address.wire == address.wire for one in kept.recipients):
        return Again.UNSETTLED, None
    recipient = replace(Recipient.of(address), possible_duplicate=way is Again.DOUBTFUL)
    envelope = replace(kept.envelope, recipients=(address,))
    return way, Delivery(id=repeat, envelope=envelope, recipients=(recipient,), labels=kept.labels, relay=kept.relay)


def _is_held_back(office: Office, repeat: Delivery) -> bool:
    """Whether a suppression holds it back now; a store that keeps no addresses sees to pseudonyms itself."""
    (recipient,) = repeat.recipients
    pseudonyms = office.pseudonyms if office.keeps_addresses else None
    keys = (recipient.key,) if pseudonyms is None else (recipient.key, *pseudonyms.all_of(recipient.key))
    ignored = office.policy.message_class(repeat.labels.message_class).ignores
    return bool(office.store.suppressed(keys, repeat.labels, office.clock.now(), ignored=ignored))


def _history(office: Office, name: str, tenant: str) -> list[dict[str, Any]]:
    """All that is told of a mailbox, newest first."""
    key = name.partition(".")[0] if is_pseudonym(name) else suppression_key(name)
    told: list[dict[str, Any]] = []
    wanted, before = Search(keys=(key,), tenant=tenant), None
    while page := office.store.search(wanted, before=before, newest_first=True, limit=_PAGE):
        told += (one for _, one in page)
        before = page[-1][0]
    return told


def _enqueue(office: Office, repeat: Delivery, event: Event, by: str) -> None:
    occasion = replace(office.occasion(), attempt_id=repeat.id)  # the same event each time
    delivery = begun(repeat, office.policy, occasion.at)
    details = {REPEATS: event.occasion.delivery_id, "by": bounded(by)}
    office.ledger.enqueue(delivery, repeated(delivery, occasion, details))
