"""What a server said: the only reader of SMTP and LMTP replies (RFC 5321 4.2, RFC 2034, RFC 3463, RFC 2033).

Reading is strict and bounded. A line that is no reply, a continuation with another code, a line over 64 KiB, a
reply over 256 KiB or 512 lines is a `NoReply` with its cause, never an invented code. What real servers do and
what is harmless is read: a missing text, a bare LF at the end of a line, bytes that are no UTF-8.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

from bouncekit.words.quick import quick

__all__ = ["Cause", "EnhancedStatusCode", "NoReply", "Reply", "ReplyReader", "Stage"]

MAX_LINE_BYTES = 64 * 1024
MAX_REPLY_BYTES = 256 * 1024
MAX_REPLY_LINES = 512

_LINE = re.compile(rb"([1-5][0-9][0-9])(?:([ -])([^\n]*))?").fullmatch
# The start of a text: perhaps the basic code once more, perhaps punctuation, then the enhanced code.
_ENHANCED = re.compile(r"[\s#:<(-]*(?:[245][0-9]{2}[\s:-]+)?#?([245]\.[0-9]{1,3}\.[0-9]{1,3})(?!\.?[0-9])").match
# qmail and chkusr write it in brackets at the end: "sorry, no mailbox here by that name (#5.1.1 - chkusr)".
_ENHANCED_AT_END = re.compile(r"\(#?([245]\.[0-9]{1,3}\.[0-9]{1,3})(?:\s*-[^()]*)?\)\W*$").search
_WRITTEN = re.compile(r"\W*([1-5][0-9][0-9])(?:[ :-]+|$)").match
_CODES = {b"%d" % code: code for code in range(100, 600)}
_KNOWN_LINES, _KNOWN_BYTES = 16, 512  # that a reader remembers: a hundred recipients are answered alike
_DIGITS = re.compile(r"([245])\.([0-9]{1,3})\.([0-9]{1,3})").fullmatch


class Stage(StrEnum):
    """The command that a reply answers."""

    CONNECT = "CONNECT"  # the greeting, or no connection at all
    EHLO = "EHLO"  # also HELO and LHLO
    STARTTLS = "STARTTLS"  # and the handshake behind it
    AUTH = "AUTH"
    MAIL = "MAIL"
    RCPT = "RCPT"
    DATA = "DATA"  # the command, not the message
    END_OF_DATA = "END_OF_DATA"  # the final dot
    RSET = "RSET"
    QUIT = "QUIT"
    IDLE = "IDLE"  # nobody had asked anything

    @property
    def is_opening(self) -> bool:
        """Whether it comes before the first message of a session."""
        return self in (Stage.CONNECT, Stage.EHLO, Stage.STARTTLS, Stage.AUTH)


class Cause(StrEnum):
    """Why there is no reply."""

    REFUSED = "refused"  # nobody listens there, or the network says no
    DNS = "dns"  # the name could not be resolved now
    NO_SUCH_DOMAIN = "no_such_domain"  # we did not ask: DNS says that the recipient's domain does not exist
    NULL_MX = "null_mx"  # we did not ask: the recipient's domain says that it takes no mail (RFC 7505)
    NO_ADDRESS = "no_address"  # we did not ask: no host of the recipient's domain has an address (RFC 5321 5.1)
    TLS = "tls"  # the handshake failed, or STARTTLS is not offered where it is required
    TIMED_OUT = "timed_out"  # the deadline of the whole reply passed
    LOST = "lost"  # the connection ended without a reply
    PROTOCOL = "protocol"  # bytes came that are no reply, or no possible reply to what was asked
    UNSOLICITED = "unsolicited"  # a reply came before anything was asked; `reply` has it
    UNSTORED = "unstored"  # we did not send the dot: the store could not remember that we were about to
    TAKEN = "taken"  # we did not send the dot: another worker has the recipient by now
    LOCAL = "local"  # we did not ask: the reason is on our side
    OVERDUE = "overdue"  # we did not ask in time: its deadline passed, or would have, while the message waited


class EnhancedStatusCode(NamedTuple):
    """Class, subject and detail of RFC 3463.

    >>> EnhancedStatusCode.parse("5.2.2")
    EnhancedStatusCode(class_=5, subject=2, detail=2)
    >>> str(EnhancedStatusCode(5, 2, 2))
    '5.2.2'
    """

    class_: int
    subject: int
    detail: int

    def __str__(self) -> str:
        return f"{self.class_}.{self.subject}.{self.detail}"

    @classmethod
    def parse(cls, text: str) -> "EnhancedStatusCode":
        """Raises ValueError for anything but `c.s.d` with c of 2, 4, 5 and up to three digits behind it."""
        found = _DIGITS(text.strip())
        if not found:
            raise ValueError(f"{text!r} is no enhanced status code; one looks like 5.2.2 (RFC 3463 2)")
        return cls(*map(int, found.groups()))


_enhanced = lru_cache(maxsize=1024)(EnhancedStatusCode.parse)


@quick
@dataclass(frozen=True, slots=True)
class Reply:
    r"""One reply: its code and the text of its lines without codes, joined by LF, as the bytes that came.

    >>> reply = Reply.parse("552 5.2.2 <jo@example.com>: Mailbox is full")
    >>> reply.code, str(reply.enhanced), reply.is_permanent
    (552, '5.2.2', True)
    """

    code: int
    raw: bytes

    @property
    def text(self) -> str:
        r"""The text for people; a byte that is no UTF-8 shows as \xff. Hostile: escape it where you show it."""
        return self.raw.decode("utf-8", "backslashreplace")

    @property
    def enhanced(self) -> EnhancedStatusCode | None:
        """The enhanced code where its class agrees with the code (RFC 2034 4), else None.

        Only where servers put it: at the start of the text, or in brackets at its very end (qmail). One that
        stands inside the text is somebody else's, quoted.
        """
        found = _ENHANCED(text := self.text) or _ENHANCED_AT_END(text)
        return _enhanced(found[1]) if found and found[1][0] == str(self.code)[0] else None

    @property
    def is_success(self) -> bool:
        return 200 <= self.code < 300

    @property
    def is_temporary(self) -> bool:
        return 400 <= self.code < 500

    @property
    def is_permanent(self) -> bool:
        return self.code >= 500

    def __str__(self) -> str:
        return f"{self.code} {self.text}".rstrip()

    @classmethod
    def parse(cls, text: str) -> "Reply":
        r"""A reply as people and logs write it: `552 5.2.2 full`, `550-5.7.1 a\n550 5.7.1 b`, `550: no`.

        Lenient, for what somebody typed or pasted; a connection is read by `ReplyReader`.

        Raises:
            ValueError: where the text does not start with a reply code.
        """
        first, *more = text.strip().splitlines() or [""]
        found = _WRITTEN(first)
        if not found:
            raise ValueError(
                f"{first[:60]!r} does not start with a reply code; one looks like '552 5.2.2 Mailbox full'"
            )
        lines = [first[found.end() :]]
        for line in more:
            again = _WRITTEN(line)
            lines.append(line[again.end() :] if again and again[1] == found[1] else line)
        return cls(int(found[1]), _raw("\n".join(line.strip() for line in lines)))


@quick
@dataclass(frozen=True, slots=True)
class NoReply:
    """What happened instead of a reply. `reply` is what the server said without having been asked."""

    cause: Cause
    detail: str = ""
    reply: Reply | None = None

    @property
    def text(self) -> str:
        return self.detail

    def __str__(self) -> str:
        return f"no reply ({self.cause}{': ' if self.detail else ''}{self.detail})"


class ReplyReader:
    r"""Bytes in, replies out, without I/O.

    >>> reader = ReplyReader()
    >>> reader.feed(b"250-mx.example.com\r\n250 PIPELI")
    >>> reader.next() is None   # not complete yet
    True
    >>> reader.feed(b"NING\r\n")
    >>> reader.next()
    Reply(code=250, raw=b'mx.example.com\nPIPELINING')
    """

    __slots__ = ("_broken", "_buffer", "_code", "_known", "_lines", "_scanned", "_size")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._scanned = 0  # bytes of the buffer known to hold no line end
        self._code = b""  # of the reply under way
        self._lines: list[bytes] = []
        self._size = 0
        self._broken: NoReply | None = None
        self._known: dict[bytes, Reply] = {}  # lines that were read, with their ends and without: what replies they are

    def feed(self, data: bytes) -> None:
        """Take what came from the network. Call `next` before the next read, so that the buffer stays bounded."""
        if self._broken is None:
            self._buffer += data

    @property
    def is_clean(self) -> bool:
        """Whether nothing lies here that no one has asked for."""
        return not self._buffer and not self._lines and self._broken is None

    def take(self, data: bytes, count: int) -> list[Reply] | None:
        """These bytes as so many replies of a line each; None, and nothing is taken, where they are anything else.

        What answers a command or a group nearly always comes as that.
        """
        if self._buffer or self._lines or self._broken is not None:
            return None
        if count == 1 and data.endswith(b"\n") and (reply := self._known.get(data)) is not None:
            return [reply]
        lines = data.split(b"\n")
        if lines.pop() or len(lines) != count:
            return None
        known = self._known
        replies = [known.get(line) or self._in_one_line(line) for line in lines]
        return replies if all(replies) else None  # type: ignore[return-value]  # no None is among them

    def next(self) -> Reply | NoReply | None:
        """The next whole reply; None while it is not complete; a NoReply, for ever, once the stream is no SMTP."""
        while self._broken is None:
            end = self._buffer.find(b"\n", self._scanned)
            if end < 0:
                self._scanned = len(self._buffer)
                if self._scanned > MAX_LINE_BYTES + len(b"\r"):
                    return self._break(f"a line over {MAX_LINE_BYTES} bytes")
                return None
            line = bytes(self._buffer[:end])
            del self._buffer[: end + 1]
            self._scanned = 0
            reply: Reply | NoReply | None = None if self._lines else self._in_one_line(line)
            if reply is None:
                reply = self._take(line[:-1] if line.endswith(b"\r") else line)
            if reply is not None:
                return reply
        return self._broken

    def _in_one_line(self, line: bytes) -> Reply | None:
        """A reply of one line, as nearly all are: what `_take` makes of it, in a third of the time."""
        if (known := self._known.get(line)) is not None:
            return known
        code = _CODES.get(line[:3])
        if code is None or line[3:4] != b" " or len(line) > MAX_LINE_BYTES:
            return None
        reply = Reply(code, line[4:].strip(b" \t\r"))
        if code < 400 and len(line) <= _KNOWN_BYTES:  # two refusals are two, though they read the same
            if len(self._known) >= _KNOWN_LINES:
                self._known.clear()
            self._known[line] = self._known[line + b"\n"] = reply
        return reply

    def _take(self, line: bytes) -> Reply | NoReply | None:
        """One line without its end; the reply, when this line completes it."""
        if len(line) > MAX_LINE_BYTES:
            return self._break(f"a line over {MAX_LINE_BYTES} bytes")
        found = _LINE(line)
        if not found:
            return self._break(f"not a reply: {_excerpt(line)}")
        code, separator, text = found.groups(b"")
        if self._lines and code != self._code:
            return self._break(f"a {self._code.decode()} reply continued by {_excerpt(line)}")
        self._code = code
        self._size += len(line)
        self._lines.append(text.strip(b" \t\r"))
        if self._size > MAX_REPLY_BYTES:
            return self._break(f"a reply over {MAX_REPLY_BYTES} bytes")
        if separator == b"-":
            if len(self._lines) >= MAX_REPLY_LINES:
                return self._break(f"a reply over {MAX_REPLY_LINES} lines")
            return None
        reply = Reply(int(code), b"\n".join(self._lines))
        self._lines.clear()
        self._size = 0
        return reply

    def _break(self, why: str) -> NoReply:
        self._buffer.clear()
        self._broken = NoReply(Cause.PROTOCOL, why)
        return self._broken


def _raw(text: str) -> bytes:
    """The bytes that came, where the text still has them (surrogateescape); JSON may hold any other surrogate."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def _excerpt(line: bytes) -> str:
    return ascii(line[:60].decode("latin-1"))
