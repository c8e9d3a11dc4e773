r"""How text from outside is shown to people: on one line, harmless to a terminal or a log, without secrets.

Replies, addresses and names of servers are hostile. An ANSI sequence repaints a terminal, a line feed forges a line of
a log, a bidi override turns a name around, a lone surrogate cannot be written at all. Everything here is linear.
"""

import re
from collections.abc import Callable

__all__ = ["masked", "printable", "readdressed", "redacted"]

_MECHANISMS = "PLAIN|LOGIN|CRAM-MD5|DIGEST-MD5|XOAUTH2|OAUTHBEARER|NTLM|GSSAPI|EXTERNAL|SCRAM-[A-Z0-9-]{1,20}"
# What a client sends; a server's list of mechanisms, `250-AUTH PLAIN LOGIN`, stays.
_LOGIN = re.compile(rf"(?<!250[ -])\b(AUTH[ \t]+(?:{_MECHANISMS})[ \t]+)[^\s'\"\\]+", re.IGNORECASE)
_SETTING = re.compile(r"((?:password|passwd|secret|token|api_?key)=)[^\s&;'\"]+", re.IGNORECASE)
_WORD = re.compile(r"\S+")
_TOKEN = re.compile(r"[^\s<>()\[\],;:'\"]+")


def printable(text: str, *, limit: int = 500) -> str:
    r"""The text on one line of at most `limit` characters; what is invisible or does something shows as its escape.

    That are control characters, line ends, bidi and other format characters, lone surrogates, spaces but U+0020, and
    characters that Unicode does not know. A backslash stays one, so the way back is not certain.

    >>> printable("552 \x1b[2Jfull\nDelivered \u202eknurd")
    '552 \\x1b[2Jfull\\nDelivered \\u202eknurd'
    >>> printable("a very long reply", limit=7)
    'a very…'
    """
    if len(text) <= limit and text.isprintable():
        return text
    shown = "".join(map(_shown, text[: limit + 1]))
    return shown if len(shown) <= limit else f"{shown[: limit - 1]}…"


def redacted(text: str) -> str:
    """The text without its secrets: logins, passwords in URLs, `password=` and the like.

    Of a URL everything between the user's colon and the word's last @ goes: a password may hold an unquoted @.

    >>> redacted("smtp://jo:p@ss@relay:587 said no to AUTH PLAIN AGpvAHNlY3JldA==")
    'smtp://jo:***@relay:587 said no to AUTH PLAIN ***'
    """
    if "://" in text:
        text = _WORD.sub(lambda word: _without_password(word.group()), text)
    return _SETTING.sub(r"\1***", _LOGIN.sub(r"\1***", text))


def masked(text: str) -> str:
    """The text with each address in it cut to its first character and its domain: who it is about stays private.

    >>> masked("jo.doe@example.com"), masked("<jo.doe@example.com>: Mailbox full")
    ('j…@example.com', '<j…@example.com>: Mailbox full')
    """
    if "@" not in text:
        return text
    if text.startswith('"'):  # a quoted local part may hold anything, spaces and an @ too
        return _without_local_part(text)
    return readdressed(text, _without_local_part)


def readdressed(text: str, change: Callable[[str], str]) -> str:
    """The text with each address in it changed.

    >>> readdressed("<jo@example.com>: unknown user, <jo@example.com>", str.upper)
    '<JO@EXAMPLE.COM>: unknown user, <JO@EXAMPLE.COM>'
    """
    return _TOKEN.sub(lambda token: change(token[0]) if "@" in token[0] else token[0], text)


def _shown(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode("ascii")


def _without_password(word: str) -> str:
    scheme, separator, rest = word.partition("://")
    colon, at = rest.find(":"), rest.rfind("@")
    return f"{scheme}{separator}{rest[: colon + 1]}***{rest[at:]}" if 0 <= colon < at else word


def _without_local_part(address: str) -> str:
    local, _, domain = address.rpartition("@")
    return f"{local[:1]}…@{domain}"
