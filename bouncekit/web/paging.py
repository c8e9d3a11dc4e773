"""A page of a long list: read from a place on, until enough is found or enough has been looked at."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar
from urllib.parse import urlencode

__all__ = ["LOOKED_AT", "Part", "part", "query"]

_T = TypeVar("_T")

SHOWN = 50
LOOKED_AT = 1_000  # of a list that is filtered here, so that a filter that fits nobody costs no more than a page


@dataclass(frozen=True, slots=True)
class Part(Generic[_T]):
    """What was found; `after` is the place where the next page goes on, None: there is none."""

    found: tuple[_T, ...]
    after: str | None


def part(
    things: Iterable[_T],
    place: Callable[[_T], str],
    is_meant: Callable[[_T], bool] = lambda thing: True,
    *,
    shown: int = SHOWN,
    looked_at: int = LOOKED_AT,
) -> Part[_T]:
    """The first things that are meant. Those of one place stay together: it is from places that one goes on.

    >>> part("a1 a2 b1 b2 c1".split(), lambda thing: thing[0], shown=1)
    Part(found=('a1', 'a2'), after='a')
    >>> part("a1 a2 b1 b2 c1".split(), lambda thing: thing[0], lambda thing: thing == "c1", looked_at=3)
    Part(found=(), after='b')
    """
    found: list[_T] = []
    last: str | None = None
    for number, one in enumerate(things):
        here = place(one)
        if last not in (None, here) and (len(found) >= shown or number >= looked_at):
            return Part(tuple(found), last)
        last = here
        if is_meant(one):
            found.append(one)
    return Part(tuple(found), None)


def query(**asked: object) -> str:
    """What stands behind the question mark, without what was not asked for."""
    return urlencode({name: value for name, value in asked.items() if value})
