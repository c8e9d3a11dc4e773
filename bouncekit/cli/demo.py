"""`bouncekit demo`: the replies that bouncekit is for, met for real on this machine, with nothing to set up."""

import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from bouncekit.cli.output import show_json, show_line, show_table, terminal_width
from bouncekit.cli.settings import json_option
from bouncekit.delivery.events import suppression_data
from bouncekit.delivery.settlement import Settlement
from bouncekit.policy.policy import Disposition, SessionDisposition
from bouncekit.policy.rule import Fate, SessionFate
from bouncekit.words.status import Action

if TYPE_CHECKING:
    from datetime import datetime

    from bouncekit.cli.rehearsal import Check, Line, Rehearsal
    from bouncekit.delivery.events import Event
    from bouncekit.policy.suppression import Suppression

__all__ = ["verb"]

_WIDTH = 118  # where there is no terminal
_HEADS = ("", "to", "the server said", "which means (whose fault)", "what bouncekit did", "by rule")
_LIST_HEADS = ("address", "standing", "because of", "until", "by")
_AT_ONCE = {
    Fate.SPLIT: "split, sent again at once",
    Fate.ALONE: "asked again at once, alone",
    SessionFate.RECONNECT: "reconnected, sent again",
    SessionFate.CLOSE: "connection closed",
}


@click.command()
@json_option("JSON lines: the events as they came, then a summary")
def verb(as_json: bool) -> int:
    """Watch bouncekit handle 221, 421, 452, 550 and 552.

    A mail server that misbehaves by script starts on this machine, real messages go to it through the default
    policy, and everything shown is what happened. Exit code 1 if any of it is not what it should be.
    """
    from bouncekit.cli.rehearsal import rehearse

    rehearsal = rehearse()
    checks = list(rehearsal.checks())
    holds = all(check.holds for check in checks)
    if as_json:
        for event in rehearsal.events:
            show_json(event.to_dict())
        show_json(_summary(rehearsal, checks, holds=holds))
    else:
        _show(rehearsal, checks, holds=holds)
    return 0 if holds else 1


def _show(rehearsal: "Rehearsal", checks: "Iterable[Check]", *, holds: bool) -> None:
    from bouncekit.cli.rehearsal import SCENES

    _show_text(
        f"A mail server at {rehearsal.url} misbehaves on purpose. bouncekit sends it {len(SCENES)} messages, "
        "by the default policy, for ada, bob ... at example.com:"
    )
    for number, scene in enumerate(SCENES, 1):
        _show_text(f"{number}. {scene.title}", indent="  ")
    _show_part("", _HEADS, map(_row, rehearsal.lines))
    _show_part("Events, as they came", ("event", "recipient", ""), map(_happened, rehearsal.events))
    show_line()
    show_line("The notice that went through another channel")
    for line in (line for notice in rehearsal.notices for line in notice.text.splitlines()):
        _show_text(line, indent="  ")
    _show_part("The suppression list", _LIST_HEADS, map(_listed, rehearsal.suppressions))
    _show_part("", ("checked", "", "found"), map(_checked, checks))
    show_line()
    show_line("All is as it should be." if holds else "Something is not as it should be: see FAILED above.")
    _show_text("Next, in the folder of your application: bouncekit init")


def _show_part(title: str, heads: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    show_line()
    if title:
        show_line(title)
    show_table(heads, rows, width=_width())


def _show_text(text: str, *, indent: str = "") -> None:
    for line in textwrap.wrap(text, _width(), initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False):
        show_line(line)


def _width() -> int:
    return min(terminal_width() or _WIDTH, _WIDTH)


def _happened(event: "Event") -> tuple[object, ...]:
    return event.type.value, event.recipient, _told(event)


def _listed(one: "Suppression") -> tuple[object, ...]:
    return one.address, one.standing.value, one.category.value, _day(one.expires_at), one.by


def _row(line: "Line") -> tuple[object, ...]:
    means = f"{line.category} ({line.scope})" if line.category else ("accepted" if line.said.startswith("2") else None)
    name = line.recipient.removesuffix("@example.com")
    return line.scene, name, line.said or "(not asked)", means, _did(line.verdict), line.rule.removeprefix("rule ")


def _checked(check: "Check") -> tuple[object, ...]:
    """A check; a long finding that is as it should be says no more than the claim."""
    is_short = len(check.found) <= _WIDTH
    return "ok" if check.holds else "FAILED", check.claim, check.found if is_short or not check.holds else None


def _did(verdict: Disposition | SessionDisposition | Settlement) -> str:
    """What came of a verdict, in words."""
    from bouncekit.cli.rehearsal import ROLE

    if not isinstance(verdict, Settlement):
        return _AT_ONCE.get(verdict.fate, str(verdict.fate)) if verdict.fate else ""
    if verdict.action is Action.SUPPRESSED:
        return "suppressed, skipped"
    if verdict.retry_at is not None:
        return f"{verdict.action} until {verdict.retry_at:%H:%M}Z"
    measures = ["suppressed"] if verdict.suppression else []
    measures += [f"{notice.channel} told" for notice in verdict.notices if notice.channel == ROLE]
    if verdict.action is Action.FAILED and not measures:
        measures = ["nobody suppressed"]
    return ", ".join([str(verdict.action), *measures])


def _told(event: "Event") -> str:
    """What an event has to say besides its type and recipient."""
    details = event.details
    if "then" in details:
        return f"{details['reply']}: " + ("expected" if details["expected"] else f"unasked, so {details['then']}")
    if "channel" in details:
        return f"channel {details['channel']}"
    if event.type.value.startswith("suppression_") and event.suppression is not None:
        return f"{event.suppression.category}, until {_day(event.suppression.expires_at)}"
    if event.retry_at is not None:
        return f"{event.reply}; next try {event.retry_at:%H:%M}Z"
    return str(event.reply or "")


def _day(at: "datetime | None") -> str:
    return f"{at:%Y-%m-%d}" if at else "for good"


def _summary(rehearsal: "Rehearsal", checks: "Iterable[Check]", *, holds: bool) -> dict[str, Any]:
    return {
        "summary": "demo",
        "ok": holds,
        "lines": [
            {
                "message": line.scene,
                "recipient": line.recipient,
                "said": line.said,
                "category": line.category,
                "scope": line.scope,
                "did": _did(line.verdict),
                "rule": line.rule,
                "where": line.verdict.where,
            }
            for line in rehearsal.lines
        ],
        "suppressions": [suppression_data(one) for one in rehearsal.suppressions],
        "copies": rehearsal.copies,
        "checks": [{"claim": check.claim, "ok": check.holds, "found": check.found} for check in checks],
    }
