"""Finding those whose addresses were erased: they stand on the list under a pseudonym, which only its secret makes."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from bouncekit.delivery.steps import LookedUp, LookUp
from bouncekit.policy.suppression import Suppression
from bouncekit.words.errors import ConfigurationError, StoreError
from bouncekit.words.pseudonym import Pseudonyms

if TYPE_CHECKING:
    from bouncekit.stores import Store

__all__ = ["Secrets", "check_secrets", "look_up"]

_GOOD_FOR = timedelta(seconds=30)


class Secrets:
    """Looks, every half a minute, whether all secrets are there still: somebody may be erased by one that is newer.

    `now` is when the store was opened, and they were.
    """

    def __init__(self, store: "Store", pseudonyms: Pseudonyms | None, now: datetime) -> None:
        self._store = store
        self._pseudonyms = pseudonyms
        self._checked_at = now
        self._lacks: str | None = None

    def check(self, now: datetime) -> None:
        """Before somebody is sent to.

        Raises:
            StoreError: one is not there, and was not before: a process that lacks it is to be started again.
        """
        if self._lacks is None and not self._checked_at <= now < self._checked_at + _GOOD_FOR:
            self._checked_at = now  # the others go on meanwhile
            self._look()
        if self._lacks is not None:
            raise StoreError(self._lacks)

    def _look(self) -> None:
        try:
            check_secrets(self._store, self._pseudonyms)
        except ConfigurationError as error:
            self._lacks = f"{error}, and start again"
        except Exception:  # noqa: BLE001 - whatever a store raises: the look-up that follows meets it, and knows what to do
            return  # and while it is away, not each send waits for it twice


def look_up(store: "Store", question: LookUp, now: datetime, pseudonyms: Pseudonyms | None) -> LookedUp:
    """What the store answers, also about those who stand there under a pseudonym: that comes first."""
    if pseudonyms is None or not question.keys:
        return store.look_up(question, now)
    names = {key: tuple(pseudonyms.all_of(key)) for key in question.keys}
    every = (*question.keys, *(name for several in names.values() for name in several))
    found = store.look_up(replace(question, keys=every), now)
    key_of = {name: key for key, several in names.items() for name in several}
    return replace(
        found,
        suppressions=_foremost(found.suppressions, names),
        probes=frozenset(key_of.get(key, key) for key in found.probes),
    )


def check_secrets(store: "Store", pseudonyms: Pseudonyms | None) -> None:
    """Look whether all secrets are there that the store's pseudonyms were made with.

    Raises:
        ConfigurationError: one is not. Without it mail would go to people who were erased.
    """
    missing = store.pseudonymous() - (pseudonyms.names if pseudonyms else frozenset())
    if missing:
        raise ConfigurationError(
            f"hash_keys: the store has erased people under the secret {min(missing)}, which is not given; set "
            "hash_keys or BOUNCEKIT_HASH_KEYS to the secrets that were used when they were erased"
        )


def _foremost(found: Mapping[str, Suppression], names: Mapping[str, tuple[str, ...]]) -> Mapping[str, Suppression]:
    chosen = {}
    for key, several in names.items():
        one = next((found[name] for name in (*several, key) if name in found), None)
        if one is not None:
            chosen[key] = one
    return chosen
