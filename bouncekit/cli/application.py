"""`--app package.module:postmaster`: the application's own postmaster, which knows its relays and their passwords."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING

import click

from bouncekit.cli.settings import configured, hear_warnings, open_postmaster
from bouncekit.words.errors import ConfigurationError

if TYPE_CHECKING:
    from bouncekit.postmaster.postmaster import Postmaster

__all__ = ["app_option", "opened"]

app_option = click.option("--app", metavar="MODULE:NAME", help="The application's postmaster; else the configuration.")


@contextmanager
def opened(
    app: str | None, *, policy: str | None, store: str | None, with_sinks: bool = False
) -> Iterator["Postmaster"]:
    """The postmaster of an application, else of the configuration; it is closed at the end.

    Raises:
        ConfigurationError: there is none, or it has no store that outlives the process.
    """
    if app is None:
        config = configured(policy=policy, store=store, retry="queue")
        with open_postmaster(config, needs_store=True, with_sinks=with_sinks) as postmaster:
            yield postmaster
        return
    from bouncekit.postmaster.worker import held_back

    if policy or store:
        raise ConfigurationError("--app brings its own policy and store: leave --policy and --store out")
    hear_warnings()
    with held_back(), _imported(app) as postmaster:
        yield postmaster


def _imported(app: str) -> "Postmaster":
    from bouncekit.postmaster.postmaster import Postmaster

    module, colon, name = app.partition(":")
    if not module or not colon or not name:
        raise ConfigurationError(f"--app {app!a}: write package.module:postmaster")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found: object = import_module(module)
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"--app {app!a}: {error}; run it where {module.split('.')[0]} can be imported"
        ) from error
    for part in name.split("."):
        found = getattr(found, part, None)
    if callable(found) and not isinstance(found, Postmaster):
        try:
            found = found()
        except TypeError as error:
            raise ConfigurationError(f"--app {app!a}: {name} cannot be called without arguments: {error}") from error
    if not isinstance(found, Postmaster):
        raise ConfigurationError(f"--app {app!a}: {module} has no Postmaster {name}, nor a function that makes one")
    return found
