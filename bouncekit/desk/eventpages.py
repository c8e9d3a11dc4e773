"""The events of a store as a sequence of numbers with gaps, read from any of them on, or back."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import TypeAlias

from bouncekit.delivery.events import Told
from bouncekit.history.sifting import Sieve
from bouncekit.stores import Store
from bouncekit.stores.searching import Search

__all__ = ["Numbered", "backwards", "first_behind", "first_since", "forwards", "found", "newest_number"]

_PAGE = 1000  # events read at once
LATE = timedelta(hours=1)  # how much later than it happened an event may have been remembered

Numbered: TypeAlias = tuple[int, Told]


def forwards(store: Store, after: int, last: int | None) -> Iterator[Numbered]:
    """The events behind a number, up to the last one."""
    while page := store.events(after=after, limit=_PAGE):
        for number, told in page:
            if last is not None and number > last:
                return
            yield number, told
        after = page[-1][0]


def backwards(store: Store, first: int, last: int) -> Iterator[Numbered]:
    """The events up to a number, newest first, back to what lies behind the first one."""
    while last > first:
        after = max(last - _PAGE, first)
        page = store.events(after=after, limit=last - after)
        yield from reversed([one for one in page if one[0] <= last])
        last = after


def newest_number(store: Store) -> int:
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


def first_behind(store: Store, at: datetime, newest: int) -> int:
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


def first_since(store: Store, at: datetime, newest: int) -> int:
    """A number up to which nothing happened from a time on, though some was remembered late."""
    return first_behind(store, _moved(at, -LATE), newest)


def found(store: Store, search: Search, sieve: Sieve, *, newest_first: bool = False) -> Iterator[Told]:
    """The events that a store has now, that it finds, and that the sieve lets through, read a page at a time."""
    newest = newest_number(store)
    after = 0 if search.since is None else first_since(store, search.since, newest)
    before = newest + 1
    if search.until is not None:
        before = min(first_behind(store, _moved(search.until, LATE), newest) + 1, before)
    while page := store.search(search, after=after, before=before, newest_first=newest_first, limit=_PAGE):
        yield from (told for _, told in page if told in sieve)
        after, before = (after, page[-1][0]) if newest_first else (page[-1][0], before)


def _moved(at: datetime, by: timedelta) -> datetime:
    """The time so much later; the same where there is none."""
    try:
        return at + by
    except OverflowError:
        return at
