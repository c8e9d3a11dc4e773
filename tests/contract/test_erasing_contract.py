"""What every store does when somebody is erased of whom it hears again afterwards."""

from bouncekit.delivery.events import EventType
from bouncekit.delivery.steps import Record
from bouncekit.stores import Store
from bouncekit.stores.erasing import Erasure
from tests.building import ANN, BOB, NOW

from .queueing import MINUTE, begin, claim, mail_to, outcome
from .stores import NAMES


def erasure(who: str) -> Erasure:
    return Erasure(who, NAMES, frozenset((who,)))


def sent(store: Store) -> Record:
    """Ann was delivered to, Bob waits; the application remembers it."""
    delivery = mail_to(ANN, BOB)
    record = outcome(delivery, begin(store, delivery), done=[ANN], delayed=[BOB])
    store.record(record)
    return record


def told(store: Store) -> list[tuple[str, str]]:
    return [(event["type"], event["data"]["recipient"]) for _, event in store.events()]


def test_a_record_that_comes_again_behind_an_erasure_is_erased_again_into_the_same(store: Store) -> None:
    record = sent(store)
    erased = store.erase(erasure(ANN))
    before = told(store)
    assert before == [(EventType.DELIVERED, NAMES.of(ANN)), (EventType.DELAYED, BOB)]
    store.record(record)
    assert len(told(store)) == 3
    again = store.erase(erasure(ANN))
    assert (again.events, again.outcomes) == (erased.events, erased.outcomes)
    assert told(store) == before


def test_a_record_that_comes_again_behind_an_erasure_brings_nobody_back_whom_a_hand_dropped(store: Store) -> None:
    record = sent(store)
    store.erase(erasure(ANN))
    assert store.drop(record.delivery.id, None, at=NOW, events=()) == 1
    store.record(record)
    assert list(store.queued()) == []
    assert claim(store, now=NOW + 60 * MINUTE) == []
