"""What every store does to give away what waits in it, and to take in what waited in another."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from bouncekit.delivery.events import Event, Occasion
from bouncekit.delivery.parcel import Arrival, Moves, Parcel, Waits, moves
from bouncekit.delivery.queue import Depth
from bouncekit.stores import Store
from bouncekit.stores.moving import FIRST
from tests.building import ANN, BOB, CY, DI, NOW

from .queueing import LATER, MINUTE, begin, claim, enqueue, lease, mail_to, outcome, wires
from .stores import new_id

HERE, THERE = "here", "there"


def take(store: Any, token: str, *, now: datetime = NOW, limit: int = 100, after: tuple[str, str] = FIRST) -> Any:
    return store.take_along(now=now, lease=lease(token, now=now), limit=limit, after=after)


def told(token: str, parcels: Iterable[Parcel], at: datetime = NOW) -> Moves:
    occasion = Occasion(attempt_id=new_id(), at=at)
    return {one.delivery.id: moves(one, token, occasion, {"moved_to": THERE}) for one in parcels}


def arrivals(token: str, parcels: Iterable[Parcel]) -> list[Arrival]:
    return [Arrival(token=token, origin=HERE, at=NOW, parcel=one) for one in parcels]


def people(parcels: Iterable[Parcel]) -> list[str]:
    return wires(*(one.delivery for one in parcels))


def parcel(*addresses: str, due_at: datetime | None = NOW, **settings: Any) -> Parcel:
    """One as another store has taken it along."""
    delivery = mail_to(*addresses, **settings)
    return Parcel(
        delivery=delivery, queued_at=NOW, waits=tuple(Waits(due_at, NOW, place) for place in range(len(addresses)))
    )


def named(gone: Mapping[str, Any]) -> dict[str, set[str]]:
    return {message: set(addresses) for message, addresses in gone.items()}


def delay(store: Any, *addresses: str, **how: Any) -> str:
    """Let a message wait behind a first attempt; its id."""
    delivery = enqueue(store, *addresses)
    (claimed,) = claim(store, relays=["main"], limit=1)
    store.record(outcome(claimed, begin(store, claimed), **how))
    return delivery.id


# -- taken along


def test_whoever_waits_is_taken_along_whatever_for(store: Store) -> None:
    held = delay(store, ANN, held=[ANN])
    tried = delay(store, BOB, delayed=[BOB], unknown=True)
    later = enqueue(store, CY, DI, due_at=LATER, at=NOW - MINUTE, content=b"Later\r\n" * 500).id
    first, second, third = take(store, "a").parcels
    assert [one.delivery.id for one in (first, second, third)] == [held, tried, later]
    assert (first.waits, second.waits) == ((Waits(None, NOW, 0),), (Waits(LATER, NOW, 0),))
    assert third.waits == (Waits(LATER, NOW - MINUTE, 0), Waits(LATER, NOW - MINUTE, 1))
    assert third.queued_at == NOW - MINUTE
    assert third.delivery == store.queued_message(later)
    (recipient,) = second.delivery.recipients
    assert (recipient.attempts, recipient.first_attempt_at, recipient.possible_duplicate) == (1, NOW, True)


def test_nobody_else_has_them_before_the_lease_is_over(store: Store) -> None:
    delay(store, BOB, held=[BOB])
    enqueue(store, ANN)
    assert people(take(store, "a").parcels) == [BOB, ANN]
    assert claim(store) == []
    assert take(store, "b").parcels == []
    assert [store.requeue(one.message, None, at=NOW) for one in store.queued()] == [0, 0]
    later = NOW + 6 * MINUTE
    assert wires(*claim(store, now=later)) == [ANN], "whom somebody releases is held still"
    assert people(take(store, "b", now=later).parcels) == [BOB]


def test_they_go_back_as_they_were(store: Store) -> None:
    delay(store, BOB, held=[BOB])
    enqueue(store, ANN, due_at=LATER)
    before = list(store.queued())
    take(store, "a")
    assert store.release("a") == 2
    assert list(store.queued()) == before
    assert claim(store, now=LATER)


def test_who_is_being_sent_to_is_left_and_so_is_an_open_attempt(store: Store) -> None:
    enqueue(store, ANN)
    (claimed,) = claim(store, "worker")
    enqueue(store, BOB)
    assert people(take(store, "a").parcels) == [BOB]
    begin(store, claimed, until=lease("worker"))
    assert take(store, "b", now=NOW + 20 * MINUTE, after=(claimed.id, "")).parcels != []
    assert take(store, "c", now=NOW + 20 * MINUTE).parcels == []


def test_whom_the_application_was_sending_to_is_a_workers_first(store: Store) -> None:
    delivery = mail_to(ANN, BOB)
    attempt = begin(store, delivery)
    store.record(outcome(delivery, attempt, delayed=[ANN]))  # and BOB it asks again, at once
    later = NOW + 6 * MINUTE
    assert people(take(store, "a", now=later).parcels) == [ANN]
    assert wires(*claim(store, now=later)) == [BOB]
    assert people(take(store, "b", now=later + 6 * MINUTE).parcels) == [ANN, BOB]


def test_many_come_in_portions_in_the_order_of_message_and_address(store: Store) -> None:
    one, other = enqueue(store, BOB, ANN, CY).id, enqueue(store, DI).id
    first = take(store, "a", limit=2)
    assert (people(first.parcels), first.behind) == ([BOB, ANN], (one, BOB))
    second = take(store, "b", limit=2, after=first.behind)
    assert ([people([each]) for each in second.parcels], second.behind) == ([[CY], [DI]], (other, DI))
    assert take(store, "c", limit=2, after=second.behind) == ([], None)


# -- received


def test_what_was_received_is_nowhere_to_be_sent(store: Store) -> None:
    waits = parcel(ANN, BOB)
    store.receive(arrivals("a", [waits]))
    store.receive(arrivals("a", [waits]))
    assert claim(store, now=NOW + 60 * MINUTE) == []
    assert list(store.queued()) == []
    assert store.depth(NOW) == Depth(due=0, waiting=0, held=0, leased=0, oldest_due_at=None)
    assert store.requeue(waits.delivery.id, None, at=NOW) == store.drop(waits.delivery.id, None, at=NOW) == 0
    assert store.release("a") == 0
    store.prune(before=NOW + timedelta(days=900), now=NOW + timedelta(days=900))
    assert list(store.arriving(limit=5)) == arrivals("a", [waits])


def test_what_is_arriving_is_read_in_portions(store: Store) -> None:
    several = [parcel(ANN), parcel(BOB, due_at=None), parcel(CY, due_at=LATER)]
    store.receive(arrivals("b", several[:1]))
    store.receive(arrivals("a", several[1:]))
    (first, second) = store.arriving(limit=2)
    assert [first, second] == arrivals("a", several[1:])
    assert list(store.arriving(after=("a", several[2].delivery.id), limit=2)) == arrivals("b", several[:1])
    assert list(store.arriving(limit=0)) == []


# -- handed over


def test_what_is_handed_over_is_gone_and_told(store: Store) -> None:
    delay(store, CY, held=[CY])
    enqueue(store, ANN, BOB)
    parcels = take(store, "a").parcels
    asked = told("a", parcels)
    gone = store.hand_over("a", asked, at=NOW)
    assert named(gone) == {parcels[0].delivery.id: {CY}, parcels[1].delivery.id: {ANN, BOB}}
    assert list(store.queued()) == list(store.kept()) == []
    assert store.queued_message(parcels[1].delivery.id) is None
    (event,) = store.history(ANN)
    assert (event["type"], event["data"]["rule"], event["data"]["moved_to"]) == ("queued", "moved-by-hand", THERE)
    assert store.history(CY)[0]["data"]["fate"] == "hold"


def test_the_same_hand_over_answers_the_same_whoever_asks_again(store: Store) -> None:
    enqueue(store, ANN, BOB)
    parcels = take(store, "a").parcels
    first = store.hand_over("a", told("a", parcels), at=NOW)
    assert named(store.hand_over("a", told("a", parcels, NOW + MINUTE), at=NOW + MINUTE)) == named(first)
    assert len(store.history(ANN)) == 1
    assert set().union(*store.hand_over("b", told("b", parcels), at=NOW).values()) == set()


def test_who_is_somebody_elses_by_now_is_not_handed_over(store: Store) -> None:
    enqueue(store, ANN, BOB)
    later = NOW + 6 * MINUTE
    parcels = take(store, "a", now=NOW).parcels
    (claimed,) = claim(store, now=later)
    assert named(store.hand_over("a", told("a", parcels), at=later)) == {claimed.id: set()}
    assert len(list(store.queued())) == 2
    assert list(store.history(ANN)) == []
    store.record(outcome(claimed, begin(store, claimed, at=later), done=[ANN, BOB], at=later))
    assert named(store.hand_over("a", told("a", parcels), at=later)) == {claimed.id: set()}


def test_a_lease_that_is_over_counts_as_long_as_nobody_took_them(store: Store) -> None:
    enqueue(store, ANN)
    parcels = take(store, "a").parcels
    assert people(parcels) == [ANN]
    assert named(store.hand_over("a", told("a", parcels), at=LATER)) == {parcels[0].delivery.id: {ANN}}


def test_a_message_stays_for_as_long_as_it_is_kept(store: Store) -> None:
    enqueue(store, ANN)
    parcels = take(store, "a").parcels
    store.hand_over("a", told("a", parcels), at=NOW, keep=MINUTE)
    (kept,) = store.kept()
    assert (kept.message, kept.kept_until) == (parcels[0].delivery.id, NOW + MINUTE)


# -- let in


def test_what_is_let_in_waits_as_it_did(store: Store) -> None:
    held = delay(store, ANN, held=[ANN])
    tried = delay(store, BOB, delayed=[BOB], unknown=True)
    grey = replace(mail_to(CY, DI, content=b"Later\r\n" * 500, tenant="acme"), given={DI: "Di <di@example.com>"})
    told_times = {"first_attempt_at": NOW - MINUTE, "give_up_at": NOW + 90 * MINUTE, "greylisted_at": NOW}
    grey = replace(grey, recipients=tuple(replace(one, attempts=2, **told_times) for one in grey.recipients))
    store.enqueue(grey, due_at=LATER, at=NOW)
    later = grey.id
    before, messages = list(store.queued()), [store.queued_message(one) for one in (held, tried, later)]
    parcels = take(store, "a").parcels
    asked = told("a", parcels)
    store.receive(arrivals("a", parcels))
    store.hand_over("a", asked, at=NOW)
    store.let_in("a", asked)
    assert list(store.queued()) == before
    assert [store.queued_message(one) for one in (held, tried, later)] == messages
    assert list(store.arriving(limit=5)) == []
    assert sorted(wires(*claim(store, now=LATER))) == [BOB, CY, DI]


def test_who_is_not_named_is_forgotten(store: Store) -> None:
    several = [parcel(ANN, BOB), parcel(CY)]
    store.receive(arrivals("a", several))
    whole = told("a", several)
    one, other = (each.delivery.id for each in several)
    named: dict[str, Mapping[str, Event]] = {one: {BOB: whole[one][BOB]}, other: {}}
    store.let_in("a", named)
    assert [each.recipient for each in store.queued()] == [BOB]
    assert store.queued_message(other) is None
    assert list(store.arriving(limit=5)) == []


def test_letting_in_again_changes_nothing_also_behind_their_end(store: Store) -> None:
    waits = parcel(ANN)
    store.receive(arrivals("a", [waits]))
    store.let_in("a", told("a", [waits]))
    (claimed,) = claim(store)
    store.record(outcome(claimed, begin(store, claimed), done=[ANN]))
    store.let_in("a", told("a", [waits]))
    assert list(store.queued()) == []


def test_a_message_may_come_in_several_portions(store: Store) -> None:
    whole = parcel(ANN, BOB)
    delivery = whole.delivery
    for place, (token, recipient) in reversed(list(enumerate(zip("ab", delivery.recipients, strict=True)))):
        envelope = replace(delivery.envelope, recipients=(recipient.address,))
        own = replace(delivery, envelope=envelope, recipients=(recipient,), given={})
        portion = Parcel(delivery=own, queued_at=NOW, waits=(Waits(NOW, NOW, place),))
        store.receive(arrivals(token, [portion]))
        store.let_in(token, told(token, [portion]))
    assert wires(*claim(store)) == [ANN, BOB]


def test_who_waits_here_already_stays_as_he_is(store: Store) -> None:
    delivery = enqueue(store, ANN, due_at=LATER)
    waits = Parcel(delivery=delivery, queued_at=NOW, waits=(Waits(None, NOW, 0),))
    store.receive(arrivals("a", [waits]))
    store.let_in("a", told("a", [waits]))
    assert [one.due_at for one in store.queued()] == [LATER]
