"""What every store does with many entries of its suppression list at once, and with the audit of it."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from bouncekit.delivery.events import EventType
from bouncekit.delivery.suppressionchange import Act, Change, Place, Swap, place_of
from bouncekit.meaning.classification import Category
from bouncekit.policy.suppression import Evidence, Standing, Suppression
from bouncekit.stores import Store
from bouncekit.stores.listing import Holding, Holdings
from bouncekit.words.envelope import Labels
from bouncekit.words.errors import StoreError
from tests.building import ANN, BOB, CY, DI, NOW, expired, suppression

from .stores import put, put_many, send, take, told_of

DAY = timedelta(days=1)
EVERYBODY = [f"user{number}@example.com" for number in range(1000)]


def swap(before: Suppression | None, after: Suppression | None) -> Swap:
    type_ = EventType.SUPPRESSION_LIFTED if after is None else EventType.SUPPRESSION_ADDED
    return Swap(before=before, after=after, event=told_of(after or before, type_))  # type: ignore[arg-type]


def states(changes: Sequence[Change]) -> list[tuple[str, Act, str, str | None]]:
    return [(one.by, one.act, one.place.key, one.after and one.after.standing.value) for one in changes]


def test_of_many_those_who_are_held_back(store: Store) -> None:
    put(store, suppression(ANN), expired(BOB), replace(suppression(CY), standing=Standing.HELD))
    put_many(store, map(suppression, EVERYBODY[::3]))
    asked = [ANN, BOB, CY, DI, *EVERYBODY]
    assert store.suppressed(asked, Labels(), NOW) == {ANN, *EVERYBODY[::3]}
    assert store.suppressed(asked, Labels(), NOW + 9 * DAY) == frozenset()
    assert store.suppressed([], Labels(), NOW) == frozenset()


def test_held_back_by_its_own_stream_and_by_what_binds_every_stream(store: Store) -> None:
    put(store, suppression(ANN, stream="news"), suppression(BOB), suppression(CY, tenant="acme"))
    assert store.suppressed([ANN, BOB, CY], Labels(), NOW) == {BOB}
    assert store.suppressed([ANN, BOB, CY], Labels(stream="news"), NOW) == {ANN, BOB}
    assert store.suppressed([ANN, BOB, CY], Labels(tenant="acme", stream="news"), NOW) == {CY}


def test_an_ignored_category_holds_nobody_back_unless_a_hand_put_it_there(store: Store) -> None:
    put(store, suppression(ANN), suppression(BOB, standing=Standing.MANUAL), suppression(CY, category=Category.MOVED))
    asked = store.suppressed([ANN, BOB, CY], Labels(), NOW, ignored={Category.MAILBOX_FULL, Category.COMPLAINT})
    assert asked == {BOB, CY}


def held(address: str, fingerprint: str | None, since: timedelta = -DAY, **changes: Any) -> Suppression:
    """A suppression that the guard holds."""
    at, evidence = NOW + since, Evidence(reply="550", fingerprint=fingerprint)
    return suppression(
        address, standing=Standing.HELD, since=at, changed_at=at, evidence=evidence, expires_at=NOW + DAY, **changes
    )


def test_what_the_guard_holds_is_counted_by_the_refusals_that_it_rests_on(store: Store) -> None:
    assert store.holdings(NOW) == Holdings()
    put(store, held(ANN, "mass", -2 * DAY), held(BOB, "mass", tenant="acme"), held(CY, "one", -DAY / 2))
    put(store, replace(held(DI, "mass"), expires_at=NOW), suppression("eve@example.com"))
    evidence = Evidence(reply="550", fingerprint="mass")
    found = store.holdings(NOW)
    assert found.number == 3
    assert found.largest[0] == Holding("mass", 2, NOW - 2 * DAY, NOW - DAY, evidence)
    assert [(one.fingerprint, one.number) for one in found.largest] == [("mass", 2), ("one", 1)]
    assert store.holdings(NOW, limit=1).largest == found.largest[:1]
    assert store.holdings(NOW, limit=0) == Holdings(3)
    assert store.holdings(NOW + DAY) == Holdings()
    put(store, replace(held(ANN, "mass"), standing=Standing.MANUAL))
    assert store.holdings(NOW).number == 2


def test_of_as_many_that_are_held_as_long_every_store_names_the_same_first(store: Store) -> None:
    put(store, held(BOB, "two"), held(ANN, "one"), held(CY, None))
    assert [one.fingerprint for one in store.holdings(NOW).largest] == [None, "one", "two"]


def test_what_stands_at_many_places(store: Store) -> None:
    put(store, ann := suppression(ANN), news := expired(ANN, stream="news"), bob := suppression(BOB, tenant="acme"))
    places = [*map(place_of, (ann, news, bob)), Place("", "", BOB), Place("acme", "news", ANN)]
    assert store.standing(places) == {place_of(one): one for one in (ann, news, bob)}


def test_many_changes_at_once_are_audited_and_told(store: Store) -> None:
    put(store, ann := suppression(ANN), bob := suppression(BOB))
    later = replace(bob, category=Category.MOVED, changed_at=NOW)
    assert store.exchange([swap(ann, None), swap(bob, later), swap(None, suppression(CY))], by="me", at=NOW) == []
    assert [one.key for one in store.suppressions()] == [BOB, CY]
    assert store.suppression(BOB) == later
    assert states(store.changes(after=store.changes()[1].sequence)) == [
        ("me", Act.LIFTED, ANN, None),
        ("me", Act.CHANGED, BOB, "provisional"),
        ("me", Act.ADDED, CY, "provisional"),
    ]
    assert [event["type"] for event in store.history(ANN)] == ["suppression_lifted", "suppression_added"]
    assert {change.event_id for change in store.changes()} == {event["id"] for _, event in store.events()}


def test_a_change_is_not_made_where_something_else_stands(store: Store) -> None:
    put(store, ann := suppression(ANN))
    stale = [swap(None, ann), swap(suppression(BOB), None)]
    fits = swap(None, suppression(CY))
    assert store.exchange([stale[0], fits, stale[1]], by="me", at=NOW) == stale
    assert [one.key for one in store.suppressions()] == [ANN, CY]
    assert len(store.changes()) == len(store.events()) == 2


def test_whoever_changes_the_list_is_in_its_audit(store: Store) -> None:
    put(store, expired(ANN))
    send(store, ANN, BOB, answers={BOB: "552 5.2.2 Mailbox is full"})
    take(store, BOB)
    assert states(store.changes()) == [
        ("owner", Act.ADDED, ANN, "provisional"),
        ("delivery", Act.LIFTED, ANN, None),
        ("rule full", Act.ADDED, BOB, "provisional"),
        ("owner", Act.LIFTED, BOB, None),
    ]


def test_the_changes_of_a_place_and_of_a_mailbox(store: Store) -> None:
    put(store, suppression(ANN), suppression(ANN, stream="news"), suppression(BOB), suppression(ANN, tenant="acme"))
    take(store, ANN)
    found = store.changes_at([Place("", "", ANN), Place("acme", "", ANN), Place("", "", CY)])
    assert {place: [one.act for one in several] for place, several in found.items()} == {
        Place("", "", ANN): [Act.ADDED, Act.LIFTED],
        Place("acme", "", ANN): [Act.ADDED],
        Place("", "", CY): [],
    }
    mine: list[Change] = list(store.changes_of(ANN))
    assert [(one.act, one.place.stream) for one in mine] == [(Act.LIFTED, ""), (Act.ADDED, "news"), (Act.ADDED, "")]
    assert list(store.changes_of(ANN, limit=1)) == mine[:1]


def test_changes_are_read_in_pages(store: Store) -> None:
    put(store, *map(suppression, EVERYBODY[:10]))
    first = store.changes(limit=4)
    rest = store.changes(after=first[-1].sequence)
    assert [one.place.key for one in (*first, *rest)] == EVERYBODY[:10]


def test_the_tenants_on_whose_lists_somebody_stands(store: Store) -> None:
    assert list(store.tenants()) == [""]
    for tenant, address in (("zebra", ANN), ("acme", ANN), ("acme", BOB)):
        put(store, replace(suppression(address), tenant=tenant))
    assert list(store.tenants()) == ["", "acme", "zebra"]
    take(store, ANN, tenant="zebra")
    assert list(store.tenants()) == ["", "acme"]


def test_the_secrets_that_a_list_needs(store: Store) -> None:
    assert store.pseudonymous() == frozenset()
    for tenant, key in (("", "#ab12-0011"), ("", "#ab12-0012"), ("", "#cd34-01"), ("acme", "#ef56-01"), ("", "jo@x.y")):
        put(store, replace(suppression(ANN), tenant=tenant, key=key, address=None))
    assert store.pseudonymous() == {"ab12", "cd34", "ef56"}


def test_an_address_that_begins_as_a_pseudonym_does_needs_no_secret(store: Store) -> None:
    put(store, suppression(ANN))
    own = store.pseudonymous()  # of a store that knows nobody otherwise
    put(store, suppression("#12345678-jo@example.com"), suppression("#jo@example.com"))
    assert store.pseudonymous() == own
    for key in ("#ab12cd34-01", "#ab12cd34-02", "#cd34ef56-01"):
        put(store, replace(suppression(BOB), key=key, address=None))
    assert store.pseudonymous() == {"ab12cd34", "cd34ef56"} | own


def test_a_closed_store_answers_none_of_it(store: Store) -> None:
    store.close()
    for use in (
        lambda: store.suppressed([ANN], Labels(), NOW),
        lambda: store.standing([Place("", "", ANN)]),
        lambda: store.exchange([swap(None, suppression(ANN))], by="me", at=NOW),
        store.changes,
        lambda: store.changes_at([Place("", "", ANN)]),
        lambda: store.changes_of(ANN),
        store.pseudonymous,
        store.tenants,
    ):
        with pytest.raises(StoreError, match="closed"):
            use()
