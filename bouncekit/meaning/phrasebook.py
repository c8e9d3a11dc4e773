"""Which of many phrases a text has: all at once, in one walk along its words."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from bouncekit.meaning.vocabulary import Near, Place, WordSet
from bouncekit.words.phrase import Phrase, Words

__all__ = ["PhraseBook"]

_MOST_PLACES = 8  # of one set in one text: so the work is bounded on any text


class _Node:
    """What ends with a word, behind the words that led to it, and what may follow."""

    __slots__ = ("after", "bits", "heard", "maybe", "says", "sets")

    def __init__(self) -> None:
        self.after: dict[str, _Node] = {}
        self.says = False  # whether any of these
        self.bits = 0  # of phrases that are these words and nothing else
        self.maybe: tuple[Phrase, ...] = ()  # phrases that these words are a part of
        self.sets: tuple[WordSet, ...] = ()  # that these words are members of
        self.heard = 0  # the same, a bit each

    def say(self, *, bits: int = 0, maybe: tuple[Phrase, ...] = ()) -> None:
        self.says = True
        self.bits |= bits
        self.maybe += maybe

    def say_of(self, word_set: WordSet, bit: int) -> None:
        self.says = True
        self.sets += (word_set,)
        self.heard |= bit


class PhraseBook:
    """Phrases, each with the bits of a number that stand for it.

    The words of a text are walked along once, and from each of them as far as words of the book go on. A phrase with
    `*` or `#` in it is only looked for where the rarest of its parts stands: of the rarest word, or of many words.

    >>> book = PhraseBook({Phrase("mailbox full"): 1, Phrase("over quota"): 2, Phrase("mailbox * full"): 4})
    >>> book.found(Words("The mailbox of jo is full")), book.found(Words("mailbox full"))
    (4, 5)
    """

    __slots__ = ("_among", "_bits", "_nears", "_root")

    def __init__(self, phrases: Mapping[Phrase | Near, int]) -> None:
        self._bits = phrases
        self._root = _Node()
        self._put_phrases([one for one in phrases if isinstance(one, Phrase)])
        self._nears = self._put_sets([one for one in phrases if isinstance(one, Near)])
        self._among = lru_cache(maxsize=1024)(self._nears_among)

    def _put_phrases(self, phrases: Sequence[Phrase]) -> None:
        common = Counter(word for one in phrases for part in one.parts for word in part)
        for one in phrases:
            if one.is_literal:
                self._node(one.parts[0]).say(bits=self._bits[one])
            else:
                rarest = min(one.parts, key=lambda part: min(common[word] for word in part) / len(part) ** 2)
                self._node(rarest).say(maybe=(one,))

    def _put_sets(self, nears: Sequence[Near]) -> tuple[tuple[int, Near], ...]:
        """The phrases of several sets, each with the bits of its sets; one of a single set is any of its words."""
        for near in nears:
            for member in near.sets[0].members if len(near.sets) == 1 else ():
                self._node(member).say(bits=self._bits[near])
        several = [near for near in nears if len(near.sets) > 1]
        sets = dict.fromkeys(one for near in several for one in near.sets)
        heard = {one: 1 << place for place, one in enumerate(sets)}
        for word_set, bit in heard.items():
            for member in word_set.members:
                self._node(member).say_of(word_set, bit)
        return tuple((sum(heard[one] for one in set(near.sets)), near) for near in several)

    def _node(self, words: Iterable[str]) -> _Node:
        node = self._root
        for word in words:
            node = node.after.setdefault(word, _Node())
        return node

    def found(self, words: Words) -> int:
        """The bits of all phrases that a text has."""
        bits = heard = 0
        maybe: list[Phrase] = []
        spoken: list[tuple[int, int, tuple[WordSet, ...]]] = []
        first, said = self._root.after, words.said
        for begin, word in enumerate(said):
            node, end = first.get(word), begin + 1
            while node is not None:
                if node.says:
                    bits |= node.bits
                    if node.maybe:
                        maybe += node.maybe
                    if node.heard:
                        heard |= node.heard
                        spoken.append((begin, end, node.sets))
                if not node.after or end == len(said):
                    break
                node = node.after.get(said[end])
                end += 1
        for phrase in set(maybe):
            if phrase.matches(words):
                bits |= self._bits[phrase]
        if len(spoken) > 1 and (nears := self._among(heard)):
            places = _places(spoken, words.steps)
            for near, own in nears:
                if near.stands_at(places):
                    bits |= own
        return bits

    def _nears_among(self, heard: int) -> tuple[tuple[Near, int], ...]:
        """The phrases of sets that were all heard, each with its bits."""
        return tuple((near, self._bits[near]) for sets, near in self._nears if sets & heard == sets)


def _places(spoken: Iterable[tuple[int, int, tuple[WordSet, ...]]], steps: Sequence[int]) -> dict[WordSet, list[Place]]:
    """Where words of each set stand, by their first word and the one behind their last."""
    places: dict[WordSet, list[Place]] = {}
    for begin, end, sets in spoken:
        place = steps[begin], steps[end]
        for one in sets:
            if one not in places:
                places[one] = [place]
            elif len(places[one]) < _MOST_PLACES:
                places[one].append(place)
    return places
