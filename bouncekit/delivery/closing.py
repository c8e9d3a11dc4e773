"""What becomes of a session that is over: what the policy says of it, who goes on in another one, what is told."""

from collections.abc import Callable, Iterable
from dataclasses import replace

from bouncekit.delivery.events import Event, EventType, Occasion, bounded, event_of
from bouncekit.delivery.steps import Outcome, SessionEnd
from bouncekit.meaning.classification import Classification
from bouncekit.policy.policy import Policy, SessionDisposition
from bouncekit.policy.rule import SessionFate
from bouncekit.words.reply import Reply, Stage
from bouncekit.words.status import Action, RecipientStatus

__all__ = ["closed", "goes_on", "session_of"]


def session_of(
    outcome: Outcome,
    verdicts: Iterable[Classification],
    policy: Policy,
    classify: Callable[[RecipientStatus], Classification],
    *,
    reconnects: int,
) -> SessionDisposition | None:
    """What a policy says about the session of a transaction, where the server ended it."""
    ended = outcome.ended
    if ended is None:
        return None
    about = next((verdict for verdict in verdicts if verdict.status.reply is ended.reply), None)
    if about is None:
        about = classify(RecipientStatus(recipient="", action=Action.DELAYED, stage=ended.stage, reply=ended.reply))
    session = policy.decide_session(about, reconnects=reconnects)
    if not outcome.can_redial:
        return replace(session, fate=SessionFate.CLOSE)
    return replace(session, fate=SessionFate.RECONNECT) if outcome.lost_replies else session


def goes_on(status: RecipientStatus, outcome: Outcome, session: SessionDisposition) -> bool:
    """Whether a recipient was only voided by the end of the session, and another one may take it up."""
    return (
        session.fate is SessionFate.RECONNECT
        and status.action is Action.DELAYED
        and outcome.ended is not None
        and status.reply is outcome.ended.reply
    )


def closed(
    occasion: Occasion, ended: SessionEnd, session: SessionDisposition, *, remote_mta: str | None = None
) -> Event:
    """The event of a session's end: `expected` after our own QUIT, else the server's doing."""
    reply = ended.reply
    return event_of(
        EventType.CLOSED,
        occasion,
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
