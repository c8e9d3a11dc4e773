"""One SMTP session and the transactions in it: what goes out together, when another one is better, how each ended.

Pipelined is only what may be asked again: on a line that can be opened again, with a server that has lost no replies
to a group. Behind the dot of one message the commands of the next may go out in the same write, so that a stream of
messages takes one round trip each (RFC 2920 3.1). Nothing of that next one is decided before its own dot.

A transaction is a generator. Besides the steps of a conversation it asks whoever holds the line for these:

    READY     a session that is open and greeted, dialled where needed -> its Conversation; what fails is thrown in
    HANG_UP   say QUIT and close                                        -> nothing
    Remember  an attempt that is about to end with its dot              -> None, or what keeps the dot back
    FOLLOW    which transaction comes next, if that is known?           -> it, or None
    Elsewhere the same by the relay that takes this one's place         -> its Outcome; None: it may not
"""

import smtplib
import socket
import ssl
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple

from bouncekit.clients.conduct import Conduct
from bouncekit.clients.smtperrors import TlsNotOffered, UnreadableReply, Utf8NotOffered
from bouncekit.delivery.steps import Outcome, SessionEnd, Transact
from bouncekit.desk.office import Office
from bouncekit.protocol.commandlines import limit_of
from bouncekit.protocol.conversation import Ahead, Conversation, Look, Receive, Send, Talk, Turn, carry
from bouncekit.protocol.downgrading import downgraded, in_part, wants_utf8
from bouncekit.protocol.transaction import GROUP_SIZE, Dot, NotSent, Transacted, Transaction, transaction
from bouncekit.words.reply import Cause, NoReply, Reply, Stage
from bouncekit.words.status import Action, RecipientStatus, Taken

__all__ = [
    "CONNECT_SECONDS",
    "FOLLOW",
    "HANG_UP",
    "READY",
    "Asked",
    "Elsewhere",
    "Follow",
    "HangUp",
    "Ready",
    "Remember",
    "Session",
    "redialling",
]

CONNECT_SECONDS = 30.0

_MOST_REFUSALS = 9  # without a delivery between; from the tenth on Postfix waits a second before each reply
_MOST_TRANSACTIONS = 1_000  # servers that want fewer say so, or hang up
_LONGEST_SECONDS = 900.0  # a line that is kept for ever never meets the relay's other hosts
_IDLE_SECONDS = 120.0  # that a line is kept without a message; servers give five minutes (RFC 5321 4.5.3.2.7), or less
_BRIEF = 1.0  # seconds behind a message in which no server has had enough of waiting


class Ready(NamedTuple):
    """Open the session, or open it again, where it is not."""


class HangUp(NamedTuple):
    """Say QUIT and close."""


class Remember(NamedTuple):
    """Have an attempt remembered that is about to end with this dot."""

    step: Transact
    attempt_id: str
    dot: Dot


class Follow(NamedTuple):
    """Say which transaction comes behind this one."""


class Elsewhere(NamedTuple):
    """Carry a transaction by the relay that takes this one's place; `trouble` is why, where that is known."""

    step: Transact
    trouble: Exception | None = None


READY, HANG_UP, FOLLOW = Ready(), HangUp(), Follow()
Asked = Turn | Send | Receive | Look | Ready | HangUp | Remember | Follow | Elsewhere


class Session(ABC):
    """What a session is to carry, and what it has come to. Who holds the line says how it is opened and closed."""

    # Set for an adopted connection as for one of our own, so that both start from here.
    office: Office | None = None
    esmtp_features: dict[str, str]  # that the server offers, names in lower case
    does_esmtp: bool
    _host: str
    conduct = Conduct()
    elsewhere: Callable[[Elsewhere], Outcome | None] | None = None  # by the relay that takes this one's place
    _trouble: Exception | None = None  # what kept the last transaction from beginning
    _redials = 3
    _is_unreachable = False
    _was_dropped = False
    _transactions = 0  # of this session
    _refusals = 0  # of this session, since it delivered something
    _opened_at = _used_at = 0.0  # on the monotonic clock
    _most_idle = _IDLE_SECONDS
    _ahead: tuple[Transact, Ahead] | None = None  # a transaction whose commands went out behind the last dot

    @property
    @abstractmethod
    def _is_open(self) -> bool:
        """Whether there is a line."""

    @property
    @abstractmethod
    def _may_dial(self) -> bool:
        """Whether it is ours to open another one."""

    @abstractmethod
    def _drop(self) -> None:
        """Close a line that is lost or not in step any more; another one may be opened."""

    @property
    def trouble(self) -> Exception | None:
        """What kept the last transaction from beginning."""
        return self._trouble

    @property
    def idle_seconds(self) -> float:
        """How long a line is kept without a message."""
        return self._most_idle

    # -- one transaction

    def transacting(self, step: Transact, *, follows: bool = False) -> Generator[Any, Any, Outcome]:
        """A transaction in this session, or where it cannot be opened by the relay that takes its place.

        With `follows`, somebody knows which one comes behind it.
        """
        if self.elsewhere is None:
            return self._transacting_here(step, follows=follows)
        return self._transacting_somewhere(step, follows=follows)

    def _transacting_somewhere(self, step: Transact, *, follows: bool) -> Generator[Any, Any, Outcome]:
        outcome = None if step.through else (yield from self._transacting_here(step, follows=follows))
        if outcome is None or outcome.never_began:
            instead: Outcome | None = yield Elsewhere(step, None if outcome is None else self._trouble)
            if instead is not None:
                self._trouble = None
                return instead
        return outcome or (yield from self._transacting_here(step, follows=follows))

    def _transacting_here(self, step: Transact, *, follows: bool) -> Generator[Any, Any, Outcome]:
        """A transaction in this session, which is opened again first where that is ours to do."""
        attempt_id = self.office.clock.new_id() if self.office else ""
        try:
            begun = self._take_up(step)
            try:
                line = yield from self._make_ready(step, begun)
            except (smtplib.SMTPException, OSError, ValueError) as error:  # ValueError: what no command line can hold
                self._trouble = error
                self._was_dropped = not self._is_open
                result = _not_begun(step, error, self._host)
            else:
                self._trouble = None
                result = yield from carry(
                    self._steps(step) if begun is None else begun.steps,
                    line,
                    answers=None if begun is None else begun.answers,
                    begin=partial(self._begin, step, attempt_id) if step.delivery.relay is not None else None,
                    behind=partial(self._go_ahead, step) if follows else None,
                )
                self._close_behind(result, is_in_step=line.reader.is_clean)
        except BaseException:
            self._drop()
            raise
        return Outcome(
            attempt_id=attempt_id,
            now=self.office.clock.now() if self.office else datetime.now(UTC),
            statuses=result.statuses,
            ended=SessionEnd(stage=result.ended[0], reply=result.ended[1]) if result.ended else None,
            can_redial=self._may_dial and not self._is_unreachable,
            lost_replies=result.lost_replies,
            remote_mta=self._host,
        )

    def _make_ready(self, step: Transact, begun: Ahead | None) -> Talk:
        """Connected, greeted, and able to carry what this envelope needs."""
        if begun is None and self._is_open and self._is_worn_out(self._transactions):
            yield HANG_UP
            self._was_dropped = True
        line = yield READY
        if begun is None and time.monotonic() - self._used_at > _BRIEF and (yield from self._has_gone(line)):
            line = yield READY
        if begun is None and not self._can_carry(step):
            raise Utf8NotOffered("SMTPUTF8 not supported by server")
        return line

    def _has_gone(self, line: Conversation) -> Generator[Any, Any, bool]:
        """Whether the server has closed a line that was idle, which is no news of the message that is to come."""
        if self.office is None or not self._may_dial or (yield from line.is_silent()):
            return False
        said = yield from line.unasked()
        self._drop()
        ended = SessionEnd(stage=Stage.IDLE, reply=said if said.reply is None else said.reply)
        self.office.session_ended(ended, remote_mta=self._host)
        return True

    def _begin(self, step: Transact, attempt_id: str, dot: Dot) -> Generator[Any, Any, NotSent | None]:
        refused: NotSent | None = yield Remember(step, attempt_id, dot)
        return refused

    def _close_behind(self, result: Transacted, *, is_in_step: bool) -> None:
        """Count a transaction that is over, and close a line that can carry no other."""
        if result.lost_replies and self.office is not None:
            self.office.lock_step.add(self._host)
        self._count(result)
        is_astray = self._ahead is not None and not self._ahead[1].is_well
        if result.must_close or is_astray or not is_in_step:  # by a reply that nobody asked for
            self._drop()

    def _steps(self, step: Transact) -> Transaction:
        dsn = None
        if self.conduct.dsn is not None and self.office is not None and "dsn" in self.esmtp_features:
            dsn = replace(self.conduct.dsn, envelope_id=step.delivery.id)
        envelope = self._within_limits(step).envelope
        send = partial(
            transaction,
            extensions=self.esmtp_features if self.does_esmtp else None,
            lmtp=self.conduct.is_lmtp,
            remote_mta=self._host or None,
            group_size=self._group_size(),
            chunks=self.conduct.chunking and "chunking" in self.esmtp_features,
            dsn=dsn,
        )
        return in_part(envelope, send) if wants_utf8(envelope) and not self._offers_utf8 else send(envelope)

    def _within_limits(self, step: Transact) -> Transact:
        """The step with as many recipients as the server takes in one transaction; those behind them come next."""
        most = limit_of(self.esmtp_features, "RCPTMAX") if self.office is not None else None
        if most is None or len(step.envelope.recipients) <= most:
            return step
        envelope = replace(step.envelope, recipients=step.envelope.recipients[:most])
        return replace(step, envelope=envelope, recipients=step.recipients[:most])

    # -- a stream of messages

    def _go_ahead(self, step: Transact, dot: Dot) -> Generator[Any, Any, Ahead | None]:
        """Begin the transaction behind this one with its dot, where nothing that comes of the dot can harm it.

        Not behind a refused recipient: the policy may ask for him again at once, and the server would wait for another
        message's content.
        """
        is_last = self._is_worn_out(self._transactions + 1)
        if self._group_size() == 1 or is_last or len(dot.recipients) < len(step.envelope.recipients):
            return None
        upcoming: Transact | None = yield FOLLOW
        if upcoming is None or upcoming.through or not self._can_carry(upcoming):
            return None
        try:
            ahead = Ahead.of(self._steps(upcoming))
        except ValueError:
            return None  # what no command line can hold, it will say in its own turn
        self._ahead = None if ahead is None else (upcoming, ahead)
        return ahead

    def _take_up(self, step: Transact) -> Ahead | None:
        """What has been begun of this transaction; if it was another's, the server waits for that, and is left."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None and ahead[0] is not step:
            self._drop()
        return ahead[1] if ahead is not None and ahead[0] is step else None

    # -- the session

    def _group_size(self) -> int:
        """How many commands go out at once: one, unless all may be asked again on another line."""
        may_pipeline = (
            not self.conduct.lock_step
            and self.office is not None
            and self._may_dial
            and "pipelining" in self.esmtp_features
            and self._host not in self.office.lock_step
        )
        return GROUP_SIZE if may_pipeline else 1

    def _count(self, result: Transacted) -> None:
        """What this session has come to: servers end one that errs too often, and some take so many messages only."""
        self._transactions += 1
        self._used_at = time.monotonic()
        statuses = result.statuses
        if isinstance(statuses, Taken) or any(one.action is Action.DELIVERED for one in statuses):
            self._refusals = 0
        else:
            self._refusals += sum(isinstance(one.reply, Reply) and one.reply.code >= 400 for one in result.statuses)

    def _is_worn_out(self, transactions: int) -> bool:
        """Whether behind so many transactions another session had better take the next one, and can be had."""
        if self.office is None or not self._may_dial:
            return False
        most = min(limit_of(self.esmtp_features, "MAILMAX") or _MOST_TRANSACTIONS, _MOST_TRANSACTIONS)
        is_old = time.monotonic() - self._opened_at > _LONGEST_SECONDS or self._idle_left() <= 0
        return self._refusals >= _MOST_REFUSALS or transactions >= most or (is_old and transactions > 0)

    def _idle_left(self) -> float:
        """For how many seconds more the line is kept without a message."""
        return self._most_idle - (time.monotonic() - self._used_at)

    def _begin_afresh(self) -> None:
        """A new line is open: what the last one had come to is no news of it."""
        self._transactions = self._refusals = 0
        self._opened_at = self._used_at = time.monotonic()

    @property
    def _offers_utf8(self) -> bool:
        return self.does_esmtp and "smtputf8" in self.esmtp_features

    def _can_carry(self, step: Transact) -> bool:
        """Whether there is somebody whom this can be sent to; without a policy, whether everybody can have it."""
        if not wants_utf8(step.envelope) or self._offers_utf8:
            return True
        return self.office is not None and downgraded(step.envelope) is not None

    def _tell_closed(self, reply: Reply | NoReply) -> None:
        """Tell that the session is over, by our own QUIT, and what was said to it."""
        if self.office is not None:
            self.office.session_ended(SessionEnd(stage=Stage.QUIT, reply=reply), remote_mta=self._host)


def redialling(attempts: int) -> dict[str, Any]:
    """How tenacity dials so often at the most: what `Retrying` and `AsyncRetrying` take."""
    import tenacity

    return {
        "retry": tenacity.retry_if_exception(_may_pass),
        "stop": tenacity.stop_after_attempt(attempts),
        "wait": tenacity.wait_exponential(multiplier=0.1, max=2.0) + tenacity.wait_random(0, 0.1),
        "reraise": True,
    }


def _may_pass(error: BaseException) -> bool:
    """Whether dialling again may help: the network, or a greeting of class 4."""
    if isinstance(error, smtplib.SMTPConnectError):
        return 400 <= error.smtp_code < 500
    if isinstance(error, smtplib.SMTPServerDisconnected):
        return not isinstance(error, UnreadableReply)
    return isinstance(error, OSError) and not isinstance(error, (smtplib.SMTPException, ssl.SSLError))


def _not_begun(step: Transact, error: Exception, host: str) -> Transacted:
    """What a transaction that could not begin means: everybody is delayed, and nearly always the session is over."""
    stage, answer = what_went_wrong(error)
    statuses = tuple(
        RecipientStatus(
            recipient=address.wire,
            action=Action.DELAYED,
            stage=stage,
            reply=answer,
            individual=False,
            remote_mta=host or None,
        )
        for address in step.envelope.recipients
    )
    if stage is Stage.MAIL:
        return Transacted(statuses=statuses)
    return Transacted(statuses=statuses, ended=(stage, answer), must_close=True)


def what_went_wrong(error: Exception) -> tuple[Stage, Reply | NoReply]:
    """The stage and the answer that an exception of smtplib, the network or TLS stands for."""
    for kind, stage in (
        (smtplib.SMTPConnectError, Stage.CONNECT),
        (smtplib.SMTPHeloError, Stage.EHLO),
        (smtplib.SMTPAuthenticationError, Stage.AUTH),
        (smtplib.SMTPResponseException, Stage.STARTTLS),  # what is left, smtplib raises there only
    ):
        if isinstance(error, kind) and error.smtp_code > 0:
            text = error.smtp_error
            return stage, Reply(error.smtp_code, text if isinstance(text, bytes) else text.encode())
    if isinstance(error, Utf8NotOffered):
        return Stage.MAIL, NoReply(Cause.PROTOCOL, str(error))  # the session is fine, another message may use it
    for kinds, cause in _CAUSES:
        if isinstance(error, kinds):
            return Stage.CONNECT, NoReply(cause, str(error))
    return Stage.CONNECT, NoReply(Cause.LOST, str(error))


_CAUSES: tuple[tuple[type[Exception] | tuple[type[Exception], ...], Cause], ...] = (
    (UnreadableReply, Cause.PROTOCOL),
    (TlsNotOffered, Cause.TLS),
    (smtplib.SMTPNotSupportedError, Cause.PROTOCOL),
    (ssl.SSLError, Cause.TLS),
    (ValueError, Cause.PROTOCOL),
    (socket.gaierror, Cause.DNS),
    (TimeoutError, Cause.TIMED_OUT),
    (ConnectionRefusedError, Cause.REFUSED),
)
