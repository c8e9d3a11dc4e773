"""One message file and many rows: a message for each, with what stands in the row where the file names it.

A name is written $name or ${name}, in a header or in a part that is text; a dollar $$. What is filled in is data: in
HTML it is escaped, in a header it holds no line end, and in a header of addresses it makes no other address.
"""

import html
from collections.abc import Callable, Iterator, Mapping
from email import message_from_bytes, policy
from email.headerregistry import Address
from email.message import EmailMessage
from hashlib import blake2b
from string import Template as Dollars
from typing import Any

from bouncekit.policy.template import placeholders
from bouncekit.words.address import parse_address
from bouncekit.words.errors import UNREADABLE, ConfigurationError

__all__ = ["RECIPIENT", "MailMerge", "texts_of"]

RECIPIENT = "recipient"  # the name under which a row's address can be filled in, whatever its column is called

_COLUMNS = (RECIPIENT, "to", "email", "email_address", "address", "emailaddress")
_KEY_BYTES = 16

_Fill = Callable[[str], str]


class MailMerge:
    r"""A message with names in it; `is_plain` is one that is the same for every row.

    >>> merge = MailMerge(b"From: shop@example.org\nTo: $name <$recipient>\n\nDear $name,\n", "hello.eml")
    >>> sorted(merge.names)
    ['name', 'recipient']
    >>> merge.filled({"recipient": "ada@example.com", "name": "Lovelace, Ada"})["To"]
    '"Lovelace, Ada" <ada@example.com>'

    Raises:
        ConfigurationError: a $ in it begins no name, or it cannot be read.
    """

    def __init__(self, content: bytes, file: str) -> None:
        self.content = content
        self._digest = blake2b(content, digest_size=_KEY_BYTES).digest()
        try:
            texts = [one for one in _texts(message_from_bytes(content, policy=policy.SMTP)) if "$" in one[1]]
            self.names = frozenset(name for place, text in texts for name in _named(place, text))
        except (ValueError, LookupError) as error:
            raise ConfigurationError(f"{file}: {error}") from None
        self.is_plain = not texts

    def filled(self, fields: Mapping[str, str]) -> EmailMessage:
        """The message for one row.

        Raises:
            ValueError: a name has no field, or a field does not fit where it is named.
        """
        if missing := sorted(self.names - fields.keys()):
            raise ValueError(f"no field {missing[0]!r}, which the message names")
        message = message_from_bytes(self.content, policy=policy.SMTP)
        assert isinstance(message, EmailMessage)
        _fill_headers(message, lambda text: Dollars(text).safe_substitute(fields))
        _fill_texts(message, fields)
        return message

    def key(self, fields: Mapping[str, str]) -> str:
        """What tells this message for this row from every other, in hexadecimal digits."""
        digest = blake2b(self._digest, digest_size=_KEY_BYTES)
        for name in sorted(fields):
            for text in (name, fields[name]):
                data = text.encode("utf-8", "surrogateescape")
                digest.update(len(data).to_bytes(8, "big") + data)
        return digest.hexdigest()


def texts_of(row: Mapping[str, Any]) -> dict[str, str]:
    """The fields of a row by the names that a message can have for them: with `recipient`, spaces as underscores.

    >>> texts_of({"E-Mail": "", "Email": "ada@example.com", "First name": "Ada", "Points": 7})["First_name"]
    'Ada'

    Raises:
        ValueError: there is no address in it, or a field is no text and no number.
    """
    fields: dict[str, str] = {}
    for name, value in row.items():
        if isinstance(value, (dict, list)):
            raise ValueError(f"field {name!a} is no text and no number")
        text = "" if value is None else value.strip() if isinstance(value, str) else _spelt(value)
        if not text.isascii() and not _is_utf8(text):
            raise ValueError(f"field {name!a} is no UTF-8")
        fields["_".join(name.split())] = text
    by_name = {name.lower(): text for name, text in reversed(fields.items())}
    found = next((by_name[column] for column in _COLUMNS if by_name.get(column)), None)
    if found is None:
        if empty := next((column for column in _COLUMNS if column in by_name), None):
            raise ValueError(f"no recipient: {empty} is empty")
        has = ", ".join(map(ascii, fields)) or "nothing"
        raise ValueError(f"no recipient: a column of the name {RECIPIENT} is needed; it has {has}")
    return {**fields, RECIPIENT: found}


def _spelt(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # a byte that was none, or half a character of JSON's
        return False
    return True


def _texts(message: Any) -> Iterator[tuple[str, str]]:
    """All that a name may stand in, and where that is."""
    try:
        yield from [(f"header {name}", str(value)) for name, value in message.items()]
    except UNREADABLE as error:
        raise ValueError(f"its headers cannot be read: {error}") from None
    yield from ((f"{part.get_content_type()} part", part.get_content()) for part in _parts(message))


def _named(place: str, text: str) -> list[str]:
    try:
        return placeholders(text)
    except ValueError as error:
        raise ValueError(f"{place}: {error}") from None


def _parts(message: Any) -> list[Any]:
    return [part for part in message.walk() if part.get_content_maintype() == "text" and not part.is_attachment()]


def _fill_headers(message: EmailMessage, fill: _Fill) -> None:
    """Fill the headers, which keep their order; those that name nothing stay as they were written."""
    written = list(zip(message.raw_items(), message.values(), strict=True))
    if not any("$" in str(value) for _, value in written):
        return
    for name in {name for (name, _), _ in written}:
        del message[name]
    for (name, raw), value in written:
        if "$" not in str(value):
            message.set_raw(name, raw)
            continue
        try:
            message[name] = _filled(value, fill)
        except UNREADABLE as error:
            columns = ", ".join(f"${column}" for column in dict.fromkeys(placeholders(str(value))))
            raise ValueError(f"header {name} cannot hold {columns}: {error}") from None


def _filled(value: Any, fill: _Fill) -> str | tuple[Address, ...]:
    """A header's value, filled."""
    if hasattr(value, "addresses"):
        return tuple(_address(one, fill) for one in value.addresses)
    return fill(str(value))


def _address(named: Address, fill: _Fill) -> Address:
    """An address with its names filled: one, whatever stands in the fields."""
    written = fill(f"{named.username}@{named.domain}" if named.domain else named.username)
    if "@" not in written:
        raise ValueError(f"{written!a} is no address: one has an @, such as jo@example.com")
    if written.isascii():
        return Address(fill(named.display_name), addr_spec=written)
    local, _, domain = parse_address(written).wire.rpartition("@")
    return Address(fill(named.display_name), local, domain)


def _fill_texts(message: EmailMessage, fields: Mapping[str, str]) -> None:
    for part in _parts(message):
        text = part.get_content()
        if "$" not in text:
            continue
        subtype = part.get_content_subtype()
        values = {name: html.escape(value) for name, value in fields.items()} if subtype == "html" else fields
        params = {**part["Content-Type"].params} if "Content-Type" in part else {}
        params.pop("charset", None)
        filled = Dollars(text).safe_substitute(values)
        part.set_content(filled, subtype, params=params or None, cid=part["Content-ID"])
