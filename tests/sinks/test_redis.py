"""Streams of a real Valkey: whole batches, in order, and what is said when it is not there."""

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from bouncekit.sinks.protocol import NotTaken
from bouncekit.sinks.redis import RedisStream
from bouncekit.words.errors import ConfigurationError

from .conftest import many, told

redis = pytest.importorskip("redis", reason="python -m pip install 'bouncekit[redis]'")


@pytest.fixture
def client(valkey: str) -> Iterator[Any]:
    with redis.Redis.from_url(valkey, decode_responses=True) as client:
        client.flushall()
        yield client
        client.flushall()


def test_a_consumer_group_reads_each_event_in_order(valkey: str, client: Any) -> None:
    sink = RedisStream(valkey, stream="bounces")
    sink.send(many(3))
    sink.send([{**told(4), "subject": None}])
    sink.close()
    client.xgroup_create("bounces", "crm", id="0")
    ((_, entries),) = client.xreadgroup("crm", "one", {"bounces": ">"})
    fields = [entry for _, entry in entries]
    assert [json.loads(one["event"])["id"] for one in fields] == [one["id"] for one in fields]
    assert [one["id"] for one in fields] == [event["id"] for event in many(4)]
    assert [one["subject"] for one in fields] == ["ada@example.com"] * 3 + [""]
    assert {one["type"] for one in fields} == {"failed"}
    assert [int(one["sequence"]) for one in fields] == [1, 2, 3, 4]


def test_the_stream_keeps_about_as_many_as_it_may(valkey: str, client: Any) -> None:
    sink = RedisStream(valkey, stream="bounces", maxlen=100)
    for _ in range(5):
        sink.send(many(200))
    sink.close()
    assert 100 <= client.xlen("bounces") <= 400


def test_a_batch_is_added_whole_or_not_at_all(valkey: str, client: Any) -> None:
    client.set("bounces", "no stream")
    sink = RedisStream(valkey, stream="bounces")
    with pytest.raises(NotTaken, match="WRONGTYPE") as raised:
        sink.send(many(3))
    assert raised.value.taken == 0
    client.delete("bounces")
    sink.send(many(3))
    sink.close()
    assert client.xlen("bounces") == 3


def test_a_server_that_hung_up_is_dialled_again(valkey: str, client: Any) -> None:
    sink = RedisStream(valkey)
    sink.send([told(1)])
    client.client_kill_filter(_type="normal", skipme=True)
    try:
        sink.send([told(2)])
    except NotTaken:
        sink.send([told(2)])
    sink.close()
    assert client.xlen("bouncekit") == 2


def test_a_server_that_is_not_there_is_said_without_its_password() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    sink = RedisStream(f"valkey://jo:hunter2@127.0.0.1:{port}/0", secret="s3cret")
    with pytest.raises(NotTaken) as raised:
        sink.send([told()])
    for text in (str(raised.value), repr(sink)):
        assert "hunter2" not in text
        assert "s3cret" not in text


def test_a_wrong_password_is_said_without_it(valkey: str, client: Any) -> None:
    sink = RedisStream(valkey.replace("//", "//nobody@"), secret="hunter2")
    with pytest.raises(NotTaken) as raised:
        sink.send([told()])
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(
    "settings",
    [
        {"url": "localhost"},
        {"url": "http://localhost"},
        {"url": "redis://localhost", "maxlen": 0},
        {"url": "redis://localhost", "maxlen": "many"},
        {"url": "redis://localhost", "stream": ""},
    ],
)
def test_what_cannot_be_is_said_at_once(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        RedisStream(**settings)
