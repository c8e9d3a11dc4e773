"""What one row of a list file becomes: an entry of the suppression list, or the reason why it binds nobody."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from types import MappingProxyType
from typing import Any

from bouncekit.lists.foreignlist import OWN, Format, Said, squeezed
from bouncekit.meaning.classification import Category, Classification, Scope
from bouncekit.policy.suppression import Evidence, Standing, Suppression
from bouncekit.words.address import parse_address, suppression_key
from bouncekit.words.pseudonym import is_pseudonym
from bouncekit.words.reply import Reply, Stage
from bouncekit.words.status import Action, RecipientStatus

__all__ = ["COLUMNS", "Reader", "Unbound", "cells_of", "safe", "unsafe"]

_FULL_LASTS = timedelta(days=30)  # as the last rung of the default policy: a full mailbox may be emptied
_DOUBTED_LASTS = timedelta(days=30)
_LONGEST_TEXT = 2048
_LARGEST_SECONDS = 100_000_000_000  # a number behind this counts milliseconds
_HIGHEST_RUNG = 1000  # behind the last of every ladder, which repeats
_MOST_VERDICTS = 10_000
_MOST_SPELLINGS = 1000
_PARTS = ("address", "at", "until", "code", "text", "word", "limited")  # of a format, those that name a column
_UNSURE = frozenset({Category.UNKNOWN})
_LIMITED = frozenset({Said.UNSUBSCRIBED, Said.ADDED})  # who does not want it, unlike a mailbox that is not there
_JUDGED = frozenset({Said.QUOTED, Said.BOUNCED, Said.FAILED})  # whose reply is classified, where it is quoted

# Of our own format. An evidence has one column for each of its fields.
_EVIDENCE = tuple(one.name for one in fields(Evidence))
COLUMNS = (
    *"address key tenant stream standing category since changed_at expires_at ladder rung by".split(),
    *_EVIDENCE,
)
_OPTIONAL = frozenset({"address", "ladder", "expires_at", *_EVIDENCE}) - {"reply"}
_FORMULA = tuple("=+-@\t\r")  # what a spreadsheet would run

_CATEGORIES = MappingProxyType(
    {
        Said.BOUNCED: Category.USER_UNKNOWN,
        Said.FAILED: Category.USER_UNKNOWN,
        Said.INVALID: Category.INVALID_ADDRESS,
        Said.COMPLAINED: Category.COMPLAINT,
        Said.UNSUBSCRIBED: Category.RECIPIENT_FILTERED,
        Said.ADDED: Category.RECIPIENT_FILTERED,
    }
)
# A person's own word is lifted by no success; a service's word about a mailbox is.
_STANDINGS = MappingProxyType(
    {
        Said.FAILED: Standing.PROVISIONAL,
        Said.UNSUBSCRIBED: Standing.MANUAL,
        Said.ADDED: Standing.MANUAL,
    }
)


@dataclass(frozen=True, slots=True)
class Unbound:
    """An entry that binds nobody, and why."""

    address: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Makes entries of the rows of one file.

    `by` is who put them there; `lasts` how long they stay, None as their kind does. `tenant` and `stream` are those of
    a foreign list's entries; our own have theirs.
    """

    format: Format
    by: str
    now: datetime
    classify: Callable[[RecipientStatus], Classification]
    tenant: str = ""
    stream: str = ""
    lasts: timedelta | None = None
    _verdicts: dict[str, Classification | None] = field(default_factory=dict, repr=False)  # of the texts that were read
    _spelled: dict[tuple[str, ...], Format] = field(default_factory=dict, repr=False)  # by the columns of rows

    def read(self, row: Mapping[str, Any]) -> Suppression | Unbound:
        """The entry of a row, whose columns are named as the file names them.

        Raises:
            ValueError: it cannot be read; the message says why. AddressError for its address.
        """
        if self.format is OWN:
            return _own(row)
        return self._foreign(row, self._spelled.get(columns := tuple(row)) or self._spell(columns))

    def _foreign(self, row: Mapping[str, Any], kind: Format) -> Suppression | Unbound:
        text = _text(row, kind)
        wire = _address(row.get(kind.address))
        said = kind.always or kind.says.get(squeezed(str(row.get(kind.word) or "")))
        if said is None:
            return Unbound(wire, f"{kind.name} says {str(row.get(kind.word))[:40]!r}, which is no bounce of a mailbox")
        if said is Said.SOFT:
            return Unbound(wire, "a soft bounce or a block")
        if self._is_limited(row, kind, said):
            return Unbound(wire, "for some mail only: name its stream")
        category = self._category(said, wire, text)
        if isinstance(category, Unbound):
            return category
        said_at, until = _time(kind.at and row.get(kind.at)), _time(kind.until and row.get(kind.until))
        lasts = self.lasts
        if lasts is None and category is Category.MAILBOX_FULL:
            lasts = _FULL_LASTS
        if lasts is None and said is Said.FAILED and until is None:
            lasts = _DOUBTED_LASTS
        standing, since = _STANDINGS.get(said, Standing.CONFIRMED), min(said_at or self.now, self.now)
        return Suppression(
            key=suppression_key(wire),
            address=wire,
            standing=standing,
            category=category,
            since=since,
            changed_at=since,
            expires_at=until if lasts is None else since + lasts,
            rung=int(standing is Standing.CONFIRMED),
            by=self.by,
            evidence=Evidence(reply=text or f"{kind.name}: {said}"),
            tenant=self.tenant,
            stream=self.stream,
        )

    def _category(self, said: Said, wire: str, text: str) -> Category | Unbound:
        """What the entry is about: as the reply says that the service quotes, else as the service does."""
        category = _CATEGORIES.get(said, Category.UNKNOWN)
        if said not in _JUDGED or not (text or said is Said.QUOTED):
            return category
        verdict = self._verdict(text.replace(wire, ""))
        if verdict is None or verdict.category in _UNSURE:
            if said is Said.QUOTED:
                return Unbound(wire, "what the server said does not show that it is about the mailbox")
            return category
        if verdict.scope is not Scope.RECIPIENT:
            return Unbound(wire, f"not about the mailbox: {verdict.category}")
        if not verdict.permanent:
            return Unbound(wire, f"not permanent: {verdict.category}")
        return verdict.category

    def _spell(self, columns: tuple[str, ...]) -> Format:
        """The format with its columns named as in rows that have these."""
        names = {squeezed(name): name for name in columns if squeezed(name)}
        wanted = {part: getattr(self.format, part) for part in _PARTS}
        if len(self._spelled) >= _MOST_SPELLINGS:
            self._spelled.clear()
        own = {part: names.get(name, name) for part, name in wanted.items()}
        return self._spelled.setdefault(columns, replace(self.format, **own))

    def _verdict(self, text: str) -> Classification | None:
        """What a reply means; a provider says the same of many."""
        if text not in self._verdicts:
            if len(self._verdicts) >= _MOST_VERDICTS:
                self._verdicts.clear()
            self._verdicts[text] = self._judged(text)
        return self._verdicts[text]

    def _judged(self, text: str) -> Classification | None:
        try:
            reply = Reply.parse(text)
        except ValueError:
            return None
        action = Action.FAILED if reply.is_permanent else Action.DELAYED
        return self.classify(RecipientStatus(recipient="", action=action, stage=Stage.RCPT, reply=reply))

    def _is_limited(self, row: Mapping[str, Any], kind: Format, said: Said) -> bool:
        to = str((kind.limited and row.get(kind.limited)) or "")
        word = "" if "*" in to else squeezed(to)
        return bool(word) and not self.stream and said in _LIMITED and kind.limits_to in ("", word)


def _text(row: Mapping[str, Any], kind: Format) -> str:
    """What the service quotes of the reply."""
    code = str((kind.code and row.get(kind.code)) or "").strip()
    text = str((kind.text and row.get(kind.text)) or "").strip()
    return (text if text.startswith(code) else f"{code} {text}".strip())[:_LONGEST_TEXT]


def cells_of(suppression: Suppression) -> dict[str, Any]:
    """An entry in the columns of our own format; times as text, what is not there as None."""
    shown = {name: getattr(suppression, name) for name in COLUMNS if name not in _EVIDENCE}
    for name in ("since", "changed_at", "expires_at"):
        shown[name] = shown[name] and shown[name].astimezone(UTC).isoformat(timespec="milliseconds")
    rests_on = {name: getattr(suppression.evidence, name) for name in _EVIDENCE}
    return {**shown, "standing": suppression.standing.value, "category": suppression.category.value, **rests_on}


def safe(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula: a quote goes before what would begin one.

    >>> safe("=1+1"), safe("'=1+1"), safe("jo@example.com")
    ("'=1+1", "''=1+1", 'jo@example.com')
    """
    return f"'{cell}" if cell.lstrip("'").startswith(_FORMULA) else cell


def unsafe(cell: str) -> str:
    """What was made `safe`, or written with its quotes doubled alone, as it was."""
    return cell[1:] if cell.startswith("'") and cell.lstrip("'").startswith(_FORMULA) else cell


def _own(row: Mapping[str, Any]) -> Suppression:
    """Our own row: from JSON lines as it is, from CSV all texts."""
    is_csv = isinstance(row.get("rung"), str)
    texts = {name: unsafe(cell) if is_csv and isinstance(cell, str) else cell for name, cell in row.items()}
    found = {name: None if texts.get(name) == "" and name in _OPTIONAL else texts.get(name) for name in COLUMNS}
    address = found["address"]
    if address is None and not is_pseudonym(str(found["key"])):
        raise ValueError("no address, and its key is no pseudonym")
    wire = None if address is None else _address(address)
    since, changed_at = _time(found["since"]), _time(found["changed_at"])
    if since is None:
        raise ValueError("since is missing")
    accepted = found["accepted"]
    evidence = Evidence(
        **{
            name: None if found[name] is None else str(found[name])
            for name in _EVIDENCE
            if name not in ("accepted", "reply")
        },
        accepted=None if accepted is None else int(accepted),
        reply=str(found["reply"] or ""),
    )
    return Suppression(
        key=str(found["key"]) if wire is None else suppression_key(wire),
        address=wire,
        standing=Standing(str(found["standing"])),
        category=Category(str(found["category"])),
        since=since,
        changed_at=changed_at or since,
        expires_at=_time(found["expires_at"]),
        ladder=None if found["ladder"] is None else str(found["ladder"]),
        rung=min(max(int(found["rung"] or 0), 0), _HIGHEST_RUNG),
        by=str(found["by"] or ""),
        evidence=evidence,
        tenant=str(found["tenant"] or ""),
        stream=str(found["stream"] or ""),
    )


def _address(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("no address")
    wire = parse_address(value.strip()).wire
    if "@" not in wire:
        raise ValueError(f"{value[:80]!r} is no address: it has no domain")
    return wire


def _time(value: object) -> datetime | None:
    """A time as services write it: seconds or milliseconds since 1970, ISO 8601, or as in a mail's Date field.

    Raises:
        ValueError: it is none.
    """
    if value is None or value == "":
        return None
    text = str(value).strip()
    if text[4:5] == "-":  # nearly always ISO 8601, and to find that it is no number takes as long as to read it
        with suppress(ValueError, OverflowError):
            return _aware(datetime.fromisoformat(text.removesuffix(" UTC")))
    try:
        seconds = float(text)
    except ValueError:
        return _written(text)
    try:
        return datetime.fromtimestamp(seconds / 1000 if seconds >= _LARGEST_SECONDS else seconds, UTC)
    except (OverflowError, OSError, ValueError):
        raise ValueError(f"{text[:40]!r} is no time") from None


def _aware(at: datetime) -> datetime:
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)


def _written(text: str) -> datetime:
    """A time in words; where it names no zone, UTC is meant."""
    for read, written in ((datetime.fromisoformat, text.removesuffix(" UTC")), (parsedate_to_datetime, text)):
        try:
            return _aware(read(written))
        except (ValueError, TypeError, OverflowError, IndexError):
            continue
    raise ValueError(f"{text[:40]!r} is no time; write it as 2026-01-31T12:00:00Z")
