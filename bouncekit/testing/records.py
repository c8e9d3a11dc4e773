"""What a scripted server has seen: the messages it took and the sessions it held."""

import re
from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["Exchange", "Received", "Session"]

_BARE = re.compile(rb"(?<!\r)\n|\r(?!\n)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A message for which the server took responsibility.

    >>> Received(sender="me@example.com", recipients=("ada@example.com",), data=b"one\\r\\ntwo\\n").bare_line_ends
    1
    """

    sender: str  # "" is the null sender
    recipients: tuple[str, ...]  # those that it was kept for, as the client wrote them
    data: bytes  # without the stuffed dots and the final dot, else untouched
    mail_options: tuple[str, ...] = ()  # of MAIL, such as "SIZE=1024"

    @property
    def bare_line_ends(self) -> int:
        """How many CR or LF stand alone in the data (RFC 5321 2.3.8 forbids them)."""
        return len(_BARE.findall(self.data))


class Exchange(NamedTuple):
    """One command and what was answered to it, both without the last CRLF; bytes that are no UTF-8 as \\xNN.

    The final dot is the command "."; what nobody asked for, as the greeting, has the command "". Of a reply the
    first 4 KiB are kept.
    """

    command: str
    reply: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One connection, as it was when asked for."""

    transcript: tuple[Exchange, ...]
    raw: bytes  # all that the client sent, decrypted
    sent_bytes: int  # how much was sent to the client, of a flood too
    turns: int  # how often the client spoke again behind something that the server had said: round trips
    tls: bool
    ended: str | None  # why; None while it lasts

    @property
    def commands(self) -> tuple[str, ...]:
        """The command lines alone."""
        return tuple(exchange.command for exchange in self.transcript if exchange.command)
