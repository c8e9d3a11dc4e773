"""The trail of a store in PostgreSQL, which names its place in the world."""

from bouncekit.stores.sql.trail import SqlTrail

__all__ = ["PostgresTrail"]

_ORIGIN = """
    SELECT system_identifier || '/' || oid || '/' || current_schema()
    FROM pg_control_system(), pg_database WHERE datname = current_database()"""


class PostgresTrail(SqlTrail):
    """See `bouncekit.stores.trail.SharedTrail`."""

    def origin(self) -> str:
        """See `SharedTrail.origin`: by the server's own number, whatever names it has."""
        return str(self._database.read(_ORIGIN)[0][0])
