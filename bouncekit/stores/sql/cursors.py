"""The readers of the events of a SQL store, and what it forgets."""

from collections.abc import Sequence
from datetime import datetime

from bouncekit.stores.codec import from_milliseconds, milliseconds, storable
from bouncekit.stores.cursors import Cursor, Trouble, kept_longer
from bouncekit.stores.leases import times
from bouncekit.stores.sql import queuestatements as statements
from bouncekit.stores.sql.database import Database, repeated, retried

__all__ = ["SqlCursors"]

_AT_ONCE = 500  # rows forgotten in one transaction: others wait for a few milliseconds


class SqlCursors:
    """See `bouncekit.stores.cursors.Cursors`."""

    _database: Database

    def read_cursor(self, name: str) -> int:
        """See `Cursors.read_cursor`."""
        rows = self._database.read(statements.READ_CURSOR, (storable(name),))
        return int(rows[0][0]) if rows else 0

    @repeated
    def claim_cursor(self, name: str, *, owner: str, now: datetime, until: datetime) -> int | None:
        """See `Cursors.claim_cursor`."""
        asked = {"name": storable(name), "owner": owner, "until": milliseconds(until), **times(now)}
        with self._database.writing() as transaction:
            rows = transaction.execute(statements.CLAIM_CURSOR, asked).fetchall()
        return int(rows[0][0]) if rows else None

    @repeated
    def move_cursor(self, name: str, *, owner: str, sequence: int, now: datetime, until: datetime) -> bool:
        """See `Cursors.move_cursor`."""
        asked = {"name": storable(name), "owner": owner, "now": milliseconds(now), "until": milliseconds(until)}
        with self._database.writing() as transaction:
            return transaction.execute(statements.MOVE_CURSOR, {**asked, "sequence": sequence}).rowcount > 0

    def trouble_of(self, name: str) -> Trouble | None:
        """See `Cursors.trouble_of`."""
        rows = self._database.read(statements.TROUBLE, (storable(name),))
        return _trouble(*rows[0]) if rows else None

    @repeated
    def note_trouble(self, name: str, trouble: Trouble, *, owner: str) -> bool:
        """See `Cursors.note_trouble`."""
        asked = {
            "name": storable(name),
            "owner": owner,
            "failures": trouble.failures,
            "since": milliseconds(trouble.since),
            "error": storable(trouble.error),
            "next_try_at": None if trouble.next_try_at is None else milliseconds(trouble.next_try_at),
        }
        with self._database.writing() as transaction:
            return transaction.execute(statements.NOTE_TROUBLE, asked).rowcount > 0

    @repeated
    def place_cursor(self, name: str, sequence: int | None) -> bool:
        """See `Cursors.place_cursor`."""
        with self._database.writing() as transaction:
            return transaction.execute(statements.PLACE_CURSOR, (sequence, storable(name))).rowcount > 0

    @repeated
    def release_cursor(self, name: str, owner: str) -> None:
        """See `Cursors.release_cursor`."""
        with self._database.writing() as transaction:
            transaction.execute(statements.RELEASE_CURSOR, (storable(name), owner))

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
                trouble=_trouble(*trouble),
            )
            for name, sequence, moved_at, until, unread, since, *trouble in self._database.read(statements.CURSORS)
        ]

    @retried
    def drop_cursor(self, name: str, *, now: datetime) -> bool:
        """See `Cursors.drop_cursor`."""
        with self._database.writing() as transaction:
            return transaction.execute(statements.DROP_CURSOR, {"name": storable(name), **times(now)}).rowcount > 0

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
                number = self._forget(statement, at, most)
                gone += number
                if number < most:
                    break
        return gone

    @repeated
    def _forget(self, statement: str, at: int | None, most: int) -> int:
        with self._database.writing() as transaction:
            return transaction.execute(statement, (at, most)).rowcount


def _trouble(failures: int, since: int | None, error: str | None, next_try_at: int | None) -> Trouble | None:
    if since is None:
        return None
    return Trouble(failures=failures, since=from_milliseconds(since), error=error or "", next_try_at=_time(next_try_at))


def _time(at: int | None) -> datetime | None:
    return None if at is None else from_milliseconds(at)
