"""The readers of the events of a SQLite store, and what it forgets."""

from datetime import datetime

from bouncekit.stores import queuestatements as statements
from bouncekit.stores.codec import milliseconds, storable
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

    def prune(self, *, before: datetime, limit: int = 10_000) -> int:
        """See `Cursors.prune`."""
        at, gone = milliseconds(before), 0
        for statement in statements.PRUNE:
            while (most := min(_AT_ONCE, limit - gone)) > 0:
                with self._database.writing() as connection:
                    number = connection.execute(statement, (at, most)).rowcount
                gone += number
                if number < most:
                    break
        return gone
