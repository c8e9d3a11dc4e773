"""Replies: what is read, what is refused, and that nothing is invented (RFC 5321 4.2, RFC 2034, RFC 3463)."""

import json
import pickle
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bouncekit.words.reply import (
    MAX_LINE_BYTES,
    MAX_REPLY_BYTES,
    MAX_REPLY_LINES,
    Cause,
    EnhancedStatusCode,
    NoReply,
    Reply,
    ReplyReader,
)

DATA = Path(__file__).parent / "data" / "replies"
TRANSCRIPTS = Path(__file__).parents[1].parent / "shared" / "corpus" / "transcripts.jsonl"


def rows(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def read(*packets: bytes) -> list[Reply | NoReply]:
    """Every reply, as a connection reads them: packet by packet; the last one is what broke the stream, if it broke."""
    reader, answers = ReplyReader(), []
    for packet in packets:
        reader.feed(packet)
        while (answer := reader.next()) is not None:
            answers.append(answer)
            if isinstance(answer, NoReply):
                return answers
    return answers


def on_the_wire(code: int, text: str) -> bytes:
    *more, last = text.split("\n")
    return "".join([*(f"{code}-{line}\r\n" for line in more), f"{code} {last}\r\n"]).encode()


# -- what is read


@pytest.mark.parametrize("case", rows(DATA / "wire.jsonl"), ids=lambda case: case["case"])
def test_bytes_are_read_to_the_replies_that_they_are_or_to_none(case: dict[str, Any]) -> None:
    answers = read(case["bytes"].encode("latin-1"))
    if "broken" in case:
        broken = answers.pop()
        assert isinstance(broken, NoReply)
        assert broken.cause is Cause.PROTOCOL
        assert case["broken"] in broken.detail
    assert all(isinstance(answer, Reply) for answer in answers)
    assert [[answer.code, answer.enhanced and str(answer.enhanced), answer.text] for answer in answers] == case[
        "replies"
    ]


@pytest.mark.parametrize("case", rows(DATA / "wire.jsonl"), ids=lambda case: case["case"])
def test_bytes_that_come_one_by_one_are_the_same_replies(case: dict[str, Any]) -> None:
    data = case["bytes"].encode("latin-1")
    assert read(*(bytes([byte]) for byte in data)) == read(data)


@pytest.mark.parametrize(
    "row", rows(DATA / "servers.jsonl"), ids=lambda row: f"{row['server']} {row['code']} {row['enhanced'] or ''}"
)
def test_what_a_real_server_said_is_read_to_its_codes(row: dict[str, Any]) -> None:
    (reply,) = read(on_the_wire(row["code"], row["text"]))
    assert isinstance(reply, Reply)
    assert (reply.code, reply.enhanced and str(reply.enhanced)) == (row["code"], row["enhanced"])
    assert reply.text == row["text"]


@pytest.mark.skipif(not TRANSCRIPTS.exists(), reason="the transcripts are not here")
def test_every_reply_of_the_transcripts_is_read_to_its_codes() -> None:
    replies = [row for row in rows(TRANSCRIPTS) if isinstance(row["code"], int)]
    assert len(replies) > 1700
    for row in replies:
        (reply,) = read(on_the_wire(row["code"], row["text"]))
        assert isinstance(reply, Reply), row
        assert (reply.code, reply.enhanced and str(reply.enhanced)) == (row["code"], row["enhanced"]), row


code = st.integers(200, 599)
text = st.binary(max_size=80).map(lambda data: data.replace(b"\n", b"").replace(b"\r", b""))
lines = st.lists(text, min_size=1, max_size=5)


@st.composite
def wires(draw: st.DrawFn) -> bytes:
    """Replies, right ones and wrong ones, with the line ends that servers use."""
    wire = b""
    for _ in range(draw(st.integers(1, 4))):
        number, texts, end = draw(code), draw(lines), draw(st.sampled_from([b"\r\n", b"\n"]))
        for line in texts[:-1]:
            wire += b"%d-%b%b" % (number, line, end)
        wire += b"%d%b%b%b" % (number, draw(st.sampled_from([b" ", b" ", b" ", b"", b"-", b"x"])), texts[-1], end)
    return wire


def cuts(data: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in pairwise(edges)]


@given(wires(), st.lists(st.integers(0, 500), max_size=12))
def test_how_the_bytes_are_cut_into_packets_changes_nothing(data: bytes, places: list[int]) -> None:
    assert read(*cuts(data, places)) == read(data)
    assert read(*(bytes([byte]) for byte in data)) == read(data)


@given(code, lines)
def test_a_reply_is_its_code_and_its_texts(number: int, texts: list[bytes]) -> None:
    wire = b"".join(b"%d-%b\r\n" % (number, line) for line in texts[:-1]) + b"%d %b\r\n" % (number, texts[-1])
    assert read(wire) == [Reply(number, b"\n".join(line.strip(b" \t") for line in texts))]


@given(st.binary(max_size=300))
def test_no_bytes_at_all_raise_or_give_a_code_that_was_not_there(data: bytes) -> None:
    for answer in read(data):
        assert isinstance(answer, NoReply) or str(answer.code).encode() in data
        assert str(answer)


# -- what is bounded


@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
@pytest.mark.parametrize("in_packets", [False, True])
def test_a_line_of_64_kib_is_read_and_one_byte_more_is_not(*, end: bytes, in_packets: bool) -> None:
    for spare, kind in ((0, Reply), (1, NoReply)):
        line = b"250 " + b"x" * (MAX_LINE_BYTES - 4 + spare)
        packets = [line, *(bytes([byte]) for byte in end)] if in_packets else [line + end]
        (answer,) = read(*packets)
        assert isinstance(answer, kind)


def test_a_line_that_never_ends_breaks_the_stream_and_is_let_go() -> None:
    reader, fed = ReplyReader(), 0
    while reader.next() is None:
        reader.feed(b"x" * 1000)
        fed += 1000
    assert fed < MAX_LINE_BYTES + 2000
    assert isinstance(answer := reader.next(), NoReply)
    assert (answer.cause, answer.detail) == (Cause.PROTOCOL, "a line over 65536 bytes")


def test_a_reply_of_256_kib_is_read_and_a_longer_one_is_not() -> None:
    line = b"x" * (MAX_REPLY_BYTES // 4 - 4)
    whole = (b"250-" + line + b"\r\n") * 3
    assert isinstance(read(whole + b"250 " + line + b"\r\n")[0], Reply)
    (answer,) = read(whole + b"250-" + line + b"\r\n250 \r\n")
    assert isinstance(answer, NoReply)
    assert answer.detail == "a reply over 262144 bytes"


def test_a_reply_of_512_lines_is_read_and_a_longer_one_is_not() -> None:
    assert isinstance(read(b"250-x\r\n" * (MAX_REPLY_LINES - 1) + b"250 x\r\n")[0], Reply)
    (answer,) = read(b"250-x\r\n" * MAX_REPLY_LINES + b"250 x\r\n")
    assert isinstance(answer, NoReply)
    assert answer.detail == "a reply over 512 lines"


def test_a_long_reply_does_not_shorten_the_next_one() -> None:
    line = b"x" * 400 + b"\r\n"
    reply = (b"250-" + line) * (MAX_REPLY_LINES - 1) + b"250 " + line
    assert all(isinstance(answer, Reply) for answer in read(reply * 3))


# -- what breaks stays broken


def test_once_the_stream_is_no_smtp_nothing_more_is_read_from_it() -> None:
    reader = ReplyReader()
    reader.feed(b"hello\r\n250 2.0.0 Ok\r\n")
    first = reader.next()
    reader.feed(b"250 2.0.0 Ok\r\n")
    assert reader.next() is first
    assert isinstance(first, NoReply)
    assert not reader.is_clean


def test_what_breaks_the_stream_is_quoted_short_and_in_ascii() -> None:
    (answer,) = read(b"\x1b[31m\xff" + b"x" * 1000 + b"\r\n")
    assert answer.text.isascii()
    assert answer.text.isprintable()
    assert len(answer.text) < 120


@pytest.mark.parametrize("left", [b"2", b"250-a\r\n", b"250 b\r\n"])
def test_bytes_that_nobody_asked_for_are_seen(left: bytes) -> None:
    reader = ReplyReader()
    assert reader.is_clean
    reader.feed(b"250 a\r\n" + left)
    reader.next()
    assert not reader.is_clean


def test_after_a_whole_reply_the_reader_is_clean() -> None:
    reader = ReplyReader()
    reader.feed(b"250-a\r\n250 b\r\n")
    assert not reader.is_clean
    reader.next()
    assert reader.is_clean


# -- what people write


@pytest.mark.parametrize(
    ("written", "reply"),
    [
        ("552 5.2.2 full", Reply(552, b"5.2.2 full")),
        ("  552 5.2.2 full\r\n", Reply(552, b"5.2.2 full")),
        ("550: no", Reply(550, b"no")),
        ("550", Reply(550, b"")),
        ('"550 no', Reply(550, b"no")),
        ("550-5.7.1 a\r\n550 5.7.1 b", Reply(550, b"5.7.1 a\n5.7.1 b")),
        ("550 5.7.1 a\n  and b", Reply(550, b"5.7.1 a\nand b")),
        ("550 a\n551 b", Reply(550, b"a\n551 b")),
        ("550 M\u00fcller \udcff", Reply(550, b"M\xc3\xbcller \xff")),
        ("550 \ud800", Reply(550, b"\xed\xa0\x80")),
    ],
)
def test_a_reply_is_taken_from_logs_and_letters(written: str, reply: Reply) -> None:
    assert Reply.parse(written) == reply
    reply.text.encode()  # no surrogate is left to hurt whoever writes it out


@pytest.mark.parametrize(
    "written", ["", "\n", "no", "5500 no", "55", "650 no", "050 no", "5\u0665\u0662 no", "no 550 no"]
)
def test_what_does_not_start_with_a_code_is_refused_with_an_example(written: str) -> None:
    with pytest.raises(ValueError, match="does not start with a reply code; one looks like"):
        Reply.parse(written)


@given(st.text())
def test_any_text_is_a_reply_or_a_value_error(written: str) -> None:
    try:
        reply = Reply.parse(written)
    except ValueError:
        return
    assert 100 <= reply.code < 600
    assert str(reply).startswith(str(reply.code))


# -- codes


@pytest.mark.parametrize("written", ["5.2.2", " 4.0.0 ", "2.999.999"])
def test_an_enhanced_code_is_written_as_it_was_read(written: str) -> None:
    assert str(EnhancedStatusCode.parse(written)) == written.strip()


@pytest.mark.parametrize("written", ["", "5.2", "3.0.0", "5.2.2.2", "5.2.1000", "x5.2.2", "5.2.2\n5.2.2", "5.\u0662.2"])
def test_what_is_no_enhanced_code_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match="no enhanced status code"):
        EnhancedStatusCode.parse(written)


@pytest.mark.parametrize(
    ("number", "claims"),
    [
        (250, (True, False, False)),
        (354, (False, False, False)),
        (452, (False, True, False)),
        (552, (False, False, True)),
    ],
)
def test_the_first_digit_says_the_class(number: int, claims: tuple[bool, bool, bool]) -> None:
    reply = Reply(number, b"")
    assert (reply.is_success, reply.is_temporary, reply.is_permanent) == claims


def test_a_hostile_text_costs_no_more_than_its_length() -> None:
    """Each of these is quadratic in a careless pattern: 256 KiB of it would then take minutes, not the time limit."""
    for part in (b"(#5.1.1 - ", b"(", b"- ", b"550 ", b"550 - ", b"(5.1.1) "):
        assert Reply(550, part * (MAX_REPLY_BYTES // len(part))).enhanced in (None, (5, 1, 1))


def test_replies_and_their_absence_can_be_pickled() -> None:
    for answer in (Reply(552, b"5.2.2 \xff"), NoReply(Cause.UNSOLICITED, "early", Reply(421, b"bye"))):
        assert pickle.loads(pickle.dumps(answer)) == answer


def test_no_reply_tells_its_cause() -> None:
    assert str(NoReply(Cause.LOST)) == "no reply (lost)"
    assert str(NoReply(Cause.TLS, "no certificate")) == "no reply (tls: no certificate)"


# -- all that came at once


said = st.sampled_from(
    (b"250 Ok", b"250", b"354 Go", b"550 5.1.1 No", b"421 Bye", b"250-a", b"25", b"250\tx", b"250 \xff")
)
endings = st.sampled_from((b"\r\n", b"\n", b""))


@given(came=st.lists(st.lists(st.tuples(said, endings), max_size=4), max_size=3), count=st.integers(1, 4))
def test_what_is_taken_at_once_is_what_is_read_line_by_line(came: list[list[tuple[bytes, bytes]]], count: int) -> None:
    reader = ReplyReader()
    for packet in came:
        data = b"".join(line + end for line, end in packet)
        taken = reader.take(data, count)
        if taken is None:
            assert reader.is_clean
            continue
        assert taken == read(data)
        assert len(taken) == count


def test_nothing_is_taken_while_something_lies_there() -> None:
    reader = ReplyReader()
    reader.feed(b"250 O")
    assert reader.take(b"k\r\n", 1) is None
    assert reader.take(b"250 Ok\r\n", 1) is None
    reader.feed(b"k\r\n")
    assert reader.next() == Reply(250, b"Ok")


def test_two_refusals_that_read_the_same_are_two() -> None:
    refusals = ReplyReader().take(b"550 No\r\n550 No\r\n", 2)
    assert refusals is not None
    assert refusals[0] is not refusals[1]


@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
def test_a_line_that_was_read_before_is_no_whole_one_without_its_end(end: bytes) -> None:
    reader = ReplyReader()
    assert reader.take(b"250 Ok" + end, 1) == [Reply(250, b"Ok")]
    assert reader.take(b"250 Ok" + end[:-1], 1) is None
    assert reader.is_clean
