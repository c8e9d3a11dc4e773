"""What every store keeps of what is over, for how long, and who keeps it from forgetting."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from bouncekit.delivery.events import EventType
from bouncekit.stores import Store
from bouncekit.stores.cursors import Cursor, Trouble
from bouncekit.words.errors import StoreError
from tests.building import NOW

from .queueing import LATER, MINUTE, begin, claim, enqueue, lease, mail_to, outcome, told, wires

ANN, BOB, CY = "ann@example.com", "bob@example.com", "cy@example.com"
DAY = timedelta(days=1)
LONG_AGO = datetime.fromisoformat("1970-01-02T00:00:00+00:00")


def settle(store: Any, *addresses: str, keep: timedelta = DAY, **settings: Any) -> Any:
    """A message that was queued and delivered to all; as it was queued."""
    sent = enqueue(store, *addresses, **settings)
    (taken,) = claim(store, relays=(sent.relay,))
    store.record(replace(outcome(taken, begin(store, taken), done=addresses), keep=keep))
    return sent


# -- messages


def test_a_message_goes_with_its_last_recipient_unless_it_is_kept(store: Store) -> None:
    gone, kept = settle(store, ANN, keep=timedelta()), settle(store, ANN, BOB)
    assert store.queued_message(gone.id) is None
    assert [one.message for one in store.kept()] == [kept.id]


def test_a_kept_message_is_shown_and_waits_for_nobody(store: Store) -> None:
    sent = settle(store, ANN, content=b"Subject: Order 7\r\n\r\nThank you\r\n")
    (shown,) = store.kept()
    assert (shown.relay, shown.queued_at, shown.kept_until) == ("main", NOW, NOW + DAY)
    assert (shown.sender, shown.size_bytes) == (sent.envelope.sender.wire, len(sent.envelope.content))
    found = store.queued_message(sent.id)
    assert found is not None
    assert (found.recipients, found.envelope.recipients) == ((), ())
    assert found.envelope.content == sent.envelope.content
    depth = store.depth(LATER)
    assert (depth.due, depth.waiting, depth.held, depth.leased) == (0, 0, 0, 0)
    assert list(store.queued()) == claim(store, now=LATER) == []
    assert store.requeue(sent.id, None, at=LATER) == store.drop(sent.id, None, at=LATER) == 0


def test_a_message_is_not_kept_while_somebody_waits_for_it(store: Store) -> None:
    enqueue(store, ANN, BOB)
    (taken,) = claim(store)
    store.record(replace(outcome(taken, begin(store, taken), done=[ANN], delayed=[BOB]), keep=DAY))
    assert list(store.kept()) == []
    assert store.prune(before=LONG_AGO, now=NOW + 9 * DAY) == 0
    (left,) = claim(store, now=LATER)
    assert wires(left) == [BOB]


def test_who_joins_a_message_that_was_kept_is_waited_for(store: Store) -> None:
    """The second transaction of a send from the application, behind one that settled all who were in it."""
    sent = mail_to(ANN, BOB)
    store.record(replace(outcome(sent, begin(store, sent, ANN), done=[ANN]), keep=DAY))
    assert len(list(store.kept())) == 1
    begin(store, sent, BOB)
    assert list(store.kept()) == []
    assert store.prune(before=LONG_AGO, now=NOW + 9 * DAY) == 0
    (attempt,) = store.abandoned(now=LATER, lease=lease(now=LATER), limit=9)
    assert wires(attempt.delivery) == [BOB]


def test_what_a_hand_takes_out_is_kept_too(store: Store) -> None:
    sent, gone = enqueue(store, ANN), enqueue(store, BOB)
    assert store.drop(sent.id, None, at=NOW, keep=DAY) == store.drop(gone.id, None, at=NOW) == 1
    assert [(one.message, one.kept_until) for one in store.kept()] == [(sent.id, NOW + DAY)]


def test_a_kept_message_is_not_queued_a_second_time(store: Store) -> None:
    sent = settle(store, ANN)
    store.enqueue(sent, due_at=NOW, at=NOW)
    assert list(store.queued()) == []


def test_kept_messages_are_found_by_the_beginning_of_their_ids(store: Store) -> None:
    ids = [settle(store, ANN, id=f"{name:0<32}").id for name in ("a1", "a2", "b1")]
    assert [one.message for one in store.kept(beginning="a")] == ids[:2]
    assert [one.message for one in store.kept(beginning=ids[2])] == ids[2:]
    assert [one.message for one in store.kept(limit=2)] == ids[:2]
    assert list(store.kept(beginning="c")) == list(store.kept(limit=0)) == []


def test_a_kept_message_is_forgotten_at_its_time(store: Store) -> None:
    short, long = settle(store, ANN), settle(store, BOB, keep=2 * DAY)
    assert store.prune(before=LONG_AGO) == 0, "nobody has said what time it is"
    assert store.prune(before=LONG_AGO, now=NOW + DAY - MINUTE) == 0
    assert store.prune(before=LONG_AGO, now=NOW + DAY) == 1
    assert store.queued_message(short.id) is None
    assert [one.message for one in store.kept()] == [long.id]
    settle(store, CY)
    assert store.prune(before=LONG_AGO, now=NOW + 9 * DAY, limit=1) == 1
    assert [one.message for one in store.kept()] == [long.id], "the one whose time was over first"


# -- what waits, as doctor asks


def test_those_who_wait_are_counted_by_relay(store: Store) -> None:
    assert dict(store.queued_relays()) == {}
    enqueue(store, ANN, BOB, relay="main")
    enqueue(store, ANN, relay="bulk")
    assert list(store.queued_relays().items()) == [("bulk", 1), ("main", 2)]
    settle(store, CY, relay="alone")
    assert "alone" not in store.queued_relays()


def test_attempts_whose_process_has_died_are_counted(store: Store) -> None:
    begin(store, mail_to(ANN, BOB))
    enqueue(store, CY)
    claim(store)
    assert store.depth(NOW).abandoned == 0
    depth = store.depth(LATER)
    assert (depth.leased, depth.abandoned, depth.due) == (2, 2, 1)


# -- readers


def tell(store: Any, *days: int) -> None:
    for number in days:
        event = told(EventType.CLOSED)
        store.tell((replace(event, occasion=replace(event.occasion, at=NOW + number * DAY)),))


def read(store: Any, name: str, sequence: int, at: datetime = NOW) -> None:
    store.claim_cursor(name, owner="a", now=at, until=at + MINUTE)
    if sequence:
        store.move_cursor(name, owner="a", sequence=sequence, now=at, until=at + MINUTE)


def test_readers_are_listed_with_what_they_have_not_read(store: Store) -> None:
    assert list(store.cursors()) == []
    tell(store, 0, 1, 2)
    read(store, "new", 0)
    read(store, "done", 3, NOW + DAY)
    read(store, "half", 1)
    store.release_cursor("half", "a")
    until = NOW + MINUTE
    assert list(store.cursors()) == [
        Cursor(name="done", sequence=3, moved_at=NOW + DAY, unread=0, unread_since=None, leased_until=until + DAY),
        Cursor(name="half", sequence=1, moved_at=NOW, unread=2, unread_since=NOW + DAY, leased_until=None),
        Cursor(name="new", sequence=0, moved_at=None, unread=3, unread_since=NOW, leased_until=until),
    ]


def test_a_reader_that_is_gone_keeps_events_until_it_is_dropped(store: Store) -> None:
    tell(store, 0, 1, 2)
    read(store, "crm", 1)
    assert store.prune(before=NOW + 9 * DAY, now=NOW + 9 * DAY) == 1
    assert store.drop_cursor("crm", now=NOW) is False, "it reads right now"
    assert store.drop_cursor("crm", now=NOW + MINUTE) is True
    assert store.drop_cursor("crm", now=NOW + MINUTE) is False
    assert list(store.cursors()) == []
    assert store.prune(before=NOW + 9 * DAY, now=NOW + 9 * DAY) == 2
    assert store.claim_cursor("crm", owner="b", now=LATER, until=LATER) == 0, "it begins again"


TROUBLE = Trouble(failures=2, since=NOW, error="503 Service Unavailable", next_try_at=NOW + MINUTE)


def test_why_a_reader_does_not_get_on_is_remembered_until_it_does(store: Store) -> None:
    tell(store, 0, 1, 2)
    assert store.trouble_of("crm") is None
    assert store.note_trouble("crm", TROUBLE, owner="a") is False, "there is none yet"
    read(store, "crm", 1)
    assert store.note_trouble("crm", TROUBLE, owner="b") is False, "another one's lease"
    assert store.note_trouble("crm", TROUBLE, owner="a") is True
    assert store.trouble_of("crm") == store.cursors()[0].trouble == TROUBLE
    parked = replace(TROUBLE, failures=3, error="410 Gone \udcff", next_try_at=None)
    assert store.note_trouble("crm", parked, owner="a") is True
    found = store.trouble_of("crm")
    assert found is not None
    assert (found.failures, found.next_try_at) == (3, None)
    assert store.move_cursor("crm", owner="a", sequence=2, now=NOW, until=NOW + MINUTE)
    assert store.trouble_of("crm") is None
    assert store.cursors()[0].trouble is None


def test_a_hand_places_a_reader_and_whoever_was_it_is_too_late(store: Store) -> None:
    tell(store, 0, 1, 2)
    assert store.place_cursor("crm", 1) is False, "there is none"
    read(store, "crm", 3)
    store.note_trouble("crm", TROUBLE, owner="a")
    assert store.place_cursor("crm", 1) is True
    assert store.move_cursor("crm", owner="a", sequence=3, now=NOW, until=NOW + MINUTE) is False
    assert store.note_trouble("crm", TROUBLE, owner="a") is False
    assert store.trouble_of("crm") is None
    assert store.claim_cursor("crm", owner="b", now=NOW, until=NOW + MINUTE) == 1
    store.note_trouble("crm", TROUBLE, owner="b")
    assert store.place_cursor("crm", None) is True
    assert store.trouble_of("crm") is None
    assert store.read_cursor("crm") == 1


def test_the_newest_thing_is_an_event_or_an_attempt_that_is_open(store: Store) -> None:
    assert store.newest_at() is None
    tell(store, 3, 1)
    assert store.newest_at() == NOW + 3 * DAY
    sent = mail_to(ANN)
    attempt = begin(store, sent, at=NOW + 5 * DAY)
    assert store.newest_at() == NOW + 5 * DAY
    store.record(outcome(sent, attempt, done=[ANN]))
    assert store.newest_at() == NOW + 3 * DAY


def test_a_closed_store_answers_none_of_it(store: Store) -> None:
    store.close()
    for use in (
        lambda: list(store.kept()),
        store.queued_relays,
        store.cursors,
        lambda: store.trouble_of("x"),
        lambda: store.note_trouble("x", TROUBLE, owner="a"),
        lambda: store.place_cursor("x", 1),
        lambda: store.drop_cursor("x", now=NOW),
        store.newest_at,
        lambda: store.prune(before=NOW, now=NOW),
    ):
        with pytest.raises(StoreError, match="closed"):
            use()
