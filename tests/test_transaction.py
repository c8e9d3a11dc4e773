"""The transaction without I/O: which lines go out, and what each answer means to whom (RFC 5321, RFC 2033)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bouncekit.protocol.transaction import (
    GROUP_SIZE,
    Body,
    Commands,
    Dot,
    NotSent,
    Transacted,
    Transaction,
    transaction,
)
from bouncekit.words.address import parse_address
from bouncekit.words.envelope import Envelope
from bouncekit.words.reply import Cause, EnhancedStatusCode, NoReply, Reply, Stage
from bouncekit.words.status import Action, RecipientStatus

ADA, BOB, CY = "ada@example.com", "bob@example.com", "cy@example.com"
LOST = NoReply(Cause.LOST, "cut")
SILENT = NoReply(Cause.TIMED_OUT, "silence")
GARBAGE = NoReply(Cause.PROTOCOL, "not a reply")
CUT = NotSent(Cause.LOST, "cut before the dot")

Answer = Reply | NoReply
DELIVERED, DELAYED, FAILED, UNKNOWN = Action.DELIVERED, Action.DELAYED, Action.FAILED, Action.UNKNOWN


def reply(written: str) -> Reply:
    return Reply.parse(written)


def unasked(written: str) -> NotSent:
    return NotSent(Cause.UNSOLICITED, "the server spoke before it was asked", reply(written))


def envelope(
    *recipients: str, sender: str = "me@example.com", content: bytes = b"Hello\r\n", **options: object
) -> Envelope:
    return Envelope(
        sender=parse_address(sender),
        recipients=tuple(map(parse_address, recipients)),
        content=content,
        **options,  # type: ignore[arg-type]
    )


_USUAL = {
    Stage.MAIL: "250 2.1.0 Ok",
    Stage.DATA: "354 Go",
    Stage.RSET: "250 2.0.0 Ok",
    Stage.END_OF_DATA: "554 5.5.1 No valid recipients",
}


@dataclass
class Server:
    """Gives the scripted answer to each command, else the usual one, and writes down what it got.

    Keys are MAIL, an address for its RCPT, DATA, BODY, DOT, `DOT address` in LMTP, LONE DOT, RSET. Behind a NoReply, a
    421 or a 221 the connection is gone, as on a real wire.
    """

    script: Mapping[str, Answer]
    lines: list[str] = field(default_factory=list)
    data: bytes = b""
    accepted: list[str] = field(default_factory=list)
    said: dict[str, Answer] = field(default_factory=dict)
    gone: NoReply | None = None

    def run(
        self,
        *recipients: str,
        group_size: int = 1,
        lmtp: bool = False,
        chunks: bool = False,
        extensions: Mapping[str, str] = {},
        **settings: object,
    ) -> Transacted:
        steps = transaction(
            envelope(*recipients, **settings),
            extensions,
            lmtp=lmtp,
            remote_mta="mx.example.net",
            group_size=group_size,
            chunks=chunks,
        )
        return self.carry(steps, lmtp=lmtp)

    def carry(self, steps: object, *, lmtp: bool = False) -> Transacted:
        answer: Sequence[Answer] | None = None
        try:
            while True:
                match steps.send(answer):  # type: ignore[attr-defined]
                    case Commands(commands):
                        answer = [self.command(command.stage, command.line.decode()) for command in commands]
                    case Body(data):
                        self.data = data
                        broke = self.script.get("BODY")
                        answer = [broke] if broke else []
                    case Dot(replies, _, end):
                        self.data += b"" if end == b".\r\n" else end
                        self.lines.append(".")
                        keys = [f"DOT {address}" for address in self.accepted] if lmtp else ["DOT"]
                        assert replies == len(keys)
                        answer = [self.say(key, "250 2.0.0 Taken") for key in keys]
        except StopIteration as done:
            transacted: Transacted = done.value
            return transacted

    def command(self, stage: Stage, line: str) -> Answer:
        assert line.endswith("\r\n")
        self.lines.append(line.removesuffix("\r\n"))
        if stage is not Stage.RCPT:
            return self.say("LONE DOT" if stage is Stage.END_OF_DATA else stage.value, _USUAL[stage])
        address = line.partition("<")[2].partition(">")[0]
        answer = self.say(address, "250 2.1.5 Ok")
        if isinstance(answer, Reply) and answer.is_success and answer.code != 221:
            self.accepted.append(address)
        return answer

    def say(self, key: str, usual: str) -> Answer:
        answer = self.gone or self.script.get(key) or reply(usual)
        self.said[key] = answer
        if isinstance(answer, NoReply):
            self.gone = answer
        elif answer.code in (221, 421):
            self.gone = LOST
        return answer

    @property
    def verbs(self) -> list[str]:
        return [line.split()[0].split(":")[0] for line in self.lines]


def actions(transacted: Transacted) -> list[Action]:
    return [status.action for status in transacted.statuses]


# -- the lines


def test_the_lines_of_a_transaction_go_out_in_order_and_the_dot_alone() -> None:
    server = Server({})
    transacted = server.run(ADA, BOB, content=b".Hello\r\nYou")
    assert server.lines == [
        "mail from:<me@example.com>",
        "rcpt to:<ada@example.com>",
        "rcpt to:<bob@example.com>",
        "data",
        ".",
    ]
    assert server.data == b"..Hello\r\nYou\r\n"
    assert actions(transacted) == [DELIVERED, DELIVERED]
    assert (transacted.ended, transacted.must_close) == (None, False)


def first_lines(extensions: Mapping[str, str] | None, **settings: object) -> list[str]:
    server = Server({})
    server.carry(transaction(envelope(ADA, **settings), extensions))
    return server.lines[:2]


@pytest.mark.parametrize(
    ("content", "size"), [(b"", 0), (b"Hello\r\n", 7), (b".\r\n.\r\n", 6), ("Grüße\r\n".encode(), 9)]
)
def test_size_counts_the_bytes_of_the_content_without_stuffed_dots(content: bytes, size: int) -> None:
    assert first_lines({"size": "10000"}, content=content)[0] == f"mail from:<me@example.com> size={size}"


def test_a_size_that_the_caller_states_is_told_once() -> None:
    assert first_lines({"size": ""}, mail_options=("SIZE=99",))[0] == "mail from:<me@example.com> SIZE=99"


def test_without_the_extension_no_size_is_told() -> None:
    assert first_lines({"8bitmime": ""})[0] == "mail from:<me@example.com>"


def test_options_go_where_they_belong() -> None:
    assert first_lines({"size": ""}, mail_options=("BODY=8BITMIME", "RET=HDRS"), rcpt_options=("NOTIFY=NEVER",)) == [
        "mail from:<me@example.com> size=7 BODY=8BITMIME RET=HDRS",
        "rcpt to:<ada@example.com> NOTIFY=NEVER",
    ]


def test_after_helo_there_are_no_options() -> None:
    assert first_lines(None, mail_options=("BODY=8BITMIME",), rcpt_options=("NOTIFY=NEVER",)) == [
        "mail from:<me@example.com>",
        "rcpt to:<ada@example.com>",
    ]


def test_the_null_return_path_and_quoted_local_parts_stand_in_brackets() -> None:
    server = Server({})
    server.run('"a b"@example.com', sender="")
    assert server.lines[:2] == ["mail from:<>", 'rcpt to:<"a b"@example.com>']


def test_an_address_beyond_ascii_travels_as_utf8() -> None:
    steps = transaction(
        envelope("用户@例子.广告", sender="jürgen@example.com", mail_options=("SMTPUTF8",)), {"smtputf8": ""}
    )
    step = next(steps)
    assert isinstance(step, Commands)
    assert step.commands[0].line == "mail from:<jürgen@example.com> SMTPUTF8\r\n".encode()
    step = steps.send([reply("250 Ok")])
    assert isinstance(step, Commands)
    assert step.commands[0].line == "rcpt to:<用户@例子.广告>\r\n".encode()


def test_a_line_that_cannot_be_written_is_an_error_before_the_first_line_goes_out() -> None:
    with pytest.raises(UnicodeEncodeError):
        next(transaction(envelope(ADA, rcpt_options=("ORCPT=ü",)), {}))


def groups_of(steps: Transaction) -> list[list[bytes]]:
    """The lines of each group up to the content, where everything is well."""
    step, seen = next(steps), []
    while isinstance(step, Commands):
        seen.append([command.line for command in step.commands])
        codes = [354 if command.stage is Stage.DATA else 250 for command in step.commands]
        step = steps.send([Reply(code, b"Ok") for code in codes])
    assert isinstance(step, Body)
    return seen


@pytest.mark.parametrize(
    ("size", "groups"), [(1, [1, 1, 1, 1, 1]), (2, [2, 2, 1]), (3, [3, 2]), (5, [5]), (GROUP_SIZE, [5])]
)
def test_groups_have_the_size_that_was_asked_for_and_data_ends_the_last_one(size: int, groups: list[int]) -> None:
    seen = groups_of(transaction(envelope(ADA, BOB, CY), {}, group_size=size))
    assert [len(group) for group in seen] == groups
    assert seen[-1][-1] == b"data\r\n"


def test_a_group_of_long_lines_ends_before_it_fills_the_buffers_of_the_line() -> None:
    option = "ORCPT=rfc822;" + "x" * 400
    people = [f"user{number}@example.com" for number in range(400)]
    seen = groups_of(transaction(envelope(*people, rcpt_options=(option,)), {}, group_size=GROUP_SIZE))
    assert len(seen) == 3
    assert max(sum(map(len, group)) for group in seen) < 66 * 1024


@pytest.mark.parametrize("content", [b".Hello\r\n.\r\n", b"You", b"", b"\r\n"])
def test_with_chunking_the_content_is_one_chunk_without_dots_and_its_last_byte_is_the_dot(content: bytes) -> None:
    server = Server({})
    transacted = server.run(ADA, BOB, content=content, chunks=True)
    whole = content if content.endswith(b"\r\n") else content + b"\r\n"
    assert server.data == b"bdat %d last\r\n" % len(whole) + whole
    assert server.verbs == ["mail", "rcpt", "rcpt", "."]
    assert actions(transacted) == [DELIVERED, DELIVERED]


def test_with_chunking_nothing_is_sent_behind_a_refusal_of_all_but_rset() -> None:
    server = Server({ADA: reply("550 5.1.1 No")})
    assert actions(server.run(ADA, group_size=GROUP_SIZE, chunks=True)) == [FAILED]
    assert server.verbs == ["mail", "rcpt", "rset"]


@pytest.mark.parametrize(("limit", "sends"), [("7", True), ("6", False), ("0", True), ("", True), ("many", True)])
def test_a_message_above_the_announced_size_is_no_servers_trouble(limit: str, *, sends: bool) -> None:
    server = Server({})
    transacted = server.run(ADA, BOB, content=b"Hello\r\n", extensions={"size": limit})
    assert bool(server.lines) is sends
    assert not transacted.must_close
    if not sends:
        assert {(s.action, s.stage, s.reply, s.enhanced, s.individual) for s in transacted.statuses} == {
            (FAILED, MAIL, None, EnhancedStatusCode(5, 3, 4), False)
        }
        assert "7 bytes" in transacted.statuses[0].text


# -- what the answers mean: key to answer; action, stage and individual for each recipient; verbs behind MAIL


@dataclass(frozen=True, kw_only=True)
class Case:
    name: str
    script: Mapping[str, Answer]
    ada: tuple[Action, Stage, bool]
    bob: tuple[Action, Stage, bool]
    then: str
    ended: Stage | None = None
    closes: bool = False


MAIL, RCPT, DATA, DOT, IDLE = Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.END_OF_DATA, Stage.IDLE
OK = (DELIVERED, DOT, False)
OK_ALONE = (DELIVERED, DOT, True)


def both(action: Action, stage: Stage) -> dict[str, tuple[Action, Stage, bool]]:
    return {"ada": (action, stage, False), "bob": (action, stage, False)}


def over(stage: Stage) -> dict[str, object]:
    return {"ended": stage, "closes": True}


CASES = [
    # MAIL
    Case(name="MAIL 5yz", script={"MAIL": reply("550 5.7.1 No")}, **both(FAILED, MAIL), then="rset"),
    Case(name="MAIL 4yz", script={"MAIL": reply("452 4.3.1 Disk")}, **both(DELAYED, MAIL), then="rset"),
    Case(name="MAIL 552 size", script={"MAIL": reply("552 5.3.4 Big")}, **both(FAILED, MAIL), then="rset"),
    Case(name="MAIL 421", script={"MAIL": reply("421 4.3.2 Bye")}, **both(DELAYED, MAIL), then="", **over(MAIL)),
    Case(name="MAIL 221", script={"MAIL": reply("221 2.0.0 Bye")}, **both(DELAYED, MAIL), then="", **over(MAIL)),
    Case(name="MAIL 354", script={"MAIL": reply("354 Go")}, **both(DELAYED, MAIL), then="", **over(MAIL)),
    Case(name="MAIL 150", script={"MAIL": reply("150 Hm")}, **both(DELAYED, MAIL), then="", **over(MAIL)),
    Case(name="MAIL 252", script={"MAIL": reply("252 Fine")}, ada=OK, bob=OK, then="rcpt rcpt data ."),
    Case(name="MAIL lost", script={"MAIL": LOST}, **both(DELAYED, MAIL), then="", **over(MAIL)),
    Case(name="MAIL silent", script={"MAIL": SILENT}, **both(DELAYED, MAIL), then="", **over(MAIL)),
    Case(name="MAIL garbage", script={"MAIL": GARBAGE}, **both(DELAYED, MAIL), then="", **over(MAIL)),
    Case(name="idle line cut", script={"MAIL": CUT}, **both(DELAYED, IDLE), then="", **over(IDLE)),
    Case(name="idle 421", script={"MAIL": unasked("421 4.4.2 Idle")}, **both(DELAYED, IDLE), then="", **over(IDLE)),
    Case(name="idle 221", script={"MAIL": unasked("221 Bye")}, **both(DELAYED, IDLE), then="", **over(IDLE)),
    Case(name="idle 550", script={"MAIL": unasked("550 5.1.1 No")}, **both(DELAYED, IDLE), then="", **over(IDLE)),
    # RCPT
    Case(
        name="RCPT 5yz",
        script={ADA: reply("550 5.1.1 No")},
        ada=(FAILED, RCPT, True),
        bob=OK_ALONE,
        then="rcpt rcpt data .",
    ),
    Case(
        name="RCPT 4yz",
        script={BOB: reply("452 4.5.3 Many")},
        ada=OK_ALONE,
        bob=(DELAYED, RCPT, True),
        then="rcpt rcpt data .",
    ),
    Case(name="RCPT 251", script={ADA: reply("251 Moved")}, ada=OK, bob=OK, then="rcpt rcpt data ."),
    Case(name="RCPT 252", script={ADA: reply("252 Maybe")}, ada=OK, bob=OK, then="rcpt rcpt data ."),
    Case(name="RCPT 200", script={ADA: reply("200 Hm")}, ada=OK, bob=OK, then="rcpt rcpt data ."),
    Case(
        name="RCPT all refused",
        script={ADA: reply("550 5.1.1 No"), BOB: reply("452 4.2.2 Full")},
        ada=(FAILED, RCPT, True),
        bob=(DELAYED, RCPT, True),
        then="rcpt rcpt rset",
    ),
    Case(
        name="RCPT 421 behind an accepted one",
        script={BOB: reply("421 4.7.0 Bye")},
        ada=(DELAYED, RCPT, False),
        bob=(DELAYED, RCPT, True),
        then="rcpt rcpt",
        **over(RCPT),
    ),
    Case(
        name="RCPT 421 behind a refused one",
        script={ADA: reply("550 5.1.1 No"), BOB: reply("421 4.7.0 Bye")},
        ada=(FAILED, RCPT, True),
        bob=(DELAYED, RCPT, True),
        then="rcpt rcpt",
        **over(RCPT),
    ),
    Case(
        name="RCPT 421 before one that was not tried",
        script={ADA: reply("421 4.7.0 Bye")},
        ada=(DELAYED, RCPT, True),
        bob=(DELAYED, RCPT, False),
        then="rcpt",
        **over(RCPT),
    ),
    Case(
        name="RCPT 221",
        script={BOB: reply("221 Bye")},
        ada=(DELAYED, RCPT, False),
        bob=(DELAYED, RCPT, True),
        then="rcpt rcpt",
        **over(RCPT),
    ),
    Case(
        name="RCPT lost behind a refused one",
        script={ADA: reply("552 5.2.2 Full"), BOB: LOST},
        ada=(FAILED, RCPT, True),
        bob=(DELAYED, RCPT, False),
        then="rcpt rcpt",
        **over(RCPT),
    ),
    Case(name="RCPT 354", script={BOB: reply("354 Go")}, **both(DELAYED, RCPT), then="rcpt rcpt", **over(RCPT)),
    Case(name="RCPT 150", script={BOB: reply("150 Hm")}, **both(DELAYED, RCPT), then="rcpt rcpt", **over(RCPT)),
    Case(name="RCPT garbage", script={BOB: GARBAGE}, **both(DELAYED, RCPT), then="rcpt rcpt", **over(RCPT)),
    Case(
        name="RCPT spoken before",
        script={BOB: unasked("550 5.1.1 No")},
        **both(DELAYED, RCPT),
        then="rcpt rcpt",
        **over(RCPT),
    ),
    # DATA
    Case(name="DATA 5yz", script={"DATA": reply("554 5.5.1 No")}, **both(FAILED, DATA), then="rcpt rcpt data rset"),
    Case(name="DATA 4yz", script={"DATA": reply("451 4.3.0 No")}, **both(DELAYED, DATA), then="rcpt rcpt data rset"),
    Case(
        name="DATA 421", script={"DATA": reply("421 Bye")}, **both(DELAYED, DATA), then="rcpt rcpt data", **over(DATA)
    ),
    Case(
        name="DATA 221", script={"DATA": reply("221 Bye")}, **both(DELAYED, DATA), then="rcpt rcpt data", **over(DATA)
    ),
    Case(name="DATA 250", script={"DATA": reply("250 Ok")}, **both(DELAYED, DATA), then="rcpt rcpt data", **over(DATA)),
    Case(name="DATA 353", script={"DATA": reply("353 Go")}, **both(DELAYED, DATA), then="rcpt rcpt data", **over(DATA)),
    Case(name="DATA lost", script={"DATA": LOST}, **both(DELAYED, DATA), then="rcpt rcpt data", **over(DATA)),
    Case(
        name="DATA spoken before",
        script={"DATA": unasked("421 Bye")},
        **both(DELAYED, DATA),
        then="rcpt rcpt data",
        **over(DATA),
    ),
    Case(
        name="DATA 5yz behind a refused one",
        script={ADA: reply("550 5.1.1 No"), "DATA": reply("451 4.3.0 No")},
        ada=(FAILED, RCPT, True),
        bob=(DELAYED, DATA, False),
        then="rcpt rcpt data rset",
    ),
    # the content
    Case(name="BODY cut", script={"BODY": CUT}, **both(DELAYED, DATA), then="rcpt rcpt data", **over(DATA)),
    Case(
        name="BODY 421", script={"BODY": unasked("421 Bye")}, **both(DELAYED, DATA), then="rcpt rcpt data", **over(DATA)
    ),
    Case(
        name="BODY 552", script={"BODY": unasked("552 Big")}, **both(DELAYED, DATA), then="rcpt rcpt data", **over(DATA)
    ),
    Case(
        name="BODY 250", script={"BODY": unasked("250 Ok")}, **both(DELAYED, DATA), then="rcpt rcpt data", **over(DATA)
    ),
    # the dot, not sent
    Case(name="DOT cut", script={"DOT": CUT}, **both(DELAYED, DATA), then="rcpt rcpt data .", **over(DATA)),
    Case(
        name="DOT 421 first",
        script={"DOT": unasked("421 Bye")},
        **both(DELAYED, DATA),
        then="rcpt rcpt data .",
        **over(DATA),
    ),
    Case(
        name="DOT 250 first",
        script={"DOT": unasked("250 Ok")},
        **both(DELAYED, DATA),
        then="rcpt rcpt data .",
        **over(DATA),
    ),
    Case(
        name="DOT 550 first",
        script={"DOT": unasked("550 No")},
        **both(DELAYED, DATA),
        then="rcpt rcpt data .",
        **over(DATA),
    ),
    # the dot
    Case(name="DOT 4yz", script={"DOT": reply("452 4.3.1 Full")}, **both(DELAYED, DOT), then="rcpt rcpt data . rset"),
    Case(name="DOT 5yz", script={"DOT": reply("552 5.3.4 Big")}, **both(FAILED, DOT), then="rcpt rcpt data . rset"),
    Case(
        name="DOT 421",
        script={"DOT": reply("421 4.3.0 No")},
        **both(DELAYED, DOT),
        then="rcpt rcpt data .",
        **over(DOT),
    ),
    Case(name="DOT 221", script={"DOT": reply("221 Bye")}, **both(UNKNOWN, DOT), then="rcpt rcpt data .", **over(DOT)),
    Case(name="DOT lost", script={"DOT": LOST}, **both(UNKNOWN, DOT), then="rcpt rcpt data .", **over(DOT)),
    Case(name="DOT silent", script={"DOT": SILENT}, **both(UNKNOWN, DOT), then="rcpt rcpt data .", **over(DOT)),
    Case(name="DOT garbage", script={"DOT": GARBAGE}, **both(UNKNOWN, DOT), then="rcpt rcpt data .", **over(DOT)),
    Case(name="DOT 354", script={"DOT": reply("354 Go")}, **both(UNKNOWN, DOT), then="rcpt rcpt data .", **over(DOT)),
    Case(name="DOT 150", script={"DOT": reply("150 Hm")}, **both(UNKNOWN, DOT), then="rcpt rcpt data .", **over(DOT)),
    Case(
        name="DOT 5yz with one accepted",
        script={BOB: reply("450 4.2.0 Later"), "DOT": reply("554 5.7.1 Spam")},
        ada=(FAILED, DOT, True),
        bob=(DELAYED, RCPT, True),
        then="rcpt rcpt data . rset",
    ),
    Case(
        name="DOT lost behind a refused one",
        script={ADA: reply("550 5.1.1 No"), "DOT": LOST},
        ada=(FAILED, RCPT, True),
        bob=(UNKNOWN, DOT, True),
        then="rcpt rcpt data .",
        **over(DOT),
    ),
    # RSET
    Case(
        name="RSET refused",
        script={"MAIL": reply("451 4.3.0 No"), "RSET": reply("503 No")},
        **both(DELAYED, MAIL),
        then="rset",
        closes=True,
    ),
    Case(
        name="RSET lost",
        script={"DOT": reply("550 5.7.1 No"), "RSET": LOST},
        **both(FAILED, DOT),
        then="rcpt rcpt data . rset",
        closes=True,
    ),
    Case(
        name="RSET 421",
        script={"DATA": reply("550 5.7.1 No"), "RSET": reply("421 Bye")},
        **both(FAILED, DATA),
        then="rcpt rcpt data rset",
        closes=True,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_an_answer_is_each_recipients_result_and_says_how_the_session_goes_on(case: Case) -> None:
    server = Server(case.script)
    transacted = server.run(ADA, BOB)
    assert [status.recipient for status in transacted.statuses] == [ADA, BOB]
    assert [(s.action, s.stage, s.individual) for s in transacted.statuses] == [case.ada, case.bob]
    assert server.verbs[1:] == case.then.split()
    assert (transacted.ended[0] if transacted.ended else None) is case.ended
    assert transacted.must_close is case.closes
    assert all(status.remote_mta == "mx.example.net" for status in transacted.statuses)


def test_a_status_carries_the_reply_that_made_it() -> None:
    refusal, ending = reply("552 5.2.2 Full"), reply("421 4.3.2 Bye")
    transacted = Server({ADA: refusal, CY: ending}).run(ADA, BOB, CY)
    assert [status.reply for status in transacted.statuses] == [refusal, ending, ending]
    assert transacted.ended == (RCPT, ending)


def test_an_unasked_close_is_the_reply_and_any_other_unasked_reply_is_none() -> None:
    for key, stage in (("MAIL", IDLE), (ADA, RCPT), ("DATA", DATA), ("BODY", DATA), ("DOT", DATA)):
        closing, early = unasked("421 4.3.2 Bye"), unasked("550 5.1.1 No")
        assert Server({key: closing}).run(ADA).ended == (stage, closing.reply)
        transacted = Server({key: early}).run(ADA)
        assert transacted.ended == (stage, early)
        (status,) = transacted.statuses
        assert (status.code, status.enhanced, status.text) == (None, None, "550 5.1.1 No")


def test_a_reply_of_an_impossible_class_is_kept_as_a_protocol_error() -> None:
    for key, stage in (("MAIL", MAIL), (ADA, RCPT), ("DOT", DOT)):
        (status,) = Server({key: reply("354 Go")}).run(ADA).statuses
        assert status.reply == NoReply(Cause.PROTOCOL, f"354 is no reply to {stage}")
    (status,) = Server({"DATA": reply("250 Ok")}).run(ADA).statuses
    assert status.reply == NoReply(Cause.PROTOCOL, "250 is no reply to DATA")


def test_a_status_counts_those_accepted_before_it() -> None:
    script = {BOB: reply("452 4.5.3 Many"), "d@example.com": reply("552 5.5.3 Many")}
    transacted = Server(script).run(ADA, BOB, CY, "d@example.com", "e@example.com")
    assert [status.accepted for status in transacted.statuses] == [3, 1, 3, 2, 3]


NOBODY = {ADA: reply("550 5.1.1 No"), BOB: reply("550 5.1.1 No")}


@pytest.mark.parametrize("size", [1, 3])
def test_without_an_accepted_recipient_data_is_never_sent_and_a_mailbox_is_freed(size: int) -> None:
    server = Server(NOBODY)
    transacted = server.run(ADA, BOB, group_size=size)
    assert server.verbs == ["mail", "rcpt", "rcpt", "rset"]
    assert actions(transacted) == [FAILED, FAILED]
    assert not transacted.must_close


@pytest.mark.parametrize(
    ("script", "then", "closes"),
    [
        ({"DATA": reply("554 5.5.1 No valid recipients")}, "rset", False),
        ({}, ". rset", False),
        ({"LONE DOT": reply("250 2.0.0 Taken")}, ". rset", False),
        ({"LONE DOT": reply("421 4.3.2 Bye")}, ".", True),
        ({"LONE DOT": LOST}, ".", True),
        ({"DATA": reply("421 4.3.2 Bye")}, "", True),
        ({"DATA": LOST}, "", True),
    ],
)
def test_pipelined_data_without_an_accepted_recipient_is_ended_by_a_lone_dot_that_decides_nothing(
    script: Mapping[str, Answer], then: str, *, closes: bool
) -> None:
    server = Server({**NOBODY, **script})
    transacted = server.run(ADA, BOB, group_size=GROUP_SIZE)
    assert server.verbs == ["mail", "rcpt", "rcpt", "data", *then.split()]
    assert [(s.action, s.stage, s.reply) for s in transacted.statuses] == [(FAILED, RCPT, NOBODY[ADA])] * 2
    assert transacted.must_close is closes
    assert server.data == b""


def test_in_lmtp_data_that_should_not_have_been_answered_354_ends_the_line() -> None:
    server = Server(NOBODY)
    transacted = server.run(ADA, BOB, lmtp=True, group_size=GROUP_SIZE)
    assert server.verbs[-1] == "data"
    assert transacted.must_close


def test_whom_a_server_accepts_behind_a_refused_mail_never_gets_an_empty_message() -> None:
    server = Server({"MAIL": reply("550 5.7.1 No"), ADA: reply("550 5.1.1 No")})
    transacted = server.run(ADA, BOB, group_size=GROUP_SIZE)
    assert server.verbs == ["mail", "rcpt", "rcpt", "data"]
    assert {(s.action, s.stage, s.code) for s in transacted.statuses} == {(FAILED, MAIL, 550)}
    assert transacted.must_close


def test_replies_that_a_group_lacks_are_told_from_a_line_that_was_gone_before() -> None:
    for script, lost in (
        ({BOB: LOST}, True),
        ({"DATA": SILENT}, True),
        ({ADA: reply("421 4.3.2 Bye")}, False),
        ({"MAIL": unasked("421 4.4.2 Idle")}, False),
        ({"DOT": LOST}, False),
    ):
        assert Server(script).run(ADA, BOB, group_size=GROUP_SIZE).lost_replies is lost
        assert not Server(script).run(ADA, BOB).lost_replies


def test_in_a_group_behind_a_refused_mail_the_other_replies_are_consequences() -> None:
    consequences = dict.fromkeys([ADA, BOB, "DATA"], reply("503 5.5.1 Need MAIL"))
    server = Server({"MAIL": reply("452 4.3.1 Disk"), **consequences})
    transacted = server.run(ADA, BOB, group_size=99)
    assert {status.code for status in transacted.statuses} == {452}
    assert {status.stage for status in transacted.statuses} == {MAIL}
    assert server.verbs == ["mail", "rcpt", "rcpt", "data", "rset"]


def test_a_mailbox_twice_in_an_envelope_has_one_result() -> None:
    server = Server({ADA: reply("552 5.2.2 Full")})
    transacted = server.run(ADA, ADA)
    assert actions(transacted) == [FAILED, FAILED]
    assert "data" not in server.verbs


@pytest.mark.parametrize("out_of_step", [reply("354 Go"), reply("554 No"), unasked("250 Ok"), unasked("354 Go")])
def test_where_rset_gets_the_answer_to_data_the_refusals_before_it_are_nobodys(out_of_step: Answer) -> None:
    script = {ADA: reply("550 5.1.1 No"), "DATA": reply("550 5.1.1 No"), "RSET": out_of_step}
    transacted = Server(script).run(ADA, BOB, group_size=GROUP_SIZE)
    assert actions(transacted) == [DELAYED, DELAYED]
    assert transacted.lost_replies
    assert transacted.must_close
    assert actions(Server(script).run(ADA, BOB)) == [FAILED, FAILED]


@pytest.mark.parametrize(
    ("key", "impossible"), [("MAIL", "354 Go"), (BOB, "354 Go"), ("DATA", "250 Ok"), ("DATA", "353 Go")]
)
def test_an_impossible_reply_voids_the_refusals_of_its_group_which_may_be_somebody_elses(
    key: str, impossible: str
) -> None:
    transacted = Server({ADA: reply("550 5.1.1 No"), key: reply(impossible)}).run(ADA, BOB, group_size=GROUP_SIZE)
    assert actions(transacted) == [DELAYED, DELAYED]
    assert all(isinstance(status.reply, NoReply) and not status.individual for status in transacted.statuses)
    assert transacted.lost_replies
    assert transacted.must_close


# -- LMTP


@pytest.mark.parametrize(
    ("script", "results", "then", "closes"),
    [
        ({}, [OK_ALONE, OK_ALONE, OK_ALONE], "", False),
        (
            {f"DOT {BOB}": reply("552 5.2.2 Full")},
            [OK_ALONE, (FAILED, DOT, True), OK_ALONE],
            "rset",
            False,
        ),
        (
            {f"DOT {ADA}": reply("452 4.2.2 Full"), f"DOT {CY}": reply("550 5.1.1 No")},
            [(DELAYED, DOT, True), OK_ALONE, (FAILED, DOT, True)],
            "rset",
            False,
        ),
        (
            {ADA: reply("550 5.1.1 No"), f"DOT {BOB}": reply("452 4.2.2 Full")},
            [(FAILED, RCPT, True), (DELAYED, DOT, True), OK_ALONE],
            "rset",
            False,
        ),
        ({f"DOT {BOB}": LOST}, [OK_ALONE, (UNKNOWN, DOT, True), (UNKNOWN, DOT, True)], "", True),
        ({f"DOT {BOB}": reply("354 Go")}, [OK_ALONE, (UNKNOWN, DOT, True), (UNKNOWN, DOT, True)], "", True),
        (
            {f"DOT {BOB}": reply("421 4.3.2 Shutting down")},
            [OK_ALONE, (DELAYED, DOT, True), (UNKNOWN, DOT, True)],
            "",
            True,
        ),
        (
            {f"DOT {ADA}": reply("550 5.7.1 No"), f"DOT {CY}": LOST},
            [(FAILED, DOT, True), OK_ALONE, (UNKNOWN, DOT, True)],
            "",
            True,
        ),
    ],
)
def test_lmtp_gives_each_accepted_recipient_its_own_reply_to_the_dot(
    script: Mapping[str, Answer], results: list[tuple[Action, Stage, bool]], then: str, *, closes: bool
) -> None:
    server = Server(script)
    transacted = server.run(ADA, BOB, CY, lmtp=True)
    assert [(s.action, s.stage, s.individual) for s in transacted.statuses] == results
    assert server.verbs[4:] == ["data", ".", *then.split()]
    assert transacted.must_close is closes


def test_in_lmtp_a_dot_that_was_not_sent_delays_everybody() -> None:
    steps = transaction(envelope(ADA, BOB), {}, lmtp=True)
    for answer in (None, [reply("250 Ok")], [reply("250 Ok")], [reply("250 Ok")], [reply("354 Go")]):
        steps.send(answer)  # type: ignore[arg-type]
    assert steps.send([]) == Dot(2, envelope(ADA, BOB).recipients)
    with pytest.raises(StopIteration) as done:
        steps.send([CUT, CUT])
    assert actions(done.value.value) == [DELAYED, DELAYED]
    assert done.value.value.must_close


# -- whatever the answers are


NAMES = [f"{name}@example.com" for name in ("ada", "bob", "cy", "di", "ed")]
codes = st.sampled_from([150, 200, 221, 250, 251, 252, 354, 421, 450, 452, 550, 552, 554])
answers = codes.map(lambda code: Reply(code, b"said")) | st.sampled_from(
    [LOST, SILENT, GARBAGE, CUT, unasked("421 Bye"), unasked("250 Ok"), unasked("550 5.1.1 No")]
)
usually_good = st.none() | st.none() | st.none() | answers
not_sent = st.sampled_from([CUT, unasked("421 Bye"), unasked("250 Ok")])


@st.composite
def scripts(draw: st.DrawFn) -> dict[str, Answer]:
    keys = ["MAIL", *NAMES, "DATA", "DOT", "RSET", *(f"DOT {name}" for name in NAMES)]
    script = {key: answer for key in keys if (answer := draw(usually_good)) is not None}
    if draw(st.booleans()) and (broke := draw(st.none() | not_sent)):
        script["BODY"] = broke
    if any(isinstance(script.get(f"DOT {name}"), NotSent) for name in NAMES):
        # The dot is sent or it is not: a wire answers so for all of them.
        script.update({f"DOT {name}": CUT for name in NAMES})
    return script


@given(scripts(), st.integers(1, 5), st.booleans())
def test_every_recipient_has_one_result_that_the_servers_words_bear_out(
    script: dict[str, Answer], count: int, lmtp: bool
) -> None:
    server = Server(script)
    transacted = server.run(*NAMES[:count], lmtp=lmtp)
    assert [status.recipient for status in transacted.statuses] == NAMES[:count]
    dots = server.verbs.count(".")
    for status in transacted.statuses:
        at_rcpt = server.said.get(status.recipient)
        if status.action is DELIVERED:
            assert dots == 1
            assert isinstance(status.reply, Reply)
            assert status.reply.is_success
        if status.action is FAILED:
            assert isinstance(status.reply, Reply)
            assert status.reply.is_permanent
            assert status.reply in server.said.values()
        if status.action is UNKNOWN:
            assert dots == 1
            assert transacted.must_close
        if status.stage is RCPT and status.individual:
            assert status.reply == at_rcpt or (isinstance(at_rcpt, NotSent) and status.reply == at_rcpt.reply)
        if isinstance(at_rcpt, Reply) and at_rcpt.is_permanent:
            assert (status.action, status.stage, status.reply, status.individual) == (FAILED, RCPT, at_rcpt, True)
    if transacted.ended:
        assert transacted.must_close
        assert "rset" not in server.verbs


def is_impossible(key: str, answer: Answer | None) -> bool:
    """Whether an answer makes those to its group worthless."""
    if not isinstance(answer, Reply) or answer.code in (221, 421):
        return False
    return answer.code < 354 if key == "DATA" else answer.code in (150, 354)


def speaks_early(answer: Answer | None) -> bool:
    """Whether an answer shows, behind a group, that one of those to it was nobody's."""
    return isinstance(answer, NotSent) and answer.reply is not None and answer.reply.code not in (221, 421)


@given(scripts(), st.integers(1, 5), st.integers(2, 7), st.booleans(), st.booleans())
def test_neither_the_size_of_the_groups_nor_chunks_change_a_result(
    script: dict[str, Answer], count: int, size: int, lmtp: bool, chunks: bool
) -> None:
    if chunks:  # without DATA nobody answers it
        script = {key: answer for key, answer in script.items() if key != "DATA"}
    assume(isinstance(reset := script.get("RSET", LOST), NoReply) or reset.code in (221, 250, 421))
    assume(not any(is_impossible(key, script.get(key)) for key in ("MAIL", "DATA", *NAMES)))
    behind_a_group = [*NAMES, "DATA", "RSET", *(["BODY", "DOT", *(f"DOT {name}" for name in NAMES)] if chunks else [])]
    assume(not any(speaks_early(script.get(key)) for key in behind_a_group))
    lock_step = Server(script).run(*NAMES[:count], lmtp=lmtp)
    grouped = Server(script).run(*NAMES[:count], lmtp=lmtp, group_size=size, chunks=chunks)
    assert grouped.statuses == lock_step.statuses
    assert grouped.ended == lock_step.ended
    assert grouped.must_close or not lock_step.must_close


# -- one reply too many


@pytest.mark.parametrize("early", [unasked("250 2.1.5 Ok"), unasked("550 5.1.1 No")])
def test_where_a_reply_is_left_behind_a_group_without_data_the_refusals_in_it_are_nobodys(early: Answer) -> None:
    transacted = Server({BOB: reply("550 5.1.1 No"), "BODY": early}).run(ADA, BOB, group_size=9, chunks=True)
    assert actions(transacted) == [DELAYED, DELAYED]
    assert (transacted.lost_replies, transacted.must_close) == (True, True)


def test_where_a_reply_is_left_behind_a_group_the_refusals_in_it_are_nobodys() -> None:
    transacted = Server({ADA: reply("550 5.1.1 No"), CY: unasked("250 2.1.5 Ok")}).run(ADA, BOB, CY, group_size=3)
    assert actions(transacted) == [DELAYED, DELAYED, DELAYED]
    assert transacted.lost_replies


def test_where_a_reply_is_left_behind_a_refused_chunk_the_refusal_may_be_that_of_a_recipient() -> None:
    server = Server({"DOT": reply("450 4.2.0 Later"), "RSET": unasked("250 2.0.0 Taken")})
    assert actions(server.run(ADA, group_size=9, chunks=True)) == [UNKNOWN]
    assert actions(Server(server.script).run(ADA, group_size=9)) == [DELAYED]


@pytest.mark.parametrize("left", [unasked("250 2.0.0 Ok"), unasked("550 5.1.1 No"), reply("550 5.1.1 No")])
def test_where_a_reply_is_left_behind_those_of_lmtp_nobody_knows_who_got_it(left: Answer) -> None:
    transacted = Server({f"DOT {BOB}": reply("550 5.1.1 No"), "RSET": left}).run(ADA, BOB, lmtp=True)
    assert actions(transacted) == [UNKNOWN, UNKNOWN]
    assert not any(status.individual for status in transacted.statuses)
    assert transacted.must_close


# -- statuses


def test_a_status_shows_code_enhanced_code_and_text_of_its_reply() -> None:
    status = RecipientStatus(recipient=ADA, action=FAILED, stage=RCPT, reply=reply("552 5.2.2 Full"))
    assert (status.code, str(status.enhanced), status.text) == (552, "5.2.2", "5.2.2 Full")


def test_without_an_enhanced_code_in_the_reply_that_of_the_bounce_holds() -> None:
    stated = EnhancedStatusCode(5, 1, 1)
    of_dsn = RecipientStatus(recipient=ADA, action=FAILED, stage=RCPT, status=stated)
    assert (of_dsn.code, of_dsn.enhanced, of_dsn.text) == (None, stated, "")
    bare = RecipientStatus(recipient=ADA, action=FAILED, stage=RCPT, reply=reply("550 No"), status=stated)
    assert bare.enhanced == stated
    better = RecipientStatus(recipient=ADA, action=FAILED, stage=RCPT, reply=reply("552 5.2.2 Full"), status=stated)
    assert better.enhanced == (5, 2, 2)


def test_without_a_reply_the_text_says_why() -> None:
    status = RecipientStatus(recipient=ADA, action=DELAYED, stage=DATA, reply=LOST)
    assert (status.code, status.enhanced, status.text) == (None, None, "cut")
