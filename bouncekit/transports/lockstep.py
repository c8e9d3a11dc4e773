"""Which servers are spoken to one command at a time though they offer PIPELINING: those that lost replies to a group.

Some servers throw away what they have read when they refuse something, or reset the line with their last words still
on the way. Asked again one by one they answer all.
"""

import time

__all__ = ["LockStep"]

_LASTS_SECONDS = 3600.0  # then the server may have been mended, or it was the network
_MOST_HOSTS = 1_000


class LockStep:
    """The hosts of one postmaster that had better not be asked several things at once.

    >>> lock_step = LockStep()
    >>> lock_step.add("mx.example.com")
    >>> "mx.example.com" in lock_step, "mx.example.net" in lock_step
    (True, False)
    """

    def __init__(self) -> None:
        self._until: dict[str, float] = {}

    def add(self, host: str) -> None:
        """Speak to it in lock-step for an hour."""
        self._until.pop(host, None)
        self._until[host] = time.monotonic() + _LASTS_SECONDS
        while len(self._until) > _MOST_HOSTS:
            self._until.pop(next(iter(self._until)), None)

    def __contains__(self, host: object) -> bool:
        return bool(self._until) and time.monotonic() < self._until.get(str(host), 0.0)
