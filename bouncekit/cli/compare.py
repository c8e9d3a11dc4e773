"""`bouncekit compare`: two codes side by side."""

import click

from bouncekit.cli.cards import card_data, lang_option, show_page
from bouncekit.cli.output import show_json
from bouncekit.cli.settings import json_option

__all__ = ["verb"]


@click.command()
@click.argument("first", metavar="CODE")
@click.argument("second", metavar="CODE")
@lang_option
@json_option("one JSON document: both cards, the key difference, when which")
def verb(first: str, second: str, lang: str, as_json: bool) -> int:
    """Compare two codes: both cards side by side, the key difference, and when a server says which.

    \b
    bouncekit compare 221 552
    bouncekit compare 452 552 --lang hi
    """
    from bouncekit.postmaster.explaining import compare

    try:
        compared = compare(first, second, lang=lang)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    if not as_json:
        show_page(compared)
        return 0
    show_json(
        {
            "lang": compared.language.value,
            "cards": [card_data(card) for card in compared.cards],
            "difference": compared.difference,
            "which": compared.which,
            "written": compared.is_written,
        }
    )
    return 0
