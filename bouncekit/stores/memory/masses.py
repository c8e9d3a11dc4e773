"""The counts of a store in memory, of the 20,000 providers, fingerprints and streams that were counted last."""

from collections import OrderedDict
from collections.abc import Iterable
from datetime import datetime, timedelta
from itertools import takewhile

from bouncekit.delivery.tallied import Sum, subject_of_stream
from bouncekit.policy.budget import Spent, Stream
from bouncekit.policy.guard import Count, Mass, Pattern
from bouncekit.stores.budgeting import stream_of
from bouncekit.stores.masses import (
    OF_A_STREAM,
    SPENT_BY,
    Counted,
    CountedBy,
    Spans,
    beginning,
    dated_back,
    hour,
    latest,
)

__all__ = ["MemoryMasses"]

_MOST_SUBJECTS = 20_000
_MOST_TIMES = 1_500  # minutes, somewhat more than a day of them; of days never so many are asked for


class MemoryMasses:
    """Numbers by what they count and whose; in the hands of a store that locks."""

    def __init__(self) -> None:
        self._numbers: OrderedDict[tuple[CountedBy, str], dict[int, int]] = OrderedDict()

    def add(self, counts: Iterable[Counted]) -> None:
        """Add numbers to their minutes and days."""
        for by, subject, began_at, number in counts:
            times = self._numbers.setdefault((by, subject), {})
            is_late = began_at not in times and bool(times) and began_at < next(reversed(times))
            times[began_at] = times.get(began_at, 0) + number
            if is_late:  # remembered only now; rare enough to put it in its place
                self._numbers[by, subject] = times = dict(sorted(times.items()))
            if len(times) > _MOST_TIMES:
                del times[next(iter(times))]
            self._numbers.move_to_end((by, subject))
        while len(self._numbers) > _MOST_SUBJECTS:
            self._numbers.popitem(last=False)

    def mass(self, pattern: Pattern, within: timedelta, now: datetime) -> Mass:
        """See `Store.look_up`."""
        spans, provider, fingerprint = Spans.at(now, within), pattern.provider, pattern.fingerprint
        refused = self._numbers.get((CountedBy.REFUSALS_DAILY, provider), {})
        answered = self._numbers.get((CountedBy.ANSWERS_DAILY, provider), {})
        return Mass(
            recent=tuple(
                Count(
                    self._sum(CountedBy.REFUSALS, fingerprint, since, spans.latest),
                    self._sum(CountedBy.ANSWERS, provider, since, spans.latest),
                )
                for since in (spans.window, spans.reach)
            ),
            days=tuple(
                Count(refused.get(day, 0), number)
                for day, number in answered.items()
                if spans.usual <= day < spans.until
            ),
            goes_on=self._sum(CountedBy.TRIPS, fingerprint, spans.reach, spans.latest) > 0,
        )

    def sum(self, asked: Sum, now: datetime) -> int:
        """See `Store.look_up`."""
        number = asked.number
        return self._sum(CountedBy(number.of.value), number.subject, beginning(now, asked.within), latest(now))

    def spent(self, since: int, stream: Stream | None) -> dict[Stream, Spent]:
        """See `Budgeting.spent`."""
        asked = None if stream is None else subject_of_stream(stream)
        names = {name for by, name in self._numbers if by in SPENT_BY} if asked is None else {asked}
        began = hour(since)
        found = {name: Spent(*(self._spent(by, name, began) for by in SPENT_BY)) for name in names}
        return {stream_of(name): spent for name, spent in found.items() if any(spent)}

    def date_back(self, stream: Stream, ahead_of: int, to: datetime) -> bool:
        """See `Budgeting.date_back`."""
        subject, began = subject_of_stream(stream), hour(ahead_of)
        ahead = [
            Counted(by, subject, began_at, self._numbers[by, subject].pop(began_at))
            for by in OF_A_STREAM
            for began_at in tuple(self._numbers.get((by, subject), ()))
            if began_at >= began
        ]
        if ahead:
            self.add(dated_back(ahead, to))
        return bool(ahead)

    def forgive(self, stream: Stream) -> None:
        """Begin the counts of a stream anew."""
        for by in SPENT_BY:
            self._numbers.pop((by, subject_of_stream(stream)), None)

    def _spent(self, by: CountedBy, subject: str, since: int) -> int:
        """The sum by the hour: what one has got back too much, no other has to make up for."""
        times = self._numbers.get((by, subject), {})
        return sum(max(number, 0) for began_at, number in times.items() if began_at >= since)

    def _sum(self, by: CountedBy, subject: str, since: int, until: int) -> int:
        """The sum of what is not older, from the newest on: there may be a day of minutes, and an hour is asked for."""
        times = self._numbers.get((by, subject), {})
        newest = takewhile(lambda one: one[0] >= since, reversed(times.items()))
        return sum(number for began_at, number in newest if began_at <= until)
