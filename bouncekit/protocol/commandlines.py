"""MAIL and RCPT with what a server offers, and no parameter that it does not (RFC 1870, 6152, 3461, 9422).

The parameters that an envelope's own options name stay as they are: what is added here is what they leave open.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bouncekit.words.address import Address
from bouncekit.words.envelope import Envelope
from bouncekit.words.errors import ConfigurationError

__all__ = ["DsnRequest", "limit_of", "mail_line", "rcpt_lines", "size_limit"]

Extensions = Mapping[str, str]  # of the EHLO reply, names in lower case

_NONE: frozenset[str] = frozenset()
_NOTIFY = ("SUCCESS", "FAILURE", "DELAY")  # or NEVER alone (RFC 3461 4.1)
_MAX_ENVID = 100
_MAX_ORCPT = 500
_NOT_XTEXT = re.compile(r"[^!-*,-<>-~]")
_NOT_UTF8_XTEXT = re.compile(r"[^!-*,-<>-\[\]-~]")


@dataclass(frozen=True, slots=True, kw_only=True)
class DsnRequest:
    """What to ask of the servers behind the next one, should they have to report (RFC 3461 4).

    `envelope_id` comes back in a bounce as Original-Envelope-Id; each recipient as Original-Recipient. Of the message
    only its headers do, unless `returns_all`. Without `notify` a server reports what it cannot deliver, and perhaps a
    delay: an answer to every message that arrived is nothing that anybody asked for.

    >>> DsnRequest.notifying("failure, delay").notify
    ('FAILURE', 'DELAY')
    """

    envelope_id: str = ""
    notify: tuple[str, ...] = ()
    returns_all: bool = False

    @classmethod
    def notifying(cls, words: str) -> "DsnRequest":
        """From `failure`, `failure,delay`, `success,failure,delay`, `never`; "" leaves it to the servers.

        Raises:
            ConfigurationError: a word is none of these.
        """
        asked = tuple(word.strip().upper() for word in words.split(",")) if words.strip() else ()
        if asked != ("NEVER",) and not (set(asked) <= set(_NOTIFY) and len(set(asked)) == len(asked)):
            raise ConfigurationError(f"dsn={words!r}: write 'never', or some of 'success,failure,delay' (RFC 3461 4.1)")
        return cls(notify=asked)


def mail_line(envelope: Envelope, extensions: Extensions | None, dsn: DsnRequest | None = None) -> bytes:
    r"""MAIL for an envelope.

    >>> from bouncekit.words.address import parse_address
    >>> envelope = Envelope(sender=parse_address("me@example.com"), recipients=(), content=b"Hello\r\n")
    >>> mail_line(envelope, {"size": "", "dsn": ""}, DsnRequest(envelope_id="1a"))
    b'mail from:<me@example.com> size=7 RET=HDRS ENVID=1a\r\n'
    """
    options: list[str] = []
    if extensions is not None:
        stated = _names(envelope.mail_options) if envelope.mail_options else _NONE
        if "size" in extensions and "SIZE" not in stated:
            options.append(f"size={envelope.size_bytes}")
        options += envelope.mail_options
        if "8bitmime" in extensions and "BODY" not in stated and not envelope.content.isascii():
            options.append("BODY=8BITMIME")
        if dsn is not None and "dsn" in extensions and envelope.sender.wire:  # a DSN asks for none (RFC 3461 6.1)
            if "RET" not in stated:
                options.append("RET=FULL" if dsn.returns_all else "RET=HDRS")
            envelope_id = _xtext(dsn.envelope_id)
            if "ENVID" not in stated and 0 < len(envelope_id) <= _MAX_ENVID:
                options.append(f"ENVID={envelope_id}")
    return _line("mail from", envelope.sender, _joined(options))


def rcpt_lines(envelope: Envelope, extensions: Extensions | None, dsn: DsnRequest | None = None) -> Sequence[bytes]:
    """RCPT for each recipient of an envelope."""
    if extensions is None:
        return [_line("rcpt to", address) for address in envelope.recipients]
    if dsn is None or "dsn" not in extensions:
        if not envelope.rcpt_options:
            return [f"rcpt to:<{address.wire}>\r\n".encode() for address in envelope.recipients]
        options = _joined(envelope.rcpt_options)
        return [_line("rcpt to", address, options) for address in envelope.recipients]
    stated, options = _names(envelope.rcpt_options), _joined(envelope.rcpt_options)
    if not envelope.sender.wire:
        options += "" if "NOTIFY" in stated else " NOTIFY=NEVER"
    elif dsn.notify and "NOTIFY" not in stated:
        options += f" NOTIFY={','.join(dsn.notify)}"
    wants_origin = "ORCPT" not in stated
    return [
        _line("rcpt to", address, options + _origin(address) if wants_origin else options)
        for address in envelope.recipients
    ]


def size_limit(extensions: Extensions | None) -> int | None:
    """The largest message, in bytes, that the server takes; None where it says no fixed limit (RFC 1870 4).

    >>> size_limit({"size": "10240000"}), size_limit({"size": "0"}), size_limit({"size": ""}), size_limit(None)
    (10240000, None, None, None)
    """
    stated = extensions.get("size", "").strip() if extensions is not None else ""
    return int(stated) or None if stated.isascii() and stated.isdecimal() and len(stated) <= 20 else None


def limit_of(extensions: Extensions | None, name: str) -> int | None:
    """A limit that the server has stated: RCPTMAX, recipients of a transaction; MAILMAX, transactions (RFC 9422 4).

    >>> limit_of({"limits": "RCPTMAX=20 MAILMAX=5"}, "MAILMAX"), limit_of({}, "RCPTMAX")
    (5, None)
    """
    if not extensions or "limits" not in extensions:
        return None
    for word in extensions["limits"].split():
        key, _, value = word.partition("=")
        if key.upper() == name and value.isascii() and value.isdecimal() and len(value) <= 6:
            return int(value) or None
    return None


def _names(options: Iterable[str]) -> set[str]:
    return {option.partition("=")[0].upper() for option in options}


def _joined(options: Iterable[str]) -> str:
    return "".join(f" {option}" for option in options)


def _line(verb: str, address: Address, options: str = "") -> bytes:
    line = f"{verb}:<{address.wire}>{options}\r\n"
    return line.encode("utf-8" if address.needs_utf8 else "ascii")


def _origin(address: Address) -> str:
    """ORCPT; of an address beyond ASCII in the form that every server can read (RFC 6533 3)."""
    if address.needs_utf8:
        escaped = _NOT_UTF8_XTEXT.sub(lambda found: rf"\x{{{ord(found[0]):X}}}", address.wire)
        parameter = f" ORCPT=utf-8;{escaped}"
    else:
        parameter = f" ORCPT=rfc822;{_xtext(address.wire)}"
    return parameter if len(parameter) <= _MAX_ORCPT else ""


def _xtext(text: str) -> str:
    """RFC 3461 4: what is no plain printable character, and + and =, as + and two hexadecimal digits."""
    return _NOT_XTEXT.sub(lambda found: f"+{ord(found[0]):02X}", text)
