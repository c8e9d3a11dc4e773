"""Topics of Kafka: librdkafka's own mock cluster speaks the protocol on a loopback port."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from bouncekit.sinks.kafka import Kafka
from bouncekit.sinks.protocol import NotTaken
from bouncekit.words.errors import ConfigurationError

from .conftest import told

confluent_kafka = pytest.importorskip("confluent_kafka", reason="python -m pip install 'bouncekit[kafka]'")


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a broker that lives as long as the producer that started it."""
    producer = confluent_kafka.Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 1, "log_level": 0})
    (broker,) = producer.list_topics(timeout=10).brokers.values()
    yield f"{broker.host}:{broker.port}"
    producer.flush(1)


def consumed(cluster: str, topic: str, count: int) -> list[Any]:
    consumer = confluent_kafka.Consumer(
        {"bootstrap.servers": cluster, "group.id": topic, "auto.offset.reset": "earliest", "log_level": 0}
    )
    consumer.subscribe([topic])
    found: list[Any] = []
    until = time.monotonic() + 30
    while len(found) < count and time.monotonic() < until:
        one = consumer.poll(1.0)
        if one is not None and one.error() is None:
            found.append(one)
    consumer.close()
    return found


def test_a_recipient_s_events_stay_in_order_in_one_partition(cluster: str) -> None:
    sink = Kafka(f"kafka://{cluster}", topic="bounces")
    events = [told(number, recipient=f"r{number % 3}@example.com") for number in range(1, 31)]
    sink.send(events[:20])
    sink.send(events[20:])
    sink.close()
    found = consumed(cluster, "bounces", 30)
    assert {json.loads(one.value())["id"] for one in found} == {event["id"] for event in events}
    for recipient in range(3):
        mine = [one for one in found if one.key() == f"r{recipient}@example.com".encode()]
        assert len({one.partition() for one in mine}) == 1
        ids = [json.loads(one.value())["id"] for one in mine]
        assert ids == sorted(ids)
        assert len(ids) == 10


def test_a_cluster_that_is_not_there_is_said_in_time_and_comes_again() -> None:
    sink = Kafka("kafka://127.0.0.1:1", secret="hunter2", options={"message.timeout.ms": 500})
    with pytest.raises(NotTaken) as raised:
        sink.send([told(1), told(2)])
    assert raised.value.taken == 0
    assert "hunter2" not in str(raised.value) + repr(sink)
    sink.close()


@pytest.mark.parametrize("settings", [{"url": "kafka://"}, {"url": "localhost:9092"}, {"options": {"no.such": 1}}])
def test_what_cannot_be_is_said_at_once(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        Kafka(**{"url": "kafka://127.0.0.1:9092", **settings})
