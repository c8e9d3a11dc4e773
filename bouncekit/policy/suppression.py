"""Who is not written to, on which evidence, and for how long: the ladder of suppressions.

A permanent verdict about a recipient suppresses it *provisionally*. When that ends one real message is the probe. Its
success clears everything; the same verdict again, long enough after the first, *confirms* for a longer time, then for
a longer one. So a provider's bad hour costs nobody more than a few days.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from bouncekit.meaning.classification import Category
from bouncekit.words.quick import quick

__all__ = ["Evidence", "Ladder", "Standing", "Suppression", "climb", "hold"]


class Standing(StrEnum):
    """How much a suppression is worth."""

    PROVISIONAL = "provisional"  # one verdict; ends by itself
    CONFIRMED = "confirmed"  # the same verdict again, long after the first
    HELD = "held"  # a first verdict that a mass of equal refusals made doubtful: it does not bind
    MANUAL = "manual"  # by hand or import


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a suppression rests on, so that anybody can judge it again."""

    reply: str = ""
    stage: str | None = None
    accepted: int | None = None
    remote_mta: str | None = None
    rule: str | None = None  # the policy's rule, with file:line
    classified_by: str | None = None  # the classifier's rule, with file:line
    policy_hash: str | None = None
    message_id: str | None = None
    fingerprint: str | None = None  # of the reply, the same for all that differ in addresses, numbers and ids alone


@dataclass(frozen=True, slots=True, kw_only=True)
class Ladder:
    """How long a suppression lasts, rung by rung.

    `provisional` None confirms at the first verdict. In `confirmed`, None is for good; the last rung repeats.
    """

    name: str
    provisional: timedelta | None
    confirm_after: timedelta = timedelta(hours=72)
    confirmed: tuple[timedelta | None, ...] = (None,)


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Suppression:
    """One mailbox that is not written to.

    `since` is the first verdict of this ladder, `changed_at` the latest; `expires_at` None is for good. `rung` counts
    the confirmations. `by` says which rule, or who, put it there.
    """

    key: str
    address: str | None
    standing: Standing
    category: Category
    since: datetime
    changed_at: datetime
    expires_at: datetime | None
    ladder: str | None = None
    rung: int = 0
    by: str = ""
    evidence: Evidence = Evidence()
    tenant: str = ""
    stream: str = ""

    def binds(self, at: datetime) -> bool:
        """Whether mail is held back at this time."""
        return self.standing is not Standing.HELD and (self.expires_at is None or at < self.expires_at)


def climb(ladder: Ladder, verdict: Suppression, previous: Suppression | None) -> Suppression:
    """The suppression that follows from a verdict, given the one that stood before (also an expired one).

    `verdict` carries key, category, evidence and the time of the verdict in `changed_at`; its standing, expiry and
    rung are what this answers. Two verdicts of one bad afternoon never confirm each other, and what is confirmed is
    climbed only behind its term. A rung that is not climbed is begun again where it was over: a probe that fails is
    never the end of a suppression. A held one is no verdict that could be confirmed: the ladder begins with this one.
    """
    at = verdict.changed_at
    if previous is not None and previous.standing is Standing.MANUAL:
        return previous
    if previous is not None and previous.standing is Standing.HELD:
        previous = None
    if previous is None or previous.category is not verdict.category:
        first = _rung(ladder, verdict, 0 if ladder.provisional is not None else 1, at, since=at)
        return previous if previous is not None and _outweighs(previous, first) else first
    if _is_time(ladder, previous, at):
        return _rung(ladder, verdict, previous.rung + 1, at, since=previous.since)
    if _is_over(previous, at):
        return _rung(ladder, verdict, previous.rung, at, since=previous.since)
    return replace(previous, changed_at=at, evidence=verdict.evidence, address=verdict.address)


def hold(ladder: Ladder, verdict: Suppression, previous: Suppression | None) -> Suppression | None:
    """The held suppression that a doubtful verdict leads to, None where one stands that it must not touch.

    A doubtful verdict confirms nothing and prolongs nothing: what stood before it stands as it did. One that is held
    again remembers since when.
    """
    if previous is not None and previous.standing is not Standing.HELD:
        return None
    is_again = previous is not None and previous.category is verdict.category
    first = climb(ladder, verdict, None)
    return replace(first, standing=Standing.HELD, since=previous.since if previous and is_again else first.since)


def _is_over(previous: Suppression, at: datetime) -> bool:
    """Whether its term has passed, so that this verdict is its probe's."""
    return previous.expires_at is not None and at >= previous.expires_at


def _is_time(ladder: Ladder, previous: Suppression, at: datetime) -> bool:
    """Whether the next rung is due: from provisional long enough after the first verdict, then behind each term."""
    if previous.rung:
        return _is_over(previous, at)
    return ladder.provisional is None or at - previous.since >= ladder.confirm_after


def _outweighs(previous: Suppression, other: Suppression) -> bool:
    """Whether what stands is worth more than a verdict of another kind: a confirmed one is never shortened."""
    if previous.expires_at is None:
        return other.expires_at is not None
    if not previous.rung or not previous.binds(other.changed_at):
        return False
    return not other.rung or (other.expires_at is not None and other.expires_at < previous.expires_at)


def _rung(ladder: Ladder, verdict: Suppression, rung: int, at: datetime, *, since: datetime) -> Suppression:
    lasts = ladder.confirmed[min(rung, len(ladder.confirmed)) - 1] if rung else ladder.provisional
    return replace(
        verdict,
        standing=Standing.CONFIRMED if rung else Standing.PROVISIONAL,
        ladder=ladder.name,
        rung=rung,
        since=since,
        expires_at=None if lasts is None else at + lasts,
    )
