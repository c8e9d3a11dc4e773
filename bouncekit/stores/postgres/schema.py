"""The tables of a store in PostgreSQL: how a database gets them, an old one the newer ones, and a foreign one is known.

They have a schema of their own, so a store can be in an application's database. Migrations are the numbered files of
`migrations/`. The table `bouncekit` says how many have been applied; all that are missing are applied in one
transaction, under a lock, so that any number of processes may start at once. It also has a hash of what was applied: a
migration that was released is never edited, and what an earlier text of it has made is told from the others.
"""

from functools import cache
from hashlib import blake2b
from importlib.resources import files
from typing import Any

import psycopg

from bouncekit.stores.postgres.place import PostgresPlace
from bouncekit.words.errors import StoreCorrupt, StoreReadOnly

__all__ = ["migrate", "newest_version"]

_Connection = psycopg.Connection[tuple[Any, ...]]

_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('bouncekit ' || %s, 0))"
# Of the catalogue itself: `to_regclass` may remember that there was no such schema before the lock.
_MARKED = """
    SELECT 1 FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE nspname = %s AND relname = 'bouncekit'"""
# A store from before the release has no such column.
_VERSION = "SELECT max(version), max(to_jsonb(bouncekit) ->> 'made_from') FROM bouncekit"
_MAY_MAKE = "SELECT has_database_privilege(current_database(), 'CREATE')"
_IS_THERE = "SELECT EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = %s)"
_ANYTHING = "SELECT relname FROM pg_class WHERE relnamespace = %s::regnamespace ORDER BY relname LIMIT 1"
_LEFT = "it was left as it is: name another schema, ?schema=bounces"


@cache
def newest_version() -> int:
    """The version that this bouncekit writes."""
    return len(_migrations())


def migrate(connection: _Connection, place: PostgresPlace) -> None:
    """Apply the migrations that a schema has not had; nothing where it has had all. The connection is in autocommit.

    Raises:
        StoreCorrupt: what is there is no store, or a newer bouncekit has been here.
        StoreReadOnly: it is not there, and this role may not make it.
        psycopg.Error
    """
    if _version(connection, place) == newest_version():
        return
    with connection.transaction():
        connection.execute(_LOCK, (place.schema,))
        done = _version(connection, place)  # perhaps another one than before the lock
        if done == newest_version():
            return
        if not done:
            _begin(connection, place)
        for number, text in enumerate(_migrations()[done:], done + 1):
            connection.execute(text.encode())
            connection.execute("UPDATE bouncekit SET version = %s, made_from = %s", (number, _edition(number)))


def _version(connection: _Connection, place: PostgresPlace) -> int:
    """How many migrations there were; 0 where there is no store yet."""
    if _one(connection, _MARKED, place.schema) is None:
        return 0
    version, made_from = connection.execute(_VERSION.encode()).fetchone() or (None, None)
    if not isinstance(version, int):
        raise StoreCorrupt(f"{place}: its schema {place.schema} holds a table named bouncekit, but no store; {_LEFT}")
    if version > newest_version():
        known = f"schema {version}, this one knows up to {newest_version()}"
        raise StoreCorrupt(f"{place}: written by a newer bouncekit ({known}); upgrade bouncekit")
    if made_from != _edition(version):
        raise StoreCorrupt(
            f"{place}: made by a bouncekit from before its release, with other tables; it was left as it is: export its"
            " list with that one (`bouncekit suppressions export`), and import it into another schema, ?schema=bounces"
        )
    return version


def _begin(connection: _Connection, place: PostgresPlace) -> None:
    """Make the schema where it is not, and mark it as ours; one that holds anything is somebody else's."""
    if not _one(connection, _IS_THERE, place.schema):
        if not _one(connection, _MAY_MAKE):
            asked = f"CREATE SCHEMA {place.schema} AUTHORIZATION {connection.info.user}"
            raise StoreReadOnly(f"{place}: no schema {place.schema}, and this role may not make it; {asked}")
        connection.execute(f'CREATE SCHEMA "{place.schema}"'.encode())
    elif found := _one(connection, _ANYTHING, f'"{place.schema}"'):
        raise StoreCorrupt(f"{place}: the schema {place.schema} holds {found!r}, but no bouncekit store; {_LEFT}")
    connection.execute('CREATE TABLE bouncekit (version BIGINT NOT NULL, made_from TEXT COLLATE "C" NOT NULL)')
    connection.execute("INSERT INTO bouncekit VALUES (0, %s)", (_edition(0),))


def _one(connection: _Connection, statement: str, *values: object) -> Any:
    row = connection.execute(statement.encode(), values or None).fetchone()
    return None if row is None else row[0]


@cache
def _edition(version: int) -> str:
    """A hash of the migrations up to one, as they are written here; comments may change."""
    lines = (line for text in _migrations()[:version] for line in text.splitlines() if not line.startswith("--"))
    return blake2b(" ".join(" ".join(lines).split()).encode(), digest_size=16).hexdigest()


@cache
def _migrations() -> tuple[str, ...]:
    """The migrations in order; the n-th file's name begins with n."""
    folder = files("bouncekit.stores.postgres") / "migrations"
    found = sorted((entry for entry in folder.iterdir() if entry.name.endswith(".sql")), key=lambda entry: entry.name)
    assert [int(entry.name[:4]) for entry in found] == list(range(1, len(found) + 1)), "a migration is missing"
    return tuple(entry.read_text("utf-8") for entry in found)
