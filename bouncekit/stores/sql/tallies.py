"""What a SQL store counts: a million outcomes in a second, from the index by time."""
# ruff: noqa: S608 - what is put into a text is ours: names of columns

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType

from bouncekit.stores.codec import milliseconds
from bouncekit.stores.sql.database import Database
from bouncekit.stores.tallies import Facet, Talker, Tally

__all__ = ["SqlTallies"]

_FACETS = MappingProxyType(
    {
        Facet.CATEGORY: "category",
        Facet.RULE: "rule",
        Facet.HOST: "remote_mta",
        Facet.JUDGE: "classified_by",
        Facet.TENANT: "tenant",
        Facet.STREAM: "stream",
        Facet.RECIPIENT: "recipient",
        # What stands behind the last @: a pseudonym has none, nearly all others have one, which is found at once.
        Facet.DOMAIN: "CASE instr(substr(recipient, instr(recipient, '@') + 1), '@') WHEN 0 THEN "
        "CASE instr(recipient, '@') WHEN 0 THEN '' ELSE lower(substr(recipient, instr(recipient, '@') + 1)) END ELSE "
        "lower(substr(recipient, length(rtrim(recipient, replace(recipient, '@', ''))) + 1)) END",
    }
)
# Counted once, by the database, which does so on its disk where there are many; few come out.
_TALKERS = """
    WITH counted AS MATERIALIZED (
        SELECT {name} AS name, count(*) AS outcomes, sum(CASE WHEN action = 'failed' THEN 1 ELSE 0 END) AS failed
        FROM outcomes WHERE at >= :since AND at < :until AND test = 0 GROUP BY 1)
    SELECT name, outcomes, failed FROM counted WHERE name <> '' AND name IN (
        SELECT name FROM (SELECT name FROM counted WHERE name <> '' ORDER BY outcomes DESC, name LIMIT :limit) AS most
        UNION SELECT name FROM (
            SELECT name FROM counted WHERE name <> '' AND failed > 0 ORDER BY failed DESC, name LIMIT :limit) AS worst)
    ORDER BY outcomes DESC, failed DESC, name"""
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

    def talkers(self, facet: Facet, *, since: datetime, until: datetime, limit: int) -> Sequence[Talker]:
        """See `Tallies.talkers`."""
        asked = {"since": milliseconds(since), "until": milliseconds(until), "limit": max(limit, 0)}
        rows = self._database.read(_TALKERS.format(name=_FACETS[facet]), asked)
        return [Talker(name, outcomes, int(failed)) for name, outcomes, failed in rows]

    def tally_events(self, *, since: datetime, until: datetime) -> Mapping[str, int]:
        """See `Tallies.tally_events`."""
        return dict(self._database.read(_EVENTS, (milliseconds(since), milliseconds(until))))
