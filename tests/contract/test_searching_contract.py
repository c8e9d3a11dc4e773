"""What every store finds among its events, as a look at each of them would."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from bouncekit.stores import Store
from bouncekit.stores.searching import Search
from tests.building import ANN, BOB, CY, NOW

from .stores import send

HOUR = timedelta(hours=1)
FULL = "552 5.2.2 Mailbox is full"
SPANS = ((None, None), (NOW + HOUR, None), (None, NOW + 4 * HOUR), (NOW + HOUR, NOW + 4 * HOUR))


@pytest.fixture
def told(store: Store) -> list[tuple[int, dict[str, Any]]]:
    """Six hours of mail, of two tenants."""
    for hour in range(6):
        tenant = "acme" if hour % 2 else ""
        send(store, ANN, BOB, CY, answers={BOB: FULL}, now=NOW + hour * HOUR, tenant=tenant)
    return list(store.events())


def pages(store: Store, wanted: Search, *, newest_first: bool = False, limit: int = 2) -> Iterator[tuple[int, Any]]:
    after, before = 0, None
    while page := store.search(wanted, after=after, before=before, newest_first=newest_first, limit=limit):
        assert len(page) <= limit
        yield from page
        after, before = (after, page[-1][0]) if newest_first else (page[-1][0], before)


def test_without_a_wish_all_are_found_in_their_order_and_back(store: Store, told: list[Any]) -> None:
    assert list(pages(store, Search())) == told
    assert list(pages(store, Search(), newest_first=True)) == told[::-1]


@pytest.mark.parametrize("newest_first", [False, True], ids=["oldest", "newest"])
def test_what_is_asked_for_is_found_page_by_page(store: Store, told: list[Any], newest_first: bool) -> None:
    for types in ((), ("failed",), ("failed", "suppressed"), ("complained",)):
        for tenant in (None, "", "acme", "nobody"):
            for since, until in SPANS:
                wanted = Search(types=types, tenant=tenant, since=since, until=until)
                found = list(pages(store, wanted, newest_first=newest_first))
                by_hand = [one for one in told if _is_wanted(one[1], wanted)]
                assert found == (by_hand[::-1] if newest_first else by_hand), wanted


def test_a_mailbox_is_found_by_its_key_within_a_tenant(store: Store, told: list[Any]) -> None:
    found = store.search(Search(keys={BOB}, tenant="acme"), limit=100)
    assert [event["type"] for _, event in found] == ["failed", "suppression_added", "suppressed", "suppressed"]
    assert [one for one in told if one in found] == list(found)
    both = store.search(Search(keys={ANN, BOB}, tenant=""), limit=100)
    everybody = {event["subject"] for _, event in told}
    assert {event["subject"] for _, event in both} == everybody - _subjects(told, CY, store)


def test_between_two_numbers_both_are_left_out(store: Store, told: list[Any]) -> None:
    first, last = told[2][0], told[-2][0]
    assert list(store.search(Search(), after=first, before=last)) == told[3:-2]
    assert list(store.search(Search(), after=last, before=first)) == []
    assert list(store.search(Search(), limit=0)) == []


def _is_wanted(event: dict[str, Any], wanted: Search) -> bool:
    at = datetime.fromisoformat(event["time"])
    return (
        (not wanted.types or event["type"] in wanted.types)
        and wanted.tenant in (None, event["data"]["tenant"])
        and (wanted.since is None or at >= wanted.since)
        and (wanted.until is None or at < wanted.until)
    )


def _subjects(told: list[Any], address: str, store: Store) -> set[Any]:
    """What the store calls somebody."""
    mine = [event["id"] for event in store.history(address, tenant="")]
    return {event["subject"] for _, event in told if event["id"] in mine}
