"""The trail of a SQL store: its audit, which has every change of the list, and the index of its primary key."""

from collections.abc import Collection, Sequence

from bouncekit.stores.codec import storable
from bouncekit.stores.sql.database import Database
from bouncekit.stores.sql.many import marks, split
from bouncekit.stores.trail import Entry, Trace

__all__ = ["SqlTrail"]

_BEHIND_ALL = 2**63 - 1
_BEFORE_ALL: Entry = ("", "", b"")

_TRACE = "sequence, tenant, key_hash, event_id"
_TRAIL = f"SELECT {_TRACE} FROM audit WHERE sequence >= ? ORDER BY sequence LIMIT ?"  # noqa: S608 - the columns above
_TRAIL_END = f"SELECT {_TRACE} FROM audit WHERE sequence <= ? ORDER BY sequence DESC LIMIT 1"  # noqa: S608 - likewise
_ENTRIES = """
    SELECT tenant, stream, key_hash FROM suppressions WHERE (tenant, stream, key_hash) > (?, ?, ?)
    ORDER BY tenant, stream, key_hash LIMIT ?"""
_ENTRY_COUNT = "SELECT count(*) FROM suppressions"
_LISTED = "SELECT key FROM suppressions WHERE tenant = ? AND key IN (%s)"


class SqlTrail:
    """See `bouncekit.stores.trail.Trail`."""

    _database: Database

    def trail(self, *, since: int, limit: int) -> Sequence[Trace]:
        """See `Trail.trail`."""
        return [Trace(*row) for row in self._database.read(_TRAIL, (since, limit))]

    def trail_end(self, until: int | None = None) -> Trace | None:
        """See `Trail.trail_end`."""
        rows = self._database.read(_TRAIL_END, (_BEHIND_ALL if until is None else until,))
        return Trace(*rows[0]) if rows else None

    def trail_settled(self) -> int:
        """See `Trail.trail_settled`."""
        return self._database.settled_until("audit")

    def entries(self, *, after: Entry | None = None, limit: int) -> Sequence[Entry]:
        """See `Trail.entries`."""
        return self._database.read(_ENTRIES, (*(after or _BEFORE_ALL), limit))

    def entry_count(self) -> int:
        """See `Trail.entry_count`."""
        return int(self._database.read(_ENTRY_COUNT)[0][0])

    def listed(self, tenant: str, keys: Collection[str]) -> frozenset[str]:
        """See `Trail.listed`."""
        stored = {storable(key): key for key in keys}
        found: set[str] = set()
        for some in split(stored):
            rows = self._database.read(_LISTED % marks(some), (storable(tenant), *some))
            found.update(stored[key] for (key,) in rows)
        return frozenset(found)
