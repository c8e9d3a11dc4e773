"""What a rule says, and the case that it is asked about: which reply, when and from whom, and what then.

Everything here is pure. Time, jitter, history and the provider come in as `Circumstances`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType

from bouncekit.meaning.classification import Category, Classification, Scope
from bouncekit.policy.lane import Pause, Slow
from bouncekit.policy.schedule import Schedule
from bouncekit.policy.suppression import Ladder
from bouncekit.policy.template import Template
from bouncekit.words.address import a_label
from bouncekit.words.envelope import Labels, Recipient
from bouncekit.words.phrase import Phrase, Words
from bouncekit.words.quick import quick
from bouncekit.words.reply import Cause, NoReply, Stage
from bouncekit.words.status import RecipientStatus

__all__ = [
    "Case",
    "Circumstances",
    "Condition",
    "Example",
    "Fate",
    "Learn",
    "Limit",
    "Notice",
    "Range",
    "Rule",
    "Seen",
    "SeenBy",
    "SessionFate",
    "SessionRule",
    "Window",
]


class Fate(StrEnum):
    """What becomes of a recipient; a rule has exactly one."""

    RETRY = "retry"  # later, by a schedule, until the deadline
    SPLIT = "split"  # at once, in a new transaction
    ALONE = "alone"  # at once, once, in a transaction of its own
    FAIL = "fail"  # no more tries
    HOLD = "hold"  # kept, untouched until somebody releases it


class SessionFate(StrEnum):
    """What becomes of a connection."""

    CLOSE = "close"  # done with it; the recipients go by their own rules
    RECONNECT = "reconnect"  # dial again and go on with what is not settled


@dataclass(frozen=True, slots=True)
class Range:
    """A whole number between two bounds, both included; None is open."""

    at_least: int | None = None
    at_most: int | None = None

    def __contains__(self, number: object) -> bool:
        if not isinstance(number, int):
            return False
        return (self.at_least is None or number >= self.at_least) and (self.at_most is None or number <= self.at_most)


class SeenBy(StrEnum):
    """Whose verdicts are counted."""

    RECIPIENT = "recipient"
    DOMAIN = "domain"  # the recipient's
    PROVIDER = "provider"  # whose server replied
    SENDER = "sender"  # the return path
    RELAY = "relay"  # that took the mail, or did not


@dataclass(frozen=True, slots=True)
class Seen:
    """At least this many verdicts of the same category within a window, the present one included.

    Of the recipient one a day counts: a strike is a settled message, never an attempt. Of others each verdict does.
    With `half_after` a verdict weighs half when it is so old, a quarter when it is twice as old, and so on.

    >>> often = Seen(3, timedelta(days=30), half_after=timedelta(days=10))
    >>> [span.days for span in often.spans]
    [10, 20, 30]
    >>> often.weigh([1, 2, 3])  # besides the present one, one in each ten days
    2.75
    """

    times: int
    within: timedelta
    by: SeenBy = SeenBy.RECIPIENT
    half_after: timedelta | None = None

    @property
    def spans(self) -> tuple[timedelta, ...]:
        """The times within which verdicts must be counted to weigh them, the longest last."""
        if self.half_after is None:
            return (self.within,)
        steps = -(-self.within // self.half_after)
        return (*(self.half_after * step for step in range(1, steps)), self.within)

    def weigh(self, counted: Iterable[int]) -> float:
        """What the present verdict weighs and those before it, of which so many were within each of `spans`.

        Exact: a sum of whole numbers, halved a few times over.
        """
        weight, before = 1.0, 0
        for step, number in enumerate(counted):
            weight += (number - before) / 2**step
            before = number
        return weight

    def windows(self, category: Category) -> "tuple[Window, ...]":
        """The questions to the history, one for each of `spans`."""
        return _windows(self, category)


@dataclass(frozen=True, slots=True)
class Window:
    """A question to the history: how many days before today, within this time, had a strike of this category?

    Of others than the recipient: how many such verdicts there were.
    """

    category: Category
    within: timedelta
    by: SeenBy = SeenBy.RECIPIENT


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """When a rule applies: every key that is given must match, one of its values is enough.

    In `code` and `enhanced`, x stands for any number: `5xx`, `x.2.2`. In names of hosts and domains, and in `sender`,
    which is the return path, * stands for anything.
    """

    code: tuple[str, ...] = ()
    enhanced: tuple[str, ...] = ()
    stage: frozenset[Stage] = frozenset()
    category: frozenset[Category] = frozenset()
    scope: frozenset[Scope] = frozenset()
    cause: frozenset[Cause] = frozenset()
    provider: frozenset[str] = frozenset()
    remote_mta: tuple[str, ...] = ()
    domain: tuple[str, ...] = ()
    message_class: frozenset[str] = frozenset()
    sender: tuple[str, ...] = ()
    tenant: frozenset[str] = frozenset()
    stream: frozenset[str] = frozenset()
    text: tuple[Phrase, ...] = ()
    permanent: bool | None = None
    certain: bool | None = None
    expired: bool | None = None
    attempts: Range | None = None
    accepted: Range | None = None
    seen: Seen | None = None

    def matches(self, case: "Case") -> bool:
        """Whether all that is asked for holds; the cheap questions first."""
        verdict, status = case.classification, case.classification.status
        return (
            (not self.category or verdict.category in self.category)
            and (self.permanent is None or verdict.permanent is self.permanent)
            and (self.certain is None or verdict.certain is self.certain)
            and (self.expired is None or case.expired is self.expired)
            and (not self.scope or verdict.scope in self.scope)
            and (not self.stage or status.stage in self.stage)
            and (not self.cause or (isinstance(status.reply, NoReply) and status.reply.cause in self.cause))
            and (not self.code or any(_same_code(code, status.code) for code in self.code))
            and (not self.enhanced or any(_same_enhanced(code, status) for code in self.enhanced))
            and (not self.message_class or case.message_class in self.message_class)
            and (not self.provider or case.circumstances.provider in self.provider)
            and (not self.domain or any(_same_domain(domain, case.recipient.address.domain) for domain in self.domain))
            and (not self.tenant or case.circumstances.labels.tenant in self.tenant)
            and (not self.stream or case.circumstances.labels.stream in self.stream)
            and (not self.sender or any(_glob(name, case.circumstances.sender) for name in self.sender))
            and (not self.remote_mta or any(_glob(name, status.remote_mta or "") for name in self.remote_mta))
            and (self.attempts is None or case.recipient.attempts in self.attempts)
            and (self.accepted is None or status.accepted in self.accepted)
            and (self.seen is None or case.seen(self.seen) >= self.seen.times)
            and (not self.text or any(phrase.matches(case.words) for phrase in self.text))
        )


@dataclass(frozen=True, slots=True)
class Example:
    """A reply that a rule must decide; `policy test` runs it."""

    reply: str
    stage: Stage = Stage.RCPT
    accepted: int = 0
    individual: bool = True
    attempts: int = 1
    seen: int = 1
    expired: bool = False
    message_class: str | None = None
    tenant: str = ""
    stream: str = ""
    sender: str = ""
    domain: str = "example.com"
    remote_mta: str | None = None
    provider: str | None = None


@dataclass(frozen=True, slots=True)
class Limit:
    """At most so many notices within a time: to a channel, or about each recipient and category to it."""

    times: int
    within: timedelta
    per_recipient: bool = False


@dataclass(frozen=True, slots=True)
class Notice:
    """Tell a channel; with `digest`, at most one notice in that time, which sums up the rest.

    `limit` is the channel's, over all its notices; None: as `bouncekit.notify.moderation` bounds every channel.
    `template` words it; None: in sentences of ours.
    """

    channel: str
    digest: timedelta | None = None
    template: Template | None = None
    limit: Limit | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Learn:
    """The first wait is what greylisting of that provider has taken of late, within these bounds."""

    at_least: timedelta = timedelta(minutes=1)
    at_most: timedelta = timedelta(hours=1)

    def wait(self, taken: timedelta) -> timedelta:
        """The first wait, where it has taken so long."""
        return min(max(taken, self.at_least), self.at_most)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule about recipients. `where` is file:line; `slow` or `pause` is about all mail that goes the same way."""

    id: str
    when: Condition = Condition()
    do: Fate
    wait: Schedule | None = None
    learn: Learn | None = None
    suppress: Ladder | None = None
    notify: tuple[Notice, ...] = ()
    slow: Slow | None = None
    pause: Pause | None = None
    examples: tuple[Example, ...] = ()
    where: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRule:
    """One rule about connections. `at_most` bounds the reconnects of one message."""

    id: str
    when: Condition = Condition()
    do: SessionFate
    at_most: int = 1
    examples: tuple[Example, ...] = ()
    where: str = ""


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What a verdict depends on besides the reply. `jitter` is in [0, 1); `counters` answers `Policy.counters`.

    `sender` is the return path as the application gave it; "" for the null one. `learned` is how long greylisting has
    taken of late where it comes from; None: nobody knows.
    """

    now: datetime
    jitter: float = 0.0
    labels: Labels = Labels()
    sender: str = ""
    provider: str | None = None
    learned: timedelta | None = None
    counters: Mapping[Window, int] = field(default_factory=lambda: MappingProxyType({}))


class Case:
    """One question to the rules; what several conditions ask is worked out once."""

    __slots__ = ("_words", "circumstances", "classification", "expired", "message_class", "recipient")

    def __init__(
        self,
        classification: Classification,
        recipient: Recipient,
        circumstances: Circumstances,
        *,
        message_class: str,
        expired: bool = False,
    ) -> None:
        self.classification = classification
        self.recipient = recipient
        self.circumstances = circumstances
        self.message_class = message_class
        self.expired = expired
        self._words: Words | None = None

    @property
    def words(self) -> Words:
        if self._words is None:
            self._words = Words(self.classification.status.text)
        return self._words

    def seen(self, asked: Seen) -> float:
        """Days with such a verdict, today included, or verdicts, this one included; each by its weight."""
        counters = self.circumstances.counters
        return asked.weigh(counters.get(window, 0) for window in asked.windows(self.classification.category))


@lru_cache(maxsize=256)
def _windows(seen: Seen, category: Category) -> tuple[Window, ...]:
    return tuple(Window(category, span, seen.by) for span in seen.spans)


def _same_code(pattern: str, code: int | None) -> bool:
    return code is not None and all(want in ("x", have) for want, have in zip(pattern, str(code), strict=False))


def _same_enhanced(pattern: str, status: RecipientStatus) -> bool:
    if status.enhanced is None:
        return False
    return all(want in ("x", str(have)) for want, have in zip(pattern.split("."), status.enhanced, strict=False))


def _same_domain(pattern: str, domain: str) -> bool:
    """Whether a domain is one that is asked for, in whichever of its two spellings each is written (RFC 5890 2.3.2)."""
    if _glob(pattern, domain):
        return True
    return not (pattern.isascii() and domain.isascii()) and _glob(_a_labels(pattern), _a_labels(domain))


@lru_cache(maxsize=1024)
def _a_labels(name: str) -> str:
    """A name label by label, so that one with * in it stays as it is."""
    return ".".join(label if "*" in label else a_label(label) for label in name.split("."))


def _glob(pattern: str, text: str) -> bool:
    """`*` for any run of characters; linear, both in lower case."""
    head, *rest = pattern.lower().split("*")
    text = text.lower()
    if not rest:
        return text == head
    if not text.startswith(head):
        return False
    at = len(head)
    for run in rest[:-1]:
        found = text.find(run, at)
        if found < 0:
            return False
        at = found + len(run)
    return len(text) - at >= len(rest[-1]) and text.endswith(rest[-1])
