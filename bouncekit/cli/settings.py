"""The options that several verbs share, and the postmaster that they and the configuration make."""

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import click

from bouncekit.errors import ConfigurationError

if TYPE_CHECKING:
    from bouncekit.config import Config
    from bouncekit.postmaster import Postmaster

__all__ = ["Duration", "as_json", "configured", "open_postmaster", "policy_option", "store_option"]

Function = TypeVar("Function", bound=Callable[..., Any])

policy_option = click.option("--policy", metavar="NAME|FILE", help="A shipped name, or a file.")
store_option = click.option("--store", metavar="URL", help="Such as sqlite:///bounces.db; else BOUNCEKIT_STORE.")


class Duration(click.ParamType):
    """A number and a unit: 90s, 30m, 4h, 7d, 2w."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        from bouncekit.schedule import parse_duration

        try:
            return value if isinstance(value, timedelta) else parse_duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def as_json(what: str) -> Callable[[Function], Function]:
    """The option `--json`, with what is printed under it."""
    return click.option("--json", "as_json", is_flag=True, help=f"Print {what}.")


def configured(**options: str | None) -> "Config":
    """What the configuration says here, with the options that were given on the command line."""
    from bouncekit.config import Config

    return Config.read().with_options(**options)


def open_postmaster(config: "Config", *, needs_store: bool = False) -> "Postmaster":
    """The postmaster of a configuration. With `needs_store`, one that remembers nothing is not good enough.

    Raises:
        ConfigurationError: there is no store.
    """
    if needs_store and not config.store:
        raise ConfigurationError(
            "no store, so nothing is remembered: give --store sqlite:///bounces.db, set BOUNCEKIT_STORE, "
            "or write store = ... into bouncekit.toml"
        )
    from bouncekit.postmaster import Postmaster

    return Postmaster(**config.for_postmaster())
