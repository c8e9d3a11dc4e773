"""An smtplib connection that carries transactions: the blocking driver of a session (`bouncekit.clients.session`)."""

import errno
import smtplib
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple, assert_never

from bouncekit.clients.dialling import Dialling
from bouncekit.clients.session import Asked, Elsewhere, Follow, HangUp, Ready, Remember
from bouncekit.clients.smtperrors import session_error
from bouncekit.delivery.steps import Outcome, Transact
from bouncekit.policy.schedule import Retry
from bouncekit.protocol.conversation import Conversation, Look, Receive, Send, Turn
from bouncekit.protocol.opening import Manner, NotOpened, StartTls, opening
from bouncekit.protocol.transaction import NotSent
from bouncekit.transports.blocking import Wire, run
from bouncekit.words.reply import Cause, NoReply, Reply

__all__ = ["Carrying", "FollowUp", "Interruption"]

_INTERRUPTED = "the send was interrupted"

FollowUp = Callable[[], Transact | None]  # the transaction behind the one that is about to end, if there is one


class Interruption(NamedTuple):
    """Ctrl-C, or a signal whose handler ends the process; and the thread whose send it has met."""

    error: BaseException
    thread: int


class Carrying(Dialling):
    """The part of `bouncekit.SMTP` that speaks MAIL to dot."""

    # Set for an adopted connection as for one of our own, so that both start from here.
    _turn: threading.RLock
    _line: Wire | None = None  # of this socket, as long as it is ours
    _is_asking = False  # which message comes next, with one before its dot
    _interruption: Interruption | None = None  # of a send that has its outcome first

    def transact(self, step: Transact, follow: FollowUp | None = None) -> Outcome:
        """One transaction on this connection. Threads that share it take turns: else one's mail is the other's."""
        with self._turn:
            if self._is_asking:  # who was asked sends by us: not into that message, which goes once more behind it
                self._drop()
            outcome: Outcome = run(self.transacting(step, follows=follow is not None), partial(self._do, follow))
            return outcome

    def _do(self, follow: FollowUp | None, step: Asked) -> Any:
        """Carry out one step of a transaction. Who interrupts it is heard when everybody has an outcome."""
        try:
            return self._done(follow, step)
        except (KeyboardInterrupt, SystemExit) as error:
            if self.office is None or self.office.retry is Retry.WAIT:
                raise  # as smtplib does; and who waits for the next try has waited long enough
            self._interruption = Interruption(error, threading.get_ident())
            self._is_unreachable = True  # nobody wants another line
            return self._cut_off(step)

    def _cut_off(self, step: Asked) -> Any:
        """The answer to a step that was interrupted: the line is cut, and what was to be sent may have gone out."""
        if isinstance(step, Turn | Send | Receive | Look) and self.sock is not None:
            with suppress(OSError):
                self.sock.shutdown(socket.SHUT_RDWR)
        elif isinstance(step, Ready):
            self._drop()
        match step:
            case Turn():
                return b"", _interrupted(), 0.0
            case Send():
                return (b"", b"", 0.0) if step.listens else None
            case Look():
                return b""
            case Remember():
                return NotSent(Cause.LOST, _INTERRUPTED)
            case Follow() | Elsewhere() | HangUp():
                return None
            case _:
                raise _interrupted()

    @property
    def _is_interrupted(self) -> bool:
        """Whether the send of this thread is."""
        return self._interruption is not None and self._interruption.thread == threading.get_ident()

    def _done(self, follow: FollowUp | None, step: Asked) -> Any:
        match step:
            case Turn():
                assert self._line is not None
                return self._line.turn(step)
            case Send() | Receive() | Look():
                assert self._line is not None
                return self._line.do(step)
            case Ready():
                return self._made_ready()
            case Follow():
                return self._asked_for_next(follow)
            case Remember():
                return self.office.ledger.begin(*step) if self.office is not None else None
            case HangUp():
                return self.hang_up()
            case Elsewhere():
                may_go = self.elsewhere is not None and not self._is_interrupted
                return self.elsewhere(step) if may_go else None  # type: ignore[misc]  # it is there then
            case _:
                assert_never(step)

    def _asked_for_next(self, follow: FollowUp | None) -> Transact | None:
        self._is_asking = True
        try:
            return follow() if follow is not None else None
        finally:
            self._is_asking = False

    def _made_ready(self) -> Conversation:
        """The line, connected and greeted."""
        if self._is_interrupted:
            raise _interrupted()
        if self.sock is None and self._is_to_be_dialled:
            self._redial()
        if self.sock is None:
            raise smtplib.SMTPServerDisconnected("please run connect() first")
        if self.ehlo_resp is None and self.helo_resp is None:
            self.ehlo_or_helo_if_needed()
        wire = self._wire()
        wire.obey_socket()
        return wire.line

    def open_by(self, manner: Manner, context: Callable[[], ssl.SSLContext]) -> None:
        """Bring a session that was greeted to where mail may be sent, by EHLO, STARTTLS and login.

        `context` is asked for only where it comes to TLS.

        Raises what smtplib raises where it cannot.
        """

        def do(step: Turn | Send | Receive | Look | StartTls) -> Any:
            if not isinstance(step, StartTls):
                return wire.do(step)
            wire.start_tls(context(), self._host)
            self.sock, self._reader = wire.sock, wire.reader
            self._tell_insecure()
            return None

        wire = self._wire()
        wire.obey_socket()
        opened = run(opening(wire.line, manner), do)
        if isinstance(opened, NotOpened):
            raise session_error(opened.stage, opened.answer)
        self.does_esmtp, self.esmtp_features = opened.extensions is not None, dict(opened.extensions or {})
        self.ehlo_resp, self.helo_resp = (b"", None) if self.does_esmtp else (None, b"")

    def _leave_ahead(self) -> None:
        """Give up what has been begun and will not be taken up."""
        with self._turn:
            if self._ahead is not None:
                self._drop()

    def close(self) -> None:
        """Close the connection; the next one starts with a clean reader."""
        self._ahead, self._is_asking = None, False
        if self._line is not None:
            self._line.line.hung_up = True
        super().close()

    def hang_up(self) -> tuple[int, bytes]:
        """Say QUIT and close, whatever the answer; (-1, why) where none came."""
        if self._ahead is not None:  # the server waits for a message's content, and would take this for it
            self.close()
            return -1, b"the next message was begun"
        try:
            answer = self.docmd("QUIT")
        except smtplib.SMTPServerDisconnected as lost:
            answer = (-1, str(lost).encode())
        finally:
            self.close()
        self._tell_quit(answer)
        return answer

    def rest(self) -> None:
        """Say QUIT and close; the next transaction dials again."""
        try:
            self.hang_up()
        finally:
            self._was_dropped = True

    def close_idle(self) -> float | None:
        """Close the line if it was idle for too long; in how many seconds it will have been, None: there is none."""
        if self.sock is None:
            return None
        if (left := self._idle_left()) > 0:
            return left
        self.rest()
        return None

    def _tell_quit(self, answer: tuple[int, bytes]) -> None:
        code, text = answer
        lost = NoReply(Cause.LOST, text.decode("utf-8", "backslashreplace"))
        self._tell_closed(Reply(code, text) if code > 0 else lost)

    def _wire(self) -> Wire:
        if self.sock is None:
            raise smtplib.SMTPServerDisconnected("please run connect() first")
        if self._line is None or self._line.sock is not self.sock or self._line.line.reader is not self._reader:
            self._line = Wire(self.sock, self._reader)
        self._line.line.tap = _Echo(self) if self.debuglevel > 0 else None
        return self._line


def _interrupted() -> OSError:
    return ConnectionAbortedError(errno.ECANCELED, _INTERRUPTED)


class _Echo:
    """What `set_debuglevel` shows of a send."""

    def __init__(self, client: smtplib.SMTP) -> None:
        self._print = client._print_debug  # type: ignore[attr-defined]  # typeshed has no private names

    def sent(self, data: bytes) -> None:
        self._print("send:", repr(data))

    def heard(self, answer: Reply | NoReply) -> None:
        if isinstance(answer, Reply):
            self._print(f"reply: retcode ({answer.code}); Msg: {answer.raw!a}")
        else:
            self._print("reply:", repr(str(answer)))
