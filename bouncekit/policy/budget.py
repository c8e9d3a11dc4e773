"""How many bounces and complaints a stream of mail may bring, and at which level it stands: values and arithmetic.

    within --warn--> warned --slow--> slowed --stop--> stopped       each where a rate reaches its bound
       ^-----------------------------------------------'             back where it has fallen well below it

Whoever provides the relay looks at these rates too, and closes the account of who exceeds them. A rate of few messages
says nothing, and one or two bounces are chance: below a sample nobody is judged.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from bouncekit.policy.lane import Pace

__all__ = ["LONGEST", "NOTHING", "Balance", "Bound", "Budget", "Level", "Spent", "Stream", "level_of", "reached"]

LONGEST = timedelta(days=30)  # that rates may be asked over: numbers by hour are kept for somewhat longer
_CHANCE = 2  # bounces or complaints that may be chance, whatever rate they are
_BACK = 0.8  # of a bound: a rate has to fall so far before its level is left
_SAMPLE_BACK = 0.5  # of the sample: the same, where mail becomes less
_PACE = Pace(60, timedelta(minutes=1))


class Level(StrEnum):
    """How much of its budget a stream has used."""

    WITHIN = "within"  # as it should be, or too few messages to tell
    WARNED = "warned"  # somebody should look
    SLOWED = "slowed"  # mail of the classes that are held goes at a pace
    STOPPED = "stopped"  # mail of these classes waits


class Stream(NamedTuple):
    """Mail whose rates are counted together: what one tenant sends under one name."""

    tenant: str = ""
    name: str = ""

    def __str__(self) -> str:
        name = f"stream {self.name}" if self.name else "mail without a stream"
        return f"{name} of {self.tenant}" if self.tenant else name


class Spent(NamedTuple):
    """Recipients that a server gave a word about, those of them whose address was bad, and complaints."""

    sent: int = 0
    bounced: int = 0
    complained: int = 0

    @property
    def bounce_rate(self) -> float:
        """Bad addresses among those who were sent to."""
        return self.bounced / self.sent if self.sent else 0.0

    @property
    def complaint_rate(self) -> float:
        """Complaints for each recipient who was sent to."""
        return self.complained / self.sent if self.sent else 0.0


NOTHING = Spent()


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """The rates at which a level begins; None: that rate has no such level."""

    bounces: float | None = None
    complaints: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """The levels of every stream: rates over `within`, where there are `at_least` recipients.

    `holds` are the classes whose mail is slowed, to `rate`, and stopped; other mail goes on. `notify` are the channels
    that hear of each level.
    """

    within: timedelta = timedelta(days=7)
    at_least: int = 1000
    warn: Bound | None = None
    slow: Bound | None = None
    stop: Bound | None = None
    rate: Pace = _PACE
    holds: frozenset[str] = frozenset()
    notify: tuple[str, ...] = ()

    def bounds(self) -> Iterator[tuple[Level, Bound]]:
        """The levels that it has, the worst first."""
        named = ((Level.STOPPED, self.stop), (Level.SLOWED, self.slow), (Level.WARNED, self.warn))
        return ((level, bound) for level, bound in named if bound is not None)

    def since(self, now: datetime) -> datetime:
        """From when on it counts."""
        return now - self.within


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """How a stream stands: what it has spent of late, and its level since when; None: always."""

    stream: Stream
    level: Level = Level.WITHIN
    spent: Spent = NOTHING
    since: datetime | None = None

    @property
    def bounce_rate(self) -> float:
        """Bad addresses among those who were sent to."""
        return self.spent.bounce_rate

    @property
    def complaint_rate(self) -> float:
        """Complaints for each recipient who was sent to."""
        return self.spent.complaint_rate


def level_of(budget: Budget, spent: Spent, before: Level) -> Level:
    """The level that a stream is at, which was at the one before.

    It gets there where a rate reaches its bound, and leaves it where all rates are well below: a rate that swings
    around its bound is told once.

    >>> budget = Budget(at_least=100, stop=Bound(bounces=0.1))
    >>> [str(level_of(budget, Spent(1000, bad), Level.WITHIN)) for bad in (99, 100)]
    ['within', 'stopped']
    >>> [str(level_of(budget, Spent(1000, bad), Level.STOPPED)) for bad in (80, 79)]
    ['stopped', 'within']
    """
    order = tuple(Level)
    for level, bound in budget.bounds():
        is_there = order.index(before) >= order.index(level)
        least = budget.at_least * (_SAMPLE_BACK if is_there else 1)
        if spent.sent >= least and any(reached(bound, spent, of=_BACK if is_there else 1)):
            return level
    return Level.WITHIN


def reached(bound: Bound, spent: Spent, *, of: float = 1) -> Iterator[str]:
    """What of a bound is reached, or this part of it: the names of the rates."""
    for name, number, most in (
        ("bounces", spent.bounced, bound.bounces),
        ("complaints", spent.complained, bound.complaints),
    ):
        if most is not None and number > _CHANCE and number >= round(most * of * spent.sent, 6):
            yield name
