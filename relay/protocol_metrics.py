"""The counts of one protocol's clients; `relay.metrics` declares the metrics that are made of them."""

from prometheus_client import Counter


class ProtocolMetrics:
    """Counts of one protocol's clients: plain integers that the hot path adds to, by one thread, without locks.

    Each connection and session refers to the object of its protocol. `closed` is the counter of all protocols.
    """

    __slots__ = (
        "_closed_by",
        "_errors",
        "bytes_in",
        "bytes_out",
        "closed",
        "connections",
        "delays",
        "handshakes",
        "messages_in",
        "messages_out",
        "protocol",
        "sessions",
    )

    def __init__(self, protocol: str, *, errors: Counter, closed: Counter) -> None:
        self.protocol = protocol
        self.closed = closed
        # The counters of single reasons: to find one by its label costs as much as the way of a message.
        self._closed_by: dict[str, Counter] = {}
        self.connections = 0
        self.sessions = 0
        self.handshakes = 0
        self.delays = 0
        self.messages_in = 0
        self.bytes_in = 0
        self.messages_out = 0
        self.bytes_out = 0
        self._errors = errors

    def count_closed(self, reason: str) -> None:
        """Count a connection that ended for this reason."""
        counter = self._closed_by.get(reason)
        if counter is None:
            counter = self._closed_by[reason] = self.closed.labels(reason)
        counter.inc()

    def refused(self, code: str) -> None:
        """Count a request, frame or command that the relay refused with this error code."""
        self._errors.labels(self.protocol, code).inc()
