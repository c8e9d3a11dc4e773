"""Phrases that match what servers write, in linear time on any text: no regular expressions in rules or policies.

A phrase is words in any case. `*` stands for any run of words, also none; `#` for one number. Words match whole:
`full` is not found in `fully`. Everything that is neither letter nor digit only separates; a character of a script
without spaces (Chinese, Japanese kana) is a word of its own.
"""

import re
from functools import lru_cache

__all__ = ["Phrase", "Words", "cut"]

_WORD = re.compile(
    "[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f]|[^\\W\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f_]+"
)
_ELEMENT = re.compile(_WORD.pattern + "|[*#]")
_MAX_TEXT = 4096


class Words:
    """A text made ready for matching: folded, cut into words, at most 4,096 characters of it.

    `places` is what a vocabulary found in it, kept for its next phrase.
    """

    __slots__ = ("known", "places", "said", "spaced")

    def __init__(self, text: str) -> None:
        self.said = cut(text[:_MAX_TEXT])
        self.known = frozenset(self.said)
        self.spaced = f" {' '.join(self.said)} "
        self.places: tuple[object, dict[str, list[tuple[int, int]]]] | None = None


def cut(text: str) -> list[str]:
    """The words of a text, folded.

    >>> cut("Mailbox FULL: 邮箱满")
    ['mailbox', 'full', '邮', '箱', '满']
    """
    return _WORD.findall(text.casefold())


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
            end = _end_of(run, words.spaced, at)
            if end < 0:
                return False
            at = end - 1  # the gap behind the run is also the one before the next
        return True

    def __repr__(self) -> str:
        return f"Phrase({self.text!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Phrase) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)


def _run(elements: list[str]) -> str | re.Pattern[str]:
    """Neighbouring words as they stand in `Words.spaced`; a pattern where one of them is `#`, as literal as that."""
    if "#" not in elements:
        return f" {' '.join(elements)} "
    # Words hold nothing but letters and digits, and a number ends at its gap: no pattern that could backtrack far.
    return re.compile(f" {' '.join(elements)} ".replace("#", r"\d+"))


def _end_of(run: str | re.Pattern[str], spaced: str, at: int) -> int:
    """Where a run's first place from `at` on ends, -1 if there is none."""
    if isinstance(run, str):
        found = spaced.find(run, at)
        return found + len(run) if found >= 0 else -1
    match = run.search(spaced, at)
    return match.end() if match else -1


@lru_cache(maxsize=4096)
def phrase(text: str) -> Phrase:
    """The phrase, made once."""
    return Phrase(text)
