from relay.config import Settings
from relay.gateways.signalrclassic.state import STATE, ClassicState, state_of
from relay.rooms.worker import Worker


async def test_the_state_of_a_worker_begins_empty() -> None:
    async with Worker(Settings()) as worker:
        state = ClassicState(worker)
        assert (len(state.polls), len(state.streams), len(state.rates)) == (0, 0, 0)
        assert state_of({"state": {STATE: state}}) is state
