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
