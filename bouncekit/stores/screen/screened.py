"""A store behind a screen: who certainly is not on the suppression list is answered without the store's tables.

Nearly nobody is on the list, so nearly every look-up of a send ends here. A screen only ever leaves keys out of a
question; who it cannot answer for, the store is asked about, with all that stands there: time, standing, probes. What
is counted, and everything else that a store does, is the store's.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self, cast

from bouncekit.delivery.events import Event
from bouncekit.delivery.steps import LookedUp, LookUp, Record
from bouncekit.delivery.suppressionchange import Swap
from bouncekit.meaning.classification import Category
from bouncekit.policy.suppression import Suppression
from bouncekit.stores import Store
from bouncekit.stores.erasing import Erased, Erasure
from bouncekit.stores.precedence import caused_by
from bouncekit.words.envelope import Labels
from bouncekit.words.errors import ConfigurationError

if TYPE_CHECKING:
    from bouncekit.stores.screen.sharedcache import SharedCache

__all__ = ["Screen", "ask_cache", "screened", "with_cache"]

_LOCAL = "local"  # the cache that is a filter in the process


class Screen(Protocol):
    """Knows of some mailboxes that they are not on the list. Never raises where it does not know."""

    def possible(self, tenant: str, keys: Sequence[str]) -> Sequence[str]:
        """Those of the keys that may be on the list, in their order. The others have no entry, of whatever standing."""

    def listing(self, tenant: str, keys: Sequence[str]) -> None:
        """These keys are about to be put on the list by the store behind this screen."""

    def forget(self) -> None:
        """Somebody was erased: forget as much as could tell of him."""

    def ask(self) -> str:
        """What it is like, once it has answered.

        Raises:
            StoreError: it does not answer.
        """

    def close(self) -> None:
        """Let go of everything."""


def screened(store: Store, screen: Screen) -> Store:
    """A store that does what this one does, and answers from a screen where it can."""
    return cast(Store, _Screened(store, screen))


def with_cache(store: Store, cache: str) -> Store:
    """The store behind the screen that a setting names: "local", or the URL of a Valkey or Redis.

    Raises:
        ConfigurationError: it names none, or the store needs none; it shows no password.
        MissingExtra: the extra `redis` is not installed.
    """
    _check(store, cache)
    if cache == _LOCAL:
        from bouncekit.stores.screen.localfilter import LocalFilter

        path = getattr(store, "path", None)
        return screened(store, LocalFilter(cast(Any, store), path=path and f"{path}-filter"))
    return screened(store, _shared(store, cache))


def ask_cache(store: Store, cache: str | None) -> str | None:
    """What is to be said of the screen that a setting names, or that this store has; None where there is none.

    Raises:
        ConfigurationError, MissingExtra: as `with_cache`.
        StoreError: it does not answer.
    """
    if cache is None:
        screen: Screen | None = getattr(store, "screen", None)
        return None if screen is None else screen.ask()
    _check(store, cache)
    if cache == _LOCAL:
        return "local: a filter in each process that sends"
    shared = _shared(store, cache)
    try:
        return shared.ask()
    finally:
        shared.close()


def _check(store: Store, cache: str) -> None:
    if not hasattr(store, "trail"):
        raise ConfigurationError("cache: this store has the whole list at hand; leave the cache out")
    if cache != _LOCAL and not hasattr(store, "origin"):
        raise ConfigurationError("cache: a file answers sooner than a server could; write cache='local'")


def _shared(store: Store, url: str) -> "SharedCache":
    from bouncekit.stores.screen.sharedcache import SharedCache

    return SharedCache(cast(Any, store), url)


class _Screened:
    """Forwards what is not written here. What may put somebody on the list must be, see `test_screened`."""

    def __init__(self, store: Store, screen: Screen) -> None:
        self._store = store
        self._screen = screen

    @property
    def screen(self) -> Screen:
        """What stands before the store."""
        return self._screen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    # -- what is asked

    def look_up(self, question: LookUp, now: datetime) -> LookedUp:
        if question.keys:
            keys = self._screen.possible(question.labels.tenant, question.keys)
            if not (keys or question.windows or question.fingerprints):
                return LookedUp(now=now)
            if len(keys) < len(question.keys):
                question = replace(question, keys=tuple(keys))
        return self._store.look_up(question, now)

    def suppressed(
        self, keys: Collection[str], labels: Labels, at: datetime, *, ignored: Collection[Category] = ()
    ) -> frozenset[str]:
        possible = self._screen.possible(labels.tenant, tuple(keys))
        return self._store.suppressed(possible, labels, at, ignored=ignored) if possible else frozenset()

    # -- what puts somebody on the list

    def record(self, record: Record) -> frozenset[str]:
        self._tell(caused_by(settlement) for settlement in record.settlements)
        return self._store.record(record)

    def add(self, suppression: Suppression, *, by: str, event: Event) -> None:
        self._tell((suppression,))
        self._store.add(suppression, by=by, event=event)

    def exchange(self, swaps: Sequence[Swap], *, by: str, at: datetime) -> Sequence[Swap]:
        self._tell(swap.after for swap in swaps)
        return self._store.exchange(swaps, by=by, at=at)

    def _tell(self, suppressions: Iterable[Suppression | None]) -> None:
        keys: defaultdict[str, list[str]] = defaultdict(list)
        for one in suppressions:
            if one is not None:
                keys[one.tenant].append(one.key)
        for tenant, some in keys.items():
            self._screen.listing(tenant, some)

    # -- what takes a trace out

    def erase(self, erasure: Erasure) -> Erased:
        done = self._store.erase(erasure)
        self._screen.forget()
        return done

    # -- open and closed

    def close(self) -> None:
        self._screen.close()
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
