"""A screen in this process: whether a mailbox may be on the suppression list, known without the store's tables.

It is built from the store on a thread of its own, while every question goes to the store. From then on a send asks the
store once what has changed on the list, whoever changed it, which mostly is nothing; then it looks here. In doubt, the
store is asked: when it does not answer, when its trail does not go on where this one ended, when too much is new.

With `path`, it is kept in a file: the next process reads it, and catches up with the trail. The file is believed only
if the store's trail has the change with which it ends; one that is damaged, or of another store, is made anew.
"""

import logging
import threading
import time
from collections.abc import Sequence

from bouncekit.outside.forking import begin_afresh_in_children
from bouncekit.stores.screen.bloom import Bloom
from bouncekit.stores.screen.filterfile import read_filter, remove_filter, write_filter
from bouncekit.stores.trail import Trace, Trail, digest_of, digest_of_hash
from bouncekit.words.errors import StoreError

__all__ = ["LocalFilter"]

_PAGE = 1000  # rows that are read at once
_PAUSE_SECONDS = 0.001  # between two pages of a build: threads that send mail come first
_RETRY_SECONDS = 1.0  # behind a build that failed
_GROWTH = 1.25  # of a new filter's capacity over what is on the list
_CLOSE_SECONDS = 5.0

_log = logging.getLogger("bouncekit")


class _Known:
    """What is known of the list, up to a change of it and perhaps more; None is the time before the first."""

    def __init__(self, bloom: Bloom, upto: Trace | None) -> None:
        self.bloom = bloom
        self.upto = upto

    def learn(self, traces: Sequence[Trace], settled: int) -> None:
        """Go on. What was lifted stays in: the store is asked for nothing, and nobody is hurt.

        What is not settled yet is learnt, and read again: another change may turn up before it.
        """
        for trace in traces:
            self.bloom.add(digest_of_hash(trace.tenant, trace.key_hash))
            if trace.sequence <= settled:
                self.upto = trace


class _Elsewhere(Exception):
    """The store's trail does not go on where we are: a backup was put back, or the file is another store's."""


class LocalFilter:
    """Screens look-ups of a store that tells its trail. Safe to share between threads, and to keep over a fork."""

    def __init__(self, store: Trail, *, path: str | None = None) -> None:
        self._store = store
        self._path = path
        self._known: _Known | None = None
        self._lock = threading.Lock()  # held by whoever changes what is known
        self._thread: threading.Thread | None = None
        self._not_before = 0.0
        self._forgotten = 0  # how often; whoever was making one then has to make another
        self._closing = False
        begin_afresh_in_children(self)

    @property
    def is_ready(self) -> bool:
        """Whether it answers; until then everything is asked of the store."""
        return self._known is not None

    def possible(self, tenant: str, keys: Sequence[str]) -> Sequence[str]:
        """See `Screen.possible`."""
        known = self._known
        if known is None:
            self._see_to_it()
            return keys
        try:
            is_fresh = self._catch_up(known)
        except _Elsewhere:
            self._known, is_fresh = None, False
        except StoreError:
            return keys
        if not is_fresh or known.bloom.is_full:
            self._see_to_it()
        return [key for key in keys if digest_of(tenant, key) in known.bloom] if is_fresh else keys

    def listing(self, tenant: str, keys: Sequence[str]) -> None:
        """See `Screen.listing`: the store's trail tells it."""

    def forget(self) -> None:
        """See `Screen.forget`: a filter cannot take anybody out, so it is made anew, and its file with it."""
        with self._lock:
            self._forgotten, self._known = self._forgotten + 1, None
        if self._path is not None:
            remove_filter(self._path)
        self._see_to_it()

    def ask(self) -> str:
        """See `Screen.ask`: nobody else is asked."""
        return "local: a filter in this process"

    def prepare(self) -> None:
        """Make it ready, and keep it in its file. A look-up has it done on a thread.

        Raises:
            StoreError: the store does not answer.
        """
        begun = self._forgotten
        known = self._known or self._read()
        if known is None or known.bloom.is_full or not self._follow(known):
            known = self._anew()
        while not self._closing and not self._answers_by(known, begun):
            begun = self._forgotten
            known = self._anew()
        if not self._closing:
            self._keep(known, begun)

    def close(self) -> None:
        """See `Screen.close`."""
        self._closing = True
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(_CLOSE_SECONDS)

    def start_afresh(self) -> None:
        """Forget, in the child of a fork, the lock and the thread of the parent."""
        self._lock = threading.Lock()
        self._thread = None

    def _catch_up(self, known: _Known) -> bool:
        """Learn what has changed on the list; False where that is more than one page.

        Raises:
            _Elsewhere: the trail does not go on where we are.
        """
        upto = known.upto
        news, is_all = self._news(upto)
        if news:
            settled = self._store.trail_settled()  # known first, then read: what turns up in between is in it
            news, is_all = self._news(upto)
            with self._lock:
                known.learn(news, settled)
        return is_all

    def _news(self, upto: Trace | None) -> tuple[Sequence[Trace], bool]:
        """What stands behind a change, and whether that is all."""
        found = self._store.trail(since=upto.sequence if upto else 0, limit=_PAGE)
        if upto is None:
            return found, len(found) < _PAGE
        if not found or found[0] != upto:
            raise _Elsewhere
        return found[1:], len(found) < _PAGE

    # -- what is done on a thread of its own

    def _see_to_it(self) -> None:
        """Have it made ready, or made anew, unless somebody is at it or has just failed."""
        with self._lock:
            is_at_it = self._thread is not None and self._thread.is_alive()
            if self._closing or is_at_it or time.monotonic() < self._not_before:
                return
            self._thread = threading.Thread(target=self._prepare, name="bouncekit-filter", daemon=True)
            self._thread.start()

    def _prepare(self) -> None:
        try:
            self.prepare()
        except StoreError as error:
            self._not_before = time.monotonic() + _RETRY_SECONDS
            _log.info("the suppression list cannot be read for its filter: %s", error)

    def _follow(self, known: _Known) -> bool:
        """Learn all that has changed; False where the trail is not ours."""
        try:
            while not self._catch_up(known) and not self._closing:
                time.sleep(_PAUSE_SECONDS)
        except _Elsewhere:
            return False
        return True

    def _answers_by(self, known: _Known, begun: int) -> bool:
        """Answer by it from now on; False where it was begun before somebody was forgotten, whom it may still have."""
        with self._lock:
            if begun == self._forgotten:
                self._known = known
            return begun == self._forgotten

    def _anew(self) -> _Known:
        """One of all that is on the list, and of what has changed while it was read."""
        known = self._build()
        self._follow(known)
        return known

    def _build(self) -> _Known:
        """One of all that is on the list."""
        upto = self._store.trail_end(self._store.trail_settled())  # what changes while we read is behind it
        known = _Known(Bloom(int(self._store.entry_count() * _GROWTH)), upto)
        entries = self._store.entries(limit=_PAGE)
        while entries and not self._closing:
            for tenant, _, hashed in entries:
                known.bloom.add(digest_of_hash(tenant, hashed))
            time.sleep(_PAUSE_SECONDS)
            entries = self._store.entries(after=entries[-1], limit=_PAGE)
        return known

    # -- the file

    def _read(self) -> _Known | None:
        found = read_filter(self._path) if self._path is not None else None
        return None if found is None else _Known(*found)

    def _keep(self, known: _Known, begun: int) -> None:
        if self._path is None or known.upto is None:
            return
        with self._lock:
            bloom, upto, content = known.bloom, known.upto, known.bloom.dump()
        write_filter(self._path, content, capacity=bloom.capacity, added=bloom.added, upto=upto)
        if begun != self._forgotten:
            remove_filter(self._path)
