"""Signals: the first SIGTERM or Ctrl-C asks a verb to stop, the second one ends it; SIGHUP asks it to read again."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["stopped_by_signal", "woken_by_hangup"]

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def stopped_by_signal() -> Iterator[threading.Event]:
    """An event that the first signal sets; the second one ends the process."""
    stop = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            sys.exit(128 + number)
        stop.set()

    before = {number: signal.signal(number, on_signal) for number in _SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def woken_by_hangup() -> Iterator[threading.Event]:
    """An event that SIGHUP sets, where there is such a signal."""
    again = threading.Event()
    if not hasattr(signal, "SIGHUP"):  # Windows
        yield again
        return
    before = signal.signal(signal.SIGHUP, lambda number, frame: again.set())
    try:
        yield again
    finally:
        signal.signal(signal.SIGHUP, before)
