"""Closes lines that nobody uses, before the server does it, and so that none is kept from others for nothing.

A server may hang up behind five minutes without a command (RFC 5321 4.5.3.2.7), and many do it sooner. One thread of
the process looks after the lines of all its clients; it is there as long as one of them is open.
"""

import threading
import time
import weakref
from typing import Protocol

from bouncekit.desk.ledger import complain
from bouncekit.outside.forking import begin_afresh_in_children

__all__ = ["HasLines", "close_when_idle"]

_SHORTEST = 0.05  # seconds between two looks


class HasLines(Protocol):
    """Somebody who keeps lines open between messages."""

    def close_idle(self) -> float | None:
        """Close the lines that have been idle for too long; in how many seconds the next one is due, None: none is."""


def close_when_idle(one: HasLines) -> None:
    """Have `close_idle` called when it is time, for as long as somebody holds the object and it has a line."""
    _keeper.watch(one)


class _Keeper:
    """The thread, and whose lines it looks after."""

    def __init__(self) -> None:
        self.start_afresh()
        begin_afresh_in_children(self)

    def start_afresh(self) -> None:
        """Forget the thread, which behind a fork is not there, and the parent's lines."""
        self._lock = threading.Lock()
        self._opened = threading.Event()  # a line, which may be due before the others
        self._thread: threading.Thread | None = None
        self._watched: weakref.WeakSet[HasLines] = weakref.WeakSet()

    def watch(self, one: HasLines) -> None:
        with self._lock:
            self._watched.add(one)
            self._opened.set()
            if self._thread is None:
                # A daemon: a process that ends must not wait for it.
                self._thread = threading.Thread(target=self._run, name="bouncekit-idle", daemon=True)
                try:
                    self._thread.start()
                except RuntimeError:  # no thread to be had: the next send finds out what became of its line
                    self._thread = None

    def _run(self) -> None:
        while (pause := self._look()) is not None:
            time.sleep(_SHORTEST)
            self._opened.wait(pause)

    def _look(self) -> float | None:
        """Close what is due; in how many seconds to look again, None where there is no line any more."""
        with self._lock:
            self._opened.clear()
            watched = list(self._watched)
        pauses = {one: _closed(one) for one in watched}
        with self._lock:
            for one, pause in pauses.items():
                if pause is None and not self._opened.is_set():  # else it may be his
                    self._watched.discard(one)
            left = [pause for pause in pauses.values() if pause is not None]
            if not self._watched:
                self._thread = None
                return None
            return min(left, default=0.0)


def _closed(one: HasLines) -> float | None:
    try:
        return one.close_idle()
    except BaseException as error:  # noqa: BLE001 - also SystemExit, of a subscriber: the others are looked after
        complain("closing an idle line: %s", error)
        return None


_keeper = _Keeper()
