"""A store in a PostgreSQL database, for any number of machines. A commit has reached its disk when a method returns."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime

from bouncekit.delivery.suppressionchange import Swap
from bouncekit.stores.postgres.place import PostgresPlace
from bouncekit.stores.postgres.schema import newest_version
from bouncekit.stores.postgres.server import PostgresServer
from bouncekit.stores.postgres.trail import PostgresTrail
from bouncekit.stores.sql.store import SqlStore
from bouncekit.words.errors import StoreError

__all__ = ["PostgresStore"]

_FIRST_COUNT = 10_000  # changes in bulk
_KEEPING = ["fsync", "full_page_writes"]


class PostgresStore(SqlStore, PostgresTrail):
    """A store in a schema of its own, which is made where it is not.

    Args:
        url: where it is; see `bouncekit.stores.postgres.place`.
        patience_seconds: how long to wait for a server that is away, and for others who hold what is needed.

    Raises:
        ConfigurationError: the URL cannot be read.
        StoreError: the server cannot be reached, or refuses.
        StoreCorrupt: what lies there is no store of ours, or comes from a newer bouncekit.
    """

    def __init__(self, url: str, *, patience_seconds: float = 10.0) -> None:
        self._database: PostgresServer = PostgresServer(PostgresPlace.parse(url), patience_seconds=patience_seconds)
        self._changed, self._counted_at = 0, _FIRST_COUNT

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

    def exchange(self, swaps: Sequence[Swap], *, by: str, at: datetime) -> Sequence[Swap]:
        """See `Listing.exchange`. Whenever a list has doubled in bulk, the server is told to look how long it is.

        By itself it does so only after a while, and until then looks up ten people in the time of a thousand.
        """
        left = super().exchange(swaps, by=by, at=at)
        self._changed += len(swaps) - len(left)
        if self._changed >= self._counted_at:
            self._counted_at = 2 * self._changed
            with suppress(StoreError), self._database.writing() as transaction:  # what was asked for is done
                transaction.execute("ANALYZE suppressions")
                transaction.execute("ANALYZE audit")
        return left

    def try_writing(self) -> None:
        """Write a row as it is, and commit it.

        Raises:
            StoreError: nothing can be written; the message says why.
        """
        self._database.try_writing()
