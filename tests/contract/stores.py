"""Every kind of store, and a sender that carries deliveries out with one."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bouncekit.delivery.events import Event, EventType, Occasion
from bouncekit.delivery.report import Report
from bouncekit.delivery.steps import LookUp, Outcome, Record, Transact
from bouncekit.delivery.suppressionchange import Swap
from bouncekit.policy.suppression import Suppression
from bouncekit.stores import Store, open_store
from bouncekit.stores.memory import MemoryStore
from bouncekit.stores.screen.localfilter import LocalFilter
from bouncekit.stores.screen.screened import screened
from bouncekit.stores.sqlite import SqliteStore
from bouncekit.stores.veil.veiled import veiled
from bouncekit.words.errors import StoreError
from bouncekit.words.pseudonym import Pseudonyms
from tests.building import NOW, Answers, Driver, delivery_to
from tests.postgresql import new_schema


def _filtered(folder: Path) -> Store:
    """A store in SQLite that is asked through a filter which is ready, as it is soon behind a start."""
    store = SqliteStore(folder / "bounces.db")
    screen = LocalFilter(store)
    screen.prepare()
    return screened(store, screen)


def _veiled(folder: Path) -> Store:
    """A store in SQLite that keeps no addresses."""
    return veiled(SqliteStore(folder / "bounces.db"), NAMES)


@contextmanager
def _in_postgresql(folder: Path) -> Iterator[Store]:
    with new_schema() as url, open_store(url) as store:
        yield store


STORES: Mapping[str, Callable[[Path], AbstractContextManager[Store]]] = {
    "memory": lambda folder: MemoryStore(),
    "sqlite": lambda folder: SqliteStore(folder / "bounces.db"),
    "filtered": _filtered,
    "postgresql": _in_postgresql,
}

# The same, of one that gives no address back: what such a store does it does as all the others.
VEILED: Mapping[str, Callable[[Path], AbstractContextManager[Store]]] = {"veiled": _veiled}
NAMES = Pseudonyms([b"a secret of sixteen bytes"])

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


def put_many(store: Any, suppressions: Iterable[Suppression]) -> None:
    """The same in one transaction, without events: of so many that one each would take its time."""
    assert not store.exchange([Swap(before=None, after=one) for one in suppressions], by="owner", at=NOW)


def take(store: Any, key: str, *, tenant: str = "", stream: str = "", at: datetime = NOW) -> Suppression | None:
    """Take a suppression off the list by hand."""
    occasion = Occasion(attempt_id=new_id(), at=at)
    event = Event(id=new_id(), type=EventType.SUPPRESSION_LIFTED, occasion=occasion)
    lifted: Suppression | None = store.lift(key, tenant=tenant, stream=stream, by="owner", at=at, event=event)
    return lifted


class Together:
    """Several stores as one, which must give the same answers, and raise the same errors."""

    def __init__(self, *stores: Store) -> None:
        self.all = stores

    def __getattr__(self, name: str) -> Any:
        def ask(*arguments: Any, **named: Any) -> Any:
            first, *others = (_answer(getattr(store, name), *arguments, **named) for store in self.all)
            for store, other in zip(self.all[1:], others, strict=True):
                assert other == first, f"{type(store).__name__}: {name}{arguments}{named}"
            if isinstance(first, type):
                raise first
            return first

        return ask


@contextmanager
def together(*kinds: str) -> Iterator[Any]:
    """New stores of these kinds of `STORES` and `VEILED`, as one."""
    with TemporaryDirectory() as folder, ExitStack() as stack:
        stores = []
        for kind in kinds:
            (Path(folder) / kind).mkdir()
            stores.append(stack.enter_context({**STORES, **VEILED}[kind](Path(folder) / kind)))
        yield Together(*stores)


def _answer(ask: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    try:
        answer = ask(*arguments, **named)
    except StoreError as error:
        return type(error)
    return list(answer) if isinstance(answer, Iterator) else answer
