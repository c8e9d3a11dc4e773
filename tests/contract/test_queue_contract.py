"""What every store does with mail that waits, in memory or on disk."""

import random
import threading
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from bouncekit.delivery.events import EventType
from bouncekit.delivery.queue import LONGEST_LEASE, Begun, Depth, Lease, LeaseLost, QueueState
from bouncekit.stores import Store
from bouncekit.stores.queueing import ENOUGH, MOST_OF_ONE
from bouncekit.words.address import parse_address
from bouncekit.words.envelope import Labels
from bouncekit.words.errors import AddressError, StoreError
from tests.building import ANN, BOB, CY, DI, LOST, NOW, POLICY, suppression

from .queueing import (
    LATER,
    MINUTE,
    Killed,
    begin,
    claim,
    enqueue,
    lease,
    mail_to,
    outcome,
    told,
    wires,
    work,
)
from .stores import new_id, put

BUSY, NOBODY, FULL = "451 4.3.0 Try again later", "550 5.1.1 No such user", "552 Exceeded storage"


def waiting(store: Any, **narrowed: Any) -> list[tuple[str, str]]:
    return [(one.recipient, str(one.state)) for one in store.queued(**narrowed)]


# -- what goes in comes out


def test_an_empty_queue_has_nothing(store: Store) -> None:
    assert claim(store) == []
    assert list(store.abandoned(now=NOW, lease=lease(), limit=5)) == list(store.queued()) == []
    assert store.depth(NOW) == Depth(due=0, waiting=0, held=0, leased=0, oldest_due_at=None)
    assert store.queued_message("x") is None
    assert store.extend(lease("x")) == store.release("x") == 0
    assert store.requeue("x", None, at=NOW) == store.drop("x", None, at=NOW) == 0


_LONG = random.Random(1)


@pytest.mark.parametrize(
    "content",
    [b"", b"Hi\r\n", bytes(range(256)) * 4, b"All work and no play\r\n" * 1000, _LONG.randbytes(5000)],
    ids=["none", "short", "1 KiB", "text", "noise"],
)
def test_a_message_comes_back_whole(store: Store, content: bytes) -> None:
    people = ("Zoë@exämple.com", ANN, '"a b"@example.com', "postmaster", "Jo@[192.0.2.1]")
    given = mail_to(*people, content=content, tenant="a", stream="news", message_class="urgent", test=True)
    first = datetime(2026, 1, 1, 11, tzinfo=NOW.tzinfo)
    recipients = tuple(
        replace(
            one,
            attempts=number,
            first_attempt_at=first,
            give_up_at=first + MINUTE * number if number else None,
            greylisted_at=first if number == 1 else None,
            possible_duplicate=number == 2,
        )
        for number, one in enumerate(given.recipients)
    )
    envelope = replace(given.envelope, mail_options=("BODY=8BITMIME", "SMTPUTF8"), rcpt_options=("NOTIFY=NEVER",))
    given = replace(given, recipients=recipients, envelope=envelope, given={ANN: "Ann <ann@example.com>"})
    store.enqueue(given, due_at=NOW, at=NOW)
    assert store.queued_message(given.id) == given
    assert claim(store, "mine") == [replace(given, lease="mine")]


@pytest.mark.parametrize("sender", ["", "shop@example.org", "Läden@exämple.com"])
def test_the_return_path_comes_back(store: Store, sender: str) -> None:
    delivery = mail_to(ANN)
    delivery = replace(delivery, envelope=replace(delivery.envelope, sender=parse_address(sender)))
    store.enqueue(delivery, due_at=NOW, at=NOW)
    assert claim(store)[0].envelope == delivery.envelope


def test_a_message_id_of_any_bytes_does_no_harm(store: Store) -> None:
    delivery = mail_to(ANN)
    store.enqueue(replace(delivery, envelope=replace(delivery.envelope, message_id="<\udcff@x>")), due_at=NOW, at=NOW)
    assert claim(store)[0].envelope.message_id == "<\\udcff@x>"


def test_what_one_session_counted_is_no_part_of_the_queue(store: Store) -> None:
    delivery = mail_to(ANN)
    tired = replace(delivery.recipients[0], reconnects=2, repeats=1)
    store.enqueue(replace(delivery, recipients=(tired,)), due_at=NOW, at=NOW)
    assert claim(store)[0].recipients == delivery.recipients


def test_a_message_without_a_relay_cannot_wait(store: Store) -> None:
    with pytest.raises(ValueError, match="names no relay"):
        enqueue(store, ANN, relay=None)
    with pytest.raises(ValueError, match="names no relay"):
        begin(store, mail_to(ANN, relay=None))
    assert waiting(store) == []


def test_a_message_is_queued_with_its_events_and_once(store: Store) -> None:
    delivery, event = mail_to(ANN), told(EventType.DELAYED, ANN)
    for _ in range(2):
        store.enqueue(delivery, due_at=NOW, at=NOW, events=(event,))
    assert [one["id"] for _, one in store.events()] == [event.id]
    store.enqueue(mail_to(BOB), due_at=NOW, at=NOW, events=(event,))
    store.enqueue(delivery, due_at=NOW, at=NOW, events=(told(EventType.DELAYED),))
    assert waiting(store) == [(ANN, "due")]
    assert len(store.events()) == 1


def test_a_refused_address_is_never_in_the_queue(store: Store) -> None:
    refused = (AddressError("no one", "a space"),)
    report = work(store, mail_to(ANN, refused=refused), {ANN: BUSY})
    assert len(report.recipients) == 2
    assert waiting(store) == [(ANN, "due")]


# -- whose turn it is


def test_nobody_is_handed_out_before_the_time(store: Store) -> None:
    enqueue(store, ANN, due_at=NOW + MINUTE)
    assert claim(store) == []
    assert wires(*claim(store, now=NOW + MINUTE)) == [ANN]


def test_who_was_never_tried_comes_first_and_then_who_waits_longest(store: Store) -> None:
    for address, minutes in ((ANN, 3), (BOB, 1), (CY, 2)):
        enqueue(store, address, due_at=NOW + minutes * MINUTE)
    tried = mail_to(DI)
    store.enqueue(replace(tried, recipients=(replace(tried.recipients[0], attempts=1),)), due_at=NOW - MINUTE, at=NOW)
    now = NOW + 5 * MINUTE
    assert [wires(*claim(store, now=now, limit=number)) for number in (0, 1, 2, 9)] == [[], [BOB], [CY, ANN], [DI]]


def test_who_waits_longest_comes_first_where_that_is_asked_for(store: Store) -> None:
    enqueue(store, ANN, due_at=NOW + MINUTE)
    tried = mail_to(DI)
    store.enqueue(replace(tried, recipients=(replace(tried.recipients[0], attempts=1),)), due_at=NOW, at=NOW)
    assert wires(*claim(store, now=NOW + MINUTE, limit=1, oldest_first=True)) == [DI]
    assert wires(*claim(store, now=NOW + MINUTE, limit=9, oldest_first=True)) == [ANN]


def test_all_who_are_due_of_a_message_go_together_and_in_their_order(store: Store) -> None:
    people = [f"r{number:03}@example.com" for number in range(150)]
    random.Random(3).shuffle(people)
    delivery = enqueue(store, *people)
    record = outcome(delivery, new_id(), delayed=people[1::2])
    store.record(record)
    first = claim(store, limit=1)
    assert wires(*first) == people[0::2]
    assert [address.wire for address in first[0].envelope.recipients] == people[0::2]
    assert wires(*claim(store, now=LATER, limit=1)) == people  # by then the first lease is over
    assert first[0].id == delivery.id


def test_a_worker_takes_only_what_goes_through_its_relays(store: Store) -> None:
    for number, relay in enumerate(("a", "b", "ä", "b")):
        enqueue(store, f"{number}@example.com", relay=relay, due_at=NOW - number * MINUTE)
    assert claim(store, relays=()) == claim(store, relays=("c",)) == []
    assert wires(*claim(store, relays=("b", "b"), limit=1)) == ["3@example.com"]
    assert wires(*claim(store, relays={"a", "b", "c"})) == ["1@example.com", "0@example.com"]
    assert [(one.relay, wires(one)) for one in claim(store)] == [("ä", ["2@example.com"])]


def test_a_claim_of_many_recipients_stays_small_and_the_next_ones_take_the_rest(store: Store) -> None:
    """It takes no message more once it has enough of them, and of a very long one as many as fit."""
    few, many = ([f"{name}{number}@example.com" for number in range(size)] for name, size in (("f", 90), ("m", 2300)))
    long = enqueue(store, *many, due_at=NOW - MINUTE)
    for start in range(0, 90, 30):
        enqueue(store, *few[start : start + 30], due_at=NOW - MINUTE)
    claims = [claim(store, now=NOW) for _ in range(4)]
    assert [len(wires(*of_it)) for of_it in claims] == [MOST_OF_ONE, MOST_OF_ONE, 300, 90]
    assert [[one.id for one in of_it] for of_it in claims[:3]] == [[long.id]] * 3
    taken = [address for of_it in claims for address in wires(*of_it)]
    assert sorted(taken) == sorted(few + many)
    assert claim(store) == []
    assert store.release(claims[1][0].lease) == MOST_OF_ONE
    assert sorted(wires(*claim(store))) == sorted(wires(*claims[1]))


def test_a_claim_of_many_messages_ends_where_it_has_enough_recipients(store: Store) -> None:
    for number in range(9):
        enqueue(store, *(f"r{number}-{place}@example.com" for place in range(60)))
    assert [len(wires(*claim(store))) for _ in range(4)] == [240, 240, 60, 0]
    assert ENOUGH == 200


def test_a_very_long_message_takes_nobody_s_place_who_comes_before_it(store: Store) -> None:
    """By its id it comes first, by its turn last: it was tried before."""
    long = mail_to(*(f"r{number}@example.com" for number in range(2100)))
    long = replace(long, recipients=tuple(replace(one, attempts=1) for one in long.recipients))
    store.enqueue(long, due_at=NOW - MINUTE, at=NOW - MINUTE)
    new = [enqueue(store, ANN), enqueue(store, BOB)]
    claims = [claim(store, limit=10) for _ in range(4)]
    assert [[one.id for one in of_it] for of_it in claims] == [
        [*(one.id for one in new), long.id],
        *[[long.id]] * 2,
        [],
    ]
    assert [len(wires(*of_it)) for of_it in claims] == [2 + MOST_OF_ONE, MOST_OF_ONE, 100, 0]


def test_of_a_long_message_that_is_too_late_a_part_is_taken_too(store: Store) -> None:
    late = mail_to(*(f"r{number}@example.com" for number in range(1100)))
    late = replace(late, recipients=tuple(replace(one, give_up_at=NOW) for one in late.recipients))
    store.enqueue(late, due_at=NOW, at=NOW)
    sizes = [len(wires(*store.overdue(now=NOW, lease=lease(), limit=5, relay="main"))) for _ in range(3)]
    assert sizes == [MOST_OF_ONE, 100, 0]


def test_who_is_leased_is_handed_out_again_when_the_lease_is_over(store: Store) -> None:
    enqueue(store, ANN)
    (first,) = claim(store, "first")
    over = NOW + 5 * MINUTE
    assert claim(store, now=over - timedelta(milliseconds=1)) == []
    assert claim(store, "second", now=over) == [replace(first, lease="second")]


def test_a_message_that_outlives_its_workers_goes_behind_the_others(store: Store) -> None:
    enqueue(store, ANN)
    claim(store)
    enqueue(store, BOB, due_at=NOW + MINUTE)
    assert wires(*claim(store, now=NOW + 9 * MINUTE)) == [BOB, ANN]


def test_a_lease_that_is_extended_lasts_longer(store: Store) -> None:
    enqueue(store, ANN, BOB)
    enqueue(store, CY)
    claim(store, "mine")
    assert store.extend(Lease("mine", NOW + 60 * MINUTE)) == 3
    assert store.extend(Lease("other", NOW + 90 * MINUTE)) == 0
    assert claim(store, now=NOW + 59 * MINUTE) == []
    assert len(claim(store, "other", now=NOW + 60 * MINUTE)) == 2
    assert store.extend(Lease("mine", NOW + 99 * MINUTE)) == 0


def test_what_is_given_back_can_be_had_at_once_and_is_as_it_was(store: Store) -> None:
    enqueue(store, ANN, BOB)
    (first,) = claim(store, "mine")
    begin(store, first, ANN)
    assert store.release("mine") == 1
    assert wires(*claim(store, "next")) == [BOB]
    assert store.release("mine") == 0


def test_many_threads_are_handed_each_recipient_once(store: Store) -> None:
    people = [f"r{number}@example.com" for number in range(400)]
    for address in people:
        enqueue(store, address)
    got: list[str] = []

    def take() -> None:
        while claimed := claim(store, limit=7):
            got.extend(wires(*claimed))

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == sorted(people)


# -- a clock that is set back, further than any lease lasts

BEFORE = NOW - LONGEST_LEASE  # by that clock, leases that were given at NOW end too late to be true


def test_what_a_dead_worker_had_when_the_clock_was_set_back_is_handed_out_at_once(store: Store) -> None:
    sent = enqueue(store, ANN, BOB, due_at=BEFORE)
    (late,) = claim(store, "dead")
    assert store.depth(BEFORE) == Depth(due=2, waiting=0, held=0, leased=0, oldest_due_at=BEFORE)
    (again,) = claim(store, now=BEFORE)
    assert (again.id, wires(again)) == (sent.id, [ANN, BOB])
    assert store.extend(lease("dead")) == store.release("dead") == 0
    with pytest.raises(LeaseLost):
        begin(store, late)


def test_all_that_was_leased_then_is_free_whatever_is_claimed(store: Store) -> None:
    enqueue(store, ANN, due_at=BEFORE, relay="other")
    enqueue(store, BOB, due_at=BEFORE + MINUTE)
    assert len(claim(store, "dead")) == 2
    assert claim(store, now=BEFORE, relays=("none",)) == []
    assert [one.leased_until for one in store.queued()] == [None, None]
    assert store.depth(BEFORE) == Depth(due=1, waiting=1, held=0, leased=0, oldest_due_at=BEFORE)


def test_a_lease_that_may_have_been_given_by_another_clock_is_left_alone(store: Store) -> None:
    enqueue(store, ANN, due_at=BEFORE)
    until = lease(now=NOW).until
    assert len(claim(store, "alive")) == 1
    assert claim(store, now=until - LONGEST_LEASE) == []
    assert store.extend(lease("alive")) == 1


def test_an_attempt_of_a_dead_worker_is_found_by_a_clock_that_was_set_back(store: Store) -> None:
    enqueue(store, ANN, BOB)
    (claimed,) = claim(store)
    attempt = begin(store, claimed, ANN)
    assert store.depth(BEFORE).abandoned == 1
    (found,) = store.abandoned(now=BEFORE, lease=lease(now=BEFORE), limit=5)
    assert (found.attempt_id, wires(found.delivery)) == (attempt, [ANN])
    assert list(store.abandoned(now=BEFORE, lease=lease(now=BEFORE), limit=5)) == []


HOUR = 60 * MINUTE
DAYS_BEFORE = NOW - timedelta(days=3)


def test_what_was_queued_before_the_clock_was_set_back_by_days_waits_as_long_as_by_then(store: Store) -> None:
    first = enqueue(store, ANN)
    enqueue(store, ANN, CY)  # the same day by the same clock: it stays behind the first
    enqueue(store, BOB, due_at=NOW + 2 * HOUR)
    assert claim(store, limit=0) == []
    assert [one.id for one in claim(store, now=DAYS_BEFORE, limit=1)] == [first.id]
    assert [wires(one) for one in claim(store, now=DAYS_BEFORE)] == [[ANN, CY]]
    assert [one.due_at for one in store.queued(containing="bob")] == [DAYS_BEFORE + 2 * HOUR]
    assert {one.queued_at for one in store.queued()} == {DAYS_BEFORE}


def test_nobody_is_given_up_for_a_clock_that_was_set_back_and_nobody_has_longer(store: Store) -> None:
    day = timedelta(days=1)
    delivery = mail_to(ANN)
    (recipient,) = delivery.recipients
    timed = replace(recipient, first_attempt_at=NOW, give_up_at=NOW + day, greylisted_at=NOW + MINUTE)
    store.enqueue(replace(delivery, recipients=(timed,)), due_at=NOW, at=NOW + 2 * MINUTE)
    before = DAYS_BEFORE + 2 * MINUTE
    assert claim(store, now=before, limit=0) == []
    assert store.overdue(now=before + day - 3 * MINUTE, lease=lease(), limit=9, relay="main") == []
    (late,) = store.overdue(now=before + day, lease=lease(now=before + day), limit=9, relay="main")
    (found,) = late.recipients
    times = (found.first_attempt_at, found.give_up_at, found.greylisted_at)
    assert times == (DAYS_BEFORE, DAYS_BEFORE + day, DAYS_BEFORE + MINUTE)


def test_what_was_put_off_while_the_clock_was_ahead_keeps_the_deadline_that_it_had(store: Store) -> None:
    ahead, day = NOW + timedelta(days=3), timedelta(days=1)
    delivery = mail_to(ANN)
    (recipient,) = delivery.recipients
    timed = replace(recipient, first_attempt_at=NOW, give_up_at=NOW + 9 * day)
    store.enqueue(replace(delivery, recipients=(timed,)), due_at=NOW, at=NOW)
    (claimed,) = claim(store, now=ahead)
    store.record(outcome(claimed, begin(store, claimed, at=ahead, until=lease("", now=ahead)), delayed=[ANN], at=ahead))
    assert claim(store, now=NOW + 2 * MINUTE) == []
    (queued,) = store.queued()
    assert (queued.due_at, queued.queued_at) == (NOW + 32 * MINUTE, NOW)
    (again,) = claim(store, now=NOW + 32 * MINUTE)
    assert [(one.first_attempt_at, one.give_up_at) for one in again.recipients] == [(NOW, NOW + 9 * day)]


def test_an_attempt_that_is_asked_again_waits_by_the_clock_that_was_set_back(store: Store) -> None:
    enqueue(store, ANN)
    (claimed,) = claim(store)
    attempt = begin(store, claimed)
    assert claim(store, now=DAYS_BEFORE) == []
    (found,) = store.abandoned(now=DAYS_BEFORE, lease=lease("next", now=DAYS_BEFORE), limit=5)
    store.record(outcome(found.delivery, attempt, at=DAYS_BEFORE))
    assert store.release("next") == 1
    (again,) = claim(store, now=DAYS_BEFORE)
    assert again.recipients[0].possible_duplicate


def test_a_long_queue_is_put_right_in_small_steps(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """While others, queued behind the change, go too; and it is said once."""
    people = [f"r{number}@example.com" for number in range(120)]
    for address in people:
        enqueue(store, address, due_at=NOW, at=NOW)
    assert claim(store, limit=0) == []
    enqueue(store, ANN, due_at=DAYS_BEFORE, at=DAYS_BEFORE)
    got: list[str] = []
    for _ in range(12):
        got += wires(*claim(store, now=DAYS_BEFORE, limit=20))
    assert sorted(got) == sorted([*people, ANN])
    assert [record.message for record in caplog.records if "set back" in record.message] == [
        "the clock was set back by 72.0 hours: what was queued since waits by the new time"
    ]


def test_a_clock_that_was_ahead_for_a_while_harms_what_waited_before_by_nothing(store: Store) -> None:
    """Nobody claimed anything while it was: the newest message shows it."""
    ahead = NOW + timedelta(days=4)
    enqueue(store, ANN, due_at=NOW + 5 * HOUR)
    assert claim(store) == []
    enqueue(store, BOB, due_at=ahead, at=ahead)
    assert wires(*claim(store, "done", now=NOW + MINUTE)) == [BOB]
    assert claim(store, now=NOW + 2 * MINUTE) == []
    assert [one.due_at for one in store.queued(containing="ann")] == [NOW + 5 * HOUR]


@pytest.mark.parametrize("minutes", [1, 10, 30])
def test_a_worker_whose_clock_is_a_little_behind_moves_nothing(
    store: Store, minutes: int, caplog: pytest.LogCaptureFixture
) -> None:
    """What another put off or queued by its own clock, also where it claims for the first time, and in turns."""
    behind = NOW - minutes * MINUTE
    enqueue(store, ANN, due_at=behind)
    (claimed,) = claim(store, now=behind)
    store.record(outcome(claimed, begin(store, claimed), delayed=[ANN]))
    enqueue(store, BOB, due_at=NOW + 2 * HOUR)
    for now in (behind, NOW, behind):
        assert claim(store, now=now) == []
    assert [one.due_at for one in store.queued()] == [LATER, NOW + 2 * HOUR]
    assert {one.queued_at for one in store.queued()} == {NOW}
    assert not [record for record in caplog.records if "set back" in record.message]


def test_people_need_not_wait_for_the_clock_either(store: Store) -> None:
    sent = enqueue(store, ANN, BOB)
    claim(store, "dead")
    assert store.requeue(sent.id, ANN, at=BEFORE) == 1
    assert store.drop(sent.id, BOB, at=BEFORE) == 1
    assert store.extend(lease("dead")) == 0


def test_a_reader_that_died_before_the_clock_was_set_back_is_followed_by_another(store: Store) -> None:
    until = NOW + MINUTE
    store.claim_cursor("web", owner="dead", now=NOW, until=until)
    assert store.claim_cursor("web", owner="b", now=until - LONGEST_LEASE, until=NOW) is None
    assert store.claim_cursor("web", owner="b", now=BEFORE, until=BEFORE + MINUTE) == 0
    store.claim_cursor("log", owner="dead", now=NOW, until=until)
    assert store.drop_cursor("log", now=BEFORE) is True


# -- an attempt, from the application


def test_a_message_that_all_get_at_once_leaves_nothing(store: Store) -> None:
    report = work(store, mail_to(ANN, BOB))
    assert len(report.delivered) == 2
    assert list(store.queued()) == []
    assert list(store.abandoned(now=LATER, lease=lease(), limit=9)) == []


def test_who_is_delayed_waits_and_is_sent_the_same_message_when_it_is_time(store: Store) -> None:
    sent = mail_to(ANN, BOB, CY, content=b"Hello\r\n" * 999)
    work(store, sent, {ANN: BUSY, CY: NOBODY})
    assert waiting(store) == [(ANN, "due")]
    assert claim(store, now=LATER - MINUTE) == []
    (again,) = claim(store, now=LATER + 5 * MINUTE)
    assert again.envelope == replace(sent.envelope, recipients=(sent.envelope.recipients[0],))
    at = NOW + POLICY.classes["normal"].deadline
    assert again.recipients == (replace(sent.recipients[0], attempts=1, first_attempt_at=NOW, give_up_at=at),)
    report = work(store, again, now=LATER + 6 * MINUTE)
    assert len(report.delivered) == 1
    assert list(store.queued()) == []


def queued_until(store: Any, minutes: int, *addresses: str, **settings: Any) -> Any:
    """A message that is to be given up then, and is due now."""
    sent = mail_to(*addresses, **settings)
    recipients = tuple(replace(one, first_attempt_at=NOW, give_up_at=NOW + minutes * MINUTE) for one in sent.recipients)
    sent = replace(sent, recipients=recipients)
    store.enqueue(sent, due_at=NOW, at=NOW)
    return sent


def overdue(store: Any, minutes: float, *, relay: str = "main", limit: int = 10, token: str = "") -> list[str]:
    now = NOW + minutes * MINUTE
    return wires(*store.overdue(now=now, lease=lease(token, now=now), limit=limit, relay=relay))


def test_whose_deadline_has_passed_is_found_the_latest_first(store: Store) -> None:
    queued_until(store, 10, ANN)
    queued_until(store, 12, BOB, relay="other")
    queued_until(store, 11, CY)
    enqueue(store, DI)  # has no deadline
    assert overdue(store, 9.9) == []
    assert overdue(store, 10) == [ANN]
    assert overdue(store, 11) == [CY], "one is somebody's now"
    assert overdue(store, 60, relay="other") == [BOB]
    assert overdue(store, 60) == [CY, ANN], "those leases are over"
    assert overdue(store, 60, limit=0) == []


def test_who_is_late_is_taken_once_and_comes_back_when_it_is_given_back(store: Store) -> None:
    queued_until(store, 10, ANN, BOB)
    assert overdue(store, 20, token="mine") == [ANN, BOB]
    assert overdue(store, 20) == claim(store, now=NOW + 20 * MINUTE) == []
    store.release("mine")
    assert overdue(store, 20) == [ANN, BOB]


def test_what_is_held_or_under_way_is_not_late(store: Store) -> None:
    sent = queued_until(store, 10, ANN)
    mine, *_ = claim(store, "mine", now=NOW)
    attempt = begin(store, mine)
    assert overdue(store, 60) == [], "its dot may have gone out"
    store.record(outcome(mine, attempt, held=[ANN], at=NOW + 60 * MINUTE))
    assert overdue(store, 120) == []
    assert store.requeue(sent.id, None, at=NOW + 120 * MINUTE) == 1
    assert overdue(store, 121) == [ANN], "released, and no time left"


def test_a_deadline_may_be_moved_with_each_outcome(store: Store) -> None:
    queued_until(store, 10, ANN)
    (mine,) = claim(store, "mine", now=NOW)
    longer = replace(mine, recipients=(replace(mine.recipients[0], give_up_at=NOW + 90 * MINUTE),))
    store.record(outcome(longer, new_id(), delayed=[ANN], at=NOW + MINUTE))
    assert overdue(store, 60) == []
    assert overdue(store, 90) == [ANN]


def test_a_message_whose_relay_nobody_named_is_not_kept(store: Store) -> None:
    record = outcome(replace(mail_to(ANN, BOB), relay=None), new_id(), delayed=[ANN], done=[BOB])
    store.record(record)
    assert list(store.queued()) == []


def test_before_the_dot_everybody_is_remembered_under_a_lease(store: Store) -> None:
    begin(store, mail_to(ANN, BOB), until=lease("mine"))
    assert store.depth(NOW) == Depth(due=0, waiting=0, held=0, leased=2, oldest_due_at=None)
    assert claim(store, now=LATER) == []  # whether they got it nobody knows: this is no claim's business
    assert store.extend(Lease("mine", LATER)) == 2
    assert store.release("mine") == 0


def test_a_recipient_asked_again_at_once_stays_with_whoever_asks(store: Store) -> None:
    """A bare 552 is asked again alone: the second attempt finds the row of the first one."""
    sent = mail_to(ANN, BOB)
    attempt = begin(store, sent, until=lease("mine"))
    store.record(outcome(sent, attempt, done=[BOB]))
    assert store.depth(NOW).leased == 1
    second = begin(store, sent, ANN, until=lease("mine"))
    store.record(outcome(sent, second, delayed=[ANN]))
    assert store.depth(NOW).waiting == 1
    assert claim(store, now=LATER)[0].recipients[0].possible_duplicate is False


def test_a_message_is_queued_since_it_was_begun(store: Store) -> None:
    sent = mail_to(ANN, BOB)
    store.record(outcome(sent, begin(store, sent, ANN), done=[ANN], delayed=[BOB], at=LATER))
    assert [(one.recipient, one.queued_at) for one in store.queued()] == [(BOB, NOW)]


def test_a_possible_duplicate_stays_one(store: Store) -> None:
    sent = mail_to(ANN)
    doubtful = replace(sent, recipients=(replace(sent.recipients[0], possible_duplicate=True),))
    store.enqueue(doubtful, due_at=NOW, at=NOW)
    (claimed,) = claim(store)
    forgetful = replace(claimed, recipients=sent.recipients)
    store.record(outcome(forgetful, new_id(), delayed=[ANN]))
    assert claim(store, now=LATER)[0].recipients[0].possible_duplicate


def test_an_application_cannot_begin_what_was_requeued_behind_its_back(store: Store) -> None:
    """And then taken, given back and due again: it is no longer the application's own."""
    sent = mail_to(ANN)
    store.record(outcome(sent, begin(store, sent, until=lease("app"))))
    assert store.requeue(sent.id, None, at=LATER) == 1
    store.record(outcome(sent, new_id(), delayed=[ANN], at=LATER))
    assert wires(*claim(store, "app", now=LATER)) == [ANN]
    with pytest.raises(LeaseLost):
        begin(store, sent, until=lease("app", now=LATER), at=LATER)


def test_a_record_that_settles_nobody_ends_its_attempt(store: Store) -> None:
    sent = mail_to(ANN)
    attempt = begin(store, sent, until=lease("mine"))
    store.record(outcome(sent, attempt))
    assert list(store.abandoned(now=LATER, lease=lease(), limit=9)) == []
    assert wires(*claim(store, now=LATER)) == [ANN]


def test_a_split_message_waits_once_with_all_who_wait_for_it(store: Store) -> None:
    people = [f"r{number:03}@example.com" for number in range(105)]
    too_many = dict.fromkeys(people[100:], "452 4.5.3 Too many recipients")
    work(store, sent := mail_to(*people), {**too_many, people[0]: BUSY}, {people[104]: BUSY})
    assert waiting(store) == [(people[0], "due"), (people[104], "due")]
    (again,) = claim(store, now=LATER + 5 * MINUTE)
    assert (again.id, wires(again)) == (sent.id, [people[0], people[104]])


def test_a_held_recipient_waits_for_somebody_to_release_it(store: Store) -> None:
    sent = mail_to(ANN)
    store.record(outcome(sent, new_id(), held=[ANN]))
    assert waiting(store) == [(ANN, "held")]
    assert store.depth(LATER).held == 1
    assert claim(store, now=LATER) == []
    assert store.requeue(sent.id, None, at=LATER) == 1
    assert wires(*claim(store, now=LATER)) == [ANN]


def test_the_same_record_again_changes_no_queue(store: Store) -> None:
    sent = mail_to(ANN, BOB)
    record = outcome(sent, new_id(), delayed=[ANN], held=[BOB])
    store.record(record)
    store.requeue(sent.id, None, at=NOW)
    claim(store)
    before = list(store.queued())
    store.record(record)
    assert list(store.queued()) == before
    store.drop(sent.id, None, at=LATER)
    store.record(record)
    assert list(store.queued()) == []


def test_an_attempt_is_begun_once(store: Store) -> None:
    attempt = begin(store, mail_to(ANN))
    with pytest.raises(StoreError, match="begun before") as caught:
        begin(store, mail_to(BOB), attempt=attempt)
    assert not isinstance(caught.value, LeaseLost)
    assert waiting(store) == [(ANN, "due")]


def test_an_attempt_about_nobody_is_none(store: Store) -> None:
    store.begin(Begun(attempt_id=new_id(), at=NOW, delivery=mail_to(ANN), recipients=(), lease=lease()))
    assert list(store.queued()) == []


# -- an attempt, out of the queue


def test_what_a_worker_did_is_what_the_queue_says(store: Store) -> None:
    enqueue(store, ANN, BOB, CY)
    (claimed,) = claim(store)
    report = work(store, claimed, {BOB: BUSY, CY: NOBODY})
    (left,) = store.queued()
    assert left.recipient == BOB
    assert report.delayed[0].retry_at - left.due_at < timedelta(milliseconds=1)
    assert (left.attempts, left.leased_until) == (1, None)


def test_a_recipient_whose_reply_to_the_dot_was_lost_leaves_or_is_marked(store: Store) -> None:
    enqueue(store, ANN)
    enqueue(store, BOB, message_class="resend")
    for claimed in claim(store):
        work(store, claimed, {"DOT": LOST})
    (left,) = store.queued()
    assert (left.recipient, left.possible_duplicate) == (BOB, True)


def test_a_suppressed_recipient_leaves_the_queue(store: Store) -> None:
    enqueue(store, ANN, BOB)
    put(store, suppression(ANN))
    report = work(store, *claim(store))
    assert len(report.suppressed) == len(report.delivered) == 1
    assert list(store.queued()) == []


def test_the_lease_of_an_attempt_moves_with_it(store: Store) -> None:
    enqueue(store, ANN)
    (claimed,) = claim(store)
    begin(store, claimed, until=Lease(claimed.lease or "", NOW + 20 * MINUTE))
    assert list(store.abandoned(now=NOW + 19 * MINUTE, lease=lease(), limit=1)) == []
    assert len(store.abandoned(now=NOW + 20 * MINUTE, lease=lease(), limit=1)) == 1


def test_who_was_never_tried_gets_the_time_of_the_first_attempt(store: Store) -> None:
    enqueue(store, ANN)
    (claimed,) = claim(store, now=NOW + MINUTE)
    begin(store, claimed, at=NOW + MINUTE)
    (found,) = store.abandoned(now=LATER, lease=lease(), limit=1)
    assert found.delivery.recipients[0].first_attempt_at == NOW + MINUTE


def _taken_by_another(store: Any, delivery: Any) -> None:
    assert claim(store, "other", now=LATER)


def _given_back(store: Any, delivery: Any) -> None:
    store.release(delivery.lease)


def _dropped(store: Any, delivery: Any) -> None:
    store.drop(delivery.id, BOB, at=LATER)


def _requeued(store: Any, delivery: Any) -> None:
    store.requeue(delivery.id, BOB, at=LATER)


def _begun_already(store: Any, delivery: Any) -> None:
    begin(store, delivery, BOB)


@pytest.mark.parametrize("lose", [_taken_by_another, _given_back, _dropped, _requeued, _begun_already])
def test_who_has_lost_one_recipient_begins_with_none(store: Store, lose: Any) -> None:
    enqueue(store, ANN, BOB)
    (claimed,) = claim(store)
    lose(store, claimed)
    before = list(store.queued())
    attempt = new_id()
    with pytest.raises(LeaseLost, match="somebody else's hands"):
        begin(store, claimed, attempt=attempt)
    assert list(store.queued()) == before
    begin(store, mail_to(CY), attempt=attempt)  # not even the attempt is remembered


def test_a_lease_that_is_over_is_good_while_nobody_took_it(store: Store) -> None:
    enqueue(store, ANN)
    (claimed,) = claim(store)
    begin(store, claimed, at=LATER)
    assert claim(store, now=LATER) == []


def test_a_delay_does_not_touch_what_somebody_else_has_by_now(store: Store) -> None:
    enqueue(store, ANN)
    (late,) = claim(store)
    (claimed,) = claim(store, "other", now=LATER)
    store.record(outcome(late, new_id(), delayed=[ANN], at=LATER))
    begin(store, claimed, at=LATER)


def test_a_final_outcome_of_who_lost_the_lease_is_still_the_truth(store: Store) -> None:
    enqueue(store, ANN, BOB)
    (late,) = claim(store)
    (claimed,) = claim(store, "other", now=LATER)
    other = begin(store, claimed, at=LATER)
    store.record(outcome(late, new_id(), done=[ANN], delayed=[BOB], at=LATER))
    assert waiting(store) == [(BOB, "due")]
    store.record(outcome(claimed, other, delayed=[ANN, BOB], at=LATER))
    assert waiting(store) == [(BOB, "due")]  # and nobody puts Ann back
    assert store.depth(LATER).waiting == 1


# -- begun and never settled


def test_an_attempt_whose_process_was_killed_is_found_when_its_lease_is_over(store: Store) -> None:
    enqueue(store, ANN, BOB)
    (claimed,) = claim(store)
    with pytest.raises(Killed):
        work(store, claimed, {BOB: BUSY}, dies=True)
    assert list(store.abandoned(now=NOW, lease=lease(), limit=9)) == []
    over = NOW + 5 * MINUTE
    (found,) = store.abandoned(now=over, lease=lease("mine", now=over), limit=9)
    assert wires(found.delivery) == [ANN]
    assert found.delivery.lease == "mine"
    assert list(store.abandoned(now=over, lease=lease(now=over), limit=9)) == []
    assert wires(*claim(store, now=over)) == [BOB]


def test_an_abandoned_attempt_is_settled_by_a_record_with_its_id(store: Store) -> None:
    sent = mail_to(ANN, BOB)
    attempt = begin(store, sent)
    (found,) = store.abandoned(now=LATER, lease=lease(now=LATER), limit=9)
    assert found.attempt_id == attempt
    store.record(outcome(found.delivery, attempt, delayed=[ANN, BOB], unknown=True, at=LATER))
    (again,) = claim(store, now=LATER + 30 * MINUTE)
    assert wires(again) == [ANN, BOB]
    assert all(one.possible_duplicate and one.attempts == 1 for one in again.recipients)


def test_an_application_that_comes_back_too_late_begins_nothing_that_others_have_settled(store: Store) -> None:
    """Its process was stopped between two attempts of one delivery, and a worker thought it dead."""
    sent = mail_to(ANN)
    store.record(outcome(sent, begin(store, sent, until=lease("app"))))  # to be asked again at once
    (claimed,) = claim(store, now=LATER)
    for settle in ((), (ANN,)):
        with pytest.raises(LeaseLost):
            begin(store, sent, until=lease("app", now=LATER), at=LATER)
        if not settle:
            store.record(outcome(claimed, begin(store, claimed, at=LATER), done=[ANN], at=LATER))
    store.record(outcome(sent, new_id(), delayed=[ANN], at=LATER))
    assert list(store.queued()) == []


def test_what_an_application_says_too_late_still_keeps_whom_nobody_else_knew(store: Store) -> None:
    """A worker has told the same about Ann before: Bob, delayed before the dot, must not be lost with her."""
    sent = mail_to(ANN, BOB)
    attempt = begin(store, sent, ANN)
    (found,) = store.abandoned(now=LATER, lease=lease(now=LATER), limit=1)
    store.record(outcome(found.delivery, attempt, delayed=[ANN], unknown=True, at=LATER))
    store.record(outcome(sent, attempt, delayed=[ANN, BOB], unknown=True, at=LATER))
    assert [(one.recipient, one.attempts) for one in store.queued()] == [(ANN, 1), (BOB, 1)]
    assert [event["subject"] for _, event in store.events()] == [ANN, BOB]


def test_the_truth_about_an_abandoned_attempt_that_comes_late_is_taken(store: Store) -> None:
    sent = mail_to(ANN, BOB)
    attempt = begin(store, sent)
    (found,) = store.abandoned(now=LATER, lease=lease(now=LATER), limit=1)
    store.record(outcome(sent, attempt, done=[ANN], delayed=[BOB], at=LATER))
    assert waiting(store) == [(BOB, "due")]
    store.record(outcome(found.delivery, attempt, delayed=[ANN, BOB], unknown=True, at=LATER))
    (left,) = store.queued()
    assert (left.recipient, left.possible_duplicate) == (BOB, True)


def test_a_delivery_that_is_told_in_time_is_no_second_copy(store: Store) -> None:
    sent = mail_to(ANN, BOB)
    assert store.record(outcome(sent, begin(store, sent), done=[ANN], delayed=[BOB])) == frozenset()
    (claimed,) = claim(store, now=LATER)
    assert store.record(outcome(claimed, begin(store, claimed, at=LATER), done=[BOB], at=LATER)) == frozenset()
    assert marked(store) == [False, False]


@pytest.mark.parametrize("by", ["whoever took it over", "somebody who sends again", "somebody who has sent again"])
def test_a_delivery_that_is_told_late_may_be_one_of_two_copies_and_is_marked(store: Store, by: str) -> None:
    """Its worker was stopped behind the dot, past its lease; it records the answer when it goes on."""
    sent = mail_to(ANN, BOB)
    attempt = begin(store, sent)
    (found,) = store.abandoned(now=LATER, lease=lease(now=LATER), limit=1)
    store.record(outcome(found.delivery, attempt, delayed=[ANN, BOB], unknown=True, at=LATER))
    then = LATER + 30 * MINUTE
    if by != "whoever took it over":
        (again,) = claim(store, now=then)
        second = begin(store, again, at=then)
        if by == "somebody who has sent again":
            store.record(outcome(again, second, done=[ANN, BOB], at=then))
    late = outcome(sent, attempt, done=[ANN], delayed=[BOB], at=then)
    assert store.record(late) == frozenset({ANN})
    assert store.record(late) == frozenset({ANN}), "and again the same where the first answer was lost"
    assert set(marked(store)) == {True}
    assert ANN not in [address for address, _ in waiting(store)]


@pytest.mark.parametrize("is_claimed", [True, False])
def test_who_says_too_late_that_nobody_knows_leaves_it_to_whoever_took_the_attempt_over(
    store: Store, is_claimed: bool
) -> None:
    """Both tell the same event. The one is not heard in the queue any more; the other must be."""
    sent = mail_to(ANN)
    if is_claimed:
        store.enqueue(sent, due_at=NOW, at=NOW)
        (sent,) = claim(store)
    attempt = begin(store, sent)
    (found,) = store.abandoned(now=LATER, lease=lease(now=LATER), limit=1)
    for one in (sent, found.delivery, found.delivery):
        store.record(outcome(one, attempt, delayed=[ANN], unknown=True, at=LATER))
    assert list(store.abandoned(now=LATER + 9 * MINUTE, lease=lease(), limit=1)) == []
    (again,) = claim(store, now=LATER + 30 * MINUTE)
    assert [(one.possible_duplicate, one.attempts) for one in again.recipients] == [
        (True, sent.recipients[0].attempts + 1)
    ]
    assert [event["type"] for _, event in store.events()] == ["unknown"]


def test_who_comes_while_another_has_only_taken_the_attempt_over_is_in_time(store: Store) -> None:
    """It has told nothing yet, and nobody sends again: what is settled by then is not in its hands any more."""
    sent = mail_to(ANN)
    attempt = begin(store, sent)
    (found,) = store.abandoned(now=LATER, lease=lease(now=LATER), limit=1)
    assert store.record(outcome(sent, attempt, done=[ANN], at=LATER)) == frozenset()
    store.record(outcome(found.delivery, attempt, delayed=[ANN], unknown=True, at=LATER))
    assert list(store.queued()) == []
    assert marked(store) == [False]


def test_who_is_asked_again_after_an_abandoned_attempt_is_marked(store: Store) -> None:
    sent = mail_to(ANN)
    attempt = begin(store, sent)
    (found,) = store.abandoned(now=LATER, lease=lease(now=LATER), limit=1)
    store.record(outcome(found.delivery, attempt, at=LATER))
    (again,) = claim(store, now=LATER + 9 * MINUTE)
    assert again.recipients[0].possible_duplicate


def marked(store: Store) -> list[bool]:
    """What each `delivered` that was told says about a second copy."""
    told = [event["data"] for _, event in store.events() if event["type"] == "delivered"]
    return [data["possible_duplicate"] for data in told]


def test_abandoned_attempts_come_oldest_first_and_as_many_as_asked_for(store: Store) -> None:
    attempts = [begin(store, mail_to(ANN, BOB), until=lease(minutes=minutes)) for minutes in (3, 1, 2)]
    found = [store.abandoned(now=LATER, lease=lease(now=LATER), limit=number) for number in (0, 2, 9)]
    assert [[one.attempt_id for one in some] for some in found] == [[], attempts[:2], attempts[2:]]


def test_an_abandoned_attempt_that_nobody_settles_is_found_again(store: Store) -> None:
    begin(store, mail_to(ANN))
    (first,) = store.abandoned(now=LATER, lease=lease("one", now=LATER), limit=1)
    store.release("one")
    (second,) = store.abandoned(now=LATER + 5 * MINUTE, lease=lease("two"), limit=1)
    assert second.attempt_id == first.attempt_id


# -- in the owner's hands


def test_the_queue_can_be_counted(store: Store) -> None:
    enqueue(store, ANN, due_at=NOW - 9 * MINUTE)
    claim(store)
    enqueue(store, ANN, BOB, due_at=NOW - 2 * MINUTE)
    enqueue(store, CY, due_at=NOW)
    enqueue(store, DI, due_at=NOW + MINUTE)
    store.record(outcome(mail_to(ANN), new_id(), held=[ANN]))
    assert store.depth(NOW) == Depth(due=3, waiting=1, held=1, leased=1, oldest_due_at=NOW - 2 * MINUTE)
    later = store.depth(NOW + 5 * MINUTE)
    assert later == Depth(due=5, waiting=0, held=1, leased=0, oldest_due_at=NOW - 9 * MINUTE)


def test_the_queue_can_be_read_narrowed_and_gone_through(store: Store) -> None:
    one = enqueue(store, BOB, ANN, tenant="a", stream="s", message_class="urgent", test=True, at=NOW - MINUTE)
    two = enqueue(store, "Zoë@exämple.com", relay="b", content=b"x" * 3000)
    store.record(outcome(held := mail_to(CY), new_id(), held=[CY]))
    (claimed,) = claim(store, relays=("b",))
    first, *_ = listed = list(store.queued())
    assert [(shown.message, shown.recipient) for shown in listed] == [
        (one.id, ANN),
        (one.id, BOB),
        (two.id, "Zoë@exämple.com"),
        (held.id, CY),
    ]
    assert (first.queued_at, first.due_at, first.state) == (NOW - MINUTE, NOW, QueueState.DUE)
    assert first.labels == Labels(tenant="a", stream="s", message_class="urgent", test=True)
    assert (listed[2].leased_until, listed[2].size_bytes) == (NOW + 5 * MINUTE, 3000)
    assert (listed[3].due_at, listed[3].state, listed[3].attempts) == (None, QueueState.HELD, 1)
    assert waiting(store, tenant="a") == [(ANN, "due"), (BOB, "due")]
    assert waiting(store, relay="b", tenant="") == [("Zoë@exämple.com", "due")]
    assert waiting(store, state=QueueState.HELD) == [(CY, "held")]
    assert waiting(store, containing="ZOË") == waiting(store, containing="zoë@e")
    assert len(waiting(store, containing="SHOP@")) == len(waiting(store, containing="<1@X>")) == 4
    assert waiting(store, containing="%") == []
    assert waiting(store, after=(one.id, ANN), limit=1) == [(BOB, "due")]
    assert waiting(store, after=(one.id, "~"), limit=0) == []
    assert claimed.id == two.id


def test_a_long_queue_is_read_in_pages_while_it_changes(store: Store) -> None:
    sent = enqueue(store, *(f"r{number:04}@example.com" for number in range(1203)))
    seen = []
    for number, one in enumerate(store.queued(), start=1):
        seen.append(one.recipient)
        if number % 20 == 0:  # the last one of a page is among them
            store.drop(sent.id, one.recipient, at=NOW)
    assert seen == sorted(wires(sent))
    assert len(list(store.queued())) == 1203 - 60


def test_what_is_requeued_is_due_at_once(store: Store) -> None:
    sent = enqueue(store, ANN, BOB, due_at=LATER)
    assert store.requeue(sent.id, ANN, at=NOW) == 1
    assert store.requeue(sent.id, CY, at=NOW) == 0
    assert wires(*claim(store)) == [ANN]
    assert store.requeue(sent.id, None, at=NOW) == 1  # but for the leased one
    assert wires(*claim(store)) == [BOB]


def test_who_may_have_got_it_is_not_requeued_before_that_is_settled(store: Store) -> None:
    sent = mail_to(ANN)
    begin(store, sent)
    assert store.requeue(sent.id, None, at=LATER) == 0
    assert len(store.abandoned(now=LATER, lease=lease(), limit=1)) == 1


def test_what_is_dropped_is_gone_and_told_and_what_is_leased_stays(store: Store) -> None:
    sent = enqueue(store, ANN, BOB, CY)
    store.record(outcome(sent, new_id(), delayed=[CY]))
    claim(store)
    events = tuple(told(EventType.FAILED, address) for address in (ANN, BOB, CY, None))
    assert store.drop(sent.id, BOB, at=NOW, events=events) == 0
    assert len(store.events()) == 1
    assert store.drop(sent.id, None, at=NOW, events=events) == 1
    assert waiting(store) == [(ANN, "due"), (BOB, "due")]
    assert [event["subject"] for _, event in store.events()] == [CY, CY, None]
    assert store.drop(sent.id, None, at=LATER, events=events) == 2
    assert store.queued_message(sent.id) is None


def test_an_attempt_about_people_who_were_dropped_is_over(store: Store) -> None:
    sent = mail_to(ANN)
    attempt = begin(store, sent)
    assert store.drop(sent.id, None, at=LATER) == 1
    assert list(store.abandoned(now=LATER, lease=lease(), limit=1)) == []
    store.record(outcome(sent, attempt, done=[ANN], at=LATER))
    assert list(store.queued()) == []


# -- readers of the events


def test_one_owner_at_a_time_reads_under_a_name(store: Store) -> None:
    assert store.read_cursor("web") == 0
    assert store.claim_cursor("web", owner="a", now=NOW, until=LATER) == 0
    assert store.claim_cursor("web", owner="b", now=NOW, until=LATER) is None
    assert store.claim_cursor("web", owner="a", now=NOW, until=LATER) == 0
    assert store.claim_cursor("log", owner="b", now=NOW, until=LATER) == 0
    assert store.claim_cursor("web", owner="b", now=LATER, until=LATER + MINUTE) == 0
    assert not store.move_cursor("web", owner="a", sequence=5, now=LATER, until=LATER + MINUTE)
    assert store.read_cursor("web") == 0


def test_a_cursor_moves_forward_only_and_its_lease_with_it(store: Store) -> None:
    assert not store.move_cursor("web", owner="a", sequence=5, now=NOW, until=LATER)
    store.claim_cursor("web", owner="a", now=NOW, until=NOW + MINUTE)
    assert store.move_cursor("web", owner="a", sequence=5, now=NOW, until=LATER)
    assert store.move_cursor("web", owner="a", sequence=3, now=NOW, until=LATER)
    assert store.read_cursor("web") == 5
    assert store.claim_cursor("web", owner="b", now=NOW + 2 * MINUTE, until=LATER) is None


def test_a_released_cursor_can_be_had_at_once(store: Store) -> None:
    store.claim_cursor("web", owner="a", now=NOW, until=LATER)
    store.move_cursor("web", owner="a", sequence=7, now=NOW, until=LATER)
    store.release_cursor("web", "b")
    assert store.claim_cursor("web", owner="b", now=NOW, until=LATER) is None
    store.release_cursor("web", "a")
    assert store.claim_cursor("web", owner="b", now=NOW, until=LATER) == 7


def _tell(store: Any, *minutes: int) -> None:
    for number in minutes:
        event = told(EventType.CLOSED)
        store.tell((replace(event, occasion=replace(event.occasion, at=NOW + number * MINUTE)),))


def _times(store: Any) -> list[tuple[int, int]]:
    return [(number, int(event["time"][14:16])) for number, event in store.events()]


def test_what_is_old_is_forgotten_and_numbers_go_on(store: Store) -> None:
    _tell(store, 0, 1, 5, 2, 6)
    assert store.prune(before=NOW + 2 * MINUTE) == 2
    assert _times(store) == [(3, 5), (4, 2), (5, 6)]
    assert store.prune(before=NOW + 3 * MINUTE) == 1
    assert _times(store) == [(3, 5), (5, 6)]
    _tell(store, 7)
    assert _times(store) == [(3, 5), (5, 6), (6, 7)]
    assert store.events(after=3, limit=1) == store.events()[1:2]
    assert store.prune(before=LATER, limit=2) == 2
    assert store.prune(before=LATER, limit=0) == 0
    assert _times(store) == [(6, 7)]
    assert store.history("") == []


def test_nothing_is_forgotten_that_a_reader_has_not_passed(store: Store) -> None:
    _tell(store, 0, 1, 2)
    for name, sequence in (("web", 2), ("log", 1)):
        store.claim_cursor(name, owner="a", now=NOW, until=LATER)
        store.move_cursor(name, owner="a", sequence=sequence, now=NOW, until=LATER)
    store.prune(before=LATER)
    assert _times(store) == [(2, 1), (3, 2)]
    store.claim_cursor("new", owner="a", now=NOW, until=LATER)
    store.move_cursor("log", owner="a", sequence=3, now=NOW, until=LATER)
    store.prune(before=LATER)
    assert _times(store) == [(2, 1), (3, 2)]


def test_suppressions_and_mail_are_never_forgotten(store: Store) -> None:
    put(store, suppression(ANN))
    enqueue(store, BOB)
    begin(store, mail_to(CY))
    store.prune(before=NOW + timedelta(days=999))
    assert len(list(store.suppressions())) == 1
    assert len(list(store.queued())) == 2
    assert len(store.abandoned(now=LATER, lease=lease(), limit=9)) == 1


# -- the end


def test_a_closed_store_has_no_queue(store: Store) -> None:
    delivery = mail_to(ANN)
    store.close()
    for use in (
        lambda: store.enqueue(delivery, due_at=NOW, at=NOW),
        lambda: begin(store, delivery),
        lambda: claim(store),
        lambda: store.abandoned(now=NOW, lease=lease(), limit=1),
        lambda: store.extend(lease()),
        lambda: store.release("x"),
        lambda: store.depth(NOW),
        lambda: list(store.queued()),
        lambda: store.queued_message("x"),
        lambda: store.requeue("x", None, at=NOW),
        lambda: store.drop("x", None, at=NOW),
        lambda: store.read_cursor("x"),
        lambda: store.claim_cursor("x", owner="a", now=NOW, until=LATER),
        lambda: store.move_cursor("x", owner="a", sequence=1, now=NOW, until=LATER),
        lambda: store.release_cursor("x", "a"),
        lambda: store.prune(before=NOW),
    ):
        with pytest.raises(StoreError, match="closed"):
            use()
