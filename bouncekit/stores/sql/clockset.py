"""Sees for the queue of a SQL store that the clock was set back, and what waits by the old time: a few rows a claim.

Who claims sees it: it is earlier than before; or he claims for the first time, and does not know; or the newest message
was queued at a time that is yet to come, perhaps on another machine. Then, and half an hour after the last time, all
that waits for longer than a lease lasts is looked through, a page at each claim, and what `stores.clockset` says is
moved.
"""

from collections.abc import Iterator, Sequence
from itertools import islice

from bouncekit.stores.clockset import Times, is_ahead, moved, say_so
from bouncekit.stores.leases import LONGEST
from bouncekit.stores.sql import queuestatements as statements
from bouncekit.stores.sql.database import Database
from bouncekit.stores.sql.many import marks
from bouncekit.stores.sql.paging import BEHIND_ALL, pages

__all__ = ["ClockWatch"]

_EARLIER = 60_000  # milliseconds: threads read the clock one before the other
_PAGE = 50  # rows that are moved at a claim: more than two batches of a worker


class ClockWatch:
    """See above; one for a store."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._latest: int | None = None  # that it was seen to be
        self._looked_at = 0
        self._walked_for = ""  # the newest message, when it lay ahead
        self._walk: _Walk | None = None

    def look(self, at: int, newest: str | None, timed_at: int | None) -> bool:
        """Whether there may be something to move.

        Args:
            newest: the newest message, and when somebody said when it is due.
        """
        was_set_back = self._latest is None or at < self._latest - _EARLIER
        lies_ahead = timed_at is not None and is_ahead(timed_at, at) and newest != self._walked_for
        self._latest = at if self._latest is None or was_set_back else max(self._latest, at)
        if was_set_back or lies_ahead or at > self._looked_at + LONGEST:
            self._looked_at, self._walked_for = at, newest or ""
            self._walk = _Walk(self._database, at)
        return self._walk is not None

    def step(self, at: int, pages: int = 1) -> None:
        """Look at so many pages at the most, until there is one to move; where that fails, begin anew."""
        walk, self._walk = self._walk, None  # of several threads one has it
        if walk is None:
            return
        self._looked_at = at
        try:
            if messages := walk.step(pages):
                walk.has_told |= self._move(messages, at, is_told=walk.has_told)
        except BaseException:
            self._walk = _Walk(self._database, at)
            raise
        if not walk.is_over and self._walk is None:
            self._walk = walk

    def _move(self, messages: Sequence[str], at: int, *, is_told: bool) -> bool:
        """Move what waits of these messages, and say so; False where there was nothing."""
        beyond, spans, rows = at + LONGEST, dict[str, int](), list[dict[str, object]]()
        with self._database.writing(*messages) as transaction:
            for message, address, *said in transaction.execute(
                statements.TIMES % marks(messages), (*messages, beyond, beyond)
            ).fetchall():
                times = Times(*said)
                spans[message] = max(spans.get(message, 0), times.timed_at - at)
                rows.append({"message": message, "address": address, **moved(times, at)._asdict()})
            transaction.executemany(statements.MOVE, rows)
            transaction.executemany(statements.MOVE_MESSAGE, [(span, one, beyond) for one, span in spans.items()])
        if spans and not is_told:
            say_so(max(spans.values()))
        return bool(spans)


class _Walk:
    """The way through all that waits."""

    def __init__(self, database: Database, at: int) -> None:
        self.has_told = False
        self.is_over = False
        self._rows = _rows(database, at)

    def step(self, pages: int) -> list[str]:
        """The messages of the next page, of so many, that has any which wait by the old time."""
        for _ in range(pages):
            page = list(islice(self._rows, _PAGE))
            self.is_over = len(page) < _PAGE
            found = dict.fromkeys(message for message in page if message is not None)
            if found or self.is_over:
                return list(found)
        return []


def _rows(database: Database, at: int) -> Iterator[str | None]:
    """A message for each row that waits by the old time, None for each of the others, those that are sent first."""
    beyond = at + LONGEST
    behind = (beyond, BEHIND_ALL)
    yield from [message for (message,) in database.read(statements.OPEN_AHEAD, (beyond, beyond))]
    ((relay,),) = database.read(statements.FIRST_RELAY)
    while relay is not None:
        for retried in (0, 1):
            waiting = pages(database.read, statements.AHEAD, (relay, retried), _PAGE, behind=behind)
            for timed_at, _, message in waiting:
                yield message if is_ahead(timed_at, at) else None
        ((relay,),) = database.read(statements.NEXT_RELAY, (relay,))
