"""Bringing a suppression list along: a file goes in batch by batch, and what stands there already is weighed.

Each batch is one transaction. So whoever stops in the middle has what was done, and goes on by doing it again: what
stands there already is kept as it is.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import chain, islice

from bouncekit.delivery.suppressionchange import Place, Swap, is_by_hand, outweighs, place_of
from bouncekit.desk.office import Office
from bouncekit.lists.foreignlist import FORMATS, Format, recognise, squeezed
from bouncekit.lists.listentry import Reader, Unbound
from bouncekit.lists.listfile import ByteLines, Fault, Row, read_rows
from bouncekit.policy.suppression import Standing, Suppression
from bouncekit.stores.veil.veil import unquoted
from bouncekit.words.errors import ConfigurationError, StoreError
from bouncekit.words.pseudonym import is_pseudonym

__all__ = ["Conflict", "Imported", "Prefer", "import_list"]

_BATCH = 20_000  # rows in one transaction: others wait for a second at the most
_MOST_SHOWN = 1000  # faults and conflicts that are kept; all are counted
_AHEAD = 100  # rows that are looked at for the kind of the file
_TURNS = 5  # how often a batch is weighed again, where others change the list meanwhile


class Prefer(StrEnum):
    """Which of two different entries for one mailbox stays. What a hand put there always does."""

    STRONGER = "stronger"  # by standing, then a complaint, then what lasts longer, then what is older
    STANDING = "standing"  # what is on the list
    ARRIVING = "arriving"  # what is in the file


@dataclass(frozen=True, slots=True)
class Conflict:
    """Two different entries for one mailbox, and whether the arriving one took the place."""

    standing: Suppression
    arriving: Suppression
    replaced: bool


@dataclass(slots=True)
class Imported:
    """What an import did, or with `dry_run` would do.

    `added` and `changed` count the entries that got in, by category; `kept` those that were there already, or that
    weigh less than what is; `unbound` those that bind nobody, by the reason. `ended` had come to their end before, and
    are counted above as well. `faults` are the first 1,000 of `number_of_faults`, likewise the conflicts.
    """

    format: str
    by: str
    dry_run: bool
    read: int = 0
    added: Counter[str] = field(default_factory=Counter)
    changed: Counter[str] = field(default_factory=Counter)
    kept: Counter[str] = field(default_factory=Counter)
    unbound: Counter[str] = field(default_factory=Counter)
    ended: int = 0
    faults: list[Fault] = field(default_factory=list)
    number_of_faults: int = 0
    conflicts: list[Conflict] = field(default_factory=list)
    number_of_conflicts: int = 0

    def fault(self, fault: Fault) -> None:
        self.number_of_faults += 1
        if len(self.faults) < _MOST_SHOWN:
            self.faults.append(fault)

    def conflict(self, conflict: Conflict) -> None:
        self.number_of_conflicts += 1
        if len(self.conflicts) < _MOST_SHOWN:
            self.conflicts.append(conflict)


def import_list(
    office: Office,
    file: ByteLines,
    *,
    name: str = "",
    format_: str | None = None,
    tenant: str = "",
    stream: str = "",
    lasts: timedelta | None = None,
    prefer: Prefer = Prefer.STRONGER,
    dry_run: bool = False,
    on_batch: Callable[[Imported], None] = lambda done: None,
) -> Imported:
    """Put the entries of a file on the list; see `SuppressionList.import_`."""
    rows = read_rows(file)
    now = office.clock.now()
    ahead = list(islice(rows, _AHEAD))
    columns = dict.fromkeys(name for row in ahead if isinstance(row, Row) for name in row.columns)
    found = _format(format_, tuple(columns), name)
    by = f"import {found.name}" + (f" {name}" if name else "")
    reader = Reader(format=found, by=by, now=now, classify=office.classify, tenant=tenant, stream=stream, lasts=lasts)
    done = Imported(format=found.name, by=by, dry_run=dry_run)
    rows = chain(ahead, rows)
    for row in rows:
        entries = _entries(chain((row,), islice(rows, _BATCH - 1)), reader, done)
        if not office.keeps_addresses:  # what is weighed is what would be kept
            entries = map(unquoted, entries)
        _merge(office, entries, prefer, now, done)
        on_batch(done)
    return done


def _format(wanted: str | None, columns: Sequence[str], name: str) -> Format:
    names, has = sorted({one.name for one in FORMATS}), frozenset(map(squeezed, columns))
    if wanted is not None:
        several = [one for one in FORMATS if one.name == wanted]
        if not several:
            raise ConfigurationError(f"format={wanted!r}: one of {', '.join(names)}")
        fitting = [one for one in several if one.must <= has] or several
        return fitting[0]
    if not columns:
        return next(one for one in FORMATS if one.name == "plain")
    if (found := recognise(has, name)) is None:
        raise ConfigurationError(
            f"a list with the columns {', '.join(columns)[:200]!a} is of no known kind; name one by format: "
            f"{', '.join(names)}. plain binds everybody on it, for whatever reason he is there"
        )
    return found


def _entries(rows: Iterable[Row | Fault], reader: Reader, done: Imported) -> Iterator[Suppression]:
    """What the rows become; what they do not is counted."""
    for row in rows:
        done.read += 1
        if isinstance(row, Fault):
            done.fault(row)
            continue
        try:
            entry = reader.read(row.fields)
        except (ValueError, TypeError, OverflowError) as error:
            done.fault(Fault(row.line, str(error)))
            continue
        if isinstance(entry, Unbound):
            done.unbound[entry.why] += 1
        else:
            done.ended += entry.expires_at is not None and entry.expires_at <= reader.now
            yield entry


def _merge(office: Office, entries: Iterable[Suppression], prefer: Prefer, now: datetime, done: Imported) -> None:
    """Weigh the entries against each other and against what stands, and put the stronger ones on the list."""
    store = office.store
    arriving = _without_erased(office, _heaviest(entries, done), done)
    standing: Mapping[Place, Suppression] = store.standing(arriving) if done.dry_run else {}
    for _ in range(_TURNS):
        # At first as if nobody stood there, which is nearly always so; who does is found by what is not done.
        kept = {place: stood for place, stood in standing.items() if not _takes_over(arriving[place], stood, prefer)}
        swaps = [
            Swap(before=standing.get(place), after=entry) for place, entry in arriving.items() if place not in kept
        ]
        left = [] if done.dry_run else store.exchange(swaps, by=done.by, at=now)
        open_ = {swap.place for swap in left}
        still_open = {place: arriving.pop(place) for place in tuple(arriving) if place in open_} if open_ else {}
        _count(arriving, standing, kept, done)
        if not still_open:
            return
        arriving, standing = still_open, store.standing(still_open)
    raise StoreError(f"others change the list all the time: {len(arriving)} entries were not imported")


def _count(
    arriving: Mapping[Place, Suppression],
    standing: Mapping[Place, Suppression],
    kept: Collection[Place],
    done: Imported,
) -> None:
    """Count what is settled; `kept` is where what stood there stays."""
    new = (entry for place, entry in arriving.items() if place not in standing) if standing else arriving.values()
    for category, number in Counter(entry.category for entry in new).items():
        done.added[category.value] += number
    for place in filter(standing.__contains__, arriving):
        entry, stood = arriving[place], standing[place]
        (done.kept if place in kept else done.changed)[entry.category.value] += 1
        if not _is_same(entry, stood):
            done.conflict(Conflict(stood, entry, place not in kept))


def _heaviest(entries: Iterable[Suppression], done: Imported) -> dict[Place, Suppression]:
    """One entry for each place: the file may name a mailbox twice."""
    found: dict[Place, Suppression] = {}
    for entry in entries:
        place = place_of(entry)
        if (other := found.get(place)) is not None:
            done.kept[entry.category.value] += 1
            if not outweighs(entry, other):
                continue
        found[place] = entry
    return found


def _without_erased(office: Office, arriving: dict[Place, Suppression], done: Imported) -> dict[Place, Suppression]:
    """Without those who are suppressed under a pseudonym, so that no import brings their addresses back."""
    if office.pseudonyms is None or not office.keeps_addresses:
        return arriving
    hidden = {
        place._replace(key=other): place
        for place in arriving
        if not is_pseudonym(place.key)
        for other in office.pseudonyms.all_of(place.key)
    }
    for found in office.store.standing(hidden):
        entry = arriving.pop(hidden[found], None)
        if entry is not None:
            done.kept[entry.category.value] += 1
    return arriving


def _takes_over(entry: Suppression, stood: Suppression, prefer: Prefer) -> bool:
    if stood.standing is Standing.MANUAL and is_by_hand(stood.by):
        return False
    if prefer is Prefer.STRONGER:
        return outweighs(entry, stood)
    return prefer is Prefer.ARRIVING and entry != stood


def _is_same(entry: Suppression, other: Suppression) -> bool:
    """Whether they say the same about the mailbox, whoever says it."""
    return (entry.standing, entry.category, entry.expires_at) == (other.standing, other.category, other.expires_at)
