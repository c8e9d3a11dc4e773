"""A history as a page for people: the answer first, then what comes next, what to do, and what happened."""

from collections.abc import Iterable, Iterator
from datetime import datetime

from bouncekit.delivery.events import show_time
from bouncekit.history.retold import coming, struck, told, verdict
from bouncekit.history.timeline import History
from bouncekit.words.columns import labelled, wrapped
from bouncekit.words.measures import counted
from bouncekit.words.showing import printable

__all__ = ["page"]

_INDENT = "  "

Rows = list[tuple[str, str]]


def page(found: History, width: int, *, by_cursor: bool = False) -> Iterator[str]:
    """The lines of it, as wide as a terminal. What came from outside is escaped and bounded."""
    yield from wrapped(verdict(found), width)
    if found.known_as is not None:
        text = f"Its address is not kept: it is known as {found.known_as}, and of what servers said only the codes."
        yield from wrapped(printable(text), width)
    sections = (
        ("What comes next", [coming(one, found.at) for one in found.prospects]),
        ("What to do", [(f"{card.code} {card.name}", card.fix) for card in found.advice]),
        ("Verdicts that count", [struck(one) for one in found.strikes]),
    )
    for heading, rows in sections:
        if rows:
            yield from ("", heading)
            yield from _indented(rows, width, by_cursor=by_cursor)
    if found.moments:
        yield from ("", "What happened, newest first")
    for moment in found.moments:
        yield f"{_second(moment.at)}  {moment.what}"
        yield from _indented(list(told(moment)), width, by_cursor=by_cursor)
    yield from _left_out(found)


def _left_out(found: History) -> Iterator[str]:
    if found.has_more:
        yield "and more before that: --limit, --since"
    if found.unreadable:
        yield f"{counted(found.unreadable, 'event')} of a newer bouncekit could not be read"


def _indented(rows: Rows, width: int, *, by_cursor: bool) -> Iterable[str]:
    (lines,) = labelled([[(_INDENT + label, text) for label, text in rows]], width, by_cursor=by_cursor)
    return lines


def _second(at: datetime) -> str:
    return f"{show_time(at)[:19].replace('T', ' ')}Z"
