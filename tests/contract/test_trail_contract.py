"""What every store tells of its list that has more of it than it holds in memory."""

from pathlib import Path
from typing import Any

import pytest

from bouncekit.stores import open_store
from bouncekit.stores.codec import key_hash, milliseconds, suppression_json, suppression_row
from bouncekit.stores.screen.localfilter import LocalFilter
from bouncekit.stores.screen.sharedcache import SharedCache
from bouncekit.stores.sql.statements import AUDIT, PUT
from tests.building import ANN, BOB, CY, NOW, expired, suppression
from tests.postgresql import new_schema
from tests.valkey import Valkey

from .stores import STORES, put, send, take


@pytest.fixture(params=[name for name in STORES if name != "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    with STORES[request.param](tmp_path) as opened:
        yield opened


def test_every_change_leaves_a_trace_in_order(store: Any) -> None:
    put(store, suppression(ANN, tenant="shop"))
    send(store, BOB, answers={BOB: "550 5.1.1 No such user"})
    take(store, BOB)
    traces = store.trail(since=0, limit=10)
    assert [(one.tenant, one.key_hash) for one in traces] == [
        ("shop", key_hash(ANN)),
        ("", key_hash(BOB)),
        ("", key_hash(BOB)),
    ]
    assert store.trail(since=traces[1].sequence, limit=10) == traces[1:]
    assert store.trail(since=0, limit=1) == traces[:1]
    assert store.trail_end() == traces[2]
    assert store.trail_end(traces[2].sequence - 1) == traces[1]
    assert store.trail_settled() >= traces[2].sequence


def test_an_empty_list_has_neither_traces_nor_entries(store: Any) -> None:
    assert list(store.trail(since=0, limit=10)) == list(store.entries(limit=10)) == []
    assert store.trail_end() is None
    assert store.entry_count() == 0


def test_all_entries_are_listed_page_by_page(store: Any) -> None:
    put(
        store,
        suppression(ANN),
        expired(BOB, stream="news"),
        suppression(CY, tenant="shop"),
        suppression(ANN, stream="x"),
    )
    found, page = [], store.entries(limit=1)
    while page:
        found += page
        page = store.entries(after=page[-1], limit=1)
    assert found == sorted(found)
    assert {(tenant, stream, bytes(hashed)) for tenant, stream, hashed in found} == {
        ("", "", key_hash(ANN)),
        ("", "news", key_hash(BOB)),
        ("", "x", key_hash(ANN)),
        ("shop", "", key_hash(CY)),
    }
    assert store.entry_count() == 4


def test_who_is_listed_is_known_in_whatever_stream_and_standing(store: Any) -> None:
    odd = "ünï\udcff@example.com"
    put(store, expired(ANN, stream="news"), suppression(CY, tenant="shop"), suppression(odd))
    many = [f"{number}@example.com" for number in range(1000)]
    assert store.listed("", [ANN, BOB, CY, odd, *many]) == {ANN, odd}
    assert store.listed("shop", [ANN, BOB, CY]) == {CY}
    assert store.listed("", []) == frozenset()


def _opened(url: str) -> Any:
    return open_store(url)


def _commit_later(store: Any, address: str) -> Any:
    """A transaction that has put somebody on the list and is open still, and the number that it has drawn."""
    one = suppression(address)
    place = ("", "", key_hash(one.key))
    held = store._database.writing()
    transaction = held.__enter__()
    transaction.execute(PUT, suppression_row(one))
    audited = (milliseconds(NOW), "added", "owner", *place, "an event", None, suppression_json(one))
    transaction.execute(AUDIT, audited)
    ((number,),) = transaction.execute("SELECT max(sequence) FROM audit", ()).fetchall()
    return held, number


def test_in_postgresql_a_change_that_is_committed_behind_a_later_one_is_seen() -> None:
    with new_schema() as url, _opened(url) as store, _opened(url) as other:
        put(store, suppression(CY))
        screen = LocalFilter(store)
        screen.prepare()
        held, number = _commit_later(other, ANN)
        put(store, suppression(BOB))
        assert store.trail_end().sequence > number
        assert screen.possible("", (ANN, BOB, CY)) == [BOB, CY]
        built_meanwhile = LocalFilter(store)
        built_meanwhile.prepare()
        held.__exit__(None, None, None)
        for one in (screen, built_meanwhile):
            assert one.possible("", (ANN, BOB, CY)) == [ANN, BOB, CY]


def test_in_postgresql_all_who_share_a_store_share_its_cache_and_others_do_not() -> None:
    with new_schema() as url, new_schema() as elsewhere:
        valkey = Valkey()
        with _opened(url) as store, _opened(url) as other, _opened(elsewhere) as foreign:
            assert store.origin() == other.origin() != foreign.origin()
            one, two, three = (SharedCache(each, valkey.url) for each in (store, other, foreign))
            put(foreign, suppression(ANN))
            assert list(one.possible("", (ANN, BOB))) == []
            assert list(two.possible("", (ANN, BOB))) == []
            assert list(three.possible("", (ANN, BOB))) == [ANN]
            assert valkey.client().dbsize() == 3
        valkey.close()
