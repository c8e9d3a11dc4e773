"""The cache that machines share: it knows who is absent and no more, a writer beats it, and the store stands in."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bouncekit.cli.checks import Check
from bouncekit.cli.storechecks import store_and_more
from bouncekit.stores import Store
from bouncekit.stores.screen import sharedcache
from bouncekit.stores.screen.screened import ask_cache, screened
from bouncekit.stores.screen.sharedcache import SharedCache
from bouncekit.stores.sqlite import SqliteStore
from bouncekit.stores.trail import digest_of
from bouncekit.words.errors import ConfigurationError, StoreError
from tests.building import ANN, BOB, CY, suppression
from tests.contract.stores import put, send, take
from tests.valkey import Valkey


@pytest.fixture(scope="module")
def server() -> Iterator[Valkey]:
    valkey = Valkey()
    yield valkey
    valkey.close()


@pytest.fixture
def valkey(server: Valkey) -> Valkey:
    server.client().flushall()
    return server


@pytest.fixture
def own() -> Iterator[Valkey]:
    """One that a test may kill."""
    valkey = Valkey()
    yield valkey
    valkey.close()


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine is no cache that does not answer."""
    monkeypatch.setattr(sharedcache, "_TIMEOUT_SECONDS", 10.0)


class Shared(SqliteStore):
    """A store as quick as a file, that says where it is like one that machines share."""

    def origin(self) -> str:
        return self.path


class Watched:
    """A store that notes who is asked of its list, and does something before or behind the answer."""

    def __init__(self, store: Shared) -> None:
        self._store = store
        self.asked: list[str] = []
        self.before: Callable[[], object] = lambda: None
        self.behind: Callable[[], object] = lambda: None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def listed(self, tenant: str, keys: Sequence[str]) -> frozenset[str]:
        self.asked += keys
        self.before()
        answer = self._store.listed(tenant, keys)
        self.behind()
        return answer


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Shared]:
    with Shared(tmp_path / "bounces.db") as opened:
        put(opened, suppression(CY, stream="elsewhere"))
        yield opened


@pytest.fixture
def watched(store: Shared) -> Watched:
    return Watched(store)


def entry(store: Any, key: str, tenant: str = "") -> bytes:
    """Where a mailbox lies in the cache."""
    screen = SharedCache(store, "redis://127.0.0.1:1/0")
    return screen._named().encode() + digest_of(tenant, key).to_bytes(16)


def possible(screen: SharedCache, *keys: str, tenant: str = "") -> list[str]:
    return list(screen.possible(tenant, keys))


# -- what it knows


def test_who_was_not_on_the_list_is_not_asked_of_the_store_again(valkey: Valkey, watched: Watched) -> None:
    one, other = SharedCache(watched, valkey.url), SharedCache(watched, valkey.url)
    assert possible(one, ANN, BOB) == []
    assert watched.asked == [ANN, BOB]
    assert possible(other, BOB, ANN) == []
    assert watched.asked == [ANN, BOB]


def test_who_is_on_the_list_is_always_asked_of_the_store(valkey: Valkey, watched: Watched) -> None:
    put(watched, suppression(ANN))
    screen = SharedCache(watched, valkey.url)
    for _ in range(3):
        assert possible(screen, ANN, BOB, CY) == [ANN, CY]
    assert watched.asked == [ANN, BOB, CY, ANN, CY, ANN, CY]


def test_tenants_and_stores_do_not_mix(valkey: Valkey, store: Shared, tmp_path: Path) -> None:
    put(store, suppression(ANN, tenant="shop"))
    screen = SharedCache(store, valkey.url)
    assert possible(screen, ANN) == []
    assert possible(screen, ANN, tenant="shop") == [ANN]
    with Shared(tmp_path / "other.db") as other:
        put(other, suppression(ANN))
        assert possible(SharedCache(other, valkey.url), ANN) == [ANN]


def test_what_is_remembered_ends_with_its_time(valkey: Valkey, store: Shared) -> None:
    SharedCache(store, f"{valkey.url}?ttl=30s").possible("", (ANN,))
    assert 25_000 < valkey.client().pttl(entry(store, ANN)) <= 30_000


def test_many_keys_are_asked_in_parts(valkey: Valkey, watched: Watched) -> None:
    keys = [f"{number}@example.com" for number in range(2500)]
    put(watched, suppression(keys[2400]))
    screen = SharedCache(watched, valkey.url)
    assert possible(screen, *keys) == [keys[2400]]
    watched.asked.clear()
    assert possible(screen, *keys) == [keys[2400]]
    assert watched.asked == [keys[2400]]


# -- who is put on the list is seen at once


def test_whoever_puts_somebody_on_the_list_takes_him_out_of_the_cache(valkey: Valkey, store: Shared) -> None:
    here = SharedCache(store, valkey.url)
    there: Store = screened(store, SharedCache(store, valkey.url))
    assert possible(here, ANN, BOB) == []
    put(there, suppression(ANN))
    assert possible(here, ANN, BOB) == [ANN]
    send(there, BOB, answers={BOB: "550 5.1.1 No such user"})
    assert possible(here, ANN, BOB) == [ANN, BOB]


def test_who_is_lifted_is_asked_of_the_store_while_the_mark_lasts(valkey: Valkey, store: Shared) -> None:
    here: Store = screened(store, SharedCache(store, valkey.url))
    put(here, suppression(ANN))
    take(here, ANN)
    assert possible(SharedCache(store, valkey.url), ANN) == []
    put(here, suppression(ANN))
    assert possible(SharedCache(store, valkey.url), ANN) == [ANN]


@pytest.mark.parametrize("moment", ["before", "behind"])
def test_an_answer_from_before_a_change_is_not_remembered_behind_it(
    valkey: Valkey, watched: Watched, store: Shared, moment: str
) -> None:
    """Asked of the cache; then somebody else writes, wholly; then the older answer of the store is to be remembered."""
    there: Store = screened(store, SharedCache(store, valkey.url))

    def write() -> None:
        watched.before = watched.behind = lambda: None
        put(there, suppression(ANN))

    setattr(watched, moment, write)
    here = SharedCache(watched, valkey.url)
    assert possible(here, ANN, BOB) == ([ANN] if moment == "before" else [])
    assert possible(here, ANN, BOB) == [ANN]


@pytest.mark.parametrize("stop", ["before the commit", "behind the commit"])
def test_a_writer_that_is_killed_around_its_commit_leaves_nothing_stale(
    valkey: Valkey, store: Shared, stop: str
) -> None:
    here, there = SharedCache(store, valkey.url), SharedCache(store, valkey.url)
    assert possible(here, ANN) == []
    there.listing("", (ANN,))
    assert possible(here, ANN) == []  # asked of the store, and not remembered: the writer may be about to commit
    if stop == "behind the commit":
        put(store, suppression(ANN))
    assert possible(here, ANN) == ([ANN] if stop == "behind the commit" else [])


def test_a_late_answer_is_not_remembered(valkey: Valkey, watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that was stopped for longer than a mark lasts comes back with an answer of long ago."""
    monkeypatch.setattr(sharedcache, "_FILL_MILLISECONDS", 20)
    monkeypatch.setattr(sharedcache, "_MARK_MILLISECONDS", 40)
    there: Store = screened(watched._store, SharedCache(watched._store, valkey.url))

    def write_and_wait() -> None:
        watched.behind = lambda: None
        put(there, suppression(ANN))
        while valkey.client().exists(entry(watched, ANN)):
            time.sleep(0.01)

    watched.behind = write_and_wait
    here = SharedCache(watched, valkey.url)
    assert possible(here, ANN) == []
    assert possible(here, ANN) == [ANN]


def test_a_mark_that_could_not_be_made_is_made_up_for_by_the_time_to_live(valkey: Valkey, store: Shared) -> None:
    """The bound: what was remembered before is believed until it ends, and no longer."""
    here = SharedCache(store, f"{valkey.url}?ttl=300ms")
    assert possible(here, ANN) == []
    cut_off: Store = screened(store, SharedCache(store, "redis://127.0.0.1:1/0"))
    put(cut_off, suppression(ANN))
    while valkey.client().exists(entry(store, ANN)):
        time.sleep(0.02)
    assert possible(here, ANN) == [ANN]


# -- hostile content


@pytest.mark.parametrize(
    "put_there",
    [
        lambda client, name: client.set(name, b"x" * 5_000_000),
        lambda client, name: client.set(name, b"absent and more"),
        lambda client, name: client.set(name, b""),
        lambda client, name: client.set(name, b'{"absent": true'),
        lambda client, name: client.rpush(name, "absent"),
        lambda client, name: client.hset(name, "absent", "absent"),
    ],
)
def test_content_that_is_not_ours_says_nothing(
    valkey: Valkey, watched: Watched, put_there: Callable[[Any, bytes], object]
) -> None:
    put(watched, suppression(ANN))
    for key in (ANN, BOB):
        put_there(valkey.client(), entry(watched, key))
    screen = SharedCache(watched, valkey.url)
    for _ in range(2):
        assert possible(screen, ANN, BOB) == [ANN]
    screen.listing("", (BOB,))
    assert valkey.client().get(entry(watched, BOB)) == b"listed"


# -- a cache that does not answer


def test_without_a_cache_the_store_answers_and_one_line_says_so(
    own: Valkey, store: Shared, caplog: pytest.LogCaptureFixture
) -> None:
    screen = SharedCache(store, f"redis://:secret-of-ours@127.0.0.1:{own.port}/0")
    own.client().config_set("requirepass", "secret-of-ours")
    put(store, suppression(ANN))
    assert possible(screen, ANN, BOB) == [ANN]
    own.kill()
    with caplog.at_level(logging.INFO, "bouncekit"):
        for _ in range(5):
            assert possible(screen, ANN, BOB) == [ANN, BOB]
        screen.listing("", (BOB,))
    assert len(caplog.records) == 1
    assert f"redis://127.0.0.1:{own.port}/0: the cache does not answer" in caplog.text
    assert "secret-of-ours" not in caplog.text + repr(screen)


def test_a_cache_that_is_back_is_used_again(
    own: Valkey, store: Shared, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = SharedCache(store, own.url)
    assert possible(screen, ANN) == []
    own.kill()
    assert possible(screen, ANN) == [ANN]
    again = Valkey(port=own.port)
    monkeypatch.setattr(screen._breaker, "_not_before", 0.0)
    with caplog.at_level(logging.INFO, "bouncekit"):
        assert possible(screen, ANN) == []
        assert possible(screen, ANN) == []
    assert "the cache answers again" in caplog.text
    again.close()


def test_a_stalled_cache_holds_up_one_question_and_no_more(
    own: Valkey, store: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharedcache, "_TIMEOUT_SECONDS", 0.05)
    monkeypatch.setattr(sharedcache, "_PAUSE_SECONDS", 600.0)
    screen = SharedCache(store, own.url)
    assert possible(screen, BOB) == []
    own.stall()
    asked: list[object] = []
    monkeypatch.setattr(screen, "_ask", _noting(screen._ask, asked))
    for _ in range(1000):
        assert possible(screen, ANN) == [ANN]
    assert len(asked) == 1


def _noting(script: Callable[..., Any], asked: list[object]) -> Callable[..., Any]:
    def ask(**named: Any) -> Any:
        asked.append(named)
        return script(**named)

    return ask


def test_a_store_that_does_not_answer_is_not_hidden(valkey: Valkey, watched: Watched) -> None:
    def fail() -> None:
        raise StoreError("unreachable")

    watched.before = fail
    screen = SharedCache(watched, valkey.url)
    assert possible(screen, ANN) == [ANN]
    assert valkey.client().keys() == []


@pytest.mark.parametrize("answer", [None, 7, [], [1], [1, b"1", 2], ["1", b"11"], [1, "11"], [1, b"1"], [1, b"111"]])
def test_an_answer_that_is_none_is_not_believed(
    valkey: Valkey, store: Shared, answer: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = SharedCache(store, valkey.url)
    monkeypatch.setattr(screen, "_ask", lambda **named: answer)
    assert possible(screen, ANN, BOB) == [ANN, BOB]


# -- the URL


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("memcached://host", "is none; write 'local'"),
        ("Local", "is none; write 'local'"),
        ("redis://:hush@host/0?ttl=2h", "ttl is up to an hour"),
        ("redis://:hush@host/0?ttl=0s", "ttl is up to an hour"),
        ("redis://:hush@host/0?ttl=soon", "no duration"),
        ("redis://:hush@host:port/0", "cache="),
        ("redis://:hush@host/0?socket_timeout=x", "cache="),
        ("redis://:hush@host/0?nonsense=1", "cache="),
        ("redis://:hush@[::1/0", "cache="),
    ],
)
def test_a_url_that_is_none_says_what_would_be_right(store: Shared, url: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says) as caught:
        SharedCache(store, url)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["redis", "valkey"])
def test_both_names_of_the_protocol_are_known(valkey: Valkey, store: Shared, scheme: str) -> None:
    screen = SharedCache(store, valkey.url.replace("redis:", f"{scheme}:"))
    assert possible(screen, ANN) == []
    assert valkey.client().dbsize() == 1
    screen.close()


def test_doctor_is_told_whether_it_answers(own: Valkey, tmp_path: Path) -> None:
    with Shared(tmp_path / "b.db") as store:
        url = own.url.replace("//", "//:hush@")
        assert "hush" not in ask_cache(store, own.url)
        assert ask_cache(store, own.url).endswith(" answers")
        own.kill()
        (found,) = [one for one in looked_at(store, url) if one.name == "cache"]
    assert found.level == "warn"
    assert "does not answer" in found.found
    assert "hush" not in found.found


def looked_at(store: Store, cache: str) -> Iterator[Check]:
    return store_and_more(store, now=datetime.now(UTC), relays=(), all_known=True, cache=cache)
