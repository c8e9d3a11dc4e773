"""What a SQL store counts: a million outcomes in a second, from the index by time."""
# ruff: noqa: S608

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType

from bouncekit.stores.codec import milliseconds
from bouncekit.stores.sql.database import Database
from bouncekit.stores.tallies import Facet, Tally

__all__ = ["SqlTallies"]

_FACETS = MappingProxyType(
    {
        Facet.CATEGORY: "category",
        Facet.RULE: "rule",
        Facet.HOST: "remote_mta",
        Facet.JUDGE: "classified_by",
        # What stands behind the last @: a local part may hold one too, and a pseudonym has none.
        Facet.DOMAIN: "CASE WHEN recipient LIKE '%@%' THEN "
        "lower(substr(recipient, length(rtrim(recipient, replace(recipient, '@', ''))) + 1)) ELSE '' END",
    }
)
_EVENTS = "SELECT type, count(*) FROM outbox WHERE at >= ? AND at < ? GROUP BY type"


class SqlTallies:
    """See `bouncekit.stores.tallies.Tallies`."""

    _database: Database

    def tally(self, *facets: Facet, since: datetime, until: datetime) -> Tally:
        """See `Tallies.tally`."""
        told_apart = ", ".join(("action", *(_FACETS[facet] for facet in facets)))
        statement = (
            f"SELECT {told_apart}, count(*) FROM outcomes WHERE at >= ? AND at < ? AND test = 0 GROUP BY {told_apart}"
        )
        rows = self._database.read(statement, (milliseconds(since), milliseconds(until)))
        return {tuple(values): number for *values, number in rows}

    def tally_events(self, *, since: datetime, until: datetime) -> Mapping[str, int]:
        """See `Tallies.tally_events`."""
        return dict(self._database.read(_EVENTS, (milliseconds(since), milliseconds(until))))
