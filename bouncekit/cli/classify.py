"""`bouncekit classify`: what replies mean, one by one or as JSON lines."""

import json
import os
import stat
import sys
from collections.abc import Iterator, Mapping
from typing import IO, Any, TypeAlias

import click

from bouncekit.asking import status_of
from bouncekit.classification import Category, Classification
from bouncekit.cli.output import progress, show_json, show_table
from bouncekit.cli.settings import json_option

__all__ = ["verb"]

_MAX_LINE_BYTES = 1024 * 1024  # a reply has at most 256 KiB; JSON may escape each byte of it
_TEXTS = ("reply", "stage", "remote_mta", "provider", "enhanced")

_AGREED, _NO_REFUSAL = ("2", "3"), "no refusal, so nothing that a category is for"
_YES_OR_NO = {True: "yes", False: "no"}

Asked: TypeAlias = dict[str, Any]


@click.command()
@click.argument("words", metavar="[REPLY]", nargs=-1)
@click.option("--stage", default="RCPT", show_default=True, help="The command that was answered: MAIL, END_OF_DATA ...")
@click.option(
    "--accepted", type=click.IntRange(min=0), help="Recipients accepted before it, where somebody has counted."
)
@click.option("--remote-mta", metavar="HOST", help="The host that replied.")
@click.option("--provider", metavar="NAME", help="Whose dialect it is, where that is known.")
@click.option("--jsonl", is_flag=True, help="Read JSON lines from standard input.")
@json_option("one JSON document (with --jsonl it is lines anyway)")
def verb(words: tuple[str, ...], jsonl: bool, as_json: bool, **given: Any) -> int:
    """Say what a reply means and whose fault it is.

    \b
    bouncekit classify "552 5.2.2 Mailbox full"
    bouncekit classify "552 Too much mail data" --stage END_OF_DATA
    bouncekit classify --jsonl < replies.jsonl

    With --jsonl every line of standard input is an object with "reply" and, where known, "stage", "remote_mta",
    "accepted", "individual", "enhanced", "provider"; what else it holds comes back untouched. A line that cannot be
    read gives an "error" with its number "line", and exit code 1 at the end.
    """
    if jsonl is bool(words):
        raise click.UsageError("give one reply, or --jsonl and lines on standard input")
    if jsonl:
        return _all_of(sys.stdin.buffer, sys.stdout)
    reply = " ".join(words)  # quotes are not needed
    try:
        answer = {"reply": reply} | given | _classified({"reply": reply, **given})
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    if as_json:
        show_json(answer)
    else:
        show_table(("", ""), _told(answer))
    return 0


def _all_of(lines: IO[bytes], out: IO[str]) -> int:
    """Answer every line; 1 if one of them could not be."""
    code = 0
    asking = progress(_bounded(lines), "replies", length=_size(lines), size=lambda line: len(line or b""), prints=True)
    for number, line in enumerate(asking, 1):
        if line is not None and not line.strip():
            continue
        try:
            asked = _asked(line)
            answer = asked | _classified(asked)
        except (ValueError, RecursionError) as error:
            answer, code = {"error": str(error)[:500], "line": number}, 1
        out.write(json.dumps(answer) + "\n")
    return code


def _size(lines: IO[bytes]) -> int | None:
    """The bytes of a file; None where something else, like a pipe, is read."""
    try:
        found = os.fstat(lines.fileno())
    except OSError:
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def _bounded(lines: IO[bytes]) -> Iterator[bytes | None]:
    """The lines; None for one that is too long, whatever its length."""
    while line := lines.readline(_MAX_LINE_BYTES):
        if line.endswith(b"\n") or len(line) < _MAX_LINE_BYTES:
            yield line
            continue
        while (rest := lines.readline(_MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
            pass
        yield None


def _asked(line: bytes | None) -> Asked:
    if line is None:
        raise ValueError(f"a line over {_MAX_LINE_BYTES} bytes")
    try:
        asked = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"no JSON: {error.msg} at column {error.colno}") from error
    if not isinstance(asked, dict):
        raise ValueError('a line is an object, such as {"reply": "552 5.2.2 Mailbox full", "stage": "RCPT"}')
    return asked


def _classified(asked: Mapping[str, Any]) -> Asked:
    """The verdict on one question, as JSON-ready values."""
    from bouncekit.builtin import classifier

    for key in _TEXTS:
        if not isinstance(asked.get(key, ""), str | None):
            raise ValueError(f"{key}: a text is needed")
    accepted, individual = asked.get("accepted"), asked.get("individual")
    if accepted is not None and (type(accepted) is not int or accepted < 0):
        raise ValueError("accepted: a whole number from 0 is needed")
    if not isinstance(individual, bool | None):
        raise ValueError("individual: true or false is needed")
    status = status_of(
        asked.get("reply") or "",
        stage=asked.get("stage") or "RCPT",
        accepted=accepted,
        individual=individual,
        remote_mta=asked.get("remote_mta"),
        enhanced=asked.get("enhanced"),
    )
    return _verdict(classifier().classify(status, provider=asked.get("provider")))


def _verdict(verdict: Classification) -> Asked:
    return {
        "category": verdict.category.value,
        "scope": verdict.scope.value if verdict.scope else None,
        "permanent": verdict.permanent,
        "certain": verdict.certain,
        "rule": verdict.rule,
        "where": verdict.where,
        "step": verdict.step.value,
        "blocklist": verdict.blocklist,
        "wait_hint": verdict.wait_hint.total_seconds() if verdict.wait_hint else None,
    }


def _told(answer: Asked) -> Iterator[tuple[str, object]]:
    """The answer for people: what is known of it, and the category in words."""
    from bouncekit.notify.wording import wording_of

    for name, value in answer.items():
        if value is not None:
            yield name.replace("_", " "), _in_words(name, value)
        if name == "category":
            agreed = answer["reply"].startswith(_AGREED)
            yield "which means", _NO_REFUSAL if agreed else wording_of(Category(value)).because


def _in_words(name: str, value: object) -> object:
    if isinstance(value, bool):
        return _YES_OR_NO[value]
    return f"{value:g} seconds" if name == "wait_hint" else value
