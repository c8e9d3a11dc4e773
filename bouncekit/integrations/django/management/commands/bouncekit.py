"""`manage.py bouncekit VERB ...`: the command line, with the project's own postmaster.

manage.py bouncekit worker --concurrency 4
manage.py bouncekit suppressions list
manage.py bouncekit why jo@example.com
"""

import argparse
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import PurePath
from typing import Any

import click
from django.core.management.base import BaseCommand, CommandParser
from django.utils.module_loading import import_string

from bouncekit.integrations.django.project import close, given, relays

__all__ = ["Command"]

_APP = "bouncekit.integrations.django:postmaster"
_COMMAND_LINE = "bouncekit.cli.main"  # a floor above this one, where Django alone wants its commands to be
_TABLES = {"relays": "relay", "channels": "channel"}


class Command(BaseCommand):
    """Verbs that take `--app` get the project's postmaster, the others its settings as BOUNCEKIT_* variables."""

    help = "Look after the mail of this project, as the command `bouncekit` does; see: manage.py bouncekit -- -h"

    def add_arguments(self, parser: CommandParser) -> None:
        """All that follows is bouncekit's."""
        parser.add_argument("arguments", nargs=argparse.REMAINDER, help="as of the command `bouncekit`")

    def handle(self, *unused: Any, arguments: list[str], **options: Any) -> None:
        """Run the verb, and exit with its code."""
        arguments = arguments[1:] if arguments[:1] == ["--"] else arguments
        verb = arguments[0] if arguments else ""
        main: click.Group = import_string(_COMMAND_LINE)
        command = main.get_command(click.Context(main), verb)
        defaults = {verb: _defaults(command)} if command is not None else {}
        with _in_environment(given()):
            try:
                main(arguments, prog_name="manage.py bouncekit", default_map=defaults)
            except SystemExit as done:
                if done.code:
                    sys.exit(done.code)
            finally:
                close()


def _defaults(command: click.Command) -> dict[str, Any]:
    """`--app` for all that takes it: the verb, and the verbs below it."""
    found: dict[str, Any] = {"app": _APP} if any(option.name == "app" for option in command.params) else {}
    if isinstance(command, click.Group):
        found |= {name: _defaults(below) for name, below in command.commands.items()}
    return found


@contextmanager
def _in_environment(found: object) -> Iterator[None]:
    """The arguments of the setting, as variables for verbs that read the configuration."""
    before = dict(os.environ)
    os.environ.update(_variables(found) if isinstance(found, Mapping) else {})
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _variables(arguments: Mapping[str, Any]) -> dict[str, str]:
    """BOUNCEKIT_* of all that a text can say; an object, such as a Store, stays with the application."""
    given_relays = arguments.get("relays") or relays()
    found = {name: _text(value) for name, value in arguments.items() if name not in _TABLES}
    for table, prefix in _TABLES.items():
        for name, way in (given_relays if table == "relays" else arguments.get(table) or {}).items():
            found[f"{prefix}_{name}"] = _text(way.get("url") if isinstance(way, Mapping) else way)
    return {f"BOUNCEKIT_{name.upper()}": text for name, text in found.items() if text}


def _text(value: object) -> str:
    """What Config reads as the same; empty where there is no such text."""
    match value:
        case bool():
            return "true" if value else "false"
        case timedelta():
            return str(value.total_seconds())
        case str() | PurePath() | int() | float():
            return str(value)
        case list() | tuple():
            return ",".join(filter(None, map(_text, value)))
        case _:
            return ""
