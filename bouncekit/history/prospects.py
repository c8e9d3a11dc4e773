"""What comes next for one mailbox by a policy, and when: the next try, the end of a suppression, its probe."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from bouncekit.delivery.events import Event
from bouncekit.delivery.queue import Queued, QueueState
from bouncekit.policy.policy import Policy
from bouncekit.policy.schedule import show_duration
from bouncekit.policy.suppression import Standing, Suppression, climb

__all__ = ["Coming", "Prospect", "prospects"]


class Coming(StrEnum):
    """What may happen next."""

    RETRY = "retry"  # a worker tries again
    GIVE_UP = "give_up"  # the time of the message is over
    RELEASE = "release"  # it waits for somebody who releases it
    RESEND = "resend"  # nobody keeps the message: the application has to send it again
    PROBE = "probe"  # the suppression ends, and one message is its probe
    END = "end"  # the suppression ends
    LIFT = "lift"  # only a hand ends the suppression
    NEXT_VERDICT = "next_verdict"  # what stands on the list holds nobody back


@dataclass(frozen=True, slots=True, kw_only=True)
class Prospect:
    """What comes next, in words. `at` None: it has no time of its own, or waits for somebody."""

    what: Coming
    at: datetime | None
    text: str


def prospects(
    policy: Policy,
    now: datetime,
    *,
    standing: Iterable[Suppression] = (),
    waiting: Iterable[Queued] = (),
    told: Sequence[Event] = (),
) -> tuple[Prospect, ...]:
    """What comes next by this policy, what has a time first and in its order.

    `told` are the events about the mailbox, newest first.
    """
    queued = tuple(waiting)
    found = [
        *(one for row in queued for one in _of_queued(row, policy, now)),
        *_of_nobodys(told, queued),
        *(one for entry in standing for one in _of_entry(entry, policy, now)),
    ]
    return tuple(sorted(found, key=lambda one: (one.at is None, one.at or now)))


def _of_queued(row: Queued, policy: Policy, now: datetime) -> Iterator[Prospect]:
    """Mail in the queue: its next try, and when it is given up."""
    kind = policy.message_class(row.labels.message_class)
    message = f"message {row.message_id or row.message}"
    if row.state is QueueState.HELD or row.due_at is None:
        text = f"{message} is held; bouncekit queue retry {row.message} sends it"
        yield Prospect(what=Coming.RELEASE, at=None, text=text)
        return
    number = f"attempt {row.attempts + 1}" if row.attempts else "the first attempt"
    if row.leased_until is not None and row.leased_until > now:
        text = f"{number} of {message} through relay {row.relay} is under way"
    else:
        twice = "; it may be a second copy" if row.possible_duplicate else ""
        text = f"{number} of {message} is due, through relay {row.relay}{twice}"
    yield Prospect(what=Coming.RETRY, at=row.due_at, text=text)
    if (end := row.queued_at + kind.deadline) > now:
        text = f"{message} is given up: {show_duration(kind.deadline)} after it was queued (class {kind.name})"
        yield Prospect(what=Coming.GIVE_UP, at=end, text=text)


def _of_nobodys(told: Sequence[Event], queued: Sequence[Queued]) -> Iterator[Prospect]:
    """A delay that nobody follows up: the newest outcome of its message, which is not in the queue."""
    kept, seen = {row.message for row in queued}, set[str]()
    for event in told:
        one, chain = event.settlement, event.occasion.delivery_id or event.occasion.attempt_id
        if one is None or event.type != one.action.value or chain in seen:
            continue
        seen.add(chain)
        if one.retry_at is not None and not one.kept and chain not in kept:
            message = event.message_id or chain
            text = f"nobody keeps message {message}: the application has to send it again, not before this time"
            yield Prospect(what=Coming.RESEND, at=one.retry_at, text=text)
        return  # of older ones, the application has most likely made something


def _of_entry(one: Suppression, policy: Policy, now: datetime) -> Iterator[Prospect]:
    """What an entry of the list leads to."""
    where = f" in stream {one.stream}" if one.stream else ""
    classes = [kind.name for kind in policy.classes.values() if one.category in kind.ignores]
    through = f"; mail of class {', '.join(classes)} goes out all the same" if classes else ""
    if one.standing is Standing.HELD:
        text = f"the entry{where} is held by the guard and binds nobody: the next refusal outside of a mass counts anew"
        yield Prospect(what=Coming.NEXT_VERDICT, at=None, text=text)
    elif one.standing is Standing.MANUAL:
        yield from _of_manual(one, where, now)
    elif one.expires_at is None:
        text = f"the suppression{where} is for good: only a hand lifts it, with bouncekit suppressions remove{through}"
        yield Prospect(what=Coming.LIFT, at=None, text=text)
    else:
        again = f"taken, it ends the suppression{where}; refused alike, {_after_probe(one, policy, now)}"
        if one.binds(now):
            text = f"the suppression{where} ends, and the next message goes out as its probe: {again}{through}"
            yield Prospect(what=Coming.PROBE, at=one.expires_at, text=text)
        else:
            yield Prospect(what=Coming.PROBE, at=None, text=f"the next message goes out as the probe: {again}")


def _of_manual(one: Suppression, where: str, now: datetime) -> Iterator[Prospect]:
    if one.expires_at is None:
        text = f"the suppression{where} was set by {one.by}: only a hand lifts it, with bouncekit suppressions remove"
        yield Prospect(what=Coming.LIFT, at=None, text=text)
    elif one.binds(now):
        text = f"the suppression{where} that {one.by} set ends, and mail goes out as ever; no success ends it sooner"
        yield Prospect(what=Coming.END, at=one.expires_at, text=text)


def _after_probe(one: Suppression, policy: Policy, now: datetime) -> str:
    """What the ladder makes of a probe that is refused for the same reason, at the end of the term or now."""
    ladder = policy.ladders.get(one.ladder or "")
    if ladder is None:
        return "it begins anew"
    assert one.expires_at is not None
    at = max(one.expires_at, now)
    new = climb(ladder, replace(one, changed_at=at), one)
    lasts = "good" if new.expires_at is None else show_duration(new.expires_at - at)
    return f"it is {new.standing} for {lasts}"
