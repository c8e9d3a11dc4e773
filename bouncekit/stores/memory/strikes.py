"""The strikes of a store in memory: those of the last 366 days, of the mailboxes that got one last."""

from collections import OrderedDict
from collections.abc import Collection, Iterable
from datetime import datetime

from bouncekit.delivery.steps import Strike
from bouncekit.meaning.classification import Category
from bouncekit.policy.rule import Window
from bouncekit.stores.codec import milliseconds
from bouncekit.words.envelope import Labels

__all__ = ["MemoryStrikes"]

_MOST_DAYS = 366
_DAY_MILLISECONDS = 86_400_000

_Days = dict[int, int]  # day -> the time of its last strike


class MemoryStrikes:
    """The days on which mailboxes got strikes, by category; in the hands of a store that locks."""

    def __init__(self, most: int) -> None:
        self._most = most
        # (tenant, stream, key) -> category -> days; the latest struck stand last
        self._struck: OrderedDict[tuple[str, str, str], dict[Category, _Days]] = OrderedDict()

    def add(self, strikes: Collection[Strike], labels: Labels, at: datetime) -> None:
        """Note strikes that were got at a time: one a day counts, the last."""
        if not strikes:
            return
        now = milliseconds(at)
        day = now // _DAY_MILLISECONDS
        for strike in strikes:
            place = (labels.tenant, labels.stream, strike.key)
            days = self._struck.setdefault(place, {}).setdefault(strike.category, {})
            days[day] = max(now, days.get(day, now))
            if len(days) > _MOST_DAYS:
                del days[min(days)]
            self._struck.move_to_end(place)
        while len(self._struck) > self._most:
            self._struck.popitem(last=False)

    def clear(self, keys: Iterable[str], labels: Labels) -> None:
        """Forget the strikes of mailboxes that took mail."""
        for key in keys if self._struck else ():
            self._struck.pop((labels.tenant, labels.stream, key), None)

    def count(self, labels: Labels, key: str, window: Window, now: datetime) -> int:
        """See `Store.look_up`."""
        days = self._struck.get((labels.tenant, labels.stream, key), {}).get(window.category, {})
        today, earliest = milliseconds(now) // _DAY_MILLISECONDS, milliseconds(now - window.within)
        return sum(day < today and last >= earliest for day, last in days.items())

    def erase(self, key: str) -> int:
        """Forget the strikes of a person; of how many tenants and streams there were any."""
        struck = [place for place in self._struck if place[2] == key]
        for place in struck:
            del self._struck[place]
        return len(struck)
