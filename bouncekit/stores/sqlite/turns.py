"""Who writes now in this process, and who shares a commit: one wait for the disk for all that came during another.

SQLite has one writer at a time, whose commit takes as long as the disk does. So whoever is done while others wait for
their turn leaves his transaction open to the next of them, and the last one commits for all. Nobody comes out before
that commit, and each part is undone by itself: what comes out is on the disk, as it would be alone.
"""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

__all__ = ["Shared", "Turns"]

_MOST = 32  # parts of one commit: nobody waits for more than so many others
_LOOK_SECONDS = 0.05  # how often who waits for a commit looks whether anybody is left to do it


class Shared:
    """A transaction that one writer after the other has for a while; `failed` says why nothing of it is there.

    `was_asked` says that its COMMIT was: a disk that fails at that may have it all the same.
    `let_go` is called behind its end, with `failed`, by whoever ends it.
    """

    def __init__(self, connection: sqlite3.Connection, let_go: Callable[[sqlite3.Error | None], None]) -> None:
        self.connection = connection
        self._let_go = let_go
        self.failed: sqlite3.Error | None = None
        self.is_over = False
        self.was_asked = False
        self._is_let_go = False
        self._parts = 0
        self._over: threading.Event | None = None  # where somebody waits for it

    @property
    def is_full(self) -> bool:
        """Whether nobody else should come in."""
        return self._parts >= _MOST

    @property
    def has_several(self) -> bool:
        """Whether more than one had a part in it."""
        return self._parts > 1

    @contextmanager
    def part(self, breaks: Callable[[sqlite3.Error], bool]) -> Iterator[sqlite3.Connection]:
        """One writer's part. What raises inside undoes it; all of them where it `breaks` the connection."""
        is_first, self._parts = self._parts == 0, self._parts + 1
        try:
            if not is_first:
                self.connection.execute("SAVEPOINT part")
            yield self.connection
            if not is_first:
                self.connection.execute("RELEASE part")
        except BaseException as error:
            is_broken = isinstance(error, sqlite3.Error) and breaks(error)
            if is_broken or not self.connection.in_transaction:
                self._fail(error)
            elif is_first:
                self._undo()
            else:
                self._undo_part()
            raise

    def commit(self) -> None:
        """Let it reach the disk, for all who have a part in it; `failed` says if it did not."""
        try:
            if not self.is_over:
                self.was_asked = True
                self.connection.execute("COMMIT")
        except BaseException as error:
            if self.connection.in_transaction or isinstance(error, sqlite3.Error):
                self._fail(error)
            if not isinstance(error, sqlite3.Error):
                raise
        finally:
            self.is_over = True
            if not self._is_let_go:
                self._let_go(self.failed)
                self._is_let_go = True
            if self._over is not None:
                self._over.set()

    def give_up(self) -> None:
        """Undo all of it: nobody knows how far the last part came."""
        if not self.is_over:
            self._fail(KeyboardInterrupt())

    def leave_open(self) -> threading.Event:
        """What is set when it is over; for whoever has the turn, and leaves it to the next."""
        self._over = self._over or threading.Event()
        return self._over

    def _fail(self, error: BaseException) -> None:
        self.failed = error if isinstance(error, sqlite3.Error) else sqlite3.OperationalError("interrupted")
        self._undo()

    def _undo_part(self) -> None:
        try:
            self.connection.execute("ROLLBACK TO part")
            self.connection.execute("RELEASE part")
        except sqlite3.Error as error:
            self._fail(error)

    def _undo(self) -> None:
        self.is_over = True
        if self.connection.in_transaction:
            with suppress(sqlite3.Error):
                self.connection.execute("ROLLBACK")


class Turns:
    """Whose turn it is. Whoever takes it enters, has his part in what he finds there, and leaves."""

    def __init__(self) -> None:
        self.start_afresh()

    def start_afresh(self) -> None:
        """Forget, in the child of a fork, whose turn it was in the parent."""
        self._turn = threading.RLock()  # one that knows whose it is; nobody takes it twice
        self._counting = threading.Lock()
        self._waiting = 0
        self._open: Shared | None = None

    def take(self, seconds: float) -> bool:
        """Wait for the turn; False where it did not come within these seconds."""
        self.give_back()  # what even that was interrupted in has left: nothing of it may be committed with ours
        if self._turn.acquire(blocking=False):
            return True
        with self._counting:
            self._waiting += 1
        try:
            return self._turn.acquire(timeout=seconds)
        finally:
            with self._counting:
                self._waiting -= 1

    def enter(self, begin: Callable[[], Shared]) -> Shared:
        """The transaction of whoever has the turn: one that is under way, or a new one. If it fails, the turn is over.

        Raises:
            Exception: what `begin` raises.
        """
        try:
            if self._open is None:
                self._open = begin()
            return self._open
        except BaseException:
            self._turn.release()
            raise

    def leave(self, shared: Shared) -> None:
        """Commit, or have whoever comes next do it; in either case it has been tried when this returns."""
        if shared.is_over or not self._waiting or shared.is_full:
            self._finish(shared)
            return
        over = shared.leave_open()
        self._turn.release()
        while not over.wait(_LOOK_SECONDS):
            if self._turn.acquire(blocking=False):  # whoever waited has given up, or was interrupted
                if shared is not self._open:
                    shared.give_up()
                self._finish(shared)

    def give_back(self) -> None:
        """What an interruption between two steps has left with this thread; nothing, else."""
        if not self._is_mine:
            return
        if self._open is None:
            self._turn.release()
            return
        self._open.give_up()
        self._finish(self._open)

    def _finish(self, shared: Shared) -> None:
        """End it, and the turn. Where that is interrupted it is still the one that is open, for `give_back`."""
        shared.commit()
        if self._is_mine:  # else it was given back within: who handles a signal writes too
            self._open = None
            self._turn.release()

    @property
    def _is_mine(self) -> bool:
        return bool(self._turn._is_owned())  # type: ignore[attr-defined]  # as threading.Condition asks it
