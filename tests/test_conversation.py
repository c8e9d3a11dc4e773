"""What goes over a line: turns, and the steps that they are made of, come to the same, however the bytes arrive."""

from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bouncekit.protocol.conversation import Conversation, Look, Receive, Send, Turn, carry
from bouncekit.protocol.transaction import GROUP_SIZE, Transacted, transaction
from bouncekit.words.address import parse_address
from bouncekit.words.envelope import Envelope
from bouncekit.words.reply import NoReply, ReplyReader
from bouncekit.words.status import Taken

PEOPLE = tuple(map(parse_address, ("ann@example.com", "bob@example.com", "cy@example.com")))

OK, GO = b"250 2.1.5 Ok\r\n", b"354 Go ahead\r\n"
SAID = (
    OK,
    b"250-2.1.5 a\r\n250 b\r\n",
    b"550 5.1.1 No such user\r\n",
    b"421 4.3.2 Closing\r\n",
    b"221 Bye\r\n",
    b"251\r\n",
)
RUBBISH = (b"what?\r\n", b"354 Go ahead\r\n", b"250 Ok\n", b"250 Ok\r\n250 And more\r\n", b"")


class Server:
    """Answers line by line what it is to say, in packets of so many bytes, and hangs up where it has no word left.

    `sends` is how many bytes the line takes at once; with `turns` it carries out whole turns, else each step alone.
    """

    def __init__(self, said: Sequence[bytes], *, packet: int, sends: int, turns: bool) -> None:
        self.said = list(said)
        self.packet = packet
        self.sends = sends
        self.turns = turns
        self.heard = b""
        self.unread = b""  # of what was heard
        self.waiting = b""  # of what it says
        self.in_data = self.has_hung_up = False

    def hear(self, data: bytes) -> None:
        self.heard += data
        self.unread += data
        while b"\r\n" in self.unread:
            line, _, self.unread = self.unread.partition(b"\r\n")
            if self.in_data and line != b".":
                continue
            word = self.said.pop(0) if self.said else None
            if word is None:
                self.has_hung_up = True
                return
            self.in_data = line == b"data" and word.startswith(b"354")
            self.waiting += word

    def receive(self) -> bytes:
        if not self.waiting and not self.has_hung_up:
            raise TimeoutError
        came, self.waiting = self.waiting[: self.packet], self.waiting[self.packet :]
        return came

    def send(self, data: bytes) -> int:
        if self.has_hung_up:
            raise ConnectionResetError("gone")
        taken = data[: self.sends]
        self.hear(bytes(taken))
        return len(taken)

    def do(self, step: Any) -> Any:
        is_silent = not self.waiting and not self.has_hung_up
        match step:
            case Turn():
                if not self.turns or not is_silent:
                    return step.data, None, 0.0
                left = memoryview(step.data)[self.send(bytes(step.data)) :]
                if left or not step.wait:
                    return left, None, 0.0
                try:
                    return b"", self.receive(), 0.1
                except OSError as error:
                    return b"", error, 0.1
            case Look():
                return None if is_silent else self.receive()
            case Receive():
                return self.receive(), 0.1
            case Send(listens=True):
                left = memoryview(step.data)[self.send(bytes(step.data)) :]
                return left, None, 0.1
            case Send():
                left = memoryview(step.data)
                while left:
                    left = left[self.send(bytes(left)) :]
        return None


def talked(server: Server, group_size: int) -> tuple[Transacted, bytes]:
    """What came of a transaction, and what the server heard."""
    envelope = Envelope(
        sender=parse_address("me@example.com"), recipients=PEOPLE, content=b"Subject: Hi\r\n\r\n.Hi\r\n"
    )
    talk, answer = carry(transaction(envelope, {}, group_size=group_size), Conversation(ReplyReader())), None
    error: OSError | None = None
    while True:
        try:
            step = talk.send(answer) if error is None else talk.throw(error)
            error = None
        except StopIteration as done:
            return done.value, server.heard
        try:
            answer = server.do(step)
        except OSError as failed:
            error = failed


words = st.lists(st.one_of(st.just(OK), st.sampled_from(SAID), st.sampled_from(RUBBISH)), max_size=8)
good = st.just([OK, OK, OK, OK, GO, OK])
nearly_good = st.tuples(good, st.integers(0, 5), st.sampled_from(SAID + RUBBISH)).map(
    lambda one: [*one[0][: one[1]], one[2], *one[0][one[1] + 1 :]]
)


@given(
    said=st.one_of(good, nearly_good, words),
    packet=st.sampled_from((1, 7, 20, 10_000)),
    sends=st.sampled_from((5, 60, 10_000)),
    group_size=st.sampled_from((1, GROUP_SIZE)),
)
def test_turns_and_single_steps_come_to_the_same(said: list[bytes], packet: int, sends: int, group_size: int) -> None:
    in_turns, by_steps = (
        talked(Server(said, packet=packet, sends=sends, turns=turns), group_size) for turns in (True, False)
    )
    assert in_turns[0].statuses == by_steps[0].statuses
    assert in_turns == by_steps


def test_a_message_that_is_taken_is_delivered_to_all() -> None:
    for packet, turns, group_size in ((7, True, 1), (99, True, GROUP_SIZE), (99, False, 1), (7, False, GROUP_SIZE)):
        server = Server([OK, OK, OK, OK, GO, OK], packet=packet, sends=99, turns=turns)
        transacted, heard = talked(server, group_size)
        assert isinstance(transacted.statuses, Taken)
        assert heard.endswith(b"\r\n\r\n..Hi\r\n.\r\n")


def test_a_dot_that_went_out_and_was_not_answered_leaves_everybody_unknown() -> None:
    for turns in (True, False):
        transacted, heard = talked(Server([OK, OK, OK, OK, GO], packet=99, sends=99, turns=turns), GROUP_SIZE)
        assert heard.endswith(b"\r\n.\r\n")
        assert {str(one.action) for one in transacted.statuses} == {"unknown"}
        assert all(isinstance(one.reply, NoReply) for one in transacted.statuses)
