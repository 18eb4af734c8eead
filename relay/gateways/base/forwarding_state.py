"""The state with which a worker forwards requests and accepts forwarded ones; routes and middleware find it by name."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from ipaddress import ip_network

from relay.gateways.base.forward_targets import ForwardTargets
from relay.gateways.base.forwarded import GATE, ForwardedGate
from relay.gateways.base.forwarding import FORWARDER, Forwarder
from relay.gateways.base.request_seal import SealVerifier
from relay.rooms.worker import Worker

_LONGEST_HOLD = 120.0
"""Seconds, more than the protocols without pings hold a poll; in the others, a ping answers it at the latest."""

_MAX_BODY_MESSAGES = 16
"""The largest body of any gateway, in messages of the largest size."""


@contextmanager
def forwarding_state(worker: Worker) -> Iterator[Mapping[str, object]]:
    """Make the state of one worker for `scope["state"]`, and close its connections at the end."""
    settings = worker.settings
    networks = [ip_network(text) for text in settings.forward_networks]
    targets = ForwardTargets(worker.local, networks, worker.find_address, worker.clock)
    forwarder = Forwarder(
        worker.session_ids,
        targets,
        worker.fleet_key,
        now=worker.fleet_time,
        metrics=worker.metrics,
        most=settings.max_connections,
        patience=_LONGEST_HOLD + settings.ping_interval + settings.ping_timeout,
    )
    gate = ForwardedGate(
        SealVerifier(worker.fleet_key, worker.local.owner, worker.fleet_time),
        limit=_MAX_BODY_MESSAGES * settings.max_message,
        metrics=worker.metrics,
        clock=worker.clock,
    )
    try:
        yield {FORWARDER: forwarder, GATE: gate}
    finally:
        forwarder.close()
