r"""The SMTP and LMTP transaction without I/O (RFC 5321 3.3 and 4.1, RFC 2033, RFC 1870).

A generator yields what to send and takes what was answered:

    Commands   a group of command lines    -> one Reply or NoReply a line
    Body       the content behind DATA     -> None; a NoReply if the line broke or the server spoke before its turn
    Dot        the final CRLF.CRLF's dot   -> one Reply or NoReply; under LMTP one for each accepted recipient

    MAIL --2yz--> RCPT ... --some 2yz--> DATA --354--> Body --silence--> Dot --2yz--> delivered
      |            |                      |             |                 |
      4yz, 5yz     4yz, 5yz: this one     4yz, 5yz      anything          no reply: *unknown*
      everybody    421, 221, no reply: the session is over, everybody who is not refused is *delayed*

The commit point is the first byte of the dot. Before it nothing can have been accepted: a cut means delayed. From it on
silence means unknown. A refusal once read is that recipient's result, whatever follows. Lock-step is groups of one.
"""

from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass

from bouncekit.address import Address
from bouncekit.envelope import Envelope
from bouncekit.rendering import dot_stuffed
from bouncekit.reply import Cause, NoReply, Reply, Stage
from bouncekit.status import Action, RecipientStatus

__all__ = ["Body", "Command", "Commands", "Dot", "Transacted", "transaction"]

_CLOSES = (221, 421)  # RFC 5321 3.8: after these the server is gone


@dataclass(frozen=True, slots=True)
class Command:
    """One line to send, with its CRLF, and the stage of the reply to it."""

    stage: Stage
    line: bytes


@dataclass(frozen=True, slots=True)
class Commands:
    """Lines that may go out in one write; their replies come in the same order (RFC 2920)."""

    commands: tuple[Command, ...]


@dataclass(frozen=True, slots=True)
class Body:
    """The dot-stuffed content with CRLF at its end."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Dot:
    """The final dot, sent on its own and only if the server is silent; then `replies` replies are read.

    Where the server is not silent, or the line is known to be cut, the dot is not sent, and every answer is `NotSent`.
    `recipients` are those who may get the message by it: the accepted ones.
    """

    replies: int = 1
    recipients: tuple[Address, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Transacted:
    """How a transaction ended: `ended` is the answer that ended the session; `must_close` after desynchronising too."""

    statuses: tuple[RecipientStatus, ...]
    ended: tuple[Stage, Reply | NoReply] | None = None
    must_close: bool = False


Answered = Sequence[Reply | NoReply]
Transaction = Generator[Commands | Body | Dot, Answered, Transacted]


@dataclass(frozen=True, slots=True)
class NotSent(NoReply):
    """The line broke, or the server spoke, before the first byte of the dot: nothing was accepted."""


def transaction(
    envelope: Envelope,
    extensions: Mapping[str, str] | None,
    *,
    lmtp: bool = False,
    remote_mta: str | None = None,
    group_size: int = 1,
) -> Transaction:
    """Carry one envelope. `extensions` are those of the EHLO reply, names in lower case; None after HELO."""
    return (yield from _Progress(envelope, extensions, lmtp=lmtp, remote_mta=remote_mta).run(group_size))


class _Progress:
    """One transaction under way: who is accepted, who has a result, whether the session is over."""

    def __init__(
        self, envelope: Envelope, extensions: Mapping[str, str] | None, *, lmtp: bool, remote_mta: str | None
    ) -> None:
        self.envelope = envelope
        self.extensions = extensions
        self.lmtp = lmtp
        self.remote_mta = remote_mta
        self.accepted: list[Address] = []
        self.results: dict[Address, RecipientStatus] = {}
        self.ended: tuple[Stage, Reply | NoReply] | None = None
        self.must_close = False
        self.must_reset = False

    def run(self, group_size: int) -> Transaction:
        yield from self._envelope(group_size)
        if self.accepted and not self._is_over:
            yield from self._content()
        if self.must_reset and not self._is_over:
            (reply,) = yield Commands((Command(Stage.RSET, b"rset\r\n"),))
            self.must_close = not (isinstance(reply, Reply) and reply.code == 250)
        return Transacted(
            statuses=tuple(self.results[recipient] for recipient in self.envelope.recipients),
            ended=self.ended,
            must_close=self.must_close or self.ended is not None,
        )

    @property
    def _is_over(self) -> bool:
        return self.ended is not None or self.must_close

    # -- MAIL and RCPT

    def _envelope(self, group_size: int) -> Generator[Commands | Body | Dot, Answered, None]:
        asked: list[tuple[Command, Address | None]] = [(Command(Stage.MAIL, self._mail_line()), None)]
        asked += [(Command(Stage.RCPT, self._rcpt_line(address)), address) for address in self.envelope.recipients]
        for start in range(0, len(asked), group_size):
            group = asked[start : start + group_size]
            answers = yield Commands(tuple(command for command, _ in group))
            for (_, address), answer in zip(group, answers, strict=True):
                if self._is_over or len(self.results) == len(self.envelope.recipients):
                    break
                if address is None:
                    self._take_mail(answer)
                else:
                    self._take_rcpt(address, answer)
            if self._is_over or len(self.results) == len(self.envelope.recipients):
                break
        if not self.accepted:
            self.must_reset = True

    def _mail_line(self) -> bytes:
        options: list[str] = []
        if self.extensions is not None:
            if "size" in self.extensions and not any(
                option[:5].lower() == "size=" for option in self.envelope.mail_options
            ):
                options.append(f"size={self.envelope.size_bytes}")
            options += self.envelope.mail_options
        return _line("mail from", self.envelope.sender, options)

    def _rcpt_line(self, address: Address) -> bytes:
        return _line("rcpt to", address, () if self.extensions is None else self.envelope.rcpt_options)

    def _take_mail(self, answer: Reply | NoReply) -> None:
        if isinstance(answer, Reply) and answer.is_success and answer.code not in _CLOSES:
            return
        stage = Stage.MAIL
        if isinstance(answer, NoReply) and answer.reply is not None:
            # Said before we asked anything: an idle line that the server had closed, or a desynchronised one.
            stage = Stage.IDLE
            answer = answer.reply if answer.reply.code in _CLOSES else answer
        elif isinstance(answer, NotSent):
            stage = Stage.IDLE
        self._everybody(stage, answer)

    def _take_rcpt(self, address: Address, answer: Reply | NoReply) -> None:
        answer = self._believable(_unasked_close(answer), Stage.RCPT)
        if isinstance(answer, NoReply) or answer.code in _CLOSES:
            self._settle(address, Stage.RCPT, answer, individual=isinstance(answer, Reply))
            self._everybody(Stage.RCPT, answer)
        elif answer.is_success:
            self.accepted.append(address)
        else:
            self._settle(address, Stage.RCPT, answer, individual=True)

    # -- DATA, the content and the dot

    def _content(self) -> Generator[Commands | Body | Dot, Answered, None]:
        (answer,) = yield Commands((Command(Stage.DATA, b"data\r\n"),))
        answer = _unasked_close(answer)
        if not (isinstance(answer, Reply) and answer.code == 354):
            self.must_reset = True
            self._everybody(Stage.DATA, answer)
            return
        broke = yield Body(dot_stuffed(self.envelope.content))
        if broke:
            self._everybody(Stage.DATA, _unasked_close(broke[0]))
            self.must_close = True
            return
        answers = yield Dot(len(self.accepted) if self.lmtp else 1, tuple(self.accepted))
        if isinstance(answers[0], NotSent):
            self._everybody(Stage.DATA, _unasked_close(answers[0]))
            self.must_close = True
            if answers[0].cause in (Cause.UNSTORED, Cause.TAKEN):
                self.ended = None  # it is us who end the session; another one would not help
            return
        self._take_dot(answers if self.lmtp else [answers[0]] * len(self.accepted))

    def _take_dot(self, answers: Answered) -> None:
        individual = self.lmtp or len(self.accepted) == 1
        for address, answer in zip(self.accepted, answers, strict=True):
            # Behind a missing or impossible reply nobody knows whose the next one is.
            lost = self.ended[1] if self.ended and isinstance(self.ended[1], NoReply) else None
            answer = lost or self._believable(answer, Stage.END_OF_DATA)
            self._settle(address, Stage.END_OF_DATA, answer, individual=individual)
            if isinstance(answer, NoReply) or answer.code in _CLOSES:
                self.ended = self.ended or (Stage.END_OF_DATA, answer)
            elif not answer.is_success:
                # A server may be left inside its transaction after a failed dot (seen at Dovecot's submission proxy).
                self.must_reset = True

    # -- results

    def _believable(self, answer: Reply | NoReply, stage: Stage) -> Reply | NoReply:
        """A reply of a class that cannot answer this command is no answer to it."""
        if isinstance(answer, Reply) and not (200 <= answer.code < 300 or 400 <= answer.code < 600):
            return NoReply(Cause.PROTOCOL, f"{answer.code} is no reply to {stage}")
        return answer

    def _everybody(self, stage: Stage, answer: Reply | NoReply) -> None:
        """One answer for all who have no result yet; it ends the session unless it is a plain refusal."""
        if isinstance(answer, Reply) and answer.code not in _CLOSES and not 400 <= answer.code < 600:
            answer = NoReply(Cause.PROTOCOL, f"{answer.code} is no reply to {stage}")
        if isinstance(answer, NoReply) or answer.code in _CLOSES:
            self.ended = (stage, answer)
        for address in self.envelope.recipients:
            if address not in self.results:
                self._settle(address, stage, answer, individual=False)

    def _settle(self, address: Address, stage: Stage, answer: Reply | NoReply, *, individual: bool) -> None:
        self.results[address] = RecipientStatus(
            recipient=address.wire,
            action=_action(stage, answer),
            stage=stage,
            reply=answer,
            accepted=len(self.accepted),
            individual=individual,
            remote_mta=self.remote_mta,
        )


def _action(stage: Stage, answer: Reply | NoReply) -> Action:
    """What an answer means for a recipient: RFC 5321 4.2.1, and 3.8 for a session that ends."""
    if isinstance(answer, NoReply) or answer.code == 221:
        return Action.UNKNOWN if stage is Stage.END_OF_DATA else Action.DELAYED
    if answer.is_permanent:
        return Action.FAILED
    return Action.DELIVERED if answer.is_success and stage is Stage.END_OF_DATA else Action.DELAYED


def _unasked_close(answer: Reply | NoReply) -> Reply | NoReply:
    """An unasked 421 or 221 is what it says; any other unasked reply decides nothing."""
    if isinstance(answer, NoReply) and answer.reply is not None and answer.reply.code in _CLOSES:
        return answer.reply
    return answer


def _line(verb: str, address: Address, options: Iterable[str]) -> bytes:
    encoding = "utf-8" if address.needs_utf8 else "ascii"
    return "".join([f"{verb}:<{address.wire}>", *(f" {option}" for option in options), "\r\n"]).encode(encoding)
