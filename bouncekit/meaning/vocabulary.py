"""Words that say the same in many languages, and what stands near each other: `{mailbox} {full}`.

Servers say one thing in countless ways: "mailbox full", "the account of jo is over its quota", "Postfach ist voll". A
set names the words for one thing; a phrase of sets matches when a word of each stands near the others, in any order.
`bouncekit.meaning.phrasebook` finds both.
"""

import re
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from bouncekit.words.phrase import cut

__all__ = ["Near", "Place", "Vocabulary", "WordSet"]

Place: TypeAlias = tuple[int, int]  # where its first word begins and its last one ends, in steps (`Words.steps`)

_SETS = re.compile(r"\{([a-z-]+)\}(?: \{([a-z-]+)\})*").fullmatch
_NAME = re.compile(r"\{([a-z-]+)\}").findall
_REACH = 12  # steps between the two: four words, or a dozen signs


class WordSet:
    """The words for one thing, each cut into words of one piece. Two sets with the same words are still two."""

    __slots__ = ("members",)

    def __init__(self, words: Sequence[str]) -> None:
        self.members = tuple(dict.fromkeys(member for word in words if (member := tuple(cut(word)))))


class Vocabulary:
    """Sets of words, each under its name.

    >>> words = Vocabulary({"mailbox": ["mailbox", "postfach"], "full": ["full", "over quota", "voll"]})
    >>> words.near("{mailbox} {full}")
    Near('{mailbox} {full}')
    """

    __slots__ = ("_sets",)

    def __init__(self, sets: Mapping[str, Sequence[str]]) -> None:
        self._sets = {name: WordSet(words) for name, words in sets.items()}

    def near(self, text: str) -> "Near":
        """The phrase of sets in a text.

        Raises:
            ValueError: it has something else than sets, or one that is not known.
        """
        if not _SETS(text):
            raise ValueError(f"{text!r} mixes words and sets; sets look like {{mailbox}} {{full}}")
        names = _NAME(text)
        for name in names:
            if name not in self._sets:
                raise ValueError(f"no set {name!r} in [words]; one of {', '.join(self._sets) or 'none'}")
        return Near(text, tuple(self._sets[name] for name in names))


class Near:
    """A phrase of sets: one word of each, near the first one's, in any order."""

    __slots__ = ("_hash", "sets", "text")

    def __init__(self, text: str, sets: tuple[WordSet, ...]) -> None:
        self.text = text
        self.sets = sets
        self._hash = hash(sets)

    def stands_at(self, places: Mapping[WordSet, Sequence[Place]]) -> bool:
        """Whether some places of its sets are near each other, of all the places of each."""
        first, *others = self.sets
        for place in places[first]:
            for other in others:
                if not _is_near(place, places[other]):
                    break
            else:
                return True
        return False

    def __repr__(self) -> str:
        return f"Near({self.text!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Near) and other.sets == self.sets

    def __hash__(self) -> int:
        return self._hash


def _is_near(one: Place, places: Sequence[Place]) -> bool:
    begin, end = one
    for other_begin, other_end in places:
        if 0 <= other_begin - end <= _REACH or 0 <= begin - other_end <= _REACH:
            return True
    return False
