"""How often a channel is told the same thing: at once, and then once for each window of the digest."""

import os
import threading
from dataclasses import dataclass
from datetime import datetime

from bouncekit.policy import Notice

__all__ = ["Moderation"]

_MAX_WINDOWS = 10_000


@dataclass(slots=True)
class _Window:
    opened_at: datetime
    folded: int = 0


class Moderation:
    """The digests of one office, in memory.

    Windows that opened long ago make room for new ones beyond `max_windows`; what they counted is then not told.

    >>> from datetime import UTC, datetime, timedelta
    >>> notice, noon = Notice("operations", digest=timedelta(minutes=15)), datetime(2026, 1, 1, 12, tzinfo=UTC)
    >>> moderation = Moderation()
    >>> [moderation.admit(notice, "blocklisted", noon + timedelta(minutes=late)) for late in (0, 5, 14, 15)]
    [0, None, None, 2]
    """

    def __init__(self, *, max_windows: int = _MAX_WINDOWS) -> None:
        self._max_windows = max_windows
        self._windows: dict[tuple[str, str], _Window] = {}  # the longest open first
        self._lock, self._pid = threading.Lock(), os.getpid()

    def admit(self, notice: Notice, key: str, now: datetime) -> int | None:
        """How many were kept back since the last one that went out; None if this one is kept back too.

        `key` says what makes two notices to one channel the same.
        """
        if notice.digest is None:
            return 0
        with self._own_lock():
            about = (notice.channel, key)
            window = self._windows.get(about)
            # A clock that was set back does not keep a window open for as long as it was set back.
            if window is not None and window.opened_at <= now < window.opened_at + notice.digest:
                window.folded += 1
                return None
            self._windows.pop(about, None)
            while len(self._windows) >= self._max_windows:
                del self._windows[next(iter(self._windows))]
            self._windows[about] = _Window(now)
            return window.folded if window else 0

    def _own_lock(self) -> threading.Lock:
        """The lock of this process: another thread may have held the parent's while it forked."""
        if self._pid != os.getpid():
            self._lock, self._pid = threading.Lock(), os.getpid()
        return self._lock
