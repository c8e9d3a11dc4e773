"""Metrics: what is counted, by few labels, none of which can hold an address."""

import gc
import urllib.request
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bouncekit.history.retelling import retold
from bouncekit.postmaster.postmaster import Postmaster
from bouncekit.sinks.labels import LABELS, labels
from bouncekit.sinks.protocol import NotTaken
from bouncekit.testing import ManualClock
from bouncekit.words.errors import ConfigurationError

from .conftest import many, told

PLANTED = [f"canary{number}@example.com" for number in range(100)]


@given(st.dictionaries(st.sampled_from(["category", "scope", "code"]), st.text() | st.integers() | st.none()))
def test_labels_are_from_closed_sets_whatever_an_event_holds(data: dict[str, Any]) -> None:
    found = labels({"type": "failed", "data": data})
    assert tuple(found) == LABELS
    for name, value in found.items():
        assert value in ("", "other") or value.replace("_", "").isascii()
        assert "@" not in value
        assert len(value) < 40, name


def test_the_number_of_time_series_is_bounded() -> None:
    codes = {labels({"type": "failed", "data": {"code": code}})["code"] for code in range(-10, 2000)}
    assert len(codes) < 60


# -- Prometheus


@pytest.fixture
def registry() -> Any:
    client = pytest.importorskip("prometheus_client", reason="python -m pip install 'bouncekit[prometheus]'")
    return client.CollectorRegistry()


def prometheus(**settings: Any) -> Any:
    from bouncekit.sinks.prometheus import Prometheus

    return Prometheus(**settings)


def test_events_are_counted_by_what_they_are(registry: Any) -> None:
    sink = prometheus(registry=registry)
    sink.send(many(3))
    sink.send([told(4, type_="delayed")])
    sink(retold(told(5)))
    failed = {"type": "failed", "category": "", "scope": "", "code": "552"}
    assert registry.get_sample_value("bouncekit_events_total", failed) == 4
    assert registry.get_sample_value("bouncekit_events_total", {**failed, "type": "delayed"}) == 1


def test_two_sinks_share_a_registry(registry: Any) -> None:
    prometheus(registry=registry).send([told()])
    prometheus(registry=registry, name="other").send([told()])
    failed = {"type": "failed", "category": "", "scope": "", "code": "552"}
    assert registry.get_sample_value("bouncekit_events_total", failed) == 2


def test_a_worker_serves_them_itself_and_no_address_is_in_them(registry: Any) -> None:
    sink = prometheus(registry=registry, listen="127.0.0.1:0")
    sink.open()
    sink.open()
    sink.send([told(number, recipient=one, why=one) for number, one in enumerate(PLANTED)])
    host, port = sink.served_at
    with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=10) as answer:
        page = answer.read().decode()
    assert 'bouncekit_events_total{category="",code="552",scope="",type="failed"} 100.0' in page
    assert "@" not in page
    assert "canary" not in page


def test_a_port_that_is_taken_is_tried_again_later(registry: Any) -> None:
    first = prometheus(registry=registry, listen="127.0.0.1:0")
    first.open()
    second = prometheus(registry=registry, listen=f"127.0.0.1:{first.served_at[1]}")
    with pytest.raises(NotTaken):
        second.open()


@pytest.mark.parametrize("listen", ["9464", "localhost", ":9464", "localhost:http", "localhost:99999"])
def test_a_place_that_is_none_is_said_at_once(registry: Any, listen: str) -> None:
    with pytest.raises(ConfigurationError, match="listen="):
        prometheus(registry=registry, listen=listen)


def test_a_new_counter_does_not_count_what_was_before_it(registry: Any, clock: ManualClock) -> None:
    def counted() -> float:
        samples = [one for family in registry.collect() for one in family.samples]
        return sum(one.value for one in samples if one.name == "bouncekit_events_total")

    with Postmaster(sinks=[prometheus(registry=registry)], worker="external", clock=clock) as postmaster:
        postmaster.suppressions.add("ada@example.com", by="jo")
        postmaster.forwarding.run()
        assert counted() == 0
        postmaster.suppressions.add("bob@example.com", by="jo")
        clock.move(timedelta(minutes=2))
        postmaster.forwarding.run()
        assert counted() == 1


def test_the_newest_event_of_a_type_is_known_by_its_time_whatever_comes_behind_it(registry: Any) -> None:
    sink = prometheus(registry=registry)
    first = told()
    sink.send([{**first, "time": "2026-01-02T00:00:00Z"}, {**first, "time": "2026-01-01T00:00:00Z"}])
    at = registry.get_sample_value("bouncekit_event_newest_timestamp_seconds", {"type": "failed"})
    assert at == datetime(2026, 1, 2, tzinfo=UTC).timestamp()


def test_test_traffic_is_not_counted(registry: Any) -> None:
    prometheus(registry=registry).send([told(test=True)])
    assert [one for family in registry.collect() for one in family.samples] == []


def test_a_sink_serves_the_gauges_of_its_postmaster(registry: Any) -> None:
    sink = prometheus(registry=registry, listen="127.0.0.1:0")
    with Postmaster(sinks=[sink], worker="external") as postmaster:
        host, port = sink.served_at
        with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=10) as answer:
            page = answer.read().decode()
        assert postmaster.gauges()
    assert "# TYPE bouncekit_queue_recipients gauge" in page
    assert 'bouncekit_queue_recipients{state="due"} 0.0' in page
    assert 'bouncekit_reader_state{kind="sink",reader="prometheus",state="new"} 1.0' in page


def test_a_subscriber_shows_the_gauges_that_it_is_given_and_none_once_their_postmaster_is_gone(registry: Any) -> None:
    sink = prometheus(registry=registry)
    postmaster = Postmaster()
    sink.watch(postmaster.gauges)
    assert registry.get_sample_value("bouncekit_store_up") == 1
    postmaster.close()
    del postmaster
    gc.collect()
    assert registry.get_sample_value("bouncekit_store_up") is None


def test_a_registry_asks_no_store_before_it_is_scraped() -> None:
    client = pytest.importorskip("prometheus_client", reason="python -m pip install 'bouncekit[prometheus]'")
    registry, asked = client.CollectorRegistry(auto_describe=True), []

    def read() -> dict[str, Any]:
        asked.append(1)
        return {"bouncekit_store_up": {(): 1.0}}

    prometheus(registry=registry).watch(read)
    assert asked == []
    assert registry.get_sample_value("bouncekit_store_up") == 1


# -- OpenTelemetry


def test_events_are_counted_with_attributes() -> None:
    pytest.importorskip("opentelemetry", reason="python -m pip install 'bouncekit[otel]'")
    sdk = pytest.importorskip("opentelemetry.sdk.metrics", reason="python -m pip install opentelemetry-sdk")
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    from bouncekit.sinks.otel import OpenTelemetry

    reader = InMemoryMetricReader()
    sink = OpenTelemetry(meter_provider=sdk.MeterProvider(metric_readers=[reader]))
    sink.send([told(number, recipient=one) for number, one in enumerate(PLANTED)])
    (resource,) = reader.get_metrics_data().resource_metrics
    (metric,) = resource.scope_metrics[0].metrics
    (point,) = metric.data.data_points
    assert (metric.name, point.value) == ("bouncekit.events", 100)
    assert dict(point.attributes) == {"bouncekit.type": "failed", "bouncekit.code": "552"}


def test_gauges_are_observed_with_attributes() -> None:
    pytest.importorskip("opentelemetry", reason="python -m pip install 'bouncekit[otel]'")
    sdk = pytest.importorskip("opentelemetry.sdk.metrics", reason="python -m pip install opentelemetry-sdk")
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    from bouncekit.sinks.otel import OpenTelemetry

    reader = InMemoryMetricReader()
    sink = OpenTelemetry(meter_provider=sdk.MeterProvider(metric_readers=[reader]))
    with Postmaster(sinks=[sink], worker="external"):
        (resource,) = reader.get_metrics_data().resource_metrics
    found = {one.name: (one.unit, one.data.data_points) for one in resource.scope_metrics[0].metrics}
    unit, (age,) = found["bouncekit.queue_oldest_due_age"]
    assert (unit, age.value) == ("s", 0)
    due = {point.attributes["bouncekit.state"]: point.value for point in found["bouncekit.queue_recipients"][1]}
    assert due == dict.fromkeys(("due", "waiting", "held", "leased", "abandoned"), 0)


def test_a_subscriber_adds_events_to_the_span_in_which_a_mail_is_sent() -> None:
    pytest.importorskip("opentelemetry", reason="python -m pip install 'bouncekit[otel]'")
    tracing = pytest.importorskip("opentelemetry.sdk.trace", reason="python -m pip install opentelemetry-sdk")
    from bouncekit.sinks.otel import OpenTelemetry

    sink, tracer = OpenTelemetry(), tracing.TracerProvider().get_tracer("shop")
    with Postmaster() as postmaster, tracer.start_as_current_span("order") as span:
        postmaster.on()(sink)
        postmaster.suppressions.add(PLANTED[0], by="jo")
    (added,) = span.events
    assert added.name == "bouncekit.suppression_added"
    assert "bouncekit.event_id" in added.attributes
    assert "canary" not in str(dict(added.attributes))


def test_without_an_sdk_nothing_happens() -> None:
    pytest.importorskip("opentelemetry", reason="python -m pip install 'bouncekit[otel]'")
    from bouncekit.sinks.otel import OpenTelemetry

    sink = OpenTelemetry()
    sink.send(many(3))
    sink(retold(told()))
