"""What a patient send waits for, a line on standard error before each wait."""

from datetime import datetime
from typing import TYPE_CHECKING

import click

from bouncekit.words.measures import show_minute, show_span
from bouncekit.words.showing import printable, redacted

if TYPE_CHECKING:
    from bouncekit.delivery.events import Event
    from bouncekit.postmaster.postmaster import Postmaster

__all__ = ["tell_waits"]

_MAX_LINE = 300


def tell_waits(postmaster: "Postmaster") -> None:
    """Say of every wait until when it goes, and why: once, however many recipients it is for."""
    office, delayed = postmaster.office, list["Event"]()
    postmaster.on("delayed")(delayed.append)

    def tell(until: datetime) -> None:
        span = show_span(until - office.clock.now())
        why = _why(delayed) if delayed else "a relay or a provider takes no mail for now"
        text = f"waiting until {show_minute(until)} ({span}): {why}"
        click.echo(f"bouncekit: {printable(redacted(text), limit=_MAX_LINE)}", err=True)
        delayed.clear()

    office.on_wait = tell


def _why(delayed: "list[Event]") -> str:
    """What was said to the one that is due first, and how many others wait as well."""
    first = min(delayed, key=lambda event: event.retry_at or event.at)
    said = str(first.reply) if first.reply is not None else "not tried"
    by = f", by rule {first.rule}" if first.rule else ""
    more = f"; and {len(delayed) - 1:,} more" if len(delayed) > 1 else ""
    return f"{first.recipient}: {said}{by}{more}"
