"""Replies as JSON lines: one in, one out with what it means, as many as there are, in constant memory."""

import codecs
import json
import os
import stat
import string
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from itertools import count
from typing import IO, Any, TypeAlias

from bouncekit.cli.cards import verdict_data
from bouncekit.cli.output import progress
from bouncekit.meaning.classifier import Classifier
from bouncekit.postmaster.asking import judged, status_of
from bouncekit.words.status import RecipientStatus

__all__ = ["answer_lines", "meaning_of"]

_MAX_LINE_BYTES = 1024 * 1024  # a reply has at most 256 KiB; JSON may escape each byte of it
_CHUNK_BYTES = 64 * 1024
_MAX_ERROR = 500
_MEMORY = 4096  # answers that are remembered, each to a line of at most
_SHORT_BYTES = 2048

_BEFORE = string.whitespace + string.punctuation  # what may stand before a code

_TEXTS = ("reply", "stage", "remote_mta", "provider", "enhanced")
_SAID = frozenset("read_as read_at category scope permanent certain rule where step blocklist wait_hint".split())

Answer: TypeAlias = dict[str, Any]


def answer_lines(lines: IO[bytes], out: IO[str], classifier: Classifier) -> int:
    """Answer every line as soon as it is there; 1 if one of them could not be.

    A line is an object with "reply" and, where known, "stage", "remote_mta", "provider", "enhanced", "accepted" and
    "individual". It comes back with its meaning, or is replaced by an object with "error" and its number "line".
    """
    answer = partial(_meaning_as_text, classifier)
    answers = answer, lru_cache(maxsize=_MEMORY)(answer)
    numbers, code = count(1), 0
    for batch in progress(_batches(lines), "replies", length=_size(lines), size=_length, prints=True):
        for line, number in zip(batch, numbers, strict=False):
            try:
                if line is None or line.strip():
                    out.write(_answered(line, *answers))
            except (ValueError, RecursionError) as error:
                out.write(json.dumps({"error": str(error)[:_MAX_ERROR], "line": number}) + "\n")
                code = 1
        out.flush()
    return code


def meaning_of(
    classifier: Classifier,
    reply: str,
    stage: str | None = None,
    remote_mta: str | None = None,
    provider: str | None = None,
    enhanced: str | None = None,
    accepted: int | None = None,
    individual: bool | None = None,
) -> Answer:
    """What a reply means, as JSON takes it; `read_as` and `read_at` are there where a text only quotes one.

    Raises:
        ValueError: there is neither a word nor a code in the text, or no such stage or enhanced code.
    """
    status = status_of(
        reply,
        stage=stage or None,
        accepted=accepted,
        individual=individual,
        remote_mta=remote_mta,
        enhanced=enhanced,
    )
    verdict = judged(status, classifier, provider=provider)
    meaning = {
        **verdict_data(verdict),
        "step": verdict.step.value,
        "blocklist": verdict.blocklist,
        "wait_hint": verdict.wait_hint.total_seconds() if verdict.wait_hint else None,
    }
    if _starts(reply, status):
        return meaning
    return {"read_as": _read_as(status), "read_at": status.stage.value} | meaning


def _starts(reply: str, status: RecipientStatus) -> bool:
    """Whether a text starts with its reply, so that nothing had to be looked for."""
    code = str(status.code)
    return reply[:3] == code or reply.lstrip(_BEFORE)[:3] == code


def _read_as(status: RecipientStatus) -> str:
    """The reply that a text quotes, or that it quotes none, and what it has instead."""
    if status.reply is not None:
        return str(status.reply)
    return f"no reply ({status.status})" if status.status else "no reply"


# -- one line


def _answered(line: bytes | None, answer: Callable[..., str], remembered: Callable[..., str]) -> str:
    """A line with its answer behind what it says; where nothing can go wrong by it, as it was written."""
    if line is None:
        raise ValueError(f"a line over {_MAX_LINE_BYTES} bytes")
    text = line.removeprefix(codecs.BOM_UTF8).decode("utf-8", "surrogatepass")
    asked = _asked(text)
    said = (remembered if len(line) <= _SHORT_BYTES else answer)(*_question(asked))
    text = text.strip()
    if not (text.isascii() and text.isprintable() and _SAID.isdisjoint(asked)):
        text = json.dumps({key: value for key, value in asked.items() if key not in _SAID})
    return f"{text[:-1]}, {said}\n"


def _asked(text: str) -> Answer:
    try:
        asked = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"no JSON: {error.msg} at column {error.colno}") from error
    if not isinstance(asked, dict):
        raise ValueError('a line is an object, such as {"reply": "552 5.2.2 Mailbox full", "stage": "RCPT"}')
    return asked


def _question(asked: Answer) -> Sequence[object]:
    """What the meaning depends on; nothing else is in it that could be remembered for it."""
    texts = [asked.get(key) for key in _TEXTS]
    for key, value in zip(_TEXTS, texts, strict=True):
        if not isinstance(value, str | None):
            raise ValueError(f"{key}: a text is needed")
    accepted, individual = asked.get("accepted"), asked.get("individual")
    if accepted is not None and (type(accepted) is not int or accepted < 0):
        raise ValueError("accepted: a whole number from 0 is needed")
    if not isinstance(individual, bool | None):
        raise ValueError("individual: true or false is needed")
    return texts[0] or "", *texts[1:], accepted, individual


def _meaning_as_text(classifier: Classifier, *question: Any) -> str:
    """The end of an object, behind what the line says itself."""
    return _as_text(*meaning_of(classifier, *question).items())


@lru_cache(maxsize=1024)
def _as_text(*meaning: tuple[str, object]) -> str:
    return json.dumps(dict(meaning))[1:]


# -- many lines


def _batches(lines: IO[bytes]) -> Iterator[list[bytes | None]]:
    """All whole lines that are there, again and again; None for one that is too long, whatever its length."""
    begun, is_too_long = b"", False
    while chunk := _read(lines):
        whole: list[bytes | None] = [*(begun + chunk).split(b"\n")]
        begun = whole.pop() or b""
        if whole and is_too_long:
            whole[0], is_too_long = None, False
        if is_too_long or len(begun) > _MAX_LINE_BYTES:
            begun, is_too_long = b"", True
        yield [line if line is not None and len(line) <= _MAX_LINE_BYTES else None for line in whole]
    if begun or is_too_long:
        yield [None if is_too_long else begun]


def _read(lines: IO[bytes]) -> bytes:
    """What is there, and not more: whoever waits for an answer before the next question gets it."""
    read: Callable[[int], bytes] = lines.read1  # type: ignore[attr-defined]  # IO has none; every binary stream does
    return read(_CHUNK_BYTES)


def _size(lines: IO[bytes]) -> int | None:
    """The bytes of a file; None where something else, like a pipe, is read."""
    try:
        found = os.fstat(lines.fileno())
    except OSError:
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def _length(batch: Sequence[bytes | None]) -> int:
    return sum(len(line or b"") + 1 for line in batch)
