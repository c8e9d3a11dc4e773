"""How times, lengths of time, sizes and numbers of things are shown to people: in UTC, in two units, rounded down."""

from datetime import UTC, datetime, timedelta

__all__ = ["counted", "show_minute", "show_size", "show_span"]

_SPANS = (("d", 86_400, "h", 3600), ("h", 3600, "m", 60), ("m", 60, "s", 1))  # a unit, and the next smaller one


def counted(number: int, thing: str, several: str = "") -> str:
    """So many things; `several` is their plural, where that is not made with an s.

    >>> counted(1, "row"), counted(1200, "row"), counted(0, "reply", "replies")
    ('1 row', '1,200 rows', '0 replies')
    """
    return f"{number:,} {thing if number == 1 else several or f'{thing}s'}"


def show_minute(at: datetime | None) -> str:
    """A time for a table, in UTC; None is for good.

    >>> show_minute(datetime(2026, 11, 25, 3, 56, 38, tzinfo=UTC)), show_minute(None)
    ('2026-11-25 03:56Z', 'for good')
    """
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%MZ}" if at is not None else "for good"


def show_span(span: timedelta) -> str:
    """A length of time in its two largest units, rounded down.

    >>> [show_span(timedelta(seconds=seconds)) for seconds in (9, 90, 3600, 100_000)]
    ['9s', '1m 30s', '1h', '1d 3h']
    """
    seconds = max(int(span.total_seconds()), 0)
    for unit, long, smaller, short in _SPANS:
        if seconds >= long:
            rest = seconds % long // short
            return f"{seconds // long}{unit}" + (f" {rest}{smaller}" if rest else "")
    return f"{seconds}s"


def show_size(size_bytes: int) -> str:
    """Bytes for people, in units of 1000.

    >>> show_size(999), show_size(1234), show_size(25_000_000)
    ('999 B', '1.2 kB', '25.0 MB')
    """
    if size_bytes < 1000:
        return f"{size_bytes} B"
    return f"{size_bytes / 1000:.1f} kB" if size_bytes < 1_000_000 else f"{size_bytes / 1_000_000:.1f} MB"
