"""An smtplib connection that carries transactions: what a server offers, in groups where that is safe, over one line.

Pipelined is only what may be asked again: on a line that can be opened again, with a server that has lost no replies
to a group. Behind the dot of one message the commands of the next may go out in the same write, so that a stream of
messages takes one round trip each (RFC 2920 3.1). Nothing of that next one is decided before its own dot.
"""

import smtplib
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import ClassVar

from bouncekit.commandlines import DsnRequest, limit_of
from bouncekit.dialling import Dialling
from bouncekit.reply import Cause, NoReply, Reply, Stage
from bouncekit.smtperrors import TlsNotOffered, UnreadableReply, Utf8NotOffered
from bouncekit.status import Action, RecipientStatus
from bouncekit.steps import Outcome, SessionEnd, Transact
from bouncekit.transaction import GROUP_SIZE, Dot, Transacted, Transaction, transaction
from bouncekit.transports.blocking import Ahead, Wire, carry

__all__ = ["Carrying", "Follow"]

_MOST_REFUSALS = 9  # without a delivery between; from the tenth on Postfix waits a second before each reply

Follow = Callable[[], Transact | None]  # the transaction behind the one that is about to end, if there is one


class Carrying(Dialling):
    """The part of `bouncekit.SMTP` that speaks MAIL to dot."""

    # Set for an adopted connection as for one of our own, so that both start from here.
    _turn: threading.RLock
    _is_lmtp: ClassVar[bool] = False
    _dsn: DsnRequest | None = None
    _lock_step = False
    _chunking = False
    _line: Wire | None = None  # of this socket, as long as it is ours
    _trouble: Exception | None = None
    _ahead: tuple[Transact, Ahead] | None = None  # a transaction whose commands went out behind the last dot

    def _transact(self, step: Transact, follow: Follow | None = None) -> Outcome:
        """One transaction on this connection. Threads that share it take turns: else one's mail is the other's."""
        with self._turn:
            return self._transact_alone(step, follow)

    def _transact_alone(self, step: Transact, follow: Follow | None) -> Outcome:
        """A transaction on this connection, which is opened again first where that is ours to do."""
        attempt_id = self.office.clock.new_id() if self.office else ""
        begun = self._take_up(step)
        try:
            if begun is None:
                self._make_ready(step)
        except (smtplib.SMTPException, OSError, ValueError) as error:  # ValueError: what no command line can hold
            self._trouble = error
            self._was_dropped = self.sock is None
            result = _not_begun(step, error, self._host)
        except BaseException:
            self._drop()
            raise
        else:
            self._trouble = None
            result = self._carry(step, attempt_id, begun, follow)
        return Outcome(
            attempt_id=attempt_id,
            now=self.office.clock.now() if self.office else datetime.now(UTC),
            statuses=result.statuses,
            ended=SessionEnd(stage=result.ended[0], reply=result.ended[1]) if result.ended else None,
            can_redial=self._dialled is not None and not self._is_unreachable,
            lost_replies=result.lost_replies,
            remote_mta=self._host,
        )

    def _within_limits(self, step: Transact) -> Transact:
        """The step with as many recipients as the server takes in one transaction; those behind them come next."""
        most = limit_of(self.esmtp_features, "RCPTMAX") if self.office is not None else None
        if most is None or len(step.envelope.recipients) <= most:
            return step
        envelope = replace(step.envelope, recipients=step.envelope.recipients[:most])
        return replace(step, envelope=envelope, recipients=step.recipients[:most])

    def _steps(self, step: Transact) -> Transaction:
        dsn = None
        if self._dsn is not None and self.office is not None and "dsn" in self.esmtp_features:
            dsn = replace(self._dsn, envelope_id=step.delivery.id)
        return transaction(
            self._within_limits(step).envelope,
            self.esmtp_features if self.does_esmtp else None,
            lmtp=self._is_lmtp,
            remote_mta=self._host or None,
            group_size=self._group_size(),
            chunks=self._chunking and "chunking" in self.esmtp_features,
            dsn=dsn,
        )

    def _carry(self, step: Transact, attempt_id: str, begun: Ahead | None, follow: Follow | None) -> Transacted:
        office = self.office
        try:
            result = carry(
                self._steps(step) if begun is None else begun.steps,
                self._wire(),
                None if office is None else partial(office.ledger.begin, step, attempt_id),
                answers=None if begun is None else begun.answers,
                behind=None if follow is None else partial(self._go_ahead, step, follow),
            )
        except BaseException:
            self._drop()
            raise
        if result.lost_replies and office is not None:
            office.lock_step.add(self._host)
        self._count(result)
        if result.must_close or (self._ahead is not None and not self._ahead[1].is_well):
            self._drop()
        return result

    # -- a stream of messages

    def _go_ahead(self, step: Transact, follow: Follow, dot: Dot) -> Ahead | None:
        """Begin the transaction behind this one with its dot, where nothing that comes of the dot can harm it.

        Not behind a refused recipient: the policy may ask for him again at once, and the server would wait for another
        message's content.
        """
        most = limit_of(self.esmtp_features, "MAILMAX")
        is_last = most is not None and self._transactions + 1 >= most
        if self._group_size() == 1 or is_last or len(dot.recipients) < len(step.envelope.recipients):
            return None
        upcoming = follow()
        if upcoming is None or not self._can_carry(upcoming):
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

    def _leave_ahead(self) -> None:
        """Give up what has been begun and will not be taken up."""
        with self._turn:
            if self._ahead is not None:
                self._drop()

    def close(self) -> None:
        """Close the connection; the next one starts with a clean reader."""
        self._ahead = None
        super().close()

    # -- the session

    def _group_size(self) -> int:
        """How many commands go out at once: one, unless all may be asked again on another line."""
        may_pipeline = (
            not self._lock_step
            and self.office is not None
            and self._dialled is not None
            and "pipelining" in self.esmtp_features
            and self._host not in self.office.lock_step
        )
        return GROUP_SIZE if may_pipeline else 1

    def _count(self, result: Transacted) -> None:
        """What this session has come to: servers end one that errs too often, and some take so many messages only."""
        self._transactions += 1
        if any(status.action is Action.DELIVERED for status in result.statuses):
            self._refusals = 0
        else:
            self._refusals += sum(isinstance(one.reply, Reply) and one.reply.code >= 400 for one in result.statuses)

    @property
    def _is_worn_out(self) -> bool:
        """Whether another session had better take the next message, and can be had."""
        if self.sock is None or self.office is None or self._dialled is None:
            return False
        most = limit_of(self.esmtp_features, "MAILMAX")
        return self._refusals >= _MOST_REFUSALS or (most is not None and self._transactions >= most)

    def _make_ready(self, step: Transact) -> None:
        """Connected, greeted, and able to carry what this envelope needs."""
        if self._is_worn_out:
            self.hang_up()
            self._was_dropped = True
        if self._is_to_be_dialled:
            self._redial()
        if self.sock is None:
            raise smtplib.SMTPServerDisconnected("please run connect() first")
        self.ehlo_or_helo_if_needed()
        if not self._can_carry(step):
            raise Utf8NotOffered("SMTPUTF8 not supported by server")

    def _can_carry(self, step: Transact) -> bool:
        wants_utf8 = any(option.lower() == "smtputf8" for option in step.envelope.mail_options)
        return not wants_utf8 or self.has_extn("smtputf8")

    def hang_up(self) -> tuple[int, bytes]:
        """Say QUIT and close, whatever the answer; (-1, why) where none came."""
        try:
            answer = self.docmd("QUIT")
        except smtplib.SMTPServerDisconnected as lost:
            answer = (-1, str(lost).encode())
        finally:
            self.close()
        self._tell_closed(answer)
        return answer

    def _tell_closed(self, answer: tuple[int, bytes]) -> None:
        if self.office is None:
            return
        code, text = answer
        reply = Reply(code, text) if code > 0 else NoReply(Cause.LOST, text.decode("utf-8", "backslashreplace"))
        self.office.session_ended(SessionEnd(stage=Stage.QUIT, reply=reply), remote_mta=self._host)

    def _wire(self) -> Wire:
        if self.sock is None:
            raise smtplib.SMTPServerDisconnected("please run connect() first")
        if self._line is None or self._line.sock is not self.sock or self._line.reader is not self._reader:
            self._line = Wire(self.sock, self._reader)
        self._line.tap = _Echo(self) if self.debuglevel > 0 else None
        return self._line


class _Echo:
    """What `set_debuglevel` shows of a send."""

    def __init__(self, client: smtplib.SMTP) -> None:
        self._print = client._print_debug  # type: ignore[attr-defined]

    def sent(self, data: bytes) -> None:
        self._print("send:", repr(data))

    def heard(self, answer: Reply | NoReply) -> None:
        if isinstance(answer, Reply):
            self._print(f"reply: retcode ({answer.code}); Msg: {answer.raw!a}")
        else:
            self._print("reply:", repr(str(answer)))


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
