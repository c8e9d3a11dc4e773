"""Events as messages of a broker, through kombu: AMQP (RabbitMQ, Qpid), Amazon SQS, lists of Redis, and others."""

import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from bouncekit.delivery.events import Told
from bouncekit.sinks.payload import body
from bouncekit.sinks.protocol import NotTaken, PerProcess, Sink, discreet
from bouncekit.words.errors import ConfigurationError, MissingExtra

if TYPE_CHECKING:
    from kombu import Connection

__all__ = ["Broker"]

_BUSY_SECONDS = 20.0
_CONTENT_TYPE = "application/cloudevents+json"
_AMQP, _REDIS = ("read_timeout", "write_timeout"), ("socket_timeout", "socket_connect_timeout")
_TIMEOUTS = {"amqp": _AMQP, "amqps": _AMQP, "pyamqp": _AMQP, "redis": _REDIS, "rediss": _REDIS}


class Broker(Sink):
    """Publishes each event as a persistent message, and waits for the broker's word that it has it.

    The routing key is the event's type; the message-id the event's id; the body the event as JSON.

    Args:
        url: `amqp://user@host/vhost`, `amqps://`, `sqs://`, or another one of kombu's.
        exchange: a topic exchange, made if it is not there. What no queue is bound for, a broker throws away.
        queue: a durable queue that gets all events of this exchange, made if it is not there; None: none is made.
        secret: the password, if it shall not stand in the URL.
        seconds: for each try to connect, of which there are two, and for the broker's word that it has a message.
        options: kombu's `transport_options`.

    Raises:
        ConfigurationError: the URL is none of kombu's.
        MissingExtra: kombu, or what it needs for this broker, is not installed.
    """

    kind: ClassVar[str] = "broker"

    def __init__(
        self,
        url: str,
        *,
        exchange: str = "bouncekit",
        queue: str | None = "bouncekit",
        secret: str | None = None,
        seconds: float = 10.0,
        options: dict[str, Any] | None = None,
        name: str | None = None,
        types: Iterable[str] = (),
        begin: str | None = None,
    ) -> None:
        super().__init__(name=name, types=types, begin=begin)
        try:
            import kombu
        except ImportError:
            raise MissingExtra("events", "kombu", "messages of a broker") from None
        scheme, colon, rest = str(url).partition("://")
        if not colon:
            raise ConfigurationError(f"sink {self.name}: write url = 'amqp://guest@localhost//', or another of kombu's")
        self._secrets = tuple(filter(None, (secret, rest.rpartition("@")[0].partition(":")[2])))
        self._producer = kombu.Producer
        self._exchange = kombu.Exchange(exchange, "topic", durable=True)
        queues = () if queue is None else (kombu.Queue(queue, self._exchange, routing_key="#", durable=True),)
        self._declared = [self._exchange, *queues]
        if not 0 < seconds <= 15:
            raise ConfigurationError(f"sink {self.name}: seconds={seconds!r}; a try has more than 0 and at most 15")
        self._seconds = seconds
        transport = {**dict.fromkeys(_TIMEOUTS.get(scheme, ()), seconds), "confirm_publish": True, **(options or {})}

        def dial() -> "Connection":
            given = {"password": secret} if secret else {}
            return kombu.Connection(url, connect_timeout=seconds, transport_options=transport, **given)

        try:
            self._failures = (OSError, kombu.exceptions.KombuError, *dial().connection_errors, *dial().channel_errors)
        except (KeyError, ValueError) as error:
            raise ConfigurationError(f"sink {self.name}: kombu: {discreet(error, self._secrets)}") from None
        except ImportError as error:
            raise MissingExtra("events", error.name or f"kombu[{scheme}]", f"{scheme}:// brokers") from None
        self._connection: PerProcess[Connection] = PerProcess(dial)

    def send(self, events: Sequence[Told]) -> int:
        """See `Sink.send`."""
        taken, began = 0, time.monotonic()
        try:
            connection = self._connection.get()
            connection.ensure_connection(max_retries=1, interval_start=0)  # publishing alone would try for ever
            channel = connection.channel()
            producer = self._producer(channel, exchange=self._exchange, auto_declare=False)
            for event in events:
                if taken and time.monotonic() - began > _BUSY_SECONDS:
                    break
                producer.publish(
                    body(event),
                    routing_key=event["type"],
                    content_type=_CONTENT_TYPE,
                    content_encoding="utf-8",
                    delivery_mode="persistent",
                    message_id=event["id"],
                    declare=self._declared if not taken else (),
                    confirm_timeout=self._seconds,
                )
                taken += 1
            channel.close()
        except self._failures as error:
            self.close()
            raise NotTaken(discreet(error, self._secrets), taken=taken) from None
        return taken

    def close(self) -> None:
        """Hang up."""
        connection = self._connection.drop()
        if connection is not None:
            connection.release()
