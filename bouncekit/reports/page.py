"""A digest as one HTML file: nothing is fetched and nothing runs, so it can be mailed, kept and printed.

Its sheet is the web page's, put into the file; the browser is told to take this one and to load nothing.
"""

import re
from base64 import b64encode
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from hashlib import sha256
from importlib.resources import files

from bouncekit.delivery.events import EventType
from bouncekit.reports.chart import Series, over_time
from bouncekit.reports.counts import ACTIONS, breakdown
from bouncekit.reports.digest import MOST_READ, Digest, worker_state
from bouncekit.words.errors import MissingExtra

try:
    from markupsafe import Markup

    from bouncekit.reports.dressing import environment
except ImportError as error:
    raise MissingExtra("web", error.name or "jinja2", "reports in HTML") from error

__all__ = ["encoded", "page"]

_TROUBLE = ACTIONS[1:]
_CHANGES = ("added", "lifted")
_INK = re.compile(r"--([a-z]+): (#[0-9a-f]{6});")


def page(told: Digest, limit: int = 10) -> str:
    """The file, with `limit` rows in each table. Remote text in it is bounded and escaped."""
    sheet = _sheet()
    outcomes: Series = [(one.at, Counter(one.actions)) for one in told.columns]
    changes: Series = [(one.at, _changed(one.events)) for one in told.columns]
    trouble: Series = [(at, _only(actions, _TROUBLE)) for at, actions in outcomes]
    return (
        environment()
        .get_template("report.html")
        .render(
            told=told,
            numbers_=told.numbers,
            total=told.numbers.actions.total(),
            actions=ACTIONS,
            trouble_actions=_TROUBLE,
            changes_=_CHANGES,
            outcomes=outcomes,
            trouble=[one for one in trouble if one[1]],
            changes=changes,
            outcomes_chart=over_time(outcomes, ACTIONS, told.every),
            trouble_chart=over_time(trouble, _TROUBLE, told.every),
            changes_chart=over_time(changes, _CHANGES, told.every),
            breakdowns={by.value: breakdown(names, limit) for by, names in told.numbers.by.items()},
            not_notified=told.numbers.events[EventType.NOT_NOTIFIED],
            worker=worker_state(told.depth, told.until),
            limit=limit,
            most_read=MOST_READ,
            inks=_inks(sheet),
            sheet=Markup(sheet),  # noqa: S704 - our own, and no value of anybody's in it
            sheet_hash=b64encode(sha256(sheet.encode()).digest()).decode(),
        )
    )


def encoded(told: Digest, limit: int = 10) -> bytes:
    """The file as it is written."""
    return page(told, limit).encode("utf-8")


@cache
def _sheet() -> str:
    """What the file looks like: the sheet of the web pages, and what is of a report alone."""
    shared, own = files("bouncekit") / "web" / "static" / "style.css", files("bouncekit.reports") / "report.css"
    return f"\n{shared.read_text('utf-8')}\n{own.read_text('utf-8')}"


def _inks(sheet: str) -> Mapping[str, str]:
    """The colours of the sheet on paper: what lays out a PDF gives a drawing none of it."""
    found = dict(_INK.findall(sheet.partition("@media")[0]))
    return {**found, "added": found["suppressed"], "lifted": found["delivered"]}


def _changed(events: Mapping[str, int]) -> Counter[str]:
    added, lifted = (events.get(one, 0) for one in (EventType.SUPPRESSION_ADDED, EventType.SUPPRESSION_LIFTED))
    return +Counter(added=added, lifted=lifted)


def _only(numbers: Mapping[str, int], names: Sequence[str]) -> Counter[str]:
    return +Counter({name: numbers.get(name, 0) for name in names})
