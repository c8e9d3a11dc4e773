"""The answers of a scripted server: replies (RFC 5321 4.2), and every way to break, delay or withhold one.

An answer is a str, which is a reply without its CRLF, or one of the values below. They nest:
`Delay(2, Kept(Cut("rst")))`. Nothing here does any I/O: `acts` unrolls an answer into bytes to send, seconds to
wait, and the few things that are neither.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, assert_never, get_args

__all__ = [
    "Act",
    "After",
    "Answer",
    "Closing",
    "Cut",
    "Delay",
    "Drip",
    "Dropped",
    "Extra",
    "Flood",
    "Forgetting",
    "Kept",
    "Raw",
    "Silence",
    "SlowRead",
    "Usual",
    "acts",
    "check",
    "counts",
    "keeps",
    "parts",
    "wire",
]

_FIRST_LINE = re.compile(r"([2-5]\d\d)(?:([ -])([^\r]*))?").fullmatch
_CODE_THAT_COUNTS = re.compile(rb"^([2-5]\d\d)(?: |\r?$)", re.MULTILINE).search
_LOOKS_RIGHT = (
    "a reply is three digits, a space and a text, such as '452 4.2.2 Over quota'; further lines follow after '\\n', "
    "without CR; bytes that are no reply go into Raw(b'...')"
)

How: TypeAlias = Literal["fin", "half", "rst"]


@dataclass(frozen=True, slots=True)
class Usual:
    """What the server would answer without a script. In a list it lets one turn pass.

    >>> list(acts(Usual(), b"250 2.1.5 Ok\\r\\n"))
    [b'250 2.1.5 Ok\\r\\n']
    """


@dataclass(frozen=True, slots=True)
class Raw:
    """These bytes, exactly, in one packet.

    >>> list(acts(Raw(b"550no\\n"), b""))
    [b'550no\\n']
    """

    data: bytes

    def __post_init__(self) -> None:
        if not isinstance(self.data, bytes):
            raise ValueError(f"Raw takes bytes, not {self.data!r}; a str on its own is already a reply")


Reply: TypeAlias = str | Usual | Raw


@dataclass(frozen=True, slots=True)
class Delay:
    """Nothing for so many seconds, then the answer. In the BODY the server stops reading for that long.

    >>> list(acts(Delay(2, "250 Ok"), b""))
    [2.0, b'250 Ok\\r\\n']
    """

    seconds: float
    then: "Answer" = field(default_factory=Usual)

    def __post_init__(self) -> None:
        _not_negative("seconds", self.seconds)
        check(self.then)


@dataclass(frozen=True, slots=True)
class Closing:
    """The answer, and then FIN.

    >>> list(acts(Closing("421 4.3.2 Bye"), b""))
    [b'421 4.3.2 Bye\\r\\n', Cut(how='fin', after=b'')]
    """

    answer: "Answer" = "421 4.3.2 Service shutting down"

    def __post_init__(self) -> None:
        check(self.answer)


@dataclass(frozen=True, slots=True)
class Cut:
    """The connection ends without an answer, perhaps `after` some bytes of one.

    "fin" closes, "rst" resets, "half" sends FIN but goes on reading until the client closes, and answers nothing.

    >>> list(acts(Cut("rst", after=b"25"), b""))
    [b'25', Cut(how='rst', after=b'')]
    """

    how: How = "fin"
    after: bytes = b""

    def __post_init__(self) -> None:
        if self.how not in get_args(How):
            raise ValueError(f"a Cut is {' or '.join(get_args(How))}, not {self.how!r}; bytes go into after=b'...'")


@dataclass(frozen=True, slots=True)
class Silence:
    """No answer until the client goes or the server stops.

    With `reading=False` nothing is read either, so that not even the client's going is noticed.

    >>> counts(Silence(), b"250 Ok\\r\\n") is None
    True
    """

    reading: bool = True


@dataclass(frozen=True, slots=True)
class Drip:
    """The reply in packets of `size` bytes, `every` so many seconds.

    >>> list(acts(Drip("250 Ok", size=5, every=0.1), b""))
    [b'250 O', 0.1, b'k\\r\\n', 0.1]
    """

    answer: Reply = field(default_factory=Usual)
    size: int = 1
    every: float = 0.01

    def __post_init__(self) -> None:
        check(self.answer)
        _positive("size", self.size)
        _not_negative("every", self.every)


@dataclass(frozen=True, slots=True)
class Flood:
    """`first`, then `chunk` again and again, `every` so many seconds: an endless line, or an endless reply.

    It ends in silence when `limit` bytes are out; None is no limit.

    >>> list(acts(Flood(b"xx", first=b"250 ", limit=8), b""))
    [b'250 ', b'xx', b'xx', Silence(reading=True)]
    """

    chunk: bytes
    first: bytes = b""
    every: float = 0.0
    limit: int | None = None

    def __post_init__(self) -> None:
        _positive("the length of chunk", len(self.chunk))
        _not_negative("every", self.every)


@dataclass(frozen=True, slots=True)
class Extra:
    """An unsolicited reply in one packet with the one that was asked for, `after`, by which the server goes on.

    >>> list(acts(Extra("550 No", after="354 Go"), b"")), counts(Extra("550 No", after="354 Go"), b"")
    ([b'354 Go\\r\\n550 No\\r\\n'], 354)
    """

    reply: Reply
    after: Reply = field(default_factory=Usual)

    def __post_init__(self) -> None:
        check(self.reply)
        check(self.after)


@dataclass(frozen=True, slots=True)
class Forgetting:
    """The answer, and what the client has sent behind that command is thrown away: fatal to one that pipelines.

    >>> list(acts(Forgetting("550 No"), b""))[0]
    b'550 No\\r\\n'
    """

    answer: "Answer" = field(default_factory=Usual)

    def __post_init__(self) -> None:
        check(self.answer)


@dataclass(frozen=True, slots=True)
class Kept:
    """END_OF_DATA: the server has taken the message, whatever it answers.

    >>> keeps(Kept(Cut()), b""), keeps(Cut(), b"")
    (True, False)
    """

    answer: "Answer"

    def __post_init__(self) -> None:
        check(self.answer)


@dataclass(frozen=True, slots=True)
class Dropped:
    """END_OF_DATA: the server has not taken the message, whatever it answers.

    >>> keeps(Dropped("250 2.0.0 Ok"), b""), keeps("250 2.0.0 Ok", b"")
    (False, True)
    """

    answer: "Answer" = field(default_factory=Usual)

    def __post_init__(self) -> None:
        check(self.answer)


@dataclass(frozen=True, slots=True)
class After:
    """BODY: the answer is played when so many bytes of the message have been read; without After, before the first.

    >>> list(acts(After(100_000, Cut("rst")), b""))[-1]
    Cut(how='rst', after=b'')
    """

    size_bytes: int
    answer: "Answer"

    def __post_init__(self) -> None:
        _positive("size_bytes", self.size_bytes)
        check(self.answer)


@dataclass(frozen=True, slots=True)
class SlowRead:
    """BODY: from here the message is read `size` bytes at a time, `every` so many seconds.

    >>> list(acts(After(1000, SlowRead(every=0.5)), b""))
    [SlowRead(size=1, every=0.5)]
    """

    size: int = 1
    every: float = 0.1

    def __post_init__(self) -> None:
        _positive("size", self.size)
        _not_negative("every", self.every)


Answer: TypeAlias = (
    str
    | Usual
    | Raw
    | Delay
    | Closing
    | Cut
    | Silence
    | Drip
    | Flood
    | Extra
    | Forgetting
    | Kept
    | Dropped
    | After
    | SlowRead
)
Act: TypeAlias = bytes | float | Cut | Silence | SlowRead | Forgetting


def wire(reply: str) -> bytes:
    """The reply with its CRLFs; codes and hyphens are added to further lines unless the first has one ("250-a").

    Raises ValueError when it is no reply.

    >>> wire("250 mx.test\\nSIZE")
    b'250-mx.test\\r\\n250 SIZE\\r\\n'
    """
    first, *more = reply.split("\n")
    found = _FIRST_LINE(first)
    if not found or any("\r" in line for line in more):
        raise ValueError(f"{reply!r} is no reply: {_LOOKS_RIGHT}")
    code, mark, text = found.groups()
    if mark == "-":
        lines = [first, *more]
        if not more or any(line[:4] != f"{code}-" for line in lines[:-1]) or lines[-1][:4] not in (code, f"{code} "):
            raise ValueError(f"{reply!r} is no reply: after '{code}-' every line begins so, and the last one '{code} '")
    else:
        texts = [text, *more]
        last = code if texts[-1] is None else f"{code} {texts[-1]}"
        lines = [*(f"{code}-{text or ''}" for text in texts[:-1]), last]
    return "".join(f"{line}\r\n" for line in lines).encode("utf-8", "surrogateescape")


def acts(answer: Answer, usual: bytes) -> Iterator[Act]:
    """The answer as bytes to send in one packet, seconds to wait, and what ends or changes the session."""
    match answer:
        case str() | Usual() | Raw():
            yield _reply_bytes(answer, usual)
        case Delay(seconds, then):
            yield float(seconds)
            yield from acts(then, usual)
        case Closing(said):
            yield from acts(said, usual)
            yield Cut("fin")
        case Cut(how, after):
            if after:
                yield after
            yield Cut(how)
        case Silence() | SlowRead():
            yield answer
        case Drip(said, size, every):
            whole = _reply_bytes(said, usual)
            for start in range(0, len(whole), size):
                yield whole[start : start + size]
                yield float(every)
        case Flood():
            yield from _flood(answer)
        case Extra(reply, after):
            yield _reply_bytes(after, usual) + _reply_bytes(reply, usual)
        case Forgetting(said):
            yield from acts(said, usual)
            yield answer
        case Kept(said) | Dropped(said) | After(_, said):
            yield from acts(said, usual)
        case _:
            assert_never(answer)


def counts(answer: Answer, usual: bytes) -> int | None:
    """The code by which the server itself goes on: that of the first whole reply; None when there is none."""
    match answer:
        case str() | Usual() | Raw():
            found = _CODE_THAT_COUNTS(_reply_bytes(answer, usual))
            return int(found[1]) if found else None
        case Delay(_, said) | Extra(_, said) | After(_, said):
            return counts(said, usual)
        case Closing(said) | Drip(said) | Forgetting(said) | Kept(said) | Dropped(said):
            return counts(said, usual)
        case Cut() | Silence() | SlowRead() | Flood():
            return None
        case _:
            assert_never(answer)


def keeps(answer: Answer, usual: bytes) -> bool:
    """Whether the server takes the message: as Kept or Dropped say, else when the code that counts is a 2xx."""
    for part in parts(answer):
        if isinstance(part, Kept | Dropped):
            return isinstance(part, Kept)
    return (counts(answer, usual) or 0) // 100 == 2


def check(answer: object) -> Answer:
    """The same answer; raises ValueError for what is none."""
    if not isinstance(answer, Answer):
        kinds = ", ".join(kind.__name__ for kind in get_args(Answer))
        raise ValueError(f"{answer!r} is no answer; one is a {kinds}")
    if isinstance(answer, str):
        wire(answer)
    return answer


def parts(answer: object) -> Iterator[object]:
    """The answer and what is nested in it."""
    yield answer
    for name in ("answer", "then", "after", "reply"):
        if hasattr(answer, name):
            yield from parts(getattr(answer, name))


def _reply_bytes(reply: Reply, usual: bytes) -> bytes:
    match reply:
        case str():
            return wire(reply)
        case Usual():
            return usual
        case Raw(data):
            return data
        case _:
            assert_never(reply)


def _flood(flood: Flood) -> Iterator[Act]:
    yield flood.first
    out = len(flood.first)
    while flood.limit is None or out < flood.limit:
        yield flood.chunk
        out += len(flood.chunk)
        if flood.every:
            yield float(flood.every)
    yield Silence()


def _positive(name: str, value: float) -> None:
    if value <= 0:
        raise ValueError(f"{name} must be above 0, not {value!r}")


def _not_negative(name: str, value: float) -> None:
    if value < 0:
        raise ValueError(f"{name} must be 0 or more, not {value!r}")
