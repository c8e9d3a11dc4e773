"""Replies as JSON lines: whatever comes, each line has its answer, at once, and nothing piles up."""

import io
import json
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bouncekit.cli.replylines import answer_lines
from bouncekit.outside.builtin import classifier

from .conftest import ROOT

FULL = "552 5.2.2 Mailbox full"
MORE = st.dictionaries(
    st.text(max_size=9).filter(lambda key: key not in {"stage", "remote_mta", "provider", "enhanced", "accepted"}),
    st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(), st.lists),
    max_size=4,
)


class Pieces(io.RawIOBase):
    """A pipe from which so much comes at a time."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self.pieces = iter(pieces)

    def read1(self, size: int) -> bytes:
        return next(self.pieces, b"")


def answers(*pieces: bytes) -> tuple[int, list[str]]:
    out = io.StringIO()
    code = answer_lines(Pieces(pieces), out, classifier())  # type: ignore[arg-type]  # read1 is all that is asked of it
    return code, out.getvalue().splitlines()


@settings(max_examples=40)
@given(MORE, st.booleans())
def test_what_a_line_holds_comes_back_as_it_was(more: dict[str, object], ascii_only: bool) -> None:
    asked = {**more, "reply": FULL, "individual": True}
    said = json.loads(answers(json.dumps({"reply": FULL}).encode())[1][0]).keys() - {"reply"}  # what the verdict fills
    code, (line,) = answers(json.dumps(asked, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass"))
    answer = json.loads(line)
    assert code == 0
    assert line.isascii()
    assert line.isprintable()
    assert {key: answer[key] for key in asked if key not in said} == {
        key: value for key, value in asked.items() if key not in said
    }
    assert answer["category"] == "mailbox_full"


@pytest.mark.parametrize("spaces", ["", " ", "\t", "\r"])
def test_a_line_is_answered_alike_however_it_is_written(spaces: str) -> None:
    line = f'{spaces}{{{spaces}"reply":{spaces}"{FULL}"{spaces}}}{spaces}'
    code, (answer,) = answers(line.encode() + b"\n")
    assert (code, json.loads(answer)["rule"]) == (
        0,
        json.loads(answers(json.dumps({"reply": FULL}).encode())[1][0])["rule"],
    )


@pytest.mark.parametrize("key", ["category", "scope", "where", "wait_hint"])
def test_an_answer_that_a_line_brings_is_replaced_and_not_repeated(key: str) -> None:
    (line,) = answers(json.dumps({"reply": FULL, key: "old"}).encode())[1]
    assert line.count(f'"{key}"') == 1
    assert json.loads(line)[key] != "old"


def test_one_and_true_are_not_taken_for_each_other() -> None:
    asked = [{"reply": FULL, "accepted": 1}, {"reply": FULL, "accepted": True}, {"reply": FULL, "individual": True}]
    asked += [{"reply": FULL, "individual": 1}, {"reply": FULL, "stage": ["RCPT"]}]
    code, lines = answers("\n".join(map(json.dumps, asked)).encode())
    assert code == 1
    assert ["error" in json.loads(line) for line in lines] == [False, True, False, True, True]


@settings(max_examples=40)
@given(st.lists(st.integers(1, 40), max_size=30))
def test_lines_may_come_in_any_pieces(sizes: list[int]) -> None:
    whole = b"\xef\xbb\xbf" + b"".join(b'{"reply": "%s", "n": %d}\n\n' % (FULL.encode(), n) for n in range(5)) + b"{}"
    pieces, rest = [], io.BytesIO(whole)
    pieces = [piece for size in sizes if (piece := rest.read(size))] or [rest.read(3)]
    code, lines = answers(*pieces, *([more] if (more := rest.read()) else []))
    assert code == 1
    assert [json.loads(line).get("n") for line in lines] == [0, 1, 2, 3, 4, None]
    assert json.loads(lines[-1])["line"] == 11


@pytest.mark.parametrize("last", [b"", b'{"reply": "552 5.2.2 x"}'])
def test_a_line_without_an_end_is_one_error_and_is_not_kept(last: bytes) -> None:
    def endless() -> Iterator[bytes]:
        yield b'{"reply": "552 5.2.2 x"}\n'
        yield from [b"x" * 65536] * 100
        yield b"\n" * bool(last) + last

    tracemalloc.start()
    code, lines = answers(*endless())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert code == 1
    found = [json.loads(line) for line in lines]
    assert found[1] == {"error": "a line over 1048576 bytes", "line": 2}
    assert len(found) == 2 + bool(last)
    assert peak < 16_000_000


def test_memory_does_not_grow_with_the_number_of_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ever new questions, of which every third is too long to be remembered."""
    monkeypatch.setattr("bouncekit.cli.replylines._MEMORY", 100)

    class Nowhere(io.StringIO):
        def write(self, text: str) -> int:
            return len(text)

    def asked(count: int) -> Iterator[bytes]:
        for n in range(count):
            yield b'{"reply": "550 5.1.1 No such user", "remote_mta": "%d %s"}\n' % (n, b"x" * (1 + n % 3) * 900)

    def peak(count: int) -> int:
        tracemalloc.start()
        answer_lines(Pieces(asked(count)), Nowhere(), classifier())  # type: ignore[arg-type]
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    few = peak(1500)
    assert peak(6000) < few + 500_000  # of seven million bytes


def test_whoever_waits_for_an_answer_before_the_next_question_gets_it(folder: Path) -> None:
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "bouncekit", "classify", "--jsonl"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, env=environ, cwd=folder, **pipes) as process:  # type: ignore[call-overload]
        for n in range(3):
            process.stdin.write(b'{"reply": "552 5.2.2 Mailbox full", "n": %d}\n' % n)
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["n"] == n
        process.stdin.close()
        assert process.wait(30) == 0
