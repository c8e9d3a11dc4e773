"""Users, their passwords and their roles; who tries too many passwords."""

from datetime import UTC, datetime, timedelta

import pytest

from bouncekit.web.access import Attempts, Role, User, _parsed, hash_password, is_password, open_users
from bouncekit.web.desk import _NOBODY
from bouncekit.words.errors import ConfigurationError

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
PASSWORD = "correct horse battery"
HASHED = hash_password(PASSWORD)


def test_a_password_is_known_by_its_hash_and_no_other_is() -> None:
    assert is_password(PASSWORD, HASHED)
    assert not is_password("Correct horse battery", HASHED)
    assert not is_password("", HASHED)


def test_the_same_password_has_another_hash_each_time_and_stands_in_none() -> None:
    assert hash_password(PASSWORD) != HASHED
    assert "horse" not in HASHED


@pytest.mark.parametrize("password", ["short", "x" * 1025])
def test_a_password_that_is_too_short_or_endless_gets_no_hash(password: str) -> None:
    with pytest.raises(ValueError, match="10 to 1,024 characters"):
        hash_password(password)


NO_HASHES = {
    "empty": "",
    "of another kind": HASHED.replace("scrypt", "plain"),
    "64 GB of memory": HASHED.replace("scrypt:14:", "scrypt:30:"),
    "no cost": HASHED.replace("scrypt:14:", "scrypt:0:"),
    "no hash": HASHED.rpartition(":")[0],
    "one too many": f"{HASHED}:{HASHED}",
    "short": HASHED[:-8],
    "no numbers": HASHED.replace("scrypt:14:", "scrypt:x:"),
    "no letters of ours": "scrypt:14:8:1:ä:ä",
    "a short salt": "scrypt:14:8:1:AAAA:" + HASHED.rpartition(":")[2],
}


@pytest.mark.parametrize("hashed", NO_HASHES.values(), ids=NO_HASHES.keys())
def test_what_is_no_hash_of_ours_is_nobodys_password_and_costs_nothing(hashed: str) -> None:
    assert not is_password(PASSWORD, hashed)
    with pytest.raises(ConfigurationError, match=r"users.asha.password: a hash is needed"):
        open_users({"asha": {"password": hashed}})


def test_who_is_nobody_s_account_costs_as_much_as_somebody_s() -> None:
    assert _parsed(_NOBODY.password) is not None
    assert not is_password("", _NOBODY.password)


def test_who_has_no_role_only_looks() -> None:
    users = open_users({"asha": {"password": HASHED, "role": "owner"}, "ravi": {"password": HASHED}})
    assert users["asha"].user == User("asha", Role.OWNER)
    assert users["ravi"].user == User("ravi", Role.READER)
    assert (users["asha"].user.may_change, users["ravi"].user.may_change) == (True, False)
    assert HASHED not in repr(users)


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ([], "a table for each is needed"),
        ({"a b": {}}, "a name has up to 64"),
        ({"": {}}, "a name has up to 64"),
        ({"asha": "secret"}, "a table with password and role"),
        ({"asha": {"password": HASHED, "rol": "owner"}}, "a table with password and role"),
        ({"asha": {"password": HASHED, "role": "admin"}}, "'admin' is none of reader, owner"),
    ],
)
def test_a_table_of_users_that_cannot_be_says_why(table: object, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why) as raised:
        open_users(table)
    assert "secret" not in str(raised.value)


def test_ten_attempts_from_an_address_then_none_before_the_first_is_old() -> None:
    attempts = Attempts()
    assert [attempts.begin("203.0.113.9", NOW) for _ in range(10)] == [None] * 10
    assert attempts.begin("203.0.113.9", NOW + timedelta(minutes=5)) == timedelta(minutes=10)
    assert attempts.begin("203.0.113.8", NOW) is None
    assert attempts.begin("203.0.113.9", NOW + timedelta(minutes=16)) is None


def test_a_clock_that_is_set_back_keeps_nobody_out_and_lets_nobody_try_for_ever() -> None:
    attempts, before = Attempts(), NOW - timedelta(days=365)
    assert [attempts.begin("203.0.113.9", NOW) for _ in range(11)][-1] == timedelta(minutes=15)
    tried = [attempts.begin("203.0.113.9", before) for _ in range(11)]
    assert tried == [None] * 10 + [timedelta(minutes=15)]


def test_who_knew_it_has_tried_nothing() -> None:
    attempts = Attempts()
    for _ in range(50):
        assert attempts.begin("203.0.113.9", NOW) is None
        attempts.succeeded("203.0.113.9")


def test_from_many_addresses_together_it_is_a_hundred() -> None:
    attempts = Attempts(most=20)
    waits = [attempts.begin(f"203.0.113.{last}", NOW) for last in range(110)]
    assert waits == [None] * 100 + [timedelta(minutes=15)] * 10
    assert len(attempts._by_address) <= 20
