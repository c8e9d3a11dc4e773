"""How many lines `bouncekit classify --jsonl` answers in a second of CPU: `python -m tests.benchmarks.replylines`.

"Repeated": the same few hundred questions again and again. "To another recipient": each reply with an address of its
own in it. "New": with words that never came before. The corpus of public bounces is read where it lies beside the
checkout, else the replies of the tests' data.
"""

import io
import json
import resource
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import count, islice
from time import process_time

from bouncekit.cli.replylines import answer_lines
from bouncekit.outside.builtin import classifier
from bouncekit.postmaster.asking import status_of
from bouncekit.words.reply import Reply
from tests.test_classifier import CORPUS
from tests.test_field_replies import FIELD

_LINES = 50_000
_ENDS: dict[str, Callable[[int], str]] = {
    "repeated": lambda number: "",
    "to another recipient": lambda number: f" <user{number}@example.com>",
    "new": lambda number: f" q{number:x}z{number * 7919:x}",
}


class _Stream(io.RawIOBase):
    """Lines that are made when they are read."""

    def __init__(self, lines: Iterator[bytes]) -> None:
        self._lines = lines

    def read1(self, size: int) -> bytes:
        return b"".join(islice(self._lines, size // 150))


class _Nowhere(io.StringIO):
    def write(self, text: str) -> int:
        return len(text)


def main() -> None:
    replies = _replies()
    print(f"{len(replies)} replies, {len(classifier().rules)} rules, {_LINES} lines each")
    for name, end in _ENDS.items():
        lines = [*islice(_lines(replies, end), _LINES)]
        seconds = _timed(lambda lines=lines: _answer(lines))  # type: ignore[misc]
        print(f"{name:22}{_LINES / seconds:10,.0f} lines/s {seconds / _LINES * 1e6:8.1f} us")
    print("\nparts of a new line, us")
    lines = lines[:5000]
    texts = [json.loads(line)["reply"] for line in lines]
    statuses = [status_of(f"{text} again") for text in texts]
    for part, work in (
        ("JSON in", lambda: [json.loads(line) for line in lines]),
        ("Reply.parse", lambda: [Reply.parse(text) for text in texts]),
        ("status", lambda: [status_of(text) for text in texts]),
        ("classify", lambda: [classifier().classify(status) for status in statuses]),
    ):
        print(f"  {part:20}{_timed(work) / len(lines) * 1e6:8.1f}")
    before = _peak_kib()
    _answer(islice(_lines(replies, _ENDS["new"]), 10 * _LINES))
    print(f"\nmemory, peak: {before:,} KiB, after {10 * _LINES:,} lines more {_peak_kib():,} KiB")


def _replies() -> list[str]:
    if not CORPUS.exists():
        return [line["reply"] for line in FIELD]
    rows = map(json.loads, CORPUS.read_text("utf-8").splitlines())
    return [row["reply"] for row in rows if row["starts_at_code"]]


def _lines(replies: list[str], end: Callable[[int], str]) -> Iterator[bytes]:
    for number in count():
        asked = {"reply": replies[number % len(replies)] + end(number), "remote_mta": "mx.example.net", "id": number}
        yield json.dumps(asked).encode() + b"\n"


def _answer(lines: Iterable[bytes]) -> None:
    answer_lines(_Stream(iter(lines)), _Nowhere(), classifier())  # type: ignore[arg-type]  # it has read1


def _timed(work: Callable[[], object]) -> float:
    begun = process_time()
    work()
    return process_time() - begun


def _peak_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    sys.exit(main())
