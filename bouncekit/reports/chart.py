"""Columns of numbers over time, as shapes of a drawing: made here, drawn by the page, so that no script is needed."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias

__all__ = ["Bar", "Chart", "Column", "Series", "chart", "over_time"]

WIDTH, HEIGHT = 960, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 4, 10, 24
_GAP = 0.18  # of a column's room
_SCALES = (1, 2, 4, 6, 8)  # the line in the middle has a whole number, too
_MOST_LABELS = 8
_HALF_LABEL = 32
_A_DAY, _ABOUT_A_DAY = timedelta(days=1), timedelta(hours=26)

# Times from which on something was counted, and the numbers.
Series: TypeAlias = Sequence[tuple[datetime, Mapping[str, int]]]


@dataclass(frozen=True, slots=True)
class Bar:
    """A rectangle, and the name by which it is coloured."""

    name: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Column:
    """The bars of one time, from the ground up; `title` says all of it in words, `label` stands below some."""

    title: str
    label: str
    middle: float
    bars: tuple[Bar, ...]


@dataclass(frozen=True, slots=True)
class Chart:
    """Columns, and the lines behind them: each its height and what it stands for."""

    columns: tuple[Column, ...]
    lines: tuple[tuple[float, int], ...]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT


def chart(columns: Sequence[tuple[str, str, Mapping[str, int]]], names: Iterable[str]) -> Chart:
    """The drawing of columns, each with title, label and a number for each of the names, in whose order they stand.

    >>> drawn = chart([("noon", "12", {"failed": 1, "delivered": 9})], ["delivered", "failed"])
    >>> [bar.name for bar in drawn.columns[0].bars], [number for _, number in drawn.lines]
    (['delivered', 'failed'], [0, 5, 10])
    """
    order = tuple(names)
    top = _top(max((sum(numbers.get(name, 0) for name in order) for _, _, numbers in columns), default=0))
    room = (WIDTH - _LEFT - _RIGHT) / max(len(columns), 1)
    scale = (HEIGHT - _TOP - _BOTTOM) / top
    every = -(-len(columns) // _MOST_LABELS)
    drawn = tuple(
        Column(
            title,
            label if place % every == 0 and middle + _HALF_LABEL <= WIDTH else "",
            round(middle, 1),
            tuple(_bars(numbers, order, _LEFT + room * (place + _GAP / 2), room * (1 - _GAP), scale)),
        )
        for place, (title, label, numbers) in enumerate(columns)
        for middle in (_LEFT + room * (place + 0.5),)
    )
    steps = (0, top // 2, top) if top > 1 else (0, top)
    return Chart(drawn, tuple((round(HEIGHT - _BOTTOM - step * scale, 1), step) for step in steps))


def over_time(series: Series, names: Sequence[str], every: timedelta) -> Chart:
    """The drawing of a time, in columns as long as `every`; a label has no more of a time than tells columns apart."""
    span = series[-1][0] - series[0][0] if series else timedelta()
    label = "%d %b" if every >= _A_DAY else "%H:%M" if span < _ABOUT_A_DAY else "%a %H:%M"
    return chart([(_title(at, every, numbers, names), f"{at:{label}}", numbers) for at, numbers in series], names)


def _title(at: datetime, every: timedelta, numbers: Mapping[str, int], names: Sequence[str]) -> str:
    """A column in words, for a pointer and for who does not see it."""
    until = f"–{at + every:%H:%M}" if every < _A_DAY else ""
    said = ", ".join(f"{numbers[name]:,} {name}" for name in names if numbers.get(name)) or "nothing"
    return f"{at:%a %d %b %Y %H:%M}{until} UTC: {said}"


def _bars(numbers: Mapping[str, int], order: Iterable[str], x: float, width: float, scale: float) -> Iterable[Bar]:
    y = float(HEIGHT - _BOTTOM)
    for name in order:
        if number := numbers.get(name, 0):
            height = max(number * scale, 1.0)  # one failure among a million is still to be seen
            y -= height
            yield Bar(name, round(x, 1), round(max(y, 0), 1), round(width, 1), round(height, 1))


def _top(most: int) -> int:
    """The next round number: what the axis ends at."""
    scale = 1
    while True:
        for step in _SCALES:
            if most <= step * scale and step * scale > 1:
                return step * scale
        scale *= 10
