"""Every kind of store, and a sender that carries deliveries out with one; PostgreSQL joins by a line in `STORES`."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

from bouncekit.errors import StoreError
from bouncekit.events import Event, EventType, Occasion
from bouncekit.report import Report
from bouncekit.steps import LookUp, Outcome, Record, Transact
from bouncekit.stores import Store
from bouncekit.stores.memory import MemoryStore
from bouncekit.stores.sqlite import SqliteStore
from bouncekit.suppression import Suppression
from tests.building import NOW, Answers, Driver, delivery_to

STORES: Mapping[str, Callable[[Path], Store]] = {
    "memory": lambda folder: MemoryStore(),
    "sqlite": lambda folder: SqliteStore(folder / "bounces.db"),
}

_numbers = count(1)


def new_id() -> str:
    return f"{next(_numbers):032x}"


@dataclass
class Sender(Driver):
    """Carries deliveries out as the office does, with a store that remembers."""

    store: Any = None
    recorded: list[Record] = field(default_factory=list)

    def answer(self, step: object) -> Any:
        if isinstance(step, LookUp):
            return self.store.look_up(step, self.now)
        if isinstance(step, Record):
            self.recorded.append(step)
            return self.store.record(step)
        return super().answer(step)

    def outcome(self, step: Transact, answers: Answers) -> Outcome:
        return replace(super().outcome(step, answers), attempt_id=new_id())


def send(
    store: Any, *addresses: str, answers: Answers | None = None, now: datetime = NOW, **settings: Any
) -> tuple[Report, list[Record]]:
    """Send to these addresses, by the policy of `building`; the report, and what was recorded."""
    sender = Sender(answers=(answers or {},), now=now, store=store)
    return sender.drive(delivery_to(*addresses, id=new_id(), **settings)), sender.recorded


def told_of(suppression: Suppression, type_: EventType = EventType.SUPPRESSION_ADDED, at: datetime = NOW) -> Event:
    """The event of a change by hand."""
    occasion = Occasion(attempt_id=new_id(), at=at)
    return Event(id=new_id(), type=type_, occasion=occasion, recipient=suppression.address, suppression=suppression)


def put(store: Any, *suppressions: Suppression) -> None:
    """Put suppressions on the list by hand."""
    for one in suppressions:
        store.add(one, by="owner", event=told_of(one))


def take(store: Any, key: str, *, tenant: str = "", stream: str = "", at: datetime = NOW) -> Suppression | None:
    """Take a suppression off the list by hand."""
    occasion = Occasion(attempt_id=new_id(), at=at)
    event = Event(id=new_id(), type=EventType.SUPPRESSION_LIFTED, occasion=occasion)
    lifted: Suppression | None = store.lift(key, tenant=tenant, stream=stream, by="owner", at=at, event=event)
    return lifted


class Pair:
    """Two stores as one, which must give the same answers, and raise the same errors."""

    def __init__(self, first: Store, second: Store) -> None:
        self.both = first, second

    def __getattr__(self, name: str) -> Any:
        def ask(*arguments: Any, **named: Any) -> Any:
            one, other = (_answer(getattr(store, name), *arguments, **named) for store in self.both)
            assert one == other, f"{name}{arguments}{named}"
            if isinstance(one, type):
                raise one
            return one

        return ask


def _answer(ask: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    try:
        answer = ask(*arguments, **named)
    except StoreError as error:
        return type(error)
    return list(answer) if isinstance(answer, Iterator) else answer
