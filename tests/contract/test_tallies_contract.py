"""What every store counts: outcomes by action and facet, events by type."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from bouncekit.delivery.events import Occasion, events_of
from bouncekit.delivery.settlement import Settlement
from bouncekit.stores.tallies import Facet, Talker, Tally
from bouncekit.words.envelope import Labels
from bouncekit.words.status import Action
from tests.building import ANN, BOB, CY, DI, NOW

from .queueing import enqueue
from .stores import new_id, put, send
from .test_store_contract import BUSY, FULL, suppression

MINUTE = timedelta(minutes=1)


def tally(store: Any, *facets: Facet, since: Any = NOW, until: Any = NOW + MINUTE) -> Tally:
    return dict(store.tally(*facets, since=since, until=until))


def test_outcomes_are_counted_by_action(store: Any) -> None:
    send(store, ANN, BOB, CY, answers={BOB: FULL, CY: BUSY})
    send(store, ANN)
    assert tally(store) == {("delivered",): 2, ("failed",): 1, ("delayed",): 1}


def test_facets_tell_outcomes_apart(store: Any) -> None:
    send(store, ANN, BOB, "cy@Example.ORG", answers={BOB: FULL, "cy@Example.ORG": BUSY})
    assert tally(store, Facet.CATEGORY, Facet.RULE) == {
        ("delivered", None, None): 1,
        ("failed", "mailbox_full", "full"): 1,
        ("delayed", "system_error", "temporary"): 1,
    }
    assert tally(store, Facet.DOMAIN, Facet.HOST) == {
        ("delivered", "example.com", "mx.example.com"): 1,
        ("failed", "example.com", "mx.example.com"): 1,
        ("delayed", "example.org", "mx.example.com"): 1,
    }


def test_a_domain_begins_behind_the_last_at(store: Any) -> None:
    send(store, '"a@b"@Example.NET', '"@@b"@example.net', "ann@example.net", '"a b@"@example.org')
    assert tally(store, Facet.DOMAIN) == {("delivered", "example.net"): 3, ("delivered", "example.org"): 1}


def test_who_has_most_mail_and_who_has_most_failures(store: Any) -> None:
    for _ in range(3):
        send(store, ANN, BOB, answers={BOB: BUSY})
    send(store, ANN, CY, answers={CY: FULL})
    send(store, DI, stream="news", tenant="acme")

    def talkers(facet: Facet, limit: int = 1) -> list[tuple[int, int]]:
        return [one[1:] for one in store.talkers(facet, since=NOW, until=NOW + MINUTE, limit=limit)]

    assert talkers(Facet.RECIPIENT) == [(4, 0), (1, 1)]
    assert talkers(Facet.RECIPIENT, 9) == [(4, 0), (3, 0), (1, 1), (1, 0)]
    assert talkers(Facet.HOST) == [(9, 1)]
    assert talkers(Facet.RECIPIENT, 0) == []
    streams = store.talkers(Facet.STREAM, since=NOW, until=NOW + MINUTE, limit=5)
    assert streams == [Talker("news", 1, 0)], "what has no name is nobody"
    assert store.talkers(Facet.TENANT, since=NOW + MINUTE, until=NOW + 2 * MINUTE, limit=5) == []


def test_test_traffic_makes_nobody_a_talker(store: Any) -> None:
    send(store, ANN, test=True)
    assert store.talkers(Facet.RECIPIENT, since=NOW, until=NOW + MINUTE, limit=5) == []


def test_a_span_begins_with_its_start_and_ends_before_its_end(store: Any) -> None:
    send(store, ANN, now=NOW)
    send(store, ANN, now=NOW + MINUTE)
    assert tally(store, since=NOW, until=NOW + MINUTE) == {("delivered",): 1}
    assert tally(store, since=NOW, until=NOW + 2 * MINUTE) == {("delivered",): 2}
    assert tally(store, since=NOW - MINUTE, until=NOW) == {}
    assert store.tally_events(since=NOW + MINUTE, until=NOW + 2 * MINUTE) == {"delivered": 1}


def test_test_traffic_is_no_outcome(store: Any) -> None:
    send(store, ANN, test=True)
    assert tally(store) == {}
    assert store.tally_events(since=NOW, until=NOW + MINUTE) == {"delivered": 1}


def test_events_are_counted_by_type(store: Any) -> None:
    send(store, ANN, BOB, answers={BOB: FULL})
    put(store, suppression(CY))
    counted = store.tally_events(since=NOW, until=NOW + MINUTE)
    assert counted == {"delivered": 1, "failed": 1, "suppression_added": 2}


def test_who_is_dropped_by_hand_counts_as_failed(store: Any) -> None:
    delivery = enqueue(store, ANN, BOB)
    occasion = Occasion(attempt_id=new_id(), at=NOW, labels=Labels())
    dropped = Settlement(recipient=ANN, action=Action.FAILED, rule="dropped", key=ANN)
    events = [event for one in (dropped, replace(dropped, recipient=CY)) for event in events_of(one, occasion)]
    assert store.drop(delivery.id, ANN, at=NOW, events=events) == 1
    assert tally(store, Facet.RULE) == {("failed", "dropped"): 1}
