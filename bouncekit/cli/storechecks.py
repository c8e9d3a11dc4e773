"""What `bouncekit doctor` finds of the store, of the clock by it, of the mail that waits in it, of who reads it."""

from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shlex import quote
from shutil import disk_usage
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, cast

from bouncekit._version import __released__
from bouncekit.cli.checks import Check, Level, failed
from bouncekit.cli.lanes import in_short
from bouncekit.cli.lawchecks import refused_policy
from bouncekit.cli.settings import sqlite_path
from bouncekit.cli.sinkchecks import forwarded
from bouncekit.cli.waiting import in_words
from bouncekit.delivery.queue import Depth
from bouncekit.desk.forwarding import sink_of
from bouncekit.policy.budget import Stream
from bouncekit.policy.lane import Lane
from bouncekit.policy.throttle import Flow
from bouncekit.words.errors import BouncekitError, ConfigurationError, StoreBusy, StoreError, StoreFull, StoreReadOnly
from bouncekit.words.measures import counted, show_minute, show_span

if TYPE_CHECKING:
    from bouncekit.stores import Store
    from bouncekit.stores.budgeting import KeptLevel
    from bouncekit.stores.cursors import Cursor
    from bouncekit.stores.sql.store import SqlStore

__all__ = ["budgets", "clock", "lanes", "queue", "store_and_more", "subscribers"]

_BUSY_SECONDS = 3.0
_SLACK = timedelta(minutes=2)  # by which the clocks of two machines, or one before a restart, may differ
_SILENT = timedelta(days=7)
_SET_THE_CLOCK = "set the clock and keep it: timedatectl set-ntp true"
# What to do at the machine; for the others what the error says itself.
_REMEDIES: Mapping[type[StoreError], str] = {
    StoreBusy: "end the process that holds it: fuser -v {file}",
    StoreFull: "make room: df -h {folder}; then nothing else is to be done",
    StoreReadOnly: "let this user write there: ls -ld {folder} {file}; findmnt -T {folder}",
}
_ROOM_BYTES = 100 * 1024 * 1024
_RELEASED = datetime.fromisoformat(__released__).replace(tzinfo=UTC)


def store_and_more(
    given: "str | Store | None",
    *,
    now: datetime,
    relays: Collection[str],
    all_known: bool,
    hash_keys: Sequence[str | bytes] | None = None,
    cache: str | None = None,
) -> Iterator[Check]:
    """The store, and what only it knows.

    Args:
        given: a URL, or a store that is open, which stays so.
        relays: the names of those that are configured.
        all_known: whether there can be no others, in an application that nobody has named here.
        hash_keys: the secrets of its pseudonyms; None where an application has opened it with its own.
        cache: what answers before it, where the configuration names one; a store that is open may have its own.
    """
    opened = yield from _opened(given)
    if opened is None:
        yield clock(now, None)
        return
    try:
        yield from _looked_through(opened, now=now, relays=relays, all_known=all_known)
        if hash_keys is not None:
            yield from _secrets(opened, hash_keys)
        yield from _cache(opened, cache)
    finally:
        if isinstance(given, str):
            opened.close()


def clock(now: datetime, newest: datetime | None) -> Check:
    """Whether the clock can be right: by the date of this release, and by the newest event in the store."""
    if now < _RELEASED:
        found = f"{show_minute(now)}, and this bouncekit is of {__released__}: the machine has no time"
        return Check("clock", Level.FAIL, found, _SET_THE_CLOCK)
    if newest is not None and newest - now > _SLACK:
        found = f"{show_minute(now)}, and the store has news of {show_minute(newest)}: it was set back"
        return Check("clock", Level.FAIL, found, f"{_SET_THE_CLOCK}; a worker moves what was queued before")
    return Check("clock", Level.OK, show_minute(now))


def queue(
    depth: Depth, waiting: Mapping[str, int], *, now: datetime, relays: Collection[str], all_known: bool
) -> Iterator[Check]:
    """The mail that waits, and whether somebody sends it. `waiting` has how many wait for each relay."""
    yield Check("queue", Level.OK, in_words(depth, now))
    yield from (
        _unknown_relay(relay, number, all_known=all_known) for relay, number in waiting.items() if relay not in relays
    )
    if set(waiting) & set(relays) or not all_known:
        yield _worker(depth, now)
    if depth.held:
        advice = "look at it: bouncekit queue list --state held; then bouncekit queue retry, or drop"
        found = f"{counted(depth.held, 'recipient')} wait until somebody releases them"
        yield Check("held mail", Level.WARN, found, advice)
    if depth.abandoned:
        found = f"{counted(depth.abandoned, 'recipient')} of attempts whose process died before it knew how they ended"
        yield Check("abandoned mail", Level.WARN, found, "a worker settles it by the policy: start bouncekit worker")


def lanes(flows: Mapping[Lane, Flow], now: datetime) -> Iterator[Check]:
    """The relays and providers to which mail goes slowly, or not at all, and why."""
    for lane in sorted(flows):
        if (short := in_short(flows[lane], now)) is not None:
            advice = flows[lane].why or "it refused too much: bouncekit events"
            yield Check(str(lane), Level.WARN, short, f"it goes on by itself; what was said: {advice}")


def budgets(levels: Mapping[Stream, "KeptLevel"]) -> Iterator[Check]:
    """The streams that have used up some of their budget."""
    advice = "mend its list; what it brings: bouncekit budget list; let it go on: bouncekit budget resume"
    for stream, kept in sorted(levels.items(), key=lambda one: one[0]):
        since = f" since {show_minute(kept.since)}" if kept.since else ""
        yield Check(str(stream), Level.WARN, f"is {kept.level}{since} for its bounces or complaints", advice)


def subscribers(cursors: Collection["Cursor"], now: datetime) -> Iterator[Check]:
    """The durable readers of the events: who is gone keeps what he has not read. Sinks say more than others."""
    yield from forwarded(cursors, now)
    cursors = [one for one in cursors if sink_of(one.name) is None]
    silent = [one for one in cursors if _is_silent(one, now)]
    for one in silent:
        assert one.unread_since is not None
        found = f"has not read for {show_span(now - (one.moved_at or one.unread_since))}; {one.unread:,} events wait"
        advice = f"start the process that reads; gone for good: bouncekit store forget {one.name}"
        yield Check(f"subscriber {one.name}", Level.WARN, found, advice)
    if cursors and not silent:
        most = max(one.unread for one in cursors)
        yield Check("subscribers", Level.OK, f"{', '.join(one.name for one in cursors)}; at most {most:,} events wait")


# -- the file


def _opened(given: "str | Store | None") -> "Generator[Check, None, Store | None]":
    """The store, open; None, and why, where there is none to look into."""
    from bouncekit.stores import open_store
    from bouncekit.stores.sqlite import SqliteStore

    if given is None:
        advice = "store = 'sqlite:///bounces.db' in bouncekit.toml, or BOUNCEKIT_STORE"
        yield Check("store", Level.WARN, "none: suppressions are forgotten when the process ends", advice)
        return None
    if not isinstance(given, str):
        return given
    path = sqlite_path(given)
    if path is not None and not path.exists():
        yield _place(path)
        return None
    try:
        return open_store(given) if path is None else SqliteStore(path, busy_seconds=_BUSY_SECONDS)
    except (BouncekitError, OSError) as error:
        yield _unusable(error)
        return None


def _place(path: Path) -> Check:
    """Whether a store could be made there."""
    try:
        with TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        found = f"{path}: not there, and cannot be made: {error.strerror}"
        return Check("store", Level.FAIL, found, f"a folder {path.parent} that this user may write in")
    return Check("store", Level.OK, f"{path}: not there yet, the first use makes it")


def _unusable(error: Exception) -> Check:
    found, _, _ = str(error).partition("; ")
    place = Path(found.partition(": ")[0])
    remedy = next((remedy for kind, remedy in _REMEDIES.items() if isinstance(error, kind)), "")
    if not remedy or "://" in str(error):
        return failed("store", error)
    return Check("store", Level.FAIL, found, remedy.format(file=quote(str(place)), folder=quote(str(place.parent))))


def _looked_through(opened: "Store", *, now: datetime, relays: Collection[str], all_known: bool) -> Iterator[Check]:
    """A store that cannot be written may still tell much; one that cannot be read says so once."""
    try:
        yield Check("store", Level.OK, _sound(opened))
        yield from _room(opened)
    except (BouncekitError, OSError) as error:
        yield _unusable(error)
    try:
        newest, depth, waiting, cursors, flows, levels = (
            opened.newest_at(),
            opened.depth(now),
            opened.queued_relays(),
            opened.cursors(),
            opened.flows(),
            opened.levels(),
        )
    except (BouncekitError, OSError):
        yield clock(now, None)
        return
    yield clock(now, newest)
    if waiting:
        yield from queue(depth, waiting, now=now, relays=relays, all_known=all_known)
    yield from lanes({lane: kept.flow for lane, kept in flows.items()}, now)
    yield from budgets(levels)
    yield from subscribers(cursors, now)
    yield from refused_policy(opened, now)


def _sound(opened: "Store") -> str:
    """What a store is like. It is looked through, and something in it is written as it was.

    Raises:
        StoreError: it is not what it should be.
    """
    if not hasattr(opened, "try_writing"):
        return "in memory: suppressions are forgotten when the process ends"
    lasting = cast("SqlStore", opened)  # or what stands before one, and forwards
    lasting.check()
    lasting.try_writing()
    return f"{lasting.place}: sound, writable, {lasting.kind}, {counted(lasting.entry_count(), 'suppression')}"


def _secrets(opened: "Store", keys: Sequence[str | bytes]) -> Iterator[Check]:
    """Whether somebody was erased under a secret that is not here: nobody opens the store for a send without it."""
    from bouncekit.stores.erased import check_secrets
    from bouncekit.words.pseudonym import open_pseudonyms

    try:
        check_secrets(opened, open_pseudonyms(keys))
    except ConfigurationError as error:
        yield failed("hash_keys", error)
    except (BouncekitError, OSError):
        return  # the check of the store has said it


def _cache(opened: "Store", cache: str | None) -> Iterator[Check]:
    """Whether what answers before the store does; without it the store is asked, and mail goes out."""
    from bouncekit.stores.screen.screened import ask_cache

    try:
        if (found := ask_cache(opened, cache)) is not None:
            yield Check("cache", Level.OK, found)
    except StoreError as error:
        yield Check("cache", Level.WARN, str(error), "start it, or leave it out: until then the store is asked")
    except BouncekitError as error:
        yield failed("cache", error)


def _room(opened: "Store") -> Iterator[Check]:
    """Whether its disk is nearly full: what is stored for a send then fails before the dot, and nothing goes out."""
    path: str | None = getattr(opened, "path", None)
    if path is None:
        return
    folder = Path(path).parent
    free = disk_usage(folder).free
    if free < _ROOM_BYTES:
        found = f"{free // 1_000_000:,} MB are free at {folder}; once it is full, nothing is sent"
        yield Check("disk", Level.WARN, found, f"make room: df -h {quote(str(folder))}")


# -- who waits


def _worker(depth: Depth, now: datetime) -> Check:
    left_for = depth.left_for(now)
    if left_for is None:
        return Check("worker", Level.OK, "nothing is due for long")
    found = f"{counted(depth.due, 'recipient')} due, the oldest for {show_span(left_for)}"
    if depth.leased > depth.abandoned:
        return Check("worker", Level.WARN, f"slow: {found}", "more at once: bouncekit worker --concurrency 4")
    advice = "start bouncekit worker, or the application where its postmaster has worker='thread'"
    return Check("worker", Level.FAIL, f"none: {found}, and nobody sends", advice)


def _unknown_relay(relay: str, number: int, *, all_known: bool) -> Check:
    level = Level.FAIL if all_known else Level.WARN
    advice = f"[relays] {relay} = 'smtp://...' in bouncekit.toml, or --app package.module:postmaster"
    return Check(f"relay {relay}", level, f"not configured, and {counted(number, 'recipient')} wait for it", advice)


def _is_silent(one: "Cursor", now: datetime) -> bool:
    """Whether events have gone by for a week without a move."""
    since = one.unread_since
    return since is not None and now - since > _SILENT and (one.moved_at is None or now - one.moved_at > _SILENT)
