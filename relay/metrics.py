"""Every metric, declared once. Names and units follow the Prometheus conventions; no label comes from a client."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_LATENCY = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)


class Metrics:
    """One worker's metrics, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.connections = Gauge("relay_connections", "Open WebSocket connections.", registry=registry)
        self.rooms = Gauge("relay_rooms", "Rooms with members on this worker.", registry=registry)
        self.members = Gauge("relay_members", "Members on this worker, a connection once per room.", registry=registry)
        self.held = Gauge("relay_held_members", "Lost members whose place this worker holds.", registry=registry)
        self.ready = Gauge("relay_ready", "Whether this worker is ready (1) or not (0).", registry=registry)
        self.probe_age = Gauge(
            "relay_bus_probe_age_seconds",
            "Time since this worker last heard itself through the bus.",
            registry=registry,
        )
        self.handshakes = Counter("relay_handshakes_total", "WebSocket handshakes accepted.", registry=registry)
        self.messages_in = Counter("relay_received_messages_total", "Messages from clients.", registry=registry)
        self.bytes_in = Counter("relay_received_bytes_total", "Bytes of messages from clients.", registry=registry)
        self.messages_out = Counter("relay_sent_messages_total", "Messages to clients.", registry=registry)
        self.bytes_out = Counter("relay_sent_bytes_total", "Bytes of messages to clients.", registry=registry)
        self.refused = Counter(
            "relay_refused_total", "Requests, frames and commands refused, by error code.", ["code"], registry=registry
        )
        self.closed = Counter(
            "relay_closed_connections_total", "Connections ended, by close reason.", ["reason"], registry=registry
        )
        self.publish_seconds = Histogram(
            "relay_publish_duration_seconds",
            "From a client's message to its id.",
            buckets=_LATENCY,
            registry=registry,
        )
        self.delivery_seconds = Histogram(
            "relay_delivery_duration_seconds",
            "From a message of this worker's client to its delivery here.",
            buckets=_LATENCY,
            registry=registry,
        )
        self.bus_reconnects = Counter(
            "relay_bus_reconnects_total", "Connections to Redis made anew.", registry=registry
        )
        self.bus_gaps = Counter(
            "relay_bus_gaps_total", "Rooms in which events may have been missed.", registry=registry
        )
        self.lease_lapses = Counter(
            "relay_lease_lapses_total", "Times this worker's lease had lapsed.", registry=registry
        )
        self.adopted = Counter(
            "relay_adopted_members_total", "Members taken over from dead workers.", registry=registry
        )
        self.touches = Counter("relay_touched_rooms_total", "Rooms whose time to live was renewed.", registry=registry)
        self.loop_lag = Histogram(
            "relay_event_loop_lag_seconds",
            "How late a timer of the event loop fires.",
            buckets=_LATENCY,
            registry=registry,
        )
