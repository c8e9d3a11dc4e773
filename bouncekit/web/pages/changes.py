"""Taking changes of the suppression list back: what is meant, what that would do, and doing it."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from bouncekit.meaning.classification import Category
from bouncekit.web.visiting import Go, NotAsked, Page, Visit

__all__ = ["meant", "preview", "take_back"]


def meant(visit: Visit) -> Page:
    """The place to say what is meant."""
    return Page(template="undo.html", values={"asked": {}, "done": None, "categories": tuple(Category)})


def preview(visit: Visit) -> Page:
    """What it would do."""
    done = visit.house.postmaster.suppressions.undo(**_cause(visit), by=visit.user.by, dry_run=True)
    values = {"asked": dict(visit.form), "done": done, "categories": tuple(Category)}
    return Page(template="undo.html", values=values)


def take_back(visit: Visit) -> Go:
    """Do it."""
    done = visit.house.postmaster.suppressions.undo(**_cause(visit), by=visit.user.by)
    counted = f"{done.lifted:,} lifted, {done.restored:,} as they were before, {done.left:,} left alone"
    return Go("/suppressions/undo", f"{counted}; made by: {done.by}")


def _cause(visit: Visit) -> Mapping[str, Any]:
    return {
        "made_by": visit.text("made_by") or None,
        "rule": visit.text("rule") or None,
        "fingerprint": visit.text("fingerprint", most=1000) or None,
        "provider": visit.text("provider") or None,
        "category": visit.one_of("category", Category),
        "since": _time(visit.text("since")),
        "until": _time(visit.text("until")),
        "tenant": visit.text("tenant") or None,
    }


def _time(text: str) -> datetime | None:
    """A time as a browser's field has it, in UTC."""
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise NotAsked(f"{text[:40]!a} is no time: write 2026-11-25 03:56") from None
    return found.replace(tzinfo=found.tzinfo or UTC)
