"""Where a store in PostgreSQL is: a URL as libpq reads it, and the schema; the password is in no repr and no message.

    postgresql://user:secret@host:5432/database
    postgresql://host/database?sslmode=verify-full&schema=bounces
    postgresql:///database?host=/var/run/postgresql
    postgresql://one,two/database?target_session_attrs=read-write

What a URL leaves out comes from where psql takes it: PGHOST, PGUSER, PGPASSWORD, ~/.pgpass ...
"""

import re
from dataclasses import dataclass, field
from typing import Any

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from bouncekit.words.errors import ConfigurationError

__all__ = ["PostgresPlace"]

_SCHEMA = "bouncekit"
_IS_SCHEMA = re.compile(r"[a-z_][a-z0-9_]{0,62}").fullmatch
_EXAMPLE = "postgresql://user:password@host/database"
# Unless the URL says otherwise: who is unplugged is found out within half a minute.
_DEFAULTS = {
    "connect_timeout": "5",
    "application_name": "bouncekit",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "25000",
}


@dataclass(frozen=True, slots=True)
class PostgresPlace:
    """A database and a schema in it.

    >>> place = PostgresPlace.parse("postgresql://jo:secret@db.example.com/shop?schema=bounces")
    >>> place
    PostgresPlace(shown='postgresql://jo@db.example.com/shop', schema='bounces')
    """

    shown: str
    schema: str
    _settings: dict[str, Any] = field(repr=False)

    @classmethod
    def parse(cls, url: str) -> "PostgresPlace":
        """Raises ConfigurationError where libpq cannot read it."""
        start, _, query = url.partition("?")
        scheme, _, rest = start.partition("://")
        options = [option for option in query.split("&") if option]
        schemas = [option[7:] for option in options if option.startswith("schema=")]
        others = "&".join(option for option in options if not option.startswith("schema="))
        try:
            settings = conninfo_to_dict(f"postgresql://{rest}" + (f"?{others}" if others else ""))
        except ProgrammingError:  # its message may show a piece of the password
            raise ConfigurationError(
                f"store='{scheme}://...': cannot be read; write {_EXAMPLE!r}, with %-escapes for signs in a password"
            ) from None
        schema = schemas[-1] if schemas else _SCHEMA
        if not _IS_SCHEMA(schema):
            raise ConfigurationError(
                f"store='{scheme}://...?schema={schema[:63]}': a schema is small letters, digits and '_'"
            )
        return cls(_shown(settings), schema, {**_DEFAULTS, **settings})

    def settings(self) -> dict[str, Any]:
        """What a connection is made with, the password among it."""
        return dict(self._settings)

    def __str__(self) -> str:
        return self.shown if self.schema == _SCHEMA else f"{self.shown}?schema={self.schema}"


def _shown(settings: dict[str, Any]) -> str:
    user, host, port = (settings.get(name) for name in ("user", "host", "port"))
    shown = f"postgresql://{f'{user}@' if user else ''}"
    if host and not str(host).startswith("/"):
        shown += f"{host}{f':{port}' if port else ''}"
    return f"{shown}/{settings.get('dbname') or ''}"
