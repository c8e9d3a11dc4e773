"""The table: at which point of a send what goes wrong, and what each recipient's outcome must be then.

A send goes to four recipients. BAD is refused at RCPT in every cell; at the point RCPT the fault is the answer to TWO.

    D delivered: the server has taken the message           T delayed: it has definitely not
    F failed: it has definitely not, and says never         A ambiguous: nobody can know

From RCPT on BAD is F in every cell, whatever happens behind it.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from bouncekit.testing import (
    After,
    Answer,
    Closing,
    Cut,
    Delay,
    Drip,
    Extra,
    Flood,
    Kept,
    Raw,
    Script,
    Silence,
    SlowRead,
    Usual,
)
from bouncekit.words.reply import Stage

__all__ = [
    "BAD",
    "DEADLINE_SECONDS",
    "HARMLESS",
    "ONE",
    "POINTS",
    "RECIPIENTS",
    "SECOND",
    "THREE",
    "TWO",
    "Cell",
    "Point",
    "cells",
    "reuse_cells",
]

BAD, ONE, TWO, THREE = RECIPIENTS = tuple(f"{name}@example.com" for name in ("bad", "one", "two", "three"))
SECOND = (
    "nobody@example.com",
    "somebody@example.com",
)  # of the next message on the same connection; the first is refused
NO_SUCH_USER = "550 5.1.1 No such user"
FAULTY_AFTER_BYTES = 100_000  # of the body; what is sent is far larger than all buffers between us
DEADLINE_SECONDS = 1.2  # where only the client's own deadline ends the silence
DRIP_SECONDS = 0.1
_FLOOD_BYTES = 32 * 1024 * 1024  # more than a client may ever read, and still no danger to the one that reads it


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A reply of the server, the one where the fault stands in for it."""

    name: str
    stage: str  # of the scripted server
    deadline: Stage  # that bounds the reply
    code: str = ""
    text: str = "Ok"  # what a harmless variant has to say all the same, for the send to go on
    tls: bool = False


POINTS = {
    point.name: point
    for point in (
        Point(name="connect", stage="CONNECT", deadline=Stage.CONNECT),
        Point(name="banner", stage="CONNECT", deadline=Stage.CONNECT, code="220"),
        Point(name="EHLO", stage="EHLO", deadline=Stage.EHLO, code="250"),
        Point(name="STARTTLS", stage="STARTTLS", deadline=Stage.STARTTLS, code="220", tls=True),
        Point(name="TLS", stage="TLS", deadline=Stage.STARTTLS, tls=True),
        Point(name="EHLO2", stage="EHLO", deadline=Stage.EHLO, code="250", text="AUTH PLAIN LOGIN", tls=True),
        Point(name="AUTH", stage="AUTH", deadline=Stage.AUTH, code="235", tls=True),
        Point(name="MAIL", stage="MAIL", deadline=Stage.MAIL, code="250"),
        Point(name="RCPT", stage="RCPT", deadline=Stage.RCPT, code="250"),
        Point(name="DATA", stage="DATA", deadline=Stage.DATA, code="354"),
        Point(name="body", stage="BODY", deadline=Stage.DATA),
        Point(name="dot", stage="END_OF_DATA", deadline=Stage.END_OF_DATA, code="250"),
        Point(name="dot, TLS", stage="END_OF_DATA", deadline=Stage.END_OF_DATA, code="250", tls=True),
        Point(name="QUIT", stage="QUIT", deadline=Stage.QUIT, code="221"),
    )
}
_SESSION = frozenset({"connect", "banner", "EHLO", "STARTTLS", "TLS", "EHLO2", "AUTH"})
_BEHIND_RCPT = frozenset({"RCPT", "DATA", "body", "dot", "dot, TLS", "QUIT"})


class Row(NamedTuple):
    """What a kind of answer means at each point; `others` are ONE and THREE where it is TWO's RCPT."""

    session: str
    mail: str
    two: str
    others: str
    data: str
    dot: str
    quit: str


# fmt: off
#                   session mail two others data dot quit
NO_REPLY    = Row("T", "T", "T", "T", "T", "A", "D")
PROTOCOL    = Row("T", "T", "T", "T", "T", "A", "D")  # what came is no reply, or cannot be one to this command
CLOSES_221  = Row("T", "T", "T", "T", "T", "A", "D")
CLOSES_421  = Row("T", "T", "T", "T", "T", "T", "D")
LATER       = Row("T", "T", "T", "D", "T", "T", "D")
NEVER       = Row("T", "F", "F", "D", "F", "F", "D")
NEVER_AGAIN = Row("T", "F", "F", "T", "F", "F", "D")  # and the line is cut behind it
EXTRA       = Row("T", "T", "T", "T", "T", "D", "D")  # a reply that nobody asked for comes with the one to this command
HARMLESS    = Row("D", "D", "D", "D", "D", "D", "D")
# fmt: on

Build = Callable[[str, str], Answer]  # from the usual code and a text


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """An answer in place of the usual reply. Of one that `waits`, only the client's own deadline is the end."""

    name: str
    row: Row
    answer: Build
    waits: bool = False
    refuses: bool = False  # a whole reply that says no: behind one to EHLO a client may try HELO


def _raw(line: str) -> Build:
    return lambda code, text: Raw(line.format(code=code, text=text).encode("latin-1"))


def _flood(first: str, chunk: str, every: float = 0.0) -> Build:
    return lambda code, text: Flood(
        chunk.format(code=code).encode(),
        first=first.format(code=code).encode(),
        every=every,
        limit=None if every else _FLOOD_BYTES,
    )


def _challenge(code: str, text: str) -> str:
    """What asks for more at AUTH, and where it does belong there, what does not."""
    return "354 Go" if code == "235" else "334 VXNlcm5hbWU6"


def _bare(code: str, text: str) -> str:
    """A code without a text, at least in the first line."""
    return code if text == "Ok" else f"{code}-\n{code} {text}"


def _said(reply: str) -> Build:
    return lambda code, text: reply


_NOISE = bytes(range(128, 192))

# fmt: off
_REPLY_FAULTS = (
    Fault(name="rst", row=NO_REPLY, answer=lambda code, text: Cut("rst")),
    Fault(name="fin", row=NO_REPLY, answer=lambda code, text: Cut("fin")),
    Fault(name="silence", row=NO_REPLY, waits=True, answer=lambda code, text: Silence()),
    Fault(name="partial_fin", row=NO_REPLY, answer=lambda code, text: Cut(after=code[:2].encode())),
    Fault(name="partial_multi_fin", row=NO_REPLY, answer=lambda code, text: Cut(after=f"{code}-a\r\n".encode())),
    Fault(name="garbage_noeol", row=NO_REPLY, waits=True, answer=lambda code, text: Flood(_NOISE, limit=1)),
    Fault(name="bare_cr", row=NO_REPLY, waits=True, answer=lambda code, text: Flood(f"{code} Ok\r".encode(), limit=1)),
    Fault(name="endless_line", row=NO_REPLY, answer=_flood("{code} ", "x" * 65536)),
    Fault(name="endless_multi", row=NO_REPLY, answer=_flood("", f"{{code}}-{'y' * 70}\r\n" * 800)),
    Fault(name="drip_endless", row=NO_REPLY, waits=True, answer=_flood("{code} ", "z", every=DRIP_SECONDS)),
    Fault(name="drip_multi", row=NO_REPLY, waits=True, answer=_flood("", "{code}-working\r\n", every=DRIP_SECONDS)),
    Fault(name="421_close", row=CLOSES_421, answer=lambda code, text: Closing("421 4.3.2 Closing")),
    Fault(name="421_open", row=CLOSES_421, refuses=True, answer=_said("421 4.3.2 Closing")),
    Fault(name="221_close", row=CLOSES_221, answer=lambda code, text: Closing("221 2.0.0 Bye")),
    Fault(name="r451", row=LATER, refuses=True, answer=_said("451 4.3.0 Try later")),
    Fault(name="r554", row=NEVER, refuses=True, answer=_said("554 5.7.1 Rejected")),
    Fault(name="r554_fin", row=NEVER_AGAIN, answer=lambda code, text: Closing("554 5.7.1 Rejected")),
    Fault(name="multi_enh_mixed", row=NEVER, refuses=True, answer=_raw("554-5.7.1 No\r\n554 2.0.0 Ok\r\n")),
    Fault(name="garbage_line", row=PROTOCOL, answer=lambda code, text: Raw(_NOISE + b"\r\n")),
    Fault(name="http", row=PROTOCOL, answer=lambda code, text: Closing(Raw(b"HTTP/1.1 400 Bad Request\r\n\r\n"))),
    Fault(name="line_1mb", row=PROTOCOL, answer=lambda code, text: Raw(f"{code} {'x' * 1_000_000}\r\n".encode())),
    Fault(name="code_334", row=PROTOCOL, refuses=True, answer=_challenge),
    Fault(name="code_354", row=PROTOCOL, refuses=True, answer=_said("354 Go")),
    Fault(name="code_250", row=PROTOCOL, answer=_said("250 2.0.0 Ok")),
    Fault(name="code_999", row=PROTOCOL, answer=_raw("999 What\r\n")),
    Fault(name="code_2digit", row=PROTOCOL, answer=_raw("55 No\r\n")),
    Fault(name="code_4digit", row=PROTOCOL, answer=_raw("5500 No\r\n")),
    Fault(name="code_glued", row=PROTOCOL, answer=_raw("550No\r\n")),
    Fault(name="code_odd_int", row=PROTOCOL, answer=_raw("+55 No\r\n")),  # int() says 55
    Fault(name="multi_ok_5xx", row=PROTOCOL, answer=_raw("{code}-Fine\r\n554 5.7.1 No\r\n")),
    Fault(name="multi_5xx_ok", row=PROTOCOL, answer=_raw("554-5.7.1 No\r\n{code} Fine\r\n")),
    Fault(name="blank_line", row=PROTOCOL, answer=_raw("\r\n{code} {text}\r\n")),
    Fault(name="extra_ok", row=EXTRA, answer=lambda code, text: Extra("250 2.0.0 Extra")),
    Fault(name="extra_5xx", row=EXTRA, answer=lambda code, text: Extra(NO_SUCH_USER)),
    Fault(name="line_9k", row=HARMLESS, answer=_raw(f"{{code}}-{'x' * 9000}\r\n{{code}} {{text}}\r\n")),
    Fault(name="drip_ok", row=HARMLESS, answer=lambda code, text: Drip(f"{code}-mx.test\n{code} {text}", every=0.005)),
    Fault(name="stutter", row=HARMLESS, answer=lambda code, text: Drip(f"{code}-a\n{code} {text}", size=3)),
    Fault(name="bad_utf8", row=HARMLESS, answer=_raw("{code}-caf\xe9 \xff\xfe \xc3\x28\r\n{code} {text}\r\n")),
    Fault(name="ansi", row=HARMLESS, answer=_raw("{code}-\x1b]0;pwn\x07\x1b[2J\0\x08\x7f\x9b\r\n{code} {text}\r\n")),
    Fault(name="code_only", row=HARMLESS, answer=_bare),
    Fault(name="bare_lf", row=HARMLESS, answer=_raw("{code}-mx.test\n{code} {text}\n")),
)
# Where a fault is the usual reply, or a good one.
_NO_FAULT = {
    "code_250": {"EHLO", "EHLO2", "MAIL", "RCPT", "dot"},
    "code_354": {"DATA"},
}

_BODY_FAULTS = (
    Fault(name="rst", row=NO_REPLY, answer=lambda code, text: Cut("rst")),
    Fault(name="fin", row=NO_REPLY, answer=lambda code, text: Cut("fin")),
    Fault(name="half_close", row=NO_REPLY, answer=lambda code, text: Cut("half")),  # reads on, answers nothing
    Fault(name="silence", row=NO_REPLY, waits=True, answer=lambda code, text: Silence(reading=False)),
    Fault(name="slow_read", row=NO_REPLY, waits=True, answer=lambda code, text: SlowRead(every=DRIP_SECONDS)),
    Fault(name="421_close", row=NO_REPLY, answer=lambda code, text: Closing("421 4.3.2 Out of memory")),
    Fault(name="552_close", row=NO_REPLY, answer=lambda code, text: Closing("552 5.3.4 Too big")),  # unasked
    Fault(name="552_drain", row=NO_REPLY, answer=lambda code, text: Flood(b"552 5.3.4 Too big\r\n", limit=1)),
    Fault(name="early_250", row=NO_REPLY, answer=_said("250 2.0.0 Early")),
    Fault(name="garbage_line", row=NO_REPLY, answer=_raw("\xfe\xff\x80 what\r\n")),
)
_TLS_FAULTS = (
    Fault(name="rst", row=NO_REPLY, answer=lambda code, text: Cut("rst")),
    Fault(name="fin", row=NO_REPLY, answer=lambda code, text: Cut("fin")),
    Fault(name="silence", row=NO_REPLY, waits=True, answer=lambda code, text: Silence()),
    Fault(name="garbage", row=NO_REPLY, waits=True, answer=lambda code, text: Flood(bytes(100), limit=1)),
    Fault(name="plain_421", row=NO_REPLY, waits=True, answer=lambda code, text: Flood(b"421 No TLS\r\n", limit=1)),
    Fault(name="drip", row=NO_REPLY, waits=True, answer=lambda code, text: Flood(b"\x16", every=DRIP_SECONDS)),
    Fault(name="untrusted", row=NO_REPLY, answer=lambda code, text: Usual()),
    Fault(name="inject", row=NO_REPLY, answer=_raw("220 2.0.0 Go\r\n250-evil\r\n250 AUTH PLAIN\r\n")),
)
_CONNECT_FAULTS = (
    Fault(name="refused", row=NO_REPLY, answer=lambda code, text: Usual()),
    Fault(name="blackhole", row=NO_REPLY, waits=True, answer=lambda code, text: Usual()),
    Fault(name="rst", row=NO_REPLY, answer=lambda code, text: Cut("rst")),
    Fault(name="fin", row=NO_REPLY, answer=lambda code, text: Cut("fin")),
)
# fmt: on
_STRIPPED = Fault(name="stripped", row=NO_REPLY, answer=lambda code, text: Usual())
_LATE = Fault(name="late", row=NO_REPLY, waits=True, answer=lambda code, text: Delay(2 * DEADLINE_SECONDS))
_REFUSES_THE_REST = "554 5.6.0 Content rejected"


@dataclass(frozen=True, slots=True)
class Cell:
    """One fault at one point."""

    point: Point
    fault: Fault

    def __str__(self) -> str:
        return f"{self.point.name}/{self.fault.name}"

    def script(self, *, once: bool, lmtp: bool) -> Script:
        """What the server does; `once` in the first session only, else in each."""
        stage, name = self.point.stage, self.fault.name
        answer: Answer = self.fault.answer(self.point.code, self.point.text)
        rcpt: dict[str, object] = {BAD: NO_SUCH_USER, SECOND[0]: NO_SUCH_USER}
        script: dict[str, object] = {"RCPT": rcpt}
        if name == "inject":
            stage = "STARTTLS"
        turns: object = [answer] if once else answer
        if self.point.name == "EHLO2":
            # Two EHLOs a session; a client that comes back meets the fault as often as it could come.
            script[stage] = [Usual(), answer] * (1 if once else 8)
        elif stage == "RCPT":
            rcpt[TWO] = turns
        elif stage == "END_OF_DATA" and lmtp:
            script[stage] = {TWO: turns} if self.fault.row is not EXTRA else _shifted(answer)
        elif stage == "BODY":
            script[stage] = [After(FAULTY_AFTER_BYTES, answer)] if once else After(FAULTY_AFTER_BYTES, answer)
        elif not isinstance(answer, Usual):
            script[stage] = turns
        is_early = name == "early_250" or (name == "extra_ok" and self.point.name in ("MAIL", "RCPT", "DATA"))
        if is_early and not once:  # whoever takes it for the answer to the dot believes that the message was taken
            script["END_OF_DATA"] = {"*": _REFUSES_THE_REST} if lmtp else _REFUSES_THE_REST
        return script  # type: ignore[return-value]

    def expected(self, *, once: bool, lmtp: bool, redials: bool) -> Mapping[str, str]:
        """The outcomes that each recipient may have."""
        row, point, name = self.fault.row, self.point.name, self.fault.name
        if point.startswith("dot") and lmtp:
            return self._lmtp_dot()
        if point in _SESSION:
            rest = two = row.session
        else:
            rest, two = {
                "MAIL": (row.mail, row.mail),
                "RCPT": (row.others, row.two),
                "DATA": (row.data, row.data),
                "body": ("TA", "TA") if name == "half_close" else ("T", "T"),
                "QUIT": (row.quit, row.quit),
            }.get(point, (row.dot, row.dot))
        if point == "EHLO" and self.fault.refuses:
            rest = two = "TD"
        if redials and "T" in rest and not (name == "stripped" or name == "untrusted"):
            # Another session may bring it to those of whom nobody has spoken yet.
            if once:
                rest += "D"
                two += "D" if "T" in two and not (point == "RCPT" and row is LATER) else ""
            elif point == "RCPT" and row in (NEVER_AGAIN, CLOSES_221, CLOSES_421):
                rest += "D"  # without TWO, to whom the server says it
        bad = "F" if point in _BEHIND_RCPT else rest.replace("D", "F")
        return {BAD: bad, ONE: rest, TWO: two, THREE: rest}

    def _lmtp_dot(self) -> Mapping[str, str]:
        """A reply for each recipient, and that to TWO is the fault: ONE has its own, THREE's may never come."""
        row, name = self.fault.row, self.fault.name
        if row is EXTRA:  # nobody knows any more whose the replies are; the server has taken it for all
            return {BAD: "F", ONE: "DA", TWO: "DA", THREE: "DA"}
        goes_on = row in (LATER, NEVER, HARMLESS) or name == "421_open"
        return {BAD: "F", ONE: "D", TWO: row.dot, THREE: "D" if goes_on else "A"}


def _shifted(answer: Answer) -> Mapping[str, Answer]:
    """The replies to TWO and THREE in one packet, with one between them that belongs to nobody."""
    assert isinstance(answer, Extra)
    assert isinstance(answer.reply, str)
    return {TWO: Raw(f"250 2.0.0 Ok\r\n{answer.reply}\r\n250 2.0.0 Ok\r\n".encode()), THREE: Kept(Raw(b""))}


def cells() -> Iterator[Cell]:
    """Every cell, point by point."""
    by_name = {fault.name: fault for fault in _REPLY_FAULTS}
    for point in POINTS.values():
        match point.name:
            case "connect":
                yield from (Cell(point, fault) for fault in _CONNECT_FAULTS)
            case "TLS":
                yield from (Cell(point, fault) for fault in _TLS_FAULTS)
            case "body":
                yield from (Cell(point, fault) for fault in _BODY_FAULTS)
            case "dot, TLS":
                yield from (Cell(point, by_name[name]) for name in ("rst", "fin", "silence", "r554"))
            case _:
                yield from (
                    Cell(point, fault) for fault in _REPLY_FAULTS if point.name not in _NO_FAULT.get(fault.name, ())
                )
        if point.name == "STARTTLS":
            yield Cell(point, _STRIPPED)


def reuse_cells() -> Iterator[Cell]:
    """Those after which the next message on the same connection is in danger."""
    by_name = {fault.name: fault for fault in _REPLY_FAULTS}
    names = ("extra_ok", "extra_5xx", "421_open", "blank_line", "code_334", "line_9k", "garbage_line")
    for point in ("MAIL", "RCPT", "DATA", "dot"):
        yield Cell(POINTS[point], _LATE)
    for point in ("MAIL", "RCPT", "dot"):
        yield from (Cell(POINTS[point], by_name[name]) for name in names)
