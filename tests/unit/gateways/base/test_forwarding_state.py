"""The state of one worker for forwarding."""

from relay.config import Settings
from relay.gateways.base.forwarded import GATE, ForwardedGate
from relay.gateways.base.forwarding import FORWARDER, Forwarder
from relay.gateways.base.forwarding_state import forwarding_state
from relay.rooms.worker import Worker


async def test_it_has_both_sides() -> None:
    async with Worker(Settings(forward_networks=("10.0.0.0/8",))) as worker:
        with forwarding_state(worker) as state:
            assert isinstance(state[FORWARDER], Forwarder)
            assert isinstance(state[GATE], ForwardedGate)


async def test_a_forwarded_poll_may_wait_until_a_late_ping_answers_it() -> None:
    async with Worker(Settings(ping_interval=600.0, ping_timeout=60.0)) as worker:
        with forwarding_state(worker) as state:
            forwarder = state[FORWARDER]
            assert isinstance(forwarder, Forwarder)
            assert forwarder._patience > 660
