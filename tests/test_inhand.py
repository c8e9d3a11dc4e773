"""What a worker has in hand: the first to open comes first, and there is a bound to it."""

from dataclasses import replace
from datetime import timedelta

from bouncekit.postmaster.inhand import Held, InHand

from .building import NOW
from .contract.queueing import mail_to

SECOND = timedelta(seconds=1)


def held(number: int = 1, *, after: float = 1, token: str = "t", relay: str = "main", size: int = 4) -> list[Held]:
    delivery = mail_to("jo@example.com", content=b"x" * size)
    return [Held(delivery, relay, token, NOW + after * SECOND) for _ in range(number)]


def test_who_may_go_first_is_taken_first_and_nobody_before_his_time() -> None:
    hand = InHand()
    assert hand.put([*held(after=3), *held(after=1)])
    assert (hand.waits(NOW), hand.take(NOW)) == (SECOND, None)
    first = hand.take(NOW + 9 * SECOND)
    assert first is not None
    assert first.until == NOW + SECOND
    hand.put_back(replace(first, until=NOW + 5 * SECOND))
    assert hand.waits(NOW) == 3 * SECOND


def test_a_batch_is_in_hand_as_a_whole_or_not_at_all() -> None:
    hand = InHand()
    assert hand.put(held(190))
    assert not hand.put(held(20, token="late"))
    assert not hand.has("late")
    assert hand.put(held(10))


def test_large_messages_are_fewer() -> None:
    hand = InHand()
    assert hand.put(held(2, size=9_000_000))
    assert not hand.put(held(size=3_000_000))


def test_it_is_known_under_which_leases_and_for_which_relays_there_is_anything() -> None:
    hand = InHand()
    hand.put([*held(token="a", relay="one"), *held(2, token="b", relay="two")])
    hand.drop("a")
    assert (hand.has("a"), hand.has("b"), hand.has_for("one"), hand.has_for("two")) == (False, True, False, True)
    assert list(hand.let_go()) == ["b"]
    assert (hand.waits(NOW), hand.has("b"), hand.has_for("two")) == (None, False, False)


def test_a_lease_is_known_until_whoever_took_the_last_one_under_it_is_done() -> None:
    hand = InHand()
    hand.put(held(2))
    first, second = hand.take(NOW + SECOND), hand.take(NOW + SECOND)
    assert first is not None
    assert second is not None
    hand.done(first)
    assert hand.has("t")
    hand.done(second)
    assert not hand.has("t")


def test_nothing_waits_for_a_clock_that_was_set_back() -> None:
    hand = InHand()
    hand.put(held(after=5))
    assert hand.take(NOW - 9 * SECOND) is None
    assert hand.waits(NOW - timedelta(days=1)) == timedelta()
    assert hand.take(NOW - timedelta(days=1)) is not None


def test_those_for_whom_there_is_no_room_come_again_one_batch_behind_the_other() -> None:
    hand = InHand()
    hand.put(held(200))
    turns = [hand.turn(held(20, after=0.1), NOW) - NOW for _ in range(3)]
    assert turns == [10 * SECOND, 12 * SECOND, 14 * SECOND]
    later = [hand.turn(held(20, after=0.1), NOW) - NOW for _ in range(500)]
    assert max(later) <= timedelta(minutes=2), "a lane that is free again does not wait for them for long"
