"""A script: which answer the server gives at which stage, and whose turn it is.

A script maps a stage to its turns. Turns are one answer, given every time, or a list: the first time, the second
time, and so on, then the usual reply. At MAIL, RCPT and, in LMTP, END_OF_DATA a mapping gives turns by address,
"*" for any other.
"""

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from bouncekit.testing.answers import After, Answer, Dropped, Kept, SlowRead, Usual, check, parts

__all__ = ["STAGES", "Cues", "Script"]

STAGES = (
    "CONNECT",  # the greeting
    "TLS",  # instead of the handshake, unless it ends in Usual: a Delay comes before it
    "EHLO",  # also LHLO
    "HELO",  # apart from EHLO, so that a client may fall back to it
    "STARTTLS",
    "AUTH",  # the verdict, when the credentials have been read
    "MAIL",  # by sender
    "RCPT",  # by recipient
    "DATA",
    "BODY",  # played while the client is still sending the message
    "END_OF_DATA",  # the final dot; in LMTP by recipient
    "RSET",
    "NOOP",
    "QUIT",
    "IDLE",  # played when `idle_timeout` has passed
)
_BY_ADDRESS = frozenset({"MAIL", "RCPT", "END_OF_DATA"})
_ONLY_IN: dict[type, str] = {After: "BODY", SlowRead: "BODY", Kept: "END_OF_DATA", Dropped: "END_OF_DATA"}

Turns: TypeAlias = Answer | Sequence[Answer]
Script: TypeAlias = Mapping[str, Turns | Mapping[str, Turns]]
_Key: TypeAlias = tuple[str, str]  # a stage and an address, "" where it is not by address


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """Turns, checked."""

    answers: tuple[Answer, ...]
    for_ever: bool  # one answer, every time

    def at(self, turn: int) -> Answer:
        if self.for_ever:
            return self.answers[0]
        return self.answers[turn] if turn < len(self.answers) else Usual()


class Cues:
    """A checked script, and the place that each of its lists has got to in all sessions together.

    Raises ValueError for an unknown stage, a malformed reply, or an answer at a stage where it means nothing.
    """

    def __init__(self, script: Script, *, lmtp: bool = False) -> None:
        self._entries: dict[_Key, _Entry] = {}
        self._turns: Counter[_Key] = Counter()
        self._given: Counter[_Key] = Counter()
        self._lock = threading.Lock()
        for stage, turns in script.items():
            try:
                self._add(stage, turns, lmtp=lmtp)
            except ValueError as error:
                raise ValueError(f"script, {stage!r}: {error}") from None

    def next(self, stage: str, address: str = "") -> Answer:
        """The answer whose turn it is; the usual one when nothing is scripted or the list is used up.

        A list given by address runs for each address on its own, also that of "*": so one list is greylisting.
        """
        address = address.lower()
        key = next((key for key in ((stage, address), (stage, "*"), (stage, "")) if key in self._entries), None)
        if key is None:
            return Usual()
        runs_for = (stage, address) if key[1] else key
        with self._lock:
            turn = self._turns[runs_for]
            self._turns[runs_for] += 1
            self._given[key] += 1
        return self._entries[key].at(turn)

    @property
    def unplayed(self) -> tuple[str, ...]:
        """The entries that still had an answer to give, such as "RCPT full@example.com"."""
        with self._lock:
            unheard = [key for key, entry in self._entries.items() if self._given[key] < len(entry.answers)]
        return tuple(" ".join(filter(None, key)) for key in unheard)

    def _add(self, stage: str, turns: object, *, lmtp: bool) -> None:
        if stage not in STAGES:
            raise ValueError(f"no such stage; there are {', '.join(STAGES)}")
        if not isinstance(turns, Mapping):
            self._entries[stage, ""] = _entry(stage, turns)
            return
        if stage not in _BY_ADDRESS or (stage == "END_OF_DATA" and not lmtp):
            raise ValueError("only MAIL, RCPT and, with lmtp=True, END_OF_DATA take answers by address")
        for address, of_address in turns.items():
            self._entries[stage, address.lower()] = _entry(stage, of_address)


def _entry(stage: str, turns: object) -> _Entry:
    several = isinstance(turns, list | tuple)
    answers = tuple(map(check, turns if isinstance(turns, list | tuple) else (turns,)))
    for kind in (type(part) for answer in answers for part in parts(answer)):
        if _ONLY_IN.get(kind, stage) != stage:
            raise ValueError(f"{kind.__name__} means nothing here, only at {_ONLY_IN[kind]}")
    return _Entry(answers=answers, for_ever=not several)
