"""A store behind a screen answers as it would without one, whatever happens and whoever writes."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import settings

from bouncekit.delivery.steps import LookedUp, LookUp
from bouncekit.policy.rule import Window
from bouncekit.postmaster.config import Config
from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.stores import Store
from bouncekit.stores.erasing import Erasure
from bouncekit.stores.memory import MemoryStore
from bouncekit.stores.screen.localfilter import LocalFilter
from bouncekit.stores.screen.screened import _Screened, screened, with_cache
from bouncekit.stores.screen.sharedcache import SharedCache
from bouncekit.stores.sqlite import SqliteStore
from bouncekit.words.envelope import Labels
from bouncekit.words.errors import ConfigurationError, StoreError
from bouncekit.words.pseudonym import Pseudonyms
from tests.building import ANN, BOB, CY, NOW, expired, suppression
from tests.contract.stores import Together, put, send
from tests.contract.test_store_contract import DAY, WEEK_OF_FULL, StoresAgree
from tests.test_sharedcache import Shared
from tests.valkey import Valkey

# What forwards as it is, since it puts nobody on the list. A method that may must be written out in `_Screened`.
PUTS_NOBODY_THERE = frozenset(
    """
    abandoned addressed arriving begin changes changes_at changes_of claim claim_cursor cursors date_back depth drop
    drop_cursor enqueue events extend flows hand_over history holdings kept let_in levels lift move_cursor newest_at
    note_trouble overdue overwrite_deleted place_cursor prune pseudonymous queued queued_message queued_relays
    read_cursor receive release release_cursor requeue search spent standing suppression suppressions swap_flow
    swap_level take_along talkers tally tally_events tell tenants tenants_of trouble_of
    """.split()
)


class OnlyThese:
    """A screen for tests: only these keys are possible."""

    def __init__(self, *keys: str) -> None:
        self.keys = keys
        self.listed: list[tuple[str, tuple[str, ...]]] = []
        self.forgotten = 0
        self.is_closed = False

    def possible(self, tenant: str, keys: Sequence[str]) -> Sequence[str]:
        return [key for key in keys if key in self.keys]

    def listing(self, tenant: str, keys: Sequence[str]) -> None:
        self.listed.append((tenant, tuple(keys)))

    def forget(self) -> None:
        self.forgotten += 1

    def ask(self) -> str:
        return "these"

    def close(self) -> None:
        self.is_closed = True


class Asked:
    """A store that notes its look-ups."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.questions: list[LookUp] = []
        self.bulk: list[Collection[str]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def look_up(self, question: LookUp, now: Any) -> LookedUp:
        self.questions.append(question)
        return self._store.look_up(question, now)

    def suppressed(self, keys: Collection[str], *rest: Any, **more: Any) -> frozenset[str]:
        self.bulk.append(keys)
        return self._store.suppressed(keys, *rest, **more)


@pytest.fixture
def asked() -> Any:
    return Asked(MemoryStore())


def test_every_method_of_a_store_is_forwarded_or_written_out() -> None:
    """A new one? If it may put somebody on the list, it must tell the screen; else its name belongs above."""
    ours = {name for name in vars(_Screened) if not name.startswith("_")}
    protocol = {name for kind in Store.__mro__ for name in vars(kind) if not name.startswith("_")}
    assert protocol - ours - PUTS_NOBODY_THERE == set()
    assert ours & PUTS_NOBODY_THERE == set()


def test_only_who_may_be_on_the_list_is_asked_about(asked: Any) -> None:
    put(asked, suppression(ANN))
    store = screened(asked, OnlyThese(ANN))
    question = LookUp(labels=Labels(), keys=(ANN, BOB, CY), claim="d1")
    assert list(store.look_up(question, NOW).suppressions) == [ANN]
    assert [one.keys for one in asked.questions] == [(ANN,)]
    assert asked.questions[0].claim == "d1"


def test_a_question_about_nobody_who_may_be_there_ends_at_the_screen(asked: Any) -> None:
    store = screened(asked, OnlyThese())
    assert store.look_up(LookUp(labels=Labels(), keys=(ANN, BOB), claim="d1"), NOW) == LookedUp(now=NOW)
    assert store.suppressed((ANN, BOB), Labels(), NOW) == frozenset()
    assert asked.questions == asked.bulk == []


def test_what_is_counted_is_the_store_s(asked: Any) -> None:
    send(asked, ANN, answers={ANN: "452 4.2.2 Over quota"})
    asked.questions.clear()
    store = screened(asked, OnlyThese())
    window: tuple[str, Window] = (ANN, WEEK_OF_FULL)
    found = store.look_up(LookUp(labels=Labels(), keys=(ANN,), windows=(window,)), NOW + DAY)
    assert found.counters == {window: 1}
    assert [one.keys for one in asked.questions] == [()]


def test_a_bulk_question_goes_on_with_who_may_be_there(asked: Any) -> None:
    put(asked, suppression(ANN), expired(BOB))
    store = screened(asked, OnlyThese(ANN, BOB))
    assert store.suppressed((ANN, BOB, CY), Labels(), NOW) == {ANN}
    assert asked.bulk == [[ANN, BOB]]


def test_who_is_put_on_the_list_is_told_to_the_screen_first(asked: Any) -> None:
    screen = OnlyThese()
    store = screened(asked, screen)
    put(store, suppression(ANN, tenant="shop"))
    send(store, BOB, CY, answers={BOB: "550 5.1.1 No such user"})
    assert screen.listed == [("shop", (ANN,)), ("", (BOB,))]


def test_who_is_erased_is_forgotten_by_the_screen_too(asked: Any) -> None:
    screen = OnlyThese()
    store = screened(asked, screen)
    put(store, suppression(ANN))
    erasure = Erasure(key=ANN, names=Pseudonyms(["a secret of sixteen bytes"]), spellings=frozenset({ANN}))
    assert store.erase(erasure).suppressions == 1
    assert screen.forgotten == 1


def test_closing_the_store_closes_the_screen(asked: Any) -> None:
    screen = OnlyThese()
    with screened(asked, screen):
        assert not screen.is_closed
    assert screen.is_closed
    with pytest.raises(StoreError):
        asked.suppression(ANN)


# -- the same answers, through whatever screen, with writers that have another one


class Hands(AbstractContextManager["Hands"]):
    """One hand asks, another writes, as two processes do."""

    def __init__(self, asking: Store, writing: Store) -> None:
        self.asking, self.writing = asking, writing

    def __getattr__(self, name: str) -> Any:
        return getattr(self.asking if name in ("look_up", "suppressed") else self.writing, name)

    def __exit__(self, *_: object) -> None:
        self.asking.close()
        self.writing.close()


class FilteredAgrees(StoresAgree):
    """A store in memory, and one in SQLite that is asked through a filter while another connection writes."""

    kinds = ()

    def __init__(self) -> None:
        super().__init__()
        folder = Path(self.opened.enter_context(TemporaryDirectory()))
        self.stores = Together(MemoryStore(), self.opened.enter_context(self.hands(folder / "bounces.db")))

    def hands(self, path: Path) -> Hands:
        opened = SqliteStore(path)
        screen = LocalFilter(opened, path=f"{path}-filter")
        screen.prepare()
        return Hands(screened(opened, screen), SqliteStore(path))


class CachedAgrees(FilteredAgrees):
    """The same through a shared cache, to which asker and writer have a connection each."""

    valkey: Valkey

    def hands(self, path: Path) -> Hands:
        url = f"{self.valkey.url}?socket_timeout=30"
        return Hands(*(screened(one, SharedCache(one, url)) for one in (Shared(path), Shared(path))))


FEW = settings(max_examples=25, stateful_step_count=25, deadline=None, database=None)


class TestFilteredAgrees(FilteredAgrees.TestCase):  # type: ignore[name-defined,misc]
    settings = FEW


class TestCachedAgrees(CachedAgrees.TestCase):  # type: ignore[name-defined,misc]
    settings = FEW

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def with_a_valkey(cls) -> Iterator[None]:
        CachedAgrees.valkey = Valkey()
        yield
        CachedAgrees.valkey.close()


# -- from a setting


def test_a_setting_names_the_screen(tmp_path: Path) -> None:
    store = with_cache(SqliteStore(tmp_path / "bounces.db"), "local")
    put(store, suppression(ANN))
    screen: Any = store._screen  # type: ignore[attr-defined]
    screen.prepare()
    assert (tmp_path / "bounces.db-filter").exists()
    assert list(store.look_up(LookUp(labels=Labels(), keys=(ANN, BOB)), NOW).suppressions) == [ANN]
    store.close()


def test_a_store_that_has_all_at_hand_takes_no_cache() -> None:
    with pytest.raises(ConfigurationError, match="leave the cache out"):
        Postmaster(cache="local")


def test_a_file_takes_no_server_as_its_cache(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="write cache='local'") as caught:
        Postmaster(store=f"sqlite:///{tmp_path}/bounces.db", cache="redis://:hush@cache/0")
    assert "hush" not in str(caught.value)


def test_a_postmaster_sends_through_its_cache(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/bounces.db"
    with Postmaster(store=url, cache="local") as postmaster:
        postmaster.suppressions.add(ANN)
        screen: Any = postmaster.office.store._screen  # type: ignore[attr-defined]
        screen.prepare()
        report, _ = send(postmaster.office.store, ANN, BOB)
        assert [one.action.value for one in report.recipients] == ["suppressed", "delivered"]


def test_the_cache_is_in_the_configuration_and_its_password_in_no_repr() -> None:
    config = Config.read("/nowhere", {"BOUNCEKIT_CACHE": "redis://:hush@cache/0"})
    assert config.for_postmaster()["cache"] == "redis://:hush@cache/0"
    assert "hush" not in repr(config)
