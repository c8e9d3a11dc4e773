"""A copy of a SQLite store in one file, made while others write: whole, checked, on the disk, and sending nothing.

What waits in the queue of the copy is held, and marked as a possible duplicate: whoever begins with it a day later
cannot know what was delivered meanwhile. `bouncekit queue retry` lets it go out, `drop` does not.
"""

import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from bouncekit.outside.drafts import draft_of, publish
from bouncekit.stores.sqlite.faults import fault
from bouncekit.stores.sqlite.schema import check_owner, discard, migrate, recognise
from bouncekit.words.errors import StoreCorrupt, StoreError

__all__ = ["BackedUp", "back_up"]

_BUSY_SECONDS = 10.0

# Nobody is at it in a copy: open attempts are of nobody, leases and cursors in nobody's hands, what was slow is over.
_LET_GO = (
    """
    UPDATE recipients SET state = 'held', due_at = NULL, free_at = NULL, lease_owner = NULL, lease_until = NULL,
    attempt_id = NULL, possible_duplicate = 1""",
    # Who has half come from another store is held here once that one has let him go.
    """
    UPDATE arrivals SET recipients = (
        SELECT json_group_array(json_set(value, '$.state', 'held', '$.due_at', NULL, '$.possible_duplicate', 1))
        FROM json_each(recipients))""",
    "UPDATE attempts SET settled_at = begun_at WHERE settled_at IS NULL",
    "UPDATE cursors SET lease_owner = NULL, lease_until = NULL",
    "DELETE FROM flows",
)
_COUNT = "SELECT (SELECT count(*) FROM suppressions), (SELECT count(*) FROM outbox), (SELECT count(*) FROM recipients)"
_THERE = "there is such a file already; name another, or say that it may be replaced (--force)"


@dataclass(frozen=True, slots=True, kw_only=True)
class BackedUp:
    """What a copy holds; `held` is how many recipients wait in it until somebody releases them."""

    path: str
    size_bytes: int
    suppressions: int
    events: int
    held: int


def back_up(store: str | os.PathLike[str], target: str | os.PathLike[str], *, over: bool = False) -> BackedUp:
    """Copy a store as it is at one moment; `over` a file that is there. Writers go on meanwhile.

    The copy has its name only once it is whole: what fails leaves the place as it was.

    Raises:
        StoreError: the store cannot be read, or the copy not be made or named.
        StoreCorrupt: there is no store, or what was copied is damaged.
    """
    source, path = os.path.realpath(store), os.path.realpath(target)
    if not os.path.lexists(source):
        raise StoreError(f"{source}: there is no such store; name the file of one")
    _check_place(source, path, over=over)
    try:
        recognise(source)
    except sqlite3.Error as error:
        raise fault(error, source, busy_seconds=_BUSY_SECONDS) from error
    try:
        draft = draft_of(path)
        try:
            made = _copy(source, draft, path)
            if not publish(draft, path, over=over):
                raise StoreError(f"{path}: {_THERE}")
            return made
        finally:
            discard(draft)
    except (sqlite3.Error, OSError) as error:
        raise fault(error, path, busy_seconds=_BUSY_SECONDS) from error


def _check_place(source: str, path: str, *, over: bool) -> None:
    if path == source or (os.path.exists(path) and os.path.samefile(source, path)):
        raise StoreError(f"{path}: that is the store itself; name another file")
    if os.path.isdir(path):
        raise StoreError(f"{path}: a directory; name a file in it")
    if os.path.lexists(f"{path}-wal"):  # its log would be read into the copy
        raise StoreError(f"{path}: a store in use, its -wal lies beside it; name another file")
    if os.path.lexists(path) and not over:
        raise StoreError(f"{path}: {_THERE}")


def _copy(source: str, draft: str, path: str) -> BackedUp:
    with closing(_open(draft)) as copy:
        with closing(_open(source)) as original:
            check_owner(original, source)
            original.backup(copy)  # in one step: one moment of the store, and no writer has to wait
        copy.execute("PRAGMA journal_mode = DELETE")  # so that it is one file
        copy.execute("PRAGMA synchronous = FULL")
        migrate(copy, path)
        copy.execute("BEGIN IMMEDIATE")
        for statement in _LET_GO:
            copy.execute(statement)
        copy.execute("COMMIT")
        (finding,) = copy.execute("PRAGMA quick_check(1)").fetchone()
        if finding != "ok":
            raise StoreCorrupt(f"{source}: what was copied is damaged ({finding}); no copy was kept")
        suppressions, events, held = copy.execute(_COUNT).fetchone()
    _sync(draft)
    size = os.stat(draft).st_size
    return BackedUp(path=path, size_bytes=size, suppressions=suppressions, events=events, held=held)


def _open(path: str) -> sqlite3.Connection:
    uri = f"{Path(path).as_uri()}?mode=rw"
    return sqlite3.connect(uri, uri=True, timeout=_BUSY_SECONDS, isolation_level=None)


def _sync(path: str) -> None:
    with open(path, "rb+") as file:
        os.fsync(file.fileno())
