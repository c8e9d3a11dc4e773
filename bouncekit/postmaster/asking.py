"""Ask what a reply means, without sending anything."""

from dataclasses import replace

from bouncekit.bounces.diagnostic import Diagnostic, read_diagnostic
from bouncekit.meaning.classification import Classification
from bouncekit.meaning.classifier import Classifier
from bouncekit.outside.builtin import classifier
from bouncekit.words.reply import EnhancedStatusCode, NoReply, Reply, Stage
from bouncekit.words.status import Action, RecipientStatus

__all__ = ["classify", "judged", "status_of"]

_ACTIONS = {2: Action.DELIVERED, 4: Action.DELAYED, 5: Action.FAILED}  # by the class of a status (RFC 3463 3.1)
_NOTHING = Diagnostic()
_STAGES = {stage.value: stage for stage in Stage}
_BEHIND_MAIL = frozenset({Stage.RCPT, Stage.DATA, Stage.END_OF_DATA})


def classify(
    reply: str | Reply,
    *,
    stage: str | Stage | None = None,
    accepted: int | None = None,
    individual: bool | None = None,
    remote_mta: str | None = None,
    enhanced: str | None = None,
    provider: str | None = None,
) -> Classification:
    """What a reply means and whose fault it is.

    A text that does not start with a reply code is read as the one in a bounce mail: what counts is the reply that it
    quotes. Where it quotes none, its words and status code are judged, and the verdict is never `certain`; words
    alone pass for a temporary failure, unless what they name is one for good. `verdict.status` shows what was read.

    Without a `stage` it is the one that such a text names, else RCPT.

    `accepted` counts the recipients accepted before it in the same transaction; where nobody has counted, a reply to
    RCPT or behind it is judged as if there was one. `individual` says that it concerns one recipient alone; unsaid, a
    reply to the data of several does not. `enhanced` is a code that stands beside the reply, as in a DSN.

    >>> verdict = classify("552 5.2.2 mailbox full", stage="RCPT")
    >>> verdict.category.value, verdict.scope.value, verdict.permanent
    ('mailbox_full', 'recipient', True)
    >>> quoted = classify("host mx.example.com said: 550 5.7.1 Sender banned (in reply to MAIL FROM command)")
    >>> quoted.category.value, quoted.status.stage.value
    ('sender_rejected', 'MAIL')

    Raises:
        ValueError: there is neither a word nor a code in the text, or no such stage.
        TypeError: it is neither a text nor a Reply.
    """
    status = status_of(
        reply, stage=stage, accepted=accepted, individual=individual, remote_mta=remote_mta, enhanced=enhanced
    )
    return judged(status, classifier(), provider=provider)


def judged(status: RecipientStatus, classifier: Classifier, *, provider: str | None = None) -> Classification:
    """What a status means; never certain where no reply was quoted."""
    verdict = classifier.classify(status, provider=provider)
    return verdict if isinstance(status.reply, Reply) else replace(verdict, certain=False)


def status_of(
    reply: str | Reply,
    *,
    stage: str | Stage | None = None,
    accepted: int | None = None,
    individual: bool | None = None,
    remote_mta: str | None = None,
    enhanced: str | None = None,
) -> RecipientStatus:
    """The status that a reply, or a text that quotes one, gives a recipient.

    Raises:
        ValueError: there is neither a word nor a code in the text, or no such stage.
        TypeError: it is neither a text nor a Reply.
    """
    given = None if stage is None else _STAGES.get(stage) or _stage(stage)
    said, around = _read(reply)
    answered = given or around.stage or Stage.RCPT
    if accepted is None:
        accepted = int(answered in _BEHIND_MAIL)
    if individual is None:
        individual = accepted <= 1 or answered is Stage.RCPT
    status = EnhancedStatusCode.parse(enhanced) if enhanced else around.status
    return RecipientStatus(
        recipient="",
        action=_action(said, status),
        stage=answered,
        reply=said,
        accepted=accepted,
        individual=individual,
        remote_mta=remote_mta,
        status=status,
        diagnostic="" if said else around.text,
    )


def _stage(name: str | Stage) -> Stage:
    try:
        return Stage(str(name).upper().replace("-", "_"))
    except ValueError:
        raise ValueError(f"{name!r} is no stage; one of {', '.join(Stage)}") from None


def _read(reply: str | Reply) -> tuple[Reply | NoReply | None, Diagnostic]:
    """The reply, and what stands around it where a text only quotes it."""
    if isinstance(reply, Reply):
        return reply, _NOTHING
    if not isinstance(reply, str):
        raise TypeError(f"{reply!r} is no reply; write a text such as '552 5.2.2 Mailbox full', or give a Reply")
    try:
        return Reply.parse(reply), _NOTHING
    except ValueError:
        quoted = read_diagnostic(reply)
        if quoted.status is None and not any(map(str.isalpha, reply)):
            raise
        return quoted.reply, quoted


def _action(reply: Reply | NoReply | None, status: EnhancedStatusCode | None) -> Action:
    """What became of the message; nobody knows where words stand alone."""
    if isinstance(reply, Reply):
        return Action.FAILED if reply.is_permanent else Action.DELAYED
    return _ACTIONS[status.class_] if status else Action.UNKNOWN
