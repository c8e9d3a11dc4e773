"""`bouncekit send --each`: a message file once for each row of a table, over several connections."""

import smtplib
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from email.errors import MessageError as EmailError
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from bouncekit.cli.measuring import Measured, size_of
from bouncekit.cli.output import progress, show_json, show_line, show_table
from bouncekit.cli.resuming import Progress, State
from bouncekit.cli.stopping import stopped_by_signal
from bouncekit.delivery.events import settlement_data
from bouncekit.lists.listfile import ByteLines, Fault, Row, read_rows
from bouncekit.lists.mailmerge import RECIPIENT, MailMerge, texts_of
from bouncekit.words.errors import MessageError
from bouncekit.words.status import Action

if TYPE_CHECKING:
    from bouncekit.clients.bulk import Letter
    from bouncekit.clients.client import Client
    from bouncekit.clients.smtp import SMTP
    from bouncekit.delivery.report import Report
    from bouncekit.delivery.steps import Delivery

__all__ = ["send_rows"]

_Thing = TypeVar("_Thing")

_SHOWN = 20  # rows in a table; JSON and --resume have all
_INTERRUPTED = 130
_BEGUN_BEFORE = "an earlier run had begun it and was ended: it may have been sent (--resend-unknown sends it again)"


class _Taken(NamedTuple):
    """A row that is under way."""

    line: int
    key: str
    may_be_second: bool


def send_rows(
    client: "Client",
    content: bytes,
    *,
    file: str,
    rows: str,
    sender: str | None,
    concurrency: int,
    key_column: str | None,
    resume: str | None,
    resends: bool,
    as_json: bool,
) -> int:
    """Send `content`, read from `file`, for each row of the file `rows`; the exit code.

    Raises:
        ConfigurationError: nothing can be sent at all.
    """
    merge = MailMerge(content, file)
    with ExitStack() as stack:
        opened = sys.stdin.buffer if rows == "-" else stack.enter_context(Path(rows).open("rb"))
        done = stack.enter_context(Progress(resume))
        mailing = _Mailing(merge, client.desk, done, sender=sender, rows=rows, key_column=key_column, as_json=as_json)
        stop = stack.enter_context(stopped_by_signal())
        source = Measured(opened)
        made = mailing.letters(source, resends=resends)
        steady = _until(stop.is_set, progress(made, "rows", length=size_of(rows), size=source.moved, prints=as_json))
        client.send_many(steady, concurrency=concurrency, on_result=mailing.hear)
    mailing.show(is_stopped=stop.is_set(), can_resume=resume is not None)
    return _INTERRUPTED if stop.is_set() else int(not mailing.is_all_delivered)


class _Mailing:
    """The rows on their way: what is made of each, and what became of it."""

    def __init__(
        self,
        merge: MailMerge,
        desk: "SMTP",
        done: Progress,
        *,
        sender: str | None,
        rows: str,
        key_column: str | None,
        as_json: bool,
    ) -> None:
        self._merge, self._desk, self._done = merge, desk, done
        self._sender, self._key_column, self._as_json = sender, key_column, as_json
        self._file = "standard input" if rows == "-" else rows
        self._under_way: dict[str, _Taken] = {}
        self._counts: Counter[str] = Counter()
        self._why: Counter[tuple[str, str]] = Counter()
        self._bad: list[tuple[object, ...]] = []
        self._return_path: str | None = None  # of a message that names nothing

    def letters(self, file: ByteLines, *, resends: bool) -> Iterator["Delivery"]:
        """A delivery for each row that is to be sent."""
        for row in read_rows(file):
            if isinstance(row, Fault):
                self._refuse(row.line, row.why)
            elif (delivery := self._letter(row, resends=resends)) is not None:
                yield delivery

    def hear(self, letter: "Letter", report: "Report") -> None:
        """What became of a row."""
        taken = self._under_way.pop(letter.id)  # type: ignore[union-attr]  # all that was given are deliveries
        for settled in report.recipients:
            told = {"line": taken.line, **settlement_data(settled)}
            if taken.may_be_second:
                told["possible_duplicate"] = True
            self._done.end(taken.key, told)
            self._tell(taken.key, told)

    def show(self, *, is_stopped: bool, can_resume: bool) -> None:
        """How it went."""
        if self._as_json:
            show_json({"rows": self._counts.total(), **self._counts})
            return
        if self._why:
            show_table(("", "why", "rows"), [(*why, number) for why, number in self._why.most_common()])
            show_line()
        if self._bad:
            show_table((f"line of {self._file}", "recipient", "", "the server said"), self._bad)
            if (more := sum(self._why.values()) - len(self._bad)) > 0:
                show_line(f"and {more:,} more: --json and --resume FILE tell of each")
            show_line()
        told = ", ".join(f"{number:,} {what}" for what, number in self._counts.items() if what != Action.DELIVERED)
        show_line(f"{self._counts[Action.DELIVERED]:,} of {self._counts.total():,} delivered" + (told and f"; {told}"))
        if is_stopped:
            show_line(
                "Stopped; " + ("the same command goes on with the rest." if can_resume else "the rest is not sent.")
            )

    @property
    def is_all_delivered(self) -> bool:
        """Whether there was no row that was not, now or before."""
        return self._counts.total() == self._counts[Action.DELIVERED] + self._counts["done before"]

    def _letter(self, row: Row, *, resends: bool) -> "Delivery | None":
        """What is to be sent for a row; None where nothing is, which has been told then."""
        try:
            fields = texts_of(row.fields)
            key = self._key(fields)
            state = self._done.state(key)
            if state is State.DONE:
                self._counts["done before"] += 1
                return None
            if state is State.UNKNOWN and not resends:
                told = {"recipient": fields[RECIPIENT], "action": str(Action.UNKNOWN), "reply": _BEGUN_BEFORE}
                self._tell(key, {"line": row.line, **told})
                return None
            delivery = self._delivery(fields)
        except (ValueError, EmailError, MessageError, smtplib.SMTPException) as error:
            self._refuse(row.line, str(error))
            return None
        self._under_way[delivery.id] = _Taken(row.line, key, state is State.UNKNOWN)
        self._done.begin(key, {"line": row.line, "recipient": fields[RECIPIENT]})
        return delivery

    def _key(self, fields: Mapping[str, str]) -> str:
        if self._key_column is None:
            return self._merge.key(fields)
        if key := fields.get("_".join(self._key_column.split())):
            return key
        raise ValueError(f"no key: column {self._key_column!r} is empty or is not there")

    def _delivery(self, fields: Mapping[str, str]) -> "Delivery":
        """The message for a row. One without names in it goes out as it stands, byte for byte."""
        recipients = [fields[RECIPIENT]]
        if not self._merge.is_plain or not recipients[0].isascii():
            return self._desk.compose(self._merge.filled(fields), self._sender, recipients)
        if self._return_path is None:
            composed = self._desk.compose(self._merge.filled(fields), self._sender, recipients)
            self._return_path = composed.envelope.sender.wire
        return self._desk.take(self._return_path, recipients, self._merge.content)

    def _refuse(self, line: int, why: str) -> None:
        """A row that cannot be sent at all."""
        self._counts["faults"] += 1
        if self._as_json:
            show_json({"line": line, "error": why})
        else:
            click.echo(f"{self._file}:{line}: {why}", err=True)

    def _tell(self, key: str, told: Mapping[str, Any]) -> None:
        action = str(told["action"])
        self._counts[action] += 1
        if self._as_json:
            show_json({"key": key, **told})
        elif action != Action.DELIVERED:
            self._why[action, str(told.get("category") or "")] += 1
            if len(self._bad) < _SHOWN:
                self._bad.append((told["line"], told["recipient"], action, told.get("reply")))


def _until(is_over: Callable[[], bool], things: Iterable[_Thing]) -> Iterator[_Thing]:
    """The things, as long as nobody has asked to stop."""
    for thing in things:
        yield thing
        if is_over():
            return
