"""What was decided about one recipient, with all that it rests on: a status, its meaning, the policy's verdict."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from bouncekit.meaning.classification import Category, Classification, Scope
from bouncekit.policy.policy import Disposition, Policy
from bouncekit.policy.rule import Fate, Notice
from bouncekit.policy.suppression import Evidence, Ladder, Standing, Suppression, climb, hold
from bouncekit.words.envelope import Counted, Recipient
from bouncekit.words.ondemand import OnDemand
from bouncekit.words.quick import quick
from bouncekit.words.reply import Cause, NoReply, Reply, Stage
from bouncekit.words.status import Action, RecipientStatus, Taken

__all__ = ["Delivered", "Settlement", "delivered", "held_up", "placed", "refused_here", "settle", "skipped", "unjudged"]

_THEMSELVES = "recipient"  # the role of a channel that reaches the recipient another way


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """One recipient's outcome as the application, the events and the store see it.

    `rule` is the policy's rule and `where` its file:line; `classified_by` the classifier's. `retry_at` is set where
    another try is due, `learned` where that rests on how long greylisting there has taken. `suppression` is the one
    that this outcome caused, or the one that made it *suppressed*; `lifted` one that a success ended.
    `possible_duplicate` says that the server may have got the message before, or that a worker may send it as well.
    `kept` says that the message waits in the store, from which a worker sends it again: nobody else has to.
    `relay` names the one that took the place of the delivery's own; None where none did.
    `fingerprint` is that of a refusal that would suppress; `doubted` says that a mass of such refusals made it
    doubtful, so that it suppresses nobody and is not told to the recipient.
    """

    recipient: str
    action: Action
    stage: Stage | None = None
    reply: Reply | NoReply | None = None
    category: Category | None = None
    scope: Scope | None = None
    permanent: bool | None = None
    certain: bool | None = None
    rule: str | None = None
    where: str = ""
    classified_by: str | None = None
    blocklist: str | None = None  # that a reply about one names
    fate: Fate | None = None
    retry_at: datetime | None = None
    learned: timedelta | None = None
    expired: bool = False
    accepted: int = 0
    individual: bool = True
    remote_mta: str | None = None
    relay: str | None = None
    attempts: int = 0
    possible_duplicate: bool = False
    kept: bool = False
    fingerprint: str | None = None
    doubted: bool = False
    suppression: Suppression | None = None
    lifted: Suppression | None = None
    notices: tuple[Notice, ...] = ()
    key: str = ""

    @property
    def is_final(self) -> bool:
        """Whether no other try is due."""
        return self.retry_at is None and self.fate is not Fate.HOLD

    @property
    def was_kept_back(self) -> bool:
        """Whether we ourselves kept it back: no server's word, so it counts only for who still has the lease."""
        return isinstance(self.reply, NoReply) and self.reply.cause in (Cause.UNSTORED, Cause.OVERDUE)


def delivered(
    status: RecipientStatus, recipient: Recipient, previous: Suppression | None = None, *, at: datetime | None = None
) -> Settlement:
    """The settlement of a recipient for whom the server took the message; it ends a suppression made by verdicts.

    A complaint is no verdict about delivery: that mail arrives is what the recipient complained of. So its suppression
    ends by its time alone, if that is over when the message is taken, `at`.
    """
    stays = previous is None or previous.standing is Standing.MANUAL or _outlasts(previous, at)
    return Settlement(
        recipient=status.recipient,
        action=Action.DELIVERED,
        stage=status.stage,
        reply=status.reply,
        accepted=status.accepted,
        individual=status.individual,
        remote_mta=status.remote_mta,
        attempts=recipient.attempts,
        possible_duplicate=recipient.possible_duplicate,
        lifted=None if stays else previous,
        key=recipient.key,
    )


class Delivered(OnDemand[Settlement]):
    """The settlements of recipients for all of whom the server took the message, and nobody of whom stood on the list.

    So nothing more comes of them: no suppression is lifted, nobody is notified, nobody waits. `relay` is as in each.
    """

    __slots__ = ("recipients", "relay", "statuses")

    def __init__(self, statuses: Taken, recipients: Counted, relay: str | None = None) -> None:
        self.statuses = statuses
        self.recipients = recipients
        self.relay = relay

    def __len__(self) -> int:
        return len(self.statuses)

    def make(self) -> tuple[Settlement, ...]:
        """A settlement for each recipient, as `delivered` makes it."""
        several = [delivered(status, one) for status, one in zip(self.statuses, self.recipients, strict=True)]
        return tuple(several if self.relay is None else [replace(one, relay=self.relay) for one in several])


def settle(
    verdict: Classification,
    disposition: Disposition,
    recipient: Recipient,
    *,
    policy: Policy,
    at: datetime,
    previous: Suppression | None = None,
    message_id: str | None = None,
    tenant: str = "",
    stream: str = "",
    fingerprint: str | None = None,
    doubted: bool = False,
) -> Settlement:
    """Join a status, its meaning and the policy's verdict.

    Whatever a policy says, only a verdict whose scope is the recipient, given to this recipient alone, ends in a
    suppression. Whether it must be permanent is the policy's to say: a mailbox that is full for weeks is told by
    temporary replies.

    One that is `doubted` is held instead, and the recipient is not told that there is no such mailbox.
    """
    status = verdict.status
    suppression, suppresses = None, False
    if disposition.ladder is not None and verdict.scope is Scope.RECIPIENT and status.individual:
        suppresses = True
        proposed = Suppression(
            key=recipient.key,
            address=recipient.address.wire,
            standing=Standing.PROVISIONAL,
            category=verdict.category,
            since=at,
            changed_at=at,
            expires_at=at,
            by=f"rule {disposition.rule}",
            evidence=_evidence(verdict, disposition, policy, message_id, fingerprint),
            tenant=tenant,
            stream=stream,
        )
        suppression = _caused(disposition.ladder, proposed, previous, doubted=doubted)
    return Settlement(
        recipient=status.recipient,
        action=disposition.action,
        stage=status.stage,
        reply=status.reply,
        category=verdict.category,
        scope=verdict.scope,
        permanent=verdict.permanent,
        certain=verdict.certain,
        rule=disposition.rule,
        where=disposition.where,
        classified_by=placed(verdict.rule, verdict.where),
        blocklist=verdict.blocklist,
        fate=disposition.fate,
        retry_at=disposition.retry_at,
        learned=disposition.learned,
        expired=disposition.expired,
        accepted=status.accepted,
        individual=status.individual,
        remote_mta=status.remote_mta,
        attempts=recipient.attempts,
        possible_duplicate=recipient.possible_duplicate or status.action is Action.UNKNOWN,
        fingerprint=fingerprint if suppresses else None,
        doubted=doubted and suppresses,
        suppression=suppression,
        notices=_untold(disposition.notices) if doubted and suppresses else disposition.notices,
        key=recipient.key,
    )


def held_up(recipient: Recipient, why: str, until: datetime) -> Settlement:
    """The settlement of a recipient that is not tried yet, since all that goes the same way is slow or paused."""
    return Settlement(
        recipient=recipient.address.wire,
        action=Action.DELAYED,
        reply=NoReply(Cause.LOCAL, why),
        rule="held-up",
        fate=Fate.RETRY,
        retry_at=until,
        attempts=recipient.attempts,
        possible_duplicate=recipient.possible_duplicate,
        key=recipient.key,
    )


def skipped(recipient: Recipient, suppression: Suppression) -> Settlement:
    """The settlement of a recipient that a suppression kept from being tried."""
    return Settlement(
        recipient=recipient.address.wire,
        action=Action.SUPPRESSED,
        category=suppression.category,
        scope=Scope.RECIPIENT,
        rule=suppression.by.removeprefix("rule "),  # else somebody, by hand
        attempts=recipient.attempts,
        suppression=suppression,
        key=recipient.key,
    )


def refused_here(address: str, verdict: Classification) -> Settlement:
    """The settlement of an address that was refused before the first byte was sent. It suppresses nobody."""
    return Settlement(
        recipient=address,
        action=Action.FAILED,
        stage=verdict.status.stage,
        reply=verdict.status.reply,
        category=verdict.category,
        scope=verdict.scope,
        permanent=True,
        certain=True,
        rule="refused-here",
        classified_by=verdict.rule,
        key="",
    )


def unjudged(status: RecipientStatus, verdict: Classification | None) -> Settlement:
    """The settlement of a send that no policy was asked about: what happened, and what it means."""
    return Settlement(
        recipient=status.recipient,
        action=status.action,
        stage=status.stage,
        reply=status.reply,
        category=verdict.category if verdict else None,
        scope=verdict.scope if verdict else None,
        permanent=verdict.permanent if verdict else None,
        certain=verdict.certain if verdict else None,
        classified_by=verdict.rule if verdict else None,
        accepted=status.accepted,
        individual=status.individual,
        remote_mta=status.remote_mta,
        attempts=1,
        possible_duplicate=status.action is Action.UNKNOWN,
    )


def _outlasts(previous: Suppression, at: datetime | None) -> bool:
    """Whether it is for a complaint whose time is not over."""
    ends = previous.expires_at
    return previous.category is Category.COMPLAINT and (ends is None or at is None or at < ends)


def _caused(
    ladder: Ladder, proposed: Suppression, previous: Suppression | None, *, doubted: bool
) -> Suppression | None:
    """The suppression that a verdict leads to, None where the one that stands stays as it is."""
    if previous and previous.standing is Standing.MANUAL and not previous.binds(proposed.changed_at):
        previous = None  # it has ended by itself, and was no verdict that this one could confirm
    if doubted:
        return hold(ladder, proposed, previous)
    suppression = climb(ladder, proposed, previous)
    return None if suppression is previous else suppression


def _untold(notices: tuple[Notice, ...]) -> tuple[Notice, ...]:
    """The notices without those to the recipient, who would hear that a good mailbox does not exist."""
    return tuple(notice for notice in notices if notice.channel != _THEMSELVES)


def _evidence(
    verdict: Classification,
    disposition: Disposition,
    policy: Policy,
    message_id: str | None,
    fingerprint: str | None,
) -> Evidence:
    status = verdict.status
    return Evidence(
        reply="" if status.reply is None else str(status.reply)[:2048],
        stage=str(status.stage),
        accepted=status.accepted,
        remote_mta=status.remote_mta,
        rule=placed(disposition.rule, disposition.where),
        classified_by=placed(verdict.rule, verdict.where),
        policy_hash=policy.hash,
        message_id=message_id,
        fingerprint=fingerprint,
    )


def placed(rule: str, where: str) -> str:
    """A rule and where it stands, for people."""
    return f"{rule} ({where})" if where else rule
