"""Phrases that match what servers write, in linear time on any text: no regular expressions in rules or policies.

A phrase is words in any case. `*` stands for any run of words, also none; `#` for one number. Words match whole:
`full` is not found in `fully`. Everything that is neither letter nor digit only separates; a character of a script
without spaces (Chinese, Japanese kana), or of one that joins endings to its words (Korean), is a word of its own.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate

__all__ = ["Phrase", "Words", "cut"]

_SINGLE = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3\uf900-\ufaff\uff66-\uff9f"  # each a word of its own
_WORD = re.compile(f"[{_SINGLE}]|[^\\W{_SINGLE}_]+")
_IS_SINGLE = re.compile(f"[{_SINGLE}]").match
_ELEMENT = re.compile(_WORD.pattern + "|[*#]")
_ASCII = bytes(byte if chr(byte).isalnum() else 32 for byte in range(128)).lower().ljust(256)  # the rest separates
_WILD = frozenset("*#")
_MAX_TEXT = 4096


class Words:
    """A text made ready for matching: folded, cut into words, at most 4,096 characters of it."""

    __slots__ = ("_is_ascii", "_spaced", "said")

    def __init__(self, text: str) -> None:
        self.said = cut(text := text[:_MAX_TEXT])
        self._is_ascii = text.isascii()
        self._spaced = ""

    @property
    def spaced(self) -> str:
        """The words with a gap before and behind each."""
        if not self._spaced:
            self._spaced = f" {' '.join(self.said)} "
        return self._spaced

    @property
    def steps(self) -> Sequence[int]:
        """How far from the first word each one begins, and the last one ends: a word is three steps, a sign one."""
        if self._is_ascii:
            return range(0, 3 * len(self.said) + 1, 3)
        return (0, *accumulate(1 if len(word) == 1 and _IS_SINGLE(word) else 3 for word in self.said))


def cut(text: str) -> list[str]:
    """The words of a text, folded.

    >>> cut("Mailbox FULL: 邮箱满")
    ['mailbox', 'full', '邮', '箱', '满']
    """
    if text.isascii():
        return text.encode().translate(_ASCII).decode().split()
    return _WORD.findall(text.casefold())


class Phrase:
    """One phrase. `parts` are its words between `*` and `#`; one that has neither is literal.

    >>> full = Phrase("mailbox * full")
    >>> full.matches(Words("The mailbox of <jo@example.com> is FULL.")), full.matches(Words("mailbox fully working"))
    (True, False)
    >>> Phrase("try again in # seconds").matches(Words("451 Try again in 300 seconds"))
    True

    Raises:
        ValueError: for a phrase without any word.
    """

    __slots__ = ("_hash", "_runs", "is_literal", "parts", "text")

    def __init__(self, text: str) -> None:
        elements = _ELEMENT.findall(text.casefold())
        if all(element in _WILD for element in elements):
            raise ValueError(f"{text!r} has no word to look for")
        self.text = text
        parts = " ".join("*" if element in _WILD else element for element in elements).split("*")
        self.parts = tuple(tuple(part.split()) for part in parts if part.strip())
        self.is_literal = _WILD.isdisjoint(elements)
        self._runs = tuple(_run(part.split()) for part in " ".join(elements).split("*") if part.strip())
        self._hash = hash(text)

    def matches(self, words: Words) -> bool:
        """Whether the words stand in the text, the runs between `*` in this order."""
        spaced, at = words.spaced, 0
        for run in self._runs:
            if isinstance(run, str):
                begin = spaced.find(run, at)
                end = begin + len(run)
            else:
                begin, end = found.span() if (found := run.search(spaced, at)) else (-1, -1)
            if begin < 0:
                return False
            at = end - 1  # the gap behind the run is also the one before the next
        return True

    def __repr__(self) -> str:
        return f"Phrase({self.text!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Phrase) and other.text == self.text

    def __hash__(self) -> int:
        return self._hash


def _run(elements: list[str]) -> str | re.Pattern[str]:
    """Neighbouring words as they stand in `Words.spaced`; a pattern where one of them is `#`, as literal as that."""
    if "#" not in elements:
        return f" {' '.join(elements)} "
    # Words hold nothing but letters and digits, and a number ends at its gap: no pattern that could backtrack far.
    return re.compile(f" {' '.join(elements)} ".replace("#", r"\d+"))


@lru_cache(maxsize=4096)
def phrase(text: str) -> Phrase:
    """The phrase, made once."""
    return Phrase(text)
