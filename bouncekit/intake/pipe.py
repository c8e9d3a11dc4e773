"""A mail that a mail server hands to a program: the mail, and the address that it was sent to, from the environment."""

from collections.abc import Mapping
from typing import IO

from bouncekit.intake.absorbing import MAX_MAIL_BYTES

__all__ = ["address_of", "read_one"]

# Whole addresses, in the order in which they are asked: what a server was told comes before what an alias made of it.
_WHOLE = (
    "ORIGINAL_RECIPIENT",  # Postfix, local(8)
    "RECIPIENT",  # Postfix, local(8); Exim, when there is one; qmail-command(8)
)
_CHUNK = 1024 * 1024


def address_of(environ: Mapping[str, str]) -> str | None:
    """The address that a mail was sent to, as Postfix, Exim and qmail tell a program; None where nobody does.

    >>> address_of({"LOCAL_PART": "bounce", "LOCAL_PART_SUFFIX": "+01ab", "DOMAIN": "example.org"})
    'bounce+01ab@example.org'
    """
    for name in _WHOLE:
        if "@" in (address := environ.get(name, "")):
            return address
    if environ.get("LOCAL_PART") and environ.get("DOMAIN"):  # Exim, where a router cut something off
        local = "".join(environ.get(f"LOCAL_PART{part}", "") for part in ("_PREFIX", "", "_SUFFIX"))
        return f"{local}@{environ['DOMAIN']}"
    if environ.get("LOCAL") and environ.get("HOST"):  # qmail
        return f"{environ['LOCAL']}@{environ['HOST']}"
    return None


def read_one(stream: IO[bytes]) -> bytes:
    """All of a mail; of one that is too long its beginning. The rest is read too: servers do not like a closed pipe."""
    content = stream.read(MAX_MAIL_BYTES)
    while stream.read(_CHUNK):
        pass
    return content
