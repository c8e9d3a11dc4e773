"""A store that keeps no addresses: whoever asks knows the address, and the answer lies under its pseudonym.

Only mail that waits has its addresses, since it is sent to them; they go with its last recipient. What is asked about
an address is asked under the pseudonym of each secret, and under the address itself, for a store that kept addresses
once. What stands under an older secret stays there as long as it stands: two secrets are never two entries.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from dataclasses import replace
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Self, cast

from bouncekit.delivery.events import Event
from bouncekit.delivery.parcel import Moves
from bouncekit.delivery.queue import Begun
from bouncekit.delivery.settlement import Settlement
from bouncekit.delivery.steps import Delivery, LookedUp, LookUp, Record
from bouncekit.delivery.suppressionchange import Change, Place, Swap
from bouncekit.meaning.classification import Category
from bouncekit.policy.suppression import Suppression
from bouncekit.stores import Store
from bouncekit.stores.erased import look_up
from bouncekit.stores.searching import Search
from bouncekit.stores.veil.veil import Veil
from bouncekit.words.envelope import Labels
from bouncekit.words.pseudonym import Pseudonyms, is_pseudonym

__all__ = ["veiled"]


def veiled(store: Store, pseudonyms: Pseudonyms) -> Store:
    """A store that does what this one does, and in which no address is kept longer than mail to it waits."""
    store.overwrite_deleted()
    return cast(Store, _Veiled(store, pseudonyms))


class _Veiled:
    """Forwards what is not written here. What is about a mailbox, or tells of one, must be; see `test_veiled`."""

    def __init__(self, store: Store, pseudonyms: Pseudonyms) -> None:
        self._store = store
        self._pseudonyms = pseudonyms
        self._veil = Veil(pseudonyms)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    # -- what deliveries ask and leave

    def look_up(self, question: LookUp, now: datetime) -> LookedUp:
        names = {key: self._veil.names(key) for key, _ in question.windows}
        windows = tuple((name, window) for key, window in question.windows for name in names[key])
        found = look_up(self._store, replace(question, windows=windows), now, self._pseudonyms)
        if not windows:
            return found
        # What was counted under several names may be the same day twice: so it is never more than under one of them.
        counted = {
            (key, window): max(found.counters.get((name, window), 0) for name in names[key])
            for key, window in question.windows
        }
        return replace(found, counters=counted)

    def record(self, record: Record) -> frozenset[str]:
        names = self._names_of(record.settlements, record.occasion.labels)

        def hidden(event: Event) -> Event:
            return self._veil.event(event, names.get(event.settlement.key) if event.settlement else None)

        settlements = tuple(self._veil.settlement(one, names.get(one.key)) for one in record.settlements)
        late = self._store.record(
            replace(
                record,
                delivery=self._calling(record.delivery),
                settlements=settlements,
                strikes=tuple(replace(one, key=self._veil.name(one.key)) for one in record.strikes),
                cleared=tuple(name for key in record.cleared for name in self._veil.names(key)),
                events=tuple(map(hidden, record.events)),
            )
        )
        own = zip(record.settlements, settlements, strict=True) if late else ()
        return frozenset(one.recipient for one, veiled in own if veiled.recipient in late)

    def tell(self, events: Sequence[Event]) -> None:
        self._store.tell(self._veiled(events))

    # -- the suppression list

    def suppression(self, key: str, *, tenant: str = "", stream: str = "") -> Suppression | None:
        place = Place(tenant, stream, key)
        return self.standing([place]).get(place)

    def add(self, suppression: Suppression, *, by: str, event: Event) -> None:
        name = self._where(suppression)
        self._store.add(self._veil.suppression(suppression, name), by=by, event=self._veil.event(event, name))

    def lift(self, key: str, *, tenant: str, stream: str, by: str, at: datetime, event: Event) -> Suppression | None:
        told = self._veil.event(event)
        for name in self._veil.names(key):
            lifted = self._store.lift(name, tenant=tenant, stream=stream, by=by, at=at, event=told)
            if lifted is not None:
                return lifted
        return None

    def suppressed(
        self, keys: Collection[str], labels: Labels, at: datetime, *, ignored: Collection[Category] = ()
    ) -> frozenset[str]:
        key_of = {name: key for key in keys for name in self._veil.names(key)}
        return frozenset(key_of[name] for name in self._store.suppressed(key_of, labels, at, ignored=ignored))

    def standing(self, places: Collection[Place]) -> Mapping[Place, Suppression]:
        several = {place: self._named(place) for place in places}
        found = self._store.standing([one for some in several.values() for one in some])
        first = {place: next((found[one] for one in some if one in found), None) for place, some in several.items()}
        return {place: one for place, one in first.items() if one is not None}

    def exchange(self, swaps: Sequence[Swap], *, by: str, at: datetime) -> Sequence[Swap]:
        older = self._older([swap.place for swap in swaps if swap.before is None])
        asked: dict[Place, tuple[Swap, Swap]] = {}
        left = [swap for swap in swaps if swap.before is None and swap.place in older]
        for swap in swaps:
            if swap.before is None and swap.place in older:
                continue
            name = swap.before.key if swap.before else self._veil.name(swap.place.key)
            named = Swap(
                before=swap.before,
                after=swap.after and self._veil.suppression(swap.after, name),
                event=swap.event and self._veil.event(swap.event, name),
            )
            if asked.setdefault(named.place, (named, swap))[1] is not swap:
                left.append(swap)  # the same mailbox by another name
        undone = self._store.exchange([named for named, _ in asked.values()], by=by, at=at)
        return [*left, *(asked[named.place][1] for named in undone)]

    def changes_at(self, places: Collection[Place]) -> Mapping[Place, Sequence[Change]]:
        several = {place: self._named(place) for place in places}
        found = self._store.changes_at([one for some in several.values() for one in some])
        return {place: _in_order(found.get(one, ()) for one in some) for place, some in several.items()}

    def changes_of(self, key: str, *, tenant: str = "", limit: int = 100) -> Sequence[Change]:
        found = (self._store.changes_of(name, tenant=tenant, limit=limit) for name in self._veil.names(key))
        return _in_order(found)[::-1][: max(limit, 0)]

    # -- what happened

    def history(self, key: str, *, tenant: str = "", limit: int = 100) -> Sequence[dict[str, Any]]:
        told = [self._store.history(name, tenant=tenant, limit=limit) for name in self._veil.names(key)]
        every = [event for events in told for event in events]
        if sum(map(bool, told)) > 1:
            every.sort(key=lambda event: str(event["time"]), reverse=True)
        return every[: max(limit, 0)]

    def search(
        self,
        wanted: Search,
        *,
        after: int = 0,
        before: int | None = None,
        newest_first: bool = False,
        limit: int = 1000,
    ) -> Sequence[tuple[int, dict[str, Any]]]:
        keys = frozenset(name for key in wanted.keys for name in self._veil.names(key))
        asked = replace(wanted, keys=keys)
        return self._store.search(asked, after=after, before=before, newest_first=newest_first, limit=limit)

    def tenants_of(self, key: str) -> frozenset[str]:
        return frozenset().union(*map(self._store.tenants_of, self._veil.names(key)))

    # -- mail that waits, with its addresses

    def enqueue(self, delivery: Delivery, *, due_at: datetime, at: datetime, events: Sequence[Event] = ()) -> None:
        self._store.enqueue(delivery, due_at=due_at, at=at, events=self._veiled(events))

    def begin(self, begun: Begun) -> None:
        self._store.begin(replace(begun, delivery=self._calling(begun.delivery)))

    def drop(
        self,
        message: str,
        recipient: str | None,
        *,
        at: datetime,
        events: Sequence[Event] = (),
        keep: timedelta = timedelta(),
        called: Mapping[str, str] | None = None,
    ) -> int:
        names = {one.recipient: self._veil.called(one.recipient) for one in events if one.recipient is not None}
        told = self._veiled(events)
        return self._store.drop(message, recipient, at=at, events=told, keep=keep, called={**names, **(called or {})})

    def hand_over(
        self, token: str, moves: Moves, *, at: datetime, keep: timedelta = timedelta()
    ) -> Mapping[str, Set[str]]:
        return self._store.hand_over(token, self._moving(moves), at=at, keep=keep)

    def let_in(self, token: str, moves: Moves) -> None:
        self._store.let_in(token, self._moving(moves))

    # -- open and closed

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # -- names

    def _calling(self, delivery: Delivery) -> Delivery:
        """A delivery of the queue, with what its recipients are called elsewhere."""
        if delivery.relay is None:
            return delivery
        addresses = (recipient.address.wire for recipient in delivery.recipients)
        return replace(delivery, called={wire: self._veil.called(wire) for wire in addresses})

    def _moving(self, moves: Moves) -> Moves:
        """What is told of those who go from store to store, by their addresses still."""
        return {
            message: {address: self._veil.event(event) for address, event in told.items()}
            for message, told in moves.items()
        }

    def _veiled(self, events: Iterable[Event]) -> list[Event]:
        return [self._veil.event(event) for event in events]

    def _named(self, place: Place) -> list[Place]:
        return [place._replace(key=name) for name in self._veil.names(place.key)]

    def _older(self, places: Collection[Place]) -> Mapping[Place, str]:
        """Under which name of an older secret an entry stands at these places, where one does."""
        several = {place: _by_older_secrets(self._named(place)) for place in places}
        every = [one for some in several.values() for one in some]
        if not every:
            return {}
        found = self._store.standing(every)
        return {
            place: one.key for place, some in several.items() if (one := next(filter(found.__contains__, some), None))
        }

    def _where(self, one: Suppression) -> str:
        place = Place(one.tenant, one.stream, one.key)
        return self._older([place]).get(place) or self._veil.name(one.key)

    def _names_of(self, settlements: Iterable[Settlement], labels: Labels) -> Mapping[str, str]:
        """The names of those mailboxes that stand on the list under an older secret, by their keys."""
        places = {
            Place(labels.tenant, stream, one.key): None
            for one in settlements
            if one.key
            for stream in (labels.stream, "")
        }
        return {place.key: name for place, name in self._older(tuple(places)).items()}


def _by_older_secrets(named: Sequence[Place]) -> Sequence[Place]:
    """Without that of the newest secret, and without the plain one behind them all."""
    return [one for one in named[1:] if is_pseudonym(one.key)]


def _in_order(several: Iterable[Sequence[Change]]) -> list[Change]:
    return sorted((change for changes in several for change in changes), key=lambda change: change.sequence)
