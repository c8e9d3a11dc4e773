"""What SQLite and the system say of a store's file: the error by its name, with what would be right."""

import errno
import os
import sqlite3
from collections.abc import Mapping

from bouncekit.stores.sql.database import AGAINST_RULES
from bouncekit.words.errors import (
    StoreBusy,
    StoreCorrupt,
    StoreError,
    StoreFull,
    StoreMoved,
    StoreReadOnly,
    StoreRefused,
)

__all__ = ["DAMAGE", "LOCKED", "MOVED", "READ_ONLY", "breaks", "code_of", "fault"]

MOVED = "moved, deleted or replaced while it was open; put it back"
LOCKED = "locked by another connection of this process; let it finish"
_FULL = "its disk is full; make room, then nothing else is to be done"
READ_ONLY = "read-only; let this user write to the file and to its directory"
_PLACE = "its directory must exist and be writable for this user"
_UNREACHABLE = f"cannot be opened; {_PLACE}"
_DISK = "its disk or its quota failed; look at the system's log"

# The error and what would be right, by SQLite's result code; "{seconds}" is how long we waited. A code that is not
# here is looked for by its last byte, the primary code.
_FAULTS: Mapping[int, tuple[type[StoreError], str]] = {
    sqlite3.SQLITE_BUSY: (StoreBusy, "locked by another process for more than {seconds:g} s; see who holds it"),
    sqlite3.SQLITE_LOCKED: (StoreBusy, LOCKED),
    sqlite3.SQLITE_FULL: (StoreFull, _FULL),
    sqlite3.SQLITE_IOERR_SHMSIZE: (StoreFull, _FULL),  # no room for the index of the log
    sqlite3.SQLITE_READONLY: (StoreReadOnly, READ_ONLY),
    sqlite3.SQLITE_PERM: (StoreReadOnly, "not allowed; let this user read and write the file"),
    sqlite3.SQLITE_READONLY_DBMOVED: (StoreMoved, MOVED),
    sqlite3.SQLITE_CANTOPEN: (StoreError, _UNREACHABLE),
    sqlite3.SQLITE_IOERR: (StoreError, _DISK),
    sqlite3.SQLITE_CONSTRAINT: (StoreRefused, AGAINST_RULES),
    sqlite3.SQLITE_MISMATCH: (StoreRefused, AGAINST_RULES),
    sqlite3.SQLITE_RANGE: (StoreRefused, AGAINST_RULES),
    sqlite3.SQLITE_TOOBIG: (StoreRefused, "longer than SQLite stores, a gigabyte; send less at once"),
}
_OS_FAULTS: Mapping[int, tuple[type[StoreError], str]] = {
    errno.ENOSPC: (StoreFull, _FULL),
    errno.EDQUOT: (StoreFull, _FULL),
    errno.EROFS: (StoreReadOnly, READ_ONLY),
}
# Behind these the connection is as good as before; behind any other it is closed, and opened anew when needed.
_HARMLESS = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CONSTRAINT,
        sqlite3.SQLITE_MISMATCH,
        sqlite3.SQLITE_TOOBIG,
    }
)
_NOT_BOUND = (sqlite3.ProgrammingError, sqlite3.InterfaceError)  # a value of a type that SQLite does not have
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
DAMAGE = "damaged ({error}); it was left as it is: restore a backup, or rescue it with `sqlite3 FILE .recover`"


def fault(error: sqlite3.Error | OSError, path: str | os.PathLike[str], *, busy_seconds: float) -> StoreError:
    """What went wrong at a file, by its name, with what would be right."""
    if isinstance(error, OSError):
        kind, advice = _OS_FAULTS.get(error.errno or 0, (StoreError, f"{error.strerror}; {_PLACE}"))
        return kind(f"{path}: {advice}")
    code = code_of(error)
    if code & 0xFF in _DAMAGED:
        return StoreCorrupt(f"{path}: {DAMAGE.format(error=error)}")
    if not code and isinstance(error, _NOT_BOUND):
        return StoreRefused(f"{path}: {AGAINST_RULES} ({error})")
    kind, advice = _FAULTS.get(code) or _FAULTS.get(code & 0xFF) or (StoreError, "")
    advice = advice.format(seconds=busy_seconds)
    return kind(f"{path}: {advice} ({error})" if advice else f"{path}: {error}")


def breaks(error: sqlite3.Error) -> bool:
    """Whether the connection may not be as good as before."""
    return not isinstance(error, _NOT_BOUND) and code_of(error) & 0xFF not in _HARMLESS


def code_of(error: sqlite3.Error) -> int:
    """SQLite's result code; 0 where it has none."""
    return getattr(error, "sqlite_errorcode", 0)
