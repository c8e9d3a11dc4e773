"""How a store gives away what waits in it, and takes in what waited in another: one of them may send at a time.

Three steps lead from one store to the other, each a transaction of one of them. What was taken along is received in the
other store, where nobody sends it; then it is handed over: gone from the first one, with an event for each recipient;
then it is let in. Whoever is killed before the hand-over leaves the first store as it was once the lease is over,
and behind it the same hand-over, asked for again, answers the same, so that anybody can go on from there.
"""

from collections.abc import Mapping, Sequence, Set
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol

from bouncekit.delivery.parcel import Arrival, Moves, Parcel
from bouncekit.delivery.queue import Lease

__all__ = ["FIRST", "Moving", "TakenAlong"]

FIRST = ("", "")  # before every message and recipient


class TakenAlong(NamedTuple):
    """What was taken, and behind which message and recipient the next of them stand; None: nobody does."""

    parcels: Sequence[Parcel]
    behind: tuple[str, str] | None


class Moving(Protocol):
    """The part of a store that gives and takes what waits."""

    def take_along(self, *, now: datetime, lease: Lease, limit: int, after: tuple[str, str] = FIRST) -> TakenAlong:
        """Take up to `limit` recipients whom nobody is at, whatever they wait for, in the order of message and address.

        As with `Queue.claim`, nobody else has them until the lease ends. Left are, whatever became of their leases, who
        has an open attempt, and whom an application was sending to itself: a worker sees to them. What cannot be read
        back is left out, and a line of the log names the message.
        """

    def receive(self, arrivals: Sequence[Arrival]) -> None:
        """Keep these where nobody sends them and nobody sees them in the queue. One that is there already stays."""

    def arriving(self, *, after: tuple[str, str] = FIRST, limit: int) -> Sequence[Arrival]:
        """What was received and not let in, in the order of token and message, behind these two.

        Raises:
            StoreCorrupt: one cannot be read back.
        """

    def hand_over(
        self, token: str, moves: Moves, *, at: datetime, keep: timedelta = timedelta()
    ) -> Mapping[str, Set[str]]:
        """Let those go that are still under this lease, and tell it; who is gone by it, now or before.

        All others are somebody else's by now, for good: they must not be let in anywhere. A message stays for `keep`
        once nobody waits for it here.
        """

    def let_in(self, token: str, moves: Moves) -> None:
        """Have those of what was received under a token wait here as they did there, and tell it.

        The other recipients of these messages are forgotten. Who waits here already is left as he is.
        """
