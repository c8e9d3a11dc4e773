"""What waits in one store, moved to another: batch by batch, and before them what an earlier run has left half done.

No message is lost, and none is in two stores that both send, wherever a run is killed; see `bouncekit.stores.moving`.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from bouncekit.delivery.events import bounded
from bouncekit.delivery.parcel import Arrival, Moves, Parcel, moves
from bouncekit.delivery.queue import Lease
from bouncekit.delivery.steps import Delivery
from bouncekit.desk.ledger import LEASE
from bouncekit.desk.office import Office
from bouncekit.stores import Store
from bouncekit.stores.moving import FIRST
from bouncekit.words.errors import ConfigurationError

__all__ = ["Left", "Moved", "movable", "move_all"]

_BATCH = 50  # recipients
_HISTORY = 1000  # events of a mailbox among which one is looked for


class Left(StrEnum):
    """Why somebody is left where he waits."""

    SENDING = "sending"  # somebody is at him
    ABANDONED = "abandoned"  # somebody was and died; a worker settles him
    WAITING = "waiting"  # he came in meanwhile, cannot be read back, or was an application's own, which died
    ELSEWHERE = "elsewhere"  # he has half come from a third store
    UNDECIDED = "undecided"  # he has half come, and this store knows nothing of the message


@dataclass(slots=True)
class Moved:
    """How many recipients went, `finished` of them begun by an earlier run; with `dry_run`, how many would go."""

    dry_run: bool = False
    moved: int = 0
    finished: int = 0
    left: Counter[Left] = field(default_factory=Counter)


def movable(office: Office) -> Moved:
    """How many would be moved out of a store now, and how many left."""
    depth = office.store.depth(office.clock.now())
    left = Counter({Left.SENDING: depth.leased - depth.abandoned, Left.ABANDONED: depth.abandoned})
    return Moved(dry_run=True, moved=depth.due + depth.waiting + depth.held, left=+left)


def move_all(here: Office, there: Office, done: Moved, *, by: str, with_list: bool = True) -> Iterator[int]:
    """Move what waits to another store, and count it in `done`; how many recipients went, behind each batch.

    Raises:
        ConfigurationError: both are one store; or nobody stands on the suppression list of the other one, and somebody
            on that of this one.
        StoreError: one of them does not answer. The next run goes on from there.
    """
    _check(here.store, there.store, with_list=with_list)
    mover = _Mover(here, there.store, by)
    done.finished = done.moved = mover.finish(done.left)
    yield done.finished
    for number in mover.batches():
        done.moved += number
        yield number
    still = movable(here)
    done.left += still.left + Counter({Left.WAITING: still.moved})


def _check(store: Store, other: Store, *, with_list: bool) -> None:
    if _identity(store) == _identity(other):
        raise ConfigurationError("the store to move to is the one to move from; name another one")
    if with_list and _has_list(store) and not _has_list(other):
        raise ConfigurationError(
            "nobody stands on the suppression list of the store to move to, so those who are held back here would be "
            "sent to: take the list along first (`bouncekit suppressions export --all`, then `import`), or give "
            "--without-list"
        )


class _Mover:
    """Carries from one store to the other."""

    def __init__(self, office: Office, target: Store, by: str) -> None:
        self._office, self._store, self._target = office, office.store, target
        self._keep = office.policy.keep
        self._identity = _identity(office.store)
        self._details = {"moved_to": _place(target), "by": bounded(by)}

    def finish(self, left: Counter[Left]) -> int:
        """Go on with what earlier runs have left in the other store; how many recipients went by it."""
        number, after = 0, FIRST
        while some := self._target.arriving(after=after, limit=_BATCH):
            for one in some:
                number += self._go_on(one, left)
            after = (some[-1].token, some[-1].parcel.delivery.id)
        return number

    def batches(self) -> Iterator[int]:
        """Carry whom nobody is at, message by message; how many went, behind each batch."""
        behind: tuple[str, str] | None = FIRST
        while behind is not None:
            now, token = self._office.clock.now(), self._office.clock.new_id()
            try:
                taken = self._store.take_along(now=now, lease=Lease(token, now + LEASE), limit=_BATCH, after=behind)
                if taken.parcels:
                    yield self._carry(token, taken.parcels, now)
            finally:
                self._store.release(token)  # whoever did not go, if anything went wrong
            behind = taken.behind

    def _carry(self, token: str, parcels: Sequence[Parcel], now: datetime) -> int:
        self._target.receive([Arrival(token=token, origin=self._identity, at=now, parcel=one) for one in parcels])
        return self._pass_on(token, parcels)

    def _go_on(self, arrival: Arrival, left: Counter[Left]) -> int:
        """Pass on what has half come, unless this store cannot know whether it has let it go."""
        went = self._hand_over(arrival.token, [arrival.parcel]) if arrival.origin == self._identity else {}
        number = sum(map(len, went.values()))
        if number or (went and self._knows(arrival.parcel.delivery)):
            self._target.let_in(arrival.token, went)
        else:
            left[Left.UNDECIDED if went else Left.ELSEWHERE] += len(arrival.parcel.waits)
        return number

    def _knows(self, delivery: Delivery) -> bool:
        """Whether this store remembers a message: then also its going, which is the latest of what it would tell.

        It does not where its events were forgotten since, or where another file has the old one's name by now.
        """
        first, tenant = delivery.recipients[0], delivery.labels.tenant
        told = self._store.history(first.key, tenant=tenant, limit=_HISTORY)
        return any(event["data"].get("delivery_id") == delivery.id for event in told) or bool(
            self._store.addressed(delivery.id, tenant=tenant)
        )

    def _pass_on(self, token: str, parcels: Sequence[Parcel]) -> int:
        """Hand over what has arrived, then let it in; how many recipients went."""
        went = self._hand_over(token, parcels)
        self._target.let_in(token, went)
        return sum(map(len, went.values()))

    def _hand_over(self, token: str, parcels: Sequence[Parcel]) -> Moves:
        """Let go what has arrived; what is told of those who went by it, now or before."""
        occasion = self._office.occasion()
        told = {one.delivery.id: moves(one, token, occasion, self._details) for one in parcels}
        return _of(told, self._store.hand_over(token, told, at=occasion.at, keep=self._keep.messages))


def _of(told: Moves, gone: Mapping[str, Set[str]]) -> Moves:
    """What is told of those who are gone, message by message."""
    return {
        message: {address: event for address, event in events.items() if address in gone[message]}
        for message, events in told.items()
    }


def _has_list(store: Store) -> bool:
    """Whether anybody at all stands on the suppression list."""
    return any(next(store.suppressions(tenant=tenant, limit=1), None) for tenant in store.tenants())


def _identity(store: Store) -> str:
    """Which store it is, by whatever names it can be reached."""
    origin = getattr(store, "origin", None)
    return _place(store) if origin is None else str(origin())


def _place(store: Store) -> str:
    """Where it is, for people."""
    return str(getattr(store, "place", f"memory {id(store):x}"))
