"""Phrases that match what servers write, in linear time on any text: no regular expressions in rules or policies.

A phrase is words in any case. `*` stands for any run of words, also none; `#` for one number. Words match whole:
`full` is not found in `fully`. Everything that is neither letter nor digit only separates; a character of a script
without spaces (Chinese, Japanese kana) is a word of its own.
"""

import re
from functools import lru_cache

__all__ = ["Phrase", "Words"]

_WORD = re.compile(
    "[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f]|[^\\W\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f_]+"
)
_ELEMENT = re.compile(_WORD.pattern + "|[*#]")
_MAX_TEXT = 4096


class Words:
    """A text made ready for matching: folded, cut into words, at most 4,096 characters of it."""

    __slots__ = ("masked", "spaced")

    def __init__(self, text: str) -> None:
        words = _WORD.findall(text[:_MAX_TEXT].casefold())
        self.spaced = f" {' '.join(words)} "
        self.masked = f" {' '.join('#' if word.isdecimal() else word for word in words)} "


class Phrase:
    """One phrase.

    >>> full = Phrase("mailbox * full")
    >>> full.matches(Words("The mailbox of <jo@example.com> is FULL.")), full.matches(Words("mailbox fully working"))
    (True, False)
    >>> Phrase("try again in # seconds").matches(Words("451 Try again in 300 seconds"))
    True

    Raises:
        ValueError: for a phrase without any word.
    """

    __slots__ = ("_runs", "text", "words")

    def __init__(self, text: str) -> None:
        elements = _ELEMENT.findall(text.casefold())
        self.text = text
        self.words = tuple(element for element in elements if element not in "*#")
        if not self.words:
            raise ValueError(f"{text!r} has no word to look for")
        self._runs = tuple(_run(part.split()) for part in " ".join(elements).split("*") if part.strip())

    def matches(self, words: Words) -> bool:
        """Whether the words stand in the text, the runs between `*` in this order."""
        at = 0
        for run in self._runs:
            haystack = words.masked if "#" in run else words.spaced
            if haystack is words.masked and at:
                at = _same_word(words, at)
            found = haystack.find(run, at)
            if found < 0:
                return False
            at = found + len(run) - 1
            if haystack is words.masked:
                at = _same_word(words, at, back=True)
        return True

    def __repr__(self) -> str:
        return f"Phrase({self.text!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Phrase) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)


def _run(elements: list[str]) -> str:
    """Neighbouring words as they stand in `Words.spaced`, or in `Words.masked` where one of them is `#`."""
    if "#" in elements:
        elements = ["#" if element.isdecimal() else element for element in elements]
    return f" {' '.join(elements)} "


def _same_word(words: Words, at: int, *, back: bool = False) -> int:
    """The place of the same word gap in the masked text; with `back`, from masked to plain."""
    source, target = (words.masked, words.spaced) if back else (words.spaced, words.masked)
    gaps = source.count(" ", 0, at)
    place = -1
    for _ in range(gaps + 1):
        place = target.find(" ", place + 1)
    return place


@lru_cache(maxsize=4096)
def phrase(text: str) -> Phrase:
    """The phrase, made once."""
    return Phrase(text)
