"""Many values in one statement: as many as it takes at once, and the marks that stand for them."""

from collections.abc import Collection, Iterable, Iterator
from typing import TypeVar

__all__ = ["marks", "split"]

_MANY = 400  # values in one statement

T = TypeVar("T")


def marks(values: Collection[object]) -> str:
    """What stands for values in a list of SQL.

    >>> marks(["ann", "bob"])
    '?, ?'
    """
    return ", ".join("?" * len(values))


def split(values: Iterable[T]) -> Iterator[tuple[T, ...]]:
    """Values in their order, as many together as one statement takes."""
    every = tuple(values)
    for start in range(0, len(every), _MANY):
        yield every[start : start + _MANY]
