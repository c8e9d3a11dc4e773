"""What a delivery status notification states of a message and of each recipient (RFC 3464; with UTF-8, RFC 6533).

Tolerant of what MTAs really write: blocks without the empty line between them, fields that go on without being
indented, statuses cut short or with a comment, missing types, addresses in brackets.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from types import MappingProxyType

from bouncekit.words.address import parse_address
from bouncekit.words.errors import AddressError
from bouncekit.words.quick import quick
from bouncekit.words.reply import EnhancedStatusCode
from bouncekit.words.status import Action

__all__ = [
    "DeliveryStatus",
    "RecipientFields",
    "mailbox",
    "read_date",
    "read_delivery_status",
    "read_fields",
    "read_status",
]

MAX_RECIPIENTS = 1000
MAX_LINES = 20_000
MAX_FIELD_CHARACTERS = 4096

_ACTIONS = {
    "failed": Action.FAILED,
    "failure": Action.FAILED,
    "fail": Action.FAILED,
    "expired": Action.FAILED,
    "delayed": Action.DELAYED,
    "delay": Action.DELAYED,
    "delivered": Action.DELIVERED,
    "deliverable": Action.DELIVERED,  # Postfix, of an address that it was asked to verify
    "relayed": Action.RELAYED,
    "expanded": Action.EXPANDED,
}
_PER_RECIPIENT = frozenset(
    """
    original-recipient final-recipient action status remote-mta diagnostic-code last-attempt-date final-log-id
    will-retry-until x-actual-recipient x-display-name localized-diagnostic
    """.split()
)
_PER_MESSAGE = frozenset(
    "original-envelope-id reporting-mta dsn-gateway received-from-mta arrival-date version incidents".split()
)
_FIELD = re.compile(r"([A-Za-z][A-Za-z0-9-]{1,60})[ \t]*:[ \t]*(.*)").fullmatch
_STATUS = re.compile(r"\s*([245])\.([0-9]{1,3})(?:\.([0-9]{1,3}))?").match
_TYPED = re.compile(r"\s*([A-Za-z0-9-]{2,20})\s*;\s*(.*)", re.DOTALL).fullmatch
_WORD = re.compile(r"[a-z]+").match
_XCHAR = re.compile(r"\+(2B|3D)")  # the two characters that xtext always escapes (RFC 3461 4)
_UTF8_XCHAR = re.compile(r"\\x\{([0-9A-Fa-f]{2,6})\}")  # RFC 6533 3
_ROUTE = re.compile(r"@[^:\s]{1,255}:(?=[^@]{1,64}@)").match


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class RecipientFields:
    """What is stated of one recipient; None or "" where nothing is. Addresses are decoded and can be sent to."""

    final_recipient: str | None = None
    original_recipient: str | None = None
    action: Action | None = None
    status: EnhancedStatusCode | None = None
    remote_mta: str | None = None
    diagnostic: str = ""  # with its type
    will_retry_until: datetime | None = None
    fields: Mapping[str, str] = field(default_factory=dict, repr=False)  # all of them, names in lower case


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryStatus:
    """One report. `recipients` is empty where a report names nobody."""

    reporting_mta: str | None = None
    envelope_id: str | None = None
    arrival_at: datetime | None = None
    recipients: tuple[RecipientFields, ...] = ()


def read_delivery_status(text: str) -> DeliveryStatus:
    r"""The report in a part of type message/delivery-status or message/global-delivery-status.

    >>> report = read_delivery_status(
    ...     "Reporting-MTA: dns; mx.example.org\n\nFinal-Recipient: rfc822; jo@example.com\nAction: failed\n"
    ...     "Status: 5.2.2\nDiagnostic-Code: smtp; 552 5.2.2 Mailbox\n full\n"
    ... )
    >>> jo = report.recipients[0]
    >>> jo.final_recipient, jo.action.value, str(jo.status), jo.diagnostic
    ('jo@example.com', 'failed', '5.2.2', 'smtp; 552 5.2.2 Mailbox full')
    """
    message: dict[str, str] = {}
    recipients: list[dict[str, str]] = []
    for block in _blocks(text):
        if "final-recipient" in block or "original-recipient" in block:
            message |= {name: value for name, value in block.items() if name in _PER_MESSAGE and name not in message}
            recipients.append(block)
        elif recipients and _PER_RECIPIENT & block.keys():  # an empty line inside the recipient's own
            recipients[-1] = block | recipients[-1]
        else:
            message |= block
    return DeliveryStatus(
        reporting_mta=_after_type(message.get("reporting-mta")),
        envelope_id=message.get("original-envelope-id") or None,
        arrival_at=read_date(message.get("arrival-date")),
        recipients=tuple(map(_recipient, recipients[:MAX_RECIPIENTS])),
    )


def read_fields(text: str) -> Mapping[str, str]:
    """All fields of a text as one block, the first of each name: for reports that hold one block only."""
    fields: dict[str, str] = {}
    for block in _blocks(text):
        fields = block | fields
    return fields


@lru_cache(maxsize=64)  # one mail names the same address in many places
def mailbox(text: str) -> str | None:
    """The address in a field's value, without its type (`rfc822;`), brackets and source route, decoded.

    None where there is none that mail could be sent to: a path of a file, a pipe, an X.400 name.

    >>> mailbox("RFC822; <jo@example.com>"), mailbox("rfc822;/var/spool/jo")
    ('jo@example.com', None)
    """
    typed = _TYPED(text[:1000])
    kind, value = (typed[1].lower(), typed[2]) if typed else ("", text[:1000])
    value = value.strip().strip("'\"`,;. ") if '"' not in value[1:] else value.strip()
    if kind == "utf-8":
        value = _UTF8_XCHAR.sub(lambda found: _character(found[1]), value)
    if value.startswith("<") and ">" in value:
        value = value[1 : value.index(">")]
    if route := _ROUTE(value):
        value = value[route.end() :]
    if "@" not in value or "\\x{" in value or "\ufffd" in value:
        return None
    try:
        address = parse_address(_XCHAR.sub(lambda found: chr(int(found[1], 16)), value))
    except AddressError:
        return None
    return address.wire if address.domain and not address.wire.startswith(("|", "/")) else None


def read_date(text: str | None) -> datetime | None:
    """A date of a mail (RFC 5322 3.3) in UTC; None where it is none."""
    if not text:
        return None
    try:
        at = parsedate_to_datetime(text[:80].strip())
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def read_status(value: str) -> EnhancedStatusCode | None:
    """The code at the start of a Status field; what servers cut short, `5.0.`, has a detail of 0. None for no code."""
    found = _STATUS(value)
    return EnhancedStatusCode(int(found[1]), int(found[2]), int(found[3] or 0)) if found else None


def _recipient(fields: Mapping[str, str]) -> RecipientFields:
    return RecipientFields(
        final_recipient=mailbox(fields.get("final-recipient", "")),
        original_recipient=mailbox(fields.get("original-recipient", "")),
        action=_action(fields.get("action", "")),
        status=read_status(fields.get("status", "")),
        remote_mta=_after_type(fields.get("remote-mta")),
        diagnostic=fields.get("diagnostic-code", ""),
        will_retry_until=read_date(fields.get("will-retry-until")),
        fields=MappingProxyType(dict(fields)),
    )


def _blocks(text: str) -> Iterator[dict[str, str]]:
    """The fields, in blocks; a new block begins behind an empty line, and with a second recipient."""
    block: dict[str, str] = {}
    last = ""
    for line in text.split("\n", MAX_LINES)[:MAX_LINES]:
        if not line.strip():
            if block:
                yield block
            block, last = {}, ""
            continue
        found = _FIELD(line)
        name = found[1].lower() if found else ""
        if found and _is_field(name):
            last = name
            if last in block and last in ("final-recipient", "original-recipient", "action"):
                yield block
                block = {}
            block.setdefault(last, found[2][:MAX_FIELD_CHARACTERS].strip())
        elif last and len(block[last]) < MAX_FIELD_CHARACTERS:
            block[last] = f"{block[last]} {line.strip()}"[:MAX_FIELD_CHARACTERS].lstrip()
    if block:
        yield block


def _is_field(name: str) -> bool:
    return name in _PER_RECIPIENT or name in _PER_MESSAGE or "-" in name


def _action(value: str) -> Action | None:
    """The action, behind which some servers put a comment: `relayed (to non-DSN-aware mailer)`."""
    word = _WORD(value.strip().lower())
    return _ACTIONS.get(word[0]) if word else None


def _after_type(value: str | None) -> str | None:
    if not value:
        return None
    typed = _TYPED(value[:500])
    return " ".join((typed[2] if typed else value[:500]).split()) or None


def _character(number: str) -> str:
    code = int(number, 16)
    return chr(code) if code < 0x110000 and not 0xD800 <= code <= 0xDFFF else "\ufffd"
