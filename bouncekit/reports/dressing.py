"""How values look in a page: all that is put in is escaped, and what servers said is also bounded."""

from datetime import UTC, datetime

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from bouncekit._version import __version__
from bouncekit.delivery.events import show_time
from bouncekit.policy.schedule import show_duration
from bouncekit.words.measures import show_minute, show_size, show_span
from bouncekit.words.showing import printable

__all__ = ["environment"]

_MOST_REMOTE = 500  # characters of remote text in one place


def environment(*packages: str) -> Environment:
    """Where templates of these packages are found, the first before the next, and of this one."""
    made = Environment(
        loader=ChoiceLoader([*map(PackageLoader, packages), PackageLoader("bouncekit.reports")]),
        autoescape=True,
        auto_reload=False,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "shown": _shown,
        "count": "{:,}".format,
        "minute": show_minute,
        "second": _second,
        "iso": lambda at: show_time(at),
        "size": show_size,
        "span": show_span,
        "duration": show_duration,
        "share": _share,
        "words": lambda name: str(name).replace("_", " "),
    }
    made.globals |= {"version": __version__}
    return made


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
