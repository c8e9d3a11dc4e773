"""Events as a counter of Prometheus: `bouncekit_events_total`, by type, category, scope and code."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, ClassVar
from weakref import WeakKeyDictionary

from bouncekit.errors import ConfigurationError, MissingExtra
from bouncekit.events import Event
from bouncekit.sinks.labels import LABELS, labels
from bouncekit.sinks.protocol import NotTaken, PerProcess, Sink, Told

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Counter

__all__ = ["Prometheus"]

_NAME = "bouncekit_events"
_counters: "WeakKeyDictionary[CollectorRegistry, Counter]" = WeakKeyDictionary()  # a registry takes a name once


class Prometheus(Sink):
    """Counts events. As a sink it counts those of all processes, in the one that reads; as a subscriber its own ones:
    `postmaster.on()(Prometheus())`, where each process of an application has metrics of its own.

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
            from prometheus_client import REGISTRY, Counter
        except ImportError:
            raise MissingExtra("prometheus", "prometheus-client", "metrics of Prometheus") from None
        self._registry = REGISTRY if registry is None else registry
        if self._registry not in _counters:
            what = "What happened to mail, as bouncekit's events tell it."
            _counters[self._registry] = Counter(_NAME, what, LABELS, registry=self._registry)
        self._counter = _counters[self._registry]
        self._place = None if listen is None else _place(self.name, listen)
        self._server: PerProcess[tuple[str, int]] = PerProcess(self._serve)

    def __call__(self, event: Event) -> None:
        self._count(event.to_dict())

    def send(self, events: Sequence[Told]) -> None:
        """See `Sink.send`."""
        for event in events:
            self._count(event)

    def _count(self, event: Told) -> None:
        if not event["data"].get("test"):
            self._counter.labels(**labels(event)).inc()

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


def _place(name: str, listen: str) -> tuple[str, int]:
    host, colon, port = str(listen).rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65535:
        raise ConfigurationError(f"sink {name}: listen={listen!a}; write '127.0.0.1:9464'")
    return host.strip("[]"), int(port)
