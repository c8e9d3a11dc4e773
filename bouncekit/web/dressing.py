"""From a template and its values to a page. All that is put in is escaped; what servers said is also bounded."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from bouncekit._version import __version__
from bouncekit.delivery.events import show_time
from bouncekit.policy.schedule import show_duration
from bouncekit.web.sealing import Seal, of_tenant
from bouncekit.words.measures import show_minute, show_size, show_span
from bouncekit.words.showing import printable

__all__ = ["Dress"]

_MOST_REMOTE = 500  # characters of remote text in one place

NAVIGATION = (
    ("/", "Overview"),
    ("/events", "Events"),
    ("/recipients", "Recipients"),
    ("/suppressions", "Suppressions"),
    ("/queue", "Queue"),
    ("/policy", "Policy"),
    ("/health", "Health"),
    ("/codes", "Codes"),
)


class Dress:
    """The templates, and how values look in them."""

    def __init__(self, seal: Seal) -> None:
        self._environment = Environment(
            loader=PackageLoader("bouncekit.web"),
            autoescape=True,
            auto_reload=False,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters |= {
            "shown": _shown,
            "count": "{:,}".format,
            "minute": show_minute,
            "second": _second,
            "iso": lambda at: show_time(at),
            "size": show_size,
            "span": show_span,
            "duration": show_duration,
            "share": _share,
            "seal": seal.close,
            "words": lambda name: str(name).replace("_", " "),
        }
        self._environment.globals |= {"navigation": NAVIGATION, "version": __version__, "of_tenant": of_tenant}

    def render(self, template: str, values: Mapping[str, Any]) -> str:
        """The page."""
        return self._environment.get_template(template).render(values)


def _shown(text: object) -> str:
    return "" if text is None else printable(str(text), limit=_MOST_REMOTE)


def _second(at: datetime | str) -> str:
    """A time to the second, in UTC; also one in JSON form."""
    told = at if isinstance(at, datetime) else datetime.fromisoformat(at)
    return f"{told.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def _share(number: int, of: int) -> str:
    """A part in hundredths: no number of failures is none."""
    if not of:
        return "0%"
    share = 100 * number / of
    return "<0.1%" if 0 < share < 0.1 else f"{share:.1f}%" if share < 10 else f"{share:.0f}%"
