"""Every metric, declared once. Names and units follow the Prometheus conventions; no label comes from a client."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from relay.model.errors import CLOSE_REASONS, ERRORS
from relay.model.events import Loss

_LATENCY = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)


class Latency(Collector):
    """A histogram of seconds for the hot path: one thread, no labels, and so no locks."""

    def __init__(self, name: str, text: str, bounds: Sequence[float], registry: CollectorRegistry) -> None:
        self._name = name
        self._text = text
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0
        registry.register(self)

    def observe(self, seconds: float) -> None:
        """Count one duration."""
        self._counts[bisect_left(self._bounds, seconds)] += 1
        self._sum += seconds

    def collect(self) -> Iterator[Metric]:
        """See `Collector`."""
        names = [*(str(float(bound)) for bound in self._bounds), "+Inf"]
        buckets = list(zip(names, accumulate(self._counts), strict=True))
        yield HistogramMetricFamily(self._name, self._text, buckets=buckets, sum_value=self._sum)


class Traffic(Collector):
    """What went in and out: plain numbers for the hot path to add to, one thread, no locks."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.messages_in = 0
        self.bytes_in = 0
        self.messages_out = 0
        self.bytes_out = 0
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """See `Collector`."""
        yield CounterMetricFamily("relay_received_messages", "Messages from clients.", self.messages_in)
        yield CounterMetricFamily("relay_received_bytes", "Bytes of messages from clients.", self.bytes_in)
        yield CounterMetricFamily("relay_sent_messages", "Messages to clients.", self.messages_out)
        yield CounterMetricFamily("relay_sent_bytes", "Bytes of messages to clients.", self.bytes_out)


def _from_nothing(counter: Counter, values: Iterable[str]) -> Counter:
    """Have a series at 0 for each of these: one that begins at 1 is an increase that no alert sees."""
    for value in values:
        counter.labels(value)
    return counter


class Metrics:
    """One worker's metrics, in a registry of their own; with those of its process, where the system tells them."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.connections = Gauge("relay_connections", "Open WebSocket connections.", registry=registry)
        self.connection_limit = Gauge(
            "relay_connection_limit", "Connections this worker may have (max-connections).", registry=registry
        )
        self.rooms = Gauge("relay_rooms", "Rooms with members on this worker.", registry=registry)
        self.members = Gauge("relay_members", "Members on this worker, a connection once per room.", registry=registry)
        self.held = Gauge("relay_held_members", "Lost members whose place this worker holds.", registry=registry)
        self.ready = Gauge("relay_ready", "Whether this worker is ready (1) or not (0).", registry=registry)
        self.probe_age = Gauge(
            "relay_bus_probe_age_seconds",
            "Time since this worker last heard itself through the bus.",
            registry=registry,
        )
        self.tasks = Gauge("relay_tasks", "Tasks of the event loop.", registry=registry)
        self.handshakes = Counter("relay_handshakes_total", "WebSocket handshakes accepted.", registry=registry)
        self.traffic = Traffic(registry)
        errors = Counter(
            "relay_errors_total", "Requests, frames and commands refused, by error code.", ["code"], registry=registry
        )
        self.errors = _from_nothing(errors, ERRORS)
        closed = Counter(
            "relay_closed_connections_total", "Connections ended, by close reason.", ["reason"], registry=registry
        )
        self.closed = _from_nothing(closed, [reason.name for reason in CLOSE_REASONS])
        self.publish_seconds = Latency(
            "relay_publish_duration_seconds",
            "From a client's message to its id; one message in sixteen.",
            _LATENCY,
            registry,
        )
        self.delivery_seconds = Latency(
            "relay_delivery_duration_seconds",
            "From a message of this worker's client to its delivery here; one message in sixteen.",
            _LATENCY,
            registry,
        )
        self.bus_reconnects = Counter(
            "relay_bus_reconnects_total", "Connections to Redis made anew.", registry=registry
        )
        self.redis_errors = Counter(
            "relay_redis_errors_total", "Error replies of Redis; the log has their text.", registry=registry
        )
        self.room_gaps = Counter(
            "relay_room_gaps_total", "Rooms in which events may have been missed.", registry=registry
        )
        self.gap_recoveries = Counter(
            "relay_gap_recoveries_total", "Times that what a room had missed was read back.", registry=registry
        )
        losses = Counter(
            "relay_message_losses_total",
            "Times that a room's members were told of lost messages, by reason.",
            ["reason"],
            registry=registry,
        )
        self.message_losses = _from_nothing(losses, filter(None, get_args(Loss)))
        recoveries = Counter(
            "relay_recoveries_total",
            "Members who came back with their last id, by outcome.",
            ["outcome"],
            registry=registry,
        )
        self.recoveries = _from_nothing(recoveries, ["recovered", *filter(None, get_args(Loss))])
        self.lease_lapses = Counter(
            "relay_lease_lapses_total", "Times this worker's lease had lapsed.", registry=registry
        )
        self.dead_workers = Counter(
            "relay_dead_workers_total",
            "Workers that were silent for longer than their lease, as this one found.",
            registry=registry,
        )
        self.adopted = Counter(
            "relay_adopted_members_total",
            "Members taken over from workers that died, or had stopped before the members came back.",
            registry=registry,
        )
        self.room_ttl_renewals = Counter(
            "relay_room_ttl_renewals_total", "Rooms whose time to live was renewed.", registry=registry
        )
        self.loop_lag = Latency(
            "relay_event_loop_lag_seconds", "How late a timer of the event loop fires.", _LATENCY, registry
        )
