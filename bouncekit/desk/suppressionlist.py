"""The suppression list in the owner's hands: look, add, lift; every change with who made it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import chain, islice
from typing import IO

from bouncekit.delivery.events import Event, EventType, event_of
from bouncekit.delivery.suppressionchange import Change, Place
from bouncekit.desk.listimport import Imported, Prefer, import_list
from bouncekit.desk.office import Office
from bouncekit.desk.undoing import Undone, cause_of, undo
from bouncekit.lists.listexport import ListFormat, export_list
from bouncekit.lists.listfile import ByteLines
from bouncekit.meaning.classification import Category
from bouncekit.policy.suppression import Evidence, Standing, Suppression
from bouncekit.stores import Store
from bouncekit.words.address import parse_address, suppression_key
from bouncekit.words.envelope import Labels
from bouncekit.words.errors import AddressError, ConfigurationError

__all__ = ["SuppressionList"]

_BATCH = 20_000  # addresses that the store is asked about at once


class SuppressionList:
    """The suppressions of one postmaster."""

    def __init__(self, office: Office) -> None:
        self._office = office

    def __iter__(self) -> Iterator[Suppression]:
        """Every suppression of the default tenant, also expired ones, in the order of their keys."""
        return self.find()

    def find(
        self,
        *,
        tenant: str | None = "",
        stream: str | None = None,
        containing: str | None = None,
        binding: bool = False,
    ) -> Iterator[Suppression]:
        """Suppressions in the order of their keys; with `binding`, only those that hold mail back now.

        Of one tenant; None is every one, in their order.
        """
        at = self._office.clock.now() if binding else None
        tenants = self._store.tenants() if tenant is None else (tenant,)
        return chain.from_iterable(
            self._store.suppressions(tenant=one, stream=stream, containing=containing, at=at) for one in tenants
        )

    def get(self, address: str, *, tenant: str = "", stream: str = "") -> Suppression | None:
        """The suppression of an address, None where there is none. It may have expired: ask `binds`.

        Of somebody whose address was erased it is the one under the pseudonym.
        """
        places = [Place(tenant, stream, key) for key in self._keys(address)]
        found = self._store.standing(places)
        return next((found[place] for place in places if place in found), None)

    def __contains__(self, address: str) -> bool:
        """Whether mail to this address is held back now."""
        return bool(self.check([address]))

    def check(
        self, addresses: Iterable[str], *, tenant: str = "", stream: str = "", message_class: str | None = None
    ) -> frozenset[str]:
        """Those of the addresses, as they were given, to whom mail of this kind is held back now: in one go.

        The class of the mail says which suppressions do not bind it; None is the policy's default class. Nobody's
        probe is used up.

        Raises:
            AddressError: one is no address. Nothing was asked then that was not asked before.
            ConfigurationError: the policy has no such class.
        """
        office = self._office
        labels = office.check(Labels(message_class=message_class, tenant=tenant, stream=stream))
        ignored = office.policy.message_class(message_class).ignores
        now, found = office.clock.now(), set[str]()
        left = iter(addresses)
        while some := list(islice(left, _BATCH)):
            keys = {address: self._keys(address) for address in some}
            every = {key for several in keys.values() for key in several}
            suppressed = self._store.suppressed(every, labels, now, ignored=ignored)
            if suppressed:
                found.update(address for address, several in keys.items() if not suppressed.isdisjoint(several))
        return frozenset(found)

    def add(
        self,
        address: str,
        *,
        reason: str = "",
        category: Category = Category.RECIPIENT_FILTERED,
        lasts: timedelta | None = None,
        by: str = "owner",
        tenant: str = "",
        stream: str = "",
    ) -> Suppression:
        """Suppress an address by hand, for good or for a time. No success lifts it, only a hand or its end.

        Without a `category` it is the recipient who asked for it, as is most often so.

        Raises:
            AddressError: the address is none.
        """
        now = self._office.clock.now()
        wire = parse_address(address).wire
        if not wire:
            raise AddressError(address, "the empty address is a return path, never a recipient (RFC 5321 4.5.5)")
        if "@" not in wire:
            raise AddressError(address, "an address has an @: write the whole of it, such as jo@example.com")
        suppression = Suppression(
            key=suppression_key(wire),
            address=wire,
            standing=Standing.MANUAL,
            category=category,
            since=now,
            changed_at=now,
            expires_at=None if lasts is None else now + lasts,
            by=by,
            evidence=Evidence(reply=reason),
            tenant=tenant,
            stream=stream,
        )
        event = self._event(EventType.SUPPRESSION_ADDED, suppression)
        self._office.store.add(suppression, by=by, event=event)
        self._office.ledger.publish((event,))
        return suppression

    def lift(self, address: str, *, by: str = "owner", tenant: str = "", stream: str = "") -> Suppression | None:
        """Lift the suppression of an address; None where there was none."""
        found = self.get(address, tenant=tenant, stream=stream)
        if found is None:
            return None
        now = self._office.clock.now()
        event = self._event(EventType.SUPPRESSION_LIFTED, replace(found, changed_at=now), by=by)
        lifted = self._office.store.lift(found.key, tenant=tenant, stream=stream, by=by, at=now, event=event)
        if lifted is not None:
            self._office.ledger.publish((event,))
        return lifted

    # -- in bulk

    def import_(
        self,
        file: ByteLines,
        *,
        name: str = "",
        format: str | None = None,  # noqa: A002 - the field's word
        tenant: str = "",
        stream: str = "",
        lasts: timedelta | None = None,
        prefer: Prefer | str = Prefer.STRONGER,
        dry_run: bool = False,
        on_batch: Callable[[Imported], None] = lambda done: None,
    ) -> Imported:
        """Bring a list along: our own, as `export` writes it, or that of an e-mail service.

        A service's list is recognised by its columns, and by its name where two have the same. Of it, complaints,
        unsubscriptions, and bounces that are permanent and about the mailbox go on the list of this tenant and stream.
        Our own has tenant and stream in it. The same file again changes nothing.

        Args:
            file: open for bytes; it is read once, in little memory.
            name: of the file, for the record.
            format: the name of its kind, where its columns do not tell; see `bouncekit.lists.foreignlist`.
            lasts: how long a service's entries stay; None: a full mailbox 30 days, a doubtful one its own end or 30
                days, all else for good.
            prefer: which of two different entries for one mailbox stays; what a hand put there always does.
            dry_run: only say what would be done. Of a mailbox that the file names far apart, each entry counts then.
            on_batch: told behind each 20,000 rows, with what was done so far.

        Raises:
            ConfigurationError: it is of no known kind.
            StoreError: the store does not answer; what was told by `on_batch` is done.
        """
        done = Imported(format="", by="", dry_run=dry_run)

        def note(sofar: Imported) -> None:
            nonlocal done
            done = sofar
            on_batch(sofar)

        try:
            return import_list(
                self._office,
                file,
                name=name,
                format_=format,
                tenant=tenant,
                stream=stream,
                lasts=lasts,
                prefer=_prefer(prefer),
                dry_run=dry_run,
                on_batch=note,
            )
        finally:
            if not dry_run and (done.added or done.changed):
                added, changed = done.added.total(), done.changed.total()
                self._office.tell_session(EventType.SUPPRESSIONS_IMPORTED, by=done.by, added=added, changed=changed)

    def export(
        self,
        file: IO[bytes],
        *,
        format: ListFormat | str = ListFormat.CSV,  # noqa: A002 - the field's word
        tenant: str | None = "",
        stream: str | None = None,
        binding: bool = False,
        raw: bool = False,
    ) -> int:
        """Write a tenant's list so that `import_` reads it back without loss; how many entries that were.

        None is every tenant: each entry has its tenant and stream in it, and goes back there.
        In CSV a quote goes before what a spreadsheet would run, unless `raw`; JSON lines are exact.
        """
        return export_list(
            self.find(tenant=tenant, stream=stream, binding=binding), file, format_=ListFormat(format), raw=raw
        )

    def changes(self, address: str, *, tenant: str = "", limit: int = 100) -> Sequence[Change]:
        """What changed about an address, in every stream, newest first: when, by whom, what stood there before."""
        found = [
            change
            for key in self._keys(address)
            for change in self._office.store.changes_of(key, tenant=tenant, limit=limit)
        ]
        return sorted(found, key=lambda change: change.sequence, reverse=True)[: max(limit, 0)]

    def undo(
        self,
        *,
        made_by: str | None = None,
        rule: str | None = None,
        fingerprint: str | None = None,
        provider: str | None = None,
        category: Category | str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        tenant: str | None = None,
        stream: str | None = None,
        by: str = "owner",
        dry_run: bool = False,
        on_batch: Callable[[Undone], None] = lambda done: None,
    ) -> Undone:
        """Take back the changes that are meant: what stood there before stands there again, or nothing does.

        All that is given must hold. Who was changed since by something else is left alone; what a hand did, and what a
        success lifted, is undone only where `made_by` names it. The whole is undone by `made_by=undone.by`.

        Args:
            made_by: who made the change, as `changes` says it: `rule nobody`, `import ses list.csv`, `guard`, a name.
            rule: a rule of the policy.
            fingerprint: of the refusals, as the event `guard_tripped` has it.
            provider: whose servers refused: a name such as gmail, or the end of a host's name.
            since: from this time on; an aware time, as is `until`, which is not included.

        Raises:
            ConfigurationError: nothing is given that says what is meant.
            StoreError: the store does not answer; what was told by `on_batch` is done.
        """
        cause = cause_of(
            by=made_by,
            rule=rule,
            fingerprint=fingerprint,
            category=category,
            provider=provider,
            since=since,
            until=until,
            tenant=tenant,
            stream=stream,
        )
        if cause.says_nothing:
            raise ConfigurationError(
                "undo what? Give a rule, a fingerprint, a provider, a category, a time, or by whom"
            )
        return undo(self._office, cause, by=by, dry_run=dry_run, on_batch=on_batch)

    @property
    def _store(self) -> Store:
        """The store, once it has heard what it could not take before: else it would not know whom that suppressed."""
        self._office.ledger.catch_up()
        return self._office.store

    def _keys(self, address: str) -> tuple[str, ...]:
        """Under what an address may stand on the list; a store that keeps no addresses sees to that itself."""
        key = suppression_key(parse_address(address).wire)
        pseudonyms = self._office.pseudonyms if self._office.keeps_addresses else None
        return (key,) if pseudonyms is None else (key, *pseudonyms.all_of(key))

    def _event(self, type_: EventType, suppression: Suppression, **details: object) -> Event:
        occasion = self._office.occasion()
        return event_of(type_, occasion, suppression.address, suppression=suppression, details=details)


def _prefer(given: Prefer | str) -> Prefer:
    try:
        return Prefer(given)
    except ValueError:
        raise ConfigurationError(f"prefer={given!r}: write {', '.join(Prefer)}") from None
