"""A store in a PostgreSQL database, for any number of machines. A commit has reached its disk when a method returns."""

from bouncekit.errors import StoreError
from bouncekit.stores.postgresplace import PostgresPlace
from bouncekit.stores.postgresschema import newest_version
from bouncekit.stores.postgresserver import PostgresServer
from bouncekit.stores.postgrestrail import PostgresTrail
from bouncekit.stores.sqlstore import SqlStore

__all__ = ["PostgresStore"]

_KEEPING = ["fsync", "full_page_writes"]


class PostgresStore(SqlStore, PostgresTrail):
    """A store in a schema of its own, which is made where it is not.

    Args:
        url: where it is; see `bouncekit.stores.postgresplace`.
        patience_seconds: how long to wait for a server that is away, and for others who hold what is needed.

    Raises:
        ConfigurationError: the URL cannot be read.
        StoreError: the server cannot be reached, or refuses.
        StoreCorrupt: what lies there is no store of ours, or comes from a newer bouncekit.
    """

    def __init__(self, url: str, *, patience_seconds: float = 10.0) -> None:
        self._database: PostgresServer = PostgresServer(PostgresPlace.parse(url), patience_seconds=patience_seconds)

    @property
    def place(self) -> str:
        """The URL, without the password."""
        return str(self._database.place)

    @property
    def kind(self) -> str:
        """See `SqlStore.kind`."""
        return f"{self._database.server}, schema {newest_version()}"

    def check(self) -> None:
        """Look whether the server keeps what it has acknowledged.

        Raises:
            StoreError: a power cut would take it back.
        """
        settings = self._database.read(
            "SELECT name FROM pg_settings WHERE name = ANY(?) AND setting = 'off'", (_KEEPING,)
        )
        if settings:
            off = ", ".join(name for (name,) in settings)
            raise StoreError(
                f"{self.place}: {off} off: a power cut loses or damages what was acknowledged; set it to on"
            )

    def try_writing(self) -> None:
        """Write a row as it is, and commit it.

        Raises:
            StoreError: nothing can be written; the message says why.
        """
        self._database.try_writing()
