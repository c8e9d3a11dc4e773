"""`bouncekit send`: one message file through the policy, a line a recipient; or for each row of a table."""

import smtplib
import sys
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import IO, TYPE_CHECKING, Any

import click

from bouncekit.cli.output import show_json, show_line, show_table
from bouncekit.cli.patience import tell_waits
from bouncekit.cli.settings import configured, json_option, open_postmaster, policy_option, store_option
from bouncekit.words.errors import UNREADABLE, ConfigurationError
from bouncekit.words.measures import show_minute

if TYPE_CHECKING:
    from bouncekit.clients.client import Client
    from bouncekit.delivery.report import Report
    from bouncekit.delivery.settlement import Settlement

__all__ = ["verb"]

_MAX_MESSAGE_BYTES = 100 * 1024 * 1024


@click.command()
@click.argument("file", metavar="FILE|-")
@click.option("--each", "rows", metavar="FILE|-", help="Once for each row: CSV or JSON lines with a column recipient.")
@click.option(
    "--concurrency", type=click.IntRange(1, 100), default=4, show_default=True, help="Connections for --each."
)
@click.option("--resume", metavar="FILE", help="With --each: remember there what is done, and leave it out.")
@click.option("--key", "key_column", metavar="COLUMN", help="With --resume: what names a row; else all that is in it.")
@click.option("--resend-unknown", is_flag=True, help="With --resume: also rows that may have been sent.")
@click.option("--relay", metavar="URL", help="Such as smtp://localhost:25; else BOUNCEKIT_RELAY, or the only one.")
@click.option("--to", multiple=True, metavar="ADDRESS", help="A recipient, instead of those in the headers.")
@click.option("--from", "sender", metavar="ADDRESS", help="The return path, instead of the From header's.")
@click.option(
    "--retry",
    type=click.Choice(["never", "wait", "queue"]),
    help="Report only (never), wait and try again, or leave it to a worker (queue).",
)
@click.option("--patience", metavar="DURATION", help="How long --retry wait may take: 5m.")
@click.option("--class", "message_class", metavar="NAME", help="A message class of the policy.")
@click.option("--test", is_flag=True, help="A test: moves no counter and no suppression.")
@click.option("--insecure-tls", is_flag=True, help="Take any certificate.")
@policy_option
@store_option
@json_option("one JSON document; with --each a line for each recipient as it comes, then one of counts")
def verb(
    file: str,
    rows: str | None,
    concurrency: int,
    resume: str | None,
    key_column: str | None,
    resend_unknown: bool,
    relay: str | None,
    to: tuple[str, ...],
    sender: str | None,
    retry: str | None,
    patience: str | None,
    message_class: str | None,
    test: bool,
    insecure_tls: bool,
    policy: str | None,
    store: str | None,
    as_json: bool,
) -> int:
    """Send a message file, or standard input (-), through the policy.

    \b
    bouncekit send hello.eml --relay smtp://localhost:25
    bouncekit send - --to ada@example.com < hello.eml
    bouncekit send hello.eml --retry wait --patience 10m
    bouncekit send hello.eml --each people.csv --resume done.jsonl

    With --each, $name or ${name} in a header or a text stands for what the row has in that column; a dollar is $$. A
    row that cannot be sent is told with its line, the others go out. Where a run was stopped, the same command with
    the same --resume goes on.

    Exit code 0 when every recipient was delivered, else 1.
    """
    _check_rows(file, rows, to, resume, key_column, resend_unknown=resend_unknown)
    letter = None if rows is not None else _letter(file, to, sender)
    config = configured(relay=relay, policy=policy, store=store, retry=retry, patience=patience)
    if config.relay is None and len(config.relays) != 1:  # the only one needs no name
        given = " or ".join(config.relays) or "smtp://localhost:25"
        raise ConfigurationError(f"no relay: give --relay {given}, or set BOUNCEKIT_RELAY")
    outlet = config.relay or next(iter(config.relays))
    with (
        open_postmaster(config, needs_store=config.retry == "queue") as postmaster,
        postmaster.client(outlet, message_class=message_class, test=test, insecure_tls=insecure_tls) as client,
    ):
        if letter is None:
            return _send_rows(
                client,
                file,
                rows=str(rows),
                sender=sender,
                concurrency=concurrency,
                key_column=key_column,
                resume=resume,
                resends=resend_unknown,
                as_json=as_json,
            )
        tell_waits(postmaster)
        report = _sent(client, letter)
    _show(report, as_json=as_json)
    return 0 if len(report.delivered) == len(report.recipients) else 1


def _check_rows(
    file: str,
    rows: str | None,
    to: tuple[str, ...],
    resume: str | None,
    key_column: str | None,
    *,
    resend_unknown: bool,
) -> None:
    """Raises UsageError for options that do not go together."""
    if rows is None and (resume or key_column or resend_unknown):
        raise click.UsageError("--resume, --key and --resend-unknown are for --each")
    if rows is not None and to:
        raise click.UsageError("with --each the rows name the recipients: leave --to out")
    if rows == file == "-":
        raise click.UsageError("standard input cannot be the message and the rows")
    if resume is None and (key_column or resend_unknown):
        raise click.UsageError("--key and --resend-unknown go with --resume")


def _send_rows(client: "Client", file: str, **options: Any) -> int:
    from bouncekit.cli.rows import send_rows

    return send_rows(client, _without_bcc(_content(file)), file=file, **options)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Letter:
    """What a file holds, without its Bcc, and who writes to whom."""

    sender: str
    recipients: tuple[str, ...]
    content: bytes

    @property
    def options(self) -> tuple[str, ...]:
        """Addresses beyond ASCII travel under SMTPUTF8 only (RFC 6531)."""
        return () if "".join((self.sender, *self.recipients)).isascii() else ("SMTPUTF8", "BODY=8BITMIME")


def _letter(file: str, to: tuple[str, ...], sender: str | None) -> _Letter:
    """The message of a file, byte for byte: `send_message` would write it anew and break a signature."""
    from email import message_from_bytes, policy
    from email.utils import getaddresses

    content = _content(file)
    head, _, _ = content.replace(b"\r\n", b"\n").partition(b"\n\n")
    headers = message_from_bytes(head, policy=policy.default)

    def addresses(*names: str) -> tuple[str, ...]:
        try:
            found = getaddresses([str(header) for name in names for header in headers.get_all(name, ())])
        except UNREADABLE as error:
            raise ConfigurationError(f"{file}: its {' or '.join(names)} cannot be read: {error}") from None
        return tuple(address for _, address in found if address)

    senders = (sender,) if sender is not None else addresses("Sender") or addresses("From")
    recipients = to or addresses("To", "Cc", "Bcc")
    if not senders:
        raise ConfigurationError(f"{file}: no From header with an address; give --from ADDRESS")
    if not recipients:
        raise ConfigurationError(f"{file}: no recipient in its headers; give --to ADDRESS")
    if unfilled := next((one for one in recipients if one.startswith("$") and "@" not in one), None):
        raise ConfigurationError(f"{file}: {unfilled} stands for a column: give the rows with --each FILE")
    return _Letter(sender=senders[0], recipients=recipients, content=_without_bcc(content))


def _content(file: str) -> bytes:
    with _opened(file) as opened:
        content = opened.read(_MAX_MESSAGE_BYTES + 1)
    if len(content) > _MAX_MESSAGE_BYTES:
        raise ConfigurationError(f"{file}: larger than {_MAX_MESSAGE_BYTES} bytes")
    return content


def _without_bcc(content: bytes) -> bytes:
    """The content less its Bcc headers, which are nobody's business (RFC 5322 3.6.3)."""
    lines = content.splitlines(keepends=True)
    end = next((number for number, line in enumerate(lines) if not line.strip(b"\r\n")), len(lines))
    kept, hiding = [], False
    for line in lines[:end]:
        hiding = hiding if line[:1] in b" \t" else line[:4].lower() == b"bcc:"
        if not hiding:
            kept.append(line)
    return b"".join((*kept, *lines[end:]))


def _opened(file: str) -> IO[bytes]:
    return sys.stdin.buffer if file == "-" else Path(file).open("rb")


def _sent(client: "Client", letter: _Letter) -> "Report":
    """The report, whether or not smtplib would have raised."""
    try:
        return client.sendmail(letter.sender, letter.recipients, letter.content, letter.options)
    except (smtplib.SMTPException, OSError) as error:
        report: Report | None = getattr(error, "report", None)
        if report is None:
            raise ConfigurationError(f"{client.relay.scheme}://{client.relay.host}: {error}") from error
        return report


def _show(report: "Report", *, as_json: bool) -> None:
    from bouncekit.delivery.events import settlement_data

    if as_json:
        show_json({"message_id": report.message_id, "recipients": [settlement_data(one) for one in report.recipients]})
        return
    heads = ("recipient", "action", "the server said", "category", "rule", "next try")
    show_table(heads, [_row(one) for one in report.recipients])
    show_line(f"{len(report.delivered)} of {len(report.recipients)} delivered")
    delayed = [one for one in report.delayed if one.retry_at]  # a policy that holds has no time
    if kept := sum(one.kept for one in delayed):
        show_line(f"{kept:,} in the queue, for `bouncekit worker` or `bouncekit queue run` to send when it is time")
    if due := [one.recipient for one in delayed if not one.kept]:
        to = " ".join(f"--to {quote(recipient)}" for recipient in due)
        show_line(f"Nothing sends to the delayed again by itself: when it is time, send to them alone, with {to}")


def _row(one: "Settlement") -> tuple[object, ...]:
    said = str(one.reply) if one.reply is not None else None
    retry_at = show_minute(one.retry_at) if one.retry_at else None
    rule = one.rule.removeprefix("rule ") if one.rule else None  # of a suppression: whoever added it
    return one.recipient, one.action.value, said, one.category and one.category.value, rule, retry_at
