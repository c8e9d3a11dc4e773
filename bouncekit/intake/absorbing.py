"""One mail that came back, given to whoever remembers it: whether it may be acknowledged now."""

import logging
import threading
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import TypeAlias

from bouncekit.words.errors import StoreError
from bouncekit.words.showing import printable

__all__ = ["MAX_MAIL_BYTES", "PASSING", "Absorb", "Outcome", "counts", "follow"]

_log = logging.getLogger("bouncekit.intake")

MAX_MAIL_BYTES = 64 * 1024 * 1024  # of a longer mail the beginning is read
_LONGEST_PAUSE = 600.0  # seconds

# Takes a mail and the address that it was sent to, where that is known. It has remembered the mail when it returns.
Absorb: TypeAlias = Callable[[bytes, str | None], object]

PASSING = (StoreError, OSError)  # the store, the disk or the line is down; the same mail may count the next time


class Outcome(StrEnum):
    """What became of one mail."""

    DONE = "done"  # it has been remembered, and taken away from where it lay
    ASIDE = "aside"  # it makes an error of ours; it lies where somebody can look at it
    KEPT = "kept"  # it cannot be read, and stays where it is


def counts(absorb: Absorb, content: bytes, arrived_at: str | None = None) -> bool:
    """Give a mail away. False where it makes an error that is ours: it is to be set aside, else it comes for ever.

    Raises:
        StoreError, OSError: a fault that passes. The mail must stay where it is.
    """
    try:
        absorb(content, arrived_at)
    except PASSING:
        raise
    except Exception:  # noqa: BLE001 - whatever a mail makes us do, the next one has to be taken
        _log.exception("a mail could not be taken in, and is set aside")
        return False
    return True


def follow(
    one_pass: Callable[[], Iterator[Outcome]],
    *,
    stop: threading.Event,
    every: float,
    wait: Callable[[float], object] | None = None,
) -> Iterator[Outcome]:
    """Pass after pass, until `stop`; behind a fault that passes, after a pause that grows.

    `every` is the pause between two passes in seconds, at least one; `wait` is another way to spend it.
    """
    every, faults = max(every, 1.0), 0
    while not stop.is_set():
        try:
            yield from one_pass()
            faults = 0
            (wait or stop.wait)(every)
        except PASSING as error:
            faults += 1
            pause = min(every * 2 ** min(faults, 20), _LONGEST_PAUSE)
            _log.warning("%s; tried again in %d s", printable(_said(error)), pause)
            stop.wait(pause)


def _said(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return ": ".join(str(part) for part in (error.filename, error.strerror) if part)
    return str(error) or type(error).__name__
