"""A provider's bad hour, replayed through `deliver()` and a store: who was refused, and who is suppressed in the end.

Many processes at once are many deliveries under way: their steps are carried out in turns, so that each looks up
before others have recorded what it does not know of.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import count
from random import Random
from typing import Any

from bouncekit.delivery.delivery import deliver
from bouncekit.delivery.events import Event, EventType
from bouncekit.delivery.steps import LookUp, Outcome, Record, Steps, Transact
from bouncekit.outside.builtin import classify, open_policy
from bouncekit.policy.policy import Policy
from bouncekit.words.reply import Reply, Stage
from bouncekit.words.status import Action, RecipientStatus

from .building import NOW, delivery_to

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
GMAIL = "gmail-smtp-in.l.google.com"
NOBODY = (
    "550-5.1.1 The email account that you tried to reach does not exist. Please try\n"
    "550-5.1.1 double-checking the recipient's email address for typos or\n"
    "550-5.1.1 unnecessary spaces. Learn more at\n"
    "550 5.1.1 https://support.google.com/mail/?p=NoSuchUser {id} - gsmtp"
)  # Gmail, 2020-12-14 22:05 UTC, for mailboxes that existed

Says = Callable[[str, datetime], bool]  # whether the provider refuses this address now


@dataclass
class Sender:
    """Sends to one provider. `refuses` says whom it knows nothing of at a time; the rest is taken."""

    store: Any
    refuses: Says
    now: datetime = NOW
    policy: Policy = field(default_factory=lambda: open_policy("default"))
    at_once: int = 32  # deliveries under way at the same time
    host: str = GMAIL
    labels: dict[str, Any] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=lambda: count(1))
    random: Random = field(default_factory=lambda: Random(14))
    told: list[Event] = field(default_factory=list)
    noticed: list[str] = field(default_factory=list)
    tried: int = 0
    refused: int = 0

    def send(self, addresses: list[str], *, over: timedelta, each: int = 1) -> None:
        """Send to these addresses, `each` a message, evenly over a time."""
        messages = [addresses[start : start + each] for start in range(0, len(addresses), each)]
        start, step, coming = self.now, over / max(len(messages), 1), iter(messages)
        under_way: deque[tuple[Steps, Any]] = deque()
        for number in count():
            self.now = start + min(number, len(messages)) * step
            if (message := next(coming, None)) is not None:
                delivery = delivery_to(*message, id=self._id(), **self.labels)
                under_way.append((deliver(delivery, classify=classify, policy=self.policy), None))
            elif not under_way:
                break
            while len(under_way) > (self.at_once if message is not None else 0):
                self._go_on(under_way)
        self.now = start + over

    def bound(self, addresses: list[str]) -> int:
        """How many of these are not written to now."""
        found = self.store.look_up(LookUp(labels=delivery_to("a@example.com").labels, keys=tuple(addresses)), self.now)
        return sum(one.binds(self.now) for one in found.suppressions.values())

    def alarms(self) -> list[Event]:
        """Each once, as the store keeps it: several deliveries under way may see the same mass begin."""
        return list({one.id: one for one in reversed(self.told)}.values())

    def _go_on(self, under_way: deque[tuple[Steps, Any]]) -> None:
        """One step of one delivery, any of those under way."""
        under_way.rotate(self.random.randrange(len(under_way)))
        steps, answer = under_way.popleft()
        try:
            step = steps.send(answer)
        except StopIteration:
            return
        under_way.append((steps, self._answer(step)))

    def _answer(self, step: object) -> Any:
        if isinstance(step, LookUp):
            return self.store.look_up(step, self.now)
        if isinstance(step, Record):
            self.store.record(step)
            self.told += (event for event in step.events if event.type is EventType.GUARD_TRIPPED)
            self.noticed += (one.recipient for one in step.settlements if one.notices)
            return None
        if isinstance(step, Transact):
            statuses = tuple(self._status(address.wire) for address in step.envelope.recipients)
            return Outcome(attempt_id=self._id(), now=self.now, statuses=statuses, remote_mta=self.host)
        return False

    def _status(self, address: str) -> RecipientStatus:
        self.tried += 1
        status = RecipientStatus(
            recipient=address,
            action=Action.DELIVERED,
            stage=Stage.END_OF_DATA,
            reply=Reply.parse("250 2.0.0 OK"),
            accepted=1,
            remote_mta=self.host,
        )
        if not self.refuses(address, self.now):
            return status
        self.refused += 1
        reply = Reply.parse(NOBODY.format(id=f"{self.random.getrandbits(40):x}si{self.random.randrange(10**7)}wrx.41"))
        return replace(status, action=Action.FAILED, stage=Stage.RCPT, reply=reply, accepted=0)

    def _id(self) -> str:
        return f"{next(self.numbers):032x}"


def mailing(name: str, number: int, *, dead: float = 0.0, host: str = "gmail.com") -> tuple[list[str], set[str]]:
    """A list of addresses in no order, and those of them that no longer exist."""
    addresses = [f"{name}{one}@{host}" for one in range(number)]
    random = Random(name)
    gone = set(random.sample(addresses, round(number * dead)))
    random.shuffle(addresses)
    return addresses, gone
