"""A digest as a PDF: the HTML file of `page`, laid out on paper by WeasyPrint, with the fonts of this machine."""

import logging
from contextlib import redirect_stdout
from io import StringIO

from bouncekit.reports.digest import Digest
from bouncekit.words.errors import ConfigurationError, MissingExtra

try:
    with redirect_stdout(StringIO()):  # where it misses a library, it prints a page about it
        from weasyprint import HTML
        from weasyprint.urls import URLFetcher

    from bouncekit.reports.page import page
except ImportError as error:
    raise MissingExtra("pdf", error.name or "weasyprint", "reports in PDF") from error
except OSError as error:  # it loads Pango, which pip does not install
    raise ConfigurationError(
        "a PDF needs the library Pango: apt-get install libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0, or "
        "brew install pango; or write --html and print it from a browser"
    ) from error

__all__ = ["printed"]


def printed(told: Digest, limit: int = 10) -> bytes:
    """The file. What it shows is what `page` shows; nothing is fetched for it."""
    logging.getLogger("weasyprint").setLevel(logging.ERROR)  # it warns of what only browsers know
    made: bytes = HTML(string=page(told, limit), url_fetcher=URLFetcher(allowed_protocols=())).write_pdf()
    return made
