"""What a store answers about many mailboxes at once, how it changes many at once, and what changed before."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from bouncekit.delivery.suppressionchange import Change, Place, Swap
from bouncekit.meaning.classification import Category
from bouncekit.policy.suppression import Evidence, Suppression
from bouncekit.words.envelope import Labels

__all__ = ["Holding", "Holdings", "Listing"]


@dataclass(frozen=True, slots=True)
class Holding:
    """Suppressions that the guard holds for refusals alike: how many, from when to when, and one of the replies."""

    fingerprint: str | None
    number: int
    since: datetime
    last_at: datetime
    evidence: Evidence


@dataclass(frozen=True, slots=True)
class Holdings:
    """All that the guard holds: how many suppressions, and the kinds of refusals with the most of them."""

    number: int = 0
    largest: tuple[Holding, ...] = ()


class Listing(Protocol):
    """The part of a store that is its suppression list, in bulk. Every change of the list is in its audit."""

    def suppressed(
        self, keys: Collection[str], labels: Labels, at: datetime, *, ignored: Collection[Category] = ()
    ) -> frozenset[str]:
        """Those of the keys that are held back at a time: of the labels' tenant, and of its stream or of the stream "".

        What stands there for an `ignored` category holds nobody back, unless a hand put it there. No probe is granted.
        """

    def standing(self, places: Collection[Place]) -> Mapping[Place, Suppression]:
        """What stands at these places, expired or not; those where nothing does are left out."""

    def exchange(self, swaps: Sequence[Swap], *, by: str, at: datetime) -> Sequence[Swap]:
        """Make these changes at once, with audit and events; the rest is what was not done.

        Not done is a swap at whose place something else stands than its `before`. No place may be named twice.
        """

    def changes(self, *, after: int = 0, limit: int = 1000) -> Sequence[Change]:
        """What changed behind a sequence number, in order."""

    def changes_at(self, places: Collection[Place]) -> Mapping[Place, Sequence[Change]]:
        """All that changed at these places, in order."""

    def changes_of(self, key: str, *, tenant: str = "", limit: int = 100) -> Sequence[Change]:
        """What changed for one mailbox, in whatever stream, newest first."""

    def holdings(self, at: datetime, *, limit: int = 100) -> Holdings:
        """What the guard holds at a time, whoever's it is; `limit` kinds of refusals. What has expired is not held."""

    def tenants(self) -> Sequence[str]:
        """The tenants on whose lists somebody stands, sorted; "" is always one of them."""

    def pseudonymous(self) -> frozenset[str]:
        """The names of the secrets with which entries of the list were made that stand under a pseudonym."""
