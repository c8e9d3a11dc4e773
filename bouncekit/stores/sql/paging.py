"""The rows of a statement in their order, a page at a time."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

__all__ = ["BEFORE_ALL", "BEHIND_ALL", "pages"]

BEFORE_ALL = (-(2**63), "")  # a time and an id
BEHIND_ALL = "\U0010ffff"  # sorts behind every id


def pages(
    ask: Callable[[str, tuple[object, ...]], Sequence[Any]],
    statement: str,
    asked: tuple[object, ...],
    page: int,
    *,
    behind: tuple[int, str] = BEFORE_ALL,
) -> Iterator[Any]:
    """The rows of a statement whose last columns are a time and an id, behind which it is asked for the next page."""
    place: Sequence[object] = behind
    while rows := ask(statement, (*asked, *place, page)):
        yield from rows
        if len(rows) < page:
            return
        place = rows[-1][-2:]
