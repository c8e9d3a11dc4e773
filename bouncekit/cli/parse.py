"""`bouncekit parse`: what bounce mails say, a line a recipient."""

import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple, TypeAlias

import click

from bouncekit.cli.output import YES_OR_NO, progress, show_json, show_table
from bouncekit.cli.settings import complete_policy, json_option
from bouncekit.intake.absorbing import MAX_MAIL_BYTES

if TYPE_CHECKING:
    from bouncekit.bounces.bouncemail import SecondReader
    from bouncekit.bounces.incoming import Incoming, Reported
    from bouncekit.meaning.classification import Classification
    from bouncekit.policy.policy import Policy

__all__ = ["verb"]

_MAX_LINE_BYTES = 64 * 1024
_MBOX = b"From "
_HIDDEN = (".", "tmp")  # of a maildir, what is still being written
_COLUMNS = ("file", "recipient", "action", "status", "reply_code", "category", "scope", "permanent", "rule")
_POLICY_COLUMNS = ("do", "decided_by", "suppress")
_HEADS = {"reply_code": "code", "permanent": "final", "decided_by": "policy rule"}

Line: TypeAlias = dict[str, Any]


class _Mail(NamedTuple):
    """One mail and where it lies; `error` says why it could not be read."""

    name: str
    content: bytes = b""
    error: str | None = None


@click.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path())
@click.option("--jsonl", is_flag=True, help="Print JSON lines, one a recipient.")
@click.option("--policy", metavar="NAME|FILE", shell_complete=complete_policy, help="Say what a policy would do, too.")
@json_option("the same as --jsonl")
def verb(files: tuple[str, ...], jsonl: bool, as_json: bool, policy: str | None) -> int:
    """Say what bounce mails, complaints and automatic replies mean, a line a recipient.

    \b
    bouncekit parse bounce.eml
    bouncekit parse ~/Maildir/new mails.mbox --jsonl
    bouncekit parse - --policy transactional < bounce.eml

    A file is a mail or an mbox, a folder holds mails (a maildir, too), - is standard input. A mail that is no bounce
    has one line, whose action is empty. Exit code 1 if a file could not be read.
    """
    from bouncekit.outside.builtin import open_policy
    from bouncekit.outside.secondreader import second_reader

    opened, reader = open_policy(policy) if policy else None, second_reader()
    as_lines = jsonl or as_json
    failed = False
    shown: list[Line] = []
    for mail in progress(_mails(files), "mails", prints=True):
        failed |= mail.error is not None
        for line in _lines(mail, reader, opened):
            if as_lines:
                show_json(line)
            else:
                shown.append(line)
    if not as_lines:
        _show(shown, _COLUMNS + (_POLICY_COLUMNS if opened else ()))
    return int(failed)


def _lines(mail: _Mail, reader: "SecondReader | None", policy: "Policy | None") -> Iterator[Line]:
    """The lines of one mail, at least one."""
    from bouncekit.bounces.bouncemail import read_mail
    from bouncekit.bounces.incoming import statuses
    from bouncekit.outside.builtin import classifier, classifier_with

    if mail.error is not None:
        yield {"file": mail.name, "error": mail.error}
        return
    incoming = read_mail(mail.content, second_reader=reader)
    judge = classifier_with(policy.meaning) if policy else classifier()
    verdicts = [judge.classify(status) for status in statuses(incoming)]
    if not verdicts:
        reported = incoming.recipients[0] if incoming.recipients else None
        yield _line(mail, incoming, reported) | _kind_of(incoming) | (_decided(policy, None) if policy else {})
    for reported, verdict in zip(incoming.recipients if verdicts else (), verdicts, strict=True):
        judged = verdict if _is_judged(reported) else None
        yield (_line(mail, incoming, reported) | _meaning(judged) | (_decided(policy, judged) if policy else {}))


def _line(mail: _Mail, incoming: "Incoming", reported: "Reported | None") -> Line:
    """What the mail says of one recipient; the meaning comes behind it."""
    from bouncekit.words.reply import Reply

    reply = reported.reply if reported else None
    code = reply.code if isinstance(reply, Reply) else None
    status = (reply.enhanced if isinstance(reply, Reply) else None) or (reported.status if reported else None)
    return {
        "file": mail.name,
        "recipient": reported.recipient if reported else None,
        "action": reported.action.value if reported and reported.action else None,
        "status": str(status) if status else None,
        "reply_code": str(code) if code else None,
        "category": None,
        "scope": None,
        "permanent": None,
        "rule": None,
        "kind": incoming.kind.value,
        "final_recipient": reported.final_recipient if reported else None,
        "original_recipient": reported.original_recipient if reported else None,
        "stage": reported.stage.value if reported and reported.stage else None,
        "diagnostic": (str(reply) if isinstance(reply, Reply) else reported.diagnostic) if reported else "",
        "remote_mta": reported.remote_mta if reported else None,
        "message_id": incoming.message_id,
        "envelope_id": incoming.envelope_id,
        "reader": incoming.reader,
    }


def _is_judged(reported: "Reported") -> bool:
    from bouncekit.words.status import Action

    return reported.action in (Action.FAILED, Action.DELAYED)


def _kind_of(incoming: "Incoming") -> Line:
    """The category of a mail that reports no recipient's failure; of a bounce that names nobody, nothing is known."""
    from bouncekit.bounces.incoming import Kind
    from bouncekit.meaning.classification import Category, scope_of

    action = {Kind.BOUNCE: "failed", Kind.DELAY: "delayed"}.get(incoming.kind)
    known = {
        Kind.COMPLAINT: Category.COMPLAINT,
        Kind.AUTO_REPLY: Category.AUTO_REPLY,
        Kind.CHALLENGE: Category.AUTO_REPLY,
        Kind.DISPOSITION: Category.AUTO_REPLY,
    }
    category = known.get(incoming.kind, Category.UNKNOWN)
    scope = scope_of(category)
    return {"action": action, "category": category.value, "scope": scope.value if scope else None}


def _meaning(verdict: "Classification | None") -> Line:
    if verdict is None:
        return {}
    return {
        "category": verdict.category.value,
        "scope": verdict.scope.value if verdict.scope else None,
        "permanent": verdict.permanent,
        "rule": verdict.rule,
    }


def _decided(policy: "Policy", verdict: "Classification | None") -> Line:
    """What the policy would do where a server has given up; one that still tries is waited for."""
    from bouncekit.policy.rule import Circumstances
    from bouncekit.words.address import parse_address
    from bouncekit.words.envelope import Recipient
    from bouncekit.words.status import Action

    nothing: Line = dict.fromkeys(_POLICY_COLUMNS)
    if verdict is None:
        return nothing
    if verdict.status.action is Action.DELAYED:
        return nothing | {"do": "wait"}
    now = datetime.now(UTC)
    given_up = now - policy.message_class(None).deadline  # so that no rule asks for another try
    recipient = replace(Recipient.of(parse_address(verdict.status.recipient)), attempts=1, first_attempt_at=given_up)
    counters = dict.fromkeys(policy.counters(verdict), 0)
    decided = policy.decide(verdict, recipient, Circumstances(now=now, counters=counters))
    return {
        "do": decided.fate.value if decided.fate else None,
        "decided_by": decided.rule,
        "suppress": decided.ladder.name if decided.ladder else None,
    }


def _show(lines: list[Line], columns: tuple[str, ...]) -> None:
    """A table, and a line for each file that could not be read."""
    rows = [line for line in lines if "error" not in line]
    if rows:
        heads = [_HEADS.get(column, column) for column in columns]
        show_table(heads, [[_in_words(line[column]) for column in columns] for line in rows])
    for line in lines:
        if "error" in line:
            click.echo(f"bouncekit: error: {line['file']}: {line['error']}", err=True)


def _in_words(value: object) -> object:
    return YES_OR_NO[value] if isinstance(value, bool) else value


def _mails(files: Iterable[str]) -> Iterator[_Mail]:
    """Every mail of the files and folders, in the order of their names."""
    for name in files:
        if name == "-":
            yield from _mails_of(sys.stdin.buffer, "-")
            continue
        for path in _below(Path(name)):
            try:
                with path.open("rb") as file:
                    yield from _mails_of(file, str(path))
            except OSError as error:
                yield _Mail(str(path), error=error.strerror or str(error))


def _below(path: Path) -> Iterator[Path]:
    """The file, or every file in a folder and the folders in it."""
    if not path.is_dir():
        yield path
        return
    for folder, inner, names in os.walk(path):
        inner[:] = sorted(name for name in inner if not name.startswith(_HIDDEN))
        yield from (Path(folder, name) for name in sorted(names) if not name.startswith("."))


def _mails_of(file: IO[bytes], name: str) -> Iterator[_Mail]:
    """The mail of a file, or those of an mbox, numbered; of one that is too long, its beginning."""
    first = file.readline(_MAX_LINE_BYTES)
    if not first.startswith(_MBOX):
        yield _Mail(name, first + file.read(MAX_MAIL_BYTES - len(first)))
        return
    lines: list[bytes] = []
    number, size, is_behind_empty = 1, 0, False
    while line := file.readline(_MAX_LINE_BYTES):
        if line.startswith(_MBOX) and is_behind_empty:
            yield _Mail(f"{name}#{number}", b"".join(lines))
            number, lines, size = number + 1, [], 0
            continue
        is_behind_empty = not line.strip(b"\r\n")
        size += len(line)
        if size <= MAX_MAIL_BYTES:
            lines.append(line)
    yield _Mail(f"{name}#{number}", b"".join(lines))
