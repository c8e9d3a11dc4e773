"""Budgets in a SQL store: a small row for each stream that has used up some of its own, and numbers by the hour."""
# ruff: noqa: S608 - what is put into a text is ours: statements of ours

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime

from bouncekit.delivery.events import Event
from bouncekit.delivery.tallied import subject_of_stream
from bouncekit.policy.budget import Level, Spent, Stream
from bouncekit.stores.budgeting import KeptLevel, stream_of
from bouncekit.stores.codec import from_milliseconds, milliseconds, storable, told_rows
from bouncekit.stores.masses import OF_A_STREAM, SPENT_BY, Counted, CountedBy, dated_back, hour, resumed
from bouncekit.stores.sql import statements
from bouncekit.stores.sql.database import Database, Transaction, retried

__all__ = ["SqlBudgeting"]

_NAMES = ", ".join(f"'{by.value}'" for by in SPENT_BY)
_SPENT = f"""
    SELECT name, subject, CAST(sum(number) AS BIGINT) FROM counters
    WHERE name IN ({_NAMES}) AND began_at >= ? GROUP BY name, subject, began_at"""
_SPENT_BY_ONE = f"""
    SELECT name, subject, CAST(sum(number) AS BIGINT) FROM counters
    WHERE name IN ({_NAMES}) AND subject = ? AND began_at >= ? GROUP BY name, subject, began_at"""
_OF_A_STREAM = ", ".join(f"'{by.value}'" for by in OF_A_STREAM)
_AHEAD = f"""
    SELECT name, began_at, slot, number FROM counters
    WHERE name IN ({_OF_A_STREAM}) AND subject = ? AND began_at >= ?"""
_TAKE = "UPDATE counters SET number = number - ? WHERE name = ? AND subject = ? AND began_at = ? AND slot = ?"
_CLEAR = f"DELETE FROM counters WHERE name IN ({_OF_A_STREAM}) AND subject = ? AND began_at >= ? AND number = 0"
_FORGIVE = f"DELETE FROM counters WHERE name IN ({_NAMES}) AND subject = ?"
_LEVELS = "SELECT tenant, stream, level, since, token FROM budgets"
_LEVEL = f"{_LEVELS} WHERE tenant = ? AND stream = ?"
_NEW = """
    INSERT INTO budgets (tenant, stream, token, level, since) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (tenant, stream) DO NOTHING"""
_SWAP = "UPDATE budgets SET token = ?, level = ?, since = ? WHERE tenant = ? AND stream = ? AND token = ?"
_DROP = "DELETE FROM budgets WHERE tenant = ? AND stream = ? AND token = ?"
_IS_KEPT = "SELECT 1 FROM budgets WHERE tenant = ? AND stream = ?"


class SqlBudgeting:
    """See `bouncekit.stores.budgeting.Budgeting`."""

    _database: Database

    def spent(self, *, since: datetime, stream: Stream | None = None) -> Mapping[Stream, Spent]:
        """See `Budgeting.spent`."""
        began = hour(milliseconds(since))
        if stream is None:
            rows = self._database.read(_SPENT, (began,))
        else:
            rows = self._database.read(_SPENT_BY_ONE, (subject_of_stream(stream), began))
        found: dict[str, Counter[str]] = {}
        for name, subject, number in rows:  # what an hour has got back too much, no other has to make up for
            found.setdefault(subject, Counter())[name] += max(number, 0)
        return {stream_of(one): Spent(*(numbers[by.value] for by in SPENT_BY)) for one, numbers in found.items()}

    @retried
    def date_back(self, stream: Stream, *, ahead_of: datetime, to: datetime) -> bool:
        """See `Budgeting.date_back`."""
        subject = subject_of_stream(stream)
        asked = (subject, hour(milliseconds(ahead_of)))
        if not self._database.read(_AHEAD, asked):
            return False
        with self._database.writing(subject.encode()) as transaction:  # somebody may add to them meanwhile
            rows = transaction.execute(_AHEAD, asked).fetchall()
            counted = [Counted(CountedBy(name), subject, began_at, number) for name, began_at, _, number in rows]
            if counted:
                transaction.executemany(statements.ADD, [(by.value, *more) for by, *more in dated_back(counted, to)])
                transaction.executemany(_TAKE, [(number, name, subject, *at) for name, *at, number in rows])
                transaction.execute(_CLEAR, asked)
        return bool(counted)

    def levels(self, *, stream: Stream | None = None) -> Mapping[Stream, KeptLevel]:
        """See `Budgeting.levels`."""
        rows = self._database.read(_LEVELS) if stream is None else self._database.read(_LEVEL, _place(stream))
        return {
            stream or Stream(tenant, name): KeptLevel(Level(level), from_milliseconds(since), token)
            for tenant, name, level, since, token in rows
        }

    @retried
    def swap_level(
        self,
        stream: Stream,
        before: str | None,
        after: KeptLevel,
        *,
        events: Sequence[Event] = (),
        forgives: datetime | None = None,
    ) -> bool:
        """See `Budgeting.swap_level`."""
        told = told_rows(events)
        with self._database.writing() as transaction:
            if not _swapped(transaction, _place(stream), before, after):
                return False
            if forgives is not None:
                transaction.execute(_FORGIVE, (subject_of_stream(stream),))
                name, subject, began_at, number = resumed(stream, forgives)
                transaction.execute(statements.ADD, (name.value, storable(subject), began_at, number))
            transaction.executemany(statements.TELL, told)
        return True


def _swapped(transaction: Transaction, place: tuple[str, str], before: str | None, after: KeptLevel) -> bool:
    """Whether the level was still the one before, and is the other one now."""
    if after.level is Level.WITHIN:
        if before is None:
            return transaction.execute(_IS_KEPT, place).fetchone() is None
        return transaction.execute(_DROP, (*place, before)).rowcount == 1
    assert after.since is not None
    row = (after.token, after.level.value, milliseconds(after.since))
    if before is None:
        return transaction.execute(_NEW, (*place, *row)).rowcount == 1
    return transaction.execute(_SWAP, (*row, *place, before)).rowcount == 1


def _place(stream: Stream) -> tuple[str, str]:
    return storable(stream.tenant), storable(stream.name)
