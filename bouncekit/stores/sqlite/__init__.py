"""A store in one SQLite file, for all processes of one machine. A commit has reached the disk when a method returns.

WAL with synchronous=FULL: with NORMAL a power cut takes commits back that were reported as done.
"""

import os
from collections.abc import Sequence
from datetime import datetime

from bouncekit.delivery.suppressionchange import Swap
from bouncekit.stores.sql.store import SqlStore
from bouncekit.stores.sqlite.erasing import SqliteErasing
from bouncekit.stores.sqlite.file import Database
from bouncekit.stores.sqlite.schema import newest_version

__all__ = ["SqliteStore"]

_MANY = 1000  # changes in one transaction
# 32 MB of pages: to a long list, many changes in no order are written twice and thrice where fewer are kept at hand.
_ROOM = "cache_size = -32768"


class SqliteStore(SqliteErasing, SqlStore):
    """A store in a file, which is made where nothing is, readable for its owner only.

    Args:
        path: the file; its directory must exist, on a local disk.
        busy_seconds: how long to wait for another process that is writing.

    Raises:
        StoreError: it cannot be opened or made.
        StoreCorrupt: what lies there is no store of ours, is damaged, or comes from a newer bouncekit.
    """

    def __init__(self, path: str | os.PathLike[str], *, busy_seconds: float = 10.0) -> None:
        self._database: Database = Database(path, busy_seconds=busy_seconds)

    @property
    def path(self) -> str:
        """The file, with all links resolved."""
        return self._database.path

    @property
    def place(self) -> str:
        """See `path`."""
        return self.path

    @property
    def kind(self) -> str:
        """See `SqlStore.kind`."""
        return f"schema {newest_version()}"

    def exchange(self, swaps: Sequence[Swap], *, by: str, at: datetime) -> Sequence[Swap]:
        """See `Listing.exchange`. From the first change of many on, connections keep more of the file at hand."""
        if len(swaps) >= _MANY:
            self._database.say(_ROOM)
        return super().exchange(swaps, by=by, at=at)

    def check(self) -> None:
        """Read the whole file through, which takes a few seconds for each gigabyte.

        Raises:
            StoreCorrupt: it is damaged.
        """
        self._database.check()

    def try_writing(self) -> None:
        """Write a page as it is.

        Raises:
            StoreError: nothing can be written, for it is locked, read-only or full; the message says which.
        """
        self._database.try_writing()
