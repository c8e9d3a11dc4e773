"""The suppression list of a SQL store in bulk: many keys in one statement, many changes in one transaction."""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from bouncekit.delivery.suppressionchange import Act, Change, Place, Swap
from bouncekit.meaning.classification import Category
from bouncekit.policy.suppression import Suppression
from bouncekit.stores.codec import (
    SUPPRESSION_COLUMNS,
    evidence_of,
    from_milliseconds,
    in_milliseconds,
    key_hash,
    milliseconds,
    storable,
    suppression_json,
    suppression_of,
    suppression_row,
    told_rows,
)
from bouncekit.stores.jsontext import writer_of
from bouncekit.stores.listing import Holding, Holdings
from bouncekit.stores.sql import listingstatements as statements
from bouncekit.stores.sql.database import Database, Query, Rows, reading, retried
from bouncekit.stores.sql.many import marks, split
from bouncekit.stores.sql.statements import AUDIT, PUT, REMOVE, TELL
from bouncekit.words.envelope import Labels
from bouncekit.words.errors import StoreCorrupt
from bouncekit.words.pseudonym import secret_of

__all__ = ["SqlListing", "state_of"]

_COLUMNS = SUPPRESSION_COLUMNS.split(", ")
_write = writer_of(name for name in _COLUMNS if name != "key_hash")
_Stored = tuple[str, str, bytes]  # a place, as the table has it


class SqlListing:
    """See `bouncekit.stores.listing.Listing`."""

    _database: Database

    def suppressed(
        self, keys: Collection[str], labels: Labels, at: datetime, *, ignored: Collection[Category] = ()
    ) -> frozenset[str]:
        """See `Listing.suppressed`."""
        hashes = {key_hash(key): key for key in keys}
        through = sorted(category.value for category in ignored) or [""]  # an empty list is no SQL
        asked = (storable(labels.tenant), storable(labels.stream), milliseconds(at), *through)
        found: set[str] = set()
        for some in split(hashes):
            statement = statements.SUPPRESSED % (marks(through), marks(some))
            found.update(hashes[hashed] for (hashed,) in self._database.read(statement, (*asked, *some)))
        return frozenset(found)

    def standing(self, places: Collection[Place]) -> Mapping[Place, Suppression]:
        """See `Listing.standing`."""
        named = {_stored_place(place): place for place in places}
        return {named[_place_of(row)]: suppression_of(row) for row in _at(self._database.read, named)}

    @retried
    def exchange(self, swaps: Sequence[Swap], *, by: str, at: datetime) -> Sequence[Swap]:
        """See `Listing.exchange`."""
        now, who = milliseconds(at), storable(by)
        # In the order of their hashes, which is that of the indexes: neighbours are on one page.
        rows = sorted(map(_Row, swaps), key=_by_hash)
        places = [row.place for row in rows]
        assert len(set(places)) == len(swaps), "a place is named twice"
        told = told_rows([swap.event for swap in swaps if swap.event])
        with self._database.writing(*(hashed for _, _, hashed in places)) as connection:
            found = {_place_of(row): suppression_of(row) for row in _at(reading(connection), places)}
            done = [row for row in rows if found.get(row.place) == row.before]
            connection.executemany(PUT, [row.state for row in done if row.state])
            connection.executemany(REMOVE, [row.place for row in done if not row.state])
            connection.executemany(AUDIT, [row.noted(now, who) for row in done])
            if told:
                is_done = {row.event for row in done}
                connection.executemany(TELL, [row for row in told if row[0] in is_done])
        return [row.swap for row in rows if found.get(row.place) != row.before]

    def changes(self, *, after: int = 0, limit: int = 1000) -> Sequence[Change]:
        """See `Listing.changes`."""
        asked = (after, self._database.settled_until("audit"), max(limit, 0))
        return [_change(row) for row in self._database.read(statements.CHANGES, asked)]

    def changes_at(self, places: Collection[Place]) -> Mapping[Place, Sequence[Change]]:
        """See `Listing.changes_at`."""
        found: dict[Place, list[Change]] = {place: [] for place in places}
        for owner, some in _by_owner(map(_stored_place, places)):
            statement = statements.CHANGES_AT % marks(some)
            for row in self._database.read(statement, (*owner, *some)):
                change = _change(row)
                found.setdefault(change.place, []).append(change)
        return found

    def changes_of(self, key: str, *, tenant: str = "", limit: int = 100) -> Sequence[Change]:
        """See `Listing.changes_of`."""
        asked = (storable(tenant), key_hash(key), max(limit, 0))
        return [_change(row) for row in self._database.read(statements.CHANGES_OF, asked)]

    def holdings(self, at: datetime, *, limit: int = 100) -> Holdings:
        """See `Listing.holdings`."""
        now = milliseconds(at)
        if limit < 1:
            ((number,),) = self._database.read(statements.HELD, (now,))
            return Holdings(number)
        rows = self._database.read(statements.HOLDINGS, (now, limit))
        largest = [_holding(row, evidence) for _, *row in rows for (evidence,) in self._held_for(row[0], now)]
        return Holdings(rows[0][0] if rows else 0, tuple(largest))

    def _held_for(self, fingerprint: str | None, now: int) -> Rows:
        """One of the replies; none where nobody is held for it any more."""
        if fingerprint is None:
            return self._database.read(statements.HELD_FOR_NONE, (now,))
        return self._database.read(statements.HELD_FOR, (now, fingerprint))

    def tenants(self) -> Sequence[str]:
        """See `Listing.tenants`."""
        return list(self._tenants())

    def pseudonymous(self) -> frozenset[str]:
        """See `Listing.pseudonymous`."""
        return frozenset(secret_of(beginning) for (beginning,) in self._database.read(statements.SECRETS))

    def _tenants(self) -> Iterator[str]:
        tenant = ""
        yield tenant
        while (tenant := self._database.read(statements.NEXT_TENANT, (tenant,))[0][0]) is not None:
            yield tenant


class _Row:
    """A swap as rows, made before the lock is asked for."""

    __slots__ = ("_act", "_states", "before", "place", "state", "swap")

    def __init__(self, swap: Swap) -> None:
        before, after = swap.before and in_milliseconds(swap.before), swap.after
        self.swap = swap
        self.before = before  # as it comes back
        self.state = suppression_row(after) if after else None
        self.place: _Stored = _stored_place(swap.place) if self.state is None else _place_of(self.state)
        self._states = (before and suppression_json(before), self.state and _json_of(self.state))
        self._act = (Act.LIFTED if after is None else Act.CHANGED if before else Act.ADDED).value

    @property
    def event(self) -> str | None:
        return None if self.swap.event is None else self.swap.event.id

    def noted(self, at: int, by: str) -> tuple[object, ...]:
        return (at, self._act, by, *self.place, self.event, *self._states)


def _json_of(row: tuple[object, ...]) -> str:
    """The same as `suppression_json` of the suppression that the row is of."""
    return _write((*row[:2], *row[3:]))


def _by_hash(row: _Row) -> bytes:
    return row.place[2]


def _place_of(row: tuple[Any, ...]) -> _Stored:
    """A row of suppressions begins with its place."""
    return row[:3]


def _stored_place(place: Place) -> _Stored:
    return storable(place.tenant), storable(place.stream), key_hash(place.key)


def _at(read: Query, places: Iterable[_Stored]) -> Iterator[tuple[Any, ...]]:
    """What stands at these places, each row with its place at first."""
    for owner, some in _by_owner(places):
        yield from read(statements.STANDING_AT % marks(some), (*owner, *some))


def _by_owner(places: Iterable[_Stored]) -> Iterator[tuple[tuple[str, str], Sequence[bytes]]]:
    """The hashes of places by tenant and stream, as many as go into one statement."""
    owners: dict[tuple[str, str], list[bytes]] = {}
    for tenant, stream, hashed in places:
        owners.setdefault((tenant, stream), []).append(hashed)
    for owner, hashes in owners.items():
        for some in split(hashes):
            yield owner, some


def _change(row: tuple[Any, ...]) -> Change:
    sequence, at, by, event_id, before, after = row
    return Change(
        sequence=sequence,
        at=from_milliseconds(at),
        by=by,
        event_id=event_id,
        before=state_of(before),
        after=state_of(after),
    )


def _holding(row: Sequence[Any], evidence: str) -> Holding:
    fingerprint, number, since, last_at = row
    return Holding(
        fingerprint=fingerprint,
        number=number,
        since=from_milliseconds(since),
        last_at=from_milliseconds(last_at),
        evidence=evidence_of(evidence, fingerprint),
    )


def state_of(text: str | None) -> Suppression | None:
    """The entry that the audit keeps as text, None where there was none.

    Raises:
        StoreCorrupt: it cannot be read.
    """
    if text is None:
        return None
    try:
        found = json.loads(text)
        return suppression_of(tuple(b"" if name == "key_hash" else found[name] for name in _COLUMNS))
    except (KeyError, TypeError, ValueError) as error:
        raise StoreCorrupt(f"a row of the audit cannot be read: {error!r}") from error
