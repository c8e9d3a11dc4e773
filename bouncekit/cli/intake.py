"""`bouncekit intake`: take in mail that came back; what has been taken in is remembered first, then acknowledged."""

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from bouncekit.cli.application import app_option, opened
from bouncekit.cli.output import progress
from bouncekit.cli.settings import duration, json_option, policy_option, show_help, store_option
from bouncekit.cli.stopping import stopped_by_signal
from bouncekit.cli.taken import Taken, complain, show_taken
from bouncekit.words.errors import BouncekitError, ConfigurationError
from bouncekit.words.showing import printable

if TYPE_CHECKING:
    from bouncekit.intake.absorbing import Outcome
    from bouncekit.intake.aside import Aside
    from bouncekit.postmaster.postmaster import Postmaster

__all__ = ["verb"]

Function = TypeVar("Function", bound=Callable[..., Any])

_STOP_SECONDS = 60.0
_NOTICES_SECONDS = 30.0  # between two looks for notices that were kept back, and are due
# sysexits.h, as mail servers read them: they keep a mail for 75, and give it back for any other that is not 0.
_EX_USAGE, _EX_TEMPFAIL = 64, 75


@click.group(invoke_without_command=True)
@click.pass_context
def verb(ctx: click.Context) -> None:
    """Take in mail that came back: bounces, notices of a delay, complaints.

    \b
    bouncekit intake maildir ~bounce/Maildir --follow
    bouncekit intake lmtp unix:/run/bouncekit/lmtp

    A mail is acknowledged only when it has been remembered; the same one again changes nothing. Exit code 1 if a mail
    could not be taken in; it is set aside, not lost.
    """
    show_help(ctx)


def _common(function: Function) -> Function:
    """The options of every source."""
    for option in (
        json_option("the summary as JSON"),
        click.option("--tenant", default="", metavar="NAME", help="Whose mail it is."),
        store_option,
        policy_option,
        app_option,
    ):
        function = option(function)
    return function


def _following(pause: str) -> Callable[[Function], Function]:
    """The options of a source that is looked into, again and again if wanted, after such a pause."""
    every = click.option(
        "--every",
        default=pause,
        callback=duration,
        metavar="DURATION",
        show_default=True,
        help="The pause of --follow.",
    )
    follow = click.option("--follow", "follows", is_flag=True, help="Go on until stopped.")
    return lambda function: follow(every(function))


@verb.command()
@click.argument("path", metavar="FOLDER", type=click.Path(path_type=Path))
@click.option("--done", metavar="NAME", help="Move what was taken in to this folder of it.  [default: .Processed]")
@click.option("--delete", is_flag=True, help="Delete what was taken in.")
@click.option(
    "--aside", default=".Aside", metavar="NAME", show_default=True, help="For mails that make an error of ours."
)
@_following("10s")
@_common
def maildir(
    path: Path,
    done: str | None,
    delete: bool,
    aside: str,
    follows: bool,
    every: timedelta,
    as_json: bool,
    **common: Any,
) -> int:
    """Take in the mails of a maildir.

    \b
    bouncekit intake maildir ~bounce/Maildir --follow

    Several processes may do so at once.
    """
    from bouncekit.intake.maildir import Maildir

    if done is not None and delete:
        raise click.UsageError("--done keeps what --delete would delete: give one of them")
    source = Maildir(path, done=None if delete else done or ".Processed", aside=aside)
    with _taking(str(path / aside), as_json=as_json, **common) as (taken, stop):
        _work(lambda: source.mails(taken), taken, stop, every if follows else None)
    return _exit_code(taken)


@verb.command()
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path))
@click.option("--done", metavar="FILE", type=click.Path(path_type=Path), help="Append what was taken in to this file.")
@click.option(
    "--aside",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="For mails that make an error of ours.  [default: FILE.aside]",
)
@_following("10s")
@_common
def mbox(
    path: Path, done: Path | None, aside: Path | None, follows: bool, every: timedelta, as_json: bool, **common: Any
) -> int:
    """Take in the mails of an mbox, under its lock.

    \b
    bouncekit intake mbox /var/mail/bounce --done taken.mbox

    When all of them were, it is emptied; --done keeps them.
    """
    from bouncekit.intake.mbox import Mbox

    source = Mbox(path, done=done, aside=aside)
    if not path.exists():
        click.echo(f"bouncekit: warning: {printable(str(path))}: there is no such file, so no mail", err=True)
    with _taking(str(source.aside), as_json=as_json, **common) as (taken, stop):
        _work(lambda: source.mails(taken), taken, stop, every if follows else None)
    return _exit_code(taken)


@verb.command()
@click.argument("url", metavar="imaps://USER@HOST", required=False)
@click.option("--folder", "folders", multiple=True, metavar="NAME", help="A mailbox, or several.  [default: INBOX]")
@click.option("--done", metavar="NAME", help="Move what was taken in to this mailbox.  [default: Processed]")
@click.option("--flag", is_flag=True, help="Leave what was taken in, with the keyword $Bouncekit.")
@click.option("--delete", is_flag=True, help="Delete what was taken in.")
@click.option(
    "--aside", default="Aside", metavar="NAME", show_default=True, help="For mails that make an error of ours."
)
@click.option("--ca-file", metavar="FILE", type=click.Path(path_type=Path), help="Certificates to trust, in PEM.")
@_following("60s")
@_common
def imap(
    url: str | None,
    folders: tuple[str, ...],
    done: str | None,
    flag: bool,
    delete: bool,
    aside: str,
    ca_file: Path | None,
    follows: bool,
    every: timedelta,
    as_json: bool,
    **common: Any,
) -> int:
    """Take in the mails of IMAP mailboxes, over TLS.

    \b
    bouncekit intake imap imaps://bounce@imap.example.org --follow

    The password is BOUNCEKIT_MAILBOX_PASSWORD, or `mailbox_password` of the configuration; without a URL,
    BOUNCEKIT_MAILBOX is looked into. With --follow the server tells of news (IDLE), or is asked again and again.
    """
    from bouncekit.intake.imap import ImapMailboxes
    from bouncekit.intake.imapaccount import ImapAccount
    from bouncekit.postmaster.config import Config

    if (done is not None) + flag + delete > 1:
        raise click.UsageError("--done, --flag and --delete: give one of them")
    config = Config.read()
    account = ImapAccount.parse(url or config.mailbox or "", config.mailbox_password, ca_file=ca_file)
    kept_in = None if flag or delete else done or "Processed"
    source = ImapMailboxes(account, folders=folders or ("INBOX",), done=kept_in, delete=delete, aside=aside)
    with _taking(aside, as_json=as_json, **common) as (taken, stop), closing(source):
        pause = every if follows else None
        _work(lambda: source.mails(taken), taken, stop, pause, lambda seconds: source.wait(seconds, stop))
    return _exit_code(taken)


class _Pipe(click.Command):
    """A command whose wrong usage is sysexits' 64."""

    def make_context(self, *arguments: Any, **options: Any) -> click.Context:
        try:
            return super().make_context(*arguments, **options)
        except click.UsageError as error:
            complain(" ".join(error.format_message().split()))
            raise click.exceptions.Exit(_EX_USAGE) from None


@verb.command(cls=_Pipe)
@click.option("--to", metavar="ADDRESS", help="The address that it was sent to; else what the mail server has set.")
@click.option(
    "--aside", metavar="FOLDER", type=click.Path(path_type=Path), help="For a mail that makes an error of ours."
)
@_common
def pipe(to: str | None, aside: Path | None, as_json: bool, **common: Any) -> int:
    """Take in one mail from standard input.

    \b
    bounce: "|bouncekit intake pipe --store sqlite:////var/lib/shop/bounces.db"

    A mail server's alias or .forward gives it so. The address is --to, else what Postfix, Exim or qmail have set:
    ORIGINAL_RECIPIENT, RECIPIENT, or LOCAL_PART and DOMAIN. Exit code 75, so that the server keeps the mail and tries
    again, for whatever is not wrong usage (64).
    """
    try:
        _take_one(to, aside, as_json=as_json, **common)
    except (BouncekitError, OSError) as error:
        return _keep(str(error))
    except Exception as error:  # noqa: BLE001 - any other exit code would let the server throw the mail away
        return _keep(f"{type(error).__name__}: {error}")
    return 0


def _take_one(to: str | None, aside: Path | None, *, as_json: bool, tenant: str, **settings: Any) -> None:
    from bouncekit.intake.absorbing import Outcome, counts
    from bouncekit.intake.pipe import address_of, read_one

    content = read_one(sys.stdin.buffer)
    with opened(**settings) as postmaster:
        taken = Taken(postmaster, tenant)
        if not counts(taken, content, to or address_of(os.environ)):
            lies_at = _aside(postmaster, aside).put(content)
            taken.outcomes[Outcome.ASIDE] += 1
            complain(f"the mail could not be taken in, and is set aside: {lies_at}")
        if as_json:
            show_taken(taken, as_json=True)


def _keep(why: str) -> int:
    complain(f"{why}; try again later")
    return _EX_TEMPFAIL


@verb.command()
@click.argument("listen", metavar="unix:/PATH|HOST:PORT")
@click.option("--public", is_flag=True, help="Listen where others can reach it, too.")
@click.option("--mode", default="660", metavar="OCTAL", show_default=True, help="The rights to a Unix socket.")
@click.option(
    "--aside", metavar="FOLDER", type=click.Path(path_type=Path), help="For mails that make an error of ours."
)
@_common
def lmtp(listen: str, public: bool, mode: str, aside: Path | None, as_json: bool, **common: Any) -> int:
    """Take in what a mail server delivers by LMTP, until stopped.

    \b
    bouncekit intake lmtp unix:/run/bouncekit/lmtp
    bouncekit intake lmtp 127.0.0.1:2424

    SIGTERM and Ctrl-C let mails under way be finished.
    """
    from bouncekit.intake.absorbing import Outcome
    from bouncekit.intake.listening import read_place
    from bouncekit.intake.lmtp import LmtpServer

    place, rights = read_place(listen, public=public), _rights(mode)
    with _taking("", as_json=as_json, **common) as (taken, stop):
        set_aside = _aside(taken.postmaster, aside)
        taken.aside = str(set_aside.folder)
        with LmtpServer(place, taken, set_aside, mode=rights) as server:
            click.echo(f"bouncekit intake: listens on {server.place}", err=True)
            while not stop.wait(_NOTICES_SECONDS):
                _give_notices(taken.postmaster)
            click.echo("bouncekit intake: stopping; mails under way are finished", err=True)
            is_finished = server.stop(_STOP_SECONDS)
        taken.outcomes[Outcome.ASIDE] = server.set_aside
    return _exit_code(taken) if is_finished else 1


def _rights(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 0 <= int(text[:6], 10) <= 777 or set(text) & set("89"):
        raise click.BadParameter(f"{text[:20]!r}: write rights in octal, such as 660", param_hint="--mode")
    return int(text, 8)


@contextmanager
def _taking(
    aside: str, *, app: str | None, policy: str | None, store: str | None, tenant: str, as_json: bool
) -> Iterator[tuple[Taken, threading.Event]]:
    """What counts the mails, and an event that asks to stop; at the end, whichever it is, the summary is shown."""
    with opened(app, policy=policy, store=store) as postmaster, stopped_by_signal() as stop:
        taken = Taken(postmaster, tenant, aside)
        try:
            yield taken, stop
        finally:
            show_taken(taken, as_json=as_json)


def _work(
    one_pass: "Callable[[], Iterator[Outcome]]",
    taken: Taken,
    stop: threading.Event,
    every: timedelta | None,
    wait: Callable[[float], object] | None = None,
) -> None:
    """One pass, or one after the other until somebody stops it."""
    from bouncekit.intake.absorbing import follow

    def pass_and_notices() -> "Iterator[Outcome]":
        yield from one_pass()
        _give_notices(taken.postmaster)

    again = (
        follow(pass_and_notices, stop=stop, every=every.total_seconds(), wait=wait) if every is not None else one_pass()
    )
    for outcome in progress(again, "mails"):
        taken.outcomes[outcome] += 1
        if stop.is_set():
            break


def _give_notices(postmaster: "Postmaster") -> None:
    """Digests that are due: nobody may come for a long time who would give them."""
    postmaster.office.notices.give_due(postmaster.office.clock.now(), None)


def _exit_code(taken: Taken) -> int:
    from bouncekit.intake.absorbing import Outcome

    return int(bool(taken.outcomes[Outcome.ASIDE] or taken.outcomes[Outcome.KEPT]))


def _aside(postmaster: "Postmaster", folder: Path | None) -> "Aside":
    """Where mails that make an error of ours are put: the folder that was named, else one beside the store."""
    from bouncekit.intake.aside import Aside

    if folder is not None:
        return Aside(folder)
    store: str | None = getattr(postmaster.office.store, "path", None)
    if store is None:
        raise ConfigurationError("a mail that makes an error of ours has to lie somewhere: give --aside FOLDER")
    return Aside(Path(f"{store}.aside"))
