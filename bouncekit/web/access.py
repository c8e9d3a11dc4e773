"""Who may see the pages, and who may change something: users, their roles, their passwords as hashes.

A password is kept as its scrypt hash (RFC 7914) in one word: `scrypt:14:8:1:salt:hash`, the first number log2 of N.
"""

import hashlib
import hmac
import re
import secrets
import threading
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from bouncekit.words.errors import ConfigurationError

__all__ = ["Account", "Attempts", "Role", "User", "hash_password", "is_password", "open_users"]

_KIND = "scrypt"
_COST = (14, 8, 1)  # 16 MB of memory, some 50 ms
_MOST = (17, 16, 4)  # what a hash that somebody wrote may cost us
_SALT_BYTES, _HASH_BYTES = 16, 32
_SHORTEST, _LONGEST = 10, 1024  # characters of a password
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}", re.ASCII).fullmatch
_KEYS = frozenset({"password", "role"})


class Role(StrEnum):
    """What somebody may do."""

    READER = "reader"  # look at everything
    OWNER = "owner"  # also change: the suppression list, the queue, sinks


@dataclass(frozen=True, slots=True)
class User:
    """Somebody at the pages. The name is in the audit of what he changes."""

    name: str
    role: Role = Role.READER

    @property
    def may_change(self) -> bool:
        return self.role is Role.OWNER

    @property
    def by(self) -> str:
        """Who it was, for the record."""
        return f"{self.name} (web page)"


@dataclass(frozen=True, slots=True)
class Account:
    """A user with the hash of his password."""

    user: User
    password: str = field(repr=False)

    @property
    def mark(self) -> str:
        """What tells a session of before a new password from one behind it."""
        return hashlib.blake2b(self.password.encode(), digest_size=8).hexdigest()


def open_users(table: object) -> Mapping[str, Account]:
    """The accounts of a table: name -> `{password = "scrypt:...", role = "owner"}`; who has no role only looks.

    Raises:
        ConfigurationError: something in it is wrong; the message shows no password and no hash.
    """
    if not isinstance(table, Mapping):
        raise ConfigurationError("users: a table for each is needed, such as [web.users.asha] with password and role")
    return MappingProxyType({str(name): _account(name, entry) for name, entry in table.items()})


def _account(name: object, entry: object) -> Account:
    place = f"users.{str(name)[:64]}"
    if not isinstance(name, str) or not _NAME(name):
        raise ConfigurationError(f"{place}: a name has up to 64 letters, digits and . _ @ -")
    if not isinstance(entry, Mapping) or not entry.keys() <= _KEYS:
        raise ConfigurationError(f"{place}: a table with password and role is needed, and nothing else")
    password = entry.get("password")
    if not isinstance(password, str) or _parsed(password) is None:
        raise ConfigurationError(f"{place}.password: a hash is needed; `bouncekit serve --hash-password` makes one")
    role: Any = entry.get("role", Role.READER)
    if role not in set(Role):
        raise ConfigurationError(f"{place}.role: {str(role)[:40]!r} is none of {', '.join(Role)}")
    return Account(User(name, Role(role)), password)


def hash_password(password: str) -> str:
    """The word that stands for a password in the configuration; another one each time.

    Raises:
        ValueError: it is shorter than 10 characters, or longer than 1,024.
    """
    if not _SHORTEST <= len(password) <= _LONGEST:
        raise ValueError(f"a password has {_SHORTEST} to {_LONGEST:,} characters")
    salt = secrets.token_bytes(_SALT_BYTES)
    numbers = ":".join(map(str, _COST))
    return f"{_KIND}:{numbers}:{_word(salt)}:{_word(_derived(password, salt, _COST))}"


def is_password(password: str, hashed: str) -> bool:
    """Whether it is the password of a hash. It takes as long where it is not."""
    parsed = _parsed(hashed)
    if parsed is None or len(password) > _LONGEST:
        return False
    cost, salt, derived = parsed
    return hmac.compare_digest(_derived(password, salt, cost), derived)


_at_once = threading.Semaphore(2)  # whoever tries many passwords has two cores and 32 MB, not all of them


def _derived(password: str, salt: bytes, cost: tuple[int, int, int]) -> bytes:
    exponent, blocks, lanes = cost
    secret = password.encode("utf-8", "surrogatepass")
    most_bytes = 132 * 2**exponent * blocks * lanes
    with _at_once:
        return hashlib.scrypt(secret, salt=salt, n=2**exponent, r=blocks, p=lanes, maxmem=most_bytes, dklen=_HASH_BYTES)


def _parsed(hashed: str) -> tuple[tuple[int, int, int], bytes, bytes] | None:
    """Cost, salt and hash; None where it is no hash of ours, or a costlier one than ours would be."""
    try:
        kind, exponent, blocks, lanes, *words = hashed.split(":")
        cost = int(exponent), int(blocks), int(lanes)
        salt, derived = map(urlsafe_b64decode, words)
    except ValueError:
        return None
    is_sane = kind == _KIND and all(1 <= one <= most for one, most in zip(cost, _MOST, strict=True))
    if not is_sane or len(salt) < _SALT_BYTES or len(derived) != _HASH_BYTES:
        return None
    return cost, salt, derived


def _word(data: bytes) -> str:
    return urlsafe_b64encode(data).decode("ascii")


class Attempts:
    """Log-ins that were tried, so that nobody tries passwords by the thousand: from one address, and from all together.

    One counts from before its password is looked at: who tries many at the same time gets no further.
    """

    def __init__(
        self, *, each: int = 10, together: int = 100, within: timedelta = timedelta(minutes=15), most: int = 10_000
    ) -> None:
        self._each, self._within, self._most = each, within, most
        self._by_address: OrderedDict[str, deque[datetime]] = OrderedDict()
        self._all: deque[datetime] = deque(maxlen=together)
        self._lock = threading.Lock()

    def begin(self, address: str, now: datetime) -> timedelta | None:
        """Count one from this address; how long to wait instead, where it is one too many."""
        with self._lock:
            own = self._by_address.setdefault(address, deque(maxlen=self._each))
            self._by_address.move_to_end(address)
            if len(self._by_address) > self._most:
                self._by_address.popitem(last=False)
            waits = [one[0] + self._within - now for one in (own, self._all) if len(one) == one.maxlen]
            longest = max((one for one in waits if one <= self._within), default=timedelta())  # else it was set back
            if longest > timedelta():
                return longest
            own.append(now)
            self._all.append(now)
            return None

    def succeeded(self, address: str) -> None:
        """One knew it: what was tried before from there was a slip of the pen."""
        with self._lock:
            self._by_address.pop(address, None)
            if self._all:
                self._all.pop()
