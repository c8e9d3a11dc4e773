r"""What goes over a line for each step of a transaction, without I/O: bytes, deadlines, looks (RFC 5321 4.5.3.2).

A generator asks whoever holds the line, and takes the answer:

    Send      these bytes                       -> nothing; what is left and what came, where it `listens` meanwhile
    Receive   what comes                        -> the bytes, b"" where the other side is done, and the seconds it took
    Look      whether something is here by now  -> None, or the bytes, b"" where the other side is done
    Turn      all three: look, send, receive    -> what is left to send, what came or why nothing did, the seconds

What fails is thrown in: OSError where the line is cut, TimeoutError where the seconds were not enough. So a blocking
and an asynchronous line differ in how they send and wait, and in nothing that is decided here.

A Turn is how nearly all goes: the server is silent, all is sent at once, and one piece holds what is answered. Whatever
is otherwise goes on with the other three, from where the turn has come to.
"""

from collections.abc import Callable, Generator, Sequence
from typing import Any, NamedTuple, Protocol

from bouncekit.protocol.transaction import CLOSES, Body, Command, Commands, Dot, NotSent, Transacted, Transaction
from bouncekit.words.reply import Cause, NoReply, Reply, ReplyReader, Stage

__all__ = [
    "BLOCK_BYTES",
    "DEADLINES",
    "LOOK",
    "Ahead",
    "Conversation",
    "Look",
    "Receive",
    "Send",
    "Talk",
    "Tap",
    "Turn",
    "carry",
]

# Seconds for the whole reply to each stage (RFC 5321 4.5.3.2 asks for minutes; RFC 1047 says why the dot's is long).
DEADLINES = {
    Stage.CONNECT: 60.0,
    Stage.EHLO: 60.0,
    Stage.STARTTLS: 60.0,
    Stage.AUTH: 60.0,
    Stage.MAIL: 120.0,
    Stage.RCPT: 120.0,
    Stage.DATA: 120.0,
    Stage.END_OF_DATA: 600.0,
    Stage.RSET: 60.0,
    Stage.QUIT: 2.0,
    Stage.IDLE: 60.0,
}
BLOCK_SECONDS = 180.0  # for each block of the body
BLOCK_BYTES = 64 * 1024

_AHEAD_BYTES = 16 * 1024  # any socket's buffers hold that, and the replies to it
_MOMENT = 0.2  # seconds for the rest of an unasked reply: it is there already


class Send(NamedTuple):
    """Send all of it within so many seconds.

    With `listens`, stop as soon as something comes, and answer what is left, what came (None: nothing) and the seconds
    it took: where both sides only wrote, both might wait to be read.
    """

    data: bytes | memoryview
    seconds: float
    listens: bool = False


class Receive(NamedTuple):
    """Wait for bytes, no longer than so many seconds."""

    seconds: float


class Look(NamedTuple):
    """Take what is here, without waiting. What TLS says for itself is nothing."""


class Turn(NamedTuple):
    """Look whether nothing is here, send all of it at once, and wait so many seconds for what is answered (0: do not).

    Answer what is left: all, where something is here, or where that cannot be known; what came, None where nobody has
    waited; and the seconds that took. What fails behind the last byte is answered in place of what came, and not thrown
    in: it makes a difference whether a dot has gone out.
    """

    data: bytes | memoryview
    seconds: float  # for sending
    wait: float = 0.0


LOOK = Look()
Talk = Generator[Any, Any, Any]  # of the steps above; what it is answered depends on the step


class Tap(Protocol):
    """Somebody who listens in, for debugging."""

    def sent(self, data: bytes) -> None: ...

    def heard(self, answer: Reply | NoReply) -> None: ...


class Conversation:
    """Our side of one line: what came and was not asked for yet, and how long replies may take.

    `timeout` is seconds for each reply as a whole, and for what is written; None: the stages' deadlines.
    """

    __slots__ = ("hung_up", "is_tls", "reader", "tap", "timeout")

    def __init__(self, reader: ReplyReader, *, is_tls: bool = False, timeout: float | None = None) -> None:
        self.reader = reader
        self.is_tls = is_tls
        self.timeout = timeout
        self.tap: Tap | None = None
        self.hung_up = False

    def go_under_tls(self) -> None:
        """Forget what was said in clear (RFC 3207 4.2)."""
        self.reader = ReplyReader()
        self.is_tls = True
        self.hung_up = False

    # -- reading

    def read_reply(
        self, stage: Stage, *, deadline: float | None = None, came: bytes | OSError | None = None, took: float = 0.0
    ) -> Generator[Any, Any, Reply | NoReply]:
        """The next reply. `deadline` is seconds for the whole of it; so many it `took` until this `came`."""
        seconds = deadline or self.timeout or DEADLINES[stage]
        left = seconds - took
        try:
            while (answer := self.reader.next()) is None:
                if came is None:
                    if left <= 0:
                        return self._heard(NoReply(Cause.TIMED_OUT, f"no whole reply to {stage} within {seconds:g} s"))
                    came, took = yield Receive(left)
                    left -= took
                if isinstance(came, OSError):
                    raise came
                if not came:
                    return self._heard(NoReply(Cause.LOST, f"the connection was closed while {stage} was unanswered"))
                self.reader.feed(came)
                came = None
        except TimeoutError:
            return self._heard(NoReply(Cause.TIMED_OUT, f"no whole reply to {stage} within {seconds:g} s"))
        except OSError as error:
            return self._heard(NoReply(Cause.LOST, f"{stage}: {_why(error)}"))
        return self._heard(answer)

    def _whole(self) -> Reply | NoReply | None:
        """The next reply, if all of it is here already: of a group's, all but the first nearly always are."""
        answer = self.reader.next()
        return None if answer is None else self._heard(answer)

    def is_silent(self) -> Generator[Any, Any, bool]:
        """Whether the server has said nothing that nobody asked for, and has not hung up."""
        if self.hung_up or not self.reader.is_clean:
            return False
        came = yield LOOK
        if came is None:
            return True
        self.reader.feed(came)
        self.hung_up = not came
        return False

    def unasked(self) -> Generator[Any, Any, NotSent]:
        """What the server said out of turn, or that it hung up; waits a moment for the rest of a line, no longer."""
        if self.hung_up:
            return NotSent(Cause.LOST, "the connection had been closed")
        answer = yield from self.read_reply(Stage.IDLE, deadline=_MOMENT)
        if isinstance(answer, Reply):
            return NotSent(Cause.UNSOLICITED, f"the server spoke before it was asked: {answer}"[:500], answer)
        return NotSent(answer.cause, answer.detail)

    # -- the steps of a transaction

    def exchange(self, group: Commands) -> Generator[Any, Any, Sequence[Reply | NoReply]]:
        """Send the lines of a group in one write and read a reply to each. Behind the end of a session none follows."""
        commands = group.commands
        data = commands[0].line if len(commands) == 1 else b"".join([one.line for one in commands])
        left: bytes | memoryview = data
        came: bytes | OSError | None = None
        took = 0.0
        answers: list[Reply | NoReply] = []
        try:
            if self._may_turn:
                seconds = self.timeout or DEADLINES[commands[0].stage]
                left, came, took = yield Turn(data, seconds, seconds)
                if type(came) is bytes and (replies := self._usual(came, len(commands))) is not None:
                    return replies
            if left:
                if left is data and not (yield from self.is_silent()):
                    return ((yield from self.unasked()),) * len(commands)
                yield from self._send_group(left, commands, answers)
        except OSError as error:
            if len(commands) == 1:
                return ((yield from self._cut_off(error)),)
            # Perhaps the server said why before it hung up.
            return (yield from self._read_group(commands, answers, _MOMENT))
        return (yield from self._read_group(commands, answers, came=came, took=took))

    def write(self, body: Body) -> Generator[Any, Any, Sequence[NoReply]]:
        """Send the content block by block; stop as soon as the server speaks. Nothing where all went out."""
        data = memoryview(body.data)
        for start in range(0, len(data), BLOCK_BYTES):
            left = block = data[start : start + BLOCK_BYTES]
            try:
                if self._may_turn:
                    left, _, _ = yield Turn(block, self.timeout or BLOCK_SECONDS)
                if left:
                    if left is block and not (yield from self.is_silent()):
                        return ((yield from self.unasked()),)
                    yield from self._send(left, BLOCK_SECONDS)
            except OSError as error:
                return ((yield from self._cut_off(error)),)
        return ()

    def finish(self, dot: Dot, ahead: "Ahead | None" = None) -> Generator[Any, Any, Sequence[Reply | NoReply]]:
        """Look whether the server is silent, send the dot on its own, read the replies to it.

        With the dot go the commands of the transaction behind it, if there is one `ahead`; their answers are put there.
        """
        data = dot.end if ahead is None else dot.end + ahead.lines
        left: bytes | memoryview = data
        came: bytes | OSError | None = None
        took = 0.0
        try:
            if self._may_turn:
                left, came, took = yield Turn(
                    data, self.timeout or DEADLINES[Stage.DATA], self.timeout or DEADLINES[Stage.END_OF_DATA]
                )
                if type(came) is bytes and (replies := self._finished(came, dot, ahead)) is not None:
                    return replies
            if left:
                if left is data and not (yield from self.is_silent()):
                    return ((yield from self.unasked()),) * dot.replies
                yield from self._send(left, DEADLINES[Stage.DATA])
        except OSError as error:
            # The kernel took nothing of a small plain write that failed; of a larger one, or of TLS, nobody can tell.
            if ahead is not None or self.is_tls or left is not data:
                return (NoReply(Cause.LOST, _why(error)),) * dot.replies
            return ((yield from self._cut_off(error)),) * dot.replies
        answers: list[Reply | NoReply] = []
        for _ in range(dot.replies):
            if answers and isinstance(answers[-1], NoReply):
                answers.append(answers[-1])
                continue
            answers.append((yield from self.read_reply(Stage.END_OF_DATA, came=came, took=took)))
            came, took = None, 0.0
        if ahead is not None and not _is_over(answers[-1]):
            ahead.heard((yield from self._read_group(ahead.commands, [])))
        if len(answers) > 1 and not self.reader.is_clean and not _is_over(answers[-1]):
            return (NoReply(Cause.PROTOCOL, "more replies than recipients: nobody knows whose is whose"),) * dot.replies
        return answers

    @property
    def _may_turn(self) -> bool:
        """Whether things may go as usual: nothing lies here, and nobody listens in."""
        return self.tap is None and not self.hung_up and self.reader.is_clean

    def _usual(self, came: bytes, count: int) -> Sequence[Reply] | None:
        """What came, where it is so many replies and nothing else, none of several ends the session."""
        replies = self.reader.take(came, count)
        if replies is None or count == 1:
            return replies
        return replies if {one.code for one in replies}.isdisjoint(CLOSES) else None

    def _finished(self, came: bytes, dot: Dot, ahead: "Ahead | None") -> Sequence[Reply] | None:
        """The replies to a dot, where they and those to what went out with it came as usual."""
        if ahead is None:
            return self._usual(came, dot.replies)
        replies = self._usual(came, dot.replies + len(ahead.commands))
        if replies is None:
            return None
        ahead.heard(replies[dot.replies :])
        return replies[: dot.replies]

    def say_goodbye(self) -> Generator[Any, Any, Reply | NoReply]:
        """QUIT, and what is said to it within two seconds."""
        seconds = min(self.timeout or DEADLINES[Stage.QUIT], DEADLINES[Stage.QUIT])
        if not (yield from self.is_silent()):
            return (yield from self.unasked())
        try:
            yield Send(b"quit\r\n", seconds)
        except OSError as error:
            return NoReply(Cause.LOST, _why(error))
        return (yield from self.read_reply(Stage.QUIT, deadline=seconds))

    def _send(self, data: bytes | memoryview, seconds: float) -> Talk:
        if self.tap is not None:
            self.tap.sent(bytes(data))
        yield Send(data, self.timeout or seconds)

    def _send_group(
        self, data: bytes | memoryview, commands: Sequence[Command], answers: list[Reply | NoReply]
    ) -> Talk:
        """Send several lines, and take what is answered meanwhile (RFC 2920 3.1).

        Raises:
            TimeoutError: the server takes no more bytes; OSError: the line is cut.
        """
        seconds = DEADLINES[commands[0].stage]
        if len(commands) == 1:
            yield from self._send(data, seconds)
            return
        if self.tap is not None:
            self.tap.sent(bytes(data))
        seconds = self.timeout or seconds
        left = data
        while left:
            left, came, took = yield Send(left, seconds, listens=True)
            seconds -= took
            if came is not None:
                self._take_in(came, len(commands), answers)
            if left and seconds <= 0:
                raise TimeoutError

    def _take_in(self, data: bytes, most: int, answers: list[Reply | NoReply]) -> None:
        """Add the replies that are whole by these bytes.

        Raises:
            ConnectionError: there is no more to come, or more than was asked for.
        """
        self.reader.feed(data)
        while (answer := self.reader.next()) is not None:
            if len(answers) == most - 1:
                answer = NoReply(Cause.PROTOCOL, "the server has answered all before it was asked")
            answers.append(self._heard(answer))
            if isinstance(answer, NoReply):
                raise ConnectionAbortedError
        if not data:
            raise ConnectionResetError

    def _read_group(
        self,
        commands: Sequence[Command],
        answers: list[Reply | NoReply],
        deadline: float | None = None,
        *,
        came: bytes | OSError | None = None,
        took: float = 0.0,
    ) -> Generator[Any, Any, Sequence[Reply | NoReply]]:
        """The answers to a group, some of which are here already."""
        for command in commands[len(answers) :]:
            answer = answers[-1] if answers and _is_over(answers[-1]) else self._whole()
            if answer is None:
                answer = yield from self.read_reply(command.stage, deadline=deadline, came=came, took=took)
                came, took = None, 0.0
            answers.append(answer)
        if len(commands) > 1 and not self.reader.is_clean and not _is_over(answers[-1]):
            return (NoReply(Cause.PROTOCOL, "more replies than commands: nobody knows whose is whose"),) * len(commands)
        return answers

    def _cut_off(self, error: OSError) -> Generator[Any, Any, NotSent]:
        """A write failed: perhaps the server said why before it hung up."""
        if isinstance(error, TimeoutError):
            return NotSent(Cause.TIMED_OUT, "the server took no more bytes")
        said = yield from self.unasked()
        return said if said.reply is not None else NotSent(Cause.LOST, _why(error))

    def _heard(self, answer: Reply | NoReply) -> Reply | NoReply:
        if self.tap is not None:
            self.tap.heard(answer)
        return answer


class Ahead:
    """A transaction whose first commands go out behind the dot of the one before it (RFC 2920 3.1).

    In front of them goes a RSET: a server may be left inside its transaction after a refused dot, and would take the
    new recipients for those of the old message.
    """

    __slots__ = ("answers", "commands", "reset", "steps")

    def __init__(self, steps: Transaction, group: Commands) -> None:
        self.steps = steps
        self.commands = (Command(Stage.RSET, b"rset\r\n"), *group.commands)
        self.reset: Reply | NoReply = NoReply(Cause.LOST, "the session was over before it came to RSET")
        self.answers: Sequence[Reply | NoReply] | None = None  # to its own commands

    @classmethod
    def of(cls, steps: Transaction) -> "Ahead | None":
        """None for a transaction that asks nothing, or more at once than surely finds room where nobody reads yet."""
        group = next(steps, None)
        if not isinstance(group, Commands) or sum(len(one.line) for one in group.commands) > _AHEAD_BYTES:
            return None
        return cls(steps, group)

    @property
    def lines(self) -> bytes:
        return b"".join([one.line for one in self.commands])

    @property
    def is_well(self) -> bool:
        """Whether the server has come to it with a clean slate, so that it can be taken up."""
        return self.answers is not None and isinstance(self.reset, Reply) and self.reset.code == 250

    def heard(self, answers: Sequence[Reply | NoReply]) -> None:
        """Take the answers to what went out."""
        self.reset, *self.answers = answers


def carry(
    steps: Transaction,
    line: Conversation,
    *,
    answers: Sequence[Reply | NoReply] | None = None,
    begin: Callable[[Dot], Generator[Any, Any, NotSent | None]] | None = None,
    behind: Callable[[Dot], Generator[Any, Any, Ahead | None]] | None = None,
) -> Generator[Any, Any, Transacted]:
    """Bring a transaction over a line to its end.

    `answers` are those to its first step, where that went out already. `behind` says what goes out with each dot. Then
    `begin` is asked, as close to the dot as can be; what it answers keeps it back.
    """
    ahead: Ahead | None = None
    try:
        step = next(steps) if answers is None else steps.send(answers)
        while True:
            kind = type(step)
            if kind is Commands and ahead is not None:
                step = steps.send((ahead.reset,))  # RSET, which went out behind the dot
            elif kind is Commands:
                step = steps.send((yield from line.exchange(step)))  # type: ignore[arg-type]  # by its kind
            elif kind is Body:
                step = steps.send((yield from line.write(step)))  # type: ignore[arg-type]  # likewise
            else:
                assert isinstance(step, Dot)
                ahead = (yield from behind(step)) if behind is not None else None
                refused = (yield from begin(step)) if begin is not None else None
                if refused is None:
                    step = steps.send((yield from line.finish(step, ahead)))
                else:
                    step = steps.send((refused,) * step.replies)
    except StopIteration as done:
        result: Transacted = done.value
        return result


def _is_over(answer: Reply | NoReply) -> bool:
    """Whether nothing more is to be expected behind this answer."""
    return isinstance(answer, NoReply) or answer.code in CLOSES


def _why(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__
