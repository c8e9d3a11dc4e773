"""What a policy has counted besides strikes: verdicts about whole domains and the like, and how long greylisting takes.

None of it is about one mailbox, so none of it can suppress: it slows, holds and tells, or says when to come back.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

from bouncekit.meaning.classification import Category, Classification
from bouncekit.policy.budget import Stream
from bouncekit.policy.guard import provider_at
from bouncekit.policy.policy import Policy
from bouncekit.policy.rule import SeenBy, Window
from bouncekit.words.envelope import Recipient
from bouncekit.words.reply import Reply
from bouncekit.words.status import Action, RecipientStatus

__all__ = ["Count", "Number", "Scene", "Sum", "greylisted_at", "subject_of_stream", "waited"]

_REMEMBERED = timedelta(days=30)  # how long a provider took: then it is found out anew
_RETRIED_TWICE = 3  # attempts: the first retry came too early, so there is something to learn


class Count(StrEnum):
    """What is counted."""

    VERDICTS = "verdicts"  # replies that refused or delayed somebody, or that there was none
    GREYLISTED = "greylisted"  # recipients whose second try or a later one a greylist let in
    GREYLIST_SECONDS = "greylist_seconds"  # how long they took
    RESUMED = "resumed"  # that somebody let a stream go on, and its budget begin anew


class Number(NamedTuple):
    """One count, of one subject."""

    of: Count
    subject: str


class Sum(NamedTuple):
    """A question: how much was counted within this time, by whole minutes."""

    number: Number
    within: timedelta


@dataclass(frozen=True, slots=True)
class Asked:
    """What a policy wants to know before it judges: strikes of the recipient, sums about others, a greylist's time."""

    windows: tuple[Window, ...]
    sums: Mapping[Window, Sum]
    greylist: tuple[Sum, ...] = ()

    @property
    def all_sums(self) -> Iterable[Sum]:
        return (*self.sums.values(), *self.greylist)

    def counted(self, found: Mapping[Sum, int]) -> dict[Window, int]:
        """The sums about others, by the window that asks for each."""
        return {window: found.get(one, 0) for window, one in self.sums.items()}

    def learned(self, found: Mapping[Sum, int]) -> timedelta | None:
        """How long a provider's greylist has taken of late; None where nothing is known."""
        if not self.greylist:
            return None
        times, seconds = (found.get(one, 0) for one in self.greylist)
        return timedelta(seconds=seconds / times) if times > 0 else None


@dataclass(frozen=True, slots=True)
class Scene:
    """Where the verdicts of one delivery are given: by whose policy, from which sender, by which relay."""

    policy: Policy
    sender: str
    relay: str

    def asked(self, verdict: Classification) -> Asked:
        """What the policy wants to know of a verdict; nearly always nothing."""
        windows = self.policy.counters(verdict)
        learns = (Count.GREYLISTED, Count.GREYLIST_SECONDS) if self.policy.learns(verdict) else ()
        greylist = tuple(Sum(Number(of, _provider(verdict.status)), _REMEMBERED) for of in learns)
        return Asked(
            tuple(one for one in windows if one.by is SeenBy.RECIPIENT),
            {one: Sum(self.number(verdict, one.by), one.within) for one in windows if one.by is not SeenBy.RECIPIENT},
            greylist,
        )

    def counted(self, verdicts: Iterable[Classification]) -> list[tuple[Number, int]]:
        """What verdicts add to the counts."""
        return [
            (self.number(verdict, by), 1)
            for verdict in verdicts
            if verdict.status.action is not Action.UNKNOWN
            for by in sorted({window.by for window in self.policy.counters(verdict)} - {SeenBy.RECIPIENT})
        ]

    def number(self, verdict: Classification, by: SeenBy) -> Number:
        """The count that a verdict belongs to, of others than the recipient."""
        status = verdict.status
        subject = {
            SeenBy.DOMAIN: status.recipient.rpartition("@")[2].lower(),
            SeenBy.PROVIDER: _provider(status),
            SeenBy.SENDER: self.sender.lower(),
            SeenBy.RELAY: self.relay,
        }[by]
        return Number(Count.VERDICTS, f"{by}:{verdict.category}:{subject}")


@lru_cache(maxsize=1024)
def subject_of_stream(stream: Stream) -> str:
    """A stream as one text, from which `json.loads` has it back."""
    return json.dumps(stream)


def greylisted_at(recipient: Recipient, verdict: Classification, now: datetime) -> datetime | None:
    """Since when nothing but a greylist has kept a recipient waiting, behind one more verdict; None: it is not that."""
    if verdict.category is not Category.GREYLISTED or verdict.permanent:
        return None
    return recipient.greylisted_at if recipient.attempts else now


def waited(recipient: Recipient, status: RecipientStatus, now: datetime) -> list[tuple[Number, int]]:
    """What is learnt of a greylist that let a recipient in, where the first retry was too early for it."""
    since = recipient.greylisted_at
    if since is None or recipient.attempts < _RETRIED_TWICE or not isinstance(status.reply, Reply) or now <= since:
        return []
    provider, seconds = _provider(status), int((now - since).total_seconds())
    return [(Number(Count.GREYLISTED, provider), 1), (Number(Count.GREYLIST_SECONDS, provider), seconds)]


def _provider(status: RecipientStatus) -> str:
    return provider_at(status.remote_mta, status.recipient)
