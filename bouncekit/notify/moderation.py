"""How often a channel is told: the same thing once for each digest, and never more than its limit allows.

What is kept back is counted, and told with the next notice that goes out by the same window, or by itself when that
window is over: `due` gives it then. So a day on which ten thousand mails fail is a few messages.
"""

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from bouncekit.delivery.events import Event
from bouncekit.policy.rule import Limit, Notice

__all__ = ["Folded", "Moderation"]

_MAX_WINDOWS = 10_000
# Where the policy says nothing else. The role `recipient` is as many people as there are addresses.
_LIMIT = Limit(20, timedelta(hours=1))
_LIMITS = {"recipient": Limit(1, timedelta(days=1), per_recipient=True)}

_About = tuple[str, ...]  # a channel, then what the window is about; the channel alone for its limit
_PER_RECIPIENT = 4  # the length of one that is about a recipient: channel, category, "", key


@dataclass(frozen=True, slots=True)
class Folded:
    """A notice that is due for what was kept back: about `event`, the last one, and `more` before it."""

    event: Event
    notice: Notice
    more: int


@dataclass(frozen=True, slots=True)
class _Gate:
    """Through which a notice has to go: so many within a time."""

    about: _About
    times: int
    within: timedelta


@dataclass(slots=True)
class _Window:
    """The time since a gate let one through, and what it kept back since."""

    opened_at: datetime
    within: timedelta
    room: int
    folded: int = 0
    last: tuple[Event, Notice] | None = None

    @property
    def ends_at(self) -> datetime:
        return self.opened_at + self.within

    def is_over(self, now: datetime) -> bool:
        """A clock that was set back does not keep a window open for as long as it was set back."""
        return not self.opened_at <= now < self.ends_at

    def fold(self, event: Event, notice: Notice, number: int = 1) -> None:
        self.folded += number
        self.last = (event, notice)


class Moderation:
    """The windows of one postmaster's channels, in memory, no more than `max_windows`.

    Beyond that the ones that opened first make room, and what they kept back is counted to their channel.
    """

    def __init__(self, *, max_windows: int = _MAX_WINDOWS) -> None:
        self._max_windows = max_windows
        self._windows: dict[_About, _Window] = {}  # the longest open first
        self._spilled: dict[str, _Window] = {}  # what those that made room had kept back, by channel
        self._next_due: datetime | None = None  # nothing is due before
        self._lock, self._pid = threading.Lock(), os.getpid()

    def admit(self, notice: Notice, event: Event) -> int | None:
        """How many were kept back since the last one that went out; None if this one is kept back too."""
        with self._own_lock():
            return self._admit(notice, event, event.at)

    def due(self, now: datetime, *, closing: bool = False) -> tuple[Folded, ...]:
        """What was kept back by windows that are over. It counts as told.

        With `closing`, all that was kept back: one notice for a channel, or for each recipient where the limit is so.
        """
        if self._next_due is None and not closing:
            return ()  # asked with every send
        with self._own_lock():
            if closing:
                return tuple(self._all())
            if self._next_due is None or now < self._next_due:
                return ()
            told = tuple(self._over(now))
            self._next_due = min((window.ends_at for window in self._windows.values() if window.folded), default=None)
            return told

    def next_due(self) -> datetime | None:
        """When to ask what is due; None: nothing was kept back."""
        with self._own_lock():
            return self._next_due

    def _admit(self, notice: Notice, event: Event, now: datetime, folded: int = 0) -> int | None:
        """Let a notice through all of its gates, with what they kept back; or fold it into the first that is shut."""
        gates = tuple(_gates(notice, event))
        for gate in gates:
            window = self._windows.get(gate.about)
            if window is not None and not window.room and not window.is_over(now):
                window.fold(event, notice, folded + 1)
                self._next_due = min(self._next_due or window.ends_at, window.ends_at)
                return None
        return folded + sum(self._pass(gate, now) for gate in gates)

    def _pass(self, gate: _Gate, now: datetime) -> int:
        """Take the room for one, in a new window where the old one is over; what that kept back is told with it."""
        window = self._windows.get(gate.about)
        kept_back = window.folded if window is not None else 0
        if window is None or window.is_over(now):
            self._windows.pop(gate.about, None)
            while len(self._windows) >= self._max_windows:
                self._make_room()
            window = self._windows[gate.about] = _Window(now, gate.within, gate.times)
        window.room -= 1
        window.folded, window.last = 0, None
        return kept_back

    def _over(self, now: datetime) -> Iterator[Folded]:
        # A digest first: it may take with it what the limit of its channel kept back.
        over = [(about, window) for about, window in self._windows.items() if window.is_over(now)]
        for about, window in sorted(over, key=lambda one: -len(one[0])):
            if self._windows.get(about) is window:
                del self._windows[about]
                yield from self._end(window, now)
        while self._spilled:
            yield from self._end(self._spilled.popitem()[1], now)

    def _all(self) -> Iterator[Folded]:
        kept: dict[_About, _Window] = {}
        for about, window in (*self._windows.items(), *(((name,), one) for name, one in self._spilled.items())):
            whole = about if len(about) == _PER_RECIPIENT else about[:1]
            if window.last is not None and kept.setdefault(whole, window) is not window:
                kept[whole].fold(*window.last, window.folded)
        self._windows.clear()
        self._spilled.clear()
        self._next_due = None
        for window in kept.values():
            assert window.last is not None
            yield Folded(*window.last, window.folded - 1)

    def _end(self, window: _Window, now: datetime) -> Iterator[Folded]:
        """What a window kept back that is no more, if that is anything and the other gates let it through."""
        if window.last is None:
            return
        event, notice = window.last
        more = self._admit(notice, event, now, window.folded - 1)
        if more is not None:
            yield Folded(event, notice, more)

    def _make_room(self) -> None:
        oldest = self._windows.pop(next(iter(self._windows)))
        if oldest.last is not None:
            event, notice = oldest.last
            if before := self._spilled.get(notice.channel):
                before.fold(event, notice, oldest.folded)
            else:
                self._spilled[notice.channel] = oldest

    def _own_lock(self) -> threading.Lock:
        """The lock of this process: another thread may have held the parent's while it forked.

        What was kept back before is the parent's to tell.
        """
        if self._pid != os.getpid():
            self._lock, self._pid = threading.Lock(), os.getpid()
            self._spilled.clear()
            self._next_due = None
            for window in self._windows.values():
                window.folded, window.last = 0, None
        return self._lock


def _gates(notice: Notice, event: Event) -> Iterator[_Gate]:
    """The gates of a notice, the narrowest first."""
    settlement = event.settlement
    assert settlement is not None, "a notice is about a settlement"
    channel, category = notice.channel, str(settlement.category)
    if notice.digest is not None:
        yield _Gate((channel, category, str(settlement.rule)), 1, notice.digest)
    limit = notice.limit or _LIMITS.get(channel, _LIMIT)
    about = (channel, category, "", settlement.key or settlement.recipient) if limit.per_recipient else (channel,)
    yield _Gate(about, limit.times, limit.within)
