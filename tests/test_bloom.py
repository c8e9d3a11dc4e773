"""The set of digests: what is in it is never denied, and of what is not, little is taken to be."""

import random
import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bouncekit.stores.screen.bloom import Bloom


@given(st.lists(st.integers(0, 2**128 - 1), max_size=3000))
def test_nothing_that_was_added_is_denied(digests: list[int]) -> None:
    known = Bloom(len(digests))
    for digest in digests:
        known.add(digest)
    assert all(digest in known for digest in digests)


def test_a_full_set_takes_fewer_than_one_in_a_hundred_others_to_be_in_it() -> None:
    draw = random.Random(1).getrandbits
    known = Bloom(20_000)
    for _ in range(20_000):
        known.add(draw(128))
    assert sum(draw(128) in known for _ in range(20_000)) < 200


def test_an_empty_set_has_nothing() -> None:
    assert 0 not in Bloom(0)
    assert secrets.randbits(128) not in Bloom(10_000)


def test_it_takes_two_bytes_for_each() -> None:
    assert len(Bloom(1_000_000).dump()) == 2_000_000


def test_only_what_is_new_fills_it() -> None:
    known = Bloom(0)
    for digest in range(known.capacity + 100):
        known.add(digest << 64 | digest * 0x9E3779B97F4A7C15 % 2**64)
        known.add(digest << 64 | digest * 0x9E3779B97F4A7C15 % 2**64)
    assert known.added <= known.capacity + 100
    assert known.is_full


def test_what_was_dumped_comes_back() -> None:
    known = Bloom(5000)
    digests = [secrets.randbits(128) for _ in range(5000)]
    for digest in digests:
        known.add(digest)
    again = Bloom.load(known.dump(), capacity=known.capacity, added=known.added)
    assert all(digest in again for digest in digests)
    assert (again.dump(), again.added) == (known.dump(), known.added)


@pytest.mark.parametrize("capacity", [5004, 4999, 0, -1, 10**15])
def test_a_dump_of_another_size_is_refused(capacity: int) -> None:
    with pytest.raises(ValueError, match="are not a set of"):
        Bloom.load(Bloom(5000).dump(), capacity=capacity, added=0)
