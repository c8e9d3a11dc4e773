"""The parts of a mail (RFC 5322, RFC 2045, RFC 2046), read in linear time and within limits, whatever came.

Bounce mails are written by strangers. At most 4 MiB of one are read, 64 KiB of a header, 400 header fields, 100 parts,
8 levels; what goes beyond is not read, and nothing here raises. The standard library's parser is the safer one for
ordinary mail and takes minutes for a hostile one.
"""

import binascii
import html
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from email.header import decode_header
from functools import cached_property
from itertools import islice

__all__ = ["Headers", "Part", "read_headers", "read_part", "text_of_html"]

MAX_READ_BYTES = 4 * 1024 * 1024
MAX_HEADER_BYTES = 64 * 1024
MAX_HEADERS = 400
MAX_NAME = 76
MAX_PARAMETERS = 20
MAX_VALUE = 8 * 1024
MAX_PARTS = 100
MAX_DEPTH = 8
MAX_TEXT_BYTES = 256 * 1024

_FOLD = re.compile(rb"\n[ \t]+")
_FIELDS = re.compile(rf"^([^:\n ]{{0,{MAX_NAME - 1}}}[^:\s])[^\S\n]*:([^\n]*)", re.MULTILINE).findall
_PARAMETER = re.compile(
    r';\s*([a-z0-9*_-]{1,40})\s*=\s*(?:"((?:[^"\\]|\\.){0,300})"|([^\s;"]{1,300}))', re.IGNORECASE
).finditer
_TYPE = re.compile(r"\s*([a-z0-9.+_-]{1,60})/([a-z0-9.+_-]{1,80})").match
_TAG = re.compile(r"<[^<>]*>")
_BREAK = re.compile(r"<(?:br|/p|/div|/tr|/li|/h[1-6]|/td|p)\b[^<>]*>", re.IGNORECASE)
_SOFT_BREAK = re.compile(rb"=[ \t]*\n")
_NO_BASE64 = re.compile(rb"[^A-Za-z0-9+/]+")

# The charsets that bounce mails are written in; every other name reads as UTF-8, so that no codec can surprise us.
_CHARSETS = frozenset(
    """
    utf-8 us-ascii iso-8859-1 iso-8859-2 iso-8859-3 iso-8859-4 iso-8859-5 iso-8859-7 iso-8859-9 iso-8859-13 iso-8859-15
    windows-1250 windows-1251 windows-1252 windows-1253 windows-1254 windows-1257 koi8-r koi8-u iso-2022-jp shift_jis
    euc-jp cp932 gb2312 gbk gb18030 big5 euc-kr ks_c_5601-1987
    """.split()
)
_NO_PARAMETERS: Mapping[str, str] = {}


class Headers:
    """The fields of one header, by name in any case. Values are unfolded and, on asking, decoded (RFC 2047)."""

    __slots__ = ("_values",)

    def __init__(self, fields: Iterable[tuple[str, str]]) -> None:
        values: dict[str, list[str]] = {}
        for name, value in fields:
            values.setdefault(name.lower(), []).append(value)
        self._values: Mapping[str, list[str]] = values  # as they came: most of them nobody asks for

    def get(self, name: str) -> str:
        """The first value, "" where there is none."""
        values = self._values.get(name)
        return values[0][:MAX_VALUE].strip() if values else ""

    def all(self, name: str) -> tuple[str, ...]:
        return tuple(map(_value, self._values[name])) if name in self._values else ()

    def text(self, name: str) -> str:
        """The first value with its encoded words decoded."""
        return _decoded(self.get(name))

    def items(self, beginning: str = "") -> Iterator[tuple[str, str]]:
        """Every field whose name begins so, the name in lower case."""
        for name, values in self._values.items():
            if name.startswith(beginning):
                for value in values:
                    yield name, _value(value)

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def __len__(self) -> int:
        return len(self._values)


@dataclass(frozen=True)
class Part:
    """One part: its header, its type, its body as it came (LF line ends), and the parts inside."""

    headers: Headers
    content_type: str
    parameters: Mapping[str, str]
    body: bytes
    parts: tuple["Part", ...] = ()

    @cached_property
    def content(self) -> bytes:
        """The body without its transfer encoding, at most 256 KiB."""
        encoding = self.headers.get("content-transfer-encoding").strip().lower()
        body = self.body[:MAX_TEXT_BYTES]
        if encoding == "base64":
            return _from_base64(body)
        return _from_quoted_printable(body) if encoding == "quoted-printable" else body

    @cached_property
    def text(self) -> str:
        """The body as text, that of HTML without its tags."""
        charset = self.parameters.get("charset", "").lower()
        name = charset if charset in _CHARSETS else "utf-8"
        text = self.content.decode(name, "replace").replace("\r\n", "\n")
        return text_of_html(text) if self.content_type == "text/html" else text

    def walk(self) -> Iterator["Part"]:
        """This part and all inside, in order."""
        yield self
        for part in self.parts:
            yield from part.walk()


def read_part(content: bytes) -> Part:
    r"""The mail as parts.

    >>> mail = read_part(b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nhi\r\n--b--\r\n")
    >>> [part.content_type for part in mail.walk()], mail.parts[0].text
    (['multipart/mixed', 'text/plain'], 'hi')
    """
    return _part(_in_lines(content), 0, [MAX_PARTS])


def read_headers(content: bytes) -> Headers:
    """The header of a mail alone."""
    return _split(_in_lines(content))[0]


def text_of_html(text: str) -> str:
    """HTML as lines of text: for reading, not for showing."""
    for name in ("head", "style", "script"):
        text = _without_element(text, name)
    return html.unescape(_TAG.sub(" ", _BREAK.sub("\n", text)))


def _in_lines(content: bytes) -> bytes:
    """What is read of a mail, with LF line ends, without the line that mbox puts before it."""
    data = content[:MAX_READ_BYTES]
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return data.partition(b"\n")[2] if data.startswith(b"From ") else data


def _part(data: bytes, depth: int, left: list[int], default: str = "text/plain") -> Part:
    left[0] -= 1
    headers, body = _split(data)
    content_type, parameters = _content_type(headers.get("content-type"), default)
    parts: tuple[Part, ...] = ()
    if depth < MAX_DEPTH and content_type.startswith("multipart/") and (boundary := parameters.get("boundary")):
        inner = "message/rfc822" if content_type == "multipart/digest" else "text/plain"
        parts = tuple(
            _part(piece, depth + 1, left, inner) for piece in _pieces(body, boundary.encode("utf-8", "replace"), left)
        )
    return Part(headers, content_type, parameters, body, parts)


def _split(data: bytes) -> tuple[Headers, bytes]:
    """Header and body. What has no empty line in reach is all header, the part beyond the limit unread."""
    if data.startswith(b"\n"):
        return _NO_HEADERS, data[1:]
    end = data.find(b"\n\n", 0, MAX_HEADER_BYTES)
    block = data[: end if end >= 0 else MAX_HEADER_BYTES]
    if end < 0 and len(data) > MAX_HEADER_BYTES:
        end = data.find(b"\n\n", MAX_HEADER_BYTES)
    return Headers(_fields(block)), data[end + 2 :] if end >= 0 else b""


def _fields(block: bytes) -> list[tuple[str, str]]:
    """Names and values; a line that is no field is left out."""
    text = _FOLD.sub(b" ", block).decode("utf-8", "replace")
    if text.count("\n") >= MAX_HEADERS:
        text = "\n".join(text.split("\n", MAX_HEADERS)[:MAX_HEADERS])
    return _FIELDS(text)


def _value(text: str) -> str:
    return text[:MAX_VALUE].strip()


def _pieces(body: bytes, boundary: bytes, left: list[int]) -> Iterator[bytes]:
    """What stands between the delimiter lines (RFC 2046 5.1.1); the last piece may lack its end."""
    delimiter = b"--" + boundary
    data, start = b"\n" + body, -1
    at = data.find(b"\n" + delimiter)
    while at >= 0 and left[0] > 0:
        line = data.find(b"\n", at + 1)
        line = line if line >= 0 else len(data)
        rest = data[at + 1 + len(delimiter) : line].rstrip()
        if rest not in (b"", b"--"):  # a longer boundary that begins like this one
            at = data.find(b"\n" + delimiter, line)
            continue
        if start >= 0:
            yield data[start:at]
        if rest:
            return
        start = line + 1
        at = data.find(b"\n" + delimiter, line)
    if start >= 0 and left[0] > 0:
        yield data[start:]


def _content_type(value: str, default: str) -> tuple[str, Mapping[str, str]]:
    if not value:
        return default, _NO_PARAMETERS
    found = _TYPE(value.lower())
    parameters = islice(_PARAMETER(value[:2000]), MAX_PARAMETERS) if ";" in value else ()
    return (
        f"{found[1]}/{found[2]}" if found else default,
        {one[1].lower(): one[2] or one[3] or "" for one in parameters},
    )


def _without_element(text: str, name: str) -> str:
    """The text without what stands between an element's tags."""
    folded = text.lower()
    if len(folded) != len(text):  # a character whose small form is longer: places would not agree
        return text
    kept, at = [], 0
    while (start := folded.find(f"<{name}", at)) >= 0 and (end := folded.find(f"</{name}", start)) >= 0:
        kept.append(text[at:start])
        at = end
    return "".join((*kept, text[at:])) if kept else text


def _from_base64(body: bytes) -> bytes:
    clean = _NO_BASE64.sub(b"", body)
    if len(clean) % 4 == 1:  # a last character alone holds no whole byte
        clean = clean[:-1]
    return binascii.a2b_base64(clean + b"=" * (-len(clean) % 4))


def _from_quoted_printable(body: bytes) -> bytes:
    return binascii.a2b_qp(_SOFT_BREAK.sub(b"", body))


def _decoded(value: str) -> str:
    """A value with its encoded words decoded; the value itself where that cannot be done."""
    if "=?" not in value:
        return value
    try:
        pieces = decode_header(value[:1000])
    except Exception:  # noqa: BLE001 - decode_header lets through what binascii and codecs raise
        return value
    return "".join(_word(raw, charset) for raw, charset in pieces)


def _word(raw: str | bytes, charset: str | None) -> str:
    if isinstance(raw, str):
        return raw
    return raw.decode(charset.lower() if charset and charset.lower() in _CHARSETS else "utf-8", "replace")


_NO_HEADERS = Headers(())
