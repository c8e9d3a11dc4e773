"""The readers of the events of a SQLite store, and what it forgets."""

from collections.abc import Sequence
from datetime import datetime

from bouncekit.stores import queuestatements as statements
from bouncekit.stores.codec import from_milliseconds, milliseconds, storable
from bouncekit.stores.cursors import Cursor, kept_longer
from bouncekit.stores.sqlitefile import Database

__all__ = ["SqliteCursors"]

_AT_ONCE = 500  # rows forgotten in one transaction: others wait for a few milliseconds


class SqliteCursors:
    """See `bouncekit.stores.cursors.Cursors`."""

    _database: Database

    def read_cursor(self, name: str) -> int:
        """See `Cursors.read_cursor`."""
        rows = self._database.read(statements.READ_CURSOR, (storable(name),))
        return int(rows[0][0]) if rows else 0

    def claim_cursor(self, name: str, *, owner: str, now: datetime, until: datetime) -> int | None:
        """See `Cursors.claim_cursor`."""
        asked = {"name": storable(name), "owner": owner, "now": milliseconds(now), "until": milliseconds(until)}
        with self._database.writing() as connection:
            rows = connection.execute(statements.CLAIM_CURSOR, asked).fetchall()
        return int(rows[0][0]) if rows else None

    def move_cursor(self, name: str, *, owner: str, sequence: int, now: datetime, until: datetime) -> bool:
        """See `Cursors.move_cursor`."""
        asked = {"name": storable(name), "owner": owner, "now": milliseconds(now), "until": milliseconds(until)}
        with self._database.writing() as connection:
            return connection.execute(statements.MOVE_CURSOR, {**asked, "sequence": sequence}).rowcount > 0

    def release_cursor(self, name: str, owner: str) -> None:
        """See `Cursors.release_cursor`."""
        with self._database.writing() as connection:
            connection.execute(statements.RELEASE_CURSOR, (storable(name), owner))

    def cursors(self) -> Sequence[Cursor]:
        """See `Cursors.cursors`."""
        return [
            Cursor(
                name=name,
                sequence=sequence,
                moved_at=_time(moved_at),
                unread=unread,
                unread_since=_time(since),
                leased_until=_time(until),
            )
            for name, sequence, moved_at, until, unread, since in self._database.read(statements.CURSORS)
        ]

    def drop_cursor(self, name: str, *, now: datetime) -> bool:
        """See `Cursors.drop_cursor`."""
        with self._database.writing() as connection:
            return connection.execute(statements.DROP_CURSOR, (storable(name), milliseconds(now))).rowcount > 0

    def newest_at(self) -> datetime | None:
        """See `Cursors.newest_at`."""
        found = self._database.read(statements.NEWEST)
        return _time(max((at for (at,) in found if at is not None), default=None))

    def prune(self, *, before: datetime, now: datetime | None = None, limit: int = 10_000) -> int:
        """See `Cursors.prune`."""
        times = (before, before, before, *kept_longer(before, now), now)
        gone = 0
        for statement, time in zip(statements.PRUNE, times, strict=True):
            at = None if time is None else milliseconds(time)
            while (most := min(_AT_ONCE, limit - gone)) > 0:
                with self._database.writing() as connection:
                    number = connection.execute(statement, (at, most)).rowcount
                gone += number
                if number < most:
                    break
        return gone


def _time(at: int | None) -> datetime | None:
    return None if at is None else from_milliseconds(at)
