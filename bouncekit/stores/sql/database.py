"""What the SQL stores need of a database, and nothing else: rows of one SELECT, and a transaction.

Statements are written once, with `?` or `:name` for values, in the SQL that SQLite and PostgreSQL share. What only the
one has, the other is taught: `max` and `min` of two numbers, `instr` and `holds` are functions of the schema in
PostgreSQL, `holds` is one of the connection in SQLite.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from bouncekit.words.errors import StoreError

__all__ = [
    "AGAINST_RULES",
    "Database",
    "Found",
    "Interrupted",
    "Query",
    "Rows",
    "Transaction",
    "Values",
    "reading",
    "repeated",
    "retried",
]

AGAINST_RULES = "what was to be stored contradicts the store's rules; this is an error of bouncekit, please report it"

Rows = list[tuple[Any, ...]]
Values = Sequence[object] | Mapping[str, object]
Query = Callable[[str, Values], Rows]

_Store = TypeVar("_Store", bound="_HasDatabase")
_Given = ParamSpec("_Given")
_Answer = TypeVar("_Answer")


class Found(Protocol):
    """What a statement in a transaction did."""

    @property
    def rowcount(self) -> int:
        """How many rows it wrote."""

    def fetchone(self) -> Any:
        """The next row, None behind the last."""

    def fetchall(self) -> list[Any]:
        """The rows that are left."""


class Transaction(Protocol):
    """An open transaction; what it reads stays as it is where the transaction has said what it is about."""

    def execute(self, statement: str, values: Any = ..., /) -> Found: ...

    def executemany(self, statement: str, values: Iterable[Any], /) -> Found: ...


class Database(Protocol):
    """A database that is a store."""

    def read(self, statement: str, parameters: Values = ()) -> Rows:
        """All rows of one SELECT; nothing stays open or locked behind it."""

    def writing(self, *about: object) -> AbstractContextManager[Transaction]:
        """A transaction; what raises inside undoes all of it.

        Args:
            about: ids of messages and attempts, hashes of suppression keys; None for all there are. Who names one of
                them too waits until this transaction is over: what is read about it inside is true when it is written.

        Raises:
            Interrupted: it was not done, or nobody knows, and asking again is right.
        """

    def settled_until(self, table: str) -> int:
        """Up to which sequence number every row that there will ever be, of outbox or audit, can be read now."""

    def rest(self) -> None:
        """Nobody waits for this thread just now: do what would hold up somebody later. It raises nothing."""

    @property
    def is_in_doubt(self) -> bool:
        """Whether what this thread asks for now may be there already, since it asked before and got no answer."""

    def close(self) -> None:
        """Let go of it. Any use afterwards raises StoreError; a second close does nothing."""

    def wait(self, interruption: "Interrupted", tries: int) -> bool:
        """Wait a little before the next try; False where patience is at its end."""


def reading(transaction: Transaction) -> Query:
    """What reads inside of a transaction, as `Database.read` does outside of any."""
    return lambda statement, values: transaction.execute(statement, values).fetchall()


class Interrupted(StoreError):
    """A transaction ended through no fault of what it asked for; the same again may well succeed.

    `unknown`: the connection was lost in COMMIT, so it may have been done.
    """

    def __init__(self, message: str, *, unknown: bool = False) -> None:
        self.unknown = unknown
        super().__init__(message)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self),), {"unknown": self.unknown}


class _HasDatabase(Protocol):
    @property
    def _database(self) -> Database: ...


def repeated(
    method: Callable[Concatenate[_Store, _Given], _Answer],
) -> Callable[Concatenate[_Store, _Given], _Answer]:
    """Have a method of a store done again when it was interrupted, even where nobody knows whether it was done.

    Only for what looks first whether it is done already, and gives the same answer then.
    """
    return _again(method, even_in_doubt=True)


def retried(
    method: Callable[Concatenate[_Store, _Given], _Answer],
) -> Callable[Concatenate[_Store, _Given], _Answer]:
    """Have a method of a store done again when it was interrupted and, for sure, not done."""
    return _again(method, even_in_doubt=False)


def _again(
    method: Callable[Concatenate[_Store, _Given], _Answer], *, even_in_doubt: bool
) -> Callable[Concatenate[_Store, _Given], _Answer]:
    @wraps(method)
    def doing(self: _Store, /, *given: _Given.args, **named: _Given.kwargs) -> _Answer:
        tries, is_in_doubt = 0, False
        while True:
            try:
                return method(self, *given, **named)
            except StoreError as error:
                is_in_doubt |= error.unknown
                tries += 1
                may_again = error.unknown <= even_in_doubt
                if not (isinstance(error, Interrupted) and may_again and self._database.wait(error, tries)):
                    error.unknown = is_in_doubt  # of an earlier try, too: one that fails for sure does not undo it
                    raise

    return doing
