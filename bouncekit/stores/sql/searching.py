"""Finding events in a SQL store: a walk along the outbox, or along its index by mailbox, and none is parsed in vain."""

from collections.abc import Iterator, Sequence
from typing import Any

from bouncekit.stores.codec import event_dict, key_hash, milliseconds, storable
from bouncekit.stores.searching import Search
from bouncekit.stores.sql.database import Database
from bouncekit.stores.sql.many import marks

__all__ = ["SqlSearching"]

_Clause = tuple[str, Sequence[object]]


class SqlSearching:
    """See `bouncekit.stores.searching.Searching`."""

    _database: Database

    def search(
        self,
        wanted: Search,
        *,
        after: int = 0,
        before: int | None = None,
        newest_first: bool = False,
        limit: int = 1000,
    ) -> Sequence[tuple[int, dict[str, Any]]]:
        """See `Searching.search`."""
        last = self._database.settled_until("outbox")
        until = last if before is None else min(before - 1, last)
        clauses = [("sequence > ?", (after,)), ("sequence <= ?", (until,)), *_clauses(wanted)]
        asked = [value for _, values in clauses for value in values]
        where = " AND ".join(text for text, _ in clauses)
        order = "DESC" if newest_first else "ASC"
        # Clauses and order are texts of ours, with marks for what is asked.
        statement = f"SELECT sequence, event FROM outbox WHERE {where} ORDER BY sequence {order} LIMIT ?"  # noqa: S608
        rows = self._database.read(statement, (*asked, max(limit, 0)))
        return [(number, event_dict(text)) for number, text in rows]


def _clauses(wanted: Search) -> Iterator[_Clause]:
    """What of a search is SQL, with its values.

    Of a time nothing is made that an index could be used for: a page along that one would sort all that is behind it.
    """
    if wanted.types:
        yield f"type IN ({marks(wanted.types)})", sorted(wanted.types)
    if wanted.keys:
        yield f"key_hash IN ({marks(wanted.keys)})", [key_hash(key) for key in sorted(wanted.keys)]
    if wanted.tenant is not None:
        yield "tenant = ?", (storable(wanted.tenant),)
    if wanted.since is not None:
        yield "at + 0 >= ?", (milliseconds(wanted.since),)
    if wanted.until is not None:
        yield "at + 0 < ?", (milliseconds(wanted.until),)
