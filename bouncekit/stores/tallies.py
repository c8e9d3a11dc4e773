"""What a store counts for a report: outcomes and events of a span of time."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple, Protocol, TypeAlias

__all__ = ["Facet", "Talker", "Tallies", "Tally"]

# An action, and a value for each facet that was asked for; None where an outcome has none -> how many.
Tally: TypeAlias = Mapping[tuple[str | None, ...], int]


class Facet(StrEnum):
    """By what outcomes are told apart."""

    CATEGORY = "category"
    RULE = "rule"  # the policy's
    HOST = "host"  # the one that replied
    DOMAIN = "domain"  # the recipient's, in lower case
    JUDGE = "judge"  # the rule that classified the reply, with its file:line
    TENANT = "tenant"
    STREAM = "stream"
    RECIPIENT = "recipient"  # as he stood on the wire; where no addresses are kept, his pseudonym


class Talker(NamedTuple):
    """Somebody with much mail, and how much of it failed."""

    name: str
    outcomes: int
    failed: int


class Tallies(Protocol):
    """The part of a store that counts. It reads what was remembered from `since` on, and before `until`."""

    def tally(self, *facets: Facet, since: datetime, until: datetime) -> Tally:
        """How many outcomes there were, by their action and by these facets; those of test traffic do not count."""

    def talkers(self, facet: Facet, *, since: datetime, until: datetime, limit: int) -> Sequence[Talker]:
        """Who has the most outcomes under a facet, and who the most that failed, `limit` of each; of many names few.

        The most outcomes come first, among equals the most failures. Test traffic does not count, nor what has no name.
        """

    def tally_events(self, *, since: datetime, until: datetime) -> Mapping[str, int]:
        """How many events there were, by their type."""
