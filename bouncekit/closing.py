"""What is told of a session that is over."""

from bouncekit.events import Event, EventType, Occasion, bounded, event_id
from bouncekit.policy import SessionDisposition
from bouncekit.reply import Reply, Stage
from bouncekit.steps import SessionEnd

__all__ = ["closed"]


def closed(
    occasion: Occasion, ended: SessionEnd, session: SessionDisposition, *, remote_mta: str | None = None
) -> Event:
    """The event of a session's end: `expected` after our own QUIT, else the server's doing."""
    reply = ended.reply
    return Event(
        id=event_id(occasion.attempt_id, None, EventType.CLOSED),
        type=EventType.CLOSED,
        occasion=occasion,
        details={
            "expected": ended.stage is Stage.QUIT and isinstance(reply, Reply) and reply.code == 221,
            "code": reply.code if isinstance(reply, Reply) else None,
            "reply": bounded(str(reply)),
            "stage": str(ended.stage),
            "rule": session.rule,
            "where": session.where,
            "then": str(session.fate),
            "remote_mta": remote_mta,
        },
    )
