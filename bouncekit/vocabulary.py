"""Words that say the same in many languages, and what stands near each other: `{mailbox} {full}`.

Servers say one thing in countless ways: "mailbox full", "the account of jo is over its quota", "Postfach ist voll". A
set names the words for one thing; a phrase of sets matches when a word of each stands near the others, in any order.
"""

import re
from collections.abc import Mapping, Sequence

from bouncekit.phrase import Words, cut

__all__ = ["Near", "Vocabulary"]

_SETS = re.compile(r"\{([a-z-]+)\}(?: \{([a-z-]+)\})*").fullmatch
_NAME = re.compile(r"\{([a-z-]+)\}").findall
_REACH = 4  # words between the two
_MOST_PLACES = 8  # of one set in one text: so the work is bounded on any text


class Vocabulary:
    """Sets of words, each under its name.

    >>> words = Vocabulary({"mailbox": ["mailbox", "postfach"], "full": ["full", "over quota", "voll"]})
    >>> full = words.near("{mailbox} {full}")
    >>> full.matches(Words("Das Postfach von Jo ist voll")), full.matches(Words("over quota: mailbox of jo"))
    (True, True)
    """

    __slots__ = ("_starts", "firsts", "sets")

    def __init__(self, sets: Mapping[str, Sequence[str]]) -> None:
        self.sets = {name: tuple(tuple(cut(word)) for word in words) for name, words in sets.items()}
        self._starts: dict[str, list[tuple[tuple[str, ...], str]]] = {}
        for name, members in self.sets.items():
            for member in members:
                if member:
                    self._starts.setdefault(member[0], []).append((member, name))
        self.firsts = {
            name: frozenset(member[0] for member in members if member) for name, members in self.sets.items()
        }

    def near(self, text: str) -> "Near":
        """The phrase of sets in a text.

        Raises:
            ValueError: it has something else than sets, or one that is not known.
        """
        if not _SETS(text):
            raise ValueError(f"{text!r} mixes words and sets; sets look like {{mailbox}} {{full}}")
        names = tuple(_NAME(text))
        for name in names:
            if name not in self.sets:
                raise ValueError(f"no set {name!r} in [words]; one of {', '.join(self.sets) or 'none'}")
        return Near(text, names, self)

    def places(self, words: Words) -> Mapping[str, list[tuple[int, int]]]:
        """Where the words of each set begin and end in a text, the first few of each."""
        if words.places is None or words.places[0] is not self:
            words.places = (self, self._find(words.said))
        return words.places[1]

    def _find(self, said: list[str]) -> dict[str, list[tuple[int, int]]]:
        found: dict[str, list[tuple[int, int]]] = {}
        starts = self._starts
        for place, word in enumerate(said):
            if word not in starts:
                continue
            for member, name in starts[word]:
                if len(member) == 1 or tuple(said[place : place + len(member)]) == member:
                    at = found.setdefault(name, [])
                    if len(at) < _MOST_PLACES:
                        at.append((place, place + len(member)))
        return found


class Near:
    """A phrase of sets: one word of each, near the first one's, in any order."""

    __slots__ = ("_firsts", "_names", "_vocabulary", "text", "words")

    def __init__(self, text: str, names: tuple[str, ...], vocabulary: Vocabulary) -> None:
        self.text = text
        self._names = names
        self._vocabulary = vocabulary
        self._firsts = tuple(vocabulary.firsts[name] for name in names)
        rarest = min((vocabulary.sets[name] for name in names), key=len)
        self.words = tuple(dict.fromkeys(member[0] for member in rarest if member))

    def matches(self, words: Words) -> bool:
        """Whether a word of each set stands in the text, near each other."""
        if any(firsts.isdisjoint(words.known) for firsts in self._firsts):
            return False
        found = self._vocabulary.places(words)
        first, *others = (found.get(name, ()) for name in self._names)
        return any(all(any(_is_near(one, at) for at in other) for other in others) for one in first)

    def __repr__(self) -> str:
        return f"Near({self.text!r})"


def _is_near(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return 0 <= max(other[0] - one[1], one[0] - other[1]) <= _REACH
