"""A clock for tests: it stands still until somebody sleeps or moves it."""

import threading
from datetime import UTC, datetime, timedelta

__all__ = ["ManualClock"]


class ManualClock:
    """Time as a test wants it; `slept` has every wait, in seconds.

    >>> clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    >>> clock.sleep(90)
    >>> clock.now().isoformat(), clock.slept
    ('2026-01-01T00:01:30+00:00', [90])
    """

    def __init__(self, start: datetime | None = None) -> None:
        self._now = start or datetime(2026, 1, 1, 12, tzinfo=UTC)
        self._ids = 0
        self._lock = threading.Lock()
        self.slept: list[float] = []

    def now(self) -> datetime:
        return self._now

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self.slept.append(seconds)
            self._now += timedelta(seconds=max(0.0, seconds))

    def move(self, by: timedelta) -> None:
        """Let time pass without anybody waiting for it."""
        with self._lock:
            self._now += by

    def new_id(self) -> str:
        with self._lock:
            self._ids += 1
            return f"{int(self._now.timestamp() * 1000):012x}{self._ids:020x}"
