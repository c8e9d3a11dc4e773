"""Which cases a condition takes, as boxes that can be cut out of each other: what do the rules before it leave to one?

A box has a side for each key of `when`. Where a key has so many values that they can be listed, its side is a set of
bits; where it has not (phrases, names with `*`, enhanced codes), it is what must hold and what must not, and one thing
is known to follow from another only where that can be seen. So an answer "nothing is left" is proven, and "something
is left" may be wrong: nobody is told that a rule is never reached that is.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from bouncekit.meaning.classification import Category, Scope
from bouncekit.policy.rule import Condition, Range, Seen
from bouncekit.words.phrase import Phrase
from bouncekit.words.reply import Cause, Stage

__all__ = ["Box", "Space"]

_CODES = range(200, 600)
_MOST = 1_000  # boxes; a policy that needs more is asked nothing

_Groups = tuple[frozenset[Any], ...]


@dataclass(frozen=True, slots=True)
class _Said:
    """A side without a list: one of each group must hold, and none of `not_`."""

    groups: _Groups = ()
    not_: frozenset[Any] = frozenset()

    def both(self, other: "_Said") -> "_Said":
        return _Said(self.groups + other.groups, self.not_ | other.not_)

    def is_empty(self, follows: Callable[[Any, Any], bool]) -> bool:
        return any(all(any(follows(one, no) for no in self.not_) for one in group) for group in self.groups)


@dataclass(frozen=True, slots=True)
class Box:
    """Some of all cases. `listed` has the bits of each side that can be listed, `said` the others."""

    listed: tuple[int, ...]
    said: tuple[_Said, ...]


@dataclass(frozen=True, slots=True)
class Space:
    """All cases that the conditions of one policy tell apart; `classes` are the policy's."""

    conditions: Sequence[Condition]
    classes: Sequence[str]
    _values: dict[str, Sequence[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._values.update(
            category=tuple(Category),
            permanent=(False, True),
            certain=(False, True),
            expired=(False, True),
            stage=tuple(Stage),
            scope=(*Scope, None),
            cause=(*Cause, None),
            code=(*_CODES, None),
            message_class=tuple(self.classes),
            attempts=_cuts((one.attempts for one in self.conditions), least=1),
            accepted=_cuts((one.accepted for one in self.conditions), least=0),
        )

    def everything(self) -> Box:
        return Box(tuple((1 << len(values)) - 1 for values in self._values.values()), tuple(_Said() for _ in _FOLLOWS))

    def box(self, when: Condition) -> Box:
        """The cases that a condition takes."""
        return Box(
            tuple(self._bits(key, getattr(when, key)) for key in self._values),
            tuple(_Said((frozenset(asked),) if (asked := _asked(key, when)) else ()) for key in _FOLLOWS),
        )

    def left(self, of: Iterable[Box], without: Iterable[Box]) -> Sequence[Box] | None:
        """What of some boxes lies in none of the others; None where that is too much to work out."""
        boxes = [box for box in of if not self.is_empty(box)]
        for other in without:
            boxes = [piece for box in boxes for piece in self._cut(box, other)]
            if len(boxes) > _MOST:
                return None
        return boxes

    def covers(self, one: Box, other: Box) -> bool:
        """Whether all of the other box lies in this one, as far as that can be seen."""
        return all(b & ~a == 0 for a, b in zip(one.listed, other.listed, strict=True)) and not any(
            self._cut(other, one)
        )

    def meet(self, one: Box, other: Box) -> bool:
        """Whether a case may lie in both."""
        return _touch(one, other) and not self.is_empty(_both(one, other))

    def values(self, key: str, box: Box) -> list[Any]:
        """The values of a key that can be listed, in a box."""
        at = list(self._values).index(key)
        return [value for place, value in enumerate(self._values[key]) if box.listed[at] >> place & 1]

    def is_empty(self, box: Box) -> bool:
        if not all(box.listed):
            return True
        names = list(self._values)
        code, cause = box.listed[names.index("code")], box.listed[names.index("cause")]
        if not code >> len(_CODES) & 1 and not cause >> len(Cause) & 1:
            return True  # a code comes with a reply, a cause without one
        return any(said.is_empty(follows) for said, follows in zip(box.said, _FOLLOWS.values(), strict=True))

    def _cut(self, box: Box, other: Box) -> Iterable[Box]:
        """The pieces of a box that are left when the other is cut out of it."""
        if not _touch(box, other) or self.is_empty(_both(box, other)):
            yield box
            return
        for at, bits in enumerate(other.listed):
            if outside := box.listed[at] & ~bits:
                piece = replace(box, listed=(*box.listed[:at], outside, *box.listed[at + 1 :]))
                if not self.is_empty(piece):
                    yield piece
                box = replace(box, listed=(*box.listed[:at], box.listed[at] & bits, *box.listed[at + 1 :]))
        for at, said in enumerate(other.said):
            for group in said.groups:
                side = box.said[at]
                piece = replace(box, said=(*box.said[:at], _Said(side.groups, side.not_ | group), *box.said[at + 1 :]))
                if not self.is_empty(piece):
                    yield piece
                box = replace(box, said=(*box.said[:at], side.both(_Said((group,))), *box.said[at + 1 :]))

    def _bits(self, key: str, asked: Any) -> int:
        values = self._values[key]
        if asked is None or asked in ((), frozenset()):
            return (1 << len(values)) - 1
        return sum(1 << place for place, value in enumerate(values) if _takes(key, asked, value))


def _touch(one: Box, other: Box) -> bool:
    """Whether the sides that can be listed leave room for both; most pairs of rules end here."""
    return all(a & b for a, b in zip(one.listed, other.listed, strict=True))


def _both(one: Box, other: Box) -> Box:
    return Box(
        tuple(a & b for a, b in zip(one.listed, other.listed, strict=True)),
        tuple(a.both(b) for a, b in zip(one.said, other.said, strict=True)),
    )


def _cuts(ranges: Iterable[Range | None], *, least: int) -> Sequence[int]:
    """The smallest number of each span that some condition tells apart."""
    found = {least}
    for one in ranges:
        if one is not None:
            found |= {one.at_least or 0, least if one.at_most is None else one.at_most + 1}
    cuts = sorted(found)
    return cuts[bisect_left(cuts, least) :]


def _takes(key: str, asked: Any, value: Any) -> bool:
    if key == "code":
        return value is not None and any(
            all(want in ("x", have) for want, have in zip(pattern, str(value), strict=True)) for pattern in asked
        )
    if key in ("permanent", "certain", "expired"):
        return bool(asked is value)
    return value in asked


def _asked(key: str, when: Condition) -> Sequence[Any]:
    """What a condition asks of a side without a list; once seen is always so."""
    if key == "seen":
        return (when.seen,) if when.seen is not None and when.seen.times > 1 else ()
    return tuple(getattr(when, key))


# -- what follows from what


def _same(one: object, other: object) -> bool:
    return one == other


def _enhanced(one: str, other: str) -> bool:
    """5.2.2 is one of x.2.2."""
    return all(want in ("x", have) for want, have in zip(other.split("."), one.split("."), strict=True))


def _glob(one: str, other: str) -> bool:
    """A name that ends in .mail.example.com ends in .example.com."""
    one, other = one.lower(), other.lower()
    if one == other or other == "*":
        return True
    if other.count("*") != 1 or "*" in one[1:]:
        return False
    head, tail = other.split("*")
    return one.startswith(head) and one.endswith(tail) and len(one) >= len(head) + len(tail)


def _phrase(one: Phrase, other: Phrase) -> bool:
    """Where "mailbox is full now" stands, "is full" stands too."""
    if not (one.is_literal and other.is_literal):
        return one == other
    said, asked = (" " + " ".join(phrase.parts[0]) + " " for phrase in (one, other))
    return asked in said


def _seen(one: Seen, other: Seen) -> bool:
    """What is seen so often within a week was seen so often within a month, and all the more if less of it counts."""
    halves = [seen.half_after or timedelta.max for seen in (one, other)]
    return one.by is other.by and one.times >= other.times and one.within <= other.within and halves[0] <= halves[1]


_FOLLOWS: dict[str, Callable[[Any, Any], bool]] = {
    "enhanced": _enhanced,
    "provider": _same,
    "remote_mta": _glob,
    "domain": _glob,
    "sender": _glob,
    "tenant": _same,
    "stream": _same,
    "text": _phrase,
    "seen": _seen,
}
