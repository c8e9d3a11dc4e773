"""How far the durable readers of the events have come, and what may be forgotten."""

from datetime import datetime
from typing import Protocol

__all__ = ["Cursors"]


class Cursors(Protocol):
    """The part of a store that its durable readers use. A cursor is at 0 until it is moved."""

    def read_cursor(self, name: str) -> int:
        """The sequence number of the last event that this reader is done with."""

    def claim_cursor(self, name: str, *, owner: str, now: datetime, until: datetime) -> int | None:
        """Be this reader until a time: its sequence number, None while another owner's lease runs."""

    def move_cursor(self, name: str, *, owner: str, sequence: int, now: datetime, until: datetime) -> bool:
        """Move a cursor, never back, and the end of the lease. False, and nothing moved, if another one has it."""

    def release_cursor(self, name: str, owner: str) -> None:
        """Let others be this reader at once. Nothing happens if another one is."""

    def prune(self, *, before: datetime, limit: int = 10_000) -> int:
        """Forget events, outcomes and settled attempts from before a time, up to `limit` rows; how many that were.

        No event is forgotten that a cursor has not passed: one that nobody moves any more keeps all behind it. In
        small transactions: others may write between. Suppressions and the audit of their changes stay.
        """
