"""Whom a bounce mail's text names as failed, and what it says of them: for mail without a status report.

Dozens of MTAs write for people, each in its own words, but name a recipient in one of a few ways: alone on a line
with the reason below; before the reason on the same line; behind words like "could not be delivered to"; in a
transcript, or in a reply that is quoted. All of them are looked for, and the surest that is found holds.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise, zip_longest

from bouncekit.bounces.bouncewords import (
    BOILERPLATE,
    DELAYS,
    DELIVERED,
    FAILURES,
    HEADER_FIELDS,
    INTRODUCTIONS,
    NO_DELAY,
    NOT_FAILED,
    OWN_LINES,
    REASONS,
    RULED,
    RULES,
    SHAPES,
)
from bouncekit.bounces.dsn import mailbox

__all__ = ["Named", "Notice", "is_delay", "is_failure", "split_returned"]

MAX_LINES = 1500
MAX_LINE = 1000
MAX_NOTE_LINES = 14
MAX_NAMED = 1000
MAX_WORDS = 8000  # characters in which words of failure are looked for
_OPENING = 1200  # characters in which an MTA has told who it is

_LABEL = r"[A-Za-z0-9\u00a1-\u1fff][A-Za-z0-9\u00a1-\u1fff_-]{0,62}"
_ADDRESS = (
    r"(?:\"[^\"\n]{1,60}\"|[A-Za-z0-9!#$%&'*+/=?^_`{|}~.\u00a1-\u1fff-]{1,64})" rf"@{_LABEL}(?:\.{_LABEL}){{1,8}}"
)
# "1. Jo Doe <jo@example.com> (expanded from: <all@example.com>) on Thu, 1 Jan 2026 10:00:05 +0000:"
_ALONE = re.compile(
    r"(?:[*•·>+=-]{1,4}\s*|[0-9]{1,4}[.)]\s*)?(?:\"?[^\"<@:]{0,60}\"?\s*(?=<))?"
    rf"[<'\"(\[]?(?:mailto:)?({_ADDRESS})[>'\")\]]?(?:\s*[<(\[](?:mailto:)?{_ADDRESS}[>)\]])?"
    r"(?:\s*\([^()]{0,200}\))?(?:\s+on\s.{4,60}?)?\s*[:;,.]?",
    re.IGNORECASE,
).fullmatch
_LEADING = re.compile(rf"[<'\"]?({_ADDRESS})[>'\"]?\s*(?::|;|\.\.\.|,?\s-|\(|\[)\s*(\S.*)").fullmatch
_INTRODUCED = re.compile(
    rf"(?:^|[^\w])(?:{INTRODUCTIONS})\s*(?:is|was)?\s*[:=]?\s*[<'\"(\[]?({_ADDRESS})", re.IGNORECASE | re.VERBOSE
).search
_STARTING = re.compile(rf"<?({_ADDRESS})>?,?\s+(\S.*)").fullmatch
_RCPT = re.compile(rf"RCPT\s+TO:\s*<?({_ADDRESS})", re.IGNORECASE).search
_CODED = re.compile(rf"(?:<<<|>>>)?\s*[45][0-9][0-9][ -](?:[45]\.[0-9]{{1,3}}\.[0-9]{{1,3}} )?<?({_ADDRESS})>?").match
_TURNS = frozenset(words[:2] for words in HEADER_FIELDS + OWN_LINES + RULES)  # how a line begins that may end the text
_LISTED = 50  # lines above an address in which the heading of its list is looked for
_PROSE = 4  # more blanks than that, and a line says something


@dataclass(frozen=True, slots=True)
class Named:
    """One recipient that the text names as failed; `is_sure` where it stands as MTAs list them.

    `is_named` is False for one whom no text names: whom the returned message was for.
    """

    address: str
    is_sure: bool = True
    is_named: bool = True


@dataclass(slots=True)
class _Entry:
    """A place that names a recipient, with the lines about it; the lower the rank, the surer it is meant as failed."""

    address: str
    rank: int
    note: str = ""
    line: int = 0


class Notice:
    """A text for people, without the returned message.

    >>> notice = Notice("The following address(es) failed:\\n\\n  jo@example.com\\n    552 Mailbox full\\n")
    >>> notice.named(), notice.about("jo@example.com", alone=False)
    ((Named(address='jo@example.com', is_sure=True, is_named=True),), ['552 Mailbox full'])
    """

    def __init__(self, text: str) -> None:
        self.text = text

    @cached_property
    def shape(self) -> str | None:
        """Whose mail it is, by the words that it opens with; None where they are nobody's."""
        folded = _folded(self.text[:_OPENING])
        return next((name for name, words in SHAPES if words in folded), None)

    def named(self, *, but: Callable[[str], bool] = lambda address: False) -> tuple[Named, ...]:
        """Everyone whom it names as failed, once, in order, without those who are `but` somebody else."""
        entries = [entry for entry in self._entries if not but(entry.address)]
        best = min((entry.rank for entry in entries), default=0)
        named = {entry.address.lower(): Named(entry.address, best == 0) for entry in entries if entry.rank == best}
        return tuple(named.values())[:MAX_NAMED]

    def about(self, address: str, *, alone: bool) -> list[str]:
        """The lines about one recipient, each place's on its own; of the only one, all of the text comes last."""
        notes = self._notes.get(address.lower(), [])
        return [*notes, self.text] if alone else notes

    @cached_property
    def _notes(self) -> dict[str, list[str]]:
        notes: dict[str, list[str]] = {}
        for entry in self._entries:
            if entry.note:
                notes.setdefault(entry.address.lower(), []).append(entry.note)
        return notes

    @cached_property
    def _entries(self) -> list[_Entry]:
        lines = [line.strip()[:MAX_LINE] for line in self.text.split("\n", MAX_LINES)[:MAX_LINES]]
        entries = list(_places(lines))
        sure = [entry for entry in entries if entry.rank == 0]
        starts = [entry.line for entry in sure or entries] + [len(lines)]
        following = 0
        for entry in entries:
            while starts[following] <= entry.line:
                following += 1
            below = _note(lines[entry.line + 1 : starts[following]], begun=bool(entry.note))
            entry.note = "\n".join(filter(None, (entry.note, below)))
        _share_notes(sure)
        return entries


def split_returned(text: str) -> tuple[str, str]:
    """What is written to the reader, and the returned message behind it ("" where there is none)."""
    at = 0
    for line in text.split("\n", MAX_LINES)[:MAX_LINES]:
        start = line[:120].strip(" \t>").lower()
        if start[:2] not in _TURNS:
            at += len(line) + 1
            continue
        if start.startswith(HEADER_FIELDS):
            return text[:at], text[at:]
        at += len(line) + 1
        if start.startswith(OWN_LINES) or (start.startswith(RULES) and any(words in start for words in RULED)):
            return text[: at - len(line) - 1], text[at:].lstrip("\n")
    return text[:at], ""


def is_failure(text: str) -> bool:
    """Whether it speaks of mail that was not delivered."""
    folded = _folded(text)
    return any(words in folded for words in FAILURES)


def is_delay(text: str) -> bool:
    """Whether it says that the mail will be tried again."""
    folded = _folded(text)
    return any(words in folded for words in DELAYS) and not any(words in folded for words in NO_DELAY)


def _places(lines: list[str]) -> Iterator[_Entry]:
    """Every line that names a recipient, the surest way that it can be read."""
    for number, line in enumerate(lines):
        if "@" not in line:
            continue
        if found := _ALONE(line):
            if not _is_no_failure(lines, number):
                says = line.count(" ") > _PROSE and not _only_introduces(line, found.end(1))
                yield from _entry(number, found[1], 0, line if says else "")
        elif found := _LEADING(line):
            yield from _entry(number, found[1], 0, found[2])
        elif found := _INTRODUCED(line):
            yield from _entry(number, found[1], 1, "" if _only_introduces(line, found.end()) else line)
        elif found := _STARTING(line):
            yield from _entry(number, found[1], 1, line)
        elif found := _RCPT(line) or _CODED(line):
            yield from _entry(number, found[1], 2, line)


def _entry(line: int, text: str, rank: int, note: str) -> Iterator[_Entry]:
    if address := mailbox(text.strip("'")):
        yield _Entry(address, rank, note, line)


def _only_introduces(line: str, end: int) -> bool:
    """Whether the reason is not on this line, whose address ends there: "not delivered to <jo@example.com>"."""
    folded = line.lower()
    return not line[end:].strip(" .:>'\")]") and ("deliver" in folded or folded.startswith("generated "))


def _is_no_failure(lines: list[str], number: int) -> bool:
    """Whether the line before speaks of somebody else: "A message sent by", "for help, contact"."""
    above = [line.lower() for line in reversed(lines[max(number - _LISTED, 0) : number]) if line]
    heading = next((line for line in above if "@" not in line), "")
    return "".join(above[:1]).endswith(NOT_FAILED) or heading.rstrip(" :").endswith(DELIVERED)


def _note(lines: list[str], *, begun: bool) -> str:
    """The lines up to the first empty one behind something that was said (`begun`: it was, on the line before).

    "Your message to jo was not delivered." has said nothing where the next lines begin with "Reason:".
    """
    note: list[str] = []
    for line, following in zip_longest(lines, lines[1:], fillvalue=""):
        if line.lower().startswith(BOILERPLATE) or len(note) >= MAX_NOTE_LINES:
            break
        if line:
            note.append(line)
            begun = not line.endswith(":")
        elif begun and not following.lower().startswith(REASONS):
            break
    return "\n".join(note)


def _share_notes(entries: list[_Entry]) -> None:
    """Addresses on lines one below the other have the note of the last of them."""
    for below, entry in pairwise(reversed(entries)):
        if not entry.note and below.line == entry.line + 1:
            entry.note = below.note


def _folded(text: str) -> str:
    return " ".join(text[:MAX_WORDS].lower().split())
