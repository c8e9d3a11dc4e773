"""What was taken in: mails and recipients by kind, category and who reported them, and what of it proves nothing."""

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from bouncekit.cli.output import show_json, show_line, show_table
from bouncekit.intake.absorbing import Outcome
from bouncekit.words.showing import printable, redacted

if TYPE_CHECKING:
    from bouncekit.desk.returns import Absorbed
    from bouncekit.postmaster.postmaster import Postmaster

__all__ = ["Taken", "complain", "show_taken"]

_MOST_ROWS = 30  # reporting hosts are many, and strangers name them
_MOST_KEPT = 1000
_OTHERS = "(others)"

Row = tuple[str, str | None, str]


@dataclass(slots=True)
class Taken:
    """Counts of what a postmaster was given; call it as a driver's `absorb`."""

    postmaster: "Postmaster"
    tenant: str = ""
    aside: str = ""  # where mails lie that make an error of ours
    mails: Counter[str] = field(default_factory=Counter)  # by kind
    recipients: Counter[Row] = field(default_factory=Counter)  # by kind, category and who reported
    unverified: Counter[str] = field(default_factory=Counter)  # by why
    outcomes: Counter[Outcome] = field(default_factory=Counter)

    def __call__(self, content: bytes, arrived_at: str | None) -> None:
        """Have a mail remembered, and count it.

        Raises:
            StoreError: it could not be.
        """
        self._count(self.postmaster.absorb(content, arrived_at=arrived_at, tenant=self.tenant))

    def _count(self, absorbed: "Absorbed") -> None:
        incoming = absorbed.incoming
        self.mails[incoming.kind.value] += 1
        for one in absorbed.settlements:
            host = incoming.reporting_mta or incoming.reader or ""
            row = (incoming.kind.value, one.category.value if one.category else None, host[:255])
            is_one_too_many = row not in self.recipients and len(self.recipients) >= _MOST_KEPT
            self.recipients[(*row[:2], _OTHERS) if is_one_too_many else row] += 1
        self.unverified.update(one.why for one in absorbed.unverified)

    def to_dict(self) -> dict[str, Any]:
        """The counts for a program."""
        return {
            "mails": self.mails.total(),
            "kinds": dict(self.mails.most_common()),
            "recipients": [
                {"kind": kind, "category": category, "reported_by": host or None, "count": count}
                for (kind, category, host), count in self.recipients.most_common()
            ],
            "unverified": dict(self.unverified.most_common()),
            "set_aside": self.outcomes[Outcome.ASIDE],
            "kept": self.outcomes[Outcome.KEPT],
        }


def show_taken(taken: Taken, *, as_json: bool) -> None:
    """The summary."""
    if as_json:
        show_json(taken.to_dict())
        return
    kinds = ", ".join(f"{count} {kind}" for kind, count in taken.mails.most_common())
    show_line(f"{_counted(taken.mails.total(), 'mail')} taken in" + (f": {kinds}" if kinds else ""))
    rows = taken.recipients.most_common(_MOST_ROWS)
    if rows:
        heads = ("kind", "category", "reported by", "recipients")
        show_table(heads, [(kind, category, host, count) for (kind, category, host), count in rows])
        if (more := len(taken.recipients) - len(rows)) > 0:
            show_line(f"and {_counted(more, 'more row')}; --json has them all")
    for why, count in taken.unverified.most_common(_MOST_ROWS):
        show_line(f"{count} unverified, which counts for nothing: {why}")
    if count := taken.outcomes[Outcome.ASIDE]:
        complain(f"{_counted(count, 'mail')} could not be taken in, and set aside: {taken.aside}")
    if count := taken.outcomes[Outcome.KEPT]:
        complain(f"{_counted(count, 'mail')} may not be read here, and stayed")


def complain(message: str) -> None:
    """One line on standard error."""
    click.echo(f"bouncekit: error: {printable(redacted(message))}", err=True)


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
