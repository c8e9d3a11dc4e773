"""The events of a store as a sequence of numbers with gaps, read from any of them on, or back."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from bouncekit.stores import Store

__all__ = ["LATE", "Numbered", "Told", "backwards", "first_behind", "forwards", "newest_number"]

_PAGE = 1000  # events read at once
LATE = timedelta(hours=1)  # how much later than it happened an event may have been remembered

Told: TypeAlias = Mapping[str, Any]
Numbered: TypeAlias = tuple[int, Told]


def forwards(store: "Store", after: int, last: int | None) -> Iterator[Numbered]:
    """The events behind a number, up to the last one."""
    while page := store.events(after=after, limit=_PAGE):
        for number, told in page:
            if last is not None and number > last:
                return
            yield number, told
        after = page[-1][0]


def backwards(store: "Store", first: int, last: int) -> Iterator[Numbered]:
    """The events up to a number, newest first, back to what lies behind the first one."""
    while last > first:
        after = max(last - _PAGE, first)
        page = store.events(after=after, limit=last - after)
        yield from reversed([one for one in page if one[0] <= last])
        last = after


def newest_number(store: "Store") -> int:
    """The number of the newest event, 0 where there is none: found by halves, since the store may hold millions."""
    low, high = 0, 1
    while found := store.events(after=high, limit=1):
        low = found[0][0]
        high = 2 * low
    while low < high:
        middle = (low + high) // 2
        if found := store.events(after=middle, limit=1):
            low = found[0][0]
        else:
            high = middle
    return low


def first_behind(store: "Store", at: datetime, newest: int) -> int:
    """A number up to which all happened before a time, as far as times grow with the numbers."""
    low, high = 0, newest
    while low < high:
        middle = (low + high) // 2
        found = store.events(after=middle, limit=1)
        if found and datetime.fromisoformat(found[0][1]["time"]) < at:
            low = found[0][0]
        else:
            high = middle
    return low
