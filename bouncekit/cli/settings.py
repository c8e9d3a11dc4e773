"""The options that several verbs share, and the postmaster that they and the configuration make."""

import getpass
import logging
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from bouncekit.words.errors import ConfigurationError
from bouncekit.words.showing import printable, redacted

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from bouncekit.meaning.classifier import Classifier
    from bouncekit.policy.policy import Policy
    from bouncekit.postmaster.config import Config
    from bouncekit.postmaster.postmaster import Postmaster
    from bouncekit.stores import Store

__all__ = [
    "all_tenants_option",
    "by_option",
    "classifier_of",
    "complete_policy",
    "configured",
    "confirmed",
    "duration",
    "hear_warnings",
    "json_option",
    "moment",
    "open_postmaster",
    "policy_option",
    "refuse_before",
    "refuse_store",
    "rules_option",
    "show_help",
    "sqlite_path",
    "store_option",
    "stream_option",
    "tenant_option",
    "tenant_or_all",
    "time_of",
]

_MOST_EVENTS = 1_000
_SQLITE, _MEMORY = "sqlite:///", "sqlite:///:memory:"

Function = TypeVar("Function", bound=Callable[..., Any])


def complete_policy(ctx: click.Context, param: click.Parameter, incomplete: str) -> "list[CompletionItem]":
    """What a shell may put for a policy: shipped names that begin so, and files where none does."""
    from click.shell_completion import CompletionItem

    from bouncekit.outside.builtin import policy_names

    names = [name for name in policy_names() if name.startswith(incomplete)]
    return [CompletionItem(incomplete, type="file"), *map(CompletionItem, names)]


def _user() -> str:
    """The user at the command line, for the record of who changed what."""
    try:
        return f"{getpass.getuser()} (command line)"
    except (OSError, KeyError, ImportError):
        return "command line"


by_option = click.option(
    "--by", metavar="NAME", default=_user, show_default="the user here", help="Who does it, for the record."
)
policy_option = click.option(
    "--policy", metavar="NAME|FILE", shell_complete=complete_policy, help="A shipped name, or a file."
)
rules_option = click.option(
    "--rules",
    metavar="FILE",
    multiple=True,
    type=click.Path(),
    help="Your own rules about what replies mean; they go first. May be given again.",
)
store_option = click.option("--store", metavar="URL", help="Such as sqlite:///bounces.db; else BOUNCEKIT_STORE.")
stream_option = click.option("--stream", default="", metavar="NAME", help="Whose stream; else what binds every one.")
tenant_option = click.option("--tenant", default="", metavar="NAME", help="Whose list.")
all_tenants_option = click.option("--all", "every", is_flag=True, help="The lists of every tenant.")


def tenant_or_all(tenant: str, *, every: bool) -> str | None:
    """Whose list is meant; None: every tenant's."""
    if every and tenant:
        raise click.UsageError("--all is every tenant: leave --tenant out")
    return None if every else tenant


def json_option(what: str) -> Callable[[Function], Function]:
    """The option `--json`, with what is printed under it."""
    return click.option("--json", "as_json", is_flag=True, help=f"Print {what}.")


def show_help(ctx: click.Context) -> None:
    """The help of a verb that has verbs of its own, where none of them was called."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def refuse_before(ctx: click.Context) -> None:
    """For a verb that does something itself and has verbs below it: no option that stands before one of these.

    Raises:
        click.UsageError: one was given there.
    """
    for parameter in ctx.command.params:
        if ctx.get_parameter_source(parameter.name or "") is click.core.ParameterSource.COMMANDLINE:
            option, verb = parameter.opts[0], ctx.invoked_subcommand
            raise click.UsageError(f"{option} counts for nothing before {verb}: write it behind {verb}", ctx)


def refuse_store(config: "Config", *files: str) -> None:
    """Look whether what is to be written over is the store itself, or its log.

    Raises:
        click.UsageError: it is.
    """
    if not config.store or (path := sqlite_path(config.store)) is None:
        return
    store = os.path.realpath(path)
    for file in files:
        is_linked = os.path.exists(file) and os.path.exists(store) and os.path.samefile(file, store)
        if is_linked or os.path.realpath(file) in (store, f"{store}-wal", f"{store}-shm"):
            raise click.UsageError(f"{file}: that is the store itself; name another file")


def duration(ctx: click.Context, param: click.Parameter, value: str | None) -> timedelta | None:
    """For an option that takes a number and a unit: 90s, 30m, 4h, 7d, 2w."""
    from bouncekit.policy.schedule import LONGEST_DURATION, parse_duration

    if value is None:
        return None
    try:
        if (long := parse_duration(value)) <= LONGEST_DURATION:
            return long
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from None
    raise click.BadParameter(f"{value!r} is longer than a hundred years; for good, leave it out", ctx, param)


def moment(ctx: click.Context, param: click.Parameter, value: str | None) -> datetime | timedelta | None:
    """For an option that takes a time with its zone, a day by UTC, or how long ago: 2h."""
    from bouncekit.policy.schedule import parse_duration

    if value is None:
        return None
    with suppress(ValueError):
        return parse_duration(value)
    with suppress(ValueError):
        return datetime.combine(date.fromisoformat(value), time(), UTC)
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        raise click.BadParameter(
            f"{value!r}: write 2026-01-31, 2026-01-31T12:00Z, or how long ago: 2h", ctx, param
        ) from None
    if found.tzinfo is None:
        raise click.BadParameter(f"{value!r} names no zone: add Z for UTC", ctx, param)
    return found


def time_of(given: datetime | timedelta | None, now: datetime) -> datetime | None:
    """The time that `moment` was given.

    Raises:
        ConfigurationError: so long ago that there is no such time.
    """
    try:
        return now - given if isinstance(given, timedelta) else given
    except OverflowError:
        raise ConfigurationError(f"{given} ago: no such time; write less, such as 30d") from None


def configured(**options: str | Sequence[str] | None) -> "Config":
    """What the configuration says here, with the options that were given on the command line."""
    from bouncekit.postmaster.config import Config

    return Config.read().with_options(**options)


def confirmed(question: str) -> bool:
    """Whether somebody says yes, asked on standard error.

    Raises:
        click.UsageError: nobody is there to be asked.
    """
    try:
        return click.confirm(question, err=True)
    except click.Abort:
        if sys.stdin.isatty():
            raise
        raise click.UsageError("nobody is there to be asked: give --yes") from None


def classifier_of(config: "Config") -> "Classifier":
    """The classifier of a configuration: with its rules, with those that its policy names, and the shipped ones.

    Raises:
        ConfigurationError: a file of rules is wrong, or the policy.
    """
    from bouncekit.outside.builtin import classifier_with, open_policy, policy_names, read_meaning

    meaning = read_meaning(config.rules, config.community_rules)
    if config.policy not in policy_names():  # the shipped ones name no files, and need not be read to know it
        meaning += open_policy(config.policy).meaning
    return classifier_with(meaning)


def open_postmaster(
    config: "Config",
    *,
    needs_store: bool = False,
    makes_store: bool = True,
    with_sinks: bool = False,
    judges: bool = True,
) -> "Postmaster":
    """The postmaster of a configuration.

    With `needs_store`, one that remembers nothing is not good enough; without `makes_store`, nor is an empty new one:
    whoever only asks has most likely misspelt the name. Sinks are opened `with_sinks` alone, and forward nothing yet.
    One that judges nothing reads no policy and no rules, which takes longer than all that such a verb does.

    Raises:
        ConfigurationError: there is no store.
    """
    if needs_store and config.store in (None, _MEMORY):
        raise ConfigurationError(
            "no store, so nothing is remembered: give --store sqlite:///bounces.db, set BOUNCEKIT_STORE, "
            "or write store = ... into bouncekit.toml"
        )
    if not makes_store and config.store and (path := sqlite_path(config.store)) and not path.exists():
        raise ConfigurationError(
            f"{path}: there is no such store; a send, `bouncekit suppressions add` or `import` makes one"
        )
    from bouncekit.postmaster.postmaster import Postmaster

    settings = {**config.for_postmaster(), "worker": "external"}  # a verb that looks sends nothing
    if config.store in (None, _MEMORY) and config.retry != "queue":
        settings["store"] = _passing_store()
    if not judges:
        settings |= {"policy": _no_policy(config), "rules": (), "community_rules": (), "shadow": None}
    postmaster = Postmaster(**settings if with_sinks else {**settings, "sinks": ()})
    hear_warnings()
    return postmaster


def _no_policy(config: "Config") -> "Policy":
    """A policy by which nothing is sent, for who only looks; it has the configured channels, and says nothing."""
    from bouncekit.policy.policy import MessageClass, Policy

    none = MessageClass(name="none", deadline=timedelta())
    return Policy(name="none", classes={"none": none}, default_class="none", rules=(), channels=tuple(config.channels))


def _passing_store() -> "Store":
    """One for as long as the verb runs: nobody looks back at its events, of which a long send has many."""
    from bouncekit.stores.memory import MemoryStore

    return MemoryStore(most_events=_MOST_EVENTS)


def hear_warnings() -> None:
    """Print what bouncekit's log warns of, a line each on standard error."""
    log = logging.getLogger("bouncekit")
    if not any(isinstance(handler, _Warnings) for handler in log.handlers):
        log.addHandler(_Warnings(logging.WARNING))


def sqlite_path(store: str) -> Path | None:
    """The file of a store's URL; None for a store that has none."""
    return Path(store.removeprefix(_SQLITE)) if store.startswith(_SQLITE) and store != _MEMORY else None


class _Warnings(logging.Handler):
    """What bouncekit's log warns of, where no logging of the application's shows it."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Events are shown by the verbs themselves."""
        return not record.name.startswith("bouncekit.events") and not _has_logging()

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.exc_info and (error := record.exc_info[1]):
            text = f"{text}: {_raised(error)}"
        click.echo(f"bouncekit: warning: {printable(redacted(text))}", err=True)


def _has_logging() -> bool:
    """Whether the application, which --app names, has set up logging of its own."""
    handlers = (*logging.getLogger("bouncekit").handlers, *logging.getLogger().handlers)
    return not all(isinstance(handler, (logging.NullHandler, _Warnings)) for handler in handlers)


def _raised(error: BaseException) -> str:
    """What was raised, and by which line of whose file."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{place}"
