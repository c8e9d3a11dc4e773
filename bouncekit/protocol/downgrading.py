"""What of a message can go to a server that offers no SMTPUTF8, and for whom (RFC 6531 3.2, RFC 6857).

A recipient whose local part is beyond ASCII cannot be reached there; all others can. A domain travels as A-labels, a
header in encoded words; an address that cannot be written stands in its header as a name without one.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from email import policy
from email.header import Header
from email.headerregistry import Address as Named
from email.headerregistry import Group
from email.message import EmailMessage
from typing import Any

from bouncekit.protocol.transaction import Transacted, Transaction
from bouncekit.words.address import Address, a_label, ascii_form
from bouncekit.words.envelope import Envelope
from bouncekit.words.errors import UNREADABLE
from bouncekit.words.reply import Cause, EnhancedStatusCode, NoReply, Stage
from bouncekit.words.status import Action, RecipientStatus

__all__ = ["downgraded", "in_part", "wants_utf8"]

_UNREACHABLE = EnhancedStatusCode(5, 6, 7)  # RFC 6531 3.2: a non-ASCII address is not permitted
_WHY = "the server offers no SMTPUTF8, which this address needs (RFC 6531)"
_FIELDS = re.compile(rb"\r\n(?![ \t])")
_OPTION = "SMTPUTF8"
_TOGETHER = (_OPTION, "BODY=8BITMIME")  # the one goes with the other; where 8BITMIME is offered MAIL says it by itself


def wants_utf8(envelope: Envelope) -> bool:
    """Whether it is to go as SMTPUTF8."""
    options = envelope.mail_options
    return bool(options) and any(option.upper() == _OPTION for option in options)


def downgraded(envelope: Envelope) -> Envelope | None:
    """The envelope for those who can be reached without SMTPUTF8; None where the sender cannot be written, or nobody.

    >>> from bouncekit.words.address import parse_address
    >>> ada, bob = map(parse_address, ("ada@bücher.example", "bøb@example.com"))
    >>> message = Envelope(sender=parse_address("me@example.com"), recipients=(ada, bob), content=b"Hi")
    >>> downgraded(message).recipients[0].wire, len(downgraded(message).recipients)
    ('ada@xn--bcher-kva.example', 1)
    """
    sender, fit = _written(envelope.sender), _fit(envelope)
    if sender is None or not fit:
        return None
    return replace(
        envelope,
        sender=sender,
        recipients=tuple(dict.fromkeys(fit.values())),
        content=_in_ascii(envelope.content),
        mail_options=tuple(option for option in envelope.mail_options if option.upper() not in _TOGETHER),
    )


def in_part(envelope: Envelope, send: Callable[[Envelope], Transaction]) -> Transaction:
    """A transaction for those who can be reached without SMTPUTF8; the others are refused here, for good."""
    fitting = downgraded(envelope)
    result = Transacted(statuses=()) if fitting is None else (yield from send(fitting))
    found = {status.recipient: status for status in result.statuses}
    statuses = [_status(address, fit, found) for address, fit in _written_all(envelope).items()]
    return replace(result, statuses=tuple(statuses))


def _status(address: Address, fit: Address | None, found: Mapping[str, RecipientStatus]) -> RecipientStatus:
    if fit is not None:
        return replace(found[fit.wire], recipient=address.wire)
    return RecipientStatus(
        recipient=address.wire,
        action=Action.FAILED,
        stage=Stage.RCPT,
        reply=NoReply(Cause.LOCAL, _WHY),
        status=_UNREACHABLE,
        individual=False,
    )


def _written_all(envelope: Envelope) -> dict[Address, Address | None]:
    return {address: _written(address) for address in envelope.recipients}


def _fit(envelope: Envelope) -> dict[Address, Address]:
    return {address: fit for address, fit in _written_all(envelope).items() if fit is not None}


def _written(address: Address) -> Address | None:
    """The address as it can be written in ASCII; None where it cannot."""
    if not address.needs_utf8:
        return address
    try:
        return ascii_form(address)
    except UnicodeEncodeError:
        return None


# -- headers


def _in_ascii(content: bytes) -> bytes:
    """The content with headers in ASCII; the body stays as it is."""
    head, gap, body = content.partition(b"\r\n\r\n")
    if head.isascii():
        return content
    return b"\r\n".join(one if one.isascii() else _encoded(one) for one in _FIELDS.split(head)) + gap + body


def _encoded(field: bytes) -> bytes:
    name, _, value = field.decode("utf-8", "replace").partition(":")
    text = " ".join(value.split())
    try:
        made: Any = policy.SMTP.header_factory(name, text)
        if hasattr(made, "groups"):
            message = EmailMessage(policy.SMTP)
            message[name] = [_group(one) for one in made.groups]
            made = message[name]
        folded: str = policy.SMTP.fold(name, made)
        return folded.rstrip("\r\n").encode("ascii")
    except UNREADABLE:  # it goes as a text
        written = Header(text, "utf-8", header_name=name).encode(linesep="\r\n")
        return b"%s: %s" % (name.encode("ascii", "replace"), written.encode("ascii"))


def _group(group: Group) -> Group | Named:
    """A group of addresses, or the one address that stands for itself."""
    if group.display_name is None:
        return _named(group.addresses[0])
    return Group(group.display_name, [one for one in map(_named, group.addresses) if isinstance(one, Named)])


def _named(one: Named) -> Group | Named:
    """An address; where ASCII has none for it, an empty group of its name (RFC 6857 3.1)."""
    if one.username.isascii():
        return Named(one.display_name, one.username, a_label(one.domain))
    return Group(f"{one.display_name} {one.addr_spec}".strip())
