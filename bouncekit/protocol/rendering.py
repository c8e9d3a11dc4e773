"""A message as bytes for the wire: canonical line ends, the few headers we read, dot-stuffing (RFC 5321 4.5.2).

Bytes go the same way as text. A bare CR or LF in a message is where one server sees the end of the data and another
does not (SMTP smuggling, CVE-2023-51764): it becomes CRLF, whatever API the message came through.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from bouncekit.protocol.classmark import NO_CLASS_MARKS, ClassMarks
from bouncekit.words.quick import quick

__all__ = ["Rendered", "canonical", "dot_stuffed", "ending_line", "read_headers", "with_message_id"]

_MAX_HEADER_BYTES = 64 * 1024  # of a header block that is searched; what lies behind is sent as it is
_OURS = b"x-bouncekit-"
_MAX_MESSAGE_ID = 998


@quick
@dataclass(frozen=True, slots=True)
class Rendered:
    """A message ready to be sent: `message_id` with its angle brackets, `marks` from X-Bouncekit-* headers.

    `content` no longer has those headers. Names of marks are in lower case: `class`, `tenant`, `stream`, `test`.
    `implied_class` is the class that its other headers speak for.
    """

    content: bytes
    message_id: str | None = None
    marks: Mapping[str, str] = field(default_factory=dict)
    implied_class: str | None = None


def canonical(message: str | bytes) -> bytes:
    r"""The message with CRLF at the end of every line.

    >>> canonical("a\nb\r\nc\rd"), canonical(b"a\n.\nb")
    (b'a\r\nb\r\nc\r\nd', b'a\r\n.\r\nb')

    Raises:
        UnicodeEncodeError: for text beyond ASCII, as smtplib does; give bytes, or an EmailMessage.
    """
    data = message.encode("ascii") if isinstance(message, str) else bytes(message)
    pairs = data.count(b"\r\n")
    if pairs == data.count(b"\n") == data.count(b"\r"):
        return data
    return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")


def dot_stuffed(content: bytes) -> bytes:
    r"""Canonical content as it travels behind DATA, without the final dot, and with CRLF at its end.

    >>> dot_stuffed(b".a\r\n.\r\nb")
    b'..a\r\n..\r\nb\r\n'
    """
    if b"\n." in content:
        content = content.replace(b"\n.", b"\n..")
    if content.startswith(b"."):
        content = b"." + content
    return content + ending_line(content)


def ending_line(content: bytes) -> bytes:
    """The CRLF that the content lacks at its end, or nothing."""
    return b"" if content.endswith(b"\r\n") else b"\r\n"


def read_headers(content: bytes, known: ClassMarks = NO_CLASS_MARKS) -> Rendered:
    r"""What the headers of canonical content say to us; `known` are those by which its class is known.

    >>> rendered = read_headers(b"X-Bouncekit-Class: bulk\r\nMessage-ID: <1@example.com>\r\n\r\nhello")
    >>> rendered.message_id, dict(rendered.marks), rendered.content
    ('<1@example.com>', {'class': 'bulk'}, b'Message-ID: <1@example.com>\r\n\r\nhello')
    """
    size = _header_bytes(content)
    head = content[:size]
    lower = head.lower()
    marks: dict[str, str] = {}
    named: dict[str, str] = {}
    if _OURS in lower:
        head, taken = _take(head, _OURS)
        marks = dict(map(_mark, taken))
    if known.naming is not None and (naming := known.naming.lower().encode()) in lower:
        head, taken = _take(head, naming + b":")
        named = {"class": _mark(naming + b":" + taken[-1])[1]} if taken else {}
    if marks or named:
        content = head + content[size:]
        lower = head.lower()
    implied = _implied_class(head, lower, known) if known.classes else None
    return Rendered(content, _message_id(head, lower), {**named, **marks}, implied)


def with_message_id(content: bytes, message_id: str) -> bytes:
    """The content with a Message-ID header in front of the others."""
    return b"Message-ID: " + message_id.encode("ascii") + b"\r\n" + content


def _header_bytes(content: bytes) -> int:
    """The length of the header block with its last CRLF; of a larger one, of its whole headers within the bound."""
    if content.startswith(b"\r\n"):
        return 0
    if (end := content.find(b"\r\n\r\n", 0, _MAX_HEADER_BYTES)) >= 0:
        return end + 2
    if len(content) <= _MAX_HEADER_BYTES:
        return len(content)
    end = _MAX_HEADER_BYTES
    while (end := content.rfind(b"\r\n", 0, end)) >= 0:
        if content[end + 2 : end + 3] not in (b" ", b"\t"):
            return end + 2
    return 0


def _message_id(head: bytes, lower: bytes) -> str | None:
    at = 0 if lower.startswith(b"message-id:") else lower.find(b"\r\nmessage-id:") + 2
    if at == 1:
        return None
    value = _unfolded(head, at + len(b"message-id:"))
    return value[:_MAX_MESSAGE_ID] or None


def _unfolded(head: bytes, start: int) -> str:
    """A header's value over its continuation lines."""
    end = head.find(b"\r\n", start)
    while 0 <= end < len(head) - 2 and head[end + 2 : end + 3] in (b" ", b"\t"):
        end = head.find(b"\r\n", end + 2)
    value = head[start:end] if end >= 0 else head[start:]
    return " ".join(value.decode("latin-1").split())


def _implied_class(head: bytes, lower: bytes, known: ClassMarks) -> str | None:
    """The first class that a header speaks for, by its name or by its value too."""
    for class_, mark in known.each():
        for start in _starts(lower, mark.name.lower().encode() + b":"):
            if mark.value is None or _unfolded(head, start).lower() == mark.value:
                return class_
    return None


def _starts(lower: bytes, name: bytes) -> Iterator[int]:
    """Where the value of each header of that name begins."""
    if lower.startswith(name):
        yield len(name)
    at = lower.find(b"\r\n" + name)
    while at >= 0:
        yield at + 2 + len(name)
        at = lower.find(b"\r\n" + name, at + 2)


def _take(head: bytes, beginning: bytes) -> tuple[bytes, list[bytes]]:
    """The header block without the headers that begin so, and what stands behind that in each."""
    kept: list[bytes] = []
    taken: list[bytes] = []
    taking = False
    for line in head.split(b"\r\n"):
        is_folded = line[:1] in (b" ", b"\t")
        if not is_folded:
            taking = line[: len(beginning)].lower() == beginning
        if not taking:
            kept.append(line)
        elif is_folded:
            taken[-1] += line
        else:
            taken.append(line[len(beginning) :])
    return b"\r\n".join(kept), taken


def _mark(header: bytes) -> tuple[str, str]:
    """Name and value of one of our headers, unfolded, its prefix gone."""
    name, _, value = header.decode("utf-8", "replace").partition(":")
    return name.strip().lower(), " ".join(_decoded(value).split())[:255]


def _decoded(value: str) -> str:
    """The value without the encoded words that the email package makes of a long or non-ASCII one (RFC 2047)."""
    if "=?" not in value:
        return value
    from email.errors import HeaderParseError
    from email.header import decode_header, make_header

    try:
        return str(make_header(decode_header(value)))
    except (HeaderParseError, LookupError, ValueError):
        return value
