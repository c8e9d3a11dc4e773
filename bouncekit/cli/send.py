"""`bouncekit send`: one message file through the policy, a line a recipient."""

import smtplib
import sys
from email.message import EmailMessage
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from bouncekit.cli.output import show_json, show_line, show_table
from bouncekit.cli.settings import as_json, configured, open_postmaster, policy_option, store_option
from bouncekit.errors import ConfigurationError

if TYPE_CHECKING:
    from bouncekit.client import Client
    from bouncekit.report import Report
    from bouncekit.settlement import Settlement

__all__ = ["verb"]

_MAX_MESSAGE_BYTES = 100 * 1024 * 1024
_RECIPIENT_HEADERS = ("To", "Cc", "Bcc", "Resent-To", "Resent-Cc", "Resent-Bcc")


@click.command()
@click.argument("file", metavar="FILE|-")
@click.option("--relay", metavar="URL", help="Such as smtp://localhost:25; else BOUNCEKIT_RELAY.")
@click.option("--to", multiple=True, metavar="ADDRESS", help="A recipient, instead of those in the headers.")
@click.option("--from", "sender", metavar="ADDRESS", help="The return path, instead of the From header's.")
@click.option("--retry", type=click.Choice(["never", "wait"]), help="Report only, or wait and try again.")
@click.option("--patience", metavar="DURATION", help="How long --retry wait may take: 5m.")
@click.option("--class", "message_class", metavar="NAME", help="A message class of the policy.")
@click.option("--test", is_flag=True, help="A test: moves no counter and no suppression.")
@click.option("--insecure-tls", is_flag=True, help="Take any certificate.")
@policy_option
@store_option
@as_json("one JSON document")
def verb(
    file: str,
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

    Exit code 0 when every recipient was delivered, else 1.
    """
    message = _read(file, to, sender)
    config = configured(relay=relay, policy=policy, store=store, retry=retry, patience=patience)
    if config.relay is None:
        raise ConfigurationError("no relay: give --relay smtp://localhost:25, or set BOUNCEKIT_RELAY")
    with (
        open_postmaster(config) as postmaster,
        postmaster.client(
            config.relay, message_class=message_class, test=test, insecure_tls=insecure_tls
        ) as client,
    ):
        report = _sent(client, message, to, sender)
    _show(report, as_json=as_json)
    return 0 if len(report.delivered) == len(report.recipients) else 1


def _read(file: str, to: tuple[str, ...], sender: str | None) -> EmailMessage:
    """The message; its headers say who writes to whom where the command line does not."""
    from email import message_from_bytes, policy

    with _opened(file) as opened:
        content = opened.read(_MAX_MESSAGE_BYTES + 1)
    if len(content) > _MAX_MESSAGE_BYTES:
        raise ConfigurationError(f"{file}: larger than {_MAX_MESSAGE_BYTES} bytes")
    # Headers go out as they came in: to fold them anew would break a signature.
    message = message_from_bytes(content, policy=policy.SMTP.clone(refold_source="none"))
    if sender is None and not (message["From"] or message["Sender"]):
        raise ConfigurationError(f"{file}: no From header; give --from ADDRESS")
    if not to and not any(message[header] for header in _RECIPIENT_HEADERS):
        raise ConfigurationError(f"{file}: no recipient in its headers; give --to ADDRESS")
    return message


def _opened(file: str) -> IO[bytes]:
    return sys.stdin.buffer if file == "-" else Path(file).open("rb")


def _sent(client: "Client", message: EmailMessage, to: tuple[str, ...], sender: str | None) -> "Report":
    """The report, whether or not smtplib would have raised."""
    try:
        return client.send(message, sender=sender, recipients=list(to) or None)
    except (smtplib.SMTPException, OSError) as error:
        report: Report | None = getattr(error, "report", None)
        if report is None:
            raise ConfigurationError(f"{client.relay.scheme}://{client.relay.host}: {error}") from error
        return report


def _show(report: "Report", *, as_json: bool) -> None:
    from bouncekit.events import settlement_data

    if as_json:
        show_json(
            {"message_id": report.message_id, "recipients": [settlement_data(one) for one in report.recipients]}
        )
        return
    heads = ("recipient", "action", "the server said", "category", "rule", "next try")
    show_table(heads, [_row(one) for one in report.recipients])
    show_line(f"{len(report.delivered)} of {len(report.recipients)} delivered")


def _row(one: "Settlement") -> tuple[object, ...]:
    from bouncekit.events import show_time

    said = str(one.reply) if one.reply is not None else None
    retry_at = show_time(one.retry_at) if one.retry_at else None
    return one.recipient, one.action.value, said, one.category and one.category.value, one.rule, retry_at
