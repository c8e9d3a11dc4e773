"""Metrics of Prometheus: events as a counter, `bouncekit_events_total`, and how everything stands as gauges."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar
from weakref import WeakKeyDictionary, ref

from bouncekit.delivery.events import Event, Told
from bouncekit.sinks.gauge import GAUGES, Read
from bouncekit.sinks.labels import LABELS, labels
from bouncekit.sinks.protocol import NotTaken, PerProcess, Sink
from bouncekit.words.errors import ConfigurationError, MissingExtra

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import GaugeMetricFamily

__all__ = ["Prometheus"]

_shown: "WeakKeyDictionary[CollectorRegistry, _Shown]" = WeakKeyDictionary()  # a registry takes a name once


class Prometheus(Sink):
    """Counts events. As a sink it counts those of all processes, in the one that reads; as a subscriber its own ones:
    `postmaster.on()(Prometheus())`, where each process of an application has metrics of its own.

    As a sink it shows the gauges too, which are read from the store; a subscriber does after
    `watch(postmaster.gauges)`. A registry shows those of one postmaster, the last one.

    Args:
        listen: `127.0.0.1:9464`, where this process serves its metrics itself, for one that has no web server.
        registry: prometheus-client's; None: its usual one.

    Raises:
        ConfigurationError: nobody can listen there by what it says.
        MissingExtra: prometheus-client is not installed.
    """

    kind: ClassVar[str] = "prometheus"
    is_metric: ClassVar[bool] = True

    def __init__(
        self,
        *,
        listen: str | None = None,
        registry: "CollectorRegistry | None" = None,
        name: str | None = None,
        types: Iterable[str] = (),
        begin: str | None = None,
    ) -> None:
        super().__init__(name=name, types=types, begin=begin)
        try:
            from prometheus_client import REGISTRY
        except ImportError:
            raise MissingExtra("prometheus", "prometheus-client", "metrics of Prometheus") from None
        self._registry = REGISTRY if registry is None else registry
        if self._registry not in _shown:
            _shown[self._registry] = _Shown(self._registry)
        self._metrics = _shown[self._registry]
        self._place = None if listen is None else _place(self.name, listen)
        self._server: PerProcess[tuple[str, int]] = PerProcess(self._serve)

    def __call__(self, event: Event) -> None:
        self._metrics.count(event.to_dict())

    def watch(self, read: Read) -> None:
        """See `Sink.watch`."""
        self._metrics.watch(read)

    def send(self, events: Sequence[Told]) -> None:
        """See `Sink.send`."""
        for event in events:
            self._metrics.count(event)

    def open(self) -> None:
        """Serve the metrics, where that was asked for.

        Raises:
            NotTaken: the port is taken.
        """
        if self._place is not None:
            self._server.get()

    @property
    def served_at(self) -> tuple[str, int] | None:
        """Host and port where this process serves its metrics."""
        return None if self._place is None else self._server.get()

    def _serve(self) -> tuple[str, int]:
        from prometheus_client import start_http_server

        assert self._place is not None
        host, port = self._place
        try:
            server, _ = start_http_server(port, addr=host, registry=self._registry)
        except OSError as error:
            raise NotTaken(f"{host}:{port}: {error.strerror or error}") from None
        return host, server.server_port


class _Shown:
    """What one registry shows of us."""

    def __init__(self, registry: "CollectorRegistry") -> None:
        from prometheus_client import Counter, Gauge

        what = "What happened to mail, as bouncekit's events tell it."
        self._counter = Counter("bouncekit_events", what, LABELS, registry=registry)
        what = "When the newest event of a type happened, of those that were counted."
        self._newest = Gauge("bouncekit_event_newest_timestamp_seconds", what, ["type"], registry=registry)
        self._newest_at: dict[str, float] = {}
        self._gauges = _Gauges()
        registry.register(self._gauges)

    def count(self, event: Told) -> None:
        """Count an event that is no test."""
        if event["data"].get("test"):
            return
        by = labels(event)
        self._counter.labels(**by).inc()
        at = datetime.fromisoformat(event["time"]).timestamp()
        self._newest_at[by["type"]] = max(at, self._newest_at.get(by["type"], at))
        self._newest.labels(by["type"]).set(self._newest_at[by["type"]])

    def watch(self, read: Read) -> None:
        """Show what this reads."""
        self._gauges.read = ref(read)


class _Gauges:
    """A collector, as prometheus-client calls it; it shows nothing once the postmaster is gone."""

    def __init__(self) -> None:
        self.read: ref[Read] | None = None

    def describe(self) -> "Iterator[GaugeMetricFamily]":
        """The names, so that nothing is read where somebody only registers it."""
        from prometheus_client.core import GaugeMetricFamily

        return (GaugeMetricFamily(name, kind.what, labels=kind.labels) for name, kind in GAUGES.items())

    def collect(self) -> "Iterator[GaugeMetricFamily]":
        """The gauges as they stand."""
        read = None if self.read is None else self.read()
        if read is None:
            return
        readings = read()
        for family in self.describe():
            if family.name in readings:
                for values, number in readings[family.name].items():
                    family.add_metric(values, number)
                yield family


def _place(name: str, listen: str) -> tuple[str, int]:
    host, colon, port = str(listen).rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65535:
        raise ConfigurationError(f"sink {name}: listen={listen!a}; write '127.0.0.1:9464'")
    return host.strip("[]"), int(port)
