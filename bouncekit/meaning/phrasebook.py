"""Which of many phrases a text has: all at once, in one walk along its words."""

from collections import Counter
from collections.abc import Iterable
from functools import lru_cache

from bouncekit.meaning.vocabulary import Near, Place, WordSet
from bouncekit.words.phrase import Phrase, Words

__all__ = ["PhraseBook"]

_MOST_PLACES = 8  # of one set in one text: so the work is bounded on any text


class _Node:
    """What ends with a word, behind the words that led to it, and what may follow."""

    __slots__ = ("after", "maybe", "says", "sets", "whole")

    def __init__(self) -> None:
        self.after: dict[str, _Node] = {}
        self.says = False  # whether any of these
        self.whole: tuple[int, ...] = ()  # numbers of phrases that are these words and nothing else
        self.maybe: tuple[Phrase, ...] = ()  # phrases that these words are a part of
        self.sets: tuple[WordSet, ...] = ()

    def say(
        self, *, whole: tuple[int, ...] = (), maybe: tuple[Phrase, ...] = (), sets: tuple[WordSet, ...] = ()
    ) -> None:
        self.says = True
        self.whole += whole
        self.maybe += maybe
        self.sets += sets


class PhraseBook:
    """Phrases, each under a number.

    The words of a text are walked along once, and from each of them as far as words of the book go on. A phrase with
    `*` or `#` in it is only looked for where the rarest of its parts stands: of the rarest word, or of many words.

    >>> book = PhraseBook([Phrase("mailbox full"), Phrase("over quota"), Phrase("mailbox * full")])
    >>> sorted(book.found(Words("The mailbox of jo is full"))), sorted(book.found(Words("mailbox full")))
    ([2], [0, 2])
    """

    __slots__ = ("_among", "_nears", "_numbers", "_root")

    def __init__(self, phrases: Iterable[Phrase | Near]) -> None:
        self._numbers = {one: number for number, one in enumerate(dict.fromkeys(phrases))}
        nears = [(number, one) for one, number in self._numbers.items() if isinstance(one, Near)]
        self._nears = tuple((number, near) for number, near in nears if len(near.sets) > 1)
        self._root = _Node()
        for number, near in nears:
            if len(near.sets) == 1:
                for member in near.sets[0].members:
                    self._node(member).say(whole=(number,))
        for word_set in dict.fromkeys(one for _, near in self._nears for one in near.sets):
            for member in word_set.members:
                self._node(member).say(sets=(word_set,))
        plain = {one: number for one, number in self._numbers.items() if isinstance(one, Phrase)}
        common = Counter(word for one in plain for part in one.parts for word in part)
        for one, number in plain.items():
            if one.is_literal:
                self._node(one.parts[0]).say(whole=(number,))
            else:
                rarest = min(one.parts, key=lambda part: min(common[word] for word in part) / len(part) ** 2)
                self._node(rarest).say(maybe=(one,))
        self._among = lru_cache(maxsize=1024)(self._nears_among)

    def __len__(self) -> int:
        return len(self._numbers)

    def number(self, phrase: Phrase | Near) -> int:
        """The number of a phrase of the book."""
        return self._numbers[phrase]

    def found(self, words: Words) -> set[int]:
        """The numbers of all phrases that a text has."""
        numbers: set[int] = set()
        maybe: set[Phrase] = set()
        places: dict[WordSet, list[Place]] = {}
        first, said, steps = self._root.after, words.said, words.steps
        for begin, word in enumerate(said):
            if word not in first:
                continue
            node: _Node | None = first[word]
            end = begin + 1
            while node is not None:
                if node.says:
                    if node.whole:
                        numbers.update(node.whole)
                    if node.maybe:
                        maybe.update(node.maybe)
                    for word_set in node.sets:
                        if word_set not in places:
                            places[word_set] = [(steps[begin], steps[end])]
                        elif len(places[word_set]) < _MOST_PLACES:
                            places[word_set].append((steps[begin], steps[end]))
                if not node.after or end == len(said):
                    break
                node = node.after.get(said[end])
                end += 1
        for phrase in maybe:
            if phrase.matches(words):
                numbers.add(self._numbers[phrase])
        for number, near in self._among(frozenset(places)) if places else ():
            if near.stands_at(places):
                numbers.add(number)
        return numbers

    def _nears_among(self, sets: frozenset[WordSet]) -> tuple[tuple[int, Near], ...]:
        """The phrases of sets that are all among these."""
        return tuple(entry for entry in self._nears if sets.issuperset(entry[1].sets))

    def _node(self, words: Iterable[str]) -> _Node:
        node = self._root
        for word in words:
            node = node.after.setdefault(word, _Node())
        return node
