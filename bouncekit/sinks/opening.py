"""Sinks from what an owner writes: objects, URLs, or tables; ours by their kind, other people's by an entry point."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

from bouncekit.sinks.protocol import Sink
from bouncekit.words.errors import ConfigurationError

__all__ = ["GROUP", "KINDS", "open_sink", "open_sinks"]

GROUP = "bouncekit.sinks"  # of entry points: a kind, and a class or function that makes one

KINDS: Mapping[str, tuple[str, str]] = {
    "jsonlines": ("bouncekit.sinks.jsonlines", "JsonLines"),
    "webhook": ("bouncekit.sinks.webhook", "Webhook"),
    "redis": ("bouncekit.sinks.redis", "RedisStream"),
    "broker": ("bouncekit.sinks.broker", "Broker"),
    "kafka": ("bouncekit.sinks.kafka", "Kafka"),
    "otel": ("bouncekit.sinks.otel", "OpenTelemetry"),
    "prometheus": ("bouncekit.sinks.prometheus", "Prometheus"),
}
_SCHEMES = {
    "https": "webhook",
    "http": "webhook",
    "redis": "redis",
    "rediss": "redis",
    "valkey": "redis",
    "valkeys": "redis",
    "amqp": "broker",
    "amqps": "broker",
    "sqs": "broker",
    "kafka": "kafka",
}


def open_sinks(given: Mapping[str, object] | Sequence[object]) -> tuple[Sink, ...]:
    """The sinks of a mapping of name to sink, URL or table, or of a sequence of sinks and tables.

    >>> open_sinks({"events": {"kind": "jsonlines", "target": "/dev/null", "types": ["failed"]}})
    (JsonLines('/dev/null', name='events', types=['failed']),)

    Raises:
        ConfigurationError: one of them is none, or two have the same name.
        MissingExtra: what one of them needs is not installed.
    """
    if isinstance(given, str | bytes) or not isinstance(given, Mapping | Sequence):
        raise ConfigurationError(
            "sinks: write sinks=[Webhook('https://...', secret=...)], or a mapping of name and table"
        )
    named = given.items() if isinstance(given, Mapping) else [(None, one) for one in given]
    sinks = tuple(open_sink(name, one) for name, one in named)
    names = [sink.name for sink in sinks]
    if double := [name for name in names if names.count(name) > 1]:
        raise ConfigurationError(f"sinks: {double[0]!a} is the name of two; give each a name=...")
    return sinks


def open_sink(name: str | None, given: object) -> Sink:
    """One sink.

    Raises:
        ConfigurationError: it is none; the message shows no value of it.
        MissingExtra: what it needs is not installed.
    """
    if isinstance(given, Sink):
        if name is not None and name != given.name:
            raise ConfigurationError(f"sink {name}: it calls itself {given.name!a}; give it name={name!a}")
        return given
    if isinstance(given, str):
        given = {"url": given}
    if not isinstance(given, Mapping):
        raise ConfigurationError(
            f"{_where(name)}: {type(given).__name__} is no sink; write a table, or make one, such as a Webhook"
        )
    options = dict(given)
    if unset := [key for key in options if str(key).endswith("_env")]:
        raise ConfigurationError(
            f"{_where(name)}: {unset[0]}: no such variable in the environment: {options[unset[0]]!a}"
        )
    name = options.pop("name", None) if name is None else name
    kind = options.pop("kind", None) or _kind_of(name, options.get("url"))
    return _made(name, str(kind), _maker(name, str(kind)), options)


def _where(name: str | None) -> str:
    return "sinks" if name is None else f"sink {name}"


def _kind_of(name: str | None, url: object) -> str:
    scheme = url.partition("://")[0] if isinstance(url, str) and "://" in url else ""
    if scheme not in _SCHEMES:
        known = ", ".join(KINDS)
        raise ConfigurationError(f"{_where(name)}: say of what kind it is: kind = one of {known}")
    return _SCHEMES[scheme]


def _maker(name: str | None, kind: str) -> Callable[..., object]:
    if kind in KINDS:
        module, attribute = KINDS[kind]
        maker: Callable[..., object] = getattr(import_module(module), attribute)
        return maker
    from importlib.metadata import entry_points

    found = {entry.name: entry for entry in entry_points(group=GROUP)}
    if kind not in found:
        known = ", ".join((*KINDS, *sorted(found)))
        raise ConfigurationError(f"{_where(name)}: no kind {kind[:40]!a}; one of {known}")
    try:
        maker = found[kind].load()
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(f"{_where(name)}: kind {kind}: {found[kind].value}: {error}") from error
    return maker


def _made(name: str | None, kind: str, maker: Callable[..., object], options: dict[str, Any]) -> Sink:
    where = f"sink {name or kind}"
    if name is not None:
        options["name"] = name
    try:
        inspect.signature(maker).bind(**options)
    except TypeError as error:
        known = ", ".join(inspect.signature(maker).parameters)
        raise ConfigurationError(f"{where}: {error}; a {kind} has {known}") from None
    sink = maker(**options)
    if not isinstance(sink, Sink):
        raise ConfigurationError(f"{where}: kind {kind} makes a {type(sink).__name__}, and no bouncekit.sinks.Sink")
    return sink
