"""What a store answers and remembers, and which one a URL means.

Every store does the same: in memory for one process and its life, in SQLite for one machine, in PostgreSQL for many.
Times that it gives back are aware, in UTC and in whole milliseconds.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Protocol, Self

from bouncekit.delivery.events import Event
from bouncekit.delivery.steps import LookedUp, LookUp, Record
from bouncekit.policy.suppression import Suppression
from bouncekit.stores.budgeting import Budgeting
from bouncekit.stores.cursors import Cursors
from bouncekit.stores.erasing import Erasing
from bouncekit.stores.listing import Listing
from bouncekit.stores.moving import Moving
from bouncekit.stores.queueing import Queue
from bouncekit.stores.searching import Searching
from bouncekit.stores.tallies import Tallies
from bouncekit.stores.throttling import Throttling
from bouncekit.words.errors import ConfigurationError, MissingExtra

__all__ = ["Store", "open_store"]


class Store(Queue, Moving, Cursors, Tallies, Listing, Erasing, Throttling, Searching, Budgeting, Protocol):
    """Suppressions, histories and events, the queue, and what is counted of it all.

    Safe to share between threads, and to keep over a fork.

    Every method raises StoreError where the store cannot answer or cannot remember, StoreCorrupt where what lies
    there is no store of ours. What raised has changed nothing, unless the error says that this is `unknown`.
    """

    def look_up(self, question: LookUp, now: datetime) -> LookedUp:
        """What a delivery wants to know before it sends, and before it judges.

        `suppressions` has at most one for each key: of the labels' tenant, and of its stream or of the stream "",
        which binds every stream. One made by hand comes first, then any that binds, then one that has expired, then a
        held one; among equals the stream's own. One made by hand that has ended is not answered.

        With `claim`, each expired one grants its probe to one delivery (compare and set), whose it is until an outcome
        of that delivery for the key is recorded, a day at the most. Where a server's answer puts it off, it stays its
        own until the retry is due; where it waits in the queue, for another day.

        `counters` has for each window the days before today, in UTC, whose last strike lies within the window. Strikes
        are kept apart by tenant and stream.

        `masses` has for each fingerprint how often it was recorded within the guard's time, and what is usual at its
        provider: of all tenants and streams together, since a bad hour is the provider's and strikes them all.
        """

    def record(self, record: Record) -> frozenset[str]:
        """Remember outcomes, what they did to the suppression list, strikes and events: all of it or nothing.

        Answers those of whose delivery it hears late, by an attempt that somebody else has ended meanwhile: they may
        have the message twice, and are remembered and told as such (`Record.come_late`).

        The same record again changes nothing: it is known by its first event, one of a queue by all. No verdict
        replaces, and no success lifts, what stands on the list by hand.

        With `held`, also what verdicts have put there since that time and by that pattern is held from now on,
        whoever's it is; the audit says that the guard did it, and with `spent` their streams' budgets get it back.

        Of a delivery that names a relay, also the queue: who is delayed or held waits in it from now on, who has a
        final outcome leaves it, and the attempt is settled. See `bouncekit.stores.queueing` for who comes too late.
        """

    def tell(self, events: Sequence[Event]) -> None:
        """Remember events that change nothing else. One that is known by its id is left out."""

    def suppressions(
        self,
        *,
        tenant: str = "",
        stream: str | None = None,
        at: datetime | None = None,
        containing: str | None = None,
        after: str | None = None,
        limit: int | None = None,
    ) -> Iterator[Suppression]:
        """A tenant's suppressions in the order of key and stream, expired ones too.

        Args:
            stream: only of this stream; "" is one like any other here.
            at: only those that bind at this time.
            containing: only where key or address holds this text, in whatever case.
            after: only keys that sort behind this one.

        Nothing is locked or held open while the caller iterates; a change made meanwhile is seen or not.
        """

    def suppression(self, key: str, *, tenant: str = "", stream: str = "") -> Suppression | None:
        """The suppression under exactly this key, tenant and stream, expired or not."""

    def add(self, suppression: Suppression, *, by: str, event: Event) -> None:
        """Put a suppression on the list in place of any other there, and tell it, at once or not at all.

        With an event that is known already, nothing happens.
        """

    def lift(self, key: str, *, tenant: str, stream: str, by: str, at: datetime, event: Event) -> Suppression | None:
        """Take a suppression off the list, and tell it, at once or not at all. None, and no event, if there is none."""

    def history(self, key: str, *, tenant: str = "", limit: int = 100) -> Sequence[dict[str, Any]]:
        """What happened to one mailbox, newest first: events as `Event.to_dict` gives them."""

    def addressed(self, delivery_id: str, *, tenant: str = "") -> Sequence[str]:
        """The recipients that a delivery was tried for, sorted."""

    def events(self, *, after: int = 0, limit: int = 1000) -> Sequence[tuple[int, dict[str, Any]]]:
        """Events behind a sequence number, in the order in which they were remembered, each with its number."""

    def close(self) -> None:
        """Let go of everything. Any use afterwards raises StoreError; a second close does nothing."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


_MEMORY = "leave the store out to keep everything in memory"


def open_store(url: str | None) -> Store:
    """The store that a URL names.

    None and `sqlite:///:memory:` memory, `sqlite:///relative.db`, `sqlite:////absolute.db`, `postgresql://host/database`.

    Raises:
        ConfigurationError: it names none; the message says what would be right, and shows no password.
        MissingExtra: what it needs is not installed.
        StoreError: it cannot be opened.
    """
    from bouncekit.stores.memory import MemoryStore

    if url is None or url == "sqlite:///:memory:":
        return MemoryStore()
    scheme, colon, rest = url.partition("://")
    kind = scheme.lower().partition("+")[0]
    if not colon or not scheme.isascii():
        raise ConfigurationError(f"store={_shown(url)!r} is no URL; write {_suggestion(url)!r}, or {_MEMORY}")
    if kind in ("postgresql", "postgres"):
        try:
            from bouncekit.stores.postgres import PostgresStore
        except ImportError:
            raise MissingExtra("postgres", "psycopg", "stores in PostgreSQL") from None
        return PostgresStore(url)
    if kind != "sqlite":
        raise ConfigurationError(
            f"store='{scheme}://...': no such store; write 'sqlite:///bounces.db' or 'postgresql://host/database', "
            f"or {_MEMORY}"
        )
    from bouncekit.stores.sqlite import SqliteStore

    return SqliteStore(_path(url, rest))


def _path(url: str, rest: str) -> str:
    """The path behind `sqlite://`: what follows the third slash."""
    path = rest[1:]
    if not path:
        raise ConfigurationError(f"store={url!r} names no file; write 'sqlite:///bounces.db', or {_MEMORY}")
    if not rest.startswith("/"):
        raise ConfigurationError(f"store={_shown(url)!r}: a host has no place here; write 'sqlite:///{_shown(rest)}'")
    if "?" in path or "\0" in path:
        raise ConfigurationError(
            f"store={_shown(url)!r}: a path has neither '?' nor NUL here, and no parameters follow"
        )
    return path


def _suggestion(text: str) -> str:
    path = text.strip()
    if path.lower().startswith("sqlite:"):
        path = path[7:]
    return f"sqlite:///{_shown(path)}" if path and path != ":memory:" else "sqlite:///bounces.db"


def _shown(text: str) -> str:
    return text if len(text) <= 200 else text[:200] + "..."
