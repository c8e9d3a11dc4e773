"""What a store counts for a report: outcomes and events of a span of time."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Protocol, TypeAlias

__all__ = ["Facet", "Tallies", "Tally"]

# An action, and a value for each facet that was asked for; None where an outcome has none -> how many.
Tally: TypeAlias = Mapping[tuple[str | None, ...], int]


class Facet(StrEnum):
    """By what outcomes are told apart."""

    CATEGORY = "category"
    RULE = "rule"  # the policy's
    HOST = "host"  # the one that replied
    DOMAIN = "domain"  # the recipient's, in lower case
    JUDGE = "judge"  # the rule that classified the reply, with its file:line


class Tallies(Protocol):
    """The part of a store that counts. It reads what was remembered from `since` on, and before `until`."""

    def tally(self, *facets: Facet, since: datetime, until: datetime) -> Tally:
        """How many outcomes there were, by their action and by these facets; those of test traffic do not count."""

    def tally_events(self, *, since: datetime, until: datetime) -> Mapping[str, int]:
        """How many events there were, by their type."""
