"""A digest as one HTML file: nothing is fetched and nothing runs, so it can be mailed, kept and printed.

Its sheet is the web page's, put into the file; the browser is told to take this one and to load nothing.
"""

import re
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from hashlib import sha256
from importlib.resources import files

from bouncekit.delivery.events import EventType
from bouncekit.policy.budget import Level
from bouncekit.reports.chart import Chart, chart
from bouncekit.reports.counts import ACTIONS, largest
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

_Series = Sequence[tuple[datetime, Mapping[str, int]]]


def page(told: Digest, limit: int = 10) -> str:
    """The file, with `limit` rows in each table. Remote text in it is bounded and escaped."""
    sheet = _sheet()
    outcomes: _Series = [(one.at, Counter(one.actions)) for one in told.columns]
    changes: _Series = [(one.at, _changed(one.events)) for one in told.columns]
    trouble: _Series = [(at, _only(actions, _TROUBLE)) for at, actions in outcomes]
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
            outcomes_chart=_drawn(told, outcomes, ACTIONS),
            trouble_chart=_drawn(told, trouble, _TROUBLE),
            changes_chart=_drawn(told, changes, _CHANGES),
            breakdowns={by.value: (len(names), largest(names, limit)) for by, names in told.numbers.by.items()},
            not_notified=told.numbers.events[EventType.NOT_NOTIFIED],
            worker=worker_state(told.depth, told.until),
            budgets=sorted(told.budgets, key=lambda one: tuple(Level).index(one.level), reverse=True),
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


def _drawn(told: Digest, series: _Series, names: Sequence[str]) -> Chart:
    is_short = told.every < timedelta(days=1)
    label = "%d %b" if not is_short else "%H:%M" if told.until - told.since <= timedelta(hours=26) else "%a %H:%M"
    return chart([(_title(at, numbers, names), f"{at:{label}}", numbers) for at, numbers in series], names)


def _title(at: datetime, numbers: Mapping[str, int], names: Sequence[str]) -> str:
    """A column in words, for a pointer and for who does not see it."""
    return f"{at:%a %d %b %Y %H:%M} UTC: {', '.join(_said(numbers, names)) or 'nothing'}"


def _said(numbers: Mapping[str, int], names: Sequence[str]) -> Iterator[str]:
    yield from (f"{numbers[name]:,} {name}" for name in names if numbers.get(name))
