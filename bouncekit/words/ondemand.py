"""Sequences of values that are made when somebody looks: of most outcomes only the number is ever asked."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar, overload

__all__ = ["OnDemand"]

_Item = TypeVar("_Item", covariant=True)


class OnDemand(Sequence[_Item]):
    """A tuple whose items do not exist yet. A subclass says how many there are, and makes them.

    It is equal to what holds the same items, and is pickled as the tuple.

    >>> class Squares(OnDemand[int]):
    ...     def __len__(self):
    ...         return 3
    ...     def make(self):
    ...         return tuple(number * number for number in range(3))
    >>> len(Squares()), list(Squares()), Squares()[1:], Squares() == (0, 1, 4)
    (3, [0, 1, 4], (1, 4), True)
    """

    __slots__ = ("_made",)

    _made: tuple[_Item, ...]  # only once somebody has looked

    @abstractmethod
    def make(self) -> tuple[_Item, ...]:
        """The items, as many as `len` says."""

    @property
    def items(self) -> tuple[_Item, ...]:
        """The items, which are made now if nobody has looked before."""
        try:
            return self._made
        except AttributeError:
            made = self._made = self.make()
            return made

    @abstractmethod
    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[_Item]:
        return iter(self.items)

    @overload
    def __getitem__(self, place: int) -> _Item: ...

    @overload
    def __getitem__(self, place: slice) -> tuple[_Item, ...]: ...

    def __getitem__(self, place: int | slice) -> _Item | tuple[_Item, ...]:
        return self.items[place]

    def __add__(self, other: Sequence[_Item]) -> tuple[_Item, ...]:
        return (*self.items, *other)

    def __radd__(self, other: Sequence[_Item]) -> tuple[_Item, ...]:
        return (*other, *self.items)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, tuple | OnDemand) and self.items == tuple(other)

    def __hash__(self) -> int:
        return hash(self.items)

    def __repr__(self) -> str:
        return repr(self.items)

    def __reduce__(self) -> tuple[type[tuple[Any, ...]], tuple[tuple[_Item, ...]]]:
        return tuple, (self.items,)
