"""Messages of a broker through kombu: its own in memory, and the Redis transport with a real Valkey."""

import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from bouncekit.sinks.broker import Broker
from bouncekit.sinks.protocol import NotTaken
from bouncekit.words.errors import ConfigurationError, MissingExtra

from .conftest import many, told

kombu = pytest.importorskip("kombu", reason="python -m pip install 'bouncekit[events]'")


def received(url: str, queue: str, count: int) -> list[Any]:
    """So many messages of a queue."""
    with kombu.Connection(url) as connection:
        simple = connection.SimpleQueue(queue)
        found = []
        for _ in range(count):
            one = simple.get(timeout=10)
            one.ack()
            found.append(one)
        simple.close()
        return found


@pytest.fixture
def redis_url(valkey: str) -> Iterator[str]:
    redis = pytest.importorskip("redis", reason="python -m pip install 'bouncekit[redis]'")
    with redis.Redis.from_url(valkey) as client:
        client.flushall()
        yield valkey
        client.flushall()


def test_a_consumer_gets_each_event_in_order(redis_url: str) -> None:
    sink = Broker(redis_url, queue="crm")
    assert sink.send(many(3)) == 3
    assert sink.send([told(4)]) == 1
    sink.close()
    found = received(redis_url, "crm", 4)
    assert [one.properties["message_id"] for one in found] == [event["id"] for event in many(4)]
    assert [json.loads(one.body)["id"] for one in found] == [event["id"] for event in many(4)]
    assert {one.content_type for one in found} == {"application/cloudevents+json"}
    assert {one.delivery_info["routing_key"] for one in found} == {"failed"}


def test_an_exchange_without_a_queue_of_ours_serves_whoever_is_bound(redis_url: str) -> None:
    sink = Broker(redis_url, exchange="mail", queue=None)
    with kombu.Connection(redis_url) as connection:
        exchange = kombu.Exchange("mail", "topic", durable=True)
        for key in ("failed", "suppression_*"):
            kombu.Queue(key, exchange, routing_key=key, channel=connection.channel()).declare()
    sink.send([told()])
    sink.close()
    assert json.loads(received(redis_url, "failed", 1)[0].body)["id"] == told()["id"]


def test_a_broker_that_is_not_there_is_said_soon_and_without_its_password() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    for url in (f"redis://:hunter2@127.0.0.1:{port}/0", f"amqp://jo:hunter2@127.0.0.1:{port}//"):
        sink = Broker(url, secret="s3cret")
        began = time.monotonic()
        with pytest.raises(NotTaken) as raised:
            sink.send([told()])
        assert time.monotonic() - began < 20
        for text in (str(raised.value), repr(sink)):
            assert "hunter2" not in text
            assert "s3cret" not in text


def test_a_broker_that_says_nothing_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        sink = Broker(f"amqp://127.0.0.1:{port}//", seconds=0.5)
        began = time.monotonic()
        with pytest.raises(NotTaken):
            sink.send([told()])
        assert time.monotonic() - began < 25


def test_what_cannot_be_is_said_at_once() -> None:
    with pytest.raises(ConfigurationError):
        Broker("localhost")
    with pytest.raises((ConfigurationError, MissingExtra)):
        Broker("pigeon://localhost")
