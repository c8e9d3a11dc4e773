"""What an address is on the wire, and under which key it is suppressed (RFC 5321 4.1.2, RFC 6531, RFC 5890).

Addresses are hostile input: nothing here guesses. A control character, an angle bracket, a space or a second
address is refused with the reason; smtplib would cut it, or send it as an ESMTP parameter.
"""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

from bouncekit.words.errors import AddressError
from bouncekit.words.quick import quick

__all__ = ["Address", "ascii_form", "domain_of", "parse_address", "suppression_key", "wire_addresses"]

# Domains whose owner ignores dots in the local part, and the character after which they ignore the rest.
# Only providers that document it: two people who differ by a dot elsewhere are two people.
_IGNORES_DOTS = frozenset({"gmail.com", "googlemail.com"})
_TAG_AFTER = {
    "gmail.com": "+",
    "googlemail.com": "+",
    "outlook.com": "+",
    "hotmail.com": "+",
    "live.com": "+",
    "msn.com": "+",
    "icloud.com": "+",
    "me.com": "+",
    "fastmail.com": "+",
    "protonmail.com": "+",
    "proton.me": "+",
}
_SAME_AS = {"googlemail.com": "gmail.com"}

_LOCAL_OCTETS = 64  # RFC 5321 4.5.3.1.1
_PATH_OCTETS = 254  # RFC 5321 4.5.3.1.3: a path of 256 with its brackets

# The plain form, which nearly every address has: one look decides it, unless there is an empty label in the domain.
_PLAIN = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}+@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,187}[A-Za-z0-9])?").fullmatch
# RFC 5321 lets a quoted local part hold angle brackets; a server that looks for the first ">" would take what follows
# for a parameter, so ours does not.
_QUOTED_LOCAL = re.compile(r'"(?:[\x20\x21\x23-\x3b\x3d\x3f-\x5b\x5d-\x7e]|\\[\x20-\x3b\x3d\x3f-\x7e])*"').fullmatch
_DOMAIN_LITERAL = re.compile(r"\[(?:[0-9]{1,3}(?:\.[0-9]{1,3}){3}|IPv6:[0-9A-Fa-f:.]{2,45})\]").fullmatch
_FORBIDDEN = re.compile('[\x00-\x20\x7f-\xa0\u2028\u2029<>,;:@\\\\()\\[\\]"]').search
_BACKSLASH = re.compile(r"\\(.)").sub
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]").search


@quick
@dataclass(frozen=True, slots=True)
class Address:
    """A mailbox as it goes between the angle brackets of MAIL and RCPT.

    `wire` is what is sent, `domain` the part behind the last @ in lower case ("" for a local name such as
    `postmaster`), `needs_utf8` says that it can only travel under SMTPUTF8 (RFC 6531).
    """

    wire: str
    domain: str
    needs_utf8: bool


def parse_address(text: str) -> Address:
    """One address from `jo@example.com`, `<jo@example.com>` or `Jo Doe <jo@example.com>`.

    Raises:
        AddressError: with the character or the rule that makes it unusable. Nothing has been sent by then.

    >>> parse_address("Jo Doe <Jo@Example.com>").wire
    'Jo@Example.com'
    >>> parse_address("jo@example.com> SIZE=1")
    Traceback (most recent call last):
    ...
    bouncekit.words.errors.AddressError: 'jo@example.com> SIZE=1': '>' and what follows is no part of an address
    """
    if _PLAIN(text) and ".." not in (domain := text.rpartition("@")[2]):
        return Address(text, domain.lower(), False)
    spec = _inside_brackets(text)
    if not spec:
        return Address("", "", False)
    local, at, domain = _split(spec)
    if _quoted(local):
        if not _QUOTED_LOCAL(local):
            raise AddressError(text, "a quoted local part may hold printable ASCII but < and > (RFC 5321 4.1.2)")
    elif found := _FORBIDDEN(local):
        raise AddressError(text, f"{found.group()!r} is not allowed in a local part (RFC 5321 4.1.2)")
    if not local:
        raise AddressError(text, "the local part before the @ is missing")
    if at and not domain:
        raise AddressError(text, "the domain after the @ is missing")
    if at and not _DOMAIN_LITERAL(domain):
        found = _FORBIDDEN(domain)
        if found or domain.startswith((".", "-")) or ".." in domain:
            raise AddressError(text, f"{domain[:80]!r} is no domain (RFC 5321 4.1.2)")
    if len(local.encode()) > _LOCAL_OCTETS:
        raise AddressError(text, f"the local part is longer than {_LOCAL_OCTETS} octets (RFC 5321 4.5.3.1.1)")
    if len(spec.encode()) > _PATH_OCTETS:
        raise AddressError(text, f"the address is longer than {_PATH_OCTETS} octets (RFC 5321 4.5.3.1.3)")
    return Address(spec, domain.lower(), not spec.isascii())


def wire_addresses(texts: Iterable[str]) -> tuple[tuple[Address, ...], tuple[AddressError, ...]]:
    """The usable addresses, each exact wire form once and in order, and a reason for each unusable one."""
    usable: dict[str, Address] = {}
    refused: dict[str, AddressError] = {}
    for text in texts:
        try:
            address = parse_address(text)
            if not address.wire:
                raise AddressError(text, "the empty address is a return path, never a recipient (RFC 5321 4.5.5)")
        except AddressError as error:
            refused.setdefault(error.address, error)
        else:
            usable.setdefault(address.wire, address)
    return tuple(usable.values()), tuple(refused.values())


def suppression_key(address: str) -> str:
    """The key under which one mailbox is remembered, however its address was written.

    Lower case without needless quotes, the domain as A-labels; dots and tags are cut only where the provider is known
    to ignore them.

    >>> suppression_key("J.O+shop@GMail.com"), suppression_key("J.O+shop@Example.com")
    ('jo@gmail.com', 'j.o+shop@example.com')
    """
    if '"' not in address and address.isascii():  # nearly every address: nothing in it has two spellings but its case
        address = address.lower()
        _, at, domain = address.rpartition("@")
        if at and domain not in _TAG_AFTER and not domain.endswith("."):
            return address
    local, _, domain = _split(address)
    local, domain = _one_spelling(local), a_label(domain)
    if domain in _TAG_AFTER:
        local = local.split(_TAG_AFTER[domain], 1)[0] or local
    if domain in _IGNORES_DOTS:
        local = local.replace(".", "") or local
    return f"{local}@{_SAME_AS.get(domain, domain)}" if domain else local


def domain_of(address: str) -> str:
    """The domain of an address as A-labels in lower case, "" where it has none."""
    return a_label(_split(address)[2])


def a_label(domain: str) -> str:
    """A domain in lower case as A-labels (IDNA 2008); left as it is where no A-label exists.

    The `idna` package and not the standard library, whose IDNA 2003 makes one of faß.de and fass.de.
    """
    domain = domain.lower().rstrip(".")
    if domain.isascii():
        return domain
    import idna  # 2 MB of tables: loaded only when somebody writes to such a domain

    try:
        return idna.encode(domain, uts46=True).decode("ascii")
    except (idna.IDNAError, UnicodeError):
        return domain


def ascii_form(address: Address) -> Address:
    """The address as it travels without SMTPUTF8: its domain as A-labels.

    Raises:
        UnicodeEncodeError: its local part is beyond ASCII, so it cannot (RFC 6531).
    """
    local, at, _ = address.wire.rpartition("@")
    wire = f"{local}@{a_label(address.domain)}" if at else address.wire
    wire.encode("ascii")
    return Address(wire, a_label(address.domain), False)


def _inside_brackets(text: str) -> str:
    """The address between the brackets, or all of it; refuses anything behind the closing one."""
    if found := _CONTROL(text):
        raise AddressError(text, f"{found.group()!r} is not allowed in an address")
    inner = text.strip(" ")
    opening = _outside_quotes(inner, "<")
    closing = _outside_quotes(inner, ">")
    if opening < 0 and closing < 0:
        return inner
    if closing != len(inner) - 1:
        raise AddressError(text, "'>' and what follows is no part of an address" if closing >= 0 else "'>' is missing")
    if opening < 0:
        raise AddressError(text, "'<' is missing")
    if "," in _without_quotes(inner[:opening]):
        raise AddressError(text, "more than one address: give a list")
    return inner[opening + 1 : closing]


def _outside_quotes(text: str, character: str) -> int:
    """Where a character first stands outside of quotes, -1 if nowhere."""
    return _without_quotes(text).find(character)


def _without_quotes(text: str) -> str:
    """The text with every quoted character blanked, of the same length."""
    if '"' not in text:
        return text
    out, quoted, escaped = [], False, False
    for character in text:
        inside = quoted
        if escaped:
            escaped = False
        elif quoted and character == "\\":
            escaped = True
        elif character == '"':
            quoted = not quoted
        out.append("_" if inside or quoted else character)
    return "".join(out)


def _split(spec: str) -> tuple[str, str, str]:
    """Local part, "@" or "", domain: split at the last @ outside of quotes."""
    at = _without_quotes(spec).rfind("@")
    return (spec, "", "") if at < 0 else (spec[:at], "@", spec[at + 1 :])


def _one_spelling(local: str) -> str:
    """A local part composed and without needless quotes: one mailbox, however typed (RFC 5321 4.1.2, RFC 6532 3.1)."""
    if _quoted(local):
        bare = _BACKSLASH(r"\1", local[1:-1])
        local = local if not bare or "@" in bare or _FORBIDDEN(bare) else bare
    return (local if local.isascii() else unicodedata.normalize("NFC", local)).lower()


def _quoted(local: str) -> bool:
    return local.startswith('"')
