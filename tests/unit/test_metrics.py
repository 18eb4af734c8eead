"""The declared metrics: names by the Prometheus conventions, known series, and the counters of the hot path."""

import re

import pytest
from prometheus_client import CollectorRegistry

from relay.metrics import Declaration, Latency, Metrics
from relay.model.errors import CLOSE_REASONS, ERRORS

METRICS = Metrics()
NAMES = [one.name for one in METRICS.declarations]


@pytest.mark.parametrize("declared", METRICS.declarations, ids=lambda one: one.name)
def test_a_metric_is_named_by_the_conventions_and_explained(declared: Declaration) -> None:
    assert re.fullmatch(r"relay(_[a-z]+)+", declared.name)
    assert (declared.kind == "counter") == declared.name.endswith("_total")
    if declared.kind == "histogram":
        assert declared.name.endswith("_seconds")
    for text in (declared.help, declared.advice):
        assert re.fullmatch(r"\S.*\.", text)


def test_every_collected_metric_is_declared_with_its_type_and_labels() -> None:
    found = {}
    for family in METRICS.registry.collect():
        if family.name.startswith("relay_"):
            name = f"{family.name}_total" if family.type == "counter" else family.name
            labels = {label for sample in family.samples for label in sample.labels} - {"le"}
            found[name] = (family.type, family.documentation, tuple(sorted(labels)))
    assert found == {one.name: (one.kind, one.help, one.labels) for one in METRICS.declarations}
    assert len(set(NAMES)) == len(NAMES)


def test_series_with_known_labels_begin_at_zero() -> None:
    value = Metrics().registry.get_sample_value
    assert all(value("relay_errors_total", {"code": code}) == 0 for code in ERRORS)
    assert all(value("relay_closed_connections_total", {"reason": one.name}) == 0 for one in CLOSE_REASONS)
    assert value("relay_message_losses_total", {"reason": "trimmed"}) == 0
    assert value("relay_resumes_total", {"outcome": "recovered"}) == 0


def test_traffic_is_counted_in_plain_numbers() -> None:
    metrics = Metrics()
    metrics.traffic.messages_in += 1
    metrics.traffic.bytes_in += 20
    metrics.traffic.messages_out += 3
    metrics.traffic.bytes_out += 40
    names = ("received_messages", "received_bytes", "sent_messages", "sent_bytes")
    assert [metrics.registry.get_sample_value(f"relay_{name}_total") for name in names] == [1, 20, 3, 40]


def test_a_latency_has_cumulative_buckets() -> None:
    registry = CollectorRegistry()
    latency = Latency("x_seconds", "Text.", (0.1, 1), registry)
    for seconds in (0.05, 0.1, 0.5, 2):
        latency.observe(seconds)
    value = registry.get_sample_value
    assert [value("x_seconds_bucket", {"le": bound}) for bound in ("0.1", "1.0", "+Inf")] == [2, 3, 4]
    assert value("x_seconds_count") == 4
    assert value("x_seconds_sum") == pytest.approx(2.65)
