"""Forgetting a person in a SQLite file, so that no byte of him is left in it."""

from bouncekit.stores.sql.erasing import SqlErasing
from bouncekit.stores.sqlite.file import Database

__all__ = ["SqliteErasing"]

_OVERWRITE = "secure_delete = ON"


class SqliteErasing(SqlErasing):
    """In a file, also out of its free pages and its log."""

    _database: Database

    def overwrite_deleted(self) -> None:
        """See `Erasing.overwrite_deleted`."""
        self._database.say(_OVERWRITE)

    def _before_erasing(self) -> None:
        self._database.read(f"PRAGMA {_OVERWRITE}")

    def _wiped(self) -> bool:
        """Write the file anew, since what was deleted long ago may still lie in it, and empty the log."""
        self._database.read("VACUUM")
        return self._database.empty_log()
