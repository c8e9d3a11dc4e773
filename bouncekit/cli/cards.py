"""What the verbs about codes share: how wide a page is, and a card or a verdict as JSON."""

import os
import shutil
import sys
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from bouncekit.codes import Card
    from bouncekit.meaning.classification import Classification
    from bouncekit.postmaster.explaining import Comparison, Explanation

__all__ = ["card_data", "lang_option", "page_width", "show_page", "verdict_data"]

_WIDEST = 100  # longer lines are hard to read
_NARROWEST = 20

lang_option = click.option(
    "--lang",
    type=click.Choice(("en", "hi")),
    default="en",
    show_default=True,
    help="The language of the cards: English or Hindi.",
)


def show_page(page: "Explanation | Comparison") -> None:
    """A page as wide as the terminal, or as COLUMNS says."""
    width, by_cursor = page_width()
    click.echo(page.show(width, by_cursor=by_cursor))


def page_width() -> tuple[int, bool]:
    """The columns of a page, and whether a terminal's cursor can be sent to one of them."""
    columns = shutil.get_terminal_size((80, 24)).columns
    by_cursor = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
    return min(max(columns, _NARROWEST), _WIDEST), by_cursor


def card_data(card: "Card") -> dict[str, Any]:
    """A card as JSON-ready values; `stages` is null for any command."""
    return {
        "code": card.code,
        "name": card.name,
        "class": card.class_name,
        "subject": card.subject,
        "stages": card.stages,
        "basic": card.basic,
        "description": card.description,
        "when": card.when,
        "fix": card.fix,
        "source": card.source,
        "provider": card.provider,
        "exact": card.is_exact,
    }


def verdict_data(verdict: "Classification") -> dict[str, Any]:
    """What a reply means, as JSON takes it."""
    return {
        "category": verdict.category.value,
        "scope": verdict.scope.value if verdict.scope else None,
        "permanent": verdict.permanent,
        "certain": verdict.certain,
        "rule": verdict.rule,
        "where": verdict.where,
    }
