"""Where events go besides the application's own subscribers.

`log` writes them for people. All others are a `Sink`: they get every event that the store holds, in batches, in order,
each at least once, also what was told while they were away. Each is loaded when it is used, with the library it needs.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from bouncekit.sinks.opening import KINDS, open_sinks
from bouncekit.sinks.protocol import NotTaken, Sink

if TYPE_CHECKING:
    from bouncekit.sinks.broker import Broker
    from bouncekit.sinks.jsonlines import JsonLines
    from bouncekit.sinks.kafka import Kafka
    from bouncekit.sinks.otel import OpenTelemetry
    from bouncekit.sinks.prometheus import Prometheus
    from bouncekit.sinks.redis import RedisStream
    from bouncekit.sinks.webhook import Webhook

__all__ = [
    "Broker",
    "JsonLines",
    "Kafka",
    "NotTaken",
    "OpenTelemetry",
    "Prometheus",
    "RedisStream",
    "Sink",
    "Webhook",
    "open_sinks",
]

_HOME_OF = {name: module for module, name in KINDS.values()}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'bouncekit.sinks' has no attribute {name!r}")
    return getattr(import_module(_HOME_OF[name]), name)
