"""Forgetting a person in a SQL store: one transaction, then no copy in what the database has given free."""

import json
from dataclasses import replace
from typing import Any

from bouncekit.stores.codec import key_hash, storable, suppression_json
from bouncekit.stores.erasing import Erased, Erasure
from bouncekit.stores.sql import erasingstatements as statements
from bouncekit.stores.sql.database import Database, Transaction, retried
from bouncekit.stores.sql.listing import state_of
from bouncekit.stores.sql.queuestatements import SWEEP, WAITS

__all__ = ["SqlErasing"]


class SqlErasing:
    """See `bouncekit.stores.erasing.Erasing`."""

    _database: Database

    def tenants_of(self, key: str) -> frozenset[str]:
        """See `Erasing.tenants_of`."""
        rows = self._database.read(statements.TENANTS, {"hash": key_hash(key), "key": storable(key)})
        return frozenset(tenant for (tenant,) in rows)

    def overwrite_deleted(self) -> None:
        """See `Erasing.overwrite_deleted`. A server's free space is its owner's to see to."""

    @retried
    def erase(self, erasure: Erasure) -> Erased:
        """See `Erasing.erase`."""
        hashed = key_hash(erasure.key)
        rows = self._database.read(statements.SPELLINGS, {"hash": hashed})
        erasure = erasure.with_spellings(spelling for (spelling,) in rows)
        self._before_erasing()
        with self._database.writing(None) as connection:
            work = _Work(connection, erasure)
            messages, shared = work.messages()
            done = Erased(
                events=work.events(),
                changes=work.changes(),
                outcomes=work.outcomes(),
                strikes=connection.execute(statements.STRIKES, (hashed,)).rowcount,
                suppressions=connection.execute(statements.REMOVE, (hashed,)).rowcount,
                messages=messages,
                shared=shared,
            )
        return replace(done, is_clean=self._wiped())

    def _before_erasing(self) -> None:
        """What the database has to know before it is written to."""

    def _wiped(self) -> bool:
        """Whether no copy is left in what the database has given free."""
        return True


class _Work:
    """What is done in the transaction; each part says how many rows it was about."""

    def __init__(self, connection: Transaction, erasure: Erasure) -> None:
        self._connection = connection
        self._erasure = erasure
        self._hash, self._new = key_hash(erasure.key), key_hash(erasure.pseudonym)

    def messages(self) -> tuple[int, int]:
        """How many of the messages that name him went; and how many stay, for which others wait."""
        found = self._erasure.messages
        gone = sum(self._connection.execute(SWEEP, (message,)).rowcount for message in sorted(found))
        shared = sum(bool(self._all(WAITS, message)) for message in found)
        return gone, shared

    def events(self) -> int:
        rows: dict[int, tuple[Any, ...]] = {}
        for needle in self._erasure.needles:
            rows |= {row[0]: row for row in self._all(statements.EVENTS, self._hash, f"%{_escaped(needle)}%")}
        erased = [
            (sequence, is_about, text)
            for sequence, hashed, event in rows.values()
            if (text := self._erasure.event(event, is_about=(is_about := hashed == self._hash))) is not None
        ]
        for sequence, is_about, text in sorted(erased):
            self._rewrite(sequence, text, rows[sequence][1], is_about=is_about)
        return len(erased)

    def changes(self) -> int:
        rows = self._all(statements.CHANGES, self._hash)
        for sequence, event_id, *states in rows:
            entries = [state_of(state) for state in states]
            erased = [entry and suppression_json(self._erasure.suppression(entry)) for entry in entries]
            renamed = event_id and self._erasure.renamed(event_id)
            self._connection.execute(statements.RENAME_CHANGE, (self._new, renamed, *erased, sequence))
        return len(rows)

    def outcomes(self) -> int:
        """Every spelling of one attempt gets a name of its own: they are told apart by it."""
        rows = {row[:2]: row for one in self._spellings() for row in self._all(statements.OUTCOMES, self._hash, one)}
        names: dict[str, str] = {}
        for attempt, recipient, message_id in rows.values():
            number = f".{len(names) + 1}" if names else ""
            name = names.setdefault(recipient, f"{self._erasure.pseudonym}{number}")
            cleaned = None if message_id is None else self._erasure.text(message_id)
            self._connection.execute(statements.REPEATED_OUTCOME, (attempt, recipient, attempt, name, recipient))
            self._connection.execute(statements.RENAME_OUTCOME, (name, self._new, cleaned, attempt, recipient))
        return len(rows)

    def _rewrite(self, sequence: int, text: str, hashed: bytes | None, *, is_about: bool) -> None:
        """Write an event anew; one that was told again after an erasure stands there already, and goes."""
        new = json.loads(text)["id"]
        self._connection.execute(statements.REPEATED_EVENT, (sequence, new, sequence))
        values = (new, self._new if is_about else hashed, text, sequence)
        self._connection.execute(statements.RENAME_EVENT, values)

    def _all(self, statement: str, *values: object) -> list[Any]:
        return self._connection.execute(statement, values).fetchall()

    def _spellings(self) -> list[str]:
        return sorted({storable(one.lower()) for one in self._erasure.spellings})


def _escaped(needle: str) -> str:
    """A text in which LIKE finds no wildcards."""
    return needle.replace("!", "!!").replace("%", "!%").replace("_", "!_")
