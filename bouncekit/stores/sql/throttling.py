"""The states of lanes in a SQL store: one small row for each that is slow or paused."""

from collections.abc import Mapping

from bouncekit.policy.lane import Lane, LaneKind
from bouncekit.policy.throttle import Flow
from bouncekit.stores.codec import storable
from bouncekit.stores.sql.database import Database, retried
from bouncekit.stores.throttling import KeptFlow, flow_of, flow_text

__all__ = ["SqlThrottling"]

_ALL = "SELECT kind, name, token, state FROM flows"
_NEW = "INSERT INTO flows (kind, name, token, state) VALUES (?, ?, ?, ?) ON CONFLICT (kind, name) DO NOTHING"
_SWAP = "UPDATE flows SET token = ?, state = ? WHERE kind = ? AND name = ? AND token = ?"
_DROP = "DELETE FROM flows WHERE kind = ? AND name = ? AND token = ?"


class SqlThrottling:
    """See `bouncekit.stores.throttling.Throttling`."""

    _database: Database

    def flows(self) -> Mapping[Lane, KeptFlow]:
        """See `Throttling.flows`."""
        return {
            Lane(LaneKind(kind), name): KeptFlow(flow_of(state), token)
            for kind, name, token, state in self._database.read(_ALL)
        }

    @retried
    def swap_flow(self, lane: Lane, before: str | None, after: Flow | None, *, token: str) -> bool:
        """See `Throttling.swap_flow`."""
        place = (lane.kind.value, storable(lane.name))
        if after is None and before is None:
            return True
        with self._database.writing() as transaction:
            if after is None:
                return transaction.execute(_DROP, (*place, before)).rowcount == 1
            if before is None:
                return transaction.execute(_NEW, (*place, token, flow_text(after))).rowcount == 1
            return transaction.execute(_SWAP, (token, flow_text(after), *place, before)).rowcount == 1
