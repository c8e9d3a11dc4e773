"""Events into a topic of Kafka, through librdkafka: idempotent, acknowledged by all replicas in sync."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from bouncekit.delivery.events import Told
from bouncekit.sinks.payload import body
from bouncekit.sinks.protocol import NotTaken, PerProcess, Sink, discreet, order_key
from bouncekit.words.errors import ConfigurationError, MissingExtra

if TYPE_CHECKING:
    from confluent_kafka import KafkaError, Message, Producer

__all__ = ["Kafka"]

_SECONDS = 20.0  # for a batch, within the lease of the sink
_SCHEME = "kafka://"


class Kafka(Sink):
    """Produces each event with its recipient as the key, so a partition has a recipient's events in their order.

    Args:
        url: `kafka://host:9092`, several hosts separated by commas.
        topic: which exists, or the broker makes it.
        secret: librdkafka's `sasl.password`.
        options: more of librdkafka's settings, such as `security.protocol` or `sasl.username`.

    Raises:
        ConfigurationError: librdkafka does not take the settings.
        MissingExtra: confluent-kafka is not installed.
    """

    kind: ClassVar[str] = "kafka"

    def __init__(
        self,
        url: str,
        *,
        topic: str = "bouncekit",
        secret: str | None = None,
        options: Mapping[str, object] | None = None,
        name: str | None = None,
        types: Iterable[str] = (),
        begin: str | None = None,
    ) -> None:
        super().__init__(name=name, types=types, begin=begin)
        try:
            import confluent_kafka
        except ImportError:
            raise MissingExtra("kafka", "confluent-kafka", "topics of Kafka") from None
        if not isinstance(url, str) or not url.startswith(_SCHEME) or len(url) == len(_SCHEME):
            raise ConfigurationError(f"sink {self.name}: write url = 'kafka://broker:9092'")
        self._topic = topic
        self._secrets = tuple(filter(None, (secret, str((options or {}).get("sasl.password", "")))))
        self._failure = confluent_kafka.KafkaException
        self._settings: dict[str, object] = {
            "bootstrap.servers": url.removeprefix(_SCHEME).rstrip("/"),
            "client.id": "bouncekit",
            "enable.idempotence": True,
            "acks": "all",
            "message.timeout.ms": int(_SECONDS * 1000),
            "linger.ms": 5,
            "partitioner": "murmur2_random",  # as Java's clients put a key
            "log_level": 0,
            **(options or {}),
            **({"sasl.password": secret} if secret else {}),
        }

        def make() -> "Producer":
            # Without a callback of ours, librdkafka writes what it thinks to stderr.
            return confluent_kafka.Producer(dict(self._settings, error_cb=_hear_nothing))

        try:
            make()
        except (confluent_kafka.KafkaException, TypeError, ValueError) as error:
            raise ConfigurationError(f"sink {self.name}: kafka: {discreet(error, self._secrets)}") from None
        self._producer: PerProcess[Producer] = PerProcess(make)

    def send(self, events: Sequence[Told]) -> None:
        """See `Sink.send`."""
        producer = self._producer.get()
        errors: dict[int, KafkaError | None] = {}

        def produced(place: int, error: "KafkaError | None", message: "Message") -> None:
            errors[place] = error

        try:
            for place, event in enumerate(events):
                producer.produce(
                    self._topic,
                    value=body(event),
                    key=order_key(event).encode("utf-8", "replace"),
                    headers={"content-type": b"application/cloudevents+json", "ce_id": event["id"].encode()},
                    on_delivery=partial(produced, place),
                )
            producer.flush(_SECONDS + 2)
        except (self._failure, BufferError) as error:
            why = discreet(error, self._secrets)
        else:
            why = next((discreet(error.str()) for error in errors.values() if error is not None), "no answer in time")
        taken = next((place for place in range(len(events)) if errors.get(place, why) is not None), len(events))
        if taken < len(events):
            self.close()
            raise NotTaken(f"kafka: {why}", taken=taken)

    def close(self) -> None:
        """Give up what is under way: it comes again, in its order, through another producer."""
        producer = self._producer.drop()
        if producer is not None:
            producer.purge()
            producer.flush(1.0)


def _hear_nothing(error: "KafkaError") -> None:
    """What matters is told of each message."""
