"""smtplib's commands one by one, each with its whole reply, strictly read."""

import smtplib
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from bouncekit.clients.carrying import Carrying
from bouncekit.clients.smtperrors import UnreadableReply
from bouncekit.protocol.conversation import DEADLINES
from bouncekit.protocol.rendering import canonical, dot_stuffed
from bouncekit.protocol.transaction import CLOSES, Body, Command, Commands, Dot
from bouncekit.words.reply import Cause, NoReply, Reply, Stage

__all__ = ["Commanding"]

_STAGES = {
    "EHLO": Stage.EHLO,
    "HELO": Stage.EHLO,
    "LHLO": Stage.EHLO,
    "STARTTLS": Stage.STARTTLS,
    "AUTH": Stage.AUTH,
    "MAIL": Stage.MAIL,
    "RCPT": Stage.RCPT,
    "DATA": Stage.DATA,
    "RSET": Stage.RSET,
    "QUIT": Stage.QUIT,
}


class Commanding(Carrying):
    """The part of `bouncekit.SMTP` that says what it is told to, command by command; a send says it by `Carrying`."""

    # Set for an adopted connection as for one of our own, so that both start from here.
    _has_sent = False
    _accepted = 0  # recipients, since MAIL

    def putcmd(self, cmd: str, args: str = "") -> None:
        """Send a command.

        Raises:
            ValueError: no command line can hold it, such as a line end. Nothing was sent.
        """
        self._stage = _STAGES.get(cmd[:8].split(" ")[0].upper(), Stage.IDLE)
        if not _fits_a_line(cmd + args) or (self._stage is Stage.EHLO and not _is_word(args)):
            raise ValueError(f"command and arguments contain prohibited characters: {f'{cmd} {args}'!a}")
        if self._stage is not Stage.QUIT and not self._reader.is_clean:
            self._refuse_to_guess()
        super().putcmd(cmd, args)

    def _refuse_to_guess(self) -> None:
        """Give the session up: a reply lies here that nobody asked for, and would be taken for the next answer.

        Raises:
            SMTPServerDisconnected: with what the server said.
        """
        said = self._wire().unasked()
        self._drop()
        if said.reply is not None and said.reply.code in CLOSES:
            raise smtplib.SMTPServerDisconnected(f"Connection unexpectedly closed: {said.detail}")
        raise UnreadableReply(said)

    def getreply(self) -> tuple[int, bytes]:
        """Read one whole reply: code and text, lines joined by LF.

        Raises:
            SMTPServerDisconnected: no reply came; UnreadableReply where something came that is none.
        """
        if self.sock is None:
            raise smtplib.SMTPServerDisconnected("please run connect() first")
        own = self.sock.gettimeout()
        quit_deadline = min(own or DEADLINES[Stage.QUIT], DEADLINES[Stage.QUIT]) if self._stage is Stage.QUIT else None
        answer = self._wire().read_reply(self._stage, deadline=quit_deadline)
        if isinstance(answer, Reply):
            return answer.code, answer.raw
        self._drop()
        if answer.cause is Cause.PROTOCOL:
            raise UnreadableReply(answer)
        raise smtplib.SMTPServerDisconnected(f"Connection unexpectedly closed: {answer.detail}")

    def mail(self, sender: str, options: Sequence[str] = ()) -> tuple[int, bytes]:
        """Send MAIL; see `smtplib.SMTP.mail`."""
        self._accepted = 0
        return super().mail(sender, options)

    def rcpt(self, recip: str, options: Sequence[str] = ()) -> tuple[int, bytes]:
        """Send RCPT; see `smtplib.SMTP.rcpt`."""
        answer = super().rcpt(recip, options)
        self._accepted += 200 <= answer[0] < 300
        return answer

    def data(self, msg: Any) -> tuple[int, bytes]:
        """Send DATA and the content; see `smtplib.SMTP.data`. Of several LMTP replies the first refusal is returned."""
        content, wire = dot_stuffed(canonical(msg)), self._wire()
        (answer,) = wire.exchange(Commands((Command(Stage.DATA, b"data\r\n"),)))
        if isinstance(answer, Reply) and answer.code != 354:
            raise smtplib.SMTPDataError(answer.code, answer.raw)
        answers: Sequence[Reply | NoReply] = [answer]
        if isinstance(answer, Reply):
            dot = Dot(max(self._accepted, 1) if self.conduct.is_lmtp else 1)
            answers = wire.write(Body(content)) or wire.finish(dot)
        if lost := next((one for one in answers if isinstance(one, NoReply)), None):
            self.close()
            raise smtplib.SMTPServerDisconnected(str(lost.detail))
        replies = [one for one in answers if isinstance(one, Reply)]
        refusal = next((reply for reply in replies if not reply.is_success), replies[0])
        return refusal.code, refusal.raw

    def quit(self) -> tuple[int, bytes]:
        """Say QUIT and close. After a send no answer to it is an error: nothing that was settled can change."""
        if self._ahead is not None:
            return self.hang_up()
        try:
            answer = super().quit()
        except smtplib.SMTPServerDisconnected as error:
            if not self._has_sent:
                raise
            self._was_dropped = False
            answer = (-1, str(error).encode())
        self._tell_quit(answer)
        return answer

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.sock is None or not (self._has_sent or self.office):
            super().__exit__(kind, error, traceback)
            return
        answer = self.hang_up()
        if answer[0] != 221 and answer[0] != -1 and not self._has_sent:
            raise smtplib.SMTPResponseException(*answer)


def _fits_a_line(text: str) -> bool:
    """Whether a command may hold this, line ends aside: those smtplib refuses in words that people look for."""
    return text.replace("\r", "").replace("\n", "").isprintable()


def _is_word(name: str) -> bool:
    """Whether it can be the one argument of EHLO (RFC 5321 4.1.1.1)."""
    return name.isascii() and " " not in name
