"""The declared metrics: names by the Prometheus conventions, known series, and the counters of the hot path."""

import re

import pytest
from prometheus_client import CollectorRegistry

from relay.metrics import API, Declaration, Latency, Metrics
from relay.model.errors import CLOSE_REASONS, ERRORS

METRICS = Metrics({"native": ERRORS})
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
    assert found == {one.name: (one.kind, one.help, tuple(sorted(one.labels))) for one in METRICS.declarations}
    assert len(set(NAMES)) == len(NAMES)


def test_series_with_known_labels_begin_at_zero() -> None:
    value = Metrics({"native": ["bad_json", "bad_own"]}).registry.get_sample_value
    assert all(value("relay_errors_total", {"protocol": API, "code": code}) == 0 for code in ERRORS)
    assert value("relay_errors_total", {"protocol": "native", "code": "bad_own"}) == 0
    for name in ("relay_connections", "relay_sessions", "relay_handshakes_total", "relay_sent_bytes_total"):
        assert value(name, {"protocol": "native"}) == 0
        assert value(name, {"protocol": API}) is None
    assert all(value("relay_closed_connections_total", {"reason": one.name}) == 0 for one in CLOSE_REASONS)
    assert value("relay_message_losses_total", {"reason": "trimmed"}) == 0
    assert value("relay_resumes_total", {"outcome": "recovered"}) == 0


def test_traffic_is_counted_in_plain_numbers() -> None:
    metrics = Metrics()
    native = metrics.of("native")
    assert metrics.of("native") is native
    native.messages_in += 1
    native.bytes_in += 20
    native.messages_out += 3
    native.bytes_out += 40
    metrics.of("other").messages_in += 7
    names = ("received_messages", "received_bytes", "sent_messages", "sent_bytes")
    value = metrics.registry.get_sample_value
    assert [value(f"relay_{name}_total", {"protocol": "native"}) for name in names] == [1, 20, 3, 40]
    assert [value(f"relay_{name}_total", {"protocol": "other"}) for name in names] == [7, 0, 0, 0]


def test_refusals_are_counted_by_protocol() -> None:
    metrics = Metrics()
    metrics.of("native").refused("bad_json")
    metrics.of("other").refused("bad_json")
    metrics.of("other").refused("bad_json")
    value = metrics.registry.get_sample_value
    counted = [value("relay_errors_total", {"protocol": name, "code": "bad_json"}) for name in ("native", "other")]
    assert counted == [1, 2]


def test_a_latency_has_cumulative_buckets() -> None:
    registry = CollectorRegistry()
    latency = Latency("x_seconds", "Text.", (0.1, 1), registry)
    for seconds in (0.05, 0.1, 0.5, 2):
        latency.observe(seconds)
    value = registry.get_sample_value
    assert [value("x_seconds_bucket", {"le": bound}) for bound in ("0.1", "1.0", "+Inf")] == [2, 3, 4]
    assert value("x_seconds_count") == 4
    assert value("x_seconds_sum") == pytest.approx(2.65)
