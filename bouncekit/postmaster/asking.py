"""Ask what a reply means, without sending anything."""

from bouncekit.meaning.classification import Classification
from bouncekit.outside.builtin import classifier
from bouncekit.words.reply import EnhancedStatusCode, Reply, Stage
from bouncekit.words.status import Action, RecipientStatus

__all__ = ["classify", "status_of"]

_BEHIND_MAIL = frozenset({Stage.RCPT, Stage.DATA, Stage.END_OF_DATA})


def classify(
    reply: str | Reply,
    *,
    stage: str | Stage = Stage.RCPT,
    accepted: int | None = None,
    individual: bool | None = None,
    remote_mta: str | None = None,
    enhanced: str | None = None,
    provider: str | None = None,
) -> Classification:
    """What a reply means and whose fault it is.

    `accepted` counts the recipients accepted before it in the same transaction; where nobody has counted, a reply to
    RCPT or behind it is judged as if there was one. `individual` says that it concerns one recipient alone; unsaid, a
    reply to the data of several does not. `enhanced` is a code that stands beside the reply, as in a DSN.

    >>> verdict = classify("552 5.2.2 mailbox full", stage="RCPT")
    >>> verdict.category.value, verdict.scope.value, verdict.permanent
    ('mailbox_full', 'recipient', True)

    Raises:
        ValueError: the text does not start with a reply code, or there is no such stage.
        TypeError: it is neither a text nor a Reply.
    """
    status = status_of(
        reply, stage=stage, accepted=accepted, individual=individual, remote_mta=remote_mta, enhanced=enhanced
    )
    return classifier().classify(status, provider=provider)


def status_of(
    reply: str | Reply,
    *,
    stage: str | Stage = Stage.RCPT,
    accepted: int | None = None,
    individual: bool | None = None,
    remote_mta: str | None = None,
    enhanced: str | None = None,
) -> RecipientStatus:
    """The status that a reply gives a recipient."""
    try:
        answered = Stage(str(stage).upper().replace("-", "_"))
    except ValueError:
        raise ValueError(f"{stage!r} is no stage; one of {', '.join(Stage)}") from None
    said = Reply.parse(reply) if isinstance(reply, str) else reply
    if not isinstance(said, Reply):
        raise TypeError(f"{reply!r} is no reply; write a text such as '552 5.2.2 Mailbox full', or give a Reply")
    if accepted is None:
        accepted = int(answered in _BEHIND_MAIL)
    if individual is None:
        individual = accepted <= 1 or answered is Stage.RCPT
    return RecipientStatus(
        recipient="",
        action=Action.FAILED if said.is_permanent else Action.DELAYED,
        stage=answered,
        reply=said,
        accepted=accepted,
        individual=individual,
        remote_mta=remote_mta,
        status=EnhancedStatusCode.parse(enhanced) if enhanced else None,
    )
