"""A screen that machines share, in Valkey or Redis: who was not on the list when somebody last asked the store.

It remembers one thing: that a mailbox had no entry. Who has one is always the store's to answer, so no content of a
cache can suppress anybody, and none can grant a probe. Content that is not ours says nothing.

Whoever puts a mailbox on the list marks it here first, and commits then. A mark takes the place of what was remembered,
and as long as it lasts nothing is remembered again: a question that was asked before the commit and is answered behind
it finds the mark, and lets it stand. An answer is remembered only in the first seconds behind its question, by the
cache's own clock, for a mark lasts longer. So who is on the list is seen at once. What remains is a mark that could not
be made, since the cache did not answer, or was lost, since the cache started anew: then what was remembered of the
mailbox is believed until it ends, which is `ttl` behind the question at the latest.

A cache that does not answer costs a twentieth of a second, then nothing for five; the store is asked.

    redis://[[user]:password@]host[:port][/database]      rediss:// is the same in TLS, unix:///path a socket
    redis://cache.example.com/2?ttl=30s                   how long "not on the list" is believed; default 60s
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from hashlib import blake2b
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from bouncekit.outside.forking import begin_afresh_in_children
from bouncekit.policy.schedule import parse_duration
from bouncekit.stores.trail import SharedTrail, digest_of
from bouncekit.words.errors import ConfigurationError, MissingExtra, StoreError
from bouncekit.words.showing import printable, redacted

__all__ = ["SharedCache"]

_SCHEMES = {"redis": "redis", "rediss": "rediss", "valkey": "redis", "valkeys": "rediss", "unix": "unix"}
_TTL = timedelta(seconds=60)
_LONGEST_TTL = timedelta(hours=1)
_TIMEOUT_SECONDS = 0.05
_PAUSE_SECONDS = 5.0  # for which a cache that failed is not asked
_MANY = 1000  # keys in one question

_FILL_MILLISECONDS = 5_000  # behind its question an answer is not remembered any more
_MARK_MILLISECONDS = 2 * 3_600_000  # longer than any answer is remembered

# KEYS[1] is what all names begin with; ARGV[1] has the rest of each, sixteen bytes a name. What comes back is a flag
# for each: whatever lies there, it is short.
_EACH = "for at = 1, #ARGV[1], 16 do local name = KEYS[1] .. string.sub(ARGV[1], at, at + 15) "
_NOW = "local time = redis.call('TIME') local now = time[1] * 1000 + math.floor(time[2] / 1000) "
_ASK = f"""
{_NOW} local flags = {{}}
{_EACH} flags[#flags + 1] = redis.pcall('GETRANGE', name, 0, 6) == 'absent' and '1' or '0' end
return {{now, table.concat(flags)}}
"""
_FILL = f"""
{_NOW} local age = now - ARGV[2]
if age < 0 or age > tonumber(ARGV[3]) then return 0 end
{_EACH} redis.call('SET', name, 'absent', 'PX', ARGV[4] - age, 'NX') end
return 1
"""
_MARK = f"{_EACH} redis.call('SET', name, 'listed', 'PX', ARGV[2]) end return 1"

_ABSENT = ord("1")

_log = logging.getLogger("bouncekit")


class SharedCache:
    """Screens look-ups of a store that machines share. Safe to share between threads, and to keep over a fork.

    Raises:
        ConfigurationError: the URL is none of a cache; the message never holds the password.
        MissingExtra: redis-py is not installed.
    """

    def __init__(self, store: SharedTrail, url: str) -> None:
        try:
            import redis
            from redis.backoff import NoBackoff
            from redis.retry import Retry
        except ImportError:
            raise MissingExtra("redis", "redis", "caches in Valkey or Redis") from None
        address, self._ttl = _read(url)
        try:
            client = redis.Redis.from_url(
                address,
                socket_timeout=_TIMEOUT_SECONDS,
                socket_connect_timeout=_TIMEOUT_SECONDS,
                retry=Retry(NoBackoff(), 0),
            )
            client.connection_pool.make_connection()  # connects nobody, and refuses what it does not know
        except (ValueError, TypeError) as error:
            raise ConfigurationError(f"cache={_shown(url)!r}: {redacted(str(error))}") from None
        self._ask, self._fill, self._mark = (client.register_script(text) for text in (_ASK, _FILL, _MARK))
        self._client = client
        self._failures: tuple[type[Exception], ...] = (redis.RedisError, OSError, ValueError)
        self._store = store
        self._name = _shown(url)
        self._prefix: str | None = None
        self._breaker = _Breaker(self._name)

    def __repr__(self) -> str:
        return f"<SharedCache {self._name}>"

    def possible(self, tenant: str, keys: Sequence[str]) -> Sequence[str]:
        """See `Screen.possible`. Who is not known here is asked of the store, and remembered."""
        if self._breaker.is_open:
            return keys
        found: list[str] = []
        for start in range(0, len(keys), _MANY):
            found += self._possible(tenant, keys[start : start + _MANY])
        return found

    def listing(self, tenant: str, keys: Sequence[str]) -> None:
        """See `Screen.listing`: from now on nobody remembers that these are absent."""
        names = [_name(tenant, key) for key in keys]
        for start in range(0, len(names), _MANY):
            self._call(self._mark, names[start : start + _MANY], _MARK_MILLISECONDS)

    def forget(self) -> None:
        """See `Screen.forget`: hashes are all that is here, and they end by themselves within two hours."""

    def ask(self) -> str:
        """See `Screen.ask`: it has to answer as quickly as a send waits for it."""
        try:
            self._client.ping()
        except self._failures as error:
            raise StoreError(f"{self._name} does not answer: {printable(redacted(str(error)), limit=200)}") from error
        return f"{self._name} answers"

    def close(self) -> None:
        """See `Screen.close`."""
        self._client.close()

    def _possible(self, tenant: str, keys: Sequence[str]) -> Sequence[str]:
        names = [_name(tenant, key) for key in keys]
        answer = _answer(self._call(self._ask, names), len(names))
        if answer is None:
            return keys
        asked_at, flags = answer
        unknown = {key: name for key, name, flag in zip(keys, names, flags, strict=True) if flag != _ABSENT}
        if not unknown:
            return ()
        try:
            listed = self._store.listed(tenant, unknown)
        except StoreError:
            return keys
        fresh = [name for key, name in unknown.items() if key not in listed]
        self._call(self._fill, fresh, asked_at, _FILL_MILLISECONDS, self._ttl // timedelta(milliseconds=1))
        return [key for key in keys if key in listed]

    def _call(self, script: Callable[..., Any], names: Sequence[bytes], *arguments: int) -> Any:
        """What a script answers; None where the cache does not, or is left alone for a while."""
        if not names or not self._breaker.lets_through():
            return None
        try:
            answer = script(keys=(self._named(),), args=(b"".join(names), *arguments))
        except StoreError:
            return None
        except self._failures as error:
            self._breaker.failed(error)
            return None
        self._breaker.worked()
        return answer

    def _named(self) -> str:
        """What all names of this store begin with."""
        if self._prefix is None:
            self._prefix = f"bouncekit:{{{blake2b(self._store.origin().encode(), digest_size=8).hexdigest()}}}:"
        return self._prefix


class _Breaker:
    """Leaves a cache alone that has failed: one question in five seconds looks whether it is back."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._failed = False
        self._not_before = 0.0
        self._lock = threading.Lock()
        begin_afresh_in_children(self)

    @property
    def is_open(self) -> bool:
        """Whether nothing is to be asked now."""
        return self._failed and time.monotonic() < self._not_before

    def lets_through(self) -> bool:
        """Whether to ask; while it has failed, one at a time."""
        if not self._failed:
            return True
        with self._lock:
            if self.is_open:
                return False
            self._not_before = time.monotonic() + _PAUSE_SECONDS
            return True

    def failed(self, error: Exception) -> None:
        """It did not answer, or not as it should; the first time a line of the log says so."""
        with self._lock:
            is_first, self._failed = not self._failed, True
            self._not_before = time.monotonic() + _PAUSE_SECONDS
        if is_first:
            said = printable(redacted(str(error)), limit=200)
            _log.warning("%s: the cache does not answer, the store is asked instead: %s", self._name, said)

    def worked(self) -> None:
        """It answered."""
        if not self._failed:
            return
        with self._lock:
            was, self._failed = self._failed, False
        if was:
            _log.warning("%s: the cache answers again", self._name)

    def start_afresh(self) -> None:
        """Forget, in the child of a fork, the lock that a thread of the parent may have held."""
        self._lock = threading.Lock()


def _read(url: str) -> tuple[str, timedelta]:
    """The URL as redis-py takes it, and the time to live that it names."""
    try:
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
        ttl = parse_duration(options.pop("ttl")) if "ttl" in options else _TTL
    except ValueError as error:
        raise ConfigurationError(f"cache={_shown(url)!r}: {redacted(str(error))}") from None
    if parts.scheme not in _SCHEMES:
        raise ConfigurationError(
            f"cache={_shown(url)!r} is none; write 'local', or the URL of a Valkey or Redis: 'redis://localhost:6379/0'"
        )
    if not timedelta(milliseconds=1) <= ttl <= _LONGEST_TTL:
        raise ConfigurationError(f"cache={_shown(url)!r}: ttl is up to an hour, such as ttl=30s")
    return urlunsplit(parts._replace(scheme=_SCHEMES[parts.scheme], query=urlencode(options))), ttl


def _shown(url: str) -> str:
    """Where the cache is, and no secret."""
    try:
        parts = urlsplit(url)
        place = f"{parts.hostname}:{parts.port}" if parts.port else parts.hostname or ""
    except ValueError:
        return "***"
    if not parts.scheme or not (place or parts.path):
        return "***"
    return printable(f"{parts.scheme}://{place}{parts.path}", limit=200)


def _name(tenant: str, key: str) -> bytes:
    return digest_of(tenant, key).to_bytes(16)


def _answer(answer: Any, number: int) -> tuple[int, bytes] | None:
    """When the cache was asked, and a flag for each of so many keys."""
    match answer:
        case [int() as asked_at, bytes() as flags] if len(flags) == number:
            return asked_at, flags
    return None
