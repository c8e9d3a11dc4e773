"""Mail that comes back, taken in: read, traced to what we sent, judged as a server's reply is, remembered, told."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b

from bouncekit.bounces.bouncemail import read_mail
from bouncekit.bounces.incoming import Incoming, Kind, Reported
from bouncekit.bounces.verp import ReturnPath, Trust
from bouncekit.delivery.events import EventType, event_of
from bouncekit.delivery.returned import Returned, Sent, Unverified, named, returned, sent_of
from bouncekit.delivery.settlement import Settlement
from bouncekit.desk.office import Office
from bouncekit.outside.secondreader import second_reader
from bouncekit.words.pseudonym import is_pseudonym

__all__ = ["Absorbed", "absorb_mail"]

_HISTORY = 200  # events of a mailbox that are looked through for the message that a bounce is about


@dataclass(frozen=True, slots=True, kw_only=True)
class Absorbed:
    """What a mail that came back was, what it settled, and what of it proved nothing."""

    incoming: Incoming
    settlements: tuple[Settlement, ...] = ()
    unverified: tuple[Unverified, ...] = ()


def absorb_mail(office: Office, content: bytes, *, arrived_at: str | None = None, tenant: str = "") -> Absorbed:
    """Let a mail that came back count; see `bouncekit.Postmaster.absorb`.

    Raises:
        StoreError: the store does not answer; the mail must not be thrown away.
    """
    incoming = read_mail(content, second_reader=second_reader())
    office.ledger.catch_up()  # else what is known already would be told twice
    path = _proven(office, incoming, arrived_at, tenant)
    incoming, path = _with_recipient(office, incoming, path, tenant)
    now, keys = office.clock.now(), named(incoming)
    sent = {key: _sent_to(office, address, key, tenant) for address, key in keys.items()}
    settled: list[Settlement] = []
    doubts: list[Unverified] = []
    for news in returned(incoming, keys, sent, path, at=now):
        if isinstance(news, Unverified):
            doubts.append(news)
        else:
            is_forgiven = office.treasurer.has_resumed(news.delivery.labels, news.sent_at)
            settled += office.absorb(_sealed(office, replace(news, is_forgiven=is_forgiven)))
            office.treasurer.look(news.delivery.labels)
            if news.delivery.id and news.is_final:
                office.store.drop(news.delivery.id, news.status.recipient, at=now)  # nobody has to send it again
    _tell(office, doubts, content)
    return Absorbed(incoming=incoming, settlements=tuple(settled), unverified=tuple(doubts))


def _proven(office: Office, incoming: Incoming, arrived_at: str | None, tenant: str) -> ReturnPath | None:
    """What the address that a mail was sent to proves; None where return paths are not signed."""
    paths = office.return_paths
    if paths is None:
        return None
    to = (arrived_at,) if arrived_at else incoming.delivered_to
    found = [paths.read(address, at=office.clock.now(), tenant=tenant) for address in to]
    ours = [path for path in found if path.trust is not Trust.OTHER]
    signed = [path for path in ours if path.trust is Trust.SIGNED]
    return (signed or ours or [ReturnPath(Trust.OTHER)])[0]


def _with_recipient(
    office: Office, incoming: Incoming, path: ReturnPath | None, tenant: str
) -> tuple[Incoming, ReturnPath | None]:
    """A complaint whose recipient was redacted (RFC 6590), with the one that its signed return path was made for.

    A pseudonym does not tell whether it was; where it is the delivery's only recipient, it was.
    """
    is_silent = incoming.kind is Kind.COMPLAINT and not incoming.recipients
    if not is_silent or path is None or path.trust is not Trust.SIGNED or path.delivery_id is None:
        return incoming, path
    addressed = office.store.addressed(path.delivery_id, tenant=tenant)
    whose = [one for one in addressed if is_pseudonym(one) or path.is_for(one)]
    if len(whose) != 1:
        return incoming, path
    found = replace(incoming, recipients=(Reported(recipient=whose[0]),))
    return found, path.for_anybody() if is_pseudonym(whose[0]) else path


def _sent_to(office: Office, address: str, key: str, tenant: str) -> list[Sent]:
    """What was sent to a mailbox; to the address that is asked about, where the store knows it by a pseudonym."""
    sent = sent_of(office.store.history(key, tenant=tenant, limit=_HISTORY))
    return [replace(one, recipient=address) if is_pseudonym(one.recipient) else one for one in sent]


def _sealed(office: Office, news: Returned) -> Returned:
    """News whose attempt is a hash of the address, where nobody may find out by trying whose it is."""
    if office.keeps_addresses or office.pseudonyms is None:
        return news
    return replace(news, attempt_id=office.pseudonyms.of(f"attempt {news.attempt_id}").rpartition("-")[2])


def _tell(office: Office, doubts: Sequence[Unverified], content: bytes) -> None:
    """Tell what proved nothing, of the same mail once."""
    if not doubts:
        return
    occasion = replace(office.occasion(), attempt_id=blake2b(content, digest_size=16).hexdigest())
    office.ledger.tell(
        [
            event_of(EventType.UNVERIFIED, occasion, one.recipient, details={**one.details, "why": one.why})
            for one in doubts
        ]
    )
