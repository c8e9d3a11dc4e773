"""Whose domain or address a reply speaks of, where the same words may be about the recipient's or about another's."""

import re

from bouncekit.words.reply import Reply

__all__ = ["names_somebody", "of_whom"]

# Postfix and Sendmail of a name that they looked up: the recipient's domain, or a host that their own tables name.
_LOOKED_UP = re.compile(
    r"""
    (?:undeliverable\ address:\ )? (?:Host\ or\ domain\ name\ not\ found\.\s{1,8})?
    Name\ service\ error\ for\ name=([^\s,;]{1,255})\ type=\w{1,8}:
    \ Host\ (?:not\ found(?!,\ try\ again)|found\ but\ no\ data\ record\ of\ requested\ type)
    | Host\ unknown\ \(Name\ server:\ ([^\s:]{1,255}):\ host\ not\ found\)
    """,
    re.VERBOSE | re.IGNORECASE,
)
# Exim of a sender whom it verifies; other servers have the words of it for the recipient.
_VERIFIED = re.compile(r"Verification failed for <([^<>\s]{1,320})>", re.IGNORECASE)
_FIRST_ADDRESS = re.compile(r"[\s\d.]{0,20}<?[^<>@\s]{1,64}@([^<>@\s:;,]{1,255})").match


def names_somebody(raw: bytes) -> bool:
    """Whether a text may have a name that has to be told from the recipient's: the quick look."""
    return b"name=" in raw or b"Name server: " in raw or b"erification failed for" in raw


def of_whom(reply: Reply, recipient: str) -> Reply:
    """The reply as it is about this recipient: what it says of another's name is no more about him.

    "Host not found" is the recipient's end only where the name is that of his domain, or of the address that the
    text begins with (which a forward leads to); "Verification failed for" is about him where it has his address, and
    about the sender else.

    >>> said = "Host or domain name not found. Name service error for name=%s type=A: Host not found"
    >>> of_whom(Reply.parse("550 5.4.4 " + said % "mail.internal"), "jo@example.com").text
    '5.4.4 Name service error'
    >>> own = Reply.parse("550 5.4.4 " + said % "example.com")
    >>> of_whom(own, "jo@example.com") is own
    True
    """
    if not recipient:
        return reply
    text = reply.text
    told = _LOOKED_UP.sub(lambda found: _of_name(found, recipient, text), text)
    if "sender" not in told.lower():
        told = _VERIFIED.sub(lambda found: _of_address(found, recipient), told)
    return reply if told == text else Reply(reply.code, told.encode("utf-8", "replace"))


def _of_name(found: re.Match[str], recipient: str, text: str) -> str:
    first = _FIRST_ADDRESS(text)
    own = {_folded(recipient.rpartition("@")[2]), _folded(first[1]) if first else ""}
    return found[0] if _folded(found[1] or found[2]) in own else "Name service error"


def _of_address(found: re.Match[str], recipient: str) -> str:
    return "Recipient verification failed" if found[1].lower() == recipient.lower() else found[0]


def _folded(domain: str) -> str:
    return domain.lower().rstrip(".")
