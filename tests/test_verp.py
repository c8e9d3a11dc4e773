"""Signed return paths: what is ours proves it, and nothing else does."""

import secrets
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bouncekit import ConfigurationError
from bouncekit.bounces.verp import ReturnPaths, Trust

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
ID = "019b796dd60000000000000000000001"
OLD, NEW = b"the old secret, long enough", b"the new secret, long enough"
PATHS = ReturnPaths("bounce@example.org", (NEW,))


def test_what_is_ours_says_which_delivery_it_was() -> None:
    made = PATHS.sign(ID, ["jo@example.com"], at=NOON)
    found = PATHS.read(made, at=NOON + timedelta(days=3))
    assert (found.trust, found.delivery_id) == (Trust.SIGNED, ID)
    assert found.is_for("jo@example.com")
    assert found.is_for("Jo@Example.COM")
    assert not found.is_for("ann@example.com")
    assert len(made.rpartition("@")[0]) <= 64


def test_one_of_a_message_to_several_may_be_about_each() -> None:
    found = PATHS.read(PATHS.sign(ID, ["jo@example.com", "ann@example.com"], at=NOON), at=NOON)
    assert found.is_for("jo@example.com")
    assert found.is_for("ann@example.com")


def test_relays_may_change_the_case() -> None:
    made = PATHS.sign(ID, ["jo@example.com"], at=NOON)
    assert PATHS.read(made.upper(), at=NOON).trust is Trust.SIGNED


@pytest.mark.parametrize(
    ("days", "trust"), [(-2, Trust.EXPIRED), (-1, Trust.SIGNED), (14, Trust.SIGNED), (15, Trust.EXPIRED)]
)
def test_it_is_good_for_a_while(days: int, trust: Trust) -> None:
    assert PATHS.read(PATHS.sign(ID, [], at=NOON), at=NOON + timedelta(days=days)).trust is trust


def test_a_key_is_replaced_without_losing_what_is_under_way() -> None:
    before, both, after = (ReturnPaths("bounce@example.org", keys) for keys in ((OLD,), (NEW, OLD), (NEW,)))
    made = before.sign(ID, [], at=NOON)
    assert both.read(made, at=NOON).trust is Trust.SIGNED
    assert after.read(made, at=NOON).trust is Trust.FORGED
    assert after.read(both.sign(ID, [], at=NOON), at=NOON).trust is Trust.SIGNED


def test_a_tenant_s_is_no_other_s() -> None:
    made = PATHS.sign(ID, [], at=NOON, tenant="a")
    assert PATHS.read(made, at=NOON, tenant="a").trust is Trust.SIGNED
    assert PATHS.read(made, at=NOON, tenant="b").trust is Trust.FORGED


@pytest.mark.parametrize("address", ["bounce@example.org", "x@example.org", "bounce@example.com", "", "@", "bounce"])
def test_what_does_not_look_like_ours_is_none_of_ours(address: str) -> None:
    assert PATHS.read(address, at=NOON).trust is Trust.OTHER


def test_no_changed_character_is_let_through() -> None:
    made = PATHS.sign(ID, ["jo@example.com"], at=NOON)
    start, end = made.index("+") + 1, made.index("@")
    for place in range(start, end):
        other = "a" if made[place] != "a" else "b"
        changed = made[:place] + other + made[place + 1 :]
        assert PATHS.read(changed, at=NOON).trust is Trust.FORGED, place


@given(st.text(max_size=80))
def test_nothing_that_anybody_writes_raises_or_is_trusted(text: str) -> None:
    for address in (text, f"bounce+{text}@example.org"):
        assert PATHS.read(address, at=NOON).trust in (Trust.OTHER, Trust.FORGED)


def test_every_delivery_id_fits() -> None:
    for _ in range(200):
        made = PATHS.sign(secrets.token_hex(16), ["jo@example.com"], at=NOON)
        assert PATHS.read(made, at=NOON).trust is Trust.SIGNED


@pytest.mark.parametrize(
    ("address", "keys", "hint"),
    [
        ("bounce", (NEW,), "write an address"),
        ("much-too-long-a-name@example.org", (NEW,), "local part of 9 characters"),
        ("bounce@example.org", (), "one to ten secrets"),
        ("bounce@example.org", (b"short",), "16 bytes or more"),
    ],
)
def test_a_wrong_setting_says_what_would_be_right(address: str, keys: tuple[bytes, ...], hint: str) -> None:
    with pytest.raises(ConfigurationError, match=hint):
        ReturnPaths(address, keys)


def test_no_key_is_shown() -> None:
    assert "secret" not in repr(PATHS)
