"""What changed on the suppression list, by whom, which of two entries weighs more, and what undoing a change brings."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from bouncekit.delivery.events import Event
from bouncekit.meaning.classification import Category
from bouncekit.policy.suppression import Standing, Suppression
from bouncekit.words.quick import quick
from bouncekit.words.status import Action

__all__ = ["Act", "Cause", "Change", "Place", "Reversal", "Swap", "is_by_hand", "outweighs", "place_of", "reversal"]

# Who is at work where no hand is: what `by` says, or begins with.
_MACHINES = ("guard", "delivery")
_PREFIXES = ("rule ", "import ", "undo ")

_WEIGHT = {Standing.HELD: 0, Standing.PROVISIONAL: 1, Standing.CONFIRMED: 2, Standing.MANUAL: 3}


class Act(StrEnum):
    """What a change did to the list."""

    ADDED = "added"
    CHANGED = "changed"
    LIFTED = "lifted"


class Place(NamedTuple):
    """Where on the list an entry stands: there is one for each tenant, stream and mailbox."""

    tenant: str
    stream: str
    key: str


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change of the list, as the audit keeps it, with what stood there before and stands there since."""

    sequence: int
    at: datetime
    by: str
    event_id: str | None
    before: Suppression | None
    after: Suppression | None

    @property
    def act(self) -> Act:
        if self.after is None:
            return Act.LIFTED
        return Act.ADDED if self.before is None else Act.CHANGED

    @property
    def entry(self) -> Suppression:
        """The entry that it is about: what stands since, or what was lifted."""
        found = self.after or self.before
        assert found is not None, "a change is about something"
        return found

    @property
    def place(self) -> Place:
        return place_of(self.entry)


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Swap:
    """Put `after` where `before` stands; None is nothing there. Not done where something else stands.

    `event` tells it; None where one event is told of many.
    """

    before: Suppression | None
    after: Suppression | None
    event: Event | None = None

    @property
    def place(self) -> Place:
        found = self.after or self.before
        assert found is not None, "a swap is about something"
        return place_of(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """Which changes, or outcomes, somebody means: all that is given must hold; `since` is inclusive, `until` is not.

    `is_host` asks about the name of the host that gave the reply. What a hand did, and what a success lifted, is meant
    only where `by` names it.
    """

    by: str | None = None
    rule: str | None = None
    fingerprint: str | None = None
    category: Category | None = None
    is_host: Callable[[str], bool] | None = None
    since: datetime | None = None
    until: datetime | None = None
    tenant: str | None = None
    stream: str | None = None

    @property
    def says_nothing(self) -> bool:
        """Whether whose it is is all that it says."""
        return self == Cause(tenant=self.tenant, stream=self.stream)

    def means(self, change: Change) -> bool:
        """Whether this change is meant."""
        entry = change.entry
        if self.by is None and (is_by_hand(change.by) or change.by == "delivery"):
            return False
        return (
            self.by in (None, change.by)
            and (self.rule is None or change.by == f"rule {self.rule}")
            and self._fits(entry.tenant, entry.stream, change.at)
            and self._blames(entry.category, entry.evidence.fingerprint, entry.evidence.remote_mta)
        )

    def means_outcome(self, event: Event) -> bool:
        """Whether the outcome that an event tells is meant; of who was skipped, by what the suppression rests on."""
        one, labels = event.settlement, event.occasion.labels
        if one is None or self.by is not None:
            return False
        rests_on = event.suppression.evidence if event.suppression and one.action is Action.SUPPRESSED else one
        return (
            self.rule in (None, one.rule)
            and self._fits(labels.tenant, labels.stream, event.at)
            and self._blames(one.category, rests_on.fingerprint, rests_on.remote_mta)
        )

    def _fits(self, tenant: str, stream: str, at: datetime) -> bool:
        return (
            self.tenant in (None, tenant)
            and self.stream in (None, stream)
            and (self.since is None or at >= self.since)
            and (self.until is None or at < self.until)
        )

    def _blames(self, category: Category | None, fingerprint: str | None, host: str | None) -> bool:
        return (
            self.fingerprint in (None, fingerprint)
            and self.category in (None, category)
            and (self.is_host is None or (host is not None and self.is_host(host)))
        )


@dataclass(frozen=True, slots=True)
class Reversal:
    """What undoing does at one place: `before` stands there now, `after` stood there before what is undone."""

    before: Suppression | None
    after: Suppression | None


def place_of(suppression: Suppression) -> Place:
    """Where an entry stands."""
    return Place(suppression.tenant, suppression.stream, suppression.key)


def is_by_hand(by: str) -> bool:
    """Whether a person did it, and no rule, import, guard or success.

    >>> is_by_hand("support"), is_by_hand("rule no-such-mailbox"), is_by_hand("import sendgrid bounces.csv")
    (True, False, False)
    """
    return by not in _MACHINES and not by.startswith(_PREFIXES)


def outweighs(arriving: Suppression, standing: Suppression | None) -> bool:
    """Whether an entry takes the place of another in a merge, whichever came first.

    By its standing, then a complaint before all else, then the one that lasts longer, then the one that is older. What
    a hand put there stays.
    """
    if standing is None:
        return True
    if standing.standing is Standing.MANUAL and is_by_hand(standing.by):
        return False
    return _weight(arriving) > _weight(standing)


def reversal(history: Sequence[Change], first: Change, cause: Cause) -> Reversal | None:
    """What undoing brings at one place, None where its latest change is none of those meant.

    `history` is all that changed there, in order. Of the changes that are meant, those behind the last one that is not
    are undone; None too where that run does not begin with `first`: so each run is found once.
    """
    run = _last_run(history, cause)
    if not run or run[0].sequence != first.sequence or run[-1].after == run[0].before:
        return None
    return Reversal(run[-1].after, run[0].before)


def _last_run(history: Sequence[Change], cause: Cause) -> Sequence[Change]:
    length = sum(1 for _ in _meant_from_the_end(history, cause))
    return history[len(history) - length :]


def _meant_from_the_end(history: Sequence[Change], cause: Cause) -> Iterator[Change]:
    for change in reversed(history):
        if not cause.means(change):
            return
        yield change


def _weight(one: Suppression) -> tuple[int, bool, bool, float, float, int, str, str, str]:
    """Different for any two that differ in what matters, so that the order of a merge does not."""
    ends = one.expires_at
    return (
        _WEIGHT[one.standing],
        one.category is Category.COMPLAINT,
        ends is None,
        0.0 if ends is None else ends.timestamp(),
        -one.since.timestamp(),
        one.rung,
        one.category.value,
        one.by,
        repr(one.evidence),
    )
