"""What PostgreSQL and libpq say: the error by its name, with what would be right."""

from collections.abc import Mapping

import psycopg

from bouncekit.stores.postgres.place import PostgresPlace
from bouncekit.stores.sql.database import AGAINST_RULES, Interrupted
from bouncekit.words.errors import StoreBusy, StoreCorrupt, StoreError, StoreFull, StoreReadOnly, StoreRefused

__all__ = ["fault", "first_line"]

_DAMAGED = "damaged; restore a backup, see the server's log"
_NO_STORE = "the tables of the store are not, or no longer, what this bouncekit made there"
# The error and what would be right, by SQLSTATE, the whole of it or its class.
_FAULTS: Mapping[str, tuple[type[StoreError], str]] = {
    "53100": (StoreFull, "the server's disk is full; make room, then nothing else is to be done"),
    "53300": (StoreBusy, "the server has no connection left; raise max_connections, or run fewer processes"),
    "53": (StoreBusy, "the server is short of memory or locks; see its log"),
    "55P03": (StoreBusy, "locked by others for longer than we wait; see pg_stat_activity"),
    "57014": (StoreBusy, "the server did not finish in time; see pg_stat_activity"),
    "25006": (StoreReadOnly, "read-only; a standby? name the primary: ?target_session_attrs=read-write"),
    "42501": (StoreReadOnly, "this role may not; let it own the schema, or grant it all on what is in there"),
    "22": (StoreRefused, AGAINST_RULES),
    "23": (StoreRefused, AGAINST_RULES),
    "XX001": (StoreCorrupt, _DAMAGED),
    "XX002": (StoreCorrupt, _DAMAGED),
    "3F000": (StoreCorrupt, _NO_STORE),
    "42": (StoreCorrupt, _NO_STORE),
}
# The server goes or comes, or has ended one of two that were in each other's way.
_PASSING = frozenset({"40001", "40P01", "57P01", "57P02", "57P03", "57P05", "25P03", "25P04"})
_NOT_SENT = (psycopg.DataError, psycopg.ProgrammingError)  # without a SQLSTATE: a value that the server does not have
_NO_DATABASE = "correct its name, or let createdb --encoding UTF8 make it"
_NO_ENTRY = "correct user, password or sslmode here, or pg_hba.conf there"
# Who is refused while connecting gets no SQLSTATE from libpq, only words.
_COMING = ("starting up", "shutting down", "recovery mode", "not yet accepting", "not accepting", "too many clients")


def fault(error: psycopg.Error, place: PostgresPlace) -> StoreError:
    """What went wrong at a server, by its name, with what would be right."""
    state, said = error.sqlstate or "", first_line(error)
    if not state and "FATAL:" in said and not any(words in said for words in _COMING):
        to_do = _NO_DATABASE if 'FATAL:  database "' in said else _NO_ENTRY
        return StoreError(f"{place}: the server refuses ({said}); {to_do}")
    if state in _PASSING or state.startswith("08") or (not state and isinstance(error, psycopg.OperationalError)):
        return Interrupted(f"{place}: the server is away, or others are in the way ({said})")
    if not state and isinstance(error, _NOT_SENT):
        return StoreRefused(f"{place}: {AGAINST_RULES} ({said})")
    kind, advice = _FAULTS.get(state) or _FAULTS.get(state[:2]) or (StoreError, "see the server's log")
    return kind(f"{place}: {advice} ({said})")


def first_line(error: Exception) -> str:
    """What is said of it, without what libpq says behind that."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
