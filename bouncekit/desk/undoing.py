"""Taking back what a rule, an import or a bad hour did to the suppression list, by the audit of its changes.

What is undone is itself a change like any other: it is in the audit under a name of its own, and is undone by that
name. Each page of the audit is one transaction, so that whoever stops in the middle does it again and goes on.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from bouncekit.delivery.events import Event, EventType, event_id
from bouncekit.delivery.suppressionchange import Cause, Change, Place, Reversal, Swap, reversal
from bouncekit.desk.office import Office
from bouncekit.meaning.classification import Category
from bouncekit.outside.provider import provider_of_host
from bouncekit.policy.guard import provider_at
from bouncekit.policy.suppression import Suppression

__all__ = ["Undone", "cause_of", "undo"]

_PAGE = 2_000  # changes of the audit that are looked at together


@dataclass(slots=True)
class Undone:
    """What was undone, or with `dry_run` would be.

    `lifted` counts the mailboxes that nothing holds back any more by it, `restored` those at which something else
    stands again, `left` those that somebody has changed since, and that were left alone. `by` is its name in the audit.
    """

    by: str
    dry_run: bool
    lifted: int = 0
    restored: int = 0
    left: int = 0


def undo(
    office: Office,
    cause: Cause,
    *,
    by: str,
    dry_run: bool = False,
    on_batch: Callable[[Undone], None] = lambda done: None,
) -> Undone:
    """Take back the changes that are meant; see `SuppressionList.undo`."""
    done = Undone(by=f"undo {office.clock.new_id()[:20]} ({by})", dry_run=dry_run)
    after = 0
    while page := office.store.changes(after=after, limit=_PAGE):
        after = page[-1].sequence
        if page[0].by == done.by:
            break  # from here on, our own
        if meant := [change for change in page if cause.means(change)]:
            _undo(office, meant, cause, done)
            on_batch(done)
    return done


def cause_of(*, provider: str | None, category: Category | str | None, **told: Any) -> Cause:
    """A cause as people name it: the provider by its name or a host's, the category by its own."""
    return Cause(
        category=None if category is None else Category(category),
        is_host=None if provider is None else _is_host_of(provider),
        **told,
    )


def _is_host_of(provider: str) -> Callable[[str], bool]:
    """Whether a host is one of this provider's: by the name that we have for it, or the end of the host's own."""
    name = provider.lower().strip(".")
    return lambda host: (
        name in (provider_of_host(host), provider_at(host, "")) or f".{host.lower()}".endswith(f".{name}")
    )


def _undo(office: Office, meant: Sequence[Change], cause: Cause, done: Undone) -> None:
    histories = office.store.changes_at({change.place for change in meant})
    swaps = []
    for change in meant:
        history = histories[change.place]
        if (found := reversal(history, change, cause)) is not None:
            swaps.append(_swap(office, found, done.by))
        elif _is_overtaken(history, change, cause, done.by):
            done.left += 1
    left = [] if done.dry_run else office.store.exchange(swaps, by=done.by, at=office.clock.now())
    failed: set[Place] = {swap.place for swap in left}
    made = [swap for swap in swaps if swap.place not in failed]
    done.left += len(left)
    done.lifted += sum(swap.after is None for swap in made)
    done.restored += sum(swap.after is not None for swap in made)
    if not done.dry_run:
        office.ledger.publish([swap.event for swap in made if swap.event])


def _is_overtaken(history: Sequence[Change], change: Change, cause: Cause, by: str) -> bool:
    """Whether it is the last one that is meant, and somebody has changed what it left; once for each place."""
    behind = [one for one in history if one.sequence > change.sequence]
    return bool(behind) and behind[0].by != by and not any(map(cause.means, behind))


def _swap(office: Office, found: Reversal, by: str) -> Swap:
    about: Suppression | None = found.after or found.before
    assert about is not None, "a reversal changes something"
    type_ = EventType.SUPPRESSION_LIFTED if found.after is None else EventType.SUPPRESSION_ADDED
    occasion = office.occasion()
    event = Event(
        id=event_id(occasion.attempt_id, about.address or about.key, type_),
        type=type_,
        occasion=occasion,
        recipient=about.address,
        suppression=about,
        details={"by": by},
    )
    return Swap(before=found.before, after=found.after, event=event)
