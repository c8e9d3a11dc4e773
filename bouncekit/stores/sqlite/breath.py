"""When a process that writes all the time leaves the file free for a moment, so that another one comes to it.

Who waits for another process looks every few milliseconds. Where transactions take long, as on a slow disk, and one
begins behind the other, the file is free for so short that hardly any look meets it. Times are seconds of one clock.
"""

__all__ = ["Breath"]

_WHILE = 1.0  # behind which others have had their chance, or are given one
_CHANCES = 5  # times the longest way between two looks that it was free altogether are enough


class Breath:
    """How long a file was free between the transactions of this process.

    Args:
        longest_look: the longest way between two looks of whoever waits.
    """

    def __init__(self, *, longest_look: float) -> None:
        self._longest_look = longest_look
        self._since = self._ended = float("-inf")
        self._free = 0.0

    def ended(self, now: float) -> None:
        """A transaction is over."""
        self._ended = now

    def needed(self, now: float) -> float:
        """How long the next one, which would begin now, has to wait: nearly always 0."""
        free = now - self._ended
        self._free += free
        was_looked_at = free >= self._longest_look
        if not was_looked_at and now - self._since < _WHILE:
            return 0.0
        had_chance = was_looked_at or self._free >= _CHANCES * self._longest_look
        self._since, self._free = now, 0.0
        return 0.0 if had_chance else 2 * self._longest_look
