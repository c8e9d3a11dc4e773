"""Results that the store could not take: they wait in memory until it does, and none is lost without a word.

They are remembered before the next send; where nobody sends, a thread tries every few seconds, and the end of the
interpreter once more. One that the store refuses, whatever else it does, waits apart: it holds up no other.
"""

import atexit
import threading
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bouncekit.delivery.events import Event
from bouncekit.delivery.steps import Delivery, Record
from bouncekit.outside.forking import begin_afresh_in_children
from bouncekit.words.errors import StoreRefused
from bouncekit.words.measures import counted

if TYPE_CHECKING:
    from logging import Logger

__all__ = ["Backlog", "Waiting"]

_MOST = 10_000  # results that wait; the log names those that are lost beyond
# What a store raises of a record that it does not take. Anything else may be the store, which may come back.
_OF_THE_RECORD = (StoreRefused, ValueError, TypeError, ArithmeticError, LookupError, AttributeError, AssertionError)
_AGAIN_SECONDS = 5.0  # between two tries to remember what waits, where no send comes first
_SELDOM = 60  # of so many tries one is of what the store refuses, too


@dataclass(frozen=True, slots=True)
class Waiting:
    """A result that waits. `told_out` may be in the queue by it, and were said not to be."""

    record: Record
    told_out: frozenset[str] = frozenset()
    is_refused: bool = False  # by the store, for what it is


class Backlog:
    """The results of one ledger that wait.

    Args:
        remember: has the store take one; what it has taken.
        tell: tells the world of what was taken.
    """

    def __init__(self, remember: Callable[[Waiting], Record], tell: Callable[[Record], None]) -> None:
        self._remember = remember
        self._tell = tell
        self._line: deque[Waiting] = deque()
        self._refused: deque[Waiting] = deque()  # they keep nobody from a send, and come behind all others
        self.start_afresh()
        begin_afresh_in_children(self)

    def __bool__(self) -> bool:
        """Whether anything waits that comes before the next send."""
        return bool(self._line)

    @property
    def numbers(self) -> Mapping[str, int]:
        """How many wait for the store to answer, and how many it has refused."""
        with self._lock:
            return {"waiting": len(self._line), "refused": len(self._refused)}

    def has(self, delivery: Delivery) -> bool:
        """Whether a result of a delivery waits."""
        with self._lock:
            every = (*self._line, *self._refused)
        return any(one.record.delivery.id == delivery.id for one in every)

    def keep(self, result: Waiting, error: BaseException) -> None:
        """Have a result wait, and somebody who tries again."""
        record, why = result.record, str(error) or type(error).__name__  # Ctrl-C says nothing
        if all(settlement.is_final for settlement in record.settlements):
            result = replace(result, record=_without_content(record))
        with self._lock:
            waiting = len(self._line) + len(self._refused)
            if waiting < _MOST:
                self._line.append(result)
                self._start_trying()
        if waiting < _MOST:
            _log().warning("the store failed, and has yet to take %s: %s", counted(waiting + 1, "result"), why)
        else:
            _log().warning(
                "the store failed, and no more than %d results wait in memory: attempt %s of message %s is lost: %s",
                waiting,
                record.occasion.attempt_id,
                record.delivery.id,
                why,
            )

    def catch_up(self, told: list[Event] | None = None) -> None:
        """Have the store take what waits, in its order; `told` gets the events that are told by it.

        Raises:
            StoreError: it still does not answer, or whatever else a store raises.
        """
        if not self._line:
            return
        taken: list[Record] = []
        try:
            with self._catching_up:
                while self._line:
                    first, refused = self._line[0], None
                    try:
                        taken.append(self._remember(first))
                    except Exception as error:
                        if not isinstance(error, _OF_THE_RECORD):
                            raise
                        refused = _refused(first, error)
                    with self._lock:
                        self._line.popleft()
                        self._refused.extend((refused,) if refused else ())
        finally:
            for record in taken:  # behind the lock: a subscriber may send
                self._tell(record)
                if told is not None:
                    told += record.events

    def close(self) -> None:
        """Try once more, and name what is lost."""
        self._stopping.set()
        atexit.unregister(self._try_at_last)
        self._try_at_last()

    def start_afresh(self) -> None:
        """Forget, in the child of a fork, the locks and the thread of the parent.

        What waits is tried on both sides: a record that is known already changes nothing.
        """
        self._catching_up = threading.Lock()
        self._lock = threading.Lock()  # guards what waits against a look at it, and `_thread`
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def _start_trying(self) -> None:
        if self._thread is not None or self._stopping.is_set():
            return
        thread = threading.Thread(target=self._try_again, name="bouncekit-ledger", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # there are too many, or the interpreter ends: the next send tries
            return
        self._thread = thread
        atexit.unregister(self._try_at_last)
        atexit.register(self._try_at_last)

    def _try_again(self) -> None:
        tries = 0
        while not self._stopping.wait(_AGAIN_SECONDS):
            tries += 1
            with suppress(Exception):  # whoever had it wait has told why
                self._try_all() if tries % _SELDOM == 0 else self.catch_up()
            with self._lock:
                if not (self._line or self._refused):
                    self._thread = None
                    return

    def _try_all(self) -> None:
        """Catch up, also with what was refused, behind the others."""
        with self._lock:
            self._line.extend(self._refused)
            self._refused.clear()
        self.catch_up()

    def _try_at_last(self) -> None:
        try:
            self._try_all()
        except Exception as error:  # noqa: BLE001 - whatever a store raises, there is no later
            _log().warning("the store failed, %d results are lost with this process: %s", len(self._line), error)
        for one in self._refused:
            _shout("attempt %s of message %s: its result is lost with this process, the store refuses it", one)


def _without_content(record: Record) -> Record:
    """The same record, of a message that is in nobody's queue by it: only its results are to be remembered."""
    delivery = record.delivery
    return replace(record, delivery=replace(delivery, envelope=replace(delivery.envelope, content=b"")))


def _refused(waiting: Waiting, error: Exception) -> Waiting:
    """The same, once the store has refused it, which is said once."""
    if not waiting.is_refused:
        _shout("attempt %s of message %s: the store refuses its result, which is tried again: %s", waiting, error)
    return replace(waiting, is_refused=True)


def _shout(message: str, about: Waiting, *arguments: object) -> None:
    """An error in the log about a result."""
    _log().error(message, about.record.occasion.attempt_id, about.record.delivery.id, *arguments)


def _log() -> "Logger":
    import logging

    return logging.getLogger("bouncekit")
