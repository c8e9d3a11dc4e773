"""Events into a stream of Redis or Valkey (XADD), where consumer groups read them."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from bouncekit.delivery.events import Told
from bouncekit.sinks.payload import body
from bouncekit.sinks.protocol import NotTaken, PerProcess, Sink, discreet
from bouncekit.words.errors import ConfigurationError, MissingExtra

if TYPE_CHECKING:
    from redis import Redis

__all__ = ["RedisStream"]

_SCHEMES = {"redis": "redis", "rediss": "rediss", "unix": "unix", "valkey": "redis", "valkeys": "rediss"}
_SECONDS = 10.0  # for a connection, and for an answer


class RedisStream(Sink):
    """Adds events to a stream, a batch in one transaction: all of it, or nothing.

    An entry has the fields `id`, `type`, `subject` ("" where there is none), `sequence`, and `event`: all of it as
    JSON. A kill between the answer and our note of it adds a batch twice; `id` tells.

    Args:
        url: `redis://host:6379/0`, `rediss://`, `valkey://`, `valkeys://` or `unix://path`.
        stream: the key.
        maxlen: about how many entries stay; None: all, until somebody trims them.
        secret: the password, if it shall not stand in the URL.

    Raises:
        ConfigurationError: the URL is none.
        MissingExtra: redis is not installed.
    """

    kind: ClassVar[str] = "redis"

    def __init__(
        self,
        url: str,
        *,
        stream: str = "bouncekit",
        maxlen: int | None = 1_000_000,
        secret: str | None = None,
        name: str | None = None,
        types: Iterable[str] = (),
        begin: str | None = None,
    ) -> None:
        super().__init__(name=name, types=types, begin=begin)
        try:
            import redis
        except ImportError:
            raise MissingExtra("redis", "redis", "streams of Redis and Valkey") from None
        scheme, _, rest = str(url).partition("://")
        if scheme not in _SCHEMES or not rest:
            raise ConfigurationError(f"sink {self.name}: write url = 'redis://localhost:6379/0' or 'valkey://...'")
        if maxlen is not None and (not isinstance(maxlen, int) or maxlen < 1):
            raise ConfigurationError(f"sink {self.name}: maxlen={maxlen!r}; a number of entries, or leave it out")
        if not isinstance(stream, str) or not stream:
            raise ConfigurationError(f"sink {self.name}: stream={stream!r}; the name of a key")
        self._url = f"{_SCHEMES[scheme]}://{rest}"
        self._secrets = tuple(filter(None, (secret, rest.rpartition("@")[0].partition(":")[2])))
        self._stream, self._maxlen = stream, maxlen
        options: dict[str, Any] = {"socket_timeout": _SECONDS, "socket_connect_timeout": _SECONDS, "retry": None}
        if secret:
            options["password"] = secret
        self._failures = redis.RedisError
        try:
            redis.ConnectionPool.from_url(self._url, **options)
        except ValueError as error:
            raise ConfigurationError(f"sink {self.name}: {discreet(str(error), self._secrets)}") from None
        self._client: PerProcess[Redis] = PerProcess(lambda: redis.Redis.from_url(self._url, **options))

    def send(self, events: Sequence[Told]) -> None:
        """See `Sink.send`."""
        pipeline = self._client.get().pipeline(transaction=True)
        for event in events:
            fields: Any = {
                "id": event["id"],
                "type": event["type"],
                "subject": event.get("subject") or "",
                "sequence": event["sequence"],
                "event": body(event),
            }
            pipeline.xadd(self._stream, fields, maxlen=self._maxlen, approximate=True)
        try:
            pipeline.execute()
        except (self._failures, OSError) as error:
            self.close()
            raise NotTaken(discreet(error, self._secrets)) from None

    def close(self) -> None:
        """Hang up."""
        client = self._client.drop()
        if client is not None:
            client.close()
