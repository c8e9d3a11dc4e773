"""What a store keeps of budgets: what each stream has spent, by the hour, and the level that it has been told to be at.

Levels are changed by comparing and setting, with their events, so that of all processes that see a bound reached one
tells it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from bouncekit.delivery.events import Event
from bouncekit.policy.budget import Level, Spent, Stream

__all__ = ["Budgeting", "KeptLevel", "stream_of"]


@dataclass(frozen=True, slots=True)
class KeptLevel:
    """A stream's level, and the token of the change that made it; None where nothing is kept of it."""

    level: Level = Level.WITHIN
    since: datetime | None = None
    token: str | None = None


class Budgeting(Protocol):
    """The part of a store that keeps the budgets of streams."""

    def spent(self, *, since: datetime, stream: Stream | None = None) -> Mapping[Stream, Spent]:
        """What streams have spent, in the hour of `since` and behind it: one, or all that have; never less than 0."""

    def date_back(self, stream: Stream, *, ahead_of: datetime, to: datetime) -> bool:
        """Date what a clock that was set back since counted of a stream in the hour of `ahead_of` and behind it.

        The latest of it comes into the hour of `to`, all else as long before that as it was. What a stream was forgiven
        goes along. False where there is nothing.
        """

    def levels(self, *, stream: Stream | None = None) -> Mapping[Stream, KeptLevel]:
        """The level of one stream, or of all, without those that are within their budget."""

    def swap_level(
        self,
        stream: Stream,
        before: str | None,
        after: KeptLevel,
        *,
        events: Sequence[Event] = (),
        forgives: datetime | None = None,
    ) -> bool:
        """Keep a level under its own token, or nothing where it is *within*: if the one that is kept is still `before`.

        The events are remembered with it. What `forgives` begins the counts of the stream anew at that time, which is
        counted itself (`tallied.Count.RESUMED`).
        """


def stream_of(subject: str) -> Stream:
    """The stream that a count is about."""
    tenant, name = json.loads(subject)
    return Stream(tenant, name)
