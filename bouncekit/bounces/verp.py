"""Signed return paths: who sends a bounce to one of these has seen a mail that we really sent (VERP, BATV's idea).

    bounce+01r3gcrumv4dq...64v2i3vbzw...vyxq2h7c...m4@example.org
           |   |           |            `- 80 bits of a keyed hash over all of this and the tenant
           |   |           `- of the recipient, where the message had only one
           |   `- the delivery
           `- the day

Everything is in lower-case letters and digits, since relays change the case, and a local part has 64 octets at most
(RFC 5321 4.5.3.1.1). A return path is good for as long as a server may keep a message and its bounce.
"""

import hmac
from base64 import b32decode, b32encode
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from hashlib import blake2b

from bouncekit.words.errors import ConfigurationError

__all__ = ["ReturnPath", "ReturnPaths", "Trust", "open_return_paths"]

_LONGEST = 64  # octets of a local part
_LEAST_KEY = 16  # bytes
_EPOCH = date(2020, 1, 1)
_ID_BYTES, _MARK_BYTES, _TAG_BYTES = 16, 5, 10
_ID, _MARK, _TAG, _DAY = 26, 8, 16, 4  # characters of each
_NOBODY = "0" * _MARK  # the mark of a message to several


class Trust(StrEnum):
    """What a return path proves."""

    SIGNED = "signed"  # we sent this delivery, not long ago
    EXPIRED = "expired"  # we did, and it was too long ago
    FORGED = "forged"  # it looks like ours and is not
    OTHER = "other"  # it is none of ours


@dataclass(frozen=True, slots=True)
class ReturnPath:
    """One that came back: the delivery's id, and whether it proves anything."""

    trust: Trust
    delivery_id: str | None = None
    mark: str = _NOBODY

    def is_for(self, recipient: str) -> bool:
        """Whether it may be about this recipient; one of a message to several may be about any of them."""
        return self.mark in (_NOBODY, _mark(recipient))

    def for_anybody(self) -> "ReturnPath":
        """The same, where somebody else knows whom it is about."""
        return replace(self, mark=_NOBODY)


@dataclass(frozen=True, slots=True)
class ReturnPaths:
    """What makes and reads return paths.

    `address` is where bounces arrive; what is signed stands behind its local part and a `+`. `keys` are secrets of 16
    bytes or more: the first signs, each of them is good for reading, so that a key can be replaced. `lasts` is how long
    one is good: servers try for five days, and their bounce has as long.

    >>> paths = ReturnPaths("bounce@example.org", (b"a secret of 16 or more bytes",))
    >>> noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    >>> made = paths.sign("0123456789abcdef0123456789abcdef", ["jo@example.com"], at=noon)
    >>> len(made.partition("@")[0]), paths.read(made, at=noon).trust.value
    (61, 'signed')
    >>> paths.read(made, tenant="other", at=noon).trust.value
    'forged'

    Raises:
        ConfigurationError: no address, or one too long to have anything behind it; no key, or one too short.
    """

    address: str
    keys: Sequence[bytes] = field(repr=False)
    lasts: timedelta = timedelta(days=14)

    def __post_init__(self) -> None:
        local, at, domain = self.address.rpartition("@")
        room = _LONGEST - len(_signed_part("0" * 32, _NOBODY, 0, b"", "")) - 1
        if not at or not local.isascii() or not domain or not 0 < len(local) <= room:
            raise ConfigurationError(
                f"bounces to {self.address!a}: write an address with a local part of {room} characters at most"
            )
        if not 0 < len(self.keys) <= 10 or any(len(key) < _LEAST_KEY for key in self.keys):
            raise ConfigurationError(
                f"bounce_keys: one to ten secrets of {_LEAST_KEY} bytes or more are needed to sign return paths; make "
                "one with `python -c 'import secrets; print(secrets.token_urlsafe(32))'`"
            )

    def sign(self, delivery_id: str, recipients: Sequence[str], *, at: datetime, tenant: str = "") -> str:
        """The return path of a delivery."""
        local, _, domain = self.address.rpartition("@")
        mark = _mark(recipients[0]) if len(recipients) == 1 else _NOBODY
        return f"{local}+{_signed_part(delivery_id, mark, _day(at), self.keys[0], tenant)}@{domain}"

    def read(self, address: str, *, at: datetime, tenant: str = "") -> ReturnPath:
        """What an address that a mail was sent to proves. Never raises."""
        ours, _, domain = self.address.lower().rpartition("@")
        local, _, its_domain = address.lower().rpartition("@")
        prefix, plus, signed = local.partition("+")
        if (prefix, its_domain) != (ours, domain) or not plus:
            return ReturnPath(Trust.OTHER)
        found = _taken_apart(signed)
        if found is None:
            return ReturnPath(Trust.FORGED)
        day, delivery_id, mark = found
        expected = [_signed_part(delivery_id, mark, day, key, tenant) for key in self.keys]
        if not sum(hmac.compare_digest(one, signed) for one in expected):  # all are compared, whichever it is
            return ReturnPath(Trust.FORGED)
        age = timedelta(days=_day(at) - day)
        is_fresh = timedelta(days=-1) <= age <= self.lasts
        return ReturnPath(Trust.SIGNED if is_fresh else Trust.EXPIRED, delivery_id, mark)


def open_return_paths(address: str | None, keys: Sequence[str | bytes]) -> ReturnPaths | None:
    """The return paths of an owner who says where bounces arrive, and lists secrets; None where he says neither.

    Raises:
        ConfigurationError: it is one secret and no list, or see `ReturnPaths`.
    """
    if address is None and not keys:
        return None
    if isinstance(keys, str | bytes):
        raise ConfigurationError("bounce_keys: a list of secrets is needed, not one")
    return ReturnPaths(address or "", tuple(key.encode() if isinstance(key, str) else key for key in keys))


def _signed_part(delivery_id: str, mark: str, day: int, key: bytes, tenant: str) -> str:
    head = f"{_base36(day)}{_letters(bytes.fromhex(delivery_id))}{mark}"
    seed = "\0".join((head, tenant)).encode("utf-8", "surrogatepass")
    tag = blake2b(seed, key=blake2b(key, digest_size=32).digest(), digest_size=_TAG_BYTES, person=b"bouncekit-verp")
    return head + _letters(tag.digest())


def _taken_apart(signed: str) -> tuple[int, str, str] | None:
    """The day, the delivery's id and the recipient's mark; None where it is nothing of the kind."""
    if len(signed) != _DAY + _ID + _MARK + _TAG or not signed.isascii() or not signed.isalnum():
        return None
    try:
        day = int(signed[:_DAY], 36)
        delivery_id = b32decode(signed[_DAY : _DAY + _ID].upper() + "=" * (-_ID % 8)).hex()
    except ValueError:
        return None
    return day, delivery_id, signed[_DAY + _ID : _DAY + _ID + _MARK]


def _mark(recipient: str) -> str:
    """A recipient in eight letters."""
    return _letters(blake2b(recipient.lower().encode("utf-8", "surrogatepass"), digest_size=_MARK_BYTES).digest())


def _letters(data: bytes) -> str:
    return b32encode(data).decode().rstrip("=").lower()


def _day(at: datetime) -> int:
    return max((at.astimezone(UTC).date() - _EPOCH).days, 0)


def _base36(number: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + digits
    return digits.rjust(_DAY, "0")
