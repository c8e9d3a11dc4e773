"""Mail that a worker has claimed and whose lane takes it only in a moment: other mail goes meanwhile.

It stays under its lease, so nothing is written for it: no attempt, no event, no new time. There is a bound to it; what
is beyond is handed out again when its lease ends, early enough to follow what is in hand.
"""

import heapq
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count

from bouncekit.delivery.steps import Delivery

__all__ = ["Held", "InHand"]

_MOST = 200  # messages
_MOST_BYTES = 20_000_000
_LONGEST = timedelta(minutes=1)  # nothing waits here for so long: the clock was set back
_SOONEST, _LATEST = timedelta(seconds=0.5), timedelta(minutes=2)  # after which what is beyond is handed out again


@dataclass(frozen=True, slots=True)
class Held:
    """A message that waits in hand: until when, and under which lease."""

    delivery: Delivery
    relay: str
    token: str
    until: datetime


class InHand:
    """What the threads of one worker have in hand."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._heap: list[tuple[datetime, int, Held]] = []
        self._numbers = count()
        self._bytes = 0
        self._tokens: Counter[str] = Counter()
        self._taken: Counter[str] = Counter()  # those that somebody is at, by their leases
        self._relays: Counter[str] = Counter()
        self._turn = datetime.min.replace(tzinfo=UTC)

    def put(self, several: Sequence[Held]) -> bool:
        """Have these too; False, and none of them, where there is no room."""
        size = sum(map(_size, several))
        with self._lock:
            if len(self._heap) + len(several) > _MOST or self._bytes + size > _MOST_BYTES:
                return False
            for one in several:
                self._put(one)
            return True

    def put_back(self, one: Held) -> None:
        """Have one again that was taken: its lane had no place for it after all."""
        with self._lock:
            self._put(one)

    def take(self, now: datetime) -> Held | None:
        """The one whose time came first, if it has come; whoever takes it says when he is `done`."""
        with self._lock:
            if not self._heap or self._waits(now) > timedelta():
                return None
            one = heapq.heappop(self._heap)[2]
            self._count(one, -1)
            self._taken[one.token] += 1
            return one

    def done(self, one: Held) -> None:
        """Be at one no more that was taken."""
        with self._lock:
            self._taken -= Counter((one.token,))

    def let_go(self) -> Iterable[str]:
        """Have nothing any more; the leases under which all of it was."""
        with self._lock:
            tokens, self._heap, self._bytes = list(self._tokens), [], 0
            self._tokens.clear()
            self._relays.clear()
        return tokens

    def drop(self, token: str) -> None:
        """Have nothing any more under a lease."""
        with self._lock:
            gone = [one for _, _, one in self._heap if one.token == token]
            self._heap = [entry for entry in self._heap if entry[2].token != token]
            heapq.heapify(self._heap)
            for one in gone:
                self._count(one, -1)

    def turn(self, several: Sequence[Held], now: datetime) -> datetime:
        """When those for whom there is no room should come again: one batch behind the other, at their lane's pace."""
        pace = min(one.until for one in several) - now
        with self._lock:
            soonest = now + max(pace * len(self._heap) / 2, _SOONEST)
            turn = max(soonest, self._turn + pace * len(several))
            self._turn = turn if turn <= now + _LATEST else min(soonest, now + _LATEST)
            return self._turn

    def has(self, token: str) -> bool:
        """Whether anything is here under a lease, or somebody is at it."""
        return self._tokens[token] > 0 or self._taken[token] > 0

    def has_for(self, relay: str) -> bool:
        """Whether anything is here for a relay."""
        return self._relays[relay] > 0

    def waits(self, now: datetime) -> timedelta | None:
        """How long until the first one's time comes; None where nothing is here."""
        with self._lock:
            return self._waits(now) if self._heap else None

    def _waits(self, now: datetime) -> timedelta:
        waits = self._heap[0][0] - now
        return timedelta() if waits > _LONGEST else waits

    def _put(self, one: Held) -> None:
        heapq.heappush(self._heap, (one.until, next(self._numbers), one))
        self._count(one, 1)

    def _count(self, one: Held, by: int) -> None:
        self._bytes += by * _size(one)
        for counter, name in ((self._tokens, one.token), (self._relays, one.relay)):
            counter[name] += by
            if not counter[name]:
                del counter[name]


def _size(one: Held) -> int:
    return one.delivery.envelope.size_bytes
