"""Metrics of OpenTelemetry: events as a counter, and in the span in which a mail was sent; gauges of how all stands."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar
from weakref import ref

from bouncekit._version import __version__
from bouncekit.delivery.events import Event, Told
from bouncekit.sinks.gauge import GAUGES, Read
from bouncekit.sinks.labels import labels
from bouncekit.sinks.protocol import Sink
from bouncekit.words.errors import MissingExtra

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider, Observation

__all__ = ["OpenTelemetry"]


class OpenTelemetry(Sink):
    """Counts events in `bouncekit.events`, with the attributes `bouncekit.type`, `.category`, `.scope` and `.code`.

    As a subscriber, `postmaster.on()(OpenTelemetry())`, it also adds each as an event to the span that is current where
    the mail is sent; as a sink it counts those of all processes, and no span is there. What becomes of them is the
    business of the SDK that the application has set up; without one nothing happens.

    Raises:
        MissingExtra: opentelemetry-api is not installed.
    """

    kind: ClassVar[str] = "otel"
    is_metric: ClassVar[bool] = True

    def __init__(
        self,
        *,
        meter_provider: "MeterProvider | None" = None,
        name: str | None = None,
        types: Iterable[str] = (),
        begin: str | None = None,
    ) -> None:
        super().__init__(name=name, types=types, begin=begin)
        try:
            from opentelemetry import metrics, trace
        except ImportError:
            raise MissingExtra("otel", "opentelemetry-api", "metrics of OpenTelemetry") from None
        self._meter = meter = metrics.get_meter("bouncekit", __version__, meter_provider=meter_provider)
        what = "What happened to mail, as bouncekit's events tell it."
        self._counter = meter.create_counter("bouncekit.events", unit="{event}", description=what)
        self._current_span = trace.get_current_span

    def __call__(self, event: Event) -> None:
        attributes = self._count(event.to_dict())
        span = self._current_span()
        if span.is_recording():
            span.add_event(f"bouncekit.{event.type}", {**attributes, "bouncekit.event_id": event.id})

    def watch(self, read: Read) -> None:
        """See `Sink.watch`: each gauge of Prometheus under its name with a dot and without its unit."""
        for name, kind in GAUGES.items():
            own = name.replace("_", ".", 1).removesuffix("_seconds").removesuffix("_ratio")
            callbacks = [_observed(ref(read), name, kind.labels)]
            self._meter.create_observable_gauge(own, callbacks, unit=kind.unit, description=kind.what)

    def send(self, events: Sequence[Told]) -> None:
        """See `Sink.send`."""
        for event in events:
            self._count(event)

    def _count(self, event: Told) -> dict[str, str]:
        attributes = {f"bouncekit.{name}": value for name, value in labels(event).items() if value}
        if not event["data"].get("test"):
            self._counter.add(1, attributes)
        return attributes


def _observed(read: "ref[Read]", name: str, labels: Sequence[str]) -> "Callable[[Any], Iterator[Observation]]":
    from opentelemetry.metrics import Observation

    names = [f"bouncekit.{label}" for label in labels]

    def observe(_: object) -> "Iterator[Observation]":
        readings = live().get(name, {}) if (live := read()) is not None else {}
        for values, number in readings.items():
            yield Observation(number, dict(zip(names, values, strict=True)))

    return observe
