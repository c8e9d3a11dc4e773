"""How often a channel is told, and that what was kept back is told in the end."""

import os
import threading
from collections.abc import Sequence
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bouncekit.delivery.events import Event, EventType, Occasion
from bouncekit.delivery.settlement import Settlement
from bouncekit.meaning.classification import Category
from bouncekit.notify import Folded, Moderation, Notification
from bouncekit.policy.rule import Limit, Notice
from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.testing import ManualClock, ScriptedServer
from bouncekit.words.status import Action

from .building import NOW

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
OPS = Notice("operations", digest=15 * MINUTE)
PLAIN = Notice("operations")
RECIPIENT = Notice("recipient")


def event(
    late: float = 0, *, rule: str = "r", to: str = "ada@example.com", category: Category = Category.MAILBOX_FULL
) -> Event:
    """A failure, `late` minutes after noon."""
    settlement = Settlement(recipient=to, key=to, action=Action.FAILED, category=category, rule=rule)
    occasion = Occasion(attempt_id="a", at=NOW + late * MINUTE)
    return Event(id="1", type=EventType.FAILED, occasion=occasion, recipient=to, settlement=settlement)


def moderated(notice: Notice, minutes: Sequence[float]) -> list[int | None]:
    moderation = Moderation()
    return [moderation.admit(notice, event(late)) for late in minutes]


def told(folded: Sequence[Folded]) -> list[tuple[str, str, int]]:
    """Which event each due notice is about, to which channel, and how many more it counts."""
    return [(str(one.event.recipient), one.notice.channel, one.more) for one in folded]


# -- digests


def test_a_digest_lets_one_through_and_the_next_window_s_first_counts_the_rest() -> None:
    assert moderated(OPS, [0, 1, 14.9, 15, 16, 40, 60]) == [0, None, None, 2, None, 1, 0]


def test_a_clock_that_was_set_back_does_not_silence_a_channel() -> None:
    assert moderated(OPS, [0, 1, -500_000, -499_999]) == [0, None, 1, None]


def test_channels_and_subjects_have_windows_of_their_own() -> None:
    moderation = Moderation()
    asked = [("a", "r"), ("a", "s"), ("b", "r"), ("a", "r")]
    answers = [moderation.admit(Notice(role, 15 * MINUTE), event(rule=rule)) for role, rule in asked]
    assert answers == [0, 0, 0, None]
    assert moderation.admit(Notice("a", 15 * MINUTE), event(category=Category.SYSTEM_FULL)) == 0


# -- limits


def test_every_channel_has_a_limit_that_no_bad_day_exceeds() -> None:
    moderation = Moderation()
    answers = [moderation.admit(PLAIN, event(number / 10_000, rule=f"r{number}")) for number in range(10_000)]
    assert [one for one in answers if one is not None] == [0] * 20
    (one,) = moderation.due(NOW + HOUR)
    assert (one.event.settlement.rule, one.more) == ("r9999", 9_979)  # type: ignore[union-attr]


def test_a_policy_s_limit_takes_the_place_of_the_default() -> None:
    limited = Notice("operations", limit=Limit(2, 10 * MINUTE))
    assert moderated(limited, [0, 1, 2, 3, 10, 11, 12]) == [0, 0, None, None, 2, 0, None]


def test_a_digest_and_its_channel_s_limit_hold_both() -> None:
    moderation = Moderation()
    notice = Notice("operations", digest=15 * MINUTE, limit=Limit(2, HOUR))
    answers = [moderation.admit(notice, event(late, rule=rule)) for late, rule in enumerate("aabbcca")]
    assert answers == [0, None, 0, None, None, None, None]
    # A quarter of an hour later the digests are over, and the channel is not: all is kept for it.
    assert moderation.due(NOW + 30 * MINUTE) == ()
    assert moderation.next_due() == NOW + HOUR
    assert [one.more for one in moderation.due(NOW + HOUR)] == [4]
    assert moderation.next_due() is None


def test_a_recipient_is_heardthe_same_once_a_day_and_everybody_is_told() -> None:
    moderation = Moderation()
    people = [f"r{number}@example.com" for number in range(500)]
    assert [moderation.admit(RECIPIENT, event(to=one)) for one in people] == [0] * 500
    assert [moderation.admit(RECIPIENT, event(60, to=one)) for one in people] == [None] * 500
    assert moderation.admit(RECIPIENT, event(60, to=people[0], category=Category.USER_UNKNOWN)) == 0
    assert moderation.admit(RECIPIENT, event(24 * 60, to=people[0])) == 1


def test_two_spellings_of_a_mailbox_are_one_recipient() -> None:
    moderation, one = Moderation(), event()
    assert one.settlement is not None
    assert moderation.admit(RECIPIENT, one) == 0
    assert moderation.admit(RECIPIENT, event(1)) is None


# -- what is due


def test_what_a_digest_kept_back_is_due_when_its_window_is_over() -> None:
    moderation = Moderation()
    for late, to in enumerate(["a@x.example", "b@x.example", "c@x.example"]):
        moderation.admit(OPS, event(late, to=to))
    assert moderation.next_due() == NOW + 15 * MINUTE
    assert moderation.due(NOW + 14 * MINUTE) == ()
    assert told(moderation.due(NOW + 15 * MINUTE)) == [("c@x.example", "operations", 1)]
    assert moderation.due(NOW + 15 * MINUTE) == ()
    assert moderation.next_due() is None


def test_a_notice_that_was_due_opens_the_next_window() -> None:
    moderation = Moderation()
    assert [moderation.admit(OPS, event(late)) for late in (0, 1)] == [0, None]
    assert len(moderation.due(NOW + 15 * MINUTE)) == 1
    assert moderation.admit(OPS, event(20)) is None
    assert moderation.next_due() == NOW + 30 * MINUTE


def test_nothing_is_due_where_nothing_was_kept_back() -> None:
    moderation = Moderation()
    moderation.admit(OPS, event())
    moderation.admit(RECIPIENT, event())
    assert moderation.next_due() is None
    assert moderation.due(NOW + 9 * DAY) == ()
    assert moderation.due(NOW, closing=True) == ()


def test_closing_is_one_message_for_a_channel() -> None:
    moderation = Moderation()
    for number in range(200):
        moderation.admit(OPS, event(rule=f"r{number % 40}"))
    (one,) = moderation.due(NOW, closing=True)
    assert one.more == 200 - 20 - 1


def test_what_is_due_does_not_widen_the_limit_of_its_channel() -> None:
    moderation, notice = Moderation(), Notice("ops", digest=HOUR, limit=Limit(2, HOUR))
    for rule in "aabb":
        moderation.admit(notice, event(rule=rule))
    assert len(moderation.due(NOW + HOUR)) == 2
    assert moderation.admit(notice, event(61, rule="c")) is None


def test_closing_tells_all_that_was_kept_back_without_waiting() -> None:
    moderation = Moderation()
    for late in range(3):
        moderation.admit(OPS, event(late))
        moderation.admit(RECIPIENT, event(late))
    assert sorted(told(moderation.due(NOW + 3 * MINUTE, closing=True))) == [
        ("ada@example.com", "operations", 1),
        ("ada@example.com", "recipient", 1),
    ]
    assert moderation.due(NOW + 3 * MINUTE, closing=True) == ()


@given(
    steps=st.lists(
        st.tuples(
            st.floats(0, 30),
            st.sampled_from("abc"),
            st.sampled_from(["ops", "boss", "recipient"]),
            st.sampled_from([None, 15 * MINUTE, HOUR]),
            st.booleans(),
        ),
        max_size=60,
    ),
    windows=st.integers(1, 6),
)
def test_every_notice_is_heardor_counted_exactly_once_in_however_little_memory(
    steps: list[tuple[float, str, str, timedelta | None, bool]], windows: int
) -> None:
    moderation = Moderation(max_windows=windows)
    late, given_, counted = 0.0, 0, 0
    for wait, rule, role, digest, asks in steps:
        late += wait
        if asks:
            counted += sum(1 + one.more for one in moderation.due(NOW + late * MINUTE))
        more = moderation.admit(Notice(role, digest, limit=Limit(2, HOUR)), event(late, rule=rule))
        given_ += 1
        counted += 0 if more is None else 1 + more
    counted += sum(1 + one.more for one in moderation.due(NOW + late * MINUTE, closing=True))
    assert counted == given_
    assert moderation.next_due() is None


@given(minutes=st.lists(st.floats(0, 20), min_size=1, max_size=200))
def test_no_channel_hears_more_than_its_limit_in_one_window(minutes: list[float]) -> None:
    moderation, notice = Moderation(), Notice("ops", limit=Limit(3, HOUR))
    late, heard = 0.0, []
    for wait in minutes:
        late += wait
        heard += [late] * len(moderation.due(NOW + late * MINUTE))
        heard += [late] * (moderation.admit(notice, event(late)) is not None)
    # A window opens with its first notice, so any hour touches two of them at most.
    assert all(sum(at <= one < at + 60 for one in heard) <= 6 for at in heard)


# -- bounds, threads, processes


def test_memory_is_bounded_and_what_made_room_is_still_counted() -> None:
    moderation = Moderation(max_windows=3)
    for number in range(100):
        for _ in range(2):
            moderation.admit(RECIPIENT, event(to=f"r{number}@example.com"))
    assert len(moderation._windows) <= 3
    assert len(moderation._spilled) == 1
    assert sum(1 + one.more for one in moderation.due(NOW, closing=True)) == 100


def test_threads_together_let_one_through_and_count_every_other() -> None:
    moderation = Moderation()
    let_through: list[int] = []

    def ask() -> None:
        for _ in range(500):
            if moderation.admit(OPS, event()) is not None:
                let_through.append(1)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert let_through == [1]
    assert moderation.admit(OPS, event(60)) == 3999


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_what_a_parent_kept_back_is_not_heardby_its_child() -> None:
    moderation = Moderation()
    for late in range(3):
        moderation.admit(OPS, event(late))
    child = os.fork()
    if not child:
        os._exit(len(moderation.due(NOW + HOUR)))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(moderation.due(NOW + HOUR)) == 1


# -- through a postmaster


def test_what_was_kept_back_goes_out_with_a_later_send_and_when_the_postmaster_is_closed() -> None:
    clock = ManualClock()
    heard: list[Notification] = []
    answers = {f"r{number}@example.com": "554 5.7.1 Relay access denied" for number in range(4)}
    with ScriptedServer({"RCPT": answers}) as server:
        postmaster = Postmaster(clock=clock, channels={"operations": heard.append})
        with postmaster.smtp(server.host, server.port) as smtp:
            smtp.sendmail("shop@example.org", [*answers, "ada@example.com"], "Subject: Hi\r\n\r\nHello")
            assert [one.more for one in heard] == [0]
            clock.move(15 * MINUTE)
            smtp.sendmail("shop@example.org", ["ada@example.com"], "Subject: Hi\r\n\r\nHello")
            assert [one.more for one in heard] == [0, 2]
            smtp.sendmail("shop@example.org", ["r0@example.com", "ada@example.com"], "Subject: Hi\r\n\r\nHello")
            assert len(heard) == 2
        postmaster.close()
    assert [one.more for one in heard] == [0, 2, 0]
    assert heard[1].recipient == "r3@example.com"
