"""The options that say what a rule or a bad hour did: of `suppressions undo`, and of `queue resend`."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from bouncekit.cli.settings import moment
from bouncekit.meaning.classification import Category

__all__ = ["blame_options"]

Function = TypeVar("Function", bound=Callable[..., Any])

_OPTIONS = (
    click.option("--rule", metavar="NAME", help="By this rule of the policy."),
    click.option("--fingerprint", metavar="HEX", help="On refusals alike, as the event guard_tripped names them."),
    click.option("--provider", metavar="NAME", help="On what its servers said: gmail, or the end of a host's name."),
    click.option("--category", type=click.Choice(list(map(str, Category))), metavar="NAME", help="Of this category."),
    click.option(
        "--since", callback=moment, metavar="TIME", help="From then on: 2026-01-31, 2026-01-31T12:00Z, or 2h for ago."
    ),
    click.option("--until", callback=moment, metavar="TIME", help="Up to then."),
    click.option("--tenant", metavar="NAME", help="Only of this tenant; else of all."),
    click.option("--stream", metavar="NAME", help="Only of this stream; else of all."),
)


def blame_options(function: Function) -> Function:
    """A command with these options, in this order."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function
