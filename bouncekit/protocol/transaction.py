r"""The SMTP and LMTP transaction without I/O (RFC 5321 3.3 and 4.1, RFC 2033, RFC 2920, RFC 3030, RFC 1870).

A generator yields what to send and takes what was answered:

    Commands   a group of command lines    -> one Reply or NoReply a line
    Body       all of the content but its end -> None; a NoReply if the line broke or the server spoke before its turn
    Dot        the end of the content      -> one Reply or NoReply; under LMTP one for each accepted recipient

    MAIL --2yz--> RCPT ... --some 2yz--> DATA --354--> Body --silence--> Dot --2yz--> delivered
      |            |                      |             |                 |
      4yz, 5yz     4yz, 5yz: this one     4yz, 5yz      anything          no reply: *unknown*
      everybody    421, 221, no reply: the session is over, everybody who is not refused is *delayed*

The commit point is the first byte of the dot. Before it nothing can have been accepted: a cut means delayed. From it on
silence means unknown. A refusal once read is that recipient's result, whatever follows.

Lock-step is groups of one. In larger ones (PIPELINING) DATA goes out with the last RCPT, and replies are matched by
counting them; one that is impossible makes all of its group worthless, since all may be another command's. Behind a
refused MAIL, or a reply that ends the session, the rest of a group is consequence and decides nothing. Where DATA is
answered 354 and nobody was accepted, a lone dot ends it (RFC 2920 3.1), unless the server may hold recipients all the
same, who would get an empty message: then the line is closed.

With CHUNKING there is no DATA: the content is one BDAT LAST, and the last byte of that chunk is its dot.
"""

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from bouncekit.protocol.commandlines import DsnRequest, mail_line, rcpt_lines, size_limit
from bouncekit.protocol.rendering import dot_stuffed, ending_line
from bouncekit.words.address import Address
from bouncekit.words.envelope import Envelope
from bouncekit.words.quick import quick
from bouncekit.words.reply import Cause, EnhancedStatusCode, NoReply, Reply, Stage
from bouncekit.words.status import Action, RecipientStatus, Taken

__all__ = ["CLOSES", "GROUP_SIZE", "Body", "Command", "Commands", "Dot", "Transacted", "transaction"]

_TAKEN = (250, 251)  # what nearly every recipient is answered
_HOPED = {Stage.MAIL: (250,), Stage.RCPT: _TAKEN, Stage.DATA: (354,)}
CLOSES = (221, 421)  # RFC 5321 3.8: after these the server is gone
GROUP_SIZE = 500  # commands that are pipelined at once; a server may hold them all, and their replies
_GROUP_BYTES = 64 * 1024
_TOO_BIG = EnhancedStatusCode(5, 3, 4)


@quick
@dataclass(frozen=True, slots=True)
class Command:
    """One line to send, with its CRLF, and the stage of the reply to it."""

    stage: Stage
    line: bytes


@quick
@dataclass(frozen=True, slots=True)
class Commands:
    """Lines that may go out in one write; their replies come in the same order (RFC 2920)."""

    commands: tuple[Command, ...]


@quick
@dataclass(frozen=True, slots=True)
class Body:
    """What goes before the dot: the dot-stuffed content with CRLF at its end, or BDAT and its chunk but a byte."""

    data: bytes


@quick
@dataclass(frozen=True, slots=True)
class Dot:
    r"""The final dot, sent on its own and only if the server is silent; then `replies` replies are read.

    Where the server is not silent, or the line is known to be cut, the dot is not sent, and every answer is `NotSent`.
    `recipients` are those who may get the message by it: the accepted ones. `end` is what goes out: of a chunk, its
    last byte.
    """

    replies: int = 1
    recipients: tuple[Address, ...] = ()
    end: bytes = b".\r\n"


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Transacted:
    """How a transaction ended: `ended` is the answer that ended the session; `must_close` after desynchronising too.

    `lost_replies` says that a pipelined group was not answered to its end, for which pipelining may be to blame.
    """

    statuses: Sequence[RecipientStatus]
    ended: tuple[Stage, Reply | NoReply] | None = None
    must_close: bool = False
    lost_replies: bool = False


_DATA = Command(Stage.DATA, b"data\r\n")

Answered = Sequence[Reply | NoReply]
Transaction = Generator[Commands | Body | Dot, Answered, Transacted]


@quick
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
    chunks: bool = False,
    dsn: DsnRequest | None = None,
) -> Transaction:
    """Carry one envelope. `extensions` are those of the EHLO reply, names in lower case; None after HELO.

    `group_size` is how many commands may go out at once, above 1 only where the server offers PIPELINING; `chunks` says
    to send by BDAT, which it has to offer too. `dsn` is what to ask a server that offers DSN; what the envelope's
    options ask goes before.
    """
    return _Progress(envelope, extensions, lmtp=lmtp, remote_mta=remote_mta).run(group_size, dsn, chunks=chunks)


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
        self.results: dict[str, RecipientStatus] = {}  # by the address on the wire
        self.ended: tuple[Stage, Reply | NoReply] | None = None
        self.must_close = False
        self.must_reset = False
        self.lost_replies = False
        self.is_grouped = False  # several commands at once
        self.may_send = False  # 354
        self.is_sent = False
        self.is_doubtful = False  # the server may hold recipients who are none
        self.taken_by: Reply | None = None  # the reply by which all have got the message

    def run(self, group_size: int, dsn: DsnRequest | None, *, chunks: bool) -> Transaction:
        self.is_grouped = group_size > 1
        limit = size_limit(self.extensions)
        if limit is not None and self.envelope.size_bytes > limit:
            self._refuse_too_big(limit)
            return self._transacted()
        yield from self._commands(group_size, dsn, chunks=chunks)
        if self.accepted and not self._is_over and (self.may_send or chunks):
            yield from self._content(chunks=chunks)
        elif self.may_send:
            yield from self._nothing()
        if self.must_reset and not self._is_over:
            (reply,) = yield Commands((Command(Stage.RSET, b"rset\r\n"),))
            self.must_close = not (isinstance(reply, Reply) and reply.code == 250)
            if _is_out_of_step(reply):
                self._doubt(reply)
        return self._transacted()

    def _transacted(self) -> Transacted:
        if self.taken_by is not None:
            return Transacted(statuses=Taken(self.envelope.recipients, self.taken_by, self.remote_mta))
        return Transacted(
            statuses=tuple([self.results[recipient.wire] for recipient in self.envelope.recipients]),
            ended=self.ended,
            must_close=self._is_over,
            lost_replies=self.lost_replies,
        )

    @property
    def _is_over(self) -> bool:
        return self.ended is not None or self.must_close

    @property
    def _is_settled(self) -> bool:
        """Whether there is nobody for whom to go on."""
        return self.ended is not None or self.must_close or len(self.results) == len(self.envelope.recipients)

    # -- MAIL, RCPT and DATA

    def _commands(
        self, group_size: int, dsn: DsnRequest | None, *, chunks: bool
    ) -> Generator[Commands | Body | Dot, Answered, None]:
        commands = [Command(Stage.MAIL, mail_line(self.envelope, self.extensions, dsn))]
        commands += [Command(Stage.RCPT, line) for line in rcpt_lines(self.envelope, self.extensions, dsn)]
        if not chunks:
            commands.append(_DATA)
        start, are_hoped = 0, True
        for group in _groups(commands, group_size):
            if group[0].stage is Stage.DATA and not self.accepted:
                break
            answers = yield Commands(group)
            if are_hoped and _are_as_hoped(group, answers):
                self._take_as_hoped(start, group)
                start += len(group)
                continue
            are_hoped = False
            if self.is_grouped and _spoke_early(answers[0]) and (self.results or self.accepted):
                self._doubt_all(answers[0])
            else:
                self._take_group(start, group, answers)
            if self._is_settled:
                break
            start += len(group)
        if not self.accepted:
            self.must_reset = True

    def _take_as_hoped(self, start: int, group: Sequence[Command]) -> None:
        """Take such a group, whose first command was the one at `start`: MAIL is the first of all, then come RCPTs."""
        self.accepted += self.envelope.recipients[max(start - 1, 0) : start - 1 + len(group)]
        self.may_send = group[-1].stage is Stage.DATA

    def _take_group(self, start: int, group: Sequence[Command], answers: Answered) -> None:
        if len(group) > 1:
            answers = _in_step(group, answers)
            self.lost_replies = _are_missing(answers)
        is_settled = self._is_settled
        for place, (command, answer) in enumerate(zip(group, answers, strict=True), start - 1):
            address = self.envelope.recipients[place] if command.stage is Stage.RCPT else None
            if address is not None and not is_settled and type(answer) is Reply and answer.code in _TAKEN:
                self.accepted.append(address)
            else:
                self._take(command.stage, address, answer)
                is_settled = self._is_settled

    def _take(self, stage: Stage, address: Address | None, answer: Reply | NoReply) -> None:
        if stage is Stage.DATA:
            self._take_data(answer)
        elif self._is_settled:
            self._take_consequence(answer)
            self.is_doubtful = self.is_doubtful or (isinstance(answer, Reply) and answer.is_success)
        elif address is None:
            self._take_mail(answer)
        else:
            self._take_rcpt(address, answer)

    def _take_mail(self, answer: Reply | NoReply) -> None:
        if isinstance(answer, Reply) and answer.is_success and answer.code not in CLOSES:
            return
        stage = Stage.MAIL
        if isinstance(answer, NoReply) and answer.reply is not None:
            # Said before we asked anything: an idle line that the server had closed, or a desynchronised one.
            stage = Stage.IDLE
            answer = answer.reply if answer.reply.code in CLOSES else answer
        elif isinstance(answer, NotSent):
            stage = Stage.IDLE
        self._everybody(stage, answer)

    def _take_rcpt(self, address: Address, answer: Reply | NoReply) -> None:
        answer = self._believable(_unasked_close(answer), Stage.RCPT)
        if isinstance(answer, NoReply) or answer.code in CLOSES:
            self._settle([address], Stage.RCPT, answer, individual=isinstance(answer, Reply))
            self._everybody(Stage.RCPT, answer)
        elif answer.is_success:
            self.accepted.append(address)
        else:
            self._settle([address], Stage.RCPT, answer, individual=True)

    def _take_data(self, answer: Reply | NoReply) -> None:
        answer = _unasked_close(answer)
        if isinstance(answer, Reply) and answer.code == 354:
            self.may_send = True
        elif self._is_settled:
            self._take_consequence(answer)
        else:
            self.must_reset = True
            self._everybody(Stage.DATA, answer)

    def _take_consequence(self, answer: Reply | NoReply) -> None:
        """The answer to a command that would not have been sent in lock-step: it decides nothing but the line's end."""
        self.must_close = self.must_close or isinstance(answer, NoReply) or answer.code in CLOSES

    # -- the content and the dot

    def _nothing(self) -> Generator[Commands | Body | Dot, Answered, None]:
        """End the data that a server waits for though it has accepted nobody; what it says of it is not ours."""
        if self._is_over or self.is_doubtful or self.lmtp:
            self.must_close = True
            return
        (answer,) = yield Commands((Command(Stage.END_OF_DATA, b".\r\n"),))
        self._take_consequence(answer)

    def _content(self, *, chunks: bool) -> Generator[Commands | Body | Dot, Answered, None]:
        data, end = _chunk(self.envelope.content) if chunks else (dot_stuffed(self.envelope.content), b".\r\n")
        answers = yield Body(data)
        if not answers:
            answers = yield Dot(len(self.accepted) if self.lmtp else 1, tuple(self.accepted), end)
            self.is_sent = not isinstance(answers[0], NotSent)
        if not self.is_sent:
            self.must_close = True
            if self.is_grouped and chunks and _spoke_early(answers[0]):
                self._doubt_all(answers[0])
                return
            self._everybody(Stage.DATA, _unasked_close(answers[0]))
            if isinstance(answers[0], NotSent) and answers[0].cause in (Cause.UNSTORED, Cause.TAKEN):
                self.ended = None  # it is us who end the session; another one would not help
            return
        if self.lmtp:
            for address, answer in zip(self.accepted, answers, strict=True):
                self._take_dot([address], answer, individual=True)
        elif not self.results and type(answers[0]) is Reply and answers[0].code == 250:  # nobody is refused, all are in
            self.taken_by = answers[0]
        else:
            self._take_dot(self.accepted, answers[0], individual=len(self.accepted) == 1)

    def _take_dot(self, addresses: Sequence[Address], answer: Reply | NoReply, *, individual: bool) -> None:
        # Behind a missing or impossible reply nobody knows whose the next one is.
        lost = self.ended[1] if self.ended and isinstance(self.ended[1], NoReply) else None
        answer = lost or self._believable(answer, Stage.END_OF_DATA)
        self._settle(addresses, Stage.END_OF_DATA, answer, individual=individual)
        if isinstance(answer, NoReply) or answer.code in CLOSES:
            self.ended = self.ended or (Stage.END_OF_DATA, answer)
        elif not answer.is_success:
            # A server may be left inside its transaction after a failed dot (seen at Dovecot's submission proxy).
            self.must_reset = True

    # -- results

    def _refuse_too_big(self, limit: int) -> None:
        """Nobody is asked about a message above the size that the server has announced (RFC 1870 6.1)."""
        size = self.envelope.size_bytes
        for address in self.envelope.recipients:
            self.results[address.wire] = RecipientStatus(
                recipient=address.wire,
                action=Action.FAILED,
                stage=Stage.MAIL,
                individual=False,
                remote_mta=self.remote_mta,
                status=_TOO_BIG,
                diagnostic=f"a message of {size} bytes is above the {limit} that the server announced (RFC 1870)",
            )

    def _doubt(self, reply: Reply | NoReply) -> None:
        """RSET got the answer to something before it: so a refusal read from several replies may be another's."""
        is_uncounted = self.is_grouped and not self.may_send
        if self.is_sent and (is_uncounted or (self.lmtp and len(self.accepted) > 1)):
            answer = NoReply(Cause.PROTOCOL, f"more replies than recipients: {reply}"[:500])
            self._settle(self.accepted, Stage.END_OF_DATA, answer, individual=False)
        elif is_uncounted:
            self._doubt_all(reply)

    def _doubt_all(self, reply: Reply | NoReply) -> None:
        """The replies to a group were more than its commands: so every one of them may be another's."""
        self.results.clear()
        self.accepted.clear()
        self.lost_replies = True
        self._everybody(Stage.DATA, NoReply(Cause.PROTOCOL, f"more replies than commands: {reply}"[:500]))

    def _believable(self, answer: Reply | NoReply, stage: Stage) -> Reply | NoReply:
        """A reply of a class that cannot answer this command is no answer to it."""
        if isinstance(answer, Reply) and not (200 <= answer.code < 300 or 400 <= answer.code < 600):
            return NoReply(Cause.PROTOCOL, f"{answer.code} is no reply to {stage}")
        return answer

    def _everybody(self, stage: Stage, answer: Reply | NoReply) -> None:
        """One answer for all who have no result yet; it ends the session unless it is a plain refusal."""
        if isinstance(answer, Reply) and answer.code not in CLOSES and not 400 <= answer.code < 600:
            answer = NoReply(Cause.PROTOCOL, f"{answer.code} is no reply to {stage}")
        if isinstance(answer, NoReply) or answer.code in CLOSES:
            self.ended = (stage, answer)
        unsettled = [address for address in self.envelope.recipients if address.wire not in self.results]
        self._settle(unsettled, stage, answer, individual=False)

    def _settle(self, addresses: Sequence[Address], stage: Stage, answer: Reply | NoReply, *, individual: bool) -> None:
        action, accepted = _action(stage, answer), len(self.accepted)
        for address in addresses:
            self.results[address.wire] = RecipientStatus(
                recipient=address.wire,
                action=action,
                stage=stage,
                reply=answer,
                accepted=accepted,
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
    if isinstance(answer, NoReply) and answer.reply is not None and answer.reply.code in CLOSES:
        return answer.reply
    return answer


def _are_as_hoped(group: Sequence[Command], answers: Answered) -> bool:
    """Whether every command of a group got what it nearly always gets."""
    for command, answer in zip(group, answers, strict=True):
        if type(answer) is not Reply or answer.code not in _HOPED[command.stage]:
            return False
    return True


def _in_step(group: Sequence[Command], answers: Answered) -> Answered:
    """The answers to a group; none where one of them cannot answer its command, since all may belong to others then."""
    for command, answer in zip(group, answers, strict=True):
        if isinstance(answer, NoReply) or answer.code in CLOSES:
            break
        if command.stage is Stage.DATA:
            is_possible = answer.code == 354 or 400 <= answer.code < 600
        else:
            is_possible = 200 <= answer.code < 300 or 400 <= answer.code < 600
        if not is_possible:
            why = f"{answer.code} is no reply to {command.stage}, so nobody knows whose are those before it"
            return (NoReply(Cause.PROTOCOL, why),) * len(group)
    return answers


def _is_out_of_step(answer: Reply | NoReply) -> bool:
    """Whether the server answered RSET with something else, or before it was asked."""
    return _spoke_early(answer) if isinstance(answer, NoReply) else answer.code not in (250, *CLOSES)


def _spoke_early(answer: Reply | NoReply) -> bool:
    """Whether the server said something before it was asked, which is not that it closes."""
    return isinstance(answer, NoReply) and answer.reply is not None and answer.reply.code not in CLOSES


def _are_missing(answers: Answered) -> bool:
    """Whether replies are missing that no word of the server explains."""
    end = next((answer for answer in answers if isinstance(answer, NoReply) or answer.code in CLOSES), None)
    return type(end) is NoReply


def _groups(commands: list[Command], size: int) -> Iterable[tuple[Command, ...]]:
    """The commands in groups of so many at the most, and of not much more than so many bytes."""
    if size == 1:
        return zip(commands)
    if len(commands) <= size and sum([len(one.line) for one in commands]) < _GROUP_BYTES:
        return (tuple(commands),)
    return _several(commands, size)


def _several(commands: list[Command], size: int) -> Iterator[tuple[Command, ...]]:
    group: list[Command] = []
    size_bytes = 0
    for one in commands:
        group.append(one)
        size_bytes += len(one.line)
        if len(group) >= size or size_bytes >= _GROUP_BYTES:
            yield tuple(group)
            group, size_bytes = [], 0
    if group:
        yield tuple(group)


def _chunk(content: bytes) -> tuple[bytes, bytes]:
    """One BDAT LAST with all of the content, its last byte apart (RFC 3030 2)."""
    end = ending_line(content)
    whole = b"".join((b"bdat %d last\r\n" % (len(content) + len(end)), content, end))
    return whole[:-1], whole[-1:]
