"""The command line: `bouncekit VERB`, a module a verb, each loaded when it is called.

Exit code 0: done. 1: the answer is no. 2: wrong usage or configuration, in one line on standard error.
"""

import errno
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn

import click

from bouncekit._version import __version__
from bouncekit.words.errors import BouncekitError, Finding
from bouncekit.words.showing import printable, redacted

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

__all__ = ["VERBS", "main"]

VERBS = {
    "demo": "Watch bouncekit handle 221, 421, 452, 550 and 552 from a mail server that misbehaves.",
    "init": "Write a policy and a configuration to begin with, for the framework that is here.",
    "send": "Send a message file through the policy, once or for each row of a table.",
    "intake": "Take in mail that came back, from a maildir, an mbox, IMAP, a pipe or LMTP.",
    "parse": "Say what bounce mails mean, a line a recipient.",
    "classify": "Say what a reply means and whose fault it is.",
    "explain": "Explain a code or a reply, and what the policy does about it; in English or Hindi.",
    "compare": "Compare two codes side by side.",
    "policy": "Check, show and test policies.",
    "rules": "Find the replies that no rule understands, and write rules for them.",
    "suppressions": "Look at the suppression list, change it, bring one along, take changes back.",
    "forget": "Erase somebody who asks for it, and still never write to him.",
    "queue": "Look at the mail that waits, try it now, drop it, send it again, move it.",
    "worker": "Send what is queued, until stopped.",
    "why": "Tell what happened to an address.",
    "events": "Show what happened, in order, and go on as it happens.",
    "sinks": "Look after the sinks: how far events have come to other systems, send them again, go on.",
    "store": "Look after the store: who reads its events, what it may forget.",
    "backup": "Copy the store into a file, while others write.",
    "budget": "Look how many bounces and complaints each stream brings, and let one go on.",
    "report": "Count what happened, and say what waits.",
    "serve": "Show all of it in a browser.",
    "doctor": "Check that all is there: policy, store, clock, queue, relays; and say what to do.",
    "testserver": "Run a mail server for development, which misbehaves as it is told.",
    "completion": "Print the script that lets a shell complete verbs and options, or the manual page.",
}

_INTERRUPTED = 130  # 128 and the number of SIGINT, as shells say it
_MAX_ERROR = 500


class _Verbs(click.Group):
    """Verbs that are imported when they are called; help and version load none of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        verb: click.Command = import_module(f"bouncekit.cli.{cmd_name}").verb
        return verb

    def shell_complete(self, ctx: click.Context, incomplete: str) -> "list[CompletionItem]":
        """What a shell puts for the verb: their names, without loading them."""
        from click.shell_completion import CompletionItem

        if incomplete.startswith("-"):
            return super().shell_complete(ctx, incomplete)
        return [CompletionItem(name, help=what) for name, what in VERBS.items() if name.startswith(incomplete)]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in VERBS and not ctx.resilient_parsing:  # a shell that asks what may follow takes no advice
            from difflib import get_close_matches

            close = get_close_matches(args[0], VERBS, n=1)
            ctx.fail(
                f"no verb {args[0]!a}; " + (f"did you mean {close[0]!r}?" if close else f"one of {', '.join(VERBS)}")
            )
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))

    def main(  # type: ignore[override]  # click has an overload for standalone_mode=False, which nobody needs here
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> NoReturn:
        """Run a verb and exit with its code; an error is one line."""
        _open_what_is_closed()
        _never_fail_to_print()
        extra["standalone_mode"] = False
        try:
            code = super().main(args, prog_name or "bouncekit", **extra)
            sys.stdout.flush()
        except click.Abort:
            code = _INTERRUPTED
        except (click.ClickException, BouncekitError) as error:
            code = _complain(_one_line(error))
        except OSError as error:
            code = _reader_left() if error.errno == errno.EPIPE else _complain(_why(error))
        sys.exit(code)


@click.group(
    cls=_Verbs,
    invoke_without_command=True,
    subcommand_metavar="VERB ...",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, message="bouncekit %(version)s")
@click.pass_context
def main(ctx: click.Context) -> None:
    """Bounce handling for applications that send mail.

    Exit code 0: done. 1: the answer is no. 2: wrong usage or configuration.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def _open_what_is_closed() -> None:
    """A stream that the shell has closed (`>&-`) is None in Python; nothing comes from it, and nobody reads it."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - open until the process ends


def _never_fail_to_print() -> None:
    """What the terminal's encoding does not have is shown as an escape."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _complain(message: str) -> int:
    click.echo(f"bouncekit: error: {printable(redacted(message), limit=_MAX_ERROR)}", err=True)
    return 2


def _one_line(error: click.ClickException | BouncekitError) -> str:
    if isinstance(error, click.ClickException):
        text = " ".join(error.format_message().split())  # click lists choices below each other
        if isinstance(error, click.MissingParameter) and error.ctx is not None:
            return f"{text.rstrip('.')}. See {error.ctx.command_path} --help"
        return text
    findings: tuple[Finding, ...] = getattr(error, "findings", ())
    if len(findings) > 1:
        return f"{findings[0]} (and {len(findings) - 1} more: bouncekit policy check {findings[0].file})"
    return str(error)


def _why(error: OSError) -> str:
    return ": ".join(str(part) for part in (error.filename, error.strerror or error) if part)


def _reader_left() -> int:
    """Whoever read the output has gone (`| head`); the interpreter's last flush must not complain about it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1
