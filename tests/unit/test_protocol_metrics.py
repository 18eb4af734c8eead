"""The counts of one protocol's clients."""

from prometheus_client import CollectorRegistry, Counter

from relay.protocol_metrics import ProtocolMetrics


def test_a_refusal_counts_for_its_protocol_and_code() -> None:
    registry = CollectorRegistry()
    errors = Counter("errors", "text", ("protocol", "code"), registry=registry)
    counts = ProtocolMetrics("native", errors=errors, closed=errors)
    counts.messages_in += 2
    counts.refused("bad_json")
    assert counts.messages_in == 2
    assert registry.get_sample_value("errors_total", {"protocol": "native", "code": "bad_json"}) == 1
