"""Sequences that are made when somebody looks: equal to the tuple that they stand for, and made once."""

import operator
import pickle

import pytest

from bouncekit.words.ondemand import OnDemand


class Squares(OnDemand[int]):
    __slots__ = ("made", "number")

    def __init__(self, number: int) -> None:
        self.number = number
        self.made = 0

    def __len__(self) -> int:
        return self.number

    def make(self) -> tuple[int, ...]:
        self.made += 1
        return tuple(one * one for one in range(self.number))


def test_its_length_makes_nothing() -> None:
    several = Squares(3)
    assert len(several) == 3
    assert several
    assert not Squares(0)
    assert several.made == 0


def test_its_items_are_made_once() -> None:
    several = Squares(4)
    assert (several[1], several[2:], list(several), 9 in several, several.index(4)) == (
        1,
        (4, 9),
        [0, 1, 4, 9],
        True,
        2,
    )
    assert several.made == 1


def test_it_is_equal_to_what_holds_the_same_items() -> None:
    assert Squares(3) == (0, 1, 4)
    assert Squares(3) == (0, 1, 4)
    assert Squares(3) == Squares(3)
    assert Squares(3) != Squares(2)
    assert Squares(3) != [0, 1, 4]
    assert hash(Squares(3)) == hash((0, 1, 4))
    assert repr(Squares(3)) == "(0, 1, 4)"


def test_it_adds_to_a_tuple() -> None:
    assert operator.add(Squares(3), (9,)) == (0, 1, 4, 9)
    assert operator.add((9,), Squares(3)) == (9, 0, 1, 4)


def test_it_is_pickled_as_the_tuple() -> None:
    again = pickle.loads(pickle.dumps(Squares(3)))
    assert (type(again), again) == (tuple, (0, 1, 4))


def test_nothing_of_it_is_changed() -> None:
    with pytest.raises(TypeError):
        Squares(3)[0] = 1  # type: ignore[index]
