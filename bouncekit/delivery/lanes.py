"""What a delivery has to do with the lanes that it takes: who may go, who waits, and what each answer says of them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from bouncekit.delivery.events import bounded, show_time
from bouncekit.meaning.classification import Classification, Scope
from bouncekit.policy.lane import Lane, Pause, Road
from bouncekit.policy.policy import Disposition
from bouncekit.policy.schedule import USUAL_HINTS, Hints
from bouncekit.policy.throttle import Held, News
from bouncekit.words.envelope import Recipient
from bouncekit.words.reply import Reply
from bouncekit.words.showing import masked
from bouncekit.words.status import Action, RecipientStatus

__all__ = ["Hearing", "parted", "together", "why_held"]

_OF_THE_WAY = frozenset({Scope.SENDER, Scope.ROUTE})  # what one message or mailbox brought about concerns no other
_ANSWERED = frozenset({Action.DELIVERED, Action.FAILED})


def parted(
    recipients: Iterable[Recipient], road: Road, held: Mapping[Lane, Held]
) -> tuple[tuple[Recipient, ...], tuple[tuple[Recipient, Held], ...]]:
    """Those who may go, and those who wait, each with what he waits for longest."""
    if not held:
        return tuple(recipients), ()
    may_go: list[Recipient] = []
    waiting: list[tuple[Recipient, Held]] = []
    for recipient in recipients:
        reasons = [held[lane] for lane in road.lanes(recipient.address.domain) if lane in held]
        if reasons:
            waiting.append((recipient, max(reasons, key=lambda one: one.until)))
        else:
            may_go.append(recipient)
    return tuple(may_go), tuple(waiting)


def together(recipients: Iterable[Recipient], road: Road) -> Iterator[tuple[Recipient, ...]]:
    """Those of one transaction: all of them, or each domain's where its own servers are asked."""
    groups: dict[str, list[Recipient]] = {}
    for recipient in recipients:
        groups.setdefault(recipient.address.domain if road.is_direct else "", []).append(recipient)
    return map(tuple, groups.values())


def why_held(held: Held) -> str:
    """Why somebody waits, for people."""
    verb = "is paused until" if held.is_paused else "takes no more before"
    return f"{held.lane} {verb} {show_time(held.until)}" + (f": {held.why}" if held.why else "")


@dataclass(slots=True)
class Hearing:
    """What the answers of one transaction say of the lanes; a pause outweighs a slow-down, which outweighs all else."""

    road: Road
    jitter: float
    hints: Hints = USUAL_HINTS
    news: dict[Lane, News] = field(default_factory=dict)

    @property
    def shuts(self) -> bool:
        """Whether a lane is to be paused by it."""
        return any(isinstance(one.measure, Pause) for one in self.news.values())

    @staticmethod
    def of_all_well(recipients: Sequence[Recipient], road: Road) -> tuple[News, ...]:
        """What is heard where everybody got the message."""
        if not road.providers:
            return tuple(map(_well, road.lanes("")))
        domains = dict.fromkeys([one.address.domain for one in recipients])
        return tuple(map(_well, dict.fromkeys([lane for domain in domains for lane in road.lanes(domain)])))

    def add(
        self,
        domain: str,
        status: RecipientStatus,
        verdict: Classification | None = None,
        disposition: Disposition | None = None,
    ) -> None:
        """One recipient's answer; without a verdict he got the message."""
        lanes = self.road.lanes(domain)
        if not lanes:
            return
        measure = None if disposition is None else disposition.measure
        if verdict is None or disposition is None or verdict.scope not in _OF_THE_WAY:
            measure = None
        meant = None if measure is None else self.road.meant(measure, domain)
        is_well = isinstance(status.reply, Reply) and status.action in _ANSWERED and measure is None
        for lane in lanes:
            before = self.news.get(lane)
            if measure is None and before is not None and (before.well or before.measure is not None):
                continue
            one = News(lane=lane, well=is_well)
            if lane == meant and verdict is not None and disposition is not None:
                why = f"{masked(bounded(str(status.reply)) or '')} (rule {disposition.rule})"  # kept, and nobody's own
                hint = self.hints.asked(verdict.wait_hint)
                one = News(lane=lane, measure=measure, hint=hint, jitter=self.jitter, why=why)
            self.news[lane] = one if before is None else max(before, one, key=_weight)


@lru_cache(maxsize=256)
def _well(lane: Lane) -> News:
    return News(lane=lane, well=True)


def _weight(news: News) -> int:
    return 3 if isinstance(news.measure, Pause) else 2 if news.measure is not None else int(news.well)
