"""Notices of what happened: through the channels of the roles that the policy names, and told as events themselves."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime

from bouncekit.delivery.events import Event, EventType, event_id
from bouncekit.notify import Channel, Moderation, Via, compose
from bouncekit.policy.rule import Notice
from bouncekit.words.showing import printable, redacted

__all__ = ["Notices"]

_MOST_KEPT = 1_000


class Notices:
    """The channels of one postmaster. `tell` is given an event for each notice that went out, or could not."""

    def __init__(self, channels: Mapping[str, Channel], tell: Callable[[Sequence[Event]], None]) -> None:
        self.channels = dict(channels)
        self.via: Via | None = None  # how a notice goes by mail where no connection is in use
        self._tell = tell
        self._moderation = Moderation()
        self._kept: deque[tuple[Event, Notice]] = deque(maxlen=_MOST_KEPT)

    def give(self, event: Event, via: Via | None) -> None:
        """Give the notices that an event carries; those that go by mail go `via` it. Raises nothing of a channel's."""
        settlement = event.settlement
        if settlement is None or not settlement.notices or event.type.value != settlement.action.value:
            return  # the event of the action carries them, those of its side effects do not
        if event.occasion.labels.test:
            return  # it would use up what a channel may hear
        for notice in settlement.notices:
            more = self._moderation.admit(notice, event)
            if more is not None:
                self._send(event, notice, more, via)

    def keep(self, event: Event, notice: Notice) -> None:
        """Give this notice of an event about no recipient as soon as something is given; none such comes in masses."""
        self._kept.append((event, notice))

    def give_due(self, now: datetime, via: Via | None, *, closing: bool = False) -> None:
        """Give what was kept back and is due; with `closing`, all that was kept back."""
        with suppress(IndexError):  # several threads may give
            while True:
                self._send(*self._kept.popleft(), 0, via)
        for folded in self._moderation.due(now, closing=closing):
            self._send(folded.event, folded.notice, folded.more, via)

    def next_due(self) -> datetime | None:
        """When there is something to give that was kept back; None: there is nothing."""
        return self._moderation.next_due()

    def _send(self, event: Event, notice: Notice, more: int, via: Via | None) -> None:
        way = self.channels.get(notice.channel)
        details: dict[str, object] = {"channel": notice.channel, "more": more}
        type_ = EventType.NOTIFIED
        if way is None:
            type_, details["why"] = EventType.NOT_NOTIFIED, f"no channel {notice.channel!r} is set up"
        else:
            try:
                way.send(compose(event, notice, more), via or self.via)
            except Exception as error:  # noqa: BLE001 - whatever a channel raises, the send must not suffer
                import logging

                type_, details["why"] = EventType.NOT_NOTIFIED, printable(redacted(f"{type(error).__name__}: {error}"))
                log = logging.getLogger("bouncekit")
                log.warning("channel %r failed: %s", notice.channel, type(error).__name__)
        told = Event(
            id=event_id(event.occasion.attempt_id, event.recipient, f"{type_}:{notice.channel}"),
            type=type_,
            occasion=event.occasion,
            recipient=event.recipient,
            settlement=event.settlement,
            details=details,
        )
        self._tell((told,))
