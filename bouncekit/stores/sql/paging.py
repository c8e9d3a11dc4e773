"""The rows of a statement in their order, a page at a time."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from bouncekit.stores.sql.database import Query

__all__ = ["BEFORE_ALL", "BEHIND_ALL", "pages", "walk"]

BEFORE_ALL = (-(2**63), "")  # a time and an id
BEHIND_ALL = "\U0010ffff"  # sorts behind every text that is stored

_PAGE = 500  # rows read at once while a caller iterates


def pages(
    ask: Query,
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


def walk(
    ask: Query,
    statement: str,
    asked: Mapping[str, object],
    limit: int | None,
    *,
    begin: Mapping[str, object],
    behind: Callable[[Sequence[Any]], Mapping[str, object]],
) -> Iterator[Any]:
    """The rows of a statement, so many at the most; nothing is held open while the caller iterates.

    It is asked for a `page` of rows from where it is to `begin`, and then `behind` the last one that it gave.
    """
    left, place = limit, begin
    while left is None or left > 0:
        page = _PAGE if left is None else min(_PAGE, left)
        rows = ask(statement, {**asked, **place, "page": page})
        yield from rows
        if len(rows) < page:
            return
        left = None if left is None else left - page
        place = behind(rows[-1])
